/* SPDX-License-Identifier: Apache-2.0 */
/* worker/peer_serve.c : what this node does for other nodes: their calls to leaders here, rows of their outboxes, the
 * controller's words. Bytes come from outside: what does not decode is refused, never trusted. */
#include "base/logging.h"
#include "worker/partition_internal.h"
#include "worker/peer_internal.h"
#include "worker/snapshots.h"

/* ---- calls ---- */

struct served {           /* a call of another node */
    struct map_node node; /* of worker.served, by request id */
    struct worker *w;
    struct worker_call call;
    struct fabric_request *req; /* NULL: told "pending", not asked again yet */
    bool answered;              /* the answer waits for that */
    struct buf head;
    struct bytes *result;
    struct timer lease;
};

static uint64_t request_hash(const uint8_t id[16]) {
    return get_u64le(id + 8);
}

static struct served *find_served(struct worker *w, const uint8_t id[16]) {
    for (struct map_node *n = map_first(&w->served, request_hash(id)); n; n = map_next(n)) {
        struct served *s = MAP_ENTRY(n, struct served, node);

        if (memcmp(s->call.request_id, id, 16) == 0)
            return s;
    }
    return NULL;
}

static void served_free(struct served *s) {
    timer_stop(s->w->params.loop, &s->lease);
    map_remove(&s->w->served, &s->node);
    worker_call_drop(s->w, &s->call);
    if (s->req)
        fabric_reply_status(s->w->params.fabric, s->req, RPC_DROPPED);
    buf_done(&s->head);
    (void)bytes_unref(s->result);
    free(s);
}

static void send_answer(struct served *s) {
    fabric_reply(s->w->params.fabric, TAKE(s->req), buf_slice(&s->head), &s->result, s->result ? 1 : 0);
    served_free(s);
}

static void reply_code(struct worker *w, struct fabric_request *take, const struct route *r, uint32_t code) {
    char node[32];
    struct pp_reply m = {.code = code};
    struct buf head = {0};

    if (r) {
        peer_hint(r, node, &m.epoch);
        m.leader = slice_str(node);
    }
    pp_reply_encode(&m, &head);
    fabric_reply(w->params.fabric, take, buf_slice(&head), NULL, 0);
    buf_done(&head);
}

static void on_lease(void *arg) {
    struct served *s = arg;

    if (!s->req) { /* it was never asked for again: whoever wanted it is gone */
        served_free(s);
        return;
    }
    reply_code(s->w, TAKE(s->req), NULL, PEER_PENDING);
    timer_set(s->w->params.loop, &s->lease, PEER_RENEW_NS);
}

static bool has_id(const struct worker_reply *r) {
    static const struct invocation_id none;

    return !invocation_id_eq(&r->id, &none);
}

static void on_answered(struct worker_call *c, const struct worker_reply *r) {
    struct served *s = CONTAINER_OF(c, struct served, call);
    bool lost = r->code == WORKER_SHUTDOWN || r->code == WORKER_FAILED;
    struct pp_reply m = {.code = lost ? WORKER_LOST_LEADERSHIP : r->code,
                         .id = has_id(r) ? invocation_id_slice(&r->id) : SLICE_NULL,
                         .expiry_ms = r->expiry_ms,
                         .is_new = r->is_new,
                         .execution_time_ms = r->execution_time_ms};
    char node[32];
    struct buf result = {0};

    peer_hint(worker_route(s->w, c->partition_key), node, &m.epoch);
    m.leader = slice_str(node);
    pp_reply_encode(&m, &s->head);
    if (r->result) {
        cmd_result_encode(r->result, &result);
        s->result = bytes_take_buf(&result);
        peer_put_last(&s->head, 9, s->result->len);
    }
    s->answered = true;
    if (s->req)
        send_answer(s);
}

