/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* worker/tables.h : the rows of a partition: layout of keys and values, and readers for leader, invoker and SQL.
 *
 * One storage table per partition. Keys begin with one byte, the logical table; integers in keys are big-endian, so
 * that byte order is numeric order; integers in values are little-endian. Every value begins with a version byte (1).
 * An invocation id is 24 bytes: partition key, uuid. A string S in a key is one length byte (0..100) and the bytes; a
 * longer one is FF, its first 64 bytes and its SHA-256 (97 bytes), and the value then has, after the version byte and
 * in the order of the key, the full strings, each behind a u32 length (L below; nothing when all strings are short).
 *
 *   table          key after the table byte             value after the version byte
 *   01 fsm         var u8                               0 hot: applied lsn u64, self epoch u64, self seq u64, next inbox
 *                                                         seq u64, outbox head u64 (first row), outbox tail u64 (next
 *                                                         seq), rows for local targets u64
 *                                                       1 format: format version u32, features u64, min version bytes
 *                                                       2 durable point: lsn u64, time ms u64
 *                                                       3 leader: epoch u64, first key u64, last key u64, node bytes
 *   02 dedup       kind u8 (2 partition, 3 producer),   last applied seq u64
 *                  producer (8 or 16 bytes)
 *   03 invoked     id                                   nothing: index of the rows of 10 with status invoked
 *   04 expiry      time ms u64, kind u8, id             nothing: completed rows by the time they may be purged (kind:
 *                                                         enum expiry_kind)
 *   05 timer       time ms u64, kind u8, id,            nothing
 *                  completion id u32 (0: none)
 *   06 outbox      seq u64                              command kind u16, partition key of the target u64, command (as in
 *                                                         a record)
 *   10 status      id                                   hot header, rewritten by each record that touches the invocation:
 *                                                         status u8, target type u8, protocol u8, flags u8 (1 random seed
 *                                                         stored), journal length u32, commands u32, events u32, output
 *                                                         index u32 (0: none); created, modified, inboxed, scheduled,
 *                                                         running, completed ms u64 (0: never); execution time ms u64;
 *                                                         completion, journal retention ms u64; inbox seq u64; random
 *                                                         seed u64; start lsn u64; deployment: length u8, bytes;
 *                                                         future: length u32, cmd_future; sinks: count u32, each type u8 (1 ingress: request
 *                                                         id 16; 2 partition: caller id 24, completion id u32)
 *   11 body        id                                   cold body, written once: cmd_invocation_body
 *   12 journal     id, 0, index u32                     entry: flags u8 (1 command), type u16, appended ms u64, side
 *                                                         length u32, side record (cmd_call), protobuf message
 *                  id, 1, completion id u32             entry index of the command u32, its type u16; only of commands
 *                                                         that are answered later
 *                  id, 2, kind u8, u32 | name S         L, entry index u32 of the first notification with this id,
 *                                                         variant u8
 *                  id, 3, lsn u64, n u16                event: after entry index u32, appended ms u64, cmd_event
 *   13 result      id                                   of a completed invocation: cmd_result
 *   20 lock        pk, scope S, service S, key S        L, id of the holder 24, length of the inbox u32
 *   21 inbox       as lock, seq u64                     L, kind u8 (1 invocation: id 24; 2 state patch: cmd_patch_state)
 *   22 state       as lock, state key S                 L, the bytes
 *   23 promise     as lock, name S                      L, state u8 (0 open: n * (id 24, completion id u32);
 *                                                         1 completed: cmd_result)
 *
 * Readers take a struct sm_reader, so they work over the overlay, over a view and over a test's map. Slices they hand
 * out are valid as long as the reader says for get, and until the callback returns for scans. A callback returns 0 to
 * go on; anything else stops the scan and is returned. All of them may return RS_EAGAIN (cold) and RS_ECORRUPT. */
/* clang-format on */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "proto/command.gen.h"
#include "proto/command.h"
#include "proto/ids.h"
#include "worker/state_machine.h"

