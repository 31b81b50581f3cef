//! Where gold documents come from.

use std::borrow::Borrow;

use tabpo_corpus::{Document, DocumentLines, Documents, Entry};

use crate::error::EvaluationError;

/// Gold documents in their order, given out in parts that threads read on their own.
pub trait Gold: Send {
    /// Some documents that follow each other, as they stand in their source.
    type Part: Send;
    /// A document that was read.
    type Document: Borrow<Document>;
    /// What the source has to know of a document that was read.
    type Entry: Send;

    /// A part without documents.
    fn empty_part(&self) -> Self::Part;

    /// Replaces `part` by the next documents and says how many they are; none at the end.
    fn next_part(&mut self, part: &mut Self::Part) -> Result<usize, EvaluationError>;

    /// Reads the documents of a part.
    fn read(part: &Self::Part) -> impl Iterator<Item = Result<(Self::Document, Self::Entry), EvaluationError>>;

    /// Takes note of the next document, in their order; fails if it contradicts those before it.
    fn enter(&mut self, entry: Self::Entry) -> Result<(), EvaluationError>;
}

/// Documents of a slice that make a part.
pub(crate) const PART: usize = 16;

impl<'d> Gold for &'d [Document] {
    type Part = &'d [Document];
    type Document = &'d Document;
    type Entry = ();

    fn empty_part(&self) -> Self::Part {
        &[]
    }

    fn next_part(&mut self, part: &mut Self::Part) -> Result<usize, EvaluationError> {
        (*part, *self) = self.split_at(self.len().min(PART));
        Ok(part.len())
    }

    fn read(part: &Self::Part) -> impl Iterator<Item = Result<(Self::Document, Self::Entry), EvaluationError>> {
        part.iter().map(|document| Ok((document, ())))
    }

    fn enter(&mut self, (): ()) -> Result<(), EvaluationError> {
        Ok(())
    }
}

impl<'f> Gold for &mut Documents<'f> {
    type Part = DocumentLines<'f>;
    type Document = Document;
    type Entry = Entry;

    fn empty_part(&self) -> Self::Part {
        Documents::empty_part(self)
    }

    fn next_part(&mut self, part: &mut Self::Part) -> Result<usize, EvaluationError> {
        loop {
            Documents::next_part(self, part).map_err(EvaluationError::gold)?;
            // Lines that are all blank are no documents, and not the end.
            let count = part.count();
            if count > 0 || part.is_empty() {
                return Ok(count);
            }
        }
    }

    fn read(part: &Self::Part) -> impl Iterator<Item = Result<(Self::Document, Self::Entry), EvaluationError>> {
        let documents = part.documents();
        documents.map(|read| read.map(|read| (read.document, read.entry)).map_err(EvaluationError::gold))
    }

    fn enter(&mut self, entry: Entry) -> Result<(), EvaluationError> {
        Documents::enter(self, entry).map_err(EvaluationError::gold)
    }
}
