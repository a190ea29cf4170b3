/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_operator.c : what an operator does to the cluster, as restatectl does it: by the services of a node, or
 * by changes of the metadata. Orders are given to any node and may be lost with it; what must be done in the end is
 * looked at and ordered again.
 *
 * Not here: orders that need a snapshot repository, since the nodes of the simulation have none. */
#include "sim_cluster.h"

#include <stdio.h>

#include "base/buf.h"
#include "meta/epoch_metadata.h"
#include "meta/logs_config.h"
#include "meta/nodes_config.h"
#include "net/services.h"
#include "proto/control.gen.h"
#include "proto/metadata.gen.h"
#include "storage/store.h"
#include "worker/partition.h"

#define S 1000000000ull
enum { LEAST_REPLICAS = 3 };

/* Somebody who can be asked; NULL: nobody now. */
static struct host *anybody(struct cluster *c) {
    struct host *h = &c->hosts[rng_below(&c->w.rng, c->n)];

    return host_serves(h) ? h : NULL;
}

static uint64_t deadline(const struct host *h) {
    return loop_now_ns(h->loop) + 5 * S;
}

/* ---- orders to services ---- */

struct order {
    struct fabric_call call;
    struct cluster *c;
    void (*answered)(struct cluster *c, struct slice reply); /* NULL: whatever */
};

static void on_answer(struct fabric_call *call, enum rpc_status s, struct node_id from, struct slice reply,
                      struct bytes *frame, const struct err *why) {
    struct order *o = CONTAINER_OF(call, struct order, call);

    if (s == RPC_OK && o->answered)
        o->answered(o->c, reply);
    free(o);
}

static void send(struct cluster *c, const struct host *by, uint32_t to, uint16_t service, uint16_t type,
                 const struct buf *body, void (*answered)(struct cluster *c, struct slice reply)) {
    struct order *o = xnew(struct order);
    struct fabric_dest d = {.node = {.id = to}};
    struct fabric_message m = {.service = service, .type = type, .head = buf_slice(body)};

    *o = (struct order){.call.done = on_answer, .c = c, .answered = answered};
    fabric_call(by->node->fabric, &o->call, &d, LANE_GENERAL, &m, deadline(by));
}

static void order_cluster(struct cluster *c, uint16_t type, const struct ctl_request *m) {
    const struct host *by = anybody(c);
    struct buf body = {0};

    if (!by)
        return;
    ctl_request_encode(m, &body);
    send(c, by, 1 + (uint32_t)rng_below(&c->w.rng, c->n), SERVICE_CLUSTER_CTRL, type, &body, NULL);
    buf_done(&body);
}

static void set_replication(struct cluster *c, unsigned copies) {
    char text[16];
    struct ctl_cluster_config config = {.log_replication =
                                            slice_of(text, (size_t)snprintf(text, sizeof text, "%u", copies))};
    struct ctl_request m = {.config = &config};

    world_trace(&c->w, "operator: %u copies of the log", copies);
    order_cluster(c, CLUSTER_SET_CONFIG, &m);
}

/* The second-highest durable LSN of the replicas: what is trimmed survives on two disks. */
static lsn_t safe_trim_point(const struct cluster *c, uint32_t p) {
    struct partition_info info;
    lsn_t best = 0, second = 0;

    for (unsigned i = 0; i < c->n; i++) {
        if (!host_serves(&c->hosts[i]))
            continue;
        worker_partition_info(c->hosts[i].node->worker, p, &info);
        if (info.role != PARTITION_LEADER && info.role != PARTITION_FOLLOWER)
            continue;
        second = MAX(second, MIN(best, info.durable));
        best = MAX(best, info.durable);
    }
    return second;
}

static void trim(struct cluster *c, uint32_t p) {
    struct ctl_request m = {.log_id = p, .lsn = safe_trim_point(c, p)};

    if (!m.lsn || c->lost) /* then one disk must do */
        return;
    world_trace(&c->w, "operator: log %u is trimmed up to %llu", p, (unsigned long long)m.lsn);
    order_cluster(c, CLUSTER_TRIM, &m);
}

static void reconfigure(struct cluster *c, uint32_t p) {
    struct ctl_request m = {.log_id = p};

    world_trace(&c->w, "operator: log %u is reconfigured", p);
    order_cluster(c, CLUSTER_SEAL, &m);
}

/* ---- changes of the nodes configuration ---- */

struct nodes_change {
    uint32_t node;
    enum worker_state worker;
    bool data_loss; /* its storage state, too */
};

