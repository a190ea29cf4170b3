/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fabric.h"
#include "net/frame.h"
#include "plugin/fake_transport.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define MS 1000000ull
enum { SVC = SERVICE_NODE_CTL };

struct end { /* a node with one service that echoes, holds or drops */
    struct world *w;
    struct fabric *fabric;
    struct fabric_service service;
    struct node_id self;
    char uri[32];
    bool hold;
    struct fabric_request *held[64];
    unsigned n_held, messages, requests;
    char order[256];
    uint32_t versions[N_VERSIONS], seen[N_VERSIONS];
    struct node_id preempted, gone;
    uint64_t ping_interval_ns, ping_timeout_ns, connect_timeout_ns, handshake_timeout_ns;
};
struct world {
    struct fake_net *net;
    struct end ends[3];
    unsigned n;
};
struct call {
    struct fabric_call c;
    unsigned done;
    enum rpc_status status;
    struct node_id from;
    char reply[64];
};

static struct fabric_transport transport(void *arg, const char *scheme) {
    struct end *e = arg;

    return strcmp(scheme, "fake") == 0 ? (struct fabric_transport){fake_transport_ops(), e->w->net, false}
                                       : (struct fabric_transport){0};
}

static int resolve(void *arg, uint32_t id, struct node_id *ret, const char **address) {
    struct end *e = arg;

    if (id == 0 || id > e->w->n)
        return RS_ENOENT;
    *ret = e->w->ends[id - 1].self;
    *address = e->w->ends[id - 1].uri;
    return 0;
}

static void versions(void *arg, uint32_t ret[N_VERSIONS]) {
    memcpy(ret, ((struct end *)arg)->versions, sizeof((struct end *)arg)->versions);
}

static void seen(void *arg, struct node_id peer, const uint32_t v[N_VERSIONS]) {
    (void)peer;
    memcpy(((struct end *)arg)->seen, v, sizeof((struct end *)arg)->seen);
}

static void gone(void *arg, struct node_id peer) {
    ((struct end *)arg)->gone = peer;
}

static void preempted(void *arg, struct node_id newer) {
    ((struct end *)arg)->preempted = newer;
}

static void handle(void *arg, struct fabric_request *r) {
    struct end *e = arg;
    size_t n = strlen(e->order);

    if (r->payload.len && n + 1 < sizeof e->order)
        e->order[n] = (char)r->payload.data[0];
    if (!r->is_call) {
        e->messages++;
        return;
    }
    e->requests++;
    if (e->hold)
        e->held[e->n_held++] = r;
    else
        fabric_reply(e->fabric, r, r->payload, NULL, 0);
}

static void end_open(struct world *w, struct end *e, uint32_t id, uint32_t generation, const char *cluster) {
    struct fabric_params p;

    e->w = w;
    e->self = (struct node_id){id, generation};
    snprintf(e->uri, sizeof e->uri, "fake://n%u:1", id);
    p = (struct fabric_params){.loop = w->net->loop,
                               .cluster_name = cluster,
                               .self = e->self,
                               .fingerprint = 7,
                               .transport = transport,
                               .resolve = resolve,
                               .versions = versions,
                               .seen = seen,
                               .preempted = preempted,
                               .gone = gone,
                               .ping_interval_ns = e->ping_interval_ns,
                               .ping_timeout_ns = e->ping_timeout_ns,
                               .connect_timeout_ns = e->connect_timeout_ns,
                               .handshake_timeout_ns = e->handshake_timeout_ns,
                               .arg = e};
    e->fabric = fabric_new(&p);
    e->service = (struct fabric_service){.id = SVC, .handle = handle, .arg = e};
    fabric_serve(e->fabric, &e->service);
    assert_int_equal(fabric_listen(e->fabric, transport(e, "fake"), e->uri, NULL), 0);
}

static void end_close(struct end *e) {
    if (!e->fabric)
        return;
    fabric_unserve(e->fabric, &e->service);
    e->fabric = fabric_free(e->fabric);
    e->n_held = 0;
}

