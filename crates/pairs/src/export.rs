//! Pairs in the formats of other trainers.

use serde_json::{Value, json};
use tabpo_answer::{Rendered, read_canonical};
use tabpo_ontology::Ontology;
use tabpo_roles::Role;

use crate::PairRecord;

/// A format of TRL's preference data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// `prompt`, `chosen` and `rejected` as text.
    Trl,
    /// The same as lists of chat messages.
    TrlChat,
}

/// A pair whose roles are not known, because an answer is not what the ontology would have written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("pair `{id}`: the {side} answer is not in the canonical form of this ontology")]
pub struct NotCanonical {
    /// The pair.
    pub id: String,
    /// `chosen` or `rejected`.
    pub side: &'static str,
}

impl NotCanonical {
    /// What cures it.
    pub fn hint(&self) -> &'static str {
        "give the ontology that the pairs were built with"
    }
}

/// A pair in another format. `instruction` precedes the source in the prompt: as the system message of a
/// chat, or as a paragraph in plain text.
pub fn export(record: &PairRecord, format: ExportFormat, instruction: Option<&str>) -> Value {
    match format {
        ExportFormat::Trl => {
            let prompt = match instruction {
                Some(instruction) => format!("{instruction}\n\n{}\n", record.prompt),
                None => format!("{}\n", record.prompt),
            };
            json!({ "prompt": prompt, "chosen": record.chosen, "rejected": record.rejected })
        }
        ExportFormat::TrlChat => {
            let system = instruction.map(|content| json!({ "role": "system", "content": content }));
            let user = json!({ "role": "user", "content": record.prompt });
            let prompt: Vec<Value> = system.into_iter().chain([user]).collect();
            let answer = |content: &str| json!([{ "role": "assistant", "content": content }]);
            json!({ "prompt": prompt, "chosen": answer(&record.chosen), "rejected": answer(&record.rejected) })
        }
    }
}

/// Adds to an exported pair what TAB-PO needs beyond the texts: `id`, `kind`, `weight`, and as `chosen_roles` and
/// `rejected_roles` the stretches of each answer that have a role other than scaffolding. A stretch has `start` and
/// `end` in characters (Unicode code points) of the answer, and `role`, by its name.
pub fn add_roles(exported: &mut Value, record: &PairRecord, ontology: &Ontology) -> Result<(), NotCanonical> {
    for (side, answer) in [("chosen", &record.chosen), ("rejected", &record.rejected)] {
        let (_, rendered) =
            read_canonical(answer, ontology).ok_or_else(|| NotCanonical { id: record.id.clone(), side })?;
        exported[format!("{side}_roles")] = stretches(&rendered);
    }
    exported["id"] = record.id.as_str().into();
    exported["kind"] = record.edit.kind.name().into();
    exported["weight"] = record.weight.into();
    Ok(())
}

/// The parts of an answer that are not scaffolding, by characters.
fn stretches(answer: &Rendered) -> Value {
    let (mut byte, mut character) = (0, 0);
    let mut stretches = Vec::new();
    for part in answer.parts.iter().filter(|part| part.role != Role::Scaffold && !part.range.is_empty()) {
        let start = character + answer.text[byte..part.range.start].chars().count();
        let end = start + answer.text[part.range.clone()].chars().count();
        (byte, character) = (part.range.end, end);
        stretches.push(json!({ "start": start, "end": end, "role": part.role.name() }));
    }
    Value::Array(stretches)
}
