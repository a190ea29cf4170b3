/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_clients.c : clients that call with idempotency keys and ask again until they have a result.
 *
 * Checked: each operation gets one result at most, and after the faults end exactly one; the same key never gives two
 * results; every acknowledged addition is counted once, none lost, none doubled. */
#include "sim.h"

#include <stdio.h>

#include "proto/command.h"

static const struct op_type {
    const char *name, *service, *handler;
    uint32_t type;   /* enum target_type */
    uint64_t result; /* of those that always have the same; 0: another one */
    bool fails;
} types[] = {
    [OP_ADD] = {"add", "Counter", "add", TARGET_OBJECT_EXCLUSIVE, 0, false},
    [OP_SLOW] = {"slow", "Counter", "slow", TARGET_OBJECT_EXCLUSIVE, 0, false},
    [OP_CALL] = {"call", "Proxy", "call", TARGET_SERVICE, 0, false},
    [OP_SEND] = {"send", "Proxy", "send", TARGET_SERVICE, 0, false},
    [OP_STEPS] = {"steps", "Proxy", "steps", TARGET_SERVICE, 21, false},
    [OP_FAIL] = {"fail", "Proxy", "fail", TARGET_SERVICE, 0, true},
    [OP_AWAIT] = {"await", "Proxy", "await", TARGET_SERVICE, 9, false},
    [OP_CANCEL] = {"cancel", "Proxy", "await", TARGET_SERVICE, 0, true},
    [OP_KILL] = {"kill", "Proxy", "await", TARGET_SERVICE, 0, true},
    [OP_WAKE] = {"wake", "Proxy", "wake", TARGET_SERVICE, 0, false},
    [OP_ATTACH] = {"attach", "Proxy", "attach", TARGET_SERVICE, 21, false},
    [OP_NOTES] = {"notes", "Notes", "all", TARGET_OBJECT_EXCLUSIVE, 1, false},
    [OP_FLOW] = {"flow", "Flow", "run", TARGET_WORKFLOW_RUN, 5, false},
    [OP_GET] = {"get", "Counter", "get", TARGET_OBJECT_EXCLUSIVE, 0, false},
};

static void on_result(struct worker_call *c, const struct worker_reply *r) {
    struct op *op = CONTAINER_OF(c, struct op, call);
    struct world *w = op->world;
    const struct cmd_failure *f = r->result ? r->result->failure : NULL;
    uint64_t value = 0;

    op->waiting = false;
    if (r->code == WORKER_SHUTDOWN || r->code == WORKER_LOST_LEADERSHIP ||
        (r->code == WORKER_FAILED && w->patience_ns && !w->healed))
        return; /* asked again */
    if (op->kind == OP_FLOW && f && (f->code == 404 || f->code == 409))
        return; /* a workflow runs once: it is there, or it is not, and the next time the other question is asked */
    if (r->code != WORKER_OK || !r->result) {
        violated(w, "operation %u (%s) was answered with code %d %s", op->n, types[op->kind].name, r->code,
                 r->message ? r->message : "");
        return;
    }
    for (size_t i = 0; !f && i < r->result->value.len; i++)
        value = value * 10 + (uint64_t)(r->result->value.data[i] - '0');
    world_trace(w, "op %u %s key %u -> %s %llu", op->n, types[op->kind].name, op->key, f ? "failure" : "value",
                (unsigned long long)value);
    if ((f != NULL) != types[op->kind].fails)
        violated(w, "operation %u (%s): %s", op->n, types[op->kind].name,
                 f ? "an unexpected failure" : "a failure was expected");
    if (op->done && op->kind != OP_GET && op->value != value)
        violated(w, "operation %u (%s): the same key gave %llu and then %llu", op->n, types[op->kind].name,
                 (unsigned long long)op->value, (unsigned long long)value);
    if (types[op->kind].result && value != types[op->kind].result)
        violated(w, "operation %u (%s) gave %llu instead of %llu", op->n, types[op->kind].name,
                 (unsigned long long)value, (unsigned long long)types[op->kind].result);
    op->done = true;
    op->value = value;
}

struct names { /* of what is called; the target points into it */
    char key[8], idem[24];
    struct cmd_target target;
};

static void op_target(const struct op *op, struct names *n) {
    const struct op_type *t = &types[op->kind];

    n->target =
        (struct cmd_target){.type = t->type, .service = slice_str(t->service), .handler = slice_str(t->handler)};
    (void)snprintf(n->key, sizeof n->key, op->kind == OP_FLOW ? "w%u" : "k%u", op->kind == OP_FLOW ? op->n : op->key);
    (void)snprintf(n->idem, sizeof n->idem, "op-%u", op->n);
    if (t->type != TARGET_SERVICE)
        n->target.key = slice_str(n->key);
}

