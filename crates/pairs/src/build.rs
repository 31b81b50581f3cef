//! Pairs from a stream of documents.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tabpo_answer::{Answer, align, gold, parse_as, render_as};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_metrics::RawAnswer;
use tabpo_ontology::{AnswerForm, Ontology};

use crate::{
    Edit, Mix, ModeRates, PairRecord, Patterns, Source, SourceShares, character_distance,
    choose::{Choice, Quota, choose},
    describe::describe,
    edit_distance,
    example::Example,
    on_policy,
    propose::{Candidate, TextPool, propose},
    summary::BuildSummary,
    targets::Targets,
};

/// Documents processed at a time, which bounds the memory.
const CHUNK: usize = 64;

/// How a model's tokenizer splits an answer, as token ids.
pub type Tokenize<'a> = &'a (dyn Fn(&str) -> Vec<u32> + Sync);

/// What to build.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildSettings {
    /// Negatives for each example.
    pub per_example: usize,
    /// The seed of every random choice.
    pub seed: u64,
    /// Whether an example is a sentence or a document.
    pub level: Level,
    /// The share of every kind of edit.
    pub mix: Mix,
    /// The share of every source.
    pub sources: SourceShares,
    /// Edits in each negative: 1 for minimal pairs; a negative has fewer where an example admits no
    /// further independent edit.
    pub edits: usize,
    /// How pairs of one example are weighted against each other.
    pub weighting: Weighting,
    /// The form in which answers are written. Texts that are not in the source cannot be marked, so the marked form has no
    /// grounding edits, and examples whose mentions cross have no pairs.
    pub form: AnswerForm,
}

/// How the pairs of an example are weighted. Either way the weights of an example's pairs sum to
/// [`BuildSettings::per_example`], so that examples count equally.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// Equally.
    #[default]
    Equal,
    /// In proportion to the target share of the pattern or mode behind each pair.
    Share,
}

/// Builds pairs. Realised shares are carried over from one call of [`PairBuilder::build`] to the next.
pub struct PairBuilder<'a> {
    targets: Targets<'a>,
    settings: BuildSettings,
    tokenize: Option<Tokenize<'a>>,
    quota: Quota,
    pool: TextPool,
    next_unit: u64,
    examples: u64,
    short: u64,
    unmarkable: u64,
    pairs: u64,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            per_example: 4,
            seed: 0,
            level: Level::Sentence,
            mix: Mix::default(),
            sources: SourceShares::equal(&[Source::Pattern, Source::Mode]).expect("two sources have a share"),
            edits: 1,
            weighting: Weighting::Equal,
            form: AnswerForm::List,
        }
    }
}

impl<'a> PairBuilder<'a> {
    /// A builder. Without a tokenizer, distances are in characters.
    pub fn new(
        ontology: &'a Ontology,
        patterns: &'a Patterns,
        rates: &ModeRates,
        settings: BuildSettings,
        tokenize: Option<Tokenize<'a>>,
    ) -> Self {
        let targets = Targets::new(ontology, patterns, rates, &settings.mix, &settings.sources, settings.form);
        let quota = Quota::new(&targets);
        let pool = TextPool::new(ontology, settings.seed);
        Self { targets, settings, tokenize, quota, pool, next_unit: 0, examples: 0, short: 0, unmarkable: 0, pairs: 0 }
    }

