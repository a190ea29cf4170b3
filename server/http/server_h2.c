/* SPDX-License-Identifier: Apache-2.0 */
/* http/server_h2.c : one HTTP/2 connection of the server, over nghttp2. */
#include "http/server_internal.h"

enum { H2_STREAM_WINDOW = 256 << 10, H2_CONN_WINDOW = 1 << 20, H2_NV_STACK = 48 };

static struct server_req *req_at(nghttp2_session *h2, int32_t id) {
    return nghttp2_session_get_stream_user_data(h2, id);
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *arg) {
    struct server_conn *c = arg;

    buf_clear(&c->head);
    c->head_fields = c->trailer_bytes = 0;
    c->head_over = false;
    return 0;
}

/* Fields wait in c->head as [u32 name length, u32 value length, name, value] until the block is complete. */
static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg) {
    struct server_conn *c = arg;
    size_t size = name_len + value_len + 32; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
    uint8_t *p;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        c->trailer_bytes += size; /* trailers are checked and dropped */
        return c->trailer_bytes > c->s->p.max_head_bytes ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
    }
    c->trailer_bytes += size;
    if (c->head_over || c->trailer_bytes > c->s->p.max_head_bytes || c->head_fields == HTTP_HEADERS_MAX) {
        c->head_over = true;
        return 0;
    }
    p = buf_add(&c->head, 8 + name_len + value_len);
    put_u32le(p, (uint32_t)name_len);
    put_u32le(p + 4, (uint32_t)value_len);
    memcpy(p + 8, name, name_len);
    memcpy(p + 8 + name_len, value, value_len);
    c->head_fields++;
    return 0;
}

static struct slice place(uint8_t **text, const uint8_t *p, size_t len) {
    struct slice s = slice_of(*text, len);

    memcpy(*text, p, len);
    *text += len;
    return s;
}

static void take_field(struct server_req *r, struct slice name, struct slice value, struct http_header **at) {
    struct http_request *q = &r->pub;

    if (name.data[0] != ':')
        *(*at)++ = (struct http_header){name, value};
    else if (slice_eq_str(name, ":method"))
        q->method = value;
    else if (slice_eq_str(name, ":path"))
        server_split_target(q, value);
    else if (slice_eq_str(name, ":authority"))
        q->authority = value;
    else if (slice_eq_str(name, ":scheme"))
        q->scheme = value;
}

static void answer_early(struct server_req *r, int code) {
    r->rejected = true;
    server_reject(r, code);
}

static int request_head(struct server_conn *c, const nghttp2_frame *frame) {
    struct server_req *r = server_req_new(c, c->head_fields, c->head.len);
    struct http_header *fields = (struct http_header *)(void *)r->mem, *at = fields;
    uint8_t *text = r->mem + c->head_fields * sizeof *fields;
    struct slice length;

    r->stream_id = frame->hd.stream_id;
    r->pub.version = 20;
    (void)nghttp2_session_set_stream_user_data(c->h2, r->stream_id, r); /* the stream was just opened */
    for (size_t i = 0; i < c->head.len;) {
        const uint8_t *p = c->head.data + i;
        size_t n = get_u32le(p), v = get_u32le(p + 4);
        struct slice name = place(&text, p + 8, n);

        take_field(r, name, place(&text, p + 8 + n, v), &at);
        i += 8 + n + v;
    }
    r->pub.n_headers = (size_t)(at - fields);
    r->head_only = slice_eq_str(r->pub.method, "HEAD");
    if (c->head.cap > 8192)
        buf_done(&c->head);
    if (c->head_over) {
        static const struct http_canned over = {.status = 431};

        r->rejected = true;
        server_canned(r, &over, 431);
        return 0;
    }
    if (r->pub.authority.len == 0)
        r->pub.authority = http_header_get(fields, r->pub.n_headers, "host");
    if (r->pub.path.len == 0 || r->pub.method.len == 0 || slice_eq_str(r->pub.method, "CONNECT")) {
        answer_early(r, RS_EINVAL);
        return 0;
    }
    length = http_header_get(fields, r->pub.n_headers, "content-length");
    r->has_length = h1_digits(length, &r->length);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        server_hand_over(r);
        return 0;
    }
    if (server_body_begin(r) < 0) {
        answer_early(r, RS_ETOOBIG);
        return 0;
    }
    if (slice_eq_str(http_header_get(fields, r->pub.n_headers, "expect"), "100-continue")) {
        nghttp2_nv nv = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "100", 7, 3, NGHTTP2_NV_FLAG_NONE};

        (void)nghttp2_submit_headers(c->h2, NGHTTP2_FLAG_NONE, r->stream_id, NULL, &nv, 1, NULL); /* best effort */
    }
    server_deadline(c, c->s->p.receive_timeout_ns);
    return 0;
}

