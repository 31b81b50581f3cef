// Attention over packed tries for any head size up to 256 and both number types, without tensor cores: the formulas and the
// arguments of attention.cu, with the head size after `group`. It serves single precision and sizes that attention.cu doesn't
// have, and cards check attention.cu with it.
//
// A warp has one row of its own. A lane computes the scores of one of 32 keys (or queries) at a time; for sums over them a
// lane has the columns lane, lane + 32, ...
#include "common.cuh"

/// A warp a query row (warps of a block, then x) and head (y). Shared memory: `size + 32` floats a warp.
template <class T>
__device__ void plain_forward(Rows<T> q, Rows<T> k, Rows<T> v, Mask mask, const u32* bounds, const u32* tiles, u32 group,
                              u32 size, float scale, T* out, u32 out_stride, float* log_sums) {
    DYNAMIC_SHARED(shared);
    const u32 lane = threadIdx.x % WARP, head = blockIdx.y;
    const u32 row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= mask.rows) return;
    float* query = (float*)shared + threadIdx.x / WARP * (size + WARP);
    float* weights = query + size;
    k.values += head / group * size;
    v.values += head / group * size;
    fetch(query, q.row(row) + head * size, size);
    __syncwarp();
    scale *= LOG2_E;
    float o[MOST_COLUMNS] = {}, highest = minus_infinity(), sum = 0.0f;
    for (u32 index = bounds[row / TILE]; index < bounds[row / TILE + 1]; index++) {
        const u32 tile = (tiles[index] & ~PARTIAL) * TILE;
        for (u32 first = tile; first < min(tile + TILE, mask.rows); first += WARP) {
            const u32 key = first + lane;
            const bool seen = key < mask.rows && (!(tiles[index] & PARTIAL) || mask.sees(row, key));
            const float score = seen ? dot(query, k.row(key), size) * scale : minus_infinity();
            const float peak = fmaxf(highest, warp_max(score));
            if (peak == minus_infinity()) continue;   // nothing seen yet
            const float shrink = exp2_fast(highest - peak), weight = exp2_fast(score - peak);
            highest = peak;
            sum = sum * shrink + weight;
#pragma unroll
            for (u32 i = 0; i < MOST_COLUMNS; i++) o[i] *= shrink;
            weights[lane] = weight;
            __syncwarp();
            add_rows(o, weights, v, first, min(WARP, mask.rows - first), size);
            __syncwarp();   // before the weights are overwritten
        }
    }
    sum = warp_sum(sum);
    if (lane == 0) log_sums[(u64)head * mask.rows + row] = highest + log2f(sum);
    write_row(out + (u64)row * out_stride + head * size, o, 1.0f / sum, size);
}

/// A warp a query row (warps of a block, then x) and head (y). Shared memory: `2 size + 32` floats a warp.
template <class T>
__device__ void plain_query_gradient(Rows<T> q, Rows<T> k, Rows<T> v, Rows<T> dout, Mask mask, const u32* bounds,
                                     const u32* tiles, u32 group, u32 size, float scale, const float* log_sums,
                                     const float* delta, T* dq, u32 dq_stride) {
    DYNAMIC_SHARED(shared);
    const u32 lane = threadIdx.x % WARP, head = blockIdx.y;
    const u32 row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= mask.rows) return;
    float* query = (float*)shared + threadIdx.x / WARP * (2 * size + WARP);
    float* gradient = query + size;
    float* weights = gradient + size;
    k.values += head / group * size;
    v.values += head / group * size;
    fetch(query, q.row(row) + head * size, size);
    fetch(gradient, dout.row(row) + head * size, size);
    __syncwarp();
    const float log_sum = log_sums[(u64)head * mask.rows + row], own_delta = delta[(u64)head * mask.rows + row];
    float d[MOST_COLUMNS] = {};
    for (u32 index = bounds[row / TILE]; index < bounds[row / TILE + 1]; index++) {
        const u32 tile = (tiles[index] & ~PARTIAL) * TILE;
        for (u32 first = tile; first < min(tile + TILE, mask.rows); first += WARP) {
            const u32 key = first + lane;
            float weight = 0.0f;
            if (key < mask.rows && (!(tiles[index] & PARTIAL) || mask.sees(row, key)))
                weight = exp2_fast(dot(query, k.row(key), size) * (scale * LOG2_E) - log_sum)
                       * (dot(gradient, v.row(key), size) - own_delta);
            weights[lane] = weight;
            __syncwarp();
            add_rows(d, weights, k, first, min(WARP, mask.rows - first), size);
            __syncwarp();   // before the weights are overwritten
        }
    }
    write_row(dq + (u64)row * dq_stride + head * size, d, scale, size);
}

