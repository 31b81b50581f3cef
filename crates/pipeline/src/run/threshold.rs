//! Thresholds on the probability at which a list of an answer goes on with another record.

use serde::{Deserialize, Serialize};
use tabpo_answer::decision;
use tabpo_corpus::Unit;
use tabpo_engine::{Fork, ForkError, Outcome};
use tabpo_model::Tokenizer;
use tabpo_ontology::{AnswerLimits, Ontology};
use tabpo_roles::List;

use super::answers::RecordedDecision;

/// For each list, the probability above which it goes on. At a decision, that is the probability of the token that begins
/// another record, among it and the token that closes the list. At 1/2, answers are those of greedy decoding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// For the entities, between 0 and 1.
    pub entities: f64,
    /// For the relations, between 0 and 1.
    pub relations: f64,
}

impl Thresholds {
    /// Those of greedy decoding.
    pub const GREEDY: Self = Self { entities: 0.5, relations: 0.5 };

    /// The threshold of one list.
    pub fn of(&self, list: List) -> f64 {
        match list {
            List::Entities => self.entities,
            List::Relations => self.relations,
        }
    }

    /// These, with another threshold for one list.
    #[must_use]
    pub fn with(mut self, list: List, threshold: f64) -> Self {
        match list {
            List::Entities => self.entities = threshold,
            List::Relations => self.relations = threshold,
        }
        self
    }
}

/// How the lists of answers end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ListEnds {
    /// The thresholds.
    pub thresholds: Thresholds,
    /// Whether every decision is written beside the answer, for tuning.
    pub recorded: bool,
}

impl ListEnds {
    /// Greedy decoding.
    pub const GREEDY: Self = Self { thresholds: Thresholds::GREEDY, recorded: false };

    /// With these thresholds.
    pub fn at(thresholds: Thresholds) -> Self {
        Self { thresholds, recorded: false }
    }
}

/// The log-odds of a probability; 0 at 1/2 exactly.
pub(crate) fn log_odds(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln()
}

/// Finds the forks of answers: where one token begins another record and another one closes the list.
///
/// Which tokens these are is decided by the tokenizer: the continuations are split into tokens, and a fork is the place
/// where they part. So it does not matter whether a token also holds the end of the record before, or the beginning of the
/// next list: a token that closes the entities may already say whether there are relations, and then passes two forks.
pub(crate) struct ListForks<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) ontology: &'a Ontology,
    pub(crate) thresholds: Thresholds,
}

impl ListForks<'_> {
    /// The forks at the token after `written` in an answer to `unit`, where greedy decoding takes `next`.
    pub(crate) fn find(&self, unit: &Unit<'_>, written: &[u32], next: u32) -> Result<Vec<Fork>, ForkError> {
        // Every token of a fork holds a bracket, or a quote, comma or colon before one.
        let spelling = self.tokenizer.token(next).unwrap_or_default();
        if !spelling.contains(['"', '{', '}', '[', ']', ',', ':']) {
            return Ok(Vec::new());
        }
        let failed = |error: tabpo_model::FolderError| ForkError(error.to_string());
        let before = self.tokenizer.decode(written, false).map_err(failed)?;
        let after = self.tokenizer.decode(&[written, &[next]].concat(), false).map_err(failed)?;
        // The end of the text changes where a token completes a character.
        let Some(added) = after.strip_prefix(&before) else { return Ok(Vec::new()) };
        let Some(found) = decision(&before, added, self.ontology) else { return Ok(Vec::new()) };
        let Some(place) = before.len().checked_sub(found.start) else { return Ok(Vec::new()) };
        let token = |text: &String| -> Result<Option<u32>, ForkError> {
            let encoding = self.tokenizer.encode_marked(&self.tokenizer.mark(text)).map_err(failed)?;
            let mut tokens = encoding.ids.iter().zip(&encoding.ranges);
            Ok(tokens.find(|(_, range)| range.start == place).map(|(&id, _)| id))
        };
        let close: Option<Vec<u32>> = found.close.iter().map(token).collect::<Result<_, _>>()?;
        let (Some(go_on), Some(stop)) = (token(&found.another)?, close) else { return Ok(Vec::new()) };
        if stop.contains(&go_on) {
            return Ok(Vec::new());
        }
        let limits = AnswerLimits::for_words(unit.words().len());
        let fork = |list: List, records: usize, at: usize, go_on: u32, stop: Vec<u32>| {
            let limit = match list {
                List::Entities => limits.entities,
                List::Relations => limits.relations,
            };
            Fork {
                go_on,
                stop,
                threshold: log_odds(self.thresholds.of(list)),
                may_add: records < limit,
                name: (at as u64) << 1 | u64::from(list == List::Relations),
            }
        };
        let mut forks = vec![fork(found.list, found.records, found.at, go_on, stop.clone())];
        if let (Some(at), &[first, none]) = (found.next, stop.as_slice())
            && first != none
        {
            forks.push(fork(List::Relations, 0, at, first, vec![none]));
        }
        Ok(forks)
    }
}

/// What was decided at a fork that [`ListForks::find`] has found.
pub(crate) fn recorded(outcome: &Outcome) -> RecordedDecision {
    let list = List::ALL[(outcome.name & 1) as usize];
    // JSON has no infinity.
    RecordedDecision { list, at: (outcome.name >> 1) as usize, log_odds: outcome.log_odds.max(f64::MIN) }
}
