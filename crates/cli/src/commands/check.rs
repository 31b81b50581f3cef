//! `tabpo check`: what a run would find out late.

use std::{cell::RefCell, path::PathBuf, sync::atomic::AtomicBool};

use tabpo_pipeline::{
    device::Device,
    observer::{Observer, Progress},
    run::{Checkup, LabelKind, SplitRow, Work},
};
use tabpo_report::{Alignment, Table};

use super::example;
use crate::{
    config::{Configuration, Overrides},
    error::CliError,
    memory,
    output::{self, Context},
    range,
    remaining::duration,
    run::Pipeline,
    tables::{self, DASH},
};

/// Arguments of `tabpo check`.
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// The configuration file
    config: PathBuf,
    /// Override a key of the configuration, for example --set sft.epochs=2
    #[arg(long = "set", value_name = "KEY=VALUE")]
    replacements: Vec<String>,
    /// Memory for training to stay below if possible, in GB: `memory_gb` of every stage
    #[arg(long, value_name = "GB", value_parser = range::MEMORY.parser(), allow_negative_numbers = true)]
    memory_gb: Option<f64>,
    /// Where models are trained and answer: auto, cpu, cuda, or cuda:1 for the second card (`model.device`)
    #[arg(long, value_name = "DEVICE")]
    device: Option<Device>,
    /// Measure nothing: no training step and no answers are timed, so there is no estimate of the time
    #[arg(long)]
    quick: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Keeps warnings as notes, and passes everything else on.
struct Noting<'c> {
    context: &'c Context,
    warnings: RefCell<Vec<String>>,
}

impl Observer for Noting<'_> {
    fn say(&self, text: &str) {
        self.context.say(text);
    }

    fn warn(&self, text: &str) {
        self.warnings.borrow_mut().push(text.to_owned());
    }

    fn progress(&self, label: &str, total: u64) -> Box<dyn Progress> {
        Box::new(self.context.progress(label, total))
    }

    fn stop_flag(&self) -> &AtomicBool {
        self.context.stop_flag()
    }

    fn release_memory(&self) {
        self.context.release_memory();
    }
}

/// Checks the configuration and everything it names.
pub(crate) fn run(arguments: &CheckArgs, context: &Context) -> Result<(), CliError> {
    let overrides =
        Overrides { set: arguments.replacements.clone(), memory_gb: arguments.memory_gb, device: arguments.device };
    let config = Configuration::read(&arguments.config, &overrides)?;
    let noting = Noting { context, warnings: RefCell::default() };
    let mut found = Pipeline::new(config, &noting)?.check(!arguments.quick, &noting)?;
    found.notes.extend(noting.warnings.into_inner());
    if arguments.json {
        output::print_json(&found)?;
    } else {
        print(&found)?;
    }
    match found.problems.len() {
        0 => Ok(()),
        1 => Err(CliError::failed("1 problem was found, which would make the results worse")),
        count => Err(CliError::failed(format!("{count} problems were found, which would make the results worse"))),
    }
}

fn print(found: &Checkup) -> Result<(), CliError> {
    let mut parts =
        vec![tables::shown(&documents(found)), tables::shown(&labels(found)), tables::shown(&lengths(found))];
    parts.push(tables::shown(&memory(found)));
    parts.push(tables::shown(&stages(found)));
    output::print(&parts.join("\n"))?;
    if let Some(shown) = &found.example {
        output::print_line("")?;
        example::print(shown)?;
    }
    let mut lines = vec![String::new(), summary(found)];
    lines.extend(found.notes.iter().map(|note| format!("note: {note}")));
    lines.extend(found.problems.iter().map(|problem| format!("problem: {problem}")));
    output::print_line(lines.join("\n"))
}

fn documents(found: &Checkup) -> Table {
    let counts = ["Documents", "Prompts", "Words", "Mentions", "Relations", "in no prompt"];
    let columns = counts.map(|name| (name.to_owned(), Alignment::Right));
    let mut table = Table::new([("Split".to_owned(), Alignment::Left)].into_iter().chain(columns));
    for row in &found.splits {
        let SplitRow { split, documents, units, words, mentions, relations, relations_not_shown } = row;
        let counts = [documents, units, words, mentions, relations, relations_not_shown];
        table.push([(*split).to_owned()].into_iter().chain(counts.map(ToString::to_string)));
    }
    table
}

fn labels(found: &Checkup) -> Table {
    let splits = found.splits.iter().map(|row| (row.split.to_owned(), Alignment::Right));
    let mut table = Table::new([("Label".to_owned(), Alignment::Left)].into_iter().chain(splits));
    for row in &found.labels {
        let kind = match row.kind {
            LabelKind::Entity => "",
            LabelKind::Relation => " (relation)",
        };
        table.push([format!("{}{kind}", row.label)].into_iter().chain(row.counts.map(|count| count.to_string())));
    }
    table
}

fn lengths(found: &Checkup) -> Table {
    let columns = ["Median", "95 %", "Longest", "Limit", "Above"].map(|name| (name.to_owned(), Alignment::Right));
    let mut table = Table::new([("Tokens".to_owned(), Alignment::Left)].into_iter().chain(columns));
    for row in &found.lengths {
        let numbers = [row.median, row.most, row.longest, row.limit, row.above].map(|number| number.to_string());
        table.push([format!("{}: {}", row.split, row.what)].into_iter().chain(numbers));
    }
    table
}

fn memory(found: &Checkup) -> Table {
    let mut table =
        Table::new([("Memory", Alignment::Left), ("At most", Alignment::Right), ("At least", Alignment::Right)]);
    for row in &found.memory {
        table.push([row.section.to_owned(), size_or_dash(row.most), size_or_dash(row.least)]);
    }
    if let Some(free) = found.free_memory {
        table.push(["free now".to_owned(), size_or_dash(free), String::new()]);
    }
    table
}

fn stages(found: &Checkup) -> Table {
    let mut table =
        Table::new([("Stage", Alignment::Left), ("Work", Alignment::Left), ("Time (estimate)", Alignment::Right)]);
    for (number, row) in (1..).zip(&found.stages) {
        let work = match &row.stage.work {
            Work::Train(training) => match training.steps {
                Some(steps) => format!("{steps} steps of {}", training.batch),
                None => "as many FLOPs as the dearest".to_owned(),
            },
            Work::Answer { units } => format!("{units} answers"),
            Work::Little => String::new(),
        };
        let time = row.seconds.map_or_else(String::new, duration);
        table.push([format!("{number:2} {}", row.stage.name), work, time]);
    }
    table
}

fn summary(found: &Checkup) -> String {
    let time = match (found.seconds(), found.speed) {
        (Some(seconds), Some(speed)) => format!(
            "about {} in all on {} as busy as it is now: an estimate from a step and a few answers \
             ({:.0} tokens/s trained, {:.0} read, {:.0} written)",
            duration(seconds),
            found.device,
            speed.trained,
            speed.read,
            speed.written
        ),
        _ => "the time was not measured".to_owned(),
    };
    format!("{}: {} stages, {time}; the results go to {}", found.name, found.stages.len(), found.directory.display())
}

/// Bytes with a unit; a dash for none.
fn size_or_dash(bytes: usize) -> String {
    if bytes == 0 { DASH.to_owned() } else { memory::size(bytes) }
}
