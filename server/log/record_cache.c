/* SPDX-License-Identifier: Apache-2.0 */
#include "log/record_cache.h"

#define RING_FIRST_SLOTS 64u

struct record_cache {
    uint64_t budget, bytes; /* bytes: of evictable records */
    unsigned holds;
    struct map rings;
    struct list lru; /* least recently added to first */
};

struct record_cache *record_cache_new(uint64_t budget_bytes) {
    struct record_cache *c = xnew(struct record_cache);

    c->budget = budget_bytes;
    list_init(&c->lru);
    return c;
}

struct record_cache *record_cache_free(struct record_cache *c) {
    if (!c)
        return NULL;
    ASSERT(c->rings.n == 0);
    map_done(&c->rings);
    free(c);
    return NULL;
}

uint64_t record_cache_bytes(const struct record_cache *c) {
    return c->bytes;
}

/* Drop the oldest record of @r. */
static void drop_first(struct record_ring *r) {
    struct bytes **slot = &r->slots[r->first & r->mask];

    if (r->first < r->committed)
        r->cache->bytes -= (*slot)->len;
    *slot = bytes_unref(*slot);
    r->first++;
}

static void evict(struct record_cache *c) {
    if (c->holds)
        return;
    LIST_FOREACH (l, &c->lru) {
        struct record_ring *r = LIST_ENTRY(l, struct record_ring, lru);

        while (c->bytes > c->budget && r->first < r->next && r->first < r->committed)
            drop_first(r);
        if (c->bytes <= c->budget)
            return;
    }
}

void record_cache_hold(struct record_cache *c) {
    c->holds++;
}

void record_cache_release(struct record_cache *c) {
    ASSERT(c->holds > 0);
    if (--c->holds == 0)
        evict(c);
}

struct record_ring *record_ring_find(const struct record_cache *c, uint64_t loglet_id) {
    for (struct map_node *n = map_first(&c->rings, map_hash_u64(loglet_id)); n; n = map_next(n))
        if (MAP_ENTRY(n, struct record_ring, node)->loglet_id == loglet_id)
            return MAP_ENTRY(n, struct record_ring, node);
    return NULL;
}

struct record_ring *record_ring_open(struct record_cache *c, uint64_t loglet_id) {
    struct record_ring *r = record_ring_find(c, loglet_id);

    if (r) {
        r->refs++;
        return r;
    }
    r = xnew(struct record_ring);
    r->cache = c;
    r->loglet_id = loglet_id;
    r->refs = 1;
    r->first = r->next = r->committed = 1;
    map_add(&c->rings, &r->node, map_hash_u64(loglet_id));
    list_push_back(&c->lru, &r->lru);
    return r;
}

struct record_ring *record_ring_unref(struct record_ring *r) {
    if (!r || --r->refs)
        return NULL;
    while (r->first < r->next)
        drop_first(r);
    map_remove(&r->cache->rings, &r->node);
    list_remove(&r->lru);
    free(r->slots);
    free(r);
    return NULL;
}

static void grow(struct record_ring *r) {
    uint32_t slots = r->slots ? (r->mask + 1) * 2 : RING_FIRST_SLOTS;
    struct bytes **bigger = xnewn(struct bytes *, slots);

    for (uint32_t o = r->first; o < r->next; o++)
        bigger[o & (slots - 1)] = r->slots[o & r->mask];
    free(r->slots);
    r->slots = bigger;
    r->mask = slots - 1;
}

void record_ring_add(struct record_ring *r, uint32_t offset, struct bytes *record) {
    if (offset < r->next)
        return;
    if (offset > r->next) {
        while (r->first < r->next)
            drop_first(r);
        r->first = r->next = offset;
    }
    if (!r->slots || r->next - r->first > r->mask)
        grow(r);
    r->slots[offset & r->mask] = bytes_ref(record);
    r->next++;
    if (offset < r->committed)
        r->cache->bytes += record->len;
    if (r->lru.next != &r->cache->lru) { /* not the last one already */
        list_remove(&r->lru);
        list_push_back(&r->cache->lru, &r->lru);
    }
}

void record_ring_commit(struct record_ring *r, uint32_t tail) {
    if (tail <= r->committed)
        return;
    for (uint32_t o = MAX(r->committed, r->first); o < tail && o < r->next; o++)
        r->cache->bytes += r->slots[o & r->mask]->len;
    r->committed = tail;
    if (r->cache->bytes > r->cache->budget)
        evict(r->cache);
}
