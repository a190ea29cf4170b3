/* SPDX-License-Identifier: Apache-2.0 */
/* loop/loop.c : turns, posts, timers and hooks. The part that waits is loop_event.c (libevent) or the simulator.
 *
 * Timers stand in a 4-ary heap ordered by filed_ns. Moving a timer later only changes due_ns: it is filed anew when it
 * comes up, so that the common "reset the idle timer on every frame" costs one store. */
#include "loop/loop_internal.h"

#include <sys/random.h>
#include <time.h>

static uint64_t clock_ns(clockid_t id) {
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
static uint64_t real_mono(void *arg) {
    return clock_ns(CLOCK_MONOTONIC);
}
static uint64_t real_wall(void *arg) {
    return clock_ns(CLOCK_REALTIME);
}
static void real_random(void *arg, void *buf, size_t len) {
    uint8_t *p = buf;

    while (len) {
        ssize_t n = getrandom(p, len, 0);

        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}
const struct loop_env loop_real_env = {.mono_ns = real_mono, .wall_ns = real_wall, .random = real_random};

void loop_init(struct loop *l, const struct loop_env *env) {
    l->env = *env;
    l->now_ns = env->mono_ns(env->arg);
    list_init(&l->hooks);
    l->post_tail = &l->post_head;
    (void)pthread_mutex_init(&l->lock, NULL);
}

struct loop *loop_new_driven(const struct loop_env *env) {
    struct loop *l = xnew(struct loop);

    loop_init(l, env);
    return l;
}

struct loop *loop_free(struct loop *l) {
    if (!l)
        return NULL;
    while (loop_run_posts(l))
        ;
    if (l->base)
        loop_event_done(l);
    (void)pthread_mutex_destroy(&l->lock);
    free(l->heap);
    free(l);
    return NULL;
}

uint64_t loop_now_ns(const struct loop *l) {
    return l->now_ns;
}
uint64_t loop_mono_ns(const struct loop *l) {
    return l->env.mono_ns(l->env.arg);
}
uint64_t loop_wall_ns(const struct loop *l) {
    return l->env.wall_ns(l->env.arg);
}

/* Small requests come from a buffer: one system call per 256 bytes. The simulator's source is cheap and is asked
 * directly. */
void loop_random(struct loop *l, void *buf, size_t len) {
    if (!l->base || len > sizeof l->entropy / 2) {
        l->env.random(l->env.arg, buf, len);
        return;
    }
    if (l->entropy_left < len) {
        l->env.random(l->env.arg, l->entropy, sizeof l->entropy);
        l->entropy_left = sizeof l->entropy;
    }
    l->entropy_left -= len;
    memcpy(buf, l->entropy + l->entropy_left, len);
    memset(l->entropy + l->entropy_left, 0, len);
}

uint64_t loop_random_u64(struct loop *l) {
    uint64_t v;

    loop_random(l, &v, sizeof v);
    return v;
}

bool loop_is_current(const struct loop *l) {
    return !l->base || pthread_equal(l->thread, pthread_self());
}

/* ---- posts ---- */

void loop_post_task(struct loop *l, struct loop_task *t) {
    bool wake;

    t->next = NULL;
    (void)pthread_mutex_lock(&l->lock);
    wake = l->post_head == NULL;
    *l->post_tail = t;
    l->post_tail = &t->next;
    (void)pthread_mutex_unlock(&l->lock);
    if (wake && l->base && !pthread_equal(l->thread, pthread_self()))
        loop_event_wake(l);
}

struct heap_task {
    struct loop_task task;
    loop_fn fn;
    void *arg;
};

static void run_heap_task(void *arg) {
    struct heap_task t = *(struct heap_task *)arg;

    free(arg);
    t.fn(t.arg);
}

void loop_post(struct loop *l, loop_fn fn, void *arg) {
    struct heap_task *t = xnew(struct heap_task);

    t->fn = fn;
    t->arg = arg;
    t->task.fn = run_heap_task;
    t->task.arg = t;
    loop_post_task(l, &t->task);
}

/* Runs what was posted before this call; what these post waits for the next turn. */
bool loop_run_posts(struct loop *l) {
    struct loop_task *t;

    (void)pthread_mutex_lock(&l->lock);
    t = l->post_head;
    l->post_head = NULL;
    l->post_tail = &l->post_head;
    (void)pthread_mutex_unlock(&l->lock);
    if (!t)
        return false;
    while (t) {
        struct loop_task *next = t->next;

        t->fn(t->arg); /* may free t */
        t = next;
    }
    return true;
}

bool loop_has_posts(struct loop *l) {
    bool r;

    (void)pthread_mutex_lock(&l->lock);
    r = l->post_head != NULL;
    (void)pthread_mutex_unlock(&l->lock);
    return r;
}

/* ---- hooks ---- */

void loop_hook_init(struct loop_hook *h, loop_fn fn, void *arg) {
    *h = (struct loop_hook){.fn = fn, .arg = arg};
}
void loop_hook_arm(struct loop *l, struct loop_hook *h) {
    if (!list_linked(&h->link))
        list_push_back(&l->hooks, &h->link);
}
void loop_hook_disarm(struct loop_hook *h) {
    list_remove(&h->link);
}

/* ---- timers ---- */

static void heap_put(struct loop *l, size_t i, struct timer *t) {
    l->heap[i] = t;
    t->slot = i + 1;
}

static void sift_up(struct loop *l, size_t i) {
    struct timer *t = l->heap[i];

    while (i && l->heap[(i - 1) / 4]->filed_ns > t->filed_ns) {
        heap_put(l, i, l->heap[(i - 1) / 4]);
        i = (i - 1) / 4;
    }
    heap_put(l, i, t);
}

static void sift_down(struct loop *l, size_t i) {
    struct timer *t = l->heap[i];

    for (;;) {
        size_t best = i * 4 + 1, end = MIN(i * 4 + 5, l->heap_n);

        if (best >= l->heap_n)
            break;
        for (size_t k = best + 1; k < end; k++)
            if (l->heap[k]->filed_ns < l->heap[best]->filed_ns)
                best = k;
        if (l->heap[best]->filed_ns >= t->filed_ns)
            break;
        heap_put(l, i, l->heap[best]);
        i = best;
    }
    heap_put(l, i, t);
}

void timer_init(struct timer *t, loop_fn fn, void *arg) {
    *t = (struct timer){.fn = fn, .arg = arg};
}

void timer_set_at(struct loop *l, struct timer *t, uint64_t due_ns) {
    t->due_ns = due_ns;
    if (!t->slot) {
        if (l->heap_n == l->heap_cap) {
            l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 64;
            l->heap = xrealloc(l->heap, l->heap_cap * sizeof(struct timer *));
        }
        t->filed_ns = due_ns;
        l->heap[l->heap_n++] = t;
        sift_up(l, l->heap_n - 1);
    } else if (due_ns < t->filed_ns) {
        t->filed_ns = due_ns;
        sift_up(l, t->slot - 1);
    }
}

void timer_set(struct loop *l, struct timer *t, uint64_t delay_ns) {
    uint64_t due;

    if (__builtin_add_overflow(l->now_ns, delay_ns, &due))
        due = UINT64_MAX - 1;
    timer_set_at(l, t, due);
}

void timer_stop(struct loop *l, struct timer *t) {
    size_t i = t->slot;
    struct timer *last;

    if (!i)
        return;
    t->slot = 0;
    last = l->heap[--l->heap_n];
    if (last == t)
        return;
    heap_put(l, i - 1, last);
    sift_up(l, i - 1);
    sift_down(l, last->slot - 1);
}

bool loop_run_timers(struct loop *l) {
    bool ran = false;

    while (l->heap_n && l->heap[0]->filed_ns <= l->now_ns) {
        struct timer *t = l->heap[0];

        if (t->due_ns > l->now_ns) {
            t->filed_ns = t->due_ns;
            sift_down(l, 0);
            continue;
        }
        timer_stop(l, t);
        t->fn(t->arg); /* may free or set t */
        ran = true;
    }
    return ran;
}

uint64_t loop_timer_due(const struct loop *l) {
    return l->heap_n ? l->heap[0]->filed_ns : UINT64_MAX;
}

/* ---- a turn ---- */

bool loop_finish_turn(struct loop *l) {
    bool ran;
    struct list *e;

    l->now_ns = loop_mono_ns(l);
    ran = loop_run_posts(l);
    ran |= loop_run_timers(l);
    while ((e = list_pop_front(&l->hooks))) {
        struct loop_hook *h = LIST_ENTRY(e, struct loop_hook, link);

        h->fn(h->arg);
        ran = true;
    }
    return ran;
}

bool loop_turn(struct loop *l) {
    ASSERT(!l->base);
    return loop_finish_turn(l);
}

uint64_t loop_next_ns(const struct loop *l) {
    return l->post_head || !list_empty(&l->hooks) ? 0 : loop_timer_due(l);
}
