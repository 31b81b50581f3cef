// Chooses tokens from logits, `[.., vocabulary]` with rows of `stride` numbers, as the engine's `sample.rs` does. A block a
// pick: of row `rows[i]`, among the tokens whose bits are set in `masks[i, words]` (all if `masks` is null); several picks
// may be of one row. Writes the token, or NONE if none is allowed, and its log-probability under the model itself: without
// mask and temperature (minus infinity for NONE).
#include "common.cuh"

struct Picks {
    const float* logits;
    u32 stride, vocabulary;
    const u32* rows;
    const u32* masks;
    u32 words;

    __device__ __forceinline__ const float* row() const { return logits + (u64)rows[blockIdx.x] * stride; }
    __device__ __forceinline__ bool allows(u32 token) const {
        return !masks || (masks[(u64)blockIdx.x * words + token / 32] >> token % 32 & 1);
    }
};

__device__ __forceinline__ bool is_better(float a, u32 a_token, float b, u32 b_token) {
    return a_token != NONE && (b_token == NONE || a > b || (a == b && a_token < b_token));
}

/// The most likely allowed token, the smallest among equals, in every thread. `room` has eight bytes a warp.
__device__ __forceinline__ u32 block_best(const Picks& picks, unsigned char* room) {
    const float* z = picks.row();
    float best = 0.0f;
    u32 token = NONE;
    for (u32 v = threadIdx.x; v < picks.vocabulary; v += blockDim.x)
        if (picks.allows(v) && is_better(z[v], v, best, token)) {
            best = z[v];
            token = v;
        }
#pragma unroll
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, best, distance);
        const u32 other_token = __shfl_xor_sync(ALL_LANES, token, distance);
        if (is_better(other, other_token, best, token)) {
            best = other;
            token = other_token;
        }
    }
    const u32 warps = blockDim.x / WARP;
    float* values = (float*)room;
    u32* tokens = (u32*)(values + warps);
    if (threadIdx.x % WARP == 0) {
        values[threadIdx.x / WARP] = best;
        tokens[threadIdx.x / WARP] = token;
    }
    __syncthreads();
    for (u32 warp = 0; warp < warps; warp++)
        if (is_better(values[warp], tokens[warp], best, token)) {
            best = values[warp];
            token = tokens[warp];
        }
    __syncthreads();
    return token;
}

/// Shared memory: 8 bytes a warp.
__device__ void choose_greedily(Picks picks, u32* tokens, double* log_probs) {
    DYNAMIC_SHARED(shared);
    const u32 token = block_best(picks, shared);
    const double log_sum = block_log_sum(picks.row(), picks.vocabulary, shared);
    if (threadIdx.x != 0) return;
    tokens[blockIdx.x] = token;
    log_probs[blockIdx.x] = token == NONE ? minus_infinity() : picks.row()[token] - log_sum;
}

