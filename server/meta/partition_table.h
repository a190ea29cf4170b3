/* SPDX-License-Identifier: Apache-2.0 */
/* meta/partition_table.h : partitions and their key ranges (spec cluster.md §16). */
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
