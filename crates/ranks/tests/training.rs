//! Several ranks train as one.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use support::{bits, distance, examples, policy, run, settings, trained};
use tabpo_engine::{
    ChangeGradient, GenerationMemory, Generator, GeneratorSize, HostWorker, Job, JobTiming, MemoryPlan, MemoryRequest,
    NamedTensor, OutputGradientOf, TrainingSetup, Worker, WorkerError,
};
use tabpo_model::ModelConfig;
use tabpo_ranks::{Links, Ranks, serve};
use tabpo_train::{Cursor, MicroBatch, StepPlanner, TrainError};

/// Two and three ranks take the steps of one to rounding: with passes for each rank, with fewer passes than ranks, which
/// are cut, with instructions that all prompts share, and with divergences. What is logged of the first step, which starts
/// from the same weights, is the same to the bit wherever passes stay whole. All ranks end with the same bits.
#[test]
fn several_ranks_train_as_one() {
    for (objective, max_tokens, shared, adapter) in [
        ("dpo", 60, false, true),
        ("dpo", 1000, true, true),
        ("tab-po-released", 90, true, false),
        ("tdpo2", 1000, false, true),
        ("sft", 1000, true, false),
    ] {
        let (start, examples) = (policy(adapter), examples(13, shared));
        let settings = settings(objective, max_tokens, 6);
        let (one, alone) = trained(1, &start, &examples, &settings);
        assert!(distance(&start, &one[0]) > 1e-3, "the steps move the weights");
        for ranks in [2, 3] {
            let (policies, together) = trained(ranks, &start, &examples, &settings);
            let name = format!("{objective} with {max_tokens} tokens a pass on {ranks} ranks");
            let found = distance(&one[0], &policies[0]);
            assert!(found < 2e-5, "{name}: {found:e}");
            assert!(policies.iter().all(|policy| bits(policy) == bits(&policies[0])), "{name}");
            let losses = |run: &support::Run| run.recorder.records.iter().map(|record| record.loss).collect::<Vec<_>>();
            for (a, b) in losses(&alone).into_iter().zip(losses(&together)) {
                assert!((a - b).abs() < 1e-4 * a.abs().max(1.0), "{name}: {a} {b}");
            }
            let margin = together.recorder.records[0].margin;
            assert!(margin.is_none_or(|margin| margin == 0.0), "{name}: the policy starts as its reference");
        }
    }
}

/// Log-probs are those of one rank to the bit where passes stay whole: it is the same computation on another rank.
#[test]
fn log_probs_are_those_of_one_rank_to_the_bit() {
    let (start, examples) = (policy(true), examples(12, false));
    let plan = settings("dpo", 60, 6).plan;
    let micro_batches: Vec<MicroBatch> = StepPlanner::new(&examples, plan, Cursor::default())
        .flat_map(|step| step.expect("a step").micro_batches)
        .collect();
    let mut jobs: Vec<Job<'_>> = micro_batches.iter().map(|micro| micro.job(None)).collect();
    jobs.truncate(jobs.len() / 6 * 6);
    assert!(!jobs.is_empty());
    let wanted = HostWorker::new(start.clone()).log_probs_of_all(&jobs).expect("the CPU survives");
    for ranks in [2, 3] {
        assert_eq!(log_probs(ranks, &start, &jobs), wanted);
    }
}

