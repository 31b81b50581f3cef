//! Matrix products by cuBLASLt.
//!
//! The library is asked once for each shape how to compute it, and its first answer is kept. Ways that add partial sums
//! in place are left out: their order, and so the last bits, would depend on timing.

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_void};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::product::{ByColumns, Stored};
use super::super::{DriverError, Element, Product};
use super::Session;
use crate::bindings::cublaslt::{
    ALIGNMENTS, Algorithm, COMPUTE_F32, Choice, CublasLt, Handle, Layout, NOT_INITIALISED, OPERATION_A, OPERATION_B,
    Operation, Preference, REDUCTION_IN_WORKSPACE, REDUCTIONS, SUCCESS, TYPE_BF16, TYPE_F32, WORKSPACE,
};
use crate::bindings::cuda::Pointer;
use crate::library::{Library, Opened, Search};

/// Bytes for partial sums: what NVIDIA advises for Hopper.
pub(crate) const WORKSPACE_BYTES: usize = 32 << 20;

/// cuBLASLt on one card.
pub(super) struct Products {
    known: Mutex<HashMap<Shape, Arc<Known>>>,
    lt: Arc<Lt>,
    workspace: Pointer,
}

/// Version and file of the cuBLASLt that would be used beside a driver of CUDA version `newest`.
pub fn products_library(search: &Search, newest: Option<u32>) -> Result<(String, PathBuf), DriverError> {
    let library = search.open(Library::Products, newest)?;
    // SAFETY: the library is cuBLASLt by its name, and it is open while the function is called.
    let number = unsafe { (CublasLt::load(&library)?.version)() };
    Ok((words_of_version(number), library.path().to_owned()))
}

/// `130002` is 13.0.2.
fn words_of_version(number: usize) -> String {
    format!("{}.{}.{}", number / 10000, number / 100 % 100, number % 100)
}

/// The library with its handle.
struct Lt {
    api: CublasLt,
    handle: Handle,
    _library: Opened,
}

// SAFETY: the library's functions may be called from any thread, and a handle may be used by several at a time.
unsafe impl Send for Lt {}
// SAFETY: as above.
unsafe impl Sync for Lt {}

/// What a way of computing depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    matrices: ByColumns,
    /// Bytes to which the addresses of the four matrices are aligned.
    aligned: [u32; 4],
}

impl Products {
    pub(super) fn open(search: &Search, session: &Session) -> Result<Self, DriverError> {
        let library = search.open(Library::Products, Some(session.system.version().major))?;
        // SAFETY: the library is cuBLASLt by its name, and it is kept open beside the functions.
        let api = unsafe { CublasLt::load(&library) }?;
        session.enter()?;
        let mut lt = Lt { api, handle: null_mut(), _library: library };
        // SAFETY: the pointer is to a handle, and the card's context is current.
        let code = unsafe { (lt.api.create)(&raw mut lt.handle) };
        if code == NOT_INITIALISED {
            // SAFETY: the function takes nothing.
            let version = words_of_version(unsafe { (lt.api.version)() });
            return Err(DriverError::Failed {
                what: "starting cuBLASLt".to_owned(),
                reason: format!(
                    "{}; its version is {version}, the driver supports CUDA {}",
                    lt.words(code),
                    session.system.version()
                ),
            });
        }
        lt.check(code, "starting cuBLASLt")?;
        let mut workspace: Pointer = 0;
        // SAFETY: the pointer is to an address.
        session.call("allocating the workspace of matrix products", || unsafe {
            (session.system.api.allocate)(&raw mut workspace, WORKSPACE_BYTES)
        })?;
        Ok(Self { known: Mutex::default(), lt: Arc::new(lt), workspace })
    }

    /// Gives the workspace back. Nothing may be computed any more.
    pub(super) fn close(&self, session: &Session) {
        // SAFETY: the workspace was allocated here and is freed once, by the card that is closed. Nothing is to be done
        // about an error.
        let _ = session.call("", || unsafe { (session.system.api.free)(self.workspace) });
    }

    pub(super) fn multiply(&self, session: &Session, product: &Product) -> Result<(), DriverError> {
        product.check()?;
        session.enter()?;
        let [first, second, result] = [product.b, product.a, product.d].map(|operand| operand.address.0);
        let addend = product.c.map_or(result, |c| c.address.0);
        let aligned = [first, second, addend, result].map(|address| (1 << address.trailing_zeros().min(8)) as u32);
        let shape = Shape { matrices: product.by_columns(), aligned };
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match all.get(&shape) {
                Some(known) => Arc::clone(known),
                None => {
                    let known = Arc::new(Known::choose(&self.lt, &shape)?);
                    all.insert(shape, Arc::clone(&known));
                    known
                }
            }
        };
        let (alpha, beta) = (product.alpha, if product.c.is_some() { 1.0_f32 } else { 0.0 });
        let [first, second, addend, result] = [first, second, addend, result].map(|address| address as *mut c_void);
        let [first_layout, second_layout, addend_layout, result_layout] = known.layouts;
        // SAFETY: the descriptions are of these matrices, whose addresses the caller has from the driver; the workspace
        // has the size that the way was chosen for, and one stream uses it, product by product.
        let code = unsafe {
            (self.lt.api.multiply)(
                self.lt.handle,
                known.operation,
                (&raw const alpha).cast(),
                first,
                first_layout,
                second,
                second_layout,
                (&raw const beta).cast(),
                addend,
                addend_layout,
                result,
                result_layout,
                &raw const known.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE_BYTES,
                session.stream,
            )
        };
        self.lt.check(code, "a matrix product")
    }
}

