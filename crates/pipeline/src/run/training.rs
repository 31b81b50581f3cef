//! A training stage: takes settings from the configuration, reports and logs progress, and writes the policy.

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};
use tabpo_engine::{AdamWConfig, Lora, Policy};
use tabpo_objective::Objective;
use tabpo_ranks::Ranks;
use tabpo_report::MetricsLog;
use tabpo_train::{
    BatchPlan, ExampleSource, Observer, ReferenceCache, Schedule, Session, StepProgress, StepRecord, TrainBudget,
    TrainSettings, TrainSummary, UnusedCheckpoint, largest_micro_batch, train,
};

use super::{
    NAMED,
    directory::{remove_if_there, write_atomically},
    inputs::{Key, Recipe},
    policy::{self, PolicyFolder, Renderer},
    ranks::{Lead, Opening},
};
use crate::{
    config::AdapterSection,
    device::DeviceWorker,
    error::{Error, ResultExt},
    memory,
    observer::{Observer as RunObserver, Progress},
};

/// What a training stage does.
pub(crate) struct Job<'a> {
    /// The stage's name.
    pub name: &'a str,
    /// The digest of the stage's inputs. A checkpoint with another one is not resumed.
    pub key: &'a Key,
    /// How to train.
    pub recipe: Recipe<'a>,
    /// The policy to start from, which is also the reference.
    pub start: &'a PolicyFolder,
    /// The other processes that train along, if there are any.
    pub ranks: Option<&'a Lead>,
    /// What to minimise.
    pub objective: &'a Objective,
    /// A guide model, for objectives that need its log-probs.
    pub guide: Option<&'a PolicyFolder>,
    /// Tokens that were generated for the training and count among its cost.
    pub generated: u64,
    /// Whether the log compares log-probs with those at the start.
    pub track_reference: bool,
    /// The folder for the trained policy, its report and its checkpoint.
    pub out: &'a Path,
    /// The run's log.
    pub log: &'a Path,
    /// The run's cache of reference log-probs.
    pub cache: &'a Path,
}

/// The report of a finished training stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrainingReport {
    /// Objective with every hyper-parameter.
    pub objective: Objective,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps, tokens, seconds.
    pub summary: TrainSummary,
}

/// The file of the [`TrainingReport`] in a stage's folder.
pub(crate) const REPORT_FILE: &str = "training.json";
/// The folder of the trained policy in a stage's folder.
pub(crate) const POLICY_FOLDER: &str = "policy";

/// Bytes of logits that a card computes at a time.
pub const CARD_LOGIT_BYTES: usize = 512 << 20;

