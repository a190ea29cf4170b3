/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "base/text.h"

#include <string.h>

#define S UINT64_C(1000000000)

static void durations_are_read_in_both_forms(void **state) {
    static const struct {
        const char *text;
        uint64_t ns;
    } rows[] = {{"500ms", S / 2},
                {"1m", 60 * S},
                {"1h 30m", 5400 * S},
                {"1h30m", 5400 * S},
                {"1 hour, 30 minutes", 5400 * S},
                {"2 days", 172800 * S},
                {"1d", 86400 * S},
                {"60 sec", 60 * S},
                {"1.5s", S + S / 2},
                {"10us", 10000},
                {"10\302\265s", 10000},
                {"7ns", 7},
                {"1w", 604800 * S},
                {"1y", 31557600 * S},
                {"0", 0},
                {"0s", 0},
                {" 3s ", 3 * S},
                {"PT1M", 60 * S},
                {"P1DT2H", 93600 * S},
                {"PT1.5S", S + S / 2},
                {"P1W", 604800 * S},
                {"pt0.25s", S / 4}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err err = {0};
        uint64_t ns = 77;

        if (text_parse_duration(slice_str(rows[i].text), &ns, &err) < 0)
            fail_msg("%s: %s", rows[i].text, err.msg);
        assert_int_equal(ns, rows[i].ns);
    }
}

static void bad_durations_are_refused(void **state) {
    static const char *const rows[] = {
        "",       " ",      "5",     "5x",  "ms",  "-1s",    "1s 1h", "1s 1s",
        "P",      "PT",     "PTS",   "P1",  "1PT", "PT1H1H", "P1DT",  "99999999999999999999s",
        "10000y", "1h,,2m", "1..5s", "PT1D"};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err err = {0};
        uint64_t ns = 77;

        if (text_parse_duration(slice_str(rows[i]), &ns, &err) >= 0)
            fail_msg("\"%s\" was accepted", rows[i]);
        assert_int_equal(ns, 77);
        assert_true(err.msg[0] != 0);
    }
}

static void signed_durations_may_be_negative(void **state) {
    int64_t ns;

    assert_int_equal(text_parse_duration_signed(SLICE_LIT("-1s"), &ns, NULL), 0);
    assert_int_equal(ns, -(int64_t)S);
    assert_int_equal(text_parse_duration_signed(SLICE_LIT("PT2S"), &ns, NULL), 0);
    assert_int_equal(ns, 2 * S);
    assert_true(text_parse_duration_signed(SLICE_LIT("--1s"), &ns, NULL) < 0);
}

static void durations_are_written_friendly_and_read_back(void **state) {
    static const struct {
        uint64_t ns;
        const char *text;
    } rows[] = {{0, "0s"},          {S / 2, "500ms"},        {60 * S, "1m"},           {86400 * S, "1d"},
                {90 * S, "1m 30s"}, {S + S / 2, "1s 500ms"}, {3600 * S + 1, "1h 1ns"}, {1001000, "1ms 1\302\265s"},
                {UINT64_MAX, NULL}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf b = {0};
        uint64_t back;

        text_put_duration(&b, rows[i].ns);
        if (rows[i].text)
            assert_string_equal(buf_cstr(&b), rows[i].text);
        assert_int_equal(text_parse_duration(buf_slice(&b), &back, NULL), 0);
        assert_true(back == rows[i].ns);
    }
}

static void sizes_are_read_with_decimal_and_binary_units(void **state) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"0", 0},
                {"4096", 4096},
                {"10 B", 10},
                {"64MB", 64000000},
                {"64 MiB", 64u << 20},
                {"1.5GiB", 3u << 29},
                {"32.0 MiB", 32u << 20},
                {"1k", 1000},
                {"2KiB", 2048},
                {"1gib", 1u << 30},
                {"16EiB", UINT64_MAX}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t v = 77;
        int r = text_parse_size(slice_str(rows[i].text), &v, NULL);

        if (rows[i].bytes == UINT64_MAX) {
            assert_int_equal(r, RS_ETOOBIG);
            continue;
        }
        assert_int_equal(r, 0);
        assert_true(v == rows[i].bytes);
    }
    for (const char *const *p =
             (const char *const[]){"", "MiB", "-1", "1x", "1MiBs", "1 2", "99999999999999999999", NULL};
         *p; p++) {
        uint64_t v;

        if (text_parse_size(slice_str(*p), &v, NULL) >= 0)
            fail_msg("\"%s\" was accepted", *p);
    }
}

static void sizes_are_written_with_one_digit(void **state) {
    _cleanup_buf_ struct buf b = {0};

    text_put_size(&b, 12);
    buf_put_u8(&b, '|');
    text_put_size(&b, 32u << 20);
    buf_put_u8(&b, '|');
    text_put_size(&b, 50u << 10);
    buf_put_u8(&b, '|');
    text_put_size(&b, 3u << 29);
    assert_string_equal(buf_cstr(&b), "12 B|32.0 MiB|50.0 KiB|1.5 GiB");
}

