//! Going through gold and predictions together, document by document.
//!
//! Every thread takes a few documents at a time, as they stand in the files, and does all that is to be
//! done with them; their results are then taken in the order of gold. So a document stays with one
//! thread, and threads hardly wait for each other.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tabpo_corpus::Document;
use tabpo_ontology::Ontology;

use crate::error::EvaluationError;
use crate::gold::Gold;
use crate::items::Items;
use crate::prediction::{Content, Offsets, PredictedLine, PredictionKind, Predictions, RunText, contents};

/// How many parts may be scored before an earlier one that takes long; bounds the memory.
const AHEAD: u64 = 256;

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

impl Coverage {
    /// What a reader of the figures should know, in words.
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

/// Where threads get their work.
struct Supply<'p, G> {
    gold: Mutex<GoldSupply<G>>,
    predictions: Mutex<&'p mut Predictions>,
}

struct GoldSupply<G> {
    gold: G,
    /// How many parts were given out.
    parts: u64,
    ended: bool,
}

impl<G: Gold> Supply<'_, G> {
    /// Replaces a part of gold by the next one, and `text` by its predictions if they are read in order.
    /// Returns the number of the part; none at the end.
    fn next(&self, part: &mut G::Part, text: &mut RunText) -> Option<(u64, Result<(), EvaluationError>)> {
        let mut supply = lock(&self.gold);
        if supply.ended {
            return None;
        }
        let count = supply.gold.next_part(part);
        supply.ended = !matches!(count, Ok(1..));
        let number = supply.parts;
        supply.parts += 1;
        let count = match count {
            Ok(0) => return None,
            Ok(count) => count,
            Err(failure) => return Some((number, Err(failure))),
        };
        // Parts get predictions in their order, yet the next thread can read gold meanwhile.
        let mut predictions = lock(&self.predictions);
        drop(supply);
        Some((number, predictions.read_next(count, text)))
    }
}

/// What came of a part.
struct Outcome<T, E> {
    /// What the source of gold has to know of each document that was read.
    entries: Vec<E>,
    scored: Result<Scored<T>, EvaluationError>,
}

/// What scoring a part gave.
struct Scored<T> {
    result: T,
    missing_documents: Vec<String>,
    missing_units: u64,
}

/// Takes the results in the order of gold.
struct Results<T, E, S> {
    sink: S,
    /// The part whose results are to be taken next.
    next: u64,
    /// Results of later ones.
    waiting: BTreeMap<u64, Outcome<T, E>>,
    /// Scorers whose results were taken.
    idle: Vec<T>,
    coverage: Coverage,
    failure: Option<EvaluationError>,
    /// Whether nothing is to be done any more.
    stopped: bool,
    /// How many threads wait because they are far ahead.
    threads_ahead: usize,
}

impl<T, E, S: FnMut(&mut T)> Results<T, E, S> {
    /// Adds what came of a part, and takes what is to be taken next.
    fn add<G: Gold<Entry = E>>(&mut self, number: u64, outcome: Outcome<T, E>, supply: &Supply<G>) {
        if number > self.next {
            self.waiting.insert(number, outcome);
            return;
        }
        let mut ready = Some(outcome);
        while let Some(outcome) = ready.filter(|_| !self.stopped) {
            self.next += 1;
            if let Err(failure) = self.take(outcome, &mut lock(&supply.gold).gold) {
                self.failure = Some(failure);
                self.stopped = true;
            }
            ready = self.waiting.remove(&self.next);
        }
    }

    fn take<G: Gold<Entry = E>>(&mut self, outcome: Outcome<T, E>, gold: &mut G) -> Result<(), EvaluationError> {
        let documents = outcome.entries.len();
        outcome.entries.into_iter().try_for_each(|entry| gold.enter(entry))?;
        let mut scored = outcome.scored?;
        self.coverage.documents += documents;
        self.coverage.missing_documents.append(&mut scored.missing_documents);
        self.coverage.missing_units += scored.missing_units;
        (self.sink)(&mut scored.result);
        self.idle.push(scored.result);
        Ok(())
    }
}

