//! The stages of a run, known before it starts: their names, their order, and how much work they are.

use serde::Serialize;
use tabpo_corpus::{Document, Unit};
use tabpo_objective::{Needs, OwnAnswers, WeightSource};
use tabpo_pairs::Source;
use tabpo_train::TrainBudget;

use super::{
    Until,
    own_answers::{Decoding, Fold},
    pipeline::Inputs,
    systems::System,
    tuning::lists,
};
use crate::config::{Configuration, ThresholdChoice, TrainSection};

/// A stage to come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedStage {
    /// Its name in the record of stages. The learning rate of a system's further seeds is chosen in the run and written
    /// `*` here.
    pub name: String,
    /// Its work.
    pub work: Work,
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Training.
    Train(Training),
    /// Answers to this many prompts.
    Answer {
        /// Sentences or documents.
        units: usize,
    },
    /// Something that takes seconds.
    Little,
}

/// A training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Training {
    /// Examples to choose from. Of pairs only an upper bound is known before they are built.
    pub examples: usize,
    /// Optimiser steps; of a system that trains for as many FLOPs as another, unknown before.
    pub steps: Option<u64>,
    /// Examples in a step.
    pub batch: usize,
    /// Whether rejected answers are computed too.
    pub rejected: bool,
    /// Whether a pass of the reference comes first.
    pub reference: bool,
}

impl Training {
    fn supervised(section: &TrainSection, examples: usize) -> Self {
        Self { examples, steps: steps(section, examples), batch: section.batch_size, rejected: false, reference: false }
    }

    fn preference(section: &TrainSection, examples: usize, needs: Needs, equal_flops: bool) -> Self {
        Self {
            steps: steps(section, examples).filter(|_| !equal_flops),
            rejected: needs.pairs(),
            reference: needs.reference,
            ..Self::supervised(section, examples)
        }
    }
}

fn steps(section: &TrainSection, examples: usize) -> Option<u64> {
    match section.budget(examples) {
        TrainBudget::Steps(steps) => Some(steps),
        TrainBudget::Epochs(_) | TrainBudget::Tokens(_) => None,
    }
}

/// The number of prompts for some documents.
pub(super) fn units<'d>(documents: impl IntoIterator<Item = &'d Document>, config: &Configuration) -> usize {
    documents.into_iter().map(|document| Unit::all(document, config.data.level).count()).sum()
}

/// The stages up to `until`, in their order.
pub(super) fn plan(inputs: &Inputs, until: Until) -> Vec<PlannedStage> {
    let Inputs { config, splits, systems, .. } = inputs;
    let mut plan = Plan { config, stages: Vec::new() };
    let count = |documents: &[Document]| units(documents, config);
    let (train, curated, test) = (count(&splits.train), count(&splits.curated), count(&splits.test));
    if config.model.folder.is_none() {
        plan.add("base", Work::Little);
    }
    if let Some(warmup) = &config.warmup {
        let examples = warmup.sentences + warmup.copies * train;
        plan.add("warmup", Work::Train(Training::supervised(&warmup.train, examples)));
    }
    plan.add("sft", Work::Train(Training::supervised(&config.sft, train)));
    plan.add("errors/validation", Work::Answer { units: count(&splits.validation) });
    plan.add("errors", Work::Little);
    if until == Until::Sft {
        return plan.stages;
    }
    if config.pairs.sources.iter().any(|share| share.source == Source::OnPolicy) {
        plan.own_answers(splits, Decoding::Greedy);
    }
    plan.add("pairs", Work::Little);
    if until == Until::Pairs {
        return plan.stages;
    }
    for (own, decoding) in [(OwnAnswers::Greedy, Decoding::Greedy), (OwnAnswers::Sampled, Decoding::Sampled)] {
        if systems.iter().any(|system| system.objective.needs().own == own) {
            plan.own_answers(splits, decoding);
        }
    }
    let mut runs = Vec::new();
    let mut tuned = Vec::new();
    tuned.extend((config.predict.threshold == ThresholdChoice::Tuned).then(|| "sft".to_owned()));
    for system in systems {
        let folders = plan.system(system, curated, count(&splits.validation));
        tuned.extend(folders.iter().filter(|_| system.threshold == ThresholdChoice::Tuned).cloned());
        runs.extend(folders);
    }
    if until == Until::Train {
        return plan.stages;
    }
    let endings: &[&str] = if config.predict.constrained { &["", "-constrained"] } else { &[""] };
    for ending in endings {
        for folder in ["sft"].into_iter().chain(runs.iter().map(String::as_str)) {
            plan.add(format!("{folder}/test{ending}"), Work::Answer { units: test });
        }
    }
    for folder in tuned {
        for list in lists(&inputs.ontology) {
            let place = format!("{folder}/thresholds/{}", list.name());
            plan.add(&*place, Work::Answer { units: count(&splits.validation) });
            plan.add(format!("{place}-curve"), Work::Little);
        }
        plan.add(format!("{folder}/test-tuned"), Work::Answer { units: test });
    }
    for name in config.predict.remote.keys() {
        plan.add(format!("remote/{name}/test"), Work::Little);
    }
    plan.add("comparison", Work::Little);
    plan.stages
}

