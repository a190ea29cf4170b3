/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_faults.c : what goes wrong, and when: each kind of fault strikes about once per its interval, if the
 * seed wants it at all. */
#include "sim_cluster.h"

enum { FLAPPING_CHAIN = 24 }; /* segments; some four leaders in a second, for a minute */
#define S 1000000000ull
#define MS 1000000ull

void faults_plan(struct cluster *c) {
    static const uint64_t shortest_ms[N_FAULTS] = {
        [F_KILL] = 700,  [F_POWER] = 1000, [F_STOP] = 1000, [F_CUT] = 500,     [F_MEND] = 300,  [F_SLOW] = 1000,
        [F_RESET] = 200, [F_PAUSE] = 800,  [F_DISK] = 1500, [F_PROGRAM] = 100, [F_ORDER] = 300, [F_SUMS] = 60};
    struct plan *p = &c->plan;
    struct rng *r = &c->w.rng;

    *p = (struct plan){.end_ns = c->now_ns + 4 * S + rng_below(r, 12 * S)};
    for (int f = 0; f < N_FAULTS; f++) {
        p->interval_ns[f] = rng_chance(r, 500) ? (shortest_ms[f] + rng_below(r, 4 * shortest_ms[f] + 1)) * MS : 0;
        p->next_ns[f] = c->now_ns + rng_below(r, 4 * S);
    }
    p->interval_ns[F_MEND] = (300 + rng_below(r, 2000)) * MS;
    p->interval_ns[F_SUMS] = 60 * MS;
    p->interval_ns[F_FLAP] = c->flapping ? (100 + rng_below(r, 300)) * MS : 0;
    p->interval_ns[F_BLACKOUT] = rng_chance(r, 200) ? (2 + rng_below(r, 8)) * S : 0;
    p->interval_ns[F_LOSE_DISK] = rng_chance(r, 200) ? 12 * S : 0;
    p->interval_ns[F_REPAIR] = 500 * MS;
    if (c->flapping && rng_chance(r, 500)) { /* nothing but that, for long: the chains must stay short all the time */
        for (int f = 0; f < N_FAULTS; f++)
            if (f != F_FLAP && f != F_SUMS)
                p->interval_ns[f] = 0;
        p->end_ns += 40 * S;
        c->checks.chain_limit = FLAPPING_CHAIN;
    }
}

static void crash(struct cluster *c, struct host *h, bool power) {
    if (!h->loop)
        return;
    c->crashes++;
    host_crash(h, power);
    h->restart_ns = c->now_ns + rng_below(&c->w.rng, rng_chance(&c->w.rng, 300) ? 3 * S : 300 * MS);
}

/* The machine comes back with an empty disk and its old name. Of every record there are at least two copies: this may
 * happen once, while no node is missing its disk. */
static void lose_disk(struct cluster *c, struct host *h) {
    if (c->lost || !operator_knows(c, h))
        return;
    world_trace(&c->w, "%s loses its disk", h->name);
    if (h->loop)
        crash(c, h, true);
    c->lost = h;
    c->repair = REPAIR_REMOVE;
    h->lost_disk = true;
    h->disk = sim_disk_new(rng_next(&c->w.rng));
    h->fingerprint = h->node_id = 0;
    h->restart_ns = c->now_ns + rng_below(&c->w.rng, 2 * S);
}

static void cut(struct cluster *c) {
    unsigned a = 1 + (unsigned)rng_below(&c->w.rng, c->n), b = 1 + (unsigned)rng_below(&c->w.rng, c->n);
    bool alone = rng_chance(&c->w.rng, 300), one_way = rng_chance(&c->w.rng, 400);

    c->cuts++;
    for (unsigned i = 1; i <= c->n; i++) {
        if (i == a || (!alone && i != b))
            continue;
        c->net.cut[a][i] = true;
        c->net.cut[i][a] = c->net.cut[i][a] || !one_way;
        world_trace(&c->w, "link n%u %s n%u is cut", a, one_way ? "->" : "<->", i);
    }
}

