/* SPDX-License-Identifier: Apache-2.0 */
/* loop/exec.h : executors, the only places where blocking calls are made.
 *
 * A job's run() is called on a thread of the executor, then its done() on the loop the job was submitted with. In the
 * simulator an executor is a source of events whose start and end are drawn from the seed (exec_new_custom). */
#pragma once
#include "loop/loop.h"

struct job {
    struct list link;           /* the executor's */
    struct loop_task back;      /* the executor's */
    void (*run)(struct job *);  /* blocking is fine; touches nothing of the loop */
    void (*done)(struct job *); /* on @loop, once, after run(); may free the job; may be NULL */
    struct loop *loop;          /* set by exec_submit() */
};

struct exec;
struct exec_ops {
    void (*submit)(struct exec *, struct job *);
    void (*free)(struct exec *); /* finishes what was submitted, joins */
};
struct exec {
    const struct exec_ops *ops;
};

/* exec_new_threads() - @n threads named "@name-<i>"; with @n 1 jobs run in submit order, one at a time. Threads are
 * started at the first submit. All signals are blocked in them. */
struct exec *exec_new_threads(const char *name, unsigned n);
/* The same for work nobody waits for: its threads take the processor only where the loops and the log leave it. */
struct exec *exec_new_background(const char *name, unsigned n);
static inline void exec_submit(struct exec *e, struct loop *l, struct job *j) {
    j->loop = l;
    e->ops->submit(e, j);
}
static inline struct exec *exec_free(struct exec *e) {
    if (e)
        e->ops->free(e);
    return NULL;
}
