//! Attention over random forests, with grouped heads and windows, and the rotation before it.

use tabpo_engine::{Batch, Segment};

use super::{Bench, Numbers, Outcome, limit, named};
use crate::driver::{Address, DriverError, Element};
use crate::ops::{Attention, AttentionGradient, Projected, Rope, Rows, TileLists};
use crate::plan::Plan;

/// Head size, query heads, key heads, window.
const CASES: [(usize, usize, usize, u32); 4] = [(64, 4, 2, 0), (128, 2, 1, 0), (96, 2, 2, 40), (40, 3, 1, 0)];

/// A forest of two trees, one with branches of branches, of 60 to 180 rows.
fn forest(bench: &mut Bench<'_>) -> Batch {
    let mut batch = Batch::default();
    for (index, branches_off) in [None, Some(0), Some(1), Some(0), None].into_iter().enumerate() {
        let (start, length) = (batch.tokens.len(), 12 + bench.below(25));
        let (context, depth) = match branches_off {
            None => (Vec::new(), 0),
            Some(other) => {
                let other: &Segment = &batch.segments[other];
                let parent = other.rows.start + bench.below(other.rows.len());
                let mut context = other.context.clone();
                context.push(other.rows.start..parent + 1);
                (context, batch.positions[parent] + 1)
            }
        };
        batch.tokens.extend((0..length).map(|row| (row + index) as u32));
        batch.positions.extend((0..length as u32).map(|row| depth + row));
        batch.segments.push(Segment { rows: start..start + length, context });
    }
    batch
}

/// The sizes of a case and its rows.
struct Case {
    size: usize,
    heads: usize,
    kv_heads: usize,
    window: Option<u32>,
    plan: Plan,
}

impl Case {
    fn all_heads(&self) -> usize {
        self.heads + 2 * self.kv_heads
    }

    /// Queries, keys and values as columns of one buffer.
    fn projected(&self, numbers: &Numbers) -> Projected {
        let at = |head: usize| {
            let bytes = head * self.size * numbers.element.bytes();
            Rows { address: numbers.address.offset(bytes as u64), stride: (self.all_heads() * self.size) as u32 }
        };
        Projected { queries: at(0), keys: at(self.heads), values: at(self.heads + self.kv_heads) }
    }

    /// The output and the gradient of queries, keys and values.
    fn expected(&self, qkv: &[f64], dout: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Self { size, heads, kv_heads, window, plan, .. } = self;
        let (rows, width) = (plan.rows.len(), self.all_heads() * size);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let add = |to: &mut [f64], factor: f64, from: &[f64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
        };
        let scale = 1.0 / (*size as f64).sqrt();
        let (mut out, mut gradient) = (vec![0.0; rows * heads * size], vec![0.0; rows * width]);
        for head in 0..*heads {
            let of = |row: usize, head: usize| row * width + head * size..row * width + (head + 1) * size;
            let (key_head, value_head) = (heads + head * kv_heads / heads, heads + kv_heads + head * kv_heads / heads);
            for row in 0..rows {
                let keys: Vec<usize> = (0..=row).filter(|&key| plan.sees(row, key, *window)).collect();
                let query = &qkv[of(row, head)];
                let scores: Vec<f64> = keys.iter().map(|&key| dot(query, &qkv[of(key, key_head)]) * scale).collect();
                let highest = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
                let own = (row * heads + head) * size..(row * heads + head + 1) * size;
                let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp() / sum).collect();
                for (&key, &weight) in keys.iter().zip(&weights) {
                    add(&mut out[own.clone()], weight, &qkv[of(key, value_head)]);
                }
                let dout = &dout[own.clone()];
                let delta = dot(&out[own], dout);
                for (&key, &weight) in keys.iter().zip(&weights) {
                    let of_score = weight * (dot(dout, &qkv[of(key, value_head)]) - delta) * scale;
                    add(&mut gradient[of(key, value_head)], weight, dout);
                    add(&mut gradient[of(key, key_head)], of_score, query);
                    add(&mut gradient[of(row, head)], of_score, &qkv[of(key, key_head)]);
                }
            }
        }
        (out, gradient)
    }
}

