/* SPDX-License-Identifier: Apache-2.0 */
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "http/fake_transport.h"
#include "http/server.h"
#include "unit.h"

struct answer {
    int32_t id;
    int status;
    size_t length_field;
    struct buf body;
    bool ended, closed;
    uint32_t code;
};
struct world {
    struct fake_net *net;
    struct http_server *server;
    struct fake_peer peer;
    nghttp2_session *h2; /* the client */
    struct answer answers[256];
    unsigned n_answers;
    bool goaway;
    uint32_t goaway_code;
    struct http_request *held[256];
    unsigned n_held, n_requests, n_closed, writables;
    bool hold, drained;
    size_t send_step; /* bytes per send; 0: all */
    struct buf upload;
    size_t upload_at;
};

static struct answer *at(struct world *w, int32_t id) {
    for (unsigned i = 0; i < w->n_answers; i++)
        if (w->answers[i].id == id)
            return &w->answers[i];
    w->answers[w->n_answers] = (struct answer){.id = id};
    return &w->answers[w->n_answers++];
}
static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *n, size_t nl, const uint8_t *v,
                     size_t vl, uint8_t flags, void *arg) {
    if (nl == 7 && memcmp(n, ":status", 7) == 0)
        at(arg, f->hd.stream_id)->status = atoi((const char *)v);
    if (nl == 14 && memcmp(n, "content-length", 14) == 0)
        at(arg, f->hd.stream_id)->length_field = (size_t)atoi((const char *)v);
    return 0;
}
static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *d, size_t n, void *arg) {
    buf_put(&at(arg, id)->body, d, n);
    return 0;
}
static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg) {
    struct world *w = arg;

    if ((f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) && (f->hd.flags & NGHTTP2_FLAG_END_STREAM))
        at(w, f->hd.stream_id)->ended = true;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        w->goaway = true;
        w->goaway_code = f->goaway.error_code;
    }
    return 0;
}
static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg) {
    at(arg, id)->closed = true;
    at(arg, id)->code = code;
    return 0;
}
static ssize_t read_upload(nghttp2_session *s, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                           nghttp2_data_source *src, void *arg) {
    struct world *w = arg;
    size_t n = MIN(len, w->upload.len - w->upload_at);

    memcpy(buf, w->upload.data + w->upload_at, n);
    w->upload_at += n;
    if (w->upload_at == w->upload.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void pump(struct world *w) {
    for (;;) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(w->h2, &data);

        if (n > 0) {
            for (size_t i = 0; i < (size_t)n; i += w->send_step ? w->send_step : (size_t)n)
                fake_peer_send(&w->peer, data + i, w->send_step ? MIN(w->send_step, (size_t)n - i) : (size_t)n);
            continue;
        }
        fake_run(w->net);
        if (w->peer.got.len == 0)
            return;
        assert_int_equal(nghttp2_session_mem_recv(w->h2, w->peer.got.data, w->peer.got.len), w->peer.got.len);
        buf_clear(&w->peer.got);
    }
}

static void on_closed(struct http_request *q) {
    ((struct world *)q->user)->n_closed++;
}

static void answer(struct http_request *q) {
    http_respond(q, 200, NULL, 0, q->body ? bytes_ref(q->body) : bytes_copy(q->path));
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
    nghttp2_session_callbacks *cb;

    *w = (struct world){.net = fake_net_new()};
    w->server = http_server_new(w->net->loop, p, on_request, w);
    assert_int_equal(http_server_listen(w->server, fake_transport(w->net), "fake:a", NULL, NULL), 0);
    fake_peer_dial(&w->peer, w->net, "fake:a");
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    assert_int_equal(nghttp2_session_client_new(&w->h2, cb, w), 0);
    nghttp2_session_callbacks_del(cb);
    assert_int_equal(nghttp2_submit_settings(w->h2, 0, NULL, 0), 0);
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
    nghttp2_session_del(w->h2);
    for (unsigned i = 0; i < w->n_answers; i++)
        buf_done(&w->answers[i].body);
    buf_done(&w->upload);
}

static int32_t request_with(struct world *w, const char *method, const char *path, size_t upload, const char *name,
                            const char *value) {
#define NV(n, v) {(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0}
    nghttp2_nv nv[] = {NV(":method", method), NV(":scheme", "http"), NV(":path", path), NV(":authority", "h"),
                       NV(name ? name : "x", name ? value : "y")};
    nghttp2_data_provider body = {.read_callback = read_upload};

    for (size_t i = 0; i < upload; i++)
        buf_put_u8(&w->upload, (uint8_t)(i * 7 >> 3));
    return nghttp2_submit_request(w->h2, NULL, nv, 5, upload ? &body : NULL, NULL);
}
static int32_t request(struct world *w, const char *method, const char *path, size_t upload) {
    return request_with(w, method, path, upload, NULL, NULL);
}

static void requests_are_answered_side_by_side(void **state) {
    struct world w;

    start(&w, NULL);
    w.hold = true;
    for (int i = 0; i < 10; i++)
        (void)request(&w, "GET", "/p?q=1", 0);
    pump(&w);
    assert_int_equal(w.n_held, 10);
    assert_true(slice_eq_str(w.held[0]->path, "/p"));
    assert_true(slice_eq_str(w.held[0]->query, "q=1"));
    assert_true(slice_eq_str(w.held[0]->authority, "h"));
    assert_true(slice_eq_str(http_header_get(w.held[0]->headers, w.held[0]->n_headers, "x"), "y"));
    for (int i = 9; i >= 0; i--)
        answer(w.held[i]);
    pump(&w);
    assert_int_equal(w.n_answers, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(w.answers[i].status, 200);
        assert_true(slice_eq_str(buf_slice(&w.answers[i].body), "/p"));
        assert_true(w.answers[i].closed && w.answers[i].code == 0);
    }
    finish(&w);
}

static void bytes_may_come_one_by_one(void **state) {
    struct world w;
    int32_t id;

    start(&w, NULL);
    w.send_step = 1;
    w.net->read_max = 1;
    w.net->write_max = 5;
    id = request(&w, "POST", "/", 3000);
    pump(&w);
    assert_int_equal(at(&w, id)->status, 200);
    assert_true(slice_eq(buf_slice(&at(&w, id)->body), buf_slice(&w.upload)));
    finish(&w);
}

static void a_big_body_goes_up_and_down_through_small_pipes(void **state) {
    struct world w;
    int32_t id;

    start(&w, NULL);
    w.net->capacity = 10000;
    id = request(&w, "POST", "/", 5000000);
    pump(&w);
    assert_int_equal(at(&w, id)->length_field, 5000000);
    assert_true(slice_eq(buf_slice(&at(&w, id)->body), buf_slice(&w.upload)));
    finish(&w);
}

static void a_body_over_the_limit_is_answered_and_reset(void **state) {
    struct http_server_params p = {.max_body_bytes = 100000};
    struct world w;
    int32_t id;

    start(&w, &p);
    id = request(&w, "POST", "/", 3000000);
    pump(&w);
    assert_int_equal(w.n_requests, 0);
    assert_int_equal(at(&w, id)->status, 413);
    assert_true(at(&w, id)->ended);
    assert_false(at(&w, id)->closed);
    assert_true(w.upload_at < 1000000);
    fake_advance(w.net, 3000000000u);
    pump(&w);
    assert_true(at(&w, id)->closed);
    assert_int_equal(at(&w, id)->code, 0);
    id = request_with(&w, "POST", "/", 5, "content-length", "100001");
    pump(&w);
    assert_int_equal(at(&w, id)->status, 413);
    finish(&w);
}

static void what_is_thrown_away_gives_its_window_back(void **state) {
    struct http_server_params p = {.max_body_bytes = 1000};
    struct world w;
    int32_t id;

    start(&w, &p);
    for (int i = 0; i < 20; i++) { /* four times the window of the connection */
        buf_clear(&w.upload);
        w.upload_at = 0;
        id = request(&w, "POST", "/", 200000);
        pump(&w);
        assert_int_equal(at(&w, id)->status, 413);
    }
    buf_clear(&w.upload);
    w.upload_at = 0;
    id = request(&w, "POST", "/", 1000);
    pump(&w);
    assert_int_equal(at(&w, id)->status, 200);
    finish(&w);
}

static void a_head_over_the_limit_gets_431(void **state) {
    struct http_server_params p = {.max_head_bytes = 1000};
    char big[1200];
    struct world w;
    int32_t id;

    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = 0;
    start(&w, &p);
    id = request_with(&w, "GET", "/", 0, "x-big", big);
    pump(&w);
    assert_int_equal(at(&w, id)->status, 431);
    assert_int_equal(w.n_requests, 0);
    id = request(&w, "GET", "/", 0);
    pump(&w);
    assert_int_equal(at(&w, id)->status, 200);
    finish(&w);
}

static void head_has_a_length_and_no_body(void **state) {
    struct world w;
    int32_t id;

    start(&w, NULL);
    id = request(&w, "HEAD", "/abc", 0);
    pump(&w);
    assert_int_equal(at(&w, id)->length_field, 4);
    assert_int_equal(at(&w, id)->body.len, 0);
    assert_true(at(&w, id)->ended);
    finish(&w);
}

static void a_reset_stream_tells_the_application(void **state) {
    struct world w;
    int32_t id;

    start(&w, NULL);
    w.hold = true;
    id = request(&w, "GET", "/", 0);
    pump(&w);
    assert_int_equal(nghttp2_submit_rst_stream(w.h2, 0, id, NGHTTP2_CANCEL), 0);
    pump(&w);
    assert_int_equal(w.n_closed, 1);
    answer(w.held[0]);
    w.hold = false;
    id = request(&w, "GET", "/", 0);
    pump(&w);
    assert_int_equal(at(&w, id)->status, 200);
    finish(&w);
}

static void a_lost_connection_tells_every_request(void **state) {
    struct world w;

    start(&w, NULL);
    w.hold = true;
    for (int i = 0; i < 5; i++)
        (void)request(&w, "GET", "/", 0);
    pump(&w);
    fake_peer_close(&w.peer, true);
    assert_int_equal(w.n_closed, 5);
    for (int i = 0; i < 5; i++)
        answer(w.held[i]);
    finish(&w);
}

static void rapid_resets_end_the_connection(void **state) {
    struct world w;
    int i;

    start(&w, NULL);
    w.hold = true;
    pump(&w);
    for (i = 0; i < 3000 && !w.goaway && !w.peer.eof; i++) {
        int32_t id = request(&w, "GET", "/", 0);
        const uint8_t *data;
        ssize_t n;

        w.n_held = 0;
        if (id < 0)
            break;
        while ((n = nghttp2_session_mem_send(w.h2, &data)) > 0)
            fake_peer_send(&w.peer, data, (size_t)n);
        assert_int_equal(nghttp2_submit_rst_stream(w.h2, 0, id, NGHTTP2_CANCEL), 0);
        while ((n = nghttp2_session_mem_send(w.h2, &data)) > 0)
            fake_peer_send(&w.peer, data, (size_t)n);
        if (w.n_held)
            answer(w.held[0]);
        if (w.peer.got.len) {
            (void)nghttp2_session_mem_recv(w.h2, w.peer.got.data, w.peer.got.len);
            buf_clear(&w.peer.got);
        }
        w.n_answers = 0;
    }
    assert_true(i > 900 && i < 1100);
    assert_true(w.goaway || w.peer.eof);
    finish(&w);
}

static void more_streams_than_allowed_are_refused(void **state) {
    struct http_server_params p = {.h2_max_streams = 3};
    struct world w;

    start(&w, &p);
    w.hold = true;
    for (int i = 0; i < 5; i++)
        (void)request(&w, "GET", "/", 0);
    pump(&w); /* the client holds two back once it knows the limit */
    assert_true(w.n_held <= 3);
    for (unsigned i = 0; i < w.n_held; i++)
        answer(w.held[i]);
    w.hold = false;
    pump(&w);
    finish(&w);
}

static void a_connection_that_does_not_read_is_not_read(void **state) {
    static const uint8_t ping[17] = {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    struct world w;
    size_t sent = 0;

    start(&w, NULL);
    pump(&w);
    w.net->capacity = 4096;
    w.peer.stop_reading = true;
    for (; sent < 100000 && !w.peer.eof && w.peer.conn; sent++) {
        struct iovec iov = {(void *)(uintptr_t)ping, sizeof ping};
        struct http_transport t = fake_transport(w.net);

        if (t.ops->write(w.peer.conn, &iov, 1) < 0)
            break;
        fake_run(w.net);
    }
    assert_true(sent < 100000);
    finish(&w);
}

static void on_writable(void *arg, struct http_request *q) {
    ((struct world *)arg)->writables++;
}

static void a_streamed_answer_follows_the_window(void **state) {
    struct http_respond_events ev;
    struct world w;
    int32_t id;
    size_t n = 0;

    start(&w, NULL);
    ev = (struct http_respond_events){on_writable, &w};
    w.hold = true;
    id = request(&w, "GET", "/", 0);
    pump(&w);
    http_respond_begin(w.held[0], 200, NULL, 0, &ev);
    while (http_respond_write(w.held[0], bytes_new(50000)) <= HTTP_QUEUE_HIGH) {
        n += 50000;
        fake_run(w.net); /* the client does not answer: its window of 64 KiB fills */
        assert_true(n < 2000000);
    }
    assert_int_equal(w.writables, 0);
    pump(&w);
    assert_int_equal(w.writables, 1);
    (void)http_respond_write_copy(w.held[0], SLICE_LIT("tail"));
    http_respond_end(w.held[0]);
    pump(&w);
    assert_int_equal(at(&w, id)->body.len, n + 50004);
    assert_true(at(&w, id)->ended);
    finish(&w);
}

static void an_answer_given_up_resets_the_stream(void **state) {
    struct world w;
    int32_t id;

    start(&w, NULL);
    w.hold = true;
    id = request(&w, "GET", "/", 0);
    pump(&w);
    http_respond_begin(w.held[0], 200, NULL, 0, NULL);
    pump(&w);
    http_respond_abort(w.held[0]);
    pump(&w);
    assert_int_equal(at(&w, id)->code, NGHTTP2_INTERNAL_ERROR);
    finish(&w);
}

static void draining_says_goaway_and_finishes_what_is_open(void **state) {
    struct world w;
    int32_t id;

    start(&w, NULL);
    w.hold = true;
    id = request(&w, "GET", "/", 0);
    pump(&w);
    http_server_drain(w.server, 1000000, on_drained, &w);
    pump(&w);
    assert_true(w.goaway);
    assert_int_equal(w.goaway_code, 0);
    assert_false(w.peer.eof);
    answer(w.held[0]);
    pump(&w);
    assert_int_equal(at(&w, id)->status, 200);
    assert_true(w.peer.eof);
    assert_true(w.drained);
    (void)http_server_free(w.server);
    fake_peer_close(&w.peer, false);
    fake_net_free(w.net);
    nghttp2_session_del(w.h2);
    buf_done(&at(&w, id)->body);
}

static void an_idle_connection_is_told_to_go(void **state) {
    struct http_server_params p = {.idle_timeout_ns = 1000, .receive_timeout_ns = 1000};
    struct world w;

    start(&w, &p);
    (void)request(&w, "GET", "/", 0);
    pump(&w);
    fake_advance(w.net, 1100);
    pump(&w);
    assert_true(w.goaway);
    assert_true(w.peer.eof);
    finish(&w);
}

static void garbage_after_the_preface_ends_the_connection(void **state) {
    struct world w;

    start(&w, NULL);
    fake_peer_send_str(&w.peer, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    fake_peer_send_str(&w.peer, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_true(w.peer.eof);
    assert_int_equal(w.n_requests, 0);
    finish(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(requests_are_answered_side_by_side),
    cmocka_unit_test(bytes_may_come_one_by_one),
    cmocka_unit_test(a_big_body_goes_up_and_down_through_small_pipes),
    cmocka_unit_test(a_body_over_the_limit_is_answered_and_reset),
    cmocka_unit_test(what_is_thrown_away_gives_its_window_back),
    cmocka_unit_test(a_head_over_the_limit_gets_431),
    cmocka_unit_test(head_has_a_length_and_no_body),
    cmocka_unit_test(a_reset_stream_tells_the_application),
    cmocka_unit_test(a_lost_connection_tells_every_request),
    cmocka_unit_test(rapid_resets_end_the_connection),
    cmocka_unit_test(more_streams_than_allowed_are_refused),
    cmocka_unit_test(a_connection_that_does_not_read_is_not_read),
    cmocka_unit_test(a_streamed_answer_follows_the_window),
    cmocka_unit_test(an_answer_given_up_resets_the_stream),
    cmocka_unit_test(draining_says_goaway_and_finishes_what_is_open),
    cmocka_unit_test(an_idle_connection_is_told_to_go),
    cmocka_unit_test(garbage_after_the_preface_ends_the_connection),
};
const struct unit_group server_h2_test_group = UNIT_GROUP(tests);
