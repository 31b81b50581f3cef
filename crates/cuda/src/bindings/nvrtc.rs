//! NVRTC, the run-time compiler (`nvrtc.h` of CUDA 12.4 to 13).

use std::ffi::{c_char, c_int, c_void};

/// `nvrtcProgram`.
pub(crate) type Program = *mut c_void;

/// `NVRTC_SUCCESS`.
pub(crate) const SUCCESS: c_int = 0;
/// `NVRTC_ERROR_COMPILATION`: the program's log says what is wrong with the source.
pub(crate) const COMPILATION: c_int = 6;

super::functions! {
    /// The compiler's functions.
    Nvrtc {
        version = "nvrtcVersion" (*mut c_int, *mut c_int) -> c_int;
        count_architectures = "nvrtcGetNumSupportedArchs" (*mut c_int) -> c_int;
        architectures = "nvrtcGetSupportedArchs" (*mut c_int) -> c_int;
        create = "nvrtcCreateProgram"
            (*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int;
        destroy = "nvrtcDestroyProgram" (*mut Program) -> c_int;
        compile = "nvrtcCompileProgram" (Program, c_int, *const *const c_char) -> c_int;
        log_size = "nvrtcGetProgramLogSize" (Program, *mut usize) -> c_int;
        log = "nvrtcGetProgramLog" (Program, *mut c_char) -> c_int;
        code_size = "nvrtcGetCUBINSize" (Program, *mut usize) -> c_int;
        code = "nvrtcGetCUBIN" (Program, *mut c_char) -> c_int;
        error_string = "nvrtcGetErrorString" (c_int) -> *const c_char;
    }
}
