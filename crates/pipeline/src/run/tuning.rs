//! Chooses the thresholds of a model's lists on validation documents.
//!
//! One decoding serves all thresholds of a list. At the lowest threshold of the grid, a list is longest, and every
//! decision is written beside the answer; at a higher one the same records are written up to the first decision that
//! falls short of it, and there the list ends. So scores are exact at every point, and a model decodes the validation
//! documents twice: once for the entities, and then, with their threshold chosen, for the relations.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tabpo_answer::closed_at;
use tabpo_corpus::Document;
use tabpo_metrics::{Family, Predictions, Prf, UnitOutput, count};
use tabpo_model::Tokenizer;
use tabpo_ontology::Ontology;
use tabpo_roles::List;

use super::{
    Part, Stages, Trained,
    answers::AnsweredUnit,
    directory::write_atomically,
    inputs::{CurveInputs, StageInputs},
    policy::Renderer,
    prediction::{Prediction, read},
    threshold::{ListEnds, Thresholds, log_odds},
};
use crate::{
    error::{Error, ResultExt},
    observer::Observer,
};

/// The thresholds of the grid are the multiples of one over this between 0 and 1.
const GRID: u32 = 20;

/// A threshold of the grid.
fn threshold(number: u32) -> f64 {
    f64::from(number) / f64::from(GRID)
}

/// Scores of one list over its thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdCurve {
    /// The list.
    pub list: List,
    /// The threshold with the highest F1; of several, the one nearest to 1/2, and of two, the lower one.
    pub chosen: f64,
    /// The scores at each threshold of the grid, in rising order.
    pub points: Vec<ThresholdPoint>,
    /// Tokens that the model wrote for this curve.
    pub written_tokens: u64,
}

/// Scores at one threshold: those of "NER F1" for entities and of "Rel F1" for relations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdPoint {
    /// The threshold.
    pub threshold: f64,
    /// Precision, recall and F1, as fractions.
    #[serde(flatten)]
    pub scores: Prf,
}

/// The chosen thresholds of a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunedSystem {
    /// The system, by the name of its row with thresholds.
    pub name: String,
    /// The thresholds of each of its runs.
    pub runs: Vec<Thresholds>,
    /// Tokens that all runs wrote to choose them.
    pub written_tokens: u64,
}

/// Chooses the thresholds of a model and returns the curve of each list. `prediction` says how it answers. Its answers are
/// kept in `folder` under a name that depends on everything they are made from, and not made again where they are there.
pub fn tune(
    prediction: &Prediction<'_>,
    documents: &[Document],
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Vec<ThresholdCurve>, Error> {
    let mut curves = Vec::new();
    let mut thresholds = Thresholds::GREEDY;
    for list in lists(prediction.ontology) {
        let list_ends = lowest(thresholds, list);
        let recorded = Prediction { name: list.name(), list_ends, ..*prediction };
        let id = recorded.identity(documents)?;
        let path = folder.join(format!("{}-{id}.jsonl", list.name()));
        if !path.exists() {
            recorded.write(documents, &path, &id, observer)?;
        }
        let curve = curve(list, &read(&path)?, documents, prediction.ontology, &prediction.renderer.tokenizer)?;
        thresholds = thresholds.with(list, curve.chosen);
        curves.push(curve);
    }
    Ok(curves)
}

impl Stages<'_> {
    /// Chooses the thresholds of a policy on the validation documents. Returns them with the number of tokens that were
    /// written to choose them. The files lie below `folder`, relative to the run directory.
    pub(super) fn tune(
        &mut self,
        folder: &Path,
        policy: &Trained,
        renderer: &Renderer,
    ) -> Result<(Thresholds, u64), Error> {
        let mut thresholds = Thresholds::GREEDY;
        let mut written_tokens = 0;
        for list in lists(&self.inputs.ontology) {
            let place = folder.join("thresholds").join(list.name());
            let answers = place.with_extension("jsonl");
            let list_ends = lowest(thresholds, list);
            let decoded = self.predict_lists(&answers, policy, Part::Validation, renderer, list_ends)?;
            let key = CurveInputs {
                list,
                predictions: &decoded.digest,
                gold: &self.inputs.digests.validation,
                ontology: &self.inputs.digests.ontology,
            }
            .key();
            let file = place.with_extension("json");
            let path = self.directory.path(&file)?;
            let name = format!("{}-curve", place.display());
            let (documents, ontology) = (&self.inputs.splits.validation, &self.inputs.ontology);
            self.ledger.stage(self.observer, &name, &key, &[file], || {
                let curve = curve(list, &read(&decoded.path)?, documents, ontology, &renderer.tokenizer)?;
                write_atomically(&path, &serde_json::to_vec_pretty(&curve).expect("a curve is plain data"))
            })?;
            let text = std::fs::read(&path).or_failed()?;
            let curve: ThresholdCurve = serde_json::from_slice(&text).or_failed()?;
            thresholds = thresholds.with(list, curve.chosen);
            written_tokens += curve.written_tokens;
        }
        Ok((thresholds, written_tokens))
    }
}