static uint16_t kind_of_op(uint32_t op) {
    static const uint16_t kinds[] = {
        [WORKER_OP_INVOKE] = CMD_INVOKE,
        [WORKER_OP_SUBMIT] = CMD_INVOKE,
        [WORKER_OP_ATTACH] = CMD_ATTACH,
        [WORKER_OP_OUTPUT] = CMD_ATTACH,
        [WORKER_OP_SIGNAL] = CMD_SIGNAL,
        [WORKER_OP_TERMINATE] = CMD_TERMINATE,
        [WORKER_OP_PURGE] = CMD_PURGE_INVOCATION,
        [WORKER_OP_PURGE_JOURNAL] = CMD_PURGE_JOURNAL,
        [WORKER_OP_PAUSE] = CMD_PAUSE,
        [WORKER_OP_RESUME] = CMD_RESUME,
        [WORKER_OP_RESTART] = CMD_RESTART,
        [WORKER_OP_PATCH_STATE] = CMD_PATCH_STATE,
    };

    return op < ARRAY_SIZE(kinds) ? kinds[op] : 0;
}

static void renew(struct served *s, struct fabric_request *take) {
    struct worker *w = s->w;

    if (s->req) /* the older channel is dead, or will be */
        fabric_reply_status(w->params.fabric, s->req, RPC_DROPPED);
    s->req = take;
    if (s->answered)
        send_answer(s);
    else
        timer_set(w->params.loop, &s->lease, PEER_LEASE_NS);
}

static void serve_call(struct worker *w, struct route *r, const struct pp_call *m, struct fabric_request *take) {
    struct served *s = find_served(w, m->request_id.data);

    if (s) {
        renew(s, take);
        return;
    }
    if (!r->p || partition_role(r->p) != PARTITION_LEADER || worker_call_find(w, m->request_id.data)) {
        reply_code(w, take, r, PEER_NOT_LEADER);
        return;
    }
    if (!partition_writable(r->p)) {
        fabric_reply_status(w->params.fabric, take, RPC_LOAD_SHEDDING);
        return;
    }
    s = xnew(struct served);
    s->w = w;
    s->req = take;
    s->call.op = (enum worker_op)m->op;
    s->call.served = true;
    s->call.done = on_answered;
    memcpy(s->call.request_id, m->request_id.data, 16);
    buf_put_slice(&s->call.command, m->command);
    timer_init(&s->lease, on_lease, s);
    timer_set(w->params.loop, &s->lease, PEER_LEASE_NS);
    map_add(&w->served, &s->node, request_hash(s->call.request_id));
    worker_call_start(w, &s->call, (uint16_t)m->kind, m->partition_key);
}

static void handle_call(struct worker *w, struct fabric_request *take) {
    struct arena a = {0};
    struct pp_call m;
    struct route *r;

    if (pp_call_decode(&m, take->payload, &a, NULL) < 0 || m.request_id.len != 16 || m.partition >= w->n ||
        m.kind == 0 || m.kind != kind_of_op(m.op) || !m.command.data ||
        (r = worker_route(w, m.partition_key))->id != m.partition)
        fabric_reply_status(w->params.fabric, take, RPC_MESSAGE_UNRECOGNIZED);
    else
        serve_call(w, r, &m, take);
    arena_done(&a);
}

/* ---- rows of outboxes ---- */

struct ingest {       /* one batch; the waiter is that of its last row */
    struct list link; /* of worker.ingests */
    struct partition_waiter waiter;
    struct worker *w; /* NULL: it closed */
    struct route *r;
    struct fabric_request *req;
};

static void reply_ingest(struct worker *w, struct fabric_request *take, const struct route *r, uint32_t code) {
    char node[32];
    struct pp_ingested m = {.code = code};
    struct buf head = {0};

    peer_hint(r, node, &m.epoch);
    m.leader = slice_str(node);
    pp_ingested_encode(&m, &head);
    fabric_reply(w->params.fabric, take, buf_slice(&head), NULL, 0);
    buf_done(&head);
}

static void on_ingested(struct partition_waiter *waiter, int status) {
    struct ingest *g = CONTAINER_OF(waiter, struct ingest, waiter);

    list_remove(&g->link);
    reply_ingest(g->w, g->req, g->r, status == 0 ? WORKER_OK : WORKER_LOST_LEADERSHIP);
    free(g);
}

