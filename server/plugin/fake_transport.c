/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/fake_transport.h"

#include <stdio.h>
#include <string.h>

struct rs_listener {
    struct list link;
    struct fake_net *net;
    char *uri;
    void (*accepted)(void *arg, rs_conn *);
    void *arg;
    struct fake_peer *peer; /* raw listener: the end that the next connection becomes */
};

struct rs_conn {
    struct list link;
    struct fake_net *net;
    struct rs_conn *other; /* NULL: gone */
    struct rs_listener *listener;
    const rs_conn_events *ev;
    void *arg;
    struct buf in;
    bool in_eof, in_error;
    bool ready_due, read_armed, write_armed, closed_due, closing, shut, refused;
    unsigned posts;
    bool dead;
    char server_name[64];
};

static void deliver(void *arg);

static void kick(struct rs_conn *c) {
    if (!c || c->posts)
        return;
    c->posts++;
    loop_post(c->net->loop, deliver, c);
}

static void conn_free(struct rs_conn *c) {
    list_remove(&c->link);
    buf_done(&c->in);
    free(c);
}

static void finish(struct rs_conn *c, int status) {
    if (c->other)
        c->other->other = NULL;
    c->dead = true;
    c->net->open--;
    if (c->ev)
        c->ev->closed(c->arg, c, status, NULL);
    conn_free(c);
}

static void deliver(void *arg) {
    struct rs_conn *c = arg;

    c->posts--;
    if (!c->ev && c->listener) { /* just accepted */
        struct rs_listener *l = c->listener;

        c->listener = NULL;
        l->accepted(l->arg, c);
        if (!c->ev) {
            if (c->other) {
                c->other->in_eof = true;
                kick(c->other);
            }
            finish(c, 0);
            return;
        }
        c->ready_due = true;
    }
    if (c->closed_due || c->refused) {
        finish(c, c->refused ? RS_ECLOSED : 0);
        return;
    }
    if (c->ready_due) {
        c->ready_due = false;
        c->ev->ready(c->arg, c);
    }
    if (!c->closing && c->read_armed && (c->in.len || c->in_eof || c->in_error)) {
        c->read_armed = false;
        c->ev->readable(c->arg, c);
    }
    if (!c->closing && c->write_armed) {
        size_t cap = c->net->capacity ? c->net->capacity : 1 << 20;

        if (!c->other || c->other->in.len < cap) {
            c->write_armed = false;
            c->ev->writable(c->arg, c);
        }
    }
    if (c->closed_due)
        kick(c);
}

static int fake_listen(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts,
                       void (*accepted)(void *arg, rs_conn *), void *arg, rs_listener **ret, rs_error *err) {
    struct fake_net *n = self;
    struct rs_listener *l = xnew(struct rs_listener);

    l->net = n;
    l->uri = xstrdup(uri);
    l->accepted = accepted;
    l->arg = arg;
    list_push_back(&n->listeners, &l->link);
    *ret = l;
    return 0;
}

static int fake_uri(rs_listener *l, char *buf, size_t len) {
    (void)snprintf(buf, len, "%s", l->uri);
    return 0;
}

static void fake_listener_close(rs_listener *l) {
    list_remove(&l->link);
    free(l->uri);
    free(l);
}

static int fake_attach(rs_conn *c, rs_loop *loop, const rs_conn_events *ev, void *arg) {
    c->ev = ev;
    c->arg = arg;
    c->read_armed = true;
    return 0;
}

static int fake_connect(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts, const rs_conn_events *ev,
                        void *arg, rs_conn **ret, rs_error *err) {
    struct fake_net *n = self;
    struct rs_conn *a = xnew(struct rs_conn), *b;
    struct rs_listener *found = NULL;

    n->connects++;
    n->open++;
    a->net = n;
    a->ev = ev;
    a->arg = arg;
    a->read_armed = true;
    *ret = a;
    list_push_back(&n->conns, &a->link);
    LIST_FOREACH (e, &n->listeners)
        if (strcmp(LIST_ENTRY(e, struct rs_listener, link)->uri, uri) == 0)
            found = LIST_ENTRY(e, struct rs_listener, link);
    if (n->hang_connect)
        return 0;
    if (!found || n->refuse_connect) {
        a->refused = true;
        kick(a);
        return 0;
    }
    b = xnew(struct rs_conn);
    n->open++;
    b->net = n;
    list_push_back(&n->conns, &b->link);
    b->other = a;
    b->listener = found;
    a->other = b;
    a->ready_due = true;
    kick(b);
    kick(a);
    return 0;
}

