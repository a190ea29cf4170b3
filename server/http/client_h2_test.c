/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client_rig.h"

static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};

/* The server at "fake:raw" is a peer that speaks bytes. */
static void start_raw(struct client_rig *w, struct fake_peer *peer) {
    rig_start(w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w->net, "fake:raw", peer);
}

static void an_answer_may_come_in_while_the_request_is_open(void **state) {
    /* SETTINGS, then head and data of stream 1 before the request ended. */
    static const uint8_t head[] = {0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88};
    static const uint8_t data[] = {0, 0, 2, 0, 0, 0, 0, 0, 1, 'h', 'i'};
    static const uint8_t last[] = {0, 0, 0, 0, 1, 0, 0, 0, 1};
    struct fake_peer peer;
    struct client_call c = {0};
    struct client_rig w;

    start_raw(&w, &peer);
    rig_go_to(&w, &c, "fake:raw", "POST", false);
    fake_run(w.net);
    fake_peer_send(&peer, settings, sizeof settings);
    fake_peer_send(&peer, head, sizeof head);
    fake_peer_send(&peer, data, sizeof data);
    assert_true(c.heads == 1 && slice_eq_str(buf_slice(&c.body), "hi") && c.ends == 0);
    (void)http_stream_write_copy(c.s, SLICE_LIT("more"));
    fake_run(w.net);
    fake_peer_send(&peer, last, sizeof last);
    assert_true(c.ends == 1 && c.closes == 0);
    http_stream_end(c.s);
    fake_run(w.net);
    assert_true(c.closes == 1 && c.closed_status == 0);
    buf_done(&c.body);
    fake_peer_close(&peer, false);
    rig_finish(&w);
}

static void the_preface_is_as_the_protocol_says(void **state) {
    static const uint8_t want[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                  "\x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x04\x00\x20\x00\x00\x00\x05\x00\x00\x40\x00"
                                  "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x4f\x00\x01";
    struct fake_peer peer;
    struct client_call c = {0};
    struct client_rig w;

    start_raw(&w, &peer);
    rig_go_to(&w, &c, "fake:raw", "POST", false);
    fake_run(w.net);
    assert_true(peer.got.len > sizeof want);
    assert_memory_equal(peer.got.data, want, sizeof want - 1);
    http_stream_reset(c.s);
    fake_peer_close(&peer, false);
    rig_finish(&w);
}

static void many_streams_share_connections(void **state) {
    struct client_call c[300] = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    for (int i = 0; i < 300; i++)
        rig_go(&w, &c[i], "GET", true);
    fake_run(w.net);
    assert_int_equal(w.n_held, 300);
    assert_int_equal(w.net->connects, 3);
    for (int i = 0; i < 300; i++)
        rig_answer(w.held[i]);
    fake_run(w.net);
    for (int i = 0; i < 300; i++)
        assert_true(c[i].closes == 1 && c[i].closed_status == 0);
    rig_finish(&w);
}

static void the_peers_limit_of_streams_is_kept(void **state) {
    struct http_server_params sp = {.h2_max_streams = 2};
    struct client_call c[7] = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_2, &sp, NULL);
    rig_go(&w, &c[0], "GET", true);
    fake_run(w.net); /* now its SETTINGS are known */
    w.hold = true;
    for (int i = 1; i < 7; i++)
        rig_go(&w, &c[i], "GET", true);
    fake_run(w.net);
    for (unsigned i = 0; i < w.n_held; i++)
        rig_answer(w.held[i]);
    w.hold = false;
    fake_run(w.net);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(c[i].closes, 1);
        if (c[i].closed_status) { /* those the first SETTINGS of a new connection came too late for */
            assert_true(c[i].flags & HTTP_CLOSED_UNPROCESSED);
            assert_int_equal(c[i].h2_error, 7);
        }
    }
    assert_int_equal(c[1].closed_status, 0);
    assert_int_equal(c[2].closed_status, 0);
    assert_true(w.net->connects > 1);
    rig_finish(&w);
}

