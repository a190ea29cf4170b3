/* SPDX-License-Identifier: Apache-2.0 */
/* proto/service.h : the service protocol between server and SDK, V5 to V7: frames, types, and what the server needs to
 * know of messages that it stores as they came. The messages themselves are in service.def.
 *
 * A frame, big-endian:  u16 type | u16 flags | u32 length of the payload | payload (one message) */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "proto/service.gen.h"

struct cmd_result;

#define SP_VERSION_MIN 5u
#define SP_VERSION_DEFAULT 6u /* highest one chosen unless V7 is switched on */
#define SP_VERSION_MAX 7u
#define SP_FRAME_HEADER_BYTES 8u
#define SP_FLAG_REQUESTED_ACK 0x8000u
#define SP_MESSAGE_SLACK_BYTES (256u << 10) /* a frame may exceed the message size limit by this */

#define SP_SIGNAL_CANCEL 1u
#define SP_SIGNAL_FIRST_AWAKEABLE 17u

enum sp_type {
    SP_START = 0x0000,
    SP_SUSPENSION = 0x0001,
    SP_ERROR = 0x0002,
    SP_END = 0x0003,
    SP_COMMAND_ACK = 0x0004,
    SP_PROPOSE_RUN_COMPLETION = 0x0005,
    SP_AWAITING_ON = 0x0006,                /* V7 */
    SP_PROPOSE_RUN_COMPLETION_ACK = 0x0007, /* V7 */

    SP_INPUT = 0x0400,
    SP_OUTPUT = 0x0401,
    SP_GET_LAZY_STATE = 0x0402,
    SP_SET_STATE = 0x0403,
    SP_CLEAR_STATE = 0x0404,
    SP_CLEAR_ALL_STATE = 0x0405,
    SP_GET_LAZY_STATE_KEYS = 0x0406,
    SP_GET_EAGER_STATE = 0x0407,
    SP_GET_EAGER_STATE_KEYS = 0x0408,
    SP_GET_PROMISE = 0x0409,
    SP_PEEK_PROMISE = 0x040a,
    SP_COMPLETE_PROMISE = 0x040b,
    SP_SLEEP = 0x040c,
    SP_CALL = 0x040d,
    SP_ONE_WAY_CALL = 0x040e,
    SP_SEND_SIGNAL = 0x0410,
    SP_RUN = 0x0411,
    SP_ATTACH_INVOCATION = 0x0412,
    SP_GET_INVOCATION_OUTPUT = 0x0413, /* struct sp_attach_invocation */
    SP_COMPLETE_AWAKEABLE = 0x0414,

    /* notifications: all of them are a struct sp_notification */
    SP_GET_LAZY_STATE_COMPLETION = 0x8002,
    SP_GET_LAZY_STATE_KEYS_COMPLETION = 0x8006,
    SP_GET_PROMISE_COMPLETION = 0x8009,
    SP_PEEK_PROMISE_COMPLETION = 0x800a,
    SP_COMPLETE_PROMISE_COMPLETION = 0x800b,
    SP_SLEEP_COMPLETION = 0x800c,
    SP_CALL_COMPLETION = 0x800d,
    SP_CALL_INVOCATION_ID = 0x800e, /* also of one-way calls */
    SP_RUN_COMPLETION = 0x8011,
    SP_ATTACH_INVOCATION_COMPLETION = 0x8012,
    SP_GET_INVOCATION_OUTPUT_COMPLETION = 0x8013,
    SP_SIGNAL = 0xfbff,
};

enum sp_combinator {
    SP_UNKNOWN = 0, /* like the first completed one */
    SP_FIRST_COMPLETED = 1,
    SP_ALL_COMPLETED = 2,
    SP_FIRST_SUCCEEDED_OR_ALL_FAILED = 3,
    SP_ALL_SUCCEEDED_OR_FIRST_FAILED = 4,
};
enum sp_behavior { SP_BEHAVIOR_RETRY = 0, SP_BEHAVIOR_PAUSE = 1, SP_BEHAVIOR_FAIL = 2 };

/* --- types --- */

static inline bool sp_type_is_command(uint16_t type) { /* of the command space, known or not */
    return type >= 0x0400 && type < 0x8000;
}
static inline bool sp_type_is_notification(uint16_t type) {
    return type >= 0x8000 && type <= 0xfbff;
}
/* sp_type_name() - "Run" for a Run command and for its completion; "unknown" otherwise. Static string. */
const char *sp_type_name(uint16_t type);
/* sp_entry_type() - "Command: Run", "Notification: Run" for what a journal holds; NULL for anything else. Static. */
const char *sp_entry_type(uint16_t type);
/* sp_type_allowed_from_sdk() - false for what only the server sends, and for unknown types. */
bool sp_type_allowed_from_sdk(uint16_t type);
/* sp_type_result() - the notification that answers a command by its result id; 0: the command has none, or is none. */
uint16_t sp_type_result(uint16_t command);

/* --- versions --- */

/* sp_content_type() - "application/vnd.restate.invocation.v6"; NULL for a version this server does not speak. */
const char *sp_content_type(uint32_t version);
/* sp_version_choose() - for an invocation on a deployment that speaks @min to @max; 0: none in common (RT0013). */
uint32_t sp_version_choose(uint32_t min, uint32_t max, bool v7_enabled);

