// A block's threads: the order in which they run, barriers, and the collectives of a warp.
#include "machine.hpp"
#include <algorithm>

namespace emulate {
thread_local Block* block;

Index thread_index() { return {current->number, 0, 0}; }
Index block_index() { return block->index; }
Index block_size() { return block->size; }
Index grid_size() { return block->grid; }
unsigned char* shared_memory() { return (unsigned char*)block->shared.start; }
unsigned lane() { return current->number % WARP; }

namespace {
std::string place(const char* file, int line) {
    const char* name = strrchr(file, '/');
    return std::string(name ? name + 1 : file) + ":" + std::to_string(line);
}

void enter() {
    // The arguments lie on the fiber's own stack, where a kernel may read.
    const std::vector<uint64_t>& given = *block->arguments;
    uint64_t values[32];
    void* pointers[32];
    for (size_t i = 0; i < given.size(); i++) {
        values[i] = given[i];
        pointers[i] = &values[i];
    }
    block->kernel->call(pointers);
    for (auto& group : current->copies)
        if (!group.empty()) fail(who() + " ends with asynchronous copies that it hasn't waited for");
    current->done = true;
    to_scheduler();
}

/// Runs a fiber if it doesn't wait.
bool step(Fiber& fiber) {
    if (fiber.done || (fiber.waits_for && *fiber.waits_for == fiber.seen)) return false;
    fiber.waits_for = nullptr;
    to_fiber(fiber);
    return true;
}
}  // namespace

void wait(const unsigned& generation) {
    current->waits_for = &generation;
    current->seen = generation;
    to_scheduler();
}

void sync_block(const char* file, int line) {
    if (block->arrived == 0) {
        block->file = file;
        block->line = line;
    } else if (block->line != line || block->file != file) {
        fail("threads of a block wait at different barriers, " + place(block->file, block->line) + " and " +
             place(file, line));
    }
    current->file = file;
    current->line = line;
    if (++block->arrived == block->size.x) {
        block->arrived = 0;
        block->generation++;
        if (++block->clock == 1u << Mark::BLOCK_CLOCK) fail("a block passes more barriers than the emulator counts");
    } else {
        wait(block->generation);
    }
}

const uint32_t (*exchange(const uint32_t* words, int count, const char* file, int line))[8] {
    Warp& warp = block->warps[current->number / WARP];
    const unsigned phase = warp.phase;
    if (warp.arrived == 0) {
        warp.file = file;
        warp.line = line;
    } else if (warp.line != line || warp.file != file) {
        fail("threads of a warp meet at different collectives, " + place(warp.file, warp.line) + " and " + place(file, line));
    }
    current->file = file;
    current->line = line;
    if (count) memcpy(warp.slots[phase][lane()], words, count * 4);
    if (++warp.arrived == WARP) {
        warp.arrived = 0;
        warp.phase ^= 1;   // a lane that is ahead fills the other slots: these are read until the next meeting
        warp.generation++;
    } else {
        wait(warp.generation);
    }
    return warp.slots[phase];
}

void sync_warp(const char* file, int line) {
    Warp& warp = block->warps[current->number / WARP];
    const unsigned clock = warp.clock;
    exchange(nullptr, 0, file, line);
    // The first lane that goes on counts for all; none can have come to the next barrier yet.
    if (warp.clock == clock && ++warp.clock == 1u << Mark::WARP_CLOCK)
        fail("a warp passes more barriers than the emulator counts");
}

uint32_t shuffle(uint32_t word, unsigned from, const char* file, int line) {
    const uint32_t (*all)[8] = exchange(&word, 1, file, line);
    return all[from % WARP][0];
}

void run(Block& here, int order, std::mt19937& random) {
    block = &here;
    const unsigned threads = here.size.x;
    here.fibers.assign(threads, Fiber{});
    here.warps.assign(threads / WARP, Warp{});
    here.generation = here.arrived = here.clock = 0;
    unsigned char* memory = stacks(threads);
    std::vector<unsigned> queue(threads), warps(threads / WARP);
    for (unsigned i = 0; i < threads; i++) {
        here.fibers[i].number = i;
        here.fibers[i].stack = memory + i * STACK;
        prepare(here.fibers[i], enter);
        queue[i] = order == 1 ? threads - 1 - i : i;
    }
    for (unsigned i = 0; i < warps.size(); i++) warps[i] = i;
    for (;;) {
        bool moved = false;
        if (order == 3) {
            // One warp after the other as far as it gets: the others are as far behind as a barrier lets them.
            std::shuffle(warps.begin(), warps.end(), random);
            for (unsigned warp : warps)
                for (bool again = true; again && here.failure.empty();) {
                    again = false;
                    for (unsigned i = warp * WARP; i < (warp + 1) * WARP && here.failure.empty(); i++)
                        again |= step(here.fibers[i]);
                    moved |= again;
                }
        } else {
            if (order == 2) std::shuffle(queue.begin(), queue.end(), random);
            for (unsigned i : queue) {
                moved |= step(here.fibers[i]);
                if (!here.failure.empty()) break;
            }
        }
        if (!here.failure.empty()) return;
        if (moved) continue;
        for (const Fiber& fiber : here.fibers)
            if (!fiber.done) {
                here.failure = "not all threads reach " + place(fiber.file, fiber.line) + ", where thread " +
                               std::to_string(fiber.number) + " of block (" + std::to_string(here.index.x) + ", " +
                               std::to_string(here.index.y) + ", " + std::to_string(here.index.z) + ") waits";
                return;
            }
        return;
    }
}
}  // namespace emulate
