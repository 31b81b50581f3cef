//! Typed error modes: what a model gets wrong, how often, and where.
//!
//! The file form names labels by their answer names, so that it can be read without the ontology
//! and survives a reordering of it; the accessors translate to ids.

mod align;
mod cases;
mod measure;

use serde::{Deserialize, Serialize};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId};

pub use cases::{Annotations, CaseEntity, CaseError, CaseRelation, UnitCase, cases};
pub use measure::{EXAMPLES, measure};

/// A kind of error. Every gold entity and every predicted entity that is not an exact match
/// falls into exactly one mode. A predicted argument that was paired with a gold mention (its
/// boundary or its label is wrong) stands for that mention, so that an entity error is not counted
/// again as a relation error. In that sense the same holds for relations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeKind {
    /// The span is right, the entity label is not.
    LabelConfusion,
    /// Span and label are right, the sub-label is not.
    SubtypeConfusion,
    /// The predicted span lies inside the gold span.
    BoundaryShort,
    /// The predicted span contains the gold span.
    BoundaryLong,
    /// The spans overlap, neither contains the other.
    BoundaryShifted,
    /// The same text was found at another place of the unit.
    WrongOccurrence,
    /// A gold mention without any counterpart.
    MissingEntity,
    /// A predicted mention without any counterpart; also one that is not in the source at all.
    SpuriousEntity,
    /// The pair is right, the relation type is not, in whichever direction.
    RelationConfusion,
    /// Pair and type are right, head and tail are exchanged (types that are not symmetric only).
    DirectionReversed,
    /// Type and one argument are right, the other argument is another mention.
    ArgumentSwapped,
    /// A gold relation without any counterpart.
    MissingLink,
    /// A predicted relation without any counterpart; also one that names no known mention.
    SpuriousLink,
}

impl ModeKind {
    /// Every kind, in the order of reports.
    pub const ALL: [ModeKind; 13] = [
        ModeKind::LabelConfusion,
        ModeKind::SubtypeConfusion,
        ModeKind::BoundaryShort,
        ModeKind::BoundaryLong,
        ModeKind::BoundaryShifted,
        ModeKind::WrongOccurrence,
        ModeKind::MissingEntity,
        ModeKind::SpuriousEntity,
        ModeKind::RelationConfusion,
        ModeKind::DirectionReversed,
        ModeKind::ArgumentSwapped,
        ModeKind::MissingLink,
        ModeKind::SpuriousLink,
    ];

    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            ModeKind::LabelConfusion => "label-confusion",
            ModeKind::SubtypeConfusion => "subtype-confusion",
            ModeKind::BoundaryShort => "boundary-short",
            ModeKind::BoundaryLong => "boundary-long",
            ModeKind::BoundaryShifted => "boundary-shifted",
            ModeKind::WrongOccurrence => "wrong-occurrence",
            ModeKind::MissingEntity => "missing-entity",
            ModeKind::SpuriousEntity => "spurious-entity",
            ModeKind::RelationConfusion => "relation-confusion",
            ModeKind::DirectionReversed => "direction-reversed",
            ModeKind::ArgumentSwapped => "argument-swapped",
            ModeKind::MissingLink => "missing-link",
            ModeKind::SpuriousLink => "spurious-link",
        }
    }

    /// What it means, as a clause for a reader: the span is right, the label is not.
    pub fn meaning(self) -> &'static str {
        match self {
            ModeKind::LabelConfusion => "the span is right, the entity label is not",
            ModeKind::SubtypeConfusion => "span and label are right, the sub-label is not",
            ModeKind::BoundaryShort => "the predicted span lies inside the gold span",
            ModeKind::BoundaryLong => "the predicted span contains the gold span",
            ModeKind::BoundaryShifted => "the spans overlap, but neither contains the other",
            ModeKind::WrongOccurrence => "the same text was found elsewhere in the source",
            ModeKind::MissingEntity => "a gold entity has no counterpart in the answer",
            ModeKind::SpuriousEntity => "a predicted entity has no counterpart in gold, or is not in the source at all",
            ModeKind::RelationConfusion => "the pair of entities is right, the relation type is not",
            ModeKind::DirectionReversed => "pair and type are right, head and tail are exchanged",
            ModeKind::ArgumentSwapped => "type and one argument are right, the other argument is another entity",
            ModeKind::MissingLink => "a gold relation has no counterpart in the answer",
            ModeKind::SpuriousLink => "a predicted relation has no counterpart in gold, or names no known entity",
        }
    }

    /// Whether the mode is about relations (otherwise it is about entities).
    pub fn is_relational(self) -> bool {
        self >= ModeKind::RelationConfusion
    }
}

