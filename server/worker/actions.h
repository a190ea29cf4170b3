/* SPDX-License-Identifier: Apache-2.0 */
/* worker/actions.h : what the leader has to do because a record was applied. Followers drop them; they are never
 * stored, a new leader derives them again from the tables (execution.md §4.4).
 *
 * sm_apply() appends to the list; what it appended for a record that did not apply as a whole is taken back. The caller
 * runs the list in order once the writes of all records of the turn are in the overlay, then clears it. Slices of an
 * action point into the list's arena or into the bytes of the applied record: keep the records of the turn until their
 * actions have run. On SM_ACTION_LEADER_ANNOUNCED all actions before it in the list must be dropped (§4.3). */
#pragma once
#include "base/arena.h"
#include "base/slice.h"
#include "proto/command.gen.h"
#include "proto/ids.h"

enum sm_action_type {
    SM_ACTION_INVOKE = 1,           /* start an attempt: .id, .target */
    SM_ACTION_ABORT,                /* kill the attempt, forget its retry state: .id */
    SM_ACTION_RETRY_NOW,            /* a manual resume of a running invocation: end the back-off: .id */
    SM_ACTION_ACK_COMMAND,          /* .id, .ack: a command of the SDK is in the journal */
    SM_ACTION_FORWARD_NOTIFICATION, /* .id, .forward: a notification is in the journal of a running invocation */
    SM_ACTION_NEW_OUTBOX,           /* .seq: a row for the shuffle */
    SM_ACTION_OUTBOX_TRUNCATED,     /* .seq: rows up to and including this one are gone */
    SM_ACTION_REGISTER_TIMER,       /* .timer */
    SM_ACTION_DELETE_TIMER,         /* .timer: fired and applied, or cancelled */
    SM_ACTION_INGRESS_RESPONSE,     /* .request_id, .id, .response */
    SM_ACTION_INGRESS_SUBMITTED,    /* .request_id, .id, .submitted */
    SM_ACTION_ADMIN_RESPONSE,       /* .request_id, .id, .admin */
    SM_ACTION_LEADER_ANNOUNCED,     /* .leader */
    SM_ACTION_DURABILITY,           /* .durability: the log may be trimmed up to lsn, after the configured delay */
    SM_ACTION_VERSION_BARRIER,      /* applied; .barrier: the feature bits of the partition from here on */
    SM_ACTION_CHECKSUM,             /* .lsn: hash the table as of this LSN (everything up to it is applied) */
    SM_ACTION_TRACE_START,          /* .id, .trace: an invocation that is traced was accepted */
    SM_ACTION_TRACE_END,            /* .id, .trace: it is completed */
};

/* Operations of the admin API, and what became of them. */
enum sm_admin_op {
    SM_OP_KILL = 1,
    SM_OP_CANCEL,
    SM_OP_PURGE_INVOCATION,
    SM_OP_PURGE_JOURNAL,
    SM_OP_PAUSE,
    SM_OP_RESUME,
    SM_OP_RESTART,
};
enum sm_outcome {
    SM_OK = 1,                     /* kill, purge, resume, restart (new_id): done */
    SM_APPENDED,                   /* cancel: the signal is in the journal (202) */
    SM_DONE,                       /* cancel: it had not started and is gone (200) */
    SM_ACCEPTED,                   /* pause (202) */
    SM_ALREADY_PAUSED,             /* pause (200) */
    SM_NOT_FOUND,                  /* 404 */
    SM_ALREADY_COMPLETED,          /* kill, cancel (409) */
    SM_NOT_COMPLETED,              /* purge (409) */
    SM_NOT_RUNNING,                /* pause: scheduled, inboxed or completed (409) */
    SM_NOT_STARTED,                /* resume, restart: scheduled or inboxed */
    SM_COMPLETED,                  /* resume */
    SM_STILL_RUNNING,              /* restart: not completed yet */
    SM_DEPLOYMENT_NOT_FOUND,       /* resume, restart */
    SM_INCOMPATIBLE_DEPLOYMENT,    /* resume, restart */
    SM_CANNOT_CHANGE_DEPLOYMENT,   /* resume: nothing pinned yet, or running */
    SM_MISSING_INPUT,              /* restart: the journal is gone */
    SM_UNSUPPORTED,                /* restart: a workflow, or a prefix with a protocol before 6 */
    SM_JOURNAL_INDEX_OUT_OF_RANGE, /* restart */
    SM_JOURNAL_COPY_RANGE_INVALID, /* restart: a completion of the prefix is missing */
};

struct sm_timer {
    uint64_t time_ms;
    uint32_t kind; /* enum timer_kind */
    struct invocation_id id;
    uint32_t completion_id; /* TIMER_SLEEP only, else 0 */
};

struct sm_action {
    enum sm_action_type type;
    struct invocation_id id;
    uint8_t request_id[16];
    union {
        struct {
            uint32_t command_index;
            uint32_t entry_index;
        } ack;
        struct {
            uint32_t entry_index;
            uint32_t type;        /* message type code of the service protocol */
            struct slice payload; /* the protobuf message */
            bool run_completion;  /* of a ProposeRunCompletion of the running attempt (V7: acknowledge instead) */
        } forward;
        uint64_t seq;
        uint64_t lsn; /* INVOKE: the start_lsn of this run; CHECKSUM */
        struct sm_timer timer;
        struct {
            struct cmd_result result; /* a value, a failure (404 not found, 409, 470 not ready ...), or void */
            uint64_t expiry_ms;       /* of an answer from a completed row; 0: unknown */
        } response;
        struct {
            uint64_t execution_time_ms; /* 0: at once */
            bool is_new;
        } submitted;
        struct {
            enum sm_admin_op op;
            enum sm_outcome outcome;
            struct invocation_id new_id; /* restart with SM_OK */
        } admin;
        struct {
            uint64_t epoch;
            struct slice node;
        } leader;
        struct {
            uint64_t lsn, time_ms;
        } durability;
        struct {
            uint64_t features;
        } barrier;
        struct {
            struct slice context; /* proto/trace_context.h */
            struct slice service, key, handler;
            uint64_t created_ms;
            uint32_t code; /* END: of the failure it ended with; 0: a success */
        } trace;
    };
};

struct sm_actions { /* zeroed: empty */
    struct sm_action *items;
    size_t n, cap;
    struct arena arena;
};

void sm_actions_clear(struct sm_actions *a); /* keeps the memory */
void sm_actions_done(struct sm_actions *a);
const char *sm_action_name(enum sm_action_type type);
const char *sm_outcome_name(enum sm_outcome outcome);
