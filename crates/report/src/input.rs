//! Everything that a report page shows, as plain data. All parts but the title are optional: a part
//! that is absent or empty leaves no trace on the page.

mod comparison;
mod texts;

use serde::{Deserialize, Serialize};

pub use comparison::{Comparison, Contrast, Estimate, MetricColumn, ScoreUnit, SystemKind, SystemRow, Verdict};
pub use texts::{CaseKind, TextAnnotations, TextAnswer, TextCase, TextEntity, TextError, TextRelation, Texts};

/// The whole page.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ReportInput {
    /// The heading.
    pub title: String,
    /// One line under it: what was run, when.
    #[serde(default)]
    pub subtitle: Option<String>,
    /// How the run was made.
    #[serde(default)]
    pub summary: Option<RunSummary>,
    /// The systems against each other and against the controls.
    #[serde(default)]
    pub comparison: Option<Comparison>,
    /// The texts with gold and the answers of the systems.
    #[serde(default)]
    pub texts: Option<Texts>,
    /// Scores by label.
    #[serde(default)]
    pub labels: Vec<LabelScores>,
    /// What each system mistakes for what.
    #[serde(default)]
    pub errors: Vec<ErrorModes>,
    /// Loss, margin and whatever else was logged over the steps.
    #[serde(default)]
    pub curves: Vec<CurveChart>,
    /// What the token roles are.
    #[serde(default)]
    pub roles: Vec<Term>,
    /// Share of |dL/dlogp| by token role, for each objective.
    #[serde(default)]
    pub gradients: Option<RoleShares>,
    /// Change of log-probability by token role since the reference, for each objective.
    #[serde(default)]
    pub erosion: Vec<RoleChange>,
    /// Preference pairs to leaf through.
    #[serde(default)]
    pub pairs: Vec<PairView>,
    /// Hosted systems: what they cost and how long they took.
    #[serde(default)]
    pub remote: Vec<RemoteSystem>,
}

/// How the run was made.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSummary {
    /// Short facts for the top of the page: model, documents, program version.
    pub facts: Vec<Fact>,
    /// What the training of each system took.
    pub training: Vec<TrainingRow>,
    /// The thresholds at which lists end, of the systems that have tuned ones.
    pub thresholds: Vec<Fact>,
    /// The seeds that everything random came from.
    pub seeds: Vec<u64>,
    /// Content digests of inputs and checkpoints.
    pub digests: Vec<Fact>,
    /// Time of each stage, in order.
    pub stages: Vec<StageTime>,
    /// The resolved configuration, TOML.
    pub configuration: String,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// What it is in this run.
    pub value: String,
}

/// A word of the page and what it means.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Term {
    /// The word.
    pub name: String,
    /// Its meaning, as a clause without a full stop.
    pub meaning: String,
}

/// What the training of one system took.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingRow {
    /// The system.
    pub system: String,
    /// The objective that it minimises.
    pub objective: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens through forward and backward pass.
    pub tokens: u64,
    /// Tokens that a model scored without being trained, because the loss needs its log-probabilities.
    pub reference_tokens: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Training runs, one for each seed; the other figures are those of the first.
    pub runs: u64,
}

/// How long one stage took.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct StageTime {
    /// The stage.
    pub name: String,
    /// Wall-clock seconds of the run that made its outputs.
    pub seconds: f64,
    /// Whether this run found its outputs up to date and left it out.
    #[serde(default)]
    pub reused: bool,
}

/// F1 by label, one column for each system.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct LabelScores {
    /// What is scored: `Entities, strict`.
    pub title: String,
    /// What a reader should know about the rows, in whole sentences.
    #[serde(default)]
    pub note: String,
    /// The labels.
    pub labels: Vec<String>,
    /// Number of gold items of each label.
    pub support: Vec<u64>,
    /// The columns.
    pub systems: Vec<LabelSystem>,
}

/// One system's scores by label.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct LabelSystem {
    /// Its name.
    pub name: String,
    /// F1 of each label in [0, 1]; `None` where neither gold nor prediction has it.
    pub f1: Vec<Option<f64>>,
}

