//! Memory-mapped files: the only unsafe code of this crate.
#![allow(unsafe_code, reason = "mapping a file is unsafe; each call says why it is sound")]

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

use crate::stored::TensorBytes;

/// A memory-mapped file, whose pages are read when they are first accessed.
pub(crate) struct Mapped(Mmap);

impl Mapped {
    /// Maps a file, which must not be empty.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is only read. It would be unsound if another process changed or truncated the
        // mapped file; this library replaces files by renaming, which leaves existing maps intact.
        unsafe { Mmap::map(file) }.map(Self)
    }
}

impl TensorBytes for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            // SAFETY: the map is read-only and backed by a file, so dropped pages are reread from it. A
            // failure only means that the memory stays in use.
            let _ =
                unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}