static void world_open(struct world *w, unsigned n) {
    memset(w, 0, sizeof *w);
    w->net = fake_net_new();
    w->n = n;
    for (unsigned i = 0; i < n; i++)
        end_open(w, &w->ends[i], i + 1, 1, "c");
}

static void world_close(struct world *w) {
    for (unsigned i = 0; i < w->n; i++)
        end_close(&w->ends[i]);
    fake_run(w->net);
    fake_net_free(w->net);
}

static void on_done(struct fabric_call *fc, enum rpc_status s, struct node_id from, struct slice reply,
                    struct bytes *frame, const struct err *why) {
    struct call *c = CONTAINER_OF(fc, struct call, c);

    (void)frame;
    c->done++;
    c->status = s;
    c->from = from;
    assert_true((why == NULL) == (s == RPC_OK));
    if (reply.len)
        memcpy(c->reply, reply.data, MIN(reply.len, sizeof c->reply - 1));
}

static void call(struct end *e, struct call *c, uint32_t to, const char *text, uint64_t timeout_ns) {
    struct fabric_dest d = {.node = {to, 0}};
    struct fabric_message m = {.service = SVC, .type = 1, .head = slice_str(text)};

    memset(c, 0, sizeof *c);
    c->c.done = on_done;
    fabric_call(e->fabric, &c->c, &d, LANE_GENERAL, &m, e->w->net->now_ns + timeout_ns);
    assert_int_equal(c->done, 0);
}

static void calls_are_answered_by_other_nodes_and_by_this_one(void **state) {
    struct world w;
    struct call a, b, self;

    (void)state;
    world_open(&w, 2);
    call(&w.ends[0], &a, 2, "hello", 1000 * MS);
    call(&w.ends[1], &b, 1, "there", 1000 * MS);
    call(&w.ends[0], &self, 1, "me", 1000 * MS);
    fake_run(w.net);
    assert_true(a.done == 1 && a.status == RPC_OK && a.from.id == 2);
    assert_string_equal(a.reply, "hello");
    assert_true(b.done == 1 && b.from.id == 1);
    assert_string_equal(b.reply, "there");
    assert_true(self.done == 1 && self.from.id == 1);
    assert_string_equal(self.reply, "me");
    assert_true(fabric_connected(w.ends[0].fabric, 2, LANE_GENERAL));
    assert_int_equal(w.net->connects, 2);
    world_close(&w);
}

static void messages_keep_their_order_however_the_stream_is_cut_up(void **state) {
    (void)state;
    for (size_t bytes = 1; bytes < 70; bytes += 3) {
        struct world w;
        struct fabric_dest d = {.node = {2, 0}};
        struct call c[20];
        char text[2] = "a";

        world_open(&w, 2);
        w.net->read_max = bytes;
        w.net->write_max = bytes + 1;
        for (int i = 0; i < 20; i++, text[0]++) {
            struct fabric_message m = {.service = SVC, .type = 2, .head = slice_str(text)};

            if (i % 2)
                fabric_send(w.ends[0].fabric, &d, LANE_GENERAL, &m);
            else
                call(&w.ends[0], &c[i], 2, text, 1000 * MS);
        }
        fake_run(w.net);
        assert_string_equal(w.ends[1].order, "abcdefghijklmnopqrst");
        for (int i = 0; i < 20; i += 2)
            assert_int_equal(c[i].status, RPC_OK);
        world_close(&w);
    }
}

