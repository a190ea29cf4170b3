/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata servers and clients of several nodes in one loop: over the transport in memory and simulated disks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "meta/cluster.h"
#include "meta/metadata_client.h"
#include "meta/metadata_server.h"
#include "plugin/fake_transport.h"
#include "proto/metadata.gen.h"
#include "storage/sim_storage.h"
#include "storage/store.h"
#include "unit.h"

#define MS 1000000ull
enum { NODES = 4 };

struct tnode {
    struct exec exec; /* first */
    struct world *w;
    uint32_t id; /* expected */
    char name[8], uri[32];
    struct sim_disk *disk;
    struct store *store;
    struct fabric *fabric;
    struct metadata_server *server;
    struct meta *meta;
    struct join_result joined;
    int join_status, provisioned;
    bool up, has_joined;
};
struct world {
    struct fake_net *net;
    struct list jobs;
    struct job *ran; /* its news has not come back */
    struct tnode n[NODES];
    unsigned count;
};

static void submit(struct exec *e, struct job *j) {
    list_push_back(&((struct tnode *)(void *)e)->w->jobs, &j->link);
}
static const struct exec_ops exec_ops = {.submit = submit};
static void job_back(void *arg) {
    struct job *j = arg;

    j->done(j);
}

static void bring_back(struct world *w) {
    struct job *j = TAKE(w->ran);

    if (!j)
        return;
    j->back = (struct loop_task){.fn = job_back, .arg = j};
    loop_post_task(w->net->loop, &j->back);
}

/* The next job, but not the news of it. */
static bool run_job(struct world *w) {
    struct list *e;

    bring_back(w);
    fake_run(w->net);
    e = list_pop_front(&w->jobs);
    if (!e)
        return false;
    w->ran = LIST_ENTRY(e, struct job, link);
    w->ran->run(w->ran);
    return true;
}

static void settle(struct world *w) {
    while (run_job(w))
        ;
}
static void pass(struct world *w, unsigned ms) {
    for (unsigned i = 0; i < ms; i += 10) {
        fake_advance(w->net, 10 * MS);
        settle(w);
    }
}

static struct fabric_transport transport(void *arg, const char *scheme) {
    struct tnode *n = arg;

    return strcmp(scheme, "fake") == 0 ? (struct fabric_transport){fake_transport_ops(), n->w->net, false}
                                       : (struct fabric_transport){0};
}
static int resolve(void *arg, uint32_t id, struct node_id *ret, const char **address) {
    struct tnode *n = arg;

    return n->meta ? metadata_client_resolve(n->meta, id, ret, address) : RS_ENOENT;
}
static void changed(void *arg, const char *key, uint32_t version, struct bytes *value) {
    metadata_client_changed(((struct tnode *)arg)->meta, key, version, value);
}
static const char *address(void *arg, uint32_t id) {
    struct node_id ignored;
    const char *text;

    return resolve(arg, id, &ignored, &text) < 0 ? NULL : text;
}
static uint32_t members(void *arg, uint32_t *ret, uint32_t max) {
    return metadata_client_members(((struct tnode *)arg)->meta, ret, max);
}

static bool may_join(void *arg) {
    const struct tnode *n = arg;
    const struct nodes_config *c = metadata_client_nodes(n->meta);
    const struct node_entry *e = c ? nodes_config_find(c, n->joined.self.id) : NULL;

    return e && e->metadata_state != METADATA_STANDBY;
}

static void on_joined(void *arg, int status, const struct join_result *res, const struct err *err) {
    struct tnode *n = arg;

    n->join_status = status;
    n->has_joined = true;
    if (status < 0)
        print_message("%s: %s\n", n->name, err->msg);
    if (status < 0)
        return;
    n->joined = *res;
    fabric_set_self(n->fabric, res->self, res->fingerprint);
    metadata_client_set_self(n->meta, res->self, res->fingerprint);
    metadata_server_joined(n->server, res->self.id, res->fingerprint);
}

static void open_store(struct tnode *n) {
    struct store_params sp = {.loop = n->w->net->loop,
                              .writer = &n->exec,
                              .ops = &sim_storage_ops,
                              .self = n->disk,
                              .caps = SIM_STORAGE_CAPS,
                              .dir = "/meta",
                              .name = "meta",
                              .durability = RS_STORE_SYNC};

    assert_int_equal(store_open(&sp, &n->store, NULL), 0);
}