static void op_id(struct op *op) {
    uint8_t random[ID_RANDOM_BYTES] = {0};
    struct id_target t;
    struct names n;

    op_target(op, &n);
    t = (struct id_target){
        .type = n.target.type, .service = n.target.service, .handler = n.target.handler, .key = n.target.key};
    if (op->kind != OP_FLOW)
        t.idem_key = slice_str(n.idem);
    (void)invocation_id_derive(&t, 0, random, &op->id);
}

static void ask(struct clients *c, struct op *op, struct worker *worker) {
    struct cmd_invoke cmd = {.completion_retention_ms = 86400000, .journal_retention_ms = 3600000};
    struct world *w = op->world;
    char target[INVOCATION_ID_CHARS + 1];
    struct names n;
    bool attach = (op->kind == OP_FLOW || (op->done && rng_chance(&w->rng, 500))) && op->asked++ % 2;

    op_target(op, &n);
    if (op->kind != OP_FLOW)
        cmd.idempotency_key = slice_str(n.idem);
    cmd.target = &n.target;
    cmd.id = invocation_id_slice(&op->id);
    cmd.argument = slice_str(n.key);
    if (op->kind == OP_WAKE) {
        invocation_id_format(&c->ops[op->key].id, target);
        cmd.argument = slice_str(target);
    }
    op->started = op->waiting = true;
    op->call = (struct worker_call){.done = on_result};
    op->worker = worker;
    op->asked_ns = world_now(w);
    world_trace(w, "op %u %s key %u %s", op->n, types[op->kind].name, op->key, attach ? "attached to" : "asked");
    if (attach)
        worker_call_attach(worker, &op->call, &op->id, true);
    else
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

    for (unsigned i = 0; worker && i < SIM_OPS + SIM_READS; i++) {
        struct op *op = &c->ops[i];

        lose_patience(op);
        if (op->started && !op->waiting && (!op->done || (op->ask_again && !op->purged))) {
            op->ask_again = op->ask_again && !op->done;
            ask(c, op, worker);
        } else if (!op->started && i < SIM_OPS && (w->healed || rng_chance(&w->rng, c->start_rate))) {
            ask(c, op, worker);
        }
    }
}

void clients_forget(struct clients *c, const struct worker *worker) {
    if (!worker || c->patches.asked == worker)
        c->patches.asked = NULL;
    for (unsigned i = 0; i < SIM_OPS + SIM_READS; i++)
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
                     types[c->ops[i].kind].name, c->ops[i].key);
    violated(c->world, "operations do not end");
}

void clients_read(struct clients *c) {
    for (unsigned i = SIM_OPS; i < SIM_OPS + SIM_READS; i++)
        c->ops[i].started = true;
}

bool clients_have_read(const struct clients *c) {
    for (unsigned i = SIM_OPS; i < SIM_OPS + SIM_READS; i++)
        if (!c->ops[i].done)
            return false;
    return true;
}

/* ---- what is planned, and what came of it ---- */

void clients_plan(struct clients *c, struct world *w) {
    static const enum op_kind mix[] = {OP_ADD,  OP_ADD,  OP_ADD,    OP_SLOW,  OP_CALL,  OP_CALL,
                                       OP_SEND, OP_SEND, OP_STEPS,  OP_FAIL,  OP_AWAIT, OP_CANCEL,
                                       OP_KILL, OP_WAKE, OP_ATTACH, OP_NOTES, OP_FLOW};

    c->world = w;
    c->start_rate = 30;
    for (unsigned i = 0; i < SIM_OPS + SIM_READS; i++) {
        struct op *op = &c->ops[i];

        *op = (struct op){.world = w,
                          .n = i,
                          .key = i < SIM_OPS ? (unsigned)rng_below(&w->rng, SIM_KEYS) : i - SIM_OPS,
                          .kind = i < SIM_OPS ? mix[rng_below(&w->rng, ARRAY_SIZE(mix))] : OP_GET,
                          .ask_again = i < SIM_OPS && rng_chance(&w->rng, 200)};
        op_id(op);
    }
    for (unsigned i = 0; i < SIM_OPS; i++) { /* whom to wake: somebody who waits, or itself in vain */
        unsigned whom = (unsigned)rng_below(&w->rng, SIM_OPS);

        for (unsigned k = 0; k < SIM_OPS && c->ops[whom].kind != OP_AWAIT; k++)
            whom = (whom + 1) % SIM_OPS;
        if (c->ops[i].kind == OP_WAKE)
            c->ops[i].key = c->ops[whom].kind == OP_AWAIT ? whom : i;
    }
    c->patches.possible = 1;
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
    if (!(c->patches.possible >> (c->ops[SIM_OPS + SIM_KEYS].value & 63) & 1))
        violated(w, "the patched counter is %llu, which no patch can have left",
                 (unsigned long long)c->ops[SIM_OPS + SIM_KEYS].value);
}
