//! `tabpo pairs select`: the pairs that a model finds hardest.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tabpo_answer::form_of;
use tabpo_engine::{Compute, HostWorker, Worker};
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_pairs::{PairRecord, hardest};
use tabpo_report::{Alignment, Table};
use tabpo_train::{
    ExampleError, ExampleFormat, ExampleLogProbs, ReferenceCache, TokenisedExample, group_pairs, log_probs,
};

use super::read_pairs;
use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    run::{NAMED, PolicyFolder, Renderer},
    tables::{self, percent},
    writing::{create, finish},
};

/// The number of examples that are scored together.
const CHUNK: usize = 64;
/// Most rows of one pass through the model.
const PASS: usize = 4096;

/// Arguments of `tabpo pairs select`.
#[derive(clap::Args)]
pub(crate) struct SelectArgs {
    /// The pair file, in which the pairs of an example follow each other, as `pairs build` writes them
    file: PathBuf,
    /// The ontology file
    #[arg(long, value_name = "FILE")]
    ontology: PathBuf,
    /// The model folder or GGUF file whose margins count: log-probability of gold minus that of the negative
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// A PEFT folder on top of the model folder
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A chat template to use instead of the folder's: a Jinja file, or plain, alpaca or chatml
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
    /// Pairs to keep of each example: those with the lowest margins, hardest first
    #[arg(long, value_name = "N", value_parser = range::COUNT.parser::<u32>(), allow_negative_numbers = true)]
    keep: u32,
    /// A file of log-probabilities to look them up in and to add new ones to, such as
    /// reference/log-probs.bin of a run
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// The pair file to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Stop at an example that exceeds the model's context, instead of leaving it out
    #[arg(long)]
    strict: bool,
    /// Write what was kept as JSON
    #[arg(long)]
    json: bool,
}

/// What a selection did.
#[derive(Default, Serialize)]
struct Summary {
    examples: u64,
    all: Margins,
    kept: Margins,
    /// Examples whose log-probabilities were not all in the cache.
    scored: u64,
    /// Examples that were left out because they exceed the model's context.
    too_long: u64,
}

/// Margins in nats.
#[derive(Default, Serialize)]
struct Margins {
    pairs: u64,
    mean: f64,
    /// Share of the pairs whose negative the model finds likelier than gold.
    wrong: f64,
}

impl Margins {
    fn add(&mut self, margin: f64) {
        self.pairs += 1;
        let weight = 1.0 / self.pairs as f64;
        self.mean += (margin - self.mean) * weight;
        self.wrong += (f64::from(u8::from(margin < 0.0)) - self.wrong) * weight;
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &SelectArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.ontology).or_input()?;
    let mut pairs = read_pairs(&arguments.file)?.peekable();
    let form = match pairs.peek() {
        Some(Ok(pair)) => form_of(&pair.chosen),
        _ => AnswerForm::List,
    };
    let mut out = create(&arguments.out)?;
    let adapter = arguments.adapter.as_deref();
    let folder = PolicyFolder::resolve(&arguments.model, adapter, Compute::default(), context)?.measured(context)?;
    let renderer = Renderer::open(&folder, &ontology, form, arguments.chat_template.as_deref(), context)?;
    let mut scorer = Scorer::open(&folder, &renderer, arguments.cache.as_deref())?;
    let mut summary = Summary::default();
    for chunk in chunks(pairs) {
        if context.interrupted() {
            return Err(CliError::interrupted("no pairs were written"));
        }
        let mut examples = Vec::with_capacity(CHUNK);
        for pairs in chunk? {
            match scorer.tokenise(&pairs, &ontology) {
                Ok(tokens) => examples.push((pairs, tokens)),
                Err(error @ ExampleError::TooLong { .. }) if !arguments.strict => {
                    summary.too_long += 1;
                    if summary.too_long <= NAMED as u64 {
                        context.warn(format!("{error}: its pairs are left out"));
                    }
                }
                Err(error @ ExampleError::TooLong { .. }) => {
                    return Err(CliError::failed(error.to_string())
                        .with_hint("without --strict, its pairs are left out and the others are selected from"));
                }
                Err(error) => return Err(error).or_input(),
            }
        }
        let (examples, tokens): (Vec<_>, Vec<_>) = examples.into_iter().unzip();
        let margins = scorer.margins(&tokens, &mut summary)?;
        for (example, margins) in examples.into_iter().zip(margins) {
            summary.examples += 1;
            for &margin in &margins {
                summary.all.add(margin);
            }
            for (pair, margin) in kept(example, &margins, arguments.keep as usize) {
                summary.kept.add(margin);
                pair.write(&mut out).or_failed()?;
            }
        }
    }
    if summary.examples == 0 {
        return Err(CliError::input(match summary.too_long {
            0 => format!("{} holds no pairs", arguments.file.display()),
            _ => format!("{}: every example exceeds the model's context", arguments.file.display()),
        }));
    }
    if summary.too_long > 0 {
        let all = summary.examples + summary.too_long;
        context.warn(format!("{} of {all} examples exceed the model's context and were left out", summary.too_long));
    }
    scorer.cache.sync().or_failed()?;
    finish(out, &arguments.out)?;
    if arguments.json {
        output::print_json_beside(&arguments.out, &summary)
    } else {
        output::print_beside(&arguments.out, &text(&summary))
    }
}

