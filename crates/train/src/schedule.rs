//! The length of a run and its learning rate.

use serde::{Deserialize, Serialize};

/// The length of a run. A preference run and the continued fine-tuning that it is compared with should have
/// equal steps or equal tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainBudget {
    /// Passes over the records.
    Epochs(u64),
    /// Optimiser steps.
    Steps(u64),
    /// Tokens through forward and backward passes; the step that exceeds the number is the last.
    /// [`TokenCount::equivalent`](crate::TokenCount::equivalent) converts tokens that only need a forward
    /// pass.
    Tokens(u64),
}

/// The shape of the decay after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// None.
    Constant,
    /// A straight line to the floor.
    Linear,
    /// Half a cosine to the floor.
    #[default]
    Cosine,
}

/// The learning rate as a function of progress.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Learning rate at the end of the warm-up.
    pub peak: f64,
    /// Share of the run during which the rate rises linearly from 0, in [0, 1].
    pub warmup: f64,
    /// The decay that follows.
    pub decay: Decay,
    /// Learning rate at the end as a fraction of the peak, in [0, 1]; unused by a constant schedule.
    pub floor: f64,
}

impl Schedule {
    /// The learning rate at `progress` in [0, 1], the share of the budget that is spent.
    ///
    /// A step uses the rate at its middle, so that neither the first nor the last step has rate 0 and the
    /// schedule does not depend on the unit of the budget.
    pub fn learning_rate(&self, progress: f64) -> f64 {
        let progress = progress.clamp(0.0, 1.0);
        if progress < self.warmup {
            return self.peak * progress / self.warmup;
        }
        let after = if self.warmup < 1.0 { (progress - self.warmup) / (1.0 - self.warmup) } else { 0.0 };
        let shape = match self.decay {
            Decay::Constant => return self.peak,
            Decay::Linear => 1.0 - after,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * after).cos()),
        };
        self.peak * (self.floor + (1.0 - self.floor) * shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule { peak: 2.0, warmup: 0.2, decay, floor: 0.1 }
    }

    #[test]
    fn rises_to_the_peak_and_decays_to_the_floor() {
        for decay in [Decay::Linear, Decay::Cosine] {
            let schedule = schedule(decay);
            assert!((schedule.learning_rate(0.1) - 1.0).abs() < 1e-12);
            assert!((schedule.learning_rate(0.2) - 2.0).abs() < 1e-12);
            assert!((schedule.learning_rate(0.6) - 1.1).abs() < 1e-12);
            assert!((schedule.learning_rate(1.0) - 0.2).abs() < 1e-12);
        }
        assert!((schedule(Decay::Constant).learning_rate(1.0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn no_warmup_starts_at_the_peak() {
        let schedule = Schedule { warmup: 0.0, ..schedule(Decay::Linear) };
        assert!((schedule.learning_rate(0.0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_budget_is_written_as_its_unit_and_number() {
        let budget: TrainBudget = serde_json::from_str(r#"{"steps": 75}"#).expect("valid");
        assert_eq!(budget, TrainBudget::Steps(75));
    }
}
