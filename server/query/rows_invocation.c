/* SPDX-License-Identifier: Apache-2.0 */
/* query/rows_invocation.c : columns of invocations: the status row, the row that never changes, the result, and what
 * the invoker knows. Only what the statement uses is read. */
#include "query/query_internal.h"
#include "base/text.h"
#include "proto/command.h"
#include "proto/trace_context.h"

#include <stdlib.h>

#define SLOT(s) (UINT64_C(1) << (s))
#define BODY_SLOTS                                                                                                     \
    (SLOT(S_TARGET) | SLOT(S_SERVICE) | SLOT(S_KEY) | SLOT(S_HANDLER) | SLOT(S_SCOPE) | SLOT(S_LIMIT_KEY) |            \
     SLOT(S_IDEMPOTENCY) | SLOT(S_BY) | SLOT(S_BY_ID) | SLOT(S_BY_SERVICE) | SLOT(S_BY_TARGET) | SLOT(S_RESTARTED) |   \
     SLOT(S_VERSION) | SLOT(S_TRACE))
#define RESULT_SLOTS (SLOT(S_RESULT) | SLOT(S_FAILURE))
#define ATTEMPT_SLOTS                                                                                                  \
    (SLOT(S_STATUS) | SLOT(S_IN_FLIGHT) | SLOT(S_RETRY_COUNT) | SLOT(S_LAST_START) | SLOT(S_LAST_DEPLOYMENT) |         \
     SLOT(S_LAST_SERVER) | SLOT(S_NEXT_RETRY) | SLOT(S_LAST_FAILURE) | SLOT(S_LAST_CODE) | SLOT(S_LAST_INDEX) |        \
     SLOT(S_LAST_NAME) | SLOT(S_LAST_TYPE))

static int compare_attempt(const void *key, const void *element) {
    return memcmp(((const struct invocation_id *)key)->raw, ((const struct query_attempt *)element)->id.raw,
                  INVOCATION_ID_BYTES);
}

const struct query_attempt *query_attempt_find(const struct query_data *d, const struct invocation_id *id) {
    return d->n_attempts ? bsearch(id, d->attempts, d->n_attempts, sizeof *d->attempts, compare_attempt) : NULL;
}

static bool keyed(uint32_t type) {
    return type != TARGET_SERVICE;
}

static const char *service_type(uint32_t type) {
    return type == TARGET_SERVICE                                            ? "service"
           : type == TARGET_OBJECT_EXCLUSIVE || type == TARGET_OBJECT_SHARED ? "virtual_object"
                                                                             : "workflow";
}

void put_target(struct buf *out, const struct cmd_target *t) {
    buf_put_slice(out, t->service);
    buf_put_u8(out, '/');
    if (keyed(t->type)) {
        buf_put_slice(out, t->key);
        buf_put_u8(out, '/');
    }
    buf_put_slice(out, t->handler);
}

static void row_target(struct query_row *row, unsigned slot, const struct cmd_target *t) {
    struct buf b = {0};

    if (!row_wants(row, slot))
        return;
    put_target(&b, t);
    row_text(row, slot, buf_slice(&b));
    buf_done(&b);
}

static void text_or_null(struct query_row *row, unsigned slot, struct slice s) {
    if (s.len)
        row_text(row, slot, s);
}

static void source_columns(struct query_row *row, const struct cmd_source *s) {
    static const char *const names[] = {[SOURCE_INGRESS] = "ingress",
                                        [SOURCE_SUBSCRIPTION] = "subscription",
                                        [SOURCE_SERVICE] = "service",
                                        [SOURCE_RESTART] = "restart_as_new",
                                        [SOURCE_INTERNAL] = "internal"};

    if (s->type >= SOURCE_INGRESS && s->type <= SOURCE_INTERNAL)
        row_str(row, S_BY, names[s->type]);
    if (s->type == SOURCE_SERVICE) {
        row_id(row, S_BY_ID, s->id);
        if (s->target) {
            row_text(row, S_BY_SERVICE, s->target->service);
            row_target(row, S_BY_TARGET, s->target);
        }
    } else if (s->type == SOURCE_RESTART) {
        row_id(row, S_RESTARTED, s->id);
    }
}

static void trace_column(struct query_row *row, struct slice context) {
    struct buf b = {0};

    if (context.len < TRACE_CONTEXT_BYTES || !row_wants(row, S_TRACE))
        return;
    text_put_hex(&b, slice_sub(context, 0, TRACE_ID_BYTES));
    row_text(row, S_TRACE, buf_slice(&b));
    buf_done(&b);
}