static void node_start(struct tnode *n) {
    const char *seeds[] = {n->w->n[0].uri, n->w->n[1].uri};
    struct fabric_params fp = {
        .loop = n->w->net->loop, .cluster_name = "c", .transport = transport, .resolve = resolve, .arg = n};
    struct metadata_client_params cp = {.loop = n->w->net->loop, .cluster_name = "c", .has_server = true};
    struct metadata_server_params mp;
    struct join_params jp = {.cluster_name = "c",
                             .node_name = n->name,
                             .address = n->uri,
                             .binary_version = "0",
                             .roles = ROLE_ALL,
                             .fingerprint = n->joined.fingerprint,
                             .node_id = n->joined.self.id,
                             .metadata_auto_join = true};

    open_store(n);
    n->fabric = fabric_new(&fp);
    assert_int_equal(fabric_listen(n->fabric, transport(n, "fake"), n->uri, NULL), 0);
    cp.fabric = n->fabric;
    cp.addresses = seeds;
    cp.n_addresses = 2;
    n->meta = metadata_client_open(&cp);
    mp = (struct metadata_server_params){.loop = n->w->net->loop,
                                         .store = n->store,
                                         .fabric = n->fabric,
                                         .cluster_name = "c",
                                         .node_name = n->name,
                                         .node_id = n->joined.self.id,
                                         .auto_join = true,
                                         .snapshot_entries = 30,
                                         .changed = changed,
                                         .address = address,
                                         .members = members,
                                         .may_join = may_join,
                                         .arg = n};
    assert_int_equal(metadata_server_open(&mp, &n->server, NULL), 0);
    n->up = true;
    n->has_joined = false;
    cluster_join(n->meta, &jp, 0, on_joined, n);
}

static void node_stop(struct tnode *n, bool crash) {
    if (!n->up)
        return;
    n->up = false;
    n->server = metadata_server_close(n->server);
    n->meta = meta_free(n->meta);
    n->fabric = fabric_free(n->fabric);
    if (crash) { /* what is under way ends on a disk that is gone */
        sim_disk_crash(n->disk);
        settle(n->w);
        n->store = store_abandon(n->store);
    } else {
        settle(n->w);
        n->store = store_close(n->store);
    }
    settle(n->w);
}

static void world_open(struct world *w, unsigned count) {
    memset(w, 0, sizeof *w);
    w->net = fake_net_new();
    list_init(&w->jobs);
    w->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct tnode *n = &w->n[i];

        n->exec.ops = &exec_ops;
        n->w = w;
        n->id = i + 1;
        snprintf(n->name, sizeof n->name, "n%u", i + 1);
        snprintf(n->uri, sizeof n->uri, "fake://n%u:1", i + 1);
        n->disk = sim_disk_new(i + 1);
    }
    snprintf(w->n[1].uri, sizeof w->n[1].uri, "fake://n2:1");
}

static void world_close(struct world *w) {
    for (unsigned i = 0; i < w->count; i++)
        node_stop(&w->n[i], false);
    settle(w);
    for (unsigned i = 0; i < w->count; i++)
        sim_disk_free(w->n[i].disk);
    fake_net_free(w->net);
}

static void on_provisioned(void *arg, int status, bool newly, const struct err *err) {
    struct tnode *n = arg;

    (void)err;
    n->provisioned = status < 0 ? status : newly ? 1 : 2;
}
static void provision(struct tnode *n) {
    struct provision_params p = {.cluster_name = "c", .num_partitions = 4};

    cluster_provision(n->meta, &p, on_provisioned, n);
}

struct answer {
    int calls, status;
    uint32_t version;
};
static void answered(void *arg, int status, uint32_t version, const struct err *err) {
    struct answer *a = arg;

    (void)err;
    a->calls++;
    a->status = status;
    a->version = version;
}
static int cas(struct world *w, struct tnode *n, const char *key, uint32_t expected, const char *value) {
    struct answer a = {0};

    meta_cas(n->meta, key, expected, slice_str(value), w->net->now_ns + 20000 * MS, answered, &a);
    for (int i = 0; i < 2500 && !a.calls; i++)
        pass(w, 10);
    assert_int_equal(a.calls, 1);
    return a.status;
}

