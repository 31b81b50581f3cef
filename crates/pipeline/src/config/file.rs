//! Reads a configuration from TOML and applies overrides; errors point at the line.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Configuration, messages, read::from_toml};
use crate::{device::Device, error::Error};

/// Values that override those of a configuration file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `KEY=VALUE` each. The key is dotted, such as `sft.epochs`; the value is TOML, or text without quotes. Paths in
    /// values are relative to the working directory.
    pub set: Vec<String>,
    /// `memory_gb` of every training section and of predictions.
    pub memory_gb: Option<f64>,
    /// `model.device`.
    pub device: Option<Device>,
}

impl Configuration {
    /// Reads a configuration file, applies `overrides` and checks the result. Paths in the file are relative to its
    /// folder.
    pub fn read(path: &Path, overrides: &Overrides) -> Result<Self, Error> {
        let text = tabpo_files::read_text(path).map_err(|error| messages::unreadable(path, &error))?;
        if let Some(error) = messages::missing(path, &text) {
            return Err(error);
        }
        // The file is checked without overrides first, so that an error can point at one of its lines.
        let mut config: Self = from_toml(&text).map_err(|error| messages::in_file(path, &text, &error))?;
        resolve_paths(&mut config, path.parent().unwrap_or(Path::new("")));
        writable(&config)?;
        for replacement in &overrides.set {
            config = replace(&config, replacement)?;
        }
        if overrides.memory_gb.is_some() {
            let warmup = config.warmup.as_mut().map(|warmup| &mut warmup.train);
            let sections = [&mut config.sft, &mut config.preference.train];
            sections.into_iter().chain(warmup).for_each(|section| section.memory_gb = overrides.memory_gb);
            config.predict.memory_gb = overrides.memory_gb;
        }
        config.model.device = overrides.device.unwrap_or(config.model.device);
        config.check()?;
        Ok(config)
    }

    /// Reads the configuration that a run keeps in its directory, in which all paths are as they were when it began.
    pub(crate) fn of_run(path: &Path, text: &str) -> Result<Self, Error> {
        from_toml(text).map_err(|error| messages::in_file(path, text, &error))
    }

    /// The configuration as TOML, including every default.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a checked configuration holds only what TOML can write")
    }
}

/// Applies one `KEY=VALUE`; a value that is not valid TOML is taken as a string.
fn replace(config: &Configuration, replacement: &str) -> Result<Configuration, Error> {
    let usage =
        || Error::input(format!("--set {replacement}: expected KEY=VALUE")).with_hint("for example --set sft.epochs=2");
    let (key, text) = replacement.split_once('=').ok_or_else(usage)?;
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    if value.is_str() && beyond_toml(text.trim()) {
        return Err(Error::input(format!("--set {replacement}: the number is too large for TOML")).with_hint(format!(
            "the largest whole number is {}, the largest other number {:e}",
            i64::MAX,
            f64::MAX
        )));
    }
    let mut root = Value::try_from(config).expect("its numbers were checked: they can be written");
    let mut place = &mut root;
    let parts: Vec<&str> = key.split('.').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(usage());
    }
    let (last, sections) = parts.split_last().ok_or_else(usage)?;
    for section in sections {
        let table = place
            .as_table_mut()
            .ok_or_else(|| Error::input(format!("--set {replacement}: `{key}` is not a section")))?;
        place = table.entry((*section).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    }
    let table =
        place.as_table_mut().ok_or_else(|| Error::input(format!("--set {replacement}: `{key}` is not a section")))?;
    table.insert((*last).to_owned(), value);
    let text = toml::to_string(&root).expect("a configuration and a value that was read can be written");
    let config = from_toml(&text).map_err(|error| messages::in_replacement(replacement, &error))?;
    writable(&config)?;
    Ok(config)
}

/// Refuses integers above 2^63 - 1. They can be read, but TOML cannot express them, and the configuration is written
/// to the run directory.
fn writable(config: &Configuration) -> Result<(), Error> {
    // These are JSON values, in which nan and inf have become null.
    let system = config.preference.system.iter();
    let parameters =
        system.map(|(name, system)| (format!("preference.system.{}", name.escape_debug()), &system.parameters));
    let remote = config.predict.remote.iter();
    let further = remote.map(|(name, remote)| (format!("predict.remote.{}.extra", name.escape_debug()), &remote.extra));
    for (key, value) in parameters
        .chain(further)
        .flat_map(|(key, map)| map.iter().map(move |(name, value)| (format!("{key}.{name}"), value)))
    {
        if has_null(value) {
            return Err(Error::input(format!("{key} must be a finite number")));
        }
    }
    let values = serde_json::to_value(config).expect("a configuration has string keys and plain values");
    match too_large(&values, "") {
        Some((key, number)) => Err(Error::input(format!("{key} is {number}, but must be at most {}", i64::MAX))),
        None => Ok(()),
    }
}

fn has_null(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(values) => values.iter().any(has_null),
        serde_json::Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

/// The first integer that is too large for TOML, with its key.
fn too_large(value: &serde_json::Value, key: &str) -> Option<(String, u64)> {
    let inner = |name: &dyn std::fmt::Display| if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
    match value {
        serde_json::Value::Number(number) => {
            number.as_u64().filter(|&number| i64::try_from(number).is_err()).map(|number| (key.to_owned(), number))
        }
        serde_json::Value::Array(values) => values.iter().find_map(|value| too_large(value, key)),
        serde_json::Value::Object(map) => {
            map.iter().find_map(|(name, value)| too_large(value, &inner(&name.escape_debug())))
        }
        _ => None,
    }
}

/// Whether a text is a number too large for TOML.
fn beyond_toml(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.parse::<f64>().is_ok_and(|number| number.is_infinite() || number > i64::MAX as f64)
}

fn resolve_paths(config: &mut Configuration, folder: &Path) {
    let resolve = |path: &mut Option<PathBuf>| {
        if let Some(path) = path {
            *path = folder.join(&*path);
        }
    };
    resolve(&mut config.ontology.file);
    resolve(&mut config.data.dir);
    resolve(&mut config.model.folder);
    resolve(&mut config.pairs.patterns);
    config.predict.remote.values_mut().for_each(|remote| resolve(&mut remote.prices));
    if let Some(template) = &mut config.model.chat_template
        && !tabpo_model::ChatTemplate::BUILT_IN.contains(&template.as_str())
    {
        *template = folder.join(&*template).display().to_string();
    }
    if let Some(adapter) = &mut config.adapter {
        resolve(&mut adapter.folder);
    }
}
