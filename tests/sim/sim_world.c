/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_world.c : randomness, violations, executors. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

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

void world_trace(const struct world *w, const char *fmt, ...) {
    va_list ap;

    if (!w->trace)
        return;
    (void)printf("%9.3f ms  ", (double)world_now(w) / 1e6);
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)putchar('\n');
}

static uint64_t job_delay(struct world *w) {
    if (rng_chance(&w->rng, w->healed ? 0 : w->faults.slow_job))
        return rng_below(&w->rng, 200000000);
    return 10000 + rng_below(&w->rng, 3000000);
}

static void exec_submit_sim(struct exec *e, struct job *j) {
    struct sim_exec *x = CONTAINER_OF(e, struct sim_exec, exec);

    if (list_empty(&x->jobs))
        x->due_ns = world_now(x->world) + job_delay(x->world);
    list_push_back(&x->jobs, &j->link);
}

static void exec_free_sim(struct exec *e) {
    (void)e;
}

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

void sim_exec_run(struct sim_exec *x) {
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
        x->due_ns = world_now(x->world) + job_delay(x->world);
}
