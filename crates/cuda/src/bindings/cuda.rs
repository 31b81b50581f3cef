//! The driver's functions and numbers (`cuda.h` of CUDA 12.4 to 13).

use std::ffi::{c_char, c_int, c_uint, c_void};

/// `CUcontext`.
pub(crate) type Context = *mut c_void;
/// `CUstream`.
pub(crate) type Stream = *mut c_void;
/// `CUmodule`.
pub(crate) type Module = *mut c_void;
/// `CUfunction`.
pub(crate) type Function = *mut c_void;
/// `CUevent`.
pub(crate) type Event = *mut c_void;
/// `CUdeviceptr`.
pub(crate) type Pointer = u64;

/// `CUDA_SUCCESS`.
pub(crate) const SUCCESS: c_int = 0;
/// `CU_STREAM_NON_BLOCKING`: the stream doesn't wait for the default one.
pub(crate) const STREAM_NON_BLOCKING: c_uint = 1;
/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`.
pub(crate) const MULTIPROCESSORS: c_int = 16;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`.
pub(crate) const CAPABILITY_MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`.
pub(crate) const CAPABILITY_MINOR: c_int = 76;
/// `CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN`, in bytes.
pub(crate) const SHARED_OPT_IN: c_int = 97;
/// `CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK`.
pub(crate) const FUNCTION_THREADS: c_int = 0;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
pub(crate) const FUNCTION_SHARED: c_int = 8;

super::functions! {
    /// The driver's functions.
    Cuda {
        error_name = "cuGetErrorName" (c_int, *mut *const c_char) -> c_int;
        error_string = "cuGetErrorString" (c_int, *mut *const c_char) -> c_int;
        initialise = "cuInit" (c_uint) -> c_int;
        driver_version = "cuDriverGetVersion" (*mut c_int) -> c_int;
        device_count = "cuDeviceGetCount" (*mut c_int) -> c_int;
        device = "cuDeviceGet" (*mut c_int, c_int) -> c_int;
        device_name = "cuDeviceGetName" (*mut c_char, c_int, c_int) -> c_int;
        device_attribute = "cuDeviceGetAttribute" (*mut c_int, c_int, c_int) -> c_int;
        device_memory = "cuDeviceTotalMem_v2" (*mut usize, c_int) -> c_int;
        retain_context = "cuDevicePrimaryCtxRetain" (*mut Context, c_int) -> c_int;
        release_context = "cuDevicePrimaryCtxRelease_v2" (c_int) -> c_int;
        set_context = "cuCtxSetCurrent" (Context) -> c_int;
        create_stream = "cuStreamCreate" (*mut Stream, c_uint) -> c_int;
        destroy_stream = "cuStreamDestroy_v2" (Stream) -> c_int;
        synchronise = "cuStreamSynchronize" (Stream) -> c_int;
        allocate = "cuMemAlloc_v2" (*mut Pointer, usize) -> c_int;
        free = "cuMemFree_v2" (Pointer) -> c_int;
        memory = "cuMemGetInfo_v2" (*mut usize, *mut usize) -> c_int;
        upload = "cuMemcpyHtoDAsync_v2" (Pointer, *const c_void, usize, Stream) -> c_int;
        download = "cuMemcpyDtoHAsync_v2" (*mut c_void, Pointer, usize, Stream) -> c_int;
        copy = "cuMemcpyDtoDAsync_v2" (Pointer, Pointer, usize, Stream) -> c_int;
        set_bytes = "cuMemsetD8Async" (Pointer, u8, usize, Stream) -> c_int;
        load_module = "cuModuleLoadData" (*mut Module, *const c_void) -> c_int;
        unload_module = "cuModuleUnload" (Module) -> c_int;
        function = "cuModuleGetFunction" (*mut Function, Module, *const c_char) -> c_int;
        function_attribute = "cuFuncGetAttribute" (*mut c_int, c_int, Function) -> c_int;
        set_function_attribute = "cuFuncSetAttribute" (Function, c_int, c_int) -> c_int;
        /// New in CUDA 12.4.
        parameter = "cuFuncGetParamInfo" (Function, usize, *mut usize, *mut usize) -> c_int;
        launch = "cuLaunchKernel"
            (Function, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Stream, *mut *mut c_void, *mut *mut c_void)
            -> c_int;
        create_event = "cuEventCreate" (*mut Event, c_uint) -> c_int;
        destroy_event = "cuEventDestroy_v2" (Event) -> c_int;
        record = "cuEventRecord" (Event, Stream) -> c_int;
        wait_for_event = "cuEventSynchronize" (Event) -> c_int;
        elapsed = "cuEventElapsedTime" (*mut f32, Event, Event) -> c_int;
    }
}
