/* SPDX-License-Identifier: Apache-2.0 */
#include "control/scheduler.h"
#include "base/hash.h"
#include "base/util.h"

#include <stdlib.h>
#include <string.h>

#define HASH_SEED 14712721395741015273ull

static const struct sched_node *find_node(const struct sched_input *in, uint32_t id) {
    for (size_t i = 0; i < in->n_nodes; i++)
        if (in->nodes[i].id == id)
            return &in->nodes[i];
    return NULL;
}

static const struct sched_replica *find_replica(const struct sched_input *in, uint32_t node) {
    for (size_t i = 0; i < in->n_replicas; i++)
        if (in->replicas[i].node == node)
            return &in->replicas[i];
    return NULL;
}

static uint64_t rank_of(const struct sched_input *in, uint32_t node) {
    uint64_t key[2] = {in->partition, node};

    return hash64_seed(slice_of(key, sizeof key), HASH_SEED);
}

/* ---- leaders ---- */

static int score_of(const struct sched_input *in, uint32_t node) {
    const struct sched_replica *r = find_replica(in, node);
    bool affine = in->epoch->affinity == node, caught_up = r && r->caught_up;

    return (caught_up ? 2 : 0) + (affine ? 1 : 0);
}

/* One that is suspect and leads stays: nobody deposed it, and other controllers may trust it already. */
static bool may_lead(const struct sched_input *in, const struct sched_node *n) {
    const struct sched_replica *r = find_replica(in, n->id);

    return n->alive || (n->suspect && n->id == in->target && r && r->mode == SCHED_LEADER);
}

static uint32_t choose_among(const struct sched_input *in, const struct replica_set *set, bool suspects) {
    uint32_t best = 0;
    int best_score = -1;

    for (uint32_t i = 0; i < set->n; i++) {
        uint32_t id = set->nodes[i];
        const struct sched_node *n = find_node(in, id);
        int score;

        if (!n || !(suspects ? n->suspect : may_lead(in, n)))
            continue;
        score = score_of(in, id);
        if (score > best_score ||
            (score == best_score && best != in->target && (id == in->target || rank_of(in, id) < rank_of(in, best)))) {
            best = id;
            best_score = score;
        }
    }
    return best;
}

static uint32_t choose_leader(const struct sched_input *in, const struct replica_set *set) {
    uint32_t alive = choose_among(in, set, false);

    return alive ? alive : choose_among(in, set, true);
}

static void decide_leader(const struct sched_input *in, const struct replica_set *set, struct sched_decision *d) {
    const struct sched_node *target = find_node(in, in->target);
    const struct sched_replica *r;

    if (in->epoch->leadership_frozen && target && target->alive && replica_set_has(set, in->target))
        d->leader = in->target;
    else
        d->leader = choose_leader(in, set);
    r = d->leader ? find_replica(in, d->leader) : NULL;
    d->ask = d->leader && !(r && r->mode == SCHED_LEADER);
}

/* ---- placement ---- */

struct pick {
    const struct sched_node *node;
    bool kept;
    uint64_t rank;
};

/* Members that may stay, then other workers; one that drains only where there is nobody else. */
static int class_of(const struct pick *p) {
    return !p->node->worker ? 2 : p->kept ? 0 : 1;
}

