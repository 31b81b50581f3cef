//! Matrix products of all types and orders, with strides, factors and sums.

use super::{Bench, Numbers, Outcome, limit};
use crate::driver::{DriverError, Element, Operand, Product};

const TYPES: [(Element, Element); 3] =
    [(Element::F32, Element::F32), (Element::Bf16, Element::F32), (Element::Bf16, Element::Bf16)];
/// Rows, columns and the inner dimension; the first stands for a layer, the others for its adapter.
const SHAPES: [(usize, usize, usize); 3] = [(136, 200, 264), (136, 16, 264), (16, 264, 136)];
/// Numbers between a row and the next that are none of the matrix's.
const GAP: usize = 8;

/// A matrix with gaps between its rows.
fn matrix(
    bench: &mut Bench<'_>,
    element: Element,
    [rows, columns]: [usize; 2],
    transposed: bool,
) -> Result<(Numbers, Operand), DriverError> {
    let [stored_rows, stored_columns] = if transposed { [columns, rows] } else { [rows, columns] };
    let stride = stored_columns + GAP;
    let numbers = bench.random(element, stored_rows * stride)?;
    let operand = Operand { address: numbers.address, stride, element, transposed };
    Ok((numbers, operand))
}

pub(super) fn check(bench: &mut Bench<'_>) -> Result<Vec<Outcome>, DriverError> {
    let mut outcomes = Vec::new();
    for (input, output) in TYPES {
        for (index, (rows, columns, inner)) in SHAPES.into_iter().enumerate() {
            for turned in [[false, false], [false, true], [true, false], [true, true]] {
                let (a, a_operand) = matrix(bench, input, [rows, inner], turned[0])?;
                let (b, b_operand) = matrix(bench, input, [inner, columns], turned[1])?;
                let (d, d_operand) = matrix(bench, output, [rows, columns], false)?;
                // Nothing is added, another matrix, or what is already there.
                let (c, c_operand) = match index {
                    0 => (None, None),
                    1 => {
                        let (c, operand) = matrix(bench, output, [rows, columns], false)?;
                        (Some(c), Some(operand))
                    }
                    _ => (Some(d.clone()), Some(d_operand)),
                };
                let product = Product {
                    rows,
                    columns,
                    inner,
                    alpha: 0.5,
                    a: a_operand,
                    b: b_operand,
                    c: c_operand,
                    d: d_operand,
                };
                bench.driver.product(&product)?;
                let at = |operand: &Operand, row: usize, column: usize| {
                    if operand.transposed { column * operand.stride + row } else { row * operand.stride + column }
                };
                // The gaps stay as they are.
                let mut expected = d.values.clone();
                for row in 0..rows {
                    for column in 0..columns {
                        let terms =
                            (0..inner).map(|k| a.values[at(&a_operand, row, k)] * b.values[at(&b_operand, k, column)]);
                        let added = c.as_ref().map_or(0.0, |c| c.values[row * d_operand.stride + column]);
                        expected[row * d_operand.stride + column] = 0.5 * terms.sum::<f64>() + added;
                    }
                }
                let order = |turned: bool| if turned { "^T" } else { "" };
                let name = format!(
                    "product: {rows} x {columns} x {inner}, A{} B{}{}, {} to {}",
                    order(turned[0]),
                    order(turned[1]),
                    ["", " + C", " + D"][index],
                    input.suffix(),
                    output.suffix()
                );
                outcomes.push(Outcome::of(name, &bench.read(&d)?, &expected, limit(output)));
            }
        }
    }
    Ok(outcomes)
}
