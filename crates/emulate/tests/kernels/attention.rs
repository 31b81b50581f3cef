//! Attention, on tensor cores and plain, against its formulas in double precision over random forests.

use crate::common::Random;
use crate::forest::{Forest, TILE};
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{assert_close, in_every_order};

/// Sizes of a case. Rows of queries, keys and values lie in one buffer, as their projection writes them.
#[derive(Clone, Copy)]
struct Case {
    element: Element,
    /// With tensor cores.
    fast: bool,
    size: usize,
    rows: usize,
    /// A forest instead of one sequence.
    branches: bool,
    heads: usize,
    kv_heads: usize,
    window: u32,
}

struct Wanted {
    out: Vec<f64>,
    log_sums: Vec<f64>,
    /// Of queries, keys and values, `[rows, all heads, size]`.
    gradient: Vec<f64>,
}

impl Case {
    fn all_heads(&self) -> usize {
        self.heads + 2 * self.kv_heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    fn reference(&self, forest: &Forest, qkv: &[f64], dout: &[f64]) -> Wanted {
        let Self { size, rows, heads, kv_heads, .. } = *self;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let add = |to: &mut [f64], factor: f64, from: &[f64]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to += factor * from;
            }
        };
        let scale = f64::from(self.scale());
        let mut out = vec![0.0; rows * heads * size];
        let mut log_sums = vec![0.0; heads * rows];
        let mut gradient = vec![0.0; rows * self.all_heads() * size];
        for head in 0..heads {
            let of = |row: usize, head: usize| {
                (row * self.all_heads() + head) * size..(row * self.all_heads() + head + 1) * size
            };
            let (key_head, value_head) = (heads + head * kv_heads / heads, heads + kv_heads + head * kv_heads / heads);
            for row in 0..rows {
                let keys = forest.seen(row);
                let q = &qkv[of(row, head)];
                let scores: Vec<f64> = keys.iter().map(|&key| dot(q, &qkv[of(key, key_head)]) * scale).collect();
                let highest = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
                log_sums[head * rows + row] = (highest + sum.ln()) * std::f64::consts::LOG2_E;
                let p: Vec<f64> = scores.iter().map(|score| (score - highest).exp() / sum).collect();
                let own = (row * heads + head) * size..(row * heads + head + 1) * size;
                for (&key, &p) in keys.iter().zip(&p) {
                    add(&mut out[own.clone()], p, &qkv[of(key, value_head)]);
                }
                let dout = &dout[own.clone()];
                let delta = dot(&out[own], dout);
                for (&key, &p) in keys.iter().zip(&p) {
                    let ds = p * (dot(dout, &qkv[of(key, value_head)]) - delta) * scale;
                    add(&mut gradient[of(key, value_head)], p, dout);
                    add(&mut gradient[of(key, key_head)], ds, q);
                    add(&mut gradient[of(row, head)], ds, &qkv[of(key, key_head)]);
                }
            }
        }
        Wanted { out, log_sums, gradient }
    }

    fn check(&self) {
        let Self { element, fast, size, rows, branches, heads, kv_heads, window } = *self;
        let (suffix, scale) = (element.suffix(), self.scale());
        let mut random = Random::new((size + rows) as u64);
        let forest = Forest::new(&mut random, rows, branches, window);
        let (width, out_width) = (self.all_heads() * size, heads * size);
        // Queries as large as after a norm, so that probabilities are far from even.
        let qkv: Vec<f64> = random.values(rows * width).iter().map(|x| x * 2.0).collect();
        let dout = random.values(rows * out_width);
        let group = heads / kv_heads;
        let results = in_every_order(|trial| {
            let (qkv, dout) = (trial.put(element, &qkv), trial.put(element, &dout));
            let [ends, positions] = [&forest.ends, &forest.positions].map(|list| trial.put_u32(list));
            let lists = [false, true].map(|turned| forest.tiles(turned));
            let [(bounds, tiles), (turned_bounds, turned_tiles)] =
                lists.map(|(bounds, tiles)| (trial.put_u32(&bounds), trial.put_u32(&tiles)));
            let part = |numbers: tabpo_emulate::trial::Numbers, head: usize| {
                numbers.address.offset((head * size * element.bytes()) as u64)
            };
            let (q, k, v) = (part(qkv, 0), part(qkv, heads), part(qkv, heads + kv_heads));
            let out = trial.room(element, rows * out_width);
            let [log_sums, delta] = [0; 2].map(|_| trial.room(Element::F32, heads * rows));
            let gradient = trial.room(element, rows * width);
            let (dq, dk, dv) = (part(gradient, 0), part(gradient, heads), part(gradient, heads + kv_heads));
            let count = rows.div_ceil(TILE);
            // Three warps a block for the plain kernels.
            let (blocks, threads) = if fast { (count, 128) } else { (rows.div_ceil(3), 96) };
            let shared = |tiles: usize, plain: usize| if fast { tiles * TILE * size * 2 } else { 3 * plain * 4 };
            let kernel = |name: &str| {
                if fast {
                    format!("attention_{name}_{size}_{suffix}")
                } else {
                    format!("attention_plain_{name}_{suffix}")
                }
            };
            // The plain kernels are told the head size.
            let with_size = |arguments: &[tabpo_cuda::driver::Argument], group_at: usize| {
                let mut arguments = arguments.to_vec();
                if !fast {
                    arguments.insert(group_at + 1, tabpo_cuda::driver::Argument::U32(size as u32));
                }
                arguments
            };
            let forward = arguments![
                q, width, k, width, v, width, ends, positions, window, rows, bounds, tiles, group, scale, out,
                out_width, log_sums
            ];
            let grid = [blocks, heads, 1];
            trial.launch(&kernel("forward"), grid, threads, shared(5, size + 32), &with_size(forward, 12));
            let arguments = arguments![out, out_width, dout, out_width, rows, size, delta];
            trial.launch(&format!("attention_delta_{suffix}"), [rows.div_ceil(2), heads, 1], 64, 0, arguments);
            let backward = arguments![
                q, width, k, width, v, width, dout, out_width, ends, positions, window, rows, bounds, tiles, group,
                scale, log_sums, delta, dq, width
            ];
            trial.launch(&kernel("query_gradient"), grid, threads, shared(4, 2 * size + 32), &with_size(backward, 14));
            let backward = arguments![
                q,
                width,
                k,
                width,
                v,
                width,
                dout,
                out_width,
                ends,
                positions,
                window,
                rows,
                turned_bounds,
                turned_tiles,
                group,
                scale,
                log_sums,
                delta,
                dk,
                width,
                dv,
                width
            ];
            let grid = [blocks, kv_heads, 1];
            trial.launch(&kernel("key_gradient"), grid, threads, shared(4, 2 * size + 64), &with_size(backward, 14));
            [qkv, dout, out, log_sums, gradient].map(|numbers| trial.get(numbers)).to_vec()
        });
        let [qkv, dout, out, log_sums, gradient] = &results[..] else { unreachable!() };
        let wanted = self.reference(&forest, qkv, dout);
        assert_close("output", element, out, &wanted.out);
        // Queries and keys are exact, and so are the products' sums but for single precision.
        assert_close("log-sums", Element::F32, log_sums, &wanted.log_sums);
        for (what, heads) in
            [("dq", 0..heads), ("dk", heads..heads + kv_heads), ("dv", heads + kv_heads..self.all_heads())]
        {
            let part = |values: &[f64]| {
                let range = heads.start * size..heads.end * size;
                values.chunks(width).flat_map(|row| row[range.clone()].to_vec()).collect::<Vec<_>>()
            };
            assert_close(what, element, &part(gradient), &part(&wanted.gradient));
        }
    }
}

