//! Writing the marked form.

use std::cmp::Reverse;
use std::ops::Range;

use tabpo_ontology::{Ontology, RelationLabelId};
use tabpo_roles::Role;

use super::{NONE, NotMarkable, escape, is_near};
use crate::render::Writer;
use crate::{Answer, Item, Rendered};

/// Writes an answer whose entities lie at these bytes of the source, in the same order.
///
/// Text inside brackets is span; the rest of the sentence is scaffolding, since it is repeated in any case. A label is a
/// label here as in the JSON, and so is `-`, which stands where one might. The numbers of a pair are scaffolding, because
/// which pairs have a line is fixed, and links where the pair has one only because it is related.
pub(super) fn render(
    source: &str,
    places: &[Range<usize>],
    answer: &Answer,
    ontology: &Ontology,
) -> Result<Rendered, NotMarkable> {
    let mut writer = Writer::default();
    sentence(&mut writer, source, places, answer, ontology)?;
    writer.push(Role::Scaffold, "\n");
    if !ontology.relations.is_empty() {
        pairs(&mut writer, answer, ontology);
    }
    writer.answer(answer, ontology);
    Ok(writer.finish())
}

/// The source with brackets.
fn sentence(
    writer: &mut Writer,
    source: &str,
    places: &[Range<usize>],
    answer: &Answer,
    ontology: &Ontology,
) -> Result<(), NotMarkable> {
    // Outer brackets open first. Of mentions on the same words, the first is the innermost, because it closes first.
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&index| (places[index].start, Reverse(places[index].end), Reverse(index)));
    let (mut open, mut at): (Vec<usize>, usize) = (Vec::new(), 0);
    let mut copy = |writer: &mut Writer, open: &[usize], to: usize| {
        let role = if open.is_empty() { Role::Scaffold } else { Role::Span };
        writer.item = open.last().map_or(Item::Frame, |&index| Item::Entity(index as u32));
        writer.push(role, &escape::text(&source[at..to]));
        at = to;
    };
    for index in order {
        let place = &places[index];
        while let Some(&inner) = open.last().filter(|&&inner| places[inner].end <= place.start) {
            copy(writer, &open, places[inner].end);
            close(writer, inner, answer, ontology);
            open.pop();
        }
        if let Some(&outer) = open.last().filter(|&&outer| places[outer].end < place.end) {
            let text = |index: usize| source[places[index].clone()].to_owned();
            return Err(NotMarkable::Crossing { first: text(outer), second: text(index) });
        }
        copy(writer, &open, place.start);
        writer.item = Item::Entity(index as u32);
        writer.push(Role::Scaffold, "[");
        open.push(index);
    }
    while let Some(&inner) = open.last() {
        copy(writer, &open, places[inner].end);
        close(writer, inner, answer, ontology);
        open.pop();
    }
    copy(writer, &[], source.len());
    Ok(())
}

/// What follows the text of an entity.
fn close(writer: &mut Writer, index: usize, answer: &Answer, ontology: &Ontology) {
    let entity = &answer.entities[index];
    writer.item = Item::Entity(index as u32);
    writer.push(Role::Scaffold, "|");
    writer.push(Role::EntityLabel, &escape::name(&ontology.entity(entity.label).name));
    if let Some(subtype) = entity.subtype {
        writer.push(Role::Scaffold, "|");
        writer.push(Role::Subtype, &escape::name(&ontology.subtype(entity.label, subtype).name));
    }
    if !ontology.relations.is_empty() {
        writer.push(Role::Scaffold, &format!("|{}", index + 1));
    }
    writer.push(Role::Scaffold, "]");
    writer.item = Item::Frame;
}

/// The lines of pairs.
fn pairs(writer: &mut Writer, answer: &Answer, ontology: &Ontology) {
    let related = |head: u32, tail: u32| -> Vec<(u32, RelationLabelId)> {
        let first = answer.relations.partition_point(|relation| (relation.head, relation.tail) < (head, tail));
        let found = answer.relations[first..].iter().take_while(|other| (other.head, other.tail) == (head, tail));
        (first as u32..).zip(found).map(|(index, relation)| (index, relation.label)).collect()
    };
    let count = answer.entities.len() as u32;
    for first in 0..count {
        for second in first + 1..count {
            let slots = [related(first, second), related(second, first)];
            let near = is_near(first, second);
            if !near && slots.iter().all(Vec::is_empty) {
                continue;
            }
            let number = if near { Role::Scaffold } else { Role::Link };
            writer.push(number, &(first + 1).to_string());
            writer.push(Role::Scaffold, " ");
            writer.push(number, &(second + 1).to_string());
            for slot in slots {
                writer.push(Role::Scaffold, "|");
                if slot.is_empty() {
                    writer.push(Role::RelationLabel, NONE);
                }
                for (place, (index, label)) in slot.into_iter().enumerate() {
                    writer.push(Role::Scaffold, if place > 0 { "&" } else { "" });
                    writer.item = Item::Relation(index);
                    writer.push(Role::RelationLabel, &escape::name(&ontology.relation(label).name));
                    writer.item = Item::Frame;
                }
            }
            writer.push(Role::Scaffold, "\n");
        }
    }
}
