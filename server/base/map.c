/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

void map_done(struct map *m) {
    free(m->buckets);
    *m = (struct map){0};
}

static void grow(struct map *m) {
    size_t cap = m->buckets ? (m->mask + 1) * 2 : 16;
    struct map_node **b = xnewn(struct map_node *, cap);

    for (size_t i = 0; m->buckets && i <= m->mask; i++)
        for (struct map_node *n = m->buckets[i], *next; n; n = next) {
            next = n->next;
            n->next = b[n->hash & (cap - 1)];
            b[n->hash & (cap - 1)] = n;
        }
    free(m->buckets);
    m->buckets = b;
    m->mask = cap - 1;
}

void map_add(struct map *m, struct map_node *node, uint64_t hash) {
    if (!m->buckets || m->n > m->mask)
        grow(m);
    node->hash = hash;
    node->next = m->buckets[hash & m->mask];
    m->buckets[hash & m->mask] = node;
    m->n++;
}

void map_remove(struct map *m, struct map_node *node) {
    struct map_node **p = &m->buckets[node->hash & m->mask];

    while (*p != node) {
        ASSERT(*p);
        p = &(*p)->next;
    }
    *p = node->next;
    m->n--;
}

struct map_node *map_iter(const struct map *m, const struct map_node *after) {
    size_t i = 0;

    if (!m->buckets)
        return NULL;
    if (after) {
        if (after->next)
            return after->next;
        i = (after->hash & m->mask) + 1;
    }
    for (; i <= m->mask; i++)
        if (m->buckets[i])
            return m->buckets[i];
    return NULL;
}
