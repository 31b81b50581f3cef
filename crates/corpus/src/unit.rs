//! The piece of a document that one prompt shows.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Document, Mention, Relation, Span};

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// One sentence a prompt.
    #[default]
    Sentence,
    /// One document a prompt.
    Document,
}

/// A sentence of a document, or the whole of it.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// The document.
    pub document: &'a Document,
    /// The sentence, or `None` for the whole document.
    pub sentence: Option<u32>,
}

impl<'a> Unit<'a> {
    /// All units of a document at a level, in order. Sentences without tokens are left out.
    pub fn all(document: &'a Document, level: Level) -> impl Iterator<Item = Unit<'a>> {
        let count = match level {
            Level::Sentence => document.sentences.len() as u32,
            Level::Document => 1,
        };
        (0..count)
            .map(move |index| Unit { document, sentence: (level == Level::Sentence).then_some(index) })
            .filter(|unit| !unit.span().is_empty())
    }

    /// The tokens of the unit, counted from the document's start.
    pub fn span(&self) -> Span {
        match self.sentence {
            Some(index) => self.document.sentences[index as usize],
            None => Span::new(0, self.document.tokens.len() as u32),
        }
    }

    /// The source text of the unit: what the prompt shows.
    pub fn text(&self) -> &'a str {
        let span = self.span();
        if span.is_empty() { "" } else { self.document.span_text(span) }
    }

    /// The tokens of the unit as bytes of [`Unit::text`], in order.
    pub fn words(&self) -> Vec<Range<usize>> {
        let span = self.span();
        let tokens = &self.document.tokens[span.start as usize..span.end as usize];
        let start = tokens.first().map_or(0, |token| token.start);
        tokens.iter().map(|token| (token.start - start) as usize..(token.end - start) as usize).collect()
    }

    /// Gold mentions inside the unit with their positions in the document's list, in order.
    pub fn mentions(&self) -> impl Iterator<Item = (u32, &'a Mention)> + use<'a> {
        let (span, all) = (self.span(), &self.document.mentions);
        // Mentions are sorted by their starts.
        let first = all.partition_point(|mention| mention.span.start < span.start);
        let from = all[first..].iter().take_while(move |mention| mention.span.start < span.end);
        (first as u32..).zip(from).filter(move |(_, mention)| mention.span.end <= span.end)
    }

    /// Gold relations with both arguments inside the unit, in order.
    pub fn relations(&self) -> impl Iterator<Item = &'a Relation> + use<'a> {
        let (span, document) = (self.span(), self.document);
        let inside = move |index: u32| span.contains(document.mentions[index as usize].span);
        document.relations[self.relations_from()]
            .iter()
            .filter(move |relation| inside(relation.head) && inside(relation.tail))
    }

    /// The positions in [`Document::relations`] of those whose head begins inside the unit: they follow each
    /// other, because relations are sorted by their heads and mentions by their starts.
    pub fn relations_from(&self) -> Range<usize> {
        let (span, document) = (self.span(), self.document);
        let head = |relation: &Relation| document.mentions[relation.head as usize].span.start;
        let start = document.relations.partition_point(|relation| head(relation) < span.start);
        let end = start + document.relations[start..].partition_point(|relation| head(relation) < span.end);
        start..end
    }
}
