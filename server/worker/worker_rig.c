/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/worker_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/logging.h"
#include "meta/epoch_metadata.h"
#include "meta/partition_table.h"

/* ---- time and work ---- */

static void submit(struct exec *e, struct job *j) {
    list_push_back(&((struct rig *)(void *)e)->jobs, &j->link);
}
static const struct exec_ops exec_ops = {.submit = submit};

static void job_back(void *arg) {
    struct job *j = arg;

    if (j->done)
        j->done(j);
}

static bool run_job(struct rig *r) {
    struct list *e = list_pop_front(&r->jobs);
    struct job *j;

    if (!e)
        return false;
    j = LIST_ENTRY(e, struct job, link);
    j->run(j);
    j->back = (struct loop_task){.fn = job_back, .arg = j};
    loop_post_task(j->loop, &j->back);
    return true;
}

void rig_turns(struct rig *r) {
    fake_run(r->net);
}

bool rig_step(struct rig *r) {
    bool ran = run_job(r);

    fake_run(r->net);
    return ran;
}

void rig_run(struct rig *r) {
    fake_run(r->net);
    while (rig_step(r))
        ;
}

void rig_pass(struct rig *r, uint64_t ms) {
    uint64_t until = r->net->now_ns + ms * RIG_MS, next;

    rig_run(r);
    while ((next = loop_next_ns(r->net->loop)) <= until) {
        r->net->now_ns = MAX(r->net->now_ns, next);
        rig_run(r);
    }
    r->net->now_ns = until;
    (void)loop_turn(r->net->loop); /* it reads its clock */
}

/* ---- the peer ---- */

static void on_asked(void *arg, struct fabric_request *q) {
    struct rig *r = arg;

    if (!q->is_call) {
        r->words++;
        return;
    }
    ASSERT(r->n_asked < RIG_ASKED);
    r->asked[r->n_asked++] = q;
}

struct fabric_request *rig_asked(struct rig *r) {
    struct fabric_request *q = r->asked[0];

    if (!r->n_asked)
        return NULL;
    memmove(r->asked, r->asked + 1, --r->n_asked * sizeof r->asked[0]);
    return q;
}

void rig_answer(struct rig *r, struct fabric_request *take, struct slice body) {
    fabric_reply(r->peer, take, body, NULL, 0);
    rig_run(r);
}

void rig_reply(struct rig *r, struct fabric_request *take, struct pp_reply reply) {
    _cleanup_buf_ struct buf b = {0};

    pp_reply_encode(&reply, &b);
    rig_answer(r, take, buf_slice(&b));
}

void rig_on_reply(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply,
                  struct bytes *frame, const struct err *why) {
    struct rig_question *q = (struct rig_question *)(void *)c;

    q->answers++;
    q->status = s;
    q->reply = arena_copy(&q->r->fx.scratch, reply);
}

void rig_ask(struct rig *r, struct rig_question *q, uint16_t service, uint16_t type, struct slice body) {
    struct fabric_message m = {.service = service, .type = type, .head = body};
    struct fabric_dest d = {.node = {.id = 1}};

    *q = (struct rig_question){.call = {.done = rig_on_reply}, .r = r};
    fabric_call(r->peer, &q->call, &d, LANE_GENERAL, &m, loop_now_ns(r->net->loop) + 3600000 * RIG_MS);
    rig_run(r);
}

/* ---- the world ---- */

static struct fabric_transport transport(void *arg, const char *scheme) {
    return (struct fabric_transport){fake_transport_ops(), ((struct rig *)arg)->net, false};
}

static int resolve(void *arg, uint32_t id, struct node_id *ret, const char **address) {
    static const char *const addresses[] = {"fake://n1:1", "fake://n2:1", "fake://n3:1"};

    if (id == 0 || id > ARRAY_SIZE(addresses))
        return RS_ENOENT;
    *ret = (struct node_id){id, 1};
    *address = addresses[id - 1];
    return 0;
}

