//! The loop: one for supervised fine-tuning and for every preference objective.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_engine::{
    AdamW, ForwardOptions, Gradients, Real, ReferenceHidden, Seed, Workspace, backward, forward,
    forward_with_reference, target_hidden,
};
use tabpo_objective::Needs;

use crate::checkpoint::{self, Found, State};
use crate::log_probs::{cached, target_log_probs};
use crate::loss::{Fixed, Member, StepLoss, TargetValues, normaliser};
use crate::stream::{ahead, checked};
use crate::{
    Best, Cursor, ExampleLogProbs, ExampleSource, MicroBatch, Observer, Policy, PreparedStep, ReferenceCache,
    ReferenceIdentity, ReferenceKey, StepPlanner, StepRecord, Timing, TokenisedExample, TrainError, TrainOutcome,
    TrainSettings, TrainSummary, UnusedCheckpoint,
};

/// Largest difference between the policy at the start and its reference in the log-prob of a token
/// that rounding may explain. The first step is packed as its reference was, so there should be none.
const REFERENCE_TOLERANCE: f64 = 1e-2;

/// Stream of the random generator that dropout seeds come from; the order of the data uses the
/// streams of the epochs' numbers.
const DROPOUT_STREAM: u64 = u64::MAX;

/// What a run shares with others: where log-probs and its state are kept.
pub struct Session<'a, R> {
    /// What decides the run's data and settings, as a digest or any other text: a checkpoint that was
    /// made under another identity is not taken up.
    pub identity: &'a str,
    /// Log-probs that do not change; see [`ReferenceCache::in_memory`] and [`ReferenceCache::open`].
    pub cache: &'a mut ReferenceCache,
    /// Digest of the tokenizer ([`crate::tokenizer_digest`]).
    pub tokenizer: [u8; 32],
    /// The checkpoint: read if it is there and of this run, written as the settings ask.
    pub checkpoint: Option<&'a Path>,
    /// A guide model, for objectives that need its log-probs.
    pub guide: Option<&'a Policy<'a, R>>,
}

/// Trains `policy` on the examples of `source`.
///
/// The reference is the policy as it is given. A step is computed in micro-batches whose gradients
/// add up to that of the step in one piece. A run that is stopped and started again with the same
/// arguments and its checkpoint gives the same bits as one that was not.
pub fn train<'m, R: Real, S: ExampleSource + ?Sized>(
    policy: Policy<'m, R>,
    source: &S,
    settings: &TrainSettings,
    session: Session<'_, R>,
    observer: &mut dyn Observer<R>,
) -> Result<TrainOutcome<'m, R>, TrainError> {
    let Session { identity, cache, tokenizer, checkpoint, guide } = session;
    let needs = settings.objective.needs();
    let source = checked(source, needs.rejected, policy.model().config.vocabulary);
    let start = policy.identity(&tokenizer);
    let run = settings.identity(identity, &start, source.len());
    let optimiser = policy.optimiser(settings.optimiser);
    let mut trainer = Trainer {
        reference: needs.kl.then(|| policy.clone()),
        gradients: policy.gradients(),
        optimiser,
        policy,
        settings,
        needs,
        run,
        workspace: Workspace::new(),
        reference_workspace: Workspace::new(),
        cursor: Cursor::default(),
        summary: TrainSummary::default(),
        best: None,
        checkpoint,
    };
    let mut known = Known::default();

    if settings.track_reference || needs.reference {
        let (found, rows) = trainer.precompute(&source, Which::Start, start, cache, observer)?;
        known.start = Some(found);
        // What is asked for by the log alone is no part of what the method costs.
        if needs.reference {
            trainer.summary.tokens.reference += rows;
        }
    }
    if needs.guide {
        let guide = guide.ok_or(TrainError::NoGuideModel { objective: settings.objective.name().to_owned() })?;
        let identity = guide.identity(&tokenizer);
        let (found, rows) = trainer.precompute(&source, Which::Other(guide), identity, cache, observer)?;
        known.guide = Some(found);
        trainer.summary.tokens.reference += rows;
    }
    cache.sync()?;

    trainer.resume(observer)?;
    let finished = trainer.run(&source, &known, observer)?;
    Ok(trainer.outcome(finished))
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
}

impl FixedLogProbs {
    fn of(&self, example: &TokenisedExample) -> &ExampleLogProbs {
        let found = self.examples.get(&self.identity.key([example]));
        found.expect("the log-probs of every example of the run were found before its first step")
    }
}

/// Whose log-probs are computed before the run.
#[derive(Clone, Copy)]
enum Which<'a, R> {
    /// The policy, before its first step.
    Start,
    /// Another model.
    Other(&'a Policy<'a, R>),
}