static void body_columns(struct query_row *row, const struct cmd_invocation_body *b) {
    row_target(row, S_TARGET, b->target);
    row_text(row, S_SERVICE, b->target->service);
    if (keyed(b->target->type))
        row_text(row, S_KEY, b->target->key.data ? b->target->key : SLICE_LIT(""));
    row_text(row, S_HANDLER, b->target->handler);
    row_text(row, S_SCOPE, b->target->scope);
    row_text(row, S_IDEMPOTENCY, b->idempotency_key);
    text_or_null(row, S_LIMIT_KEY, b->limit_key);
    text_or_null(row, S_VERSION, b->version);
    trace_column(row, b->trace);
    if (b->source)
        source_columns(row, b->source);
}

static const char *stored_status(enum inv_status s) {
    static const char *const names[] = {
        [INV_SCHEDULED] = "scheduled", [INV_INBOXED] = "inboxed", [INV_INVOKED] = "invoked",
        [INV_SUSPENDED] = "suspended", [INV_PAUSED] = "paused",   [INV_COMPLETED] = "completed"};

    return (size_t)s < ARRAY_SIZE(names) ? names[s] : NULL;
}

static void row_list(struct query_row *row, unsigned slot, const uint32_t *v, size_t n) {
    struct buf b = {0};

    if (!row_wants(row, slot))
        return;
    for (size_t i = 0; i < n; i++)
        buf_putf(&b, "%c%u", i ? ',' : '[', v[i]);
    buf_put_str(&b, n ? "]" : "[]");
    row_text(row, slot, buf_slice(&b));
    buf_done(&b);
}

static void header_columns(struct query_row *row, const struct inv_header *h, struct arena *a) {
    row_str(row, S_STORED_STATUS, stored_status(h->status));
    row_str(row, S_TYPE, service_type(h->target_type));
    text_or_null(row, S_DEPLOYMENT, h->deployment);
    if (h->protocol)
        row_int(row, S_PROTOCOL, h->protocol);
    row_int(row, S_JOURNAL_SIZE, h->journal_length);
    row_int(row, S_COMMANDS, h->command_count);
    row_ts(row, S_CREATED, h->created_ms);
    row_ts(row, S_MODIFIED, h->modified_ms);
    row_ts(row, S_INBOXED, h->inboxed_ms);
    row_ts(row, S_SCHEDULED, h->scheduled_ms);
    row_ts(row, S_START, h->execution_time_ms);
    row_ts(row, S_RUNNING, h->running_ms);
    row_ts(row, S_COMPLETED, h->completed_ms);
    row_int(row, S_RETENTION, h->completion_retention_ms);
    row_int(row, S_JOURNAL_RETENTION, h->journal_retention_ms);
    if (h->status == INV_SUSPENDED && h->future.len &&
        (row->wanted & (SLOT(S_WAIT_COMPLETIONS) | SLOT(S_WAIT_SIGNALS) | SLOT(S_WAIT_FUTURE)))) {
        struct cmd_future f;
        struct buf b = {0};

        if (cmd_future_decode(&f, h->future, a, NULL) < 0)
            return;
        row_list(row, S_WAIT_COMPLETIONS, f.completions, f.n_completions);
        row_list(row, S_WAIT_SIGNALS, f.signals, f.n_signals);
        put_future_json(&b, &f);
        row_text(row, S_WAIT_FUTURE, buf_slice(&b));
        buf_done(&b);
    }
}

static int result_columns(struct query_reader *r, const struct invocation_id *id, struct query_row *row,
                          struct err *err) {
    struct cmd_result result;
    struct table_key k;
    int rc;

    key_of_id(&k, T_RESULT, id);
    rc = r->data->get(r->data->arg, r->partition, table_key_slice(&k), &r->value, err);
    if (rc == RS_ENOENT)
        return 0;
    if (rc == 0)
        rc = cmd_result_decode(&result, slice_from(buf_slice(&r->value), 1), &r->arena, err);
    if (rc < 0)
        return rc;
    row_str(row, S_RESULT, result.failure ? "failure" : "success");
    if (result.failure && row_wants(row, S_FAILURE)) {
        struct buf b = {0};

        buf_putf(&b, "[%u] ", result.failure->code);
        buf_put_slice(&b, result.failure->message);
        row_text(row, S_FAILURE, buf_slice(&b));
        buf_done(&b);
    }
    return 0;
}