/* --- frames --- */

struct sp_frame {
    uint16_t type, flags;
    struct slice payload;
};

void sp_frame_header_put(uint8_t at[SP_FRAME_HEADER_BYTES], uint16_t type, uint16_t flags, uint32_t len);
void sp_frame_put(struct buf *out, uint16_t type, uint16_t flags, struct slice payload);
/* sp_frame_begin() - room for a header; encode the payload behind it, then call sp_frame_end() with what was returned.
 */
size_t sp_frame_begin(struct buf *out);
void sp_frame_end(struct buf *out, size_t begin, uint16_t type, uint16_t flags);
/* sp_start_frame() - a whole Start frame. */
void sp_start_frame(const struct sp_start *m, struct buf *out);
/* sp_put_field_message_header() - tag and length of a message field, for those who stream a repeated field: the message
 * of @len bytes is appended next. */
void sp_put_field_message_header(struct buf *out, uint32_t field, size_t len);

/* Cuts frames out of pieces of any size. Zeroed plus limit is ready. */
struct sp_decoder {
    size_t limit;     /* bytes of payload that are too many */
    struct buf part;  /* a frame that is not whole in one piece; memory follows what arrived, not what was announced */
    struct buf given; /* the frame put together last, while the piece that ended it is being read */
    bool drained;     /* the piece is used up: what was returned for it is no longer valid */
};

void sp_decoder_init(struct sp_decoder *d, size_t limit);
void sp_decoder_done(struct sp_decoder *d);
/**
 * sp_decoder_next() - the next frame.
 * @in: the piece; what was used is cut off its front. A frame that is whole in it is not copied
 *
 * Return: 1 a frame, its payload valid as long as the piece is and until the first call with the next piece; 0 @in is
 * used up; RS_ETOOBIG a payload of @limit bytes or more is announced (RT0003), after which the stream cannot be read
 * on.
 */
int sp_decoder_next(struct sp_decoder *d, struct slice *in, struct sp_frame *ret, struct err *err) RS_WARN_UNUSED;
/* sp_decoder_announced() - bytes of the frame that @in begins with or goes on with, its header included; 0: not known
 * yet. */
size_t sp_decoder_announced(const struct sp_decoder *d, struct slice in);
/* sp_decoder_trim() - everything returned so far was used: gives large buffers back at once. */
void sp_decoder_trim(struct sp_decoder *d);
/* sp_decoder_idle() - no frame is half read: the stream may end here. */
bool sp_decoder_idle(const struct sp_decoder *d);

/* --- messages that are kept as they came --- */

/* sp_message_check() - whether @payload is a well-formed message of @type, with at most one member of each oneof.
 * Return: 0; RS_EINVAL and a text for people; RS_ETOOBIG nested too deeply or too many elements. */
int sp_message_check(uint16_t type, struct slice payload, struct arena *a, struct err *err) RS_WARN_UNUSED;
/* sp_command_completions() - the completion ids that a command allocates, in the order of their notifications: a Call
 * has two (invocation id, result), most others one or none.
 * Return: how many are in @ret; RS_EINVAL malformed, or an id that its command must have is missing or 0. */
int sp_command_completions(uint16_t type, struct slice payload, uint32_t ret[2], struct err *err) RS_WARN_UNUSED;

enum sp_id_kind { SP_ID_COMPLETION = 1, SP_ID_SIGNAL = 2, SP_ID_SIGNAL_NAME = 3 };
struct sp_notification_id {
    enum sp_id_kind kind;
    uint32_t number;   /* completion id or signal index */
    struct slice name; /* SP_ID_SIGNAL_NAME */
};
enum sp_result_kind {
    SP_RESULT_UNKNOWN = 0,
    SP_RESULT_VOID,
    SP_RESULT_VALUE,
    SP_RESULT_FAILURE,
    SP_RESULT_INVOCATION_ID,
    SP_RESULT_STATE_KEYS,
};
/* sp_notification_id() - what a notification is about, and the sort of its result, without decoding the rest. The name
 * is a view. @ret_result may be NULL. Return: 0, RS_EINVAL. */
int sp_notification_id(struct slice payload, struct sp_notification_id *ret, enum sp_result_kind *ret_result,
                       struct err *err) RS_WARN_UNUSED;

/* --- payloads of notifications, appended to @out --- */

/* sp_put_result() - a notification with the outcome @r (command.def): value, failure, else void. */
void sp_put_result(struct buf *out, const struct sp_notification_id *id, const struct cmd_result *r);
void sp_put_void(struct buf *out, const struct sp_notification_id *id);
void sp_put_value(struct buf *out, const struct sp_notification_id *id, struct slice content);
void sp_put_failure(struct buf *out, const struct sp_notification_id *id, uint32_t code, struct slice message);
void sp_put_invocation_id(struct buf *out, uint32_t completion_id, struct slice text);
void sp_put_state_keys(struct buf *out, uint32_t completion_id, const struct slice *keys, size_t n);
static inline struct sp_notification_id sp_completion(uint32_t completion_id) {
    return (struct sp_notification_id){.kind = SP_ID_COMPLETION, .number = completion_id};
}
