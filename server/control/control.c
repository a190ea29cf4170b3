/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control.h"

#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/logging.h"
#include "control/scheduler.h"
#include "meta/nodes_config.h"
#include "meta/partition_table.h"
#include "proto/control.gen.h"

#define TICK_NS 100000000u
#define REPLACE_NS 30000000000u
#define ASK_AGAIN_NS 1000000000u /* a leader that was asked for and did not come */
enum { GOSSIP = 1, PROCESSORS_EVERY = 3, PROCESSORS_MAX = 65535, SETTLED_MS = 2000 };

struct heard { /* what a node said of itself */
    struct node_id id;
    uint64_t started_ms;
    uint64_t dead_since_ns; /* 0: alive, or never heard of */
    uint32_t schema_version;
    struct control_processor *processors;
    size_t n;
};

struct plan { /* what the controller decided for a partition */
    uint32_t target;
    uint64_t asked_ns;
    bool writing, spread; /* spread: choose by hash once, not by who leads now */
    struct epoch_metadata epoch;
    struct sched_decision decision;
    struct control *c;
    partition_id_t partition;
};

struct control {
    struct control_params p;
    struct failure_detector fd;
    struct fabric_service gossip;
    struct timer tick;
    uint64_t started_ms, ticks;
    struct heard *heard;
    size_t n_heard;
    struct plan *plans;
    size_t n_plans;
    bool leaving;
    uint32_t members_version;
    unsigned controlling; /* ticks since this node is the one to control */
    bool controls;
    unsigned writes;
    bool closed;
    struct meta_cleanup cleanup; /* writes under way report no more once the metadata is closed */
};

/* ---- what is known ---- */

static struct heard *heard_of(struct control *c, uint32_t id) {
    for (size_t i = 0; i < c->n_heard; i++)
        if (c->heard[i].id.id == id)
            return &c->heard[i];
    return NULL;
}

static void heard_free(struct heard *h) {
    free(h->processors);
}

/* Since when a node is away, whoever is the controller meanwhile. */
static void note_absence(struct control *c) {
    uint64_t now = loop_now_ns(c->p.loop);

    for (size_t i = 0; i < c->n_heard; i++) {
        struct heard *h = &c->heard[i];

        h->dead_since_ns = fd_is_heard_of(&c->fd, h->id.id) ? 0 : h->dead_since_ns ? h->dead_since_ns : now;
    }
}

/* The nodes configuration changed: the same nodes everywhere. */
static void take_members(struct control *c) {
    const struct nodes_config *nodes = c->p.nodes(c->p.arg);
    struct node_id ids[FD_NODES_MAX + 1];
    struct heard *next;
    unsigned n = 0;

    if (!nodes || nodes->version == c->members_version)
        return;
    c->members_version = nodes->version;
    for (size_t i = 0; i < nodes->n_nodes && n < FD_NODES_MAX; i++)
        if (!nodes->nodes[i].tombstone)
            ids[n++] = nodes->nodes[i].id;
    fd_members(&c->fd, ids, n);
    next = xcalloc(n + 1, sizeof *next);
    for (unsigned i = 0; i < n; i++) {
        struct heard *old = heard_of(c, ids[i].id);

        next[i].id = ids[i];
        if (old && old->id.generation >= ids[i].generation) {
            next[i] = *old;
            old->processors = NULL;
        }
    }
    for (size_t i = 0; i < c->n_heard; i++)
        heard_free(&c->heard[i]);
    free(c->heard);
    c->heard = next;
    c->n_heard = n;
}

static struct control_processor processor_from(const struct ctl_processor *m) {
    struct control_processor p = {.info = {.id = m->partition,
                                           .role = (enum partition_role)MIN(m->role, (uint32_t)PARTITION_BROKEN),
                                           .lead_wanted = m->lead_wanted,
                                           .active = m->active,
                                           .epoch = m->epoch,
                                           .leader_epoch = m->leader_epoch,
                                           .leader = {m->leader, m->leader_generation},
                                           .applied = m->applied,
                                           .durable = m->durable,
                                           .archived = m->archived,
                                           .target_tail = m->target_tail,
                                           .current_version = m->set_version}};
    size_t n = MIN(m->error.len, sizeof p.error - 1);

