//! The tolerant parser.

use std::borrow::Cow;
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};
use tabpo_ontology::{Arguments, EntityLabelId, Keys, Ontology, RelationLabelId, SubtypeId};

use crate::fault::valid_at;
use crate::json::{Json, Shape, Value};
use crate::namesakes::Namesakes;
use crate::{Fault, FaultItem, FaultKind, Tier};

/// What was found in a model's output. Strings are borrowed from it unless they have escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// One entry for each item of the entity list, malformed ones included.
    pub entities: Vec<ParsedEntity<'a>>,
    /// One entry for each item of the relation list, malformed ones included.
    pub relations: Vec<ParsedRelation<'a>>,
    /// How relations name their arguments, whatever the ontology says: by ids if any entity has one, otherwise by texts.
    pub arguments: Arguments,
    /// Everything that is wrong, in the order in which it was noticed.
    pub faults: Vec<Fault>,
    /// The sentence in which the entities are marked, in the marked form.
    pub(crate) marked: Option<MarkedSentence>,
}

/// The sentence of an answer in the marked form, without its marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarkedSentence {
    pub(crate) text: String,
    /// Whether the marks count, because there is no JSON that can be read.
    pub(crate) counts: bool,
}

/// An item of the entity list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEntity<'a> {
    /// The byte of the raw text where it starts.
    pub byte: usize,
    /// Its id, if that is a string.
    pub id: Option<Cow<'a, str>>,
    /// Its text as written; `None` if it is missing or blank, which makes the item malformed.
    pub text: Option<Cow<'a, str>>,
    /// Its label; `None` if that is missing or unknown.
    pub label: Option<EntityLabelId>,
    /// Its sub-label, if the label is known and has this one.
    pub subtype: Option<SubtypeId>,
    /// The occurrence, if it is an integer, valid or not.
    pub occurrence: Option<i64>,
    /// Where it is marked, in bytes of the marked sentence.
    pub(crate) place: Option<Range<usize>>,
    /// The position of the first entity with the same id; its own if it is that one or has no id.
    pub(crate) first_with_id: u32,
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
    /// Which of the entities with these texts are meant, if that is said with an integer, valid or not.
    pub numbers: [Option<i64>; 2],
    /// The positions of the entities that head and tail name: those with the text and the number, and otherwise the first
    /// ones with the id or the text.
    pub(crate) holders: [Option<u32>; 2],
}

impl Parsed<'_> {
    /// Whether the text is valid at a tier, apart from what only the source can show.
    pub fn valid_at(&self, tier: Tier) -> bool {
        valid_at(&self.faults, tier)
    }

    /// Moves every place in the raw text, for a text of which only the rest from `start` on was read.
    pub(crate) fn shift(&mut self, start: usize) {
        let faults = self.faults.iter_mut().map(|fault| &mut fault.byte);
        let entities = self.entities.iter_mut().map(|entity| &mut entity.byte);
        let relations = self.relations.iter_mut().map(|relation| &mut relation.byte);
        faults.chain(entities).chain(relations).for_each(|byte| *byte += start);
    }
}

/// Reads what a model wrote.
///
/// Text that is not JSON has no items. In JSON, every element of the two lists becomes one entry, however
/// broken, so that every emitted item counts as a prediction. Where an object holds a key twice, the last
/// value counts. Arguments may be named by ids or by texts. Takes time linear in the length of `raw`, does not
/// recurse, and never fails.
pub fn parse<'a>(raw: &'a str, ontology: &Ontology) -> Parsed<'a> {
    let mut parser = Parser::new(ontology);
    match Json::read(raw) {
        Err(fault) => parser.fault(fault.kind, fault.byte, FaultItem::Answer),
        Ok(json) => parser.answer(json.root()),
    }
    parser.parsed
}

/// The value of a known key.
struct Field<'a> {
    /// Where it starts in the raw text.
    byte: usize,
    content: Content<'a>,
}

enum Content<'a> {
    String(Cow<'a, str>),
    Integer(i64),
    Other,
}

