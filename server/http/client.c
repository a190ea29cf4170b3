/* SPDX-License-Identifier: Apache-2.0 */
/* http/client.c : pools, connections and streams of the client, as far as they do not depend on the version of HTTP. */
#include "http/client_internal.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"

static void pool_assign(struct pool *p);

static struct client_conn *conn_of(struct http_conn *io) {
    return CONTAINER_OF(io, struct client_conn, io);
}

/* ---- streams ---- */

static void stream_detach(struct http_stream *s) {
    struct client_conn *c = s->conn;

    list_remove(&s->link);
    if (c) {
        c->n_streams--;
        if (s->high)
            c->n_high--;
        s->conn = NULL;
        client_conn_update(c);
    } else if (s->pool) {
        s->pool->n_waiting--;
        s->c->stats.waiting--;
    }
    s->pool = NULL;
}

static void stream_free(struct http_stream *s) {
    s->c->stats.streams--;
    http_out_done(&s->out, &s->c->io);
    free(s->saved);
    free(s);
}

void client_stream_release(struct http_stream *s) {
    stream_detach(s);
    stream_free(s);
}

void client_stream_close(struct http_stream *s, int status, unsigned flags, uint32_t h2_error, const char *text) {
    char msg[320] = "";
    struct http_closed why = {status, flags, h2_error, msg};

    if (text && s->pool)
        (void)snprintf(msg, sizeof msg, "%.*s at %.100s: %.180s", (int)MIN(s->pool->authority.len, (size_t)60),
                       (const char *)s->pool->authority.data, s->pool->uri, text);
    stream_detach(s);
    if (s->ev.closed)
        s->ev.closed(s->arg, s, &why);
    stream_free(s);
}

void client_stream_attach(struct client_conn *c, struct http_stream *s) {
    list_push_back(&c->streams, &s->link);
    s->conn = c;
    c->n_streams++;
    if (!s->high && s->out.len > s->c->p.queue_high_bytes)
        s->high = true;
    if (s->high)
        c->n_high++;
    client_conn_update(c);
}

/* The callback may reset this or any other stream, so the search begins anew after each. */
void client_writable(struct client_conn *c) {
    for (bool again = c->n_high > 0; again;) {
        again = false;
        LIST_FOREACH (e, &c->streams) {
            struct http_stream *s = LIST_ENTRY(e, struct http_stream, link);

            if (!s->high || s->out.len > s->c->p.queue_low_bytes)
                continue;
            s->high = false;
            c->n_high--;
            if (s->ev.writable)
                s->ev.writable(s->arg, s);
            again = c->n_high > 0;
            break;
        }
    }
}

