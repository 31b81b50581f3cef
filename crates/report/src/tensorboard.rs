//! `TensorBoard` event files with scalar summaries.
//!
//! An event file is a sequence of `TFRecord`s (`tensorflow/core/lib/io/record_writer.h`), each a
//! protobuf `Event` (`tensorflow/core/util/event.proto`):
//!
//! ```text
//! record: u64 length | u32 masked_crc32c(length) | bytes | u32 masked_crc32c(bytes)   (little endian)
//! Event:   1 wall_time: double   2 step: int64   3 file_version: string   5 summary: Summary
//! Summary: 1 value: repeated { 1 tag: string   2 simple_value: float }
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Record, ReportError};

/// One point of a scalar curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The name of the curve; parts divided by `/` group curves.
    pub tag: String,
    /// The value; `TensorBoard` keeps single precision.
    pub value: f32,
}

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Creates `events.out.tfevents.{seconds}.tabpo` in an existing directory. `wall_time` is in
    /// seconds since 1970; `TensorBoard` reads the files of a directory in the order of their names.
    pub fn create(directory: &Path, wall_time: f64) -> Result<Self, ReportError> {
        let path = directory.join(format!("events.out.tfevents.{:010}.tabpo", wall_time as u64));
        let file = File::create(&path).map_err(ReportError::io(&path, "create"))?;
        let mut writer = Self { path, file: BufWriter::new(file) };
        let mut event = Vec::new();
        put_double(&mut event, 1, wall_time);
        put_bytes(&mut event, 3, b"brain.Event:2");
        writer.write_event(&event)?;
        Ok(writer)
    }

    /// Where the events go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the values of one step.
    pub fn write(&mut self, step: u64, wall_time: f64, scalars: &[Scalar]) -> Result<(), ReportError> {
        let mut summary = Vec::new();
        for scalar in scalars {
            let mut value = Vec::new();
            put_bytes(&mut value, 1, scalar.tag.as_bytes());
            put_float(&mut value, 2, scalar.value);
            put_bytes(&mut summary, 1, &value);
        }
        let mut event = Vec::new();
        put_double(&mut event, 1, wall_time);
        put_varint(&mut event, 2 << 3);
        put_varint(&mut event, step);
        put_bytes(&mut event, 5, &summary);
        self.write_event(&event)
    }

    /// Writes every number of a log record that names a step, as `kind/field` (`kind/field/inner`
    /// for nested objects). A record without a step is left out.
    pub fn write_record(&mut self, record: &Record, wall_time: f64) -> Result<(), ReportError> {
        let Some(step) = record.step() else { return Ok(()) };
        let mut scalars = Vec::new();
        for (name, value) in record.fields.iter().filter(|(name, _)| *name != "step") {
            collect_numbers(&format!("{}/{name}", record.kind), value, &mut scalars);
        }
        if scalars.is_empty() { Ok(()) } else { self.write(step, wall_time, &scalars) }
    }

    /// Hands everything written so far to the system.
    pub fn flush(&mut self) -> Result<(), ReportError> {
        self.file.flush().map_err(ReportError::io(&self.path, "write"))
    }

    fn write_event(&mut self, event: &[u8]) -> Result<(), ReportError> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked_crc32c(&length).to_le_bytes());
        record.extend_from_slice(event);
        record.extend_from_slice(&masked_crc32c(event).to_le_bytes());
        self.file.write_all(&record).map_err(ReportError::io(&self.path, "write"))
    }
}

/// CRC-32C rotated right by 15 bits plus a constant, as `TFRecord` files store it: a checksum of
/// data that itself holds checksums must not cancel out.
pub fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn collect_numbers(tag: &str, value: &Value, scalars: &mut Vec<Scalar>) {
    match value {
        Value::Number(number) => {
            let value = number.as_f64().unwrap_or(f64::NAN) as f32;
            scalars.push(Scalar { tag: tag.to_owned(), value });
        }
        Value::Object(fields) => {
            for (name, inner) in fields {
                collect_numbers(&format!("{tag}/{name}"), inner, scalars);
            }
        }
        _ => {}
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Protobuf wire type 1: eight bytes.
fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Protobuf wire type 5: four bytes.
fn put_float(out: &mut Vec<u8>, field: u64, value: f32) {
    put_varint(out, field << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Protobuf wire type 2: length and bytes.
fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