static void mend(struct cluster *c) {
    world_trace(&c->w, "links are mended");
    net_heal(&c->net);
}

static void slow_link(struct cluster *c) {
    unsigned a = (unsigned)rng_below(&c->w.rng, c->n + 1), b = (unsigned)rng_below(&c->w.rng, c->n + 1);

    c->slow_links++;
    c->net.slow_ns[a][b] = rng_below(&c->w.rng, 400) * MS;
    world_trace(&c->w, "link %u -> %u takes %llu ms", a, b, (unsigned long long)(c->net.slow_ns[a][b] / MS));
}

static void pause_host(struct cluster *c, struct host *h) {
    c->pauses++;
    h->paused_ns = c->now_ns + rng_below(&c->w.rng, rng_chance(&c->w.rng, 300) ? 4 * S : 500 * MS);
    world_trace(&c->w, "%s is paused until %.3f ms", h->name, (double)h->paused_ns / 1e6);
}

static void break_disk(struct cluster *c, struct host *h) {
    static const enum sim_fault kinds[] = {SIM_FAULT_WRITE_EIO, SIM_FAULT_SYNC, SIM_FAULT_WRITE_ENOSPC};
    enum sim_fault f = kinds[rng_below(&c->w.rng, ARRAY_SIZE(kinds))];

    c->disk_faults++;
    world_trace(&c->w, "the disk of %s fails (%d)", h->name, f);
    sim_disk_fault(h->disk, f, NULL, rng_below(&c->w.rng, 30), f == SIM_FAULT_WRITE_ENOSPC ? 3 : 1);
}

static void strike(struct cluster *c, enum fault f) {
    struct host *h = &c->hosts[rng_below(&c->w.rng, c->n)];

    switch (f) {
    case F_KILL:
    case F_POWER:
        crash(c, h, f == F_POWER);
        break;
    case F_BLACKOUT:
        for (unsigned i = 0; i < c->n; i++)
            crash(c, &c->hosts[i], true);
        break;
    case F_STOP:
        host_stop(h);
        break;
    case F_CUT:
        cut(c);
        break;
    case F_MEND:
        mend(c);
        break;
    case F_SLOW:
        slow_link(c);
        break;
    case F_RESET:
        net_reset_one(&c->net);
        break;
    case F_PAUSE:
        pause_host(c, h);
        break;
    case F_DISK:
        break_disk(c, h);
        break;
    case F_LOSE_DISK:
        lose_disk(c, h);
        break;
    case F_PROGRAM:
        clients_operate(&c->clients);
        break;
    case F_ORDER:
        operator_order(c);
        break;
    case F_FLAP:
        operator_flap(c);
        break;
    case F_REPAIR:
        operator_repair(c);
        if (c->w.healed)
            operator_settle(c);
        break;
    case F_SUMS:
        check_sums(c);
        break;
    case N_FAULTS:
        break;
    }
}

void faults_strike(struct cluster *c) {
    struct plan *p = &c->plan;

    for (int f = 0; f < N_FAULTS; f++) {
        if (!p->interval_ns[f] || p->next_ns[f] > c->now_ns)
            continue;
        p->next_ns[f] = c->now_ns + p->interval_ns[f] / 2 + rng_below(&c->w.rng, p->interval_ns[f]);
        strike(c, (enum fault)f);
    }
}

void faults_heal(struct cluster *c) {
    world_trace(&c->w, "healed");
    c->w.healed = true;
    net_heal(&c->net);
    for (unsigned i = 0; i < c->n; i++) {
        struct host *h = &c->hosts[i];

        h->paused_ns = 0;
        sim_disk_cold(h->disk, 0);
        sim_disk_fault(h->disk, SIM_FAULT_NONE, NULL, 0, 0);
        if (!h->loop && !h->restart_ns)
            h->restart_ns = c->now_ns;
    }
    for (int f = 0; f < N_FAULTS; f++)
        if (f != F_REPAIR)
            c->plan.interval_ns[f] = 0;
}
