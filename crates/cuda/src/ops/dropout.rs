//! Dropout in front of an adapter.

use tabpo_engine::Dropout;

use super::{Kernels, Rows, Shape, arguments};
use crate::driver::{Address, DriverError};

const THREADS: u32 = 256;

/// Writes what the mask keeps of `x`, `[rows, columns]`, to `to`, or adds it. `batch_rows` has the number of every row in
/// its batch, by which the mask goes.
pub fn dropout(
    kernels: Kernels<'_>,
    mask: &Dropout,
    x: Rows,
    (rows, columns, batch_rows): (u32, u32, Address),
    add: bool,
    to: Rows,
) -> Result<(), DriverError> {
    let shape = Shape { grid: [rows, columns.div_ceil(THREADS), 1], threads: THREADS, shared: 0 };
    let arguments = arguments![
        x.address,
        x.stride,
        batch_rows,
        columns,
        mask.key,
        mask.threshold,
        mask.keep as f32,
        add,
        to.address,
        to.stride,
    ];
    kernels.start("dropout", shape, arguments)
}
