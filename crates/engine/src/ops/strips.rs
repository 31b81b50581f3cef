//! Products of the rows of a generating pass with weights as their file has them: `y = sum of x W^T`.
//!
//! Rows of activations lie side by side in vectors ([`RowPanels`]), so that rows of weights, widened a strip at a
//! time, are read as scalars and never rearranged, and each strip is widened once for all rows of the pass.

use super::reduce::LANES;
use super::simd;
use super::tiles::{ROWS, weighted_sums};
use crate::real::Real;
use crate::scratch::ThreadScratch;
use crate::view::{Bands, View, ViewMut, for_each_tile};
use crate::weights::Matrix;

/// Outputs of a task.
const TASK: usize = 8 * ROWS;

/// Elements of the weights that are widened at a time; with the activations of a pass they fit into the second
/// cache of a core.
const STRIP: usize = 1 << 15;

/// Rows of activations as panels of [`LANES`] rows, `[panels, inputs, LANES]`; missing rows are zero.
#[derive(Debug, Default)]
pub(crate) struct RowPanels<R> {
    rows: usize,
    inputs: usize,
    values: Vec<[R; LANES]>,
}

impl<R: Real> RowPanels<R> {
    /// Copies `scale * x`, with `x` as `[rows, inputs]`.
    pub(crate) fn pack(&mut self, x: View<'_, R>, scale: R) {
        (self.rows, self.inputs) = (x.height(), x.width());
        let length = self.rows.div_ceil(LANES) * self.inputs;
        if self.values.len() < length {
            self.values.resize(length, [R::ZERO; LANES]);
        }
        for (panel, values) in self.values[..length].chunks_exact_mut(self.inputs.max(1)).enumerate() {
            for lane in 0..LANES {
                let row = panel * LANES + lane;
                if row < x.height() {
                    for (vector, &value) in values.iter_mut().zip(x.row(row)) {
                        vector[lane] = scale * value;
                    }
                } else {
                    for vector in values.iter_mut() {
                        vector[lane] = R::ZERO;
                    }
                }
            }
        }
    }

    fn panel(&self, panel: usize) -> &[[R; LANES]] {
        &self.values[panel * self.inputs..(panel + 1) * self.inputs]
    }
}

/// The weights of a term, `[outputs, inputs]`.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a, R> {
    Matrix(&'a Matrix<R>),
    View(View<'a, R>),
}

/// One product of a sum of products with the same rows and outputs.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a, R> {
    pub(crate) x: &'a RowPanels<R>,
    pub(crate) weights: Weights<'a, R>,
}

