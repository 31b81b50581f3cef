//! `tabpo bench prepare`: the model folder and the pairs that preference trainers are compared on.

use std::{collections::HashMap, convert::Infallible, io::Write, path::PathBuf};

use serde_json::json;
use tabpo_answer::{gold, render};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_engine::{Model, StepShape};
use tabpo_model::{
    Architecture, BpeOptions, GenerationTokens, ModelConfig, SaveOptions, StoredType, Tokenizer, write_atomically,
};
use tabpo_pairs::{BuildSettings, ModeRates, PairBuilder, PairRecord, Patterns, Source, SourceShares};
use tabpo_synthetic::{SyntheticConfig, generate, ontology};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
};

/// Arguments of `tabpo bench prepare`.
#[derive(clap::Args)]
pub(crate) struct PrepareArgs {
    /// The folder to write: model/, pairs.jsonl
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Examples
    #[arg(long, value_name = "N", default_value = "64", value_parser = range::FEW.parser::<usize>(), allow_negative_numbers = true)]
    examples: usize,
    /// Negatives of each example
    #[arg(long, value_name = "K", default_value = "4", value_parser = range::FEW.parser::<usize>(), allow_negative_numbers = true)]
    negatives: usize,
    /// Tokens of a prompt, about
    #[arg(long, value_name = "TOKENS", default_value = "300", value_parser = range::FEW.parser::<usize>(), allow_negative_numbers = true)]
    prompt_tokens: usize,
    /// Tokens of an answer, about
    #[arg(long, value_name = "TOKENS", default_value = "150", value_parser = range::FEW.parser::<usize>(), allow_negative_numbers = true)]
    answer_tokens: usize,
    /// Shape of the model: m1 (0.1 billion parameters), 1.5b as Qwen2.5-1.5B, or 8b as Llama-3.1-8B; the last two in bf16
    #[arg(long, value_enum, default_value_t = Shape::M1)]
    shape: Shape,
    /// Where all randomness comes from
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Say what was written as JSON
    #[arg(long)]
    json: bool,
}

/// A model's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    /// 0.1 billion parameters
    M1,
    /// Qwen2.5-1.5B
    #[value(name = "1.5b")]
    Qwen1_5B,
    /// Llama-3.1-8B
    #[value(name = "8b")]
    Llama8B,
}

impl Shape {
    fn config(self) -> ModelConfig {
        let small = StepShape::m1().model;
        match self {
            Self::M1 => small,
            Self::Qwen1_5B => ModelConfig {
                intermediate: 8960,
                kv_heads: 2,
                max_positions: 32768,
                ..ModelConfig::small(151_936, 1536, 28, 12)
            },
            Self::Llama8B => ModelConfig {
                architecture: Architecture::Llama,
                intermediate: 14336,
                kv_heads: 8,
                max_positions: 8192,
                rope_theta: 5e5,
                query_key_value_bias: false,
                tied_head: false,
                ..ModelConfig::small(128_256, 4096, 32, 32)
            },
        }
    }