static void on_ready(void *arg, bool all) {
    ((struct rig *)arg)->all_ready = all;
}
static void on_changed(void *arg) {
    ((struct rig *)arg)->n_changed++;
}
static void on_durable(void *arg) {
    struct rig *r = arg;

    if (r->worker)
        worker_store_durable(r->worker, r->data);
}
static void on_poisoned(void *arg, const struct err *why) {}

void rig_init(struct rig *r) {
    logging_set_level(0);
    *r = (struct rig){.exec.ops = &exec_ops, .partitions = 2};
    list_init(&r->jobs);
    r->net = fake_net_new();
    r->disk = sim_disk_new(1);
    r->meta = fake_meta_new(r->net->loop);
    fake_log_init(&r->logs, r->net->loop);
    r->params = (struct worker_params){
        .loop = r->net->loop,
        .log_node = &r->logs,
        .self = RIG_SELF,
        .invoker = &r->invoker,
        .pool = &r->exec,
        .settings = {.version = "1.2.3", .cleanup_interval_ns = 60000 * RIG_MS, .trim_delay_ns = 1000 * RIG_MS},
        .ready = on_ready,
        .changed = on_changed,
        .arg = r};
}

void rig_cluster(struct rig *r) {
    struct fabric_params p = {.loop = r->net->loop,
                              .cluster_name = "c",
                              .self = RIG_SELF,
                              .fingerprint = 7,
                              .transport = transport,
                              .resolve = resolve,
                              .arg = r};

    r->fabric = fabric_new(&p);
    p.self = RIG_PEER;
    r->peer = fabric_new(&p);
    assert_int_equal(fabric_listen(r->fabric, transport(r, "fake"), "fake://n1:1", NULL), 0);
    assert_int_equal(fabric_listen(r->peer, transport(r, "fake"), "fake://n2:1", NULL), 0);
    r->leader_service = (struct fabric_service){.id = SERVICE_PARTITION_LEADER, .handle = on_asked, .arg = r};
    r->manager_service = (struct fabric_service){.id = SERVICE_PARTITION_MANAGER, .handle = on_asked, .arg = r};
    fabric_serve(r->peer, &r->leader_service);
    fabric_serve(r->peer, &r->manager_service);
    r->params.fabric = r->fabric;
    r->params.wait_for_placement = true;
}

void rig_open(struct rig *r) {
    struct store_params sp = {.loop = r->net->loop,
                              .writer = &r->exec,
                              .ops = &sim_storage_ops,
                              .self = r->disk,
                              .caps = SIM_STORAGE_CAPS,
                              .dir = "/n1/data-0",
                              .name = "data-0",
                              .durability = RS_STORE_RELAXED,
                              .poisoned = on_poisoned,
                              .durable = on_durable,
                              .arg = r};
    struct partition_table *table = partition_table_new(r->partitions, NULL);
    struct err err = {0};

    if (store_open(&sp, &r->data, &err) < 0)
        fail_msg("%s", err.msg);
    r->params.meta = &r->meta->m;
    r->params.stores = &r->data;
    r->params.n_stores = 1;
    r->params.partitions = table;
    if (worker_open(&r->params, &r->worker, &err) < 0)
        fail_msg("%s", err.msg);
    (void)partition_table_free(table);
    rig_run(r);
}

static void on_drained(void *arg) {
    *(bool *)arg = true;
}

void rig_stop(struct rig *r) {
    struct worker *w = TAKE(r->worker);
    bool drained = false;

    worker_stop(w);
    worker_drain(w, on_drained, &drained);
    rig_run(r);
    assert_true(drained);
    r->data = store_close(r->data);
    rig_run(r);
    (void)worker_close(w);
    buf_clear(&r->invoker.said);
}

