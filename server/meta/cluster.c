/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/cluster.h"

#include <inttypes.h>
#include "meta/logs_config.h"
#include "meta/partition_table.h"

#define NOT_PROVISIONED_RETRY_NS 100000000u
#define NOT_PROVISIONED_RETRY_MAX_NS 1000000000u
#define FEATURE_IDEMPOTENT_SHARDING "controlled-idempotent-sharding"

/* ---- provisioning ---- */

struct provision {
    struct meta_cleanup cleanup;
    struct meta *meta; /* NULL: freed while the answer was on its way */
    char *cluster_name, *partition_replication;
    struct replication log_replication;
    uint32_t num_partitions, target_nodeset_size;
    bool sharding, newly;
    int bad; /* the parameters, with the reason in err */
    struct err err;
    cluster_provision_fn done;
    void *arg;
};

static void provision_free(struct provision *p) {
    list_remove(&p->cleanup.link);
    free(p->cluster_name);
    free(p->partition_replication);
    free(p);
}

static void provision_dropped(void *arg) {
    struct provision *p = arg;

    p->meta = NULL;
    if (p->bad == 0) /* else a post still comes for it */
        provision_free(p);
}

static void provision_finish(struct provision *p, int status, const struct err *err) {
    cluster_provision_fn done = p->done;
    void *arg = p->arg;
    bool newly = p->newly;
    struct err e = {0};

    if (err)
        e = *err;
    provision_free(p);
    done(arg, status, newly, status < 0 ? &e : NULL);
}

static void provision_table_done(void *arg, int status, uint32_t version, const struct err *err) {
    provision_finish(arg, status == RS_EEXIST ? 0 : status, err);
}

static void provision_logs_done(void *arg, int status, uint32_t version, const struct err *err) {
    struct provision *p = arg;
    _cleanup_(partition_table_freep) struct partition_table *t = NULL;
    _cleanup_buf_ struct buf out = {0};

    if (status < 0 && status != RS_EEXIST) {
        provision_finish(p, status, err);
        return;
    }
    t = partition_table_new(p->num_partitions, p->partition_replication);
    partition_table_encode(t, &out);
    meta_cas(p->meta, META_KEY_PARTITIONS, 0, buf_slice(&out), 0, provision_table_done, p);
}

static void provision_nodes_done(void *arg, int status, uint32_t version, const struct err *err) {
    struct provision *p = arg;
    _cleanup_(logs_config_freep) struct logs_config *c = NULL;
    _cleanup_buf_ struct buf out = {0};

    if (status < 0 && status != RS_EEXIST) {
        provision_finish(p, status, err);
        return;
    }
    p->newly = status == 0;
    c = logs_config_new();
    c->version = 1;
    c->replication = p->log_replication;
    c->target_nodeset_size = p->target_nodeset_size;
    logs_config_encode(c, &out);
    meta_cas(p->meta, META_KEY_LOGS, 0, buf_slice(&out), 0, provision_logs_done, p);
}

static void provision_bad(void *arg) {
    struct provision *p = arg;

    if (p->meta)
        provision_finish(p, p->bad, &p->err);
    else
        provision_free(p);
}

