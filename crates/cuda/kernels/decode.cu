// Attention of new tokens over cached keys and values. The cache of a layer is two pools of pages of 64 positions,
// `[pages, kv_heads, 64, size]`; a sequence has a row of page numbers, so that sequences share the pages of a common
// beginning. Every page is attended to by itself, and the pages of a sequence are combined in order: a sequence's result
// depends neither on the other sequences nor on how many there are.
//
// With s = q k scale of a page: o = sum 2^(s log2 e - m) v, m the page's maximum of s log2 e. `parts` has o,
// `[sequences, heads, most_pages, size]`, and `stats` m and the sum of the weights, `[sequences, heads, most_pages, 2]`.
#include "common.cuh"

constexpr u32 PAGE = TILE;

/// What a sequence sees: positions from `first` to before `length`, the last of which is the new token's own.
struct Visible {
    u32 first, length;
    __device__ __forceinline__ Visible(u32 length, u32 window)
        : first(window != 0 && length > window ? length - window : 0), length(length) {}
    __device__ __forceinline__ bool holds(u32 position) const { return position >= first && position < length; }
    __device__ __forceinline__ u32 first_page() const { return first / PAGE; }
    __device__ __forceinline__ u32 pages() const { return (length + PAGE - 1) / PAGE; }
};

/// A block a new row: copies its keys and values to position `slots[row] % 64` of page `slots[row] / 64`.
template <class T>
__device__ void cache_store(Rows<T> k, Rows<T> v, const u32* slots, u32 kv_heads, u32 size, T* keys, T* values) {
    const u32 slot = slots[blockIdx.x];
    for (u32 i = threadIdx.x; i < kv_heads * size; i += blockDim.x) {
        const u64 at = (((u64)(slot / PAGE) * kv_heads + i / size) * PAGE + slot % PAGE) * size + i % size;
        keys[at] = k.row(blockIdx.x)[i];
        values[at] = v.row(blockIdx.x)[i];
    }
}

