/* SPDX-License-Identifier: Apache-2.0 */
/* Single steps of the Raft core; what it does as a group is in raft_sim_test.c. */
#include "meta/raft.h"
#include "unit.h"

static const struct raft_member a = {1, 10}, b = {2, 20}, c = {3, 30};

/* Member a of {a, b, c}, up to entry 5 of term 2, which it has from a snapshot. */
static struct raft *member(void) {
    struct raft_snapshot s = {.index = 5, .term = 2, .config = {.version = 1, .n = 3, .voters = {a, b, c}}};
    struct raft_params p = {.self = a,
                            .election_ticks = 10,
                            .heartbeat_ticks = 2,
                            .seed = 7,
                            .hard = {.term = 2, .commit = 5},
                            .snapshot = &s,
                            .applied = 5};
    struct raft *r;

    s.data = bytes_copy(SLICE_LIT("x"));
    assert_int_equal(raft_new(&p, &r, NULL), 0);
    (void)bytes_unref(s.data);
    return r;
}

static void hear(struct raft *r, struct raft_msg m) {
    m.to = a;
    raft_step(r, &m);
}

/* How many messages of @type it wants to send; everything is carried out. */
static unsigned sends(struct raft *r, enum raft_msg_type type, bool reject) {
    struct raft_ready rd;
    unsigned n = 0;

    while (raft_ready(r, &rd)) {
        for (size_t i = 0; i < rd.n_late; i++)
            n += rd.late[i].type == type && rd.late[i].reject == reject;
        raft_stored(r, &rd);
    }
    return n;
}

static const struct raft_msg heartbeat = {.type = RAFT_HEARTBEAT, .from = {2, 20}, .term = 2, .commit = 5};
static const struct raft_msg behind = {.type = RAFT_PREVOTE, .from = {3, 30}, .term = 3, .index = 4, .log_term = 2};

static void who_is_asked_by_one_with_a_shorter_log_stands_itself(void **state) {
    struct raft *r = member();

    (void)state;
    hear(r, behind); /* nobody leads */
    assert_int_equal(sends(r, RAFT_PREVOTE, false), 2);
    (void)raft_free(r);

    r = member();
    hear(r, behind);
    assert_int_equal(sends(r, RAFT_PREVOTE_R, true), 1);
    (void)raft_free(r);
}

static void while_somebody_leads_nobody_stands(void **state) {
    struct raft *r = member();
    struct raft_status st;

    (void)state;
    hear(r, heartbeat);
    assert_int_equal(sends(r, RAFT_HEARTBEAT_R, false), 1);
    hear(r, behind);
    assert_int_equal(sends(r, RAFT_PREVOTE, false), 0);
    raft_status(r, &st);
    assert_int_equal(st.role, RAFT_FOLLOWER);
    assert_int_equal(st.leader.id, 2);
    for (int i = 0; i < 10; i++) /* its silence is as long as an election takes, mine has not begun */
        raft_tick(r);
    hear(r, behind);
    assert_int_equal(sends(r, RAFT_PREVOTE, false), 2);
    (void)raft_free(r);
}

/* Taken out, and back in by an entry that is here already: it did not leave. */
static void a_member_knows_that_it_is_named_again(void **state) {
    struct raft_config out = {.version = 2, .n = 2, .voters = {b, c}}, in = {.n = 2, .voters = {b, c}, .learner = a};
    struct raft_snapshot s = {.index = 5, .term = 2, .config = {.version = 1, .n = 3, .voters = {a, b, c}}};
    struct raft_entry e[2] = {{.index = 6, .term = 2, .kind = RAFT_CONFIG},
                              {.index = 7, .term = 2, .kind = RAFT_CONFIG}};
    struct raft_params p = {
        .self = a, .election_ticks = 10, .hard = {.term = 2, .commit = 5}, .snapshot = &s, .entries = e, .applied = 5};
    struct raft *r;

    (void)state;
    s.data = bytes_copy(SLICE_LIT("x"));
    for (unsigned i = 0; i < 2; i++) {
        struct buf data = {0};

        raft_config_encode(i ? &in : &out, &data);
        e[i].data = bytes_take_buf(&data);
    }
    for (p.n = 1; p.n <= 2; p.n++) {
        assert_int_equal(raft_new(&p, &r, NULL), 0);
        assert_int_equal(raft_is_named_behind(r, 6), p.n == 2);
        assert_false(raft_is_named_behind(r, 7));
        (void)raft_free(r);
    }
    (void)bytes_unref(e[0].data);
    (void)bytes_unref(e[1].data);
    (void)bytes_unref(s.data);
}

/* The first of the voters that are left stands at once, and again soon: others may not know yet. */
static void when_the_leader_is_gone_nobody_waits_for_long(void **state) {
    struct raft *r = member();

    (void)state;
    hear(r, heartbeat);
    (void)sends(r, RAFT_HEARTBEAT_R, false);
    raft_gone(r, 3); /* it does not lead */
    raft_tick(r);
    assert_int_equal(sends(r, RAFT_PREVOTE, false), 0);
    raft_gone(r, 2);
    raft_tick(r);
    assert_int_equal(sends(r, RAFT_PREVOTE, false), 2);
    for (unsigned i = 0; i < 3; i++) {
        raft_tick(r);
        assert_int_equal(sends(r, RAFT_PREVOTE, false), 0);
        raft_tick(r);
        assert_int_equal(sends(r, RAFT_PREVOTE, false), 2);
    }
    for (unsigned i = 0; i < 9; i++)
        raft_tick(r);
    assert_int_equal(sends(r, RAFT_PREVOTE, false), 0);
    (void)raft_free(r);
}

static void one_with_an_equal_log_gets_the_vote(void **state) {
    struct raft *r = member();
    struct raft_msg m = behind;

    (void)state;
    m.index = 5;
    hear(r, m);
    assert_int_equal(sends(r, RAFT_PREVOTE_R, false), 1);
    (void)raft_free(r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(who_is_asked_by_one_with_a_shorter_log_stands_itself),
    cmocka_unit_test(while_somebody_leads_nobody_stands),
    cmocka_unit_test(when_the_leader_is_gone_nobody_waits_for_long),
    cmocka_unit_test(a_member_knows_that_it_is_named_again),
    cmocka_unit_test(one_with_an_equal_log_gets_the_vote),
};
const struct unit_group raft_test_group = UNIT_GROUP(tests);
