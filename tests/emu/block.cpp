/* Runs grids: blocks one after the other, the threads of a block as fibers that meet at barriers, votes and shuffles. */
#include "tests/emu/emu.h"
#include "tests/emu/fiber.h"
#include "tests/emu/runtime.h"

#include <cstdarg>
#include <cstdio>
#include <vector>

thread_local emu_thread *emu_current;
thread_local uint3 emu_block_index;
thread_local dim3 emu_block_size, emu_grid_size;

namespace {

enum { WARP = 32, MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / WARP, MAX_SHARED_BYTES = 227 * 1024 };

enum wait_kind { RUNNABLE, AT_BARRIER, AT_WARP, FINISHED };

struct emulated_thread {
  emu_thread visible;
  emu_fiber *fiber;
  wait_kind wait;
  const char *file; /* of the barrier or warp operation it waits at */
  int line;
  unsigned mask;
  /* Of the warp operation: what the lane gives, whose value it wants, and that value once all have come. */
  alignas(16) unsigned char value[16], received[16];
  unsigned source;
  int predicate;
  unsigned ballot;
};

struct emulated_block {
  const char *kernel;
  const std::function<void()> *body;
  unsigned threads, finished;
  emulated_thread thread[MAX_THREADS];
  int votes, vote_and, vote_or;
  unsigned char *shared;
  size_t shared_bytes;
};

thread_local emulated_block block;

[[noreturn]] void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "emulated CUDA: kernel %s, block (%u,%u,%u): ", block.kernel, emu_block_index.x, emu_block_index.y,
          emu_block_index.z);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  abort();
}

void wait_for(wait_kind kind, const char *file, int line) {
  emulated_thread *self = reinterpret_cast<emulated_thread *>(emu_current);
  self->wait = kind;
  self->file = file;
  self->line = line;
  emu_fiber_yield();
  emu_current = &self->visible;
}

emulated_thread *self_thread() {
  return reinterpret_cast<emulated_thread *>(emu_current);
}

/* Waits until all lanes of `mask` have come to this operation. */
void meet(unsigned mask, const char *file, int line) {
  emulated_thread *self = self_thread();
  if (!(mask >> self->visible.lane & 1u))
    die("%s:%d: lane %u calls a warp operation with mask %08x, which leaves it out", file, line, self->visible.lane, mask);
  self->mask = mask;
  wait_for(AT_WARP, file, line);
}

void thread_main(void *argument) {
  (void)argument;
  (*block.body)();
}

/* ---- scheduling ---- */

/* A whole block waits at one barrier, or the program is wrong. */
void release_barrier() {
  const emulated_thread *first = nullptr;
  for (unsigned i = 0; i < block.threads; ++i) {
    const emulated_thread *t = &block.thread[i];
    if (t->wait == FINISHED)
      die("%u threads have left the kernel while others wait at a __syncthreads", block.finished);
    if (!first)
      first = t;
    if (t->line != first->line || strcmp(t->file, first->file) != 0)
      die("threads wait at different __syncthreads: %s:%d and %s:%d", first->file, first->line, t->file, t->line);
  }
  block.votes = 0;
  block.vote_and = 1;
  block.vote_or = 0;
  for (unsigned i = 0; i < block.threads; ++i) {
    emulated_thread *t = &block.thread[i];
    block.votes += t->predicate != 0;
    block.vote_and &= t->predicate != 0;
    block.vote_or |= t->predicate != 0;
    t->wait = RUNNABLE;
  }
}

/* Releases the lanes of a warp operation of which all have come; true when any was released. */
bool release_warp(unsigned warp) {
  unsigned first = warp * WARP, end = first + WARP < block.threads ? first + WARP : block.threads;
  bool released = false;
  for (unsigned i = first; i < end; ++i) {
    emulated_thread *t = &block.thread[i];
    if (t->wait != AT_WARP)
      continue;
    unsigned present = 0, ballot = 0;
    for (unsigned j = first; j < end; ++j) {
      const emulated_thread *other = &block.thread[j];
      if (other->wait == AT_WARP && other->mask == t->mask && other->line == t->line && strcmp(other->file, t->file) == 0) {
        present |= 1u << (j - first);
        ballot |= (unsigned)(other->predicate != 0) << (j - first);
      }
    }
    unsigned wanted = end - first == WARP ? t->mask : t->mask & ((1u << (end - first)) - 1u);
    if ((present & wanted) != wanted)
      continue;
    for (unsigned j = first; j < end; ++j)
      if (present >> (j - first) & 1u) {
        emulated_thread *other = &block.thread[j];
        memcpy(other->received, block.thread[first + other->source].value, sizeof other->received);
        other->ballot = ballot;
        other->wait = RUNNABLE;
      }
    released = true;
  }
  return released;
}

void report_deadlock() {
  for (unsigned i = 0; i < block.threads; ++i) {
    const emulated_thread *t = &block.thread[i];
    if (t->wait == AT_WARP)
      die("%s:%d: lane %u of warp %u waits in a warp operation with mask %08x that other lanes of the mask do not reach", t->file,
          t->line, t->visible.lane, t->visible.warp, t->mask);
  }
  die("some threads wait at a __syncthreads that others do not reach");
}

void shuffle_order(std::vector<unsigned> &order) {
  for (size_t i = order.size(); i > 1; --i) {
    size_t j = emu_random() % i;
    unsigned held = order[i - 1];
    order[i - 1] = order[j];
    order[j] = held;
  }
}

