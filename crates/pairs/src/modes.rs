//! Error modes as shares: which single-edit mistakes occur in validation predictions, and how often.

use std::collections::BTreeMap;

use tabpo_metrics::modes::{ErrorMode, ErrorModes, ModeKind};
use tabpo_ontology::{Alternatives, EntityLabelId, Ontology, RelationLabelId, SubtypeId};
use thiserror::Error;

use crate::Kind;

/// One mistake that a single edit can reproduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// An entity of the first label gets the second.
    Label(EntityLabelId, EntityLabelId),
    /// An entity of this label has the second sub-label instead of the first.
    Subtype(EntityLabelId, SubtypeId, SubtypeId),
    /// A relation of the first type gets the second.
    RelationLabel(RelationLabelId, RelationLabelId),
    /// A relation of this type is reversed.
    Direction(RelationLabelId),
    /// A relation of this type has another argument.
    Argument(RelationLabelId),
    /// The span of an entity of this label is wrong in this way.
    Boundary(EntityLabelId, Shift),
    /// An entity of this label is missing.
    DropEntity(EntityLabelId),
    /// An additional entity has this label.
    AddEntity(EntityLabelId),
    /// A relation of this type is missing.
    DropRelation(RelationLabelId),
    /// An additional relation has this type.
    AddRelation(RelationLabelId),
    /// An entity of this label is placed on another occurrence of its text.
    Occurrence(EntityLabelId),
}

/// How a predicted span relates to the gold span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shift {
    /// Inside it.
    Shorter,
    /// Around it.
    Longer,
    /// Across one of its edges.
    Across,
}

impl Shift {
    /// The name used in summaries.
    pub fn name(self) -> &'static str {
        match self {
            Shift::Shorter => "shorter",
            Shift::Longer => "longer",
            Shift::Across => "across",
        }
    }
}

/// A label of an error file that the ontology does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the error modes name the {what} `{found}`, which the ontology does not have{alternatives}")]
pub struct UnknownModeLabel {
    /// What the name should be.
    pub what: &'static str,
    /// The name.
    pub found: String,
    /// The names of the ontology.
    pub alternatives: Alternatives,
}

/// The modes that occurred on validation, with smoothed shares.
///
/// Within one kind of edit, a mode seen `c` times gets the share `(c + α m) / (Σ c + α)`, where `m`
/// is the share of its wrong label among the modes of the kind (spread evenly over the modes with
/// that label): a rare mode borrows strength from the frequency of its wrong label. Modes that were
/// never seen are absent: their share is exactly 0.
///
/// Insertions take their label from spurious predictions. Where there are none, they take it from the
/// wrong labels of confusions, which are the labels that the model gives too freely, or else from
/// mentions with wrong boundaries, which are also spurious. Examples without entities admit no other
/// edit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModeRates {
    /// Modes of all kinds with their share within the kind; the shares of a kind sum to 1.
    pub modes: Vec<(Mode, f64)>,
    /// How often each kind was seen, by [`Kind::index`].
    pub counts: [u64; Kind::ALL.len()],
}

impl Mode {
    /// The kind of edit that reproduces the mistake.
    pub fn kind(self) -> Kind {
        match self {
            Mode::Label(..) => Kind::Label,
            Mode::Subtype(..) => Kind::Subtype,
            Mode::RelationLabel(..) => Kind::RelationLabel,
            Mode::Direction(_) => Kind::Direction,
            Mode::Argument(_) => Kind::Argument,
            Mode::Boundary(..) => Kind::Boundary,
            Mode::DropEntity(_) => Kind::DropEntity,
            Mode::AddEntity(_) => Kind::AddEntity,
            Mode::DropRelation(_) => Kind::DropRelation,
            Mode::AddRelation(_) => Kind::AddRelation,
            Mode::Occurrence(_) => Kind::Occurrence,
        }
    }

