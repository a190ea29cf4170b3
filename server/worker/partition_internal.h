/* SPDX-License-Identifier: Apache-2.0 */
/* worker/partition_internal.h : struct partition, shared by partition.c (lifecycle, apply), propose.c (towards the
 * log), actions.c (after apply), timers.c, shuffle.c and cleaner.c. */
#pragma once
#include "base/arena.h"
#include "base/limits.h"
#include "meta/meta.h"
#include "meta/schema.h"
#include "proto/command.h"
#include "proto/record.h"
#include "snapshot/repository.h"
#include "worker/tables.h"
#include "worker/worker_internal.h"

struct proposal; /* one record on its way to the log */

/* Delivery of the outbox to other partitions: a window of rows, each on its way or confirmed. */
enum { SHUFFLE_WINDOW = 256 };
enum shuffle_row { ROW_WAITING, ROW_SENT, ROW_CONFIRMED };
struct shuffle {
    uint64_t next;          /* first seq not looked at */
    uint64_t head;          /* first seq not confirmed */
    uint64_t tail;          /* first seq that does not exist, as far as actions told */
    uint64_t truncated;     /* proposed for truncation up to (exclusive) */
    uint64_t first_waiting; /* first seq below next that has to be sent; UINT64_MAX: none */
    uint8_t state[SHUFFLE_WINDOW];
    struct timer retry;
    uint64_t retry_ms;
    struct loop_hook hook;
    struct list in_flight; /* deliveries to leaders here */
    struct list batches;   /* on their way to other nodes, at most one per destination */
};

struct leader_timers {
    struct timer timer;
    struct sm_timer fired; /* the largest row proposed in this term */
    bool any_fired;
    uint64_t armed_ms; /* wall time it is armed for, UINT64_MAX: not */
};

struct partition {
    struct worker *w;
    uint32_t id;
    uint64_t first_key, last_key;
    enum partition_role role;
    struct route *route;
    epoch_t epoch; /* claimed last */
    char error[256];
    bool lead_wanted, claiming;

    /* supervision */
    struct timer restart;
    uint64_t restart_ms, opened_ns; /* delay of the last restart; when it was opened last */
    uint64_t break_delay_ms;        /* of the next partition_break(); 0: the usual rise. UINT64_MAX: for good */
    bool start_again;               /* as soon as the last cold read of the life before reported */
    unsigned cold_pending;

    /* catching up */
    struct timer find_tail;
    lsn_t behind_at;    /* applied, when a leader was first heard to be ahead */
    uint64_t behind_ns; /* and when that was; 0: it is not ahead */
    lsn_t target_tail;  /* first LSN behind what the log had when it was opened; 0: not known yet */
    bool active;

    struct store *store;
    struct store_table *table;
    struct fast_forward *fast_forward; /* takes over a snapshot; NULL: does not */
    lsn_t fetch_target;                /* the log begins behind this LSN, which was not applied; 0: it does not */
    bool looked;                       /* for a snapshot, with empty tables */
    struct log *log;
    struct log_reader *reader;
    struct sm *sm;
    struct sm_reader rows;
    struct sm_writes writes;
    struct sm_actions actions;
    bool cold_reading;  /* the reader waits for a row */
    struct timer retry; /* of claim and lead */
    uint64_t retry_ms;

    /* towards the log */
    struct list proposals, waiters; /* struct proposal; struct partition_waiter in LSN order */
    size_t proposed_bytes;          /* by this leader, not applied yet */
    lsn_t led_from;                 /* records from here on are its own */
    uint64_t next_seq, last_created_ns;
    struct loop_hook flush;
    bool announced;

    /* while leading */
    struct invoker_owner owner;
    struct leader_timers timers;
    struct shuffle shuffle;
    struct timer cleaner, durability;
    struct {
        struct timer timer;
        uint64_t since_ns; /* it was seen behind at @applied first; 0: it is not behind */
        lsn_t applied;
    } stall;
    struct arena scratch;

