//! Token weights from two scorers, the offline stage of TIS-DPO (arXiv 2410.04350).

use serde::{Deserialize, Serialize};
use tabpo_objective::weights::{binary, contrast, negated, rank_based, threshold_and_scale};

use crate::{ExampleLogProbs, TokenisedAnswer, TokenisedExample};

/// How scores become weights, as in the released code of TIS-DPO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreTransform {
    /// Scores clamped to ±1.5, then linear to [0.7, 1.3].
    ThresholdAndScale,
    /// Ranks within the answer mapped linearly to [0.7, 1.3]; the released configuration.
    #[default]
    RankBased,
    /// 1 for this share of the tokens, those with the highest scores, and 0 for the others.
    Binary(f64),
}

impl ScoreTransform {
    fn weights(self, scores: &[f64]) -> Vec<f64> {
        match self {
            Self::ThresholdAndScale => threshold_and_scale(scores),
            Self::RankBased => rank_based(scores),
            Self::Binary(share) => binary(scores, share),
        }
    }
}

/// Sets the weights of an example's tokens from their log-probs under the scorer trained on the
/// preferences (`positive`) and the one trained on the reversed preferences (`negative`).
///
/// The score of a token is `log π⁻ − log π⁺`. Weights of the chosen answer are transformed from the
/// negated score, those of a rejected answer from the score itself. The token that ends the turn has
/// weight 0, as in the released code.
pub fn set_importance_weights(
    example: &mut TokenisedExample,
    positive: &ExampleLogProbs,
    negative: &ExampleLogProbs,
    transform: ScoreTransform,
) {
    let set = |answer: &mut TokenisedAnswer, scores: &[f64]| {
        let mut weights = transform.weights(scores);
        if let Some(end) = weights.last_mut() {
            *end = 0.0;
        }
        answer.weights = Some(weights);
    };
    set(&mut example.chosen, &negated(&contrast(&positive.chosen, &negative.chosen)));
    for (number, rejected) in example.rejected.iter_mut().enumerate() {
        set(&mut rejected.answer, &contrast(&positive.rejected[number], &negative.rejected[number]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectedAnswer;

    #[test]
    fn tokens_that_the_better_scorer_prefers_weigh_more_when_chosen_and_less_when_rejected() {
        let mut example = TokenisedExample {
            id: "x".into(),
            prompt: vec![1],
            chosen: TokenisedAnswer::unlabelled(vec![2, 3, 4]),
            rejected: vec![RejectedAnswer { answer: TokenisedAnswer::unlabelled(vec![2, 5, 4]), weight: 1.0 }],
        };
        let scorer = |chosen: f64, rejected: f64| ExampleLogProbs {
            chosen: vec![-1.0, chosen, -1.0],
            rejected: vec![vec![-1.0, rejected, -1.0]],
        };
        let (positive, negative) = (scorer(-0.1, -3.1), scorer(-1.6, -0.1));
        set_importance_weights(&mut example, &positive, &negative, ScoreTransform::ThresholdAndScale);
        assert_eq!(example.chosen.weights, Some(vec![1.0, 1.3, 0.0]));
        assert_eq!(example.rejected[0].answer.weights, Some(vec![1.0, 1.3, 0.0]));
        set_importance_weights(&mut example, &negative, &positive, ScoreTransform::ThresholdAndScale);
        assert_eq!(example.chosen.weights, Some(vec![1.0, 0.7, 0.0]));
    }
}
