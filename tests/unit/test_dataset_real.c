/* Listings of the real data sets against the images and their order in the authors' score files. Skipped without the data. */
#include "tests/golden/golden.h"

#include "datasets/dataset.h"

static tr_class listed(const char *kind, const char *name) {
  char folder[1024];
  snprintf(folder, sizeof folder, "%s", golden_external("TOTALRECALL_DATA", "data", ""));
  tr_dataset *dataset;
  tr_class class_ = {.name = NULL};
  if (tr_dataset_open(&(tr_dataset_options){.kind = kind, .root = folder}, &dataset) != TR_OK ||
      tr_dataset_class(dataset, name, &class_) != TR_OK)
    fail_msg("%s", tr_last_error());
  tr_dataset_close(dataset);
  return class_;
}

/* The file's lines are image,label,score. */
static void assert_order(const tr_class *class_, const char *scores) {
  FILE *file = fopen(golden_external("TOTALRECALL_PAPER", "paper", scores), "r");
  assert_non_null(file);
  char line[256], image[200];
  int label;
  size_t row = 0;
  assert_non_null(fgets(line, sizeof line, file)); /* the header */
  while (fgets(line, sizeof line, file)) {
    assert_int_equal(sscanf(line, "%199[^,],%d,", image, &label), 2);
    assert_true(row < class_->test_count);
    assert_string_equal(class_->test[row].name, image);
    assert_int_equal(class_->test[row].anomalous, label);
    ++row;
  }
  assert_int_equal(row, class_->test_count);
  fclose(file);
}

static size_t masks(const tr_class *class_) {
  size_t count = 0;
  for (size_t i = 0; i < class_->test_count; ++i)
    count += class_->test[i].mask != NULL;
  return count;
}

static void mtd_is_listed_as_the_authors_code_saw_it(void **state) {
  (void)state;
  tr_class class_ = listed("mtd", "mtd");
  assert_int_equal(class_.train_count, 761);
  assert_int_equal(class_.test_count, 583);
  assert_int_equal(masks(&class_), 392);
  assert_order(&class_, "official-scores/mtd_1.csv");
  tr_class_free(&class_);
}

static void bottle_is_listed_as_the_authors_code_saw_it(void **state) {
  (void)state;
  tr_class class_ = listed("mvtec", "bottle");
  assert_int_equal(class_.train_count, 120);
  assert_int_equal(class_.test_count, 83);
  assert_int_equal(masks(&class_), 63);
  assert_order(&class_, "official-scores/bottle_1.csv");
  tr_class_free(&class_);
}

static void count_errors(void *context, bool is_error, const char *class_name, const char *text) {
  (void)context;
  if (is_error)
    print_error("%s: %s\n", class_name ? class_name : "-", text);
}

static void the_real_data_is_sound(void **state) {
  (void)state;
  const char *kinds[] = {"mtd", "mvtec"};
  char folder[1024];
  snprintf(folder, sizeof folder, "%s", golden_external("TOTALRECALL_DATA", "data", ""));
  for (size_t i = 0; i < 2; ++i) {
    tr_dataset *dataset;
    size_t errors;
    assert_int_equal(tr_dataset_open(&(tr_dataset_options){.kind = kinds[i], .root = folder}, &dataset), TR_OK);
    assert_int_equal(tr_dataset_verify(dataset, count_errors, NULL, &errors), TR_OK);
    assert_int_equal(errors, 0);
    tr_dataset_close(dataset);
  }
}

int main(void) {
  if (!golden_external("TOTALRECALL_DATA", "data", "mtd/differnet_train.txt") ||
      !golden_external("TOTALRECALL_DATA", "data", "mvtec/bottle/test") ||
      !golden_external("TOTALRECALL_PAPER", "paper", "official-scores/mtd_1.csv"))
    return 77;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mtd_is_listed_as_the_authors_code_saw_it),
      cmocka_unit_test(bottle_is_listed_as_the_authors_code_saw_it),
      cmocka_unit_test(the_real_data_is_sound),
  };
  return cmocka_run_group_tests_name("dataset_real", tests, NULL, NULL);
}
