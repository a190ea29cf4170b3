/* SPDX-License-Identifier: Apache-2.0 */
/* http/server_h1.c : one HTTP/1.x connection of the server. Requests are taken one at a time, in order; what the client
 * sends ahead waits, bounded, until the answer is complete. */
#include "http/server_internal.h"

#include <stdio.h>

static struct server_req *current(struct server_conn *c) {
    return list_empty(&c->reqs) ? NULL : LIST_ENTRY(c->reqs.next, struct server_req, link);
}

void h1_server_linger(struct server_conn *c) {
    c->h1_state = H1_LINGER;
    c->close_after = true;
    buf_done(&c->head);
    server_deadline(c, SERVER_LINGER_NS);
    http_conn_arm(&c->io);
}

void h1_server_refuse(struct server_conn *c) {
    struct server_req *r = current(c);

    if (r && r->begun) {
        http_conn_close(&c->io, RS_EINVAL, "bad request");
        return;
    }
    if (!r) {
        r = server_req_new(c, 0, 0);
        r->pub.version = 11;
    }
    r->keep_alive = false;
    server_reject(r, RS_EINVAL);
}

/* ---- answers ---- */

static void put_field(struct server_conn *c, struct slice name, struct slice value) {
    struct http_out *o = &c->io.out;
    struct http_io *io = c->io.io;
    size_t n = name.len + value.len + 4;

    if (n <= 4096) { /* the usual case: one place, four copies */
        uint8_t *p = http_out_room(o, io, n);

        memcpy(p, name.data, name.len);
        memcpy(p + name.len, ": ", 2);
        if (value.len)
            memcpy(p + name.len + 2, value.data, value.len);
        memcpy(p + n - 2, "\r\n", 2);
        http_out_commit(o, n);
        return;
    }
    http_out_put_slice(o, io, name);
    http_out_put(o, io, ": ", 2);
    http_out_put_slice(o, io, value);
    http_out_put(o, io, "\r\n", 2);
}

static bool ours(struct slice name) {
    return slice_eq_str(name, "content-length") || slice_eq_str(name, "date") || slice_eq_str(name, "connection") ||
           slice_eq_str(name, "transfer-encoding");
}

void h1_server_head(struct server_req *r, unsigned status, const struct http_header *h, size_t n, bool has_length,
                    uint64_t length) {
    struct server_conn *c = r->conn;
    struct http_out *o = &c->io.out;
    char text[20];

    if (c->s->draining)
        r->keep_alive = false;
    http_out_put_slice(o, c->io.io, SLICE_LIT("HTTP/1.1 "));
    http_out_put(o, c->io.io, text, http_decimal(text, status));
    http_out_put(o, c->io.io, " ", 1);
    http_out_put_slice(o, c->io.io, slice_str(http_status_text(status)));
    http_out_put(o, c->io.io, "\r\n", 2);
    for (size_t i = 0; i < n; i++)
        if (http_header_valid(&h[i]) && !ours(h[i].name))
            put_field(c, h[i].name, h[i].value);
    if (has_length)
        put_field(c, SLICE_LIT("content-length"), slice_of(text, http_decimal(text, length)));
    if (r->chunked)
        put_field(c, SLICE_LIT("transfer-encoding"), SLICE_LIT("chunked"));
    if (!r->keep_alive)
        put_field(c, SLICE_LIT("connection"), SLICE_LIT("close"));
    else if (r->pub.version == 10)
        put_field(c, SLICE_LIT("connection"), SLICE_LIT("keep-alive"));
    put_field(c, SLICE_LIT("date"), slice_of(server_date(c->s), 29));
    http_out_put(o, c->io.io, "\r\n", 2);
    http_conn_arm(&c->io);
}

void h1_server_answered(struct server_req *r) {
    struct server_conn *c = r->conn;
    bool keep = r->keep_alive && c->h1_state == H1_BUSY && !c->io.seen_eof;

    server_req_free(r);
    if (!keep) {
        h1_server_linger(c);
        if (c->io.paused)
            http_conn_resume(&c->io);
        return;
    }
    c->h1_state = H1_HEAD;
    c->scan = (struct h1_scan){0};
    server_deadline(c, c->s->p.idle_timeout_ns);
    if (c->head.len || c->io.paused)
        http_conn_resume(&c->io);
}

