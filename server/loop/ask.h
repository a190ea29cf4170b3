/* SPDX-License-Identifier: Apache-2.0 */
/* loop/ask.h : a job on an executor asks the loop for something that takes turns, and waits for the answer.
 *
 * Only for jobs that may block (exec.h). Whoever answers bounds the wait: loop_ask() itself has no deadline. The loop
 * must keep turning until every ask was answered. */
#pragma once
#include <pthread.h>
#include "loop/loop.h"

struct loop_ask { /* on the asking thread's stack */
    struct loop_task task;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool is_answered;
};

/* loop_ask() - run @fn(@arg) on the loop, then wait for loop_ask_answer(@a). Any thread but the loop's. */
void loop_ask(struct loop *l, struct loop_ask *a, loop_fn fn, void *arg);
/* loop_ask_answer() - on the loop, once, in @fn or later; @a and what is around it may be gone when it returns. */
void loop_ask_answer(struct loop_ask *a);
