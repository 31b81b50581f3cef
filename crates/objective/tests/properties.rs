//! What holds for every objective of the catalogue, and for custom ones, on random inputs.

mod support;

use proptest::prelude::*;
use tabpo_objective::formulas::sequence::Dpo;
use tabpo_objective::{Baseline, Form, Formula, Needs, Normaliser, Objective, Pair, PairLoss};

use support::{objectives, pair};

fn batch_loss(objective: &Objective, pairs: &[Pair]) -> f64 {
    let normaliser = Normaliser::of(pairs);
    pairs.iter().map(|pair| objective.evaluate(pair, &normaliser).loss).sum()
}

/// A list of inputs of a pair, and the gradient with respect to it.
type Input = fn(&mut Pair) -> &mut Vec<f64>;
type Output = fn(&PairLoss) -> &Vec<f64>;

const LOG_PROBS: [(&str, Input, Output); 2] = [
    ("chosen log-prob", |pair| &mut pair.chosen.policy, |loss| &loss.chosen.logp),
    ("rejected log-prob", |pair| &mut pair.rejected.policy, |loss| &loss.rejected.logp),
];
const KL: [(&str, Input, Output); 2] = [
    ("chosen KL", |pair| &mut pair.chosen.kl, |loss| &loss.chosen.kl),
    ("rejected KL", |pair| &mut pair.rejected.kl, |loss| &loss.rejected.kl),
];

/// Slope from the left and from the right.
fn slopes(objective: &Objective, pair: &Pair, normaliser: &Normaliser, input: Input, t: usize) -> (f64, f64) {
    let step = 1e-5;
    let at = |delta: f64| {
        let mut moved = pair.clone();
        input(&mut moved)[t] += delta;
        objective.evaluate(&moved, normaliser).loss
    };
    let here = at(0.0);
    // Differences of second order: exact up to the third derivative on a smooth stretch.
    let right = (4.0 * at(step) - at(2.0 * step) - 3.0 * here) / (2.0 * step);
    let left = -(4.0 * at(-step) - at(-2.0 * step) - 3.0 * here) / (2.0 * step);
    (left, right)
}

/// Whether a derivative agrees with the slopes. Where they disagree with each other there is a kink
/// or a jump (a gate, a hinge, a selection) within the step, and nothing to compare with.
fn agrees(exact: f64, (left, right): (f64, f64), scale: f64) -> bool {
    let tolerance = 2e-5 * scale;
    (left - right).abs() > tolerance || (exact - 0.5 * (left + right)).abs() <= tolerance
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn gradients_agree_with_finite_differences(pair in pair(7), chosen_tokens in 5.0..40.0_f64) {
        let normaliser = Normaliser { pairs: 3.0, chosen_tokens };
        for objective in objectives() {
            let loss = objective.evaluate(&pair, &normaliser);
            // TDPO2 holds an input fixed on purpose and is tested apart.
            let inputs = if objective.name() == "tdpo1" { [LOG_PROBS, KL].concat() } else { LOG_PROBS.to_vec() };
            for (what, input, output) in inputs {
                for (t, exact) in output(&loss).iter().enumerate() {
                    let slopes = slopes(&objective, &pair, &normaliser, input, t);
                    let scale = 1.0 + exact.abs() + loss.loss.abs();
                    prop_assert!(
                        agrees(*exact, slopes, scale),
                        "{} {what} {t}: {exact} against {slopes:?}", objective.name(),
                    );
                }
            }
        }
    }

    #[test]
    fn the_detached_kl_of_tdpo2_has_no_gradient_and_the_other_one_does(pair in pair(5)) {
        let objective = Objective::new("tdpo2").unwrap();
        let normaliser = Normaliser::of([&pair]);
        let loss = objective.evaluate(&pair, &normaliser);
        prop_assert!(loss.chosen.kl.iter().all(|gradient| *gradient == 0.0));
        for (t, exact) in loss.rejected.kl.iter().enumerate() {
            let slopes = slopes(&objective, &pair, &normaliser, KL[1].1, t);
            prop_assert!(agrees(*exact, slopes, 1.0) && *exact > 0.0);
        }
    }

    #[test]
    fn micro_batches_add_up_to_the_batch(pairs in prop::collection::vec(pair(6), 1..6)) {
        for objective in objectives() {
            let whole = batch_loss(&objective, &pairs);
            // What a trainer does: totals first, then any grouping of the pairs.
            let mut normaliser = Normaliser::default();
            for pair in &pairs {
                normaliser.add(pair.weight, pair.chosen.len());
            }
            let parts: f64 = pairs
                .chunks(2)
                .map(|part| part.iter().map(|pair| objective.evaluate(pair, &normaliser).loss).sum::<f64>())
                .sum();
            prop_assert!((whole - parts).abs() <= 1e-12 * (1.0 + whole.abs()), "{}", objective.name());
        }
    }

    #[test]
    fn the_logged_terms_add_up_to_the_loss(pair in pair(6)) {
        let normaliser = Normaliser { pairs: 2.0, chosen_tokens: 11.0 };
        for objective in objectives() {
            let loss = objective.evaluate(&pair, &normaliser);
            let sum = loss.preference + loss.decision + loss.likelihood + loss.barrier;
            prop_assert!((loss.loss - sum).abs() <= 1e-12 * (1.0 + sum.abs()), "{}", objective.name());
            prop_assert!(loss.gate.is_empty() || loss.gate.len() == pair.chosen.len());
        }
    }

    #[test]
    fn a_mean_over_equal_pairs_is_the_pair(pair in pair(6)) {
        for objective in objectives() {
            let one = batch_loss(&objective, std::slice::from_ref(&pair));
            let three = batch_loss(&objective, &[pair.clone(), pair.clone(), pair.clone()]);
            prop_assert!((one - three).abs() <= 1e-12 * (1.0 + one.abs()), "{}", objective.name());
        }
    }
}