/// A number's place in the order of all numbers, and back.
__device__ __forceinline__ u32 key_of(float value) {
    const u32 bits = float_to_bits(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(u32 key) { return bits_to_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

/// A draw from the smallest set of the most likely tokens with at least `top_p` of the probability.
struct Nucleus {
    const Picks& picks;
    float highest, inverse_temperature;
    double* room;

    __device__ __forceinline__ float weight(float z) const { return expf((z - highest) * inverse_temperature); }

    /// The weight of the allowed tokens whose logits are at `key` or above. It never grows with the key, not by rounding
    /// either: a sum of fewer numbers, none negative, in the same order.
    __device__ double mass(u32 key) const {
        const float* z = picks.row();
        double sum = 0.0;
        for (u32 v = threadIdx.x; v < picks.vocabulary; v += blockDim.x)
            if (key_of(z[v]) >= key && picks.allows(v)) sum += weight(z[v]);
        return block_sum(sum, room);
    }

    /// The largest key from `low` on, where that is true, whose mass is at least (or, if `beyond`, more than) `wanted`.
    __device__ u32 last_key(u32 low, double wanted, bool beyond) const {
        u32 high = key_of(highest) + 1;
        while (high - low > 1) {
            const u32 middle = low + (high - low) / 2;
            const double found = mass(middle);
            if (beyond ? found > wanted : found >= wanted) low = middle;
            else high = middle;
        }
        return low;
    }

    /// The token number `index`, by id, of those allowed whose logits are at `key`, or the last one if there are fewer;
    /// written to `token` by one thread. `counts` has a number a thread.
    __device__ void find(u32 key, u32 index, u32* counts, u32* token) const {
        const float* z = picks.row();
        const u32 share = (picks.vocabulary + blockDim.x - 1) / blockDim.x;
        const u32 first = min(threadIdx.x * share, picks.vocabulary), end = min(first + share, picks.vocabulary);
        u32 own = 0;
        for (u32 v = first; v < end; v++) own += key_of(z[v]) == key && picks.allows(v);
        counts[threadIdx.x] = own;
        __syncthreads();
        u32 before = 0, all = 0;
        for (u32 thread = 0; thread < blockDim.x; thread++) {
            before += thread < threadIdx.x ? counts[thread] : 0;
            all += counts[thread];
        }
        index = min(index, all - 1);
        for (u32 v = first; v < end && index - before < own; v++)
            if (key_of(z[v]) == key && picks.allows(v)) {
                if (before == index) *token = v;
                before++;
            }
    }
};

/// `draws` has a number in [0, 1) for every pick; `temperature` is more than 0. Instead of being sorted, tokens are counted
/// off: the mass above a logit is a function that falls, and bisection finds the logit where the nucleus ends and the one
/// that is drawn. Weights are in single precision, their sums in double precision. Shared memory: 8 bytes a warp and 4 bytes
/// a thread.
__device__ void choose_from_nucleus(Picks picks, float temperature, float top_p, const double* draws, u32* tokens,
                                    double* log_probs) {
    DYNAMIC_SHARED(shared);
    double* room = (double*)shared;
    u32* counts = (u32*)(room + blockDim.x / WARP);
    const u32 best = block_best(picks, shared);
    if (best == NONE) {   // the same in all threads
        if (threadIdx.x == 0) {
            tokens[blockIdx.x] = NONE;
            log_probs[blockIdx.x] = minus_infinity();
        }
        return;
    }
    const Nucleus nucleus{picks, picks.row()[best], 1.0f / temperature, room};
    // Those above the last key are all in the nucleus, of those at it as many as it takes, and at least one.
    const double limit = top_p * nucleus.mass(0);
    u32 key = nucleus.last_key(0, limit, false);
    double above = nucleus.mass(key + 1);
    float weight = nucleus.weight(value_of(key));
    const double ties = (nucleus.mass(key) - above) / weight;
    double count = ceil((limit - above) / weight);
    count = count < 1.0 ? 1.0 : count > ties ? floor(ties + 0.5) : count;
    const double left = draws[blockIdx.x] * (above + count * weight);
    double index = floor((left - above) / weight);
    if (left < above) {
        key = nucleus.last_key(key + 1, left, true);
        above = nucleus.mass(key + 1);
        weight = nucleus.weight(value_of(key));
        index = floor((left - above) / weight);
    } else if (index > count - 1.0) {
        index = count - 1.0;   // rounding may leave a little mass after the last token
    }
    nucleus.find(key, index < 0.0 ? 0 : (u32)index, counts, tokens + blockIdx.x);
    __syncthreads();
    const double log_sum = block_log_sum(picks.row(), picks.vocabulary, room);
    if (threadIdx.x == 0) log_probs[blockIdx.x] = picks.row()[tokens[blockIdx.x]] - log_sum;
}

KERNEL(choose_greedy,
       (const float* logits, u32 stride, u32 vocabulary, const u32* rows, const u32* masks, u32 words, u32* tokens,
        double* log_probs),
       choose_greedily(Picks{logits, stride, vocabulary, rows, masks, words}, tokens, log_probs))
KERNEL(choose_nucleus,
       (const float* logits, u32 stride, u32 vocabulary, const u32* rows, const u32* masks, u32 words, float temperature,
        float top_p, const double* draws, u32* tokens, double* log_probs),
       choose_from_nucleus(Picks{logits, stride, vocabulary, rows, masks, words}, temperature, top_p, draws, tokens, log_probs))
