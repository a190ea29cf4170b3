/* SPDX-License-Identifier: Apache-2.0 */
/* transport_host.c : loops over epoll for transport_host.h. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "host_internal.h"
#include "transport_host.h"

struct post {
    rs_fn fn;
    void *arg;
    struct post *next;
};

struct rs_watch {
    rs_loop *loop;
    int fd;
    uint32_t events;
    rs_watch_fn fn;
    void *arg;
    struct rs_watch *next; /* in loop.dead */
    int dead;
};

struct rs_timer {
    rs_loop *loop;
    uint64_t at_ns;
    rs_fn fn;
    void *arg;
    struct rs_timer *next;
};

struct rs_loop {
    struct transport_host *host;
    int epoll, wake;
    pthread_mutex_t lock;
    struct post *first, **last; /* lock */
    struct rs_timer *timers;
    struct rs_watch *dead; /* freed at the end of the turn */
    rs_loop *next;
};

struct worker {
    struct transport_host *host;
    rs_fn fn;
    void *arg;
};

static struct transport_host *of(const rs_host *host) {
    struct transport_host *h;

    memcpy(&h, &host, sizeof(h)); /* the table is its first member */
    return h;
}

void transport_fault(struct transport_host *h, const char *what) {
    if (!h->fault[0])
        (void)snprintf(h->fault, sizeof(h->fault), "%s", what);
}

void transport_callback(struct transport_host *h, const rs_loop *loop) {
    if (h->current != loop)
        transport_fault(h, "a callback came outside its loop");
    if (h->in_op)
        transport_fault(h, "a callback came inside the op that asked for it");
}

static void check_loop(const rs_loop *loop, const char *what) {
    /* Ops are called by the test outside turns too; inside a turn the loop must be the running one. */
    if (loop->host->current && loop->host->current != loop)
        transport_fault(loop->host, what);
}

static void host_log(const rs_host *host, int level, const char *message, const rs_field *fields, size_t n) {
    (void)message;
    (void)fields;
    (void)n;
    if (level <= RS_LOG_WARN)
        of(host)->warnings++;
}

static uint32_t host_metric(const rs_host *host, int type, const char *name, const char *help) {
    (void)host;
    (void)type;
    (void)name;
    (void)help;
    return 1;
}

static void host_metric_add(const rs_host *host, uint32_t id, double value) {
    (void)host;
    (void)id;
    (void)value;
}

