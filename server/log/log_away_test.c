/* SPDX-License-Identifier: Apache-2.0 */
/* Three log-servers, replication 2: members that are away, and readers that miss the news. */
#include "log/trio.h"

static bool not_two(void *arg, uint32_t node) {
    return node != 2;
}

static void a_member_that_is_away_is_asked_seldom_and_gets_what_it_missed_when_it_is_needed(void **state) {
    struct trio *t = trio_leading(9);

    t->down[2] = true;
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(trio_append(t, 1), 0);
        node_pass(t->n, 1000000u);
    }
    assert_int_equal(t->next, 501);
    assert_in_range(t->stores[2], 1, 100);
    t->down[3] = true; /* nobody but the one that is away can help */
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(trio_append(t, 1), 0);
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->next, 501);
    t->down[2] = false;
    node_pass(t->n, 300000000u); /* one probe, then all at once */
    trio_expect_all(t);
    assert_int_equal(t->next, 701);
    trio_free(t);
}

static void a_member_said_to_be_dead_delays_neither_stores_nor_a_new_leader(void **state) {
    struct trio *t = trio_leading(10);

    t->hangs[2] = true;
    log_node_set_alive(t->layer, not_two, NULL);
    t->stores[2] = 0;
    assert_int_equal(trio_append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(t->next, 6);
    assert_int_equal(t->stores[2], 0);
    t->lose_stores = 500000; /* on one of the two: the next leader has something to repair */
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(trio_append(t, 2), 0);
        node_settle(t->n);
    }
    t->lose_stores = 0;
    trio_follow(t);
    log_node_set_alive(t->layer, not_two, NULL);
    log_lead(t->log, t->epoch, trio_on_led, t);
    node_settle(t->n); /* no time passes */
    assert_int_equal(t->led, 1);
    assert_int_equal(t->led_status, 0);
    assert_true(t->next > 6);
    trio_free(t);
}

static void a_reader_closes_a_segment_whose_leader_died_while_somebody_sealed_it(void **state) {
    struct trio *t = trio_leading(11);
    struct logs_config *c;

    assert_int_equal(trio_append(t, 3), 0);
    node_settle(t->n);
    assert_int_equal(trio_append(t, 4), 0);
    while (t->next < 8)
        assert_true(node_step(t->n)); /* acknowledged; the log-servers were not told of it yet */
    trio_stranger_seals(t, 3);
    trio_follow(t);
    node_pass(t->n, 1000000000u);
    assert_true(t->next < 8);
    node_pass(t->n, 10000000000u);
    assert_int_equal(t->next, 8);
    assert_int_equal(chain_tail(trio_chain(t, 0, &c))->kind, SEGMENT_SEALED);
    logs_config_free(c);
    log_lead(t->log, t->epoch, trio_on_led, t);
    node_settle(t->n);
    t->number = 8;
    assert_int_equal(trio_append(t, 2), 0);
    node_settle(t->n);
    trio_expect_all(t);
    trio_free(t);
}

static void a_reader_hears_of_the_tail_although_its_log_server_missed_the_news(void **state) {
    struct trio *t = trio_leading(14);
    struct log_node_params p = {.loop = t->n->loop, .meta = t->n->meta, .peers = &t->peers, .self = {3, 1}};
    struct log_node *other;
    struct log_reader *reader;
    struct trio seen = {.next = 1, .committed = t->committed};
    struct log *log;

    assert_int_equal(trio_append(t, 3), 0);
    node_pass(t->n, 100000000u);
    t->down[3] = true;
    assert_int_equal(trio_append(t, 4), 0);
    node_pass(t->n, 100000000u);
    assert_int_equal(t->next, 8);
    t->down[3] = false;
    p.server = t->servers[3];
    assert_int_equal(log_node_open(&p, &other, NULL), 0);
    log = log_open(other, 0, &trio_log_events, t);
    reader = log_read(log, 1, &trio_reader_events, &seen);
    node_pass(t->n, 100000000u);
    assert_int_equal(seen.next, 4); /* all that its own log-server knows of */
    node_pass(t->n, 3000000000u);
    assert_int_equal(seen.next, 8);
    (void)log_reader_close(reader);
    (void)log_node_close(other);
    trio_free(t);
}

