//! An answer as data.

use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};

use crate::Part;

/// A valid answer for one unit, in canonical order: entities by (start, end), relations by
/// (head, tail, label), no duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Answer {
    /// Entities; where they have ids, entity `i` is written with the id `e{i + 1}`.
    pub entities: Vec<AnswerEntity>,
    /// Relations between them.
    pub relations: Vec<AnswerRelation>,
}

/// One entity of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerEntity {
    /// The text as written. For a grounded entity: the source text of `span`.
    pub text: String,
    /// Its place in tokens of the document; `None` for a text that was invented on purpose.
    pub span: Option<Span>,
    /// Its label.
    pub label: EntityLabelId,
    /// Its sub-label.
    pub subtype: Option<SubtypeId>,
    /// The 1-based occurrence of the text in the unit, written only where the default alignment
    /// would pick another one.
    pub occurrence: Option<u32>,
}

/// One relation of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnswerRelation {
    /// Position of the first argument in [`Answer::entities`].
    pub head: u32,
    /// Position of the second argument in [`Answer::entities`].
    pub tail: u32,
    /// Its type.
    pub label: RelationLabelId,
}

/// An answer as text, with the role of every byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The JSON text.
    pub text: String,
    /// Parts that cover `text` in order, without gap or overlap.
    pub parts: Vec<Part>,
}
