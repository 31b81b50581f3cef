//! Choice of tokens, against the rules of the engine's `sample.rs`.

use crate::common::Random;
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{assert_close, in_every_order};

const THREADS: u32 = 64;
const SHARED: usize = 2 * 8 + 64 * 4;
const NONE: u32 = u32::MAX;

/// Logits of several rows and picks among them.
struct Choice {
    vocabulary: usize,
    stride: usize,
    logits: Vec<f64>,
    rows: Vec<u32>,
    masks: Option<Vec<u32>>,
}

impl Choice {
    fn words(&self) -> usize {
        self.vocabulary.div_ceil(32)
    }

    fn allowed(&self, pick: usize, token: usize) -> bool {
        self.masks.as_ref().is_none_or(|masks| masks[pick * self.words() + token / 32] >> (token % 32) & 1 == 1)
    }

    fn row(&self, pick: usize) -> Vec<f64> {
        let row = &self.logits[self.rows[pick] as usize * self.stride..][..self.vocabulary];
        row.iter().map(|&z| f64::from(z as f32)).collect()
    }

    /// The engine's choice; greedy without a temperature.
    fn wanted(&self, pick: usize, sampling: Option<(f64, f64, f64)>) -> u32 {
        let z = self.row(pick);
        let mut candidates: Vec<u32> =
            (0..self.vocabulary as u32).filter(|&token| self.allowed(pick, token as usize)).collect();
        candidates.sort_by(|&a, &b| z[b as usize].total_cmp(&z[a as usize]).then(a.cmp(&b)));
        let Some(&first) = candidates.first() else { return NONE };
        let Some((temperature, top_p, draw)) = sampling else { return first };
        let weight = |token: u32| ((z[token as usize] - z[first as usize]) / temperature).exp();
        let total: f64 = candidates.iter().map(|&token| weight(token)).sum();
        let mut kept = 0.0;
        let count = candidates.iter().take_while(|&&token| {
            let wanted = kept < top_p * total;
            kept += weight(token);
            wanted
        });
        let nucleus = &candidates[..count.count().max(1)];
        let mut left = draw * nucleus.iter().map(|&token| weight(token)).sum::<f64>();
        let drawn = nucleus.iter().find(|&&token| {
            left -= weight(token);
            left < 0.0
        });
        *drawn.or(nucleus.last()).expect("a nucleus has a token")
    }

    fn log_prob(&self, pick: usize, token: u32) -> f64 {
        let z = self.row(pick);
        let highest = z.iter().copied().fold(f64::MIN, f64::max);
        z[token as usize] - highest - z.iter().map(|z| (z - highest).exp()).sum::<f64>().ln()
    }

    /// Tokens and log-probs of all picks, with temperature, top-p and a draw for each, or greedily.
    fn found(&self, sampling: Option<(f32, f32, &[f64])>) -> (Vec<u32>, Vec<f64>) {
        let picks = self.rows.len();
        let results = in_every_order(|trial| {
            let logits = trial.put(Element::F32, &self.logits);
            let rows = trial.put_u32(&self.rows);
            let masks = self.masks.as_ref().map_or(tabpo_cuda::driver::Address(0), |masks| trial.put_u32(masks));
            let (tokens, log_probs) = (trial.room_bytes(picks * 4), trial.room_bytes(picks * 8));
            let grid = [picks, 1, 1];
            if let Some((temperature, top_p, draws)) = sampling {
                let draws = trial.put_f64(draws);
                let arguments = arguments![
                    logits,
                    self.stride,
                    self.vocabulary,
                    rows,
                    masks,
                    self.words(),
                    temperature,
                    top_p,
                    draws,
                    tokens,
                    log_probs
                ];
                trial.launch("choose_nucleus", grid, THREADS, SHARED, arguments);
            } else {
                let arguments =
                    arguments![logits, self.stride, self.vocabulary, rows, masks, self.words(), tokens, log_probs];
                trial.launch("choose_greedy", grid, THREADS, SHARED, arguments);
            }
            let tokens = trial.get_u32(tokens, picks).into_iter().map(f64::from).collect();
            vec![tokens, trial.get_f64(log_probs, picks)]
        });
        (results[0].iter().map(|&token| token as u32).collect(), results[1].clone())
    }

    fn check(&self, sampling: Option<(f32, f32, &[f64])>) {
        let (tokens, log_probs) = self.found(sampling);
        let mut wanted_log_probs = Vec::new();
        for (pick, &token) in tokens.iter().enumerate() {
            let sampling =
                sampling.map(|(temperature, top_p, draws)| (f64::from(temperature), f64::from(top_p), draws[pick]));
            assert_eq!(token, self.wanted(pick, sampling), "pick {pick} with {sampling:?}");
            if token == NONE {
                assert_eq!(log_probs[pick], f64::NEG_INFINITY);
            } else {
                wanted_log_probs.push(self.log_prob(pick, token));
            }
        }
        let log_probs: Vec<f64> = log_probs.into_iter().filter(|value| value.is_finite()).collect();
        assert_close("log-probs", Element::F32, &log_probs, &wanted_log_probs);
    }
}

/// Random masks with a share of the tokens; the last pick's allows none.
fn masks(random: &mut Random, picks: usize, words: usize) -> Vec<u32> {
    let mut masks: Vec<u32> =
        (0..picks * words).map(|_| (random.below(1 << 31) as u32) << 1 & random.below(1 << 31) as u32).collect();
    masks[(picks - 1) * words..].fill(0);
    masks
}

#[test]
fn greedy_choice() {
    let mut random = Random::new(31);
    let (vocabulary, stride) = (1000, 1008);
    // Few different values, so that the highest is there several times.
    let mut logits: Vec<f64> = random.values(3 * stride).iter().map(|z| (z * 8.0).round()).collect();
    logits[2 * stride..].fill(f64::NEG_INFINITY);
    logits[2 * stride + 77] = -3.0;
    let mut choice = Choice { vocabulary, stride, logits, rows: vec![1, 0, 2, 1, 0], masks: None };
    choice.check(None);
    let words = choice.words();
    choice.masks = Some(masks(&mut random, 5, words));
    // Of row 2 the only likely token and two impossible ones.
    let own = &mut choice.masks.as_mut().expect("they were just set")[2 * words..3 * words];
    own.fill(0);
    own[2] = 1 << (77 - 64) | 1 << 3;
    choice.check(None);
}

#[test]
fn draws_from_the_nucleus() {
    let mut random = Random::new(37);
    let vocabulary = 500;
    let spread: Vec<f64> = random.values(2 * vocabulary).iter().map(|z| z * 6.0).collect();
    // Many equal weights: which of them is drawn, and how many are in the nucleus, goes by the smallest id.
    let steps: Vec<f64> = random.values(2 * vocabulary).iter().map(|z| (z * 3.0).round() * 0.7).collect();
    for logits in [spread, steps] {
        let picks = 24;
        let rows: Vec<u32> = (0..picks).map(|pick| pick as u32 % 2).collect();
        let mut choice = Choice { vocabulary, stride: vocabulary, logits, rows, masks: None };
        for (temperature, top_p) in [(1.0, 0.9), (0.7, 1.0), (1.5, 0.3), (1.0, 0.0)] {
            let draws: Vec<f64> = (0..picks).map(|pick| if pick == 3 { 0.0 } else { random.unit() }).collect();
            choice.check(Some((temperature, top_p, &draws)));
            let words = choice.words();
            choice.masks = Some(masks(&mut random, picks, words));
            choice.check(Some((temperature, top_p, &draws)));
            choice.masks = None;
        }
    }
}
