/* SPDX-License-Identifier: Apache-2.0 */
/* ingress/ingress.c : requests in: routing, checks in the order clients see them, and the calls they become. */
#include "ingress/ingress_internal.h"
#include "ingress/rules.h"
#include "base/text.h"
#include "proto/command.h"
#include "proto/pb.h"
#include "tracing/tracer.h"

#include <jansson.h>
#include <strings.h>

/* ---- waiting requests ---- */

static void free_call(struct ingress_call *c) {
    c->ingress->in_flight--;
    buf_done(&c->service);
    buf_done(&c->handler);
    free(c);
}

static void on_reply(struct worker_call *call, const struct worker_reply *r) {
    struct ingress_call *c = CONTAINER_OF(call, struct ingress_call, call);

    ingress_reply(c, r);
    free_call(c);
}

/* The client went away: the invocation goes on, nobody waits for it here. */
static void on_request_closed(struct http_request *req) {
    struct ingress_call *c = req->user;

    worker_call_drop(c->ingress->params.worker, &c->call);
    http_respond_slice(req, 499, NULL, 0, SLICE_NULL); /* thrown away */
    free_call(c);
}

static struct ingress_call *new_call(struct ingress *i, struct http_request *req, enum ingress_verb verb) {
    struct ingress_call *c = xnew(struct ingress_call);

    c->ingress = i;
    c->req = req;
    c->verb = verb;
    c->call.done = on_reply;
    req->user = c;
    req->closed = on_request_closed;
    i->in_flight++;
    return c;
}

/* ---- call and send ---- */

static bool is_method(const struct http_request *req, const char *a, const char *b) {
    return slice_eq_str(req->method, a) || (b && slice_eq_str(req->method, b));
}

/* The query parameter @name (case-insensitive), percent-decoded into @a; data NULL: absent. */
static struct slice query_get(const struct http_request *req, const char *name, struct arena *a) {
    struct slice q = req->query;

    while (q.len) {
        size_t amp = 0, eq = 0;
        struct buf v = {0};
        struct slice ret = SLICE_NULL;

        while (amp < q.len && q.data[amp] != '&')
            amp++;
        while (eq < amp && q.data[eq] != '=')
            eq++;
        if (eq == strlen(name) && strncasecmp((const char *)q.data, name, eq) == 0) {
            if (text_percent_decode(slice_sub(q, eq + 1, amp > eq ? amp - eq - 1 : 0), true, &v) == 0)
                ret = arena_copy(a, buf_slice(&v));
            else
                ret = SLICE_LIT("%");
            buf_done(&v);
            return ret;
        }
        q = slice_from(q, amp + 1);
    }
    return SLICE_NULL;
}

static bool is_visible_ascii(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] >= 0x7f)
            return false;
    return true;
}

static bool is_dropped_header(struct slice name) {
    return slice_eq_str(name, "connection") || slice_eq_str(name, "host") || slice_eq_str(name, "idempotency-key") ||
           slice_eq_str(name, "idempotency-expires");
}

static bool seen_before(const struct cmd_header *h, size_t n, struct slice name) {
    for (size_t i = 0; i < n; i++)
        if (slice_eq(h[i].key, name))
            return true;
    return false;
}

/* What the handler sees: the path first, then the request's headers in order, the first value of each. */
static bool forward_headers(struct ingress *i, struct http_request *req, struct slice path, struct cmd_invoke *cmd) {
    struct cmd_header *h = arena_newn(&i->arena, struct cmd_header, req->n_headers + 1);
    size_t n = 0;

    h[n].key = SLICE_LIT("x-restate-ingress-path");
    h[n++].value = path;
    for (size_t k = 0; k < req->n_headers; k++) {
        const struct http_header *f = &req->headers[k];

        if (is_dropped_header(f->name) || (f->name.len && f->name.data[0] == ':') || seen_before(h + 1, n - 1, f->name))
            continue;
        if (!is_visible_ascii(f->value)) {
            ingress_error(req, 400, "bad header " SLICE_FMT, SLICE_ARG(f->name));
            return false;
        }
        h[n].key = f->name;
        h[n++].value = f->value.data ? f->value : SLICE_LIT("");
    }
    cmd->headers = h;
    cmd->n_headers = n;
    return true;
}