static bool rows_valid(const struct route *r, const struct pp_ingest *m) {
    for (size_t i = 0; i < m->n_rows; i++) {
        const struct pp_row *row = &m->rows[i];

        if (row->kind == 0 || row->kind > UINT16_MAX || row->partition_key < r->first_key ||
            row->partition_key > r->last_key || (i && row->seq <= m->rows[i - 1].seq))
            return false;
    }
    return m->n_rows > 0;
}

static void handle_ingest(struct worker *w, struct fabric_request *take) {
    struct arena a = {0};
    struct pp_ingest m;
    struct route *r;
    struct ingest *g;

    if (pp_ingest_decode(&m, take->payload, &a, NULL) < 0 || m.partition >= w->n || m.from >= w->n ||
        !rows_valid(&w->routes[m.partition], &m)) {
        fabric_reply_status(w->params.fabric, take, RPC_MESSAGE_UNRECOGNIZED);
    } else if (!(r = &w->routes[m.partition])->p || partition_role(r->p) != PARTITION_LEADER) {
        reply_ingest(w, take, r, PEER_NOT_LEADER);
    } else if (!partition_writable(r->p)) {
        fabric_reply_status(w->params.fabric, take, RPC_LOAD_SHEDDING);
    } else {
        g = xnew(struct ingest);
        g->w = w;
        g->r = r;
        g->req = take;
        g->waiter.done = on_ingested;
        list_push_back(&w->ingests, &g->link);
        for (size_t i = 0; i < m.n_rows; i++)
            partition_deliver(r->p, m.from, m.rows[i].seq, (uint16_t)m.rows[i].kind, m.rows[i].command,
                              m.rows[i].partition_key, i + 1 == m.n_rows ? &g->waiter : NULL);
    }
    arena_done(&a);
}

/* ---- the controller's words ---- */

static void handle_control(struct worker *w, struct fabric_request *r) {
    struct arena a = {0};
    struct pp_control m;

    if (pp_control_decode(&m, r->payload, &a, NULL) == 0)
        for (size_t i = 0; i < m.n_words; i++)
            if (m.words[i].command == WORKER_LEAD || m.words[i].command == WORKER_FOLLOW)
                worker_control(w, m.words[i].partition, (enum worker_command)m.words[i].command,
                               m.words[i].replica_set_version);
    arena_done(&a);
}

/* ---- the services ---- */

static void handle_leader(void *arg, struct fabric_request *r) {
    struct worker *w = arg;

    if (!r->is_call)
        return;
    if (r->type == LEADER_CALL)
        handle_call(w, r);
    else if (r->type == LEADER_INGEST)
        handle_ingest(w, r);
    else
        fabric_reply_status(w->params.fabric, r, RPC_MESSAGE_UNRECOGNIZED);
}

static void handle_manager(void *arg, struct fabric_request *r) {
    struct worker *w = arg;

    if (r->type == MANAGER_CONTROL && !r->is_call)
        handle_control(w, r);
    else if (r->type == MANAGER_FETCH_SNAPSHOT && r->is_call)
        snapshot_serve(w, r);
    else if (r->is_call)
        fabric_reply_status(w->params.fabric, r, RPC_MESSAGE_UNRECOGNIZED);
}

void peer_open(struct worker *w) {
    w->leader_service = (struct fabric_service){
        .id = SERVICE_PARTITION_LEADER, .budget_bytes = 64 << 20, .handle = handle_leader, .arg = w};
    w->manager_service = (struct fabric_service){.id = SERVICE_PARTITION_MANAGER, .handle = handle_manager, .arg = w};
    fabric_serve(w->params.fabric, &w->leader_service);
    fabric_serve(w->params.fabric, &w->manager_service);
}

void peer_close(struct worker *w) {
    struct map_node *n;

    if (!w->leader_service.handle)
        return;
    fabric_unserve(w->params.fabric, &w->leader_service);
    fabric_unserve(w->params.fabric, &w->manager_service);
    snapshot_serve_stop(w);
    ASSERT(list_empty(&w->ingests)); /* the partitions stopped: all waiters were told */
    while ((n = map_iter(&w->served, NULL)))
        served_free(MAP_ENTRY(n, struct served, node));
    map_done(&w->served);
}
