/* SPDX-License-Identifier: Apache-2.0 */
/* worker/worker.c : opening and closing, and the calls as ingress and admin make them.
 *
 * A call stays in the map of pending calls, with its encoded command, until it is answered: when a leader is lost, the
 * same command goes to the next one. That is safe for everything that is deduplicated by its invocation id for as long
 * as the invocation is kept; calls that are not (restart-as-new, state patches, invocations without retention) are
 * answered WORKER_LOST_LEADERSHIP instead, once their outcome is unknown. */
#include "worker/partition_internal.h"
#include "base/hash.h"
#include "base/logging.h"
#include "meta/partition_table.h"
#include "proto/pb.h"
#include "worker/peer_internal.h"

struct loop *worker_loop(const struct worker *w) {
    return w->params.loop;
}
struct meta *worker_meta(const struct worker *w) {
    return w->params.meta;
}
struct log_node *worker_log_node(const struct worker *w) {
    return w->params.log_node;
}
struct node_id worker_self(const struct worker *w) {
    return w->params.self;
}
struct invoker *worker_invoker(const struct worker *w) {
    return w->params.invoker;
}
struct tracer *worker_tracer(const struct worker *w) {
    return w->params.tracer;
}
struct schema *worker_schema(const struct worker *w) {
    return w->schema;
}
const struct worker_settings *worker_settings(const struct worker *w) {
    return &w->params.settings;
}
size_t worker_partitions(const struct worker *w) {
    return w->n;
}
void worker_partition_info(const struct worker *w, size_t i, struct partition_info *ret) {
    const struct route *r = &w->routes[i];

    *ret = (struct partition_info){.id = r->id,
                                   .first_key = r->first_key,
                                   .last_key = r->last_key,
                                   .leader_epoch = r->epoch,
                                   .leader = r->leader,
                                   .current_version = r->current.version,
                                   .next_version = r->next.version,
                                   .error = ""};
    if (r->p)
        partition_info(r->p, ret);
}

struct route *worker_route(struct worker *w, uint64_t key) {
    unsigned i = partition_of_key(key, (unsigned)w->n);

    return i < w->n ? &w->routes[i] : NULL;
}
struct route *worker_route_of(struct worker *w, uint32_t id) {
    return &w->routes[id];
}

/* ---- schema ---- */

static void on_schema(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct worker *w = arg;
    struct schema *s;
    struct err err = {0};

    if (schema_parse(bytes_slice(value), version, &w->params.schema_defaults, &s, &err) < 0) {
        LOG_ERROR("the schema cannot be read; the one before stays", F_STR("error", err.msg));
        return;
    }
    schema_unref(w->schema);
    w->schema = s;
    invoker_set_schema(w->params.invoker, s);
}

/* ---- opening, closing ---- */

static void check_ready(void *arg);
static void tell_writable(void *arg);

int worker_open(const struct worker_params *p, struct worker **ret, struct err *err) {
    struct worker *w = xnew(struct worker);
    int r;

    w->params = *p;
    w->params.partitions = NULL;
    w->n = p->partitions->n;
    w->routes = xnewn(struct route, w->n + 1);
    if (!w->params.proposal_limit_bytes)
        w->params.proposal_limit_bytes = LIMIT_PROPOSAL_QUEUE_BYTES;
    loop_hook_init(&w->check_ready, check_ready, w);
    loop_hook_init(&w->writable_hook, tell_writable, w);
    list_init(&w->ingests);
    list_init(&w->snapshots.waiting);
    list_init(&w->snapshots.serving);
    for (uint32_t i = 0; i < w->n; i++)
        route_init(&w->routes[i], w, i, p->partitions->partitions[i].first, p->partitions->partitions[i].last);
    r = schema_parse(SLICE_NULL, 0, &p->schema_defaults, &w->schema, err);
    if (r == 0)
        r = manager_open(w, err);
    if (r < 0) {
        worker_stop(w);
        (void)worker_close(w);
        return r;
    }
    invoker_set_schema(p->invoker, w->schema);
    w->schema_watch.changed = on_schema;
    w->schema_watch.arg = w;
    meta_watch(p->meta, &w->schema_watch, META_KEY_SCHEMA);
    if (p->fabric)
        peer_open(w);
    loop_hook_arm(p->loop, &w->check_ready);
    *ret = w;
    return 0;
}

bool worker_stopping(const struct worker *w) {
    return w->stopping;
}

void worker_stop(struct worker *w) {
    w->stopping = true;
    __atomic_store_n(&w->snapshots.stop, true, __ATOMIC_RELAXED);
    loop_hook_disarm(&w->check_ready);
    loop_hook_disarm(&w->writable_hook);
    if (w->schema_watch.meta)
        meta_unwatch(&w->schema_watch);
    manager_stop(w);
    for (size_t i = 0; i < w->n; i++) {
        route_stop(&w->routes[i]);
        worker_refuse_calls(&w->routes[i], WORKER_SHUTDOWN, "");
    }
    if (w->params.fabric)
        peer_close(w);
}

