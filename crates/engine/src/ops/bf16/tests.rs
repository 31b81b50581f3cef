//! Compares every kernel of this machine with sums of exact products in double precision.

use super::{Columns, Kernel, Rows, Term, product};
use crate::view::{View, ViewMut};

/// Numbers of both signs and several orders of magnitude that bf16 cannot represent.
fn values(length: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..length).map(|_| next() * (1.0 + 8.0 * next().abs())).collect()
}

fn rounded(value: f32) -> f64 {
    half::bf16::from_f32(value).to_f64()
}

/// Runs a check for each available kernel; the portable one is always available.
fn for_each_kernel(check: impl Fn(Kernel)) {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()).for_each(check);
}

/// Compares with `sum a[i][k] b[k][j]` of rounded operands. The products are exact in f32, so that only the sum
/// is rounded.
fn assert_close(target: &[f32], width: usize, exact: impl Fn(usize, usize) -> (f64, f64)) {
    for (index, &value) in target.iter().enumerate() {
        let (sum, magnitude) = exact(index / width, index % width);
        let error = (f64::from(value) - sum).abs();
        assert!(error <= magnitude * 2e-6, "element {index}: {value} and {sum}, sizes add up to {magnitude}");
    }
}

fn sum(terms: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    terms.fold((0.0, 0.0), |(sum, size), (a, b)| (sum + a * b, size + (a * b).abs()))
}

/// Rows, columns, depth: less than a block, whole blocks, remainders on every side, several blocks of rows and of
/// depth.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 2),
    (32, 32, 32),
    (33, 31, 63),
    (17, 64, 100),
    (70, 96, 33),
    (64, 130, 1300),
    (600, 40, 65),
    (130, 7, 2700),
];

#[test]
fn a_product_with_packed_weights_has_no_error_but_that_of_rounding_the_operands() {
    for_each_kernel(|kernel| {
        for (height, width, depth) in SHAPES {
            let (x, w) = (values(height * depth, 1), values(width * depth, 2));
            let mut rows = Rows::default();
            rows.pack(View::new(&x, height, depth));
            let columns = Columns::of_weights(width, depth, |output, row| {
                row.copy_from_slice(&w[output * depth..(output + 1) * depth]);
            });
            let mut y = vec![f32::NAN; height * width];
            product(kernel, &[Term::new(&rows, &columns)], ViewMut::new(&mut y, height, width), |_, _, _| ());
            assert_close(&y, width, |i, j| {
                sum((0..depth).map(|k| (rounded(x[i * depth + k]), rounded(w[j * depth + k]))))
            });
        }
    });
}

#[test]
fn the_same_packing_serves_the_product_with_the_transposed_matrix() {
    for_each_kernel(|kernel| {
        for (height, inputs, outputs) in SHAPES {
            let (dy, w) = (values(height * outputs, 3), values(outputs * inputs, 4));
            let mut rows = Rows::default();
            rows.pack(View::new(&dy, height, outputs));
            let columns = Columns::of_weights(outputs, inputs, |output, row| {
                row.copy_from_slice(&w[output * inputs..(output + 1) * inputs]);
            });
            let mut dx = vec![f32::NAN; height * inputs];
            product(kernel, &[Term::transposed(&rows, &columns)], ViewMut::new(&mut dx, height, inputs), |_, _, _| ());
            assert_close(&dx, inputs, |i, j| {
                sum((0..outputs).map(|k| (rounded(dy[i * outputs + k]), rounded(w[k * inputs + j]))))
            });
        }
    });
}

#[test]
fn terms_of_different_depth_and_direction_add_up() {
    for_each_kernel(|kernel| {
        let (height, width) = (75, 70);
        let depths = [1500, 16, 48];
        let left: Vec<Vec<f32>> = depths.iter().map(|d| values(height * d, 5)).collect();
        let rows: Vec<Rows> = left
            .iter()
            .zip(depths)
            .map(|(x, depth)| {
                let mut rows = Rows::default();
                rows.pack(View::new(x, height, depth));
                rows
            })
            .collect();
        // [depth, width] as weights with the depth as outputs, [width, depth] and [depth, width] scaled.
        let right: Vec<Vec<f32>> = depths.iter().map(|d| values(width * d, 6)).collect();
        let transposed = Columns::of_weights(depths[0], width, |output, row| {
            row.copy_from_slice(&right[0][output * width..(output + 1) * width]);
        });
        let (mut along, mut across) = (Columns::default(), Columns::default());
        along.pack_along(View::new(&right[1], width, depths[1]), 0.5);
        across.pack_across(View::new(&right[2], depths[2], width), 2.0);
        let terms =
            [Term::transposed(&rows[0], &transposed), Term::new(&rows[1], &along), Term::new(&rows[2], &across)];
        let mut y = vec![f32::NAN; height * width];
        product(kernel, &terms, ViewMut::new(&mut y, height, width), |block, rows, _| {
            for (offset, row) in rows.enumerate() {
                for value in block.row_mut(offset) {
                    *value += row as f32;
                }
            }
        });
        for (index, value) in y.iter_mut().enumerate() {
            *value -= (index / width) as f32;
        }
        for (index, &value) in y.iter().enumerate() {
            let (i, j) = (index / width, index % width);
            let x = |term: usize, k: usize| rounded(left[term][i * depths[term] + k]);
            let all = (0..depths[0])
                .map(|k| (x(0, k), rounded(right[0][k * width + j])))
                .chain((0..depths[1]).map(|k| (x(1, k), 0.5 * rounded(right[1][j * depths[1] + k]))))
                .chain((0..depths[2]).map(|k| (x(2, k), 2.0 * rounded(right[2][k * width + j]))));
            let (exact, magnitude) = sum(all);
            // Adding and subtracting the row number rounds too.
            let error = (f64::from(value) - exact).abs();
            assert!(error <= magnitude * 2e-6 + 1e-5, "element {index}: {value} and {exact}");
        }
    });
}

