/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/attempt.c : one attempt: one HTTP stream to a deployment, from Start to its end.
 *
 * Never waits for the response head before sending, never for the end of the request before reading
 * (service-protocol.md §3). Bytes are consumed (the window opens) only when the owner took the effects. */
#include "invoker/identity.h"
#include "invoker/invoker_internal.h"
#include "base/text.h"
#include "tracing/spans.h"

#include <stdio.h>

enum { DRAIN_NS_AFTER_END = 5 };

static void fail_attempt(struct attempt *a, const struct attempt_failure *f);

#define FAIL(a_, code_, doc_, text_, ...)                                                                              \
    fail_attempt((a_), &(struct attempt_failure){                                                                      \
                           .code = (code_), .doc_code = (doc_), .message = slice_str(text_), ##__VA_ARGS__})

/* ---- sending ---- */

static struct bytes *frame(uint16_t type, uint16_t flags, struct slice payload) {
    struct bytes *b = bytes_new(SP_FRAME_HEADER_BYTES + payload.len);

    sp_frame_header_put(b->data, type, flags, (uint32_t)payload.len);
    if (payload.len)
        memcpy(b->data + SP_FRAME_HEADER_BYTES, payload.data, payload.len);
    return b;
}

static void send_frame(struct attempt *a, uint16_t type, struct slice payload) {
    if (payload.len < 1024) {
        uint8_t small[SP_FRAME_HEADER_BYTES + 1024];

        sp_frame_header_put(small, type, 0, (uint32_t)payload.len);
        if (payload.len)
            memcpy(small + SP_FRAME_HEADER_BYTES, payload.data, payload.len);
        (void)http_stream_write_copy(a->stream, slice_of(small, SP_FRAME_HEADER_BYTES + payload.len));
    } else {
        (void)http_stream_write(a->stream, frame(type, 0, payload));
    }
}

static void keep_alive(struct attempt *a) {
    if (!a->in)
        return;
    if (a->request_ended)
        timer_set(a->inv->loop, &a->abort, a->abort_ns);
    else
        timer_set(a->inv->loop, &a->inactivity, a->inactivity_ns);
}

void attempt_notify(struct attempt *a, uint16_t type, struct slice payload) {
    if (type == SP_RUN_COMPLETION && a->protocol >= 7) {
        struct sp_notification n;
        struct buf out = {0};
        struct sp_propose_run_completion_ack ack = {0};

        if (sp_notification_decode(&n, payload, &a->inv->arena, NULL) == 0) {
            ack.completion_id = n.completion_id;
            sp_propose_run_completion_ack_encode(&ack, &out);
            send_frame(a, SP_PROPOSE_RUN_COMPLETION_ACK, buf_slice(&out));
        }
        buf_done(&out);
    } else {
        send_frame(a, type, payload);
    }
    keep_alive(a);
}

void attempt_ack(struct attempt *a, uint32_t command_index) {
    struct sp_command_ack ack = {.command_index = command_index};
    struct buf out = {0};

    if (a->request_ended)
        return;
    sp_command_ack_encode(&ack, &out);
    send_frame(a, SP_COMMAND_ACK, buf_slice(&out));
    buf_done(&out);
}

static void end_request(struct attempt *a) {
    if (a->request_ended)
        return;
    a->request_ended = true;
    timer_stop(a->inv->loop, &a->inactivity);
    http_stream_end(a->stream);
    if (a->in)
        timer_set(a->inv->loop, &a->abort, a->abort_ns);
}

/* ---- the end of an attempt ---- */

void attempt_free(struct attempt *a) {
    static const struct attempt_failure aborted = {.code = 409, .message = {(const uint8_t *)"aborted", 7}};

    if (a->in) {
        attempt_trace_end(a, a->in, &aborted);
        a->in->attempt = NULL;
    }
    (void)trace_attempt_free(a->trace); /* what never began: its rows were cold */
    timer_stop(a->inv->loop, &a->inactivity);
    timer_stop(a->inv->loop, &a->abort);
    list_remove(&a->link);
    if (a->stream)
        http_stream_reset(a->stream);
    sp_decoder_done(&a->decoder);
    buf_done(&a->names);
    free(a);
}

static void fail_attempt(struct attempt *a, const struct attempt_failure *f) {
    struct invocation *in = a->in;

    if (in) {
        attempt_flush(a); /* what came before the failure counts */
        attempt_trace_end(a, in, f);
        invocation_attempt_failed(in, f);
        a->in = NULL;
    }
    attempt_free(a);
}

static void on_inactivity(void *arg) {
    end_request(arg);
}

static void on_abort(void *arg) {
    struct attempt *a = arg;

    if (!a->in) { /* drained long enough */
        attempt_free(a);
        return;
    }
    FAIL(a, 500, "RT0001", "the deployment neither answered nor suspended within the abort timeout");
}

/* ---- receiving ---- */

static uint64_t retry_after_ms(const struct http_header *h, size_t n) {
    struct slice v = http_header_get(h, n, "retry-after");
    uint64_t s = 0;

    for (size_t i = 0; i < v.len; i++) {
        if (v.data[i] < '0' || v.data[i] > '9' || s > 86400)
            return 0;
        s = s * 10 + (v.data[i] - '0');
    }
    return s * 1000;
}

static void refuse_status(struct attempt *a, unsigned status, const struct http_header *h, size_t n) {
    char text[160];
    uint64_t wait;

    (void)snprintf(text, sizeof text, "the deployment at %s answered with HTTP status %u", a->deployment, status);
    switch (status) {
    case 415:
        FAIL(a, 415, "RT0015", "the SDK does not speak the negotiated protocol version any more");
        return;
    case 502:
    case 504:
        FAIL(a, 500, "RT0010", text);
        return;
    case 413:
        FAIL(a, 500, "RT0019", text);
        return;
    case 429:
    case 503:
        wait = retry_after_ms(h, n);
        FAIL(a, 500, "RT0023", text, .has_delay = wait > 0, .delay_ms = wait);
        return;
    default:
        FAIL(a, 500, "RT0012", text);
    }
}

static void on_head(void *arg, struct http_stream *s, unsigned status, const struct http_header *h, size_t n) {
    struct attempt *a = arg;
    struct slice type = http_header_get(h, n, "content-type");

    if (!a->in)
        return;
    keep_alive(a);
    if (status < 200 || status > 299) {
        refuse_status(a, status, h, n);
        return;
    }
    if (!slice_eq_str(type, sp_content_type(a->protocol))) {
        FAIL(a, 500, "RT0012", "the deployment answered with a missing or foreign content-type");
        return;
    }
    a->head_ok = true;
}

/* After End or Suspension: the invocation is the owner's again, the stream may finish in peace. */
static void detach(struct attempt *a) {
    struct invocation *in = a->in;

    timer_stop(a->inv->loop, &a->inactivity);
    attempt_trace_end(a, in, NULL);
    invocation_finished(in);
    end_request(a);
    timer_set(a->inv->loop, &a->abort, DRAIN_NS_AFTER_END * 1000000000ull);
}

static void consume(struct attempt *a) {
    size_t n = a->unconsumed;

    a->unconsumed = 0;
    if (n)
        http_stream_consume(a->stream, n);
}

void attempt_consume_held(struct attempt *a) {
    if (a->unconsumed)
        consume(a);
}

static void on_data(void *arg, struct http_stream *s, struct slice data) {
    struct attempt *a = arg;
    struct attempt_failure f = {0};
    struct invoker_owner *owner;
    struct sp_frame frame_in;
    struct err err = {0};
    int r = 0;

    if (!a->in || a->terminal) {
        http_stream_consume(s, data.len);
        return;
    }
    arena_clear(&a->inv->arena);
    owner = a->in->owner;
    a->unconsumed += data.len;
    keep_alive(a);
    while (!a->terminal && (r = sp_decoder_next(&a->decoder, &data, &frame_in, &err)) > 0) {
        r = attempt_message(a, frame_in.type, frame_in.flags, frame_in.payload, &f);
        if (r < 0)
            break;
    }
    if (r < 0) {
        if (!f.doc_code)
            f = (struct attempt_failure){
                .code = 500, .doc_code = err.code == RS_ETOOBIG ? "RT0003" : "RT0012", .message = slice_str(err.msg)};
        fail_attempt(a, &f);
        return;
    }
    attempt_flush(a);
    if (a->terminal)
        detach(a);
    if (a->terminal || owner->writable(owner))
        consume(a);
}

static void on_end(void *arg, struct http_stream *s) {
    struct attempt *a = arg;

    if (a->in && !a->terminal) {
        FAIL(a, 500, "RT0012", "the deployment ended the stream without End, Suspension or Error");
        return;
    }
    if (!a->request_ended)
        end_request(a);
}

static void on_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    struct attempt *a = arg;

    a->stream = NULL;
    if (a->in)
        FAIL(a, 500, "RT0010", why->status ? why->message : "the stream ended early");
    else
        attempt_free(a);
}

static const struct http_stream_events stream_events = {
    .head = on_head, .data = on_data, .end = on_end, .closed = on_closed};

/* ---- starting ---- */

struct starting {
    struct invocation *in;
    struct attempt *a;
    struct buf state, journal, scope;
    size_t state_left;
    bool partial_state, lazy;
    uint32_t entries, commands, read;
    uint64_t modified_ms, random_seed;
    struct slice key;
    struct slice idempotency_key;
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
    a->service_len = h->target->service.len;
    a->handler_len = h->target->handler.len;
    a->target_type = (int)h->target->type;
    st->in->start_lsn = h->start_lsn;
    attempt_trace_begin(a, h->trace);
    st->entries = h->entries;
    st->commands = h->commands;
    st->modified_ms = h->modified_ms;
    st->random_seed = h->random_seed;
    st->lazy = limit == 0 || (st->handler && st->handler->lazy_state);
    st->state_left = limit;
    st->partial_state = a->target_type == TARGET_SERVICE || st->lazy;
    *ret_want_state = !st->partial_state;
    return 0;
}

static int read_state(void *arg, struct slice key, struct slice value) {
    struct starting *st = arg;
    struct sp_state_entry e = {.key = key, .value = value.data ? value : SLICE_LIT("")};

    if (key.len + value.len > st->state_left) {
        st->partial_state = true;
        return 1;
    }
    st->state_left -= key.len + value.len;
    sp_put_field_message_header(&st->state, 4, sp_state_entry_size(&e));
    sp_state_entry_encode(&e, &st->state);
    return 0;
}

static int read_entry(void *arg, uint32_t index, uint16_t type, struct slice payload) {
    struct starting *st = arg;

    sp_frame_header_put(buf_add(&st->journal, SP_FRAME_HEADER_BYTES), type, 0, (uint32_t)payload.len);
    buf_put_slice(&st->journal, payload);
    st->read++;
    return 0;
}

static struct slice name_service(const struct attempt *a) {
    return slice_of(a->names.data, a->service_len);
}
static struct slice name_handler(const struct attempt *a) {
    return slice_of(a->names.data + a->service_len, a->handler_len);
}
static struct slice name_key(const struct attempt *a) {
    return slice_from(buf_slice(&a->names), a->service_len + a->handler_len);
}

/* Start, with the state entries that are encoded already put in their place (field order does not matter to a reader).
 */
static struct bytes *first_bytes(struct starting *st, const char *id_text) {
    struct attempt *a = st->a;
    struct invocation *in = st->in;
    uint64_t now_ms = loop_wall_ns(in->inv->loop) / 1000000;
    struct sp_start m = {.id = slice_of(in->id.raw, sizeof in->id.raw),
                         .debug_id = slice_str(id_text),
                         .known_entries = st->read,
                         .partial_state = st->partial_state,
                         .key = name_key(a),
                         .retry_count = in->retries_since_entry,
                         .duration_ms = now_ms > st->modified_ms ? now_ms - st->modified_ms : 0,
                         .random_seed = st->random_seed};
    struct buf out = {0};
    size_t begin;

    if (m.key.len == 0)
        m.key = SLICE_NULL;
    if (a->protocol >= 7 && st->scope.len)
        m.scope = buf_slice(&st->scope);
    begin = sp_frame_begin(&out);
    sp_start_encode(&m, &out);
    buf_put_slice(&out, buf_slice(&st->state));
    sp_frame_end(&out, begin, SP_START, 0);
    buf_put_slice(&out, buf_slice(&st->journal));
    return bytes_take_buf(&out);
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
        text_put_percent(key_escaped, name_key(a));
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
    buf_putf(&path, "%s/invoke/" SLICE_FMT "/" SLICE_FMT, d->path, SLICE_ARG(name_service(a)),
             SLICE_ARG(name_handler(a)));
    n = add_headers(a, d, id_text, &key, headers, ARRAY_SIZE(headers) - 4);
    n += attempt_trace_headers(a, traceparent, headers + n);
    r = add_identity(a, slice_from(buf_slice(&path), strlen(d->path)), &token, headers, &n, &err);
    req.path = buf_slice(&path);
    req.n_headers = n;
    if (r == 0 && !req.transport.ops)
        r = err_set(&err, RS_EUNSUPPORTED, "no transport serves %s deployments on this node", d->scheme);
    if (r == 0)
        r = http_client_request(inv->client, &req, &stream_events, a, &a->stream, &err);
    if (r == 0)
        (void)http_stream_write(a->stream, first_bytes(st, id_text));
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

int attempt_start(struct invocation *in) {
    struct invoker *inv = in->inv;
    struct attempt *a = xnew(struct attempt);
    struct starting st = {.in = in, .a = a};
    static const struct invoker_read_events read_events = {.head = read_head, .state = read_state, .entry = read_entry};
    struct err err = {0};
    int r;

    a->in = in;
    a->inv = inv;
    sp_decoder_init(&a->decoder, inv->params.message_limit_bytes + SP_MESSAGE_SLACK_BYTES);
    timer_init(&a->inactivity, on_inactivity, a);
    timer_init(&a->abort, on_abort, a);
    in->attempt = a;
    r = in->owner->read(in->owner, &in->id, &read_events, &st, &err);
    if (r == 0) {
        set_options(&st);
        r = open_stream(&st) < 0; /* 1: st.fail says why */
    } else if (r < 0 && r != RS_EAGAIN && r != RS_ENOENT) {
        (void)start_fails(&st, "RT0006", err.msg);
    }
    if (r == 0) {
        a->known_entries = st.read;
        a->next_command = st.commands;
        in->commands_sent = in->commands_acked = st.commands;
        in->state = INVOCATION_RUNNING;
        if (!a->bidi)
            end_request(a);
        keep_alive(a);
    } else {
        if (r != RS_EAGAIN && r != RS_ENOENT)
            attempt_trace_end(a, in, &st.fail);
        in->attempt = NULL;
        a->in = NULL;
        attempt_free(a);
        if (r != RS_EAGAIN && r != RS_ENOENT) {
            if (in->attempts == 0)
                in->retry = inv->schema->defaults.retry;
            invocation_attempt_failed(in, &st.fail); /* may free in */
            r = RS_EIO;
        }
    }
    buf_done(&st.state);
    buf_done(&st.journal);
    buf_done(&st.scope);
    return r;
}
