#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod claim;
mod folder;
mod leftovers;
mod lines;
mod refusal;
mod replacement;
mod target;
mod text;

pub use folder::FolderReplacement;
pub use leftovers::collect_leftovers;
pub use lines::{NumberedLine, NumberedLines};
pub use refusal::WriteRefusal;
pub use replacement::{Replacement, replace, replace_by_path};
pub use target::Target;
pub use text::{BYTE_ORDER_MARK, read_bytes, read_text, read_text_with_mark, utf8, without_mark};
