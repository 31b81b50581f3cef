//! An NVIDIA card, over the driver's interface.
//!
//! Everything runs on one stream, in the order in which it is asked for. Kernels are loaded when the card is opened.

mod functions;
mod products;
mod system;

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::Duration;

pub use system::{Device, System};

use super::{Address, DeviceMemory, Driver, DriverError, Launch, Product};
use crate::bindings::cuda::{Context, Event, Pointer, STREAM_NON_BLOCKING, Stream};
use crate::compiler::{Architecture, Compiler};
use crate::library::Search;
use crate::module::{Module, Store, modules};
use functions::Functions;
use products::Products;
pub(crate) use products::WORKSPACE_BYTES;
pub use products::products_library;

/// A card that is open, with the kernels loaded.
pub struct Card {
    // In the order in which they are dropped: what needs the context goes first.
    products: Products,
    functions: Functions,
    session: Session,
    device: Device,
}

/// A context of the card and the stream on which everything runs.
struct Session {
    system: System,
    index: i32,
    context: Context,
    stream: Stream,
}

// SAFETY: the driver's functions may be called from any thread, and every use of the session makes the context the
// calling thread's current one first. The handles are owned by the session alone.
unsafe impl Send for Session {}
// SAFETY: as above; the driver orders what several threads ask of a stream.
unsafe impl Sync for Session {}

impl Session {
    fn open(system: System, index: i32) -> Result<Self, DriverError> {
        let mut session = Self { system, index, context: null_mut(), stream: null_mut() };
        let api = &session.system.api;
        // SAFETY: the pointer is to a handle, and the device exists.
        let code = unsafe { (api.retain_context)(&raw mut session.context, index) };
        session.system.check(code, "opening the card")?;
        session.enter()?;
        // SAFETY: the pointer is to a handle, and the context is current.
        let code = unsafe { (session.system.api.create_stream)(&raw mut session.stream, STREAM_NON_BLOCKING) };
        session.system.check(code, "creating a stream")?;
        Ok(session)
    }

    /// Makes the context the thread's current one.
    fn enter(&self) -> Result<(), DriverError> {
        // SAFETY: the context was retained and isn't released before the session is dropped.
        self.system.check(unsafe { (self.system.api.set_context)(self.context) }, "entering the card's context")
    }

    /// Calls a function of the driver within the context.
    fn call(&self, what: &str, function: impl FnOnce() -> i32) -> Result<(), DriverError> {
        self.enter()?;
        self.system.check(function(), what)
    }
}

/// Free and total memory of the card of this number, which is opened for the question alone.
///
/// # Errors
/// If there is no driver or no such card, or it can't be opened.
pub fn memory_of(search: &Search, index: usize) -> Result<DeviceMemory, DriverError> {
    let session = Session::open(System::open(search)?, index as i32)?;
    session.enter()?;
    session.system.memory()
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        let api = &self.system.api;
        // SAFETY: the stream and the context were created by this session and are used by nothing any more. Nothing is
        // to be done about errors.
        unsafe {
            if !self.stream.is_null() {
                (api.synchronise)(self.stream);
                (api.destroy_stream)(self.stream);
            }
            if !self.context.is_null() {
                (api.release_context)(self.index);
            }
        }
    }
}

impl Card {
    /// Opens the card of this number, counted as the driver counts those that are visible, and loads the kernels. The
    /// first time that a version of the program runs on a kind of card, they are compiled.
    pub fn open(search: &Search, store: &Store, index: usize) -> Result<Self, DriverError> {
        let opened: OnceLock<Compiler> = OnceLock::new();
        Self::open_with(search, index, |device, newest| {
            let compiler = || match opened.get() {
                Some(compiler) => Ok(compiler),
                None => Compiler::open(search, Some(newest)).map(|compiler| opened.get_or_init(|| compiler)),
            };
            modules(store, device.architecture, &compiler)
        })
    }

    /// The same with machine code from elsewhere: `code` gets the card and the major version of CUDA that its driver
    /// supports.
    pub fn open_with(
        search: &Search,
        index: usize,
        code: impl FnOnce(&Device, u32) -> Result<Vec<Module>, DriverError>,
    ) -> Result<Self, DriverError> {
        let system = System::open(search)?;
        let devices = system.devices()?;
        let Some(device) = devices.get(index).cloned() else {
            let has = match devices.len() {
                1 => "only card 0".to_owned(),
                count => format!("cards 0 to {}", count - 1),
            };
            return Err(DriverError::NoDevice(format!("there is no card {index}: this machine has {has}")));
        };
        if device.architecture < Architecture::OLDEST {
            return Err(DriverError::NoDevice(format!(
                "card {index} ({}) has compute capability {}; 8.0 or newer is needed",
                device.name, device.capability
            )));
        }
        let newest = system.version().major;
        let modules = code(&device, newest)?;
        let session = Session::open(system, index as i32)?;
        let functions = Functions::load(&session, &modules)?;
        let products = Products::open(search, &session)?;
        Ok(Self { products, functions, session, device })
    }

