/* SPDX-License-Identifier: Apache-2.0 */
/* meta/raft.h : the Raft core of the metadata group (spec cluster.md §4): elections, replication, membership. Pure: it
 * knows no clock, no disk, no network and no contents of entries. The owner feeds it ticks, messages and proposals, and
 * carries out what raft_ready() hands back:
 *
 *     raft_ready()  ->  send `early` messages; write `hard`, `entries`, `snapshot` in one synced batch; apply
 * `committed` when durable  ->  raft_stored(), send `late` messages (votes and acknowledgements depend on the write)
 *
 * At most one ready is under way. The leader sends entries before they are durable at home, but counts itself only
 * after. Pre-vote and check-quorum are always on; reads are confirmed by a round of heartbeats (ReadIndex). Members
 * change one at a time; a new one is a learner first. One owner, one thread. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"

enum { RAFT_MEMBERS_MAX = 9 };

/* Who votes: a node with a disk. A node that lost its disk comes back with another creation time, as somebody else. */
struct raft_member {
    uint32_t id;         /* plain node id; 0: nobody */
    uint64_t created_ms; /* of its storage, unix time */
};
static inline bool raft_member_eq(struct raft_member a, struct raft_member b) {
    return a.id == b.id && a.created_ms == b.created_ms;
}

struct raft_config {  /* the members; changes by entries of kind RAFT_CONFIG */
    uint32_t version; /* +1 with every change */
    uint32_t n;
    struct raft_member voters[RAFT_MEMBERS_MAX];
    struct raft_member learner; /* catches up, does not vote; id 0: none */
};
bool raft_config_votes(const struct raft_config *c, struct raft_member m);

enum raft_entry_kind { RAFT_EMPTY, RAFT_DATA, RAFT_CONFIG };
struct raft_entry {
    uint64_t index, term;
    enum raft_entry_kind kind;
    struct bytes *data; /* NULL for RAFT_EMPTY; RAFT_CONFIG: what raft_config_encode() made, then the owner's context */
};
struct raft_snapshot { /* the state machine as of @index, with the members as of then */
    uint64_t index, term;
    struct raft_config config;
    struct bytes *data;
};
struct raft_hard { /* must survive a crash before what depends on it is sent */
    uint64_t term, commit;
    struct raft_member vote;
};

enum raft_msg_type {
    RAFT_PREVOTE = 1,
    RAFT_PREVOTE_R,
    RAFT_VOTE,
    RAFT_VOTE_R,
    RAFT_APPEND,
    RAFT_APPEND_R,
    RAFT_HEARTBEAT,
    RAFT_HEARTBEAT_R,
    RAFT_SNAP,
    RAFT_TIMEOUT_NOW,
};
struct raft_msg {
    enum raft_msg_type type;
    struct raft_member from, to;
    uint64_t term;
    uint64_t index, log_term; /* APPEND: of the entry before the first; VOTE: of the last one; *_R: see raft.c */
    uint64_t commit;
    uint64_t context;           /* HEARTBEAT: read round */
    bool reject, forced;        /* VOTE forced: the leader itself asked for it (transfer) */
    struct raft_entry *entries; /* owned with their data by the message */
    size_t n;
    struct raft_snapshot *snapshot; /* owned */
};
void raft_msg_done(struct raft_msg *m); /* frees entries and snapshot */
struct raft_snapshot *raft_snapshot_free(struct raft_snapshot *s);
struct raft_snapshot *raft_snapshot_copy(const struct raft_snapshot *s); /* shares the data */

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
struct raft;

struct raft_params {
    struct raft_member self;
    unsigned election_ticks, heartbeat_ticks; /* 10, 2 */
    size_t message_bytes;                     /* entries of one APPEND; one larger entry goes alone; 0: 64 KiB */
    size_t uncommitted_bytes; /* proposals beyond are refused; one larger is taken when none waits; 0: 4 MiB */
    uint64_t seed;            /* of the election timeouts */
    /* what was stored; all zero for a new member, which then hears of a leader */
    struct raft_hard hard;
    const struct raft_snapshot *snapshot; /* NULL: none; its members are those in force */
    const struct raft_entry *entries;     /* behind the snapshot, without gap; references are taken */
    size_t n;
    uint64_t applied; /* the owner's state machine is that of the snapshot: its index, else 0 */
};
/* raft_new() - RS_ECORRUPT: the stored parts do not fit together. */
int raft_new(const struct raft_params *p, struct raft **ret, struct err *err) RS_WARN_UNUSED;
struct raft *raft_free(struct raft *r);

