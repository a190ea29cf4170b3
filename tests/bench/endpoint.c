/* SPDX-License-Identifier: Apache-2.0 */
/* tests/bench/endpoint.c : a service endpoint in C that speaks the service protocol over h2c, so that in a benchmark
 * the service is not the bottleneck. One thread, no durability: `bench-endpoint PORT`.
 *
 * Echo/echo returns its input; Counter/add adds 1 to the state "count" and returns it; Steps/ten makes ten ctx.run
 * steps, one after the other, and returns 10. Commands that are in the replayed journal are not sent again.
 * Large/run takes [steps, bytes]: as many steps, each with a result of that size; then it suspends until its first
 * awakeable is resolved, and returns the sum. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "loop/loop.h"
#include "proto/service.h"

enum { STEPS = 10 };
enum kind { DISCOVER, ECHO, COUNTER, TEN, LARGE, UNKNOWN };

static const char manifest[] =
    "{\"protocolMode\":\"BIDI_STREAM\",\"minProtocolVersion\":5,\"maxProtocolVersion\":6,\"services\":["
    "{\"name\":\"Echo\",\"ty\":\"SERVICE\",\"handlers\":[{\"name\":\"echo\"}]},"
    "{\"name\":\"Counter\",\"ty\":\"VIRTUAL_OBJECT\",\"handlers\":[{\"name\":\"add\",\"ty\":\"EXCLUSIVE\"}]},"
    "{\"name\":\"Steps\",\"ty\":\"SERVICE\",\"handlers\":[{\"name\":\"ten\"}]},"
    "{\"name\":\"Large\",\"ty\":\"SERVICE\",\"handlers\":[{\"name\":\"run\"}]}]}";

struct server {
    struct loop *loop;
    int fd;
};

struct conn {
    struct loop *loop;
    int fd;
    struct watch *watch;
    nghttp2_session *session;
    struct buf out;
};

struct stream {
    struct conn *conn;
    int32_t id;
    enum kind kind;
    char content_type[64];
    struct sp_decoder decoder;
    struct buf out; /* not yet sent: from out_at on */
    size_t out_at;
    bool started, ended; /* Start was read; End was written */
    bool signalled;
    uint32_t known, entries, commands, completions;
    uint32_t steps, step_bytes; /* of the handlers that make steps */
    uint64_t count;
    struct buf input;
};

static void put(struct stream *s, uint16_t type, struct slice payload) {
    sp_frame_put(&s->out, type, 0, payload);
}

static void put_output(struct stream *s, struct slice value) {
    struct sp_value v = {.content = value};
    struct sp_output m = {.value = &v};
    struct buf b = {0};

    sp_output_encode(&m, &b);
    put(s, SP_OUTPUT, buf_slice(&b));
    put(s, SP_END, SLICE_NULL);
    buf_done(&b);
    s->ended = true;
}

/* Each put_* of a handler counts as one command; those that were replayed are skipped. */
static void counter(struct stream *s) {
    char text[24];
    struct buf b = {0};
    uint32_t done = s->commands - 1;
    struct sp_value v;

    if (done == 0) {
        int n = snprintf(text, sizeof text, "%llu", (unsigned long long)s->count);
        struct sp_empty none = {0};
        struct sp_get_eager_state get = {.key = SLICE_LIT("count")};

        v = (struct sp_value){.content = slice_of(text, (size_t)n)};
        if (s->count)
            get.value = &v;
        else
            get.none = &none;
        sp_get_eager_state_encode(&get, &b);
        put(s, SP_GET_EAGER_STATE, buf_slice(&b));
        buf_clear(&b);
    }
    v = (struct sp_value){
        .content = slice_of(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)s->count + 1))};
    if (done <= 1) {
        struct sp_set_state set = {.key = SLICE_LIT("count"), .value = &v};

        sp_set_state_encode(&set, &b);
        put(s, SP_SET_STATE, buf_slice(&b));
    }
    put_output(s, v.content);
    buf_done(&b);
}