    memcpy(p.error, m->error.data ? m->error.data : (const uint8_t *)"", n);
    return p;
}

static void hint_worker(struct control *c, uint32_t node, const struct control_processor *p) {
    if (p->info.leader_epoch)
        worker_leader_hint(c->p.worker, p->info.id, p->info.leader_epoch, p->info.leader);
    if (p->info.role == PARTITION_LEADER) {
        worker_leads_hint(c->p.worker, p->info.id, p->info.epoch);
        worker_applied_hint(c->p.worker, p->info.id, p->info.applied);
    }
    if (p->info.durable)
        worker_durable_hint(c->p.worker, p->info.id, node, p->info.durable);
}

static void take_gossip(struct control *c, struct node_id from, const struct ctl_gossip *m) {
    uint64_t now_ms = loop_wall_ns(c->p.loop) / 1000000;
    struct heard *h = heard_of(c, from.id);

    if (!h || !fd_believes(&c->fd, m->started, m->sent_at, now_ms) || from.generation < h->id.generation)
        return;
    fd_heard(&c->fd, from, m->started, 0, m->leaving, true, now_ms);
    for (size_t i = 0; i < m->n_nodes; i++) {
        const struct ctl_gossip_node *n = &m->nodes[i];
        struct node_id id = {n->node, n->generation};

        if (n->node != from.id && n->node != c->p.self.id && n->instance)
            fd_heard(&c->fd, id, n->instance, n->age, n->leaving, false, now_ms);
    }
    h->id = from;
    h->started_ms = m->started;
    h->schema_version = m->schema_version;
    if (!m->with_processors || m->n_processors > PROCESSORS_MAX)
        return;
    free(h->processors);
    h->n = m->n_processors;
    h->processors = xcalloc(h->n + 1, sizeof *h->processors);
    for (size_t i = 0; i < h->n; i++) {
        h->processors[i] = processor_from(&m->processors[i]);
        hint_worker(c, from.id, &h->processors[i]);
    }
}

static void handle_gossip(void *arg, struct fabric_request *r) {
    struct control *c = arg;
    _cleanup_(arena_done) struct arena a = {0};
    struct ctl_gossip m;

    if (r->is_call) {
        fabric_reply_status(c->p.fabric, r, RPC_MESSAGE_UNRECOGNIZED);
        return;
    }
    if (r->type == GOSSIP && r->from.id && r->from.id != c->p.self.id &&
        ctl_gossip_decode(&m, r->payload, &a, NULL) == 0) {
        take_members(c);
        take_gossip(c, r->from, &m);
    }
}

/* ---- what is told ---- */

static size_t own_processors(struct control *c, struct control_processor **ret) {
    size_t all = worker_partitions(c->p.worker), n = 0;

    *ret = xcalloc(all + 1, sizeof **ret);
    for (size_t i = 0; i < all; i++) {
        struct control_processor *p = &(*ret)[n];

        worker_partition_info(c->p.worker, i, &p->info);
        if (p->info.role == PARTITION_STOPPED)
            continue;
        (void)snprintf(p->error, sizeof p->error, "%s", p->info.error ? p->info.error : "");
        p->info.error = NULL;
        n++;
    }
    return n;
}

static void keep_own(struct control *c) {
    struct heard *h = heard_of(c, c->p.self.id);

    if (!h)
        return;
    free(h->processors);
    h->id = c->p.self;
    h->started_ms = c->started_ms;
    h->schema_version = meta_version(c->p.meta, META_KEY_SCHEMA);
    h->n = own_processors(c, &h->processors);
}

static void fill_processors(const struct heard *h, struct ctl_processor *out) {
    for (size_t i = 0; i < h->n; i++) {
        const struct partition_info *p = &h->processors[i].info;

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
                                        .error = slice_str(h->processors[i].error)};
    }
}

