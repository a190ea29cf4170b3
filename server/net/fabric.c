/* SPDX-License-Identifier: Apache-2.0 */
/* Peers and calls: to whom a message goes, and what becomes of it when connections come and go. */
#include "net/fabric.h"

#include <stdlib.h>
#include "base/address.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/logging.h"
#include "net/fabric_internal.h"

uint64_t node_hash(uint32_t id) {
    return map_hash_u64(id);
}

const char *rpc_status_str(enum rpc_status s) {
    static const char *const names[] = {"ok",
                                        "service not found",
                                        "service stopped",
                                        "service not ready",
                                        "sort code not found",
                                        "load shedding",
                                        "message unrecognized",
                                        "unreachable",
                                        "refused",
                                        "dropped",
                                        "unknown outcome"};

    return (size_t)s < sizeof names / sizeof *names ? names[s] : "?";
}

struct frame_head fabric_head(struct fabric *f) {
    struct frame_head h = {0};

    if (f->p.versions)
        f->p.versions(f->p.arg, h.versions);
    return h;
}

void fabric_versions_seen(struct conn *c, const uint32_t versions[N_VERSIONS]) {
    struct fabric *f = c->fabric;
    bool news = false;

    for (int i = 0; i < N_VERSIONS; i++) {
        if (versions[i] > c->seen[i]) {
            c->seen[i] = versions[i];
            news = true;
        }
    }
    if (news && f->p.seen && c->node.id)
        f->p.seen(f->p.arg, c->node, versions);
}

/* ---- calls ---- */

static void call_end(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply,
                     struct bytes *frame, const struct err *why) {
    struct fabric *f = c->fabric;
    struct err text;

    map_remove(&f->calls, &c->node);
    timer_stop(f->p.loop, &c->timer);
    if (c->frame)
        c->frame->call = NULL;
    c->frame = NULL;
    c->conn = NULL;
    c->fabric = NULL;
    if (s != RPC_OK && !why) {
        (void)err_set(&text, RS_EIO, "%s", rpc_status_str(s));
        why = &text;
    }
    c->done(c, s, from, reply, frame, s == RPC_OK ? NULL : why);
}

/* What has been on the wire may have arrived. */
static enum rpc_status lost_status(const struct fabric_call *c) {
    return c->frame && c->frame->sent == 0 ? RPC_UNREACHABLE : RPC_UNKNOWN;
}

static void queue_drop(struct peer *p, struct out_frame *o) {
    list_remove(&o->link);
    p->queued -= o->len;
    (void)out_frame_free(o);
}

static void on_deadline(void *arg) {
    struct fabric_call *c = arg;
    enum rpc_status s = lost_status(c);
    struct err why;

    (void)err_set(&why, RS_ETIMEDOUT, s == RPC_UNREACHABLE ? "no connection before the deadline" : "no answer in time");
    call_end(c, s, (struct node_id){0}, SLICE_NULL, NULL, &why);
}

void fabric_answer(struct fabric *f, uint64_t id, const struct frame_head *h, struct node_id from, struct slice payload,
                   struct bytes *frame) {
    for (struct map_node *n = map_first(&f->calls, map_hash_u64(id)); n; n = map_next(n)) {
        struct fabric_call *c = MAP_ENTRY(n, struct fabric_call, node);

        if (c->id == id) {
            call_end(c, (enum rpc_status)h->status, from, payload, frame, NULL);
            return;
        }
    }
}

void fabric_call_drop(struct fabric *f, struct fabric_call *c) {
    if (!c->fabric)
        return;
    map_remove(&f->calls, &c->node);
    timer_stop(f->p.loop, &c->timer);
    if (c->frame)
        c->frame->call = NULL;
    c->frame = NULL;
    c->conn = NULL;
    c->fabric = NULL;
}

/* ---- peers ---- */

static uint64_t peer_hash(uint32_t id, const char *address, enum fabric_lane lane) {
    return (id ? map_hash_u64(id) : hash64(slice_str(address))) * 31 + (uint64_t)lane;
}