static size_t queued(struct http_stream *s) {
    if (!s->high && s->out.len > s->c->p.queue_high_bytes) {
        s->high = true;
        if (s->conn)
            s->conn->n_high++;
    }
    if (s->conn && s->conn->h2) {
        if (UNLIKELY(s->out.len > HTTP_QUEUE_MAX))
            (void)nghttp2_submit_rst_stream(s->conn->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        (void)nghttp2_session_resume_data(s->conn->h2, s->id); /* not deferred: nothing to do */
    } else if (s->conn && UNLIKELY(s->out.len > HTTP_QUEUE_MAX)) {
        http_conn_close(&s->conn->io, RS_ENOMEM, "too much was queued for the peer");
    }
    if (s->conn)
        http_conn_arm(&s->conn->io);
    return s->out.len;
}

size_t http_stream_write(struct http_stream *s, struct bytes *take) {
    ASSERT(!s->ended && !s->no_body);
    http_out_ref(&s->out, &s->c->io, take);
    return queued(s);
}

size_t http_stream_write_copy(struct http_stream *s, struct slice data) {
    ASSERT(!s->ended && !s->no_body);
    http_out_put_slice(&s->out, &s->c->io, data);
    return queued(s);
}

size_t http_stream_queued(const struct http_stream *s) {
    return s->out.len;
}

void http_stream_end(struct http_stream *s) {
    ASSERT(!s->no_body);
    if (s->ended)
        return;
    s->ended = true;
    (void)queued(s);
}

void http_stream_consume(struct http_stream *s, size_t n) {
    struct client_conn *c = s->conn;

    ASSERT(n <= s->unconsumed);
    s->unconsumed -= n;
    if (!c || n == 0)
        return;
    if (c->h2) {
        (void)nghttp2_session_consume(c->h2, s->id, n); /* fails only for lack of memory: then the peer stalls */
        http_conn_arm(&c->io);
    } else if (c->io.paused && s->unconsumed <= s->c->p.window_bytes / 2) {
        http_conn_resume(&c->io);
    }
}

void http_stream_reset(struct http_stream *s) {
    struct client_conn *c = s->conn;

    if (c && c->h2)
        h2_client_reset(s, NGHTTP2_CANCEL);
    else if (c)
        http_conn_close(&c->io, RS_ECANCELED, "cancelled");
    client_stream_release(s);
}

void *http_stream_arg(const struct http_stream *s) {
    return s->arg;
}

/* ---- connections ---- */

static bool takes_another(const struct client_conn *c) {
    return http_conn_open(&c->io) && c->io.ready && c->proto != CLIENT_UNKNOWN && !c->draining &&
           c->n_streams < c->limit;
}

void client_conn_update(struct client_conn *c) {
    bool usable = takes_another(c);

    if (usable != c->usable) {
        c->usable = usable;
        list_remove(&c->link);
        if (usable)
            list_push_front(&c->pool->conns, &c->link);
        else
            list_push_back(&c->pool->conns, &c->link);
    }
    if (usable && c->pool->n_waiting)
        http_conn_post(&c->io); /* resumed() hands the waiting out */
    if (!c->io.ready || !http_conn_open(&c->io))
        return;
    if (c->n_streams)
        timer_stop(c->c->loop, &c->timer);
    else if (c->draining)
        http_conn_arm(&c->io); /* flushed() closes it */
    else if (!timer_armed(&c->timer))
        timer_set(c->c->loop, &c->timer, c->c->p.idle_timeout_ns);
}

static void pool_free_if_unused(struct pool *p) {
    if (p->n_conns || p->n_waiting || p->pins)
        return;
    map_remove(&p->c->pools, &p->node);
    free(p->uri);
    free(p->server_name);
    free(p->key);
    free(p);
}

static void conn_timer(void *arg) {
    struct client_conn *c = arg;

    if (c->connecting)
        http_conn_close(&c->io, RS_ETIMEDOUT, "connecting took too long");
    else if (c->n_streams == 0)
        http_conn_close(&c->io, 0, "");
}

static void ping_next(struct client_conn *c) {
    uint64_t interval = c->c->p.ping_interval_ns;

    timer_set(c->c->loop, &c->ping, interval + loop_random_u64(c->c->loop) % (interval / 5 + 1));
}

static void ping_timer(void *arg) {
    struct client_conn *c = arg;

    if (!http_conn_open(&c->io) || !c->h2)
        return;
    if (c->ping_out) {
        http_conn_close(&c->io, RS_ETIMEDOUT, "no answer to a ping");
        return;
    }
    if (c->n_streams == 0) {
        ping_next(c);
        return;
    }
    if (nghttp2_submit_ping(c->h2, NGHTTP2_FLAG_NONE, NULL) == 0)
        c->ping_out = true;
    timer_set(c->c->loop, &c->ping, c->c->p.ping_timeout_ns);
    http_conn_arm(&c->io);
}

static void connected(struct client_conn *c) {
    if (!c->connecting)
        return;
    c->connecting = false;
    c->pool->n_connecting--;
}

static void conn_ready(struct http_conn *io) {
    struct client_conn *c = conn_of(io);
    rs_peer peer = {.struct_size = sizeof peer};
    bool h2;

    connected(c);
    timer_stop(c->c->loop, &c->timer);
    if (io->ops->peer(io->rs, &peer) < 0)
        peer.alpn[0] = 0;
    h2 = c->pool->version == HTTP_VERSION_2 || (c->pool->version == HTTP_VERSION_ALPN && strcmp(peer.alpn, "h2") == 0);
    if (h2 && strcmp(peer.alpn, "http/1.1") == 0) {
        c->not_h2 = true;
        http_conn_close(io, RS_EINVAL, "the peer offers HTTP/1.1 only");
        return;
    }
    if (h2) {
        if (h2_client_start(c) < 0)
            return;
        ping_next(c);
    } else {
        c->proto = CLIENT_H1;
        c->h1_state = RESP_DONE;
        c->limit = 1;
    }
    client_conn_update(c);
    pool_assign(c->pool);
}

static void conn_input(struct http_conn *io, const uint8_t *data, size_t len) {
    struct client_conn *c = conn_of(io);

    if (c->proto == CLIENT_H2)
        h2_client_input(c, data, len);
    else
        h1_client_input(c, data, len);
}

static void conn_eof(struct http_conn *io) {
    struct client_conn *c = conn_of(io);

    if (c->proto == CLIENT_H1)
        h1_client_eof(c);
    http_conn_close(io, c->n_streams ? RS_ECLOSED : 0, "the peer closed the connection");
}

static void conn_resumed(struct http_conn *io) {
    struct client_conn *c = conn_of(io);

    if (c->pool->n_waiting)
        pool_assign(c->pool);
}

static void conn_produce(struct http_conn *io) {
    struct client_conn *c = conn_of(io);

    if (c->h2)
        h2_client_produce(c);
    else
        h1_client_produce(c);
}

static void conn_flushed(struct http_conn *io) {
    struct client_conn *c = conn_of(io);

    client_writable(c);
    if (!http_conn_open(io) || io->out.len || !io->ready)
        return;
    if (c->h2 && !nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2)) {
        c->protocol_error = c->n_streams > 0;
        http_conn_close(io, c->n_streams ? RS_EINVAL : 0, "HTTP/2 protocol error");
    } else if (c->draining && c->n_streams == 0) {
        http_conn_close(io, 0, "");
    }
}

