/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client_rig.h"

static const enum http_version both[] = {HTTP_VERSION_1, HTTP_VERSION_2};
#define BOTH(v) for (unsigned i_ = 0, v = both[0]; i_ < 2; v = both[++i_ & 1])

static void a_call_goes_and_its_answer_comes(void **state) {
    BOTH(v) {
        struct client_rig w;

        rig_start(&w, v, NULL, NULL);
        for (int i = 0; i < 5; i++) {
            struct client_call c = {0};

            rig_go(&w, &c, "POST", false);
            (void)http_stream_write_copy(c.s, SLICE_LIT("hello "));
            (void)http_stream_write(c.s, bytes_copy(SLICE_LIT("world")));
            if (i & 1)
                fake_run(w.net);
            http_stream_end(c.s);
            fake_run(w.net);
            assert_int_equal(c.status, 200);
            assert_true(slice_eq_str(buf_slice(&c.body), "hello world"));
            assert_true(c.heads == 1 && c.ends == 1 && c.closes == 1);
            assert_int_equal(c.closed_status, 0);
            buf_done(&c.body);
        }
        assert_int_equal(w.net->connects, 1);
        rig_finish(&w);
    }
}

static void heads_and_bodiless_calls_work(void **state) {
    BOTH(v) {
        struct client_call c = {0}, d = {0};
        struct client_rig w;

        rig_start(&w, v, NULL, NULL);
        rig_go(&w, &c, "GET", true);
        fake_run(w.net);
        assert_true(c.status == 200 && c.closes == 1 && c.closed_status == 0);
        w.hold = true;
        rig_go(&w, &d, "HEAD", true);
        fake_run(w.net);
        assert_true(slice_eq_str(w.held[0]->query, "y"));
        http_respond_text(w.held[0], 200, "long");
        fake_run(w.net);
        assert_true(d.status == 200 && d.closes == 1 && d.closed_status == 0 && d.body.len == 0);
        assert_int_equal(w.net->connects, 1);
        rig_finish(&w);
    }
}

static void big_bodies_pass_through_small_pipes_in_pieces(void **state) {
    BOTH(v) {
        struct bytes *big = bytes_new(3000000);
        struct client_call c = {0};
        struct client_rig w;

        for (size_t i = 0; i < big->len; i++)
            big->data[i] = (uint8_t)(i * 13 >> 5);
        rig_start(&w, v, NULL, NULL);
        w.net->capacity = 7000;
        w.net->read_max = 1500;
        w.net->write_max = 4000;
        rig_go(&w, &c, "POST", false);
        assert_int_equal(http_stream_write(c.s, bytes_ref(big)), big->len);
        http_stream_end(c.s);
        fake_run(w.net);
        assert_true(slice_eq(buf_slice(&c.body), bytes_slice(big)));
        assert_int_equal(c.closed_status, 0);
        assert_int_equal(c.writables, 1);
        assert_int_equal(big->refs, 1);
        buf_done(&c.body);
        (void)bytes_unref(big);
        rig_finish(&w);
    }
}

static void small_fragments_change_nothing(void **state) {
    BOTH(v) {
        struct client_call c = {0};
        struct client_rig w;

        rig_start(&w, v, NULL, NULL);
        w.net->read_max = 1;
        w.net->write_max = 1;
        rig_go(&w, &c, "POST", false);
        (void)http_stream_write_copy(c.s, SLICE_LIT("fragment"));
        http_stream_end(c.s);
        fake_run(w.net);
        assert_true(slice_eq_str(buf_slice(&c.body), "fragment"));
        assert_int_equal(c.closed_status, 0);
        buf_done(&c.body);
        rig_finish(&w);
    }
}

static void a_slow_reader_holds_the_server_back(void **state) {
    BOTH(v) {
        struct client_call c = {.hold = true};
        struct client_rig w;
        size_t sent = 0, before;

        rig_start(&w, v, NULL, NULL);
        w.net->capacity = 100000;
        w.hold = true;
        rig_go(&w, &c, "GET", true);
        fake_run(w.net);
        http_respond_begin(w.held[0], 200, NULL, 0, NULL);
        while (http_respond_write(w.held[0], bytes_new(100000)) <= HTTP_QUEUE_HIGH) {
            sent += 100000;
            fake_run(w.net);
            assert_true(sent < 10000000);
        }
        sent += 100000;
        before = c.body.len;
        assert_true(before >= 2 << 20 && before <= 3 << 20);
        fake_run(w.net);
        assert_int_equal(c.body.len, before);
        c.hold = false;
        http_stream_consume(c.s, before);
        http_respond_end(w.held[0]);
        fake_run(w.net);
        assert_int_equal(c.body.len, sent);
        assert_true(c.closes == 1 && c.closed_status == 0);
        buf_done(&c.body);
        rig_finish(&w);
    }
}