void h1_server_produce(struct server_conn *c) {
    struct server_req *r = current(c);
    struct http_out *o = &c->io.out;
    char line[24];

    if (!r || !r->begun)
        return;
    while (r->out.len && o->len < HTTP_OUT_HIGH) {
        size_t n = MIN(r->out.len, (size_t)64 << 10);

        if (r->chunked)
            http_out_put(o, c->io.io, line, (size_t)snprintf(line, sizeof line, "%zx\r\n", n));
        http_out_move(o, &r->out, c->io.io, n);
        if (r->chunked)
            http_out_put(o, c->io.io, "\r\n", 2);
    }
    if (r->out.len == 0 && r->ended) {
        if (r->chunked && !r->head_only)
            http_out_put(o, c->io.io, "0\r\n\r\n", 5);
        h1_server_answered(r);
    }
}

void h1_server_flushed(struct server_conn *c) {
    struct http_conn *io = &c->io;

    if (c->s->draining && io->ready && !io->out.len && list_empty(&c->reqs) && c->h1_state == H1_HEAD) {
        http_conn_close(io, 0, ""); /* its last answer had promised to keep it */
        return;
    }
    if (!c->close_after || io->out.len || io->shut || !io->ready)
        return;
    if (io->seen_eof || io->ops->shutdown(io->rs) < 0) {
        http_conn_close(io, 0, "");
        return;
    }
    io->shut = true;
}

/* ---- requests ---- */

/* "http://host/path" as a target: takes scheme and authority off. */
static bool split_absolute(struct http_request *q, struct slice target) {
    const uint8_t *colon = memmem(target.data, target.len, "://", 3), *slash;
    struct slice rest;

    if (!colon || colon == target.data)
        return false;
    rest = slice_from(target, (size_t)(colon - target.data) + 3);
    slash = memchr(rest.data, '/', rest.len);
    q->authority = slash ? slice_of(rest.data, (size_t)(slash - rest.data)) : rest;
    if (q->authority.len == 0 || memchr(q->authority.data, '?', q->authority.len))
        return false;
    server_split_target(q, slash ? slice_from(rest, q->authority.len) : SLICE_LIT("/"));
    return true;
}

static int take_target(struct server_req *r, struct slice target) {
    struct http_request *q = &r->pub;

    q->authority = http_header_get(q->headers, q->n_headers, "host");
    if (slice_eq_str(q->method, "CONNECT"))
        return RS_EINVAL;
    if (target.data[0] == '/' || (slice_eq_str(target, "*") && slice_eq_str(q->method, "OPTIONS"))) {
        server_split_target(q, target);
        return 0;
    }
    return split_absolute(q, target) ? 0 : RS_EINVAL;
}

/* The head is whole and nothing of the body has been looked at. */
static void begin_body(struct server_conn *c, struct server_req *r, const struct h1_head *h) {
    int code;

    r->has_length = h->has_length;
    r->length = h->length;
    code = server_body_begin(r);
    if (code < 0) {
        r->keep_alive = false;
        server_reject(r, code);
        return;
    }
    if (!h->chunked && h->length == 0) {
        c->h1_state = H1_BUSY;
        server_hand_over(r);
        return;
    }
    c->h1_state = h->chunked ? H1_BODY_CHUNKED : H1_BODY;
    c->chunks = (struct h1_chunks){0};
    c->body_left = h->length;
    r->expect_continue = h->expect_continue && h->version >= 11;
    server_deadline(c, c->s->p.receive_timeout_ns);
}

static void take_head(struct server_conn *c, const uint8_t *head, size_t len) {
    struct server_req *r = server_req_new(c, c->scan.fields, len);
    struct http_header *fields = (struct http_header *)(void *)r->mem;
    uint8_t *text = r->mem + c->scan.fields * sizeof *fields;
    struct h1_head h;

    memcpy(text, head, len);
    r->pub.version = 11;
    if (h1_parse_request(text, len, fields, c->scan.fields, &h, NULL) < 0) {
        h1_server_refuse(c);
        return;
    }
    r->pub.n_headers = h.n_headers;
    r->pub.version = h.version;
    r->pub.method = h.method;
    r->head_only = slice_eq_str(h.method, "HEAD");
    r->keep_alive = h.keep_alive;
    if (take_target(r, h.target) < 0) {
        h1_server_refuse(c);
        return;
    }
    begin_body(c, r, &h);
}

