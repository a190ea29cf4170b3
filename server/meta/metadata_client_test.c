/* SPDX-License-Identifier: Apache-2.0 */
/* A client on node 1; the members are nodes 2 and 3, played by the test: they hold what they are asked. */
#include "meta/metadata_client.h"

#include "meta/metadata_server.h"
#include "meta/nodes_config.h"
#include "plugin/fake_transport.h"
#include "proto/metadata.gen.h"
#include "unit.h"

#define MS 1000000ull

struct member {
    struct fabric *fabric;
    struct fabric_service service;
    struct fabric_request *put, *held[8]; /* held: all other requests */
    unsigned puts, n_held;
};
struct world {
    struct fake_net *net;
    struct meta *meta;
    struct fabric *fabric;
    struct member members[4]; /* by id */
    int calls, status;
};

static struct fabric_transport transport(void *arg, const char *scheme) {
    (void)scheme;
    return (struct fabric_transport){fake_transport_ops(), ((struct world *)arg)->net, false};
}
static int resolve(void *arg, uint32_t id, struct node_id *ret, const char **address) {
    struct world *w = arg;

    return w->meta ? metadata_client_resolve(w->meta, id, ret, address) : RS_ENOENT;
}

static void on_request(void *arg, struct fabric_request *r) {
    struct member *m = arg;

    if (r->type == METADATA_PUT) {
        m->put = r;
        m->puts++;
    } else {
        assert_true(m->n_held < ARRAY_SIZE(m->held));
        m->held[m->n_held++] = r;
    }
}

static void member_open(struct world *w, uint32_t id, const char *uri) {
    struct member *m = &w->members[id];
    struct fabric_params p = {.loop = w->net->loop,
                              .cluster_name = "c",
                              .self = {id, 1},
                              .fingerprint = 7,
                              .transport = transport,
                              .resolve = resolve,
                              .arg = w};

    m->fabric = fabric_new(&p);
    assert_int_equal(fabric_listen(m->fabric, transport(w, "fake"), uri, NULL), 0);
    m->service = (struct fabric_service){.id = SERVICE_METADATA_SERVER, .handle = on_request, .arg = m};
    fabric_serve(m->fabric, &m->service);
}

static void member_close(struct member *m) {
    if (m->put)
        fabric_reply_status(m->fabric, m->put, RPC_DROPPED);
    for (unsigned i = 0; i < m->n_held; i++)
        fabric_reply_status(m->fabric, m->held[i], RPC_DROPPED);
    (void)fabric_free(m->fabric);
}

static void know_members(struct world *w) {
    static const char *const uris[] = {"", "fake://n1:1", "fake://n2:1", "fake://n3:1"};
    struct nodes_config c = {.version = 1, .cluster_name = xstrdup("c"), .fingerprint = 7};
    struct buf out = {0};
    struct bytes *value;

    for (uint32_t id = 1; id <= 3; id++) {
        struct node_entry *n = nodes_config_add(&c, id);

        n->id.generation = 1;
        n->name = xstrdup(uris[id]);
        n->address = xstrdup(uris[id]);
        n->location = xstrdup("");
        n->binary_version = xstrdup("");
        n->roles = ROLE_ALL;
        n->metadata_state = id == 1 ? METADATA_STANDBY : METADATA_MEMBER;
    }
    nodes_config_encode(&c, &out);
    value = bytes_take_buf(&out);
    metadata_client_changed(w->meta, META_KEY_NODES, 1, value);
    (void)bytes_unref(value);
    for (size_t i = 0; i < c.n_nodes; i++) {
        free(c.nodes[i].name);
        free(c.nodes[i].address);
        free(c.nodes[i].location);
        free(c.nodes[i].binary_version);
    }
    free(c.nodes);
    free(c.cluster_name);
}

static void world_open(struct world *w) {
    struct fabric_params p;
    struct metadata_client_params cp = {.cluster_name = "c"};

    *w = (struct world){.net = fake_net_new()};
    member_open(w, 2, "fake://n2:1");
    member_open(w, 3, "fake://n3:1");
    p = (struct fabric_params){.loop = w->net->loop,
                               .cluster_name = "c",
                               .self = {1, 1},
                               .fingerprint = 7,
                               .transport = transport,
                               .resolve = resolve,
                               .arg = w};
    w->fabric = fabric_new(&p);
    cp.loop = w->net->loop;
    cp.fabric = w->fabric;
    w->meta = metadata_client_open(&cp);
    metadata_client_set_self(w->meta, (struct node_id){1, 1}, 7);
    know_members(w);
    fake_run(w->net);
}

static void world_close(struct world *w) {
    (void)meta_free(w->meta);
    w->meta = NULL;
    member_close(&w->members[2]);
    member_close(&w->members[3]);
    (void)fabric_free(w->fabric);
    fake_run(w->net);
    fake_net_free(w->net);
}

static void on_written(void *arg, int status, uint32_t version, const struct err *err) {
    struct world *w = arg;

    (void)version;
    (void)err;
    w->calls++;
    w->status = status;
}
static void write_value(struct world *w) {
    meta_cas(w->meta, "k", 0, SLICE_LIT("1"), 0, on_written, w);
    fake_run(w->net);
}

static void answer_put(struct world *w, uint32_t member, enum md_code code) {
    struct member *m = &w->members[member];
    struct md_reply reply = {.code = (uint32_t)code};
    struct buf out = {0};

    md_reply_encode(&reply, &out);
    fabric_reply(m->fabric, TAKE(m->put), buf_slice(&out), NULL, 0);
    buf_done(&out);
    fake_run(w->net);
}

static void a_write_does_not_wait_for_whoever_led_before(void **state) {
    struct world w;

    (void)state;
    world_open(&w);
    metadata_client_led(w.meta, 2);
    write_value(&w);
    assert_int_equal(w.members[2].puts, 1);
    metadata_client_led(w.meta, 2); /* the one that is asked */
    fake_advance(w.net, 500 * MS);
    assert_int_equal(w.calls, 0);
    metadata_client_led(w.meta, 3);
    assert_int_equal(w.calls, 0); /* not inside the call */
    fake_run(w.net);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, RS_ETIMEDOUT); /* it may have been written */
    write_value(&w);
    assert_int_equal(w.members[3].puts, 1);
    answer_put(&w, 3, MD_OK);
    assert_int_equal(w.calls, 2);
    assert_int_equal(w.status, 0);
    world_close(&w);
}

/* Refused by a member that knows no leader, it waits for its next try; not when there is a leader. */
static void a_write_that_waits_for_a_leader_goes_to_it_at_once(void **state) {
    struct world w;

    (void)state;
    world_open(&w);
    metadata_client_led(w.meta, 2);
    write_value(&w);
    answer_put(&w, 2, MD_NOT_LEADER);
    assert_int_equal(w.members[2].puts + w.members[3].puts, 1);
    metadata_client_led(w.meta, 3);
    fake_run(w.net); /* no time passes */
    assert_int_equal(w.members[3].puts, 1);
    assert_int_equal(w.calls, 0);
    world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_write_does_not_wait_for_whoever_led_before),
    cmocka_unit_test(a_write_that_waits_for_a_leader_goes_to_it_at_once),
};
const struct unit_group metadata_client_test_group = UNIT_GROUP(tests);
