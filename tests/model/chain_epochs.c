/* SPDX-License-Identifier: Apache-2.0 */
/* Leadership owns the segment (spec cluster.md §11.2): two nodes that claim epochs, seal, extend the chain, append; a
 * reigning leader that leaves its segment for a better one under the same epoch and takes along what is in flight; a
 * stranger (a reader, an operator) that closes the chain with a marker; answers of the metadata that are lost.
 *
 * A loglet is what the other model shows of it: once sealed it has a limit that acknowledgements never pass, and a
 * recovery finds any tail from there to what was sent. */
#include "explore.h"

enum { NODES = 2, EPOCHS = 2, LOGLETS = 5, PROPOSALS = 2, CHAIN = LOGLETS + 1, MARKERS = 1 };

enum rule {
    TRUE_RULE,
    APPEND_AGAIN_FROM_ACKED,
    DROP_IN_FLIGHT,
    SEGMENT_OPENED_TWICE,
    MARKER_FORGETS_EPOCH,
    EXTEND_IGNORES_EPOCH,
};
static const char *const rules[] = {"true-rule",
                                    "append-again-what-was-not-acknowledged",
                                    "drop-what-is-in-flight",
                                    "own-segment-opened-twice",
                                    "marker-forgets-the-epoch",
                                    "extend-ignores-the-epoch",
                                    NULL};

/* A record: epoch * 4 + number of the proposal in that reign, from 1. */
struct loglet {
    uint8_t used, base, owner, epoch;
    uint8_t sent, acked, sealed, limit;
    uint8_t records[2 * PROPOSALS];
};
struct entry { /* of the chain */
    uint8_t base, index, marker, loglet, epoch;
};
enum phase { FOLLOWER, WANTED, SEALING, EXTENDING, LEADING };
struct node {
    uint8_t phase, epoch, loglet; /* loglet + 1; 0: none. Of the segment it owns, or owned last */
    uint8_t proposed;
    uint8_t target, index, tail; /* SEALING, EXTENDING: loglet, chain index, tail found */
    uint8_t acked;               /* of its loglet when it decided to leave it */
};
struct state {
    struct loglet l[LOGLETS];
    struct entry c[CHAIN];
    uint8_t n; /* entries */
    uint8_t epochs, markers;
    struct node nodes[NODES];
    struct node stranger;                   /* target, index, tail */
    uint8_t lsn[EPOCHS + 1][PROPOSALS + 1]; /* what the leader was told */
    uint8_t broken;
};
enum { WRONG_TAIL = 1, TWO_WRITERS = 2 };

static uint8_t name_of(unsigned i) {
    return (uint8_t)(i + 1);
}
static struct entry *tail_of(struct state *s) {
    return &s->c[s->n - 1];
}

static void first(void *state, unsigned mutant) {
    struct state *s = state;

    (void)mutant;
    s->l[0] = (struct loglet){.used = 1};
    s->c[0] = (struct entry){.base = 0};
    s->n = 1;
}

/* ---- owning a segment ---- */

static void propose_into(struct loglet *l, uint8_t record) {
    if (l->sent < sizeof l->records)
        l->records[l->sent++] = record;
}

static void own(struct state *s, unsigned i, uint8_t loglet, unsigned mutant) {
    struct node *n = &s->nodes[i];
    struct loglet *l = &s->l[loglet], *old = n->loglet ? &s->l[n->loglet - 1] : NULL;

    if (l->sent)
        s->broken = TWO_WRITERS; /* offsets that were given out before are given out again */
    if (old && old != l) {
        unsigned from = (unsigned)(l->base - old->base);

        if (l->base < old->base + old->acked || from > old->sent)
            s->broken = WRONG_TAIL;
        if (mutant == APPEND_AGAIN_FROM_ACKED)
            from = n->acked;
        for (unsigned o = from; mutant != DROP_IN_FLIGHT && o < old->sent; o++)
            propose_into(l, old->records[o]);
    }
    n->loglet = (uint8_t)(loglet + 1);
    n->phase = LEADING;
}

static void step_down(struct node *n) {
    memset(n, 0, sizeof *n);
}

/* ---- one node ---- */

