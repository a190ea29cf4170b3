/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_service.c : a deployment over the simulated network. Its handlers are written as replays: each run
 * emits, command by command, what the journal does not hold yet, and stops at the first result that is missing. Where
 * the seed says so it sends an Error, suspends although it could wait, or its connection is cut. */
#include "sim.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/arena.h"
#include "proto/service.h"

struct conn {
    const struct sim_service *service;
    struct world *w;
    rs_conn *rs;
    nghttp2_session *session;
    struct buf out;
};

enum { MAX_RESULTS = 16, SIGNAL = SP_SIGNAL_FIRST_AWAKEABLE };
struct stream {
    struct conn *conn;
    int32_t id;
    char path[64], content_type[64];
    struct sp_decoder decoder;
    struct buf out, input;
    bool started, over, half_closed;   /* over: a terminal frame was written */
    uint32_t known, entries, commands; /* commands: in the journal, replayed or emitted */
    uint32_t at;                       /* commands this run has passed */
    uint64_t count;
    bool has[MAX_RESULTS];
    uint64_t result[MAX_RESULTS]; /* by completion id: the number in it */
    bool doomed;                  /* this attempt fails with an Error at its first chance */
    bool cancelled, signalled;    /* signals that came */
    uint64_t signal;              /* the number in it */
};

static struct world *world_of(const struct stream *s) {
    return s->conn->w;
}

/* ---- what a handler may do ---- */

static bool next_command(struct stream *s) { /* false: it is in the journal already */
    s->at++;
    if (s->at <= s->commands)
        return false;
    s->commands++;
    return true;
}

#define EMIT(s, type, msg, T)                                                                                          \
    do {                                                                                                               \
        struct buf b_ = {0};                                                                                           \
        sp_##msg##_encode((T), &b_);                                                                                   \
        sp_frame_put(&(s)->out, (type), 0, buf_slice(&b_));                                                            \
        buf_done(&b_);                                                                                                 \
    } while (0)

static void finish(struct stream *s, const char *text) {
    struct sp_value v = {.content = slice_str(text)};
    struct sp_output m = {.value = &v};

    if (next_command(s))
        EMIT(s, SP_OUTPUT, output, &m);
    sp_frame_put(&s->out, SP_END, 0, SLICE_NULL);
    s->over = true;
}

static void finish_failed(struct stream *s, uint32_t code, const char *message) {
    struct sp_failure f = {.code = code, .message = slice_str(message)};
    struct sp_output m = {.failure = &f};

    if (next_command(s))
        EMIT(s, SP_OUTPUT, output, &m);
    sp_frame_put(&s->out, SP_END, 0, SLICE_NULL);
    s->over = true;
}

static void finish_number(struct stream *s, uint64_t n) {
    char text[24];

    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    finish(s, text);
}

static void may_suspend(struct stream *s, const struct sp_suspension *m) {
    if (s->half_closed || rng_chance(&world_of(s)->rng, world_of(s)->faults.suspend)) {
        EMIT(s, SP_SUSPENSION, suspension, m);
        s->over = true;
    }
}

/* Waits for a result: true when it is there; else goes on later, or suspends. */
static bool await(struct stream *s, uint32_t id) {
    uint32_t ids[1] = {id}, cancel[1] = {SP_SIGNAL_CANCEL};
    struct sp_suspension m = {
        .waiting_completions = ids, .n_waiting_completions = 1, .waiting_signals = cancel, .n_waiting_signals = 1};

    if (s->has[id])
        return true;
    may_suspend(s, &m);
    return false;
}

static bool await_signal(struct stream *s) {
    uint32_t signals[2] = {SP_SIGNAL_CANCEL, SIGNAL};
    struct sp_suspension m = {.waiting_signals = signals, .n_waiting_signals = 2};

    if (s->signalled || s->cancelled)
        return true;
    may_suspend(s, &m);
    return false;
}

