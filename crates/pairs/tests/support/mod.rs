//! Shared by the tests: random tasks, and a checker that is independent of the generator.

#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod checker;
pub(crate) mod world;

use std::convert::Infallible;

use tabpo_corpus::{Document, Unit};
use tabpo_metrics::RawAnswer;
use tabpo_pairs::{PairBuilder, PairRecord};

/// The pairs of documents, with a model's answers for on-policy negatives.
pub(crate) fn build(
    builder: &mut PairBuilder,
    documents: &[Document],
    outputs: impl FnMut(&Unit) -> Vec<RawAnswer>,
) -> Vec<PairRecord> {
    let mut records = Vec::new();
    let documents = documents.iter().cloned().map(Ok::<Document, Infallible>);
    let Ok(()) = builder.build(documents, outputs, |record| {
        records.push(record);
        Ok(())
    });
    records
}
