//! The two ways in which a relation can name its arguments.

use crate::Ontology;

/// How the relations of an answer name their arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arguments {
    /// By the ids of entities, which are numbered `e1`, `e2`, ...
    #[default]
    Ids,
    /// By the texts of entities, which then have no ids. Where several entities of the answer have the same text, a number
    /// says which of them is meant.
    Texts,
}

impl Arguments {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ids, Self::Texts];

    /// Its name in an ontology file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ids => "ids",
            Self::Texts => "texts",
        }
    }

    /// The way with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arguments| arguments.name() == name)
    }
}

impl Ontology {
    /// Whether the entities of an answer are written with ids. They only serve to be named by relations.
    pub fn writes_ids(&self) -> bool {
        self.arguments == Arguments::Ids && !self.relations.is_empty()
    }
}