static void look(struct explore *x, const struct state *from, unsigned i, unsigned mutant) {
    struct state s = *from;
    struct node *n = &s.nodes[i];
    const struct entry *t = tail_of(&s);
    const bool mine = !t->marker && s.l[t->loglet].owner == name_of(i) && t->epoch == n->epoch &&
                      (n->loglet != t->loglet + 1 || mutant == SEGMENT_OPENED_TWICE);
    const bool others =
        t->epoch > n->epoch || (t->epoch == n->epoch && !t->marker && s.l[t->loglet].owner != name_of(i));

    if (others && mutant != EXTEND_IGNORES_EPOCH) {
        step_down(n);
        explore_add(x, &s, "node %u sees epoch %u and follows", i, t->epoch);
    } else if (mine) {
        own(&s, i, t->loglet, mutant);
        explore_add(x, &s, "node %u owns segment %u", i, t->loglet);
    } else if (t->marker) {
        n->phase = EXTENDING;
        n->index = t->index;
        n->tail = t->base;
        explore_add(x, &s, "node %u finds the chain closed", i);
    } else {
        n->phase = SEALING;
        n->target = t->loglet;
        n->index = t->index;
        explore_add(x, &s, "node %u wants to seal segment %u", i, t->loglet);
    }
}

/* Both steps of a recovery, for nodes and for the stranger. @who: index of the actor, for the label. */
static void recover(struct explore *x, const struct state *from, struct node *(*actor)(struct state *, unsigned),
                    unsigned who) {
    struct state s = *from;
    const struct loglet *l = &from->l[actor(&s, who)->target];

    if (!l->sealed) {
        for (unsigned limit = l->acked; limit <= l->sent; limit++) {
            s = *from;
            s.l[actor(&s, who)->target].sealed = 1;
            s.l[actor(&s, who)->target].limit = (uint8_t)limit;
            explore_add(x, &s, "%u seals segment %u, limit %u", who, actor(&s, who)->target, limit);
        }
        return;
    }
    for (unsigned tail = l->limit; tail <= l->sent; tail++) {
        struct node *n;

        s = *from;
        n = actor(&s, who);
        n->phase = EXTENDING;
        n->tail = (uint8_t)(l->base + tail);
        explore_add(x, &s, "%u finds the tail of segment %u at LSN %u", who, n->target, n->tail);
    }
}
static struct node *node_of(struct state *s, unsigned i) {
    return &s->nodes[i];
}
static struct node *stranger_of(struct state *s, unsigned i) {
    (void)i;
    return &s->stranger;
}

/* The compare-and-swap: the chain as it is decides. Returns whether the new segment is there. */
static bool extend_chain(struct state *s, unsigned i, unsigned mutant) {
    struct node *n = &s->nodes[i];
    struct entry *t = tail_of(s);
    unsigned l = 0;

    if (t->epoch > n->epoch && mutant != EXTEND_IGNORES_EPOCH) {
        step_down(n);
        return false;
    }
    n->phase = WANTED;
    if (t->index != n->index || n->tail < t->base || (t->marker && n->tail != t->base))
        return false;
    if (!t->marker && t->epoch == n->epoch && s->l[t->loglet].owner != name_of(i) && mutant != EXTEND_IGNORES_EPOCH) {
        step_down(n);
        return false;
    }
    while (l < LOGLETS && s->l[l].used)
        l++;
    if (l == LOGLETS)
        return false;
    s->l[l] = (struct loglet){.used = 1, .base = n->tail, .owner = name_of(i), .epoch = n->epoch};
    if (n->tail > t->base)
        t = &s->c[s->n++];
    *t = (struct entry){.base = n->tail, .index = (uint8_t)(n->index + 1), .loglet = (uint8_t)l, .epoch = n->epoch};
    return true;
}

static void extend(struct explore *x, const struct state *from, unsigned i, unsigned mutant) {
    struct state s = *from;

    if (!extend_chain(&s, i, mutant)) {
        explore_add(x, &s, "node %u cannot extend the chain", i);
        return;
    }
    explore_add(x, &s, "node %u extends the chain and is not told", i); /* it looks again */
    own(&s, i, tail_of(&s)->loglet, mutant);
    explore_add(x, &s, "node %u extends the chain", i);
}

