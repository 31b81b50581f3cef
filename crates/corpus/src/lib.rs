#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod annotate;
mod characters;
mod discover;
mod document;
mod error;
mod format;
mod notes;
mod repeats;
mod statistics;
mod text_document;
mod unit;

pub use characters::is_blank;
pub use discover::discover;
pub use document::{Document, Mention, Relation, Span};
pub use error::{CorpusError, FilePlace, Problem};
pub use format::{
    Documents, Format, Loaded, Name, brat, doccano, dygie, json_message, jsonl, label_studio, mend_surrogates, read,
    read_str, stream, write, write_file,
};
pub use notes::{Note, Notes};
pub use statistics::{Distribution, LabelCount, Statistics, SurfaceStatistics, statistics};
pub use unit::{Level, Unit};
