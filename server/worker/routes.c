/* SPDX-License-Identifier: Apache-2.0 */
/* worker/routes.c : to whom a call goes. It waits in its partition's list until it is answered; the leader here gets it
 * directly, one on another node by an RPC with the same request id.
 *
 * A call whose outcome is unknown (the leader was lost, or the connection) is made again only when that has the effect
 * of once; else it is answered WORKER_LOST_LEADERSHIP. */
#include "worker/partition_internal.h"
#include "worker/peer_internal.h"

enum { RETRY_MIN_MS = 50, RETRY_MAX_MS = 300 };

static void on_retry(void *arg);

static struct loop *loop_of(const struct route *r) {
    return r->w->params.loop;
}

void route_init(struct route *r, struct worker *w, uint32_t id, uint64_t first_key, uint64_t last_key) {
    r->w = w;
    r->id = id;
    r->first_key = first_key;
    r->last_key = last_key;
    list_init(&r->calls);
    timer_init(&r->retry, on_retry, r);
}

void route_stop(struct route *r) {
    timer_stop(loop_of(r), &r->retry);
}

static void set_where(struct route *r, struct worker_call *c, enum call_where where) {
    if (c->where == CALL_LOCAL && where != CALL_LOCAL)
        r->w->waiting_bytes += c->command.len;
    else if (c->where != CALL_LOCAL && where == CALL_LOCAL)
        r->w->waiting_bytes -= c->command.len;
    c->where = (uint8_t)where;
}

/* ---- whom to ask ---- */

static bool leads_here(const struct route *r) {
    return r->p && partition_role(r->p) == PARTITION_LEADER;
}

/* The next member of the replica sets other than this node; 0: none is known. */
static uint32_t next_member(struct route *r) {
    uint32_t self = r->w->params.self.id, n = r->current.n + r->next.n;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = ++r->asked % n, node = k < r->current.n ? r->current.nodes[k] : r->next.nodes[k - r->current.n];

        if (node != self)
            return node;
    }
    return 0;
}

/* The newest claim is this node's own and will soon be a lead: nobody knows better. */
static bool claimed_here(const struct route *r) {
    return node_id_eq(r->leader, r->w->params.self) && r->p && partition_role(r->p) == PARTITION_CANDIDATE;
}

/* 0: nobody; wait for a hint. */
static uint32_t whom_to_ask(struct route *r) {
    if (!r->w->params.fabric || claimed_here(r))
        return 0;
    if (r->leader.id && r->leader.id != r->w->params.self.id && !r->ask_around)
        return r->leader.id;
    return next_member(r);
}

static void retry_later(struct route *r) {
    if (timer_armed(&r->retry))
        return;
    r->retry_ms = r->retry_ms ? MIN(r->retry_ms * 2, (uint64_t)RETRY_MAX_MS) : RETRY_MIN_MS;
    timer_set(loop_of(r), &r->retry, r->retry_ms * 1000000);
}

static void dispatch(struct route *r, struct worker_call *c, uint32_t node) {
    if (leads_here(r)) {
        set_where(r, c, CALL_LOCAL);
        partition_call(r->p, c);
    } else if (node) {
        set_where(r, c, CALL_REMOTE);
        remote_send(r, c, node);
    }
}

/* Everything that waits, in the order in which it came. */
static void dispatch_all(struct route *r) {
    uint32_t node = leads_here(r) ? 0 : whom_to_ask(r);
    bool waiting = false;

    LIST_FOREACH_SAFE (e, &r->calls) {
        struct worker_call *c = LIST_ENTRY(e, struct worker_call, link);

        if (c->where == CALL_WAITING)
            dispatch(r, c, node);
        waiting = waiting || c->where == CALL_WAITING;
    }
    if (waiting && r->w->params.fabric)
        retry_later(r);
}

static void on_retry(void *arg) {
    struct route *r = arg;

    if (!r->w->stopping)
        dispatch_all(r);
}

static void dispatch_soon(struct route *r) {
    r->retry_ms = 0;
    if (!r->w->stopping && !list_empty(&r->calls))
        timer_set(loop_of(r), &r->retry, 0);
}

