//! Going through gold and predictions together, document by document.
//!
//! A few hundred documents at a time are read in the order of gold with their predictions, scored in
//! parallel, and their results taken in the same order.

use std::borrow::Borrow;

use rayon::prelude::*;
use tabpo_corpus::{CorpusError, Document};
use tabpo_ontology::Ontology;

use crate::error::EvaluationError;
use crate::items::Items;
use crate::prediction::{Content, Offsets, PredictionKind, Predictions, RawAnswer, contents};

/// Documents that are held in memory at a time.
const CHUNK: usize = 512;

/// One unit, gold beside predicted.
pub(crate) struct UnitItems<'a> {
    /// `None` for the whole document.
    pub(crate) sentence: Option<u32>,
    pub(crate) gold: Items<'a>,
    pub(crate) predicted: Items<'a>,
}

/// The units of one document.
pub(crate) struct DocumentUnits<'a> {
    pub(crate) document: &'a Document,
    pub(crate) units: Vec<UnitItems<'a>>,
}

/// How far the predictions cover gold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub(crate) documents: usize,
    /// Documents without any prediction, by key.
    pub(crate) missing_documents: Vec<String>,
    /// Units without prediction in documents that have some.
    pub(crate) missing_units: u64,
}

impl Coverage {
    /// Notes for a reader of the figures.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let missing = &self.missing_documents;
        if !missing.is_empty() {
            let shown = missing.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let more = if missing.len() > 3 { ", ..." } else { "" };
            notes.push(format!(
                "{} of {} documents have no prediction and count as empty: {shown}{more}",
                missing.len(),
                self.documents
            ));
        }
        if self.missing_units > 0 {
            notes.push(format!("{} sentences have no prediction and count as empty", self.missing_units));
        }
        notes
    }
}

/// Calls `score` for every gold document, in parallel, and `sink` with the results in gold order.
///
/// A document or unit without prediction counts as an empty prediction. A predicted document that gold
/// lacks is an error.
pub(crate) fn scan<D: Borrow<Document> + Sync, T: Send>(
    gold: impl IntoIterator<Item = Result<D, CorpusError>>,
    predictions: &mut Predictions,
    ontology: &Ontology,
    score: impl Fn(&DocumentUnits) -> T + Sync,
    sink: impl FnMut(T),
) -> Result<Coverage, EvaluationError> {
    let mut gold = gold.into_iter();
    let coverage = scan_chunks(&mut gold, predictions, ontology, score, sink);
    if coverage.is_err() {
        // A fault of gold is named first: predictions that were made from it have the same.
        gold.try_for_each(|document| document.map(drop)).map_err(EvaluationError::gold)?;
    }
    coverage
}

fn scan_chunks<D: Borrow<Document> + Sync, T: Send>(
    gold: &mut impl Iterator<Item = Result<D, CorpusError>>,
    predictions: &mut Predictions,
    ontology: &Ontology,
    score: impl Fn(&DocumentUnits) -> T + Sync,
    mut sink: impl FnMut(T),
) -> Result<Coverage, EvaluationError> {
    predictions.start();
    let mut coverage = Coverage::default();
    let (kind, whole_documents) = (predictions.kind(), predictions.whole_documents());
    let path = predictions.path().to_path_buf();
    let nothing = match kind {
        PredictionKind::Raw => Content::Raw(RawAnswer::default()),
        PredictionKind::Offsets => Content::Offsets(Offsets::default()),
    };
    loop {
        let documents = gold.by_ref().take(CHUNK).collect::<Result<Vec<D>, _>>().map_err(EvaluationError::gold)?;
        if documents.is_empty() {
            break;
        }
        let mut lines = Vec::with_capacity(documents.len());
        for document in &documents {
            let document: &Document = document.borrow();
            let found = predictions.lines(&document.key)?;
            if found.is_none() {
                coverage.missing_documents.push(document.key.clone());
            }
            lines.push(found.unwrap_or_default());
        }
        coverage.documents += documents.len();
        let scored = documents.par_iter().zip(&lines).map(|(document, lines)| {
            let document: &Document = document.borrow();
            let predicted = contents(lines, kind, document.sentences.len(), &path)?;
            let is_whole =
                if predicted.is_empty() { whole_documents } else { predicted.iter().all(|(sent, _)| sent.is_none()) };
            let sentences = if is_whole && kind == PredictionKind::Raw { vec![None] } else { sentences(document) };
            let mut missing = 0;
            let unit = |sentence: Option<u32>| {
                let found = predicted.binary_search_by_key(&sentence, |(sent, _)| *sent);
                missing += u64::from(found.is_err() && !predicted.is_empty());
                let content = found.map_or(&nothing, |position| &predicted[position].1);
                let gold = Items::gold(document, sentence);
                UnitItems { sentence, gold, predicted: Items::predicted(document, sentence, content, ontology) }
            };
            let units = sentences.into_iter().map(unit).collect();
            Ok((score(&DocumentUnits { document, units }), missing))
        });
        for scored in scored.collect::<Vec<Result<_, EvaluationError>>>() {
            let (result, missing) = scored?;
            coverage.missing_units += missing;
            sink(result);
        }
    }
    predictions.check_unknown()?;
    Ok(coverage)
}

/// The sentences of a document that have tokens.
fn sentences(document: &Document) -> Vec<Option<u32>> {
    let sentences = (0..).zip(&document.sentences).filter(|(_, sentence)| !sentence.is_empty());
    sentences.map(|(index, _)| Some(index)).collect()
}

#[cfg(test)]
mod tests {
    use tabpo_synthetic::ontology;

    use super::*;
    use tabpo_ontology::AnswerForm;

    use crate::prediction::UnitOutput;

    #[test]
    fn results_come_in_the_order_of_gold() {
        let document = |number: usize| Document { key: number.to_string(), ..Document::default() };
        let gold: Vec<Document> = (0..2 * CHUNK + 7).map(document).collect();
        let output = UnitOutput { doc_key: "0".into(), sent: None, form: AnswerForm::List, output: String::new() };
        let mut predictions = Predictions::from_outputs(&[output], "test").expect("a valid line");
        let mut keys = Vec::new();
        let key = |units: &DocumentUnits| units.document.key.clone();
        let coverage = scan(gold.iter().map(Ok), &mut predictions, ontology(), key, |key| keys.push(key));
        let coverage = coverage.expect("the prediction is of a document of gold");
        assert!(keys.iter().eq(gold.iter().map(|document| &document.key)));
        assert_eq!((coverage.documents, coverage.missing_documents.len()), (gold.len(), gold.len() - 1));
    }
}
