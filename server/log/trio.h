/* SPDX-License-Identifier: Apache-2.0 */
/* log/trio.h : (tests) three log-servers in one process, replication 2, and a log layer that reaches them by the bytes
 * the fabric would carry. Members may refuse, hang or lose stores. Records are numbered from 1. */
#pragma once
#include "log/log_peers.h"
#include "log/log_test_util.h"

#define TRIO_RECORDS 4000u

struct trio {
    struct log_peers peers; /* first */
    struct node *n;         /* node 1, with metadata */
    struct log_server *servers[4];
    struct store *disks[4];
    bool down[4], hangs[4]; /* refuses; never answers */
    unsigned stores[4];     /* asked for, by member */
    uint32_t lose_stores;   /* of a million stores to peers so many are lost */
    struct list lost, hung;
    struct loop_hook answer;
    struct log_node *layer;
    struct log *log;
    struct log_reader *reader;
    lsn_t next;
    uint64_t *committed; /* by LSN, of all lives */
    uint64_t number;
    epoch_t epoch;
    int led, led_status, ended, ended_status;
    lsn_t appended; /* LSN after the last one that log_append() gave out */
};

extern const struct log_events trio_log_events; /* their arg is a struct trio */
extern const struct log_reader_events trio_reader_events;
void trio_on_led(void *arg, int status, lsn_t first, const struct err *err);

struct trio *trio_new(uint64_t seed);
struct trio *trio_leading(uint64_t seed); /* a new one in its first life, which leads */
void trio_free(struct trio *t);

/* trio_follow() - the log layer of this process's next life: another generation of node 1, nothing in memory,
 * everything from the servers. All its requests go through the fake fabric, those to its own node as well. */
void trio_follow(struct trio *t);
void trio_life(struct trio *t);            /* the same, and it leads */
int trio_append(struct trio *t, size_t n); /* as log_append() */
/* trio_expect_all() - everything that was appended in this reign is delivered, once, where log_append() said. */
void trio_expect_all(struct trio *t);
/* trio_stranger_seals() - what a candidate does that dies before it extends the chain. */
void trio_stranger_seals(struct trio *t, unsigned members);

void trio_set_replication(struct trio *t, uint8_t copies);
void trio_set_storage(struct trio *t, uint32_t node, enum storage_state to);
struct chain *trio_chain(struct trio *t, log_id_t id, struct logs_config **ret); /* the caller frees *ret */
uint32_t trio_tail_copies(struct trio *t, log_id_t id, uint32_t *ret_nodes);     /* of the open segment */