/* Returns how much it took. */
static size_t input_head(struct server_conn *c, const uint8_t *data, size_t len) {
    size_t max = c->s->p.max_head_bytes, had = c->head.len, room = max + 1 - MIN(had, max), add = MIN(len, room);
    struct buf head = {0};
    int64_t n;

    if (had) {
        buf_put(&c->head, data, add);
        n = h1_scan(&c->scan, c->head.data, c->head.len, max);
    } else {
        n = h1_scan(&c->scan, data, len, max);
    }
    if (n < 0) {
        h1_server_refuse(c);
        return len;
    }
    if (n == 0) {
        if (had == 0) {
            buf_put(&c->head, data, len);
            server_deadline(c, c->s->p.receive_timeout_ns);
        }
        return had ? add : len;
    }
    head = c->head; /* a request may fill c->head anew */
    c->head = (struct buf){0};
    take_head(c, had ? head.data : data, (size_t)n);
    buf_done(&head);
    return (size_t)n - had;
}

static size_t body_failed(struct server_conn *c, struct server_req *r, int code, size_t len) {
    r->keep_alive = false;
    server_reject(r, code);
    return len;
}

static void body_complete(struct server_conn *c, struct server_req *r) {
    c->h1_state = H1_BUSY;
    server_hand_over(r);
}

static size_t input_body(struct server_conn *c, const uint8_t *data, size_t len) {
    struct server_req *r = current(c);
    size_t n = (size_t)MIN((uint64_t)len, c->body_left);
    int code = server_body_add(r, data, n);

    if (code < 0)
        return body_failed(c, r, code, len);
    r->expect_continue = false;
    c->body_left -= n;
    if (c->body_left == 0)
        body_complete(c, r);
    else
        server_deadline(c, c->s->p.receive_timeout_ns);
    return n;
}

static size_t input_chunked(struct server_conn *c, const uint8_t *data, size_t len) {
    struct server_req *r = current(c);
    struct slice in = slice_of(data, len), piece;
    int code;

    r->expect_continue = false;
    for (;;) {
        switch (h1_chunk_next(&c->chunks, &in, &piece)) {
        case H1_CHUNK_DATA:
            code = server_body_add(r, piece.data, piece.len);
            if (code < 0)
                return body_failed(c, r, code, len);
            break;
        case H1_CHUNK_END:
            body_complete(c, r);
            return len - in.len;
        case H1_CHUNK_MORE:
            server_deadline(c, c->s->p.receive_timeout_ns);
            return len;
        default:
            return body_failed(c, r, RS_EINVAL, len);
        }
    }
}

/* A client that waits for it gets its 100 when nothing of the body came with the head. */
static void expect_continue(struct server_conn *c) {
    struct server_req *r = current(c);

    if ((c->h1_state == H1_BODY || c->h1_state == H1_BODY_CHUNKED) && r->expect_continue) {
        r->expect_continue = false;
        http_out_put_slice(&c->io.out, c->io.io, SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
        http_conn_arm(&c->io);
    }
}

static void input(struct server_conn *c, const uint8_t *data, size_t len) {
    while (len && http_conn_open(&c->io)) {
        size_t n = len;

        switch (c->h1_state) {
        case H1_HEAD:
            n = input_head(c, data, len);
            break;
        case H1_BODY:
            n = input_body(c, data, len);
            break;
        case H1_BODY_CHUNKED:
            n = input_chunked(c, data, len);
            break;
        case H1_BUSY:
            buf_put(&c->head, data, len);
            if (c->head.len >= SERVER_H1_AHEAD_BYTES)
                c->io.paused = true;
            break;
        default: /* H1_LINGER */
            c->lingered += len;
            if (c->lingered > SERVER_LINGER_BYTES)
                http_conn_close(&c->io, 0, "");
            break;
        }
        data += n;
        len -= n;
    }
    if (http_conn_open(&c->io))
        expect_continue(c);
}

/* What came while a request was being answered; scan.at tells it from a head that has begun. */
void h1_server_resumed(struct server_conn *c) {
    struct buf ahead = c->head;

    if (c->h1_state != H1_HEAD || c->scan.at || ahead.len == 0)
        return;
    c->head = (struct buf){0};
    input(c, ahead.data, ahead.len);
    buf_done(&ahead);
}

void h1_server_input(struct server_conn *c, const uint8_t *data, size_t len) {
    h1_server_resumed(c);
    input(c, data, len);
}