    /// The label by which modes are smoothed together: the wrong one, or the only one.
    fn outcome(self) -> (u16, u16) {
        match self {
            Mode::Label(_, to) => (to.0, 0),
            Mode::Subtype(label, _, to) => (label.0, to.0),
            Mode::RelationLabel(_, to) => (to.0, 0),
            Mode::Boundary(_, shift) => (shift as u16, 0),
            Mode::DropEntity(label) | Mode::AddEntity(label) | Mode::Occurrence(label) => (label.0, 0),
            Mode::Direction(label) | Mode::Argument(label) | Mode::DropRelation(label) | Mode::AddRelation(label) => {
                (label.0, 0)
            }
        }
    }
}

impl ModeRates {
    /// The default strength α of the smoothing, in observations.
    pub const SMOOTHING: f64 = 1.0;

    /// Shares from counted modes. `smoothing` is α, at least 0.
    pub fn new(errors: &ErrorModes, ontology: &Ontology, smoothing: f64) -> Result<Self, UnknownModeLabel> {
        let mut counted: Vec<(Mode, u64)> = Vec::new();
        let mut add = |mode: Mode, count: u64| match counted.iter_mut().find(|(other, _)| *other == mode) {
            Some((_, sum)) => *sum += count,
            None if count > 0 => counted.push((mode, count)),
            None => {}
        };
        for entry in &errors.modes {
            if let Some(mode) = read(entry, ontology)? {
                add(mode, entry.count);
            }
        }
        if !counted.iter().any(|(mode, _)| mode.kind() == Kind::AddEntity) {
            counted.extend(implied_insertions(&counted));
        }
        counted.sort_unstable();
        let mut rates = Self::default();
        for kind in Kind::ALL {
            let of_kind: Vec<(Mode, u64)> = counted.iter().copied().filter(|(mode, _)| mode.kind() == kind).collect();
            let total: u64 = of_kind.iter().map(|(_, count)| count).sum();
            rates.counts[kind.index()] = total;
            let total = total as f64;
            rates.modes.extend(of_kind.iter().map(|&(mode, count)| {
                let alike = of_kind.iter().filter(|(other, _)| other.outcome() == mode.outcome());
                let (modes, sum) = alike.fold((0.0, 0.0), |(n, sum), &(_, count)| (n + 1.0, sum + count as f64));
                let marginal = sum / total / modes;
                (mode, (count as f64 + smoothing * marginal) / (total + smoothing))
            }));
        }
        Ok(rates)
    }

    /// The share of a mode within its kind; 0 for one that was never seen.
    pub fn share(&self, mode: Mode) -> f64 {
        self.modes.iter().find(|(other, _)| *other == mode).map_or(0.0, |&(_, share)| share)
    }
}

/// The insertions that other mistakes imply, for predictions without a spurious mention.
fn implied_insertions(counted: &[(Mode, u64)]) -> Vec<(Mode, u64)> {
    let collect = |label_of: fn(Mode) -> Option<EntityLabelId>| {
        let mut counts: BTreeMap<EntityLabelId, u64> = BTreeMap::new();
        for &(mode, count) in counted {
            if let Some(label) = label_of(mode) {
                *counts.entry(label).or_default() += count;
            }
        }
        counts.into_iter().map(|(label, count)| (Mode::AddEntity(label), count)).collect::<Vec<_>>()
    };
    let from_labels = collect(|mode| if let Mode::Label(_, wrong) = mode { Some(wrong) } else { None });
    if !from_labels.is_empty() {
        return from_labels;
    }
    collect(|mode| if let Mode::Boundary(label, _) = mode { Some(label) } else { None })
}