static void add_one(struct stream *s) {
    char text[24];
    struct sp_value now = {0}, then = {0};
    struct sp_get_eager_state get = {.key = SLICE_LIT("count"), .value = &now};
    struct sp_set_state set = {.key = SLICE_LIT("count"), .value = &then};
    struct sp_empty none = {0};
    char old[24];

    now.content = slice_of(old, (size_t)snprintf(old, sizeof old, "%llu", (unsigned long long)s->count));
    then.content = slice_of(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)s->count + 1));
    if (!s->count) {
        get.value = NULL;
        get.none = &none;
    }
    if (next_command(s))
        EMIT(s, SP_GET_EAGER_STATE, get_eager_state, &get);
    if (next_command(s))
        EMIT(s, SP_SET_STATE, set_state, &set);
}

/* The count before this invocation: a replayed GetEagerState holds it, state sent with Start may be newer. */
static void counter_add(struct stream *s) {
    add_one(s);
    finish_number(s, s->count + 1);
}

static void counter_slow(struct stream *s) {
    struct sp_sleep m = {.result_completion_id = 1};

    m.wake_up_time_ms = (SIM_WALL_NS + world_now(world_of(s))) / 1000000 + 1 + rng_below(&world_of(s)->rng, 600);
    if (next_command(s))
        EMIT(s, SP_SLEEP, sleep, &m);
    if (!await(s, 1))
        return;
    counter_add(s);
}

static void proxy_call(struct stream *s) {
    struct sp_call m = {.service_name = SLICE_LIT("Counter"),
                        .handler_name = SLICE_LIT("add"),
                        .parameter = SLICE_LIT("1"),
                        .key = buf_slice(&s->input),
                        .invocation_id_notification_idx = 1,
                        .result_completion_id = 2};

    if (next_command(s))
        EMIT(s, SP_CALL, call, &m);
    if (await(s, 2))
        finish_number(s, s->result[2]);
}

static void proxy_send(struct stream *s) {
    struct sp_one_way_call m = {.service_name = SLICE_LIT("Counter"),
                                .handler_name = SLICE_LIT("add"),
                                .parameter = SLICE_LIT("1"),
                                .key = buf_slice(&s->input),
                                .invocation_id_notification_idx = 1};

    if (rng_chance(&world_of(s)->rng, 300))
        m.invoke_time_ms = (SIM_WALL_NS + world_now(world_of(s))) / 1000000 + rng_below(&world_of(s)->rng, 400);
    if (next_command(s))
        EMIT(s, SP_ONE_WAY_CALL, one_way_call, &m);
    finish(s, "0");
}

static void proxy_steps(struct stream *s) {
    for (uint32_t i = 1; i <= 3; i++) {
        struct sp_run run = {.result_completion_id = i, .name = SLICE_LIT("step")};
        struct sp_propose_run_completion p = {.result_completion_id = i, .value = SLICE_LIT("7")};

        bool fresh = next_command(s);
        if (fresh)
            EMIT(s, SP_RUN, run, &run);
        if (!s->has[i] && !(s->result[i] & 1)) { /* proposed once per attempt */
            s->result[i] |= 1;
            EMIT(s, SP_PROPOSE_RUN_COMPLETION, propose_run_completion, &p);
        }
        if (!s->has[i])
            return;
    }
    finish_number(s, s->result[1] + s->result[2] + s->result[3]);
}

static void proxy_fail(struct stream *s) {
    finish_failed(s, 418, "nope");
}

static void proxy_await(struct stream *s) {
    if (!await_signal(s))
        return;
    if (s->cancelled)
        finish_failed(s, 409, "cancelled");
    else
        finish_number(s, s->signal);
}

