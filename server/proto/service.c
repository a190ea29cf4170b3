/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/service.h"

#include "proto/command.gen.h"

enum { KEEP_BYTES = 64 << 10 }; /* a decoder's buffer above this is given back after its frame */

enum { FROM_SDK = 1, ID_10 = 2, ID_11 = 4 }; /* ID_n: field n is a completion id */

struct type_info {
    const char *name, *entry;
    uint8_t flags;
    uint16_t result; /* type of the notification for field 11 */
};

#define COMMAND(name_, flags_, result_)                                                                                \
    { name_, "Command: " name_, (flags_), (result_) }
#define NOTIFICATION(name_)                                                                                            \
    { name_, "Notification: " name_, 0, 0 }
#define CONTROL(name_, flags_)                                                                                         \
    { name_, NULL, (flags_), 0 }

static const struct type_info control_types[] = {
    [SP_START] = CONTROL("Start", 0),
    [SP_SUSPENSION] = CONTROL("Suspension", FROM_SDK),
    [SP_ERROR] = CONTROL("Error", FROM_SDK),
    [SP_END] = CONTROL("End", FROM_SDK),
    [SP_COMMAND_ACK] = CONTROL("CommandAck", 0),
    [SP_PROPOSE_RUN_COMPLETION] = CONTROL("ProposeRunCompletion", FROM_SDK),
    [SP_AWAITING_ON] = CONTROL("AwaitingOn", FROM_SDK),
    [SP_PROPOSE_RUN_COMPLETION_ACK] = CONTROL("ProposeRunCompletionAck", 0),
};

static const struct type_info command_types[] = {
    [SP_INPUT - 0x400] = COMMAND("Input", 0, 0),
    [SP_OUTPUT - 0x400] = COMMAND("Output", FROM_SDK, 0),
    [SP_GET_LAZY_STATE - 0x400] = COMMAND("GetLazyState", FROM_SDK | ID_11, SP_GET_LAZY_STATE_COMPLETION),
    [SP_SET_STATE - 0x400] = COMMAND("SetState", FROM_SDK, 0),
    [SP_CLEAR_STATE - 0x400] = COMMAND("ClearState", FROM_SDK, 0),
    [SP_CLEAR_ALL_STATE - 0x400] = COMMAND("ClearAllState", FROM_SDK, 0),
    [SP_GET_LAZY_STATE_KEYS - 0x400] = COMMAND("GetLazyStateKeys", FROM_SDK | ID_11, SP_GET_LAZY_STATE_KEYS_COMPLETION),
    [SP_GET_EAGER_STATE - 0x400] = COMMAND("GetEagerState", FROM_SDK, 0),
    [SP_GET_EAGER_STATE_KEYS - 0x400] = COMMAND("GetEagerStateKeys", FROM_SDK, 0),
    [SP_GET_PROMISE - 0x400] = COMMAND("GetPromise", FROM_SDK | ID_11, SP_GET_PROMISE_COMPLETION),
    [SP_PEEK_PROMISE - 0x400] = COMMAND("PeekPromise", FROM_SDK | ID_11, SP_PEEK_PROMISE_COMPLETION),
    [SP_COMPLETE_PROMISE - 0x400] = COMMAND("CompletePromise", FROM_SDK | ID_11, SP_COMPLETE_PROMISE_COMPLETION),
    [SP_SLEEP - 0x400] = COMMAND("Sleep", FROM_SDK | ID_11, SP_SLEEP_COMPLETION),
    [SP_CALL - 0x400] = COMMAND("Call", FROM_SDK | ID_10 | ID_11, SP_CALL_COMPLETION),
    [SP_ONE_WAY_CALL - 0x400] = COMMAND("OneWayCall", FROM_SDK | ID_10, 0),
    [SP_SEND_SIGNAL - 0x400] = COMMAND("SendSignal", FROM_SDK, 0),
    [SP_RUN - 0x400] = COMMAND("Run", FROM_SDK | ID_11, SP_RUN_COMPLETION),
    [SP_ATTACH_INVOCATION - 0x400] = COMMAND("AttachInvocation", FROM_SDK | ID_11, SP_ATTACH_INVOCATION_COMPLETION),
    [SP_GET_INVOCATION_OUTPUT - 0x400] =
        COMMAND("GetInvocationOutput", FROM_SDK | ID_11, SP_GET_INVOCATION_OUTPUT_COMPLETION),
    [SP_COMPLETE_AWAKEABLE - 0x400] = COMMAND("CompleteAwakeable", FROM_SDK, 0),
};

