/* SPDX-License-Identifier: Apache-2.0 */
/* meta/partition_table.h : partitions and their key ranges, and the epoch metadata of a partition (spec cluster.md
 * §16). */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "meta/meta.h"

struct partition_range {
    uint64_t first, last; /* partition keys, inclusive */
    log_id_t log_id;
};
struct partition_table {
    uint32_t version;
    char *replication; /* "everywhere", or a replication property such as "{node: 2}" */
    uint32_t n;
    struct partition_range partitions[]; /* index = partition id */
};

/* partition_table_new() - @n equal ranges of 0 .. 2^64-1, version 1; @n at most 65535; @replication NULL: everywhere.
 */
struct partition_table *partition_table_new(uint32_t n, const char *replication);
int partition_table_parse(struct slice json, struct partition_table **ret, struct err *err) RS_WARN_UNUSED;
void partition_table_encode(const struct partition_table *t, struct buf *out);
struct partition_table *partition_table_free(struct partition_table *t);
DEFINE_CLEANUP(partition_table, partition_table_free)
/* partition_table_find() - the partition of a key, or -1 when the table does not cover it. */
int partition_table_find(const struct partition_table *t, uint64_t partition_key);

/* Epoch metadata, key "pp_epoch_<p>". Only the leader part is typed; the other fields are kept as they are. */
struct epoch_metadata {
    uint32_t version;
    epoch_t epoch;         /* 0: nobody ever led */
    struct node_id leader; /* of that epoch */
};
void epoch_metadata_key(partition_id_t p, char ret[META_KEY_MAX]);
int epoch_metadata_parse(struct slice json, struct epoch_metadata *ret, struct err *err) RS_WARN_UNUSED;
/* epoch_metadata_get() - the local copy; RS_ENOENT when there is none. */
int epoch_metadata_get(const struct meta *m, partition_id_t p, struct epoch_metadata *ret,
                       struct err *err) RS_WARN_UNUSED;

/* epoch_claim() - raise the leader epoch of @p by one in the name of @self; creates the value (replica set {@self})
 * when absent. Claims of one turn share one commit. @done: status 0 and the claimed epoch. */
typedef void (*epoch_claim_fn)(void *arg, int status, epoch_t epoch, const struct err *err);
void epoch_claim(struct meta *m, partition_id_t p, struct node_id self, uint64_t deadline_ns, epoch_claim_fn done,
                 void *arg);