/// A warp a page (warps of a block, then z) of a sequence (x), for all query heads of a key head (y), at most 16: they are
/// the rows of one product. Shared memory: two tiles a warp, 64 D numbers each.
template <int D>
__device__ void attention_decode(Rows<bf16> q, const bf16* keys, const bf16* values, const u32* table, u32 table_stride,
                                 const u32* lengths, u32 window, u32 kv_heads, u32 group, float scale, u32 most_pages,
                                 float* parts, float* stats) {
    DYNAMIC_SHARED(shared);
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, kv_head = blockIdx.y;
    const u32 page = blockIdx.z * (blockDim.x / WARP) + warp;
    const Visible visible(lengths[blockIdx.x], window);
    if (page < visible.first_page() || page >= visible.pages()) return;
    bf16* k_tile = (bf16*)shared + warp * 2 * PAGE * D;
    bf16* v_tile = k_tile + PAGE * D;
    const u64 start = ((u64)table[(u64)blockIdx.x * table_stride + page] * kv_heads + kv_head) * PAGE * D;
    for (u32 i = lane; i < PAGE * D / 8; i += WARP) {
        const u32 row = i / (D / 8), column = i % (D / 8) * 8;
        // Positions that nothing was stored to may hold anything.
        const bool there = page * PAGE + row < visible.length;
        copy_async(at<D>(k_tile, row, column), keys + start + (u64)row * D + column, there);
        copy_async(at<D>(v_tile, row, column), values + start + (u64)row * D + column, there);
    }
    copies_commit();
    float s[PAGE / 8][4], o[D / 8][4];
    clear(s);
    clear(o);
    const bf16* queries = q.row(blockIdx.x) + kv_head * group * D;
    copies_wait<0>();
    __syncwarp();
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        u32 a[4], b[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 head = lane / 4 + i % 2 * 8;
            a[i] = head < group ? *(const u32*)(queries + head * D + k + i / 2 * 8 + lane % 4 * 2) : 0;
        }
#pragma unroll
        for (int n = 0; n < (int)PAGE / 8; n += 2) {
            right_factor_of_rows<D>(b, k_tile, n * 8, k);
            multiply(s[n], a, b[0], b[1]);
            multiply(s[n + 1], a, b[2], b[3]);
        }
    }
    float highest[2], sums[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        highest[half] = minus_infinity();
        sums[half] = 0.0f;
#pragma unroll
        for (int n = 0; n < (int)PAGE / 8; n++)
#pragma unroll
            for (int i = half * 2; i < half * 2 + 2; i++) {
                const bool seen = visible.holds(page * PAGE + n * 8 + lane % 4 * 2 + i % 2);
                s[n][i] = seen ? s[n][i] * (scale * LOG2_E) : minus_infinity();
                highest[half] = fmaxf(highest[half], s[n][i]);
            }
        // A head is spread over four lanes; every page in question has a position that is seen.
        highest[half] = fmaxf(highest[half], __shfl_xor_sync(ALL_LANES, highest[half], 1));
        highest[half] = fmaxf(highest[half], __shfl_xor_sync(ALL_LANES, highest[half], 2));
#pragma unroll
        for (int n = 0; n < (int)PAGE / 8; n++)
#pragma unroll
            for (int i = half * 2; i < half * 2 + 2; i++) {
                s[n][i] = exp2_fast(s[n][i] - highest[half]);
                sums[half] += s[n][i];
            }
        sums[half] += __shfl_xor_sync(ALL_LANES, sums[half], 1);
        sums[half] += __shfl_xor_sync(ALL_LANES, sums[half], 2);
    }
    add_weighted_rows<D, PAGE / 8>(o, s, v_tile, 0);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 head = lane / 4 + half * 8;
        if (head >= group) continue;
        const u64 part = ((u64)blockIdx.x * kv_heads * group + kv_head * group + head) * most_pages + page;
        if (lane % 4 == 0) {
            stats[part * 2] = highest[half];
            stats[part * 2 + 1] = sums[half];
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            float* to = parts + part * D + n * 8 + lane % 4 * 2;
            to[0] = o[n][half * 2];
            to[1] = o[n][half * 2 + 1];
        }
    }
}

/// The same for any head size up to 256 and both number types: a warp a page (warps of a block, then z) of a sequence (x)
/// and query head (y). Shared memory: `size + 32` floats a warp.
template <class T>
__device__ void plain_decode(Rows<T> q, const T* keys, const T* values, const u32* table, u32 table_stride,
                             const u32* lengths, u32 window, u32 kv_heads, u32 group, u32 size, float scale, u32 most_pages,
                             float* parts, float* stats) {
    DYNAMIC_SHARED(shared);
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, head = blockIdx.y;
    const u32 page = blockIdx.z * (blockDim.x / WARP) + warp;
    const Visible visible(lengths[blockIdx.x], window);
    if (page < visible.first_page() || page >= visible.pages()) return;
    float* query = (float*)shared + warp * (size + WARP);
    float* weights = query + size;
    const u64 start = ((u64)table[(u64)blockIdx.x * table_stride + page] * kv_heads + head / group) * PAGE * size;
    const Rows<T> k{keys + start, size}, v{values + start, size};
    fetch(query, q.row(blockIdx.x) + head * size, size);
    __syncwarp();
    float scores[PAGE / WARP], highest = minus_infinity(), sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < PAGE / WARP; i++) {
        const u32 row = i * WARP + lane;
        const bool seen = visible.holds(page * PAGE + row);
        scores[i] = seen ? dot(query, k.row(row), size) * (scale * LOG2_E) : minus_infinity();
        highest = fmaxf(highest, scores[i]);
    }
    highest = warp_max(highest);   // every page in question has a position that is seen
    float o[MOST_COLUMNS] = {};
