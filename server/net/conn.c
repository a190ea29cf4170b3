/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: bytes to frames and back, one gathered write per turn, back pressure, silence. */
#include <stdlib.h>
#include "base/limits.h"
#include "net/fabric_internal.h"

/* ---- frames to send ---- */

struct out_frame *out_frame_new(enum frame_kind kind, const struct frame_head *h, struct slice head,
                                struct bytes *const *parts, size_t n_parts) {
    struct out_frame *o = xnew(struct out_frame);

    frame_encode(&o->head, kind, h, head, parts, n_parts);
    o->len = o->head.len;
    if (n_parts) {
        o->parts = xmalloc(n_parts * sizeof(struct bytes *));
        o->n_parts = n_parts;
        for (size_t i = 0; i < n_parts; i++) {
            o->parts[i] = bytes_ref(parts[i]);
            o->len += parts[i]->len;
        }
    }
    return o;
}

struct out_frame *out_frame_free(struct out_frame *o) {
    if (!o)
        return NULL;
    if (o->call)
        o->call->frame = NULL;
    for (size_t i = 0; i < o->n_parts; i++)
        (void)bytes_unref(o->parts[i]);
    free(o->parts);
    buf_done(&o->head);
    free(o);
    return NULL;
}

/* The unsent rest of @o as iovecs. */
static int frame_iov(const struct out_frame *o, struct iovec *iov, int max) {
    size_t skip = o->sent;
    int n = 0;

    for (size_t i = 0; i <= o->n_parts && n < max; i++) {
        struct slice s = i ? bytes_slice(o->parts[i - 1]) : slice_of(o->head.data, o->head.len);

        if (skip >= s.len) {
            skip -= s.len;
            continue;
        }
        iov[n].iov_base = (void *)(uintptr_t)(s.data + skip);
        iov[n++].iov_len = s.len - skip;
        skip = 0;
    }
    return n;
}

static void sent(struct conn *c, size_t n) {
    c->out_bytes -= n;
    while (n) {
        struct out_frame *o = LIST_ENTRY(c->out.next, struct out_frame, link);
        size_t k = MIN(n, o->len - o->sent);

        o->sent += k;
        n -= k;
        if (o->call) {
            o->call->conn = c;
            if (o->sent == o->len) {
                o->call->frame = NULL;
                o->call = NULL;
            }
        }
        if (o->sent == o->len) {
            list_remove(&o->link);
            c->frames_out++;
            (void)out_frame_free(o);
        }
    }
}

static void post_task(struct conn *c) {
    if (!c->posted && !c->dead) {
        c->posted = true;
        loop_post_task(c->fabric->p.loop, &c->task);
    }
}

static bool may_read(const struct conn *c) {
    return c->rs && !c->closing && c->ready && c->readable && !c->over && c->out_bytes < FABRIC_OUT_HIGH &&
           c->state != CONN_FOREIGN;
}

static void flush(void *arg) {
    struct conn *c = arg;
    struct iovec iov[FABRIC_IOV_MAX];

    while (c->rs && !c->closing && c->ready && !c->blocked && !list_empty(&c->out)) {
        size_t offered = 0;
        int64_t n;
        int parts = 0;

        LIST_FOREACH (e, &c->out) {
            if (parts == FABRIC_IOV_MAX)
                break;
            parts += frame_iov(LIST_ENTRY(e, struct out_frame, link), iov + parts, FABRIC_IOV_MAX - parts);
        }
        for (int i = 0; i < parts; i++)
            offered += iov[i].iov_len;
        n = c->t.ops->write(c->rs, iov, parts);
        if (n == RS_EAGAIN) {
            c->blocked = true;
        } else if (n < 0 || (size_t)n > offered) {
            conn_close(c, n < 0 ? (int)n : RS_EIO, "write failed");
        } else {
            sent(c, (size_t)n);
            c->blocked = (size_t)n < offered;
        }
    }
    if (may_read(c)) /* unsent answers had stopped the reading */
        post_task(c);
}

void conn_queue(struct conn *c, struct out_frame *take) {
    list_push_back(&c->out, &take->link);
    c->out_bytes += take->len - take->sent;
    loop_hook_arm(c->fabric->p.loop, &c->hook);
}

void conn_queue_raw(struct conn *c, enum frame_kind kind, struct slice body) {
    struct out_frame *o = xnew(struct out_frame);

    frame_encode_raw(&o->head, kind, body);
    o->len = o->head.len;
    conn_queue(c, o);
}

/* ---- frames that come in ---- */

