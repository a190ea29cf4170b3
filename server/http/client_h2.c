/* SPDX-License-Identifier: Apache-2.0 */
/* http/client_h2.c : one HTTP/2 connection of the client, over nghttp2.
 *
 * nghttp2 streams point to our streams and never the other way but by id: a stream given up by the application is gone
 * at once, nghttp2's lives until its RST_STREAM went out. */
#include "http/client_internal.h"

#include <stdio.h>

enum { H2_NV_STACK = 48 };

static struct http_stream *stream_at(nghttp2_session *h2, int32_t id) {
    return nghttp2_session_get_stream_user_data(h2, id);
}

/* ---- requests ---- */

static ssize_t read_body(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *arg) {
    struct http_stream *s = stream_at(h2, id);
    size_t n;

    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* its RST_STREAM is on the way */
    n = MIN(s->out.len, len);
    if (n == 0 && !s->ended)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (s->ended && n == s->out.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int send_data(nghttp2_session *h2, nghttp2_frame *frame, const uint8_t *framehd, size_t len,
                     nghttp2_data_source *source, void *arg) {
    struct client_conn *c = arg;
    struct http_stream *s = stream_at(h2, frame->hd.stream_id);

    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (c->io.out.len >= HTTP_OUT_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    http_out_put(&c->io.out, c->io.io, framehd, 9); /* no padding is ever asked for */
    http_out_move(&c->io.out, &s->out, c->io.io, len);
    return 0;
}

static nghttp2_nv nv_of(struct slice name, struct slice value) {
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.data, (uint8_t *)(uintptr_t)value.data, name.len, value.len,
                        NGHTTP2_NV_FLAG_NONE};
}

int h2_client_submit(struct client_conn *c, struct http_stream *s, const struct http_client_request *req) {
    nghttp2_nv stack[H2_NV_STACK], *nv = stack;
    nghttp2_data_provider body = {.read_callback = read_body};
    size_t at = 0;
    int32_t id;

    if (req->n_headers + 4 > H2_NV_STACK)
        nv = xnewn(nghttp2_nv, req->n_headers + 4);
    nv[at++] = nv_of(SLICE_LIT(":method"), req->method);
    nv[at++] = nv_of(SLICE_LIT(":scheme"), req->scheme);
    nv[at++] = nv_of(SLICE_LIT(":authority"), req->authority);
    nv[at++] = nv_of(SLICE_LIT(":path"), req->path);
    for (size_t i = 0; i < req->n_headers; i++)
        if (!client_header_ours(req->headers[i].name))
            nv[at++] = nv_of(req->headers[i].name, req->headers[i].value);
    id = nghttp2_submit_request(c->h2, NULL, nv, at, req->no_body ? NULL : &body, s);
    if (nv != stack)
        free(nv);
    if (id < 0)
        return RS_EAGAIN;
    s->id = id;
    client_stream_attach(c, s);
    http_conn_arm(&c->io);
    return 0;
}

/* The window of what the application will never consume is given back to the connection. */
static void return_window(struct client_conn *c, struct http_stream *s) {
    if (s->unconsumed)
        (void)nghttp2_session_consume_connection(c->h2, s->unconsumed); /* fails only for lack of memory */
    s->unconsumed = 0;
}

void h2_client_reset(struct http_stream *s, uint32_t code) {
    struct client_conn *c = s->conn;

    return_window(c, s);
    /* a request that nghttp2 still holds back has no stream yet: its user data is found through the frame */
    (void)nghttp2_session_set_stream_user_data(c->h2, s->id, NULL);
    (void)nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, s->id, code);
    http_conn_arm(&c->io);
}

/* ---- responses ---- */

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *arg) {
    struct client_conn *c = arg;

    if (frame->hd.type == NGHTTP2_PUSH_PROMISE)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* refused */
    buf_clear(&c->head);
    c->head_fields = c->head_bytes = 0;
    return 0;
}