static const struct type_info notification_types[] = {
    [SP_GET_LAZY_STATE_COMPLETION - 0x8000] = NOTIFICATION("GetLazyState"),
    [SP_GET_LAZY_STATE_KEYS_COMPLETION - 0x8000] = NOTIFICATION("GetLazyStateKeys"),
    [SP_GET_PROMISE_COMPLETION - 0x8000] = NOTIFICATION("GetPromise"),
    [SP_PEEK_PROMISE_COMPLETION - 0x8000] = NOTIFICATION("PeekPromise"),
    [SP_COMPLETE_PROMISE_COMPLETION - 0x8000] = NOTIFICATION("CompletePromise"),
    [SP_SLEEP_COMPLETION - 0x8000] = NOTIFICATION("Sleep"),
    [SP_CALL_COMPLETION - 0x8000] = NOTIFICATION("Call"),
    [SP_CALL_INVOCATION_ID - 0x8000] = NOTIFICATION("CallInvocationId"),
    [SP_RUN_COMPLETION - 0x8000] = NOTIFICATION("Run"),
    [SP_ATTACH_INVOCATION_COMPLETION - 0x8000] = NOTIFICATION("AttachInvocation"),
    [SP_GET_INVOCATION_OUTPUT_COMPLETION - 0x8000] = NOTIFICATION("GetInvocationOutput"),
};

static const struct type_info signal_type = NOTIFICATION("Signal");

static const struct type_info *type_info(uint16_t type) { /* NULL: unknown */
    const struct type_info *t = NULL;

    if (type < ARRAY_SIZE(control_types))
        t = &control_types[type];
    else if (type >= 0x0400 && type - 0x0400u < ARRAY_SIZE(command_types))
        t = &command_types[type - 0x0400];
    else if (type >= 0x8000 && type - 0x8000u < ARRAY_SIZE(notification_types))
        t = &notification_types[type - 0x8000];
    else if (type == SP_SIGNAL)
        t = &signal_type;
    return t && t->name ? t : NULL;
}

const char *sp_type_name(uint16_t type) {
    const struct type_info *t = type_info(type);

    return t ? t->name : "unknown";
}

const char *sp_entry_type(uint16_t type) {
    const struct type_info *t = type_info(type);

    return t ? t->entry : NULL;
}

bool sp_type_allowed_from_sdk(uint16_t type) {
    const struct type_info *t = type_info(type);

    return t && t->flags & FROM_SDK;
}

uint16_t sp_type_result(uint16_t command) {
    const struct type_info *t = type_info(command);

    return t ? t->result : 0;
}

const char *sp_content_type(uint32_t version) {
    static const char *const names[] = {
        "application/vnd.restate.invocation.v5",
        "application/vnd.restate.invocation.v6",
        "application/vnd.restate.invocation.v7",
    };

    return version >= SP_VERSION_MIN && version <= SP_VERSION_MAX ? names[version - SP_VERSION_MIN] : NULL;
}

uint32_t sp_version_choose(uint32_t min, uint32_t max, bool v7_enabled) {
    const uint32_t highest = v7_enabled ? SP_VERSION_MAX : SP_VERSION_DEFAULT;

    if (min > highest || max < SP_VERSION_MIN || min > max)
        return 0;
    return MIN(max, highest);
}

/* --- frames --- */

void sp_frame_header_put(uint8_t at[SP_FRAME_HEADER_BYTES], uint16_t type, uint16_t flags, uint32_t len) {
    put_u16be(at, type);
    put_u16be(at + 2, flags);
    put_u32be(at + 4, len);
}

