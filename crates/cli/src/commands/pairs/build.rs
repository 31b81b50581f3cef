//! `tabpo pairs build`: negatives for annotated documents.

use std::{
    cell::RefCell,
    collections::HashMap,
    path::{Path, PathBuf},
    time::Instant,
};

use tabpo_corpus::{Document, Format, Level, Unit};
use tabpo_engine::Compute;
use tabpo_metrics::{Predictions, RawAnswer};
use tabpo_model::Tokenizer;
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_pairs::{
    BuildSettings, BuildSummary, Mix, ModeRates, PairBuilder, PairRecord, Patterns, Source, SourceShares, Tokenize,
    Weighting,
};
use tabpo_report::{Alignment, Table};

use super::read_errors;
use crate::{
    commands::{parse_form, parse_level},
    corpora::ReadArgs,
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    run::PolicyFolder,
    tables::{self, percent},
    writing::{create, finish},
};

/// How kinds, patterns and modes come to their shares, for `--help`.
const SHARES: &str = "\
Every kind of edit gets its share of --mix. Within a kind, the sources share as --sources says: patterns \
by their weights, modes by their smoothed rates. Where a source has nothing to offer, the others take its \
share. Shares are met over the corpus, because one example cannot host every edit. A mode that validation \
never showed and that no pattern names is never used; examples without entities get insertions.";

/// Arguments of `tabpo pairs build`.
#[derive(clap::Args)]
#[command(after_help = SHARES)]
pub(crate) struct BuildArgs {
    /// The ontology file
    #[arg(long, value_name = "FILE")]
    ontology: PathBuf,
    /// The annotated documents: a file, or a directory of brat files
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The format of the documents; recognised by content if not given
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    read: ReadArgs,
    /// Error modes of validation predictions, as `tabpo errors` writes them
    #[arg(long, value_name = "FILE")]
    errors: PathBuf,
    /// Ambiguity patterns
    #[arg(long, value_name = "FILE")]
    patterns: Option<PathBuf>,
    /// Negatives for each example
    #[arg(long, value_name = "K", value_parser = range::FEW.parser::<u32>(), allow_negative_numbers = true)]
    per_example: u32,
    /// Where all randomness comes from
    #[arg(long, value_name = "S")]
    seed: u64,
    /// The pair file to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Who proposes edits: pattern, mode, on-policy, random, with shares if wanted
    /// (pattern=0.6,mode=0.4); without it, those for which files are given
    #[arg(long, value_name = "SOURCES")]
    sources: Option<String>,
    /// Shares of the kinds of edits (label=0.5,direction=0.2), or `errors` for the proportion that
    /// validation showed. The kinds: label, subtype, relation-label, direction, argument, boundary,
    /// drop-entity, add-entity, drop-relation, add-relation, grounding, occurrence
    #[arg(long, value_name = "MIX")]
    mix: Option<String>,
    /// What an example is: sentence or document
    #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
    level: Level,
    /// Edits in each negative
    #[arg(long, value_name = "N", default_value = "1", value_parser = range::Whole::new(1, 100).parser::<u8>(), allow_negative_numbers = true)]
    edits: u8,
    /// How the pairs of one example are weighted: equal, or share, in proportion to the share of the
    /// pattern or mode behind each
    #[arg(long, value_name = "RULE", default_value = "equal", value_parser = parse_weighting)]
    weighting: Weighting,
    /// How answers are written: list or marked
    #[arg(long, value_name = "FORM", default_value = "list", value_parser = parse_form)]
    form: AnswerForm,
    /// The model folder or GGUF file whose tokenizer measures edit distances; characters if not given
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// The model's own answers to the same examples, for on-policy negatives
    #[arg(long, value_name = "FILE")]
    on_policy: Option<PathBuf>,
    /// Write what was built, against what was asked for, as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &BuildArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.ontology).or_input()?;
    let errors = read_errors(&arguments.errors)?;
    for note in &errors.notes {
        context.warn(format!("{}: {note}", arguments.errors.display()));
    }
    let rates = ModeRates::new(&errors, &ontology, ModeRates::SMOOTHING)
        .or_input()
        .map_err(|error| error.context(format!("{} does not fit the ontology", arguments.errors.display())))?;
    let patterns = match &arguments.patterns {
        Some(path) => Patterns::read(path, &ontology).or_input()?,
        None => Patterns::default(),
    };
    let policy = |folder: &Path| PolicyFolder::resolve(folder, None, Compute::default(), context);
    let policy = arguments.tokenizer.as_deref().map(policy).transpose()?;
    let tokenizer = policy.map(|policy| Tokenizer::open(policy.tokenizer_folder())).transpose().or_input()?;
    let tokenize = tokenizer.as_ref().map(|tokenizer| {
        |text: &str| tokenizer.encode_text(text).expect("a byte-level or fully covered vocabulary encodes every answer")
    });
    let tokenize: Option<Tokenize> = tokenize.as_ref().map(|tokenize| tokenize as _);
    let mut predictions = arguments.on_policy.as_deref().map(Predictions::open).transpose().or_input()?;
    let settings = BuildSettings {
        per_example: arguments.per_example as usize,
        seed: arguments.seed,
        level: arguments.level,
        mix: read_mix(arguments, &rates)?,
        sources: read_sources(arguments)?,
        edits: usize::from(arguments.edits),
        weighting: arguments.weighting,
        form: arguments.form,
    };
    let started = Instant::now();
    let mut builder = PairBuilder::new(&ontology, &patterns, &rates, settings, tokenize);
    let mut out = create(&arguments.out)?;
    // The answers to the documents that are worked on, by example.
    let answers: RefCell<HashMap<(String, Option<u32>), RawAnswer>> = RefCell::default();
    let mut with_answers = |document: Result<Document, CliError>| {
        let document = document?;
        if let Some(predictions) = &mut predictions {
            let outputs = predictions.outputs(&document, arguments.level, &ontology).or_input()?;
            let keyed = outputs.into_iter().map(|(sentence, output)| ((document.key.clone(), sentence), output));
            answers.borrow_mut().extend(keyed);
        }
        Ok(document)
    };
    let mut unanswered = 0_u64;
    let own = |unit: &Unit| {
        let own = answers.borrow_mut().remove(&(unit.document.key.clone(), unit.sentence));
        unanswered += u64::from(own.is_none());
        own.into_iter().collect()
    };
    let sink = |record: PairRecord| {
        if context.interrupted() {
            return Err(CliError::interrupted("no pairs were written"));
        }
        record.write(&mut out).or_failed()
    };
    match tabpo_corpus::stream(&arguments.data, arguments.format, &ontology).or_input()? {
        Some(mut documents) => {
            builder.build(documents.by_ref().map(|document| with_answers(document.or_input())), own, sink)?;
            arguments.read.heed(&arguments.data, documents.notes(), context)?;
        }
        None => {
            let loaded = arguments.read.read(&arguments.data, arguments.format, &ontology, context)?;
            builder.build(loaded.documents.into_iter().map(|document| with_answers(Ok(document))), own, sink)?;
        }
    }
    let summary = builder.summary();
    if summary.examples == 0 {
        return Err(CliError::input(format!("{} holds no documents", arguments.data.display())));
    }
    if let Some(predictions) = &predictions {
        predictions.finish().or_input()?;
    }
    if summary.kinds.is_empty() {
        return Err(CliError::input(format!(
            "nothing to build: {} shows no mode of the wanted kinds",
            arguments.errors.display()
        ))
        .with_hint("name ambiguity patterns with --patterns, or another source with --sources"));
    }
    finish(out, &arguments.out)?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = summary.pairs as f64 / seconds.max(1e-9) * 60.0;
    context.say(format!("{} pairs in {seconds:.1} s ({:.2} million a minute)", summary.pairs, rate / 1e6));
    if summary.short > 0 {
        context.warn(format!("{} of {} examples have fewer negatives than asked for", summary.short, summary.examples));
    }
    if summary.unmarkable > 0 {
        context.warn(format!(
            "{} of {} examples have mentions that cross, which cannot be marked: they have no pairs",
            summary.unmarkable, summary.examples
        ));
    }
    if let (Some(path), 1..) = (&arguments.on_policy, unanswered) {
        context.warn(format!("{}: {unanswered} of {} examples have no answer", path.display(), summary.examples));
    }
    if arguments.json {
        output::print_json_beside(&arguments.out, &summary)
    } else {
        output::print_beside(&arguments.out, &summary_text(&summary))
    }
}

