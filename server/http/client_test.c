/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client.h"

#include <stdio.h>

#include "http/fake_transport.h"
#include "http/server.h"
#include "unit.h"

struct call {
    struct http_stream *s;
    struct buf body;
    unsigned status, heads, ends, closes, writables;
    int closed_status;
    unsigned flags;
    uint32_t h2_error;
    char message[320];
    bool hold; /* do not consume */
    bool reset_in_head, reset_in_data, end_at_head;
};
struct world {
    struct fake_net *net;
    struct http_server *server;
    struct http_client *client;
    enum http_version version;
    struct http_request *held[512];
    unsigned n_held, n_requests, n_gone;
    bool hold, drained, client_done;
};

static void on_gone(struct http_request *q) {
    ((struct world *)q->user)->n_gone++;
}
static void answer(struct http_request *q) {
    struct http_header h[2] = {HTTP_HEADER("x-method", q->method),
                               HTTP_HEADER("x-a", http_header_get(q->headers, q->n_headers, "a"))};

    http_respond(q, 200, h, 2, q->body ? bytes_ref(q->body) : NULL);
}
static void on_request(void *arg, struct http_request *q) {
    struct world *w = arg;

    w->n_requests++;
    q->user = w;
    q->closed = on_gone;
    if (w->hold)
        w->held[w->n_held++] = q;
    else
        answer(q);
}

static void ev_head(void *arg, struct http_stream *s, unsigned status, const struct http_header *h, size_t n) {
    struct call *c = arg;

    c->heads++;
    c->status = status;
    if (c->end_at_head)
        http_stream_end(s);
    if (c->reset_in_head)
        http_stream_reset(s);
}
static void ev_data(void *arg, struct http_stream *s, struct slice d) {
    struct call *c = arg;

    buf_put_slice(&c->body, d);
    if (c->reset_in_data)
        http_stream_reset(s);
    else if (!c->hold)
        http_stream_consume(s, d.len);
}
static void ev_end(void *arg, struct http_stream *s) {
    ((struct call *)arg)->ends++;
}
static void ev_writable(void *arg, struct http_stream *s) {
    ((struct call *)arg)->writables++;
}
static void ev_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    struct call *c = arg;

    c->closes++;
    c->s = NULL;
    c->closed_status = why->status;
    c->flags = why->flags;
    c->h2_error = why->h2_error;
    (void)snprintf(c->message, sizeof c->message, "%s", why->message);
}
static const struct http_stream_events events = {ev_head, ev_data, ev_end, ev_writable, ev_closed};

static void start(struct world *w, enum http_version v, const struct http_server_params *sp,
                  const struct http_client_params *cp) {
    *w = (struct world){.net = fake_net_new(), .version = v};
    w->server = http_server_new(w->net->loop, sp, on_request, w);
    assert_int_equal(http_server_listen(w->server, fake_transport(w->net), "fake:a", NULL, NULL), 0);
    w->client = http_client_new(w->net->loop, cp);
}
static void set(void *flag) {
    *(bool *)flag = true;
}
static void finish(struct world *w) {
    if (w->client)
        http_client_close(w->client, set, &w->client_done);
    fake_run(w->net);
    assert_true(!w->client || w->client_done);
    http_server_drain(w->server, 0, set, &w->drained);
    fake_run(w->net);
    fake_advance(w->net, 1);
    assert_true(w->drained);
    (void)http_server_free(w->server);
    fake_net_free(w->net);
}

static void go_to(struct world *w, struct call *c, const char *uri, const char *method, bool no_body) {
    struct http_header h[] = {HTTP_HEADER("a", SLICE_LIT("b c"))};
    struct http_client_request req = {
        .transport = fake_transport(w->net),
        .uri = uri,
        .scheme = SLICE_LIT("http"),
        .authority = SLICE_LIT("place:80"),
        .method = slice_str(method),
        .path = SLICE_LIT("/x?y"),
        .version = w->version,
        .headers = h,
        .n_headers = 1,
        .no_body = no_body,
    };

    assert_int_equal(http_client_request(w->client, &req, &events, c, &c->s, NULL), 0);
}
static void go(struct world *w, struct call *c, const char *method, bool no_body) {
    go_to(w, c, "fake:a", method, no_body);
}