impl Job<'_> {
    /// Trains, or resumes from the checkpoint of an interrupted attempt.
    pub(crate) fn run(
        &self,
        source: &dyn ExampleSource,
        renderer: &Renderer,
        observer: &dyn RunObserver,
    ) -> Result<(), Error> {
        let held = memory::held(observer);
        let sharing = self.ranks.map_or(1, Lead::on_this_machine);
        let limit = memory::limit(self.recipe.section.memory_gb, held, sharing);
        let computer = self.recipe.device.open(observer)?;
        let (adapter, seed, card) = (self.recipe.adapter, self.recipe.seed, computer.is_card());
        if let Some(lead) = self.ranks {
            lead.open(&Opening { start: self.start.clone(), adapter: adapter.cloned(), seed, card })?;
        }
        let policy = open_policy(self.start, adapter, seed, card)?;
        let mut worker = computer.worker(policy)?;
        let mut guide = match self.guide {
            None => None,
            Some(guide) if computer.is_card() || guide.adapter.is_some() => Some(guide.worker_on(computer)?),
            Some(guide) => Some(computer.worker(Policy::full(guide.open_trainable()?.0))?),
        };
        let mut settings = self.settings();
        if computer.is_card() {
            settings.logit_bytes = CARD_LOGIT_BYTES;
        }
        let needs = self.objective.needs();
        let request = memory::request(
            largest_micro_batch(source, &settings.plan, needs, worker.worker().config().vocabulary),
            settings.logit_bytes,
            needs.kl,
            guide.as_ref().map_or(0, DeviceWorker::host_bytes),
            held,
        );
        if computer.is_card() {
            let smallest = worker.worker().memory(&request, Some(0));
            memory::say_of_card(self.name, &smallest, observer);
        } else {
            let plan = worker.worker().memory(&request, limit);
            let smallest = worker.worker().memory(&request, Some(0));
            memory::say(self.name, &plan, &smallest, self.recipe.section.memory_gb, observer);
            settings.recompute = plan.recompute;
        }
        std::fs::create_dir_all(self.out).or_failed()?;
        let checkpoint = self.out.join("checkpoint");
        let mut cache = ReferenceCache::open(self.cache).or_failed()?;
        if cache.damaged_bytes() > 0 {
            observer.warn(&format!("{}: {} damaged bytes skipped", self.cache.display(), cache.damaged_bytes()));
        }
        let mut watch = Watch::new(self, source.len() as u64, observer);
        let session = Session {
            elsewhere: self.key.elsewhere(),
            checkpoint: Some(&checkpoint),
            guide: guide.as_mut().map(DeviceWorker::worker),
            ..Session::new(self.key.as_str(), &mut cache, renderer.tokenizer.digest())
        };
        let outcome = match self.ranks {
            None => train(worker.worker(), source, &settings, session, &mut watch),
            Some(lead) => train(&mut Ranks::new(worker.worker(), lead.links()), source, &settings, session, &mut watch),
        };
        let outcome = outcome.or_failed()?;
        watch.finish()?;
        if let Some(bytes) = memory::peak_resident_bytes() {
            observer.say(&format!("{}: peak memory {:.0} MB", self.name, memory::megabytes(bytes as usize)));
        }
        if !outcome.finished {
            let steps = outcome.summary.steps;
            return Err(Error::interrupted(format!("stopped after step {steps}, which is saved"))
                .with_hint("run the same command again to resume"));
        }
        if outcome.summary.skipped > 0 {
            let count = outcome.summary.skipped;
            observer.warn(&format!(
                "{}: {count} times an example was skipped that is longer than max_length or the model's context",
                self.name
            ));
        }
        // Files of an earlier policy, which may have another form, must not remain among this one's.
        let folder = self.out.join(POLICY_FOLDER);
        remove_if_there(&folder)?;
        policy::save(&worker.into_policy()?, self.start, renderer, &folder)?;
        let mut summary = outcome.summary;
        // A generated token takes a forward pass, like one of a reference.
        summary.tokens.reference += self.generated;
        let (objective, learning_rate) = (self.objective.clone(), self.recipe.learning_rate);
        let report = TrainingReport { objective, learning_rate, summary };
        let text = serde_json::to_vec_pretty(&report).expect("a report is plain data with string keys");
        write_atomically(&self.out.join(REPORT_FILE), &text)?;
        // The policy is complete, so its checkpoint is no longer needed, nor is a damaged one that was set aside.
        remove_if_there(&self.out.join("checkpoint.damaged"))?;
        remove_if_there(&checkpoint)
    }

    fn settings(&self) -> TrainSettings {
        let section = self.recipe.section;
        let plan = BatchPlan {
            batch_size: section.batch_size,
            max_tokens: section.max_tokens,
            seed: self.recipe.seed,
            budget: self.recipe.budget,
        };
        let (warmup, decay) = (section.warmup, section.schedule);
        let schedule = Schedule { peak: self.recipe.learning_rate, warmup, decay, floor: 0.0 };
        TrainSettings {
            optimiser: AdamWConfig { weight_decay: section.weight_decay, ..AdamWConfig::default() },
            clip: Some(section.clip),
            checkpoint_every: Some(section.checkpoint_every as u64),
            track_reference: self.track_reference,
            ..TrainSettings::new(self.objective.clone(), plan, schedule)
        }
    }
}

/// The policy of a training: the one at `start`, with the adapter that is trained, if any, which `seed` makes unless there
/// is one.
pub(super) fn open_policy(
    start: &PolicyFolder,
    adapter: Option<&AdapterSection>,
    seed: u64,
    card: bool,
) -> Result<Policy<f32>, Error> {
    let frozen = adapter.is_some() || start.adapter.is_some();
    // A card rounds weights itself.
    let (model, existing) = if frozen && !card { start.open()? } else { start.open_trainable()? };
    // An existing adapter is trained further, with its own settings: without it, policy and reference would be another
    // model.
    Ok(match (existing, adapter) {
        (Some(mut existing), section) => {
            if let Some(section) = section {
                existing.config.dropout = section.dropout;
            }
            Policy::adapter(model.into(), existing)
        }
        (None, Some(section)) => {
            let adapter = Lora::initialise(&model.config, section.lora(), seed);
            Policy::adapter(model.into(), adapter)
        }
        (None, None) => Policy::full(model),
    })
}

/// Reports and logs the progress of a training.
struct Watch<'a> {
    stage: &'a str,
    log_path: &'a Path,
    log: Option<MetricsLog>,
    error: Option<Error>,
    observer: &'a dyn RunObserver,
    reference: Option<Box<dyn Progress>>,
    examples: u64,
    progress: Option<Box<dyn Progress>>,
    budget: TrainBudget,
    /// How much of the budget is spent, in steps or in per cent.
    done: u64,
    resumed: u64,
    /// The numbers of the examples that were named as too long.
    too_long: BTreeSet<usize>,
}

/// A training step in the run's log.
#[derive(Serialize)]
struct LoggedStep<'a> {
    stage: &'a str,
    #[serde(flatten)]
    record: &'a StepRecord,
}

impl<'a> Watch<'a> {
    fn new(job: &Job<'a>, examples: u64, observer: &'a dyn RunObserver) -> Self {
        Self {
            stage: job.name,
            log_path: job.log,
            log: None,
            error: None,
            observer,
            reference: None,
            examples,
            progress: None,
            budget: job.recipe.budget,
            done: 0,
            resumed: 0,
            too_long: BTreeSet::new(),
        }
    }