static void failure_columns(struct query_row *row, const struct cmd_event *f) {
    struct buf b = {0};

    buf_putf(&b, "[%u] ", f->code);
    buf_put_slice(&b, f->message);
    if (f->stacktrace.len) {
        buf_put_str(&b, "\n");
        buf_put_slice(&b, f->stacktrace);
    }
    row_text(row, S_LAST_FAILURE, buf_slice(&b));
    buf_done(&b);
    text_or_null(row, S_LAST_CODE, f->doc_code);
    if (f->has_command_index)
        row_int(row, S_LAST_INDEX, f->command_index);
    text_or_null(row, S_LAST_NAME, f->command_name);
    if (f->has_command_type)
        row_str(row, S_LAST_TYPE, sp_type_name((uint16_t)f->command_type));
}

static void attempt_columns(struct query_row *row, const struct query_attempt *a) {
    row_int(row, S_IN_FLIGHT, a->in_flight);
    row_int(row, S_RETRY_COUNT, a->retry_count);
    row_ts(row, S_LAST_START, a->last_start_ms);
    row_ts(row, S_NEXT_RETRY, a->next_retry_ms);
    row_text(row, S_LAST_DEPLOYMENT, a->deployment);
    if (a->has_failure)
        failure_columns(row, &a->failure);
}

static const char *derived_status(enum inv_status s, const struct query_attempt *a) {
    if (s == INV_INBOXED)
        return "pending";
    if (s != INV_INVOKED)
        return stored_status(s);
    return a && a->in_flight ? "running" : a && a->retry_count ? "backing-off" : "ready";
}

static int read_body(struct query_reader *r, const struct invocation_id *id, struct cmd_invocation_body *ret,
                     struct err *err) {
    struct table_key k;
    int rc;

    key_of_id(&k, T_BODY, id);
    rc = r->data->get(r->data->arg, r->partition, table_key_slice(&k), &r->value2, err);
    if (rc == 0)
        rc = cmd_invocation_body_decode(ret, slice_from(buf_slice(&r->value2), 1), &r->arena, err);
    if (rc == 0 && !ret->target)
        rc = err_set(err, RS_ECORRUPT, "an invocation has no target");
    return rc;
}

int rows_status(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err) {
    struct invocation_id id;
    struct inv_header h;
    int rc = 0;

    if (key.len != 1 + INVOCATION_ID_BYTES)
        return err_set(err, RS_ECORRUPT, "a row of the invocations is damaged");
    memcpy(id.raw, key.data + 1, sizeof id.raw);
    rc = inv_header_decode(value, &r->arena, &h, err);
    if (rc < 0)
        return rc;
    row_int(row, S_PK, invocation_id_pk(&id));
    row_id(row, S_ID, invocation_id_slice(&id));
    header_columns(row, &h, &r->arena);
    if (row->wanted & BODY_SLOTS) {
        struct cmd_invocation_body body;

        rc = read_body(r, &id, &body, err);
        if (rc == 0)
            body_columns(row, &body);
    }
    if ((rc == 0 || rc == RS_ENOENT) && (row->wanted & RESULT_SLOTS) && h.status == INV_COMPLETED)
        rc = result_columns(r, &id, row, err);
    if (rc < 0 && rc != RS_ENOENT)
        return rc;
    if (row->wanted & ATTEMPT_SLOTS) {
        const struct query_attempt *a = query_attempt_find(r->data, &id);

        row_str(row, S_STATUS, derived_status(h.status, a));
        if (a)
            attempt_columns(row, a);
    }
    return 1;
}

int rows_attempt(struct query_reader *r, size_t n, struct query_row *row) {
    const struct query_attempt *a = &r->data->attempts[n];

    if (n >= r->data->n_attempts)
        return 0;
    row_int(row, S_PK, invocation_id_pk(&a->id));
    row_id(row, S_ID, invocation_id_slice(&a->id));
    attempt_columns(row, a);
    return 1;
}

int rows_idempotency(struct query_reader *r, struct slice key, struct slice value, struct query_row *row,
                     struct err *err) {
    struct cmd_invocation_body body;
    struct invocation_id id;
    int rc;

    if (key.len != 1 + INVOCATION_ID_BYTES)
        return err_set(err, RS_ECORRUPT, "a row of the invocations is damaged");
    memcpy(id.raw, key.data + 1, sizeof id.raw);
    rc = read_body(r, &id, &body, err);
    if (rc < 0)
        return rc == RS_ENOENT ? 0 : rc;
    if (!body.idempotency_key.data)
        return 0;
    row_int(row, 0, invocation_id_pk(&id));
    row_text(row, 1, body.target->service);
    if (keyed(body.target->type))
        row_text(row, 2, body.target->key.data ? body.target->key : SLICE_LIT(""));
    row_text(row, 3, body.target->handler);
    row_text(row, 4, body.idempotency_key);
    row_id(row, 5, invocation_id_slice(&id));
    return 1;
}
