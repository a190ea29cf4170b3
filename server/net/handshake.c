/* SPDX-License-Identifier: Apache-2.0 */
/* Hello and welcome: who is at the other end, and do both belong to the same cluster (spec cluster.md §5.1). */
#include "base/arena.h"
#include "net/fabric_internal.h"
#include "proto/fabric.gen.h"

/* One pattern of allowed-peers: a name, or "*." and the rest of it. */
static bool name_matches(const char *pattern, const char *name) {
    const char *dot;

    if (strcmp(pattern, "*") == 0)
        return true;
    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(pattern, name) == 0;
    dot = strchr(name, '.');
    return dot && dot != name && strcasecmp(pattern + 1, dot) == 0;
}

static bool is_allowed(const struct fabric *f, const struct conn *c) {
    if (f->n_allowed == 0 || !c->t.peer_auth)
        return true;
    for (size_t i = 0; i < f->n_allowed; i++)
        if (c->identity[0] && name_matches(f->allowed[i], c->identity))
            return true;
    return false;
}

static struct newest *newest_of(struct fabric *f, uint32_t id) {
    for (struct map_node *n = map_first(&f->newest, node_hash(id)); n; n = map_next(n))
        if (MAP_ENTRY(n, struct newest, node)->id.id == id)
            return MAP_ENTRY(n, struct newest, node);
    return NULL;
}

/* A generation showed itself: false when a newer one is known. Connections of older ones are cut. */
static bool take_generation(struct fabric *f, struct node_id node) {
    struct newest *n = newest_of(f, node.id);

    if (node.id == f->p.self.id && node.generation > f->p.self.generation && f->p.preempted) {
        f->p.preempted(f->p.arg, node);
        return false;
    }
    if (!n) {
        n = xnew(struct newest);
        n->id = node;
        map_add(&f->newest, &n->node, node_hash(node.id));
    }
    if (node.generation < n->id.generation)
        return false;
    if (node.generation > n->id.generation) {
        n->id = node;
        LIST_FOREACH_SAFE (e, &f->conns) {
            struct conn *c = LIST_ENTRY(e, struct conn, link);

            if (c->node.id == node.id && c->node.generation < node.generation)
                conn_close(c, RS_ECLOSED, "the node was restarted");
        }
    }
    return true;
}

void conn_hello(struct conn *c) {
    const struct fabric_params *p = &c->fabric->p;
    struct fab_hello m = {.min_protocol = FRAME_PROTOCOL,
                          .max_protocol = FRAME_PROTOCOL,
                          .cluster_name = slice_str(c->fabric->cluster_name),
                          .node = p->self.id,
                          .generation = p->self.generation,
                          .lane = (uint32_t)c->lane,
                          .fingerprint = p->fingerprint,
                          .feature_level = p->feature_level};
    _cleanup_buf_ struct buf body = {0};
    struct out_frame *magic = xnew(struct out_frame);

    buf_put(&magic->head, FRAME_MAGIC, FRAME_MAGIC_BYTES);
    magic->len = FRAME_MAGIC_BYTES;
    conn_queue(c, magic);
    fab_hello_encode(&m, &body);
    conn_queue_raw(c, FRAME_HELLO, buf_slice(&body));
    c->state = CONN_WELCOME;
}

static void reject(struct conn *c, int code, const char *message) {
    struct fab_reject m = {.code = (uint32_t)-code, .message = slice_str(message)};
    _cleanup_buf_ struct buf body = {0};

    fab_reject_encode(&m, &body);
    conn_queue_raw(c, FRAME_REJECT, buf_slice(&body));
    c->drained = true; /* closed by the peer, or by the tick */
}

static const char *refusal(struct conn *c, const struct fab_hello *m) {
    const struct fabric *f = c->fabric;
    bool client = m->node == 0;

    if (m->min_protocol > FRAME_PROTOCOL || m->max_protocol < FRAME_PROTOCOL)
        return "no common version of the protocol";
    /* a client, and a node that looks for its cluster, may not know the names yet */
    if (m->cluster_name.len && !slice_eq_str(m->cluster_name, f->cluster_name))
        return "another cluster name";
    if (m->fingerprint && f->p.fingerprint && m->fingerprint != f->p.fingerprint)
        return "another cluster: the fingerprints differ";
    if (!is_allowed(f, c))
        return "the certificate's name is not among networking.allowed-peers";
    if (!client && m->generation == 0)
        return "a node without generation";
    if (m->lane >= N_LANES)
        return "unknown lane";
    if (!client && !take_generation(c->fabric, (struct node_id){m->node, m->generation}))
        return "this process was replaced by a newer generation of its node";
    return NULL;
}

static int take_hello(struct conn *c, struct slice body, struct err *err) {
    _cleanup_(arena_done) struct arena a = {0};
    _cleanup_buf_ struct buf out = {0};
    struct fab_welcome w = {.protocol = FRAME_PROTOCOL,
                            .node = c->fabric->p.self.id,
                            .generation = c->fabric->p.self.generation,
                            .feature_level = c->fabric->p.feature_level};
    struct fab_hello m;
    const char *why;
    int r = fab_hello_decode(&m, body, &a, err);

    if (r < 0)
        return r;
    why = refusal(c, &m);
    if (why) {
        reject(c, RS_EPERM, why);
        return 0;
    }
    c->node = (struct node_id){m.node, m.node ? m.generation : 0};
    c->lane = (enum fabric_lane)m.lane;
    c->state = CONN_OPEN;
    fab_welcome_encode(&w, &out);
    conn_queue_raw(c, FRAME_WELCOME, buf_slice(&out));
    return 0;
}

static int take_welcome(struct conn *c, struct slice body, struct err *err) {
    _cleanup_(arena_done) struct arena a = {0};
    struct fab_welcome m;
    int r = fab_welcome_decode(&m, body, &a, err);

    if (r < 0)
        return r;
    if (m.protocol != FRAME_PROTOCOL)
        return err_set(err, RS_EUNSUPPORTED, "the peer chose protocol %u", m.protocol);
    if (c->peer && c->peer->id && m.node && m.node != c->peer->id) /* 0: it has not joined yet */
        return err_set(err, RS_EPERM, "the node at this address is N%u, not N%u", m.node, c->peer->id);
    if (!is_allowed(c->fabric, c))
        return err_set(err, RS_EPERM, "the certificate's name is not among networking.allowed-peers");
    if (m.node && !take_generation(c->fabric, (struct node_id){m.node, m.generation}))
        return err_set(err, RS_ECLOSED, "an older generation of the node answered");
    c->node = (struct node_id){m.node, m.generation};
    c->state = CONN_OPEN;
    fabric_conn_opened(c);
    return 0;
}

static int take_reject(struct conn *c, struct slice body, struct err *err) {
    _cleanup_(arena_done) struct arena a = {0};
    struct fab_reject m;
    int r = fab_reject_decode(&m, body, &a, err);

    (void)c;
    return r < 0 ? r : err_set(err, RS_EPERM, "refused: " SLICE_FMT, SLICE_ARG(slice_sub(m.message, 0, 180)));
}

int handshake_frame(struct conn *c, enum frame_kind kind, struct slice body, struct err *err) {
    if (c->state == CONN_HELLO && kind == FRAME_HELLO && !c->drained)
        return take_hello(c, body, err);
    if (c->state == CONN_WELCOME && kind == FRAME_WELCOME)
        return take_welcome(c, body, err);
    if (c->state == CONN_WELCOME && kind == FRAME_REJECT)
        return take_reject(c, body, err);
    return err_set(err, RS_ECORRUPT, "frame of kind %d in the handshake", (int)kind);
}
