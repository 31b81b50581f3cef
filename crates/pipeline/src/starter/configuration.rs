//! The configuration, as a file with comments.

use std::path::Path;

use tabpo_corpus::{Level, Unit};
use toml::Value;

use super::{Corpus, ONTOLOGY, StartOptions, lengths::ModelFacts, relative::relative};
use crate::config::{PredictSection, TrainSection};

/// The training sentences, or documents, below which batches are small, so that an epoch has steps enough.
const FEW_UNITS: usize = 200;
/// The steps that supervised fine-tuning of a pretrained model should have at least.
const STEPS: f64 = 150.0;
/// The most documents that are held out for validation.
const HELD_OUT: usize = 100;

/// The text of a configuration.
pub(super) fn toml(
    name: &str,
    options: &StartOptions,
    corpus: Option<&Corpus>,
    level: Level,
    model: Option<&ModelFacts>,
) -> String {
    let seen = |path: &Path| quoted(&relative(path, &options.out).display().to_string());
    let mut text = format!(
        "# Check it with `tabpo check`, then start it with `tabpo run`. `tabpo config reference` explains every key;\n\
         # each can be overridden on the command line, for example with --set sft.epochs=2.\n\
         \n[run]\nname = {}\n# Another seed gives another run; the same one repeats it.\nseed = 1\n",
        quoted(name)
    );
    match corpus {
        Some(corpus) => {
            text += &format!("\n[ontology]\nfile = {}\n", quoted(ONTOLOGY));
            text += &data(corpus, options, level);
        }
        None => {
            text += "\n# The built-in corpus. For documents of your own, give `tabpo init` their folder.\n\
                     [data.synthetic]\nsft = 2000\ncurated = 400\nvalidation = 200\ntest = 400\n";
        }
    }
    text += "\n[model]\n";
    match (model, &options.model) {
        (Some(_), Some(path)) => text += &format!("folder = {}\n", seen(path)),
        _ => {
            text += "# A small model from scratch, to try things out. For results, give the folder or GGUF file of a\n\
                     # pretrained one: folder = \"...\", with an [adapter] of rank 16 or 32, and without [warmup].\n\
                     hidden = 128\nlayers = 4\nheads = 4\nkv_heads = 4\nintermediate = 352\n";
        }
    }
    let units =
        corpus.map_or(2000, |corpus| corpus.train.iter().flat_map(|document| Unit::all(document, level)).count());
    text += &sft(corpus, units, model);
    text += &preference(corpus, units, level, model);
    text
}

/// Where the documents are.
fn data(corpus: &Corpus, options: &StartOptions, level: Level) -> String {
    let sources = &corpus.sources;
    let level = match level {
        Level::Sentence => {
            "# What one prompt shows: a sentence, or with \"document\" all of one.\nlevel = \"sentence\""
        }
        Level::Document => {
            "# What one prompt shows: a document, or with \"sentence\" one of its sentences.\nlevel = \"document\""
        }
    };
    let mut text = format!("\n[data]\n{level}\n");
    let folder = sources.train.parent().filter(|folder| sources.paths().all(|path| path.parent() == Some(*folder)));
    if let Some(folder) = folder {
        // `data` of `data` is the folder that holds it.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        text += &format!("dir = {}\n", quoted(&relative(folder, &options.out).display().to_string()));
    }
    let path = |path: &Path| match folder {
        Some(_) => quoted(&path.file_name().unwrap_or_default().to_string_lossy()),
        None => quoted(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()),
    };
    text += &format!("train = {}\n", path(&sources.train));
    if let Some(curated) = &sources.curated {
        text += &format!(
            "# Documents with labels that are beyond doubt, for the preference stage.\ncurated = {}\n",
            path(curated)
        );
    }
    text += "# Error modes are measured on it, and learning rates chosen.\n";
    match &sources.validation {
        Some(validation) => text += &format!("validation = {}\n", path(validation)),
        None => {
            let count = (corpus.train.len() / 10).clamp(1, HELD_OUT);
            text += &format!("# No file: the last of the training documents are held out.\nhold_out = {count}\n");
        }
    }
    let test = sources.test.as_deref().unwrap_or(&sources.train);
    text += &format!("# Nothing is chosen by it: the systems are compared on it.\ntest = {}\n", path(test));
    text
}