/* Its input is the id of an invocation that waits, perhaps. */
static void proxy_wake(struct stream *s) {
    struct awakeable_id id = {.index = SIGNAL};
    char text[AWAKEABLE_ID_CHARS + 1];
    struct sp_value nine = {.content = SLICE_LIT("9")};
    struct sp_complete_awakeable complete = {.awakeable_id = slice_of(text, AWAKEABLE_ID_CHARS), .value = &nine};
    struct sp_send_signal send = {
        .target_invocation_id = buf_slice(&s->input), .has_idx = true, .idx = SIGNAL, .value = &nine};

    ASSERT(invocation_id_parse(buf_slice(&s->input), &id.invocation, NULL) == 0);
    awakeable_id_format(&id, text);
    if (next_command(s))
        EMIT(s, SP_COMPLETE_AWAKEABLE, complete_awakeable, &complete);
    if (next_command(s))
        EMIT(s, SP_SEND_SIGNAL, send_signal, &send);
    finish(s, "0");
}

/* Calls once with an idempotency key, and asks for the same result in all ways. */
static void proxy_attach(struct stream *s) {
    struct sp_call call = {.service_name = SLICE_LIT("Proxy"),
                           .handler_name = SLICE_LIT("steps"),
                           .parameter = SLICE_LIT("1"),
                           .idempotency_key = buf_slice(&s->input),
                           .invocation_id_notification_idx = 1,
                           .result_completion_id = 2};
    struct sp_idempotent_target target = {
        .service_name = call.service_name, .handler_name = call.handler_name, .idempotency_key = call.idempotency_key};
    struct sp_attach_invocation attach = {.idempotent = &target, .result_completion_id = 3},
                                output = {.idempotent = &target, .result_completion_id = 4};

    if (next_command(s))
        EMIT(s, SP_CALL, call, &call);
    if (next_command(s))
        EMIT(s, SP_ATTACH_INVOCATION, attach_invocation, &attach);
    if (!await(s, 2) || !await(s, 3))
        return;
    if (next_command(s))
        EMIT(s, SP_GET_INVOCATION_OUTPUT, attach_invocation, &output);
    if (await(s, 4))
        finish_number(s, s->result[2] == s->result[3] ? s->result[4] : 0);
}

static void notes_all(struct stream *s) {
    struct slice key = SLICE_LIT("note");
    struct sp_value one = {.content = SLICE_LIT("1")};
    struct sp_state_keys keys = {.keys = &key, .n_keys = 1};
    struct sp_get_lazy_state get = {.key = key, .result_completion_id = 1};
    struct sp_get_lazy_state_keys lazy = {.result_completion_id = 2};
    struct sp_get_eager_state_keys eager = {.value = &keys};
    struct sp_set_state set = {.key = key, .value = &one};
    struct sp_clear_state clear = {.key = key};
    struct sp_clear_all_state clear_all = {0};

    if (next_command(s))
        EMIT(s, SP_GET_LAZY_STATE, get_lazy_state, &get);
    if (next_command(s))
        EMIT(s, SP_SET_STATE, set_state, &set);
    if (next_command(s))
        EMIT(s, SP_GET_LAZY_STATE_KEYS, get_lazy_state_keys, &lazy);
    if (!await(s, 1) || !await(s, 2))
        return;
    if (next_command(s))
        EMIT(s, SP_GET_EAGER_STATE_KEYS, get_eager_state_keys, &eager);
    if (next_command(s))
        EMIT(s, SP_CLEAR_STATE, clear_state, &clear);
    if (next_command(s))
        EMIT(s, SP_CLEAR_ALL_STATE, clear_all_state, &clear_all);
    finish_number(s, 10 * s->result[1] + s->result[2]); /* nothing was there, then one key */
}

static void flow_run(struct stream *s) {
    struct slice key = SLICE_LIT("promise");
    struct sp_value five = {.content = SLICE_LIT("5")};
    struct sp_get_promise get = {.key = key, .result_completion_id = 1};
    struct sp_complete_promise complete = {.key = key, .value = &five, .result_completion_id = 2};
    struct sp_peek_promise peek = {.key = key, .result_completion_id = 3};

    if (next_command(s))
        EMIT(s, SP_GET_PROMISE, get_promise, &get);
    if (next_command(s))
        EMIT(s, SP_COMPLETE_PROMISE, complete_promise, &complete);
    if (!await(s, 1) || !await(s, 2))
        return;
    if (next_command(s))
        EMIT(s, SP_PEEK_PROMISE, peek_promise, &peek);
    if (await(s, 3))
        finish_number(s, s->result[1] == s->result[3] ? s->result[1] : 0);
}