void cluster_provision(struct meta *m, const struct provision_params *params, cluster_provision_fn done, void *arg) {
    struct provision *p = xnew(struct provision);
    struct nodes_config c = {.version = 1};
    _cleanup_buf_ struct buf out = {0};
    struct replication ignored;
    char feature[] = FEATURE_IDEMPOTENT_SHARDING, *features[] = {feature};

    p->meta = m;
    p->cleanup = (struct meta_cleanup){.fn = provision_dropped, .arg = p};
    meta_on_free(m, &p->cleanup);
    p->cluster_name = xstrdup(params->cluster_name);
    p->num_partitions = params->num_partitions;
    p->target_nodeset_size = params->target_nodeset_size;
    p->done = done;
    p->arg = arg;
    p->bad = replication_parse(slice_str(params->log_replication ? params->log_replication : "1"), &p->log_replication,
                               &p->err);
    if (p->bad == 0 && params->partition_replication && strcmp(params->partition_replication, "everywhere") != 0) {
        p->bad = replication_parse(slice_str(params->partition_replication), &ignored, &p->err);
        p->partition_replication = xstrdup(params->partition_replication);
    }
    if (p->bad == 0 && (params->num_partitions > 65535 || params->target_nodeset_size > NODESET_MAX))
        p->bad =
            err_set(&p->err, RS_EINVAL, "provisioning: at most 65535 partitions and nodesets of %u nodes", NODESET_MAX);
    if (p->bad < 0) {
        loop_post(m->loop, provision_bad, p);
        return;
    }
    c.cluster_name = p->cluster_name;
    c.modified_at_ms = loop_wall_ns(m->loop) / 1000000u;
    while (c.fingerprint == 0)
        c.fingerprint = loop_random_u64(m->loop);
    c.features = features;
    c.n_features = !params->without_idempotent_sharding;
    nodes_config_encode(&c, &out);
    if (m->ops->provision)
        m->ops->provision(m, buf_slice(&out), provision_nodes_done, p);
    else
        meta_cas(m, META_KEY_NODES, 0, buf_slice(&out), 0, provision_nodes_done, p);
}

/* ---- join ---- */

struct join {
    struct meta_cleanup cleanup;
    struct meta *meta;
    struct join_params p; /* strings owned */
    struct join_result res;
    uint64_t deadline_ns, wait_ns;
    uint64_t instance;
    uint32_t seen_generation; /* of my name, when first seen; a later one is another process */
    bool seen;
    bool fresh; /* the local copy holds whatever an earlier process with this directory had sent before it was killed */
    struct timer timer;
    cluster_join_fn done;
    void *arg;
};

static char *dup_or_null(const char *s) {
    return s ? xstrdup(s) : NULL;
}

#define TEXT(s) ((char *)(uintptr_t)(s)) /* the join owns the strings of its parameters */

static void join_free(struct join *j) {
    list_remove(&j->cleanup.link);
    free(TEXT(j->p.cluster_name));
    free(TEXT(j->p.node_name));
    free(TEXT(j->p.address));
    free(TEXT(j->p.ctrl_address));
    free(TEXT(j->p.location));
    free(TEXT(j->p.binary_version));
    free(j);
}

static void set_text(char **to, const char *from) {
    free(*to);
    *to = dup_or_null(from);
}

static int join_check(const struct join *j, const struct nodes_config *c, const struct node_entry *me,
                      struct err *err) {
    if (strcmp(c->cluster_name, j->p.cluster_name) != 0)
        return err_set(err, RS_EPERM, "the metadata belongs to cluster %s, this node is configured for %s",
                       c->cluster_name, j->p.cluster_name);
    if (j->p.fingerprint && j->p.fingerprint != c->fingerprint)
        return err_set(err, RS_EPERM, "the metadata belongs to another cluster named %s", c->cluster_name);
    if (c->feature_level > j->p.feature_level)
        return err_set(err, RS_EPERM, "the cluster runs at feature level %u, this server supports %u", c->feature_level,
                       j->p.feature_level);
    if (me && j->p.force_node_id && me->id.id != j->p.force_node_id)
        return err_set(err, RS_EPERM, "node %s has id N%u, force-node-id says N%u", j->p.node_name, me->id.id,
                       j->p.force_node_id);
    if (me && j->p.node_id && me->id.id != j->p.node_id)
        return err_set(err, RS_EPERM, "node %s has id N%u, its directory says N%u", j->p.node_name, me->id.id,
                       j->p.node_id);
    if (!me && j->p.node_id && nodes_config_find(c, j->p.node_id))
        return err_set(err, RS_EPERM, "node %s (N%u) was removed from the cluster", j->p.node_name, j->p.node_id);
    if (!me && j->p.node_id) /* what leaves stays as a tombstone: this copy is older than my joining */
        return err_set(err, RS_ENOENT, "the metadata that is known here does not know N%u yet", j->p.node_id);
    return 0;
}

static int join_id(const struct join *j, const struct nodes_config *c, uint32_t *ret, struct err *err) {
    uint32_t max = 0;

    for (size_t i = 0; i < c->n_nodes; i++)
        max = MAX(max, c->nodes[i].id.id);
    *ret = j->p.force_node_id ? j->p.force_node_id : max + 1;
    if (nodes_config_find(c, *ret) || *ret == 0)
        return err_set(err, RS_EPERM, "node id N%u is taken by another node or was removed", *ret);
    return 0;
}

