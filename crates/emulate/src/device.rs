//! The emulated device.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tabpo_cuda::driver::{Address, DeviceMemory, Driver, DriverError, Launch, Product};

use crate::machine::Machine;
use crate::product;

/// The order in which the threads of a block take turns at barriers, and the blocks of a launch follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By number.
    Forwards,
    /// By number, from the last.
    Backwards,
    /// Another order at every turn.
    Shuffled,
    /// One warp after the other as far as it gets, so that the others are as far behind as a barrier lets them.
    WarpByWarp,
}

impl Order {
    /// All orders.
    pub const ALL: [Self; 4] = [Self::Forwards, Self::Backwards, Self::Shuffled, Self::WarpByWarp];
}

/// A device whose kernels run on the CPU, one block after the other. Operations are done when they return. An address is
/// the host's, and every access is checked against the allocations.
#[derive(Debug)]
pub struct Emulator {
    state: Mutex<State>,
    order: Order,
    total: u64,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    used: u64,
}

/// The seed of the shuffled orders: runs repeat.
const SEED: u32 = 7;

impl Emulator {
    /// A device with one gigabyte of memory.
    pub fn new(order: Order) -> Self {
        Self::with_memory(order, 1 << 30)
    }

    /// A device with `total` bytes of memory.
    pub fn with_memory(order: Order, total: u64) -> Self {
        Self { state: Mutex::new(State { machine: Machine::new(), used: 0 }), order, total }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic between two operations leaves the device as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver for Emulator {
    fn name(&self) -> String {
        "emulated device".to_owned()
    }

    fn memory(&self) -> Result<DeviceMemory, DriverError> {
        Ok(DeviceMemory { free: self.total - self.state().used, total: self.total })
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        let mut state = self.state();
        let free = self.total - state.used;
        let full = DriverError::OutOfMemory { asked: bytes as u64, free, total: self.total };
        if bytes as u64 > free {
            return Err(full);
        }
        let address = state.machine.allocate(bytes).ok_or(full)?;
        state.used += bytes as u64;
        Ok(Address(address))
    }

    fn free(&self, address: Address) -> Result<(), DriverError> {
        let mut state = self.state();
        let Some(bytes) = state.machine.free(address.0) else {
            return Err(DriverError::Access { what: "freeing memory".to_owned(), address: address.0, bytes: 0 });
        };
        state.used -= bytes as u64;
        Ok(())
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        self.state().machine.bytes("an upload", to.0, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        bytes.copy_from_slice(self.state().machine.bytes("a download", from.0, bytes.len())?);
        Ok(())
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        let mut state = self.state();
        if to.0.abs_diff(from.0) < bytes as u64 {
            let reason = "the ranges overlap".to_owned();
            return Err(DriverError::Failed { what: "a copy".to_owned(), reason });
        }
        let source = state.machine.bytes("reading for a copy", from.0, bytes)?.to_vec();
        state.machine.bytes("writing a copy", to.0, bytes)?.copy_from_slice(&source);
        Ok(())
    }

    fn clear(&self, address: Address, bytes: usize) -> Result<(), DriverError> {
        self.state().machine.bytes("clearing memory", address.0, bytes)?.fill(0);
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DriverError> {
        self.state().machine.launch(launch, self.order as i32, SEED)
    }

    fn product(&self, product: &Product) -> Result<(), DriverError> {
        product::compute(&mut self.state().machine, product)
    }

    fn wait(&self) -> Result<(), DriverError> {
        Ok(())
    }
}
