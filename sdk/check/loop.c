/* SPDX-License-Identifier: Apache-2.0 */
/* A loop over poll(): watches, timers and posts of one thread. Callbacks may end any watch or timer, their own too;
 * ended ones are taken off the lists at the end of the turn. */
#include "host_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct post {
    struct post *next;
    rs_fn fn;
    void *arg;
};

struct rs_watch {
    struct rs_watch *next;
    rs_loop *loop;
    int fd;
    uint32_t events;
    rs_watch_fn fn;
    void *arg;
    bool ended;
};

struct rs_timer {
    struct rs_timer *next;
    rs_loop *loop;
    uint64_t due_ns;
    rs_fn fn;
    void *arg;
    bool ended;
};

struct rs_loop {
    struct host *host;
    pthread_t thread;
    int wake[2];
    pthread_mutex_t lock; /* posts */
    struct post *posts, **posts_tail;
    struct rs_watch *watches;
    struct rs_timer *timers;
    unsigned depth; /* of callbacks */
};

rs_loop *host_loop_new(struct host *h) {
    rs_loop *l = calloc(1, sizeof(*l));

    if (l == NULL || pipe2(l->wake, O_NONBLOCK | O_CLOEXEC) < 0) {
        free(l);
        return NULL;
    }
    l->host = h;
    l->thread = pthread_self();
    l->posts_tail = &l->posts;
    (void)pthread_mutex_init(&l->lock, NULL);
    return l;
}

/* Takes ended watches and timers off. Fired timers are ended ones: a plugin that keeps the handle may still stop it in
 * the same turn only, which is what the contract says. */
static void sweep(rs_loop *l) {
    for (struct rs_watch **p = &l->watches; *p != NULL;) {
        struct rs_watch *w = *p;
        if (w->ended) {
            *p = w->next;
            free(w);
        } else {
            p = &w->next;
        }
    }
    for (struct rs_timer **p = &l->timers; *p != NULL;) {
        struct rs_timer *t = *p;
        if (t->ended) {
            *p = t->next;
            free(t);
        } else {
            p = &t->next;
        }
    }
}

