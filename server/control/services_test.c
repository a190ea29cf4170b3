/* SPDX-License-Identifier: Apache-2.0 */
/* What tools ask of a node, over the transport in memory; the metadata provider is a map that may stop answering. */
#include <string.h>
#include "control/cluster_ctrl.h"
#include "control/metadata_proxy.h"
#include "control/node_ctl.h"
#include "control/requests.h"
#include "meta/fake_meta.h"
#include "meta/logs_config.h"
#include "meta/partition_table.h"
#include "plugin/fake_transport.h"
#include "unit.h"

#define MS 1000000ull
struct world {
    struct fake_net *net;
    struct fabric *server, *client;
    struct fake_meta *meta;
    struct node_ctl *node_ctl;
    struct metadata_proxy *proxy;
    struct cluster_ctrl *cluster;
    uint64_t fingerprint;
    struct arena arena;
};

/* ---- a node and a tool ---- */

static struct fabric_transport transport(void *arg, const char *scheme) {
    struct world *w = arg;

    return strcmp(scheme, "fake") == 0 ? (struct fabric_transport){fake_transport_ops(), w->net, false}
                                       : (struct fabric_transport){0};
}
static void facts(void *arg, struct node_facts *ret) {
    struct world *w = arg;

    *ret = (struct node_facts){.status = NODE_ALIVE,
                               .self = {3, 7},
                               .fingerprint = w->fingerprint,
                               .roles = ROLE_ADMIN | ROLE_WORKER,
                               .cluster_name = "c",
                               .node_name = "n3",
                               .storage = "lmdb",
                               .metadata_server = "Member",
                               .versions = {4, 5, 6, 7},
                               .provision = {.num_partitions = 24, .log_replication = "1"}};
}

static void world_open(struct world *w) {
    struct fabric_params fp;
    struct node_ctl_params np;
    struct cluster_ctrl_params cp;

    memset(w, 0, sizeof *w);
    w->net = fake_net_new();
    fp = (struct fabric_params){
        .loop = w->net->loop, .cluster_name = "c", .self = {3, 7}, .transport = transport, .arg = w};
    w->server = fabric_new(&fp);
    assert_int_equal(fabric_listen(w->server, transport(w, "fake"), "fake://n3:1", NULL), 0);
    fp.cluster_name = "";
    fp.self = (struct node_id){0};
    w->client = fabric_new(&fp);
    w->meta = fake_meta_new(w->net->loop);
    np = (struct node_ctl_params){.loop = w->net->loop,
                                  .fabric = w->server,
                                  .meta = &w->meta->m,
                                  .may_provision = true,
                                  .facts = facts,
                                  .arg = w};
    w->node_ctl = node_ctl_open(&np);
    w->proxy = metadata_proxy_open(w->net->loop, w->server, &w->meta->m);
    cp = (struct cluster_ctrl_params){.loop = w->net->loop, .fabric = w->server, .meta = &w->meta->m};
    w->cluster = cluster_ctrl_open(&cp);
}

static void close_services(struct world *w) {
    w->cluster = cluster_ctrl_close(w->cluster);
    w->proxy = metadata_proxy_close(w->proxy);
    w->node_ctl = node_ctl_close(w->node_ctl);
}

static void world_close(struct world *w) {
    close_services(w);
    (void)meta_free(&w->meta->m);
    (void)fabric_free(w->client);
    (void)fabric_free(w->server);
    fake_run(w->net);
    fake_net_free(w->net);
    arena_done(&w->arena);
}

struct question {
    struct fabric_call call; /* first */
    struct world *w;
    bool done;
    enum rpc_status status;
    struct slice reply;
};
static void on_reply(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply,
                     struct bytes *frame, const struct err *why) {
    struct question *q = (struct question *)(void *)c;

    (void)from;
    (void)frame;
    (void)why;
    q->done = true;
    q->status = s;
    q->reply = arena_copy(&q->w->arena, reply);
}

static void send_bytes(struct world *w, struct question *q, uint16_t service, uint16_t type, struct slice body) {
    struct fabric_message m = {.service = service, .type = type, .head = body};
    struct fabric_dest d = {.address = "fake://n3:1"};

    *q = (struct question){.call = {.done = on_reply}, .w = w};
    fabric_call(w->client, &q->call, &d, LANE_GENERAL, &m, loop_now_ns(w->net->loop) + 60000 * MS);
    fake_run(w->net);
}

static void send_request(struct world *w, struct question *q, uint16_t service, uint16_t type,
                         const struct ctl_request *m) {
    _cleanup_buf_ struct buf b = {0};

    ctl_request_encode(m, &b);
    send_bytes(w, q, service, type, buf_slice(&b));
}

static struct ctl_response take(struct world *w, struct question *q) {
    struct ctl_response r;

