//! A look ahead: what a run would find out late, found out before it starts.
//!
//! Nothing is written to the run directory. What stands in the way of good results is a problem; what is worth knowing
//! is a note.

mod documents;
mod example;
mod lengths;
mod model;
mod speed;

use std::path::PathBuf;

use serde::Serialize;

use self::{documents::Documents, model::Start};
pub use self::{
    documents::{LabelKind, LabelRow, Leak, SplitRow},
    example::{ExamplePiece, ShownExample},
    lengths::LengthRow,
    speed::Speed,
};
use super::{
    Until,
    pipeline::{Inputs, Pipeline},
    plan::{PlannedStage, Work, plan},
    preflight,
};
use crate::{error::Error, memory, observer::Observer};

/// What a look ahead shows.
#[derive(Clone, Debug, Serialize)]
pub struct Checkup {
    /// The name of the run.
    pub name: String,
    /// The run directory.
    pub directory: PathBuf,
    /// The documents of each split.
    pub splits: Vec<SplitRow>,
    /// How often each label occurs in each split, in the order of [`Checkup::splits`].
    pub labels: Vec<LabelRow>,
    /// Texts that are in two splits.
    pub leaks: Vec<Leak>,
    /// Lengths in tokens.
    pub lengths: Vec<LengthRow>,
    /// The memory of each training.
    pub memory: Vec<MemoryRow>,
    /// The device that would compute, in words.
    pub device: String,
    /// Bytes of the device's memory that are free, as far as that is known.
    pub free_memory: Option<usize>,
    /// The stages in their order, each with an estimate of its time.
    pub stages: Vec<StageRow>,
    /// The speeds from which times are estimated; `None` if nothing was measured.
    pub speed: Option<Speed>,
    /// An example of supervised fine-tuning as the model sees it.
    pub example: Option<ShownExample>,
    /// What stands in the way of good results.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// The memory of a training.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryRow {
    /// The section of the configuration.
    pub section: &'static str,
    /// Most bytes, with as much kept between the passes as the limit allows.
    pub most: usize,
    /// Bytes with everything computed again that can be.
    pub least: usize,
}

/// A stage and its time.
#[derive(Clone, Debug, Serialize)]
pub struct StageRow {
    /// The stage.
    #[serde(flatten)]
    pub stage: PlannedStage,
    /// Estimated seconds; `None` without a measurement, and for what takes seconds in any case.
    pub seconds: Option<f64>,
}

impl Checkup {
    /// Estimated seconds of the whole run.
    pub fn seconds(&self) -> Option<f64> {
        self.speed?;
        Some(self.stages.iter().filter_map(|row| row.seconds).sum())
    }
}

/// What a training has to compute.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// The stage's name.
    pub stage: String,
    /// The section of the configuration that says how to train.
    pub section: &'static str,
    /// Steps; of a training for as many FLOPs as the dearest other, unknown before.
    pub steps: Option<u64>,
    /// Rows of a step, on average.
    pub rows: f64,
    /// Rows with targets among them.
    pub target_rows: f64,
    /// The mean number of rows that a row sees.
    pub context: f64,
    /// Whether a pass of the reference comes first.
    pub reference: bool,
}

impl Pipeline {
    /// What each training of the run has to compute, from the lengths of the training documents in tokens.
    pub fn loads(&self, observer: &dyn Observer) -> Result<Vec<Load>, Error> {
        let inputs = &self.inputs;
        let start = Start::of(inputs, observer)?;
        let format = start.renderer.format()?;
        let lengths = lengths::Lengths::measure(inputs, &format, start.window()?)?;
        let stages = plan(inputs, Until::Report);
        let load = |(index, training): (usize, &super::plan::Training)| {
            let stage = stages[index].name.clone();
            let section = match stage.as_str() {
                "warmup" => "warmup.train",
                _ if stage.starts_with("systems/") => "preference.train",
                _ => "sft",
            };
            Load {
                section,
                steps: training.steps,
                rows: speed::rows_of_step(training, &lengths, &inputs.config),
                target_rows: speed::target_rows_of_step(training, &lengths, &inputs.config),
                context: f64::midpoint(lengths.mean_prompt, lengths.mean_answer),
                reference: training.reference,
                stage,
            }
        };
        Ok(trainings(&stages).map(load).collect())
    }

    /// The training sections of the configuration: their names, the most tokens of a pass, and whether an objective needs
    /// divergences from the reference.
    pub fn trained_sections(&self) -> Vec<(&'static str, usize, bool)> {
        let sections = preflight::trained_sections(&self.inputs.config, &self.inputs.systems);
        sections.into_iter().map(|(name, section, divergence)| (name, section.max_tokens, divergence)).collect()
    }

    /// The memory of every training section on the CPU.
    pub fn memory_plans(&self, observer: &dyn Observer) -> Result<Vec<preflight::SectionPlan>, Error> {
        preflight::plans(&self.inputs.config, &self.inputs.systems, observer)
    }

    /// The model's shape.
    pub fn shape(&self) -> Result<tabpo_model::ModelConfig, Error> {
        Ok(preflight::shape(&self.inputs.config)?.0)
    }

    /// The configuration as resolved.
    pub fn configuration(&self) -> &crate::config::Configuration {
        &self.inputs.config
    }

    /// Looks ahead at the run. With `measure`, a training step and a few answers are timed on this machine, which takes
    /// about as long as they do.
    pub fn check(&self, measure: bool, observer: &dyn Observer) -> Result<Checkup, Error> {
        let inputs = &self.inputs;
        let config = &inputs.config;
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        let documents = Documents::count(inputs);
        documents.judge(inputs, &mut problems, &mut notes);
        let start = Start::of(inputs, observer)?;
        let format = start.renderer.format()?;
        let lengths = lengths::Lengths::measure(inputs, &format, start.window()?)?;
        lengths.judge(&mut problems, &mut notes);
        let device = self.device()?;
        let of_card = device.memory()?;
        let memory = preflight::rows(config, &inputs.systems, of_card, observer)?;
        let words = device.words().unwrap_or_else(|| "the CPU".to_owned());
        let example = example::shown(inputs, &start.renderer, &format)?;
        let speed = if measure { Some(speed::measure(inputs, &start, &format, &device, observer)?) } else { None };
        let planned = plan(inputs, Until::Report);
        let times = speed.as_ref().map(|speed| speed::times(&planned, speed, &lengths, config));
        let mut times = times.into_iter().flatten();
        let stages = planned.into_iter().map(|stage| StageRow { stage, seconds: times.next().flatten() }).collect();
        Ok(Checkup {
            name: config.run.name.clone(),
            directory: self.directory(),
            splits: documents.splits,
            labels: documents.labels,
            leaks: documents.leaks,
            lengths: lengths.rows,
            memory,
            device: words,
            free_memory: of_card.map_or_else(memory::free_bytes, |bytes| Some(bytes as usize)),
            stages,
            speed,
            example,
            problems,
            notes,
        })
    }

    /// The run directory.
    pub fn directory(&self) -> PathBuf {
        self.inputs.config.run.directory()
    }
}

/// The trainings among some stages.
fn trainings(stages: &[PlannedStage]) -> impl Iterator<Item = (usize, &super::plan::Training)> {
    stages.iter().enumerate().filter_map(|(index, stage)| match &stage.work {
        Work::Train(training) => Some((index, training)),
        _ => None,
    })
}
