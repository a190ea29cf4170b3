/* SPDX-License-Identifier: Apache-2.0 */
/* What a leader does: replication, commitment, confirmed reads, membership, handing over. */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "meta/raft_internal.h"

static const struct raft_member nobody;

void raft_drop_reads(struct raft *r) {
    r->n_pending = 0;
}

/* ---- replication ---- */

static void send_snapshot(struct raft *r, struct raft_peer *p) {
    struct raft_msg *m;

    if (!r->snapshot || !p->active)
        return;
    m = raft_send(r, &r->early, RAFT_SNAP, p->m);
    m->snapshot = raft_snapshot_copy(r->snapshot);
    p->flow = FLOW_SNAPSHOT;
    p->snapshot_index = r->snapshot->index;
    p->waited = 0;
}

static void send_append(struct raft *r, struct raft_peer *p) {
    uint64_t prev = p->next - 1, last = raft_log_last(&r->log);
    struct raft_msg *m;

    if (p->flow == FLOW_SNAPSHOT || (p->flow == FLOW_PROBE && p->paused) ||
        (p->flow == FLOW_REPLICATE && p->inflight >= RAFT_INFLIGHT_MAX))
        return;
    if (prev < r->log.base_index || (prev > 0 && raft_log_term(&r->log, prev) == 0)) {
        send_snapshot(r, p);
        return;
    }
    m = raft_send(r, &r->early, RAFT_APPEND, p->m);
    m->index = prev;
    m->log_term = raft_log_term(&r->log, prev);
    m->n = raft_log_slice(&r->log, p->next, last, r->p.message_bytes, &m->entries);
    m->commit = r->hard.commit;
    if (p->flow == FLOW_PROBE) {
        p->paused = true;
    } else {
        p->next += m->n;
        p->inflight += m->n ? 1 : 0;
    }
}

/* Everything a peer lacks, as far as the window goes. */
static void send_rest(struct raft *r, struct raft_peer *p) {
    do
        send_append(r, p);
    while (p->flow == FLOW_REPLICATE && p->next <= raft_log_last(&r->log) && p->inflight < RAFT_INFLIGHT_MAX);
}

void raft_broadcast(struct raft *r) {
    for (unsigned i = 0; i < r->n_peers; i++)
        if (r->peers[i].next <= raft_log_last(&r->log) || r->peers[i].flow == FLOW_PROBE)
            send_rest(r, &r->peers[i]);
}

static void send_heartbeats(struct raft *r) {
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct raft_msg *m = raft_send(r, &r->early, RAFT_HEARTBEAT, r->peers[i].m);

        m->commit = MIN(r->peers[i].match, r->hard.commit);
        m->context = r->round;
    }
}

/* The largest value that a majority of the voters has reached. */
static uint64_t majority(const struct raft *r, uint64_t own, size_t field) {
    uint64_t v[RAFT_MEMBERS_MAX + 1];
    unsigned n = 0;

    if (raft_is_voter(r))
        v[n++] = own;
    for (unsigned i = 0; i < r->n_peers; i++)
        if (r->peers[i].voter)
            v[n++] = *(const uint64_t *)((const char *)&r->peers[i] + field);
    for (unsigned i = 1; i < n; i++) /* descending */
        for (unsigned k = i; k > 0 && v[k - 1] < v[k]; k--) {
            uint64_t t = v[k];

            v[k] = v[k - 1];
            v[k - 1] = t;
        }
    return n ? v[n / 2] : 0;
}

static bool maybe_commit(struct raft *r) {
    uint64_t index = majority(r, r->self_match, offsetof(struct raft_peer, match));

    /* entries of older terms become committed only together with one of this term */
    if (index <= r->hard.commit || raft_log_term(&r->log, index) != r->hard.term)
        return false;
    r->hard.commit = index;
    return true;
}

static void after_commit(struct raft *r) {
    if (!maybe_commit(r))
        return;
    for (unsigned i = 0; i < r->n_peers; i++) /* followers learn of it at once */
        send_append(r, &r->peers[i]);
}

void raft_lead_stored(struct raft *r) {
    r->self_match = MAX(r->self_match, r->log.stable);
    after_commit(r);
}

void raft_lead_begin(struct raft *r) {
    r->role = RAFT_LEADER;
    r->leader = r->p.self;
    r->elapsed = r->heartbeat_elapsed = 0;
    r->transfer = nobody;
    r->self_match = r->log.stable;
    r->config_index = 0;
    for (uint64_t i = r->hard.commit + 1; i <= raft_log_last(&r->log); i++)
        if (r->log.e[i - r->log.base_index - 1].kind == RAFT_CONFIG)
            r->config_index = i;
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct raft_peer *p = &r->peers[i];

        *p = (struct raft_peer){.m = p->m, .voter = p->voter, .active = true, .next = raft_log_last(&r->log) + 1};
    }
    raft_log_add(&r->log, r->hard.term, RAFT_EMPTY, NULL);
    raft_broadcast(r);
}