void rig_close(struct rig *r) {
    struct fabric_request *q;

    if (r->worker)
        rig_stop(r);
    while ((q = rig_asked(r)))
        fabric_reply_status(r->peer, q, RPC_DROPPED);
    (void)meta_free(&r->meta->m);
    (void)fabric_free(r->fabric);
    (void)fabric_free(r->peer);
    rig_run(r);
    fake_log_done(&r->logs);
    assert_int_equal(sim_disk_stats(r->disk).views_open, 0);
    sim_disk_free(r->disk);
    fake_net_free(r->net);
    buf_done(&r->invoker.said);
    arena_done(&r->fx.scratch);
}

/* ---- partitions ---- */

void rig_place(struct rig *r, uint32_t p, const uint32_t *nodes, uint32_t n) {
    char key[META_KEY_MAX];
    struct epoch_metadata e = {0};
    struct bytes *value = NULL;
    _cleanup_buf_ struct buf out = {0};
    uint32_t version = 0;
    struct err err = {0};

    epoch_metadata_key((partition_id_t)p, key);
    if (meta_get(&r->meta->m, key, &version, &value) == 0)
        assert_int_equal(epoch_metadata_parse(bytes_slice(value), &e, &err), 0);
    e.current.version++;
    e.current.n = n;
    memcpy(e.current.nodes, nodes, n * sizeof nodes[0]);
    assert_int_equal(epoch_metadata_edit(value ? bytes_slice(value) : SLICE_NULL, &e, version + 1, &out, &err), 0);
    value = bytes_copy(buf_slice(&out));
    meta_publish(&r->meta->m, key, version + 1, value);
    (void)bytes_unref(value);
    rig_run(r);
}

void rig_lead(struct rig *r, uint32_t p) {
    struct partition_info i;

    rig_place(r, p, (uint32_t[]){1, 2}, 2);
    worker_partition_info(r->worker, p, &i);
    worker_control(r->worker, p, WORKER_LEAD, i.current_version);
    rig_run(r);
    assert_int_equal(rig_role(r, p), PARTITION_LEADER);
}

struct partition *rig_partition(struct rig *r, uint32_t p) {
    return r->worker->routes[p].p;
}

enum partition_role rig_role(struct rig *r, uint32_t p) {
    return partition_role(rig_partition(r, p));
}

struct partition_info rig_info(struct rig *r, uint32_t p) {
    struct partition_info i;

    worker_partition_info(r->worker, p, &i);
    return i;
}

void rig_announce(struct rig *r, uint32_t p, epoch_t epoch, struct node_id leader) {
    struct record_header h = {
        .kind = CMD_ANNOUNCE_LEADER, .dedup = RECORD_DEDUP_SELF, .dedup_epoch = epoch, .created_at_ns = 1};
    struct cmd_announce_leader m = {
        .epoch = epoch, .first_key = r->worker->routes[p].first_key, .last_key = r->worker->routes[p].last_key};
    _cleanup_buf_ struct buf out = {0};
    char node[32];

    (void)snprintf(node, sizeof node, NODE_ID_FMT, NODE_ID_ARG(leader));
    m.node = slice_str(node);
    cmd_announce_leader_encode(&m, &out);
    (void)fake_log_put(&r->logs, p, record_new(&h, buf_slice(&out)));
}

const char *rig_said(struct rig *r) {
    return fake_invoker_said(&r->invoker, r->text);
}

static const char *kind_name(uint16_t kind) {
    switch ((enum command_kind)kind) {
    case CMD_ANNOUNCE_LEADER:
        return "announce";
    case CMD_INVOKE:
        return "invoke";
    case CMD_INVOKER_EFFECT:
        return "effect";
    case CMD_TRUNCATE_OUTBOX:
        return "truncate";
    case CMD_TIMER:
        return "timer";
    case CMD_PARTITION_DURABILITY:
        return "durability";
    case CMD_PURGE_INVOCATION:
        return "purge";
    case CMD_PURGE_JOURNAL:
        return "purge-journal";
    case CMD_SIGNAL:
        return "signal";
    case CMD_TERMINATE:
        return "terminate";
    default:
        return "other";
    }
}