    /* durability: applied LSN noted with marks of the store */
    struct {
        uint64_t mark;
        lsn_t lsn;
    } marks[64];
    unsigned marks_n;
    struct {
        bool making, known; /* one is being made or looked for; the repository was asked in this lead */
        lsn_t lsn, archived;
        uint64_t made_ms; /* of the newest; unix */
    } snapshot;
    lsn_t durable, durability_proposed, trim_wanted;
    struct list trims; /* trims that wait for their delay */
};

/* How a proposal is deduplicated. */
enum propose_mode { PROPOSE_SELF, PROPOSE_NONE, PROPOSE_FOREIGN };

struct propose {
    uint16_t kind;
    enum propose_mode mode;
    uint64_t partition_key;
    bool no_key; /* partition-scoped */
    struct slice payload;
    uint32_t from; /* PROPOSE_FOREIGN */
    uint64_t seq;
    struct partition_waiter *waiter; /* may be NULL */
};

/* propose.c */
void partition_propose(struct partition *p, const struct propose *what);
void partition_flush(void *arg);                             /* end-of-turn hook: append what was proposed */
void partition_applied_upto(struct partition *p, lsn_t lsn); /* wake the waiters */
void partition_applied_bytes(struct partition *p, size_t n); /* of own records: they leave the budget */
void partition_drop_proposals(struct partition *p);          /* leadership lost: waiters get RS_ECLOSED */
/* partition.c */
void partition_break(struct partition *p, const char *fmt, ...) RS_PRINTF(2, 3);
void partition_fast_forwarded(struct partition *p, lsn_t lsn); /* the tables stand at @lsn, durably; 0: as they were */
void partition_merge(struct partition *p);                     /* writes of the last record into the overlay */
/* Right after RS_EAGAIN: fetch what was cold, then call @again. */
void partition_read_cold(struct partition *p, store_done_fn again, void *arg);
/* While it leads: when records are committed and none is applied for the stall timeout, the lead is over. */
void stall_watch_start(struct partition *p);
void stall_watch_stop(struct partition *p);
/* actions.c */
void partition_init_leader(struct partition *p);
void partition_run_actions(struct partition *p);
void partition_lead(struct partition *p);         /* AnnounceLeader of my epoch was applied */
void partition_stop_leading(struct partition *p); /* role becomes PARTITION_FOLLOWER */
int partition_owner_read(struct invoker_owner *o, const struct invocation_id *id, const struct invoker_read_events *ev,
                         void *arg, struct err *err);
/* calls.c */
void partition_refuse_calls(struct partition *p); /* broken: nobody will ever serve them here */
/* timers.c */
void leader_timers_init(struct partition *p);
void leader_timers_start(struct partition *p);
void leader_timers_stop(struct partition *p);
void leader_timers_added(struct partition *p, const struct sm_timer *t);
/* shuffle.c */
void shuffle_init(struct partition *p);
void shuffle_start(struct partition *p);
void shuffle_stop(struct partition *p);
void shuffle_added(struct partition *p, uint64_t seq);
/* cleaner.c */
void cleaner_init(struct partition *p);
void cleaner_start(struct partition *p);
void cleaner_stop(struct partition *p);
void durability_note(struct partition *p);
void durability_start(struct partition *p);
void durability_stop(struct partition *p);
void durability_applied(struct partition *p, lsn_t lsn, uint64_t noted_ms);
/* worker.c */
bool worker_stopping(const struct worker *w);
struct loop *worker_loop(const struct worker *w);
struct meta *worker_meta(const struct worker *w);
struct log_node *worker_log_node(const struct worker *w);
struct node_id worker_self(const struct worker *w);
const struct worker_settings *worker_settings(const struct worker *w);
struct route *worker_route_of(struct worker *w, uint32_t id);
void worker_lead_ended(struct worker *w, uint32_t id); /* the processor follows now, without having been told to */
void worker_partition_changed(struct worker *w, struct partition *p);
bool worker_takes_effects(const struct worker *w);     /* of the invoker; else invoker_owner_writable() follows */
void worker_proposed(struct worker *w, int64_t bytes); /* more, or fewer */
