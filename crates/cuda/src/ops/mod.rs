//! The kernels as functions: shapes and places go in, grids, threads and shared memory are worked out here. Every
//! forward pass has its backward pass beside it.
//!
//! Widths and strides are in numbers and multiples of 8, and every address is aligned to 16 bytes, as kernels read sixteen
//! bytes at a time. Sums over rows go through parts that are added in a fixed order.

mod attention;
mod decode;
mod dropout;
mod embedding;
mod head;
mod linear;
mod nf4;
mod norm;
mod optimiser;
mod reduce;
mod rope;
mod sample;
mod swiglu;

pub use attention::{Attention, AttentionGradient, Projected, TileLists};
pub use decode::{Cache, DecodeAttention, PAGE};
pub use dropout::dropout;
pub use embedding::Embedding;
pub use head::{Head, Logits, ReferenceLogits};
pub use linear::{Linear, weight_gradient};
pub use nf4::Nf4;
pub use norm::Norm;
pub use optimiser::{AdamW, Arenas, Parameter, parameter_table};
pub use reduce::{Parts, bias_gradient, convert, scale, square_parts_bytes, sum_of_squares, transpose};
pub use rope::Rope;
pub use sample::{Draw, Picks};
pub use swiglu::Swiglu;

use crate::driver::{Address, Argument, Driver, DriverError, Element, Launch};

/// Threads of a warp.
const WARP: u32 = 32;

/// A device and the type of number that its kernels compute with.
#[derive(Clone, Copy)]
pub struct Kernels<'a> {
    /// The device.
    pub driver: &'a dyn Driver,
    /// The type of activations.
    pub element: Element,
}

/// A matrix on the device, stored row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The place of its first number.
    pub address: Address,
    /// Numbers from the start of a row to the start of the next.
    pub stride: u32,
}

/// The grid of a launch.
#[derive(Clone, Copy)]
struct Shape {
    grid: [u32; 3],
    threads: u32,
    /// Bytes of shared memory.
    shared: u32,
}

impl Kernels<'_> {
    /// Starts the kernel of this name for the kernels' type.
    fn start(&self, name: &str, shape: Shape, arguments: &[Argument]) -> Result<(), DriverError> {
        self.start_exactly(&format!("{name}_{}", self.element.suffix()), shape, arguments)
    }

    /// Starts the kernel of this name, which has one type only.
    fn start_exactly(&self, kernel: &str, shape: Shape, arguments: &[Argument]) -> Result<(), DriverError> {
        let Shape { grid, threads, shared } = shape;
        // A grid without blocks has nothing to do.
        if grid.contains(&0) {
            return Ok(());
        }
        self.driver.launch(&Launch { kernel, grid, threads, shared, arguments })
    }

    /// Numbers that a thread reads at once.
    fn wide(&self) -> u32 {
        16 / self.element.bytes() as u32
    }
}

impl From<Address> for Argument {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl From<Option<Address>> for Argument {
    /// None is the null pointer.
    fn from(address: Option<Address>) -> Self {
        Self::Address(address.unwrap_or(Address(0)))
    }
}

impl From<u32> for Argument {
    fn from(number: u32) -> Self {
        Self::U32(number)
    }
}

impl From<u64> for Argument {
    fn from(number: u64) -> Self {
        Self::U64(number)
    }
}

impl From<f32> for Argument {
    fn from(number: f32) -> Self {
        Self::F32(number)
    }
}

impl From<bool> for Argument {
    fn from(flag: bool) -> Self {
        Self::U32(u32::from(flag))
    }
}

/// The arguments of a launch.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { &[$($crate::driver::Argument::from($value)),*] };
}
use arguments;
