/* SPDX-License-Identifier: Apache-2.0 */
/* log/log.h : the replicated log as partitions see it: lead, append, read, trim (spec cluster.md §6-§13).
 *
 * struct log_node is the log layer of this node (its log-server, the chain writer, the record cache); struct log is one
 * log. Everything belongs to one loop, the loop of the log store. Callbacks never run inside the call that registered
 * them.
 *
 * What a reader gets is committed: durable on a write quorum. A leader reads its own records through the same reader as
 * everybody; they come from memory, in the loop turn in which the group commit was reported, in one call per log.
 *
 * Records are `struct bytes` in the layout of execution.md §3.1 and are referenced, never copied. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "loop/exec.h"
#include "loop/loop.h"
#include "meta/meta.h"

struct log_node;
struct log_server;
struct log_peers; /* log/log_peers.h: how to reach the log-servers of other nodes; NULL on a node alone */
struct log;
struct log_reader;

struct log_node_params {
    struct loop *loop;
    struct meta *meta;
    struct log_server *server; /* of this node; NULL: the role is off */
    struct log_peers *peers;   /* NULL: none */
    struct node_id self;
    uint64_t cache_bytes;    /* records kept in memory for readers, besides those in flight; 0: 16 MiB */
    uint64_t window_bytes;   /* in flight per log; 0: LIMIT_WINDOW_BYTES */
    uint32_t window_records; /* 0: LIMIT_WINDOW_RECORDS */
};
int log_node_open(const struct log_node_params *p, struct log_node **ret, struct err *err) RS_WARN_UNUSED;
/* log_node_close() - closes what is still open; no callback runs afterwards. The log-server is closed later by its
 * owner. NULL. */
struct log_node *log_node_close(struct log_node *n);

/* log_node_set_alive() - a hint: is the log-server of plain node @node worth asking? Unset: always. NULL unsets. */
typedef bool (*log_alive_fn)(void *arg, uint32_t node);
void log_node_set_alive(struct log_node *n, log_alive_fn alive, void *arg);

struct log_events {
    /* After log_append() returned RS_EAGAIN: there is room again. */
    void (*writable)(void *arg);
    /* The log is no longer mine: somebody sealed my segment (RS_ECLOSED) or my stores fail for good (RS_EIO).
     * @tail_epoch: the leader epoch of the newest segment known. Records in flight: those that a reader delivers are
     * committed; after log_find_tail() answered, the others never happened. Called at most once per successful
     * log_lead(). May be NULL. A segment that somebody closed without leading, or that I leave for a better one (more
     * copies, a larger nodeset), does not end the lead: what is in flight moves to the next segment, at the same LSNs.
     */
    void (*lost)(void *arg, int status, epoch_t tail_epoch, const struct err *why);
};
/* log_open() - a handle on log @id; the log itself comes into being with the first log_lead(). @ev is borrowed until
 * log_close(). */
struct log *log_open(struct log_node *n, log_id_t id, const struct log_events *ev, void *arg);
/* log_close() - gives the lead up at once (records in flight may or may not become committed), closes its readers.
 * NULL. */
struct log *log_close(struct log *l);

/* log_lead() - own a fresh segment: seal the newest one, find its tail, extend the chain with myself as sequencer and
 * @epoch (claimed before, epoch_claim()). All logs that ask in one turn share the commits.
 * @done: 0, then log_append() works; @first is the LSN of the first record I will write. RS_EPERM: a newer epoch owns
 * the log. RS_EUNSUPPORTED: no nodeset satisfies the replication. RS_EIO: the log-server does not accept writes.
 * RS_ECANCELED: log_resign() or log_close() came first (not called after log_close()). */
typedef void (*log_lead_fn)(void *arg, int status, lsn_t first, const struct err *err);
void log_lead(struct log *l, epoch_t epoch, log_lead_fn done, void *arg);
/* log_resign() - stop appending; no `lost` follows. Records in flight become committed or not. */
void log_resign(struct log *l);
bool log_is_leading(const struct log *l);

