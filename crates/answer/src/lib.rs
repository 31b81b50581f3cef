#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod align;
mod canonical;
mod decision;
mod fault;
mod finder;
mod json;
mod marked;
mod model;
mod namesakes;
mod nearest_pairs;
mod occurrences;
mod parse;
mod part;
mod read_canonical;
mod render;
mod token_roles;

pub use align::{Aligned, AlignedEntity, AlignedRelation, Grounding, align};
pub use canonical::{canonical, gold};
pub use decision::{Decision, Taken, closed_at, decision, decisions};
pub use fault::{Fault, FaultItem, FaultKind, Tier};
pub use marked::{MarkedGrammar, NotMarkable, form_of, parse_as, render_as};
pub use model::{Answer, AnswerEntity, AnswerRelation, Rendered};
pub use occurrences::{comparable, normalise};
pub use parse::{Parsed, ParsedEntity, ParsedRelation, parse};
pub use part::{Item, Part};
pub use read_canonical::read_canonical;
pub use render::render;
pub use token_roles::token_roles;
