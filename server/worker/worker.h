/* SPDX-License-Identifier: Apache-2.0 */
/* worker/worker.h : the partitions of this node, and the calls that ingress and admin make to their leaders, wherever
 * these are (execution.md §20, cluster.md §17).
 *
 * A call is made once and answered once, on the caller's loop, in a later turn. The caller owns struct worker_call and
 * keeps it until done() or worker_call_drop(). Calls wait while there is no leader; nothing is answered falsely.
 *
 * In a cluster a processor runs where the partition's epoch metadata ("pp_epoch_<p>") has this node in its current or
 * next replica set. It follows until it is told to lead (worker_control()), or when it is the only member of the set.
 * What the worker knows of placement comes from the local copies of the metadata (it watches EPOCH_KEY_PREFIX) and from
 * worker_placement(); who leads comes from applied records, worker_leader_hint() and the answers of other nodes. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "meta/schema.h"
#include "meta/types.h"
#include "proto/command.gen.h"
#include "proto/ids.h"

struct epoch_metadata;
struct fabric;
struct invoker;
struct log_node;
struct loop;
struct meta;
struct partition;
struct partition_table;
struct record_view;
struct repository;
struct snapshot_info;
struct store;
struct worker;

/* Up to where the log may be trimmed (cluster.md §18). DEFAULT: balanced in a cluster with a repository, else
 * replica-set-only: what was trimmed comes from another replica. */
enum worker_durability {
    DURABILITY_DEFAULT,
    DURABILITY_NONE,
    DURABILITY_BALANCED,
    DURABILITY_REPLICA_SET_ONLY,
    DURABILITY_SNAPSHOT_ONLY,
    DURABILITY_SNAPSHOT_AND_REPLICA_SET,
};
struct worker_settings {
    const char *version;          /* of this program */
    uint64_t cleanup_interval_ns; /* scan for expired retentions */
    uint64_t trim_delay_ns;       /* between "durable" and trimming the log */
    uint64_t stall_timeout_ns; /* a leader that applies nothing while its log grows steps down after this; 0: never */
    enum worker_durability durability;
};
/* Snapshots of partitions (cluster.md §18). */
struct worker_snapshots_params {
    /* For blocking work on files and the repository; borrowed, freed after worker_drain(). NULL: no snapshots at all, a
     * processor whose log begins behind what it applied is broken. */
    struct exec *exec;
    struct repository *repository;          /* borrowed likewise; NULL: none, other replicas are asked */
    const char *tmp_dir;                    /* of nameless files; borrowed */
    uint64_t interval_ns, interval_records; /* a leader makes one when both are over; 0: not asked for */
};
struct worker_params {
    struct loop *loop;
    struct meta *meta;
    struct log_node *log_node;
    struct node_id self;
    struct store *const *stores; /* data stores; partition p lives in store p mod n_stores; borrowed */
    unsigned n_stores;
    const struct partition_table *partitions; /* borrowed for the call */
    struct invoker *invoker;                  /* borrowed; closed after the worker */
    struct tracer *tracer;                    /* borrowed, outlives the worker; NULL: tracing is off */
    struct exec *pool;                        /* checksums and snapshots; borrowed, outlives the worker; NULL: none */
    /* NULL: a node alone. Else calls and outbox rows go to leaders on other nodes, and the worker serves
     * SERVICE_PARTITION_MANAGER and SERVICE_PARTITION_LEADER; it is freed after worker_close(). */
    struct fabric *fabric;
    bool ingress_only; /* the worker role is off: no partition runs here, @stores may be empty */
    /* false: a partition whose placement is not known runs here and leads at once, without waiting for anybody: a node
     * alone. true: other workers are in the nodes configuration, the scheduler decides. */
    bool wait_for_placement;
    uint64_t proposal_limit_bytes; /* proposed and not applied, all partitions; 0: LIMIT_PROPOSAL_QUEUE_BYTES */
    struct schema_defaults schema_defaults;
    struct worker_settings settings;
    struct worker_snapshots_params snapshots;
    /* (may be NULL) all partitions that run here lead or follow as they should; false when one is opening, a candidate
     * or broken. Called with every change of that answer. */
    void (*ready)(void *arg, bool all_ready);
    void (*changed)(void *arg); /* (may be NULL) the role of a partition changed; told once per turn */
    /* (may be NULL) a replica here applied @record as LSN @lsn. Told of every record in order, before its actions run;
     * after a restart again of those whose writes were lost. For the simulator's checks. */
    void (*applied)(void *arg, uint32_t partition, lsn_t lsn, const struct record_view *record);
    void *arg;
};
/* worker_open() - blocking: opens the tables of the partitions that run here. Those that shall lead at once claim their
 * epochs by themselves. Roles the node must have before: log layer, metadata; the fabric, when there is one, with its
 * node id set. */
