/* SPDX-License-Identifier: Apache-2.0 */
/* loop/loop.h : one event loop per thread: posts from other threads, timers, end-of-turn hooks, file descriptors.
 *
 * A turn is: ready descriptors, then posted tasks, then due timers, then the end-of-turn hooks until none is left.
 * Callbacks never run inside the call that registered them. Everything but loop_post() and loop_stop() belongs to the
 * loop's thread.
 *
 * The same object runs without libevent under the simulator: loop_new_driven() gives a loop whose clocks and randomness
 * come from a struct loop_env and whose turns are made by loop_turn(). */
#pragma once
#include "base/err.h"
#include "base/list.h"
#include "base/util.h"

struct loop;
typedef void (*loop_fn)(void *arg);

/* What a loop takes from the world. All may be called from the loop's thread only, except mono_ns, wall_ns and random
 * of the real environment. */
struct loop_env {
    uint64_t (*mono_ns)(void *arg);
    uint64_t (*wall_ns)(void *arg); /* unix time */
    void (*random)(void *arg, void *buf, size_t len);
    void *arg;
};

int loop_new(struct loop **ret, struct err *err) RS_WARN_UNUSED; /* real: libevent, system clocks */
struct loop *loop_new_driven(const struct loop_env *env);        /* simulator: see loop_turn() */
struct loop *loop_free(struct loop *l); /* after loop_run() returned; runs what was still posted; NULL */
void loop_run(struct loop *l);          /* until loop_stop() */
void loop_stop(struct loop *l);         /* any thread */
bool loop_is_current(const struct loop *l);

/* loop_turn() - (driven loops) run one turn: posts, due timers, hooks. Returns true when something ran. */
bool loop_turn(struct loop *l);
/* loop_next_ns() - (driven loops) when the earliest timer is due; 0 when posts wait; UINT64_MAX when there is nothing.
 */
uint64_t loop_next_ns(const struct loop *l);

uint64_t loop_now_ns(const struct loop *l);  /* monotonic, read once per turn */
uint64_t loop_mono_ns(const struct loop *l); /* monotonic, read now */
uint64_t loop_wall_ns(const struct loop *l); /* unix time, read now */
void loop_random(struct loop *l, void *buf, size_t len);
uint64_t loop_random_u64(struct loop *l);

/* loop_post() - run fn(arg) on the loop, in post order, in a later turn. Any thread. */
void loop_post(struct loop *l, loop_fn fn, void *arg);

/* A task that lives inside another struct: posting it cannot fail and allocates nothing. Posted at most once until it
 * ran. */
struct loop_task {
    struct loop_task *next;
    loop_fn fn;
    void *arg;
};
void loop_post_task(struct loop *l, struct loop_task *t); /* any thread */

/* End-of-turn hook: run once at the end of this turn (or of the next, when armed from outside a turn). Arming an armed
 * hook does nothing. Own thread. */
struct loop_hook {
    struct list link;
    loop_fn fn;
    void *arg;
};
void loop_hook_init(struct loop_hook *h, loop_fn fn, void *arg);
void loop_hook_arm(struct loop *l, struct loop_hook *h);
void loop_hook_disarm(struct loop_hook *h);

/* Timers live inside other structs. Setting a set timer moves it; moving it later costs nothing. Own thread. */
struct timer {
    uint64_t due_ns;   /* when it shall fire */
    uint64_t filed_ns; /* where it stands in the heap: at or before due_ns */
    size_t slot;       /* heap index + 1; 0: not armed */
    loop_fn fn;
    void *arg;
};
void timer_init(struct timer *t, loop_fn fn, void *arg);
void timer_set_at(struct loop *l, struct timer *t, uint64_t due_ns); /* loop_now_ns() time base */
void timer_set(struct loop *l, struct timer *t, uint64_t delay_ns);
void timer_stop(struct loop *l, struct timer *t);
static inline bool timer_armed(const struct timer *t) {
    return t->slot != 0;
}

/* File descriptors, level triggered; RS_WATCH_READ | RS_WATCH_WRITE. Real loops only. */
struct watch;
typedef void (*watch_fn)(void *arg, unsigned events);
int watch_new(struct loop *l, int fd, unsigned events, watch_fn fn, void *arg, struct watch **ret) RS_WARN_UNUSED;
void watch_set(struct watch *w, unsigned events);
struct watch *watch_free(struct watch *w); /* no callback after return; NULL */