static int take_frame(struct conn *c, struct err *err) {
    struct slice body = bytes_slice(c->body), payload;
    struct frame_head h;
    int r = frame_check(c->prefix, body, err);

    if (r < 0)
        return r;
    c->frames_in++;
    if (c->state != CONN_OPEN)
        return handshake_frame(c, c->kind, body, err);
    switch (c->kind) {
    case FRAME_CALL:
    case FRAME_REPLY:
    case FRAME_UNARY:
        r = frame_head(c->kind, body, &h, &payload, err);
        if (r < 0)
            return r;
        fabric_versions_seen(c, h.versions);
        if (c->kind == FRAME_REPLY)
            fabric_answer(c->fabric, h.id, &h, c->node, payload, c->body);
        else
            serve_frame(c, c->kind, &h, payload, c->body);
        return 0;
    case FRAME_PING:
        conn_queue_raw(c, FRAME_PONG, body);
        return 0;
    case FRAME_DRAIN:
        c->drained = true;
        return 0;
    case FRAME_HELLO:
    case FRAME_WELCOME:
    case FRAME_REJECT:
        return err_set(err, RS_ECORRUPT, "a second handshake");
    default: /* PONG, and what later versions may add */
        return 0;
    }
}

/* Offer @data to whoever else may be listening on this port. */
static void not_ours(struct conn *c, struct slice data) {
    struct fabric *f = c->fabric;
    const rs_conn_events *ev = NULL;
    void *arg = NULL;

    if (f->p.foreign && f->p.foreign(f->p.arg, &c->t, c->rs, data, &ev, &arg)) {
        c->state = CONN_FOREIGN;
        c->foreign = ev;
        c->foreign_arg = arg;
    } else {
        conn_close(c, RS_EINVAL, "not a fabric connection");
    }
}

/* The first bytes of an accepted connection. Returns how many of @data were used. */
static size_t take_magic(struct conn *c, const uint8_t *data, size_t len) {
    uint8_t *seen = c->prefix;
    size_t n = MIN(len, FRAME_MAGIC_BYTES - c->prefix_n);

    memcpy(seen + c->prefix_n, data, n);
    if (memcmp(seen, FRAME_MAGIC, c->prefix_n + n) != 0) {
        _cleanup_buf_ struct buf all = {0};

        buf_put(&all, seen, c->prefix_n);
        buf_put(&all, data, len);
        not_ours(c, slice_of(all.data, all.len));
        return len;
    }
    c->prefix_n += n;
    if (c->prefix_n == FRAME_MAGIC_BYTES) {
        c->prefix_n = 0;
        c->state = CONN_HELLO;
    }
    return n;
}

static int begin_body(struct conn *c, struct err *err) {
    size_t len, max = c->state == CONN_OPEN ? (size_t)FRAME_MAX : (size_t)FRAME_HANDSHAKE_MAX;
    int r = frame_prefix(c->prefix, max, &c->kind, &len, err);

    if (r == 0) {
        c->body = bytes_new(len);
        c->body_n = 0;
    }
    return r;
}

static int end_body(struct conn *c, struct err *err) {
    int r = take_frame(c, err);

    c->body = bytes_unref(c->body);
    c->prefix_n = 0;
    return r;
}

static void take_input(struct conn *c, const uint8_t *data, size_t len) {
    struct err err;
    int r = 0;

    while (r == 0 && len && c->rs && !c->closing && c->state != CONN_FOREIGN) {
        size_t n;

        if (c->state == CONN_MAGIC) {
            n = take_magic(c, data, len);
        } else if (!c->body) {
            n = MIN(len, FRAME_PREFIX_BYTES - c->prefix_n);
            memcpy(c->prefix + c->prefix_n, data, n);
            c->prefix_n += n;
            if (c->prefix_n == FRAME_PREFIX_BYTES)
                r = begin_body(c, &err);
        } else {
            n = MIN(len, c->body->len - c->body_n);
            memcpy(c->body->data + c->body_n, data, n);
            c->body_n += n;
        }
        data += n;
        len -= n;
        if (r == 0 && c->body && c->body_n == c->body->len)
            r = end_body(c, &err);
    }
    if (r < 0)
        conn_close(c, r, err.msg);
}

static void read_some(struct conn *c) {
    struct fabric *f = c->fabric;
    size_t total = 0;

    while (may_read(c)) {
        /* the rest of a large frame goes to its place, everything else through the shared buffer */
        size_t rest = c->body ? c->body->len - c->body_n : 0;
        bool direct = rest >= FABRIC_READ_BYTES;
        uint8_t *to = direct ? c->body->data + c->body_n : f->rbuf;
        size_t room = direct ? rest : FABRIC_READ_BYTES;
        int64_t n;

        if (total >= FABRIC_READ_TURN_BYTES) {
            post_task(c);
            return;
        }
        n = c->t.ops->read(c->rs, to, room);
        if (n == RS_EAGAIN) {
            c->readable = false;
            return;
        }
        if (n <= 0 || (size_t)n > room) {
            conn_close(c, n < 0 ? (int)n : RS_ECLOSED, n < 0 ? "read failed" : "the peer closed the connection");
            return;
        }
        total += (size_t)n;
        c->heard_ns = loop_now_ns(f->p.loop);
        if (direct) {
            struct err err;
            int r;

            c->body_n += (size_t)n;
            r = c->body_n == c->body->len ? end_body(c, &err) : 0;
            if (r < 0)
                conn_close(c, r, err.msg);
        } else {
            take_input(c, to, (size_t)n);
        }
    }
}

/* ---- events ---- */

static void conn_free(struct conn *c) {
    ASSERT(list_empty(&c->out));
    (void)bytes_unref(c->body);
    free(c);
}

