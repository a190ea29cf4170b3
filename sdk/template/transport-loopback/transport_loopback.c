/* SPDX-License-Identifier: Apache-2.0 */
/* transport_loopback.c : a complete transport to start from: streams between loops of one process, loopback://name.
 *
 * A connection is two ends. What one end writes lies in the buffer of the other until that one reads it; writing takes
 * what fits. One lock guards everything: simple before fast. Two rules shape the code: callbacks run on the loop of
 * their end and never inside an op, so every one is posted; and an end with a post under way must not be freed, so each
 * post holds it. */
#include <pthread.h>
#include <restate/helper.h>
#include <restate/transport.h>
#include <stdlib.h>

enum { BUFFER = 65536, NAME = 100 };

struct loopback {
    const rs_host *host;
    pthread_mutex_t lock; /* guards all below, and all ends and listeners */
    rs_listener *listeners;
    rs_conn *conns;
    unsigned live; /* ends not yet freed, plus one until stop() */
    rs_done_fn done;
    void *done_arg;
};

struct rs_listener {
    struct loopback *self;
    rs_loop *loop;
    void (*accepted)(void *arg, rs_conn *);
    void *arg;
    rs_listener *next;
    rs_conn *offered; /* inside accepted() */
    unsigned refs, closed;
    char name[NAME];
};

struct rs_conn {
    struct loopback *self;
    rs_loop *loop;
    rs_conn_events events;
    void *arg;
    rs_conn *peer;                       /* NULL: the other end is closed */
    rs_listener *listener;               /* of an accepted end, until attach() */
    rs_conn *next;                       /* in loopback.conns */
    unsigned refs;                       /* posts under way, plus one until closed() */
    uint8_t open, ended, shut, eof, cut; /* eof, cut: of what comes in */
    uint8_t want_read, want_write;       /* the host is owed readable, writable */
    rs_error error;                      /* code 0: none */
    uint64_t bytes_read, bytes_written;
    size_t len; /* of buffer */
    char name[NAME];
    unsigned char buffer[BUFFER];
};

/* These five run with the lock held. */
static void post(rs_conn *c, rs_fn fn) {
    if (c->self->host->post(c->loop, fn, c) == RS_OK)
        c->refs++;
}

static rs_conn *conn_new(struct loopback *s, rs_loop *loop, const char *name) {
    rs_conn *c = NULL;

    if (s->host->mem_charge(s->host, sizeof(*c)) < 0)
        return NULL;
    if (!(c = calloc(1, sizeof(*c)))) {
        (void)s->host->mem_charge(s->host, -(int64_t)sizeof(*c));
        return NULL;
    }
    c->self = s;
    c->loop = loop;
    c->refs = 1;
    memcpy(c->name, name, NAME);
    c->next = s->conns;
    s->conns = c;
    s->live++;
    return c;
}

static rs_listener *listener_find(struct loopback *s, const char *name) {
    rs_listener *l = s->listeners;

    while (l && strcmp(l->name, name) != 0)
        l = l->next;
    return l;
}

static void listener_unref(rs_listener *l) {
    if (--l->refs == 0)
        free(l);
}

static void run_readable(void *arg);
static void run_writable(void *arg);
static void run_closed(void *arg);

static void wake(rs_conn *c, uint8_t *want, rs_fn fn) {
    if (c->open && *want) {
        *want = 0;
        post(c, fn);
    }
}

static void conn_end(rs_conn *c, int cut, int code, const char *why) {
    rs_conn *p = c->peer;

    if (c->ended)
        return;
    c->ended = 1;
    c->peer = NULL;
    if (code)
        (void)rs_fail(&c->error, code, RS_ERR_RETRYABLE, 0, "%s: loopback://%s", why, c->name);
    post(c, run_closed);
    if (!p)
        return;
    p->peer = NULL;
    p->eof = 1;
    p->cut = p->cut || cut;
    if (!p->open)
        conn_end(p, 1, RS_ECLOSED, "the other end closed");
    wake(p, &p->want_read, run_readable);
    wake(p, &p->want_write, run_writable);
}

