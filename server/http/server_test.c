/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <stdio.h>

#include "http/fake_transport.h"
#include "unit.h"

struct world {
    struct fake_net *net;
    struct http_server *server;
    struct fake_peer peer;
    struct http_request *held[64];
    unsigned n_held, n_requests, n_closed;
    bool hold, drained;
    unsigned writables;
};

static void on_closed(struct http_request *q) {
    struct world *w = q->user;

    w->n_closed++;
}

static void answer(struct http_request *q) {
    struct http_header h[3] = {HTTP_HEADER("x-path", q->path), HTTP_HEADER("x-query", q->query),
                               HTTP_HEADER("x-peer", slice_str(q->peer))};

    http_respond(q, 200, h, 3, q->body ? bytes_ref(q->body) : NULL);
}

static void on_request(void *arg, struct http_request *q) {
    struct world *w = arg;

    w->n_requests++;
    q->user = w;
    q->closed = on_closed;
    if (w->hold)
        w->held[w->n_held++] = q;
    else
        answer(q);
}

static void start(struct world *w, const struct http_server_params *p) {
    *w = (struct world){.net = fake_net_new()};
    w->server = http_server_new(w->net->loop, p, on_request, w);
    assert_int_equal(http_server_listen(w->server, fake_transport(w->net), "fake:a", NULL, NULL), 0);
    fake_peer_dial(&w->peer, w->net, "fake:a");
}

static void on_drained(void *arg) {
    ((struct world *)arg)->drained = true;
}

static void finish(struct world *w) {
    fake_peer_close(&w->peer, false);
    http_server_drain(w->server, 1000, on_drained, w);
    fake_run(w->net);
    fake_advance(w->net, 2000);
    assert_true(w->drained);
    (void)http_server_free(w->server);
    fake_net_free(w->net);
}

static bool got(struct world *w, const char *want) {
    return memmem(w->peer.got.data, w->peer.got.len, want, strlen(want)) != NULL;
}

static unsigned count(struct world *w, const char *want) {
    unsigned n = 0;

    for (size_t i = 0; i + strlen(want) <= w->peer.got.len; i++)
        n += memcmp(w->peer.got.data + i, want, strlen(want)) == 0;
    return n;
}

