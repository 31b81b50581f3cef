//! Memory-mapped files, the only place of this crate with unsafe code.
#![allow(unsafe_code, reason = "mapping a file is unsafe; the arguments stand beside the calls")]

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

use crate::stored::TensorBytes;

/// A file in memory, read page by page as it is looked at.
pub(crate) struct Mapped(Mmap);

impl Mapped {
    /// Maps a file, which must not be empty.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is only read. Another process that changes or truncates the file while it
        // is mapped would break this; weights are replaced by renaming, which leaves a map intact.
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
            // SAFETY: the map is of a file and only read; pages that are read again come from the file again.
            // Where the system can't, nothing is lost but memory.
            let _ =
                unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}
