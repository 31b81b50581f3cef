//! cuBLASLt's functions and numbers (`cublasLt.h` of CUDA 12.4 to 13).

use std::ffi::{c_char, c_int, c_void};

/// `cublasLtHandle_t`.
pub(crate) type Handle = *mut c_void;
/// `cublasLtMatmulDesc_t`.
pub(crate) type Operation = *mut c_void;
/// `cublasLtMatrixLayout_t`.
pub(crate) type Layout = *mut c_void;
/// `cublasLtMatmulPreference_t`.
pub(crate) type Preference = *mut c_void;

/// `CUBLAS_STATUS_SUCCESS`.
pub(crate) const SUCCESS: c_int = 0;
/// `CUBLAS_STATUS_NOT_INITIALIZED`: among others, the library is newer than the driver allows.
pub(crate) const NOT_INITIALISED: c_int = 1;
/// `CUBLAS_COMPUTE_32F`: sums in single precision, and products of single-precision numbers in full.
pub(crate) const COMPUTE_F32: c_int = 68;
/// `CUDA_R_32F`.
pub(crate) const TYPE_F32: c_int = 0;
/// `CUDA_R_16BF`.
pub(crate) const TYPE_BF16: c_int = 14;
/// `CUBLASLT_MATMUL_DESC_TRANSA`, an `i32`.
pub(crate) const OPERATION_A: c_int = 3;
/// `CUBLASLT_MATMUL_DESC_TRANSB`, an `i32`.
pub(crate) const OPERATION_B: c_int = 4;
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`, a `u64`.
pub(crate) const WORKSPACE: c_int = 1;
/// `CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK`, a `u32`.
pub(crate) const REDUCTIONS: c_int = 3;
/// `CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{A,B,C,D}_BYTES`, a `u32` each.
pub(crate) const ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];
/// `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`: partial sums go to the workspace in the type of the sums and are added in a
/// fixed order.
pub(crate) const REDUCTION_IN_WORKSPACE: u32 = 2;

/// `cublasLtMatmulAlgo_t`: how a product is computed; its content is the library's own.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Algorithm {
    data: [u64; 8],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Choice {
    pub(crate) algorithm: Algorithm,
    pub(crate) workspace: usize,
    pub(crate) state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

super::functions! {
    /// The functions of matrix products.
    CublasLt {
        version = "cublasLtGetVersion" () -> usize;
        status_string = "cublasLtGetStatusString" (c_int) -> *const c_char;
        create = "cublasLtCreate" (*mut Handle) -> c_int;
        destroy = "cublasLtDestroy" (Handle) -> c_int;
        create_operation = "cublasLtMatmulDescCreate" (*mut Operation, c_int, c_int) -> c_int;
        destroy_operation = "cublasLtMatmulDescDestroy" (Operation) -> c_int;
        set_operation = "cublasLtMatmulDescSetAttribute" (Operation, c_int, *const c_void, usize) -> c_int;
        create_layout = "cublasLtMatrixLayoutCreate" (*mut Layout, c_int, u64, u64, i64) -> c_int;
        destroy_layout = "cublasLtMatrixLayoutDestroy" (Layout) -> c_int;
        create_preference = "cublasLtMatmulPreferenceCreate" (*mut Preference) -> c_int;
        destroy_preference = "cublasLtMatmulPreferenceDestroy" (Preference) -> c_int;
        set_preference = "cublasLtMatmulPreferenceSetAttribute" (Preference, c_int, *const c_void, usize) -> c_int;
        choose = "cublasLtMatmulAlgoGetHeuristic"
            (Handle, Operation, Layout, Layout, Layout, Layout, Preference, c_int, *mut Choice, *mut c_int) -> c_int;
        multiply = "cublasLtMatmul"
            (
                Handle, Operation, *const c_void, *const c_void, Layout, *const c_void, Layout, *const c_void,
                *const c_void, Layout, *mut c_void, Layout, *const Algorithm, *mut c_void, usize, *mut c_void,
            ) -> c_int;
    }
}
