#![doc = include_str!("../README.md")]
//!
//! # Notation
//! `p` policy log-prob of a token, `q` reference log-prob, `c` chosen, `r` rejected, `n` tokens of a
//! completion; `P = Σp`, `m = P/n`, `a = P_c − Q_c`, `b = P_r − Q_r`, `Δ = a − b`; `σ` the logistic
//! function and `ℓ = log σ`.
//!
//! # Modules
//! A [`Formula`] adds its terms for one [`Pair`] to an [`Evaluation`]: a *preference* term, a smooth
//! function ([`Dual`]) of two linear token [`Scores`]; a *likelihood* term on the chosen completion;
//! and a confidence-gated [`Barrier`] on it. [`formulas`] holds the catalogue, [`accounting`] says on
//! which token roles the gradient falls, [`diff`] aligns two completions, [`weights`] makes token
//! weights, and [`published`] holds the figures that implementations are compared by.

#![forbid(unsafe_code)]
#![expect(clippy::doc_markdown, reason = "names of methods, such as SimPO, are not code")]

pub mod accounting;
mod barrier;
mod credit;
mod decision;
pub mod diff;
mod dual;
mod entry;
mod error;
mod evaluation;
mod formula;
pub mod formulas;
mod groups;
mod objective;
mod pair;
pub mod published;
mod role_weights;
mod score;
pub mod weights;

pub use barrier::{Barrier, Denominator, Gate};
pub use credit::{Credit, START_F1};
pub use dual::Dual;
pub use entry::Entry;
pub use error::ObjectiveError;
pub use evaluation::{Evaluation, Pooling};
pub use formula::{Formula, Needs, OwnAnswers, RangeViolation, Ranges, Reach, WeightSource};
pub use formulas::catalogue;
pub use groups::{GroupLosses, Grouping};
pub use objective::Objective;
pub use pair::{Completion, Gradient, ItemCounts, ItemErrors, JudgedItem, Normaliser, Pair, PairLoss};
pub use role_weights::RoleWeights;
pub use score::{Baseline, Form, Scores};