static void times_are_written_and_read_as_rfc3339(void **state) {
    const uint64_t at = UINT64_C(1795378579784000000);
    _cleanup_buf_ struct buf b = {0};
    uint64_t back;

    text_put_rfc3339(&b, at, 9, "Z");
    assert_string_equal(buf_cstr(&b), "2026-11-22T20:16:19.784000000Z");
    assert_int_equal(text_parse_rfc3339(buf_slice(&b), &back, NULL), 0);
    assert_true(back == at);
    buf_clear(&b);
    text_put_rfc3339(&b, at, 3, "+00:00");
    assert_string_equal(buf_cstr(&b), "2026-11-22T20:16:19.784+00:00");
    buf_clear(&b);
    text_put_rfc3339(&b, 0, 0, "Z");
    assert_string_equal(buf_cstr(&b), "1970-01-01T00:00:00Z");
    assert_int_equal(text_parse_rfc3339(SLICE_LIT("2026-11-22T21:16:19.784+01:00"), &back, NULL), 0);
    assert_true(back == at);
    for (const char *const *p = (const char *const[]){"", "2026-11-22", "2026-13-22T20:16:19Z", "2026-11-22T20:16:19",
                                                      "2026-11-22T20:16:19.Z", "1969-12-31T23:59:59Z",
                                                      "2026-11-22T20:16:19+1:00", "2026-11-22T25:16:19Z", NULL};
         *p; p++)
        if (text_parse_rfc3339(slice_str(*p), &back, NULL) >= 0)
            fail_msg("\"%s\" was accepted", *p);
}

static void the_nearest_name_is_found_within_a_third_of_its_length(void **state) {
    static const char *const names[] = {"bind-port", "bind-ip", "cluster-name", "node-name"};

    assert_string_equal(text_nearest(SLICE_LIT("bind-prot"), names, 4), "bind-port");
    assert_string_equal(text_nearest(SLICE_LIT("clustername"), names, 4), "cluster-name");
    assert_null(text_nearest(SLICE_LIT("zzzzzzzz"), names, 4));
    assert_int_equal(text_distance(SLICE_LIT("kitten"), SLICE_LIT("sitting"), 10), 3);
    assert_int_equal(text_distance(SLICE_LIT("kitten"), SLICE_LIT("sitting"), 1), 2);
    assert_int_equal(text_distance(SLICE_LIT(""), SLICE_LIT("abc"), 10), 3);
}

static void hex_and_percent_go_both_ways(void **state) {
    _cleanup_buf_ struct buf b = {0}, c = {0};

    text_put_hex(&b, SLICE_LIT("\x00\xff"
                               "a"));
    assert_string_equal(buf_cstr(&b), "00ff61");
    assert_int_equal(text_parse_hex(buf_slice(&b), &c), 0);
    assert_int_equal(c.len, 3);
    assert_int_equal(text_parse_hex(SLICE_LIT("0"), &c), RS_EINVAL);
    assert_int_equal(text_parse_hex(SLICE_LIT("0g"), &c), RS_EINVAL);
    buf_clear(&b);
    buf_clear(&c);
    text_put_percent(&b, SLICE_LIT("a b/\xc3\xa4"));
    assert_string_equal(buf_cstr(&b), "a%20b%2F%C3%A4");
    assert_int_equal(text_percent_decode(buf_slice(&b), false, &c), 0);
    assert_string_equal(buf_cstr(&c), "a b/\xc3\xa4");
    buf_clear(&c);
    assert_int_equal(text_percent_decode(SLICE_LIT("a+b"), true, &c), 0);
    assert_string_equal(buf_cstr(&c), "a b");
    for (const char *const *p = (const char *const[]){"%", "%1", "%zz", "a%2", NULL}; *p; p++)
        assert_int_equal(text_percent_decode(slice_str(*p), false, &c), RS_EINVAL);
}

static void urls_are_shown_without_their_secrets(void **state) {
    static const char *const rows[][2] = {{"http://me:secret@h:1/p@q", "http://me:***@h:1/p@q"},
                                          {"https://token@h", "https://***@h"},
                                          {"https://token:@h", "https://***@h"},
                                          {"https://a:b@c:d@h/", "https://a:***@h/"},
                                          {"otlp+http://h/v1?key=secret#x", "otlp+http://h/v1?***"},
                                          {"http://u:p@h?x@y", "http://u:***@h?***"},
                                          {"http://h?a:b@c", "http://h?***"},
                                          {"s3://bucket/prefix", "s3://bucket/prefix"},
                                          {"me:secret@h", "me:secret@h"}, /* no URL */
                                          {"a?b", "a?b"},
                                          {"://", "://"},
                                          {"", ""}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf b = {0};

        text_put_shown(&b, rows[i][0]);
        assert_string_equal(buf_cstr(&b), rows[i][1]);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(durations_are_read_in_both_forms),
    cmocka_unit_test(bad_durations_are_refused),
    cmocka_unit_test(signed_durations_may_be_negative),
    cmocka_unit_test(durations_are_written_friendly_and_read_back),
    cmocka_unit_test(sizes_are_read_with_decimal_and_binary_units),
    cmocka_unit_test(sizes_are_written_with_one_digit),
    cmocka_unit_test(times_are_written_and_read_as_rfc3339),
    cmocka_unit_test(the_nearest_name_is_found_within_a_third_of_its_length),
    cmocka_unit_test(hex_and_percent_go_both_ways),
    cmocka_unit_test(urls_are_shown_without_their_secrets),
};
const struct unit_group text_test_group = UNIT_GROUP(tests);
