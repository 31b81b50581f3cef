//! What can go wrong on a device.

use crate::library::LibraryError;

/// An error of a device or of what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A library of NVIDIA's can't be used.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The device's memory is full.
    #[error("the device is out of memory{}; {free} of {total} bytes are free", asked_for(*asked))]
    OutOfMemory {
        /// Bytes asked for; 0 where the driver took memory for something of its own.
        asked: u64,
        /// Bytes free at that time.
        free: u64,
        /// Bytes that the device has.
        total: u64,
    },
    /// The device can't be used any more; its memory is lost.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// The driver doesn't know what is needed of it.
    #[error("the NVIDIA driver is too old: {0}")]
    DriverTooOld(String),
    /// There is no such device.
    #[error("{0}")]
    NoDevice(String),
    /// No module has a kernel of this name.
    #[error("there is no kernel `{0}`")]
    UnknownKernel(String),
    /// A kernel's source couldn't be compiled or loaded.
    #[error("the kernels of {file} can't be used: {reason}")]
    Kernels {
        /// The source file's name.
        file: String,
        /// What the compiler or the driver said.
        reason: String,
    },
    /// A launch that no device can run: its grid, threads, shared memory or arguments.
    #[error("the launch of `{kernel}` is not valid: {reason}")]
    Launch {
        /// The kernel's name.
        kernel: String,
        /// What is wrong.
        reason: String,
    },
    /// An access to memory that isn't allocated.
    #[error("{what}: {bytes} bytes at {address:#x} are not inside one allocation")]
    Access {
        /// What was to be done.
        what: String,
        /// Where.
        address: u64,
        /// How much.
        bytes: u64,
    },
    /// A product whose shapes, strides or types don't go together.
    #[error("the matrix product is not valid: {0}")]
    Product(String),
    /// Any other error that the driver or a library of it returned.
    #[error("{what} failed: {reason}")]
    Failed {
        /// What was to be done.
        what: String,
        /// The library's name of the error, with its explanation.
        reason: String,
    },
}

impl DriverError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Library(error) => error.hint(),
            Self::OutOfMemory { .. } => Some(
                "Other processes may hold memory of the card (`nvidia-smi` lists them); otherwise lower `max_tokens` or \
                 choose another card with `model.device`.",
            ),
            Self::Lost(_) => Some(
                "`nvidia-smi` and the kernel's log (`dmesg`, lines with \"NVRM: Xid\") say why; training goes on from the \
                 last checkpoint when it is started again.",
            ),
            Self::DriverTooOld(_) => {
                Some("Install a newer NVIDIA driver; tabpo needs one for CUDA 12.4 or newer (550 or newer).")
            }
            _ => None,
        }
    }
}

fn asked_for(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(": {bytes} bytes were asked for") }
}