static void a_reset_reaches_the_server_and_no_event_follows(void **state) {
    BOTH(v) {
        struct client_call c = {0}, d = {.reset_in_head = true}, e = {.reset_in_data = true}, f = {0};
        struct client_rig w;

        rig_start(&w, v, NULL, NULL);
        w.hold = true;
        rig_go(&w, &c, "GET", true);
        fake_run(w.net);
        http_stream_reset(c.s);
        fake_run(w.net);
        assert_int_equal(w.n_gone, 1);
        rig_answer(w.held[0]);
        w.hold = false;
        rig_go(&w, &d, "POST", false);
        (void)http_stream_write_copy(d.s, SLICE_LIT("body"));
        http_stream_end(d.s);
        rig_go(&w, &e, "POST", false);
        (void)http_stream_write_copy(e.s, SLICE_LIT("body"));
        http_stream_end(e.s);
        rig_go(&w, &f, "POST", false);
        http_stream_end(f.s);
        fake_run(w.net);
        assert_true(c.heads == 0 && c.closes == 0);
        assert_true(d.heads == 1 && d.body.len == 0 && d.closes == 0);
        assert_true(e.heads == 1 && e.body.len == 4 && e.closes == 0);
        assert_true(f.closes == 1 && f.closed_status == 0);
        buf_done(&e.body);
        rig_finish(&w);
    }
}

static void streams_given_up_at_every_moment_leave_nothing(void **state) {
    BOTH(v) {
        for (int turns = 0; turns < 30; turns++) {
            struct client_call c = {0}, d = {0};
            struct client_rig w;

            rig_start(&w, v, NULL, NULL);
            w.net->write_max = 50;
            rig_go(&w, &c, "POST", false);
            (void)http_stream_write(c.s, bytes_new(5000));
            http_stream_end(c.s);
            for (int i = 0; i < turns; i++)
                (void)loop_turn(w.net->loop);
            if (c.s)
                http_stream_reset(c.s);
            rig_go(&w, &d, "POST", false);
            http_stream_end(d.s);
            fake_run(w.net);
            assert_true(d.closes == 1 && d.closed_status == 0);
            buf_done(&c.body);
            rig_finish(&w);
        }
    }
}

static void a_refused_connection_is_retryable_and_named(void **state) {
    struct client_call c = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    w.net->refuse_connect = true;
    rig_go(&w, &c, "GET", true);
    assert_int_equal(c.closes, 0);
    fake_run(w.net);
    assert_int_equal(c.closes, 1);
    assert_true(c.closed_status < 0);
    assert_int_equal(c.flags, HTTP_CLOSED_CONNECT | HTTP_CLOSED_UNPROCESSED);
    assert_non_null(strstr(c.message, "place:80"));
    assert_non_null(strstr(c.message, "fake:a"));
    rig_finish(&w);
}

static void connecting_may_time_out(void **state) {
    struct client_call c = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_2, NULL, NULL);
    w.net->hang_connect = true;
    rig_go(&w, &c, "GET", true);
    fake_advance(w.net, 9900000000u);
    assert_int_equal(c.closes, 0);
    fake_advance(w.net, 200000000u);
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.closed_status, RS_ETIMEDOUT);
    assert_true(c.flags & HTTP_CLOSED_CONNECT);
    rig_finish(&w);
}

static void alpn_decides(void **state) {
    struct client_call c = {0}, d = {0};
    struct client_rig w;

    rig_start(&w, HTTP_VERSION_ALPN, NULL, NULL);
    w.net->alpn = "h2";
    w.hold = true;
    rig_go(&w, &c, "GET", true);
    fake_run(w.net);
    assert_int_equal(w.held[0]->version, 20);
    rig_answer(w.held[0]);
    fake_run(w.net);
    w.version = HTTP_VERSION_2;
    w.net->alpn = "http/1.1";
    rig_go(&w, &d, "GET", true);
    fake_run(w.net);
    assert_true(d.closes == 1 && (d.flags & HTTP_CLOSED_NOT_H2));
    rig_finish(&w);
}

static void idle_connections_are_evicted(void **state) {
    BOTH(v) {
        struct http_server_params sp = {.idle_timeout_ns = UINT64_MAX / 4};
        struct http_client_stats st;
        struct client_call c = {0};
        struct client_rig w;

        rig_start(&w, v, &sp, NULL);
        rig_go(&w, &c, "GET", true);
        fake_run(w.net);
        http_client_stats(w.client, &st);
        assert_int_equal(st.connections, 1);
        for (int i = 0; i < 31; i++)
            fake_advance(w.net, 10000000000u);
        http_client_stats(w.client, &st);
        assert_int_equal(st.connections, 0);
        assert_int_equal(st.streams, 0);
        rig_finish(&w);
    }
}

