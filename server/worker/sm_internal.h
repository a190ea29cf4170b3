/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_internal.h : what the parts of the state machine share: one `struct apply` per record.
 *
 * Rows are read through @through, which sees what the record wrote so far; status rows are the exception: an invocation
 * is loaded once per record (inv_get), changed in memory, and its row is written when the record is done (inv_flush).
 * Everything returns 0 or a negative code that discards the record. Commands about things that do not exist return 0.
 * Iteration is only over ordered things, so that replicas agree. */
#pragma once
#include "base/limits.h"
#include "base/logging.h"
#include "proto/record.h"
#include "proto/service.gen.h"
#include "proto/service.h"
#include "worker/staged.h"
#include "worker/tables_internal.h"

struct sm {
    struct sm_params p;
    struct fsm_hot fsm;
    struct fsm_durable durable;
    uint64_t features;
    bool has_format;      /* the row is in the table */
    struct arena scratch; /* of the record being applied */
};

struct inv { /* an invocation the record touches */
    struct inv *next, *chain;
    struct invocation_id id;
    struct inv_header h;    /* h.status INV_FREE: there is no row */
    enum inv_status stored; /* status in the table before the record */
    bool dirty;
    bool has_body;
    struct cmd_invocation_body body;
    struct object_key object;        /* valid with has_body */
    const struct cmd_future *future; /* decoded on demand, INV_SUSPENDED */
    bool future_changed;
    struct slice last_output; /* payload of the Output command this record appended; data NULL: none */
};

struct message { /* to an invocation of this partition, applied after the record itself */
    struct message *next;
    enum command_kind kind;
    union {
        const struct cmd_invoke *invoke;
        const struct cmd_response *response;
        const struct cmd_terminate *terminate;
        const struct cmd_attach *attach;
        const struct cmd_signal *signal;
    };
};

enum { INV_BUCKETS = 64 };

struct apply {
    struct sm *sm;
    lsn_t lsn;
    uint64_t now_ms;
    struct slice payload; /* of the record */
    struct arena *a;      /* scratch, lives until the record is merged */
    struct sm_writes *w;
    struct sm_actions *actions;
    struct err *err;
    struct staged_reader staged;
    struct sm_reader *through; /* &staged.reader */
    struct fsm_hot fsm;
    struct fsm_durable durable;
    uint64_t features;
    struct inv *invs, **invs_tail;
    struct inv *buckets[INV_BUCKETS];
    struct message *queue, **queue_tail;
    unsigned direct;   /* messages put into the queue so far */
    uint16_t n_events; /* of this record */
};

/* ENCODE(msg): a message behind @head bytes of room, in the arena. */
#define SM_ENCODE(a, name, m, head)                                                                                    \
    ({                                                                                                                 \
        size_t enc_head_ = (head), enc_cap_ = enc_head_ + name##_size(m);                                              \
        struct buf enc_ = {arena_alloc((a), enc_cap_ ? enc_cap_ : 1), enc_head_, enc_cap_};                            \
        name##_encode((m), &enc_);                                                                                     \
        buf_slice(&enc_);                                                                                              \
    })
/* SM_ROW(): the same, as a value: behind the version byte. */
#define SM_ROW(a, name, m)                                                                                             \
    ({                                                                                                                 \
        struct slice row_ = SM_ENCODE(a, name, m, 1);                                                                  \
        set_version(row_);                                                                                             \
        row_;                                                                                                          \
    })
static inline void set_version(struct slice s) {
    *(uint8_t *)(uintptr_t)s.data = TABLE_VERSION;
}

static inline bool in_flight(const struct inv *inv) { /* has a journal that can grow */
    return inv->h.status == INV_INVOKED || inv->h.status == INV_SUSPENDED || inv->h.status == INV_PAUSED;
}
static inline bool target_keyed(uint32_t target_type) {
    return target_type != TARGET_SERVICE;
}
static inline uint64_t add_ms(uint64_t a, uint64_t b) {
    return __builtin_add_overflow(a, b, &a) ? UINT64_MAX : a;
}
bool key_is_local(const struct apply *ap, uint64_t partition_key);
bool take_id(struct slice raw, struct invocation_id *ret); /* false: not an invocation id */

/* sm_invocation.c: status rows, transitions, waiting callers */
int inv_get(struct apply *ap, const struct invocation_id *id, struct inv **ret);
int inv_body(struct apply *ap, struct inv *inv); /* loads inv->body and inv->object */
void inv_set_body(struct inv *inv, const struct cmd_invocation_body *body);
void inv_touch(struct apply *ap, struct inv *inv); /* it changed now */
void inv_free(struct apply *ap, struct inv *inv);  /* deletes status, body and result row; not the journal */
void inv_flush(struct apply *ap);                  /* writes the rows of all changed invocations */
int inv_invoke(struct apply *ap, struct inv *inv); /* status Invoked and the action */
void inv_add_sink(struct apply *ap, struct inv *inv, const struct inv_sink *sink);
bool sink_of(const struct cmd_sink *sink, struct inv_sink *ret);
/* inv_answer() - the result for one waiting party. @not_ready: of a get-output that does not wait. */
int inv_answer(struct apply *ap, const struct invocation_id *id, const struct inv_sink *sink,
               const struct cmd_result *result, bool not_ready, uint64_t expiry_ms);
int inv_answer_all(struct apply *ap, struct inv *inv, const struct cmd_result *result);
struct cmd_result *failure_result(struct apply *ap, uint32_t code, const char *message);