static void suspend(struct stream *s) {
    static const uint32_t signals[] = {SP_SIGNAL_CANCEL, SP_SIGNAL_FIRST_AWAKEABLE};
    struct sp_suspension m = {.waiting_signals = signals, .n_waiting_signals = ARRAY_SIZE(signals)};
    struct buf b = {0};

    sp_suspension_encode(&m, &b);
    put(s, SP_SUSPENSION, buf_slice(&b));
    buf_done(&b);
    s->ended = true;
}

static void after_steps(struct stream *s) {
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)s->steps * s->step_bytes);

    if (s->kind == LARGE && !s->signalled)
        suspend(s);
    else
        put_output(s, slice_of(text, (size_t)n));
}

static void next_step(struct stream *s) {
    uint32_t step = s->completions + 1;
    struct buf b = {0}, result = {0};

    if (step > s->steps) {
        after_steps(s);
        return;
    }
    if (s->commands - 1 < step) {
        struct sp_run run = {.result_completion_id = step, .name = SLICE_LIT("step")};

        sp_run_encode(&run, &b);
        put(s, SP_RUN, buf_slice(&b));
        s->commands++;
        buf_clear(&b);
    }
    memset(buf_add(&result, s->step_bytes), '1', s->step_bytes);
    struct sp_propose_run_completion p = {.result_completion_id = step, .value = buf_slice(&result)};
    sp_propose_run_completion_encode(&p, &b);
    put(s, SP_PROPOSE_RUN_COMPLETION, buf_slice(&b));
    buf_done(&b);
    buf_done(&result);
}

static void act(struct stream *s) {
    switch (s->kind) {
    case ECHO:
        put_output(s, buf_slice(&s->input));
        break;
    case COUNTER:
        counter(s);
        break;
    default:
        next_step(s);
    }
}

static void on_input(struct stream *s, struct slice value) {
    buf_put_slice(&s->input, value);
    s->steps = STEPS;
    s->step_bytes = 1;
    if (s->kind == LARGE && sscanf(buf_cstr(&s->input), "[%u,%u]", &s->steps, &s->step_bytes) != 2)
        s->steps = 0;
}

static void on_start(struct stream *s, struct slice payload, struct arena *a) {
    struct sp_start m;

    if (sp_start_decode(&m, payload, a, NULL) < 0)
        return;
    s->started = true;
    s->known = m.known_entries;
    for (size_t i = 0; i < m.n_state_map; i++)
        if (slice_eq_str(m.state_map[i].key, "count"))
            for (size_t k = 0; k < m.state_map[i].value.len; k++)
                s->count = s->count * 10 + (uint64_t)(m.state_map[i].value.data[k] - '0');
}

static void on_frame(struct stream *s, const struct sp_frame *f) {
    struct arena a = {0};

    if (!s->started) {
        if (f->type == SP_START)
            on_start(s, f->payload, &a);
    } else {
        struct sp_input in;

        s->entries++;
        if (sp_type_is_command(f->type))
            s->commands++;
        if (f->type == SP_RUN_COMPLETION)
            s->completions++;
        if (f->type == SP_SIGNAL)
            s->signalled = true;
        if (f->type == SP_INPUT && sp_input_decode(&in, f->payload, &a, NULL) == 0 && in.value)
            on_input(s, in.value->content);
        if (!s->ended && (s->entries == s->known || (s->entries > s->known && f->type == SP_RUN_COMPLETION)))
            act(s);
    }
    arena_done(&a);
}

/* ---- HTTP/2 ---- */

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                        nghttp2_data_source *source, void *user) {
    struct stream *s = source->ptr;
    size_t n = MIN(len, s->out.len - s->out_at);

    if (n == 0 && !s->ended)
        return NGHTTP2_ERR_DEFERRED;
    if (n) {
        memcpy(buf, s->out.data + s->out_at, n);
        s->out_at += n;
    }
    if (s->out_at == s->out.len) {
        buf_clear(&s->out);
        s->out_at = 0;
    }
    if (s->ended && s->out.len == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value) {
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0};
}

