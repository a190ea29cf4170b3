/* SPDX-License-Identifier: Apache-2.0 */
/* loop/loop_event.c : waiting for descriptors and timeouts with libevent, the only file that includes it. */
#include "loop/loop_internal.h"

#include <event2/event.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct watch {
    struct loop *loop;
    struct event *ev;
    int fd;
    unsigned events;
    watch_fn fn;
    void *arg;
};

static void on_wake(evutil_socket_t fd, short what, void *arg) {
    uint64_t v;

    (void)!read(fd, &v, sizeof v);
}

/* Ends the wait; the turn looks at the heap. It may come a few ms early: libevent's clock is coarse. */
static void on_timeout(evutil_socket_t fd, short what, void *arg) {
    struct loop *l = arg;

    l->timeout_ns = 0;
}

void loop_event_wake(struct loop *l) {
    uint64_t one = 1;

    (void)!write(l->wake_fd, &one, sizeof one); /* a full counter wakes as well */
}

int loop_new(struct loop **ret, struct err *err) {
    struct loop *l = xnew(struct loop);
    struct event_config *cfg = event_config_new();

    loop_init(l, &loop_real_env);
    if (cfg)
        (void)event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    l->base = cfg ? event_base_new_with_config(cfg) : NULL;
    if (cfg)
        event_config_free(cfg);
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->base && l->wake_fd >= 0)
        l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
    if (l->base)
        l->timeout = evtimer_new(l->base, on_timeout, l);
    if (!l->wake || !l->timeout || event_add(l->wake, NULL) < 0) {
        int r = err_errno(err, "cannot make an event loop");

        if (l->base)
            loop_event_done(l);
        free(l);
        return r;
    }
    l->thread = pthread_self();
    *ret = l;
    return 0;
}

void loop_event_done(struct loop *l) {
    if (l->wake)
        event_free(l->wake);
    if (l->timeout)
        event_free(l->timeout);
    if (l->wake_fd >= 0)
        (void)close(l->wake_fd);
    event_base_free(l->base);
    l->base = NULL;
}

/* The libevent timeout is only ever moved earlier: waking up too early costs one empty turn, moving it costs a heap
 * operation. */
static void arm_timeout(struct loop *l, uint64_t now, uint64_t due) {
    uint64_t us = (due - now + 999) / 1000;
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};

    if (l->timeout_ns > now && l->timeout_ns <= due)
        return;
    l->timeout_ns = due;
    (void)event_add(l->timeout, &tv);
}

static void wait_once(struct loop *l) {
    uint64_t due = loop_timer_due(l), now = l->now_ns;
    int flags = EVLOOP_ONCE;

    if (loop_has_posts(l) || due <= now || !list_empty(&l->hooks))
        flags |= EVLOOP_NONBLOCK;
    else if (due != UINT64_MAX)
        arm_timeout(l, now, due);
    (void)event_base_loop(l->base, flags);
}

void loop_run(struct loop *l) {
    if (!pthread_equal(l->thread, pthread_self())) /* others read it already: what was submitted may be done */
        l->thread = pthread_self();
    while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
        l->now_ns = loop_mono_ns(l);
        wait_once(l);
        (void)loop_finish_turn(l);
    }
    l->stop = false;
}

void loop_stop(struct loop *l) {
    __atomic_store_n(&l->stop, true, __ATOMIC_RELEASE);
    if (l->base)
        loop_event_wake(l);
}

static void on_watch(evutil_socket_t fd, short what, void *arg) {
    struct watch *w = arg;

    w->fn(w->arg, (what & EV_READ ? RS_WATCH_READ : 0u) | (what & EV_WRITE ? RS_WATCH_WRITE : 0u));
}

static short ev_flags(unsigned events) {
    return (short)(EV_PERSIST | (events & RS_WATCH_READ ? EV_READ : 0) | (events & RS_WATCH_WRITE ? EV_WRITE : 0));
}

int watch_new(struct loop *l, int fd, unsigned events, watch_fn fn, void *arg, struct watch **ret) {
    struct watch *w = xnew(struct watch);

    *w = (struct watch){.loop = l, .fd = fd, .events = events, .fn = fn, .arg = arg};
    w->ev = event_new(l->base, fd, ev_flags(events), on_watch, w);
    if (!w->ev || (events && event_add(w->ev, NULL) < 0)) {
        if (w->ev)
            event_free(w->ev);
        free(w);
        return RS_ENOMEM;
    }
    *ret = w;
    return 0;
}

void watch_set(struct watch *w, unsigned events) {
    if (events == w->events)
        return;
    (void)event_del(w->ev);
    (void)event_assign(w->ev, w->loop->base, w->fd, ev_flags(events), on_watch, w);
    w->events = events;
    if (events)
        (void)event_add(w->ev, NULL);
}

struct watch *watch_free(struct watch *w) {
    if (w) {
        event_free(w->ev);
        free(w);
    }
    return NULL;
}