static int64_t fake_read(rs_conn *c, void *buf, size_t len) {
    size_t n = c->in.len < len ? c->in.len : len;

    ASSERT(!c->closing);
    if (c->net->read_max && n > c->net->read_max)
        n = c->net->read_max;
    if (n == 0) {
        if (c->in_error)
            return RS_ECLOSED;
        if (c->in_eof)
            return 0;
        c->read_armed = true;
        return RS_EAGAIN;
    }
    memcpy(buf, c->in.data, n);
    buf_consume(&c->in, n);
    if (c->other && c->other->write_armed)
        kick(c->other);
    return (int64_t)n;
}

static int64_t fake_write(rs_conn *c, const struct iovec *iov, int n) {
    size_t cap = c->net->capacity ? c->net->capacity : 1 << 20, taken = 0, offered = 0;

    ASSERT(!c->closing && !c->shut);
    if (!c->other)
        return RS_ECLOSED;
    for (int i = 0; i < n; i++) {
        size_t room = cap > c->other->in.len ? cap - c->other->in.len : 0, part = iov[i].iov_len;

        offered += part;
        if (c->net->write_max && part > c->net->write_max - taken)
            part = c->net->write_max - taken;
        part = part < room ? part : room;
        buf_put(&c->other->in, iov[i].iov_base, part);
        taken += part;
    }
    if (taken < offered) {
        c->write_armed = true;
        kick(c);
    }
    if (taken == 0)
        return RS_EAGAIN;
    c->net->writes++;
    if (c->other->read_armed)
        kick(c->other);
    return (int64_t)taken;
}

static int fake_shutdown(rs_conn *c) {
    c->shut = true;
    if (c->other) {
        c->other->in_eof = true;
        kick(c->other);
    }
    return 0;
}

static int fake_peer_info(rs_conn *c, rs_peer *ret) {
    (void)snprintf(ret->address, sizeof ret->address, "fake");
    (void)snprintf(ret->alpn, sizeof ret->alpn, "%s", c->net->alpn ? c->net->alpn : "");
    return 0;
}

static void fake_close(rs_conn *c, int abort) {
    ASSERT(!c->closing);
    c->closing = true;
    c->closed_due = true;
    if (c->other) {
        if (abort)
            c->other->in_error = true;
        c->other->in_eof = true;
        kick(c->other);
        c->other->other = NULL;
        c->other = NULL;
    }
    kick(c);
}

static const rs_transport_ops fake_ops = {
    .struct_size = sizeof(rs_transport_ops),
    .schemes = "fake",
    .listen = fake_listen,
    .listener_uri = fake_uri,
    .listener_close = fake_listener_close,
    .attach = fake_attach,
    .connect = fake_connect,
    .read = fake_read,
    .write = fake_write,
    .shutdown = fake_shutdown,
    .peer = fake_peer_info,
    .close = fake_close,
};

const rs_transport_ops *fake_transport_ops(void) {
    return &fake_ops;
}

/* ---- the world ---- */

static uint64_t env_mono(void *arg) {
    return ((struct fake_net *)arg)->now_ns;
}
static uint64_t env_wall(void *arg) {
    return ((struct fake_net *)arg)->now_ns + 1700000000000000000u;
}
static void env_random(void *arg, void *buf, size_t len) {
    struct fake_net *n = arg;

    for (size_t i = 0; i < len; i++) {
        n->seed = n->seed * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)buf)[i] = (uint8_t)(n->seed >> 56);
    }
}

struct fake_net *fake_net_new(void) {
    struct fake_net *n = xnew(struct fake_net);
    struct loop_env env = {env_mono, env_wall, env_random, n};

    n->now_ns = 1000000000;
    list_init(&n->listeners);
    list_init(&n->conns);
    n->loop = loop_new_driven(&env);
    return n;
}

