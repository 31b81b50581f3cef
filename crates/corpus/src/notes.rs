//! What reading or writing changed or could not say, counted by kind.

use std::{collections::BTreeMap, fmt};

use crate::FilePlace;

/// One kind of loss or change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// Read: a mention with the same span and label as another one was dropped.
    DuplicateMention,
    /// Read: a relation with the same arguments and type as another one; it counts as one, except
    /// where lists are counted.
    DuplicateRelation,
    /// Read: a relation argument's span has several mentions; the first one was taken.
    AmbiguousArgument,
    /// Read: a field with this name has no counterpart in a document.
    IgnoredField(String),
    /// Read: an annotation of this kind has no counterpart in a document.
    IgnoredAnnotation(String),
    /// Read: a mention in several pieces became the stretch from its first to its last character.
    DiscontinuousMention,
    /// Read: a relation of a mention with itself was left out.
    SelfRelation,
    /// Read: a document without an annotation file has no annotation.
    WithoutAnnotation,
    /// Read: offsets of a document count UTF-16 units.
    Utf16Offsets,
    /// Read: a lone surrogate became U+FFFD, the replacement character.
    LoneSurrogate,
    /// Read: whitespace at the ends of a mention was cut off.
    TrimmedMention,
    /// Read: sentences that a mention crosses were joined.
    JoinedSentences,
    /// Read: a `DyGIE` token is a literal bracket; it is written back in the Penn Treebank form.
    LiteralBracket,
    /// Written: the format joins tokens with single spaces; the document's text has other whitespace.
    Blanks,
    /// Written: the format has no token boundaries, and the default rule gives other ones.
    TokenBoundaries,
    /// Written: the format has no sentence boundaries, and the default rule gives other ones.
    SentenceBoundaries,
    /// Written: the format has no co-reference clusters.
    Clusters,
    /// Written: the format names a relation's arguments by span, and one of them has several mentions.
    SharedSpan,
    /// Written: the format names a relation's arguments by span, and both have the same one; the
    /// relation was left out.
    SameSpanRelation,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Note::DuplicateMention => "duplicate mentions dropped",
            Note::DuplicateRelation => "duplicate relations read as one",
            Note::AmbiguousArgument => "relation arguments with several mentions of the same span: the first one taken",
            Note::IgnoredField(name) => return write!(f, "fields `{name}` not read"),
            Note::IgnoredAnnotation(kind) => return write!(f, "{kind} not read"),
            Note::DiscontinuousMention => "mentions in several pieces read as one stretch",
            Note::SelfRelation => "relations of a mention with itself left out",
            Note::WithoutAnnotation => "documents without an annotation file, read as documents without annotation",
            Note::Utf16Offsets => "documents whose offsets count UTF-16 units, as the words of their mentions show",
            Note::LoneSurrogate => "characters of which only half is there (a lone surrogate), read as U+FFFD",
            Note::TrimmedMention => "mentions with whitespace at an end, cut off",
            Note::JoinedSentences => "sentence boundaries inside a mention removed",
            Note::LiteralBracket => "bracket tokens that will be written in the Penn Treebank form",
            Note::Blanks => "documents whose whitespace between tokens the format cannot hold",
            Note::TokenBoundaries => "documents whose token boundaries the format cannot hold",
            Note::SentenceBoundaries => "documents whose sentence boundaries the format cannot hold",
            Note::Clusters => "documents whose co-reference clusters the format cannot hold",
            Note::SharedSpan => "relation arguments that the format cannot tell from another mention of the same span",
            Note::SameSpanRelation => "relations between two mentions of the same span that the format cannot hold",
        };
        f.write_str(text)
    }
}

/// Notes with their counts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Notes {
    counts: BTreeMap<Note, Count>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Count {
    count: u64,
    /// Where the first one was, if that is known.
    first: Option<FilePlace>,
}

impl Notes {
    /// Counts one more.
    pub fn add(&mut self, note: Note) {
        self.add_many(note, 1);
    }

    /// Counts several more.
    pub fn add_many(&mut self, note: Note, count: u64) {
        if count > 0 {
            self.counts.entry(note).or_default().count += count;
        }
    }

    /// Counts one more item that is not read.
    pub(crate) fn ignore(&mut self, kind: impl Into<String>) {
        self.add(Note::IgnoredAnnotation(kind.into()));
    }

    /// Adds all counts of another set.
    pub fn merge(&mut self, other: Notes) {
        for (note, Count { count, first }) in other.counts {
            let sum = self.counts.entry(note).or_default();
            sum.count += count;
            sum.first = sum.first.take().or(first);
        }
    }

    /// Adds all counts of what was noticed at a place.
    pub(crate) fn merge_at(&mut self, other: Notes, place: impl FnOnce() -> FilePlace) {
        if other.is_empty() {
            return;
        }
        let place = place();
        for (note, Count { count, first }) in other.counts {
            let sum = self.counts.entry(note).or_default();
            sum.count += count;
            if sum.first.is_none() {
                sum.first = first.or_else(|| Some(place.clone()));
            }
        }
    }

    /// How often a note was counted.
    pub fn count(&self, note: &Note) -> u64 {
        self.counts.get(note).map_or(0, |count| count.count)
    }

    /// Where a note was counted first, if that is known.
    pub fn first_place(&self, note: &Note) -> Option<&FilePlace> {
        self.counts.get(note)?.first.as_ref()
    }

    /// All notes with their counts, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&Note, u64)> {
        self.counts.iter().map(|(note, count)| (note, count.count))
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
