//! The training loop, the same for supervised fine-tuning and every preference objective.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_engine::{Job, TargetValues, TrainingSetup, Worker};
use tabpo_objective::{GroupLosses, Needs, Pair, PairLoss};

use crate::checkpoint::{self, State, StoredCheckpoint};
use crate::log_probs::cached;
use crate::loss::{FixedLogProbs, Member, StepLoss, normaliser};
use crate::stream::{ahead, checked};
use crate::{
    Cursor, ExampleLogProbs, ExampleSource, ExampleTargets, Observer, PreparedStep, ReferenceCache, ReferenceIdentity,
    ReferenceKey, StepPlanner, StepProgress, StepRecord, Timing, TokenisedExample, TrainError, TrainOutcome,
    TrainSettings, TrainSummary, UnusedCheckpoint,
};

/// The random stream of dropout seeds; the order of the data uses the streams numbered by epoch.
const DROPOUT_STREAM: u64 = u64::MAX;

/// The surroundings of a run: where its log-probs and state are kept, and the models it needs.
pub struct Session<'a> {
    /// Identifies the run's data and settings, as a digest or any other text: a checkpoint that was written
    /// under another identity is not used.
    pub identity: &'a str,
    /// The identities that the run would have on other devices. A checkpoint that was written there is taken up: the run
    /// goes on with other roundings.
    pub elsewhere: &'a [String],
    /// Log-probs under fixed models.
    pub cache: &'a mut ReferenceCache,
    /// Digest of the tokenizer ([`Tokenizer::digest`](tabpo_model::Tokenizer::digest)).
    pub tokenizer: [u8; 32],
    /// The checkpoint: read if it exists and belongs to this run, written according to the settings.
    pub checkpoint: Option<&'a Path>,
    /// A guide model, for objectives that need its log-probs.
    pub guide: Option<&'a mut dyn Worker>,
}

impl<'a> Session<'a> {
    /// A run without a checkpoint and without a guide.
    pub fn new(identity: &'a str, cache: &'a mut ReferenceCache, tokenizer: [u8; 32]) -> Self {
        Self { identity, elsewhere: &[], cache, tokenizer, checkpoint: None, guide: None }
    }
}

/// Trains the policy of `worker` on the examples of `source`.
///
/// The reference is the initial policy. A step is computed in micro-batches whose gradients add up to that of
/// the whole step. A run that is stopped and restarted with the same arguments and its checkpoint gives the same
/// bits as an uninterrupted one.
pub fn train<S: ExampleSource + ?Sized>(
    worker: &mut dyn Worker,
    source: &S,
    settings: &TrainSettings,
    session: Session<'_>,
    observer: &mut dyn Observer,
) -> Result<TrainOutcome, TrainError> {
    let Session { identity, elsewhere, cache, tokenizer, checkpoint, guide } = session;
    let needs = settings.objective.needs();
    let source = checked(source, needs, worker.config().vocabulary);
    worker.begin(&TrainingSetup {
        optimiser: settings.optimiser,
        recompute: settings.recompute,
        logit_bytes: settings.logit_bytes,
        divergences: needs.kl,
    })?;
    let start = ReferenceIdentity::new(&worker.identity(), &tokenizer);
    let run = settings.identity(identity, &start, source.len());
    let work = settings.work(identity, source.len());
    let elsewhere: Vec<String> = elsewhere.iter().map(|identity| settings.work(identity, source.len())).collect();
    let mut summary = TrainSummary::default();
    let mut fixed = RunLogProbs::default();
    if settings.track_reference || needs.reference {
        let found = ModelLogProbs::find(worker, start, &source, settings, cache, observer)?;
        summary.timing.reference += found.seconds;
        // A reference that is only logged is not part of the cost of the method.
        if needs.reference {
            summary.tokens.reference += found.rows;
        }
        fixed.reference = Some(found);
    }
    if needs.guide {
        let name = settings.objective.name().to_owned();
        let guide = guide.ok_or(TrainError::NoGuideModel { objective: name })?;
        let identity = ReferenceIdentity::new(&guide.identity(), &tokenizer);
        let found = ModelLogProbs::find(guide, identity, &source, settings, cache, observer)?;
        summary.timing.reference += found.seconds;
        summary.tokens.reference += found.rows;
        fixed.guide = Some(found);
    }
    cache.sync()?;

    let (cursor, labels) = (Cursor::default(), GroupLosses::default());
    let mut trainer = Trainer { worker, settings, needs, run, work, cursor, summary, labels, checkpoint };
    trainer.resume(&elsewhere, observer)?;
    let finished = trainer.run(&source, &fixed, observer)?;
    Ok(TrainOutcome { finished, summary: trainer.summary })
}