static int join_new_entry(struct join *j, struct nodes_config *c, struct node_entry **ret, struct err *err) {
    struct node_entry *me;
    uint32_t id;
    int r = join_id(j, c, &id, err);

    if (r < 0)
        return r;
    me = nodes_config_add(c, id);
    me->id.generation = 1;
    me->name = xstrdup(j->p.node_name);
    me->metadata_state = j->p.metadata_auto_join ? METADATA_PROVISIONING : METADATA_STANDBY;
    /* The first node that provisioned the cluster is its only metadata member. */
    if (c->n_nodes == 1 && j->p.roles & ROLE_METADATA_SERVER)
        me->metadata_state = METADATA_MEMBER;
    *ret = me;
    return 0;
}

static int join_old_entry(struct join *j, struct node_entry *me, struct err *err) {
    if (j->instance && me->instance == j->instance)
        return 1; /* an attempt whose outcome was unknown did succeed */
    if (!j->fresh)
        return err_set(err, RS_EAGAIN, "the local copy of the nodes configuration may be old");
    if (j->seen && me->id.generation > j->seen_generation)
        return err_set(err, RS_EPERM, "another process with the name %s joined the cluster at the same time",
                       j->p.node_name);
    if (me->location && *me->location && !(j->p.location && *j->p.location))
        return err_set(err, RS_EPERM, "node %s has location %s in the cluster, which must not become empty",
                       j->p.node_name, me->location);
    j->seen = true;
    j->seen_generation = me->id.generation;
    me->id.generation++;
    return 0;
}

static int join_compute(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    struct join *j = arg;
    _cleanup_(nodes_config_freep) struct nodes_config *c = NULL;
    struct node_entry *me;
    int r;

    if (version == 0)
        return err_set(err, RS_ENOENT, "the cluster is not provisioned yet");
    r = nodes_config_parse(current, &c, err);
    if (r < 0)
        return r;
    me = (struct node_entry *)(uintptr_t)nodes_config_by_name(c, j->p.node_name);
    r = join_check(j, c, me, err);
    r = r < 0 ? r : me ? join_old_entry(j, me, err) : join_new_entry(j, c, &me, err);
    if (r > 0)
        j->res = (struct join_result){me->id, c->fingerprint, me->storage_state};
    if (r != 0)
        return r;
    me->instance = j->instance;
    me->roles = j->p.roles;
    me->feature_level = j->p.feature_level;
    set_text(&me->address, j->p.address);
    set_text(&me->ctrl_address, j->p.ctrl_address);
    set_text(&me->location, j->p.location ? j->p.location : "");
    set_text(&me->binary_version, j->p.binary_version);
    j->res = (struct join_result){me->id, c->fingerprint, me->storage_state};
    c->version = version + 1;
    c->modified_at_ms = loop_wall_ns(j->meta->loop) / 1000000u;
    nodes_config_encode(c, out);
    return 0;
}

static void join_start(struct join *j);

static void join_dropped(void *arg) {
    struct join *j = arg;

    timer_stop(j->meta->loop, &j->timer);
    join_free(j);
}

static void join_retry(void *arg) {
    join_start(arg);
}

static void join_finish(struct join *j, int status, const struct err *err) {
    list_remove(&j->cleanup.link);
    j->done(j->arg, status, status == 0 ? &j->res : NULL, err);
    join_free(j);
}

static void join_refreshed(void *arg, int status, uint32_t version, const struct err *err) {
    struct join *j = arg;

    j->fresh = status == RS_EEXIST;
    if (j->fresh || (status == RS_ETIMEDOUT && (!j->deadline_ns || loop_now_ns(j->meta->loop) < j->deadline_ns)))
        join_start(j); /* unknown: it asks again */
    else
        join_finish(j, status, err);
}

