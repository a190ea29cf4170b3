/* SPDX-License-Identifier: Apache-2.0 */
/* admin/discover.c : asks a deployment what it offers: GET {base}/discover (service-protocol.md §2). */
#include "admin/admin_internal.h"
#include "base/limits.h"
#include "invoker/identity.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DISCOVERY_TIMEOUT_NS 10000000000ull

static const char accept_types[] =
    "application/vnd.restate.endpointmanifest.v1+json, application/vnd.restate.endpointmanifest.v2+json, "
    "application/vnd.restate.endpointmanifest.v3+json, application/vnd.restate.endpointmanifest.v4+json";

static void finish(struct discovery *d) {
    timer_stop(d->admin->params.loop, &d->timer);
    if (d->stream) {
        http_stream_reset(d->stream);
        d->stream = NULL;
    }
    buf_done(&d->body);
    d->done(d);
}

static void fail(struct discovery *d, unsigned status, const char *code, const char *fmt, ...) RS_PRINTF(4, 5);
static void fail(struct discovery *d, unsigned status, const char *code, const char *fmt, ...) {
    va_list ap;
    int n = code[0] ? snprintf(d->message, sizeof d->message, "[%s] ", code) : 0;

    va_start(ap, fmt);
    (void)vsnprintf(d->message + n, sizeof d->message - (size_t)n, fmt, ap);
    va_end(ap);
    d->status = status;
    (void)snprintf(d->code, sizeof d->code, "%s", code);
    finish(d);
}

int discover_uri(const char *uri, struct buf *ret, struct err *err) {
    size_t scheme = strncmp(uri, "http://", 7) == 0 ? 7 : strncmp(uri, "https://", 8) == 0 ? 8 : 0, len;
    const char *host = uri + scheme, *slash;

    if (!scheme)
        return err_set(err, RS_EINVAL, "the uri '%s' is not absolute: it must begin with http:// or https://", uri);
    if (strpbrk(uri, " \t\r\n#") || strchr(uri, '?'))
        return err_set(err, RS_EINVAL, "the uri '%s' has a space, a query or a fragment", uri);
    slash = strchr(host, '/');
    len = slash ? (size_t)(slash - host) : strlen(host);
    if (len == 0 || memchr(host, '@', len))
        return err_set(err, RS_EINVAL, "the uri '%s' names no host", uri);
    buf_put_str(ret, uri);
    if (!slash)
        buf_put_u8(ret, '/');
    return 0;
}

static void on_head(void *arg, struct http_stream *s, unsigned status, const struct http_header *h, size_t n) {
    struct discovery *d = arg;
    struct slice type = http_header_get(h, n, "content-type"), sdk = http_header_get(h, n, "x-restate-server");

    d->http_status = status;
    d->right_type = type.len == strlen("application/vnd.restate.endpointmanifest.v1+json") &&
                    memcmp(type.data, "application/vnd.restate.endpointmanifest.v", 42) == 0 && type.data[42] >= '1' &&
                    type.data[42] <= '4';
    (void)snprintf(d->sdk_version, sizeof d->sdk_version, SLICE_FMT, SLICE_ARG(sdk));
}

static void on_data(void *arg, struct http_stream *s, struct slice data) {
    struct discovery *d = arg;

    if (d->body.len + data.len > LIMIT_METADATA_VALUE_BYTES) {
        fail(d, 500, "META0013", "the endpoint manifest of %s is larger than %u bytes", d->uri,
             LIMIT_METADATA_VALUE_BYTES);
        return;
    }
    buf_put_slice(&d->body, data);
    http_stream_consume(s, data.len);
}

static void judge(struct discovery *d) {
    json_error_t je;

    if (d->http_status == 404) {
        fail(d, 500, "META0003",
             "received status 404 from %sdiscover: does the SDK listen there? If it is mounted under a path, the path "
             "belongs into the uri",
             d->uri);
        return;
    }
    if (d->http_status < 200 || d->http_status > 299) {
        fail(d, 500, "META0003", "received status %u from %sdiscover", d->http_status, d->uri);
        return;
    }
    if (!d->right_type) {
        fail(d, 500, "META0013", "the answer of %sdiscover has no endpoint manifest content-type of version 1 to 4",
             d->uri);
        return;
    }
    d->manifest = json_loadb((const char *)d->body.data, d->body.len, 0, &je);
    if (!json_is_object(d->manifest)) {
        json_decref(d->manifest);
        d->manifest = NULL;
        fail(d, 500, "", "the endpoint manifest of %s is not a JSON object: line %d column %d: %s", d->uri, je.line,
             je.column, je.text);
        return;
    }
    finish(d);
}

static void on_end(void *arg, struct http_stream *s) {
    judge(arg);
}

