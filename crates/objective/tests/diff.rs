//! The alignment of two completions.

use proptest::prelude::*;
use tabpo_objective::diff::differs;

fn flagged(tokens: &[u32], flags: &[bool]) -> Vec<u32> {
    tokens.iter().zip(flags).filter(|(_, flag)| **flag).map(|(token, _)| *token).collect()
}

fn unflagged(tokens: &[u32], flags: &[bool]) -> Vec<u32> {
    tokens.iter().zip(flags).filter(|(_, flag)| !**flag).map(|(token, _)| *token).collect()
}

/// Length of the longest common subsequence, by its definition.
fn longest_common(a: &[u32], b: &[u32]) -> usize {
    match (a, b) {
        ([], _) | (_, []) => 0,
        ([x, a @ ..], [y, b @ ..]) if x == y => 1 + longest_common(a, b),
        ([_, rest_a @ ..], [_, rest_b @ ..]) => longest_common(rest_a, b).max(longest_common(a, rest_b)),
    }
}

#[test]
fn a_swapped_label_flags_one_token_on_each_side() {
    let (chosen, rejected) = differs(&[1, 2, 30, 4, 5], &[1, 2, 31, 4, 5]);
    assert_eq!(chosen, [false, false, true, false, false]);
    assert_eq!(chosen, rejected);
}

#[test]
fn a_deleted_record_flags_exactly_its_tokens() {
    let full = [1, 2, 10, 3, 1, 2, 11, 3, 1, 2, 12, 3, 9];
    for record in 0..3 {
        let mut shorter = full.to_vec();
        shorter.drain(4 * record..4 * record + 4);
        let (chosen, rejected) = differs(&full, &shorter);
        let mut tokens = flagged(&full, &chosen);
        tokens.sort_unstable();
        assert_eq!(tokens, [1, 2, 3, 10 + record as u32], "record {record}");
        assert_eq!(rejected, [false; 9]);
        let (back_rejected, back_chosen) = differs(&shorter, &full);
        assert_eq!((back_chosen, back_rejected), (chosen, rejected));
    }
}

#[test]
fn an_inserted_record_is_flagged_from_the_divergence_point() {
    let (chosen, rejected) = differs(&[1, 2, 3, 9], &[1, 2, 3, 1, 5, 3, 9]);
    assert_eq!(chosen, [false; 4]);
    assert_eq!(rejected, [false, false, false, true, true, true, false]);
}

#[test]
fn identical_empty_and_foreign_completions() {
    assert_eq!(differs(&[1, 2], &[1, 2]), (vec![false; 2], vec![false; 2]));
    assert_eq!(differs(&[], &[1, 2]), (vec![], vec![true; 2]));
    assert_eq!(differs(&[1, 2], &[3]), (vec![true; 2], vec![true]));
}

proptest! {
    #[test]
    fn the_rest_is_a_longest_common_subsequence(
        a in prop::collection::vec(0..4_u32, 0..9),
        b in prop::collection::vec(0..4_u32, 0..9),
    ) {
        let (flags_a, flags_b) = differs(&a, &b);
        let common = unflagged(&a, &flags_a);
        prop_assert_eq!(&common, &unflagged(&b, &flags_b));
        prop_assert_eq!(common.len(), longest_common(&a, &b));
        let shared = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        prop_assert!(flags_a[..shared].iter().chain(&flags_b[..shared]).all(|flag| !flag));
        // Where both continue, one of them continues with a flagged token.
        if shared < a.len() && shared < b.len() {
            prop_assert!(flags_a[shared] || flags_b[shared]);
        }
    }
}
