// A driver without a card: the driver's functions that tabpo calls, over the host's memory, and one kernel. It is written
// from NVIDIA's header files, so that what tabpo passes is checked on machines without a card.
//
// -DVERSION=13000  the version of CUDA
// -DCARDS=1        the number of cards
// -DMEMORY=...     bytes of memory
// -DLOST           kernels end in an illegal address
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VERSION
#define VERSION 13000
#endif
#ifndef CARDS
#define CARDS 1
#endif
#ifndef MEMORY
#define MEMORY (1ull << 30)
#endif

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };

static int context, living, error;
static uint64_t used;
static _Thread_local void *current;

// What was created and not destroyed: allocations, streams, events, modules and the context.
int pretend_living(void) { return living; }

static struct { uint64_t start, bytes; } blocks[1024];

static int inside(uint64_t address, uint64_t bytes) {
    for (int i = 0; i < 1024; i++)
        if (blocks[i].start && address >= blocks[i].start && address + bytes <= blocks[i].start + blocks[i].bytes) return 1;
    return 0;
}

#define ENTERED if (current != &context) return INVALID_CONTEXT; if (error) return error

int cuGetErrorName(int code, const char **text) {
    *text = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : code == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : NULL;
    return *text ? SUCCESS : INVALID_VALUE;
}
int cuGetErrorString(int code, const char **text) {
    *text = code == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : NULL;
    return *text ? SUCCESS : INVALID_VALUE;
}
int cuInit(unsigned flags) { return flags ? INVALID_VALUE : CARDS ? SUCCESS : 100; }
int cuDriverGetVersion(int *version) { *version = VERSION; return SUCCESS; }
int cuDeviceGetCount(int *count) { *count = CARDS; return SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < CARDS ? SUCCESS : 101; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "Pretended card %d", device); return SUCCESS; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
        case 16: *value = 132; return SUCCESS;      // multiprocessors
        case 75: *value = 9; return SUCCESS;        // compute capability
        case 76: *value = 0; return SUCCESS;
        case 97: *value = 232448; return SUCCESS;   // shared memory of a block
        default: return INVALID_VALUE;
    }
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = MEMORY; return SUCCESS; }
int cuDevicePrimaryCtxRetain(void **out, int device) { (void)device; *out = &context; living++; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; living--; return SUCCESS; }
int cuCtxSetCurrent(void *to) { current = to; return to == &context ? SUCCESS : INVALID_CONTEXT; }
int cuStreamCreate(void **stream, unsigned flags) { ENTERED; living++; *stream = malloc(1); return flags == 1 ? SUCCESS : INVALID_VALUE; }
int cuStreamDestroy_v2(void *stream) { free(stream); living--; return SUCCESS; }
int cuStreamSynchronize(void *stream) { ENTERED; return stream ? SUCCESS : INVALID_VALUE; }
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    ENTERED;
    if (bytes == 0) return INVALID_VALUE;
    if (used + bytes > MEMORY) return OUT_OF_MEMORY;
    for (int i = 0; i < 1024; i++)
        if (!blocks[i].start) {
            void *start = aligned_alloc(256, (bytes + 255) / 256 * 256);
            memset(start, 0xff, bytes);
            blocks[i].start = (uint64_t)start;
            blocks[i].bytes = bytes;
            used += bytes;
            living++;
            *address = (uint64_t)start;
            return SUCCESS;
        }
    return OUT_OF_MEMORY;
}
int cuMemFree_v2(uint64_t address) {
    for (int i = 0; i < 1024; i++)
        if (address && blocks[i].start == address) {
            free((void *)address);
            used -= blocks[i].bytes;
            blocks[i].start = 0;
            living--;
            return SUCCESS;
        }
    return INVALID_VALUE;
}
int cuMemGetInfo_v2(size_t *available, size_t *total) { *available = MEMORY - used; *total = MEMORY; return SUCCESS; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    ENTERED;
    if (!stream || !inside(to, bytes)) return INVALID_VALUE;
    memcpy((void *)to, from, bytes);
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    ENTERED;
    if (!stream || !inside(from, bytes)) return INVALID_VALUE;
    memcpy(to, (void *)from, bytes);
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    ENTERED;
    if (!stream || !inside(to, bytes) || !inside(from, bytes)) return INVALID_VALUE;
    memcpy((void *)to, (void *)from, bytes);
    return SUCCESS;
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    ENTERED;
    if (!stream || !inside(to, bytes)) return INVALID_VALUE;
    memset((void *)to, value, bytes);
    return SUCCESS;
}

// The one kernel: `fill_f32(float *x, u32 count, float value, u64 step, i32 shift)` sets x[i * step] = value + shift.
static int function, opted;
static const size_t offsets[] = {0, 8, 12, 16, 24}, sizes[] = {8, 4, 4, 8, 4};

int cuModuleLoadData(void **module, const void *image) {
    ENTERED;
    if (memcmp(image, "\x7f" "ELF", 4)) return INVALID_IMAGE;
    living++;
    *module = malloc(1);
    return SUCCESS;
}
int cuModuleUnload(void *module) { free(module); living--; return SUCCESS; }
int cuModuleGetFunction(void **out, void *module, const char *name) {
    (void)module;
    *out = &function;
    return strcmp(name, "fill_f32") ? NOT_FOUND : SUCCESS;
}
int cuFuncGetAttribute(int *value, int attribute, void *of) { *value = 512; return attribute == 0 && of == &function ? SUCCESS : INVALID_VALUE; }
int cuFuncSetAttribute(void *of, int attribute, int value) {
    if (of != &function || attribute != 8 || value > 232448) return INVALID_VALUE;
    opted = value;
    return SUCCESS;
}
int cuFuncGetParamInfo(void *of, size_t index, size_t *offset, size_t *size) {
    if (of != &function || index >= 5) return INVALID_VALUE;
    *offset = offsets[index];
    *size = sizes[index];
    return SUCCESS;
}
int cuLaunchKernel(void *of, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz, unsigned shared, void *stream, void **parameters, void **extra) {
    ENTERED;
    if (of != &function || !stream || extra || y != 1 || z != 1 || ty != 1 || tz != 1) return INVALID_VALUE;
    if (shared > 49152 && (int)shared > opted) return INVALID_VALUE;
#ifdef LOST
    error = ILLEGAL_ADDRESS;
    return SUCCESS;
#endif
    float *numbers = *(float **)parameters[0];
    for (unsigned i = 0; i < *(uint32_t *)parameters[1] && i < x * threads; i++)
        numbers[i * *(uint64_t *)parameters[3]] = *(float *)parameters[2] + *(int32_t *)parameters[4];
    return SUCCESS;
}
int cuEventCreate(void **event, unsigned flags) { ENTERED; living++; *event = malloc(1); return flags ? INVALID_VALUE : SUCCESS; }
int cuEventDestroy_v2(void *event) { free(event); living--; return SUCCESS; }
int cuEventRecord(void *event, void *stream) { ENTERED; return event && stream ? SUCCESS : INVALID_VALUE; }
int cuEventSynchronize(void *event) { ENTERED; return event ? SUCCESS : INVALID_VALUE; }
int cuEventElapsedTime(float *milliseconds, void *start, void *end) { *milliseconds = 1.5f; return start && end ? SUCCESS : INVALID_VALUE; }
