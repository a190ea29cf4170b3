/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/invoker.h : runs attempts of invocations against deployments over the service protocol (execution.md §21).
 *
 * One invoker per loop, shared by the partitions that loop leads. It keeps, per invocation, at most one attempt and the
 * retry state; nothing here is durable. What an attempt produces goes to the owner (a partition leader) as lists of
 * effects, in order; what the owner applied comes back as acks and notifications.
 *
 * Everything belongs to the invoker's loop. Callbacks of struct invoker_owner are made from later turns than the call
 * that caused them, except those that read.
 *
 * Memory: one budget for what attempts keep, base/mem_pool.h. A running attempt has a fixed part of it, which bounds
 * its stream's window and output; for larger messages, state and journals it takes more, or waits in line for it. The
 * journal is read as the SDK takes it. An invocation that needs more at a time than one may have is paused (RT0001). */
#pragma once
#include "base/err.h"
#include "http/headers.h"
#include "proto/command.gen.h"
#include "proto/ids.h"

struct loop;
struct request_identity;
struct schema;
struct tracer;
struct invoker;
struct invocation; /* one invocation that this invoker knows; private */

/* What an attempt is started from: one point in time of the owner's tables. */
struct invoker_journal_head {
    const struct cmd_target *target;
    struct slice deployment; /* pinned; data NULL: not pinned yet */
    uint32_t protocol;       /* with it */
    uint32_t entries;        /* journal length */
    uint32_t commands;       /* of these, commands */
    uint64_t modified_ms;    /* last change of the journal, unix ms */
    uint64_t random_seed;
    struct slice idempotency_key; /* as the caller gave it; data NULL: none */
    uint64_t start_lsn;           /* what this run is known by: goes with its effects */
    struct slice trace;           /* proto/trace_context.h; len 0: not traced */
};

struct invoker_read_events {
    /* Once, first. Return non-zero to stop reading (that value is returned by read()). */
    int (*head)(void *arg, const struct invoker_journal_head *head, bool *ret_want_state);
    /* State entries, when asked for. Non-zero stops the state, not the reading. */
    int (*state)(void *arg, struct slice key, struct slice value);
};
/* A journal entry; @type is the message type code, @payload the protobuf message. Non-zero stops the reading. */
typedef int (*invoker_entry_fn)(void *arg, uint32_t index, uint16_t type, struct slice payload);

/* The leader an invocation belongs to. Implemented by worker/. */
struct invoker_owner {
    /* Read status and state at once. 0; RS_ENOENT: no longer invoked (forget it); RS_EAGAIN: rows are cold:
     * the owner fetches them and calls invoker_read_again(). */
    int (*read)(struct invoker_owner *o, const struct invocation_id *id, const struct invoker_read_events *ev,
                void *arg, struct err *err);
    /* Journal entries @from .. @until - 1 in order; there are that many, and they do not change. 0, what @entry
     * returned, or as read(). */
    int (*entries)(struct invoker_owner *o, const struct invocation_id *id, uint32_t from, uint32_t until,
                   invoker_entry_fn entry, void *arg, struct err *err);
    /* Effects of an attempt, in order, at most LIMIT_EFFECTS_PER_RECORD; a terminal one is last. Views are valid for
     * the call: the owner encodes them at once. @start_lsn: from the head that was read; the state machine drops what
     * comes from a run that was aborted and started over meanwhile. */
    void (*effects)(struct invoker_owner *o, const struct invocation_id *id, uint64_t start_lsn,
                    const struct cmd_effect *effects, size_t n);
    /* May more effects be sent? When false the invoker stops reading the stream until invoker_owner_writable(). All
     * owners of an invoker answer the same: they share a budget. */
    bool (*writable)(struct invoker_owner *o);
};

struct invoker_params {
    struct loop *loop;
    struct http_transport http, https; /* how deployments are dialled; ops NULL: scheme not available */
    const struct http_header *headers; /* of every request, at most LIMIT_REQUEST_HEADERS; borrowed until closed */
    size_t n_headers;
    unsigned concurrency; /* attempts at once, if a quarter of memory_bytes allows as many; others queue */
    size_t message_limit_bytes, eager_state_limit_bytes;
    size_t message_warning_bytes; /* a larger one is logged; 0: none is */
    /* Connections to deployments, as in struct http_client_params; 0: its defaults. */
    unsigned streams_per_connection;
    uint64_t idle_timeout_ns, ping_interval_ns, ping_timeout_ns;
    size_t memory_bytes;            /* of all attempts */
    size_t invocation_memory_bytes; /* at most half of it; of one attempt, beyond initial_bytes */
    size_t initial_bytes;           /* at most a quarter; of every running attempt */
    bool protocol_v7;
    bool scopes; /* calls may be in a scope */
    uint64_t connect_timeout_ns;
    const struct request_identity *identity; /* signs requests; borrowed until closed; NULL: they are not signed */
    struct tracer *tracer;                   /* is told of attempts; borrowed until closed; NULL: tracing is off */
};

struct invoker *invoker_new(const struct invoker_params *p);
/* invoker_close() - resets all attempts; @done in a later turn. */
void invoker_close(struct invoker *inv, void (*done)(void *arg), void *arg);
/* The schema attempts use from now on; takes a reference. */
void invoker_set_schema(struct invoker *inv, struct schema *s);

/* invoker_invoke() - start (or, after a suspension, start again) an invocation.
 * @start_lsn: of this run; 0: not known, it comes from a scan. A known invocation is left alone, unless what runs is an
 * older run of it: then that is cut off, its effects count no more. */
void invoker_invoke(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint64_t start_lsn);
/* invoker_abort() - cut the attempt, forget the invocation. Unknown ids: nothing. */
void invoker_abort(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id);
void invoker_abort_all(struct invoker *inv, struct invoker_owner *o); /* lost leadership */
/* invoker_notify() - a notification was appended to the journal at @index while the invocation is invoked. */
void invoker_notify(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint32_t index,
                    uint16_t type, struct slice payload);
/* invoker_ack() - the command with this command index is stored. */
void invoker_ack(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint32_t command_index);
/* invoker_retry_now() - an attempt that waits for its retry starts at once. */
void invoker_retry_now(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id);
void invoker_read_again(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id);
void invoker_owner_writable(struct invoker *inv);

/* What the status of an invocation looks like from here (query tables, tests). */
struct invoker_status {
    bool known, running, backing_off;
    uint32_t attempts; /* the number of the running or next one */
    uint32_t started;  /* attempts begun under the present retry policy */
    uint64_t next_retry_wall_ms, last_start_wall_ms;
    const char *deployment;               /* of the running or last attempt; NULL */
    const struct cmd_event *last_failure; /* NULL: none; valid until the next turn */
};
void invoker_status(const struct invoker *inv, const struct invocation_id *id, struct invoker_status *ret);
/* invoker_each() - the same for all that it knows, in no particular order. */
typedef void (*invoker_each_fn)(void *arg, const struct invocation_id *id, const struct invoker_status *s);
void invoker_each(const struct invoker *inv, invoker_each_fn each, void *arg);
