//! Terms of the synthetic corpus: familiar ones that come again and again, and fresh ones.

use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::vocabulary as words;

/// The words that a term's head is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Heads {
    /// Heads of one label, or of one special group.
    Exclusive(&'static [&'static str]),
    /// With the given probability a head that another label has too, otherwise an exclusive one.
    Mixed { shared: &'static [&'static str], probability: f64, exclusive: &'static [&'static str] },
}

pub(super) const TASK: Heads =
    Heads::Mixed { shared: words::PROCESS_HEADS, probability: 0.85, exclusive: words::TASK_HEADS };
pub(super) const METHOD: Heads = Heads::Exclusive(words::METHOD_HEADS);
/// Methods where the context says that they are methods.
pub(super) const METHOD_IN_CONTEXT: Heads =
    Heads::Mixed { shared: PROCESSES_AND_STRUCTURES, probability: 0.3, exclusive: words::METHOD_HEADS };
pub(super) const MATERIAL: Heads = Heads::Exclusive(words::MATERIAL_HEADS);
/// Materials where the context says that they are materials.
pub(super) const MATERIAL_IN_CONTEXT: Heads =
    Heads::Mixed { shared: words::SIGNAL_HEADS, probability: 0.35, exclusive: words::MATERIAL_HEADS };
pub(super) const METRIC: Heads =
    Heads::Mixed { shared: words::QUANTITY_HEADS, probability: 0.3, exclusive: words::METRIC_HEADS };
pub(super) const TERM: Heads = Heads::Exclusive(words::TERM_HEADS);
/// Other scientific terms where the context says that they are neither method, material nor metric.
pub(super) const TERM_IN_CONTEXT: Heads =
    Heads::Mixed { shared: STRUCTURES_SIGNALS_QUANTITIES, probability: 0.2, exclusive: words::TERM_HEADS };

/// Heads that a Method shares with a Task or with an `OtherScientificTerm`.
const PROCESSES_AND_STRUCTURES: &[&str] = &[
    "parsing",
    "learning",
    "segmentation",
    "classification",
    "clustering",
    "alignment",
    "analysis",
    "tagging",
    "representation",
    "grammar",
    "rule",
    "mapping",
    "template",
    "transform",
];
/// Heads that an `OtherScientificTerm` shares with a Method, a Material or a Metric.
const STRUCTURES_SIGNALS_QUANTITIES: &[&str] = &[
    "representation",
    "grammar",
    "rule",
    "mapping",
    "template",
    "transform",
    "text",
    "speech",
    "sequence",
    "rate",
    "cost",
    "quality",
];

/// How terms are made up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Composition {
    /// Share of terms that are drawn from the familiar ones.
    pub(super) familiar: f64,
    /// Number of familiar modifiers for each head.
    pub(super) familiar_modifiers: usize,
    /// Share of fresh terms with two stems rather than one.
    pub(super) two_stems: f64,
}

pub(super) const COMPOSITION: Composition = Composition { familiar: 0.38, familiar_modifiers: 12, two_stems: 0.46 };

/// Draws a head.
pub(super) fn head(heads: Heads, rng: &mut ChaCha8Rng) -> &'static str {
    let list = match heads {
        Heads::Exclusive(list) => list,
        Heads::Mixed { shared, probability, exclusive } => {
            if rng.random_bool(probability) {
                shared
            } else {
                exclusive
            }
        }
    };
    list.choose(rng).expect("head lists are not empty")
}

/// Draws a term with this head: one or two stems and the head.
pub(super) fn term(head: &'static str, rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    if rng.random_bool(COMPOSITION.familiar) {
        return familiar(head, rng);
    }
    let first = stem(rng);
    if !rng.random_bool(COMPOSITION.two_stems) {
        return vec![first, head];
    }
    let second = stem(rng);
    if first == second { vec![first, head] } else { vec![first, second, head] }
}

fn stem(rng: &mut ChaCha8Rng) -> &'static str {
    words::STEMS.choose(rng).expect("there are stems")
}

/// One of the terms with this head that come again and again; the first ones most often. Which
/// stems they have depends on the head alone.
fn familiar(head: &'static str, rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    // Uniform below a uniform bound: low ranks are the likeliest.
    let bound = rng.random_range(1..=COMPOSITION.familiar_modifiers);
    let rank = rng.random_range(0..bound);
    // A fixed, well-spread walk over the stems that starts elsewhere for every head.
    let start = head.bytes().fold(7, |sum, byte| (sum * 31 + usize::from(byte)) % words::STEMS.len());
    let at = |step: usize| words::STEMS[(start + step * 97) % words::STEMS.len()];
    if rank % 3 == 2 { vec![at(rank), at(rank + 100), head] } else { vec![at(rank), head] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_heads_are_those_of_the_vocabulary() {
        for head in PROCESSES_AND_STRUCTURES {
            assert!(words::PROCESS_HEADS.contains(head) || words::STRUCTURE_HEADS.contains(head), "{head}");
        }
        let lists = [words::STRUCTURE_HEADS, words::SIGNAL_HEADS, words::QUANTITY_HEADS].concat();
        for head in STRUCTURES_SIGNALS_QUANTITIES {
            assert!(lists.contains(head), "{head}");
        }
    }
}
