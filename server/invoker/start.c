/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/start.c : how an attempt begins: which deployment, the state that goes along, the request and its Start
 * message. Nothing is sent before all of it could be read and there was memory for it; what is tried again in between
 * begins from the front. */
#include "invoker/identity.h"
#include "invoker/invoker_internal.h"
#include "base/text.h"

#include <stdio.h>

enum { STATE_STEP_BYTES = 64 << 10 }; /* of memory taken while the state is read */

struct starting {
    struct invocation *in;
    struct attempt *a;
    struct buf state, scope, idempotency_key;
    size_t state_left, state_bytes;
    bool partial_state;
    bool starved; /* there is no memory for the state: it was only measured */
    uint32_t entries, commands;
    uint64_t modified_ms, random_seed;
    const struct deployment *deployment;
    const struct schema_handler *handler;
    struct attempt_failure fail;
    char text[256];
};

static int start_fails(struct starting *st, const char *doc, const char *text) {
    st->fail = (struct attempt_failure){.code = 500, .doc_code = doc, .message = slice_str(text), .not_the_sdk = true};
    return 1;
}

static int choose_deployment(struct starting *st, const struct invoker_journal_head *h) {
    struct invoker *inv = st->in->inv;
    const struct service *s = schema_service(inv->schema, h->target->service);
    uint32_t max = inv->params.protocol_v7 ? 7 : 6;
    struct attempt *a = st->a;

    st->handler = s ? service_handler(s, h->target->handler) : NULL;
    if (h->deployment.data) {
        st->deployment = schema_deployment(inv->schema, h->deployment);
        a->pinned = true;
        a->protocol = h->protocol;
        if (!st->deployment)
            return start_fails(st, "RT0011", "the deployment this invocation is pinned to is not registered any more");
    } else {
        if (!s)
            return start_fails(st, "RT0011", "no deployment offers this service");
        st->deployment = s->deployment;
        if (st->deployment->min_protocol > max)
            return start_fails(st, "RT0013", "the deployment speaks only newer protocol versions than this server");
        a->protocol = MIN(st->deployment->max_protocol, max);
        if (a->protocol < 5)
            return start_fails(st, "RT0020",
                               "the deployment speaks only protocol versions that are no longer supported");
    }
    (void)snprintf(a->deployment, sizeof a->deployment, "%s", st->deployment->id);
    (void)snprintf(st->in->deployment, sizeof st->in->deployment, "%s", st->deployment->id);
    return 0;
}

static int read_head(void *arg, const struct invoker_journal_head *h, bool *ret_want_state) {
    struct starting *st = arg;
    struct attempt *a = st->a;
    struct invoker *inv = st->in->inv;
    size_t limit = inv->params.eager_state_limit_bytes;
    int r = choose_deployment(st, h);

    if (r)
        return r;
    /* the target's strings outlive this call in a->names: service, handler, key one after the other */
    buf_put_slice(&a->names, h->target->service);
    buf_put_slice(&a->names, h->target->handler);
    buf_put_slice(&a->names, h->target->key);
    buf_put_slice(&st->scope, h->target->scope);
    buf_put_slice(&st->idempotency_key, h->idempotency_key);
    a->service_len = h->target->service.len;
    a->handler_len = h->target->handler.len;
    a->target_type = (int)h->target->type;
    st->in->start_lsn = h->start_lsn;
    attempt_trace_begin(a, h->trace);
    st->entries = h->entries;
    st->commands = h->commands;
    st->modified_ms = h->modified_ms;
    st->random_seed = h->random_seed;
    st->state_left = limit;
    st->partial_state = a->target_type == TARGET_SERVICE || limit == 0 || (st->handler && st->handler->lazy_state);
    *ret_want_state = !st->partial_state;
    return 0;
}

/* Memory for what was read of the state so far. */
static bool take_state_memory(struct starting *st) {
    struct attempt *a = st->a;
    size_t have = a->inv->share + a->state_held, n;

    if (LIKELY(st->state_bytes <= have))
        return true;
    n = MAX(st->state_bytes - have, (size_t)STATE_STEP_BYTES);
    if (!mem_take(&a->claim, n))
        return false;
    a->state_held += n;
    return true;
}

static int read_state(void *arg, struct slice key, struct slice value) {
    struct starting *st = arg;
    struct sp_state_entry e = {.key = key, .value = value.data ? value : SLICE_LIT("")};
    size_t most = st->in->inv->params.invocation_memory_bytes;

    if (key.len + value.len > st->state_left) {
        st->partial_state = true;
        return 1;
    }
    st->state_left -= key.len + value.len;
    st->state_bytes += key.len + value.len;
    if (st->state_bytes > most) {
        (void)snprintf(st->text, sizeof st->text,
                       "the state does not fit the memory of one invocation, %zu bytes "
                       "(worker.invoker.per-invocation-memory-limit)",
                       most);
        (void)start_fails(st, "RT0001", st->text);
        st->fail.behavior = SP_BEHAVIOR_PAUSE;
        return 1;
    }
    if (st->starved || !take_state_memory(st)) {
        st->starved = true;
        return 0;
    }
    sp_put_field_message_header(&st->state, 4, sp_state_entry_size(&e));
    sp_state_entry_encode(&e, &st->state);
    return 0;
}