/* The context an invocation is called in, as its record keeps it. */
static struct slice trace_context(struct ingress *i, const struct http_request *req) {
    struct trace_context c;
    struct buf b = {0};
    struct slice ret;

    if (trace_context_parse(http_header_get(req->headers, req->n_headers, "traceparent"),
                            http_header_get(req->headers, req->n_headers, "tracestate"), &c) < 0)
        tracer_begin(i->params.tracer, &c);
    trace_context_encode(&c, &b);
    ret = arena_copy(&i->arena, buf_slice(&b));
    buf_done(&b);
    return ret;
}

static struct slice path_and_query(struct ingress *i, const struct http_request *req, struct slice trimmed) {
    uint8_t *p;

    if (!req->query.data)
        return trimmed;
    p = arena_alloc(&i->arena, trimmed.len + 1 + req->query.len);
    memcpy(p, trimmed.data, trimmed.len);
    p[trimmed.len] = '?';
    if (req->query.len)
        memcpy(p + trimmed.len + 1, req->query.data, req->query.len);
    return slice_of(p, trimmed.len + 1 + req->query.len);
}

static bool parse_delay(struct ingress *i, struct http_request *req, bool send, uint64_t *ret_ms) {
    struct slice delay = query_get(req, "delay", &i->arena);
    struct err err = {0};
    uint64_t ns;

    *ret_ms = 0;
    if (!delay.data)
        return true;
    if (!send) {
        ingress_error(req, 400, "the query parameter 'delay' is only for /send");
        return false;
    }
    if (text_parse_duration(delay, &ns, &err) < 0) {
        int64_t negative;

        if (text_parse_duration_signed(delay, &negative, &err) == 0) /* the past: at once */
            return true;
        ingress_error(req, 400, "bad delay '" SLICE_FMT "': %s", SLICE_ARG(delay), err.msg);
        return false;
    }
    if (ns)
        *ret_ms = (loop_wall_ns(i->params.loop) + ns) / 1000000;
    return true;
}

/* Every request has an idempotency key: a retry inside the cluster then never runs twice (spec ingress.md §6). */
static struct slice hidden_key(struct ingress *i) {
    static const char crockford[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint8_t random[ULID_RANDOM_BYTES], ulid[ULID_BYTES];
    char *text = arena_alloc(&i->arena, 26);
    unsigned __int128 v;

    loop_random(i->params.loop, random, sizeof random);
    ulid_make(loop_wall_ns(i->params.loop) / 1000000, random, ulid);
    v = (unsigned __int128)get_u64be(ulid) << 64 | get_u64be(ulid + 8);
    for (int k = 25; k >= 0; k--, v >>= 5)
        text[k] = crockford[(unsigned)v & 31];
    return slice_of(text, 26);
}

static void derive_id(struct ingress *i, const struct schema_handler *h, const struct ingress_path *p,
                      struct slice idem, struct invocation_id *ret) {
    struct id_target t = {.type = (uint32_t)h->target_type,
                          .service = p->service,
                          .key = p->has_key ? p->key : SLICE_NULL,
                          .handler = p->handler,
                          .scope = p->scope,
                          .idem_key = idem};
    uint8_t random[ID_RANDOM_BYTES];

