/* SPDX-License-Identifier: Apache-2.0 */
/* The host table: logging, metrics, clocks, random, the pool, memory. Loops are in loop.c, trees in node.c. */
#include "host_internal.h"
#include "tap.h"
#include <dirent.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POOL_THREADS = 2, TABLES_MAX = 8, METRICS_MAX = 256 };

struct job {
    struct job *next;
    rs_fn fn;
    void *arg;
};

struct lent { /* a plugin's `const rs_host *` points here */
    rs_host table;
    struct host *owner;
};

struct host {
    struct lent lent[TABLES_MAX]; /* [0] is this host's own, the rest pose as older or newer hosts */
    unsigned n_lent;
    bool verbose;
    atomic_int_fast64_t mem_used, mem_limit;
    atomic_uint logged[RS_LOG_TRACE + 1];
    atomic_uint metrics;
    pthread_mutex_t lock; /* random, jobs */
    pthread_cond_t wake;
    uint64_t plugin_seed, suite_seed;
    struct job *jobs, **jobs_tail;
    unsigned jobs_pending;
    bool closing;
    unsigned n_threads;
    pthread_t threads[POOL_THREADS];
};

static struct host *host_of(const rs_host *t) {
    return ((const struct lent *)t)->owner;
}

static void host_log(const rs_host *t, int level, const char *message, const rs_field *fields, size_t n) {
    struct host *h = host_of(t);

    (void)fields;
    (void)n;
    if (level >= RS_LOG_ERROR && level <= RS_LOG_TRACE)
        (void)atomic_fetch_add(&h->logged[level], 1);
    if (h->verbose)
        tap_diag("plugin log %d: %s", level, message);
}

static uint32_t host_metric(const rs_host *t, int type, const char *name, const char *help) {
    struct host *h = host_of(t);
    uint32_t id = atomic_fetch_add(&h->metrics, 1) + 1;

    if ((type != RS_METRIC_COUNTER && type != RS_METRIC_GAUGE) || name == NULL || help == NULL || id > METRICS_MAX)
        return 0;
    return id;
}

static void host_metric_add(const rs_host *t, uint32_t id, double value) {
    (void)t;
    (void)id;
    (void)value;
}

