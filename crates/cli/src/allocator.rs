//! What the allocator keeps of memory that was freed.
#![expect(unsafe_code, reason = "a function of the allocator that this program is linked with")]

// SAFETY: the function belongs to the allocator of this program (`mimalloc`, which is linked with it), takes
// no pointer, and may be called from any thread at any time.
unsafe extern "C" {
    /// Collects freed memory; with `force` it goes back to the system at once.
    safe fn mi_collect(force: bool);
}

/// Gives freed memory back to the system, so that what the process has resident is what it uses.
pub(crate) fn give_back_freed() {
    mi_collect(true);
}
