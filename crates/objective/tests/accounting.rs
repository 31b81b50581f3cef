//! The account of gradient and likelihood by role.

mod support;

use proptest::prelude::*;
use tabpo_objective::accounting::Accounting;
use tabpo_objective::{Completion, Normaliser, Objective, Pair};
use tabpo_roles::Role;

use support::{objectives, pair};

fn account(objective: &Objective, pairs: &[Pair]) -> Accounting {
    let normaliser = Normaliser::of(pairs);
    let mut accounting = Accounting::default();
    for pair in pairs {
        accounting.add(pair, &objective.evaluate(pair, &normaliser));
    }
    accounting
}

/// One shared brace, one label that differs, one shared end.
fn label_swap() -> Pair {
    let side = |label: f64| Completion {
        roles: vec![Role::Scaffold, Role::EntityLabel, Role::End],
        differs: vec![false, true, false],
        ..Completion::new(vec![-0.25, label, -0.25], vec![-0.25, -1.0, -0.5])
    };
    Pair { chosen: side(-1.5), rejected: side(-2.0), weight: 1.0 }
}

#[test]
fn shares_follow_the_coefficients() {
    let summary = account(&Objective::new("dpo").unwrap(), &[label_swap()]).summary();
    // Six tokens with the same coefficient; net of the shared brace, four.
    for role in [Role::Scaffold, Role::EntityLabel, Role::End] {
        assert!((summary[&role].chosen_gradient_share - 1.0 / 6.0).abs() < 1e-12);
        assert!((summary[&role].rejected_gradient_share - 1.0 / 6.0).abs() < 1e-12);
    }
    assert_eq!(summary[&Role::Scaffold].net_gradient_share, 0.0);
    assert!((summary[&Role::EntityLabel].net_gradient_share - 0.5).abs() < 1e-12);
    assert_eq!(summary[&Role::EntityLabel].chosen_change, -0.5);
    assert_eq!(summary[&Role::EntityLabel].rejected_change, -1.0);
    assert_eq!(summary[&Role::End].chosen_change, 0.25);

    let diff_only = account(&Objective::new("diff-only").unwrap(), &[label_swap()]).summary();
    assert_eq!(diff_only[&Role::EntityLabel].net_gradient_share, 1.0);
}

#[test]
fn erosion_counts_under_confident_labels_that_lost_probability() {
    let accounting = account(&Objective::new("tab-po-paper-v2").unwrap(), &[label_swap(), label_swap()]);
    let labels = &accounting.roles[&Role::EntityLabel];
    assert_eq!((labels.under_confident, labels.eroded, labels.gated), (2, 2, 2));
    // The end token was under-confident too but gained; it is not a schema role anyway.
    let end = &accounting.roles[&Role::End];
    assert_eq!((end.under_confident, end.eroded, end.gated), (2, 0, 0));
    assert_eq!(accounting.erosion(), 2);
    assert_eq!(accounting.summary()[&Role::EntityLabel].gate_activity, 1.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn shares_add_up_to_one_and_accounts_merge(pairs in prop::collection::vec(pair(6), 2..5)) {
        for objective in objectives() {
            let whole = account(&objective, &pairs);
            let summary = whole.summary();
            let share: f64 = summary.values().map(|role| role.chosen_gradient_share + role.rejected_gradient_share).sum();
            prop_assert!(share == 0.0 || (share - 1.0).abs() < 1e-12, "{}: {share}", objective.name());

            let normaliser = Normaliser::of(&pairs);
            let mut merged = Accounting::default();
            for pair in &pairs {
                let mut part = Accounting::default();
                part.add(pair, &objective.evaluate(pair, &normaliser));
                merged.merge(&part);
            }
            prop_assert_eq!(merged.pairs, whole.pairs);
            for (role, ours) in &whole.roles {
                let theirs = &merged.roles[role];
                prop_assert_eq!(ours.gated, theirs.gated);
                prop_assert_eq!(ours.eroded, theirs.eroded);
                prop_assert_eq!(ours.chosen.tokens, theirs.chosen.tokens);
                prop_assert!((ours.chosen.gradient - theirs.chosen.gradient).abs() < 1e-12 * (1.0 + ours.chosen.gradient));
                prop_assert!((ours.rejected.change - theirs.rejected.change).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn an_account_is_data_with_roles_by_name() {
    let accounting = account(&Objective::new("tab-po").unwrap(), &[label_swap()]);
    let written = serde_json::to_string(&accounting).expect("data");
    assert!(written.contains("\"entity-label\":{"));
    assert_eq!(serde_json::from_str::<Accounting>(&written).expect("what was written"), accounting);
}
