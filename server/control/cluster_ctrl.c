/* SPDX-License-Identifier: Apache-2.0 */
#include "control/cluster_ctrl.h"

#include "base/arena.h"
#include "control/log_ctrl.h"
#include "control/requests.h"
#include "meta/logs_config.h"
#include "meta/partition_table.h"
#include "snapshot/repository.h"
#include "worker/worker.h"

#define CONFIG_NS 4000000000u

struct cluster_ctrl {
    struct cluster_ctrl_params p;
    struct fabric_service service;
    struct list waits; /* struct control_wait */
    struct log_ctrl *logs;
};

/* ---- state ---- */

static void put_processors(const struct control_node *n, struct ctl_node_state *m, struct arena *a) {
    struct ctl_processor *out = arena_newn(a, struct ctl_processor, n->n + 1);

    m->processors = out;
    m->n_processors = n->n;
    for (size_t i = 0; i < n->n; i++) {
        const struct partition_info *p = &n->processors[i].info;

        out[i] = (struct ctl_processor){.partition = p->id,
                                        .role = (uint32_t)p->role,
                                        .lead_wanted = p->lead_wanted,
                                        .active = p->active,
                                        .epoch = p->epoch,
                                        .leader_epoch = p->leader_epoch,
                                        .leader = p->leader.id,
                                        .leader_generation = p->leader.generation,
                                        .applied = p->applied,
                                        .durable = p->durable,
                                        .archived = p->archived,
                                        .target_tail = p->target_tail,
                                        .set_version = p->current_version,
                                        .error = slice_str(n->processors[i].error)};
    }
}

static void answer_state(struct cluster_ctrl *c, struct fabric_request *r, struct arena *a) {
    _cleanup_buf_ struct buf out = {0};
    uint64_t now = loop_wall_ns(c->p.loop) / 1000000;
    struct ctl_cluster_state m = {.controller = control_leader(c->p.control),
                                  .nodes_version = meta_version(c->p.meta, META_KEY_NODES),
                                  .logs_version = meta_version(c->p.meta, META_KEY_LOGS),
                                  .partitions_version = meta_version(c->p.meta, META_KEY_PARTITIONS),
                                  .schema_version = meta_version(c->p.meta, META_KEY_SCHEMA),
                                  .now_ms = now,
                                  .lonely = control_lonely(c->p.control),
                                  .from = fabric_self(c->p.fabric).id};

    struct ctl_node_state *nodes;

    control_refresh(c->p.control);
    m.n_nodes = control_nodes(c->p.control);
    m.nodes = nodes = arena_newn(a, struct ctl_node_state, m.n_nodes + 1);
    for (size_t i = 0; i < m.n_nodes; i++) {
        struct control_node n;

        control_node(c->p.control, i, &n);
        nodes[i] = (struct ctl_node_state){.node = n.id.id,
                                           .generation = n.id.generation,
                                           .state = (uint32_t)n.state,
                                           .uptime_ms = n.started_ms && now > n.started_ms ? now - n.started_ms : 0,
                                           .last_seen_ms = n.seen_ms,
                                           .schema_version = n.schema_version};
        put_processors(&n, &nodes[i], a);
    }
    ctl_cluster_state_encode(&m, &out);
    fabric_reply(c->p.fabric, r, buf_slice(&out), NULL, 0);
}

/* ---- configuration ---- */

struct config_change { /* malloc'ed with each of the two updates; the wait is theirs together */
    struct control_wait w;
    struct cluster_ctrl *c;
    bool set_logs, set_table, set_log_replication, set_nodeset;
    struct replication log_replication;
    uint32_t nodeset_size, num_partitions;
    char partition_replication[64]; /* "": as it is */
    uint64_t deadline_ns;
};

static int compute_logs(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    const struct config_change *ch = arg;
    _cleanup_(logs_config_freep) struct logs_config *c = NULL;
    int r;

    if (version == 0)
        return err_set(err, RS_ENOENT, "the cluster is not provisioned");
    r = logs_config_parse(current, &c, err);
    if (r < 0)
        return r;
    if ((!ch->set_log_replication || replication_eq(c->replication, ch->log_replication)) &&
        (!ch->set_nodeset || c->target_nodeset_size == ch->nodeset_size))
        return 1;
    if (ch->set_log_replication)
        c->replication = ch->log_replication;
    if (ch->set_nodeset)
        c->target_nodeset_size = ch->nodeset_size;
    c->version = version + 1;
    logs_config_encode(c, out);
    return 0;
}

