//! Several systems on the same documents: figures, intervals, differences and p-values.

use serde::{Deserialize, Serialize};

use crate::error::EvaluationError;
use crate::evaluate::Counts;
use crate::layout::{Layout, Tally};
use crate::metric::{Metric, Prf, Profile};
use crate::prediction::PredictionKind;
use crate::significance::{Resampling, bootstrap, holm, percentile_interval, randomisation};
use crate::table::CountTable;

/// A comparison of systems as data, for tables, reports and machine output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The counting convention.
    pub profile: Profile,
    /// Documents that every system was scored on.
    pub documents: u64,
    /// Bootstrap resamples, and rounds of the randomisation test.
    pub resamples: u32,
    /// The seed of both.
    pub seed: u64,
    /// The metrics, in the order of tables.
    pub metrics: Vec<MetricName>,
    /// The systems, in the order given.
    pub systems: Vec<SystemScores>,
    /// Every pair of systems, the earlier one first.
    pub differences: Vec<PairDifferences>,
}

/// How a metric is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricName {
    /// In machine output.
    pub key: String,
    /// In tables.
    pub title: String,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// The figures of one system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemScores {
    /// Its name.
    pub name: String,
    /// How many runs (training seeds) it has.
    pub runs: u32,
    /// Whether it extracted anything at all. A system that did not is never the best, regardless of its figures.
    #[serde(default = "yes")]
    pub extracts: bool,
    /// One estimate a metric, in the order of [`Comparison::metrics`].
    pub scores: Vec<Estimate>,
}

/// Older files do not say it; their systems extract something.
fn yes() -> bool {
    true
}

/// A figure with its uncertainty; none for a rate over nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The metric's key.
    pub metric: String,
    /// The figure from counts summed over documents and runs, a fraction.
    pub value: Option<f64>,
    /// Precision, of a metric that is an F1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Recall, of a metric that is an F1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// Lower end of the 95 % bootstrap percentile interval over documents; none where there is one
    /// document, or no resample.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// The figure of each run.
    pub per_run: Vec<Option<f64>>,
    /// Mean over the runs that have a figure.
    pub mean: Option<f64>,
    /// Sample standard deviation over them; `None` for a single one.
    pub sd: Option<f64>,
}

/// Two systems compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairDifferences {
    /// The first system.
    pub a: String,
    /// The second system.
    pub b: String,
    /// One difference a metric, in the order of [`Comparison::metrics`].
    pub differences: Vec<Difference>,
}

/// A difference with its uncertainty. None where one of the two figures is; without interval and
/// p-values for one document and for no resamples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The metric's key.
    pub metric: String,
    /// First minus second.
    pub difference: Option<f64>,
    /// Lower end of the 95 % percentile interval of the paired bootstrap over documents.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// One-sided: share of resamples in which the first system is not better.
    pub p_bootstrap: Option<f64>,
    /// Two-sided, approximate randomisation.
    pub p_randomisation: Option<f64>,
    /// `p_randomisation` after Holm's correction over the metrics of this pair.
    pub p_holm: Option<f64>,
}

impl Comparison {
    /// Why there are no intervals and p-values; none if there are.
    pub fn without_intervals(&self) -> Option<&'static str> {
        if self.documents < 2 {
            return Some("there is one document, but intervals and p-values need several");
        }
        (self.resamples == 0).then_some("there are no resamples, which intervals and p-values are made from")
    }

    /// The estimate of a system for a metric, by their names.
    pub fn estimate(&self, system: &str, metric: &str) -> Option<&Estimate> {
        let system = self.systems.iter().find(|scores| scores.name == system)?;
        system.scores.iter().find(|estimate| estimate.metric == metric)
    }
}

