/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store_test_util.h : a driven loop, an executor whose jobs the test runs one by one, and a store on a
 * sim_disk. */
#pragma once
#include "unit.h"
#include "storage/sim_storage.h"
#include "storage/store.h"

#include <stdio.h>
#include <string.h>

struct rig {
    struct exec exec; /* first */
    struct list jobs;
    uint64_t now, rnd;
    struct loop *loop;
    struct sim_disk *disk;
    struct store *store;
    struct store_table *t, *u;
    struct store_params params;
    int poisoned, writable, durable;
};

static inline uint64_t rig_mono(void *arg) {
    return ((struct rig *)arg)->now;
}
static inline void rig_random(void *arg, void *buf, size_t len) {
    memset(buf, 1, len);
}
static inline uint64_t rig_draw(struct rig *g) {
    g->rnd = g->rnd * 6364136223846793005u + 1442695040888963407u;
    return g->rnd >> 24;
}
static inline void rig_submit(struct exec *e, struct job *j) {
    list_push_back(&((struct rig *)(void *)e)->jobs, &j->link);
}
static const struct exec_ops rig_exec_ops = {.submit = rig_submit};
static inline void rig_back(void *arg) {
    struct job *j = arg;

    if (j->done)
        j->done(j);
}
/* Runs the oldest job; its done() waits for the next turn. */
static inline bool rig_run_job(struct rig *g) {
    struct list *e = list_pop_front(&g->jobs);
    struct job *j;

    if (!e)
        return false;
    j = LIST_ENTRY(e, struct job, link);
    j->run(j);
    j->back = (struct loop_task){.fn = rig_back, .arg = j};
    loop_post_task(g->loop, &j->back);
    return true;
}
static inline void rig_turn(struct rig *g) {
    while (loop_next_ns(g->loop) <= g->now)
        (void)loop_turn(g->loop);
}
/* Until nothing is on its way; time stands still. */
static inline void rig_settle(struct rig *g) {
    rig_turn(g);
    while (rig_run_job(g))
        rig_turn(g);
}
static inline void rig_pass(struct rig *g, uint64_t ns) {
    uint64_t until = g->now + ns, next;

    rig_settle(g);
    while ((next = loop_next_ns(g->loop)) <= until) {
        g->now = next > g->now ? next : g->now;
        rig_settle(g);
    }
    g->now = until;
    (void)loop_turn(g->loop); /* the loop reads its clock */
}
static inline void rig_on_poisoned(void *arg, const struct err *why) {
    assert_true(why->code < 0);
    ((struct rig *)arg)->poisoned++;
}
static inline void rig_on_writable(void *arg) {
    ((struct rig *)arg)->writable++;
}
static inline void rig_on_durable(void *arg) {
    ((struct rig *)arg)->durable++;
}
static inline void rig_open(struct rig *g) {
    struct err err;

    if (store_open(&g->params, &g->store, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(store_table_open(g->store, "t", &g->t, &err), 0);
    assert_int_equal(store_table_open(g->store, "u", &g->u, &err), 0);
}
static inline struct rig *rig_new(uint32_t durability, uint64_t seed) {
    struct rig *g = xnew(struct rig);
    struct loop_env env = {.mono_ns = rig_mono, .wall_ns = rig_mono, .random = rig_random, .arg = g};

    g->exec.ops = &rig_exec_ops;
    list_init(&g->jobs);
    g->now = 1000000000;
    g->rnd = seed;
    g->loop = loop_new_driven(&env);
    g->disk = sim_disk_new(seed);
    g->params = (struct store_params){.loop = g->loop,
                                      .writer = &g->exec,
                                      .ops = &sim_storage_ops,
                                      .self = g->disk,
                                      .caps = SIM_STORAGE_CAPS,
                                      .dir = "/n1/data-0",
                                      .name = "data-0",
                                      .durability = durability,
                                      .poisoned = rig_on_poisoned,
                                      .writable = rig_on_writable,
                                      .durable = rig_on_durable,
                                      .arg = g};
    return g;
}
static inline void rig_free(struct rig *g) {
    g->store = store_close(g->store);
    rig_settle(g);
    loop_free(g->loop);
    assert_int_equal(sim_disk_stats(g->disk).views_open, 0);
    sim_disk_free(g->disk);
    free(g);
}

/* What a callback of the store brought. */
struct outcome {
    int calls, status, order;
    int *clock;
    struct store_view *view;
};
static inline void outcome_done(void *arg, int status, const struct err *err) {
    struct outcome *o = arg;

    assert_int_equal(err != NULL, status < 0);
    o->calls++;
    o->status = status;
    if (o->clock)
        o->order = ++*o->clock;
}
static inline void outcome_view(void *arg, int status, struct store_view *take, const struct err *err) {
    outcome_done(arg, status, err);
    ((struct outcome *)arg)->view = take;
}