static void http_1_answered_to_the_preface_is_told_apart(void **state) {
    struct fake_peer peer;
    struct client_call c = {0};
    struct client_rig w;

    start_raw(&w, &peer);
    rig_go_to(&w, &c, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_send_str(&peer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_true(c.flags & HTTP_CLOSED_NOT_H2);
    fake_peer_close(&peer, false);
    rig_finish(&w);
}

static void goaway_spares_the_streams_before_it(void **state) {
    static const uint8_t goaway[] = {0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t head[] = {0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88};
    struct fake_peer peer, second;
    struct client_call c = {0}, d = {0}, e = {0};
    struct client_rig w;

    start_raw(&w, &peer);
    rig_go_to(&w, &c, "fake:raw", "GET", true);
    rig_go_to(&w, &d, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_serve(w.net, "fake:raw", &second);
    fake_peer_send(&peer, settings, sizeof settings);
    fake_peer_send(&peer, goaway, sizeof goaway);
    assert_true(d.closes == 1 && (d.flags & HTTP_CLOSED_UNPROCESSED));
    assert_int_equal(c.closes, 0);
    rig_go_to(&w, &e, "fake:raw", "GET", true); /* goes to another connection */
    fake_run(w.net);
    assert_true(second.ready && second.got.len > 24);
    fake_peer_send(&peer, head, sizeof head);
    assert_true(c.closes == 1 && c.closed_status == 0 && c.status == 200);
    assert_true(peer.eof);
    fake_peer_close(&peer, false);
    fake_peer_close(&second, true);
    assert_true(e.closes == 1 && e.closed_status == RS_ECLOSED && !(e.flags & HTTP_CLOSED_UNPROCESSED));
    rig_finish(&w);
}

static void resets_of_the_peer_are_told(void **state) {
    static const uint8_t refused[] = {0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7};
    static const uint8_t internal[] = {0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 2};
    struct fake_peer peer;
    struct client_call c = {0}, d = {0};
    struct client_rig w;

    start_raw(&w, &peer);
    rig_go_to(&w, &c, "fake:raw", "GET", true);
    rig_go_to(&w, &d, "fake:raw", "POST", false);
    fake_run(w.net);
    fake_peer_send(&peer, settings, sizeof settings);
    fake_peer_send(&peer, refused, sizeof refused);
    fake_peer_send(&peer, internal, sizeof internal);
    assert_int_equal(c.flags, HTTP_CLOSED_UNPROCESSED | HTTP_CLOSED_RESET);
    assert_int_equal(d.flags, HTTP_CLOSED_RESET);
    assert_int_equal(d.h2_error, 2);
    assert_int_equal(d.closed_status, RS_ECLOSED);
    fake_peer_close(&peer, false);
    rig_finish(&w);
}

static void a_silent_peer_fails_the_ping(void **state) {
    struct fake_peer peer;
    struct client_call c = {0};
    struct client_rig w;

    start_raw(&w, &peer);
    rig_go_to(&w, &c, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_send(&peer, settings, sizeof settings);
    fake_advance(w.net, 49000000000u);
    assert_int_equal(c.closes, 0);
    fake_advance(w.net, 21000000000u);
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.closed_status, RS_ETIMEDOUT);
    fake_peer_close(&peer, false);
    rig_finish(&w);
}

static void a_peer_that_answers_pings_may_take_its_time(void **state) {
    struct client_call c = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    rig_go(&w, &c, "GET", true);
    fake_run(w.net);
    for (int i = 0; i < 100; i++)
        fake_advance(w.net, 10000000000u);
    assert_int_equal(c.closes, 0);
    rig_answer(w.held[0]);
    fake_run(w.net);
    assert_true(c.closes == 1 && c.closed_status == 0);
    rig_finish(&w);
}

static void windows_of_streams_given_up_come_back(void **state) {
    struct client_call c[4] = {{.hold = true}, {.hold = true}, {.hold = true}, {.hold = false}};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    for (int i = 0; i < 4; i++) {
        rig_go(&w, &c[i], "GET", true);
        fake_run(w.net);
        http_respond(w.held[i], 200, NULL, 0, bytes_new(7 << 20));
        fake_run(w.net);
        if (i < 3) {
            assert_int_equal(c[i].body.len, 2 << 20);
            http_stream_reset(c[i].s);
        }
        buf_done(&c[i].body);
    }
    assert_int_equal(w.net->connects, 1);
    assert_true(c[3].closes == 1 && c[3].closed_status == 0);
    rig_finish(&w);
}

static void windows_of_streams_that_ended_come_back(void **state) {
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    for (int i = 0; i < 12; i++) {
        struct client_call c = {.hold = true};

        rig_go(&w, &c, "GET", true);
        fake_run(w.net);
        http_respond(w.held[i], 200, NULL, 0, bytes_new(1 << 20));
        fake_run(w.net);
        assert_int_equal(c.body.len, 1 << 20);
        assert_true(c.closes == 1 && c.closed_status == 0);
        buf_done(&c.body);
    }
    assert_int_equal(w.net->connects, 1);
    rig_finish(&w);
}

static void a_request_overtaken_by_goaway_was_never_made(void **state) {
    static const uint8_t goaway[] = {0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
    struct iovec iov = {(void *)(uintptr_t)goaway, sizeof goaway};
    struct fake_peer peer;
    struct client_call c = {0}, d = {0};
    struct client_rig w;

    start_raw(&w, &peer);
    rig_go_to(&w, &c, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_send(&peer, settings, sizeof settings);
    assert_int_equal(fake_transport(w.net).ops->write(peer.conn, &iov, 1), sizeof goaway);
    rig_go_to(&w, &d, "fake:raw", "POST", false);
    fake_run(w.net);
    assert_int_equal(w.net->connects, 1);
    assert_true(d.closes == 1 && d.closed_status == RS_ECLOSED && (d.flags & HTTP_CLOSED_UNPROCESSED));
    assert_int_equal(c.closes, 0);
    fake_peer_close(&peer, false);
    rig_finish(&w);
}

static void a_request_head_over_64_kib_fails_alone(void **state) {
    struct bytes *big = bytes_new(70000);
    struct http_header h = HTTP_HEADER("big", bytes_slice(big));
    struct client_call c = {0}, d = {0};
    struct http_client_request req;
    struct client_rig w;

    memset(big->data, 'x', big->len);
    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    req = (struct http_client_request){fake_transport(w.net),
                                       "fake:a",
                                       NULL,
                                       SLICE_LIT("http"),
                                       SLICE_LIT("place:80"),
                                       SLICE_LIT("GET"),
                                       SLICE_LIT("/"),
                                       HTTP_VERSION_2,
                                       &h,
                                       1,
                                       true};
    assert_int_equal(http_client_request(w.client, &req, &rig_events, &c, &c.s, NULL), 0);
    rig_go(&w, &d, "GET", true);
    fake_run(w.net);
    assert_true(c.closes == 1 && c.closed_status == RS_ETOOBIG);
    assert_true(d.closes == 1 && d.closed_status == 0);
    (void)bytes_unref(big);
    rig_finish(&w);
}

static void a_response_head_that_cannot_be_sent_resets_the_stream(void **state) {
    struct bytes *big = bytes_new(70000);
    struct http_header h = HTTP_HEADER("big", bytes_slice(big));
    struct client_call c = {0}, d = {0};
    struct client_rig w;

    memset(big->data, 'x', big->len);
    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    rig_go(&w, &c, "GET", true);
    fake_run(w.net);
    http_respond(w.held[0], 200, &h, 1, bytes_new(100));
    fake_run(w.net);
    assert_true(c.closes == 1 && (c.flags & HTTP_CLOSED_RESET) && c.heads == 0);
    w.hold = false;
    rig_go(&w, &d, "GET", true);
    fake_run(w.net);
    assert_true(d.closes == 1 && d.closed_status == 0);
    (void)bytes_unref(big);
    rig_finish(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_answer_may_come_in_while_the_request_is_open),
    cmocka_unit_test(the_preface_is_as_the_protocol_says),
    cmocka_unit_test(many_streams_share_connections),
    cmocka_unit_test(the_peers_limit_of_streams_is_kept),
    cmocka_unit_test(http_1_answered_to_the_preface_is_told_apart),
    cmocka_unit_test(goaway_spares_the_streams_before_it),
    cmocka_unit_test(resets_of_the_peer_are_told),
    cmocka_unit_test(a_silent_peer_fails_the_ping),
    cmocka_unit_test(a_peer_that_answers_pings_may_take_its_time),
    cmocka_unit_test(windows_of_streams_given_up_come_back),
    cmocka_unit_test(windows_of_streams_that_ended_come_back),
    cmocka_unit_test(a_request_overtaken_by_goaway_was_never_made),
    cmocka_unit_test(a_request_head_over_64_kib_fails_alone),
    cmocka_unit_test(a_response_head_that_cannot_be_sent_resets_the_stream),
};
const struct unit_group client_h2_test_group = UNIT_GROUP(tests);
