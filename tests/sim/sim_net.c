/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_net.h"

#include <stdio.h>

#include "base/buf.h"

enum { CAPACITY = 1 << 18 }; /* bytes under way and unread, per direction */

struct rs_listener {
    struct list link;
    struct net_host *host;
    char *uri;
    void (*accepted)(void *arg, rs_conn *);
    void *arg;
};

enum seg_kind { SEG_DIAL, SEG_READY, SEG_REFUSED, SEG_DATA, SEG_END, SEG_RESET };
struct seg { /* on its way to a connection's end */
    struct list link;
    uint64_t due_ns;
    enum seg_kind kind;
    struct buf data;
};

struct rs_conn { /* one end */
    struct list link;
    struct net *net;
    struct net_host *host;
    unsigned peer;                /* host id of the other end */
    struct rs_conn *other;        /* NULL: gone, which this end may not know yet */
    struct rs_listener *listener; /* to be accepted by */
    const rs_conn_events *ev;
    void *arg;
    char *uri;           /* while dialling */
    uint64_t timeout_ns; /* of dialling; 0: connected */
    struct list segs;    /* on their way to here; a dial: from here */
    size_t segs_bytes;
    struct buf in;
    size_t swallowed; /* bytes sent to nobody */
    int status;       /* of closed() */
    bool posted, ready_due, end, reset, read_armed, write_armed, closing, failed, shut, broken;
};

/* ---- what arrives ---- */

static void deliver(void *arg);

static void kick(struct rs_conn *c) {
    if (!c->posted && c->host->loop) {
        c->posted = true;
        loop_post(c->host->loop, deliver, c);
    }
}

static void clear_segs(struct rs_conn *c) {
    while (!list_empty(&c->segs)) {
        struct seg *s = LIST_ENTRY(c->segs.next, struct seg, link);

        list_remove(&s->link);
        buf_done(&s->data);
        free(s);
    }
    c->segs_bytes = 0;
}

static void end_free(struct rs_conn *c) {
    if (c->other)
        c->other->other = NULL;
    clear_segs(c);
    list_remove(&c->link);
    buf_done(&c->in);
    free(c->uri);
    free(c);
}

static struct seg *send_seg(struct rs_conn *to, unsigned from, enum seg_kind kind) {
    struct net *n = to->net;
    struct seg *s = xnew(struct seg),
               *last = list_empty(&to->segs) ? NULL : LIST_ENTRY(to->segs.prev, struct seg, link);
    unsigned a = kind == SEG_DIAL ? to->host->id : from, b = kind == SEG_DIAL ? to->peer : to->host->id;

    s->kind = kind;
    s->due_ns = world_now(n->world) + 20000 + rng_below(&n->world->rng, 300000) + n->slow_ns[a][b];
    if (last && s->due_ns < last->due_ns)
        s->due_ns = last->due_ns;
    list_push_back(&to->segs, &s->link);
    return s;
}

static struct rs_conn *end_new(struct net_host *h, unsigned peer) {
    struct rs_conn *c = xnew(struct rs_conn);

    c->net = h->net;
    c->host = h;
    c->peer = peer;
    c->read_armed = true;
    list_init(&c->segs);
    list_push_back(&h->net->conns, &c->link);
    return c;
}

static struct rs_listener *find_listener(struct net *n, const char *uri) {
    LIST_FOREACH (e, &n->listeners)
        if (strcmp(LIST_ENTRY(e, struct rs_listener, link)->uri, uri) == 0)
            return LIST_ENTRY(e, struct rs_listener, link);
    return NULL;
}

static void on_dial(struct rs_conn *a) {
    struct rs_listener *l = find_listener(a->net, a->uri);
    struct rs_conn *b;

    if (!l) {
        if (!a->net->hosts[a->peer].dark)
            (void)send_seg(a, a->peer, SEG_REFUSED);
        return;
    }
    b = end_new(l->host, a->host->id);
    b->listener = l;
    b->other = a;
    a->other = b;
    kick(b);
    (void)send_seg(a, a->peer, SEG_READY);
}

static void arrive(struct rs_conn *c, struct seg *s) {
    switch (s->kind) {
    case SEG_DIAL:
        on_dial(c);
        break;
    case SEG_READY:
        c->timeout_ns = 0;
        c->ready_due = true;
        break;
    case SEG_REFUSED:
        c->failed = true;
        c->status = RS_ECLOSED;
        break;
    case SEG_DATA:
        c->segs_bytes -= s->data.len;
        if (!c->closing)
            buf_put(&c->in, s->data.data, s->data.len);
        break;
    case SEG_END:
        c->end = true;
        c->broken = !c->other; /* closed, not only its direction */
        break;
    case SEG_RESET:
        c->reset = true;
        buf_clear(&c->in);
        break;
    }
    if (s->kind != SEG_DIAL)
        kick(c);
    buf_done(&s->data);
    free(s);
}

/* The unaccepted end is taken, or dropped. */
static bool accept_now(struct rs_conn *c) {
    struct rs_listener *l = c->listener;

    c->listener = NULL;
    l->accepted(l->arg, c);
    if (c->ev) {
        c->ready_due = true;
        return true;
    }
    if (c->other)
        (void)send_seg(c->other, c->host->id, SEG_RESET);
    end_free(c);
    return false;
}

