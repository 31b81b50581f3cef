//! Documents with mentions and relations.
//!
//! A [`Document`] holds one source text, its tokens as byte ranges, its sentences as token ranges,
//! and gold annotation by token offset. A [`Unit`] is the piece of a document that one prompt is
//! made of: a sentence or the whole document.
//!
//! [`read`] and [`write`] know the file formats of the field. What a format cannot say is counted in
//! [`Notes`], never dropped in silence. [`synthetic`] generates a corpus; [`statistics`] describes
//! one.

mod annotate;
mod characters;
mod document;
mod error;
mod format;
mod notes;
mod repeats;
mod statistics;
pub mod synthetic;
mod text_document;
mod unit;

pub use document::{Document, Mention, Relation, Span};
pub use error::{CorpusError, Place, Problem};
pub use format::{
    Documents, Format, Loaded, Name, brat, doccano, dygie, json_message, jsonl, label_studio, mend_surrogates, read,
    stream, write, write_file,
};
pub use notes::{Note, Notes};
pub use statistics::{Distribution, LabelCount, Statistics, SurfaceStatistics, statistics, unseen_rate};
pub use unit::{Level, Unit};
