/* JSON numbers. */
#include "host/base/json.h"
#include "host/base/status.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cJSON *tr_json_number(double value) {
  char text[32];
  if (!isfinite(value))
    return cJSON_CreateNull();
  for (int digits = 15; digits <= 17; ++digits) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value)
      break;
  }
  return cJSON_CreateRaw(text);
}

tr_status tr_json_get_number(const cJSON *object, const char *name, double *out) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!cJSON_IsNumber(item))
    return tr_fail(TR_EFORMAT, "\"%s\": expected a number, found %s", name, item ? "something else" : "nothing");
  *out = item->valuedouble;
  return TR_OK;
}

tr_status tr_json_get_whole(const cJSON *object, const char *name, double low, double high, double *out) {
  double value;
  TR_TRY(tr_json_get_number(object, name, &value));
  if (!(value >= low && value <= high) || value != floor(value))
    return tr_fail(TR_EFORMAT, "\"%s\": expected a whole number from %.0f to %.0f, found %g", name, low, high, value);
  *out = value;
  return TR_OK;
}

tr_status tr_json_get_choice(const cJSON *object, const char *name, const char *const *names, size_t count, int *out) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  for (size_t i = 0; cJSON_IsString(item) && i < count; ++i)
    if (strcmp(item->valuestring, names[i]) == 0) {
      *out = (int)i;
      return TR_OK;
    }
  return tr_fail(TR_EFORMAT, "\"%s\": expected a known name, found %s", name,
                 cJSON_IsString(item) ? item->valuestring
                 : item               ? "something else"
                                      : "nothing");
}
