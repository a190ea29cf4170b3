/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot/repository.h : snapshots of partitions in an object store (spec cluster.md §18).
 *
 *   <partition>/latest.json                                the newest snapshot, and those that are kept
 *   <partition>/lsn_<20 digits>-<snapshot id>/metadata.json    what it is
 *   <partition>/lsn_<20 digits>-<snapshot id>/tables           the portable stream (storage/export.h)
 *
 * The parts of a snapshot are written first; latest.json then changes on condition that it is still the one that was
 * read, so of two nodes that write at a time the newer LSN wins. A snapshot that latest.json does not name does not
 * exist. Everything blocks and belongs on an executor; threads may share a repository. */
#pragma once
#include "meta/types.h"
#include "snapshot/object_store.h"

struct repository;

enum { SNAPSHOT_ID = 40 };
struct snapshot_info {
    char id[SNAPSHOT_ID]; /* snap_... */
    uint32_t partition, log_id;
    uint64_t first_key, last_key;
    lsn_t lsn; /* applied LSN of the tables in it: min_applied_lsn */
    uint64_t created_ms;
    uint64_t size; /* bytes of the stream, */
    uint32_t crc;  /* and the CRC32C over them */
};

struct repository_params {
    struct object_store_params store;
    const char *cluster_name, *node_name; /* copied */
    uint64_t fingerprint;                 /* of the cluster: snapshots of another one are refused */
    unsigned retained;                    /* snapshots kept per partition, at least 1 */
};
int repository_open(const struct repository_params *p, struct repository **ret, struct err *err) RS_WARN_UNUSED;
struct repository *repository_free(struct repository *r); /* NULL */

/* repository_latest() - the newest snapshot of @partition, and its archived LSN: that of the oldest kept one.
 * RS_ENOENT: none. RS_EPERM: it is one of another cluster. */
int repository_latest(struct repository *r, uint32_t partition, struct snapshot_info *ret, lsn_t *ret_archived,
                      struct err *err) RS_WARN_UNUSED;
/* repository_put() - store the stream in @fd as @info says; removes what is not kept any more. RS_EEXIST: one with a
 * higher LSN is there, and this one is not kept. */
int repository_put(struct repository *r, const struct snapshot_info *info, int fd, lsn_t *ret_archived,
                   struct err *err) RS_WARN_UNUSED;
/* repository_open_tables() - the stream of a snapshot that repository_latest() told of; see object_open(). */
int repository_open_tables(struct repository *r, const struct snapshot_info *info, const char *tmp_dir, int *ret_fd,
                           struct err *err) RS_WARN_UNUSED;
