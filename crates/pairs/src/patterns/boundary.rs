//! How a pattern changes a span.

use tabpo_corpus::Span;

use super::{Words, condition::acronym_at_end};
use crate::scene::Scene;

/// What a `boundary` pattern does to a span; the name in the file in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// (`edge-word`) Takes in the word before the span if it is one of `words`, or gives up the
    /// first word if that is one of them: determiners, evaluative modifiers.
    EdgeWord(Words),
    /// (`left-modifier`) Gives up the first word or takes in the word before, if that is none of
    /// `words` (which list what is no modifier: articles, prepositions); the head word stays.
    LeftModifier(Words),
    /// (`acronym`) Takes in or gives up `( ACR )` behind the span.
    Acronym,
    /// (`phrase`) Splits at one of `words` inside the span, keeping either side, or takes in one
    /// of them behind the span together with the mention (or else the word) that follows it:
    /// of-phrases, coordinations, prepositional phrases. A determiner behind the joint comes along
    /// but is no phrase by itself.
    Phrase {
        /// What joins two phrases.
        joints: Words,
        /// The list `determiner` of the file.
        determiners: Words,
    },
}

impl Change {
    /// The spans that the change makes of one, each once. They may still be impossible to place.
    pub fn spans(&self, scene: &Scene, span: Span) -> Vec<Span> {
        let sentence = scene.sentence_of(span.start);
        let without_first = (span.len() > 1).then(|| Span::new(span.start + 1, span.end));
        let with_previous = (span.start > sentence.start).then(|| Span::new(span.start - 1, span.end));
        match self {
            Change::EdgeWord(words) => {
                let shorter = without_first.filter(|_| words.has(scene.word(span.start)));
                let longer = with_previous.filter(|longer| words.has(scene.word(longer.start)));
                shorter.into_iter().chain(longer).collect()
            }
            Change::LeftModifier(others) => {
                let is_modifier = |token| scene.is_word(token) && !others.has(scene.word(token));
                let shorter = without_first.filter(|shorter| scene.is_word(shorter.start) && is_modifier(span.start));
                let longer = with_previous.filter(|longer| is_modifier(longer.start));
                shorter.into_iter().chain(longer).collect()
            }
            Change::Acronym => acronym_at_end(scene, span)
                .map(|group| Span::new(span.start, if group.end == span.end { group.start } else { group.end }))
                .into_iter()
                .collect(),
            Change::Phrase { joints, determiners } => phrase(joints, determiners, scene, span, sentence),
        }
    }
}

fn phrase(joints: &Words, determiners: &Words, scene: &Scene, span: Span, sentence: Span) -> Vec<Span> {
    let mut spans = Vec::new();
    if let Some(joint) = (span.start + 1..span.end.saturating_sub(1)).find(|&token| joints.has(scene.word(token))) {
        spans.push(Span::new(span.start, joint));
        spans.push(Span::new(joint + 1, span.end));
    }
    let next = span.end + 1;
    if next < sentence.end && joints.has(scene.word(span.end)) {
        let mention = (next..sentence.end.min(next + 2)).find_map(|start| {
            scene.entities().map(|index| scene.place(index)).filter(|other| other.start == start).max()
        });
        let noun = next + u32::from(determiners.has(scene.word(next)));
        let word = || (noun < sentence.end && scene.is_word(noun)).then_some(noun + 1);
        let end = mention.map(|other| other.end).or_else(word);
        spans.extend(end.map(|end| Span::new(span.start, end)));
    }
    spans
}
