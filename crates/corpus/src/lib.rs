//! Documents with mentions and relations.
//!
//! A [`Document`] holds one source text, its tokens as byte ranges, its sentences as token ranges,
//! and gold annotation by token offset. A [`Unit`] is the piece of a document that one prompt is
//! made of: a sentence or the whole document.

mod document;
mod unit;

pub use document::{Document, Mention, Relation, Span};
pub use unit::{Level, Unit};
