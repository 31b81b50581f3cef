//! One sentence of the synthetic corpus: a frame with its slots filled.

use std::ops::Range;

use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    EntityType, RelationType,
    frames::{FRAMES, Frame, Kind},
    terms::{self, Heads},
    vocabulary as words,
};

/// A sentence before it becomes part of a document. Mentions are token ranges of the sentence.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Sentence {
    pub(super) words: Vec<String>,
    pub(super) mentions: Vec<(Range<usize>, EntityType)>,
    /// Positions in `mentions`.
    pub(super) relations: Vec<(usize, RelationType, usize)>,
}

/// Shares of what is added to a frame.
const OPENER: f64 = 0.3;
const CLOSER: f64 = 0.25;
/// A second conjunct with the same relations ("X and Y").
const COORDINATION: f64 = 0.25;
/// An example or a property of the last slot ("X such as Y", "X with Y").
const POSTMODIFIER: f64 = 0.16;
/// A term that is mentioned again in the same document.
const REUSE: f64 = 0.15;
/// A mention inside a longer one.
const NESTING: f64 = 0.012;
/// "it" for an anaphor.
const PRONOUN: f64 = 0.25;

/// Words of a slot, and which of them are a mention.
struct Filler {
    determiner: Option<&'static str>,
    term: Vec<&'static str>,
    label: EntityType,
    /// Whether the term without its first word is a mention too.
    nested: bool,
}

