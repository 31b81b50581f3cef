#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bias;
mod copying_heads;
mod exchange;
mod frames;
pub mod relexicalise;
mod sentence;
mod terms;
mod vocabulary;

use std::{collections::HashSet, sync::LazyLock};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tabpo_corpus::{Document, Mention, Notes, Relation, Span};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId};

pub use copying_heads::initialise_copying;

/// The TOML text of the built-in ontology.
pub const ONTOLOGY_TOML: &str = include_str!("ontology.toml");

static ONTOLOGY: LazyLock<Ontology> =
    LazyLock::new(|| Ontology::parse(ONTOLOGY_TOML, "built-in ontology").expect("the built-in ontology is valid"));

/// The ontology of the synthetic corpus: the labels of `SciERC`.
pub fn ontology() -> &'static Ontology {
    &ONTOLOGY
}

/// The entity labels, in the order of the ontology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntityType {
    Task,
    Method,
    Metric,
    Material,
    OtherScientificTerm,
    Generic,
}

impl EntityType {
    fn id(self) -> EntityLabelId {
        EntityLabelId(self as u16)
    }
}

/// The relation types, in the order of the ontology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelationType {
    UsedFor,
    FeatureOf,
    HyponymOf,
    PartOf,
    EvaluateFor,
    Compare,
    Conjunction,
}

impl RelationType {
    fn id(self) -> RelationLabelId {
        RelationLabelId(self as u16)
    }
}

/// What to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Sentences for supervised fine-tuning, labelled by the biased annotator.
    pub sft: usize,
    /// Sentences with curated labels, for preferences and continued fine-tuning.
    pub gold: usize,
    /// Sentences for choosing settings and finding error modes.
    pub validation: usize,
    /// Sentences for the final comparison.
    pub test: usize,
    /// Probability that the biased annotator follows their bias where they have one; 0 for a
    /// clean corpus.
    pub bias: f64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { seed: 1, sft: 4400, gold: 600, validation: 600, test: 1000, bias: 0.8 }
    }
}

/// A generated corpus. No sentence occurs twice, within or between splits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntheticCorpus {
    /// For supervised fine-tuning, as the biased annotator labelled it.
    pub sft: Vec<Document>,
    /// Curated labels.
    pub gold: Vec<Document>,
    /// Curated labels.
    pub validation: Vec<Document>,
    /// Curated labels.
    pub test: Vec<Document>,
    /// What the biased annotator changed in `sft`.
    pub bias: bias::BiasCount,
}

/// Sentences of a document; the last one of a split may be shorter.
const SENTENCES_PER_DOCUMENT: std::ops::RangeInclusive<usize> = 4..=6;

/// Generates a corpus. The same configuration always gives the same corpus.
pub fn generate(config: &SyntheticConfig) -> SyntheticCorpus {
    let mut seen = HashSet::new();
    // The splits for measuring results come first, so that they do not depend on the others.
    let test = split("test", config.test, config.seed, 1, &mut seen);
    let validation = split("validation", config.validation, config.seed, 2, &mut seen);
    let gold = split("gold", config.gold, config.seed, 3, &mut seen);
    let clean = split("sft", config.sft, config.seed, 4, &mut seen);
    let (sft, bias) = bias::annotate(&clean, config.bias, config.seed);
    SyntheticCorpus { sft, gold, validation, test, bias }
}

/// A split of `count` sentences that are not in `seen`, drawn from a separate random stream.
fn split(name: &str, count: usize, seed: u64, stream: u64, seen: &mut HashSet<Vec<String>>) -> Vec<Document> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let mut documents = Vec::new();
    let mut left = count;
    while left > 0 {
        let length = rng.random_range(SENTENCES_PER_DOCUMENT).min(left);
        left -= length;
        let mut topics = Vec::new();
        let mut sentences = Vec::with_capacity(length);
        while sentences.len() < length {
            let sentence = sentence::sentence(&mut rng, &mut topics);
            if seen.insert(sentence.words.clone()) {
                sentences.push(sentence);
            }
        }
        documents.push(document(format!("{name}-{:04}", documents.len() + 1), &sentences));
    }
    documents
}

/// Joins sentences into a document.
fn document(key: String, sentences: &[sentence::Sentence]) -> Document {
    let mut document = Document { key, ..Document::default() };
    let (mut mentions, mut relations) = (Vec::new(), Vec::new());
    for sentence in sentences {
        let first_token = document.tokens.len() as u32;
        let first_mention = mentions.len();
        for word in &sentence.words {
            if !document.text.is_empty() {
                document.text.push(' ');
            }
            let start = document.text.len() as u32;
            document.text.push_str(word);
            document.tokens.push(start..document.text.len() as u32);
        }
        document.sentences.push(Span::new(first_token, document.tokens.len() as u32));
        mentions.extend(sentence.mentions.iter().map(|(range, label)| Mention {
            span: Span::new(first_token + range.start as u32, first_token + range.end as u32),
            label: label.id(),
            subtype: None,
        }));
        relations.extend(sentence.relations.iter().map(|&(head, relation, tail)| Relation {
            head: (first_mention + head) as u32,
            tail: (first_mention + tail) as u32,
            label: relation.id(),
        }));
    }
    document
        .annotate(mentions, &relations, ontology(), &mut Notes::default())
        .expect("frames relate different mentions, and the ontology has soft constraints only");
    document
}
