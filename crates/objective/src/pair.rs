//! What an objective sees and what it returns.

use serde::{Deserialize, Serialize};
use tabpo_roles::{List, ListDecision, Role};

/// One completion of a prompt, token by token: only the tokens after the prompt, the end-of-turn
/// token included. Every vector that is not empty has one entry per token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// Log-prob of each token under the policy, natural logarithm, at most 0.
    pub policy: Vec<f64>,
    /// Log-prob of each token under the reference; may be empty where
    /// [`Needs::reference`](crate::Needs::reference) is false.
    pub reference: Vec<f64>,
    /// What each token is for.
    pub roles: Vec<Role>,
    /// Whether the token differs from the other completion ([`differs`](crate::diff::differs)).
    pub differs: Vec<bool>,
    /// External weight of each token, at least 0; 1 where nothing says otherwise.
    pub weights: Vec<f64>,
    /// KL(reference ‖ policy) over the whole vocabulary at each position, in nats, at least 0;
    /// empty unless [`Needs::kl`](crate::Needs::kl).
    pub kl: Vec<f64>,
    /// Log-prob of each token under the guide model; empty unless
    /// [`Needs::guide`](crate::Needs::guide).
    pub guide: Vec<f64>,
    /// Which label each token belongs to, as any number that is the label's own; empty unless
    /// [`Needs::weights`](crate::Needs::weights) asks for groups.
    pub groups: Vec<Option<u64>>,
    /// The tokens, by position, that decide whether a list goes on or ends; a token may decide both lists. Empty
    /// unless [`Needs::credit`](crate::Needs::credit), and on rejected completions.
    pub decisions: Vec<(usize, ListDecision)>,
    /// The items of a rejected completion compared with those of the chosen one; zeros unless
    /// [`Needs::credit`](crate::Needs::credit), and on chosen completions.
    pub errors: ItemErrors,
    /// For each place of the model's own answer where something was right, the log-prob of every right token there;
    /// empty unless [`Needs::own`](crate::Needs::own) asks for the greedy answer, and on chosen completions.
    pub choices: Vec<Vec<f64>>,
    /// The items of an answer that was sampled from the model; empty unless [`Needs::own`](crate::Needs::own) asks for
    /// samples, and on chosen completions.
    pub items: Vec<JudgedItem>,
}

/// An item of a model's own answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedItem {
    /// The list that it is in.
    pub list: List,
    /// Whether gold has it.
    pub right: bool,
    /// The positions of the tokens that decide about it, each once.
    pub tokens: Vec<usize>,
}

/// Numbers of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemCounts {
    /// Entities.
    pub entities: u32,
    /// Relations.
    pub relations: u32,
}

impl ItemCounts {
    /// The items of one list.
    pub fn of(self, list: List) -> u32 {
        match list {
            List::Entities => self.entities,
            List::Relations => self.relations,
        }
    }

    /// The items of both lists.
    pub fn total(self) -> u32 {
        self.entities + self.relations
    }
}

/// How the items of an answer differ from those of the gold answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemErrors {
    /// Items that the gold answer does not have: false positives.
    pub wrong: ItemCounts,
    /// Items of the gold answer that are not there: false negatives.
    pub missing: ItemCounts,
    /// Items of the gold answer.
    pub gold: ItemCounts,
}

impl Completion {
    /// A completion whose tokens are all scaffold, shared and of weight 1.
    pub fn new(policy: Vec<f64>, reference: Vec<f64>) -> Self {
        let n = policy.len();
        Self {
            policy,
            reference,
            roles: vec![Role::Scaffold; n],
            differs: vec![false; n],
            weights: vec![1.0; n],
            kl: Vec::new(),
            guide: Vec::new(),
            groups: Vec::new(),
            decisions: Vec::new(),
            errors: ItemErrors::default(),
            choices: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.policy.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.policy.is_empty()
    }

    /// Whether token `t` differs from the other completion, or is the first after the prefix of length `point` that
    /// both share. After an insertion or a deletion, that token may be in both, in different places.
    pub fn is_apart(&self, t: usize, point: usize) -> bool {
        self.differs[t] || t == point
    }
}

/// A preferred and a dispreferred completion of the same prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The preferred completion.
    pub chosen: Completion,
    /// The dispreferred completion; empty where [`Needs::rejected`](crate::Needs::rejected) asks for nothing.
    pub rejected: Completion,
    /// Weight of the pair in the mean over pairs, at least 0; usually 1.
    pub weight: f64,
}

impl Pair {
    /// Number of leading tokens that both completions share: each is the same token in the same
    /// context. The token at this position, if there is one, is the divergence point.
    pub fn shared_prefix(&self) -> usize {
        let run = |side: &Completion| side.differs.iter().take_while(|differs| !**differs).count();
        run(&self.chosen).min(run(&self.rejected))
    }
}

/// The denominators of a batch's means. A pair's loss is divided by the totals of the whole batch,
/// so that gradients accumulated over micro-batches equal the gradient of the batch in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Normaliser {
    /// Sum of the pairs' weights.
    pub pairs: f64,
    /// Sum over pairs of weight times number of chosen tokens.
    pub chosen_tokens: f64,
}

impl Normaliser {
    /// The totals of a batch.
    pub fn of<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Self {
        let mut totals = Self::default();
        for pair in pairs {
            totals.add(pair.weight, pair.chosen.len());
        }
        totals
    }

    /// Counts one pair by its weight and its number of chosen tokens.
    pub fn add(&mut self, weight: f64, chosen_tokens: usize) {
        self.pairs += weight;
        self.chosen_tokens += weight * chosen_tokens as f64;
    }
}

/// Derivative of the batch loss with respect to one completion's inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradient {
    /// dL/dp for each token.
    pub logp: Vec<f64>,
    /// dL/dK for each position, K being [`Completion::kl`]; empty where the objective uses none.
    pub kl: Vec<f64>,
    /// dL/dp for each log-prob of [`Completion::choices`]; not counted in the accounts of roles.
    pub choices: Vec<Vec<f64>>,
}

/// One pair's share of the batch loss, its gradient, and the terms worth logging. The shares and
/// gradients of a batch add up; the margin is the pair's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairLoss {
    /// The share of the batch loss; the sum of the four terms below.
    pub loss: f64,
    /// Gradient on the chosen completion.
    pub chosen: Gradient,
    /// Gradient on the rejected completion.
    pub rejected: Gradient,
    /// Share of the preference term, or of a custom [`term`](crate::Evaluation::term).
    pub preference: f64,
    /// Share of the decision term of [`TabPo`](crate::formulas::tab_po::TabPo) or of the terms on the model's own
    /// answers, their weight included.
    pub decision: f64,
    /// Share of the likelihood term on the chosen completion, its weight included.
    pub likelihood: f64,
    /// Share of the barrier term, its weight included.
    pub barrier: f64,
    /// Chosen score minus rejected score, before any scaling; 0 without a term of [`Scores`](crate::Scores).
    pub margin: f64,
    /// Which chosen tokens the barrier acts on; empty without a barrier.
    pub gate: Vec<bool>,
}