/* ---- reads ---- */

static void read_done(struct raft *r, struct raft_pending_read p) {
    r->reads = xrealloc(r->reads, (r->n_reads + 1) * sizeof *r->reads);
    r->reads[r->n_reads++] = (struct raft_read_state){p.context, p.index};
}

int raft_read(struct raft *r, uint64_t context) {
    struct raft_pending_read p = {context, r->hard.commit, 0};

    if (r->role != RAFT_LEADER || raft_log_term(&r->log, r->hard.commit) != r->hard.term)
        return RS_EAGAIN;
    if (r->config.n == 1 && raft_is_voter(r)) {
        read_done(r, p);
        return 0;
    }
    p.round = ++r->round;
    r->pending = xrealloc(r->pending, (r->n_pending + 1) * sizeof *r->pending);
    r->pending[r->n_pending++] = p;
    send_heartbeats(r);
    return 0;
}

static void answer_reads(struct raft *r) {
    uint64_t round = majority(r, r->round, offsetof(struct raft_peer, acked_round));
    size_t n = 0;

    while (n < r->n_pending && r->pending[n].round <= round)
        read_done(r, r->pending[n++]);
    memmove(r->pending, r->pending + n, (r->n_pending - n) * sizeof *r->pending);
    r->n_pending -= n;
}

/* ---- answers of followers ---- */

static void hand_over(struct raft *r) {
    struct raft_peer *p = raft_peer(r, r->transfer);

    if (p && p->voter && p->match == raft_log_last(&r->log))
        (void)raft_send(r, &r->late, RAFT_TIMEOUT_NOW, p->m);
}

static void take_reject(struct raft *r, struct raft_peer *p, const struct raft_msg *m) {
    if (m->index <= p->match || p->flow == FLOW_SNAPSHOT)
        return; /* old news */
    if (p->flow == FLOW_PROBE && m->index != p->next - 1)
        return;
    p->next = MAX(p->match + 1, MIN(m->index, m->commit + 1));
    p->flow = FLOW_PROBE;
    p->paused = false;
    p->inflight = 0;
    send_append(r, p);
}

static void take_accept(struct raft *r, struct raft_peer *p, const struct raft_msg *m) {
    bool news = m->index > p->match;

    if (m->index > raft_log_last(&r->log))
        return; /* of a term that is not mine */
    p->match = MAX(p->match, m->index);
    p->next = MAX(p->next, p->match + 1);
    p->inflight -= p->inflight ? 1 : 0;
    if (p->flow == FLOW_PROBE || (p->flow == FLOW_SNAPSHOT && p->match >= p->snapshot_index)) {
        p->flow = FLOW_REPLICATE;
        p->paused = false;
        p->inflight = 0;
        p->next = p->match + 1;
    }
    if (news)
        after_commit(r);
    if (p->next <= raft_log_last(&r->log))
        send_rest(r, p);
    if (raft_member_eq(r->transfer, p->m))
        hand_over(r);
}

void raft_lead_step(struct raft *r, struct raft_msg *m) {
    struct raft_peer *p = raft_peer(r, m->from);

    if (!p)
        return;
    p->active = true;
    if (m->type == RAFT_APPEND_R && m->reject) {
        take_reject(r, p, m);
    } else if (m->type == RAFT_APPEND_R) {
        take_accept(r, p, m);
    } else {
        p->acked_round = MAX(p->acked_round, m->context);
        p->paused = false;
        if (p->inflight >= RAFT_INFLIGHT_MAX)
            p->inflight--;
        if (p->flow == FLOW_SNAPSHOT && p->waited > r->p.election_ticks)
            p->flow = FLOW_PROBE; /* it was lost */
        if (p->match < raft_log_last(&r->log) && (p->flow == FLOW_PROBE || p->next > raft_log_last(&r->log))) {
            if (p->flow == FLOW_REPLICATE) { /* sent and not acknowledged for a whole heartbeat: look again */
                p->flow = FLOW_PROBE;
                p->next = p->match + 1;
                p->inflight = 0;
            }
            send_append(r, p);
        }
        answer_reads(r);
    }
}

void raft_unreachable(struct raft *r, struct raft_member peer) {
    struct raft_peer *p = r->role == RAFT_LEADER ? raft_peer(r, peer) : NULL;

    if (p && p->flow != FLOW_PROBE) {
        p->flow = FLOW_PROBE;
        p->next = p->match + 1;
        p->inflight = 0;
        p->paused = false;
    }
}

