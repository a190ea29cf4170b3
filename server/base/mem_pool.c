/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem_pool.h"

enum { GRANTS_PER_TURN = 64 }; /* a grant may end in another wait of the same user */

void mem_pool_init(struct mem_pool *p, size_t size, size_t reserve, void (*ready)(void *arg), void *arg) {
    ASSERT(reserve < size);
    *p = (struct mem_pool){.shared = size - reserve, .ready = ready, .arg = arg};
    list_init(&p->waiting);
}

static void hold(struct mem_claim *c, size_t n) {
    c->pool->used += n;
    c->held += n;
}

/* What the favoured one waits for besides must not stand behind those who wait for it. */
static void favour(struct mem_pool *p, struct mem_claim *c) {
    p->favoured = c;
    LIST_FOREACH_SAFE (e, &p->waiting) {
        if (LIST_ENTRY(e, struct mem_wait, link)->claim == c) {
            list_remove(e);
            list_push_front(&p->waiting, e);
        }
    }
}

/* Whether @c, the first in line, may hold @n more. */
static bool may_hold(struct mem_claim *c, size_t n) {
    struct mem_pool *p = c->pool;

    if (p->favoured == c || p->used + n <= p->shared)
        return true;
    if (p->favoured)
        return false;
    favour(p, c);
    return true;
}

bool mem_take_or_wait(struct mem_claim *c, struct mem_wait *w, size_t n) {
    struct mem_pool *p = c->pool;

    ASSERT(!mem_waits(w));
    if (p->favoured == c || (list_empty(&p->waiting) && may_hold(c, n))) {
        hold(c, n);
        return true;
    }
    w->claim = c;
    w->wanted = n;
    list_push_back(&p->waiting, &w->link);
    return false;
}

void mem_pool_serve(struct mem_pool *p) {
    for (unsigned n = 0; !list_empty(&p->waiting); n++) {
        struct mem_wait *w = LIST_ENTRY(p->waiting.next, struct mem_wait, link);

        if (!may_hold(w->claim, w->wanted))
            return;
        if (n == GRANTS_PER_TURN) {
            p->ready(p->arg);
            return;
        }
        list_remove(&w->link);
        hold(w->claim, w->wanted);
        w->granted(w);
    }
}

void mem_wait_cancel(struct mem_wait *w) {
    struct mem_pool *p;

    if (!mem_waits(w))
        return;
    p = w->claim->pool;
    list_remove(&w->link);
    if (!list_empty(&p->waiting)) /* it may have been what the others stood behind */
        p->ready(p->arg);
}

void mem_give(struct mem_claim *c, size_t n) {
    struct mem_pool *p = c->pool;

    if (n == 0)
        return;
    ASSERT(n <= c->held);
    c->held -= n;
    p->used -= n;
    if (p->favoured == c && c->held == 0)
        p->favoured = NULL;
    if (!list_empty(&p->waiting))
        p->ready(p->arg);
}
