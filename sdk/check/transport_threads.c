/* SPDX-License-Identifier: Apache-2.0 */
/* transport_threads.c : suite threads: loops on threads of their own, one listener, connections attached to all of
 * them, and a stop in the middle. Meant to be run under ThreadSanitizer too. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "transport_check.h"

enum { WORKERS = 3, DIALS = 40, KEPT = 4, ROUNDS = 5, MESSAGE = 4000 };

struct stage;

struct worker {
    struct stage *stage;
    pthread_t thread;
    rs_loop *loop;                    /* set by the thread */
    unsigned up, quit;                /* atomic */
    unsigned dialled, finished, kept; /* kept: open connections that wait for stop(); atomic to others */
    unsigned closed_by_stop;          /* atomic */
};

struct stage {
    struct check *c;
    const rs_transport_ops *ops;
    const rs_host *host;
    void *self;
    char uri[160];
    struct worker workers[WORKERS];
    unsigned next;                    /* worker of the next accepted connection */
    unsigned accepted, server_closed; /* atomic */
    unsigned stopped;                 /* atomic */
    unsigned faults;                  /* atomic */
};

struct talker {
    struct worker *w;
    rs_conn *conn;
    unsigned rounds, got, keep;
};

static unsigned get(const unsigned *p) {
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void add(unsigned *p) {
    (void)__atomic_add_fetch(p, 1, __ATOMIC_ACQ_REL);
}

static void fault_unless(struct worker *w, int ok) {
    if (!ok)
        add(&w->stage->faults);
}

/* The server's end: send everything back. */
static void echo_ready(void *arg, rs_conn *conn) {
    struct talker *e = arg;

    (void)conn;
    fault_unless(e->w, host_loop_is_current(e->w->loop));
}

static void echo_readable(void *arg, rs_conn *conn) {
    struct talker *e = arg;
    const rs_transport_ops *ops = e->w->stage->ops;
    char buf[MESSAGE];
    int64_t n;

    while ((n = ops->read(conn, buf, sizeof(buf))) > 0) {
        struct iovec iov = {.iov_base = buf, .iov_len = (size_t)n};
        fault_unless(e->w, ops->write(conn, &iov, 1) == n);
    }
    if (n != RS_EAGAIN)
        ops->close(conn, 0);
}

static void never_writable(void *arg, rs_conn *conn) {
    struct talker *e = arg;

    (void)conn;
    add(&e->w->stage->faults);
}

static void echo_closed(void *arg, rs_conn *conn, int status, const rs_error *err) {
    struct talker *e = arg;

    (void)conn;
    (void)status;
    (void)err;
    fault_unless(e->w, host_loop_is_current(e->w->loop));
    add(&e->w->stage->server_closed);
    free(e);
}

static const rs_conn_events echo_events = {.struct_size = sizeof(rs_conn_events),
                                           .ready = echo_ready,
                                           .readable = echo_readable,
                                           .writable = never_writable,
                                           .closed = echo_closed};

static void accepted(void *arg, rs_conn *conn) {
    struct stage *x = arg;
    struct talker *e = calloc(1, sizeof(*e));

    if (!e)
        abort();
    add(&x->accepted);
    e->w = &x->workers[x->next++ % WORKERS];
    if (x->ops->attach(conn, e->w->loop, &echo_events, e) < 0) { /* only once stop() was called */
        add(&x->server_closed);
        free(e);
    }
}

/* The client's end: a few messages there and back. */
static void say(struct talker *d) {
    static const char message[MESSAGE];
    struct iovec iov;
    const void *data = message;

    iov.iov_len = sizeof(message);
    memcpy(&iov.iov_base, &data, sizeof(data));
    fault_unless(d->w, d->w->stage->ops->write(d->conn, &iov, 1) == MESSAGE);
}

static void dial(void *arg);

static void dial_readable(void *arg, rs_conn *conn) {
    struct talker *d = arg;
    char buf[1000];
    int64_t n;

    while ((n = d->w->stage->ops->read(conn, buf, sizeof(buf))) > 0)
        d->got += (unsigned)n;
    if (d->got == MESSAGE && ++d->rounds < ROUNDS) {
        d->got = 0;
        say(d);
    } else if (d->rounds == ROUNDS && d->got == MESSAGE) {
        d->got = 0;
        if (d->keep)
            add(&d->w->kept);
        else
            d->w->stage->ops->close(conn, 0);
    } else if (n != RS_EAGAIN) {
        d->w->stage->ops->close(conn, 0);
    }
}

static void dial_ready(void *arg, rs_conn *conn) {
    struct talker *d = arg;

    d->conn = conn;
    fault_unless(d->w, host_loop_is_current(d->w->loop));
    say(d);
}

static void dial_closed(void *arg, rs_conn *conn, int status, const rs_error *err) {
    struct talker *d = arg;
    struct worker *w = d->w;

    (void)conn;
    (void)err;
    fault_unless(w, host_loop_is_current(w->loop) && d->rounds == ROUNDS);
    if (d->keep) {
        add(&w->closed_by_stop);
    } else {
        fault_unless(w, status == RS_OK);
        add(&w->finished);
        dial(w);
    }
    free(d);
}

static const rs_conn_events dial_events = {.struct_size = sizeof(rs_conn_events),
                                           .ready = dial_ready,
                                           .readable = dial_readable,
                                           .writable = never_writable,
                                           .closed = dial_closed};

static void dial(void *arg) {
    struct worker *w = arg;
    struct talker *d;
    rs_error err = {.struct_size = sizeof(err)};

    if (w->dialled == DIALS + KEPT)
        return;
    if (!(d = calloc(1, sizeof(*d))))
        abort();
    d->w = w;
    d->keep = w->dialled++ >= DIALS;
    if (w->stage->ops->connect(w->stage->self, w->loop, w->stage->uri, NULL, &dial_events, d, &d->conn, &err) < 0) {
        add(&w->stage->faults);
        free(d);
    } else if (d->keep) {
        dial(w);
    }
}

static void *worker_main(void *arg) {
    struct worker *w = arg;

    w->loop = host_loop_new(w->stage->c->host);
    __atomic_store_n(&w->up, 1, __ATOMIC_RELEASE);
    while (!get(&w->quit))
        (void)host_loop_turn(w->loop, 5);
    return NULL;
}

static void on_stopped(void *arg, int status, const rs_error *err) {
    struct stage *x = arg;

    (void)status;
    (void)err;
    add(&x->stopped);
}

/* Turns the listener's loop until *what reaches n; whether it did within twenty seconds. */
static bool wait_for(rs_loop *loop, const unsigned *what, unsigned n) {
    struct timespec start, now;

    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        if (get(what) >= n)
            return true;
        (void)host_loop_turn(loop, 5);
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > 20)
            return false;
    }
}

