//! An example: a unit with its gold answer.

use std::{borrow::Cow, collections::HashMap, sync::OnceLock};

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, comparable};
use tabpo_corpus::{Span, Unit};
use tabpo_ontology::{Ontology, RelationLabelId};

/// One unit with its gold answer and its words, as proposals and conditions see it.
pub(crate) struct Example<'a> {
    /// The labels.
    pub(crate) ontology: &'a Ontology,
    /// The unit.
    pub(crate) unit: Unit<'a>,
    /// Its gold answer.
    pub(crate) gold: &'a Answer,
    /// The tokens of the unit, counted from the document's start.
    pub(crate) span: Span,
    words: Vec<Cow<'a, str>>,
    plain_text: OnceLock<String>,
    index: OnceLock<Index>,
}

/// Lookups by token and by entity, so that no question needs a pass over the whole unit.
pub(crate) struct Index {
    /// The gold entities on each token of the unit.
    on_token: Vec<Vec<u32>>,
    /// The gold relations of each gold entity.
    pub(crate) relations_of: Vec<Vec<u32>>,
    /// The relation types of gold from one span to another.
    pub(crate) stated: HashMap<(Span, Span), Vec<RelationLabelId>>,
    /// For each token of the unit, the first that has the same word, and the next if there is one.
    same_word: Vec<(u32, Option<u32>)>,
}

impl<'a> Example<'a> {
    /// The example of a unit with this gold answer.
    pub(crate) fn new(ontology: &'a Ontology, unit: Unit<'a>, gold: &'a Answer) -> Self {
        let span = unit.span();
        let words = span.range().map(|token| lower_case(unit.document.token(token))).collect();
        Self { ontology, unit, gold, span, words, plain_text: OnceLock::new(), index: OnceLock::new() }
    }

    /// Built when it is first needed.
    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut on_token = vec![Vec::new(); self.span.len()];
            for entity in self.entities() {
                let place = self.place(entity);
                for token in place.start..place.end {
                    on_token[(token - self.span.start) as usize].push(entity);
                }
            }
            let mut relations_of = vec![Vec::new(); self.gold.entities.len()];
            let mut stated: HashMap<_, Vec<RelationLabelId>> = HashMap::new();
            for (number, relation) in (0..).zip(&self.gold.relations) {
                relations_of[relation.head as usize].push(number);
                if relation.tail != relation.head {
                    relations_of[relation.tail as usize].push(number);
                }
                stated.entry((self.place(relation.head), self.place(relation.tail))).or_default().push(relation.label);
            }
            let mut same_word: Vec<(u32, Option<u32>)> = Vec::with_capacity(self.words.len());
            let mut seen: HashMap<&str, (u32, u32)> = HashMap::new();
            for (token, word) in (0..).zip(&self.words) {
                let (first, last) = seen.entry(word).or_insert((token, token));
                same_word.push((*first, None));
                if *last != token {
                    same_word[*last as usize].1 = Some(token);
                    *last = token;
                }
            }
            Index { on_token, relations_of, stated, same_word }
        })
    }

    /// The gold entities on a token of the unit.
    pub(crate) fn on_token(&self, token: u32) -> &[u32] {
        &self.index().on_token[(token - self.span.start) as usize]
    }

    /// The tokens of the unit with the same word, ignoring case, in order.
    fn same_word(&self, token: u32) -> impl Iterator<Item = u32> {
        let same_word = &self.index().same_word;
        let first = same_word[(token - self.span.start) as usize].0;
        std::iter::successors(Some(first), |&token| same_word[token as usize].1).map(|token| token + self.span.start)
    }

    /// A token of the unit in lower case.
    pub(crate) fn word(&self, token: u32) -> &str {
        &self.words[(token - self.span.start) as usize]
    }

    /// The words of a span in lower case.
    pub(crate) fn words(&self, span: Span) -> &[Cow<'a, str>] {
        &self.words[(span.start - self.span.start) as usize..(span.end - self.span.start) as usize]
    }

    /// Whether the source contains a text, ignoring case, the amount of white space and the composition
    /// of characters.
    pub(crate) fn holds(&self, text: &str) -> bool {
        self.plain_text.get_or_init(|| plain(self.unit.text())).contains(&plain(text))
    }

    /// A gold entity.
    pub(crate) fn entity(&self, index: u32) -> &'a AnswerEntity {
        &self.gold.entities[index as usize]
    }

    /// The span of a gold entity.
    pub(crate) fn place(&self, index: u32) -> Span {
        self.entity(index).span.expect("gold entities are grounded")
    }

    /// A gold relation.
    pub(crate) fn relation(&self, index: u32) -> AnswerRelation {
        self.gold.relations[index as usize]
    }

    /// Positions of all gold entities.
    pub(crate) fn entities(&self) -> std::ops::Range<u32> {
        0..self.gold.entities.len() as u32
    }

    /// Positions of all gold relations.
    pub(crate) fn relations(&self) -> std::ops::Range<u32> {
        0..self.gold.relations.len() as u32
    }

    /// The sentence of a token, within the unit; no mention crosses its edges.
    pub(crate) fn sentence_of(&self, token: u32) -> Span {
        if self.unit.sentence.is_some() {
            return self.span;
        }
        let sentences = &self.unit.document.sentences;
        let index = sentences.partition_point(|sentence| sentence.end <= token);
        sentences.get(index).copied().filter(|sentence| sentence.start <= token).unwrap_or(self.span)
    }

    /// Whether the type is usual between these entities: soft constraints count too.
    pub(crate) fn signature_fits(&self, label: RelationLabelId, head: u32, tail: u32) -> bool {
        self.ontology.signature_fits(label, self.entity(head).label, self.entity(tail).label)
    }

    /// The tokens strictly between two entities; `None` where they touch or overlap.
    pub(crate) fn between(&self, a: u32, b: u32) -> Option<Span> {
        let (a, b) = (self.place(a), self.place(b));
        let (first, second) = if a.start <= b.start { (a, b) } else { (b, a) };
        (first.end < second.start).then(|| Span::new(first.end, second.start))
    }

    /// How many gold mentions lie between two entities.
    pub(crate) fn mentions_between(&self, a: u32, b: u32) -> usize {
        let Some(gap) = self.between(a, b) else { return 0 };
        let starts = |token| self.on_token(token).iter().filter(move |&&entity| self.place(entity).start == token);
        (gap.start..gap.end).flat_map(starts).filter(|&&entity| gap.contains(self.place(entity))).count()
    }

    /// The other occurrences of a span's text in the unit, each within one sentence.
    pub(crate) fn other_occurrences(&self, span: Span) -> impl Iterator<Item = Span> {
        let document = self.unit.document;
        let length = span.end - span.start;
        let text = document.span_text(span);
        self.same_word(span.start)
            .map(move |start| Span::new(start, start + length))
            .take_while(|other| other.end <= self.span.end)
            .filter(move |&other| other != span)
            .filter(move |&other| document.span_text(other) == text)
            .filter(|other| self.sentence_of(other.start).contains(*other))
    }

    /// Whether a token has a letter or digit.
    pub(crate) fn is_word(&self, token: u32) -> bool {
        self.word(token).chars().any(char::is_alphanumeric)
    }
}

fn lower_case(word: &str) -> Cow<'_, str> {
    if word.chars().any(char::is_uppercase) { Cow::Owned(word.to_lowercase()) } else { Cow::Borrowed(word) }
}

fn plain(text: &str) -> String {
    comparable(text.to_lowercase()).into_owned()
}
