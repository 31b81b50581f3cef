//! Finds and opens NVIDIA's libraries.
//!
//! Where `TABPO_CUDA_LIBRARIES` names folders (separated as in `PATH`), the compiler and the products come from there and
//! from nowhere else, so that a machine with several versions computes with the one that was meant. Otherwise the
//! system's loader is asked first, then the folders of the toolkit and of the wheels that PyTorch brings are looked
//! through. The driver's own library lies where the system has it. `TABPO_CUDA_LIBRARIES=none` switches CUDA off.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable that names folders with NVIDIA's libraries.
pub const VARIABLE: &str = "TABPO_CUDA_LIBRARIES";
/// Its value that switches CUDA off.
const OFF: &str = "none";

/// One of NVIDIA's libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// libcuda, a part of the driver.
    Driver,
    /// NVRTC, the run-time compiler.
    Compiler,
    /// cuBLASLt, matrix products.
    Products,
}

impl Library {
    /// Its name without prefix and version.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "libcuda",
            Self::Compiler => "libnvrtc",
            Self::Products => "libcublasLt",
        }
    }

    const fn purpose(self) -> &'static str {
        match self {
            Self::Driver => "the NVIDIA driver's library",
            Self::Compiler => "NVIDIA's run-time compiler",
            Self::Products => "NVIDIA's matrix products",
        }
    }

    /// What brings it.
    const fn source(self) -> &'static str {
        match self {
            Self::Driver => {
                "it comes with the NVIDIA driver (550 or newer); in a container, start it with the cards (`--gpus all`)"
            }
            Self::Compiler => {
                "`pip install nvidia-cuda-nvrtc` brings it, as do PyTorch's wheels and the CUDA toolkit (12.4 or newer); \
                 TABPO_CUDA_LIBRARIES can name its folder"
            }
            Self::Products => {
                "`pip install nvidia-cublas` brings it, as do PyTorch's wheels and the CUDA toolkit (12.4 or newer); \
                 TABPO_CUDA_LIBRARIES can name its folder"
            }
        }
    }

    /// File names in the order of preference; with `newest`, none of a later major version of CUDA.
    fn files(self, newest: Option<u32>) -> Vec<String> {
        let majors = [13, 12].into_iter().filter(|&major| newest.is_none_or(|newest| major <= newest));
        let stem = self.name();
        match (self, cfg!(windows)) {
            (Self::Driver, true) => vec!["nvcuda.dll".to_owned()],
            (Self::Driver, false) => vec![format!("{stem}.so.1")],
            (Self::Compiler, true) => majors.map(|major| format!("nvrtc64_{major}0_0.dll")).collect(),
            (Self::Products, true) => majors.map(|major| format!("cublasLt64_{major}.dll")).collect(),
            (_, false) => majors.map(|major| format!("{stem}.so.{major}")).collect(),
        }
    }
}

/// Why a library can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It is nowhere.
    #[error("{} ({}) was not found: {looked}", library.name(), library.purpose())]
    Missing {
        /// The library.
        library: Library,
        /// Which files were looked for, and where.
        looked: String,
    },
    /// A file is there that can't be opened.
    #[error("{} ({}) can't be opened: {reason}", path.display(), library.purpose())]
    Broken {
        /// The library.
        library: Library,
        /// The file.
        path: PathBuf,
        /// What the system's loader said.
        reason: String,
    },
    /// The library lacks a function.
    #[error("{} ({}) is too old: it has no function `{symbol}`", path.display(), library.purpose())]
    TooOld {
        /// The library.
        library: Library,
        /// Its file.
        path: PathBuf,
        /// The missing function.
        symbol: String,
    },
    /// The user has switched CUDA off.
    #[error("CUDA is switched off: {VARIABLE} is \"{OFF}\"")]
    Off,
}

impl LibraryError {
    /// What brings the library.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooOld { library: Library::Driver, .. } => Some("install a newer NVIDIA driver (550 or newer)"),
            Self::Missing { library, .. } | Self::Broken { library, .. } | Self::TooOld { library, .. } => {
                Some(library.source())
            }
            Self::Off => Some("unset TABPO_CUDA_LIBRARIES, or let it name the folders with NVIDIA's libraries"),
        }
    }
}

/// Where libraries are looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    off: bool,
    /// The folders that the user named.
    named: Option<Vec<PathBuf>>,
    /// Folders of the toolkit and of wheels.
    folders: Vec<PathBuf>,
    /// In words, what `folders` came from.
    sources: Vec<String>,
}

