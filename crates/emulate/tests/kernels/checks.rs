//! What `tabpo gpu check` runs on a card, on the emulated device.

use std::collections::BTreeSet;
use std::sync::Mutex;

use tabpo_cuda::check;
use tabpo_cuda::driver::{Address, DeviceMemory, Driver, DriverError, Launch, Product};
use tabpo_emulate::{Emulator, Order, kernels};

/// A device that notes which kernels are launched.
struct Noting {
    device: Emulator,
    launched: Mutex<BTreeSet<String>>,
}

impl Driver for Noting {
    fn name(&self) -> String {
        self.device.name()
    }
    fn memory(&self) -> Result<DeviceMemory, DriverError> {
        self.device.memory()
    }
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        self.device.allocate(bytes)
    }
    fn free(&self, address: Address) -> Result<(), DriverError> {
        self.device.free(address)
    }
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        self.device.upload(to, bytes)
    }
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.device.download(from, bytes)
    }
    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        self.device.copy(to, from, bytes)
    }
    fn clear(&self, address: Address, bytes: usize) -> Result<(), DriverError> {
        self.device.clear(address, bytes)
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<(), DriverError> {
        self.launched.lock().expect("no launch panics").insert(launch.kernel.to_owned());
        self.device.launch(launch)
    }
    fn product(&self, product: &Product) -> Result<(), DriverError> {
        self.device.product(product)
    }
    fn wait(&self) -> Result<(), DriverError> {
        self.device.wait()
    }
}

#[test]
fn every_kernel_is_checked_and_passes() {
    let device = Noting { device: Emulator::new(Order::Shuffled), launched: Mutex::default() };
    let before = device.memory().expect("it is known");
    let outcomes = check::run(&device, 11, &mut |_| {}).expect("the device survives");
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(device.memory().expect("it is known"), before, "all memory was given back");
    // Rounding to bf16 shows: results are compared with something that isn't themselves.
    assert!(outcomes.iter().any(|outcome| outcome.error > 1e-4));

    let launched = device.launched.into_inner().expect("no launch panics");
    let broken = |name: &String| name.starts_with("sum_of_tiles");
    let left: Vec<String> = kernels().into_iter().filter(|name| !broken(name) && !launched.contains(name)).collect();
    assert!(left.is_empty(), "no check launches {left:?}");
}
