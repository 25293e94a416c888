/* Included after cmocka's header. */
#ifndef TR_TESTS_TABLES_H
#define TR_TESTS_TABLES_H

#include "host/report/model.h"

#include <string.h>

/* A table of a report; the test fails where there is none. */
static inline const tr_table *table_of(const tr_report *report, const char *id) {
  for (const tr_section *s = tr_report_sections(report); s; s = s->next)
    for (const tr_table *t = s->tables; t; t = t->next)
      if (strcmp(t->id, id) == 0)
        return t;
  fail_msg("no table %s", id);
  return NULL;
}

#endif
