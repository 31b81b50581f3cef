//! Checkpoints outside a run, for fuzz targets; built with `--cfg fuzzing` only.

use std::path::Path;

use tabpo_engine::Worker;
use tabpo_objective::GroupLosses;

use super::{State, StoredCheckpoint};
use crate::{Cursor, TrainError, TrainSummary};

const RUN: &str = "fuzz";

/// Writes a checkpoint of a worker that has begun training but taken no step.
pub fn write_checkpoint(path: &Path, worker: &dyn Worker) -> Result<(), TrainError> {
    let state = State {
        run: RUN.to_owned(),
        work: String::new(),
        cursor: Cursor::default(),
        summary: TrainSummary::default(),
        labels: GroupLosses::default(),
    };
    super::write(path, &state, worker.export()?)
}

/// Whether a file is a checkpoint of this worker, which then takes its parameters.
pub fn read_checkpoint(path: &Path, worker: &mut dyn Worker) -> Result<bool, TrainError> {
    Ok(matches!(super::read(path, |state| state.run == RUN, worker)?, StoredCheckpoint::Resumed(_)))
}
