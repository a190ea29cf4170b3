/* SPDX-License-Identifier: Apache-2.0 */
/* http/respond.c : answers: what the application calls, and the split by version. */
#include "http/server_internal.h"

static struct server_req *req_of(struct http_request *q) {
    return CONTAINER_OF(q, struct server_req, pub);
}

/* The application is done with @r. */
static void answered(struct server_req *r) {
    r->answered = true;
    if (r->handed)
        r->s->stats.in_flight--;
}

static bool has_no_body(unsigned status) {
    return status == 204 || status == 304 || status < 200;
}

void server_answer(struct server_req *r, unsigned status, const struct http_header *h, size_t n,
                   struct bytes *take_body) {
    size_t len = take_body ? take_body->len : 0;
    bool send = len && !r->head_only && !has_no_body(status);

    ASSERT(!r->answered && !r->begun);
    ASSERT(status >= 200 && status <= 999);
    answered(r);
    if (!r->conn) {
        (void)bytes_unref(take_body);
        server_req_free(r);
        return;
    }
    r->begun = r->ended = true;
    if (r->conn->proto == PROTO_H2) {
        if (send)
            http_out_ref(&r->out, &r->s->io, TAKE(take_body));
        h2_server_head(r, status, h, n, !has_no_body(status), len, !send);
    } else {
        h1_server_head(r, status, h, n, !has_no_body(status), len);
        if (send)
            http_out_ref(&r->conn->io.out, &r->s->io, TAKE(take_body));
        h1_server_answered(r);
    }
    (void)bytes_unref(take_body);
}

void server_canned(struct server_req *r, const struct http_canned *canned, unsigned status) {
    struct http_header h = {SLICE_LIT("content-type"),
                            canned->content_type ? slice_str(canned->content_type) : SLICE_LIT("text/plain")};
    struct slice body = canned->status || canned->body.len ? canned->body : slice_str(http_status_text(status));

    server_answer(r, canned->status ? canned->status : status, &h, 1, bytes_copy(body));
}

void http_respond(struct http_request *req, unsigned status, const struct http_header *headers, size_t n,
                  struct bytes *take_body) {
    server_answer(req_of(req), status, headers, n, take_body);
}

void http_respond_slice(struct http_request *req, unsigned status, const struct http_header *headers, size_t n,
                        struct slice body) {
    server_answer(req_of(req), status, headers, n, body.len ? bytes_copy(body) : NULL);
}

void http_respond_text(struct http_request *req, unsigned status, const char *text) {
    struct http_header h = HTTP_HEADER("content-type", SLICE_LIT("text/plain"));

    http_respond_slice(req, status, &h, 1, slice_str(text));
}

/* ---- streaming ---- */

void http_respond_begin(struct http_request *req, unsigned status, const struct http_header *headers, size_t n,
                        const struct http_respond_events *events) {
    struct server_req *r = req_of(req);

    ASSERT(!r->answered && !r->begun);
    ASSERT(status >= 200 && status <= 999);
    r->begun = true;
    if (events)
        r->events = *events;
    if (!r->conn)
        return;
    if (r->conn->proto == PROTO_H2) {
        h2_server_head(r, status, headers, n, false, 0, false);
        return;
    }
    r->chunked = r->pub.version >= 11 && !has_no_body(status);
    r->keep_alive = r->keep_alive && (r->chunked || has_no_body(status) || r->head_only);
    h1_server_head(r, status, headers, n, false, 0);
}

/* More body is queued, or the end was told. */
static size_t queued(struct server_req *r) {
    if (!r->conn)
        return 0;
    if (r->head_only)
        http_out_done(&r->out, &r->s->io);
    if (UNLIKELY(r->out.len > HTTP_QUEUE_MAX)) {
        if (r->conn->h2)
            (void)nghttp2_submit_rst_stream(r->conn->h2, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_INTERNAL_ERROR);
        else
            http_conn_close(&r->conn->io, RS_ENOMEM, "too much was queued for the client");
    }
    if (r->conn->h2)
        (void)nghttp2_session_resume_data(r->conn->h2, r->stream_id); /* not deferred: nothing to do */
    if (!r->high && r->out.len > HTTP_QUEUE_HIGH) {
        r->high = true;
        r->conn->n_high++;
    }
    http_conn_arm(&r->conn->io);
    return r->out.len;
}

size_t http_respond_write(struct http_request *req, struct bytes *take) {
    struct server_req *r = req_of(req);

    ASSERT(r->begun && !r->ended);
    if (r->conn)
        http_out_ref(&r->out, &r->s->io, take);
    else
        (void)bytes_unref(take);
    return queued(r);
}

size_t http_respond_write_copy(struct http_request *req, struct slice data) {
    struct server_req *r = req_of(req);

    ASSERT(r->begun && !r->ended);
    if (r->conn)
        http_out_put_slice(&r->out, &r->s->io, data);
    return queued(r);
}

void http_respond_end(struct http_request *req) {
    struct server_req *r = req_of(req);

    ASSERT(r->begun && !r->ended);
    r->ended = true;
    answered(r);
    if (!r->conn) {
        server_req_free(r);
        return;
    }
    (void)queued(r);
    if (r->high) {
        r->high = false;
        r->conn->n_high--;
    }
}

void http_respond_abort(struct http_request *req) {
    struct server_req *r = req_of(req);
    struct server_conn *c = r->conn;

    ASSERT(r->begun && !r->ended);
    r->ended = true;
    answered(r);
    if (!c) {
        server_req_free(r);
        return;
    }
    if (r->high) {
        r->high = false;
        c->n_high--;
    }
    if (c->proto == PROTO_H2) {
        (void)nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_INTERNAL_ERROR);
        http_conn_arm(&c->io); /* the stream's close frees the request */
    } else {
        http_conn_close(&c->io, RS_ECANCELED, "the answer was given up");
    }
}
