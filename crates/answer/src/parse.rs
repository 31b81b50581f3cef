//! The tolerant parser.

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::fault::valid_at;
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

/// What was found in a model's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// One entry for each item of the entity list, malformed ones included.
    pub entities: Vec<ParsedEntity>,
    /// One entry for each item of the relation list, malformed ones included.
    pub relations: Vec<ParsedRelation>,
    /// How relations name their arguments.
    pub dialect: Dialect,
    /// Everything that is wrong, in the order in which it was noticed.
    pub faults: Vec<Fault>,
}

/// An item of the entity list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEntity {
    /// The byte of the raw text where it starts.
    pub byte: usize,
    /// Its id, if that is a string.
    pub id: Option<String>,
    /// Its text as written; `None` if it has none or only blanks, which makes the item malformed.
    pub text: Option<String>,
    /// Its label; `None` if that is missing or unknown.
    pub label: Option<EntityLabelId>,
    /// The label as written, if it is a string.
    pub written_label: Option<String>,
    /// Its sub-label, if the label is known and has this one.
    pub subtype: Option<SubtypeId>,
    /// The occurrence, if it is an integer (of whatever value).
    pub occurrence: Option<i64>,
}

/// An item of the relation list. It is malformed, and then counts as a prediction that is always
/// wrong, if any of its three parts is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRelation {
    /// The byte of the raw text where it starts.
    pub byte: usize,
    /// The first argument as written, if it is a string.
    pub head: Option<String>,
    /// Its type; `None` if that is missing or unknown.
    pub label: Option<RelationLabelId>,
    /// The second argument as written, if it is a string.
    pub tail: Option<String>,
}

impl Parsed {
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
pub fn parse(raw: &str, ontology: &Ontology) -> Parsed {
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
        for (key, value) in object.members() {
            let name = key.string().expect("object keys are strings");
            let repeated = if let Some(index) = known.iter().position(|&key| key == name) {
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

    /// The elements of a list that the format demands.
    fn list<'a, 'b>(&mut self, value: Option<Value<'a, 'b>>, byte: usize) -> Vec<Value<'a, 'b>> {
        match value {
            None => self.fault(FaultKind::MissingKey, byte, FaultItem::Answer),
            Some(list) if list.shape() == Shape::Array => return list.children().collect(),
            Some(other) => self.fault(FaultKind::WrongType, other.byte(), FaultItem::Answer),
        }
        Vec::new()
    }

    fn answer(&mut self, root: Value, parsed: &mut Parsed) {
        let keys = &self.ontology.keys;
        let related = !self.ontology.relations.is_empty();
        let (entities, relations) = if related {
            let known = [keys.entities.as_str(), &keys.relations];
            let Some([entities, relations]) = self.fields(root, known, FaultItem::Answer) else { return };
            (self.list(entities, root.byte()), self.list(relations, root.byte()))
        } else {
            let Some([entities]) = self.fields(root, [&keys.entities], FaultItem::Answer) else { return };
            (self.list(entities, root.byte()), Vec::new())
        };
        let mut with_id = Vec::with_capacity(entities.len());
        for (index, value) in entities.into_iter().enumerate() {
            let (entity, has_id) = self.entity(value, index as u32);
            parsed.entities.push(entity);
            with_id.push(has_id);
        }
        if with_id.contains(&Some(true)) {
            parsed.dialect = Dialect::Ids;
            for (index, _) in with_id.iter().enumerate().filter(|(_, has_id)| **has_id == Some(false)) {
                self.fault(FaultKind::MixedIds, parsed.entities[index].byte, FaultItem::Entity(index as u32));
            }
        }
        for (index, value) in relations.into_iter().enumerate() {
            let relation = self.relation(value, FaultItem::Relation(index as u32));
            parsed.relations.push(relation);
        }
        self.references(parsed);
    }

    /// An entity, and whether it has the id key (`None` if it is no object).
    fn entity(&mut self, value: Value, index: u32) -> (ParsedEntity, Option<bool>) {
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
            entity.id = id.string().map(Cow::into_owned);
            if entity.id.as_ref().is_none_or(String::is_empty) {
                self.fault(FaultKind::BadId, id.byte(), item);
            }
        }
        match text {
            None => self.fault(FaultKind::MissingKey, byte, item),
            Some(text) => {
                entity.text = text.string().filter(|text| !text.trim().is_empty()).map(Cow::into_owned);
                if entity.text.is_none() {
                    self.fault(FaultKind::BlankText, text.byte(), item);
                }
            }
        }
        match label {
            None => self.fault(FaultKind::MissingKey, byte, item),
            Some(label) => {
                entity.written_label = label.string().map(Cow::into_owned);
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

    fn relation(&mut self, value: Value, item: FaultItem) -> ParsedRelation {
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

    fn argument(&mut self, value: Option<Value>, byte: usize, item: FaultItem) -> Option<String> {
        let Some(value) = value else {
            self.fault(FaultKind::MissingKey, byte, item);
            return None;
        };
        let argument = value.string().map(Cow::into_owned);
        if argument.as_ref().is_none_or(String::is_empty) {
            self.fault(FaultKind::BadArgument, value.byte(), item);
        }
        argument
    }

    /// Checks ids and arguments against the entity list.
    fn references(&mut self, parsed: &Parsed) {
        let mut names = FxHashSet::default();
        for (index, entity) in parsed.entities.iter().enumerate() {
            match parsed.dialect {
                Dialect::Texts => names.extend(entity.text.as_deref().map(normalise)),
                Dialect::Ids => {
                    if entity.id.as_deref().is_some_and(|id| !names.insert(Cow::Borrowed(id))) {
                        self.fault(FaultKind::DuplicateId, entity.byte, FaultItem::Entity(index as u32));
                    }
                }
            }
        }
        for (index, relation) in parsed.relations.iter().enumerate() {
            let item = FaultItem::Relation(index as u32);
            for argument in [&relation.head, &relation.tail].into_iter().flatten().filter(|text| !text.is_empty()) {
                let known = match parsed.dialect {
                    Dialect::Ids => names.contains(argument.as_str()),
                    Dialect::Texts => names.contains(&normalise(argument)),
                };
                if !known {
                    self.fault(FaultKind::UnresolvedArgument, relation.byte, item);
                }
            }
            if parsed.dialect == Dialect::Ids && relation.head.is_some() && relation.head == relation.tail {
                self.fault(FaultKind::SelfRelation, relation.byte, item);
            }
        }
    }
}
