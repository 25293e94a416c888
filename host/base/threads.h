/* A fixed pool of worker threads.
 *
 * Determinism: a task is named by its number alone, so work that is cut by task number (never by thread count) gives the
 * same bits on any number of threads. OpenMP and BLAS inside a worker run single-threaded (tr_pool sets both).
 */
#ifndef TR_BASE_THREADS_H
#define TR_BASE_THREADS_H

#include "host/totalrecall.h"

typedef struct tr_pool tr_pool;
typedef tr_status (*tr_task_fn)(void *context, size_t task);

/* Number of processors this process may use (affinity mask and cgroup quota). */
int tr_processors(void);

/* threads = 0 means tr_processors(). The caller of tr_pool_run works too, so `threads - 1` are started. */
tr_status tr_pool_create(int threads, tr_pool **out);
void tr_pool_destroy(tr_pool *pool);
int tr_pool_threads(const tr_pool *pool);

/* Runs fn(context, 0 … tasks-1), each once, in any order, and waits. After a failure no new task starts; the status and text
 * returned are those of the lowest-numbered task that failed. Called from within a task, it runs serially in place. */
tr_status tr_pool_run(tr_pool *pool, size_t tasks, tr_task_fn fn, void *context);

/* Index of the calling thread in [0, tr_pool_threads) while it runs a task; 0 outside. For per-worker scratch. */
int tr_pool_worker(void);

#endif