    fn stored(self) -> StoredType {
        if self == Self::M1 { StoredType::F32 } else { StoredType::Bf16 }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &PrepareArgs, context: &Context) -> Result<(), CliError> {
    let examples = arguments.examples;
    // About 25 tokens a sentence, and as many again to choose from.
    let sentences = 2 * examples * (arguments.prompt_tokens / 15 + 1);
    range::SENTENCES
        .check("--examples times --prompt-tokens: the number of sentences to draw from", sentences as u64)
        .map_err(|error| error.with_hint("fewer examples, or shorter prompts"))?;
    let corpus = generate(&SyntheticConfig {
        seed: arguments.seed,
        sft: 0,
        gold: sentences,
        validation: 0,
        test: 0,
        ..SyntheticConfig::default()
    });
    let vocabulary = StepShape::m1().model.vocabulary;
    let units = corpus.gold.iter().flat_map(|document| Unit::all(document, Level::Sentence));
    let texts = units.flat_map(|unit| [unit.text().to_owned(), render(&gold(&unit), ontology()).text]);
    let options = BpeOptions { vocabulary_size: vocabulary, ..BpeOptions::default() };
    let tokenizer = Tokenizer::train(texts, &options).or_failed()?;

    let model_folder = arguments.out.join("model");
    let model = Model::<f32>::initialise(arguments.shape.config(), arguments.seed);
    let id = |token: &Option<String>| token.as_deref().and_then(|token| tokenizer.token_id(token));
    let special = tokenizer.special();
    let tokens = GenerationTokens { bos: None, stop: tokenizer.stop_ids().to_vec(), pad: id(&special.pad) };
    model.save(&model_folder, &SaveOptions::new(arguments.shape.stored()), &tokens).or_failed()?;
    tokenizer.save(&model_folder).or_failed()?;

    let documents = documents(&corpus.gold, &tokenizer, arguments)?;
    let tokenize = |text: &str| tokenizer.encode(text).unwrap_or_default();
    let settings = BuildSettings {
        per_example: arguments.negatives,
        seed: arguments.seed,
        level: Level::Document,
        sources: SourceShares::equal(&[Source::Random]).or_failed()?,
        ..BuildSettings::default()
    };
    let (patterns, rates) = (Patterns::default(), ModeRates::default());
    let mut builder = PairBuilder::new(ontology(), &patterns, &rates, settings, Some(&tokenize));
    let mut pairs: Vec<PairRecord> = Vec::new();
    let sink = |pair| -> Result<(), Infallible> {
        pairs.push(pair);
        Ok(())
    };
    let built = builder.build(documents.into_iter().map(Ok), |_| Vec::new(), sink);
    let Ok(()) = built;
    write_atomically(&arguments.out.join("pairs.jsonl"), |mut out: &mut dyn Write| {
        pairs.iter().try_for_each(|pair| pair.write(&mut out))
    })
    .or_failed()?;

    let mut lengths = HashMap::new();
    for pair in &pairs {
        lengths.insert(&pair.doc_key, (tokenize(&pair.prompt).len(), tokenize(&pair.chosen).len()));
    }
    let mean = |part: fn(&(usize, usize)) -> usize| lengths.values().map(part).sum::<usize>() / lengths.len().max(1);
    context.say(format!(
        "tokenizer with {} tokens, model with {}",
        tokenizer.vocabulary_size(),
        arguments.shape.config().vocabulary
    ));
    let (examples, pairs) = (lengths.len(), pairs.len());
    let (prompt_tokens, answer_tokens) = (mean(|length| length.0), mean(|length| length.1));
    if arguments.json {
        return output::print_json(&json!({
            "out": arguments.out,
            "examples": examples,
            "pairs": pairs,
            "mean_prompt_tokens": prompt_tokens,
            "mean_answer_tokens": answer_tokens,
        }));
    }
    output::print_line(format!(
        "{examples} examples, {pairs} pairs, on average {prompt_tokens} tokens of prompt and {answer_tokens} of chosen \
         answer"
    ))
}

/// Documents of the wanted length: sentences of the corpus one after the other, annotated as far as
/// the answer's length allows. What is measured is the cost of a shape, not what is learned.
fn documents(source: &[Document], tokenizer: &Tokenizer, arguments: &PrepareArgs) -> Result<Vec<Document>, CliError> {
    let mut documents = Vec::new();
    let mut open: Option<Document> = None;
    for next in source {
        let joined = match open.take() {
            None => next.clone(),
            Some(document) => join(document, next),
        };
        if tokenizer.encode(&joined.text).or_failed()?.len() < arguments.prompt_tokens {
            open = Some(joined);
            continue;
        }
        documents.push(annotated_to_length(joined, tokenizer, arguments.answer_tokens)?);
        if documents.len() == arguments.examples {
            break;
        }
    }
    Ok(documents)
}

/// One document after another as one.
fn join(mut document: Document, next: &Document) -> Document {
    let (bytes, tokens) = (document.text.len() as u32 + 1, document.tokens.len() as u32);
    let mentions = document.mentions.len() as u32;
    let shifted = |span: &tabpo_corpus::Span| tabpo_corpus::Span::new(span.start + tokens, span.end + tokens);
    document.text.push(' ');
    document.text.push_str(&next.text);
    document.tokens.extend(next.tokens.iter().map(|token| token.start + bytes..token.end + bytes));
    document.sentences.extend(next.sentences.iter().map(shifted));
    document.mentions.extend(next.mentions.iter().map(|m| tabpo_corpus::Mention { span: shifted(&m.span), ..*m }));
    document.relations.extend(next.relations.iter().map(|relation| tabpo_corpus::Relation {
        head: relation.head + mentions,
        tail: relation.tail + mentions,
        ..*relation
    }));
    document
}

/// Keeps the mentions of the first sentences, and the relations between them, until the answer is
/// long enough.
fn annotated_to_length(document: Document, tokenizer: &Tokenizer, tokens: usize) -> Result<Document, CliError> {
    for sentence in &document.sentences {
        let kept = document.mentions.iter().take_while(|mention| mention.span.end <= sentence.end).count();
        let mut part = document.clone();
        part.mentions.truncate(kept);
        part.relations.retain(|relation| (relation.head.max(relation.tail) as usize) < kept);
        let unit = Unit::all(&part, Level::Document).next().expect("a document is one unit");
        if tokenizer.encode(&render(&gold(&unit), ontology()).text).or_failed()?.len() >= tokens {
            return Ok(part);
        }
    }
    Ok(document)
}
