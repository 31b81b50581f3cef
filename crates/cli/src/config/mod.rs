//! The configuration of a run: one TOML file, every key checked, every key replaceable with
//! `--set`.

mod file;
mod messages;
mod sections;

pub use file::load;
pub use sections::{
    AdapterSection, DataSection, PredictSection, PreferenceSection, RunConfig, Schedule, SystemSection, TrainSection,
};
