//! `metrics.jsonl`: an append-only log with one JSON object per line.
//!
//! A line is written at once, so a killed process leaves at most one torn line, the last, without a line
//! break: readers skip it, and reopening cuts it off. Any other line that is not a record was damaged
//! later: only that line is lost, and reopening moves it to a file next to the log.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ReportError;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The kind of record: `sft-step`, `preference-step`, `evaluation`.
    pub kind: String,
    /// The other fields in order. Numbers that are not finite are null.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// The log of a run, open for appending. One writer at a time.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    damaged: Vec<usize>,
}

/// The content of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggedRecords {
    /// Its records in order.
    pub records: Vec<Record>,
    /// Numbers of the lines that are not records, counted from 1.
    pub damaged: Vec<usize>,
}

impl MetricsLog {
    /// Opens the log for appending. It is created if it is missing, and a torn last line is cut off.
    pub fn open(path: &Path) -> Result<Self, ReportError> {
        Self::resume(path, |_| true)
    }

    /// As [`MetricsLog::open`], but first drops the records that `keep` rejects: a run that resumes from a
    /// checkpoint drops what it logged after it, so that no step appears twice.
    pub fn resume(path: &Path, keep: impl Fn(&Record) -> bool) -> Result<Self, ReportError> {
        let mut damaged = Vec::new();
        if path.exists() {
            let bytes = fs::read(path).map_err(ReportError::io(path, "read"))?;
            let (mut kept, mut broken) = (Vec::with_capacity(bytes.len()), Vec::new());
            for (number, line, record) in lines(&bytes) {
                let to = match record {
                    Some(record) if keep(&record) => &mut kept,
                    Some(_) => continue,
                    None => {
                        damaged.push(number);
                        &mut broken
                    }
                };
                to.extend_from_slice(line);
                to.push(b'\n');
            }
            if !broken.is_empty() {
                append(&damaged_path(path), &broken)?;
            }
            if kept != bytes {
                tabpo_files::replace(path, |out| out.write_all(&kept)).map_err(ReportError::io(path, "write"))?;
            }
        }
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { path: path.to_path_buf(), file: opened.map_err(ReportError::io(path, "open"))?, damaged })
    }

    /// Numbers of the lines that were not records when the log was opened, counted from 1. They are now in
    /// the file at [`damaged_path`].
    pub fn damaged(&self) -> &[usize] {
        &self.damaged
    }

    /// Appends `value`, which must serialise to a JSON object without a key `kind`, and returns the
    /// record as written.
    pub fn append(&mut self, kind: &str, value: &impl Serialize) -> Result<Record, ReportError> {
        let record = Record::new(kind, value)?;
        let mut line = serde_json::to_vec(&record).expect("a record of JSON values serialises");
        line.push(b'\n');
        self.file.write_all(&line).map_err(ReportError::io(&self.path, "append to"))?;
        Ok(record)
    }

    /// Waits until everything is on disk; call it with every checkpoint.
    pub fn sync(&self) -> Result<(), ReportError> {
        self.file.sync_data().map_err(ReportError::io(&self.path, "sync"))
    }
}

impl Record {
    /// A record from a value that serialises to a JSON object.
    fn new(kind: &str, value: &impl Serialize) -> Result<Self, ReportError> {
        let refuse = |found: String| ReportError::NotAnObject { kind: kind.to_owned(), found };
        match serde_json::to_value(value) {
            Ok(Value::Object(fields)) if fields.contains_key("kind") => {
                Err(refuse("an object with a key `kind`".into()))
            }
            Ok(Value::Object(fields)) => Ok(Self { kind: kind.to_owned(), fields }),
            Ok(other) => Err(refuse(other.to_string())),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// The record as a typed value, or `None` if its fields do not match.
    pub fn get<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(Value::Object(self.fields.clone())).ok()
    }

    /// A field as a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name)?.as_f64()
    }

    /// The optimiser step that the record belongs to, if it has one.
    pub fn step(&self) -> Option<u64> {
        self.fields.get("step")?.as_u64()
    }
}

/// Reads all records of a log; a torn last line is skipped.
pub fn read_metrics(path: &Path) -> Result<LoggedRecords, ReportError> {
    let bytes = fs::read(path).map_err(ReportError::io(path, "read"))?;
    let mut log = LoggedRecords::default();
    for (number, _, record) in lines(&bytes) {
        match record {
            Some(record) => log.records.push(record),
            None => log.damaged.push(number),
        }
    }
    Ok(log)
}

/// The file that the damaged lines of a log are moved to.
pub fn damaged_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    PathBuf::from(name)
}

fn append(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let mut file = opened.map_err(ReportError::io(path, "open"))?;
    file.write_all(bytes).and_then(|()| file.sync_data()).map_err(ReportError::io(path, "append to"))
}

/// The complete lines of a log with their numbers, counted from 1, and their records.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8], Option<Record>)> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    let numbered = bytes[..end].split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    numbered.map(|(index, line)| (index + 1, line, serde_json::from_slice(line).ok()))
}
