//! The kernel in plain Rust: the reference for the others, and the fallback on machines without instructions for
//! products in bf16.

use super::kernel::{Run, SIDE, STEP_LINES};
use super::layout::Line;
use crate::ops::simd;

/// Lines of a tile.
const TILE: usize = 16;

/// See [`super::kernel::Session::block`].
///
/// # Safety
/// As there.
pub(super) unsafe fn block(runs: &[Run], target: *mut f32, stride: usize, accumulate: bool) {
    let mut sums = [[0.0_f32; SIDE]; SIDE];
    if accumulate {
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller guarantees 32 rows of 32 sums at `target`.
            sums.copy_from_slice(unsafe { std::slice::from_raw_parts(target.add(row * stride), SIDE) });
        }
    }
    for run in runs {
        // SAFETY: the caller guarantees that the panels have `STEP_LINES` lines per step.
        let [rows, columns] =
            [run.rows, run.columns].map(|lines| unsafe { std::slice::from_raw_parts(lines, run.steps * STEP_LINES) });
        for (rows, columns) in rows.chunks_exact(STEP_LINES).zip(columns.chunks_exact(STEP_LINES)) {
            simd(
                #[inline(always)]
                || add_step(rows, columns, &mut sums),
            );
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: as for reading.
        unsafe { std::slice::from_raw_parts_mut(target.add(row * stride), SIDE) }.copy_from_slice(sums);
    }
}

/// Adds the products of one step of depth.
#[inline(always)]
fn add_step(rows: &[Line], columns: &[Line], sums: &mut [[f32; SIDE]; SIDE]) {
    let mut right = [[0.0_f32; SIDE]; SIDE];
    for (number, line) in columns.iter().enumerate() {
        let (first, pair) = (number / TILE * TILE, number % TILE);
        for (column, [even, odd]) in line.0.as_chunks::<2>().0.iter().enumerate() {
            right[2 * pair][first + column] = widen(*even);
            right[2 * pair + 1][first + column] = widen(*odd);
        }
    }
    for (line, sums) in rows.iter().zip(sums) {
        for (&x, right) in line.0.iter().zip(&right) {
            let x = widen(x);
            for (sum, &y) in sums.iter_mut().zip(right) {
                *sum += x * y;
            }
        }
    }
}

#[inline(always)]
fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds to nearest, ties to even; like the instructions, it flushes subnormal numbers to zero.
fn round(value: f32) -> u16 {
    if value.is_subnormal() { half::bf16::from_f32(0.0_f32.copysign(value)) } else { half::bf16::from_f32(value) }
        .to_bits()
}

/// Rounds one row into a panel of rows: `row` is its index in the panel, `panel` the panel's lines.
pub(super) fn round_row(values: &[f32], row: usize, panel: &mut [Line]) {
    for (values, step) in values.chunks(SIDE).zip(panel.chunks_exact_mut(STEP_LINES)) {
        step[row] = Line(std::array::from_fn(|depth| values.get(depth).map_or(0, |&value| round(value))));
    }
}

/// Rounds `scale` times up to 32 rows of weights into one panel of columns, depth along the rows.
pub(super) fn round_columns(rows: &[&[f32]], scale: f32, panel: &mut [Line]) {
    let rounded = |column: usize, depth: usize| {
        rows.get(column).map_or(0, |row| round(scale * row.get(depth).copied().unwrap_or(0.0)))
    };
    for (step, lines) in panel.chunks_exact_mut(STEP_LINES).enumerate() {
        for (number, line) in lines.iter_mut().enumerate() {
            let (first, pair) = (number / TILE * TILE, number % TILE);
            let depth = step * SIDE + 2 * pair;
            *line = Line(std::array::from_fn(|word| rounded(first + word / 2, depth + word % 2)));
        }
    }
}

/// Rounds `scale` times up to 32 elements of two rows into line `pair` of the two tiles of a step of columns,
/// depth down the rows.
pub(super) fn round_pair(even: &[f32], odd: &[f32], scale: f32, pair: usize, step: &mut [Line]) {
    for tile in 0..2 {
        step[tile * TILE + pair] = Line(std::array::from_fn(|word| {
            let row = if word % 2 == 0 { even } else { odd };
            round(scale * row.get(tile * TILE + word / 2).copied().unwrap_or(0.0))
        }));
    }
}

/// Transposes a block of 32 columns by 32 of depth of a packed matrix into 32 of depth by 32 columns.
pub(super) fn transpose(from: &[Line; STEP_LINES], to: &mut [Line; STEP_LINES]) {
    // The number at `depth` of `column` of a step.
    let at = |column: usize, depth: usize| from[column / TILE * TILE + depth / 2].0[2 * (column % TILE) + depth % 2];
    for (number, line) in to.iter_mut().enumerate() {
        let (first, pair) = (number / TILE * TILE, number % TILE);
        // Depth and columns are exchanged.
        *line = Line(std::array::from_fn(|word| at(2 * pair + word % 2, first + word / 2)));
    }
}