static void unref(rs_conn *c) {
    struct loopback *s = c->self;
    rs_conn **at = &s->conns;
    rs_done_fn done;
    void *arg;
    int last;

    pthread_mutex_lock(&s->lock);
    last = --c->refs == 0;
    if (last) {
        while (*at != c)
            at = &(*at)->next;
        *at = c->next;
        (void)s->host->mem_charge(s->host, -(int64_t)sizeof(*c));
    }
    last = last && --s->live == 0;
    done = s->done;
    arg = s->done_arg;
    if (c->refs == 0)
        free(c);
    pthread_mutex_unlock(&s->lock);
    if (last)
        done(arg, RS_OK, NULL); /* the instance may be gone when it returns */
}

/* What is posted: on the loop of the end, without the lock. */
static void run_ready(void *arg) {
    rs_conn *c = arg;

    if (!c->ended)
        c->events.ready(c->arg, c);
    unref(c);
}

static void run_readable(void *arg) {
    rs_conn *c = arg;

    if (!c->ended)
        c->events.readable(c->arg, c);
    unref(c);
}

static void run_writable(void *arg) {
    rs_conn *c = arg;

    if (!c->ended)
        c->events.writable(c->arg, c);
    unref(c);
}

static void run_closed(void *arg) {
    rs_conn *c = arg;

    if (c->events.closed)
        c->events.closed(c->arg, c, c->error.code, c->error.code ? &c->error : NULL);
    unref(c);
    unref(c);
}

static void run_accepted(void *arg) {
    rs_conn *c = arg;
    rs_listener *l = c->listener;
    int ended;

    pthread_mutex_lock(&l->self->lock);
    ended = c->ended; /* by the other end, which had no patience */
    pthread_mutex_unlock(&l->self->lock);
    l->offered = c;
    if (!l->closed && !ended)
        l->accepted(l->arg, c);
    pthread_mutex_lock(&l->self->lock);
    if (l->offered)
        conn_end(c, 1, 0, NULL); /* not attached */
    l->offered = NULL;
    listener_unref(l);
    pthread_mutex_unlock(&c->self->lock);
    unref(c);
}

/* The ops. */
static int parse(const char *uri, char name[NAME], rs_error *err) {
    static const char scheme[] = "loopback://";
    size_t skip = sizeof(scheme) - 1, n = strlen(uri);

    if (strncmp(uri, scheme, skip) != 0 || n == skip || n - skip >= NAME)
        return rs_fail(err, RS_EINVAL, 0, 0, "\"%.100s\" is no address: it must look like loopback://name", uri);
    memset(name, 0, NAME);
    memcpy(name, uri + skip, n - skip);
    return RS_OK;
}

