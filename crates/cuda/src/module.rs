//! Machine code of the kernels, kept on disk.
//!
//! A file holds the code of one source for one architecture, with a header that says what it was made of. Files in the
//! cache are made when they are missing, damaged or of another source or compiler. A folder that `TABPO_KERNELS` names is
//! taken as it is, for machines without a compiler: `tabpo gpu compile --out` writes it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::compiler::{Architecture, Binary, Compiler, Usage, options};
use crate::cubin;
use crate::driver::DriverError;
use crate::kernels::{HEADER, SOURCES, Source};

/// The environment variable that names a folder with machine code.
pub const VARIABLE: &str = "TABPO_KERNELS";
const ENDING: &str = "cubin";
const MAGIC: &str = "tabpo kernels 1";

/// The machine code of one source file.
#[derive(Clone, Debug)]
pub struct Module {
    /// The source's name.
    pub name: &'static str,
    /// The architecture that the code is for.
    pub architecture: Architecture,
    /// The code.
    pub code: Vec<u8>,
    /// The names of its kernels, in order.
    pub kernels: Vec<String>,
    /// Whether it was compiled just now.
    pub compiled: bool,
}

/// Where machine code comes from.
#[derive(Clone, Debug)]
pub enum Store {
    /// A folder that is filled with what is compiled.
    Cache(PathBuf),
    /// A folder that is only read.
    Given(PathBuf),
    /// Nothing is kept.
    None,
}

impl Store {
    /// The folder of `TABPO_KERNELS`, or else the user's cache.
    pub fn of_this_machine() -> Self {
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(given) = folder(VARIABLE) {
            return Self::Given(given);
        }
        let home = || folder("HOME").map(|home| home.join(".cache"));
        match folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA")).or_else(home) {
            Some(cache) => Self::Cache(cache.join("tabpo").join("kernels")),
            None => Self::None,
        }
    }

    /// The folder.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Cache(folder) | Self::Given(folder) => Some(folder),
            Self::None => None,
        }
    }
}

/// Machine code of all sources for `card`. The compiler is asked for only where something has to be compiled.
///
/// A cache that can't be written to is no error: what would be kept is compiled again the next time.
pub fn modules<'a>(
    store: &Store,
    card: Architecture,
    compiler: &dyn Fn() -> Result<&'a Compiler, DriverError>,
) -> Result<Vec<Module>, DriverError> {
    match store {
        Store::Given(folder) => SOURCES.iter().map(|&source| given(folder, source, card)).collect(),
        Store::Cache(folder) => {
            let compiler = compiler()?;
            let path = |source: Source| folder.join(file_name(source, card));
            let kept: Vec<Option<Module>> =
                SOURCES.iter().map(|&source| kept(&path(source), source, card, compiler)).collect();
            let missing: Vec<Source> =
                SOURCES.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(&source, _)| source).collect();
            let mut made = compile(compiler, &missing, card)?.into_iter();
            let mut modules = Vec::new();
            for (kept, &source) in kept.into_iter().zip(SOURCES) {
                modules.push(match kept {
                    Some(kept) => kept,
                    None => {
                        let (module, _) = made.next().expect("one is made for each that is missing");
                        // Another process may be writing the same file, or the disk may be full.
                        let _ = write(&path(source), &module, source, compiler);
                        module
                    }
                });
            }
            Ok(modules)
        }
        Store::None => Ok(compile(compiler()?, SOURCES, card)?.into_iter().map(|(module, _)| module).collect()),
    }
}

/// Compiles sources on all processors, each with what its kernels take. In the order of the sources.
pub fn compile(
    compiler: &Compiler,
    sources: &[Source],
    architecture: Architecture,
) -> Result<Vec<(Module, Vec<Usage>)>, DriverError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(&source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((source.name, compiler.compile(source, architecture)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(sources.len());
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("compiling doesn't panic")).collect()
    });
    done.sort_by_key(|(name, _)| sources.iter().position(|source| source.name == *name));
    done.into_iter()
        .map(|(name, binary)| {
            let Binary { code, usage } = binary?;
            let kernels = cubin::kernels(&code).ok_or_else(|| DriverError::Kernels {
                file: format!("{name}.cu"),
                reason: "what the compiler made isn't machine code that tabpo can read".to_owned(),
            })?;
            Ok((Module { name, architecture, code, kernels, compiled: true }, usage))
        })
        .collect()
}

/// Writes machine code as a file that [`modules`] reads.
pub fn write(path: &Path, module: &Module, source: Source, compiler: &Compiler) -> io::Result<()> {
    let header = Header {
        source: digest(source, module.architecture),
        compiler: compiler.version().to_string(),
        code: blake3::hash(&module.code),
    };
    tabpo_files::replace(path, |file| {
        file.write_all(header.text().as_bytes())?;
        file.write_all(&module.code)
    })
}

