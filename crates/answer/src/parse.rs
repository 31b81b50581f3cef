//! The tolerant parser.

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::fault::valid_at;
use crate::first_map::FirstMap;
use crate::json::{Json, Shape, Value};
use crate::occurrences::normalise;
use crate::{Fault, FaultItem, FaultKind, Tier};

/// How the relations of an answer name their arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// By the ids of entities: the canonical form. Any id at all makes an answer one of this kind.
    Ids,
    /// By the texts of entities.
    Texts,
}

/// What was found in a model's output. Strings are borrowed from it unless they have escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// One entry for each item of the entity list, malformed ones included.
    pub entities: Vec<ParsedEntity<'a>>,
    /// One entry for each item of the relation list, malformed ones included.
    pub relations: Vec<ParsedRelation<'a>>,
    /// How relations name their arguments.
    pub dialect: Dialect,
    /// Everything that is wrong, in the order in which it was noticed.
    pub faults: Vec<Fault>,
}

/// An item of the entity list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEntity<'a> {
    /// The byte of the raw text where it starts.
    pub byte: usize,
    /// Its id, if that is a string.
    pub id: Option<Cow<'a, str>>,
    /// Its text as written; `None` if it has none or only blanks, which makes the item malformed.
    pub text: Option<Cow<'a, str>>,
    /// Its label; `None` if that is missing or unknown.
    pub label: Option<EntityLabelId>,
    /// The label as written, if it is a string.
    pub written_label: Option<Cow<'a, str>>,
    /// Its sub-label, if the label is known and has this one.
    pub subtype: Option<SubtypeId>,
    /// The occurrence, if it is an integer (of whatever value).
    pub occurrence: Option<i64>,
}

/// An item of the relation list. It is malformed, and then counts as a prediction that is always
/// wrong, if any of its three parts is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRelation<'a> {
    /// The byte of the raw text where it starts.
    pub byte: usize,
    /// The first argument as written, if it is a string.
    pub head: Option<Cow<'a, str>>,
    /// Its type; `None` if that is missing or unknown.
    pub label: Option<RelationLabelId>,
    /// The second argument as written, if it is a string.
    pub tail: Option<Cow<'a, str>>,
}

impl Parsed<'_> {
    /// Whether the text, as far as it can be judged without the source, is valid at a tier.
    pub fn valid_at(&self, tier: Tier) -> bool {
        valid_at(&self.faults, tier)
    }
}

/// Reads whatever a model wrote.
///
/// Text that is not JSON gives no item at all. In JSON, every element of the two lists gives one
/// entry, however broken, so that every emitted item counts as a prediction. Where an object holds
/// a key twice, the last value counts. Both argument dialects are accepted. Takes time linear in
/// the length of `raw` (times the number of labels), needs no call stack for nesting, and never
/// fails.
pub fn parse<'a>(raw: &'a str, ontology: &Ontology) -> Parsed<'a> {
    let mut parser = Parser { ontology, faults: Vec::new() };
    let mut parsed =
        Parsed { entities: Vec::new(), relations: Vec::new(), dialect: Dialect::Texts, faults: Vec::new() };
    match Json::read(raw) {
        Err(fault) => parser.fault(fault.kind, fault.byte, FaultItem::Answer),
        Ok(json) => parser.answer(json.root(), &mut parsed),
    }
    parsed.faults = parser.faults;
    parsed
}

struct Parser<'o> {
    ontology: &'o Ontology,
    faults: Vec<Fault>,
}

