//! `tabpo pairs patterns`: checks ambiguity patterns and shows where they match.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tabpo_corpus::{Document, Level};
use tabpo_ontology::Ontology;
use tabpo_pairs::{PatternMatch, PatternMatcher, Patterns};
use tabpo_report::{Alignment, Table};

use crate::{
    commands::parse_level,
    corpora::ReadArgs,
    error::{CliError, ResultExt},
    output::{self, Context},
    tables::{self, shorten},
};

/// The format of a pattern file, for `--help`.
pub(crate) const FORM: &str = include_str!("pattern_form.txt");

/// What to do with a pattern file.
#[derive(clap::Subcommand)]
pub(crate) enum PatternAction {
    /// Read a pattern file and show what it contains, or what is wrong with it
    #[command(after_long_help = FORM)]
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
    /// Show where the patterns in a file match a corpus
    Match {
        /// The pattern file
        file: PathBuf,
        /// The ontology file
        #[arg(long, value_name = "FILE")]
        ontology: PathBuf,
        /// The annotated documents
        #[arg(long, value_name = "FILE")]
        data: PathBuf,
        #[command(flatten)]
        read: ReadArgs,
        /// The unit of an example: sentence or document
        #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
        level: Level,
        /// Write JSON: the counts of each pattern, and every match
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(crate) fn run(action: &PatternAction, context: &Context) -> Result<(), CliError> {
    match action {
        PatternAction::Check { file, ontology, json } => check(file, ontology, *json),
        PatternAction::Match { file, ontology, data, read, level, json } => {
            let documents =
                |ontology: &Ontology| Ok::<_, CliError>(read.read(data, None, ontology, context)?.documents);
            find(file, ontology, documents, *level, *json)
        }
    }
}

fn check(file: &Path, ontology: &Path, as_json: bool) -> Result<(), CliError> {
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
    output::print(&tables::shown(&table))
}

/// Where a pattern matches.
#[derive(Default)]
struct Fired {
    edits: u64,
    /// Mentions or relations, each counted once.
    items: BTreeSet<(u64, String)>,
    examples: BTreeSet<u64>,
    first: String,
}

fn find(
    file: &Path,
    ontology: &Path,
    documents: impl Fn(&Ontology) -> Result<Vec<Document>, CliError>,
    level: Level,
    as_json: bool,
) -> Result<(), CliError> {
    let ontology = Ontology::read(ontology).or_input()?;
    let patterns = Patterns::read(file, &ontology).or_input()?;
    let documents = documents(&ontology)?;
    let mut matcher = PatternMatcher::new(&ontology, &patterns, 0);
    let mut fired: BTreeMap<String, Fired> = BTreeMap::new();
    let mut matches = Vec::new();
    for (number, document) in (0u64..).zip(&documents) {
        for found in matcher.matches(document, level) {
            let example = (number << 32) | u64::from(found.sent.unwrap_or(0));
            let entry = fired.entry(found.edit.pattern.clone().unwrap_or_default()).or_default();
            if entry.edits == 0 {
                entry.first = one_line(&found);
            }
            entry.edits += 1;
            entry.items.insert((example, found.edit.item.clone()));
            entry.examples.insert(example);
            if as_json {
                matches.push(found);
            }
        }
    }
    if as_json {
        let counts = patterns.patterns.iter().map(|pattern| {
            let Fired { edits, items, examples, .. } = fired.remove(&pattern.id).unwrap_or_default();
            json!({
                "id": pattern.id, "kind": pattern.kind(), "edits": edits, "items": items.len(), "examples": examples.len(),
            })
        });
        let counts: Vec<Value> = counts.collect();
        return output::print_json(&json!({"patterns": counts, "matches": matches}));
    }
    let columns = [
        ("Pattern", Alignment::Left),
        ("Kind", Alignment::Left),
        ("Edits", Alignment::Right),
        ("Items", Alignment::Right),
        ("Examples", Alignment::Right),
        ("First", Alignment::Left),
    ];
    let mut table = Table::new(columns);
    for pattern in &patterns.patterns {
        let fired = fired.remove(&pattern.id).unwrap_or_default();
        table.push([
            pattern.id.clone(),
            pattern.kind().name().to_owned(),
            fired.edits.to_string(),
            fired.items.len().to_string(),
            fired.examples.len().to_string(),
            shorten(&fired.first),
        ]);
    }
    output::print(&tables::shown(&table))
}

fn one_line(found: &PatternMatch) -> String {
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let sentence = found.sent.map_or_else(String::new, |sentence| format!(":{sentence}"));
    let edit = &found.edit;
    format!("{}{sentence} {}: {} > {}", found.doc_key, edit.item, side(&edit.from), side(&edit.to))
}