static int by_preference(const void *a, const void *b) {
    const struct pick *x = a, *y = b;

    if (class_of(x) != class_of(y))
        return class_of(x) - class_of(y);
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static uint16_t domain_of(const struct sched_node *n, enum scope s) {
    return s == SCOPE_REGION ? n->region : n->zone;
}

/* How many of the chosen lie where @n lies, at the widest scope that the replication names. */
static unsigned neighbours(const struct sched_node *n, enum scope s, const struct pick *picks, const bool *taken,
                           size_t n_picks) {
    unsigned k = 0;

    for (size_t i = 0; i < n_picks; i++)
        k += taken[i] && domain_of(picks[i].node, s) == domain_of(n, s);
    return k;
}

static size_t wanted(const struct sched_input *in, size_t workers) {
    if (in->everywhere)
        return MIN(workers, (size_t)SCHED_EVERYWHERE);
    return in->replication.copies[SCOPE_NODE];
}

int scheduler_select(const struct sched_input *in, const struct replica_set *keep, uint32_t ret[REPLICA_SET_MAX],
                     uint32_t *ret_n) {
    struct pick *picks = xcalloc(in->n_nodes + 1, sizeof *picks);
    bool *taken = xcalloc(in->n_nodes + 1, sizeof *taken);
    enum scope wide = in->replication.copies[SCOPE_REGION] > 1 ? SCOPE_REGION : SCOPE_ZONE;
    bool spread =
        !in->everywhere && (in->replication.copies[SCOPE_REGION] > 1 || in->replication.copies[SCOPE_ZONE] > 1);
    size_t n = 0, workers = 0, want;

    for (size_t i = 0; i < in->n_nodes; i++) {
        const struct sched_node *node = &in->nodes[i];
        bool kept = keep && replica_set_has(keep, node->id);

        if (kept ? node->may_keep && !node->given_up : node->worker && node->alive) {
            picks[n++] = (struct pick){node, kept, rank_of(in, node->id)};
            workers += node->worker;
        }
    }
    qsort(picks, n, sizeof *picks, by_preference);
    want = MIN(wanted(in, workers ? workers : n), (size_t)REPLICA_SET_MAX);
    *ret_n = 0;
    while (*ret_n < want) {
        size_t best = n;
        unsigned fewest = 0;

        for (size_t i = 0; i < n; i++) {
            unsigned k = spread ? neighbours(picks[i].node, wide, picks, taken, n) : 0;

            if (!taken[i] && (best == n || k < fewest)) {
                best = i;
                fewest = k;
            }
        }
        if (best == n)
            break;
        taken[best] = true;
        ret[(*ret_n)++] = picks[best].node->id;
    }
    free(picks);
    free(taken);
    return *ret_n < want || *ret_n == 0 ? RS_EUNSUPPORTED : 0;
}

/* The set that is wanted: what is there, with those that had to go replaced. Under `*` a dead member leaves only when
 * another worker takes its place. */
static bool wanted_set(const struct sched_input *in, const struct replica_set *have, struct sched_decision *d) {
    struct replica_set want = {.version = 1};
    uint32_t out = 0;
    int r = scheduler_select(in, have, d->nodes, &d->n);

    want.n = d->n;
    memcpy(want.nodes, d->nodes, d->n * sizeof d->nodes[0]);
    for (uint32_t i = 0; i < have->n; i++) {
        const struct sched_node *node = find_node(in, have->nodes[i]);

        out += node && node->worker && !replica_set_has(&want, have->nodes[i]);
    }
    if (r < 0 && !in->everywhere && have->n > d->n)
        return false; /* too few to replace anybody: what is there may come back */
    if (in->everywhere && d->n < have->n && out)
        return false;
    for (uint32_t i = 0; i < d->n; i++)
        if (!replica_set_has(have, d->nodes[i]))
            return true;
    return d->n != have->n && d->n > 0;
}

static bool next_is_ready(const struct sched_input *in) {
    const struct epoch_metadata *e = in->epoch;
    bool any_worker = false;

    if (e->next.version == 0)
        return false;
    if (e->next.n == 0)
        return true;
    for (uint32_t i = 0; i < e->next.n; i++) {
        const struct sched_replica *r = find_replica(in, e->next.nodes[i]);
        const struct sched_node *n = find_node(in, e->next.nodes[i]);

        if (r && r->caught_up && n && n->alive)
            return true;
    }
    for (uint32_t i = 0; i < e->current.n; i++) {
        const struct sched_node *n = find_node(in, e->current.nodes[i]);

        any_worker |= n && n->may_keep;
    }
    return !any_worker;
}

static void decide_placement(const struct sched_input *in, struct sched_decision *d) {
    static const struct replica_set nothing;
    const struct epoch_metadata *e = in->epoch;

    if (!e || e->current.version == 0) {
        if (scheduler_select(in, &nothing, d->nodes, &d->n) == 0 || d->n > 0)
            d->placement = SCHED_PLACE;
    } else if (next_is_ready(in)) {
        d->placement = SCHED_COMPLETE;
    } else if (!e->placement_frozen && wanted_set(in, e->next.version ? &e->next : &e->current, d)) {
        d->placement = SCHED_PLACE;
    }
}

void scheduler_decide(const struct sched_input *in, struct sched_decision *ret) {
    struct sched_decision d = {0};

    decide_placement(in, &d);
    if (in->epoch && in->epoch->current.version)
        decide_leader(in, d.placement == SCHED_COMPLETE ? &in->epoch->next : &in->epoch->current, &d);
    *ret = d;
}
