//! The configuration of a run: one TOML file whose keys are all checked and can all be overridden.

mod check;
mod convert;
mod file;
mod messages;
pub(crate) mod names;
mod projections;
mod read;
mod reference;
mod schema;
mod sections;
mod sources;
mod system;

pub use check::rank_within;
pub use file::Overrides;
pub use reference::reference;
pub use schema::schema;
pub use sections::{
    AdapterSection, AnswerSection, Configuration, DataSection, ModelSection, PredictSection, PreferenceSection,
    SyntheticSection, ThresholdChoice, TrainSection,
};
pub use sources::SourceShare;
pub use system::SystemSection;
