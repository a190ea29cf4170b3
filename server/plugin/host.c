/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/host.h"
#include "base/logging.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_HOST_METRICS 1024u /* names all plugins together may register */
#define LIMIT_LOG_FIELDS 32u     /* of one line of a plugin; more are left out */

struct metric {
    char *name, *help;
    int type;
    uint64_t bits; /* atomic; a double */
};

struct lent { /* what one plugin sees */
    rs_host abi;
    struct host *host;
    char *name;
    struct lent *next;
};

struct host {
    struct host_params p;
    int64_t mem_bytes;    /* atomic */
    pthread_mutex_t lock; /* metrics[] and their count, lent */
    struct metric *metrics[LIMIT_HOST_METRICS];
    uint32_t n_metrics; /* atomic: read without the lock */
    struct lent *lent;
};

struct rs_timer {
    struct timer timer;
    struct loop *loop;
};

static struct host *of(const rs_host *abi) {
    return ((const struct lent *)abi)->host;
}

static int level_of(int level) {
    return level < RS_LOG_ERROR ? RS_LOG_ERROR : level > RS_LOG_TRACE ? RS_LOG_TRACE : level;
}

static void host_log(const rs_host *abi, int level, const char *message, const rs_field *fields, size_t n) {
    struct host *h = of(abi);
    struct log_field out[LIMIT_LOG_FIELDS + 1];
    size_t used = 1;

    level = level_of(level);
    if (h->p.log) {
        h->p.log(h->p.log_arg, level, ((const struct lent *)abi)->name, message, fields, n);
        return;
    }
    if (level > __atomic_load_n(&logging_level_, __ATOMIC_RELAXED))
        return;
    out[0] = F_STR("plugin", ((const struct lent *)abi)->name);
    for (size_t i = 0; i < n && used <= LIMIT_LOG_FIELDS; i++) {
        struct log_field f = {.name = fields[i].name, .type = (int)fields[i].type};

        switch (fields[i].type) {
        case RS_FIELD_U64:
            f.v.u64 = fields[i].v.u64;
            break;
        case RS_FIELD_I64:
            f.v.i64 = fields[i].v.i64;
            break;
        case RS_FIELD_F64:
            f.v.f64 = fields[i].v.f64;
            break;
        case RS_FIELD_STR:
            f.v.str = fields[i].v.str;
            break;
        default:
            continue;
        }
        out[used++] = f;
    }
    logging_emit(level, message, out, used);
}

static uint32_t host_metric(const rs_host *abi, int type, const char *name, const char *help) {
    struct host *h = of(abi);
    uint32_t n, id = 0;

    if (!name || !name[0] || (type != RS_METRIC_COUNTER && type != RS_METRIC_GAUGE))
        return 0;
    (void)pthread_mutex_lock(&h->lock);
    n = h->n_metrics;
    for (uint32_t i = 0; i < n && !id; i++)
        if (strcmp(h->metrics[i]->name, name) == 0)
            id = h->metrics[i]->type == type ? i + 1 : UINT32_MAX;
    if (!id && n < LIMIT_HOST_METRICS) {
        struct metric *m = xnew(struct metric);

        m->name = xstrdup(name);
        m->help = xstrdup(help ? help : "");
        m->type = type;
        h->metrics[n] = m;
        __atomic_store_n(&h->n_metrics, n + 1, __ATOMIC_RELEASE);
        id = n + 1;
    }
    (void)pthread_mutex_unlock(&h->lock);
    return id == UINT32_MAX ? 0 : id; /* the same name with another type is refused */
}

static double double_of(uint64_t bits) {
    double d;

    memcpy(&d, &bits, sizeof d);
    return d;
}