static void send_gossip(struct control *c, unsigned peers, bool processors_too) {
    struct heard *own = heard_of(c, c->p.self.id);
    struct ctl_gossip_node nodes[FD_NODES_MAX];
    struct ctl_processor *processors = xcalloc(own ? own->n + 1 : 1, sizeof *processors);
    struct ctl_gossip m = {.started = c->started_ms,
                           .sent_at = loop_wall_ns(c->p.loop) / 1000000,
                           .leaving = c->leaving,
                           .nodes = nodes,
                           .schema_version = meta_version(c->p.meta, META_KEY_SCHEMA),
                           .with_processors = own && processors_too,
                           .processors = processors};
    struct fabric_message msg = {.service = SERVICE_GOSSIP, .type = GOSSIP};
    _cleanup_buf_ struct buf body = {0};

    for (unsigned i = 0; i < c->fd.n; i++) {
        const struct fd_node *n = &c->fd.nodes[i];

        if (n->instance)
            nodes[m.n_nodes++] =
                (struct ctl_gossip_node){n->id.id, n->id.generation, n->instance, n->age, n->leaving, SLICE_NULL};
    }
    if (m.with_processors) {
        fill_processors(own, processors);
        m.n_processors = own->n;
    }
    ctl_gossip_encode(&m, &body);
    free(processors);
    msg.head = buf_slice(&body);
    for (unsigned i = 0, start = c->fd.n ? (unsigned)(loop_random_u64(c->p.loop) % c->fd.n) : 0;
         i < MIN(peers, c->fd.n); i++) {
        struct fabric_dest d = {.node = {c->fd.nodes[(start + i) % c->fd.n].id.id, 0}};

        fabric_send(c->p.fabric, &d, LANE_GOSSIP, &msg);
    }
}

/* ---- the controller ---- */

static bool has_run_for_long(const struct control *c, uint32_t id) {
    const struct fd_node *n = fd_find(&c->fd, id);

    return loop_wall_ns(c->p.loop) / 1000000 >= (n ? n->instance : c->started_ms) + SETTLED_MS;
}

/* The first one that is alive; those that were just started come last: they know least. */
uint32_t control_leader(const struct control *c) {
    const struct nodes_config *nodes = c->p.nodes(c->p.arg);
    uint32_t best = 0;
    bool best_knows = false;

    for (size_t i = 0; nodes && i < nodes->n_nodes; i++) {
        const struct node_entry *n = &nodes->nodes[i];
        bool knows = has_run_for_long(c, n->id.id);

        if (n->tombstone || !(n->roles & ROLE_ADMIN) || !fd_is_alive(&c->fd, n->id.id))
            continue;
        if (!best || knows > best_knows || (knows == best_knows && n->id.id < best)) {
            best = n->id.id;
            best_knows = knows;
        }
    }
    return best;
}

static uint16_t domain_number(const struct nodes_config *c, size_t i, bool region) {
    const char *mine = c->nodes[i].location ? c->nodes[i].location : "";
    size_t len = region ? strcspn(mine, ".") : strlen(mine);

    for (size_t k = 0; k < i; k++) {
        const char *other = c->nodes[k].location ? c->nodes[k].location : "";
        size_t other_len = region ? strcspn(other, ".") : strlen(other);

        if (len == other_len && memcmp(mine, other, len) == 0)
            return (uint16_t)k;
    }
    return (uint16_t)i;
}

static size_t sched_nodes(struct control *c, struct sched_node *out) {
    const struct nodes_config *nodes = c->p.nodes(c->p.arg);
    uint64_t now = loop_now_ns(c->p.loop);
    size_t n = 0;

    for (size_t i = 0; i < nodes->n_nodes && n < FD_NODES_MAX; i++) {
        const struct node_entry *e = &nodes->nodes[i];
        const struct heard *h = e->tombstone ? NULL : heard_of(c, e->id.id);
        bool alive = fd_is_alive(&c->fd, e->id.id);

        if (!h)
            continue;
        out[n++] = (struct sched_node){.id = e->id.id,
                                       .worker = (e->roles & ROLE_WORKER) && e->worker_state == WORKER_ACTIVE,
                                       .may_keep = (e->roles & ROLE_WORKER) && (e->worker_state == WORKER_ACTIVE ||
                                                                                e->worker_state == WORKER_DRAINING),
                                       .alive = alive,
                                       .suspect = fd_is_suspect(&c->fd, e->id.id),
                                       .given_up = h->dead_since_ns && now - h->dead_since_ns >= c->p.replace_delay_ns,
                                       .zone = domain_number(nodes, i, false),
                                       .region = domain_number(nodes, i, true)};
    }
    return n;
}

