//! The decision operator: the token of the chosen completion against that of the rejected one where they part.

use crate::{Baseline, Evaluation, Form, Pair, Scores};

/// `−ℓ(min(δ, target))` with the lead `δ = p_ck − p_rk` of the right token at the divergence point k; or, with a taper,
/// `w · −ℓ(δ − ε)` with `w = clip((ε − δ)/ε, 0, 1)` held fixed.
///
/// The target stops the push at once when the right token leads by it; the taper ε lets it fade out until then. The
/// tapered form is that of final-token preference optimisation (FTPO: Antislop, arXiv 2510.15061; sam-paech/auto-antislop
/// `4b31cae`), without the tether to the reference's logits. The mean is over pairs; the authors divide by the sum of
/// the weights, by which the taper cancels in a batch of one pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decision {
    /// Lead in nats at which the push stops; none without a value. Unused with a taper.
    pub(crate) target: Option<f64>,
    /// Lead ε in nats, greater than 0, at which the push has faded out.
    pub(crate) taper: Option<f64>,
}

impl Decision {
    /// Adds `weight` times the term for a pair that parts at token `point`; nothing where a side has no such token.
    pub(crate) fn add(&self, terms: &mut Evaluation<'_>, point: usize, weight: f64) {
        let pair: &Pair = terms.pair();
        if point >= pair.chosen.len() || point >= pair.rejected.len() {
            return;
        }
        let at_point = |n: usize| (0..n).map(|t| f64::from(u8::from(t == point))).collect();
        let (chosen, rejected) = (at_point(pair.chosen.len()), at_point(pair.rejected.len()));
        let scores = Scores::weighted(pair, Form::Sum, Baseline::Zero, chosen, rejected);
        let lead = scores.margin();
        let loss = match self.taper {
            None => -lead.at_most(self.target.unwrap_or(f64::INFINITY)).log_sigmoid(),
            Some(taper) => ((taper - lead.value) / taper).clamp(0.0, 1.0) * -(lead - taper).log_sigmoid(),
        };
        terms.decision(&scores, weight * loss);
    }
}
