/* Record locks of an open file. */
#include "host/harness/claim.h"
#include "host/base/status.h"
#include <errno.h>
#include <fcntl.h>

/* Bytes that no results file reaches: two names, then the claims. */
static const off_t first_byte = (off_t)1 << 62;
static const off_t first_claim = ((off_t)1 << 62) + 16;

static tr_status lock_byte(int file, const char *path, off_t byte, tr_lock_kind kind, bool wait, bool *got) {
  static const short types[] = {F_UNLCK, F_RDLCK, F_WRLCK};
  struct flock lock = {.l_type = types[kind], .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  int error;
  do
    error = fcntl(file, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0 ? 0 : errno;
  while (error == EINTR);
  *got = error == 0;
  if (error == 0 || (!wait && (error == EAGAIN || error == EACCES)))
    return TR_OK;
  errno = error;
  return tr_fail_errno(TR_EIO, "locking %s (its file system must have record locks)", path);
}

tr_status tr_lock_wait(int file, const char *path, tr_lock_name name, tr_lock_kind kind) {
  bool got;
  return lock_byte(file, path, first_byte + (off_t)name, kind, true, &got);
}

tr_status tr_lock_try(int file, const char *path, tr_lock_name name, tr_lock_kind kind, bool *got) {
  return lock_byte(file, path, first_byte + (off_t)name, kind, false, got);
}

static off_t byte_of_claim(uint64_t claim) {
  return first_claim + (off_t)(claim >> 3);
}

tr_status tr_claim_take(int file, const char *path, uint64_t claim, bool *taken) {
  return lock_byte(file, path, byte_of_claim(claim), TR_LOCK_EXCLUSIVE, false, taken);
}

void tr_claim_release(int file, uint64_t claim) {
  bool got;
  (void)lock_byte(file, "", byte_of_claim(claim), TR_LOCK_NONE, false, &got);
}