enum table_code {
    T_FSM = 0x01,
    T_DEDUP = 0x02,
    T_INVOKED = 0x03,
    T_EXPIRY = 0x04,
    T_TIMER = 0x05,
    T_OUTBOX = 0x06,
    T_STATUS = 0x10,
    T_BODY = 0x11,
    T_JOURNAL = 0x12,
    T_RESULT = 0x13,
    T_LOCK = 0x20,
    T_INBOX = 0x21,
    T_STATE = 0x22,
    T_PROMISE = 0x23,
};
enum fsm_var { FSM_HOT = 0, FSM_FORMAT = 1, FSM_DURABLE = 2, FSM_LEADER = 3 };
enum journal_row { J_ENTRY = 0, J_COMPLETION = 1, J_NOTIFICATION = 2, J_EVENT = 3 };
enum expiry_kind { EXPIRY_JOURNAL = 1, EXPIRY_INVOCATION = 2 };
enum notification_kind { NOTIFICATION_COMPLETION = 0, NOTIFICATION_SIGNAL = 1, NOTIFICATION_NAME = 2 };
enum notification_variant { /* of its result */
                            VARIANT_UNKNOWN = 0,
                            VARIANT_VOID,
                            VARIANT_VALUE,
                            VARIANT_FAILURE,
                            VARIANT_INVOCATION_ID,
                            VARIANT_STATE_KEYS,
};
enum inv_status { /* INV_FREE has no row */
                  INV_FREE = 0,
                  INV_SCHEDULED = 1,
                  INV_INBOXED = 2,
                  INV_INVOKED = 3,
                  INV_SUSPENDED = 4,
                  INV_PAUSED = 5,
                  INV_COMPLETED = 6,
};
enum { TABLE_VERSION = 1 };

/* ---- rows ---- */

struct fsm_hot {
    uint64_t applied_lsn, self_epoch, self_seq;
    uint64_t inbox_seq;                /* next to give */
    uint64_t outbox_head, outbox_tail; /* first row, next seq; equal: empty. Sequence numbers begin at 1 */
    uint64_t outbox_local;             /* rows for targets of the own partition */
};
struct fsm_format {
    uint32_t format_version;
    uint64_t features;
    struct slice min_version;
};
struct fsm_durable {
    uint64_t lsn, time_ms;
};
struct fsm_leader {
    uint64_t epoch, first_key, last_key;
    struct slice node;
};

enum inv_sink_type { SINK_INGRESS = 1, SINK_PARTITION = 2 };
struct inv_sink { /* who waits for the result */
    enum inv_sink_type type;
    uint8_t request_id[16];      /* SINK_INGRESS */
    struct invocation_id caller; /* SINK_PARTITION */
    uint32_t completion_id;
};

struct inv_header {
    enum inv_status status;
    uint8_t target_type;          /* enum target_type */
    uint8_t protocol;             /* 0: no deployment pinned yet */
    bool has_random_seed, traced; /* traced: the body has a trace context */
    uint32_t journal_length, command_count, event_count;
    uint32_t output_index; /* entry index of the last Output command; 0: none */
    uint64_t created_ms, modified_ms, inboxed_ms, scheduled_ms, running_ms, completed_ms; /* 0: never */
    uint64_t execution_time_ms;                                                           /* 0: at once */
    uint64_t completion_retention_ms, journal_retention_ms;
    uint64_t inbox_seq;   /* INV_INBOXED */
    uint64_t random_seed; /* only when has_random_seed; else derived from the id */
    uint64_t start_lsn;   /* of the record that made it invoked last: what a run of it is known by; 0: never */
    struct slice deployment;
    struct slice future; /* INV_SUSPENDED: encoded cmd_future, what it waits for */
    const struct inv_sink *sinks;
    uint32_t n_sinks;
};

struct journal_entry {
    uint32_t index;
    bool is_command; /* else notification */
    uint16_t type;   /* message type code of the service protocol */
    uint64_t appended_ms;
    struct slice side;    /* encoded cmd_call of calls, attach, get-output; empty for others */
    struct slice payload; /* the protobuf message */
};

struct journal_event {
    uint64_t lsn;
    uint32_t after; /* entry index that was the last one at that time */
    uint64_t appended_ms;
    struct slice event; /* encoded cmd_event */
};

struct object_key { /* who owns state, lock, inbox, promises */
    uint64_t partition_key;
    struct slice scope, service, key;
};
struct object_key object_key_of(const struct cmd_target *target, const struct invocation_id *id);

