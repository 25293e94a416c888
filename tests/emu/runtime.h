/* What the parts of the emulator share: the queue of a stream, the random order, and running a grid. */
#ifndef TR_TESTS_EMU_RUNTIME_H
#define TR_TESTS_EMU_RUNTIME_H

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>

/* Next number of the sequence that TR_EMU_SEED starts. */
uint32_t emu_random();

/* Puts work at the end of a stream; it is done at a later call, at the latest when the stream is waited for. While the stream is
 * being captured, the work becomes a node of its graph. */
void emu_enqueue(cudaStream_t stream, std::function<void()> work);

/* Ends the process when `pointer` is not `bytes` of device memory (in use), with what was being done. */
void emu_check_device(const void *pointer, size_t bytes, const char *doing);
bool emu_is_device(const void *pointer);

/* Counts what must be destroyed ("cuBLAS handles"); what is left at exit is reported as a leak. `kind` is a literal. */
void emu_count(const char *kind, int change);

void emu_run_grid(const char *name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body);
const char *emu_launch_error(dim3 grid, dim3 block, size_t shared_bytes); /* NULL when it may run */

#endif
