/* SPDX-License-Identifier: Apache-2.0 */
/* worker/partition.h : one partition's processor on this node: it reads the partition's log, applies records, and while
 * it leads turns actions into attempts, timers, deliveries and answers (execution.md §4, §5, design §16).
 *
 * Owned by worker.c; everything on the worker's loop. Order of a turn: committed records are applied, their writes
 * merged into the overlay, then their actions run; what these propose is appended at the end of the turn as one batch.
 */
#pragma once
#include "base/list.h"
#include "invoker/invoker.h"
#include "log/log.h"
#include "storage/store.h"
#include "worker/state_machine.h"
#include "worker/worker.h"

struct partition;

enum partition_role {
    PARTITION_STOPPED, /* does not run here */
    PARTITION_OPENING, /* reads its tables, or fetches a snapshot */
    PARTITION_FOLLOWER,
    PARTITION_CANDIDATE, /* shall lead: claims an epoch, seals, announces, catches up to its announcement */
    PARTITION_LEADER,
    PARTITION_BROKEN, /* cannot go on, see error; tries again by itself unless its log lost data */
};

/* Told once about a proposed record: applied (0), or that it will not be reported any more (RS_ECLOSED: leadership was
 * lost, the outcome is unknown). */
struct partition_waiter {
    struct list link;
    lsn_t lsn; /* 0 until it was appended */
    void (*done)(struct partition_waiter *w, int status);
};

struct partition *partition_new(struct worker *w, uint32_t id, uint64_t first_key, uint64_t last_key,
                                struct store *store, struct store_table *table);
/* partition_start() - open the tables, follow; lead when told. */
void partition_start(struct partition *p);
/* partition_stop() - give the lead up, close the log. Cold reads and claims on their way may still report: the memory
 * stays until partition_free(), when stores and metadata are closed. It may be started again. */
void partition_stop(struct partition *p);
struct partition *partition_free(struct partition *p);
/* partition_want_lead() - true: claim epochs until it leads, also again after a lost lead; false: follow. */
void partition_want_lead(struct partition *p, bool lead);
/* partition_seen_epoch() - a higher epoch than its own ends its lead at once; no more claims until told again. */
void partition_seen_epoch(struct partition *p, epoch_t epoch);
/* partition_seen_applied() - a leader elsewhere has applied so far. */
void partition_seen_applied(struct partition *p, lsn_t applied);

enum partition_role partition_role(const struct partition *p);
bool partition_writable(const struct partition *p);
void partition_store_durable(struct partition *p);  /* the store's durable mark rose */
void partition_store_writable(struct partition *p); /* its overlay has room again: applying goes on */

/* partition_call() - a call of ingress or admin, while it leads. */
void partition_call(struct partition *p, struct worker_call *c);
/* partition_deliver() - a message from another partition's outbox: proposed with (from, seq) as its dedup number. */
void partition_deliver(struct partition *p, uint32_t from, uint64_t seq, uint16_t kind, struct slice payload,
                       uint64_t partition_key, struct partition_waiter *w);

struct partition_info { /* for status commands, gossip, the scheduler, tests */
    uint32_t id;
    enum partition_role role;
    bool lead_wanted; /* the planned mode is leader */
    bool active;      /* caught up: reached the tail that the log had when it started to read (replay status Active) */
    uint64_t first_key, last_key;
    epoch_t epoch;         /* it claimed last; 0: none */
    epoch_t leader_epoch;  /* the newest known anywhere */
    struct node_id leader; /* of that epoch; id 0: not known */
    lsn_t applied, durable, archived, target_tail;
    uint32_t current_version, next_version; /* of the replica sets known here; 0: none */
    const char *error;                      /* PARTITION_BROKEN: why; a leader that stepped down: why; else "" */
};
static inline const char *partition_role_str(enum partition_role r) {
    static const char *const names[] = {"Stopped", "Starting", "Follower", "Candidate", "Leader", "Broken"};

    return names[r];
}
void partition_info(const struct partition *p, struct partition_info *ret); /* what the processor knows of it */
