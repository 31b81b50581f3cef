//! The driver of this machine: its version, its cards, the meaning of its errors.

use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::ptr::null;

use super::super::{DeviceMemory, DriverError};
use crate::bindings::cuda::{CAPABILITY_MAJOR, CAPABILITY_MINOR, Cuda, MULTIPROCESSORS, SHARED_OPT_IN, SUCCESS};
use crate::compiler::{Architecture, Version};
use crate::library::{Library, Opened, Search};

/// The oldest version of CUDA that the driver must support: the first that tells the sizes of a kernel's parameters.
const OLDEST: Version = Version { major: 12, minor: 4 };

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: c_int = 2;
/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: c_int = 100;

/// What is known of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number, as the driver counts the cards that are visible.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: Version,
    /// The architecture of its machine code.
    pub architecture: Architecture,
    /// Its memory in bytes.
    pub memory: u64,
    /// Its multiprocessors.
    pub multiprocessors: u32,
    /// The most shared memory of a block, in bytes.
    pub shared: u32,
}

/// The driver, opened and initialised.
pub struct System {
    pub(super) api: Cuda,
    version: Version,
    library: Opened,
}

impl System {
    /// Opens the driver's library and initialises it.
    pub fn open(search: &Search) -> Result<Self, DriverError> {
        let library = search.open(Library::Driver, None)?;
        // SAFETY: the library is the driver's by its name, and it is kept open beside the functions.
        let api = unsafe { Cuda::load(&library) }?;
        let mut system = Self { api, version: OLDEST, library };
        let mut number = 0;
        // SAFETY: the pointer is to an integer; this function needs no initialisation.
        let code = unsafe { (system.api.driver_version)(&raw mut number) };
        system.check(code, "cuDriverGetVersion")?;
        system.version = Version { major: (number / 1000) as u32, minor: (number % 1000 / 10) as u32 };
        if system.version < OLDEST {
            return Err(DriverError::DriverTooOld(format!("it supports CUDA {}, not {OLDEST}", system.version)));
        }
        // SAFETY: the only flag that is allowed.
        let code = unsafe { (system.api.initialise)(0) };
        system.check(code, "initialising the NVIDIA driver")?;
        Ok(system)
    }

