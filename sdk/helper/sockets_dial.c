/* SPDX-License-Identifier: Apache-2.0 */
/* sockets_dial.c : connect(): look the name up, try its addresses in order until one answers.
 *
 * The look-up runs on the host's pool with memory of its own, because the connection may be closed meanwhile: only the
 * loop thread touches struct lookup.conn. The connect timeout covers everything; each address gets its share of what is
 * left. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sockets_internal.h"

#define UNIX_RETRY_NS                                                                                                  \
    UINT64_C(10000000) /* the queue of a unix listener is full: connect() says EAGAIN, nothing to watch */

struct lookup {
    struct sockets *self;
    rs_loop *loop;
    struct rs_conn *conn; /* NULL: nobody waits any more; loop thread only */
    char host[254], port[6];
    int status; /* of getaddrinfo() */
    int native;
    struct addrinfo *found;
};

struct sockets_dial {
    struct lookup *lookup;       /* under way */
    struct addrinfo *found, *at; /* of a name or an IP address; at: the one being tried */
    struct sockaddr_un path;     /* sun_family is set: unix */
    uint64_t deadline_ns;
    int failure; /* errno of the last attempt */
};

static void dial_next(struct rs_conn *c);

void sockets_dial_free(struct sockets_dial *d) {
    if (!d)
        return;
    if (d->lookup)
        d->lookup->conn = NULL;
    if (d->found)
        freeaddrinfo(d->found);
    free(d);
}

static void lookup_free(struct lookup *k) {
    struct sockets *s = k->self;

    if (k->found)
        freeaddrinfo(k->found);
    free(k);
    sockets_leave(s);
}

static void lookup_done(void *arg) {
    struct lookup *k = arg;
    struct rs_conn *c = k->conn;

    if (c) {
        c->dial->lookup = NULL;
        c->dial->found = c->dial->at = k->found;
        k->found = NULL;
        if (k->status == 0) {
            dial_next(c);
        } else {
            int none = k->status == EAI_NONAME || k->status == EAI_FAIL;
            (void)sockets_broken(c, none ? RS_ENOENT : RS_EIO, k->native, "cannot look up %.100s: %s", c->opts->host,
                                 gai_strerror(k->status));
            if (none)
                c->error->flags |= RS_ERR_RETRYABLE; /* names appear when machines start */
            sockets_conn_end(c, 0);
        }
    }
    lookup_free(k);
}

static void lookup_work(void *arg) {
    struct lookup *k = arg;
    struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};

    k->status = getaddrinfo(k->host, k->port, &hints, &k->found);
    k->native = k->status == EAI_SYSTEM ? errno : 0;
    if (k->status != 0)
        k->found = NULL;
    if (k->self->host->post(k->loop, lookup_done, k) < 0)
        lookup_free(k); /* the loop is gone */
}

static int lookup_start(struct rs_conn *c, const struct sockets_address *a) {
    const rs_host *host = c->self->host;
    struct lookup *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return RS_ENOMEM;
    k->self = c->self;
    k->loop = c->loop;
    k->conn = c;
    memcpy(k->host, a->host, sizeof(k->host));
    memcpy(k->port, a->port, sizeof(k->port));
    r = sockets_enter(c->self);
    if (r == RS_OK) {
        r = host->work(host, RS_POOL_IO, lookup_work, k);
        if (r < 0)
            sockets_leave(c->self);
    }
    if (r < 0)
        free(k);
    else
        c->dial->lookup = k;
    return r;
}

static void timer_end(struct rs_conn *c) {
    if (c->timer)
        c->self->host->timer_stop(c->timer);
    c->timer = NULL;
}

static int timer_start(struct rs_conn *c, uint64_t delay_ns) {
    int r;

    timer_end(c);
    r = c->self->host->timer(c->loop, delay_ns, sockets_conn_timeout, c, &c->timer);
    if (r < 0)
        (void)sockets_broken(c, r, 0, "the loop cannot take another timer");
    return r;
}

static void dial_failed(struct rs_conn *c) {
    int native = c->dial->failure, code = sockets_code(native);

    if (native == EADDRNOTAVAIL || native == EAFNOSUPPORT)
        code = RS_EIO; /* of the way to the peer; the URI was fine */
    (void)sockets_broken(c, code, native, "cannot connect to %.100s: %s", c->opts->host, strerror(native));
    if (native == ENOENT)
        c->error->flags |= RS_ERR_RETRYABLE; /* the socket file appears when its owner starts */
    sockets_conn_end(c, 0);
}

