//! Attention over the cache of a generation, against its formula in double precision.

use crate::common::{Random, round};
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{assert_close, in_every_order};

const PAGE: usize = 64;

#[derive(Clone, Copy)]
struct Case {
    element: Element,
    /// With tensor cores.
    fast: bool,
    size: usize,
    heads: usize,
    kv_heads: usize,
    window: usize,
}

/// Sequences of these lengths; the second and the third share their first page.
const LENGTHS: [usize; 4] = [1, 130, 100, 64];
/// The pages of every sequence.
const TABLE: [[u32; 3]; 4] = [[5, 0, 0], [2, 7, 0], [2, 4, 0], [6, 0, 0]];
const MOST_PAGES: usize = 3;

impl Case {
    fn check(&self) {
        let Self { element, fast, size, heads, kv_heads, window } = *self;
        let suffix = element.suffix();
        let mut random = Random::new((size + heads) as u64);
        let (width, q_width, pages) = (kv_heads * size, heads * size, 9);
        let mut table = TABLE;
        table[1][2] = 8;
        // Every position of every page that a sequence has is stored once, as rows of a prefill in any order.
        let mut slots: Vec<u32> = Vec::new();
        for (&length, pages) in LENGTHS.iter().zip(&table) {
            for position in 0..length {
                let slot = pages[position / PAGE] * PAGE as u32 + (position % PAGE) as u32;
                if !slots.contains(&slot) {
                    slots.push(slot);
                }
            }
        }
        for last in (1..slots.len()).rev() {
            slots.swap(last, random.below(last + 1));
        }
        let stride = 2 * width;
        let new = random.values(slots.len() * stride);
        let queries: Vec<f64> = random.values(LENGTHS.len() * q_width).iter().map(|x| x * 3.0).collect();
        let scale = 1.0 / (size as f32).sqrt();
        let results = in_every_order(|trial| {
            let new = trial.put(element, &new);
            let values_of_new = new.address.offset((width * element.bytes()) as u64);
            let [keys, values] = [0; 2].map(|_| trial.room(element, pages * kv_heads * PAGE * size));
            let slots_there = trial.put_u32(&slots);
            let store = arguments![new, stride, values_of_new, stride, slots_there, kv_heads, size, keys, values];
            trial.launch(&format!("cache_store_{suffix}"), [slots.len(), 1, 1], 32, 0, store);
            let q = trial.put(element, &queries);
            let table = trial.put_u32(table.as_flattened());
            let lengths = trial.put_u32(&LENGTHS.map(|length| length as u32));
            let parts = trial.room(Element::F32, LENGTHS.len() * heads * MOST_PAGES * size);
            let stats = trial.room(Element::F32, LENGTHS.len() * heads * MOST_PAGES * 2);
            let group = heads / kv_heads;
            let z = MOST_PAGES.div_ceil(2);
            if fast {
                let arguments = arguments![
                    q, q_width, keys, values, table, MOST_PAGES, lengths, window, kv_heads, group, scale, MOST_PAGES,
                    parts, stats
                ];
                let shared = 2 * 2 * PAGE * size * 2;
                let kernel = format!("attention_decode_{size}_{suffix}");
                trial.launch(&kernel, [LENGTHS.len(), kv_heads, z], 64, shared, arguments);
            } else {
                let arguments = arguments![
                    q, q_width, keys, values, table, MOST_PAGES, lengths, window, kv_heads, group, size, scale,
                    MOST_PAGES, parts, stats
                ];
                let shared = 2 * (size + 32) * 4;
                let kernel = format!("attention_decode_plain_{suffix}");
                trial.launch(&kernel, [LENGTHS.len(), heads, z], 64, shared, arguments);
            }
            let out = trial.room(element, LENGTHS.len() * q_width);
            let combine = arguments![parts, stats, lengths, window, heads, size, MOST_PAGES, out, q_width];
            let grid = [LENGTHS.len(), heads.div_ceil(2), 1];
            trial.launch(&format!("attention_combine_{suffix}"), grid, 64, 0, combine);
            vec![trial.get(q), trial.get(new), trial.get(out)]
        });
        let [q, new, out] = &results[..] else { unreachable!() };
        let mut wanted = Vec::new();
        for (sequence, &length) in LENGTHS.iter().enumerate() {
            for head in 0..heads {
                let query = &q[sequence * q_width + head * size..][..size];
                let first = if window == 0 { 0 } else { length.saturating_sub(window) };
                let row = |position: usize| {
                    let slot = table[sequence][position / PAGE] * PAGE as u32 + (position % PAGE) as u32;
                    let at = slots.iter().position(|&stored| stored == slot).expect("every position is stored");
                    let start = at * stride + head * kv_heads / heads * size;
                    (&new[start..start + size], &new[start + width..start + width + size])
                };
                let scores: Vec<f64> = (first..length)
                    .map(|position| {
                        row(position).0.iter().zip(query).map(|(k, q)| k * q).sum::<f64>() * f64::from(scale)
                    })
                    .collect();
                let highest = scores.iter().copied().fold(f64::MIN, f64::max);
                let total: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
                let mut sums = vec![0.0; size];
                for (position, score) in (first..length).zip(&scores) {
                    for (sum, value) in sums.iter_mut().zip(row(position).1) {
                        *sum += (score - highest).exp() / total * value;
                    }
                }
                wanted.extend(sums);
            }
        }
        assert_close("attention over the cache", element, out, &wanted);
        // A sequence that sees one position gets its value as it is.
        let value = |head: usize| {
            let at = slots.iter().position(|&slot| slot == 5 * PAGE as u32).expect("the position is stored");
            new[at * stride + width + head * kv_heads / heads * size..][..size].to_vec()
        };
        let alone: Vec<f64> = (0..heads).flat_map(value).map(|x| round(element, x)).collect();
        assert_eq!(out[..q_width], alone);
    }
}

const FAST: Case = Case { element: Element::Bf16, fast: true, size: 64, heads: 4, kv_heads: 2, window: 0 };

#[test]
fn decoding_on_tensor_cores() {
    FAST.check();
    Case { size: 96, heads: 7, kv_heads: 1, ..FAST }.check();
    Case { size: 128, heads: 16, kv_heads: 1, ..FAST }.check();
    Case { window: 40, ..FAST }.check();
}

#[test]
fn decoding_with_any_head_size() {
    Case { element: Element::F32, fast: false, size: 64, ..FAST }.check();
    Case { element: Element::F32, fast: false, size: 33, heads: 6, ..FAST }.check();
    Case { fast: false, size: 128, window: 40, ..FAST }.check();
}
