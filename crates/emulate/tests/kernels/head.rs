//! The head: rows gathered and scattered, log-probabilities, divergences and the gradient of the logits.

use crate::common::Random;
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{Numbers, assert_close, in_every_order};

const BOTH: [Element; 2] = [Element::F32, Element::Bf16];
const THREADS: u32 = 96;
/// Eight bytes a warp.
const SHARED: usize = 3 * 8;

#[test]
fn rows_are_gathered_and_scattered() {
    for element in BOTH {
        let suffix = element.suffix();
        let (rows, width) = (9, 40);
        let picked = [7_u32, 2, 3];
        let mut slots = [u32::MAX; 9];
        for (slot, &row) in picked.iter().enumerate() {
            slots[row as usize] = slot as u32;
        }
        let x = Random::new(5).values(rows * width);
        let results = in_every_order(|trial| {
            let stream = trial.put(element, &x);
            let gathered = trial.room(element, picked.len() * width);
            let list = trial.put_u32(&picked);
            let gather = arguments![stream, list, width, gathered];
            trial.launch(&format!("gather_rows_{suffix}"), [picked.len(), 1, 1], 32, 0, gather);
            let scattered = trial.room(element, rows * width);
            let slots = trial.put_u32(&slots);
            let scatter = arguments![gathered, slots, width, scattered];
            trial.launch(&format!("scatter_rows_{suffix}"), [rows, 1, 1], 32, 0, scatter);
            [stream, gathered, scattered].map(|numbers| trial.get(numbers)).to_vec()
        });
        let [stream, gathered, scattered] = &results[..] else { unreachable!() };
        let row = |row: u32| stream[row as usize * width..][..width].to_vec();
        assert_eq!(*gathered, picked.iter().flat_map(|&picked| row(picked)).collect::<Vec<_>>());
        let wanted = (0..9).flat_map(|at| if picked.contains(&at) { row(at) } else { vec![0.0; width] });
        assert_eq!(*scattered, wanted.collect::<Vec<_>>());
    }
}

fn log_sum(z: &[f64]) -> f64 {
    let highest = z.iter().copied().fold(f64::MIN, f64::max);
    highest + z.iter().map(|z| (z - highest).exp()).sum::<f64>().ln()
}