static void peer_dial(struct peer *p);
static void on_peer_timer(void *arg);

static struct peer *find_peer(const struct fabric *f, uint32_t id, const char *address, enum fabric_lane lane) {
    for (struct map_node *n = map_first(&f->peers, peer_hash(id, address, lane)); n; n = map_next(n)) {
        struct peer *p = MAP_ENTRY(n, struct peer, node);

        if (p->id == id && p->lane == lane && (id || strcmp(p->address, address) == 0))
            return p;
    }
    return NULL;
}

static struct peer *get_peer(struct fabric *f, const struct fabric_dest *d, enum fabric_lane lane) {
    struct peer *p = find_peer(f, d->node.id, d->address, lane);

    if (p)
        return p;
    p = xnew(struct peer);
    p->fabric = f;
    p->id = d->node.id;
    p->address = d->node.id ? NULL : xstrdup(d->address);
    p->lane = lane;
    list_init(&p->queue);
    timer_init(&p->timer, on_peer_timer, p);
    map_add(&f->peers, &p->node, peer_hash(d->node.id, d->address, lane));
    return p;
}

/* Nothing of what waits will be sent: calls are told, one-way messages go. */
static void peer_fail_queue(struct peer *p) {
    struct err why = p->err; /* callbacks may change the peer */
    struct list failed = LIST_INIT(failed);

    list_splice(&failed, &p->queue);
    p->queued = 0;
    for (struct list *e; (e = list_pop_front(&failed));) {
        struct out_frame *o = LIST_ENTRY(e, struct out_frame, link);

        if (o->call)
            call_end(o->call, p->refused ? RPC_REFUSED : RPC_UNREACHABLE, (struct node_id){0}, SLICE_NULL, NULL, &why);
        (void)out_frame_free(o);
    }
}

static void peer_throttle(struct peer *p) {
    struct fabric *f = p->fabric;
    uint64_t pause = p->retry_ns ? p->retry_ns : FABRIC_RETRY_MIN_NS;

    p->retry_ns = MIN(pause * 2, (uint64_t)FABRIC_RETRY_MAX_NS);
    timer_set(f->p.loop, &p->timer, pause / 2 + loop_random_u64(f->p.loop) % (pause / 2 + 1));
}

static void on_peer_timer(void *arg) {
    struct peer *p = arg;

    if (!p->conn && !list_empty(&p->queue))
        peer_dial(p);
}

/* A dial that cannot even begin: what waits fails in a later turn. */
static void on_cannot_dial(void *arg) {
    struct peer *p = arg;

    timer_init(&p->timer, on_peer_timer, p);
    peer_throttle(p);
    peer_fail_queue(p);
}

static int dial_address(struct peer *p, char uri[640], struct fabric_transport *ret, struct err *err) {
    struct fabric *f = p->fabric;
    const char *text = p->address;
    struct node_id current;
    struct address a;
    int r = 0;

    if (p->id)
        r = f->p.resolve ? f->p.resolve(f->p.arg, p->id, &current, &text) : RS_ENOENT;
    if (r < 0)
        return err_set(err, r, "the address of N%u is not known", p->id);
    r = address_parse(text, &a, err);
    if (r < 0)
        return r;
    *ret = f->p.transport(f->p.arg, a.scheme);
    if (!ret->ops)
        return err_set(err, RS_EUNSUPPORTED, "no transport serves the scheme '%s' of '%s'", a.scheme, text);
    (void)address_uri(&a, uri, 640);
    return 0;
}

