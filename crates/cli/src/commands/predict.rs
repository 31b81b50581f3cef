//! `tabpo predict`: answers to documents, from a model folder or from an endpoint.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use tabpo_answer::{Tier, parse_as};
use tabpo_corpus::Level;
use tabpo_engine::Sampling;
use tabpo_metrics::UnitOutput;
use tabpo_ontology::{AnswerForm, Ontology};

use super::{
    Products, open_model, parse_form, parse_level,
    predict_remote::{RemoteArgs, run_remote},
};
use crate::{
    config::PredictSection,
    corpora::ReadArgs,
    device::{Device, LazyDevice},
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    remote::RemoteJob,
    run::{ListEnds, Prediction, Thresholds},
};

/// Arguments of `tabpo predict`.
#[derive(clap::Args)]
pub(crate) struct PredictArgs {
    /// A model folder, a GGUF file, or a PEFT folder (its base model is found automatically), or with --endpoint the model's name there
    #[arg(long, value_name = "DIR|NAME")]
    model: String,
    /// A PEFT folder on top of the model folder
    #[arg(long, value_name = "DIR", conflicts_with = "endpoint")]
    adapter: Option<PathBuf>,
    /// A chat template to use instead of the model folder's: a Jinja file, or plain, alpaca or chatml
    #[arg(long, value_name = "FILE|NAME", conflicts_with = "endpoint")]
    chat_template: Option<String>,
    /// How products with the model's weights are computed
    #[arg(long, value_enum, default_value_t = Products::Auto)]
    compute: Products,
    /// Where the model computes (model folders only): auto, cpu, cuda, or cuda:1 for the second card
    #[arg(long, value_name = "DEVICE", default_value = "auto", conflicts_with = "endpoint")]
    device: Device,
    /// The ontology file
    #[arg(long, value_name = "FILE")]
    ontology: PathBuf,
    /// The documents, in any corpus format
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The prediction file to write: JSON lines of doc_key, sent and output; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What one prompt shows: sentence or document
    #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
    level: Level,
    /// How the model writes its answers (model folders only): list, or marked, as in the run that trained it (answer.form)
    #[arg(long, value_name = "FORM", default_value = "list", value_parser = parse_form, conflicts_with = "endpoint")]
    form: AnswerForm,
    /// Most tokens of an answer (model folders only)
    #[arg(long, value_name = "N", default_value = "512", value_parser = range::ANSWER.parser::<usize>(), allow_negative_numbers = true)]
    max_new_tokens: usize,
    /// Most sequences decoded together, which changes no answer (model folders only)
    #[arg(long, value_name = "N", default_value = "32", value_parser = range::BATCH.parser::<usize>(), allow_negative_numbers = true)]
    batch_size: usize,
    /// Memory to stay below if possible, in GB: fewer sequences are decoded together (model folders only)
    #[arg(long, value_name = "GB", value_parser = range::MEMORY.parser(), allow_negative_numbers = true, conflicts_with = "endpoint")]
    memory_gb: Option<f64>,
    /// Constrain decoding to valid, grounded answers (model folders only)
    #[arg(long, conflicts_with = "endpoint")]
    constrained: bool,
    /// Write another entity where its probability, against the end of the list, is above P, instead of 1/2 as greedy
    /// decoding does (model folders only); `tabpo thresholds` finds the best value
    #[arg(long, value_name = "P", default_value = "0.5", value_parser = range::THRESHOLD.parser(), allow_negative_numbers = true, conflicts_with = "endpoint")]
    threshold_entities: f64,
    /// The same for relations
    #[arg(long, value_name = "P", default_value = "0.5", value_parser = range::THRESHOLD.parser(), allow_negative_numbers = true, conflicts_with = "endpoint")]
    threshold_relations: f64,
    /// Answers to each prompt, sampled with --temperature (model folders only), from which on-policy pairs can be made
    #[arg(long, value_name = "N", default_value = "1", value_parser = range::FEW.parser::<u32>(), allow_negative_numbers = true, conflicts_with = "endpoint")]
    samples: u32,
    /// Seed of the sampling (model folders only)
    #[arg(long, value_name = "S", default_value_t = 0, conflicts_with = "endpoint")]
    seed: u64,
    /// Print what was written, or what the answers of an endpoint cost, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Writes the predictions. An interrupted job resumes where it was.
pub(crate) fn run(arguments: &PredictArgs, context: &Context) -> Result<(), CliError> {
    let temperature = arguments.remote.temperature.0.unwrap_or(1.0);
    range::TEMPERATURE.check("--temperature", temperature)?;
    if arguments.remote.endpoint.is_none() && arguments.samples > 1 && temperature <= 0.0 {
        return Err(CliError::input("all samples would be the same").with_hint("give a --temperature above 0"));
    }
    let thresholds = Thresholds { entities: arguments.threshold_entities, relations: arguments.threshold_relations };
    if thresholds != Thresholds::GREEDY && temperature > 0.0 {
        return Err(CliError::input("--threshold-entities and --threshold-relations need greedy decoding")
            .with_hint("leave --temperature at 0"));
    }
    if thresholds != Thresholds::GREEDY && arguments.form == AnswerForm::Marked {
        return Err(CliError::input("--threshold-entities and --threshold-relations need answers in the form `list`")
            .with_hint("they decide where lists end; leave them out with --form marked"));
    }
    let ontology = Ontology::read(&arguments.ontology).or_input()?;
    let read = |path| Ok::<_, CliError>(arguments.read.read(path, None, &ontology, context)?.documents);
    let documents = read(&arguments.data)?;
    if let Some(endpoint) = &arguments.remote.endpoint {
        let from = arguments.remote.demonstrations_from.as_ref();
        let demonstrations = from.map(|path| read(path)).transpose()?.unwrap_or_default();
        let job = RemoteJob {
            name: &arguments.model,
            ontology: &ontology,
            documents: &documents,
            demonstrations: &demonstrations,
            level: arguments.level,
            out: &arguments.out,
            cache: &arguments.remote.cache,
            section: None,
        };
        return run_remote(&arguments.remote, endpoint, &arguments.model, &job, arguments.json, context);
    }
    let (policy, renderer) = open_model(
        arguments.model.as_ref(),
        arguments.adapter.as_deref(),
        arguments.chat_template.as_deref(),
        arguments.compute,
        &ontology,
        arguments.form,
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
        name: "predict",
        policy: &policy,
        device: &LazyDevice::choose(arguments.device, arguments.compute.into())?,
        renderer: &renderer,
        ontology: &ontology,
        form: arguments.form,
        level: arguments.level,
        settings: &settings,
        samples: arguments.samples as usize,
        sampling: Sampling { temperature, top_p: 1.0, seed: arguments.seed },
        list_ends: ListEnds::at(thresholds),
        strict: arguments.read.strict,
    };
    let id = prediction.identity(&documents)?;
    let started = Instant::now();
    prediction.write(&documents, &arguments.out, &id, context)?;
    let written = Written::read(&arguments.out, &ontology, started.elapsed().as_secs_f64())?;
    if arguments.json {
        return output::print_json_beside(&arguments.out, &written);
    }
    written.say(context);
    Ok(())
}

/// What was written.
#[derive(Serialize)]
struct Written<'o> {
    out: &'o Path,
    /// Answers in all, and valid ones; `None` where they went to a pipe, which can't be read again.
    answers: Option<usize>,
    valid: Option<usize>,
    seconds: f64,
}

impl<'o> Written<'o> {
    /// Counts the answers in a file.
    fn read(out: &'o Path, ontology: &Ontology, seconds: f64) -> Result<Self, CliError> {
        if !out.is_file() {
            return Ok(Self { out, answers: None, valid: None, seconds });
        }
        let (mut answers, mut valid) = (0_usize, 0_usize);
        let file = BufReader::new(File::open(out).or_failed()?);
        for line in file.lines() {
            let answer: UnitOutput = serde_json::from_str(&line.or_failed()?).or_failed()?;
            answers += 1;
            valid += usize::from(parse_as(&answer.output, ontology, answer.form).valid_at(Tier::References));
        }
        Ok(Self { out, answers: Some(answers), valid: Some(valid), seconds })
    }

    fn say(&self, context: &Context) {
        let Self { out, seconds, .. } = self;
        if let (Some(answers), Some(valid)) = (self.answers, self.valid) {
            let rate = answers as f64 / seconds.max(1e-3);
            context.say(format!(
                "wrote {answers} answers to {} in {seconds:.1} s, {rate:.1} a second; {valid} of them are valid",
                out.display()
            ));
        }
    }
}
