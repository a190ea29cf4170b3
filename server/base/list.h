/* SPDX-License-Identifier: Apache-2.0 */
/* base/list.h : intrusive doubly linked list. No allocation; an entry is in at most one list per link. */
#pragma once
#include <stdbool.h>
#include "base/util.h"

struct list {
    struct list *next, *prev; /* a head points to itself when empty; an entry out of any list has next NULL */
};

#define LIST_INIT(h) ((struct list){&(h), &(h)})
static inline void list_init(struct list *h) {
    h->next = h->prev = h;
}
static inline bool list_empty(const struct list *h) {
    return h->next == h;
}
static inline bool list_linked(const struct list *e) {
    return e->next != NULL;
}
static inline void list_insert(struct list *e, struct list *prev) {
    e->next = prev->next;
    e->prev = prev;
    prev->next->prev = e;
    prev->next = e;
}
static inline void list_push_back(struct list *h, struct list *e) {
    list_insert(e, h->prev);
}
static inline void list_push_front(struct list *h, struct list *e) {
    list_insert(e, h);
}
static inline void list_remove(struct list *e) { /* of an entry in no list: nothing happens */
    if (!e->next)
        return;
    e->next->prev = e->prev;
    e->prev->next = e->next;
    e->next = e->prev = NULL;
}
static inline struct list *list_pop_front(struct list *h) { /* NULL when empty */
    struct list *e = h->next;

    if (e == h)
        return NULL;
    list_remove(e);
    return e;
}
/* list_splice() - move all of @from to the end of @to. */
static inline void list_splice(struct list *to, struct list *from) {
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}
#define LIST_ENTRY(e, type, member) CONTAINER_OF(e, type, member)
#define LIST_FOREACH(e, h) for (struct list *e = (h)->next; e != (h); e = e->next)
#define LIST_FOREACH_SAFE(e, h)                                                                                        \
    for (struct list *e = (h)->next, *e##_next = e->next; e != (h); e = e##_next, e##_next = e->next)