static void deliver(void *arg) {
    struct rs_conn *c = arg;

    c->posted = false;
    if (!c->ev && (!c->listener || !accept_now(c)))
        return;
    if (c->closing || c->failed) {
        if (c->ev)
            c->ev->closed(c->arg, c, c->status, NULL);
        end_free(c);
        return;
    }
    if (c->ready_due) {
        c->ready_due = false;
        c->ev->ready(c->arg, c);
    }
    if (!c->closing && c->read_armed && !c->timeout_ns && (c->in.len || c->end || c->reset)) {
        c->read_armed = false;
        c->ev->readable(c->arg, c);
    }
    if (!c->closing && c->write_armed && !c->timeout_ns &&
        (c->reset || c->broken || (c->other && c->other->in.len + c->other->segs_bytes < CAPACITY))) {
        c->write_armed = false;
        c->ev->writable(c->arg, c);
    }
    if (c->closing)
        kick(c);
}

/* When this end hears next: of its first segment, if the link is open, or that dialling took too long. */
static uint64_t next_of(const struct rs_conn *c) {
    uint64_t t = c->timeout_ns && !c->failed ? c->timeout_ns : UINT64_MAX;

    if (!list_empty(&c->segs)) {
        const struct seg *s = LIST_ENTRY(c->segs.next, struct seg, link);
        bool dial = s->kind == SEG_DIAL;

        if (!c->net->cut[dial ? c->host->id : c->peer][dial ? c->peer : c->host->id] && s->due_ns < t)
            t = s->due_ns;
    }
    return t;
}

static struct rs_conn *next_end(const struct net *n, uint64_t *ret) {
    struct rs_conn *best = NULL;

    *ret = UINT64_MAX;
    LIST_FOREACH (e, &n->conns) {
        struct rs_conn *c = LIST_ENTRY(e, struct rs_conn, link);
        uint64_t t = next_of(c);

        if (t < *ret) {
            *ret = t;
            best = c;
        }
    }
    return best;
}

uint64_t net_next_ns(const struct net *n) {
    uint64_t t;

    (void)next_end(n, &t);
    return t;
}

void net_step(struct net *n) {
    uint64_t t;
    struct rs_conn *c = next_end(n, &t);

    if (c->timeout_ns && t == c->timeout_ns) {
        c->failed = true;
        c->status = RS_ETIMEDOUT;
        kick(c);
    } else {
        struct seg *s = LIST_ENTRY(c->segs.next, struct seg, link);

        list_remove(&s->link);
        arrive(c, s);
    }
}

/* ---- the transport ---- */

static int net_listen(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts,
                      void (*accepted)(void *arg, rs_conn *), void *arg, rs_listener **ret, rs_error *err) {
    struct net_host *h = self;
    struct rs_listener *l = xnew(struct rs_listener);

    ASSERT(!find_listener(h->net, uri));
    *l = (struct rs_listener){.host = h, .uri = xstrdup(uri), .accepted = accepted, .arg = arg};
    list_push_back(&h->net->listeners, &l->link);
    *ret = l;
    return 0;
}

static int net_uri(rs_listener *l, char *buf, size_t len) {
    (void)snprintf(buf, len, "%s", l->uri);
    return 0;
}

static void net_listener_close(rs_listener *l) {
    LIST_FOREACH (e, &l->host->net->conns) { /* nobody takes those any more */
        struct rs_conn *c = LIST_ENTRY(e, struct rs_conn, link);

        if (c->listener != l)
            continue;
        c->listener = NULL;
        if (c->other) {
            (void)send_seg(c->other, c->host->id, SEG_RESET);
            c->other->other = NULL;
            c->other = NULL;
        }
    }
    list_remove(&l->link);
    free(l->uri);
    free(l);
}

static int net_attach(rs_conn *c, rs_loop *loop, const rs_conn_events *ev, void *arg) {
    c->ev = ev;
    c->arg = arg;
    return 0;
}

/* "tcp://n3:5122" is on host 3; every other name is the service, host 0. */
static unsigned host_of(const char *uri) {
    const char *name = strstr(uri, "://");

    return name && name[3] == 'n' && name[4] > '0' && name[4] < '0' + NET_HOSTS ? (unsigned)(name[4] - '0') : 0;
}

static int net_connect(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts, const rs_conn_events *ev,
                       void *arg, rs_conn **ret, rs_error *err) {
    struct net_host *h = self;
    struct rs_conn *c = end_new(h, host_of(uri));

    c->ev = ev;
    c->arg = arg;
    c->uri = xstrdup(uri);
    c->timeout_ns = world_now(h->net->world) +
                    (opts && opts->connect_timeout_ns ? opts->connect_timeout_ns : UINT64_C(10000000000));
    (void)send_seg(c, h->id, SEG_DIAL);
    *ret = c;
    return 0;
}