static enum sched_mode mode_of(enum partition_role r) {
    return r == PARTITION_LEADER      ? SCHED_LEADER
           : r == PARTITION_CANDIDATE ? SCHED_CANDIDATE
           : r == PARTITION_FOLLOWER  ? SCHED_FOLLOWER
                                      : SCHED_NONE;
}

/* What those who are heard of said of their processors of the partition; the one with the newest epoch leads. */
static size_t sched_replicas(struct control *c, partition_id_t p, struct sched_replica *out, uint32_t *ret_leader) {
    epoch_t best = 0;
    size_t n = 0;

    *ret_leader = 0;
    for (size_t i = 0; i < c->n_heard && n < FD_NODES_MAX; i++) {
        const struct heard *h = &c->heard[i];

        if (!fd_is_heard_of(&c->fd, h->id.id))
            continue;
        for (size_t k = 0; k < h->n; k++) {
            const struct partition_info *info = &h->processors[k].info;

            if (info->id != p)
                continue;
            out[n++] = (struct sched_replica){h->id.id, mode_of(info->role), info->active};
            if (info->role == PARTITION_LEADER && info->epoch > best) {
                best = info->epoch;
                *ret_leader = h->id.id;
            }
        }
    }
    return n;
}

static int change_placement(void *arg, bool exists, struct epoch_metadata *e, struct err *err) {
    const struct plan *p = arg;

    (void)err;
    if ((exists ? e->version : 0) != p->epoch.version)
        return 1; /* decided from an older view: look again the next time */
    if (p->decision.placement == SCHED_COMPLETE)
        replica_set_complete(e);
    else
        replica_set_propose(e, p->decision.nodes, p->decision.n, loop_wall_ns(p->c->p.loop) / 1000000);
    return 0;
}

static void control_free(struct control *c) {
    if (c->writes)
        return;
    list_remove(&c->cleanup.link);
    for (size_t i = 0; i < c->n_heard; i++)
        heard_free(&c->heard[i]);
    free(c->heard);
    free(c->plans);
    free(c);
}

static void placement_changed(void *arg, int status, uint32_t version, const struct err *err) {
    struct plan *p = arg;
    struct control *c = p->c;

    (void)version;
    c->writes--;
    p->writing = false;
    if (c->closed)
        control_free(c);
    else if (status < 0)
        LOG_WARN_ERR(err, "a partition's placement was not written", F_U64("partition", p->partition));
    else if (p->decision.placement == SCHED_COMPLETE)
        p->spread = true; /* new replicas: lead from where the hash says, once they are ready */
}

static void plan_partition(struct control *c, struct plan *p, const struct sched_node *nodes, size_t n_nodes,
                           const struct partition_table *table) {
    struct sched_replica replicas[FD_NODES_MAX];
    struct sched_input in = {.partition = p->partition, .nodes = nodes, .n_nodes = n_nodes, .replicas = replicas};
    uint64_t now = loop_now_ns(c->p.loop);
    uint32_t leads;
    bool known = epoch_metadata_get(c->p.meta, p->partition, &p->epoch, NULL) == 0;

    if (!known)
        p->epoch = (struct epoch_metadata){0};
    in.epoch = known ? &p->epoch : NULL;
    in.everywhere = strcmp(table->replication, "everywhere") == 0;
    if (!in.everywhere && replication_parse(slice_str(table->replication), &in.replication, NULL) < 0)
        return;
    in.n_replicas = sched_replicas(c, p->partition, replicas, &leads);
    if (p->spread) {
        bool all = true;

        for (uint32_t i = 0; i < p->epoch.current.n; i++) {
            bool ready = false;

            for (size_t k = 0; k < in.n_replicas; k++)
                ready |= replicas[k].node == p->epoch.current.nodes[i] && replicas[k].caught_up;
            all &= ready;
        }
        if (all) {
            p->spread = false;
            p->target = leads = 0;
        }
    }
    in.target = leads ? leads : p->target;
    scheduler_decide(&in, &p->decision);
    if (p->decision.placement != SCHED_KEEP && !p->writing) {
        p->writing = true;
        c->writes++;
        epoch_metadata_update(c->p.meta, p->partition, now + 5000000000u, change_placement, placement_changed, p);
    }
    if (p->decision.leader &&
        (p->decision.leader != p->target || (p->decision.ask && now - p->asked_ns > ASK_AGAIN_NS))) {
        struct worker_control_word word = {p->partition, WORKER_LEAD, p->epoch.current.version};
        struct heard *h = heard_of(c, p->decision.leader);

        p->target = p->decision.leader;
        p->asked_ns = now;
        if (p->decision.ask && h)
            worker_control_send(c->p.fabric, h->id, &word, 1);
    }
}