/* log_append() - append 1..LIMIT_BATCH_RECORDS records, together at most LIMIT_BATCH_BYTES (a single larger one goes
 * alone), in this order, after all that was appended before. References are taken. *ret_first (may be NULL): LSN of the
 * first, the others follow. There is no callback: readers deliver what is committed. Return: 0 accepted; RS_EAGAIN
 * window full or between two segments, nothing taken, wait for `writable`; RS_ECLOSED not leading (any more). */
int log_append(struct log *l, struct bytes *const *records, size_t n, lsn_t *ret_first, struct err *err) RS_WARN_UNUSED;
bool log_writable(const struct log *l); /* leading, and the window has room for a batch */

enum log_gap { LOG_GAP_TRIMMED, LOG_GAP_DATA_LOSS };
struct log_reader_events {
    /* @n committed records with LSNs @first, @first + 1, ...; borrowed: take references to keep them. Returns how many
     * were taken (from the front); fewer than @n pauses the reader until log_reader_resume(). May close the reader. */
    size_t (*deliver)(void *arg, lsn_t first, struct bytes *const *records, size_t n);
    /* Nothing will come for LSNs up to @to (inclusive). */
    void (*gap)(void *arg, lsn_t to, enum log_gap kind);
    /* The reader stopped for good: RS_ECORRUPT (checksum; the text names log and LSN), RS_EIO. */
    void (*failed)(void *arg, int status, const struct err *why);
};
/* log_read() - read from LSN @from (>= 1) on, for ever: history, then live, in order, each LSN exactly once. */
struct log_reader *log_read(struct log *l, lsn_t from, const struct log_reader_events *ev, void *arg);
void log_reader_resume(struct log_reader *r);
struct log_reader *log_reader_close(struct log_reader *r); /* no callback afterwards; NULL */
lsn_t log_reader_next(const struct log_reader *r);         /* next LSN it will deliver */

/* log_readable() - a hint: does every segment that holds LSNs >= @from have a member that may answer? */
bool log_readable(const struct log *l, lsn_t from);

/* First LSN not known to be committed. Only rises. */
lsn_t log_committed_tail(const struct log *l);
/* log_find_tail() - ask for the tail: @tail is an upper bound of what is committed now (exact on the leader); the
 * target of a catch-up. 1 when the log does not exist yet. */
typedef void (*log_tail_fn)(void *arg, int status, lsn_t tail, const struct err *err);
void log_find_tail(struct log *l, log_tail_fn done, void *arg);

/* log_seal() - close the chain behind what may have been acknowledged: no append follows, unless a leader extends it.
 * @permanent: nobody ever does. @reason: copied; may be NULL. @done: the tail of the closed chain; RS_ENOENT: no such
 * log; RS_EAGAIN: the chain changed meanwhile. Waits for the log-servers; log_close() ends it. */
void log_seal(struct log *l, bool permanent, const char *reason, log_tail_fn done, void *arg);

/* log_trim() - everything up to @upto (inclusive; clipped to what is committed) may go. Monotone, idempotent. @done:
 * durable. Whole segments leave the chain later. */
typedef void (*log_done_fn)(void *arg, int status, const struct err *err);
void log_trim(struct log *l, lsn_t upto, log_done_fn done, void *arg);
lsn_t log_trim_point(const struct log *l); /* inclusive; 0: nothing was trimmed, as far as this node knows */

struct log_info { /* for status commands */
    log_id_t id;
    bool exists, leading, sealed; /* sealed: the newest chain entry is a seal marker */
    epoch_t tail_epoch;           /* leader epoch of the newest segment */
    struct node_id sequencer;     /* of the newest segment */
    uint32_t segments, tail_index;
    lsn_t tail_base, committed_tail, trim_point;
    lsn_t next; /* leading: LSN of the next append, else 0 */
    uint64_t inflight_records, inflight_bytes, cached_records;
};
void log_info(const struct log *l, struct log_info *ret);
