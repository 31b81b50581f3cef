// What tensor cores and asynchronous copies do, by the fragment layouts of the PTX manual (sections on mma.m16n8k16,
// ldmatrix and cp.async).
#include "machine.hpp"

namespace emulate {
namespace {
/// One of the two bf16 numbers of a register.
float widen(uint32_t packed, unsigned half) {
    const uint32_t bits = half ? packed & 0xffff0000u : packed << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
}  // namespace

/// To nearest, ties to even; a NaN stays one.
uint16_t round_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void mma_16x8x16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
    const uint32_t words[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const uint32_t (*all)[8] = exchange(words, 6, "mma", 0);
    const unsigned group = lane() / 4, pair = lane() % 4;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = group + i / 2 * 8, column = pair * 2 + i % 2;
        float sum = d[i];
        for (unsigned k = 0; k < 16; k++) {
            // a: register 0 has rows 0-7 of the first eight columns, 1 rows 8-15, 2 and 3 the other columns.
            const uint32_t left = all[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2];
            const uint32_t right = all[column * 4 + k % 8 / 2][4 + k / 8];
            sum += widen(left, k % 2) * widen(right, k % 2);
        }
        d[i] = sum;
    }
}

void ldmatrix(uint32_t* out, const void* row, bool turned) {
    const uintptr_t address = (uintptr_t)row;
    if (!block->shared.holds(address, 16)) fail(who() + " loads a matrix from outside the block's shared memory");
    if (address % 16 != 0) fail(who() + " loads a matrix whose row isn't aligned to sixteen bytes");
    touch(address, 16, false);
    const uint32_t words[2] = {(uint32_t)address, (uint32_t)((uint64_t)address >> 32)};
    const uint32_t (*all)[8] = exchange(words, 2, "ldmatrix", turned);
    const unsigned group = lane() / 4, pair = lane() % 4;
    for (unsigned matrix = 0; matrix < 4; matrix++) {
        auto element = [&](unsigned r, unsigned c) -> uint32_t {
            const uint32_t* words = all[matrix * 8 + r];
            return ((const uint16_t*)(uintptr_t)(words[0] | (uint64_t)words[1] << 32))[c];
        };
        out[matrix] = turned ? element(pair * 2, group) | element(pair * 2 + 1, group) << 16
                             : element(group, pair * 2) | element(group, pair * 2 + 1) << 16;
    }
}

void copy_async(void* target, const void* source, bool there) {
    const uintptr_t to = (uintptr_t)target, from = (uintptr_t)source;
    if (!block->shared.holds(to, 16)) fail(who() + " starts a copy to outside the block's shared memory");
    if (to % 16 != 0 || (there && from % 16 != 0)) fail(who() + " starts a copy that isn't aligned to sixteen bytes");
    if (there) touch(from, 16, false);
    touch_pending(to, 16, true);
    if (current->copies.empty()) current->copies.emplace_back();
    Copy copy{target, {}};
    if (there) memcpy(copy.bytes, source, 16);
    memset(target, 0xff, 16);   // NaN until it has been waited for
    current->copies.back().push_back(copy);
}
void copies_commit() {
    if (current->copies.empty()) current->copies.emplace_back();
    current->copies.emplace_back();
}
void copies_wait(int pending) {
    auto& groups = current->copies;
    while ((int)groups.size() - 1 > pending) {
        for (Copy& copy : groups.front()) {
            memcpy(copy.target, copy.bytes, 16);
            touch_pending((uintptr_t)copy.target, 16, false);
        }
        groups.erase(groups.begin());
    }
}
}  // namespace emulate