/// The lists of an answer.
pub(super) fn lists(ontology: &Ontology) -> impl Iterator<Item = List> {
    let related = !ontology.relations.is_empty();
    List::ALL.into_iter().filter(move |&list| list == List::Entities || related)
}

/// How lists end in the decoding from which the curve of one of them is read.
fn lowest(thresholds: Thresholds, list: List) -> ListEnds {
    ListEnds { thresholds: thresholds.with(list, threshold(1)), recorded: true }
}

/// The scores of a list at every threshold, from answers with their decisions.
fn curve(
    list: List,
    answers: &[AnsweredUnit],
    documents: &[Document],
    ontology: &Ontology,
    tokenizer: &Tokenizer,
) -> Result<ThresholdCurve, Error> {
    let family = match list {
        List::Entities => Family::Ner,
        List::Relations => Family::RelSymmetric,
    };
    let point = |number: u32| {
        let threshold = threshold(number);
        let outputs: Vec<UnitOutput> = answers.iter().map(|answer| ended(answer, list, threshold, ontology)).collect();
        let mut predictions = Predictions::from_outputs(&outputs, "answers with thresholds").or_failed()?;
        let counts = count(documents.iter().map(Ok), &mut predictions, ontology).or_failed()?;
        let scores = Prf::of(counts.layout.total(&counts.table.pooled(), family));
        Ok(ThresholdPoint { threshold, scores })
    };
    let points = (1..GRID).map(point).collect::<Result<Vec<_>, Error>>()?;
    let mut written_tokens = 0;
    for answer in answers.iter().filter(|answer| answer.outcome.is_none()) {
        // The token that ends an answer is not in its text.
        written_tokens += tokenizer.encode_text(&answer.unit.output).or_failed()?.len() as u64 + 1;
    }
    Ok(ThresholdCurve { list, chosen: best(&points), points, written_tokens })
}

/// The answer that would have been written at a threshold, as far as it concerns the list.
fn ended(answer: &AnsweredUnit, list: List, threshold: f64, ontology: &Ontology) -> UnitOutput {
    let least = log_odds(threshold);
    let end = answer.decisions.iter().find(|decision| decision.list == list && decision.log_odds <= least);
    let mut unit = answer.unit.clone();
    if let Some(end) = end {
        unit.output = closed_at(&unit.output, list, end.at, ontology);
    }
    unit
}

/// The threshold with the highest F1; of several, the one nearest to 1/2, and of two, the lower one.
fn best(points: &[ThresholdPoint]) -> f64 {
    let mut order: Vec<&ThresholdPoint> = points.iter().collect();
    // Sorting keeps the rising order of thresholds that are as near. Their distances are multiples of 1/20.
    let distance = |point: &ThresholdPoint| ((point.threshold - 0.5).abs() * f64::from(GRID)).round() as u32;
    order.sort_by_key(|point| distance(point));
    let mut best = (f64::NEG_INFINITY, 0.5);
    for point in order {
        let f1 = point.scores.f1.unwrap_or(0.0);
        if f1 > best.0 {
            best = (f1, point.threshold);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(f1: &[(f64, Option<f64>)]) -> Vec<ThresholdPoint> {
        f1.iter().map(|&(threshold, f1)| ThresholdPoint { threshold, scores: Prf { f1, ..Prf::default() } }).collect()
    }

    #[test]
    fn the_highest_score_wins_and_then_the_threshold_nearest_to_greedy_decoding() {
        assert_eq!(best(&points(&[(0.05, Some(0.3)), (0.5, Some(0.2)), (0.95, Some(0.1))])), 0.05);
        assert_eq!(best(&points(&[(0.4, Some(0.3)), (0.5, Some(0.3)), (0.6, Some(0.3))])), 0.5);
        assert_eq!(best(&points(&[(0.3, Some(0.3)), (0.4, Some(0.3)), (0.5, Some(0.2)), (0.6, Some(0.3))])), 0.4);
        assert_eq!(best(&points(&[(0.05, Some(0.3)), (0.5, Some(0.2)), (0.6, Some(0.3))])), 0.6);
        // Nothing was predicted and there is no gold.
        assert_eq!(best(&points(&[(0.4, None), (0.5, None), (0.6, Some(0.0))])), 0.5);
    }

    #[test]
    fn the_grid_has_greedy_decoding_in_it() {
        assert_eq!(threshold(GRID / 2), 0.5);
        assert_eq!(log_odds(0.5), 0.0);
        assert!((1..GRID).all(|number| log_odds(threshold(number)).is_finite()));
    }
}
