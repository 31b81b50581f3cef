//! The loop: one for supervised fine-tuning and for every preference objective.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_engine::{Job, TargetValues, TrainingSetup, Worker};
use tabpo_objective::{Needs, Pair, PairLoss};

use crate::checkpoint::{self, Found, State};
use crate::log_probs::cached;
use crate::loss::{Fixed, Member, StepLoss, normaliser};
use crate::stream::{ahead, checked};
use crate::{
    Cursor, ExampleLogProbs, ExampleSource, ExampleTargets, Observer, PreparedStep, ReferenceCache, ReferenceIdentity,
    ReferenceKey, StepPlanner, StepRecord, Timing, TokenisedExample, TrainError, TrainOutcome, TrainSettings,
    TrainSummary, UnusedCheckpoint,
};

/// Stream of the random generator that dropout seeds come from; the order of the data uses the
/// streams of the epochs' numbers.
const DROPOUT_STREAM: u64 = u64::MAX;

/// What a run shares with others: where log-probs and its state are kept.
pub struct Session<'a> {
    /// What decides the run's data and settings, as a digest or any other text: a checkpoint that was
    /// made under another identity is not taken up.
    pub identity: &'a str,
    /// Log-probs that do not change; see [`ReferenceCache::in_memory`] and [`ReferenceCache::open`].
    pub cache: &'a mut ReferenceCache,
    /// Digest of the tokenizer ([`Tokenizer::digest`](tabpo_model::Tokenizer::digest)).
    pub tokenizer: [u8; 32],
    /// The checkpoint: read if it is there and of this run, written as the settings ask.
    pub checkpoint: Option<&'a Path>,
    /// A guide model, for objectives that need its log-probs.
    pub guide: Option<&'a mut dyn Worker>,
}

/// Trains the policy of `worker` on the examples of `source`.
///
/// The reference is the policy as it is given. A step is computed in micro-batches whose gradients
/// add up to that of the step in one piece. A run that is stopped and started again with the same
/// arguments and its checkpoint gives the same bits as one that was not.
pub fn train<S: ExampleSource + ?Sized>(
    worker: &mut dyn Worker,
    source: &S,
    settings: &TrainSettings,
    session: Session<'_>,
    observer: &mut dyn Observer,
) -> Result<TrainOutcome, TrainError> {
    let Session { identity, cache, tokenizer, checkpoint, guide } = session;
    let needs = settings.objective.needs();
    let source = checked(source, needs.rejected, worker.config().vocabulary);
    worker.begin(&TrainingSetup {
        optimiser: settings.optimiser,
        recompute: settings.recompute,
        logit_bytes: settings.logit_bytes,
        divergences: needs.kl,
    })?;
    let start = ReferenceIdentity::new(&worker.identity(), &tokenizer);
    let run = settings.identity(identity, &start, source.len());
    let mut summary = TrainSummary::default();
    let mut known = Known::default();
    if settings.track_reference || needs.reference {
        let found = FixedLogProbs::find(worker, start, &source, settings, cache, observer)?;
        summary.timing.reference += found.seconds;
        // What is asked for by the log alone is no part of what the method costs.
        if needs.reference {
            summary.tokens.reference += found.rows;
        }
        known.start = Some(found);
    }
    if needs.guide {
        let name = settings.objective.name().to_owned();
        let guide = guide.ok_or(TrainError::NoGuideModel { objective: name })?;
        let identity = ReferenceIdentity::new(&guide.identity(), &tokenizer);
        let found = FixedLogProbs::find(guide, identity, &source, settings, cache, observer)?;
        summary.timing.reference += found.seconds;
        summary.tokens.reference += found.rows;
        known.guide = Some(found);
    }
    cache.sync()?;

    let mut trainer = Trainer { worker, settings, needs, run, cursor: Cursor::default(), summary, checkpoint };
    trainer.resume(observer)?;
    let finished = trainer.run(&source, &known, observer)?;
    Ok(TrainOutcome { finished, summary: trainer.summary })
}

/// Log-probs that do not change during the run.
#[derive(Default)]
struct Known {
    start: Option<FixedLogProbs>,
    guide: Option<FixedLogProbs>,
}

impl Known {
    fn of(&self, example: &TokenisedExample) -> Fixed {
        let find = |known: &FixedLogProbs| known.of(example).clone();
        Fixed { reference: self.start.as_ref().map(find), guide: self.guide.as_ref().map(find) }
    }
}

/// The log-probs of every example of the run under one model.
struct FixedLogProbs {
    identity: ReferenceIdentity,
    examples: HashMap<ReferenceKey, ExampleLogProbs>,
    /// Rows that they take with an empty cache: what a run costs does not depend on what was run before it.
    rows: u64,
    /// Seconds that they took.
    seconds: f64,
}

