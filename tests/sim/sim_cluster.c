/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_cluster.c : a cluster of 3, 5 or 7 nodes: what happens next, a run.
 *
 *     sim_cluster --seed S [--trace] | --from S --count N [--jobs J] [--mutant] [--all-commands] [--silent]
 *
 * Faults, while they last (sim_faults.c): processes are killed or stopped, machines lose power, sometimes all at
 * once (what was not synced is lost in all of the hard cases), and start again; one node loses its whole disk; links
 * are cut in one direction or both, or slow; connections are reset; nodes are paused; syncs and writes fail, disks are
 * full for a while; clocks differ and drift. An operator (sim_operator.c) changes the replication of logs, trims and
 * reconfigures them, drains nodes, pins and freezes leaders, moves replicas. A store may be opened by another engine at
 * every start; all the simulated ones keep the same rows, so "another" means: with or without cached reads, which is
 * where the server's paths part. A start on an engine of another format is a conversion: tests/e2e/convert.sh.
 *
 * Checked in every run: what the clients check (sim_clients.c) and sim_check.c checks; after all faults have ended
 * every operation has its result within bounded virtual time, all replicas reach equal LSNs with equal tables, and the
 * chains are short again.
 *
 * --silent: nothing but nodes that fall silent, and how long clients wait then (sim_silent.c).
 *
 * Each seed runs in a process of its own: it leaves no memory behind, and a failed assertion is a violation like
 * others. */
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

enum event_kind { EV_NONE, EV_TURN, EV_JOB, EV_NET, EV_BOOT, EV_END };
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
    if (h->end_ns)
        consider(c, best, (struct event){.at_ns = h->end_ns, .kind = EV_END, .host = h});
    consider(c, best,
             (struct event){.at_ns = MAX(host_next_ns(h), h->paused_ns), .kind = EV_TURN, .host = h, .loop = h->loop});
    for (unsigned i = 0; i < HOST_EXECS; i++) {
        struct sim_exec *x = &h->execs[i];

        if (!list_empty(&x->jobs))
            consider(c, best,
                     (struct event){.at_ns = MAX(x->due_ns, h->paused_ns), .kind = EV_JOB, .host = h, .exec = x});
    }
}