    assert_true(q->done);
    assert_int_equal(q->status, RPC_OK);
    assert_int_equal(ctl_response_decode(&r, q->reply, &w->arena, NULL), 0);
    return r;
}

static struct ctl_response ask(struct world *w, uint16_t service, uint16_t type, const struct ctl_request *m) {
    struct question q;

    send_request(w, &q, service, type, m);
    return take(w, &q);
}

static void found(struct world *w) {
    struct ctl_cluster_config c = {.num_partitions = 4};
    struct ctl_request m = {.config = &c};

    assert_int_equal(ask(w, SERVICE_NODE_CTL, NODE_PROVISION, &m).code, 0);
}

static struct logs_config *logs_of(struct world *w) {
    struct logs_config *c;
    struct bytes *b;

    assert_int_equal(meta_get(&w->meta->m, META_KEY_LOGS, NULL, &b), 0);
    assert_int_equal(logs_config_parse(bytes_slice(b), &c, NULL), 0);
    return c;
}

/* ---- NodeCtl ---- */

static void a_node_says_who_it_is_before_it_has_joined(void **state) {
    struct world w;
    struct question q;
    struct ctl_ident i;

    (void)state;
    world_open(&w);
    send_bytes(&w, &q, SERVICE_NODE_CTL, NODE_IDENT, SLICE_NULL);
    assert_true(q.done && q.status == RPC_OK);
    assert_int_equal(ctl_ident_decode(&i, q.reply, &w.arena, NULL), 0);
    assert_int_equal(i.node, 3);
    assert_int_equal(i.generation, 7);
    assert_true(slice_eq_str(i.node_name, "n3"));
    assert_true(slice_eq_str(i.metadata_status, "Member"));
    assert_int_equal(i.nodes_version, 4);
    world_close(&w);
}

static void damaged_and_unknown_requests_are_refused(void **state) {
    static const uint16_t services[] = {SERVICE_NODE_CTL, SERVICE_METADATA_PROXY, SERVICE_CLUSTER_CTRL};
    struct world w;
    struct question q;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
        struct ctl_request m = {.key = SLICE_LIT("k")};

        send_bytes(&w, &q, services[i], 2, SLICE_LIT("\x0a\xff"));
        assert_int_equal(take(&w, &q).code, -RS_EINVAL);
        send_request(&w, &q, services[i], 999, &m);
        assert_true(q.done);
        assert_int_equal(q.status, RPC_MESSAGE_UNRECOGNIZED);
    }
    world_close(&w);
}

static void a_dry_run_shows_what_would_be_provisioned_and_writes_nothing(void **state) {
    struct ctl_cluster_config c = {.log_replication = SLICE_LIT("{node: 2}")};
    struct ctl_request m = {.config = &c, .dry_run = true};
    struct ctl_response r;
    struct world w;

    (void)state;
    world_open(&w);
    r = ask(&w, SERVICE_NODE_CTL, NODE_PROVISION, &m);
    assert_int_equal(r.code, 0);
    assert_non_null(r.config);
    assert_int_equal(r.config->num_partitions, 24); /* the node's own configuration */
    assert_true(slice_eq_str(r.config->log_replication, "{node: 2}"));
    assert_true(slice_eq_str(r.config->partition_replication, "everywhere"));
    assert_int_equal(meta_version(&w.meta->m, META_KEY_NODES), 0);
    world_close(&w);
}

static void a_cluster_is_provisioned_once(void **state) {
    struct ctl_request m = {0};
    struct bytes *b;
    struct partition_table *t;
    struct world w;

    (void)state;
    world_open(&w);
    found(&w);
    assert_int_equal(meta_get(&w.meta->m, META_KEY_PARTITIONS, NULL, &b), 0);
    assert_int_equal(partition_table_parse(bytes_slice(b), &t, NULL), 0);
    assert_int_equal(t->n, 4);
    (void)partition_table_free(t);
    assert_int_equal(ask(&w, SERVICE_NODE_CTL, NODE_PROVISION, &m).code, -RS_EEXIST);
    w.fingerprint = 5; /* a node that joined knows without asking */
    assert_int_equal(ask(&w, SERVICE_NODE_CTL, NODE_PROVISION, &m).code, -RS_EEXIST);
    world_close(&w);
}

/* ---- MetadataProxy ---- */

