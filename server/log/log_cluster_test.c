/* SPDX-License-Identifier: Apache-2.0 */
/* Three log-servers, replication 2: recovery and repair, and a reign that goes through several segments. */
#include "log/trio.h"

static void one_dead_member_is_tolerated_two_stall_until_one_is_back(void **state) {
    struct trio *t = trio_leading(31);

    assert_int_equal(t->led_status, 0);
    t->down[2] = true;
    assert_int_equal(trio_append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(t->next, 6);
    t->down[3] = true;
    assert_int_equal(trio_append(t, 5), 0);
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->next, 6); /* a stall, not a loss */
    t->down[2] = false;
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->next, 11);
    trio_free(t);
}

static void a_new_leader_keeps_what_was_acknowledged_with_one_member_dead(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct trio *t = trio_new(seed);

        for (int round = 0; round < 6; round++) {
            uint64_t steps = node_draw(t->n) % 100;
            lsn_t end = 1;

            memset(t->down, 0, sizeof t->down);
            t->lose_stores = node_draw(t->n) % 2 ? 0 : 300000;
            trio_life(t);
            node_pass(t->n, 3000000000u);
            assert_int_equal(t->led, 1);
            assert_int_equal(t->led_status, 0);
            if (node_draw(t->n) % 2)
                t->down[1 + node_draw(t->n) % 3] = true;
            for (uint64_t i = 0; i < steps; i++) {
                if (node_draw(t->n) % 3 == 0)
                    (void)trio_append(t, 1 + node_draw(t->n) % 4);
                (void)node_step(t->n);
                if (node_draw(t->n) % 8 == 0)
                    node_pass(t->n, 12000000u); /* lost stores are sent again */
            }
            /* The leader dies. Another member may be the one that is away now. */
            memset(t->down, 0, sizeof t->down);
            t->lose_stores = 0;
            if (node_draw(t->n) % 3)
                t->down[1 + node_draw(t->n) % 3] = true;
            trio_life(t);
            node_pass(t->n, 5000000000u);
            assert_int_equal(t->led, 1);
            assert_int_equal(t->led_status, 0);
            assert_int_equal(trio_append(t, 2), 0);
            node_pass(t->n, 5000000000u);
            while (t->committed[end])
                end++;
            assert_int_equal(t->next, end); /* everything anybody ever got is there, and my own two */
            for (lsn_t i = 2; i < end; i++)
                assert_true(t->committed[i] > t->committed[i - 1]);
        }
        trio_free(t);
    }
}

/* ---- a reign goes through several segments ---- */

static void records_in_flight_move_along_when_somebody_seals_the_segment_of_a_reigning_leader(void **state) {
    struct trio *t = trio_leading(5);
    struct logs_config *c;

    assert_int_equal(trio_append(t, 3), 0);
    node_settle(t->n);
    t->lose_stores = 1000000; /* these reach nobody */
    assert_int_equal(trio_append(t, 4), 0);
    assert_int_equal(trio_append(t, 2), 0);
    node_settle(t->n);
    trio_stranger_seals(t, 3);
    node_settle(t->n);
    t->lose_stores = 0;
    node_pass(t->n, 20000000u); /* sent again: now the leader learns of the seal */
    assert_int_equal(trio_append(t, 1), RS_EAGAIN);
    assert_true(log_is_leading(t->log));
    assert_int_equal(t->next, 4);
    node_pass(t->n, 1000000000u);
    assert_int_equal(trio_append(t, 1), 0);
    node_settle(t->n);
    assert_int_equal(trio_chain(t, 0, &c)->n, 2);
    logs_config_free(c);
    assert_int_equal(t->next, 11);
    trio_expect_all(t);
    trio_free(t);
}

