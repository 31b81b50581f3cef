//! Weights in NF4.

use half::bf16;
use tabpo_model::{Nf4Matrix, StoredType};

use super::{Bench, Outcome, named};
use crate::driver::{DriverError, Element};
use crate::ops::Nf4;

const ROWS: usize = 65;
const INPUTS: usize = 1096;
const ROOM: usize = 64;

/// Widened weights have to be the CPU's to the bit.
pub(super) fn check(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    let mut outcomes = Vec::new();
    for (nested, rounding) in [(true, StoredType::Bf16), (false, StoredType::F16), (true, StoredType::F32)] {
        let source: Vec<f32> = bench.values(ROWS * INPUTS).iter().map(|&value| (value * 0.05) as f32).collect();
        let copy = |row: usize, out: &mut [f32]| out.copy_from_slice(&source[row * INPUTS..][..INPUTS]);
        let matrix = Nf4Matrix::quantise([ROWS, INPUTS], rounding, nested, copy).expect("the weights are finite");
        let there = Nf4::new(&matrix, |bytes| bench.put_bytes(bytes))?;
        let beside = bench.random(element, ROWS * ROOM)?;
        let to = bench.random(element, ROWS * (INPUTS + ROOM))?;
        there.dequantise(bench.kernels(element), (beside.address, ROOM as u32), to.address)?;
        let mut wanted = Vec::with_capacity(to.values.len());
        for (row, beside) in beside.values.chunks_exact(ROOM).enumerate() {
            matrix.widen(row, 0..INPUTS, |_, values| {
                wanted.extend(values.iter().map(|&value| match element {
                    Element::F32 => f64::from(value),
                    Element::Bf16 => bf16::from_f32(value).to_f64(),
                }));
            });
            wanted.extend(beside);
        }
        let form = if nested { "quantised scales" } else { "plain scales" };
        let name = named(&format!("NF4: widened from {rounding:?}, {form}"), element);
        outcomes.push(Outcome::of(name, &bench.read(&to)?, &wanted, 0.0));
    }
    Ok(outcomes)
}
