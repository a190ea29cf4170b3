/* SPDX-License-Identifier: Apache-2.0 */
/* worker/worker.c : the partitions of this node and the calls made to them.
 *
 * A call stays in the map of pending calls, with its encoded command, until it is answered: when a partition loses its
 * leadership and wins it again, the same command is proposed again. That is safe for everything that is deduplicated by
 * its invocation id; calls that are not (restart-as-new, state patches) are answered WORKER_LOST_LEADERSHIP instead. */
#include "worker/partition_internal.h"
#include "base/hash.h"
#include "base/logging.h"
#include "meta/partition_table.h"

#include <stdio.h>

struct worker {
    struct worker_params params;
    struct partition **partitions;
    size_t n;
    struct map calls; /* struct worker_call.node by request id */
    struct schema *schema;
    struct meta_watch schema_watch;
    struct arena scratch;
    bool stopping, all_lead;
};

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
    partition_info(w->partitions[i], ret);
}

struct partition *worker_partition_of(const struct worker *w, uint64_t key) {
    unsigned i = partition_of_key(key, (unsigned)w->n);

    return i < w->n ? w->partitions[i] : NULL;
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

static int open_partition(struct worker *w, uint32_t id, const struct partition_range *range, struct err *err) {
    struct store *store = w->params.stores[id % w->params.n_stores];
    struct store_table *table;
    char name[16];
    int r;

    (void)snprintf(name, sizeof name, "p-%u", id);
    r = store_table_open(store, name, &table, err);
    if (r == 0)
        w->partitions[id] = partition_new(w, id, range->first, range->last, store, table);
    return r;
}

int worker_open(const struct worker_params *p, struct worker **ret, struct err *err) {
    struct worker *w = xnew(struct worker);
    int r = 0;

    w->params = *p;
    w->params.partitions = NULL;
    w->n = p->partitions->n;
    w->partitions = xnewn(struct partition *, w->n + 1);
    r = schema_parse(SLICE_NULL, 0, &p->schema_defaults, &w->schema, err);
    for (uint32_t i = 0; r == 0 && i < w->n; i++)
        r = open_partition(w, i, &p->partitions->partitions[i], err);
    if (r < 0) {
        w->stopping = true;
        (void)worker_close(w);
        return r;
    }
    invoker_set_schema(p->invoker, w->schema);
    w->schema_watch.changed = on_schema;
    w->schema_watch.arg = w;
    meta_watch(p->meta, &w->schema_watch, META_KEY_SCHEMA);
    for (size_t i = 0; i < w->n; i++)
        partition_start(w->partitions[i]);
    *ret = w;
    return 0;
}

bool worker_stopping(const struct worker *w) {
    return w->stopping;
}

void worker_stop(struct worker *w) {
    struct map_node *n;

    w->stopping = true;
    if (w->schema_watch.meta)
        meta_unwatch(&w->schema_watch);
    for (size_t i = 0; i < w->n; i++)
        if (w->partitions[i])
            partition_stop(w->partitions[i]);
    while ((n = map_iter(&w->calls, NULL)))
        worker_call_answer(w, MAP_ENTRY(n, struct worker_call, node), &(struct worker_reply){.code = WORKER_SHUTDOWN});
}

struct worker *worker_close(struct worker *w) {
    if (!w)
        return NULL;
    for (size_t i = 0; i < w->n; i++)
        w->partitions[i] = partition_free(w->partitions[i]);
    free(w->partitions);
    map_done(&w->calls);
    schema_unref(w->schema);
    arena_done(&w->scratch);
    free(w);
    return NULL;
}

void worker_store_durable(struct worker *w, struct store *s) {
    for (size_t i = 0; i < w->n; i++)
        if (w->partitions[i] && w->params.stores[i % w->params.n_stores] == s)
            partition_store_durable(w->partitions[i]);
}

void worker_partition_changed(struct worker *w, struct partition *p) {
    bool all = true;

    for (size_t i = 0; i < w->n; i++)
        all = all && w->partitions[i] && partition_role(w->partitions[i]) == PARTITION_LEADER;
    if (all != w->all_lead && !w->stopping) {
        w->all_lead = all;
        if (w->params.ready)
            w->params.ready(w->params.arg, all);
    }
}

void worker_partition_writable(struct worker *w) {
    if (w->params.writable && worker_writable(w))
        w->params.writable(w->params.arg);
}

bool worker_writable(const struct worker *w) {
    for (size_t i = 0; i < w->n; i++)
        if (w->partitions[i] && !partition_writable(w->partitions[i]))
            return false;
    return true;
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
    list_remove(&c->link);
    buf_done(&c->command);
}

void worker_call_answer(struct worker *w, struct worker_call *c, const struct worker_reply *r) {
    worker_call_drop(w, c);
    c->done(c, r); /* may free c */
}

static void start_call(struct worker *w, struct worker_call *c, uint16_t kind, uint64_t partition_key) {
    c->kind = kind;
    c->partition_key = partition_key;
    c->linked = true;
    map_add(&w->calls, &c->node, request_hash(c->request_id));
    partition_call(worker_partition_of(w, partition_key), c);
}

static void new_request(struct worker *w, struct worker_call *c, enum worker_op op) {
    uint8_t random[ULID_RANDOM_BYTES];

    c->op = op;
    c->command = (struct buf){0};
    c->link = (struct list){0};
    loop_random(w->params.loop, random, sizeof random);
    ulid_make(loop_wall_ns(w->params.loop) / 1000000, random, c->request_id);
}

#define ENCODE(c, type, m) cmd_##type##_encode((m), &(c)->command)

void worker_call_invoke(struct worker *w, struct worker_call *c, struct cmd_invoke *cmd, bool wait_output) {
    struct cmd_sink sink = {0};
    struct cmd_source source = {.type = SOURCE_INGRESS};

    new_request(w, c, wait_output ? WORKER_OP_INVOKE : WORKER_OP_SUBMIT);
    source.id = slice_of(c->request_id, sizeof c->request_id);
    cmd->source = &source;
    if (wait_output) {
        sink.request_id = source.id;
        cmd->sink = &sink;
    } else {
        cmd->submit_request_id = source.id;
    }
    ENCODE(c, invoke, cmd);
    start_call(w, c, CMD_INVOKE, get_u64be(cmd->id.data));
    cmd->sink = NULL;
    cmd->source = NULL;
}

void worker_call_attach(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool wait_output) {
    struct cmd_sink sink = {0};
    struct cmd_attach m = {.id = invocation_id_slice(id), .block = wait_output, .sink = &sink};

    new_request(w, c, wait_output ? WORKER_OP_ATTACH : WORKER_OP_OUTPUT);
    sink.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, attach, &m);
    start_call(w, c, CMD_ATTACH, invocation_id_pk(id));
}