static void refuse_later(void *arg) {
    struct route *r = arg;

    if (r->w->stopping)
        worker_refuse_calls(r, WORKER_SHUTDOWN, "");
    else if (r->p && partition_role(r->p) == PARTITION_BROKEN)
        partition_refuse_calls(r->p);
}

void route_add_call(struct route *r, struct worker_call *c) {
    list_push_back(&r->calls, &c->link);
    c->where = CALL_WAITING;
    r->w->waiting_bytes += c->command.len;
    if (r->w->stopping || (r->p && partition_role(r->p) == PARTITION_BROKEN && route_is_lone(r)))
        loop_post(loop_of(r), refuse_later, r);
    else if (leads_here(r))
        dispatch(r, c, 0);
    else if (!timer_armed(&r->retry))
        dispatch_all(r);
}

void route_drop_call(struct route *r, struct worker_call *c) {
    if (c->where != CALL_LOCAL)
        r->w->waiting_bytes -= c->command.len;
    list_remove(&c->link);
    remote_drop(c);
}

void worker_refuse_calls(struct route *r, enum worker_reply_code code, const char *why) {
    struct worker_reply reply = {.code = code, .message = why};

    LIST_FOREACH_SAFE (e, &r->calls)
        worker_call_answer(r->w, LIST_ENTRY(e, struct worker_call, link), &reply);
}

/* ---- what happens to leaders ---- */

/* It may have happened, or may yet. Returns whether the call waits for another try; else it was answered. */
static bool outcome_unknown(struct route *r, struct worker_call *c) {
    if (c->repeatable && !c->served) {
        set_where(r, c, CALL_WAITING);
        return true;
    }
    worker_call_answer(r->w, c, &(struct worker_reply){.code = WORKER_LOST_LEADERSHIP});
    return false;
}

/* Whoever led before may be silent: what has the effect of once does not wait for its answer. */
static void leave_old_leader(struct route *r) {
    LIST_FOREACH_SAFE (e, &r->calls) {
        struct worker_call *c = LIST_ENTRY(e, struct worker_call, link);

        if (c->where != CALL_REMOTE || !c->remote || c->remote->node == r->leader.id || !c->repeatable || c->served)
            continue;
        remote_drop(c);
        set_where(r, c, CALL_WAITING);
    }
}

void route_hint(struct route *r, epoch_t epoch, struct node_id leader) {
    if (epoch <= r->epoch)
        return;
    r->epoch = epoch;
    r->leader = leader;
    r->ask_around = false;
    leave_old_leader(r);
    dispatch_soon(r);
}

void route_has_leader(struct route *r) {
    if (r->retry_ms) /* somebody asked too early */
        dispatch_soon(r);
}

void route_leads_here(struct route *r) {
    r->retry_ms = 0;
    dispatch_all(r);
}

void route_lost_here(struct route *r) {
    LIST_FOREACH_SAFE (e, &r->calls) {
        struct worker_call *c = LIST_ENTRY(e, struct worker_call, link);

        if (c->where == CALL_LOCAL)
            (void)outcome_unknown(r, c);
    }
    if (!list_empty(&r->calls) && r->w->params.fabric)
        retry_later(r);
}

void route_broken_here(struct route *r) {
    if (route_is_lone(r))
        partition_refuse_calls(r->p);
}

void route_remote_answered(struct route *r) {
    r->ask_around = false;
    r->retry_ms = 0;
}

void route_remote_outcome(struct route *r, struct worker_call *c, enum remote_outcome o, bool unreachable) {
    if (unreachable)
        r->ask_around = true; /* somebody else may know a newer leader */
    else if (o == REMOTE_PENDING)
        route_remote_answered(r);
    if (o == REMOTE_UNKNOWN) {
        if (!outcome_unknown(r, c))
            return;
    } else {
        set_where(r, c, CALL_WAITING);
    }
    if (o == REMOTE_PENDING)
        dispatch(r, c, r->leader.id == r->w->params.self.id ? 0 : r->leader.id);
    if (c->where == CALL_WAITING)
        retry_later(r);
}