/* Streams are moved aside first: the application may start new ones in closed(). */
static void fail_streams(struct list *doomed, const struct client_conn *c, const struct err *why, unsigned flags) {
    const char *text = why->code ? why->msg : "the connection was closed";

    while (!list_empty(doomed)) {
        struct http_stream *s = LIST_ENTRY(doomed->next, struct http_stream, link);
        unsigned more = s->conn ? 0 : HTTP_CLOSED_UNPROCESSED;

        client_stream_close(s, why->code ? why->code : RS_ECLOSED, flags | more, c->goaway_code, text);
    }
}

static void conn_closed(struct http_conn *io, const struct err *why) {
    struct client_conn *c = conn_of(io);
    struct pool *p = c->pool;
    struct list doomed;
    unsigned flags =
        (c->not_h2 ? HTTP_CLOSED_NOT_H2 | HTTP_CLOSED_UNPROCESSED : 0) | (c->protocol_error ? HTTP_CLOSED_PROTOCOL : 0);

    timer_stop(c->c->loop, &c->timer);
    timer_stop(c->c->loop, &c->ping);
    list_init(&doomed);
    if (c->connecting || c->not_h2) {
        /* nobody else will come for those this connection was made for */
        unsigned n = MIN(p->n_waiting, c->limit);

        if (c->connecting)
            flags |= HTTP_CLOSED_CONNECT;
        while (n--)
            list_push_back(&doomed, list_pop_front(&p->waiting));
    }
    connected(c);
    list_splice(&doomed, &c->streams);
    if (c->h2)
        nghttp2_session_del(TAKE(c->h2));
    buf_done(&c->head);
    fail_streams(&doomed, c, why, flags);
}

static void client_done(struct http_client *c);

