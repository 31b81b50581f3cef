//! Likelihood whose tokens weigh by how well the policy predicts them: controls of the SFT family.

use serde::{Deserialize, Serialize};
use tabpo_roles::Role;

use crate::entry::{Entry, configure};
use crate::{Evaluation, Formula, Grouping, Needs, Pooling, Ranges, WeightSource};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "focus-sft",
            summary: "Σℓ_q(p_c) / Σn_c, ℓ_q(p) = (1 - e^{qp})/q on the roles, -p elsewhere; slope -min(e^{qp}, cap)",
            source: "control: q = 1 is DFT (arXiv 2508.05629), 0 < q < 1 generalised cross-entropy (arXiv 1805.07836), \
                     q < 0 the barrier's side",
            build: |name, given| {
                configure(
                    name,
                    &FocusedLikelihood {
                        exponent: 0.3,
                        cap: 4.0,
                        roles: Role::DECISIONS.to_vec(),
                        pooling: Pooling::Tokens,
                    },
                    given,
                )
            },
        },
        Entry {
            name: "group-weighted-sft",
            summary: "-Σw_g p_c / Σn_c, w_g = 1 + min(1, η max(0, m_g - mean m)), m_g the moving loss of label g",
            source: "control: group weights without preferences, after STaR-DRO",
            build: |name, given| {
                configure(name, &GroupWeightedLikelihood { strength: 1.0, decay: 0.9, pooling: Pooling::Tokens }, given)
            },
        },
    ]
}

/// **Focused SFT**: likelihood in which a token of the given roles pulls with the power q of its probability,
/// `dL/dp_t = −min(e^{q p_t}, cap)/n`.
///
/// The loss is the integral of that: `ℓ_q(p) = (1 − e^{qp})/q`, which is `−p` for q = 0, and a straight line of slope
/// −cap where a negative exponent would pull harder. With q > 0 tokens of low probability count for less: q = 1 has the
/// gradient of DFT, and 0 < q < 1 is the generalised cross-entropy of Zhang and Sabuncu (2018), which is robust to wrong
/// labels. With q < 0 they count for more, as under the barrier of TAB-PO. Which side is better says whether
/// under-confident gold labels are noise or signal. Defaults: q 0.3, cap 4, labels, relation types and links, mean over
/// all chosen tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FocusedLikelihood {
    /// The exponent q.
    pub exponent: f64,
    /// The largest weight of a token, at least 1.
    pub cap: f64,
    /// Roles in focus; all other tokens have weight 1.
    pub roles: Vec<Role>,
    /// What the mean is taken over.
    pub pooling: Pooling,
}

impl FocusedLikelihood {
    /// ℓ_q of a token in focus at log-prob `p`, and its slope.
    fn token(&self, p: f64) -> (f64, f64) {
        let q = self.exponent;
        if q == 0.0 {
            return (-p, -1.0);
        }
        // Where the weight reaches the cap, if it does for p ≤ 0.
        let edge = self.cap.ln() / q;
        if q < 0.0 && p < edge {
            return ((1.0 - self.cap) / q + self.cap * (edge - p), -self.cap);
        }
        (-(q * p).exp_m1() / q, -(q * p).exp())
    }
}

impl Formula for FocusedLikelihood {
    fn needs(&self) -> Needs {
        Needs::CHOSEN
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.require("exponent", self.exponent, self.exponent.abs() <= 10.0, "a number from -10 to 10");
        ranges.require("cap", self.cap, (1.0..=1e6).contains(&self.cap), "a number from 1 to 1000000");
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let roles = &terms.pair().chosen.roles;
        let loss = |t: usize, p: f64| if self.roles.contains(&roles[t]) { self.token(p) } else { (-p, -1.0) };
        terms.token_losses(1.0, self.pooling, loss);
    }
}

/// **Group-weighted SFT**: `L = −Σ_t w_t p_ct / n`, where the tokens of label g have the weight
/// `w_g = 1 + min(1, η max(0, m_g − m̄))` and all others 1.
///
/// `m_g` is the moving mean loss of label g (an entity label, sub-label or relation type) in nats for each occurrence,
/// `m̄` its mean over labels: labels that are predicted worse than others weigh more, up to double. The trainer keeps
/// `m_g` ([`crate::GroupLosses`]) and supplies the weights, which are constants within a step. Defaults: η 1, of `m_g`
/// 0.9 remain after each step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupWeightedLikelihood {
    /// Weight η per nat above the mean.
    pub strength: f64,
    /// Share of a label's moving loss that remains after a step.
    pub decay: f64,
    /// What the mean is taken over.
    pub pooling: Pooling,
}

impl Formula for GroupWeightedLikelihood {
    fn needs(&self) -> Needs {
        Needs { weights: WeightSource::Groups, ..Needs::CHOSEN }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.not_negative("strength", self.strength);
        ranges.require("decay", self.decay, (0.0..1.0).contains(&self.decay), "a number of at least 0 and below 1");
    }

    fn grouping(&self) -> Option<Grouping> {
        Some(Grouping { strength: self.strength, decay: self.decay })
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let weights = &terms.pair().chosen.weights;
        terms.token_losses(1.0, self.pooling, |t, p| (-weights[t] * p, -weights[t]));
    }
}
