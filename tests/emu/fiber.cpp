/* Fibers by ucontext for the first entry and a hand-written switch on x86-64 (ucontext's makes two system calls a switch, which is
 * most of the time of a kernel with barriers). */
#include "tests/emu/fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif

#ifdef EMU_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace {
const size_t stack_bytes = 256 * 1024, guard_bytes = 4096;
} // namespace

struct emu_fiber {
  char *memory; /* guard page, then the stack */
  void (*entry)(void *);
  void *argument;
  bool running, finished;
#if defined(__x86_64__)
  void *stack_pointer;
#else
  ucontext_t context;
#endif
};

namespace {

struct resumer {
#if defined(__x86_64__)
  void *stack_pointer;
#else
  ucontext_t context;
#endif
  void *fake_stack;
  const void *stack_bottom;
  size_t stack_size;
};

thread_local emu_fiber *current;
thread_local resumer main_stack;

#if defined(__x86_64__)
/* Saves the callee-saved registers on the old stack, swaps stack pointers, and restores them from the new one. */
extern "C" void emu_switch_stacks(void **save, void *load);
asm(R"(
.text
.globl emu_switch_stacks
.type emu_switch_stacks, @function
emu_switch_stacks:
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
.size emu_switch_stacks, . - emu_switch_stacks
)");
#endif

/* Not instrumented: the last call on a fiber's stack never returns, so the marks around its variables would stay for the next
 * thread that gets the stack. */
__attribute__((no_sanitize("address"))) void to_main(emu_fiber *fiber, bool last) {
#ifdef EMU_ASAN
  void *fake = nullptr;
  __sanitizer_start_switch_fiber(last ? nullptr : &fake, main_stack.stack_bottom, main_stack.stack_size);
#else
  (void)last;
#endif
#if defined(__x86_64__)
  emu_switch_stacks(&fiber->stack_pointer, main_stack.stack_pointer);
#else
  swapcontext(&fiber->context, &main_stack.context);
#endif
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(fake, &main_stack.stack_bottom, &main_stack.stack_size);
#endif
}

[[noreturn]] __attribute__((no_sanitize("address"))) void fiber_main() {
  emu_fiber *self = current;
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &main_stack.stack_bottom, &main_stack.stack_size);
#endif
  self->entry(self->argument);
  self->finished = true;
  to_main(self, true);
  abort(); /* a finished fiber is never resumed */
}

void prepare(emu_fiber *fiber) {
#if defined(__x86_64__)
  /* What emu_switch_stacks pops: six registers, then the return address. At the entry of a function the stack is 16-byte aligned
   * plus 8. */
  uintptr_t top = (uintptr_t)(fiber->memory + guard_bytes + stack_bytes) & ~(uintptr_t)15;
  void **slot = (void **)(top - 16);
  slot[0] = (void *)fiber_main;
  for (int i = 1; i <= 6; ++i)
    slot[-i] = nullptr;
  fiber->stack_pointer = slot - 6;
#else
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->memory + guard_bytes;
  fiber->context.uc_stack.ss_size = stack_bytes;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, fiber_main, 0);
#endif
}

} // namespace

emu_fiber *emu_fiber_create() {
  emu_fiber *fiber = static_cast<emu_fiber *>(calloc(1, sizeof(emu_fiber)));
  void *memory =
      mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!fiber || memory == MAP_FAILED || mprotect(memory, guard_bytes, PROT_NONE) != 0) {
    fprintf(stderr, "emulated CUDA: no memory for another thread's stack\n");
    abort();
  }
  fiber->memory = static_cast<char *>(memory);
  fiber->finished = true;
  return fiber;
}

void emu_fiber_destroy(emu_fiber *fiber) {
  if (!fiber)
    return;
  munmap(fiber->memory, guard_bytes + stack_bytes);
  free(fiber);
}

void emu_fiber_set(emu_fiber *fiber, void (*entry)(void *), void *argument) {
  fiber->entry = entry;
  fiber->argument = argument;
  fiber->finished = false;
  prepare(fiber);
}

bool emu_fiber_resume(emu_fiber *fiber) {
  current = fiber;
#ifdef EMU_ASAN
  __sanitizer_start_switch_fiber(&main_stack.fake_stack, fiber->memory + guard_bytes, stack_bytes);
#endif
#if defined(__x86_64__)
  emu_switch_stacks(&main_stack.stack_pointer, fiber->stack_pointer);
#else
  swapcontext(&main_stack.context, &fiber->context);
#endif
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(main_stack.fake_stack, nullptr, nullptr);
#endif
  current = nullptr;
  return !fiber->finished;
}

void emu_fiber_yield() {
  to_main(current, false);
}