static void attempt_end(struct rs_conn *c) {
    if (c->watch)
        c->self->host->unwatch(c->watch);
    c->watch = NULL;
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

/* Nanoseconds this attempt may take. */
static uint64_t share(const struct rs_conn *c) {
    uint64_t now = c->self->host->mono_ns(c->self->host), left = 1, n = 1;

    if (c->dial->deadline_ns > now)
        left = c->dial->deadline_ns - now;
    for (const struct addrinfo *a = c->dial->at; a && a->ai_next; a = a->ai_next)
        n++;
    return left / n + 1;
}

static int attempt(struct rs_conn *c) {
    struct sockets_dial *d = c->dial;
    int family = d->at ? d->at->ai_family : AF_UNIX, one = 1, r;

    c->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    if (family == AF_UNIX)
        r = connect(c->fd, (struct sockaddr *)&d->path, sizeof(d->path));
    else {
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        r = connect(c->fd, d->at->ai_addr, d->at->ai_addrlen);
    }
    return r < 0 && errno != EINPROGRESS ? -errno : 0;
}

/* Start trying d->at, or the ones after it if that fails at once. Never calls the host back. */
static void dial_next(struct rs_conn *c) {
    struct sockets_dial *d = c->dial;
    int r;

    for (;;) {
        r = attempt(c);
        if (r == 0) {
            r = c->self->host->watch(c->loop, c->fd, RS_WATCH_WRITE, sockets_conn_event, c, &c->watch);
            if (r == RS_OK) {
                c->armed = RS_WATCH_WRITE;
                if (timer_start(c, share(c)) == RS_OK)
                    return;
            } else {
                (void)sockets_broken(c, r, 0, "the loop cannot watch another connection");
            }
            sockets_conn_end(c, 0);
            return;
        }
        attempt_end(c);
        if (r == -EAGAIN && !d->at) {
            d->failure = ETIMEDOUT;
            if (timer_start(c, UNIX_RETRY_NS) < 0)
                sockets_conn_end(c, 0);
            return;
        }
        d->failure = -r;
        if (!d->at || !d->at->ai_next)
            break;
        d->at = d->at->ai_next;
    }
    dial_failed(c);
}

/* Nobody listened, and the kernel gave our own end the port that was dialled: connected to itself. */
static int is_own(int fd) {
    struct sockaddr_storage a = {.ss_family = AF_UNSPEC}, b = {.ss_family = AF_UNSPEC};
    socklen_t a_len = sizeof(a), b_len = sizeof(b);

    return getsockname(fd, (struct sockaddr *)&a, &a_len) == 0 && getpeername(fd, (struct sockaddr *)&b, &b_len) == 0 &&
           a_len == b_len && a.ss_family != AF_UNIX && memcmp(&a, &b, a_len) == 0;
}

void sockets_dial_event(struct rs_conn *c) {
    struct sockets_dial *d = c->dial;
    int failure = 0;
    socklen_t len = sizeof(failure);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0)
        failure = errno;
    if (failure == 0 && is_own(c->fd))
        failure = ECONNREFUSED;
    if (failure == 0) {
        sockets_dial_free(d);
        c->dial = NULL;
        sockets_conn_connected(c);
        return;
    }
    d->failure = failure;
    attempt_end(c);
    if (d->at && d->at->ai_next) {
        d->at = d->at->ai_next;
        dial_next(c);
    } else {
        dial_failed(c);
    }
}

void sockets_dial_timeout(struct rs_conn *c) {
    struct sockets_dial *d = c->dial;

    if (d->lookup) {
        (void)sockets_broken(c, RS_ETIMEDOUT, 0, "looking up %.100s took too long", c->opts->host);
        sockets_conn_end(c, 0);
    } else if (!d->at && c->fd < 0 && c->self->host->mono_ns(c->self->host) < d->deadline_ns) {
        dial_next(c);
    } else {
        attempt_end(c);
        d->failure = ETIMEDOUT;
        if (d->at && d->at->ai_next) {
            d->at = d->at->ai_next;
            dial_next(c);
        } else {
            dial_failed(c);
        }
    }
}

/* Name or number? A number needs no look-up. */
static int dial_start(struct rs_conn *c, const struct sockets_address *a) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct sockets_dial *d = c->dial;
    int r;

    d->deadline_ns = c->self->host->mono_ns(c->self->host) + c->opts->connect_timeout_ns;
    if (a->path[0]) {
        d->path.sun_family = AF_UNIX;
        memcpy(d->path.sun_path, a->path, sizeof(d->path.sun_path));
        dial_next(c);
        return RS_OK;
    }
    if (getaddrinfo(a->host, a->port, &hints, &d->found) == 0) {
        d->at = d->found;
        dial_next(c);
        return RS_OK;
    }
    d->found = NULL;
    r = lookup_start(c, a);
    return r < 0 ? r : timer_start(c, c->opts->connect_timeout_ns);
}

int sockets_connect(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts, const rs_conn_events *events,
                    void *arg, rs_conn **ret, rs_error *err) {
    struct sockets *s = self;
    struct sockets_address a;
    struct sockets_opts *o;
    struct rs_conn *c;
    int r;

    r = sockets_address_parse(s->medium, uri, 1, &a, err);
    if (r < 0)
        return r;
    o = sockets_opts_new(opts, a.path[0] ? a.path : a.host, &r, err);
    if (!o)
        return r;
    r = sockets_conn_new(s, loop, o, NULL, -1, &c);
    (void)sockets_opts_unref(o);
    if (r < 0)
        return sockets_error(err, r, r == RS_ENOMEM ? RS_ERR_RETRYABLE : 0, 0, "%s",
                             r == RS_ENOMEM ? "no memory for another connection" : "the transport is stopping");
    r = sockets_conn_events(c, events, arg);
    if (r < 0) {
        (void)sockets_error(err, r, 0, 0, "the events of a connection are incomplete");
    } else if (!(c->dial = calloc(1, sizeof(*c->dial)))) {
        r = sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    } else {
        r = dial_start(c, &a);
        if (r < 0)
            (void)sockets_error(err, r, 0, 0, "cannot start to look up %.100s", a.host);
    }
    if (r < 0) {
        timer_end(c);
        sockets_dial_free(c->dial);
        c->dial = NULL;
        sockets_conn_drop(c);
        return r;
    }
    *ret = c;
    return RS_OK;
}
