// Mistakes that the emulator has to find, each planted in the same small kernel.
#include "common.cuh"

enum Mistake {
    NO_MISTAKE,
    NO_BARRIER_BEFORE_TILE,    // a tile is overwritten while others still read it
    NO_BARRIER_AFTER_TILE,     // a tile is read before the others' copies are there for certain
    NO_WAIT,                   // a tile is read while it is still being copied
    NO_BARRIER_IN_SUM,         // the sums of the warps are read before they are written
    NO_BARRIER_BETWEEN_SUMS,   // and overwritten before they were read
    BARRIER_IN_BRANCH,
    SHUFFLE_IN_BRANCH,
    WRITE_PAST_BUFFER,
    READ_PAST_BUFFER,
    BLOCKS_WRITE_ONE_PLACE,
    MISALIGNED,
    UNWRITTEN_SHARED,
    PAST_SHARED,
    NO_WARP_BARRIER,           // lanes of a warp hand numbers on without __syncwarp
};

/// Every thread adds up one number of each tile of 128 that another thread copied; `out[block, thread]` is the block's sum
/// of these sums plus that of their squares. 128 threads; shared memory: 128 + 4 numbers.
template <Mistake MISTAKE> __device__ void sum_of_tiles(const float* x, u32 tiles, float* out) {
    DYNAMIC_SHARED(shared);
    float* tile = (float*)shared;
    float* room = tile + 128;
    const u32 thread = threadIdx.x;
    float sum = 0.0f;
    if (MISTAKE == UNWRITTEN_SHARED) sum = room[0] * 0.0f;
    for (u32 index = 0; index < tiles; index++) {
        if (thread < 32) copy_async(tile + thread * 4, x + index * 128 + thread * 4, true);
        copies_commit();
        if (MISTAKE != NO_WAIT) copies_wait<0>();
        if (MISTAKE != NO_BARRIER_AFTER_TILE) __syncthreads();
        sum += tile[(thread * 37 + 5) % 128];
        if (MISTAKE != NO_BARRIER_BEFORE_TILE) __syncthreads();
        if (MISTAKE == BARRIER_IN_BRANCH && thread % 32 < 16) __syncthreads();
    }
    if (MISTAKE == NO_WARP_BARRIER) {
        tile[thread] = sum;
        sum = tile[thread ^ 1];
    } else {
        tile[thread] = sum;
        __syncwarp();
        sum = tile[thread ^ 1];
    }
    float total = 0.0f;
    for (int power = 1; power <= 2; power++) {
        float own = power == 1 ? sum : sum * sum;
        if (MISTAKE != SHUFFLE_IN_BRANCH || thread % 32 < 16) own = warp_sum(own);
        if (thread % 32 == 0) room[thread / 32] = own;
        if (MISTAKE != NO_BARRIER_IN_SUM) __syncthreads();
        for (int warp = 0; warp < 4; warp++) total += room[warp];
        if (MISTAKE != NO_BARRIER_BETWEEN_SUMS) __syncthreads();
    }
    u64 at = (u64)blockIdx.x * 128 + thread;
    if (MISTAKE == BLOCKS_WRITE_ONE_PLACE) at = thread;
    if (MISTAKE == WRITE_PAST_BUFFER) at += 1;
    if (MISTAKE == READ_PAST_BUFFER) total += x[tiles * 128 + thread] * 0.0f;
    if (MISTAKE == PAST_SHARED) total += room[4] * 0.0f;
    if (MISTAKE == MISALIGNED) {
        if (thread == 0) *(Chunk*)(out + 1) = Chunk{};
    } else {
        out[at] = total;
    }
}

#define SUM_OF_TILES(name, MISTAKE) \
    KERNEL(name, (const float* x, u32 tiles, float* out), sum_of_tiles<MISTAKE>(x, tiles, out))
SUM_OF_TILES(sum_of_tiles_sound, NO_MISTAKE)
SUM_OF_TILES(sum_of_tiles_no_barrier_before_tile, NO_BARRIER_BEFORE_TILE)
SUM_OF_TILES(sum_of_tiles_no_barrier_after_tile, NO_BARRIER_AFTER_TILE)
SUM_OF_TILES(sum_of_tiles_no_wait, NO_WAIT)
SUM_OF_TILES(sum_of_tiles_no_barrier_in_sum, NO_BARRIER_IN_SUM)
SUM_OF_TILES(sum_of_tiles_no_barrier_between_sums, NO_BARRIER_BETWEEN_SUMS)
SUM_OF_TILES(sum_of_tiles_barrier_in_branch, BARRIER_IN_BRANCH)
SUM_OF_TILES(sum_of_tiles_shuffle_in_branch, SHUFFLE_IN_BRANCH)
SUM_OF_TILES(sum_of_tiles_write_past_buffer, WRITE_PAST_BUFFER)
SUM_OF_TILES(sum_of_tiles_read_past_buffer, READ_PAST_BUFFER)
SUM_OF_TILES(sum_of_tiles_blocks_write_one_place, BLOCKS_WRITE_ONE_PLACE)
SUM_OF_TILES(sum_of_tiles_misaligned, MISALIGNED)
SUM_OF_TILES(sum_of_tiles_unwritten_shared, UNWRITTEN_SHARED)
SUM_OF_TILES(sum_of_tiles_past_shared, PAST_SHARED)
SUM_OF_TILES(sum_of_tiles_no_warp_barrier, NO_WARP_BARRIER)