/// The loss of one pair in a batch of three.
fn evaluate_share(objective: &Objective, pair: &Pair) -> PairLoss {
    objective.evaluate(pair, &Normaliser { pairs: 3.0, chosen_tokens: 20.0 })
}

proptest! {
    #[test]
    fn a_custom_dpo_is_dpo_to_the_bit(pair in pair(6)) {
        let custom = Objective::custom("mine", Needs::PAIR_AND_REFERENCE, |terms| {
            let scores = terms.scores(Form::Sum, Baseline::Reference);
            terms.preference(&scores, -(0.1 * scores.margin()).log_sigmoid());
        });
        let dpo = Objective::new("dpo").expect("a name of the catalogue");
        prop_assert_eq!(evaluate_share(&custom, &pair), evaluate_share(&dpo, &pair));
        let composed = Objective::custom("composed", Needs::PAIR_AND_REFERENCE, |terms| Dpo { beta: 0.1 }.evaluate(terms));
        prop_assert_eq!(evaluate_share(&composed, &pair), evaluate_share(&dpo, &pair));
    }

    #[test]
    fn a_term_with_its_own_gradient_is_averaged_over_pairs(pair in pair(6)) {
        // Σ p² over both completions.
        let squares = Objective::custom("squares", Needs::PAIR, |terms| {
            let pair = terms.pair();
            let (chosen, rejected) = (&pair.chosen.policy, &pair.rejected.policy);
            let loss = chosen.iter().chain(rejected).map(|p| p * p).sum();
            let slope = |side: &[f64]| side.iter().map(|p| 2.0 * p).collect::<Vec<_>>();
            terms.term(loss, &slope(chosen), &slope(rejected));
        });
        let loss = evaluate_share(&squares, &pair);
        let share = pair.weight / 3.0;
        let sum: f64 = pair.chosen.policy.iter().chain(&pair.rejected.policy).map(|p| p * p).sum();
        prop_assert!((loss.loss - share * sum).abs() < 1e-12);
        for (gradient, p) in loss.rejected.logp.iter().zip(&pair.rejected.policy) {
            prop_assert!((gradient - share * 2.0 * p).abs() < 1e-12);
        }
    }
}

#[test]
fn custom_objectives_are_equal_to_their_clones_only() {
    let custom = |name: &str| Objective::custom(name, Needs::CHOSEN, |_| {});
    let (first, second) = (custom("dpo"), custom("dpo"));
    assert_eq!(first, first.clone());
    assert_ne!(first, second);
    assert_ne!(first, Objective::new("dpo").expect("a name of the catalogue"));
}
