/* What the paper found by its ablations, and whether result lines show the same: worked out here, not written by hand. */
#include "host/report/ablations.h"
#include "host/report/sections.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONTENDERS = 8 };

/* The first contender is the one that the paper favours. */
typedef enum relation {
  BEST,       /* above every other one */
  WITHIN_HALF /* at most half a point below the second */
} relation;

typedef struct finding {
  const char *claim, *where; /* of the paper */
  const char *experiment;
  size_t count;
  const char *labels[MAX_CONTENDERS];
  tr_query (*query)(const char *dataset, size_t contender, double percent);
  relation relation;
  bool any_percent; /* the paper's percentage is not known: 10, else the one that most contenders were run with */
} finding;

/* ---- the contenders ---- */

static tr_query from_ablation(tr_ablation_kind kind, const char *dataset, size_t line, double value, double percent) {
  return tr_ablation_of(kind)->query(dataset, line, value, percent);
}

static tr_query neighbourhood(const char *dataset, size_t i, double percent) {
  static const double p[] = {3, 1, 5, 7, 9};
  return from_ablation(TR_ABLATION_NEIGHBOURHOOD, dataset, 0, p[i], percent);
}

static tr_query levels(const char *dataset, size_t i, double percent) {
  static const double category[] = {5, 1, 2, 3, 4, 6}; /* of ablations.c: 2+3 first */
  return from_ablation(TR_ABLATION_LEVELS, dataset, 0, category[i], percent);
}

static tr_query samplers(const char *dataset, size_t i, double percent) {
  (void)percent;
  return from_ablation(TR_ABLATION_SUBSAMPLING, dataset, i, 1, 0);
}

static tr_query one_percent(const char *dataset, size_t i, double percent) {
  static const double kept[] = {1, 100};
  (void)percent;
  return from_ablation(TR_ABLATION_SUBSAMPLING, dataset, 0, kept[i], 0);
}

static tr_query stride(const char *dataset, size_t i, double percent) {
  (void)percent;
  return from_ablation(TR_ABLATION_STRIDE, dataset, 0, (double)(i + 1), 100);
}

/* Eq. 7 on Euclidean distances, as the text has it, against the maximum of the released code; the distance orders no images. */
static tr_query reweighted(const char *dataset, size_t i, double percent) {
  tr_query query = tr_query_new(dataset, "patchcore", "protocol");
  if (i < 2) {
    tr_setting_defaults(TR_PROTOCOL_PAPER, "patchcore", &query.setting);
    query.setting.neighbours = i == 0 ? 9 : 3;
    query.setting.dataset = dataset;
    query.setting.backbone = TR_PAPERS_BACKBONE;
    tr_query_levels(&query, "23");
  }
  return tr_query_percent(query, percent);
}

/* Of the whole data; PatchCore with 16 images first. */
static tr_query sixteen_images(const char *dataset, size_t i, double percent) {
  (void)percent;
  if (i == 0)
    return from_ablation(TR_ABLATION_LOW_SHOT, dataset, 0, 16, 0);
  return tr_query_new(dataset, "padim", "table1");
}

static tr_query methods(const char *dataset, size_t i, double percent) {
  static const char *const names[] = {"patchcore", "padim", "spade"};
  tr_query query = tr_query_new(dataset, names[i], "table1");
  return i == 0 ? tr_query_percent(query, percent) : query;
}

static const finding findings[] = {
    {"A neighbourhood of p = 3 is best", "figure 4", "figure4", 5, {"p = 3", "1", "5", "7", "9"}, neighbourhood, BEST, true},
    {"Levels 2+3 are best", "figure 4", "figure4", 6, {"2+3", "1", "2", "3", "1+2", "1+2+3"}, levels, BEST, true},
    {"The greedy coreset is above random and learned ones, at 1 %",
     "figure 5",
     "figure5",
     3,
     {"greedy", "random", "learned"},
     samplers,
     BEST,
     false},
    {"PatchCore-1 % is within 0.5 points of 100 %", "table 5", "figure5", 2, {"1 %", "100 %"}, one_percent, WITHIN_HALF, false},
    {"A stride of 1 is best", "section 4.4.2", "figure5", 3, {"s = 1", "2", "3"}, stride, BEST, false},
    {"Re-weighting (Eq. 7) is above the plain maximum",
     "section 3.3",
     "protocol",
     3,
     {"b = 9", "b = 3", "maximum"},
     reweighted,
     BEST,
     true},
    {"PatchCore-25 % with 16 nominal images is above PaDiM with all",
     "section 4.5",
     "figure6",
     2,
     {"PatchCore, 16 images", "PaDiM, all"},
     sixteen_images,
     BEST,
     false},
    {"PatchCore is above PaDiM and SPADE", "table 1", "table1", 3, {"PatchCore", "PaDiM", "SPADE"}, methods, BEST, true},
};