/* A leader that does not hear from a majority leads no longer. */
static void check_quorum(struct raft *r) {
    unsigned n = raft_is_voter(r);

    for (unsigned i = 0; i < r->n_peers; i++) {
        n += r->peers[i].voter && r->peers[i].active;
        r->peers[i].active = false;
    }
    if (n < r->config.n / 2 + 1)
        raft_become_follower(r, r->hard.term, nobody);
}

void raft_lead_tick(struct raft *r) {
    for (unsigned i = 0; i < r->n_peers; i++)
        r->peers[i].waited++;
    if (r->transfer.id && ++r->transfer_elapsed >= r->p.election_ticks)
        r->transfer = nobody;
    if (r->elapsed >= r->p.election_ticks) {
        r->elapsed = 0;
        check_quorum(r);
        if (r->role != RAFT_LEADER)
            return;
    }
    if (++r->heartbeat_elapsed >= r->p.heartbeat_ticks) {
        r->heartbeat_elapsed = 0;
        send_heartbeats(r);
    }
}

/* ---- proposals ---- */

static size_t uncommitted(const struct raft *r) {
    size_t sum = 0;

    for (uint64_t i = MAX(r->hard.commit, r->log.base_index) + 1; i <= raft_log_last(&r->log); i++) {
        const struct raft_entry *e = &r->log.e[i - r->log.base_index - 1];

        sum += e->data ? e->data->len : 0;
    }
    return sum;
}

static void append(struct raft *r, enum raft_entry_kind kind, struct bytes *data, uint64_t *index, uint64_t *term) {
    raft_log_add(&r->log, r->hard.term, kind, data);
    *index = raft_log_last(&r->log);
    *term = r->hard.term;
    raft_broadcast(r);
}

int raft_propose(struct raft *r, struct bytes *data, uint64_t *ret_index, uint64_t *ret_term) {
    size_t waiting;

    if (r->role != RAFT_LEADER || r->transfer.id)
        return RS_EAGAIN;
    waiting = uncommitted(r);
    if (waiting && waiting + data->len > r->p.uncommitted_bytes)
        return RS_ENOMEM;
    append(r, RAFT_DATA, data, ret_index, ret_term);
    return 0;
}

/* How many members differ between two configurations; a promoted learner counts once. */
static unsigned differences(const struct raft_config *a, const struct raft_config *b) {
    unsigned n = 0;

    for (uint32_t i = 0; i < a->n; i++)
        n += !raft_config_votes(b, a->voters[i]);
    for (uint32_t i = 0; i < b->n; i++)
        n += !raft_config_votes(a, b->voters[i]);
    if (b->learner.id && !raft_member_eq(a->learner, b->learner))
        n++;
    if (a->learner.id && !raft_member_eq(a->learner, b->learner) && !raft_config_votes(b, a->learner))
        n++;
    return n;
}

int raft_propose_config(struct raft *r, const struct raft_config *next, struct slice context, uint64_t *ret_index,
                        uint64_t *ret_term) {
    _cleanup_buf_ struct buf data = {0};
    struct bytes *entry;

    if (r->role != RAFT_LEADER || r->config_index || r->transfer.id || r->applied < r->hard.commit ||
        raft_log_term(&r->log, r->hard.commit) != r->hard.term)
        return RS_EAGAIN;
    if (next->n == 0 || next->n > RAFT_MEMBERS_MAX || differences(&r->config, next) != 1)
        return RS_EINVAL;
    raft_config_encode(next, &data);
    buf_put_slice(&data, context);
    entry = bytes_take_buf(&data);
    append(r, RAFT_CONFIG, entry, ret_index, ret_term);
    r->config_index = *ret_index;
    (void)bytes_unref(entry);
    return 0;
}

void raft_transfer(struct raft *r, struct raft_member to) {
    struct raft_peer *p = r->role == RAFT_LEADER ? raft_peer(r, to) : NULL;

    if (!p || !p->voter)
        return;
    r->transfer = to;
    r->transfer_elapsed = 0;
    hand_over(r);
    if (p->match < raft_log_last(&r->log))
        send_append(r, p);
}

struct raft_member raft_best_heir(const struct raft *r) {
    const struct raft_peer *best = NULL;

    for (unsigned i = 0; i < r->n_peers; i++)
        if (r->peers[i].voter && r->peers[i].active && (!best || r->peers[i].match > best->match))
            best = &r->peers[i];
    return best ? best->m : nobody;
}

bool raft_is_active(const struct raft *r, struct raft_member m) {
    for (unsigned i = 0; i < r->n_peers; i++)
        if (raft_member_eq(r->peers[i].m, m))
            return r->peers[i].active;
    return raft_member_eq(m, r->p.self);
}
