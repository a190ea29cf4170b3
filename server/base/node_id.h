/* SPDX-License-Identifier: Apache-2.0 */
/* base/node_id.h : who a node is: a stable number and how often its process was started. */
#pragma once
#include <inttypes.h>
#include <stdbool.h>

/* A process lifetime of a node: "N3:7". */
struct node_id {
    uint32_t id;         /* plain id, > 0; 0: none */
    uint32_t generation; /* 1 at the first start, +1 at every start */
};
static inline bool node_id_eq(struct node_id a, struct node_id b) {
    return a.id == b.id && a.generation == b.generation;
}
#define NODE_ID_FMT "N%" PRIu32 ":%" PRIu32
#define NODE_ID_ARG(n) (n).id, (n).generation