static unsigned members_of(struct tnode *n) {
    struct metadata_server_status st;

    metadata_server_status(n->server, &st);
    return st.raft.config.n;
}
static struct tnode *leader(struct world *w) {
    for (unsigned i = 0; i < w->count; i++) {
        struct metadata_server_status st;

        if (!w->n[i].up)
            continue;
        metadata_server_status(w->n[i].server, &st);
        if (st.raft.role == RAFT_LEADER && st.raft.settled)
            return &w->n[i];
    }
    return NULL;
}
static bool value_is(struct tnode *n, const char *key, const char *text) {
    struct bytes *b;

    return meta_get(n->meta, key, NULL, &b) == 0 && slice_eq_str(bytes_slice(b), text);
}

static void three_up(struct world *w) {
    world_open(w, 3);
    for (unsigned i = 0; i < 3; i++)
        node_start(&w->n[i]);
    pass(w, 100);
    assert_false(w->n[0].has_joined);
    provision(&w->n[0]);
    pass(w, 6000);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(w->n[i].has_joined);
        assert_int_equal(w->n[i].join_status, 0);
        assert_int_equal(members_of(&w->n[i]), 3);
    }
    assert_int_equal(w->n[0].provisioned, 1);
}

static void a_lone_node_founds_writes_and_remembers(void **state) {
    struct world w;
    struct tnode *n;

    (void)state;
    world_open(&w, 1);
    n = &w.n[0];
    snprintf(w.n[1].uri, sizeof w.n[1].uri, "fake://n1:1");
    node_start(n);
    pass(&w, 50);
    provision(n);
    pass(&w, 2000);
    assert_true(n->has_joined && n->joined.self.id == 1 && n->joined.self.generation == 1);
    for (unsigned i = 0; i < 100; i++) /* more than a snapshot */
        assert_int_equal(cas(&w, n, "k", i, i == 99 ? "last" : "x"), 0);
    assert_int_equal(cas(&w, n, "k", 7, "stale"), RS_EEXIST);
    node_stop(n, true);
    node_start(n);
    pass(&w, 1000);
    assert_true(n->has_joined && n->joined.self.generation == 2);
    assert_true(value_is(n, "k", "last"));
    assert_int_equal(meta_version(n->meta, "k"), 100);
    provision(n);
    pass(&w, 1000);
    assert_int_equal(n->provisioned, 2); /* it exists */
    world_close(&w);
}

static void three_nodes_become_one_group_and_survive_any_one(void **state) {
    struct world w;

    (void)state;
    three_up(&w);
    assert_int_equal(cas(&w, &w.n[1], "a", 0, "one"), 0);
    pass(&w, 200);
    for (unsigned i = 0; i < 3; i++)
        assert_true(value_is(&w.n[i], "a", "one"));
    for (unsigned round = 0; round < 3; round++) {
        struct tnode *l = leader(&w), *other;
        char text[16];

        assert_non_null(l);
        other = &w.n[l->id % 3];
        snprintf(text, sizeof text, "round%u", round);
        node_stop(l, true);
        assert_int_equal(cas(&w, other, "a", 1 + round, text), 0);
        node_start(l);
        pass(&w, 4000);
        assert_true(l->has_joined && l->join_status == 0);
        assert_true(value_is(l, "a", text));
        assert_int_equal(members_of(l), 3);
    }
    /* all at once */
    for (unsigned i = 0; i < 3; i++)
        node_stop(&w.n[i], true);
    for (unsigned i = 0; i < 3; i++)
        node_start(&w.n[i]);
    pass(&w, 5000);
    for (unsigned i = 0; i < 3; i++)
        assert_true(w.n[i].has_joined && value_is(&w.n[i], "a", "round2"));
    world_close(&w);
}

