/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_clients.c : clients that call counters with idempotency keys and ask again until they have a result.
 *
 * Checked: each operation gets one result at most, and after the faults end exactly one; the same key never gives two
 * results; every acknowledged addition is counted once, none lost, none doubled. */
#include "sim.h"

#include <stdio.h>

static const char *const op_names[] = {"add", "slow", "call", "send", "steps", "fail", "get"};

static void on_result(struct worker_call *c, const struct worker_reply *r) {
    struct op *op = CONTAINER_OF(c, struct op, call);
    struct world *w = op->world;
    const struct cmd_failure *f = r->result ? r->result->failure : NULL;
    uint64_t value = 0;

    op->waiting = false;
    if (r->code == WORKER_SHUTDOWN || r->code == WORKER_LOST_LEADERSHIP ||
        (r->code == WORKER_FAILED && w->patience_ns && !w->healed))
        return; /* asked again */
    if (r->code != WORKER_OK || !r->result) {
        violated(w, "operation %u (%s) was answered with code %d %s", op->n, op_names[op->kind], r->code,
                 r->message ? r->message : "");
        return;
    }
    for (size_t i = 0; !f && i < r->result->value.len; i++)
        value = value * 10 + (uint64_t)(r->result->value.data[i] - '0');
    world_trace(w, "op %u %s key %u -> %s %llu", op->n, op_names[op->kind], op->key, f ? "failure" : "value",
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

static void ask(struct op *op, struct worker *worker) {
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
    op->worker = worker;
    op->asked_ns = world_now(w);
    world_trace(w, "op %u %s key %u asked", op->n, op_names[op->kind], op->key);
    worker_call_invoke(worker, &op->call, &cmd, true);
}

static unsigned targets_of(const struct clients *c,
                           unsigned key) { /* how often the counter of @key must have been raised */
    unsigned n = 0;

    for (unsigned i = 0; i < SIM_OPS; i++)
        n += c->ops[i].key == key && (c->ops[i].kind == OP_ADD || c->ops[i].kind == OP_SLOW ||
                                      c->ops[i].kind == OP_CALL || c->ops[i].kind == OP_SEND);
    return n;
}

/* A client that has waited long enough lets go and asks again, wherever it comes to. */
static void lose_patience(struct op *op) {
    if (op->waiting && op->world->patience_ns && world_now(op->world) - op->asked_ns > op->world->patience_ns) {
        worker_call_drop(op->worker, &op->call);
        op->waiting = false;
    }
}

void clients_drive(struct clients *c) {
    struct world *w = c->world;
    struct worker *worker = w->worker(w);

    for (unsigned i = 0; worker && i < SIM_OPS + SIM_KEYS; i++) {
        struct op *op = &c->ops[i];

        lose_patience(op);
        if (op->started && !op->waiting && (!op->done || op->ask_again)) {
            op->ask_again = op->ask_again && !op->done;
            ask(op, worker);
        } else if (!op->started && i < SIM_OPS && (w->healed || rng_chance(&w->rng, c->start_rate))) {
            ask(op, worker);
        }
    }
}

void clients_forget(struct clients *c, const struct worker *worker) {
    for (unsigned i = 0; i < SIM_OPS + SIM_KEYS; i++)
        if (!worker || c->ops[i].worker == worker)
            c->ops[i].waiting = false;
}

bool clients_done(const struct clients *c) {
    for (unsigned i = 0; i < SIM_OPS; i++)
        if (!c->ops[i].done || c->ops[i].waiting)
            return false;
    return true;
}

void clients_unfinished(struct clients *c) {
    for (unsigned i = 0; i < SIM_OPS; i++)
        if (!c->ops[i].done)
            violated(c->world, "operation %u (%s on k%u) has no result although all faults ended long ago", i,
                     op_names[c->ops[i].kind], c->ops[i].key);
    violated(c->world, "operations do not end");
}

void clients_read(struct clients *c) {
    for (unsigned i = SIM_OPS; i < SIM_OPS + SIM_KEYS; i++)
        c->ops[i].started = true;
}

bool clients_have_read(const struct clients *c) {
    for (unsigned i = SIM_OPS; i < SIM_OPS + SIM_KEYS; i++)
        if (!c->ops[i].done)
            return false;
    return true;
}

/* ---- an operator who does not wait for answers: pause and resume of what runs, one right behind the other ----
 *
 * Of two orders under way at the same time either may take effect first, and one that was never answered (its node
 * ended) may still take effect later. So a resume counts only if it was given after every pause had been answered. */

struct order { /* of the operator */
    struct worker_call call;
    struct op *op;
    bool resume;
    bool counts; /* a resume: no pause was open when it was given */
};

static void on_order(struct worker_call *call, const struct worker_reply *r) {
    struct order *o = CONTAINER_OF(call, struct order, call);
    bool known = r->code != WORKER_SHUTDOWN && r->code != WORKER_LOST_LEADERSHIP && r->code != WORKER_FAILED;

    world_trace(o->op->world, "operator: %s of op %u is answered with code %d", o->resume ? "resume" : "pause",
                o->op->n, r->code);
    if (known && !o->resume)
        o->op->pauses_open--;
    if (known && o->counts)
        o->op->paused = false;
    free(o);
}

static void order(struct worker *worker, struct op *op, bool resume) {
    struct order *o = xnew(struct order);

    *o = (struct order){.call.done = on_order, .op = op, .resume = resume, .counts = resume && !op->pauses_open};
    op->pauses_open += !resume;
    op->paused = op->paused || !resume;
    if (resume)
        worker_call_resume(worker, &o->call, &op->id, SLICE_NULL);
    else
        worker_call_pause(worker, &o->call, &op->id);
}

void clients_operate(struct clients *c) {
    struct world *w = c->world;
    struct worker *worker = w->worker(w);
    struct op *op = &c->ops[rng_below(&w->rng, SIM_OPS)];

    if (!op->waiting || !worker)
        return;
    world_trace(w, "operator pauses and resumes op %u", op->n);
    order(worker, op, false);
    order(worker, op, true);
}

/* A crash may have swallowed a resume, or a pause was stored after it: a patient operator sends it again. */
void clients_resume_all(struct clients *c) {
    struct worker *worker = c->world->worker(c->world);

    for (unsigned i = 0; worker && i < SIM_OPS; i++)
        if (c->ops[i].paused && !c->ops[i].done)
            order(worker, &c->ops[i], true);
}

/* ---- what is planned, and what came of it ---- */

void clients_plan(struct clients *c, struct world *w) {
    static const enum op_kind mix[] = {OP_ADD,  OP_ADD,  OP_ADD,  OP_SLOW,  OP_CALL,
                                       OP_CALL, OP_SEND, OP_SEND, OP_STEPS, OP_FAIL};

    c->world = w;
    c->start_rate = 30;
    for (unsigned i = 0; i < SIM_OPS + SIM_KEYS; i++) {
        struct op *op = &c->ops[i];

        *op = (struct op){.world = w,
                          .n = i,
                          .key = i < SIM_OPS ? (unsigned)rng_below(&w->rng, SIM_KEYS) : i - SIM_OPS,
                          .kind = i < SIM_OPS ? mix[rng_below(&w->rng, ARRAY_SIZE(mix))] : OP_GET,
                          .ask_again = i < SIM_OPS && rng_chance(&w->rng, 200)};
    }
    w->faults = (struct faults){.cut = (unsigned)rng_below(&w->rng, 4),
                                .error = (unsigned)rng_below(&w->rng, 300),
                                .slow_job = (unsigned)rng_below(&w->rng, 60),
                                .cold = (unsigned)rng_below(&w->rng, 2) * (unsigned)rng_below(&w->rng, 100),
                                .suspend = (unsigned)rng_below(&w->rng, 600),
                                .operate = (unsigned)rng_below(&w->rng, 2) * (unsigned)rng_below(&w->rng, 20)};
}

/* Counters are read when everything has been answered and sends had time to arrive. */
void clients_check(struct clients *c) {
    struct world *w = c->world;

    for (unsigned key = 0; key < SIM_KEYS; key++) {
        unsigned want = targets_of(c, key);
        const struct op *get = &c->ops[SIM_OPS + key];
        uint64_t seen = 0;

        if (get->value != want)
            violated(w, "counter k%u is %llu after %u additions", key, (unsigned long long)get->value, want);
        for (unsigned i = 0; i < SIM_OPS; i++) {
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