/// The hardest pairs of an example with their margins, hardest first. Their weights are scaled so
/// that they sum to the number that was wanted, as those of a built file do.
fn kept(example: Vec<PairRecord>, margins: &[f64], count: usize) -> Vec<(PairRecord, f64)> {
    let order = hardest(margins, count);
    let sum: f64 = order.iter().map(|&index| example[index].weight).sum();
    let scale = if sum > 0.0 { count as f64 / sum } else { 1.0 };
    let mut pairs: Vec<Option<PairRecord>> = example.into_iter().map(Some).collect();
    let take = |index: usize| {
        let mut pair = pairs[index].take()?;
        pair.weight *= scale;
        Some((pair, margins[index]))
    };
    order.into_iter().filter_map(take).collect()
}

/// The pairs of a file by example, a number of examples at a time.
fn chunks(
    pairs: impl Iterator<Item = Result<PairRecord, CliError>>,
) -> impl Iterator<Item = Result<Vec<Vec<PairRecord>>, CliError>> {
    let mut pairs = pairs.peekable();
    std::iter::from_fn(move || {
        let mut examples: Vec<Vec<PairRecord>> = Vec::new();
        while let Some(next) = pairs.peek() {
            let last = examples.last().and_then(|example| example.last());
            let goes_on = next.as_ref().is_ok_and(|pair| {
                last.is_some_and(|last| {
                    (&last.doc_key, last.sent, &last.prompt, &last.chosen)
                        == (&pair.doc_key, pair.sent, &pair.prompt, &pair.chosen)
                })
            });
            if !goes_on && examples.len() == CHUNK {
                break;
            }
            match pairs.next()? {
                Err(error) => return Some(Err(error)),
                Ok(pair) if goes_on => examples.last_mut().expect("a pair goes on an example").push(pair),
                Ok(pair) => examples.push(vec![pair]),
            }
        }
        (!examples.is_empty()).then_some(Ok(examples))
    })
}

/// A model that scores answers, with what is known already.
struct Scorer<'v> {
    format: ExampleFormat<'v>,
    worker: HostWorker<f32>,
    tokenizer: [u8; 32],
    cache: ReferenceCache,
}

impl<'v> Scorer<'v> {
    fn open(folder: &PolicyFolder, renderer: &'v Renderer, cache: Option<&Path>) -> Result<Self, CliError> {
        let cache = cache.map_or_else(|| Ok(ReferenceCache::in_memory()), ReferenceCache::open).or_input()?;
        Ok(Self { format: renderer.format()?, worker: folder.worker()?, tokenizer: renderer.tokenizer.digest(), cache })
    }

