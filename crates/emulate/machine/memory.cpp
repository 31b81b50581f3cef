// Every access of a kernel to memory is checked. The compiler calls the functions at the end of this file before each of
// them (-fsanitize=kernel-address with calls instead of inline code; the kernel's own variables are left out).
//
// An access has to lie within the block's shared memory or within one allocation, aligned to its size. For every two
// bytes the last thread that wrote and the last two that read are kept, so that a race is found in any order of threads:
// of two accesses to the same place by different threads, one of them a write, a barrier of the block has to lie between
// (within a warp __syncwarp is enough), and two blocks of a launch may not meet at all.
#include "machine.hpp"

namespace emulate {
namespace {
Mark now(uint64_t serial) {
    Mark mark;
    mark.bits = ((serial << Mark::BLOCK_CLOCK | block->clock) << Mark::WARP_CLOCK | block->warps[current->number / WARP].clock)
                    << Mark::THREAD | current->number;
    return mark;
}

/// Whether an earlier access is over for certain when the current thread's comes.
bool is_over(Mark earlier, Mark mark) {
    if (earlier.serial() < block->first_serial) return true;
    if (earlier.serial() != mark.serial()) return false;
    if (earlier.thread() == mark.thread() || earlier.block_clock() < mark.block_clock()) return true;
    return earlier.thread() / WARP == mark.thread() / WARP && earlier.warp_clock() < mark.warp_clock();
}

[[noreturn]] void race(const char* what, Mark earlier) {
    const bool same = earlier.serial() == block->serial;
    fail(who() + what +
         (same ? "thread " + std::to_string(earlier.thread()) + " of the same block, with no barrier between them"
               : "another block of the launch"));
}

[[noreturn]] void outside(uintptr_t at, size_t size, bool writes) {
    std::string text = who() + (writes ? " writes " : " reads ") + std::to_string(size) + " bytes ";
    // Named after what begins nearest before it.
    auto next = block->machine->regions.upper_bound(at);
    const Region* region = next == block->machine->regions.begin() ? nullptr : std::prev(next)->second.get();
    const Region& shared = block->shared;
    const bool is_shared = at >= shared.start && (!region || shared.start > region->start);
    if (is_shared) region = &shared;
    if (!region) fail(text + "outside every allocation");
    fail(text + "at " + std::to_string(at - region->start) + " of " + (is_shared ? "" : "an allocation of ") +
         std::to_string(region->bytes) + " bytes" + (is_shared ? " of shared memory" : ""));
}

Region& region_of(uintptr_t at, size_t size, bool writes) {
    if (block->shared.holds(at, size)) return block->shared;
    if (block->last && block->last->holds(at, size)) return *block->last;
    auto next = block->machine->regions.upper_bound(at);
    if (next == block->machine->regions.begin() || !std::prev(next)->second->holds(at, size)) outside(at, size, writes);
    block->last = std::prev(next)->second.get();
    return *block->last;
}

void note_read(Granule& granule, Mark mark) {
    if (granule.pending) fail(who() + " reads the target of an asynchronous copy that hasn't been waited for");
    if (!is_over(granule.write, mark)) race(" reads what is written by ", granule.write);
    if (granule.reads[0].thread() != mark.thread() || granule.reads[0].serial() != mark.serial())
        granule.reads[1] = granule.reads[0];
    granule.reads[0] = mark;
}

void note_write(Granule& granule, Mark mark) {
    if (granule.pending) fail(who() + " writes to the target of an asynchronous copy that hasn't been waited for");
    if (!is_over(granule.write, mark)) race(" writes what is also written by ", granule.write);
    for (Mark read : granule.reads)
        if (!is_over(read, mark)) race(" writes what is read by ", read);
    granule.write = mark;
}

Granule* granules(Region& region, uintptr_t at) {
    if (region.granules.empty()) region.granules.resize((region.bytes + GRANULE - 1) / GRANULE);
    return &region.granules[(at - region.start) / GRANULE];
}
}  // namespace

void touch(uintptr_t at, size_t size, bool writes) {
    if (!current || at - (uintptr_t)current->stack < STACK) return;
    if (size <= 16 && (size & (size - 1)) == 0 && at % size != 0)
        fail(who() + (writes ? " writes " : " reads ") + std::to_string(size) + " bytes that aren't aligned");
    Region& region = region_of(at, size, writes);
    const bool shared = &region == &block->shared;
    const Mark mark = now(block->serial);
    Granule* first = granules(region, at);
    Granule* last = &region.granules[(at - region.start + size - 1) / GRANULE];
    for (Granule* granule = first; granule <= last; granule++) {
        if (writes) {
            note_write(*granule, mark);
        } else {
            if (shared && granule->write.serial() != block->serial && !granule->pending)
                fail(who() + " reads shared memory that nothing was written to");
            note_read(*granule, mark);
        }
    }
}

void touch_pending(uintptr_t at, size_t size, bool pending) {
    const Mark mark = now(block->serial);
    Granule* first = granules(block->shared, at);
    for (Granule* granule = first; granule < first + size / GRANULE; granule++) {
        if (!pending) granule->pending = false;
        note_write(*granule, mark);
        granule->pending = pending;
    }
}
}  // namespace emulate

extern "C" {
#define ACCESS(size)                                                                            \
    void __asan_load##size##_noabort(uintptr_t at) { emulate::touch(at, size, false); }         \
    void __asan_store##size##_noabort(uintptr_t at) { emulate::touch(at, size, true); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __asan_loadN_noabort(uintptr_t at, size_t size) { emulate::touch(at, size, false); }
void __asan_storeN_noabort(uintptr_t at, size_t size) { emulate::touch(at, size, true); }
// Asked for around the registration of kernels, before `main`, and before calls that don't return.
void __asan_before_dynamic_init(uintptr_t) {}
void __asan_after_dynamic_init() {}
void __asan_handle_no_return() {}
}
