//! `tabpo thresholds`: from which probability on a model should write another record.

use std::path::PathBuf;

use tabpo_corpus::Level;
use tabpo_engine::Sampling;
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_report::{Alignment, Table};

use super::{Products, open_model, parse_level};
use crate::{
    config::PredictSection,
    corpora::ReadArgs,
    device::LazyDevice,
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    run::{ListEnds, Prediction, ThresholdCurve, tune},
    tables::{self, percent_or_dash},
    writing,
};

/// Arguments of `tabpo thresholds`.
#[derive(clap::Args)]
pub(crate) struct ThresholdsArgs {
    /// A model folder, a GGUF file, or a PEFT folder (its base model is found automatically)
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A PEFT folder on top of the model folder
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A chat template to use instead of the model folder's: a Jinja file, or plain, alpaca or chatml
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
    /// How products with the model's weights are computed
    #[arg(long, value_enum, default_value_t = Products::Auto)]
    compute: Products,
    /// The ontology file
    #[arg(long, value_name = "FILE")]
    ontology: PathBuf,
    /// Documents with gold, in any corpus format, which the model has not been trained on
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The folder that keeps the model's answers, so that the command can be interrupted and run again
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// What one prompt shows: sentence or document
    #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
    level: Level,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value = "512", value_parser = range::ANSWER.parser::<usize>(), allow_negative_numbers = true)]
    max_new_tokens: usize,
    /// Most sequences decoded together, which changes no answer
    #[arg(long, value_name = "N", default_value = "32", value_parser = range::BATCH.parser::<usize>(), allow_negative_numbers = true)]
    batch_size: usize,
    /// Memory to stay below if possible, in GB: fewer sequences are decoded together
    #[arg(long, value_name = "GB", value_parser = range::MEMORY.parser(), allow_negative_numbers = true)]
    memory_gb: Option<f64>,
    /// Constrain decoding to valid, grounded answers
    #[arg(long)]
    constrained: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// Finds the thresholds and prints the scores at each. An interrupted search resumes where it was.
pub(crate) fn run(arguments: &ThresholdsArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.ontology).or_input()?;
    let documents = arguments.read.read(&arguments.data, None, &ontology, context)?.documents;
    if documents.iter().all(|document| document.mentions.is_empty()) {
        return Err(CliError::input(format!("{} has no entities", arguments.data.display()))
            .with_hint("thresholds are chosen by scores against gold"));
    }
    writing::check_folder(&arguments.folder)?;
    let (policy, renderer) = open_model(
        &arguments.model,
        arguments.adapter.as_deref(),
        arguments.chat_template.as_deref(),
        arguments.compute,
        &ontology,
        AnswerForm::List,
        context,
    )?;
    let settings = PredictSection {
        max_new_tokens: arguments.max_new_tokens,
        batch_size: arguments.batch_size,
        memory_gb: arguments.memory_gb,
        constrained: arguments.constrained,
        ..PredictSection::default()
    };
    let prediction = Prediction {
        name: "thresholds",
        policy: &policy,
        device: &LazyDevice::cpu(),
        renderer: &renderer,
        ontology: &ontology,
        form: AnswerForm::List,
        level: arguments.level,
        settings: &settings,
        samples: 1,
        sampling: Sampling::GREEDY,
        list_ends: ListEnds::GREEDY,
        strict: arguments.read.strict,
    };
    std::fs::create_dir_all(&arguments.folder).or_input()?;
    let curves = tune(&prediction, &documents, &arguments.folder, context)?;
    if arguments.json {
        return output::print_json(&curves);
    }
    let tables: Vec<String> = curves.iter().map(|curve| tables::shown(&table(curve))).collect();
    let options: Vec<String> =
        curves.iter().map(|curve| format!("--threshold-{} {}", curve.list.name(), curve.chosen)).collect();
    output::print(&format!("{}\ntabpo predict {}\n", tables.join("\n"), options.join(" ")))
}

/// The scores at each threshold. An arrow marks the chosen one.
fn table(curve: &ThresholdCurve) -> Table {
    let columns = ["P", "R", "F1", ""].map(|title| (title, Alignment::Right));
    let mut table = Table::new([(curve.list.name(), Alignment::Right)].into_iter().chain(columns));
    for point in &curve.points {
        let scores = [point.scores.p, point.scores.r, point.scores.f1].map(percent_or_dash);
        let mark = if point.threshold == curve.chosen { "<" } else { "" };
        let cells = [format!("{:.2}", point.threshold)].into_iter().chain(scores).chain([mark.to_owned()]);
        table.push(cells);
    }
    table
}
