//! Likelihood of what is right after the model's own mistakes.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Evaluation, Formula, Needs, OwnAnswers, Pooling, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "dynamic-oracle",
        summary: "-ΣP_c / Σn_c - μ Σ_i log Σ_{a∈A_i} e^{p_a} / Σn_c, A_i: the right tokens at each token of the model's \
                  own answer after its first mistake",
        source: "dynamic oracles (Goldberg and Nivre 2012), DAgger (arXiv 1011.0686)",
        build: |name, given| configure(name, &DynamicOracle { oracle: 0.5, pooling: Pooling::Tokens }, given),
    }]
}

/// **Dynamic oracle**: SFT, and the likelihood of any right token wherever the model's own greedy answer has left gold
/// and something is still right.
///
/// ```text
/// L = −Σ p_ct / n − (μ/n) Σ_i log Σ_{a ∈ A_i} e^{p_a}
/// dL/dp_a = −(μ/n) r_a,  r_a = e^{p_a} / Σ_{b ∈ A_i} e^{p_b}
/// ```
///
/// `A_i` are the tokens that begin the continuations with the highest F1 still to be had: any mention of gold that is
/// not written yet, the end of the list where none is left, the right label after a right span, relations under the ids
/// that their arguments have in the answer. Inside a record that is wrong already, nothing is right and nothing is
/// trained. Before the first mistake the state is one of gold and trained as such. A token of the own answer weighs μ
/// times a token of gold: both are divided by the number of gold tokens, so that an answer with one mistake near its
/// end doesn't count as much as one that is wrong from the start. Without a mistake, or with μ = 0, it is SFT. Default: μ 0.5.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicOracle {
    /// Weight μ of the own answers.
    pub oracle: f64,
    /// What both means are taken over.
    pub pooling: Pooling,
}

impl Formula for DynamicOracle {
    fn needs(&self) -> Needs {
        if self.oracle > 0.0 { Needs { own: OwnAnswers::Greedy, ..Needs::PAIR } } else { Needs::CHOSEN }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.not_negative("oracle", self.oracle);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        if self.oracle > 0.0 {
            terms.choices(self.oracle, self.pooling);
        }
        terms.likelihood(1.0, self.pooling);
    }
}
