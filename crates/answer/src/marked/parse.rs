//! From the marked form to items: those of the JSON where it can be read, and those of the marks otherwise.

use std::borrow::Cow;
use std::collections::HashMap;

use tabpo_ontology::{Arguments, EntityLabelId, Ontology, SubtypeId};

use super::read::Marks;
use crate::occurrences::comparable;
use crate::parse::MarkedSentence;
use crate::{Fault, FaultItem, FaultKind, Parsed, ParsedEntity, ParsedRelation, Tier, parse as parse_list};

/// Reads what a model wrote in the marked form.
pub(super) fn parse<'a>(raw: &'a str, ontology: &Ontology) -> Parsed<'a> {
    let mut marks = Marks::read(raw, ontology);
    let whole = FaultItem::Answer;
    let mut faults = Vec::new();
    if let Some(start) = marks.json {
        let mut parsed = parse_list(&raw[start..], ontology);
        parsed.shift(start);
        if parsed.valid_at(Tier::Json) {
            match marks.broken {
                Some(byte) => parsed.faults.push(Fault { kind: FaultKind::BrokenMarks, byte, item: whole }),
                None => compare(&marks, &mut parsed),
            }
            // Without marks there is no sentence.
            let text = (start > 0).then(|| std::mem::take(&mut marks.sentence));
            parsed.marked = text.map(|text| MarkedSentence { text, counts: false });
            return parsed;
        }
        faults = parsed.faults;
    } else {
        let kind = if raw.trim().is_empty() { FaultKind::EmptyOutput } else { FaultKind::Truncated };
        faults.push(Fault { kind, byte: raw.len(), item: whole });
    }
    if let Some(byte) = marks.broken {
        faults.push(Fault { kind: FaultKind::BrokenMarks, byte, item: whole });
    }
    marked(marks, faults, ontology)
}

/// The items of the marks.
fn marked<'a>(marks: Marks, faults: Vec<Fault>, ontology: &Ontology) -> Parsed<'a> {
    let related = !ontology.relations.is_empty();
    let id = |index: u32| Cow::Owned(format!("e{}", index + 1));
    let entities = (0..).zip(&marks.mentions).map(|(index, mention)| ParsedEntity {
        byte: mention.byte,
        id: related.then(|| id(index)),
        text: Some(Cow::Owned(marks.sentence[mention.range.clone()].to_owned())),
        label: mention.label,
        subtype: mention.subtype,
        occurrence: None,
        place: Some(mention.range.clone()),
        first_with_id: index,
    });
    let relations = marks.relations.iter().map(|relation| {
        // A number that no mention has is an argument that cannot be resolved.
        let [head, tail] = relation.ends.map(|end| Some(end.map_or(Cow::Borrowed("-"), id)));
        let numbers = [None; 2];
        ParsedRelation { byte: relation.byte, head, label: relation.label, tail, numbers, holders: relation.ends }
    });
    let (entities, relations) = (entities.collect(), relations.collect());
    let arguments = if related { Arguments::Ids } else { Arguments::Texts };
    let marked = MarkedSentence { text: marks.sentence, counts: true };
    Parsed { entities, relations, arguments, faults, marked: Some(marked) }
}

/// Notes where the JSON says something else than the marks. Where the entities are the same, they get the places of the
/// marks, which are compared with theirs once those are known; and the relations are compared, whose ids mean something
/// else otherwise.
fn compare(marks: &Marks, parsed: &mut Parsed) {
    type Said = (Option<String>, Option<EntityLabelId>, Option<SubtypeId>);
    let kind = FaultKind::MarksDiffer;
    let marked: Vec<Said> = marks
        .mentions
        .iter()
        .map(|mention| {
            let text = comparable(&marks.sentence[mention.range.clone()]).into_owned();
            (Some(text), mention.label, mention.subtype)
        })
        .collect();
    let listed: Vec<Said> = parsed
        .entities
        .iter()
        .map(|entity| (entity.text.as_deref().map(|text| comparable(text).into_owned()), entity.label, entity.subtype))
        .collect();
    let mut fault = |byte, item| parsed.faults.push(Fault { kind, byte, item });
    if marked == listed {
        let marked: Vec<_> = marks.relations.iter().map(|relation| (relation.ends, relation.label)).collect();
        let listed: Vec<_> = parsed.relations.iter().map(|relation| (relation.holders, relation.label)).collect();
        let (extra, missing) = unmatched(&listed, &marked);
        for index in extra {
            fault(parsed.relations[index].byte, FaultItem::Relation(index as u32));
        }
        for index in missing {
            fault(marks.relations[index].byte, FaultItem::Answer);
        }
        for (entity, mention) in parsed.entities.iter_mut().zip(&marks.mentions) {
            entity.place = Some(mention.range.clone());
        }
        return;
    }
    let (extra, missing) = unmatched(&listed, &marked);
    if extra.is_empty() && missing.is_empty() {
        // The same in another order.
        fault(marks.json.unwrap_or_default(), FaultItem::Answer);
    }
    for index in extra {
        fault(parsed.entities[index].byte, FaultItem::Entity(index as u32));
    }
    for index in missing {
        fault(marks.mentions[index].byte, FaultItem::Answer);
    }
}

/// The positions of items in each list that the other has fewer times.
fn unmatched<T: Eq + std::hash::Hash>(one: &[T], other: &[T]) -> (Vec<usize>, Vec<usize>) {
    let mut counts: HashMap<&T, usize> = HashMap::new();
    for item in other {
        *counts.entry(item).or_default() += 1;
    }
    let mut take = |item: &T| counts.get_mut(item).filter(|count| **count > 0).map(|count| *count -= 1).is_none();
    let extra = (0..one.len()).filter(|&index| take(&one[index])).collect();
    // What is left in the counts was not taken; the last ones of equal items are those without a partner.
    let missing = (0..other.len()).rev().filter(|&index| !take(&other[index])).collect();
    (extra, missing)
}