static int compute_nodes(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    const struct nodes_change *ch = arg;
    struct nodes_config *c;
    struct node_entry *e = NULL;
    bool change;
    int r = version ? nodes_config_parse(current, &c, err) : RS_ENOENT;

    if (r < 0)
        return r;
    for (size_t i = 0; i < c->n_nodes; i++)
        if (c->nodes[i].id.id == ch->node)
            e = &c->nodes[i];
    change = e && ((e->worker_state != WORKER_PROVISIONING && e->worker_state != ch->worker) ||
                   (ch->data_loss && e->storage_state != STORAGE_DATA_LOSS));
    if (change && e->worker_state != WORKER_PROVISIONING)
        e->worker_state = ch->worker;
    if (change && ch->data_loss)
        e->storage_state = STORAGE_DATA_LOSS;
    c->version = version + 1;
    if (change)
        nodes_config_encode(c, out);
    (void)nodes_config_free(c);
    return change ? 0 : 1;
}

static void on_written(void *arg, int status, uint32_t version, const struct err *err) {}

static void change_node(struct host *by, uint32_t node, enum worker_state worker, bool data_loss) {
    struct nodes_change *ch = xnew(struct nodes_change);

    *ch = (struct nodes_change){node, worker, data_loss};
    meta_update_take(by->node->meta, META_KEY_NODES, deadline(by), compute_nodes, on_written, ch);
}

static const struct nodes_config *nodes_of(const struct host *h) {
    return metadata_client_nodes(h->node->meta);
}

/* The first worker that is not active; 0: none. */
static uint32_t drained(const struct host *by) {
    const struct nodes_config *c = nodes_of(by);

    for (size_t i = 0; c && i < c->n_nodes; i++)
        if (!c->nodes[i].tombstone && c->nodes[i].worker_state == WORKER_DRAINING)
            return c->nodes[i].id.id;
    return 0;
}

static void drain(struct cluster *c) {
    struct host *by = anybody(c);
    uint32_t node = by ? drained(by) : 0;

    if (!by)
        return;
    if (node) {
        world_trace(&c->w, "operator: n%u is a worker again", node);
        change_node(by, node, WORKER_ACTIVE, false);
    } else if (c->n > LEAST_REPLICAS) {
        node = 1 + (uint32_t)rng_below(&c->w.rng, c->n);
        world_trace(&c->w, "operator: n%u is drained", node);
        change_node(by, node, WORKER_DRAINING, false);
    }
}

/* ---- changes of placement and leadership ---- */

struct epoch_change {
    struct cluster *c;
    enum { PIN, FREEZE, PLACE, RELEASE } kind;
    uint32_t nodes[LEAST_REPLICAS]; /* PIN: the first */
};

static int compute_epoch(void *arg, bool exists, struct epoch_metadata *e, struct err *err) {
    const struct epoch_change *ch = arg;

    if (!exists)
        return 1;
    switch (ch->kind) {
    case PIN:
        e->affinity = ch->nodes[0];
        break;
    case FREEZE:
        e->leadership_frozen = true;
        (void)snprintf(e->leadership_reason, sizeof e->leadership_reason, "simulated");
        break;
    case PLACE:
        replica_set_propose(e, ch->nodes, ARRAY_SIZE(ch->nodes), (SIM_WALL_NS + ch->c->now_ns) / 1000000);
        break;
    case RELEASE:
        e->affinity = 0;
        e->leadership_frozen = false;
        break;
    }
    return 0;
}

static void on_epoch(void *arg, int status, uint32_t version, const struct err *err) {
    free(arg);
}

static void change_epoch(struct host *by, uint32_t p, struct epoch_change change) {
    struct epoch_change *ch = xnew(struct epoch_change);

    *ch = change;
    ch->c = by->cluster;
    epoch_metadata_update(by->node->meta, (partition_id_t)p, deadline(by), compute_epoch, on_epoch, ch);
}

/* Some nodes in ascending order. */
static void draw_nodes(struct cluster *c, uint32_t nodes[LEAST_REPLICAS]) {
    unsigned n = 0;

    for (unsigned i = 1; i <= c->n && n < LEAST_REPLICAS; i++)
        if (rng_below(&c->w.rng, c->n - i + 1) < LEAST_REPLICAS - n)
            nodes[n++] = i;
}

static void pin(struct cluster *c, uint32_t p) {
    struct epoch_change ch = {.kind = PIN, .nodes = {1 + (uint32_t)rng_below(&c->w.rng, c->n)}};
    struct host *by = anybody(c);

    if (!by)
        return;
    world_trace(&c->w, "operator: n%u should lead partition %u", ch.nodes[0], p);
    change_epoch(by, p, ch);
}

static void place(struct cluster *c, uint32_t p) {
    struct epoch_change ch = {.kind = PLACE};
    struct host *by = anybody(c);

    if (!by || !c->replicas)
        return;
    draw_nodes(c, ch.nodes);
    world_trace(&c->w, "operator: partition %u shall be on n%u, n%u, n%u", p, ch.nodes[0], ch.nodes[1], ch.nodes[2]);
    change_epoch(by, p, ch);
}

