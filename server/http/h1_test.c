/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h1.h"

#include "unit.h"

static int parse(const char *text, size_t len, struct h1_head *ret, struct http_header *h) {
    static uint8_t copy[8192];
    struct h1_scan s = {0};
    int64_t n;

    memcpy(copy, text, len);
    n = h1_scan(&s, copy, len, 4096);
    if (n < 0)
        return (int)n;
    if (n == 0)
        return 1;
    return h1_parse_request(copy, (size_t)n, h, s.fields, ret, NULL);
}

static void heads_that_smuggle_are_refused(void **state) {
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
#define BAD(s) {s, sizeof(s) - 1}
        BAD("POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length: 3, 4\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length: -3\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length: 0x3\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length:\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: chunked, chunked\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding: \x0b"
            "chunked\r\n\r\n"),
        BAD("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ntransfer-encoding : chunked\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length : 3\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent-length\t: 3\r\n\r\n"),
        BAD("POST / HTTP/1.1\r\ncontent length: 3\r\n\r\n"),
        BAD("GET / HTTP/1.1\nhost: a\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nhost: a\n\r\n"),
        BAD("GET / HTTP/1.1\r\nhost: a\n\n"),
        BAD("GET / HTTP/1.1\r\nhost: a\rb: c\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nhost: a\r\n\tb: c\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\n host: a\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n"),
        BAD("GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\n: a\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nnocolon\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nx: \x01\r\n\r\n"),
        BAD("GET / HTTP/1.1\r\nx: \x7f\r\n\r\n"),
        BAD("GET  / HTTP/1.1\r\n\r\n"),
        BAD("GET /  HTTP/1.1\r\n\r\n"),
        BAD("GET / HTTP/1.1 \r\n\r\n"),
        BAD("GET /a b HTTP/1.1\r\n\r\n"),
        BAD("GET / HTTP/2.0\r\n\r\n"),
        BAD("GET / HTTP/1.2\r\n\r\n"),
        BAD("GET / HTTP/1.10\r\n\r\n"),
        BAD("GET /\r\n\r\n"),
        BAD("GET /\x80 HTTP/1.1\r\n\r\n"),
        BAD("GET /#x HTTP/1.1\r\n\r\n"),
        BAD("G@T / HTTP/1.1\r\n\r\n"),
        BAD(" GET / HTTP/1.1\r\n\r\n"),
        BAD("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        BAD("HTTP/1.1 200 OK\r\n\r\n"),
#undef BAD
    };
    struct http_header h[32];
    struct h1_head head;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int r = parse(bad[i].text, bad[i].len, &head, h);

        if (r != RS_EINVAL)
            fail_msg("taken (%d): %s", r, bad[i].text);
    }
}

static void a_good_head_is_taken_apart(void **state) {
    const char *text = "\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nX-Empty:\r\nX-Many:  v w \t\r\n"
                       "Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\nConnection: x, Close\r\n\r\n";
    struct http_header h[8];
    struct h1_head head;

    assert_int_equal(parse(text, strlen(text), &head, h), 0);
    assert_int_equal(head.n_headers, 6);
    assert_true(slice_eq_str(head.method, "POST"));
    assert_true(slice_eq_str(head.target, "/a/b?c=d"));
    assert_true(slice_eq_str(h[0].name, "host"));
    assert_true(slice_eq_str(h[0].value, "x:1"));
    assert_true(slice_eq_str(h[1].name, "x-empty"));
    assert_int_equal(h[1].value.len, 0);
    assert_true(slice_eq_str(h[2].value, "v w"));
    assert_true(head.chunked && head.expect_continue && !head.keep_alive && !head.has_length);
}

static void an_upgrade_is_only_a_field(void **state) {
    const char *text = "GET / HTTP/1.1\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\r\n";
    struct http_header h[8];
    struct h1_head head;

    assert_int_equal(parse(text, strlen(text), &head, h), 0);
    assert_true(head.keep_alive);
}

static void a_head_is_found_however_it_is_cut(void **state) {
    const char *text = "\r\nGET / HTTP/1.1\r\nhost: a\r\nb: c\r\n\r\nrest";
    size_t len = strlen(text) - 4;

    for (size_t cut = 0; cut < len; cut++) {
        struct h1_scan s = {0};

        assert_int_equal(h1_scan(&s, (const uint8_t *)text, cut, 100), 0);
        assert_int_equal(h1_scan(&s, (const uint8_t *)text, len + 4, 100), (int64_t)len);
        assert_int_equal(s.fields, 2);
    }
}

static void a_head_over_the_limit_is_too_big(void **state) {
    struct h1_scan s = {0}, t = {0};

    assert_int_equal(h1_scan(&s, (const uint8_t *)"GET / HTTP/1.1\r\nabcdefgh", 24, 20), RS_ETOOBIG);
    assert_int_equal(h1_scan(&t, (const uint8_t *)"GET / HTTP/1.1\r\na: b\r\n\r\n", 24, 20), RS_ETOOBIG);
}

static int dechunk(const char *text, size_t len, size_t step, struct buf *out, size_t *used) {
    struct h1_chunks c = {0};

    for (size_t at = 0; at < len;) {
        struct slice in = slice_of(text + at, len - at < step ? len - at : step), piece;
        size_t n = in.len;
        int r;

        while ((r = h1_chunk_next(&c, &in, &piece)) == H1_CHUNK_DATA)
            buf_put_slice(out, piece);
        at += n - in.len;
        *used = at;
        if (r != H1_CHUNK_MORE)
            return r;
    }
    return H1_CHUNK_MORE;
}

static void chunks_are_joined_however_they_are_cut(void **state) {
    const char *text = "5\r\nhello\r\n1;a=b;c\r\n \r\n00A \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nNEXT";

    for (size_t step = 1; step <= strlen(text); step++) {
        struct buf out = {0};
        size_t used = 0;

        assert_int_equal(dechunk(text, strlen(text), step, &out, &used), H1_CHUNK_END);
        assert_int_equal(used, strlen(text) - 4);
        assert_true(slice_eq_str(buf_slice(&out), "hello 0123456789"));
        buf_done(&out);
    }
}

static void broken_chunks_are_refused(void **state) {
    static const char *const bad[] = {
        "\r\n",          ";a\r\n",          "x\r\n",    "5\nhello\r\n",     "5\rXhello\r\n",        "5\r\nhelloXX",
        "5\r\nhello\rX", "5\r\nhello\n0\r", "-1\r\n",   "0x5\r\nhello\r\n", "5 ;\x01\r\n",          "5\r\nhello0\r\n",
        "0\r\n\n",       "0\r\nA: b\n\r\n", "0\r\n\rX", "0\r\n x: y\r\n",   "1234567890123456\r\n",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf out = {0};
        size_t used = 0;

        if (dechunk(bad[i], strlen(bad[i]), 100, &out, &used) != RS_EINVAL)
            fail_msg("taken: %s", bad[i]);
        buf_done(&out);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(heads_that_smuggle_are_refused),   cmocka_unit_test(a_good_head_is_taken_apart),
    cmocka_unit_test(an_upgrade_is_only_a_field),       cmocka_unit_test(a_head_is_found_however_it_is_cut),
    cmocka_unit_test(a_head_over_the_limit_is_too_big), cmocka_unit_test(chunks_are_joined_however_they_are_cut),
    cmocka_unit_test(broken_chunks_are_refused),
};
const struct unit_group h1_test_group = UNIT_GROUP(tests);