static void run_controller(struct control *c) {
    struct sched_node nodes[FD_NODES_MAX];
    _cleanup_(partition_table_freep) struct partition_table *table = NULL;
    struct bytes *value;
    size_t n;

    if (meta_get(c->p.meta, META_KEY_PARTITIONS, NULL, &value) < 0 ||
        partition_table_parse(bytes_slice(value), &table, NULL) < 0)
        return;
    if (!c->plans) { /* the number of partitions never changes */
        c->n_plans = table->n;
        c->plans = xcalloc(c->n_plans + 1, sizeof *c->plans);
        for (size_t i = 0; i < c->n_plans; i++) {
            c->plans[i].c = c;
            c->plans[i].partition = (partition_id_t)i;
        }
    }
    n = sched_nodes(c, nodes);
    for (size_t i = 0; i < c->n_plans; i++)
        plan_partition(c, &c->plans[i], nodes, n, table);
}

/* ---- the tick ---- */

static void lost_node(struct control *c, struct node_id id) {
    fabric_forget(c->p.fabric, id);
    if (c->p.lost)
        c->p.lost(c->p.arg, id);
}

static void note_changes(struct control *c, const enum fd_state *before) {
    for (unsigned i = 0; i < c->fd.n; i++) {
        const struct fd_node *n = &c->fd.nodes[i];

        if (n->state == before[i])
            continue;
        LOG_INFO("a node's state changed", F_U64("node", n->id.id), F_U64("generation", n->id.generation),
                 F_STR("state", fd_state_str(n->state)));
        if (n->state == FD_DEAD)
            lost_node(c, n->id);
        else if (before[i] == FD_DEAD)
            fabric_alive(c->p.fabric, n->id.id);
    }
}

/* Whoever has not been heard of since this node started is dead, too: nobody waits for its answers. */
static void give_up_strangers(struct control *c) {
    for (unsigned i = 0; i < c->fd.n; i++)
        if (!c->fd.nodes[i].instance)
            lost_node(c, c->fd.nodes[i].id);
}

static bool everybody_is_alive(const struct control *c) {
    for (unsigned i = 0; i < c->fd.n; i++)
        if (c->fd.nodes[i].state != FD_ALIVE)
            return false;
    return true;
}

/* One that was just started waits for news of the others as long as the silence of a node means nothing: it may not be
 * the one to decide. */
static void control(struct control *c) {
    bool leads = control_leader(c) == c->p.self.id && !c->leaving && !fd_is_lonely(&c->fd);
    bool settled = has_run_for_long(c, c->p.self.id) || everybody_is_alive(c);
    unsigned settle = settled ? 1 : c->fd.p.failure_threshold;

    c->controlling = leads ? c->controlling + 1 : 0;
    c->controls = c->controls && leads;
    if (c->controlling < settle)
        return;
    if (!c->controls)
        LOG_INFO("this node controls the cluster");
    c->controls = true;
    run_controller(c);
}

