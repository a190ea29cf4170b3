/* SPDX-License-Identifier: Apache-2.0 */
/* base/map.h : intrusive hash map. The caller embeds a node, gives the 64-bit hash of its key and compares keys itself:
 *     for (n = map_first(&m, h); n; n = map_next(n)) if (same_key(MAP_ENTRY(n, type, node))) ...
 * Order of iteration is not defined: never let it decide anything that replicas must agree on. One thread. */
#pragma once
#include "base/util.h"

struct map_node {
    struct map_node *next;
    uint64_t hash;
};
struct map { /* zeroed: empty */
    struct map_node **buckets;
    size_t n, mask;
};

void map_done(struct map *m); /* frees the buckets, not the entries */
void map_add(struct map *m, struct map_node *node, uint64_t hash);
void map_remove(struct map *m, struct map_node *node);
static inline struct map_node *map_same_(struct map_node *n, uint64_t hash) {
    while (n && n->hash != hash)
        n = n->next;
    return n;
}
static inline struct map_node *map_first(const struct map *m, uint64_t hash) {
    return m->buckets ? map_same_(m->buckets[hash & m->mask], hash) : NULL;
}
static inline struct map_node *map_next(const struct map_node *n) {
    return map_same_(n->next, n->hash);
}
/* map_iter() - the first entry (@after NULL) or the one after @after, NULL at the end. The map must not change
 * meanwhile, but
 * @after's successor may be fetched before @after is removed. */
struct map_node *map_iter(const struct map *m, const struct map_node *after);
#define MAP_ENTRY(n, type, member) CONTAINER_OF(n, type, member)
#define MAP_FOREACH(n, m)                                                                                              \
    for (struct map_node *n = map_iter((m), NULL), *n##_next = n ? map_iter((m), n) : NULL; n;                         \
         n = n##_next, n##_next = n ? map_iter((m), n) : NULL)
static inline uint64_t map_hash_u64(uint64_t x) { /* a good mix of an integer key */
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    return x;
}
