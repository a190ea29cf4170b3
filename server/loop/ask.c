/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/ask.h"

void loop_ask(struct loop *l, struct loop_ask *a, loop_fn fn, void *arg) {
    ASSERT(!loop_is_current(l));
    *a = (struct loop_ask){.task = {.fn = fn, .arg = arg}};
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->answered, NULL);
    loop_post_task(l, &a->task);
    (void)pthread_mutex_lock(&a->lock);
    while (!a->is_answered)
        (void)pthread_cond_wait(&a->answered, &a->lock);
    (void)pthread_mutex_unlock(&a->lock);
    (void)pthread_cond_destroy(&a->answered);
    (void)pthread_mutex_destroy(&a->lock);
}

void loop_ask_answer(struct loop_ask *a) {
    (void)pthread_mutex_lock(&a->lock);
    a->is_answered = true;
    (void)pthread_cond_signal(&a->answered); /* under the lock: @a is there until it is let go */
    (void)pthread_mutex_unlock(&a->lock);
}