const char *rig_log(struct rig *r, uint32_t p, lsn_t from) {
    struct fake_log *f = &r->logs.logs[p];
    _cleanup_buf_ struct buf b = {0};

    for (lsn_t lsn = from; lsn <= f->n; lsn++) {
        struct record_view v;

        assert_int_equal(record_view(bytes_slice(f->records[lsn - 1]), &v, NULL), 0);
        buf_putf(&b, "%s%s", b.len ? " " : "", kind_name(v.header.kind));
    }
    (void)snprintf(r->text, sizeof r->text, SLICE_FMT, SLICE_ARG(buf_slice(&b)));
    return r->text;
}

/* ---- calls and effects ---- */

struct invocation_id rig_id(struct rig *r, uint32_t p, uint64_t n) {
    struct invocation_id id;

    put_u64be(id.raw, r->worker->routes[p].first_key + n);
    put_u64be(id.raw + 8, 1);
    put_u64be(id.raw + 16, n);
    return id;
}

static void on_done(struct worker_call *w, const struct worker_reply *reply) {
    struct rig_call *c = CONTAINER_OF(w, struct rig_call, c);

    c->answers++;
    c->reply = *reply;
    if (reply->message)
        (void)snprintf(c->message, sizeof c->message, "%s", reply->message);
    if (reply->result && reply->result->failure)
        c->failure = reply->result->failure->code;
    else if (reply->result)
        (void)snprintf(c->value, sizeof c->value, SLICE_FMT, SLICE_ARG(reply->result->value));
}

void rig_call_init(struct rig_call *c) {
    *c = (struct rig_call){.c.done = on_done};
}

static void call(struct rig *r, struct rig_call *c, struct invocation_id id, uint64_t at_ms, uint64_t retention_ms,
                 bool wait) {
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    struct cmd_invoke cmd = {.id = invocation_id_slice(&id),
                             .target = &target,
                             .argument = SLICE_LIT("in"),
                             .execution_time_ms = at_ms,
                             .completion_retention_ms = retention_ms,
                             .journal_retention_ms = retention_ms};

    rig_call_init(c);
    worker_call_invoke(r->worker, &c->c, &cmd, wait);
    rig_run(r);
}

void rig_invoke(struct rig *r, struct rig_call *c, struct invocation_id id) {
    call(r, c, id, 0, FX_DAY_MS, true);
}

void rig_submit(struct rig *r, struct rig_call *c, struct invocation_id id, uint64_t at_ms, uint64_t retention_ms) {
    call(r, c, id, at_ms, retention_ms, false);
}

void rig_effects(struct rig *r, struct invocation_id id, const struct cmd_effect *effects, size_t n) {
    struct invoker_owner *o = &worker_route(r->worker, invocation_id_pk(&id))->p->owner;

    o->effects(o, &id, 0, effects, n);
    rig_run(r);
}

static void on_warm(void *arg, int status, const struct err *err) {}

enum inv_status rig_status(struct rig *r, struct invocation_id id) {
    struct partition *p = worker_route(r->worker, invocation_id_pk(&id))->p;
    struct inv_header h = {0};
    struct arena a = {0};
    int ret;

    while ((ret = tables_status(&p->rows, &id, &a, &h, NULL)) == RS_EAGAIN) {
        partition_read_cold(p, on_warm, NULL);
        rig_run(r);
    }
    arena_done(&a);
    return ret < 0 ? INV_FREE : h.status;
}

struct summing {
    struct rig_sum sum;
    int calls;
};
static void on_sum(void *arg, int status, lsn_t lsn, uint64_t checksum) {
    struct summing *s = arg;

    s->calls++;
    s->sum = (struct rig_sum){status, lsn, checksum};
}

struct rig_sum rig_checksum(struct rig *r, uint32_t p) {
    struct summing s = {0};

    worker_checksum(r->worker, p, on_sum, &s);
    rig_run(r);
    assert_int_equal(s.calls, 1);
    return s.sum;
}
