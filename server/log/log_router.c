/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log_peers.h"

static void answer_lost(void *arg) {
    struct log_router *r = arg;
    struct list *l;

    while ((l = list_pop_front(&r->lost))) {
        struct ls_req *req = LIST_ENTRY(l, struct ls_req, link);
        struct ls_reply reply = {.status = LS_UNKNOWN, .local_tail = 1, .global_tail = 1};

        req->done(req, &reply);
    }
}

void log_router_init(struct log_router *r, struct loop *loop, uint32_t own_node, struct log_server *server,
                     struct log_peers *peers) {
    *r = (struct log_router){.loop = loop, .own_node = own_node, .server = server, .peers = peers};
    list_init(&r->lost);
    loop_hook_init(&r->answer, answer_lost, r);
}

void log_router_done(struct log_router *r) {
    answer_lost(r); /* the owners of the requests are gone by now: their callbacks only free memory */
    loop_hook_disarm(&r->answer);
}

void log_router_submit(struct log_router *r, uint32_t node, struct ls_req *req) {
    if (node == r->own_node && r->server) {
        log_server_submit(r->server, req);
    } else if (node != r->own_node && r->peers) {
        r->peers->ops->submit(r->peers, node, req);
    } else {
        list_push_back(&r->lost, &req->link);
        loop_hook_arm(r->loop, &r->answer);
    }
}

void log_router_release(struct log_router *r, uint32_t node, uint64_t loglet_id, uint32_t global_tail) {
    if (node == r->own_node && r->server)
        log_server_release(r->server, loglet_id, global_tail);
    else if (node != r->own_node && r->peers)
        r->peers->ops->release(r->peers, node, loglet_id, global_tail);
}