void sp_frame_put(struct buf *out, uint16_t type, uint16_t flags, struct slice payload) {
    uint8_t *p = buf_reserve(out, SP_FRAME_HEADER_BYTES + payload.len);

    sp_frame_header_put(p, type, flags, (uint32_t)payload.len);
    out->len += SP_FRAME_HEADER_BYTES;
    buf_put_slice(out, payload);
}

size_t sp_frame_begin(struct buf *out) {
    const size_t begin = out->len;

    (void)buf_add(out, SP_FRAME_HEADER_BYTES);
    return begin;
}

void sp_frame_end(struct buf *out, size_t begin, uint16_t type, uint16_t flags) {
    sp_frame_header_put(out->data + begin, type, flags, (uint32_t)(out->len - begin - SP_FRAME_HEADER_BYTES));
}

void sp_start_frame(const struct sp_start *m, struct buf *out) {
    const size_t begin = sp_frame_begin(out);

    sp_start_encode(m, out);
    sp_frame_end(out, begin, SP_START, 0);
}

void sp_put_field_message_header(struct buf *out, uint32_t field, size_t len) {
    uint8_t small[20], *p = pb_w_varint(pb_w_varint(small + sizeof small, len), (uint64_t)field << 3 | PB_LEN);

    buf_put(out, p, (size_t)(small + sizeof small - p));
}

void sp_decoder_init(struct sp_decoder *d, size_t limit) {
    *d = (struct sp_decoder){.limit = limit};
}

void sp_decoder_done(struct sp_decoder *d) {
    buf_done(&d->part);
    buf_done(&d->given);
}

void sp_decoder_trim(struct sp_decoder *d) {
    d->drained = false;
    if (d->given.cap > KEEP_BYTES)
        buf_done(&d->given);
}

size_t sp_decoder_announced(const struct sp_decoder *d, struct slice in) {
    size_t had = MIN(d->part.len, (size_t)SP_FRAME_HEADER_BYTES);
    uint8_t head[SP_FRAME_HEADER_BYTES];

    if (had + in.len < SP_FRAME_HEADER_BYTES)
        return 0;
    if (had)
        memcpy(head, d->part.data, had);
    memcpy(head + had, in.data, SP_FRAME_HEADER_BYTES - had);
    return SP_FRAME_HEADER_BYTES + (size_t)get_u32be(head + 4);
}

bool sp_decoder_idle(const struct sp_decoder *d) {
    return d->part.len == 0;
}

/* Reads the header at @at. Return: 0 or RS_ETOOBIG. */
static int frame_header(const struct sp_decoder *d, const uint8_t *at, struct sp_frame *ret, size_t *ret_len,
                        struct err *err) {
    ret->type = get_u16be(at);
    ret->flags = get_u16be(at + 2);
    *ret_len = get_u32be(at + 4);
    if (*ret_len >= d->limit)
        return err_set(err, RS_ETOOBIG, "message %s of %zu bytes is not below the limit of %zu",
                       sp_type_name(ret->type), *ret_len, d->limit);
    return 0;
}

static void take(struct sp_decoder *d, struct slice *in, size_t n) {
    n = MIN(n, in->len);
    buf_put(&d->part, in->data, n);
    *in = slice_from(*in, n);
}

/* Only the first frame that ends in a piece can have begun in an earlier one, so one buffer holds it while the rest of
 * the piece is read into the other. */
static int frame_in_parts(struct sp_decoder *d, struct slice *in, struct sp_frame *ret, struct err *err) {
    struct buf whole;
    size_t len;
    int r;

    if (d->part.len < SP_FRAME_HEADER_BYTES)
        take(d, in, SP_FRAME_HEADER_BYTES - d->part.len);
    if (d->part.len < SP_FRAME_HEADER_BYTES)
        return 0;
    r = frame_header(d, d->part.data, ret, &len, err);
    if (r < 0)
        return r;
    (void)buf_reserve(&d->part, SP_FRAME_HEADER_BYTES + len - d->part.len); /* once, and no more than that */
    take(d, in, SP_FRAME_HEADER_BYTES + len - d->part.len);
    if (d->part.len < SP_FRAME_HEADER_BYTES + len)
        return 0;
    whole = d->part;
    d->part = d->given;
    d->given = whole;
    buf_clear(&d->part);
    ret->payload = slice_of(d->given.data + SP_FRAME_HEADER_BYTES, len);
    return 1;
}

