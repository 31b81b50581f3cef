//! `stages.json`, the record of which stages are done, and with which inputs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use super::{
    digests::file_digest,
    directory::{RECORD_OF_STAGES, RunDirectory, write_atomically},
    inputs::Key,
};
use crate::{
    error::{Error, ResultExt},
    observer::{Observer, StageState},
};

/// The record of finished stages of one run directory.
///
/// A stage is up to date if it finished with the same key (the digest of its inputs, see [`super::inputs`]) and its
/// outputs have not changed since.
pub(crate) struct Ledger {
    path: PathBuf,
    root: PathBuf,
    stages: BTreeMap<String, Finished>,
}

/// One finished stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// Digest of its inputs.
    pub key: String,
    /// What it wrote.
    pub outputs: Vec<Output>,
    /// How long it took, not counting earlier attempts that were interrupted.
    pub seconds: f64,
}

impl Finished {
    /// A digest of everything that the stage wrote.
    pub(crate) fn digest(&self) -> String {
        self.digest_below(Path::new(""))
    }

    /// A digest of what the stage wrote below a folder of the run directory.
    pub(crate) fn digest_below(&self, folder: &Path) -> String {
        let mut hasher = blake3::Hasher::new();
        for output in self.outputs.iter().filter(|output| output.path.starts_with(folder)) {
            hasher.update(output.path.as_os_str().as_encoded_bytes()).update(&[0]).update(output.digest.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// A file that a stage wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    /// The file, relative to the run directory.
    pub path: PathBuf,
    /// blake3 of its content.
    pub digest: String,
}

impl Ledger {
    /// Reads the record, or starts an empty one. A stage whose entry is damaged runs again.
    pub(crate) fn open(directory: &RunDirectory, observer: &dyn Observer) -> Result<Self, Error> {
        let path = directory.path(RECORD_OF_STAGES)?;
        let stages = match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).unwrap_or_else(|error| {
                let stages = salvage(&content);
                observer.warn(&format!(
                    "{} is damaged ({error}): all stages run again except {} whose entries are intact",
                    path.display(),
                    stages.len()
                ));
                stages
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(Error::input(format!("cannot read {}: {error}", path.display()))
                    .with_hint("it is the record of finished stages; without it, every stage runs again"));
            }
        };
        Ok(Self { path, root: directory.root().to_owned(), stages })
    }

    /// All finished stages by name.
    pub(crate) fn stages(&self) -> &BTreeMap<String, Finished> {
        &self.stages
    }

    /// Runs a stage unless it is up to date, and returns its entry.
    ///
    /// `outputs` are the files and folders, relative to the run directory, that `work` must complete. A stage that fails
    /// or is interrupted leaves no entry, so the next run does it again, starting from whatever checkpoint `work` has
    /// saved.
    pub(crate) fn stage(
        &mut self,
        observer: &dyn Observer,
        name: &str,
        key: &Key,
        outputs: &[PathBuf],
        work: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Finished, Error> {
        if let Some(done) = self.stages.get(name)
            && key.accepts(&done.key)
            && self.unchanged(done)
        {
            observer.stage(name, StageState::UpToDate);
            return Ok(done.clone());
        }
        if observer.interrupted() {
            return Err(
                Error::interrupted(format!("stopped before {name}")).with_hint("run the same command again to resume")
            );
        }
        self.stages.remove(name);
        observer.stage(name, StageState::Started);
        let started = Instant::now();
        work().map_err(|error| error.context(format!("{name} did not finish")))?;
        let seconds = started.elapsed().as_secs_f64();
        let finished = Finished { key: key.as_str().to_owned(), outputs: self.digests(outputs)?, seconds };
        self.stages.insert(name.to_owned(), finished.clone());
        write_atomically(&self.path, &self.to_json())?;
        observer.stage(name, StageState::Finished { seconds });
        Ok(finished)
    }

    /// The record as a JSON object with one line for each stage, so that damage to one line spares the others.
    fn to_json(&self) -> Vec<u8> {
        let lines = self.stages.iter().map(|(name, finished)| {
            let [name, finished] = [serde_json::to_string(name), serde_json::to_string(finished)]
                .map(|text| text.expect("the record is plain data with string keys"));
            format!("{name}: {finished}")
        });
        format!("{{\n{}\n}}\n", lines.collect::<Vec<_>>().join(",\n")).into_bytes()
    }

    fn unchanged(&self, done: &Finished) -> bool {
        done.outputs
            .iter()
            .all(|output| file_digest(&self.root.join(&output.path)).is_ok_and(|digest| digest == output.digest))
    }

    fn digests(&self, paths: &[PathBuf]) -> Result<Vec<Output>, Error> {
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

/// The finished stages in a record; of a damaged one, those that are intact.
pub(super) fn read(content: &[u8]) -> BTreeMap<String, Finished> {
    serde_json::from_slice(content).unwrap_or_else(|_| salvage(content))
}

/// The intact entries of a damaged record.
fn salvage(content: &[u8]) -> BTreeMap<String, Finished> {
    let entry = |line: &[u8]| -> Option<(String, Finished)> {
        let line = line.strip_suffix(b",").unwrap_or(line);
        let object = [b"{", line, b"}"].concat();
        serde_json::from_slice::<BTreeMap<String, Finished>>(&object).ok()?.pop_first()
    };
    content.split(|&byte| byte == b'\n').filter_map(entry).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> (String, Finished) {
        let output = Output { path: format!("{name}/model, \"a\"").into(), digest: "b".into() };
        (name.to_owned(), Finished { key: "c".into(), outputs: vec![output], seconds: 1.5 })
    }

    #[test]
    fn damage_to_the_record_costs_the_stage_that_it_hits() {
        let names = ["base", "sft", "systems/a\n/b", "test"];
        let stages = names.iter().map(|name| entry(name)).collect();
        let ledger = Ledger { path: PathBuf::new(), root: PathBuf::new(), stages };
        let text = ledger.to_json();
        assert_eq!(serde_json::from_slice::<BTreeMap<String, Finished>>(&text).expect("JSON").len(), names.len());
        for position in 0..text.len() {
            let mut damaged = text.clone();
            damaged[position] ^= 0x80;
            // A line end belongs to two stages.
            let hit = if text[position] == b'\n' { 2 } else { 1 };
            assert!(salvage(&damaged).len() >= names.len() - hit, "{position}");
        }
        // A record that was cut off keeps the stages before the cut.
        assert_eq!(salvage(&text[..text.len() - 10]).len(), names.len() - 1);
    }
}
