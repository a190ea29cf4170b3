/* SPDX-License-Identifier: Apache-2.0 */
/* control/control.h : the cluster's control on this node: gossip and failure detection, the state of all nodes as
 * heard, and the controller: the alive admin node with the smallest id places partitions and says who leads (spec
 * cluster.md §15, §19). Everybody has the whole picture, so status is answered anywhere, also without a quorum.
 *
 * One loop. */
#pragma once
#include "control/failure_detector.h"
#include "meta/meta.h"
#include "net/fabric.h"
#include "worker/partition.h"
#include "worker/worker.h"

struct control;
struct nodes_config;

struct control_params {
    struct loop *loop;
    struct fabric *fabric;
    struct meta *meta;
    struct worker *worker;                          /* never NULL: an ingress-only one where the role is off */
    const struct nodes_config *(*nodes)(void *arg); /* the newest known; never NULL after joining */
    void (*lost)(void *arg, struct node_id id);     /* a node is dead now; may be NULL */
    void *arg;
    struct node_id self;
    uint64_t tick_ns, replace_delay_ns; /* 0: 100 ms, 30 s */
    struct fd_params fd;                /* failure_threshold 0: 10, 50, 30 */
    unsigned gossip_peers;              /* 0: 2 */
};
struct control *control_open(const struct control_params *p);
/* control_leave() - tell everybody that this node is going: it leads nothing any more. */
void control_leave(struct control *c);
/* control_gone() - the process @id has certainly ended; control_news() - a role of this worker changed: both are acted
 * on at once. */
void control_gone(struct control *c, struct node_id id);
void control_news(struct control *c);
struct control *control_close(struct control *c); /* before the worker; NULL */

/* ---- the picture ---- */

struct control_processor {      /* as a node told it */
    struct partition_info info; /* error: NULL */
    char error[160];
};
struct control_node {
    struct node_id id;
    enum fd_state state;
    uint64_t started_ms, seen_ms; /* unix; 0: never heard of */
    uint32_t schema_version;      /* the newest it knows; 0: never told */
    const struct control_processor *processors;
    size_t n;
};
size_t control_nodes(const struct control *c);
void control_node(const struct control *c, size_t i, struct control_node *ret); /* by id; this node is among them */
uint32_t control_leader(const struct control *c);                               /* the controller; 0: nobody is alive */
/* control_may_answer() - false: the failure detector takes node @id for dead or leaving, and trusts its own view. */
bool control_may_answer(const struct control *c, uint32_t id);
bool control_lonely(const struct control *c); /* nobody is heard any more */
void control_refresh(struct control *c);      /* this node's own part of the picture, as it is now */
