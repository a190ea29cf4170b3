/* SPDX-License-Identifier: Apache-2.0 */
/* ingress/respond.c : from replies of partitions to HTTP answers (spec ingress.md §11-§13, §16). */
#include "ingress/ingress_internal.h"
#include "ingress/rules.h"
#include "base/text.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

enum { MAX_FIELDS = 12 };

static size_t cors(const struct http_request *req, struct http_header *h) {
    struct slice origin = http_header_get(req->headers, req->n_headers, "origin");
    size_t n = 0;

    h[n++] = HTTP_HEADER("vary", SLICE_LIT("origin, access-control-request-method, access-control-request-headers"));
    h[n++] = HTTP_HEADER("access-control-allow-credentials", SLICE_LIT("true"));
    if (origin.data)
        h[n++] = HTTP_HEADER("access-control-allow-origin", origin);
    return n;
}

void ingress_answer(struct http_request *req, unsigned status, const struct http_header *extra, size_t n,
                    struct slice body) {
    struct http_header h[MAX_FIELDS];
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        h[k++] = extra[i];
    k += cors(req, h + k);
    http_respond_slice(req, status, h, k, body);
}

void ingress_preflight(struct http_request *req) {
    struct slice method = http_header_get(req->headers, req->n_headers, "access-control-request-method");
    struct slice headers = http_header_get(req->headers, req->n_headers, "access-control-request-headers");
    struct http_header extra[2];
    size_t n = 0;

    if (method.data)
        extra[n++] = HTTP_HEADER("access-control-allow-methods", method);
    if (headers.data)
        extra[n++] = HTTP_HEADER("access-control-allow-headers", headers);
    ingress_answer(req, 200, extra, n, SLICE_LIT(""));
}

static void put_json_string(struct buf *b, struct slice s) {
    json_t *j = json_stringn((const char *)s.data, s.len);
    char *text = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;

    buf_put_str(b, text ? text : "\"\"");
    free(text);
    json_decref(j);
}

static void error_body(struct http_request *req, unsigned status, uint32_t code, struct slice message,
                       const struct cmd_failure *f, const char *source, const struct http_header *extra, size_t n) {
    struct http_header h[6];
    struct buf b = {0};
    size_t k = 0;

    buf_putf(&b, "{\"code\":%u,\"message\":", code);
    put_json_string(&b, message);
    if (f && f->n_metadata) {
        buf_put_str(&b, ",\"metadata\":{");
        for (size_t i = 0; i < f->n_metadata; i++) {
            if (i)
                buf_put_u8(&b, ',');
            put_json_string(&b, f->metadata[i].key);
            buf_put_u8(&b, ':');
            put_json_string(&b, f->metadata[i].value);
        }
        buf_put_u8(&b, '}');
    }
    buf_putf(&b, ",\"source\":\"%s\"}", source);
    h[k++] = HTTP_HEADER("content-type", SLICE_LIT("application/json"));
    h[k++] = HTTP_HEADER("x-restate-error-source", slice_str(source));
    for (size_t i = 0; i < n; i++)
        h[k++] = extra[i];
    ingress_answer(req, status, h, k, buf_slice(&b));
    buf_done(&b);
}

void ingress_error(struct http_request *req, unsigned status, const char *fmt, ...) {
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    error_body(req, status, status, slice_str(line), NULL, "ingress", NULL, 0);
}

/* ---- replies ---- */

static void reply_output(struct ingress_call *c, const struct worker_reply *r, struct http_header *h, size_t n) {
    const struct cmd_failure *f = r->result ? r->result->failure : NULL;
    struct slice body = r->result && r->result->value.data ? r->result->value : SLICE_LIT("");
    struct schema *schema = worker_schema(c->ingress->params.worker);
    const struct service *s;
    const struct schema_handler *handler;
    const char *type;

    if (f) {
        unsigned status = f->code >= 100 && f->code <= 999 ? f->code : 500;

        error_body(c->req, status, f->code, f->message, f, "invocation", h, n);
        return;
    }
    s = schema_service(schema, buf_slice(&c->service));
    handler = s && c->handler.len ? service_handler(s, buf_slice(&c->handler)) : NULL;
    type = handler ? ingress_output_type(handler, body.len == 0) : body.len ? "application/json" : NULL;
    if (type)
        h[n++] = HTTP_HEADER("content-type", slice_str(type));
    ingress_answer(c->req, 200, h, n, body);
}

static void reply_submitted(struct ingress_call *c, const struct worker_reply *r, struct http_header *h, size_t n,
                            const char *id) {
    struct buf b = {0};

    buf_putf(&b, "{\"invocationId\":\"%s\"", id);
    if (r->execution_time_ms) {
        buf_put_str(&b, ",\"executionTime\":\"");
        text_put_rfc3339(&b, r->execution_time_ms * 1000000, 9, "Z");
        buf_put_u8(&b, '"');
    }
    buf_putf(&b, ",\"status\":\"%s\"}", r->is_new ? "Accepted" : "PreviouslyAccepted");
    h[n++] = HTTP_HEADER("content-type", SLICE_LIT("application/json"));
    ingress_answer(c->req, 202, h, n, buf_slice(&b));
    buf_done(&b);
}

void ingress_reply(struct ingress_call *c, const struct worker_reply *r) {
    char id[INVOCATION_ID_CHARS + 1];
    struct http_header h[4];
    struct buf expires = {0};
    size_t n = 0;

    if (c->has_id) {
        invocation_id_format(&c->id, id);
        h[n++] = HTTP_HEADER("x-restate-id", slice_of(id, INVOCATION_ID_CHARS));
    }
    if (r->expiry_ms) {
        text_put_rfc3339(&expires, r->expiry_ms * 1000000, 3, "+00:00");
        h[n++] = HTTP_HEADER("idempotency-expires", buf_slice(&expires));
    }
    switch (r->code) {
    case WORKER_OK:
        if (c->verb == INGRESS_SEND)
            reply_submitted(c, r, h, n, id);
        else if (c->verb == INGRESS_RESOLVE || c->verb == INGRESS_REJECT)
            ingress_answer(c->req, 202, NULL, 0, SLICE_LIT(""));
        else
            reply_output(c, r, h, n);
        break;
    case WORKER_NOT_FOUND:
        error_body(c->req, 404, 404, SLICE_LIT("invocation not found"), NULL, "ingress", h, n);
        break;
    case WORKER_NOT_READY:
        error_body(c->req, 470, 470, SLICE_LIT("the response is not ready yet"), NULL, "ingress", h, n);
        break;
    case WORKER_SHUTDOWN:
        error_body(c->req, 503, 503, SLICE_LIT("this node is shutting down; it is safe to send the request again"),
                   NULL, "ingress", h, n);
        break;
    default:
        error_body(
            c->req, 503, 503,
            slice_str(r->message ? r->message : "the partition lost its leader; the request may have been accepted"),
            NULL, "ingress", h, n);
    }
    buf_done(&expires);
}
