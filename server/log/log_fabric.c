/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log_fabric.h"

#include <stdlib.h>
#include "log/log_wire.h"

#define STORE_NS 3000000000u
#define READ_NS 5000000000u
#define META_NS 2000000000u
#define WAIT_NS 20000000000u /* parked; then the asker asks again */

struct log_fabric {
    struct log_peers peers; /* first */
    struct fabric *fabric;
    struct loop *loop;
    struct log_server *server;
    struct fabric_service data, meta;
    struct list asked; /* struct asked */
};

struct asked { /* a request to another node */
    struct list link;
    struct log_fabric *lf;
    struct fabric_call call;
    struct ls_req *req;
};

struct served { /* a request of another node */
    struct log_fabric *lf;
    struct fabric_request *from;
    struct ls_req *req;
};

/* ---- asking ---- */

static const struct {
    uint16_t service, type;
    enum fabric_lane lane;
    uint64_t timeout_ns;
} routes[] = {
    [LS_STORE] = {SERVICE_LOG_SERVER_DATA, LOG_STORE, LANE_BIFROST_DATA, STORE_NS},
    [LS_GET] = {SERVICE_LOG_SERVER_DATA, LOG_GET, LANE_BIFROST_READS, READ_NS},
    [LS_SEAL] = {SERVICE_LOG_SERVER_META, LOG_SEAL, LANE_GENERAL, META_NS},
    [LS_INFO] = {SERVICE_LOG_SERVER_META, LOG_INFO_TAIL, LANE_GENERAL, META_NS},
    [LS_WAIT] = {SERVICE_LOG_SERVER_META, LOG_WAIT, LANE_GENERAL, WAIT_NS},
    [LS_DIGEST] = {SERVICE_LOG_SERVER_META, LOG_DIGEST, LANE_GENERAL, READ_NS},
    [LS_TRIM] = {SERVICE_LOG_SERVER_META, LOG_TRIM, LANE_GENERAL, READ_NS},
};

static void on_answer(struct fabric_call *call, enum rpc_status status, struct node_id from, struct slice body,
                      struct bytes *frame, const struct err *why) {
    struct asked *a = CONTAINER_OF(call, struct asked, call);
    struct ls_reply reply = {.status = LS_UNKNOWN, .local_tail = 1, .global_tail = 1};
    struct ls_req *req = a->req;
    struct err err;

    (void)from;
    (void)frame;
    (void)why;
    if (status == RPC_OK && log_wire_take_answer(req, body, &reply, &err) < 0)
        reply = (struct ls_reply){.status = LS_UNKNOWN, .local_tail = 1, .global_tail = 1};
    list_remove(&a->link);
    free(a);
    req->done(req, &reply);
}

static void submit(struct log_peers *p, uint32_t node, struct ls_req *req) {
    struct log_fabric *lf = CONTAINER_OF(p, struct log_fabric, peers);
    struct fabric_message m = {.service = routes[req->kind].service,
                               .type = routes[req->kind].type,
                               .has_sort_code = true,
                               .sort_code = req->loglet_id};
    struct fabric_dest d = {.node = {node, 0}};
    _cleanup_buf_ struct buf head = {0};
    struct asked *a = xnew(struct asked);

    a->lf = lf;
    a->req = req;
    a->call.done = on_answer;
    list_push_back(&lf->asked, &a->link);
    log_wire_request(req, &head);
    m.head = buf_slice(&head);
    if (req->kind == LS_STORE) {
        const struct ls_store *s = CONTAINER_OF(req, struct ls_store, h);

        m.parts = s->records;
        m.n_parts = s->n;
    }
    fabric_call(lf->fabric, &a->call, &d, routes[req->kind].lane, &m,
                loop_now_ns(lf->loop) + routes[req->kind].timeout_ns);
}

static void release(struct log_peers *p, uint32_t node, uint64_t loglet_id, uint32_t global_tail) {
    struct log_fabric *lf = CONTAINER_OF(p, struct log_fabric, peers);
    struct ls_req r = {.kind = LS_INFO, .loglet_id = loglet_id, .global_tail = global_tail};
    struct fabric_message m = {
        .service = SERVICE_LOG_SERVER_META, .type = LOG_RELEASE, .has_sort_code = true, .sort_code = loglet_id};
    struct fabric_dest d = {.node = {node, 0}};
    _cleanup_buf_ struct buf head = {0};

    log_wire_request(&r, &head);
    m.head = buf_slice(&head);
    fabric_send(lf->fabric, &d, LANE_GENERAL, &m);
}

