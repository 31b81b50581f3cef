//! Several cards train as one.

use tabpo_cuda::driver::Element;
use tabpo_engine::{Job, NamedTensor, Policy, TargetValues, Worker};
use tabpo_ranks::{Links, Ranks, serve};

use crate::small::{adapter, forest, llama, model, owned, relative, setup, worker};

/// A step on two jobs; the norm of the gradient and the state afterwards.
fn step(worker: &mut dyn Worker) -> (f64, Vec<NamedTensor<'static>>) {
    let vocabulary = worker.config().vocabulary;
    let batches = [11, 12].map(|seed| forest(vocabulary, seed));
    let jobs = batches.each_ref().map(|(batch, targets)| Job { batch, targets, dropout_seed: None });
    worker.begin(&setup(false)).expect("it fits");
    let of_values = |job: usize, values: &TargetValues| {
        let log_probs = values.log_probs.iter().enumerate().map(|(i, value)| (value - (i + job) as f64 * 0.1) / 50.0);
        TargetValues { log_probs: log_probs.collect(), divergences: Vec::new() }
    };
    worker.accumulate(&jobs, &of_values, &mut |_| {}).expect("the device survives");
    let norm = worker.gradient_norm().expect("training has begun");
    worker.step(2e-3, 0.5).expect("training has begun");
    (norm, owned(worker.export().expect("training has begun")))
}

/// The gradient comes down from each card, is summed, and goes up again: with an adapter and with all parameters, two cards
/// have the norm, the moments and the parameters of one, to rounding.
#[test]
fn two_cards_train_as_one() {
    let config = llama();
    for policy in
        [Policy::adapter(model::<f32>(&config, 3).into(), adapter(&config, 0.0)), Policy::full(model(&config, 3))]
    {
        let (norm, wanted) = step(&mut worker(policy.clone(), Element::F32, None));
        let mut links = Links::in_memory(2).into_iter();
        let [first, second] = [(); 2].map(|()| links.next().expect("two ranks"));
        let (found_norm, found) = std::thread::scope(|scope| {
            let of_second = policy.clone();
            scope.spawn(move || serve(&mut worker(of_second, Element::F32, None), &second).expect("rank 0 ends it"));
            step(&mut Ranks::new(&mut worker(policy, Element::F32, None), &first))
        });
        assert!((found_norm / norm - 1.0).abs() < 1e-5, "{found_norm} {norm}");
        let values = |tensor: &NamedTensor<'_>| -> Vec<f64> {
            tensor.bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
        };
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!(found.name, wanted.name);
            let error = relative(&values(found), &values(wanted));
            // A step divides by the root of the second moment, which lets rounding through where it is small.
            assert!(error <= 1e-3, "{} differs by {error:.1e}", found.name);
        }
    }
}