int worker_open(const struct worker_params *p, struct worker **ret, struct err *err) RS_WARN_UNUSED;
/* worker_stop() - stops leading; calls that wait are answered WORKER_SHUTDOWN, and so are those that still come.
 * worker_close() frees the memory: after the stores and the metadata are closed, since reads on their way report to the
 * partitions. */
/* worker_drain() - after worker_stop(): @done in a later turn, when no snapshot is being made, served or taken over any
 * more; once. */
void worker_stop(struct worker *w);
void worker_drain(struct worker *w, void (*done)(void *arg), void *arg);
struct worker *worker_close(struct worker *w);
/* worker_store_durable() - to be called from the store's durable event. */
void worker_store_durable(struct worker *w, struct store *s);
/* worker_store_writable() - to be called from the store's writable event: applying goes on. */
void worker_store_writable(struct worker *w, struct store *s);

/* ---- what cluster control tells (gossip, controller); all of it hints, none is needed on a node alone ---- */

enum worker_command { WORKER_FOLLOW = 1, WORKER_LEAD = 2 }; /* on the wire */
/* worker_control() - the controller's word for one partition (ControlProcessors). Ignored when @replica_set_version is
 * older than what is known here or the processor does not run here. Repeated words are fine. WORKER_LEAD: claims the
 * next epoch and leads; until WORKER_FOLLOW, or until a higher epoch is seen. */
void worker_control(struct worker *w, uint32_t partition, enum worker_command c, uint32_t replica_set_version);
/* worker_control_send() - the same word to another node (or to this one), one way, over the fabric. */
struct worker_control_word {
    uint32_t partition;
    enum worker_command command;
    uint32_t replica_set_version;
};
void worker_control_send(struct fabric *f, struct node_id to, const struct worker_control_word *words, size_t n);
/* worker_placement() - what somebody read of a partition's epoch metadata: replica sets, and the newest epoch with its
 * claimer. Older versions are ignored. */
void worker_placement(struct worker *w, uint32_t partition, const struct epoch_metadata *e);
/* worker_leader_hint() - @leader leads with @epoch, as gossip has it. A leader here that is older steps down. */
void worker_leader_hint(struct worker *w, uint32_t partition, epoch_t epoch, struct node_id leader);
/* worker_leads_hint() - whoever claimed @epoch leads by now: calls that wait for that go there. */
void worker_leads_hint(struct worker *w, uint32_t partition, epoch_t epoch);
/* worker_applied_hint() - the applied LSN of a leader on another node. A replica here that is behind and stands still
 * looks for the tail of the log itself: what told it of new records was lost. */
void worker_applied_hint(struct worker *w, uint32_t partition, lsn_t applied);
/* worker_durable_hint() - the durable LSN of a replica on another node, as gossip has it; only rises. */
void worker_durable_hint(struct worker *w, uint32_t partition, uint32_t node, lsn_t durable);

/* worker_checksum() - a hash over the tables of a partition that runs here, and the LSN they stand at; equal LSNs have
 * equal hashes on all replicas. @done in a later turn; RS_ENOENT: it does not run here. */
typedef void (*worker_checksum_fn)(void *arg, int status, lsn_t lsn, uint64_t checksum);
void worker_checksum(struct worker *w, uint32_t partition, worker_checksum_fn done, void *arg);

/* worker_snapshot_create() - of a partition that is led here, with an LSN >= @min_lsn, into the repository. @done, when
 * 0 is returned, once in a later turn; @info is borrowed. RS_EAGAIN: not led here, or not that far; RS_EUNSUPPORTED: no
 * repository. @done's RS_EEXIST: the repository has a newer one. */
typedef void (*worker_snapshot_fn)(void *arg, int status, const struct snapshot_info *info, const struct err *err);
int worker_snapshot_create(struct worker *w, uint32_t partition, lsn_t min_lsn, worker_snapshot_fn done, void *arg,
                           struct err *err) RS_WARN_UNUSED;

/* The schema as this node knows it; borrowed until the loop turns (schema_ref() to keep it). Never NULL. */
struct schema *worker_schema(const struct worker *w);
struct invoker *worker_invoker(const struct worker *w);
struct tracer *worker_tracer(const struct worker *w); /* NULL: tracing is off */
/* Partitions of the cluster, 0 .. worker_partitions() - 1; those that do not run here have role PARTITION_STOPPED, and
 * what is known of their leader. */
struct partition_info; /* worker/partition.h */
size_t worker_partitions(const struct worker *w);
void worker_partition_info(const struct worker *w, size_t i, struct partition_info *ret);