/* Fields wait in c->head as [u32 name length, u32 value length, name, value] until the block is complete. */
static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg) {
    struct client_conn *c = arg;
    struct http_stream *s = stream_at(h2, frame->hd.stream_id);
    uint8_t *p;

    c->head_bytes += name_len + value_len + 32;
    if (c->head_bytes > c->c->p.max_head_bytes || c->head_fields == HTTP_HEADERS_MAX) {
        if (s)
            s->too_big = true;
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (!s || s->got_head)
        return 0; /* trailers are dropped */
    p = buf_add(&c->head, 8 + name_len + value_len);
    put_u32le(p, (uint32_t)name_len);
    put_u32le(p + 4, (uint32_t)value_len);
    memcpy(p + 8, name, name_len);
    memcpy(p + 8 + name_len, value, value_len);
    c->head_fields++;
    return 0;
}

static void response_head(struct client_conn *c, struct http_stream *s) {
    struct http_header stack[H2_NV_STACK], *h = stack;
    unsigned status = 0;
    size_t n = 0;

    if (c->head_fields > H2_NV_STACK)
        h = xnewn(struct http_header, c->head_fields);
    for (size_t i = 0; i < c->head.len;) {
        const uint8_t *p = c->head.data + i;
        struct slice name = slice_of(p + 8, get_u32le(p)), value = slice_of(p + 8 + name.len, get_u32le(p + 4));

        if (slice_eq_str(name, ":status"))
            for (size_t k = 0; k < value.len && k < 3; k++)
                status = status * 10 + (unsigned)(value.data[k] - '0');
        else if (name.len && name.data[0] != ':')
            h[n++] = (struct http_header){name, value};
        i += 8 + name.len + value.len;
    }
    if (status >= 200) {
        s->got_head = true;
        if (s->ev.head)
            s->ev.head(s->arg, s, status, h, n);
    }
    if (h != stack)
        free(h);
    if (c->head.cap > 8192)
        buf_done(&c->head);
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg) {
    struct http_stream *s = stream_at(h2, id);

    if (!s || !s->ev.data) {
        (void)nghttp2_session_consume(h2, id, len); /* fails only for lack of memory */
        return 0;
    }
    s->unconsumed += len;
    s->ev.data(s->arg, s, slice_of(data, len));
    return 0;
}

static void got_settings(struct client_conn *c) {
    uint32_t max = nghttp2_session_get_remote_settings(c->h2, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    c->limit = MIN(max, c->c->p.h2_max_streams);
    client_conn_update(c);
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *arg) {
    struct client_conn *c = arg;
    struct http_stream *s;

    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            got_settings(c);
        return 0;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && c->ping_out) {
            uint64_t interval = c->c->p.ping_interval_ns;

            c->ping_out = false;
            timer_set(c->c->loop, &c->ping, interval + loop_random_u64(c->c->loop) % (interval / 5 + 1));
        }
        return 0;
    case NGHTTP2_GOAWAY:
        c->draining = true;
        c->goaway_code = frame->goaway.error_code;
        client_conn_update(c);
        return 0;
    case NGHTTP2_RST_STREAM:
        s = stream_at(h2, frame->hd.stream_id);
        if (s)
            s->reset_by_peer = true;
        return 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        break;
    default:
        return 0;
    }
    s = stream_at(h2, frame->hd.stream_id);
    if (s && frame->hd.type == NGHTTP2_HEADERS && !s->got_head)
        response_head(c, s);
    s = stream_at(h2, frame->hd.stream_id); /* the application may have given it up */
    if (s && s->got_head && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        s->got_end = true;
        if (s->ev.end)
            s->ev.end(s->arg, s);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg) {
    struct client_conn *c = arg;
    struct http_stream *s = stream_at(h2, id);
    unsigned flags = 0;
    char text[96];

    if (!s)
        return 0;
    (void)nghttp2_session_set_stream_user_data(h2, id, NULL); /* the stream is there in this callback */
    return_window(c, s);
    if (code == NGHTTP2_NO_ERROR && s->got_end && s->ended && s->out.len == 0) {
        client_stream_close(s, 0, 0, 0, NULL);
        return 0;
    }
    if (s->too_big) {
        client_stream_close(s, RS_ETOOBIG, 0, 0, "the response head is too long");
        return 0;
    }
    if (code == NGHTTP2_REFUSED_STREAM)
        flags |= HTTP_CLOSED_UNPROCESSED;
    if (s->reset_by_peer)
        flags |= HTTP_CLOSED_RESET;
    else if (code != NGHTTP2_REFUSED_STREAM)
        flags |= HTTP_CLOSED_PROTOCOL;
    (void)snprintf(text, sizeof text, "HTTP/2 stream %s: %s", s->reset_by_peer ? "reset by the peer" : "closed",
                   nghttp2_http2_strerror(code));
    client_stream_close(s, s->reset_by_peer || code == NGHTTP2_REFUSED_STREAM ? RS_ECLOSED : RS_EINVAL, flags, code,
                        text);
    return 0;
}

/* A request that never left: it is as if it had not been made. */
static int on_not_sent(nghttp2_session *h2, const nghttp2_frame *frame, int error, void *arg) {
    struct client_conn *c = arg;
    struct http_stream *found = NULL;

    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    LIST_FOREACH (e, &c->streams) { /* nghttp2 has no stream that would point to ours */
        struct http_stream *s = LIST_ENTRY(e, struct http_stream, link);

        if (s->id == frame->hd.stream_id)
            found = s;
    }
    if (found) /* then it closes it next, and must not find ours */
        (void)nghttp2_session_set_stream_user_data(h2, found->id, NULL);
    if (found && error == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED)
        client_stream_close(found, RS_ECLOSED, HTTP_CLOSED_UNPROCESSED, 0, "the connection is going away");
    else if (found)
        client_stream_close(found, RS_ETOOBIG, 0, 0, "the request head cannot be sent");
    return 0;
}

/* ---- the session ---- */

nghttp2_session_callbacks *h2_client_callbacks(void) {
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) < 0)
        UNREACHABLE("out of memory");
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    return cb;
}