static uint64_t clock_ns(clockid_t id) {
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t host_mono_ns(const rs_host *host) {
    return clock_ns(CLOCK_MONOTONIC) + of(host)->skipped_ns;
}

static uint64_t host_wall_ns(const rs_host *host) {
    (void)host;
    return clock_ns(CLOCK_REALTIME);
}

static void host_entropy(const rs_host *host, void *buf, size_t len) {
    (void)host;
    if (getrandom(buf, len, 0) != (ssize_t)len)
        abort();
}

static void *worker_main(void *arg) {
    struct worker *w = arg;

    w->fn(w->arg);
    (void)__atomic_sub_fetch(&w->host->workers, 1, __ATOMIC_ACQ_REL);
    free(w);
    return NULL;
}

static int host_work(const rs_host *host, int pool, rs_fn fn, void *arg) {
    struct worker *w = malloc(sizeof(*w));
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    (void)pool;
    if (!w)
        return RS_ENOMEM;
    *w = (struct worker){.host = of(host), .fn = fn, .arg = arg};
    (void)__atomic_add_fetch(&w->host->workers, 1, __ATOMIC_ACQ_REL);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    r = pthread_create(&thread, &attr, worker_main, w);
    (void)pthread_attr_destroy(&attr);
    if (r == 0)
        return RS_OK;
    (void)__atomic_sub_fetch(&w->host->workers, 1, __ATOMIC_ACQ_REL);
    free(w);
    return RS_ENOMEM;
}

static int host_mem_charge(const rs_host *host, int64_t delta) {
    struct transport_host *h = of(host);
    int64_t sum = __atomic_add_fetch(&h->charged, delta, __ATOMIC_ACQ_REL);

    if (delta > 0 && h->charge_limit && sum > h->charge_limit) {
        (void)__atomic_sub_fetch(&h->charged, delta, __ATOMIC_ACQ_REL);
        return RS_ENOMEM;
    }
    return RS_OK;
}

static int host_post(rs_loop *loop, rs_fn fn, void *arg) {
    struct post *p = malloc(sizeof(*p));

    if (!p)
        return RS_ENOMEM;
    *p = (struct post){.fn = fn, .arg = arg};
    pthread_mutex_lock(&loop->lock);
    *loop->last = p;
    loop->last = &p->next;
    pthread_mutex_unlock(&loop->lock);
    (void)eventfd_write(loop->wake, 1);
    return RS_OK;
}

static void apply(struct rs_watch *w, int op) {
    struct epoll_event e = {.data.ptr = w};

    if (w->events & RS_WATCH_READ)
        e.events |= EPOLLIN | EPOLLRDHUP;
    if (w->events & RS_WATCH_WRITE)
        e.events |= EPOLLOUT;
    if (epoll_ctl(w->loop->epoll, op, w->fd, &e) < 0)
        transport_fault(w->loop->host, "a watch on a descriptor that is not open");
}

static int host_watch(rs_loop *loop, int fd, uint32_t events, rs_watch_fn fn, void *arg, rs_watch **ret) {
    struct rs_watch *w = calloc(1, sizeof(*w));

    check_loop(loop, "watch() outside its loop");
    if (!w)
        return RS_ENOMEM;
    *w = (struct rs_watch){.loop = loop, .fd = fd, .events = events, .fn = fn, .arg = arg};
    if (events)
        apply(w, EPOLL_CTL_ADD);
    loop->host->watches++;
    *ret = w;
    return RS_OK;
}

static void host_watch_set(rs_watch *w, uint32_t events) {
    uint32_t before = w->events;

    check_loop(w->loop, "watch_set() outside its loop");
    w->events = events;
    if (before && events)
        apply(w, EPOLL_CTL_MOD);
    else if (before || events)
        apply(w, events ? EPOLL_CTL_ADD : EPOLL_CTL_DEL);
}

static void host_unwatch(rs_watch *w) {
    check_loop(w->loop, "unwatch() outside its loop");
    if (w->events)
        apply(w, EPOLL_CTL_DEL);
    w->dead = 1;
    w->next = w->loop->dead;
    w->loop->dead = w;
    w->loop->host->watches--;
}

static int host_timer(rs_loop *loop, uint64_t delay_ns, rs_fn fn, void *arg, rs_timer **ret) {
    struct rs_timer *t = malloc(sizeof(*t));

    check_loop(loop, "timer() outside its loop");
    if (!t)
        return RS_ENOMEM;
    *t = (struct rs_timer){.loop = loop, .fn = fn, .arg = arg, .next = loop->timers};
    t->at_ns = host_mono_ns(&loop->host->host) + delay_ns;
    loop->timers = t;
    loop->host->timers++;
    *ret = t;
    return RS_OK;
}

static void timer_unlink(rs_timer *t) {
    struct rs_timer **p = &t->loop->timers;

    while (*p && *p != t)
        p = &(*p)->next;
    if (!*p) {
        transport_fault(t->loop->host, "timer_stop() of a timer that is not there");
        return;
    }
    *p = t->next;
    t->loop->host->timers--;
}

static void host_timer_stop(rs_timer *t) {
    check_loop(t->loop, "timer_stop() outside its loop");
    timer_unlink(t);
    free(t);
}

void transport_host_init(struct transport_host *h) {
    *h = (struct transport_host){
        .host = {.struct_size = sizeof(rs_host),
                 .abi_major = RS_ABI_MAJOR,
                 .log = host_log,
                 .metric = host_metric,
                 .metric_add = host_metric_add,
                 .mono_ns = host_mono_ns,
                 .wall_ns = host_wall_ns,
                 .random = host_entropy,
                 .work = host_work,
                 .mem_charge = host_mem_charge,
                 .post = host_post,
                 .watch = host_watch,
                 .watch_set = host_watch_set,
                 .unwatch = host_unwatch,
                 .timer = host_timer,
                 .timer_stop = host_timer_stop,
                 .node_get = node_get,
                 .node_at = node_at,
                 .node_str = node_str,
                 .node_u64 = node_u64,
                 .node_bool = node_bool},
    };
}

rs_loop *transport_loop_new(struct transport_host *h) {
    rs_loop *loop = calloc(1, sizeof(*loop));
    struct epoll_event e = {.events = EPOLLIN};

    if (!loop)
        abort();
    loop->host = h;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->last = &loop->first;
    (void)pthread_mutex_init(&loop->lock, NULL);
    if (loop->epoll < 0 || loop->wake < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &e) < 0)
        abort();
    loop->next = h->loops;
    h->loops = loop;
    return loop;
}