impl<'a> Field<'a> {
    fn string(self) -> Option<Cow<'a, str>> {
        if let Content::String(text) = self.content { Some(text) } else { None }
    }

    fn integer(&self) -> Option<i64> {
        if let Content::Integer(number) = self.content { Some(number) } else { None }
    }
}

impl<'a> From<Value<'a, '_>> for Field<'a> {
    fn from(value: Value<'a, '_>) -> Self {
        let integer = || value.integer().map(Content::Integer);
        let content = value.string().map(Content::String).or_else(integer);
        Self { byte: value.byte(), content: content.unwrap_or(Content::Other) }
    }
}

/// The fields of an item with `N` known keys, `None` where a key is absent.
type Fields<'a, const N: usize> = [Option<Field<'a>>; N];

/// The known keys of an entity, in the order of the format.
fn entity_keys(keys: &Keys) -> [&str; 5] {
    [&keys.id, &keys.text, &keys.entity_type, &keys.subtype, &keys.occ]
}

/// The known keys of a relation, in the order of the format.
fn relation_keys(keys: &Keys) -> [&str; 5] {
    [&keys.head, &keys.relation_type, &keys.tail, &keys.head_number, &keys.tail_number]
}

struct Parser<'o, 'a> {
    ontology: &'o Ontology,
    parsed: Parsed<'a>,
    /// Entities without an id, and where they start.
    without_id: Vec<(u32, usize)>,
}

impl<'o, 'a> Parser<'o, 'a> {
    fn new(ontology: &'o Ontology) -> Self {
        let (entities, relations, faults) = (Vec::new(), Vec::new(), Vec::new());
        let parsed = Parsed { entities, relations, arguments: Arguments::Texts, faults, marked: None };
        Self { ontology, parsed, without_id: Vec::new() }
    }

    fn fault(&mut self, kind: FaultKind, byte: usize, item: FaultItem) {
        self.parsed.faults.push(Fault { kind, byte, item });
    }