static void peer_dial(struct peer *p) {
    struct fabric *f = p->fabric;
    rs_conn_opts o = {.struct_size = sizeof o,
                      .connect_timeout_ns = f->p.connect_timeout_ns,
                      .handshake_timeout_ns = f->p.handshake_timeout_ns};
    struct fabric_transport t = {0};
    rs_error e = {.struct_size = sizeof e};
    char uri[640];
    struct conn *c;
    int r = dial_address(p, uri, &t, &p->err);

    if (r == 0) {
        c = conn_new(f, t, CONN_DIALLING);
        c->peer = p;
        c->lane = p->lane;
        r = t.ops->connect(t.self, (rs_loop *)f->p.loop, uri, &o, conn_events(), c, &c->rs, &e);
        if (r == 0) {
            p->conn = c;
            return;
        }
        (void)err_from_abi(&p->err, r, &e);
        list_remove(&c->link);
        free(c);
    }
    timer_stop(f->p.loop, &p->timer);
    timer_init(&p->timer, on_cannot_dial, p);
    timer_set(f->p.loop, &p->timer, 0);
}

void fabric_conn_opened(struct conn *c) {
    struct peer *p = c->peer;

    p->retry_ns = 0;
    p->refused = false;
    p->was = c->node;
    LIST_FOREACH_SAFE (e, &p->queue) {
        struct out_frame *o = LIST_ENTRY(e, struct out_frame, link);

        list_remove(&o->link);
        p->queued -= o->len;
        if (o->generation && o->generation != c->node.generation) {
            struct err why;

            (void)err_set(&why, RS_ECLOSED, "N%u is now generation %u", c->node.id, c->node.generation);
            if (o->call)
                call_end(o->call, RPC_UNREACHABLE, c->node, SLICE_NULL, NULL, &why);
            (void)out_frame_free(o);
        } else {
            conn_queue(c, o);
        }
    }
}

/* Calls that were sent on it, wholly or in part, have an unknown outcome. */
static void fail_sent(struct fabric *f, const struct conn *c, const struct err *why) {
    struct fabric_call *lost[64];
    size_t n;

    do {
        n = 0;
        MAP_FOREACH (m, &f->calls) {
            struct fabric_call *call = MAP_ENTRY(m, struct fabric_call, node);

            if (call->conn == c && n < sizeof lost / sizeof *lost)
                lost[n++] = call;
        }
        for (size_t i = 0; i < n; i++) /* a callback may drop or end others of them */
            if (lost[i]->fabric == f && lost[i]->conn == c)
                call_end(lost[i], RPC_UNKNOWN, c->node, SLICE_NULL, NULL, why);
            else
                break;
    } while (n);
}

/* Nobody listens where a process was that I was connected to. */
static void process_gone(struct peer *p) {
    struct fabric *f = p->fabric;
    struct node_id was = p->was;

    p->was = (struct node_id){0};
    if (p->lane == LANE_GOSSIP && p->id && was.id && f->p.gone)
        f->p.gone(f->p.arg, was);
}

void fabric_conn_closed(struct conn *c, const struct err *why) {
    struct fabric *f = c->fabric;
    struct peer *p = c->peer;
    bool was_open = c->state == CONN_OPEN;

    if (!p)
        return;
    p->conn = NULL;
    p->err = *why;
    p->refused = !was_open && why->code == RS_EPERM;
    /* what was not begun goes back, in order, before what came since */
    for (struct list *e = c->out.prev; e != &c->out;) {
        struct out_frame *o = LIST_ENTRY(e, struct out_frame, link);

        e = e->prev;
        if (o->sent == 0 && o->call && was_open) {
            list_remove(&o->link);
            list_push_front(&p->queue, &o->link);
            p->queued += o->len;
        }
    }
    fail_sent(f, c, why);
    if (!was_open && c->state == CONN_DIALLING && why->code == RS_ECLOSED)
        process_gone(p);
    if (was_open) {
        LOG_DEBUG("a fabric connection ended", F_U64("node", c->node.id), F_U64("lane", c->lane),
                  F_STR("why", why->msg));
        if (!list_empty(&p->queue) || (p->id && p->lane == LANE_GOSSIP && !f->draining)) /* is it still there? */
            peer_dial(p);
    } else {
        peer_throttle(p);
        peer_fail_queue(p);
    }
}

/* ---- sending ---- */

