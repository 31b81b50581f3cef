//! Confusion-aware preference construction: minimal, schema-valid, grounded negatives.
//!
//! A negative is gold with one typed [`Edit`], written canonically. Edits are proposed by
//! [`Patterns`] that an expert wrote, by error modes that validation predictions showed
//! ([`ModeRates`]), by the model's own wrong answers ([`on_policy`]), or at random as a control.
//! [`PairBuilder`] chooses among them so that the corpus as a whole has the [`Mix`] of kinds and the
//! [`SourceShares`] that were asked for, and proves every negative before it is used.

mod admit;
mod build;
mod check;
mod choose;
mod describe;
mod difference;
mod distance;
mod edit;
mod export;
mod kind;
mod margin;
mod matcher;
mod mix;
mod modes;
pub mod on_policy;
pub mod patterns;
mod plan;
mod propose;
mod record;
mod scene;
mod stats;
mod summary;

pub use build::{BuildSettings, PairBuilder, Tokenize, Weighting};
pub use check::Violation;
pub use difference::{Difference, difference, starts_in_scaffold};
pub use distance::{character_distance, edit_distance};
pub use edit::{Edit, Side, apply};
pub use export::{ExportFormat, export};
pub use kind::{Kind, Source};
pub use margin::hardest;
pub use matcher::{PatternMatch, PatternMatcher};
pub use mix::{Mix, ShareError, SourceShares};
pub use modes::{Mode, ModeRates, Shift, UnknownModeLabel};
pub use patterns::{LabelChoice, Pattern, PatternError, Patterns, Rule};
pub use record::{EditRecord, PairRecord, RecordError};
pub use scene::Scene;
pub use stats::{Distances, PairStats, StatsCollector};
pub use summary::{BuildSummary, Share, WayShare};
