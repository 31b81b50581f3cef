//! `tabpo review`: predictions are accepted and corrected in the browser, and become curated documents.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, canonical};
use tabpo_corpus::{Document, Level, Span, Unit};
use tabpo_engine::{Compute, Sampling};
use tabpo_metrics::Predictions;
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_review::{Confidence, Material, ReviewError, ReviewSite, Session, Summary, UnitState};

use super::{
    parse_form, parse_level,
    serving::{show, start},
};
use crate::{
    config::PredictSection,
    corpora::ReadArgs,
    device::LazyDevice,
    error::{CliError, ResultExt, input_error},
    output::{self, Context},
    run::{AnswerConfidence, ListEnds, PolicyFolder, Prediction, Renderer, SystemAnswers, confidences},
};

/// What the review leaves behind, and what it is for.
pub(super) const FILES: &str = "\
The review folder (--out) keeps journal.jsonl with every decision, curated.jsonl with the confirmed texts and patterns.toml \
with ambiguity patterns that the corrections propose. A run takes them with --set data.curated=FILE and \
--set pairs.patterns=FILE. The page is served to this machine only, at an address that holds a secret. Ctrl-C ends the \
review; the same command goes on with it.";

/// Arguments of `tabpo review`.
#[derive(clap::Args)]
pub(crate) struct ReviewArgs {
    /// The directory of a run, such as runs/quickstart
    #[arg(value_name = "RUN", required_unless_present = "data", conflicts_with_all = ["pred", "ontology", "level", "model"])]
    run: Option<PathBuf>,
    /// The system of the run whose answers are reviewed [default: the last of its objectives]
    #[arg(long, value_name = "NAME", requires = "run")]
    system: Option<String>,
    /// The documents of the predictions, in any corpus format; with RUN, documents that the system answers first
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// A prediction file, as `tabpo predict` writes it; without it and RUN, every text begins without annotation
    #[arg(long, value_name = "FILE", requires = "data")]
    pred: Option<PathBuf>,
    /// The ontology file
    #[arg(long, value_name = "FILE", requires = "data")]
    ontology: Option<PathBuf>,
    /// What is reviewed at once: sentence or document; with RUN, as the run has it
    #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
    level: Level,
    /// The model that made the predictions, so that the least certain decisions come first; with RUN, it is known
    #[arg(long, value_name = "MODEL", requires = "pred")]
    model: Option<PathBuf>,
    /// How that model writes its answers: list, or marked, as in the run that trained it (answer.form)
    #[arg(long, value_name = "FORM", default_value = "list", value_parser = parse_form, requires = "model")]
    form: AnswerForm,
    /// Which texts come first: those with the least certain decisions, or as in the documents, for which no model is read
    #[arg(long, value_enum, default_value_t = OrderChoice::Confidence)]
    order: OrderChoice,
    /// The review folder [default: RUN/review/SYSTEM, or beside the predictions]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// The port of 127.0.0.1 to serve the page on [default: any free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    port: Option<u16>,
    #[command(flatten)]
    read: ReadArgs,
}

/// The choices of `--order`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OrderChoice {
    Confidence,
    Documents,
}

/// What is reviewed.
struct Subject {
    title: String,
    ontology: Ontology,
    level: Level,
    documents: Vec<Document>,
    predictions: Option<PathBuf>,
    /// The model that made the predictions, and its chat template.
    model: Option<Model>,
    folder: PathBuf,
}

/// Serves the review until the user ends it.
pub(crate) fn run(arguments: &ReviewArgs, context: &Context) -> Result<(), CliError> {
    let subject = match &arguments.run {
        Some(run) => of_run(run, arguments, context)?,
        None => of_files(arguments, context)?,
    };
    let Subject { title, ontology, level, documents, predictions, model, folder } = subject;
    let mut predictions = predictions.map(|path| Predictions::open(&path)).transpose().or_input()?;
    let material = Material::new(&title, ontology, level, documents, predictions.as_mut()).map_err(refused)?;
    let mut session = Session::open(&folder, material).map_err(refused)?;
    drop(predictions);
    if let Some(model) = model.filter(|_| arguments.order == OrderChoice::Confidence) {
        score(&mut session, &model, &folder, context)?;
    }
    let before = session.summary();
    if before.damaged > 0 {
        context.warn(format!("{} decisions in {} were damaged and are left out", before.damaged, folder.display()));
    }
    let order =
        if session.has_confidence() { "the least certain decisions first" } else { "in the order of the documents" };
    context.say(format!("{title}: {} of {} texts are confirmed; {order}", before.confirmed, before.texts));
    let session = Arc::new(Mutex::new(session));
    let server = start(arguments.port, Arc::new(ReviewSite::new(Arc::clone(&session))))?;
    output::print_line(server.url())?;
    if arguments.open {
        show(&server, context);
    }
    context.say("every decision is saved at once; Ctrl-C ends the review");
    context.wait_for_interrupt();
    server.stop();
    let session = session.lock().unwrap_or_else(PoisonError::into_inner);
    report(&session, context)
}

