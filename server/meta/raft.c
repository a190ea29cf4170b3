/* SPDX-License-Identifier: Apache-2.0 */
/* Elections, what followers do, and the hand-over of work to the owner. */
#include "meta/raft.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "meta/raft_internal.h"

#define MESSAGE_BYTES (64u << 10)
#define UNCOMMITTED_BYTES (4u << 20)
enum { HURRIES = 3, HURRY_TICKS = 2 }; /* campaigns in a row when the leader is known to be gone */
static const struct raft_member nobody;

static uint64_t next_random(struct raft *r) { /* xorshift64* */
    r->rng ^= r->rng >> 12;
    r->rng ^= r->rng << 25;
    r->rng ^= r->rng >> 27;
    return r->rng * 0x2545f4914f6cdd1dull;
}

static void reset_timeout(struct raft *r) {
    r->elapsed = 0;
    r->timeout = r->p.election_ticks + (unsigned)(next_random(r) % r->p.election_ticks);
}

bool raft_is_voter(const struct raft *r) {
    return raft_config_votes(&r->config, r->p.self);
}

struct raft_peer *raft_peer(struct raft *r, struct raft_member m) {
    for (unsigned i = 0; i < r->n_peers; i++)
        if (raft_member_eq(r->peers[i].m, m))
            return &r->peers[i];
    return NULL;
}

/* The peers are the members of the configuration in force but myself; progress that is known stays. */
void raft_peers_rebuild(struct raft *r) {
    struct raft_peer old[RAFT_MEMBERS_MAX + 1];
    unsigned n_old = r->n_peers;

    memcpy(old, r->peers, sizeof old);
    r->n_peers = 0;
    for (uint32_t i = 0; i <= r->config.n; i++) {
        struct raft_member m = i < r->config.n ? r->config.voters[i] : r->config.learner;
        struct raft_peer *p = &r->peers[r->n_peers];

        if (m.id == 0 || raft_member_eq(m, r->p.self))
            continue;
        *p = (struct raft_peer){.m = m, .next = raft_log_last(&r->log) + 1, .active = true};
        for (unsigned k = 0; k < n_old; k++)
            if (raft_member_eq(old[k].m, m))
                *p = old[k];
        p->voter = i < r->config.n;
        r->n_peers++;
    }
}

/* ---- messages ---- */

struct raft_msg *raft_send(struct raft *r, struct raft_msgs *to_list, enum raft_msg_type type, struct raft_member to) {
    struct raft_msg *m;

    if (to_list->n == to_list->cap) {
        to_list->cap = to_list->cap ? to_list->cap * 2 : 16;
        to_list->v = xrealloc(to_list->v, to_list->cap * sizeof *to_list->v);
    }
    m = &to_list->v[to_list->n++];
    *m = (struct raft_msg){.type = type, .from = r->p.self, .to = to, .term = r->hard.term};
    return m;
}

/* ---- roles ---- */

void raft_become_follower(struct raft *r, uint64_t term, struct raft_member leader) {
    if (term > r->hard.term) {
        r->hard.term = term;
        r->hard.vote = nobody;
    }
    if (r->role == RAFT_LEADER)
        raft_drop_reads(r);
    if (r->config_index > r->hard.commit) /* proposed by me; whether it stays is for others to say */
        r->config_index = 0;
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    r->hurry = leader.id ? 0 : r->hurry;
    r->transfer = nobody;
    reset_timeout(r);
}

static bool config_waits(const struct raft *r) {
    for (uint64_t i = r->applied + 1; i <= r->hard.commit; i++)
        if (i > r->log.base_index && i <= raft_log_last(&r->log) &&
            r->log.e[i - r->log.base_index - 1].kind == RAFT_CONFIG)
            return true;
    return r->config_index && r->config_index <= r->hard.commit;
}

static unsigned quorum(const struct raft *r) {
    return r->config.n / 2 + 1;
}

static void ask_for_votes(struct raft *r, bool pre, bool forced) {
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct raft_msg *m;

        r->peers[i].granted = r->peers[i].answered = false;
        if (!r->peers[i].voter)
            continue;
        /* the vote for myself must be durable before others vote for me: a restart must not vote twice */
        m = raft_send(r, &r->late, pre ? RAFT_PREVOTE : RAFT_VOTE, r->peers[i].m);
        m->term = r->hard.term + (pre ? 1 : 0);
        m->index = raft_log_last(&r->log);
        m->log_term = raft_log_term(&r->log, m->index);
        m->forced = forced;
    }
}