    /// The values of an object's known keys, `None` where a key is absent.
    fn known<'b, const N: usize>(
        &mut self,
        object: Value<'a, 'b>,
        known: [&str; N],
        item: FaultItem,
    ) -> Option<[Option<Value<'a, 'b>>; N]> {
        if object.shape() != Shape::Object {
            self.fault(FaultKind::WrongType, object.byte(), item);
            return None;
        }
        let mut values = [None; N];
        let mut unknown = FxHashSet::default();
        for (key, value) in object.members() {
            let name = key.string().expect("object keys are strings");
            let repeated = if let Some(index) = known.iter().position(|&key| key == name) {
                values[index].replace(value).is_some()
            } else {
                self.fault(FaultKind::UnknownKey, key.byte(), item);
                !unknown.insert(name)
            };
            if repeated {
                self.fault(FaultKind::DuplicateKey, key.byte(), item);
            }
        }
        Some(values)
    }

    /// The fields of an item.
    fn fields<const N: usize>(
        &mut self,
        object: Value<'a, '_>,
        known: [&str; N],
        item: FaultItem,
    ) -> Option<Fields<'a, N>> {
        Some(self.known(object, known, item)?.map(|value| value.map(Field::from)))
    }

    /// A required list.
    fn list<'b>(&mut self, value: Option<Value<'a, 'b>>, byte: usize) -> Option<Value<'a, 'b>> {
        match value {
            None => self.fault(FaultKind::MissingKey, byte, FaultItem::Answer),
            Some(list) if list.shape() == Shape::Array => return Some(list),
            Some(other) => self.fault(FaultKind::WrongType, other.byte(), FaultItem::Answer),
        }
        None
    }

    fn answer(&mut self, root: Value<'a, '_>) {
        let keys = &self.ontology.keys;
        let related = !self.ontology.relations.is_empty();
        let (entities, relations) = if related {
            let known = [keys.entities.as_str(), &keys.relations];
            let Some([entities, relations]) = self.known(root, known, FaultItem::Answer) else { return };
            (self.list(entities, root.byte()), self.list(relations, root.byte()))
        } else {
            let Some([entities]) = self.known(root, [&keys.entities], FaultItem::Answer) else { return };
            (self.list(entities, root.byte()), None)
        };
        for (index, value) in (0..).zip(entities.into_iter().flat_map(Value::children)) {
            let fields = self.fields(value, entity_keys(keys), FaultItem::Entity(index));
            self.entity(value.byte(), fields);
        }
        self.end_entities();
        for (index, value) in (0..).zip(relations.into_iter().flat_map(Value::children)) {
            let fields = self.fields(value, relation_keys(keys), FaultItem::Relation(index));
            self.relation(value.byte(), fields);
        }
        self.references();
    }

    /// Adds an entity that starts at `byte`; without fields it is not an object.
    fn entity(&mut self, byte: usize, fields: Option<Fields<'a, 5>>) {
        let index = self.parsed.entities.len() as u32;
        let item = FaultItem::Entity(index);
        let mut entity = ParsedEntity {
            byte,
            id: None,
            text: None,
            label: None,
            subtype: None,
            occurrence: None,
            place: None,
            first_with_id: index,
        };
        let Some([id, text, label, subtype, occurrence]) = fields else {
            self.parsed.entities.push(entity);
            return;
        };
        if let Some(id) = id {
            self.parsed.arguments = Arguments::Ids;
            let byte = id.byte;
            entity.id = id.string();
            if entity.id.as_ref().is_none_or(|text| text.is_empty()) {
                self.fault(FaultKind::BadId, byte, item);
            }
        } else {
            self.without_id.push((index, byte));
        }
        match text {
            None => self.fault(FaultKind::MissingKey, byte, item),
            Some(text) => {
                let byte = text.byte;
                entity.text = text.string().filter(|text| !text.trim().is_empty());
                if entity.text.is_none() {
                    self.fault(FaultKind::BlankText, byte, item);
                }
            }
        }
        match label {
            None => self.fault(FaultKind::MissingKey, byte, item),
            Some(label) => {
                let byte = label.byte;
                entity.label = label.string().and_then(|name| self.ontology.entity_named(&name));
                if entity.label.is_none() {
                    self.fault(FaultKind::UnknownEntityLabel, byte, item);
                }
            }
        }
        if let Some(label) = entity.label {
            let has_subtypes = !self.ontology.entity(label).subtypes.is_empty();
            match subtype {
                None if has_subtypes => self.fault(FaultKind::MissingSubtype, byte, item),
                None => {}
                Some(subtype) => {
                    let byte = subtype.byte;
                    entity.subtype = subtype.string().and_then(|name| self.ontology.subtype_named(label, &name));
                    if entity.subtype.is_none() {
                        self.fault(FaultKind::UnknownSubtype, byte, item);
                    }
                }
            }
        }
        if let Some(occurrence) = occurrence {
            entity.occurrence = occurrence.integer();
            if entity.occurrence.is_none_or(|occurrence| occurrence < 1) {
                self.fault(FaultKind::BadOccurrence, occurrence.byte, item);
            }
        }
        self.parsed.entities.push(entity);
    }

    /// Either all entities have ids or none has.
    fn end_entities(&mut self) {
        if self.parsed.arguments == Arguments::Ids {
            for (index, byte) in std::mem::take(&mut self.without_id) {
                self.fault(FaultKind::MixedIds, byte, FaultItem::Entity(index));
            }
        }
    }

    /// Adds a relation that starts at `byte`; without fields it is not an object.
    fn relation(&mut self, byte: usize, fields: Option<Fields<'a, 5>>) {
        let item = FaultItem::Relation(self.parsed.relations.len() as u32);
        let (numbers, holders) = ([None; 2], [None; 2]);
        let mut relation = ParsedRelation { byte, head: None, label: None, tail: None, numbers, holders };
        if let Some([head, label, tail, head_number, tail_number]) = fields {
            relation.numbers = [head_number, tail_number].map(|number| self.number(&number?, item));
            relation.head = self.argument(head, byte, item);
            relation.tail = self.argument(tail, byte, item);
            match label {
                None => self.fault(FaultKind::MissingKey, byte, item),
                Some(label) => {
                    let byte = label.byte;
                    relation.label = label.string().and_then(|name| self.ontology.relation_named(&name));
                    if relation.label.is_none() {
                        self.fault(FaultKind::UnknownRelationLabel, byte, item);
                    }
                }
            }
        }
        self.parsed.relations.push(relation);
    }

    /// Which of the entities with the text of an argument is meant. Ids need no such number.
    fn number(&mut self, field: &Field, item: FaultItem) -> Option<i64> {
        if self.parsed.arguments == Arguments::Ids {
            self.fault(FaultKind::UnknownKey, field.byte, item);
            return None;
        }
        let number = field.integer();
        if number.is_none_or(|number| number < 1) {
            self.fault(FaultKind::BadOccurrence, field.byte, item);
        }
        number
    }

    fn argument(&mut self, field: Option<Field<'a>>, byte: usize, item: FaultItem) -> Option<Cow<'a, str>> {
        let Some(field) = field else {
            self.fault(FaultKind::MissingKey, byte, item);
            return None;
        };
        let byte = field.byte;
        let argument = field.string();
        if argument.as_ref().is_none_or(|text| text.is_empty()) {
            self.fault(FaultKind::BadArgument, byte, item);
        }
        argument
    }

    /// Resolves ids and arguments against the entity list, and checks them.
    fn references(&mut self) {
        let Parsed { entities, relations, arguments, faults, .. } = &mut self.parsed;
        let mut fault = |kind, byte, item| faults.push(Fault { kind, byte, item });
        match arguments {
            Arguments::Ids => {
                let mut first: FxHashMap<&str, u32> = FxHashMap::default();
                let mut repeated = Vec::new();
                for (index, entity) in (0..).zip(entities.iter()) {
                    let Some(id) = entity.id.as_deref() else { continue };
                    let holder = *first.entry(id).or_insert(index);
                    if holder != index {
                        fault(FaultKind::DuplicateId, entity.byte, FaultItem::Entity(index));
                        repeated.push((index, holder));
                    }
                }
                for relation in relations.iter_mut() {
                    let named = [&relation.head, &relation.tail].map(|argument| argument.as_deref());
                    let holder = |id: Option<&str>| first.get(id.filter(|id| !id.is_empty())?).copied();
                    relation.holders = named.map(holder);
                }
                for (index, holder) in repeated {
                    entities[index as usize].first_with_id = holder;
                }
            }
            Arguments::Texts => {
                let namesakes = Namesakes::new(entities.iter().map(|entity| entity.text.as_deref()));
                for relation in relations.iter_mut() {
                    let named = [(&relation.head, relation.numbers[0]), (&relation.tail, relation.numbers[1])];
                    relation.holders = named.map(|(argument, number)| match number {
                        Some(number) => namesakes.numbered(argument.as_deref()?, number),
                        None => namesakes.with(argument.as_deref()?).first().copied(),
                    });
                }
            }
        }
        for (index, relation) in (0..).zip(relations) {
            let item = FaultItem::Relation(index);
            let written = |argument: &Option<Cow<str>>| argument.as_deref().is_some_and(|text| !text.is_empty());
            for (argument, holder) in [&relation.head, &relation.tail].into_iter().zip(relation.holders) {
                if written(argument) && holder.is_none() {
                    fault(FaultKind::UnresolvedArgument, relation.byte, item);
                }
            }
            // A text without a number names any of the entities that have it.
            let same = match arguments {
                Arguments::Ids => relation.head.is_some() && relation.head == relation.tail,
                Arguments::Texts => {
                    let [head, tail] = relation.holders;
                    relation.numbers.iter().all(Option::is_some) && head.is_some() && head == tail
                }
            };
            if same {
                fault(FaultKind::SelfRelation, relation.byte, item);
            }
        }
    }
}
