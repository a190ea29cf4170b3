/* SPDX-License-Identifier: Apache-2.0 */
/* worker/worker.h : the partitions of this node, and the calls that ingress and admin make to their leaders
 * (execution.md §20).
 *
 * A call is made once and answered once, on the caller's loop, in a later turn. The caller owns struct worker_call and
 * keeps it until done() or worker_call_drop(). Calls wait while there is no leader; nothing is answered falsely. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "proto/command.gen.h"
#include "proto/ids.h"

struct loop;
struct schema;
struct worker;

enum worker_reply_code {
    WORKER_OK = 0,    /* done, accepted, or here is the result */
    WORKER_NOT_FOUND, /* no such invocation */
    WORKER_NOT_READY, /* get-output: still running */
    WORKER_APPENDED,  /* cancel: the signal was written */
    WORKER_ALREADY_COMPLETED,
    WORKER_NOT_COMPLETED, /* purge of one that runs */
    WORKER_ALREADY_PAUSED,
    WORKER_NOT_RUNNING,
    WORKER_NOT_STARTED,
    WORKER_STILL_RUNNING, /* restart-as-new */
    WORKER_UNSUPPORTED,
    WORKER_MISSING_INPUT,
    WORKER_INDEX_OUT_OF_RANGE,
    WORKER_PREFIX_INCOMPLETE,
    WORKER_CANNOT_CHANGE_DEPLOYMENT,
    WORKER_DEPLOYMENT_NOT_FOUND,
    WORKER_INCOMPATIBLE_DEPLOYMENT,
    WORKER_LOST_LEADERSHIP, /* may or may not have happened */
    WORKER_SHUTDOWN,        /* this node is stopping; nothing happened */
    WORKER_FAILED,          /* the partition cannot serve (its error is in message) */
};

struct worker_reply { /* views valid for the call of done() */
    enum worker_reply_code code;
    struct invocation_id id;         /* the invocation, for invoke and attach; the new one for restart */
    const struct cmd_result *result; /* output: value or failure */
    uint64_t expiry_ms;              /* 0: live answer; else when the stored completion goes away (unix ms) */
    bool is_new;                     /* submit: false when it existed before */
    uint64_t execution_time_ms;      /* submit: 0 when not delayed */
    const char *message;             /* WORKER_FAILED */
};

enum worker_op {
    WORKER_OP_INVOKE, /* wait for the output */
    WORKER_OP_SUBMIT, /* wait until accepted */
    WORKER_OP_ATTACH, /* wait for the output of an existing one */
    WORKER_OP_OUTPUT, /* look, do not wait */
    WORKER_OP_SIGNAL, /* append, reply on commit */
    WORKER_OP_TERMINATE,
    WORKER_OP_PURGE,
    WORKER_OP_PURGE_JOURNAL,
    WORKER_OP_PAUSE,
    WORKER_OP_RESUME,
    WORKER_OP_RESTART,
    WORKER_OP_PATCH_STATE,
};

struct worker_call {
    struct map_node node; /* the worker's: by request id */
    struct list link;     /* the worker's: waiting for a leader */
    enum worker_op op;
    uint8_t request_id[16];
    uint64_t partition_key;
    struct buf command; /* the encoded command, made by worker_call_start() */
    uint16_t kind;
    void (*done)(struct worker_call *c, const struct worker_reply *r);
    void *partition; /* the worker's */
};

/* worker_call_invoke() etc. fill in request id and sinks of the command, encode it and send it off. The command's
 * slices are borrowed for the call. @c->done must be set. */
void worker_call_invoke(struct worker *w, struct worker_call *c, struct cmd_invoke *cmd, bool wait_output);
void worker_call_attach(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool wait_output);
void worker_call_signal(struct worker *w, struct worker_call *c, const struct cmd_signal *cmd);
void worker_call_terminate(struct worker *w, struct worker_call *c, const struct invocation_id *id, int flavor);
void worker_call_purge(struct worker *w, struct worker_call *c, const struct invocation_id *id, bool journal_only);
void worker_call_pause(struct worker *w, struct worker_call *c, const struct invocation_id *id);
/* @deployment: "" or "keep", "latest", or an id. */
void worker_call_resume(struct worker *w, struct worker_call *c, const struct invocation_id *id,
                        struct slice deployment);
void worker_call_restart(struct worker *w, struct worker_call *c, const struct invocation_id *id, uint32_t from,
                         struct slice deployment);
void worker_call_patch_state(struct worker *w, struct worker_call *c, const struct cmd_patch_state *cmd);
/* worker_call_drop() - the caller is no longer interested; done() is not called any more. What was proposed still
 * happens. */
void worker_call_drop(struct worker *w, struct worker_call *c);

/* worker_writable() - false: ingress should stop reading requests until the proposal queues have room. */
bool worker_writable(const struct worker *w);
