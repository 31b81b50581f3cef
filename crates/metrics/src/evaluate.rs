//! Counting a whole set of predictions.

use std::collections::BTreeMap;

use tabpo_answer::FaultKind;
use tabpo_ontology::Ontology;

use crate::count::Counter;
use crate::error::EvaluationError;
use crate::gold::Gold;
use crate::layout::{Family, Layout};
use crate::prediction::{PredictionKind, Predictions};
use crate::scan::scan;
use crate::table::{CountTable, TableBuilder};

/// The counts of one set of predictions: all that metrics, intervals and tests need.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Where each count stands in a row.
    pub layout: Layout,
    /// One row a document, in gold order.
    pub table: CountTable,
    /// Keys of the documents, in gold order; empty unless asked for.
    pub keys: Vec<String>,
    /// Whether the predictions were raw output.
    pub kind: PredictionKind,
    /// Gold label and predicted label at spans that both sides have, by name, and how often.
    pub confusion: BTreeMap<(String, String), u64>,
    /// Faults of raw output by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What a reader of the figures should know: missing documents, for example.
    pub notes: Vec<String>,
}

/// Counts predictions against gold.
///
/// `gold` gives out documents a few at a time; only rows of counts are kept.
/// With `keep_keys`, document keys are kept too. A gold document without prediction counts as an
/// empty prediction and is named in [`Counts::notes`]. The result does not depend on the number of
/// threads.
///
/// Fails with [`EvaluationError::NotInOrder`] only for predictions [opened in
/// order](Predictions::open_in_order).
pub fn count(
    gold: impl Gold,
    predictions: &mut Predictions,
    ontology: &Ontology,
    keep_keys: bool,
) -> Result<Counts, EvaluationError> {
    let layout = Layout::new(ontology);
    let mut builder = TableBuilder::new(layout.columns());
    let mut confusion: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut faults: BTreeMap<FaultKind, u64> = BTreeMap::new();
    let mut keys = Vec::new();
    let coverage = scan(
        gold,
        predictions,
        ontology,
        || (Vec::new(), Counter::new(&layout)),
        |(keys, counter), document| {
            keys.extend(keep_keys.then(|| document.document.key.clone()));
            counter.add(document);
        },
        |(run_keys, Counter { counted, .. })| {
            keys.append(run_keys);
            counted.rows.chunks_exact(layout.columns()).for_each(|row| builder.push(row));
            counted.rows.clear();
            for (pair, count) in counted.confusion.drain() {
                *confusion.entry(pair).or_default() += count;
            }
            for (kind, count) in std::mem::take(&mut counted.faults) {
                *faults.entry(kind).or_default() += count;
            }
        },
    )?;
    let names = layout.names(Family::Ner).unwrap_or_default();
    let confusion = confusion
        .into_iter()
        .map(|((gold, predicted), count)| ((names[gold as usize].clone(), names[predicted as usize].clone()), count))
        .collect();
    let notes = coverage.notes();
    Ok(Counts { kind: predictions.kind(), table: builder.finish(), layout, keys, confusion, faults, notes })
}