impl FixedLogProbs {
    /// Those of every example that the run will use, packed as the first epoch will be, so that policy and
    /// reference agree to the bit at the first step.
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
            for step in ahead(scope, first_epoch) {
                let step = step?;
                for micro in &step.micro_batches {
                    found.rows += micro.trie.rows() as u64;
                    let values = cached(cache, &identity, micro, &step.examples, || {
                        let started = Instant::now();
                        let values = worker.log_probs(&micro.job(None));
                        found.seconds += started.elapsed().as_secs_f64();
                        Ok(values?)
                    })?;
                    for (index, targets) in &micro.members {
                        let key = identity.key([&step.examples[*index]]);
                        found.examples.entry(key).or_insert_with(|| ExampleLogProbs::gather(&values, targets));
                    }
                }
                done += step.examples.len() as u64;
                observer.reference(done);
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
    cursor: Cursor,
    summary: TrainSummary,
    checkpoint: Option<&'a Path>,
}

impl Trainer<'_> {
    /// Takes up the checkpoint of this run, if there is one. A damaged one is set aside.
    fn resume(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        match checkpoint::read(path, &self.run, self.worker)? {
            Found::Nothing => {}
            Found::Resumed(state) => {
                self.cursor = state.cursor;
                self.summary = state.summary;
                observer.resumed(self.cursor.step);
            }
            Found::OtherRun => observer.unused_checkpoint(&UnusedCheckpoint::OtherRun),
            Found::Damaged(problem) => {
                let moved_to = checkpoint::set_aside(path)?;
                observer.unused_checkpoint(&UnusedCheckpoint::Damaged { problem, moved_to });
            }
        }
        Ok(())
    }

    /// Makes steps until the budget is spent (true) or the observer asks to stop (false).
    fn run<S: ExampleSource + ?Sized>(
        &mut self,
        source: &S,
        known: &Known,
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
                let record = self.step(prepared, known, waiting)?;
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
    fn step(&mut self, prepared: PreparedStep, known: &Known, waiting: f64) -> Result<StepRecord, TrainError> {
        let number = prepared.after.step;
        let fixed: Vec<Fixed> = prepared.examples.iter().map(|example| known.of(example)).collect();
        let totals = normaliser(self.needs, &prepared.examples);
        let mut timing = Timing { waiting, ..Timing::default() };
        let dropout = self.worker.uses_dropout();
        let mut seeds = ChaCha8Rng::seed_from_u64(self.settings.plan.seed);
        seeds.set_stream(DROPOUT_STREAM);
        seeds.set_word_pos(u128::from(number) << 32);
        let jobs: Vec<Job<'_>> =
            prepared.micro_batches.iter().map(|micro| micro.job(dropout.then(|| seeds.next_u64()))).collect();

        // A worker may compute micro-batches in any order; what they give is added up in theirs.
        let evaluated: Vec<OnceLock<Evaluated>> = jobs.iter().map(|_| OnceLock::new()).collect();
        let tolerance = (number == 1 && !dropout).then(|| self.worker.tolerance());
        let objective = &self.settings.objective;
        let output_gradient = |job: usize, values: &TargetValues| {
            let mut gradient = values.zeros_like();
            let mut evaluation = Evaluated::default();
            for (index, targets) in &prepared.micro_batches[job].members {
                let member = Member {
                    example: &prepared.examples[*index],
                    differences: &prepared.differences[*index],
                    targets,
                    fixed: &fixed[*index],
                };
                member.evaluate(objective, &totals, values, &mut gradient, &mut evaluation.pairs);
                if tolerance.is_some() {
                    let found = distance_from_reference(values, targets, &fixed[*index]);
                    evaluation.distance = evaluation.distance.max(found);
                }
            }
            // Each job is asked about once.
            evaluated[job].get_or_init(|| evaluation);
            gradient
        };
        self.worker.clear_gradient()?;
        let spent = self.worker.accumulate(&jobs, &output_gradient)?;
        timing.reference += spent.reference;
        timing.forward += spent.forward;
        timing.objective += spent.output_gradient;
        timing.backward += spent.backward;

        let mut sums = StepLoss::default();
        for evaluation in evaluated {
            let evaluation = evaluation.into_inner().expect("a worker asks for the gradient of every job's outputs");
            // At the first step the policy is its own reference: anything else than rounding between their
            // log-probs means that the reference belongs to another model.
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
        let state = State { run: self.run.clone(), cursor: self.cursor, summary: self.summary };
        checkpoint::write(path, &state, self.worker.export()?)
    }
}

/// What the objective says of a micro-batch.
#[derive(Default)]
struct Evaluated {
    pairs: Vec<(Pair, PairLoss)>,
    /// Largest distance of a log-prob from the reference's, where it is asked for.
    distance: f64,
}

/// The largest difference between the log-probs of an example's tokens and those of the reference, in nats.
fn distance_from_reference(values: &TargetValues, targets: &ExampleTargets, fixed: &Fixed) -> f64 {
    let Some(reference) = &fixed.reference else { return 0.0 };
    let policy = ExampleLogProbs::gather(&values.log_probs, targets);
    let pairs =
        std::iter::once((&policy.chosen, &reference.chosen)).chain(policy.rejected.iter().zip(&reference.rejected));
    pairs.flat_map(|(p, q)| p.iter().zip(q)).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max)
}