/// Draws a sentence. `topics` are the terms of the document so far; it grows.
pub(super) fn sentence(rng: &mut ChaCha8Rng, topics: &mut Vec<(EntityType, Vec<&'static str>)>) -> Sentence {
    let frame = FRAMES.choose_weighted(rng, |frame| frame.weight).expect("frames have positive weights");
    let kinds = choose_kinds(frame, rng);
    let fillers: Vec<Filler> = kinds.iter().map(|&(kind, first)| fill(kind, first, topics, rng)).collect();
    let mut builder = Builder::new(frame, fillers);
    if frame.slots.len() == 2 && !frame.words.contains('=') {
        builder.decorate(&kinds, topics, rng);
    }
    builder.write(rng)
}

/// The kind of each slot, and whether it is the slot's first alternative.
fn choose_kinds(frame: &Frame, rng: &mut ChaCha8Rng) -> Vec<(Kind, bool)> {
    let mut kinds: Vec<(Kind, bool)> = Vec::new();
    for alternatives in frame.slots {
        let kind = *alternatives.choose(rng).expect("a slot has a kind");
        let chosen = match kind {
            Kind::Like(slot) => kinds[slot],
            kind => (kind, kind == alternatives[0]),
        };
        kinds.push(chosen);
    }
    kinds
}

fn fill(kind: Kind, first: bool, topics: &mut Vec<(EntityType, Vec<&'static str>)>, rng: &mut ChaCha8Rng) -> Filler {
    let (label, heads) = match kind {
        Kind::Generic => return generic(words::GENERIC_METHODS, false, rng),
        Kind::Anaphor => return generic(words::GENERIC_METHODS, true, rng),
        Kind::GenericTask => return generic(words::GENERIC_TASKS, false, rng),
        Kind::GenericMaterial => return generic(words::GENERIC_MATERIALS, false, rng),
        Kind::Task if first => (EntityType::Task, terms::TASK),
        Kind::Task => (EntityType::Task, Heads::Exclusive(words::TASK_HEADS)),
        Kind::Method if first => (EntityType::Method, terms::METHOD_IN_CONTEXT),
        Kind::Method => (EntityType::Method, terms::METHOD),
        Kind::Metric => (EntityType::Metric, terms::METRIC),
        Kind::Material if first => (EntityType::Material, terms::MATERIAL_IN_CONTEXT),
        Kind::Material => (EntityType::Material, terms::MATERIAL),
        Kind::Term if first => (EntityType::OtherScientificTerm, terms::TERM_IN_CONTEXT),
        Kind::Term => (EntityType::OtherScientificTerm, terms::TERM),
        Kind::Property => (EntityType::OtherScientificTerm, Heads::Exclusive(words::PROPERTY_HEADS)),
        Kind::Part => (EntityType::OtherScientificTerm, Heads::Exclusive(words::PART_HEADS)),
        Kind::Process => (either(EntityType::Task, EntityType::Method, rng), Heads::Exclusive(words::PROCESS_HEADS)),
        Kind::Structure => {
            let label = either(EntityType::OtherScientificTerm, EntityType::Method, rng);
            (label, Heads::Exclusive(words::STRUCTURE_HEADS))
        }
        Kind::Signal => {
            let label = either(EntityType::Material, EntityType::OtherScientificTerm, rng);
            (label, Heads::Exclusive(words::SIGNAL_HEADS))
        }
        Kind::Like(_) => unreachable!("choose_kinds resolves it"),
    };
    let head = terms::head(heads, rng);
    let known: Vec<&Vec<&'static str>> = topics
        .iter()
        .filter(|(topic, term)| *topic == label && term.last() == Some(&head))
        .map(|(_, term)| term)
        .collect();
    let mut term = match known.choose(rng) {
        Some(term) if rng.random_bool(REUSE) => (*term).clone(),
        _ => terms::term(head, rng),
    };
    topics.push((label, term.clone()));
    let nested = rng.random_bool(NESTING);
    if nested {
        term.insert(0, words::NESTING_STEM);
    }
    Filler { determiner: None, term, label, nested }
}

/// The first label in two of three cases.
fn either(likely: EntityType, other: EntityType, rng: &mut ChaCha8Rng) -> EntityType {
    if rng.random_bool(2.0 / 3.0) { likely } else { other }
}

fn generic(nouns: &'static [&'static str], subject: bool, rng: &mut ChaCha8Rng) -> Filler {
    let label = EntityType::Generic;
    if subject && rng.random_bool(PRONOUN) {
        return Filler { determiner: None, term: vec!["it"], label, nested: false };
    }
    let determiner = words::DETERMINERS.choose(rng).copied();
    let term = vec![*nouns.choose(rng).expect("there are general words")];
    Filler { determiner, term, label, nested: false }
}

/// A frame with its fillers and what was added to them.
struct Builder {
    frame: &'static Frame,
    fillers: Vec<Filler>,
    /// After the filler of a slot: linking words and another filler, by position in `fillers`.
    additions: Vec<(usize, &'static str, usize)>,
    relations: Vec<(usize, RelationType, usize)>,
}

impl Builder {
    fn new(frame: &'static Frame, fillers: Vec<Filler>) -> Self {
        Self { frame, fillers, additions: Vec::new(), relations: frame.relations.to_vec() }
    }

    /// Sometimes adds a conjunct, an example or a property to a slot.
    fn decorate(
        &mut self,
        kinds: &[(Kind, bool)],
        topics: &mut Vec<(EntityType, Vec<&'static str>)>,
        rng: &mut ChaCha8Rng,
    ) {
        let slot = rng.random_range(0..2);
        let (kind, first) = kinds[slot];
        if self.fillers[slot].label == EntityType::Generic {
            return;
        }
        let added = self.fillers.len();
        let only_used_for = self.relations.iter().all(|&(_, relation, _)| relation == RelationType::UsedFor);
        if only_used_for && rng.random_bool(COORDINATION) {
            let conjunction = ["and", "and", "and", "or", "as well as"].choose(rng).expect("not empty");
            self.fillers.push(fill(kind, first, topics, rng));
            self.additions.push((slot, conjunction, added));
            for (head, relation, tail) in self.relations.clone() {
                let put = |argument: usize| if argument == slot { added } else { argument };
                self.relations.push((put(head), relation, put(tail)));
            }
            self.relations.push((slot, RelationType::Conjunction, added));
        } else if rng.random_bool(POSTMODIFIER) {
            let label = self.fillers[slot].label;
            let example = matches!(label, EntityType::Task | EntityType::Material) || rng.random_bool(0.5);
            let (linking, kind, relation) = if example {
                (["such as", "like"].choose(rng).expect("not empty"), kind, RelationType::HyponymOf)
            } else {
                (&"with", Kind::Property, RelationType::FeatureOf)
            };
            self.fillers.push(fill(kind, first, topics, rng));
            self.additions.push((slot, linking, added));
            self.relations.push((added, relation, slot));
        }
    }

    fn write(self, rng: &mut ChaCha8Rng) -> Sentence {
        let mut writer = Writer { sentence: Sentence::default(), mention_of: vec![None; self.fillers.len()] };
        if !self.frame.words.contains(" ,") && rng.random_bool(OPENER) {
            writer.words(words::OPENERS.choose(rng).expect("not empty"));
        }
        for token in self.frame.words.split(' ') {
            if let Some((prefix, slot)) = slot_of(token) {
                self.write_slot(prefix, slot, &mut writer);
            } else {
                let alternatives: Vec<&str> = token.split('|').collect();
                match *alternatives.choose(rng).expect("splitting gives at least one piece") {
                    "_" => {}
                    chosen => writer.words(&chosen.replace('+', " ")),
                }
            }
        }
        if rng.random_bool(CLOSER) {
            writer.words(words::CLOSERS.choose(rng).expect("not empty"));
        }
        writer.words(".");
        writer.finish(&self.relations)
    }

    fn write_slot(&self, prefix: &str, slot: usize, writer: &mut Writer) {
        let filler = &self.fillers[slot];
        if prefix == "=" {
            writer.words(&filler.term.join(" "));
            return;
        }
        match (prefix, filler.determiner) {
            (_, Some(determiner)) => writer.words(determiner),
            // A general word brings its own determiner or, as a pronoun, needs none.
            ("a", None) if filler.label != EntityType::Generic => writer.words(article(filler.term[0])),
            ("the", None) if filler.label != EntityType::Generic => writer.words("the"),
            _ => {}
        }
        writer.mention(filler, slot);
        for &(_, linking, added) in self.additions.iter().filter(|(after, ..)| *after == slot) {
            writer.words(linking);
            writer.mention(&self.fillers[added], added);
        }
    }
}

/// The prefix and number of a slot token: `0`, `a0`, `the0`, `=0`.
fn slot_of(token: &str) -> Option<(&str, usize)> {
    let (prefix, digit) = token.split_at(token.len() - 1);
    Some((prefix, digit.parse().ok()?)).filter(|(prefix, _)| matches!(*prefix, "" | "a" | "the" | "="))
}

fn article(next: &str) -> &'static str {
    if next.starts_with(['a', 'e', 'i', 'o']) || next.starts_with("un") && !next.starts_with("uni") {
        "an"
    } else {
        "a"
    }
}

/// Writes words and records where mentions are.
struct Writer {
    sentence: Sentence,
    /// For each filler the position of its mention.
    mention_of: Vec<Option<usize>>,
}

impl Writer {
    fn words(&mut self, words: &str) {
        self.sentence.words.extend(words.split(' ').map(str::to_owned));
    }

    fn mention(&mut self, filler: &Filler, index: usize) {
        let start = self.sentence.words.len();
        self.sentence.words.extend(filler.term.iter().map(|&word| word.to_owned()));
        let end = self.sentence.words.len();
        self.mention_of[index] = Some(self.sentence.mentions.len());
        self.sentence.mentions.push((start..end, filler.label));
        if filler.nested {
            self.sentence.mentions.push((start + 1..end, filler.label));
        }
    }

    fn finish(mut self, relations: &[(usize, RelationType, usize)]) -> Sentence {
        if let Some(first) = self.sentence.words.first_mut() {
            let mut letters = first.chars();
            if let Some(letter) = letters.next() {
                *first = letter.to_uppercase().chain(letters).collect();
            }
        }
        let mention = |filler: usize| self.mention_of[filler].expect("a frame writes every slot that it has");
        self.sentence.relations =
            relations.iter().map(|&(head, relation, tail)| (mention(head), relation, mention(tail))).collect();
        self.sentence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_writes_each_slot_once_and_relates_only_slots_that_it_has() {
        for frame in FRAMES {
            let mut written: Vec<usize> = frame
                .words
                .split(' ')
                .filter_map(slot_of)
                .filter(|(prefix, _)| *prefix != "=")
                .map(|(_, slot)| slot)
                .collect();
            written.sort_unstable();
            assert_eq!(written, (0..frame.slots.len()).collect::<Vec<_>>(), "{}", frame.words);
            for &(head, _, tail) in frame.relations {
                assert!(head < frame.slots.len() && tail < frame.slots.len() && head != tail, "{}", frame.words);
            }
            for (index, alternatives) in frame.slots.iter().enumerate() {
                assert!(!alternatives.is_empty());
                for kind in *alternatives {
                    assert!(!matches!(kind, Kind::Like(slot) if *slot >= index), "{}", frame.words);
                }
            }
        }
    }
}
