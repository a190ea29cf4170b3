/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that a reference server and SDK exchanged (tests/data/vectors/service.txt) and what they must mean here. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "proto/command.gen.h"
#include "proto/service.h"

enum { LINE_BYTES = 16384, FRAMES_MAX = 1024 };

struct vector {
    char file[32];
    int exchange;
    bool from_sdk;
    struct slice frame; /* header and payload */
};

static struct vector *vectors;
static size_t n_vectors;
static struct arena memory;

static int load(void **state) {
    FILE *f = fopen(TEST_DATA_DIR "/vectors/service.txt", "r");
    static char line[LINE_BYTES], text[LINE_BYTES];

    (void)state;
    if (!f)
        return -1;
    vectors = xnewn(struct vector, FRAMES_MAX);
    while (n_vectors < FRAMES_MAX && fgets(line, sizeof line, f)) {
        struct vector *v = &vectors[n_vectors];
        char side;
        size_t len;
        uint8_t *p;

        if (line[0] == '#' || sscanf(line, "%31s %d %c %16383s", v->file, &v->exchange, &side, text) != 4)
            continue;
        v->from_sdk = side == 'D';
        len = strlen(text) / 2;
        p = arena_alloc(&memory, len);
        for (size_t i = 0; i < len; i++)
            if (sscanf(text + 2 * i, "%2hhx", &p[i]) != 1)
                return -1;
        v->frame = slice_of(p, len);
        n_vectors++;
    }
    return fclose(f);
}

static int unload(void **state) {
    (void)state;
    free(vectors);
    arena_done(&memory);
    return 0;
}

static uint16_t type_of(const struct vector *v) {
    return get_u16be(v->frame.data);
}

static struct slice payload_of(const struct vector *v) {
    return slice_from(v->frame, SP_FRAME_HEADER_BYTES);
}

