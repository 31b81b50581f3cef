//! The kernel for AMX tiles. Tiles 0 to 3 hold the sums of a block of 32 by 32, tiles 4 and 5 the rows and
//! 6 and 7 the columns of one step; every loaded tile is used twice.
//!
//! The intrinsics for tiles are not stable, so the instructions are written as assembly.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::LazyLock;

use super::kernel::Run;

/// Whether the processor has tiles with bf16 products and the system allows this process to use them.
pub(super) fn is_available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| has_tiles() && request_permission());
    *AVAILABLE
}

fn has_tiles() -> bool {
    /// Leaf 7, EDX: bf16 products, tiles.
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    #[allow(unused_unsafe, reason = "safe in newer compilers than the oldest supported one")]
    // SAFETY: every 64-bit x86 processor has the instruction.
    let leaf = |number| unsafe { __cpuid_count(number, 0) };
    if leaf(0).eax < 7 {
        return false;
    }
    let features = leaf(7).edx;
    features & AMX_BF16 != 0 && features & AMX_TILE != 0
}

/// Requests permission to use tiles from Linux (`ARCH_REQ_XCOMP_PERM`), which holds for all threads of the
/// process.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the system call takes two numbers and accesses no memory of this process; `syscall` clobbers
    // rcx and r11, as declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Not supported on other systems.
#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// The operand of `ldtilecfg`: palette 1, and for every tile its bytes per row and its rows.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes.
static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Configures the tiles of this thread.
///
/// # Safety
/// The machine has AMX and the process may use it.
pub(super) unsafe fn configure() {
    // SAFETY: the operand is 64 bytes of a valid configuration; compiled code does not use tiles.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly)) };
}

/// Releases the tiles of this thread, so that the system need not save them.
///
/// # Safety
/// As [`configure`].
pub(super) unsafe fn release() {
    // SAFETY: compiled code does not use tiles.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// See [`super::kernel::Session::block`].
///
/// # Safety
/// As there; the tiles of this thread must be configured.
#[inline]
pub(super) unsafe fn block(runs: &[Run], target: *mut f32, stride: usize, accumulate: bool) {
    let stride = stride * size_of::<f32>();
    let lower = target.cast::<u8>().wrapping_add(16 * stride);
    // SAFETY: this accesses 32 rows of 32 sums at `target`, and reads two tiles of 1024 bytes per step from
    // both panels of every run, all of which the caller guarantees. The loops need at least one run, each
    // with at least one step, as guaranteed too. `Run` is `repr(C)`, with fields at 0, 8 and 16.
    unsafe {
        asm!(
            "test {accumulate:e}, {accumulate:e}",
            "jz 2f",
            "tileloadd tmm0, [{upper} + {stride}*1]",
            "tileloadd tmm1, [{upper} + {stride}*1 + 64]",
            "tileloadd tmm2, [{lower} + {stride}*1]",
            "tileloadd tmm3, [{lower} + {stride}*1 + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "mov {a}, [{run}]",
            "mov {b}, [{run} + 8]",
            "mov {steps}, [{run} + 16]",
            "4:",
            "tileloadd tmm4, [{a} + {line}*1]",
            "tileloadd tmm6, [{b} + {line}*1]",
            "tileloadd tmm7, [{b} + {line}*1 + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a} + {line}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 4b",
            "add {run}, 24",
            "cmp {run}, {end}",
            "jne 3b",
            "tilestored [{upper} + {stride}*1], tmm0",
            "tilestored [{upper} + {stride}*1 + 64], tmm1",
            "tilestored [{lower} + {stride}*1], tmm2",
            "tilestored [{lower} + {stride}*1 + 64], tmm3",
            accumulate = in(reg) u32::from(accumulate),
            upper = in(reg) target,
            lower = in(reg) lower,
            stride = in(reg) stride,
            line = in(reg) 64_usize,
            run = inout(reg) runs.as_ptr() => _,
            end = in(reg) runs.as_ptr().wrapping_add(runs.len()),
            a = out(reg) _,
            b = out(reg) _,
            steps = out(reg) _,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}
