//! Weights of labels by how badly they are predicted so far.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Completion;

/// How the moving loss of a label weighs its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grouping {
    /// Weight η per nat that a label's loss is above the mean of all labels, at least 0.
    pub strength: f64,
    /// Share of the moving loss that remains after a step, from 0 to below 1.
    pub decay: f64,
}

/// The moving mean loss of each label, `m_g`, in nats for each occurrence of the label.
///
/// Group weights as in group-robust training, in the bounded form `w_g = 1 + min(1, η max(0, m_g − m̄))`, where `m̄` is
/// the mean over the labels seen so far. The losses are state: they belong into a run's checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupLosses {
    losses: BTreeMap<u64, f64>,
}

impl GroupLosses {
    /// The weight of each token of a completion with these groups: from 1 to 2, and 1 outside groups and for groups
    /// without a loss so far.
    pub fn weights(&self, grouping: Grouping, groups: &[Option<u64>]) -> Vec<f64> {
        let mean = self.losses.values().sum::<f64>() / self.losses.len().max(1) as f64;
        let weight = |group: &u64| {
            self.losses.get(group).map_or(1.0, |loss| 1.0 + (grouping.strength * (loss - mean).max(0.0)).min(1.0))
        };
        groups.iter().map(|group| group.as_ref().map_or(1.0, weight)).collect()
    }

    /// Moves the losses towards those of a step's completions. Consecutive tokens of one group are one occurrence of
    /// its label; a label's first loss is taken as it is, and the losses of labels that do not occur stay.
    pub fn observe<'a>(&mut self, grouping: Grouping, completions: impl IntoIterator<Item = &'a Completion>) {
        let mut seen: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for completion in completions {
            let mut previous = None;
            for (group, p) in completion.groups.iter().zip(&completion.policy) {
                if let Some(group) = group {
                    let (loss, occurrences) = seen.entry(*group).or_default();
                    *loss -= p;
                    *occurrences += f64::from(u8::from(previous != Some(*group)));
                }
                previous = *group;
            }
        }
        for (group, (loss, occurrences)) in seen {
            let loss = loss / occurrences;
            let moving = self.losses.entry(group).or_insert(loss);
            *moving = grouping.decay * *moving + (1.0 - grouping.decay) * loss;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPING: Grouping = Grouping { strength: 2.0, decay: 0.75 };

    fn completion(tokens: &[(Option<u64>, f64)]) -> Completion {
        Completion {
            groups: tokens.iter().map(|(group, _)| *group).collect(),
            ..Completion::new(tokens.iter().map(|(_, p)| *p).collect(), Vec::new())
        }
    }

    #[test]
    fn a_label_of_several_tokens_is_one_occurrence_and_losses_move_by_the_decay() {
        let mut losses = GroupLosses::default();
        let step = completion(&[(Some(7), -0.5), (Some(7), -0.25), (None, -9.0), (Some(7), -0.25), (Some(3), -2.0)]);
        losses.observe(GROUPING, [&step]);
        assert_eq!(losses.losses, BTreeMap::from([(3, 2.0), (7, 0.5)]));
        losses.observe(GROUPING, [&completion(&[(Some(3), -1.0)]), &completion(&[(Some(3), -3.0)])]);
        assert_eq!(losses.losses, BTreeMap::from([(3, 2.0), (7, 0.5)]));
        losses.observe(GROUPING, [&completion(&[(Some(7), -4.5)])]);
        assert_eq!(losses.losses, BTreeMap::from([(3, 2.0), (7, 1.5)]));
    }

    #[test]
    fn only_labels_above_the_mean_gain_weight_and_none_more_than_double() {
        let losses = GroupLosses { losses: BTreeMap::from([(1, 0.0), (2, 0.625), (3, 5.0), (4, 0.375)]) };
        // The mean is 1.5.
        let weights = losses.weights(GROUPING, &[None, Some(1), Some(2), Some(3), Some(99)]);
        assert_eq!(weights, [1.0, 1.0, 1.0, 2.0, 1.0]);
        let close = GroupLosses { losses: BTreeMap::from([(1, 1.0), (2, 1.5)]) };
        assert_eq!(close.weights(GROUPING, &[Some(1), Some(2)]), [1.0, 1.5]);
        assert_eq!(GroupLosses::default().weights(GROUPING, &[Some(1), None]), [1.0, 1.0]);
    }

    #[test]
    fn the_state_reads_back_to_the_bit() {
        let mut losses = GroupLosses::default();
        losses.observe(GROUPING, [&completion(&[(Some(u64::MAX), -0.1), (Some(1), -1.0 / 3.0)])]);
        let text = serde_json::to_string(&losses).expect("numbers");
        assert_eq!(serde_json::from_str::<GroupLosses>(&text).expect("what was written"), losses);
    }
}