static void lead(struct explore *x, const struct state *from, unsigned i) {
    struct state s = *from;
    struct node *n = &s.nodes[i];
    struct loglet *l = &s.l[n->loglet - 1];

    if (n->proposed < PROPOSALS && l->sent < sizeof l->records) {
        n->proposed++;
        s.lsn[n->epoch][n->proposed] = (uint8_t)(l->base + l->sent);
        propose_into(l, (uint8_t)(n->epoch * 4 + n->proposed));
        explore_add(x, &s, "node %u appends %u.%u", i, n->epoch, n->proposed);
    }
    s = *from;
    n = &s.nodes[i];
    n->phase = WANTED; /* its segment was sealed, the chain changed, or a better one can be had */
    n->acked = s.l[n->loglet - 1].acked;
    explore_add(x, &s, "node %u leaves segment %u", i, n->loglet - 1);
}

static void one_node(struct explore *x, const struct state *from, unsigned i, unsigned mutant) {
    struct state s = *from;
    struct node *n = &s.nodes[i];

    switch ((enum phase)n->phase) {
    case FOLLOWER:
        break;
    case WANTED:
        look(x, from, i, mutant);
        break;
    case SEALING:
        recover(x, from, node_of, i);
        if (tail_of(&s)->index != n->index || tail_of(&s)->marker) { /* somebody else closed it */
            n->phase = WANTED;
            explore_add(x, &s, "node %u sees that the chain changed", i);
        }
        break;
    case EXTENDING:
        extend(x, from, i, mutant);
        break;
    case LEADING:
        lead(x, from, i);
        break;
    }
    if (from->epochs < EPOCHS) {
        s = *from;
        step_down(&s.nodes[i]);
        s.nodes[i].epoch = ++s.epochs;
        s.nodes[i].phase = WANTED;
        explore_add(x, &s, "node %u claims epoch %u", i, s.epochs);
    }
}

/* ---- the stranger ---- */

static void stranger(struct explore *x, const struct state *from, unsigned mutant) {
    struct state s = *from;
    struct node *n = &s.stranger;
    struct entry *t = tail_of(&s);

    if (n->phase == FOLLOWER && s.markers < MARKERS && !t->marker) {
        s.markers++;
        n->phase = SEALING;
        n->target = t->loglet;
        n->index = t->index;
        explore_add(x, &s, "a stranger wants to close segment %u", t->loglet);
    } else if (n->phase == SEALING) {
        recover(x, from, stranger_of, 9);
    } else if (n->phase == EXTENDING) {
        if (!t->marker && t->index == n->index && n->tail >= t->base) {
            struct entry m = {.base = n->tail, .index = t->index, .marker = 1, .epoch = t->epoch};

            if (mutant == MARKER_FORGETS_EPOCH)
                m.epoch = 0;
            if (n->tail > t->base)
                t = &s.c[s.n++];
            *t = m;
        }
        memset(n, 0, sizeof *n);
        explore_add(x, &s, "the stranger closes the chain");
    }
}

static void next(struct explore *x, const void *state, unsigned mutant) {
    const struct state *from = state;

    for (unsigned i = 0; i < NODES; i++)
        one_node(x, from, i, mutant);
    stranger(x, from, mutant);
    for (unsigned l = 0; l < LOGLETS; l++) {
        struct state s = *from;

        if (s.l[l].acked >= (s.l[l].sealed ? s.l[l].limit : s.l[l].sent))
            continue;
        s.l[l].acked++;
        explore_add(x, &s, "segment %u: %u acknowledged", l, s.l[l].acked);
    }
}

/* ---- what must hold ---- */

