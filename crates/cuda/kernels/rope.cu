// What is done to queries, keys and values between their projection and attention: the bias (Qwen2), the norm of every
// head (Qwen3) and the rotation (arXiv 2104.09864; element i of a head is rotated with element i + D / 2), in one pass.
//
// A row of the projection has `heads` query heads, then `kv_heads` key heads, then as many value heads, D numbers each.
// Values get their bias only. The pass may work in place where heads have no norm; with one the raw row has to be kept.
#include "common.cuh"

/// A row's projection, as forward and backward read it.
template <class T> struct Projection {
    const T* raw;        // [rows, stride]
    u32 stride;
    const float* bias;   // [(heads + 2 kv_heads) D], or null
    u32 heads, kv_heads, size;

    __device__ __forceinline__ float value(u64 row, u32 head, u32 column) const {
        const u32 at = head * size + column;
        const float x = load(raw + row * stride + at);
        return bias ? x + bias[at] : x;
    }
};

/// A warp a head of a row: rows along x, heads of all three kinds along y (warps of a block, then blocks). `scales` is
/// `[2, D]`, of queries and of keys, or null; `inverse` then keeps r of every query and key head,
/// `[rows, heads + kv_heads]`. `cosines` and `sines` are `[positions, D / 2]`.
template <class T>
__device__ void rope_forward(Projection<T> in, const float* scales, float epsilon, const float* cosines, const float* sines,
                             const u32* positions, float* inverse, T* out, u32 out_stride) {
    const u64 row = blockIdx.x;
    const u32 head = blockIdx.y * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 rotated = in.heads + in.kv_heads, half = in.size / 2;
    if (head >= rotated + in.kv_heads) return;
    T* to = out + row * out_stride + head * in.size;
    if (head >= rotated) {
        for (u32 i = lane; i < in.size; i += WARP) store(to + i, in.value(row, head, i));
        return;
    }
    float r = 1.0f;
    const float* scale = scales;
    if (scales) {
        scale += head < in.heads ? 0 : in.size;
        float squares = 0.0f;
        for (u32 i = lane; i < in.size; i += WARP) squares += in.value(row, head, i) * in.value(row, head, i);
        r = rsqrtf(warp_sum(squares) / in.size + epsilon);
        if (lane == 0) inverse[row * rotated + head] = r;
    }
    const u64 angle = (u64)positions[row] * half;
    for (u32 i = lane; i < half; i += WARP) {
        float a = in.value(row, head, i), b = in.value(row, head, i + half);
        if (scales) {
            a *= r * scale[i];
            b *= r * scale[i + half];
        }
        const float cosine = cosines[angle + i], sine = sines[angle + i];
        store(to + i, a * cosine - b * sine);
        store(to + i + half, b * cosine + a * sine);
    }
}

/// Turns the gradient of queries and keys, `[rows, stride]` in the projection's order, into that of the projection, in
/// place: rotated back, and through the norm of the heads if there is one. Launched like the forward pass; the gradient
/// of values and of the bias is what it finds.
template <class T>
__device__ void rope_backward(Projection<T> in, const float* scales, const float* inverse, const float* cosines,
                              const float* sines, const u32* positions, T* gradient, u32 stride) {
    const u64 row = blockIdx.x;
    const u32 head = blockIdx.y * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 rotated = in.heads + in.kv_heads, half = in.size / 2;
    if (head >= rotated) return;
    T* of_head = gradient + row * stride + head * in.size;
    const u64 angle = (u64)positions[row] * half;
    float r = 1.0f, factor = 0.0f;
    const float* scale = scales;
    if (scales) {
        scale += head < in.heads ? 0 : in.size;
        r = inverse[row * rotated + head];
        float sum = 0.0f;
        for (u32 i = lane; i < half; i += WARP) {
            const float a = load(of_head + i), b = load(of_head + i + half);
            const float cosine = cosines[angle + i], sine = sines[angle + i];
            sum += scale[i] * (a * cosine + b * sine) * in.value(row, head, i);
            sum += scale[i + half] * (b * cosine - a * sine) * in.value(row, head, i + half);
        }
        factor = warp_sum(sum) * r * r / in.size;
    }
    for (u32 i = lane; i < half; i += WARP) {
        const float a = load(of_head + i), b = load(of_head + i + half);
        const float cosine = cosines[angle + i], sine = sines[angle + i];
        float low = a * cosine + b * sine, high = b * cosine - a * sine;
        if (scales) {
            low = r * (scale[i] * low - in.value(row, head, i) * factor);
            high = r * (scale[i + half] * high - in.value(row, head, i + half) * factor);
        }
        store(of_head + i, low);
        store(of_head + i + half, high);
    }
}

