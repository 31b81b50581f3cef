//! The objectives that weigh decisions by F1, and the reweighted forms of SFT.

mod support;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tabpo_objective::{Completion, ItemErrors, JudgedItem, Normaliser, Objective, Pair, PairLoss};
use tabpo_roles::{List, ListDecision, Role};

use support::{completion, decided, decision, decisions, errors, objective, pair};

/// Inputs and figures of `fixtures/make_f1_objectives.py`, which writes the losses down again and differentiates them
/// numerically with 50 digits.
#[derive(Deserialize)]
struct Golden {
    examples: Vec<Example>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Example {
    chosen: Chosen,
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Chosen {
    policy: Vec<f64>,
    roles: Vec<Role>,
    weights: Vec<f64>,
    decisions: Vec<Option<ListDecision>>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "named as in the fixture")]
struct Rejected {
    policy: Vec<f64>,
    chosen_differs: Vec<bool>,
    rejected_differs: Vec<bool>,
    errors: ItemErrors,
    weight: f64,
    choices: Vec<Vec<f64>>,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    list: List,
    right: bool,
    tokens: Vec<usize>,
}

#[derive(Deserialize)]
struct Case {
    objective: Value,
    loss: f64,
    chosen: Vec<Vec<f64>>,
    rejected: Vec<Vec<Vec<f64>>>,
    /// For each rejected answer of each example, the derivatives of its choices; where the objective has any.
    #[serde(default)]
    choices: Vec<Vec<Vec<Vec<f64>>>>,
}

impl Example {
    /// The pairs of the example; one without a rejected answer where the objective reads none.
    fn pairs(&self, with_rejected: bool) -> Vec<Pair> {
        let chosen = |differs: &[bool]| Completion {
            roles: self.chosen.roles.clone(),
            weights: self.chosen.weights.clone(),
            decisions: decisions(self.chosen.decisions.iter().copied()),
            differs: differs.to_vec(),
            ..Completion::new(self.chosen.policy.clone(), Vec::new())
        };
        if !with_rejected {
            let shared = vec![false; self.chosen.policy.len()];
            return vec![Pair { chosen: chosen(&shared), rejected: Completion::default(), weight: 1.0 }];
        }
        let pair = |rejected: &Rejected| Pair {
            chosen: chosen(&rejected.chosen_differs),
            rejected: Completion {
                differs: rejected.rejected_differs.clone(),
                errors: rejected.errors,
                choices: rejected.choices.clone(),
                items: rejected.items.iter().map(judged).collect(),
                ..Completion::new(rejected.policy.clone(), Vec::new())
            },
            weight: rejected.weight,
        };
        self.rejected.iter().map(pair).collect()
    }
}

fn judged(item: &Item) -> JudgedItem {
    JudgedItem { list: item.list, right: item.right, tokens: item.tokens.clone() }
}

fn assert_close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (t, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!((ours - theirs).abs() <= 1e-12 * theirs.abs().max(1.0), "{what} [{t}]: {ours} instead of {theirs}");
    }
}

/// The sum of the gradients on the chosen completion of an example.
fn chosen_gradient(losses: &[PairLoss]) -> Vec<f64> {
    let length = losses[0].chosen.logp.len();
    (0..length).map(|t| losses.iter().map(|loss| loss.chosen.logp[t]).sum()).collect()
}