impl Lt {
    fn check(&self, code: c_int, what: &str) -> Result<(), DriverError> {
        match code {
            SUCCESS => Ok(()),
            _ => Err(DriverError::Failed { what: what.to_owned(), reason: self.words(code) }),
        }
    }

    fn words(&self, code: c_int) -> String {
        // SAFETY: the function takes any number and returns a constant string.
        unsafe { CStr::from_ptr((self.api.status_string)(code)) }.to_string_lossy().into_owned()
    }
}

impl Drop for Lt {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle was created here and is destroyed once, after the stream has been waited for.
            unsafe { (self.api.destroy)(self.handle) };
        }
    }
}

/// How a product of one shape is computed.
struct Known {
    lt: Arc<Lt>,
    operation: Operation,
    /// Of the first and the second matrix, the addend and the result.
    layouts: [Layout; 4],
    algorithm: Algorithm,
}

// SAFETY: descriptions are plain data that nothing changes once they are complete.
unsafe impl Send for Known {}
// SAFETY: as above.
unsafe impl Sync for Known {}

impl Known {
    fn choose(lt: &Arc<Lt>, shape: &Shape) -> Result<Self, DriverError> {
        let api = &lt.api;
        let ByColumns { first, second, addend, result } = shape.matrices;
        // Handles that stay null are destroyed with those that were made, whichever call fails.
        let mut known = Self {
            lt: Arc::clone(lt),
            operation: null_mut(),
            layouts: [null_mut(); 4],
            algorithm: Algorithm::default(),
        };
        // SAFETY: the pointer is to a handle.
        let code = unsafe { (api.create_operation)(&raw mut known.operation, COMPUTE_F32, TYPE_F32) };
        lt.check(code, "describing a matrix product")?;
        for (attribute, matrix) in [(OPERATION_A, first), (OPERATION_B, second)] {
            let transposed = c_int::from(matrix.transposed);
            // SAFETY: the attribute is an integer of this size.
            let code = unsafe {
                (api.set_operation)(known.operation, attribute, (&raw const transposed).cast(), size_of::<c_int>())
            };
            lt.check(code, "describing a matrix product")?;
        }
        for (layout, matrix) in known.layouts.iter_mut().zip([first, second, addend, result]) {
            let Stored { rows, columns, stride, element, .. } = matrix;
            let kind = match element {
                Element::F32 => TYPE_F32,
                Element::Bf16 => TYPE_BF16,
            };
            // SAFETY: the pointer is to a handle.
            let code = unsafe { (api.create_layout)(layout, kind, rows as u64, columns as u64, stride as i64) };
            lt.check(code, "describing a matrix")?;
        }
        let preferences = Preferences::new(lt, shape)?;
        let (mut choice, mut found) = (Choice::default(), 0);
        let [first, second, addend, result] = known.layouts;
        // SAFETY: all descriptions are complete, and there is room for the one answer that is asked for.
        let code = unsafe {
            (api.choose)(
                lt.handle,
                known.operation,
                first,
                second,
                addend,
                result,
                preferences.handle,
                1,
                &raw mut choice,
                &raw mut found,
            )
        };
        let what = || {
            let Stored { rows, columns, .. } = shape.matrices.result;
            format!("finding a way to compute a matrix product of {columns} rows and {rows} columns")
        };
        lt.check(code, &what())?;
        if found == 0 || choice.state != SUCCESS || choice.workspace > WORKSPACE_BYTES {
            return Err(DriverError::Failed { what: what(), reason: "cuBLASLt knows none".to_owned() });
        }
        known.algorithm = choice.algorithm;
        Ok(known)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let api = &self.lt.api;
        // SAFETY: each was created here and is destroyed once.
        unsafe {
            if !self.operation.is_null() {
                (api.destroy_operation)(self.operation);
            }
            for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
                (api.destroy_layout)(layout);
            }
        }
    }
}

/// What a way of computing may take.
struct Preferences<'a> {
    api: &'a CublasLt,
    handle: Preference,
}

impl<'a> Preferences<'a> {
    fn new(lt: &'a Lt, shape: &Shape) -> Result<Self, DriverError> {
        let mut preferences = Self { api: &lt.api, handle: null_mut() };
        // SAFETY: the pointer is to a handle.
        let code = unsafe { (lt.api.create_preference)(&raw mut preferences.handle) };
        lt.check(code, "describing how matrices are multiplied")?;
        let set = |attribute: c_int, value: *const c_void, size: usize| {
            // SAFETY: the callers below give a pointer to a value of the attribute's type, with its size.
            let code = unsafe { (lt.api.set_preference)(preferences.handle, attribute, value, size) };
            lt.check(code, "describing how matrices are multiplied")
        };
        let (workspace, reductions) = (WORKSPACE_BYTES as u64, REDUCTION_IN_WORKSPACE);
        set(WORKSPACE, (&raw const workspace).cast(), size_of::<u64>())?;
        set(REDUCTIONS, (&raw const reductions).cast(), size_of::<u32>())?;
        for (attribute, aligned) in ALIGNMENTS.into_iter().zip(&shape.aligned) {
            set(attribute, (&raw const *aligned).cast(), size_of::<u32>())?;
        }
        Ok(preferences)
    }
}

impl Drop for Preferences<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: it was created here and is destroyed once.
            unsafe { (self.api.destroy_preference)(self.handle) };
        }
    }
}
