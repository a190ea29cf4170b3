/* SPDX-License-Identifier: Apache-2.0 */
/* partitions placement | leadership: where partitions run and who leads them: changes of their epoch metadata, which
 * the controller follows. snapshots create. */
#include <inttypes.h>
#include <string.h>

#include "control/cluster_ctrl.h"
#include "ctl.h"
#include "meta/epoch_metadata.h"
#include "meta/json.h"
#include "worker/partition.h"

struct epoch_value {
    uint32_t version; /* 0: there is none */
    struct slice text;
    struct epoch_metadata e;
};

static int read_epoch(struct ctl *c, uint32_t p, struct epoch_value *ret, struct err *err) {
    char key[META_KEY_MAX];
    int r;

    *ret = (struct epoch_value){0};
    epoch_metadata_key((partition_id_t)p, key);
    r = metadata_read(c, key, &ret->version, &ret->text, err);
    return r < 0 || ret->version == 0 ? r : epoch_metadata_parse(ret->text, &ret->e, err);
}

/* The partitions that the first @n words name; all when there are none. */
static int wanted(struct ctl *c, bool all, struct ids *ret, struct err *err) {
    int r = client_load(c, err);

    if (r == 0 && !c->table)
        r = err_set(err, RS_ENOENT, "the partition table is not known to the nodes that answer");
    if (r == 0)
        r = ids_parse(c->args.words, c->args.n, ret, err);
    if (r == 0 && ret->n == 0 && !all)
        r = err_set(err, RS_EINVAL, "which partitions? Ids such as 0, 1-4 are needed");
    for (uint32_t p = 0; r == 0 && c->args.n == 0 && p < c->table->n; p++) {
        ret->v = xrealloc(ret->v, (ret->n + 1) * sizeof(uint32_t));
        ret->v[ret->n++] = p;
    }
    for (size_t i = 0; r == 0 && i < ret->n; i++)
        if (ret->v[i] >= c->table->n)
            r = err_set(err, RS_ENOENT, "there is no partition %" PRIu32, ret->v[i]);
    return r;
}

/* ---- showing ---- */

static void put_set(struct table *t, const struct replica_set *s, bool exists, const char *otherwise) {
    text_t text;

    if (!exists)
        table_cell(t, RED, json_null(), "MISSING");
    else if (s->version == 0)
        table_cell(t, PLAIN, json_null(), "%s", otherwise);
    else
        table_cell(t, PLAIN, json_nodes(s->nodes, s->n), "%s (v%" PRIu32 ")", text_nodes(text, s->nodes, s->n),
                   s->version);
}

static void put_freeze(struct table *t, bool frozen, const char *reason) {
    if (frozen)
        table_cell(t, YELLOW, NULL, "FROZEN: %s", reason);
    else
        table_cell(t, PLAIN, NULL, "ENABLED");
}

/* Who leads as the asked node knows it. */
static uint32_t leader_of(const struct ctl *c, uint32_t partition) {
    uint64_t best = 0;
    uint32_t leader = 0;

    for (size_t i = 0; i < c->state->n_nodes; i++) {
        const struct ctl_node_state *s = &c->state->nodes[i];

        for (size_t k = 0; k < s->n_processors && !node_is_dead(c, s->node); k++)
            if (s->processors[k].partition == partition && s->processors[k].role == PARTITION_LEADER &&
                s->processors[k].epoch >= best) {
                best = s->processors[k].epoch;
                leader = s->node;
            }
    }
    return leader;
}

static void put_leader(const struct ctl *c, struct table *t, uint32_t partition, const struct epoch_metadata *e) {
    uint32_t leader = leader_of(c, partition);
    json_t *json = leader ? json_sprintf("N%" PRIu32, leader) : json_null();
    char now[16] = "none";

    if (leader)
        (void)snprintf(now, sizeof now, "N%" PRIu32, leader);
    if (e->affinity && e->affinity != leader)
        table_cell(t, YELLOW, json, "%s → N%" PRIu32 "%s", now, e->affinity,
                   replica_set_has(&e->current, e->affinity) ? "" : " ✗");
    else
        table_cell(t, leader ? PLAIN : YELLOW, json, "%s%s", now, e->affinity ? " (pinned)" : "");
}

static int show(struct ctl *c, bool leadership, struct err *err) {
    static const char *const placed[] = {"PARTITION", "CURRENT", "NEXT", "AUTOMATIC PLACEMENT", NULL};
    static const char *const led[] = {"PARTITION", "LEADER", "FREEZE", NULL};
    _cleanup_(table_freep) struct table *t = table_new(leadership ? led : placed);
    struct ids ids = {0};
    int r = wanted(c, true, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        struct epoch_value v;

        r = read_epoch(c, ids.v[i], &v, err);
        if (r < 0)
            break;
        table_row(t);
        table_number(t, ids.v[i]);
        if (leadership) {
            put_leader(c, t, ids.v[i], &v.e);
            put_freeze(t, v.e.leadership_frozen, v.e.leadership_reason);
        } else {
            put_set(t, &v.e.current, v.version != 0, "UNASSIGNED");
            put_set(t, &v.e.next, v.version != 0, "-");
            put_freeze(t, v.e.placement_frozen, v.e.placement_reason);
        }
    }
    if (r == 0 && c->json)
        json_print(table_json(t));
    else if (r == 0)
        table_print(c, t);
    ids_done(&ids);
    return r;
}