static void on_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    struct discovery *d = arg;

    d->stream = NULL;
    if (why->flags & HTTP_CLOSED_NOT_H2)
        fail(d, 500, "META0014", "%s answered with HTTP/1.1 to an HTTP/2 request: register it with use_http_11",
             d->uri);
    else
        fail(d, 500, "META0003", "cannot reach the deployment at %s: %s", d->uri, why->message);
}

static void on_timeout(void *arg) {
    struct discovery *d = arg;

    fail(d, 500, "META0003", "the deployment at %s did not answer within 10 s", d->uri);
}

static const struct http_stream_events events = {.head = on_head, .data = on_data, .end = on_end, .closed = on_closed};

static void no_transport(void *arg) {
    struct discovery *d = arg;
    char why[sizeof d->message];

    (void)snprintf(why, sizeof why, "%s", d->message[0] ? d->message : "no transport of this node serves this uri");
    fail(d, 400, "", "%s", why);
}

static int add_identity(struct admin *a, struct buf *token, struct http_header *h, size_t *n, struct err *err) {
    int r;

    if (!a->params.identity)
        return 0;
    r = request_identity_sign(a->params.identity, SLICE_LIT("/discover"), loop_wall_ns(a->params.loop) / 1000000000,
                              token, err);
    if (r == 0) {
        h[(*n)++] = HTTP_HEADER(REQUEST_IDENTITY_SCHEME_HEADER, SLICE_LIT(REQUEST_IDENTITY_SCHEME));
        h[(*n)++] = HTTP_HEADER(REQUEST_IDENTITY_TOKEN_HEADER, buf_slice(token));
    }
    return r;
}

void discover_start(struct discovery *d) {
    struct admin *a = d->admin;
    bool tls = strncmp(d->uri, "https:", 6) == 0;
    const char *host = strstr(d->uri, "://") + 3, *slash = strchr(host, '/');
    struct http_transport t = tls ? a->params.https : a->params.http;
    struct http_header h[64] = {HTTP_HEADER("accept", slice_str(accept_types))};
    struct http_client_request req;
    struct buf dial = {0}, path = {0}, authority = {0}, sni = {0}, token = {0};
    size_t host_len;
    size_t n = 1;
    const char *name;
    json_t *v;
    struct err err = {0};
    int r = RS_EUNSUPPORTED;

    for (size_t i = 0; i < a->params.n_headers && n < ARRAY_SIZE(h) - 2; i++)
        h[n++] = a->params.headers[i];
    json_object_foreach((json_t *)(uintptr_t)d->headers, name, v) {
        if (n < ARRAY_SIZE(h) - 2 && json_is_string(v))
            h[n++] = (struct http_header){slice_str(name), slice_str(json_string_value(v))};
    }
    if (t.ops)
        r = add_identity(a, &token, h, &n, &err);
    buf_put(&authority, host, (size_t)(slash - host));
    buf_putf(&path, "%sdiscover", slash);
    if (path.len > strlen("discover") && slash[strlen(slash) - 1] != '/') {
        buf_clear(&path);
        buf_putf(&path, "%s/discover", slash);
    }
    host_len = host[0] == '[' ? strcspn(host + 1, "]") : strcspn(host, ":/");
    buf_put(&sni, host + (host[0] == '['), host_len);
    buf_putf(&dial, "%s://%s", tls ? "tls" : "tcp", buf_cstr(&authority));
    if (strrchr(buf_cstr(&authority), ':') <= strrchr(buf_cstr(&authority), ']'))
        buf_put_str(&dial, tls ? ":443" : ":80");
    req = (struct http_client_request){.transport = t,
                                       .uri = buf_cstr(&dial),
                                       .server_name = buf_cstr(&sni),
                                       .scheme = slice_str(tls ? "https" : "http"),
                                       .authority = buf_slice(&authority),
                                       .method = SLICE_LIT("GET"),
                                       .path = buf_slice(&path),
                                       .version = d->use_http_11 ? HTTP_VERSION_1
                                                  : tls          ? HTTP_VERSION_ALPN
                                                                 : HTTP_VERSION_2,
                                       .headers = h,
                                       .n_headers = n,
                                       .no_body = true};
    d->http = d->use_http_11 ? DEPLOYMENT_HTTP1 : DEPLOYMENT_HTTP2;
    timer_init(&d->timer, on_timeout, d);
    if (r == 0)
        r = http_client_request(a->client, &req, &events, d, &d->stream, &err);
    if (r < 0) {
        (void)snprintf(d->message, sizeof d->message, "%s", err.msg);
        loop_post(a->params.loop, no_transport, d);
    } else {
        timer_set(a->params.loop, &d->timer, DISCOVERY_TIMEOUT_NS);
    }
    buf_done(&dial);
    buf_done(&path);
    buf_done(&authority);
    buf_done(&sni);
    buf_done(&token);
}