/// `y = sum of x W^T`, plus `bias` if given, in parallel over the outputs.
pub(crate) fn product<R: Real>(
    terms: &[Term<'_, R>],
    bias: Option<&[R]>,
    y: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
) {
    let rows = y.height();
    if rows == 0 {
        return;
    }
    for_each_tile([y], Bands::Every(rows), [TASK], |[mut y], tile| {
        let first = tile.column * TASK;
        let width = y.width();
        for row in 0..rows {
            let y = y.row_mut(row);
            match bias {
                Some(bias) => y.copy_from_slice(&bias[first..first + width]),
                None => y.fill(R::ZERO),
            }
        }
        for term in terms {
            let strip = (STRIP / term.x.inputs.max(1) / ROWS).max(1) * ROWS;
            for start in (0..width).step_by(strip) {
                let outputs = first + start..first + width.min(start + strip);
                scratch.with(|scratch| {
                    let weights = match term.weights {
                        Weights::Matrix(matrix) => matrix.block(outputs, 0..term.x.inputs, scratch),
                        Weights::View(view) => view.rows(outputs),
                    };
                    add_strip(term.x, weights, &mut y, start);
                });
            }
        }
    });
}

/// Adds the products with a strip of weights to the columns of `y` from `start` on.
fn add_strip<R: Real>(x: &RowPanels<R>, weights: View<'_, R>, y: &mut ViewMut<'_, R>, start: usize) {
    simd(
        #[inline(always)]
        || {
            let panels = x.rows.div_ceil(LANES);
            for pair in (0..panels).step_by(2) {
                let second = (pair + 1 < panels).then(|| x.panel(pair + 1));
                for output in (0..weights.height()).step_by(ROWS) {
                    let count = ROWS.min(weights.height() - output);
                    let mut scalars = [weights.row(output); ROWS];
                    for (offset, scalars) in scalars[..count].iter_mut().enumerate() {
                        *scalars = weights.row(output + offset);
                    }
                    let sums = weighted_sums(&scalars[..count], x.panel(pair), second);
                    let rows = pair * LANES..x.rows.min((pair + 2) * LANES);
                    for (lane, row) in rows.enumerate() {
                        let sums = &sums[lane / LANES];
                        let y = &mut y.row_mut(row)[start + output..start + output + count];
                        for (y, sums) in y.iter_mut().zip(sums) {
                            *y += sums[lane % LANES];
                        }
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, step: usize) -> Vec<f64> {
        (0..count).map(|i| (i * step % 101) as f64 - 50.0).collect()
    }

    #[test]
    fn sums_of_products_are_exact_for_any_shape() {
        for (rows, inputs, low, outputs) in [(1, 5, 2, 3), (16, 7, 1, 48), (17, 3, 4, 49), (33, 40, 8, 100)] {
            let (x, z) = (values(rows * inputs, 37), values(rows * low, 23));
            let (w, b) = (values(outputs * inputs, 29), values(outputs * low, 31));
            let bias = values(outputs, 17);
            let (mut wide, mut narrow) = (RowPanels::default(), RowPanels::default());
            // Stale values of an earlier pass must not matter.
            wide.pack(View::new(&values(64 * 64, 3), 64, 64), 1.0);
            wide.pack(View::new(&x, rows, inputs), 1.0);
            narrow.pack(View::new(&z, rows, low), 2.0);
            let matrix = Matrix::owned(outputs, inputs, w.clone());
            let terms = [
                Term { x: &wide, weights: Weights::Matrix(&matrix) },
                Term { x: &narrow, weights: Weights::View(View::new(&b, outputs, low)) },
            ];
            let mut y = vec![f64::NAN; rows * outputs];
            product(&terms, Some(&bias), ViewMut::new(&mut y, rows, outputs), &ThreadScratch::new());
            for row in 0..rows {
                for output in 0..outputs {
                    let own: f64 = (0..inputs).map(|i| x[row * inputs + i] * w[output * inputs + i]).sum();
                    let adapter: f64 = (0..low).map(|i| 2.0 * z[row * low + i] * b[output * low + i]).sum();
                    assert_eq!(y[row * outputs + output], own + adapter + bias[output], "{rows} {inputs} {outputs}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_is_computed_with_it() {
        let (rows, inputs, outputs) = (70, 129, 50);
        let x: Vec<f32> = values(rows * inputs, 37).iter().map(|&v| (v / 7.0) as f32).collect();
        let w: Vec<f32> = values(outputs * inputs, 29).iter().map(|&v| (v / 3.0) as f32).collect();
        let matrix = Matrix::owned(outputs, inputs, w);
        let of = |rows: std::ops::Range<usize>| {
            let mut panels = RowPanels::default();
            panels.pack(View::new(&x[rows.start * inputs..rows.end * inputs], rows.len(), inputs), 1.0);
            let mut y = vec![0.0; rows.len() * outputs];
            let term = Term { x: &panels, weights: Weights::Matrix(&matrix) };
            product(&[term], None, ViewMut::new(&mut y, rows.len(), outputs), &ThreadScratch::new());
            y
        };
        let all = of(0..rows);
        for part in [0..1, 3..9, 17..33, 5..70] {
            assert_eq!(of(part.clone()), all[part.start * outputs..part.end * outputs], "{part:?}");
        }
    }
}
