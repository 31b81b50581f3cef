//! The documents of a run, split by their purpose.

use std::path::{Path, PathBuf};

use tabpo_corpus::{Document, Unit};
use tabpo_ontology::Ontology;

use crate::{
    config::{Configuration, DataSection},
    corpora,
    error::Error,
    observer::Observer,
};

/// The documents of a run.
pub(crate) struct Splits {
    /// For supervised fine-tuning.
    pub train: Vec<Document>,
    /// For the preference stage and its controls.
    pub curated: Vec<Document>,
    /// For error modes, and for choosing learning rates.
    pub validation: Vec<Document>,
    /// For the comparison; no choice is ever based on it.
    pub test: Vec<Document>,
}

impl Splits {
    /// Reads or generates the documents. Every split must contain at least one unit.
    pub(crate) fn load(config: &Configuration, ontology: &Ontology, observer: &dyn Observer) -> Result<Self, Error> {
        let splits = match &config.data.synthetic {
            Some(sizes) => {
                let corpus = tabpo_synthetic::generate(&sizes.corpus(config.run.seed));
                Self { train: corpus.sft, curated: corpus.gold, validation: corpus.validation, test: corpus.test }
            }
            None => Self::read(&config.data, ontology, observer)?,
        };
        for (name, documents) in splits.named() {
            if documents.iter().all(|document| Unit::all(document, config.data.level).next().is_none()) {
                let place =
                    file_of(&config.data, name).map_or_else(String::new, |path| format!(" ({})", path.display()));
                return Err(Error::input(format!("the {name} split{place} is empty")).with_hint(match name {
                    "validation" => "give `data.validation` a file with documents, or raise `data.hold_out`",
                    _ => "give a file with at least one document, or a larger size",
                }));
            }
        }
        Ok(splits)
    }

    fn read(data: &DataSection, ontology: &Ontology, observer: &dyn Observer) -> Result<Self, Error> {
        let read = |name: &str| -> Result<Vec<Document>, Error> {
            let Some(path) = file_of(data, name) else { return Ok(Vec::new()) };
            Ok(corpora::read(&path, None, ontology, data.strict, observer)?.documents)
        };
        let mut train = read("train")?;
        let validation = if data.validation.is_some() {
            read("validation")?
        } else if data.hold_out >= train.len() {
            return Err(Error::input(format!(
                "data.hold_out takes {} documents from a training file of {}",
                data.hold_out,
                train.len()
            ))
            .with_hint("lower data.hold_out, or name a data.validation file"));
        } else {
            train.split_off(train.len() - data.hold_out)
        };
        if data.set_aside > 0 && data.set_aside >= train.len() {
            return Err(Error::input(format!(
                "data.set_aside takes {} documents from {} that are left for training",
                data.set_aside,
                train.len()
            ))
            .with_hint("lower data.set_aside or data.hold_out"));
        }
        let curated = match data.set_aside {
            _ if data.curated.is_some() => read("curated")?,
            0 => train.clone(),
            count => train.split_off(train.len() - count),
        };
        Ok(Self { train, curated, validation, test: read("test")? })
    }

    /// The splits with their names.
    pub(crate) fn named(&self) -> [(&'static str, &[Document]); 4] {
        [("train", &self.train), ("curated", &self.curated), ("validation", &self.validation), ("test", &self.test)]
    }
}

/// A digest of the content of some documents.
pub(crate) fn digest(documents: &[Document]) -> String {
    let mut hasher = blake3::Hasher::new();
    for document in documents {
        let text = serde_json::to_vec(document).expect("a document is plain data");
        hasher.update(&(text.len() as u64).to_le_bytes()).update(&text);
    }
    hasher.finalize().to_hex().to_string()
}

fn file_of(data: &DataSection, split: &str) -> Option<PathBuf> {
    let name = match split {
        "train" => data.train.as_ref(),
        "curated" => data.curated.as_ref().or(data.train.as_ref()),
        "validation" => data.validation.as_ref().or(data.train.as_ref()),
        _ => data.test.as_ref(),
    }?;
    Some(data.dir.as_deref().unwrap_or(Path::new("")).join(name))
}