static void the_nodes_configuration_names_the_members(void **state) {
    struct world w;
    const struct nodes_config *c;

    (void)state;
    three_up(&w);
    pass(&w, 3000);
    c = metadata_client_nodes(w.n[2].meta);
    assert_int_equal(c->n_nodes, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(c->nodes[i].metadata_state, METADATA_MEMBER);
    world_close(&w);
}

static void without_a_majority_nothing_is_written_and_nothing_is_falsely_refused(void **state) {
    struct world w;
    struct answer a = {0};

    (void)state;
    three_up(&w);
    node_stop(&w.n[1], true);
    node_stop(&w.n[2], true);
    meta_cas(w.n[0].meta, "a", 0, SLICE_LIT("x"), 0, answered, &a);
    pass(&w, 8000);
    assert_true(a.calls == 0 || a.status == RS_ETIMEDOUT);
    assert_int_equal(meta_version(w.n[0].meta, "a"), 0);
    node_start(&w.n[1]);
    node_start(&w.n[2]);
    pass(&w, 8000);
    assert_int_equal(a.calls, 1);
    assert_true(a.status == 0 || a.status == RS_ETIMEDOUT);
    world_close(&w);
}

static void a_node_that_lost_its_disk_is_not_taken_for_its_old_self(void **state) {
    struct world w;

    (void)state;
    three_up(&w);
    node_stop(&w.n[2], true);
    sim_disk_free(w.n[2].disk);
    w.n[2].disk = sim_disk_new(77);
    pass(&w, 1000);
    node_start(&w.n[2]);
    pass(&w, 5000);
    assert_int_equal(members_of(&w.n[0]), 3);
    assert_int_equal(members_of(&w.n[2]), 0);           /* nobody sends it anything */
    assert_int_equal(cas(&w, &w.n[2], "a", 0, "x"), 0); /* as a client it works */
    world_close(&w);
}

struct told {
    struct fabric_call call; /* first */
    unsigned code;
};
static void on_told(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice body,
                    struct bytes *frame, const struct err *why) {
    _cleanup_(arena_done) struct arena a = {0};
    struct md_reply m;

    (void)from;
    (void)frame;
    (void)why;
    assert_int_equal(s, RPC_OK);
    assert_int_equal(md_reply_decode(&m, body, &a, NULL), 0);
    ((struct told *)(void *)c)->code = m.code;
}

/* What an operator's tool does: @type about node @about, asked of @n. */
static unsigned tell(struct world *w, struct tnode *n, uint16_t type, uint32_t about) {
    struct told t = {.call = {.done = on_told}, .code = 99};
    struct md_request m = {.node = about};
    struct fabric_message msg = {.service = SERVICE_METADATA_SERVER, .type = type};
    struct fabric_dest d = {.node = {FABRIC_SELF, 0}};
    _cleanup_buf_ struct buf body = {0};

    md_request_encode(&m, &body);
    msg.head = buf_slice(&body);
    fabric_call(n->fabric, &t.call, &d, LANE_GENERAL, &msg, loop_now_ns(w->net->loop) + 3000 * MS);
    pass(w, 3100);
    return t.code;
}

static void a_member_that_was_removed_stays_away_until_it_is_told_to_join(void **state) {
    struct world w;
    bool removed = false;

    (void)state;
    three_up(&w);
    pass(&w, 2000);
    for (unsigned i = 0; i < 2 && !removed; i++)
        removed = tell(&w, &w.n[i], METADATA_REMOVE, 3) == MD_OK;
    if (!removed) /* it leads itself */
        assert_int_equal(tell(&w, &w.n[2], METADATA_REMOVE, 3), MD_OK);
    pass(&w, 5000);
    assert_int_equal(members_of(&w.n[0]), 2);
    node_stop(&w.n[2], false);
    node_start(&w.n[2]);
    pass(&w, 5000);
    assert_int_equal(members_of(&w.n[0]), 2);
    assert_int_equal(tell(&w, &w.n[2], METADATA_ADD, 0), MD_OK);
    pass(&w, 5000);
    assert_int_equal(members_of(&w.n[0]), 3);
    assert_int_equal(cas(&w, &w.n[2], "a", 0, "x"), 0);
    world_close(&w);
}

/* B acknowledged what C missed, and is removed while C is away. C still takes B for a member: with an empty log B must
 * not help it to lead. */
static void a_member_that_was_removed_does_not_vote_for_one_that_missed_it(void **state) {
    struct world w;
    struct tnode *a, *b, *c;
    struct bytes *value;

    (void)state;
    three_up(&w);
    pass(&w, 2000);
    a = leader(&w);
    assert_non_null(a);
    b = &w.n[a == &w.n[0] ? 1 : 0];
    c = &w.n[a == &w.n[2] ? 1 : 2];
    assert_int_equal(cas(&w, a, "k", 0, "old"), 0);
    node_stop(c, false);
    assert_int_equal(cas(&w, a, "k", 1, "new"), 0);
    assert_int_equal(tell(&w, a, METADATA_REMOVE, b->joined.self.id), MD_OK);
    pass(&w, 1000);
    assert_int_equal(members_of(b), 0);
    node_stop(a, true);
    node_start(c);
    pass(&w, 20000);
    assert_null(leader(&w));
    node_start(a);
    pass(&w, 10000);
    assert_ptr_equal(leader(&w), a);
    assert_int_equal(cas(&w, c, "k", 1, "lost"), RS_EEXIST);
    assert_int_equal(meta_get(c->meta, "k", NULL, &value), 0);
    assert_true(slice_eq_str(bytes_slice(value), "new"));
    assert_int_equal(tell(&w, b, METADATA_ADD, 0), MD_OK);
    pass(&w, 5000);
    assert_int_equal(members_of(a), 3);
    world_close(&w);
}

static void the_store_of_an_older_lone_node_is_taken_over(void **state) {
    struct world w;
    struct tnode *n;
    struct meta *old;
    struct answer a = {0};

    (void)state;
    world_open(&w, 1);
    n = &w.n[0];
    snprintf(w.n[1].uri, sizeof w.n[1].uri, "fake://n1:1");
    open_store(n);
    assert_int_equal(meta_single_open(w.net->loop, n->store, &old, NULL), 0);
    n->meta = old;
    provision(n);
    settle(&w);
    assert_int_equal(n->provisioned, 1);
    meta_cas(old, "k", 0, SLICE_LIT("v"), 0, answered, &a);
    settle(&w);
    assert_int_equal(a.status, 0);
    n->meta = meta_free(old);
    settle(&w);
    n->store = store_close(n->store);
    settle(&w);
    node_start(n);
    pass(&w, 1000);
    assert_true(n->has_joined && n->join_status == 0);
    assert_true(value_is(n, "k", "v"));
    assert_int_equal(members_of(n), 1);
    world_close(&w);
}

/* What a killed start left in the log takes effect under the next one, which must not take it for somebody else's. */
static void a_start_that_was_killed_anywhere_is_followed_by_one_that_joins(void **state) {
    struct world w;
    struct tnode *n;

    (void)state;
    world_open(&w, 1);
    n = &w.n[0];
    snprintf(w.n[1].uri, sizeof w.n[1].uri, "fake://n1:1");
    node_start(n);
    pass(&w, 50);
    provision(n);
    pass(&w, 2000);
    for (unsigned steps = 1; steps <= 40; steps++) {
        uint32_t generation = n->joined.self.generation;

        node_stop(n, true);
        node_start(n);
        for (unsigned i = 0; i < steps; i++)
            if (!run_job(&w))
                fake_advance(w.net, 10 * MS);
        node_stop(n, true);
        node_start(n);
        pass(&w, 2000);
        assert_true(n->has_joined);
        assert_int_equal(n->join_status, 0);
        assert_true(n->joined.self.generation > generation);
    }
    world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_start_that_was_killed_anywhere_is_followed_by_one_that_joins),
    cmocka_unit_test(a_lone_node_founds_writes_and_remembers),
    cmocka_unit_test(three_nodes_become_one_group_and_survive_any_one),
    cmocka_unit_test(the_nodes_configuration_names_the_members),
    cmocka_unit_test(without_a_majority_nothing_is_written_and_nothing_is_falsely_refused),
    cmocka_unit_test(a_node_that_lost_its_disk_is_not_taken_for_its_old_self),
    cmocka_unit_test(a_member_that_was_removed_stays_away_until_it_is_told_to_join),
    cmocka_unit_test(a_member_that_was_removed_does_not_vote_for_one_that_missed_it),
    cmocka_unit_test(the_store_of_an_older_lone_node_is_taken_over),
};
const struct unit_group metadata_test_group = UNIT_GROUP(tests);