/// Locks; that another thread panicked is its own matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls its function if the thread panics, so that no other waits for it.
struct OnPanic<F: Fn()>(F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

/// Calls `score` for every gold document, and `sink` with the results in gold order.
///
/// Documents are scored in parallel, some of them into a value that `begin` made; `sink` takes the
/// results out of it, and it is then used for others. A document or unit without prediction counts as
/// an empty prediction. A predicted document that gold lacks is an error. What is wrong with
/// predictions that are read in order is not said: the caller opens them again, to be indexed.
pub(crate) fn scan<G: Gold, T: Send>(
    gold: G,
    predictions: &mut Predictions,
    ontology: &Ontology,
    begin: impl Fn() -> T + Sync,
    score: impl Fn(&mut T, &DocumentUnits) + Sync,
    sink: impl FnMut(&mut T) + Send,
) -> Result<Coverage, EvaluationError> {
    predictions.start()?;
    let scorer = Scorer::new(predictions, ontology);
    let explain = |fault| match fault {
        EvaluationError::Invalid { .. } if scorer.in_order => EvaluationError::NotInOrder,
        fault => fault,
    };
    let gold = Mutex::new(GoldSupply { gold, parts: 0, ended: false });
    let supply = Supply { gold, predictions: Mutex::new(predictions) };
    let results = Mutex::new(Results {
        sink,
        next: 0,
        waiting: BTreeMap::new(),
        idle: Vec::new(),
        coverage: Coverage::default(),
        failure: None,
        stopped: false,
        threads_ahead: 0,
    });
    let taken = Condvar::new();
    let stop = || {
        lock(&results).stopped = true;
        taken.notify_all();
    };
    rayon::broadcast(|_| {
        let _on_panic = OnPanic(stop);
        let (mut part, mut text) = (lock(&supply.gold).gold.empty_part(), RunText::default());
        let mut idle = None;
        while let Some((number, filled)) = supply.next(&mut part, &mut text) {
            let mut entries = Vec::new();
            let scored = filled.and_then(|()| {
                let result = idle.take().unwrap_or_else(&begin);
                scorer.score(&part, &mut text, &supply, &mut entries, result, &score)
            });
            let mut results = lock(&results);
            results.add(number, Outcome { entries, scored: scored.map_err(explain) }, &supply);
            idle = results.idle.pop();
            if results.stopped || results.threads_ahead > 0 {
                taken.notify_all();
            }
            while !results.stopped && number > results.next + AHEAD {
                results.threads_ahead += 1;
                results = taken.wait(results).unwrap_or_else(PoisonError::into_inner);
                results.threads_ahead -= 1;
            }
            if results.stopped {
                break;
            }
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = results.failure {
        return Err(failure);
    }
    predictions.check_unknown()?;
    Ok(results.coverage)
}

/// Scores parts of gold.
struct Scorer<'a> {
    kind: PredictionKind,
    whole_documents: bool,
    in_order: bool,
    path: PathBuf,
    /// What a unit without prediction gets.
    nothing: Content<'static>,
    ontology: &'a Ontology,
}

impl<'a> Scorer<'a> {
    fn new(predictions: &Predictions, ontology: &'a Ontology) -> Self {
        let nothing = match predictions.kind() {
            PredictionKind::Raw => Content::Raw("".into()),
            PredictionKind::Offsets => Content::Offsets(Offsets::default()),
        };
        Self {
            kind: predictions.kind(),
            whole_documents: predictions.whole_documents(),
            in_order: predictions.is_in_order(),
            path: predictions.path().to_path_buf(),
            nothing,
            ontology,
        }
    }

    /// Scores a part. `text` has its predictions if they are read in order; `entries` gets those of the
    /// documents that were read.
    fn score<G: Gold, T>(
        &self,
        part: &G::Part,
        text: &mut RunText,
        supply: &Supply<G>,
        entries: &mut Vec<G::Entry>,
        mut result: T,
        score: impl Fn(&mut T, &DocumentUnits),
    ) -> Result<Scored<T>, EvaluationError> {
        // Step by step for all of them, not document by document: the code of a step then stays at hand.
        let mut documents = Vec::new();
        for read in G::read(part) {
            let (document, entry) = read?;
            documents.push(document);
            entries.push(entry);
        }
        let documents = || documents.iter().map(Borrow::<Document>::borrow);
        let mut missing_documents = Vec::new();
        let runs = if self.in_order {
            if text.run_count() != entries.len() {
                return Err(EvaluationError::NotInOrder);
            }
            (0..entries.len()).map(|index| index..index + 1).collect()
        } else {
            let mut predictions = lock(&supply.predictions);
            let mut read = |document: &Document| {
                let runs = predictions.read(&document.key, text)?;
                missing_documents.extend(runs.is_none().then(|| document.key.clone()));
                Ok(runs.unwrap_or(0..0))
            };
            documents().map(&mut read).collect::<Result<Vec<Range<usize>>, EvaluationError>>()?
        };
        let lines = documents().zip(runs).map(|(document, runs)| {
            let lines = text.lines(runs, document.sentences.len(), &self.path)?;
            let fits = !self.in_order || lines.first().is_some_and(|line| line.is_about(&document.key, self.kind));
            if fits { Ok(lines) } else { Err(EvaluationError::NotInOrder) }
        });
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        let contents = documents()
            .zip(&lines)
            .map(|(document, lines)| contents(lines, self.kind, document.sentences.len(), self.ontology, &self.path));
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let mut missing_units = 0;
        let units = documents().zip(&lines).zip(&contents).map(|((document, lines), predicted)| {
            let (units, missing) = self.pair_units(document, lines, predicted);
            missing_units += missing;
            DocumentUnits { document, units }
        });
        for document in units.collect::<Vec<_>>() {
            score(&mut result, &document);
        }
        Ok(Scored { result, missing_documents, missing_units })
    }

    /// Puts gold beside predicted for every unit of a document, and counts the units that lack a
    /// prediction in a document that has some.
    fn pair_units<'d>(
        &'d self,
        document: &'d Document,
        lines: &[PredictedLine],
        predicted: &'d [(Option<u32>, Content<'d>)],
    ) -> (Units<'d>, u64) {
        let whole =
            if lines.is_empty() { self.whole_documents } else { predicted.iter().all(|(sent, _)| sent.is_none()) };
        let mut missing = 0;
        let mut predicted = predicted.iter().peekable();
        let mut pair = |sentence: Option<u32>| {
            // Predictions are sorted by unit; one for a sentence without tokens finds no unit.
            while predicted.next_if(|(sent, _)| *sent < sentence).is_some() {}
            let content = predicted.next_if(|(sent, _)| *sent == sentence).map(|(_, content)| content);
            missing += u64::from(content.is_none() && !lines.is_empty());
            let gold = Items::gold(document, sentence);
            (sentence, gold, Items::predicted(document, sentence, content.unwrap_or(&self.nothing), self.ontology))
        };
        let units = if whole && self.kind == PredictionKind::Raw {
            vec![pair(None)]
        } else {
            let mut units = Vec::with_capacity(document.sentences.len());
            let with_tokens = (0..).zip(&document.sentences).filter(|(_, sentence)| !sentence.is_empty());
            units.extend(with_tokens.map(|(index, _)| pair(Some(index))));
            units
        };
        (units, missing)
    }
}

