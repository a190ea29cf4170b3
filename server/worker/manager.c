/* SPDX-License-Identifier: Apache-2.0 */
/* worker/manager.c : which processors run on this node, and which of them shall lead (cluster.md §16, §17, §19.3). */
#include "worker/partition_internal.h"
#include "base/logging.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t self_id(const struct route *r) {
    return r->w->params.self.id;
}

static bool runs_here(const struct route *r) {
    if (r->w->params.ingress_only)
        return false;
    if (r->placement_version == 0 || (r->current.version == 0 && r->next.version == 0))
        return !r->w->params.wait_for_placement;
    return replica_set_has(&r->current, self_id(r)) || replica_set_has(&r->next, self_id(r));
}

bool route_is_lone(const struct route *r) {
    if (!runs_here(r))
        return false;
    if (r->placement_version == 0 || r->current.version == 0)
        return !r->w->params.wait_for_placement;
    return r->current.n == 1 && r->current.nodes[0] == self_id(r) && r->next.version == 0;
}

static int start(struct route *r, struct err *err) {
    struct worker *w = r->w;
    struct store *store;
    struct store_table *table;
    char name[16];
    int ret;

    if (!r->p) {
        ASSERT(w->params.n_stores > 0);
        store = w->params.stores[r->id % w->params.n_stores];
        (void)snprintf(name, sizeof name, "p-%u", r->id);
        ret = store_table_open(store, name, &table, err);
        if (ret < 0)
            return ret;
        r->p = partition_new(w, r->id, r->first_key, r->last_key, store, table);
    }
    partition_start(r->p);
    return 0;
}

int route_manage(struct route *r, struct err *err) {
    bool run = runs_here(r), running = r->p && partition_role(r->p) != PARTITION_STOPPED;
    int ret;

    if (r->w->stopping)
        return 0;
    if (!run) {
        r->commanded = false;
        if (running) {
            LOG_INFO("partition leaves this node", F_U64("partition", r->id));
            partition_stop(r->p);
        }
        return 0;
    }
    if (!running && (ret = start(r, err)) < 0)
        return ret;
    partition_want_lead(r->p, r->commanded || route_is_lone(r));
    return 0;
}

static void manage(struct route *r) {
    struct err err = {0};

    if (route_manage(r, &err) < 0) /* the next change of its placement, or of anything known about it, tries again */
        LOG_ERROR("cannot run a partition", F_U64("partition", r->id), F_STR("error", err.msg));
}

/* ---- what others tell ---- */

static void keep_durable(struct replica_set *of, lsn_t *durable, const struct replica_set *fresh) {
    lsn_t moved[REPLICA_SET_MAX] = {0};

    for (uint32_t i = 0; i < fresh->n; i++)
        for (uint32_t k = 0; k < of->n; k++)
            if (of->nodes[k] == fresh->nodes[i])
                moved[i] = durable[k];
    *of = *fresh;
    memcpy(durable, moved, sizeof moved);
}

static void learn(struct route *r, const struct epoch_metadata *e) {
    r->placement_version = e->version;
    keep_durable(&r->current, r->durable, &e->current);
    keep_durable(&r->next, r->next_durable, &e->next);
    if (e->epoch && e->leader.id)
        route_hint(r, e->epoch, e->leader);
    if (e->epoch && r->p && !node_id_eq(e->leader, r->w->params.self))
        partition_seen_epoch(r->p, e->epoch);
}

void worker_placement(struct worker *w, uint32_t partition, const struct epoch_metadata *e) {
    if (partition >= w->n || e->version <= w->routes[partition].placement_version || w->stopping)
        return;
    learn(&w->routes[partition], e);
    manage(&w->routes[partition]);
}

void worker_control(struct worker *w, uint32_t partition, enum worker_command c, uint32_t replica_set_version) {
    struct route *r;

    if (partition >= w->n || w->stopping)
        return;
    r = &w->routes[partition];
    if (!r->p || partition_role(r->p) == PARTITION_STOPPED ||
        (r->current.version && replica_set_version < r->current.version))
        return;
    r->commanded = c == WORKER_LEAD;
    manage(r);
}

void worker_leader_hint(struct worker *w, uint32_t partition, epoch_t epoch, struct node_id leader) {
    if (partition >= w->n || w->stopping)
        return;
    if (w->routes[partition].p && !node_id_eq(leader, w->params.self))
        partition_seen_epoch(w->routes[partition].p, epoch);
    route_hint(&w->routes[partition], epoch, leader);
}

void worker_leads_hint(struct worker *w, uint32_t partition, epoch_t epoch) {
    if (partition < w->n && !w->stopping && w->routes[partition].epoch == epoch)
        route_has_leader(&w->routes[partition]);
}

void worker_applied_hint(struct worker *w, uint32_t partition, lsn_t applied) {
    if (partition < w->n && !w->stopping && w->routes[partition].p)
        partition_seen_applied(w->routes[partition].p, applied);
}

void worker_durable_hint(struct worker *w, uint32_t partition, uint32_t node, lsn_t durable) {
    struct route *r = partition < w->n ? &w->routes[partition] : NULL;

    for (uint32_t i = 0; r && i < r->current.n; i++)
        if (r->current.nodes[i] == node)
            r->durable[i] = MAX(r->durable[i], durable);
    for (uint32_t i = 0; r && i < r->next.n; i++)
        if (r->next.nodes[i] == node)
            r->next_durable[i] = MAX(r->next_durable[i], durable);
}

static void manage_again(void *arg) {
    manage(arg);
}

void worker_lead_ended(struct worker *w, uint32_t id) {
    struct route *r = &w->routes[id];

    r->commanded = false;
    loop_post(w->params.loop, manage_again, r); /* a lone replica claims again */
}

/* ---- epoch metadata ---- */

static void on_placement(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct worker *w = arg;
    struct epoch_metadata e;
    struct err err = {0};
    char *end;
    unsigned long id = strtoul(key + strlen(EPOCH_KEY_PREFIX), &end, 10);

    if (*end || end == key + strlen(EPOCH_KEY_PREFIX) || id >= w->n)
        return;
    if (epoch_metadata_parse(bytes_slice(value), &e, &err) < 0)
        LOG_ERROR("epoch metadata cannot be read", F_U64("partition", id), F_STR("error", err.msg));
    else
        worker_placement(w, (uint32_t)id, &e);
}

int manager_open(struct worker *w, struct err *err) {
    for (size_t i = 0; i < w->n; i++) {
        struct route *r = &w->routes[i];
        struct epoch_metadata e;
        int ret = epoch_metadata_get(w->params.meta, (partition_id_t)i, &e, err);

        if (ret == 0)
            learn(r, &e);
        else if (ret != RS_ENOENT)
            return ret;
        ret = route_manage(r, err);
        if (ret < 0)
            return ret;
    }
    w->placement_watch.changed = on_placement;
    w->placement_watch.arg = w;
    meta_watch(w->params.meta, &w->placement_watch, EPOCH_KEY_PREFIX);
    return 0;
}

void manager_stop(struct worker *w) {
    if (w->placement_watch.meta)
        meta_unwatch(&w->placement_watch);
    for (size_t i = 0; i < w->n; i++)
        if (w->routes[i].p)
            partition_stop(w->routes[i].p);
}