static void a_value_is_written_only_over_the_version_that_was_read(void **state) {
    struct ctl_request m = {.key = SLICE_LIT("x"), .precondition = PROXY_DOES_NOT_EXIST, .value = SLICE_LIT("{}")};
    struct ctl_response r;
    struct world w;

    (void)state;
    world_open(&w);
    assert_int_equal(ask(&w, SERVICE_METADATA_PROXY, PROXY_GET, &m).version, 0);
    assert_int_equal(ask(&w, SERVICE_METADATA_PROXY, PROXY_PUT, &m).version, 1);
    assert_int_equal(ask(&w, SERVICE_METADATA_PROXY, PROXY_PUT, &m).code, -RS_EEXIST);
    m.precondition = PROXY_MATCHES;
    m.expected = 1;
    m.value = SLICE_LIT("{\"a\":1}");
    assert_int_equal(ask(&w, SERVICE_METADATA_PROXY, PROXY_PUT, &m).version, 2);
    assert_int_equal(ask(&w, SERVICE_METADATA_PROXY, PROXY_PUT, &m).code, -RS_EEXIST);
    r = ask(&w, SERVICE_METADATA_PROXY, PROXY_GET, &m);
    assert_int_equal(r.version, 2);
    assert_true(slice_eq_str(r.value, "{\"a\":1}"));
    m.precondition = PROXY_NONE;
    assert_int_equal(ask(&w, SERVICE_METADATA_PROXY, PROXY_PUT, &m).version, 3);
    r = ask(&w, SERVICE_METADATA_PROXY, PROXY_KEYS, &m);
    assert_int_equal(r.n_keys, 1);
    assert_true(slice_eq_str(r.keys[0], "x"));
    world_close(&w);
}

static void values_that_no_node_could_read_are_refused(void **state) {
    static const struct {
        const char *key, *value;
    } bad[] = {{META_KEY_NODES, "{}"},
               {META_KEY_LOGS, "[1]"},
               {META_KEY_PARTITIONS, "{\"version\":2}"},
               {"pp_epoch_0", "{\"epoch\":\"many\"}"},
               {"pp_epoch_0", "no JSON"},
               {"pp_epoch_0", "{\"version\":5,\"epoch\":1}"}}; /* not the version it would get */
    struct world w;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct ctl_request m = {.key = slice_str(bad[i].key), .value = slice_str(bad[i].value)};
        struct ctl_response r = ask(&w, SERVICE_METADATA_PROXY, PROXY_PUT, &m);

        assert_int_equal(r.code, -RS_EINVAL);
        assert_true(r.message.len > 0);
        assert_int_equal(meta_version(&w.meta->m, bad[i].key), 0);
    }
    world_close(&w);
}

static void without_a_quorum_a_write_is_answered_that_nobody_knows(void **state) {
    struct ctl_request m = {.key = SLICE_LIT("x"), .value = SLICE_LIT("{}")};
    struct question q;
    struct world w;

    (void)state;
    world_open(&w);
    w.meta->stuck = true;
    send_request(&w, &q, SERVICE_METADATA_PROXY, PROXY_PUT, &m);
    assert_false(q.done);
    for (int i = 0; i < 70; i++)
        fake_advance(w.net, 100 * MS);
    assert_int_equal(take(&w, &q).code, -RS_ETIMEDOUT);
    world_close(&w);
}

/* ---- ClusterCtrl ---- */

static void the_configuration_is_changed_where_it_was_asked_to(void **state) {
    struct ctl_cluster_config c = {.log_replication = SLICE_LIT("2")};
    struct ctl_request m = {.config = &c};
    struct logs_config *logs;
    struct partition_table *t;
    struct bytes *b;
    struct world w;

    (void)state;
    world_open(&w);
    found(&w);
    assert_int_equal(ask(&w, SERVICE_CLUSTER_CTRL, CLUSTER_SET_CONFIG, &m).code, 0);
    logs = logs_of(&w);
    assert_int_equal(logs->version, 2);
    assert_int_equal(logs->replication.copies[SCOPE_NODE], 2);
    (void)logs_config_free(logs);
    assert_int_equal(meta_version(&w.meta->m, META_KEY_PARTITIONS), 1);

    c.partition_replication = SLICE_LIT("2");
    m.has_nodeset_size = true;
    m.nodeset_size = 5;
    assert_int_equal(ask(&w, SERVICE_CLUSTER_CTRL, CLUSTER_SET_CONFIG, &m).code, 0);
    logs = logs_of(&w);
    assert_int_equal(logs->target_nodeset_size, 5);
    (void)logs_config_free(logs);
    assert_int_equal(meta_get(&w.meta->m, META_KEY_PARTITIONS, NULL, &b), 0);
    assert_int_equal(partition_table_parse(bytes_slice(b), &t, NULL), 0);
    assert_string_equal(t->replication, "{node: 2}");
    (void)partition_table_free(t);

    assert_int_equal(ask(&w, SERVICE_CLUSTER_CTRL, CLUSTER_SET_CONFIG, &m).code, 0); /* says so already */
    assert_int_equal(meta_version(&w.meta->m, META_KEY_LOGS), 3);
    assert_int_equal(meta_version(&w.meta->m, META_KEY_PARTITIONS), 2);
    world_close(&w);
}

