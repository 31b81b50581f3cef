//! `tabpo corpus`: statistics, conversion between formats, and the built-in synthetic corpus.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tabpo_corpus::{Document, Format, LabelCount, Loaded, Notes, Statistics, statistics, write_file};
use tabpo_ontology::Ontology;
use tabpo_report::{Alignment, Table};
use tabpo_synthetic::SyntheticConfig;

use tabpo_pipeline::corpora::say_notes;

use crate::corpora::{ReadArgs, has_unknown_label};
use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    tables::{self, DASH},
    writing,
};

/// Arguments of `tabpo corpus`.
#[derive(clap::Args)]
pub(crate) struct CorpusArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Count documents, labels, relations and ambiguous texts
    Stats(StatsArgs),
    /// Write a corpus in another format
    Convert(ConvertArgs),
    /// Write the splits of the synthetic corpus and its ontology
    Generate(GenerateArgs),
}

#[derive(clap::Args)]
struct StatsArgs {
    /// The corpus: a file, or a directory of brat files
    corpus: PathBuf,
    #[command(flatten)]
    ontology: OntologyOption,
    /// The format; by default, recognised by content
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    read: ReadArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ConvertArgs {
    /// The corpus: a file, or a directory of brat files
    input: PathBuf,
    /// The file to write (`-`: standard output), or the directory for brat
    output: PathBuf,
    #[command(flatten)]
    ontology: OntologyOption,
    /// The format of the input; by default, recognised by content
    #[arg(long, value_name = "FORMAT")]
    from: Option<Format>,
    #[command(flatten)]
    read: ReadArgs,
    /// The format to write: dygie, brat, doccano, label_studio or jsonl
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// Write what was changed or lost as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct GenerateArgs {
    /// The directory to write into
    directory: PathBuf,
    /// The seed of all randomness
    #[arg(long, default_value_t = SyntheticConfig::default().seed)]
    seed: u64,
    /// Sentences for fine-tuning, labelled by the biased annotator
    #[arg(long, value_name = "N", default_value_t = SyntheticConfig::default().sft, value_parser = range::SENTENCES.or_none().parser::<usize>(), allow_negative_numbers = true)]
    sft: usize,
    /// Sentences with curated labels
    #[arg(long, value_name = "N", default_value_t = SyntheticConfig::default().gold, value_parser = range::SENTENCES.or_none().parser::<usize>(), allow_negative_numbers = true)]
    gold: usize,
    /// Sentences for validation
    #[arg(long, value_name = "N", default_value_t = SyntheticConfig::default().validation, value_parser = range::SENTENCES.or_none().parser::<usize>(), allow_negative_numbers = true)]
    validation: usize,
    /// Sentences for testing
    #[arg(long, value_name = "N", default_value_t = SyntheticConfig::default().test, value_parser = range::SENTENCES.or_none().parser::<usize>(), allow_negative_numbers = true)]
    test: usize,
    /// Probability that the biased annotator follows their bias
    #[arg(long, value_name = "P", default_value_t = SyntheticConfig::default().bias, value_parser = range::SHARE.parser(), allow_negative_numbers = true)]
    bias: f64,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct OntologyOption {
    /// The ontology file; by default, the built-in one with the labels of SciERC
    #[arg(long, value_name = "FILE")]
    ontology: Option<PathBuf>,
}

impl OntologyOption {
    fn load(&self) -> Result<Ontology, CliError> {
        match &self.ontology {
            Some(path) => Ontology::read(path).or_input(),
            None => Ok(tabpo_synthetic::ontology().clone()),
        }
    }

    /// Reads a corpus with the labels of the ontology. If no ontology is given and a label is unknown, the hint says how
    /// to give one.
    fn read(
        &self,
        path: &Path,
        format: Option<Format>,
        ontology: &Ontology,
        how: &ReadArgs,
        context: &Context,
    ) -> Result<Loaded, CliError> {
        let loaded = match tabpo_corpus::read(path, format, ontology) {
            Err(error) if self.ontology.is_none() && has_unknown_label(&error) => {
                return Err(error).or_input().map_err(|error| {
                    error.with_hint("these are SciERC's labels; name the file with your own by --ontology FILE")
                });
            }
            loaded => loaded.or_input()?,
        };
        how.heed(path, &loaded.notes, context)?;
        Ok(loaded)
    }
}

/// Runs the command.
pub(crate) fn run(arguments: CorpusArgs, context: &Context) -> Result<(), CliError> {
    match arguments.action {
        Action::Stats(arguments) => stats(&arguments, context),
        Action::Convert(arguments) => convert(&arguments, context),
        Action::Generate(arguments) => generate(&arguments, context),
    }
}

fn stats(arguments: &StatsArgs, context: &Context) -> Result<(), CliError> {
    let ontology = arguments.ontology.load()?;
    let loaded = arguments.ontology.read(&arguments.corpus, arguments.format, &ontology, &arguments.read, context)?;
    let numbers = statistics(&loaded.documents, &ontology);
    if arguments.json { output::print_json(&numbers) } else { output::print(&as_text(&numbers)) }
}

fn as_text(numbers: &Statistics) -> String {
    let mut totals = Table::new([("Count", Alignment::Left), ("", Alignment::Right)]);
    for (name, count) in [
        ("documents", numbers.documents),
        ("sentences", numbers.sentences),
        ("... without mention", numbers.sentences_without_mention),
        ("... without relation", numbers.sentences_without_relation),
        ("tokens", numbers.tokens),
        ("mentions", numbers.mentions),
        ("relations", numbers.relations),
        ("... across sentences", numbers.relations_across_sentences),
        ("nested pairs of mentions", numbers.nested_pairs),
        ("crossing pairs", numbers.crossing_pairs),
        ("pairs with the same span", numbers.same_span_pairs),
        ("co-reference clusters", numbers.clusters),
        ("mentions whose text occurs again in the sentence", numbers.surfaces_in_sentence.mentions_repeated),
        ("... and that are not its first occurrence", numbers.surfaces_in_sentence.mentions_not_first),
        ("mentions whose text occurs again in the document", numbers.surfaces_in_document.mentions_repeated),
        ("... and that are not its first occurrence", numbers.surfaces_in_document.mentions_not_first),
    ] {
        totals.push([name.to_owned(), count.to_string()]);
    }
    let mut means = Table::new([("Length", Alignment::Left), ("Mean", Alignment::Right), ("Max", Alignment::Right)]);
    for (name, distribution) in [
        ("tokens per sentence", &numbers.sentence_length),
        ("mentions per sentence", &numbers.mentions_per_sentence),
        ("relations per sentence", &numbers.relations_per_sentence),
        ("tokens per mention", &numbers.mention_length),
    ] {
        let mean = distribution.mean.map_or_else(|| DASH.to_owned(), |mean| format!("{mean:.2}"));
        means.push([name.to_owned(), mean, distribution.max.to_string()]);
    }
    let mut tables = vec![totals, means, counts("Entity label", &numbers.mentions_by_label)];
    if !numbers.mentions_by_subtype.is_empty() {
        tables.push(counts("Subtype", &numbers.mentions_by_subtype));
    }
    if !numbers.relations_by_type.is_empty() {
        tables.push(counts("Relation type", &numbers.relations_by_type));
    }
    tables.iter().map(tables::shown).collect::<Vec<_>>().join("\n")
}

fn counts(title: &str, labels: &[LabelCount]) -> Table {
    let total: u64 = labels.iter().map(|label| label.count).sum();
    let mut table = Table::new([(title, Alignment::Left), ("Count", Alignment::Right), ("Share", Alignment::Right)]);
    for label in labels {
        let share = 100.0 * label.count as f64 / total as f64;
        let share = if total == 0 { DASH.to_owned() } else { format!("{share:.1} %") };
        table.push([label.label.clone(), label.count.to_string(), share]);
    }
    table
}

fn convert(arguments: &ConvertArgs, context: &Context) -> Result<(), CliError> {
    let ontology = arguments.ontology.load()?;
    if arguments.to == Format::Brat {
        writing::check_folder(&arguments.output)?;
    }
    let loaded = arguments.ontology.read(&arguments.input, arguments.from, &ontology, &arguments.read, context)?;
    let lost = tabpo_corpus::write(&arguments.output, arguments.to, &loaded.documents, &ontology).or_input()?;
    say_notes(&arguments.output, "writing", &lost, context);
    let documents = loaded.documents.len();
    if arguments.json {
        let as_map = |notes: &Notes| -> Map<String, Value> {
            notes.iter().map(|(note, count)| (note.to_string(), count.into())).collect()
        };
        let notes = json!({"documents": documents, "reading": as_map(&loaded.notes), "writing": as_map(&lost)});
        return output::print_json_beside(&arguments.output, &notes);
    }
    let done = format!("{documents} documents written to {}\n", arguments.output.display());
    output::print_beside(&arguments.output, &done)
}

fn generate(arguments: &GenerateArgs, context: &Context) -> Result<(), CliError> {
    writing::check_folder(&arguments.directory)?;
    let corpus = tabpo_synthetic::generate(&SyntheticConfig {
        seed: arguments.seed,
        sft: arguments.sft,
        gold: arguments.gold,
        validation: arguments.validation,
        test: arguments.test,
        bias: arguments.bias,
    });
    let splits: [(&str, &[Document]); 4] =
        [("sft", &corpus.sft), ("gold", &corpus.gold), ("validation", &corpus.validation), ("test", &corpus.test)];
    for (name, documents) in splits {
        let path = arguments.directory.join(format!("{name}.jsonl"));
        let lost = tabpo_corpus::write(&path, Format::Dygie, documents, tabpo_synthetic::ontology()).or_failed()?;
        say_notes(&path, "writing", &lost, context);
    }
    write_file(&arguments.directory.join("ontology.toml"), tabpo_synthetic::ONTOLOGY_TOML.as_bytes()).or_failed()?;
    if arguments.json {
        let numbers = |documents: &[Document]| statistics(documents, tabpo_synthetic::ontology());
        let numbers: Map<String, Value> =
            splits.iter().map(|(name, documents)| ((*name).to_owned(), json!(numbers(documents)))).collect();
        return output::print_json(&json!({"splits": numbers, "bias": corpus.bias}));
    }
    let mut table =
        Table::new([("File", Alignment::Left), ("Documents", Alignment::Right), ("Sentences", Alignment::Right)]);
    for (name, documents) in splits {
        let sentences: usize = documents.iter().map(|document| document.sentences.len()).sum();
        table.push([format!("{name}.jsonl"), documents.len().to_string(), sentences.to_string()]);
    }
    let bias = corpus.bias;
    context.say(format!(
        "the biased annotator got {} of {} mentions and {} of {} relations of sft.jsonl wrong",
        bias.wrong_mentions, bias.mentions, bias.wrong_relations, bias.relations
    ));
    output::print(&tables::shown(&table))
}
