//! Extreme and degenerate inputs.

mod support;

use tabpo_objective::{Completion, Normaliser, Objective, Pair, PairLoss, WeightSource};
use tabpo_roles::Role;

use support::{decision, decisions, errors, items, objectives};

/// A completion with every list filled.
fn filled(policy: &[f64], reference: &[f64]) -> Completion {
    let n = policy.len();
    Completion {
        roles: (0..n).map(|t| Role::ALL[(t + 1) % Role::ALL.len()]).collect(),
        differs: (0..n).map(|t| t % 2 == 1).collect(),
        kl: vec![0.2; n],
        guide: reference.to_vec(),
        decisions: decisions((0..n).map(|t| decision((t % 7) as u8))),
        errors: errors([1, 0, 0, 2, 3, 1]),
        choices: vec![policy.to_vec(); usize::from(!policy.is_empty())],
        items: items(n, &[0x5555_5555, 0xffff_fffe, 3]),
        ..Completion::new(policy.to_vec(), reference.to_vec())
    }
}

fn pair(chosen: Completion, rejected: Completion) -> Pair {
    Pair { chosen, rejected, weight: 1.0 }
}

fn evaluate(objective: &Objective, pair: &Pair) -> PairLoss {
    objective.evaluate(pair, &Normaliser::of([pair]))
}

fn named(name: &str) -> Objective {
    Objective::new(name).expect("a name of the catalogue")
}

fn assert_finite(objective: &Objective, pair: &Pair) {
    let loss = evaluate(objective, pair);
    let values = [loss.loss, loss.margin, loss.preference, loss.decision, loss.likelihood, loss.barrier];
    let gradients = [&loss.chosen.logp, &loss.rejected.logp, &loss.chosen.kl, &loss.rejected.kl];
    let mut all = values.iter().chain(gradients.into_iter().flatten());
    assert!(all.all(|value| value.is_finite()), "{} on {pair:?}: {loss:?}", objective.name());
    assert_eq!(loss.chosen.logp.len(), pair.chosen.len());
    assert_eq!(loss.rejected.logp.len(), pair.rejected.len());
}

#[test]
fn every_objective_is_finite_at_extreme_log_probs_and_lengths() {
    let values = [-60.0, -1e-9, 0.0, -0.4, -745.0];
    let lengths = [0, 1, 2, 300];
    for objective in objectives() {
        for (i, p) in values.iter().enumerate() {
            for q in values {
                for n in lengths {
                    for m in lengths {
                        let chosen = filled(&vec![*p; n], &vec![q; n]);
                        let rejected = filled(&vec![q; m], &vec![values[(i + 1) % values.len()]; m]);
                        assert_finite(&objective, &pair(chosen.clone(), rejected.clone()));
                        assert_finite(&objective, &pair(rejected, chosen));
                    }
                }
            }
        }
    }
}

#[test]
fn every_objective_is_finite_when_all_tokens_of_a_side_are_masked() {
    for objective in objectives() {
        for masked in 0..4 {
            let mut pair = pair(filled(&[-1.0, -60.0], &[-0.5, -2.0]), filled(&[-0.1, -3.0], &[-0.2, -1.0]));
            for (side, completion) in [&mut pair.chosen, &mut pair.rejected].into_iter().enumerate() {
                if masked & (1 << side) != 0 {
                    completion.weights.fill(0.0);
                    completion.differs.fill(false);
                }
            }
            assert_finite(&objective, &pair);
        }
        let empty_batch = Normaliser::default();
        let nothing = Pair { weight: 0.0, ..pair(filled(&[-1.0], &[-0.5]), filled(&[-2.0], &[-0.5])) };
        assert_eq!(objective.evaluate(&nothing, &empty_batch).loss, 0.0, "{}", objective.name());
    }
}

#[test]
fn chosen_only_objectives_take_a_pair_without_rejected_and_reference() {
    for objective in objectives().iter().filter(|objective| !objective.needs().pairs()) {
        let mut chosen = filled(&[-1.0, -0.2], &[]);
        chosen.guide.clear();
        let loss = evaluate(objective, &pair(chosen, Completion::default()));
        assert!(loss.chosen.logp.iter().any(|gradient| *gradient < 0.0), "{}", objective.name());
        assert!(loss.rejected.logp.is_empty());
    }
}

