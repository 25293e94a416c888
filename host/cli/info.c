/* totalrecall info: the build and the machine. */
#include "host/base/text.h"
#include "host/base/threads.h"
#include "host/cli/cli.h"
#include "host/harness/features.h"
#include "kernels/device.h"
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

static void print_features(void) {
  size_t count;
  const tr_feature *features = tr_features(&count);
  for (size_t i = 0; i < count; ++i) {
    const tr_feature *f = &features[i];
    if (f->version)
      printf("%-12s%-12s%s\n", f->name, f->version, f->role);
    else
      printf("%-12s%-12s%s: %s\n", f->name, "missing", f->role, f->without);
  }
}

static void print_device(void *context, const char *name, const char *text) {
  (void)context;
  printf("%-12s%s\n", name, text);
}

static int run(int argc, char **argv) {
  static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
    return c == 'h' ? cli_print_help(&cli_info) : cli_unknown_option(&cli_info);
  if (optind < argc)
    return cli_wrong_usage(&cli_info, "takes no argument, found `%s`", argv[optind]);
  char memory[32];
  printf("%-12s%s\n", "version", tr_version());
  printf("%-12s%d\n", "threads", tr_processors());
  printf("%-12s%s\n", "memory",
         tr_format_bytes((size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE), memory, sizeof memory));
  tr_devices_describe(print_device, NULL);
  print_features();
  return CLI_OK;
}

const cli_command cli_info = {
    .name = "info",
    .summary = "show the build and this machine",
    .run = run,
    .help = "usage: totalrecall info\n\n"
            "Shows the version, this machine, the devices that can be used, and the libraries with their versions, or what is\n"
            "missing.\n",
};
