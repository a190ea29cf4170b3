/* SPDX-License-Identifier: Apache-2.0 */
#include "net/frame.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static const struct frame_head head = {.versions = {1, 2, 3, 4},
                                       .id = 0x1122334455667788,
                                       .sort_code = 0x0102030405060708,
                                       .service = 26,
                                       .type = 1,
                                       .flags = FRAME_HAS_SORT_CODE,
                                       .status = 3};

static void sample(int which, struct buf *out) {
    struct bytes *parts[2] = {bytes_copy(SLICE_LIT("par")), bytes_copy(SLICE_LIT("ts"))};

    if (which < 2) {
        frame_encode(out, which ? FRAME_REPLY : FRAME_CALL, &head, SLICE_LIT("head"), parts, 2);
        buf_put_str(out, "parts");
    } else {
        frame_encode_raw(out, FRAME_PING, SLICE_LIT("12345678"));
    }
    for (int i = 0; i < 2; i++)
        (void)bytes_unref(parts[i]);
}

/* tests/data/fabric_frame_v1.hex: the samples as version 1 has them for ever, one line each. */
static void the_layout_of_version_1_never_changes(void **state) {
    FILE *f = fopen(TEST_DATA_DIR "/fabric_frame_v1.hex", "r");
    char line[512], text[512];

    (void)state;
    assert_non_null(f);
    for (int i = 0; i < 3; i++) {
        struct buf b = {0};

        sample(i, &b);
        for (size_t k = 0; k < b.len; k++)
            (void)snprintf(text + 2 * k, 3, "%02x", b.data[k]);
        assert_non_null(fgets(line, sizeof line, f));
        line[strcspn(line, "\n")] = 0;
        assert_string_equal(text, line);
        buf_done(&b);
    }
    (void)fclose(f);
}

static void every_damaged_byte_is_found(void **state) {
    struct buf b = {0};
    enum frame_kind kind;
    size_t len;

    (void)state;
    sample(0, &b);
    assert_int_equal(frame_prefix(b.data, FRAME_MAX, &kind, &len, NULL), 0);
    assert_true(kind == FRAME_CALL && len == b.len - FRAME_PREFIX_BYTES);
    assert_int_equal(frame_check(b.data, slice_of(b.data + FRAME_PREFIX_BYTES, len), NULL), 0);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] ^= 0x40;
        assert_true(frame_prefix(b.data, FRAME_MAX, &kind, &len, NULL) < 0 || len != b.len - FRAME_PREFIX_BYTES ||
                    frame_check(b.data, slice_of(b.data + FRAME_PREFIX_BYTES, len), NULL) < 0);
        b.data[i] ^= 0x40;
    }
    buf_done(&b);
}

static void extensions_of_later_versions_are_skipped(void **state) {
    uint8_t body[FRAME_CALL_BYTES + 3 + 2] = {0};
    struct frame_head h;
    struct slice payload;

    (void)state;
    put_u16le(body + 30, 3);
    memcpy(body + FRAME_CALL_BYTES, "extpp", 5);
    assert_int_equal(frame_head(FRAME_CALL, slice_of(body, sizeof body), &h, &payload, NULL), 0);
    assert_true(slice_eq_str(payload, "pp"));
    put_u16le(body + 30, 6);
    assert_int_equal(frame_head(FRAME_CALL, slice_of(body, sizeof body), &h, &payload, NULL), RS_ECORRUPT);
    assert_int_equal(frame_head(FRAME_REPLY, slice_of(body, FRAME_REPLY_BYTES - 1), &h, &payload, NULL), RS_ECORRUPT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_layout_of_version_1_never_changes),
    cmocka_unit_test(every_damaged_byte_is_found),
    cmocka_unit_test(extensions_of_later_versions_are_skipped),
};
const struct unit_group frame_test_group = UNIT_GROUP(tests);