static void respond(struct stream *s) {
    bool found = s->kind != UNKNOWN;
    nghttp2_nv h[] = {
        nv(":status", found ? "200" : "404"),
        nv("content-type", s->kind == DISCOVER ? "application/vnd.restate.endpointmanifest.v4+json" : s->content_type),
        nv("x-restate-server", "bench-endpoint/1.0")};
    nghttp2_data_provider p = {.source.ptr = s, .read_callback = read_out};

    if (s->kind == DISCOVER)
        buf_put_str(&s->out, manifest);
    if (s->kind == DISCOVER || !found)
        s->ended = true;
    (void)nghttp2_submit_response(s->conn->session, s->id, h, ARRAY_SIZE(h), &p);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct stream *s;

    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    s = xnew(struct stream);
    s->conn = user;
    s->id = frame->hd.stream_id;
    s->kind = UNKNOWN;
    sp_decoder_init(&s->decoder, 64u << 20);
    (void)nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t nlen,
                     const uint8_t *value, size_t vlen, uint8_t flags, void *user) {
    static const char *const paths[] = {"/discover", "/invoke/Echo/echo", "/invoke/Counter/add", "/invoke/Steps/ten",
                                        "/invoke/Large/run"};
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct slice n = slice_of(name, nlen), v = slice_of(value, vlen);

    if (s && slice_eq_str(n, ":path"))
        for (int i = 0; i < (int)ARRAY_SIZE(paths); i++)
            if (slice_eq_str(v, paths[i]))
                s->kind = (enum kind)i;
    if (s && slice_eq_str(n, "content-type"))
        (void)snprintf(s->content_type, sizeof s->content_type, SLICE_FMT, SLICE_ARG(v));
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (s && frame->hd.type == NGHTTP2_HEADERS)
        respond(s);
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);
    struct slice in = slice_of(data, len);
    struct sp_frame f;
    size_t had;

    if (!s)
        return 0;
    had = s->out.len;
    while (sp_decoder_next(&s->decoder, &in, &f, NULL) > 0)
        on_frame(s, &f);
    if (s->out.len != had)
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

static void conn_free(struct conn *c) {
    nghttp2_session_del(c->session);
    watch_free(c->watch);
    buf_done(&c->out);
    (void)close(c->fd);
    free(c);
}

static bool flush(struct conn *c) {
    const uint8_t *p;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(c->session, &p)) > 0)
        buf_put(&c->out, p, (size_t)n);
    while (c->out.len) {
        n = write(c->fd, c->out.data, c->out.len);
        if (n <= 0)
            break;
        buf_consume(&c->out, (size_t)n);
    }
    if (c->out.len && errno != EAGAIN)
        return false;
    watch_set(c->watch, c->out.len ? RS_WATCH_READ | RS_WATCH_WRITE : RS_WATCH_READ);
    return nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session);
}

static void on_conn(void *arg, unsigned events) {
    struct conn *c = arg;
    uint8_t in[65536];
    ssize_t n = 1;

    if (events & RS_WATCH_READ) {
        n = read(c->fd, in, sizeof in);
        if (n > 0 && nghttp2_session_mem_recv(c->session, in, (size_t)n) < 0)
            n = 0;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN) || !flush(c))
        conn_free(c);
}

static void on_accept(void *arg, unsigned events) {
    struct server *srv = arg;
    nghttp2_session_callbacks *cb;
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
    int fd = accept4(srv->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    struct conn *c;

    if (fd < 0)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c = xnew(struct conn);
    c->loop = srv->loop;
    c->fd = fd;
    (void)nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    (void)nghttp2_session_server_new(&c->session, cb, c);
    nghttp2_session_callbacks_del(cb);
    (void)nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings));
    (void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 16 << 20);
    ASSERT(watch_new(srv->loop, fd, RS_WATCH_READ, on_conn, c, &c->watch) == 0);
    (void)flush(c);
}

int main(int argc, char **argv) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct server srv = {0};
    struct watch *w;
    struct err err = {0};
    int one = 1;

    sa.sin_port = htons((uint16_t)(argc > 1 ? strtol(argv[1], NULL, 10) : 9080));
    (void)signal(SIGPIPE, SIG_IGN);
    if (loop_new(&srv.loop, &err) < 0)
        return 1;
    srv.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)setsockopt(srv.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(srv.fd, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(srv.fd, 512) < 0) {
        perror("bench-endpoint");
        return 1;
    }
    ASSERT(watch_new(srv.loop, srv.fd, RS_WATCH_READ, on_accept, &srv, &w) == 0);
    loop_run(srv.loop);
    return 0;
}
