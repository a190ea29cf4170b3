/* SPDX-License-Identifier: Apache-2.0 */
/* meta/epoch_metadata.h : who leads a partition and which nodes run it, key "pp_epoch_<p>" (spec cluster.md §16). The
 * leader claims epochs, the scheduler and operators change replica sets and policies, all by CAS on one value. */
#pragma once
#include "base/err.h"
#include "meta/meta.h"

#define EPOCH_KEY_PREFIX "pp_epoch_"
#define REPLICA_SET_MAX 32u

struct replica_set {
    uint32_t version;                /* only rises; 0: there is no such set */
    uint32_t n;                      /* 0 with a version: the partition shall not run anywhere */
    uint32_t nodes[REPLICA_SET_MAX]; /* plain ids, ascending */
    uint64_t modified_at_ms;
};
static inline bool replica_set_has(const struct replica_set *s, uint32_t node) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->nodes[i] == node)
            return true;
    return false;
}
bool replica_set_same(const struct replica_set *a, const struct replica_set *b); /* the same nodes */

struct epoch_metadata {
    uint32_t version;
    epoch_t epoch;         /* 0: nobody ever led */
    struct node_id leader; /* of that epoch */
    struct replica_set current, next;
    uint32_t affinity; /* leadership_policy: the node that should lead; 0: any */
    bool leadership_frozen, placement_frozen;
    char leadership_reason[160], placement_reason[160]; /* why frozen */
};
void epoch_metadata_key(partition_id_t p, char ret[META_KEY_MAX]);
int epoch_metadata_parse(struct slice json, struct epoch_metadata *ret, struct err *err) RS_WARN_UNUSED;
/* epoch_metadata_get() - the local copy; RS_ENOENT when there is none. */
int epoch_metadata_get(const struct meta *m, partition_id_t p, struct epoch_metadata *ret,
                       struct err *err) RS_WARN_UNUSED;

/* epoch_claim() - raise the leader epoch of @p by one in the name of @self; creates the value (replica set {@self})
 * when absent. Claims of one turn share one commit. @done: status 0 and the claimed epoch; RS_EEXIST: it was under way
 * for so long that whoever claimed the next one meanwhile knew more than @self. */
typedef void (*epoch_claim_fn)(void *arg, int status, epoch_t epoch, const struct err *err);
void epoch_claim(struct meta *m, partition_id_t p, struct node_id self, uint64_t deadline_ns, epoch_claim_fn done,
                 void *arg);

/* epoch_metadata_update() - change placement and policies. @change edits @e (epoch and leader are the claim's: changes
 * to them are ignored) and returns 0 to write, a positive number to leave it (@done gets 0), negative to fail. It may
 * be called again after a lost race, and must be idempotent. @exists false: there is no value yet; @e is zeroed. Fields
 * this program does not know are kept. @arg is borrowed until @done ran (or meta_free()). */
typedef int (*epoch_change_fn)(void *arg, bool exists, struct epoch_metadata *e, struct err *err);
void epoch_metadata_update(struct meta *m, partition_id_t p, uint64_t deadline_ns, epoch_change_fn change,
                           meta_cas_fn done, void *arg);

/* epoch_metadata_edit() - the same on bytes: @out is @json with the placement and policies of @e and version @version;
 * for tools that write through the metadata proxy. @json empty: a new value. */
int epoch_metadata_edit(struct slice json, const struct epoch_metadata *e, uint32_t version, struct buf *out,
                        struct err *err) RS_WARN_UNUSED;

/* replica_set_propose() - next := @nodes (current when there is no current set); @modified_at_ms is stamped. */
void replica_set_propose(struct epoch_metadata *e, const uint32_t *nodes, uint32_t n, uint64_t modified_at_ms);
void replica_set_complete(struct epoch_metadata *e); /* current := next */
