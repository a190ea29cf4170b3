/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_silent.c : how long clients wait when a node fails without a word: three nodes and a steady flow of
 * calls, one fault or two in a row, on different nodes or the same one, never two at a time.
 *
 * Clients let go of an attempt after a second and ask the next node. Checked: no client waits as long as LIMIT,
 * measured from one answer to the next, whatever the fault and however long it lasts; and leaders do not move back and
 * forth. Time is virtual: a violation is the server's doing, not the machine's. */
#include "sim_cluster.h"

#include <stdio.h>

#include "meta/epoch_metadata.h"
#include "meta/logs_config.h"
#include "proto/command.h"

enum {
    CALLERS = 6,
    ROUNDS = 4,
    MOST_LEADS = 8 /* of both partitions in a round: away from who is silent, and back, twice */
};
#define S 1000000000ull
#define MS 1000000ull
#define PATIENCE (1 * S)
#define PAUSE (150 * MS) /* a follower that must read its tables from disk keeps up */
#define LIMIT (4 * S)
#define FORM_LIMIT (60 * S)

enum silent { NOTHING, KILLED, PAUSED, CUT, MUTE, DEAF, ISOLATED, N_SILENT };
static const char *const names[] = {"nothing", "kill", "pause", "cut", "mute", "deaf", "isolated"};

struct caller {
    struct worker_call call;
    struct silence *s;
    struct worker *worker; /* who was asked; NULL: nobody can hear it */
    unsigned n, at, calls; /* at: index of the host it asks */
    bool waiting;
    uint64_t asked_ns, next_ns, answered_ns, worst_ns;
};
struct silence {
    struct cluster *c;
    struct caller callers[CALLERS];
    unsigned bad; /* index of the host that has the fault */
    enum silent kind;
    char story[160];
    uint32_t placement[CLUSTER_PARTITIONS]; /* versions of the replica sets */
};

/* ---- callers ---- */

static void on_answer(struct worker_call *call, const struct worker_reply *r) {
    struct caller *k = CONTAINER_OF(call, struct caller, call);
    struct cluster *c = k->s->c;
    uint64_t wait = c->now_ns - k->answered_ns;

    k->waiting = false;
    if (r->code != WORKER_OK || !r->result || r->result->failure) {
        k->at = (k->at + 1) % c->n;
        return;
    }
    k->worst_ns = MAX(k->worst_ns, wait - MIN(wait, PAUSE));
    k->answered_ns = c->now_ns;
    k->next_ns = c->now_ns + PAUSE;
    k->calls++;
}

static void ask(struct caller *k, struct worker *w) {
    struct cmd_invoke cmd = {.completion_retention_ms = 86400000};
    struct cmd_target target = {
        .type = TARGET_OBJECT_EXCLUSIVE, .service = SLICE_LIT("Counter"), .handler = SLICE_LIT("add")};
    struct id_target t = {.type = target.type, .service = target.service, .handler = target.handler};
    struct invocation_id id;
    uint8_t random[ID_RANDOM_BYTES] = {0};
    char key[16], idem[32];

    (void)snprintf(key, sizeof key, "s%u", k->n);
    (void)snprintf(idem, sizeof idem, "s%u-%u", k->n, k->calls);
    target.key = t.key = cmd.argument = slice_str(key);
    cmd.idempotency_key = t.idem_key = slice_str(idem);
    (void)invocation_id_derive(&t, 0, random, &id);
    cmd.target = &target;
    cmd.id = invocation_id_slice(&id);
    k->call = (struct worker_call){.done = on_answer};
    worker_call_invoke(w, &k->call, &cmd, true);
}

/* One that cannot be reached takes the call as far as the client can tell; one whose process is gone refuses it. */
static void call_next(struct caller *k) {
    struct cluster *c = k->s->c;
    struct host *h = &c->hosts[k->at];
    bool silent = k->at == k->s->bad && (k->s->kind == PAUSED || k->s->kind == CUT);

    if (!silent && !host_serves(h)) {
        k->at = (k->at + 1) % c->n;
        k->next_ns = c->now_ns + 10 * MS;
        return;
    }
    k->waiting = true;
    k->asked_ns = c->now_ns;
    k->worker = silent ? NULL : h->node->worker;
    if (k->worker)
        ask(k, k->worker);
}