static void parts_travel_by_reference_and_arrive_whole(void **state) {
    struct world w;
    struct bytes *parts[3] = {bytes_copy(SLICE_LIT("one")), bytes_new(300000), bytes_copy(SLICE_LIT("three"))};
    struct fabric_message m = {.service = SVC, .type = 1, .head = SLICE_LIT("x"), .parts = parts, .n_parts = 3};
    struct fabric_dest d = {.node = {2, 0}};
    struct call c = {.c.done = on_done};

    (void)state;
    memset(parts[1]->data, 'm', parts[1]->len);
    world_open(&w, 2);
    w.ends[1].hold = true;
    fabric_call(w.ends[0].fabric, &c.c, &d, LANE_BIFROST_DATA, &m, w.net->now_ns + 1000 * MS);
    for (int i = 0; i < 3; i++)
        (void)bytes_unref(parts[i]);
    fake_run(w.net);
    assert_int_equal(w.ends[1].n_held, 1);
    assert_int_equal(w.ends[1].held[0]->payload.len, 1 + 3 + 300000 + 5);
    assert_memory_equal(w.ends[1].held[0]->payload.data + 1 + 3 + 300000, "three", 5);
    fabric_reply(w.ends[1].fabric, w.ends[1].held[0], SLICE_LIT("ok"), NULL, 0);
    fake_run(w.net);
    assert_string_equal(c.reply, "ok");
    world_close(&w);
}

static void a_cut_after_sending_leaves_the_outcome_unknown_and_what_waited_goes_again(void **state) {
    struct world w;
    struct call a, b;

    (void)state;
    world_open(&w, 2);
    w.ends[1].hold = true;
    call(&w.ends[0], &a, 2, "a", 60000 * MS);
    fake_run(w.net);
    assert_int_equal(w.ends[1].n_held, 1);
    fake_cut(w.net, 0);
    fake_run(w.net);
    assert_true(a.done == 1 && a.status == RPC_UNKNOWN);
    fabric_reply(w.ends[1].fabric, w.ends[1].held[0], SLICE_LIT("late"), NULL, 0); /* nobody hears it */
    w.ends[1].hold = false;
    call(&w.ends[0], &b, 2, "b", 60000 * MS);
    fake_run(w.net);
    assert_true(b.done == 1 && b.status == RPC_OK);
    world_close(&w);
}

static void every_call_ends_once_wherever_the_connection_is_cut(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < 60; seed++) {
        struct world w;
        struct call c[12];

        world_open(&w, 2);
        w.net->read_max = 1 + seed % 7;
        w.net->write_max = 1 + seed % 5;
        for (int i = 0; i < 12; i++)
            call(&w.ends[0], &c[i], 2, "x", 10000 * MS);
        for (unsigned i = 0; i < seed * 3; i++)
            (void)loop_turn(w.net->loop);
        if (w.net->open)
            fake_cut(w.net, seed);
        for (int i = 0; i < 30; i++)
            fake_advance(w.net, 500 * MS);
        for (int i = 0; i < 12; i++)
            assert_int_equal(c[i].done, 1);
        world_close(&w);
    }
}

static void a_refused_connection_fails_what_waits_and_dialling_goes_on_later(void **state) {
    struct world w;
    struct call a, b;

    (void)state;
    world_open(&w, 2);
    w.net->refuse_connect = true;
    call(&w.ends[0], &a, 2, "a", 60000 * MS);
    fake_run(w.net);
    assert_true(a.done == 1 && a.status == RPC_UNREACHABLE);
    call(&w.ends[0], &b, 2, "b", 60000 * MS);
    fake_run(w.net);
    assert_int_equal(w.net->connects, 1); /* throttled */
    w.net->refuse_connect = false;
    fake_advance(w.net, 3000 * MS);
    assert_true(b.done == 1 && b.status == RPC_OK);
    world_close(&w);
}

static void deadlines_end_calls(void **state) {
    struct world w;
    struct call a, b;

    (void)state;
    world_open(&w, 2);
    w.ends[1].hold = true;
    call(&w.ends[0], &a, 2, "a", 200 * MS);
    fake_run(w.net);
    fake_advance(w.net, 300 * MS);
    assert_true(a.done == 1 && a.status == RPC_UNKNOWN);
    w.net->hang_connect = true;
    end_close(&w.ends[1]);
    fake_run(w.net);
    call(&w.ends[0], &b, 2, "b", 200 * MS);
    fake_run(w.net);
    fake_advance(w.net, 300 * MS);
    assert_true(b.done == 1 && b.status == RPC_UNREACHABLE);
    world_close(&w);
}