static bool is_local(const struct fabric *f, const struct fabric_dest *d) {
    if (d->node.id == FABRIC_SELF)
        return true;
    return d->node.id && d->node.id == f->p.self.id &&
           (d->node.generation == 0 || d->node.generation == f->p.self.generation);
}

void fabric_post_local(struct fabric *f) {
    if (!f->local_task->posted) {
        f->local_task->posted = true;
        loop_post_task(f->p.loop, &f->local_task->task);
    }
}

static void run_local(void *arg) {
    struct local_task *t = arg;
    struct fabric *f = t->fabric;
    struct list now = LIST_INIT(now);

    t->posted = false;
    if (!f) { /* the fabric went while the task was under way */
        free(t);
        return;
    }

    list_splice(&now, &f->local);
    for (struct list *e; (e = list_pop_front(&now));) {
        struct out_frame *o = LIST_ENTRY(e, struct out_frame, link);
        struct bytes *frame = bytes_new(o->len);
        uint8_t *to = frame->data;

        memcpy(to, o->head.data, o->head.len);
        to += o->head.len;
        for (size_t i = 0; i < o->n_parts; i++) {
            memcpy(to, o->parts[i]->data, o->parts[i]->len);
            to += o->parts[i]->len;
        }
        o->sent = o->len;
        if (o->call) {
            o->call->frame = NULL;
            o->call = NULL;
        }
        (void)out_frame_free(o);
        serve_local(f, frame);
        (void)bytes_unref(frame);
    }
}

static struct out_frame *make_frame(struct fabric *f, enum frame_kind kind, const struct fabric_message *m,
                                    uint64_t id) {
    struct frame_head h = fabric_head(f);

    h.id = id;
    h.service = m->service;
    h.type = m->type;
    h.flags = m->has_sort_code ? FRAME_HAS_SORT_CODE : 0;
    h.sort_code = m->sort_code;
    return out_frame_new(kind, &h, m->head, m->parts, m->n_parts);
}

static void send_frame(struct fabric *f, const struct fabric_dest *d, enum fabric_lane lane, struct out_frame *take) {
    struct peer *p;

    if (is_local(f, d)) {
        list_push_back(&f->local, &take->link);
        fabric_post_local(f);
        return;
    }
    p = get_peer(f, d, lane);
    if (p->conn && conn_is_open(p->conn) && !p->conn->drained &&
        (take->generation == 0 || take->generation == p->conn->node.generation)) {
        conn_queue(p->conn, take);
        return;
    }
    list_push_back(&p->queue, &take->link);
    p->queued += take->len;
    if (p->conn && conn_is_open(p->conn)) /* an older generation, or one that is stopping: begin anew */
        conn_close(p->conn, 0, "");
    else if (!p->conn && !timer_armed(&p->timer))
        peer_dial(p);
}

static size_t waiting_bytes(const struct fabric *f, const struct fabric_dest *d, enum fabric_lane lane) {
    const struct peer *p = is_local(f, d) ? NULL : find_peer(f, d->node.id, d->address, lane);

    return p ? p->queued + (p->conn ? p->conn->out_bytes : 0) : 0;
}

static void on_refused(void *arg) {
    struct fabric_call *c = arg;
    struct err why;

    (void)err_set(&why, RS_ENOMEM, "the peer is dead, or too much waits for it");
    call_end(c, RPC_UNREACHABLE, (struct node_id){0}, SLICE_NULL, NULL, &why);
}

static bool is_down(const struct fabric *f, const struct fabric_dest *d, enum fabric_lane lane) {
    const struct peer *p = d->node.id ? NULL : find_peer(f, 0, d->address, lane);
    uint32_t id = p ? p->was.id : d->node.id; /* by address: who was there last */

    for (unsigned i = 0; lane != LANE_GOSSIP && id && i < f->n_down; i++)
        if (f->down[i] == id)
            return true;
    return false;
}

