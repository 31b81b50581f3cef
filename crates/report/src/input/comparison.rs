//! Systems against each other and against the controls.

use serde::{Deserialize, Serialize};

/// Systems by metrics, with tests against the controls.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// What was scored, in words: `test split, 1000 documents, 3 seeds`.
    pub scope: String,
    /// Where intervals and p-values come from, in words.
    #[serde(default)]
    pub method: String,
    /// How many documents intervals and tests rest on, if they rest on any.
    #[serde(default)]
    pub documents: Option<u64>,
    /// The [`MetricColumn::name`]s on which the verdict at the top of the page is given.
    #[serde(default)]
    pub headline: Vec<String>,
    /// A difference is called distinguishable below this adjusted p-value.
    pub alpha: f64,
    /// The columns.
    pub metrics: Vec<MetricColumn>,
    /// The rows, in the order in which they are shown.
    pub systems: Vec<SystemRow>,
    /// Tested differences between a system and a control.
    #[serde(default)]
    pub contrasts: Vec<Contrast>,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricColumn {
    /// The name shown: `NER`, `Rel+`, `ungrounded`.
    pub name: String,
    /// What it measures, as a clause.
    #[serde(default)]
    pub meaning: String,
    /// How its values are written.
    #[serde(default)]
    pub unit: ScoreUnit,
    /// Whether less is better, as for rates of faults.
    #[serde(default)]
    pub lower_is_better: bool,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreUnit {
    /// A fraction in [0, 1], written times 100 with one decimal.
    #[default]
    Percent,
    /// Any number, written with three significant decimals.
    Number,
}

/// One system of a comparison.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct SystemRow {
    /// The name, unique in the comparison.
    pub name: String,
    /// What part it plays.
    #[serde(default)]
    pub kind: SystemKind,
    /// Whether it extracted nothing at all: then it is the best at nothing.
    #[serde(default)]
    pub silent: bool,
    /// One value for each metric; `None` where it was not measured, or is a rate over nothing.
    pub scores: Vec<Option<Estimate>>,
}

/// The part that a system plays in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemKind {
    /// The checkpoint that the trained systems start from.
    Checkpoint,
    /// A control that spends the same budget without preferences.
    Control,
    /// A system under test.
    #[default]
    System,
    /// A hosted model.
    Remote,
}

/// A value with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// The point estimate, from counts summed over seeds.
    pub value: f64,
    /// Precision and recall, if the value is their harmonic mean.
    #[serde(default)]
    pub precision_and_recall: Option<(f64, f64)>,
    /// The interval, lower end first.
    #[serde(default)]
    pub interval: Option<(f64, f64)>,
    /// Standard deviation over seeds.
    #[serde(default)]
    pub deviation: Option<f64>,
}

/// The tested difference system minus control on one metric.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Contrast {
    /// A [`SystemRow::name`].
    pub system: String,
    /// The [`SystemRow::name`] that it is compared with.
    pub control: String,
    /// A [`MetricColumn::name`].
    pub metric: String,
    /// System minus control.
    pub difference: f64,
    /// Its confidence interval.
    #[serde(default)]
    pub interval: Option<(f64, f64)>,
    /// p-value of the difference, Holm-adjusted over the family that was tested.
    pub p_adjusted: f64,
}

/// What a contrast allows to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Distinguishable from the control, on the good side.
    Better,
    /// Distinguishable from the control, on the bad side.
    Worse,
    /// No difference from the control is shown.
    Undecided,
}

impl Contrast {
    /// Better or worse where the adjusted p-value is below `alpha` and the interval, if there is one, excludes 0;
    /// otherwise undecided.
    pub fn verdict(&self, alpha: f64, lower_is_better: bool) -> Verdict {
        let crosses = self.interval.is_some_and(|(low, high)| !(low > 0.0 || high < 0.0));
        if self.p_adjusted.is_nan() || self.p_adjusted >= alpha || crosses || self.difference == 0.0 {
            Verdict::Undecided
        } else if (self.difference > 0.0) == lower_is_better {
            Verdict::Worse
        } else {
            Verdict::Better
        }
    }
}
