/* A report as one HTML page that needs nothing beside it: style, figures and heat maps stand in it, and it fetches nothing. Without its
 * script, which sorts tables, it reads the same. */
#ifndef TR_REPORT_HTML_H
#define TR_REPORT_HTML_H

#include "host/report/heatmaps.h"
#include "host/report/model.h"

/* The page, NUL-terminated and malloc'd. The same report and heat maps give the same bytes. */
tr_status tr_report_html(const tr_report *report, const tr_heat_maps *heat_maps, char **out);

#endif
