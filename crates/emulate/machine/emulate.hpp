// What a kernel sees of the emulator in place of CUDA: its keywords and built-in variables, barriers and the collectives
// of a warp. Kernels are compiled with calls before every access to memory (see memory.cpp), the emulator isn't: what it
// does for a kernel therefore stands in the emulator's own files, not here.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static_assert(false, "shared memory comes from DYNAMIC_SHARED alone")
#define DYNAMIC_SHARED(name) unsigned char* name = emulate::shared_memory()

namespace emulate {
struct Index {
    unsigned x, y, z;
};
Index thread_index();
Index block_index();
Index block_size();
Index grid_size();
unsigned char* shared_memory();

/// Waits for all threads of the block.
void sync_block(const char* file, int line);
/// Waits for all threads of the warp; what they wrote before can be read after.
void sync_warp(const char* file, int line);
/// The word that another lane of the warp gives.
uint32_t shuffle(uint32_t word, unsigned from, const char* file, int line);
unsigned lane();

/// `d += a b`: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32.
void mma_16x8x16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1);
/// ldmatrix.sync.aligned.m8n8.x4.shared.b16, with `.trans` if `turned`.
void ldmatrix(uint32_t* out, const void* row, bool turned);
/// cp.async.cg.shared.global of sixteen bytes; zeros where `there` is false.
void copy_async(void* target, const void* source, bool there);
/// cp.async.commit_group
void copies_commit();
/// cp.async.wait_group
void copies_wait(int pending);

uint16_t round_bf16(float value);

/// The value of another lane, for types of four and eight bytes.
template <class T> T shuffle_value(T value, unsigned from, const char* file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &value, sizeof(T));
    for (uint32_t& word : words) word = shuffle(word, from, file, line);
    memcpy(&value, words, sizeof(T));
    return value;
}

/// A kernel by its name. `kinds` has a letter an argument: p(ointer), u(32), i(32), U(64), f(32).
struct Kernel {
    const char* name;
    void (*call)(void** arguments);
    const char* kinds;
    const Kernel* next;
};
void add(Kernel* kernel);

template <class A> constexpr char kind() {
    if constexpr (std::is_pointer_v<A>) return 'p';
    else if constexpr (std::is_same_v<A, float>) return 'f';
    else if constexpr (std::is_same_v<A, int>) return 'i';
    else if constexpr (std::is_same_v<A, unsigned>) return 'u';
    else {
        static_assert(std::is_same_v<A, unsigned long long>, "a kernel takes pointers, int, u32, u64 and float");
        return 'U';
    }
}
template <auto F> struct Entry;
template <class... A, void (*F)(A...)> struct Entry<F> {
    static constexpr char kinds[] = {kind<A>()..., 0};
    template <size_t... I> static void spread(void** p, std::index_sequence<I...>) { F(*(A*)p[I]...); }
    static void call(void** p) { spread(p, std::index_sequence_for<A...>{}); }
};
struct Add {
    Kernel kernel;
    Add(const char* name, void (*call)(void**), const char* kinds) : kernel{name, call, kinds, nullptr} { add(&kernel); }
};
}  // namespace emulate

#define threadIdx (emulate::thread_index())
#define blockIdx (emulate::block_index())
#define blockDim (emulate::block_size())
#define gridDim (emulate::grid_size())
#define __syncthreads() emulate::sync_block(__FILE__, __LINE__)
#define __syncwarp() emulate::sync_warp(__FILE__, __LINE__)
#define __shfl_sync(mask, value, from) emulate::shuffle_value(value, from, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, distance) emulate::shuffle_value(value, emulate::lane() ^ (distance), __FILE__, __LINE__)
#define EMULATED(name) static emulate::Add add_##name(#name, emulate::Entry<name>::call, emulate::Entry<name>::kinds);
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
using std::max;
using std::min;
