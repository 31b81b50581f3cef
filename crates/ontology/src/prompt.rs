//! The section of a prompt that tells an instruction-tuned model what to extract and how to write it.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::{AnswerForm, Arguments, Constraint, EntityLabel, Ontology, RelationLabel, marked_name};

impl Ontology {
    /// Instructions for a model that has not been trained on the task: labels with descriptions,
    /// relation types with their direction, the answer format, and a one-line example. Ends without
    /// a line break; the source text is not part of it.
    pub fn prompt(&self) -> String {
        self.prompt_for(AnswerForm::List)
    }

    /// As [`prompt`](Self::prompt), for answers in a form.
    pub fn prompt_for(&self, form: AnswerForm) -> String {
        let mut text = String::new();
        let task = if self.relations.is_empty() { "entities" } else { "entities and the relations between them" };
        line(&mut text, &format!("Extract the {task} from the text."));
        if !self.description.is_empty() {
            line(&mut text, &self.description);
        }
        self.describe_entities(&mut text);
        if !self.relations.is_empty() {
            self.describe_relations(&mut text);
        }
        match form {
            AnswerForm::List => {
                line(&mut text, "\nAnswer with one line of JSON and nothing else:");
                line(&mut text, &self.example());
                line(&mut text, "");
            }
            AnswerForm::Marked => self.describe_marks(&mut text),
        }
        self.describe_answer(&mut text);
        text.truncate(text.trim_end().len());
        text
    }

    fn describe_entities(&self, text: &mut String) {
        line(text, "\nEntity labels:");
        for label in &self.entities {
            line(text, &format!("- {}", described(&label.name, &label.description)));
            for subtype in &label.subtypes {
                line(text, &format!("  - {} {}", self.keys.subtype, described(&subtype.name, &subtype.description)));
            }
        }
    }

    fn describe_relations(&self, text: &mut String) {
        line(text, &format!("\nRelation types, from {} to {}:", self.keys.head, self.keys.tail));
        for label in &self.relations {
            let direction = if label.symmetric { " (symmetric)" } else { "" };
            line(text, &format!("- {}", described(&format!("{}{direction}", label.name), &label.description)));
            let signature = self.signature(label);
            if !signature.is_empty() {
                line(text, &format!("  {signature}"));
            }
        }
    }

