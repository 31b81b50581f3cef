//! Products of the rows of a generating pass with weights that are packed for them.

use super::gemm::for_each_block;
use super::reduce::LANES;
use super::simd;
use crate::real::Real;
use crate::scratch::fit;
use crate::view::ViewMut;

/// A matrix of weights `[outputs, inputs]` in panels of [`LANES`] outputs, `[panels, inputs, LANES]`, which a
/// product with few rows reads sequentially. Packing the weights for every such product would take as long as the
/// product.
#[derive(Debug)]
pub(crate) struct Panels<R> {
    inputs: usize,
    outputs: usize,
    values: Vec<[R; LANES]>,
}

impl<R: Real> Panels<R> {
    /// Packs a row-major `[outputs, inputs]` matrix.
    pub(crate) fn new(matrix: &[R], inputs: usize) -> Self {
        let outputs = matrix.len() / inputs;
        let mut values = vec![[R::ZERO; LANES]; outputs.div_ceil(LANES) * inputs];
        for (output, row) in matrix.chunks_exact(inputs).enumerate() {
            let panel = output / LANES * inputs;
            for (input, &value) in row.iter().enumerate() {
                values[panel + input][output % LANES] = value;
            }
        }
        Self { inputs, outputs, values }
    }

    /// `y = x W^T`, with `x` as `[rows, inputs]` and `y` as `[rows, outputs]`; `packed` is scratch for a copy of
    /// `x`.
    pub(crate) fn product(&self, x: &[R], y: &mut [R], packed: &mut Vec<R>) {
        match x.len() / self.inputs {
            0 => {}
            1 => self.product_in_groups::<1>(x, y, packed),
            2 => self.product_in_groups::<2>(x, y, packed),
            3 | 4 => self.product_in_groups::<4>(x, y, packed),
            // Six rows of sums with two registers each leave 4 of 16 registers for the operands.
            _ => self.product_in_groups::<6>(x, y, packed),
        }
    }

    fn product_in_groups<const ROWS: usize>(&self, x: &[R], y: &mut [R], packed: &mut Vec<R>) {
        let rows = x.len() / self.inputs;
        let groups = rows.div_ceil(ROWS);
        // Rows of a group side by side, `[groups, inputs, ROWS]`; missing rows are zero.
        let packed = fit(packed, groups * self.inputs * ROWS).as_chunks_mut::<ROWS>().0;
        packed.fill([R::ZERO; ROWS]);
        for (row, x) in x.chunks_exact(self.inputs).enumerate() {
            let group = &mut packed[row / ROWS * self.inputs..][..self.inputs];
            for (target, &value) in group.iter_mut().zip(x) {
                target[row % ROWS] = value;
            }
        }
        let (packed, target) = (&*packed, ViewMut::new(y, rows, self.outputs));
        for_each_block(target, self.inputs, |mut block, block_rows, columns| {
            assert!(block_rows.len() == rows && columns.start % LANES == 0, "few rows are not split");
            simd(
                #[inline(always)]
                || {
                    for start in columns.clone().step_by(LANES) {
                        let panel = &self.values[start / LANES * self.inputs..][..self.inputs];
                        let width = LANES.min(columns.end - start);
                        let at = start - columns.start;
                        for (group, x) in packed.chunks_exact(self.inputs).enumerate() {
                            let sums = group_sums(x, panel);
                            for (sums, row) in sums.iter().zip(group * ROWS..rows) {
                                block.row_mut(row)[at..at + width].copy_from_slice(&sums[..width]);
                            }
                        }
                    }
                },
            );
        });
    }
}

/// The products of a group of rows with one panel. The sums of every row are a separate variable, because the
/// compiler would keep a two-dimensional array in memory.
#[inline(always)]
fn group_sums<R: Real, const ROWS: usize>(x: &[[R; ROWS]], panel: &[[R; LANES]]) -> [[R; LANES]; 6] {
    const { assert!(ROWS <= 6) };
    let zero = [R::ZERO; LANES];
    let (mut s0, mut s1, mut s2, mut s3, mut s4, mut s5) = (zero, zero, zero, zero, zero, zero);
    for (x, w) in x.iter().zip(panel) {
        add_scaled(&mut s0, x[0], w);
        if ROWS > 1 {
            add_scaled(&mut s1, x[1], w);
        }
        if ROWS > 2 {
            add_scaled(&mut s2, x[2], w);
            add_scaled(&mut s3, x[3], w);
        }
        if ROWS > 4 {
            add_scaled(&mut s4, x[4], w);
            add_scaled(&mut s5, x[5], w);
        }
    }
    [s0, s1, s2, s3, s4, s5]
}

/// `sums += x w`
#[inline(always)]
fn add_scaled<R: Real>(sums: &mut [R; LANES], x: R, w: &[R; LANES]) {
    for (sum, &w) in sums.iter_mut().zip(w) {
        *sum = x.mul_add(w, *sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_multiply_any_number_of_rows_and_outputs() {
        let value = |i: usize| (i * 37 % 101) as f64 - 50.0;
        for (rows, inputs, outputs) in [(1, 5, 3), (2, 7, 16), (3, 1, 33), (4, 8, 20), (9, 12, 50), (64, 130, 470)] {
            let x: Vec<f64> = (0..rows * inputs).map(value).collect();
            let matrix: Vec<f64> = (0..outputs * inputs).map(|i| value(i + 7)).collect();
            let mut y = vec![0.0; rows * outputs];
            Panels::new(&matrix, inputs).product(&x, &mut y, &mut Vec::new());
            for row in 0..rows {
                for output in 0..outputs {
                    let exact: f64 = (0..inputs).map(|i| x[row * inputs + i] * matrix[output * inputs + i]).sum();
                    assert_eq!(y[row * outputs + output], exact, "{rows} {inputs} {outputs}");
                }
            }
        }
    }
}
