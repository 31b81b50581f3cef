// The functions that Rust calls: a device's memory, the list of kernels, and launches.
#include "machine.hpp"
#include <cstdlib>

namespace emulate {
namespace {
const Kernel* kernels;   // filled before `main`

const Kernel* find(const char* name) {
    const Kernel* kernel = kernels;
    while (kernel && strcmp(kernel->name, name) != 0) kernel = kernel->next;
    return kernel;
}
}  // namespace

void add(Kernel* kernel) {
    kernel->next = kernels;
    kernels = kernel;
}

extern "C" {
Machine* emulate_new() { return new Machine; }

void emulate_delete(Machine* machine) {
    for (auto& [start, region] : machine->regions) free((void*)start);
    delete machine;
}

/// Memory filled with NaN, of every type; null if there is none.
void* emulate_allocate(Machine* machine, size_t bytes) {
    // With room on both sides, so that no two allocations touch.
    void* memory = aligned_alloc(256, (bytes + 255) / 256 * 256 + 256);
    if (!memory) return nullptr;
    memset(memory, 0xff, bytes);
    auto region = std::make_unique<Region>();
    region->start = (uintptr_t)memory;
    region->bytes = bytes;
    machine->regions[(uintptr_t)memory] = std::move(region);
    return memory;
}

/// The bytes given back; 0 if there is no allocation at this address.
size_t emulate_free(Machine* machine, void* memory) {
    auto found = machine->regions.find((uintptr_t)memory);
    if (found == machine->regions.end()) return 0;
    const size_t bytes = found->second->bytes;
    machine->regions.erase(found);
    free(memory);
    return bytes;
}

/// Whether a range lies within one allocation.
bool emulate_holds(const Machine* machine, uintptr_t at, size_t bytes) {
    auto next = machine->regions.upper_bound(at);
    return next != machine->regions.begin() && std::prev(next)->second->holds(at, bytes);
}

/// The letters of a kernel's arguments, or null if there is no such kernel.
const char* emulate_arguments(const char* name) {
    const Kernel* kernel = find(name);
    return kernel ? kernel->kinds : nullptr;
}

/// The name of the kernel after `name`, or of the first; null after the last.
const char* emulate_next(const char* name) {
    const Kernel* kernel = name ? find(name) : nullptr;
    const Kernel* next = name ? (kernel ? kernel->next : nullptr) : kernels;
    return next ? next->name : nullptr;
}

/// Runs a kernel. `order`: 0 forwards, 1 backwards, 2 shuffled, 3 one warp as far as it gets. What went wrong is written
/// to `message`, which stays empty if nothing did. The caller has checked name, threads and arguments.
void emulate_launch(Machine* machine, const char* name, const unsigned* grid, unsigned threads, unsigned shared,
                    const uint64_t* arguments, size_t count, int order, unsigned seed, char* message, size_t room) {
    std::mt19937 random(seed);
    const std::vector<uint64_t> given(arguments, arguments + count);
    const uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    if (machine->serial + blocks >= 1ull << Mark::SERIAL) {
        for (auto& [start, region] : machine->regions) region->granules.clear();
        machine->serial = 0;
    }
    Block here;
    here.machine = machine;
    here.kernel = find(name);
    here.arguments = &given;
    here.size = {threads, 1, 1};
    here.grid = {grid[0], grid[1], grid[2]};
    here.first_serial = machine->serial + 1;
    unsigned char* memory = (unsigned char*)aligned_alloc(128, (shared + 127) / 128 * 128 + 128);
    here.shared.start = (uintptr_t)memory;
    here.shared.bytes = shared;
    for (uint64_t i = 0; i < blocks && here.failure.empty(); i++) {
        const uint64_t at = order == 1 ? blocks - 1 - i : i;
        here.index = {(unsigned)(at % grid[0]), (unsigned)(at / grid[0] % grid[1]), (unsigned)(at / grid[0] / grid[1])};
        here.serial = ++machine->serial;
        here.shared.granules.assign((shared + GRANULE - 1) / GRANULE, Granule{});
        memset(memory, 0xff, shared);   // NaN: nothing is left of the block before
        run(here, order, random);
    }
    free(memory);
    block = nullptr;
    current = nullptr;
    snprintf(message, room, "%s", here.failure.c_str());
}
}
}  // namespace emulate
