//! When, where and by what a run was begun: `record.json` in the run directory.
//!
//! It is written once and then kept, so that a run that is resumed, or whose page is written again, says the same.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::directory::{RunDirectory, write_atomically};
use crate::{
    error::{Error, ResultExt},
    memory,
    observer::Observer,
};

/// The file in the run directory.
const FILE: &str = "record.json";

/// The program that makes a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its version: `0.1.0`.
    pub version: String,
    /// The commit that it was built from, if it is known.
    pub commit: Option<String>,
}

impl Default for Program {
    /// This library, of an unknown commit.
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), commit: None }
    }
}

/// The beginning of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunRecord {
    /// The day on which it began, in UTC: `2026-11-28`. Nothing finer, so that a run that is made again on the same day has the
    /// same page.
    pub(super) begun: String,
    /// What made it.
    pub(super) program: Program,
    /// The processor.
    pub(super) machine: String,
    /// Threads that computed.
    pub(super) threads: usize,
}

/// Whether a run has its record.
pub(super) fn exists(directory: &RunDirectory) -> Result<bool, Error> {
    Ok(directory.path(FILE)?.exists())
}

impl RunRecord {
    /// The record of a run, which is made now if there is none or it is damaged.
    pub(super) fn of_run(directory: &RunDirectory, program: &Program, observer: &dyn Observer) -> Result<Self, Error> {
        let path = directory.path(FILE)?;
        match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(record) => return Ok(record),
                Err(error) => observer
                    .warn(&format!("{} is damaged ({error}): it is written again, with today's date", path.display())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).or_failed(),
        }
        let record = Self {
            begun: jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
            program: program.clone(),
            machine: memory::processor(),
            threads: rayon::current_num_threads(),
        };
        write_atomically(&path, &serde_json::to_vec_pretty(&record).expect("a record is plain data"))?;
        Ok(record)
    }

    /// The record in a run directory, if there is a sound one.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(FILE)).ok()?).ok()
    }

    /// One line for the top of the page.
    pub(super) fn line(&self) -> String {
        let Self { begun, program, machine, threads } = self;
        let commit = program.commit.as_ref().map_or(String::new(), |commit| format!(" (commit {commit})"));
        let threads = if *threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        format!("Begun on {begun} by tabpo {}{commit} on {machine}, {threads}", program.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_its_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory::open(folder.path()).expect("a run directory");
        let program = Program { version: "1.2.3".into(), commit: Some("abc".into()) };
        let first = RunRecord::of_run(&directory, &program, &()).expect("a record");
        let later = RunRecord::of_run(&directory, &Program::default(), &()).expect("a record");
        assert_eq!(first, later);
        let line = first.line();
        assert!(line.starts_with("Begun on 2") && line.contains(" by tabpo 1.2.3 (commit abc) on "), "{line}");
        assert!(line.ends_with(&format!("{} threads", first.threads)) || line.ends_with("1 thread"), "{line}");

        std::fs::write(folder.path().join(FILE), "{").expect("writable");
        let again = RunRecord::of_run(&directory, &Program::default(), &()).expect("a new record");
        assert_eq!(again.program, Program::default());
    }
}
