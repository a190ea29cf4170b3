/* SPDX-License-Identifier: Apache-2.0 */
/* log/record_cache.h : records in memory: those in flight and those committed lately, per loglet a ring of consecutive
 * offsets. Presence says nothing about commitment. In-flight records are never evicted (the window bounds them); the
 * others share one budget. */
#pragma once
#include "base/bytes.h"
#include "base/list.h"
#include "base/map.h"

struct record_cache;
struct record_ring {
    struct map_node node;
    struct list lru;
    struct record_cache *cache;
    uint64_t loglet_id;
    unsigned refs;
    uint32_t first, next; /* offsets held: first .. next-1 */
    uint32_t committed;   /* offsets below may be evicted */
    uint32_t mask;        /* slots - 1 */
    struct bytes **slots;
};

struct record_cache *record_cache_new(uint64_t budget_bytes);
struct record_cache *record_cache_free(struct record_cache *c); /* no ring may be left */
uint64_t record_cache_bytes(const struct record_cache *c);      /* evictable */
/* record_cache_hold() / _release() - nothing is evicted between them. */
void record_cache_hold(struct record_cache *c);
void record_cache_release(struct record_cache *c);

struct record_ring *record_ring_open(struct record_cache *c, uint64_t loglet_id); /* one reference; made when missing */
struct record_ring *record_ring_find(const struct record_cache *c, uint64_t loglet_id); /* borrowed; NULL: none */
struct record_ring *record_ring_unref(struct record_ring *r); /* NULL; the last one drops the records */
/* record_ring_add() - takes a reference. An offset already held is ignored; a jump ahead drops what was held. */
void record_ring_add(struct record_ring *r, uint32_t offset, struct bytes *record);
void record_ring_commit(struct record_ring *r, uint32_t tail); /* offsets < @tail are no longer in flight */
static inline struct bytes *record_ring_get(const struct record_ring *r, uint32_t offset) {
    return offset >= r->first && offset < r->next ? r->slots[offset & r->mask] : NULL;
}
