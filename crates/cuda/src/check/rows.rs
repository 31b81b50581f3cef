//! Changes of type and order, sums over rows, and rows that are gathered and scattered.

use tabpo_engine::Dropout;

use super::{Bench, Outcome, limit, named};
use crate::driver::{Address, DriverError, Element};
use crate::ops::{Head, Parts, Rope, bias_gradient, convert, dropout, scale, transpose};

const ROWS: usize = 150;
const COLUMNS: usize = 72;
const GAP: usize = 8;

pub(super) fn check(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    let kernels = bench.kernels(element);
    let shape = [ROWS as u32, COLUMNS as u32];
    let stride = COLUMNS + GAP;
    let mut outcomes = Vec::new();
    for from in [Element::F32, Element::Bf16] {
        let (source, target) = (bench.random(from, ROWS * stride)?, bench.random(element, ROWS * COLUMNS)?);
        convert(kernels, (source.rows(stride), from), shape, -1.5, target.rows(COLUMNS))?;
        let wanted: Vec<f64> =
            source.values.chunks_exact(stride).flat_map(|row| row[..COLUMNS].iter().map(|x| -1.5 * x)).collect();
        let name = named(&format!("rows: {} to another type", from.suffix()), element);
        outcomes.push(Outcome::of(name, &bench.read(&target)?, &wanted, limit(element)));
    }
    let (source, target) = (bench.random(element, ROWS * stride)?, bench.random(element, COLUMNS * (ROWS + GAP))?);
    transpose(kernels, source.rows(stride), shape, target.rows(ROWS + GAP))?;
    let mut wanted = target.values.clone();
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            wanted[column * (ROWS + GAP) + row] = source.values[row * stride + column];
        }
    }
    outcomes.push(Outcome::of(named("rows: transposed", element), &bench.read(&target)?, &wanted, 0.0));

    let sum = bench.random(Element::F32, COLUMNS)?;
    let parts = bench.room(Parts::of(ROWS as u32).bytes(COLUMNS as u64))?;
    bias_gradient(kernels, source.rows(stride), shape, parts, sum.address)?;
    scale(kernels, sum.address, COLUMNS as u64, 3.0)?;
    let of_column = |column: usize| (0..ROWS).map(|row| source.values[row * stride + column]).sum::<f64>();
    let wanted: Vec<f64> = (0..COLUMNS).map(|column| 3.0 * (sum.values[column] + of_column(column))).collect();
    outcomes.push(Outcome::of(named("rows: sum", element), &bench.read(&sum)?, &wanted, limit(Element::F32)));

    // Every third row is gathered, and scattered again over rows of anything.
    let stream = bench.random(element, ROWS * COLUMNS)?;
    let places: Vec<u32> = (0..ROWS as u32).step_by(3).collect();
    let slots: Vec<u32> = (0..ROWS as u32).map(|row| if row % 3 == 0 { row / 3 } else { u32::MAX }).collect();
    let gathered = bench.random(element, places.len() * COLUMNS)?;
    let scattered = bench.random(element, ROWS * COLUMNS)?;
    let head = Head { rows: places.len() as u32, vocabulary: 0, bounds: Address(0), tokens: Address(0) };
    let (places, slots) = (bench.put_indices(&places)?, bench.put_indices(&slots)?);
    head.gather(kernels, stream.address, places, COLUMNS as u32, gathered.address)?;
    Head::scatter(kernels, gathered.address, slots, shape, scattered.address)?;
    let kept = |at: usize| (at / COLUMNS).is_multiple_of(3);
    let wanted: Vec<f64> = stream.values.iter().enumerate().map(|(at, &x)| if kept(at) { x } else { 0.0 }).collect();
    outcomes.push(Outcome::of(named("rows: gathered and scattered", element), &bench.read(&scattered)?, &wanted, 0.0));
    outcomes.extend(head_norms(bench, element)?);
    outcomes.push(dropped(bench, element)?);
    Ok(outcomes)
}

