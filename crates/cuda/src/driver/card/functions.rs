//! The kernels that are loaded on a card, and their launches.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::{DriverError, Launch};
use super::Session;
use crate::bindings::cuda::{FUNCTION_SHARED, FUNCTION_THREADS, Function as Handle, Module as ModuleHandle, SUCCESS};
use crate::module::Module;

/// The most parameters of a kernel.
const MOST_PARAMETERS: usize = 48;
/// Bytes of dynamic shared memory that a kernel gets without asking.
const SHARED_UNASKED: u32 = 48 << 10;

/// The functions of all modules.
pub(super) struct Functions {
    by_name: BTreeMap<String, Function>,
    modules: Vec<Loaded>,
}

/// A module in the card's context.
struct Loaded(ModuleHandle);

// SAFETY: a module's handle may be used from any thread in whose context it was loaded; see `Session`.
unsafe impl Send for Loaded {}
// SAFETY: as above; nothing changes a module.
unsafe impl Sync for Loaded {}

struct Function {
    handle: Handle,
    /// Bytes of every parameter.
    sizes: Vec<usize>,
    /// The most threads of a block.
    threads: u32,
    /// Bytes of dynamic shared memory that have been asked for.
    shared: AtomicU32,
}

// SAFETY: a function's handle may be used from any thread in whose context it was loaded; see `Session`.
unsafe impl Send for Function {}
// SAFETY: as above; launches don't change it, and asking for shared memory only ever raises a limit.
unsafe impl Sync for Function {}

impl Functions {
    /// Loads machine code into the session's context.
    pub(super) fn load(session: &Session, modules: &[Module]) -> Result<Self, DriverError> {
        let api = &session.system.api;
        let mut functions = Self { by_name: BTreeMap::new(), modules: Vec::new() };
        for Module { name, code, kernels, architecture, .. } in modules {
            session.enter()?;
            let mut module: ModuleHandle = null_mut();
            // SAFETY: the code is a whole ELF file, whose header says its length.
            let result = unsafe { (api.load_module)(&raw mut module, code.as_ptr().cast()) };
            // INVALID_IMAGE, NO_BINARY_FOR_GPU, INVALID_PTX, UNSUPPORTED_PTX_VERSION, INVALID_SOURCE.
            if [200, 209, 218, 222, 300].contains(&result) {
                return Err(DriverError::Kernels {
                    file: format!("{name}.cu"),
                    reason: format!(
                        "the driver, which supports CUDA {}, doesn't load machine code for {architecture}: {}",
                        session.system.version(),
                        session.system.words(result)
                    ),
                });
            }
            session.system.check(result, "loading kernels")?;
            functions.modules.push(Loaded(module));
            for kernel in kernels {
                functions.by_name.insert(kernel.clone(), Function::find(session, module, kernel)?);
            }
        }
        Ok(functions)
    }

    /// Unloads everything. No kernel may be launched any more.
    pub(super) fn close(&self, session: &Session) {
        for Loaded(module) in &self.modules {
            // SAFETY: the module was loaded here and is unloaded once, by the card that is closed. Nothing is to be done
            // about an error.
            let _ = session.call("", || unsafe { (session.system.api.unload_module)(*module) });
        }
    }

    /// The names of all kernels, in order.
    pub(super) fn names(&self) -> Vec<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    pub(super) fn launch(&self, session: &Session, launch: &Launch<'_>) -> Result<(), DriverError> {
        let kernel = launch.kernel;
        let function = self.by_name.get(kernel).ok_or_else(|| DriverError::UnknownKernel(kernel.to_owned()))?;
        launch.check(&function.sizes)?;
        if launch.threads > function.threads {
            let reason = format!("a block has {} threads, at most {} of it fit", launch.threads, function.threads);
            return Err(DriverError::Launch { kernel: kernel.to_owned(), reason });
        }
        let api = &session.system.api;
        if launch.shared > SHARED_UNASKED.max(function.shared.load(Ordering::Relaxed)) {
            let what = format!("asking for {} bytes of shared memory for `{kernel}`", launch.shared);
            // SAFETY: the function is loaded; the driver checks the number.
            session.call(&what, || unsafe {
                (api.set_function_attribute)(function.handle, FUNCTION_SHARED, launch.shared as i32)
            })?;
            function.shared.fetch_max(launch.shared, Ordering::Relaxed);
        }
        // A parameter of 32 bits is the lower half of its value: machines with NVIDIA cards are little-endian.
        let mut values = [0_u64; MOST_PARAMETERS];
        let mut pointers = [null_mut::<c_void>(); MOST_PARAMETERS];
        for ((value, pointer), argument) in values.iter_mut().zip(&mut pointers).zip(launch.arguments) {
            *value = argument.bits();
            *pointer = (&raw mut *value).cast();
        }
        let ([x, y, z], stream) = (launch.grid, session.stream);
        let what = format!("launching `{kernel}`");
        // SAFETY: there is a pointer to a value of the right size for every parameter: numbers and sizes were compared
        // with what the driver says of the function. What the kernel does with addresses is its own and the caller's
        // affair; the card's memory protection ends at the process.
        session.call(&what, || unsafe {
            let parameters = pointers.as_mut_ptr();
            (api.launch)(function.handle, x, y, z, launch.threads, 1, 1, launch.shared, stream, parameters, null_mut())
        })
    }
}

impl Function {
    fn find(session: &Session, module: ModuleHandle, kernel: &str) -> Result<Self, DriverError> {
        let api = &session.system.api;
        let name = CString::new(kernel).map_err(|_| DriverError::UnknownKernel(kernel.to_owned()))?;
        let mut handle = null_mut();
        // SAFETY: the module is loaded, and the name ends with NUL.
        let code = unsafe { (api.function)(&raw mut handle, module, name.as_ptr()) };
        session.system.check(code, &format!("finding `{kernel}`"))?;
        let mut sizes = Vec::new();
        loop {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: both pointers are to integers. Past the last parameter the driver returns an error.
            let code = unsafe { (api.parameter)(handle, sizes.len(), &raw mut offset, &raw mut size) };
            if code != SUCCESS {
                break;
            }
            sizes.push(size);
            if sizes.len() > MOST_PARAMETERS {
                let reason = format!("it has more than {MOST_PARAMETERS} parameters");
                return Err(DriverError::Launch { kernel: kernel.to_owned(), reason });
            }
        }
        let mut threads = 0;
        // SAFETY: the pointer is to an integer, and the function is loaded.
        let code = unsafe { (api.function_attribute)(&raw mut threads, FUNCTION_THREADS, handle) };
        session.system.check(code, "cuFuncGetAttribute")?;
        Ok(Self { handle, sizes, threads: threads as u32, shared: AtomicU32::new(0) })
    }
}
