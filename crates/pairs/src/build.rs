//! Pairs from a stream of documents.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tabpo_answer::{Answer, align, gold, parse, render};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_ontology::Ontology;

use crate::{
    Edit, Mix, ModeRates, PairRecord, Patterns, Source, SourceShares, character_distance,
    choose::{Choice, Quota, choose},
    describe::describe,
    edit_distance, on_policy,
    plan::Plan,
    propose::{Candidate, TextPool, propose},
    scene::Scene,
    summary::BuildSummary,
};

/// Documents that are worked on at a time: bounds the memory.
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
    /// What an example is.
    pub level: Level,
    /// The share of every kind of edit.
    pub mix: Mix,
    /// The share of every source.
    pub sources: SourceShares,
    /// Edits in each negative: 1 for minimal pairs; fewer than asked for where an example has no
    /// further independent edit.
    pub edits: usize,
    /// How pairs of one example are weighted against each other.
    pub weighting: Weighting,
}

/// How the pairs of an example are weighted. Either way the weights of an example's pairs sum to
/// the number of negatives asked for, so that examples count equally.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// Equally.
    #[default]
    Equal,
    /// In proportion to the target share of the pattern or mode behind each pair.
    Share,
}

/// Makes pairs; the realised shares carry on from one call of [`PairBuilder::build`] to the next.
pub struct PairBuilder<'a> {
    plan: Plan<'a>,
    settings: BuildSettings,
    tokenize: Option<Tokenize<'a>>,
    quota: Quota,
    pool: TextPool,
    next_unit: u64,
    examples: u64,
    short: u64,
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
        let plan = Plan::new(ontology, patterns, rates, &settings.mix, &settings.sources);
        let quota = Quota::new(&plan);
        let pool = TextPool::new(ontology, settings.seed);
        Self { plan, settings, tokenize, quota, pool, next_unit: 0, examples: 0, short: 0, pairs: 0 }
    }

    /// Makes the pairs of documents and hands them to `sink` in order.
    ///
    /// `outputs` gives a model's raw answers for an example, for on-policy negatives; it is called
    /// once for every example, in order. The result depends on the settings, the documents and
    /// these answers alone, not on the number of threads. Memory does not grow with the number of
    /// documents. Stops at the first error of the documents or of the sink.
    pub fn build<E>(
        &mut self,
        documents: impl IntoIterator<Item = Result<Document, E>>,
        mut outputs: impl FnMut(&Unit) -> Vec<String>,
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

    /// What was built so far, against what was asked for.
    pub fn summary(&self) -> BuildSummary {
        BuildSummary::new(&self.plan, &self.quota, self.examples, self.short, self.pairs)
    }

    fn chunk(&mut self, documents: &[Document], outputs: &mut impl FnMut(&Unit) -> Vec<String>) -> Vec<PairRecord> {
        for document in documents {
            self.pool.add(document);
        }
        let units: Vec<Unit> = documents.iter().flat_map(|document| Unit::all(document, self.settings.level)).collect();
        let outputs: Vec<Vec<String>> = units.iter().map(outputs).collect();
        let golds: Vec<Answer> = units.par_iter().map(gold).collect();
        let scenes: Vec<Scene> =
            units.par_iter().zip(&golds).map(|(unit, gold)| Scene::new(self.plan.ontology, *unit, gold)).collect();
        let first = self.next_unit;
        self.next_unit += units.len() as u64;

        let candidates: Vec<Vec<Candidate>> = scenes
            .par_iter()
            .zip(outputs)
            .enumerate()
            .map(|(index, (scene, outputs))| {
                let own = outputs.iter().flat_map(|output| own_steps(scene, output)).collect();
                let random = self.random(first + index as u64, 0);
                propose(scene, &self.plan, &self.pool, own, self.settings.per_example, random)
            })
            .collect();

        // Targets are met over the corpus, so the choice goes example by example.
        let mut chosen: Vec<Vec<Choice>> = Vec::with_capacity(scenes.len());
        for ((scene, candidates), number) in scenes.iter().zip(candidates).zip(first..) {
            let mut random = self.random(number, 1);
            let (count, edits) = (self.settings.per_example, self.settings.edits);
            let choices = choose(scene, &self.plan, &mut self.quota, candidates, count, edits, &mut random);
            self.examples += 1;
            self.short += u64::from(choices.len() < count);
            self.pairs += choices.len() as u64;
            chosen.push(choices);
        }
        scenes.par_iter().zip(&chosen).flat_map_iter(|(scene, choices)| self.records(scene, choices)).collect()
    }

    /// The random numbers of one example, separate for proposing and choosing.
    fn random(&self, unit: u64, purpose: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed);
        random.set_stream(2 * unit + purpose + 1);
        random
    }

    fn records(&self, scene: &Scene, choices: &[Choice]) -> Vec<PairRecord> {
        let document = scene.unit.document;
        let chosen = render(scene.gold, self.plan.ontology).text;
        let chosen_tokens = self.tokenize.map(|tokenize| tokenize(&chosen));
        let example = match scene.unit.sentence {
            Some(sentence) => format!("{}:{sentence}", document.key),
            None => document.key.clone(),
        };
        let share = |choice: &Choice| match self.settings.weighting {
            Weighting::Equal => 1.0,
            Weighting::Share => {
                let way = &self.plan.ways[choice.edits[0].0 as usize];
                self.plan.kinds[way.kind.index()] * way.share
            }
        };
        let total: f64 = choices.iter().map(share).sum();
        let record = |(number, choice): (usize, &Choice)| {
            let rejected = render(&choice.negative, self.plan.ontology).text;
            let distance = match (self.tokenize, &chosen_tokens) {
                (Some(tokenize), Some(tokens)) => edit_distance(tokens, &tokenize(&rejected)),
                _ => character_distance(&chosen, &rejected),
            };
            let mut edits = choice.edits.iter().map(|(way, edit)| {
                let way = &self.plan.ways[*way as usize];
                let pattern = way.pattern.map(|index| self.plan.patterns.patterns[index as usize].id.clone());
                describe(scene, edit, &choice.negative, way.source, pattern)
            });
            let mut edit = edits.next().expect("a choice has at least one edit");
            edit.further = edits.collect();
            PairRecord {
                id: format!("{example}:{number}"),
                doc_key: document.key.clone(),
                sent: scene.unit.sentence,
                prompt: scene.unit.text().to_owned(),
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
fn own_steps(scene: &Scene, output: &str) -> Vec<Edit> {
    let parsed = parse(output, scene.ontology);
    let aligned = align(&parsed, &scene.unit, scene.ontology);
    on_policy::steps(scene.gold, &aligned, scene.ontology)
}
