// The inside of the emulator: a thread of a block is a fiber, blocks run one after the other. Fibers change places only at
// barriers and collectives, in an order that the launch says.
#pragma once
#include "emulate.hpp"
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace emulate {
constexpr unsigned WARP = 32;

/// Who last touched two bytes, and when: of a block by its serial number, the barriers it had passed, those of the
/// thread's warp, and the thread. Ordered so that a larger number is later within a block. See memory.cpp.
struct Mark {
    uint64_t bits = 0;
    static constexpr unsigned SERIAL = 26, BLOCK_CLOCK = 14, WARP_CLOCK = 14, THREAD = 10;
    uint64_t serial() const { return bits >> (64 - SERIAL); }
    unsigned block_clock() const { return bits >> (WARP_CLOCK + THREAD) & ((1u << BLOCK_CLOCK) - 1); }
    unsigned warp_clock() const { return bits >> THREAD & ((1u << WARP_CLOCK) - 1); }
    unsigned thread() const { return bits & ((1u << THREAD) - 1); }
};
/// What is known of two neighbouring bytes.
struct Granule {
    Mark write;
    Mark reads[2];          // the last two threads that read
    bool pending = false;   // the target of an asynchronous copy that hasn't been waited for
};
constexpr size_t GRANULE = 2;

/// Memory that kernels may touch: an allocation, or a block's shared memory.
struct Region {
    uintptr_t start = 0;
    size_t bytes = 0;
    std::vector<Granule> granules;   // made at the first touch
    bool holds(uintptr_t at, size_t size) const { return at - start < bytes && size <= bytes - (at - start); }
};

struct Copy {
    void* target;
    unsigned char bytes[16];
};
struct Fiber {
    void* context = nullptr;
    unsigned char* stack = nullptr;
    unsigned number = 0;
    bool done = false;
    const unsigned* waits_for = nullptr;   // a generation that has to change
    unsigned seen = 0;
    const char* file = "";                 // the barrier or collective where it waits, or waited last
    int line = 0;
    std::vector<std::vector<Copy>> copies;   // committed groups; the last one is open
};
struct Warp {
    unsigned generation = 0, arrived = 0, phase = 0, clock = 0;
    const char* file = "";
    int line = 0;
    uint32_t slots[2][WARP][8];
};

/// One emulated device.
struct Machine {
    std::map<uintptr_t, std::unique_ptr<Region>> regions;
    uint64_t serial = 0;   // of the last block that ran
};

/// A launch, and the block of it that runs.
struct Block {
    Machine* machine = nullptr;
    const Kernel* kernel = nullptr;
    Index index{}, size{}, grid{};
    const std::vector<uint64_t>* arguments = nullptr;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    Region shared;
    unsigned generation = 0, arrived = 0, clock = 0;
    const char* file = "";
    int line = 0;
    uint64_t serial = 0, first_serial = 0;   // of this block and of the launch's first
    Region* last = nullptr;                  // the allocation that was touched last
    void* scheduler = nullptr;
    std::string failure;
};
extern thread_local Block* block;
extern thread_local Fiber* current;

constexpr size_t STACK = 128 << 10;
/// Stacks for `count` fibers, kept by the operating system's thread.
unsigned char* stacks(unsigned count);
/// Makes a fiber that will run `enter`.
void prepare(Fiber& fiber, void (*enter)());
/// Runs a fiber until it waits.
void to_fiber(Fiber& fiber);
/// Leaves the current fiber.
void to_scheduler();
/// Ends the launch with a message; the current fiber is not gone on with.
[[noreturn]] void fail(const std::string& message);
/// The current thread in words.
std::string who();

/// Waits until `generation` changes.
void wait(const unsigned& generation);
/// Gives a lane's words to its warp and returns those of all lanes.
const uint32_t (*exchange(const uint32_t* words, int count, const char* file, int line))[8];

/// Checks and notes an access of the current thread.
void touch(uintptr_t at, size_t size, bool writes);
/// Marks the target of an asynchronous copy, before and after it has been waited for.
void touch_pending(uintptr_t at, size_t size, bool pending);

/// Runs all threads of a block.
void run(Block& here, int order, std::mt19937& random);
}  // namespace emulate
