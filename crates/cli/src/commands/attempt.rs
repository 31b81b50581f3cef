//! `tabpo try`: a text in, the same text out with what a model finds in it.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use tabpo_corpus::{Document, Format, Level, jsonl, read_str};
use tabpo_engine::Sampling;
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_report::printable;

use super::{Products, open_model, parse_form, parse_level};
use crate::{
    config::PredictSection,
    device::LazyDevice,
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    run::{Annotated, ListEnds, Prediction},
};

/// Arguments of `tabpo try`.
#[derive(clap::Args)]
pub(crate) struct TryArgs {
    /// A model folder, a GGUF file, or a PEFT folder (its base model is found automatically)
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The text; with `-`, or without one, it is read from standard input
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// A PEFT folder on top of the model folder
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The ontology file
    #[arg(long, value_name = "FILE")]
    ontology: PathBuf,
    /// A chat template to use instead of the model folder's: a Jinja file, or plain, alpaca or chatml
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
    /// How products with the model's weights are computed
    #[arg(long, value_enum, default_value_t = Products::Auto)]
    compute: Products,
    /// What one prompt shows: sentence or document
    #[arg(long, value_name = "LEVEL", default_value = "sentence", value_parser = parse_level)]
    level: Level,
    /// How the model writes its answers: list, or marked, as in the run that trained it (answer.form)
    #[arg(long, value_name = "FORM", default_value = "list", value_parser = parse_form)]
    form: AnswerForm,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value = "512", value_parser = range::ANSWER.parser::<usize>(), allow_negative_numbers = true)]
    max_new_tokens: usize,
    /// Constrain decoding to valid, grounded answers
    #[arg(long)]
    constrained: bool,
    /// Print a line of the plain format, which every command reads as a document
    #[arg(long)]
    json: bool,
}

/// Annotates the text and prints it.
pub(crate) fn run(arguments: &TryArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.ontology).or_input()?;
    let document = document(&text(arguments, context)?, &ontology)?;
    let (policy, renderer) = open_model(
        &arguments.model,
        arguments.adapter.as_deref(),
        arguments.chat_template.as_deref(),
        arguments.compute,
        &ontology,
        arguments.form,
        context,
    )?;
    let settings = PredictSection {
        max_new_tokens: arguments.max_new_tokens,
        constrained: arguments.constrained,
        ..PredictSection::default()
    };
    let prediction = Prediction {
        name: "try",
        policy: &policy,
        device: &LazyDevice::cpu(),
        renderer: &renderer,
        ontology: &ontology,
        form: arguments.form,
        level: arguments.level,
        settings: &settings,
        samples: 1,
        sampling: Sampling::GREEDY,
        list_ends: ListEnds::GREEDY,
        strict: true,
    };
    let mut annotated = prediction.annotate(vec![document], context)?;
    let annotated = annotated.pop().expect("one document was given");
    if arguments.json {
        output::print_exact(&(jsonl::to_line(&annotated.document, &ontology) + "\n"))?;
    } else {
        output::print_coloured(&shown(&annotated.document, &ontology, output::is_coloured()))?;
    }
    report(&annotated, context);
    Ok(())
}

/// What there is to say about the answers.
fn report(annotated: &Annotated, context: &Context) {
    let Annotated { answers, invalid, invented, .. } = annotated;
    if *invalid > 0 {
        context
            .warn(format!("{invalid} of {} answers are not valid; what could be read of them is shown", answers.len()));
        context.say(format!("the first answer: {}", answers.first().map_or("", String::as_str)));
    }
    if !invented.is_empty() {
        context.warn(format!("not in the text, and left out: {}", invented.join(", ")));
    }
}

fn text(arguments: &TryArgs, context: &Context) -> Result<String, CliError> {
    let text = match arguments.text.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        _ => {
            let mut input = std::io::stdin();
            if input.is_terminal() {
                context.say("type the text, and end it with Ctrl-D on a line of its own");
            }
            let mut text = String::new();
            input
                .read_to_string(&mut text)
                .map_err(|error| CliError::input(format!("cannot read the text from standard input: {error}")))?;
            text
        }
    };
    if text.trim().is_empty() {
        return Err(CliError::input("the text is empty").with_hint("give it as an argument, or on standard input"));
    }
    Ok(text)
}

