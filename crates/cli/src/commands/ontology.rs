//! `tabpo ontology`: checks an ontology file and shows what is generated from it.

use std::path::PathBuf;

use serde_json::{Value, json};
use tabpo_corpus::{Level, Unit};
use tabpo_ontology::{AnswerForm, AnswerGrammar, Arguments, EntityLabelId, GrammarForm, Ontology, RelationLabel};

use super::attempt;
use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
};

/// Arguments of `tabpo ontology`.
#[derive(clap::Args)]
pub(crate) struct OntologyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Read the file and show what it contains, or what is wrong with it
    Check(FileArgs),
    /// Show labels, sub-labels and relation types
    Show(FileArgs),
    /// Write the JSON Schema of an answer
    Schema {
        /// The ontology file
        file: PathBuf,
        /// Write only what hosted structured output accepts of JSON Schema
        #[arg(long)]
        hosted: bool,
    },
    /// Write a grammar of the answers without free white space, for servers that decode by one
    Grammar(GrammarArgs),
    /// Write the instructions that a prompt gives to a model
    Prompt {
        #[command(flatten)]
        file: FileArgs,
        /// How answers are written: list or marked
        #[arg(long, value_name = "FORM", default_value = "list", value_parser = super::parse_form)]
        form: AnswerForm,
    },
    /// Convert brat's annotation.conf into an ontology file
    Import(FileArgs),
}

#[derive(clap::Args)]
struct FileArgs {
    /// The file
    file: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct GrammarArgs {
    /// The ontology file
    file: PathBuf,
    /// The language of the grammar: lark (llguidance: vLLM, SGLang) or gbnf (llama.cpp)
    #[arg(long, value_name = "FORM", value_parser = form)]
    form: GrammarForm,
    /// The text that is asked about, in whose words entities are written; without it, their texts may be any
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

fn form(name: &str) -> Result<GrammarForm, String> {
    GrammarForm::ALL.into_iter().find(|form| form.name() == name).ok_or_else(|| "give `lark` or `gbnf`".to_owned())
}

/// Runs the command.
pub(crate) fn run(arguments: OntologyArgs, context: &Context) -> Result<(), CliError> {
    match arguments.action {
        Action::Check(arguments) => check(&arguments),
        Action::Show(arguments) => show(&arguments),
        Action::Schema { file, hosted } => {
            let ontology = Ontology::read(&file).or_input()?;
            output::print_json(&if hosted { ontology.json_schema_strict() } else { ontology.json_schema() })
        }
        Action::Grammar(arguments) => grammar(&arguments),
        Action::Prompt { file: FileArgs { file, json }, form } => {
            let prompt = Ontology::read(&file).or_input()?.prompt_for(form);
            if json {
                output::print_json(&json!({"prompt": prompt}))
            } else {
                output::print_exact(&format!("{prompt}\n"))
            }
        }
        Action::Import(arguments) => import(&arguments, context),
    }
}

fn grammar(arguments: &GrammarArgs) -> Result<(), CliError> {
    let GrammarArgs { form, text, json, .. } = arguments;
    let ontology = Ontology::read(&arguments.file).or_input()?;
    let grammar = match text {
        None => AnswerGrammar::ungrounded(*form, &ontology),
        Some(text) => {
            let document = attempt::document(text, &ontology)?;
            let unit = Unit::all(&document, Level::Document).next().expect("a document is one unit");
            AnswerGrammar::whole(*form, &ontology, unit.text(), &unit.words())
        }
    };
    if *json {
        output::print_json(&json!({"form": form.name(), "grammar": grammar}))
    } else {
        output::print_exact(&grammar)
    }
}

fn check(FileArgs { file, json }: &FileArgs) -> Result<(), CliError> {
    let ontology = Ontology::read(file).or_input()?;
    let subtypes: usize = ontology.entities.iter().map(|label| label.subtypes.len()).sum();
    let (entities, relations) = (ontology.entities.len(), ontology.relations.len());
    if *json {
        return output::print_json(&json!({
            "name": ontology.name, "entity_labels": entities, "subtypes": subtypes, "relation_types": relations,
        }));
    }
    output::print_line(format!(
        "{}: {entities} entity labels, {subtypes} subtypes, {relations} relation types",
        file.display()
    ))
}

fn show(FileArgs { file, json }: &FileArgs) -> Result<(), CliError> {
    let ontology = Ontology::read(file).or_input()?;
    if *json {
        return output::print_json(&as_json(&ontology));
    }
    let mut lines = Vec::new();
    if !ontology.name.is_empty() {
        lines.push(ontology.name.clone());
    }
    lines.push("Entity labels".to_owned());
    for label in &ontology.entities {
        lines.push(described("  ", &label.name, &label.aliases, &label.description));
        lines.extend(label.subtypes.iter().map(|subtype| described("    ", &subtype.name, &[], &subtype.description)));
    }
    if !ontology.relations.is_empty() {
        let by_text = ontology.arguments == Arguments::Texts;
        lines.push(if by_text { "Relation types, with arguments named by text" } else { "Relation types" }.to_owned());
    }
    for label in &ontology.relations {
        lines.push(described("  ", &label.name, &label.aliases, &label.description));
        lines.push(format!("    {}", signature(&ontology, label)));
    }
    output::print_line(lines.join("\n"))
}

/// The ontology with the fields of its file.
fn as_json(ontology: &Ontology) -> Value {
    toml::from_str(&ontology.to_toml()).expect("a written ontology is valid TOML")
}

fn described(indent: &str, name: &str, aliases: &[String], description: &str) -> String {
    let aliases = if aliases.is_empty() { String::new() } else { format!(" ({})", aliases.join(", ")) };
    let description = if description.is_empty() { String::new() } else { format!(": {description}") };
    format!("{indent}{name}{aliases}{description}")
}

/// `symmetric, soft: Task, Method -> any`
fn signature(ontology: &Ontology, label: &RelationLabel) -> String {
    let side = |ids: &[EntityLabelId]| match ids {
        [] => "any".to_owned(),
        ids => ids.iter().map(|&id| ontology.entity(id).name.as_str()).collect::<Vec<_>>().join(", "),
    };
    let direction = if label.symmetric { "symmetric" } else { "directed" };
    let constraint = match label.constraint {
        tabpo_ontology::Constraint::Soft => "soft",
        tabpo_ontology::Constraint::Hard => "hard",
    };
    format!("{direction}, {constraint}: {} -> {}", side(&label.domain), side(&label.range))
}

fn import(FileArgs { file, json }: &FileArgs, context: &Context) -> Result<(), CliError> {
    let text = tabpo_files::read_text(file)
        .map_err(|error| CliError::input(format!("cannot read {}: {error}", file.display())))?;
    let import = Ontology::from_brat(&text, &file.display().to_string()).or_input()?;
    for note in &import.notes {
        context.say(note);
    }
    if *json { output::print_json(&as_json(&import.ontology)) } else { output::print_exact(&import.ontology.to_toml()) }
}