    loop_random(i->params.loop, random, sizeof random);
    (void)invocation_id_derive(&t, loop_wall_ns(i->params.loop) / 1000000, random, ret);
}

/* The checks of spec ingress.md §1, in its order. NULL: answered. */
static const struct schema_handler *check_target(struct ingress *i, struct http_request *req,
                                                 const struct ingress_path *p) {
    const struct service *s = schema_service(worker_schema(i->params.worker), p->service);
    const struct schema_handler *h = s ? service_handler(s, p->handler) : NULL;
    const struct http_header *idem = http_header_find(req->headers, req->n_headers, "idempotency-key");

    if (!h) {
        ingress_error(req, 404,
                      "handler '" SLICE_FMT "' of service '" SLICE_FMT
                      "' not found, make sure to register it before calling it.",
                      SLICE_ARG(p->handler), SLICE_ARG(p->service));
        return NULL;
    }
    if (!h->is_public) {
        ingress_error(req, 400, "the service '" SLICE_FMT "' is not public and cannot be called through the ingress",
                      SLICE_ARG(p->service));
        return NULL;
    }
    if (s->deployment->max_protocol < 5) {
        ingress_error(req, 400,
                      "the deployment of service '" SLICE_FMT "' speaks a protocol version that is no longer supported",
                      SLICE_ARG(p->service));
        return NULL;
    }
    if (idem && h->target_type == TARGET_WORKFLOW_RUN) {
        ingress_error(req, 400, "the run handler of a workflow takes no idempotency key");
        return NULL;
    }
    if (idem && (idem->value.len == 0 || !is_visible_ascii(idem->value))) {
        ingress_error(req, 400, "bad header idempotency-key");
        return NULL;
    }
    if (p->scope.data && !i->params.scopes) {
        ingress_error(req, 400, "scopes need the experimental feature vqueues, which is not enabled");
        return NULL;
    }
    if (p->scope.data && s->type == SERVICE_OBJECT) {
        ingress_error(req, 400, "virtual object '" SLICE_FMT "' cannot be called in a scope", SLICE_ARG(p->service));
        return NULL;
    }
    if (!is_method(req, "GET", "POST")) {
        ingress_error(req, 405, "method not allowed");
        return NULL;
    }
    return h;
}

static void handle_invoke(struct ingress *i, struct http_request *req, const struct ingress_path *p,
                          struct slice path) {
    const struct schema_handler *h = check_target(i, req, p);
    struct slice idem, body;
    struct cmd_invoke cmd = {0};
    struct cmd_target target = {0};
    struct schema_retention keep;
    struct ingress_call *c;
    struct invocation_id id;
    struct err err = {0};

    if (!h) /* answered: the request is gone */
        return;
    idem = http_header_get(req->headers, req->n_headers, "idempotency-key");
    body = bytes_slice(req->body);
    if (ingress_check_input(h, http_header_get(req->headers, req->n_headers, "content-type"), body, &err) < 0) {
        ingress_error(req, 400, "%s", err.msg);
        return;
    }
    if (!parse_delay(i, req, p->verb == INGRESS_SEND, &cmd.execution_time_ms))
        return;
    if (http_header_get(req->headers, req->n_headers, "x-restate-limit-key").len ||
        query_get(req, "limit-key", &i->arena).len) {
        ingress_error(req, 400, p->scope.data ? "limit keys are not supported" : "a limit key needs a scope");
        return;
    }
    if (!forward_headers(i, req, path_and_query(i, req, path), &cmd))
        return;
    keep = schema_retention(h, idem.data != NULL);
    cmd.hidden_key = !idem.data && h->target_type != TARGET_WORKFLOW_RUN;
    if (cmd.hidden_key)
        idem = hidden_key(i);
    derive_id(i, h, p, idem, &id);
    target = (struct cmd_target){
        .type = (uint32_t)h->target_type, .service = p->service, .handler = p->handler, .scope = p->scope};
    if (p->has_key)
        target.key = p->key;
    cmd.id = invocation_id_slice(&id);
    cmd.target = &target;
    cmd.argument = body.data ? body : SLICE_LIT("");
    cmd.completion_retention_ms = keep.completion_ms;
    cmd.journal_retention_ms = keep.journal_ms;
    cmd.idempotency_key = idem;
    if (i->params.tracer)
        cmd.trace = trace_context(i, req);
    c = new_call(i, req, p->verb);
    c->id = id;
    c->has_id = true;
    buf_put_slice(&c->service, p->service);
    buf_put_slice(&c->handler, p->handler);
    worker_call_invoke(i->params.worker, &c->call, &cmd, p->verb == INGRESS_CALL);
}

/* ---- attach, output, lookup ---- */

static void handle_attach(struct ingress *i, struct http_request *req, bool attach, const struct invocation_id *id,
                          struct slice service, struct slice handler) {
    struct ingress_call *c = new_call(i, req, attach ? INGRESS_ATTACH_ID : INGRESS_OUTPUT_ID);

