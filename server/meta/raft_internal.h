/* SPDX-License-Identifier: Apache-2.0 */
/* meta/raft_internal.h : struct raft, shared by raft.c (the object, ticks, elections, ready), raft_log.c (entries) and
 * raft_lead.c (replication, reads, membership). */
#pragma once
#include "base/util.h"
#include "meta/raft.h"

enum { RAFT_INFLIGHT_MAX = 256 };

struct raft_log { /* entries first .. first + n - 1 */
    struct raft_entry *e;
    size_t n, cap;
    uint64_t base_index, base_term; /* of what precedes the first entry */
    uint64_t stable;                /* last index that is durable */
};
static inline uint64_t raft_log_last(const struct raft_log *l) {
    return l->base_index + l->n;
}
/* The term of an entry, or 0 when it is unknown (compacted, or not there yet). */
uint64_t raft_log_term(const struct raft_log *l, uint64_t index);
void raft_log_add(struct raft_log *l, uint64_t term, enum raft_entry_kind kind,
                  struct bytes *data);                /* takes a reference */
void raft_log_cut(struct raft_log *l, uint64_t from); /* drops entries from @from on */
void raft_log_compact(struct raft_log *l, uint64_t upto, uint64_t term);
void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term);
/* Copies of entries @from .. up to @bytes (at least one); references are taken. */
size_t raft_log_slice(const struct raft_log *l, uint64_t from, uint64_t to, size_t bytes, struct raft_entry **ret);
void raft_entries_free(struct raft_entry *e, size_t n);

enum raft_flow { FLOW_PROBE, FLOW_REPLICATE, FLOW_SNAPSHOT };
struct raft_peer {
    struct raft_member m;
    bool voter, active, paused;
    enum raft_flow flow;
    uint64_t next, match, snapshot_index, acked_round;
    unsigned inflight, waited; /* FLOW_SNAPSHOT: ticks since it was sent */
    bool granted, answered;    /* of my campaign */
};

struct raft_pending_read {
    uint64_t context, index, round;
};

struct raft_msgs {
    struct raft_msg *v;
    size_t n, cap;
};

struct raft {
    struct raft_params p;
    enum raft_role role;
    struct raft_hard hard, stored; /* @stored: what a ready last handed out */
    struct raft_member leader;
    struct raft_config config;
    struct raft_log log;
    struct raft_snapshot *snapshot; /* newest, for members that are behind */
    struct raft_snapshot *install;  /* came from the leader, not handed out yet */
    uint64_t applied;               /* handed out for apply */
    uint64_t config_index;          /* of a change that is not applied yet; 0: none */
    struct raft_peer peers[RAFT_MEMBERS_MAX + 1];
    unsigned n_peers; /* all but self */
    bool self_granted;
    uint64_t self_match; /* leader: what is durable here */
    uint64_t rng;
    unsigned elapsed, timeout, heartbeat_elapsed;
    unsigned hurry; /* campaigns that follow each other soon */
    uint64_t round; /* of heartbeats that reads wait for */
    struct raft_pending_read *pending;
    size_t n_pending;
    struct raft_read_state *reads;
    size_t n_reads;
    struct raft_msgs early, late;
    struct raft_member transfer; /* id 0: none */
    unsigned transfer_elapsed;
    bool busy; /* a ready is under way */
};

/* raft.c */
struct raft_msg *raft_send(struct raft *r, struct raft_msgs *to_list, enum raft_msg_type type, struct raft_member to);
void raft_become_follower(struct raft *r, uint64_t term, struct raft_member leader);
bool raft_is_voter(const struct raft *r);
struct raft_peer *raft_peer(struct raft *r, struct raft_member m);
void raft_peers_rebuild(struct raft *r);
/* raft_lead.c */
void raft_lead_begin(struct raft *r);
void raft_lead_tick(struct raft *r);
void raft_lead_step(struct raft *r, struct raft_msg *m); /* answers of followers */
void raft_lead_stored(struct raft *r);
void raft_broadcast(struct raft *r);
void raft_drop_reads(struct raft *r);
