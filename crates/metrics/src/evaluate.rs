//! Counting a whole set of predictions.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use tabpo_answer::FaultKind;
use tabpo_corpus::{CorpusError, Document};
use tabpo_ontology::Ontology;

use crate::count::count_document;
use crate::error::EvaluationError;
use crate::layout::{Family, Layout};
use crate::prediction::{PredictionKind, Predictions};
use crate::scan::scan;
use crate::table::{CountTable, TableBuilder};

/// The counts of one set of predictions: all that metrics, intervals and tests need.
#[derive(Clone, Debug)]
pub struct Counts {
    /// The position of each count in a row.
    pub layout: Layout,
    /// One row a document, in gold order.
    pub table: CountTable,
    /// Whether the predictions were raw output.
    pub kind: PredictionKind,
    /// How often each gold label met each predicted label at spans that both sides have, by name.
    pub confusion: BTreeMap<(String, String), u64>,
    /// Faults of raw output by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Notes for a reader of the figures: missing documents, for example.
    pub notes: Vec<String>,
}

/// Counts predictions against gold.
///
/// `gold` yields documents one at a time ([`tabpo_corpus::stream`], or a slice's `iter().map(Ok)`); only
/// rows of counts are kept. A gold document without prediction
/// counts as an empty prediction and is named in [`Counts::notes`]. The result does not depend on the number
/// of threads.
pub fn count<D: Borrow<Document> + Sync>(
    gold: impl IntoIterator<Item = Result<D, CorpusError>>,
    predictions: &mut Predictions,
    ontology: &Ontology,
) -> Result<Counts, EvaluationError> {
    let layout = Layout::new(ontology);
    let mut builder = TableBuilder::new(layout.columns());
    let mut confusion: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut faults: BTreeMap<FaultKind, u64> = BTreeMap::new();
    let coverage = scan(
        gold,
        predictions,
        ontology,
        |document| count_document(&layout, document),
        |counted| {
            builder.push(&counted.row);
            for pair in counted.confusion {
                *confusion.entry(pair).or_default() += 1;
            }
            for kind in counted.faults {
                *faults.entry(kind).or_default() += 1;
            }
        },
    )?;
    let names = layout.names(Family::Ner).unwrap_or_default();
    let confusion = confusion
        .into_iter()
        .map(|((gold, predicted), count)| ((names[gold as usize].clone(), names[predicted as usize].clone()), count))
        .collect();
    let notes = coverage.notes();
    Ok(Counts { kind: predictions.kind(), table: builder.finish(), layout, confusion, faults, notes })
}
