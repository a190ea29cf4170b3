/* SPDX-License-Identifier: Apache-2.0 */
/* loop/loop_internal.h : the struct shared by loop.c (turns) and loop_event.c (waiting). */
#pragma once
#include <pthread.h>
#include <string.h>
#include "loop/loop.h"

struct event_base;
struct event;

struct loop {
    struct loop_env env;
    uint64_t now_ns;
    pthread_mutex_t lock; /* guards the posts */
    struct loop_task *post_head, **post_tail;
    struct list hooks;
    struct timer **heap;
    size_t heap_n, heap_cap;
    uint8_t entropy[256];
    size_t entropy_left;
    /* real loops only */
    struct event_base *base; /* NULL: driven */
    struct event *wake, *timeout;
    uint64_t timeout_ns; /* when the timeout event stands, 0 never armed */
    int wake_fd;
    bool stop; /* atomic */
    pthread_t thread;
};

extern const struct loop_env loop_real_env;
void loop_init(struct loop *l, const struct loop_env *env);
bool loop_run_posts(struct loop *l);
bool loop_has_posts(struct loop *l);
bool loop_run_timers(struct loop *l);
uint64_t loop_timer_due(const struct loop *l); /* UINT64_MAX: none */
bool loop_finish_turn(struct loop *l);         /* everything after the descriptors */
void loop_event_wake(struct loop *l);
void loop_event_done(struct loop *l);
