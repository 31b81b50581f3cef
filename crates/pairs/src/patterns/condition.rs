//! Conditions of patterns.

use std::collections::HashSet;

use tabpo_corpus::Span;
use tabpo_ontology::EntityLabelId;

use crate::example::Example;

/// A list of words and phrases, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    single: HashSet<String>,
    phrases: Vec<Vec<String>>,
}

/// Conditions on a mention. A condition that is left out holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityCondition {
    /// `text`: the whole mention is one of these.
    pub text: Option<Words>,
    /// `head_word`: its last word is one of these.
    pub head_word: Option<Words>,
    /// `first_word`: its first word is one of these.
    pub first_word: Option<Words>,
    /// `contains`: one of these occurs inside it, not at its edges.
    pub contains: Option<Words>,
    /// `before`: the word before it is one of these.
    pub before: Option<Words>,
    /// `after`: the word after it is one of these.
    pub after: Option<Words>,
    /// `determiner_before`: whether the word before it is a determiner (the list `determiner` of
    /// the file's `[words]`, English articles, demonstratives and possessives if there is none).
    pub determiner_before: Option<(bool, Words)>,
    /// `acronym`: whether a single word in parentheses ends it or follows it.
    pub acronym: Option<bool>,
    /// `tokens = [least, most]`: how many tokens it has.
    pub tokens: Option<(usize, usize)>,
    /// `repeated`: whether its text occurs elsewhere in the unit.
    pub repeated: Option<bool>,
    /// `neighbour`: the gold mention before it or the one after it has one of these labels.
    pub neighbour: Option<Vec<EntityLabelId>>,
}

/// Conditions on a relation. A condition that is left out holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelationCondition {
    /// `head`: labels of the head.
    pub head: Option<Vec<EntityLabelId>>,
    /// `tail`: labels of the tail.
    pub tail: Option<Vec<EntityLabelId>>,
    /// `cue`: one of these occurs between the arguments.
    pub cue: Option<Words>,
    /// `order`: which argument comes first in the text.
    pub order: Option<Order>,
    /// `mentions_between = [least, most]`: gold mentions between the arguments.
    pub mentions_between: Option<(usize, usize)>,
    /// `tokens_between = [least, most]`: tokens between the arguments.
    pub tokens_between: Option<(usize, usize)>,
}

/// Which argument comes first in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `head-first`.
    HeadFirst,
    /// `tail-first`.
    TailFirst,
}

impl Words {
    /// A list from entries of one or more words.
    pub(crate) fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words = Self::default();
        for entry in entries {
            let mut parts: Vec<String> = entry.split_whitespace().map(str::to_lowercase).collect();
            match parts.len() {
                0 => {}
                1 => drop(words.single.insert(parts.swap_remove(0))),
                _ => words.phrases.push(parts),
            }
        }
        words
    }

    /// Whether one word, in lower case, is in the list.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.single.contains(word)
    }

    /// Whether the words of a span are exactly one entry.
    pub(crate) fn are(&self, example: &Example, span: Span) -> bool {
        let words = example.words(span);
        match words {
            [word] => self.has(word),
            _ => self.phrases.iter().any(|phrase| phrase.len() == words.len() && phrase.iter().eq(words)),
        }
    }

    /// Whether an entry occurs within a span.
    pub(crate) fn occur_in(&self, example: &Example, span: Span) -> bool {
        let words = example.words(span);
        words.iter().any(|word| self.has(word))
            || self.phrases.iter().any(|phrase| words.windows(phrase.len()).any(|window| phrase.iter().eq(window)))
    }
}

impl EntityCondition {
    /// Whether it holds for a mention, or a possible one, on this span.
    pub(crate) fn holds(&self, example: &Example, span: Span) -> bool {
        let before = (span.start > example.span.start).then(|| example.word(span.start - 1));
        let after = (span.end < example.span.end).then(|| example.word(span.end));
        let has = |words: &Option<Words>, word: Option<&str>| {
            words.as_ref().is_none_or(|words| word.is_some_and(|word| words.has(word)))
        };
        has(&self.head_word, Some(example.word(span.end - 1)))
            && has(&self.first_word, Some(example.word(span.start)))
            && has(&self.before, before)
            && has(&self.after, after)
            && self.text.as_ref().is_none_or(|words| words.are(example, span))
            && self
                .contains
                .as_ref()
                .is_none_or(|words| span.len() > 2 && words.occur_in(example, Span::new(span.start + 1, span.end - 1)))
            && self
                .determiner_before
                .as_ref()
                .is_none_or(|(wanted, determiners)| before.is_some_and(|word| determiners.has(word)) == *wanted)
            && self.acronym.is_none_or(|wanted| acronym_at_end(example, span).is_some() == wanted)
            && self.tokens.is_none_or(|(least, most)| (least..=most).contains(&span.len()))
            && self.repeated.is_none_or(|wanted| example.other_occurrences(span).next().is_some() == wanted)
            && self.neighbour.as_ref().is_none_or(|labels| has_neighbour(example, span, labels))
    }
}

impl RelationCondition {
    /// Whether it holds for a relation, or a possible one, between two gold entities.
    pub(crate) fn holds(&self, example: &Example, head: u32, tail: u32) -> bool {
        let is = |labels: &Option<Vec<EntityLabelId>>, entity: u32| {
            labels.as_ref().is_none_or(|labels| labels.contains(&example.entity(entity).label))
        };
        let order = if example.place(head) <= example.place(tail) { Order::HeadFirst } else { Order::TailFirst };
        is(&self.head, head)
            && is(&self.tail, tail)
            && self.order.is_none_or(|wanted| wanted == order)
            && self
                .mentions_between
                .is_none_or(|(least, most)| (least..=most).contains(&example.mentions_between(head, tail)))
            && self
                .tokens_between
                .is_none_or(|(least, most)| (least..=most).contains(&example.between(head, tail).map_or(0, Span::len)))
            && self
                .cue
                .as_ref()
                .is_none_or(|words| example.between(head, tail).is_some_and(|gap| words.occur_in(example, gap)))
    }
}

/// The three tokens `( ACR )` that end a span or follow it directly.
pub(super) fn acronym_at_end(example: &Example, span: Span) -> Option<Span> {
    let is_bracketed = |group: Span| {
        example.word(group.start) == "(" && example.word(group.end - 1) == ")" && example.is_word(group.start + 1)
    };
    let inside = (span.len() > 3).then(|| Span::new(span.end - 3, span.end));
    let following = Span::new(span.end, span.end + 3);
    let following = example.sentence_of(span.start).contains(following).then_some(following);
    [inside, following].into_iter().flatten().find(|&group| is_bracketed(group))
}

fn has_neighbour(example: &Example, span: Span, labels: &[EntityLabelId]) -> bool {
    let entities = &example.gold.entities;
    let first_after = entities.partition_point(|entity| entity.span.is_some_and(|other| other.start < span.end));
    let last_before =
        entities[..first_after].iter().rposition(|entity| entity.span.is_some_and(|other| other.end <= span.start));
    [last_before, Some(first_after)]
        .into_iter()
        .flatten()
        .filter_map(|index| entities.get(index))
        .any(|entity| labels.contains(&entity.label))
}
