//! Checkpoints outside of a run, for fuzz targets; built under `--cfg fuzzing` only.

use std::path::Path;

use tabpo_engine::Worker;

use super::{Found, State};
use crate::{Cursor, TrainError, TrainSummary};

const RUN: &str = "fuzz";

/// Writes a checkpoint of a worker that has begun training and made no step.
pub fn write_checkpoint(path: &Path, worker: &dyn Worker) -> Result<(), TrainError> {
    let state = State { run: RUN.to_owned(), cursor: Cursor::default(), summary: TrainSummary::default() };
    super::write(path, &state, worker.export()?)
}

/// Whether a file is a checkpoint of this worker, which then has its parameters.
pub fn read_checkpoint(path: &Path, worker: &mut dyn Worker) -> Result<bool, TrainError> {
    Ok(matches!(super::read(path, RUN, worker)?, Found::Resumed(_)))
}
