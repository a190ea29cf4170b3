/* SPDX-License-Identifier: Apache-2.0 */
/* admin/render.c : JSON answers and the objects of spec admin.md §6. */
#include "admin/admin_internal.h"
#include "base/text.h"
#include "proto/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void answer(struct http_request *req, unsigned status, const struct http_header *extra, size_t n,
                   struct slice body) {
    struct http_header h[6];
    size_t k = 0;

    h[k++] = HTTP_HEADER("vary", SLICE_LIT("accept-encoding"));
    for (size_t i = 0; i < n; i++)
        h[k++] = extra[i];
    http_respond_slice(req, status, h, k, body);
}

void admin_json(struct http_request *req, unsigned status, const char *location, json_t *take) {
    char *text = json_dumps(take, JSON_COMPACT);
    struct http_header h[2] = {HTTP_HEADER("content-type", SLICE_LIT("application/json")),
                               HTTP_HEADER("location", slice_str(location ? location : ""))};

    answer(req, status, h, location ? 2 : 1, slice_str(text ? text : "{}"));
    free(text);
    json_decref(take);
}

void admin_empty(struct http_request *req, unsigned status) {
    answer(req, status, NULL, 0, SLICE_LIT(""));
}

void admin_error(struct http_request *req, unsigned status, const char *code, const char *fmt, ...) {
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    admin_json(req, status, NULL,
               json_pack("{s:o, s:o}", "message", json_string_nocheck(text), "restate_code",
                         code && code[0] ? json_string(code) : json_null()));
}

void admin_method_not_allowed(struct http_request *req, const char *allow) {
    char *text = NULL;
    struct http_header h[2] = {HTTP_HEADER("content-type", SLICE_LIT("application/json")),
                               HTTP_HEADER("allow", slice_str(allow))};
    json_t *o = json_pack("{s:s, s:n}", "message", "method not allowed", "restate_code");

    text = json_dumps(o, JSON_COMPACT);
    answer(req, 405, h, 2, slice_str(text));
    free(text);
    json_decref(o);
}

/* ---- requests ---- */

json_t *admin_body(const struct admin_request *r) {
    struct slice type = http_header_get(r->req->headers, r->req->n_headers, "content-type"),
                 body = bytes_slice(r->req->body);
    json_error_t je;
    json_t *o;

    if (type.len < 16 || memcmp(type.data, "application/json", 16) != 0) {
        admin_error(r->req, 415, NULL, "Expected request with `Content-Type: application/json`");
        return NULL;
    }
    o = json_loadb((const char *)body.data, body.len, 0, &je);
    if (!o)
        admin_error(r->req, 400, NULL, "Failed to parse the request body as JSON: line %d column %d: %s", je.line,
                    je.column, je.text);
    else if (!json_is_object(o)) {
        admin_error(r->req, 422, NULL, "Failed to deserialize the JSON body: expected an object");
        json_decref(o);
        o = NULL;
    }
    return o;
}

bool admin_query(const struct admin_request *r, const char *name, struct buf *ret) {
    struct slice q = r->req->query;

    while (q.len) {
        size_t amp = 0, eq = 0;

        while (amp < q.len && q.data[amp] != '&')
            amp++;
        while (eq < amp && q.data[eq] != '=')
            eq++;
        if (slice_eq_str(slice_sub(q, 0, eq), name)) {
            buf_clear(ret);
            return text_percent_decode(slice_sub(q, eq + 1, amp > eq ? amp - eq - 1 : 0), true, ret) == 0;
        }
        q = slice_from(q, amp + 1);
    }
    return false;
}

bool admin_duration_ms(const json_t *v, uint64_t *ret) {
    uint64_t ns;

    if (!json_is_string(v) || text_parse_duration(slice_str(json_string_value(v)), &ns, NULL) < 0)
        return false;
    *ret = ns / 1000000;
    return true;
}

/* ---- objects ---- */

json_t *render_ms(uint64_t ms) {
    struct buf b = {0};
    json_t *j;

    text_put_duration(&b, ms * 1000000);
    j = json_string(buf_cstr(&b));
    buf_done(&b);
    return j;
}

static void set_ms_if(json_t *to, const char *key, const json_t *from, const char *from_key) {
    const json_t *v = json_object_get(from, from_key);

    if (json_is_integer(v))
        (void)json_object_set_new(to, key, render_ms((uint64_t)json_integer_value(v)));
}