static void host_metric_add(const rs_host *abi, uint32_t id, double value) {
    struct host *h = of(abi);
    uint64_t old, sum;
    uint64_t *at;

    if (id == 0 || id > __atomic_load_n(&h->n_metrics, __ATOMIC_ACQUIRE))
        return;
    at = &h->metrics[id - 1]->bits;
    old = __atomic_load_n(at, __ATOMIC_RELAXED);
    do {
        double d = double_of(old) + value;

        memcpy(&sum, &d, sizeof sum);
    } while (!__atomic_compare_exchange_n(at, &old, sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

static uint64_t host_mono_ns(const rs_host *abi) {
    return loop_mono_ns(of(abi)->p.loop);
}

static uint64_t host_wall_ns(const rs_host *abi) {
    return loop_wall_ns(of(abi)->p.loop);
}

static void host_random(const rs_host *abi, void *buf, size_t len) {
    loop_random(of(abi)->p.loop, buf, len);
}

struct work {
    struct job job;
    rs_fn fn;
    void *arg;
};

static void work_run(struct job *j) {
    struct work *w = CONTAINER_OF(j, struct work, job);

    w->fn(w->arg);
}

static void work_done(struct job *j) {
    free(CONTAINER_OF(j, struct work, job));
}

static int host_work(const rs_host *abi, int pool, rs_fn fn, void *arg) {
    struct host *h = of(abi);
    struct work *w;

    if (pool != RS_POOL_IO || !fn)
        return RS_EINVAL;
    if (!h->p.pool)
        return RS_EUNSUPPORTED;
    w = xnew(struct work);
    w->job = (struct job){.run = work_run, .done = work_done};
    w->fn = fn;
    w->arg = arg;
    exec_submit(h->p.pool, h->p.loop, &w->job);
    return 0;
}

static int host_mem_charge(const rs_host *abi, int64_t delta) {
    struct host *h = of(abi);
    int64_t now = __atomic_add_fetch(&h->mem_bytes, delta, __ATOMIC_RELAXED);

    if (delta <= 0 || h->p.mem_limit_bytes == 0 || (uint64_t)MAX(now, (int64_t)0) <= h->p.mem_limit_bytes)
        return 0;
    (void)__atomic_sub_fetch(&h->mem_bytes, delta, __ATOMIC_RELAXED);
    return RS_ENOMEM;
}

static int host_post(rs_loop *l, rs_fn fn, void *arg) {
    loop_post((struct loop *)l, fn, arg);
    return 0;
}

static int host_watch(rs_loop *l, int fd, uint32_t events, rs_watch_fn fn, void *arg, rs_watch **ret) {
    struct watch *w;
    int r;

    if (fd < 0 || !fn || (events & ~(uint32_t)(RS_WATCH_READ | RS_WATCH_WRITE)))
        return RS_EINVAL;
    r = watch_new((struct loop *)l, fd, events, fn, arg, &w);
    if (r == 0)
        *ret = (rs_watch *)w;
    return r;
}

static void host_watch_set(rs_watch *w, uint32_t events) {
    watch_set((struct watch *)w, events);
}

static void host_unwatch(rs_watch *w) {
    if (w)
        (void)watch_free((struct watch *)w);
}

static int host_timer(rs_loop *l, uint64_t delay_ns, rs_fn fn, void *arg, rs_timer **ret) {
    struct rs_timer *t;

    if (!fn)
        return RS_EINVAL;
    t = xnew(struct rs_timer);
    t->loop = (struct loop *)l;
    timer_init(&t->timer, fn, arg);
    timer_set(t->loop, &t->timer, delay_ns);
    *ret = t;
    return 0;
}

static void host_timer_stop(rs_timer *t) {
    if (!t)
        return;
    timer_stop(t->loop, &t->timer);
    free(t);
}

static const rs_node *host_node_get(const rs_node *map, const char *key) {
    return host_node(cfg_get((const struct cfg_node *)map, key));
}

static const rs_node *host_node_at(const rs_node *list, size_t i) {
    return host_node(cfg_at((const struct cfg_node *)list, i));
}

static int to_abi(rs_error *out, int r, const struct err *err) {
    if (r >= 0 || !out)
        return r;
    out->code = r;
    out->flags = err->flags;
    out->native = err->native;
    (void)snprintf(out->msg, sizeof out->msg, "%s", err->msg);
    return r;
}

static int host_node_str(const rs_node *n, const char **ret, rs_error *error) {
    struct err err = {0};

    if (!n)
        return to_abi(error, err_set(&err, RS_ENOENT, "the option is not there"), &err);
    return to_abi(error, cfg_str((const struct cfg_node *)n, ret, &err), &err);
}

static int host_node_u64(const rs_node *n, int unit, uint64_t *ret, rs_error *error) {
    struct err err = {0};

    if (!n)
        return to_abi(error, err_set(&err, RS_ENOENT, "the option is not there"), &err);
    return to_abi(error, cfg_u64((const struct cfg_node *)n, unit, ret, &err), &err);
}

static int host_node_bool(const rs_node *n, int32_t *ret, rs_error *error) {
    struct err err = {0};
    bool b;
    int r;

    if (!n)
        return to_abi(error, err_set(&err, RS_ENOENT, "the option is not there"), &err);
    r = cfg_bool((const struct cfg_node *)n, &b, &err);
    if (r == 0)
        *ret = b;
    return to_abi(error, r, &err);
}

static const rs_host host_table = {.struct_size = sizeof(rs_host),
                                   .abi_major = RS_ABI_MAJOR,
                                   .abi_minor = 0,
                                   .features = 0,
                                   .log = host_log,
                                   .metric = host_metric,
                                   .metric_add = host_metric_add,
                                   .mono_ns = host_mono_ns,
                                   .wall_ns = host_wall_ns,
                                   .random = host_random,
                                   .work = host_work,
                                   .mem_charge = host_mem_charge,
                                   .post = host_post,
                                   .watch = host_watch,
                                   .watch_set = host_watch_set,
                                   .unwatch = host_unwatch,
                                   .timer = host_timer,
                                   .timer_stop = host_timer_stop,
                                   .node_get = host_node_get,
                                   .node_at = host_node_at,
                                   .node_str = host_node_str,
                                   .node_u64 = host_node_u64,
                                   .node_bool = host_node_bool};

struct host *host_new(const struct host_params *p) {
    struct host *h = xnew(struct host);

    h->p = *p;
    (void)pthread_mutex_init(&h->lock, NULL);
    return h;
}

struct host *host_free(struct host *h) {
    if (!h)
        return NULL;
    for (uint32_t i = 0; i < h->n_metrics; i++) {
        free(h->metrics[i]->name);
        free(h->metrics[i]->help);
        free(h->metrics[i]);
    }
    for (struct lent *l = h->lent, *next; l; l = next) {
        next = l->next;
        free(l->name);
        free(l);
    }
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
    return NULL;
}

const rs_host *host_for(struct host *h, const char *name) {
    struct lent *l = xnew(struct lent);

    l->abi = host_table;
    l->host = h;
    l->name = xstrdup(name);
    (void)pthread_mutex_lock(&h->lock);
    l->next = h->lent;
    h->lent = l;
    (void)pthread_mutex_unlock(&h->lock);
    return &l->abi;
}

uint64_t host_mem_bytes(const struct host *h) {
    int64_t now = __atomic_load_n(&h->mem_bytes, __ATOMIC_RELAXED);

    return now > 0 ? (uint64_t)now : 0;
}

void host_metrics(struct host *h, void (*each)(void *arg, const char *name, const char *help, int type, double value),
                  void *arg) {
    uint32_t n = __atomic_load_n(&h->n_metrics, __ATOMIC_ACQUIRE);

    for (uint32_t i = 0; i < n; i++) {
        const struct metric *m = h->metrics[i];

        each(arg, m->name, m->help, m->type, double_of(__atomic_load_n(&m->bits, __ATOMIC_RELAXED)));
    }
}
