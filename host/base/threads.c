/* The worker pool: tasks are handed out by an atomic counter, errors are kept for the lowest task. */
#include "host/base/threads.h"

#include "host/base/status.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef TR_HAVE_ONEDNN
#include <omp.h>
#endif
#ifdef TR_HAVE_OPENBLAS
#include <cblas.h>
#endif

typedef struct job {
  tr_task_fn fn;
  void *context;
  size_t tasks;
  atomic_size_t next;
  atomic_bool failed;
  size_t failed_task;
  tr_status status;
  char text[TR_ERROR_TEXT_BYTES];
} job;

struct tr_pool {
  int threads, started;
  pthread_t *handles;
  pthread_mutex_t lock;
  pthread_cond_t wake, idle;
  job *current;
  unsigned long generation; /* counts jobs, so that a worker takes part in each one once */
  int busy;                 /* workers that have not yet left the current job */
  bool stop;
};

typedef struct worker_start {
  tr_pool *pool;
  int index;
} worker_start;

static _Thread_local int worker_index;
static _Thread_local bool in_task;

int tr_pool_worker(void) {
  return worker_index;
}

/* Processors that the cgroup (v2) grants, or a large number. */
static int cgroup_processors(void) {
  FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file)
    return 1 << 20;
  long quota = 0, period = 0;
  char line[64] = "";
  char *rest = line;
  if (fgets(line, sizeof line, file)) {
    quota = strtol(line, &rest, 10); /* "max 100000" gives 0 */
    period = strtol(rest, NULL, 10);
  }
  fclose(file);
  if (quota <= 0 || period <= 0)
    return 1 << 20;
  long processors = (quota + period - 1) / period;
  return processors < 1 ? 1 : (int)processors;
}

int tr_processors(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  int processors = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  int granted = cgroup_processors();
  return processors < granted ? processors : granted;
}

/* Nested parallelism costs threefold and makes bits depend on the number of threads. */
static void single_thread_libraries(void) {
#ifdef TR_HAVE_ONEDNN
  omp_set_num_threads(1); /* per calling thread */
#endif
#ifdef TR_HAVE_OPENBLAS
  openblas_set_num_threads(1); /* process-wide */
#endif
}

static void keep_error(tr_pool *pool, job *work, size_t task, tr_status status) {
  pthread_mutex_lock(&pool->lock);
  if (work->status == TR_OK || task < work->failed_task) {
    work->status = status;
    work->failed_task = task;
    snprintf(work->text, sizeof work->text, "%s", tr_last_error());
  }
  pthread_mutex_unlock(&pool->lock);
  atomic_store(&work->failed, true);
}

static void work_on(tr_pool *pool, job *work) {
  in_task = true;
  while (!atomic_load(&work->failed)) {
    size_t task = atomic_fetch_add(&work->next, 1);
    if (task >= work->tasks)
      break;
    tr_status status = work->fn(work->context, task);
    if (status != TR_OK)
      keep_error(pool, work, task, status);
  }
  in_task = false;
}

static void *worker_main(void *argument) {
  worker_start start = *(worker_start *)argument;
  free(argument);
  tr_pool *pool = start.pool;
  worker_index = start.index;
  single_thread_libraries();
  unsigned long seen = 0;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    while (!pool->stop && (pool->generation == seen || !pool->current))
      pthread_cond_wait(&pool->wake, &pool->lock);
    if (pool->stop)
      break;
    seen = pool->generation;
    job *work = pool->current;
    pthread_mutex_unlock(&pool->lock);
    work_on(pool, work);
    pthread_mutex_lock(&pool->lock);
    if (--pool->busy == 0)
      pthread_cond_signal(&pool->idle);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

static tr_status start_worker(tr_pool *pool, int index) {
  worker_start *start = malloc(sizeof *start);
  if (!start)
    return tr_fail(TR_ENOMEM, "starting worker thread %d: out of memory", index);
  *start = (worker_start){pool, index};
  int error = pthread_create(&pool->handles[index], NULL, worker_main, start);
  if (error) {
    free(start);
    return tr_fail(TR_ENOMEM, "starting worker thread %d: %s", index, strerror(error));
  }
  ++pool->started;
  return TR_OK;
}

tr_status tr_pool_create(int threads, tr_pool **out) {
  *out = NULL;
  if (threads < 0 || threads > 1024)
    return tr_fail(TR_EINVAL, "number of threads: expected 0 to 1024, found %d", threads);
  if (threads == 0)
    threads = tr_processors();
  tr_pool *pool = calloc(1, sizeof *pool);
  pthread_t *handles = calloc((size_t)threads, sizeof *handles);
  if (!pool || !handles) {
    free(pool);
    free(handles);
    return tr_fail(TR_ENOMEM, "creating a pool of %d threads: out of memory", threads);
  }
  pool->handles = handles;
  pool->threads = threads;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->idle, NULL);
  single_thread_libraries();
  for (int i = 1; i < threads; ++i) {
    tr_status status = start_worker(pool, i);
    if (status != TR_OK) {
      tr_pool_destroy(pool);
      return status;
    }
  }
  *out = pool;
  return TR_OK;
}

void tr_pool_destroy(tr_pool *pool) {
  if (!pool)
    return;
  pthread_mutex_lock(&pool->lock);
  pool->stop = true;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
  for (int i = 1; i <= pool->started; ++i)
    pthread_join(pool->handles[i], NULL);
  pthread_mutex_destroy(&pool->lock);
  pthread_cond_destroy(&pool->wake);
  pthread_cond_destroy(&pool->idle);
  free(pool->handles);
  free(pool);
}

int tr_pool_threads(const tr_pool *pool) {
  return pool->threads;
}

static tr_status run_serially(size_t tasks, tr_task_fn fn, void *context) {
  for (size_t task = 0; task < tasks; ++task)
    TR_TRY(fn(context, task));
  return TR_OK;
}

tr_status tr_pool_run(tr_pool *pool, size_t tasks, tr_task_fn fn, void *context) {
  if (in_task)
    return run_serially(tasks, fn, context);
  job work = {.fn = fn, .context = context, .tasks = tasks};
  bool wake_others = pool->started > 0 && tasks > 1;
  if (wake_others) {
    pthread_mutex_lock(&pool->lock);
    pool->current = &work; /* cppcheck-suppress autoVariables; reset below, when the last worker has left it */
    pool->busy = pool->started;
    ++pool->generation;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
  }
  work_on(pool, &work);
  if (wake_others) {
    pthread_mutex_lock(&pool->lock);
    while (pool->busy > 0)
      pthread_cond_wait(&pool->idle, &pool->lock);
    pool->current = NULL;
    pthread_mutex_unlock(&pool->lock);
  }
  if (work.status != TR_OK)
    tr_error_set_text(work.text);
  return work.status;
}
