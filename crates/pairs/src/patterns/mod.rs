//! Ambiguity patterns: expert knowledge of how the labels of an ontology are confused.
//!
//! A pattern file is TOML: word lists and patterns.
//!
//! ```toml
//! [words]                       # conditions include a list as "@process"
//! process = ["parsing", "learning"]
//!
//! [[pattern]]
//! id = "L2"
//! kind = "label"                # any kind of edit
//! from = ["Task"]               # labels in gold; all if left out
//! to = ["Method"]               # labels in the negative; all others if left out
//! both = true                   # also from `to` to `from`
//! when = { head_word = "@process" }
//! weight = 2.0                  # relative to patterns of the same kind; 1 if left out
//! rationale = "Process nouns name the goal or the means."
//! ```
//!
//! What `from` and `to` name depends on the kind: entity labels (`Label` or `Label/sub-label`) for
//! `label`, `subtype`, `boundary`, `drop-entity`, `add-entity` (only `to`), `grounding` and
//! `occurrence`; relation types for `relation-label`, `direction`, `drop-relation` and
//! `add-relation` (only `to`). For `argument`, `from` lists relation types and `to` the entity
//! labels of the new argument; `argument = "head"` or `"tail"` limits the side and
//! `same_label = true` requires the label of the old argument. A `boundary` pattern says what changes
//! in `change` (see [`Change`]) and, for some changes, `words`.
//!
//! Every condition of `when` has to hold; see [`EntityCondition`] and [`RelationCondition`]. Words
//! are compared in lower case; an entry of a list may be several words long.

mod boundary;
mod condition;
mod error;
mod read;
mod table;

pub use boundary::Change;
pub use condition::{EntityCondition, Order, RelationCondition, Words};
pub use error::{PatternError, PatternProblem};

use tabpo_answer::AnswerEntity;
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};

use crate::{Kind, Side, example::Example};

/// The patterns of a file, in its order. Read them with [`Patterns::read`] or [`Patterns::parse`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patterns {
    /// The patterns.
    pub patterns: Vec<Pattern>,
}

/// One ambiguity pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// Its name in the file and in the pairs made with it; unique.
    pub id: String,
    /// Its weight relative to the other patterns of its kind; above 0.
    pub weight: f64,
    /// Why the ontology is ambiguous here.
    pub rationale: String,
    /// The line of the file where it starts.
    pub line: usize,
    /// What it changes.
    pub rule: Rule,
    /// Where it applies.
    pub when: Condition,
}

/// An entity label, with one of its sub-labels or with any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelChoice {
    /// The label.
    pub label: EntityLabelId,
    /// The sub-label; `None` for any or none.
    pub subtype: Option<SubtypeId>,
}

/// What a pattern changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One label for another.
    Label(Vec<(LabelChoice, LabelChoice)>),
    /// One sub-label for another of the same label.
    Subtype(Vec<(EntityLabelId, SubtypeId, SubtypeId)>),
    /// One relation type for another.
    RelationLabel(Vec<(RelationLabelId, RelationLabelId)>),
    /// Head and tail of relations of these types.
    Direction(Vec<RelationLabelId>),
    /// An argument of relations.
    Argument {
        /// The types of the relations.
        relations: Vec<RelationLabelId>,
        /// Which argument; `None` for either.
        side: Option<Side>,
        /// Labels of the new argument.
        labels: Vec<LabelChoice>,
        /// Whether the new argument must have the label of the old one.
        same_label: bool,
    },
    /// The span of entities with these labels.
    Boundary {
        /// The labels.
        labels: Vec<LabelChoice>,
        /// How it changes.
        change: Change,
    },
    /// Entities with these labels are removed.
    DropEntity(Vec<LabelChoice>),
    /// Entities with these labels are added.
    AddEntity(Vec<LabelChoice>),
    /// Relations of these types are removed.
    DropRelation(Vec<RelationLabelId>),
    /// Relations of these types are added.
    AddRelation(Vec<RelationLabelId>),
    /// The text of entities with these labels is invented.
    Grounding(Vec<LabelChoice>),
    /// Entities with these labels move to another occurrence of their text.
    Occurrence(Vec<LabelChoice>),
}

/// Where a pattern applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// For kinds that change an entity.
    Entity(Box<EntityCondition>),
    /// For kinds that change a relation: on its gold arguments, or on those of a new relation.
    Relation(RelationCondition),
}

impl LabelChoice {
    /// Whether an entity has this label and, if one is named, this sub-label.
    pub(crate) fn accepts(self, entity: &AnswerEntity) -> bool {
        self.label == entity.label && (self.subtype.is_none() || self.subtype == entity.subtype)
    }
}

impl Rule {
    /// The kind of edit.
    pub fn kind(&self) -> Kind {
        match self {
            Rule::Label(_) => Kind::Label,
            Rule::Subtype(_) => Kind::Subtype,
            Rule::RelationLabel(_) => Kind::RelationLabel,
            Rule::Direction(_) => Kind::Direction,
            Rule::Argument { .. } => Kind::Argument,
            Rule::Boundary { .. } => Kind::Boundary,
            Rule::DropEntity(_) => Kind::DropEntity,
            Rule::AddEntity(_) => Kind::AddEntity,
            Rule::DropRelation(_) => Kind::DropRelation,
            Rule::AddRelation(_) => Kind::AddRelation,
            Rule::Grounding(_) => Kind::Grounding,
            Rule::Occurrence(_) => Kind::Occurrence,
        }
    }
}

impl Pattern {
    /// The kind of edit.
    pub fn kind(&self) -> Kind {
        self.rule.kind()
    }

    /// Whether the condition holds for a mention (or a possible one) on this span.
    pub(crate) fn fits_entity(&self, example: &Example, span: Span) -> bool {
        matches!(&self.when, Condition::Entity(condition) if condition.holds(example, span))
    }

    /// Whether the condition holds for a relation (or a possible one) between two gold entities.
    pub(crate) fn fits_relation(&self, example: &Example, head: u32, tail: u32) -> bool {
        matches!(&self.when, Condition::Relation(condition) if condition.holds(example, head, tail))
    }
}