    /// The pairs of one example as tokens.
    fn tokenise(&self, example: &[PairRecord], ontology: &Ontology) -> Result<TokenisedExample, ExampleError> {
        let mut records = group_pairs(example.iter().cloned(), ontology)?;
        let record = records.pop().expect("an example has a pair, and its pairs share prompt and gold");
        let rejected: Vec<_> =
            record.rejected.iter().map(|rejected| ((&rejected.answer).into(), rejected.weight)).collect();
        let config = self.worker.config();
        let (chosen, limit) = ((&record.chosen).into(), config.longest());
        let tokenised = self.format.example(&record.id, &record.source, chosen, &rejected, limit)?;
        tokenised.check(config.vocabulary)?;
        Ok(tokenised)
    }

    /// The margins of the pairs of every example: the log-probability of the whole gold answer minus
    /// that of the whole negative, in nats.
    fn margins(&mut self, examples: &[TokenisedExample], summary: &mut Summary) -> Result<Vec<Vec<f64>>, CliError> {
        let scored = log_probs(&mut self.worker, &self.tokenizer, examples, PASS, &mut self.cache);
        let (found, computed) = scored.or_failed()?;
        summary.scored += computed as u64;
        let margins = |scored: &ExampleLogProbs| {
            let gold: f64 = scored.chosen.iter().sum();
            scored.rejected.iter().map(|negative| gold - negative.iter().sum::<f64>()).collect()
        };
        Ok(found.iter().map(margins).collect())
    }
}

fn text(summary: &Summary) -> String {
    let columns = [
        ("Pairs", Alignment::Left),
        ("Count", Alignment::Right),
        ("Mean margin (nats)", Alignment::Right),
        ("Negative likelier %", Alignment::Right),
    ];
    let mut table = Table::new(columns);
    for (name, margins) in [("all", &summary.all), ("kept", &summary.kept)] {
        table.push([
            name.to_owned(),
            margins.pairs.to_string(),
            format!("{:.2}", margins.mean),
            percent(margins.wrong),
        ]);
    }
    format!("{}\n{} examples, {} of them scored now\n", tables::shown(&table), summary.examples, summary.scored)
}

#[cfg(test)]
mod tests {
    use tabpo_pairs::{EditRecord, Kind, Source};

    use super::*;

    fn pair(doc_key: &str, number: usize, weight: f64) -> PairRecord {
        PairRecord {
            id: format!("{doc_key}:{number}"),
            doc_key: doc_key.into(),
            sent: None,
            prompt: "a".into(),
            chosen: "{}".into(),
            rejected: number.to_string(),
            edit: EditRecord {
                kind: Kind::Label,
                source: Source::Mode,
                pattern: None,
                from: None,
                to: None,
                item: "e1".into(),
                further: vec![],
            },
            distance_tokens: 1,
            weight,
        }
    }

    #[test]
    fn the_hardest_come_first_and_their_weights_sum_to_what_was_wanted() {
        let example = vec![pair("d", 0, 1.0), pair("d", 1, 0.5), pair("d", 2, 1.5)];
        let found = kept(example, &[3.0, -1.0, 0.5], 2);
        let ids: Vec<&str> = found.iter().map(|(pair, _)| pair.id.as_str()).collect();
        assert_eq!(ids, ["d:1", "d:2"]);
        let weights: Vec<f64> = found.iter().map(|(pair, _)| pair.weight).collect();
        assert_eq!(weights, [0.5, 1.5]);
        let all = kept(vec![pair("d", 0, 1.0)], &[2.0], 4);
        assert_eq!((all.len(), all[0].0.weight), (1, 4.0));
    }

    #[test]
    fn pairs_are_read_by_example() {
        let pairs = (0..3 * CHUNK).map(|number| Ok(pair(&format!("d{}", number / 2), number, 1.0)));
        let sizes: Vec<Vec<usize>> =
            chunks(pairs).map(|chunk| chunk.expect("no error").iter().map(Vec::len).collect()).collect();
        assert_eq!(sizes, [vec![2; CHUNK], vec![2; CHUNK / 2]]);
        let broken = [Ok(pair("d", 0, 1.0)), Err(CliError::input("line 2"))];
        assert!(chunks(broken.into_iter()).any(|chunk| chunk.is_err()));
    }
}
