//! Going through gold and predictions together, document by document.

use std::borrow::Borrow;

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use tabpo_corpus::Document;
use tabpo_ontology::{Ontology, nearest};

use crate::error::EvaluationError;
use crate::items::Items;
use crate::prediction::{Content, PredictedLine, PredictionKind, Predictions, parse_lines};

/// Documents that are worked on at a time; memory grows with it, results do not depend on it.
const BATCH: usize = 512;

/// The units of one document, gold beside predicted.
pub(crate) struct DocumentUnits<'a> {
    pub(crate) document: &'a Document,
    /// The unit's sentence (`None` for the whole document), its gold items, its predicted items.
    pub(crate) units: Vec<(Option<u32>, Items<'a>, Items<'a>)>,
}

/// What was noticed on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub(crate) documents: usize,
    /// Documents without any prediction, by key.
    pub(crate) missing_documents: Vec<String>,
    /// Units without prediction in documents that have some.
    pub(crate) missing_units: u64,
}

/// Calls `score` for every gold document (in parallel) and `sink` with the results in gold order.
///
/// A document or unit without prediction counts as an empty prediction. A predicted document that
/// gold lacks is an error.
pub(crate) fn scan<D, E, T>(
    gold: impl IntoIterator<Item = Result<D, E>>,
    predictions: &mut Predictions,
    ontology: &Ontology,
    score: impl Fn(&DocumentUnits) -> T + Sync,
    mut sink: impl FnMut(T),
) -> Result<Coverage, EvaluationError>
where
    D: Borrow<Document> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
    T: Send,
{
    let mut coverage = Coverage::default();
    let mut keys: FxHashSet<Box<str>> = FxHashSet::default();
    let mut gold = gold.into_iter();
    let (kind, whole_documents) = (predictions.kind(), predictions.whole_documents());
    let path = predictions.path().to_path_buf();
    loop {
        let mut batch: Vec<(D, Vec<PredictedLine>)> = Vec::with_capacity(BATCH);
        for document in gold.by_ref().take(BATCH) {
            let document = document.map_err(|error| EvaluationError::Gold(Box::new(error)))?;
            let key = document.borrow().key.as_str();
            let lines = predictions.lines_of(key)?;
            if lines.is_empty() {
                coverage.missing_documents.push(key.to_owned());
            }
            keys.insert(key.into());
            batch.push((document, lines));
        }
        if batch.is_empty() {
            break;
        }
        coverage.documents += batch.len();
        let results: Vec<Result<(T, u64), EvaluationError>> = batch
            .par_iter()
            .map(|(document, lines)| {
                let document = document.borrow();
                let predicted = parse_lines(lines, kind, document.sentences.len(), &path)?;
                let whole =
                    if lines.is_empty() { whole_documents } else { predicted.iter().all(|(sent, _)| sent.is_none()) };
                let (units, missing) = pair_units(document, predicted, kind, whole, ontology);
                let missing = if lines.is_empty() { 0 } else { missing };
                Ok((score(&DocumentUnits { document, units }), missing))
            })
            .collect();
        for result in results {
            let (scored, missing) = result?;
            coverage.missing_units += missing;
            sink(scored);
        }
    }
    if predictions.document_count() + coverage.missing_documents.len() != keys.len()
        && let Some((key, line)) = predictions.first_unknown(|key| keys.contains(key))
    {
        let hint = nearest(key, keys.iter().map(|key| &**key))
            .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        return Err(EvaluationError::invalid(&path, line, format!("the gold corpus has no document `{key}`{hint}")));
    }
    Ok(coverage)
}

type Units<'a> = Vec<(Option<u32>, Items<'a>, Items<'a>)>;

/// Puts gold beside predicted for every unit of a document, and counts the units that lack a
/// prediction.
fn pair_units<'a>(
    document: &'a Document,
    predicted: Vec<(Option<u32>, Content)>,
    kind: PredictionKind,
    whole: bool,
    ontology: &Ontology,
) -> (Units<'a>, u64) {
    let sentences: Vec<Option<u32>> = if whole && kind == PredictionKind::Raw {
        vec![None]
    } else {
        let with_tokens = |&index: &u32| !document.sentences[index as usize].is_empty();
        (0..document.sentences.len() as u32).filter(with_tokens).map(Some).collect()
    };
    let mut missing = 0;
    let mut predicted = predicted.into_iter().peekable();
    let mut units = Vec::with_capacity(sentences.len());
    for sentence in sentences {
        // Predictions are sorted by unit; one for a sentence without tokens finds no unit.
        while predicted.next_if(|(sent, _)| *sent < sentence).is_some() {}
        let content = predicted.next_if(|(sent, _)| *sent == sentence).map(|(_, content)| content);
        missing += u64::from(content.is_none());
        let content = content.unwrap_or_else(|| match kind {
            PredictionKind::Raw => Content::Raw(String::new()),
            PredictionKind::Offsets => Content::Offsets(crate::prediction::Offsets::default()),
        });
        units.push((
            sentence,
            Items::gold(document, sentence),
            Items::predicted(document, sentence, &content, ontology),
        ));
    }
    (units, missing)
}