static int compute_table(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    const struct config_change *ch = arg;
    _cleanup_(partition_table_freep) struct partition_table *t = NULL, *grown = NULL;
    const char *replication;
    int r;

    if (version == 0)
        return err_set(err, RS_ENOENT, "the cluster is not provisioned");
    r = partition_table_parse(current, &t, err);
    if (r < 0)
        return r;
    replication = ch->partition_replication[0] ? ch->partition_replication : t->replication;
    if (ch->num_partitions && ch->num_partitions != t->n && t->n != 0)
        return err_set(err, RS_EINVAL, "the cluster has %u partitions: their number cannot be changed", t->n);
    if (strcmp(replication, t->replication) == 0 && (!ch->num_partitions || ch->num_partitions == t->n))
        return 1;
    if (ch->num_partitions && t->n == 0) {
        grown = partition_table_new(ch->num_partitions, replication);
        grown->version = version + 1;
        partition_table_encode(grown, out);
    } else {
        free(t->replication);
        t->replication = xstrdup(replication);
        t->version = version + 1;
        partition_table_encode(t, out);
    }
    return 0;
}

static void change_failed(struct config_change *ch, int status, const struct err *err) {
    struct err e = *err;

    if (status == RS_ETIMEDOUT)
        status = err_set(&e, RS_ETIMEDOUT,
                         "the metadata was not written in time: most likely fewer than a majority of the metadata "
                         "servers answer; look again before trying again");
    control_wait_status(&ch->w, status, &e);
}

static void on_table(void *arg, int status, uint32_t version, const struct err *err) {
    struct config_change *ch = arg;
    struct ctl_response a = {.version = version};

    if (status < 0)
        change_failed(ch, status, err);
    else
        control_wait_answer(&ch->w, &a);
}

static void change_table(struct config_change *ch) {
    meta_update_take(ch->c->p.meta, META_KEY_PARTITIONS, ch->deadline_ns, compute_table, on_table, ch);
}

static void on_logs(void *arg, int status, uint32_t version, const struct err *err) {
    struct config_change *ch = arg, *next;
    struct ctl_response a = {.version = version};

    if (!ch->w.request)
        return; /* closed meanwhile */
    if (status < 0) {
        change_failed(ch, status, err);
    } else if (!ch->set_table) {
        control_wait_answer(&ch->w, &a);
    } else { /* @ch goes away with this callback: the wait moves on */
        next = xnew(struct config_change);
        *next = *ch;
        list_remove(&ch->w.link);
        control_wait_init(&next->w, &ch->c->waits, ch->w.fabric, TAKE(ch->w.request));
        change_table(next);
    }
}

static int read_change(const struct ctl_cluster_config *m, struct config_change *ch, struct err *err) {
    struct replication partitions;
    int r = 0;

    if (m->log_replication.len) {
        ch->set_logs = ch->set_log_replication = true;
        r = replication_parse(m->log_replication, &ch->log_replication, err);
    }
    if (r == 0 && m->partition_replication.len) {
        ch->set_table = true;
        if (slice_eq_str(m->partition_replication, "*") || slice_eq_str(m->partition_replication, "everywhere")) {
            (void)snprintf(ch->partition_replication, sizeof ch->partition_replication, "everywhere");
        } else {
            _cleanup_buf_ struct buf text = {0};

            r = replication_parse(m->partition_replication, &partitions, err);
            if (r == 0) {
                replication_format(partitions, &text);
                (void)snprintf(ch->partition_replication, sizeof ch->partition_replication, "%s", buf_cstr(&text));
            }
        }
    }
    if (m->num_partitions) {
        ch->set_table = true;
        ch->num_partitions = m->num_partitions;
        if (m->num_partitions > 65535)
            return err_set(err, RS_EINVAL, "at most 65535 partitions");
    }
    if (m->provider.len && !slice_eq_str(m->provider, "replicated"))
        return err_set(err, RS_EINVAL, "the log provider cannot be changed from replicated to another one");
    return r;
}

