//! Losses and gradients against figures computed with the authors' and TRL's own code.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tabpo_objective::published::{self, Figures, Inputs};

const GOLDEN: &str = include_str!("fixtures/golden_a.json");

/// Figures in the file without an objective in this crate: they couple the pairs of a batch, or
/// need the policy's whole distribution or its KL in the other direction.
const NOT_IMPLEMENTED: [&str; 7] =
    ["aot", "aot_unpaired", "wpo_sigmoid", "kto_pair_batchKL", "alpha_dpo", "beta_dpo_nofilter", "tis_dpo_with_kl"];

fn golden() -> Value {
    serde_json::from_str(GOLDEN).expect("the fixture is JSON")
}

fn inputs() -> Inputs {
    Inputs::deserialize(&golden()["inputs"]).expect("the fixture has the layout of the inputs")
}

/// Relative to the larger of the value and 1: entries of ordinary size must agree absolutely.
fn assert_close(name: &str, what: &str, ours: f64, theirs: f64, tolerance: f64) {
    let error = (ours - theirs).abs() / theirs.abs().max(1.0);
    assert!(error <= tolerance, "{name} {what}: {ours} instead of {theirs}, error {error:e}");
}

fn assert_lists_close(name: &str, what: &str, ours: &[Vec<f64>], theirs: &[Vec<f64>], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{name} {what}");
    for (pair, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(ours.len(), theirs.len(), "{name} {what} pair {pair}");
        for (t, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            assert_close(name, &format!("{what}[{pair}][{t}]"), *ours, *theirs, tolerance);
        }
    }
}

#[test]
fn every_published_loss_and_gradient_entry_agrees() {
    let golden = golden();
    let expected = golden["objectives"].as_object().expect("objectives by name");
    let ours: BTreeMap<_, _> = published::evaluate(&inputs()).expect("inputs of one shape").into_iter().collect();
    for (name, expected) in expected {
        let Some(ours) = ours.get(name.as_str()) else {
            assert!(NOT_IMPLEMENTED.contains(&name.as_str()), "{name} is missing");
            continue;
        };
        let expected = Figures::deserialize(expected).expect("figures");
        // The source of this one computes in single precision.
        let tolerance = if name == "orpo_trl_or_term" { 1e-6 } else { 1e-8 };
        assert_close(name, "loss", ours.loss, expected.loss, tolerance);
        let lists = [
            ("grad_policy_chosen", Some(&ours.grad_policy_chosen), Some(&expected.grad_policy_chosen)),
            ("grad_policy_rejected", Some(&ours.grad_policy_rejected), Some(&expected.grad_policy_rejected)),
            ("grad_kl_chosen", ours.grad_kl_chosen.as_ref(), expected.grad_kl_chosen.as_ref()),
            ("grad_kl_rejected", ours.grad_kl_rejected.as_ref(), expected.grad_kl_rejected.as_ref()),
        ];
        for (what, ours, expected) in lists {
            assert_eq!(ours.is_some(), expected.is_some(), "{name} {what}");
            if let (Some(ours), Some(expected)) = (ours, expected) {
                assert_lists_close(name, what, ours, expected, tolerance);
            }
        }
    }
    assert_eq!(ours.len() + NOT_IMPLEMENTED.len(), expected.len());
}

/// The full derivative of TDPO with respect to the logits, from its two gradients:
/// `dp_t/dlogit_v = 1[v = target] − π(v)` and `dK_t/dlogit_v = π(v) − π_ref(v)`.
#[test]
fn the_kl_gradient_gives_the_published_logit_gradient() {
    let golden = golden();
    let figures: BTreeMap<_, _> = published::evaluate(&inputs()).expect("inputs of one shape").into_iter().collect();
    let logits = |key: &str| Vec::<Vec<Vec<f64>>>::deserialize(&golden["inputs"][key]).expect("logits");
    let targets = |key: &str| Vec::<Vec<usize>>::deserialize(&golden["inputs"][key]).expect("token ids");
    for name in ["tdpo1", "tdpo2"] {
        let ours = &figures[name];
        let sides = [
            ("chosen", &ours.grad_policy_chosen, ours.grad_kl_chosen.as_ref()),
            ("rejected", &ours.grad_policy_rejected, ours.grad_kl_rejected.as_ref()),
        ];
        for (side, logp, kl) in sides {
            let kl = kl.expect("TDPO has a gradient on the KL");
            let policy = logits(&format!("policy_logits_{side}"));
            let reference = logits(&format!("ref_logits_{side}"));
            let targets = targets(&format!("target_ids_{side}"));
            let expected = &golden["objectives"][name][format!("grad_logits_{side}")];
            let expected = Vec::<Vec<Vec<f64>>>::deserialize(expected).expect("logit gradients");
            for (i, expected) in expected.iter().enumerate() {
                for (t, expected) in expected.iter().enumerate() {
                    let pi = softmax(&policy[i][t]);
                    let pi_ref = softmax(&reference[i][t]);
                    for (v, expected) in expected.iter().enumerate() {
                        let hit = f64::from(u8::from(v == targets[i][t]));
                        let ours = logp[i][t] * (hit - pi[v]) + kl[i][t] * (pi[v] - pi_ref[v]);
                        assert_close(name, &format!("{side} logit [{i}][{t}][{v}]"), ours, *expected, 1e-8);
                    }
                }
            }
        }
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
    logits.iter().map(|x| (x - largest).exp() / sum).collect()
}

#[test]
fn the_public_weight_transforms_give_the_published_weights() {
    use tabpo_objective::weights::{negated, rank_based, threshold_and_scale};
    type Transform = fn(&[f64]) -> Vec<f64>;
    let golden = golden();
    let inputs = inputs();
    let transforms: [(&str, Transform); 2] =
        [("tis_dpo_threshold_and_scale", threshold_and_scale), ("tis_dpo_rank_based", rank_based)];
    for (name, transform) in transforms {
        let chosen: Vec<_> = inputs.tis_raw_chosen.iter().map(|raw| transform(&negated(raw))).collect();
        let rejected: Vec<_> = inputs.tis_raw_rejected.iter().map(|raw| transform(raw)).collect();
        for (side, ours) in [("weights_chosen", chosen), ("weights_rejected", rejected)] {
            let expected = Vec::<Vec<f64>>::deserialize(&golden["objectives"][name][side]).expect("weights");
            assert_lists_close(name, side, &ours, &expected, 1e-12);
        }
    }
}

#[test]
fn lists_of_different_length_are_named() {
    let mut inputs = inputs();
    inputs.ref_rejected[1].pop();
    let error = published::evaluate(&inputs).expect_err("one list is too short");
    assert_eq!(error.to_string(), "`ref_rejected` has 8 values for pair 1, where the policy has 9 tokens");
}
