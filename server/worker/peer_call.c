/* SPDX-License-Identifier: Apache-2.0 */
/* worker/peer_call.c : calls and control words to other nodes.
 *
 * A call is held by the leader until it is answered, in leases: after PEER_LEASE without an answer the leader says
 * "pending" and the same call, by its request id, is sent again. So a lost node or connection is noticed within one
 * lease, however long the invocation takes. */
#include "meta/nodes_config.h"
#include "worker/partition_internal.h"
#include "worker/peer_internal.h"
#include "proto/pb.h"

#include <stdio.h>

void peer_take_hint(struct route *r, uint64_t epoch, struct slice leader) {
    struct node_id id;

    if (epoch && node_id_parse(leader, &id) == 0)
        worker_leader_hint(r->w, r->id, epoch, id);
}

void peer_hint(const struct route *r, char node[32], uint64_t *epoch) {
    *epoch = r->epoch;
    if (r->epoch)
        (void)snprintf(node, 32, NODE_ID_FMT, NODE_ID_ARG(r->leader));
    else
        node[0] = 0;
}

/* The last field of a message, of wire type bytes, whose @len bytes follow as a part. */
void peer_put_last(struct buf *head, uint32_t number, size_t len) {
    uint64_t tag = number << 3 | PB_LEN;

    for (uint64_t v = tag, more = 1; more; v >>= 7) {
        more = v >= 0x80;
        buf_put_u8(head, (uint8_t)(more ? v | 0x80 : v));
    }
    for (uint64_t v = len, more = 1; more; v >>= 7) {
        more = v >= 0x80;
        buf_put_u8(head, (uint8_t)(more ? v | 0x80 : v));
    }
}

/* ---- answers ---- */

static void answer(struct worker *w, struct worker_call *c, const struct pp_reply *m) {
    struct worker_reply reply = {.code = (enum worker_reply_code)m->code,
                                 .expiry_ms = m->expiry_ms,
                                 .is_new = m->is_new,
                                 .execution_time_ms = m->execution_time_ms};
    struct arena a = {0};
    struct cmd_result result;
    char text[240];

    (void)snprintf(text, sizeof text, SLICE_FMT, SLICE_ARG(m->message));
    reply.message = text;
    if (m->code > WORKER_FAILED || (m->id.len && invocation_id_from_raw(m->id, &reply.id, NULL) < 0) ||
        (m->result.data && cmd_result_decode(&result, m->result, &a, NULL) < 0))
        reply =
            (struct worker_reply){.code = WORKER_FAILED, .message = "another node gave an answer that is not valid"};
    else if (m->result.data)
        reply.result = &result;
    else if (m->code == WORKER_OK && (c->op == WORKER_OP_INVOKE || c->op == WORKER_OP_ATTACH))
        reply = (struct worker_reply){.code = WORKER_FAILED, .message = "another node gave an answer without a result"};
    worker_call_answer(w, c, &reply);
    arena_done(&a);
}

static void on_reply(struct worker *w, struct worker_call *c, uint32_t node, struct slice bytes) {
    struct route *r = worker_route(w, c->partition_key);
    struct pp_reply m;
    struct arena a = {0};

    if (pp_reply_decode(&m, bytes, &a, NULL) < 0)
        m = (struct pp_reply){.code = WORKER_LOST_LEADERSHIP};
    peer_take_hint(r, m.epoch, m.leader);
    if (m.code == PEER_PENDING)
        route_remote_outcome(r, c, REMOTE_PENDING, false);
    else if (m.code == PEER_NOT_LEADER) /* not yet, if it claimed the newest epoch: nobody knows better */
        route_remote_outcome(r, c, REMOTE_NOT_DONE, node != r->leader.id);
    else if (m.code == WORKER_LOST_LEADERSHIP || m.code == WORKER_SHUTDOWN)
        route_remote_outcome(r, c, REMOTE_UNKNOWN, false);
    else {
        route_remote_answered(r);
        answer(w, c, &m);
    }
    arena_done(&a);
}

static void on_done(struct fabric_call *f, enum rpc_status s, struct node_id from, struct slice reply,
                    struct bytes *frame, const struct err *why) {
    struct remote_call *rc = CONTAINER_OF(f, struct remote_call, f);
    struct worker *w = rc->w;
    struct worker_call *c = rc->call;
    const uint32_t node = rc->node;

    (void)from;
    (void)frame;
    (void)why;
    free(rc);
    c->remote = NULL;
    if (s == RPC_OK)
        on_reply(w, c, node, reply);
    else
        route_remote_outcome(worker_route(w, c->partition_key), c, s < RPC_DROPPED ? REMOTE_NOT_DONE : REMOTE_UNKNOWN,
                             true);
}

/* ---- sending ---- */

void remote_send(struct route *r, struct worker_call *c, uint32_t node) {
    struct worker *w = r->w;
    struct fabric_dest to = {.node = {.id = node}};
    struct pp_call m = {.request_id = slice_of(c->request_id, sizeof c->request_id),
                        .partition = r->id,
                        .op = c->op,
                        .kind = c->kind,
                        .partition_key = c->partition_key};
    struct bytes *command = bytes_copy(buf_slice(&c->command));
    struct buf head = {0};
    struct remote_call *rc = xnew(struct remote_call);

    rc->w = w;
    rc->call = c;
    rc->node = node;
    rc->f.done = on_done;
    c->remote = rc;
    pp_call_encode(&m, &head);
    peer_put_last(&head, 6, command->len);
    fabric_call(w->params.fabric, &rc->f, &to, LANE_INGRESS_DATA,
                &(struct fabric_message){.service = SERVICE_PARTITION_LEADER,
                                         .type = LEADER_CALL,
                                         .has_sort_code = true,
                                         .sort_code = r->id,
                                         .head = buf_slice(&head),
                                         .parts = &command,
                                         .n_parts = 1},
                loop_now_ns(w->params.loop) + PEER_CALL_TIMEOUT_NS);
    (void)bytes_unref(command);
    buf_done(&head);
}

void remote_drop(struct worker_call *c) {
    struct remote_call *rc = TAKE(c->remote);

    if (!rc)
        return;
    fabric_call_drop(rc->w->params.fabric, &rc->f);
    free(rc);
}

void worker_control_send(struct fabric *f, struct node_id to, const struct worker_control_word *words, size_t n) {
    struct fabric_dest dest = {.node = to};
    struct pp_word *list = xnewn(struct pp_word, n + 1);
    struct pp_control m = {.words = list, .n_words = n};
    struct buf head = {0};

    for (size_t i = 0; i < n; i++)
        list[i] = (struct pp_word){.partition = words[i].partition,
                                   .command = words[i].command,
                                   .replica_set_version = words[i].replica_set_version};
    pp_control_encode(&m, &head);
    fabric_send(f, &dest, LANE_GENERAL,
                &(struct fabric_message){
                    .service = SERVICE_PARTITION_MANAGER, .type = MANAGER_CONTROL, .head = buf_slice(&head)});
    buf_done(&head);
    free(list);
}