static void conn_free(struct http_conn *io) {
    struct client_conn *cc = conn_of(io);
    struct http_client *c = cc->c;
    struct pool *p = cc->pool;

    list_remove(&cc->link);
    p->n_conns--;
    c->stats.connections--;
    free(cc);
    if (p->n_waiting)
        pool_assign(p);
    pool_free_if_unused(p);
    client_done(c);
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

static int conn_open(struct pool *p, struct err *err) {
    static const char *const alpn_h2[] = {"h2", NULL}, *const alpn_h1[] = {"http/1.1", NULL},
                             *const alpn_both[] = {"h2", "http/1.1", NULL};
    struct http_client *cl = p->c;
    struct client_conn *c = xnew(struct client_conn);
    rs_error e = {.struct_size = sizeof e};
    rs_conn_opts o = {
        .struct_size = sizeof o,
        .connect_timeout_ns = cl->p.connect_timeout_ns,
        .handshake_timeout_ns = cl->p.connect_timeout_ns,
        .server_name = p->server_name,
        .alpn = p->version == HTTP_VERSION_2   ? alpn_h2
                : p->version == HTTP_VERSION_1 ? alpn_h1
                                               : alpn_both,
    };
    int r;

    c->c = cl;
    c->pool = p;
    list_init(&c->streams);
    timer_init(&c->timer, conn_timer, c);
    timer_init(&c->ping, ping_timer, c);
    c->limit = p->version == HTTP_VERSION_1 ? 1 : MIN((unsigned)CLIENT_H2_GUESS, cl->p.h2_max_streams);
    http_conn_init(&c->io, &cl->io, p->t.ops, &conn_ops);
    r = p->t.ops->connect(p->t.self, (rs_loop *)cl->loop, p->uri, &o, http_conn_events(), &c->io, &c->io.rs, &e);
    if (r < 0) {
        free(c);
        return err_wrap(err, err_from_abi(err, r, &e), "cannot connect to %s", p->uri);
    }
    list_push_back(&p->conns, &c->link);
    p->n_conns++;
    p->n_connecting++;
    c->connecting = true;
    cl->stats.connections++;
    cl->stats.connections_total++;
    timer_set(cl->loop, &c->timer, cl->p.connect_timeout_ns);
    return 0;
}

/* ---- pools ---- */

static struct client_conn *pool_usable(struct pool *p) {
    while (!list_empty(&p->conns)) {
        struct client_conn *c = LIST_ENTRY(p->conns.next, struct client_conn, link);

        if (!c->usable)
            return NULL;
        if (takes_another(c))
            return c;
        client_conn_update(c); /* it was closed meanwhile: goes to the end */
    }
    return NULL;
}

static int submit(struct client_conn *c, struct http_stream *s, const struct http_client_request *req) {
    if (c->proto == CLIENT_H2)
        return h2_client_submit(c, s, req);
    h1_client_submit(c, s, req);
    return 0;
}

/* Connections under way are enough for so many streams. */
static bool pool_needs_conn(const struct pool *p) {
    unsigned each = p->version == HTTP_VERSION_1 ? 1 : MIN((unsigned)CLIENT_H2_GUESS, p->c->p.h2_max_streams);

    return p->n_waiting > p->n_connecting * each && p->n_conns < p->c->p.max_connections;
}

/* Waiting streams go to connections that take them; connections are made for the rest. */
static void pool_assign(struct pool *p) {
    struct client_conn *c;

    p->pins++; /* the application may give the last stream up in a callback */
    while (p->n_waiting && (c = pool_usable(p))) {
        struct http_stream *s = LIST_ENTRY(p->waiting.next, struct http_stream, link);
        struct http_client_request *saved = TAKE(s->saved);

        list_remove(&s->link);
        p->n_waiting--;
        p->c->stats.waiting--;
        if (submit(c, s, saved) < 0) { /* this connection ran out of stream ids */
            s->saved = saved;
            list_push_front(&p->waiting, &s->link);
            p->n_waiting++;
            p->c->stats.waiting++;
            c->draining = true;
            client_conn_update(c);
            continue;
        }
        free(saved);
    }
    while (!p->c->closing && pool_needs_conn(p)) {
        struct err err = {0};
        struct http_stream *s;

        if (conn_open(p, &err) >= 0)
            continue;
        s = LIST_ENTRY(p->waiting.next, struct http_stream, link);
        client_stream_close(s, err.code, HTTP_CLOSED_CONNECT | HTTP_CLOSED_UNPROCESSED, 0, err.msg);
    }
    p->pins--;
}

static void key_add(struct buf *k, struct slice s) {
    buf_put_u32le(k, (uint32_t)s.len);
    buf_put_slice(k, s);
}

static struct pool *pool_get(struct http_client *c, const struct http_client_request *req) {
    struct buf *k = &c->key;
    uint64_t hash;
    struct pool *p;
    uint8_t *text;

    buf_clear(k);
    buf_put(k, &req->transport, sizeof req->transport);
    buf_put_u8(k, (uint8_t)req->version);
    key_add(k, req->scheme);
    key_add(k, req->authority);
    key_add(k, slice_str(req->uri));
    key_add(k, req->server_name ? slice_str(req->server_name) : SLICE_NULL);
    hash = hash64(buf_slice(k));
    for (struct map_node *n = map_first(&c->pools, hash); n; n = map_next(n)) {
        p = MAP_ENTRY(n, struct pool, node);
        if (slice_eq(slice_of(p->key, p->key_len), buf_slice(k)))
            return p;
    }
    p = xnew(struct pool);
    p->c = c;
    p->t = req->transport;
    p->version = req->version;
    p->uri = xstrdup(req->uri);
    p->server_name = req->server_name ? xstrdup(req->server_name) : NULL;
    p->key_len = k->len;
    p->key = text = xmalloc(k->len);
    memcpy(text, k->data, k->len);
    text += sizeof req->transport + 1 + 4;
    p->scheme = slice_of(text, req->scheme.len);
    p->authority = slice_of(text + req->scheme.len + 4, req->authority.len);
    list_init(&p->conns);
    list_init(&p->waiting);
    map_add(&c->pools, &p->node, hash);
    return p;
}

/* ---- requests ---- */

bool client_header_ours(struct slice name) {
    static const char *const names[] = {"host", "connection", "transfer-encoding", "content-length",
                                        "te",   "keep-alive", "proxy-connection",  "upgrade"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (slice_eq_str(name, names[i]))
            return true;
    return false;
}

static bool visible(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] >= 0x7f)
            return false;
    return s.len > 0;
}

