/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_server_internal.h : shared by the files of the log-server; nobody else includes it. */
#pragma once
#include "base/map.h"
#include "log/log_server.h"
#include "log/record_cache.h"
#include "loop/loop.h"
#include "storage/store.h"

#define LS_ROW_FORMAT 1u
#define LS_OFFSET_MAX 0x7ffffffeu /* last offset of a loglet */

struct ls_loglet {
    struct map_node node;
    uint64_t id;
    struct node_id sequencer; /* id 0: nobody wrote yet */
    uint32_t local_tail;      /* durable */
    uint32_t staging_tail;    /* accepted */
    uint32_t global_tail, global_tail_saved;
    uint32_t trim_point;
    bool sealed, seal_enqueued;
    uint64_t saved_ns;        /* when global_tail was last written */
    struct list parked;       /* stores and seals that wait for something under way */
    struct list waits;        /* ls_wait */
    struct record_ring *ring; /* NULL until something was stored in this process */
};

struct ls_floor { /* of a log */
    struct map_node node;
    log_id_t log;
    uint32_t floor; /* segments with a smaller index are closed, whether they are known or not */
};

struct ls_batch { /* one group commit */
    struct log_server *server;
    struct store_batch *writes;
    struct list reqs; /* stores, seals, trims, in order */
};

struct log_server {
    struct loop *loop;
    struct store *store;
    struct store_table *table;
    struct exec *pool;
    uint32_t node_id;
    struct map loglets, floors;
    struct record_cache *cache;
    struct ls_batch *open; /* of this turn */
    struct loop_hook commit;
    struct list ready; /* requests to be answered with their status */
    struct loop_hook answer;
    bool failsafe;
    unsigned under_way; /* batches and jobs */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct ls_loglet *ls_loglet_find(const struct log_server *s, uint64_t id);
struct ls_loglet *ls_loglet_get(struct log_server *s, uint64_t id); /* made when missing */
void ls_loglet_free(struct log_server *s, struct ls_loglet *l);
uint32_t ls_floor(const struct log_server *s, log_id_t log);
void ls_floor_raise(struct log_server *s, log_id_t log, uint32_t floor);
void ls_reply_fill(const struct ls_loglet *l, enum ls_status status, struct ls_reply *ret); /* @l may be NULL */
void ls_work_done(struct log_server *s);                                                    /* under_way - 1 */

/* rows */
#define LS_KEY_BYTES 13u
struct slice ls_key(uint8_t buf[LS_KEY_BYTES], char kind, uint64_t loglet_id);
struct slice ls_key_record(uint8_t buf[LS_KEY_BYTES], uint64_t loglet_id, uint32_t offset);
void ls_put_u32(struct log_server *s, struct store_batch *b, char kind, uint64_t loglet_id, uint32_t v);
void ls_put_u64(struct log_server *s, struct store_batch *b, char kind, uint64_t loglet_id, uint64_t v);
void ls_put_node(struct log_server *s, struct store_batch *b, uint64_t loglet_id, struct node_id id);
int ls_rows_load(struct log_server *s, bool expect_marker, struct err *err) RS_WARN_UNUSED;

/* reads */
void ls_get_start(struct log_server *s, struct ls_get *g);
void ls_digest_start(struct log_server *s, struct ls_digest *d);