impl Search {
    /// The places of this machine. Asks the `python3` on the path for its packages.
    pub fn of_this_machine() -> Self {
        match env::var_os(VARIABLE) {
            Some(value) if value.as_os_str() == OsStr::new(OFF) => Self { off: true, ..Self::default() },
            Some(value) if !value.is_empty() => {
                Self { named: Some(env::split_paths(&value).collect()), ..Self::default() }
            }
            _ => {
                let mut search = Self::default();
                search.add_toolkits();
                search.add_packages();
                search
            }
        }
    }

    /// Only these folders, as if the user had named them.
    pub fn within(folders: Vec<PathBuf>) -> Self {
        Self { named: Some(folders), ..Self::default() }
    }

    fn add_toolkits(&mut self) {
        let mut roots: Vec<PathBuf> =
            env::var_os("CUDA_HOME").or_else(|| env::var_os("CUDA_PATH")).map(PathBuf::from).into_iter().collect();
        roots.extend(children(Path::new("/usr/local"), |name| name.starts_with("cuda")).into_iter().rev());
        for root in roots {
            let folders = [root.join("lib64"), root.join("bin"), root.join("bin").join("x64")];
            self.folders.extend(folders.into_iter().filter(|folder| folder.is_dir()));
        }
        self.sources.push("/usr/local/cuda*".to_owned());
    }

    fn add_packages(&mut self) {
        let mut packages = Vec::new();
        if let Some(environment) = env::var_os("VIRTUAL_ENV").map(PathBuf::from) {
            packages.push(environment.join("Lib").join("site-packages"));
            for python in children(&environment.join("lib"), |name| name.starts_with("python3")) {
                packages.push(python.join("site-packages"));
            }
        }
        // `-I`: no folder of the user's can shadow the modules.
        let ask = "import site, sysconfig; print('\\n'.join({sysconfig.get_path('purelib'), \
                   sysconfig.get_path('platlib'), site.getusersitepackages(), *site.getsitepackages()}))";
        if let Ok(output) = Command::new("python3").args(["-I", "-c", ask]).output() {
            let mut found: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect();
            found.sort();
            packages.extend(found);
        }
        for package in packages {
            for family in children(&package.join("nvidia"), |_| true) {
                let folders = [family.join("lib"), family.join("bin"), family.join("bin").join("x86_64")];
                self.folders.extend(folders.into_iter().filter(|folder| folder.is_dir()));
            }
        }
        let mut seen = BTreeSet::new();
        self.folders.retain(|folder| seen.insert(folder.clone()));
        self.sources.push("the packages of python3 (nvidia/*/lib)".to_owned());
    }

    /// Opens a library; with `newest`, none of a later major version of CUDA than the driver knows.
    pub fn open(&self, library: Library, newest: Option<u32>) -> Result<Opened, LibraryError> {
        if self.off {
            return Err(LibraryError::Off);
        }
        let files = library.files(newest);
        let mut broken = None;
        let folders = self.named.as_deref().unwrap_or_default().iter();
        let by_loader = self.named.is_none() || library == Library::Driver;
        // Toolkit and wheels have no driver.
        let others: &[PathBuf] = if self.named.is_none() && library != Library::Driver { &self.folders } else { &[] };
        let bare = files.iter().filter(|_| by_loader).map(PathBuf::from);
        let within = |folder: &PathBuf| files.iter().map(|file| folder.join(file)).collect::<Vec<_>>();
        let candidates = folders.flat_map(within).chain(bare).chain(others.iter().flat_map(within));
        for path in candidates {
            let lies_in_folder = path.components().count() > 1;
            if lies_in_folder && !path.is_file() {
                continue;
            }
            match Opened::open(library, &path) {
                Ok(opened) => return Ok(opened),
                // The loader's message about a bare name doesn't say whether there is such a file.
                Err(error) if lies_in_folder => broken = broken.or(Some(error)),
                Err(_) => {}
            }
        }
        Err(broken.unwrap_or_else(|| LibraryError::Missing { library, looked: self.looked(library, &files) }))
    }

    /// `libnvrtc.so.13 and libnvrtc.so.12 were looked for by the system's loader and in ...`.
    fn looked(&self, library: Library, files: &[String]) -> String {
        let mut text = match files {
            [] => return format!("no {} of a version that the driver knows", library.name()),
            [one] => format!("{one} was looked for"),
            [more @ .., last] => format!("{} and {last} were looked for", more.join(", ")),
        };
        let mut places: Vec<String> = Vec::new();
        if let Some(named) = &self.named {
            let folders: Vec<String> = named.iter().map(|folder| folder.display().to_string()).collect();
            places.push(format!("in {} ({VARIABLE})", folders.join(", ")));
        }
        if self.named.is_none() || library == Library::Driver {
            places.push("by the system's loader".to_owned());
        }
        if self.named.is_none() && library != Library::Driver {
            places.extend(self.sources.iter().map(|source| format!("in {source}")));
        }
        for (index, place) in places.iter().enumerate() {
            let joint = match index {
                0 => " ",
                _ if index + 1 == places.len() => " and ",
                _ => ", ",
            };
            write!(text, "{joint}{place}").expect("writing to a string never fails");
        }
        text
    }
}