void worker_drain(struct worker *w, void (*done)(void *arg), void *arg) {
    if (!w->snapshots.busy) {
        loop_post(w->params.loop, done, arg);
        return;
    }
    w->snapshots.drained = done;
    w->snapshots.drained_arg = arg;
}

struct worker *worker_close(struct worker *w) {
    if (!w)
        return NULL;
    for (size_t i = 0; i < w->n; i++)
        w->routes[i].p = partition_free(w->routes[i].p);
    free(w->routes);
    map_done(&w->calls);
    schema_unref(w->schema);
    free(w);
    return NULL;
}

void worker_store_durable(struct worker *w, struct store *s) {
    for (size_t i = 0; i < w->n; i++)
        if (w->routes[i].p && w->params.stores[i % w->params.n_stores] == s)
            partition_store_durable(w->routes[i].p);
}

void worker_store_writable(struct worker *w, struct store *s) {
    for (size_t i = 0; i < w->n; i++)
        if (w->routes[i].p && w->params.stores[i % w->params.n_stores] == s)
            partition_store_writable(w->routes[i].p);
}

static bool is_ready(const struct partition *p) {
    struct partition_info i = {0};

    partition_info(p, &i);
    return i.role == PARTITION_LEADER || i.role == PARTITION_STOPPED ||
           (i.role == PARTITION_FOLLOWER && !i.lead_wanted);
}

static void check_ready(void *arg) {
    struct worker *w = arg;
    bool all = true;

    if (w->params.changed && !w->stopping)
        w->params.changed(w->params.arg);
    for (size_t i = 0; i < w->n; i++)
        all = all && (!w->routes[i].p || is_ready(w->routes[i].p));
    if (all == w->all_ready || w->stopping)
        return;
    w->all_ready = all;
    if (w->params.ready)
        w->params.ready(w->params.arg, all);
}

void worker_partition_changed(struct worker *w, struct partition *p) {
    if (!w->stopping)
        loop_hook_arm(w->params.loop, &w->check_ready);
}

static void tell_writable(void *arg) {
    struct worker *w = arg;

    invoker_owner_writable(w->params.invoker);
}

/* Services are the first to wait, so that clients, timers and other partitions still find room. */
bool worker_takes_effects(const struct worker *w) {
    return w->proposed_bytes < w->params.proposal_limit_bytes / 2;
}

void worker_proposed(struct worker *w, int64_t bytes) {
    w->proposed_bytes += (uint64_t)bytes;
    if (!worker_takes_effects(w)) {
        w->was_full = true;
    } else if (w->was_full && w->proposed_bytes < w->params.proposal_limit_bytes / 4) {
        w->was_full = false;
        if (!w->stopping)
            loop_hook_arm(w->params.loop, &w->writable_hook);
    }
}

bool worker_writable(const struct worker *w) {
    return w->waiting_bytes < w->params.proposal_limit_bytes && w->proposed_bytes < w->params.proposal_limit_bytes;
}

/* ---- pending calls ---- */

static uint64_t request_hash(const uint8_t id[16]) {
    return get_u64le(id + 8); /* random */
}

struct worker_call *worker_call_find(struct worker *w, const uint8_t request_id[16]) {
    for (struct map_node *n = map_first(&w->calls, request_hash(request_id)); n; n = map_next(n)) {
        struct worker_call *c = MAP_ENTRY(n, struct worker_call, node);

        if (memcmp(c->request_id, request_id, 16) == 0)
            return c;
    }
    return NULL;
}

void worker_call_drop(struct worker *w, struct worker_call *c) {
    if (!c->linked)
        return;
    c->linked = false;
    map_remove(&w->calls, &c->node);
    route_drop_call(worker_route(w, c->partition_key), c);
    buf_done(&c->command);
}

void worker_call_answer(struct worker *w, struct worker_call *c, const struct worker_reply *r) {
    worker_call_drop(w, c);
    c->done(c, r); /* may free c */
}

void worker_call_start(struct worker *w, struct worker_call *c, uint16_t kind, uint64_t partition_key) {
    c->kind = kind;
    c->partition_key = partition_key;
    c->linked = true;
    map_add(&w->calls, &c->node, request_hash(c->request_id));
    route_add_call(worker_route(w, partition_key), c);
}

static void new_request(struct worker *w, struct worker_call *c, enum worker_op op) {
    uint8_t random[ULID_RANDOM_BYTES];

    c->op = op;
    c->command = (struct buf){0};
    c->link = (struct list){0};
    c->repeatable = op != WORKER_OP_RESTART && op != WORKER_OP_PATCH_STATE;
    c->served = false;
    c->remote = NULL;
    loop_random(w->params.loop, random, sizeof random);
    ulid_make(loop_wall_ns(w->params.loop) / 1000000, random, c->request_id);
}

