/* Cuts scratch memory into sections at 64-byte boundaries; the same layout function counts the bytes beforehand. */
#ifndef TR_KERNELS_SECTIONS_H
#define TR_KERNELS_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tr_sections {
  char *memory;
  size_t used;
  bool count_only; /* there is no memory yet: sections are NULL */
} tr_sections;

#define TR_SECTIONS_COUNT ((tr_sections){NULL, 0, true})

static inline tr_sections tr_sections_of(void *memory) {
  return (tr_sections){(char *)memory, 0, false};
}

static inline void *tr_section(tr_sections *sections, size_t bytes) {
  void *section = sections->count_only ? NULL : sections->memory + sections->used;
  sections->used += (bytes + 63) / 64 * 64;
  return section;
}

#endif