static void a_changed_replication_takes_effect_under_a_leader_that_goes_on_appending(void **state) {
    struct trio *t = trio_new(6);
    uint32_t nodes;

    trio_set_replication(t, 1);
    node_settle(t->n);
    trio_life(t);
    node_settle(t->n);
    assert_int_equal(trio_append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(trio_tail_copies(t, 0, &nodes), 1);
    assert_int_equal(nodes, 1);
    assert_int_equal(trio_append(t, 5), 0);
    trio_set_replication(t, 2);
    for (unsigned i = 0; i < 400; i++) {
        (void)trio_append(t, 1);
        (void)node_step(t->n);
        if (i % 4 == 0)
            node_pass(t->n, 5000000u);
    }
    node_pass(t->n, 2000000000u);
    assert_int_equal(trio_tail_copies(t, 0, &nodes), 2);
    assert_int_equal(nodes, 3);
    trio_expect_all(t);
    trio_free(t);
}

static void logs_are_improved_a_third_of_them_at_a_time_and_then_left_alone(void **state) {
    struct trio *t = trio_new(7);
    struct log *more[8];
    unsigned moved[3];
    struct logs_config *c;

    trio_set_replication(t, 1);
    node_settle(t->n);
    trio_life(t);
    for (log_id_t i = 0; i < 8; i++) {
        more[i] = log_open(t->layer, 1 + i, &trio_log_events, t);
        log_lead(more[i], t->epoch, trio_on_led, t);
    }
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->led, 9);
    trio_set_replication(t, 2);
    for (unsigned round = 0; round < 3; round++) {
        moved[round] = 0;
        node_pass(t->n, round ? 1300000000u : 1000000u);
        for (log_id_t i = 0; i < 9; i++)
            moved[round] += trio_tail_copies(t, i, NULL) == 2;
    }
    assert_int_equal(moved[0], 3);
    assert_int_equal(moved[1], 6);
    assert_int_equal(moved[2], 9);
    (void)trio_chain(t, 4, &c);
    node_pass(t->n, 20000000000u);
    assert_int_equal(meta_version(t->n->meta, META_KEY_LOGS), c->version);
    logs_config_free(c);
    assert_int_equal(t->ended, 0);
    trio_free(t);
}

static void a_segment_leaves_the_member_that_lost_its_records(void **state) {
    struct trio *t = trio_leading(9);
    struct logs_config *c;
    uint32_t nodes;

    assert_int_equal(trio_append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(trio_tail_copies(t, 0, &nodes), 2);
    assert_int_equal(nodes, 3);
    trio_set_storage(t, 3, STORAGE_DATA_LOSS);
    node_pass(t->n, 2000000000u);
    assert_int_equal(trio_tail_copies(t, 0, &nodes), 2);
    assert_int_equal(nodes, 2);
    assert_int_equal(trio_append(t, 5), 0);
    (void)trio_chain(t, 0, &c);
    node_pass(t->n, 20000000000u);
    assert_int_equal(meta_version(t->n->meta, META_KEY_LOGS), c->version);
    logs_config_free(c);
    trio_expect_all(t);
    trio_set_storage(t, 3, STORAGE_READ_WRITE);
    node_pass(t->n, 2000000000u);
    (void)trio_tail_copies(t, 0, &nodes);
    assert_int_equal(nodes, 3);
    trio_free(t);
}

static bool only_one(void *arg, uint32_t node) {
    return node == 1;
}
static void a_segment_is_not_left_while_those_alive_could_not_carry_the_next(void **state) {
    struct trio *t = trio_new(8);

    trio_set_replication(t, 1);
    node_settle(t->n);
    trio_life(t);
    node_settle(t->n);
    log_node_set_alive(t->layer, only_one, NULL);
    trio_set_replication(t, 2);
    node_pass(t->n, 5000000000u);
    assert_int_equal(trio_tail_copies(t, 0, NULL), 1);
    log_node_set_alive(t->layer, NULL, NULL);
    node_pass(t->n, 2000000000u);
    assert_int_equal(trio_tail_copies(t, 0, NULL), 2);
    trio_free(t);
}

static void a_reign_survives_seals_lost_stores_and_changed_replication_without_losing_or_doubling(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct trio *t = trio_new(seed);
        uint32_t copies = 2;

        trio_life(t);
        node_pass(t->n, 1000000000u);
        for (unsigned i = 0; i < 500; i++) {
            t->lose_stores = node_draw(t->n) % 3 ? 0 : 400000;
            memset(t->down, 0, sizeof t->down);
            if (copies == 2 && node_draw(t->n) % 3 == 0)
                t->down[1 + node_draw(t->n) % 3] = true;
            (void)trio_append(t, 1 + node_draw(t->n) % 5);
            for (uint64_t k = node_draw(t->n) % 12; k; k--)
                (void)node_step(t->n);
            if (node_draw(t->n) % 60 == 0)
                trio_stranger_seals(t, 1 + (unsigned)(node_draw(t->n) % 3));
            if (node_draw(t->n) % 100 == 0)
                trio_set_replication(t, (uint8_t)(copies = 1 + (uint32_t)(node_draw(t->n) % 3)));
            if (node_draw(t->n) % 10 == 0)
                node_pass(t->n, 100000000u);
        }
        t->lose_stores = 0;
        memset(t->down, 0, sizeof t->down);
        node_pass(t->n, 10000000000u);
        trio_expect_all(t);
        trio_free(t);
    }
}