int run_placement_show(struct ctl *c, struct err *err) {
    return show(c, false, err);
}

int run_leadership_show(struct ctl *c, struct err *err) {
    return show(c, true, err);
}

/* ---- changing ---- */

typedef int (*change_fn)(struct ctl *c, struct epoch_metadata *e, struct err *err);

static int change_one(struct ctl *c, uint32_t partition, change_fn change, struct err *err) {
    struct ctl_request sync = {.log_id = partition};
    struct ctl_response answer;
    char key[META_KEY_MAX];
    int r = RS_EEXIST;

    epoch_metadata_key((partition_id_t)partition, key);
    for (int tries = 0; tries < 5 && r == RS_EEXIST; tries++) { /* leaders claim epochs in the same value */
        _cleanup_buf_ struct buf out = {0};
        struct epoch_value v;

        r = read_epoch(c, partition, &v, err);
        if (r == 0 && v.version == 0)
            r = err_set(err, RS_ENOENT, "the partition has no epoch metadata yet");
        if (r == 0)
            r = change(c, &v.e, err);
        if (r == 0)
            r = epoch_metadata_edit(v.text, &v.e, v.version + 1, &out, err);
        if (r == 0)
            r = metadata_write(c, key, v.version, buf_slice(&out), NULL, err);
    }
    if (r == 0) /* it is written: the controller sees it in any case */
        (void)!client_request(c, SERVICE_CLUSTER_CTRL, CLUSTER_SYNC_EPOCH, &sync, &answer, NULL);
    return r;
}

static int change_all(struct ctl *c, change_fn change, const char *what, struct err *err) {
    struct ids ids = {0};
    json_t *all = json_array();
    size_t failed = 0;
    int r = wanted(c, false, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        struct err e = {0};
        int status = change_one(c, ids.v[i], change, &e);

        if (status < 0) {
            failed++;
            (void)fprintf(stderr, "partition %" PRIu32 ": %s\n", ids.v[i], e.msg);
        } else if (!c->json) {
            (void)printf("Partition %" PRIu32 ": %s\n", ids.v[i], what);
        }
        (void)json_array_append_new(all, json_pack("{s:I, s:b, s:s}", "partition", (json_int_t)ids.v[i], "ok",
                                                   status == 0, "message", status < 0 ? e.msg : what));
    }
    if (r == 0 && c->json)
        json_print(json_incref(all));
    json_decref(all);
    if (r == 0 && failed)
        r = err_set(err, RS_EIO, "%zu of %zu partitions failed", failed, ids.n);
    ids_done(&ids);
    return r;
}

static int take_reason(const struct ctl *c, const char *name, char reason[160], struct err *err) {
    const char *text = arg_value(&c->args, name);

    if (!text || !text[0])
        return err_set(err, RS_EINVAL, "why? --%s TEXT, for those who come later", name);
    (void)snprintf(reason, 160, "%s", text);
    return 0;
}

static int freeze_placement(struct ctl *c, struct epoch_metadata *e, struct err *err) {
    e->placement_frozen = true;
    return take_reason(c, "reason", e->placement_reason, err);
}

static int unfreeze_placement(struct ctl *c, struct epoch_metadata *e, struct err *err) {
    (void)c;
    (void)err;
    e->placement_frozen = false;
    return 0;
}

static int freeze_leadership(struct ctl *c, struct epoch_metadata *e, struct err *err) {
    e->leadership_frozen = true;
    return take_reason(c, "reason", e->leadership_reason, err);
}

static int unfreeze_leadership(struct ctl *c, struct epoch_metadata *e, struct err *err) {
    (void)c;
    (void)err;
    e->leadership_frozen = false;
    return 0;
}

static int pin(struct ctl *c, struct epoch_metadata *e, struct err *err) {
    const char *text = arg_value(&c->args, "node");
    const struct node_entry *n;
    int r = text ? parse_node(c, text, &e->affinity, err) : err_set(err, RS_EINVAL, "to which node? --node N");

    if (r < 0)
        return r;
    n = nodes_config_find(c->nodes, e->affinity);
    return n->roles & ROLE_WORKER ? 0 : err_set(err, RS_EINVAL, "N%" PRIu32 " has not the role worker", e->affinity);
}

static int unpin(struct ctl *c, struct epoch_metadata *e, struct err *err) {
    (void)c;
    (void)err;
    e->affinity = 0;
    return 0;
}