#define ENCODE(c, type, m) cmd_##type##_encode((m), &(c)->command)

void worker_call_invoke(struct worker *w, struct worker_call *c, struct cmd_invoke *cmd, bool wait_output) {
    struct cmd_sink sink = {0};
    struct cmd_source source = {.type = SOURCE_INGRESS};

    new_request(w, c, wait_output ? WORKER_OP_INVOKE : WORKER_OP_SUBMIT);
    c->repeatable = cmd->completion_retention_ms > 0; /* else nobody remembers that it ran */
    source.id = slice_of(c->request_id, sizeof c->request_id);
    cmd->source = &source;
    if (wait_output) {
        sink.request_id = source.id;
        cmd->sink = &sink;
    } else {
        cmd->submit_request_id = source.id;
    }
    ENCODE(c, invoke, cmd);
    worker_call_start(w, c, CMD_INVOKE, get_u64be(cmd->id.data));
    cmd->sink = NULL;
    cmd->source = NULL;
}

void worker_call_attach(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool wait_output) {
    struct cmd_sink sink = {0};
    struct cmd_attach m = {.id = invocation_id_slice(id), .block = wait_output, .sink = &sink};

    new_request(w, c, wait_output ? WORKER_OP_ATTACH : WORKER_OP_OUTPUT);
    sink.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, attach, &m);
    worker_call_start(w, c, CMD_ATTACH, invocation_id_pk(id));
}

void worker_call_signal(struct worker *w, struct worker_call *c, const struct cmd_signal *cmd) {
    new_request(w, c, WORKER_OP_SIGNAL);
    ENCODE(c, signal, cmd);
    worker_call_start(w, c, CMD_SIGNAL, get_u64be(cmd->target.data));
}

void worker_call_terminate(struct worker *w, struct worker_call *c, const struct invocation_id *id, int flavor) {
    struct cmd_terminate m = {.id = invocation_id_slice(id), .flavor = (uint32_t)flavor};

    new_request(w, c, WORKER_OP_TERMINATE);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, terminate, &m);
    worker_call_start(w, c, CMD_TERMINATE, invocation_id_pk(id));
}

void worker_call_purge(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool journal_only) {
    struct cmd_purge m = {.id = invocation_id_slice(id)};

    new_request(w, c, journal_only ? WORKER_OP_PURGE_JOURNAL : WORKER_OP_PURGE);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, purge, &m);
    worker_call_start(w, c, journal_only ? CMD_PURGE_JOURNAL : CMD_PURGE_INVOCATION, invocation_id_pk(id));
}

void worker_call_pause(struct worker *w, struct worker_call *c, const struct invocation_id *id) {
    struct cmd_pause m = {.id = invocation_id_slice(id)};

    new_request(w, c, WORKER_OP_PAUSE);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, pause, &m);
    worker_call_start(w, c, CMD_PAUSE, invocation_id_pk(id));
}

/* The leader resolves it. */
static struct cmd_deployment_patch unresolved(struct slice deployment) {
    bool possible = deployment.len <= 256 && pb_utf8(deployment);

    return (struct cmd_deployment_patch){.outcome = PATCH_UNRESOLVED,
                                         .deployment = possible ? deployment : SLICE_LIT("?")};
}

void worker_call_resume(struct worker *w, struct worker_call *c, const struct invocation_id *id,
                        struct slice deployment) {
    struct cmd_deployment_patch patch = unresolved(deployment.data ? deployment : SLICE_LIT(""));
    struct cmd_resume m = {.id = invocation_id_slice(id), .patch = &patch};

    new_request(w, c, WORKER_OP_RESUME);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, resume, &m);
    worker_call_start(w, c, CMD_RESUME, invocation_id_pk(id));
}

void worker_call_restart(struct worker *w, struct worker_call *c, const struct invocation_id *id, uint32_t from,
                         struct slice deployment) {
    struct cmd_deployment_patch patch = unresolved(deployment.len ? deployment : SLICE_LIT("latest"));
    struct invocation_id new_id = *id;
    struct cmd_restart m = {.id = invocation_id_slice(id), .from = from, .patch = &patch};

    new_request(w, c, WORKER_OP_RESTART);
    memcpy(new_id.raw + 8, c->request_id, 16); /* same partition key, fresh uuid */
    loop_random(w->params.loop, new_id.raw + 14, 10);
    m.new_id = invocation_id_slice(&new_id);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, restart, &m);
    worker_call_start(w, c, CMD_RESTART, invocation_id_pk(id));
}

void worker_call_patch_state(struct worker *w, struct worker_call *c, const struct cmd_patch_state *cmd) {
    new_request(w, c, WORKER_OP_PATCH_STATE);
    ENCODE(c, patch_state, cmd);
    worker_call_start(w, c, CMD_PATCH_STATE, hash_partition_key(cmd->key));
}
