/* Fibers: many stacks on one thread, switched by hand. AddressSanitizer is told of each switch. */
#ifndef TR_TESTS_EMU_FIBER_H
#define TR_TESTS_EMU_FIBER_H

#include <cstddef>

struct emu_fiber;

/* A fiber runs entry(argument) on its own stack when it is resumed; when entry returns, the fiber is finished and may be given
 * another entry. */
emu_fiber *emu_fiber_create();
void emu_fiber_destroy(emu_fiber *fiber);
void emu_fiber_set(emu_fiber *fiber, void (*entry)(void *), void *argument);
/* Runs the fiber until it yields or finishes; true while it is not finished. Only from outside fibers. */
bool emu_fiber_resume(emu_fiber *fiber);
/* From within a fiber: back to its resumer. */
void emu_fiber_yield();

#endif
