#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What a byte or a token of an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Role {
    /// Braces, commas, keys and quotes: everything that the format dictates. In a marked answer also brackets, numbers, and
    /// the text outside of mentions.
    Scaffold,
    /// An entity label.
    EntityLabel,
    /// A sub-label.
    Subtype,
    /// A relation type, or the `-` of a marked answer that stands for none.
    RelationLabel,
    /// The id of a relation's head or tail. Ids in the entity list are scaffold: they are consecutive
    /// and leave nothing to decide.
    Link,
    /// Text copied from the source.
    Span,
    /// Which occurrence of the text in the source is meant: the value of the occurrence key.
    Occurrence,
    /// The token that ends the turn. It is added when the answer is tokenized; no byte of the text has
    /// this role.
    End,
}

impl Role {
    /// Every role, in order of declaration.
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

    /// The roles that decide what the answer means: which label, which sub-label, which relation type,
    /// which argument.
    pub const DECISIONS: [Role; 4] = [Role::EntityLabel, Role::Subtype, Role::RelationLabel, Role::Link];

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

    /// What tokens of the role are, as a phrase for a reader.
    pub fn meaning(self) -> &'static str {
        match self {
            Role::Scaffold => "braces, commas, keys and quotes: what the format dictates",
            Role::EntityLabel => "entity labels",
            Role::Subtype => "sub-labels",
            Role::RelationLabel => "relation types",
            Role::Link => "the ids of a relation's head and tail",
            Role::Span => "text copied from the source",
            Role::Occurrence => "which occurrence of a text in the source is meant",
            Role::End => "the token that ends the answer",
        }
    }
}

/// One of the two lists of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum List {
    /// The entities.
    Entities,
    /// The relations between them.
    Relations,
}

impl List {
    /// Both, in the order of an answer.
    pub const ALL: [Self; 2] = [Self::Entities, Self::Relations];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entities => "entities",
            Self::Relations => "relations",
        }
    }
}

/// A decision between a further record and the end of a list, as it was taken. In a marked answer it is one between a
/// mention and none at a word, or a relation and none at a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListDecision {
    /// The list.
    pub list: List,
    /// Whether a further record follows; otherwise the list is closed, or nothing is marked there.
    pub opens: bool,
}
