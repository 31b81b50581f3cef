//! The configuration of a run: one TOML file, every key checked, every key replaceable with
//! `--set`.

mod check;
mod file;
mod messages;
pub mod names;
mod sections;

pub use check::rank_within;
pub use file::load;
pub use sections::{
    AdapterSection, DataSection, ModelSection, PredictSection, PreferenceSection, RunConfig, Schedule, SystemSection,
    TrainSection,
};
