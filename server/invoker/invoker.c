/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/invoker.c : which invocations run, which wait for a slot, and when a failed one is tried again.
 *
 * A retry starts only when all that the failed attempt produced is applied (commands acked, run results echoed): the
 * next attempt then replays a complete journal. Slots are held across back-off. */
#include "invoker/invoker_internal.h"
#include "base/logging.h"

enum { STREAMS_PER_CONNECTION = 128 }; /* default */

static struct invocation *find(const struct invoker *inv, const struct invocation_id *id) {
    uint64_t h = invocation_id_hash(id);

    for (struct map_node *n = map_first(&inv->invocations, h); n; n = map_next(n)) {
        struct invocation *in = MAP_ENTRY(n, struct invocation, node);

        if (memcmp(in->id.raw, id->raw, sizeof id->raw) == 0)
            return in;
    }
    return NULL;
}

static void forget_failure(struct invocation *in) {
    buf_done(&in->failure_text);
    buf_done(&in->failure_stack);
    buf_done(&in->failure_command);
    in->has_failure = false;
}

static void release(struct invocation *in) {
    struct invoker *inv = in->inv;

    if (in->slot) {
        inv->running--;
        if (!list_empty(&inv->queue))
            loop_hook_arm(inv->loop, &inv->start_hook);
    }
    timer_stop(inv->loop, &in->timer);
    list_remove(&in->link);
    map_remove(&inv->invocations, &in->node);
    forget_failure(in);
    free(in);
}

void invocation_start(struct invocation *in) {
    int r;

    in->state = INVOCATION_READING;
    in->commands_sent = in->commands_acked = in->runs_pending = 0;
    in->last_start_ms = loop_wall_ns(in->inv->loop) / 1000000;
    r = attempt_start(in);
    if (r == RS_ENOENT)
        release(in);
    /* RS_EAGAIN: invoker_read_again() follows; other failures went through invocation_attempt_failed() */
}

static void start_queued(void *arg) {
    struct invoker *inv = arg;
    struct list *e;

    while (inv->running < inv->slots && (e = list_pop_front(&inv->queue))) {
        struct invocation *in = LIST_ENTRY(e, struct invocation, link);

        in->slot = true;
        inv->running++;
        invocation_start(in);
    }
}

static void on_retry(void *arg) {
    struct invocation *in = arg;

    in->next_retry_ns = 0;
    invocation_start(in);
}

static void serve_memory(void *arg) {
    struct invoker *inv = arg;

    mem_pool_serve(&inv->pool);
}

static void on_memory(void *arg) {
    struct invoker *inv = arg;

    loop_hook_arm(inv->loop, &inv->pool_hook);
}

/* A quarter at most for the slots, the rest for whoever needs more. */
static void divide_memory(struct invoker *inv) {
    const struct invoker_params *p = &inv->params;
    size_t slots = MIN((size_t)p->concurrency, MAX(p->memory_bytes / 4 / p->initial_bytes, (size_t)1));

    if (slots < p->concurrency)
        LOG_INFO("worker.invoker.memory-limit bounds how many invocations run at a time", F_U64("invocations", slots),
                 F_U64("memory_bytes", p->memory_bytes));
    inv->slots = (unsigned)slots;
    inv->share = p->initial_bytes / 2;
    mem_pool_init(&inv->pool, p->memory_bytes - slots * p->initial_bytes, p->invocation_memory_bytes, on_memory, inv);
}

struct invoker *invoker_new(const struct invoker_params *p) {
    struct invoker *inv = xnew(struct invoker);
    unsigned streams = p->streams_per_connection ? p->streams_per_connection : STREAMS_PER_CONNECTION;
    struct http_client_params hp = {.connect_timeout_ns = p->connect_timeout_ns,
                                    .idle_timeout_ns = p->idle_timeout_ns,
                                    .ping_interval_ns = p->ping_interval_ns,
                                    .ping_timeout_ns = p->ping_timeout_ns,
                                    .h2_max_streams = streams,
                                    .window_bytes = p->initial_bytes / 2,
                                    .connection_window_bytes = MIN(p->initial_bytes * streams, (size_t)INT32_MAX),
                                    .queue_high_bytes = p->initial_bytes / 2,
                                    .queue_low_bytes = p->initial_bytes / 2};

    inv->params = *p;
    inv->loop = p->loop;
    inv->client = http_client_new(p->loop, &hp);
    list_init(&inv->queue);
    list_init(&inv->detached);
    list_init(&inv->held);
    loop_hook_init(&inv->start_hook, start_queued, inv);
    loop_hook_init(&inv->pool_hook, serve_memory, inv);
    divide_memory(inv);
    return inv;
}

static void on_client_closed(void *arg) {
    struct invoker *inv = arg;
    void (*closed)(void *) = inv->closed;
    void *closed_arg = inv->closed_arg;

    schema_unref(inv->schema);
    map_done(&inv->invocations);
    arena_done(&inv->arena);
    free(inv);
    if (closed)
        closed(closed_arg);
}