static const enum http_version both[] = {HTTP_VERSION_1, HTTP_VERSION_2};
#define BOTH(v) for (unsigned i_ = 0, v = both[0]; i_ < 2; v = both[++i_ & 1])

static void a_call_goes_and_its_answer_comes(void **state) {
    BOTH(v) {
        struct world w;

        start(&w, v, NULL, NULL);
        for (int i = 0; i < 5; i++) {
            struct call c = {0};

            go(&w, &c, "POST", false);
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
        finish(&w);
    }
}

static void heads_and_bodiless_calls_work(void **state) {
    BOTH(v) {
        struct call c = {0}, d = {0};
        struct world w;

        start(&w, v, NULL, NULL);
        go(&w, &c, "GET", true);
        fake_run(w.net);
        assert_true(c.status == 200 && c.closes == 1 && c.closed_status == 0);
        w.hold = true;
        go(&w, &d, "HEAD", true);
        fake_run(w.net);
        assert_true(slice_eq_str(w.held[0]->query, "y"));
        http_respond_text(w.held[0], 200, "long");
        fake_run(w.net);
        assert_true(d.status == 200 && d.closes == 1 && d.closed_status == 0 && d.body.len == 0);
        assert_int_equal(w.net->connects, 1);
        finish(&w);
    }
}

static void big_bodies_pass_through_small_pipes_in_pieces(void **state) {
    BOTH(v) {
        struct bytes *big = bytes_new(3000000);
        struct call c = {0};
        struct world w;

        for (size_t i = 0; i < big->len; i++)
            big->data[i] = (uint8_t)(i * 13 >> 5);
        start(&w, v, NULL, NULL);
        w.net->capacity = 7000;
        w.net->read_max = 1500;
        w.net->write_max = 4000;
        go(&w, &c, "POST", false);
        assert_int_equal(http_stream_write(c.s, bytes_ref(big)), big->len);
        http_stream_end(c.s);
        fake_run(w.net);
        assert_true(slice_eq(buf_slice(&c.body), bytes_slice(big)));
        assert_int_equal(c.closed_status, 0);
        assert_int_equal(c.writables, 1);
        assert_int_equal(big->refs, 1);
        buf_done(&c.body);
        (void)bytes_unref(big);
        finish(&w);
    }
}

static void small_fragments_change_nothing(void **state) {
    BOTH(v) {
        struct call c = {0};
        struct world w;

        start(&w, v, NULL, NULL);
        w.net->read_max = 1;
        w.net->write_max = 1;
        go(&w, &c, "POST", false);
        (void)http_stream_write_copy(c.s, SLICE_LIT("fragment"));
        http_stream_end(c.s);
        fake_run(w.net);
        assert_true(slice_eq_str(buf_slice(&c.body), "fragment"));
        assert_int_equal(c.closed_status, 0);
        buf_done(&c.body);
        finish(&w);
    }
}

static void an_answer_may_come_in_while_the_request_is_open(void **state) {
    /* HTTP/2 raw server: SETTINGS, then head and data of stream 1 before the request ended. */
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    static const uint8_t head[] = {0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88};
    static const uint8_t data[] = {0, 0, 2, 0, 0, 0, 0, 0, 1, 'h', 'i'};
    static const uint8_t last[] = {0, 0, 0, 0, 1, 0, 0, 0, 1};
    struct fake_peer peer;
    struct call c = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w.net, "fake:raw", &peer);
    go_to(&w, &c, "fake:raw", "POST", false);
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
    finish(&w);
}

static void the_preface_is_as_the_protocol_says(void **state) {
    static const uint8_t want[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                  "\x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x04\x00\x20\x00\x00\x00\x05\x00\x00\x40\x00"
                                  "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x4f\x00\x01";
    struct fake_peer peer;
    struct call c = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w.net, "fake:raw", &peer);
    go_to(&w, &c, "fake:raw", "POST", false);
    fake_run(w.net);
    assert_true(peer.got.len > sizeof want);
    assert_memory_equal(peer.got.data, want, sizeof want - 1);
    http_stream_reset(c.s);
    fake_peer_close(&peer, false);
    finish(&w);
}

