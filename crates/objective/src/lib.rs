//! TAB-PO and the DPO family as pure functions from per-token log-probs to loss and exact gradient.
//!
//! An [`Objective`] is chosen by name with hyper-parameters. It sees one [`Pair`] of completions as
//! vectors of log-probs (no tensors, no model) and returns a [`PairLoss`]: the pair's share of the
//! batch loss and its derivative with respect to every policy log-prob, the seed of the model's
//! backward pass. [`catalogue`] lists every objective.
//!
//! Every objective is composed from three operators of [`Evaluation`]: a *preference* term, a
//! smooth function of two linear token [`Scores`]; a *likelihood* term on the chosen completion;
//! and a confidence-gated [`Barrier`] on the chosen completion.
//!
//! # Notation
//! `p` policy log-prob of a token, `q` reference log-prob, `c` chosen, `r` rejected, `n` tokens of a
//! completion; `P = Σp`, `m = P/n`, `a = P_c − Q_c`, `b = P_r − Q_r`, `Δ = a − b`; `σ` the logistic
//! function and `ℓ = log σ`.

#![expect(clippy::doc_markdown, reason = "names of methods, such as SimPO, are not code")]

pub mod accounting;
pub mod anchored;
mod barrier;
mod catalogue;
pub mod diff;
mod dual;
mod error;
mod evaluation;
mod formula;
pub mod length_normalised;
pub mod likelihood;
mod objective;
mod pair;
pub mod pointwise;
pub mod published;
mod roles;
mod score;
pub mod sequence;
pub mod tab_po;
pub mod tab_po_published;
pub mod token;
pub mod token_kl;
pub mod weights;

pub use barrier::{Barrier, BarrierTerm, Denominator, Gate};
pub use catalogue::{Entry, catalogue};
pub use dual::Dual;
pub use error::ObjectiveError;
pub use evaluation::{Evaluation, Pooling};
pub use formula::{Formula, Needs, Ranges, Reach, WeightSource};
pub use objective::Objective;
pub use pair::{Completion, Gradient, Normaliser, Pair, PairLoss};
pub use roles::{RoleWeights, SCHEMA_ROLES};
pub use score::{Baseline, Form, Scores};
