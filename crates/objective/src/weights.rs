//! Token weights made before training: importance weights of TIS-DPO, and the weights of the
//! public TAB-PO script.

use tabpo_roles::Role;

/// Lowest and highest importance weight of TIS-DPO.
const LOW: f64 = 0.7;
const HIGH: f64 = 1.3;
/// Scores beyond this size get the extreme weights.
const CLAMP: f64 = 1.5;

/// The score of a token for TIS-DPO, `log π⁻ − log π⁺`, rounded to two decimals as in the released
/// code. `positive` is the model trained with DPO, `negative` the one trained on reversed pairs; a
/// chosen completion takes its weights from the negated scores, a rejected one from the scores. (The
/// released code leaves the last token, the end of the turn, out of training by weight 0; here it is
/// treated like any other token.)
pub fn contrast(positive: &[f64], negative: &[f64]) -> Vec<f64> {
    positive.iter().zip(negative).map(|(p, n)| ((n - p) * 100.0).round_ties_even() / 100.0).collect()
}

/// Scores negated, as the chosen side needs them.
pub fn negated(scores: &[f64]) -> Vec<f64> {
    scores.iter().map(|score| -score).collect()
}

/// `threshold_and_scale` of TIS-DPO: scores clamped to ±1.5, then linear to [0.7, 1.3].
pub fn threshold_and_scale(scores: &[f64]) -> Vec<f64> {
    let slope = (HIGH - LOW) / (2.0 * CLAMP);
    scores.iter().map(|score| LOW + slope * (score.clamp(-CLAMP, CLAMP) + CLAMP)).collect()
}

/// `rank_based` of TIS-DPO: ranks mapped linearly to [0.7, 1.3], equal scores ranked by position. A
/// single token has weight 1.
pub fn rank_based(scores: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Adding 0 makes −0 equal to 0; the sort is stable.
    order.sort_by(|a, b| (scores[*a] + 0.0).total_cmp(&(scores[*b] + 0.0)));
    let mut weights = vec![1.0; scores.len()];
    if scores.len() > 1 {
        let step = (HIGH - LOW) / (scores.len() - 1) as f64;
        for (rank, token) in order.into_iter().enumerate() {
            weights[token] = LOW + step * rank as f64;
        }
    }
    weights
}

/// `binary` of TIS-DPO: weight 1 for the highest `share` (0 to 1) of the scores, 0 for the rest.
/// Every token whose score equals the lowest one kept is kept too.
pub fn binary(scores: &[f64], share: f64) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let kept = (share.clamp(0.0, 1.0) * scores.len() as f64).round() as usize;
    let Some(lowest) = kept.checked_sub(1).map(|last| sorted[last]) else {
        return vec![0.0; scores.len()];
    };
    scores.iter().map(|score| f64::from(u8::from(*score >= lowest))).collect()
}

/// The weights of the public TAB-PO script for a completion's tokens: 1.1 on labels and spans, 1.2
/// on sub-labels, 1 elsewhere, times 1.2 where the two completions have different tokens *at the
/// same position*. (That comparison falls out of step after an insertion; it is kept here because
/// the published numbers were made with it.) Relation types and links, which do not occur in
/// that script's task, count as labels.
pub fn released(roles: &[Role], tokens: &[u32], other: &[u32]) -> Vec<f64> {
    let by_role = roles.iter().map(|role| match role {
        Role::EntityLabel | Role::RelationLabel | Role::Link | Role::Span => 1.1,
        Role::Subtype => 1.2,
        Role::Scaffold | Role::Occurrence | Role::End => 1.0,
    });
    let differs = |t: usize| t < other.len() && tokens[t] != other[t];
    by_role.enumerate().map(|(t, weight)| if differs(t) { weight * 1.2 } else { weight }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_rounded_to_two_decimals() {
        assert_eq!(contrast(&[-1.0, -0.5], &[-1.236, -0.1]), [-0.24, 0.4]);
    }

    #[test]
    fn ranks_of_equal_scores_follow_position_whatever_the_sign_of_zero() {
        assert_eq!(rank_based(&negated(&[0.0, 1.0, 0.0])), rank_based(&[0.0, -1.0, 0.0]));
        assert_eq!(rank_based(&[0.0, -0.0]), [0.7, 1.3]);
        assert_eq!(rank_based(&[4.2]), [1.0]);
    }

    #[test]
    fn binary_keeps_ties_at_the_border() {
        assert_eq!(binary(&[3.0, 1.0, 1.0, 0.5], 0.5), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(binary(&[3.0, 1.0], 0.0), [0.0, 0.0]);
        assert_eq!(binary(&[], 0.5), [0.0; 0]);
    }

    #[test]
    fn released_weights_take_the_published_values() {
        let roles = [Role::Scaffold, Role::EntityLabel, Role::Subtype, Role::Subtype, Role::End];
        let weights = released(&roles, &[1, 2, 3, 4, 5], &[1, 9, 3, 8]);
        let expected = [1.0, 1.32, 1.2, 1.44, 1.0];
        assert!(weights.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{weights:?}");
    }
}