static void set_config(struct cluster_ctrl *c, struct fabric_request *r, const struct ctl_request *m) {
    struct config_change *ch = xnew(struct config_change);
    struct err err = {0};
    int status = m->config ? read_change(m->config, ch, &err) : err_set(&err, RS_EINVAL, "no configuration");

    if (status == 0 && m->has_nodeset_size) {
        ch->set_logs = ch->set_nodeset = true;
        ch->nodeset_size = m->nodeset_size;
        if (m->nodeset_size > NODESET_MAX)
            status = err_set(&err, RS_EINVAL, "a nodeset has at most %u nodes", NODESET_MAX);
    }
    if (status < 0 || (!ch->set_logs && !ch->set_table)) {
        control_answer_status(c->p.fabric, r, status, &err);
        free(ch);
        return;
    }
    ch->c = c;
    ch->deadline_ns = loop_now_ns(c->p.loop) + CONFIG_NS;
    control_wait_init(&ch->w, &c->waits, c->p.fabric, r);
    if (ch->set_logs)
        meta_update_take(c->p.meta, META_KEY_LOGS, ch->deadline_ns, compute_logs, on_logs, ch);
    else
        change_table(ch);
}

/* ---- snapshots ---- */

static void on_snapshot(void *arg, int status, const struct snapshot_info *info, const struct err *err) {
    struct control_wait *w = arg;
    struct ctl_response m = {.lsn = info->lsn, .text = slice_str(info->id)};

    if (status < 0)
        control_wait_status(w, status, err);
    else
        control_wait_answer(w, &m);
    free(w);
}

static void create_snapshot(struct cluster_ctrl *c, struct fabric_request *r, const struct ctl_request *m) {
    struct control_wait *w = xnew(struct control_wait);
    struct err err = {0};
    int status;

    control_wait_init(w, &c->waits, c->p.fabric, r);
    status = c->p.worker ? worker_snapshot_create(c->p.worker, m->log_id, m->lsn, on_snapshot, w, &err)
                         : err_set(&err, RS_EUNSUPPORTED, "no partition runs on this node");
    if (status < 0) {
        control_wait_status(w, status, &err);
        free(w);
    }
}

/* ---- dispatch ---- */

static void handle(void *arg, struct fabric_request *r) {
    struct cluster_ctrl *c = arg;
    _cleanup_(arena_done) struct arena a = {0};
    struct ctl_request m;
    struct err err;
    int status;

    if (!r->is_call)
        return;
    status = ctl_request_decode(&m, r->payload, &a, &err);
    if (status < 0)
        control_answer_status(c->p.fabric, r, RS_EINVAL, &err);
    else if (r->type == CLUSTER_STATE)
        answer_state(c, r, &a);
    else if (r->type == CLUSTER_SET_CONFIG)
        set_config(c, r, &m);
    else if (r->type >= CLUSTER_FIND_TAIL && r->type <= CLUSTER_SEAL)
        log_ctrl_handle(c->logs, r, &m);
    else if (r->type == CLUSTER_SNAPSHOT)
        create_snapshot(c, r, &m);
    else if (r->type == CLUSTER_SYNC_EPOCH) /* every tick looks at the local copies */
        control_answer_status(c->p.fabric, r, 0, NULL);
    else
        fabric_reply_status(c->p.fabric, r, RPC_MESSAGE_UNRECOGNIZED);
}

struct cluster_ctrl *cluster_ctrl_open(const struct cluster_ctrl_params *p) {
    struct cluster_ctrl *c = xnew(struct cluster_ctrl);

    c->p = *p;
    list_init(&c->waits);
    c->logs = log_ctrl_new(p->loop, p->fabric, p->meta, p->log_node);
    c->service = (struct fabric_service){.id = SERVICE_CLUSTER_CTRL, .handle = handle, .arg = c};
    fabric_serve(p->fabric, &c->service);
    return c;
}

struct cluster_ctrl *cluster_ctrl_close(struct cluster_ctrl *c) {
    if (!c)
        return NULL;
    fabric_unserve(c->p.fabric, &c->service);
    control_waits_stop(&c->waits);
    (void)log_ctrl_free(c->logs);
    free(c);
    return NULL;
}
