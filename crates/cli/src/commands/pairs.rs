//! `tabpo pairs`: build preference pairs, look at them, export them, and try ambiguity patterns.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::json;
use tabpo_corpus::{Document, Format, Level, Unit};
use tabpo_engine::Tokenizer;
use tabpo_files::Replacement;
use tabpo_metrics::{ErrorModes, UnitOutput};
use tabpo_ontology::Ontology;
use tabpo_pairs::{
    BuildSettings, BuildSummary, Distances, ExportFormat, Mix, ModeRates, PairBuilder, PairRecord, PairStats,
    PatternMatcher, Patterns, SourceShares, StatsCollector, Tokenize, export,
};
use tabpo_report::{Alignment, Table};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    tables::percent,
};

/// Arguments of `tabpo pairs`.
#[derive(clap::Args)]
pub struct PairsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make negatives for annotated documents
    Build(BuildArgs),
    /// Count kinds, sources, label changes and edit distances of a pair file
    Stats(StatsArgs),
    /// Write a pair file in the form of another trainer
    Export(ExportArgs),
    /// Check ambiguity patterns, or show where they fire
    #[command(subcommand)]
    Patterns(PatternAction),
}

#[derive(clap::Args)]
struct BuildArgs {
    /// The ontology file
    #[arg(long, value_name = "FILE")]
    ontology: PathBuf,
    /// The annotated documents: a file, or a directory of brat files
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The format of the documents; recognised by content if not given
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Error modes of validation predictions, as `tabpo errors` writes them
    #[arg(long, value_name = "FILE")]
    errors: PathBuf,
    /// Ambiguity patterns
    #[arg(long, value_name = "FILE")]
    patterns: Option<PathBuf>,
    /// Negatives for each example
    #[arg(long, value_name = "K")]
    per_example: usize,
    /// Where all randomness comes from
    #[arg(long, value_name = "S")]
    seed: u64,
    /// The pair file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Who proposes edits: pattern, mode, on-policy, random, with shares if wanted
    /// (pattern=0.6,mode=0.4); without it, those for which files are given
    #[arg(long, value_name = "SOURCES")]
    sources: Option<String>,
    /// Shares of the kinds of edits (label=0.5,direction=0.2,...), or `errors` for the proportion
    /// that validation showed
    #[arg(long, value_name = "MIX")]
    mix: Option<String>,
    /// What an example is: sentence or document
    #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
    level: Level,
    /// Edits in each negative
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    edits: u8,
    /// The model folder whose tokenizer measures edit distances; characters if not given
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// The model's own answers to the same examples, for on-policy negatives
    #[arg(long, value_name = "FILE")]
    on_policy: Option<PathBuf>,
    /// Write what was built, against what was asked for, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct StatsArgs {
    /// The pair file
    file: PathBuf,
    /// Error modes to compare label changes with
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ExportArgs {
    /// The pair file
    file: PathBuf,
    /// The form: trl (text) or trl-chat (messages)
    #[arg(long, value_name = "FORM", value_parser = parse_export)]
    format: ExportFormat,
    /// The ontology whose instructions go before every source
    #[arg(long, value_name = "FILE")]
    ontology: Option<PathBuf>,
    /// The file to write; standard output if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum PatternAction {
    /// Read a pattern file and say what it holds, or what is wrong with it
    Check {
        /// The pattern file
        file: PathBuf,
        /// The ontology file
        #[arg(long, value_name = "FILE")]
        ontology: PathBuf,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show where the patterns of a file fire in a corpus
    Match {
        /// The pattern file
        file: PathBuf,
        /// The ontology file
        #[arg(long, value_name = "FILE")]
        ontology: PathBuf,
        /// The annotated documents
        #[arg(long, value_name = "FILE")]
        data: PathBuf,
        /// What an example is: sentence or document
        #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
        level: Level,
        /// Write every match as a line of JSON instead of counts
        #[arg(long)]
        json: bool,
    },
}

fn parse_level(text: &str) -> Result<Level, String> {
    match text {
        "sentence" => Ok(Level::Sentence),
        "document" => Ok(Level::Document),
        _ => Err("give `sentence` or `document`".to_owned()),
    }
}

fn parse_export(text: &str) -> Result<ExportFormat, String> {
    match text {
        "trl" => Ok(ExportFormat::Trl),
        "trl-chat" => Ok(ExportFormat::TrlChat),
        _ => Err("give `trl` or `trl-chat`".to_owned()),
    }
}

/// Runs the command.
pub fn run(arguments: PairsArgs, context: &Context) -> Result<(), CliError> {
    match arguments.action {
        Action::Build(arguments) => build(&arguments, context),
        Action::Stats(arguments) => stats(&arguments),
        Action::Export(arguments) => write_export(&arguments),
        Action::Patterns(PatternAction::Check { file, ontology, json }) => check_patterns(&file, &ontology, json),
        Action::Patterns(PatternAction::Match { file, ontology, data, level, json }) => {
            match_patterns(&file, &ontology, &data, level, json)
        }
    }
}

fn build(arguments: &BuildArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.ontology).or_input()?;
    let rates = ModeRates::new(&read_errors(&arguments.errors)?, &ontology, ModeRates::SMOOTHING)
        .or_input()
        .map_err(|error| error.context(format!("{} does not fit the ontology", arguments.errors.display())))?;
    let patterns = match &arguments.patterns {
        Some(path) => Patterns::read(path, &ontology).or_input()?,
        None => Patterns::default(),
    };
    let tokenizer = arguments.tokenizer.as_deref().map(Tokenizer::open).transpose().or_input()?;
    let tokenize = tokenizer.as_ref().map(|tokenizer| {
        |text: &str| tokenizer.encode(text).expect("a byte-level or fully covered vocabulary encodes every answer")
    });
    let tokenize: Option<Tokenize> = tokenize.as_ref().map(|tokenize| tokenize as _);
    let mut answers = arguments.on_policy.as_deref().map(read_answers).transpose()?.unwrap_or_default();
    let settings = BuildSettings {
        per_example: arguments.per_example,
        seed: arguments.seed,
        level: arguments.level,
        mix: read_mix(arguments, &rates)?,
        sources: read_sources(arguments)?,
        edits: usize::from(arguments.edits),
        ..BuildSettings::default()
    };
    let started = Instant::now();
    let mut builder = PairBuilder::new(&ontology, &patterns, &rates, settings, tokenize);
    let mut out = create(&arguments.out)?;
    let own = |unit: &Unit| answers.remove(&(unit.document.key.clone(), unit.sentence)).unwrap_or_default();
    let sink = |record: PairRecord| {
        if context.interrupted() {
            return Err(CliError::interrupted("no pairs were written"));
        }
        record.write(&mut out).or_failed()
    };
    let format = match arguments.format {
        Some(format) => format,
        None => Format::detect(&arguments.data).or_input()?,
    };
    match tabpo_corpus::stream(&arguments.data, format, &ontology).or_input()? {
        Some(documents) => builder.build(documents.map(ResultExt::or_input), own, sink)?,
        None => {
            let loaded = tabpo_corpus::read(&arguments.data, Some(format), &ontology).or_input()?;
            builder.build(loaded.documents.into_iter().map(Ok), own, sink)?;
        }
    }
    out.finish().or_failed()?;
    let summary = builder.summary();
    if summary.examples == 0 {
        return Err(CliError::input(format!("{} holds no documents", arguments.data.display())));
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = summary.pairs as f64 / seconds.max(1e-9) * 60.0;
    context.say(format!("{} pairs in {seconds:.1} s ({:.2} million a minute)", summary.pairs, rate / 1e6));
    if summary.short > 0 {
        context.warn(format!("{} of {} examples have fewer negatives than asked for", summary.short, summary.examples));
    }
    if !answers.is_empty() {
        context.warn(format!("{} answers belong to no example of {}", answers.len(), arguments.data.display()));
    }
    if arguments.json { output::print_json(&summary) } else { output::print(&summary_text(&summary)) }
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
    if missing(tabpo_pairs::Source::Pattern, arguments.patterns.is_some()) {
        return Err(CliError::input("--sources names patterns").with_hint("give their file with --patterns"));
    }
    if missing(tabpo_pairs::Source::OnPolicy, arguments.on_policy.is_some()) {
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
        table.plain(None),
        summary.examples,
        summary.pairs,
        percent(summary.kind_distance)
    )
}

fn stats(arguments: &StatsArgs) -> Result<(), CliError> {
    let errors = arguments.errors.as_deref().map(read_errors).transpose()?;
    let mut collector = StatsCollector::default();
    for record in read_pairs(&arguments.file)? {
        collector.add(&record?);
    }
    let stats = collector.finish(errors.as_ref());
    if arguments.json { output::print_json(&stats) } else { output::print(&stats_text(&stats)) }
}

fn stats_text(stats: &PairStats) -> String {
    let distance_columns = ["Median", "Mean", "90 %", "Max"].map(|name| (name, Alignment::Right));
    let lead = [("Kind", Alignment::Left), ("Pairs", Alignment::Right), ("Share %", Alignment::Right)];
    let mut kinds = Table::new(lead.into_iter().chain(distance_columns));
    let distances = |of: &Distances| {
        [of.median.to_string(), format!("{:.1}", of.mean), of.ninth_decile.to_string(), of.largest.to_string()]
    };
    for kind in &stats.kinds {
        let lead = [kind.kind.name().to_owned(), kind.count.to_string(), percent(kind.share)];
        kinds.push(lead.into_iter().chain(distances(&kind.distances)));
    }
    let lead = ["all".to_owned(), stats.pairs.to_string(), percent(1.0)];
    kinds.push(lead.into_iter().chain(distances(&stats.distances)));
    let mut sources =
        Table::new([("Source", Alignment::Left), ("Pairs", Alignment::Right), ("Share %", Alignment::Right)]);
    for source in stats.sources.iter().chain(&stats.patterns) {
        sources.push([source.name.clone(), source.count.to_string(), percent(source.share)]);
    }
    let columns = [
        ("Kind", Alignment::Left),
        ("From", Alignment::Left),
        ("To", Alignment::Left),
        ("Pairs", Alignment::Right),
        ("Share %", Alignment::Right),
        ("Of errors %", Alignment::Right),
    ];
    let mut changes = Table::new(columns);
    for change in &stats.changes {
        changes.push([
            change.kind.name().to_owned(),
            change.from.clone().unwrap_or_default(),
            change.to.clone().unwrap_or_default(),
            change.count.to_string(),
            percent(change.share),
            change.error_share.map_or_else(String::new, percent),
        ]);
    }
    let variation = |name: &str, distance: Option<f64>| {
        distance.map_or_else(String::new, |distance| {
            format!("{name} from modes: {} points (total variation) from the errors\n", percent(distance))
        })
    };
    format!(
        "{}\n{}\n{}\n{} pairs of {} examples; {} % of the gold answer precedes the first difference; {} % differ first in scaffolding\n{}{}",
        kinds.plain(None),
        sources.plain(None),
        changes.plain(None),
        stats.pairs,
        stats.examples,
        percent(stats.prefix_shared),
        percent(stats.scaffold_first),
        variation("Label changes", stats.label_distance),
        variation("Relation type changes", stats.relation_distance),
    )
}

fn write_export(arguments: &ExportArgs) -> Result<(), CliError> {
    let ontology = arguments.ontology.as_deref().map(Ontology::read).transpose().or_input()?;
    let instruction = ontology.map(|ontology| ontology.prompt());
    let lines =
        read_pairs(&arguments.file)?.map(|record| Ok(export(&record?, arguments.format, instruction.as_deref())));
    match &arguments.out {
        None => {
            for line in lines {
                output::print_line(line?.to_string())?;
            }
            Ok(())
        }
        Some(path) => {
            let mut out = create(path)?;
            for line in lines {
                writeln!(out, "{}", line?).or_failed()?;
            }
            out.finish().or_failed()
        }
    }
}

fn check_patterns(file: &Path, ontology: &Path, as_json: bool) -> Result<(), CliError> {
    let ontology = Ontology::read(ontology).or_input()?;
    let patterns = Patterns::read(file, &ontology).or_input()?.patterns;
    if as_json {
        let list: Vec<_> = patterns
            .iter()
            .map(|pattern| {
                json!({
                    "id": pattern.id, "kind": pattern.kind(), "weight": pattern.weight, "line": pattern.line,
                    "rationale": pattern.rationale,
                })
            })
            .collect();
        return output::print_json(&list);
    }
    let columns = [
        ("Pattern", Alignment::Left),
        ("Kind", Alignment::Left),
        ("Weight", Alignment::Right),
        ("Line", Alignment::Right),
    ];
    let mut table = Table::new(columns);
    for pattern in &patterns {
        table.push([
            pattern.id.clone(),
            pattern.kind().name().to_owned(),
            pattern.weight.to_string(),
            pattern.line.to_string(),
        ]);
    }
    output::print(&table.plain(None))
}

fn match_patterns(file: &Path, ontology: &Path, data: &Path, level: Level, as_json: bool) -> Result<(), CliError> {
    let ontology = Ontology::read(ontology).or_input()?;
    let patterns = Patterns::read(file, &ontology).or_input()?;
    let documents: Vec<Document> = tabpo_corpus::read(data, None, &ontology).or_input()?.documents;
    let mut matcher = PatternMatcher::new(&ontology, &patterns, 0);
    let mut counts: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for document in &documents {
        for found in matcher.matches(document, level) {
            if as_json {
                let line = serde_json::to_string(&found).expect("a match is plain data");
                output::print_line(line)?;
                continue;
            }
            let id = found.edit.pattern.clone().unwrap_or_default();
            let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let example = || {
                let sentence = found.sent.map_or_else(String::new, |sentence| format!(":{sentence}"));
                let (from, to) = (side(&found.edit.from), side(&found.edit.to));
                format!("{}{sentence} {}: {from} > {to}", found.doc_key, found.edit.item)
            };
            counts.entry(id).or_insert_with(|| (0, example())).0 += 1;
        }
    }
    if as_json {
        return Ok(());
    }
    let columns = [("Pattern", Alignment::Left), ("Edits", Alignment::Right), ("First", Alignment::Left)];
    let mut table = Table::new(columns);
    for pattern in &patterns.patterns {
        let (count, example) = counts.get(&pattern.id).cloned().unwrap_or_default();
        table.push([pattern.id.clone(), count.to_string(), example]);
    }
    output::print(&table.plain(None))
}

fn open(path: &Path) -> Result<BufReader<File>, CliError> {
    let file = File::open(path).map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(BufReader::new(file))
}

fn read_pairs(path: &Path) -> Result<impl Iterator<Item = Result<PairRecord, CliError>>, CliError> {
    Ok(PairRecord::read(open(path)?, path).map(ResultExt::or_input))
}

fn read_errors(path: &Path) -> Result<ErrorModes, CliError> {
    let wrong = |message: String| {
        CliError::input(format!("{}: {message}", path.display())).with_hint("make the file with `tabpo errors`")
    };
    let errors: ErrorModes =
        serde_json::from_reader(open(path)?).map_err(|error| wrong(format!("not a file of error modes: {error}")))?;
    if errors.version != ErrorModes::VERSION {
        return Err(wrong(format!("version {} of the form, expected {}", errors.version, ErrorModes::VERSION)));
    }
    Ok(errors)
}

/// Raw answers by example.
type Answers = HashMap<(String, Option<u32>), Vec<String>>;

fn read_answers(path: &Path) -> Result<Answers, CliError> {
    let mut answers = Answers::new();
    for (number, line) in (1..).zip(open(path)?.lines()) {
        let wrong = |error: &dyn std::fmt::Display| CliError::input(format!("{}:{number}: {error}", path.display()));
        let line = line.map_err(|error| wrong(&error))?;
        if line.trim().is_empty() {
            continue;
        }
        let answer: UnitOutput = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
        answers.entry((answer.doc_key, answer.sent)).or_default().push(answer.output);
    }
    Ok(answers)
}

/// A file that gets its name when it is complete.
fn create(path: &Path) -> Result<Replacement, CliError> {
    Replacement::create(path).map_err(|error| CliError::input(format!("cannot write {}: {error}", path.display())))
}