/// Entries of a folder whose name passes, in order; none if it can't be read.
fn children(folder: &Path, passes: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.filter(|entry| passes(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// A library that is open for as long as this lives.
#[derive(Debug)]
pub struct Opened {
    library: Library,
    path: PathBuf,
    handle: libloading::Library,
    /// What the library itself opens later by a bare name, which finds these copies.
    _companions: Vec<libloading::Library>,
}

impl Opened {
    fn open(library: Library, path: &Path) -> Result<Self, LibraryError> {
        let broken = |error: libloading::Error| LibraryError::Broken {
            library,
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut companions = Vec::new();
        if let (Library::Compiler, Some(folder)) = (library, path.parent()) {
            for builtins in children(folder, |name| name.contains("nvrtc-builtins")) {
                // SAFETY: NVIDIA's libraries run no initialisation that depends on the caller. What can't be opened
                // here shows when the compiler looks for it.
                companions.extend(unsafe { libloading::Library::new(&builtins) });
            }
        }
        // SAFETY: as above.
        let handle = unsafe { libloading::Library::new(path) }.map_err(broken)?;
        Ok(Self { library, path: path.to_owned(), handle, _companions: companions })
    }

    /// The file as it was opened: a path, or a bare name that the system's loader found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A copy of the symbol's value.
    ///
    /// # Safety
    /// The symbol must be of type `T`, and `T` a function pointer that isn't used after the library is closed.
    pub(crate) unsafe fn symbol<T: Copy>(&self, name: &str) -> Result<T, LibraryError> {
        // SAFETY: the caller promises the type.
        match unsafe { self.handle.get::<T>(name) } {
            Ok(symbol) => Ok(*symbol),
            Err(_) => {
                Err(LibraryError::TooOld { library: self.library, path: self.path.clone(), symbol: name.to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_itself_its_files_and_every_place() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let search = Search { sources: vec!["the toolkit".to_owned()], ..Search::default() };
        assert_eq!(
            search.looked(Library::Driver, &["libcuda.so.1".to_owned()]),
            "libcuda.so.1 was looked for by the system's loader"
        );
        let files = ["a", "b", "c"].map(str::to_owned);
        let wanted = "a, b and c were looked for by the system's loader and in the toolkit";
        assert_eq!(search.looked(Library::Compiler, &files), wanted);
        let error = Search::within(vec![folder.path().to_owned()]).open(Library::Compiler, None).expect_err("empty");
        let text = error.to_string();
        for part in ["libnvrtc", "run-time compiler", VARIABLE, &folder.path().display().to_string()] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(error.hint().expect("known").contains("nvidia-cuda-nvrtc"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_no_library_is_named_with_the_loaders_words() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let file = folder.path().join("libcublasLt.so.13");
        fs::write(&file, "not a library").expect("the folder can be written to");
        let error = Search::within(vec![folder.path().to_owned()]).open(Library::Products, None).expect_err("broken");
        assert!(matches!(&error, LibraryError::Broken { path, .. } if *path == file), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_library_without_our_functions_is_too_old_and_newer_ones_than_the_driver_are_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let system = [
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/lib64/libm.so.6",
            "/usr/lib/libm.so.6",
            "/lib/aarch64-linux-gnu/libm.so.6",
        ];
        let system = system.into_iter().find(|path| Path::new(path).is_file()).expect("every Linux has a libm");
        std::os::unix::fs::symlink(system, folder.path().join("libnvrtc.so.13")).expect("a link can be made");
        let search = Search::within(vec![folder.path().to_owned()]);
        let opened = search.open(Library::Compiler, Some(13)).expect("it is a library");
        // SAFETY: the symbol isn't there.
        let found = unsafe { opened.symbol::<unsafe extern "C" fn()>("nvrtcVersion") };
        assert!(matches!(found, Err(LibraryError::TooOld { symbol, .. }) if symbol == "nvrtcVersion"));
        assert!(matches!(search.open(Library::Compiler, Some(12)), Err(LibraryError::Missing { .. })));
    }

    #[test]
    fn none_switches_everything_off() {
        let search = Search { off: true, ..Search::default() };
        for library in [Library::Driver, Library::Compiler, Library::Products] {
            assert!(matches!(search.open(library, None), Err(LibraryError::Off)));
        }
    }
}
