/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim.c : a node alone: what happens next, crashes, checks.
 *
 *     sim --seed S [--trace] | --from S --count N
 *
 * Checked in every run: what the clients check (sim_clients.c), within bounded virtual time after the faults end; no
 * partition stops and no store is poisoned, since no disk fault is injected. */
#include "sim_single.h"

#include <stdio.h>

#include "base/logging.h"
#include "worker/partition.h"

enum { MAX_STEPS = 400000 };
#define HEAL_LIMIT_NS 60000000000ull

static struct sim_exec *exec_at(struct single *s, unsigned i) {
    return i < 3 ? &s->writers[i] : i == 3 ? &s->pool : NULL;
}

static struct sim_exec *next_job(struct single *s) {
    struct sim_exec *best = NULL, *x;

    for (unsigned i = 0; (x = exec_at(s, i)); i++)
        if (x->world && !list_empty(&x->jobs) && (!best || x->due_ns < best->due_ns))
            best = x;
    return best;
}

static struct worker *worker_of(struct world *w) {
    struct single *s = CONTAINER_OF(w, struct single, w);

    return s->node->registered ? s->node->worker : NULL;
}

/* ---- incarnations ---- */

static void boot(struct single *s, uint64_t now_ns) {
    s->net = fake_net_new();
    s->net->seed = rng_next(&s->w.rng);
    s->net->now_ns = now_ns;
    s->net->read_max = rng_chance(&s->w.rng, 300) ? 1 + rng_below(&s->w.rng, 200) : 0;
    s->net->write_max = rng_chance(&s->w.rng, 300) ? 1 + rng_below(&s->w.rng, 300) : 0;
    sim_disk_cold(s->disk, s->w.healed ? 0 : s->w.faults.cold * 1000);
    s->w.clock = &s->net->now_ns;
    s->service = (struct sim_service){&s->w, fake_transport(s->net), s->net->loop};
    sim_service_start(&s->service);
    s->node = sim_node_start(s);
}

/* Everything in memory is gone at once; the disk keeps what the contract promises. */
static void crash(struct single *s, struct clients *c) {
    uint64_t now = s->net->now_ns;

    s->crashes++;
    world_trace(&s->w, "crash");
    for (unsigned i = 0; i < ARRAY_SIZE(s->writers); i++)
        s->writers[i].world = NULL;
    s->pool.world = NULL;
    sim_disk_crash(s->disk);
    clients_forget(c, NULL);
    boot(s, now + 1000000 + rng_below(&s->w.rng, 50000000));
}

/* One event: a loop turn when there is one to make, else the next job or timer. */
static bool step(struct single *s) {
    struct loop *l = s->net->loop;
    struct sim_exec *x = next_job(s);
    uint64_t timer = loop_next_ns(l);

    if (timer <= s->net->now_ns && !(x && x->due_ns <= s->net->now_ns && rng_chance(&s->w.rng, 300)))
        return loop_turn(l), true;
    if (x && x->due_ns <= timer) {
        s->net->now_ns = MAX(s->net->now_ns, x->due_ns);
        sim_exec_run(x);
        return true;
    }
    if (timer == UINT64_MAX)
        return false;
    s->net->now_ns = MAX(s->net->now_ns, timer);
    (void)loop_turn(l);
    return true;
}

static void check_partitions(struct single *s) {
    struct partition_info info;

    for (size_t i = 0; s->node->worker && i < worker_partitions(s->node->worker); i++) {
        worker_partition_info(s->node->worker, i, &info);
        if (info.role == PARTITION_BROKEN)
            violated(&s->w, "partition %u stopped: %s", info.id, info.error);
    }
}

/* ---- a run ---- */

static void misbehave(struct single *s, struct clients *c, unsigned crash_rate) {
    if (rng_below(&s->w.rng, 100000) < crash_rate) {
        crash(s, c);
    } else if (s->net->open && rng_chance(&s->w.rng, 1000) && rng_below(&s->w.rng, 3000) < s->w.faults.cut) {
        s->cuts++;
        world_trace(&s->w, "cut");
        fake_cut(s->net, rng_next(&s->w.rng));
    }
    if (rng_below(&s->w.rng, 1000) < s->w.faults.operate)
        clients_operate(c);
}

