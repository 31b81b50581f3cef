//! Writes models and adapters as GGUF files.

use std::borrow::Cow;
use std::path::Path;

use tabpo_model::{
    AdapterFolder, AdapterModule, BlockMatrix, FileType, FolderError, GgufHead, ModelConfig, WrittenTensor, write_gguf,
    write_gguf_adapter,
};

use crate::lora::Lora;
use crate::model::{Model, TensorRef};
use crate::real::Real;

/// Elements in single precision.
fn single<R: Real>(values: &[R]) -> impl Iterator<Item = f32> {
    values.iter().map(|value| value.to_f64() as f32)
}

impl<R: Real> WrittenTensor for TensorRef<'_, R> {
    fn copy_row(&self, row: usize, out: &mut [f32]) {
        let mut widened = Vec::new();
        let values = match self {
            TensorRef::Vector(values) => values,
            TensorRef::Matrix(matrix) => {
                widened.resize(matrix.columns(), R::ZERO);
                matrix.copy_row(row, &mut widened);
                &widened[..]
            }
        };
        for (out, value) in out.iter_mut().zip(single(values)) {
            *out = value;
        }
    }

    fn blocks(&self) -> Option<&BlockMatrix> {
        match self {
            TensorRef::Vector(_) => None,
            TensorRef::Matrix(matrix) => matrix.as_blocks(),
        }
    }
}

impl<R: Real> Model<R> {
    /// Writes the model as a GGUF file, with its weights in this type.
    pub fn save_gguf(&self, path: &Path, head: &GgufHead, file_type: FileType) -> Result<(), FolderError> {
        let tensors = self.tensors().into_iter().zip(self.config.tensors());
        let tensors: Vec<_> = tensors.map(|((name, tensor), (_, shape))| (name, shape, tensor)).collect();
        write_gguf(path, head, file_type, &tensors)
    }
}

impl<R: Real> Lora<R> {
    /// Writes the adapter as a GGUF file that llama.cpp applies with `--lora`. `model` is the shape of the base model and
    /// `base` its file or folder; `folder` is the adapter's, for messages; `name` is the name that the file gives it.
    ///
    /// Fails for an adapter with an embedding or a head of its own, which such files can't hold.
    pub fn save_gguf(
        &self,
        path: &Path,
        (model, base): (&ModelConfig, &Path),
        folder: &Path,
        name: &str,
        file_type: FileType,
    ) -> Result<(), FolderError> {
        if self.saved.embedding.is_some() || self.saved.head.is_some() {
            return Err(AdapterFolder::refusal(
                folder,
                "has an embedding or a head of its own, which llama.cpp does not take from an adapter: merge it into its \
                 base model instead, with `tabpo merge --out NAME.gguf`",
            ));
        }
        let mut modules = Vec::new();
        for (layer, groups) in self.layers.iter().enumerate() {
            for group in groups {
                let inputs = group.a.len() / group.ranks().max(1);
                for member in &group.members {
                    let a = &group.a[member.offset * inputs..(member.offset + member.rank) * inputs];
                    modules.push(AdapterModule {
                        projection: member.projection,
                        layer,
                        rank: member.rank,
                        scale: self.config.rank_and_scale(member.projection, layer).1,
                        a: Cow::Owned(single(a).collect()),
                        b: Cow::Owned(single(&member.b).collect()),
                    });
                }
            }
        }
        write_gguf_adapter(path, model, base, name, file_type, &modules)
    }
}