/// The mode of an entry; `None` where no single edit reproduces it (a label outside the ontology).
fn read(entry: &ErrorMode, ontology: &Ontology) -> Result<Option<Mode>, UnknownModeLabel> {
    let entity = |name: &Option<String>| {
        let find = |name: &String| {
            let valid = ontology.entities.iter().map(|label| label.name.as_str());
            ontology.entity_named(name).ok_or_else(|| unknown("entity label", name, valid))
        };
        name.as_ref().map(find).transpose()
    };
    let relation = |name: &Option<String>| {
        let find = |name: &String| {
            let valid = ontology.relations.iter().map(|label| label.name.as_str());
            ontology.relation_named(name).ok_or_else(|| unknown("relation type", name, valid))
        };
        name.as_ref().map(find).transpose()
    };
    let subtype = |label: EntityLabelId, name: &Option<String>| {
        let find = |name: &String| {
            let valid = ontology.entity(label).subtypes.iter().map(|subtype| subtype.name.as_str());
            ontology.subtype_named(label, name).ok_or_else(|| unknown("sub-label", name, valid))
        };
        name.as_ref().map(find).transpose()
    };
    let (gold, predicted) = (&entry.gold, &entry.predicted);
    Ok(match entry.kind {
        ModeKind::LabelConfusion => entity(gold)?.zip(entity(predicted)?).map(|(from, to)| Mode::Label(from, to)),
        ModeKind::SubtypeConfusion => match entity(gold)? {
            None => None,
            Some(label) => subtype(label, &entry.gold_subtype)?
                .zip(subtype(label, &entry.predicted_subtype)?)
                .map(|(from, to)| Mode::Subtype(label, from, to)),
        },
        ModeKind::BoundaryShort => entity(gold)?.map(|label| Mode::Boundary(label, Shift::Shorter)),
        ModeKind::BoundaryLong => entity(gold)?.map(|label| Mode::Boundary(label, Shift::Longer)),
        ModeKind::BoundaryShifted => entity(gold)?.map(|label| Mode::Boundary(label, Shift::Across)),
        ModeKind::WrongOccurrence => entity(gold)?.map(Mode::Occurrence),
        ModeKind::MissingEntity => entity(gold)?.map(Mode::DropEntity),
        ModeKind::SpuriousEntity => entity(predicted)?.map(Mode::AddEntity),
        ModeKind::RelationConfusion => {
            relation(gold)?.zip(relation(predicted)?).map(|(from, to)| Mode::RelationLabel(from, to))
        }
        ModeKind::DirectionReversed => relation(gold)?.map(Mode::Direction),
        ModeKind::ArgumentSwapped => relation(gold)?.map(Mode::Argument),
        ModeKind::MissingLink => relation(gold)?.map(Mode::DropRelation),
        ModeKind::SpuriousLink => relation(predicted)?.map(Mode::AddRelation),
    })
}

fn unknown<'a>(what: &'static str, name: &str, valid: impl Iterator<Item = &'a str>) -> UnknownModeLabel {
    UnknownModeLabel { what, found: name.to_owned(), alternatives: Alternatives::to(name, valid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(modes: &str) -> ModeRates {
        let ontology = "[ontology]\nname = \"o\"\n[[entity]]\nname = \"A\"\n[[entity]]\nname = \"B\"\n";
        let ontology = Ontology::parse(ontology, "o.toml").expect("the ontology is valid");
        let text = format!(
            r#"{{"version":{},"ontology":"o","documents":1,"units":1,"entities":[],"relations":[],"modes":[{modes}]}}"#,
            ErrorModes::VERSION
        );
        let errors: ErrorModes = serde_json::from_str(&text).expect("the form of an error file");
        ModeRates::new(&errors, &ontology, ModeRates::SMOOTHING).expect("the labels are known")
    }

    fn mode(kind: &str, gold: &str, predicted: &str, count: u32) -> String {
        format!(r#"{{"kind":"{kind}","gold":"{gold}","predicted":"{predicted}","count":{count},"examples":[]}}"#)
    }

    #[test]
    fn insertions_follow_from_other_mistakes_where_nothing_was_spurious() {
        let (a, b) = (EntityLabelId(0), EntityLabelId(1));
        let boundaries = rates(&mode("boundary-long", "A", "A", 3));
        assert_eq!((boundaries.share(Mode::AddEntity(a)), boundaries.share(Mode::AddEntity(b))), (1.0, 0.0));
        let labels = rates(&[mode("boundary-long", "A", "A", 3), mode("label-confusion", "A", "B", 1)].join(","));
        assert_eq!((labels.share(Mode::AddEntity(a)), labels.share(Mode::AddEntity(b))), (0.0, 1.0));
        assert_eq!(labels.share(Mode::Label(b, a)), 0.0);
    }
}