static void on_trimmed(void *arg, int status, const struct err *err) {
    *(int *)arg = status;
}

static bool not_lost(void *arg, uint32_t node) {
    return node != *(uint32_t *)arg;
}

static void history_on_a_lost_node_leaves_the_chain_by_trimming_and_delays_nobody(void **state) {
    struct trio *t = trio_new(13);
    struct logs_config *c;
    const struct chain *ch;
    uint32_t lost;
    int trimmed = 1;

    trio_set_replication(t, 1);
    node_settle(t->n);
    trio_life(t);
    node_settle(t->n);
    assert_int_equal(trio_append(t, 5), 0);
    node_settle(t->n);
    lost = chain_tail(trio_chain(t, 0, &c))->params.nodes[0];
    logs_config_free(c);
    trio_set_replication(t, 2);
    node_pass(t->n, 2000000000u);
    assert_int_equal(trio_append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(t->next, 11);
    t->down[lost] = true; /* for good */
    trio_follow(t);
    log_node_set_alive(t->layer, not_lost, &lost);
    assert_false(log_readable(t->log, 5));
    assert_true(log_readable(t->log, 6));
    (void)log_reader_close(t->reader);
    t->next = 6; /* a follower that applied what it held */
    t->reader = log_read(t->log, 6, &trio_reader_events, t);
    log_lead(t->log, t->epoch, trio_on_led, t);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->led_status, 0);
    assert_int_equal(trio_append(t, 5), 0);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->next, 16);
    log_trim(t->log, 8, on_trimmed, &trimmed);
    node_pass(t->n, 1000000000u);
    assert_int_equal(trimmed, 0);
    ch = trio_chain(t, 0, &c);
    assert_int_equal(ch->segments[0].base, 6);
    logs_config_free(c);
    trio_free(t);
}

/* It forgets what it only heard: how far the log is committed. */
static void restart_server(struct trio *t, uint32_t node) {
    struct log_server_params p = {.loop = t->n->loop, .pool = &t->n->exec, .node_id = node, .store = t->disks[node]};
    bool closed = false;

    log_server_close(t->servers[node], node_server_closed, &closed);
    node_settle(t->n);
    assert_true(closed);
    assert_int_equal(log_server_open(&p, &t->servers[node], NULL), 0);
}

static void what_one_member_trimmed_is_not_missed_on_another_when_the_third_lost_it(void **state) {
    struct trio *t = trio_leading(14);
    int trimmed = 1;

    assert_int_equal(trio_append(t, 5), 0);
    node_settle(t->n);
    t->down[1] = true;
    assert_int_equal(trio_append(t, 3), 0);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->next, 9);
    log_trim(t->log, 8, on_trimmed, &trimmed);
    node_pass(t->n, 1000000000u);
    assert_int_equal(trimmed, 0);
    t->layer = log_node_close(t->layer);
    node_settle(t->n);
    restart_server(t, 3);
    t->down[1] = false; /* it has 1 to 5 still; nobody has 6 to 8 */
    t->down[2] = true;
    trio_set_storage(t, 2, STORAGE_DATA_LOSS);
    trio_follow(t);
    (void)log_reader_close(t->reader);
    t->next = 9;
    t->reader = log_read(t->log, 9, &trio_reader_events, t);
    log_lead(t->log, t->epoch, trio_on_led, t);
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->led, 1);
    assert_int_equal(t->led_status, 0);
    assert_int_equal(trio_append(t, 2), 0);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->next, 11);
    trio_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_member_that_is_away_is_asked_seldom_and_gets_what_it_missed_when_it_is_needed),
    cmocka_unit_test(a_member_said_to_be_dead_delays_neither_stores_nor_a_new_leader),
    cmocka_unit_test(a_reader_closes_a_segment_whose_leader_died_while_somebody_sealed_it),
    cmocka_unit_test(a_reader_hears_of_the_tail_although_its_log_server_missed_the_news),
    cmocka_unit_test(history_on_a_lost_node_leaves_the_chain_by_trimming_and_delays_nobody),
    cmocka_unit_test(what_one_member_trimmed_is_not_missed_on_another_when_the_third_lost_it),
};
const struct unit_group log_away_test_group = UNIT_GROUP(tests);