static void a_request_is_answered_and_the_connection_kept(void **state) {
    struct world w;

    start(&w, NULL);
    for (int i = 0; i < 3; i++)
        fake_peer_send_str(&w.peer, "POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    assert_int_equal(w.n_requests, 3);
    assert_int_equal(count(&w, "HTTP/1.1 200 OK\r\n"), 3);
    assert_int_equal(count(&w, "x-path: /a/b\r\nx-query: c=d\r\nx-peer: fake\r\ncontent-length: 5\r\ndate: "), 3);
    assert_int_equal(count(&w, "\r\n\r\nhello"), 3);
    assert_false(w.peer.eof);
    finish(&w);
}

static void requests_may_come_byte_by_byte(void **state) {
    static const char text[] =
        "POST /x HTTP/1.1\r\nhost: y\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        "GET /z HTTP/1.1\r\n\r\n";
    struct world w;

    start(&w, NULL);
    w.net->read_max = 1;
    w.net->write_max = 3;
    for (size_t i = 0; i < sizeof text - 1; i++)
        fake_peer_send(&w.peer, text + i, 1);
    assert_int_equal(w.n_requests, 2);
    assert_true(got(&w, "content-length: 5\r\n"));
    assert_true(got(&w, "\r\n\r\nabcdeHTTP/1.1 200 OK\r\nx-path: /z\r\n"));
    finish(&w);
}

static void pipelined_requests_are_answered_in_order(void **state) {
    struct world w;
    char text[4096] = "";

    start(&w, NULL);
    w.hold = true;
    for (int i = 0; i < 20; i++)
        (void)snprintf(text + strlen(text), 100, "GET /%02d HTTP/1.1\r\n\r\n", i);
    fake_peer_send_str(&w.peer, text);
    for (unsigned i = 0; i < 20; i++) {
        char want[32];

        assert_int_equal(w.n_held, i + 1); /* one at a time */
        answer(w.held[i]);
        fake_run(w.net);
        (void)snprintf(want, sizeof want, "x-path: /%02u\r\n", i);
        assert_true(got(&w, want));
    }
    finish(&w);
}

static void a_request_that_follows_at_once_waits_for_what_came_before(void **state) {
    struct iovec iov = {(void *)(uintptr_t) "TP/1.1\r\n\r\n", 10};
    struct world w;

    start(&w, NULL);
    w.hold = true;
    fake_peer_send_str(&w.peer, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HT");
    w.hold = false;
    assert_int_equal(fake_transport(w.net).ops->write(w.peer.conn, &iov, 1), iov.iov_len);
    answer(w.held[0]); /* the rest of the third is read before the loop comes to what was read ahead */
    fake_run(w.net);
    assert_int_equal(w.n_requests, 3);
    assert_true(got(&w, "x-path: /2\r\n"));
    assert_true(got(&w, "x-path: /3\r\n"));
    finish(&w);
}

static void a_flood_of_pipelined_requests_is_not_read(void **state) {
    struct http_server_stats st;
    struct buf text = {0};
    struct iovec iov;
    struct world w;
    size_t at = 0;

    start(&w, NULL);
    w.hold = true;
    w.net->capacity = 16 << 10;
    for (int i = 0; i < 20000; i++)
        buf_put_str(&text, "GET / HTTP/1.1\r\n\r\n");
    for (;;) {
        int64_t n;

        iov = (struct iovec){text.data + at, text.len - at};
        n = fake_transport(w.net).ops->write(w.peer.conn, &iov, 1);
        if (n < 0)
            break;
        at += (size_t)n;
        fake_run(w.net);
    }
    http_server_stats(w.server, &st);
    assert_int_equal(w.n_held, 1);
    assert_true(st.bytes_in >= 64 << 10 && st.bytes_in <= 128 << 10);
    w.hold = false;
    answer(w.held[0]);
    fake_peer_send(&w.peer, text.data + at, text.len - at);
    assert_int_equal(w.n_requests, 20000);
    buf_done(&text);
    finish(&w);
}

static void a_bad_head_gets_400_and_the_end(void **state) {
    struct world w;

    start(&w, NULL);
    fake_peer_send_str(
        &w.peer, "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabcGET / HTTP/1.1\r\n\r\n");
    assert_int_equal(w.n_requests, 0);
    assert_true(got(&w, "HTTP/1.1 400 Bad Request\r\n"));
    assert_true(got(&w, "connection: close\r\n"));
    assert_true(w.peer.eof);
    finish(&w);
}

static void broken_chunks_get_400(void **state) {
    struct world w;

    start(&w, NULL);
    fake_peer_send_str(&w.peer, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n");
    assert_int_equal(w.n_requests, 0);
    assert_int_equal(count(&w, "HTTP/1.1 400"), 1);
    assert_true(w.peer.eof);
    finish(&w);
}

static void an_announced_body_over_the_limit_is_refused_at_once(void **state) {
    struct http_server_params p = {.max_body_bytes = 10,
                                   .too_big = {413, "application/json", SLICE_LIT("{\"big\":1}")}};
    struct world w;

    start(&w, &p);
    fake_peer_send_str(&w.peer, "POST / HTTP/1.1\r\ncontent-length: 11\r\nexpect: 100-continue\r\n\r\n");
    assert_true(got(&w, "HTTP/1.1 413 "));
    assert_true(got(&w, "{\"big\":1}"));
    assert_false(got(&w, "100 Continue"));
    assert_true(w.peer.eof);
    finish(&w);
    start(&w, &p);
    fake_peer_send_str(&w.peer, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n");
    assert_int_equal(w.n_requests, 0);
    assert_true(got(&w, "HTTP/1.1 413 "));
    finish(&w);
}

static void a_client_that_waits_is_told_to_go_on(void **state) {
    struct world w;

    start(&w, NULL);
    fake_peer_send_str(&w.peer, "POST / HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
    assert_true(slice_eq_str(buf_slice(&w.peer.got), "HTTP/1.1 100 Continue\r\n\r\n"));
    fake_peer_send_str(&w.peer, "ab");
    assert_true(got(&w, "HTTP/1.1 200 OK"));
    finish(&w);
}

static void head_has_a_length_and_no_body(void **state) {
    struct world w;

    start(&w, NULL);
    w.hold = true;
    fake_peer_send_str(&w.peer, "HEAD / HTTP/1.1\r\n\r\n");
    http_respond_text(w.held[0], 200, "twelve bytes");
    fake_run(w.net);
    assert_true(got(&w, "content-length: 12\r\n"));
    assert_false(got(&w, "twelve"));
    w.hold = false;
    fake_peer_send_str(&w.peer, "GET /n HTTP/1.1\r\n\r\n");
    assert_true(got(&w, "x-path: /n\r\n"));
    finish(&w);
}

static void a_streamed_answer_to_head_has_no_body(void **state) {
    struct world w;

    start(&w, NULL);
    w.hold = true;
    fake_peer_send_str(&w.peer, "HEAD / HTTP/1.1\r\n\r\n");
    http_respond_begin(w.held[0], 200, NULL, 0, NULL);
    (void)http_respond_write_copy(w.held[0], SLICE_LIT("never"));
    fake_run(w.net);
    http_respond_end(w.held[0]);
    fake_run(w.net);
    assert_memory_equal(w.peer.got.data + w.peer.got.len - 4, "\r\n\r\n", 4);
    assert_false(got(&w, "never"));
    assert_false(got(&w, "\r\n0\r\n"));
    w.hold = false;
    fake_peer_send_str(&w.peer, "GET /next HTTP/1.1\r\n\r\n");
    assert_true(got(&w, "x-path: /next\r\n"));
    finish(&w);
}

static void http_1_0_is_closed_unless_it_asks(void **state) {
    struct world w;

    start(&w, NULL);
    fake_peer_send_str(&w.peer, "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    assert_true(got(&w, "connection: keep-alive\r\n"));
    assert_false(w.peer.eof);
    fake_peer_send_str(&w.peer, "GET / HTTP/1.0\r\n\r\n");
    assert_true(w.peer.eof);
    finish(&w);
}

static void absolute_targets_and_asterisk_are_understood(void **state) {
    struct world w;

    start(&w, NULL);
    w.hold = true;
    fake_peer_send_str(&w.peer, "GET http://h:1/p?q HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_true(slice_eq_str(w.held[0]->authority, "h:1"));
    assert_true(slice_eq_str(w.held[0]->path, "/p"));
    answer(w.held[0]);
    fake_peer_send_str(&w.peer, "OPTIONS * HTTP/1.1\r\nhost: o\r\n\r\n");
    assert_true(slice_eq_str(w.held[1]->path, "*"));
    assert_true(slice_eq_str(w.held[1]->authority, "o"));
    answer(w.held[1]);
    fake_peer_send_str(&w.peer, "CONNECT a:1 HTTP/1.1\r\n\r\n");
    assert_int_equal(w.n_held, 2);
    assert_true(got(&w, "HTTP/1.1 400"));
    finish(&w);
}

static void the_application_learns_that_the_client_went_away(void **state) {
    struct world w;

    start(&w, NULL);
    w.hold = true;
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\n\r\n");
    fake_peer_close(&w.peer, true);
    assert_int_equal(w.n_closed, 1);
    answer(w.held[0]); /* goes nowhere */
    finish(&w);
}

static void at_the_bound_of_requests_in_flight_others_are_refused(void **state) {
    struct http_server_params p = {.max_in_flight = 1, .overloaded = {429, NULL, SLICE_LIT("busy")}};
    struct fake_peer second;
    struct world w;

    start(&w, &p);
    w.hold = true;
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\n\r\n");
    fake_peer_dial(&second, w.net, "fake:a");
    fake_peer_send_str(&second, "GET / HTTP/1.1\r\n\r\n");
    assert_non_null(memmem(second.got.data, second.got.len, "HTTP/1.1 429 ", 13));
    assert_false(second.eof);
    answer(w.held[0]);
    w.hold = false;
    fake_peer_send_str(&second, "GET / HTTP/1.1\r\n\r\n");
    assert_non_null(memmem(second.got.data, second.got.len, "HTTP/1.1 200 ", 13));
    fake_peer_close(&second, false);
    finish(&w);
}

static void on_writable(void *arg, struct http_request *q) {
    ((struct world *)arg)->writables++;
}

static void a_streamed_answer_waits_for_a_slow_reader(void **state) {
    struct http_respond_events ev;
    struct world w;
    size_t n = 0;

    start(&w, NULL);
    ev = (struct http_respond_events){on_writable, &w};
    w.hold = true;
    w.net->capacity = 4096;
    w.peer.stop_reading = true;
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\n\r\n");
    http_respond_begin(w.held[0], 200, NULL, 0, &ev);
    while (http_respond_write(w.held[0], bytes_new(50000)) <= HTTP_QUEUE_HIGH) {
        n++;
        fake_run(w.net);
        assert_true(n < 100);
    }
    fake_run(w.net);
    assert_int_equal(w.writables, 0);
    w.peer.stop_reading = false;
    fake_peer_read(&w.peer);
    fake_run(w.net);
    assert_int_equal(w.writables, 1);
    http_respond_end(w.held[0]);
    fake_run(w.net);
    assert_true(w.peer.got.len > (n + 1) * 50000);
    assert_memory_equal(w.peer.got.data + w.peer.got.len - 7, "\r\n0\r\n\r\n", 7);
    w.hold = false;
    fake_peer_send_str(&w.peer, "GET /next HTTP/1.1\r\n\r\n");
    assert_true(got(&w, "x-path: /next\r\n"));
    finish(&w);
}

static void an_answer_given_up_cuts_the_connection(void **state) {
    struct world w;

    start(&w, NULL);
    w.hold = true;
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\n\r\n");
    http_respond_begin(w.held[0], 200, NULL, 0, NULL);
    (void)http_respond_write_copy(w.held[0], SLICE_LIT("some"));
    fake_run(w.net);
    assert_true(got(&w, "transfer-encoding: chunked\r\n"));
    assert_true(got(&w, "\r\n\r\n4\r\nsome\r\n"));
    http_respond_abort(w.held[0]);
    fake_run(w.net);
    assert_true(w.peer.eof);
    assert_false(got(&w, "\r\n0\r\n"));
    finish(&w);
}

static void idle_and_stalled_connections_are_closed(void **state) {
    struct http_server_params p = {.idle_timeout_ns = 1000, .receive_timeout_ns = 100};
    struct fake_peer stalled;
    struct world w;

    start(&w, &p);
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\n\r\n");
    fake_peer_dial(&stalled, w.net, "fake:a");
    fake_peer_send_str(&stalled, "GET / HT");
    fake_advance(w.net, 150);
    assert_true(stalled.eof);
    assert_false(w.peer.eof);
    fake_advance(w.net, 900);
    assert_true(w.peer.eof);
    fake_peer_close(&stalled, false);
    finish(&w);
}

static void draining_lets_answers_go_out_and_then_closes(void **state) {
    struct fake_peer idle;
    struct world w;

    start(&w, NULL);
    w.hold = true;
    fake_peer_dial(&idle, w.net, "fake:a");
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\n\r\n");
    http_server_drain(w.server, 1000000, on_drained, &w);
    fake_run(w.net);
    assert_true(idle.eof);
    assert_false(w.drained);
    answer(w.held[0]);
    fake_run(w.net);
    assert_true(got(&w, "connection: close\r\n"));
    assert_true(w.peer.eof);
    fake_peer_close(&w.peer, false);
    fake_peer_close(&idle, false);
    assert_true(w.drained);
    (void)http_server_free(w.server);
    fake_net_free(w.net);
}

static void the_answers_of_one_turn_are_one_write(void **state) {
    struct world w;
    unsigned before;

    start(&w, NULL);
    before = w.net->writes;
    fake_peer_send_str(&w.peer, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
    assert_int_equal(count(&w, "200 OK"), 3);
    assert_int_equal(w.net->writes - before, 2); /* ours, and the answers */
    finish(&w);
}

static void bodies_arriving_share_a_budget(void **state) {
    struct http_server_params p = {.max_body_bytes = 1000, .max_buffered_bytes = 1500};
    struct fake_peer second;
    struct world w;
    char body[900];

    memset(body, 'b', sizeof body);
    start(&w, &p);
    fake_peer_send_str(&w.peer, "POST /1 HTTP/1.1\r\ncontent-length: 1000\r\n\r\n");
    fake_peer_send(&w.peer, body, 900);
    fake_peer_dial(&second, w.net, "fake:a");
    fake_peer_send_str(&second, "POST /2 HTTP/1.1\r\ncontent-length: 900\r\n\r\n");
    fake_peer_send(&second, body, 900);
    assert_non_null(memmem(second.got.data, second.got.len, "HTTP/1.1 503 ", 13));
    fake_peer_send(&w.peer, body, 100);
    assert_true(got(&w, "HTTP/1.1 200 OK"));
    fake_peer_close(&second, false);
    finish(&w);
}

static void connections_over_the_bound_are_closed(void **state) {
    struct http_server_params p = {.max_connections = 1};
    struct http_server_stats st;
    struct fake_peer second;
    struct world w;

    start(&w, &p);
    fake_peer_dial(&second, w.net, "fake:a");
    assert_true(second.eof);
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\n\r\n");
    assert_true(got(&w, "200 OK"));
    fake_peer_close(&second, false);
    http_server_stats(w.server, &st);
    assert_int_equal(st.connections, 1);
    assert_int_equal(st.connections_total, 2);
    assert_int_equal(st.requests_total, 1);
    assert_int_equal(st.in_flight, 0);
    finish(&w);
}

static struct http_server *pick(void *arg) {
    return ((struct world *)arg)->server;
}

static void a_listener_may_hand_connections_to_another_server(void **state) {
    struct http_server *front;
    struct fake_peer p;
    struct world w;
    bool drained = false;

    start(&w, NULL);
    front = http_server_new(w.net->loop, NULL, on_request, NULL);
    http_server_set_pick(front, pick, &w);
    assert_int_equal(http_server_listen(front, fake_transport(w.net), "fake:front", NULL, NULL), 0);
    fake_peer_dial(&p, w.net, "fake:front");
    fake_peer_send_str(&p, "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(w.n_requests, 1);
    assert_non_null(memmem(p.got.data, p.got.len, "200 OK", 6));
    http_server_drain(front, 0, on_drained, &w);
    fake_run(w.net);
    drained = w.drained;
    w.drained = false;
    assert_true(drained);
    (void)http_server_free(front);
    assert_false(p.eof);
    fake_peer_close(&p, false);
    finish(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_request_is_answered_and_the_connection_kept),
    cmocka_unit_test(requests_may_come_byte_by_byte),
    cmocka_unit_test(pipelined_requests_are_answered_in_order),
    cmocka_unit_test(a_request_that_follows_at_once_waits_for_what_came_before),
    cmocka_unit_test(a_flood_of_pipelined_requests_is_not_read),
    cmocka_unit_test(a_bad_head_gets_400_and_the_end),
    cmocka_unit_test(broken_chunks_get_400),
    cmocka_unit_test(an_announced_body_over_the_limit_is_refused_at_once),
    cmocka_unit_test(a_client_that_waits_is_told_to_go_on),
    cmocka_unit_test(head_has_a_length_and_no_body),
    cmocka_unit_test(a_streamed_answer_to_head_has_no_body),
    cmocka_unit_test(http_1_0_is_closed_unless_it_asks),
    cmocka_unit_test(absolute_targets_and_asterisk_are_understood),
    cmocka_unit_test(the_application_learns_that_the_client_went_away),
    cmocka_unit_test(at_the_bound_of_requests_in_flight_others_are_refused),
    cmocka_unit_test(a_streamed_answer_waits_for_a_slow_reader),
    cmocka_unit_test(an_answer_given_up_cuts_the_connection),
    cmocka_unit_test(idle_and_stalled_connections_are_closed),
    cmocka_unit_test(draining_lets_answers_go_out_and_then_closes),
    cmocka_unit_test(the_answers_of_one_turn_are_one_write),
    cmocka_unit_test(bodies_arriving_share_a_budget),
    cmocka_unit_test(connections_over_the_bound_are_closed),
    cmocka_unit_test(a_listener_may_hand_connections_to_another_server),
};
const struct unit_group server_test_group = UNIT_GROUP(tests);