void worker_call_signal(struct worker *w, struct worker_call *c, const struct cmd_signal *cmd) {
    new_request(w, c, WORKER_OP_SIGNAL);
    ENCODE(c, signal, cmd);
    start_call(w, c, CMD_SIGNAL, get_u64be(cmd->target.data));
}

void worker_call_terminate(struct worker *w, struct worker_call *c, const struct invocation_id *id, int flavor) {
    struct cmd_terminate m = {.id = invocation_id_slice(id), .flavor = (uint32_t)flavor};

    new_request(w, c, WORKER_OP_TERMINATE);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, terminate, &m);
    start_call(w, c, CMD_TERMINATE, invocation_id_pk(id));
}

void worker_call_purge(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool journal_only) {
    struct cmd_purge m = {.id = invocation_id_slice(id)};

    new_request(w, c, journal_only ? WORKER_OP_PURGE_JOURNAL : WORKER_OP_PURGE);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, purge, &m);
    start_call(w, c, journal_only ? CMD_PURGE_JOURNAL : CMD_PURGE_INVOCATION, invocation_id_pk(id));
}

void worker_call_pause(struct worker *w, struct worker_call *c, const struct invocation_id *id) {
    struct cmd_pause m = {.id = invocation_id_slice(id)};

    new_request(w, c, WORKER_OP_PAUSE);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, pause, &m);
    start_call(w, c, CMD_PAUSE, invocation_id_pk(id));
}