static const struct log_peers_ops ops = {.submit = submit, .release = release};

/* ---- serving ---- */

static void free_request(struct ls_req *r) {
    switch (r->kind) {
    case LS_GET:
        ls_get_done(CONTAINER_OF(r, struct ls_get, h));
        break;
    case LS_DIGEST:
        free(CONTAINER_OF(r, struct ls_digest, h)->entries);
        break;
    default:
        break;
    }
    free(r); /* the head is the first member of every kind */
}

static void on_served(struct ls_req *req, const struct ls_reply *reply);

static void served_begin(struct log_fabric *lf, struct fabric_request *from, struct ls_req *req) {
    struct served *s = xnew(struct served);

    *s = (struct served){lf, from, req};
    req->done = on_served;
    req->owner = s;
}

static void on_served(struct ls_req *req, const struct ls_reply *reply) {
    struct served *s = req->owner;
    _cleanup_buf_ struct buf head = {0};
    struct bytes **parts;
    size_t n;

    log_wire_answer(req, reply, &head, &parts, &n);
    fabric_reply(s->lf->fabric, s->from, buf_slice(&head), parts, n);
    free(parts);
    free_request(req);
    free(s);
}

static int kind_of(uint16_t service, uint16_t type) {
    for (size_t k = 0; k < sizeof routes / sizeof *routes; k++)
        if (routes[k].type == type && routes[k].service == service && type)
            return (int)k;
    return -1;
}

static void handle_release(struct log_fabric *lf, const struct fabric_request *r) {
    struct bytes **records;
    struct ls_req *req;

    if (r->type == LOG_RELEASE && log_wire_take_request(LS_INFO, r->payload, &req, &records, NULL) == 0) {
        log_server_release(lf->server, req->loglet_id, req->global_tail);
        free_request(req);
    }
}

static void handle(void *arg, struct fabric_request *r) {
    struct log_fabric *lf = arg;
    int kind = kind_of(r->service, r->type);
    struct bytes **records = NULL;
    struct ls_req *req;

    if (!r->is_call) {
        handle_release(lf, r);
        return;
    }
    if (kind < 0 || log_wire_take_request((enum ls_kind)kind, r->payload, &req, &records, NULL) < 0) {
        fabric_reply_status(lf->fabric, r, RPC_MESSAGE_UNRECOGNIZED);
        return;
    }
    served_begin(lf, r, req);
    if (kind == LS_STORE) {
        struct ls_store *s = CONTAINER_OF(req, struct ls_store, h);
        uint32_t n = s->n;

        s->records = records;
        s->from_sequencer = node_id_eq(r->from, s->sequencer);
        log_server_submit(lf->server, req);
        for (uint32_t i = 0; i < n; i++)
            (void)bytes_unref(records[i]);
        free(records);
    } else {
        log_server_submit(lf->server, req);
    }
}

/* ---- the object ---- */

struct log_fabric *log_fabric_new(struct fabric *f, struct loop *loop, struct log_server *server) {
    struct log_fabric *lf = xnew(struct log_fabric);

    lf->peers.ops = &ops;
    lf->fabric = f;
    lf->loop = loop;
    lf->server = server;
    list_init(&lf->asked);
    lf->data = (struct fabric_service){.id = SERVICE_LOG_SERVER_DATA, .handle = handle, .arg = lf};
    lf->meta = (struct fabric_service){.id = SERVICE_LOG_SERVER_META, .handle = handle, .arg = lf};
    if (server) {
        fabric_serve(f, &lf->data);
        fabric_serve(f, &lf->meta);
    }
    return lf;
}

struct log_peers *log_fabric_peers(struct log_fabric *lf) {
    return &lf->peers;
}

void log_fabric_stop(struct log_fabric *lf) {
    fabric_unserve(lf->fabric, &lf->data);
    fabric_unserve(lf->fabric, &lf->meta);
}

struct log_fabric *log_fabric_free(struct log_fabric *lf) {
    if (!lf)
        return NULL;
    log_fabric_stop(lf);
    while (!list_empty(&lf->asked)) {
        struct asked *a = LIST_ENTRY(lf->asked.next, struct asked, link);
        struct ls_reply reply = {.status = LS_UNKNOWN, .local_tail = 1, .global_tail = 1};
        struct ls_req *req = a->req;

        fabric_call_drop(lf->fabric, &a->call);
        list_remove(&a->link);
        free(a);
        req->done(req, &reply); /* the owners are gone: their callbacks only free memory */
    }
    free(lf);
    return NULL;
}
