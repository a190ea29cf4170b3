/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata values as JSON: the bytes are on disk, so they are written down here. */
#include "unit.h"

#include "meta/logs_config.h"
#include "meta/nodes_config.h"
#include "meta/partition_table.h"

static const char nodes_golden[] =
    "{\"cluster_fingerprint\":\"18446744073709551615\",\"cluster_name\":\"c\",\"feature_level\":1,\"features\":[\"f\"],"
    "\"modified_at\":17,\"nodes\":{\"1\":{\"address\":\"http://a:5122/"
    "\",\"binary_version\":\"0.1.0\",\"current_generation\":\"N1:3\","
    "\"feature_level\":1,\"location\":\"r.z\",\"log_server_config\":{\"storage_state\":\"read-write\"},"
    "\"metadata_server_config\":{\"metadata_server_state\":\"member\"},\"name\":\"n1\",\"roles\":[\"http-ingress\","
    "\"admin\","
    "\"worker\",\"log-server\",\"metadata-server\"],\"worker_config\":{\"worker_state\":\"active\"}},\"2\":"
    "\"tombstone\"},"
    "\"version\":4}";

static const char logs_golden[] =
    "{\"config\":{\"default_provider\":{\"replicated\":{\"replication_property\":\"{node: "
    "2}\",\"target_nodeset_size\":0}}},"
    "\"logs\":{\"3\":{\"1\":{\"created_at\":5,\"index\":0,\"kind\":\"replicated\",\"params\":\"{\\\"leader_epoch\\\":1,"
    "\\\"loglet_id\\\":12884901888,\\\"nodeset\\\":[1,2,3],\\\"replication\\\":\\\"{node: "
    "2}\\\",\\\"sequencer\\\":\\\"N1:1\\\"}\"},"
    "\"11\":{\"created_at\":6,\"index\":0,\"kind\":\"sealed\",\"params\":\"{\\\"context\\\":{\\\"reason\\\":\\\"r\\\"},"
    "\\\"leader_epoch\\\":1,\\\"sealed_at\\\":6}\"}}},\"version\":2}";

static const char table_golden[] =
    "{\"partitions\":{\"0\":{\"key_range\":[\"0\",\"9223372036854775807\"],\"log_id\":0},"
    "\"1\":{\"key_range\":[\"9223372036854775808\",\"18446744073709551615\"],\"log_id\":1}},"
    "\"replication\":{\"limit\":\"{node: 2}\"},\"version\":1}";

static void the_nodes_configuration_keeps_its_bytes(void **state) {
    struct nodes_config *c;
    struct buf out = {0};

    assert_int_equal(nodes_config_parse(SLICE_LIT(nodes_golden), &c, NULL), 0);
    assert_int_equal(c->fingerprint, UINT64_MAX);
    assert_int_equal(c->nodes[0].id.generation, 3);
    assert_int_equal(c->nodes[0].storage_state, STORAGE_READ_WRITE);
    assert_true(c->nodes[1].tombstone);
    assert_null(nodes_config_by_name(c, "n2"));
    nodes_config_encode(c, &out);
    assert_string_equal(buf_cstr(&out), nodes_golden);
    nodes_config_free(c);
    buf_done(&out);
}

static void the_logs_configuration_keeps_its_bytes(void **state) {
    struct logs_config *c, *d;
    struct buf out = {0};

    assert_int_equal(logs_config_parse(SLICE_LIT(logs_golden), &c, NULL), 0);
    d = logs_config_copy(c);
    logs_config_free(c);
    assert_int_equal(logs_config_chain(d, 3)->n, 2);
    assert_int_equal(chain_tail(logs_config_chain(d, 3))->kind, SEGMENT_SEALED);
    assert_null(logs_config_chain(d, 4));
    logs_config_encode(d, &out);
    assert_string_equal(buf_cstr(&out), logs_golden);
    logs_config_free(d);
    buf_done(&out);
}

static void the_partition_table_keeps_its_bytes(void **state) {
    struct partition_table *t, *u = partition_table_new(2, "{node: 2}");
    struct buf out = {0};

    assert_int_equal(partition_table_parse(SLICE_LIT(table_golden), &t, NULL), 0);
    partition_table_encode(t, &out);
    assert_string_equal(buf_cstr(&out), table_golden);
    buf_clear(&out);
    partition_table_encode(u, &out);
    assert_string_equal(buf_cstr(&out), table_golden);
    assert_int_equal(partition_table_find(t, 0), 0);
    assert_int_equal(partition_table_find(t, INT64_MAX), 0);
    assert_int_equal(partition_table_find(t, (uint64_t)INT64_MAX + 1), 1);
    assert_int_equal(partition_table_find(t, UINT64_MAX), 1);
    partition_table_free(t);
    partition_table_free(u);
    buf_done(&out);
}