static void copy_if(json_t *to, const char *key, const json_t *from, const char *from_key) {
    json_t *v = json_object_get(from, from_key);

    if (v && !json_is_null(v))
        (void)json_object_set(to, key, v);
}

static json_t *describe_schema(const json_t *schema) {
    const char *title = json_string_value(json_object_get(schema, "title")),
               *type = json_string_value(json_object_get(schema, "type"));
    char text[200];

    if (!title && !type)
        return NULL;
    (void)snprintf(text, sizeof text, title ? "JSON '%s'" : "JSON %s", title ? title : type);
    return json_string(text);
}

static json_t *describe_input(const struct schema_handler *h) {
    json_t *j =
        h->input_has_schema ? describe_schema(json_object_get(json_object_get(h->json, "input"), "jsonSchema")) : NULL;

    if (j)
        return j;
    if (!h->has_input)
        return json_string("one of [\"none\", \"*/*\"]");
    return json_string(h->input_content_type ? h->input_content_type : "none");
}

static json_t *describe_output(const struct schema_handler *h) {
    const json_t *schema = json_object_get(json_object_get(h->json, "output"), "jsonSchema");
    json_t *j = schema ? describe_schema(schema) : NULL;

    return j ? j : json_string(h->output_content_type ? h->output_content_type : "none");
}

static json_t *attempts_or_null(const struct retry_policy *p) {
    return p->max_attempts ? json_integer(p->max_attempts) : json_null();
}

static json_t *render_retry(const struct retry_policy *p) {
    return json_pack("{s:o, s:f, s:o, s:o, s:s}", "initial_interval", render_ms(p->initial_ms), "exponentiation_factor",
                     p->factor, "max_attempts", attempts_or_null(p), "max_interval", render_ms(p->max_ms),
                     "on_max_attempts", p->kill ? "Kill" : "Pause");
}

/* Only what the handler itself says; max_attempts always. */
static json_t *render_retry_overrides(const struct schema_handler *h) {
    json_t *o = json_pack("{s:n}", "max_attempts");

    if (json_is_integer(json_object_get(h->json, "retryPolicyMaxAttempts")))
        (void)json_object_set_new(o, "max_attempts", attempts_or_null(&h->retry));
    set_ms_if(o, "initial_interval", h->json, "retryPolicyInitialInterval");
    set_ms_if(o, "max_interval", h->json, "retryPolicyMaxInterval");
    copy_if(o, "exponentiation_factor", h->json, "retryPolicyExponentiationFactor");
    if (json_is_string(json_object_get(h->json, "retryPolicyOnMaxAttempts")))
        (void)json_object_set_new(o, "on_max_attempts", json_string(h->retry.kill ? "Kill" : "Pause"));
    return o;
}

/* A retention that the handler itself asks for: @resolved is within the server's bounds. */
static void retention_if(json_t *o, const char *key, const struct schema_handler *h, const char *own,
                         uint64_t resolved) {
    if (json_is_integer(json_object_get(h->json, own)))
        (void)json_object_set_new(o, key, render_ms(resolved));
}

json_t *render_handler(const struct schema_handler *h) {
    static const char *const types[] = {[TARGET_OBJECT_EXCLUSIVE] = "Exclusive",
                                        [TARGET_OBJECT_SHARED] = "Shared",
                                        [TARGET_WORKFLOW_RUN] = "Workflow",
                                        [TARGET_WORKFLOW_SHARED] = "Shared"};
    json_t *o = json_pack("{s:s}", "name", h->name);

    if (h->target_type != TARGET_SERVICE)
        (void)json_object_set_new(o, "ty", json_string(types[h->target_type]));
    copy_if(o, "documentation", h->json, "documentation");
    copy_if(o, "metadata", h->json, "metadata");
    retention_if(o, "idempotency_retention", h, "idempotencyRetention", h->idempotency_retention_ms);
    retention_if(o, "workflow_completion_retention", h, "workflowCompletionRetention", h->workflow_retention_ms);
    retention_if(o, "journal_retention", h, "journalRetention", h->journal_retention_ms);
    set_ms_if(o, "inactivity_timeout", h->json, "inactivityTimeout");
    set_ms_if(o, "abort_timeout", h->json, "abortTimeout");
    copy_if(o, "enable_lazy_state", h->json, "enableLazyState");
    (void)json_object_set_new(o, "public", json_boolean(h->is_public));
    (void)json_object_set_new(o, "input_description", describe_input(h));
    (void)json_object_set_new(o, "output_description", describe_output(h));
    copy_if(o, "input_json_schema", json_object_get(h->json, "input"), "jsonSchema");
    copy_if(o, "output_json_schema", json_object_get(h->json, "output"), "jsonSchema");
    (void)json_object_set_new(o, "retry_policy", render_retry_overrides(h));
    return o;
}

