/* SPDX-License-Identifier: Apache-2.0 */
/* control/scheduler.h : which nodes run a partition and which of them shall lead (spec cluster.md §19.3). Pure: decides
 * from what is known, changes nothing. Everything it decides is carried out by CAS or can be repeated, so a decision
 * from an old view costs time, never safety. */
#pragma once
#include "meta/epoch_metadata.h"
#include "meta/replication.h"

struct sched_node { /* one entry of the nodes configuration that is no tombstone */
    uint32_t id;
    bool worker;   /* has the role and its worker state allows new replicas (active) */
    bool may_keep; /* may stay in a set it is in: active, or draining while nobody else can take its place */
    bool alive;
    bool suspect;          /* it was away a moment ago: it leads where nobody else can, or does already */
    bool given_up;         /* dead for longer than replica-replace-delay */
    uint16_t zone, region; /* domains; equal numbers are the same place */
};

enum sched_mode { SCHED_NONE, SCHED_FOLLOWER, SCHED_CANDIDATE, SCHED_LEADER };
struct sched_replica { /* what a node last said about its processor of the partition */
    uint32_t node;
    enum sched_mode mode;
    bool caught_up; /* replay status Active */
};

struct sched_input {
    partition_id_t partition;
    const struct sched_node *nodes; /* by id */
    size_t n_nodes;
    bool everywhere;                    /* partition replication `*`: every worker, at most SCHED_EVERYWHERE */
    struct replication replication;     /* otherwise */
    const struct epoch_metadata *epoch; /* NULL: there is no value yet */
    const struct sched_replica *replicas;
    size_t n_replicas;
    uint32_t target; /* who was asked to lead last; 0: nobody */
};
#define SCHED_EVERYWHERE 3u

struct sched_decision {
    uint32_t leader;                                            /* who shall lead; 0: nobody can */
    bool ask;                                                   /* it does not lead yet: send it ControlProcessors */
    enum { SCHED_KEEP, SCHED_PLACE, SCHED_COMPLETE } placement; /* leave; propose @nodes; current := next */
    uint32_t nodes[REPLICA_SET_MAX];
    uint32_t n;
};
void scheduler_decide(const struct sched_input *in, struct sched_decision *ret);

/* scheduler_select() - the replica set that @in would get with nothing to keep, own rules of spread: exactly R nodes
 * over the domains, balanced by hash of (partition, node), members of @keep first. Return: 0, or RS_EUNSUPPORTED when
 * the workers alive do not suffice (@ret then holds those that are there). */
int scheduler_select(const struct sched_input *in, const struct replica_set *keep, uint32_t ret[REPLICA_SET_MAX],
                     uint32_t *ret_n);