static void freeze_or_release(struct cluster *c, uint32_t p) {
    struct epoch_change ch = {.kind = rng_chance(&c->w.rng, 300) ? FREEZE : RELEASE};
    struct host *by = anybody(c);

    if (!by)
        return;
    world_trace(&c->w, "operator: leadership of partition %u is %s", p, ch.kind == FREEZE ? "frozen" : "released");
    change_epoch(by, p, ch);
}

/* ---- orders at random ---- */

void operator_order(struct cluster *c) {
    uint32_t p = (uint32_t)rng_below(&c->w.rng, CLUSTER_PARTITIONS);

    c->orders++;
    switch (rng_below(&c->w.rng, 7)) {
    case 0: /* a segment on all nodes could not be repaired without the one that lost its disk */
        if (c->n > LEAST_REPLICAS || !c->plan.interval_ns[F_LOSE_DISK])
            set_replication(c, 2 + (unsigned)rng_below(&c->w.rng, 2));
        break;
    case 1:
        trim(c, p);
        break;
    case 2:
        reconfigure(c, p);
        break;
    case 3:
        drain(c);
        break;
    case 4:
        pin(c, p);
        break;
    case 5:
        place(c, p);
        break;
    default:
        freeze_or_release(c, p);
    }
}

void operator_flap(struct cluster *c) {
    pin(c, (uint32_t)rng_below(&c->w.rng, CLUSTER_PARTITIONS));
}

/* ---- a node that lost its disk: it is taken out of the metadata group, its log-server is declared lost, and when the
 * node runs it is asked to join the group again ---- */

/* No record is on that node alone. */
static bool segments_spare_one(const struct cluster *c) {
    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++) {
        const struct chain *chain = c->checks.logs ? logs_config_chain(c->checks.logs, p) : NULL;

        if (!chain || (chain_tail(chain)->kind == SEGMENT_REPLICATED &&
                       chain_tail(chain)->params.replication.copies[SCOPE_NODE] < 2))
            return false;
    }
    return true;
}

bool operator_knows(struct cluster *c, const struct host *lost) {
    const struct host *by = anybody(c);
    const struct nodes_config *nodes = by && by != lost ? nodes_of(by) : NULL;
    const struct node_entry *e;
    bool all = nodes && nodes->n_nodes == c->n;

    for (size_t i = 0; all && i < nodes->n_nodes; i++) {
        e = &nodes->nodes[i];
        all = e->metadata_state == METADATA_MEMBER && e->storage_state == STORAGE_READ_WRITE;
    }
    return all && segments_spare_one(c);
}

static void on_removed(struct cluster *c, struct slice reply) {
    struct arena a = {0};
    struct md_reply m;

    if (c->repair == REPAIR_REMOVE && md_reply_decode(&m, reply, &a, NULL) == 0 &&
        (m.code == MD_OK || m.code == MD_REFUSED)) {
        world_trace(&c->w, "operator: %s is no member of the metadata group any more", c->lost->name);
        c->repair = REPAIR_ADD;
    }
    arena_done(&a);
}

static void order_metadata(struct cluster *c, const struct host *by, uint32_t to, enum metadata_request type,
                           void (*answered)(struct cluster *c, struct slice reply)) {
    struct md_request m = {.cluster_name = SLICE_LIT("sim"), .fingerprint = by->fingerprint, .node = c->lost->id};
    struct buf body = {0};

    md_request_encode(&m, &body);
    send(c, by, to, SERVICE_METADATA_SERVER, (uint16_t)type, &body, answered);
    buf_done(&body);
}

void operator_repair(struct cluster *c) {
    struct host *by = c->lost ? anybody(c) : NULL;
    const struct nodes_config *nodes = by ? nodes_of(by) : NULL;
    const struct node_entry *e = nodes ? nodes_config_find(nodes, c->lost->id) : NULL;

    if (!e || by == c->lost)
        return;
    if (e->storage_state != STORAGE_DATA_LOSS)
        change_node(by, c->lost->id, e->worker_state, true);
    if (c->repair == REPAIR_REMOVE)
        order_metadata(c, by, 1 + (uint32_t)rng_below(&c->w.rng, c->n), METADATA_REMOVE, on_removed);
    else if (e->metadata_state != METADATA_MEMBER)
        order_metadata(c, by, c->lost->id, METADATA_ADD, NULL);
    else
        c->repair = REPAIRED;
}

/* ---- after all faults: everything as it was ---- */

void operator_settle(struct cluster *c) {
    struct host *by = anybody(c);
    uint32_t node = by ? drained(by) : 0;
    struct logs_config *logs = c->checks.logs;
    struct epoch_metadata e;

    if (!by)
        return;
    if (node)
        change_node(by, node, WORKER_ACTIVE, false);
    if (logs && logs->replication.copies[SCOPE_NODE] != c->copies)
        set_replication(c, c->copies);
    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++)
        if (epoch_metadata_get(by->node->meta, (partition_id_t)p, &e, NULL) == 0 && (e.affinity || e.leadership_frozen))
            change_epoch(by, p, (struct epoch_change){.kind = RELEASE});
}
