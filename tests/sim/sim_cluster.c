/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_cluster.c : a cluster of 3 or 5 nodes: what happens next, faults, a run.
 *
 *     sim_cluster --seed S [--trace] | --from S --count N [--jobs J]
 *
 * Faults, while they last: processes are killed, machines lose power (what was not synced is lost in both cases) and
 * start again; links are cut in one direction or both, or slow; connections are reset; nodes are paused; syncs and
 * writes fail, disks are full for a while; wall clocks differ. Checked in every run: what the clients check
 * (sim_clients.c) and sim_check.c checks; after all faults have ended every operation has its result within bounded
 * virtual time, all replicas reach equal LSNs with equal tables, and the chains are short again.
 *
 * Each seed runs in a process of its own: it leaves no memory behind, and a failed assertion is a violation like
 * others.
 */
#include "sim_cluster.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/logging.h"
#include "meta/logs_config.h"
#include "meta/meta.h"

enum { MAX_STEPS = 20000000, CHAIN_LIMIT = 4 };
#define S 1000000000ull
#define MS 1000000ull
#define HEAL_LIMIT (60 * S)

/* ---- what happens next ---- */

enum event_kind { EV_NONE, EV_TURN, EV_JOB, EV_NET, EV_BOOT };
struct event {
    uint64_t at_ns;
    enum event_kind kind;
    struct host *host;
    struct loop *loop;
    struct sim_exec *exec;
    unsigned ties;
};

/* The earliest one; among several at the same time the seed decides. */
static void consider(struct cluster *c, struct event *best, struct event e) {
    if (e.at_ns == UINT64_MAX)
        return;
    e.at_ns = MAX(e.at_ns, c->now_ns);
    e.ties = 1;
    if (e.at_ns < best->at_ns) {
        *best = e;
    } else if (e.at_ns == best->at_ns) {
        e.ties = best->ties + 1;
        if (rng_below(&c->w.rng, e.ties) == 0)
            *best = e;
        else
            best->ties = e.ties;
    }
}

static void consider_host(struct cluster *c, struct event *best, struct host *h) {
    if (h->restart_ns)
        consider(c, best, (struct event){.at_ns = h->restart_ns, .kind = EV_BOOT, .host = h});
    if (!h->loop)
        return;
    consider(
        c, best,
        (struct event){.at_ns = MAX(loop_next_ns(h->loop), h->paused_ns), .kind = EV_TURN, .host = h, .loop = h->loop});
    for (unsigned i = 0; i < ARRAY_SIZE(h->writers) + 1; i++) {
        struct sim_exec *x = i < ARRAY_SIZE(h->writers) ? &h->writers[i] : &h->pool;

        if (!list_empty(&x->jobs))
            consider(c, best,
                     (struct event){.at_ns = MAX(x->due_ns, h->paused_ns), .kind = EV_JOB, .host = h, .exec = x});
    }
}

static void step(struct cluster *c) {
    struct event e = {.at_ns = UINT64_MAX};

    for (unsigned i = 0; i < c->n; i++)
        consider_host(c, &e, &c->hosts[i]);
    consider(c, &e, (struct event){.at_ns = net_next_ns(&c->net), .kind = EV_NET});
    consider(c, &e, (struct event){.at_ns = loop_next_ns(c->service_loop), .kind = EV_TURN, .loop = c->service_loop});
    ASSERT(e.kind != EV_NONE);
    c->now_ns = e.at_ns;
    switch (e.kind) {
    case EV_TURN:
        (void)loop_turn(e.loop);
        break;
    case EV_JOB:
        sim_exec_run(e.exec);
        break;
    case EV_NET:
        net_step(&c->net);
        break;
    case EV_BOOT:
        host_boot(e.host);
        break;
    default:
        break;
    }
    if (e.host && e.host->failure[0]) {
        host_crash(e.host, false);
        e.host->restart_ns = c->now_ns + 100 * MS + rng_below(&c->w.rng, 400 * MS);
    }
}

/* ---- the service is registered once; again after a failure ---- */

static void on_registered(void *arg, int status, uint32_t version, const struct err *err) {
    ((struct sim_node *)arg)->registering = false;
}

static void register_service(struct cluster *c) {
    for (unsigned i = 0; i < c->n; i++) {
        struct host *h = &c->hosts[i];
        char *text;

        if (!h->loop || !h->node->worker || h->node->registering || meta_version(h->node->meta, META_KEY_SCHEMA))
            continue;
        h->node->registering = true;
        text = sim_schema();
        meta_cas(h->node->meta, META_KEY_SCHEMA, 0, slice_str(text), c->now_ns + 5 * S, on_registered, h->node);
        free(text);
    }
}

/* ---- faults: each kind strikes about once per its interval ---- */