/* ---- keys (public for tests and for scans of SQL) ---- */

struct table_key {
    size_t len;
    uint8_t b[480];
};
static inline struct slice table_key_slice(const struct table_key *k) {
    return slice_of(k->b, k->len);
}
void key_fsm(struct table_key *k, enum fsm_var var);
void key_dedup(struct table_key *k, uint8_t kind, struct slice producer);
void key_outbox(struct table_key *k, uint64_t seq);
void key_timer(struct table_key *k, const struct sm_timer *t);
void key_expiry(struct table_key *k, uint64_t time_ms, enum expiry_kind kind, const struct invocation_id *id);
void key_of_id(struct table_key *k, enum table_code table, const struct invocation_id *id); /* 03, 10, 11, 13 */
void key_journal(struct table_key *k, const struct invocation_id *id,
                 enum journal_row row); /* prefix: all rows of a kind */
void key_journal_entry(struct table_key *k, const struct invocation_id *id, uint32_t index);
void key_journal_completion(struct table_key *k, const struct invocation_id *id, uint32_t completion_id);
void key_journal_notification(struct table_key *k, const struct invocation_id *id, enum notification_kind kind,
                              uint32_t number, struct slice name);
void key_journal_event(struct table_key *k, const struct invocation_id *id, uint64_t lsn, uint16_t n);
/* 20..23; @last (state key, promise name) is left out when its data is NULL: a prefix. */
void key_object(struct table_key *k, enum table_code table, const struct object_key *o, struct slice last);
void key_inbox(struct table_key *k, const struct object_key *o, uint64_t seq);
/* key_after() - the first key behind all that begin with @prefix; false: there is none. */
bool key_after(struct table_key *ret, struct slice prefix);

/* ---- readers ---- */

/* RS_ENOENT when the row does not exist. @a gets what has to be built (sinks, nested messages). */
int tables_fsm(struct sm_reader *r, struct fsm_hot *ret, struct err *err) RS_WARN_UNUSED;
int tables_format(struct sm_reader *r, struct fsm_format *ret, struct err *err) RS_WARN_UNUSED;
int tables_durable(struct sm_reader *r, struct fsm_durable *ret, struct err *err) RS_WARN_UNUSED;
int tables_leader(struct sm_reader *r, struct fsm_leader *ret, struct err *err) RS_WARN_UNUSED;
int tables_status(struct sm_reader *r, const struct invocation_id *id, struct arena *a, struct inv_header *ret,
                  struct err *err) RS_WARN_UNUSED;
int tables_body(struct sm_reader *r, const struct invocation_id *id, struct arena *a, struct cmd_invocation_body *ret,
                struct err *err) RS_WARN_UNUSED;
int tables_result(struct sm_reader *r, const struct invocation_id *id, struct arena *a, struct cmd_result *ret,
                  struct err *err) RS_WARN_UNUSED;
int tables_journal_entry(struct sm_reader *r, const struct invocation_id *id, uint32_t index, struct journal_entry *ret,
                         struct err *err) RS_WARN_UNUSED;
int tables_state_get(struct sm_reader *r, const struct object_key *o, struct slice state_key, struct slice *ret,
                     struct err *err) RS_WARN_UNUSED;
int tables_lock(struct sm_reader *r, const struct object_key *o, struct invocation_id *ret_holder,
                uint32_t *ret_waiting, struct err *err) RS_WARN_UNUSED;

/* What get-output answers without waiting. *ret is valid for INV_COMPLETED. Return: 0 and the status, or RS_ENOENT. */
int tables_output(struct sm_reader *r, const struct invocation_id *id, struct arena *a, enum inv_status *ret_status,
                  struct cmd_result *ret, uint64_t *ret_expiry_ms, struct err *err) RS_WARN_UNUSED;

typedef int (*table_entry_fn)(void *arg, const struct journal_entry *e);
typedef int (*table_event_fn)(void *arg, const struct journal_event *e);
typedef int (*table_state_fn)(void *arg, struct slice state_key, struct slice value);
typedef int (*table_timer_fn)(void *arg, const struct sm_timer *t);
typedef int (*table_outbox_fn)(void *arg, uint64_t seq, uint64_t partition_key, uint16_t kind, struct slice command);
typedef int (*table_id_fn)(void *arg, const struct invocation_id *id);
typedef int (*table_expiry_fn)(void *arg, uint64_t time_ms, enum expiry_kind kind, const struct invocation_id *id);

