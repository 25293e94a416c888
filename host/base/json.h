/* What cJSON lacks: numbers that come back as they were. */
#ifndef TR_BASE_JSON_H
#define TR_BASE_JSON_H

#include "host/totalrecall.h"

struct cJSON;

/* The shortest digits that give the same double again (cJSON's own printing may be off in the last bit); null where value is not
 * finite. NULL: out of memory. */
struct cJSON *tr_json_number(double value);

/* Member `name` of an object as a whole number from `low` to `high`, at most 2^53. EFORMAT names what is missing or wrong. */
tr_status tr_json_get_whole(const struct cJSON *object, const char *name, double low, double high, double *out);
/* Member `name` as the position of its text among `names`. */
tr_status tr_json_get_choice(const struct cJSON *object, const char *name, const char *const *names, size_t count, int *out);
tr_status tr_json_get_number(const struct cJSON *object, const char *name, double *out);

#endif