static void campaign_for_real(struct raft *r, bool forced) {
    r->role = RAFT_CANDIDATE;
    r->hard.term++;
    r->hard.vote = r->p.self;
    r->leader = nobody;
    reset_timeout(r);
    if (quorum(r) == 1) {
        raft_lead_begin(r);
        return;
    }
    ask_for_votes(r, false, forced);
}

void raft_campaign(struct raft *r) {
    if (r->role == RAFT_LEADER || !raft_is_voter(r) || config_waits(r))
        return;
    r->role = RAFT_PRECANDIDATE;
    r->leader = nobody;
    reset_timeout(r);
    if (r->hurry) { /* others may not know yet that the leader is gone */
        r->hurry--;
        r->timeout = HURRY_TICKS;
    }
    if (quorum(r) == 1)
        campaign_for_real(r, false);
    else
        ask_for_votes(r, true, false);
}

static void count_votes(struct raft *r) {
    unsigned yes = 1, no = 0;

    for (unsigned i = 0; i < r->n_peers; i++) {
        if (!r->peers[i].voter || !r->peers[i].answered)
            continue;
        if (r->peers[i].granted)
            yes++;
        else
            no++;
    }
    if (yes >= quorum(r)) {
        if (r->role == RAFT_PRECANDIDATE)
            campaign_for_real(r, false);
        else
            raft_lead_begin(r);
    } else if (no >= quorum(r)) {
        raft_become_follower(r, r->hard.term, nobody);
    }
}

static void take_vote(struct raft *r, const struct raft_msg *m) {
    struct raft_peer *p = raft_peer(r, m->from);
    bool mine = (m->type == RAFT_PREVOTE_R && r->role == RAFT_PRECANDIDATE) ||
                (m->type == RAFT_VOTE_R && r->role == RAFT_CANDIDATE);

    if (!p || !p->voter || !mine)
        return;
    p->answered = true;
    p->granted = !m->reject;
    count_votes(r);
}

/* Somebody whose log is shorter than mine stands in vain, because nobody leads: I stand, at once. */
static void stand_instead(struct raft *r) {
    if (r->role == RAFT_FOLLOWER && (r->leader.id == 0 || r->elapsed >= r->p.election_ticks))
        raft_campaign(r);
}

static void answer_vote(struct raft *r, const struct raft_msg *m) {
    uint64_t last = raft_log_last(&r->log), last_term = raft_log_term(&r->log, last);
    bool up_to_date = m->log_term > last_term || (m->log_term == last_term && m->index >= last);
    bool pre = m->type == RAFT_PREVOTE;
    bool free_to = pre ? m->term > r->hard.term
                       : m->term == r->hard.term &&
                             (raft_member_eq(r->hard.vote, m->from) || (r->hard.vote.id == 0 && r->leader.id == 0));
    bool yes = up_to_date && free_to;
    struct raft_msg *a = raft_send(r, &r->late, pre ? RAFT_PREVOTE_R : RAFT_VOTE_R, m->from);

    a->reject = !yes;
    a->term = pre && yes ? m->term : r->hard.term;
    if (yes && !pre) {
        r->hard.vote = m->from;
        reset_timeout(r);
    }
    if (pre && free_to && !up_to_date)
        stand_instead(r);
}

/* ---- what followers do ---- */

static struct raft_msg *answer_append(struct raft *r, struct raft_member to, bool reject, uint64_t index) {
    struct raft_msg *a = raft_send(r, &r->late, RAFT_APPEND_R, to);

    a->reject = reject;
    a->index = index;
    a->commit = raft_log_last(&r->log); /* a hint when rejected */
    return a;
}

static void commit_to(struct raft *r, uint64_t index) {
    r->hard.commit = MAX(r->hard.commit, MIN(index, raft_log_last(&r->log)));
}

static void take_append(struct raft *r, struct raft_msg *m) {
    uint64_t last = m->index + m->n;

    if (m->index < r->hard.commit) {
        (void)answer_append(r, m->from, false, r->hard.commit);
        return;
    }
    if (m->index > raft_log_last(&r->log) || raft_log_term(&r->log, m->index) != m->log_term) {
        (void)answer_append(r, m->from, true, m->index);
        return;
    }
    for (size_t i = 0; i < m->n; i++) {
        const struct raft_entry *e = &m->entries[i];

        if (raft_log_term(&r->log, e->index) == e->term && e->index <= raft_log_last(&r->log))
            continue; /* is there already */
        ASSERT(e->index > r->hard.commit);
        if (e->index <= raft_log_last(&r->log))
            raft_log_cut(&r->log, e->index);
        raft_log_add(&r->log, e->term, e->kind, e->data);
    }
    commit_to(r, MIN(m->commit, last));
    (void)answer_append(r, m->from, false, last);
}

