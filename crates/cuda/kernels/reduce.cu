// Sums over rows and over everything, changes of type and order. Every sum has a fixed order: the first stage writes parts,
// the second adds them up.
#include "common.cuh"

/// The second stage: `target[i] = sum of parts[p][i]`, or adds it if `add` is not 0. A thread a number.
__device__ void sum_parts_of(const float* parts, u32 count, u64 width, u32 add, float* target) {
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= width) return;
    float sum = add ? target[i] : 0.0f;
    for (u64 part = 0; part < count; part++) sum += parts[part * width + i];
    target[i] = sum;
}

/// The gradient of a bias, first stage: `parts[p, width]` sums the rows of `dy` from `p * rows_per_part` on. A thread a
/// column (grid x), parts along y; `sum_parts` adds them up.
template <class T>
__device__ void bias_gradient(const T* dy, u32 stride, u32 rows, u32 width, u32 rows_per_part, float* parts) {
    const u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    const u32 first = blockIdx.y * rows_per_part, end = min(rows, first + rows_per_part);
    float sum = 0.0f;
    for (u64 row = first; row < end; row++) sum += load(dy + row * stride + column);
    parts[(u64)blockIdx.y * width + column] = sum;
}

/// The sum of squares, first stage: one sum a block in double precision, of the numbers that are its own when blocks and
/// threads go round. Shared memory: 8 bytes a warp.
__device__ void sum_of_squares_of(const float* x, u64 count, double* parts) {
    DYNAMIC_SHARED(shared);
    double sum = 0.0;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (u64)gridDim.x * blockDim.x)
        sum += (double)x[i] * x[i];
    sum = block_sum(sum, (double*)shared);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/// The second stage: one block adds up numbers in double precision. Shared memory: 8 bytes a warp.
__device__ void sum_doubles_of(const double* parts, u32 count, double* sum) {
    DYNAMIC_SHARED(shared);
    double own = 0.0;
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) own += parts[i];
    own = block_sum(own, (double*)shared);
    if (threadIdx.x == 0) *sum = own;
}

/// `x = factor x`; a thread a number.
__device__ void scale_by(float* x, u64 count, float factor) {
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) x[i] *= factor;
}

/// `to = factor from` for matrices of two types with rows of `from_stride` and `to_stride` numbers: rows along x, columns
/// along y, a thread a number.
template <class From, class To>
__device__ void convert(const From* from, u32 from_stride, u32 columns, float factor, To* to, u32 to_stride) {
    const u64 row = blockIdx.x;
    const u32 column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column < columns) store(to + row * to_stride + column, factor * load(from + row * from_stride + column));
}

/// The transposed matrix, `from` `[rows, columns]`: a block of 256 threads for 32 x 32 numbers, columns along x and rows
/// along y. Shared memory: 32 * 33 * 4 bytes.
template <class T>
__device__ void transpose(const T* from, u32 from_stride, u32 rows, u32 columns, T* to, u32 to_stride) {
    DYNAMIC_SHARED(shared);
    float* tile = (float*)shared;   // rows of 33 numbers, so that a column meets every bank
    const u32 x = threadIdx.x % 32;
    for (u32 y = threadIdx.x / 32; y < 32; y += 8) {
        const u32 row = blockIdx.y * 32 + y, column = blockIdx.x * 32 + x;
        if (row < rows && column < columns) tile[y * 33 + x] = load(from + (u64)row * from_stride + column);
    }
    __syncthreads();
    for (u32 y = threadIdx.x / 32; y < 32; y += 8) {
        const u32 row = blockIdx.x * 32 + y, column = blockIdx.y * 32 + x;
        if (row < columns && column < rows) store(to + (u64)row * to_stride + column, tile[x * 33 + y]);
    }
}

KERNEL(sum_parts, (const float* parts, u32 count, u64 width, u32 add, float* target),
       sum_parts_of(parts, count, width, add, target))
KERNEL(sum_of_squares, (const float* x, u64 count, double* parts), sum_of_squares_of(x, count, parts))
KERNEL(sum_doubles, (const double* parts, u32 count, double* sum), sum_doubles_of(parts, count, sum))
KERNEL(scale, (float* x, u64 count, float factor), scale_by(x, count, factor))

#define REDUCE(suffix, T)                                                                                            \
    KERNEL(bias_gradient_##suffix, (const T* dy, u32 stride, u32 rows, u32 width, u32 rows_per_part, float* parts),  \
           bias_gradient<T>(dy, stride, rows, width, rows_per_part, parts))                                          \
    KERNEL(convert_f32_to_##suffix,                                                                                  \
           (const float* from, u32 from_stride, u32 columns, float factor, T* to, u32 to_stride),                    \
           convert<float, T>(from, from_stride, columns, factor, to, to_stride))                                     \
    KERNEL(convert_bf16_to_##suffix,                                                                                 \
           (const bf16* from, u32 from_stride, u32 columns, float factor, T* to, u32 to_stride),                     \
           convert<bf16, T>(from, from_stride, columns, factor, to, to_stride))                                      \
    KERNEL(transpose_##suffix, (const T* from, u32 from_stride, u32 rows, u32 columns, T* to, u32 to_stride),        \
           transpose<T>(from, from_stride, rows, columns, to, to_stride))
REDUCE(f32, float)
REDUCE(bf16, bf16)