void host_loop_free(rs_loop *l) {
    if (l == NULL)
        return;
    for (struct rs_watch *w = l->watches; w != NULL; w = w->next)
        w->ended = true;
    for (struct rs_timer *t = l->timers; t != NULL; t = t->next)
        t->ended = true;
    sweep(l);
    for (struct post *p = l->posts, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    (void)close(l->wake[0]);
    (void)close(l->wake[1]);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

bool host_loop_is_current(const rs_loop *l) {
    return pthread_equal(l->thread, pthread_self()) != 0;
}
bool host_loop_in_callback(const rs_loop *l) {
    return l->depth != 0;
}

unsigned host_loop_watches(const rs_loop *l) {
    unsigned n = 0;
    for (const struct rs_watch *w = l->watches; w != NULL; w = w->next)
        n += !w->ended;
    return n;
}

unsigned host_loop_timers(const rs_loop *l) {
    unsigned n = 0;
    for (const struct rs_timer *t = l->timers; t != NULL; t = t->next)
        n += !t->ended;
    return n;
}

int loop_post(rs_loop *l, rs_fn fn, void *arg) {
    struct post *p = malloc(sizeof(*p));

    if (p == NULL)
        return RS_ENOMEM;
    *p = (struct post){.fn = fn, .arg = arg};
    (void)pthread_mutex_lock(&l->lock);
    *l->posts_tail = p;
    l->posts_tail = &p->next;
    (void)pthread_mutex_unlock(&l->lock);
    if (write(l->wake[1], "", 1) < 0) {
        /* the pipe is full: the loop wakes up anyway */
    }
    return 0;
}

int loop_watch(rs_loop *l, int fd, uint32_t events, rs_watch_fn fn, void *arg, rs_watch **ret) {
    struct rs_watch *w;

    if (!host_loop_is_current(l) || fd < 0 || fn == NULL)
        return RS_EINVAL;
    w = malloc(sizeof(*w));
    if (w == NULL)
        return RS_ENOMEM;
    *w = (struct rs_watch){.next = l->watches, .loop = l, .fd = fd, .events = events, .fn = fn, .arg = arg};
    l->watches = w;
    *ret = w;
    return 0;
}

void loop_watch_set(rs_watch *w, uint32_t events) {
    w->events = events;
}
void loop_unwatch(rs_watch *w) {
    w->ended = true;
}

int loop_timer(rs_loop *l, uint64_t delay_ns, rs_fn fn, void *arg, rs_timer **ret) {
    struct rs_timer *t;

    if (!host_loop_is_current(l) || fn == NULL)
        return RS_EINVAL;
    t = malloc(sizeof(*t));
    if (t == NULL)
        return RS_ENOMEM;
    *t = (struct rs_timer){.next = l->timers, .loop = l, .due_ns = clock_mono_ns() + delay_ns, .fn = fn, .arg = arg};
    l->timers = t;
    *ret = t;
    return 0;
}

void loop_timer_stop(rs_timer *t) {
    t->ended = true;
}

static int run_posts(rs_loop *l) {
    struct post *p, *next;
    int n = 0;

    (void)pthread_mutex_lock(&l->lock);
    p = l->posts;
    l->posts = NULL;
    l->posts_tail = &l->posts;
    (void)pthread_mutex_unlock(&l->lock);
    for (; p != NULL; p = next, n++) {
        next = p->next;
        p->fn(p->arg);
        free(p);
    }
    return n;
}

static int run_timers(rs_loop *l, uint64_t now) {
    int n = 0;

    for (struct rs_timer *t = l->timers; t != NULL; t = t->next) {
        if (!t->ended && t->due_ns <= now) {
            t->ended = true;
            t->fn(t->arg);
            n++;
        }
    }
    return n;
}

static int wait_ms(const rs_loop *l, int timeout_ms) {
    uint64_t now = clock_mono_ns();

    for (const struct rs_timer *t = l->timers; t != NULL; t = t->next) {
        uint64_t left = t->due_ns > now ? (t->due_ns - now + 999999) / 1000000 : 0;
        if (!t->ended && (timeout_ms < 0 || left < (uint64_t)timeout_ms))
            timeout_ms = (int)left;
    }
    return timeout_ms;
}

static int run_watches(rs_loop *l, int timeout_ms) {
    size_t n = 1, i = 1;
    struct pollfd *fds;
    struct rs_watch **watches;
    char drain[64];
    int called = 0;

    for (struct rs_watch *w = l->watches; w != NULL; w = w->next)
        n++;
    fds = calloc(n, sizeof(*fds));
    watches = calloc(n, sizeof(struct rs_watch *));
    if (fds != NULL && watches != NULL) {
        fds[0] = (struct pollfd){.fd = l->wake[0], .events = POLLIN};
        for (struct rs_watch *w = l->watches; w != NULL; w = w->next, i++) {
            watches[i] = w;
            fds[i].fd = w->events != 0 && !w->ended ? w->fd : -1;
            fds[i].events =
                (short)(((w->events & RS_WATCH_READ) ? POLLIN : 0) | ((w->events & RS_WATCH_WRITE) ? POLLOUT : 0));
        }
        if (poll(fds, n, timeout_ms) > 0) {
            while (read(l->wake[0], drain, sizeof(drain)) > 0) {
            }
            for (i = 1; i < n; i++) {
                uint32_t ev = ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) ? (uint32_t)RS_WATCH_READ : 0) |
                              ((fds[i].revents & (POLLOUT | POLLHUP | POLLERR)) ? (uint32_t)RS_WATCH_WRITE : 0);
                ev &= watches[i]->events; /* may have been changed by a callback before */
                if (ev != 0 && !watches[i]->ended) {
                    watches[i]->fn(watches[i]->arg, ev);
                    called++;
                }
            }
        }
    }
    free(fds);
    free(watches);
    return called;
}

int host_loop_turn(rs_loop *l, int timeout_ms) {
    int n;

    l->depth++;
    n = run_posts(l);
    n += run_timers(l, clock_mono_ns());
    n += run_watches(l, n != 0 ? 0 : wait_ms(l, timeout_ms)); /* a post made meanwhile has written to the pipe */
    l->depth--;
    sweep(l);
    return n;
}

bool host_loop_until(rs_loop *l, bool (*cond)(void *arg), void *arg, int timeout_ms) {
    uint64_t end = clock_mono_ns() + (uint64_t)timeout_ms * 1000000u;

    while (!cond(arg)) {
        if (clock_mono_ns() >= end)
            return false;
        (void)host_loop_turn(l, 20);
    }
    return true;
}
