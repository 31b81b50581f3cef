//! What a run leaves to be read: the training log, `TensorBoard` files, result tables and the HTML
//! report.
//!
//! Nothing here computes a result. Every number comes in through plain data ([`ReportInput`],
//! [`Table`], [`Record`]) and is only laid out.

mod error;
pub mod html;
mod input;
mod metrics_log;
mod table;
mod tensorboard;
mod text;
mod write;

pub use error::ReportError;
pub use input::{
    Comparison, Confusion, Contrast, Curve, CurveChart, ErrorModes, Estimate, Fact, LabelScores, LabelSystem,
    MetricColumn, PairView, RemoteSystem, ReportInput, RoleChange, RoleProfile, RoleShares, RunSummary, ScoreUnit,
    StageTime, SystemKind, SystemRow, Verdict,
};
pub use metrics_log::{LoggedRecords, MetricsLog, Record, damaged_path, read_metrics};
pub use table::{Alignment, Format, Table};
pub use tensorboard::{EventWriter, Scalar, masked_crc32c};
pub use text::{printable, printable_json};
pub use write::write_report;
