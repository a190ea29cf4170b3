/* SPDX-License-Identifier: Apache-2.0 */
/* Who controls a cluster of two, as node 1 sees it. Its partition has no replicas: whoever controls places it. */
#include "control/control.h"

#include "meta/nodes_config.h"
#include "meta/partition_table.h"
#include "proto/control.gen.h"
#include "worker/worker_rig.h"

enum { GOSSIP = 1, SETTLE_MS = 1000, LONG_MS = 2000 };

struct world {
    struct rig r;
    struct nodes_config nodes;
    struct control *control;
};

static const struct nodes_config *nodes(void *arg) {
    return &((struct world *)arg)->nodes;
}

static void open_world(struct world *w) {
    struct control_params p;

    *w = (struct world){.nodes = {.version = 1}};
    for (uint32_t id = 1; id <= 2; id++) {
        struct node_entry *n = nodes_config_add(&w->nodes, id);

        n->id.generation = 1;
        n->roles = ROLE_ALL;
        n->worker_state = WORKER_ACTIVE;
    }
    rig_init(&w->r);
    rig_cluster(&w->r);
    rig_open(&w->r);
    p = (struct control_params){.loop = w->r.net->loop,
                                .fabric = w->r.fabric,
                                .meta = &w->r.meta->m,
                                .worker = w->r.worker,
                                .nodes = nodes,
                                .arg = w,
                                .self = RIG_SELF};
    w->control = control_open(&p);
}

/* From now on there is something to decide. */
static void publish_partitions(struct world *w) {
    struct partition_table *table = partition_table_new(1, NULL);
    struct buf out = {0};
    struct bytes *value;

    partition_table_encode(table, &out);
    value = bytes_take_buf(&out);
    meta_publish(&w->r.meta->m, META_KEY_PARTITIONS, 1, value);
    (void)bytes_unref(value);
    (void)partition_table_free(table);
}

static void close_world(struct world *w) {
    w->control = control_close(w->control);
    rig_close(&w->r);
    free(w->nodes.nodes);
}

static uint64_t now_ms(const struct world *w) {
    return loop_wall_ns(w->r.net->loop) / 1000000;
}

/* Node 2 is heard; it has run since @started_ms. */
static void peer_says(struct world *w, uint64_t started_ms) {
    struct ctl_gossip m = {.started = started_ms, .sent_at = now_ms(w)};
    struct fabric_message msg = {.service = SERVICE_GOSSIP, .type = GOSSIP};
    struct fabric_dest d = {.node = {.id = 1}};
    _cleanup_buf_ struct buf body = {0};

    ctl_gossip_encode(&m, &body);
    msg.head = buf_slice(&body);
    fabric_send(w->r.peer, &d, LANE_GOSSIP, &msg);
    rig_run(&w->r);
}
static void peer_says_for(struct world *w, uint64_t started_ms, uint64_t ms) {
    for (uint64_t i = 0; i < ms; i += 100) {
        peer_says(w, started_ms);
        rig_pass(&w->r, 100);
    }
}

static bool controls(struct world *w) {
    struct epoch_metadata e;

    return epoch_metadata_get(&w->r.meta->m, 0, &e, NULL) == 0;
}

static void a_node_that_just_started_waits_for_news_before_it_controls(void **state) {
    struct world w;

    open_world(&w);
    publish_partitions(&w);
    rig_pass(&w.r, SETTLE_MS - 150);
    assert_int_equal(control_leader(w.control), 1);
    assert_false(controls(&w));
    rig_pass(&w.r, 300); /* nobody else is there */
    assert_true(controls(&w));
    close_world(&w);
}

static void nobody_waits_when_everybody_is_heard(void **state) {
    struct world w;

    open_world(&w);
    publish_partitions(&w);
    peer_says_for(&w, now_ms(&w), SETTLE_MS / 2);
    assert_int_equal(control_leader(w.control), 1);
    assert_true(controls(&w));
    close_world(&w);
}

static void the_one_that_has_run_for_long_controls(void **state) {
    struct world w;
    uint64_t started;

    open_world(&w);
    publish_partitions(&w);
    started = now_ms(&w) - LONG_MS;
    peer_says_for(&w, started, LONG_MS - 200);
    assert_int_equal(control_leader(w.control), 2);
    assert_false(controls(&w));
    peer_says_for(&w, started, 400); /* by now both have */
    assert_int_equal(control_leader(w.control), 1);
    assert_true(controls(&w));
    close_world(&w);
}

static void a_node_that_is_cut_off_decides_nothing(void **state) {
    struct world w;

    open_world(&w);
    rig_pass(&w.r, 60000);
    assert_true(control_lonely(w.control));
    publish_partitions(&w);
    rig_pass(&w.r, 5000);
    assert_false(controls(&w));
    peer_says_for(&w, now_ms(&w), 200);
    assert_true(controls(&w));
    close_world(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_node_that_just_started_waits_for_news_before_it_controls),
    cmocka_unit_test(nobody_waits_when_everybody_is_heard),
    cmocka_unit_test(the_one_that_has_run_for_long_controls),
    cmocka_unit_test(a_node_that_is_cut_off_decides_nothing),
};
const struct unit_group control_test_group = UNIT_GROUP(tests);
