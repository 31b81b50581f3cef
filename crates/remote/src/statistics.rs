//! Tokens, cost, time and outcomes of a job.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{ModelPrice, ReplyField, ReplyOutcome, StoredAnswer, Usage};

/// Tokens, cost, time and outcomes of a job, counting all its answers whenever they were paid.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Prompts with an answer.
    pub prompts: usize,
    /// Answers requested by this call.
    pub calls: usize,
    /// Distinct answers from the cache.
    pub reused: usize,
    /// Attempts of this call that failed and were repeated.
    pub retries: usize,
    /// Requests without a complete reply, which may have been charged.
    pub unsettled: u64,
    /// Tokens of all distinct answers whose replies state them.
    pub usage: Usage,
    /// Distinct answers whose replies do not; each is counted at the most it can have cost.
    pub without_usage: usize,
    /// Total cost, if the model has a price.
    pub cost: Option<f64>,
    /// Median latency of all distinct answers in milliseconds.
    pub latency_median_ms: Option<f64>,
    /// 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// Number of prompts by outcome.
    pub outcomes: BTreeMap<ReplyOutcome, u64>,
    /// Prompts whose answer was in the arguments of a tool call.
    pub in_tool_call: u64,
    /// Prompts whose answer was in the model's reasoning.
    pub in_reasoning: u64,
    /// Prompts whose reply has reasoning but no answer.
    pub only_reasoning: u64,
    /// Prompts whose answer is a JSON object inside other text, and was left as it is.
    pub wrapped: u64,
    /// Prompts whose answer was extracted from such text.
    pub unwrapped: u64,
    /// Wall-clock seconds of this call.
    pub seconds: f64,
}

impl Statistics {
    /// Sums over the answers of a job; equal requests share an answer, which counts once.
    pub(crate) fn of<'a>(answers: impl Iterator<Item = &'a StoredAnswer>, price: Option<ModelPrice>) -> Self {
        let mut all = Self { cost: price.map(|_| 0.0), ..Self::default() };
        let mut seen = HashSet::new();
        let mut latencies = Vec::new();
        for answer in answers {
            all.prompts += 1;
            *all.outcomes.entry(answer.outcome).or_default() += 1;
            match answer.place {
                ReplyField::Content => {}
                ReplyField::ToolCall => all.in_tool_call += 1,
                ReplyField::Reasoning => all.in_reasoning += 1,
                ReplyField::OnlyReasoning => all.only_reasoning += 1,
            }
            if !seen.insert(answer.digest.as_str()) {
                continue;
            }
            all.usage += answer.usage;
            all.without_usage += usize::from(answer.usage_at_most.is_some());
            latencies.push(answer.latency_ms as f64);
            if let (Some(sum), Some(price)) = (&mut all.cost, price) {
                *sum += price.cost(answer.charged(), answer.channel);
            }
        }
        latencies.sort_by(f64::total_cmp);
        all.latency_median_ms = quantile(&latencies, 0.5);
        all.latency_p95_ms = quantile(&latencies, 0.95);
        all
    }
}

/// The smallest value that at least this share of the sorted values does not exceed.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.95)), (Some(50.0), Some(95.0)));
        assert_eq!((quantile(&[7.0], 0.95), quantile(&[], 0.5)), (Some(7.0), None));
    }
}