    c->id = *id;
    c->has_id = true;
    buf_put_slice(&c->service, service);
    buf_put_slice(&c->handler, handler);
    worker_call_attach(i->params.worker, &c->call, id, attach);
}

/* The handler a workflow's result comes from. */
static struct slice run_handler(struct ingress *i, struct slice service) {
    const struct service *s = schema_service(worker_schema(i->params.worker), service);

    for (size_t k = 0; s && k < s->n_handlers; k++)
        if (s->handlers[k].target_type == TARGET_WORKFLOW_RUN)
            return slice_str(s->handlers[k].name);
    return SLICE_NULL;
}

static void id_of_workflow(struct slice scope, struct slice service, struct slice key, struct invocation_id *ret) {
    struct id_target t = {
        .type = TARGET_WORKFLOW_RUN, .service = service, .key = key, .handler = SLICE_LIT("run"), .scope = scope};
    uint8_t unused[ID_RANDOM_BYTES] = {0};

    (void)invocation_id_derive(&t, 0, unused, ret);
}

/* Keyed or not is all that the id depends on, so the service need not be known. */
static void id_of_idempotent(struct slice scope, struct slice service, struct slice key, struct slice handler,
                             struct slice idem, struct invocation_id *ret) {
    struct id_target t = {.type = key.data ? TARGET_OBJECT_SHARED : TARGET_SERVICE,
                          .service = service,
                          .key = key,
                          .handler = handler,
                          .scope = scope,
                          .idem_key = idem};
    uint8_t unused[ID_RANDOM_BYTES] = {0};

    (void)invocation_id_derive(&t, 0, unused, ret);
}

static struct slice json_slice(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);

    return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : SLICE_NULL;
}

struct body_target {
    struct invocation_id id;
    struct slice service, handler; /* in the arena */
};

static bool parse_target_body(struct ingress *i, struct http_request *req, struct body_target *ret) {
    struct slice body = bytes_slice(req->body), kind, scope;
    json_error_t je;
    json_t *o = json_loadb((const char *)body.data, body.len, 0, &je);
    struct err err = {0};
    bool ok = true;

    kind = json_slice(o, "target");
    scope = json_slice(o, "scope");
    if (!json_is_object(o)) {
        ingress_error(req, 400, "cannot read body: %s", o ? "not a JSON object" : je.text);
        ok = false;
    } else if (scope.data && !id_is_scope(scope)) {
        ingress_error(req, 400, "bad scope '" SLICE_FMT "'", SLICE_ARG(scope));
        ok = false;
    } else if (slice_eq_str(kind, "workflow") && json_slice(o, "workflowName").data &&
               json_slice(o, "workflowKey").data) {
        ret->service = arena_copy(&i->arena, json_slice(o, "workflowName"));
        id_of_workflow(scope, ret->service, json_slice(o, "workflowKey"), &ret->id);
        ret->handler = run_handler(i, ret->service);
    } else if (slice_eq_str(kind, "idempotentInvocation") && json_slice(o, "service").data &&
               json_slice(o, "handler").data && json_slice(o, "idempotencyKey").len) {
        ret->service = arena_copy(&i->arena, json_slice(o, "service"));
        ret->handler = arena_copy(&i->arena, json_slice(o, "handler"));
        id_of_idempotent(scope, ret->service, json_slice(o, "key"), ret->handler, json_slice(o, "idempotencyKey"),
                         &ret->id);
    } else if (slice_eq_str(kind, "invocation") && json_slice(o, "invocationId").data) {
        struct slice text = json_slice(o, "invocationId");

        if (invocation_id_parse(text, &ret->id, &err) < 0) {
            ingress_error(req, 400, "bad invocation id '" SLICE_FMT "': %s", SLICE_ARG(text), err.msg);
            ok = false;
        }
    } else {
        ingress_error(
            req, 400,
            "cannot read body: it names no target (workflow, idempotentInvocation or invocation with its fields)");
        ok = false;
    }
    json_decref(o);
    return ok;
}