fn log_probs(ranks: usize, policy: &tabpo_engine::Policy<f32>, jobs: &[Job<'_>]) -> Vec<Vec<f64>> {
    let mut links = Links::in_memory(ranks).into_iter();
    let own = links.next().expect("a rank");
    std::thread::scope(|scope| {
        for links in links {
            scope.spawn(move || serve(&mut HostWorker::new(policy.clone()), &links).expect("rank 0 ends it"));
        }
        let mut worker = HostWorker::new(policy.clone());
        Ranks::new(&mut worker, &own).log_probs_of_all(jobs).expect("the CPU survives")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Jobs that are cut between their examples give the log-probs of whole ones, to rounding.
    #[test]
    fn cut_jobs_have_the_log_probs_of_whole_ones(
        count in 1usize..12, shared: bool, max_tokens in 30usize..400, ranks in 2usize..5,
    ) {
        let (start, examples) = (policy(true), examples(count, shared));
        let plan = settings("dpo", max_tokens, 1).plan;
        let step = StepPlanner::new(&examples, plan, Cursor::default()).next().expect("a step").expect("examples");
        let jobs: Vec<Job<'_>> = step.micro_batches.iter().map(|micro| micro.job(None)).collect();
        let wanted = HostWorker::new(start.clone()).log_probs_of_all(&jobs).expect("the CPU survives");
        let found = log_probs(ranks, &start, &jobs);
        for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
            prop_assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
        }
    }
}

/// A run that is stopped and resumed on two ranks has the bits of one that was left alone.
#[test]
fn resumed_is_uninterrupted() {
    let (start, examples) = (policy(true), examples(13, true));
    for objective in ["dpo", "tdpo2"] {
        let settings = settings(objective, 90, 6);
        let folder = tempfile::tempdir().expect("a folder");
        let attempt = |name: &str, stop_after: Option<u64>| {
            let mut workers = [0, 1].map(|_| HostWorker::new(start.clone()));
            let [a, b] = &mut workers;
            let run = run(&mut [a, b], &examples, &settings, Some(&folder.path().join(name)), stop_after);
            let finished = run.outcome.expect("the run succeeds").finished;
            assert_eq!(finished, stop_after.is_none());
            (workers.map(|worker| bits(worker.policy())), run.recorder)
        };
        let (whole, _) = attempt("whole", None);
        attempt("parts", Some(4));
        let (resumed, recorder) = attempt("parts", None);
        assert_eq!(recorder.resumed, Some(4), "{objective}");
        assert!(whole == resumed && whole[0] == whole[1], "{objective}");
    }
}

/// What goes wrong on a rank.
#[derive(Clone, Copy, Debug)]
enum Fault {
    ErrorInPass,
    PanicInPass,
    ErrorInSum,
    ErrorInStep,
    PanicAtBegin,
}

/// A worker on which something goes wrong in its fourth step.
struct Faulty {
    worker: HostWorker<f32>,
    fault: Fault,
    steps: usize,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Self { worker: HostWorker::new(policy(true)), fault, steps: 0 }
    }

    fn lost() -> Result<(), WorkerError> {
        Err(WorkerError::Device { message: "the card was lost".to_owned(), hint: Some("reseat it".to_owned()) })
    }
}

impl Worker for Faulty {
    fn begin(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError> {
        assert!(!matches!(self.fault, Fault::PanicAtBegin), "a planted panic");
        self.worker.begin(setup)
    }

    fn accumulate(
        &mut self,
        jobs: &[Job<'_>],
        output_gradient: &OutputGradientOf<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError> {
        match self.fault {
            Fault::ErrorInPass if self.steps == 3 => Self::lost()?,
            Fault::PanicInPass if self.steps == 3 => panic!("a planted panic"),
            _ => {}
        }
        self.worker.accumulate(jobs, output_gradient, progress)
    }

    fn change_gradient(&mut self, change: &mut ChangeGradient<'_>) -> Result<(), WorkerError> {
        if matches!(self.fault, Fault::ErrorInSum) && self.steps == 3 {
            Self::lost()?;
        }
        self.worker.change_gradient(change)
    }

    fn step(&mut self, learning_rate: f64, factor: f64) -> Result<(), WorkerError> {
        if matches!(self.fault, Fault::ErrorInStep) && self.steps == 3 {
            Self::lost()?;
        }
        self.steps += 1;
        self.worker.step(learning_rate, factor)
    }

    fn config(&self) -> &ModelConfig {
        self.worker.config()
    }

    fn identity(&self) -> [u8; 32] {
        self.worker.identity()
    }

    fn tolerance(&self) -> f64 {
        self.worker.tolerance()
    }

    fn uses_dropout(&self) -> bool {
        self.worker.uses_dropout()
    }

    fn memory(&self, request: &MemoryRequest, limit: Option<usize>) -> MemoryPlan {
        self.worker.memory(request, limit)
    }

    fn log_probs(&mut self, job: &Job<'_>) -> Result<Vec<f64>, WorkerError> {
        self.worker.log_probs(job)
    }

    fn clear_gradient(&mut self) -> Result<(), WorkerError> {
        self.worker.clear_gradient()
    }

    fn gradient_norm(&mut self) -> Result<f64, WorkerError> {
        self.worker.gradient_norm()
    }

    fn export(&self) -> Result<Vec<NamedTensor<'_>>, WorkerError> {
        self.worker.export()
    }

    fn import(&mut self, steps: u64, tensors: &[NamedTensor<'_>]) -> Result<(), WorkerError> {
        self.worker.import(steps, tensors)
    }

    fn generation_memory(&self, size: GeneratorSize) -> GenerationMemory {
        self.worker.generation_memory(size)
    }

    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError> {
        self.worker.generator(size)
    }
}

/// Whatever goes wrong on whichever rank, the run ends on all ranks with the reason, and what was saved before can be gone
/// on with, to the bits of a run in which nothing went wrong.
#[test]
fn a_rank_that_dies_ends_the_run_with_its_reason_and_the_last_checkpoint_whole() {
    let (start, examples) = (policy(true), examples(13, true));
    for max_tokens in [60, 1000] {
        let settings = settings("dpo", max_tokens, 6);
        let (whole, _) = trained(3, &start, &examples, &settings);
        for fault in
            [Fault::ErrorInPass, Fault::PanicInPass, Fault::ErrorInSum, Fault::ErrorInStep, Fault::PanicAtBegin]
        {
            for place in [1, 2, 0] {
                let name = format!("{fault:?} on rank {place} with {max_tokens} tokens a pass");
                let folder = tempfile::tempdir().expect("a folder");
                let checkpoint = folder.path().join("checkpoint");
                let mut faulty = Faulty::new(fault);
                let mut sound = [0, 1].map(|_| HostWorker::new(start.clone()));
                let [a, b] = &mut sound;
                let mut workers: Vec<&mut (dyn Worker + Send)> = vec![a, b];
                workers.insert(place, &mut faulty);
                let ended =
                    catch_unwind(AssertUnwindSafe(|| run(&mut workers, &examples, &settings, Some(&checkpoint), None)));
                let panics = matches!(fault, Fault::PanicInPass | Fault::PanicAtBegin);
                match ended {
                    // A panic of rank 0 is that of the program.
                    Err(_) => assert!(panics && place == 0, "{name}"),
                    Ok(run) => {
                        let error = run.outcome.err().unwrap_or_else(|| panic!("{name}: the run must not succeed"));
                        let TrainError::Worker(error) = error else { panic!("{name}: {error}") };
                        let text = error.to_string();
                        let reason = if panics { "a planted panic" } else { "the card was lost" };
                        assert!(text.contains(reason), "{name}: {text}");
                        assert!(place == 0 || text.starts_with(&format!("rank {place}: ")), "{name}: {text}");
                        assert!(panics || error.hint() == Some("reseat it"), "{name}");
                        assert!(run.served.iter().all(Result::is_err), "{name}: {:?}", run.served);
                    }
                }
                let mut workers = [0, 1, 2].map(|_| HostWorker::new(start.clone()));
                let [a, b, c] = &mut workers;
                let again = run(&mut [a, b, c], &examples, &settings, Some(&checkpoint), None);
                assert!(again.outcome.expect("it goes on").finished, "{name}");
                let begun = !matches!(fault, Fault::PanicAtBegin);
                assert_eq!(again.recorder.resumed.is_some(), begun, "{name}");
                assert!(again.recorder.resumed.is_none_or(|step| step >= 3), "{name}");
                assert!(workers.iter().all(|worker| bits(worker.policy()) == bits(&whole[0])), "{name}");
            }
        }
    }
}

#[test]
fn ranks_with_other_weights_are_refused() {
    let (start, other) = (policy(true), policy(false));
    let (mut a, mut b) = (HostWorker::new(start), HostWorker::new(other));
    let run = run(&mut [&mut a, &mut b], &examples(6, false), &settings("dpo", 100, 2), None, None);
    let error = run.outcome.expect_err("they would not train the same policy").to_string();
    assert!(error.starts_with("rank 1: has other weights"), "{error}");
    assert!(run.served[0].is_err());
}
