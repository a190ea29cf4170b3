/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_orders.c : what operators and clients do to invocations and partitions beside calling them. Nobody
 * waits for the answer of an order before the next one; what must happen in the end is ordered again.
 *
 * Of two orders under way at the same time either may take effect first, and one that was never answered (its node
 * ended) may still take effect later. So a resume counts only if it was given after every pause had been answered. */
#include "sim.h"

#include <stdio.h>

#include "proto/command.h"
#include "proto/service.h"
#include "worker/partition_internal.h"

enum order_kind { PAUSE, RESUME, CANCEL, KILL, SIGNAL, PURGE, PURGE_JOURNAL, RESTART, ATTACH, PATCH };
struct order {
    struct worker_call call;
    struct clients *clients;
    struct op *op; /* NULL: about none */
    enum order_kind kind;
    struct worker *worker;
    bool counts;    /* a resume: no pause was open when it was given */
    unsigned value; /* PATCH */
};
static const char *const order_names[] = {"pause", "resume",        "cancel",  "kill",   "signal",
                                          "purge", "purge journal", "restart", "attach", "patch"};

/* The second run has the result of the first. */
static void restarted(struct order *o, const struct worker_reply *r) {
    struct order *attach;

    if (r->code != WORKER_OK)
        return;
    attach = xnew(struct order);
    *attach = *o;
    attach->kind = ATTACH;
    attach->call = (struct worker_call){.done = o->call.done};
    worker_call_attach(o->worker, &attach->call, &r->id, true);
}

static void attached(const struct order *o, const struct worker_reply *r) {
    if (r->code == WORKER_OK && (!r->result || !slice_eq_str(r->result->value, "21")))
        violated(o->clients->world, "operation %u restarted as new has another result", o->op->n);
}

static void patched(const struct order *o, bool known) {
    struct patches *p = &o->clients->patches;
    unsigned v = o->value;

    p->asked = NULL;
    if (known) /* what was acknowledged before is gone; what was not may still come */
        p->possible = (p->possible & ~p->acknowledged) | UINT64_C(1) << v;
    if (known)
        p->acknowledged |= UINT64_C(1) << v;
}

static void on_order(struct worker_call *call, const struct worker_reply *r) {
    struct order *o = CONTAINER_OF(call, struct order, call);
    bool known = r->code != WORKER_SHUTDOWN && r->code != WORKER_LOST_LEADERSHIP && r->code != WORKER_FAILED;

    if (o->op)
        world_trace(o->clients->world, "operator: %s of op %u is answered with code %d", order_names[o->kind], o->op->n,
                    r->code);
    if (known && o->kind == PAUSE)
        o->op->pauses_open--;
    else if (known && o->kind == RESUME && o->counts)
        o->op->paused = false;
    else if (o->kind == RESTART)
        restarted(o, r);
    else if (o->kind == ATTACH)
        attached(o, r);
    else if (o->kind == PATCH)
        patched(o, known);
    free(o);
}

static void signal_op(struct worker *worker, struct order *o) {
    struct cmd_result nine = {.value = SLICE_LIT("9")};
    struct cmd_signal m = {
        .target = invocation_id_slice(&o->op->id), .index = SP_SIGNAL_FIRST_AWAKEABLE, .result = &nine};

    worker_call_signal(worker, &o->call, &m);
}

static void patch_state(struct clients *c, struct worker *worker, struct order *o) {
    char text[8];
    struct cmd_state_entry count = {.key = SLICE_LIT("count")};
    struct cmd_patch_state m = {
        .service = SLICE_LIT("Counter"), .key = SLICE_LIT("k5"), .entries = &count, .n_entries = 1};

    o->value = ++c->patches.last;
    count.value = slice_of(text, (size_t)snprintf(text, sizeof text, "%u", o->value));
    c->patches.possible |= UINT64_C(1) << o->value;
    c->patches.asked = worker;
    worker_call_patch_state(worker, &o->call, &m);
}