const FAST: Case =
    Case { element: Element::Bf16, fast: true, size: 64, rows: 150, branches: true, heads: 4, kv_heads: 2, window: 0 };
const PLAIN: Case =
    Case { element: Element::F32, fast: false, size: 64, rows: 100, branches: true, heads: 4, kv_heads: 2, window: 0 };

#[test]
fn heads_of_64_on_tensor_cores() {
    FAST.check();
    // One tile that isn't full, and a head for itself.
    Case { rows: 17, heads: 1, kv_heads: 1, ..FAST }.check();
}

#[test]
fn heads_of_96_on_tensor_cores() {
    Case { size: 96, rows: 101, heads: 2, kv_heads: 1, ..FAST }.check();
}

#[test]
fn heads_of_128_on_tensor_cores() {
    Case { size: 128, rows: 129, heads: 4, kv_heads: 1, ..FAST }.check();
}

#[test]
fn a_window_on_tensor_cores() {
    Case { rows: 192, heads: 2, kv_heads: 2, window: 20, ..FAST }.check();
    Case { rows: 140, heads: 2, kv_heads: 1, window: 2, ..FAST }.check();
}

/// A sequence has tiles that see each other whole, for which no kernel looks at the mask.
#[test]
fn tiles_without_a_mask() {
    let (bounds, tiles) = Forest::new(&mut Random::new(1), 192, false, 0).tiles(false);
    assert_eq!((bounds, tiles), (vec![0, 1, 3, 6], vec![1 << 31, 0, 1 | 1 << 31, 0, 1, 2 | 1 << 31]));
    Case { rows: 192, branches: false, ..FAST }.check();
    Case { rows: 130, branches: false, ..PLAIN }.check();
}

#[test]
fn plain_attention_in_single_precision() {
    PLAIN.check();
    Case { size: 128, rows: 70, heads: 2, kv_heads: 1, ..PLAIN }.check();
    Case { window: 9, rows: 131, heads: 2, ..PLAIN }.check();
}

#[test]
fn plain_attention_with_odd_head_sizes() {
    Case { size: 33, rows: 67, heads: 6, ..PLAIN }.check();
    Case { size: 256, rows: 35, heads: 2, kv_heads: 1, ..PLAIN }.check();
    Case { element: Element::Bf16, size: 40, rows: 67, ..PLAIN }.check();
}
