//! From annotation to the canonical answer.

use std::collections::HashMap;

use tabpo_corpus::{Span, Unit};
use tabpo_ontology::EntityLabelId;

use crate::finder::Finder;
use crate::occurrences::Source;
use crate::{Answer, AnswerEntity, AnswerRelation};

/// The gold answer of a unit: its mentions, and the relations that lie wholly inside it.
pub fn gold(unit: &Unit) -> Answer {
    let mut positions = HashMap::new();
    let entities = unit.mentions().enumerate().map(|(position, (index, mention))| {
        positions.insert(index, position as u32);
        AnswerEntity {
            text: unit.document.span_text(mention.span).to_owned(),
            span: Some(mention.span),
            label: mention.label,
            subtype: mention.subtype,
            occurrence: None,
        }
    });
    let entities = entities.collect();
    let relations = unit.relations().map(|relation| AnswerRelation {
        head: positions[&relation.head],
        tail: positions[&relation.tail],
        label: relation.label,
    });
    let relations = relations.collect();
    canonical(unit, entities, relations)
}

/// The canonical form of an answer for a unit.
///
/// - Grounded entities are sorted by (start, end, label, subtype); an entity without a span stays
///   directly after the entity that precedes it in the given list, so that replacing a text in
///   place keeps all ids.
/// - Equal entities (same text, span, label and subtype) are merged.
/// - The text of a grounded entity becomes the source text of its span.
/// - Relations follow their entities to the new positions, are sorted by (head, tail, label) and
///   de-duplicated; one whose arguments became the same entity is dropped. The argument order of
///   symmetric types is kept.
/// - The occurrence is computed afresh, and only where the default alignment would pick another
///   place.
///
/// Relation arguments must be positions in `entities`, spans must lie inside the unit.
pub fn canonical(unit: &Unit, entities: Vec<AnswerEntity>, relations: Vec<AnswerRelation>) -> Answer {
    type Place = (Option<Span>, EntityLabelId, Option<tabpo_ontology::SubtypeId>);
    let count = entities.len();
    let mut order: Vec<(Place, bool, usize)> = Vec::with_capacity(count);
    let mut place: Place = (None, EntityLabelId(0), None);
    for (index, entity) in entities.iter().enumerate() {
        if entity.span.is_some() {
            place = (entity.span, entity.label, entity.subtype);
        }
        order.push((place, entity.span.is_none(), index));
    }
    order.sort_unstable();

    let mut entities: Vec<Option<AnswerEntity>> = entities.into_iter().map(Some).collect();
    let mut sorted: Vec<AnswerEntity> = Vec::with_capacity(count);
    let mut positions = vec![0_u32; count];
    let mut seen: HashMap<AnswerEntity, u32> = HashMap::with_capacity(count);
    for (_, _, index) in order {
        let mut entity = entities[index].take().expect("every position occurs once in the order");
        entity.occurrence = None;
        if let Some(span) = entity.span {
            unit.document.span_text(span).clone_into(&mut entity.text);
        }
        positions[index] = *seen.entry(entity.clone()).or_insert_with(|| {
            sorted.push(entity);
            sorted.len() as u32 - 1
        });
    }
    number_occurrences(unit, &mut sorted);

    let mut relations: Vec<AnswerRelation> = relations
        .into_iter()
        .map(|relation| AnswerRelation {
            head: positions[relation.head as usize],
            tail: positions[relation.tail as usize],
            label: relation.label,
        })
        .filter(|relation| relation.head != relation.tail)
        .collect();
    relations.sort_unstable();
    relations.dedup();
    Answer { entities: sorted, relations }
}

/// Writes the occurrence of every grounded entity that the default alignment would misplace.
fn number_occurrences(unit: &Unit, entities: &mut [AnswerEntity]) {
    let mut source = Source::new(unit);
    let texts: Vec<String> = entities.iter().map(|entity| entity.text.clone()).collect();
    let mut finder = Finder::new(&mut source);
    for (entity, text) in entities.iter_mut().zip(&texts) {
        let number = finder.find(text);
        let default = finder.default_choice(number);
        let placed = entity.span.or(default);
        if let Some(span) = entity.span.filter(|_| placed != default) {
            let index = finder.places(number).binary_search(&span).ok();
            entity.occurrence = index.map(|index| index as u32 + 1);
        }
        if let Some(span) = placed {
            finder.place(number, span);
        }
    }
}