static int check(const struct http_client_request *req, struct err *err) {
    if (!visible(req->method) || !visible(req->authority) || !visible(req->scheme))
        return err_set(err, RS_EINVAL, "bad method, scheme or authority");
    if (!visible(req->path) || (req->path.data[0] != '/' && !slice_eq_str(req->path, "*")))
        return err_set(err, RS_EINVAL, "bad path");
    if (req->n_headers > HTTP_HEADERS_MAX)
        return err_set(err, RS_EINVAL, "too many header fields");
    for (size_t i = 0; i < req->n_headers; i++)
        if (!http_header_valid(&req->headers[i]))
            return err_set(err, RS_EINVAL, "header field %zu cannot be sent", i);
    return 0;
}

static struct slice keep(uint8_t **at, struct slice s) {
    uint8_t *p = *at;

    if (s.len)
        memcpy(p, s.data, s.len);
    *at += s.len;
    return slice_of(p, s.len);
}

/* One block: the struct, the fields, the text. */
static struct http_client_request *save(const struct http_client_request *req, const struct pool *p) {
    size_t size = req->method.len + req->path.len;
    struct http_client_request *s;
    struct http_header *h;
    uint8_t *text;

    for (size_t i = 0; i < req->n_headers; i++)
        size += req->headers[i].name.len + req->headers[i].value.len;
    s = xmalloc(sizeof *s + req->n_headers * sizeof *h + size);
    *s = *req;
    h = (struct http_header *)(void *)(s + 1);
    text = (uint8_t *)(h + req->n_headers);
    s->headers = h;
    s->uri = p->uri;
    s->server_name = p->server_name;
    s->scheme = p->scheme;
    s->authority = p->authority;
    s->method = keep(&text, req->method);
    s->path = keep(&text, req->path);
    for (size_t i = 0; i < req->n_headers; i++) {
        h[i].name = keep(&text, req->headers[i].name);
        h[i].value = keep(&text, req->headers[i].value);
    }
    return s;
}