/// A warp a key row (warps of a block, then x) and key head (y). Shared memory: `2 size + 64` floats a warp.
template <class T>
__device__ void plain_key_gradient(Rows<T> q, Rows<T> k, Rows<T> v, Rows<T> dout, Mask mask, const u32* bounds,
                                   const u32* tiles, u32 group, u32 size, float scale, const float* log_sums,
                                   const float* delta, T* dk, u32 dk_stride, T* dv, u32 dv_stride) {
    DYNAMIC_SHARED(shared);
    const u32 lane = threadIdx.x % WARP, kv_head = blockIdx.y;
    const u32 row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= mask.rows) return;
    float* key = (float*)shared + threadIdx.x / WARP * (2 * size + 2 * WARP);
    float* value = key + size;
    float* weights = value + size;
    float* score_gradients = weights + WARP;
    fetch(key, k.row(row) + kv_head * size, size);
    fetch(value, v.row(row) + kv_head * size, size);
    __syncwarp();
    float key_sums[MOST_COLUMNS] = {}, value_sums[MOST_COLUMNS] = {};
    for (u32 head = kv_head * group; head < (kv_head + 1) * group; head++) {
        const Rows<T> queries{q.values + head * size, q.stride}, gradients{dout.values + head * size, dout.stride};
        for (u32 index = bounds[row / TILE]; index < bounds[row / TILE + 1]; index++) {
            const u32 tile = (tiles[index] & ~PARTIAL) * TILE;
            for (u32 first = tile; first < min(tile + TILE, mask.rows); first += WARP) {
                const u32 query = first + lane;
                float weight = 0.0f, score_gradient = 0.0f;
                if (query < mask.rows && (!(tiles[index] & PARTIAL) || mask.sees(query, row))) {
                    const u64 at = (u64)head * mask.rows + query;
                    weight = exp2_fast(dot(key, queries.row(query), size) * (scale * LOG2_E) - log_sums[at]);
                    score_gradient = weight * (dot(value, gradients.row(query), size) - delta[at]);
                }
                weights[lane] = weight;
                score_gradients[lane] = score_gradient;
                __syncwarp();
                const u32 count = min(WARP, mask.rows - first);
                add_rows(value_sums, weights, gradients, first, count, size);
                add_rows(key_sums, score_gradients, queries, first, count, size);
                __syncwarp();   // before the weights are overwritten
            }
        }
    }
    write_row(dk + (u64)row * dk_stride + kv_head * size, key_sums, scale, size);
    write_row(dv + (u64)row * dv_stride + kv_head * size, value_sums, 1.0f, size);
}

#define ATTENTION_PLAIN(suffix, T)                                                                                         \
    KERNEL(attention_plain_forward_##suffix,                                                                               \
           (const T* q, u32 q_stride, const T* k, u32 k_stride, const T* v, u32 v_stride, const u32* ends,                 \
            const u32* positions, u32 window, u32 rows, const u32* bounds, const u32* tiles, u32 group, u32 size,          \
            float scale, T* out, u32 out_stride, float* log_sums),                                                         \
           plain_forward<T>(Rows<T>{q, q_stride}, Rows<T>{k, k_stride}, Rows<T>{v, v_stride},                              \
                            Mask{ends, positions, window, rows}, bounds, tiles, group, size, scale, out, out_stride,       \
                            log_sums))                                                                                     \
    KERNEL(attention_plain_query_gradient_##suffix,                                                                        \
           (const T* q, u32 q_stride, const T* k, u32 k_stride, const T* v, u32 v_stride, const T* dout, u32 dout_stride,  \
            const u32* ends, const u32* positions, u32 window, u32 rows, const u32* bounds, const u32* tiles, u32 group,   \
            u32 size, float scale, const float* log_sums, const float* delta, T* dq, u32 dq_stride),                       \
           plain_query_gradient<T>(Rows<T>{q, q_stride}, Rows<T>{k, k_stride}, Rows<T>{v, v_stride},                       \
                                   Rows<T>{dout, dout_stride}, Mask{ends, positions, window, rows}, bounds, tiles, group,  \
                                   size, scale, log_sums, delta, dq, dq_stride))                                           \
    KERNEL(attention_plain_key_gradient_##suffix,                                                                          \
           (const T* q, u32 q_stride, const T* k, u32 k_stride, const T* v, u32 v_stride, const T* dout, u32 dout_stride,  \
            const u32* ends, const u32* positions, u32 window, u32 rows, const u32* bounds, const u32* tiles, u32 group,   \
            u32 size, float scale, const float* log_sums, const float* delta, T* dk, u32 dk_stride, T* dv, u32 dv_stride), \
           plain_key_gradient<T>(Rows<T>{q, q_stride}, Rows<T>{k, k_stride}, Rows<T>{v, v_stride},                         \
                                 Rows<T>{dout, dout_stride}, Mask{ends, positions, window, rows}, bounds, tiles, group,    \
                                 size, scale, log_sums, delta, dk, dk_stride, dv, dv_stride))
ATTENTION_PLAIN(f32, float)
ATTENTION_PLAIN(bf16, bf16)
