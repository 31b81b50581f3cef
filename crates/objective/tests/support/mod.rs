//! Pairs for the property tests.
#![allow(dead_code, reason = "each test file uses a different part")]

use proptest::prelude::*;
use tabpo_objective::{Completion, ItemCounts, ItemErrors, JudgedItem, Objective, Pair, catalogue};
use tabpo_roles::{List, ListDecision, Role};

/// Every objective of the catalogue with its defaults, and the variants that a switch turns on.
pub(crate) fn objectives() -> Vec<Objective> {
    let variants = [
        serde_json::json!({"name": "sft", "pooling": "sequences"}),
        serde_json::json!({"name": "gated-sft", "gate": "hinge", "denominator": "scope-weight"}),
        serde_json::json!({"name": "gated-sft", "roles": ["entity-label", "span"]}),
        serde_json::json!({"name": "confpo", "selection": "external"}),
        serde_json::json!({"name": "tab-po", "form": "mean", "target": 0.4, "decision": 0.0}),
        serde_json::json!({"name": "tab-po", "preference": 0.0, "anchor": 0.0}),
        serde_json::json!({"name": "tab-po-ablation", "form": "sum", "margin_weights": false}),
        serde_json::json!({"name": "tab-po-ablation", "form": "sum", "denominator": "gated-weight"}),
        serde_json::json!({"name": "alphapo", "alpha": 0.0}),
        serde_json::json!({"name": "apo-zero", "z": 0.35}),
        serde_json::json!({"name": "bco", "delta": 0.2}),
        serde_json::json!({"name": "focus-sft", "exponent": -0.6, "cap": 2.0, "pooling": "sequences"}),
        serde_json::json!({"name": "focus-sft", "exponent": 0.0}),
        serde_json::json!({"name": "f-credit", "entity_f1": 0.7, "relation_f1": 0.2, "decision_target": null}),
        serde_json::json!({"name": "f-credit", "decision": 0.0, "threshold_scale": 2.0, "relation_f1": 1.0}),
        serde_json::json!({"name": "minimum-risk", "entity_f1": 0.0, "relation_f1": 1.0, "alpha": 3.0}),
        serde_json::json!({"name": "minimum-risk", "risk": 0.0}),
        serde_json::json!({"name": "dynamic-oracle", "oracle": 2.0, "pooling": "sequences"}),
        serde_json::json!({"name": "item-credit", "credit": 2.0, "floor": 0.3, "cap": 0.5, "pooling": "sequences"}),
        serde_json::json!({"name": "item-credit", "entity_f1": 0.0, "relation_f1": 1.0, "floor": 1.0, "cap": 2.0}),
    ];
    let variants = variants.into_iter().map(|value| Objective::try_from(value).expect("a valid variant"));
    catalogue().iter().map(Objective::from).chain(variants).collect()
}

/// What a token with this number decides; most decide nothing.
pub(crate) fn decision(number: u8) -> Option<ListDecision> {
    let list = if number.is_multiple_of(2) { List::Entities } else { List::Relations };
    (number < 4).then_some(ListDecision { list, opens: number < 2 })
}

/// The decisions with their positions.
pub(crate) fn decisions(tokens: impl Iterator<Item = Option<ListDecision>>) -> Vec<(usize, ListDecision)> {
    tokens.enumerate().filter_map(|(t, decision)| Some((t, decision?))).collect()
}

/// Errors from six numbers: wrong, missing and gold items, entities first.
pub(crate) fn errors(numbers: [u32; 6]) -> ItemErrors {
    let [wrong, missing, gold] = [0, 2, 4].map(|at| ItemCounts { entities: numbers[at], relations: numbers[at + 1] });
    ItemErrors { wrong, missing, gold }
}

/// Items of an answer with `n` tokens, from numbers: the list and the verdict of each, and which tokens it has. Tokens may
/// be shared.
pub(crate) fn items(n: usize, numbers: &[u64]) -> Vec<JudgedItem> {
    let item = |number: &u64| JudgedItem {
        list: List::ALL[(number & 1) as usize],
        right: number & 2 == 0,
        tokens: (0..n).filter(|t| number >> (t % 61 + 2) & 1 == 1).collect(),
    };
    numbers.iter().map(item).collect()
}

/// The objective that a configuration chooses.
pub(crate) fn objective(value: serde_json::Value) -> Objective {
    Objective::try_from(value).expect("an objective of the catalogue")
}

/// A pair that differs in its second token, with these log-probs.
pub(crate) fn decided(right: f64, wrong: f64) -> Pair {
    let side =
        |p: f64| Completion { differs: vec![false, true, false], ..Completion::new(vec![-0.1, p, -0.2], Vec::new()) };
    Pair { chosen: side(right), rejected: side(wrong), weight: 1.0 }
}

prop_compose! {
    /// A completion of at most `longest` tokens with log-probs in `policy`.
    pub(crate) fn completion(longest: usize, policy: std::ops::Range<f64>)(
        tokens in prop::collection::vec(
            (policy, -0.7..0.7_f64, prop::sample::select(&Role::ALL), any::<bool>(), 0.1..1.5_f64, 0.0..0.3_f64, 0..8_u8),
            0..=longest,
        ),
        numbers in prop::array::uniform6(0..3_u32),
        choices in prop::collection::vec(prop::collection::vec(-4.0..-0.02_f64, 1..4), 0..4),
        judged in prop::collection::vec(any::<u64>(), 0..4),
    ) -> Completion {
        Completion {
            policy: tokens.iter().map(|token| token.0).collect(),
            reference: tokens.iter().map(|token| (token.0 + token.1).min(0.0)).collect(),
            roles: tokens.iter().map(|token| token.2).collect(),
            differs: tokens.iter().map(|token| token.3).collect(),
            weights: tokens.iter().map(|token| token.4).collect(),
            kl: tokens.iter().map(|token| token.5).collect(),
            guide: tokens.iter().map(|token| token.0 - 0.3 * token.1).collect(),
            groups: tokens.iter().map(|token| (token.6 > 4).then_some(u64::from(token.6))).collect(),
            decisions: decisions(tokens.iter().map(|token| decision(token.6))),
            errors: errors(numbers),
            choices,
            items: items(tokens.len(), &judged),
        }
    }
}

prop_compose! {
    /// A pair of completions of ordinary likelihood.
    pub(crate) fn pair(longest: usize)(
        chosen in completion(longest, -4.0..-0.02),
        rejected in completion(longest, -4.0..-0.02),
        weight in 0.2..3.0_f64,
    ) -> Pair {
        Pair { chosen, rejected, weight }
    }
}
