//! Going through gold and predictions together, document by document.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;
use tabpo_corpus::Document;
use tabpo_ontology::{Ontology, nearest};

use crate::error::EvaluationError;
use crate::items::Items;
use crate::prediction::{Content, Offsets, PredictionKind, Predictions, RunText, contents};

/// Documents that are worked on at a time; memory grows with it, results do not depend on it.
const BATCH: usize = 512;

/// Documents that one thread takes at a time.
const RUN: usize = 16;

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

/// Gold documents with the text of their predictions.
struct Batch<D> {
    /// The runs of each document's predictions; none if it has no prediction.
    documents: Vec<(D, Range<usize>)>,
    text: RunText,
}

impl<D> Default for Batch<D> {
    fn default() -> Self {
        Self { documents: Vec::new(), text: RunText::default() }
    }
}

/// Brings gold and predictions together, in gold order.
struct Joiner<'p, G> {
    gold: G,
    predictions: &'p mut Predictions,
    /// Whether gold has each of the documents with predictions, and how many it has.
    seen: Vec<bool>,
    found: usize,
    /// The keys of gold, one behind the other, and where each ends.
    keys: (String, Vec<usize>),
    missing_documents: Vec<String>,
}

impl<D, E, G> Joiner<'_, G>
where
    D: Borrow<Document>,
    E: std::error::Error + Send + Sync + 'static,
    G: Iterator<Item = Result<D, E>>,
{
    /// Replaces a batch by the next one; an empty one at the end.
    fn fill(&mut self, batch: &mut Batch<D>) -> Result<(), EvaluationError> {
        batch.documents.clear();
        batch.text.clear();
        for document in self.gold.by_ref().take(BATCH) {
            let document = document.map_err(|error| EvaluationError::Gold(Box::new(error)))?;
            let key = document.borrow().key.as_str();
            self.keys.0.push_str(key);
            self.keys.1.push(self.keys.0.len());
            let runs = match self.predictions.document(key) {
                Some(number) => {
                    self.found += usize::from(!std::mem::replace(&mut self.seen[number as usize], true));
                    self.predictions.read(number, &mut batch.text)?
                }
                None => {
                    self.missing_documents.push(key.to_owned());
                    0..0
                }
            };
            batch.documents.push((document, runs));
        }
        Ok(())
    }

    /// Whether gold had every document that has predictions.
    fn check_unknown(&self) -> Result<(), EvaluationError> {
        if self.found == self.predictions.document_count() {
            return Ok(());
        }
        let Some((key, line)) = self.predictions.first_unseen(&self.seen) else { return Ok(()) };
        let mut start = 0;
        let keys = self.keys.1.iter().map(|&end| &self.keys.0[std::mem::replace(&mut start, end)..end]);
        let hint = nearest(key, keys).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let found = format!("the gold corpus has no document `{key}`{hint}");
        Err(EvaluationError::invalid(self.predictions.path(), line, found))
    }
}