static void take_snapshot(struct raft *r, struct raft_msg *m) {
    struct raft_snapshot *s = m->snapshot;

    if (!s || s->index <= r->hard.commit) {
        (void)answer_append(r, m->from, false, r->hard.commit);
        return;
    }
    if (raft_log_term(&r->log, s->index) == s->term && s->index <= raft_log_last(&r->log)) {
        commit_to(r, s->index); /* the entries are here: no need of it */
        (void)answer_append(r, m->from, false, s->index);
        return;
    }
    raft_log_reset(&r->log, s->index, s->term);
    r->hard.commit = s->index;
    r->config = s->config;
    r->config_index = 0;
    raft_peers_rebuild(r);
    (void)raft_snapshot_free(r->install);
    (void)raft_snapshot_free(r->snapshot);
    r->snapshot = raft_snapshot_copy(s);
    r->install = TAKE(m->snapshot);
    (void)answer_append(r, m->from, false, r->log.base_index);
}

static void follow(struct raft *r, struct raft_msg *m) {
    if (r->role != RAFT_FOLLOWER || !raft_member_eq(r->leader, m->from))
        raft_become_follower(r, m->term, m->from);
    r->elapsed = 0;
    if (m->type == RAFT_APPEND) {
        take_append(r, m);
    } else if (m->type == RAFT_SNAP) {
        take_snapshot(r, m);
    } else {
        struct raft_msg *a;

        commit_to(r, m->commit);
        a = raft_send(r, &r->late, RAFT_HEARTBEAT_R, m->from);
        a->context = m->context;
    }
}

/* ---- steps ---- */

static bool from_leader(const struct raft_msg *m) {
    return m->type == RAFT_APPEND || m->type == RAFT_HEARTBEAT || m->type == RAFT_SNAP;
}

/* A message of an older term. Its sender learns that it is behind. */
static void step_old(struct raft *r, const struct raft_msg *m) {
    if (from_leader(m)) {
        (void)answer_append(r, m->from, true, 0);
    } else if (m->type == RAFT_PREVOTE || m->type == RAFT_VOTE) {
        struct raft_msg *a = raft_send(r, &r->late, m->type == RAFT_PREVOTE ? RAFT_PREVOTE_R : RAFT_VOTE_R, m->from);

        a->reject = true;
    }
}

/* A message of a newer term. Returns false when it is not to be heard. */
static bool step_new(struct raft *r, const struct raft_msg *m) {
    bool wants_vote = m->type == RAFT_VOTE || m->type == RAFT_PREVOTE;

    if (wants_vote && !m->forced && r->leader.id && r->elapsed < r->p.election_ticks)
        return false; /* there is a leader: leave it in peace */
    if (m->type == RAFT_PREVOTE || (m->type == RAFT_PREVOTE_R && !m->reject))
        return true;
    raft_become_follower(r, m->term, from_leader(m) ? m->from : nobody);
    return true;
}

void raft_step(struct raft *r, struct raft_msg *take) {
    if (!raft_member_eq(take->to, r->p.self)) {
        raft_msg_done(take);
        return;
    }
    if (take->term < r->hard.term) {
        step_old(r, take);
    } else if (take->term == r->hard.term || step_new(r, take)) {
        switch (take->type) {
        case RAFT_PREVOTE:
        case RAFT_VOTE:
            answer_vote(r, take);
            break;
        case RAFT_PREVOTE_R:
        case RAFT_VOTE_R:
            take_vote(r, take);
            break;
        case RAFT_APPEND:
        case RAFT_HEARTBEAT:
        case RAFT_SNAP:
            if (r->role != RAFT_LEADER)
                follow(r, take);
            break;
        case RAFT_APPEND_R:
        case RAFT_HEARTBEAT_R:
            if (r->role == RAFT_LEADER)
                raft_lead_step(r, take);
            break;
        case RAFT_TIMEOUT_NOW:
            if (r->role == RAFT_FOLLOWER && raft_is_voter(r) && !config_waits(r))
                campaign_for_real(r, true);
            break;
        default:
            break;
        }
    }
    raft_msg_done(take);
}