void fake_net_free(struct fake_net *n) {
    ASSERT(n->open == 0);
    while (!list_empty(&n->listeners))
        fake_listener_close(LIST_ENTRY(n->listeners.next, struct rs_listener, link));
    n->loop = loop_free(n->loop);
    free(n);
}

void fake_run(struct fake_net *n) {
    for (int i = 0; i < 10000000 && loop_turn(n->loop); i++)
        ;
}

void fake_advance(struct fake_net *n, uint64_t ns) {
    n->now_ns += ns;
    fake_run(n);
}

void fake_cut(struct fake_net *n, uint64_t which) {
    LIST_FOREACH (e, &n->conns) {
        struct rs_conn *c = LIST_ENTRY(e, struct rs_conn, link);

        if (which-- || !c->other)
            continue;
        c->in_error = c->other->in_error = true;
        buf_clear(&c->in);
        buf_clear(&c->other->in);
        kick(c);
        kick(c->other);
        c->other->other = NULL;
        c->other = NULL;
        return;
    }
}

/* ---- raw peers ---- */

static void peer_ready(void *arg, rs_conn *c) {
    ((struct fake_peer *)arg)->ready = true;
}

void fake_peer_read(struct fake_peer *p) {
    uint8_t tmp[4096];

    while (p->conn && !p->eof) {
        int64_t n = fake_read(p->conn, tmp, sizeof tmp);

        if (n == RS_EAGAIN)
            return;
        if (n <= 0)
            p->eof = true;
        else
            buf_put(&p->got, tmp, (size_t)n);
    }
}
static void peer_readable(void *arg, rs_conn *c) {
    struct fake_peer *p = arg;

    if (!p->stop_reading)
        fake_peer_read(p);
}
static void peer_writable(void *arg, rs_conn *c) {}
static void peer_closed(void *arg, rs_conn *c, int status, const rs_error *e) {
    struct fake_peer *p = arg;

    p->closed = true;
    p->conn = NULL;
}
static const rs_conn_events peer_events = {
    .struct_size = sizeof(rs_conn_events),
    .ready = peer_ready,
    .readable = peer_readable,
    .writable = peer_writable,
    .closed = peer_closed,
};

void fake_peer_dial(struct fake_peer *p, struct fake_net *n, const char *uri) {
    *p = (struct fake_peer){.net = n};
    (void)fake_connect(n, (rs_loop *)n->loop, uri, NULL, &peer_events, p, &p->conn, NULL);
    fake_run(n);
}

static void peer_accepted(void *arg, rs_conn *c) {
    struct rs_listener *l = arg;

    if (!l->peer)
        return;
    l->peer->net = l->net;
    l->peer->conn = c;
    (void)fake_attach(c, NULL, &peer_events, l->peer);
    l->peer = NULL;
}

void fake_peer_serve(struct fake_net *n, const char *uri, struct fake_peer *next) {
    struct rs_listener *l = NULL;

    LIST_FOREACH (e, &n->listeners)
        if (strcmp(LIST_ENTRY(e, struct rs_listener, link)->uri, uri) == 0)
            l = LIST_ENTRY(e, struct rs_listener, link);
    *next = (struct fake_peer){.net = n};
    if (!l) {
        (void)fake_listen(n, NULL, uri, NULL, peer_accepted, NULL, &l, NULL);
        l->arg = l;
    }
    l->peer = next;
}

void fake_peer_send(struct fake_peer *p, const void *data, size_t len) {
    const uint8_t *at = data;

    while (len && p->conn && p->conn->other) {
        struct iovec iov = {(void *)(uintptr_t)at, len};
        int64_t n = fake_write(p->conn, &iov, 1);

        fake_run(p->net);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    fake_run(p->net);
}

void fake_peer_send_str(struct fake_peer *p, const char *s) {
    fake_peer_send(p, s, strlen(s));
}

void fake_peer_end(struct fake_peer *p) {
    if (p->conn)
        (void)fake_shutdown(p->conn);
    fake_run(p->net);
}

void fake_peer_close(struct fake_peer *p, bool abort) {
    if (p->conn)
        fake_close(p->conn, abort);
    fake_run(p->net);
    buf_done(&p->got);
}