/* The deployment is resolved against the schema of now, before the log (execution.md §14.2). @service: of the
 * invocation, for "latest"; data NULL: it has no status row, the state machine will say so. */
static void resolve_patch(const struct worker *w, struct slice wanted, struct slice service,
                          struct cmd_deployment_patch *ret) {
    const struct deployment *d = NULL;

    *ret = (struct cmd_deployment_patch){.outcome = PATCH_KEEP};
    if (wanted.len == 0 || slice_eq_str(wanted, "keep") || slice_eq_str(wanted, "Keep"))
        return;
    if (slice_eq_str(wanted, "latest") || slice_eq_str(wanted, "Latest")) {
        const struct service *s = service.data ? schema_service(w->schema, service) : NULL;

        d = s ? s->deployment : NULL;
        ret->latest = true;
    } else {
        d = schema_deployment(w->schema, wanted);
    }
    if (!d) {
        ret->outcome = PATCH_NOT_FOUND;
        return;
    }
    ret->outcome = PATCH_USE;
    ret->deployment = slice_str(d->id);
    ret->min_protocol = d->min_protocol;
    ret->max_protocol = d->max_protocol;
}

/* The service of an invocation, from its leader's tables; data NULL when it is not known here. In the worker's arena.
 */
static struct slice service_of(struct worker *w, const struct invocation_id *id) {
    struct partition *p = worker_partition_of(w, invocation_id_pk(id));
    struct cmd_invocation_body body;

    arena_clear(&w->scratch);
    if (!p || tables_body(&p->rows, id, &w->scratch, &body, NULL) < 0 || !body.target)
        return SLICE_NULL;
    return body.target->service;
}

void worker_call_resume(struct worker *w, struct worker_call *c, const struct invocation_id *id,
                        struct slice deployment) {
    struct cmd_deployment_patch patch;
    struct cmd_resume m = {.id = invocation_id_slice(id), .patch = &patch};

    new_request(w, c, WORKER_OP_RESUME);
    resolve_patch(w, deployment, service_of(w, id), &patch);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, resume, &m);
    start_call(w, c, CMD_RESUME, invocation_id_pk(id));
}

void worker_call_restart(struct worker *w, struct worker_call *c, const struct invocation_id *id, uint32_t from,
                         struct slice deployment) {
    struct cmd_deployment_patch patch;
    struct invocation_id new_id = *id;
    struct cmd_restart m = {.id = invocation_id_slice(id), .from = from, .patch = &patch};

    new_request(w, c, WORKER_OP_RESTART);
    resolve_patch(w, deployment.len ? deployment : SLICE_LIT("latest"), service_of(w, id), &patch);
    memcpy(new_id.raw + 8, c->request_id, 16); /* same partition key, fresh uuid */
    loop_random(w->params.loop, new_id.raw + 14, 10);
    m.new_id = invocation_id_slice(&new_id);
    m.request_id = slice_of(c->request_id, sizeof c->request_id);
    ENCODE(c, restart, &m);
    start_call(w, c, CMD_RESTART, invocation_id_pk(id));
}

void worker_call_patch_state(struct worker *w, struct worker_call *c, const struct cmd_patch_state *cmd) {
    new_request(w, c, WORKER_OP_PATCH_STATE);
    ENCODE(c, patch_state, cmd);
    start_call(w, c, CMD_PATCH_STATE, hash_partition_key(cmd->key));
}
