/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_peers.h : how the log layer reaches log-servers: its own by a function call, those of other nodes through the
 * fabric, which implements struct log_peers. */
#pragma once
#include "log/log_server.h"
#include "loop/loop.h"

struct log_peers;
struct log_peers_ops {
    /* Carry @req to the log-server of @node. Stores to one node and loglet arrive in the order of submission. `done`
     * runs exactly once, in a later turn: with the answer, or with LS_UNKNOWN when there is none (not connected, timed
     * out). */
    void (*submit)(struct log_peers *p, uint32_t node, struct ls_req *req);
    void (*release)(struct log_peers *p, uint32_t node, uint64_t loglet_id, uint32_t global_tail); /* one-way */
};
struct log_peers {
    const struct log_peers_ops *ops;
};

/* Sends requests to this node's log-server or to peers; requests that can go nowhere are answered LS_UNKNOWN. */
struct log_router {
    struct loop *loop;
    uint32_t own_node;
    struct log_server *server;               /* NULL: none */
    struct log_peers *peers;                 /* NULL: none */
    bool (*alive)(void *arg, uint32_t node); /* a hint; NULL: everybody is */
    void *alive_arg;
    struct list lost;
    struct loop_hook answer;
};
void log_router_init(struct log_router *r, struct loop *loop, uint32_t own_node, struct log_server *server,
                     struct log_peers *peers);
void log_router_done(struct log_router *r);
static inline bool log_router_alive(const struct log_router *r, uint32_t node) {
    return (node == r->own_node && r->server) || !r->alive || r->alive(r->alive_arg, node);
}
void log_router_submit(struct log_router *r, uint32_t node, struct ls_req *req);
void log_router_release(struct log_router *r, uint32_t node, uint64_t loglet_id, uint32_t global_tail);
