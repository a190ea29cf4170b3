/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "log/chain.h"

static struct chain_op op_for(enum chain_op_kind kind, uint32_t last_index, lsn_t lsn, uint32_t node, epoch_t epoch) {
    struct chain_op op = {.kind = kind, .log_id = 1, .last_index = last_index, .lsn = lsn};

    op.segment.params =
        (struct segment_params){.sequencer = {node, 1}, .leader_epoch = epoch, .replication = REPLICATION_ONE};
    return op;
}
static int apply(struct logs_config *c, enum chain_op_kind kind, uint32_t last_index, lsn_t lsn, uint32_t node,
                 epoch_t epoch) {
    struct chain_op op = op_for(kind, last_index, lsn, node, epoch);
    struct err err = {0};
    int r = chain_apply(c, &op, &err);

    assert_int_equal(r < 0, err.msg[0] != 0);
    return r;
}

struct step {
    enum chain_op_kind kind;
    uint32_t last_index;
    lsn_t lsn;
    uint32_t node;
    epoch_t epoch;
    int result;
    size_t n; /* segments afterwards */
    lsn_t tail_base;
    uint32_t tail_index;
    epoch_t tail_epoch;
};

static void run(const struct step *steps, size_t n) {
    struct logs_config *c = logs_config_new();

    for (size_t i = 0; i < n; i++) {
        const struct step *s = &steps[i];
        const struct chain *ch;

        assert_int_equal(apply(c, s->kind, s->last_index, s->lsn, s->node, s->epoch), s->result);
        ch = logs_config_chain(c, 1);
        if (!s->n) {
            assert_null(ch);
            continue;
        }
        assert_int_equal(ch->n, s->n);
        assert_int_equal(chain_tail(ch)->base, s->tail_base);
        assert_int_equal(chain_tail(ch)->index, s->tail_index);
        assert_int_equal(chain_tail(ch)->params.leader_epoch, s->tail_epoch);
    }
    logs_config_free(c);
}

static void chains_grow_by_newer_epochs_only(void **state) {
    static const struct step steps[] = {
        {CHAIN_EXTEND, 0, 5, 1, 1, RS_ENOENT, 0, 0, 0, 0},
        {CHAIN_ADD, 0, 0, 1, 1, 1, 1, 1, 0, 1},
        {CHAIN_ADD, 0, 0, 1, 1, 0, 1, 1, 0, 1},              /* the same again: it is there */
        {CHAIN_ADD, 0, 0, 2, 2, RS_EEXIST, 1, 1, 0, 1},      /* somebody else's */
        {CHAIN_EXTEND, 0, 11, 2, 2, 1, 2, 11, 1, 2},         /* records 1..10 in segment 0 */
        {CHAIN_EXTEND, 0, 11, 2, 2, 0, 2, 11, 1, 2},         /* repeated after an unknown outcome */
        {CHAIN_EXTEND, 0, 12, 3, 3, RS_EAGAIN, 2, 11, 1, 2}, /* lost the race */
        {CHAIN_EXTEND, 1, 12, 3, 1, RS_EPERM, 2, 11, 1, 2},  /* an outdated leader */
        {CHAIN_EXTEND, 1, 12, 3, 2, RS_EPERM, 2, 11, 1, 2},  /* the same epoch on another node */
        {CHAIN_EXTEND, 1, 10, 3, 3, RS_EINVAL, 2, 11, 1, 2},
        {CHAIN_EXTEND, 1, 11, 3, 3, 1, 2, 11, 2, 3}, /* an empty segment is replaced */
        {CHAIN_EXTEND, 2, 21, 3, 3, 1, 3, 21, 3, 3}, /* the reigning leader improves */
    };

    run(steps, ARRAY_SIZE(steps));
}

static void a_seal_marker_keeps_the_epoch_and_must_be_met_exactly(void **state) {
    static const struct step steps[] = {
        {CHAIN_ADD, 0, 0, 1, 7, 1, 1, 1, 0, 7},
        {CHAIN_SEAL, 1, 11, 0, 0, RS_EAGAIN, 1, 1, 0, 7},
        {CHAIN_SEAL, 0, 11, 0, 0, 1, 2, 11, 0, 7},
        {CHAIN_SEAL, 0, 15, 0, 0, 0, 2, 11, 0, 7}, /* sealed already: that tail stands */
        {CHAIN_EXTEND, 0, 12, 2, 8, RS_EINVAL, 2, 11, 0, 7},
        {CHAIN_EXTEND, 0, 11, 2, 6, RS_EPERM, 2, 11, 0, 7}, /* the guard survives the marker */
        {CHAIN_EXTEND, 0, 11, 2, 8, 1, 2, 11, 1, 8},
        {CHAIN_SEAL, 1, 11, 0, 0, 1, 2, 11, 1, 8}, /* an empty segment becomes the marker */
    };

    run(steps, ARRAY_SIZE(steps));
}

static void only_wholly_trimmed_segments_leave(void **state) {
    static const struct step steps[] = {
        {CHAIN_ADD, 0, 0, 1, 1, 1, 1, 1, 0, 1},      {CHAIN_EXTEND, 0, 11, 1, 2, 1, 2, 11, 1, 2},
        {CHAIN_EXTEND, 1, 21, 1, 3, 1, 3, 21, 2, 3}, {CHAIN_TRIM, 0, 9, 0, 0, 0, 3, 21, 2, 3},
        {CHAIN_TRIM, 0, 10, 0, 0, 1, 2, 21, 2, 3},   {CHAIN_TRIM, 0, 10, 0, 0, 0, 2, 21, 2, 3},
        {CHAIN_TRIM, 0, 1000, 0, 0, 1, 1, 21, 2, 3}, /* the tail segment stays */
    };

    run(steps, ARRAY_SIZE(steps));
}

static void an_lsn_is_found_in_its_segment(void **state) {
    struct logs_config *c = logs_config_new();
    const struct chain *ch;

    assert_int_equal(apply(c, CHAIN_ADD, 0, 0, 1, 1), 1);
    assert_int_equal(apply(c, CHAIN_EXTEND, 0, 11, 1, 2), 1);
    assert_int_equal(apply(c, CHAIN_EXTEND, 1, 21, 1, 3), 1);
    ch = logs_config_chain(c, 1);
    assert_int_equal(chain_find(ch, 1), 0);
    assert_int_equal(chain_find(ch, 10), 0);
    assert_int_equal(chain_find(ch, 11), 1);
    assert_int_equal(chain_find(ch, 20), 1);
    assert_int_equal(chain_find(ch, 21), 2);
    assert_int_equal(chain_find(ch, 99999), 2);
    assert_true(chain_has(ch, 1));
    assert_int_equal(apply(c, CHAIN_TRIM, 0, 15, 0, 0), 1);
    assert_int_equal(chain_find(ch, 10), -1);
    assert_int_equal(chain_find(ch, 11), 0);
    assert_false(chain_has(ch, 0));
    logs_config_free(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(chains_grow_by_newer_epochs_only),
    cmocka_unit_test(a_seal_marker_keeps_the_epoch_and_must_be_met_exactly),
    cmocka_unit_test(only_wholly_trimmed_segments_leave),
    cmocka_unit_test(an_lsn_is_found_in_its_segment),
};
const struct unit_group chain_test_group = UNIT_GROUP(tests);
