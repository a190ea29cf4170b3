/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/invoker_internal.h : the structs shared by invoker.c (who runs, retries), start.c (how an attempt begins),
 * attempt.c (its stream, its end), send.c (what goes to the SDK) and messages.c (what the SDK says). */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem_pool.h"
#include "http/client.h"
#include "invoker/invoker.h"
#include "loop/loop.h"
#include "meta/schema.h"
#include "proto/command.h"
#include "proto/service.h"
#include "proto/trace_context.h"

enum invocation_state {
    INVOCATION_QUEUED,  /* waits for one of the invoker's slots */
    INVOCATION_READING, /* its rows are cold, or its state waits for memory */
    INVOCATION_RUNNING, /* has an attempt */
    INVOCATION_STORING, /* the attempt failed; what it produced is not applied yet */
    INVOCATION_BACKOFF, /* waits for its retry timer */
};

/* Ids are random or hashes already: any eight bytes of the uuid do. */
static inline uint64_t invocation_id_hash(const struct invocation_id *id) {
    return get_u64le(id->raw + 16);
}

struct invoker {
    struct invoker_params params;
    struct loop *loop;
    struct http_client *client;
    struct schema *schema;
    struct map invocations;
    struct list queue;                                   /* QUEUED */
    struct list detached;                                /* attempts whose invocation is done, stream still open */
    unsigned running;                                    /* slots taken */
    struct arena arena;                                  /* of the message being handled */
    struct cmd_effect effects[LIMIT_EFFECTS_PER_RECORD]; /* collected from one read of one stream */
    size_t n_effects;
    struct loop_hook start_hook;
    /* Memory: every slot has 2 * share for what its stream holds in both directions, all else comes from the pool. */
    size_t share;
    unsigned slots;
    struct mem_pool pool;
    struct list held; /* attempts whose owner takes no effects now */
    struct loop_hook pool_hook;
    uint64_t say_again_ns; /* that attempts wait for memory */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct invocation {
    struct map_node node;
    struct list link; /* queue */
    struct invoker *inv;
    struct invoker_owner *owner;
    struct invocation_id id;
    enum invocation_state state;
    uint64_t start_lsn;      /* of the head that was read last */
    struct attempt *attempt; /* RUNNING; READING: without a stream */
    /* retries: in memory only, forgotten at suspension and leader change */
    struct retry_policy retry;
    uint32_t attempts;            /* failed ones under this policy */
    uint32_t retries_since_entry; /* failed attempts since the SDK produced a command */
    uint64_t delay_ms;            /* the policy's last delay */
    uint64_t next_delay_ms;       /* for STORING: when to try again */
    uint64_t next_retry_ns;
    struct timer timer;
    /* what the owner has not confirmed yet */
    uint32_t commands_sent, commands_acked; /* command index after the last one */
    uint32_t runs_pending;
    bool slot;
    /* the last failure, for people */
    struct buf failure_text, failure_stack, failure_command;
    struct cmd_event failure;
    bool has_failure;
    uint64_t last_start_ms;
    char deployment[40];
};

struct trace_attempt;
struct attempt {
    struct list link;      /* detached; held */
    struct invocation *in; /* NULL once detached */
    struct invoker *inv;
    struct http_stream *stream;
    struct sp_decoder decoder;
    struct timer inactivity, abort;
    uint64_t inactivity_ns, abort_ns;
    char deployment[40];
    struct buf names; /* of the target: service, handler, key one after the other */
    size_t service_len, handler_len;
    int target_type;
    uint32_t protocol;
    bool pinned;         /* nothing to pin any more */
    bool bidi;           /* notifications go onto the stream */
    bool head_ok;        /* 200 and the right content type came */
    bool request_ended;  /* nothing is added any more; the stream ends when all below upto is sent */
    bool response_ended; /* while something was held */
    bool terminal;       /* End, Suspension or Error came */
    bool reading_cold;   /* rows of the journal are being fetched: attempt_rows_came() follows */
    size_t unconsumed;
    struct buf held; /* came and could not be looked at: at most a window */
    /* journal entries: up to replay all are sent, behind it notifications; sent: those below are */
    uint32_t replay, sent, upto;
    /* memory from the pool; claim.held is the sum */
    struct mem_claim claim;
    struct mem_wait in_wait, out_wait;
    size_t frame_held;          /* for the message that is being put together */
    size_t state_held;          /* for the state that is being read */
    size_t out_held, out_spare; /* queued in the stream; granted for an entry that is not read yet */
    size_t out_need;            /* of the next entry, once that was read and found no memory */
    char broken[240];           /* the journal cannot be read: on_abort() fails the attempt */
    bool ack_wanted;
    uint32_t ack_upto;           /* with it: the last command that wants one */
    uint32_t next_command;       /* index of the next command of the SDK */
    struct trace_attempt *trace; /* NULL: not traced */
};

/* Of the target. */
static inline struct slice attempt_service(const struct attempt *a) {
    return slice_of(a->names.data, a->service_len);
}
static inline struct slice attempt_handler(const struct attempt *a) {
    return slice_of(a->names.data + a->service_len, a->handler_len);
}
static inline struct slice attempt_key(const struct attempt *a) {
    return slice_from(buf_slice(&a->names), a->service_len + a->handler_len);
}

/* Why an attempt failed. */
struct attempt_failure {
    uint32_t code;        /* 500 unless the SDK said otherwise */
    const char *doc_code; /* "RT0010" */
    struct slice message, stack;
    bool has_command;
    uint32_t command_index, command_type;
    struct slice command_name;
    bool has_delay; /* given by the SDK or Retry-After: this attempt only */
    uint64_t delay_ms;
    int behavior;     /* 0 retry, 1 pause, 2 fail */
    bool not_the_sdk; /* does not count for retry_count_since_last_stored_entry */
};

/* start.c */
/* attempt_start() - 0, or RS_EAGAIN (it is called again: after invoker_read_again(), or when there is memory for the
 * state), RS_ENOENT (not invoked any more); other failures go through invocation_attempt_failed(). */
int attempt_start(struct invocation *in);
/* attempt.c */
extern const struct http_stream_events attempt_stream_events;
struct attempt *attempt_new(struct invocation *in); /* without a stream */
void attempt_free(struct attempt *a);               /* resets the stream */
void attempt_keep_alive(struct attempt *a);
/* attempt_take_or_wait() - mem_take_or_wait(), and the log says that there is somebody who waits. @w: one of its own.
 */
bool attempt_take_or_wait(struct attempt *a, struct mem_wait *w, size_t n);
void attempt_resume(struct attempt *a); /* there is memory, or the owner takes effects again; may free @a */
/* send.c */
void attempt_send_journal(struct attempt *a); /* what is not sent yet, as far as it goes */
void attempt_rows_came(struct attempt *a);
void attempt_writable(struct attempt *a);
void attempt_out_granted(struct attempt *a, size_t n);
void attempt_notify(struct attempt *a, uint32_t index, uint16_t type, struct slice payload);
void attempt_ack(struct attempt *a, uint32_t command_index);
void attempt_end_request(struct attempt *a);
/* attempt_trace.c */
void attempt_trace_begin(struct attempt *a, struct slice context);
/* attempt_trace_headers() - at most two, for the deployment; @parent backs one of them. */
size_t attempt_trace_headers(const struct attempt *a, char parent[TRACE_PARENT_CHARS + 1], struct http_header *h);
/* attempt_trace_end() - once per attempt, later ones do nothing. @f NULL: it ended or suspended as it should. */
void attempt_trace_end(struct attempt *a, const struct invocation *in, const struct attempt_failure *f);
/* messages.c */
/* attempt_message() - one frame of the SDK. Returns 0, or fills @f and returns negative: the attempt failed. */
int attempt_message(struct attempt *a, uint16_t type, uint16_t flags, struct slice payload, struct attempt_failure *f);
void attempt_flush(struct attempt *a); /* hand the collected effects to the owner */
/* invoker.c */
void invocation_start(struct invocation *in); /* READING, or when it is its turn */
void invocation_attempt_failed(struct invocation *in, const struct attempt_failure *f);
void invocation_finished(struct invocation *in); /* terminal effect sent: forget it, its attempt lingers */
