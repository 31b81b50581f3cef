//! The credit of each item of sampled answers.

mod support;

use proptest::prelude::*;
use serde_json::json;
use tabpo_objective::{JudgedItem, Normaliser};
use tabpo_roles::List;

use support::{decided, objective, pair};

proptest! {
    /// Every item is pulled or pushed by its own credit, whatever the others are.
    #[test]
    fn items_have_their_exact_gradients(pair in pair(6), entity_f1 in 0.0..1.0_f64, relation_f1 in 0.0..1.0_f64) {
        let normaliser = Normaliser { pairs: 3.0, chosen_tokens: 17.0 };
        let objective = objective(json!({
            "name": "item-credit", "credit": 2.0, "entity_f1": entity_f1, "relation_f1": relation_f1, "floor": 0.1,
        }));
        let loss = objective.evaluate(&pair, &normaliser);
        let share = 2.0 * pair.weight / 17.0;
        for (t, found) in loss.rejected.logp.iter().enumerate() {
            let p = pair.rejected.policy[t];
            let of_token = pair.rejected.items.iter().filter(|item| item.tokens.contains(&t));
            let credit = of_token.map(|item| {
                let f1 = if item.list == List::Entities { entity_f1 } else { relation_f1 };
                let pushes = p > 0.1_f64.ln();
                if item.right { (2.0 - f1).min(1.5) } else if pushes { -f1 } else { 0.0 }
            });
            let expected = if pair.chosen.is_empty() { 0.0 } else { -share * credit.sum::<f64>() };
            prop_assert!((found - expected).abs() < 1e-12, "{t}: {found} instead of {expected}");
            let at = |delta: f64| {
                let mut moved = pair.clone();
                moved.rejected.policy[t] += delta;
                objective.evaluate(&moved, &normaliser).loss
            };
            // Beside the floor, where the loss has a kink.
            if (p - 0.1_f64.ln()).abs() > 1e-3 {
                let numeric = (8.0 * (at(1e-4) - at(-1e-4)) - (at(2e-4) - at(-2e-4))) / 12e-4;
                prop_assert!((numeric - found).abs() < 1e-9, "{t}: {found} against {numeric}");
            }
        }
    }
}

#[test]
fn the_expected_credit_of_an_item_is_zero_at_the_threshold() {
    // An item that is right in 3 of 10 samples, where F1 is 0.6.
    let credit = json!({"name": "item-credit", "credit": 1.0, "entity_f1": 0.6, "relation_f1": 0.2, "cap": 2.0});
    let pull = |right: bool, list: List| {
        let mut pair = decided(-0.5, -0.5);
        pair.rejected.items = vec![JudgedItem { list, right, tokens: vec![1] }];
        let loss = objective(credit.clone()).evaluate(&pair, &Normaliser { pairs: 1.0, chosen_tokens: 1.0 });
        assert_eq!((loss.rejected.logp[0], loss.rejected.logp[2]), (0.0, 0.0));
        -loss.rejected.logp[1]
    };
    let expected = |share: f64, list| share * pull(true, list) + (1.0 - share) * pull(false, list);
    assert!(expected(0.3, List::Entities).abs() < 1e-12);
    assert!(expected(0.31, List::Entities) > 0.0 && expected(0.29, List::Entities) < 0.0);
    assert!(expected(0.1, List::Relations).abs() < 1e-12);
}

#[test]
fn an_item_is_finite_and_right_at_the_extremes() {
    let item = |right: bool, p: f64, cap: f64| {
        let mut pair = decided(-0.5, p);
        pair.rejected.items = vec![JudgedItem { list: List::Entities, right, tokens: vec![1] }];
        let credit = json!({"name": "item-credit", "credit": 1.0, "entity_f1": 0.25, "cap": cap});
        let loss = objective(credit).evaluate(&pair, &Normaliser { pairs: 1.0, chosen_tokens: 1.0 });
        (loss.decision, -loss.rejected.logp[1])
    };
    assert_eq!(item(true, -700.0, 1.5), (1050.0, 1.5));
    assert_eq!(item(true, 0.0, 2.0), (0.0, 1.75));
    // A wrong item is pushed down to the floor and not beyond; its loss stays where it was there.
    assert_eq!(item(false, 0.0, 1.5), (0.0, -0.25));
    assert_eq!(item(false, -700.0, 1.5), (0.25 * 0.05_f64.ln(), 0.0));
    let (above, below) = (item(false, 0.05_f64.ln() + 1e-9, 1.5), item(false, 0.05_f64.ln() - 1e-9, 1.5));
    assert!((above.0 - below.0).abs() < 1e-9 && (above.1, below.1) == (-0.25, 0.0));
}