    /// Domain and range in words; empty where both are unrestricted.
    fn signature(&self, label: &RelationLabel) -> String {
        let strength = match label.constraint {
            Constraint::Soft => "usually",
            Constraint::Hard => "always",
        };
        let side = |key: &str, ids: &[crate::EntityLabelId]| {
            let names: Vec<&str> = ids.iter().map(|&id| self.entity(id).name.as_str()).collect();
            (!ids.is_empty()).then(|| format!("{key} {strength} {}", names.join(" or ")))
        };
        let sides = [side(&self.keys.head, &label.domain), side(&self.keys.tail, &label.range)];
        sides.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// The part of the marked form before the JSON.
    fn describe_marks(&self, text: &mut String) {
        let label = |label: &EntityLabel| {
            let subtype = label.subtypes.first().map(|subtype| format!("|{}", marked_name(&subtype.name)));
            format!("{}{}", marked_name(&label.name), subtype.unwrap_or_default())
        };
        let labels = self.example_labels().into_iter().map(|index| label(&self.entities[index]));
        let related = self.relations.first();
        let marks = labels.zip([("The", "words of the text"), (" and", "other words")]).enumerate();
        let marks = marks.map(|(index, (label, (before, words)))| {
            let number = related.map(|_| format!("|{}", index + 1)).unwrap_or_default();
            format!("{before} [{words}|{label}{number}]")
        });
        let parts = if related.is_some() { "three parts" } else { "two lines" };
        line(text, &format!("\nAnswer with {parts} and nothing else, as in this example:"));
        line(text, &format!("{} .", marks.collect::<String>()));
        if let Some(relation) = related {
            line(text, &format!("1 2|{}|-", marked_name(&relation.name)));
        }
        line(text, &self.example());
        line(text, "");
        let number = if related.is_some() { " and its number" } else { "" };
        line(
            text,
            &format!(
                "- First comes the text on one line, copied letter by letter, with every entity in brackets together with \
                 its label{number}. `\\` stands before `\\`, `[`, `]` and `|` in the text, and `\\n` for a line break."
            ),
        );
        if related.is_some() {
            line(
                text,
                "- Then comes a line for every two entities with at most one other between them: their numbers, the \
                 relation from the first to the second, and that from the second to the first. `-` means none, and `&` \
                 stands between several. Entities further apart have a line only where they are related.",
            );
        }
        line(text, "- Last comes the same as one line of JSON:");
    }

    fn describe_answer(&self, text: &mut String) {
        let keys = &self.keys;
        line(text, &format!("- `{}` is copied from the text, letter by letter, and never empty.", keys.text));
        line(text, &format!("- `{}` is one of the entity labels above.", keys.entity_type));
        if self.entities.iter().any(|label| !label.subtypes.is_empty()) {
            let (subtype, label) = (&keys.subtype, &keys.entity_type);
            line(
                text,
                &format!(
                    "- `{subtype}` is one of those listed under that `{label}`; leave it out where none is listed."
                ),
            );
        }
        let numbered = if self.writes_ids() { " and are numbered e1, e2, ..." } else { "." };
        line(text, &format!("- Entities stand in the order of the text{numbered}"));
        line(
            text,
            &format!(
                "- `{}` is added only where the same words occur more than once and an earlier one is not meant: the number of the occurrence, counted from 1.",
                keys.occ
            ),
        );
        if !self.relations.is_empty() {
            let (head, tail) = (&keys.head, &keys.tail);
            line(
                text,
                &match self.arguments {
                    Arguments::Ids => {
                        format!("- `{head}` and `{tail}` are ids of two different entities of the answer.")
                    }
                    Arguments::Texts => format!(
                        "- `{head}` and `{tail}` are the texts of two different entities of the answer. Where several have the \
                     same text, `{}` or `{}` follows and says which of them is meant, counted from 1.",
                        keys.head_number, keys.tail_number
                    ),
                },
            );
            if self.relations.iter().any(|label| label.symmetric) {
                line(text, &format!("- A symmetric relation is written once, with the earlier entity as `{head}`."));
            }
        }
        let empty = if self.relations.is_empty() { "the list is" } else { "the lists are" };
        line(text, &format!("- Where there is nothing to extract, {empty} empty."));
    }

    /// The labels of the placeholder entities: those that the first relation type connects, or the first one.
    fn example_labels(&self) -> Vec<usize> {
        let relation = self.relations.first();
        let argument = |ids: &[crate::EntityLabelId]| ids.first().map_or(0, |id| id.index());
        let head = relation.map_or(0, |label| argument(&label.domain));
        std::iter::once(head).chain(relation.map(|label| argument(&label.range))).collect()
    }

    /// An answer with one or two placeholder entities.
    fn example(&self) -> String {
        let (relation, labels) = (self.relations.first(), self.example_labels());
        let keys = &self.keys;

        let mut entities = Vec::new();
        for (&label, (id, words)) in labels.iter().zip(EXAMPLE) {
            let label = &self.entities[label];
            let mut entity = Map::new();
            if self.writes_ids() {
                entity.insert(keys.id.clone(), id.into());
            }
            entity.insert(keys.text.clone(), words.into());
            entity.insert(keys.entity_type.clone(), label.name.as_str().into());
            if let Some(subtype) = label.subtypes.first() {
                entity.insert(keys.subtype.clone(), subtype.name.as_str().into());
            }
            entities.push(Value::Object(entity));
        }
        let mut answer = Map::new();
        answer.insert(keys.entities.clone(), entities.into());
        if let Some(label) = relation {
            let [head, tail] = EXAMPLE.map(|(id, words)| if self.writes_ids() { id } else { words });
            let mut item = Map::new();
            item.insert(keys.head.clone(), head.into());
            item.insert(keys.relation_type.clone(), label.name.as_str().into());
            item.insert(keys.tail.clone(), tail.into());
            answer.insert(keys.relations.clone(), vec![Value::Object(item)].into());
        }
        Value::Object(answer).to_string()
    }
}

/// The ids and texts of the placeholder entities.
const EXAMPLE: [(&str, &str); 2] = [("e1", "words of the text"), ("e2", "other words")];

fn described(name: &str, description: &str) -> String {
    if description.is_empty() { name.to_owned() } else { format!("{name}: {description}") }
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "{content}").expect("writing to a string succeeds");
}