/// Says what came of the review and how a run uses it.
fn report(session: &Session, context: &Context) -> Result<(), CliError> {
    let Summary { texts, confirmed, corrections, patterns, .. } = session.summary();
    context.say(format!(
        "{confirmed} of {texts} texts confirmed, {corrections} corrections, {patterns} patterns proposed"
    ));
    if confirmed == 0 {
        return Ok(());
    }
    let place = |path: PathBuf| path.canonicalize().unwrap_or(path);
    let mut next = format!("--set {}", shell(&format!("data.curated={}", place(session.curated()).display())));
    if patterns > 0 {
        next += &format!(" --set {}", shell(&format!("pairs.patterns={}", place(session.patterns()).display())));
    }
    context.say("the next run takes it with");
    output::print_line(format!("tabpo run CONFIG {next}"))
}

/// A word of a command line, in quotes where a shell needs them.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./,:+@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn refused(error: ReviewError) -> CliError {
    let hint = error.hint();
    input_error(error, hint)
}

/// A prediction file with its documents, or documents alone.
fn of_files(arguments: &ReviewArgs, context: &Context) -> Result<Subject, CliError> {
    let Some(ontology) = &arguments.ontology else {
        return Err(
            CliError::input("nothing says which labels there are").with_hint("name the ontology file with --ontology")
        );
    };
    let ontology = Ontology::read(ontology).or_input()?;
    let data = arguments.data.as_deref().expect("it is required without RUN");
    let documents = arguments.read.read(data, None, &ontology, context)?.documents;
    let named = arguments.pred.as_deref().unwrap_or(data);
    Ok(Subject {
        title: named.display().to_string(),
        level: arguments.level,
        documents,
        predictions: arguments.pred.clone(),
        model: arguments.model.clone().map(|folder| Model {
            folder,
            compute: Compute::Auto,
            form: arguments.form,
            template: None,
        }),
        folder: arguments.out.clone().unwrap_or_else(|| named.with_extension("review")),
        ontology,
    })
}

/// The answers of a run's system to its own documents, or to others.
fn of_run(run: &Path, arguments: &ReviewArgs, context: &Context) -> Result<Subject, CliError> {
    let found = SystemAnswers::open(run, arguments.system.as_deref(), context)?;
    if arguments.system.is_none() && found.systems.len() > 1 {
        context.say(format!("system {}; --system chooses among {}", found.system, found.systems.join(", ")));
    }
    let folder = |name: &str| arguments.out.clone().unwrap_or_else(|| run.join("review").join(name));
    let SystemAnswers { system, ontology, form, level, template, compute, .. } = found;
    let model = found.model.map(|folder| Model { folder, compute, form, template });
    let Some(data) = &arguments.data else {
        context.warn(format!(
            "these are the {0} documents of the run: once a run learns from them, it needs other {0} documents",
            found.split
        ));
        return Ok(Subject {
            title: format!("{system} of {}, {} documents", found.run, found.split),
            folder: folder(&system),
            documents: found.documents,
            predictions: Some(found.predictions),
            ontology,
            level,
            model,
        });
    };
    let Some(model) = model else {
        return Err(CliError::input(format!("`{system}` is a hosted model, which cannot be asked from here")).with_hint(
            "have it answer with `tabpo predict --endpoint`, and review the file with --pred, --data and --ontology",
        ));
    };
    let documents = arguments.read.read(data, None, &ontology, context)?.documents;
    let stem = data.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = folder(&format!("{system}-{stem}"));
    let predictions = answer(&model, &documents, (&ontology, level), &folder, context)?;
    let title = format!("{system} of {}, {}", found.run, data.display());
    Ok(Subject { title, ontology, level, documents, predictions: Some(predictions), model: Some(model), folder })
}

/// A model, how it computes and answers, and its chat template if that is not its own.
struct Model {
    folder: PathBuf,
    compute: Compute,
    form: AnswerForm,
    template: Option<String>,
}

fn open(model: &Model, ontology: &Ontology, context: &Context) -> Result<(PolicyFolder, Renderer), CliError> {
    let Model { folder, compute, form, template } = model;
    let policy = PolicyFolder::resolve(folder, None, *compute, context)?.measured(context)?;
    let renderer = Renderer::open(&policy, ontology, *form, template.as_deref(), context)?;
    Ok((policy, renderer))
}