static void many_streams_share_connections(void **state) {
    struct call c[300] = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    for (int i = 0; i < 300; i++)
        go(&w, &c[i], "GET", true);
    fake_run(w.net);
    assert_int_equal(w.n_held, 300);
    assert_int_equal(w.net->connects, 3);
    for (int i = 0; i < 300; i++)
        answer(w.held[i]);
    fake_run(w.net);
    for (int i = 0; i < 300; i++)
        assert_true(c[i].closes == 1 && c[i].closed_status == 0);
    finish(&w);
}

static void the_peers_limit_of_streams_is_kept(void **state) {
    struct http_server_params sp = {.h2_max_streams = 2};
    struct call c[7] = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, &sp, NULL);
    go(&w, &c[0], "GET", true);
    fake_run(w.net); /* now its SETTINGS are known */
    w.hold = true;
    for (int i = 1; i < 7; i++)
        go(&w, &c[i], "GET", true);
    fake_run(w.net);
    for (unsigned i = 0; i < w.n_held; i++)
        answer(w.held[i]);
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
    finish(&w);
}

static void http_1_uses_a_connection_for_each_and_keeps_them(void **state) {
    struct call c[10] = {0};
    struct world w;

    start(&w, HTTP_VERSION_1, NULL, NULL);
    for (int round = 0; round < 3; round++) {
        w.hold = true;
        w.n_held = 0;
        for (int i = 0; i < 10; i++)
            go(&w, &c[i], "POST", true);
        fake_run(w.net);
        assert_int_equal(w.n_held, 10);
        for (int i = 0; i < 10; i++)
            answer(w.held[i]);
        fake_run(w.net);
    }
    for (int i = 0; i < 10; i++)
        assert_true(c[i].closes == 3 && c[i].closed_status == 0);
    assert_int_equal(w.net->connects, 10);
    finish(&w);
}

static void at_the_bound_of_connections_calls_wait(void **state) {
    struct http_client_params cp = {.max_connections = 2, .max_waiting = 4};
    struct http_client_request bad = {.transport = {0}};
    struct call c[5] = {0};
    struct world w;

    start(&w, HTTP_VERSION_1, NULL, &cp);
    for (int i = 0; i < 4; i++)
        go(&w, &c[i], "GET", true);
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
    assert_int_equal(http_client_request(w.client, &bad, &events, &c[4], &c[4].s, NULL), RS_EAGAIN);
    fake_run(w.net);
    assert_int_equal(w.net->connects, 2);
    for (int i = 0; i < 4; i++)
        assert_true(c[i].closes == 1 && c[i].closed_status == 0);
    bad.path = SLICE_LIT("/a b");
    assert_int_equal(http_client_request(w.client, &bad, &events, &c[4], &c[4].s, NULL), RS_EINVAL);
    finish(&w);
}

static void a_slow_reader_holds_the_server_back(void **state) {
    BOTH(v) {
        struct call c = {.hold = true};
        struct world w;
        size_t sent = 0, before;

        start(&w, v, NULL, NULL);
        w.net->capacity = 100000;
        w.hold = true;
        go(&w, &c, "GET", true);
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
        finish(&w);
    }
}

static void a_reset_reaches_the_server_and_no_event_follows(void **state) {
    BOTH(v) {
        struct call c = {0}, d = {.reset_in_head = true}, e = {.reset_in_data = true}, f = {0};
        struct world w;

        start(&w, v, NULL, NULL);
        w.hold = true;
        go(&w, &c, "GET", true);
        fake_run(w.net);
        http_stream_reset(c.s);
        fake_run(w.net);
        assert_int_equal(w.n_gone, 1);
        answer(w.held[0]);
        w.hold = false;
        go(&w, &d, "POST", false);
        (void)http_stream_write_copy(d.s, SLICE_LIT("body"));
        http_stream_end(d.s);
        go(&w, &e, "POST", false);
        (void)http_stream_write_copy(e.s, SLICE_LIT("body"));
        http_stream_end(e.s);
        go(&w, &f, "POST", false);
        http_stream_end(f.s);
        fake_run(w.net);
        assert_true(c.heads == 0 && c.closes == 0);
        assert_true(d.heads == 1 && d.body.len == 0 && d.closes == 0);
        assert_true(e.heads == 1 && e.body.len == 4 && e.closes == 0);
        assert_true(f.closes == 1 && f.closed_status == 0);
        buf_done(&e.body);
        finish(&w);
    }
}

