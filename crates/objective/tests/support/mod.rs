//! Pairs for the property tests.

use proptest::prelude::*;
use tabpo_objective::{Completion, Objective, Pair, catalogue};
use tabpo_roles::Role;

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
    ];
    let variants = variants.into_iter().map(|value| Objective::try_from(value).expect("a valid variant"));
    catalogue().iter().map(Objective::from).chain(variants).collect()
}

prop_compose! {
    /// A completion of at most `longest` tokens with log-probs in `policy`.
    pub(crate) fn completion(longest: usize, policy: std::ops::Range<f64>)(
        tokens in prop::collection::vec(
            (policy, -0.7..0.7_f64, prop::sample::select(&Role::ALL), any::<bool>(), 0.1..1.5_f64, 0.0..0.3_f64),
            0..=longest,
        ),
    ) -> Completion {
        Completion {
            policy: tokens.iter().map(|token| token.0).collect(),
            reference: tokens.iter().map(|token| (token.0 + token.1).min(0.0)).collect(),
            roles: tokens.iter().map(|token| token.2).collect(),
            differs: tokens.iter().map(|token| token.3).collect(),
            weights: tokens.iter().map(|token| token.4).collect(),
            kl: tokens.iter().map(|token| token.5).collect(),
            guide: tokens.iter().map(|token| token.0 - 0.3 * token.1).collect(),
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
