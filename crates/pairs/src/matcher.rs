//! The edits that patterns propose for a document.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tabpo_answer::gold;
use tabpo_corpus::{Document, Level, Unit};
use tabpo_ontology::{AnswerForm, Ontology};

use crate::{
    EditRecord, Kind, Mix, ModeRates, Patterns, Source, SourceShares, apply,
    describe::describe,
    example::Example,
    propose::{TextPool, propose},
    targets::Targets,
};

/// Finds the edits that patterns propose, without selecting any.
pub struct PatternMatcher<'a> {
    targets: Targets<'a>,
    pool: TextPool,
    seed: u64,
    next_unit: u64,
}

/// An edit that a pattern proposes for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatternMatch {
    /// The document.
    pub doc_key: String,
    /// The sentence, or null where the whole document is the example.
    pub sent: Option<u32>,
    /// The edit; it names the pattern.
    pub edit: EditRecord,
}

impl<'a> PatternMatcher<'a> {
    /// A matcher. The seed decides which phrases insertions consider and which texts are invented.
    pub fn new(ontology: &'a Ontology, patterns: &'a Patterns, seed: u64) -> Self {
        let mix = Mix::new([1.0; Kind::ALL.len()]).expect("the shares are not 0");
        let sources = SourceShares::equal(&[Source::Pattern]).expect("one source has a share");
        let targets = Targets::new(ontology, patterns, &ModeRates::default(), &mix, &sources, AnswerForm::List);
        Self { targets, pool: TextPool::new(ontology, seed), seed, next_unit: 0 }
    }

    /// All edits that patterns propose for a document, by example and pattern.
    pub fn matches(&mut self, document: &Document, level: Level) -> Vec<PatternMatch> {
        self.pool.add(document);
        let mut matches = Vec::new();
        for unit in Unit::all(document, level) {
            let gold = gold(&unit);
            let example = Example::new(self.targets.ontology, unit, &gold);
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(self.next_unit);
            self.next_unit += 1;
            for candidate in propose(&example, &self.targets, &self.pool, Vec::new(), 1, random) {
                let way = &self.targets.ways[candidate.way as usize];
                let pattern = way.pattern.map(|index| self.targets.patterns.patterns[index as usize].id.clone());
                let negative = apply(std::slice::from_ref(&candidate.edit), &gold, &unit);
                let edit = describe(&example, &candidate.edit, &negative, way.source, pattern);
                matches.push(PatternMatch { doc_key: document.key.clone(), sent: unit.sentence, edit });
            }
        }
        matches
    }
}
