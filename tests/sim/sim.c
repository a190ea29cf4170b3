/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim.c : the world: what happens next, crashes, clients and what they may see.
 *
 *     sim --seed S [--trace] | --from S --count N
 *
 * Checked in every run: each operation gets one result at most, and after the faults end exactly one, within bounded
 * virtual time; the same idempotency key never gives two results; every acknowledged addition is counted once, none
 * lost, none doubled; no partition stops and no store is poisoned, since no disk fault is injected. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/logging.h"
#include "worker/partition.h"

enum { OPS = 40, MAX_STEPS = 400000 };
#define HEAL_LIMIT_NS 60000000000ull

/* ---- randomness, time, executors ---- */

uint64_t rng_next(struct rng *r) {
    uint64_t x = r->s += 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
uint64_t rng_below(struct rng *r, uint64_t n) {
    return rng_next(r) % n;
}
bool rng_chance(struct rng *r, unsigned per_mille) {
    return rng_below(r, 1000) < per_mille;
}

void violated(struct world *w, const char *fmt, ...) {
    va_list ap;

    if (w->violation[0])
        return;
    va_start(ap, fmt);
    (void)vsnprintf(w->violation, sizeof w->violation, fmt, ap);
    va_end(ap);
}

#define TRACE(w, ...)                                                                                                  \
    do {                                                                                                               \
        if ((w)->trace) {                                                                                              \
            (void)printf("%9.3f ms  ", (double)(w)->net->now_ns / 1e6);                                                \
            (void)printf(__VA_ARGS__);                                                                                 \
            (void)putchar('\n');                                                                                       \
        }                                                                                                              \
    } while (0)

static uint64_t job_delay(struct world *w) {
    if (rng_chance(&w->rng, w->healed ? 0 : w->faults.slow_job))
        return rng_below(&w->rng, 200000000);
    return 10000 + rng_below(&w->rng, 3000000);
}

static void exec_submit_sim(struct exec *e, struct job *j) {
    struct sim_exec *x = CONTAINER_OF(e, struct sim_exec, exec);

    if (list_empty(&x->jobs))
        x->due_ns = x->world->net->now_ns + job_delay(x->world);
    list_push_back(&x->jobs, &j->link);
}

static void exec_free_sim(struct exec *e) {}
static const struct exec_ops sim_exec_ops = {.submit = exec_submit_sim, .free = exec_free_sim};

struct exec *sim_exec_init(struct sim_exec *e, struct world *w, bool fifo) {
    e->exec.ops = &sim_exec_ops;
    e->world = w;
    e->fifo = fifo;
    list_init(&e->jobs);
    return &e->exec;
}

static void report_job(void *arg) {
    struct job *j = arg;

    if (j->done)
        j->done(j);
}

static void run_job(struct sim_exec *x) {
    struct list *e = x->jobs.next;
    struct job *j;

    if (!x->fifo) /* any of those that wait */
        for (uint64_t skip = rng_below(&x->world->rng, 3); skip && e->next != &x->jobs; skip--)
            e = e->next;
    j = LIST_ENTRY(e, struct job, link);
    list_remove(&j->link);
    j->run(j);
    j->back = (struct loop_task){.fn = report_job, .arg = j};
    loop_post_task(j->loop, &j->back);
    if (!list_empty(&x->jobs))
        x->due_ns = x->world->net->now_ns + job_delay(x->world);
}

static struct sim_exec *exec_at(struct world *w, unsigned i) {
    return i < 3 ? &w->writers[i] : i == 3 ? &w->pool : NULL;
}

static struct sim_exec *next_job(struct world *w) {
    struct sim_exec *best = NULL, *x;

    for (unsigned i = 0; (x = exec_at(w, i)); i++)
        if (x->world && !list_empty(&x->jobs) && (!best || x->due_ns < best->due_ns))
            best = x;
    return best;
}

/* ---- operations of clients ---- */

enum op_kind { OP_ADD, OP_SLOW, OP_CALL, OP_SEND, OP_STEPS, OP_FAIL, OP_GET, OP_KINDS };
static const char *const op_names[] = {"add", "slow", "call", "send", "steps", "fail", "get"};

struct op {
    struct worker_call call; /* of this incarnation */
    struct world *world;
    unsigned n, key;
    enum op_kind kind;
    struct invocation_id id;
    bool started, waiting, done; /* done: a result was seen */
    unsigned results;            /* in this attempt to ask */
    bool failed;
    uint64_t value;
    bool ask_again; /* once more with the same key, after the result */
    bool paused;    /* an operator's pause was sent, and no resume of it has been answered */
};

struct clients {
    struct op ops[OPS + SIM_KEYS];
    unsigned started, outstanding;
};

static void on_result(struct worker_call *c, const struct worker_reply *r) {
    struct op *op = CONTAINER_OF(c, struct op, call);
    struct world *w = op->world;
    const struct cmd_failure *f = r->result ? r->result->failure : NULL;
    uint64_t value = 0;

    op->waiting = false;
    if (r->code == WORKER_SHUTDOWN || r->code == WORKER_LOST_LEADERSHIP)
        return; /* asked again */
    if (r->code != WORKER_OK || !r->result) {
        violated(w, "operation %u (%s) was answered with code %d %s", op->n, op_names[op->kind], r->code,
                 r->message ? r->message : "");
        return;
    }
    for (size_t i = 0; !f && i < r->result->value.len; i++)
        value = value * 10 + (uint64_t)(r->result->value.data[i] - '0');
    TRACE(w, "op %u %s key %u -> %s %llu", op->n, op_names[op->kind], op->key, f ? "failure" : "value",
          (unsigned long long)value);
    if ((f != NULL) != (op->kind == OP_FAIL))
        violated(w, "operation %u (%s): %s", op->n, op_names[op->kind],
                 f ? "an unexpected failure" : "a failure was expected");
    if (op->done && op->kind != OP_GET && op->value != value)
        violated(w, "operation %u (%s): the same key gave %llu and then %llu", op->n, op_names[op->kind],
                 (unsigned long long)op->value, (unsigned long long)value);
    op->done = true;
    op->value = value;
}

static void ask(struct op *op) {
    static const struct {
        const char *service, *handler;
        uint32_t type;
    } targets[] = {
        [OP_ADD] = {"Counter", "add", 2}, [OP_SLOW] = {"Counter", "slow", 2}, [OP_CALL] = {"Proxy", "call", 1},
        [OP_SEND] = {"Proxy", "send", 1}, [OP_STEPS] = {"Proxy", "steps", 1}, [OP_FAIL] = {"Proxy", "fail", 1},
        [OP_GET] = {"Counter", "get", 2}};
    struct world *w = op->world;
    char key[8], idem[24];
    struct cmd_target target = {.type = targets[op->kind].type,
                                .service = slice_str(targets[op->kind].service),
                                .handler = slice_str(targets[op->kind].handler)};
    struct id_target t = {.type = target.type, .service = target.service, .handler = target.handler};
    struct cmd_invoke cmd = {.target = &target, .completion_retention_ms = 86400000, .journal_retention_ms = 3600000};
    uint8_t random[ID_RANDOM_BYTES] = {0};

    (void)snprintf(key, sizeof key, "k%u", op->key);
    (void)snprintf(idem, sizeof idem, "op-%u", op->n);
    if (target.type == 2)
        target.key = t.key = slice_str(key);
    t.idem_key = cmd.idempotency_key = slice_str(idem);
    (void)invocation_id_derive(&t, 0, random, &op->id);
    cmd.id = invocation_id_slice(&op->id);
    cmd.argument = slice_str(key);
    op->started = op->waiting = true;
    op->call = (struct worker_call){.done = on_result};
    TRACE(w, "op %u %s key %u asked", op->n, op_names[op->kind], op->key);
    worker_call_invoke(w->node->worker, &op->call, &cmd, true);
}

static unsigned targets_of(const struct clients *c,
                           unsigned key) { /* how often the counter of @key must have been raised */
    unsigned n = 0;

    for (unsigned i = 0; i < OPS; i++)
        n += c->ops[i].key == key && (c->ops[i].kind == OP_ADD || c->ops[i].kind == OP_SLOW ||
                                      c->ops[i].kind == OP_CALL || c->ops[i].kind == OP_SEND);
    return n;
}

static void drive_clients(struct world *w, struct clients *c) {
    if (!w->node->worker || !w->node->registered)
        return;
    for (unsigned i = 0; i < OPS; i++) {
        struct op *op = &c->ops[i];

        if (op->started && !op->waiting && (!op->done || op->ask_again)) {
            op->ask_again = op->ask_again && !op->done;
            ask(op);
        } else if (!op->started && (w->healed || rng_chance(&w->rng, 30))) {
            ask(op);
        }
    }
}

static bool all_done(const struct clients *c) {
    for (unsigned i = 0; i < OPS; i++)
        if (!c->ops[i].done || c->ops[i].waiting)
            return false;
    return true;
}

/* ---- an operator who does not wait for answers: pause and resume of what runs, one right behind the other ---- */

struct order { /* of the operator */
    struct worker_call call;
    struct op *op;
    bool resume;
};

static void on_order(struct worker_call *call, const struct worker_reply *r) {
    struct order *o = CONTAINER_OF(call, struct order, call);

    if (o->resume && r->code != WORKER_SHUTDOWN && r->code != WORKER_LOST_LEADERSHIP && r->code != WORKER_FAILED)
        o->op->paused = false;
    free(o);
}

static void resume(struct world *w, struct op *op) {
    struct order *o = xnew(struct order);

    *o = (struct order){.call.done = on_order, .op = op, .resume = true};
    worker_call_resume(w->node->worker, &o->call, &op->id, SLICE_NULL);
}

static void operate(struct world *w, struct clients *c) {
    struct op *op = &c->ops[rng_below(&w->rng, OPS)];
    struct order *pause;

    if (!op->waiting || !w->node->worker)
        return;
    TRACE(w, "operator pauses and resumes op %u", op->n);
    op->paused = true;
    pause = xnew(struct order);
    *pause = (struct order){.call.done = on_order, .op = op};
    worker_call_pause(w->node->worker, &pause->call, &op->id);
    resume(w, op);
}

/* A crash may have swallowed a resume whose pause was stored: a patient operator sends it again. */
static void resume_all(struct world *w, struct clients *c) {
    for (unsigned i = 0; i < OPS; i++)
        if (c->ops[i].paused && !c->ops[i].done)
            resume(w, &c->ops[i]);
}

/* ---- incarnations ---- */

static void boot(struct world *w, uint64_t now_ns) {
    w->net = fake_net_new();
    w->net->seed = rng_next(&w->rng);
    w->net->now_ns = now_ns;
    w->net->read_max = rng_chance(&w->rng, 300) ? 1 + rng_below(&w->rng, 200) : 0;
    w->net->write_max = rng_chance(&w->rng, 300) ? 1 + rng_below(&w->rng, 300) : 0;
    sim_disk_cold(w->disk, w->healed ? 0 : w->faults.cold * 1000);
    sim_service_start(w);
    w->node = sim_node_start(w);
}

/* Everything in memory is gone at once; the disk keeps what the contract promises. */
static void crash(struct world *w, struct clients *c) {
    uint64_t now = w->net->now_ns;

    w->crashes++;
    TRACE(w, "crash");
    for (unsigned i = 0; i < ARRAY_SIZE(w->writers); i++)
        w->writers[i].world = NULL;
    w->pool.world = NULL;
    sim_disk_crash(w->disk);
    for (unsigned i = 0; i < OPS + SIM_KEYS; i++)
        c->ops[i].waiting = false;
    boot(w, now + 1000000 + rng_below(&w->rng, 50000000));
}

/* One event: a loop turn when there is one to make, else the next job or timer. */
static bool step(struct world *w) {
    struct loop *l = w->net->loop;
    struct sim_exec *x = next_job(w);
    uint64_t timer = loop_next_ns(l);

    if (timer <= w->net->now_ns && !(x && x->due_ns <= w->net->now_ns && rng_chance(&w->rng, 300)))
        return loop_turn(l), true;
    if (x && x->due_ns <= timer) {
        w->net->now_ns = MAX(w->net->now_ns, x->due_ns);
        run_job(x);
        return true;
    }
    if (timer == UINT64_MAX)
        return false;
    w->net->now_ns = MAX(w->net->now_ns, timer);
    (void)loop_turn(l);
    return true;
}

static void check_partitions(struct world *w) {
    struct partition_info info;

    for (size_t i = 0; w->node->worker && i < worker_partitions(w->node->worker); i++) {
        worker_partition_info(w->node->worker, i, &info);
        if (info.role == PARTITION_BROKEN)
            violated(w, "partition %u stopped: %s", info.id, info.error);
    }
}

/* ---- a run ---- */

static void plan(struct world *w, struct clients *c) {
    static const enum op_kind mix[] = {OP_ADD,  OP_ADD,  OP_ADD,  OP_SLOW,  OP_CALL,
                                       OP_CALL, OP_SEND, OP_SEND, OP_STEPS, OP_FAIL};

    for (unsigned i = 0; i < OPS + SIM_KEYS; i++) {
        struct op *op = &c->ops[i];

        *op = (struct op){.world = w,
                          .n = i,
                          .key = i < OPS ? (unsigned)rng_below(&w->rng, SIM_KEYS) : i - OPS,
                          .kind = i < OPS ? mix[rng_below(&w->rng, ARRAY_SIZE(mix))] : OP_GET,
                          .ask_again = i < OPS && rng_chance(&w->rng, 200)};
    }
    w->faults = (struct faults){.cut = (unsigned)rng_below(&w->rng, 4),
                                .error = (unsigned)rng_below(&w->rng, 300),
                                .slow_job = (unsigned)rng_below(&w->rng, 60),
                                .cold = (unsigned)rng_below(&w->rng, 2) * (unsigned)rng_below(&w->rng, 100),
                                .suspend = (unsigned)rng_below(&w->rng, 600),
                                .operate = (unsigned)rng_below(&w->rng, 2) * (unsigned)rng_below(&w->rng, 20)};
}

static void misbehave(struct world *w, struct clients *c, unsigned crash_rate) {
    if (rng_below(&w->rng, 100000) < crash_rate) {
        crash(w, c);
    } else if (w->net->open && rng_chance(&w->rng, 1000) && rng_below(&w->rng, 3000) < w->faults.cut) {
        w->cuts++;
        TRACE(w, "cut");
        fake_cut(w->net, rng_next(&w->rng));
    }
    if (rng_below(&w->rng, 1000) < w->faults.operate)
        operate(w, c);
}

/* Counters are read when everything has been answered and sends had time to arrive. */
static void check_counters(struct world *w, struct clients *c) {
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        unsigned want = targets_of(c, key);
        const struct op *get = &c->ops[OPS + key];
        uint64_t seen = 0;

        if (get->value != want)
            violated(w, "counter k%u is %llu after %u additions", key, (unsigned long long)get->value, want);
        for (unsigned i = 0; i < OPS; i++) {
            const struct op *op = &c->ops[i];

            if (op->key != key || (op->kind != OP_ADD && op->kind != OP_SLOW && op->kind != OP_CALL))
                continue;
            if (op->value < 1 || op->value > want || seen & UINT64_C(1) << op->value)
                violated(w, "operation %u on k%u was answered %llu, which %s", i, key, (unsigned long long)op->value,
                         op->value < 1 || op->value > want ? "is out of range" : "another one got too");
            seen |= UINT64_C(1) << (op->value & 63);
        }
    }
}