/// The name of the file for a source and an architecture.
pub fn file_name(source: Source, architecture: Architecture) -> String {
    format!("{}.{architecture}.{ENDING}", source.name)
}

/// What the code depends on, apart from the compiler's version.
fn digest(source: Source, architecture: Architecture) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let parts = [source.name, source.text, HEADER.0, HEADER.1];
    for part in parts.into_iter().map(str::to_owned).chain(options(architecture)) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize()
}

/// What stands before the code in a file.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    source: blake3::Hash,
    compiler: String,
    code: blake3::Hash,
}

impl Header {
    fn text(&self) -> String {
        format!("{MAGIC}\nsource {}\nnvrtc {}\ncode {}\n", self.source, self.compiler, self.code)
    }

    /// The header and the code of a file, if the code is undamaged.
    fn read(bytes: &[u8]) -> Option<(Self, Vec<u8>)> {
        let mut parts = bytes.splitn(5, |&byte| byte == b'\n');
        let mut line = || std::str::from_utf8(parts.next()?).ok();
        if line()? != MAGIC {
            return None;
        }
        let source = blake3::Hash::from_hex(line()?.strip_prefix("source ")?).ok()?;
        let compiler = line()?.strip_prefix("nvrtc ")?.to_owned();
        let code = blake3::Hash::from_hex(line()?.strip_prefix("code ")?).ok()?;
        let body = parts.next()?;
        (blake3::hash(body) == code).then(|| (Self { source, compiler, code }, body.to_vec()))
    }
}

/// A file of the cache, if it is undamaged and of this source and compiler.
fn kept(path: &Path, source: Source, architecture: Architecture, compiler: &Compiler) -> Option<Module> {
    let (header, code) = Header::read(&fs::read(path).ok()?)?;
    if header.source != digest(source, architecture) || header.compiler != compiler.version().to_string() {
        return None;
    }
    let kernels = cubin::kernels(&code)?;
    Some(Module { name: source.name, architecture, code, kernels, compiled: false })
}

/// The machine code that a given folder has for a source: for the card's own architecture, or else for the nearest that
/// runs on it.
fn given(folder: &Path, source: Source, card: Architecture) -> Result<Module, DriverError> {
    let failed = |reason: String| DriverError::Kernels { file: format!("{}.cu", source.name), reason };
    let place = format!("{} ({VARIABLE})", folder.display());
    let entries = fs::read_dir(folder).map_err(|error| failed(format!("cannot read {place}: {error}")))?;
    let mut found: Vec<(Architecture, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let architecture =
                name.strip_prefix(source.name)?.strip_prefix('.')?.strip_suffix(ENDING)?.strip_suffix('.')?;
            Some((architecture.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    let Some((architecture, path)) = found.iter().rev().find(|(architecture, _)| architecture.runs_on(card)) else {
        return Err(failed(format!(
            "{place} has no {} nor other machine code of it that runs on {card}",
            file_name(source, card)
        )));
    };
    let bytes = fs::read(path).map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
    let (header, code) = Header::read(&bytes).ok_or_else(|| failed(format!("{} is damaged", path.display())))?;
    if header.source != digest(source, *architecture) {
        return Err(failed(format!("{} was compiled by another version of tabpo", path.display())));
    }
    let kernels = cubin::kernels(&code).ok_or_else(|| failed(format!("{} has no machine code", path.display())))?;
    Ok(Module { name: source.name, architecture: *architecture, code, kernels, compiled: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_written_and_any_changed_byte_is_damage() {
        let code = b"\x7fELF\nany\nbytes".to_vec();
        let header = Header { source: blake3::hash(b"s"), compiler: "13.0".to_owned(), code: blake3::hash(&code) };
        let mut bytes = header.text().into_bytes();
        bytes.extend(&code);
        assert_eq!(Header::read(&bytes), Some((header, code)));
        let sound = Header::read(&bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_ne!(Header::read(&damaged), sound, "byte {at}");
            assert!(Header::read(&bytes[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn given_code_of_another_version_damaged_or_absent_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let (source, card) = (SOURCES[0], Architecture::new(8, 6));
        let refusal = || given(folder.path(), source, card).expect_err("refused").to_string();
        assert!(refusal().contains(&file_name(source, card)), "{}", refusal());
        let older = Architecture::new(8, 0);
        let path = folder.path().join(file_name(source, older));
        fs::write(&path, "anything").expect("the folder can be written to");
        assert!(refusal().contains("is damaged"), "{}", refusal());
        let header = Header { source: blake3::hash(b"another"), compiler: "13.0".to_owned(), code: blake3::hash(b"") };
        fs::write(&path, header.text()).expect("the folder can be written to");
        assert!(refusal().contains("another version of tabpo"), "{}", refusal());
        // Machine code for another major capability is no candidate.
        fs::rename(&path, folder.path().join(file_name(source, Architecture::new(9, 0)))).expect("it can be renamed");
        assert!(refusal().contains("runs on sm_86"), "{}", refusal());
    }
}
