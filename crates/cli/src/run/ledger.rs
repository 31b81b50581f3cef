//! `stages.json`: which stages are done, under which settings and inputs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use super::directory::{RunDirectory, write_atomically};
use crate::{
    error::{CliError, ResultExt},
    output::Context,
};

/// The record of finished stages of one run directory.
///
/// A stage is current when it finished under the same key (a digest of its settings, of the content
/// of its inputs and of the program's version) and its outputs are still what it wrote.
pub struct Ledger {
    path: PathBuf,
    root: PathBuf,
    stages: BTreeMap<String, Finished>,
}

/// One finished stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// Digest of settings, inputs and program version.
    pub key: String,
    /// What it wrote.
    pub outputs: Vec<Output>,
    /// How long it took, without work saved from an earlier, interrupted try.
    pub seconds: f64,
}

/// A file that a stage wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The file, relative to the run directory.
    pub path: PathBuf,
    /// blake3 of its content.
    pub digest: String,
}

/// What a stage depends on besides the program: named digests and settings.
#[derive(Default)]
pub struct Key(blake3::Hasher);

impl Key {
    /// A key for a stage of this name.
    pub fn new(stage: &str) -> Self {
        let key = Self::default();
        key.with("stage", &stage).with("version", &env!("CARGO_PKG_VERSION"))
    }

    /// Adds a setting or the digest of an input.
    pub fn with(mut self, name: &str, value: &impl Serialize) -> Self {
        let value = serde_json::to_vec(value).expect("settings are plain data with string keys");
        for part in [name.as_bytes(), &value] {
            self.0.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        self
    }

    /// The beginning of the digest: enough to tell the files of one key from those of another.
    pub fn short(&self) -> String {
        self.digest()[..12].to_owned()
    }

    fn digest(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

impl Ledger {
    /// Reads the record, or starts an empty one. A record that can't be read is set aside, not trusted.
    pub fn open(directory: &RunDirectory, context: &Context) -> Result<Self, CliError> {
        let path = directory.path("stages.json")?;
        let stages = match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).unwrap_or_else(|error| {
                context.warn(format!("{} cannot be read ({error}); every stage runs again", path.display()));
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { path, root: directory.root().to_owned(), stages })
    }

    /// All finished stages by name.
    pub fn stages(&self) -> &BTreeMap<String, Finished> {
        &self.stages
    }

    /// Runs a stage unless it is current, and returns a digest of what it wrote.
    ///
    /// `outputs` are paths relative to the run directory, files or folders; `work` must leave them
    /// complete. A stage that fails or is interrupted leaves no entry, so the next run does it again
    /// from whatever checkpoint `work` itself keeps.
    pub fn stage(
        &mut self,
        context: &Context,
        name: &str,
        key: &Key,
        outputs: &[PathBuf],
        work: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<String, CliError> {
        let key = key.digest();
        if let Some(done) = self.stages.get(name)
            && done.key == key
            && self.unchanged(done)
        {
            context.say(format!("{name}: up to date"));
            return Ok(combined(&done.outputs));
        }
        if context.interrupted() {
            return Err(
                CliError::interrupted(format!("stopped before {name}")).with_hint("the same command goes on from here")
            );
        }
        self.stages.remove(name);
        let started = Instant::now();
        work().map_err(|error| error.context(format!("{name} did not finish")))?;
        let seconds = started.elapsed().as_secs_f64();
        let outputs = self.digests(outputs)?;
        let digest = combined(&outputs);
        self.stages.insert(name.to_owned(), Finished { key, outputs, seconds });
        let record = serde_json::to_vec_pretty(&self.stages).expect("the record is plain data with string keys");
        write_atomically(&self.path, &record)?;
        context.say(format!("{name}: {seconds:.1} s"));
        Ok(digest)
    }

    fn unchanged(&self, done: &Finished) -> bool {
        done.outputs
            .iter()
            .all(|output| file_digest(&self.root.join(&output.path)).is_ok_and(|digest| digest == output.digest))
    }

    fn digests(&self, paths: &[PathBuf]) -> Result<Vec<Output>, CliError> {
        let mut outputs = Vec::new();
        for path in paths {
            collect(&self.root, path, &mut outputs)
                .or_failed()
                .map_err(|error| error.context(format!("cannot read back {}", path.display())))?;
        }
        outputs.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(outputs)
    }
}

fn collect(root: &Path, relative: &Path, outputs: &mut Vec<Output>) -> std::io::Result<()> {
    let path = root.join(relative);
    if path.is_dir() {
        for entry in fs::read_dir(&path)? {
            collect(root, &relative.join(entry?.file_name()), outputs)?;
        }
        return Ok(());
    }
    outputs.push(Output { path: relative.to_owned(), digest: file_digest(&path)? });
    Ok(())
}

/// blake3 of a file's content, in hexadecimal.
pub fn file_digest(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn combined(outputs: &[Output]) -> String {
    let mut hasher = blake3::Hasher::new();
    for output in outputs {
        hasher.update(output.path.as_os_str().as_encoded_bytes()).update(&[0]).update(output.digest.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
