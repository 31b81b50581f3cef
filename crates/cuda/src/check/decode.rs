//! Decoding: attention over pages, and the choice of tokens.

use super::{Bench, Outcome, limit, named};
use crate::driver::{DriverError, Element};
use crate::ops::{Cache, DecodeAttention, Draw, PAGE, Picks, Projected};

/// Head size, query heads, key heads, window.
const CASES: [(usize, usize, usize, u32); 4] = [(64, 4, 2, 0), (96, 2, 2, 70), (128, 4, 1, 0), (40, 3, 1, 33)];
/// Positions of the sequences: within a page, at its end, and over several.
const LENGTHS: [u32; 4] = [1, 64, 65, 200];

pub(super) fn check(bench: &mut Bench<'_>, element: Element) -> Result<Vec<Outcome>, DriverError> {
    let mut outcomes = Vec::new();
    for case in CASES {
        outcomes.extend(attention(bench, element, case)?);
    }
    // Logits have one type only.
    if element == Element::F32 {
        outcomes.extend(choice(bench)?);
    }
    Ok(outcomes)
}

fn attention(
    bench: &mut Bench<'_>,
    element: Element,
    (size, heads, kv_heads, window): (usize, usize, usize, u32),
) -> Result<Vec<Outcome>, DriverError> {
    let page = PAGE as usize;
    let pages_of = |length: u32| length.div_ceil(PAGE) as usize;
    let most_pages = LENGTHS.into_iter().map(pages_of).max().expect("there are sequences");
    // Pages in an order of their own; what isn't used is never read.
    let used: usize = LENGTHS.into_iter().map(pages_of).sum();
    let mut free: Vec<u32> = (0..used as u32).rev().collect();
    let mut table = vec![u32::MAX; LENGTHS.len() * most_pages];
    for (sequence, length) in LENGTHS.into_iter().enumerate() {
        for at in 0..pages_of(length) {
            let pick = bench.below(free.len());
            table[sequence * most_pages + at] = free.swap_remove(pick);
        }
    }
    let slot = |sequence: usize, position: usize| {
        table[sequence * most_pages + position / page] as usize * page + position % page
    };
    let slots: Vec<u32> = LENGTHS
        .into_iter()
        .enumerate()
        .flat_map(|(sequence, length)| (0..length as usize).map(move |position| (sequence, position)))
        .map(|(sequence, position)| slot(sequence, position) as u32)
        .collect();
    let rows = slots.len();
    let kernels = bench.kernels(element);
    let [keys, values] =
        [bench.random(element, rows * kv_heads * size)?, bench.random(element, rows * kv_heads * size)?];
    let larger: Vec<f64> = bench.values(LENGTHS.len() * heads * size).iter().map(|x| x * 4.0).collect();
    let queries = bench.put(element, &larger)?;
    let pool = (used * page * kv_heads * size * element.bytes()) as u64;
    let cache = Cache { keys: bench.room(pool)?, values: bench.room(pool)? };
    // NaN where nothing is stored.
    let nothing = vec![0xff; pool as usize];
    bench.driver.upload(cache.keys, &nothing)?;
    bench.driver.upload(cache.values, &nothing)?;
    let attention = |plain: bool, table, lengths| DecodeAttention {
        sequences: LENGTHS.len() as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        size: size as u32,
        table,
        table_stride: most_pages as u32,
        lengths,
        window,
        most_pages: most_pages as u32,
        plain,
    };
    let [table_at, lengths_at, slots_at] =
        [bench.put_indices(&table)?, bench.put_indices(&LENGTHS)?, bench.put_indices(&slots)?];
    let projected = Projected {
        queries: queries.rows(heads * size),
        keys: keys.rows(kv_heads * size),
        values: values.rows(kv_heads * size),
    };
    attention(true, table_at, lengths_at).store(kernels, projected, slots_at, rows as u32, cache)?;

    let mut wanted = Vec::new();
    let mut first_row = 0;
    for (sequence, length) in LENGTHS.into_iter().enumerate() {
        let length = length as usize;
        let first = if window == 0 { 0 } else { length.saturating_sub(window as usize) };
        for head in 0..heads {
            let query = &queries.values[(sequence * heads + head) * size..][..size];
            let at = |position: usize| ((first_row + position) * kv_heads + head * kv_heads / heads) * size;
            let score = |position: usize| {
                let key = &keys.values[at(position)..][..size];
                query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (size as f64).sqrt()
            };
            let scores: Vec<f64> = (first..length).map(score).collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
            let mut out = vec![0.0; size];
            for (position, score) in (first..length).zip(&scores) {
                let value = &values.values[at(position)..][..size];
                out.iter_mut().zip(value).for_each(|(out, v)| *out += (score - highest).exp() / sum * v);
            }
            wanted.extend(out);
        }
        first_row += length;
    }
    let mut outcomes = Vec::new();
    let ways: &[bool] = if element == Element::Bf16 && size >= 64 { &[false, true] } else { &[true] };
    for &plain in ways {
        let attention = attention(plain, table_at, lengths_at);
        let (parts, stats) = attention.room();
        let room = [bench.room(parts)?, bench.room(stats)?];
        let out = bench.random(element, LENGTHS.len() * heads * size)?;
        attention.attend(kernels, projected.queries, cache, room, out.rows(heads * size))?;
        let plain = if plain { ", plain" } else { "" };
        let name = named(&format!("decoding: attention, heads of {size}{plain}"), element);
        outcomes.push(Outcome::of(name, &bench.read(&out)?, &wanted, limit(element)));
    }
    Ok(outcomes)
}