/// The state of a run.
struct Trainer<'m, 's, R> {
    policy: Policy<'m, R>,
    /// A copy of the policy at the start, for objectives that need its distributions.
    reference: Option<Policy<'m, R>>,
    gradients: Gradients<R>,
    optimiser: AdamW,
    settings: &'s TrainSettings,
    needs: Needs,
    run: String,
    workspace: Workspace<R>,
    reference_workspace: Workspace<R>,
    cursor: Cursor,
    summary: TrainSummary,
    best: Option<(Best, Vec<Vec<R>>)>,
    checkpoint: Option<&'s Path>,
}

impl<'m, R: Real> Trainer<'m, '_, R> {
    /// The log-probs of every example that the run will use, packed as the first epoch will be, so that
    /// policy and reference agree to the bit at the first step.
    ///
    /// Returns them with the rows that they take with an empty cache: what a run costs does not depend
    /// on what was run before it.
    fn precompute<S: ExampleSource + ?Sized>(
        &mut self,
        source: &S,
        which: Which<'_, R>,
        identity: ReferenceIdentity,
        cache: &mut ReferenceCache,
        observer: &mut dyn Observer<R>,
    ) -> Result<(FixedLogProbs, u64), TrainError> {
        let planner = StepPlanner::new(source, self.settings.plan, Cursor::default());
        let first_epoch = planner.take_while(|step| step.as_ref().map_or(true, |step| step.epoch == 0));
        let options = self.forward_options(None);
        std::thread::scope(|scope| {
            let (mut done, mut rows, mut examples) = (0, 0, HashMap::new());
            for step in ahead(scope, first_epoch) {
                let step = step?;
                for micro in &step.micro_batches {
                    rows += micro.trie.rows() as u64;
                    let policy = match which {
                        Which::Start => &self.policy,
                        Which::Other(other) => other,
                    };
                    let values = cached(cache, &identity, (micro, &step.examples), || {
                        let started = Instant::now();
                        let (model, adapter) = (policy.model(), policy.effective_adapter());
                        let found = target_log_probs(model, adapter, micro, &options, &mut self.workspace);
                        self.summary.timing.reference += started.elapsed().as_secs_f64();
                        found
                    })?;
                    for (index, targets) in &micro.members {
                        let key = identity.key([&step.examples[*index]]);
                        examples.entry(key).or_insert_with(|| ExampleLogProbs::gather(&values, targets));
                    }
                }
                done += step.examples.len() as u64;
                observer.reference(done);
                if observer.should_stop() {
                    break;
                }
            }
            Ok((FixedLogProbs { identity, examples }, rows))
        })
    }

    /// Takes up the checkpoint of this run, if there is one. A damaged one is set aside.
    fn resume(&mut self, observer: &mut dyn Observer<R>) -> Result<(), TrainError> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        match checkpoint::read(path, &self.run, &mut self.policy, self.settings.optimiser)? {
            Found::Nothing => {}
            Found::Resumed(resumed) => {
                self.cursor = resumed.state.cursor;
                self.summary = resumed.state.summary;
                self.optimiser = resumed.optimiser;
                self.best = resumed.state.best.zip(resumed.best);
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
        observer: &mut dyn Observer<R>,
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
                self.evaluate(observer)?;
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
        let mut sums = StepLoss::default();
        self.gradients.clear();
        let mut dropout = ChaCha8Rng::seed_from_u64(self.settings.plan.seed);
        dropout.set_stream(DROPOUT_STREAM);
        dropout.set_word_pos(u128::from(number) << 32);
        let has_dropout = self.policy.adapter().is_some_and(|adapter| adapter.config.dropout > 0.0);
        for micro in &prepared.micro_batches {
            let options = self.forward_options(has_dropout.then(|| dropout.next_u64()));
            let values = self.forward(micro, &options, &mut timing);
            let started = Instant::now();
            let mut seed =
                TargetValues { log_probs: vec![0.0; values.log_probs.len()], kl: vec![0.0; values.kl.len()] };
            for (index, targets) in &micro.members {
                let member = Member {
                    example: &prepared.examples[*index],
                    comparison: &prepared.comparisons[*index],
                    targets,
                    fixed: &fixed[*index],
                };
                member.evaluate(&self.settings.objective, &totals, &values, &mut seed, &mut sums);
                if number == 1 && !has_dropout {
                    agrees_with_reference(&values, targets, &fixed[*index])?;
                }
            }
            timing.objective += started.elapsed().as_secs_f64();
            self.backward(micro, &seed, &mut timing);
        }
        if !sums.loss.is_finite() {
            return Err(TrainError::Diverged { step: number, what: "loss" });
        }

        let started = Instant::now();
        let gradient_norm = match self.settings.clip {
            Some(limit) => self.gradients.clip(limit),
            None => self.gradients.norm(),
        };
        if !gradient_norm.is_finite() {
            return Err(TrainError::Diverged { step: number, what: "gradient" });
        }
        let learning_rate = self.settings.schedule.learning_rate(prepared.progress);
        self.policy.update(&mut self.optimiser, &mut self.gradients, learning_rate);
        timing.optimiser += started.elapsed().as_secs_f64();

        let tokens = prepared.after.tokens - self.cursor.tokens;
        self.cursor = prepared.after;
        self.summary.steps = number;
        self.summary.examples += prepared.examples.len() as u64;
        self.summary.skipped = prepared.after.skipped;
        self.summary.tokens.trained = prepared.after.tokens;
        if self.reference.is_some() {
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

    /// Log-probs, and divergences where the objective uses them.
    fn forward(&mut self, micro: &MicroBatch, options: &ForwardOptions, timing: &mut Timing) -> TargetValues {
        let (batch, targets) = (micro.trie.batch(), micro.trie.targets());
        let mut started = Instant::now();
        if let Some(reference) = &self.reference {
            let fixed = ForwardOptions { gradient: false, dropout_seed: None, ..*options };
            let (model, adapter) = (reference.model(), reference.effective_adapter());
            forward(model, adapter, batch, targets, &fixed, &mut self.reference_workspace);
            timing.reference += started.elapsed().as_secs_f64();
            started = Instant::now();
        }
        let (model, adapter) = (self.policy.model(), self.policy.adapter());
        let values = match &self.reference {
            None => TargetValues {
                log_probs: forward(model, adapter, batch, targets, options, &mut self.workspace),
                kl: Vec::new(),
            },
            Some(reference) => {
                let hidden = target_hidden(&self.reference_workspace);
                let reference = ReferenceHidden { hidden, model: reference.model() };
                let (log_probs, kl) =
                    forward_with_reference(model, adapter, batch, targets, reference, options, &mut self.workspace);
                TargetValues { log_probs, kl }
            }
        };
        timing.forward += started.elapsed().as_secs_f64();
        values
    }

    /// Adds the gradient of a micro-batch.
    fn backward(&mut self, micro: &MicroBatch, seed: &TargetValues, timing: &mut Timing) {
        let started = Instant::now();
        let divergences = self.reference.as_ref().map(|reference| {
            let hidden = target_hidden(&self.reference_workspace);
            (&seed.kl[..], ReferenceHidden { hidden, model: reference.model() })
        });
        let seed = Seed { log_probabilities: &seed.log_probs, divergences };
        let (model, adapter) = (self.policy.model(), self.policy.adapter());
        backward(model, adapter, micro.trie.batch(), &seed, &mut self.workspace, &mut self.gradients);
        timing.backward += started.elapsed().as_secs_f64();
    }

    fn forward_options(&self, dropout_seed: Option<u64>) -> ForwardOptions {
        ForwardOptions {
            recompute: self.settings.recompute,
            dropout_seed,
            logit_bytes: self.settings.logit_bytes,
            ..ForwardOptions::default()
        }
    }

    /// Asks for the task metric where it is due and keeps the best policy.
    fn evaluate(&mut self, observer: &mut dyn Observer<R>) -> Result<(), TrainError> {
        let step = self.cursor.step;
        if !self.settings.evaluate_every.is_some_and(|every| step.is_multiple_of(every)) {
            return Ok(());
        }
        let metric = observer.evaluate(&self.policy, step).map_err(|source| TrainError::Evaluation { step, source })?;
        // Of equal ones the first stays: it is nearer to the start.
        if let Some(metric) = metric.filter(|metric| self.best.as_ref().is_none_or(|(best, _)| *metric > best.metric)) {
            self.best = Some((Best { step, metric }, self.policy.snapshot()));
        }
        Ok(())
    }

    fn write_checkpoint(&self) -> Result<(), TrainError> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        let state = State {
            run: self.run.clone(),
            cursor: self.cursor,
            summary: self.summary,
            best: self.best.as_ref().map(|(best, _)| *best),
        };
        let best = self.best.as_ref().map(|(_, snapshot)| snapshot.as_slice());
        checkpoint::write(path, &state, &self.policy, best, &self.optimiser)
    }

    fn outcome(mut self, finished: bool) -> TrainOutcome<'m, R> {
        if let (true, Some((_, snapshot))) = (finished, &self.best) {
            self.policy.restore(snapshot);
        }
        TrainOutcome { policy: self.policy, finished, best: self.best.map(|(best, _)| best), summary: self.summary }
    }
}

/// At the first step the policy is its own reference: anything else than rounding between their
/// log-probs means that the reference belongs to another model.
fn agrees_with_reference(
    values: &TargetValues,
    targets: &crate::ExampleTargets,
    fixed: &Fixed,
) -> Result<(), TrainError> {
    let Some(reference) = &fixed.reference else { return Ok(()) };
    let policy = ExampleLogProbs::gather(&values.log_probs, targets);
    let pairs =
        std::iter::once((&policy.chosen, &reference.chosen)).chain(policy.rejected.iter().zip(&reference.rejected));
    let difference = pairs.flat_map(|(p, q)| p.iter().zip(q)).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max);
    if difference > REFERENCE_TOLERANCE {
        return Err(TrainError::ReferenceMismatch { difference });
    }
    Ok(())
}
