//! `metrics.jsonl`: one JSON object a line, only ever appended to.
//!
//! A record is written with a single write of the line and its end. A kill can therefore leave at
//! most one torn line, the last, which has no line end: readers leave it out, and reopening for
//! writing cuts it off. Any other line that is no record was damaged later: it costs itself alone, and
//! reopening moves it to a file beside the log.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ReportError;
use crate::write::replace_file;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What the record is about: `sft-step`, `preference-step`, `evaluation`.
    pub kind: String,
    /// Everything else, in the order in which it was written. Numbers that are not finite are null.
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

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggedRecords {
    /// Its records in order.
    pub records: Vec<Record>,
    /// Numbers, from 1, of the lines that are no records.
    pub damaged: Vec<usize>,
}

impl MetricsLog {
    /// Opens the log for appending, creates it if it is missing, and cuts off a torn last line.
    pub fn open(path: &Path) -> Result<Self, ReportError> {
        Self::resume(path, |_| true)
    }

    /// As [`MetricsLog::open`], but first drops the records that `keep` refuses: a run that resumes
    /// from a checkpoint drops what it logged after it, so that no step appears twice.
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
                replace_file(path, &kept)?;
            }
        }
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { path: path.to_path_buf(), file: opened.map_err(ReportError::io(path, "open"))?, damaged })
    }

    /// Numbers, from 1, of the lines that were no records when the log was opened. They stand in
    /// the file at [`damaged_path`] now.
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

    /// Waits until everything appended is on the disk; to be called with every checkpoint.
    pub fn sync(&self) -> Result<(), ReportError> {
        self.file.sync_data().map_err(ReportError::io(&self.path, "sync"))
    }
}

impl Record {
    /// A record from anything that serialises to a JSON object.
    pub fn new(kind: &str, value: &impl Serialize) -> Result<Self, ReportError> {
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

    /// The record as a typed value, or `None` where its fields do not fit.
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

/// Reads all records of a log; a torn last line is left out without a word.
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

/// Where the lines of a log go that are no records.
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

/// The whole lines of a log with their numbers, from 1, and their records.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8], Option<Record>)> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    let numbered = bytes[..end].split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    numbered.map(|(index, line)| (index + 1, line, serde_json::from_slice(line).ok()))
}
