//! `tabpo plan --table`: memory and time of models from 1.5 to 70 billion parameters, as Markdown.

use serde::Serialize;
use tabpo_pipeline::outlook::{Base, CARDS, Card, Cost, SUSTAINED, Setting, shape};

use super::plan::{about, adapter};
use crate::{error::CliError, output};

/// The models of the table.
const MODELS: [&str; 5] = ["qwen2.5-1.5b", "llama-8b", "qwen3-14b", "qwen2.5-32b", "llama-70b"];
/// Sentences of SciERC's training documents.
const EXAMPLES: f64 = 1861.0;
/// Passes over them in supervised fine-tuning; preference training passes once.
const EPOCHS: f64 = 2.0;
/// Rows of an example in a packed trie, and those that a rejected answer adds.
const TRUNK: f64 = 450.0;
const REJECTED: f64 = 75.0;
/// Rows with targets in an answer.
const TARGETS: f64 = 150.0;
/// How much larger the second corpus is.
const LARGER: f64 = 100.0;
/// Tokens of a pass; fewer where they do not fit, but no fewer than the least.
const PASS: usize = 8192;
const LEAST: usize = 1024;

/// A model on a card.
#[derive(Serialize)]
struct Cell {
    model: &'static str,
    base: Base,
    card: &'static str,
    /// Tokens of a pass; 0 if too few fit.
    tokens: usize,
    /// Bytes.
    memory: u64,
    /// Seconds of fine-tuning and preference training on as many examples as SciERC has.
    seconds: f64,
}

fn cell(name: &str, base: Base, card: &Card, rank: usize) -> Cell {
    let (model, config) = shape(name).expect("the table's shapes are built in");
    let adapter = adapter(rank);
    let setting =
        Setting { shape: &config, single: false, base, adapter: adapter.as_ref(), max_tokens: PASS, divergence: false };
    let most = setting.most_tokens(card.usable()).min(PASS);
    if most < LEAST {
        return Cell { model, base, card: card.key, tokens: 0, memory: 0, seconds: f64::NAN };
    }
    let setting = Setting { max_tokens: most, ..setting };
    let memory = setting.within(card.usable());
    let seconds = |rows: f64, targets: f64, reference: bool| {
        let cost = Cost::new(&setting, &memory, rows / 2.0, targets / rows);
        cost.seconds(&setting, card, EXAMPLES * rows, reference)
    };
    let seconds = EPOCHS * seconds(TRUNK, TARGETS, false) + seconds(TRUNK + REJECTED, TARGETS + REJECTED, true);
    Cell { model, base, card: card.key, tokens: most, memory: memory.total(), seconds }
}

/// Prints the table.
pub(super) fn print(rank: usize, json: bool) -> Result<(), CliError> {
    let rows = MODELS.into_iter().flat_map(|model| [Base::Bf16, Base::Nf4].map(|base| (model, base)));
    let rows: Vec<Vec<Cell>> =
        rows.map(|(model, base)| CARDS.iter().map(|card| cell(model, base, card, rank)).collect()).collect();
    if json {
        return output::print_json(&rows.into_iter().flatten().collect::<Vec<_>>());
    }
    let what = if rank == 0 { "all parameters are trained".to_owned() } else { format!("LoRA of rank {rank}") };
    let mut lines = vec![
        format!(
            "Computed, not measured: {what}, passes of {PASS} tokens (fewer, as shown, where they do not fit; a dash where \
             fewer than {LEAST} do). In each cell: memory in GB; time for a corpus of the size of SciERC; time for one \
             {LARGER} times as large."
        ),
        String::new(),
        format!("| model | base | {} |", CARDS.map(|card| card.key).join(" | ")),
        format!("|---|---|{}", "---|".repeat(CARDS.len())),
    ];
    for row in &rows {
        let cells = row.iter().map(|cell| {
            if cell.tokens == 0 {
                return "-".to_owned();
            }
            let fewer = if cell.tokens < PASS { format!(" ({} tokens)", cell.tokens) } else { String::new() };
            let times = [1.0, LARGER].map(|corpora| about(corpora * cell.seconds));
            format!("{:.0}{fewer}; {}; {}", cell.memory as f64 / 1e9, times[0], times[1])
        });
        let base = if row[0].base == Base::Nf4 { "4-bit" } else { "bf16" };
        lines.push(format!("| {} | {base} | {} |", row[0].model, cells.collect::<Vec<_>>().join(" | ")));
    }
    lines.push(String::new());
    lines.push(format!(
        "Memory: as the planner divides a card's up; what is free is used to compute less again. Time: rows x operations a \
         row / ({SUSTAINED} x the data sheet's dense bf16 TFLOP/s), and with 4 bits 2.516 bytes a weight and pass over the \
         memory's bandwidth. Rows: {EXAMPLES} sentences; {EPOCHS} passes of {TRUNK} rows each for fine-tuning, one of \
         {} with a rejected answer and a pass of the reference. Operations a row: 2 a weight of the projections forwards, 2 \
         backwards, 2 more where a block is computed again, 6 a parameter of the adapter, 14 x context x query width a \
         layer, and 6 x tokens x hidden size for the {TARGETS} rows of an answer.",
        TRUNK + REJECTED
    ));
    output::print_line(lines.join("\n"))
}
