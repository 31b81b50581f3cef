// The head works on the rows that have targets only: they are gathered from the residual stream, and the gradient is
// scattered back. Logits are in single precision, `[rows, vocabulary]` with rows of `stride` numbers.
//
// With logits z: ln p_y = z_y - ln sum e^z. A loss with derivatives g_t for the targets y_t of a row and k for the
// divergence KL(q || p) from a reference q has dL/dz_v = (k - sum g_t) p_v - k q_v + sum g_t [v = y_t].
#include "common.cuh"

/// A block a row: `out[i] = stream[rows[i]]`.
template <class T> __device__ void gather_rows(const T* stream, const u32* rows, u32 width, T* out) {
    const Chunk* from = (const Chunk*)(stream + (u64)rows[blockIdx.x] * width);
    Chunk* to = (Chunk*)(out + (u64)blockIdx.x * width);
    for (u32 i = threadIdx.x; i < width / WIDE<T>; i += blockDim.x) to[i] = from[i];
}

/// A block a row of `stream`: row `slots[row]` of `from`, or zeros where that is NONE.
template <class T> __device__ void scatter_rows(const T* from, const u32* slots, u32 width, T* stream) {
    const u32 slot = slots[blockIdx.x];
    const Chunk* source = (const Chunk*)(from + (u64)slot * width);
    Chunk* to = (Chunk*)(stream + (u64)blockIdx.x * width);
    for (u32 i = threadIdx.x; i < width / WIDE<T>; i += blockDim.x) to[i] = slot == NONE ? Chunk{} : source[i];
}

/// A block a row, one pass: `log_sums[row] = ln sum e^z` and, for the row's targets `tokens[bounds[row]..bounds[row + 1]]`,
/// their log-probabilities. Shared memory: 8 bytes a warp.
__device__ void log_probs_of(const float* logits, u32 stride, u32 vocabulary, const u32* bounds, const u32* tokens,
                             double* log_sums, double* log_probs) {
    DYNAMIC_SHARED(shared);
    const float* z = logits + (u64)blockIdx.x * stride;
    const double log_sum = block_log_sum(z, vocabulary, shared);
    if (threadIdx.x == 0) log_sums[blockIdx.x] = log_sum;
    for (u32 t = bounds[blockIdx.x] + threadIdx.x; t < bounds[blockIdx.x + 1]; t += blockDim.x)
        log_probs[t] = z[tokens[t]] - log_sum;
}

/// A block a row: `KL(q || p) = sum q (ln q - ln p)` from the logits of reference and policy and their log-sums. Sums of
/// eight are added in double precision. Shared memory: 8 bytes a warp.
__device__ void divergence_of(const float* reference, const double* reference_sums, const float* logits,
                              const double* log_sums, u32 stride, u32 vocabulary, double* divergences) {
    DYNAMIC_SHARED(shared);
    const float* other = reference + (u64)blockIdx.x * stride;
    const float* z = logits + (u64)blockIdx.x * stride;
    const float log_sum = (float)reference_sums[blockIdx.x];
    const float shift = (float)(reference_sums[blockIdx.x] - log_sums[blockIdx.x]);
    double sum = 0.0;
    for (u32 first = threadIdx.x; first < vocabulary; first += blockDim.x * AT_ONCE) {
        float part = 0.0f;
#pragma unroll
        for (u32 i = 0; i < AT_ONCE; i++) {
            const u32 v = first + i * blockDim.x;
            if (v < vocabulary) part += expf(other[v] - log_sum) * (other[v] - z[v] - shift);
        }
        sum += part;
    }
    sum = block_sum(sum, (double*)shared);
    if (threadIdx.x == 0) divergences[blockIdx.x] = sum;
}

/// A block a row: the gradient of the logits, `gradient` with rows of `gradient_stride` numbers. `seeds` has dL/dlog-prob of
/// every target; `reference` with its log-sums and `divergence_seeds`, dL/dKL of every row, may be null. The gradient may
/// be written over the logits, rows over rows: a number is written where one was read before or is just being read.
template <class T>
__device__ void head_gradient(const float* logits, u32 stride, u32 vocabulary, const double* log_sums, const u32* bounds,
                              const u32* tokens, const float* seeds, const float* reference, const double* reference_sums,
                              const float* divergence_seeds, T* gradient, u32 gradient_stride) {
    const u64 row = blockIdx.x;
    const float* z = logits + row * stride;
    const float* other = reference + row * stride;
    T* out = gradient + row * gradient_stride;
    const float log_sum = (float)log_sums[row], other_sum = reference ? (float)reference_sums[row] : 0.0f;
    const float other_weight = reference ? divergence_seeds[row] : 0.0f;
    const u32 first_target = bounds[row], end_target = bounds[row + 1];
    float weight = other_weight;
    for (u32 t = first_target; t < end_target; t++) weight -= seeds[t];
    for (u32 first = 0; first < vocabulary; first += blockDim.x * AT_ONCE) {
        float values[AT_ONCE];
#pragma unroll
        for (u32 i = 0; i < AT_ONCE; i++) {
            const u32 v = first + i * blockDim.x + threadIdx.x;
            if (v >= vocabulary) continue;
            values[i] = expf(z[v] - log_sum) * weight;
            if (reference) values[i] -= expf(other[v] - other_sum) * other_weight;
            for (u32 t = first_target; t < end_target; t++)
                if (tokens[t] == v) values[i] += seeds[t];
        }
        __syncthreads();   // what is overwritten has been read by all
#pragma unroll
        for (u32 i = 0; i < AT_ONCE; i++) {
            const u32 v = first + i * blockDim.x + threadIdx.x;
            if (v < vocabulary) store(out + v, values[i]);
        }
    }
}

KERNEL(head_log_probs,
       (const float* logits, u32 stride, u32 vocabulary, const u32* bounds, const u32* tokens, double* log_sums,
        double* log_probs),
       log_probs_of(logits, stride, vocabulary, bounds, tokens, log_sums, log_probs))
KERNEL(head_divergence,
       (const float* reference, const double* reference_sums, const float* logits, const double* log_sums, u32 stride,
        u32 vocabulary, double* divergences),
       divergence_of(reference, reference_sums, logits, log_sums, stride, vocabulary, divergences))

#define HEAD(suffix, T)                                                                                              \
    KERNEL(gather_rows_##suffix, (const T* stream, const u32* rows, u32 width, T* out),                              \
           gather_rows<T>(stream, rows, width, out))                                                                 \
    KERNEL(scatter_rows_##suffix, (const T* from, const u32* slots, u32 width, T* stream),                           \
           scatter_rows<T>(from, slots, width, stream))                                                              \
    KERNEL(head_gradient_##suffix,                                                                                   \
           (const float* logits, u32 stride, u32 vocabulary, const double* log_sums, const u32* bounds,              \
            const u32* tokens, const float* seeds, const float* reference, const double* reference_sums,             \
            const float* divergence_seeds, T* gradient, u32 gradient_stride),                                        \
           head_gradient<T>(logits, stride, vocabulary, log_sums, bounds, tokens, seeds, reference, reference_sums,  \
                            divergence_seeds, gradient, gradient_stride))
HEAD(f32, float)
HEAD(bf16, bf16)
