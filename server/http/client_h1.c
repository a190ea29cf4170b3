/* SPDX-License-Identifier: Apache-2.0 */
/* http/client_h1.c : one HTTP/1.1 connection of the client: one stream at a time, kept alive between them. */
#include "http/client_internal.h"

#include <stdio.h>

static struct http_stream *current(struct client_conn *c) {
    return list_empty(&c->streams) ? NULL : LIST_ENTRY(c->streams.next, struct http_stream, link);
}

static void fail(struct client_conn *c, const char *text) {
    c->protocol_error = true;
    http_conn_close(&c->io, RS_EINVAL, text);
}

/* ---- requests ---- */

void h1_client_submit(struct client_conn *c, struct http_stream *s, const struct http_client_request *req) {
    struct http_out *o = &c->io.out;
    struct http_io *io = c->io.io;

    client_stream_attach(c, s);
    s->id = 0;
    c->h1_state = RESP_HEAD;
    c->scan = (struct h1_scan){0};
    http_out_put_slice(o, io, req->method);
    http_out_put(o, io, " ", 1);
    http_out_put_slice(o, io, req->path);
    http_out_put_slice(o, io, SLICE_LIT(" HTTP/1.1\r\nhost: "));
    http_out_put_slice(o, io, req->authority);
    http_out_put(o, io, "\r\n", 2);
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct http_header *h = &req->headers[i];

        if (client_header_ours(h->name))
            continue;
        http_out_put_slice(o, io, h->name);
        http_out_put(o, io, ": ", 2);
        http_out_put_slice(o, io, h->value);
        http_out_put(o, io, "\r\n", 2);
    }
    if (!req->no_body)
        http_out_put_slice(o, io, SLICE_LIT("transfer-encoding: chunked\r\n\r\n"));
    else if (slice_eq_str(req->method, "POST") || slice_eq_str(req->method, "PUT") ||
             slice_eq_str(req->method, "PATCH"))
        http_out_put_slice(o, io, SLICE_LIT("content-length: 0\r\n\r\n"));
    else
        http_out_put(o, io, "\r\n", 2);
    s->sent = req->no_body;
    http_conn_arm(&c->io);
}

/* Both directions are complete. */
static void complete(struct client_conn *c, struct http_stream *s) {
    if (!c->keep_alive)
        c->draining = true;
    if (c->io.paused)
        http_conn_resume(&c->io);
    client_stream_close(s, 0, 0, 0, NULL);
}

void h1_client_produce(struct client_conn *c) {
    struct http_stream *s = current(c);
    struct http_out *o = &c->io.out;
    char line[24];

    if (!s || s->sent)
        return;
    while (s->out.len && o->len < HTTP_OUT_HIGH) {
        size_t n = MIN(s->out.len, (size_t)64 << 10);

        http_out_put(o, c->io.io, line, (size_t)snprintf(line, sizeof line, "%zx\r\n", n));
        http_out_move(o, &s->out, c->io.io, n);
        http_out_put(o, c->io.io, "\r\n", 2);
    }
    if (s->out.len == 0 && s->ended) {
        http_out_put(o, c->io.io, "0\r\n\r\n", 5);
        s->sent = true;
        if (s->got_end)
            complete(c, s);
    }
}

/* ---- responses ---- */

static void response_done(struct client_conn *c) {
    struct http_stream *s = current(c);

    c->h1_state = RESP_DONE;
    if (!s)
        return;
    s->got_end = true;
    if (s->ev.end)
        s->ev.end(s->arg, s);
    if (current(c) == s && s->sent)
        complete(c, s);
}

/* How the body ends, by the head. */
static void begin_body(struct client_conn *c, const struct http_stream *s, const struct h1_head *h) {
    c->chunks = (struct h1_chunks){0};
    c->body_left = h->length;
    c->keep_alive = h->keep_alive;
    if (s->head_only || h->status == 204 || h->status == 304 || (h->has_length && h->length == 0)) {
        c->h1_state = RESP_DONE;
    } else if (h->chunked) {
        c->h1_state = RESP_CHUNKED;
    } else if (h->has_length) {
        c->h1_state = RESP_BODY;
    } else {
        c->h1_state = RESP_UNTIL_EOF;
        c->keep_alive = false;
    }
}

