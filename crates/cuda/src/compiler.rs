//! Compiles the kernels' sources to machine code with NVRTC. It needs no card.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::bindings::nvrtc::{COMPILATION, Nvrtc, Program, SUCCESS};
use crate::driver::DriverError;
use crate::kernels::{HEADER, Source};
use crate::library::{Library, Opened, Search};

/// The kind of processor that machine code is for: ten times the major compute capability plus the minor one.
///
/// Machine code of one runs on others of the same major capability with a minor one that is as high or higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture(u32);

impl Architecture {
    /// The oldest that has bf16 tensor cores and asynchronous copies.
    pub const OLDEST: Self = Self(80);

    /// The architecture of a compute capability.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self(major * 10 + minor)
    }

    /// The major compute capability.
    pub const fn major(self) -> u32 {
        self.0 / 10
    }

    /// Whether machine code for `self` runs on `card`.
    pub fn runs_on(self, card: Self) -> bool {
        self.major() == card.major() && self <= card
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.0)
    }
}

impl FromStr for Architecture {
    type Err = String;

    /// Reads `sm_90`, and `90` or `9.0` for the same.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("sm_").unwrap_or(text).replacen('.', "", 1);
        match number.parse() {
            Ok(number) if (Self::OLDEST.0..1000).contains(&number) => Ok(Self(number)),
            Ok(number) if number < Self::OLDEST.0 => Err(format!("the oldest that works is {}", Self::OLDEST)),
            _ => Err("an architecture is written as in `sm_90`".to_owned()),
        }
    }
}

/// A version of NVIDIA's software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Machine code of a source file.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The code.
    pub code: Vec<u8>,
    /// What each kernel takes, in the order of their names.
    pub usage: Vec<Usage>,
}

/// What a thread of a kernel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The kernel's symbol.
    pub kernel: String,
    /// Registers of 32 bits.
    pub registers: u32,
    /// Bytes that are stored to memory and loaded again for want of registers.
    pub spilled: u32,
}

/// Reads what the assembler reports about every kernel.
fn usage(log: &str) -> Vec<Usage> {
    let number_before = |line: &str, unit: &str| {
        line.find(unit).and_then(|at| line[..at].split_whitespace().last()).and_then(|word| word.parse::<u32>().ok())
    };
    let mut kernels: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.push(Usage { kernel, registers: 0, spilled: 0 });
        } else if let Some(current) = kernels.last_mut() {
            let spills = [" bytes spill stores", " bytes spill loads"].map(|unit| number_before(line, unit));
            current.spilled += spills.into_iter().flatten().sum::<u32>();
            current.registers = number_before(line, " registers").unwrap_or(current.registers);
        }
    }
    kernels.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    kernels
}

/// NVRTC.
pub struct Compiler {
    api: Nvrtc,
    version: Version,
    library: Opened,
}

impl Compiler {
    /// Opens the library; with `newest`, none of a later major version of CUDA than the driver knows.
    pub fn open(search: &Search, newest: Option<u32>) -> Result<Self, DriverError> {
        let library = search.open(Library::Compiler, newest)?;
        // SAFETY: the library is NVRTC by its name, and it is kept open beside the functions.
        let api = unsafe { Nvrtc::load(&library) }?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both point to an integer.
        let code = unsafe { (api.version)(&raw mut major, &raw mut minor) };
        let compiler = Self { api, version: Version { major: major as u32, minor: minor as u32 }, library };
        compiler.check(code, "nvrtcVersion")?;
        Ok(compiler)
    }