static void streams_given_up_at_every_moment_leave_nothing(void **state) {
    BOTH(v) {
        for (int turns = 0; turns < 30; turns++) {
            struct call c = {0}, d = {0};
            struct world w;

            start(&w, v, NULL, NULL);
            w.net->write_max = 50;
            go(&w, &c, "POST", false);
            (void)http_stream_write(c.s, bytes_new(5000));
            http_stream_end(c.s);
            for (int i = 0; i < turns; i++)
                (void)loop_turn(w.net->loop);
            if (c.s)
                http_stream_reset(c.s);
            go(&w, &d, "POST", false);
            http_stream_end(d.s);
            fake_run(w.net);
            assert_true(d.closes == 1 && d.closed_status == 0);
            buf_done(&c.body);
            finish(&w);
        }
    }
}

static void a_refused_connection_is_retryable_and_named(void **state) {
    struct call c = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    w.net->refuse_connect = true;
    go(&w, &c, "GET", true);
    assert_int_equal(c.closes, 0);
    fake_run(w.net);
    assert_int_equal(c.closes, 1);
    assert_true(c.closed_status < 0);
    assert_int_equal(c.flags, HTTP_CLOSED_CONNECT | HTTP_CLOSED_UNPROCESSED);
    assert_non_null(strstr(c.message, "place:80"));
    assert_non_null(strstr(c.message, "fake:a"));
    finish(&w);
}

static void connecting_may_time_out(void **state) {
    struct call c = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    w.net->hang_connect = true;
    go(&w, &c, "GET", true);
    fake_advance(w.net, 9900000000u);
    assert_int_equal(c.closes, 0);
    fake_advance(w.net, 200000000u);
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.closed_status, RS_ETIMEDOUT);
    assert_true(c.flags & HTTP_CLOSED_CONNECT);
    finish(&w);
}

static void http_1_answered_to_the_preface_is_told_apart(void **state) {
    struct fake_peer peer;
    struct call c = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w.net, "fake:raw", &peer);
    go_to(&w, &c, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_send_str(&peer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_true(c.flags & HTTP_CLOSED_NOT_H2);
    fake_peer_close(&peer, false);
    finish(&w);
}

static void alpn_decides(void **state) {
    struct call c = {0}, d = {0};
    struct world w;

    start(&w, HTTP_VERSION_ALPN, NULL, NULL);
    w.net->alpn = "h2";
    w.hold = true;
    go(&w, &c, "GET", true);
    fake_run(w.net);
    assert_int_equal(w.held[0]->version, 20);
    answer(w.held[0]);
    fake_run(w.net);
    w.version = HTTP_VERSION_2;
    w.net->alpn = "http/1.1";
    go(&w, &d, "GET", true);
    fake_run(w.net);
    assert_true(d.closes == 1 && (d.flags & HTTP_CLOSED_NOT_H2));
    finish(&w);
}

static void goaway_spares_the_streams_before_it(void **state) {
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    static const uint8_t goaway[] = {0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t head[] = {0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88};
    struct fake_peer peer, second;
    struct call c = {0}, d = {0}, e = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w.net, "fake:raw", &peer);
    go_to(&w, &c, "fake:raw", "GET", true);
    go_to(&w, &d, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_serve(w.net, "fake:raw", &second);
    fake_peer_send(&peer, settings, sizeof settings);
    fake_peer_send(&peer, goaway, sizeof goaway);
    assert_true(d.closes == 1 && (d.flags & HTTP_CLOSED_UNPROCESSED));
    assert_int_equal(c.closes, 0);
    go_to(&w, &e, "fake:raw", "GET", true); /* goes to another connection */
    fake_run(w.net);
    assert_true(second.ready && second.got.len > 24);
    fake_peer_send(&peer, head, sizeof head);
    assert_true(c.closes == 1 && c.closed_status == 0 && c.status == 200);
    assert_true(peer.eof);
    fake_peer_close(&peer, false);
    fake_peer_close(&second, true);
    assert_true(e.closes == 1 && e.closed_status == RS_ECLOSED && !(e.flags & HTTP_CLOSED_UNPROCESSED));
    finish(&w);
}

static void resets_of_the_peer_are_told(void **state) {
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    static const uint8_t refused[] = {0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7};
    static const uint8_t internal[] = {0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 2};
    struct fake_peer peer;
    struct call c = {0}, d = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w.net, "fake:raw", &peer);
    go_to(&w, &c, "fake:raw", "GET", true);
    go_to(&w, &d, "fake:raw", "POST", false);
    fake_run(w.net);
    fake_peer_send(&peer, settings, sizeof settings);
    fake_peer_send(&peer, refused, sizeof refused);
    fake_peer_send(&peer, internal, sizeof internal);
    assert_int_equal(c.flags, HTTP_CLOSED_UNPROCESSED | HTTP_CLOSED_RESET);
    assert_int_equal(d.flags, HTTP_CLOSED_RESET);
    assert_int_equal(d.h2_error, 2);
    assert_int_equal(d.closed_status, RS_ECLOSED);
    fake_peer_close(&peer, false);
    finish(&w);
}

static void a_silent_peer_fails_the_ping(void **state) {
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    struct fake_peer peer;
    struct call c = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w.net, "fake:raw", &peer);
    go_to(&w, &c, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_send(&peer, settings, sizeof settings);
    fake_advance(w.net, 49000000000u);
    assert_int_equal(c.closes, 0);
    fake_advance(w.net, 21000000000u);
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.closed_status, RS_ETIMEDOUT);
    fake_peer_close(&peer, false);
    finish(&w);
}