static bool run_until(struct world *w, struct clients *c, bool (*done)(const struct clients *), uint64_t limit_ns) {
    for (unsigned i = 0; i < MAX_STEPS && !w->violation[0]; i++) {
        drive_clients(w, c);
        if (done && done(c))
            return true;
        if (w->net->now_ns > limit_ns)
            return done == NULL;
        if (!step(w))
            return done == NULL;
        if ((i & 255) == 0)
            check_partitions(w);
    }
    return false;
}

static bool gets_done(const struct clients *c) {
    for (unsigned i = OPS; i < OPS + SIM_KEYS; i++)
        if (!c->ops[i].done)
            return false;
    return true;
}

static void heal(struct world *w, struct clients *c) {
    w->healed = true;
    sim_disk_cold(w->disk, 0);
    TRACE(w, "healed");
    (void)run_until(w, c, all_done, w->net->now_ns + HEAL_LIMIT_NS / 2);
    resume_all(w, c);
    if (!run_until(w, c, all_done, w->net->now_ns + HEAL_LIMIT_NS)) {
        for (unsigned i = 0; i < OPS; i++)
            if (!c->ops[i].done)
                violated(w, "operation %u (%s on k%u) has no result %s", i, op_names[c->ops[i].kind], c->ops[i].key,
                         "although all faults ended long ago");
        violated(w, "operations do not end");
        return;
    }
    (void)run_until(w, c, NULL, w->net->now_ns + 20000000000ull); /* sends and delayed sends arrive */
    for (unsigned i = OPS; i < OPS + SIM_KEYS; i++)
        ask(&c->ops[i]);
    if (!run_until(w, c, gets_done, w->net->now_ns + HEAL_LIMIT_NS))
        violated(w, "the counters cannot be read");
    else
        check_counters(w, c);
}

