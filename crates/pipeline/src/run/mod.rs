//! The stages of a run, each of which is skipped if it is up to date.

mod annotate;
mod answering;
mod answers;
mod checkup;
mod comparison;
mod compute;
mod confidence;
mod device;
mod digests;
mod directory;
mod examples;
mod finished;
mod inputs;
mod ledger;
mod own_answers;
mod own_examples;
mod page;
mod pipeline;
mod plan;
mod policy;
mod prediction;
mod preflight;
mod preparation;
mod progress;
#[cfg(test)]
mod random;
mod ranks;
mod record;
mod remote;
mod splits;
mod systems;
mod threshold;
mod training;
mod tuning;
mod variants;

use std::path::PathBuf;

use tabpo_engine::Compute;

use self::{directory::RunDirectory, ledger::Ledger, own_answers::Fold, pipeline::Inputs, record::RunRecord};
use crate::{device::LazyDevice, error::Error, observer::Observer};

pub(crate) use self::preflight::weight_files;
pub use self::{
    annotate::Annotated,
    checkup::{
        Checkup, ExamplePiece, LabelKind, LabelRow, Leak, LengthRow, Load, MemoryRow, ShownExample, Speed, SplitRow,
        StageRow,
    },
    comparison::SystemScores,
    confidence::{AnswerConfidence, confidences},
    finished::SystemAnswers,
    page::unfinished_page,
    pipeline::{Pipeline, RunResult, Until},
    plan::{PlannedStage, Training, Work},
    policy::{PROMPT_DATE, PolicyFolder, Renderer, SEPARATOR, TemplateChoice},
    prediction::Prediction,
    preflight::SectionPlan,
    ranks::{Lead, follow},
    record::Program,
    threshold::{ListEnds, Thresholds},
    training::CARD_LOGIT_BYTES,
    tuning::{ThresholdCurve, ThresholdPoint, TunedSystem, tune},
};

/// At most this many of the items that are left out are named one by one; their number is always reported.
pub const NAMED: usize = 20;

/// Runs the stages: they read the inputs and write to the run directory and its ledger.
struct Stages<'a> {
    inputs: &'a Inputs,
    observer: &'a dyn Observer,
    directory: RunDirectory,
    ledger: Ledger,
    /// When, where and by what the run was begun.
    record: RunRecord,
    /// How products with frozen weights are computed.
    compute: Compute,
    /// Where policies are trained and answer.
    device: LazyDevice,
    /// The other processes that train along, if there are any.
    ranks: Option<&'a Lead>,
    /// The digest of the base model. That of a model from scratch is known once the model has been made.
    base_digest: String,
}

impl Stages<'_> {
    fn run(&mut self, until: Until) -> Result<RunResult, Error> {
        let config = &self.inputs.config;
        let systems = &self.inputs.systems;
        self.observer.plan(&plan::plan(self.inputs, until));
        self.say_counts();
        let base = self.base_stage()?;
        self.base_digest.clone_from(&base.digest);
        let template = config.model.chat_template.as_deref();
        let renderer = Renderer::open(&base.path, &self.inputs.ontology, config.answer.form, template, self.observer)?;
        let start = self.warmup_stage(&base, &renderer)?;
        let sft = self.sft_stage(&start, &renderer)?;
        let directory = self.directory.root().to_owned();
        let ended = |output, scores| RunResult { directory, output, scores };
        let modes = self.error_stage(&sft, &renderer)?;
        if until == Until::Sft {
            return Ok(ended(self.stage_folder("sft"), None));
        }
        let pairs = self.pair_stage(&start, &sft, &renderer, &modes)?;
        if until == Until::Pairs {
            return Ok(ended(pairs.path, None));
        }
        let trained = self.system_stages(systems, &start, &sft, &pairs, &renderer)?;
        if until == Until::Train {
            return Ok(ended(self.stage_folder("systems"), None));
        }
        let compared = self.comparison_stage(systems, &sft, &trained, &renderer)?;
        let page = self.write_page(systems, &trained, &pairs, &compared)?;
        Ok(ended(page, Some(compared.scores)))
    }

    fn stage_folder(&self, name: &str) -> PathBuf {
        self.directory.root().join(name)
    }

    /// The run's log of training steps.
    fn log(&self) -> PathBuf {
        self.directory.root().join("metrics.jsonl")
    }

    /// The cache of reference log-probs that all systems share.
    fn cache(&self) -> Result<PathBuf, Error> {
        self.directory.path("reference/log-probs.bin")
    }
}

/// The documents to predict, and how to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The validation documents.
    Validation,
    /// The curated documents, for on-policy negatives.
    Curated,
    /// The curated documents that one fold holds out.
    CuratedFold(Fold),
    /// The test documents.
    Test,
    /// The test documents, constrained by the ontology's grammar.
    TestConstrained,
}

/// The result of a stage: where it is, and a digest of its content.
#[derive(Clone)]
struct Artefact<T> {
    path: T,
    digest: String,
}

/// The policy that a stage has trained.
type Trained = Artefact<PolicyFolder>;