/* Start, with the state entries that are encoded already behind the rest (field order does not matter to a reader). */
static void send_start(struct starting *st, const char *id_text) {
    struct attempt *a = st->a;
    struct invocation *in = st->in;
    uint64_t now_ms = loop_wall_ns(in->inv->loop) / 1000000;
    struct sp_start m = {.id = slice_of(in->id.raw, sizeof in->id.raw),
                         .debug_id = slice_str(id_text),
                         .known_entries = st->entries,
                         .partial_state = st->partial_state,
                         .key = attempt_key(a),
                         .retry_count = in->retries_since_entry,
                         .duration_ms = now_ms > st->modified_ms ? now_ms - st->modified_ms : 0,
                         .random_seed = st->random_seed};
    struct buf out = {0};

    if (m.key.len == 0)
        m.key = SLICE_NULL;
    if (a->protocol >= 7 && st->scope.len)
        m.scope = buf_slice(&st->scope);
    if (a->protocol >= 7 && st->idempotency_key.len)
        m.idempotency_key = buf_slice(&st->idempotency_key);
    (void)buf_add(&out, SP_FRAME_HEADER_BYTES);
    sp_start_encode(&m, &out);
    sp_frame_header_put(out.data, SP_START, 0, (uint32_t)(out.len - SP_FRAME_HEADER_BYTES + st->state.len));
    (void)http_stream_write_copy(a->stream, buf_slice(&out));
    if (st->state.len)
        (void)http_stream_write_copy(a->stream, buf_slice(&st->state));
    a->out_held += a->state_held; /* given back when the SDK took it */
    a->state_held = 0;
    buf_done(&out);
}

static size_t add_headers(struct attempt *a, const struct deployment *d, const char *id_text, struct buf *key_escaped,
                          struct http_header *h, size_t max) {
    struct slice ct = slice_str(sp_content_type(a->protocol));
    size_t n = 0;
    const char *name;
    json_t *value;

    h[n++] = HTTP_HEADER("content-type", ct);
    h[n++] = HTTP_HEADER("accept", ct);
    h[n++] = HTTP_HEADER("x-restate-invocation-id", slice_str(id_text));
    if (a->target_type != TARGET_SERVICE) {
        text_put_percent(key_escaped, attempt_key(a));
        h[n++] = HTTP_HEADER("x-restate-service-key", buf_slice(key_escaped));
    }
    for (size_t i = 0; i < a->inv->params.n_headers && n < max; i++)
        h[n++] = a->inv->params.headers[i];
    json_object_foreach((json_t *)(uintptr_t)d->headers, name, value) {
        if (n < max && json_is_string(value))
            h[n++] =
                (struct http_header){slice_str(name), slice_of(json_string_value(value), json_string_length(value))};
    }
    return n;
}

/* The token and its headers. Without a key: nothing. Returns 0 or what request_identity_sign() does. */
static int add_identity(struct attempt *a, struct slice path, struct buf *token, struct http_header *h, size_t *n,
                        struct err *err) {
    const struct request_identity *identity = a->inv->params.identity;
    int r;

    if (!identity)
        return 0;
    r = request_identity_sign(identity, path, loop_wall_ns(a->inv->loop) / 1000000000, token, err);
    if (r == 0) {
        h[(*n)++] = HTTP_HEADER(REQUEST_IDENTITY_SCHEME_HEADER, SLICE_LIT(REQUEST_IDENTITY_SCHEME));
        h[(*n)++] = HTTP_HEADER(REQUEST_IDENTITY_TOKEN_HEADER, buf_slice(token));
    }
    return r;
}