static void every_key_has_exactly_one_partition(void **state) {
    for (uint32_t n = 1; n < 300; n += 7) {
        struct partition_table *t = partition_table_new(n, NULL);

        assert_int_equal(t->partitions[0].first, 0);
        assert_int_equal(t->partitions[n - 1].last, UINT64_MAX);
        for (uint32_t i = 1; i < n; i++)
            assert_int_equal(t->partitions[i].first, t->partitions[i - 1].last + 1);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(partition_table_find(t, t->partitions[i].first), i);
            assert_int_equal(partition_table_find(t, t->partitions[i].last), i);
        }
        partition_table_free(t);
    }
}

static void damaged_values_are_refused_with_a_reason(void **state) {
    static const char *const nodes[] = {
        "",
        "[]",
        "{",
        "{}",
        "{\"version\":1,\"cluster_name\":\"c\",\"cluster_fingerprint\":0,\"nodes\":{}}",
        "{\"version\":-1,\"cluster_name\":\"c\",\"cluster_fingerprint\":1,\"nodes\":{}}",
        "{\"version\":1,\"cluster_name\":\"c\",\"cluster_fingerprint\":1,\"nodes\":{\"x\":\"tombstone\"}}",
        "{\"version\":1,\"cluster_name\":\"c\",\"cluster_fingerprint\":1,\"nodes\":{\"1\":{\"name\":\"n\"}}}"};
    static const char *const logs[] = {
        "{\"version\":1,\"config\":{\"default_provider\":\"nonsense\"},\"logs\":{}}",
        "{\"version\":1,\"config\":{\"default_provider\":\"local\"},\"logs\":{\"0\":{}}}",
        "{\"version\":1,\"config\":{\"default_provider\":\"local\"},\"logs\":{\"0\":{\"1\":{\"kind\":\"replicated\","
        "\"index\":0,"
        "\"params\":\"{}\"}}}}",
        "{\"version\":1,\"config\":{\"default_provider\":\"local\"},\"logs\":{\"0\":{\"0\":{\"kind\":\"sealed\","
        "\"index\":0,"
        "\"params\":\"{}\"}}}}"};
    static const char *const tables[] = {
        "{\"version\":1,\"replication\":\"everywhere\",\"partitions\":{\"1\":{\"key_range\":[0,1],\"log_id\":0}}}",
        "{\"version\":1,\"replication\":\"everywhere\",\"partitions\":{\"0\":{\"key_range\":[2,1],\"log_id\":0}}}",
        "{\"version\":1,\"replication\":\"everywhere\",\"partitions\":{\"0\":{\"key_range\":[0,5],\"log_id\":0},"
        "\"1\":{\"key_range\":[5,6],\"log_id\":1}}}"};
    struct nodes_config *c;
    struct logs_config *l;
    struct partition_table *t;

    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        struct err err = {0};

        assert_int_equal(nodes_config_parse(slice_str(nodes[i]), &c, &err), RS_ECORRUPT);
        assert_true(err.msg[0]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
        struct err err = {0};

        assert_int_equal(logs_config_parse(slice_str(logs[i]), &l, &err), RS_ECORRUPT);
        assert_true(err.msg[0]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        struct err err = {0};

        assert_int_equal(partition_table_parse(slice_str(tables[i]), &t, &err), RS_ECORRUPT);
        assert_true(err.msg[0]);
    }
}

static void node_ids_are_read(void **state) {
    struct node_id id;

    assert_int_equal(node_id_parse(SLICE_LIT("N3:7"), &id), 0);
    assert_true(id.id == 3 && id.generation == 7);
    assert_int_equal(node_id_parse(SLICE_LIT("12"), &id), 0);
    assert_true(id.id == 12 && id.generation == 0);
    assert_int_equal(node_id_parse(SLICE_LIT("N0"), &id), RS_EINVAL);
    assert_int_equal(node_id_parse(SLICE_LIT("N1:"), &id), RS_EINVAL);
    assert_int_equal(node_id_parse(SLICE_LIT("N1:0"), &id), RS_EINVAL);
    assert_int_equal(node_id_parse(SLICE_LIT("N4294967296"), &id), RS_EINVAL);
    assert_int_equal(node_id_parse(SLICE_LIT(""), &id), RS_EINVAL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_nodes_configuration_keeps_its_bytes),
    cmocka_unit_test(the_logs_configuration_keeps_its_bytes),
    cmocka_unit_test(the_partition_table_keeps_its_bytes),
    cmocka_unit_test(every_key_has_exactly_one_partition),
    cmocka_unit_test(damaged_values_are_refused_with_a_reason),
    cmocka_unit_test(node_ids_are_read),
};
const struct unit_group values_test_group = UNIT_GROUP(tests);