static void on_tick(void *arg) {
    struct control *c = arg;
    enum fd_state before[FD_NODES_MAX];

    timer_set(c->p.loop, &c->tick, c->p.tick_ns);
    c->ticks++;
    take_members(c);
    for (unsigned i = 0; i < c->fd.n; i++)
        before[i] = c->fd.nodes[i].state;
    fd_tick(&c->fd);
    note_changes(c, before);
    note_absence(c);
    if (c->ticks == c->fd.p.failure_threshold)
        give_up_strangers(c);
    if (c->fd.n == 0)
        return; /* alone: nothing to tell, nothing to decide that the worker does not decide itself */
    keep_own(c);
    send_gossip(c, c->p.gossip_peers, c->ticks % PROCESSORS_EVERY == 0);
    control(c);
}

void control_gone(struct control *c, struct node_id id) {
    const struct fd_node *n = fd_find(&c->fd, id.id);
    enum fd_state before = n ? n->state : FD_DEAD;

    fd_gone(&c->fd, id);
    if (before == FD_DEAD || n->state != FD_DEAD)
        return;
    LOG_INFO("a node's process has ended", F_U64("node", id.id), F_U64("generation", id.generation));
    lost_node(c, id);
    keep_own(c);
    control(c);
}

void control_news(struct control *c) {
    if (c->fd.n == 0)
        return;
    keep_own(c);
    send_gossip(c, FD_NODES_MAX, true);
}

/* ---- the object ---- */

bool control_may_answer(const struct control *c, uint32_t id) {
    const struct fd_node *n = fd_find(&c->fd, id);

    return !n || n->state == FD_ALIVE || n->state == FD_SUSPECT || fd_is_lonely(&c->fd);
}

size_t control_nodes(const struct control *c) {
    return c->n_heard;
}

void control_node(const struct control *c, size_t i, struct control_node *ret) {
    const struct heard *h = &c->heard[i];
    const struct fd_node *n = fd_find(&c->fd, h->id.id);
    bool own = h->id.id == c->p.self.id;

    *ret = (struct control_node){.id = h->id,
                                 .state = own ? (c->leaving ? FD_LEAVING : FD_ALIVE)
                                          : n ? n->state
                                              : FD_DEAD,
                                 .started_ms = h->started_ms,
                                 .seen_ms = own ? loop_wall_ns(c->p.loop) / 1000000
                                            : n ? n->seen_ms
                                                : 0,
                                 .schema_version = h->schema_version,
                                 .processors = h->processors,
                                 .n = h->n};
}

bool control_lonely(const struct control *c) {
    return c->fd.n && fd_is_lonely(&c->fd);
}

void control_refresh(struct control *c) {
    take_members(c);
    keep_own(c);
}

void control_leave(struct control *c) {
    c->leaving = true;
    send_gossip(c, FD_NODES_MAX, false);
}

static void meta_closed(void *arg) {
    struct control *c = arg;

    c->writes = 0;
    if (c->closed)
        control_free(c);
}

struct control *control_open(const struct control_params *p) {
    struct control *c = xnew(struct control);
    struct fd_params fd = p->fd;

    c->p = *p;
    if (!c->p.tick_ns)
        c->p.tick_ns = TICK_NS;
    if (!c->p.replace_delay_ns)
        c->p.replace_delay_ns = REPLACE_NS;
    if (!c->p.gossip_peers)
        c->p.gossip_peers = 2;
    if (!fd.failure_threshold)
        fd = (struct fd_params){.failure_threshold = 10, .suspect_ticks = 50, .lonely_ticks = 30};
    c->started_ms = loop_wall_ns(p->loop) / 1000000;
    fd_init(&c->fd, &fd, p->self, c->started_ms);
    c->cleanup = (struct meta_cleanup){.fn = meta_closed, .arg = c};
    meta_on_free(p->meta, &c->cleanup);
    take_members(c);
    keep_own(c);
    c->gossip = (struct fabric_service){.id = SERVICE_GOSSIP, .lossy = true, .handle = handle_gossip, .arg = c};
    fabric_serve(p->fabric, &c->gossip);
    timer_init(&c->tick, on_tick, c);
    timer_set(p->loop, &c->tick, c->p.tick_ns);
    return c;
}

struct control *control_close(struct control *c) {
    if (!c)
        return NULL;
    fabric_unserve(c->p.fabric, &c->gossip);
    timer_stop(c->p.loop, &c->tick);
    c->closed = true;
    control_free(c);
    return NULL;
}