static void run(struct stage *x, rs_loop *loop) {
    struct check *c = x->c;
    rs_listener *l = NULL;
    rs_error err = {.struct_size = sizeof(err)};
    char base[96], scheme[16];
    bool ok = true;

    (void)snprintf(scheme, sizeof(scheme), "%.*s", (int)strcspn(x->ops->schemes, ","), x->ops->schemes);
    (void)snprintf(base, sizeof(base), "%s://127.0.0.1:0", scheme);
    if (strcmp(scheme, "unix") == 0)
        (void)snprintf(base, sizeof(base), "unix:%s/socket", c->dir);
    if (!tap_ok(c->tap, x->ops->listen(x->self, loop, base, NULL, accepted, x, &l, &err) == 0, "threads: listen")) {
        tap_diag("%s", err.msg);
        exit(1);
    }
    ok = x->ops->listener_uri(l, x->uri, sizeof(x->uri)) == 0;
    for (int i = 0; i < WORKERS; i++)
        ok = x->host->post(x->workers[i].loop, dial, &x->workers[i]) == 0 && ok;
    for (int i = 0; i < WORKERS; i++)
        ok = wait_for(loop, &x->workers[i].finished, DIALS) && wait_for(loop, &x->workers[i].kept, KEPT) && ok;
    (void)tap_ok(c->tap, ok, "threads: %d connections from each of %d loops", DIALS, WORKERS);
    c->plugin.stop(x->self, on_stopped, x);
    ok = wait_for(loop, &x->stopped, 1);
    for (int i = 0; i < WORKERS; i++)
        ok = ok && get(&x->workers[i].closed_by_stop) == KEPT;
    (void)tap_ok(c->tap, ok, "threads: stop() is done when every open connection was closed");
    (void)tap_ok(c->tap, get(&x->accepted) == get(&x->server_closed), "threads: the server's ends as well");
    x->ops->listener_close(l);
    (void)host_loop_turn(loop, 0);
}

int suite_threads(struct check *c) {
    struct stage *x = calloc(1, sizeof(*x));
    rs_loop *loop = host_loop_new(c->host);
    const rs_node *given = c->config;
    rs_node *config = check_config(c);

    if (!x || !loop || !config)
        abort();
    *x = (struct stage){.c = c, .ops = &c->ops.transport, .host = host_table(c->host)};
    c->config = config;
    x->self = check_init(c);
    c->config = given;
    if (!x->self)
        exit(1);
    for (int i = 0; i < WORKERS; i++) {
        x->workers[i].stage = x;
        if (pthread_create(&x->workers[i].thread, NULL, worker_main, &x->workers[i]) != 0)
            abort();
        while (!get(&x->workers[i].up))
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    run(x, loop);
    for (int i = 0; i < WORKERS; i++) {
        __atomic_store_n(&x->workers[i].quit, 1, __ATOMIC_RELEASE);
        (void)pthread_join(x->workers[i].thread, NULL);
    }
    c->plugin.fini(x->self);
    for (int i = 0; i < WORKERS; i++)
        host_loop_free(x->workers[i].loop);
    host_loop_free(loop);
    (void)tap_ok(c->tap, x->faults == 0, "threads: every callback on its loop, every byte back");
    (void)tap_ok(c->tap, x->stopped == 1 && host_mem_used(c->host) == 0,
                 "threads: done once, all charged bytes given back");
    node_free(config);
    free(x);
    return 0;
}
