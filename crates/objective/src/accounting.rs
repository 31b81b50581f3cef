//! Which token roles an objective's gradient falls on, and how training changed their log-probs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tabpo_roles::Role;

use crate::{Completion, Gradient, Pair, PairLoss};

/// Sums over pairs, by token role. Sums of several accounts (micro-batches, ranks, steps) are
/// [merged](Accounting::merge).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accounting {
    /// Number of pairs.
    pub pairs: u64,
    /// Sums for each role that occurred.
    pub roles: BTreeMap<Role, RoleAccount>,
}

/// Sums over the tokens of one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleAccount {
    /// Chosen completions.
    pub chosen: SideAccount,
    /// Rejected completions.
    pub rejected: SideAccount,
    /// Chosen tokens on which the barrier acts.
    pub gated: u64,
    /// Chosen tokens to which the reference gives a lower probability than
    /// [`Accounting::UNDER_CONFIDENT`].
    pub under_confident: u64,
    /// Those of them whose probability is below the reference's: token erosion.
    pub eroded: u64,
}

/// Sums over the tokens of one role on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SideAccount {
    /// Number of tokens.
    pub tokens: u64,
    /// Σ |dL/dp|; the gradient on a KL is not counted.
    pub gradient: f64,
    /// Σ |dL/dp| after cancellation: in the shared prefix, where both sides act on the same token in the
    /// same context, their derivatives are added, and half of the sum is counted on each side.
    pub net_gradient: f64,
    /// Number of tokens with a reference log-prob.
    pub compared: u64,
    /// Σ (p − q) over them: the change of log-prob since the reference, in nats.
    pub change: f64,
}

/// Shares and means of one role, ready for a log or a table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleSummary {
    /// Share of this role's chosen tokens in Σ|dL/dp| over all roles and both sides, 0 to 1.
    pub chosen_gradient_share: f64,
    /// Share of this role's rejected tokens, 0 to 1.
    pub rejected_gradient_share: f64,
    /// Share of this role (both sides) after cancellation in the shared prefix, 0 to 1.
    pub net_gradient_share: f64,
    /// Share of this role's chosen tokens on which the barrier acts, 0 to 1.
    pub gate_activity: f64,
    /// Mean change of chosen log-prob per token since the reference, in nats.
    pub chosen_change: f64,
    /// Mean change of rejected log-prob per token since the reference, in nats.
    pub rejected_change: f64,
    /// Under-confident chosen tokens that lost probability.
    pub eroded: u64,
    /// Under-confident chosen tokens.
    pub under_confident: u64,
}

impl Accounting {
    /// A chosen token is under-confident where the reference gives it less than this probability
    /// (the confidence threshold of TAB-PO).
    pub const UNDER_CONFIDENT: f64 = 0.66;

    /// Counts one pair and what an objective made of it.
    pub fn add(&mut self, pair: &Pair, loss: &PairLoss) {
        self.pairs += 1;
        let shared = pair.shared_prefix();
        self.add_side(&pair.chosen, &loss.chosen, &loss.rejected, shared, |account| &mut account.chosen);
        self.add_side(&pair.rejected, &loss.rejected, &loss.chosen, shared, |account| &mut account.rejected);

        let limit = Self::UNDER_CONFIDENT.ln();
        for (t, role) in pair.chosen.roles.iter().enumerate() {
            let account = self.roles.entry(*role).or_default();
            account.gated += u64::from(loss.gate.get(t).copied().unwrap_or(false));
            if let Some(q) = pair.chosen.reference.get(t).filter(|q| **q < limit) {
                account.under_confident += 1;
                account.eroded += u64::from(pair.chosen.policy[t] < *q);
            }
        }
    }

    fn add_side(
        &mut self,
        side: &Completion,
        gradient: &Gradient,
        other: &Gradient,
        shared: usize,
        account: impl Fn(&mut RoleAccount) -> &mut SideAccount,
    ) {
        for (t, role) in side.roles.iter().enumerate() {
            let account = account(self.roles.entry(*role).or_default());
            account.tokens += 1;
            account.gradient += gradient.logp[t].abs();
            account.net_gradient += match other.logp.get(t) {
                Some(counterpart) if t < shared => 0.5 * (gradient.logp[t] + counterpart).abs(),
                _ => gradient.logp[t].abs(),
            };
            if let Some(q) = side.reference.get(t) {
                account.compared += 1;
                account.change += side.policy[t] - q;
            }
        }
    }

    /// Adds the sums of another account.
    pub fn merge(&mut self, other: &Accounting) {
        self.pairs += other.pairs;
        for (role, theirs) in &other.roles {
            let ours = self.roles.entry(*role).or_default();
            ours.chosen.merge(&theirs.chosen);
            ours.rejected.merge(&theirs.rejected);
            ours.gated += theirs.gated;
            ours.under_confident += theirs.under_confident;
            ours.eroded += theirs.eroded;
        }
    }

    /// Shares and means by role.
    pub fn summary(&self) -> BTreeMap<Role, RoleSummary> {
        let total = |part: fn(&SideAccount) -> f64| -> f64 {
            self.roles.values().map(|account| part(&account.chosen) + part(&account.rejected)).sum()
        };
        let gradient = total(|side| side.gradient);
        let net_gradient = total(|side| side.net_gradient);
        let summary = |account: &RoleAccount| RoleSummary {
            chosen_gradient_share: ratio(account.chosen.gradient, gradient),
            rejected_gradient_share: ratio(account.rejected.gradient, gradient),
            net_gradient_share: ratio(account.chosen.net_gradient + account.rejected.net_gradient, net_gradient),
            gate_activity: ratio(account.gated as f64, account.chosen.tokens as f64),
            chosen_change: ratio(account.chosen.change, account.chosen.compared as f64),
            rejected_change: ratio(account.rejected.change, account.rejected.compared as f64),
            eroded: account.eroded,
            under_confident: account.under_confident,
        };
        self.roles.iter().map(|(role, account)| (*role, summary(account))).collect()
    }

    /// The erosion count: under-confident chosen tokens of the [`Role::DECISIONS`] that lost
    /// probability since the reference.
    pub fn erosion(&self) -> u64 {
        Role::DECISIONS.iter().filter_map(|role| self.roles.get(role)).map(|account| account.eroded).sum()
    }
}

impl SideAccount {
    fn merge(&mut self, other: &SideAccount) {
        self.tokens += other.tokens;
        self.gradient += other.gradient;
        self.net_gradient += other.net_gradient;
        self.compared += other.compared;
        self.change += other.change;
    }
}

/// `part / whole`; 0 if the whole is 0.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