    /// What is known of the card.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The names of the kernels that are loaded, in order.
    pub fn kernels(&self) -> Vec<&str> {
        self.functions.names()
    }

    /// The time that the card takes for what `work` asks for.
    pub fn timed(&self, work: impl FnOnce() -> Result<(), DriverError>) -> Result<Duration, DriverError> {
        let (start, end) = (Moment::new(&self.session)?, Moment::new(&self.session)?);
        start.record()?;
        work()?;
        end.record()?;
        start.until(&end)
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // What still runs may use the memory and the code. A card that was lost runs nothing.
        let _ = self.wait();
        self.functions.close(&self.session);
        self.products.close(&self.session);
    }
}

/// A point in the stream.
struct Moment<'a> {
    session: &'a Session,
    event: Event,
}

impl<'a> Moment<'a> {
    fn new(session: &'a Session) -> Result<Self, DriverError> {
        let mut event = null_mut();
        // SAFETY: the pointer is to a handle; no flags.
        session.call("creating an event", || unsafe { (session.system.api.create_event)(&raw mut event, 0) })?;
        Ok(Self { session, event })
    }

    fn record(&self) -> Result<(), DriverError> {
        let Session { system, stream, .. } = self.session;
        // SAFETY: event and stream exist.
        self.session.call("recording an event", || unsafe { (system.api.record)(self.event, *stream) })
    }

    /// Waits for `end` and returns the time since `self`.
    fn until(&self, end: &Self) -> Result<Duration, DriverError> {
        let api = &self.session.system.api;
        // SAFETY: the event exists and was recorded.
        self.session.call("waiting for an event", || unsafe { (api.wait_for_event)(end.event) })?;
        let mut milliseconds = 0.0;
        self.session.call("reading the clock", || {
            // SAFETY: both events have passed, and the pointer is to a number.
            unsafe { (api.elapsed)(&raw mut milliseconds, self.event, end.event) }
        })?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds).max(0.0) / 1e3))
    }
}

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        // SAFETY: the event was created here and is destroyed once. Nothing is to be done about an error.
        let _ = self.session.call("", || unsafe { (self.session.system.api.destroy_event)(self.event) });
    }
}

impl Driver for Card {
    fn name(&self) -> String {
        self.device.name.clone()
    }

    fn memory(&self) -> Result<DeviceMemory, DriverError> {
        self.session.enter()?;
        self.session.system.memory()
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        let mut address: Pointer = 0;
        // SAFETY: the pointer is to an address.
        let allocated = self
            .session
            .call("allocating memory", || unsafe { (self.session.system.api.allocate)(&raw mut address, bytes) });
        allocated.map_err(|error| match error {
            DriverError::OutOfMemory { free, total, .. } => {
                DriverError::OutOfMemory { asked: bytes as u64, free, total }
            }
            other => other,
        })?;
        Ok(Address(address))
    }

    fn free(&self, address: Address) -> Result<(), DriverError> {
        // Waits for what still uses the memory.
        // SAFETY: the driver checks the address.
        self.session.call("freeing memory", || unsafe { (self.session.system.api.free)(address.0) })
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        let Session { system, stream, .. } = &self.session;
        // From memory that isn't pinned the driver copies before it returns, so `bytes` may change afterwards.
        // SAFETY: the source has this many bytes; the driver checks the target.
        self.session.call("copying to the card", || unsafe {
            (system.api.upload)(to.0, bytes.as_ptr().cast(), bytes.len(), *stream)
        })
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        let Session { system, stream, .. } = &self.session;
        // SAFETY: the target has this many bytes and is borrowed until the stream has been waited for.
        let copied = self.session.call("copying from the card", || unsafe {
            (system.api.download)(bytes.as_mut_ptr().cast::<c_void>(), from.0, bytes.len(), *stream)
        });
        // Waited for even after an error: nothing may write to `bytes` once this returns.
        let waited = self.wait();
        copied.and(waited)
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        let Session { system, stream, .. } = &self.session;
        // SAFETY: the driver checks both ranges.
        self.session.call("copying on the card", || unsafe { (system.api.copy)(to.0, from.0, bytes, *stream) })
    }

    fn clear(&self, address: Address, bytes: usize) -> Result<(), DriverError> {
        let Session { system, stream, .. } = &self.session;
        // SAFETY: the driver checks the range.
        self.session.call("clearing memory", || unsafe { (system.api.set_bytes)(address.0, 0, bytes, *stream) })
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DriverError> {
        self.functions.launch(&self.session, launch)
    }

    fn product(&self, product: &Product) -> Result<(), DriverError> {
        self.products.multiply(&self.session, product)
    }

    fn wait(&self) -> Result<(), DriverError> {
        let Session { system, stream, .. } = &self.session;
        // SAFETY: the stream exists.
        self.session.call("waiting for the card", || unsafe { (system.api.synchronise)(*stream) })
    }
}
