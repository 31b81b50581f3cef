//! An annotator with systematic errors.
//!
//! The annotator looks at the head noun and not at the context. Where two labels share a head noun, they have a
//! favourite, and in a share of these cases they write it regardless of the meaning:
//!
//! | mention | head noun | written as |
//! |---|---|---|
//! | Task | a process (parsing, learning, ...) | Method |
//! | Method | a structure (representation, grammar, ...) | `OtherScientificTerm` |
//! | Material | a signal (text, speech, ...) | `OtherScientificTerm` |
//! | Metric | a quantity (rate, cost, quality) | `OtherScientificTerm` |
//! | `OtherScientificTerm` | a part (layer, node, ...) | Method |
//!
//! Relations: Compare is written as Conjunction, Part-of as Feature-of, and Hyponym-of with its
//! direction reversed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use tabpo_corpus::{Document, Mention, Notes};

use crate::{EntityType, RelationType, ontology, vocabulary as words};

/// What an annotator's bias changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct BiasCount {
    /// Mentions in all.
    pub mentions: u64,
    /// Mentions with a wrong label.
    pub wrong_mentions: u64,
    /// Relations in all.
    pub relations: u64,
    /// Relations with a wrong type or direction.
    pub wrong_relations: u64,
}

/// The label that the annotator favours for such a mention, if it is not the right one.
fn favourite(mention: EntityType, head: &str) -> Option<EntityType> {
    let (heads, favourite) = match mention {
        EntityType::Task => (words::PROCESS_HEADS, EntityType::Method),
        EntityType::Method => (words::STRUCTURE_HEADS, EntityType::OtherScientificTerm),
        EntityType::Material => (words::SIGNAL_HEADS, EntityType::OtherScientificTerm),
        EntityType::Metric => (words::QUANTITY_HEADS, EntityType::OtherScientificTerm),
        EntityType::OtherScientificTerm => (words::PART_HEADS, EntityType::Method),
        EntityType::Generic => return None,
    };
    heads.contains(&head).then_some(favourite)
}

/// Documents of the synthetic corpus as the biased annotator labels them: with this probability,
/// from a seed, each mention and relation that the bias concerns gets the wrong label.
pub fn annotate(documents: &[Document], probability: f64, seed: u64) -> (Vec<Document>, BiasCount) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX);
    let mut count = BiasCount::default();
    let biased = documents.iter().map(|document| biased_document(document, probability, &mut rng, &mut count));
    (biased.collect(), count)
}

fn biased_document(document: &Document, probability: f64, rng: &mut ChaCha8Rng, count: &mut BiasCount) -> Document {
    let mut mentions = Vec::with_capacity(document.mentions.len());
    for mention in &document.mentions {
        let head = document.token(mention.span.end as usize - 1);
        let own = ENTITY_TYPES[mention.label.index()];
        let wrong = favourite(own, head).filter(|_| rng.random_bool(probability));
        count.mentions += 1;
        count.wrong_mentions += u64::from(wrong.is_some());
        mentions.push(Mention { label: wrong.unwrap_or(own).id(), ..*mention });
    }
    let mut relations = Vec::with_capacity(document.relations.len());
    for relation in &document.relations {
        let mut written = *relation;
        let type_of = |kind: RelationType| relation.label == kind.id();
        count.relations += 1;
        let concerned = [RelationType::Compare, RelationType::PartOf, RelationType::HyponymOf].into_iter().any(type_of);
        if concerned && rng.random_bool(probability) {
            count.wrong_relations += 1;
            if type_of(RelationType::Compare) {
                written.label = RelationType::Conjunction.id();
            } else if type_of(RelationType::PartOf) {
                written.label = RelationType::FeatureOf.id();
            } else {
                (written.head, written.tail) = (relation.tail, relation.head);
            }
        }
        relations.push(written);
    }
    let mut biased = document.clone();
    biased
        .annotate(mentions, &relations, ontology(), &mut Notes::default())
        .expect("the bias keeps arguments apart, and the ontology has soft constraints only");
    biased
}

/// The labels by their ids.
const ENTITY_TYPES: [EntityType; 6] = [
    EntityType::Task,
    EntityType::Method,
    EntityType::Metric,
    EntityType::Material,
    EntityType::OtherScientificTerm,
    EntityType::Generic,
];
