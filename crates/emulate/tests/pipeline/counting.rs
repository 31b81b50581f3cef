//! A device that remembers which kernels it has run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tabpo_cuda::driver::{Address, DeviceMemory, Driver, DriverError, Launch, Product};
use tabpo_emulate::{Emulator, Order};

/// An emulated device that counts the launches of every kernel.
pub(crate) struct Counting {
    device: Emulator,
    launches: Mutex<BTreeMap<String, u64>>,
}

impl Counting {
    pub(crate) fn new() -> Self {
        Self { device: Emulator::new(Order::Forwards), launches: Mutex::default() }
    }

    /// How often kernels whose names begin like this were launched.
    pub(crate) fn launches(&self, name: &str) -> u64 {
        let launches = self.launches.lock().expect("nothing panics while it counts");
        launches.iter().filter(|(kernel, _)| kernel.starts_with(name)).map(|(_, count)| count).sum()
    }
}

impl Driver for Counting {
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
        let mut launches = self.launches.lock().expect("nothing panics while it counts");
        *launches.entry(launch.kernel.to_owned()).or_default() += 1;
        drop(launches);
        self.device.launch(launch)
    }
    fn product(&self, product: &Product) -> Result<(), DriverError> {
        self.device.product(product)
    }
    fn wait(&self) -> Result<(), DriverError> {
        self.device.wait()
    }
}
