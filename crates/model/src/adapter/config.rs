//! The settings of a low-rank adapter.

use std::collections::BTreeMap;

use crate::projection::Projection;

/// The settings of an adapter, with the meanings of PEFT's `LoraConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the update.
    pub rank: usize,
    /// Numerator of the scale: `alpha / rank`, or `alpha / sqrt(rank)` with rsLoRA.
    pub alpha: f64,
    /// Probability of dropping an input of A during training. All adapters that read the
    /// same input (query, key and value; gate and up) share one mask.
    pub dropout: f64,
    /// Rank-stabilised scale (arXiv 2312.03732).
    pub rslora: bool,
    /// The projections that are adapted.
    pub targets: Vec<Projection>,
    /// Ranks of single modules, by a suffix of the module's path (`layers.0.self_attn.q_proj`,
    /// `q_proj`); the longest suffix wins.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas of single modules, by a suffix of the module's path.
    pub alpha_pattern: BTreeMap<String, f64>,
}

impl LoraConfig {
    /// An adapter on all seven projections without dropout.
    pub fn new(rank: usize, alpha: f64) -> Self {
        Self {
            rank,
            alpha,
            dropout: 0.0,
            rslora: false,
            targets: Projection::ALL.to_vec(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }

    /// The rank and the scale of one module.
    pub fn rank_and_scale(&self, projection: Projection, layer: usize) -> (usize, f64) {
        let path = projection.path(layer);
        let rank = longest_suffix(&self.rank_pattern, &path).copied().unwrap_or(self.rank);
        let alpha = longest_suffix(&self.alpha_pattern, &path).copied().unwrap_or(self.alpha);
        let divisor = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        (rank, alpha / divisor)
    }
}

/// The value of the longest key that is the path itself or ends it after a dot.
fn longest_suffix<'a, T>(pattern: &'a BTreeMap<String, T>, path: &str) -> Option<&'a T> {
    pattern
        .iter()
        .filter(|(key, _)| path.strip_suffix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        .max_by_key(|(key, _)| key.len())
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_the_longest_suffix_at_a_dot() {
        let mut config = LoraConfig::new(8, 16.0);
        config.rank_pattern.insert("q_proj".into(), 4);
        config.rank_pattern.insert("layers.1.self_attn.q_proj".into(), 2);
        config.alpha_pattern.insert("proj".into(), 1.0);
        assert_eq!(config.rank_and_scale(Projection::Query, 0), (4, 4.0));
        assert_eq!(config.rank_and_scale(Projection::Query, 1), (2, 8.0));
        assert_eq!(config.rank_and_scale(Projection::Up, 1), (8, 2.0));
        config.rslora = true;
        assert_eq!(config.rank_and_scale(Projection::Query, 0).1, 8.0);
    }
}
