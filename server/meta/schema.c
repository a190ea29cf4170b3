/* SPDX-License-Identifier: Apache-2.0 */
/* meta/schema.c : from the metadata value to the structs everybody reads. Making new values is schema_plan.c. */
#include "meta/schema.h"
#include "base/buf.h"
#include "base/util.h"
#include "proto/command.h"

#include <string.h>
#include <strings.h>

static const char *str_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

static void ms_of(const json_t *o, const char *key, uint64_t *ret) {
    const json_t *v = json_object_get(o, key);

    if (json_is_integer(v) && json_integer_value(v) >= 0)
        *ret = (uint64_t)json_integer_value(v);
}

static void retry_of(const json_t *o, struct retry_policy *p) {
    const json_t *v;

    ms_of(o, "retryPolicyInitialInterval", &p->initial_ms);
    ms_of(o, "retryPolicyMaxInterval", &p->max_ms);
    if (json_is_number(v = json_object_get(o, "retryPolicyExponentiationFactor")))
        p->factor = json_number_value(v);
    if (json_is_integer(v = json_object_get(o, "retryPolicyMaxAttempts"))) {
        json_int_t n = json_integer_value(v);
        p->max_attempts = n < 1 ? 1 : n > UINT32_MAX ? 0 : (uint32_t)n;
    }
    if (json_is_string(v = json_object_get(o, "retryPolicyOnMaxAttempts")))
        p->kill = strcmp(json_string_value(v), "KILL") == 0;
}

static int target_type_of(enum service_type service, const char *ty) {
    switch (service) {
    case SERVICE_OBJECT:
        return ty && strcmp(ty, "SHARED") == 0 ? TARGET_OBJECT_SHARED : TARGET_OBJECT_EXCLUSIVE;
    case SERVICE_WORKFLOW:
        return ty && strcmp(ty, "WORKFLOW") == 0 ? TARGET_WORKFLOW_RUN : TARGET_WORKFLOW_SHARED;
    default:
        return TARGET_SERVICE;
    }
}

static void input_of(const json_t *o, struct schema_handler *h) {
    const json_t *in = json_object_get(o, "input"), *out = json_object_get(o, "output");

    h->has_input = json_is_object(in);
    if (h->has_input) {
        h->input_required = json_is_true(json_object_get(in, "required"));
        h->input_content_type = str_of(in, "contentType");
        h->input_has_schema = json_object_get(in, "jsonSchema") != NULL;
    }
    h->output_content_type = json_is_object(out) ? str_of(out, "contentType") : "application/json";
    h->output_set_if_empty = json_is_true(json_object_get(out, "setContentTypeIfEmpty"));
}

/* The options every level may set, the more special one last. */
static void options_of(const json_t *o, struct schema_handler *h) {
    const json_t *v;

    ms_of(o, "journalRetention", &h->journal_retention_ms);
    ms_of(o, "idempotencyRetention", &h->idempotency_retention_ms);
    ms_of(o, "workflowCompletionRetention", &h->workflow_retention_ms);
    ms_of(o, "inactivityTimeout", &h->inactivity_timeout_ms);
    ms_of(o, "abortTimeout", &h->abort_timeout_ms);
    if (json_is_boolean(v = json_object_get(o, "enableLazyState")))
        h->lazy_state = json_is_true(v);
    if (json_is_boolean(v = json_object_get(o, "ingressPrivate")))
        h->is_public = !json_is_true(v);
    retry_of(o, &h->retry);
}

static void bound_retry(const struct schema_defaults *d, struct retry_policy *p) {
    if (d->max_attempts && (!p->max_attempts || p->max_attempts > d->max_attempts))
        p->max_attempts = d->max_attempts;
}

static void bound_defaults(struct schema_defaults *d) {
    if (!d->bounded) {
        d->max_journal_retention_ms = d->max_idempotency_retention_ms = d->max_workflow_retention_ms = UINT64_MAX;
        d->max_attempts = 0;
        d->bounded = true;
    }
    d->journal_retention_ms = MIN(d->journal_retention_ms, d->max_journal_retention_ms);
    d->idempotency_retention_ms = MIN(d->idempotency_retention_ms, d->max_idempotency_retention_ms);
    d->workflow_retention_ms = MIN(d->workflow_retention_ms, d->max_workflow_retention_ms);
    bound_retry(d, &d->retry);
}

static void bound_handler(const struct schema_defaults *d, struct schema_handler *h) {
    h->journal_retention_ms = MIN(h->journal_retention_ms, d->max_journal_retention_ms);
    h->idempotency_retention_ms = MIN(h->idempotency_retention_ms, d->max_idempotency_retention_ms);
    h->workflow_retention_ms = MIN(h->workflow_retention_ms, d->max_workflow_retention_ms);
    bound_retry(d, &h->retry);
}