void cluster_step(struct cluster *c) {
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
    case EV_END:
        host_crash(e.host, false);
        e.host->restart_ns = c->now_ns + rng_below(&c->w.rng, 2 * S);
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

void cluster_register_service(struct cluster *c) {
    for (unsigned i = 0; i < c->n; i++) {
        struct host *h = &c->hosts[i];
        char *text;

        if (!h->loop || h->node->stopping || !h->node->worker || h->node->registering ||
            meta_version(h->node->meta, META_KEY_SCHEMA))
            continue;
        h->node->registering = true;
        text = sim_schema();
        meta_cas(h->node->meta, META_KEY_SCHEMA, 0, slice_str(text), loop_now_ns(h->loop) + 5 * S, on_registered,
                 h->node);
        free(text);
    }
}

/* ---- a run ---- */

static bool run_until(struct cluster *c, bool (*done)(struct cluster *), uint64_t limit_ns) {
    for (unsigned i = 0; i < MAX_STEPS && !c->w.violation[0] && c->now_ns < limit_ns; i++) {
        if ((i & 15) == 0) {
            clients_drive(&c->clients);
            clients_signal(&c->clients);
            cluster_register_service(c);
            faults_strike(c);
        }
        if ((i & 255) == 0) {
            check_step(c);
            if (done && done(c))
                return true;
        }
        cluster_step(c);
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
    if (!run_until(c, chains_short, c->now_ns + HEAL_LIMIT))
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

static void cluster_init(struct cluster *c, uint64_t seed, bool trace, struct seen *seen) {
    c->w = (struct world){.rng = {seed * 0x9e3779b97f4a7c15u + 1},
                          .seed = seed,
                          .trace = trace,
                          .seen = seen,
                          .clock = &c->now_ns,
                          .worker = worker_of,
                          .patience_ns = 4 * S};
    c->now_ns = 1 * S;
    c->n = rng_chance(&c->w.rng, 750) ? 3 : rng_chance(&c->w.rng, 750) ? 5 : 7;
    c->copies = c->n > 3 && rng_chance(&c->w.rng, 500) ? 3 : 2;
    c->early = rng_chance(&c->w.rng, 200);
    c->replicas = c->n > 3 && rng_chance(&c->w.rng, 500) ? CLUSTER_REPLICAS : 0;
    c->flapping = rng_chance(&c->w.rng, 100);
    c->replace_delay_ns = (rng_chance(&c->w.rng, 500) ? 2 : 30) * S;
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

static bool run_silent(uint64_t seed, bool trace, struct seen *seen) {
    struct cluster *c = xnew(struct cluster);
    uint64_t worst;

    cluster_init(c, seed, trace, seen);
    c->n = 3;
    c->copies = 2;
    c->replicas = rng_chance(&c->w.rng, 500) ? 2 : 0;
    c->replace_delay_ns = 30 * S;
    c->w.faults = (struct faults){0};
    worst = silent_run(c);
    seen->longest_wait_ns = MAX(seen->longest_wait_ns, worst);
    if (c->w.violation[0] || trace)
        (void)printf("seed %llu: %s (longest wait %.2f s, %.1f s)\n", (unsigned long long)seed,
                     c->w.violation[0] ? c->w.violation : "ok", (double)worst / 1e9, (double)c->now_ns / 1e9);
    return !c->w.violation[0];
}

static bool run_seed(uint64_t seed, bool trace, struct seen *seen) {
    struct cluster *c = xnew(struct cluster);

    cluster_init(c, seed, trace, seen);
    if (!c->early && !run_until(c, check_converged, c->now_ns + HEAL_LIMIT))
        violated(&c->w, "the cluster does not form");
    faults_plan(c);
    (void)run_until(c, NULL, c->plan.end_ns);
    faults_heal(c);
    if (!c->w.violation[0])
        check_healed(c);
    if (c->w.violation[0] || trace)
        (void)printf(
            "seed %llu: %s (%u nodes, %u crashes, %u cuts, %u pauses, %u slow links, %u disk faults, chain %u, "
            "%u orders, %zu leaders, %u checksums compared, %.1f s)\n",
            (unsigned long long)seed, c->w.violation[0] ? c->w.violation : "ok", c->n, c->crashes, c->cuts, c->pauses,
            c->slow_links, c->disk_faults, c->checks.longest_chain, c->orders, c->checks.n_leads, c->checks.compared,
            (double)c->now_ns / 1e9);
    return !c->w.violation[0];
}

typedef bool (*run_fn)(uint64_t seed, bool trace, struct seen *seen);

/* In a child: 0 no violation. */
static pid_t start_seed(run_fn run, uint64_t seed, struct seen *seen) {
    pid_t pid;

    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        bool ok = run(seed, false, seen);

        (void)fflush(stdout);
        _exit(ok ? 0 : 1);
    }
    return pid;
}

static unsigned run_many(run_fn run, uint64_t from, uint64_t count, unsigned jobs, bool stop_at_first,
                         struct seen *seen) {
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
            pids[i] = start_seed(run, seeds[i], seen);
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
    bool trace = false, mutant = false, all = false;
    struct seen *seen = seen_new();
    run_fn run = run_seed;
    unsigned failed;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (strcmp(argv[i], "--mutant") == 0)
            mutant = true; /* success is a violation found */
        else if (strcmp(argv[i], "--all-commands") == 0)
            all = true; /* every command must have been applied in one of the seeds */
        else if (strcmp(argv[i], "--silent") == 0)
            run = run_silent;
        else if (i + 1 < argc && (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--from") == 0))
            from = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--count") == 0)
            count = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--jobs") == 0)
            jobs = strtoull(argv[++i], NULL, 10);
        else {
            (void)fprintf(
                stderr,
                "usage: sim_cluster --seed S [--trace] | --from S --count N [--jobs J] [--mutant] [--all-commands] "
                "[--silent]\n");
            return 2;
        }
    }
    logging_set_level(trace ? RS_LOG_INFO : 0);
    if (trace)
        return run(from, true, seen) ? 0 : 1;
    failed = run_many(run, from, count, (unsigned)MIN(MAX(jobs, 1u), 64u), mutant, seen);
    (void)printf("%llu seeds, %u violations\n", (unsigned long long)count, failed);
    if (run == run_silent)
        (void)printf("longest wait of a client: %.2f s, at most %llu leaders in a round\n",
                     (double)seen->longest_wait_ns / 1e9, (unsigned long long)seen->most_leads);
    if (all)
        failed += !seen_everything(seen);
    return mutant ? !failed : failed != 0;
}