uint64_t clock_mono_ns(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t host_mono_ns(const rs_host *t) {
    (void)t;
    return clock_mono_ns();
}

static uint64_t host_wall_ns(const rs_host *t) {
    struct timespec ts;
    (void)t;
    (void)clock_gettime(CLOCK_REALTIME, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t splitmix(uint64_t *seed) {
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void host_random_bytes(const rs_host *t, void *buf, size_t len) {
    struct host *h = host_of(t);
    char *p = buf;

    (void)pthread_mutex_lock(&h->lock);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t v = splitmix(&h->plugin_seed);
        memcpy(p + at, &v, len - at < 8 ? len - at : 8);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

uint64_t host_random(struct host *h) {
    return splitmix(&h->suite_seed);
}

static void *pool_main(void *arg) {
    struct host *h = arg;

    (void)pthread_mutex_lock(&h->lock);
    for (;;) {
        struct job *j = h->jobs;
        if (j != NULL) {
            h->jobs = j->next;
            if (h->jobs == NULL)
                h->jobs_tail = &h->jobs;
            (void)pthread_mutex_unlock(&h->lock);
            j->fn(j->arg);
            free(j);
            (void)pthread_mutex_lock(&h->lock);
            h->jobs_pending--;
        } else if (h->closing) {
            break;
        } else {
            (void)pthread_cond_wait(&h->wake, &h->lock);
        }
    }
    (void)pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* Threads start with the first job: a suite that forks must be able to do so with a single thread. */
static int pool_start(struct host *h) {
    while (h->n_threads < POOL_THREADS) {
        if (pthread_create(&h->threads[h->n_threads], NULL, pool_main, h) != 0)
            return h->n_threads != 0 ? 0 : RS_ENOMEM;
        h->n_threads++;
    }
    return 0;
}

static int host_work(const rs_host *t, int pool, rs_fn fn, void *arg) {
    struct host *h = host_of(t);
    struct job *j;
    int r;

    if (pool != RS_POOL_IO || fn == NULL)
        return RS_EINVAL;
    j = malloc(sizeof(*j));
    if (j == NULL)
        return RS_ENOMEM;
    *j = (struct job){.fn = fn, .arg = arg};
    (void)pthread_mutex_lock(&h->lock);
    r = pool_start(h);
    if (r == 0) {
        *h->jobs_tail = j;
        h->jobs_tail = &j->next;
        h->jobs_pending++;
        (void)pthread_cond_signal(&h->wake);
    }
    (void)pthread_mutex_unlock(&h->lock);
    if (r < 0)
        free(j);
    return r;
}

unsigned host_work_pending(struct host *h) {
    unsigned n;
    (void)pthread_mutex_lock(&h->lock);
    n = h->jobs_pending;
    (void)pthread_mutex_unlock(&h->lock);
    return n;
}

static int host_mem_charge(const rs_host *t, int64_t delta) {
    struct host *h = host_of(t);
    int64_t now = atomic_fetch_add(&h->mem_used, delta) + delta;

    if (delta > 0 && now > atomic_load(&h->mem_limit)) {
        (void)atomic_fetch_sub(&h->mem_used, delta);
        return RS_ENOMEM;
    }
    return 0;
}

void host_mem_limit(struct host *h, int64_t bytes) {
    atomic_store(&h->mem_limit, bytes);
}
int64_t host_mem_used(struct host *h) {
    return atomic_load(&h->mem_used);
}
unsigned host_logged(struct host *h, int level) {
    return atomic_load(&h->logged[level]);
}

struct host *host_new(uint64_t seed, bool verbose) {
    struct host *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->n_lent = 1;
    h->lent[0].owner = h;
    h->lent[0].table = (rs_host){.struct_size = sizeof(rs_host),
                                 .abi_major = RS_ABI_MAJOR,
                                 .log = host_log,
                                 .metric = host_metric,
                                 .metric_add = host_metric_add,
                                 .mono_ns = host_mono_ns,
                                 .wall_ns = host_wall_ns,
                                 .random = host_random_bytes,
                                 .work = host_work,
                                 .mem_charge = host_mem_charge,
                                 .post = loop_post,
                                 .watch = loop_watch,
                                 .watch_set = loop_watch_set,
                                 .unwatch = loop_unwatch,
                                 .timer = loop_timer,
                                 .timer_stop = loop_timer_stop,
                                 .node_get = node_get,
                                 .node_at = node_at,
                                 .node_str = node_str,
                                 .node_u64 = node_u64,
                                 .node_bool = node_bool};
    h->verbose = verbose;
    h->plugin_seed = seed;
    h->suite_seed = seed ^ 0x5bd1e995u;
    h->jobs_tail = &h->jobs;
    atomic_store(&h->mem_limit, INT64_MAX);
    (void)pthread_mutex_init(&h->lock, NULL);
    (void)pthread_cond_init(&h->wake, NULL);
    return h;
}

void host_free(struct host *h) {
    if (h == NULL)
        return;
    (void)pthread_mutex_lock(&h->lock);
    h->closing = true;
    (void)pthread_cond_broadcast(&h->wake);
    (void)pthread_mutex_unlock(&h->lock);
    for (unsigned i = 0; i < h->n_threads; i++)
        (void)pthread_join(h->threads[i], NULL);
    (void)pthread_cond_destroy(&h->wake);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
}

const rs_host *host_table(struct host *h) {
    return &h->lent[0].table;
}

const rs_host *host_table_sized(struct host *h, uint32_t struct_size, uint16_t minor) {
    struct lent *l = &h->lent[h->n_lent];

    h->n_lent = h->n_lent + 1 < TABLES_MAX ? h->n_lent + 1 : 1;
    *l = h->lent[0];
    l->table.struct_size = struct_size;
    l->table.abi_minor = minor;
    return &l->table;
}

static unsigned count_entries(const char *dir) {
    DIR *d = opendir(dir);
    unsigned n = 0;

    if (d == NULL)
        return 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

unsigned process_fds(void) {
    return count_entries("/proc/self/fd");
}
unsigned process_threads(void) {
    return count_entries("/proc/self/task");
}
