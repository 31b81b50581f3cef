//! One annotated document.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};

/// A range of tokens of a document, half-open, counted from the document's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First token.
    pub start: u32,
    /// One past the last token.
    pub end: u32,
}

/// An entity mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Mention {
    /// Its tokens.
    pub span: Span,
    /// Its label.
    pub label: EntityLabelId,
    /// Its sub-label, where the label has sub-labels.
    pub subtype: Option<SubtypeId>,
}

/// A relation between two mentions of the same document, named by their positions in
/// [`Document::mentions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Relation {
    /// Position of the first argument in [`Document::mentions`].
    pub head: u32,
    /// Position of the second argument in [`Document::mentions`].
    pub tail: u32,
    /// Its type.
    pub label: RelationLabelId,
}

/// A source text with its annotation.
///
/// Invariants, checked by every reader: tokens are non-empty, disjoint and in order; sentences
/// partition the tokens; mentions are sorted by (start, end, label), without duplicates, within one
/// sentence each or (for formats without sentences) within the document; relations are sorted,
/// without duplicates, and connect two different mentions.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Document {
    /// The name of the document, unique in its corpus.
    pub key: String,
    /// The source text that models see.
    pub text: String,
    /// Tokens as byte ranges of `text`.
    pub tokens: Vec<Range<u32>>,
    /// Sentences as token ranges.
    pub sentences: Vec<Span>,
    /// Gold mentions.
    pub mentions: Vec<Mention>,
    /// Gold relations.
    pub relations: Vec<Relation>,
    /// Positions in [`Document::relations`] of those that the file lists once more, sorted: they are
    /// written back, and counted where a scorer counts lists instead of sets.
    pub repeated_relations: Vec<u32>,
    /// Co-reference clusters: kept so that a file can be written back, not used otherwise.
    pub clusters: Vec<Vec<Span>>,
}

impl Span {
    /// The span from token `start` up to but not including `end`.
    pub fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// Number of tokens.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it holds no token.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Whether the spans share a token.
    pub fn overlaps(self, other: Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether `other` lies inside this span.
    pub fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The span as an index range.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Document {
    /// The relations as a file lists them: [`Document::relations`], then those that it repeats.
    pub fn listed_relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter().chain(self.repeated_relations.iter().map(|&index| &self.relations[index as usize]))
    }

    /// The text of one token.
    pub fn token(&self, index: usize) -> &str {
        let range = &self.tokens[index];
        &self.text[range.start as usize..range.end as usize]
    }

    /// The byte range of `text` that a non-empty token span covers, whitespace inside included.
    pub fn byte_range(&self, span: Span) -> Range<usize> {
        self.tokens[span.start as usize].start as usize..self.tokens[span.end as usize - 1].end as usize
    }

    /// The text that a non-empty token span covers.
    pub fn span_text(&self, span: Span) -> &str {
        &self.text[self.byte_range(span)]
    }
}