int h2_client_start(struct client_conn *c) {
    const struct http_client_params *p = &c->c->p;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)p->window_bytes},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384},
    };
    nghttp2_option *opt = NULL;
    int r = nghttp2_option_new(&opt);

    c->proto = CLIENT_H2;
    if (r == 0) {
        nghttp2_option_set_no_auto_window_update(opt, 1);
        nghttp2_option_set_max_outbound_ack(opt, 200);
        nghttp2_option_set_no_closed_streams(opt, 1);
        r = nghttp2_session_client_new2(&c->h2, c->c->h2_callbacks, c, opt);
        nghttp2_option_del(opt);
    }
    if (r == 0)
        r = nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings));
    if (r == 0)
        r = nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, (int32_t)p->connection_window_bytes);
    if (r != 0) {
        http_conn_close(&c->io, RS_ENOMEM, "cannot start HTTP/2");
        return RS_ENOMEM;
    }
    http_conn_arm(&c->io);
    return 0;
}

void h2_client_input(struct client_conn *c, const uint8_t *data, size_t len) {
    ssize_t n;

    /* An HTTP/2 frame that begins with an H would be 4.7 MB long: nobody may send that. It is HTTP/1.x. */
    if (!c->first_seen && len) {
        c->first_seen = true;
        if (data[0] == 'H') {
            c->not_h2 = true;
            http_conn_close(&c->io, RS_EINVAL, "HTTP/1.x was answered to the HTTP/2 preface");
            return;
        }
    }
    n = nghttp2_session_mem_recv(c->h2, data, len);
    if (n < 0 || (size_t)n < len) {
        c->protocol_error = true;
        http_conn_close(&c->io, RS_EINVAL, n < 0 ? nghttp2_strerror((int)n) : "HTTP/2 failed");
        return;
    }
    http_conn_arm(&c->io);
}

void h2_client_produce(struct client_conn *c) {
    while (c->io.out.len < HTTP_OUT_HIGH) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(c->h2, &data);

        if (n < 0)
            http_conn_close(&c->io, RS_EIO, nghttp2_strerror((int)n));
        if (n <= 0)
            return;
        http_out_put(&c->io.out, c->io.io, data, (size_t)n);
    }
}
