//! Checks a pair from its text alone: reads the JSON with `serde_json` and aligns it to the
//! document itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tabpo_corpus::{Document, Span};
use tabpo_ontology::{Arguments, Constraint, Ontology};
use tabpo_pairs::PairRecord;

/// The position of an entity: token offsets, or the text itself if it is not in the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    At(u32, u32),
    Nowhere(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entity {
    pub(crate) place: Place,
    pub(crate) label: String,
    pub(crate) subtype: Option<String>,
    pub(crate) text: String,
}

/// An entity without its text.
pub(crate) type Key = (Place, String, Option<String>);

/// Head, tail, type.
pub(crate) type Relation = (Key, Key, String);

impl Entity {
    fn key(&self) -> Key {
        (self.place.clone(), self.label.clone(), self.subtype.clone())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) entities: Vec<Entity>,
    pub(crate) relations: Vec<Relation>,
}

/// Everything that can be said about a pair without knowing how it was made.
pub(crate) fn check(record: &PairRecord, document: &Document, ontology: &Ontology) -> Result<(), String> {
    let tokens = match record.sent {
        Some(index) => document.sentences[index as usize],
        None => Span::new(0, document.tokens.len() as u32),
    };
    if record.prompt != document.text[byte(document, tokens)] {
        return Err("the prompt is not the source".into());
    }
    let gold = read(&record.chosen, document, tokens, ontology).map_err(|error| format!("chosen: {error}"))?;
    let negative = read(&record.rejected, document, tokens, ontology).map_err(|error| format!("rejected: {error}"))?;
    same_as_annotation(&gold, document, tokens, ontology)?;
    let kind = record.edit.kind.name();
    let invented = negative.entities.iter().filter(|entity| matches!(entity.place, Place::Nowhere(_))).count();
    if invented != usize::from(kind == "grounding") {
        return Err(format!("{invented} texts are not in the source"));
    }
    one_edit(kind, &gold, &negative, ontology)
}

fn byte(document: &Document, span: Span) -> std::ops::Range<usize> {
    document.tokens[span.start as usize].start as usize..document.tokens[span.end as usize - 1].end as usize
}

/// Reads a canonical answer, refusing anything that is not exactly in the form.
pub(crate) fn read(text: &str, document: &Document, unit: Span, ontology: &Ontology) -> Result<Reading, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if serde_json::to_string(&value).map_err(|error| error.to_string())? != text {
        return Err("not written compactly".into());
    }
    let keys = &ontology.keys;
    let linked = !ontology.relations.is_empty();
    let root = value.as_object().ok_or("not an object")?;
    let expected: Vec<&str> = if linked { vec![&keys.entities, &keys.relations] } else { vec![&keys.entities] };
    if root.keys().map(String::as_str).collect::<Vec<_>>() != expected {
        return Err("wrong keys at the top".into());
    }
    let mut entities = Vec::new();
    let mut taken: Vec<Span> = Vec::new();
    let mut last_start = unit.start;
    for (index, item) in root[&keys.entities].as_array().ok_or("no list")?.iter().enumerate() {
        let item = item.as_object().ok_or("not an object")?;
        let entity = read_entity(item, index, ontology)?;
        let occurrences: Vec<Span> = occurrences(&entity.text, document, unit);
        let place = match item.get(&keys.occ) {
            Some(number) => {
                let number = number.as_u64().filter(|&number| number >= 1).ok_or("bad occurrence")?;
                Some(*occurrences.get(number as usize - 1).ok_or("no such occurrence")?)
            }
            None => occurrences
                .iter()
                .find(|span| span.start >= last_start && !taken.contains(span))
                .or_else(|| occurrences.iter().find(|span| !taken.contains(span)))
                .copied(),
        };
        let place = match place {
            Some(span) => {
                last_start = span.start;
                taken.push(span);
                Place::At(span.start, span.end)
            }
            None if document.text[byte(document, unit)].contains(&entity.text) => {
                return Err(format!("`{}` is in the source, but cannot be placed", entity.text));
            }
            None => Place::Nowhere(entity.text.clone()),
        };
        entities.push(Entity { place, ..entity });
    }
    let grounded: Vec<&Place> = entities.iter().map(|e| &e.place).filter(|p| matches!(p, Place::At(..))).collect();
    if !grounded.is_sorted() {
        return Err("entities out of order".into());
    }
    let keys_of: BTreeSet<(&Place, &str)> = entities.iter().map(|e| (&e.place, e.label.as_str())).collect();
    if keys_of.len() != entities.len() {
        return Err("an entity is written twice".into());
    }
    let relations = if linked { read_relations(root, &entities, ontology)? } else { Vec::new() };
    Ok(Reading { entities, relations })
}