static void a_stranger_is_refused(void **state) {
    struct world w;
    struct call a;

    (void)state;
    world_open(&w, 2);
    end_close(&w.ends[1]);
    fake_run(w.net);
    end_open(&w, &w.ends[1], 2, 1, "other");
    call(&w.ends[0], &a, 2, "a", 60000 * MS);
    fake_run(w.net);
    assert_true(a.done == 1 && a.status == RPC_REFUSED);
    assert_int_equal(w.ends[1].requests, 0);
    world_close(&w);
}

static void a_restarted_node_gets_new_connections_and_its_old_self_is_refused(void **state) {
    struct world w;
    struct call a, b, c;
    struct fabric_dest old = {.node = {2, 1}};
    struct fabric_message m = {.service = SVC, .type = 1};

    (void)state;
    world_open(&w, 3);
    call(&w.ends[0], &a, 2, "a", 60000 * MS);
    fake_run(w.net);
    end_close(&w.ends[1]);
    fake_run(w.net);
    end_open(&w, &w.ends[1], 2, 2, "c");
    call(&w.ends[0], &b, 2, "b", 60000 * MS);
    fake_advance(w.net, 1000 * MS);
    assert_true(b.done == 1 && b.status == RPC_OK && b.from.generation == 2);
    memset(&c, 0, sizeof c);
    c.c.done = on_done;
    fabric_call(w.ends[0].fabric, &c.c, &old, LANE_GENERAL, &m, w.net->now_ns + 2000 * MS);
    fake_advance(w.net, 3000 * MS);
    assert_true(c.done == 1 && c.status == RPC_UNREACHABLE);
    /* the old process of node 2 comes back */
    end_close(&w.ends[2]);
    fake_run(w.net);
    end_open(&w, &w.ends[2], 2, 1, "c");
    call(&w.ends[2], &a, 1, "z", 2000 * MS);
    fake_run(w.net);
    assert_int_equal(a.status, RPC_REFUSED);
    world_close(&w);
}

static void a_dead_peer_is_noticed_by_its_silence(void **state) {
    struct world w;
    struct call a, b;
    struct fake_peer dumb = {0};

    (void)state;
    world_open(&w, 1);
    w.n = 2;
    w.ends[1].self = (struct node_id){2, 1};
    snprintf(w.ends[1].uri, sizeof w.ends[1].uri, "fake://n2:1");
    fake_peer_serve(w.net, "fake://n2:1", &dumb);
    call(&w.ends[0], &a, 2, "a", 60000 * MS);
    fake_run(w.net);
    assert_int_equal(a.done, 0);
    for (int i = 0; i < 20; i++)
        fake_advance(w.net, 500 * MS);
    assert_int_equal(a.done, 1);
    call(&w.ends[0], &b, 2, "b", 1000 * MS);
    fake_advance(w.net, 2000 * MS);
    assert_int_equal(b.done, 1);
    if (!dumb.closed)
        fake_peer_close(&dumb, true);
    w.n = 1;
    world_close(&w);
}