static int loopback_listen(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts,
                           void (*accepted)(void *arg, rs_conn *), void *arg, rs_listener **ret, rs_error *err) {
    struct loopback *s = self;
    rs_listener *l = calloc(1, sizeof(*l));
    int r = l ? parse(uri, l->name, err) : rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");

    (void)opts;
    pthread_mutex_lock(&s->lock);
    if (r == RS_OK && s->done)
        r = rs_fail(err, RS_ECLOSED, 0, 0, "the transport is stopping");
    if (r == RS_OK && listener_find(s, l->name))
        r = rs_fail(err, RS_EEXIST, 0, 0, "%.100s is in use", uri);
    if (r == RS_OK) {
        l->self = s;
        l->loop = loop;
        l->accepted = accepted;
        l->arg = arg;
        l->refs = 1;
        l->next = s->listeners;
        *ret = s->listeners = l;
    } else {
        free(l);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int loopback_listener_uri(rs_listener *l, char *buf, size_t len) {
    int n = snprintf(buf, len, "loopback://%s", l->name);

    return n < 0 || (size_t)n >= len ? RS_ETOOBIG : RS_OK;
}

static void loopback_listener_close(rs_listener *l) {
    struct loopback *s = l->self;
    rs_listener **at = &s->listeners;

    pthread_mutex_lock(&s->lock);
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->closed = 1;
    listener_unref(l);
    pthread_mutex_unlock(&s->lock);
}

static int events_set(rs_conn *c, const rs_conn_events *e, void *arg) {
    if (!e || e->struct_size < sizeof(*e) || !e->ready || !e->readable || !e->writable || !e->closed)
        return RS_EINVAL;
    c->events = *e;
    c->arg = arg;
    return RS_OK;
}

static int loopback_attach(rs_conn *c, rs_loop *loop, const rs_conn_events *events, void *arg) {
    struct loopback *s = c->self;
    int r;

    pthread_mutex_lock(&s->lock);
    r = !c->listener || c->listener->offered != c ? RS_EINVAL : c->ended ? RS_ECLOSED : events_set(c, events, arg);
    if (r == RS_OK) {
        c->listener->offered = NULL;
        c->listener = NULL;
        c->loop = loop;
        c->open = c->want_read = c->peer->open = c->peer->want_read = 1;
        post(c, run_ready);
        post(c->peer, run_ready);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int loopback_connect(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts,
                            const rs_conn_events *events, void *arg, rs_conn **ret, rs_error *err) {
    struct loopback *s = self;
    char name[NAME];
    rs_conn *c, *p = NULL;
    rs_listener *l;
    int r = parse(uri, name, err);

    (void)opts;
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    l = listener_find(s, name);
    c = s->done ? NULL : conn_new(s, loop, name);
    if (!c) {
        r = s->done ? RS_ECLOSED : RS_ENOMEM;
        (void)rs_fail(err, r, 0, 0, s->done ? "the transport is stopping" : "no memory for another connection");
    } else if ((r = events_set(c, events, arg)) < 0) {
        (void)rs_fail(err, r, 0, 0, "the events of a connection are incomplete");
        post(c, run_closed); /* frees it; there is no closed() to call */
    } else {
        *ret = c;
        p = l ? conn_new(s, l->loop, name) : NULL;
    }
    if (p) {
        p->listener = l;
        l->refs++;
        p->peer = c;
        c->peer = p;
        post(p, run_accepted);
    } else if (r == RS_OK) {
        conn_end(c, 0, l ? RS_ENOMEM : RS_ECLOSED, l ? "no memory for another connection" : "nobody listens");
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int64_t loopback_read(rs_conn *c, void *buf, size_t len) {
    int64_t r;

    pthread_mutex_lock(&c->self->lock);
    if (c->ended || c->cut) {
        r = RS_ECLOSED;
    } else if (c->len > 0) {
        len = len < c->len ? len : c->len;
        memcpy(buf, c->buffer, len);
        memmove(c->buffer, c->buffer + len, c->len - len);
        c->len -= len;
        c->bytes_read += len;
        r = (int64_t)len;
        if (c->peer)
            wake(c->peer, &c->peer->want_write, run_writable);
    } else {
        r = c->eof ? 0 : RS_EAGAIN;
        c->want_read = !c->eof;
    }
    pthread_mutex_unlock(&c->self->lock);
    return r;
}

static int64_t loopback_write(rs_conn *c, const struct iovec *iov, int n) {
    size_t taken = 0, offered = 0;
    int64_t r = RS_ECLOSED;

    pthread_mutex_lock(&c->self->lock);
    if (!c->open && !c->ended)
        r = RS_EAGAIN;
    else if (c->open && !c->ended && !c->shut && c->peer) {
        rs_conn *p = c->peer;
        for (int i = 0; i < n; offered += iov[i++].iov_len) {
            size_t room = BUFFER - p->len, part = iov[i].iov_len < room ? iov[i].iov_len : room;
            if (part)
                memcpy(p->buffer + p->len, iov[i].iov_base, part);
            p->len += part;
            taken += part;
        }
        c->bytes_written += taken;
        c->want_write = taken < offered;
        r = taken || !offered ? (int64_t)taken : RS_EAGAIN;
        if (taken)
            wake(p, &p->want_read, run_readable);
    }
    pthread_mutex_unlock(&c->self->lock);
    return r;
}

static int loopback_shutdown(rs_conn *c) {
    int r;

    pthread_mutex_lock(&c->self->lock);
    r = c->ended ? RS_ECLOSED : !c->open ? RS_EAGAIN : RS_OK;
    c->shut = r == RS_OK;
    if (c->shut && c->peer) {
        c->peer->eof = 1;
        wake(c->peer, &c->peer->want_read, run_readable);
    }
    pthread_mutex_unlock(&c->self->lock);
    return r;
}

static int loopback_peer(rs_conn *c, rs_peer *ret) {
    rs_peer peer = {.struct_size = ret->struct_size};

    if (ret->struct_size < offsetof(rs_peer, address))
        return RS_EINVAL;
    memcpy(peer.address, c->name, NAME);
    memcpy(ret, &peer, ret->struct_size < sizeof(peer) ? ret->struct_size : sizeof(peer));
    return RS_OK;
}

static int loopback_stats(rs_conn *c, void (*each)(void *arg, const char *name, uint64_t value), void *arg) {
    each(arg, "bytes_read", c->bytes_read);
    each(arg, "bytes_written", c->bytes_written);
    return RS_OK;
}

static void loopback_close(rs_conn *c, int abort) {
    pthread_mutex_lock(&c->self->lock);
    conn_end(c, abort, 0, NULL);
    pthread_mutex_unlock(&c->self->lock);
}

/* The instance. */
static int loopback_check(const rs_host *host, const rs_node *config, rs_error *err) {
    (void)host;
    (void)config;
    (void)err;
    return RS_OK; /* no options, and the schema says so */
}

static int loopback_init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *err) {
    struct loopback *s = calloc(1, sizeof(*s));

    (void)config;
    if (!s)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    s->host = host;
    s->live = 1;
    (void)pthread_mutex_init(&s->lock, NULL);
    *ret_self = s;
    return RS_OK;
}

static void run_cancel(void *arg) {
    rs_conn *c = arg;

    pthread_mutex_lock(&c->self->lock);
    conn_end(c, 1, RS_ECANCELED, "the transport was stopped");
    pthread_mutex_unlock(&c->self->lock);
    unref(c);
}

static void loopback_stop(void *self, rs_done_fn done, void *arg) {
    struct loopback *s = self;
    int last;

    pthread_mutex_lock(&s->lock);
    s->done = done;
    s->done_arg = arg;
    for (rs_conn *c = s->conns; c; c = c->next)
        post(c, run_cancel);
    last = --s->live == 0;
    pthread_mutex_unlock(&s->lock);
    if (last)
        done(arg, RS_OK, NULL);
}

static void loopback_fini(void *self) {
    struct loopback *s = self;

    while (s->listeners)
        loopback_listener_close(s->listeners);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static const rs_transport_ops loopback_ops = {
    .struct_size = sizeof(rs_transport_ops),
    .schemes = "loopback",
    .listen = loopback_listen,
    .listener_uri = loopback_listener_uri,
    .listener_close = loopback_listener_close,
    .attach = loopback_attach,
    .connect = loopback_connect,
    .read = loopback_read,
    .write = loopback_write,
    .shutdown = loopback_shutdown,
    .peer = loopback_peer,
    .stats = loopback_stats,
    .close = loopback_close,
};

static const rs_plugin loopback_plugin = {
    .magic = RS_ABI_MAGIC,
    .struct_size = sizeof(rs_plugin),
    .abi_major = RS_ABI_MAJOR,
    .kind = RS_KIND_TRANSPORT,
    .caps = RS_TRANSPORT_LOCAL_ONLY,
    .name = "loopback",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .config_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{}}",
    .ops = &loopback_ops,
    .check = loopback_check,
    .init = loopback_init,
    .stop = loopback_stop,
    .fini = loopback_fini,
};

const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    (void)host_minor;
    return host_major == RS_ABI_MAJOR ? &loopback_plugin : NULL;
}
