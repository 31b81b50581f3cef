//! The model's own mistakes on an example, as single edits of its gold answer.

use std::collections::HashMap;

use tabpo_answer::{Aligned, AlignedEntity, Answer, Grounding, comparable};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::{Edit, Side};

/// The single-edit steps between a gold answer and a wrong answer of a model: made all together,
/// they turn one into the other as far as edits can; each alone is a negative that the model is
/// known to be drawn to. Steps that gold does not admit are left to the caller to refuse.
///
/// Mentions are paired by span, then by overlap (a boundary step, and a label step where the label
/// differs too), then by text (an occurrence step); an unplaced text is paired with a missed mention
/// of the same label (a grounding step). What remains was dropped or added. Relations are compared
/// through these pairs.
pub fn steps(gold: &Answer, predicted: &Aligned, ontology: &Ontology) -> Vec<Edit> {
    let mut matching = Matching {
        gold,
        predicted,
        ontology,
        of_gold: vec![None; gold.entities.len()],
        of_predicted: vec![None; predicted.entities.len()],
        steps: Vec::new(),
    };
    matching.entities();
    matching.relations();
    matching.steps
}

struct Matching<'a> {
    gold: &'a Answer,
    predicted: &'a Aligned<'a>,
    ontology: &'a Ontology,
    of_gold: Vec<Option<u32>>,
    of_predicted: Vec<Option<u32>>,
    steps: Vec<Edit>,
}

impl Matching<'_> {
    fn entities(&mut self) {
        let label_first = |matching: &Self, g: usize, p: usize| {
            matching.gold.entities[g].span == matching.predicted.entities[p].span
                && Some(matching.gold.entities[g].label) == matching.predicted.entities[p].label
        };
        self.pair(label_first, |_, _| None);
        self.pair(|m, g, p| m.gold.entities[g].span == m.predicted.entities[p].span, |_, _| None);
        let overlap = |m: &Self, g: usize, p: usize| {
            let spans = m.gold.entities[g].span.zip(m.predicted.entities[p].span);
            spans.is_some_and(|(a, b)| a.overlaps(b))
        };
        self.pair(overlap, |entity, other| other.span.map(|span| Edit::Boundary { entity, span }));
        let same_text = |m: &Self, g: usize, p: usize| {
            m.predicted.entities[p].span.is_some()
                && m.predicted.entities[p].text.as_deref().map(comparable) == Some(comparable(&m.gold.entities[g].text))
        };
        self.pair(same_text, |entity, other| other.span.map(|span| Edit::Occurrence { entity, span }));
        let invented = |m: &Self, g: usize, p: usize| {
            let other = &m.predicted.entities[p];
            other.grounding == Some(Grounding::Absent) && other.label == Some(m.gold.entities[g].label)
        };
        self.pair(invented, |entity, other| {
            other.text.as_ref().map(|text| Edit::Grounding { entity, text: text.clone().into_owned() })
        });
        for (entity, partner) in (0..).zip(self.of_gold.clone()) {
            match partner {
                None => self.steps.push(Edit::DropEntity { entity }),
                Some(partner) => self.relabel(entity, partner),
            }
        }
        for (index, other) in self.predicted.entities.iter().enumerate() {
            if let (None, Some(span), Some(label)) = (self.of_predicted[index], other.span, other.label) {
                self.steps.push(Edit::AddEntity { span, label, subtype: other.subtype });
            }
        }
    }

    /// Pairs what is not paired yet and belongs together, in order, with the step that it takes.
    fn pair(
        &mut self,
        belongs: impl Fn(&Self, usize, usize) -> bool,
        step: impl Fn(u32, &AlignedEntity) -> Option<Edit>,
    ) {
        for g in 0..self.of_gold.len() {
            if self.of_gold[g].is_some() {
                continue;
            }
            let free = |&p: &usize| self.of_predicted[p].is_none() && belongs(self, g, p);
            if let Some(p) = (0..self.of_predicted.len()).find(free) {
                self.of_gold[g] = Some(p as u32);
                self.of_predicted[p] = Some(g as u32);
                self.steps.extend(step(g as u32, &self.predicted.entities[p]));
            }
        }
    }

    /// The label step of a pair, if the labels differ.
    fn relabel(&mut self, entity: u32, partner: u32) {
        let (before, after) = (&self.gold.entities[entity as usize], &self.predicted.entities[partner as usize]);
        let Some(label) = after.label else { return };
        if label != before.label {
            let subtype = after.subtype.or_else(|| self.first_subtype(label));
            self.steps.push(Edit::Label { entity, label, subtype });
        } else if let Some(subtype) = after.subtype.filter(|&subtype| Some(subtype) != before.subtype) {
            self.steps.push(Edit::Subtype { entity, subtype });
        }
    }

    fn first_subtype(&self, label: EntityLabelId) -> Option<SubtypeId> {
        self.ontology.subtype_ids(label).next()
    }

    fn relations(&mut self) {
        let gold = self.gold;
        let mut open: HashMap<(u32, u32, RelationLabelId), u32> = HashMap::new();
        for (index, relation) in (0..).zip(&gold.relations) {
            open.insert((relation.head, relation.tail, relation.label), index);
        }
        let mut wrong = Vec::new();
        for relation in &self.predicted.relations {
            let (Some((head, tail)), Some(label)) = (relation.arguments, relation.label) else { continue };
            let pair = self.of_predicted[head as usize].zip(self.of_predicted[tail as usize]);
            let Some((head, tail)) = pair.filter(|(head, tail)| head != tail) else { continue };
            let reverse = self.ontology.relation(label).symmetric.then_some((tail, head, label));
            let stated =
                [Some((head, tail, label)), reverse].into_iter().flatten().any(|key| open.remove(&key).is_some());
            if !stated {
                wrong.push((head, tail, label));
            }
        }
        for (head, tail, label) in wrong {
            let mut candidates: Vec<u32> = open.values().copied().collect();
            candidates.sort_unstable();
            let of_gold = |&index: &u32| gold.relations[index as usize];
            let found = |accept: &dyn Fn(&u32) -> bool| candidates.iter().copied().find(|index| accept(index));
            let same_pair = found(&|index| (of_gold(index).head, of_gold(index).tail) == (head, tail));
            let reversed =
                found(&|index| (of_gold(index).tail, of_gold(index).head, of_gold(index).label) == (head, tail, label));
            let same_tail = found(&|index| (of_gold(index).tail, of_gold(index).label) == (tail, label));
            let same_head = found(&|index| (of_gold(index).head, of_gold(index).label) == (head, label));
            let (step, used) = if let Some(relation) = same_pair {
                (Edit::RelationLabel { relation, label }, Some(relation))
            } else if let Some(relation) = reversed {
                (Edit::Direction { relation }, Some(relation))
            } else if let Some(relation) = same_tail {
                (Edit::Argument { relation, side: Side::Head, entity: head }, Some(relation))
            } else if let Some(relation) = same_head {
                (Edit::Argument { relation, side: Side::Tail, entity: tail }, Some(relation))
            } else {
                (Edit::AddRelation { head, tail, label }, None)
            };
            self.steps.push(step);
            open.retain(|_, index| Some(*index) != used);
        }
        let mut missed: Vec<u32> = open.into_values().collect();
        missed.sort_unstable();
        let kept = |entity: u32| self.of_gold[entity as usize].is_some();
        let missed = missed.into_iter().filter(|&index| {
            let relation = gold.relations[index as usize];
            kept(relation.head) && kept(relation.tail)
        });
        self.steps.extend(missed.map(|relation| Edit::DropRelation { relation }));
    }
}
