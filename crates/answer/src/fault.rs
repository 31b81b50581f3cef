//! What can be wrong with the text that a model wrote.

use serde::{Deserialize, Serialize};

/// The tier of validity that a fault breaks. The tiers build on each other: an answer is valid at
/// a tier if it has no fault of that tier or of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// It is JSON (RFC 8259).
    Json,
    /// Exactly the keys of the format, non-empty texts, known labels, ids for all or for none.
    Schema,
    /// Ids are unique, and the two arguments of a relation name different entities.
    References,
    /// Every text occurs in the source, at token boundaries, as often as it is used.
    Grounding,
    /// Odd, but not a fault at any tier: JSON readers differ on it, or it is about the marks beside the JSON.
    Note,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Nothing but whitespace.
    EmptyOutput,
    /// The text ends before the JSON does.
    Truncated,
    /// JSON wrapped in a Markdown code fence.
    CodeFence,
    /// Text after a complete JSON value.
    TrailingText,
    /// Any other breach of the JSON grammar.
    Syntax,
    /// The top level is not an object, a list is not a list, or an item is not an object.
    WrongType,
    /// A required key is missing.
    MissingKey,
    /// A key that is not part of the format.
    UnknownKey,
    /// The text of an entity is not a string, or is blank.
    BlankText,
    /// The entity label is not in the ontology.
    UnknownEntityLabel,
    /// The label has sub-labels, but none is given.
    MissingSubtype,
    /// The sub-label does not belong to the label.
    UnknownSubtype,
    /// The relation type is not in the ontology.
    UnknownRelationLabel,
    /// The occurrence of an entity or the number of an argument is not an integer of at least 1.
    BadOccurrence,
    /// An id is not a string, or is empty.
    BadId,
    /// Some entities have ids and others have none.
    MixedIds,
    /// An argument of a relation is not a string, or is empty.
    BadArgument,
    /// Two entities have the same id.
    DuplicateId,
    /// An argument does not name an entity.
    UnresolvedArgument,
    /// Both arguments name the same entity.
    SelfRelation,
    /// The text is not in the source, not even in another letter case.
    NotInSource,
    /// The text is in the source in another letter case only.
    CaseDiffers,
    /// The text is in the source, but not at token boundaries.
    NotTokenAligned,
    /// The text is in the source, but fewer times than it is used, or not at the given occurrence.
    SurplusOccurrence,
    /// An object holds a key twice; the last value counts.
    DuplicateKey,
    /// The marked part of an answer is missing or departs from its form.
    BrokenMarks,
    /// The JSON says something else than the marked part before it.
    MarksDiffer,
    /// The sentence in which mentions are marked is not the source text.
    SentenceChanged,
}

impl FaultKind {
    /// The tier that the fault breaks.
    pub fn tier(self) -> Tier {
        match self {
            FaultKind::EmptyOutput
            | FaultKind::Truncated
            | FaultKind::CodeFence
            | FaultKind::TrailingText
            | FaultKind::Syntax => Tier::Json,
            FaultKind::WrongType
            | FaultKind::MissingKey
            | FaultKind::UnknownKey
            | FaultKind::BlankText
            | FaultKind::UnknownEntityLabel
            | FaultKind::MissingSubtype
            | FaultKind::UnknownSubtype
            | FaultKind::UnknownRelationLabel
            | FaultKind::BadOccurrence
            | FaultKind::BadId
            | FaultKind::MixedIds
            | FaultKind::BadArgument => Tier::Schema,
            FaultKind::DuplicateId | FaultKind::UnresolvedArgument | FaultKind::SelfRelation => Tier::References,
            FaultKind::NotInSource
            | FaultKind::CaseDiffers
            | FaultKind::NotTokenAligned
            | FaultKind::SurplusOccurrence => Tier::Grounding,
            FaultKind::DuplicateKey | FaultKind::BrokenMarks | FaultKind::MarksDiffer | FaultKind::SentenceChanged => {
                Tier::Note
            }
        }
    }
}

/// The item that a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultItem {
    /// The answer as a whole.
    Answer,
    /// The entity at this position of the list.
    Entity(u32),
    /// The relation at this position of the list.
    Relation(u32),
}

/// One fault with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The byte of the raw text where it was noticed: the offending value, or the item that lacks
    /// something.
    pub byte: usize,
    /// The item that it concerns.
    pub item: FaultItem,
}

/// Whether faults leave an answer valid at a tier.
pub(crate) fn valid_at(faults: &[Fault], tier: Tier) -> bool {
    faults.iter().all(|fault| fault.kind.tier() > tier)
}