static void abort_one(struct invocation *in) {
    if (in->attempt)
        attempt_free(in->attempt);
    release(in);
}

void invoker_close(struct invoker *inv, void (*done)(void *arg), void *arg) {
    inv->closing = true;
    inv->closed = done;
    inv->closed_arg = arg;
    MAP_FOREACH (n, &inv->invocations)
        abort_one(MAP_ENTRY(n, struct invocation, node));
    LIST_FOREACH_SAFE (e, &inv->detached)
        attempt_free(LIST_ENTRY(e, struct attempt, link));
    loop_hook_disarm(&inv->start_hook);
    loop_hook_disarm(&inv->pool_hook);
    http_client_close(inv->client, on_client_closed, inv);
}

void invoker_set_schema(struct invoker *inv, struct schema *s) {
    s = schema_ref(s);
    schema_unref(inv->schema);
    inv->schema = s;
}

void invoker_invoke(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint64_t start_lsn) {
    struct invocation *in = find(inv, id);

    /* A new leader's scan and the log may both name it. What runs must not be started over: its effects are on their
     * way. But a scan may also start what has just suspended, the record of which is still under way: that run is void
     * when the next one begins. */
    if (in && (!in->start_lsn || start_lsn <= in->start_lsn))
        return;
    if (in)
        abort_one(in);
    in = xnew(struct invocation);
    in->inv = inv;
    in->owner = o;
    in->id = *id;
    in->state = INVOCATION_QUEUED;
    timer_init(&in->timer, on_retry, in);
    map_add(&inv->invocations, &in->node, invocation_id_hash(id));
    list_push_back(&inv->queue, &in->link);
    loop_hook_arm(inv->loop, &inv->start_hook);
}

void invoker_abort(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id) {
    struct invocation *in = find(inv, id);

    if (in && in->owner == o)
        abort_one(in);
}

void invoker_abort_all(struct invoker *inv, struct invoker_owner *o) {
    MAP_FOREACH (n, &inv->invocations) {
        struct invocation *in = MAP_ENTRY(n, struct invocation, node);

        if (in->owner == o)
            abort_one(in);
    }
}

static void back_off(struct invocation *in) {
    struct invoker *inv = in->inv;

    in->state = INVOCATION_BACKOFF;
    in->next_retry_ns = loop_wall_ns(inv->loop) + in->next_delay_ms * 1000000u;
    timer_set(inv->loop, &in->timer, in->next_delay_ms * 1000000u);
}

static void check_stored(struct invocation *in) {
    if (in->state == INVOCATION_STORING && in->commands_acked >= in->commands_sent && in->runs_pending == 0)
        back_off(in);
}

void invoker_ack(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint32_t command_index) {
    struct invocation *in = find(inv, id);

    if (!in || in->owner != o)
        return;
    if (command_index + 1 > in->commands_acked)
        in->commands_acked = command_index + 1;
    if (in->attempt && in->attempt->ack_wanted && command_index <= in->attempt->ack_upto)
        attempt_ack(in->attempt, command_index);
    check_stored(in);
}

void invoker_notify(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint32_t index,
                    uint16_t type, struct slice payload) {
    struct invocation *in = find(inv, id);

    if (!in || in->owner != o)
        return;
    if (type == SP_RUN_COMPLETION && in->runs_pending)
        in->runs_pending--;
    if (in->state == INVOCATION_RUNNING)
        attempt_notify(in->attempt, index, type, payload);
    check_stored(in);
}

void invoker_retry_now(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id) {
    struct invocation *in = find(inv, id);

    if (!in || in->owner != o)
        return;
    in->next_delay_ms = 0;
    if (in->state == INVOCATION_BACKOFF)
        timer_set(inv->loop, &in->timer, 0);
}

void invoker_read_again(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id) {
    struct invocation *in = find(inv, id);

    if (!in || in->owner != o)
        return;
    if (in->state == INVOCATION_READING)
        invocation_start(in);
    else if (in->state == INVOCATION_RUNNING)
        attempt_rows_came(in->attempt);
}

void invoker_owner_writable(struct invoker *inv) {
    struct list held;
    struct list *e;

    list_init(&held);
    list_splice(&held, &inv->held); /* those who come back wait for the next time */
    while ((e = list_pop_front(&held)))
        attempt_resume(LIST_ENTRY(e, struct attempt, link));
}

/* ---- after an attempt ---- */

static void keep_failure(struct invocation *in, const struct attempt_failure *f) {
    buf_clear(&in->failure_text);
    buf_clear(&in->failure_stack);
    buf_clear(&in->failure_command);
    buf_put_slice(&in->failure_text, f->message);
    buf_put_slice(&in->failure_stack, f->stack);
    buf_put_slice(&in->failure_command, f->command_name);
    in->failure = (struct cmd_event){.type = EVENT_TRANSIENT_ERROR,
                                     .code = f->code,
                                     .message = buf_slice(&in->failure_text),
                                     .stacktrace = f->stack.len ? buf_slice(&in->failure_stack) : SLICE_NULL,
                                     .doc_code = slice_str(f->doc_code),
                                     .command_index = f->command_index,
                                     .has_command_index = f->has_command,
                                     .command_name = f->command_name.len ? buf_slice(&in->failure_command) : SLICE_NULL,
                                     .command_type = f->command_type,
                                     .has_command_type = f->has_command};
    if (!in->failure.message.data)
        in->failure.message = SLICE_LIT("");
    in->has_failure = true;
}

