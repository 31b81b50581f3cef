//! The position of each count of a document in its row of counts.
//!
//! A row of integers is the one intermediate form of evaluation: rows of units add up to rows of
//! documents, rows of documents to the whole, and every metric is a function of such a sum. So a
//! resample of documents is a weighted sum of rows.

use tabpo_ontology::{Ontology, RelationLabelId};

/// The name under which predictions without a known label are counted.
pub const INVALID: &str = "INVALID";

/// A way of comparing predicted items with gold items; each has matched, predicted and gold counts
/// for every one of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// Sets of (span, label).
    Ner,
    /// Sets of (span, sub-label), over labels that have sub-labels.
    NerSubtype,
    /// Sets of (span, label, sub-label).
    NerBoth,
    /// Sets of spans.
    Span,
    /// Sets of (text, label): no offsets.
    TextNer,
    /// Sets of (head span, tail span, type), as directed as they are written.
    Rel,
    /// As `Rel`, both arguments predicted with their gold label.
    RelPlus,
    /// As `Rel`, arguments of symmetric types in order of offset.
    RelSymmetric,
    /// As `RelPlus`, arguments of symmetric types in order of offset.
    RelPlusSymmetric,
    /// As `Rel`, every relation of a symmetric type counted in both directions.
    RelDoubled,
    /// As `RelPlus`, every relation of a symmetric type counted in both directions.
    RelPlusDoubled,
    /// Sets of (head text, tail text, type): no offsets.
    TextRel,
    /// Sets of unordered pairs of spans.
    Pair,
    /// Lists of (span, label): nothing is de-duplicated.
    ListNer,
    /// Lists of (head span, tail span, type).
    ListRel,
    /// As `ListRel`, both arguments predicted with their gold label.
    ListRelPlus,
    /// The set of labels of each document.
    LabelSetDocument,
    /// The set of labels of each unit.
    LabelSetUnit,
    /// The multiset of labels of each document.
    LabelMultiset,
    /// Relaxed span match over each document, as the public TAB-PO code does it.
    RelaxedDocument,
    /// Relaxed span match over each unit, as the public TAB-PO code does it.
    RelaxedUnit,
    /// Relaxed span match over each unit that cannot be gamed.
    RelaxedStrict,
}

impl Family {
    const ALL: [Family; 22] = [
        Family::Ner,
        Family::NerSubtype,
        Family::NerBoth,
        Family::Span,
        Family::TextNer,
        Family::Rel,
        Family::RelPlus,
        Family::RelSymmetric,
        Family::RelPlusSymmetric,
        Family::RelDoubled,
        Family::RelPlusDoubled,
        Family::TextRel,
        Family::Pair,
        Family::ListNer,
        Family::ListRel,
        Family::ListRelPlus,
        Family::LabelSetDocument,
        Family::LabelSetUnit,
        Family::LabelMultiset,
        Family::RelaxedDocument,
        Family::RelaxedUnit,
        Family::RelaxedStrict,
    ];
}

/// A count that does not belong to a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tally {
    /// Gold labels at spans that were predicted.
    Located,
    /// ... that the prediction shares.
    LocatedCorrect,
    /// Gold sub-labels at spans that were predicted with the gold label.
    SubtypeLocated,
    /// ... that the prediction shares.
    SubtypeCorrect,
    /// Units.
    Units,
    /// Outputs that are JSON.
    JsonValid,
    /// ... with exactly the keys and labels of the format.
    SchemaValid,
    /// ... whose relations name two different entities.
    RefsValid,
    /// ... whose every text occurs in the source as often as it is used.
    FullyGrounded,
    /// Emitted entities.
    EntityItems,
    /// Emitted entities with a text.
    EntityTexts,
    /// Emitted entities without a text.
    EntityMalformed,
    /// Emitted entities with a text and no known label.
    EntityBadLabel,
    /// Texts that are not in the source.
    NotSubstring,
    /// Texts that are not in the source, not even in another letter case.
    NotSubstringIgnoringCase,
    /// Texts that do not occur at token boundaries of the source.
    NotTokenAligned,
    /// Texts used more often than the source has them, or with an occurrence that does not exist.
    SurplusOrBadOccurrence,
    /// Emitted relations.
    RelationItems,
    /// Emitted relations without type, head or tail.
    RelationMalformed,
    /// Emitted relations whose arguments name no placed entity.
    RelationUnresolved,
}

impl Tally {
    const COUNT: usize = Tally::RelationUnresolved as usize + 1;
}

/// Matched, predicted and gold counts of one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Triple {
    /// Predicted items that are right.
    pub matched: u64,
    /// Predicted items.
    pub predicted: u64,
    /// Gold items.
    pub gold: u64,
}

