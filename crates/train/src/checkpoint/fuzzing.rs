//! Checkpoints outside of a run, for fuzz targets; built under `--cfg fuzzing` only.

use std::path::Path;

use tabpo_engine::{AdamW, AdamWConfig, Real};

use super::{Found, State};
use crate::{Cursor, Policy, TrainError, TrainSummary};

const RUN: &str = "fuzz";

/// Writes a checkpoint of a policy that has made no step.
pub fn write_checkpoint<R: Real>(path: &Path, policy: &Policy<'_, R>) -> Result<(), TrainError> {
    let config = AdamWConfig::default();
    let optimiser = match policy {
        Policy::Full(model) => AdamW::for_model(model, config),
        Policy::Adapter { base, adapter } => AdamW::for_lora(base, adapter, config),
    };
    let state = State { run: RUN.to_owned(), cursor: Cursor::default(), summary: TrainSummary::default(), best: None };
    super::write(path, &state, policy, None, &optimiser)
}

/// Whether a file is a checkpoint of this policy, which then has its parameters.
pub fn read_checkpoint<R: Real>(path: &Path, policy: &mut Policy<'_, R>) -> Result<bool, TrainError> {
    let found = super::read(path, RUN, policy, AdamWConfig::default())?;
    Ok(matches!(found, Found::Resumed(_)))
}
