//! The names of the keys of an answer.

use serde::{Deserialize, Serialize};

/// The JSON keys of an answer. An ontology may rename any of them: the TAB-PO papers, for example,
/// write `Code`, `Sub-code` and `Span` for [`entity_type`](Keys::entity_type),
/// [`subtype`](Keys::subtype) and [`text`](Keys::text).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// The list of entities.
    pub entities: String,
    /// An entity's id (`e1`, `e2`, ...).
    pub id: String,
    /// An entity's text, copied from the source.
    pub text: String,
    /// An entity's label, written `type` in the file.
    #[serde(rename = "type")]
    pub entity_type: String,
    /// An entity's sub-label.
    pub subtype: String,
    /// Which occurrence of the text is meant, where the default alignment would be wrong.
    pub occ: String,
    /// The list of relations; absent from answers where the ontology has no relation types.
    pub relations: String,
    /// A relation's first argument, by its id or its text.
    pub head: String,
    /// Which of the entities with the text of the first argument is meant, where there are several.
    pub head_number: String,
    /// A relation's type.
    pub relation_type: String,
    /// A relation's second argument, by its id or its text.
    pub tail: String,
    /// Which of the entities with the text of the second argument is meant, where there are several.
    pub tail_number: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            entities: "entities".into(),
            id: "id".into(),
            text: "text".into(),
            entity_type: "type".into(),
            subtype: "subtype".into(),
            occ: "occ".into(),
            relations: "relations".into(),
            head: "head".into(),
            head_number: "head_number".into(),
            relation_type: "type".into(),
            tail: "tail".into(),
            tail_number: "tail_number".into(),
        }
    }
}