impl Parser<'_> {
    fn fault(&mut self, kind: FaultKind, byte: usize, item: FaultItem) {
        self.faults.push(Fault { kind, byte, item });
    }

    /// The values of an object's known keys, `None` where a key is absent.
    fn fields<'a, 'b, const N: usize>(
        &mut self,
        object: Value<'a, 'b>,
        known: [&str; N],
        item: FaultItem,
    ) -> Option<[Option<Value<'a, 'b>>; N]> {
        if object.shape() != Shape::Object {
            self.fault(FaultKind::WrongType, object.byte(), item);
            return None;
        }
        let mut fields = [None; N];
        let mut unknown = FxHashSet::default();
        // Keys mostly come in the order of the format.
        let mut next = 0;
        for (key, value) in object.members() {
            let name = key.string().expect("object keys are strings");
            let as_expected = known.get(next).is_some_and(|&key| key == name).then_some(next);
            let repeated = if let Some(index) = as_expected.or_else(|| known.iter().position(|&key| key == name)) {
                next = index + 1;
                fields[index].replace(value).is_some()
            } else {
                self.fault(FaultKind::UnknownKey, key.byte(), item);
                !unknown.insert(name)
            };
            if repeated {
                self.fault(FaultKind::DuplicateKey, key.byte(), item);
            }
        }
        Some(fields)
    }

    /// A list that the format demands.
    fn list<'a, 'b>(&mut self, value: Option<Value<'a, 'b>>, byte: usize) -> Option<Value<'a, 'b>> {
        match value {
            None => self.fault(FaultKind::MissingKey, byte, FaultItem::Answer),
            Some(list) if list.shape() == Shape::Array => return Some(list),
            Some(other) => self.fault(FaultKind::WrongType, other.byte(), FaultItem::Answer),
        }
        None
    }

    fn answer<'a>(&mut self, root: Value<'a, '_>, parsed: &mut Parsed<'a>) {
        let keys = &self.ontology.keys;
        let related = !self.ontology.relations.is_empty();
        let (entities, relations) = if related {
            let known = [keys.entities.as_str(), &keys.relations];
            let Some([entities, relations]) = self.fields(root, known, FaultItem::Answer) else { return };
            (self.list(entities, root.byte()), self.list(relations, root.byte()))
        } else {
            let Some([entities]) = self.fields(root, [&keys.entities], FaultItem::Answer) else { return };
            (self.list(entities, root.byte()), None)
        };
        let count = |list: Option<Value>| list.map_or(0, |list| list.children().count());
        parsed.entities.reserve_exact(count(entities));
        parsed.relations.reserve_exact(count(relations));
        let mut without_id = Vec::new();
        for (index, value) in (0..).zip(entities.into_iter().flat_map(Value::children)) {
            let (entity, has_id) = self.entity(value, index);
            match has_id {
                Some(true) => parsed.dialect = Dialect::Ids,
                Some(false) => without_id.push((index, entity.byte)),
                None => {}
            }
            parsed.entities.push(entity);
        }
        if parsed.dialect == Dialect::Ids {
            for (index, byte) in without_id {
                self.fault(FaultKind::MixedIds, byte, FaultItem::Entity(index));
            }
        }
        for (index, value) in (0..).zip(relations.into_iter().flat_map(Value::children)) {
            let relation = self.relation(value, FaultItem::Relation(index));
            parsed.relations.push(relation);
        }
        self.references(parsed);
    }

    /// An entity, and whether it has the id key (`None` if it is no object).
    fn entity<'a>(&mut self, value: Value<'a, '_>, index: u32) -> (ParsedEntity<'a>, Option<bool>) {
        let item = FaultItem::Entity(index);
        let byte = value.byte();
        let mut entity = ParsedEntity {
            byte,
            id: None,
            text: None,
            label: None,
            written_label: None,
            subtype: None,
            occurrence: None,
        };
        let keys = &self.ontology.keys;
        let known = [keys.id.as_str(), &keys.text, &keys.entity_type, &keys.subtype, &keys.occ];
        let Some([id, text, label, subtype, occurrence]) = self.fields(value, known, item) else {
            return (entity, None);
        };
        if let Some(id) = id {
            entity.id = id.string();
            if entity.id.as_ref().is_none_or(|text| text.is_empty()) {
                self.fault(FaultKind::BadId, id.byte(), item);
            }
        }
        match text {
            None => self.fault(FaultKind::MissingKey, byte, item),
            Some(text) => {
                entity.text = text.string().filter(|text| !text.trim().is_empty());
                if entity.text.is_none() {
                    self.fault(FaultKind::BlankText, text.byte(), item);
                }
            }
        }
        match label {
            None => self.fault(FaultKind::MissingKey, byte, item),
            Some(label) => {
                entity.written_label = label.string();
                entity.label = entity.written_label.as_ref().and_then(|name| self.ontology.entity_named(name));
                if entity.label.is_none() {
                    self.fault(FaultKind::UnknownEntityLabel, label.byte(), item);
                }
            }
        }
        if let Some(label) = entity.label {
            let has_subtypes = !self.ontology.entity(label).subtypes.is_empty();
            match subtype {
                None if has_subtypes => self.fault(FaultKind::MissingSubtype, byte, item),
                None => {}
                Some(subtype) => {
                    let name = subtype.string();
                    entity.subtype = name.and_then(|name| self.ontology.subtype_named(label, &name));
                    if entity.subtype.is_none() {
                        self.fault(FaultKind::UnknownSubtype, subtype.byte(), item);
                    }
                }
            }
        }
        if let Some(occurrence) = occurrence {
            entity.occurrence = occurrence.integer();
            if entity.occurrence.is_none_or(|occurrence| occurrence < 1) {
                self.fault(FaultKind::BadOccurrence, occurrence.byte(), item);
            }
        }
        (entity, Some(id.is_some()))
    }

    fn relation<'a>(&mut self, value: Value<'a, '_>, item: FaultItem) -> ParsedRelation<'a> {
        let byte = value.byte();
        let mut relation = ParsedRelation { byte, head: None, label: None, tail: None };
        let keys = &self.ontology.keys;
        let known = [keys.head.as_str(), &keys.relation_type, &keys.tail];
        let Some([head, label, tail]) = self.fields(value, known, item) else { return relation };
        relation.head = self.argument(head, byte, item);
        relation.tail = self.argument(tail, byte, item);
        match label {
            None => self.fault(FaultKind::MissingKey, byte, item),
            Some(label) => {
                relation.label = label.string().and_then(|name| self.ontology.relation_named(&name));
                if relation.label.is_none() {
                    self.fault(FaultKind::UnknownRelationLabel, label.byte(), item);
                }
            }
        }
        relation
    }

    fn argument<'a>(&mut self, value: Option<Value<'a, '_>>, byte: usize, item: FaultItem) -> Option<Cow<'a, str>> {
        let Some(value) = value else {
            self.fault(FaultKind::MissingKey, byte, item);
            return None;
        };
        let argument = value.string();
        if argument.as_ref().is_none_or(|text| text.is_empty()) {
            self.fault(FaultKind::BadArgument, value.byte(), item);
        }
        argument
    }

    /// Checks ids and arguments against the entity list.
    fn references(&mut self, parsed: &Parsed) {
        let mut names = FirstMap::default();
        for (index, entity) in parsed.entities.iter().enumerate() {
            let new = match parsed.dialect {
                Dialect::Texts => entity.text.as_deref().is_none_or(|text| names.insert(normalise(text), ())),
                Dialect::Ids => entity.id.as_deref().is_none_or(|id| names.insert(Cow::Borrowed(id), ())),
            };
            if !new && parsed.dialect == Dialect::Ids {
                self.fault(FaultKind::DuplicateId, entity.byte, FaultItem::Entity(index as u32));
            }
        }
        for (index, relation) in parsed.relations.iter().enumerate() {
            let item = FaultItem::Relation(index as u32);
            for argument in [&relation.head, &relation.tail].into_iter().flatten().filter(|text| !text.is_empty()) {
                let name = match parsed.dialect {
                    Dialect::Ids => Cow::Borrowed(&**argument),
                    Dialect::Texts => normalise(argument),
                };
                if names.get(&name).is_none() {
                    self.fault(FaultKind::UnresolvedArgument, relation.byte, item);
                }
            }
            if parsed.dialect == Dialect::Ids && relation.head.is_some() && relation.head == relation.tail {
                self.fault(FaultKind::SelfRelation, relation.byte, item);
            }
        }
    }
}