void fabric_call(struct fabric *f, struct fabric_call *c, const struct fabric_dest *d, enum fabric_lane lane,
                 const struct fabric_message *m, uint64_t deadline_ns) {
    ASSERT(!c->fabric && deadline_ns);
    c->fabric = f;
    c->conn = NULL;
    c->id = ++f->next_call;
    map_add(&f->calls, &c->node, map_hash_u64(c->id));
    if (waiting_bytes(f, d, lane) > FABRIC_QUEUE_BYTES || is_down(f, d, lane)) {
        c->frame = NULL;
        timer_init(&c->timer, on_refused, c);
        timer_set(f->p.loop, &c->timer, 0);
        return;
    }
    timer_init(&c->timer, on_deadline, c);
    timer_set_at(f->p.loop, &c->timer, deadline_ns);
    c->frame = make_frame(f, FRAME_CALL, m, c->id);
    c->frame->call = c;
    c->frame->generation = d->node.id ? d->node.generation : 0;
    send_frame(f, d, lane, c->frame);
}

void fabric_send(struct fabric *f, const struct fabric_dest *d, enum fabric_lane lane, const struct fabric_message *m) {
    struct out_frame *o;

    if (waiting_bytes(f, d, lane) > FABRIC_QUEUE_BYTES / 4)
        return;
    o = make_frame(f, FRAME_UNARY, m, 0);
    o->generation = d->node.id ? d->node.generation : 0;
    o->expires_ns = loop_now_ns(f->p.loop) + FABRIC_ONE_WAY_NS;
    send_frame(f, d, lane, o);
}

bool fabric_connected(const struct fabric *f, uint32_t node, enum fabric_lane lane) {
    const struct peer *p = find_peer(f, node, NULL, lane);

    return p && p->conn && conn_is_open(p->conn);
}

void fabric_forget(struct fabric *f, struct node_id node) {
    struct fabric_dest d = {.node = node};

    if (!is_down(f, &d, LANE_GENERAL) && f->n_down < FABRIC_DOWN_MAX)
        f->down[f->n_down++] = node.id;
    LIST_FOREACH_SAFE (e, &f->conns) {
        struct conn *c = LIST_ENTRY(e, struct conn, link);

        if (c->node.id == node.id && c->node.generation <= node.generation)
            conn_close(c, RS_ECLOSED, "the node is dead");
    }
    for (int lane = 0; lane < N_LANES; lane++) { /* what waits for a dial */
        struct peer *p = find_peer(f, node.id, NULL, (enum fabric_lane)lane);

        if (!p || lane == LANE_GOSSIP)
            continue;
        (void)err_set(&p->err, RS_ECLOSED, "the node is dead");
        if (p->conn)
            conn_close(p->conn, RS_ECLOSED, "the node is dead");
        peer_fail_queue(p);
    }
}

void fabric_alive(struct fabric *f, uint32_t node) {
    for (unsigned i = 0; i < f->n_down; i++)
        if (f->down[i] == node)
            f->down[i] = f->down[--f->n_down];
    for (int lane = 0; node && lane < N_LANES; lane++) {
        struct peer *p = find_peer(f, node, NULL, (enum fabric_lane)lane);

        if (p && !p->conn && timer_armed(&p->timer)) {
            p->retry_ns = 0;
            timer_set(f->p.loop, &p->timer, 0);
        }
    }
}

/* ---- the object ---- */

static void expire_one_way(struct fabric *f, uint64_t now) {
    MAP_FOREACH (n, &f->peers) {
        struct peer *p = MAP_ENTRY(n, struct peer, node);

        LIST_FOREACH_SAFE (e, &p->queue) {
            struct out_frame *o = LIST_ENTRY(e, struct out_frame, link);

            if ((o->expires_ns && o->expires_ns <= now) || (!o->call && !o->expires_ns))
                queue_drop(p, o); /* too old, or the caller has gone */
        }
    }
}

static bool is_idle(const struct fabric *f) {
    LIST_FOREACH (e, &f->conns) {
        const struct conn *c = LIST_ENTRY(e, struct conn, link);

        if (c->state == CONN_OPEN && (!list_empty(&c->requests) || c->out_bytes))
            return false;
    }
    return true;
}

