//! What the documentation of TAB-PO promises.

use serde_json::{Value, json};
use tabpo_objective::diff::differs;
use tabpo_objective::{Completion, Normaliser, Objective, Pair, PairLoss, Reach};
use tabpo_roles::Role;

/// A pair from token ids: every token has the given log-probs and role by its id.
fn pair(chosen: &[u32], rejected: &[u32], policy: fn(u32) -> f64) -> Pair {
    let (chosen_flags, rejected_flags) = differs(chosen, rejected);
    let side = |tokens: &[u32], flags: Vec<bool>| Completion {
        roles: tokens.iter().map(|token| role(*token)).collect(),
        differs: flags,
        ..Completion::new(tokens.iter().map(|token| policy(*token)).collect(), vec![-0.5; tokens.len()])
    };
    Pair { chosen: side(chosen, chosen_flags), rejected: side(rejected, rejected_flags), weight: 1.0 }
}

/// Ids from 10 are entity labels, from 20 spans, 99 ends the turn, the rest is scaffold.
fn role(token: u32) -> Role {
    match token {
        10..20 => Role::EntityLabel,
        20..30 => Role::Span,
        99 => Role::End,
        _ => Role::Scaffold,
    }
}

/// TAB-PO with only the terms in `weights`.
fn only(weights: &Value) -> Objective {
    let off = json!({"preference": 0.0, "decision": 0.0, "decision_target": null, "barrier": 0.0, "anchor": 0.0});
    let mut parameters = off;
    parameters["name"] = json!("tab-po");
    for (key, value) in weights.as_object().expect("hyper-parameters") {
        parameters[key] = value.clone();
    }
    Objective::try_from(parameters).expect("hyper-parameters of tab-po")
}

fn evaluate(objective: &Objective, pair: &Pair) -> PairLoss {
    objective.evaluate(pair, &Normaliser::of([pair]))
}

#[test]
fn only_differing_tokens_move_in_the_margin_and_by_the_weight_of_their_role() {
    let pair = pair(&[1, 10, 2, 20, 3, 99], &[1, 11, 2, 21, 3, 99], |_| -0.5);
    let loss = evaluate(&only(&json!({"preference": 1.0})), &pair);
    // At margin 0 the slope of −ℓ(βh) is −β/2.
    let expected = [0.0, -0.05, 0.0, -0.025, 0.0, 0.0];
    assert_eq!(loss.chosen.logp, expected);
    assert_eq!(loss.rejected.logp, expected.map(|gradient| -gradient));
}

#[test]
fn stopping_too_early_is_pushed_down_at_the_divergence_point() {
    // The rejected answer ends where the chosen one continues with a second record.
    let pair = pair(&[1, 10, 4, 1, 11, 5, 99], &[1, 10, 5, 99], |_| -0.5);
    assert_eq!(pair.rejected.differs, [false; 4]);
    for weights in [json!({"preference": 1.0}), json!({"decision": 1.0})] {
        let loss = evaluate(&only(&weights), &pair);
        assert!(loss.rejected.logp[2] > 0.0);
        assert!(loss.chosen.logp[2] < 0.0);
        assert!([0, 1, 3].iter().all(|t| loss.rejected.logp[*t] == 0.0));
    }
}

#[test]
fn the_preference_stops_at_its_target() {
    let pair = pair(&[1, 10, 99], &[1, 11, 99], |token| if token == 11 { -4.0 } else { -0.5 });
    let margin = evaluate(&only(&json!({"preference": 1.0})), &pair).margin;
    assert!((margin - 3.5).abs() < 1e-12);
    let moves = |target: f64| {
        let loss = evaluate(&only(&json!({"preference": 1.0, "target": target})), &pair);
        loss.chosen.logp.iter().any(|gradient| *gradient != 0.0)
    };
    assert!(moves(3.6));
    assert!(!moves(3.4));
}

