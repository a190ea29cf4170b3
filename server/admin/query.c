/* SPDX-License-Identifier: Apache-2.0 */
/* admin/query.c : POST /query {"query": "SELECT …"}: JSON for those who accept exactly that, else an Arrow stream. A
 * short answer goes in one piece, a long one as it is made, no faster than the client reads. */
#include "query/query.h"
#include "admin/admin_internal.h"

struct sql_request {
    struct admin *admin;
    struct http_request *req; /* NULL: answered */
    struct query *query;      /* NULL: over */
    enum query_format format;
    bool begun;
};

enum { ANSWER_HEADERS = 2 };
static void answer_headers(const struct sql_request *s, struct http_header ret[ANSWER_HEADERS]) {
    ret[0] = HTTP_HEADER("content-type", s->format == QUERY_JSON ? SLICE_LIT("application/json")
                                                                 : SLICE_LIT("application/vnd.apache.arrow.stream"));
    ret[1] = HTTP_HEADER("vary", SLICE_LIT("accept-encoding"));
}

static void done(struct sql_request *s) {
    s->admin->in_flight--;
    free(s);
}

static void message(struct http_request *req, unsigned status, const char *text) {
    admin_json(req, status, NULL, json_pack("{s:o}", "message", json_string_nocheck(text)));
}

static void on_writable(void *arg, struct http_request *req) {
    struct sql_request *s = arg;

    if (s->query)
        query_resume(s->query);
}

static bool on_chunk(void *arg, struct bytes *take, bool last) {
    struct sql_request *s = arg;
    const struct http_respond_events events = {.writable = on_writable, .arg = s};
    struct http_header h[ANSWER_HEADERS];
    size_t queued;

    answer_headers(s, h);
    if (last && !s->begun) {
        s->req->closed = NULL;
        http_respond(s->req, 200, h, ANSWER_HEADERS, take);
        done(s);
        return true;
    }
    if (!s->begun)
        http_respond_begin(s->req, 200, h, ANSWER_HEADERS, &events);
    s->begun = true;
    queued = http_respond_write(s->req, take);
    if (last) {
        s->req->closed = NULL;
        http_respond_end(s->req);
        done(s);
    }
    return queued <= HTTP_QUEUE_HIGH;
}

static void on_failed(void *arg, enum query_failure f, const char *text, bool begun) {
    static const unsigned status[] = {
        [QUERY_INVALID] = 400, [QUERY_FAILED] = 500, [QUERY_BUSY] = 429, [QUERY_STOPPING] = 503};
    struct sql_request *s = arg;

    s->req->closed = NULL;
    if (begun)
        http_respond_abort(s->req);
    else
        message(s->req, status[f], text);
    done(s);
}

/* The client is gone: the answer that is still due goes nowhere. */
static void on_closed(struct http_request *req) {
    struct sql_request *s = req->user;

    query_cancel(s->query);
    if (s->begun)
        http_respond_abort(req);
    else
        admin_empty(req, 500);
    done(s);
}

void admin_sql(const struct admin_request *r) {
    struct query_engine *e = r->admin->params.queries;
    struct slice accept = http_header_get(r->req->headers, r->req->n_headers, "accept");
    struct query_events events = {.chunk = on_chunk, .failed = on_failed};
    struct sql_request *s;
    const json_t *text;
    json_t *body;

    if (!e) {
        message(r->req, 503, "the query engine is not available on this node");
        return;
    }
    body = admin_body(r);
    if (!body)
        return;
    text = json_object_get(body, "query");
    if (!json_is_string(text)) {
        admin_error(r->req, 422, NULL,
                    "Failed to deserialize the JSON body into the target type: missing field `query`");
        json_decref(body);
        return;
    }
    s = xnew(struct sql_request);
    *s = (struct sql_request){.admin = r->admin, .req = r->req};
    s->format = slice_eq_str(accept, "application/json") ? QUERY_JSON : QUERY_ARROW;
    events.arg = s;
    r->admin->in_flight++;
    r->req->user = s;
    r->req->closed = on_closed;
    s->query = query_start(e, slice_of(json_string_value(text), json_string_length(text)), s->format, &events);
    json_decref(body);
}
