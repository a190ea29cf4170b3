/* SPDX-License-Identifier: Apache-2.0 */
#include "control/scheduler.h"
#include "unit.h"

#include <string.h>

#define N 6
struct world {
    struct sched_node nodes[N];
    struct sched_replica replicas[N];
    struct epoch_metadata epoch;
    struct sched_input in;
};

static void world_init(struct world *w, size_t n, unsigned copies) {
    memset(w, 0, sizeof *w);
    for (size_t i = 0; i < n; i++)
        w->nodes[i] = (struct sched_node){.id = (uint32_t)i + 1, .worker = true, .may_keep = true, .alive = true};
    w->in = (struct sched_input){.partition = 3,
                                 .nodes = w->nodes,
                                 .n_nodes = n,
                                 .everywhere = copies == 0,
                                 .replication = {{(uint8_t)(copies ? copies : 1), 0, 0}},
                                 .epoch = &w->epoch,
                                 .replicas = w->replicas};
}

static void place(struct world *w, uint32_t a, uint32_t b, uint32_t c) {
    uint32_t all[] = {a, b, c};

    replica_set_propose(&w->epoch, all, c ? 3 : b ? 2 : 1, 1);
}

static void report(struct world *w, uint32_t node, enum sched_mode mode, bool caught_up) {
    w->replicas[w->in.n_replicas++] = (struct sched_replica){node, mode, caught_up};
}

static struct sched_decision decide(struct world *w) {
    struct sched_decision d;

    scheduler_decide(&w->in, &d);
    return d;
}

static void a_partition_without_a_set_gets_one_of_living_workers(void **state) {
    struct world w;
    struct sched_decision d;

    (void)state;
    world_init(&w, 4, 2);
    w.nodes[0].alive = false;
    w.nodes[2].worker = w.nodes[2].may_keep = false;
    d = decide(&w);
    assert_int_equal(d.placement, SCHED_PLACE);
    assert_int_equal(d.n, 2);
    for (uint32_t i = 0; i < d.n; i++)
        assert_true(d.nodes[i] == 2 || d.nodes[i] == 4);
    assert_int_equal(d.leader, 0);
}

static void the_leader_is_alive_and_caught_up_and_stays_on_ties(void **state) {
    struct world w;
    struct sched_decision d;

    (void)state;
    world_init(&w, 3, 3);
    place(&w, 1, 2, 3);
    report(&w, 1, SCHED_FOLLOWER, true);
    report(&w, 2, SCHED_FOLLOWER, false);
    report(&w, 3, SCHED_LEADER, true);
    w.in.target = 3;
    d = decide(&w);
    assert_int_equal(d.leader, 3);
    assert_false(d.ask);
    assert_int_equal(d.placement, SCHED_KEEP);
    w.nodes[2].alive = false;
    d = decide(&w);
    assert_int_equal(d.leader, 1); /* caught up beats alive */
    assert_true(d.ask);
    w.nodes[0].alive = false;
    assert_int_equal(decide(&w).leader, 2);
    w.nodes[1].alive = false;
    assert_int_equal(decide(&w).leader, 0);
}

static void who_was_away_a_moment_ago_leads_where_nobody_else_can(void **state) {
    struct world w;

    (void)state;
    world_init(&w, 3, 2);
    place(&w, 1, 2, 0);
    report(&w, 1, SCHED_FOLLOWER, true);
    report(&w, 2, SCHED_LEADER, true);
    w.in.target = 2;
    w.nodes[0].alive = false;
    w.nodes[0].suspect = true;
    assert_int_equal(decide(&w).leader, 2);
    w.nodes[1].alive = false;
    assert_int_equal(decide(&w).leader, 1);
    assert_true(decide(&w).ask);
    w.nodes[1].alive = true; /* one that is trusted is preferred */
    assert_int_equal(decide(&w).leader, 2);
}

static void a_leader_that_was_away_and_was_not_deposed_stays(void **state) {
    struct world w;

    (void)state;
    world_init(&w, 3, 2);
    place(&w, 1, 2, 0);
    report(&w, 1, SCHED_LEADER, true);
    report(&w, 2, SCHED_FOLLOWER, true);
    w.in.target = 1;
    w.nodes[0].alive = false;
    w.nodes[0].suspect = true;
    assert_int_equal(decide(&w).leader, 1);
    assert_false(decide(&w).ask);
    w.in.target = 2; /* there is a newer one */
    assert_int_equal(decide(&w).leader, 2);
}

static void affinity_moves_the_leader_only_to_one_that_caught_up(void **state) {
    struct world w;

    (void)state;
    world_init(&w, 3, 3);
    place(&w, 1, 2, 3);
    report(&w, 1, SCHED_LEADER, true);
    report(&w, 2, SCHED_FOLLOWER, false);
    w.in.target = 1;
    w.epoch.affinity = 2;
    assert_int_equal(decide(&w).leader, 1);
    w.replicas[1].caught_up = true;
    assert_int_equal(decide(&w).leader, 2);
    w.epoch.leadership_frozen = true;
    assert_int_equal(decide(&w).leader, 1);
}

