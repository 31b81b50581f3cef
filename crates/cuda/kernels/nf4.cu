// Weights in NF4: 64 of them, counted row by row, share a scale, which may have a code of 8 bits itself. The first of two
// weights is in the upper half of a byte.
#include "common.cuh"

typedef unsigned char u8;

constexpr u32 PER_SCALE = 64, PER_GROUP = 256, LEVELS = 16;
/// Weights of a thread: those of four bytes, which lie in one block.
constexpr u32 PER_THREAD = 8;
/// What weights are rounded to before they get the type of the result.
constexpr u32 AS_F16 = 1, AS_BF16 = 2;

/// A product and a sum that are rounded each by itself, as the CPU has them.
__device__ __forceinline__ float product_rounded(float a, float b) {
#ifdef EMULATE
    return a * b;
#else
    return __fmul_rn(a, b);
#endif
}
__device__ __forceinline__ float sum_rounded(float a, float b) {
#ifdef EMULATE
    return a + b;
#else
    return __fadd_rn(a, b);
#endif
}

__device__ __forceinline__ float as_type(float value, u32 type) {
    if (type == AS_BF16) return low_half(pack(value, 0.0f));
    if (type != AS_F16) return value;
    // Below 2^-14, numbers of 16 bits are multiples of 2^-24.
    if (fabsf(value) < 6.103515625e-5f) return rintf(value * 16777216.0f) * 5.9604644775390625e-8f;
    const u32 bits = float_to_bits(value);
    return bits_to_float((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

/// Widens a matrix `[rows, inputs]` to the first columns of `to`, `[rows, inputs + room]`, and copies `beside`,
/// `[rows, room]`, to the others. A block a row (x), eight numbers a thread (y); inputs and room are multiples of 8.
///
/// A weight is `tables[code] * scale`. Scales are `scales[block]`, or, if they have codes, `tables[16 + code] *
/// scales[block / 256] + offset`.
template <class T>
__device__ void nf4_dequantise(const u32* codes, const u8* scale_codes, const float* scales, const float* tables, float offset,
                               u32 rounding, u32 inputs, const T* beside, u32 room, T* to) {
    const u64 row = blockIdx.x;
    const u32 at = (blockIdx.y * blockDim.x + threadIdx.x) * PER_THREAD, stride = inputs + room;
    if (at >= stride) return;
    T* target = to + row * stride + at;
    if (at >= inputs) {
        const Chunk* from = (const Chunk*)(beside + row * room + (at - inputs));
#pragma unroll
        for (u32 i = 0; i < PER_THREAD / WIDE<T>; i++) ((Chunk*)target)[i] = from[i];
        return;
    }
    const u64 first = row * inputs + at, block = first / PER_SCALE;
    float scale;
    if (scale_codes != nullptr) {
        const float unit = tables[LEVELS + scale_codes[block]];
        scale = sum_rounded(product_rounded(unit, scales[block / PER_GROUP]), offset);
    } else {
        scale = scales[block];
    }
    const u32 word = codes[first / PER_THREAD];
#pragma unroll
    for (u32 i = 0; i < PER_THREAD; i += WIDE<T>) {
        float values[WIDE<T>];
#pragma unroll
        for (u32 k = 0; k < WIDE<T>; k++) {
            const u32 number = i + k, byte = word >> number / 2 * 8 & 0xffu;
            values[k] = as_type(product_rounded(tables[number % 2 == 0 ? byte >> 4 : byte & 15u], scale), rounding);
        }
        store_wide(target + i, values);
    }
}

#define NF4(suffix, T)                                                                                                    \
    KERNEL(nf4_dequantise_##suffix,                                                                                       \
           (const u32* codes, const u8* scale_codes, const float* scales, const float* tables, float offset,             \
            u32 rounding, u32 inputs, const T* beside, u32 room, T* to),                                                  \
           nf4_dequantise<T>(codes, scale_codes, scales, tables, offset, rounding, inputs, beside, room, to))
NF4(f32, float)
NF4(bf16, bf16)
