/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery of a loglet (spec cluster.md §10): three log-servers, two copies, one sequencer with two records, two
 * recoverers that do not know of each other, one reader whose view of the chain may be old. Every order of messages,
 * losses included: what is not delivered stays possible for ever.
 *
 * Shows why nobody but the sequencer and the chain may raise the global tail (§10.4): the rule of the mutant
 * "recovery-advertises-its-tail" is the obvious one, and lets a reader deliver what never happened. */
#include "explore.h"

enum { SERVERS = 3, COPIES = 2, F_MAJORITY = 2, RECORDS = 2, RECOVERERS = 2 };

enum rule {
    TRUE_RULE,
    RECOVERY_ADVERTISES,
    NO_REPAIR,
    SEAL_ONE,
    IGNORE_LOCAL_TAILS,
    SEALED_TAKES_STORES,
};
static const char *const rules[] = {"true-rule",
                                    "recovery-advertises-its-tail",
                                    "no-repair",
                                    "one-sealed-server-is-enough",
                                    "local-tails-do-not-count",
                                    "sealed-servers-take-stores",
                                    NULL};

enum phase { SEALING, REPAIRING, PROPOSING, OVER };
struct server {
    uint8_t stored;   /* bit per offset */
    uint8_t answered; /* bit per offset: the sequencer may get an Ok */
    uint8_t tail, global_tail;
    uint8_t sealed;
};
struct recoverer {
    uint8_t phase, answers;
    uint8_t tails[SERVERS];
    uint8_t global_tail, proposed, holders;
};
struct state {
    struct server s[SERVERS];
    uint8_t next, committed;   /* of the sequencer */
    uint8_t acks[RECORDS + 1]; /* bit per server, by offset */
    struct recoverer r[RECOVERERS];
    uint8_t chain_tail; /* 0: open */
    uint8_t reader_knows, delivered;
};

static void raise(uint8_t *tail, uint8_t to) {
    if (to > *tail)
        *tail = to;
}
static unsigned count(unsigned mask) {
    return (unsigned)__builtin_popcount(mask);
}

static void first(void *state, unsigned mutant) {
    struct state *s = state;

    (void)mutant;
    s->next = s->committed = 1;
    for (int i = 0; i < SERVERS; i++)
        s->s[i].tail = s->s[i].global_tail = 1;
    for (int k = 0; k < RECOVERERS; k++)
        s->r[k].global_tail = 1;
}

/* ---- the sequencer and the log-servers ---- */

static void store(struct explore *x, const struct state *from, unsigned o, unsigned i, unsigned mutant) {
    struct state s = *from;
    struct server *v = &s.s[i];

    raise(&v->global_tail, s.committed);
    if (v->sealed && mutant != SEALED_TAKES_STORES)
        return;
    if (o > v->tail && o > v->global_tail)
        return; /* out of bounds: asked again later */
    if (o >= v->tail) {
        v->stored |= (uint8_t)(1u << o);
        v->tail = (uint8_t)(o + 1);
    }
    v->answered |= (uint8_t)(1u << o);
    explore_add(x, &s, "server %u takes record %u", i, o);
}

static void sequencer(struct explore *x, const struct state *from, unsigned mutant) {
    struct state s = *from;

    if (from->next <= RECORDS) {
        s.next++;
        explore_add(x, &s, "sequencer sends record %u", from->next);
    }
    for (unsigned i = 0; i < SERVERS; i++) {
        for (unsigned o = 1; o < from->next; o++) {
            store(x, from, o, i, mutant);
            if (!(from->s[i].answered >> o & 1) || (from->acks[o] >> i & 1))
                continue;
            s = *from;
            s.acks[o] |= (uint8_t)(1u << i);
            while (s.committed < s.next && count(s.acks[s.committed]) >= COPIES)
                s.committed++;
            explore_add(x, &s, "sequencer hears Ok for %u of server %u", o, i);
        }
        s = *from;
        raise(&s.s[i].global_tail, s.committed);
        explore_add(x, &s, "server %u hears of tail %u", i, s.committed);
        if (from->chain_tail) {
            s = *from;
            raise(&s.s[i].global_tail, s.chain_tail);
            explore_add(x, &s, "server %u reads the chain", i);
        }
    }
}

/* ---- recovery ---- */