static void take_head(struct client_conn *c, const uint8_t *head, size_t len) {
    struct http_stream *s = current(c);
    size_t n = c->scan.fields;
    struct http_header *fields = xmalloc(n * sizeof *fields + len + 1);
    uint8_t *text = (uint8_t *)(fields + n);
    struct h1_head h;

    memcpy(text, head, len);
    if (h1_parse_response(text, len, fields, n, &h, NULL) < 0 || h.status == 101) {
        fail(c, "bad HTTP/1.1 response head");
    } else if (h.status >= 200) {
        begin_body(c, s, &h);
        s->got_head = true;
        if (s->ev.head)
            s->ev.head(s->arg, s, h.status, fields, h.n_headers);
        if (current(c) == s && c->h1_state == RESP_DONE)
            response_done(c);
    } else {
        c->scan = (struct h1_scan){0};
    }
    free(fields);
}

/* Returns how much it took. */
static size_t input_head(struct client_conn *c, const uint8_t *data, size_t len) {
    size_t max = c->c->p.max_head_bytes, had = c->head.len, room = max + 1 - MIN(had, max), add = MIN(len, room);
    struct buf head = {0};
    int64_t n;

    if (had) {
        buf_put(&c->head, data, add);
        n = h1_scan(&c->scan, c->head.data, c->head.len, max);
    } else {
        n = h1_scan(&c->scan, data, len, max);
    }
    if (n < 0) {
        fail(c, "bad HTTP/1.1 response head");
        return len;
    }
    if (n == 0) {
        if (had == 0)
            buf_put(&c->head, data, len);
        return had ? add : len;
    }
    head = c->head;
    c->head = (struct buf){0};
    take_head(c, had ? head.data : data, (size_t)n);
    buf_done(&head);
    return (size_t)n - had;
}

static void give_data(struct client_conn *c, struct slice data) {
    struct http_stream *s = current(c);

    if (!s->ev.data)
        return;
    s->unconsumed += data.len;
    if (s->unconsumed > s->c->p.window_bytes)
        c->io.paused = true;
    s->ev.data(s->arg, s, data);
}

static size_t input_body(struct client_conn *c, const uint8_t *data, size_t len) {
    size_t n = c->h1_state == RESP_BODY ? (size_t)MIN((uint64_t)len, c->body_left) : len;

    if (c->h1_state == RESP_BODY)
        c->body_left -= n;
    give_data(c, slice_of(data, n));
    if (c->h1_state == RESP_BODY && c->body_left == 0 && http_conn_open(&c->io))
        response_done(c);
    return n;
}

static size_t input_chunked(struct client_conn *c, const uint8_t *data, size_t len) {
    struct slice in = slice_of(data, len), piece;

    while (http_conn_open(&c->io)) {
        switch (h1_chunk_next(&c->chunks, &in, &piece)) {
        case H1_CHUNK_DATA:
            give_data(c, piece);
            break;
        case H1_CHUNK_END:
            response_done(c);
            return len - in.len;
        case H1_CHUNK_MORE:
            return len;
        default:
            fail(c, "bad chunk in an HTTP/1.1 response");
            return len;
        }
    }
    return len;
}

void h1_client_input(struct client_conn *c, const uint8_t *data, size_t len) {
    while (len && http_conn_open(&c->io)) {
        size_t n = len;

        if (!current(c)) {
            c->draining = true;
            http_conn_close(&c->io, 0, ""); /* nobody asked for this */
            return;
        }
        switch (c->h1_state) {
        case RESP_HEAD:
            n = input_head(c, data, len);
            break;
        case RESP_BODY:
        case RESP_UNTIL_EOF:
            n = input_body(c, data, len);
            break;
        case RESP_CHUNKED:
            n = input_chunked(c, data, len);
            break;
        default: /* RESP_DONE: more than the response while the request is still being sent */
            c->keep_alive = false;
            break;
        }
        data += n;
        len -= n;
    }
}

void h1_client_eof(struct client_conn *c) {
    c->keep_alive = false;
    if (c->h1_state == RESP_UNTIL_EOF && current(c))
        response_done(c);
}