#define RECODE(message_)                                                                                               \
    do {                                                                                                               \
        struct sp_##message_ m;                                                                                        \
        assert_int_equal(sp_##message_##_decode(&m, in, a, NULL), 0);                                                  \
        assert_int_equal(m.unknown.len, 0);                                                                            \
        sp_##message_##_encode(&m, out);                                                                               \
        return;                                                                                                        \
    } while (0)

static void recode(uint16_t type, struct slice in, struct arena *a, struct buf *out) {
    if (sp_type_is_notification(type))
        RECODE(notification);
    switch (type) {
    case SP_START:
        RECODE(start);
    case SP_SUSPENSION:
        RECODE(suspension);
    case SP_ERROR:
        RECODE(error);
    case SP_END:
        RECODE(end);
    case SP_PROPOSE_RUN_COMPLETION:
        RECODE(propose_run_completion);
    case SP_AWAITING_ON:
        RECODE(awaiting_on);
    case SP_PROPOSE_RUN_COMPLETION_ACK:
        RECODE(propose_run_completion_ack);
    case SP_INPUT:
        RECODE(input);
    case SP_OUTPUT:
        RECODE(output);
    case SP_GET_LAZY_STATE:
        RECODE(get_lazy_state);
    case SP_SET_STATE:
        RECODE(set_state);
    case SP_CLEAR_STATE:
        RECODE(clear_state);
    case SP_CLEAR_ALL_STATE:
        RECODE(clear_all_state);
    case SP_GET_LAZY_STATE_KEYS:
        RECODE(get_lazy_state_keys);
    case SP_GET_EAGER_STATE:
        RECODE(get_eager_state);
    case SP_GET_EAGER_STATE_KEYS:
        RECODE(get_eager_state_keys);
    case SP_GET_PROMISE:
        RECODE(get_promise);
    case SP_PEEK_PROMISE:
        RECODE(peek_promise);
    case SP_COMPLETE_PROMISE:
        RECODE(complete_promise);
    case SP_SLEEP:
        RECODE(sleep);
    case SP_CALL:
        RECODE(call);
    case SP_ONE_WAY_CALL:
        RECODE(one_way_call);
    case SP_SEND_SIGNAL:
        RECODE(send_signal);
    case SP_RUN:
        RECODE(run);
    case SP_ATTACH_INVOCATION:
        RECODE(attach_invocation);
    case SP_COMPLETE_AWAKEABLE:
        RECODE(complete_awakeable);
    default:
        fail_msg("no vector of type %04x was expected", (unsigned)type);
    }
}

static void every_recorded_message_is_read_and_written_byte_for_byte(void **state) {
    (void)state;
    assert_int_equal(n_vectors, 508);
    for (size_t i = 0; i < n_vectors; i++) {
        _cleanup_arena_ struct arena a = {0};
        _cleanup_buf_ struct buf out = {0};

        recode(type_of(&vectors[i]), payload_of(&vectors[i]), &a, &out);
        if (!slice_eq(buf_slice(&out), payload_of(&vectors[i])))
            fail_msg("frame %zu of %s differs", i, vectors[i].file);
        assert_int_equal(sp_message_check(type_of(&vectors[i]), payload_of(&vectors[i]), &a, NULL), 0);
        if (vectors[i].from_sdk)
            assert_true(sp_type_allowed_from_sdk(type_of(&vectors[i])));
        assert_string_not_equal(sp_type_name(type_of(&vectors[i])), "unknown");
    }
}

/* Feeds all frames in pieces whose sizes come from @next and checks that the same frames come out. */
static void feed(size_t (*next)(unsigned *seed), unsigned seed) {
    _cleanup_buf_ struct buf all = {0};
    struct sp_decoder d;
    size_t got = 0;

    for (size_t i = 0; i < n_vectors; i++)
        buf_put_slice(&all, vectors[i].frame);
    sp_decoder_init(&d, 1u << 20);
    for (size_t at = 0; at < all.len;) {
        struct slice rest = slice_sub(buf_slice(&all), at, next(&seed));
        /* a copy of its own size: reading past it is seen by a sanitizer */
        uint8_t *own = xmalloc(rest.len);
        struct slice piece = slice_of(memcpy(own, rest.data, rest.len), rest.len);
        struct sp_frame frames[FRAMES_MAX];
        size_t n = 0;
        int r;

        at += rest.len;
        while ((r = sp_decoder_next(&d, &piece, &frames[n], NULL)) > 0)
            n++;
        /* checked after the whole piece was read: every payload is still there, also that of a frame begun earlier */
        for (size_t i = 0; i < n; i++) {
            const struct vector *v = &vectors[got++];

            assert_int_equal(frames[i].type, type_of(v));
            assert_int_equal(frames[i].flags, get_u16be(v->frame.data + 2));
            assert_true(slice_eq(frames[i].payload, payload_of(v)));
        }
        assert_int_equal(r, 0);
        assert_int_equal(piece.len, 0);
        free(own);
    }
    assert_int_equal(got, n_vectors);
    assert_true(sp_decoder_idle(&d));
    sp_decoder_done(&d);
}

static size_t one(unsigned *seed) {
    (void)seed;
    return 1;
}
static size_t few(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return 1 + (*seed >> 16) % 40;
}
static size_t many(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return 1 + (*seed >> 16) % 16384;
}

static void frames_are_cut_out_of_pieces_of_any_size(void **state) {
    (void)state;
    feed(one, 0);
    for (unsigned seed = 1; seed < 20; seed++) {
        feed(few, seed);
        feed(many, seed);
    }
}

static void a_frame_that_is_whole_is_not_copied(void **state) {
    uint8_t in[11] = {0x04, 0x01, 0x80, 0, 0, 0, 0, 3, 1, 2, 3};
    struct slice piece = slice_of(in, sizeof in);
    struct sp_decoder d;
    struct sp_frame f;

    (void)state;
    sp_decoder_init(&d, 100);
    assert_int_equal(sp_decoder_next(&d, &piece, &f, NULL), 1);
    assert_int_equal(f.type, SP_OUTPUT);
    assert_int_equal(f.flags, SP_FLAG_REQUESTED_ACK);
    assert_ptr_equal(f.payload.data, in + 8);
    assert_int_equal(piece.len, 0);
    assert_null(d.part.data);
    sp_decoder_done(&d);
}

static void a_message_at_the_limit_is_refused_before_it_arrives(void **state) {
    uint8_t header[8];
    struct sp_frame f;
    struct err err = {0};

    (void)state;
    for (unsigned whole = 0; whole < 2; whole++) {
        for (uint32_t len = 99; len <= 100; len++) {
            struct sp_decoder d;
            struct slice piece;
            int r = 0;

            sp_decoder_init(&d, 100);
            sp_frame_header_put(header, SP_OUTPUT, 0, len);
            for (size_t i = 0; i < 8; i += whole ? 8 : 1) {
                piece = slice_of(header + i, whole ? 8 : 1);
                assert_int_equal(r, 0);
                r = sp_decoder_next(&d, &piece, &f, &err);
            }
            assert_int_equal(r, len < 100 ? 0 : RS_ETOOBIG);
            assert_false(r == 0 && sp_decoder_idle(&d));
            sp_decoder_done(&d);
        }
    }
    assert_string_equal(err.msg, "message Output of 100 bytes is not below the limit of 100");
}

/* In every exchange each notification answers a command before it, with the type and id that this command promised. */
static void notifications_answer_the_ids_of_commands(void **state) {
    uint16_t expected[64] = {0};
    size_t answers = 0, signals = 0;

    (void)state;
    for (size_t i = 0; i < n_vectors; i++) {
        const struct vector *v = &vectors[i];
        struct sp_notification_id id;
        enum sp_result_kind result;
        uint32_t ids[2];

        if (type_of(v) == SP_START)
            memset(expected, 0, sizeof expected);
        if (sp_type_is_command(type_of(v))) {
            int n = sp_command_completions(type_of(v), payload_of(v), ids, NULL), k = 0;

            assert_true(n >= 0);
            if (type_of(v) == SP_CALL || type_of(v) == SP_ONE_WAY_CALL)
                expected[ids[k++] % 64] = SP_CALL_INVOCATION_ID;
            if (k < n)
                expected[ids[k] % 64] = sp_type_result(type_of(v));
            assert_int_equal(n, k + (sp_type_result(type_of(v)) != 0));
        } else if (sp_type_is_notification(type_of(v))) {
            assert_int_equal(sp_notification_id(payload_of(v), &id, &result, NULL), 0);
            assert_int_not_equal(result, SP_RESULT_UNKNOWN);
            if (type_of(v) == SP_SIGNAL) {
                assert_int_equal(id.kind, SP_ID_SIGNAL);
                signals++;
            } else {
                assert_int_equal(id.kind, SP_ID_COMPLETION);
                assert_int_equal(expected[id.number % 64], type_of(v));
                answers++;
            }
        }
    }
    assert_true(answers > 40 && signals == 7);
}

static void recorded_notifications_are_built_from_their_parts(void **state) {
    (void)state;
    for (size_t i = 0; i < n_vectors; i++) {
        const struct vector *v = &vectors[i];
        _cleanup_arena_ struct arena a = {0};
        _cleanup_buf_ struct buf out = {0};
        struct sp_notification_id id;
        enum sp_result_kind result;
        struct sp_notification m;

        if (!sp_type_is_notification(type_of(v)))
            continue;
        assert_int_equal(sp_notification_id(payload_of(v), &id, &result, NULL), 0);
        assert_int_equal(sp_notification_decode(&m, payload_of(v), &a, NULL), 0);
        if (result == SP_RESULT_VOID)
            sp_put_void(&out, &id);
        else if (result == SP_RESULT_VALUE)
            sp_put_value(&out, &id, m.value->content);
        else if (result == SP_RESULT_FAILURE)
            sp_put_failure(&out, &id, m.failure->code, m.failure->message);
        else if (result == SP_RESULT_INVOCATION_ID)
            sp_put_invocation_id(&out, id.number, m.invocation_id);
        else
            sp_put_state_keys(&out, id.number, m.state_keys->keys, m.state_keys->n_keys);
        assert_true(slice_eq(buf_slice(&out), payload_of(v)));
    }
}

static void results_of_the_log_become_results_of_notifications(void **state) {
    static const struct sp_notification_id name = {.kind = SP_ID_SIGNAL_NAME, .name = {(const uint8_t *)"n", 1}};
    const struct cmd_header meta = {.key = slice_str("k"), .value = slice_str("v")};
    struct cmd_failure failure = {.code = 409, .message = slice_str("no"), .metadata = &meta, .n_metadata = 1};
    _cleanup_arena_ struct arena a = {0};
    _cleanup_buf_ struct buf out = {0};
    struct sp_notification m;

    (void)state;
    sp_put_result(&out, &name, &(struct cmd_result){.failure = &failure});
    assert_int_equal(sp_notification_decode(&m, buf_slice(&out), &a, NULL), 0);
    assert_true(slice_eq_str(m.signal_name, "n"));
    assert_int_equal(m.failure->code, 409);
    assert_int_equal(m.failure->n_metadata, 1);
    assert_true(slice_eq_str(m.failure->metadata[0].value, "v"));
    buf_clear(&out);
    sp_put_result(&out, &name, &(struct cmd_result){.value = SLICE_EMPTY});
    assert_true(slice_eq(buf_slice(&out), SLICE_LIT("\x1a\1n\x2a\0")));
    buf_clear(&out);
    sp_put_result(&out, &name, &(struct cmd_result){0});
    assert_true(slice_eq(buf_slice(&out), SLICE_LIT("\x1a\1n\x22\0")));
}

static void malformed_commands_and_notifications_are_refused(void **state) {
    static const struct {
        uint16_t type;
        struct slice in;
        const char *text;
    } checks[] = {
        {SP_OUTPUT, {(const uint8_t *)"\x72\0\x7a\0", 4}, "Output: more than one member of a oneof is set"},
        {SP_SEND_SIGNAL, {(const uint8_t *)"\x10\0\x1a\0", 4}, "SendSignal: more than one member of a oneof is set"},
        {SP_SLEEP, {(const uint8_t *)"\x0a\0", 2}, "sleep.wake_up_time_ms: wrong wire type"},
        {SP_SLEEP_COMPLETION, {(const uint8_t *)"\x08\1\x10\1", 4}, "Sleep: more than one member of a oneof is set"},
        {0x040f, {0}, "message type 0x040f is not known"},
        {0x0415, {0}, "message type 0x0415 is not known"},
        {0x8000, {0}, "message type 0x8000 is not known"},
        {0xfc00, {0}, "message type 0xfc00 is not known"},
    };
    _cleanup_arena_ struct arena a = {0};
    struct sp_notification_id id;
    struct err err = {0};
    uint32_t ids[2];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        assert_int_equal(sp_message_check(checks[i].type, checks[i].in, &a, &err), RS_EINVAL);
        assert_string_equal(err.msg, checks[i].text);
    }
    assert_int_equal(sp_command_completions(SP_RUN, SLICE_NULL, ids, NULL), RS_EINVAL);
    assert_int_equal(sp_command_completions(SP_RUN, SLICE_LIT("\x58"), ids, NULL), RS_EINVAL);
    assert_int_equal(sp_command_completions(SP_CALL, SLICE_LIT("\x50\1"), ids, NULL), RS_EINVAL);
    assert_int_equal(sp_command_completions(SP_CALL, SLICE_LIT("\x58\2\x50\1"), ids, NULL), 2);
    assert_true(ids[0] == 1 && ids[1] == 2);
    assert_int_equal(sp_notification_id(SLICE_NULL, &id, NULL, NULL), RS_EINVAL);
    assert_int_equal(sp_notification_id(SLICE_LIT("\x22\0"), &id, NULL, NULL), RS_EINVAL);
    assert_int_equal(sp_notification_id(SLICE_LIT("\x08\1\x22"), &id, NULL, NULL), RS_EINVAL);
}