static void on_tick(void *arg) {
    struct fabric *f = arg;
    uint64_t now = loop_now_ns(f->p.loop);

    LIST_FOREACH_SAFE (e, &f->conns)
        conn_tick(LIST_ENTRY(e, struct conn, link), now);
    expire_one_way(f, now);
    timer_set(f->p.loop, &f->tick, f->draining ? FABRIC_TICK_NS / 10 : FABRIC_TICK_NS);
    if (f->draining && f->drained && (is_idle(f) || now >= f->drain_until_ns)) {
        void (*done)(void *arg) = f->drained;

        f->drained = NULL;
        done(f->drained_arg);
    }
}

struct fabric *fabric_new(const struct fabric_params *p) {
    struct fabric *f = xnew(struct fabric);

    f->p = *p;
    f->p.connect_timeout_ns = p->connect_timeout_ns ? p->connect_timeout_ns : FABRIC_CONNECT_NS;
    f->p.handshake_timeout_ns = p->handshake_timeout_ns ? p->handshake_timeout_ns : FABRIC_HANDSHAKE_NS;
    f->p.ping_interval_ns = p->ping_interval_ns ? p->ping_interval_ns : FABRIC_PING_NS;
    f->p.ping_timeout_ns = p->ping_timeout_ns ? p->ping_timeout_ns : FABRIC_PING_TIMEOUT_NS;
    f->cluster_name = xstrdup(p->cluster_name ? p->cluster_name : "");
    while (p->allowed_peers && p->allowed_peers[f->n_allowed])
        f->n_allowed++;
    f->allowed = xcalloc(f->n_allowed + 1, sizeof(char *));
    for (size_t i = 0; i < f->n_allowed; i++)
        f->allowed[i] = xstrdup(p->allowed_peers[i]);
    list_init(&f->conns);
    list_init(&f->services);
    list_init(&f->listeners);
    list_init(&f->local);
    list_init(&f->local_requests);
    f->rbuf = xmalloc(FABRIC_READ_BYTES);
    loop_random(p->loop, &f->next_call, sizeof f->next_call);
    timer_init(&f->tick, on_tick, f);
    timer_set(p->loop, &f->tick, FABRIC_TICK_NS);
    f->local_task = xnew(struct local_task);
    *f->local_task = (struct local_task){.task = {.fn = run_local, .arg = f->local_task}, .fabric = f};
    return f;
}

void fabric_set_self(struct fabric *f, struct node_id self, uint64_t fingerprint) {
    f->p.self = self;
    f->p.fingerprint = fingerprint;
    /* what was dialled by address without a name begins anew with one */
    LIST_FOREACH_SAFE (e, &f->conns) {
        struct conn *c = LIST_ENTRY(e, struct conn, link);

        if (c->state != CONN_OPEN)
            continue;
        if (c->peer)
            c->drained = true;
        else
            conn_queue_raw(c, FRAME_DRAIN, SLICE_NULL); /* the other end dials again and hears who I am */
    }
}

struct node_id fabric_self(const struct fabric *f) {
    return f->p.self;
}

int fabric_listen(struct fabric *f, struct fabric_transport t, const char *uri, struct err *err) {
    rs_conn_opts o = {.struct_size = sizeof o, .handshake_timeout_ns = f->p.handshake_timeout_ns};
    rs_error e = {.struct_size = sizeof e};
    struct listener *l = xnew(struct listener);
    int r;

    l->fabric = f;
    l->t = t;
    r = t.ops->listen(t.self, (rs_loop *)f->p.loop, uri, &o, conn_accepted, l, &l->rs, &e);
    if (r < 0) {
        free(l);
        return err_from_abi(err, r, &e);
    }
    list_push_back(&f->listeners, &l->link);
    return 0;
}