enum fault { F_KILL, F_POWER, F_CUT, F_MEND, F_SLOW, F_RESET, F_PAUSE, F_DISK, F_OPERATE, F_SUMS, N_FAULTS };
struct plan {
    uint64_t interval_ns[N_FAULTS], next_ns[N_FAULTS]; /* interval 0: never */
    uint64_t end_ns;
};

static void make_plan(struct cluster *c, struct plan *p) {
    static const uint64_t shortest_ms[N_FAULTS] = {
        [F_KILL] = 700,  [F_POWER] = 1000, [F_CUT] = 500,   [F_MEND] = 300,    [F_SLOW] = 1000,
        [F_RESET] = 200, [F_PAUSE] = 800,  [F_DISK] = 1500, [F_OPERATE] = 100, [F_SUMS] = 60};
    struct rng *r = &c->w.rng;

    *p = (struct plan){.end_ns = c->now_ns + 4 * S + rng_below(r, 12 * S)};
    for (int f = 0; f < N_FAULTS; f++) {
        p->interval_ns[f] = rng_chance(r, 500) ? (shortest_ms[f] + rng_below(r, 4 * shortest_ms[f])) * MS : 0;
        p->next_ns[f] = c->now_ns + rng_below(r, 4 * S);
    }
    p->interval_ns[F_MEND] = (300 + rng_below(r, 2000)) * MS;
    p->interval_ns[F_SUMS] = 60 * MS;
}

static void crash(struct cluster *c, struct host *h, bool power) {
    if (!h->loop)
        return;
    c->crashes++;
    host_crash(h, power);
    h->restart_ns = c->now_ns + rng_below(&c->w.rng, rng_chance(&c->w.rng, 300) ? 3 * S : 300 * MS);
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
    case F_OPERATE:
        clients_operate(&c->clients);
        break;
    default:
        check_sums(c);
    }
}

static void misbehave(struct cluster *c, struct plan *p) {
    for (int f = 0; f < N_FAULTS; f++) {
        if (!p->interval_ns[f] || p->next_ns[f] > c->now_ns)
            continue;
        p->next_ns[f] = c->now_ns + p->interval_ns[f] / 2 + rng_below(&c->w.rng, p->interval_ns[f]);
        strike(c, (enum fault)f);
    }
}

/* ---- a run ---- */

static void heal(struct cluster *c) {
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
}

static bool run_until(struct cluster *c, bool (*done)(struct cluster *), uint64_t limit_ns) {
    for (unsigned i = 0; i < MAX_STEPS && !c->w.violation[0] && c->now_ns < limit_ns; i++) {
        if ((i & 15) == 0) {
            clients_drive(&c->clients);
            register_service(c);
        }
        if ((i & 255) == 0) {
            check_step(c);
            if (done && done(c))
                return true;
        }
        step(c);
    }
    return !done && !c->w.violation[0];
}

static bool operations_done(struct cluster *c) {
    return clients_done(&c->clients);
}

static bool counters_read(struct cluster *c) {
    return clients_have_read(&c->clients);
}

/* Trimming follows the replicas' durable LSNs: what leaders that came and went left behind leaves the chains. */
static bool chains_short(struct cluster *c) {
    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++) {
        const struct chain *chain = c->checks.logs ? logs_config_chain(c->checks.logs, p) : NULL;

        if (!chain || chain->n > CHAIN_LIMIT)
            return false;
    }
    return true;
}

static void check_healed(struct cluster *c) {
    uint64_t limit = c->now_ns + HEAL_LIMIT;

    while (!run_until(c, operations_done, c->now_ns + HEAL_LIMIT / 4)) {
        if (c->w.violation[0] || c->now_ns >= limit) {
            clients_unfinished(&c->clients);
            return;
        }
        clients_resume_all(&c->clients);
    }
    (void)run_until(c, NULL, c->now_ns + 5 * S); /* sends and delayed sends arrive */
    clients_read(&c->clients);
    if (!run_until(c, counters_read, c->now_ns + HEAL_LIMIT)) {
        violated(&c->w, "the counters cannot be read");
        return;
    }
    clients_check(&c->clients);
    if (!run_until(c, check_converged, c->now_ns + HEAL_LIMIT))
        check_unconverged(c);
    (void)run_until(c, NULL, c->now_ns + 1 * S); /* checksums come in */
    if (!c->early && !run_until(c, chains_short, c->now_ns + HEAL_LIMIT))
        violated(&c->w, "a chain stays longer than %u segments", CHAIN_LIMIT);
}

static struct worker *worker_of(struct world *w) {
    struct cluster *c = CONTAINER_OF(w, struct cluster, w);
    struct host *h = &c->hosts[rng_below(&w->rng, c->n)];

    return host_serves(h) ? h->node->worker : NULL;
}

static uint64_t service_mono(void *arg) {
    return ((struct cluster *)arg)->now_ns;
}
static uint64_t service_wall(void *arg) {
    return SIM_WALL_NS + ((struct cluster *)arg)->now_ns;
}
static void service_random(void *arg, void *buf, size_t len) {
    memset(buf, 0, len);
}

