/* SPDX-License-Identifier: Apache-2.0 */
/* http/server.c : listeners, connections and their end; receiving of bodies; the part of the server that does not
 * depend on the version of HTTP. */
#include "http/server_internal.h"

#include <stdio.h>
#include <time.h>

#include "base/limits.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE_LEN = 24 };

/* ---- requests ---- */

struct server_req *server_req_new(struct server_conn *c, size_t n_headers, size_t text) {
    size_t fields = n_headers * sizeof(struct http_header);
    struct server_req *r = xcalloc(1, sizeof *r + fields + text + c->peer_len + 1);
    char *peer = (char *)r->mem + fields + text;

    r->s = c->s;
    r->conn = c;
    memcpy(peer, c->peer, c->peer_len + 1);
    r->pub.peer = peer;
    r->pub.scheme = c->https ? SLICE_LIT("https") : SLICE_LIT("http");
    r->pub.headers = (struct http_header *)(void *)r->mem;
    list_push_back(&c->reqs, &r->link);
    return r;
}

static void body_drop(struct server_req *r) {
    r->s->buffered -= r->body_len;
    r->body_len = 0;
    r->body = bytes_unref(r->body);
    buf_done(&r->body_buf);
}

void server_req_free(struct server_req *r) {
    if (r->conn && r->high)
        r->conn->n_high--;
    list_remove(&r->link);
    body_drop(r);
    (void)bytes_unref(r->pub.body);
    http_out_done(&r->out, &r->s->io);
    free(r);
}

void server_req_lost(struct server_req *r) {
    if (!r->handed || r->answered) {
        server_req_free(r);
        return;
    }
    if (r->high)
        r->conn->n_high--;
    r->high = false;
    list_remove(&r->link);
    r->conn = NULL;
    http_out_done(&r->out, &r->s->io);
    if (r->pub.closed)
        r->pub.closed(&r->pub);
}

int server_body_begin(struct server_req *r) {
    if (r->has_length && r->length > r->s->p.max_body_bytes)
        return RS_ETOOBIG;
    if (r->has_length && r->length && r->length <= SERVER_BODY_AT_ONCE)
        r->body = bytes_new((size_t)r->length);
    return 0;
}

int server_body_add(struct server_req *r, const uint8_t *data, size_t len) {
    struct http_server *s = r->s;

    if (len > s->p.max_body_bytes - r->body_len)
        return RS_ETOOBIG;
    if (len > s->p.max_buffered_bytes - MIN(s->buffered, s->p.max_buffered_bytes))
        return RS_EAGAIN;
    if (r->body) {
        if (len > r->body->len - r->body_len)
            return RS_EINVAL;
        memcpy(r->body->data + r->body_len, data, len);
    } else {
        buf_put(&r->body_buf, data, len);
    }
    r->body_len += len;
    s->buffered += len;
    return 0;
}

void server_hand_over(struct server_req *r) {
    struct http_server *s = r->s;

    s->buffered -= r->body_len;
    if (r->body)
        r->pub.body = TAKE(r->body);
    else if (r->body_len)
        r->pub.body = bytes_take_buf(&r->body_buf);
    r->body_len = 0;
    if (s->p.max_in_flight && s->stats.in_flight >= s->p.max_in_flight) {
        server_reject(r, RS_EAGAIN);
        return;
    }
    s->stats.in_flight++;
    s->stats.requests_total++;
    r->handed = true;
    server_deadline(r->conn, UINT64_MAX);
    s->on_request(s->arg, &r->pub);
}

void server_reject(struct server_req *r, int code) {
    body_drop(r);
    r->rejected = true;
    if (code == RS_ETOOBIG)
        server_canned(r, &r->s->p.too_big, 413);
    else if (code == RS_EAGAIN)
        server_canned(r, &r->s->p.overloaded, 503);
    else
        server_canned(r, &r->s->p.bad_request, 400);
}

void server_split_target(struct http_request *q, struct slice target) {
    const uint8_t *mark = target.len ? memchr(target.data, '?', target.len) : NULL;

    q->path = mark ? slice_of(target.data, (size_t)(mark - target.data)) : target;
    q->query = mark ? slice_from(target, q->path.len + 1) : SLICE_NULL;
}