int sp_decoder_next(struct sp_decoder *d, struct slice *in, struct sp_frame *ret, struct err *err) {
    size_t len;
    int r;

    if (d->drained)
        sp_decoder_trim(d);
    if (d->part.len == 0) {
        if (in->len >= SP_FRAME_HEADER_BYTES) {
            r = frame_header(d, in->data, ret, &len, err);
            if (r < 0)
                return r;
            if (in->len - SP_FRAME_HEADER_BYTES >= len) {
                ret->payload = slice_of(in->data + SP_FRAME_HEADER_BYTES, len);
                *in = slice_from(*in, SP_FRAME_HEADER_BYTES + len);
                return 1;
            }
        }
        take(d, in, in->len);
        d->drained = true;
        return 0;
    }
    r = frame_in_parts(d, in, ret, err);
    d->drained = r == 0;
    return r;
}

/* --- messages --- */

static int one_of(uint16_t type, unsigned members, struct err *err) {
    return members > 1 ? err_set(err, RS_EINVAL, "%s: more than one member of a oneof is set", sp_type_name(type)) : 0;
}

#define HAS(x) ((x) != NULL)
#define CHECK(message_, members_)                                                                                      \
    do {                                                                                                               \
        struct sp_##message_ m;                                                                                        \
        int r = sp_##message_##_decode(&m, payload, a, err);                                                           \
        return r < 0 ? r : one_of(type, (unsigned)(members_), err);                                                    \
    } while (0)

static int check_control(uint16_t type, struct slice payload, struct arena *a, struct err *err) {
    switch (type) {
    case SP_START:
        CHECK(start, 0);
    case SP_SUSPENSION:
        CHECK(suspension, 0);
    case SP_ERROR:
        CHECK(error, 0);
    case SP_COMMAND_ACK:
        CHECK(command_ack, 0);
    case SP_PROPOSE_RUN_COMPLETION:
        CHECK(propose_run_completion, HAS(m.value.data) + HAS(m.failure));
    case SP_AWAITING_ON:
        CHECK(awaiting_on, 0);
    case SP_PROPOSE_RUN_COMPLETION_ACK:
        CHECK(propose_run_completion_ack, 0);
    default:
        CHECK(end, 0);
    }
}

static int check_signal(uint16_t type, struct slice payload, struct arena *a, struct err *err) {
    struct sp_send_signal m;
    int r = sp_send_signal_decode(&m, payload, a, err);

    if (r == 0)
        r = one_of(type, (unsigned)(m.has_idx + HAS(m.signal_name.data)), err);
    return r < 0 ? r : one_of(type, (unsigned)(HAS(m.none) + HAS(m.value) + HAS(m.failure)), err);
}

static int check_command(uint16_t type, struct slice payload, struct arena *a, struct err *err) {
    switch (type) {
    case SP_INPUT:
        CHECK(input, 0);
    case SP_OUTPUT:
        CHECK(output, HAS(m.value) + HAS(m.failure));
    case SP_GET_LAZY_STATE:
        CHECK(get_lazy_state, 0);
    case SP_SET_STATE:
        CHECK(set_state, 0);
    case SP_CLEAR_STATE:
        CHECK(clear_state, 0);
    case SP_CLEAR_ALL_STATE:
        CHECK(clear_all_state, 0);
    case SP_GET_LAZY_STATE_KEYS:
        CHECK(get_lazy_state_keys, 0);
    case SP_GET_EAGER_STATE:
        CHECK(get_eager_state, HAS(m.none) + HAS(m.value));
    case SP_GET_EAGER_STATE_KEYS:
        CHECK(get_eager_state_keys, 0);
    case SP_GET_PROMISE:
        CHECK(get_promise, 0);
    case SP_PEEK_PROMISE:
        CHECK(peek_promise, 0);
    case SP_COMPLETE_PROMISE:
        CHECK(complete_promise, HAS(m.value) + HAS(m.failure));
    case SP_SLEEP:
        CHECK(sleep, 0);
    case SP_CALL:
        CHECK(call, 0);
    case SP_ONE_WAY_CALL:
        CHECK(one_way_call, 0);
    case SP_SEND_SIGNAL:
        return check_signal(type, payload, a, err);
    case SP_RUN:
        CHECK(run, 0);
    case SP_ATTACH_INVOCATION:
    case SP_GET_INVOCATION_OUTPUT:
        CHECK(attach_invocation, HAS(m.invocation_id.data) + HAS(m.idempotent) + HAS(m.workflow));
    default:
        CHECK(complete_awakeable, HAS(m.value) + HAS(m.failure));
    }
}