static void impossible_configurations_are_refused(void **state) {
    static const struct {
        struct ctl_cluster_config c;
        uint32_t nodeset;
    } bad[] = {{{.log_replication = {(const uint8_t *)"{node: 0}", 9}}, 0},
               {{.partition_replication = {(const uint8_t *)"many", 4}}, 0},
               {{.num_partitions = 5}, 0},
               {{.num_partitions = 70000}, 0},
               {{.provider = {(const uint8_t *)"local", 5}}, 0},
               {{0}, NODESET_MAX + 1}};
    struct world w;

    (void)state;
    world_open(&w);
    found(&w);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct ctl_cluster_config c = bad[i].c;
        struct ctl_request m = {.config = &c, .nodeset_size = bad[i].nodeset, .has_nodeset_size = bad[i].nodeset != 0};

        assert_int_not_equal(ask(&w, SERVICE_CLUSTER_CTRL, CLUSTER_SET_CONFIG, &m).code, 0);
    }
    assert_int_equal(meta_version(&w.meta->m, META_KEY_LOGS), 1);
    assert_int_equal(meta_version(&w.meta->m, META_KEY_PARTITIONS), 1);
    world_close(&w);
}

static void before_provisioning_there_is_no_configuration_to_change(void **state) {
    struct ctl_cluster_config c = {.log_replication = SLICE_LIT("2")};
    struct ctl_request m = {.config = &c};
    struct world w;

    (void)state;
    world_open(&w);
    assert_int_equal(ask(&w, SERVICE_CLUSTER_CTRL, CLUSTER_SET_CONFIG, &m).code, -RS_ENOENT);
    world_close(&w);
}

static void questions_about_logs_that_do_not_exist_are_refused(void **state) {
    struct ctl_request m = {.log_id = 9};
    struct world w;

    (void)state;
    world_open(&w);
    for (uint16_t type = CLUSTER_FIND_TAIL; type <= CLUSTER_SEAL; type++)
        assert_int_equal(ask(&w, SERVICE_CLUSTER_CTRL, type, &m).code, -RS_ENOENT);
    found(&w);
    for (uint16_t type = CLUSTER_FIND_TAIL; type <= CLUSTER_SEAL; type++)
        assert_int_equal(ask(&w, SERVICE_CLUSTER_CTRL, type, &m).code, -RS_ENOENT);
    assert_int_equal(ask(&w, SERVICE_CLUSTER_CTRL, CLUSTER_SNAPSHOT, &m).code, -RS_EUNSUPPORTED);
    world_close(&w);
}

static void whoever_waits_when_a_node_stops_is_told(void **state) {
    struct ctl_cluster_config c = {.log_replication = SLICE_LIT("2")};
    struct ctl_request set = {.config = &c}, put = {.key = SLICE_LIT("x"), .value = SLICE_LIT("{}")}, provision = {0};
    struct question q[3];
    struct world w;

    (void)state;
    world_open(&w);
    found(&w);
    w.meta->stuck = true;
    send_request(&w, &q[0], SERVICE_CLUSTER_CTRL, CLUSTER_SET_CONFIG, &set);
    send_request(&w, &q[1], SERVICE_METADATA_PROXY, PROXY_PUT, &put);
    send_request(&w, &q[2], SERVICE_NODE_CTL, NODE_PROVISION, &provision);
    close_services(&w);
    fake_run(w.net);
    for (size_t i = 0; i < ARRAY_SIZE(q); i++) {
        assert_true(q[i].done);
        assert_int_equal(q[i].status, RPC_SERVICE_STOPPED);
    }
    fake_meta_go_on(w.meta); /* what still comes in finds nobody */
    fake_run(w.net);
    world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_node_says_who_it_is_before_it_has_joined),
    cmocka_unit_test(damaged_and_unknown_requests_are_refused),
    cmocka_unit_test(a_dry_run_shows_what_would_be_provisioned_and_writes_nothing),
    cmocka_unit_test(a_cluster_is_provisioned_once),
    cmocka_unit_test(a_value_is_written_only_over_the_version_that_was_read),
    cmocka_unit_test(values_that_no_node_could_read_are_refused),
    cmocka_unit_test(without_a_quorum_a_write_is_answered_that_nobody_knows),
    cmocka_unit_test(the_configuration_is_changed_where_it_was_asked_to),
    cmocka_unit_test(impossible_configurations_are_refused),
    cmocka_unit_test(before_provisioning_there_is_no_configuration_to_change),
    cmocka_unit_test(questions_about_logs_that_do_not_exist_are_refused),
    cmocka_unit_test(whoever_waits_when_a_node_stops_is_told),
};
const struct unit_group services_test_group = UNIT_GROUP(tests);