    /// The compiler's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        self.library.path()
    }

    /// The architectures that it knows, from the oldest of ours on.
    pub fn architectures(&self) -> Result<Vec<Architecture>, DriverError> {
        let mut count = 0;
        // SAFETY: the pointer is to an integer.
        self.check(unsafe { (self.api.count_architectures)(&raw mut count) }, "nvrtcGetNumSupportedArchs")?;
        let mut numbers: Vec<c_int> = vec![0; count as usize];
        // SAFETY: the buffer has room for as many numbers as the library has said it writes.
        self.check(unsafe { (self.api.architectures)(numbers.as_mut_ptr()) }, "nvrtcGetSupportedArchs")?;
        let known = numbers.into_iter().map(|number| Architecture(number as u32));
        Ok(known.filter(|&architecture| architecture >= Architecture::OLDEST).collect())
    }

    /// Compiles a file.
    pub fn compile(&self, source: Source, architecture: Architecture) -> Result<Binary, DriverError> {
        let failed = |reason: String| DriverError::Kernels { file: format!("{}.cu", source.name), reason };
        let known = self.architectures()?;
        if !known.contains(&architecture) {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            return Err(failed(format!(
                "NVRTC {} doesn't know {architecture}; it knows {}",
                self.version,
                known.join(", ")
            )));
        }
        let text = |text: &str| CString::new(text).map_err(|_| failed("a NUL in a source".to_owned()));
        let (name, body) = (text(&format!("{}.cu", source.name))?, text(source.text)?);
        let (header_name, header) = (text(HEADER.0)?, text(HEADER.1)?);
        let mut program = std::ptr::null_mut();
        // SAFETY: all strings end with NUL and live until the program is destroyed; there is one header.
        let code = unsafe {
            let (texts, names) = (header.as_ptr(), header_name.as_ptr());
            (self.api.create)(&raw mut program, body.as_ptr(), name.as_ptr(), 1, &raw const texts, &raw const names)
        };
        self.check(code, "nvrtcCreateProgram")?;
        let program = Destroyed { api: &self.api, program };
        let options: Vec<CString> =
            options(architecture).iter().map(|option| text(option)).collect::<Result<_, _>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the program exists; the options are strings that outlive the call.
        let code = unsafe { (self.api.compile)(program.program, pointers.len() as c_int, pointers.as_ptr()) };
        let log = self.bytes(program.program, self.api.log_size, self.api.log, "nvrtcGetProgramLog")?;
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
        if code == COMPILATION || (code != SUCCESS && !log.is_empty()) {
            return Err(failed(log));
        }
        self.check(code, "nvrtcCompileProgram")?;
        let code = self.bytes(program.program, self.api.code_size, self.api.code, "nvrtcGetCUBIN")?;
        Ok(Binary { code, usage: usage(&log) })
    }

    /// Fetches one of a program's results.
    fn bytes(
        &self,
        program: Program,
        size: unsafe extern "system" fn(Program, *mut usize) -> c_int,
        fetch: unsafe extern "system" fn(Program, *mut c_char) -> c_int,
        what: &str,
    ) -> Result<Vec<u8>, DriverError> {
        let mut length = 0;
        // SAFETY: the program exists, and the pointer is to an integer.
        self.check(unsafe { size(program, &raw mut length) }, what)?;
        let mut bytes = vec![0_u8; length];
        // SAFETY: the buffer has the length that the library has asked for.
        self.check(unsafe { fetch(program, bytes.as_mut_ptr().cast()) }, what)?;
        Ok(bytes)
    }

    fn check(&self, code: c_int, what: &str) -> Result<(), DriverError> {
        if code == SUCCESS {
            return Ok(());
        }
        // SAFETY: the function takes any number and returns a constant string.
        let reason = unsafe { CStr::from_ptr((self.api.error_string)(code)) }.to_string_lossy().into_owned();
        Err(DriverError::Failed { what: what.to_owned(), reason })
    }
}

/// The options that sources are compiled with.
pub(crate) fn options(architecture: Architecture) -> [String; 3] {
    // The assembler's report changes no code.
    [format!("--gpu-architecture={architecture}"), "--std=c++20".to_owned(), "--ptxas-options=-v".to_owned()]
}

/// A program that is destroyed when it is left.
struct Destroyed<'a> {
    api: &'a Nvrtc,
    program: Program,
}

impl Drop for Destroyed<'_> {
    fn drop(&mut self) {
        // SAFETY: the program was created and is destroyed once. Nothing is to be done about an error.
        unsafe { (self.api.destroy)(&raw mut self.program) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_read_as_people_write_them() {
        for text in ["sm_90", "90", "9.0"] {
            assert_eq!(text.parse(), Ok(Architecture::new(9, 0)));
        }
        assert_eq!("12.0".parse(), Ok(Architecture::new(12, 0)));
        for text in ["sm_75", "75", "", "hopper", "sm_9.0.0", "sm_90a"] {
            assert!(text.parse::<Architecture>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_assemblers_report_is_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
                   ptxas info    : Compiling entry function 'b' for 'sm_90'\n\
                   ptxas info    : Function properties for b\n    \
                   0 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n\
                   ptxas info    : Used 168 registers, used 1 barriers\n\
                   ptxas info    : Compiling entry function 'a' for 'sm_90'\n    \
                   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                   ptxas info    : Used 22 registers\n";
        let wanted = [("a", 22, 0), ("b", 168, 20)].map(|(kernel, registers, spilled)| Usage {
            kernel: kernel.to_owned(),
            registers,
            spilled,
        });
        assert_eq!(usage(log), wanted);
    }

    #[test]
    fn machine_code_runs_within_its_major_capability_upwards() {
        let [a80, a86, a90] = ["80", "86", "90"].map(|text| text.parse::<Architecture>().expect("valid"));
        assert!(a80.runs_on(a86) && a86.runs_on(a86));
        assert!(!a86.runs_on(a80) && !a80.runs_on(a90));
    }
}