static void order(struct clients *c, struct worker *worker, struct op *op, enum order_kind kind) {
    struct order *o = xnew(struct order);

    *o = (struct order){.call.done = on_order, .clients = c, .op = op, .kind = kind, .worker = worker};
    switch (kind) {
    case PAUSE:
        op->pauses_open++;
        op->paused = true;
        worker_call_pause(worker, &o->call, &op->id);
        break;
    case RESUME:
        o->counts = !op->pauses_open;
        worker_call_resume(worker, &o->call, &op->id, SLICE_NULL);
        break;
    case CANCEL:
    case KILL:
        worker_call_terminate(worker, &o->call, &op->id, kind == KILL ? TERMINATE_KILL : TERMINATE_CANCEL);
        break;
    case SIGNAL:
        signal_op(worker, o);
        break;
    case PURGE:
    case PURGE_JOURNAL:
        op->purged = op->purged || kind == PURGE;
        worker_call_purge(worker, &o->call, &op->id, kind == PURGE_JOURNAL);
        break;
    case RESTART:
        worker_call_restart(worker, &o->call, &op->id, 0, SLICE_NULL);
        break;
    case PATCH:
        patch_state(c, worker, o);
        break;
    case ATTACH: /* restarted() */
        break;
    }
}

/* ---- a record that nobody proposes in everyday work, if the leader is here ---- */

static void propose(struct worker *worker, uint64_t key, uint16_t kind) {
    struct cmd_version_barrier m = {.min_version = SLICE_LIT("0.1.0"), .reason = SLICE_LIT("simulated")};
    struct route *r = worker_route(worker, key);
    struct buf out = {0};

    if (!r->p || partition_role(r->p) != PARTITION_LEADER)
        return;
    if (kind == CMD_VERSION_BARRIER)
        cmd_version_barrier_encode(&m, &out);
    partition_propose(
        r->p, &(struct propose){.kind = kind, .mode = PROPOSE_SELF, .no_key = true, .payload = buf_slice(&out)});
    buf_done(&out);
}

/* ---- the operator ---- */

static void operate_on_finished(struct clients *c, struct worker *worker, struct op *op) {
    static const enum order_kind orders[] = {RESTART, RESTART, PURGE_JOURNAL, PURGE};

    if (op->kind == OP_STEPS)
        order(c, worker, op, orders[rng_below(&c->world->rng, ARRAY_SIZE(orders))]);
}

void clients_operate(struct clients *c) {
    struct world *w = c->world;
    struct worker *worker = w->worker(w);
    struct op *op = &c->ops[rng_below(&w->rng, SIM_OPS)];

    if (!worker)
        return;
    if (rng_chance(&w->rng, 100)) {
        propose(worker, rng_next(&w->rng), rng_chance(&w->rng, 500) ? CMD_VERSION_BARRIER : CMD_CHECKSUM);
    } else if (rng_chance(&w->rng, 200)) {
        if (!c->patches.asked && c->patches.last < 63)
            order(c, worker, NULL, PATCH);
    } else if (op->done && !op->waiting) {
        operate_on_finished(c, worker, op);
    } else if (op->waiting) {
        world_trace(w, "operator pauses and resumes op %u", op->n);
        order(c, worker, op, PAUSE);
        order(c, worker, op, RESUME);
    }
}

/* A crash may have swallowed a resume, or a pause was stored after it: a patient operator sends it again. */
void clients_resume_all(struct clients *c) {
    struct worker *worker = c->world->worker(c->world);

    for (unsigned i = 0; worker && i < SIM_OPS; i++)
        if (c->ops[i].paused && !c->ops[i].done)
            order(c, worker, &c->ops[i], RESUME);
}

void clients_signal(struct clients *c) {
    struct world *w = c->world;
    struct worker *worker = w->worker(w);

    for (unsigned i = 0; worker && i < SIM_OPS; i++) {
        struct op *op = &c->ops[i];
        bool waits = op->kind == OP_AWAIT || op->kind == OP_CANCEL || op->kind == OP_KILL;

        if (!waits || !op->waiting || op->done || world_now(w) < op->ordered_ns)
            continue;
        if (op->ordered_ns) /* not as soon as it begins */
            order(c, worker, op, op->kind == OP_AWAIT ? SIGNAL : op->kind == OP_KILL ? KILL : CANCEL);
        op->ordered_ns = world_now(w) + 100000000 + rng_below(&w->rng, 1000000000);
    }
}
