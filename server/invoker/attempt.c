/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/attempt.c : one attempt: one HTTP stream to a deployment, what comes from it, and its end.
 *
 * Never waits for the response head before sending, never for the end of the request before reading
 * (service-protocol.md §3). Bytes are consumed (the window opens) only when they were turned into effects that the
 * owner took. A message that does not fit the window is put together only once the pool gave its memory; until then,
 * and while the owner takes nothing, what the window let through waits in attempt.held. */
#include "invoker/invoker_internal.h"
#include "base/logging.h"
#include "tracing/spans.h"

#include <stdio.h>

enum {
    DRAIN_SECONDS = 5,            /* for a stream whose invocation is done */
    SAY_AGAIN_SECONDS = 60,       /* between two lines that say that attempts wait */
    HTTP2_ENHANCE_YOUR_CALM = 11, /* the deployment has no memory for another stream now: that costs no attempt */
    CALM_MS = 500,
};
#define SECOND_NS 1000000000ull

static void fail_attempt(struct attempt *a, const struct attempt_failure *f);

static const char no_end_text[] = "the deployment ended the stream without End, Suspension or Error";

#define FAIL(a_, code_, doc_, text_, ...)                                                                              \
    fail_attempt((a_), &(struct attempt_failure){                                                                      \
                           .code = (code_), .doc_code = (doc_), .message = slice_str(text_), ##__VA_ARGS__})

void attempt_keep_alive(struct attempt *a) {
    if (!a->in)
        return;
    if (a->request_ended)
        timer_set(a->inv->loop, &a->abort, a->abort_ns);
    else
        timer_set(a->inv->loop, &a->inactivity, a->inactivity_ns);
}

/* ---- memory ---- */

bool attempt_take_or_wait(struct attempt *a, struct mem_wait *w, size_t n) {
    struct invoker *inv = a->inv;
    uint64_t now = loop_mono_ns(inv->loop);

    if (mem_take_or_wait(&a->claim, w, n))
        return true;
    if (now >= inv->say_again_ns) {
        inv->say_again_ns = now + SAY_AGAIN_SECONDS * SECOND_NS;
        LOG_INFO("attempts wait for memory (worker.invoker.memory-limit)", F_U64("wanted", n),
                 F_U64("used", inv->pool.used), F_U64("limit", inv->pool.shared));
    }
    return false;
}

static void on_in_granted(struct mem_wait *w) {
    struct attempt *a = CONTAINER_OF(w, struct attempt, in_wait);

    a->frame_held = w->wanted;
    attempt_resume(a);
}

static void on_out_granted(struct mem_wait *w) {
    struct attempt *a = CONTAINER_OF(w, struct attempt, out_wait);

    if (a->in && a->in->state == INVOCATION_READING) {
        a->state_held += w->wanted;
        invocation_start(a->in);
    } else {
        attempt_out_granted(a, w->wanted);
    }
}

/* ---- beginning and end ---- */

static void on_inactivity(void *arg);
static void on_abort(void *arg);

struct attempt *attempt_new(struct invocation *in) {
    struct invoker *inv = in->inv;
    struct attempt *a = xnew(struct attempt);

    a->in = in;
    a->inv = inv;
    a->claim.pool = &inv->pool;
    a->in_wait.granted = on_in_granted;
    a->out_wait.granted = on_out_granted;
    sp_decoder_init(&a->decoder, inv->params.message_limit_bytes + SP_MESSAGE_SLACK_BYTES);
    timer_init(&a->inactivity, on_inactivity, a);
    timer_init(&a->abort, on_abort, a);
    return a;
}

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
    mem_wait_cancel(&a->in_wait);
    mem_wait_cancel(&a->out_wait);
    mem_give(&a->claim, a->claim.held);
    sp_decoder_done(&a->decoder);
    buf_done(&a->held);
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

/* The silence is ours: it waits for memory, for rows, for the owner, or for what it said to be stored. */
static bool is_held_up(const struct attempt *a) {
    const struct invocation *in = a->in;

    return in && (list_linked(&a->link) || a->reading_cold || mem_waits(&a->in_wait) || mem_waits(&a->out_wait) ||
                  in->runs_pending || in->commands_acked < in->commands_sent);
}

static void on_inactivity(void *arg) {
    struct attempt *a = arg;

    if (is_held_up(a))
        attempt_keep_alive(a);
    else
        attempt_end_request(a);
}

static void on_abort(void *arg) {
    struct attempt *a = arg;

    if (!a->in) { /* drained long enough */
        attempt_free(a);
        return;
    }
    if (a->broken[0]) {
        FAIL(a, 500, "RT0006", a->broken, .not_the_sdk = true);
        return;
    }
    if (is_held_up(a)) {
        attempt_keep_alive(a);
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
    attempt_keep_alive(a);
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
    list_remove(&a->link);
    invocation_finished(in);
    mem_wait_cancel(&a->out_wait);
    mem_give(&a->claim, a->out_spare);
    a->out_spare = 0;
    a->sent = a->upto;
    attempt_end_request(a);
    if (a->stream)
        http_stream_end(a->stream); /* also one that was to end behind the journal */
    timer_set(a->inv->loop, &a->abort, DRAIN_SECONDS * SECOND_NS);
}

static void consume(struct attempt *a) {
    size_t n = a->unconsumed - a->held.len;

    a->unconsumed = a->held.len;
    if (n && a->stream)
        http_stream_consume(a->stream, n);
}

static int too_large(struct attempt *a, size_t n, struct attempt_failure *f) {
    char text[200];

    (void)snprintf(text, sizeof text,
                   "a message of %zu bytes does not fit the memory of one invocation, %zu bytes "
                   "(worker.invoker.per-invocation-memory-limit)",
                   n, a->inv->params.invocation_memory_bytes);
    *f = (struct attempt_failure){.code = 500,
                                  .doc_code = "RT0001",
                                  .message = arena_copy(&a->inv->arena, slice_str(text)),
                                  .behavior = SP_BEHAVIOR_PAUSE,
                                  .not_the_sdk = true};
    return RS_ENOMEM;
}

/* May the frame that goes on with @data be put together? 1 yes, 0 it waits for memory, negative never: @f is filled. */
static int admit(struct attempt *a, struct slice data, struct attempt_failure *f) {
    size_t n = sp_decoder_announced(&a->decoder, data);

    if (LIKELY(n <= a->inv->share) || n <= a->frame_held || n - SP_FRAME_HEADER_BYTES >= a->decoder.limit)
        return 1;
    if (n > a->inv->params.invocation_memory_bytes)
        return too_large(a, n, f);
    if (!attempt_take_or_wait(a, &a->in_wait, n))
        return 0;
    a->frame_held = n;
    return 1;
}

static void hold(struct attempt *a, struct slice data) {
    buf_put_slice(&a->held, data);
    if (!mem_waits(&a->in_wait) && !list_linked(&a->link))
        list_push_back(&a->inv->held, &a->link); /* for the owner */
}

static void say_large(const struct attempt *a, size_t n) {
    char id[INVOCATION_ID_CHARS + 1];

    invocation_id_format(&a->in->id, id);
    LOG_WARN("a large message came (worker.invoker.message-size-warning)", F_STR("invocation_id", id),
             F_U64("bytes", n));
}

/* Returns whether the attempt is still there. */
static bool receive(struct attempt *a, struct slice data) {
    struct invoker_owner *owner = a->in->owner;
    struct attempt_failure f = {0};
    struct sp_frame frame_in;
    struct err err = {0};
    size_t used = 0;
    bool writable;
    int r = 0;

    arena_clear(&a->inv->arena);
    while (!a->terminal && (r = admit(a, data, &f)) > 0 &&
           (r = sp_decoder_next(&a->decoder, &data, &frame_in, &err)) > 0) {
        used += a->frame_held;
        a->frame_held = 0;
        if (a->inv->params.message_warning_bytes && frame_in.payload.len > a->inv->params.message_warning_bytes)
            say_large(a, frame_in.payload.len);
        r = attempt_message(a, frame_in.type, frame_in.flags, frame_in.payload, &f);
        if (r < 0)
            break;
    }
    if (r < 0) {
        if (!f.doc_code)
            f = (struct attempt_failure){
                .code = 500, .doc_code = err.code == RS_ETOOBIG ? "RT0003" : "RT0012", .message = slice_str(err.msg)};
        fail_attempt(a, &f);
        return false;
    }
    attempt_flush(a);
    mem_give(&a->claim, used);
    sp_decoder_trim(&a->decoder);
    writable = owner->writable(owner);
    if (a->terminal)
        detach(a);
    else if (data.len || !writable)
        hold(a, data);
    if (a->terminal || writable)
        consume(a);
    return true;
}

/* What came after the response had ended or the stream was gone, and how it ended. */
static void after_held(struct attempt *a) {
    if (a->held.len)
        return;
    if (a->in && a->response_ended)
        FAIL(a, 500, "RT0012", no_end_text);
    else if (!a->in && !a->stream)
        attempt_free(a);
}

void attempt_resume(struct attempt *a) {
    struct buf held = a->held;
    bool there = true;

    if (mem_waits(&a->in_wait))
        return; /* on_in_granted() follows */
    if (!a->in->owner->writable(a->in->owner)) {
        hold(a, SLICE_NULL);
        return;
    }
    a->held = (struct buf){0};
    if (held.len)
        there = receive(a, buf_slice(&held));
    else
        consume(a);
    buf_done(&held);
    if (there)
        after_held(a);
}

/* What comes is not looked at yet. Nobody overtakes those who wait for the owner. */
static bool must_hold(const struct attempt *a) {
    return a->held.len || mem_waits(&a->in_wait) || !list_empty(&a->inv->held) || !a->in->owner->writable(a->in->owner);
}

static void on_data(void *arg, struct http_stream *s, struct slice data) {
    struct attempt *a = arg;

    if (!a->in || a->terminal) {
        http_stream_consume(s, data.len);
        return;
    }
    a->unconsumed += data.len;
    attempt_keep_alive(a);
    if (must_hold(a))
        hold(a, data);
    else
        (void)receive(a, data);
}

static void on_end(void *arg, struct http_stream *s) {
    struct attempt *a = arg;

    if (a->in && !a->terminal && a->held.len) {
        a->response_ended = true;
        return;
    }
    if (a->in && !a->terminal) {
        FAIL(a, 500, "RT0012", no_end_text);
        return;
    }
    if (!a->request_ended)
        attempt_end_request(a);
}

static void on_writable(void *arg, struct http_stream *s) {
    attempt_writable(arg);
}

static void on_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    struct attempt *a = arg;

    a->stream = NULL;
    if (a->in && a->response_ended && why->status == 0)
        return; /* attempt_resume() ends it */
    if (a->in && !a->head_ok && why->h2_error == HTTP2_ENHANCE_YOUR_CALM)
        FAIL(a, 500, "RT0023", why->message, .has_delay = true, .not_the_sdk = true,
             .delay_ms = CALM_MS + loop_random_u64(a->inv->loop) % CALM_MS);
    else if (a->in)
        FAIL(a, 500, "RT0010", why->status ? why->message : "the stream ended early");
    else
        attempt_free(a);
}

const struct http_stream_events attempt_stream_events = {
    .head = on_head, .data = on_data, .end = on_end, .writable = on_writable, .closed = on_closed};