/// Has a model answer documents, unless it has. Returns the prediction file, which is in the review folder.
fn answer(
    model: &Model,
    documents: &[Document],
    (ontology, level): (&Ontology, Level),
    folder: &Path,
    context: &Context,
) -> Result<PathBuf, CliError> {
    let (policy, renderer) = open(model, ontology, context)?;
    let prediction = Prediction {
        name: "predict",
        policy: &policy,
        device: &LazyDevice::cpu(),
        renderer: &renderer,
        ontology,
        form: model.form,
        level,
        settings: &PredictSection::default(),
        samples: 1,
        sampling: Sampling::GREEDY,
        list_ends: ListEnds::GREEDY,
        strict: false,
    };
    let id = prediction.identity(documents)?;
    let path = folder.join(format!("predictions-{id}.jsonl"));
    if !path.exists() {
        prediction.write(documents, &path, &id, context)?;
    }
    Ok(path)
}

/// Computes how sure the model was of every prediction; what is computed is kept in the review folder.
fn score(session: &mut Session, model: &Model, folder: &Path, context: &Context) -> Result<(), CliError> {
    let material = session.material();
    let ontology = material.ontology();
    let (policy, renderer) = open(model, ontology, context)?;
    let answers: Vec<(Unit<'_>, Answer)> =
        material.predicted().map(|(unit, state)| (unit, written(&unit, state, ontology))).collect();
    let cache = folder.join("log-probs.bin");
    let scored = confidences(&policy, &renderer, (ontology, model.form), &answers, Some(&cache), context)?;
    let confidence: Vec<Option<Confidence>> = material
        .predicted()
        .zip(answers.iter().zip(scored))
        .map(|((unit, state), ((_, answer), scored))| Some(in_order(&unit, state, answer, &scored?, ontology)))
        .collect();
    let unscored = confidence.iter().filter(|one| one.is_none()).count();
    if unscored > 0 {
        context.warn(format!(
            "{unscored} answers cannot be weighed by the model: they are too long for it, or not of its form"
        ));
    }
    session.set_confidence(confidence);
    Ok(())
}

/// The place and label of a predicted entity.
fn entity(unit: &Unit<'_>, state: &tabpo_review::EntityState, ontology: &Ontology) -> Option<AnswerEntity> {
    let first = unit.span().start;
    let span = Span::new(state.start + first, state.end + first);
    let label = ontology.entity_named(&state.label)?;
    let subtype = match &state.subtype {
        Some(name) => Some(ontology.subtype_named(label, name)?),
        None => None,
    };
    let text = unit.document.span_text(span).to_owned();
    Some(AnswerEntity { text, span: Some(span), label, subtype, occurrence: None })
}

/// A prediction as a canonical answer, which is what the model wrote if that was valid.
fn written(unit: &Unit<'_>, state: &UnitState, ontology: &Ontology) -> Answer {
    let entities = state.entities.iter().filter_map(|one| entity(unit, one, ontology)).collect();
    let relations = state.relations.iter().filter_map(|one| {
        Some(AnswerRelation { head: one.head, tail: one.tail, label: ontology.relation_named(&one.label)? })
    });
    canonical(unit, entities, relations.collect())
}

/// The confidence of a canonical answer in the order of the prediction.
fn in_order(
    unit: &Unit<'_>,
    state: &UnitState,
    answer: &Answer,
    scored: &AnswerConfidence,
    ontology: &Ontology,
) -> Confidence {
    let places: HashMap<_, usize> =
        answer.entities.iter().enumerate().map(|(at, one)| ((one.span, one.label, one.subtype), at)).collect();
    let position = |id: u32| {
        let one = entity(unit, state.entities.get(id as usize)?, ontology)?;
        places.get(&(one.span, one.label, one.subtype)).copied()
    };
    let certain = [1.0; 2];
    let entities = state.entities.iter().map(|one| position(one.id).map_or(certain, |at| scored.entities[at]));
    let relations = state.relations.iter().map(|one| {
        let same = |other: &AnswerRelation| {
            Some((Some(other.head as usize), Some(other.tail as usize), other.label))
                == ontology.relation_named(&one.label).map(|label| (position(one.head), position(one.tail), label))
        };
        answer.relations.iter().position(same).map_or(certain, |at| scored.relations[at])
    });
    Confidence { entities: entities.collect(), relations: relations.collect(), complete: scored.complete.clone() }
}