#[test]
fn losses_and_gradients_agree_with_figures_computed_independently() {
    let golden: Golden = serde_json::from_str(include_str!("fixtures/f1_objectives.json")).expect("the fixture");
    assert_eq!(golden.cases.len(), 14);
    for case in &golden.cases {
        let objective = Objective::try_from(case.objective.clone()).expect("an objective of the catalogue");
        let pairs: Vec<Vec<Pair>> =
            golden.examples.iter().map(|example| example.pairs(objective.needs().pairs())).collect();
        let normaliser = Normaliser::of(pairs.iter().flatten());
        let losses: Vec<Vec<PairLoss>> =
            pairs.iter().map(|pairs| objective.evaluate_example(pairs, &normaliser)).collect();
        let what = case.objective.to_string();
        let total: f64 = losses.iter().flatten().map(|loss| loss.loss).sum();
        assert_close(&what, &[total], &[case.loss]);
        for (example, losses) in losses.iter().enumerate() {
            for (number, expected) in case.choices.get(example).into_iter().flatten().enumerate() {
                let found = &losses[number].rejected.choices;
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    assert_close(&format!("{what} choice"), found, expected);
                }
            }
            assert_close(&format!("{what} chosen"), &chosen_gradient(losses), &case.chosen[example]);
            for (number, expected) in case.rejected[example].iter().enumerate() {
                match losses.get(number).filter(|loss| !loss.rejected.logp.is_empty()) {
                    Some(loss) => assert_close(&format!("{what} rejected"), &loss.rejected.logp, expected),
                    None => assert!(expected.iter().all(|value| *value == 0.0), "{what}"),
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn each_form_is_sft_to_the_bit_where_it_should_be(pair in pair(7), chosen_tokens in 5.0..40.0_f64) {
        let normaliser = Normaliser { pairs: 3.0, chosen_tokens };
        for pooling in ["tokens", "sequences"] {
            let sft = objective(json!({"name": "sft", "pooling": pooling})).evaluate(&pair, &normaliser);
            let mut plain = pair.clone();
            plain.chosen.weights.fill(1.0);
            for same in [
                json!({"name": "focus-sft", "exponent": 0.0, "pooling": pooling}),
                json!({"name": "focus-sft", "exponent": 2.0, "roles": [], "pooling": pooling}),
                json!({"name": "group-weighted-sft", "pooling": pooling}),
                json!({"name": "f-credit", "entity_f1": 1.0, "relation_f1": 1.0, "decision": 0.0, "pooling": pooling}),
                json!({"name": "minimum-risk", "risk": 0.0, "pooling": pooling}),
                json!({"name": "dynamic-oracle", "oracle": 0.0, "pooling": pooling}),
                json!({"name": "item-credit", "credit": 0.0, "pooling": pooling}),
            ] {
                prop_assert_eq!(&objective(same.clone()).evaluate(&plain, &normaliser), &sft, "{}", same);
            }
            // An own answer without a place after its first mistake at which anything is right.
            let mut right = pair.clone();
            right.rejected.choices.clear();
            let found = objective(json!({"name": "dynamic-oracle", "pooling": pooling})).evaluate(&right, &normaliser);
            prop_assert_eq!((found.loss, &found.chosen), (sft.loss, &sft.chosen));
            // A sampled answer without items.
            let mut nothing = pair.clone();
            nothing.rejected.items.clear();
            let found = objective(json!({"name": "item-credit", "pooling": pooling})).evaluate(&nothing, &normaliser);
            prop_assert_eq!((found.loss, &found.chosen), (sft.loss, &sft.chosen));
            // A rejected answer with the items of gold costs nothing.
            let mut right = pair.clone();
            right.rejected.errors = errors([0, 0, 0, 0, 3, 2]);
            let found = objective(json!({"name": "minimum-risk", "pooling": pooling})).evaluate(&right, &normaliser);
            prop_assert_eq!(found.loss, sft.loss);
            prop_assert_eq!(&found.chosen, &sft.chosen);
            prop_assert!(found.rejected.logp.iter().all(|gradient| *gradient == 0.0));
        }
    }

    /// The candidates of an example are rivals: moving one changes the shares of the others.
    #[test]
    fn the_risk_of_an_example_has_its_exact_gradient(
        chosen in completion(6, -4.0..-0.02),
        rejected in prop::collection::vec((completion(6, -4.0..-0.02), 0.2..3.0_f64, any::<u64>()), 1..5),
        alpha in 0.1..3.0_f64,
    ) {
        let objective = objective(json!({"name": "minimum-risk", "alpha": alpha, "entity_f1": 0.7, "relation_f1": 0.3}));
        let pairs: Vec<Pair> = rejected
            .into_iter()
            .map(|(rejected, weight, bits)| {
                let differs = (0..chosen.len()).map(|t| bits >> t & 1 == 1).collect();
                Pair { chosen: Completion { differs, ..chosen.clone() }, rejected, weight }
            })
            .collect();
        let normaliser = Normaliser { pairs: 7.0, chosen_tokens: 31.0 };
        let loss = |pairs: &[Pair]| -> f64 {
            objective.evaluate_example(pairs, &normaliser).iter().map(|loss| loss.loss).sum()
        };
        let slope = |change: &dyn Fn(&mut Vec<Pair>, f64)| {
            let at = |delta: f64| {
                let mut moved = pairs.clone();
                change(&mut moved, delta);
                loss(&moved)
            };
            (8.0 * (at(1e-4) - at(-1e-4)) - (at(2e-4) - at(-2e-4))) / 12e-4
        };
        let losses = objective.evaluate_example(&pairs, &normaliser);
        for (t, exact) in chosen_gradient(&losses).into_iter().enumerate() {
            let numeric = slope(&|pairs, delta| pairs.iter_mut().for_each(|pair| pair.chosen.policy[t] += delta));
            prop_assert!((numeric - exact).abs() < 1e-9, "chosen {t}: {exact} against {numeric}");
        }
        for (number, found) in losses.iter().enumerate() {
            for (t, exact) in found.rejected.logp.iter().enumerate() {
                let numeric = slope(&|pairs, delta| pairs[number].rejected.policy[t] += delta);
                prop_assert!((numeric - exact).abs() < 1e-9, "rejected {number} {t}: {exact} against {numeric}");
            }
        }
    }

    /// The right tokens of a choice share one unit of pull, by their probabilities.
    #[test]
    fn what_is_right_after_a_mistake_has_its_exact_gradient(pair in pair(6), chosen_tokens in 5.0..40.0_f64) {
        let normaliser = Normaliser { pairs: 3.0, chosen_tokens };
        for pooling in ["tokens", "sequences"] {
            let objective = objective(json!({"name": "dynamic-oracle", "oracle": 1.5, "pooling": pooling}));
            let loss = objective.evaluate(&pair, &normaliser);
            let n = pair.chosen.len();
            let share = 1.5 * pair.weight / if pooling == "tokens" { chosen_tokens } else { 3.0 * n.max(1) as f64 };
            for (i, gradient) in loss.rejected.choices.iter().enumerate() {
                for (a, exact) in gradient.iter().enumerate() {
                    let at = |delta: f64| {
                        let mut moved = pair.clone();
                        moved.rejected.choices[i][a] += delta;
                        objective.evaluate(&moved, &normaliser).loss
                    };
                    let numeric = (8.0 * (at(1e-4) - at(-1e-4)) - (at(2e-4) - at(-2e-4))) / 12e-4;
                    prop_assert!((numeric - exact).abs() < 1e-9, "{i} {a}: {exact} against {numeric}");
                }
                let pull: f64 = gradient.iter().sum();
                prop_assert!(n == 0 || (pull + share).abs() < 1e-12, "{pull} {share}");
            }
            prop_assert!(loss.rejected.logp.iter().all(|gradient| *gradient == 0.0));
        }
    }

    /// With the taper's weight held fixed, the decision has its exact gradient.
    #[test]
    fn the_tapered_decision_has_its_exact_gradient(right in -4.0..-0.01_f64, wrong in -4.0..-0.01_f64, taper in 0.2..3.0_f64) {
        let found = evaluate(&tapered(taper), &decided(right, wrong));
        let lead = right - wrong;
        let weight = ((taper - lead) / taper).clamp(0.0, 1.0);
        let push = weight / (1.0 + (lead - taper).exp());
        prop_assert!((found.chosen.logp[1] + push).abs() < 1e-12);
        prop_assert!((found.rejected.logp[1] - push).abs() < 1e-12);
        prop_assert!((found.decision - weight * (taper - lead).exp().ln_1p()).abs() < 1e-12);
    }
}

fn tapered(taper: f64) -> Objective {
    objective(json!({"name": "tab-po", "anchor": 0.0, "barrier": 0.0, "decision": 1.0, "decision_taper": taper}))
}

fn evaluate(objective: &Objective, pair: &Pair) -> PairLoss {
    objective.evaluate(pair, &Normaliser::of([pair]))
}

#[test]
fn the_tapered_push_is_full_behind_and_gone_at_the_taper() {
    assert!(
        (evaluate(&tapered(1.0), &decided(-3.0, -0.5)).chosen.logp[1] + 1.0 / (1.0 + (-3.5_f64).exp())).abs() < 1e-12
    );
    assert_eq!(evaluate(&tapered(1.0), &decided(-0.5, -1.5)).chosen.logp[1], 0.0);
    assert_eq!(evaluate(&tapered(1.0), &decided(-0.5, -700.0)).loss, 0.0);
    let far = evaluate(&tapered(1.0), &decided(-700.0, 0.0));
    assert_eq!((far.loss, far.chosen.logp[1]), (701.0, -1.0));
}

#[test]
fn the_weights_of_emit_and_stop_shift_the_learnt_odds_by_the_threshold() {
    // One token for each decision: open and close, of entities and of relations.
    let tokens = [0, 2, 1, 3];
    let chosen = Completion {
        decisions: decisions(tokens.iter().map(|number| decision(*number))),
        ..Completion::new(vec![-0.5; 4], Vec::new())
    };
    let pair = Pair { chosen, rejected: Completion::default(), weight: 1.0 };
    let credit = json!({"name": "f-credit", "entity_f1": 0.6, "relation_f1": 0.4, "decision": 0.0});
    let gradient = evaluate(&objective(credit), &pair).chosen.logp;
    for (list, (open, close)) in [(0.3, (gradient[0], gradient[1])), (0.2, (gradient[2], gradient[3]))] {
        // Where a further record is right with probability π, the weighted likelihood is at its maximum at
        // log-odds log(π/(1−π)) + log(open/close); greedy goes on if they are above 0, which is if π > θ.
        let at_threshold = f64::ln(list / (1.0 - list)) + (open / close).ln();
        assert!(at_threshold.abs() < 1e-12, "{at_threshold}");
    }
    // A token that closes the entities and opens a relation has both weights.
    let mut both = pair.clone();
    both.chosen.decisions = decisions([2, 1].map(decision).into_iter()).into_iter().map(|(_, it)| (0, it)).collect();
    let credit = json!({"name": "f-credit", "entity_f1": 0.6, "relation_f1": 0.4, "decision": 0.0});
    let joint = evaluate(&objective(credit), &both).chosen.logp;
    assert!((joint[0] + 0.25 * (0.6 * 1.6)).abs() < 1e-12 && (joint[1] + 0.25).abs() < 1e-12, "{joint:?}");
    assert_eq!(decision(0), Some(ListDecision { list: List::Entities, opens: true }));
}

#[test]
fn pairs_push_by_what_their_error_costs() {
    let push = |numbers: [u32; 6], target: Option<f64>, right: f64| {
        let mut pair = decided(right, -0.4);
        pair.rejected.errors = errors(numbers);
        let credit = json!({
            "name": "f-credit", "entity_f1": 0.6, "relation_f1": 0.2, "decision": 1.0, "decision_target": target,
        });
        evaluate(&objective(credit), &pair).rejected.logp[1]
    };
    // At equal log-probs the slope of −ℓ is a half.
    let even = |numbers| 2.0 * push(numbers, None, -0.4);
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    close(even([0, 0, 1, 0, 3, 3]), 0.7);
    close(even([1, 0, 0, 0, 3, 3]), 0.3);
    close(even([1, 0, 1, 0, 3, 3]), 1.0);
    close(even([0, 0, 0, 1, 3, 3]), 0.9);
    close(even([0, 1, 0, 0, 3, 3]), 0.1);
    // An entity that is missing takes its relations with it, but the decision is about the entity.
    close(even([0, 0, 1, 2, 3, 3]), 0.7);
    assert_eq!(even([0, 0, 0, 0, 3, 3]), 0.0);
    // The target spares labels only.
    assert_eq!(push([1, 0, 1, 0, 3, 3], Some(0.0), -0.3), 0.0);
    assert!(push([0, 0, 1, 0, 3, 3], Some(0.0), -0.3) > 0.2);
    assert!(push([1, 0, 0, 0, 3, 3], Some(0.0), -0.3) > 0.1);
}

#[test]
fn risk_is_finite_and_right_at_the_extremes() {
    let risk = objective(json!({"name": "minimum-risk", "risk": 1.0, "anchor": 0.0, "entity_f1": 0.5}));
    let rival = |right: f64, wrong: f64| {
        let mut pair = decided(right, wrong);
        pair.rejected.errors = errors([1, 0, 1, 0, 4, 0]);
        evaluate(&risk, &pair)
    };
    // A wrong label costs 1 of 4 items: certain, it is the whole risk; impossible, none.
    let (certain, impossible, even) = (rival(-700.0, 0.0), rival(0.0, -700.0), rival(-0.5, -0.5));
    assert_eq!((certain.loss, certain.chosen.logp[1]), (0.25, 0.0));
    assert!(impossible.loss < 1e-300 && impossible.rejected.logp[1] < 1e-300);
    assert!((even.loss - 0.125).abs() < 1e-12 && (even.rejected.logp[1] - 0.0625).abs() < 1e-12);
    assert_eq!(even.margin, 0.0);
    // Without an item in gold, an invented one costs as one of one.
    let mut empty = decided(-0.5, -0.5);
    empty.rejected.errors = errors([1, 0, 0, 0, 0, 0]);
    assert!((evaluate(&risk, &empty).loss - 0.125).abs() < 1e-12);
}

#[test]
fn a_choice_is_finite_and_right_at_the_extremes() {
    let choice = |tokens: &[f64]| {
        let mut pair = decided(-0.5, -0.5);
        pair.rejected.choices = vec![tokens.to_vec()];
        let objective = objective(json!({"name": "dynamic-oracle", "oracle": 1.0}));
        let loss = objective.evaluate(&pair, &Normaliser { pairs: 1.0, chosen_tokens: 1.0 });
        (loss.decision, loss.rejected.choices[0].clone())
    };
    assert_eq!(choice(&[-700.0]), (700.0, vec![-1.0]));
    assert_eq!(choice(&[0.0]), (0.0, vec![-1.0]));
    let (value, gradient) = choice(&[-700.0, -700.0 + 3.0_f64.ln()]);
    assert!((value - 700.0 + 4.0_f64.ln()).abs() < 1e-9);
    assert!((gradient[0] + 0.25).abs() < 1e-9 && (gradient[1] + 0.75).abs() < 1e-9, "{gradient:?}");
}

#[test]
fn a_focused_token_is_continuous_at_the_cap_and_no_weight_exceeds_it() {
    let token = |exponent: f64, p: f64| {
        let mut pair = decided(p, -1.0);
        pair.chosen.roles = vec![Role::Scaffold, Role::EntityLabel, Role::End];
        let focus = json!({"name": "focus-sft", "exponent": exponent, "cap": 4.0});
        let loss = objective(focus).evaluate(&pair, &Normaliser { pairs: 1.0, chosen_tokens: 1.0 });
        (loss.loss - 0.3, -loss.chosen.logp[1])
    };
    let edge = -(4.0_f64.ln()) / 0.6;
    let (above, below) = (token(-0.6, edge + 1e-9), token(-0.6, edge - 1e-9));
    assert!((above.0 - below.0).abs() < 1e-7 && (above.1 - below.1).abs() < 1e-7);
    assert_eq!(token(-0.6, -700.0).1, 4.0);
    let (loss, weight) = token(-0.6, 0.0);
    assert!(loss.abs() < 1e-15 && weight == 1.0);
    // q = 1 has the weight of DFT, the probability itself, and a loss of at most 1.
    assert!((token(1.0, 0.25_f64.ln()).1 - 0.25).abs() < 1e-12);
    assert!((token(1.0, -700.0).0 - 1.0).abs() < 1e-12);
    // Near 0 the family is continuous in q.
    assert!((token(1e-12, -3.0).0 - 3.0).abs() < 1e-9 && (token(-1e-12, -3.0).1 - 1.0).abs() < 1e-9);
}
