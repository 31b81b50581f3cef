//! Reading a configuration: TOML, `--set` replacements, and errors that point at the line.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::RunConfig;
use crate::error::CliError;

/// Reads a configuration file and applies `key.path=value` replacements. Paths in the file are
/// taken relative to the file's folder, paths given with `--set` relative to the working directory.
/// `memory_gb` takes the place of every training section's.
pub fn load(path: &Path, replacements: &[String], memory_gb: Option<f64>) -> Result<RunConfig, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::input(format!("cannot read the configuration {}: {error}", path.display())))?;
    // Checked as written first, so that an error can point at a line of the file.
    let plain: RunConfig =
        toml::from_str(&text).map_err(|error| file_error(path, &text, error.span(), error.message()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut config = plain;
    resolve_paths(&mut config, folder);
    for replacement in replacements {
        config = replace(&config, replacement)?;
    }
    if memory_gb.is_some() {
        let warmup = config.warmup.as_mut().map(|warmup| &mut warmup.train);
        let sections = [&mut config.sft, &mut config.preference.train];
        sections.into_iter().chain(warmup).for_each(|section| section.memory_gb = memory_gb);
    }
    check(&config)?;
    Ok(config)
}

fn file_error(path: &Path, text: &str, span: Option<std::ops::Range<usize>>, message: &str) -> CliError {
    let place = span.map_or_else(String::new, |span| {
        let before = &text[..span.start.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let content = text.lines().nth(line - 1).unwrap_or_default();
        format!(":{line}: `{}`", content.trim())
    });
    let error = CliError::input(format!("{}{place}: {message}", path.display()));
    match nearest_in(message) {
        Some(name) => error.with_hint(format!("did you mean `{name}`?")),
        None => error,
    }
}

/// Serde's messages list what was expected ("unknown field `stpes`, expected one of `steps`, ..."):
/// the nearest of them to the first quoted word.
fn nearest_in(message: &str) -> Option<&str> {
    let (head, expected) = message.split_once("expected")?;
    let found = head.split('`').nth(1)?;
    tabpo_ontology::nearest(found, expected.split('`').skip(1).step_by(2))
}

/// Applies one `key.path=value`; the value is TOML, or a bare string where it isn't.
fn replace(config: &RunConfig, replacement: &str) -> Result<RunConfig, CliError> {
    let usage = || {
        CliError::input(format!("--set {replacement}: expected KEY=VALUE")).with_hint("for example --set sft.epochs=2")
    };
    let (key, text) = replacement.split_once('=').ok_or_else(usage)?;
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut root = Value::try_from(config).expect("a configuration that was read can be written");
    let mut place = &mut root;
    let parts: Vec<&str> = key.split('.').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(usage());
    }
    let (last, sections) = parts.split_last().ok_or_else(usage)?;
    for section in sections {
        let table = place
            .as_table_mut()
            .ok_or_else(|| CliError::input(format!("--set {replacement}: `{key}` is not a section")))?;
        place = table.entry((*section).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    }
    let table = place
        .as_table_mut()
        .ok_or_else(|| CliError::input(format!("--set {replacement}: `{key}` is not a section")))?;
    table.insert((*last).to_owned(), value);
    root.try_into().map_err(|error: toml::de::Error| {
        let mistake = CliError::input(format!("--set {replacement}: {}", error.message()));
        match nearest_in(error.message()) {
            Some(name) => mistake.with_hint(format!("did you mean `{name}`?")),
            None => mistake,
        }
    })
}

fn resolve_paths(config: &mut RunConfig, folder: &Path) {
    let resolve = |path: &mut Option<PathBuf>| {
        if let Some(path) = path {
            *path = folder.join(&*path);
        }
    };
    resolve(&mut config.ontology.file);
    resolve(&mut config.data.dir);
    resolve(&mut config.model.folder);
    resolve(&mut config.pairs.patterns);
    if let Some(template) = &mut config.model.chat_template
        && !tabpo_engine::ChatTemplate::BUILT_IN.contains(&template.as_str())
    {
        *template = folder.join(&*template).display().to_string();
    }
    if let Some(adapter) = &mut config.adapter {
        resolve(&mut adapter.folder);
    }
}

/// What the types can't say.
fn check(config: &RunConfig) -> Result<(), CliError> {
    let data = &config.data;
    if data.synthetic.is_none() && data.train.is_none() {
        return Err(CliError::input("[data] names no documents")
            .with_hint("give `train` and `test` files, or a [data.synthetic] section for the built-in corpus"));
    }
    if data.synthetic.is_some() && data.train.is_some() {
        return Err(CliError::input("[data] names files and [data.synthetic] the built-in corpus")
            .with_hint("keep one of the two"));
    }
    if data.train.is_some() && data.test.is_none() {
        return Err(CliError::input("[data] names no `test` file").with_hint("the comparison is made on it"));
    }
    if data.train.is_some() && config.ontology.file.is_none() {
        return Err(CliError::input("[ontology] names no `file`")
            .with_hint("documents of your own need an ontology of your own"));
    }
    if data.synthetic.is_some() && config.ontology.file.is_some() {
        return Err(CliError::input("[ontology] names a file, but the built-in corpus has an ontology of its own")
            .with_hint("remove the [ontology] section, or name document files in [data]"));
    }
    if config.preference.seeds.is_empty() {
        return Err(CliError::input("preference.seeds is empty").with_hint("for example seeds = [1]"));
    }
    if config.pairs.per_example == 0 {
        return Err(CliError::input("pairs.per_example is 0").with_hint("preference objectives need at least 1"));
    }
    if let Some(warmup) = &config.warmup {
        if warmup.sentences == 0 && warmup.copies == 0 {
            return Err(CliError::input("[warmup] has neither sentences nor copies")
                .with_hint("set warmup.sentences, warmup.copies or both, or remove the section"));
        }
        for (name, share) in [("own_words", warmup.own_words), ("replaced", warmup.replaced)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(CliError::input(format!("warmup.{name} is a share of the words, between 0 and 1")));
            }
        }
    }
    let warmup = config.warmup.as_ref().map(|warmup| ("warmup.train", &warmup.train));
    let sections = [("sft", &config.sft), ("preference.train", &config.preference.train)];
    for (name, section) in sections.into_iter().chain(warmup) {
        if section.batch_size == 0 || section.max_tokens == 0 {
            return Err(CliError::input(format!("{name}.batch_size and {name}.max_tokens must be at least 1")));
        }
        if !(section.learning_rate.is_finite() && section.learning_rate >= 0.0) {
            return Err(CliError::input(format!("{name}.learning_rate must be a number of at least 0")));
        }
        if !(0.0..=1.0).contains(&section.warmup) {
            return Err(CliError::input(format!("{name}.warmup is a share of the steps, between 0 and 1")));
        }
        if section.memory_gb.is_some_and(|limit| limit.is_nan() || limit <= 0.0) {
            return Err(CliError::input(format!("{name}.memory_gb must be a number above 0")));
        }
    }
    Ok(())
}
