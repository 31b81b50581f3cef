//! Time by kernel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Address, DeviceMemory, Driver, DriverError, Launch, Product};

/// What was spent on a kernel, or on products, copies or transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// How often.
    pub calls: u64,
    /// How long, in seconds.
    pub seconds: f64,
}

/// A device that is waited for before and after everything it is asked for, so that times can be told apart. A run on it
/// takes longer than on the device itself: every call carries what starting and waiting costs.
pub struct Profile {
    device: Arc<dyn Driver>,
    spent: Mutex<BTreeMap<String, Spent>>,
}

impl Profile {
    /// Nothing has been spent on the device yet.
    pub fn new(device: Arc<dyn Driver>) -> Self {
        Self { device, spent: Mutex::default() }
    }

    /// What was spent so far, by kernel; `product`, `copy`, `clear`, `upload` and `download` are not kernels of ours.
    pub fn spent(&self) -> BTreeMap<String, Spent> {
        self.entries().clone()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Spent>> {
        // A panic leaves whole entries.
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed(&self, name: &str, work: impl FnOnce() -> Result<(), DriverError>) -> Result<(), DriverError> {
        self.device.wait()?;
        let started = Instant::now();
        work()?;
        self.device.wait()?;
        let seconds = started.elapsed().as_secs_f64();
        let mut entries = self.entries();
        let entry = entries.entry(name.to_owned()).or_default();
        entry.calls += 1;
        entry.seconds += seconds;
        Ok(())
    }
}

impl Driver for Profile {
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
        self.timed("upload", || self.device.upload(to, bytes))
    }
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.timed("download", || self.device.download(from, bytes))
    }
    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        self.timed("copy", || self.device.copy(to, from, bytes))
    }
    fn clear(&self, address: Address, bytes: usize) -> Result<(), DriverError> {
        self.timed("clear", || self.device.clear(address, bytes))
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<(), DriverError> {
        self.timed(launch.kernel, || self.device.launch(launch))
    }
    fn product(&self, product: &Product) -> Result<(), DriverError> {
        self.timed("product", || self.device.product(product))
    }
    fn wait(&self) -> Result<(), DriverError> {
        self.device.wait()
    }
}