static void drive(struct silence *s) {
    for (unsigned i = 0; i < CALLERS; i++) {
        struct caller *k = &s->callers[i];
        struct host *h = &s->c->hosts[k->at];

        if (k->waiting && k->worker && (!h->loop || h->node->worker != k->worker)) { /* the process is gone */
            k->waiting = false;
            k->at = (k->at + 1) % s->c->n;
        } else if (k->waiting && s->c->now_ns - k->asked_ns > PATIENCE) {
            if (k->worker)
                worker_call_drop(k->worker, &k->call);
            k->waiting = false;
            k->at = (k->at + 1) % s->c->n;
        }
        if (!k->waiting && s->c->now_ns >= k->next_ns)
            call_next(k);
    }
}

/* For --trace: who is where when a client has waited for too long. */
static void tell_roles(const struct cluster *c) {
    struct partition_info info;

    for (unsigned i = 0; i < c->n; i++)
        for (size_t p = 0; host_serves(&c->hosts[i]) && p < worker_partitions(c->hosts[i].node->worker); p++) {
            worker_partition_info(c->hosts[i].node->worker, p, &info);
            world_trace(&c->w, "%s: partition %u: role %d, wanted %d, epoch %llu, applied %llu of %llu, %s",
                        c->hosts[i].name, info.id, (int)info.role, info.lead_wanted, (unsigned long long)info.epoch,
                        (unsigned long long)info.applied, (unsigned long long)info.target_tail,
                        info.error ? info.error : "");
        }
}

static void check(struct silence *s) {
    for (unsigned i = 0; i < CALLERS; i++) {
        struct caller *k = &s->callers[i];

        if (s->c->now_ns - k->answered_ns < LIMIT + PAUSE)
            continue;
        tell_roles(s->c);
        violated(&s->c->w, "client %u has waited for %.1f s: %s", k->n, (double)(s->c->now_ns - k->answered_ns) / 1e9,
                 s->story);
        return;
    }
}

/* ---- faults ---- */

static void cut_links(struct cluster *c, unsigned id, bool out, bool in, bool one) {
    for (unsigned i = 1; i <= c->n; i++) {
        if (i == id || (one && i != id % c->n + 1))
            continue;
        c->net.cut[id][i] = out;
        c->net.cut[i][id] = in;
    }
}

static void begin(struct silence *s, enum silent kind, unsigned index) {
    struct cluster *c = s->c;
    struct host *h = &c->hosts[index];
    size_t len = strlen(s->story);

    s->kind = kind;
    s->bad = index;
    tell_roles(c);
    world_trace(&c->w, "%s: %s", h->name, names[kind]);
    (void)snprintf(s->story + len, sizeof s->story - len, " %.2f s %s %s,", (double)c->now_ns / 1e9, names[kind],
                   h->name);
    if (kind == KILLED)
        host_crash(h, false);
    else if (kind == PAUSED)
        h->paused_ns = UINT64_MAX;
    else if (kind == MUTE || kind == DEAF)
        cut_links(c, h->id, true, false, kind == DEAF);
    else if (kind == CUT || kind == ISOLATED)
        cut_links(c, h->id, true, true, false);
    if (kind == CUT) /* from the service, too */
        c->net.cut[h->id][0] = c->net.cut[0][h->id] = true;
}

static void over(struct silence *s) {
    struct cluster *c = s->c;
    struct host *h = &c->hosts[s->bad];
    size_t len = strlen(s->story);

    world_trace(&c->w, "%s: %s is over", h->name, names[s->kind]);
    (void)snprintf(s->story + len, sizeof s->story - len, " over %.2f s;", (double)c->now_ns / 1e9);
    net_heal(&c->net);
    h->paused_ns = 0;
    if (s->kind == KILLED)
        h->restart_ns = c->now_ns;
    s->kind = NOTHING;
}

/* ---- a run ---- */

static void pass(struct silence *s, uint64_t ns) {
    uint64_t until = s->c->now_ns + ns;

    for (unsigned i = 0; s->c->now_ns < until && !s->c->w.violation[0]; i++) {
        drive(s);
        if ((i & 63) == 0) {
            check(s);
            cluster_register_service(s->c);
        }
        if ((i & 15) == 0)
            check_step(s->c);
        cluster_step(s->c);
    }
}