static void run_handler(struct stream *s) {
    static const struct {
        const char *path;
        void (*run)(struct stream *);
    } handlers[] = {{"/invoke/Counter/add", counter_add},   {"/invoke/Counter/slow", counter_slow},
                    {"/invoke/Proxy/call", proxy_call},     {"/invoke/Proxy/send", proxy_send},
                    {"/invoke/Proxy/steps", proxy_steps},   {"/invoke/Proxy/fail", proxy_fail},
                    {"/invoke/Proxy/await", proxy_await},   {"/invoke/Proxy/wake", proxy_wake},
                    {"/invoke/Proxy/attach", proxy_attach}, {"/invoke/Notes/all", notes_all},
                    {"/invoke/Flow/run", flow_run}};
    struct sp_error e = {.code = 500, .message = SLICE_LIT("simulated")};

    if (s->over)
        return;
    if (s->doomed && rng_chance(&world_of(s)->rng, 500)) {
        EMIT(s, SP_ERROR, error, &e);
        s->over = true;
        return;
    }
    s->at = 1; /* Input */
    if (strcmp(s->path, "/invoke/Counter/get") == 0) {
        finish_number(s, s->count);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
        if (strcmp(s->path, handlers[i].path) == 0)
            handlers[i].run(s);
    if (s->doomed && !s->over) {
        EMIT(s, SP_ERROR, error, &e);
        s->over = true;
    }
}

/* ---- frames in ---- */

static uint64_t number_of(struct slice v) {
    uint64_t n = 0;

    for (size_t i = 0; i < v.len && v.data[i] >= '0' && v.data[i] <= '9'; i++)
        n = n * 10 + (uint64_t)(v.data[i] - '0');
    return n;
}

static void on_start(struct stream *s, struct slice payload, struct arena *a) {
    struct sp_start m;

    ASSERT(sp_start_decode(&m, payload, a, NULL) == 0);
    s->started = true;
    s->known = m.known_entries;
    if (world_of(s)->trace)
        (void)printf("%9.3f ms  attempt %s %.*s known %u retry %u doomed %d\n", (double)world_now(world_of(s)) / 1e6,
                     s->path, (int)m.debug_id.len, (const char *)m.debug_id.data, m.known_entries, m.retry_count,
                     s->doomed);
    for (size_t i = 0; i < m.n_state_map; i++)
        if (slice_eq_str(m.state_map[i].key, "count"))
            s->count = number_of(m.state_map[i].value);
}

static void on_frame(struct stream *s, const struct sp_frame *f) {
    struct arena a = {0};

    if (!s->started) {
        on_start(s, f->payload, &a);
        arena_done(&a);
        return;
    }
    s->entries++;
    if (sp_type_is_command(f->type))
        s->commands++;
    if (f->type == SP_INPUT) {
        struct sp_input in;

        ASSERT(sp_input_decode(&in, f->payload, &a, NULL) == 0);
        if (in.value)
            buf_put_slice(&s->input, in.value->content);
    } else if (f->type == SP_GET_EAGER_STATE) {
        struct sp_get_eager_state g;

        ASSERT(sp_get_eager_state_decode(&g, f->payload, &a, NULL) == 0);
        s->count = g.value ? number_of(g.value->content) : 0;
    } else if (sp_type_is_notification(f->type)) {
        struct sp_notification n;

        ASSERT(sp_notification_decode(&n, f->payload, &a, NULL) == 0);
        if (n.has_completion_id && n.completion_id < MAX_RESULTS && !s->has[n.completion_id]) {
            s->has[n.completion_id] = true;
            s->result[n.completion_id] = n.value        ? number_of(n.value->content)
                                         : n.state_keys ? n.state_keys->n_keys
                                                        : 0;
        }
        if (n.has_signal_idx && n.signal_idx == SP_SIGNAL_CANCEL)
            s->cancelled = true;
        if (n.has_signal_idx && n.signal_idx == SIGNAL && !s->signalled) {
            s->signalled = true;
            s->signal = n.value ? number_of(n.value->content) : 0;
        }
    }
    arena_done(&a);
    if (s->entries >= s->known)
        run_handler(s);
}

/* ---- HTTP/2 ---- */

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                        nghttp2_data_source *source, void *user) {
    struct stream *s = source->ptr;
    size_t n = MIN(len, s->out.len);

    if (n > 40 && rng_chance(&world_of(s)->rng, 300))
        n = 1 + rng_below(&world_of(s)->rng, n); /* commands of one turn arrive in several pieces */
    if (n == 0 && !s->over)
        return NGHTTP2_ERR_DEFERRED;
    if (n) {
        memcpy(buf, s->out.data, n);
        buf_consume(&s->out, n);
    }
    if (s->over && s->out.len == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value) {
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0};
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct conn *c = user;
    struct stream *s = xnew(struct stream);

    s->conn = c;
    s->id = frame->hd.stream_id;
    s->doomed = !c->w->healed && rng_chance(&c->w->rng, c->w->faults.error);
    sp_decoder_init(&s->decoder, 1 << 20);
    (void)nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t nlen,
                     const uint8_t *value, size_t vlen, uint8_t flags, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (slice_eq_str(slice_of(name, nlen), ":path"))
        (void)snprintf(s->path, sizeof s->path, "%.*s", (int)vlen, (const char *)value);
    if (slice_eq_str(slice_of(name, nlen), "content-type"))
        (void)snprintf(s->content_type, sizeof s->content_type, "%.*s", (int)vlen, (const char *)value);
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (!s)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        nghttp2_nv h[] = {nv(":status", "200"), nv("content-type", s->content_type), nv("x-restate-server", "sim/1")};
        nghttp2_data_provider p = {.source.ptr = s, .read_callback = read_out};

        (void)nghttp2_submit_response(session, s->id, h, ARRAY_SIZE(h), &p);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        s->half_closed = true;
        if (s->entries >= s->known && s->started)
            run_handler(s);
        (void)nghttp2_session_resume_data(session, s->id);
    }
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);
    struct slice in = slice_of(data, len);
    struct sp_frame f;

    while (s && sp_decoder_next(&s->decoder, &in, &f, NULL) > 0)
        on_frame(s, &f);
    if (s)
        (void)nghttp2_session_resume_data(session, id);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);

    if (s) {
        sp_decoder_done(&s->decoder);
        buf_done(&s->out);
        buf_done(&s->input);
        free(s);
    }
    return 0;
}