static void join_written(void *arg, int status, uint32_t version, const struct err *err) {
    struct join *j = arg;

    if (status == RS_EAGAIN) { /* a write that never matches, for the current value that the refusal brings along */
        meta_cas(j->meta, META_KEY_NODES, META_VERSION_NEVER, SLICE_NULL, j->deadline_ns, join_refreshed, j);
        return;
    }
    if (status == RS_ENOENT && (!j->deadline_ns || loop_now_ns(j->meta->loop) < j->deadline_ns)) {
        j->wait_ns = j->wait_ns ? j->wait_ns * 2 : NOT_PROVISIONED_RETRY_NS;
        if (j->wait_ns > NOT_PROVISIONED_RETRY_MAX_NS)
            j->wait_ns = NOT_PROVISIONED_RETRY_MAX_NS;
        timer_set(j->meta->loop, &j->timer, j->wait_ns);
        return;
    }
    join_finish(j, status, err);
}

static void join_start(struct join *j) {
    meta_update(j->meta, META_KEY_NODES, j->deadline_ns, join_compute, join_written, j);
}

void cluster_join(struct meta *m, const struct join_params *p, uint64_t deadline_ns, cluster_join_fn done, void *arg) {
    struct join *j = xnew(struct join);

    j->meta = m;
    j->instance = loop_random_u64(m->loop) | 1;
    j->p = *p;
    j->p.cluster_name = xstrdup(p->cluster_name);
    j->p.node_name = xstrdup(p->node_name);
    j->p.address = xstrdup(p->address ? p->address : "");
    j->p.ctrl_address = dup_or_null(p->ctrl_address);
    j->p.location = dup_or_null(p->location);
    j->p.binary_version = xstrdup(p->binary_version ? p->binary_version : "");
    j->deadline_ns = deadline_ns;
    j->done = done;
    j->arg = arg;
    timer_init(&j->timer, join_retry, j);
    j->cleanup = (struct meta_cleanup){.fn = join_dropped, .arg = j};
    meta_on_free(m, &j->cleanup);
    join_start(j);
}

/* ---- states ---- */

struct set_state {
    struct meta *meta;
    struct node_id self;
    bool worker;
    enum storage_state from, to;
    meta_cas_fn done;
    void *arg;
};

static int set_state_compute(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    const struct set_state *s = arg;
    _cleanup_(nodes_config_freep) struct nodes_config *c = NULL;
    struct node_entry *me;
    int r = version ? nodes_config_parse(current, &c, err) : err_set(err, RS_EPERM, "the cluster is not provisioned");

    if (r < 0)
        return r;
    me = (struct node_entry *)(uintptr_t)nodes_config_find(c, s->self.id);
    if (!me || me->tombstone || me->id.generation != s->self.generation)
        return err_set(err, RS_EPERM, NODE_ID_FMT " is not the current generation of the node", NODE_ID_ARG(s->self));
    if (s->worker) {
        if (me->worker_state != WORKER_PROVISIONING)
            return 1;
        me->worker_state = WORKER_ACTIVE;
    } else {
        if (me->storage_state == s->to)
            return 1;
        if (me->storage_state != s->from)
            return err_set(err, RS_EPERM, "the storage state of N%u is %s, not %s", s->self.id,
                           storage_state_str(me->storage_state), storage_state_str(s->from));
        me->storage_state = s->to;
    }
    c->version = version + 1;
    c->modified_at_ms = loop_wall_ns(s->meta->loop) / 1000000u;
    nodes_config_encode(c, out);
    return 0;
}

static void set_state_done(void *arg, int status, uint32_t version, const struct err *err) {
    const struct set_state *s = arg;

    if (s->done)
        s->done(s->arg, status, version, err);
}

static void set_state(struct meta *m, struct set_state s) {
    struct set_state *p = xnew(struct set_state);

    *p = s;
    meta_update_take(m, META_KEY_NODES, 0, set_state_compute, set_state_done, p);
}

void cluster_set_storage_state(struct meta *m, struct node_id self, enum storage_state from, enum storage_state to,
                               meta_cas_fn done, void *arg) {
    set_state(m, (struct set_state){.meta = m, .self = self, .from = from, .to = to, .done = done, .arg = arg});
}

void cluster_set_worker_active(struct meta *m, struct node_id self, meta_cas_fn done, void *arg) {
    set_state(m, (struct set_state){.meta = m, .self = self, .worker = true, .done = done, .arg = arg});
}