static int place(struct ctl *c, struct epoch_metadata *e, struct err *err) {
    const char *text = arg_value(&c->args, "replicas"), *freeze = arg_value(&c->args, "freeze");
    struct ids nodes = {0};
    int r = text && text[0] ? ids_parse(&text, 1, &nodes, err) : 0;

    if (r == 0 && nodes.n > REPLICA_SET_MAX)
        r = err_set(err, RS_EINVAL, "at most %u replicas", REPLICA_SET_MAX);
    for (size_t i = 0; r == 0 && i < nodes.n; i++) {
        const struct node_entry *n = nodes_config_find(c->nodes, nodes.v[i]);

        if (!n || n->tombstone || !(n->roles & ROLE_WORKER) || n->worker_state != WORKER_ACTIVE)
            r = err_set(err, RS_EINVAL, "N%" PRIu32 " is no active worker", nodes.v[i]);
        for (size_t k = 0; r == 0 && k < i; k++)
            if (nodes.v[k] == nodes.v[i])
                r = err_set(err, RS_EINVAL, "N%" PRIu32 " is there twice", nodes.v[i]);
    }
    if (r == 0)
        replica_set_propose(e, nodes.v, (uint32_t)nodes.n, c->state->now_ms);
    if (r == 0 && freeze) {
        e->placement_frozen = true;
        r = take_reason(c, "freeze", e->placement_reason, err);
    }
    ids_done(&nodes);
    return r;
}

int run_placement_set(struct ctl *c, struct err *err) {
    const char *text = arg_value(&c->args, "replicas");
    int r = 0;

    if (!text)
        return err_set(err, RS_EINVAL, "where shall it run? --replicas 1,2,3");
    if (!text[0])
        r = confirm(c, "Without replicas the partition stops everywhere. Stop it?", err);
    return r < 0 ? r : change_all(c, place, "the replicas are set; see restatectl partitions placement show", err);
}

int run_placement_freeze(struct ctl *c, struct err *err) {
    return change_all(c, freeze_placement, "its placement stays as it is", err);
}

int run_placement_unfreeze(struct ctl *c, struct err *err) {
    return change_all(c, unfreeze_placement, "its placement is automatic", err);
}

int run_leadership_pin(struct ctl *c, struct err *err) {
    return change_all(c, pin, "the leader is pinned; see restatectl partitions leadership show", err);
}

int run_leadership_unpin(struct ctl *c, struct err *err) {
    return change_all(c, unpin, "the leader is not pinned", err);
}

int run_leadership_freeze(struct ctl *c, struct err *err) {
    return change_all(c, freeze_leadership, "its leader stays who it is", err);
}

int run_leadership_unfreeze(struct ctl *c, struct err *err) {
    return change_all(c, unfreeze_leadership, "its leader is chosen automatically", err);
}

/* ---- snapshots ---- */

static int create_snapshot(struct ctl *c, uint32_t partition, json_t *all, struct err *err) {
    struct ctl_request m = {.log_id = partition};
    struct ctl_response a = {0};
    uint32_t leader = leader_of(c, partition);
    char id[64];
    uint64_t lsn;
    bool given;
    int r = arg_u64(&c->args, "min-lsn", UINT64_MAX, &given, &m.lsn, err);

    if (r == 0 && !leader)
        r = err_set(err, RS_EAGAIN, "no leader");
    if (r == 0)
        r = client_request_at(c, node_address(c, leader), SERVICE_CLUSTER_CTRL, CLUSTER_SNAPSHOT, &m, &a, err);
    if (r < 0)
        return r;
    lsn = a.lsn;
    (void)snprintf(id, sizeof id, SLICE_FMT, SLICE_ARG(a.text));
    if (c->json)
        (void)json_array_append_new(all, json_pack("{s:I, s:s, s:I, s:I}", "partition_id", (json_int_t)partition,
                                                   "snapshot_id", id, "log_id", (json_int_t)partition,
                                                   "min_applied_lsn", (json_int_t)lsn));
    else
        (void)printf("Partition %" PRIu32 ": snapshot %s created, log %" PRIu32 " at LSN %" PRIu64 "\n", partition, id,
                     partition, lsn);
    if (!arg_given(&c->args, "trim-log"))
        return 0;
    m.lsn = lsn;
    r = client_request_at(c, node_address(c, leader), SERVICE_CLUSTER_CTRL, CLUSTER_TRIM, &m, &a, err);
    if (r == 0 && !c->json)
        (void)printf("Log %" PRIu32 ": trimmed up to LSN %" PRIu64 "\n", partition, a.lsn);
    return r < 0 ? err_wrap(err, r, "the log is not trimmed") : 0;
}

int run_snapshots_create(struct ctl *c, struct err *err) {
    struct ids ids = {0};
    json_t *all = json_array();
    size_t failed = 0;
    int r = wanted(c, true, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        struct err e = {0};

        if (create_snapshot(c, ids.v[i], all, &e) == 0)
            continue;
        failed++;
        (void)fflush(stdout);
        (void)fprintf(stderr, "partition %" PRIu32 ": %s\n", ids.v[i], e.msg);
        if (c->json)
            (void)json_array_append_new(all,
                                        json_pack("{s:I, s:s}", "partition_id", (json_int_t)ids.v[i], "error", e.msg));
    }
    if (r == 0 && c->json)
        json_print(all);
    else
        json_decref(all);
    if (r == 0 && failed)
        r = err_set(err, RS_EIO, "%zu of %zu snapshots were not created", failed, ids.n);
    ids_done(&ids);
    return r;
}