static void how_long_a_peer_may_be_silent_or_unreachable_is_a_parameter(void **state) {
    struct world w;
    struct call a, b;
    struct fake_peer dumb = {0};
    struct end *e = &w.ends[0];

    (void)state;
    world_open(&w, 1);
    w.n = 2;
    w.ends[1].self = (struct node_id){2, 1};
    snprintf(w.ends[1].uri, sizeof w.ends[1].uri, "fake://n2:1");
    end_close(e);
    e->ping_interval_ns = 4000 * MS; /* the defaults, a second and two, would be over */
    e->ping_timeout_ns = 3000 * MS;
    e->connect_timeout_ns = 6000 * MS;
    e->handshake_timeout_ns = 6000 * MS;
    end_open(&w, e, 1, 1, "c");
    fake_peer_serve(w.net, "fake://n2:1", &dumb);
    call(e, &a, 2, "a", 60000 * MS);
    for (int i = 0; i < 20; i++)
        fake_advance(w.net, 500 * MS);
    assert_int_equal(a.done, 0);
    for (int i = 0; i < 8; i++)
        fake_advance(w.net, 500 * MS);
    assert_int_equal(a.done, 1);
    if (!dumb.closed)
        fake_peer_close(&dumb, true);
    w.net->hang_connect = true; /* twelve seconds instead of six */
    call(e, &b, 2, "b", 60000 * MS);
    for (int i = 0; i < 22; i++)
        fake_advance(w.net, 500 * MS);
    assert_int_equal(b.done, 0);
    for (int i = 0; i < 4; i++)
        fake_advance(w.net, 500 * MS);
    assert_int_equal(b.done, 1);
    w.n = 1;
    world_close(&w);
}

static void a_node_given_up_fails_calls_at_once_until_it_is_alive_again(void **state) {
    struct world w;
    struct call a, b, c;

    (void)state;
    world_open(&w, 2);
    w.ends[1].hold = true;
    call(&w.ends[0], &a, 2, "a", 60000 * MS);
    fake_run(w.net);
    w.net->hang_connect = true;
    fabric_forget(w.ends[0].fabric, w.ends[1].self);
    fake_run(w.net);
    assert_true(a.done == 1 && a.status == RPC_UNKNOWN);
    call(&w.ends[0], &b, 2, "b", 60000 * MS);
    fake_run(w.net);
    assert_true(b.done == 1 && b.status == RPC_UNREACHABLE);
    w.net->hang_connect = w.ends[1].hold = false;
    fabric_alive(w.ends[0].fabric, 2);
    call(&w.ends[0], &c, 2, "c", 60000 * MS);
    fake_advance(w.net, 3000 * MS);
    assert_true(c.done == 1 && c.status == RPC_OK);
    world_close(&w);
}

static void a_process_that_ended_is_told_from_one_that_only_closed_a_connection(void **state) {
    struct fabric_dest d = {.node = {2, 0}};
    struct fabric_message m = {.service = SVC, .type = 1, .head = SLICE_LIT("x")};
    struct world w;

    (void)state;
    world_open(&w, 2);
    fabric_send(w.ends[0].fabric, &d, LANE_GOSSIP, &m);
    fake_run(w.net);
    assert_int_equal(w.ends[1].messages, 1);
    fake_cut(w.net, 1);
    fake_run(w.net);
    fake_advance(w.net, 1000 * MS);
    assert_int_equal(w.ends[0].gone.id, 0); /* it was dialled again, and there it is */
    end_close(&w.ends[1]);
    fake_run(w.net);
    fake_advance(w.net, 1000 * MS);
    assert_int_equal(w.ends[0].gone.id, 2);
    assert_int_equal(w.ends[0].gone.generation, 1);
    world_close(&w);
}

static void versions_in_headers_are_noticed(void **state) {
    struct world w;
    struct call a;

    (void)state;
    world_open(&w, 2);
    w.ends[0].versions[VERSION_LOGS] = 5;
    call(&w.ends[0], &a, 2, "a", 1000 * MS);
    fake_run(w.net);
    assert_int_equal(w.ends[1].seen[VERSION_LOGS], 5);
    world_close(&w);
}

