/* SPDX-License-Identifier: Apache-2.0 */
/* Better segments (spec cluster.md §11): when the configured replication changed, a larger nodeset can be had, or a
 * member of it is of no use any more, the reigning leader seals its segment and goes on in the next one. Some logs at a
 * time: every one costs its clients a round trip to the log-servers and one to the metadata. */
#include "log/log_internal.h"

#define ROUND_NS 1000000000u

/* Those who answer can seal the old segment and take the records of the new one. Otherwise leaving it would turn a
 * segment that works into a stall. */
static bool can_move(const struct log *l, const struct segment *tail, struct replication r, const uint32_t *nodes,
                     uint32_t n) {
    struct quorum *q = xnew(struct quorum);
    struct quorum_mask old = {{0}}, fresh = {{0}};
    const struct log_router *router = &l->node->router;
    bool ok;

    for (uint32_t i = 0; i < tail->params.n_nodes; i++)
        if (log_router_alive(router, tail->params.nodes[i]))
            quorum_mask_set(&old, i);
    for (uint32_t i = 0; i < n; i++)
        if (log_router_alive(router, nodes[i]))
            quorum_mask_set(&fresh, i);
    quorum_init(q, l->node->nodes, tail->params.replication, tail->params.nodes, tail->params.n_nodes);
    ok = quorum_f_passes(quorum_f_majority(q, &old));
    quorum_init(q, l->node->nodes, r, nodes, n);
    ok = ok && quorum_is_write(q, &fresh);
    free(q);
    return ok;
}

static bool has_node(const struct segment_params *p, uint32_t node) {
    for (uint32_t i = 0; i < p->n_nodes; i++)
        if (p->nodes[i] == node)
            return true;
    return false;
}

/* How many of its log-servers are of use: those that lost their records neither take new ones nor tell of old ones. */
static uint32_t n_useful(const struct nodes_config *c, const struct segment_params *p) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const struct node_entry *e = nodes_config_find(c, p->nodes[i]);

        n += e && !e->tombstone && e->storage_state != STORAGE_DATA_LOSS && e->storage_state != STORAGE_GONE &&
             e->storage_state != STORAGE_DISABLED;
    }
    return n;
}

/* Never a smaller nodeset, but for members that are of no use, and never the same one in another order. */
static bool is_better(const struct nodes_config *c, const struct segment_params *have, struct replication r,
                      const uint32_t *nodes, uint32_t n) {
    uint32_t useful = n_useful(c, have);

    if (!replication_eq(have->replication, r))
        return true;
    if (useful < have->n_nodes && n >= useful)
        return true;
    if (n != have->n_nodes)
        return n > have->n_nodes;
    for (uint32_t i = 0; i < n; i++)
        if (!has_node(have, nodes[i]))
            return true;
    return false;
}

enum verdict { GOOD, LATER, NOW };
static enum verdict look_at(const struct log *l) {
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;
    uint32_t nodes[NODESET_MAX], n;

    if (!l->seq || l->closed || l->tell_lost || !tail)
        return GOOD;
    if (l->lead != LEAD_OWNED || tail->kind != SEGMENT_REPLICATED || tail->params.loglet_id != l->loglet)
        return LATER; /* between two segments */
    if (lead_choose_nodes(l, tail, nodes, &n, NULL) < 0 ||
        !is_better(l->node->nodes, &tail->params, l->node->chains.current->replication, nodes, n))
        return GOOD; /* more nodes, or another configuration, come back here */
    return can_move(l, tail, l->node->chains.current->replication, nodes, n) ? NOW : LATER;
}

static int by_id(const void *a, const void *b) {
    const struct log *x = *(struct log *const *)a, *y = *(struct log *const *)b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static void improve_round(void *arg) {
    struct log_node *n = arg;
    struct log **logs = xnewn(struct log *, n->logs.n + 1);
    size_t count = 0, first = 0, budget;
    bool more = false;

    n->improved_ns = loop_now_ns(n->p.loop);
    MAP_FOREACH (e, &n->logs) {
        struct log *l = MAP_ENTRY(e, struct log, map_node);

        if (l->seq)
            logs[count++] = l;
    }
    if (!n->chains.current || !n->nodes)
        count = 0; /* the change of either comes back here */
    else {
        n->improve_replication = n->chains.current->replication;
        n->improve_target = n->chains.current->target_nodeset_size;
    }
    qsort(logs, count, sizeof *logs, by_id);
    while (first < count && logs[first]->id < n->improve_next)
        first++;
    budget = (count + 2) / 3;
    for (size_t i = 0; i < count; i++) {
        struct log *l = logs[(first + i) % count];
        enum verdict v = look_at(l);

        if (v == NOW && budget) {
            budget--;
            n->improve_next = l->id + 1;
            lead_again(l);
        } else {
            more = more || v != GOOD;
        }
    }
    free(logs);
    if (more)
        improve_soon(n);
}

void improve_soon(struct log_node *n) {
    uint64_t now = loop_now_ns(n->p.loop), due = now;

    if (timer_armed(&n->improve))
        return;
    if (n->improved_ns)
        due = MAX(now, n->improved_ns + ROUND_NS / 4 * 3 + loop_random_u64(n->p.loop) % (ROUND_NS / 2));
    timer_set_at(n->p.loop, &n->improve, due);
}

void improve_init(struct log_node *n) {
    timer_init(&n->improve, improve_round, n);
}
