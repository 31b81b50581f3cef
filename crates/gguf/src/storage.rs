//! The bytes of a file.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file, mapped or in memory.
pub(crate) enum Storage {
    Mapped(Mmap),
    Memory(Vec<u8>),
}

impl Storage {
    /// Maps a file.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            // Some systems refuse to map an empty file.
            return Ok(Self::Memory(Vec::new()));
        }
        #[expect(unsafe_code, reason = "mapping a file is unsafe because others may change it")]
        // SAFETY: the map is only read. Another process that changes or truncates the file while it is
        // mapped would break this; `Writer` replaces files by renaming, which leaves a map intact.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self::Mapped(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}
