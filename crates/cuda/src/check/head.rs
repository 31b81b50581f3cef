//! Embeddings, head and optimiser: what a step has besides its blocks.

use super::{Bench, Outcome, limit, named};
use crate::driver::{DriverError, Element};
use crate::ops::{AdamW, Arenas, Embedding, Head, Logits, Parameter, ReferenceLogits, parameter_table};
use crate::ops::{Rows, square_parts_bytes, sum_of_squares};

pub(super) fn check(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    let mut outcomes = embedding(bench, element)?;
    outcomes.extend(head(bench, element)?);
    outcomes.extend(optimiser(bench, element)?);
    Ok(outcomes)
}

fn embedding(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    const WIDTH: usize = 136;
    const VOCABULARY: usize = 20;
    let kernels = bench.kernels(element);
    let rows: Vec<u32> = (0..90).map(|_| bench.below(VOCABULARY) as u32).collect();
    let plan = crate::plan::Plan {
        rows: Vec::new(),
        places: Vec::new(),
        tokens: rows.clone(),
        positions: Vec::new(),
        ends: Vec::new(),
    };
    let by_token = plan.by_token();
    let table = bench.random(element, VOCABULARY * WIDTH)?;
    let x = bench.random(element, rows.len() * WIDTH)?;
    let dx = bench.random(element, rows.len() * WIDTH)?;
    let gradient = bench.random(Element::F32, VOCABULARY * WIDTH)?;
    let tokens = bench.put_indices(&rows)?;
    let lists = [
        bench.put_indices(&by_token.tokens)?,
        bench.put_indices(&by_token.bounds)?,
        bench.put_indices(&by_token.places)?,
    ];
    let embedding = Embedding { width: WIDTH as u32 };
    embedding.forward(kernels, table.address, tokens, rows.len() as u32, x.address)?;
    embedding.backward(kernels, dx.address, by_token.tokens.len() as u32, lists, gradient.address)?;
    let wanted: Vec<f64> =
        rows.iter().flat_map(|&token| table.values[token as usize * WIDTH..][..WIDTH].to_vec()).collect();
    let mut wanted_gradient = gradient.values.clone();
    for (row, &token) in rows.iter().enumerate() {
        for i in 0..WIDTH {
            wanted_gradient[token as usize * WIDTH + i] += dx.values[row * WIDTH + i];
        }
    }
    let found = bench.read(&gradient)?;
    Ok(vec![
        Outcome::of(named("embedding: forward", element), &bench.read(&x)?, &wanted, 0.0),
        Outcome::of(named("embedding: backward", element), &found, &wanted_gradient, limit(Element::F32)),
    ])
}

fn head(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    const ROWS: usize = 11;
    const VOCABULARY: usize = 1003;
    const STRIDE: usize = 1008;
    let kernels = bench.kernels(element);
    let larger = |bench: &mut Bench<'_>| -> Vec<f64> { bench.values(ROWS * STRIDE).iter().map(|x| x * 8.0).collect() };
    let (policy, reference) = (larger(bench), larger(bench));
    let (policy, reference) = (bench.put(Element::F32, &policy)?, bench.put(Element::F32, &reference)?);
    // Rows with none, one, two and three targets.
    let mut bounds = vec![0];
    for row in 0..ROWS as u32 {
        bounds.push(bounds[row as usize] + row % 4);
    }
    let count = bounds[ROWS] as usize;
    let tokens: Vec<u32> = (0..count).map(|_| bench.below(VOCABULARY) as u32).collect();
    let seeds = bench.random(Element::F32, count)?;
    let divergence_seeds = bench.random(Element::F32, ROWS)?;
    let head = Head {
        rows: ROWS as u32,
        vocabulary: VOCABULARY as u32,
        bounds: bench.put_indices(&bounds)?,
        tokens: bench.put_indices(&tokens)?,
    };
    let [log_sums, reference_sums, log_probs, divergences] = [
        bench.room(8 * ROWS as u64)?,
        bench.room(8 * ROWS as u64)?,
        bench.room(8 * count as u64)?,
        bench.room(8 * ROWS as u64)?,
    ];
    let gradient = bench.random(element, ROWS * STRIDE)?;
    let of_policy = Logits { values: policy.rows(STRIDE), log_sums };
    let of_reference = Logits { values: reference.rows(STRIDE), log_sums: reference_sums };
    head.log_probs(kernels, of_reference, log_probs)?;
    head.log_probs(kernels, of_policy, log_probs)?;
    head.divergence(kernels, of_reference, of_policy, divergences)?;
    let beside = ReferenceLogits { logits: of_reference, seeds: divergence_seeds.address };
    head.gradient(kernels, of_policy, seeds.address, Some(beside), gradient.rows(STRIDE))?;

    let log_softmax = |row: usize, logits: &[f64]| -> Vec<f64> {
        let z = &logits[row * STRIDE..][..VOCABULARY];
        let highest = z.iter().copied().fold(f64::MIN, f64::max);
        let sum = highest + z.iter().map(|z| (z - highest).exp()).sum::<f64>().ln();
        z.iter().map(|z| z - sum).collect()
    };
    let (mut wanted, mut wanted_divergences, mut wanted_gradient) = (Vec::new(), Vec::new(), gradient.values.clone());
    for row in 0..ROWS {
        let (p, q) = (log_softmax(row, &policy.values), log_softmax(row, &reference.values));
        let targets = bounds[row] as usize..bounds[row + 1] as usize;
        wanted.extend(targets.clone().map(|target| p[tokens[target] as usize]));
        wanted_divergences.push(q.iter().zip(&p).map(|(q, p)| q.exp() * (q - p)).sum());
        let k = divergence_seeds.values[row];
        let weight = k - seeds.values[targets.clone()].iter().sum::<f64>();
        for v in 0..VOCABULARY {
            let own = targets.clone().filter(|&target| tokens[target] as usize == v);
            let added: f64 = own.map(|target| seeds.values[target]).sum();
            wanted_gradient[row * STRIDE + v] = weight * p[v].exp() - k * q[v].exp() + added;
        }
    }
    Ok(vec![
        Outcome::of(named("head: log-probabilities", element), &bench.read_doubles(log_probs, count)?, &wanted, 1e-6),
        Outcome::of(
            named("head: divergence", element),
            &bench.read_doubles(divergences, ROWS)?,
            &wanted_divergences,
            limit(Element::F32),
        ),
        Outcome::of(named("head: gradient", element), &bench.read(&gradient)?, &wanted_gradient, limit(element)),
    ])
}

