/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_server.h : this node's copies of loglet records: the state machine of spec cluster.md §8 for every loglet,
 * over the one `log` store (SYNC), with one group commit for all loglets.
 *
 * Requests are plain structs owned by the caller until their `done` ran; the local sequencer, recovery and readers pass
 * them directly, the fabric carries them for others. `done` always runs in a later turn (or later in the same turn,
 * from a hook), never inside the call. Everything belongs to the loop of the store.
 *
 * Rows (one table `log`; integers big-endian in keys, little-endian in values; every value but a record's begins with
 * u8 format = 1 and ends with u32 crc32c of what precedes): 'd' loglet u64 offset u32   the record's bytes as they came
 * (own checksum) 's' loglet u64              sequencer: id u32, generation u32 't' loglet u64              trim point
 * u32 'Z' loglet u64              seal marker: unix time ms u64 'g' loglet u64              known global tail u32
 * (lazy) 'l' loglet u64              local tail u32 (written by a trim) "storage-marker"            owner node id u32,
 * created at unix ms u64 */
#pragma once
#include "base/bytes.h"
#include "base/list.h"
#include "loop/exec.h"
#include "meta/types.h"
#include "base/err.h"

struct store;
struct record_cache;

enum ls_status {
    LS_UNKNOWN = 0,
    LS_OK = 1,
    LS_DISABLED = 2,
    LS_DROPPED = 3,
    LS_SEALED = 4,
    LS_SEALING = 5,
    LS_SEQUENCER_MISMATCH = 6,
    LS_OUT_OF_BOUNDS = 7,
    LS_MALFORMED = 8,
};
const char *ls_status_str(enum ls_status s);

struct ls_reply { /* header of every answer */
    enum ls_status status;
    uint32_t local_tail, global_tail; /* exclusive; the global one as far as this server knows */
    bool sealed;
};

enum { LS_IGNORE_SEAL = 1 }; /* repair */
struct ls_store {
    uint64_t loglet_id;
    uint32_t global_tail; /* known to the sender */
    uint32_t flags;
    uint64_t timeout_at_ns; /* monotonic of this node; 0: none */
    uint32_t first_offset;
    uint32_t repair_floor; /* LS_IGNORE_SEAL: stands for global_tail in the order check */
    struct node_id sequencer;
    bool from_sequencer;          /* the peer that sent it is the sequencer itself */
    struct bytes *const *records; /* borrowed until log_server_store() returns */
    uint32_t n;
    void (*done)(struct ls_store *, const struct ls_reply *);
    struct list link; /* the server's until done */
};
struct ls_seal {
    uint64_t loglet_id;
    uint32_t global_tail;
    struct node_id sequencer; /* of the segment; only noted */
    void (*done)(struct ls_seal *, const struct ls_reply *);
    struct list link;
};
struct ls_info {
    uint64_t loglet_id;
    uint32_t global_tail;
    uint32_t trim_point; /* answer */
    void (*done)(struct ls_info *, const struct ls_reply *);
    struct list link;
};
enum ls_wait_for { LS_WAIT_LOCAL, LS_WAIT_GLOBAL, LS_WAIT_EITHER };
struct ls_wait {
    uint64_t loglet_id;
    uint32_t global_tail;
    enum ls_wait_for what;
    uint32_t tail; /* answered when that tail is >= this, or the loglet is sealed */
    void (*done)(struct ls_wait *, const struct ls_reply *);
    struct list link;
};
enum ls_entry_kind { LS_DATA, LS_TRIM_GAP };
struct ls_entry {
    enum ls_entry_kind kind;
    uint32_t offset;
    uint32_t to;          /* LS_TRIM_GAP: last offset of the gap */
    struct bytes *record; /* LS_DATA: owned by the request; checksum verified */
};
struct ls_get {
    uint64_t loglet_id;
    uint32_t global_tail;
    uint32_t from, to;    /* offsets, inclusive */
    uint32_t limit_bytes; /* at least one record comes in any case; 0: no limit but `to` */
    /* answer; entries in order of offset, holes are absent; freed by ls_get_done() */
    struct ls_entry *entries;
    size_t n;
    uint32_t next_offset;
    int error; /* 0; RS_ECORRUPT: the record at next_offset is damaged, what precedes it is in entries; RS_EIO */
    struct err err;
    void (*done)(struct ls_get *, const struct ls_reply *);
    struct job job; /* the server's */
    struct log_server *server;
};
void ls_get_done(struct ls_get *g); /* frees the entries */
enum ls_digest_status { LS_DIGEST_TRIMMED = 'T', LS_DIGEST_EXISTS = 'X' };
struct ls_digest_entry {
    uint32_t from, to; /* inclusive */
    enum ls_digest_status status;
};
struct ls_digest {
    uint64_t loglet_id;
    uint32_t global_tail;
    uint32_t from, to;               /* inclusive */
    struct ls_digest_entry *entries; /* answer; run-length, absent offsets are not listed; malloc'ed */
    size_t n;
    int error; /* 0 or RS_EIO */
    void (*done)(struct ls_digest *, const struct ls_reply *);
    struct job job;
    struct log_server *server;
};
struct ls_trim {
    uint64_t loglet_id;
    uint32_t global_tail;
    uint32_t trim_point; /* inclusive */
    void (*done)(struct ls_trim *, const struct ls_reply *);
    struct list link;
};

struct log_server_params {
    struct loop *loop;
    struct store *store;
    struct exec *pool;    /* reads */
    uint32_t node_id;     /* plain */
    bool expect_marker;   /* storage state is read-write or read-only: a store without marker has lost its data */
    uint64_t cache_bytes; /* as log_node_params.cache_bytes; 0: 16 MiB */
};
/* log_server_open() - blocking: reads the state of every loglet. Errors: RS_EPERM the store belongs to another node;
 * RS_ENOENT
 * @expect_marker and there is none (set the storage state to data-loss and refuse the role); RS_ECORRUPT. */
int log_server_open(const struct log_server_params *p, struct log_server **ret, struct err *err) RS_WARN_UNUSED;
/* log_server_close() - refuses what comes; @closed (may be NULL) runs when nothing is under way any more, the object is
 * then gone. The store is closed after that. */
void log_server_close(struct log_server *s, void (*closed)(void *arg), void *arg);
struct record_cache *log_server_cache(struct log_server *s);
bool log_server_failsafe(const struct log_server *s); /* poisoned: no stores, reads go on */
uint32_t log_server_node(const struct log_server *s);

void log_server_store(struct log_server *s, struct ls_store *r);
void log_server_seal(struct log_server *s, struct ls_seal *r);
void log_server_info(struct log_server *s, struct ls_info *r);
void log_server_wait(struct log_server *s, struct ls_wait *r);
void log_server_wait_cancel(struct log_server *s, struct ls_wait *r); /* not answered any more */
void log_server_get(struct log_server *s, struct ls_get *r);
void log_server_digest(struct log_server *s, struct ls_digest *r);
void log_server_trim(struct log_server *s, struct ls_trim *r);
void log_server_release(struct log_server *s, uint64_t loglet_id, uint32_t global_tail); /* one-way */
/* What this node knows, without waiting; all zero for a loglet it never saw (tails 1). */
void log_server_peek(const struct log_server *s, uint64_t loglet_id, struct ls_reply *ret, uint32_t *ret_trim_point);
/* log_server_forget() - the loglet left the chain for good: drop its rows. */
void log_server_forget(struct log_server *s, uint64_t loglet_id);
/* log_server_each() - every loglet known. */
void log_server_each(const struct log_server *s, void (*each)(void *arg, uint64_t loglet_id), void *arg);