/// The error modes of one set of predictions, as written to a JSON file.
///
/// Counts are integers so that the file says exactly what was seen; rates are formed from them and
/// the exposures by [`ErrorModes::rate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorModes {
    /// The form of this file; readers refuse any other than [`ErrorModes::VERSION`].
    pub version: u32,
    /// The name of the ontology whose labels are used.
    pub ontology: String,
    /// Documents that were compared.
    pub documents: u64,
    /// Units (sentences or documents) that were compared.
    pub units: u64,
    /// What a reader of the figures should know: documents without prediction, for example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How often each entity label could have been got wrong, in ontology order.
    pub entities: Vec<Exposure>,
    /// How often each relation type could have been got wrong, in ontology order.
    pub relations: Vec<Exposure>,
    /// What went wrong: one entry for each kind and pair of labels that was seen, sorted by
    /// (kind, gold, predicted) in ontology order.
    pub modes: Vec<ErrorMode>,
}

/// How often a label occurred: the denominators of rates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// The label's answer name.
    pub label: String,
    /// Gold items with this label.
    pub gold: u64,
    /// Predicted items with this label.
    pub predicted: u64,
    /// Gold items with this label whose span (for a relation: whose pair of mentions, in either
    /// order) was predicted with any label: the exposure of a confusion.
    pub located: u64,
    /// Gold items with this label that were predicted exactly, ignoring the sub-label.
    pub correct: u64,
}

/// One kind of error between one pair of labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMode {
    /// What kind of error.
    pub kind: ModeKind,
    /// The gold label (entity label or relation type, as the kind says); `None` for spurious items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<String>,
    /// The gold sub-label, for [`ModeKind::SubtypeConfusion`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_subtype: Option<String>,
    /// The predicted label; `None` for missing items and for labels that the ontology lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<String>,
    /// The predicted sub-label, for [`ModeKind::SubtypeConfusion`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_subtype: Option<String>,
    /// How often it was seen.
    pub count: u64,
    /// The first few cases, in corpus order.
    #[serde(default)]
    pub examples: Vec<Example>,
}

/// One case of an error mode, as text for a reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The document.
    pub doc_key: String,
    /// The sentence, or `None` where the unit was the whole document.
    pub sent: Option<u32>,
    /// The gold item: `optical flow (Task)`, or `tracker (Method) Used-for surveillance (Task)`.
    pub gold: Option<String>,
    /// The predicted item in the same form.
    pub predicted: Option<String>,
}

impl ErrorModes {
    /// The version of the file form that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// How often a kind of error was seen, over all labels.
    pub fn count(&self, kind: ModeKind) -> u64 {
        self.of_kind(kind).map(|mode| mode.count).sum()
    }

    /// The entries of one kind.
    pub fn of_kind(&self, kind: ModeKind) -> impl Iterator<Item = &ErrorMode> {
        self.modes.iter().filter(move |mode| mode.kind == kind)
    }

    /// The share of its exposure that an entry makes up, in [0, 1]: for a confusion, of the gold
    /// items of its gold label that were located; for a spurious item, of the predicted items of
    /// its label; otherwise of the gold items of its gold label. None where there was no exposure.
    pub fn rate(&self, mode: &ErrorMode) -> Option<f64> {
        let exposures = if mode.kind.is_relational() { &self.relations } else { &self.entities };
        let label = mode.gold.as_ref().or(mode.predicted.as_ref());
        let exposure = exposures.iter().find(|exposure| Some(&exposure.label) == label)?;
        let possible = match mode.kind {
            ModeKind::LabelConfusion | ModeKind::RelationConfusion => exposure.located,
            ModeKind::SubtypeConfusion => exposure.correct,
            ModeKind::SpuriousEntity | ModeKind::SpuriousLink => exposure.predicted,
            _ => exposure.gold,
        };
        (possible > 0).then(|| mode.count as f64 / possible as f64)
    }

    /// Entity label confusion given the span: `table[gold][predicted]` counts over located
    /// mentions, by [`EntityLabelId::index`]; the diagonal holds the correct ones. Labels that the
    /// ontology does not know are left out.
    pub fn entity_confusion(&self, ontology: &Ontology) -> Vec<Vec<u64>> {
        let find = |name: &str| ontology.entity_named(name).map(EntityLabelId::index);
        self.confusion(ModeKind::LabelConfusion, &self.entities, ontology.entities.len(), &find)
    }

    /// Relation type confusion given the pair: `table[gold][predicted]`, as
    /// [`ErrorModes::entity_confusion`].
    pub fn relation_confusion(&self, ontology: &Ontology) -> Vec<Vec<u64>> {
        let find = |name: &str| ontology.relation_named(name).map(RelationLabelId::index);
        self.confusion(ModeKind::RelationConfusion, &self.relations, ontology.relations.len(), &find)
    }

    fn confusion(
        &self,
        kind: ModeKind,
        exposures: &[Exposure],
        size: usize,
        find: &dyn Fn(&str) -> Option<usize>,
    ) -> Vec<Vec<u64>> {
        let mut table = vec![vec![0; size]; size];
        for exposure in exposures {
            if let Some(index) = find(&exposure.label) {
                table[index][index] = exposure.correct;
            }
        }
        for mode in self.of_kind(kind) {
            let gold = mode.gold.as_deref().and_then(find);
            let predicted = mode.predicted.as_deref().and_then(find);
            if let (Some(gold), Some(predicted)) = (gold, predicted) {
                table[gold][predicted] += mode.count;
            }
        }
        table
    }
}
