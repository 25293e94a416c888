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

static tr_query greedy_or_random(const char *dataset, size_t i, double percent) {
  (void)percent;
  return from_ablation(TR_ABLATION_SUBSAMPLING, dataset, i, 1, 0);
}

static tr_query greedy_or_learned(const char *dataset, size_t i, double percent) {
  (void)percent;
  return from_ablation(TR_ABLATION_SUBSAMPLING, dataset, 2 * i, 1, 0);
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
    {"The greedy coreset is above a random one, at 1 %",
     "figure 5",
     "figure5",
     2,
     {"greedy", "random"},
     greedy_or_random,
     BEST,
     false},
    {"The greedy coreset is above a learned one, at 1 %",
     "figure 5",
     "figure5",
     2,
     {"greedy", "learned"},
     greedy_or_learned,
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

/* ---- verdicts ---- */

/* One metric of a contest, in percent points. */
typedef struct judgement {
  const tr_metric *metric;
  size_t rival;
  double difference; /* the favoured one less its best rival; NaN: not defined */
  double spread;     /* the larger standard deviation over seeds of the two; 0: one seed each */
  bool known;        /* the interval */
  tr_interval interval;
  const char *verdict;
} judgement;

static const tr_metric *const metrics[] = {&tr_metric_image_auroc, &tr_metric_pixel_auroc, &tr_metric_pro};
enum { METRICS = sizeof metrics / sizeof *metrics };

typedef struct judged {
  contest contest;
  judgement of[METRICS];
} judged;

/* Below what is shown. */
#define NOTHING 0.005

/* Whether two values differ; two of 100 cannot tell the settings apart, whatever the finding says. */
static const char *tie_of(double favoured, double rival, relation claimed) {
  if (favoured > 100 - NOTHING && rival > 100 - NOTHING)
    return "tie at 100";
  return claimed == BEST && fabs(favoured - rival) < NOTHING ? "tie" : NULL;
}

/* The paper says that the difference is above the border. */
static bool is_seen(double difference, relation claimed) {
  return claimed == WITHIN_HALF ? difference >= -0.5 : difference > 0;
}

static const char *certainty(const judgement *j, relation claimed, bool seen) {
  double border = claimed == WITHIN_HALF ? -0.5 : 0;
  if (j->known) {
    bool certain = seen ? j->interval.low > border : j->interval.high < border;
    return certain ? ", beyond chance" : ", but may be chance";
  }
  return j->spread > 0 && fabs(j->difference - border) < 2 * j->spread ? ", but within the spread of seeds" : "";
}

static const char *verdict(tr_evidence *evidence, const contest *c, const judgement *j) {
  relation claimed = c->finding->relation;
  const char *tie = tie_of(mean_of(&c->selections[0], j->metric), mean_of(&c->selections[j->rival], j->metric), claimed);
  bool seen = is_seen(j->difference, claimed);
  const char *among = complete(c) ? "" : ", among those run";
  if (tie)
    return tr_report_text(evidence->report, "%s%s", tie, among);
  return tr_report_text(evidence->report, "**%s**%s%s", seen ? "seen" : "not seen", certainty(j, claimed, seen), among);
}

static judgement judge(tr_evidence *evidence, const contest *c, const tr_metric *metric) {
  judgement j = {.metric = metric, .rival = best_rival(c, metric)};
  tr_selection favoured = c->selections[0], rival = c->selections[j.rival];
  tr_statistic a = tr_selection_statistic(&favoured, metric), b = tr_selection_statistic(&rival, metric);
  j.difference = a.mean - b.mean;
  if (!isfinite(j.difference))
    return j;
  j.spread = fmax(a.deviation, b.deviation);
  j.known = metric == &tr_metric_image_auroc && tr_scores_interval(evidence, &favoured, &rival, &j.interval);
  j.verdict = verdict(evidence, c, &j);
  return j;
}

/* ---- tables ---- */

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

/* The same difference, to the same rival, of one class. */
static const char *class_verdict(const contest *c, const judgement *j, size_t class) {
  double favoured = tr_group_statistic(c->selections[0].groups[class], j->metric).mean;
  double rival = tr_group_statistic(c->selections[j->rival].groups[class], j->metric).mean;
  const char *tie = tie_of(favoured, rival, c->finding->relation);
  if (!isfinite(favoured - rival))
    return "not defined";
  return tie ? tie : is_seen(favoured - rival, c->finding->relation) ? "seen" : "not seen";
}

enum { NAMED_CLASSES = 4 };

/* "bottle tie at 100, hazelnut seen", or how many of many. */
static const char *classes_of(tr_evidence *evidence, const contest *c, const judgement *j) {
  size_t count = c->selections[0].count, seen = 0, not_seen = 0;
  tr_text text;
  FILE *out = tr_text_open(&text);
  for (size_t i = 0; out && i < count; ++i) {
    const char *here = class_verdict(c, j, i);
    seen += strcmp(here, "seen") == 0;
    not_seen += strcmp(here, "not seen") == 0;
    if (count <= NAMED_CLASSES)
      fprintf(out, "%s%s %s", i ? ", " : "", c->selections[0].groups[i]->runs[0]->class_name, here);
  }
  if (out && count > NAMED_CLASSES)
    fprintf(out, "seen in %zu, not in %zu, tie in %zu", seen, not_seen, count - seen - not_seen);
  return tr_text_close(evidence, out, &text);
}

/* With how many images the verdict is of: some classes at hand have few. */
static const char *data_of(tr_evidence *evidence, const contest *c) {
  const tr_selection *selection = &c->selections[0];
  size_t images = 0;
  for (size_t i = 0; i < selection->count; ++i)
    images += selection->groups[i]->runs[0]->images;
  const char *percent = c->finding->any_percent ? tr_report_text(evidence->report, ", %g %% of the patches", c->percent) : "";
  return tr_report_text(evidence->report, "%s, %zu test images%s", tr_sweep_title(evidence, selection), images, percent);
}

static void interval_cell(tr_evidence *evidence, const judgement *j) {
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  if (j->known) {
    cell.text = tr_report_text(evidence->report, "%+.2f to %+.2f", j->interval.low, j->interval.high);
  } else if (j->metric != &tr_metric_image_auroc) {
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

/* A finding that nothing here decides; `labels` cells follow. */
static void write_not_run(tr_evidence *evidence, const finding *f, bool with_metric, int labels) {
  tr_report *report = evidence->report;
  tr_query query = f->query("mvtec", 0, 10);
  tr_cell cell = tr_cell_new(TR_UNIT_PERCENT);
  claim_cells(evidence, f);
  tr_report_label(report, "MVTec AD");
  if (with_metric)
    tr_report_label(report, tr_metric_image_auroc.title);
  cell.text = "not run";
  cell.causes = TR_CAUSE_NOT_RUN;
  cell.reason = tr_missing_reason(evidence, &query);
  cell.command = tr_command_of(evidence, f->experiment);
  tr_report_cell(report, &cell);
  for (int i = 0; i < labels; ++i)
    tr_report_label(report, "not run");
}

static void write_summary(tr_evidence *evidence, const judged *j) {
  tr_report *report = evidence->report;
  claim_cells(evidence, j->contest.finding);
  tr_report_label(report, data_of(evidence, &j->contest));
  for (size_t m = 0; m < METRICS; ++m)
    tr_report_label(report, j->of[m].verdict ? j->of[m].verdict : j->of[m].metric != NULL ? "not defined" : "the same of all");
}

static void write_numbers(tr_evidence *evidence, const contest *c, const judgement *j) {
  tr_report *report = evidence->report;
  claim_cells(evidence, c->finding);
  tr_report_label(report, data_of(evidence, c));
  tr_report_label(report, j->metric->title);
  tr_report_label(report, j->verdict);
  tr_report_label(report, numbers_of(evidence, c, j->metric));
  tr_report_label(report, tr_report_text(report, "%+.2f (to %s)", j->difference, c->finding->labels[j->rival]));
  interval_cell(evidence, j);
  tr_report_label(report, classes_of(evidence, c, j));
}

/* ---- all ---- */

enum { FINDINGS = sizeof findings / sizeof *findings };
static const char *const datasets[] = {"mvtec", "mtd", "synthetic"};
enum { DATASETS = sizeof datasets / sizeof *datasets };

/* Every finding on every data set and backbone that decides it; of the metrics that it can change. NULL when out of memory. */
static judged *judge_all(tr_evidence *evidence, size_t *count) {
  size_t backbone_count;
  const char *const *backbones = tr_report_backbones(&backbone_count);
  judged *all = tr_report_alloc(evidence->report, FINDINGS * DATASETS * backbone_count, sizeof *all);
  *count = 0;
  for (size_t f = 0; all && f < FINDINGS; ++f)
    for (size_t d = 0; d < DATASETS; ++d)
      for (size_t i = 0; i < backbone_count; ++i) {
        judged *j = &all[*count];
        j->contest = contest_of(evidence, &findings[f], datasets[d], backbones[i]);
        if (!decidable(&j->contest))
          continue;
        ++*count;
        size_t decided = findings[f].query == reweighted ? 1 : METRICS; /* which changes image scores only */
        for (size_t m = 0; m < decided; ++m)
          j->of[m] = judge(evidence, &j->contest, metrics[m]);
      }
  return all;
}

static void summary_table(tr_evidence *evidence, const judged *all, size_t count) {
  tr_report_table(evidence->report, "findings_summary", "", "");
  tr_report_column(evidence->report, "finding", false);
  tr_report_column(evidence->report, "on", false);
  for (size_t m = 0; m < METRICS; ++m)
    tr_report_column(evidence->report, metrics[m]->title, false);
  for (size_t f = 0; f < FINDINGS; ++f) {
    size_t rows = 0;
    for (size_t i = 0; i < count; ++i)
      if (all[i].contest.finding == &findings[f]) {
        write_summary(evidence, &all[i]);
        ++rows;
      }
    if (!rows)
      write_not_run(evidence, &findings[f], false, METRICS - 1);
  }
}

static void numbers_table(tr_evidence *evidence, const judged *all, size_t count) {
  static const char *const columns[] = {"finding", "on", "metric", "here", "numbers", "difference", "95 % interval", "by class"};
  enum { COLUMNS = sizeof columns / sizeof *columns, BEFORE_VERDICT = 3 };
  tr_report_table(
      evidence->report, "findings", "The numbers behind it",
      "In percent. The difference is the favoured setting less the best of the others, in points, on the same classes\n"
      "and images; by class, it is to the same one.");
  for (size_t i = 0; i < COLUMNS; ++i)
    tr_report_column(evidence->report, columns[i], false);
  for (size_t f = 0; f < FINDINGS; ++f) {
    size_t rows = 0;
    for (size_t i = 0; i < count; ++i)
      for (size_t m = 0; all[i].contest.finding == &findings[f] && m < METRICS; ++m)
        if (all[i].of[m].verdict) {
          write_numbers(evidence, &all[i].contest, &all[i].of[m]);
          ++rows;
        }
    if (!rows)
      write_not_run(evidence, &findings[f], true, COLUMNS - BEFORE_VERDICT - 1);
  }
}

void tr_section_findings(tr_evidence *evidence) {
  size_t count;
  tr_report_section(
      evidence->report, "findings", "The paper's findings, seen here or not",
      "Worked out from the result lines: whether the setting that the paper favours is above the best of the others, on average\n"
      "over the classes named. A tie at 100 is neither: the images at hand are too easy to tell the settings apart. One or a "
      "few\n"
      "classes say little about fifteen.\n"
      "\n"
      "\"Beyond chance\" and \"may be chance\" are of the central 95 % of 2,000 paired, stratified bootstrap draws of the test "
      "images\n"
      "(image AUROC; seeds are averaged), which may hold the other answer as well; close to 100 these intervals are too short.\n"
      "Where there is none, \"within the spread of seeds\" is a difference of less than two standard deviations over seeds, of "
      "the\n"
      "setting that has more; most settings have one seed.");
  const judged *all = judge_all(evidence, &count);
  if (!all)
    return;
  summary_table(evidence, all, count);
  numbers_table(evidence, all, count);
}