static void a_dead_member_is_replaced_only_after_it_was_given_up(void **state) {
    struct world w;
    struct sched_decision d;

    (void)state;
    world_init(&w, 4, 3);
    place(&w, 1, 2, 3);
    w.nodes[1].alive = false;
    assert_int_equal(decide(&w).placement, SCHED_KEEP);
    w.nodes[1].given_up = true;
    d = decide(&w);
    assert_int_equal(d.placement, SCHED_PLACE);
    assert_int_equal(d.n, 3);
    for (uint32_t i = 0; i < d.n; i++)
        assert_true(d.nodes[i] != 2);
    w.epoch.placement_frozen = true;
    assert_int_equal(decide(&w).placement, SCHED_KEEP);
}

static void everywhere_grows_to_three_and_keeps_a_dead_member_that_nobody_replaces(void **state) {
    struct world w;
    struct sched_decision d;

    (void)state;
    world_init(&w, 3, 0);
    place(&w, 1, 0, 0);
    d = decide(&w);
    assert_int_equal(d.placement, SCHED_PLACE);
    assert_int_equal(d.n, 3);
    replica_set_propose(&w.epoch, d.nodes, d.n, 2);
    assert_int_equal(decide(&w).placement, SCHED_KEEP); /* nobody of next is caught up */
    report(&w, 1, SCHED_LEADER, true);
    assert_int_equal(decide(&w).placement, SCHED_COMPLETE);
    replica_set_complete(&w.epoch);
    w.nodes[2].alive = false;
    w.nodes[2].given_up = true;
    assert_int_equal(decide(&w).placement, SCHED_KEEP);
}

static void a_fourth_worker_takes_a_dead_ones_place_under_everywhere(void **state) {
    struct world w;
    struct sched_decision d;

    (void)state;
    world_init(&w, 4, 0);
    place(&w, 1, 2, 3);
    assert_int_equal(decide(&w).placement, SCHED_KEEP);
    w.nodes[0].alive = false;
    w.nodes[0].given_up = true;
    d = decide(&w);
    assert_int_equal(d.placement, SCHED_PLACE);
    assert_int_equal(d.n, 3);
}

static void sets_shrink_when_the_replication_does(void **state) {
    struct world w;
    struct sched_decision d;

    (void)state;
    world_init(&w, 3, 2);
    place(&w, 1, 2, 3);
    d = decide(&w);
    assert_int_equal(d.placement, SCHED_PLACE);
    assert_int_equal(d.n, 2);
}

static void copies_spread_over_zones(void **state) {
    struct world w;

    (void)state;
    for (partition_id_t p = 0; p < 50; p++) {
        struct sched_decision d;

        world_init(&w, 6, 3);
        w.in.partition = p;
        w.in.replication.copies[SCOPE_ZONE] = 2;
        for (size_t i = 0; i < 6; i++)
            w.nodes[i].zone = (uint16_t)(i / 3);
        d = decide(&w);
        assert_int_equal(d.n, 3);
        assert_true(w.nodes[d.nodes[0] - 1].zone != w.nodes[d.nodes[1] - 1].zone);
    }
}

static void a_draining_member_leaves_when_another_worker_can_take_its_place(void **state) {
    struct world w;
    struct sched_decision d;

    (void)state;
    for (unsigned copies = 0; copies <= 2; copies += 2) { /* `*` among three, and two of three */
        world_init(&w, 3, copies);
        if (copies)
            place(&w, 2, 3, 0);
        else
            place(&w, 1, 2, 3);
        assert_int_equal(decide(&w).placement, SCHED_KEEP);
        w.nodes[2].worker = false;
        d = decide(&w);
        assert_int_equal(d.placement, SCHED_PLACE);
        assert_int_equal(d.n, 2);
        for (uint32_t i = 0; i < d.n; i++)
            assert_int_not_equal(d.nodes[i], 3);
    }
}

static void a_draining_member_stays_where_nobody_can_take_its_place(void **state) {
    struct world w;

    (void)state;
    world_init(&w, 2, 2);
    place(&w, 1, 2, 0);
    w.nodes[1].worker = false;
    assert_int_equal(decide(&w).placement, SCHED_KEEP);
    w.nodes[0].worker = false;
    assert_int_equal(decide(&w).placement, SCHED_KEEP);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_draining_member_leaves_when_another_worker_can_take_its_place),
    cmocka_unit_test(a_draining_member_stays_where_nobody_can_take_its_place),
    cmocka_unit_test(a_partition_without_a_set_gets_one_of_living_workers),
    cmocka_unit_test(the_leader_is_alive_and_caught_up_and_stays_on_ties),
    cmocka_unit_test(who_was_away_a_moment_ago_leads_where_nobody_else_can),
    cmocka_unit_test(a_leader_that_was_away_and_was_not_deposed_stays),
    cmocka_unit_test(affinity_moves_the_leader_only_to_one_that_caught_up),
    cmocka_unit_test(a_dead_member_is_replaced_only_after_it_was_given_up),
    cmocka_unit_test(everywhere_grows_to_three_and_keeps_a_dead_member_that_nobody_replaces),
    cmocka_unit_test(a_fourth_worker_takes_a_dead_ones_place_under_everywhere),
    cmocka_unit_test(sets_shrink_when_the_replication_does),
    cmocka_unit_test(copies_spread_over_zones),
};
const struct unit_group scheduler_test_group = UNIT_GROUP(tests);