/* ---- judging ---- */

/* One finding on one data set and backbone. */
typedef struct contest {
  const finding *finding;
  const char *dataset, *backbone;
  double percent;
  tr_selection selections[MAX_CONTENDERS];
  size_t run;
} contest;

/* Eq. 7 with another b is no rival of Eq. 7. */
static bool is_rival(const finding *f, size_t i) {
  return i > 0 && !(f->query == reweighted && i == 1);
}

static bool decidable(const contest *c) {
  bool rivals = false;
  for (size_t i = 1; i < c->finding->count; ++i)
    rivals = rivals || (is_rival(c->finding, i) && c->selections[i].count);
  return c->selections[0].count && rivals;
}

static void look_up(tr_evidence *evidence, contest *c, double percent) {
  tr_query queries[MAX_CONTENDERS];
  for (size_t i = 0; i < c->finding->count; ++i)
    queries[i] = c->finding->query(c->dataset, i, percent);
  c->percent = percent;
  c->run = tr_sweep(evidence, queries, c->finding->count, c->backbone, c->selections);
}

static contest contest_of(tr_evidence *evidence, const finding *f, const char *dataset, const char *backbone) {
  static const double percents[] = {1, 25, 100};
  contest best = {.finding = f, .dataset = dataset, .backbone = backbone};
  look_up(evidence, &best, 10);
  for (size_t i = 0; f->any_percent && i < sizeof percents / sizeof *percents; ++i) {
    contest other = {.finding = f, .dataset = dataset, .backbone = backbone};
    look_up(evidence, &other, percents[i]);
    if (decidable(&other) && (!decidable(&best) || other.run > best.run))
      best = other;
  }
  return best;
}

static double mean_of(const tr_selection *selection, const tr_metric *metric) {
  return tr_selection_statistic(selection, metric).mean;
}

static size_t best_rival(const contest *c, const tr_metric *metric) {
  size_t best = 0;
  for (size_t i = 1; i < c->finding->count; ++i) {
    bool better = best == 0 || mean_of(&c->selections[i], metric) > mean_of(&c->selections[best], metric);
    if (is_rival(c->finding, i) && c->selections[i].count && better)
      best = i;
  }
  return best;
}

/* All that the paper sets side by side. */
static bool complete(const contest *c) {
  return c->run == c->finding->count;
}

/* In percent points, the favoured one less its best rival; what the paper says is a difference above `border`. */
static const char *verdict(double difference, double border, const tr_interval *interval) {
  if (difference == border && border == 0)
    return "equal";
  bool seen = border < 0 ? difference >= border : difference > border;
  bool certain = interval && (seen ? interval->low > border : interval->high < border);
  if (seen)
    return !interval ? "**seen**" : certain ? "**seen**, beyond chance" : "**seen**, but may be chance";
  return !interval ? "**not seen**" : certain ? "**not seen**, beyond chance" : "**not seen**, but may be chance";
}

static const char *numbers_of(tr_evidence *evidence, const contest *c, const tr_metric *metric) {
  tr_text text;
  FILE *out = tr_text_open(&text);
  for (size_t i = 0, written = 0; out && i < c->finding->count; ++i) {
    tr_statistic s = tr_selection_statistic(&c->selections[i], metric);
    if (!s.seeds)
      continue;
    fprintf(out, "%s%s: %.2f", written++ ? ", " : "", c->finding->labels[i], s.mean);
    if (s.seeds > 1)
      fprintf(out, " ± %.2f", s.deviation);
  }
  return tr_text_close(evidence, out, &text);
}

