/* SPDX-License-Identifier: Apache-2.0 */
#include "control/node_ctl.h"

#include "base/arena.h"
#include "control/requests.h"

struct node_ctl {
    struct node_ctl_params p;
    struct fabric_service service;
    struct list waits;
    struct founding *founding; /* at most one at a time */
};

struct founding {
    struct control_wait w;
    struct node_ctl *c; /* NULL: closed */
    struct meta_cleanup cleanup;
};

static void answer_ident(struct node_ctl *c, struct fabric_request *r) {
    _cleanup_buf_ struct buf out = {0};
    struct node_facts f = {0};
    struct ctl_ident m;

    c->p.facts(c->p.arg, &f);
    m = (struct ctl_ident){.status = (uint32_t)f.status,
                           .node = f.self.id,
                           .generation = f.self.generation,
                           .cluster_name = slice_str(f.cluster_name),
                           .node_name = slice_str(f.node_name),
                           .roles = f.roles,
                           .uptime_ms = f.uptime_ms,
                           .fingerprint = f.fingerprint,
                           .nodes_version = f.versions[VERSION_NODES],
                           .logs_version = f.versions[VERSION_LOGS],
                           .partitions_version = f.versions[VERSION_PARTITIONS],
                           .schema_version = f.versions[VERSION_SCHEMA],
                           .storage = slice_str(f.storage),
                           .transport = slice_str(f.transport),
                           .version = slice_str(f.version),
                           .metadata_status = slice_str(f.metadata_server),
                           .log_server_status = slice_str(f.log_server),
                           .worker_status = slice_str(f.worker),
                           .admin_status = slice_str(f.admin),
                           .now_ms = loop_wall_ns(c->p.loop) / 1000000,
                           .address = slice_str(f.address)};
    ctl_ident_encode(&m, &out);
    fabric_reply(c->p.fabric, r, buf_slice(&out), NULL, 0);
}

static void answer_metadata(struct node_ctl *c, struct fabric_request *r, const struct ctl_request *m) {
    struct ctl_response a = {0};
    char key[META_KEY_MAX];
    struct bytes *value = NULL;

    if (m->key.len == 0 || m->key.len >= sizeof key) {
        a.code = (uint32_t)-RS_EINVAL;
        a.message = SLICE_LIT("not a metadata key");
    } else {
        memcpy(key, m->key.data, m->key.len);
        key[m->key.len] = 0;
        if (meta_get(c->p.meta, key, &a.version, &value) == 0)
            a.value = bytes_slice(value);
    }
    control_answer(c->p.fabric, r, &a);
}

/* ---- provisioning ---- */

static void founding_free(struct founding *f) {
    list_remove(&f->cleanup.link);
    free(f);
}

static void founding_dropped(void *arg) {
    founding_free(arg);
}

static void on_founded(void *arg, int status, bool newly, const struct err *err) {
    struct founding *f = arg;
    struct err e;

    if (f->c)
        f->c->founding = NULL;
    if (status == 0 && !newly) {
        status = err_set(&e, RS_EEXIST, "the cluster is provisioned already");
        err = &e;
    }
    control_wait_status(&f->w, status, err);
    founding_free(f);
}

/* The node's own configuration, and over it what was asked for. */
static void provision_words(const struct node_facts *f, const struct ctl_cluster_config *m, struct arena *a,
                            struct provision_params *ret) {
    *ret = f->provision;
    ret->cluster_name = f->cluster_name;
    if (!m)
        return;
    if (m->num_partitions)
        ret->num_partitions = m->num_partitions;
    if (m->partition_replication.len)
        ret->partition_replication = arena_str(a, m->partition_replication);
    if (m->log_replication.len)
        ret->log_replication = arena_str(a, m->log_replication);
    if (m->nodeset_size)
        ret->target_nodeset_size = m->nodeset_size;
    ret->without_idempotent_sharding = m->without_idempotent_sharding;
}

static void provision(struct node_ctl *c, struct fabric_request *r, const struct ctl_request *m, struct arena *a) {
    struct node_facts f = {0};
    struct provision_params p;
    struct ctl_cluster_config out;
    struct ctl_response answer = {.config = &out};
    struct founding *founding;
    struct err err;
    int status = 0;

    c->p.facts(c->p.arg, &f);
    provision_words(&f, m->config, a, &p);
    if (!c->p.may_provision)
        status = err_set(&err, RS_EUNSUPPORTED, "this node is no metadata server: provision one that is");
    else if (f.fingerprint)
        status = err_set(&err, RS_EEXIST, "the cluster is provisioned already");
    else if (c->founding)
        status = err_set(&err, RS_EAGAIN, "the cluster is being provisioned");
    if (status < 0) {
        control_answer_status(c->p.fabric, r, status, &err);
        return;
    }
    out = (struct ctl_cluster_config){.num_partitions = p.num_partitions,
                                      .partition_replication =
                                          slice_str(p.partition_replication ? p.partition_replication : "everywhere"),
                                      .log_replication = slice_str(p.log_replication ? p.log_replication : "1"),
                                      .nodeset_size = p.target_nodeset_size,
                                      .provider = SLICE_LIT("replicated"),
                                      .without_idempotent_sharding = p.without_idempotent_sharding};
    if (m->dry_run) {
        control_answer(c->p.fabric, r, &answer);
        return;
    }
    founding = xnew(struct founding);
    founding->c = c;
    founding->cleanup = (struct meta_cleanup){.fn = founding_dropped, .arg = founding};
    meta_on_free(c->p.meta, &founding->cleanup);
    c->founding = founding;
    control_wait_init(&founding->w, &c->waits, c->p.fabric, r);
    cluster_provision(c->p.meta, &p, on_founded, founding);
}

static void handle(void *arg, struct fabric_request *r) {
    struct node_ctl *c = arg;
    _cleanup_(arena_done) struct arena a = {0};
    struct ctl_request m;
    struct err err;
    int status;

    if (!r->is_call)
        return;
    status = ctl_request_decode(&m, r->payload, &a, &err);
    if (status < 0)
        control_answer_status(c->p.fabric, r, RS_EINVAL, &err);
    else if (r->type == NODE_IDENT)
        answer_ident(c, r);
    else if (r->type == NODE_METADATA)
        answer_metadata(c, r, &m);
    else if (r->type == NODE_PROVISION)
        provision(c, r, &m, &a);
    else
        fabric_reply_status(c->p.fabric, r, RPC_MESSAGE_UNRECOGNIZED);
}

struct node_ctl *node_ctl_open(const struct node_ctl_params *p) {
    struct node_ctl *c = xnew(struct node_ctl);

    c->p = *p;
    list_init(&c->waits);
    c->service = (struct fabric_service){.id = SERVICE_NODE_CTL, .handle = handle, .arg = c};
    fabric_serve(p->fabric, &c->service);
    return c;
}

struct node_ctl *node_ctl_close(struct node_ctl *c) {
    if (!c)
        return NULL;
    fabric_unserve(c->p.fabric, &c->service);
    control_waits_stop(&c->waits);
    if (c->founding)
        c->founding->c = NULL;
    free(c);
    return NULL;
}
