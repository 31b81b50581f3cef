//! A unit with its gold answer, and what may be done to it.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, comparable};
use tabpo_corpus::{Span, Unit};
use tabpo_ontology::{Ontology, RelationLabelId};

/// What proposals and conditions look at: one unit, its gold answer and its words.
pub struct Scene<'a> {
    /// The labels.
    pub ontology: &'a Ontology,
    /// The unit.
    pub unit: Unit<'a>,
    /// Its gold answer.
    pub gold: &'a Answer,
    /// The tokens of the unit, counted from the document's start.
    pub span: Span,
    words: Vec<Cow<'a, str>>,
    plain_text: OnceLock<String>,
    index: OnceLock<Index>,
}

/// Where gold items stand, so that a look at one place does not go through all of them.
pub(crate) struct Index {
    /// The gold mentions that hold each token of the unit.
    pub(crate) holders: Vec<Vec<u32>>,
    /// The relations of each gold entity.
    pub(crate) relations_of: Vec<Vec<u32>>,
    /// The types stated from one span to another.
    pub(crate) stated: HashMap<(Span, Span), Vec<RelationLabelId>>,
}

impl<'a> Scene<'a> {
    /// Looks at a unit.
    pub fn new(ontology: &'a Ontology, unit: Unit<'a>, gold: &'a Answer) -> Self {
        let span = unit.span();
        let words = span.range().map(|token| lower_case(unit.document.token(token))).collect();
        Self { ontology, unit, gold, span, words, plain_text: OnceLock::new() }
    }

    /// A token of the unit in lower case.
    pub fn word(&self, token: u32) -> &str {
        &self.words[(token - self.span.start) as usize]
    }

    /// The words of a span in lower case.
    pub fn words(&self, span: Span) -> &[Cow<'a, str>] {
        &self.words[(span.start - self.span.start) as usize..(span.end - self.span.start) as usize]
    }

    /// Whether the source holds a text, letter case, number of blanks and how characters are composed aside.
    pub fn holds(&self, text: &str) -> bool {
        self.plain_text.get_or_init(|| plain(self.unit.text())).contains(&plain(text))
    }

    /// A gold entity.
    pub fn entity(&self, index: u32) -> &'a AnswerEntity {
        &self.gold.entities[index as usize]
    }

    /// The span of a gold entity.
    pub fn place(&self, index: u32) -> Span {
        self.entity(index).span.expect("gold entities are grounded")
    }

    /// A gold relation.
    pub fn relation(&self, index: u32) -> AnswerRelation {
        self.gold.relations[index as usize]
    }

    /// Positions of all gold entities.
    pub fn entities(&self) -> std::ops::Range<u32> {
        0..self.gold.entities.len() as u32
    }

    /// Positions of all gold relations.
    pub fn relations(&self) -> std::ops::Range<u32> {
        0..self.gold.relations.len() as u32
    }

    /// The sentence that a token stands in, within the unit: what a mention never crosses.
    pub fn sentence_of(&self, token: u32) -> Span {
        if self.unit.sentence.is_some() {
            return self.span;
        }
        let sentences = &self.unit.document.sentences;
        let index = sentences.partition_point(|sentence| sentence.end <= token);
        sentences.get(index).copied().filter(|sentence| sentence.start <= token).unwrap_or(self.span)
    }

    /// Whether the type is usual between these entities (soft constraints count too).
    pub fn signature_fits(&self, label: RelationLabelId, head: u32, tail: u32) -> bool {
        self.ontology.signature_fits(label, self.entity(head).label, self.entity(tail).label)
    }

    /// The tokens strictly between two entities; `None` where they touch or overlap.
    pub fn between(&self, a: u32, b: u32) -> Option<Span> {
        let (a, b) = (self.place(a), self.place(b));
        let (first, second) = if a.start <= b.start { (a, b) } else { (b, a) };
        (first.end < second.start).then(|| Span::new(first.end, second.start))
    }

    /// How many gold mentions lie between two entities.
    pub fn mentions_between(&self, a: u32, b: u32) -> usize {
        let Some(gap) = self.between(a, b) else { return 0 };
        self.entities().filter(|&index| gap.contains(self.place(index))).count()
    }

    /// Other places of the unit, inside one sentence each, where the words of a span stand.
    pub fn other_occurrences(&self, span: Span) -> impl Iterator<Item = Span> {
        let document = self.unit.document;
        let length = span.end - span.start;
        let text = document.span_text(span);
        (self.span.start..(self.span.end + 1).saturating_sub(length))
            .map(move |start| Span::new(start, start + length))
            .filter(move |&other| other != span && self.word(other.start) == self.word(span.start))
            .filter(move |&other| document.span_text(other) == text)
            .filter(|other| self.sentence_of(other.start).contains(*other))
    }

    /// Whether a token has a letter or digit.
    pub fn is_word(&self, token: u32) -> bool {
        self.word(token).chars().any(char::is_alphanumeric)
    }
}

fn lower_case(word: &str) -> Cow<'_, str> {
    if word.chars().any(char::is_uppercase) { Cow::Owned(word.to_lowercase()) } else { Cow::Borrowed(word) }
}

fn plain(text: &str) -> String {
    comparable(text.to_lowercase()).into_owned()
}