const char *server_date(struct http_server *s) {
    uint64_t now = loop_wall_ns(s->loop) / SEC_NS;
    time_t t = (time_t)now;
    struct tm tm;

    if (now != s->date_sec || !s->date[0]) {
        s->date_sec = now;
        (void)gmtime_r(&t, &tm);
        (void)strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
    return s->date;
}

/* ---- connections ---- */

static void timer_due(void *arg) {
    struct server_conn *c = arg;
    uint64_t now = loop_now_ns(c->s->loop);

    if (c->deadline_ns == UINT64_MAX)
        return;
    if (now < c->deadline_ns) {
        timer_set_at(c->s->loop, &c->timer, c->deadline_ns);
        return;
    }
    c->deadline_ns = UINT64_MAX;
    if (c->proto == PROTO_H2 && c->h2 && h2_server_linger_due(c))
        return;
    if (c->proto == PROTO_H2 && list_empty(&c->reqs))
        h2_server_goaway(c);
    else
        http_conn_close(&c->io, 0, "");
}

void server_deadline(struct server_conn *c, uint64_t delay_ns) {
    if (c->n_lingering)
        delay_ns = MIN(delay_ns, SERVER_LINGER_NS);
    c->deadline_ns = delay_ns == UINT64_MAX ? UINT64_MAX : loop_now_ns(c->s->loop) + delay_ns;
    if (delay_ns != UINT64_MAX && (!timer_armed(&c->timer) || c->timer.due_ns > c->deadline_ns))
        timer_set_at(c->s->loop, &c->timer, c->deadline_ns);
}

static struct server_conn *conn_of(struct http_conn *io) {
    return CONTAINER_OF(io, struct server_conn, io);
}

static void enlist(struct server_conn *c) {
    if (c->listed)
        return;
    c->listed = true;
    list_push_back(&c->s->conns, &c->link);
    c->s->stats.connections++;
    c->s->stats.connections_total++;
    (void)__atomic_sub_fetch(&c->s->incoming, 1, __ATOMIC_ACQ_REL);
}

static void conn_ready(struct http_conn *io) {
    struct server_conn *c = conn_of(io);
    rs_peer peer = {.struct_size = sizeof peer};

    enlist(c);
    if (io->ops->peer(io->rs, &peer) < 0)
        peer.address[0] = peer.alpn[0] = peer.security[0] = 0;
    peer.address[sizeof peer.address - 1] = 0;
    c->peer_len = strlen(peer.address);
    memcpy(c->peer, peer.address, c->peer_len + 1);
    c->https = peer.security[0] != 0;
    server_deadline(c, c->s->p.receive_timeout_ns);
    if (c->s->draining || (c->s->p.max_connections && c->s->stats.connections > c->s->p.max_connections)) {
        http_conn_close(io, 0, "");
        return;
    }
    if (strcmp(peer.alpn, "h2") == 0)
        (void)h2_server_start(c);
    else if (strcmp(peer.alpn, "http/1.1") == 0)
        c->proto = PROTO_H1;
}

static void sniff(struct server_conn *c, const uint8_t *data, size_t len) {
    size_t had = c->head.len, n = MIN(len, PREFACE_LEN - had);
    struct buf got = {0};

    if (memcmp(data, preface + had, n) == 0) {
        buf_put(&c->head, data, n);
        if (c->head.len < PREFACE_LEN)
            return;
        buf_done(&c->head);
        if (h2_server_start(c) < 0)
            return;
        h2_server_input(c, (const uint8_t *)preface, PREFACE_LEN);
        if (len > n && http_conn_open(&c->io))
            h2_server_input(c, data + n, len - n);
        return;
    }
    c->proto = PROTO_H1;
    if (had == 0) {
        h1_server_input(c, data, len);
        return;
    }
    got = c->head;
    c->head = (struct buf){0};
    h1_server_input(c, got.data, got.len);
    buf_done(&got);
    if (http_conn_open(&c->io))
        h1_server_input(c, data, len);
}

static void conn_input(struct http_conn *io, const uint8_t *data, size_t len) {
    struct server_conn *c = conn_of(io);

    switch (c->proto) {
    case PROTO_SNIFF:
        sniff(c, data, len);
        break;
    case PROTO_H1:
        h1_server_input(c, data, len);
        break;
    default:
        h2_server_input(c, data, len);
        break;
    }
}

static void conn_eof(struct http_conn *io) {
    struct server_conn *c = conn_of(io);

    if (list_empty(&c->reqs) && io->out.len && !io->shut) {
        c->close_after = true; /* the last answer is still on its way */
        return;
    }
    http_conn_close(io, 0, "");
}

static void conn_resumed(struct http_conn *io) {
    struct server_conn *c = conn_of(io);

    if (c->proto == PROTO_H1)
        h1_server_resumed(c);
}

static void conn_produce(struct http_conn *io) {
    struct server_conn *c = conn_of(io);

    if (c->proto == PROTO_H1)
        h1_server_produce(c);
    else if (c->h2)
        h2_server_produce(c);
}

/* The callback may end this or any other request, so the search begins anew after each. */
void server_writable(struct server_conn *c) {
    for (bool again = c->n_high > 0; again;) {
        again = false;
        LIST_FOREACH (e, &c->reqs) {
            struct server_req *r = LIST_ENTRY(e, struct server_req, link);

            if (!r->high || r->out.len > HTTP_QUEUE_LOW)
                continue;
            r->high = false;
            c->n_high--;
            if (r->events.writable)
                r->events.writable(r->events.arg, &r->pub);
            again = c->n_high > 0;
            break;
        }
    }
}

static void conn_flushed(struct http_conn *io) {
    struct server_conn *c = conn_of(io);

    server_writable(c);
    if (c->proto == PROTO_H2)
        h2_server_flushed(c);
    else
        h1_server_flushed(c);
}

static void drain_check(void *arg) {
    struct http_server *s = arg;

    s->check_posted = false;
    if (!s->draining || s->drained || !list_empty(&s->conns) || __atomic_load_n(&s->incoming, __ATOMIC_ACQUIRE))
        return;
    s->drained = true;
    timer_stop(s->loop, &s->drain_timer);
    if (s->drain_done)
        s->drain_done(s->drain_arg);
}

static void drain_check_later(struct http_server *s) {
    if (s->draining && !s->check_posted) {
        s->check_posted = true;
        loop_post(s->loop, drain_check, s);
    }
}

static void conn_closed(struct http_conn *io, const struct err *why) {
    struct server_conn *c = conn_of(io);

    enlist(c); /* a connection that never got ready is counted like the others */
    timer_stop(c->s->loop, &c->timer);
    while (!list_empty(&c->reqs))
        server_req_lost(LIST_ENTRY(c->reqs.next, struct server_req, link));
    if (c->h2)
        nghttp2_session_del(TAKE(c->h2));
    buf_done(&c->head);
}

static void conn_free(struct http_conn *io) {
    struct server_conn *c = conn_of(io);
    struct http_server *s = c->s;

    list_remove(&c->link);
    s->stats.connections--;
    free(c);
    drain_check_later(s);
}

static const struct http_conn_ops conn_ops = {
    .ready = conn_ready,
    .input = conn_input,
    .eof = conn_eof,
    .resumed = conn_resumed,
    .produce = conn_produce,
    .flushed = conn_flushed,
    .closed = conn_closed,
    .free = conn_free,
};

static void accepted(void *arg, rs_conn *rs) {
    struct listener *l = arg;
    struct http_server *s = l->s->pick ? l->s->pick(l->s->pick_arg) : l->s;
    struct server_conn *c;

    if (l->s->draining)
        return;
    c = xnew(struct server_conn);
    c->s = s;
    list_init(&c->reqs);
    c->deadline_ns = UINT64_MAX;
    timer_init(&c->timer, timer_due, c);
    http_conn_init(&c->io, &s->io, l->ops, &conn_ops);
    c->io.rs = rs;
    (void)__atomic_add_fetch(&s->incoming, 1, __ATOMIC_ACQ_REL);
    if (l->ops->attach(rs, (rs_loop *)s->loop, http_conn_events(), &c->io) < 0) {
        (void)__atomic_sub_fetch(&s->incoming, 1, __ATOMIC_ACQ_REL);
        free(c);
    }
}

/* ---- the server ---- */

struct http_server *http_server_new(struct loop *loop, const struct http_server_params *params, http_on_request fn,
                                    void *arg) {
    struct http_server *s = xnew(struct http_server);
    struct http_server_params *p = &s->p;

    if (params)
        *p = *params;
    p->max_head_bytes = p->max_head_bytes ? p->max_head_bytes : LIMIT_HTTP_HEAD_BYTES;
    p->max_body_bytes = p->max_body_bytes ? p->max_body_bytes : LIMIT_MESSAGE_BYTES;
    p->max_buffered_bytes = p->max_buffered_bytes ? p->max_buffered_bytes : 8 * p->max_body_bytes;
    p->h2_max_streams = p->h2_max_streams ? p->h2_max_streams : 200;
    p->idle_timeout_ns = p->idle_timeout_ns ? p->idle_timeout_ns : 75 * SEC_NS;
    p->receive_timeout_ns = p->receive_timeout_ns ? p->receive_timeout_ns : 30 * SEC_NS;
    s->loop = loop;
    s->io.loop = loop;
    s->on_request = fn;
    s->arg = arg;
    list_init(&s->conns);
    s->h2_callbacks = h2_server_callbacks();
    return s;
}

int http_server_listen(struct http_server *s, struct http_transport t, const char *uri, const rs_conn_opts *opts,
                       struct err *err) {
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    rs_conn_opts o = {.struct_size = sizeof o};
    rs_error e = {.struct_size = sizeof e};
    struct listener *l = xnew(struct listener);
    int r;

    if (opts)
        o = *opts;
    if (!o.alpn)
        o.alpn = alpn;
    l->s = s;
    l->ops = t.ops;
    r = t.ops->listen(t.self, (rs_loop *)s->loop, uri, &o, accepted, l, &l->rs, &e);
    if (r < 0) {
        free(l);
        return err_wrap(err, err_from_abi(err, r, &e), "cannot listen on %s", uri);
    }
    s->listeners = xrealloc(s->listeners, (s->n_listeners + 1) * sizeof(struct listener *));
    s->listeners[s->n_listeners] = l;
    return (int)s->n_listeners++;
}

int http_server_uri(const struct http_server *s, int i, char *buf, size_t len) {
    if (i < 0 || (size_t)i >= s->n_listeners || !s->listeners[i]->rs)
        return RS_ENOENT;
    return s->listeners[i]->ops->listener_uri(s->listeners[i]->rs, buf, len);
}

void http_server_set_pick(struct http_server *s, struct http_server *(*pick)(void *arg), void *arg) {
    s->pick = pick;
    s->pick_arg = arg;
}

static void drain_cut(void *arg) {
    struct http_server *s = arg;

    LIST_FOREACH_SAFE (e, &s->conns)
        http_conn_close(&LIST_ENTRY(e, struct server_conn, link)->io, RS_ECANCELED, "the server is stopping");
}

void http_server_drain(struct http_server *s, uint64_t timeout_ns, void (*done)(void *arg), void *arg) {
    ASSERT(!s->draining);
    s->draining = true;
    s->drain_done = done;
    s->drain_arg = arg;
    for (size_t i = 0; i < s->n_listeners; i++)
        if (s->listeners[i]->rs)
            s->listeners[i]->ops->listener_close(TAKE(s->listeners[i]->rs));
    LIST_FOREACH_SAFE (e, &s->conns) {
        struct server_conn *c = LIST_ENTRY(e, struct server_conn, link);

        if (c->proto == PROTO_H2)
            h2_server_goaway(c);
        else if (list_empty(&c->reqs) && c->io.out.len == 0)
            http_conn_close(&c->io, 0, "");
    }
    timer_init(&s->drain_timer, drain_cut, s);
    timer_set(s->loop, &s->drain_timer, timeout_ns);
    drain_check_later(s);
}

struct http_server *http_server_free(struct http_server *s) {
    if (!s)
        return NULL;
    ASSERT(list_empty(&s->conns));
    ASSERT(s->stats.in_flight == 0);
    ASSERT(s->drained || s->n_listeners == 0);
    for (size_t i = 0; i < s->n_listeners; i++)
        free(s->listeners[i]);
    free(s->listeners);
    nghttp2_session_callbacks_del(s->h2_callbacks);
    http_io_done(&s->io);
    free(s);
    return NULL;
}

void http_server_stats(const struct http_server *s, struct http_server_stats *ret) {
    *ret = s->stats;
    ret->bytes_in = s->io.bytes_in;
    ret->bytes_out = s->io.bytes_out;
}
