// Dropout in front of an adapter (arXiv 2106.09685). Whether a number is kept follows from the step's key and the number's
// index in the batch, as on the CPU, so that the mask is never stored and doesn't depend on the order of the rows.
#include "common.cuh"

/// The finaliser of SplitMix64.
__device__ __forceinline__ u64 mix(u64 value) {
    u64 z = value + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/// `to = mask keep x`, or adds it if `add` is not 0, for `[rows, columns]` with rows of `x_stride` and `to_stride` numbers:
/// rows along x, columns along y, a thread a number. `batch_rows` has each row's number in the batch.
template <class T>
__device__ void dropout(const T* x, u32 x_stride, const u32* batch_rows, u32 columns, u64 key, u32 threshold, float keep,
                        u32 add, T* to, u32 to_stride) {
    const u64 row = blockIdx.x;
    const u32 column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const bool kept = (u32)(mix(key + (u64)batch_rows[row] * columns + column) >> 32) >= threshold;
    const float value = kept ? load(x + row * x_stride + column) * keep : 0.0f;
    T* target = to + row * to_stride + column;
    store(target, add ? load(target) + value : value);
}

#define DROPOUT(suffix, T)                                                                                               \
    KERNEL(dropout_##suffix,                                                                                             \
           (const T* x, u32 x_stride, const u32* batch_rows, u32 columns, u64 key, u32 threshold, float keep, u32 add,   \
            T* to, u32 to_stride),                                                                                       \
           dropout<T>(x, x_stride, batch_rows, columns, key, threshold, keep, add, to, to_stride))
DROPOUT(f32, float)
DROPOUT(bf16, bf16)
