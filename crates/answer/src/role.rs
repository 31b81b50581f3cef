//! What a byte of an answer is for.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The role of a stretch of an answer, known to the writer while it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Role {
    /// Braces, commas, keys, quotes: what the format dictates.
    Scaffold,
    /// An entity label.
    EntityLabel,
    /// A sub-label.
    Subtype,
    /// A relation type.
    RelationLabel,
    /// An id that a relation's head or tail names. The ids in the entity list are scaffolding:
    /// they are consecutive and carry no choice.
    Link,
    /// Text copied from the source.
    Span,
    /// The value of the occurrence key.
    Occurrence,
    /// The token that ends the turn; never produced by the writer, added when the answer becomes tokens.
    End,
}

impl Role {
    /// Every role, in the order of their numbers.
    pub const ALL: [Role; 8] = [
        Role::Scaffold,
        Role::EntityLabel,
        Role::Subtype,
        Role::RelationLabel,
        Role::Link,
        Role::Span,
        Role::Occurrence,
        Role::End,
    ];

    /// The name used in logs, tables and configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Role::Scaffold => "scaffold",
            Role::EntityLabel => "entity-label",
            Role::Subtype => "subtype",
            Role::RelationLabel => "relation-label",
            Role::Link => "link",
            Role::Span => "span",
            Role::Occurrence => "occurrence",
            Role::End => "end",
        }
    }
}

/// Which item of the answer a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// The frame around the lists.
    Frame,
    /// The entity at this position.
    Entity(u32),
    /// The relation at this position.
    Relation(u32),
}

/// A stretch of an answer with one role. The parts of a rendered answer cover it without gap or
/// overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes of the rendered text.
    pub range: Range<usize>,
    /// What they are for.
    pub role: Role,
    /// The item that they belong to.
    pub item: Item,
}
