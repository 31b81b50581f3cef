//! Files for readers that take paths.

use std::fs;
use std::path::{Path, PathBuf};

/// What stands between the parts of an input that is several files.
pub const SEPARATOR: &[u8] = b"\n%%\n";

/// A folder of this process below the system's folder for temporary files. Processes end without notice
/// here, so that it is left behind: `TMPDIR` should name a place that is cleared.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder.
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tabpo-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    /// An empty folder inside.
    pub fn inside(&self, name: &str) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(&path).expect("the folder can be written");
        Self(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("the folder can be written");
        path
    }

    /// Writes a file into it, or takes it away where there is nothing to write.
    pub fn write_or_remove(&self, name: &str, bytes: &[u8]) {
        if bytes.is_empty() {
            let _ = fs::remove_file(self.0.join(name));
        } else {
            self.write(name, bytes);
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// The parts of an input, between [`SEPARATOR`]s; those that are missing are empty, and the last has the rest.
pub fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut rest = Some(bytes);
    std::array::from_fn(|index| {
        let bytes = rest.unwrap_or_default();
        let end = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        match end.filter(|_| index + 1 < N) {
            Some(end) => {
                rest = Some(&bytes[end + SEPARATOR.len()..]);
                &bytes[..end]
            }
            None => rest.take().unwrap_or_default(),
        }
    })
}