void transport_host_done(struct transport_host *h) {
    while (__atomic_load_n(&h->workers, __ATOMIC_ACQUIRE) > 0)
        (void)usleep(1000);
    while (h->loops) {
        rs_loop *loop = h->loops;
        h->loops = loop->next;
        (void)close(loop->epoll);
        (void)close(loop->wake);
        (void)pthread_mutex_destroy(&loop->lock);
        free(loop);
    }
}

void transport_host_skip(struct transport_host *h, uint64_t ns) {
    h->skipped_ns += ns;
}

static int run_timers(rs_loop *loop) {
    uint64_t now = host_mono_ns(&loop->host->host);
    int n = 0;

    for (;;) {
        rs_timer *t = loop->timers;
        while (t && t->at_ns > now) /* any order will do: tests look at outcomes */
            t = t->next;
        if (!t)
            return n;
        t->at_ns = UINT64_MAX; /* fired; fn ends it */
        t->fn(t->arg);
        n++;
    }
}

static int run_posts(rs_loop *loop) {
    struct post *p;
    int n = 0;

    pthread_mutex_lock(&loop->lock);
    p = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    pthread_mutex_unlock(&loop->lock);
    while (p) {
        struct post *next = p->next;
        p->fn(p->arg);
        free(p);
        p = next;
        n++;
    }
    return n;
}

static int run_events(rs_loop *loop, int wait_ms) {
    struct epoll_event e[16];
    int count = epoll_wait(loop->epoll, e, 16, wait_ms), n = 0;

    for (int i = 0; i < count; i++) {
        struct rs_watch *w = e[i].data.ptr;
        uint32_t events = 0;
        eventfd_t value;
        if (!w) {
            (void)eventfd_read(loop->wake, &value);
            continue;
        }
        if (w->dead)
            continue;
        if (e[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            events |= RS_WATCH_READ;
        if (e[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
            events |= RS_WATCH_WRITE;
        events &= w->events;
        loop->host->events++;
        if (events)
            w->fn(w->arg, events);
        n++;
    }
    return n;
}

static int turn(rs_loop *loop, int wait_ms) {
    int n;

    loop->host->current = loop;
    n = run_timers(loop) + run_posts(loop);
    n += run_events(loop, n ? 0 : wait_ms);
    loop->host->current = NULL;
    while (loop->dead) {
        struct rs_watch *w = loop->dead;
        loop->dead = w->next;
        free(w);
    }
    return n;
}

int transport_turn(struct transport_host *h, int wait_ms) {
    int n = 0;

    for (rs_loop *loop = h->loops; loop; loop = loop->next)
        n += turn(loop, n || loop->next ? 0 : wait_ms);
    return n;
}

int transport_run(struct transport_host *h, const unsigned *flag, unsigned n) {
    uint64_t give_up = clock_ns(CLOCK_MONOTONIC) + UINT64_C(10000000000);

    while (*flag < n) {
        (void)transport_turn(h, 1);
        if (clock_ns(CLOCK_MONOTONIC) > give_up)
            return -1;
    }
    return 0;
}

void transport_settle(struct transport_host *h) {
    for (int quiet = 0, turns = 0; quiet < 3 && turns < 1000; turns++)
        quiet = transport_turn(h, 1) ? 0 : quiet + 1;
}