/// The gradient of the heads' norms, first stage, from the gradient before `rope_backward`: `parts[p, 2, D]` sums the rows
/// from `p * rows_per_part` on. A thread a column (up to D of them, along x), parts along y, queries and keys along z;
/// `sum_parts` adds them up.
template <class T>
__device__ void rope_scale_gradient(Projection<T> in, const float* inverse, const float* cosines, const float* sines,
                                    const u32* positions, const T* gradient, u32 stride, u32 rows, u32 rows_per_part,
                                    float* parts) {
    const u32 column = blockIdx.x * blockDim.x + threadIdx.x, of_keys = blockIdx.z;
    if (column >= in.size) return;
    const u32 rotated = in.heads + in.kv_heads, half = in.size / 2, i = column % half;
    const u32 first = blockIdx.y * rows_per_part, end = min(rows, first + rows_per_part);
    const u32 first_head = of_keys ? in.heads : 0, end_head = of_keys ? rotated : in.heads;
    float sum = 0.0f;
    for (u64 row = first; row < end; row++) {
        const u64 angle = (u64)positions[row] * half + i;
        const float cosine = cosines[angle], sine = sines[angle];
        for (u32 head = first_head; head < end_head; head++) {
            const T* of_head = gradient + row * stride + head * in.size;
            const float a = load(of_head + i), b = load(of_head + i + half);
            const float dy = column < half ? a * cosine + b * sine : b * cosine - a * sine;
            sum += dy * in.value(row, head, column) * inverse[row * rotated + head];
        }
    }
    parts[((u64)blockIdx.y * 2 + of_keys) * in.size + column] = sum;
}

#define ROPE(suffix, T)                                                                                                  \
    KERNEL(rope_forward_##suffix,                                                                                        \
           (const T* raw, u32 raw_stride, const float* bias, u32 heads, u32 kv_heads, u32 size, const float* scales,     \
            float epsilon, const float* cosines, const float* sines, const u32* positions, float* inverse, T* out,       \
            u32 out_stride),                                                                                             \
           rope_forward<T>(Projection<T>{raw, raw_stride, bias, heads, kv_heads, size}, scales, epsilon, cosines, sines, \
                           positions, inverse, out, out_stride))                                                         \
    KERNEL(rope_backward_##suffix,                                                                                       \
           (const T* raw, u32 raw_stride, const float* bias, u32 heads, u32 kv_heads, u32 size, const float* scales,     \
            const float* inverse, const float* cosines, const float* sines, const u32* positions, T* gradient,           \
            u32 stride),                                                                                                 \
           rope_backward<T>(Projection<T>{raw, raw_stride, bias, heads, kv_heads, size}, scales, inverse, cosines,       \
                            sines, positions, gradient, stride))                                                         \
    KERNEL(rope_scale_gradient_##suffix,                                                                                 \
           (const T* raw, u32 raw_stride, const float* bias, u32 heads, u32 kv_heads, u32 size, const float* inverse,    \
            const float* cosines, const float* sines, const u32* positions, const T* gradient, u32 stride, u32 rows,     \
            u32 rows_per_part, float* parts),                                                                            \
           rope_scale_gradient<T>(Projection<T>{raw, raw_stride, bias, heads, kv_heads, size}, inverse, cosines, sines,  \
                                  positions, gradient, stride, rows, rows_per_part, parts))
ROPE(f32, float)
ROPE(bf16, bf16)
