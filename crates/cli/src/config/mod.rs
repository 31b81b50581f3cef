//! The configuration of a run: one TOML file, every key checked, every key replaceable with
//! `--set`.

mod file;
mod sections;

pub use file::load;
pub use sections::{
    AdapterSection, DataSection, ModelSection, PredictSection, PreferenceSection, RunConfig, Schedule, SystemSection,
    TrainSection,
};
