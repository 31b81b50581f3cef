//! The model's own mistakes on an example, as single edits of its gold answer.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use tabpo_answer::{Aligned, AlignedEntity, Answer, AnswerEntity, AnswerRelation, Grounding, comparable};
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::{Edit, Side};

/// The single edits between a gold answer and a wrong answer of a model: all of them together turn one
/// into the other, as far as edits can; each alone is a negative that the model is known to be prone
/// to. The caller refuses those that gold does not admit.
///
/// Mentions are paired by span, then by overlap (a boundary edit, and a label edit where the label
/// differs too), then by text (an occurrence edit); a text that does not occur in the source is paired
/// with a missed mention of the same label (a grounding edit). The rest was dropped or added. Relations
/// are compared through these pairs.
pub(crate) fn edits(gold: &Answer, predicted: &Aligned, ontology: &Ontology) -> Vec<Edit> {
    let mut matching = Matching {
        gold,
        predicted,
        ontology,
        of_gold: vec![None; gold.entities.len()],
        of_predicted: vec![None; predicted.entities.len()],
        edits: Vec::new(),
    };
    matching.entities();
    matching.relations();
    matching.edits
}

/// Numbers by key, each key's in ascending order.
struct ByKey<K>(HashMap<K, VecDeque<u32>>);

impl<K> Default for ByKey<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> ByKey<K> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a number, which must be greater than those the key already has.
    fn add(&mut self, key: K, number: u32) {
        self.0.entry(key).or_default().push_back(number);
    }

    /// The first free number of a key. A number that is not free never becomes free again.
    fn first(&mut self, key: &K, is_free: impl Fn(u32) -> bool) -> Option<u32> {
        let numbers = self.0.get_mut(key)?;
        while numbers.front().is_some_and(|&number| !is_free(number)) {
            numbers.pop_front();
        }
        numbers.front().copied()
    }
}

struct Matching<'a> {
    gold: &'a Answer,
    predicted: &'a Aligned<'a>,
    ontology: &'a Ontology,
    of_gold: Vec<Option<u32>>,
    of_predicted: Vec<Option<u32>>,
    edits: Vec<Edit>,
}

impl<'a> Matching<'a> {
    fn entities(&mut self) {
        self.pair(
            |entity| vec![(entity.span, Some(entity.label))],
            |other| vec![(other.span, other.label)],
            |_, _| None,
        );
        self.pair(|entity| vec![entity.span], |other| vec![other.span], |_, _| None);
        let tokens = |span: Option<Span>| span.map_or(Vec::new(), |span| (span.start..span.end).collect());
        self.pair(
            |entity| tokens(entity.span),
            |other| tokens(other.span),
            |entity, other| other.span.map(|span| Edit::Boundary { entity, span }),
        );
        self.pair(
            |entity| vec![comparable(entity.text.as_str())],
            |other| other.span.and(other.text.as_deref()).map(comparable).into_iter().collect(),
            |entity, other| other.span.map(|span| Edit::Occurrence { entity, span }),
        );
        let invented = |other: &AlignedEntity| other.grounding == Some(Grounding::Absent);
        self.pair(
            |entity| vec![entity.label],
            |other| other.label.filter(|_| invented(other)).into_iter().collect(),
            |entity, other| other.text.as_ref().map(|text| Edit::Grounding { entity, text: text.clone().into_owned() }),
        );
        for (entity, partner) in (0..).zip(self.of_gold.clone()) {
            match partner {
                None => self.edits.push(Edit::DropEntity { entity }),
                Some(partner) => self.relabel(entity, partner),
            }
        }
        for (index, other) in self.predicted.entities.iter().enumerate() {
            if let (None, Some(span), Some(label)) = (self.of_predicted[index], other.span, other.label) {
                self.edits.push(Edit::AddEntity { span, label, subtype: other.subtype });
            }
        }
    }

    /// Pairs, in order, unpaired mentions that have a key in common, and records the edit between them.
    fn pair<K: Eq + Hash>(
        &mut self,
        keys_of_gold: impl Fn(&'a AnswerEntity) -> Vec<K>,
        keys_of_predicted: impl Fn(&'a AlignedEntity<'a>) -> Vec<K>,
        edit: impl Fn(u32, &AlignedEntity) -> Option<Edit>,
    ) {
        let (gold, predicted) = (self.gold, self.predicted);
        let mut by_key = ByKey::default();
        for (p, other) in (0..).zip(&predicted.entities) {
            if self.of_predicted[p as usize].is_none() {
                for key in keys_of_predicted(other) {
                    by_key.add(key, p);
                }
            }
        }
        for (g, entity) in (0..).zip(&gold.entities) {
            if by_key.is_empty() || self.of_gold[g as usize].is_some() {
                continue;
            }
            let free = |p: u32| self.of_predicted[p as usize].is_none();
            if let Some(p) = keys_of_gold(entity).iter().filter_map(|key| by_key.first(key, free)).min() {
                self.of_gold[g as usize] = Some(p);
                self.of_predicted[p as usize] = Some(g);
                self.edits.extend(edit(g, &predicted.entities[p as usize]));
            }
        }
    }

    /// Records the label edit of a pair, if the labels differ.
    fn relabel(&mut self, entity: u32, partner: u32) {
        let (before, after) = (&self.gold.entities[entity as usize], &self.predicted.entities[partner as usize]);
        let Some(label) = after.label else { return };
        if label != before.label {
            let subtype = after.subtype.or_else(|| self.first_subtype(label));
            self.edits.push(Edit::Label { entity, label, subtype });
        } else if let Some(subtype) = after.subtype.filter(|&subtype| Some(subtype) != before.subtype) {
            self.edits.push(Edit::Subtype { entity, subtype });
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
        let mut candidates: Vec<u32> = open.into_values().collect();
        candidates.sort_unstable();
        let mut is_open = vec![false; gold.relations.len()];
        let (mut of_pair, mut of_all, mut of_tail, mut of_head) =
            (ByKey::default(), ByKey::default(), ByKey::default(), ByKey::default());
        for &index in &candidates {
            let AnswerRelation { head, tail, label } = gold.relations[index as usize];
            is_open[index as usize] = true;
            of_pair.add((head, tail), index);
            of_all.add((head, tail, label), index);
            of_tail.add((tail, label), index);
            of_head.add((head, label), index);
        }
        for (head, tail, label) in wrong {
            let open = |index: u32| is_open[index as usize];
            let same_pair = of_pair.first(&(head, tail), open);
            let reversed = of_all.first(&(tail, head, label), open);
            let same_tail = of_tail.first(&(tail, label), open);
            let same_head = of_head.first(&(head, label), open);
            let (edit, used) = if let Some(relation) = same_pair {
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
            self.edits.push(edit);
            if let Some(used) = used {
                is_open[used as usize] = false;
            }
        }
        let kept = |entity: u32| self.of_gold[entity as usize].is_some();
        let missed = candidates.into_iter().filter(|&index| {
            let relation = gold.relations[index as usize];
            is_open[index as usize] && kept(relation.head) && kept(relation.tail)
        });
        self.edits.extend(missed.map(|relation| Edit::DropRelation { relation }));
    }
}

#[cfg(test)]
mod tests;
