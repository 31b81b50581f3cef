//! What a model should have written after each of its own mistakes.
//!
//! Training on gold shows a model only gold states. After its own first mistake it is in others: a mention is missing
//! and the ids have shifted, or a wrong record stands there. A dynamic oracle (Goldberg and Nivre 2012) says what is
//! best from such a state: the answers that reach the highest F1 among those that begin as the model's does.

use tabpo_answer::{
    Answer, AnswerEntity, AnswerRelation, Item, Rendered, align, decisions, gold, parse, read_canonical, render,
};
use tabpo_corpus::{Span, Unit};
use tabpo_ontology::Ontology;
use tabpo_roles::{List, Role};

/// A model's answer with the right continuations at each of its turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Oracle {
    /// The answer, in canonical form.
    pub answer: Rendered,
    /// A turn for every record that was written and for the end of each list, in order.
    pub turns: Vec<Turn>,
}

/// A stretch of an answer, from the end of a value over the decision between a further record and the end of the list
/// to the last value of what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The byte of the answer that the right texts replace it from: the start of the value before the turn.
    pub window: usize,
    /// The byte of the answer at which the turn begins: the end of that value.
    pub from: usize,
    /// What F1 would have had there; any of them is right.
    pub right: Vec<RightText>,
}

/// A right continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightText {
    /// The text from [`Turn::window`] on, up to the end of an answer that stops after the record.
    pub text: String,
    /// The bytes of `text` that belong to the turn; the rest is only there so that the tokens before are cut as in an
    /// answer.
    pub until: usize,
}

/// The right continuations of a model's answer to a unit. `None` if the answer is not in canonical form.
///
/// Where mentions of gold are not written yet, the record of any of them is right, in whatever order; where none is
/// left, the end of the list is. Of relations, those of gold between spans that were written are right, with the ids that
/// these have in the answer. A mention counts as written once a record has its span, also with a wrong label: the record
/// cannot be taken back. Within a record that is wrong already, nothing is right.
pub fn oracle(unit: &Unit, output: &str, ontology: &Ontology) -> Option<Oracle> {
    let (own, answer) = read_canonical(output, ontology)?;
    let aligned = align(&parse(output, ontology), unit, ontology);
    let spans: Vec<Option<Span>> = aligned.entities.iter().map(|entity| entity.span).collect();
    let state = State { unit, ontology, gold: gold(unit), own, spans };
    let mut written = (0, 0);
    let turns = decisions(&answer.text, ontology).into_iter().map(|taken| {
        let right = match taken.place.list {
            List::Entities => state.after_entities(written.0),
            List::Relations => state.after_relations(state.own.entities.len(), written.1),
        };
        let count = if taken.place.list == List::Entities { &mut written.0 } else { &mut written.1 };
        *count += usize::from(taken.opens);
        let value = values(&answer).take_while(|(_, range)| range.end <= taken.place.at).last();
        let (window, from) = value.map_or((0, 0), |(_, range)| (range.start, range.end));
        let right =
            right.into_iter().map(|(text, until)| RightText { text: text[window..].to_owned(), until: until - window });
        Turn { window, from, right: right.collect() }
    });
    let turns = turns.collect();
    Some(Oracle { answer, turns })
}

/// The values of an answer with their items, in order.
fn values(answer: &Rendered) -> impl Iterator<Item = (Item, std::ops::Range<usize>)> {
    let parts = answer.parts.iter().filter(|part| part.role != Role::Scaffold);
    parts.map(|part| (part.item, part.range.clone()))
}

/// Gold, and what was written instead.
struct State<'a> {
    unit: &'a Unit<'a>,
    ontology: &'a Ontology,
    gold: Answer,
    own: Answer,
    /// The places of the written entities.
    spans: Vec<Option<Span>>,
}