static bool run_seed(uint64_t seed, bool trace, unsigned *crashes) {
    struct world w = {.rng = {seed * 0x9e3779b97f4a7c15u + 1}, .seed = seed, .trace = trace};
    struct clients *c = xnew(struct clients);
    unsigned crash_rate, steps;

    plan(&w, c);
    w.disk = sim_disk_new(rng_next(&w.rng));
    crash_rate = (unsigned)rng_below(&w.rng, 120);
    steps = 2000 + (unsigned)rng_below(&w.rng, 12000);
    boot(&w, 1000000000);
    for (unsigned i = 0; i < steps && !w.violation[0]; i++) {
        drive_clients(&w, c);
        (void)step(&w);
        misbehave(&w, c, crash_rate);
        if ((i & 255) == 0)
            check_partitions(&w);
    }
    if (!w.violation[0])
        heal(&w, c);
    *crashes += w.crashes;
    if (w.violation[0])
        (void)printf("seed %llu: %s (%u crashes, %u cuts)\n", (unsigned long long)seed, w.violation, w.crashes, w.cuts);
    free(c);
    return !w.violation[0];
}

int main(int argc, char **argv) {
    uint64_t from = 1, count = 1;
    unsigned failed = 0, crashes = 0;
    bool trace = false, mutant = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (strcmp(argv[i], "--mutant") == 0)
            mutant = true; /* success is a violation found */
        else if (i + 1 < argc && (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--from") == 0))
            from = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--count") == 0)
            count = strtoull(argv[++i], NULL, 10);
        else {
            (void)fprintf(stderr, "usage: sim --seed S [--trace] | --from S --count N [--mutant]\n");
            return 2;
        }
    }
    logging_set_level(trace ? RS_LOG_WARN : 0);
    for (uint64_t s = from; s < from + count && !(mutant && failed); s++)
        failed += !run_seed(s, trace, &crashes);
    (void)printf("%llu seeds, %u crashes, %u violations\n", (unsigned long long)count, crashes, failed);
    return mutant ? !failed : failed != 0;
}
