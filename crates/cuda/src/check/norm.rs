//! RMS normalisation.

use super::{Bench, Numbers, Outcome, limit, named};
use crate::driver::{DriverError, Element};
use crate::ops::{Norm, Parts};

const ROWS: usize = 77;
const WIDTH: usize = 896;
const EPSILON: f64 = 1e-6;
/// Numbers between a row of the output and the next.
const GAP: usize = 64;

pub(super) fn check(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    let kernels = bench.kernels(element);
    let x = bench.random(element, ROWS * WIDTH)?;
    let scale = bench.random(Element::F32, WIDTH)?;
    let dy = bench.random(element, ROWS * (WIDTH + GAP))?;
    let stream = bench.random(element, ROWS * WIDTH)?;
    let scale_gradient = bench.random(Element::F32, WIDTH)?;
    let y = bench.random(element, ROWS * (WIDTH + GAP))?;
    let again = bench.put(element, &y.values)?;
    let inverse = bench.random(Element::F32, ROWS)?;
    let parts = bench.room(Parts::of(ROWS as u32).bytes(WIDTH as u64))?;
    let norm = Norm { rows: ROWS as u32, width: WIDTH as u32, epsilon: EPSILON as f32, scale: scale.address };
    norm.forward(kernels, x.address, inverse.address, y.rows(WIDTH + GAP))?;
    norm.repeat(kernels, x.address, inverse.address, again.rows(WIDTH + GAP))?;
    norm.backward(kernels, x.address, inverse.address, dy.rows(WIDTH + GAP), true, stream.address)?;
    let gradient = dy.rows(WIDTH + GAP);
    norm.scale_gradient(kernels, x.address, inverse.address, gradient, parts, scale_gradient.address)?;

    let (mut wanted, mut wanted_stream) = (y.values.clone(), stream.values.clone());
    let mut wanted_scale = scale_gradient.values.clone();
    for row in 0..ROWS {
        let x = &x.values[row * WIDTH..(row + 1) * WIDTH];
        let dy = &dy.values[row * (WIDTH + GAP)..][..WIDTH];
        let r = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / WIDTH as f64 + EPSILON).sqrt();
        let sum: f64 = (0..WIDTH).map(|i| scale.values[i] * dy[i] * x[i]).sum();
        for i in 0..WIDTH {
            wanted[row * (WIDTH + GAP) + i] = x[i] * r * scale.values[i];
            wanted_stream[row * WIDTH + i] += r * (scale.values[i] * dy[i] - x[i] * r * r / WIDTH as f64 * sum);
            wanted_scale[i] += dy[i] * x[i] * r;
        }
    }
    let compare = |bench: &Bench<'_>, name: &str, numbers: &Numbers, wanted: &[f64]| -> Result<Outcome, DriverError> {
        Ok(Outcome::of(named(name, element), &bench.read(numbers)?, wanted, limit(numbers.element)))
    };
    let first = bench.read(&y)?;
    Ok(vec![
        compare(bench, "norm: forward", &y, &wanted)?,
        Outcome::of(named("norm: the same bits again", element), &bench.read(&again)?, &first, 0.0),
        compare(bench, "norm: backward", &stream, &wanted_stream)?,
        compare(bench, "norm: gradient of the scale", &scale_gradient, &wanted_scale)?,
    ])
}