static bool run_until(struct single *s, struct clients *c, bool (*done)(const struct clients *), uint64_t limit_ns) {
    for (unsigned i = 0; i < MAX_STEPS && !s->w.violation[0]; i++) {
        clients_drive(c);
        clients_signal(c);
        if (done && done(c))
            return true;
        if (s->net->now_ns > limit_ns)
            return done == NULL;
        if (!step(s))
            return done == NULL;
        if ((i & 255) == 0)
            check_partitions(s);
    }
    return false;
}

static void heal(struct single *s, struct clients *c) {
    s->w.healed = true;
    sim_disk_cold(s->disk, 0);
    world_trace(&s->w, "healed");
    (void)run_until(s, c, clients_done, s->net->now_ns + HEAL_LIMIT_NS / 2);
    clients_resume_all(c);
    if (!run_until(s, c, clients_done, s->net->now_ns + HEAL_LIMIT_NS)) {
        clients_unfinished(c);
        return;
    }
    (void)run_until(s, c, NULL, s->net->now_ns + 20000000000ull); /* sends and delayed sends arrive */
    clients_read(c);
    if (!run_until(s, c, clients_have_read, s->net->now_ns + HEAL_LIMIT_NS))
        violated(&s->w, "the counters cannot be read");
    else
        clients_check(c);
}

static bool run_seed(uint64_t seed, bool trace, struct seen *seen, unsigned *crashes) {
    struct single s = {
        .w = {
            .rng = {seed * 0x9e3779b97f4a7c15u + 1}, .seed = seed, .trace = trace, .seen = seen, .worker = worker_of}};
    struct clients *c = xnew(struct clients);
    unsigned crash_rate, steps;

    clients_plan(c, &s.w);
    s.disk = sim_disk_new(rng_next(&s.w.rng));
    crash_rate = (unsigned)rng_below(&s.w.rng, 120);
    steps = 2000 + (unsigned)rng_below(&s.w.rng, 12000);
    boot(&s, 1000000000);
    for (unsigned i = 0; i < steps && !s.w.violation[0]; i++) {
        clients_drive(c);
        clients_signal(c);
        (void)step(&s);
        misbehave(&s, c, crash_rate);
        if ((i & 255) == 0)
            check_partitions(&s);
    }
    if (!s.w.violation[0])
        heal(&s, c);
    *crashes += s.crashes;
    if (s.w.violation[0])
        (void)printf("seed %llu: %s (%u crashes, %u cuts)\n", (unsigned long long)seed, s.w.violation, s.crashes,
                     s.cuts);
    free(c);
    return !s.w.violation[0];
}

int main(int argc, char **argv) {
    uint64_t from = 1, count = 1;
    unsigned failed = 0, crashes = 0;
    bool trace = false, mutant = false, all = false;
    struct seen *seen = seen_new();

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (strcmp(argv[i], "--mutant") == 0)
            mutant = true; /* success is a violation found */
        else if (strcmp(argv[i], "--all-commands") == 0)
            all = true; /* every command must have been applied in one of the seeds */
        else if (i + 1 < argc && (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--from") == 0))
            from = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--count") == 0)
            count = strtoull(argv[++i], NULL, 10);
        else {
            (void)fprintf(stderr, "usage: sim --seed S [--trace] | --from S --count N [--mutant] [--all-commands]\n");
            return 2;
        }
    }
    logging_set_level(trace ? RS_LOG_WARN : 0);
    for (uint64_t s = from; s < from + count && !(mutant && failed); s++)
        failed += !run_seed(s, trace, seen, &crashes);
    (void)printf("%llu seeds, %u crashes, %u violations\n", (unsigned long long)count, crashes, failed);
    if (all)
        failed += !seen_everything(seen);
    return mutant ? !failed : failed != 0;
}
