/* SPDX-License-Identifier: Apache-2.0 */
/* meta/types.h : identifiers of the cluster (spec cluster.md §1): node ids, log positions, partitions, epochs. Pure
 * values. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/node_id.h"

typedef uint64_t lsn_t;          /* position in a log; 0 invalid, 1 the oldest */
typedef uint32_t log_id_t;       /* equals the partition it serves */
typedef uint16_t partition_id_t; /* 0 .. n-1 */
typedef uint64_t epoch_t;        /* leadership number of a partition, only rises; 0 invalid */

#define LSN_INVALID ((lsn_t)0)
#define LSN_OLDEST ((lsn_t)1)

/* Loglet id: log << 32 | segment index; offsets inside a loglet are u32, 1 the oldest. */
static inline uint64_t loglet_id_make(log_id_t log, uint32_t segment_index) {
    return (uint64_t)log << 32 | segment_index;
}
static inline log_id_t loglet_id_log(uint64_t loglet_id) {
    return (log_id_t)(loglet_id >> 32);
}
static inline uint32_t loglet_id_index(uint64_t loglet_id) {
    return (uint32_t)loglet_id;
}

/* Roles of a node, bits. */
enum { ROLE_HTTP_INGRESS = 1, ROLE_ADMIN = 2, ROLE_WORKER = 4, ROLE_LOG_SERVER = 8, ROLE_METADATA_SERVER = 16 };
#define ROLE_ALL 31u