static void only_the_sdks_messages_may_come_from_the_sdk(void **state) {
    static const uint16_t server_only[] = {SP_START, SP_COMMAND_ACK, SP_PROPOSE_RUN_COMPLETION_ACK,
                                           SP_INPUT, SP_SIGNAL,      SP_CALL_INVOCATION_ID,
                                           0x040f,   0x0008,         0x7fff,
                                           0xffff};
    unsigned allowed = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(server_only); i++)
        assert_false(sp_type_allowed_from_sdk(server_only[i]));
    for (unsigned t = 0; t <= 0xffff; t++)
        allowed += sp_type_allowed_from_sdk((uint16_t)t);
    assert_int_equal(allowed, 5 + 19);
    assert_string_equal(sp_entry_type(SP_RUN), "Command: Run");
    assert_string_equal(sp_entry_type(SP_RUN_COMPLETION), "Notification: Run");
    assert_string_equal(sp_entry_type(SP_SIGNAL), "Notification: Signal");
    assert_null(sp_entry_type(SP_END));
}

static void the_version_is_the_highest_in_common(void **state) {
    static const struct {
        uint32_t min, max;
        bool v7;
        uint32_t want;
    } rows[] = {
        {5, 7, false, 6}, {5, 7, true, 7},  {5, 5, true, 5},    {7, 7, false, 0},
        {7, 9, true, 7},  {1, 4, false, 0}, {1, 100, false, 6},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(sp_version_choose(rows[i].min, rows[i].max, rows[i].v7), rows[i].want);
    assert_string_equal(sp_content_type(5), "application/vnd.restate.invocation.v5");
    assert_string_equal(sp_content_type(7), "application/vnd.restate.invocation.v7");
    assert_null(sp_content_type(4));
    assert_null(sp_content_type(8));
}

static void a_start_may_be_put_together_in_pieces(void **state) {
    const struct sp_state_entry entries[] = {{.key = slice_str("a"), .value = slice_str("1")},
                                             {.key = slice_str("b"), .value = SLICE_EMPTY}};
    struct sp_start whole = {.known_entries = 1, .state_map = entries, .n_state_map = 2}, m;
    _cleanup_arena_ struct arena a = {0};
    _cleanup_buf_ struct buf one_go = {0}, pieces = {0}, again = {0};

    (void)state;
    sp_start_frame(&whole, &one_go);
    sp_put_field_message_header(&pieces, 4, sp_state_entry_size(&entries[0]));
    sp_state_entry_encode(&entries[0], &pieces);
    sp_put_field_message_header(&pieces, 4, sp_state_entry_size(&entries[1]));
    sp_state_entry_encode(&entries[1], &pieces);
    whole.n_state_map = 0;
    sp_start_encode(&whole, &pieces);
    assert_int_equal(sp_start_decode(&m, buf_slice(&pieces), &a, NULL), 0);
    sp_frame_put(&again, SP_START, 0, SLICE_NULL);
    buf_clear(&again);
    sp_start_frame(&m, &again);
    assert_true(slice_eq(buf_slice(&again), buf_slice(&one_go)));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(every_recorded_message_is_read_and_written_byte_for_byte, load, NULL),
    cmocka_unit_test(frames_are_cut_out_of_pieces_of_any_size),
    cmocka_unit_test(notifications_answer_the_ids_of_commands),
    cmocka_unit_test_setup_teardown(recorded_notifications_are_built_from_their_parts, NULL, unload),
    cmocka_unit_test(results_of_the_log_become_results_of_notifications),
    cmocka_unit_test(a_frame_that_is_whole_is_not_copied),
    cmocka_unit_test(a_message_at_the_limit_is_refused_before_it_arrives),
    cmocka_unit_test(malformed_commands_and_notifications_are_refused),
    cmocka_unit_test(only_the_sdks_messages_may_come_from_the_sdk),
    cmocka_unit_test(the_version_is_the_highest_in_common),
    cmocka_unit_test(a_start_may_be_put_together_in_pieces),
};
const struct unit_group service_test_group = UNIT_GROUP(tests);
