//! Selects the kernel, and calls it for blocks of 32 by 32 sums.

use std::marker::PhantomData;
use std::sync::LazyLock;

use super::layout::Line;

/// Rows and columns of the block that a kernel computes, and depth of one step.
pub(crate) const SIDE: usize = 32;

/// Lines of one step of a panel: two tiles of 16 lines.
pub(crate) const STEP_LINES: usize = 32;

/// The most runs that a kernel accepts.
pub(crate) const MOST_RUNS: usize = 8;

/// A range of depth: a panel of rows and a panel of columns, both of `steps` times [`STEP_LINES`] lines.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Run {
    pub(crate) rows: *const Line,
    pub(crate) columns: *const Line,
    pub(crate) steps: usize,
}

/// A way to compute products of bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Tiles (`tdpbf16ps`).
    Amx,
    /// Vectors (`vdpbf16ps`).
    Avx512,
    /// Plain Rust.
    Portable,
}

static KERNEL: LazyLock<Kernel> =
    LazyLock::new(|| Kernel::ALL.into_iter().find(|kernel| kernel.is_available()).expect("one runs everywhere"));

/// The fastest kernel that this machine has.
pub(crate) fn kernel() -> Kernel {
    *KERNEL
}

impl Kernel {
    /// All kernels, the fastest first.
    pub(crate) const ALL: [Kernel; 3] = [Kernel::Amx, Kernel::Avx512, Kernel::Portable];

    /// The name of its instructions; `None` if it needs none.
    pub(crate) fn instructions(self) -> Option<&'static str> {
        match self {
            Kernel::Amx => Some("amx"),
            Kernel::Avx512 => Some("avx512-bf16"),
            Kernel::Portable => None,
        }
    }

    /// Whether this machine can run it.
    pub(crate) fn is_available(self) -> bool {
        match self {
            // Both kernels need AVX-512, which packs their operands.
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx => super::avx512::is_available() && super::amx::is_available(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => super::avx512::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Amx | Kernel::Avx512 => false,
            Kernel::Portable => true,
        }
    }
}

/// Permission to call a kernel on this thread. For AMX it configures the tiles and releases them when it is
/// dropped; it cannot be sent to another thread.
pub(crate) struct Session {
    kernel: Kernel,
    this_thread: PhantomData<*const ()>,
}

impl Session {
    /// Begins a session with an available kernel ([`Kernel::is_available`]).
    pub(crate) fn new(kernel: Kernel) -> Self {
        assert!(kernel.is_available(), "{kernel:?} must be available");
        #[cfg(target_arch = "x86_64")]
        if kernel == Kernel::Amx {
            // SAFETY: the machine has AMX and the process may use it, as checked above.
            unsafe { super::amx::configure() };
        }
        Self { kernel, this_thread: PhantomData }
    }

    /// `target = sum over runs of rows * columns`, or with `accumulate` `target += ...`, for a block of 32 by 32
    /// sums whose rows are `stride` elements apart.
    ///
    /// # Safety
    /// There are 1 to [`MOST_RUNS`] runs, each with at least one step, whose panels have [`STEP_LINES`] lines
    /// per step. The block lies in memory to which this thread has exclusive access.
    #[inline]
    pub(crate) unsafe fn block(&self, runs: &[Run], target: *mut f32, stride: usize, accumulate: bool) {
        debug_assert!(!runs.is_empty() && runs.len() <= MOST_RUNS && runs.iter().all(|run| run.steps > 0));
        match self.kernel {
            // SAFETY: guaranteed by the caller; the tiles of this thread are configured as long as `self` lives.
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx => unsafe { super::amx::block(runs, target, stride, accumulate) },
            // SAFETY: guaranteed by the caller; `new` has checked that the machine has the instructions.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { super::avx512::block(runs, target, stride, accumulate) },
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Amx | Kernel::Avx512 => unreachable!("a session begins with an available kernel"),
            // SAFETY: as promised by the caller.
            Kernel::Portable => unsafe { super::portable::block(runs, target, stride, accumulate) },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.kernel == Kernel::Amx {
            // SAFETY: `new` configured the tiles of this thread.
            unsafe { super::amx::release() };
        }
    }
}