/* What the service says, or the server's default, as a probe handler without options of its own would get it. */
static uint64_t service_ms(const struct service *s, const char *key, uint64_t server) {
    const json_t *v = json_object_get(s->json, key);

    return json_is_integer(v) ? (uint64_t)json_integer_value(v) : server;
}

json_t *render_service(const struct service *s) {
    static const char *const types[] = {
        [SERVICE_PLAIN] = "Service", [SERVICE_OBJECT] = "VirtualObject", [SERVICE_WORKFLOW] = "Workflow"};
    const struct schema_defaults *d = s->defaults;
    struct retry_policy retry = s->retry;
    json_t *handlers = json_array(), *o;

    for (size_t i = 0; i < s->n_handlers; i++)
        (void)json_array_append_new(handlers, render_handler(&s->handlers[i]));
    o = json_pack("{s:s, s:s, s:o}", "name", s->name, "ty", types[s->type], "handlers", handlers);
    copy_if(o, "documentation", s->json, "documentation");
    copy_if(o, "metadata", s->json, "metadata");
    (void)json_object_set_new(o, "deployment_id", json_string(s->deployment->id));
    (void)json_object_set_new(o, "revision", json_integer(s->revision));
    (void)json_object_set_new(o, "public", json_boolean(s->is_public));
    (void)json_object_set_new(o, "idempotency_retention",
                              render_ms(MIN(service_ms(s, "idempotencyRetention", d->idempotency_retention_ms),
                                            d->max_idempotency_retention_ms)));
    if (s->type == SERVICE_WORKFLOW)
        (void)json_object_set_new(o, "workflow_completion_retention",
                                  render_ms(MIN(service_ms(s, "workflowCompletionRetention", d->workflow_retention_ms),
                                                d->max_workflow_retention_ms)));
    (void)json_object_set_new(
        o, "journal_retention",
        render_ms(MIN(service_ms(s, "journalRetention", d->journal_retention_ms), d->max_journal_retention_ms)));
    (void)json_object_set_new(o, "inactivity_timeout",
                              render_ms(service_ms(s, "inactivityTimeout", d->inactivity_timeout_ms)));
    (void)json_object_set_new(o, "abort_timeout", render_ms(service_ms(s, "abortTimeout", d->abort_timeout_ms)));
    (void)json_object_set_new(o, "enable_lazy_state",
                              json_boolean(json_is_true(json_object_get(s->json, "enableLazyState"))));
    (void)json_object_set_new(o, "retry_policy", render_retry(&retry));
    return o;
}

json_t *render_deployment(const struct deployment *d, bool full_services) {
    json_t *services = json_array(), *o;

    for (size_t i = 0; i < d->n_services; i++)
        (void)json_array_append_new(services, full_services ? render_service(&d->services[i])
                                                            : json_pack("{s:s, s:i}", "name", d->services[i].name,
                                                                        "revision", (int)d->services[i].revision));
    o = json_pack("{s:s, s:s, s:s, s:s}", "id", d->id, "uri", d->uri, "protocol_type",
                  d->kind == DEPLOYMENT_BIDI ? "BidiStream" : "RequestResponse", "http_version",
                  d->http == DEPLOYMENT_HTTP1 ? "HTTP/1.1" : "HTTP/2.0");
    copy_if(o, "additional_headers", d->json, "additional_headers");
    copy_if(o, "metadata", d->json, "metadata");
    (void)json_object_set_new(o, "created_at", json_string(d->created_at));
    (void)json_object_set_new(o, "min_protocol_version", json_integer(d->min_protocol));
    (void)json_object_set_new(o, "max_protocol_version", json_integer(d->max_protocol));
    if (d->sdk_version && d->sdk_version[0])
        (void)json_object_set_new(o, "sdk_version", json_string(d->sdk_version));
    (void)json_object_set_new(o, "services", services);
    return o;
}
