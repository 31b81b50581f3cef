//! The writer, which knows what every byte is for.

use std::fmt::Write as _;

use tabpo_ontology::{Arguments, Ontology};
use tabpo_roles::Role;

use crate::namesakes::Namesakes;
use crate::{Answer, Item, Part, Rendered};

/// Writes an answer as compact JSON with the role of every byte.
///
/// Keys come in the order id, text, type, subtype, occurrence, under the names that the ontology
/// gives them. Strings are escaped as JSON demands and no further: text that is not ASCII stays as
/// it is. The quotes around a value are scaffolding, its content carries the role. An ontology
/// without relation types has no relation list; the relations of `answer` must then be empty.
///
/// Ids, which only serve to be named by relations, are written where these name their arguments so. Where they name
/// them by text, a number follows each text that several entities of the answer have: always, so that what is meant does
/// not depend on where the entities stand.
pub fn render(answer: &Answer, ontology: &Ontology) -> Rendered {
    let mut writer = Writer::default();
    writer.answer(answer, ontology);
    writer.finish()
}

pub(crate) struct Writer {
    pub(crate) text: String,
    parts: Vec<Part>,
    /// What is written next belongs to it.
    pub(crate) item: Item,
}

impl Default for Writer {
    fn default() -> Self {
        Self { text: String::new(), parts: Vec::new(), item: Item::Frame }
    }
}

impl Writer {
    /// A whole answer as JSON.
    pub(crate) fn answer(&mut self, answer: &Answer, ontology: &Ontology) {
        let keys = &ontology.keys;
        self.open_answer(ontology);
        for (index, entity) in answer.entities.iter().enumerate() {
            self.open_entity(index, ontology);
            self.string(Role::Span, &entity.text);
            self.scaffold(",");
            self.key(&keys.entity_type);
            self.string(Role::EntityLabel, &ontology.entity(entity.label).name);
            if let Some(subtype) = entity.subtype {
                self.scaffold(",");
                self.key(&keys.subtype);
                self.string(Role::Subtype, &ontology.subtype(entity.label, subtype).name);
            }
            if let Some(occurrence) = entity.occurrence {
                self.scaffold(",");
                self.key(&keys.occ);
                self.push(Role::Occurrence, &occurrence.to_string());
            }
            self.scaffold("}");
            self.item = Item::Frame;
        }
        self.close_entities(ontology);
        if !ontology.relations.is_empty() {
            let texts = answer.entities.iter().map(|entity| Some(entity.text.as_str()));
            let namesakes = (ontology.arguments == Arguments::Texts).then(|| Namesakes::new(texts));
            for (index, relation) in answer.relations.iter().enumerate() {
                self.open_relation(index, ontology);
                self.argument(relation.head, &keys.head_number, answer, namesakes.as_ref());
                self.scaffold(",");
                self.key(&keys.relation_type);
                self.string(Role::RelationLabel, &ontology.relation(relation.label).name);
                self.scaffold(",");
                self.key(&keys.tail);
                self.argument(relation.tail, &keys.tail_number, answer, namesakes.as_ref());
                self.scaffold("}");
                self.item = Item::Frame;
            }
        }
        self.close_answer(ontology);
    }

    /// An argument of a relation: the id of the entity at this position or, with `namesakes`, its text.
    fn argument(&mut self, position: u32, number_key: &str, answer: &Answer, namesakes: Option<&Namesakes>) {
        let Some(namesakes) = namesakes else {
            return self.string(Role::Link, &format!("e{}", position + 1));
        };
        let text = &answer.entities[position as usize].text;
        self.string(Role::Link, text);
        if let Some(number) = namesakes.number(text, position) {
            self.scaffold(",");
            self.key(number_key);
            self.push(Role::Link, &number.to_string());
        }
    }

    /// What was written.
    pub(crate) fn finish(self) -> Rendered {
        Rendered { text: self.text, parts: self.parts }
    }

    /// Everything before the first entity.
    pub(crate) fn open_answer(&mut self, ontology: &Ontology) {
        self.scaffold("{");
        self.key(&ontology.keys.entities);
        self.scaffold("[");
    }

    /// An entity up to the colon before its text, with the comma that separates it from the one before.
    pub(crate) fn open_entity(&mut self, index: usize, ontology: &Ontology) {
        self.separate(index);
        self.item = Item::Entity(index as u32);
        self.scaffold("{");
        if ontology.writes_ids() {
            self.key(&ontology.keys.id);
            self.scaffold(&format!("\"e{}\",", index + 1));
        }
        self.key(&ontology.keys.text);
    }

    /// The end of the entities and, where the ontology has relations, everything before the first one.
    pub(crate) fn close_entities(&mut self, ontology: &Ontology) {
        self.scaffold("]");
        if !ontology.relations.is_empty() {
            self.scaffold(",");
            self.key(&ontology.keys.relations);
            self.scaffold("[");
        }
    }

    /// A relation up to the colon before its head, with the comma that separates it from the one before.
    pub(crate) fn open_relation(&mut self, index: usize, ontology: &Ontology) {
        self.separate(index);
        self.item = Item::Relation(index as u32);
        self.scaffold("{");
        self.key(&ontology.keys.head);
    }

    /// Everything after the last relation, or after [`close_entities`](Self::close_entities) in an ontology without.
    pub(crate) fn close_answer(&mut self, ontology: &Ontology) {
        if !ontology.relations.is_empty() {
            self.scaffold("]");
        }
        self.scaffold("}");
    }

    /// Appends a text with a role.
    pub(crate) fn push(&mut self, role: Role, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.close(role, start);
    }

    /// Gives the bytes from `start` to the end a role; adjacent bytes of one role and item form one part.
    fn close(&mut self, role: Role, start: usize) {
        let end = self.text.len();
        match self.parts.last_mut() {
            Some(last) if last.role == role && last.item == self.item => last.range.end = end,
            _ if start < end => self.parts.push(Part { range: start..end, role, item: self.item }),
            _ => {}
        }
    }

    fn scaffold(&mut self, text: &str) {
        self.push(Role::Scaffold, text);
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.scaffold(",");
        }
    }

    fn key(&mut self, name: &str) {
        self.string(Role::Scaffold, name);
        self.scaffold(":");
    }

    fn string(&mut self, role: Role, value: &str) {
        self.scaffold("\"");
        let start = self.text.len();
        escape(&mut self.text, value);
        self.close(role, start);
        self.scaffold("\"");
    }
}

/// Appends the content of a JSON string: only quotes, backslashes and control characters are escaped.
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            control if control < ' ' => {
                write!(text, "\\u{:04x}", u32::from(control)).expect("writing to a string cannot fail");
            }
            other => text.push(other),
        }
    }
}