static int check_notification(uint16_t type, struct slice payload, struct arena *a, struct err *err) {
    struct sp_notification m;
    int r = sp_notification_decode(&m, payload, a, err);

    if (r == 0)
        r = one_of(type, (unsigned)(m.has_completion_id + m.has_signal_idx + HAS(m.signal_name.data)), err);
    return r < 0 ? r
                 : one_of(type,
                          (unsigned)(HAS(m.none) + HAS(m.value) + HAS(m.failure) + HAS(m.invocation_id.data) +
                                     HAS(m.state_keys)),
                          err);
}

int sp_message_check(uint16_t type, struct slice payload, struct arena *a, struct err *err) {
    if (!type_info(type))
        return err_set(err, RS_EINVAL, "message type 0x%04x is not known", (unsigned)type);
    if (sp_type_is_command(type))
        return check_command(type, payload, a, err);
    if (sp_type_is_notification(type))
        return check_notification(type, payload, a, err);
    return check_control(type, payload, a, err);
}

int sp_command_completions(uint16_t type, struct slice payload, uint32_t ret[2], struct err *err) {
    const struct type_info *t = type_info(type);
    const unsigned want = t ? t->flags & (ID_10 | ID_11) : 0;
    const struct slice in = payload.data ? payload : SLICE_EMPTY;
    const uint8_t *p = in.data, *const end = p + in.len;
    uint32_t ids[2] = {0, 0}; /* fields 10 and 11 */
    struct pb_ctx c = {0};
    int n = 0;

    if (!want)
        return 0;
    while (p && p < end) {
        uint32_t tag;

        p = pb_u32(p, end, &tag, &c);
        if (!p)
            break;
        if (tag == (10 << 3 | PB_VARINT) || tag == (11 << 3 | PB_VARINT))
            p = pb_u32(p, end, &ids[(tag >> 3) - 10], &c);
        else
            p = pb_skip(p, end, tag, &c);
    }
    if (!p)
        return err_set(err, RS_EINVAL, "%s: malformed message", t->name);
    for (unsigned i = 0; i < 2; i++) {
        if (!(want & (i ? ID_11 : ID_10)))
            continue;
        if (!ids[i])
            return err_set(err, RS_EINVAL, "%s: completion id (field %u) is missing", t->name, 10 + i);
        ret[n++] = ids[i];
    }
    return n;
}

static enum sp_result_kind result_kind(uint32_t tag) {
    switch (tag) {
    case 4 << 3 | PB_LEN:
        return SP_RESULT_VOID;
    case 5 << 3 | PB_LEN:
        return SP_RESULT_VALUE;
    case 6 << 3 | PB_LEN:
        return SP_RESULT_FAILURE;
    case 16 << 3 | PB_LEN:
        return SP_RESULT_INVOCATION_ID;
    case 17 << 3 | PB_LEN:
        return SP_RESULT_STATE_KEYS;
    default:
        return SP_RESULT_UNKNOWN;
    }
}