/// Calls `score` for every gold document, and `sink` with the results in gold order.
///
/// Runs of documents are scored in parallel, each into a value that `begin` made; `sink` takes the
/// results out of it, and it is then used for another run. A document or unit without prediction counts
/// as an empty prediction. A predicted document that gold lacks is an error.
pub(crate) fn scan<D, E, T>(
    gold: impl IntoIterator<Item = Result<D, E>, IntoIter: Send>,
    predictions: &mut Predictions,
    ontology: &Ontology,
    begin: impl Fn() -> T + Sync,
    score: impl Fn(&mut T, &DocumentUnits) + Sync,
    mut sink: impl FnMut(&mut T) + Send,
) -> Result<Coverage, EvaluationError>
where
    D: Borrow<Document> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
    T: Send,
{
    let (kind, whole_documents) = (predictions.kind(), predictions.whole_documents());
    let path = predictions.path().to_path_buf();
    let nothing = match kind {
        PredictionKind::Raw => Content::Raw("".into()),
        PredictionKind::Offsets => Content::Offsets(Offsets::default()),
    };
    let idle = Mutex::new(Vec::new());
    let idle = || idle.lock().expect("nothing panics while it holds the lock");
    let score_run = |text: &RunText, run: &[(D, Range<usize>)]| {
        let result = idle().pop();
        let mut result = result.unwrap_or_else(&begin);
        let mut missing_units = 0;
        // Step by step for all of them, not document by document: the code of a step then stays at hand.
        let lines = run.iter().map(|(_, runs)| text.lines(runs.clone(), &path)).collect::<Result<Vec<_>, _>>()?;
        let documents = || run.iter().map(|(document, _)| document.borrow());
        let contents = documents()
            .zip(&lines)
            .map(|(document, lines)| contents(lines, kind, document.sentences.len(), ontology, &path));
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let units = documents().zip(&lines).zip(&contents).map(|((document, lines), predicted)| {
            let whole =
                if lines.is_empty() { whole_documents } else { predicted.iter().all(|(sent, _)| sent.is_none()) };
            let (units, missing) = pair_units(document, predicted, &nothing, whole, ontology);
            missing_units += if lines.is_empty() { 0 } else { missing };
            DocumentUnits { document, units }
        });
        for document in units.collect::<Vec<_>>() {
            score(&mut result, &document);
        }
        Ok::<_, EvaluationError>((result, missing_units))
    };

    let mut coverage = Coverage::default();
    let seen = vec![false; predictions.document_count()];
    let gold = gold.into_iter();
    let mut joiner =
        Joiner { gold, predictions, seen, found: 0, keys: Default::default(), missing_documents: Vec::new() };
    let mut missing_units = 0;
    let mut take = |results: Vec<Result<(T, u64), EvaluationError>>| {
        for result in results {
            let (mut scored, missing) = result?;
            missing_units += missing;
            sink(&mut scored);
            idle().push(scored);
        }
        Ok::<_, EvaluationError>(())
    };
    let (mut batch, mut next) = (Batch::default(), Batch::default());
    joiner.fill(&mut batch)?;
    let mut results = Vec::new();
    while !batch.documents.is_empty() {
        coverage.documents += batch.documents.len();
        let score_batch = || {
            let runs = batch.documents.par_chunks(RUN);
            runs.map(|run| score_run(&batch.text, run)).collect::<Vec<_>>()
        };
        // The last results are taken and the next batch is read meanwhile.
        let last = std::mem::take(&mut results);
        let ((taken, read), scored) = rayon::join(|| (take(last), joiner.fill(&mut next)), score_batch);
        taken?;
        results = scored;
        if let Err(failure) = read {
            // What is wrong earlier in the files comes first.
            take(results)?;
            return Err(failure);
        }
        std::mem::swap(&mut batch, &mut next);
    }
    take(results)?;
    coverage.missing_units = missing_units;
    joiner.check_unknown()?;
    coverage.missing_documents = joiner.missing_documents;
    Ok(coverage)
}

type Units<'a> = Vec<(Option<u32>, Items<'a>, Items<'a>)>;

/// Puts gold beside predicted for every unit of a document, and counts the units that lack a
/// prediction and get `nothing`.
fn pair_units<'a>(
    document: &'a Document,
    predicted: &'a [(Option<u32>, Content<'a>)],
    nothing: &'a Content<'a>,
    whole: bool,
    ontology: &Ontology,
) -> (Units<'a>, u64) {
    let mut missing = 0;
    let mut predicted = predicted.iter().peekable();
    let mut pair = |sentence: Option<u32>| {
        // Predictions are sorted by unit; one for a sentence without tokens finds no unit.
        while predicted.next_if(|(sent, _)| *sent < sentence).is_some() {}
        let content = predicted.next_if(|(sent, _)| *sent == sentence).map(|(_, content)| content);
        missing += u64::from(content.is_none());
        let gold = Items::gold(document, sentence);
        (sentence, gold, Items::predicted(document, sentence, content.unwrap_or(nothing), ontology))
    };
    let units = if whole && !matches!(nothing, Content::Offsets(_)) {
        vec![pair(None)]
    } else {
        let with_tokens = (0..).zip(&document.sentences).filter(|(_, sentence)| !sentence.is_empty());
        with_tokens.map(|(index, _)| pair(Some(index))).collect()
    };
    (units, missing)
}