fn choice(bench: &mut Bench<'_>) -> Result<Vec<Outcome>, DriverError> {
    const ROWS: usize = 3;
    const PICKS: usize = 40;
    const VOCABULARY: usize = 1003;
    const STRIDE: usize = 1008;
    const TEMPERATURE: f64 = 0.75;
    const TOP_P: f64 = 0.875;
    let words = VOCABULARY.div_ceil(32);
    let kernels = bench.kernels(Element::F32);
    let larger: Vec<f64> = bench.values(ROWS * STRIDE).iter().map(|x| x * 5.0).collect();
    let logits = bench.put(Element::F32, &larger)?;
    let rows: Vec<u32> = (0..PICKS).map(|pick| (pick % ROWS) as u32).collect();
    let mut masks: Vec<u32> = (0..PICKS * words).map(|_| bench.below(1 << 32) as u32).collect();
    // The last pick allows nothing.
    masks[(PICKS - 1) * words..].fill(0);
    let draws: Vec<f64> = bench.values(PICKS).iter().map(|x| (x + 1.0) / 2.0 * 0.999).collect();
    let draws_at = bench.put_bytes(&draws.iter().flat_map(|draw| draw.to_le_bytes()).collect::<Vec<_>>())?;
    let picks = Picks {
        count: PICKS as u32,
        logits: logits.rows(STRIDE),
        vocabulary: VOCABULARY as u32,
        rows: bench.put_indices(&rows)?,
        masks: Some(bench.put_indices(&masks)?),
    };
    let mut outcomes = Vec::new();
    for drawn in [false, true] {
        let (tokens, log_probs) = (bench.room(4 * PICKS as u64)?, bench.room(8 * PICKS as u64)?);
        let draw = Draw { temperature: TEMPERATURE as f32, top_p: TOP_P as f32, draws: draws_at };
        picks.choose(kernels, drawn.then_some(draw), tokens, log_probs)?;
        let found: Vec<f64> = bench.read_indices(tokens, PICKS)?.into_iter().map(f64::from).collect();
        let (mut wanted, mut wanted_log_probs) = (Vec::new(), Vec::new());
        for pick in 0..PICKS {
            let z = &logits.values[rows[pick] as usize * STRIDE..][..VOCABULARY];
            let allowed = |token: &usize| masks[pick * words + token / 32] >> (token % 32) & 1 == 1;
            let mut candidates: Vec<usize> = (0..VOCABULARY).filter(allowed).collect();
            candidates.sort_by(|&a, &b| z[b].total_cmp(&z[a]).then(a.cmp(&b)));
            let Some(&best) = candidates.first() else {
                wanted.push(f64::from(u32::MAX));
                continue;
            };
            let weight = |token: usize| ((z[token] - z[best]) / TEMPERATURE).exp();
            let all: f64 = candidates.iter().map(|&token| weight(token)).sum();
            let mut before = 0.0;
            let nucleus: Vec<usize> = candidates
                .into_iter()
                .take_while(|&token| {
                    let within = before < TOP_P * all;
                    before += weight(token);
                    within
                })
                .collect();
            let mut left = draws[pick] * nucleus.iter().map(|&token| weight(token)).sum::<f64>();
            let token = nucleus.iter().copied().find(|&token| {
                left -= weight(token);
                left < 0.0
            });
            let token = if drawn { token.unwrap_or(best) } else { best };
            wanted.push(token as f64);
            let sum: f64 = z.iter().map(|other| (other - z[best]).exp()).sum();
            wanted_log_probs.push(z[token] - z[best] - sum.ln());
        }
        let name = if drawn { "drawn" } else { "greedy" };
        outcomes.push(Outcome::of(format!("decoding: {name} tokens"), &found, &wanted, 0.0));
        let found = bench.read_doubles(log_probs, wanted_log_probs.len())?;
        outcomes.push(Outcome::of(format!("decoding: log-probs of {name} tokens"), &found, &wanted_log_probs, 1e-6));
    }
    Ok(outcomes)
}
