/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that come in: to their service, and the answers back to where they came from. */
#include <stdlib.h>
#include "base/limits.h"
#include "net/fabric_internal.h"

#define SERVICE_BUDGET_BYTES (64u << 20)

static struct fabric_service *find_service(struct fabric *f, uint16_t id) {
    LIST_FOREACH (e, &f->services) {
        struct fabric_service *s = LIST_ENTRY(e, struct fabric_service, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

void fabric_serve(struct fabric *f, struct fabric_service *s) {
    ASSERT(!find_service(f, s->id));
    s->held_bytes = 0;
    list_push_back(&f->services, &s->link);
}

static void resume_waiting(struct fabric *f, const struct fabric_service *s) {
    LIST_FOREACH_SAFE (e, &f->conns) {
        struct conn *c = LIST_ENTRY(e, struct conn, link);

        if (c->over == s)
            conn_resume(c);
    }
}

void fabric_unserve(struct fabric *f, struct fabric_service *s) {
    if (!list_linked(&s->link))
        return;
    list_remove(&s->link);
    resume_waiting(f, s);
}

static size_t budget_of(const struct fabric_service *s) {
    return s->budget_bytes ? s->budget_bytes : SERVICE_BUDGET_BYTES;
}

/* ---- answers ---- */

static void answer(struct fabric *f, struct conn *c, bool local, uint64_t call_id, enum rpc_status s, struct slice head,
                   struct bytes *const *parts, size_t n_parts) {
    struct frame_head h = fabric_head(f);
    struct out_frame *o;

    if (!c && !local)
        return; /* whoever asked is gone */
    h.id = call_id;
    h.status = (uint16_t)s;
    o = out_frame_new(FRAME_REPLY, &h, head, parts, n_parts);
    if (c) {
        conn_queue(c, o);
    } else {
        list_push_back(&f->local, &o->link);
        fabric_post_local(f);
    }
}

static void request_end(struct fabric *f, struct request *r) {
    struct fabric_service *s = find_service(f, r->r.service);

    if (s) {
        s->held_bytes -= MIN(s->held_bytes, r->r.frame->len);
        if (s->held_bytes <= budget_of(s) / 2)
            resume_waiting(f, s);
    }
    list_remove(&r->link);
    (void)bytes_unref(r->r.frame);
    free(r);
}

void fabric_reply(struct fabric *f, struct fabric_request *take, struct slice head, struct bytes *const *parts,
                  size_t n_parts) {
    struct request *r = CONTAINER_OF(take, struct request, r);

    ASSERT(take->is_call);
    answer(f, r->conn, r->local, r->call_id, RPC_OK, head, parts, n_parts);
    request_end(f, r);
}

void fabric_reply_status(struct fabric *f, struct fabric_request *take, enum rpc_status s) {
    struct request *r = CONTAINER_OF(take, struct request, r);

    ASSERT(take->is_call);
    answer(f, r->conn, r->local, r->call_id, s, SLICE_NULL, NULL, 0);
    request_end(f, r);
}

/* ---- requests ---- */

static void dispatch(struct fabric *f, struct conn *c, struct node_id from, enum frame_kind kind,
                     const struct frame_head *h, struct slice payload, struct bytes *frame) {
    struct fabric_service *s = find_service(f, h->service);
    struct fabric_request m = {.from = from,
                               .service = h->service,
                               .type = h->type,
                               .is_call = kind == FRAME_CALL,
                               .has_sort_code = (h->flags & FRAME_HAS_SORT_CODE) != 0,
                               .sort_code = h->sort_code,
                               .payload = payload,
                               .frame = frame};
    struct request *r;

    if (kind == FRAME_UNARY) {
        if (s)
            s->handle(s->arg, &m);
        return;
    }
    if (!s || (s->lossy && s->held_bytes + frame->len > budget_of(s) && s->held_bytes)) {
        answer(f, c, !c, h->id,
               s             ? RPC_LOAD_SHEDDING
               : f->draining ? RPC_SERVICE_STOPPED
                             : RPC_SERVICE_NOT_FOUND,
               SLICE_NULL, NULL, 0);
        return;
    }
    r = xnew(struct request);
    r->r = m;
    (void)bytes_ref(frame);
    r->conn = c;
    r->local = !c;
    r->call_id = h->id;
    list_push_back(c ? &c->requests : &f->local_requests, &r->link);
    s->held_bytes += frame->len;
    if (c && !s->lossy && s->held_bytes > budget_of(s))
        c->over = s;
    s->handle(s->arg, &r->r);
}

void serve_frame(struct conn *c, enum frame_kind kind, const struct frame_head *h, struct slice payload,
                 struct bytes *frame) {
    dispatch(c->fabric, c, c->node, kind, h, payload, frame);
}

/* A whole frame that this node sent to itself. */
void serve_local(struct fabric *f, struct bytes *frame) {
    enum frame_kind kind = (enum frame_kind)frame->data[4];
    struct slice payload;
    struct frame_head h;
    struct err err;
    int r = frame_head(kind, slice_from(bytes_slice(frame), FRAME_PREFIX_BYTES), &h, &payload, &err);

    ASSERT(r == 0);
    if (kind == FRAME_REPLY)
        fabric_answer(f, h.id, &h, f->p.self, payload, frame);
    else
        dispatch(f, NULL, f->p.self, kind, &h, payload, frame);
}

void serve_conn_closed(struct conn *c) {
    for (struct list *e; (e = list_pop_front(&c->requests));) {
        struct request *r = LIST_ENTRY(e, struct request, link);

        r->conn = NULL;
        list_push_back(&c->fabric->local_requests, &r->link);
    }
}