/* Entries from, from + 1 ... in journal order. */
int tables_journal(struct sm_reader *r, const struct invocation_id *id, uint32_t from, table_entry_fn each, void *arg,
                   struct err *err) RS_WARN_UNUSED;
int tables_events(struct sm_reader *r, const struct invocation_id *id, table_event_fn each, void *arg,
                  struct err *err) RS_WARN_UNUSED;
/* All state of one object or workflow key. Order: of the encoded keys (shorter ones first), not of the strings. */
int tables_state(struct sm_reader *r, const struct object_key *o, table_state_fn each, void *arg,
                 struct err *err) RS_WARN_UNUSED;
/* Timers in firing order, behind @after (NULL: from the beginning). */
int tables_timers(struct sm_reader *r, const struct sm_timer *after, table_timer_fn each, void *arg,
                  struct err *err) RS_WARN_UNUSED;
/* Outbox rows with seq >= @from. @command is the payload of a record of @kind for the partition that has
 * @partition_key. */
int tables_outbox(struct sm_reader *r, uint64_t from, table_outbox_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
int tables_outbox_get(struct sm_reader *r, uint64_t seq, uint64_t *ret_partition_key, uint16_t *ret_kind,
                      struct slice *ret_command, struct err *err) RS_WARN_UNUSED;
/* All invocations with status Invoked: what a new leader starts. */
int tables_invoked(struct sm_reader *r, table_id_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
/* Completed invocations whose time is <= @until_ms, oldest first: what the cleaner proposes to purge. */
int tables_expired(struct sm_reader *r, uint64_t until_ms, table_expiry_fn each, void *arg,
                   struct err *err) RS_WARN_UNUSED;

/* tables_checksum() - a hash over all rows in key order: equal for replicas with equal applied LSN. */
int tables_checksum(struct sm_reader *r, uint64_t *ret, struct err *err) RS_WARN_UNUSED;

/* ---- whole-table scans for SQL ---- */

typedef int (*table_status_fn)(void *arg, const struct invocation_id *id, const struct inv_header *h);
typedef int (*table_state_row_fn)(void *arg, const struct object_key *o, struct slice state_key, struct slice value);
typedef int (*table_lock_fn)(void *arg, const struct object_key *o, const struct invocation_id *holder);
/* @id NULL: a state patch */
typedef int (*table_inbox_fn)(void *arg, const struct object_key *o, uint64_t seq, const struct invocation_id *id);
/* @result NULL: not completed */
typedef int (*table_promise_fn)(void *arg, const struct object_key *o, struct slice name,
                                const struct cmd_result *result);

int tables_all_status(struct sm_reader *r, table_status_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
int tables_all_state(struct sm_reader *r, table_state_row_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
int tables_all_locks(struct sm_reader *r, table_lock_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
int tables_all_inbox(struct sm_reader *r, table_inbox_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
int tables_all_promises(struct sm_reader *r, table_promise_fn each, void *arg, struct err *err) RS_WARN_UNUSED;

/* ---- codecs (state machine and tests) ---- */

void inv_header_encode(const struct inv_header *h, struct arena *a, struct slice *ret);
int inv_header_decode(struct slice value, struct arena *a, struct inv_header *ret, struct err *err) RS_WARN_UNUSED;
int journal_entry_decode(struct slice key, struct slice value, struct journal_entry *ret,
                         struct err *err) RS_WARN_UNUSED;
int fsm_hot_decode(struct slice value, struct fsm_hot *ret, struct err *err) RS_WARN_UNUSED;
/* object_row_decode() - a scanned row of tables 20 to 23: whose it is, what follows the strings in the key
 * (@ret_suffix) and in the value (@ret_rest); @ret_last (state key, promise name) only when @has_last. @what is for the
 * message. */
int object_row_decode(struct slice key, struct slice value, const char *what, bool has_last, struct object_key *ret,
                      struct slice *ret_last, struct slice *ret_suffix, struct slice *ret_rest,
                      struct err *err) RS_WARN_UNUSED;