impl State<'_> {
    /// For each mention of gold, the first `count` written entities that stand for it, at most one.
    fn written(&self, count: usize) -> Vec<Option<u32>> {
        let mut written = vec![None; self.gold.entities.len()];
        for (index, (entity, span)) in (0..).zip(self.own.entities.iter().zip(&self.spans).take(count)) {
            let open = |mention: &usize| {
                written[*mention].is_none() && span.is_some_and(|_| self.gold.entities[*mention].span == *span)
            };
            let candidates: Vec<usize> = (0..written.len()).filter(open).collect();
            // Of several mentions on one span, that with the same label.
            let same = candidates.iter().find(|&&mention| self.gold.entities[mention].label == entity.label);
            if let Some(&mention) = same.or(candidates.first()) {
                written[mention] = Some(index);
            }
        }
        written
    }

    /// The right texts after `count` entities, each with the end of its turn.
    fn after_entities(&self, count: usize) -> Vec<(String, usize)> {
        let written = self.written(count);
        let missing = self.gold.entities.iter().zip(&written).filter(|(_, by)| by.is_none());
        let texts: Vec<(String, usize)> = missing
            .filter_map(|(mention, _)| self.placed(count, mention))
            .map(|mention| self.text(count, Some(&mention), 0, None, Item::Entity(count as u32)))
            .collect();
        // The end of the entities and the first relation are written in one run of punctuation.
        if texts.is_empty() { self.after_relations(count, 0) } else { texts }
    }

    /// A mention of gold as it has to be written after `count` entities to be found in its place: with the number of its
    /// occurrence where its text alone would be taken for another. `None` if no number leads there.
    fn placed(&self, count: usize, mention: &AnswerEntity) -> Option<AnswerEntity> {
        // Occurrences begin with tokens and are counted in their order: no more precede this one than tokens do.
        let most = mention.span.map_or(0, |span| span.start - self.unit.span().start + 1);
        let numbers = [None, mention.occurrence].into_iter().chain((1..=most).map(Some));
        numbers.map(|occurrence| AnswerEntity { occurrence, ..mention.clone() }).find(|candidate| {
            let (text, _) = self.text(count, Some(candidate), 0, None, Item::Frame);
            let aligned = align(&parse(&text, self.ontology), self.unit, self.ontology);
            aligned.entities.last().is_some_and(|entity| entity.span == mention.span)
        })
    }

    /// For each mention of gold, the record among the first `count` through which its relations are written: the one
    /// that stands for it, or that of another mention on the same span.
    fn endpoints(&self, count: usize) -> Vec<Option<u32>> {
        let on_span = |mention: &AnswerEntity| {
            let at = self.spans[..count].iter().position(|span| span.is_some() && *span == mention.span);
            at.map(|index| index as u32)
        };
        let mentions = self.gold.entities.iter().zip(self.written(count));
        mentions.map(|(mention, by)| by.or_else(|| on_span(mention))).collect()
    }

    /// The right texts after `entities` entities, which are all, and `count` relations.
    fn after_relations(&self, entities: usize, count: usize) -> Vec<(String, usize)> {
        let endpoints = self.endpoints(entities);
        let done = &self.own.relations[..count];
        let stands = |relation: &AnswerRelation| {
            let exchanged = AnswerRelation { head: relation.tail, tail: relation.head, ..*relation };
            done.contains(relation) || self.ontology.relation(relation.label).symmetric && done.contains(&exchanged)
        };
        let mut missing: Vec<AnswerRelation> = Vec::new();
        for relation in &self.gold.relations {
            let (head, tail) = (endpoints[relation.head as usize], endpoints[relation.tail as usize]);
            let (Some(head), Some(tail)) = (head, tail) else { continue };
            // Two mentions on one span may have one record, which is no relation's both ends.
            let merged = head == tail && relation.head != relation.tail;
            let relation = AnswerRelation { head, tail, label: relation.label };
            if !merged && !stands(&relation) && !missing.contains(&relation) {
                missing.push(relation);
            }
        }
        let texts: Vec<(String, usize)> = missing
            .into_iter()
            .map(|relation| self.text(entities, None, count, Some(relation), Item::Relation(count as u32)))
            .collect();
        if texts.is_empty() { vec![self.text(entities, None, count, None, Item::Frame)] } else { texts }
    }

    /// The answer that consists of the first written items and one more, and the end of the last value of `item`, or of
    /// the whole where that has none.
    fn text(
        &self,
        entities: usize,
        mention: Option<&AnswerEntity>,
        relations: usize,
        relation: Option<AnswerRelation>,
        item: Item,
    ) -> (String, usize) {
        let entities = self.own.entities[..entities].iter().chain(mention).cloned().collect();
        let relations = self.own.relations[..relations].iter().copied().chain(relation).collect();
        let rendered = render(&Answer { entities, relations }, self.ontology);
        let last = values(&rendered).filter(|(of, _)| *of == item).last();
        let until = last.map_or(rendered.text.len(), |(_, range)| range.end);
        (rendered.text, until)
    }
}

#[cfg(test)]
mod tests;
