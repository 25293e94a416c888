/* totalrecall: the public C API, and the only installed header.
 *
 * Errors. Functions return a tr_status; on failure tr_last_error() holds one sentence for the calling thread: what was
 * being done, to which file or tensor, what was expected and what was found. The library never prints and never exits.
 * Every create has a destroy that takes NULL.
 */
#ifndef TOTALRECALL_H
#define TOTALRECALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tr_status {
  TR_OK = 0,
  TR_EINVAL = -1,  /* an argument or a setting that cannot be */
  TR_EIO = -2,     /* the operating system refused: open, read, write, disk full */
  TR_EFORMAT = -3, /* a file is not what it should be */
  TR_ENOMEM = -4,  /* memory, or the given memory limit, does not suffice */
  TR_EDEVICE = -5, /* no such device, or a call to it failed */
  TR_ECANCELED = -6,
  TR_EINTERNAL = -7, /* a bug of ours */
} tr_status;

const char *tr_status_name(tr_status status);

/* The error text of the calling thread; "" before the first failure. Valid until its next failing call. */
const char *tr_last_error(void);

const char *tr_version(void);

#ifdef __cplusplus
}
#endif
#endif