static void run_task(void *arg) {
    struct conn *c = arg;

    c->posted = false;
    if (c->dead)
        conn_free(c);
    else if (c->fabric)
        read_some(c);
}

void conn_resume(struct conn *c) {
    c->over = NULL;
    if (may_read(c))
        post_task(c);
}

static void note_peer(struct conn *c) {
    rs_peer p = {.struct_size = sizeof p};

    if (c->t.ops->peer(c->rs, &p) == 0) {
        memcpy(c->address, p.address, sizeof c->address);
        memcpy(c->identity, p.identity, sizeof c->identity);
    }
}

static void on_ready(void *arg, rs_conn *rs) {
    struct conn *c = arg;

    (void)rs;
    if (!c->fabric || c->closing || c->ready)
        return;
    c->ready = true;
    c->opened_ns = c->heard_ns = loop_now_ns(c->fabric->p.loop);
    note_peer(c);
    if (c->state == CONN_DIALLING)
        conn_hello(c);
    read_some(c);
}

static void on_readable(void *arg, rs_conn *rs) {
    struct conn *c = arg;

    if (c->state == CONN_FOREIGN && !c->closing) {
        c->foreign->readable(c->foreign_arg, rs);
        return;
    }
    c->readable = true;
    if (c->fabric)
        read_some(c);
}

static void on_writable(void *arg, rs_conn *rs) {
    struct conn *c = arg;

    if (c->state == CONN_FOREIGN && !c->closing) {
        c->foreign->writable(c->foreign_arg, rs);
        return;
    }
    c->blocked = false;
    if (c->fabric)
        flush(c);
}

static void on_closed(void *arg, rs_conn *rs, int status, const rs_error *error) {
    struct conn *c = arg;

    if (c->state == CONN_FOREIGN)
        c->foreign->closed(c->foreign_arg, rs, status, error);
    if (!c->closing && status != 0)
        (void)err_from_abi(&c->err, status, error);
    else if (c->err.code == 0)
        (void)err_set(&c->err, RS_ECLOSED, "the connection was closed");
    c->rs = NULL;
    c->closing = c->dead = true;
    loop_hook_disarm(&c->hook);
    if (c->fabric) {
        list_remove(&c->link);
        serve_conn_closed(c);
        fabric_conn_closed(c, &c->err);
    }
    for (struct list *e; (e = list_pop_front(&c->out));)
        (void)out_frame_free(LIST_ENTRY(e, struct out_frame, link));
    if (!c->posted)
        conn_free(c);
}

static const rs_conn_events events = {
    .struct_size = sizeof(rs_conn_events),
    .ready = on_ready,
    .readable = on_readable,
    .writable = on_writable,
    .closed = on_closed,
};

const rs_conn_events *conn_events(void) {
    return &events;
}

struct conn *conn_new(struct fabric *f, struct fabric_transport t, enum conn_state state) {
    struct conn *c = xnew(struct conn);

    c->fabric = f;
    c->t = t;
    c->state = state;
    c->readable = true;
    c->opened_ns = c->heard_ns = loop_now_ns(f->p.loop);
    list_init(&c->out);
    list_init(&c->requests);
    loop_hook_init(&c->hook, flush, c);
    c->task = (struct loop_task){.fn = run_task, .arg = c};
    list_push_back(&f->conns, &c->link);
    return c;
}

void conn_accepted(void *arg, rs_conn *rs) {
    struct listener *l = arg;
    struct fabric *f = l->fabric;
    struct conn *c;

    if (f->draining)
        return; /* not attached: closed */
    c = conn_new(f, l->t, CONN_MAGIC);
    c->rs = rs;
    if (l->t.ops->attach(rs, (rs_loop *)f->p.loop, conn_events(), c) < 0) {
        list_remove(&c->link);
        conn_free(c);
    }
}

void conn_close(struct conn *c, int code, const char *message) {
    if (!c->rs || c->closing)
        return;
    c->closing = true;
    if (code < 0 && c->err.code == 0)
        (void)err_set(&c->err, code, "%s", message);
    loop_hook_disarm(&c->hook);
    c->t.ops->close(c->rs, code < 0 && code != RS_EPERM);
}

void conn_tick(struct conn *c, uint64_t now) {
    const struct fabric_params *p = &c->fabric->p;
    uint64_t silent = now - c->heard_ns;

    if (!c->rs || c->closing || c->state == CONN_FOREIGN)
        return;
    if (c->state != CONN_OPEN) {
        if (now - c->opened_ns > p->handshake_timeout_ns + p->connect_timeout_ns)
            conn_close(c, RS_ETIMEDOUT, "no handshake in time");
    } else if (silent > p->ping_interval_ns + p->ping_timeout_ns && !c->over) {
        conn_close(c, RS_ETIMEDOUT, "the peer is silent");
    } else if ((silent >= p->ping_interval_ns || c->body) && now - c->pinged_ns >= p->ping_interval_ns) {
        uint8_t t[8];

        put_u64le(t, now);
        c->pinged_ns = now;
        conn_queue_raw(c, FRAME_PING, slice_of(t, sizeof t));
    }
}
