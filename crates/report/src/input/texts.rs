//! Texts with gold and the answers of every system.

use serde::{Deserialize, Serialize};

/// The texts of a test set, each with gold and with what every system made of it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Texts {
    /// What the texts are, in words: `test split, first seed of each system`.
    pub scope: String,
    /// How many texts the set has. Where `cases` holds fewer, the page says that it shows a sample.
    pub total: u64,
    /// Names of the entity labels.
    pub entity_labels: Vec<String>,
    /// Names of the relation types.
    pub relation_labels: Vec<String>,
    /// The kinds of error, by which errors are named.
    pub kinds: Vec<CaseKind>,
    /// Names of the systems.
    pub systems: Vec<String>,
    /// The texts, in the order of the set.
    pub cases: Vec<TextCase>,
}

/// A kind of error.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CaseKind {
    /// Its name, as in [`ErrorModes::kinds`](crate::ErrorModes::kinds).
    pub name: String,
    /// Whether errors of this kind are about relations; otherwise they are about entities.
    pub relational: bool,
    /// What it means.
    pub meaning: String,
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TextCase {
    /// The document, and the sentence where the text is one.
    pub place: String,
    /// The source text.
    pub text: String,
    /// What the annotators say.
    pub gold: TextAnnotations,
    /// The different answers, each once.
    pub answers: Vec<TextAnswer>,
    /// For each of [`Texts::systems`], the position of its answer in `answers`.
    pub of_system: Vec<u32>,
}

/// Entities and relations of one side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TextAnnotations {
    /// The entities.
    pub entities: Vec<TextEntity>,
    /// The relations between them.
    pub relations: Vec<TextRelation>,
}

/// One entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TextEntity {
    /// Its bytes in the text; `None` for one that is not in the text.
    pub range: Option<(u32, u32)>,
    /// What it says, where it is not in the text.
    #[serde(default)]
    pub said: String,
    /// Position of its label in [`Texts::entity_labels`]; `None` for a label that is not among them.
    pub label: Option<u32>,
    /// Its sub-label.
    #[serde(default)]
    pub subtype: Option<String>,
}

/// One relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TextRelation {
    /// Position of the head among the entities; `None` if it is none of them.
    pub head: Option<u32>,
    /// Position of the tail among the entities; `None` if it is none of them.
    pub tail: Option<u32>,
    /// Position of its type in [`Texts::relation_labels`]; `None` for a type that is not among them.
    pub label: Option<u32>,
}

/// One answer to a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TextAnswer {
    /// What it says.
    pub annotations: TextAnnotations,
    /// What is wrong with it.
    pub errors: Vec<TextError>,
    /// Whether it could not be read as JSON.
    #[serde(default)]
    pub unreadable: bool,
}

/// One error. Positions are among the entities or the relations, as its kind says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TextError {
    /// Position in [`Texts::kinds`].
    pub kind: u32,
    /// The gold item, if there is one.
    pub gold: Option<u32>,
    /// The item of the answer, if there is one.
    pub predicted: Option<u32>,
}

impl Texts {
    /// The label of an item of one side: of an entity or, if the kind of error is relational, of a relation.
    pub(crate) fn label(&self, kind: u32, side: &TextAnnotations, item: Option<u32>) -> Option<u32> {
        let item = item? as usize;
        if self.kinds.get(kind as usize)?.relational {
            side.relations.get(item)?.label
        } else {
            side.entities.get(item)?.label
        }
    }
}
