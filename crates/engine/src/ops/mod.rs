//! The operations of a decoder, each with its backward pass.

#![allow(clippy::inline_always, reason = "vector instructions reach only what is inlined; see `simd`")]

pub(crate) mod attention;
pub(crate) mod bf16;
pub(crate) mod cached;

pub(crate) mod gemm;
pub(crate) mod norm;
pub(crate) mod panels;
pub(crate) mod reduce;
pub(crate) mod rope;
pub(crate) mod softmax;
pub(crate) mod strips;
pub(crate) mod swiglu;
pub(crate) mod tiles;
pub(crate) mod transpose;

use std::sync::LazyLock;

use pulp::Arch;

/// Elements per task of an element-wise operation: a few microseconds of work.
pub(crate) const ELEMENTS_PER_TASK: usize = 1 << 14;

/// Rows per task of a row-wise operation.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (ELEMENTS_PER_TASK / width).max(1)
}

/// Runs work on a thread of the current pool. Every pass begins with this, because each of its many short
/// parallel loops would otherwise have to wake a thread of the pool.
pub(crate) fn on_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs a loop that is compiled for the widest vector instructions of this machine.
///
/// The closure must be `#[inline(always)]`, and so must everything it calls: code that is not inlined into the
/// function compiled for AVX2 or AVX-512 does not use those instructions, and its `mul_add` becomes a call into
/// the C library.
#[inline(always)]
pub(crate) fn simd<T>(work: impl FnOnce() -> T) -> T {
    ARCH.dispatch(work)
}