/// What one system mistakes for what.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ErrorModes {
    /// The system.
    pub system: String,
    /// Heat maps: label given span, relation type given arguments.
    #[serde(default)]
    pub confusions: Vec<Confusion>,
    /// Other kinds of error with their counts: missing, spurious, boundary, direction.
    #[serde(default)]
    pub kinds: Vec<(String, u64)>,
}

/// Counts of gold label (row) against predicted label (column).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// What is counted: `Entity label, given the span`.
    pub title: String,
    /// The [`CaseKind::name`] of what is off the diagonal, by which cells link to their texts.
    #[serde(default)]
    pub kind: String,
    /// Row names.
    pub gold: Vec<String>,
    /// Column names: the labels, then `missing` or `invalid` where they are counted.
    pub predicted: Vec<String>,
    /// Row by row.
    pub counts: Vec<Vec<u64>>,
}

/// Curves over one pair of axes.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct CurveChart {
    /// The heading.
    pub title: String,
    /// Name of the horizontal axis.
    pub x: String,
    /// Name of the vertical axis.
    pub y: String,
    /// What a reader should know about it, in whole sentences.
    #[serde(default)]
    pub note: String,
    /// The bold line is the mean over this many points; at most 1: the points themselves.
    #[serde(default)]
    pub smoothing: usize,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// One curve.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Curve {
    /// The system.
    pub name: String,
    /// Points by increasing x; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// One share for each role, for each objective.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct RoleShares {
    /// Role names.
    pub roles: Vec<String>,
    /// The objectives.
    pub objectives: Vec<RoleProfile>,
}

/// One objective's value for each role.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct RoleProfile {
    /// The objective.
    pub name: String,
    /// One value for each role, shares that sum to 1.
    pub shares: Vec<f64>,
}

/// Change of mean log-probability since the reference for one objective.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct RoleChange {
    /// The objective.
    pub name: String,
    /// Role names.
    pub roles: Vec<String>,
    /// Mean change in nats per token of the preferred answer, for each role.
    pub chosen: Vec<Option<f64>>,
    /// The same of the rejected answer.
    #[serde(default)]
    pub rejected: Vec<Option<f64>>,
    /// Under-confident preferred label tokens that lost probability, and how many there were.
    #[serde(default)]
    pub eroded: Option<(u64, u64)>,
}

/// One preference pair.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PairView {
    /// Its id.
    pub id: String,
    /// The document, and the sentence where the prompt is one.
    pub place: String,
    /// The source text.
    pub text: String,
    /// The preferred answer.
    pub chosen: String,
    /// The rejected answer.
    pub rejected: String,
    /// The kind of edit: `label`, `direction`, `drop-entity`.
    pub kind: String,
    /// Where it came from: `pattern`, `mode` or `on-policy`, with the pattern's name.
    pub source: String,
    /// The entity or relation that was changed, with the ids of the preferred answer.
    pub item: String,
    /// What was changed.
    pub from: String,
    /// What it was changed to.
    pub to: String,
    /// Tokens changed.
    pub distance: Option<u64>,
    /// Weight in training.
    pub weight: Option<f64>,
}

/// What a hosted system cost.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteSystem {
    /// The system's name in the comparison.
    pub name: String,
    /// The model that was asked for.
    pub model: String,
    /// Requests that were paid for.
    pub calls: u64,
    /// Answers that came from the response cache.
    pub reused: u64,
    /// Prompt tokens, those that the provider had cached among them.
    pub prompt_tokens: u64,
    /// Prompt tokens that the provider had cached.
    pub cached_tokens: u64,
    /// Completion tokens.
    pub completion_tokens: u64,
    /// Cost by the price table, if the model is in it.
    pub cost: Option<f64>,
    /// Currency of the cost.
    pub currency: String,
    /// The date that the price table carries.
    pub prices_of: String,
    /// Median latency in milliseconds.
    pub latency_median_ms: Option<f64>,
    /// 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// How the calls ended, with counts: `answered`, `refused`, `truncated`.
    pub outcomes: Vec<(String, u64)>,
}
