/* SPDX-License-Identifier: Apache-2.0 */
/* worker/worker_internal.h : struct worker and its routes, shared by worker.c (opening, making calls), routes.c (to
 * whom a call goes) and manager.c (what runs here). */
#pragma once
#include "base/arena.h"
#include "meta/epoch_metadata.h"
#include "meta/meta.h"
#include "net/fabric.h"
#include "worker/partition.h"
#include "worker/worker.h"

struct worker_call *worker_call_find(struct worker *w, const uint8_t request_id[16]);
void worker_call_answer(struct worker *w, struct worker_call *c, const struct worker_reply *r);

/* Where a pending call is. */
enum call_where {
    CALL_WAITING, /* nobody has it: for a leader, or for its next try */
    CALL_LOCAL,   /* the leader here has it */
    CALL_REMOTE,  /* on its way to another node */
};

/* Everything this node knows of one partition of the cluster. */
struct route {
    struct worker *w;
    uint32_t id;
    uint64_t first_key, last_key;
    struct partition *p; /* NULL: it never ran here */
    bool commanded;      /* the controller's word is: lead */

    epoch_t epoch; /* of the newest leader known, announced or claimed */
    struct node_id leader;
    struct list calls; /* pending ones, in order of arrival */
    struct timer retry;
    uint64_t retry_ms;
    bool ask_around; /* the leader known does not answer: ask the others, too */
    uint32_t asked;  /* member of the replica set that was asked last while no leader is known */

    uint32_t placement_version; /* 0: not known */
    struct replica_set current, next;
    lsn_t durable[REPLICA_SET_MAX]; /* of current's members, then of next's, as told */
    lsn_t next_durable[REPLICA_SET_MAX];
};

struct worker {
    struct worker_params params;
    struct route *routes;
    size_t n;
    struct map calls;        /* struct worker_call.node by request id */
    uint64_t waiting_bytes;  /* of commands in calls */
    uint64_t proposed_bytes; /* of records that leaders here proposed and did not apply yet */
    bool was_full;           /* the invoker waits */
    struct loop_hook writable_hook;
    struct schema *schema;
    struct meta_watch schema_watch, placement_watch;
    struct fabric_service manager_service, leader_service;
    struct map served;   /* calls of other nodes, by request id */
    struct list ingests; /* batches of outbox rows from other nodes, until they are applied */
    struct loop_hook check_ready;
    bool stopping, all_ready, told_ready;
    struct {                               /* snapshots.h */
        unsigned busy, running, n_serving; /* all that is under way; of it: being made, being served */
        struct list waiting, serving;
        bool stop; /* atomic: jobs look at it */
        void (*drained)(void *arg);
        void *drained_arg;
    } snapshots;
};

/* ---- routes.c ---- */
void route_init(struct route *r, struct worker *w, uint32_t id, uint64_t first_key, uint64_t last_key);
void route_stop(struct route *r); /* no timers, no calls under way */
void route_add_call(struct route *r, struct worker_call *c);
void route_drop_call(struct route *r, struct worker_call *c);
void route_leads_here(struct route *r); /* the processor here became leader */
void route_lost_here(struct route *r);  /* it is not any more */
void route_broken_here(struct route *r);
void worker_refuse_calls(struct route *r, enum worker_reply_code code, const char *why); /* all of a partition */
/* route_hint() - somebody leads with @epoch; only newer ones count. */
void route_hint(struct route *r, epoch_t epoch, struct node_id leader);
/* route_has_leader() - whoever claimed the newest epoch leads by now. */
void route_has_leader(struct route *r);

/* ---- manager.c ---- */
int manager_open(struct worker *w, struct err *err) RS_WARN_UNUSED; /* opens what shall run, starts it */
void manager_stop(struct worker *w);
bool route_is_lone(const struct route *r); /* nobody else could lead */
/* Start, stop, lead or follow as placement and the controller's word have it. */
int route_manage(struct route *r, struct err *err);

/* ---- worker.c ---- */
enum { PATCH_UNRESOLVED = 255 }; /* outcome of a deployment patch before the leader looked: never in the log */
/* worker_call_start() - with op, request id and command filled in. */
void worker_call_start(struct worker *w, struct worker_call *c, uint16_t kind, uint64_t partition_key);
struct route *worker_route(struct worker *w, uint64_t partition_key); /* NULL: no partition has this key */
