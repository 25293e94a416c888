/* Locks by which processes on one results folder keep out of each other's way: who writes a line, and who works on which run.
 *
 * They are record locks of an open file (fcntl, F_OFD_SETLK) on bytes far beyond the end of the results file. The kernel lets them
 * go when their holder ends, however it ends: a claim cannot go stale, and there is nothing to clean up.
 *
 * Between machines they rely on a file system that carries record locks to its server: NFS does unless it is mounted with `nolock`
 * or `local_lock`, Lustre with `flock`. When a machine dies, its locks last until the server gives them up (NFSv4: its lease, 90 s
 * by default). Processes with a results folder each, brought together by `totalrecall merge`, rely on nothing. */
#ifndef TR_HARNESS_CLAIM_H
#define TR_HARNESS_CLAIM_H

#include "host/totalrecall.h"

typedef enum tr_lock_kind { TR_LOCK_NONE, TR_LOCK_SHARED, TR_LOCK_EXCLUSIVE } tr_lock_kind;

/* The locks of a results file: it is open somewhere (shared: by a store; exclusive: by a merge), and it is being appended to. */
typedef enum tr_lock_name { TR_LOCK_OPEN, TR_LOCK_APPEND } tr_lock_name;

/* `file` is open for reading and writing, `path` stands in error texts. Waits until the lock is free; TR_LOCK_NONE lets it go. */
tr_status tr_lock_wait(int file, const char *path, tr_lock_name name, tr_lock_kind kind);
/* Does not wait: *got tells. */
tr_status tr_lock_try(int file, const char *path, tr_lock_name name, tr_lock_kind kind, bool *got);

/* The claim on one run of one class, named by a hash: two runs share a claim with a chance of 2^-61. */
tr_status tr_claim_take(int file, const char *path, uint64_t claim, bool *taken);
void tr_claim_release(int file, uint64_t claim);

#endif