struct asked {
    int called, status;
    lsn_t tail;
};
static void on_sealed(void *arg, int status, lsn_t tail, const struct err *err) {
    struct asked *a = arg;

    a->called++;
    a->status = status;
    a->tail = tail;
}

static void an_operator_seals_a_log_and_its_leader_opens_it_again_unless_it_is_for_good(void **state) {
    struct trio *t = trio_new(12);
    struct asked a = {0};

    trio_follow(t);
    log_seal(t->log, false, NULL, on_sealed, &a);
    assert_int_equal(a.called, 0);
    node_settle(t->n);
    assert_int_equal(a.called, 1);
    assert_int_equal(a.status, RS_ENOENT);
    log_lead(t->log, t->epoch, trio_on_led, t);
    node_settle(t->n);
    assert_int_equal(trio_append(t, 3), 0);
    node_settle(t->n);
    log_seal(t->log, false, "maintenance", on_sealed, &a);
    node_pass(t->n, 1000000000u);
    assert_int_equal(a.status, 0);
    assert_int_equal(a.tail, 4);
    assert_int_equal(trio_append(t, 3), 0);
    node_settle(t->n);
    trio_expect_all(t);
    log_seal(t->log, true, NULL, on_sealed, &a);
    node_pass(t->n, 1000000000u);
    assert_int_equal(a.called, 3);
    assert_int_equal(a.tail, 7);
    assert_int_equal(t->ended, 1);
    assert_false(log_is_leading(t->log));
    trio_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_dead_member_is_tolerated_two_stall_until_one_is_back),
    cmocka_unit_test(a_new_leader_keeps_what_was_acknowledged_with_one_member_dead),
    cmocka_unit_test(records_in_flight_move_along_when_somebody_seals_the_segment_of_a_reigning_leader),
    cmocka_unit_test(a_changed_replication_takes_effect_under_a_leader_that_goes_on_appending),
    cmocka_unit_test(logs_are_improved_a_third_of_them_at_a_time_and_then_left_alone),
    cmocka_unit_test(a_segment_leaves_the_member_that_lost_its_records),
    cmocka_unit_test(a_segment_is_not_left_while_those_alive_could_not_carry_the_next),
    cmocka_unit_test(a_reign_survives_seals_lost_stores_and_changed_replication_without_losing_or_doubling),
    cmocka_unit_test(an_operator_seals_a_log_and_its_leader_opens_it_again_unless_it_is_for_good),
};
const struct unit_group log_cluster_test_group = UNIT_GROUP(tests);
