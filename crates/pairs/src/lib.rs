#![doc = include_str!("../README.md")]
//!
//! # Modules
//! An `example` is a unit with its gold answer; `admit` says which edits it admits, `propose` lists
//! them, `targets` holds the share that each way of making a negative should have, `choose` selects so
//! that the shares are met, and `check` examines each negative before it is used. [`patterns`] reads
//! pattern files, `modes` turns error modes into shares, `on_policy` a model's answer into edits, and
//! `oracle` an answer into what would have been right at each of its places.

#![forbid(unsafe_code)]

mod admit;
mod build;
mod check;
mod choose;
mod describe;
mod difference;
mod distance;
mod edit;
mod example;
mod export;
mod judge;
mod kind;
mod margin;
mod matcher;
mod mix;
mod modes;
mod on_policy;
mod oracle;
pub mod patterns;
mod propose;
mod record;
mod stats;
mod summary;
mod targets;
#[cfg(test)]
#[allow(dead_code, reason = "the integration tests use the rest")]
#[path = "../tests/support/world.rs"]
mod world;

pub use build::{BuildSettings, PairBuilder, Tokenize, Weighting};
pub use difference::{Difference, difference};
pub use edit::Side;
pub use export::{ExportFormat, NotCanonical, add_roles, export};
pub use judge::{Judged, Verdict, judge};
pub use kind::{Kind, Source};
pub use margin::hardest;
pub use matcher::{PatternMatch, PatternMatcher};
pub use mix::{Mix, ShareError, SourceShares};
pub use modes::{Mode, ModeRates, Shift, UnknownModeLabel};
pub use oracle::{Oracle, RightText, Turn, oracle};
pub use patterns::{LabelChoice, Pattern, PatternError, Patterns, Rule};
pub use record::{EditRecord, PairRecord, RecordError};
pub use stats::{ChangeStats, Counted, Distances, KindStats, PairStats, StatsCollector};
pub use summary::{BuildSummary, Share, WayShare};

pub(crate) use distance::{character_distance, edit_distance};
pub(crate) use edit::{Edit, apply};
