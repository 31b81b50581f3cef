//! The layout of operands. A panel is 32 rows (or columns) over the whole depth, in steps of 32 of depth; a step
//! is two tiles of 16 lines of 64 bytes. Missing rows, columns and depth are zero.
//!
//! In a panel of rows, line `r` of tile `t` is 32 of depth of row `16 t + r`. In a panel of columns, line
//! `p` of tile `t` holds for each of the columns `16 t ..` the two numbers at depth `2 p` and `2 p + 1`.

use rayon::prelude::*;

use super::kernel::{SIDE, STEP_LINES};
use super::rounding::{round_columns, round_pair, round_row};
use crate::real::Real;
use crate::view::View;

/// 64 bytes: 32 numbers in bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(super) [u16; SIDE]);

impl Line {
    pub(super) const ZERO: Self = Self([0; SIDE]);
}

/// The first `length` lines of a buffer, which grows if necessary.
pub(super) fn fit(lines: &mut Vec<Line>, length: usize) -> &mut [Line] {
    if lines.len() < length {
        // Freed first, so that old and new never exist together.
        *lines = Vec::new();
        *lines = vec![Line::ZERO; length];
    }
    &mut lines[..length]
}

/// Panels of vectors (rows or columns) of the same depth. The buffer is reused for the next operand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Panels {
    lines: Vec<Line>,
    vectors: usize,
    depth: usize,
}

impl Panels {
    /// Changes the shape; returns the lines of all panels, and the number of lines per panel.
    fn reshape(&mut self, vectors: usize, depth: usize) -> (&mut [Line], usize) {
        (self.vectors, self.depth) = (vectors, depth);
        let length = self.panel_lines();
        (fit(&mut self.lines, vectors.div_ceil(SIDE) * length), length)
    }

    /// Number of rows or columns.
    pub(super) fn vectors(&self) -> usize {
        self.vectors
    }

    /// Length of each row or column.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn steps(&self) -> usize {
        self.depth.div_ceil(SIDE)
    }

    fn panel_lines(&self) -> usize {
        self.steps() * STEP_LINES
    }

    /// The lines of one panel.
    pub(super) fn panel(&self, panel: usize) -> &[Line] {
        &self.lines[panel * self.panel_lines()..][..self.panel_lines()]
    }

    /// Bytes of the buffer.
    fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

/// The rounded rows of a left operand, `[rows, depth]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(super) panels: Panels,
}

impl Rows {
    /// Rounds a matrix with contiguous rows, in parallel.
    pub(crate) fn pack(&mut self, x: View<'_, f32>) {
        let (lines, length) = self.panels.reshape(x.height(), x.width());
        lines.par_chunks_mut(length).enumerate().for_each(|(panel, lines)| {
            let rows = panel * SIDE..x.height().min((panel + 1) * SIDE);
            if rows.len() < SIDE {
                lines.fill(Line::ZERO);
            }
            for (row, number) in rows.enumerate() {
                round_row(x.row(number), row, lines);
            }
        });
    }

    /// Bytes of the buffer.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.bytes()
    }
}

/// The rounded columns of a right operand, `[depth, columns]`. For weights `[outputs, inputs]` in `y = x W^T` the
/// columns are the outputs and the depth is the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Columns {
    pub(super) panels: Panels,
}

impl Columns {
    /// Packs weights of any stored type; `widen(output, row)` writes one row.
    pub(crate) fn of_weights(outputs: usize, inputs: usize, widen: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let mut packed = Self::default();
        let (lines, length) = packed.panels.reshape(outputs, inputs);
        lines.par_chunks_mut(length).enumerate().for_each_init(
            || vec![0.0; SIDE * inputs],
            |values, (panel, lines)| {
                let columns = panel * SIDE..outputs.min((panel + 1) * SIDE);
                for (output, row) in columns.clone().zip(values.chunks_exact_mut(inputs)) {
                    widen(output, row);
                }
                let mut rows: [&[f32]; SIDE] = [&[]; SIDE];
                for (row, values) in rows.iter_mut().zip(values.chunks_exact(inputs)) {
                    *row = values;
                }
                round_columns(&rows[..columns.len()], 1.0, lines);
            },
        );
        packed
    }

    /// Packs `scale` times a small matrix `[columns, depth]` with contiguous rows.
    pub(crate) fn pack_along(&mut self, matrix: View<'_, f32>, scale: f32) {
        let (lines, length) = self.panels.reshape(matrix.height(), matrix.width());
        lines.par_chunks_mut(length).enumerate().for_each(|(panel, lines)| {
            let mut rows: [&[f32]; SIDE] = [&[]; SIDE];
            let numbers = panel * SIDE..matrix.height().min((panel + 1) * SIDE);
            for (row, number) in rows.iter_mut().zip(numbers.clone()) {
                *row = matrix.row(number);
            }
            round_columns(&rows[..numbers.len()], scale, lines);
        });
    }

    /// Packs `scale` times a small matrix `[depth, columns]` with contiguous rows.
    pub(crate) fn pack_across(&mut self, matrix: View<'_, f32>, scale: f32) {
        let (lines, length) = self.panels.reshape(matrix.width(), matrix.height());
        lines.par_chunks_mut(length).enumerate().for_each(|(panel, lines)| {
            let columns = panel * SIDE..matrix.width().min((panel + 1) * SIDE);
            let row = |depth: usize| if depth < matrix.height() { &matrix.row(depth)[columns.clone()] } else { &[] };
            for (step, lines) in lines.chunks_exact_mut(STEP_LINES).enumerate() {
                for pair in 0..SIDE / 2 {
                    let depth = step * SIDE + 2 * pair;
                    round_pair(row(depth), row(depth + 1), scale, pair, lines);
                }
            }
        });
    }

    /// Writes the weights of one output to `out`.
    pub(crate) fn copy_column<R: Real>(&self, column: usize, out: &mut [R]) {
        assert!(column < self.columns() && out.len() == self.depth(), "a column of the matrix and its depth");
        let tile = column % SIDE / 16 * 16;
        let word = column % 16 * 2;
        for (out, step) in out.chunks_mut(SIDE).zip(self.panels.panel(column / SIDE).chunks_exact(STEP_LINES)) {
            for (out, line) in out.chunks_mut(2).zip(&step[tile..]) {
                for (out, &bits) in out.iter_mut().zip(&line.0[word..]) {
                    *out = R::from_f32(f32::from_bits(u32::from(bits) << 16));
                }
            }
        }
    }

    /// Number of columns: outputs of weights.
    pub(crate) fn columns(&self) -> usize {
        self.panels.vectors()
    }

    /// The depth: inputs of weights.
    pub(crate) fn depth(&self) -> usize {
        self.panels.depth()
    }

    /// Bytes of the buffer.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    /// The packed numbers, for a digest.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        let bytes = self.bytes();
        // SAFETY: the buffer has `bytes` bytes, because a line is 64 bytes without padding.
        unsafe { std::slice::from_raw_parts(self.panels.lines.as_ptr().cast(), bytes) }
    }
}
