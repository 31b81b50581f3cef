//! Embedding and head in an adapter's folder: PEFT writes them beside the adapter wherever the vocabulary was
//! resized or could not be compared with the base's.

use super::{PREFIX, WEIGHTS};
use crate::folder::{FolderError, TensorFile};
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;
use crate::weights::Matrix;

/// The names that the model has for them.
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Matrices that take the place of those of the model under an adapter.
#[derive(Clone, Debug)]
pub struct SavedModules<R> {
    /// Token embeddings, `[vocabulary, hidden]`.
    pub embedding: Option<Matrix<R>>,
    /// The head, `[vocabulary, hidden]`.
    pub head: Option<Matrix<R>>,
}

impl<R> Default for SavedModules<R> {
    fn default() -> Self {
        Self { embedding: None, head: None }
    }
}

impl<R: Real> SavedModules<R> {
    /// Whether a tensor of an adapter's file, without PEFT's prefix, is one of them.
    pub(super) fn is_one(name: &str) -> bool {
        matches!(name, EMBEDDING | HEAD)
    }

    /// Those of a file, for a model of this width.
    pub(super) fn read(file: &TensorFile, hidden: usize) -> Result<Self, FolderError> {
        let read = |name: &str| {
            let stored = format!("{PREFIX}{name}");
            let Some(place) = file.tensors.get(&stored) else { return Ok(None) };
            let rows = place.shape.first().copied().filter(|&rows| rows > 0).unwrap_or(1);
            file.matrix(&stored, place, [rows, hidden]).map(Some)
        };
        Ok(Self { embedding: read(EMBEDDING)?, head: read(HEAD)? })
    }

    /// Names and matrices, for writing them out.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, &Matrix<R>)> {
        let named = [(EMBEDDING, &self.embedding), (HEAD, &self.head)];
        named.into_iter().filter_map(|(name, matrix)| Some((format!("{PREFIX}{name}"), matrix.as_ref()?)))
    }
}

impl<R: Real> Model<R> {
    /// Puts embedding and head of an adapter's folder in the place of the model's own, as PEFT does. Those
    /// that are the model's own already are dropped from the adapter. `folder` is the adapter's, for messages.
    pub fn take_saved(&mut self, adapter: &mut Lora<R>, folder: &std::path::Path) -> Result<(), FolderError> {
        let wrong = |problem: &str| Err(FolderError::other_content(folder.join(WEIGHTS), problem));
        let saved = &mut *adapter.saved;
        if saved.embedding.as_ref().is_some_and(|embedding| equal(embedding, &self.embedding)) {
            saved.embedding = None;
        }
        if let Some(embedding) = &saved.embedding {
            self.embedding = embedding.clone();
        }
        if saved.head.as_ref().is_some_and(|head| equal(head, self.head_matrix())) {
            saved.head = None;
        }
        match (&saved.head, &mut self.head) {
            (Some(head), Some(own)) => *own = head.clone(),
            (Some(_), None) => {
                return wrong(
                    "holds a head that differs from the embedding, but the base model has one matrix for both: merge \
                     the adapter with PEFT and use the merged model",
                );
            }
            (None, _) => {}
        }
        if self.head.as_ref().is_some_and(|head| head.rows() != self.embedding.rows()) {
            return wrong("holds an embedding and a head of another vocabulary than each other's");
        }
        self.config.vocabulary = self.embedding.rows();
        Ok(())
    }
}

fn equal<R: Real>(a: &Matrix<R>, b: &Matrix<R>) -> bool {
    if (a.rows(), a.columns()) != (b.rows(), b.columns()) {
        return false;
    }
    let (mut left, mut right) = (vec![R::ZERO; a.columns()], vec![R::ZERO; b.columns()]);
    (0..a.rows()).all(|row| {
        a.copy_row(row, &mut left);
        b.copy_row(row, &mut right);
        left == right
    })
}