/// Shared tokens have the same log-prob on both sides, so the model sees the sum of both gradients.
#[test]
fn shared_prefix_tokens_cancel_in_every_function_of_the_summed_margin() {
    let shared = [-0.3, -1.2, -0.05];
    let shared_reference = [-0.4, -1.0, -0.07];
    let side = |rest: &[f64]| {
        let policy = [&shared[..], rest].concat();
        let reference = [&shared_reference[..], &vec![-0.9; rest.len()]].concat();
        let mut side = filled(&policy, &reference);
        side.differs = (0..policy.len()).map(|t| t >= shared.len()).collect();
        side
    };
    let pair = pair(side(&[-2.0, -0.1]), side(&[-0.4, -0.3, -2.0, -0.01]));
    let sums_of_margins = [
        "dpo",
        "authors-dpo",
        "cdpo",
        "robust",
        "ipo-sum",
        "authors-ipo",
        "hinge",
        "exo",
        "discopop",
        "focalpo",
        "diff-only",
        "cpo-hinge",
        "tdpo1",
        "tdpo2",
        "d2po",
    ];
    for name in sums_of_margins {
        let loss = evaluate(&named(name), &pair);
        assert!(loss.chosen.logp.iter().any(|gradient| *gradient != 0.0), "{name} has a gradient at all");
        for t in 0..shared.len() {
            assert_eq!(loss.chosen.logp[t] + loss.rejected.logp[t], 0.0, "{name} at {t}");
        }
    }

    let parameters = serde_json::json!({"name": "tab-po", "anchor": 0.0, "barrier": 0.0});
    let loss = evaluate(&Objective::try_from(parameters).unwrap(), &pair);
    assert_eq!(loss.chosen.logp[..3], [0.0; 3]);
    assert_eq!(loss.rejected.logp[..3], [0.0; 3]);

    // The released form does not cancel: it pushes correct tokens down when the chosen answer is
    // the longer one and up when it is the shorter one.
    let net = |pair: &Pair| {
        let released = serde_json::json!({"name": "tab-po-released", "lambda": 0.0});
        let loss = evaluate(&Objective::try_from(released).unwrap(), pair);
        loss.chosen.logp[0] + loss.rejected.logp[0]
    };
    assert!(net(&pair) < 0.0);
    let reversed = Pair { chosen: pair.rejected.clone(), rejected: pair.chosen.clone(), weight: 1.0 };
    assert!(net(&reversed) > 0.0);
}

#[test]
fn an_empty_confidence_selection_gives_no_loss_and_no_gradient() {
    // Equal probabilities: none lies strictly below their mean.
    let pair = pair(filled(&[-0.7; 3], &[-0.7; 3]), filled(&[-0.2, -2.0], &[-0.7; 2]));
    let loss = evaluate(&named("confpo"), &pair);
    assert_eq!(loss.loss, 0.0);
    assert!(loss.chosen.logp.iter().chain(&loss.rejected.logp).all(|gradient| *gradient == 0.0));
    // The pair still counts in the mean.
    let other = Pair { chosen: filled(&[-0.1, -3.0], &[-0.7; 2]), ..pair.clone() };
    let alone = evaluate(&named("confpo"), &other).loss;
    let normaliser = Normaliser::of([&pair, &other]);
    assert_eq!(named("confpo").evaluate(&other, &normaliser).loss, 0.5 * alone);
}

#[test]
fn dpo_positive_has_no_penalty_slope_where_training_starts() {
    let start = pair(filled(&[-0.5, -1.0], &[-0.5, -1.0]), filled(&[-2.0], &[-2.0]));
    for name in ["dpop", "dpop-outside"] {
        let loss = evaluate(&named(name), &start);
        let beta = named(name).parameters()["beta"].as_f64().unwrap();
        assert_eq!(loss.chosen.logp, [-0.5 * beta; 2], "{name}");
    }
}

#[test]
fn the_odds_of_near_certain_completions_stay_bounded() {
    let pair = pair(filled(&[-1e-9; 4], &[0.0; 4]), filled(&[-2.0; 2], &[0.0; 2]));
    let loss = evaluate(&named("orpo"), &pair);
    // Only the likelihood term is left on the chosen side.
    assert!(loss.chosen.logp.iter().all(|gradient| (gradient + 0.25).abs() < 1e-12));
}

#[test]
fn kto_with_unit_weights_is_half_of_apo_zero() {
    let pair = pair(filled(&[-0.5, -1.3], &[-0.9, -1.0]), filled(&[-2.0], &[-1.1]));
    for z in [0.0, 0.35] {
        let with_z = |name| Objective::try_from(serde_json::json!({"name": name, "z": z})).unwrap();
        let (kto, apo) = (evaluate(&with_z("kto"), &pair), evaluate(&with_z("apo-zero"), &pair));
        assert!((2.0 * kto.loss - apo.loss).abs() < 1e-15);
    }
}

#[test]
fn alphapo_tends_to_simpo() {
    let pair = pair(filled(&[-0.5, -1.3], &[0.0; 2]), filled(&[-2.0], &[0.0]));
    let alpha = |alpha: f64| {
        let objective = serde_json::json!({"name": "alphapo", "alpha": alpha});
        evaluate(&Objective::try_from(objective).unwrap(), &pair).loss
    };
    let simpo = evaluate(&named("simpo"), &pair).loss;
    assert_eq!(alpha(0.0), simpo);
    assert!((alpha(1e-9) - simpo).abs() < 1e-7);
}

#[test]
#[should_panic(expected = "0 KL values for 1 tokens")]
fn missing_inputs_are_refused() {
    let mut chosen = filled(&[-1.0], &[-1.0]);
    chosen.kl.clear();
    evaluate(&named("tdpo1"), &pair(chosen, filled(&[-1.0], &[-1.0])));
}

#[test]
fn needs_follow_the_hyper_parameters() {
    assert_eq!(named("confpo").needs().weights, WeightSource::None);
    let external = Objective::try_from(serde_json::json!({"name": "confpo", "selection": "external"})).unwrap();
    assert_eq!(external.needs().weights, WeightSource::External);
    let alone = serde_json::json!({"name": "tab-po", "preference": 0.0, "decision": 0.0});
    let alone = Objective::try_from(alone).unwrap();
    assert!(!alone.needs().pairs() && !alone.needs().reference);
}