/* ---- other frames ---- */

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *arg) {
    struct server_conn *c = arg;
    struct server_req *r;

    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        return request_head(c, frame);
    r = req_at(h2, frame->hd.stream_id);
    if (r && !r->handed && !r->rejected && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        server_hand_over(r);
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg) {
    struct server_conn *c = arg;
    struct server_req *r = req_at(h2, id);
    int code;

    if (!r || r->rejected || r->handed) { /* thrown away: the stream's window stays shut */
        (void)nghttp2_session_consume_connection(h2, len);
        return 0;
    }
    code = server_body_add(r, data, len);
    if (code < 0) {
        (void)nghttp2_session_consume_connection(h2, len);
        answer_early(r, code);
        return 0;
    }
    (void)nghttp2_session_consume(h2, id, len); /* these three fail only for lack of memory: then the peer stalls */
    server_deadline(c, c->s->p.receive_timeout_ns);
    return 0;
}

/* A request whose body we did not want is reset some time after its answer went out. Not at once: there are clients
 * that lose the answer then. Until then its window stays shut. */
static int on_sent(nghttp2_session *h2, const nghttp2_frame *frame, void *arg) {
    struct server_conn *c = arg;
    struct server_req *r;

    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    r = req_at(h2, frame->hd.stream_id);
    if (r && r->rejected && !nghttp2_session_get_stream_remote_close(h2, frame->hd.stream_id)) {
        r->reset_at_ns = loop_now_ns(c->s->loop) + SERVER_LINGER_NS;
        c->n_lingering++;
        server_deadline(c, SERVER_LINGER_NS);
    }
    return 0;
}

bool h2_server_linger_due(struct server_conn *c) {
    uint64_t now = loop_now_ns(c->s->loop);

    if (c->n_lingering == 0)
        return false;
    LIST_FOREACH (e, &c->reqs) {
        struct server_req *r = LIST_ENTRY(e, struct server_req, link);

        if (!r->reset_at_ns || r->reset_at_ns > now)
            continue;
        (void)nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_NO_ERROR);
        http_conn_arm(&c->io);
    }
    server_deadline(c, SERVER_LINGER_NS);
    return true;
}