#[test]
fn packed_weights_are_read_back() {
    let (outputs, inputs) = (45, 71);
    let w = values(outputs * inputs, 7);
    let columns = Columns::of_weights(outputs, inputs, |output, row| {
        row.copy_from_slice(&w[output * inputs..(output + 1) * inputs]);
    });
    let mut row = vec![0.0; inputs];
    for output in 0..outputs {
        columns.copy_column(output, &mut row);
        for (&read, &value) in row.iter().zip(&w[output * inputs..]) {
            assert_eq!(read, rounded(value));
        }
    }
}

#[test]
fn a_product_does_not_depend_on_the_number_of_threads() {
    for_each_kernel(|kernel| {
        let (height, width, depth) = (600, 300, 1400);
        let (x, w) = (values(height * depth, 8), values(width * depth, 9));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let mut rows = Rows::default();
                rows.pack(View::new(&x, height, depth));
                let mut columns = Columns::default();
                columns.pack_along(View::new(&w, width, depth), 1.0);
                let mut y = vec![0.0; height * width];
                product(kernel, &[Term::new(&rows, &columns)], ViewMut::new(&mut y, height, width), |_, _, _| ());
                y
            })
        };
        assert_eq!(run(1), run(3));
    });
}

/// This machine's rounding and transposing gives the same lines as plain Rust.
#[test]
fn operands_are_packed_as_plain_rust_packs_them() {
    use super::kernel::STEP_LINES;
    use super::layout::Line;
    use super::{portable, rounding};

    let odd = [f32::MIN_POSITIVE / 2.0, -f32::MIN_POSITIVE / 4.0, 0.0, -0.0, 1e38, f32::MIN_POSITIVE];
    let rows: Vec<Vec<f32>> = (0..37).map(|row| [&values(64, row)[..], &odd].concat()).collect();
    for (count, length) in [(1, 1), (5, 33), (32, 64), (17, 70)] {
        let rows: Vec<&[f32]> = rows[..count].iter().map(|row| &row[70 - length..]).collect();
        let steps = length.div_ceil(32);
        let mut packed = [0, 1].map(|_| vec![Line::ZERO; steps * STEP_LINES]);
        let same = |packed: &[Vec<Line>; 2], what: &str| assert!(packed[0] == packed[1], "{what} {count} {length}");
        for scale in [-1.3, 0.7] {
            rounding::round_columns(&rows, scale, &mut packed[0]);
            portable::round_columns(&rows, scale, &mut packed[1]);
            same(&packed, "columns");
        }
        let transposed = packed.clone().map(|lines| {
            let mut out = [Line::ZERO; STEP_LINES];
            let from = lines[..STEP_LINES].try_into().expect("a step");
            rounding::transpose(from, &mut out);
            let mut plain = [Line::ZERO; STEP_LINES];
            portable::transpose(from, &mut plain);
            assert!(out == plain, "transposed {count} {length}");
            out
        });
        let mut back = [Line::ZERO; STEP_LINES];
        portable::transpose(&transposed[0], &mut back);
        assert!(back[..] == packed[0][..STEP_LINES], "transposed twice");
        for (number, row) in rows.iter().enumerate() {
            rounding::round_row(row, number, &mut packed[0]);
            portable::round_row(row, number, &mut packed[1]);
            same(&packed, "row");
        }
        let (even, odd) = (&rows[0][..length.min(32)], &rows[count - 1][..length.min(32)]);
        rounding::round_pair(even, odd, -1.3, 7, &mut packed[0][..STEP_LINES]);
        portable::round_pair(even, odd, -1.3, 7, &mut packed[1][..STEP_LINES]);
        same(&packed, "pair");
    }
}
