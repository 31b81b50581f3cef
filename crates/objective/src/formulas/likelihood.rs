//! Objectives without a rejected completion: the controls of every comparison.

use serde::{Deserialize, Serialize};
use tabpo_roles::Role;

use crate::entry::{Entry, configure};
use crate::{Barrier, Denominator, Evaluation, Formula, Gate, Needs, Pooling, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "sft",
            summary: "-ΣP_c / Σn_c",
            source: "maximum likelihood; TRL `sft`",
            build: |name, given| configure(name, &Likelihood { pooling: Pooling::Tokens }, given),
        },
        Entry {
            name: "continued-sft",
            summary: "-ΣP_c / Σn_c, as a stage of its own after SFT",
            source: "control: more gold likelihood at equal steps or equal FLOPs",
            build: |name, given| configure(name, &Likelihood { pooling: Pooling::Tokens }, given),
        },
        Entry {
            name: "gated-sft",
            summary: "Σg(-p_c) / max(1, Σg), g = 1[p_c < log τ]",
            source: "control: the TAB-PO barrier without the preference term",
            build: |name, given| {
                configure(
                    name,
                    &GatedLikelihood {
                        tau: 0.66,
                        gate: Gate::Hard,
                        denominator: Denominator::GatedCount,
                        roles: Role::ALL.to_vec(),
                    },
                    given,
                )
            },
        },
    ]
}

/// **SFT**, `L = −ΣP_c / Σn_c` over the batch (`pooling = "tokens"`, default) or the mean over
/// sequences of `−P_c/n_c` (`pooling = "sequences"`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Likelihood {
    /// What the mean is taken over.
    pub pooling: Pooling,
}

impl Formula for Likelihood {
    fn needs(&self) -> Needs {
        Needs::CHOSEN
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        terms.likelihood(1.0, self.pooling);
    }
}

/// **Gated SFT**, the barrier of TAB-PO alone: likelihood on the chosen tokens in which the policy
/// has a probability below τ (default 0.66), over all roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedLikelihood {
    /// Confidence threshold τ, a probability.
    pub tau: f64,
    /// Hard gate or continuous hinge.
    pub gate: Gate,
    /// What the gated cost is divided by.
    pub denominator: Denominator,
    /// Roles in scope.
    pub roles: Vec<Role>,
}

impl Formula for GatedLikelihood {
    fn needs(&self) -> Needs {
        Needs::CHOSEN
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.confidence("tau", self.tau);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let in_scope = |role| f64::from(u8::from(self.roles.contains(role)));
        let weights: Vec<f64> = terms.pair().chosen.roles.iter().map(in_scope).collect();
        let barrier = Barrier { threshold: self.tau, gate: self.gate, denominator: self.denominator };
        terms.barrier(1.0, &barrier, &weights);
    }
}