int fabric_uri(const struct fabric *f, size_t i, char *buf, size_t len) {
    LIST_FOREACH (e, &f->listeners) {
        const struct listener *l = LIST_ENTRY(e, struct listener, link);

        if (i-- == 0)
            return l->t.ops->listener_uri(l->rs, buf, len);
    }
    return RS_ENOENT;
}

static void stop_listening(struct fabric *f) {
    for (struct list *e; (e = list_pop_front(&f->listeners));) {
        struct listener *l = LIST_ENTRY(e, struct listener, link);

        l->t.ops->listener_close(l->rs);
        free(l);
    }
}

void fabric_drain(struct fabric *f, uint64_t timeout_ns, void (*done)(void *arg), void *arg) {
    f->draining = true;
    f->drain_until_ns = loop_now_ns(f->p.loop) + timeout_ns;
    f->drained = done;
    f->drained_arg = arg;
    stop_listening(f);
    LIST_FOREACH (e, &f->conns) {
        struct conn *c = LIST_ENTRY(e, struct conn, link);

        if (conn_is_open(c))
            conn_queue_raw(c, FRAME_DRAIN, SLICE_NULL);
    }
    timer_set(f->p.loop, &f->tick, 0);
}

static void peer_free(struct peer *p) {
    while (!list_empty(&p->queue))
        queue_drop(p, LIST_ENTRY(p->queue.next, struct out_frame, link));
    timer_stop(p->fabric->p.loop, &p->timer);
    free(p->address);
    free(p);
}

struct fabric *fabric_free(struct fabric *f) {
    if (!f)
        return NULL;
    stop_listening(f);
    MAP_FOREACH (n, &f->calls) {
        struct fabric_call *c = MAP_ENTRY(n, struct fabric_call, node);

        timer_stop(f->p.loop, &c->timer);
        if (c->frame)
            c->frame->call = NULL;
        c->frame = NULL;
        c->fabric = NULL;
    }
    LIST_FOREACH_SAFE (e, &f->conns) {
        struct conn *c = LIST_ENTRY(e, struct conn, link);

        list_remove(&c->link);
        serve_conn_closed(c);
        if (c->state != CONN_FOREIGN)
            conn_close(c, RS_ECANCELED, "stopping");
        c->fabric = NULL;
        c->peer = NULL;
    }
    for (struct list *e; (e = list_pop_front(&f->local_requests));) {
        struct request *r = LIST_ENTRY(e, struct request, link);

        (void)bytes_unref(r->r.frame);
        free(r);
    }
    for (struct list *e; (e = list_pop_front(&f->local));)
        (void)out_frame_free(LIST_ENTRY(e, struct out_frame, link));
    MAP_FOREACH (n, &f->peers)
        peer_free(MAP_ENTRY(n, struct peer, node));
    MAP_FOREACH (n, &f->newest)
        free(MAP_ENTRY(n, struct newest, node));
    map_done(&f->peers);
    map_done(&f->calls);
    map_done(&f->newest);
    timer_stop(f->p.loop, &f->tick);
    for (size_t i = 0; i < f->n_allowed; i++)
        free(f->allowed[i]);
    free(f->allowed);
    free(f->cluster_name);
    f->local_task->fabric = NULL;
    if (!f->local_task->posted)
        free(f->local_task);
    free(f->rbuf);
    free(f);
    return NULL;
}

void fabric_each_connection(const struct fabric *f, void (*each)(void *arg, const struct fabric_conn_info *i),
                            void *arg) {
    LIST_FOREACH (e, &f->conns) {
        const struct conn *c = LIST_ENTRY(e, struct conn, link);
        struct fabric_conn_info i = {.peer = c->node,
                                     .lane = c->lane,
                                     .dialled = c->peer != NULL,
                                     .address = c->address,
                                     .identity = c->identity,
                                     .age_ns = loop_now_ns(f->p.loop) - c->opened_ns,
                                     .frames_in = c->frames_in,
                                     .frames_out = c->frames_out,
                                     .queued_bytes = c->out_bytes};

        if (conn_is_open(c))
            each(arg, &i);
    }
}