/// Adapter, warm-up and supervised fine-tuning.
fn sft(corpus: Option<&Corpus>, units: usize, model: Option<&ModelFacts>) -> String {
    let batch = batch(units);
    let Some(model) = model else {
        let mut text = String::new();
        if let Some(corpus) = corpus {
            let sentences: usize = corpus.train.iter().map(|document| document.sentences.len()).sum();
            let copies = (40_000 / sentences.max(1)).clamp(1, 64);
            text += &format!(
                "\n# Copies of the training documents in other words, from which a model from scratch learns to copy.\n\
                 [warmup]\ncopies = {copies}\n\n[warmup.train]\nepochs = 1\nlearning_rate = 1e-3\n"
            );
        }
        return text
            + &format!("\n[sft]\nepochs = 4\nbatch_size = {batch}\nlearning_rate = 1e-3\nweight_decay = 0.1\n");
    };
    let (rate, _) = rates(model);
    let epochs = (STEPS * batch as f64 / units.max(1) as f64).ceil().clamp(2.0, 10.0);
    let mut text = format!(
        "\n# LoRA: the model's own weights stay as they are.\n[adapter]\nrank = 32\nalpha = 64\n\
         \n[sft]\nepochs = {epochs}\nbatch_size = {batch}\nlearning_rate = {rate}\n"
    );
    text += &max_length(model);
    text
}

/// The key for examples that are longer than the default limit.
fn max_length(model: &ModelFacts) -> String {
    let usual = TrainSection::default().max_length;
    if model.longest <= usual {
        return String::new();
    }
    let wanted = model.longest.next_multiple_of(256).min(model.window);
    format!(
        "# The longest example has {} tokens. Longer ones than this are skipped.\nmax_length = {wanted}\n",
        model.longest
    )
}

/// Pairs, systems and answers.
fn preference(corpus: Option<&Corpus>, units: usize, level: Level, model: Option<&ModelFacts>) -> String {
    let curated =
        corpus.map_or(400, |corpus| corpus.curated().iter().flat_map(|document| Unit::all(document, level)).count());
    let batch = batch(units);
    // At most two passes over the pairs.
    let steps = (2 * curated / batch).clamp(10, 75);
    let rates = model.map_or("[2e-4, 8e-4]", |model| rates(model).1);
    let mut text = format!(
        "\n[pairs]\n# Rejected answers for each sentence or document, made from the errors of the fine-tuned model.\nper_example = 2\n\
         \n# Every system starts from the same checkpoint and sees the same pairs. The controls (continued fine-tuning\n\
         # for as many steps and for as many FLOPs, gated fine-tuning) are always added. `tabpo objective --list`\n\
         # shows what else there is.\n[preference]\nobjectives = [\"dpo\", \"tab-po\"]\n\
         # More seeds show how much is chance: seeds = [1, 2, 3]\nseeds = [1]\n\
         # For every system the better one of these on validation.\nlearning_rates = {rates}\n\
         \n[preference.train]\nsteps = {steps}\nbatch_size = {batch}\n"
    );
    if let Some(model) = model {
        text += &max_length(model);
    }
    let usual = PredictSection::default().max_new_tokens;
    let answer = match model {
        Some(model) if model.answer > 0 => (model.answer + model.answer / 4).next_multiple_of(64).clamp(128, 8192),
        _ => usual,
    };
    text += &format!(
        "\n[predict]\n# The longest answer, in tokens.\nmax_new_tokens = {answer}\n\
         # Whether the test documents are answered once more, under the ontology's grammar.\nconstrained = false\n"
    );
    text
}

fn batch(units: usize) -> usize {
    if units < FEW_UNITS { 8 } else { 16 }
}

/// Learning rates for an adapter: of supervised fine-tuning, and those to choose from for preferences. Small models
/// take higher ones.
fn rates(model: &ModelFacts) -> (&'static str, &'static str) {
    match model.parameters {
        0..300_000_000 => ("1e-3", "[1e-4, 4e-4]"),
        300_000_000..1_000_000_000 => ("5e-4", "[5e-5, 2e-4]"),
        _ => ("2e-4", "[2e-5, 1e-4]"),
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
