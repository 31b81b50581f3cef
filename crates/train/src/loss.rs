//! Computes the loss of a step and the gradient of the model's outputs from their log-probs.

use tabpo_engine::TargetValues;
use tabpo_objective::accounting::Accounting;
use tabpo_objective::diff::differs;
use tabpo_objective::weights::released;
use tabpo_objective::{Completion, GroupLosses, Needs, Normaliser, Objective, Pair, PairLoss, WeightSource};

use crate::groups::groups;
use crate::trie::{ExampleTargets, gather, scatter_add};
use crate::{ExampleLogProbs, TokenisedAnswer, TokenisedExample};

/// The differences between the chosen and each rejected answer of an example, which do not depend on the
/// policy and are found while a step is prepared.
#[derive(Clone, Debug)]
pub struct Differences {
    /// For each rejected answer, which chosen and which rejected tokens differ.
    answers: Vec<(Vec<bool>, Vec<bool>)>,
}

impl Differences {
    /// Aligns the answers of an example.
    pub(crate) fn new(example: &TokenisedExample) -> Self {
        let chosen = &example.chosen.tokens;
        Self { answers: example.rejected.iter().map(|r| differs(chosen, &r.answer.tokens)).collect() }
    }
}

/// Log-probs of one example that do not change during the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct FixedLogProbs {
    /// Under the policy at the start of the run.
    pub(crate) reference: Option<ExampleLogProbs>,
    /// Under a guide model.
    pub(crate) guide: Option<ExampleLogProbs>,
}

/// Sums over the pairs of a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepLoss {
    pub(crate) loss: f64,
    pub(crate) preference: f64,
    pub(crate) decision: f64,
    pub(crate) likelihood: f64,
    pub(crate) barrier: f64,
    pub(crate) margin: f64,
    pub(crate) correct: f64,
    pub(crate) accounting: Accounting,
}

impl StepLoss {
    /// Adds a pair's terms.
    pub(crate) fn add(&mut self, pair: &Pair, loss: &PairLoss) {
        self.loss += loss.loss;
        self.preference += loss.preference;
        self.decision += loss.decision;
        self.likelihood += loss.likelihood;
        self.barrier += loss.barrier;
        self.margin += pair.weight * loss.margin;
        self.correct += pair.weight * f64::from(u8::from(loss.margin > 0.0));
        self.accounting.add(pair, loss);
    }
}

/// The totals by which the loss of every pair of a step is divided, so that the gradients of its micro-batches
/// add up to that of the whole step.
pub(crate) fn normaliser(needs: Needs, examples: &[TokenisedExample]) -> Normaliser {
    let mut totals = Normaliser::default();
    for example in examples {
        let tokens = example.chosen.tokens.len();
        if needs.pairs() {
            example.rejected.iter().for_each(|rejected| totals.add(rejected.weight, tokens));
        } else {
            totals.add(1.0, tokens);
        }
    }
    totals
}

/// One example in its micro-batch.
pub(crate) struct Member<'a> {
    pub(crate) example: &'a TokenisedExample,
    pub(crate) differences: &'a Differences,
    pub(crate) targets: &'a ExampleTargets,
    pub(crate) fixed: &'a FixedLogProbs,
    /// The moving losses of labels before the step.
    pub(crate) labels: &'a GroupLosses,
}

impl Member<'_> {
    /// Evaluates the objective on the pairs of the example; adds the gradient to `gradient` and the
    /// pairs with their losses to `pairs`. The pairs share the chosen answer, whose gradients add up.
    pub(crate) fn evaluate(
        &self,
        objective: &Objective,
        normaliser: &Normaliser,
        values: &TargetValues,
        gradient: &mut TargetValues,
        pairs: &mut Vec<(Pair, PairLoss)>,
    ) {
        let needs = objective.needs();
        let own = self.pairs(objective, values);
        let losses = objective.evaluate_example(&own, normaliser);
        for (number, (pair, loss)) in own.into_iter().zip(losses).enumerate() {
            let rejected = self.targets.rejected.get(number).map_or(&[][..], Vec::as_slice);
            scatter_add(&mut gradient.log_probs, &self.targets.chosen, &loss.chosen.logp);
            scatter_add(&mut gradient.log_probs, rejected, &loss.rejected.logp);
            let choices = self.targets.choices.get(number).map_or(&[][..], Vec::as_slice);
            for (targets, slopes) in choices.iter().zip(&loss.rejected.choices) {
                scatter_add(&mut gradient.log_probs, targets, slopes);
            }
            if needs.kl {
                scatter_add(&mut gradient.divergences, &self.targets.chosen, &loss.chosen.kl);
                scatter_add(&mut gradient.divergences, rejected, &loss.rejected.kl);
            }
            pairs.push((pair, loss));
        }
    }

    /// The chosen answer with each rejected one, or alone where the objective reads none.
    fn pairs(&self, objective: &Objective, values: &TargetValues) -> Vec<Pair> {
        let needs = objective.needs();
        let reference = self.fixed.reference.as_ref();
        let guide = self.fixed.guide.as_ref();
        let mut chosen = completion(&self.example.chosen, &self.targets.chosen, values);
        chosen.reference = reference.map(|fixed| fixed.chosen.clone()).unwrap_or_default();
        chosen.guide = guide.map(|fixed| fixed.chosen.clone()).unwrap_or_default();
        if let Some(grouping) = objective.grouping() {
            chosen.groups = groups(&self.example.chosen);
            chosen.weights = self.labels.weights(grouping, &chosen.groups);
        }
        if !needs.pairs() {
            return vec![Pair { chosen, rejected: Completion::default(), weight: 1.0 }];
        }
        let pair = |number: usize| {
            let rejected = &self.example.rejected[number];
            let (chosen_differs, rejected_differs) = &self.differences.answers[number];
            let mut pair = Pair {
                chosen: chosen.clone(),
                rejected: completion(&rejected.answer, &self.targets.rejected[number], values),
                weight: rejected.weight,
            };
            let choices = self.targets.choices[number].iter();
            pair.rejected.choices = choices.map(|targets| gather(&values.log_probs, targets)).collect();
            pair.chosen.differs.clone_from(chosen_differs);
            pair.rejected.differs.clone_from(rejected_differs);
            pair.rejected.reference = reference.map(|fixed| fixed.rejected[number].clone()).unwrap_or_default();
            pair.rejected.guide = guide.map(|fixed| fixed.rejected[number].clone()).unwrap_or_default();
            if needs.weights == WeightSource::Released {
                let (tokens, other) = (&self.example.chosen.tokens, &rejected.answer.tokens);
                pair.chosen.weights = released(&self.example.chosen.roles, tokens, other);
                pair.rejected.weights = released(&rejected.answer.roles, other, tokens);
            }
            pair
        };
        (0..self.example.rejected.len()).map(pair).collect()
    }
}

/// An answer as the objective's input, without its reference.
fn completion(answer: &TokenisedAnswer, targets: &[u32], values: &TargetValues) -> Completion {
    let kl = if values.divergences.is_empty() { Vec::new() } else { gather(&values.divergences, targets) };
    Completion {
        roles: answer.roles.clone(),
        weights: answer.weights.clone().unwrap_or_else(|| vec![1.0; answer.tokens.len()]),
        kl,
        decisions: answer.decisions.clone().unwrap_or_default(),
        errors: answer.errors,
        items: answer.items.clone(),
        ..Completion::new(gather(&values.log_probs, targets), Vec::new())
    }
}