#pragma unroll
    for (u32 i = 0; i < PAGE / WARP; i++) {
        const float weight = exp2_fast(scores[i] - highest);
        sum += weight;
        weights[lane] = weight;
        __syncwarp();
        const u32 first = page * PAGE + i * WARP;
        if (first < visible.length) add_rows(o, weights, v, i * WARP, min(WARP, visible.length - first), size);
        __syncwarp();   // before the weights are overwritten
    }
    sum = warp_sum(sum);
    const u64 part = ((u64)blockIdx.x * kv_heads * group + head) * most_pages + page;
    if (lane == 0) {
        stats[part * 2] = highest;
        stats[part * 2 + 1] = sum;
    }
    write_row(parts + part * size, o, 1.0f, size);
}

/// Combines the pages of a sequence in order (arXiv 2205.14135, section 3.1): with M the largest m,
/// `out = sum 2^(m - M) o / sum 2^(m - M) weights`. A warp a sequence (x) and head (warps of a block, then y).
template <class T>
__device__ void attention_combine(const float* parts, const float* stats, const u32* lengths, u32 window, u32 heads, u32 size,
                                  u32 most_pages, T* out, u32 out_stride) {
    const u32 lane = threadIdx.x % WARP, head = blockIdx.y * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (head >= heads) return;
    const Visible visible(lengths[blockIdx.x], window);
    const u64 first = ((u64)blockIdx.x * heads + head) * most_pages;
    float highest = minus_infinity(), sum = 0.0f, o[MOST_COLUMNS] = {};
    for (u32 page = visible.first_page(); page < visible.pages(); page++) highest = fmaxf(highest, stats[(first + page) * 2]);
    for (u32 page = visible.first_page(); page < visible.pages(); page++) {
        const float factor = exp2_fast(stats[(first + page) * 2] - highest);
        sum += factor * stats[(first + page) * 2 + 1];
        const float* part = parts + (first + page) * size;
#pragma unroll
        for (u32 i = 0; i < MOST_COLUMNS; i++)
            if (lane + i * WARP < size) o[i] += factor * part[lane + i * WARP];
    }
    write_row(out + (u64)blockIdx.x * out_stride + head * size, o, 1.0f / sum, size);
}

#define DECODE(suffix, T)                                                                                                  \
    KERNEL(cache_store_##suffix,                                                                                           \
           (const T* k, u32 k_stride, const T* v, u32 v_stride, const u32* slots, u32 kv_heads, u32 size, T* keys,         \
            T* values),                                                                                                    \
           cache_store<T>(Rows<T>{k, k_stride}, Rows<T>{v, v_stride}, slots, kv_heads, size, keys, values))                \
    KERNEL(attention_decode_plain_##suffix,                                                                                \
           (const T* q, u32 q_stride, const T* keys, const T* values, const u32* table, u32 table_stride,                  \
            const u32* lengths, u32 window, u32 kv_heads, u32 group, u32 size, float scale, u32 most_pages, float* parts,  \
            float* stats),                                                                                                 \
           plain_decode<T>(Rows<T>{q, q_stride}, keys, values, table, table_stride, lengths, window, kv_heads, group,      \
                           size, scale, most_pages, parts, stats))                                                         \
    KERNEL(attention_combine_##suffix,                                                                                     \
           (const float* parts, const float* stats, const u32* lengths, u32 window, u32 heads, u32 size, u32 most_pages,   \
            T* out, u32 out_stride),                                                                                       \
           attention_combine<T>(parts, stats, lengths, window, heads, size, most_pages, out, out_stride))
DECODE(f32, float)
DECODE(bf16, bf16)

#define DECODE_OF_SIZE(D)                                                                                                  \
    KERNEL(attention_decode_##D##_bf16,                                                                                    \
           (const bf16* q, u32 q_stride, const bf16* keys, const bf16* values, const u32* table, u32 table_stride,         \
            const u32* lengths, u32 window, u32 kv_heads, u32 group, float scale, u32 most_pages, float* parts,            \
            float* stats),                                                                                                 \
           attention_decode<D>(Rows<bf16>{q, q_stride}, keys, values, table, table_stride, lengths, window, kv_heads,      \
                               group, scale, most_pages, parts, stats))
DECODE_OF_SIZE(64)
DECODE_OF_SIZE(96)
DECODE_OF_SIZE(128)