static void unknown_services_say_so_and_lossy_ones_shed(void **state) {
    struct world w;
    struct call a, b;
    struct fabric_message m = {.service = 9999, .type = 1};
    struct fabric_dest d = {.node = {2, 0}};

    (void)state;
    world_open(&w, 2);
    memset(&a, 0, sizeof a);
    a.c.done = on_done;
    fabric_call(w.ends[0].fabric, &a.c, &d, LANE_GENERAL, &m, w.net->now_ns + 1000 * MS);
    fake_run(w.net);
    assert_int_equal(a.status, RPC_SERVICE_NOT_FOUND);
    w.ends[1].hold = true;
    w.ends[1].service.lossy = true;
    w.ends[1].service.budget_bytes = 10;
    call(&w.ends[0], &a, 2, "a", 1000 * MS);
    call(&w.ends[0], &b, 2, "b", 1000 * MS);
    fake_run(w.net);
    assert_int_equal(b.status, RPC_LOAD_SHEDDING);
    assert_int_equal(a.done, 0);
    fabric_call_drop(w.ends[0].fabric, &a.c);
    world_close(&w);
}

static void over_budget_a_service_stops_the_reading(void **state) {
    struct world w;
    struct call c[8];

    (void)state;
    world_open(&w, 2);
    w.ends[1].hold = true;
    w.ends[1].service.budget_bytes = 100;
    for (int i = 0; i < 8; i++)
        call(&w.ends[0], &c[i], 2, "a", 60000 * MS);
    fake_run(w.net);
    w.net->read_max = 53; /* a frame at a time */
    assert_true(w.ends[1].n_held < 8 || w.ends[1].service.held_bytes > 100);
    while (w.ends[1].n_held) {
        unsigned n = w.ends[1].n_held;

        w.ends[1].n_held = 0;
        for (unsigned i = 0; i < n; i++)
            fabric_reply(w.ends[1].fabric, w.ends[1].held[i], SLICE_LIT("r"), NULL, 0);
        fake_run(w.net);
    }
    for (int i = 0; i < 8; i++)
        assert_true(c[i].done == 1 && c[i].status == RPC_OK);
    world_close(&w);
}

static void damaged_frames_end_the_connection(void **state) {
    struct world w;
    struct fake_peer p = {0};
    uint8_t junk[64];

    (void)state;
    world_open(&w, 1);
    memset(junk, 0x5a, sizeof junk);
    fake_peer_dial(&p, w.net, "fake://n1:1");
    fake_run(w.net);
    fake_peer_send(&p, FRAME_MAGIC, FRAME_MAGIC_BYTES);
    fake_peer_send(&p, junk, sizeof junk);
    fake_run(w.net);
    assert_true(p.closed || p.eof);
    if (!p.closed)
        fake_peer_close(&p, true);
    world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(calls_are_answered_by_other_nodes_and_by_this_one),
    cmocka_unit_test(messages_keep_their_order_however_the_stream_is_cut_up),
    cmocka_unit_test(parts_travel_by_reference_and_arrive_whole),
    cmocka_unit_test(a_cut_after_sending_leaves_the_outcome_unknown_and_what_waited_goes_again),
    cmocka_unit_test(every_call_ends_once_wherever_the_connection_is_cut),
    cmocka_unit_test(a_refused_connection_fails_what_waits_and_dialling_goes_on_later),
    cmocka_unit_test(deadlines_end_calls),
    cmocka_unit_test(a_stranger_is_refused),
    cmocka_unit_test(a_restarted_node_gets_new_connections_and_its_old_self_is_refused),
    cmocka_unit_test(a_dead_peer_is_noticed_by_its_silence),
    cmocka_unit_test(how_long_a_peer_may_be_silent_or_unreachable_is_a_parameter),
    cmocka_unit_test(a_node_given_up_fails_calls_at_once_until_it_is_alive_again),
    cmocka_unit_test(a_process_that_ended_is_told_from_one_that_only_closed_a_connection),
    cmocka_unit_test(versions_in_headers_are_noticed),
    cmocka_unit_test(unknown_services_say_so_and_lossy_ones_shed),
    cmocka_unit_test(over_budget_a_service_stops_the_reading),
    cmocka_unit_test(damaged_frames_end_the_connection),
};
const struct unit_group fabric_test_group = UNIT_GROUP(tests);
