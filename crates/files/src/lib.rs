//! Files that are either the old ones or the new ones, never half of each.
//!
//! A file is written under a temporary name in its folder, synced and renamed, so that a file that
//! exists is whole. A file that is dropped before it is finished leaves nothing behind, what a killed
//! process left is collected ([`collect_leftovers`], or by the next one that writes the same file), and
//! of two processes that write one file the second is told ([`WriteRefusal::Busy`]).
//!
//! A link stays a link: what it points to is replaced. Pipes, terminals and other devices are written
//! into as they are, and `-` is standard output ([`Target`]).
//!
//! [`NumberedLines`] reads big files line by line, [`read_text`] whole texts.

mod claim;
mod folder;
mod leftovers;
mod lines;
mod refusal;
mod replacement;
mod target;
mod text;

pub use claim::Claim;
pub use folder::FolderReplacement;
pub use leftovers::collect_leftovers;
pub use lines::{NumberedLine, NumberedLines};
pub use refusal::WriteRefusal;
pub use replacement::{Replacement, replace, replace_by_path};
pub use target::Target;
pub use text::{BYTE_ORDER_MARK, read_bytes, read_text, read_text_with_mark, utf8, without_mark};
