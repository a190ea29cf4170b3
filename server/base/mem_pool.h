/* SPDX-License-Identifier: Apache-2.0 */
/* base/mem_pool.h : an account of memory that many users share. It allocates nothing: users take bytes before they keep
 * them and give them back when they let go.
 *
 * Who cannot get what it wants waits, first come first served. Waiting cannot end in a deadlock in which everybody
 * holds a little and wants more: a reserve is kept for one claim at a time, that of the first in the queue, which gets
 * whatever it asks for until it has given everything back. So one always goes on, and @size is kept as long as no claim
 * holds more than the reserve. Those who ask when there is room pay a comparison and two additions.
 *
 * One loop; nothing here is thread safe. */
#pragma once
#include "base/list.h"

struct mem_claim;
struct mem_pool {
    size_t shared; /* bytes for everybody; the reserve is beyond */
    size_t used;   /* all that is held, from the reserve, too */
    struct list waiting;
    struct mem_claim *favoured; /* may use the reserve; NULL: nobody */
    void (*ready)(void *arg);   /* somebody may be served: call mem_pool_serve() in a later turn */
    void *arg;
};

struct mem_claim { /* of one user; zeroed plus pool is ready */
    struct mem_pool *pool;
    size_t held;
};

struct mem_wait { /* one thing a user waits for; zeroed is ready */
    struct list link;
    struct mem_claim *claim;
    size_t wanted;
    void (*granted)(struct mem_wait *w); /* the bytes are held */
};

/* mem_pool_init() - @size bytes, of which @reserve (less than @size) for one claim at a time. */
void mem_pool_init(struct mem_pool *p, size_t size, size_t reserve, void (*ready)(void *arg), void *arg);
/* mem_pool_serve() - grants what can be granted, in order. granted() may take, give and wait. */
void mem_pool_serve(struct mem_pool *p);

/* mem_take() - true: @n bytes are held. False: they are not, and nobody waits. */
static inline bool mem_take(struct mem_claim *c, size_t n) {
    struct mem_pool *p = c->pool;

    if (!list_empty(&p->waiting) || p->used + n > p->shared)
        return false;
    p->used += n;
    c->held += n;
    return true;
}
/* mem_take_or_wait() - as mem_take(); false: @w waits, and its granted() comes from mem_pool_serve(). @w must not wait
 * already. */
bool mem_take_or_wait(struct mem_claim *c, struct mem_wait *w, size_t n);
static inline bool mem_waits(const struct mem_wait *w) {
    return list_linked(&w->link);
}
void mem_wait_cancel(struct mem_wait *w); /* not waiting: nothing happens */
void mem_give(struct mem_claim *c, size_t n);