/// Log-probs, divergences and gradients of rows with none, one and several targets, with a vocabulary that no block
/// divides.
#[test]
fn log_probabilities_divergences_and_gradients() {
    let (rows, vocabulary, stride) = (4, 1733, 1736);
    let mut random = Random::new(11);
    // A spread as of a trained model, and numbers far from zero.
    let mut draw = |at: f64| random.values(rows * stride).iter().map(|x| x * 9.0 + at).collect::<Vec<_>>();
    let (logits, reference) = (draw(40.0), draw(-25.0));
    let bounds = [0_u32, 1, 1, 4, 6];
    let tokens = [1732_u32, 5, 9, 5, 0, 1000];
    let (seeds, divergence_seeds) = (random.values(tokens.len()), random.values(rows));
    for element in BOTH {
        let results = in_every_order(|trial| {
            let put = |values: &[f64]| trial.put(Element::F32, values);
            let (logits, reference) = (put(&logits), put(&reference));
            let [log_sums, reference_sums, divergences] = [0; 3].map(|_| trial.room_bytes(rows * 8));
            let log_probs = trial.room_bytes(tokens.len() * 8);
            let (none, no_tokens) = (trial.put_u32(&[0; 5]), trial.room_bytes(0));
            let (bounds, tokens_there) = (trial.put_u32(&bounds), trial.put_u32(&tokens));
            let grid = [rows, 1, 1];
            let forward = arguments![logits, stride, vocabulary, bounds, tokens_there, log_sums, log_probs];
            trial.launch("head_log_probs", grid, THREADS, SHARED, forward);
            let forward = arguments![reference, stride, vocabulary, none, no_tokens, reference_sums, no_tokens];
            trial.launch("head_log_probs", grid, THREADS, SHARED, forward);
            let divergence = arguments![reference, reference_sums, logits, log_sums, stride, vocabulary, divergences];
            trial.launch("head_divergence", grid, THREADS, SHARED, divergence);
            let (seeds, divergence_seeds) = (put(&seeds), put(&divergence_seeds));
            let gradient_of = |logits: Numbers, reference: Option<Numbers>, out: Numbers, out_stride: usize| {
                let arguments = arguments![
                    logits,
                    stride,
                    vocabulary,
                    log_sums,
                    bounds,
                    tokens_there,
                    seeds,
                    reference,
                    reference_sums,
                    divergence_seeds,
                    out,
                    out_stride
                ];
                trial.launch(&format!("head_gradient_{}", element.suffix()), grid, THREADS, 0, arguments);
                let values = trial.get(out);
                (0..rows).flat_map(|row| values[row * out_stride..][..vocabulary].to_vec()).collect::<Vec<_>>()
            };
            let plain = gradient_of(logits, None, trial.room(element, rows * stride), stride);
            let with_reference = gradient_of(logits, Some(reference), trial.room(element, rows * stride), stride);
            // Over the logits: a row of the gradient begins where the row of logits begins.
            let narrower = 4 / element.bytes();
            let copy = put(&trial.get(logits));
            let over = Numbers { element, length: rows * stride * narrower, ..copy };
            let in_place = gradient_of(copy, Some(reference), over, stride * narrower);
            let numbers = [logits, reference, seeds, divergence_seeds].map(|numbers| trial.get(numbers));
            let doubles = [(log_sums, rows), (log_probs, tokens.len()), (divergences, rows)];
            let doubles = doubles.map(|(address, length)| trial.get_f64(address, length));
            numbers.into_iter().chain(doubles).chain([plain, with_reference, in_place]).collect()
        });
        let [logits, reference, seeds, divergence_seeds, log_sums, log_probs, divergences, plain, full, in_place] =
            &results[..]
        else {
            unreachable!()
        };
        assert_eq!(full, in_place);
        let mut wanted = [const { Vec::new() }; 3];
        let (mut wanted_plain, mut wanted_full) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let (z, other) = (&logits[row * stride..][..vocabulary], &reference[row * stride..][..vocabulary]);
            let (sum, other_sum) = (log_sum(z), log_sum(other));
            wanted[0].push(sum);
            let targets = bounds[row] as usize..bounds[row + 1] as usize;
            wanted[1].extend(targets.clone().map(|t| z[tokens[t] as usize] - sum));
            wanted[2].push(
                (0..vocabulary).map(|v| (other[v] - other_sum).exp() * (other[v] - other_sum - z[v] + sum)).sum(),
            );
            let total: f64 = targets.clone().map(|t| seeds[t]).sum();
            let k = divergence_seeds[row];
            for v in 0..vocabulary {
                let own: f64 = targets.clone().filter(|&t| tokens[t] as usize == v).map(|t| seeds[t]).sum();
                let p = (z[v] - sum).exp();
                wanted_plain.push(own - total * p);
                wanted_full.push(own + (k - total) * p - k * (other[v] - other_sum).exp());
            }
        }
        assert_close("log-sums", Element::F32, log_sums, &wanted[0]);
        assert_close("log-probs", Element::F32, log_probs, &wanted[1]);
        assert_close("divergences", Element::F32, divergences, &wanted[2]);
        assert_close("gradient", element, plain, &wanted_plain);
        assert_close("gradient with a reference", element, full, &wanted_full);
    }
}

/// A policy that is its reference has no divergence at all: the margin at step 0 is exactly 0.
#[test]
fn equal_logits_diverge_by_nothing() {
    let vocabulary = 777;
    let logits = Random::new(4).values(vocabulary);
    let results = in_every_order(|trial| {
        let logits = trial.put(Element::F32, &logits);
        let [sums, divergence] = [0; 2].map(|_| trial.room_bytes(8));
        let (bounds, none) = (trial.put_u32(&[0, 0]), trial.room_bytes(0));
        let forward = arguments![logits, vocabulary, vocabulary, bounds, none, sums, none];
        trial.launch("head_log_probs", [1; 3], THREADS, SHARED, forward);
        let arguments = arguments![logits, sums, logits, sums, vocabulary, vocabulary, divergence];
        trial.launch("head_divergence", [1; 3], THREADS, SHARED, arguments);
        vec![trial.get_f64(divergence, 1)]
    });
    assert_eq!(results[0], [0.0]);
}
