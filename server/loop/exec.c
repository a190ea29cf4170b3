/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/exec.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BACKGROUND_NICE = 10, BACKGROUND_SLICE_NS = 50000000 };

struct threads {
    struct exec exec;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct list jobs;
    bool stopping, background;
    char name[12];
    unsigned n, started, idle;
    pthread_t ids[];
};

static void report(void *arg) {
    struct job *j = arg;

    if (j->done)
        j->done(j);
}

/* The kernel's struct sched_attr, first version; the C library has no name for it yet. */
struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* Less of the processor than others, and the processor at once to whoever wakes: since Linux 6.12 that needs a slice
 * longer than theirs. Linux keeps both per thread, and asking for less needs no right. */
static void yield_to_others(void) {
    struct sched_attributes a = {.size = sizeof a, .policy = SCHED_OTHER, .runtime = BACKGROUND_SLICE_NS};

    a.nice = MIN(getpriority(PRIO_PROCESS, 0) + BACKGROUND_NICE, 19);
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

static void *worker(void *arg) {
    struct threads *t = arg;

    if (t->background)
        yield_to_others();
    (void)pthread_mutex_lock(&t->lock);
    for (;;) {
        struct list *e;
        struct job *j;

        while (!(e = list_pop_front(&t->jobs)) && !t->stopping) {
            t->idle++;
            (void)pthread_cond_wait(&t->more, &t->lock);
            t->idle--;
        }
        if (!e)
            break;
        (void)pthread_mutex_unlock(&t->lock);
        j = LIST_ENTRY(e, struct job, link);
        j->run(j);
        j->back = (struct loop_task){.fn = report, .arg = j};
        loop_post_task(j->loop, &j->back);
        (void)pthread_mutex_lock(&t->lock);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void start_one(struct threads *t) {
    sigset_t all, old;
    char name[16];

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    ASSERT(pthread_create(&t->ids[t->started], NULL, worker, t) == 0);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)snprintf(name, sizeof name, "%.11s-%u", t->name, t->started);
    (void)pthread_setname_np(t->ids[t->started], name);
    t->started++;
}

static void threads_submit(struct exec *e, struct job *j) {
    struct threads *t = CONTAINER_OF(e, struct threads, exec);

    (void)pthread_mutex_lock(&t->lock);
    list_push_back(&t->jobs, &j->link);
    if (t->idle)
        (void)pthread_cond_signal(&t->more);
    else if (t->started < t->n)
        start_one(t);
    (void)pthread_mutex_unlock(&t->lock);
}

static void threads_free(struct exec *e) {
    struct threads *t = CONTAINER_OF(e, struct threads, exec);

    (void)pthread_mutex_lock(&t->lock);
    t->stopping = true;
    (void)pthread_cond_broadcast(&t->more);
    (void)pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < t->started; i++)
        (void)pthread_join(t->ids[i], NULL);
    (void)pthread_cond_destroy(&t->more);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

static const struct exec_ops threads_ops = {.submit = threads_submit, .free = threads_free};

static struct threads *threads_new(const char *name, unsigned n) {
    struct threads *t = xcalloc(1, sizeof *t + n * sizeof(pthread_t));

    t->exec.ops = &threads_ops;
    t->n = n;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    list_init(&t->jobs);
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->more, NULL);
    return t;
}

struct exec *exec_new_threads(const char *name, unsigned n) {
    return &threads_new(name, n)->exec;
}

struct exec *exec_new_background(const char *name, unsigned n) {
    struct threads *t = threads_new(name, n);

    t->background = true;
    return &t->exec;
}
