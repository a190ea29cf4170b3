/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client_rig.h"

static void http_1_uses_a_connection_for_each_and_keeps_them(void **state) {
    struct client_call c[10] = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_1, NULL, NULL);
    for (int round = 0; round < 3; round++) {
        w.hold = true;
        w.n_held = 0;
        for (int i = 0; i < 10; i++)
            rig_go(&w, &c[i], "POST", true);
        fake_run(w.net);
        assert_int_equal(w.n_held, 10);
        for (int i = 0; i < 10; i++)
            rig_answer(w.held[i]);
        fake_run(w.net);
    }
    for (int i = 0; i < 10; i++)
        assert_true(c[i].closes == 3 && c[i].closed_status == 0);
    assert_int_equal(w.net->connects, 10);
    rig_finish(&w);
}

static void at_the_bound_of_connections_calls_wait(void **state) {
    struct http_client_params cp = {.max_connections = 2, .max_waiting = 4};
    struct http_client_request bad = {.transport = {0}};
    struct client_call c[5] = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_1, NULL, &cp);
    for (int i = 0; i < 4; i++)
        rig_go(&w, &c[i], "GET", true);
    bad = (struct http_client_request){fake_transport(w.net),
                                       "fake:a",
                                       NULL,
                                       SLICE_LIT("http"),
                                       SLICE_LIT("place:80"),
                                       SLICE_LIT("GET"),
                                       SLICE_LIT("/"),
                                       HTTP_VERSION_1,
                                       NULL,
                                       0,
                                       true};
    assert_int_equal(http_client_request(w.client, &bad, &rig_events, &c[4], &c[4].s, NULL), RS_EAGAIN);
    fake_run(w.net);
    assert_int_equal(w.net->connects, 2);
    for (int i = 0; i < 4; i++)
        assert_true(c[i].closes == 1 && c[i].closed_status == 0);
    bad.path = SLICE_LIT("/a b");
    assert_int_equal(http_client_request(w.client, &bad, &rig_events, &c[4], &c[4].s, NULL), RS_EINVAL);
    rig_finish(&w);
}

static void http_1_answers_end_as_they_say(void **state) {
    static const struct {
        const char *text;
        const char *body;
        int status;
        bool cut;
    } t[] = {
        {"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "abc", 0, false},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: "
         "chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
         "abc", 0, false},
        {"HTTP/1.0 200 OK\r\n\r\nabc", "abc", 0, true},
        {"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc", "abc", RS_ECLOSED, true},
        {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", RS_ECLOSED, true},
        {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcX", "abc", RS_EINVAL, false},
        {"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "", RS_EINVAL, false},
        {"HTTP/1.1 200 OK\ncontent-length: 1\r\n\r\n", "", RS_EINVAL, false},
        {"garbage\r\n\r\n", "", RS_EINVAL, false},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 0, false},
        {"", "", RS_ECLOSED, true},
    };

    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        for (size_t step = 1; step < 100; step += 98) {
            struct fake_peer peer;
            struct client_call c = {0};
            struct client_rig w;

            rig_start(&w, HTTP_VERSION_1, NULL, NULL);
            w.net->read_max = step;
            fake_peer_serve(w.net, "fake:raw", &peer);
            rig_go_to(&w, &c, "fake:raw", "GET", true);
            fake_run(w.net);
            fake_peer_send_str(&peer, t[i].text);
            if (t[i].cut)
                fake_peer_end(&peer);
            assert_int_equal(c.closes, 1);
            assert_int_equal(c.closed_status, t[i].status);
            assert_true(slice_eq_str(buf_slice(&c.body), t[i].body));
            buf_done(&c.body);
            fake_peer_close(&peer, false);
            rig_finish(&w);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(http_1_uses_a_connection_for_each_and_keeps_them),
    cmocka_unit_test(at_the_bound_of_connections_calls_wait),
    cmocka_unit_test(http_1_answers_end_as_they_say),
};
const struct unit_group client_h1_test_group = UNIT_GROUP(tests);
