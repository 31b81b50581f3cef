//! The canonical JSON answer: written with the role of every byte, parsed tolerantly, aligned to
//! the source.

mod model;
mod role;

pub use model::{Answer, AnswerEntity, AnswerRelation, Rendered};
pub use role::{Item, Part, Role};
