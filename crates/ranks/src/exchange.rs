//! The exchange of values and gradients while the ranks accumulate.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tabpo_engine::{JobTiming, OutputGradientOf, TargetValues};

use crate::links::{LinkError, Links};
use crate::member::panicked;
use crate::message::{Answer, receive, send, unexpected};
use crate::share::Part;

/// Collects the values of jobs from the ranks that compute their parts, asks for the gradient of each job once, and sends
/// it back to them.
pub(crate) struct Exchange<'a> {
    links: &'a Links,
    parts: &'a [Part],
    output_gradient: &'a OutputGradientOf<'a>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: Vec<Collected>,
    /// Gradients for the parts of this rank, by number.
    own: HashMap<usize, TargetValues>,
    /// Jobs of which all parts are computed.
    done: usize,
    /// Ranks that have computed all their parts, other than this one.
    finished: usize,
    /// The time of the rank that took longest.
    timing: JobTiming,
    failed: Option<LinkError>,
}

/// What there is of a job.
struct Collected {
    values: TargetValues,
    /// Parts whose values are to come.
    missing: usize,
    /// Parts that are not computed yet.
    uncomputed: usize,
}

impl<'a> Exchange<'a> {
    /// For jobs with these numbers of targets.
    pub(crate) fn new(
        links: &'a Links,
        parts: &'a [Part],
        targets: impl Iterator<Item = usize>,
        output_gradient: &'a OutputGradientOf<'a>,
    ) -> Self {
        let collected = |(job, targets)| {
            let parts = parts.iter().filter(|part| part.job == job).count();
            let values = TargetValues { log_probs: vec![0.0; targets], divergences: Vec::new() };
            Collected { values, missing: parts, uncomputed: parts }
        };
        let state = State {
            jobs: targets.enumerate().map(collected).collect(),
            own: HashMap::new(),
            done: 0,
            finished: 0,
            timing: JobTiming::default(),
            failed: None,
        };
        Self { links, parts, output_gradient, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the values of a part. With the last ones of a job, the job's gradient goes out to all its parts.
    pub(crate) fn deliver(&self, number: usize, values: &TargetValues) -> Result<(), LinkError> {
        let part = &self.parts[number];
        let mut state = self.state();
        let job = &mut state.jobs[part.job];
        if !values.divergences.is_empty() {
            job.values.divergences.resize(job.values.log_probs.len(), 0.0);
        }
        for (index, &place) in part.targets.iter().enumerate() {
            job.values.log_probs[place] = values.log_probs[index];
            if let Some(&divergence) = values.divergences.get(index) {
                job.values.divergences[place] = divergence;
            }
        }
        job.missing -= 1;
        if job.missing > 0 {
            return Ok(());
        }
        let of_job = std::mem::take(&mut job.values);
        drop(state);
        let gradient = (self.output_gradient)(part.job, &of_job);
        for (number, part) in self.parts.iter().enumerate().filter(|(_, other)| other.job == part.job) {
            let of_part = |values: &[f64]| {
                let places = if values.is_empty() { &[][..] } else { &part.targets[..] };
                places.iter().map(|&place| values[place]).collect()
            };
            let gradient =
                TargetValues { log_probs: of_part(&gradient.log_probs), divergences: of_part(&gradient.divergences) };
            if part.rank == self.links.rank() {
                self.state().own.insert(number, gradient);
                self.changed.notify_all();
            } else {
                send(self.links, part.rank, &gradient)?;
            }
        }
        Ok(())
    }

    /// Waits for the gradient of a part of this rank; none if a rank fails first.
    pub(crate) fn gradient(&self, number: usize) -> Option<TargetValues> {
        let mut state = self.state();
        loop {
            if let Some(gradient) = state.own.remove(&number) {
                return Some(gradient);
            }
            if state.failed.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A part is computed.
    pub(crate) fn computed(&self, number: usize) {
        let mut state = self.state();
        let job = &mut state.jobs[self.parts[number].job];
        job.uncomputed -= 1;
        if job.uncomputed == 0 {
            state.done += 1;
        }
        self.changed.notify_all();
    }

    /// A rank can't go on.
    pub(crate) fn fail(&self, error: LinkError) {
        self.state().failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Attends to another rank until it has computed its parts, or a rank fails.
    pub(crate) fn attend(&self, rank: usize) {
        match catch_unwind(AssertUnwindSafe(|| self.follow(rank))) {
            Ok(Ok(timing)) => {
                let mut state = self.state();
                state.finished += 1;
                if seconds(&timing) > seconds(&state.timing) {
                    state.timing = timing;
                }
                self.changed.notify_all();
            }
            Ok(Err(error)) => self.fail(error),
            Err(panic) => self.fail(LinkError::new(self.links.rank(), panicked(&*panic))),
        }
    }

    fn follow(&self, rank: usize) -> Result<JobTiming, LinkError> {
        let (mut values_of, mut computed) = (self.numbers(rank), self.numbers(rank));
        loop {
            let answer = receive(self.links, rank)?;
            match &answer {
                Answer::Values(values) => match values_of.next() {
                    Some(number) if values.log_probs.len() == self.parts[number].targets.len() => {
                        self.deliver(number, values)?;
                    }
                    _ => return Err(unexpected(rank, &answer)),
                },
                Answer::Computed => match computed.next() {
                    Some(number) => self.computed(number),
                    None => return Err(unexpected(rank, &answer)),
                },
                Answer::Accumulated(timing) => return Ok(*timing),
                Answer::Begun(_) => return Err(unexpected(rank, &answer)),
            }
        }
    }

    /// The numbers of a rank's parts, in the order in which it computes them.
    pub(crate) fn numbers(&self, rank: usize) -> impl Iterator<Item = usize> + use<'a> {
        let parts = self.parts;
        (0..parts.len()).filter(move |&number| parts[number].rank == rank)
    }

    /// The number of finished jobs, or the error of a rank that failed.
    pub(crate) fn done(&self) -> Result<usize, LinkError> {
        let state = self.state();
        state.failed.clone().map_or(Ok(state.done), Err)
    }

    /// Waits until all other ranks have computed their parts, and returns the time of the one that took longest.
    /// `progress` is called with the number of finished jobs.
    pub(crate) fn wait(&self, progress: &mut dyn FnMut(usize)) -> Result<JobTiming, LinkError> {
        let mut state = self.state();
        let mut told = 0;
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if state.done > told {
                told = state.done;
                drop(state);
                progress(told);
                state = self.state();
                continue;
            }
            if state.finished + 1 == self.links.size() {
                return Ok(state.timing);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// All seconds of a timing.
pub(crate) fn seconds(timing: &JobTiming) -> f64 {
    timing.reference + timing.forward + timing.output_gradient + timing.backward
}
