//! What `tabpo gpu check` runs on a card, on the emulated device.

use tabpo_cuda::check;
use tabpo_cuda::driver::Driver;
use tabpo_emulate::{Emulator, Order};

#[test]
fn every_check_passes_and_gives_its_memory_back() {
    let device = Emulator::new(Order::Shuffled);
    let before = device.memory().expect("it is known");
    let outcomes = check::run(&device, 11, &mut |_| {}).expect("the device survives");
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(outcomes.len() > 80, "{} checks", outcomes.len());
    assert_eq!(device.memory().expect("it is known"), before);
}