/// The position of each count in a row, for one ontology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Names of the entity label slots as data files write them, [`INVALID`] last.
    entity_names: Vec<String>,
    /// Names of the relation type slots as data files write them, [`INVALID`] last.
    relation_names: Vec<String>,
    /// Names of (label, sub-label) slots: for each label one slot for none and one for each sub-label.
    both_names: Vec<String>,
    /// Names of the sub-label slots.
    subtype_names: Vec<String>,
    /// First slot of each label in `both_names`.
    both_start: Vec<usize>,
    /// Slot of each (label, sub-label) in `subtype_names`.
    subtype_slots: Vec<Vec<usize>>,
    symmetric: Vec<bool>,
    /// First column of each family.
    starts: [usize; Family::ALL.len()],
    columns: usize,
}

impl Layout {
    /// The layout for an ontology.
    pub fn new(ontology: &Ontology) -> Self {
        let with_invalid = |mut names: Vec<String>| {
            names.push(INVALID.to_owned());
            names
        };
        let entity_names: Vec<String> =
            ontology.entity_ids().map(|label| ontology.entity_data_name(label).to_owned()).collect();
        let relation_names =
            ontology.relation_ids().map(|label| ontology.relation_data_name(label).to_owned()).collect();
        let (mut both_names, mut both_start) = (Vec::new(), Vec::new());
        let (mut subtype_names, mut subtype_slots) = (Vec::<String>::new(), Vec::new());
        for (label, name) in ontology.entities.iter().zip(&entity_names) {
            both_start.push(both_names.len());
            both_names.push(name.clone());
            both_names.extend(label.subtypes.iter().map(|subtype| format!("{name}/{}", subtype.name)));
            let slots = label.subtypes.iter().map(|subtype| {
                subtype_names.iter().position(|name| *name == subtype.name).unwrap_or_else(|| {
                    subtype_names.push(subtype.name.clone());
                    subtype_names.len() - 1
                })
            });
            subtype_slots.push(slots.collect());
        }
        let mut layout = Self {
            entity_names: with_invalid(entity_names),
            relation_names: with_invalid(relation_names),
            both_names: with_invalid(both_names),
            subtype_names: with_invalid(subtype_names),
            both_start,
            subtype_slots,
            symmetric: ontology.relations.iter().map(|label| label.symmetric).collect(),
            starts: [0; Family::ALL.len()],
            columns: 0,
        };
        let mut column = Tally::COUNT;
        for family in Family::ALL {
            layout.starts[family as usize] = column;
            column += 3 * layout.slots(family);
        }
        layout.columns = column;
        layout
    }

    /// Length of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many labels a family distinguishes, [`INVALID`] included.
    pub fn slots(&self, family: Family) -> usize {
        self.names(family).map_or(1, <[String]>::len)
    }

    /// The labels of a family as data files write them, [`INVALID`] last; `None` for a family that
    /// does not distinguish labels.
    pub fn names(&self, family: Family) -> Option<&[String]> {
        match family {
            Family::Ner | Family::TextNer => Some(&self.entity_names),
            Family::NerSubtype => Some(&self.subtype_names),
            Family::NerBoth => Some(&self.both_names),
            Family::Rel
            | Family::RelPlus
            | Family::RelSymmetric
            | Family::RelPlusSymmetric
            | Family::RelDoubled
            | Family::RelPlusDoubled
            | Family::TextRel => Some(&self.relation_names),
            _ => None,
        }
    }

    /// Whether the ontology has sub-labels.
    pub fn has_subtypes(&self) -> bool {
        self.subtype_names.len() > 1
    }

    /// Whether the ontology has relation types.
    pub fn has_relations(&self) -> bool {
        !self.symmetric.is_empty()
    }

    pub(crate) fn is_symmetric(&self, relation: RelationLabelId) -> bool {
        self.symmetric[relation.index()]
    }

    /// Slot of a (label, sub-label) in [`Family::NerBoth`].
    pub(crate) fn both_slot(&self, label: usize, subtype: Option<usize>) -> usize {
        self.both_start[label] + subtype.map_or(0, |subtype| subtype + 1)
    }

    /// Slot of a sub-label in [`Family::NerSubtype`].
    pub(crate) fn subtype_slot(&self, label: usize, subtype: usize) -> usize {
        self.subtype_slots[label][subtype]
    }

    /// Whether a label has sub-labels.
    pub(crate) fn label_has_subtypes(&self, label: usize) -> bool {
        !self.subtype_slots[label].is_empty()
    }

    /// First of the three columns (matched, predicted, gold) of a label.
    pub(crate) fn column(&self, family: Family, slot: usize) -> usize {
        self.starts[family as usize] + 3 * slot
    }

    /// The counts of one label of a family.
    pub fn triple(&self, row: &[u64], family: Family, slot: usize) -> Triple {
        let column = self.column(family, slot);
        Triple { matched: row[column], predicted: row[column + 1], gold: row[column + 2] }
    }

    /// The counts of a family over all its labels.
    pub fn total(&self, row: &[u64], family: Family) -> Triple {
        (0..self.slots(family)).map(|slot| self.triple(row, family, slot)).fold(Triple::default(), |sum, triple| {
            Triple {
                matched: sum.matched + triple.matched,
                predicted: sum.predicted + triple.predicted,
                gold: sum.gold + triple.gold,
            }
        })
    }
}