type Units<'a> = Vec<(Option<u32>, Items<'a>, Items<'a>)>;

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tabpo_corpus::synthetic::ontology;

    use super::*;
    use crate::gold::PART;
    use crate::prediction::UnitOutput;

    /// Goes through documents of which the first takes until the others are as far ahead as they may be;
    /// then `then` is called with the number of documents that they have scored. Returns the documents
    /// in the order in which they were taken.
    fn keys_with_a_slow_start(documents: usize, then: impl Fn(usize) + Sync) -> Vec<String> {
        let document = |number: usize| Document { key: number.to_string(), ..Document::default() };
        let gold: Vec<Document> = (0..documents).map(document).collect();
        let output = UnitOutput { doc_key: "0".into(), sent: None, output: String::new() };
        let mut predictions = Predictions::from_outputs(&[output], "test").expect("a valid line");
        let scored = AtomicUsize::new(0);
        let mut keys = Vec::new();
        let score = |keys: &mut Vec<String>, units: &DocumentUnits| {
            keys.push(units.document.key.clone());
            if units.document.key == "0" {
                while scored.load(Ordering::SeqCst) < AHEAD as usize * PART {
                    std::thread::yield_now();
                }
                // Time for the others to go on, if they would.
                std::thread::sleep(Duration::from_millis(50));
                then(scored.load(Ordering::SeqCst));
            }
            scored.fetch_add(1, Ordering::SeqCst);
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a small pool");
        let sink = |taken: &mut Vec<String>| keys.append(taken);
        pool.install(|| scan(&gold[..], &mut predictions, ontology(), Vec::new, score, sink)).expect("it fits");
        keys
    }

    #[test]
    fn results_come_in_order_and_no_thread_runs_away() {
        let count = (AHEAD as usize + 100) * PART;
        let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        let bound = (AHEAD as usize + 1) * PART;
        let keys = keys_with_a_slow_start(count, |scored| assert!(scored <= bound, "{scored} documents"));
        assert_eq!(keys, expected);
    }

    #[test]
    fn no_thread_waits_for_one_that_panicked() {
        let count = (AHEAD as usize + 100) * PART;
        let run = || keys_with_a_slow_start(count, |_| panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    }
}