#[test]
fn the_gradient_of_the_decision_is_the_probability_of_the_wrong_token() {
    let pair = pair(&[1, 10, 99], &[1, 11, 99], |token| match token {
        10 => 0.3_f64.ln(),
        11 => 0.6_f64.ln(),
        _ => -0.5,
    });
    let loss = evaluate(&only(&json!({"decision": 1.0})), &pair);
    let wrong = 0.6 / (0.3 + 0.6);
    assert!((loss.chosen.logp[1] + wrong).abs() < 1e-12);
    assert!((loss.rejected.logp[1] - wrong).abs() < 1e-12);
    assert!((loss.decision + (0.3_f64 / 0.9).ln()).abs() < 1e-12);
}

#[test]
fn the_decision_stops_once_the_right_token_leads_by_the_target() {
    let lead = |right: f64, target: f64| {
        let mut pair = pair(&[1, 10, 99], &[1, 11, 99], |_| -1.0);
        pair.chosen.policy[1] = right;
        evaluate(&only(&json!({"decision": 1.0, "decision_target": target})), &pair)
    };
    assert!(lead(-1.1, 0.0).chosen.logp[1] < 0.0);
    assert_eq!(lead(-0.9, 0.0).chosen.logp[1], 0.0);
    assert!(lead(-0.9, 0.5).chosen.logp[1] < 0.0);
    assert_eq!(lead(-0.4, 0.5).chosen.logp[1], 0.0);
}

#[test]
fn without_a_margin_a_pair_is_read_up_to_its_divergence_point() {
    let reach = |weights: Value| only(&weights).needs().rejected;
    assert_eq!(reach(json!({"preference": 1.0, "decision": 1.0})), Reach::Whole);
    assert_eq!(reach(json!({"decision": 1.0})), Reach::Divergence);
    assert_eq!(reach(json!({"barrier": 1.0, "anchor": 1.0})), Reach::Nothing);
    // What lies beyond changes nothing.
    let whole = pair(&[1, 10, 2, 99], &[1, 11, 3, 99], |_| -0.7);
    let cut = pair(&[1, 10, 2, 99], &[1, 11], |_| -0.7);
    let terms = json!({"decision": 1.0, "barrier": 1.0, "anchor": 1.0});
    let (whole, cut) = (evaluate(&only(&terms), &whole), evaluate(&only(&terms), &cut));
    assert_eq!((whole.loss, &whole.chosen), (cut.loss, &cut.chosen));
    assert_eq!(whole.rejected.logp[..2], cut.rejected.logp);
}

#[test]
fn the_barrier_is_continuous_and_one_noisy_label_does_not_take_it_all() {
    let barrier = only(&json!({"barrier": 1.0, "tau": 0.5}));
    let near =
        pair(&[10, 11, 12, 13, 99], &[99], |token| if token == 10 { -std::f64::consts::LN_2 - 1e-9 } else { -0.1 });
    assert!(evaluate(&barrier, &near).loss < 1e-8);
    let noisy = pair(&[10, 11, 12, 13, 99], &[99], |token| if token == 10 { -9.0 } else { -0.1 });
    let loss = evaluate(&barrier, &noisy);
    assert_eq!(loss.gate, [true, false, false, false, false]);
    assert_eq!(loss.chosen.logp[0], -0.25);
}

#[test]
fn the_anchor_is_the_mean_likelihood_of_the_chosen_answer() {
    let pair = pair(&[1, 10, 20, 99], &[1, 11, 20, 99], |_| -0.7);
    let loss = evaluate(&only(&json!({"anchor": 2.0})), &pair);
    assert!((loss.likelihood - 1.4).abs() < 1e-12);
    assert!(loss.chosen.logp.iter().all(|gradient| (gradient + 0.5).abs() < 1e-12));
}

#[test]
fn identical_answers_have_no_preference() {
    let pair = pair(&[1, 10, 99], &[1, 10, 99], |_| -0.7);
    let loss = evaluate(&only(&json!({"preference": 1.0, "decision": 1.0})), &pair);
    assert!(loss.chosen.logp.iter().chain(&loss.rejected.logp).all(|gradient| *gradient == 0.0));
}
