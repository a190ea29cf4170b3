/* SPDX-License-Identifier: Apache-2.0 */
/* Client and server against each other with everything drawn from a seed: fragmentation, sizes, order of calls, resets,
 * aborts, cuts, time. What must hold: every stream ends exactly once, bodies are prefixes of what was sent, whole when
 * they say so. */
#include <stdio.h>

#include "http/client.h"
#include "http/fake_transport.h"
#include "http/server.h"
#include "unit.h"

enum { CALLS = 40, STEPS = 400 };

struct call {
    struct world *w;
    struct http_stream *s;
    size_t sent, got, pending; /* request bytes written; response bytes; not consumed */
    size_t want;               /* response length, by its header */
    bool used, head, end, ended, closed, gave_up;
};
struct served {
    struct world *w;
    struct http_request *q;
    bool begun, gone;
    size_t sent, want;
};
struct world {
    struct fake_net *net;
    struct http_server *server;
    struct http_client *client;
    struct call calls[CALLS];
    struct served served[CALLS * 2];
    uint64_t x;
    unsigned n_done, n_cut;
    bool drained, client_done;
};

static uint64_t rnd(struct world *w, uint64_t n) {
    w->x ^= w->x << 13;
    w->x ^= w->x >> 7;
    w->x ^= w->x << 17;
    return (w->x >> 11) % n;
}
static uint8_t pattern(size_t i) {
    return (uint8_t)(i * 31 >> 3);
}
static struct bytes *make(size_t from, size_t n) {
    struct bytes *b = bytes_new(n);

    for (size_t i = 0; i < n; i++)
        b->data[i] = pattern(from + i);
    return b;
}
static void check(size_t from, struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        assert_int_equal(s.data[i], pattern(from + i));
}

/* ---- server ---- */

static void on_gone(struct http_request *q) {
    ((struct served *)q->user)->gone = true;
}

static void serve_step(struct world *w, struct served *v) {
    char text[24];
    struct http_header h;
    int n;

    if (!v->begun) {
        size_t size = rnd(w, 3) ? rnd(w, 3000) : rnd(w, 700000);

        n = snprintf(text, sizeof text, "%zu", size);
        h = HTTP_HEADER("want", slice_of(text, (size_t)n));
        if (rnd(w, 2)) {
            http_respond(v->q, 200, &h, 1, make(0, size));
            v->q = NULL;
            return;
        }
        v->want = size;
        v->begun = true;
        http_respond_begin(v->q, 200, &h, 1, NULL);
    } else if (v->sent < v->want) {
        size_t part = 1 + rnd(w, v->want - v->sent);

        (void)http_respond_write(v->q, make(v->sent, part));
        v->sent += part;
    } else {
        http_respond_end(v->q);
        v->q = NULL;
        return;
    }
    if (rnd(w, 40) == 0) {
        http_respond_abort(v->q);
        v->q = NULL;
    }
}

static void on_request(void *arg, struct http_request *q) {
    struct world *w = arg;
    struct served *v = w->served;

    check(0, bytes_slice(q->body));
    while (v->q)
        v++;
    assert_true(v < w->served + CALLS * 2);
    *v = (struct served){.w = w, .q = q};
    q->user = v;
    q->closed = on_gone;
    if (rnd(w, 3) == 0)
        serve_step(w, v);
}

/* ---- client ---- */

static void ev_head(void *arg, struct http_stream *s, unsigned status, const struct http_header *h, size_t n) {
    struct call *c = arg;
    struct slice want = http_header_get(h, n, "want");

    assert_false(c->head);
    c->head = true;
    assert_int_equal(status, 200);
    for (size_t i = 0; i < want.len; i++)
        c->want = c->want * 10 + (size_t)(want.data[i] - '0');
}
static void ev_data(void *arg, struct http_stream *s, struct slice d) {
    struct call *c = arg;

    assert_true(c->head && !c->end);
    check(c->got, d);
    c->got += d.len;
    c->pending += d.len;
    if (rnd(c->w, 2)) {
        http_stream_consume(s, c->pending);
        c->pending = 0;
    } else if (rnd(c->w, 200) == 0) {
        http_stream_reset(s);
        c->s = NULL;
        c->gave_up = true;
    }
}
static void ev_end(void *arg, struct http_stream *s) {
    struct call *c = arg;

    assert_true(c->head && !c->end);
    c->end = true;
    assert_int_equal(c->got, c->want);
}
static void ev_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    struct call *c = arg;

    assert_false(c->closed || c->gave_up);
    c->closed = true;
    c->s = NULL;
    assert_true(why->status <= 0);
    if (why->status == 0) {
        assert_true(c->end && c->ended);
        c->w->n_done++;
    } else {
        assert_true(why->message[0] != 0);
    }
}