fn optimiser(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    const COLUMNS: usize = 40;
    const ROWS: usize = 51;
    const BIAS: usize = 72;
    const STRIDE: usize = 64;
    const COUNT: usize = ROWS * COLUMNS + BIAS;
    let kernels = bench.kernels(element);
    let [values, gradient, first] =
        [bench.random(Element::F32, COUNT)?, bench.random(Element::F32, COUNT)?, bench.random(Element::F32, COUNT)?];
    let squares: Vec<f64> = bench.values(COUNT).iter().map(|x| x * x + 0.1).collect();
    let second = bench.put(Element::F32, &squares)?;
    let copy = bench.random(element, ROWS * STRIDE)?;
    let matrix = Parameter {
        start: 0,
        length: (ROWS * COLUMNS) as u64,
        copy: Some(Rows { address: copy.address, stride: STRIDE as u32 }),
        columns: COLUMNS as u32,
        copy_factor: 2.0,
        decays: true,
    };
    let bias = Parameter { start: matrix.length, length: BIAS as u64, copy: None, decays: false, ..matrix };
    let (table, blocks) = parameter_table(&[matrix, bias]);
    let table = bench.put_bytes(&table)?;
    let [parts, norm] = [bench.room(square_parts_bytes())?, bench.room(8)?];
    sum_of_squares(kernels, gradient.address, COUNT as u64, parts, norm)?;
    let adamw = AdamW { factor: 0.5, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, rate: 1e-2, weight_decay: 0.1, step: 3 };
    let arenas =
        Arenas { values: values.address, gradient: gradient.address, first: first.address, second: second.address };
    adamw.step(kernels, (table, 2, blocks), arenas)?;

    let (beta1, beta2) = (f64::from(adamw.beta1), f64::from(adamw.beta2));
    let (mut wanted, mut wanted_copy) = (values.values.clone(), copy.values.clone());
    for at in 0..COUNT {
        let g = 0.5 * gradient.values[at];
        let m = beta1 * first.values[at] + (1.0 - beta1) * g;
        let v = beta2 * second.values[at] + (1.0 - beta2) * g * g;
        let (m, v) = (m / (1.0 - beta1.powi(3)), v / (1.0 - beta2.powi(3)));
        let decay = if at < ROWS * COLUMNS { 1.0 - 1e-2 * 0.1 } else { 1.0 };
        wanted[at] = values.values[at] * decay - 1e-2 * m / (v.sqrt() + 1e-8);
        if at < ROWS * COLUMNS {
            wanted_copy[at / COLUMNS * STRIDE + at % COLUMNS] = 2.0 * wanted[at];
        }
    }
    let squared: f64 = gradient.values.iter().map(|g| g * g).sum();
    Ok(vec![
        Outcome::of(
            named("optimiser: norm of the gradient", element),
            &bench.read_doubles(norm, 1)?,
            &[squared],
            1e-12,
        ),
        Outcome::of(named("optimiser: parameters", element), &bench.read(&values)?, &wanted, 1e-6),
        Outcome::of(named("optimiser: copies", element), &bench.read(&copy)?, &wanted_copy, limit(element)),
    ])
}