/// Stages in the making.
struct Plan<'c> {
    config: &'c Configuration,
    stages: Vec<PlannedStage>,
}

impl Plan<'_> {
    fn add(&mut self, name: impl Into<String>, work: Work) {
        let name = name.into();
        // A scorer is trained once for all systems that need it.
        if self.stages.iter().all(|stage| stage.name != name) {
            self.stages.push(PlannedStage { name, work });
        }
    }

    fn own_answers(&mut self, splits: &super::splits::Splits, decoding: Decoding) {
        let folds = self.config.pairs.folds;
        let answers = |units: usize| match decoding {
            Decoding::Greedy => Work::Answer { units },
            Decoding::Sampled => Work::Answer { units: units * self.config.pairs.samples },
        };
        if folds == 1 {
            let work = answers(units(&splits.curated, self.config));
            return self.add(format!("pairs/own-{}", decoding.name()), work);
        }
        for (index, fold) in Fold::all(folds).enumerate() {
            let name = format!("pairs/fold-{}", index + 1);
            let seen = units(fold.seen(&splits.curated, &splits.train), self.config);
            self.add(&*name, Work::Train(Training::supervised(&self.config.sft, seen)));
            let held_out = units(fold.held_out(&splits.curated), self.config);
            self.add(format!("{name}/{}", decoding.name()), answers(held_out));
        }
    }

    /// Adds the trainings of a system, and returns the folders of those that answer the test documents.
    fn system(&mut self, system: &System, curated: usize, validation: usize) -> Vec<String> {
        let section = &self.config.preference;
        let needs = system.objective.needs();
        let contrastive = needs.weights == WeightSource::Contrastive;
        let scorer = || {
            let needs = Needs::PAIR_AND_REFERENCE;
            Work::Train(Training::preference(&section.train, curated, needs, false))
        };
        if needs.guide || contrastive {
            self.add("scorers/positive", scorer());
        }
        if contrastive {
            self.add("scorers/negative", scorer());
        }
        let work = Work::Train(Training::preference(&section.train, curated, needs, system.equal_flops));
        let folder = |rate: &str, seed: u64| format!("systems/{}/lr-{rate}/seed-{seed}", system.name);
        let shown = |rate: f64| format!("{rate:e}");
        let rate = match system.learning_rates[..] {
            [rate] => shown(rate),
            ref rates => {
                let tries: Vec<String> = rates.iter().map(|&rate| folder(&shown(rate), section.seeds[0])).collect();
                for name in tries {
                    self.add(&*name, work);
                    self.add(format!("{name}/validation"), Work::Answer { units: validation });
                }
                "*".to_owned()
            }
        };
        let mut folders = Vec::new();
        for (index, &seed) in section.seeds.iter().enumerate() {
            let name = folder(&rate, seed);
            // With several rates, that of the first seed is one of those that were tried.
            if index > 0 || rate != "*" {
                self.add(&*name, work);
            }
            folders.push(name);
        }
        folders
    }
}
