//! Prices of tokens, from a file that the user maintains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tabpo_ontology::Alternatives;

use crate::{Channel, RemoteError, Usage};

/// Highest price of a million tokens, in any currency.
const HIGHEST: f64 = 1e12;

/// A dated price table.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceTable {
    path: PathBuf,
    /// The day on which the prices were looked up, as written in the file.
    pub date: String,
    /// The currency of all prices.
    pub currency: String,
    models: BTreeMap<String, ModelPrice>,
}

/// Prices of one model per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Prompt tokens.
    pub prompt: f64,
    /// Prompt tokens that the provider had cached; the price of other prompt tokens if missing.
    pub cached: Option<f64>,
    /// Completion tokens.
    pub completion: f64,
    /// Factor on all prices for the batch API; 1 if missing.
    pub batch: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    date: String,
    currency: String,
    models: BTreeMap<String, ModelPrice>,
}

impl PriceTable {
    /// Reads a table from a TOML file:
    ///
    /// ```toml
    /// date = "2026-01-01"
    /// currency = "USD"
    /// [models."name-of-the-model"]
    /// prompt = 1.0
    /// cached = 0.1
    /// completion = 4.0
    /// batch = 0.5
    /// ```
    pub fn read(path: &Path) -> Result<Self, RemoteError> {
        let text = tabpo_files::read_text(path).map_err(RemoteError::io(path, "read"))?;
        let refuse = |problem: String| RemoteError::Prices { path: path.to_path_buf(), problem };
        let file: File = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        for (model, price) in &file.models {
            let all = [Some(price.prompt), price.cached, Some(price.completion), price.batch];
            if all.into_iter().flatten().any(|price| !(0.0..=HIGHEST).contains(&price)) {
                return Err(refuse(format!("model `{model}`: prices are numbers from 0 to {HIGHEST}")));
            }
        }
        Ok(Self { path: path.to_path_buf(), date: file.date, currency: file.currency, models: file.models })
    }

    /// The price of a model; the error suggests models of the table.
    pub fn price(&self, model: &str) -> Result<ModelPrice, RemoteError> {
        self.models.get(model).copied().ok_or_else(|| RemoteError::NoPrice {
            path: self.path.clone(),
            model: model.to_owned(),
            alternatives: Alternatives::to(model, self.models.keys()),
        })
    }
}

impl ModelPrice {
    /// What tokens cost, in the currency of the table.
    pub fn cost(&self, usage: Usage, channel: Channel) -> f64 {
        let cached = usage.cached.min(usage.prompt);
        let fresh = (usage.prompt - cached) as f64 * self.prompt;
        let sum =
            fresh + cached as f64 * self.cached.unwrap_or(self.prompt) + usage.completion as f64 * self.completion;
        let factor = if channel == Channel::Batch { self.batch.unwrap_or(1.0) } else { 1.0 };
        sum * factor / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PriceTable, RemoteError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prices.toml");
        std::fs::write(&path, text).unwrap();
        PriceTable::read(&path)
    }

    #[test]
    fn costs_follow_the_table() {
        let table = read(
            "date = \"2026-01-01\"\ncurrency = \"USD\"\n[models.\"a-1\"]\nprompt = 1.0\ncached = 0.1\ncompletion = 4.0\nbatch = 0.5\n",
        )
        .unwrap();
        let price = table.price("a-1").unwrap();
        let usage = Usage { prompt: 1_000_000, cached: 400_000, completion: 100_000 };
        assert!((price.cost(usage, Channel::Live) - (0.6 + 0.04 + 0.4)).abs() < 1e-12);
        assert!((price.cost(usage, Channel::Batch) - 0.52).abs() < 1e-12);
        let error = table.price("a-2").unwrap_err().to_string();
        assert!(error.contains("no price for model `a-2`; did you mean `a-1`?"), "{error}");
    }

    #[test]
    fn wrong_tables_are_refused() {
        let unknown = read("date = \"d\"\ncurrency = \"USD\"\n[models.m]\nprompt = 1\ncompletion = 1\nreasoning = 2\n");
        assert!(unknown.unwrap_err().to_string().contains("reasoning"));
        let negative = read("date = \"d\"\ncurrency = \"USD\"\n[models.m]\nprompt = -1.0\ncompletion = 1.0\n");
        assert!(negative.unwrap_err().to_string().contains("from 0 to"));
    }
}