static void recovered(struct state *s, struct recoverer *r, unsigned mutant) {
    r->phase = PROPOSING;
    for (unsigned i = 0; mutant == RECOVERY_ADVERTISES && i < SERVERS; i++)
        if (r->answers >> i & 1)
            raise(&s->s[i].global_tail, r->proposed);
}

static bool has_range(const struct state *s, unsigned i, unsigned from, unsigned until) {
    for (unsigned o = from; o < until; o++)
        if (!(s->s[i].stored >> o & 1))
            return false;
    return true;
}

/* Enough are sealed: the tail, and who has everything up to it. */
static void conclude(struct explore *x, const struct state *from, unsigned k, unsigned mutant) {
    struct state s = *from;
    struct recoverer *r = &s.r[k];
    unsigned complete = 0;

    if (count(r->answers) < (mutant == SEAL_ONE ? 1u : F_MAJORITY))
        return;
    r->proposed = r->global_tail;
    for (unsigned i = 0; i < SERVERS; i++)
        if ((r->answers >> i & 1) && mutant != IGNORE_LOCAL_TAILS)
            raise(&r->proposed, r->tails[i]);
    for (unsigned i = 0; i < SERVERS; i++)
        complete += (r->answers >> i & 1) && r->tails[i] >= r->proposed;
    r->phase = REPAIRING;
    r->holders = 0;
    for (unsigned i = 0; i < SERVERS; i++)
        if ((r->answers >> i & 1) && has_range(&s, i, r->global_tail, r->proposed))
            r->holders |= (uint8_t)(1u << i);
    if (r->proposed <= r->global_tail || complete >= COPIES || mutant == NO_REPAIR)
        recovered(&s, r, mutant);
    explore_add(x, &s, "recoverer %u finds tail %u", k, r->proposed);
}

static void repair(struct explore *x, const struct state *from, unsigned k, unsigned i, unsigned mutant) {
    struct state s = *from;
    struct recoverer *r = &s.r[k];
    struct server *v = &s.s[i];

    if (!(r->answers >> i & 1) || (r->holders >> i & 1))
        return;
    for (unsigned o = r->global_tail; o < r->proposed; o++) {
        bool found = false;

        for (unsigned j = 0; j < SERVERS; j++)
            found = found || ((r->answers >> j & 1) && (s.s[j].stored >> o & 1));
        if (!found)
            return;
        v->stored |= (uint8_t)(1u << o);
    }
    raise(&v->tail, r->proposed);
    if (mutant == RECOVERY_ADVERTISES)
        raise(&v->global_tail, r->proposed);
    r->holders |= (uint8_t)(1u << i);
    if (count(r->holders) >= COPIES)
        recovered(&s, r, mutant);
    explore_add(x, &s, "recoverer %u repairs server %u up to %u", k, i, r->proposed);
}

static void recoverer(struct explore *x, const struct state *from, unsigned k, unsigned mutant) {
    const struct recoverer *r = &from->r[k];
    struct state s;

    switch ((enum phase)r->phase) {
    case SEALING:
        for (unsigned i = 0; i < SERVERS; i++) {
            if (r->answers >> i & 1)
                continue;
            s = *from;
            s.s[i].sealed = 1;
            raise(&s.s[i].global_tail, r->global_tail);
            s.r[k].answers |= (uint8_t)(1u << i);
            s.r[k].tails[i] = s.s[i].tail;
            raise(&s.r[k].global_tail, s.s[i].global_tail);
            explore_add(x, &s, "recoverer %u seals server %u", k, i);
        }
        conclude(x, from, k, mutant);
        break;
    case REPAIRING:
        for (unsigned i = 0; i < SERVERS; i++)
            repair(x, from, k, i, mutant);
        break;
    case PROPOSING:
        s = *from;
        if (!s.chain_tail)
            s.chain_tail = r->proposed;
        memset(&s.r[k], 0, sizeof s.r[k]);
        s.r[k].phase = OVER;
        explore_add(x, &s, "recoverer %u proposes tail %u", k, r->proposed);
        break;
    case OVER:
        break;
    }
}

/* ---- the reader ---- */