static int64_t net_read(rs_conn *c, void *buf, size_t len) {
    size_t n = MIN(c->in.len, len);

    if (c->closing || c->reset)
        return RS_ECLOSED;
    if (n == 0) {
        if (c->end)
            return 0;
        c->read_armed = true;
        return RS_EAGAIN;
    }
    if (n > 1 && rng_chance(&c->net->world->rng, 50))
        n = 1 + rng_below(&c->net->world->rng, n);
    memcpy(buf, c->in.data, n);
    buf_consume(&c->in, n);
    if (c->other && c->other->write_armed)
        kick(c->other);
    return (int64_t)n;
}

static int64_t net_write(rs_conn *c, const struct iovec *iov, int n) {
    size_t used = c->other ? c->other->in.len + c->other->segs_bytes : c->swallowed, taken = 0, offered = 0;
    struct buf data = {0};

    if (c->closing || c->reset || c->shut || c->broken)
        return RS_ECLOSED;
    if (c->timeout_ns) {
        c->write_armed = true;
        return RS_EAGAIN;
    }
    for (int i = 0; i < n; i++) {
        size_t room = used + taken < CAPACITY ? CAPACITY - used - taken : 0, part = MIN(iov[i].iov_len, room);

        offered += iov[i].iov_len;
        buf_put(&data, iov[i].iov_base, part);
        taken += part;
    }
    if (taken < offered)
        c->write_armed = true;
    if (taken && c->other) {
        struct seg *s = send_seg(c->other, c->host->id, SEG_DATA);

        s->data = data;
        c->other->segs_bytes += taken;
    } else {
        buf_done(&data);
        c->swallowed += taken;
    }
    return taken ? (int64_t)taken : RS_EAGAIN;
}

static int net_shutdown(rs_conn *c) {
    if (!c->shut && c->other)
        (void)send_seg(c->other, c->host->id, SEG_END);
    c->shut = true;
    return 0;
}

static int net_peer(rs_conn *c, rs_peer *ret) {
    (void)snprintf(ret->address, sizeof ret->address, "host %u", c->peer);
    ret->alpn[0] = '\0';
    return 0;
}

static void net_close(rs_conn *c, int abort) {
    if (c->closing)
        return;
    c->closing = true;
    if (c->other) {
        (void)send_seg(c->other, c->host->id, abort ? SEG_RESET : SEG_END);
        c->other->other = NULL;
        c->other = NULL;
    }
    kick(c);
}

static const rs_transport_ops net_ops = {
    .struct_size = sizeof(rs_transport_ops),
    .schemes = "tcp",
    .listen = net_listen,
    .listener_uri = net_uri,
    .listener_close = net_listener_close,
    .attach = net_attach,
    .connect = net_connect,
    .read = net_read,
    .write = net_write,
    .shutdown = net_shutdown,
    .peer = net_peer,
    .close = net_close,
};

struct http_transport net_transport(struct net_host *h) {
    return (struct http_transport){&net_ops, h};
}

/* ---- the world ---- */

void net_init(struct net *n, struct world *w) {
    n->world = w;
    list_init(&n->conns);
    list_init(&n->listeners);
    for (unsigned i = 0; i < NET_HOSTS; i++)
        n->hosts[i] = (struct net_host){.net = n, .id = i, .dark = true};
}

void net_boot(struct net_host *h, struct loop *loop) {
    h->loop = loop;
    h->dark = false;
    LIST_FOREACH (e, &h->net->conns) {
        struct rs_conn *c = LIST_ENTRY(e, struct rs_conn, link);

        if (c->peer == h->id && !c->other && !c->timeout_ns && !c->reset) /* of the one before */
            (void)send_seg(c, h->id, SEG_RESET);
    }
}

void net_crash(struct net_host *h, bool dark) {
    struct list *next;

    h->loop = NULL;
    h->dark = dark;
    for (struct list *e = h->net->listeners.next; e != &h->net->listeners; e = next) {
        struct rs_listener *l = LIST_ENTRY(e, struct rs_listener, link);

        next = e->next;
        if (l->host == h)
            net_listener_close(l);
    }
    for (struct list *e = h->net->conns.next; e != &h->net->conns; e = next) {
        struct rs_conn *c = LIST_ENTRY(e, struct rs_conn, link);

        next = e->next;
        if (c->host != h)
            continue;
        if (c->other && !dark)
            (void)send_seg(c->other, h->id, SEG_RESET);
        end_free(c);
    }
}

void net_reset_one(struct net *n) {
    uint64_t skip = rng_below(&n->world->rng, 64);

    LIST_FOREACH (e, &n->conns) {
        struct rs_conn *c = LIST_ENTRY(e, struct rs_conn, link);

        if (!c->other || c->timeout_ns || c->other->timeout_ns || skip--)
            continue;
        (void)send_seg(c, c->peer, SEG_RESET);
        (void)send_seg(c->other, c->other->peer, SEG_RESET);
        c->other->other = NULL;
        c->other = NULL;
        return;
    }
}

void net_heal(struct net *n) {
    memset(n->cut, 0, sizeof n->cut);
    memset(n->slow_ns, 0, sizeof n->slow_ns);
}