static void a_lost_connection_fails_what_is_on_it(void **state) {
    BOTH(v) {
        struct fake_peer peer;
        struct client_call c = {0}, d = {0};
        struct client_rig w;

        rig_start(&w, v, NULL, NULL);
        fake_peer_serve(w.net, "fake:raw", &peer);
        rig_go_to(&w, &c, "fake:raw", "GET", true);
        fake_run(w.net);
        fake_peer_close(&peer, true);
        assert_true(c.closes == 1 && c.closed_status == RS_ECLOSED);
        assert_false(c.flags & HTTP_CLOSED_UNPROCESSED);
        fake_peer_serve(w.net, "fake:raw", &peer);
        rig_go_to(&w, &d, "fake:raw", "GET", true); /* a new one is made */
        fake_run(w.net);
        assert_true(peer.ready);
        fake_peer_close(&peer, false);
        assert_true(d.closes == 1 && d.closed_status == RS_ECLOSED);
        rig_finish(&w);
    }
}

static void a_response_head_over_the_limit_fails_the_stream(void **state) {
    BOTH(v) {
        struct http_client_params cp = {.max_head_bytes = 1000};
        struct http_header h;
        struct client_call c = {0}, d = {0};
        struct client_rig w;
        char big[2000];

        memset(big, 'x', sizeof big);
        h = HTTP_HEADER("big", slice_of(big, sizeof big));
        rig_start(&w, v, NULL, &cp);
        w.hold = true;
        rig_go(&w, &c, "GET", true);
        fake_run(w.net);
        http_respond(w.held[0], 200, &h, 1, NULL);
        fake_run(w.net);
        assert_true(c.closes == 1 && c.closed_status < 0 && c.heads == 0);
        w.hold = false;
        rig_go(&w, &d, "GET", true);
        fake_run(w.net);
        assert_true(d.closes == 1 && d.closed_status == 0);
        rig_finish(&w);
    }
}

static void closing_the_client_cancels_everything(void **state) {
    BOTH(v) {
        struct client_call c = {0}, d = {0};
        struct client_rig w;

        rig_start(&w, v, NULL, NULL);
        w.hold = true;
        rig_go(&w, &c, "GET", true);
        fake_run(w.net);
        w.net->hang_connect = true;
        rig_go_to(&w, &d, "fake:other", "GET", true);
        http_client_close(w.client, rig_set, &w.client_done);
        w.client = NULL;
        fake_run(w.net);
        assert_true(w.client_done);
        assert_true(c.closes == 1 && c.closed_status == RS_ECANCELED);
        assert_true(d.closes == 1 && d.closed_status == RS_ECANCELED && (d.flags & HTTP_CLOSED_UNPROCESSED));
        assert_int_equal(w.n_gone, 1);
        rig_answer(w.held[0]);
        rig_finish(&w);
    }
}

/* The last connection ends by itself at any moment around that. */
static void a_connection_may_end_while_the_client_closes(void **state) {
    for (unsigned turns = 0; turns < 6; turns++) {
        BOTH(v) {
            struct client_call c = {0};
            struct client_rig w;

            rig_start(&w, v, NULL, NULL);
            w.hold = true;
            rig_go(&w, &c, "GET", true);
            fake_run(w.net);
            fake_cut(w.net, 0);
            for (unsigned i = 0; i < turns; i++)
                loop_turn(w.net->loop);
            http_client_close(w.client, rig_set, &w.client_done);
            w.client = NULL;
            fake_run(w.net);
            assert_true(w.client_done);
            assert_true(c.closes == 1 && c.closed_status < 0);
            rig_answer(w.held[0]);
            rig_finish(&w);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_call_goes_and_its_answer_comes),
    cmocka_unit_test(heads_and_bodiless_calls_work),
    cmocka_unit_test(big_bodies_pass_through_small_pipes_in_pieces),
    cmocka_unit_test(small_fragments_change_nothing),
    cmocka_unit_test(a_slow_reader_holds_the_server_back),
    cmocka_unit_test(a_reset_reaches_the_server_and_no_event_follows),
    cmocka_unit_test(streams_given_up_at_every_moment_leave_nothing),
    cmocka_unit_test(a_refused_connection_is_retryable_and_named),
    cmocka_unit_test(connecting_may_time_out),
    cmocka_unit_test(alpn_decides),
    cmocka_unit_test(idle_connections_are_evicted),
    cmocka_unit_test(a_lost_connection_fails_what_is_on_it),
    cmocka_unit_test(a_response_head_over_the_limit_fails_the_stream),
    cmocka_unit_test(closing_the_client_cancels_everything),
    cmocka_unit_test(a_connection_may_end_while_the_client_closes),
};
const struct unit_group client_test_group = UNIT_GROUP(tests);