static void reader(struct explore *x, const struct state *from) {
    struct state s = *from;
    unsigned o = 1;
    bool safe = false;

    if (from->chain_tail && !from->reader_knows) {
        s.reader_knows = 1;
        explore_add(x, &s, "reader reads the chain");
    }
    while (from->delivered >> o & 1)
        o++;
    if (o > RECORDS)
        return;
    if (from->reader_knows)
        safe = o < from->chain_tail;
    for (unsigned i = 0; i < SERVERS && !from->reader_knows; i++)
        safe = safe || from->s[i].global_tail > o;
    for (unsigned i = 0; i < SERVERS && safe; i++) {
        if (!(from->s[i].stored >> o & 1))
            continue;
        s = *from;
        s.delivered |= (uint8_t)(1u << o);
        explore_add(x, &s, "reader delivers record %u", o);
        return;
    }
}

static void next(struct explore *x, const void *state, unsigned mutant) {
    sequencer(x, state, mutant);
    for (unsigned k = 0; k < RECOVERERS; k++)
        recoverer(x, state, k, mutant);
    reader(x, state);
}

static void check(struct explore *x, const void *state, unsigned mutant) {
    const struct state *s = state;

    for (unsigned i = 0; i < SERVERS; i++) {
        const uint8_t g = s->s[i].global_tail;

        if (g > s->committed && g > s->chain_tail &&
            mutant != RECOVERY_ADVERTISES) /* that one shall show what follows */
            explore_violation(x, "server %u believes in tail %u, which nobody acknowledged", i, g);
    }
    if (!s->chain_tail)
        return;
    if (s->committed > s->chain_tail)
        explore_violation(x, "records below %u are acknowledged, the chain ends at %u", s->committed, s->chain_tail);
    for (unsigned o = 1; o <= RECORDS; o++) {
        unsigned copies = 0;

        for (unsigned i = 0; i < SERVERS; i++)
            copies += s->s[i].stored >> o & 1;
        if (o < s->chain_tail && copies < COPIES)
            explore_violation(x, "record %u is part of the log and has %u copies", o, copies);
        if (o >= s->chain_tail && (s->delivered >> o & 1))
            explore_violation(x, "record %u was delivered, the chain ends at %u", o, s->chain_tail);
    }
}

/* ---- servers and recoverers are alike among each other ---- */

/* All that concerns one server. */
struct column {
    struct server s;
    uint8_t bits, tails[RECOVERERS];
};

static void sort_servers(struct state *s) {
    struct column c[SERVERS];

    memset(c, 0, sizeof c);
    for (unsigned i = 0; i < SERVERS; i++) {
        c[i].s = s->s[i];
        for (unsigned o = 1; o <= RECORDS; o++)
            c[i].bits = (uint8_t)(c[i].bits << 1 | (s->acks[o] >> i & 1));
        for (unsigned k = 0; k < RECOVERERS; k++) {
            c[i].bits = (uint8_t)(c[i].bits << 2 | (s->r[k].answers >> i & 1) << 1 | (s->r[k].holders >> i & 1));
            c[i].tails[k] = s->r[k].tails[i];
        }
    }
    for (unsigned i = 1; i < SERVERS; i++)
        for (unsigned j = i; j > 0 && memcmp(&c[j], &c[j - 1], sizeof c[0]) < 0; j--) {
            struct column t = c[j];

            c[j] = c[j - 1];
            c[j - 1] = t;
        }
    memset(s->acks, 0, sizeof s->acks);
    for (unsigned k = 0; k < RECOVERERS; k++)
        s->r[k].answers = s->r[k].holders = 0;
    for (unsigned i = 0; i < SERVERS; i++) {
        unsigned bits = c[i].bits;

        s->s[i] = c[i].s;
        for (unsigned k = RECOVERERS; k-- > 0; bits >>= 2) {
            s->r[k].holders |= (uint8_t)((bits & 1) << i);
            s->r[k].answers |= (uint8_t)((bits >> 1 & 1) << i);
            s->r[k].tails[i] = c[i].tails[k];
        }
        for (unsigned o = RECORDS; o >= 1; o--, bits >>= 1)
            s->acks[o] |= (uint8_t)((bits & 1) << i);
    }
}

static void canonical(void *state) {
    struct state *s = state, other = *s;

    other.r[0] = s->r[1];
    other.r[1] = s->r[0];
    sort_servers(s);
    sort_servers(&other);
    if (memcmp(&other, s, sizeof other) < 0)
        *s = other;
}

int main(int argc, char **argv) {
    static const struct model m = {.name = "loglet recovery",
                                   .state_bytes = sizeof(struct state),
                                   .first = first,
                                   .next = next,
                                   .check = check,
                                   .canonical = canonical,
                                   .mutants = rules};

    return explore_main(&m, argc, argv);
}
