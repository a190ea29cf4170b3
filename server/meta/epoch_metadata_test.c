/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/epoch_metadata.h"
#include "unit.h"

#include <string.h>

static const char full[] =
    "{\"current\":{\"modified_at\":5,\"replica_set\":[3,1],\"version\":4},\"epoch\":7,\"later\":{\"x\":1},"
    "\"leader_metadata\":{\"claim\":\"9\",\"node_id\":\"N3:2\",\"partition_id\":1},\"leadership_policy\":{\"affinity\":"
    "1},"
    "\"placement_policy\":{\"freeze\":\"moving\"},\"version\":12}";

static void a_value_is_read_whole_and_edited_without_losing_what_is_unknown(void **state) {
    struct epoch_metadata e, again;
    struct buf out = {0};
    uint32_t nodes[] = {5, 2};
    struct err err;

    (void)state;
    assert_int_equal(epoch_metadata_parse(slice_str(full), &e, &err), 0);
    assert_int_equal(e.epoch, 7);
    assert_int_equal(e.leader.generation, 2);
    assert_int_equal(e.current.nodes[0], 1);
    assert_int_equal(e.current.nodes[1], 3);
    assert_int_equal(e.affinity, 1);
    assert_true(e.placement_frozen && !e.leadership_frozen);
    assert_string_equal(e.placement_reason, "moving");
    replica_set_propose(&e, nodes, 2, 99);
    assert_int_equal(e.next.version, 5);
    e.affinity = 0;
    assert_int_equal(epoch_metadata_edit(slice_str(full), &e, 13, &out, &err), 0);
    assert_non_null(memmem(out.data, out.len, "\"later\":{\"x\":1}", 15));
    assert_non_null(memmem(out.data, out.len, "\"claim\":\"9\"", 11));
    assert_int_equal(epoch_metadata_parse(slice_of(out.data, out.len), &again, &err), 0);
    assert_int_equal(again.version, 13);
    assert_int_equal(again.epoch, 7);
    assert_true(replica_set_same(&again.next, &e.next));
    assert_int_equal(again.affinity, 0);
    replica_set_complete(&again);
    assert_int_equal(again.current.version, 5);
    assert_int_equal(again.next.version, 0);
    buf_done(&out);
}

static void damaged_values_are_refused_with_the_field(void **state) {
    static const char *const bad[] = {"{\"epoch\":1}", "{\"epoch\":1,\"version\":1,\"current\":{\"replica_set\":[1]}}",
                                      "{\"epoch\":1,\"version\":1,\"current\":{\"replica_set\":[0],\"version\":1}}",
                                      "{\"epoch\":1,\"version\":1,\"next\":{\"replica_set\":[2,2],\"version\":1}}",
                                      "{\"epoch\":1,\"version\":1,\"leader_metadata\":{\"node_id\":\"x\"}}"};
    struct epoch_metadata e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};

        assert_int_equal(epoch_metadata_parse(slice_str(bad[i]), &e, &err), RS_ECORRUPT);
        assert_non_null(strstr(err.msg, "epoch metadata"));
    }
}

static void the_first_set_becomes_current_at_once(void **state) {
    struct epoch_metadata e = {0};
    uint32_t nodes[] = {1};

    (void)state;
    replica_set_propose(&e, nodes, 1, 1);
    assert_int_equal(e.current.version, 1);
    assert_int_equal(e.next.version, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_value_is_read_whole_and_edited_without_losing_what_is_unknown),
    cmocka_unit_test(damaged_values_are_refused_with_the_field),
    cmocka_unit_test(the_first_set_becomes_current_at_once),
};
const struct unit_group epoch_metadata_test_group = UNIT_GROUP(tests);
