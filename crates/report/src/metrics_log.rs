//! `metrics.jsonl`: one JSON object a line, only ever appended to.
//!
//! A record is written with a single write of the line and its end. A kill can therefore leave at
//! most one torn line, the last, which has no line end: readers leave it out, and reopening for
//! writing cuts it off.

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
}

impl MetricsLog {
    /// Opens the log for appending, creates it if it is missing, and cuts off a torn last line.
    pub fn open(path: &Path) -> Result<Self, ReportError> {
        Self::resume(path, |_| true)
    }

    /// As [`MetricsLog::open`], but first drops the records that `keep` refuses: a run that resumes
    /// from a checkpoint drops what it logged after it, so that no step appears twice.
    pub fn resume(path: &Path, keep: impl Fn(&Record) -> bool) -> Result<Self, ReportError> {
        if path.exists() {
            let text = fs::read_to_string(path).map_err(ReportError::io(path, "read"))?;
            let mut kept = String::with_capacity(text.len());
            for (line, record) in parse(path, &text)? {
                if keep(&record) {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
            if kept != text {
                replace_file(path, kept.as_bytes())?;
            }
        }
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { path: path.to_path_buf(), file: opened.map_err(ReportError::io(path, "open"))? })
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

/// Reads all records of a log; a torn last line is left out, a broken line before it is an error.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>, ReportError> {
    let text = fs::read_to_string(path).map_err(ReportError::io(path, "read"))?;
    Ok(parse(path, &text)?.into_iter().map(|(_, record)| record).collect())
}

fn parse<'a>(path: &Path, text: &'a str) -> Result<Vec<(&'a str, Record)>, ReportError> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.split('\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| match serde_json::from_str(line) {
            Ok(record) => Ok((line, record)),
            Err(error) => {
                Err(ReportError::Record { path: path.to_path_buf(), line: index + 1, found: error.to_string() })
            }
        })
        .collect()
}