int http_client_request(struct http_client *c, const struct http_client_request *req,
                        const struct http_stream_events *ev, void *arg, struct http_stream **ret, struct err *err) {
    struct http_stream *s;
    struct client_conn *conn;
    struct pool *p;
    int r;

    if (c->closing)
        return err_set(err, RS_ECLOSED, "the client is closing");
    r = check(req, err);
    if (r < 0)
        return r;
    p = pool_get(c, req);
    conn = p->n_waiting ? NULL : pool_usable(p);
    if (!conn && c->stats.waiting >= c->p.max_waiting)
        return err_set(err, RS_EAGAIN, "too many requests wait for a connection");
    s = xnew(struct http_stream);
    s->c = c;
    s->pool = p;
    s->ev = *ev;
    s->arg = arg;
    s->id = -1;
    s->no_body = req->no_body;
    s->ended = req->no_body;
    s->head_only = slice_eq_str(req->method, "HEAD");
    c->stats.streams++;
    if (!conn || submit(conn, s, req) < 0) {
        s->saved = save(req, p);
        list_push_back(&p->waiting, &s->link);
        p->n_waiting++;
        c->stats.waiting++;
        if (conn) {
            conn->draining = true;
            client_conn_update(conn);
        }
        if (pool_needs_conn(p) && (r = conn_open(p, err)) < 0) {
            client_stream_release(s);
            pool_free_if_unused(p);
            return r;
        }
    }
    *ret = s;
    return 0;
}

/* ---- the client ---- */

struct http_client *http_client_new(struct loop *loop, const struct http_client_params *params) {
    struct http_client *c = xnew(struct http_client);
    struct http_client_params *p = &c->p;

    if (params)
        *p = *params;
    p->connect_timeout_ns = p->connect_timeout_ns ? p->connect_timeout_ns : 10 * SEC_NS;
    p->idle_timeout_ns = p->idle_timeout_ns ? p->idle_timeout_ns : 300 * SEC_NS;
    p->ping_interval_ns = p->ping_interval_ns ? p->ping_interval_ns : 40 * SEC_NS;
    p->ping_timeout_ns = p->ping_timeout_ns ? p->ping_timeout_ns : 20 * SEC_NS;
    p->h2_max_streams = p->h2_max_streams ? p->h2_max_streams : 128;
    p->max_connections = p->max_connections ? p->max_connections : 256;
    p->max_waiting = p->max_waiting ? p->max_waiting : 10000;
    p->max_head_bytes = p->max_head_bytes ? p->max_head_bytes : LIMIT_HTTP_HEAD_BYTES;
    p->window_bytes = p->window_bytes ? p->window_bytes : CLIENT_WINDOW;
    p->connection_window_bytes = p->connection_window_bytes ? p->connection_window_bytes : CLIENT_H2_CONN_WINDOW;
    p->queue_high_bytes = p->queue_high_bytes ? p->queue_high_bytes : HTTP_QUEUE_HIGH;
    p->queue_low_bytes = p->queue_low_bytes ? p->queue_low_bytes : HTTP_QUEUE_LOW;
    ASSERT(p->queue_low_bytes <= p->queue_high_bytes);
    c->loop = loop;
    c->io.loop = loop;
    c->h2_callbacks = h2_client_callbacks();
    return c;
}

static void client_done(struct http_client *c) {
    void (*done)(void *) = c->done;
    void *arg = c->done_arg;

    if (!c->swept || c->pools.n)
        return;
    nghttp2_session_callbacks_del(c->h2_callbacks);
    map_done(&c->pools);
    buf_done(&c->key);
    http_io_done(&c->io);
    free(c);
    if (done)
        done(arg);
}

static void close_pool(struct pool *p) {
    while (p->n_waiting)
        client_stream_close(LIST_ENTRY(p->waiting.next, struct http_stream, link), RS_ECANCELED,
                            HTTP_CLOSED_UNPROCESSED, 0, "the client is closing");
    LIST_FOREACH_SAFE (e, &p->conns)
        http_conn_close(&LIST_ENTRY(e, struct client_conn, link)->io, RS_ECANCELED, "the client is closing");
    pool_free_if_unused(p);
}

static void close_now(void *arg) {
    struct http_client *c = arg;

    MAP_FOREACH (n, &c->pools)
        close_pool(MAP_ENTRY(n, struct pool, node));
    c->swept = true;
    client_done(c);
}

void http_client_close(struct http_client *c, void (*done)(void *arg), void *arg) {
    ASSERT(!c->closing);
    c->closing = true;
    c->done = done;
    c->done_arg = arg;
    loop_post(c->loop, close_now, c);
}

void http_client_stats(const struct http_client *c, struct http_client_stats *ret) {
    *ret = c->stats;
    ret->bytes_in = c->io.bytes_in;
    ret->bytes_out = c->io.bytes_out;
}
