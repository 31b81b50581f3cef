//! What an extraction task may say: entity labels (with sub-labels), relation types with their
//! signatures, and the JSON keys that an answer uses.
//!
//! An [`Ontology`] is read from a TOML file and never changes afterwards. Every other crate refers
//! to labels by the small ids defined here, so that an unknown label is an error at the border
//! (where file and line are known) and impossible inside.

mod brat;
mod brat_project;
mod brat_write;
mod data_names;
mod error;
mod ids;
mod keys;
mod lark;
mod model;
mod nearest;
mod prompt;
mod read;
mod same_name;
mod schema;
mod write;

pub use brat::BratImport;
pub use brat_project::BratProject;
pub use brat_write::brat_name;
pub use error::{OntologyError, Problem};
pub use ids::{EntityLabelId, RelationLabelId, SubtypeId};
pub use keys::Keys;
pub use lark::{AnswerGrammar, AnswerLimits};
pub use model::{Constraint, EntityLabel, Ontology, RelationLabel, Subtype};
pub use nearest::nearest;
pub use same_name::canonical_name;
