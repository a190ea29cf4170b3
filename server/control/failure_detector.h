/* SPDX-License-Identifier: Apache-2.0 */
/* control/failure_detector.h : who is alive, from gossip alone (spec cluster.md §15). Pure: the owner ticks it, feeds
 * it what came and sends what it says. A hint: it may influence who tries something and when, never whether it is safe.
 */
#pragma once
#include "base/node_id.h"
#include "base/util.h"

enum fd_state { FD_DEAD, FD_SUSPECT, FD_ALIVE, FD_LEAVING }; /* on the wire */
const char *fd_state_str(enum fd_state s);

enum { FD_NODES_MAX = 256 };
struct fd_params {
    uint32_t failure_threshold; /* ticks without news: dead */
    uint32_t suspect_ticks;     /* one that died and comes back in the same generation waits so long */
    uint32_t lonely_ticks;      /* nothing heard for so long: I am cut off, my view counts for nothing */
    uint32_t good_ticks;        /* first contact and new generations: fresh news so often in a row; 0: 3 */
    uint64_t skew_ms;           /* clocks may differ by so much; 0: 1 s */
};
struct fd_node {
    struct node_id id;
    uint64_t instance; /* start of its process, unix ms; 0: never heard of */
    uint32_t age;      /* ticks since it was heard of, by anybody */
    enum fd_state state;
    bool leaving, died; /* died: was alive in this generation before */
    bool gone;          /* its process has ended: what others say of it is old */
    uint32_t good;      /* ticks in a row with fresh news */
    uint64_t seen_ms;   /* unix time of the last news */
};
struct failure_detector {
    struct fd_params p;
    struct node_id self;
    uint64_t instance;
    struct fd_node nodes[FD_NODES_MAX]; /* others; by plain id */
    unsigned n;
    uint32_t silence; /* ticks since anything came */
};
void fd_init(struct failure_detector *fd, const struct fd_params *p, struct node_id self, uint64_t instance);
/* fd_members() - the nodes of the cluster with their current generations; others are forgotten. */
void fd_members(struct failure_detector *fd, const struct node_id *ids, unsigned n);
void fd_tick(struct failure_detector *fd);
/* fd_believes() - false: what a process that began at @started_ms says it sent at @sent_ms is from the future, or from
 * before its beginning. Unix time. */
bool fd_believes(const struct failure_detector *fd, uint64_t started_ms, uint64_t sent_ms, uint64_t now_ms);
/* fd_heard() - of @id by @from_itself or by somebody who heard of it @age ticks ago. */
void fd_heard(struct failure_detector *fd, struct node_id id, uint64_t instance, uint32_t age, bool leaving,
              bool from_itself, uint64_t now_ms);
/* fd_gone() - its process is known to have ended (its port refuses connections and the last one was reset). */
void fd_gone(struct failure_detector *fd, struct node_id id);
const struct fd_node *fd_find(const struct failure_detector *fd, uint32_t id);
/* fd_is_alive() - also of myself. */
bool fd_is_alive(const struct failure_detector *fd, uint32_t id);
bool fd_is_suspect(const struct failure_detector *fd, uint32_t id);
bool fd_is_heard_of(const struct failure_detector *fd, uint32_t id); /* alive or suspect */
bool fd_is_lonely(const struct failure_detector *fd);
