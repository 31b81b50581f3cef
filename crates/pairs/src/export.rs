//! Pairs in the formats of other trainers.

use serde_json::{Value, json};

use crate::PairRecord;

/// A format of TRL's preference data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// `prompt`, `chosen` and `rejected` as text.
    Trl,
    /// The same as lists of chat messages.
    TrlChat,
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
