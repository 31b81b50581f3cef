//! The writer, which knows what every byte is for.

use std::fmt::Write as _;

use tabpo_ontology::Ontology;
use tabpo_roles::{List, ListDecision, Role};

use crate::{Answer, Branch, Item, Part, Rendered};

/// Writes an answer as compact JSON with the role of every byte.
///
/// Keys come in the order id, text, type, subtype, occurrence, under the names that the ontology
/// gives them. Strings are escaped as JSON demands and no further: text that is not ASCII stays as
/// it is. The quotes around a value are scaffolding, its content carries the role. An ontology
/// without relation types has neither the relation list nor ids, which only serve to be named by
/// relations; the relations of `answer` must then be empty.
pub fn render(answer: &Answer, ontology: &Ontology) -> Rendered {
    let keys = &ontology.keys;
    let (entities, relations) = alternatives(ontology);
    let mut writer = Writer::default();
    writer.open_answer(ontology);
    for (index, entity) in answer.entities.iter().enumerate() {
        writer.goes_on(&entities);
        writer.open_entity(index, ontology);
        writer.string(Role::Span, &entity.text);
        writer.scaffold(",");
        writer.key(&keys.entity_type);
        writer.string(Role::EntityLabel, &ontology.entity(entity.label).name);
        if let Some(subtype) = entity.subtype {
            writer.scaffold(",");
            writer.key(&keys.subtype);
            writer.string(Role::Subtype, &ontology.subtype(entity.label, subtype).name);
        }
        if let Some(occurrence) = entity.occurrence {
            writer.scaffold(",");
            writer.key(&keys.occ);
            writer.push(Role::Occurrence, &occurrence.to_string());
        }
        writer.scaffold("}");
        writer.item = Item::Frame;
    }
    writer.ends(&entities, answer.entities.len());
    writer.close_entities(ontology);
    if !ontology.relations.is_empty() {
        for (index, relation) in answer.relations.iter().enumerate() {
            writer.goes_on(&relations);
            writer.open_relation(index, ontology);
            writer.string(Role::Link, &format!("e{}", relation.head + 1));
            writer.scaffold(",");
            writer.key(&keys.relation_type);
            writer.string(Role::RelationLabel, &ontology.relation(relation.label).name);
            writer.scaffold(",");
            writer.key(&keys.tail);
            writer.string(Role::Link, &format!("e{}", relation.tail + 1));
            writer.scaffold("}");
            writer.item = Item::Frame;
        }
        writer.ends(&relations, answer.relations.len());
    }
    writer.close_answer(ontology);
    Rendered { text: writer.text, parts: writer.parts, decisions: writer.decisions }
}

/// How a further record of a list begins, and how the text goes on after the list's end, without further items.
struct Alternatives {
    list: List,
    /// Without the comma between records.
    record: String,
    end: String,
}

/// Those of the entities and those of the relations.
fn alternatives(ontology: &Ontology) -> (Alternatives, Alternatives) {
    let text = |write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::default();
        write(&mut writer);
        writer.text
    };
    let entities = Alternatives {
        list: List::Entities,
        record: text(&|writer| {
            writer.begin_entity(ontology);
            if ontology.relations.is_empty() {
                writer.scaffold("\"");
            }
        }),
        end: text(&|writer| {
            writer.close_entities(ontology);
            writer.close_answer(ontology);
        }),
    };
    let relations = Alternatives {
        list: List::Relations,
        record: text(&|writer| {
            writer.begin_relation(ontology);
            writer.scaffold("\"e");
        }),
        end: text(&|writer| writer.close_answer(ontology)),
    };
    (entities, relations)
}

pub(crate) struct Writer {
    pub(crate) text: String,
    parts: Vec<Part>,
    decisions: Vec<Branch>,
    item: Item,
}

impl Default for Writer {
    fn default() -> Self {
        Self { text: String::new(), parts: Vec::new(), decisions: Vec::new(), item: Item::Frame }
    }
}

impl Writer {
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
        self.begin_entity(ontology);
        if !ontology.relations.is_empty() {
            self.scaffold(&(index + 1).to_string());
            self.scaffold("\",");
            self.key(&ontology.keys.text);
        }
    }

    /// What all entities begin with: up to the number of the id or, without relations, to the colon before the text.
    fn begin_entity(&mut self, ontology: &Ontology) {
        self.scaffold("{");
        if ontology.relations.is_empty() {
            self.key(&ontology.keys.text);
        } else {
            self.key(&ontology.keys.id);
            self.scaffold("\"e");
        }
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
        self.begin_relation(ontology);
    }

    /// What all relations begin with: up to the colon before the head.
    fn begin_relation(&mut self, ontology: &Ontology) {
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

    fn push(&mut self, role: Role, text: &str) {
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

    /// Notes that a list goes on with another record.
    fn goes_on(&mut self, list: &Alternatives) {
        let decision = ListDecision { list: list.list, opens: true };
        self.decisions.push(Branch { byte: self.text.len(), decision, other: list.end.clone() });
    }

    /// Notes that a list ends after `length` records.
    fn ends(&mut self, list: &Alternatives, length: usize) {
        let decision = ListDecision { list: list.list, opens: false };
        let separator = if length > 0 { "," } else { "" };
        let other = format!("{separator}{}", list.record);
        self.decisions.push(Branch { byte: self.text.len(), decision, other });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnswerEntity, AnswerRelation};
    use tabpo_ontology::{EntityLabelId, RelationLabelId};

    /// Each alternative is how the text of the answer with one record more, or without those that follow, goes on.
    #[test]
    fn the_other_decision_is_what_the_writer_itself_would_write() {
        let linked = "[[entity]]\nname = \"A\"\n[[relation]]\nname = \"r\"\n";
        for (text, relations) in [("[[entity]]\nname = \"A\"\n", 0), (linked, 2)] {
            let text = format!("[ontology]\nname = \"x\"\n{text}");
            let ontology = Ontology::parse(&text, "x.toml").expect("an ontology");
            let answer = |entities: usize, relations: usize| {
                let entity = AnswerEntity {
                    text: "robin".into(),
                    span: None,
                    label: EntityLabelId(0),
                    subtype: None,
                    occurrence: None,
                };
                let relation = AnswerRelation { head: 0, tail: 1, label: RelationLabelId(0) };
                Answer { entities: vec![entity; entities], relations: vec![relation; relations] }
            };
            for (entities, relations) in [(0, 0), (1, 0), (3, relations)] {
                let written = render(&answer(entities, relations), &ontology);
                let lists = 1 + usize::from(!ontology.relations.is_empty());
                assert_eq!(written.decisions.len(), entities + relations + lists);
                let mut done = [0, 0];
                for Branch { byte, decision, other } in &written.decisions {
                    let in_relations = usize::from(decision.list == List::Relations);
                    let [entities_so_far, relations_so_far] = done;
                    let further = usize::from(!decision.opens);
                    // With the other decision: closed here, or one record more.
                    let rival = if in_relations == 0 {
                        answer(entities_so_far + further, 0)
                    } else {
                        answer(entities, relations_so_far + further)
                    };
                    let rival = render(&rival, &ontology).text;
                    assert_eq!(rival[..*byte], written.text[..*byte]);
                    assert!(rival[*byte..].starts_with(other.as_str()), "{rival} at {byte}: {other}");
                    assert_ne!(rival.as_bytes()[*byte], written.text.as_bytes()[*byte]);
                    done[in_relations] += usize::from(decision.opens);
                }
            }
        }
    }
}
