// The gated product of the feed-forward part: p = silu(g) u with silu(g) = g s and s = 1 / (1 + e^-g). Gate and up lie
// beside each other in rows of `stride` numbers, gate in the first `inner` columns.
#include "common.cuh"

/// Sixteen bytes a thread: rows along x, columns along y. `product` has rows of `product_stride` numbers.
template <class T>
__device__ void swiglu_forward(const T* gate_up, u32 stride, u32 inner, T* product, u32 product_stride) {
    const u64 row = blockIdx.x;
    const u32 at = (blockIdx.y * blockDim.x + threadIdx.x) * WIDE<T>;
    if (at >= inner) return;
    float gate[WIDE<T>], up[WIDE<T>];
    load_wide(gate, gate_up + row * stride + at);
    load_wide(up, gate_up + row * stride + inner + at);
#pragma unroll
    for (u32 i = 0; i < WIDE<T>; i++) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
    store_wide(product + row * product_stride + at, gate);
}

/// Overwrites three buffers, launched like the forward pass: gate and up with their gradients, and `gradient`, which has
/// dL/dp, with the product, which the gradient of the down projection needs: dg = dp u s (1 + g (1 - s)), du = dp g s.
template <class T>
__device__ void swiglu_backward(T* gate_up, u32 stride, u32 inner, T* gradient, u32 gradient_stride) {
    const u64 row = blockIdx.x;
    const u32 at = (blockIdx.y * blockDim.x + threadIdx.x) * WIDE<T>;
    if (at >= inner) return;
    T* of_gate = gate_up + row * stride + at;
    T* of_up = of_gate + inner;
    T* of_product = gradient + row * gradient_stride + at;
    float gate[WIDE<T>], up[WIDE<T>], product[WIDE<T>];
    load_wide(gate, of_gate);
    load_wide(up, of_up);
    load_wide(product, of_product);
#pragma unroll
    for (u32 i = 0; i < WIDE<T>; i++) {
        const float g = gate[i], u = up[i], d = product[i];
        const float sigmoid = 1.0f / (1.0f + expf(-g));
        gate[i] = d * u * sigmoid * (1.0f + g * (1.0f - sigmoid));
        up[i] = d * g * sigmoid;
        // As in the forward pass, to the bit.
        product[i] = g / (1.0f + expf(-g)) * u;
    }
    store_wide(of_gate, gate);
    store_wide(of_up, up);
    store_wide(of_product, product);
}

#define SWIGLU(suffix, T)                                                                                    \
    KERNEL(swiglu_forward_##suffix, (const T* gate_up, u32 stride, u32 inner, T* product, u32 product_stride), \
           swiglu_forward<T>(gate_up, stride, inner, product, product_stride))                               \
    KERNEL(swiglu_backward_##suffix, (T* gate_up, u32 stride, u32 inner, T* gradient, u32 gradient_stride),  \
           swiglu_backward<T>(gate_up, stride, inner, gradient, gradient_stride))
SWIGLU(f32, float)
SWIGLU(bf16, bf16)
