/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/util.h"
#include "proto/record.h"

static const struct record_header samples[] = {
    {.kind = 1, .created_at_ns = 1700000000123456789u},
    {.kind = 8,
     .created_at_ns = 1,
     .keys = RECORD_KEYS_SINGLE,
     .key = {0x0102030405060708u},
     .dedup = RECORD_DEDUP_SELF,
     .dedup_epoch = 7,
     .dedup_seq = 99},
    {.kind = 14,
     .created_at_ns = 2,
     .keys = RECORD_KEYS_PAIR,
     .key = {1, UINT64_MAX},
     .dedup = RECORD_DEDUP_PARTITION,
     .dedup_partition = 23,
     .dedup_seq = 1u << 20},
    {.kind = 0xffff,
     .created_at_ns = UINT64_MAX,
     .keys = RECORD_KEYS_RANGE,
     .key = {5, 6},
     .dedup = RECORD_DEDUP_PRODUCER,
     .dedup_producer = "0123456789abcde",
     .dedup_seq = UINT64_MAX},
};
static const char *const commands[] = {"", "a", "two",
                                       "the last command is a bit longer than the header of its record"};

/* tests/data/record_v1.hex: the samples as format 1 has them for ever, one line each. */
static void the_layout_of_format_1_never_changes(void **state) {
    FILE *f = fopen(TEST_DATA_DIR "/record_v1.hex", "r");
    char line[512];

    (void)state;
    assert_non_null(f);
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct bytes *b = record_new(&samples[i], slice_str(commands[i]));
        char text[512];

        for (size_t k = 0; k < b->len; k++)
            (void)snprintf(text + 2 * k, 3, "%02x", b->data[k]);
        assert_non_null(fgets(line, sizeof line, f));
        line[strcspn(line, "\n")] = 0;
        assert_string_equal(text, line);
        b = bytes_unref(b);
    }
    (void)fclose(f);
}

static void what_was_written_is_read(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct bytes *b = record_new(&samples[i], slice_str(commands[i])), *again;
        struct record_view v;

        assert_int_equal(record_size(&samples[i], strlen(commands[i])), b->len);
        assert_int_equal(record_verify(bytes_slice(b), NULL), 0);
        assert_int_equal(record_length(b->data), b->len);
        assert_int_equal(record_view(bytes_slice(b), &v, NULL), 0);
        assert_true(slice_eq_str(v.payload, commands[i]));
        again = record_new(&v.header, v.payload);
        assert_true(slice_eq(bytes_slice(again), bytes_slice(b)));
        again = bytes_unref(again);
        b = bytes_unref(b);
    }
}

static void every_changed_or_missing_byte_is_noticed(void **state) {
    struct bytes *b = record_new(&samples[3], slice_str(commands[3]));
    struct bytes *copy = bytes_copy(bytes_slice(b));

    (void)state;
    for (size_t i = 0; i < b->len; i++) {
        copy->data[i] ^= 0x40;
        assert_int_equal(record_verify(bytes_slice(copy), NULL), RS_ECORRUPT);
        copy->data[i] ^= 0x40;
        assert_int_equal(record_verify(slice_sub(bytes_slice(b), 0, i), NULL), RS_ECORRUPT);
    }
    copy = bytes_unref(copy);
    b = bytes_unref(b);
}

static void headers_of_another_format_are_refused(void **state) {
    static const struct {
        size_t at;
        uint8_t value;
        int code;
    } rows[] = {
        {4, 0, RS_ECORRUPT},     {8, 2, RS_EUNSUPPORTED},  {8, 0, RS_EUNSUPPORTED},
        {9, 4, RS_EUNSUPPORTED}, {10, 4, RS_EUNSUPPORTED}, {11, 1, RS_EUNSUPPORTED},
        {14, 23, RS_ECORRUPT},   {14, 25, RS_ECORRUPT},    {9, 1, RS_ECORRUPT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bytes *b = record_new(&samples[0], SLICE_NULL);
        struct record_view v;

        b->data[rows[i].at] = rows[i].value;
        assert_int_equal(record_view(bytes_slice(b), &v, NULL), rows[i].code);
        b = bytes_unref(b);
    }
    for (size_t n = 0; n < RECORD_FIXED_BYTES; n++) {
        uint8_t few[RECORD_FIXED_BYTES] = {0};
        struct record_view v;

        few[4] = (uint8_t)n;
        assert_int_equal(record_view(slice_of(few, n), &v, NULL), RS_ECORRUPT);
    }
}

static void impossible_lengths_are_told_before_reading(void **state) {
    uint8_t first[8] = {0};

    (void)state;
    put_u32le(first + 4, RECORD_FIXED_BYTES - 1);
    assert_int_equal(record_length(first), 0);
    put_u32le(first + 4, LIMIT_RECORD_BYTES + 1);
    assert_int_equal(record_length(first), 0);
    put_u32le(first + 4, LIMIT_RECORD_BYTES);
    assert_int_equal(record_length(first), LIMIT_RECORD_BYTES);
}

static void readers_of_a_key_range_skip_what_is_not_theirs(void **state) {
    static const struct {
        uint8_t keys;
        uint64_t key[2];
        bool touches; /* 10 to 20 */
    } rows[] = {
        {RECORD_KEYS_NONE, {0, 0}, true},     {RECORD_KEYS_SINGLE, {10, 0}, true},
        {RECORD_KEYS_SINGLE, {20, 0}, true},  {RECORD_KEYS_SINGLE, {9, 15}, false},
        {RECORD_KEYS_SINGLE, {21, 0}, false}, {RECORD_KEYS_PAIR, {0, 15}, true},
        {RECORD_KEYS_PAIR, {5, 25}, false},   {RECORD_KEYS_RANGE, {5, 25}, true},
        {RECORD_KEYS_RANGE, {0, 10}, true},   {RECORD_KEYS_RANGE, {20, 30}, true},
        {RECORD_KEYS_RANGE, {0, 9}, false},   {RECORD_KEYS_RANGE, {21, 30}, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct record_header h = {.keys = rows[i].keys, .key = {rows[i].key[0], rows[i].key[1]}};

        assert_int_equal(record_touches(&h, 10, 20), rows[i].touches);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_layout_of_format_1_never_changes),
    cmocka_unit_test(what_was_written_is_read),
    cmocka_unit_test(every_changed_or_missing_byte_is_noticed),
    cmocka_unit_test(headers_of_another_format_are_refused),
    cmocka_unit_test(impossible_lengths_are_told_before_reading),
    cmocka_unit_test(readers_of_a_key_range_skip_what_is_not_theirs),
};
const struct unit_group record_test_group = UNIT_GROUP(tests);
