//! The emulator's own functions, in C++.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use tabpo_cuda::driver::{Argument, DriverError, Launch};

/// A machine of the C++ side.
#[repr(C)]
struct Raw {
    _private: [u8; 0],
}

// SAFETY: these are the declarations in `machine/launch.cpp`.
unsafe extern "C" {
    fn emulate_new() -> *mut Raw;
    fn emulate_delete(machine: *mut Raw);
    fn emulate_allocate(machine: *mut Raw, bytes: usize) -> *mut c_void;
    fn emulate_free(machine: *mut Raw, memory: *mut c_void) -> usize;
    fn emulate_holds(machine: *const Raw, at: usize, bytes: usize) -> bool;
    fn emulate_arguments(name: *const c_char) -> *const c_char;
    fn emulate_next(name: *const c_char) -> *const c_char;
    fn emulate_launch(
        machine: *mut Raw,
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        shared: u32,
        arguments: *const u64,
        count: usize,
        order: c_int,
        seed: u32,
        message: *mut c_char,
        room: usize,
    );
}

/// The most arguments of a kernel (the fiber keeps them on its stack).
const MOST_ARGUMENTS: usize = 32;
/// The largest shared memory of a block on the cards of section 2 of the design (compute capability 8.6).
const MOST_SHARED: u32 = 99 << 10;

/// The memory of one emulated device, freed with it.
#[derive(Debug)]
pub(crate) struct Machine(*mut Raw);

// SAFETY: the machine is owned memory; what the C++ side keeps per thread doesn't refer to it between calls.
unsafe impl Send for Machine {}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from `emulate_new` and is not used afterwards.
        unsafe { emulate_delete(self.0) }
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        // SAFETY: no requirements.
        Self(unsafe { emulate_new() })
    }

    /// NaN-filled memory; `None` if there is none.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Option<u64> {
        // SAFETY: the machine is alive.
        let memory = unsafe { emulate_allocate(self.0, bytes) };
        (!memory.is_null()).then_some(memory as u64)
    }

    /// The size of the allocation that was freed; `None` if there was none at this address.
    pub(crate) fn free(&mut self, address: u64) -> Option<usize> {
        // SAFETY: the machine is alive, and it looks the address up before it frees.
        let bytes = unsafe { emulate_free(self.0, address as *mut c_void) };
        (bytes > 0).then_some(bytes)
    }

    /// The memory of a range within one allocation.
    pub(crate) fn bytes(&mut self, what: &str, address: u64, bytes: usize) -> Result<&mut [u8], DriverError> {
        // SAFETY: the machine is alive.
        if bytes > 0 && !unsafe { emulate_holds(self.0, address as usize, bytes) } {
            return Err(DriverError::Access { what: what.to_owned(), address, bytes: bytes as u64 });
        }
        let start = if bytes == 0 { ptr::NonNull::dangling().as_ptr() } else { address as *mut u8 };
        // SAFETY: the range lies in one allocation, which was filled when it was made and lives while `self` is
        // borrowed; `&mut self` keeps everything else away from it.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, bytes) })
    }

    /// Runs a kernel in an order of threads (see `emulate_launch`).
    pub(crate) fn launch(&mut self, launch: &Launch<'_>, order: c_int, seed: u32) -> Result<(), DriverError> {
        let Launch { kernel, grid, threads, shared, arguments } = *launch;
        let fault = |reason: String| Err(DriverError::Launch { kernel: kernel.to_owned(), reason });
        let unknown = || DriverError::UnknownKernel(kernel.to_owned());
        let name = CString::new(kernel).map_err(|_| unknown())?;
        // SAFETY: the name ends with a zero; the result is null or a constant string.
        let kinds = unsafe { emulate_arguments(name.as_ptr()) };
        if kinds.is_null() {
            return Err(unknown());
        }
        // SAFETY: as just said.
        let kinds = unsafe { CStr::from_ptr(kinds) }.to_bytes();
        let size = |kind: &u8| if matches!(kind, b'p' | b'U') { 8 } else { 4 };
        launch.check(&kinds.iter().map(size).collect::<Vec<_>>())?;
        if shared > MOST_SHARED {
            return fault(format!("{shared} bytes of shared memory, where cards have {MOST_SHARED}"));
        }
        if kinds.len() > MOST_ARGUMENTS {
            return fault(format!("the emulator takes {MOST_ARGUMENTS} arguments"));
        }
        let mut values = [0; MOST_ARGUMENTS];
        for (index, ((argument, &wanted), value)) in arguments.iter().zip(kinds).zip(&mut values).enumerate() {
            *value = argument.bits();
            let kind = match argument {
                Argument::Address(_) => b'p',
                Argument::U32(_) => b'u',
                Argument::I32(_) => b'i',
                Argument::U64(_) => b'U',
                Argument::F32(_) => b'f',
            };
            if kind != wanted {
                return fault(format!("argument {index} is {argument:?} where it declares a `{}`", wanted as char));
            }
        }
        let mut message = [0_u8; 1024];
        // SAFETY: the kernel exists and gets the arguments that it declares, of at most eight bytes each; `grid` has
        // three numbers, and the message ends within its room. What the kernel does with the memory is checked.
        unsafe {
            emulate_launch(
                self.0,
                name.as_ptr(),
                grid.as_ptr(),
                threads,
                shared,
                values.as_ptr(),
                arguments.len(),
                order,
                seed,
                message.as_mut_ptr().cast(),
                message.len(),
            );
        }
        let message = CStr::from_bytes_until_nul(&message).expect("the message ends with a zero").to_string_lossy();
        if message.is_empty() {
            return Ok(());
        }
        Err(DriverError::Failed { what: format!("the kernel `{kernel}`"), reason: message.into_owned() })
    }
}

/// The names of all kernels, sorted.
pub fn kernels() -> Vec<String> {
    let mut names = Vec::new();
    let mut name = ptr::null();
    loop {
        // SAFETY: the name is null or came from this function, so that it is a constant string.
        name = unsafe { emulate_next(name) };
        if name.is_null() {
            names.sort();
            return names;
        }
        // SAFETY: as above.
        names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    }
}
