#![doc = include_str!("../README.md")]
//!
//! # Modules
//! `input` is the data of the page and [`html`] its layout; `table` formats tables, `metrics_log` keeps
//! the training log, and `text` makes text from outside safe to display.

#![forbid(unsafe_code)]

mod error;
pub mod html;
mod input;
mod metrics_log;
mod table;
mod text;

pub use error::ReportError;
pub use input::{
    CaseKind, Comparison, Confusion, Contrast, Curve, CurveChart, ErrorModes, Estimate, Fact, LabelScores, LabelSystem,
    MetricColumn, PairView, RemoteSystem, ReportInput, RoleChange, RoleProfile, RoleShares, RunSummary, ScoreUnit,
    StageTime, SystemKind, SystemRow, Term, TextAnnotations, TextAnswer, TextCase, TextEntity, TextError, TextRelation,
    Texts, TrainingRow, Verdict,
};
pub use metrics_log::{LoggedRecords, MetricsLog, Record, damaged_path, read_metrics};
pub use table::{Alignment, Table, TableFormat, TableParts};
pub use text::{printable, printable_json};
