/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "plugin/transports.h"

#include <string.h>

static void addresses_are_brought_to_one_form(void **state) {
    static const struct {
        const char *text, *uri, *authority, *path;
    } rows[] = {{"0.0.0.0:5122", "tcp://0.0.0.0:5122", "0.0.0.0:5122", "/"},
                {"host.name:1", "tcp://host.name:1", "host.name:1", "/"},
                {"[::1]:5122", "tcp://[::1]:5122", "[::1]:5122", "/"},
                {"tcp://h:1", "tcp://h:1", "h:1", "/"},
                {"tls://h:1/", "tls://h:1", "h:1", "/"},
                {"http://h:8080/", "tcp://h:8080", "h:8080", "/"},
                {"http://h", "tcp://h:80", "h", "/"},
                {"https://h/a/b?c=d", "tls://h:443", "h", "/a/b?c=d"},
                {"https://[::1]/x", "tls://[::1]:443", "[::1]", "/x"},
                {"https://h:8443", "tls://h:8443", "h:8443", "/"},
                {"quic://h:1", "quic://h:1", "h:1", "/"},
                {"unix:/run/x.sock", "unix:/run/x.sock", NULL, "/run/x.sock"},
                {"unix:////run/x.sock", "unix:/run/x.sock", NULL, "/run/x.sock"},
                {"unix:///run/x.sock", "unix:/run/x.sock", NULL, "/run/x.sock"}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct address a, again;
        struct err err = {0};
        char buf[600];

        if (address_parse(rows[i].text, &a, &err) < 0)
            fail_msg("%s: %s", rows[i].text, err.msg);
        assert_string_equal(address_uri(&a, buf, sizeof buf), rows[i].uri);
        assert_int_equal(address_parse(buf, &again, NULL), 0);
        assert_string_equal(a.path, rows[i].path);
        if (rows[i].authority)
            assert_string_equal(address_authority(&a, buf, sizeof buf), rows[i].authority);
    }
}

static void what_is_no_address_is_refused(void **state) {
    static const char *const rows[] = {"",          ":1",
                                       "h",         "h:",
                                       "h:x",       "h:65536",
                                       "h:-1",      "::1:5122",
                                       "[]:1",      "[::1]",
                                       "[::1]x:1",  "h:1:2",
                                       "tcp://h",   "tcp://h:1/path",
                                       "TCP://h:1", "://h:1",
                                       "h h:1",     "unix:",
                                       "unix:rel",  "unix://host/x",
                                       "http://",   "http:///x",
                                       "user@h:1",  "a-very-long-scheme://h:1",
                                       "h\n:1"};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err err = {0};
        struct address a;

        if (address_parse(rows[i], &a, &err) >= 0)
            fail_msg("\"%s\" was accepted", rows[i]);
        assert_non_null(strstr(err.msg, "is not an address"));
    }
}

static void schemes_pick_the_instance(void **state) {
    static const rs_transport_ops tcp_ops = {.schemes = "tcp,unix"}, tls_ops = {.schemes = "tls"},
                                  odd_ops = {.schemes = "a,,b"};
    struct plugin_info info = {.name = "p"};
    struct plugin_instance tcp = {.info = &info, .transport = &tcp_ops}, tls = {.info = &info, .transport = &tls_ops};
    struct plugin_instance other = {.info = &info, .transport = &tls_ops}, odd = {.info = &info, .transport = &odd_ops};
    struct transports *t = transports_new();
    const rs_transport_ops *ops = NULL;
    rs_conn *conn = NULL;
    struct err err = {0};

    assert_int_equal(transports_add(t, "tcp", &tcp, &err), 0);
    assert_int_equal(transports_add(t, NULL, &tls, &err), 0);
    assert_ptr_equal(transports_find(t, "unix"), &tcp);
    assert_ptr_equal(transports_find(t, "tls"), &tls);
    assert_null(transports_find(t, "quic"));
    assert_int_equal(transports_add(t, "tls", &other, &err), 0);
    assert_ptr_equal(transports_find(t, "tls"), &other);
    assert_int_equal(transports_add(t, "tcp", &tls, &err), RS_EINVAL);
    assert_string_equal(err.msg, "transport plugin p serves \"tls\", not \"tcp\"");
    assert_int_equal(transports_add(t, NULL, &odd, &err), RS_EINVAL);
    assert_int_equal(transports_connect(t, NULL, "quic://h:1", NULL, NULL, NULL, &ops, &conn, &err), RS_EUNSUPPORTED);
    assert_string_equal(err.msg, "no transport for quic addresses is configured: \"quic://h:1\"");
    (void)transports_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(addresses_are_brought_to_one_form),
    cmocka_unit_test(what_is_no_address_is_refused),
    cmocka_unit_test(schemes_pick_the_instance),
};
const struct unit_group transports_test_group = UNIT_GROUP(tests);