fn read_entity(item: &Map<String, Value>, index: usize, ontology: &Ontology) -> Result<Entity, String> {
    let keys = &ontology.keys;
    let string = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let label = string(&keys.entity_type).ok_or("no label")?;
    let known = ontology.entities.iter().find(|known| known.name == label).ok_or("unknown label")?;
    let subtype = string(&keys.subtype);
    match &subtype {
        None if !known.subtypes.is_empty() => return Err("no sub-label".into()),
        Some(name) if !known.subtypes.iter().any(|known| known.name == *name) => return Err("bad sub-label".into()),
        _ => {}
    }
    let mut expected: Vec<&str> = Vec::new();
    if !ontology.relations.is_empty() && ontology.arguments == Arguments::Ids {
        expected.push(&keys.id);
        if string(&keys.id) != Some(format!("e{}", index + 1)) {
            return Err("ids are not consecutive".into());
        }
    }
    expected.extend([keys.text.as_str(), &keys.entity_type]);
    if subtype.is_some() {
        expected.push(&keys.subtype);
    }
    if item.contains_key(&keys.occ) {
        expected.push(&keys.occ);
    }
    if item.keys().map(String::as_str).collect::<Vec<_>>() != expected {
        return Err("wrong keys in an entity".into());
    }
    let text = string(&keys.text).filter(|text| !text.is_empty()).ok_or("no text")?;
    Ok(Entity { place: Place::Nowhere(String::new()), label, subtype, text })
}

fn read_relations(
    root: &Map<String, Value>,
    entities: &[Entity],
    ontology: &Ontology,
) -> Result<Vec<Relation>, String> {
    let keys = &ontology.keys;
    let mut relations = Vec::new();
    let mut positions = Vec::new();
    for item in root[&keys.relations].as_array().ok_or("no list")? {
        let item = item.as_object().ok_or("not an object")?;
        let mut expected = vec![keys.head.as_str(), &keys.relation_type, &keys.tail];
        if ontology.arguments == Arguments::Texts {
            let shared = |key: &str| {
                let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                let text = item.get(key).and_then(Value::as_str).map(plain);
                entities.iter().filter(|entity| Some(plain(&entity.text)) == text).count() > 1
            };
            if shared(&keys.tail) {
                expected.push(&keys.tail_number);
            }
            if shared(&keys.head) {
                expected.insert(1, &keys.head_number);
            }
        }
        if item.keys().map(String::as_str).collect::<Vec<_>>() != expected {
            return Err("wrong keys in a relation".into());
        }
        let position = |key: &str, number: &str| {
            let name = item[key].as_str()?;
            if ontology.arguments == Arguments::Ids {
                let number: usize = name.strip_prefix('e')?.parse().ok()?;
                return (1..=entities.len()).contains(&number).then(|| number - 1);
            }
            let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut same = (0..entities.len()).filter(|&index| plain(&entities[index].text) == plain(name));
            same.nth(item.get(number).map_or(Some(1), Value::as_u64)? as usize - 1)
        };
        let (head, tail) = position(&keys.head, &keys.head_number)
            .zip(position(&keys.tail, &keys.tail_number))
            .ok_or("an argument does not resolve")?;
        if head == tail {
            return Err("a relation of an entity with itself".into());
        }
        let name = item[&keys.relation_type].as_str().ok_or("no type")?;
        let label = ontology.relations.iter().position(|known| known.name == name).ok_or("unknown type")?;
        let known = &ontology.relations[label];
        if known.constraint == Constraint::Hard {
            let id = |entity: usize| ontology.entity_named(&entities[entity].label).expect("labels were checked");
            let fits = |head, tail| {
                (known.domain.is_empty() || known.domain.contains(&id(head)))
                    && (known.range.is_empty() || known.range.contains(&id(tail)))
            };
            let allowed = fits(head, tail) || (known.symmetric && fits(tail, head));
            if !allowed {
                return Err("a relation breaks a hard constraint".into());
            }
        }
        positions.push((head, tail, label));
        relations.push((entities[head].key(), entities[tail].key(), name.to_owned()));
    }
    if !positions.is_sorted() || positions.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("relations out of order or repeated".into());
    }
    Ok(relations)
}

