/* SPDX-License-Identifier: Apache-2.0 */
/* query/rows_journal.c : columns of journal entries and events; entries as JSON, in the official server's shape (spec
 * sql.md §2.3): externally tagged, bytes as arrays of numbers. The lite form has names, ids and the sort of outcome. */
#include "query/query_internal.h"
#include "proto/pb.h"

/* ---- JSON ---- */

void put_json_str(struct buf *out, struct slice s) {
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    bool clean = pb_utf8(s);

    buf_put_u8(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];

        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || clean))
            continue;
        buf_put(out, s.data + from, i - from);
        from = i + 1;
        if (c >= 0x80)
            buf_put_str(out, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\')
            buf_put(out, (const char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            buf_put_str(out, "\\n");
        else if (c == '\t')
            buf_put_str(out, "\\t");
        else if (c == '\r')
            buf_put_str(out, "\\r");
        else
            buf_put(out, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
    buf_put(out, s.data + from, s.len - from);
    buf_put_u8(out, '"');
}

void put_json_bytes(struct buf *out, struct slice s) {
    buf_put_u8(out, '[');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t v = s.data[i], *p = buf_reserve(out, 4), *at = p;

        if (i)
            *p++ = ',';
        if (v >= 100)
            *p++ = (uint8_t)('0' + v / 100);
        if (v >= 10)
            *p++ = (uint8_t)('0' + v / 10 % 10);
        *p++ = (uint8_t)('0' + v % 10);
        out->len += (size_t)(p - at);
    }
    buf_put_u8(out, ']');
}

/* Fields of the object being written. */
struct object {
    struct buf *out;
    bool lite, any;
};
static void field(struct object *o, const char *name) {
    buf_putf(o->out, "%s\"%s\":", o->any ? "," : "", name);
    o->any = true;
}
static void field_str(struct object *o, const char *name, struct slice s) {
    field(o, name);
    if (s.data)
        put_json_str(o->out, s);
    else
        buf_put_str(o->out, "null");
}
static void field_u64(struct object *o, const char *name, uint64_t v) {
    field(o, name);
    buf_putf(o->out, "%llu", (unsigned long long)v);
}
static void field_text(struct object *o, const char *name, struct slice s) { /* never null */
    field_str(o, name, s.data ? s : SLICE_LIT(""));
}
static void field_bytes(struct object *o, const char *name, struct slice s) {
    if (o->lite)
        return;
    field(o, name);
    put_json_bytes(o->out, s);
}
static void field_name(struct object *o, struct slice name) {
    if (!o->lite || name.len)
        field_text(o, "name", name);
}
static void field_seconds(struct object *o, const char *name, uint64_t ms) {
    field(o, name);
    buf_putf(o->out, "{\"secs\":%llu,\"nanos\":%llu}", (unsigned long long)(ms / 1000),
             (unsigned long long)(ms % 1000 * 1000000));
}
static void field_headers(struct object *o, const struct sp_header *h, size_t n) {
    if (o->lite)
        return;
    field(o, "headers");
    for (size_t i = 0; i < n; i++) {
        buf_put_str(o->out, i ? ",{\"name\":" : "[{\"name\":");
        put_json_str(o->out, h[i].key);
        buf_put_str(o->out, ",\"value\":");
        put_json_str(o->out, h[i].value);
        buf_put_u8(o->out, '}');
    }
    buf_put_str(o->out, n ? "]" : "[]");
}

static void put_failure(struct buf *out, const struct sp_failure *f) {
    buf_putf(out, "{\"Failure\":{\"code\":%u,\"message\":", f->code);
    put_json_str(out, f->message);
    buf_put_str(out, "}}");
}

static void field_result(struct object *o, const struct sp_value *value, const struct sp_failure *failure,
                         const struct sp_state_keys *keys) {
    field(o, "result");
    if (o->lite) {
        buf_putf(o->out, "\"%s\"", failure ? "Failure" : value || keys ? "Success" : "Void");
        return;
    }
    if (failure) {
        put_failure(o->out, failure);
    } else if (value) {
        buf_put_str(o->out, "{\"Success\":");
        put_json_bytes(o->out, value->content);
        buf_put_u8(o->out, '}');
    } else if (keys) {
        buf_put_str(o->out, "{\"StateKeys\":[");
        for (size_t i = 0; i < keys->n_keys; i++) {
            if (i)
                buf_put_u8(o->out, ',');
            put_json_str(o->out, keys->keys[i]);
        }
        buf_put_str(o->out, "]}");
    } else {
        buf_put_str(o->out, "\"Void\"");
    }
}

static void field_signal_id(struct object *o, const char *name, bool has_index, uint32_t index, struct slice text) {
    field(o, name);
    if (has_index) {
        buf_putf(o->out, "{\"%s\":%u}", o->lite ? "SignalIndex" : "Index", index);
    } else {
        buf_putf(o->out, "{\"%s\":", o->lite ? "SignalName" : "Name");
        put_json_str(o->out, text);
        buf_put_u8(o->out, '}');
    }
}

static void field_target(struct object *o, const char *name, const struct cmd_target *t) {
    static const char *const kinds[] = {"Service", "Service", "VirtualObject", "VirtualObject", "Workflow", "Workflow"};
    static const char *const handlers[] = {"", "", "Exclusive", "Shared", "Workflow", "Shared"};
    struct object sub = {.out = o->out, .lite = o->lite};
    uint32_t type = t->type < ARRAY_SIZE(kinds) ? t->type : 0;

    field(o, name);
    buf_putf(o->out, "{\"%s\":{", kinds[type]);
    field_text(&sub, "name", t->service);
    if (type > TARGET_SERVICE)
        field_text(&sub, "key", t->key);
    field_text(&sub, "handler", t->handler);
    if (type > TARGET_SERVICE) {
        field(&sub, "handler_ty");
        buf_putf(o->out, "\"%s\"", handlers[type]);
    }
    field_str(&sub, "scope", t->scope);
    buf_put_str(o->out, "}}");
}

/* ---- commands ---- */

struct call_parts { /* of Call and OneWayCall */
    struct slice parameter, idempotency_key, name;
    const struct sp_header *headers;
    size_t n_headers;
    uint64_t invoke_time_ms;
    uint32_t id_completion, completion;
};

static void put_request(struct object *o, const struct call_parts *p, const struct cmd_call *side) {
    struct object sub = {.out = o->out, .lite = o->lite};
    char id[INVOCATION_ID_CHARS + 1] = "";
    struct invocation_id raw;

    if (invocation_id_from_raw(side->id, &raw, NULL) == 0)
        invocation_id_format(&raw, id);
    field(o, "request");
    buf_put_u8(o->out, '{');
    field_text(&sub, "invocation_id", slice_str(id));
    if (side->target)
        field_target(&sub, "invocation_target", side->target);
    field_bytes(&sub, "parameter", p->parameter);
    field_headers(&sub, p->headers, p->n_headers);
    field_str(&sub, "idempotency_key", p->idempotency_key);
    field_seconds(&sub, "completion_retention_duration", side->completion_retention_ms);
    field_seconds(&sub, "journal_retention_duration", side->journal_retention_ms);
    buf_put_u8(o->out, '}');
}

static int call_command(struct object *o, const struct journal_entry *e, struct arena *a) {
    struct cmd_call side;
    struct call_parts p;
    int r = cmd_call_decode(&side, e->side, a, NULL);

    if (r < 0)
        return r;
    if (e->type == SP_CALL) {
        struct sp_call m;

        if ((r = sp_call_decode(&m, e->payload, a, NULL)) < 0)
            return r;
        p = (struct call_parts){m.parameter,
                                m.idempotency_key,
                                m.name,
                                m.headers,
                                m.n_headers,
                                0,
                                m.invocation_id_notification_idx,
                                m.result_completion_id};
    } else {
        struct sp_one_way_call m;

        if ((r = sp_one_way_call_decode(&m, e->payload, a, NULL)) < 0)
            return r;
        p = (struct call_parts){m.parameter,
                                m.idempotency_key,
                                m.name,
                                m.headers,
                                m.n_headers,
                                m.invoke_time_ms,
                                m.invocation_id_notification_idx,
                                0};
    }
    put_request(o, &p, &side);
    if (p.invoke_time_ms)
        field_u64(o, "invoke_time", p.invoke_time_ms);
    field_u64(o, "invocation_id_completion_id", p.id_completion);
    if (e->type == SP_CALL)
        field_u64(o, "result_completion_id", p.completion);
    field_name(o, p.name);
    return 0;
}

#define DECODE(name)                                                                                                   \
    struct sp_##name m;                                                                                                \
    if ((r = sp_##name##_decode(&m, e->payload, a, NULL)) < 0)                                                         \
    return r

static int in_out_command(struct object *o, const struct journal_entry *e, struct arena *a) {
    int r;

    if (e->type == SP_INPUT) {
        DECODE(input);
        field_headers(o, m.headers, m.n_headers);
        field_bytes(o, "payload", m.value ? m.value->content : SLICE_NULL);
        field_name(o, m.name);
    } else if (e->type == SP_OUTPUT) {
        DECODE(output);
        field_result(o, m.value, m.failure, NULL);
        field_name(o, m.name);
    } else {
        DECODE(sleep);
        field_u64(o, "wake_up_time", m.wake_up_time_ms);
        field_u64(o, "completion_id", m.result_completion_id);
        field_name(o, m.name);
    }
    return 0;
}

static int state_command(struct object *o, const struct journal_entry *e, struct arena *a) {
    int r;

    if (e->type == SP_GET_LAZY_STATE) {
        DECODE(get_lazy_state);
        field_text(o, "key", m.key);
        field_u64(o, "completion_id", m.result_completion_id);
        field_name(o, m.name);
    } else if (e->type == SP_SET_STATE) {
        DECODE(set_state);
        field_text(o, "key", m.key);
        field_bytes(o, "value", m.value ? m.value->content : SLICE_NULL);
        field_name(o, m.name);
    } else if (e->type == SP_CLEAR_STATE) {
        DECODE(clear_state);
        field_text(o, "key", m.key);
        field_name(o, m.name);
    } else if (e->type == SP_GET_EAGER_STATE) {
        DECODE(get_eager_state);
        field_text(o, "key", m.key);
        field_result(o, m.value, NULL, NULL);
        field_name(o, m.name);
    } else if (e->type == SP_GET_EAGER_STATE_KEYS) {
        DECODE(get_eager_state_keys);
        field_result(o, NULL, NULL, m.value);
        field_name(o, m.name);
    } else if (e->type == SP_GET_LAZY_STATE_KEYS) {
        DECODE(get_lazy_state_keys);
        field_u64(o, "completion_id", m.result_completion_id);
        field_name(o, m.name);
    } else {
        DECODE(clear_all_state);
        field_name(o, m.name);
    }
    return 0;
}

static int promise_command(struct object *o, const struct journal_entry *e, struct arena *a) {
    int r;

    if (e->type == SP_COMPLETE_PROMISE) {
        DECODE(complete_promise);
        field_text(o, "key", m.key);
        field_result(o, m.value, m.failure, NULL);
        field_u64(o, "completion_id", m.result_completion_id);
        field_name(o, m.name);
    } else {
        DECODE(get_promise); /* PeekPromise has the same fields */
        field_text(o, "key", m.key);
        field_u64(o, "completion_id", m.result_completion_id);
        field_name(o, m.name);
    }
    return 0;
}

static int other_command(struct object *o, const struct journal_entry *e, struct arena *a) {
    int r;

    if (e->type == SP_RUN) {
        DECODE(run);
        field_u64(o, "completion_id", m.result_completion_id);
        field_name(o, m.name);
    } else if (e->type == SP_SEND_SIGNAL) {
        DECODE(send_signal);
        field_text(o, "target_invocation_id", m.target_invocation_id);
        field_signal_id(o, "signal_id", m.has_idx, m.idx, m.signal_name);
        field_result(o, m.value, m.failure, NULL);
        field_name(o, m.name);
    } else if (e->type == SP_COMPLETE_AWAKEABLE) {
        DECODE(complete_awakeable);
        field_text(o, "id", m.awakeable_id);
        field_result(o, m.value, m.failure, NULL);
        field_name(o, m.name);
    } else if (e->type == SP_ATTACH_INVOCATION || e->type == SP_GET_INVOCATION_OUTPUT) {
        DECODE(attach_invocation);
        field(o, "target");
        buf_put_str(o->out, m.invocation_id.data ? "{\"InvocationId\":"
                            : m.workflow         ? "{\"Workflow\":"
                                                 : "{\"IdempotentRequest\":");
        put_json_str(o->out, m.invocation_id.data ? m.invocation_id
                             : m.workflow         ? m.workflow->workflow_key
                             : m.idempotent       ? m.idempotent->idempotency_key
                                                  : SLICE_LIT(""));
        buf_put_u8(o->out, '}');
        field_u64(o, "completion_id", m.result_completion_id);
        field_name(o, m.name);
    }
    return 0;
}

static int command(struct object *o, const struct journal_entry *e, struct arena *a) {
    switch (e->type) {
    case SP_CALL:
    case SP_ONE_WAY_CALL:
        return call_command(o, e, a);
    case SP_INPUT:
    case SP_OUTPUT:
    case SP_SLEEP:
        return in_out_command(o, e, a);
    case SP_GET_LAZY_STATE:
    case SP_SET_STATE:
    case SP_CLEAR_STATE:
    case SP_CLEAR_ALL_STATE:
    case SP_GET_LAZY_STATE_KEYS:
    case SP_GET_EAGER_STATE:
    case SP_GET_EAGER_STATE_KEYS:
        return state_command(o, e, a);
    case SP_GET_PROMISE:
    case SP_PEEK_PROMISE:
    case SP_COMPLETE_PROMISE:
        return promise_command(o, e, a);
    default:
        return other_command(o, e, a);
    }
}

/* ---- notifications ---- */

static void notification(struct buf *out, const struct journal_entry *e, const struct sp_notification *m) {
    struct object o = {.out = out};

    buf_put_str(out, "{\"Notification\":");
    if (e->type == SP_SIGNAL)
        buf_put_str(out, "{\"Signal\":{");
    else
        buf_putf(out, "{\"Completion\":{\"%s\":{", sp_type_name(e->type));
    if (e->type == SP_SIGNAL)
        field_signal_id(&o, "id", m->has_signal_idx, m->signal_idx, m->signal_name);
    else
        field_u64(&o, "completion_id", m->completion_id);
    if (e->type == SP_CALL_INVOCATION_ID)
        field_text(&o, "invocation_id", m->invocation_id);
    else if (e->type != SP_SLEEP_COMPLETION)
        field_result(&o, m->value, m->failure, m->state_keys);
    buf_put_str(out, e->type == SP_SIGNAL ? "}}}" : "}}}}");
}

static void notification_lite(struct buf *out, const struct journal_entry *e, const struct sp_notification *m) {
    struct object o = {.out = out, .lite = true};

    buf_put_str(out, "{\"Notification\":{\"ty\":");
    o.any = true;
    if (e->type == SP_SIGNAL) {
        buf_put_str(out, "\"Signal\"");
        field_signal_id(&o, "id", m->has_signal_idx, m->signal_idx, m->signal_name);
    } else {
        buf_putf(out, "{\"Completion\":\"%s\"}", sp_type_name(e->type));
        field(&o, "id");
        buf_putf(out, "{\"CompletionId\":%u}", m->completion_id);
    }
    if (e->type == SP_CALL_INVOCATION_ID) {
        field(&o, "result");
        buf_put_str(out, "\"InvocationId\"");
    } else {
        field_result(&o, m->value, m->failure, m->state_keys);
    }
    buf_put_str(out, "}}");
}

void put_entry_json(struct buf *out, const struct journal_entry *e, bool lite, struct arena *a) {
    struct object o = {.out = out, .lite = lite};
    size_t begin = out->len;
    int r = 0;

    if (e->is_command) {
        buf_putf(out, "{\"Command\":{\"%s\":{", sp_type_name(e->type));
        r = command(&o, e, a);
        buf_put_str(out, "}}}");
    } else {
        struct sp_notification m;

        r = sp_notification_decode(&m, e->payload, a, NULL);
        if (r == 0 && lite)
            notification_lite(out, e, &m);
        else if (r == 0)
            notification(out, e, &m);
    }
    if (r < 0) { /* stored as the SDK sent it: it may not be what it says */
        out->len = begin;
        buf_put_str(out, "{}");
    }
}

static void put_numbers(struct object *o, const char *name, const uint32_t *v, size_t n) {
    field(o, name);
    buf_put_u8(o->out, '[');
    for (size_t i = 0; i < n; i++)
        buf_putf(o->out, "%s%u", i ? "," : "", v[i]);
    buf_put_u8(o->out, ']');
}

static void put_future(struct buf *out, const struct cmd_future *f, int depth) {
    static const char *const combinators[] = {"Unknown", "FirstCompleted", "AllCompleted", "FirstSucceededOrAllFailed",
                                              "AllSucceededOrFirstFailed"};
    struct object o = {.out = out};

    buf_put_u8(out, '{');
    field(&o, "combinator");
    buf_putf(out, "\"%s\"", combinators[f->combinator < ARRAY_SIZE(combinators) ? f->combinator : 0]);
    put_numbers(&o, "completions", f->completions, f->n_completions);
    put_numbers(&o, "signals", f->signals, f->n_signals);
    field(&o, "names");
    buf_put_u8(out, '[');
    for (size_t i = 0; i < f->n_names; i++) {
        if (i)
            buf_put_u8(out, ',');
        put_json_str(out, f->names[i]);
    }
    buf_put_u8(out, ']');
    field(&o, "nested");
    buf_put_u8(out, '[');
    for (size_t i = 0; depth < 64 && i < f->n_nested; i++) {
        if (i)
            buf_put_u8(out, ',');
        put_future(out, &f->nested[i], depth + 1);
    }
    buf_put_str(out, "]}");
}

void put_future_json(struct buf *out, const struct cmd_future *f) {
    put_future(out, f, 0);
}

/* ---- rows ---- */

/* Field 12 of every command: the name the user gave. */
static struct slice command_name(struct slice payload) {
    struct slice name = SLICE_LIT("");
    const uint8_t *p = payload.data, *end = p + payload.len;
    struct pb_ctx c = pb_start(payload, 1, NULL, NULL);

    while (p && p < end) {
        uint64_t tag;

        p = pb_varint(p, end, &tag, &c);
        if (!p || tag > UINT32_MAX)
            break;
        p = tag == (12 << 3 | 2) ? pb_bytes(p, end, &name, &c) : pb_skip(p, end, (uint32_t)tag, &c);
    }
    return name;
}

static void call_columns(struct query_row *row, const struct journal_entry *e, struct arena *a) {
    struct cmd_call side;
    struct buf b = {0};

    if (!(row_wants(row, 5) || row_wants(row, 6)) || !e->side.len || cmd_call_decode(&side, e->side, a, NULL) < 0)
        return;
    row_id(row, 5, side.id);
    if (side.target) {
        put_target(&b, side.target);
        row_text(row, 6, buf_slice(&b));
        buf_done(&b);
    }
}

static void entry_columns(struct query_row *row, const struct journal_entry *e, struct arena *a) {
    for (unsigned lite = 0; lite < 2; lite++)
        if (row_wants(row, 12 + lite)) {
            struct buf b = {0};

            put_entry_json(&b, e, lite, a);
            row_text(row, 12 + lite, buf_slice(&b));
            buf_done(&b);
        }
    if (e->type == SP_SLEEP && row_wants(row, 7)) {
        struct sp_sleep m;

        if (sp_sleep_decode(&m, e->payload, a, NULL) == 0)
            row_ts(row, 7, m.wake_up_time_ms);
    }
}

enum { JOURNAL_KEY_BYTES = 1 + INVOCATION_ID_BYTES + 1 };

int rows_journal(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err) {
    struct journal_entry e;
    int rc;

    if (key.len < JOURNAL_KEY_BYTES)
        return err_set(err, RS_ECORRUPT, "a row of the journals is damaged");
    if (key.data[JOURNAL_KEY_BYTES - 1] != J_ENTRY)
        return 0;
    rc = journal_entry_decode(key, value, &e, err);
    if (rc < 0)
        return rc;
    row_int(row, 0, get_u64be(key.data + 1));
    row_id(row, 1, slice_sub(key, 1, INVOCATION_ID_BYTES));
    row_int(row, 2, e.index);
    row_str(row, 3, sp_entry_type(e.type));
    if (e.is_command && row_wants(row, 4))
        row_text(row, 4, command_name(e.payload));
    call_columns(row, &e, &r->arena);
    row_blob(row, 9, e.payload.data ? e.payload : SLICE_LIT(""));
    row_int(row, 10, e.payload.len);
    row_int(row, 11, 2);
    entry_columns(row, &e, &r->arena);
    row_ts(row, 14, e.appended_ms);
    return 1;
}

static void failure_fields(struct object *o, const struct cmd_event *e) {
    field_u64(o, "error_code", e->code);
    field_text(o, "error_message", e->message);
    if (e->stacktrace.len)
        field_text(o, "error_stacktrace", e->stacktrace);
    if (e->doc_code.len)
        field_text(o, "restate_doc_error_code", e->doc_code);
    if (e->has_command_index)
        field_u64(o, "related_command_index", e->command_index);
    if (e->command_name.len)
        field_text(o, "related_command_name", e->command_name);
    if (e->has_command_type)
        field_text(o, "related_command_type", slice_str(sp_type_name((uint16_t)e->command_type)));
}

static void put_event_json(struct buf *out, const struct cmd_event *e, const char *type) {
    struct object o = {.out = out};

    buf_put_u8(out, '{');
    field_text(&o, "ty", slice_str(type));
    if (e->type == EVENT_TRANSIENT_ERROR) {
        failure_fields(&o, e);
    } else if (e->type == EVENT_PAUSED && (e->code || e->message.len)) {
        struct object sub = {.out = out};

        field(&o, "last_failure");
        buf_put_u8(out, '{');
        failure_fields(&sub, e);
        buf_put_u8(out, '}');
    } else if (e->type == EVENT_SUSPENDED && e->future) {
        field(&o, "awaiting_on");
        put_future(out, e->future, 0);
    }
    buf_put_u8(out, '}');
}

int rows_event(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err) {
    static const char *const types[] = {
        [EVENT_TRANSIENT_ERROR] = "TransientError", [EVENT_PAUSED] = "Paused", [EVENT_SUSPENDED] = "Suspended"};
    struct cmd_event e;
    const char *type;
    int rc;

    if (key.len < JOURNAL_KEY_BYTES || value.len < 13)
        return err_set(err, RS_ECORRUPT, "a row of the journals is damaged");
    if (key.data[JOURNAL_KEY_BYTES - 1] != J_EVENT)
        return 0;
    rc = cmd_event_decode(&e, slice_from(value, 13), &r->arena, err);
    if (rc < 0)
        return rc;
    type = e.type < ARRAY_SIZE(types) && types[e.type] ? types[e.type] : "Unknown";
    row_int(row, 0, get_u64be(key.data + 1));
    row_id(row, 1, slice_sub(key, 1, INVOCATION_ID_BYTES));
    row_int(row, 2, get_u32le(value.data + 1));
    row_ts(row, 3, get_u64le(value.data + 5));
    row_str(row, 4, type);
    if (row_wants(row, 5)) {
        struct buf b = {0};

        put_event_json(&b, &e, type);
        row_text(row, 5, buf_slice(&b));
        buf_done(&b);
    }
    return 1;
}