/// The text as a document, cut into sentences and tokens like any other.
pub(super) fn document(text: &str, ontology: &Ontology) -> Result<Document, CliError> {
    let line = serde_json::json!({"doc_key": "text", "text": text.trim()}).to_string();
    let mut loaded = read_str(&line, Format::Jsonl, ontology).or_input()?;
    Ok(loaded.documents.pop().expect("a line is a document"))
}

/// Colours of labels, by their numbers.
const COLOURS: [&str; 6] = ["30;46", "30;43", "30;42", "30;45", "30;44", "30;47"];

/// The text with its mentions marked, then the mentions inside others, then the relations.
fn shown(document: &Document, ontology: &Ontology, coloured: bool) -> String {
    let label = |index: usize| {
        let mention = &document.mentions[index];
        let subtype = mention.subtype.map(|subtype| &ontology.subtype(mention.label, subtype).name);
        let name = &ontology.entity(mention.label).name;
        subtype.map_or_else(|| name.clone(), |subtype| format!("{name}/{subtype}"))
    };
    let surface = |index: usize| {
        let words: Vec<&str> = document.span_text(document.mentions[index].span).split_whitespace().collect();
        words.join(" ")
    };
    let mark = |text: &str, index: usize| {
        if coloured {
            let colour = COLOURS[document.mentions[index].label.index() % COLOURS.len()];
            format!("{} {}", output::coloured(text, colour), output::coloured(&label(index), "2"))
        } else {
            format!("[{} | {}]", printable(text), label(index))
        }
    };
    // Of mentions that overlap, the first and longest is marked in the text.
    let mut order: Vec<usize> = (0..document.mentions.len()).collect();
    order.sort_by_key(|&index| {
        let span = document.mentions[index].span;
        (span.start, std::cmp::Reverse(span.end))
    });
    let (mut text, mut at, mut inside) = (String::new(), 0, Vec::new());
    for index in order {
        let range = document.byte_range(document.mentions[index].span);
        if range.start < at {
            inside.push(index);
            continue;
        }
        text += &printable(&document.text[at..range.start]);
        text += &mark(&document.text[range.clone()], index);
        at = range.end;
    }
    text += &printable(&document.text[at..]);
    text.push('\n');
    for (title, lines) in [
        ("inside these", inside.iter().map(|&index| mark(&surface(index), index)).collect::<Vec<_>>()),
        (
            "relations",
            document
                .relations
                .iter()
                .map(|relation| {
                    let [head, tail] =
                        [relation.head, relation.tail].map(|index| mark(&surface(index as usize), index as usize));
                    format!("{head} -- {} -> {tail}", ontology.relation(relation.label).name)
                })
                .collect(),
        ),
    ] {
        if !lines.is_empty() {
            text += &format!("\n{title}\n  {}\n", lines.join("\n  "));
        }
    }
    if document.mentions.is_empty() {
        text += "\nnothing was found\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_marked_in_the_text_and_relations_listed() {
        let ontology = Ontology::parse(
            "[[entity]]\nname = \"Drug\"\n[[entity]]\nname = \"Effect\"\n[[relation]]\nname = \"Causes\"\n",
            "test",
        )
        .expect("an ontology");
        let line = r#"{"doc_key": "a", "text": "Aspirin 100 mg caused\u001b[31m a nosebleed.", "entities": [{"start": 0, "end": 7, "type": "Drug"}, {"start": 0, "end": 14, "type": "Drug"}, {"start": 29, "end": 38, "type": "Effect"}], "relations": [{"head": 0, "type": "Causes", "tail": 2}]}"#;
        let document = read_str(line, Format::Jsonl, &ontology).expect("a document").documents.remove(0);
        let plain = shown(&document, &ontology, false);
        assert!(plain.starts_with("[Aspirin 100 mg | Drug] caused"), "{plain}");
        assert!(plain.contains("[nosebleed | Effect]."), "{plain}");
        assert!(plain.contains("inside these\n  [Aspirin | Drug]\n"), "{plain}");
        assert!(plain.contains("relations\n  [Aspirin | Drug] -- Causes -> [nosebleed | Effect]\n"), "{plain}");
        assert!(!plain.contains('\u{1b}'), "control characters of the text are shown");
        let coloured = shown(&document, &ontology, true);
        assert!(coloured.contains("\u{1b}[30;46mAspirin 100 mg\u{1b}[0m"), "{coloured:?}");
        assert!(!coloured.contains("\u{1b}[31m"), "{coloured:?}");
    }
}
