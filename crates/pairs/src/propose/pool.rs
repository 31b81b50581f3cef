//! Texts for mentions that do not occur in the source.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_corpus::Document;
use tabpo_ontology::{EntityLabelId, Ontology};

use crate::example::Example;

/// Texts kept for each label.
const CAPACITY: usize = 512;
/// How often an unsuitable text is drawn again.
const ATTEMPTS: usize = 16;

/// A fixed-size random sample of the mention texts seen so far, for each label.
///
/// Filled in corpus order by reservoir sampling (Vitter 1985, algorithm R), so it depends on the
/// seed and the preceding documents, not on the number of threads.
pub(crate) struct TextPool {
    labels: Vec<Reservoir>,
    random: ChaCha8Rng,
}

#[derive(Default)]
struct Reservoir {
    seen: u64,
    texts: Vec<String>,
}

impl TextPool {
    pub(crate) fn new(ontology: &Ontology, seed: u64) -> Self {
        let labels = ontology.entities.iter().map(|_| Reservoir::default()).collect();
        Self { labels, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Adds the mentions of a document.
    pub(crate) fn add(&mut self, document: &Document) {
        for mention in &document.mentions {
            let reservoir = &mut self.labels[mention.label.index()];
            let text = document.span_text(mention.span);
            reservoir.seen += 1;
            if reservoir.texts.len() < CAPACITY {
                reservoir.texts.push(text.to_owned());
            } else {
                let slot = self.random.random_range(0..reservoir.seen);
                if let Some(kept) = reservoir.texts.get_mut(slot as usize) {
                    text.clone_into(kept);
                }
            }
        }
    }

    /// The text of a mention of this label that does not occur in the source.
    pub(crate) fn draw(&self, label: EntityLabelId, example: &Example, random: &mut ChaCha8Rng) -> Option<&str> {
        let texts = &self.labels[label.index()].texts;
        if texts.is_empty() {
            return None;
        }
        (0..ATTEMPTS).map(|_| texts[random.random_range(0..texts.len())].as_str()).find(|text| !example.holds(text))
    }
}