fn parse_weighting(name: &str) -> Result<Weighting, String> {
    match name {
        "equal" => Ok(Weighting::Equal),
        "share" => Ok(Weighting::Share),
        _ => Err("valid: equal, share".to_owned()),
    }
}

fn read_mix(arguments: &BuildArgs, rates: &ModeRates) -> Result<Mix, CliError> {
    match arguments.mix.as_deref() {
        None => Ok(Mix::default()),
        Some("errors") => Mix::of_modes(rates),
        Some(text) => Mix::parse(text),
    }
    .or_input()
    .map_err(|error| error.context("--mix"))
}

fn read_sources(arguments: &BuildArgs) -> Result<SourceShares, CliError> {
    let text = arguments.sources.clone().unwrap_or_else(|| {
        let pattern = arguments.patterns.is_some().then_some("pattern");
        let own = arguments.on_policy.is_some().then_some("on-policy");
        pattern.into_iter().chain(["mode"]).chain(own).collect::<Vec<_>>().join(",")
    });
    let sources = SourceShares::parse(&text).or_input().map_err(|error| error.context("--sources"))?;
    let missing = |source, given: bool| !given && sources.share(source) > 0.0;
    if missing(Source::Pattern, arguments.patterns.is_some()) {
        return Err(CliError::input("--sources names patterns").with_hint("give their file with --patterns"));
    }
    if missing(Source::OnPolicy, arguments.on_policy.is_some()) {
        return Err(CliError::input("--sources names on-policy answers").with_hint("give their file with --on-policy"));
    }
    Ok(sources)
}

fn summary_text(summary: &BuildSummary) -> String {
    let columns = [
        ("Kind", Alignment::Left),
        ("Source", Alignment::Left),
        ("Pattern or mode", Alignment::Left),
        ("Wanted %", Alignment::Right),
        ("Made %", Alignment::Right),
        ("Count", Alignment::Right),
    ];
    let mut table = Table::new(columns);
    for share in &summary.kinds {
        let row = |source: &str, name: &str, wanted, realised, count: u64| {
            [
                share.kind.name().to_owned(),
                source.to_owned(),
                name.to_owned(),
                percent(wanted),
                percent(realised),
                count.to_string(),
            ]
        };
        table.push(row("all", "", share.wanted, share.realised, share.count));
        for way in summary.ways.iter().filter(|way| way.kind == share.kind) {
            table.push(row(way.source.name(), &way.name, way.wanted, way.realised, way.count));
        }
    }
    format!(
        "{}\n{} examples, {} pairs; the kinds are {} points (total variation) from the mix\n",
        tables::shown(&table),
        summary.examples,
        summary.pairs,
        percent(summary.kind_distance)
    )
}