static void handle_by_body(struct ingress *i, struct http_request *req, enum ingress_verb verb) {
    char text[INVOCATION_ID_CHARS + 1];
    struct body_target t = {0};
    struct http_header type = HTTP_HEADER("content-type", SLICE_LIT("application/json"));
    struct buf b = {0};

    if (!is_method(req, "POST", NULL)) {
        ingress_error(req, 405, "method not allowed");
        return;
    }
    if (!parse_target_body(i, req, &t))
        return;
    if (verb != INGRESS_LOOKUP) {
        handle_attach(i, req, verb == INGRESS_ATTACH_BODY, &t.id, t.service, t.handler);
        return;
    }
    invocation_id_format(&t.id, text);
    buf_putf(&b, "{\"invocationId\":\"%s\"}", text);
    ingress_answer(req, 200, &type, 1, buf_slice(&b));
    buf_done(&b);
}

static void handle_by_path(struct ingress *i, struct http_request *req, const struct ingress_path *p) {
    struct invocation_id id;
    struct err err = {0};

    if (!is_method(req, "GET", NULL)) {
        ingress_error(req, 405, "method not allowed");
        return;
    }
    switch (p->verb) {
    case INGRESS_ATTACH_ID:
    case INGRESS_OUTPUT_ID:
        if (invocation_id_parse(p->id, &id, &err) < 0)
            ingress_error(req, 400, "bad invocation id '" SLICE_FMT "': %s", SLICE_ARG(p->id), err.msg);
        else
            handle_attach(i, req, p->verb == INGRESS_ATTACH_ID, &id, SLICE_NULL, SLICE_NULL);
        return;
    case INGRESS_ATTACH_WORKFLOW:
    case INGRESS_OUTPUT_WORKFLOW:
        id_of_workflow(SLICE_NULL, p->service, p->key, &id);
        handle_attach(i, req, p->verb == INGRESS_ATTACH_WORKFLOW, &id, p->service, run_handler(i, p->service));
        return;
    default:
        id_of_idempotent(SLICE_NULL, p->service, p->has_key ? p->key : SLICE_NULL, p->handler, p->idempotency_key, &id);
        handle_attach(i, req, p->verb == INGRESS_ATTACH_KEY, &id, p->service, p->handler);
    }
}

/* ---- awakeables ---- */

static void handle_awakeable(struct ingress *i, struct http_request *req, const struct ingress_path *p) {
    struct slice body = bytes_slice(req->body);
    struct cmd_failure failure = {.code = 500, .message = body.data ? body : SLICE_LIT("")};
    struct cmd_result result = {0};
    struct awakeable_id id;
    struct cmd_signal cmd = {0};
    struct ingress_call *c;
    struct err err = {0};

    if (!is_method(req, "POST", NULL)) {
        ingress_error(req, 405, "method not allowed");
        return;
    }
    if (awakeable_id_parse(p->id, &id, &err) < 0) {
        ingress_error(req, 400, "bad awakeable id '" SLICE_FMT "': %s", SLICE_ARG(p->id), err.msg);
        return;
    }
    if (id.legacy) { /* nobody can wait for one */
        ingress_answer(req, 202, NULL, 0, SLICE_LIT(""));
        return;
    }
    if (p->verb == INGRESS_RESOLVE)
        result.value = failure.message;
    else if (!pb_utf8(failure.message))
        failure.message = SLICE_LIT("(the reason is not UTF-8)");
    if (p->verb == INGRESS_REJECT)
        result.failure = &failure;
    cmd.target = invocation_id_slice(&id.invocation);
    cmd.index = id.index;
    cmd.result = &result;
    c = new_call(i, req, p->verb);
    worker_call_signal(i->params.worker, &c->call, &cmd);
}