/* ---- the simulated socket ---- */

static void flush(struct conn *c) {
    const rs_transport_ops *ops = c->service->http.ops;
    const uint8_t *p;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(c->session, &p)) > 0)
        buf_put(&c->out, p, (size_t)n);
    while (c->out.len) {
        struct iovec v = {c->out.data, c->out.len};
        int64_t took = ops->write(c->rs, &v, 1);

        if (took <= 0)
            return;
        buf_consume(&c->out, (size_t)took);
    }
}

static void on_readable(void *arg, rs_conn *rs) {
    struct conn *c = arg;
    const rs_transport_ops *ops = c->service->http.ops;
    uint8_t in[4096];
    int64_t n;

    while ((n = ops->read(rs, in, sizeof in)) > 0)
        if (nghttp2_session_mem_recv(c->session, in, (size_t)n) < 0)
            break;
    flush(c);
    if (n == 0)
        ops->close(rs, 0);
}

static void on_ready(void *arg, rs_conn *rs) {}

static void on_writable(void *arg, rs_conn *rs) {
    flush(arg);
}

static void on_closed(void *arg, rs_conn *rs, int status, const rs_error *err) {
    struct conn *c = arg;

    nghttp2_session_del(c->session); /* streams are freed by their close callback, or with the incarnation */
    buf_done(&c->out);
    free(c);
}

