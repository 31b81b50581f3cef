//! What has been decided about one text.

use serde::{Deserialize, Serialize};
use tabpo_corpus::{Mention, Relation, Span};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

/// The entities and relations of a text with what was decided about each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitState {
    /// Entities, first those of the prediction.
    pub entities: Vec<EntityState>,
    /// Relations, first those of the prediction.
    pub relations: Vec<RelationState>,
    /// Whether the whole is right as it is here, so that nothing is missing either. What is open then counts as accepted.
    pub confirmed: bool,
}

/// What was decided about an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Open,
    /// It is right, perhaps after a correction.
    Accepted,
    /// It is wrong and left out.
    Rejected,
}

/// An entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityState {
    /// Its number, by which relations name it; unique in the text.
    pub id: u32,
    /// Its first token, counted from the start of the text.
    pub start: u32,
    /// One past its last token.
    pub end: u32,
    /// Its label, by name.
    pub label: String,
    /// Its sub-label, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// Its position in the prediction; none for one that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// What was decided.
    pub verdict: Verdict,
}

/// A relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationState {
    /// The number of its head.
    pub head: u32,
    /// The number of its tail.
    pub tail: u32,
    /// Its type, by name.
    pub label: String,
    /// Its position in the prediction; none for one that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// What was decided.
    pub verdict: Verdict,
}

/// The annotation that a state comes to: what is not rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// Mentions; their tokens are counted from the start of the text.
    pub(crate) mentions: Vec<Mention>,
    /// Relations between positions in `mentions`.
    pub(crate) relations: Vec<Relation>,
}

impl EntityState {
    pub(crate) fn span(&self) -> Span {
        Span::new(self.start, self.end)
    }

    fn stays(&self) -> bool {
        self.verdict != Verdict::Rejected
    }
}

impl UnitState {
    /// The entity with a number.
    pub(crate) fn entity(&self, id: u32) -> Option<&EntityState> {
        self.entities.iter().find(|entity| entity.id == id)
    }

    /// Rejects what cannot stay: relations with an end that is rejected. In a confirmed state, accepts what is open.
    pub(crate) fn settle(&mut self) {
        let rejected: Vec<u32> = self.entities.iter().filter(|entity| !entity.stays()).map(|one| one.id).collect();
        for relation in &mut self.relations {
            if rejected.contains(&relation.head) || rejected.contains(&relation.tail) {
                relation.verdict = Verdict::Rejected;
            }
        }
        if self.confirmed {
            let verdicts = self.entities.iter_mut().map(|one| &mut one.verdict);
            for verdict in verdicts.chain(self.relations.iter_mut().map(|one| &mut one.verdict)) {
                if *verdict == Verdict::Open {
                    *verdict = Verdict::Accepted;
                }
            }
        }
    }

    /// The annotation of what is not rejected, in a text of `tokens` tokens, with `predicted` entities and relations; or
    /// what is wrong with the state, for a reader.
    pub(crate) fn annotation(
        &self,
        ontology: &Ontology,
        tokens: u32,
        predicted: &UnitState,
    ) -> Result<Annotation, String> {
        let mut found = Annotation::default();
        let mut numbers = Vec::with_capacity(self.entities.len());
        for entity in &self.entities {
            if self.entities.iter().filter(|other| other.id == entity.id).count() > 1 {
                return Err(format!("the number {} is given to two entities", entity.id));
            }
            if entity.start >= entity.end || entity.end > tokens {
                return Err(format!(
                    "the span {} to {} is not in the text of {tokens} tokens",
                    entity.start, entity.end
                ));
            }
            from_prediction(entity.from, predicted.entities.len())?;
            let (label, subtype) = label(ontology, entity)?;
            if entity.stays() {
                let mention = Mention { span: entity.span(), label, subtype };
                if found.mentions.contains(&mention) {
                    return Err(format!("`{}` is on these words already", entity.label));
                }
                numbers.push(entity.id);
                found.mentions.push(mention);
            }
        }
        for relation in &self.relations {
            from_prediction(relation.from, predicted.relations.len())?;
            if relation.head == relation.tail {
                return Err("a relation connects two different entities".to_owned());
            }
            let known = |id| self.entity(id).ok_or_else(|| format!("there is no entity with the number {id}"));
            known(relation.head)?;
            known(relation.tail)?;
            let label = ontology.relation_named(&relation.label);
            let label = label.ok_or_else(|| format!("there is no relation type `{}`", relation.label))?;
            if relation.verdict == Verdict::Rejected {
                continue;
            }
            let position = |id| numbers.iter().position(|&number| number == id);
            let (Some(head), Some(tail)) = (position(relation.head), position(relation.tail)) else {
                return Err("an end of the relation is rejected".to_owned());
            };
            signature(ontology, label, found.mentions[head].label, found.mentions[tail].label)?;
            let made = Relation { head: head as u32, tail: tail as u32, label };
            if found.relations.contains(&made) {
                return Err(format!("`{}` is between these two already", relation.label));
            }
            found.relations.push(made);
        }
        Ok(found)
    }
}

fn from_prediction(from: Option<u32>, count: usize) -> Result<(), String> {
    match from {
        Some(position) if position as usize >= count => Err(format!("the prediction has no item {position}")),
        _ => Ok(()),
    }
}

/// The label of an entity and its sub-label, which a label with sub-labels needs unless the entity is rejected.
fn label(ontology: &Ontology, entity: &EntityState) -> Result<(EntityLabelId, Option<SubtypeId>), String> {
    let name = &entity.label;
    let label = ontology.entity_named(name).ok_or_else(|| format!("there is no entity label `{name}`"))?;
    let subtype = match &entity.subtype {
        None => None,
        Some(subtype) => Some(
            ontology.subtype_named(label, subtype).ok_or_else(|| format!("`{name}` has no sub-label `{subtype}`"))?,
        ),
    };
    if subtype.is_none() && !ontology.entity(label).subtypes.is_empty() && entity.stays() {
        return Err(format!("`{name}` needs one of its sub-labels"));
    }
    Ok((label, subtype))
}

/// An error if the ontology does not allow a relation between these labels.
pub(crate) fn signature(
    ontology: &Ontology,
    relation: RelationLabelId,
    head: EntityLabelId,
    tail: EntityLabelId,
) -> Result<(), String> {
    if ontology.signature_allowed(relation, head, tail) {
        return Ok(());
    }
    let names = |ids: &[EntityLabelId]| match ids {
        [] => "any label".to_owned(),
        ids => ids.iter().map(|&id| ontology.entity(id).name.as_str()).collect::<Vec<_>>().join(" or "),
    };
    let label = ontology.relation(relation);
    Err(format!(
        "`{}` goes from {} to {}, not from {} to {}",
        label.name,
        names(&label.domain),
        names(&label.range),
        ontology.entity(head).name,
        ontology.entity(tail).name
    ))
}