static void a_peer_that_answers_pings_may_take_its_time(void **state) {
    struct call c = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    go(&w, &c, "GET", true);
    fake_run(w.net);
    for (int i = 0; i < 100; i++)
        fake_advance(w.net, 10000000000u);
    assert_int_equal(c.closes, 0);
    answer(w.held[0]);
    fake_run(w.net);
    assert_true(c.closes == 1 && c.closed_status == 0);
    finish(&w);
}

static void idle_connections_are_evicted(void **state) {
    BOTH(v) {
        struct http_server_params sp = {.idle_timeout_ns = UINT64_MAX / 4};
        struct http_client_stats st;
        struct call c = {0};
        struct world w;

        start(&w, v, &sp, NULL);
        go(&w, &c, "GET", true);
        fake_run(w.net);
        http_client_stats(w.client, &st);
        assert_int_equal(st.connections, 1);
        for (int i = 0; i < 31; i++)
            fake_advance(w.net, 10000000000u);
        http_client_stats(w.client, &st);
        assert_int_equal(st.connections, 0);
        assert_int_equal(st.streams, 0);
        finish(&w);
    }
}

static void a_lost_connection_fails_what_is_on_it(void **state) {
    BOTH(v) {
        struct fake_peer peer;
        struct call c = {0}, d = {0};
        struct world w;

        start(&w, v, NULL, NULL);
        fake_peer_serve(w.net, "fake:raw", &peer);
        go_to(&w, &c, "fake:raw", "GET", true);
        fake_run(w.net);
        fake_peer_close(&peer, true);
        assert_true(c.closes == 1 && c.closed_status == RS_ECLOSED);
        assert_false(c.flags & HTTP_CLOSED_UNPROCESSED);
        fake_peer_serve(w.net, "fake:raw", &peer);
        go_to(&w, &d, "fake:raw", "GET", true); /* a new one is made */
        fake_run(w.net);
        assert_true(peer.ready);
        fake_peer_close(&peer, false);
        assert_true(d.closes == 1 && d.closed_status == RS_ECLOSED);
        finish(&w);
    }
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
            struct call c = {0};
            struct world w;

            start(&w, HTTP_VERSION_1, NULL, NULL);
            w.net->read_max = step;
            fake_peer_serve(w.net, "fake:raw", &peer);
            go_to(&w, &c, "fake:raw", "GET", true);
            fake_run(w.net);
            fake_peer_send_str(&peer, t[i].text);
            if (t[i].cut)
                fake_peer_end(&peer);
            assert_int_equal(c.closes, 1);
            assert_int_equal(c.closed_status, t[i].status);
            assert_true(slice_eq_str(buf_slice(&c.body), t[i].body));
            buf_done(&c.body);
            fake_peer_close(&peer, false);
            finish(&w);
        }
    }
}

