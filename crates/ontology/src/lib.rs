#![doc = include_str!("../README.md")]
//!
//! # Modules
//! An [`Ontology`] never changes after it is read. Other crates refer to labels by small ids
//! ([`EntityLabelId`]), so that an unknown label is an error where data is read, with file and line,
//! and cannot occur anywhere else. `read` and `write` are the TOML format, `brat*` brat's
//! configuration, `form`, `schema`, `lark` and `prompt` what is made from an ontology, and `alternatives` is
//! the "did you mean" of every crate's errors.

#![forbid(unsafe_code)]

mod alternatives;
mod arguments;
mod brat;
mod brat_project;
mod brat_write;
mod data_names;
mod error;
mod form;
mod ids;
mod keys;
mod lark;
mod model;
mod names;
mod prompt;
mod read;
mod schema;
mod write;

pub use alternatives::{Alternatives, nearest};
pub use arguments::Arguments;
pub use brat::BratImport;
pub use brat_project::BratProject;
pub use brat_write::brat_name;
pub use error::{OntologyError, OntologyProblem};
pub use form::{AnswerForm, marked_name};
pub use ids::{EntityLabelId, RelationLabelId, SubtypeId};
pub use keys::Keys;
pub use lark::{AnswerGrammar, AnswerLimits, GrammarForm};
pub use model::{Constraint, EntityLabel, Ontology, RelationLabel, Subtype};
pub use names::canonical_name;