/// The log-probs of the run's examples that do not change during the run.
#[derive(Default)]
struct RunLogProbs {
    reference: Option<ModelLogProbs>,
    guide: Option<ModelLogProbs>,
}

impl RunLogProbs {
    fn of(&self, example: &TokenisedExample) -> FixedLogProbs {
        let find = |model: &ModelLogProbs| model.of(example).clone();
        FixedLogProbs { reference: self.reference.as_ref().map(find), guide: self.guide.as_ref().map(find) }
    }
}

/// The log-probs of every example of the run under one model.
struct ModelLogProbs {
    identity: ReferenceIdentity,
    examples: HashMap<ReferenceKey, ExampleLogProbs>,
    /// Rows computed with an empty cache: the cost of a run does not depend on earlier runs.
    rows: u64,
    /// Seconds spent computing.
    seconds: f64,
}

impl ModelLogProbs {
    /// Finds the log-probs of every example that the run will use, packed as in the first epoch, so that policy
    /// and reference agree to the bit at the first step.
    fn find<S: ExampleSource + ?Sized>(
        worker: &mut dyn Worker,
        identity: ReferenceIdentity,
        source: &S,
        settings: &TrainSettings,
        cache: &mut ReferenceCache,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let planner = StepPlanner::new(source, settings.plan, Cursor::default());
        let first_epoch = planner.take_while(|step| step.as_ref().map_or(true, |step| step.epoch == 0));
        std::thread::scope(|scope| {
            let mut found = Self { identity, examples: HashMap::new(), rows: 0, seconds: 0.0 };
            let mut done = 0;
            observer.reference(done);
            for step in ahead(scope, first_epoch) {
                let step = step?;
                let of_step = cached(cache, &identity, &step.micro_batches, &step.examples, |missing| {
                    let jobs: Vec<Job<'_>> = missing.iter().map(|micro| micro.job(None)).collect();
                    let started = Instant::now();
                    let values = worker.log_probs_of_all(&jobs);
                    found.seconds += started.elapsed().as_secs_f64();
                    Ok(values?)
                })?;
                for (micro, values) in step.micro_batches.iter().zip(of_step) {
                    found.rows += micro.trie.rows() as u64;
                    for (index, targets) in &micro.members {
                        let key = identity.key([&step.examples[*index]]);
                        found.examples.entry(key).or_insert_with(|| ExampleLogProbs::gather(&values, targets));
                    }
                    done += micro.members.len() as u64;
                    observer.reference(done);
                }
                if observer.should_stop() {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn of(&self, example: &TokenisedExample) -> &ExampleLogProbs {
        let found = self.examples.get(&self.identity.key([example]));
        found.expect("the log-probs of every example of the run were found before its first step")
    }
}

/// The state of a run.
struct Trainer<'a> {
    worker: &'a mut dyn Worker,
    settings: &'a TrainSettings,
    needs: Needs,
    run: String,
    work: String,
    cursor: Cursor,
    summary: TrainSummary,
    /// The moving losses of labels.
    labels: GroupLosses,
    checkpoint: Option<&'a Path>,
}

impl Trainer<'_> {
    /// Resumes from the checkpoint of this run, if there is one. A damaged checkpoint is set aside.
    fn resume(&mut self, elsewhere: &[String], observer: &mut dyn Observer) -> Result<(), TrainError> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        let ours = |state: &State| state.run == self.run || elsewhere.contains(&state.work);
        match checkpoint::read(path, ours, self.worker)? {
            StoredCheckpoint::Missing => {}
            StoredCheckpoint::Resumed(state) => {
                if state.run != self.run {
                    observer.taken_over();
                }
                self.cursor = state.cursor;
                self.summary = state.summary;
                self.labels = state.labels;
                observer.resumed(self.cursor.step);
            }
            StoredCheckpoint::OtherRun => observer.unused_checkpoint(&UnusedCheckpoint::OtherRun),
            StoredCheckpoint::Damaged(problem) => {
                let moved_to = checkpoint::set_aside(path)?;
                observer.unused_checkpoint(&UnusedCheckpoint::Damaged { problem, moved_to });
            }
        }
        Ok(())
    }

    /// Takes steps until the budget is spent (true) or the observer stops the run (false).
    fn run<S: ExampleSource + ?Sized>(
        &mut self,
        source: &S,
        fixed: &RunLogProbs,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        if observer.should_stop() {
            return Ok(false);
        }
        let planner = StepPlanner::new(source, self.settings.plan, self.cursor);
        std::thread::scope(|scope| {
            let steps = ahead(scope, planner);
            loop {
                let started = Instant::now();
                let Ok(prepared) = steps.recv() else { return Ok(true) };
                let prepared = prepared?;
                let waiting = started.elapsed().as_secs_f64();
                let record = match self.step(prepared, fixed, waiting, observer) {
                    Err(error @ TrainError::Worker(_)) => {
                        // A device that still answers gives up the state after its last step; from one that was lost,
                        // the last checkpoint is what there is.
                        if self.cursor.step > 0 {
                            let _ = self.write_checkpoint();
                        }
                        return Err(error);
                    }
                    record => record?,
                };
                observer.step(&record);
                let stop = observer.should_stop();
                let due = self.settings.checkpoint_every.is_some_and(|every| self.cursor.step.is_multiple_of(every));
                if stop || due {
                    self.write_checkpoint()?;
                }
                if stop {
                    return Ok(false);
                }
            }
        })
    }

    /// One optimiser step.
    fn step(
        &mut self,
        prepared: PreparedStep,
        fixed: &RunLogProbs,
        waiting: f64,
        observer: &mut dyn Observer,
    ) -> Result<StepRecord, TrainError> {
        let number = prepared.after.step;
        let fixed: Vec<FixedLogProbs> = prepared.examples.iter().map(|example| fixed.of(example)).collect();
        let totals = normaliser(self.needs, &prepared.examples);
        let mut timing = Timing { waiting, ..Timing::default() };
        let dropout = self.worker.uses_dropout();
        let mut seeds = ChaCha8Rng::seed_from_u64(self.settings.plan.seed);
        seeds.set_stream(DROPOUT_STREAM);
        seeds.set_word_pos(u128::from(number) << 32);
        let jobs: Vec<Job<'_>> =
            prepared.micro_batches.iter().map(|micro| micro.job(dropout.then(|| seeds.next_u64()))).collect();

        // A worker may compute micro-batches in any order; their results are summed in order.
        let evaluations: Vec<OnceLock<Evaluation>> = jobs.iter().map(|_| OnceLock::new()).collect();
        let tolerance = (number == 1 && !dropout).then(|| self.worker.tolerance());
        let (objective, labels) = (&self.settings.objective, &self.labels);
        let output_gradient = |job: usize, values: &TargetValues| {
            let mut gradient = values.zeros_like();
            let mut evaluation = Evaluation::default();
            for (index, targets) in &prepared.micro_batches[job].members {
                let member = Member {
                    example: &prepared.examples[*index],
                    differences: &prepared.differences[*index],
                    targets,
                    fixed: &fixed[*index],
                    labels,
                };
                member.evaluate(objective, &totals, values, &mut gradient, &mut evaluation.pairs);
                if tolerance.is_some() {
                    let found = distance_from_reference(values, targets, &fixed[*index]);
                    evaluation.distance = evaluation.distance.max(found);
                }
            }
            // Called once per job.
            evaluations[job].get_or_init(|| evaluation);
            gradient
        };
        self.worker.clear_gradient()?;
        let started = Instant::now();
        let mut progress = |done: usize| {
            let rows = jobs.iter().take(done).map(|job| job.batch.tokens.len()).sum::<usize>() as f64;
            observer.micro_batches(&StepProgress {
                step: number,
                done,
                total: jobs.len(),
                tokens_per_second: (done > 0).then(|| rows / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)),
            });
        };
        progress(0);
        let jobs_timing = self.worker.accumulate(&jobs, &output_gradient, &mut progress)?;
        timing.reference += jobs_timing.reference;
        timing.forward += jobs_timing.forward;
        timing.objective += jobs_timing.output_gradient;
        timing.backward += jobs_timing.backward;

        let done = |evaluation: OnceLock<Evaluation>| {
            evaluation.into_inner().expect("a worker calls for the output gradient of every job")
        };
        let evaluations: Vec<Evaluation> = evaluations.into_iter().map(done).collect();
        let mut sums = StepLoss::default();
        for evaluation in &evaluations {
            // At the first step the policy is its own reference: a difference beyond rounding means that
            // the cached reference belongs to another model.
            if tolerance.is_some_and(|tolerance| evaluation.distance > tolerance) {
                return Err(TrainError::ReferenceMismatch { difference: evaluation.distance });
            }
            for (pair, loss) in &evaluation.pairs {
                sums.add(pair, loss);
            }
        }
        if !sums.loss.is_finite() {
            return Err(TrainError::Diverged { step: number, what: "loss" });
        }

        let started = Instant::now();
        let gradient_norm = self.worker.gradient_norm()?;
        if !gradient_norm.is_finite() {
            return Err(TrainError::Diverged { step: number, what: "gradient" });
        }
        let factor =
            self.settings.clip.filter(|&limit| gradient_norm > limit).map_or(1.0, |limit| limit / gradient_norm);
        let learning_rate = self.settings.schedule.learning_rate(prepared.progress);
        self.worker.step(learning_rate, factor)?;
        if let Some(grouping) = objective.grouping() {
            let pairs = evaluations.iter().flat_map(|evaluation| &evaluation.pairs);
            self.labels.observe(grouping, pairs.map(|(pair, _)| &pair.chosen));
        }
        timing.optimiser += started.elapsed().as_secs_f64();

        let tokens = prepared.after.tokens - self.cursor.tokens;
        self.cursor = prepared.after;
        self.summary.steps = number;
        self.summary.examples += prepared.examples.len() as u64;
        self.summary.skipped = prepared.after.skipped;
        self.summary.tokens.trained = prepared.after.tokens;
        if self.needs.kl {
            self.summary.tokens.reference += tokens;
        }
        self.summary.tokens.separate +=
            prepared.micro_batches.iter().map(|micro| micro.trie.separate_rows() as u64).sum::<u64>();
        self.summary.timing.add(&timing);

        let mean = |sum: f64| self.needs.pairs().then(|| sum / totals.pairs);
        Ok(StepRecord {
            step: number,
            epoch: prepared.epoch,
            progress: prepared.progress,
            loss: sums.loss,
            preference: sums.preference,
            decision: sums.decision,
            likelihood: sums.likelihood,
            barrier: sums.barrier,
            learning_rate,
            gradient_norm,
            examples: prepared.examples.len() as u64,
            margin: mean(sums.margin),
            accuracy: mean(sums.correct),
            roles: sums.accounting.summary(),
            erosion: sums.accounting.erosion(),
            tokens,
            tokens_per_second: tokens as f64 / timing.total().max(f64::MIN_POSITIVE),
            skipped: prepared.skipped,
            timing,
        })
    }

    fn write_checkpoint(&self) -> Result<(), TrainError> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        let (cursor, summary, labels) = (self.cursor, self.summary, self.labels.clone());
        let state = State { run: self.run.clone(), work: self.work.clone(), cursor, summary, labels };
        checkpoint::write(path, &state, self.worker.export()?)
    }
}

/// The objective's results for a micro-batch.
#[derive(Default)]
struct Evaluation {
    pairs: Vec<(Pair, PairLoss)>,
    /// Largest distance of a log-prob from the reference's; measured at the first step only.
    distance: f64,
}

/// The largest difference between the log-probs of an example's tokens and those of the reference, in nats.
fn distance_from_reference(values: &TargetValues, targets: &ExampleTargets, fixed: &FixedLogProbs) -> f64 {
    let Some(reference) = &fixed.reference else { return 0.0 };
    let policy = ExampleLogProbs::gather(&values.log_probs, targets);
    let pairs =
        std::iter::once((&policy.chosen, &reference.chosen)).chain(policy.rejected.iter().zip(&reference.rejected));
    pairs.flat_map(|(p, q)| p.iter().zip(q)).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max)
}
