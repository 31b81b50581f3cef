// AdamW with decoupled weight decay (arXiv 1711.05101) over all trained parameters, which lie in four arenas of single
// precision: values, gradients and the two moments.
#include "common.cuh"

/// Where a parameter lies and where products read it; 48 bytes, as the host lays them out.
struct Parameter {
    u64 start;          // of its numbers in the arenas
    u64 length;         // below 2^32
    u64 copy;           // address of its copy of type T, or 0
    u32 columns;        // of the parameter as a matrix: number i goes to row i / columns of the copy
    u32 copy_stride;    // numbers from one row of the copy to the next
    float copy_factor;  // the copy is this times the parameter
    u32 decays;         // 0 for norms and biases
    u32 first_block;    // blocks of the parameters before it, NUMBERS_A_BLOCK numbers each
    u32 unused;
};
constexpr u32 NUMBERS_A_BLOCK = 1024;

/// One step: with g the gradient times `factor`, m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2,
/// p <- keep p - rate m / (root_correction sqrt(v) + epsilon), where `rate` and `root_correction` have the corrections of
/// the moments in them and `keep` is 1 without decay. Copies are written in the same pass. A block of any number of threads
/// for 1024 numbers of a parameter; `parameters` is sorted by `first_block`.
template <class T>
__device__ void adamw(const Parameter* parameters, u32 count, float* values, const float* gradients, float* first,
                      float* second, float factor, float beta1, float beta2, float epsilon, float rate,
                      float root_correction, float keep) {
    u32 low = 0, high = count;   // the last parameter whose first block isn't past this one
    while (high - low > 1) {
        const u32 middle = (low + high) / 2;
        if (parameters[middle].first_block <= blockIdx.x) low = middle;
        else high = middle;
    }
    const Parameter parameter = parameters[low];
    const u64 from = (u64)(blockIdx.x - parameter.first_block) * NUMBERS_A_BLOCK;
    const u64 end = min(parameter.length, from + NUMBERS_A_BLOCK);
    for (u64 i = from + threadIdx.x; i < end; i += blockDim.x) {
        const u64 at = parameter.start + i;
        const float g = factor * gradients[at];
        const float m = beta1 * first[at] + (1.0f - beta1) * g;
        const float v = beta2 * second[at] + (1.0f - beta2) * g * g;
        const float step = rate * m / (sqrtf(v) * root_correction + epsilon);
        const float value = values[at] * (parameter.decays ? keep : 1.0f) - step;
        first[at] = m;
        second[at] = v;
        values[at] = value;
        if (parameter.copy) {
            const u32 row = (u32)i / parameter.columns, column = (u32)i % parameter.columns;
            store((T*)parameter.copy + (u64)row * parameter.copy_stride + column, parameter.copy_factor * value);
        }
    }
}

#define OPTIMISER(suffix, T)                                                                                              \
    KERNEL(adamw_##suffix,                                                                                                \
           (const Parameter* parameters, u32 count, float* values, const float* gradients, float* first, float* second,   \
            float factor, float beta1, float beta2, float epsilon, float rate, float root_correction, float keep),        \
           adamw<T>(parameters, count, values, gradients, first, second, factor, beta1, beta2, epsilon, rate,             \
                    root_correction, keep))
OPTIMISER(f32, float)
OPTIMISER(bf16, bf16)
