//! The gated product of the feed-forward part.

use super::{Bench, Outcome, limit, named};
use crate::driver::{DriverError, Element};
use crate::ops::Swiglu;

const ROWS: usize = 33;
const INNER: usize = 1096;

pub(super) fn check(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    let kernels = bench.kernels(element);
    let larger: Vec<f64> = bench.values(ROWS * 2 * INNER).iter().map(|x| x * 4.0).collect();
    let gate_up = bench.put(element, &larger)?;
    let gradient = bench.random(element, ROWS * INNER)?;
    let product = bench.random(element, ROWS * INNER)?;
    let swiglu = Swiglu { rows: ROWS as u32, inner: INNER as u32 };
    swiglu.forward(kernels, gate_up.rows(2 * INNER), product.rows(INNER))?;
    swiglu.backward(kernels, gate_up.rows(2 * INNER), gradient.rows(INNER))?;

    let (mut wanted, mut wanted_gate_up) = (vec![0.0; ROWS * INNER], vec![0.0; ROWS * 2 * INNER]);
    for row in 0..ROWS {
        for i in 0..INNER {
            let (gate, up) = (gate_up.values[row * 2 * INNER + i], gate_up.values[row * 2 * INNER + INNER + i]);
            let (sigmoid, d) = (1.0 / (1.0 + (-gate).exp()), gradient.values[row * INNER + i]);
            wanted[row * INNER + i] = gate * sigmoid * up;
            wanted_gate_up[row * 2 * INNER + i] = d * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
            wanted_gate_up[row * 2 * INNER + INNER + i] = d * gate * sigmoid;
        }
    }
    let forward = bench.read(&product)?;
    Ok(vec![
        Outcome::of(named("gated product: forward", element), &forward, &wanted, limit(element)),
        Outcome::of(named("gated product: the same bits again", element), &bench.read(&gradient)?, &forward, 0.0),
        Outcome::of(named("gated product: backward", element), &bench.read(&gate_up)?, &wanted_gate_up, limit(element)),
    ])
}