static void interval_cell(tr_evidence *evidence, const tr_metric *metric, const tr_interval *interval) {
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  if (interval) {
    cell.text = tr_report_text(evidence->report, "%+.2f to %+.2f", interval->low, interval->high);
  } else if (metric != &tr_metric_image_auroc) {
    cell.text = "of image AUROC only";
  } else {
    cell.text = "no scores";
    cell.causes = TR_CAUSE_NOT_RUN;
    cell.reason = TR_NO_SCORES;
  }
  tr_report_cell(evidence->report, &cell);
}

static void claim_cells(tr_evidence *evidence, const finding *f) {
  tr_report_row(evidence->report);
  tr_report_label(evidence->report, tr_report_text(evidence->report, "%s (%s)", f->claim, f->where));
}

static void write_contest(tr_evidence *evidence, const contest *c, const tr_metric *metric) {
  tr_report *report = evidence->report;
  const finding *f = c->finding;
  size_t rival = best_rival(c, metric);
  double difference = mean_of(&c->selections[0], metric) - mean_of(&c->selections[rival], metric);
  if (!isfinite(difference))
    return;
  tr_interval interval;
  bool known =
      metric == &tr_metric_image_auroc && tr_scores_interval(evidence, &c->selections[0], &c->selections[rival], &interval);
  claim_cells(evidence, f);
  const char *percent = f->any_percent ? tr_report_text(report, ", %g %% of the patches", c->percent) : "";
  tr_report_label(report, tr_report_text(report, "%s%s", tr_sweep_title(evidence, &c->selections[0]), percent));
  tr_report_label(report, metric->title);
  const char *here = verdict(difference, f->relation == WITHIN_HALF ? -0.5 : 0, known ? &interval : NULL);
  tr_report_label(report, complete(c) ? here : tr_report_text(report, "%s, among those run", here));
  tr_report_label(report, numbers_of(evidence, c, metric));
  tr_report_label(report, tr_report_text(report, "%+.2f (to %s)", difference, f->labels[rival]));
  interval_cell(evidence, metric, known ? &interval : NULL);
}

static void write_not_run(tr_evidence *evidence, const finding *f) {
  tr_report *report = evidence->report;
  tr_query query = f->query("mvtec", 0, 10);
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  claim_cells(evidence, f);
  tr_report_label(report, "MVTec AD");
  tr_report_label(report, tr_metric_image_auroc.title);
  cell.text = "not run";
  cell.causes = TR_CAUSE_NOT_RUN;
  cell.reason = tr_missing_reason(evidence, &query);
  cell.command = tr_command_of(evidence, f->experiment);
  tr_report_cell(report, &cell);
  for (int i = 0; i < 3; ++i)
    tr_report_label(report, "not run");
}

/* On every data set and backbone that decides it; of both metrics where the paper shows both. */
static void write_finding(tr_evidence *evidence, const finding *f) {
  static const char *const datasets[] = {"mvtec", "mtd", "synthetic"};
  size_t count, decided = 0;
  const char *const *backbones = tr_report_backbones(&count);
  for (size_t d = 0; d < sizeof datasets / sizeof *datasets; ++d)
    for (size_t i = 0; i < count; ++i) {
      contest c = contest_of(evidence, f, datasets[d], backbones[i]);
      if (!decidable(&c))
        continue;
      ++decided;
      write_contest(evidence, &c, &tr_metric_image_auroc);
      if (f->query != reweighted) /* which changes image scores only */
        write_contest(evidence, &c, &tr_metric_pixel_auroc);
    }
  if (!decided)
    write_not_run(evidence, f);
}

void tr_section_findings(tr_evidence *evidence) {
  tr_report *report = evidence->report;
  tr_report_section(
      report, "findings", "The paper's findings, seen here or not",
      "Worked out from the result lines. The difference is the favoured setting less the best of the others, in points, on the\n"
      "same classes and images; the interval is the central 95 % of 2,000 paired, stratified bootstrap draws of the test\n"
      "images (image AUROC; seeds are averaged). \"May be chance\": the interval holds the other answer as well. Close to 100\n"
      "the intervals are too short, and one or a few classes say little about fifteen.");
  tr_report_table(report, "findings", "", "");
  static const char *const columns[] = {"finding", "on", "metric", "here", "numbers", "difference", "95 % interval"};
  for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i)
    tr_report_column(report, columns[i], false);
  for (size_t i = 0; i < sizeof findings / sizeof *findings; ++i)
    write_finding(evidence, &findings[i]);
}