void raft_tick(struct raft *r) {
    r->elapsed++;
    if (r->role == RAFT_LEADER)
        raft_lead_tick(r);
    else if (r->elapsed >= r->timeout)
        raft_campaign(r);
    if (r->role != RAFT_LEADER && r->elapsed >= r->timeout)
        reset_timeout(r); /* not a voter: nothing to campaign for */
}

void raft_gone(struct raft *r, uint32_t id) {
    unsigned rank = 0;

    if (r->role == RAFT_LEADER || r->leader.id != id)
        return;
    for (uint32_t i = 0; i < r->config.n; i++)
        rank += r->config.voters[i].id < r->p.self.id && r->config.voters[i].id != id;
    r->leader = nobody;
    r->elapsed = 0;
    r->timeout = 1 + 3 * rank;
    r->hurry = HURRIES;
}

/* ---- ready ---- */

static bool hard_same(const struct raft_hard *a, const struct raft_hard *b) {
    return a->term == b->term && a->commit == b->commit && raft_member_eq(a->vote, b->vote);
}

bool raft_ready(struct raft *r, struct raft_ready *ret) {
    struct raft_ready rd = {0};
    uint64_t last = raft_log_last(&r->log);

    if (r->busy)
        return false;
    if (!hard_same(&r->hard, &r->stored)) {
        rd.has_hard = true;
        rd.hard = r->stored = r->hard;
    }
    rd.snapshot = TAKE(r->install);
    if (rd.snapshot)
        r->applied = rd.snapshot->index;
    if (r->log.stable < last)
        rd.n_entries = raft_log_slice(&r->log, r->log.stable + 1, last, SIZE_MAX, &rd.entries);
    if (r->applied < r->hard.commit) {
        rd.n_committed = raft_log_slice(&r->log, r->applied + 1, r->hard.commit, SIZE_MAX, &rd.committed);
        r->applied = r->hard.commit;
        for (size_t i = 0; i < rd.n_committed; i++) /* until the owner has applied it, nobody campaigns */
            if (rd.committed[i].kind == RAFT_CONFIG)
                r->config_index = rd.committed[i].index;
    }
    rd.early = r->early.v;
    rd.n_early = r->early.n;
    rd.late = r->late.v;
    rd.n_late = r->late.n;
    r->early = r->late = (struct raft_msgs){0};
    rd.reads = TAKE(r->reads);
    rd.n_reads = r->n_reads;
    r->n_reads = 0;
    *ret = rd;
    r->busy = rd.has_hard || rd.snapshot || rd.n_entries || rd.n_early || rd.n_late || rd.n_committed || rd.n_reads;
    if (!r->busy)
        raft_ready_done(ret);
    return r->busy;
}

void raft_ready_done(struct raft_ready *rd) {
    for (size_t i = 0; i < rd->n_early; i++)
        raft_msg_done(&rd->early[i]);
    for (size_t i = 0; i < rd->n_late; i++)
        raft_msg_done(&rd->late[i]);
    free(rd->early);
    free(rd->late);
    raft_entries_free(rd->entries, rd->n_entries);
    raft_entries_free(rd->committed, rd->n_committed);
    free(rd->reads);
    (void)raft_snapshot_free((struct raft_snapshot *)(uintptr_t)rd->snapshot);
    *rd = (struct raft_ready){0};
}

void raft_stored(struct raft *r, struct raft_ready *take) {
    r->busy = false;
    for (size_t i = take->n_entries; i-- > 0;) { /* those that were replaced meanwhile do not count */
        const struct raft_entry *e = &take->entries[i];

        if (raft_log_term(&r->log, e->index) == e->term && e->index <= raft_log_last(&r->log)) {
            r->log.stable = MAX(r->log.stable, e->index);
            break;
        }
    }
    raft_ready_done(take);
    if (r->role == RAFT_LEADER)
        raft_lead_stored(r);
}

bool raft_is_named_behind(const struct raft *r, uint64_t index) {
    for (uint64_t i = MAX(index, r->log.base_index) + 1; i <= raft_log_last(&r->log); i++) {
        const struct raft_entry *e = &r->log.e[i - r->log.base_index - 1];
        struct raft_config c;

        if (e->kind == RAFT_CONFIG && raft_config_decode(bytes_slice(e->data), &c, NULL, NULL) == 0 &&
            (raft_config_votes(&c, r->p.self) || raft_member_eq(c.learner, r->p.self)))
            return true;
    }
    return false;
}