static void accepted(void *arg, rs_conn *rs) {
    static const rs_conn_events events = {.struct_size = sizeof events,
                                          .ready = on_ready,
                                          .readable = on_readable,
                                          .writable = on_writable,
                                          .closed = on_closed};
    struct sim_service *service = arg;
    struct conn *c = xnew(struct conn);
    nghttp2_session_callbacks *cb;

    c->service = service;
    c->w = service->world;
    c->rs = rs;
    (void)nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    (void)nghttp2_session_server_new(&c->session, cb, c);
    nghttp2_session_callbacks_del(cb);
    (void)nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, NULL, 0);
    (void)service->http.ops->attach(rs, (rs_loop *)service->loop, &events, c);
    flush(c);
}

void sim_service_start(struct sim_service *s) {
    rs_listener *l;

    ASSERT(s->http.ops->listen(s->http.self, (rs_loop *)s->loop, SIM_URI, NULL, accepted, s, &l, NULL) == 0);
}

/* ---- its registration ---- */

static const char manifest[] =
    "{\"protocolMode\":\"BIDI_STREAM\",\"minProtocolVersion\":5,\"maxProtocolVersion\":6,\"services\":["
    "{\"name\":\"Counter\",\"ty\":\"VIRTUAL_OBJECT\",\"handlers\":[{\"name\":\"add\",\"ty\":\"EXCLUSIVE\","
    "\"journalRetention\":0},{\"name\":"
    "\"slow\",\"ty\":"
    "\"EXCLUSIVE\"},{\"name\":\"get\",\"ty\":\"EXCLUSIVE\"}]},"
    "{\"name\":\"Proxy\",\"ty\":\"SERVICE\",\"handlers\":[{\"name\":\"call\"},{\"name\":\"send\"},{\"name\":\"steps\"},"
    "{\"name\":\"fail\"},{\"name\":\"await\"},{\"name\":\"wake\"},{\"name\":\"attach\"}]},"
    "{\"name\":\"Notes\",\"ty\":\"VIRTUAL_OBJECT\",\"handlers\":[{\"name\":\"all\",\"ty\":\"EXCLUSIVE\"}]},"
    "{\"name\":\"Flow\",\"ty\":\"WORKFLOW\",\"handlers\":[{\"name\":\"run\",\"ty\":\"WORKFLOW\"}]}]}";

const struct schema_defaults sim_schema_defaults = {
    .journal_retention_ms = 3600000,
    .idempotency_retention_ms = 86400000,
    .workflow_retention_ms = 86400000,
    .inactivity_timeout_ms = 300,
    .abort_timeout_ms = 2000,
    .retry = {.initial_ms = 20, .factor = 2, .max_ms = 500, .max_attempts = 0},
};

char *sim_schema(void) {
    struct schema *s;
    struct schema_refusal why;
    struct err err = {0};
    json_t *root, *m = json_loads(manifest, 0, NULL);
    struct schema_registration r = {.id = "dp_10000000000000000000001",
                                    .uri = "http://service:9080/",
                                    .created_at = "2026-11-22T00:00:00.000000000Z",
                                    .http = DEPLOYMENT_HTTP2,
                                    .sdk_version = "sim/1",
                                    .manifest = m};
    char *text;

    ASSERT(schema_parse(SLICE_NULL, 0, &sim_schema_defaults, &s, &err) == 0);
    ASSERT(schema_plan_register(s, &r, &root, &why, &err) == 0);
    text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    json_decref(m);
    schema_unref(s);
    return text;
}
