// Token embeddings: x = E[token], and dE[token] = sum of dx over the rows of the token.
#include "common.cuh"

/// A block a row: copies `width` numbers.
template <class T> __device__ void embed_forward(const T* table, const u32* tokens, u32 width, T* x) {
    const u64 row = blockIdx.x;
    const Chunk* from = (const Chunk*)(table + (u64)tokens[row] * width);
    Chunk* to = (Chunk*)(x + row * width);
    for (u32 i = threadIdx.x; i < width / WIDE<T>; i += blockDim.x) to[i] = from[i];
}

/// Adds to `gradient`, `[vocabulary, width]`. A block a distinct token (x), sixteen bytes a thread (y): the rows of token
/// `tokens[i]` are `rows[bounds[i]..bounds[i + 1]]`, added in this order, so that nothing is added from two sides.
template <class T>
__device__ void embed_backward(const T* dx, const u32* tokens, const u32* bounds, const u32* rows, u32 width, float* gradient) {
    const u32 at = (blockIdx.y * blockDim.x + threadIdx.x) * WIDE<T>;
    if (at >= width) return;
    float* to = gradient + (u64)tokens[blockIdx.x] * width + at;
    float sums[WIDE<T>];
    load_floats(sums, to);
    for (u32 i = bounds[blockIdx.x]; i < bounds[blockIdx.x + 1]; i++) {
        float values[WIDE<T>];
        load_wide(values, dx + (u64)rows[i] * width + at);
#pragma unroll
        for (u32 k = 0; k < WIDE<T>; k++) sums[k] += values[k];
    }
#pragma unroll
    for (u32 k = 0; k < WIDE<T>; k += 4) {
        const float part[4] = {sums[k], sums[k + 1], sums[k + 2], sums[k + 3]};
        store_wide(to + k, part);
    }
}

#define EMBEDDING(suffix, T)                                                                              \
    KERNEL(embed_forward_##suffix, (const T* table, const u32* tokens, u32 width, T* x),                  \
           embed_forward<T>(table, tokens, width, x))                                                     \
    KERNEL(embed_backward_##suffix,                                                                       \
           (const T* dx, const u32* tokens, const u32* bounds, const u32* rows, u32 width, float* gradient), \
           embed_backward<T>(dx, tokens, bounds, rows, width, gradient))
EMBEDDING(f32, float)
EMBEDDING(bf16, bf16)