int sp_notification_id(struct slice payload, struct sp_notification_id *ret, enum sp_result_kind *ret_result,
                       struct err *err) {
    const struct slice in = payload.data ? payload : SLICE_EMPTY;
    const uint8_t *p = in.data, *const end = p + in.len;
    enum sp_result_kind result = SP_RESULT_UNKNOWN;
    struct sp_notification_id id = {0};
    struct pb_ctx c = {0};

    while (p && p < end) {
        enum sp_result_kind kind;
        uint32_t tag;

        p = pb_u32(p, end, &tag, &c);
        if (!p)
            break;
        if (tag == (1 << 3 | PB_VARINT) || tag == (2 << 3 | PB_VARINT)) {
            id.kind = tag >> 3 == 1 ? SP_ID_COMPLETION : SP_ID_SIGNAL;
            p = pb_u32(p, end, &id.number, &c);
        } else if (tag == (3 << 3 | PB_LEN)) {
            id.kind = SP_ID_SIGNAL_NAME;
            p = pb_str(p, end, &id.name, &c);
        } else {
            kind = result_kind(tag);
            result = kind ? kind : result;
            p = pb_skip(p, end, tag, &c);
        }
    }
    if (!p || !id.kind)
        return err_set(err, RS_EINVAL, !p ? "a notification is malformed" : "a notification has no id");
    *ret = id;
    if (ret_result)
        *ret_result = result;
    return 0;
}

static struct sp_notification with_id(const struct sp_notification_id *id) {
    struct sp_notification m = {0};

    switch (id->kind) {
    case SP_ID_COMPLETION:
        m.completion_id = id->number;
        m.has_completion_id = true;
        break;
    case SP_ID_SIGNAL:
        m.signal_idx = id->number;
        m.has_signal_idx = true;
        break;
    case SP_ID_SIGNAL_NAME:
        m.signal_name = id->name.data ? id->name : SLICE_EMPTY;
        break;
    }
    return m;
}

void sp_put_void(struct buf *out, const struct sp_notification_id *id) {
    struct sp_notification m = with_id(id);
    struct sp_empty none = {0};

    m.none = &none;
    sp_notification_encode(&m, out);
}

/* An empty value is a Value without content on the wire, as the reference writes it. */
void sp_put_value(struct buf *out, const struct sp_notification_id *id, struct slice content) {
    struct sp_notification m = with_id(id);
    struct sp_value value = {.content = content.len ? content : SLICE_NULL};

    m.value = &value;
    sp_notification_encode(&m, out);
}

void sp_put_failure(struct buf *out, const struct sp_notification_id *id, uint32_t code, struct slice message) {
    struct cmd_failure failure = {.code = code, .message = message};

    sp_put_result(out, id, &(struct cmd_result){.failure = &failure});
}

void sp_put_result(struct buf *out, const struct sp_notification_id *id, const struct cmd_result *r) {
    struct sp_notification m = with_id(id);
    struct sp_failure failure = {0};

    if (!r->failure) {
        if (r->value.data)
            sp_put_value(out, id, r->value);
        else
            sp_put_void(out, id);
        return;
    }
    /* sp.failure and cmd.failure have the same fields, and so the same bytes */
    m.failure = &failure;
    failure.code = r->failure->code;
    failure.message = r->failure->message.len ? r->failure->message : SLICE_NULL;
    if (r->failure->n_metadata) {
        struct cmd_failure only = {.metadata = r->failure->metadata, .n_metadata = r->failure->n_metadata};
        _cleanup_buf_ struct buf raw = {0};

        cmd_failure_encode(&only, &raw);
        failure.unknown = buf_slice(&raw);
        sp_notification_encode(&m, out);
        return;
    }
    sp_notification_encode(&m, out);
}

void sp_put_invocation_id(struct buf *out, uint32_t completion_id, struct slice text) {
    struct sp_notification m = {.completion_id = completion_id, .has_completion_id = true, .invocation_id = text};

    sp_notification_encode(&m, out);
}

void sp_put_state_keys(struct buf *out, uint32_t completion_id, const struct slice *keys, size_t n) {
    struct sp_state_keys all = {.keys = keys, .n_keys = n};
    struct sp_notification m = {.completion_id = completion_id, .has_completion_id = true, .state_keys = &all};

    sp_notification_encode(&m, out);
}
