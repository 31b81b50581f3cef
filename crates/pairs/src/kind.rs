//! Kinds and sources of edits.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of the declaration.
            pub const ALL: [$name; [$($text),+].len()] = [$($name::$variant),+];

            /// The name used in files and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }

            /// The value with exactly this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.name())
            }
        }
    };
}

named_enum! {
    /// What one edit changes. Deleting an entity deletes its relations too and counts as one edit.
    Kind {
        /// An entity gets another label (and, where that label has sub-labels, one of them).
        Label = "label",
        /// An entity gets another sub-label of the same label.
        Subtype = "subtype",
        /// A relation gets another type.
        RelationLabel = "relation-label",
        /// Head and tail of a directed relation are exchanged.
        Direction = "direction",
        /// A relation has another entity as its head or tail.
        Argument = "argument",
        /// An entity's span loses or gains words at an edge.
        Boundary = "boundary",
        /// An entity is missing, with its relations.
        DropEntity = "drop-entity",
        /// There is an additional entity, on text of the source.
        AddEntity = "add-entity",
        /// A relation is missing.
        DropRelation = "drop-relation",
        /// There is an additional relation.
        AddRelation = "add-relation",
        /// An entity's text is invented: it does not occur in the source.
        Grounding = "grounding",
        /// An entity stands for another occurrence of its text.
        Occurrence = "occurrence",
    }
}

named_enum! {
    /// Where an edit comes from.
    Source {
        /// An ambiguity pattern that an expert wrote.
        Pattern = "pattern",
        /// An error mode of predictions on validation.
        Mode = "mode",
        /// A wrong answer of the model itself on the same example.
        OnPolicy = "on-policy",
        /// Any valid edit, drawn uniformly: the control for the other sources.
        Random = "random",
    }
}

impl Kind {
    /// The position in [`Kind::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Source {
    /// The position in [`Source::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}