static void cluster_init(struct cluster *c, uint64_t seed, bool trace) {
    c->w = (struct world){.rng = {seed * 0x9e3779b97f4a7c15u + 1},
                          .seed = seed,
                          .trace = trace,
                          .clock = &c->now_ns,
                          .worker = worker_of,
                          .patience_ns = 4 * S};
    c->now_ns = 1 * S;
    c->n = rng_chance(&c->w.rng, 200) ? 5 : 3;
    c->copies = c->n == 5 && rng_chance(&c->w.rng, 500) ? 3 : 2;
    c->early = rng_chance(&c->w.rng, 200);
    clients_plan(&c->clients, &c->w);
    c->clients.start_rate = 2;
    net_init(&c->net, &c->w);
    c->service_env = (struct loop_env){service_mono, service_wall, service_random, c};
    c->service_loop = loop_new_driven(&c->service_env);
    net_boot(&c->net.hosts[0], c->service_loop);
    c->service = (struct sim_service){&c->w, net_transport(&c->net.hosts[0]), c->service_loop};
    sim_service_start(&c->service);
    for (unsigned i = 0; i < c->n; i++) {
        host_init(&c->hosts[i], c, i + 1);
        c->hosts[i].restart_ns = c->now_ns + rng_below(&c->w.rng, 500 * MS);
    }
}

static bool run_seed(uint64_t seed, bool trace) {
    struct cluster *c = xnew(struct cluster);
    struct plan plan;

    cluster_init(c, seed, trace);
    if (!c->early && !run_until(c, check_converged, c->now_ns + HEAL_LIMIT))
        violated(&c->w, "the cluster does not form");
    make_plan(c, &plan);
    for (unsigned i = 0; i < MAX_STEPS && c->now_ns < plan.end_ns && !c->w.violation[0]; i++) {
        if ((i & 15) == 0) {
            clients_drive(&c->clients);
            register_service(c);
            misbehave(c, &plan);
        }
        if ((i & 255) == 0)
            check_step(c);
        step(c);
    }
    heal(c);
    if (!c->w.violation[0])
        check_healed(c);
    if (c->w.violation[0] || trace)
        (void)printf(
            "seed %llu: %s (%u nodes, %u crashes, %u cuts, %u pauses, %u slow links, %u disk faults, chain %u, "
            "%u checksums compared, %.1f s)\n",
            (unsigned long long)seed, c->w.violation[0] ? c->w.violation : "ok", c->n, c->crashes, c->cuts, c->pauses,
            c->slow_links, c->disk_faults, c->checks.longest_chain, c->checks.compared, (double)c->now_ns / 1e9);
    return !c->w.violation[0];
}

/* In a child: 0 no violation. */
static pid_t start_seed(uint64_t seed) {
    pid_t pid;

    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        bool ok = run_seed(seed, false);

        (void)fflush(stdout);
        _exit(ok ? 0 : 1);
    }
    return pid;
}

static unsigned run_many(uint64_t from, uint64_t count, unsigned jobs, bool stop_at_first) {
    uint64_t next = from, seeds[64];
    pid_t pids[64] = {0};
    unsigned running = 0, failed = 0;
    int status;

    while (running || (next < from + count && !(stop_at_first && failed))) {
        if (running < jobs && next < from + count && !(stop_at_first && failed)) {
            unsigned i = 0;

            while (pids[i])
                i++;
            seeds[i] = next++;
            pids[i] = start_seed(seeds[i]);
            running++;
            continue;
        }
        pid_t pid = wait(&status);

        for (unsigned i = 0; i < jobs; i++) {
            if (pids[i] != pid)
                continue;
            pids[i] = 0;
            running--;
            failed += status != 0;
            if (WIFSIGNALED(status))
                (void)printf("seed %llu: ended by signal %d\n", (unsigned long long)seeds[i], WTERMSIG(status));
        }
    }
    return failed;
}

int main(int argc, char **argv) {
    uint64_t from = 1, count = 1, jobs = 1;
    bool trace = false, mutant = false;
    unsigned failed;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (strcmp(argv[i], "--mutant") == 0)
            mutant = true; /* success is a violation found */
        else if (i + 1 < argc && (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--from") == 0))
            from = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--count") == 0)
            count = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--jobs") == 0)
            jobs = strtoull(argv[++i], NULL, 10);
        else {
            (void)fprintf(stderr, "usage: sim_cluster --seed S [--trace] | --from S --count N [--jobs J] [--mutant]\n");
            return 2;
        }
    }
    logging_set_level(trace ? RS_LOG_WARN : 0);
    if (trace)
        return run_seed(from, true) ? 0 : 1;
    failed = run_many(from, count, (unsigned)MIN(MAX(jobs, 1u), 64u), mutant);
    (void)printf("%llu seeds, %u violations\n", (unsigned long long)count, failed);
    return mutant ? !failed : failed != 0;
}
