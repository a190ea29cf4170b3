/* SPDX-License-Identifier: Apache-2.0 */
#include "control/failure_detector.h"
#include "unit.h"

static const struct fd_params params = {.failure_threshold = 10, .suspect_ticks = 50, .lonely_ticks = 30};
static const struct node_id self = {1, 1}, two = {2, 1}, two_again = {2, 2}, three = {3, 1};

static void open_fd(struct failure_detector *fd) {
    struct node_id all[] = {self, two, three};

    fd_init(fd, &params, self, 1000);
    fd_members(fd, all, 3);
}
static void ticks(struct failure_detector *fd, unsigned n, bool hear_two) {
    for (unsigned i = 0; i < n; i++) {
        if (hear_two)
            fd_heard(fd, two, 500, 0, false, true, 1);
        fd_tick(fd);
    }
}

static void first_contact_counts_after_three_ticks(void **state) {
    struct failure_detector fd;

    (void)state;
    open_fd(&fd);
    assert_true(fd_is_alive(&fd, 1));
    assert_false(fd_is_alive(&fd, 2));
    ticks(&fd, 2, true);
    assert_false(fd_is_alive(&fd, 2));
    ticks(&fd, 1, true);
    assert_true(fd_is_alive(&fd, 2));
    assert_false(fd_is_alive(&fd, 3));
}

static void how_long_news_must_come_is_a_parameter(void **state) {
    struct fd_params p = params;
    struct failure_detector fd;

    (void)state;
    p.good_ticks = 5;
    fd_init(&fd, &p, self, 1000);
    fd_members(&fd, &two, 1);
    ticks(&fd, 4, true);
    assert_false(fd_is_alive(&fd, 2));
    ticks(&fd, 1, true);
    assert_true(fd_is_alive(&fd, 2));
}

static void news_from_the_future_are_not_believed(void **state) {
    struct fd_params p = params;
    struct failure_detector fd;

    (void)state;
    open_fd(&fd);
    assert_true(fd_believes(&fd, 500, 3000, 2000));
    assert_false(fd_believes(&fd, 500, 3001, 2000));
    assert_false(fd_believes(&fd, 1500, 1499, 2000));
    p.skew_ms = 10;
    fd_init(&fd, &p, self, 1000);
    assert_true(fd_believes(&fd, 500, 2010, 2000));
    assert_false(fd_believes(&fd, 500, 2011, 2000));
}

static void silence_is_death_and_flapping_waits(void **state) {
    struct failure_detector fd;

    (void)state;
    open_fd(&fd);
    ticks(&fd, 5, true);
    ticks(&fd, 9, false);
    assert_true(fd_is_alive(&fd, 2));
    ticks(&fd, 2, false);
    assert_int_equal(fd_find(&fd, 2)->state, FD_DEAD);
    ticks(&fd, 10, true);
    assert_int_equal(fd_find(&fd, 2)->state, FD_SUSPECT);
    ticks(&fd, 50, true);
    assert_true(fd_is_alive(&fd, 2));
}

static void a_new_generation_is_not_held_to_its_past(void **state) {
    struct failure_detector fd;

    (void)state;
    open_fd(&fd);
    ticks(&fd, 5, true);
    ticks(&fd, 20, false);
    for (int i = 0; i < 3; i++) {
        fd_heard(&fd, two_again, 2000, 0, false, true, 1);
        fd_tick(&fd);
    }
    assert_true(fd_is_alive(&fd, 2));
    fd_heard(&fd, two, 500, 0, true, true, 1); /* its old self is not believed */
    fd_tick(&fd);
    assert_true(fd_is_alive(&fd, 2));
}

static void others_words_keep_a_node_alive_and_goodbyes_count_at_once(void **state) {
    struct failure_detector fd;

    (void)state;
    open_fd(&fd);
    for (int i = 0; i < 20; i++) {
        fd_heard(&fd, three, 300, 2, false, false, 1);
        fd_heard(&fd, two, 500, 0, false, true, 1);
        fd_tick(&fd);
    }
    assert_true(fd_is_alive(&fd, 2));
    fd_heard(&fd, two, 500, 0, true, true, 1);
    fd_tick(&fd);
    assert_int_equal(fd_find(&fd, 2)->state, FD_LEAVING);
    assert_false(fd_is_alive(&fd, 2));
}

static void a_process_known_to_have_ended_is_dead_at_once(void **state) {
    struct failure_detector fd;

    (void)state;
    open_fd(&fd);
    ticks(&fd, 5, true);
    fd_gone(&fd, two_again);
    assert_true(fd_is_alive(&fd, 2));
    fd_gone(&fd, two);
    assert_false(fd_is_alive(&fd, 2));
    for (unsigned i = 0; i < 5; i++) { /* others heard of it a moment ago */
        fd_heard(&fd, two, 500, 0, false, false, 2);
        fd_tick(&fd);
        assert_int_equal(fd_find(&fd, 2)->state, FD_DEAD);
    }
    fd_heard(&fd, two, 500, 0, false, true, 2); /* itself */
    fd_tick(&fd);
    assert_int_equal(fd_find(&fd, 2)->state, FD_SUSPECT);
}

static void who_hears_nothing_is_lonely(void **state) {
    struct failure_detector fd;

    (void)state;
    open_fd(&fd);
    ticks(&fd, 5, true);
    assert_false(fd_is_lonely(&fd));
    ticks(&fd, 31, false);
    assert_true(fd_is_lonely(&fd));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(first_contact_counts_after_three_ticks),
    cmocka_unit_test(how_long_news_must_come_is_a_parameter),
    cmocka_unit_test(news_from_the_future_are_not_believed),
    cmocka_unit_test(silence_is_death_and_flapping_waits),
    cmocka_unit_test(a_new_generation_is_not_held_to_its_past),
    cmocka_unit_test(others_words_keep_a_node_alive_and_goodbyes_count_at_once),
    cmocka_unit_test(a_process_known_to_have_ended_is_dead_at_once),
    cmocka_unit_test(who_hears_nothing_is_lonely),
};
const struct unit_group failure_detector_test_group = UNIT_GROUP(tests);