void raft_tick(struct raft *r);
void raft_campaign(struct raft *r); /* at once: harmless because of the pre-vote */
/* raft_gone() - node @id is gone, says the failure detector: if it led, nobody waits for it any longer. The voters
 * campaign one after the other, in the order of their ids. */
void raft_gone(struct raft *r, uint32_t id);
/* raft_step() - a message came. Takes what the message owns. Messages of strangers (not in the configuration) are heard
 * only as far as a member that was away needs it. */
void raft_step(struct raft *r, struct raft_msg *take);
void raft_unreachable(struct raft *r, struct raft_member peer); /* what was sent to it last was lost */

/* raft_propose() - an entry with @data (a reference is taken). 0 and its index and term: when an entry of that index
 * becomes committed it is this one if and only if its term is the same. RS_EAGAIN: not leader; RS_ENOMEM: too much is
 * uncommitted. */
int raft_propose(struct raft *r, struct bytes *data, uint64_t *ret_index, uint64_t *ret_term);
/* raft_propose_config() - the next configuration; @context goes into the entry behind it. It differs from the one in
 * force by one member: a learner added, promoted or dropped, or a voter removed. RS_EAGAIN not leader, another change
 * is under way, or no entry of this term is committed; RS_EINVAL: more than one member differs. */
int raft_propose_config(struct raft *r, const struct raft_config *next, struct slice context, uint64_t *ret_index,
                        uint64_t *ret_term);
/* raft_config_decode() - from an entry's data; *ret_context what follows. RS_ECORRUPT. */
int raft_config_decode(struct slice data, struct raft_config *ret, struct slice *ret_context,
                       struct err *err) RS_WARN_UNUSED;
void raft_config_encode(const struct raft_config *c, struct buf *out);
/* raft_is_named_behind() - a configuration behind entry @index of the log, committed or not, names this member again.
 */
bool raft_is_named_behind(const struct raft *r, uint64_t index);
/* raft_apply_config() - the owner applied a RAFT_CONFIG entry (or refused it: with the configuration in force). */
void raft_apply_config(struct raft *r, const struct raft_config *c);
/* raft_read() - asks whether this leader still leads; the answer is a read state with @context in a later ready.
 * RS_EAGAIN: not leader, or no entry of this term is committed yet. */
int raft_read(struct raft *r, uint64_t context);
void raft_transfer(struct raft *r, struct raft_member to); /* leadership; a hint */
/* raft_compact() - entries up to the snapshot's index may go; the snapshot is kept for members that are behind. A copy
 * is made. */
void raft_compact(struct raft *r, const struct raft_snapshot *s);

struct raft_read_state {
    uint64_t context, index; /* the read may be answered once applied >= index */
};
struct raft_ready {
    bool has_hard;
    struct raft_hard hard;
    const struct raft_snapshot *snapshot; /* store it and make the state machine of it; entries before it go */
    struct raft_entry *entries;           /* to store; rows with larger indexes than the first are void */
    size_t n_entries;
    struct raft_msg *early, *late;
    size_t n_early, n_late;
    struct raft_entry *committed; /* to apply, in order; after the snapshot, if there is one */
    size_t n_committed;
    struct raft_read_state *reads;
    size_t n_reads;
};
/* raft_ready() - false: nothing to do. Entries are borrowed from the ready; messages are the ready's until taken out
 * (zeroed). raft_stored() frees it. */
bool raft_ready(struct raft *r, struct raft_ready *ret);
void raft_stored(struct raft *r, struct raft_ready *take); /* everything in it is durable */
void raft_ready_done(struct raft_ready *rd);               /* frees it without more: the node stops */

struct raft_status {
    enum raft_role role;
    uint64_t term, commit, applied, first_index, last_index;
    struct raft_member leader; /* id 0: not known */
    bool settled;              /* leader: an entry of this term is committed */
    struct raft_config config;
    bool config_pending;
    uint64_t snapshot_index, learner_match;
};
void raft_status(const struct raft *r, struct raft_status *ret);
/* The voter (not self) that has most of the log: where to hand the leadership. id 0: none. */
struct raft_member raft_best_heir(const struct raft *r);
/* Whether @m answered within the last election timeout (leader only). */
bool raft_is_active(const struct raft *r, struct raft_member m);
/* The term of an entry that is at hand; 0: unknown. */
uint64_t raft_term_of(const struct raft *r, uint64_t index);