static void fault(struct silence *s, unsigned index, uint64_t least, uint64_t most) {
    struct rng *r = &s->c->w.rng;
    enum silent kind = (enum silent)(KILLED + rng_below(r, N_SILENT - KILLED));

    begin(s, kind, index);
    pass(s, kind == KILLED ? 50 * MS + rng_below(r, 500 * MS) : least + rng_below(r, most - least));
    over(s);
}

/* Nobody is away for so long that its replicas were to be replaced. */
static void check_placement(struct silence *s) {
    for (unsigned i = 0; i < s->c->n; i++)
        for (partition_id_t p = 0; host_serves(&s->c->hosts[i]) && p < CLUSTER_PARTITIONS; p++) {
            struct epoch_metadata e;

            if (epoch_metadata_get(s->c->hosts[i].node->meta, p, &e, NULL) == 0 &&
                (e.next.version || e.current.version > s->placement[p]))
                violated(&s->c->w, "partition %u has other replicas: %s", p, s->story);
        }
}

static void round_of_faults(struct silence *s) {
    struct rng *r = &s->c->w.rng;
    unsigned first = (unsigned)rng_below(r, s->c->n);

    size_t led = s->c->checks.n_leads;

    s->story[0] = '\0';
    if (rng_chance(r, 700)) {
        fault(s, first, 200 * MS, 3 * S);
        pass(s, rng_below(r, rng_chance(r, 500) ? 6 * S : 1 * S));
    }
    fault(s, rng_chance(r, 800) ? (first + 1 + (unsigned)rng_below(r, s->c->n - 1)) % s->c->n : first, 1 * S, 9 * S);
    pass(s, 10 * S);
    check_placement(s);
    if (s->c->checks.n_leads - led > MOST_LEADS)
        violated(&s->c->w, "%zu times another leader: %s", s->c->checks.n_leads - led, s->story);
    s->c->w.seen->most_leads = MAX(s->c->w.seen->most_leads, s->c->checks.n_leads - led);
}

/* Every node is a member of everything, and every client has been answered. */
static bool has_formed(const struct silence *s) {
    for (unsigned i = 0; i < CALLERS; i++)
        if (s->callers[i].calls < 3)
            return false;
    for (unsigned i = 0; i < s->c->n; i++)
        if (!operator_knows(s->c, &s->c->hosts[i]))
            return false;
    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++) {
        const struct chain *chain = logs_config_chain(s->c->checks.logs, p);

        if (chain_tail(chain)->params.n_nodes < s->c->n)
            return false;
    }
    return true;
}

/* From then on time counts. */
static void form(struct silence *s) {
    uint64_t limit = s->c->now_ns + FORM_LIMIT;

    while (!has_formed(s) && s->c->now_ns < limit && !s->c->w.violation[0]) {
        for (unsigned i = 0; i < CALLERS; i++)
            s->callers[i].answered_ns = s->c->now_ns;
        pass(s, 100 * MS);
    }
    if (s->c->now_ns >= limit)
        violated(&s->c->w, "the cluster does not form");
    for (unsigned i = 0; i < CALLERS; i++)
        s->callers[i].worst_ns = 0;
    for (partition_id_t p = 0; p < CLUSTER_PARTITIONS; p++) {
        struct epoch_metadata e = {0};

        if (epoch_metadata_get(s->c->hosts[0].node->meta, p, &e, NULL) == 0)
            s->placement[p] = e.current.version;
    }
}

uint64_t silent_run(struct cluster *c) {
    struct silence s = {.c = c};
    uint64_t worst = 0;

    for (unsigned i = 0; i < CALLERS; i++)
        s.callers[i] = (struct caller){.s = &s, .n = i, .at = i % c->n};
    form(&s);
    for (unsigned i = 0; i < ROUNDS && !c->w.violation[0]; i++)
        round_of_faults(&s);
    for (unsigned i = 0; i < CALLERS; i++)
        worst = MAX(worst, s.callers[i].worst_ns);
    return worst;
}
