//! Which kernel runs, and the block of 32 by 32 sums that every kernel computes.

use std::sync::LazyLock;

use super::layout::Line;

/// Rows and columns of the block that a kernel computes, and depth of one step.
pub(crate) const SIDE: usize = 32;

/// Lines of one step of a panel: two tiles of 16 lines.
pub(crate) const STEP_LINES: usize = 32;

/// The longest list of runs that a kernel takes.
pub(crate) const MOST_RUNS: usize = 8;

/// A stretch of depth: a panel of rows against a panel of columns, both `steps` times [`STEP_LINES`] lines.
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
    LazyLock::new(|| Kernel::ALL.into_iter().find(|kernel| kernel.is_there()).expect("one of them runs everywhere"));

/// The fastest kernel that this machine has.
pub(crate) fn kernel() -> Kernel {
    *KERNEL
}

impl Kernel {
    /// All kernels, the fastest first.
    pub(crate) const ALL: [Kernel; 3] = [Kernel::Amx, Kernel::Avx512, Kernel::Portable];

    /// The name of its instructions; `None` where it needs none.
    pub(crate) fn instructions(self) -> Option<&'static str> {
        match self {
            Kernel::Amx => Some("amx"),
            Kernel::Avx512 => Some("avx512-bf16"),
            Kernel::Portable => None,
        }
    }

    /// Whether this machine can run it.
    pub(crate) fn is_there(self) -> bool {
        match self {
            // The packing of both kernels' operands uses AVX-512.
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx => super::avx512::is_there() && super::amx::is_there(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => super::avx512::is_there(),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Amx | Kernel::Avx512 => false,
            Kernel::Portable => true,
        }
    }
}

/// The right to call a kernel on this thread: for AMX the configuration of its tiles, which is taken back
/// when the session ends.
pub(crate) struct Session {
    kernel: Kernel,
}

impl Session {
    /// Begins. The kernel is there ([`Kernel::is_there`]).
    pub(crate) fn new(kernel: Kernel) -> Self {
        assert!(kernel.is_there(), "{kernel:?} was chosen because the machine has it");
        #[cfg(target_arch = "x86_64")]
        if kernel == Kernel::Amx {
            // SAFETY: the machine has AMX and the process may use it, as just checked.
            unsafe { super::amx::configure() };
        }
        Self { kernel }
    }

    /// `target = sum over runs of rows * columns` for a block of 32 by 32 sums with `stride` elements from
    /// row to row, or added to it.
    ///
    /// # Safety
    /// The runs' panels have as many lines as their steps say, and the block lies in memory that this
    /// thread may write.
    #[inline]
    pub(crate) unsafe fn block(&self, runs: &[Run], target: *mut f32, stride: usize, accumulate: bool) {
        debug_assert!(!runs.is_empty() && runs.len() <= MOST_RUNS && runs.iter().all(|run| run.steps > 0));
        match self.kernel {
            // SAFETY: as promised by the caller; the tiles of this thread are configured as long as `self` lives.
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx => unsafe { super::amx::block(runs, target, stride, accumulate) },
            // SAFETY: as promised by the caller; the machine has the instructions.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { super::avx512::block(runs, target, stride, accumulate) },
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Amx | Kernel::Avx512 => unreachable!("a session begins with a kernel that is there"),
            // SAFETY: as promised by the caller.
            Kernel::Portable => unsafe { super::portable::block(runs, target, stride, accumulate) },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.kernel == Kernel::Amx {
            // SAFETY: the session configured the tiles of this thread.
            unsafe { super::amx::release() };
        }
    }
}