    fn log(&mut self, record: &StepRecord) -> Result<(), Error> {
        if self.log.is_none() {
            // What this stage logged after its checkpoint is dropped, and if it does not resume, all it logged before.
            let (stage, resumed) = (self.stage, self.resumed);
            let keep = |record: &tabpo_report::Record| {
                record.fields.get("stage").and_then(|name| name.as_str()) != Some(stage)
                    || record.step().is_some_and(|step| step <= resumed)
            };
            let log = MetricsLog::resume(self.log_path, keep).or_failed()?;
            if !log.damaged().is_empty() {
                let moved_to = tabpo_report::damaged_path(self.log_path);
                self.observer.warn(&format!(
                    "{}, moved to {}",
                    damaged_lines(self.log_path, log.damaged()),
                    moved_to.display()
                ));
            }
            self.log = Some(log);
        }
        let log = self.log.as_mut().expect("opened above");
        log.append("step", &LoggedStep { stage: self.stage, record }).or_failed()?;
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        for progress in [self.reference, self.progress].into_iter().flatten() {
            drop(progress);
        }
        if let Some(log) = self.log {
            log.sync().or_failed()?;
        }
        self.error.map_or(Ok(()), Err)
    }
}

impl Watch<'_> {
    /// The progress of the training: steps where the budget is in steps, and otherwise per cent of the budget.
    fn bar(&mut self) -> &mut dyn Progress {
        let (observer, stage, budget) = (self.observer, self.stage, self.budget);
        let bar = self.progress.get_or_insert_with(|| match budget {
            TrainBudget::Steps(steps) => observer.progress(stage, steps),
            TrainBudget::Epochs(_) | TrainBudget::Tokens(_) => observer.progress(&format!("{stage} (%)"), 100),
        });
        bar.as_mut()
    }

    /// The number of a step, where the progress doesn't say it.
    fn number(&self, step: u64) -> String {
        if matches!(self.budget, TrainBudget::Steps(_)) { String::new() } else { format!("step {step}, ") }
    }
}

impl Observer for Watch<'_> {
    fn resumed(&mut self, step: u64) {
        self.resumed = step;
        self.observer.say(&format!("{}: goes on after step {step}", self.stage));
    }

    fn taken_over(&mut self) {
        self.observer.say(&format!("{}: takes up the checkpoint of another device", self.stage));
    }

    fn unused_checkpoint(&mut self, checkpoint: &UnusedCheckpoint) {
        match checkpoint {
            UnusedCheckpoint::OtherRun => self
                .observer
                .say(&format!("{}: starts over: the checkpoint was made with other data or settings", self.stage)),
            UnusedCheckpoint::Damaged { problem, moved_to } => self.observer.warn(&format!(
                "{}: starts over: the checkpoint is damaged ({problem}) and was moved to {}",
                self.stage,
                moved_to.display()
            )),
        }
    }

    fn reference(&mut self, done: u64) {
        let (observer, stage, examples) = (self.observer, self.stage, self.examples);
        let bar = self.reference.get_or_insert_with(|| observer.progress(&format!("{stage}: reference"), examples));
        bar.update(done, "");
    }

    fn micro_batches(&mut self, progress: &StepProgress) {
        self.reference = None;
        let StepProgress { step, done, total, tokens_per_second } = *progress;
        // After the last one, the message of the step follows.
        if done < total {
            let speed = tokens_per_second.map_or(String::new(), |speed| format!(", {speed:.0} tokens/s"));
            let note = format!("{}micro-batch {} of {total}{speed}", self.number(step), done + 1);
            let spent = self.done;
            self.bar().update(spent, &note);
        }
    }

    fn step(&mut self, record: &StepRecord) {
        self.reference = None;
        let (observer, stage) = (self.observer, self.stage);
        for (id, tokens, number) in &record.skipped {
            if self.too_long.len() < NAMED && self.too_long.insert(*number) {
                observer.warn(&format!(
                    "{stage}: example {number} (`{id}`) has {tokens} tokens with its answer, more than max_length or \
                     the model's context: skipped"
                ));
            }
        }
        self.done = match self.budget {
            TrainBudget::Steps(_) => record.step,
            TrainBudget::Epochs(_) | TrainBudget::Tokens(_) => (record.progress * 100.0) as u64,
        };
        let note =
            format!("{}loss {:.4}, {:.0} tokens/s", self.number(record.step), record.loss, record.tokens_per_second);
        let spent = self.done;
        self.bar().update(spent, &note);
        if self.error.is_none() {
            self.error = self.log(record).err();
        }
    }

    fn should_stop(&self) -> bool {
        self.error.is_some() || self.observer.interrupted()
    }
}

/// The message about damaged lines of a log.
pub(crate) fn damaged_lines(path: &Path, lines: &[usize]) -> String {
    let numbers = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (lines, are) = if lines.len() == 1 { ("line", "is damaged and") } else { ("lines", "are damaged and") };
    format!("{}: {lines} {numbers} {are} skipped", path.display())
}

/// A seed for one purpose, derived from the run's seed, so that the random numbers of one stage never depend on those of
/// another.
pub(crate) fn derived_seed(seed: u64, purpose: &str) -> u64 {
    let digest = blake3::hash(format!("{seed} {purpose}").as_bytes());
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
}