static void handle_health(struct ingress *i, struct http_request *req) {
    struct schema *s = worker_schema(i->params.worker);
    struct http_header type = HTTP_HEADER("content-type", SLICE_LIT("application/json"));
    struct buf b = {0};

    if (!is_method(req, "GET", NULL)) {
        ingress_error(req, 405, "method not allowed");
        return;
    }
    buf_put_str(&b, "{\"services\":[");
    for (size_t k = 0; k < s->n_latest; k++)
        buf_putf(&b, "%s\"%s\"", k ? "," : "", s->latest[k]->name);
    buf_put_str(&b, "]}");
    ingress_answer(req, 200, &type, 1, buf_slice(&b));
    buf_done(&b);
}

/* ---- dispatch ---- */

static int keyed_service(void *arg, struct slice service) {
    struct ingress *i = arg;
    const struct service *s = schema_service(worker_schema(i->params.worker), service);

    return !s ? -1 : s->type != SERVICE_PLAIN;
}

static void dispatch(struct ingress *i, struct http_request *req, const struct ingress_path *p, struct slice path) {
    switch (p->verb) {
    case INGRESS_CALL:
    case INGRESS_SEND:
        handle_invoke(i, req, p, path);
        return;
    case INGRESS_ATTACH_BODY:
    case INGRESS_OUTPUT_BODY:
    case INGRESS_LOOKUP:
        handle_by_body(i, req, p->verb);
        return;
    case INGRESS_RESOLVE:
    case INGRESS_REJECT:
        handle_awakeable(i, req, p);
        return;
    case INGRESS_HEALTH:
        handle_health(i, req);
        return;
    default:
        handle_by_path(i, req, p);
    }
}

static void on_request(void *arg, struct http_request *req) {
    struct ingress *i = arg;
    struct slice path = ingress_path_trim(req->path);
    struct ingress_path p;
    struct err err = {0};

    arena_clear(&i->arena);
    if (slice_eq_str(req->method, "OPTIONS")) {
        ingress_preflight(req);
        return;
    }
    if (i->params.concurrent_limit && i->in_flight >= i->params.concurrent_limit) {
        ingress_error(req, 429, "too many concurrent requests");
        return;
    }
    if (!worker_writable(
            i->params.worker)) { /* the log does not take what was proposed: memory must not grow instead */
        ingress_error(req, 429, "too many requests wait for the log of this node");
        return;
    }
    switch (ingress_path_parse(path, keyed_service, i, &i->arena, &p, &err)) {
    case PATH_OK:
        dispatch(i, req, &p, path);
        break;
    case PATH_NOT_FOUND:
        ingress_error(req, 404, "not found");
        break;
    case PATH_NO_SERVICE:
        ingress_error(req, 404, "%s", err.msg);
        break;
    default:
        ingress_error(req, 400, "%s", err.msg);
    }
}

struct ingress *ingress_new(const struct ingress_params *p) {
    struct ingress *i = xnew(struct ingress);
    struct http_server_params hp = {.max_body_bytes = p->request_size_limit,
                                    .h2_max_streams = p->http2_max_streams,
                                    .too_big = {413, "text/plain; charset=utf-8", SLICE_LIT("length limit exceeded")}};

    i->params = *p;
    i->server = http_server_new(p->loop, &hp, on_request, i);
    return i;
}

struct http_server *ingress_server(struct ingress *i) {
    return i->server;
}

void ingress_drain(struct ingress *i, uint64_t timeout_ns, void (*done)(void *arg), void *arg) {
    http_server_drain(i->server, timeout_ns, done, arg);
}

struct ingress *ingress_free(struct ingress *i) {
    if (i) {
        http_server_free(i->server);
        arena_done(&i->arena);
        free(i);
    }
    return NULL;
}
