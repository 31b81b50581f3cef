//! What `tabpo gpu check` runs on a card, on the emulated device.

use std::sync::Arc;

use tabpo_cuda::check;
use tabpo_cuda::driver::{Driver, Profile};
use tabpo_emulate::{Emulator, Order, kernels};

#[test]
fn every_kernel_is_checked_and_passes() {
    let device = Profile::new(Arc::new(Emulator::new(Order::Shuffled)));
    let before = device.memory().expect("it is known");
    let outcomes = check::run(&device, 11, &mut |_| {}).expect("the device survives");
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(device.memory().expect("it is known"), before, "all memory was given back");
    // Rounding to bf16 shows: results are compared with something that isn't themselves.
    assert!(outcomes.iter().any(|outcome| outcome.error > 1e-4));

    let launched = device.spent();
    let broken = |name: &String| name.starts_with("sum_of_tiles");
    let left: Vec<String> =
        kernels().into_iter().filter(|name| !broken(name) && !launched.contains_key(name)).collect();
    assert!(left.is_empty(), "no check launches {left:?}");
}