/// Token spans whose text this is; runs of blanks count as one.
fn occurrences(text: &str, document: &Document, unit: Span) -> Vec<Span> {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = plain(text);
    let mut found = Vec::new();
    for start in unit.start..unit.end {
        if !text.starts_with(&document.text[byte(document, Span::new(start, start + 1))]) {
            continue;
        }
        let longest = unit.end.min(start + text.len() as u32);
        for end in start + 1..=longest {
            if plain(&document.text[byte(document, Span::new(start, end))]) == text {
                found.push(Span::new(start, end));
            }
        }
    }
    found
}

fn same_as_annotation(gold: &Reading, document: &Document, unit: Span, ontology: &Ontology) -> Result<(), String> {
    let inside = |span: Span| unit.start <= span.start && span.end <= unit.end;
    let key = |index: usize| {
        let mention = &document.mentions[index];
        let label = &ontology.entities[mention.label.index()];
        let subtype = mention.subtype.map(|subtype| label.subtypes[subtype.index()].name.clone());
        (Place::At(mention.span.start, mention.span.end), label.name.clone(), subtype)
    };
    let mut entities: Vec<Key> =
        (0..document.mentions.len()).filter(|&index| inside(document.mentions[index].span)).map(key).collect();
    let mut relations: Vec<Relation> = document
        .relations
        .iter()
        .map(|relation| (relation.head as usize, relation.tail as usize, relation.label))
        .filter(|&(head, tail, _)| inside(document.mentions[head].span) && inside(document.mentions[tail].span))
        .map(|(head, tail, label)| (key(head), key(tail), ontology.relations[label.index()].name.clone()))
        .collect();
    let mut found: Vec<Key> = gold.entities.iter().map(Entity::key).collect();
    let mut found_relations = gold.relations.clone();
    for list in [&mut entities, &mut found] {
        list.sort();
    }
    for list in [&mut relations, &mut found_relations] {
        list.sort();
    }
    if entities == found && relations == found_relations { Ok(()) } else { Err("chosen is not gold".into()) }
}

