//! The border to a device: memory, kernels, matrix products. Everything above it is the same code on a card and on the
//! emulated device of the tests.

mod card;
mod error;
mod product;
mod profile;

pub(crate) use card::WORKSPACE_BYTES;
pub use card::{Card, Device, System, memory_of, products_library};
pub use error::DriverError;
pub use product::{Element, Operand, Product};
pub use profile::{Profile, Spent};

/// A place in a device's memory, in bytes from its own zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

impl Address {
    /// The place `bytes` further on.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// One argument of a kernel, as the kernel declares it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A pointer into the device's memory; zero for a pointer that the kernel may find null.
    Address(Address),
    /// An unsigned number of 32 bits.
    U32(u32),
    /// A signed number of 32 bits.
    I32(i32),
    /// An unsigned number of 64 bits.
    U64(u64),
    /// A number in single precision.
    F32(f32),
}

impl Argument {
    /// Bytes of the argument.
    pub const fn size(self) -> usize {
        match self {
            Self::Address(_) | Self::U64(_) => 8,
            Self::U32(_) | Self::I32(_) | Self::F32(_) => 4,
        }
    }

    /// The argument's bits, in the lower half where it has 32.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Address(Address(value)) | Self::U64(value) => value,
            Self::U32(value) => value as u64,
            Self::I32(value) => value as u32 as u64,
            Self::F32(value) => value.to_bits() as u64,
        }
    }
}

/// A kernel with its arguments and the shape of its grid.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The kernel's symbol, such as `norm_forward_bf16`.
    pub kernel: &'a str,
    /// Blocks along x (up to 2^31 - 1), y and z (up to 65535 each).
    pub grid: [u32; 3],
    /// Threads of a block, along x: a multiple of 32, up to 1024.
    pub threads: u32,
    /// Bytes of shared memory of a block, all of it dynamic.
    pub shared: u32,
    /// The arguments in the order of the kernel's declaration.
    pub arguments: &'a [Argument],
}

impl Launch<'_> {
    /// Whether grid and threads are within what every device can run, for a kernel with parameters of `sizes` bytes.
    ///
    /// # Errors
    /// [`DriverError::Launch`] with the first thing that isn't.
    pub fn check(&self, sizes: &[usize]) -> Result<(), DriverError> {
        let fault = |reason: String| Err(DriverError::Launch { kernel: self.kernel.to_owned(), reason });
        let [x, y, z] = self.grid;
        if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 65535 || z > 65535 {
            return fault(format!("the grid is {x} x {y} x {z} blocks"));
        }
        if self.threads == 0 || self.threads > 1024 || !self.threads.is_multiple_of(32) {
            return fault(format!("a block has {} threads", self.threads));
        }
        if self.arguments.len() != sizes.len() {
            return fault(format!("it got {} arguments for {} parameters", self.arguments.len(), sizes.len()));
        }
        for (index, (argument, &size)) in self.arguments.iter().zip(sizes).enumerate() {
            if argument.size() != size {
                return fault(format!("argument {index} has {} bytes, its parameter {size}", argument.size()));
            }
        }
        Ok(())
    }
}

/// How much memory a device has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What can still be allocated, by this process and others.
    pub free: u64,
    /// What the device has.
    pub total: u64,
}

/// A device: its memory, its kernels and its matrix products.
///
/// Operations run in the order in which they are asked for. `clear`, `copy`, `launch` and `product` may return before
/// they are done, and an error of theirs may come out at a later call, at the latest at `wait`. `upload` returns once
/// `bytes` may be changed again; `download` returns with the bytes, after everything asked for before it.
pub trait Driver: Send + Sync {
    /// The device in words, for people.
    fn name(&self) -> String;
    /// Free and total memory.
    fn memory(&self) -> Result<DeviceMemory, DriverError>;
    /// Takes `bytes` of memory, aligned to 256 bytes; its content is undefined. Zero bytes are an error of the caller.
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError>;
    /// Gives memory back that `allocate` returned under this address.
    fn free(&self, address: Address) -> Result<(), DriverError>;
    /// Copies from the host to the device.
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DriverError>;
    /// Copies from the device to the host.
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DriverError>;
    /// Copies within the device; the ranges must not overlap.
    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError>;
    /// Fills with zeros.
    fn clear(&self, address: Address, bytes: usize) -> Result<(), DriverError>;
    /// Starts a kernel.
    fn launch(&self, launch: &Launch<'_>) -> Result<(), DriverError>;
    /// Starts a matrix product.
    fn product(&self, product: &Product) -> Result<(), DriverError>;
    /// Waits until everything asked for is done.
    fn wait(&self) -> Result<(), DriverError>;
}