static int parse_handler(struct service *s, const json_t *o, const struct schema_defaults *d, struct schema_handler *h,
                         struct err *err) {
    *h = (struct schema_handler){.service = s,
                                 .name = str_of(o, "name"),
                                 .is_public = true,
                                 .journal_retention_ms = d->journal_retention_ms,
                                 .idempotency_retention_ms = d->idempotency_retention_ms,
                                 .workflow_retention_ms = d->workflow_retention_ms,
                                 .inactivity_timeout_ms = d->inactivity_timeout_ms,
                                 .abort_timeout_ms = d->abort_timeout_ms,
                                 .retry = d->retry,
                                 .json = o};
    if (!h->name)
        return err_set(err, RS_ECORRUPT, "a handler of service '%s' has no name", s->name);
    h->target_type = target_type_of(s->type, str_of(o, "ty"));
    options_of(s->json, h);
    options_of(o, h);
    bound_handler(d, h);
    input_of(o, h);
    return 0;
}

static int parse_service(struct deployment *dep, const json_t *o, const struct schema_defaults *d, struct service *s,
                         struct err *err) {
    const char *ty = str_of(o, "ty");
    const json_t *handlers = json_object_get(o, "handlers"), *h;
    size_t i;

    *s = (struct service){.name = str_of(o, "name"), .deployment = dep, .json = o};
    if (!s->name || !ty)
        return err_set(err, RS_ECORRUPT, "a service of deployment %s has no name or type", dep->id);
    s->type = strcmp(ty, "VIRTUAL_OBJECT") == 0 ? SERVICE_OBJECT
              : strcmp(ty, "WORKFLOW") == 0     ? SERVICE_WORKFLOW
                                                : SERVICE_PLAIN;
    s->revision = (uint32_t)json_integer_value(json_object_get(o, "revision"));
    s->retry = d->retry;
    retry_of(o, &s->retry);
    bound_retry(d, &s->retry);
    s->defaults = d;
    s->is_public = !json_is_true(json_object_get(o, "ingressPrivate"));
    s->n_handlers = json_array_size(handlers);
    s->handlers = xnewn(struct schema_handler, s->n_handlers + 1);
    json_array_foreach(handlers, i, h) {
        int r = parse_handler(s, h, d, &s->handlers[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static const char *strrchr_or_start(const char *s, char c) {
    const char *p = strrchr(s, c);

    return p ? p : s;
}

/* Splits "http://host:port/base/" once, so that no call has to. */
static int split_uri(struct deployment *d, json_t *o, struct err *err) {
    const char *colon = strstr(d->uri, "://"), *slash, *host;
    size_t path_len;
    const char *end;
    bool tls, port;
    struct buf dial = {0};

    if (!colon)
        return err_set(err, RS_ECORRUPT, "deployment %s has no absolute uri: '%s'", d->id, d->uri);
    host = colon + 3;
    slash = strchr(host, '/');
    if (!slash)
        slash = host + strlen(host);
    path_len = strlen(slash);
    while (path_len && slash[path_len - 1] == '/')
        path_len--;
    d->scheme = strncmp(d->uri, "https:", 6) == 0 ? "https" : "http";
    d->authority = xstrndup(host, (size_t)(slash - host));
    tls = d->scheme[4] == 's';
    end = strrchr(d->authority, ':');
    port = end && end > strrchr_or_start(d->authority, ']');
    buf_putf(&dial, "%s://%s%s", tls ? "tls" : "tcp", d->authority, port ? "" : tls ? ":443" : ":80");
    d->dial = xstrdup(buf_cstr(&dial));
    buf_done(&dial);
    d->host = host[0] == '[' ? xstrndup(host + 1, strcspn(host + 1, "]"))
                             : xstrndup(host, port ? (size_t)(end - d->authority) : strlen(d->authority));
    d->path = xstrndup(slash, path_len);
    return 0;
}

static int parse_deployment(json_t *o, const struct schema_defaults *def, struct deployment *d, struct err *err) {
    const json_t *services = json_object_get(o, "services"), *s;
    const char *kind = str_of(o, "protocol_type"), *http = str_of(o, "http_version");
    size_t i;
    int r;

    *d = (struct deployment){.id = str_of(o, "id"),
                             .uri = str_of(o, "uri"),
                             .sdk_version = str_of(o, "sdk_version"),
                             .created_at = str_of(o, "created_at"),
                             .headers = json_object_get(o, "additional_headers"),
                             .json = o};
    if (!d->id || !d->uri)
        return err_set(err, RS_ECORRUPT, "a deployment has no id or uri");
    d->kind = kind && strcmp(kind, "RequestResponse") == 0 ? DEPLOYMENT_REQUEST_RESPONSE : DEPLOYMENT_BIDI;
    d->http = http && strncmp(http, "HTTP/1", 6) == 0 ? DEPLOYMENT_HTTP1 : DEPLOYMENT_HTTP2;
    d->min_protocol = (uint32_t)json_integer_value(json_object_get(o, "min_protocol_version"));
    d->max_protocol = (uint32_t)json_integer_value(json_object_get(o, "max_protocol_version"));
    r = split_uri(d, o, err);
    if (r < 0)
        return r;
    d->n_services = json_array_size(services);
    d->services = xnewn(struct service, d->n_services + 1);
    json_array_foreach(services, i, s) {
        r = parse_service(d, s, def, &d->services[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int by_name_then_revision(const void *a, const void *b) {
    const struct service *x = *(struct service *const *)a, *y = *(struct service *const *)b;
    int c = strcmp(x->name, y->name);

    return c ? c : (x->revision < y->revision) - (x->revision > y->revision);
}

static void index_latest(struct schema *s) {
    size_t n = 0, out = 0;

    for (size_t i = 0; i < s->n_deployments; i++)
        n += s->deployments[i].n_services;
    s->latest = xnewn(struct service *, n + 1);
    n = 0;
    for (size_t i = 0; i < s->n_deployments; i++)
        for (size_t k = 0; k < s->deployments[i].n_services; k++)
            s->latest[n++] = &s->deployments[i].services[k];
    qsort(s->latest, n, sizeof s->latest[0], by_name_then_revision);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(s->latest[i]->name, s->latest[i - 1]->name) != 0)
            s->latest[out++] = s->latest[i];
    s->n_latest = out;
}

int schema_parse(struct slice value, uint64_t version, const struct schema_defaults *d, struct schema **ret,
                 struct err *err) {
    struct schema *s = xnew(struct schema);
    json_t *deployments, *o;
    json_error_t je;
    size_t i;
    int r = 0;

    s->refs = 1;
    s->version = version;
    s->defaults = *d;
    bound_defaults(&s->defaults);
    if (!value.data) {
        s->root = json_object();
        index_latest(s);
        *ret = s;
        return 0;
    }
    s->root = json_loadb((const char *)value.data, value.len, 0, &je);
    if (!s->root) {
        r = err_set(err, RS_ECORRUPT, "schema metadata is not JSON: line %d: %s", je.line, je.text);
        goto out;
    }
    deployments = json_object_get(s->root, "deployments");
    s->deployments = xnewn(struct deployment, json_array_size(deployments) + 1);
    json_array_foreach(deployments, i, o) {
        s->n_deployments = i + 1;
        r = parse_deployment(o, &s->defaults, &s->deployments[i], err);
        if (r < 0)
            goto out;
    }
    index_latest(s);
out:
    if (r < 0)
        schema_unref(s);
    else
        *ret = s;
    return r;
}

struct schema *schema_ref(struct schema *s) {
    (void)__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

static void free_string(const char *s) {
    union {
        const char *c;
        void *v;
    } u = {.c = s};

    free(u.v);
}

struct schema *schema_unref(struct schema *s) {
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return NULL;
    for (size_t i = 0; i < s->n_deployments; i++) {
        struct deployment *d = &s->deployments[i];

        for (size_t k = 0; k < d->n_services && d->services; k++)
            free(d->services[k].handlers);
        free(d->services);
        free_string(d->authority);
        free_string(d->path);
        free_string(d->host);
        free_string(d->dial);
    }
    free(s->deployments);
    free(s->latest);
    json_decref(s->root);
    free(s);
    return NULL;
}

const struct service *schema_service(const struct schema *s, struct slice name) {
    size_t lo = 0, hi = s->n_latest;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = slice_cmp(slice_str(s->latest[mid]->name), name);

        if (c == 0)
            return s->latest[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct schema_handler *service_handler(const struct service *s, struct slice name) {
    for (size_t i = 0; i < s->n_handlers; i++)
        if (slice_eq_str(name, s->handlers[i].name))
            return &s->handlers[i];
    return NULL;
}

const struct deployment *schema_deployment(const struct schema *s, struct slice id) {
    for (size_t i = 0; i < s->n_deployments; i++)
        if (slice_eq_str(id, s->deployments[i].id))
            return &s->deployments[i];
    return NULL;
}

static const json_t *header_of(const json_t *headers, const char *name) {
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)headers, key, v) {
        if (strcasecmp(key, name) == 0)
            return v;
    }
    return NULL;
}

const struct deployment *schema_deployment_at(const struct schema *s, const char *uri, const json_t *headers,
                                              const char *const *routing, size_t n_routing) {
    for (size_t i = 0; i < s->n_deployments; i++) {
        const struct deployment *d = &s->deployments[i];
        bool same = strcmp(d->uri, uri) == 0;

        for (size_t k = 0; same && k < n_routing; k++) {
            const json_t *a = header_of(d->headers, routing[k]), *b = header_of(headers, routing[k]);

            same = a && b ? json_equal(a, b) : a == b;
        }
        if (same)
            return d;
    }
    return NULL;
}

struct schema_retention schema_retention(const struct schema_handler *h, bool has_idempotency_key) {
    struct schema_retention r = {0};

    if (h->target_type == TARGET_WORKFLOW_RUN)
        r.completion_ms = h->workflow_retention_ms;
    else if (has_idempotency_key)
        r.completion_ms = h->idempotency_retention_ms;
    else
        r.completion_ms = h->journal_retention_ms;
    r.journal_ms = MIN(h->journal_retention_ms, r.completion_ms);
    return r;
}