static void windows_of_streams_given_up_come_back(void **state) {
    struct call c[4] = {{.hold = true}, {.hold = true}, {.hold = true}, {.hold = false}};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    for (int i = 0; i < 4; i++) {
        go(&w, &c[i], "GET", true);
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
    finish(&w);
}

static void windows_of_streams_that_ended_come_back(void **state) {
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    for (int i = 0; i < 12; i++) {
        struct call c = {.hold = true};

        go(&w, &c, "GET", true);
        fake_run(w.net);
        http_respond(w.held[i], 200, NULL, 0, bytes_new(1 << 20));
        fake_run(w.net);
        assert_int_equal(c.body.len, 1 << 20);
        assert_true(c.closes == 1 && c.closed_status == 0);
        buf_done(&c.body);
    }
    assert_int_equal(w.net->connects, 1);
    finish(&w);
}

static void a_request_overtaken_by_goaway_was_never_made(void **state) {
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    static const uint8_t goaway[] = {0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
    struct iovec iov = {(void *)(uintptr_t)goaway, sizeof goaway};
    struct fake_peer peer;
    struct call c = {0}, d = {0};
    struct world w;

    start(&w, HTTP_VERSION_2, NULL, NULL);
    fake_peer_serve(w.net, "fake:raw", &peer);
    go_to(&w, &c, "fake:raw", "GET", true);
    fake_run(w.net);
    fake_peer_send(&peer, settings, sizeof settings);
    assert_int_equal(fake_transport(w.net).ops->write(peer.conn, &iov, 1), sizeof goaway);
    go_to(&w, &d, "fake:raw", "POST", false);
    fake_run(w.net);
    assert_int_equal(w.net->connects, 1);
    assert_true(d.closes == 1 && d.closed_status == RS_ECLOSED && (d.flags & HTTP_CLOSED_UNPROCESSED));
    assert_int_equal(c.closes, 0);
    fake_peer_close(&peer, false);
    finish(&w);
}

static void a_request_head_over_64_kib_fails_alone(void **state) {
    struct bytes *big = bytes_new(70000);
    struct http_header h = HTTP_HEADER("big", bytes_slice(big));
    struct call c = {0}, d = {0};
    struct http_client_request req;
    struct world w;

    memset(big->data, 'x', big->len);
    start(&w, HTTP_VERSION_2, NULL, NULL);
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
    assert_int_equal(http_client_request(w.client, &req, &events, &c, &c.s, NULL), 0);
    go(&w, &d, "GET", true);
    fake_run(w.net);
    assert_true(c.closes == 1 && c.closed_status == RS_ETOOBIG);
    assert_true(d.closes == 1 && d.closed_status == 0);
    (void)bytes_unref(big);
    finish(&w);
}

static void a_response_head_over_the_limit_fails_the_stream(void **state) {
    BOTH(v) {
        struct http_client_params cp = {.max_head_bytes = 1000};
        struct http_header h;
        struct call c = {0}, d = {0};
        struct world w;
        char big[2000];

        memset(big, 'x', sizeof big);
        h = HTTP_HEADER("big", slice_of(big, sizeof big));
        start(&w, v, NULL, &cp);
        w.hold = true;
        go(&w, &c, "GET", true);
        fake_run(w.net);
        http_respond(w.held[0], 200, &h, 1, NULL);
        fake_run(w.net);
        assert_true(c.closes == 1 && c.closed_status < 0 && c.heads == 0);
        w.hold = false;
        go(&w, &d, "GET", true);
        fake_run(w.net);
        assert_true(d.closes == 1 && d.closed_status == 0);
        finish(&w);
    }
}

static void a_response_head_that_cannot_be_sent_resets_the_stream(void **state) {
    struct bytes *big = bytes_new(70000);
    struct http_header h = HTTP_HEADER("big", bytes_slice(big));
    struct call c = {0}, d = {0};
    struct world w;

    memset(big->data, 'x', big->len);
    start(&w, HTTP_VERSION_2, NULL, NULL);
    w.hold = true;
    go(&w, &c, "GET", true);
    fake_run(w.net);
    http_respond(w.held[0], 200, &h, 1, bytes_new(100));
    fake_run(w.net);
    assert_true(c.closes == 1 && (c.flags & HTTP_CLOSED_RESET) && c.heads == 0);
    w.hold = false;
    go(&w, &d, "GET", true);
    fake_run(w.net);
    assert_true(d.closes == 1 && d.closed_status == 0);
    (void)bytes_unref(big);
    finish(&w);
}

static void closing_the_client_cancels_everything(void **state) {
    BOTH(v) {
        struct call c = {0}, d = {0};
        struct world w;

        start(&w, v, NULL, NULL);
        w.hold = true;
        go(&w, &c, "GET", true);
        fake_run(w.net);
        w.net->hang_connect = true;
        go_to(&w, &d, "fake:other", "GET", true);
        http_client_close(w.client, set, &w.client_done);
        w.client = NULL;
        fake_run(w.net);
        assert_true(w.client_done);
        assert_true(c.closes == 1 && c.closed_status == RS_ECANCELED);
        assert_true(d.closes == 1 && d.closed_status == RS_ECANCELED && (d.flags & HTTP_CLOSED_UNPROCESSED));
        assert_int_equal(w.n_gone, 1);
        answer(w.held[0]);
        finish(&w);
    }
}

/* The last connection ends by itself at any moment around that. */
static void a_connection_may_end_while_the_client_closes(void **state) {
    for (unsigned turns = 0; turns < 6; turns++) {
        BOTH(v) {
            struct call c = {0};
            struct world w;

            start(&w, v, NULL, NULL);
            w.hold = true;
            go(&w, &c, "GET", true);
            fake_run(w.net);
            fake_cut(w.net, 0);
            for (unsigned i = 0; i < turns; i++)
                loop_turn(w.net->loop);
            http_client_close(w.client, set, &w.client_done);
            w.client = NULL;
            fake_run(w.net);
            assert_true(w.client_done);
            assert_true(c.closes == 1 && c.closed_status < 0);
            answer(w.held[0]);
            finish(&w);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_call_goes_and_its_answer_comes),
    cmocka_unit_test(heads_and_bodiless_calls_work),
    cmocka_unit_test(big_bodies_pass_through_small_pipes_in_pieces),
    cmocka_unit_test(small_fragments_change_nothing),
    cmocka_unit_test(an_answer_may_come_in_while_the_request_is_open),
    cmocka_unit_test(the_preface_is_as_the_protocol_says),
    cmocka_unit_test(many_streams_share_connections),
    cmocka_unit_test(the_peers_limit_of_streams_is_kept),
    cmocka_unit_test(http_1_uses_a_connection_for_each_and_keeps_them),
    cmocka_unit_test(at_the_bound_of_connections_calls_wait),
    cmocka_unit_test(a_slow_reader_holds_the_server_back),
    cmocka_unit_test(a_reset_reaches_the_server_and_no_event_follows),
    cmocka_unit_test(streams_given_up_at_every_moment_leave_nothing),
    cmocka_unit_test(a_refused_connection_is_retryable_and_named),
    cmocka_unit_test(connecting_may_time_out),
    cmocka_unit_test(http_1_answered_to_the_preface_is_told_apart),
    cmocka_unit_test(alpn_decides),
    cmocka_unit_test(goaway_spares_the_streams_before_it),
    cmocka_unit_test(resets_of_the_peer_are_told),
    cmocka_unit_test(a_silent_peer_fails_the_ping),
    cmocka_unit_test(a_peer_that_answers_pings_may_take_its_time),
    cmocka_unit_test(idle_connections_are_evicted),
    cmocka_unit_test(a_lost_connection_fails_what_is_on_it),
    cmocka_unit_test(http_1_answers_end_as_they_say),
    cmocka_unit_test(windows_of_streams_given_up_come_back),
    cmocka_unit_test(windows_of_streams_that_ended_come_back),
    cmocka_unit_test(a_request_overtaken_by_goaway_was_never_made),
    cmocka_unit_test(a_request_head_over_64_kib_fails_alone),
    cmocka_unit_test(a_response_head_over_the_limit_fails_the_stream),
    cmocka_unit_test(a_response_head_that_cannot_be_sent_resets_the_stream),
    cmocka_unit_test(closing_the_client_cancels_everything),
    cmocka_unit_test(a_connection_may_end_while_the_client_closes),
};
const struct unit_group client_test_group = UNIT_GROUP(tests);