void raft_apply_config(struct raft *r, const struct raft_config *c) {
    r->config = *c;
    r->config_index = 0;
    raft_peers_rebuild(r);
    if (r->role == RAFT_LEADER && !raft_is_voter(r))
        raft_become_follower(r, r->hard.term, nobody);
    else if (r->role == RAFT_LEADER)
        raft_lead_stored(r); /* a smaller quorum may be reached already */
}

void raft_compact(struct raft *r, const struct raft_snapshot *s) {
    struct raft_snapshot *copy;

    if (r->snapshot && s->index <= r->snapshot->index)
        return;
    copy = raft_snapshot_copy(s);
    (void)raft_snapshot_free(r->snapshot);
    r->snapshot = copy;
    raft_log_compact(&r->log, MIN(s->index, r->log.stable), raft_log_term(&r->log, MIN(s->index, r->log.stable)));
}

/* ---- the object ---- */

static int check_stored(const struct raft_params *p, struct err *err) {
    uint64_t base = p->snapshot ? p->snapshot->index : 0, term = p->snapshot ? p->snapshot->term : 0;

    for (size_t i = 0; i < p->n; i++) {
        if (p->entries[i].index != base + 1 + i || p->entries[i].term < term)
            return err_set(err, RS_ECORRUPT, "the metadata log has a gap at entry %" PRIu64, base + 1 + i);
        term = p->entries[i].term;
    }
    if (p->hard.commit > base + p->n || p->hard.term < term)
        return err_set(err, RS_ECORRUPT, "the metadata log is shorter than what was committed");
    return 0;
}

int raft_new(const struct raft_params *p, struct raft **ret, struct err *err) {
    struct raft *r;
    int e = check_stored(p, err);

    if (e < 0)
        return e;
    r = xnew(struct raft);
    r->p = *p;
    r->p.entries = NULL;
    r->p.snapshot = NULL;
    if (!r->p.message_bytes)
        r->p.message_bytes = MESSAGE_BYTES;
    if (!r->p.uncommitted_bytes)
        r->p.uncommitted_bytes = UNCOMMITTED_BYTES;
    r->rng = p->seed | 1;
    r->hard = r->stored = p->hard;
    if (p->snapshot) {
        r->snapshot = raft_snapshot_copy(p->snapshot);
        r->config = p->snapshot->config;
        raft_log_reset(&r->log, p->snapshot->index, p->snapshot->term);
        r->hard.commit = r->stored.commit = MAX(p->hard.commit, p->snapshot->index);
    }
    for (size_t i = 0; i < p->n; i++)
        raft_log_add(&r->log, p->entries[i].term, p->entries[i].kind, p->entries[i].data);
    r->log.stable = raft_log_last(&r->log);
    r->applied = p->applied;
    raft_peers_rebuild(r);
    reset_timeout(r);
    *ret = r;
    return 0;
}

struct raft *raft_free(struct raft *r) {
    struct raft_ready rest;

    if (!r)
        return NULL;
    r->busy = false;
    if (raft_ready(r, &rest))
        raft_ready_done(&rest);
    raft_log_reset(&r->log, 0, 0);
    free(r->log.e);
    free(r->pending);
    free(r->reads);
    (void)raft_snapshot_free(r->snapshot);
    (void)raft_snapshot_free(r->install);
    free(r);
    return NULL;
}

void raft_status(const struct raft *r, struct raft_status *ret) {
    *ret = (struct raft_status){.role = r->role,
                                .term = r->hard.term,
                                .commit = r->hard.commit,
                                .applied = r->applied,
                                .first_index = r->log.base_index + 1,
                                .last_index = raft_log_last(&r->log),
                                .leader = r->role == RAFT_LEADER ? r->p.self : r->leader,
                                .settled =
                                    r->role == RAFT_LEADER && raft_log_term(&r->log, r->hard.commit) == r->hard.term,
                                .config = r->config,
                                .config_pending = r->config_index != 0,
                                .snapshot_index = r->snapshot ? r->snapshot->index : 0};
    for (unsigned i = 0; i < r->n_peers; i++)
        if (raft_member_eq(r->peers[i].m, r->config.learner))
            ret->learner_match = r->peers[i].match;
}

uint64_t raft_term_of(const struct raft *r, uint64_t index) {
    return raft_log_term(&r->log, index);
}