void run_threads() {
  /* Some warps rest for a while: kept in step by their votes and shuffles, they would else hardly need a barrier. */
  const unsigned warps = (block.threads + WARP - 1) / WARP;
  unsigned resting = emu_random() & emu_random() & ~(1u << emu_random() % warps);
  std::vector<unsigned> order(block.threads);
  for (unsigned i = 0; i < block.threads; ++i)
    order[i] = i;
  while (block.finished < block.threads) {
    shuffle_order(order);
    if (emu_random() % 16 == 0)
      resting = emu_random() & emu_random() & ~(1u << emu_random() % warps);
    bool progress = false;
    unsigned at_barrier = 0;
    for (unsigned i : order) {
      emulated_thread *t = &block.thread[i];
      if (t->wait == RUNNABLE && resting >> i / WARP & 1u)
        progress = true;
      else if (t->wait == RUNNABLE) {
        emu_current = &t->visible;
        if (!emu_fiber_resume(t->fiber)) {
          t->wait = FINISHED;
          ++block.finished;
        }
        progress = true;
      }
      at_barrier += t->wait == AT_BARRIER;
    }
    for (unsigned warp = 0; warp * WARP < block.threads; ++warp)
      progress |= release_warp(warp);
    if (at_barrier > 0 && at_barrier + block.finished == block.threads) {
      release_barrier();
      progress = true;
    }
    if (!progress)
      report_deadlock();
  }
}

void run_block(uint3 index) {
  emu_block_index = index;
  block.finished = 0;
  memset(block.shared, 0xff, block.shared_bytes); /* NaN: nobody has written it yet */
  for (unsigned i = 0; i < block.threads; ++i) {
    emulated_thread *t = &block.thread[i];
    if (!t->fiber)
      t->fiber = emu_fiber_create();
    t->visible.thread_index = {i % emu_block_size.x, i / emu_block_size.x % emu_block_size.y,
                               i / (emu_block_size.x * emu_block_size.y)};
    t->visible.lane = i % WARP;
    t->visible.warp = i / WARP;
    t->wait = RUNNABLE;
    t->predicate = 0;
    emu_fiber_set(t->fiber, thread_main, nullptr);
  }
  run_threads();
}

} // namespace

void *emu_dynamic_shared(void) {
  if (block.shared_bytes == 0)
    die("the kernel takes dynamic shared memory, and the launch gave none");
  return block.shared;
}

void emu_syncthreads(const char *file, int line) {
  self_thread()->predicate = 0;
  wait_for(AT_BARRIER, file, line);
}

int emu_syncthreads_vote(int predicate, int kind, const char *file, int line) {
  self_thread()->predicate = predicate;
  wait_for(AT_BARRIER, file, line);
  return kind == 0 ? block.votes : kind == 1 ? block.vote_and : block.vote_or;
}

void emu_exchange(unsigned mask, const void *value, void *out, size_t bytes, unsigned source, const char *file, int line) {
  emulated_thread *self = self_thread();
  if (bytes > sizeof self->value)
    die("%s:%d: a shuffle of %zu bytes", file, line, bytes);
  if (source >= WARP || !(mask >> source & 1u) || self->visible.warp * WARP + source >= block.threads)
    die("%s:%d: lane %u reads from lane %u, which takes no part (mask %08x)", file, line, self->visible.lane, source, mask);
  memcpy(self->value, value, bytes);
  self->source = source;
  self->predicate = 0;
  meet(mask, file, line);
  memcpy(out, self->received, bytes);
}

unsigned emu_ballot(unsigned mask, int predicate, const char *file, int line) {
  emulated_thread *self = self_thread();
  self->predicate = predicate;
  self->source = self->visible.lane;
  meet(mask, file, line);
  return self->ballot;
}

void emu_run_grid(const char *name, dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()> &body) {
  block.kernel = name;
  emu_block_index = {0, 0, 0};
  if (emu_current)
    die("a kernel is launched from within a kernel");
  block.body = &body;
  block.threads = size.x * size.y * size.z;
  emu_block_size = size;
  emu_grid_size = grid;
  std::vector<unsigned char> shared(shared_bytes + 16);
  block.shared = reinterpret_cast<unsigned char *>(((uintptr_t)shared.data() + 15) & ~(uintptr_t)15);
  block.shared_bytes = shared_bytes;
  size_t blocks = (size_t)grid.x * grid.y * grid.z, start = blocks ? emu_random() % blocks : 0;
  bool backwards = emu_random() % 2;
  for (size_t i = 0; i < blocks; ++i) { /* any order: from a random block on, forwards or backwards */
    size_t b = backwards ? (start + blocks - i) % blocks : (start + i) % blocks;
    run_block({(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / ((size_t)grid.x * grid.y))});
  }
  emu_current = nullptr;
}

const char *emu_launch_error(dim3 grid, dim3 size, size_t shared_bytes) {
  if (size.x * size.y * size.z == 0 || (size_t)grid.x * grid.y * grid.z == 0)
    return "an empty grid or block";
  if ((size_t)size.x * size.y * size.z > MAX_THREADS || size.z > 64)
    return "more than 1,024 threads a block";
  if (grid.y > 65535 || grid.z > 65535 || grid.x > 2147483647u)
    return "a grid larger than the device takes";
  if (shared_bytes > MAX_SHARED_BYTES)
    return "more shared memory than a block may have";
  return nullptr;
}
