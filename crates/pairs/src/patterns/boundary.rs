//! How a pattern changes a span.

use tabpo_corpus::Span;

use super::{Words, condition::acronym_at_end};
use crate::example::Example;

/// What a `boundary` pattern does to a span; its name in the file in parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// (`edge-word`) Extends the span by the preceding word if that is one of `words`, or drops its
    /// first word if that is one of them: determiners, evaluative modifiers.
    EdgeWord(Words),
    /// (`left-modifier`) Drops the first word or extends the span by the preceding word, unless it is
    /// one of `words` (which list what does not modify: articles, prepositions); the head word stays.
    LeftModifier(Words),
    /// (`acronym`) Includes or drops a trailing `( ACR )`.
    Acronym,
    /// (`phrase`) Splits the span at one of `words` inside it, keeping either side, or extends it by
    /// one of them after the span together with the mention (or else the word) that follows:
    /// of-phrases, coordinations, prepositional phrases. A determiner after the joint is included but
    /// is not a phrase on its own.
    Phrase {
        /// What joins two phrases.
        joints: Words,
        /// The list `determiner` of the file.
        determiners: Words,
    },
}

impl Change {
    /// The spans that the change can turn this one into, each once. Gold may still not admit them.
    pub(crate) fn spans(&self, example: &Example, span: Span) -> Vec<Span> {
        let sentence = example.sentence_of(span.start);
        let without_first = (span.len() > 1).then(|| Span::new(span.start + 1, span.end));
        let with_previous = (span.start > sentence.start).then(|| Span::new(span.start - 1, span.end));
        match self {
            Change::EdgeWord(words) => {
                let shorter = without_first.filter(|_| words.has(example.word(span.start)));
                let longer = with_previous.filter(|longer| words.has(example.word(longer.start)));
                shorter.into_iter().chain(longer).collect()
            }
            Change::LeftModifier(others) => {
                let is_modifier = |token| example.is_word(token) && !others.has(example.word(token));
                let shorter = without_first.filter(|shorter| example.is_word(shorter.start) && is_modifier(span.start));
                let longer = with_previous.filter(|longer| is_modifier(longer.start));
                shorter.into_iter().chain(longer).collect()
            }
            Change::Acronym => acronym_at_end(example, span)
                .map(|group| Span::new(span.start, if group.end == span.end { group.start } else { group.end }))
                .into_iter()
                .collect(),
            Change::Phrase { joints, determiners } => phrase(joints, determiners, example, span, sentence),
        }
    }
}

fn phrase(joints: &Words, determiners: &Words, example: &Example, span: Span, sentence: Span) -> Vec<Span> {
    let mut spans = Vec::new();
    if let Some(joint) = (span.start + 1..span.end.saturating_sub(1)).find(|&token| joints.has(example.word(token))) {
        spans.push(Span::new(span.start, joint));
        spans.push(Span::new(joint + 1, span.end));
    }
    let next = span.end + 1;
    if next < sentence.end && joints.has(example.word(span.end)) {
        let mention = (next..sentence.end.min(next + 2)).find_map(|start| {
            example.entities().map(|index| example.place(index)).filter(|other| other.start == start).max()
        });
        let noun = next + u32::from(determiners.has(example.word(next)));
        let word = || (noun < sentence.end && example.is_word(noun)).then_some(noun + 1);
        let end = mention.map(|other| other.end).or_else(word);
        spans.extend(end.map(|end| Span::new(span.start, end)));
    }
    spans
}
