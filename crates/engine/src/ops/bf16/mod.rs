//! Matrix products of bf16 operands with sums in f32, for weights that do not change.
//!
//! Weights are packed once, when a model is made ready for training an adapter or for generation
//! ([`Columns`], two bytes a weight); activations are rounded to bf16 (to nearest, ties to even) panel by
//! panel as they come ([`Rows`]). A product of two bf16 numbers is exact in f32, so a result differs from
//! that of f32 by the rounding of the operands alone, a relative 2^-9 of each.
//!
//! One packing serves both directions: `y = x W^T` reads it as it is, and for `dx = dy W` each block of
//! 32 by 32 weights is transposed in registers on its way to the cache, once for up to 512 rows.
//!
//! Three kernels share the layout: the tiles of AMX, `vdpbf16ps` of AVX-512, and plain Rust, which is the reference of
//! the others. Which of them runs is decided once for the machine. How a product is cut depends on its shape alone, and
//! so does the order of every sum: results are the same for any number of threads.

mod kernel;
mod layout;
mod portable;
mod product;
mod rounding;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;

#[cfg(test)]
use kernel::Kernel;
pub(crate) use kernel::kernel;
pub(crate) use layout::{Columns, Rows};
pub(crate) use product::{Term, product};
