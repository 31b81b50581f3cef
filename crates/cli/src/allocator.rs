//! Releases the memory that the allocator holds on to.
#![expect(unsafe_code, reason = "a function of the allocator that this program is linked with")]

// SAFETY: the function is part of mimalloc, this program's allocator, which is linked with it. It takes no pointers and may
// be called from any thread at any time.
unsafe extern "C" {
    /// Frees unused memory; with `force`, all of it at once.
    safe fn mi_collect(force: bool);
}

/// Returns freed memory to the operating system, so that resident memory is what the process uses.
pub(crate) fn give_back_freed() {
    mi_collect(true);
}