pub(super) fn check(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    let mut outcomes = Vec::new();
    for (size, heads, kv_heads, window) in CASES {
        let plan = Plan::new(&forest(bench)).expect("it is a forest");
        let window = (window > 0).then_some(window);
        let case = Case { size, heads, kv_heads, window, plan };
        let rows = case.plan.rows.len();
        let larger: Vec<f64> = bench.values(rows * case.all_heads() * size).iter().map(|x| x * 2.0).collect();
        let qkv = bench.put(element, &larger)?;
        let dout = bench.random(element, rows * heads * size)?;
        let (wanted, wanted_gradient) = case.expected(&qkv.values, &dout.values);
        let (by_query, by_key) = case.plan.tiles(window);
        let lists = |bench: &mut Bench<'_>, tiles: &crate::plan::Tiles| -> Result<TileLists, DriverError> {
            Ok(TileLists { bounds: bench.put_indices(&tiles.bounds)?, list: bench.put_indices(&tiles.list)? })
        };
        let (by_query, by_key) = (lists(bench, &by_query)?, lists(bench, &by_key)?);
        let [ends, positions] = [bench.put_indices(&case.plan.ends)?, bench.put_indices(&case.plan.positions)?];
        let attention = |plain: bool| Attention {
            rows: rows as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            size: size as u32,
            ends,
            positions,
            window: window.unwrap_or(0),
            by_query,
            by_key,
            plain,
        };
        // Where there are kernels for tensor cores, both ways are checked.
        let ways: &[bool] = if element == Element::Bf16 && size >= 64 { &[false, true] } else { &[true] };
        for &plain in ways {
            let out = bench.random(element, rows * heads * size)?;
            let gradient = bench.random(element, qkv.values.len())?;
            let [log_sums, delta]: [Address; 2] =
                [bench.room((heads * rows * 4) as u64)?, bench.room((heads * rows * 4) as u64)?];
            let kernels = bench.kernels(element);
            let (projected, out_rows) = (case.projected(&qkv), out.rows(heads * size));
            attention(plain).forward(kernels, projected, out_rows, log_sums)?;
            let of = AttentionGradient {
                out: out_rows,
                dout: dout.rows(heads * size),
                log_sums,
                delta,
                gradient: case.projected(&gradient),
            };
            attention(plain).backward(kernels, projected, of)?;
            let name = |pass: &str| {
                let plain = if plain { ", plain" } else { "" };
                named(&format!("attention: {pass}, heads of {size}{plain}"), element)
            };
            outcomes.push(Outcome::of(name("forward"), &bench.read(&out)?, &wanted, limit(element)));
            outcomes.push(Outcome::of(name("backward"), &bench.read(&gradient)?, &wanted_gradient, limit(element)));
        }
    }
    outcomes.extend(rotation(bench, element)?);
    Ok(outcomes)
}

/// Rotation with bias, without a norm of heads: backward is forward turned around.
fn rotation(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    const ROWS: usize = 21;
    const SIZE: usize = 64;
    const HEADS: usize = 3;
    const ALL: usize = 5;
    let half = SIZE / 2;
    let kernels = bench.kernels(element);
    let raw = bench.random(element, ROWS * ALL * SIZE)?;
    let out = bench.random(element, ROWS * ALL * SIZE)?;
    let bias = bench.random(Element::F32, ALL * SIZE)?;
    let positions: Vec<u32> = (0..ROWS).map(|row| (row * 7 % 30) as u32).collect();
    let angle = |at: usize| (at / half) as f64 * 1e4_f64.powf(-((at % half) as f64) / half as f64);
    let table = |of: fn(f64) -> f64| (0..30 * half).map(|at| of(angle(at))).collect::<Vec<f64>>();
    let (cosines, sines) = (bench.put(Element::F32, &table(f64::cos))?, bench.put(Element::F32, &table(f64::sin))?);
    let rope = Rope {
        rows: ROWS as u32,
        heads: HEADS as u32,
        kv_heads: 1,
        size: SIZE as u32,
        bias: Some(bias.address),
        scales: None,
        epsilon: 0.0,
        cosines: cosines.address,
        sines: sines.address,
        positions: bench.put_indices(&positions)?,
    };
    rope.forward(kernels, raw.rows(ALL * SIZE), None, out.rows(ALL * SIZE))?;
    let mut wanted = raw.values.clone();
    for (row, &position) in positions.iter().enumerate() {
        for head in 0..ALL {
            let at = (row * ALL + head) * SIZE;
            for i in 0..half {
                let value = |i: usize| raw.values[at + i] + bias.values[head * SIZE + i];
                let (a, b) = (value(i), value(i + half));
                let turn = position as usize * half + i;
                let (cosine, sine) =
                    if head <= HEADS { (cosines.values[turn], sines.values[turn]) } else { (1.0, 0.0) };
                (wanted[at + i], wanted[at + i + half]) = (a * cosine - b * sine, b * cosine + a * sine);
            }
        }
    }
    let forward = Outcome::of(named("rotation: forward", element), &bench.read(&out)?, &wanted, limit(element));
    // What was rotated is rotated back, to the sum of projection and bias.
    rope.backward(kernels, raw.rows(ALL * SIZE), None, out.rows(ALL * SIZE))?;
    let sums = (0..raw.values.len()).map(|at| raw.values[at] + bias.values[at % (ALL * SIZE)]);
    let sums: Vec<f64> = sums.collect();
    let backward = Outcome::of(named("rotation: backward", element), &bench.read(&out)?, &sums, limit(element));
    Ok(vec![forward, backward])
}
