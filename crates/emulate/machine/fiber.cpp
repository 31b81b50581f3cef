// Fibers: a stack each, and the change from one to another.
#include "machine.hpp"
#include <cstdlib>
#if !defined(__x86_64__)
#define EMULATE_UCONTEXT
#endif
#if defined(EMULATE_UCONTEXT)
#include <ucontext.h>
#endif

namespace emulate {
thread_local Fiber* current;

namespace {
struct Stacks {
    unsigned char* memory = nullptr;
    unsigned count = 0;
    ~Stacks() { free(memory); }
};
thread_local Stacks kept;
}  // namespace

unsigned char* stacks(unsigned count) {
    if (kept.count < count) {
        free(kept.memory);
        kept.memory = (unsigned char*)aligned_alloc(64, count * STACK);
        kept.count = kept.memory ? count : 0;
        if (!kept.memory) abort();
    }
    return kept.memory;
}

#if !defined(EMULATE_UCONTEXT)
// Saves what the System V calling convention keeps, exchanges the stacks, and restores.
extern "C" void emulate_switch(void** save, void* load);
asm(R"(
.text
.globl emulate_switch
emulate_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

void prepare(Fiber& fiber, void (*enter)()) {
    void** top = (void**)(fiber.stack + STACK - 64);
    *--top = nullptr;   // where `enter` would return to; it keeps the stack aligned as a call does
    *--top = (void*)enter;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber.context = top;
}
void to_fiber(Fiber& fiber) {
    current = &fiber;
    emulate_switch(&block->scheduler, fiber.context);
}
void to_scheduler() { emulate_switch(&current->context, block->scheduler); }
#else
namespace {
thread_local std::vector<ucontext_t> contexts;
thread_local ucontext_t scheduler;
}  // namespace

void prepare(Fiber& fiber, void (*enter)()) {
    if (contexts.size() <= fiber.number) contexts.resize(block->fibers.size());
    ucontext_t& context = contexts[fiber.number];
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, enter, 0);
}
void to_fiber(Fiber& fiber) {
    current = &fiber;
    swapcontext(&scheduler, &contexts[fiber.number]);
}
void to_scheduler() { swapcontext(&contexts[current->number], &scheduler); }
#endif

std::string who() {
    char text[128];
    snprintf(text, sizeof text, "thread %u of block (%u, %u, %u)", current->number, block->index.x, block->index.y,
             block->index.z);
    return text;
}

void fail(const std::string& message) {
    if (block->failure.empty()) block->failure = message;
    to_scheduler();
    abort();   // the scheduler doesn't come back to a launch that failed
}
}  // namespace emulate