/// Whether the negative differs from gold by one edit of this kind and by nothing else.
fn one_edit(kind: &str, gold: &Reading, negative: &Reading, ontology: &Ontology) -> Result<(), String> {
    let symmetric = |name: &str| ontology.relations.iter().any(|known| known.name == name && known.symmetric);
    let normal = |(head, tail, name): &Relation| {
        let (head, tail) = if symmetric(name) && tail < head { (tail, head) } else { (head, tail) };
        (head.clone(), tail.clone(), name.clone())
    };
    let normals = |reading: &Reading| reading.relations.iter().map(normal).collect::<BTreeSet<Relation>>();
    let (before, after) = (normals(gold), normals(negative));
    if after.len() != negative.relations.len() {
        return Err("a relation is stated twice".into());
    }
    let keys = |reading: &Reading| reading.entities.iter().map(Entity::key).collect::<BTreeSet<Key>>();
    let (gold_entities, negative_entities) = (keys(gold), keys(negative));
    let gone: Vec<&Key> = gold_entities.difference(&negative_entities).collect();
    let new: Vec<&Key> = negative_entities.difference(&gold_entities).collect();
    let relations_gone: Vec<&Relation> = before.difference(&after).collect();
    let relations_new: Vec<&Relation> = after.difference(&before).collect();
    // What the gold relations become when one entity is exchanged for another.
    let renamed = |from: &Key, to: &Key| -> BTreeSet<Relation> {
        let key = |key: &Key| if key == from { to.clone() } else { key.clone() };
        before.iter().map(|(head, tail, name)| normal(&(key(head), key(tail), name.clone()))).collect()
    };
    let text = |reading: &Reading, key: &Key| {
        reading.entities.iter().find(|entity| entity.key() == *key).map(|entity| entity.text.clone())
    };
    let is_free = |place: &Place| !gold.entities.iter().any(|entity| entity.place == *place);
    let crosses = |place: &Place, moved: Option<&Key>| {
        let others = gold.entities.iter().filter(|entity| Some(&entity.key()) != moved);
        others.into_iter().any(|entity| match (place, &entity.place) {
            (Place::At(a, b), Place::At(c, d)) => a < d && c < b && !(a <= c && d <= b) && !(c <= a && b <= d),
            _ => true,
        })
    };
    let places = |(head, tail, name): &Relation| {
        let (head, tail) = (head.0.clone(), tail.0.clone());
        if symmetric(name) && tail < head { (tail, head, name.clone()) } else { (head, tail, name.clone()) }
    };
    let stated: BTreeSet<_> = gold.relations.iter().map(places).collect();
    let ok = match (kind, gone.as_slice(), new.as_slice(), relations_gone.as_slice(), relations_new.as_slice()) {
        ("label", [old], [new], ..) => old.0 == new.0 && old.1 != new.1 && renamed(old, new) == after,
        ("subtype", [old], [new], ..) => (&old.0, &old.1) == (&new.0, &new.1) && renamed(old, new) == after,
        ("boundary", [old], [new], ..) => {
            let overlap = match (&old.0, &new.0) {
                (Place::At(a, b), Place::At(c, d)) => a < d && c < b,
                _ => false,
            };
            let same_label = (&old.1, &old.2) == (&new.1, &new.2);
            overlap && is_free(&new.0) && same_label && renamed(old, new) == after && !crosses(&new.0, Some(old))
        }
        ("occurrence", [old], [new], ..) => {
            let same = (&old.1, &old.2) == (&new.1, &new.2) && text(gold, old) == text(negative, new);
            same && is_free(&new.0) && renamed(old, new) == after
        }
        ("grounding", [old], [new], ..) => {
            let same_label = (&old.1, &old.2) == (&new.1, &new.2);
            matches!(new.0, Place::Nowhere(_)) && same_label && renamed(old, new) == after
        }
        ("drop-entity", [old], [], gone, []) => {
            let touches = |relation: &Relation| relation.0 == **old || relation.1 == **old;
            gone.iter().all(|relation| touches(relation)) && !after.iter().any(touches)
        }
        ("add-entity", [], [new], [], []) => is_free(&new.0) && !crosses(&new.0, None),
        ("relation-label", [], [], [old], [new]) => {
            let same_pair = BTreeSet::from([&old.0, &old.1]) == BTreeSet::from([&new.0, &new.1]);
            old.2 != new.2 && same_pair && !stated.contains(&places(new))
        }
        ("direction", [], [], [old], [new]) => {
            let reversed = (&old.0, &old.1) == (&new.1, &new.0);
            old.2 == new.2 && !symmetric(&old.2) && reversed && !stated.contains(&places(new))
        }
        ("argument", [], [], [old], [new]) => {
            let shared = [&old.0, &old.1].into_iter().filter(|key| **key == new.0 || **key == new.1).count();
            let same_side = old.0 == new.0 || old.1 == new.1 || symmetric(&old.2);
            old.2 == new.2 && shared == 1 && same_side && !stated.contains(&places(new))
        }
        ("drop-relation", [], [], [_], []) => true,
        ("add-relation", [], [], [], [new]) => !stated.contains(&places(new)),
        _ => false,
    };
    if ok {
        Ok(())
    } else {
        Err(format!("no single {kind} edit: -{gone:?} +{new:?} -{relations_gone:?} +{relations_new:?}"))
    }
}