/* The content of the log as far as it is decided: closed segments up to their end, the open one as acknowledged. */
static void check_content(struct explore *x, const struct state *s) {
    unsigned last = 0;

    for (unsigned e = 0; e < s->n; e++) {
        const struct loglet *l = &s->l[s->c[e].loglet];
        unsigned end = e + 1u < s->n ? (unsigned)(s->c[e + 1].base - s->c[e].base) : l->acked;

        if (s->c[e].marker)
            continue;
        if (l->acked > end || (e + 1u < s->n && l->limit > end))
            explore_violation(x, "segment %u was closed at %u, below what can be acknowledged", s->c[e].loglet, end);
        for (unsigned o = 0; o < end && o < l->sent; o++) {
            const unsigned record = l->records[o], epoch = record / 4, number = record % 4;

            if (epoch == last / 4 ? number != last % 4 + 1 : epoch < last / 4 || number != 1)
                explore_violation(x, "%u.%u follows %u.%u", epoch, number, last / 4, last % 4);
            if (s->lsn[epoch][number] != l->base + o)
                explore_violation(x, "%u.%u is at LSN %u, its leader was told %u", epoch, number, l->base + o,
                                  s->lsn[epoch][number]);
            last = record;
        }
    }
}

static void check(struct explore *x, const void *state, unsigned mutant) {
    const struct state *s = state;

    (void)mutant;
    if (s->broken == WRONG_TAIL)
        explore_violation(x, "a leader's segment was closed outside of what it had in flight");
    if (s->broken == TWO_WRITERS)
        explore_violation(x, "offsets of a segment were given out twice");
    for (unsigned e = 1; e < s->n; e++) {
        const struct entry *a = &s->c[e - 1], *b = &s->c[e];

        if (b->base <= a->base)
            explore_violation(x, "a segment at LSN %u follows one at LSN %u", b->base, a->base);
        if (a->marker || b->marker) /* the last entry, and there is no other marker: see extend_chain() */
            continue;
        if (b->epoch < a->epoch)
            explore_violation(x, "epoch %u at LSN %u follows epoch %u at LSN %u", b->epoch, b->base, a->epoch, a->base);
        if (a->epoch == b->epoch && s->l[a->loglet].owner != s->l[b->loglet].owner)
            explore_violation(x, "two nodes have segments of epoch %u", a->epoch);
    }
    check_content(x, s);
}

/* ---- what no longer matters, and nodes that differ by name only ---- */

static void forget(struct state *s) {
    for (unsigned i = 0; i < NODES; i++) {
        struct node *n = &s->nodes[i];

        if (n->phase != SEALING)
            n->target = 0;
        if (n->phase != SEALING && n->phase != EXTENDING)
            n->index = 0;
        if (n->phase != EXTENDING)
            n->tail = 0;
        if (n->phase == LEADING)
            n->acked = 0;
    }
    for (unsigned i = 0; i < LOGLETS; i++) {
        struct loglet *l = &s->l[i], rest = {.used = 1};
        bool used = s->stranger.phase == SEALING && s->stranger.target == i;
        unsigned e = 0;

        for (unsigned k = 0; k < NODES; k++)
            used = used || s->nodes[k].loglet == i + 1 || (s->nodes[k].phase == SEALING && s->nodes[k].target == i);
        while (e < s->n && (s->c[e].marker || s->c[e].loglet != i))
            e++;
        if (!l->used || used || e + 1u == s->n)
            continue;
        if (e < s->n) { /* closed: only what belongs to the log */
            rest = *l;
            rest.sealed = 1;
            rest.sent = rest.acked = rest.limit = (uint8_t)(s->c[e + 1].base - s->c[e].base);
            memset(rest.records + rest.sent, 0, sizeof rest.records - rest.sent);
        }
        if (e == s->n || l->limit <= rest.limit)
            *l = rest;
    }
}

static void canonical(void *state) {
    struct state *s = state, other;

    forget(s);
    other = *s;
    other.nodes[0] = s->nodes[1];
    other.nodes[1] = s->nodes[0];
    for (unsigned i = 0; i < LOGLETS; i++)
        if (other.l[i].owner)
            other.l[i].owner = (uint8_t)(3 - other.l[i].owner);
    if (memcmp(&other, s, sizeof other) < 0)
        *s = other;
}

int main(int argc, char **argv) {
    static const struct model m = {.name = "chain epochs",
                                   .state_bytes = sizeof(struct state),
                                   .first = first,
                                   .next = next,
                                   .check = check,
                                   .canonical = canonical,
                                   .mutants = rules};

    return explore_main(&m, argc, argv);
}