enum worker_reply_code {                   /* on the wire: only add */
                         WORKER_OK = 0,    /* done, accepted, or here is the result */
                         WORKER_NOT_FOUND, /* no such invocation */
                         WORKER_NOT_READY, /* get-output: still running */
                         WORKER_APPENDED,  /* cancel: the signal was written */
                         WORKER_ALREADY_COMPLETED,
                         WORKER_NOT_COMPLETED, /* purge of one that runs */
                         WORKER_ALREADY_PAUSED,
                         WORKER_NOT_RUNNING,
                         WORKER_NOT_STARTED,
                         WORKER_STILL_RUNNING, /* restart-as-new */
                         WORKER_UNSUPPORTED,
                         WORKER_MISSING_INPUT,
                         WORKER_INDEX_OUT_OF_RANGE,
                         WORKER_PREFIX_INCOMPLETE,
                         WORKER_CANNOT_CHANGE_DEPLOYMENT,
                         WORKER_DEPLOYMENT_NOT_FOUND,
                         WORKER_INCOMPATIBLE_DEPLOYMENT,
                         WORKER_LOST_LEADERSHIP, /* may or may not have happened */
                         WORKER_SHUTDOWN,        /* this node is stopping; nothing happened */
                         WORKER_FAILED,          /* the partition cannot serve (its error is in message) */
};

struct worker_reply { /* views valid for the call of done() */
    enum worker_reply_code code;
    struct invocation_id id;         /* the invocation, for invoke and attach; the new one for restart */
    const struct cmd_result *result; /* output: value or failure */
    uint64_t expiry_ms;              /* 0: live answer; else when the stored completion goes away (unix ms) */
    bool is_new;                     /* submit: false when it existed before */
    uint64_t execution_time_ms;      /* submit: 0 when not delayed */
    const char *message;             /* WORKER_FAILED */
};

enum worker_op {                   /* on the wire: only add */
                 WORKER_OP_INVOKE, /* wait for the output */
                 WORKER_OP_SUBMIT, /* wait until accepted */
                 WORKER_OP_ATTACH, /* wait for the output of an existing one */
                 WORKER_OP_OUTPUT, /* look, do not wait */
                 WORKER_OP_SIGNAL, /* append, reply on commit */
                 WORKER_OP_TERMINATE,
                 WORKER_OP_PURGE,
                 WORKER_OP_PURGE_JOURNAL,
                 WORKER_OP_PAUSE,
                 WORKER_OP_RESUME,
                 WORKER_OP_RESTART,
                 WORKER_OP_PATCH_STATE,
};

struct remote_call;
struct worker_call {
    struct map_node node; /* the worker's: by request id */
    struct list link;     /* the pending calls of its partition */
    enum worker_op op;
    uint8_t request_id[16];
    uint64_t partition_key;
    struct buf command; /* the worker's: the encoded command; kept so that it can be proposed again to a new leader */
    uint16_t kind;
    void (*done)(struct worker_call *c, const struct worker_reply *r);
    /* the worker's */
    bool linked;     /* in the map of pending calls */
    bool repeatable; /* proposing it twice has the effect of once */
    bool served;     /* of another node: never routed on */
    uint8_t where;   /* enum call_where */
    struct remote_call *remote;
};

/* worker_call_invoke() etc. fill in request id and sinks of the command, encode it and send it off. The command's
 * slices are borrowed for the call. @c->done must be set. */
void worker_call_invoke(struct worker *w, struct worker_call *c, struct cmd_invoke *cmd, bool wait_output);
void worker_call_attach(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool wait_output);
void worker_call_signal(struct worker *w, struct worker_call *c, const struct cmd_signal *cmd);
void worker_call_terminate(struct worker *w, struct worker_call *c, const struct invocation_id *id, int flavor);
void worker_call_purge(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool journal_only);
void worker_call_pause(struct worker *w, struct worker_call *c, const struct invocation_id *id);
/* @deployment: "" or "keep", "latest", or an id. */
void worker_call_resume(struct worker *w, struct worker_call *c, const struct invocation_id *id,
                        struct slice deployment);
void worker_call_restart(struct worker *w, struct worker_call *c, const struct invocation_id *id, uint32_t from,
                         struct slice deployment);
void worker_call_patch_state(struct worker *w, struct worker_call *c, const struct cmd_patch_state *cmd);
/* worker_call_drop() - the caller is no longer interested; done() is not called any more. What was proposed still
 * happens. */
void worker_call_drop(struct worker *w, struct worker_call *c);

/* worker_writable() - false: ingress should stop reading requests until the proposal queues have room. */
bool worker_writable(const struct worker *w);