static int open_stream(struct starting *st) {
    struct attempt *a = st->a;
    struct invoker *inv = a->inv;
    const struct deployment *d = st->deployment;
    bool tls = strcmp(d->scheme, "https") == 0;
    struct http_header headers[64];
    struct http_client_request req = {.transport = tls ? inv->params.https : inv->params.http,
                                      .uri = d->dial,
                                      .server_name = d->host,
                                      .scheme = slice_str(d->scheme),
                                      .authority = slice_str(d->authority),
                                      .method = SLICE_LIT("POST"),
                                      .version = d->http == DEPLOYMENT_HTTP1 ? HTTP_VERSION_1
                                                 : tls                       ? HTTP_VERSION_ALPN
                                                                             : HTTP_VERSION_2,
                                      .headers = headers};
    struct buf path = {0}, key = {0}, token = {0};
    char id_text[INVOCATION_ID_CHARS + 1], traceparent[TRACE_PARENT_CHARS + 1];
    struct err err = {0};
    size_t n;
    int r;

    invocation_id_format(&st->in->id, id_text);
    buf_putf(&path, "%s/invoke/" SLICE_FMT "/" SLICE_FMT, d->path, SLICE_ARG(attempt_service(a)),
             SLICE_ARG(attempt_handler(a)));
    n = add_headers(a, d, id_text, &key, headers, ARRAY_SIZE(headers) - 4);
    n += attempt_trace_headers(a, traceparent, headers + n);
    r = add_identity(a, slice_from(buf_slice(&path), strlen(d->path)), &token, headers, &n, &err);
    req.path = buf_slice(&path);
    req.n_headers = n;
    if (r == 0 && !req.transport.ops)
        r = err_set(&err, RS_EUNSUPPORTED, "no transport serves %s deployments on this node", d->scheme);
    if (r == 0)
        r = http_client_request(inv->client, &req, &attempt_stream_events, a, &a->stream, &err);
    if (r == 0)
        send_start(st, id_text);
    else {
        (void)snprintf(st->text, sizeof st->text, "%s", err.msg);
        (void)start_fails(st, "RT0010", st->text);
    }
    buf_done(&path);
    buf_done(&key);
    buf_done(&token);
    return r;
}

static void set_options(struct starting *st) {
    struct attempt *a = st->a;
    const struct schema_handler *h = st->handler;
    const struct schema_defaults *d = &a->inv->schema->defaults;
    uint64_t inactivity = h ? h->inactivity_timeout_ms : d->inactivity_timeout_ms;

    a->inactivity_ns = inactivity * 1000000;
    a->abort_ns = (h ? h->abort_timeout_ms : d->abort_timeout_ms) * 1000000;
    a->bidi = st->deployment->kind == DEPLOYMENT_BIDI && inactivity > 0;
    if (st->in->attempts == 0)
        st->in->retry = h ? h->retry : d->retry;
}

/* Reads head and state. 0; 1: st->fail says why not; RS_EAGAIN: rows are cold, or there is no memory yet; RS_ENOENT. */
static int read_owner(struct starting *st) {
    static const struct invoker_read_events read_events = {.head = read_head, .state = read_state};
    struct invocation *in = st->in;
    struct attempt *a = st->a;
    struct err err = {0};
    int r;

    for (;;) {
        buf_clear(&a->names);
        buf_clear(&st->scope);
        buf_clear(&st->idempotency_key);
        buf_clear(&st->state);
        st->starved = false;
        st->state_bytes = 0;
        r = in->owner->read(in->owner, &in->id, &read_events, st, &err);
        if (r == 0 && st->fail.doc_code)
            return 1;
        if (r < 0 && r != RS_EAGAIN && r != RS_ENOENT) {
            (void)snprintf(st->text, sizeof st->text, "%s", err.msg);
            return start_fails(st, "RT0006", st->text);
        }
        if (r != 0 || !st->starved)
            return r;
        mem_give(&a->claim, a->state_held);
        a->state_held = 0;
        if (!attempt_take_or_wait(a, &a->out_wait, st->state_bytes))
            return RS_EAGAIN;
        a->state_held = st->state_bytes;
    }
}

int attempt_start(struct invocation *in) {
    struct attempt *a = in->attempt ? in->attempt : attempt_new(in);
    struct starting st = {.in = in, .a = a};
    int r;

    in->attempt = a;
    mem_wait_cancel(&a->out_wait); /* rows that were cold came while it waited: it asks again */
    r = read_owner(&st);
    if (r == 0) {
        set_options(&st);
        r = open_stream(&st) < 0; /* 1: st.fail says why */
    }
    if (r == 0) {
        a->replay = a->upto = st.entries;
        a->next_command = st.commands;
        in->commands_sent = in->commands_acked = st.commands;
        in->state = INVOCATION_RUNNING;
        attempt_keep_alive(a);
        if (!a->bidi)
            attempt_end_request(a);
        attempt_send_journal(a);
    } else if (r != RS_EAGAIN) {
        if (r != RS_ENOENT)
            attempt_trace_end(a, in, &st.fail);
        in->attempt = NULL;
        a->in = NULL;
        attempt_free(a);
        if (r != RS_ENOENT) {
            if (in->attempts == 0)
                in->retry = in->inv->schema->defaults.retry;
            invocation_attempt_failed(in, &st.fail); /* may free in */
            r = RS_EIO;
        }
    }
    buf_done(&st.state);
    buf_done(&st.scope);
    buf_done(&st.idempotency_key);
    return r;
}
