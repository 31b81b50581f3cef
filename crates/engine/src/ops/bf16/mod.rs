//! Matrix products of bf16 operands with sums in f32, for frozen weights.
//!
//! Weights are packed once, when a model is prepared for training an adapter or for generation ([`Columns`], two
//! bytes per weight); activations are rounded to bf16 (to nearest, ties to even) for each product ([`Rows`]). A
//! product of two bf16 numbers is exact in f32, so that a result differs from f32 only by the rounding of the
//! operands, with a relative error of 2^-9 each.
//!
//! One packing serves both directions: `y = x W^T` reads it directly, and for `dx = dy W` each block of 32 by 32
//! weights is transposed in registers on its way to the cache, once for up to 512 rows.
//!
//! Three kernels share the layout: AMX tiles, `vdpbf16ps` of AVX-512, and plain Rust, the reference for the others.
//! The kernel is selected once for the machine. The blocks of a product and the order of every sum depend only on its
//! shape, so that results are the same for any number of threads.

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