/* Streams that end in an error are paid from a bucket: whoever makes them by the thousand is sent away. */
static void count_reset(struct server_conn *c) {
    uint64_t now = loop_now_ns(c->s->loop), refill = (now - c->resets_at_ns) / SEC_NS * SERVER_RESETS_PER_SEC;

    if (refill) {
        c->resets -= MIN(c->resets, refill);
        c->resets_at_ns = now;
    }
    if (++c->resets == SERVER_RESETS_BURST)
        (void)nghttp2_session_terminate_session(c->h2, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg) {
    struct server_conn *c = arg;
    struct server_req *r = req_at(h2, id);

    if (code != NGHTTP2_NO_ERROR)
        count_reset(c);
    if (r) {
        (void)nghttp2_session_set_stream_user_data(h2, id, NULL); /* the stream is there in this callback */
        if (r->reset_at_ns)
            c->n_lingering--;
        server_req_lost(r);
    }
    if (list_empty(&c->reqs))
        server_deadline(c, c->s->p.idle_timeout_ns);
    return 0;
}

/* An answer that cannot be sent, its head being too long: better a reset than silence. */
static int on_not_sent(nghttp2_session *h2, const nghttp2_frame *frame, int error, void *arg) {
    if (frame->hd.type == NGHTTP2_HEADERS)
        (void)nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

/* ---- answers ---- */

static ssize_t read_body(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *arg) {
    struct server_req *r = source->ptr;
    size_t n = MIN(r->out.len, len);

    if (n == 0 && !r->ended)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (r->ended && n == r->out.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int send_data(nghttp2_session *h2, nghttp2_frame *frame, const uint8_t *framehd, size_t len,
                     nghttp2_data_source *source, void *arg) {
    struct server_conn *c = arg;
    struct server_req *r = source->ptr;

    if (c->io.out.len >= HTTP_OUT_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    http_out_put(&c->io.out, c->io.io, framehd, 9); /* no padding is ever asked for */
    http_out_move(&c->io.out, &r->out, c->io.io, len);
    return 0;
}

static nghttp2_nv nv_of(struct slice name, struct slice value) {
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.data, (uint8_t *)(uintptr_t)value.data, name.len, value.len,
                        NGHTTP2_NV_FLAG_NONE};
}

static bool ours(struct slice name) {
    return slice_eq_str(name, "content-length") || slice_eq_str(name, "date") || slice_eq_str(name, "connection") ||
           slice_eq_str(name, "transfer-encoding") || slice_eq_str(name, "keep-alive") ||
           slice_eq_str(name, "upgrade") || slice_eq_str(name, "proxy-connection");
}

void h2_server_head(struct server_req *r, unsigned status, const struct http_header *h, size_t n, bool has_length,
                    uint64_t length, bool end) {
    nghttp2_nv stack[H2_NV_STACK], *nv = n + 3 <= H2_NV_STACK ? stack : xnewn(nghttp2_nv, n + 3);
    struct server_conn *c = r->conn;
    nghttp2_data_provider body = {.source.ptr = r, .read_callback = read_body};
    char code[20], text[20];
    size_t at = 0;

    nv[at++] = nv_of(SLICE_LIT(":status"), slice_of(code, http_decimal(code, status)));
    for (size_t i = 0; i < n; i++)
        if (http_header_valid(&h[i]) && !ours(h[i].name))
            nv[at++] = nv_of(h[i].name, h[i].value);
    if (has_length)
        nv[at++] = nv_of(SLICE_LIT("content-length"), slice_of(text, http_decimal(text, length)));
    nv[at++] = nv_of(SLICE_LIT("date"), slice_of(server_date(c->s), 29));
    if (nghttp2_submit_response(c->h2, r->stream_id, nv, at, end ? NULL : &body) < 0)
        (void)nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_INTERNAL_ERROR);
    if (nv != stack)
        free(nv);
    http_conn_arm(&c->io);
}

/* ---- the session ---- */

nghttp2_session_callbacks *h2_server_callbacks(void) {
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) < 0)
        UNREACHABLE("out of memory");
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    return cb;
}

int h2_server_start(struct server_conn *c) {
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->s->p.h2_max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->s->p.max_head_bytes},
    };
    nghttp2_option *opt = NULL;
    int r = nghttp2_option_new(&opt);

    c->proto = PROTO_H2;
    if (r == 0) {
        nghttp2_option_set_no_auto_window_update(opt, 1);
        nghttp2_option_set_max_outbound_ack(opt, 200);
        nghttp2_option_set_no_closed_streams(opt, 1);
        nghttp2_option_set_server_fallback_rfc7540_priorities(opt, 0);
        r = nghttp2_session_server_new2(&c->h2, c->s->h2_callbacks, c, opt);
        nghttp2_option_del(opt);
    }
    if (r == 0)
        r = nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings));
    if (r == 0)
        r = nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW);
    if (r != 0) {
        http_conn_close(&c->io, RS_ENOMEM, "cannot start HTTP/2");
        return RS_ENOMEM;
    }
    http_conn_arm(&c->io);
    return 0;
}

void h2_server_input(struct server_conn *c, const uint8_t *data, size_t len) {
    ssize_t n = nghttp2_session_mem_recv(c->h2, data, len);

    if (n < 0 || (size_t)n < len) {
        http_conn_close(&c->io, RS_EINVAL, "HTTP/2 failed");
        return;
    }
    http_conn_arm(&c->io);
}

void h2_server_produce(struct server_conn *c) {
    while (c->io.out.len < HTTP_OUT_HIGH) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(c->h2, &data);

        if (n < 0)
            http_conn_close(&c->io, RS_EIO, "HTTP/2 failed");
        if (n <= 0)
            return;
        http_out_put(&c->io.out, c->io.io, data, (size_t)n);
    }
}

void h2_server_flushed(struct server_conn *c) {
    bool over = !c->h2 || (!nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2));

    if (c->io.out.len == 0 && c->io.ready && (over || c->close_after))
        http_conn_close(&c->io, 0, "");
}

void h2_server_goaway(struct server_conn *c) {
    if (!c->h2)
        return;
    (void)nghttp2_submit_goaway(c->h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->h2),
                                NGHTTP2_NO_ERROR, NULL, 0);
    http_conn_arm(&c->io);
}