    /// The version of CUDA that the driver supports.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        self.library.path()
    }

    /// The cards that are visible, at least one.
    pub fn devices(&self) -> Result<Vec<Device>, DriverError> {
        let mut count = 0;
        // SAFETY: the pointer is to an integer.
        self.check(unsafe { (self.api.device_count)(&raw mut count) }, "cuDeviceGetCount")?;
        if count == 0 {
            return Err(no_device());
        }
        (0..count).map(|index| self.device(index)).collect()
    }

    fn device(&self, index: c_int) -> Result<Device, DriverError> {
        let mut device = 0;
        // SAFETY: the pointer is to an integer.
        self.check(unsafe { (self.api.device)(&raw mut device, index) }, "cuDeviceGet")?;
        let mut name: [c_char; 256] = [0; 256];
        // SAFETY: the buffer has the length that is given with it, less one that stays 0.
        self.check(unsafe { (self.api.device_name)(name.as_mut_ptr(), 255, device) }, "cuDeviceGetName")?;
        // SAFETY: the last byte is 0.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let mut memory = 0;
        // SAFETY: the pointer is to an integer.
        self.check(unsafe { (self.api.device_memory)(&raw mut memory, device) }, "cuDeviceTotalMem")?;
        let attribute = |attribute: c_int| {
            let mut value = 0;
            // SAFETY: the pointer is to an integer.
            let code = unsafe { (self.api.device_attribute)(&raw mut value, attribute, device) };
            self.check(code, "cuDeviceGetAttribute").map(|()| value as u32)
        };
        let capability = Version { major: attribute(CAPABILITY_MAJOR)?, minor: attribute(CAPABILITY_MINOR)? };
        Ok(Device {
            index: index as usize,
            name,
            capability,
            architecture: Architecture::new(capability.major, capability.minor),
            memory: memory as u64,
            multiprocessors: attribute(MULTIPROCESSORS)?,
            shared: attribute(SHARED_OPT_IN)?,
        })
    }

    /// The memory of the card whose context is current.
    pub(super) fn memory(&self) -> Result<DeviceMemory, DriverError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both pointers are to integers.
        let code = unsafe { (self.api.memory)(&raw mut free, &raw mut total) };
        if code == SUCCESS {
            return Ok(DeviceMemory { free: free as u64, total: total as u64 });
        }
        Err(self.error(code, "cuMemGetInfo", DeviceMemory { free: 0, total: 0 }))
    }

    /// Turns a function's result into an error; `what` was to be done.
    pub(super) fn check(&self, code: c_int, what: &str) -> Result<(), DriverError> {
        match code {
            SUCCESS => Ok(()),
            OUT_OF_MEMORY => {
                let memory = self.memory().unwrap_or(DeviceMemory { free: 0, total: 0 });
                Err(self.error(code, what, memory))
            }
            _ => Err(self.error(code, what, DeviceMemory { free: 0, total: 0 })),
        }
    }

    fn error(&self, code: c_int, what: &str, memory: DeviceMemory) -> DriverError {
        classified(code, what, self.words(code), memory)
    }

    /// The driver's name of an error, with its explanation.
    pub(super) fn words(&self, code: c_int) -> String {
        let text = |function: unsafe extern "system" fn(c_int, *mut *const c_char) -> c_int| {
            let mut text = null();
            // SAFETY: the pointer is to a pointer. It stays null for a number that the driver doesn't know, and is a
            // constant string otherwise.
            unsafe {
                function(code, &raw mut text);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        match (text(self.api.error_name), text(self.api.error_string)) {
            (Some(name), Some(words)) => format!("{name}, {words}"),
            (Some(words), None) | (None, Some(words)) => words,
            (None, None) => format!("error {code} of the driver"),
        }
    }
}

fn no_device() -> DriverError {
    DriverError::NoDevice(
        "the NVIDIA driver shows no card; CUDA_VISIBLE_DEVICES may hide it, or a container was started without it"
            .to_owned(),
    )
}

/// What an error of the driver means for the caller.
fn classified(code: c_int, what: &str, reason: String, memory: DeviceMemory) -> DriverError {
    let what = what.to_owned();
    match code {
        OUT_OF_MEMORY => DriverError::OutOfMemory { asked: 0, free: memory.free, total: memory.total },
        NO_DEVICE => no_device(),
        // CALL_REQUIRES_NEWER_DRIVER, UNSUPPORTED_PTX_VERSION, SYSTEM_DRIVER_MISMATCH, COMPAT_NOT_SUPPORTED_ON_DEVICE.
        36 | 222 | 803 | 804 => DriverError::DriverTooOld(reason),
        // DEVICE_UNAVAILABLE, ECC_UNCORRECTABLE, NVLINK_UNCORRECTABLE, CONTAINED; and those after which a context is no
        // longer usable: ILLEGAL_ADDRESS, LAUNCH_TIMEOUT, CONTEXT_IS_DESTROYED, ASSERT, HARDWARE_STACK_ERROR,
        // ILLEGAL_INSTRUCTION, MISALIGNED_ADDRESS, INVALID_ADDRESS_SPACE, INVALID_PC, LAUNCH_FAILED, EXTERNAL_DEVICE.
        46 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 911 => {
            DriverError::Lost(format!("{what}: {reason}"))
        }
        _ => DriverError::Failed { what, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_what_the_caller_can_do() {
        let memory = DeviceMemory { free: 5, total: 9 };
        let error = |code| classified(code, "copying to the card", "CUDA_ERROR_X, words".to_owned(), memory);
        assert!(matches!(error(2), DriverError::OutOfMemory { free: 5, total: 9, .. }));
        assert!(matches!(error(100), DriverError::NoDevice(_)));
        for code in [222, 803] {
            assert!(matches!(error(code), DriverError::DriverTooOld(_)), "{code}");
        }
        for code in [214, 700, 719] {
            assert!(matches!(error(code), DriverError::Lost(_)), "{code}");
        }
        let other = error(801);
        assert!(matches!(other, DriverError::Failed { .. }));
        assert_eq!(other.to_string(), "copying to the card failed: CUDA_ERROR_X, words");
        for code in [2, 222, 700] {
            assert!(error(code).hint().is_some(), "{code}");
        }
    }
}