static void new_call(struct world *w) {
    static const struct http_stream_events ev = {ev_head, ev_data, ev_end, NULL, ev_closed};
    struct http_client_request req = {
        .transport = fake_transport(w->net),
        .uri = rnd(w, 30) ? "fake:a" : "fake:nobody",
        .scheme = SLICE_LIT("http"),
        .authority = SLICE_LIT("a"),
        .method = SLICE_LIT("POST"),
        .path = SLICE_LIT("/"),
        .version = rnd(w, 3) ? HTTP_VERSION_2 : HTTP_VERSION_1,
        .no_body = rnd(w, 4) == 0,
    };

    for (struct call *c = w->calls; c < w->calls + CALLS; c++) {
        if (c->used)
            continue;
        *c = (struct call){.w = w, .used = true, .ended = req.no_body};
        assert_int_equal(http_client_request(w->client, &req, &ev, c, &c->s, NULL), 0);
        return;
    }
}

static void call_step(struct world *w, struct call *c) {
    if (!c->s)
        return;
    switch (rnd(w, 8)) {
    case 0:
    case 1:
        if (!c->ended) {
            size_t n = rnd(w, 3) ? rnd(w, 2000) : rnd(w, 100000);

            if (c->sent + n > 3000000)
                n = 0;
            (void)http_stream_write(c->s, make(c->sent, n));
            c->sent += n;
        }
        break;
    case 2:
    case 3:
        if (!c->ended)
            http_stream_end(c->s);
        c->ended = true;
        break;
    case 4:
        if (rnd(w, 10) == 0) {
            http_stream_reset(c->s);
            c->s = NULL;
            c->gave_up = true;
        }
        break;
    default:
        http_stream_consume(c->s, c->pending);
        c->pending = 0;
        break;
    }
}

static void set(void *flag) {
    *(bool *)flag = true;
}

static void wind_up(struct world *w) {
    bool busy = true;

    for (int i = 0; busy && i < 2000; i++) {
        busy = false;
        for (struct call *c = w->calls; c < w->calls + CALLS; c++) {
            if (!c->s)
                continue;
            busy = true;
            if (!c->ended)
                http_stream_end(c->s);
            c->ended = true;
            http_stream_consume(c->s, c->pending);
            c->pending = 0;
        }
        for (struct served *v = w->served; v < w->served + CALLS * 2; v++)
            if (v->q) {
                busy = true;
                serve_step(w, v);
            }
        fake_run(w->net);
    }
    assert_false(busy); /* nothing hangs */
    for (struct call *c = w->calls; c < w->calls + CALLS; c++)
        assert_true(!c->used || c->closed != c->gave_up);
    http_client_close(w->client, set, &w->client_done);
    fake_run(w->net);
    assert_true(w->client_done);
    http_server_drain(w->server, 0, set, &w->drained);
    fake_run(w->net);
    fake_advance(w->net, 1);
    assert_true(w->drained);
    (void)http_server_free(w->server);
    fake_net_free(w->net);
}

static unsigned run(uint64_t seed, bool cuts) {
    struct http_server_params sp = {0};
    struct world *w = calloc(1, sizeof *w);
    unsigned done;

    w->x = seed * 0x9e3779b97f4a7c15u + 1;
    (void)rnd(w, 2);
    w->net = fake_net_new();
    w->net->read_max = rnd(w, 2) ? 0 : 200 + rnd(w, 5000);
    w->net->write_max = rnd(w, 2) ? 0 : 200 + rnd(w, 5000);
    w->net->capacity = rnd(w, 2) ? 0 : 1000 + rnd(w, 100000);
    sp.h2_max_streams = 1 + (unsigned)rnd(w, 30);
    sp.max_in_flight = CALLS * 2 - 1;
    w->server = http_server_new(w->net->loop, &sp, on_request, w);
    assert_int_equal(http_server_listen(w->server, fake_transport(w->net), "fake:a", NULL, NULL), 0);
    w->client = http_client_new(w->net->loop, NULL);
    for (int i = 0; i < STEPS; i++) {
        uint64_t what = rnd(w, 100);
        struct served *v = &w->served[rnd(w, CALLS * 2)];

        if (what < 10)
            new_call(w);
        else if (what < 50)
            call_step(w, &w->calls[rnd(w, CALLS)]);
        else if (what < 65 && v->q)
            serve_step(w, v);
        else if (what < 66 && cuts && rnd(w, 4) == 0)
            fake_cut(w->net, rnd(w, 8));
        else if (what < 67)
            fake_advance(w->net, rnd(w, 2000000000));
        else
            (void)loop_turn(w->net->loop);
    }
    wind_up(w);
    done = w->n_done;
    free(w);
    return done;
}

static void whatever_happens_streams_end_once_and_bodies_are_right(void **state) {
    const char *env = getenv("TORTURE_SEEDS");
    uint64_t seeds = env ? strtoull(env, NULL, 10) : 25, done = 0;

    for (uint64_t seed = 1; seed <= seeds; seed++)
        done += run(seed, seed & 1);
    assert_true(done > seeds * 5); /* most calls are not disturbed */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(whatever_happens_streams_end_once_and_bodies_are_right),
};
const struct unit_group torture_test_group = UNIT_GROUP(tests);