static bool same_failure(const struct invocation *in, const struct attempt_failure *f) {
    return in->has_failure && in->failure.code == f->code && slice_eq(in->failure.message, f->message) &&
           in->failure.has_command_index == f->has_command && in->failure.command_index == f->command_index;
}

/* The policy's next delay, with up to 30 % of jitter; false when it is used up. */
static bool next_delay(struct invocation *in, uint64_t *ret_ms) {
    const struct retry_policy *p = &in->retry;
    double d;

    if (p->max_attempts && in->attempts + 1 >= p->max_attempts)
        return false;
    d = in->attempts == 0 ? (double)p->initial_ms : (double)in->delay_ms * p->factor;
    if (p->max_ms && d > (double)p->max_ms)
        d = (double)p->max_ms;
    in->delay_ms = (uint64_t)d;
    in->attempts++;
    *ret_ms = in->delay_ms + (in->delay_ms ? loop_random_u64(in->inv->loop) % (in->delay_ms * 3 / 10 + 1) : 0);
    return true;
}

static void send_effect(struct invocation *in, const struct cmd_effect *e) {
    in->owner->effects(in->owner, &in->id, in->start_lsn, e, 1);
}

static void give_up(struct invocation *in, const struct attempt_failure *f, bool pause) {
    struct cmd_failure failure = {.code = f->code, .message = in->failure.message};
    struct cmd_event event = in->failure;
    struct cmd_effect e = {.kind = pause ? EFFECT_PAUSED : EFFECT_FAILED};

    event.type = EVENT_PAUSED;
    if (pause)
        e.event = &event;
    else
        e.failure = &failure;
    send_effect(in, &e);
    release(in);
}

void invocation_attempt_failed(struct invocation *in, const struct attempt_failure *f) {
    bool seen = same_failure(in, f);
    char id[INVOCATION_ID_CHARS + 1];
    uint64_t delay = 0;

    in->attempt = NULL; /* the caller frees it */
    keep_failure(in, f);
    invocation_id_format(&in->id, id);
    LOG_INFO("attempt failed", F_STR("invocation_id", id), F_STR("code", f->doc_code),
             F_U64("attempt", in->attempts + 1), F_SLICE("error", slice_sub(f->message, 0, 300)));
    if (f->behavior == SP_BEHAVIOR_PAUSE || f->behavior == SP_BEHAVIOR_FAIL) {
        give_up(in, f, f->behavior == SP_BEHAVIOR_PAUSE);
        return;
    }
    if (!f->not_the_sdk)
        in->retries_since_entry++;
    if (f->has_delay) {
        delay = f->delay_ms;
    } else if (!next_delay(in, &delay)) {
        give_up(in, f, !in->retry.kill);
        return;
    }
    if (!seen) {
        struct cmd_effect e = {.kind = EFFECT_EVENT, .event = &in->failure};

        send_effect(in, &e);
    }
    in->next_delay_ms = delay;
    in->state = INVOCATION_STORING;
    check_stored(in);
}

void invocation_finished(struct invocation *in) {
    struct attempt *a = in->attempt;

    in->attempt = NULL;
    a->in = NULL;
    list_push_back(&in->inv->detached, &a->link);
    release(in);
}

static void status_of(const struct invocation *in, struct invoker_status *ret) {
    *ret = (struct invoker_status){
        .known = true,
        .running = in->state == INVOCATION_RUNNING,
        .backing_off = in->state == INVOCATION_BACKOFF || in->state == INVOCATION_STORING,
        .attempts = in->attempts + 1,
        .started = in->attempts,
        .next_retry_wall_ms = in->next_retry_ns / 1000000,
        .last_start_wall_ms = in->last_start_ms,
        .deployment = in->deployment[0] ? in->deployment : NULL,
        .last_failure = in->has_failure ? &in->failure : NULL,
    };
    if (ret->running || (in->has_failure && !ret->started))
        ret->started++;
}

void invoker_status(const struct invoker *inv, const struct invocation_id *id, struct invoker_status *ret) {
    const struct invocation *in = find(inv, id);

    *ret = (struct invoker_status){.known = in != NULL};
    if (in)
        status_of(in, ret);
}

void invoker_each(const struct invoker *inv, invoker_each_fn each, void *arg) {
    MAP_FOREACH (n, &inv->invocations) {
        const struct invocation *in = MAP_ENTRY(n, struct invocation, node);
        struct invoker_status s;

        status_of(in, &s);
        each(arg, &in->id, &s);
    }
}
