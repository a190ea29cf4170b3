/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_server.h : this node's copies of loglet records: the state machine of spec cluster.md §8 for every loglet,
 * over the one `log` store (SYNC), with one group commit for all loglets.
 *
 * Requests are plain structs owned by the caller until their `done` ran; the local sequencer, recovery and readers pass
 * them directly, the fabric carries them for others. `done` always runs in a later turn (or later in the same turn,
 * from a hook), never inside the call. Everything belongs to the loop of the store.
 *
 * Rows (one table `log`; integers big-endian in keys, little-endian in values; every value but a record's begins with
 * u8 format = 1 and ends with u32 crc32c of what precedes):
 * - 'd' loglet u64 offset u32: the record's bytes as they came, with their own checksum
 * - 's' loglet u64: sequencer, id u32, generation u32
 * - 't' loglet u64: trim point u32
 * - 'Z' loglet u64: seal marker, unix time ms u64
 * - 'g' loglet u64: known global tail u32, written now and then
 * - 'l' loglet u64: local tail u32, written by a trim
 * - 'f' loglet u64 with index 0: floor of the log u32, see log_server_forget()
 * - "storage-marker": owner node id u32, created at unix ms u64 */
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

enum ls_kind { LS_STORE, LS_SEAL, LS_INFO, LS_WAIT, LS_GET, LS_DIGEST, LS_TRIM, LS_FLUSH };
/* What every request begins with. The owner sets kind, loglet_id, global_tail and done; the rest is the server's. */
struct ls_req {
    enum ls_kind kind;
    uint64_t loglet_id;
    uint32_t global_tail; /* known to the sender; 0 or 1: nothing */
    void (*done)(struct ls_req *, const struct ls_reply *);
    void *owner; /* for whoever set done */
    struct list link;
    enum ls_status status;
};

enum { LS_IGNORE_SEAL = 1 }; /* repair */
struct ls_store {
    struct ls_req h;
    uint32_t flags;
    uint64_t timeout_at_ns; /* monotonic of this node; 0: none */
    uint32_t first_offset;
    uint32_t repair_floor; /* LS_IGNORE_SEAL: stands for global_tail in the order check */
    struct node_id sequencer;
    bool from_sequencer;          /* the peer that sent it is the sequencer itself */
    struct bytes *const *records; /* borrowed until the call returns; whoever took them from a peer verified them */
    uint32_t n;
};
struct ls_seal {
    struct ls_req h;
    struct node_id sequencer; /* of the segment */
};
struct ls_info {
    struct ls_req h;
    uint32_t trim_point; /* answer */
};
enum ls_wait_for { LS_WAIT_LOCAL, LS_WAIT_GLOBAL, LS_WAIT_EITHER };
struct ls_wait {
    struct ls_req h;
    enum ls_wait_for what;
    uint32_t tail; /* answered when that tail is >= this, or the loglet is sealed */
};
enum ls_entry_kind { LS_DATA, LS_TRIM_GAP };
struct ls_entry {
    enum ls_entry_kind kind;
    uint32_t offset;
    uint32_t to;          /* LS_TRIM_GAP: last offset of the gap */
    struct bytes *record; /* LS_DATA: owned by the request; checksum verified */
};
struct log_server;
struct ls_get {
    struct ls_req h;
    uint32_t from, to;    /* offsets, inclusive */
    uint32_t limit_bytes; /* at least one record comes in any case; 0: no limit but `to` */
    /* answer; entries in order of offset, holes are absent; freed by ls_get_done() */
    struct ls_entry *entries;
    size_t n, cap;
    uint32_t next_offset;
    int error; /* 0; RS_ECORRUPT: the record at next_offset is damaged, what precedes it is in entries; RS_EIO */
    struct err err;
    /* the server's */
    struct job job;
    struct log_server *server;
    uint64_t bytes;
};
void ls_get_done(struct ls_get *g); /* frees the entries */
enum ls_digest_status { LS_DIGEST_TRIMMED = 'T', LS_DIGEST_EXISTS = 'X' };
struct ls_digest_entry {
    uint32_t from, to; /* inclusive */
    enum ls_digest_status status;
};
struct ls_digest {
    struct ls_req h;
    uint32_t from, to;               /* inclusive */
    struct ls_digest_entry *entries; /* answer; run-length, absent offsets are not listed; the owner frees it */
    size_t n, cap;
    int error; /* 0 or RS_EIO */
    struct err err;
    /* the server's */
    struct job job;
    struct log_server *server;
};
struct ls_trim {
    struct ls_req h;
    uint32_t trim_point; /* inclusive */
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
/* log_server_flush() - @done (in a later turn) when everything accepted so far is durable; RS_EIO when the store
 * failed. After the first open, the storage state may become read-write only then: the marker row must not come after
 * it. */
void log_server_flush(struct log_server *s, void (*done)(void *arg, int status, const struct err *err), void *arg);
/* log_server_close() - refuses what comes; @closed (may be NULL) runs when nothing is under way any more, the object is
 * then gone. The store is closed after that. */
void log_server_close(struct log_server *s, void (*closed)(void *arg), void *arg);
struct record_cache *log_server_cache(struct log_server *s);
bool log_server_failsafe(const struct log_server *s); /* poisoned: no stores, reads go on */
uint32_t log_server_node(const struct log_server *s);

/* log_server_submit() - carry out a request of any kind. */
void log_server_submit(struct log_server *s, struct ls_req *r);
void log_server_wait_cancel(struct log_server *s, struct ls_wait *r);                    /* not answered any more */
void log_server_release(struct log_server *s, uint64_t loglet_id, uint32_t global_tail); /* one-way */
/* What this node knows, without waiting; all zero for a loglet it never saw (tails 1). */
void log_server_peek(const struct log_server *s, uint64_t loglet_id, struct ls_reply *ret, uint32_t *ret_trim_point);
/* log_server_forget() - the loglet left the chain for good and a newer one is in it: drop its rows. Its seal goes with
 * them, so the floor of its log rises: no segment up to this one takes stores, however late a deposed sequencer's
 * arrive. */
void log_server_forget(struct log_server *s, uint64_t loglet_id);
/* log_server_each() - every loglet known. */
void log_server_each(const struct log_server *s, void (*each)(void *arg, uint64_t loglet_id), void *arg);