/// Compares systems, each given by name with the counts of one or several runs.
///
/// All counts must come from the same gold documents. Runs of a system are pooled: counts are
/// summed over runs within each document, and documents with all their runs are resampled.
/// Reproducible from the seed, regardless of the number of threads. A single document has no spread, so there
/// is neither an interval nor a test.
pub fn compare(
    systems: &[(String, Vec<Counts>)],
    profile: Profile,
    resampling: Resampling,
) -> Result<Comparison, EvaluationError> {
    let runs = || systems.iter().flat_map(|(_, runs)| runs);
    let Some(first) = runs().next() else {
        return Err(EvaluationError::Comparison("there are no systems to compare".into()));
    };
    for (name, runs) in systems {
        if runs.is_empty() {
            return Err(EvaluationError::Comparison(format!("the system `{name}` has no predictions")));
        }
        if runs.iter().any(|run| run.layout != first.layout || run.table.documents() != first.table.documents()) {
            let found = format!("the system `{name}` was scored on other documents or with another ontology");
            return Err(EvaluationError::Comparison(found));
        }
    }
    let layout = &first.layout;
    let raw = runs().all(|run| run.kind == PredictionKind::Raw);
    let metrics = profile.metrics(layout, raw);
    let columns = columns_of(&metrics, layout);
    let values = |row: &[u64]| scatter_and_measure(&metrics, layout, &columns, row);

    let tables: Vec<CountTable> = systems
        .iter()
        .map(|(_, runs)| CountTable::sum(&runs.iter().map(|run| &run.table).collect::<Vec<_>>()))
        .collect();
    let joined = CountTable::side_by_side(&tables, &columns);
    let width = columns.len();
    // One document is the same in every resample.
    let drawn = Resampling { resamples: if joined.documents() > 1 { resampling.resamples } else { 0 }, ..resampling };
    let samples = bootstrap(&joined, drawn, |row| {
        if width == 0 { Vec::new() } else { row.chunks_exact(width).flat_map(values).collect() }
    });
    let count = metrics.len();
    let sample = |system: usize, metric: usize| samples.iter().map(move |values| values[system * count + metric]);

    let mut scores = Vec::with_capacity(systems.len());
    for (index, (name, runs)) in systems.iter().enumerate() {
        let pooled = tables[index].pooled();
        let rows: Vec<Vec<u64>> = runs.iter().map(|run| run.table.pooled()).collect();
        let estimate = |(position, metric): (usize, &Metric)| {
            let per_run: Vec<Option<f64>> = rows.iter().map(|row| metric.measure.value(layout, row)).collect();
            let value = metric.measure.value(layout, &pooled);
            let interval = value.and_then(|_| percentile_interval(sample(index, position).collect()));
            let (low, high) = interval.unzip();
            let (mean, sd) = mean_and_sd(&per_run);
            let Prf { p: precision, r: recall, .. } = metric.measure.prf(layout, &pooled).unwrap_or_default();
            Estimate { metric: metric.key.into(), value, precision, recall, low, high, per_run, mean, sd }
        };
        scores.push(SystemScores {
            name: name.clone(),
            runs: runs.len() as u32,
            extracts: pooled[Tally::EntityItems as usize] + pooled[Tally::RelationItems as usize] > 0,
            scores: metrics.iter().enumerate().map(estimate).collect(),
        });
    }

    let mut differences = Vec::new();
    for a in 0..systems.len() {
        for b in a + 1..systems.len() {
            let pair = CountTable::side_by_side(&[tables[a].clone(), tables[b].clone()], &columns);
            let p_values = randomisation(&pair, drawn, values);
            let corrected = holm(&p_values);
            let difference = |(position, metric): (usize, &Metric)| {
                let figure = |system: usize| scores[system].scores[position].value;
                let difference = figure(a).zip(figure(b)).map(|(a, b)| a - b);
                let sampled = sample(a, position).zip(sample(b, position)).map(|(a, b)| a - b);
                let sampled: Vec<f64> = sampled.filter(|sampled| difference.is_some() && !sampled.is_nan()).collect();
                let better =
                    |difference: f64| if metric.higher_is_better { difference > 0.0 } else { difference < 0.0 };
                let not_better = sampled.iter().filter(|&&difference| !better(difference)).count();
                let p_bootstrap = (!sampled.is_empty()).then(|| not_better as f64 / sampled.len() as f64);
                let (low, high) = percentile_interval(sampled).unzip();
                Difference {
                    metric: metric.key.into(),
                    difference,
                    low,
                    high,
                    p_bootstrap,
                    p_randomisation: p_values[position],
                    p_holm: corrected[position],
                }
            };
            differences.push(PairDifferences {
                a: systems[a].0.clone(),
                b: systems[b].0.clone(),
                differences: metrics.iter().enumerate().map(difference).collect(),
            });
        }
    }
    let name = |metric: &Metric| MetricName {
        key: metric.key.into(),
        title: metric.title.into(),
        higher_is_better: metric.higher_is_better,
    };
    Ok(Comparison {
        profile,
        documents: first.table.documents() as u64,
        resamples: resampling.resamples,
        seed: resampling.seed,
        metrics: metrics.iter().map(name).collect(),
        systems: scores,
        differences,
    })
}

/// The columns that some metric reads, sorted.
fn columns_of(metrics: &[Metric], layout: &Layout) -> Vec<usize> {
    let mut columns: Vec<usize> = metrics.iter().flat_map(|metric| metric.measure.columns(layout)).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// The metrics of a row that holds only `columns`; NaN where one is a rate over nothing.
fn scatter_and_measure(metrics: &[Metric], layout: &Layout, columns: &[usize], row: &[u64]) -> Vec<f64> {
    let mut whole = vec![0; layout.columns()];
    for (&column, &value) in columns.iter().zip(row) {
        whole[column] = value;
    }
    metrics.iter().map(|metric| metric.measure.value(layout, &whole).unwrap_or(f64::NAN)).collect()
}

/// The mean of the values that there are and, for two or more, the sample standard deviation.
fn mean_and_sd(values: &[Option<f64>]) -> (Option<f64>, Option<f64>) {
    let values: Vec<f64> = values.iter().copied().flatten().collect();
    if values.is_empty() {
        return (None, None);
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (Some(mean), (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()))
}