    /// Builds the pairs of documents and passes them to `sink` in order.
    ///
    /// `outputs` gives a model's raw answers for an example, for on-policy negatives; it is called
    /// once for every example, in order. The result depends only on the settings, the documents and
    /// these answers, not on the number of threads. Memory does not grow with the number of
    /// documents. Stops at the first error of the documents or of the sink.
    pub fn build<E>(
        &mut self,
        documents: impl IntoIterator<Item = Result<Document, E>>,
        mut outputs: impl FnMut(&Unit) -> Vec<RawAnswer>,
        mut sink: impl FnMut(PairRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut documents = documents.into_iter();
        loop {
            let chunk: Vec<Document> = documents.by_ref().take(CHUNK).collect::<Result<_, E>>()?;
            if chunk.is_empty() {
                return Ok(());
            }
            for record in self.chunk(&chunk, &mut outputs) {
                sink(record)?;
            }
        }
    }

    /// What has been built so far, compared with the targets.
    pub fn summary(&self) -> BuildSummary {
        BuildSummary {
            unmarkable: self.unmarkable,
            ..BuildSummary::new(&self.targets, &self.quota, self.examples, self.short, self.pairs)
        }
    }

    fn chunk(&mut self, documents: &[Document], outputs: &mut impl FnMut(&Unit) -> Vec<RawAnswer>) -> Vec<PairRecord> {
        for document in documents {
            self.pool.add(document);
        }
        let units: Vec<Unit> = documents.iter().flat_map(|document| Unit::all(document, self.settings.level)).collect();
        let outputs: Vec<Vec<RawAnswer>> = units.iter().map(outputs).collect();
        let golds: Vec<Answer> = units.par_iter().map(gold).collect();
        let examples: Vec<Example> =
            units.par_iter().zip(&golds).map(|(unit, gold)| Example::new(self.targets.ontology, *unit, gold)).collect();
        let first = self.next_unit;
        self.next_unit += units.len() as u64;

        let candidates: Vec<Vec<Candidate>> = examples
            .par_iter()
            .zip(outputs)
            .enumerate()
            .map(|(index, (example, outputs))| {
                let own = outputs.iter().flat_map(|output| own_edits(example, output)).collect();
                let random = self.random(first + index as u64, 0);
                propose(example, &self.targets, &self.pool, own, self.settings.per_example, random)
            })
            .collect();

        // Targets are met over the corpus, so each choice depends on all earlier ones.
        let mut chosen: Vec<Vec<Choice>> = Vec::with_capacity(examples.len());
        for ((example, candidates), number) in examples.iter().zip(candidates).zip(first..) {
            let mut random = self.random(number, 1);
            let (count, edits) = (self.settings.per_example, self.settings.edits);
            let choices = choose(example, &self.targets, &mut self.quota, candidates, count, edits, &mut random);
            self.examples += 1;
            self.short += u64::from(choices.len() < count);
            self.unmarkable += u64::from(!self.targets.can_write(example.gold, &example.unit));
            self.pairs += choices.len() as u64;
            chosen.push(choices);
        }
        examples.par_iter().zip(&chosen).flat_map_iter(|(example, choices)| self.records(example, choices)).collect()
    }

    /// The random generator of one example, one for proposing and one for choosing.
    fn random(&self, unit: u64, purpose: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed);
        random.set_stream(2 * unit + purpose + 1);
        random
    }

    fn records(&self, example: &Example, choices: &[Choice]) -> Vec<PairRecord> {
        let document = example.unit.document;
        let written = |answer: &Answer| {
            let rendered = render_as(answer, &example.unit, self.targets.ontology, self.settings.form);
            rendered.map(|rendered| rendered.text)
        };
        let Ok(chosen) = written(example.gold) else { return Vec::new() };
        let chosen_tokens = self.tokenize.map(|tokenize| tokenize(&chosen));
        let id = match example.unit.sentence {
            Some(sentence) => format!("{}:{sentence}", document.key),
            None => document.key.clone(),
        };
        let share = |choice: &Choice| match self.settings.weighting {
            Weighting::Equal => 1.0,
            Weighting::Share => {
                let way = &self.targets.ways[choice.edits[0].0 as usize];
                self.targets.kinds[way.kind.index()] * way.share
            }
        };
        let total: f64 = choices.iter().map(share).sum();
        let record = |(number, choice): (usize, &Choice)| {
            let rejected = written(&choice.negative).expect("only answers that can be written are chosen");
            let distance = match (self.tokenize, &chosen_tokens) {
                (Some(tokenize), Some(tokens)) => edit_distance(tokens, &tokenize(&rejected)),
                _ => character_distance(&chosen, &rejected),
            };
            let mut edits = choice.edits.iter().map(|(way, edit)| {
                let way = &self.targets.ways[*way as usize];
                let pattern = way.pattern.map(|index| self.targets.patterns.patterns[index as usize].id.clone());
                describe(example, edit, &choice.negative, way.source, pattern)
            });
            let mut edit = edits.next().expect("a choice has at least one edit");
            edit.further = edits.collect();
            PairRecord {
                id: format!("{id}:{number}"),
                doc_key: document.key.clone(),
                sent: example.unit.sentence,
                prompt: example.unit.text().to_owned(),
                chosen: chosen.clone(),
                rejected,
                edit,
                distance_tokens: distance as u32,
                weight: self.settings.per_example as f64 * share(choice) / total,
            }
        };
        choices.iter().enumerate().map(record).collect()
    }
}

/// The edits between gold and what a model wrote.
fn own_edits(example: &Example, output: &RawAnswer) -> Vec<Edit> {
    let parsed = parse_as(&output.text, example.ontology, output.form);
    let aligned = align(&parsed, &example.unit, example.ontology);
    on_policy::edits(example.gold, &aligned, example.ontology)
}