/* actions, state_machine.c */
struct sm_action *act(struct apply *ap, enum sm_action_type type, const struct invocation_id *id); /* id NULL: none */
/* act_trace() - SM_ACTION_TRACE_*, of an invocation whose body is loaded. */
void act_trace(struct apply *ap, enum sm_action_type type, const struct inv *inv, uint32_t code);
struct slice act_keep(struct apply *ap, struct slice s); /* bytes that live as long as the actions */
/* act_admin() - @request_id absent: nobody asked. */
struct sm_action *act_admin(struct apply *ap, struct slice request_id, enum sm_admin_op op, enum sm_outcome outcome,
                            const struct invocation_id *id);

/* sm_invoke.c */
int apply_invoke(struct apply *ap, const struct cmd_invoke *m);
int apply_attach(struct apply *ap, const struct cmd_attach *m);
int invoke_start_or_queue(struct apply *ap, struct inv *inv); /* §8.3 steps 3 and 4 */

/* sm_journal.c */
int apply_invoker_effect(struct apply *ap, const struct cmd_invoker_effect *m);
int apply_response(struct apply *ap, const struct cmd_response *m);
int journal_append_command(struct apply *ap, struct inv *inv, uint32_t type, const struct cmd_call *call,
                           struct slice payload);
/* journal_notify() - append, unless one with this id is there; wakes or forwards. Of an invocation in flight. */
int journal_notify(struct apply *ap, struct inv *inv, uint32_t type, const struct sp_notification *n);
int journal_complete(struct apply *ap, struct inv *inv, uint32_t type, uint32_t completion_id,
                     const struct cmd_result *result);
void journal_event(struct apply *ap, struct inv *inv, const struct cmd_event *event);
/* journal_paste_*() - an entry copied from another journal: stored and indexed, without its effect. */
void journal_paste_command(struct apply *ap, struct inv *inv, struct journal_entry *e);
void journal_paste_notification(struct apply *ap, struct inv *inv, struct journal_entry *e,
                                const struct sp_notification_id *id, enum sp_result_kind kind);
/* notification_set_result() - value, failure or void, as the type of the notification allows. */
void notification_set_result(struct apply *ap, struct sp_notification *n, uint32_t type,
                             const struct cmd_result *result);
int delete_prefix(struct apply *ap, struct slice prefix); /* every row whose key begins with it */
int journal_delete(struct apply *ap, struct inv *inv);    /* all rows; lengths become 0 */
/* journal_index() - register the completion ids of the command at @index that are answered later. */
void journal_index_completion(struct apply *ap, struct inv *inv, uint32_t completion_id, uint32_t index, uint32_t type);

/* sm_commands.c */
int command_effect(struct apply *ap, struct inv *inv, uint32_t index, const struct cmd_effect *e);

/* sm_complete.c */
int inv_complete(struct apply *ap, struct inv *inv, const struct cmd_result *override);
int apply_purge(struct apply *ap, const struct cmd_purge *m, bool journal_only);

/* sm_terminate.c */
int apply_terminate(struct apply *ap, const struct cmd_terminate *m);
int apply_signal(struct apply *ap, const struct cmd_signal *m);

/* sm_suspend.c */
int inv_suspend(struct apply *ap, struct inv *inv, const struct cmd_future *future);
/* inv_wake() - a notification was appended to a suspended invocation. */
int inv_wake(struct apply *ap, struct inv *inv, enum notification_kind kind, uint32_t number, struct slice name,
             enum notification_variant variant);

/* sm_object.c */
int lock_acquire(struct apply *ap, struct inv *inv, bool *ret_acquired); /* not acquired: it is in the inbox */
int lock_release(struct apply *ap, struct inv *inv);                     /* hands over to the next in the inbox */
int inbox_remove(struct apply *ap, struct inv *inv);                     /* of an invocation that will not run */
int apply_patch_state(struct apply *ap, const struct cmd_patch_state *m, uint64_t partition_key);
void state_put(struct apply *ap, const struct object_key *o, struct slice key, struct slice value);
void state_del(struct apply *ap, const struct object_key *o, struct slice key);
int state_clear(struct apply *ap, const struct object_key *o);
/* state_list() - sorted by key. */
struct state_list {
    struct cmd_state_entry *items;
    size_t n, cap;
};
int state_list(struct apply *ap, const struct object_key *o, bool values, struct state_list *ret);

/* sm_promise.c */
int promise_get(struct apply *ap, struct inv *inv, struct slice name, uint32_t completion_id);
int promise_peek(struct apply *ap, struct inv *inv, struct slice name, uint32_t completion_id);
int promise_complete(struct apply *ap, struct inv *inv, struct slice name, const struct cmd_result *result,
                     uint32_t completion_id);
int promise_delete_all(struct apply *ap, const struct object_key *o);

/* sm_timer.c */
void timer_add(struct apply *ap, const struct sm_timer *t);
void timer_delete(struct apply *ap, const struct sm_timer *t);
int apply_timer(struct apply *ap, const struct cmd_timer *m);

/* sm_outbox.c */
void send_invoke(struct apply *ap, const struct invocation_id *to, const struct cmd_invoke *m);
void send_response(struct apply *ap, const struct invocation_id *to, const struct cmd_response *m);
void send_terminate(struct apply *ap, const struct invocation_id *to, const struct cmd_terminate *m);
void send_attach(struct apply *ap, const struct invocation_id *to, const struct cmd_attach *m);
void send_signal(struct apply *ap, const struct invocation_id *to, const struct cmd_signal *m);
int apply_queue(struct apply *ap); /* the direct messages, in order, and those they cause */
int apply_truncate_outbox(struct apply *ap, const struct cmd_truncate_outbox *m);

/* sm_admin.c */
int apply_pause(struct apply *ap, const struct cmd_pause *m);
int apply_resume(struct apply *ap, const struct cmd_resume *m);
int apply_restart(struct apply *ap, const struct cmd_restart *m);