/// Dropout of rows in another order than the batch's, added to what is there.
fn dropped(bench: &mut Bench<'_>, element: Element) -> Result<Outcome, DriverError> {
    let mask = Dropout::new(7, 3, 1, 0.25);
    let stride = COLUMNS + GAP;
    let (x, target) = (bench.random(element, ROWS * stride)?, bench.random(element, ROWS * COLUMNS)?);
    let batch_rows: Vec<u32> = (0..ROWS as u32).rev().collect();
    let of_batch = bench.put_indices(&batch_rows)?;
    let shape = (ROWS as u32, COLUMNS as u32, of_batch);
    dropout(bench.kernels(element), &mask, x.rows(stride), shape, true, target.rows(COLUMNS))?;
    let wanted: Vec<f64> = target
        .values
        .iter()
        .enumerate()
        .map(|(at, before)| {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            let kept = mask.keeps((batch_rows[row] as usize * COLUMNS + column) as u64);
            before + if kept { x.values[row * stride + column] * mask.keep } else { 0.0 }
        })
        .collect();
    Ok(Outcome::of(named("rows: dropout", element), &bench.read(&target)?, &wanted, limit(element)))
}

/// The norm of query and key heads, at position 0, where nothing is rotated.
fn head_norms(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    const SIZE: usize = 64;
    const HEADS: usize = 4;
    const EPSILON: f64 = 1e-5;
    let kernels = bench.kernels(element);
    let count = ROWS * HEADS * SIZE;
    let [raw, gradient, out] =
        [bench.random(element, count)?, bench.random(element, count)?, bench.random(element, count)?];
    let [scales, scale_gradient] = [bench.random(Element::F32, 2 * SIZE)?, bench.random(Element::F32, 2 * SIZE)?];
    let (cosines, sines) = (bench.put(Element::F32, &[1.0; SIZE / 2])?, bench.put(Element::F32, &[0.0; SIZE / 2])?);
    let rope = Rope {
        rows: ROWS as u32,
        heads: 2,
        kv_heads: 1,
        size: SIZE as u32,
        bias: None,
        scales: Some(scales.address),
        epsilon: EPSILON as f32,
        cosines: cosines.address,
        sines: sines.address,
        positions: bench.put_indices(&[0; ROWS])?,
    };
    let inverse = bench.room((ROWS * 3 * 4) as u64)?;
    let parts = bench.room(Parts::of(ROWS as u32).bytes(2 * SIZE as u64))?;
    let stride = HEADS * SIZE;
    rope.forward(kernels, raw.rows(stride), Some(inverse), out.rows(stride))?;
    rope.scale_gradient(kernels, raw.rows(stride), inverse, gradient.rows(stride), parts, scale_gradient.address)?;
    rope.backward(kernels, raw.rows(stride), Some(inverse), gradient.rows(stride))?;
    let (mut wanted, mut wanted_gradient) = (raw.values.clone(), gradient.values.clone());
    let mut wanted_scales = scale_gradient.values.clone();
    for at in (0..count).step_by(SIZE) {
        let head = at / SIZE % HEADS;
        // Values have no norm.
        if head == 3 {
            continue;
        }
        let own = if head < 2 { 0 } else { SIZE };
        let (x, dy) = (&raw.values[at..at + SIZE], &gradient.values[at..at + SIZE]);
        let r = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / SIZE as f64 + EPSILON).sqrt();
        let sum: f64 = (0..SIZE).map(|i| scales.values[own + i] * dy[i] * x[i]).sum();
        for i in 0..SIZE {
            let weight = scales.values[own + i];
            wanted[at + i] = x[i] * r * weight;
            wanted_gradient[at + i] = r * (weight * dy[i] - x[i] * r * r / SIZE as f64 * sum);
            wanted_scales[own + i] += dy[i] * x[i] * r;
        }
    }
    let found = bench.read(&scale_gradient)?;
    Ok(vec![
        Outcome::of(named("norm of heads: forward", element), &bench.read(&out)?, &wanted, limit(element)),
        Outcome::of(
            named("norm of heads: backward", element),
            &bench.read(&gradient)?,
            &wanted_gradient,
            limit(element),
        ),
        Outcome::of(named("norm of heads: gradient of the scales", element), &found, &wanted_scales, limit(element)),
    ])
}
