/* SPDX-License-Identifier: Apache-2.0 */
/* Ids and options of a command line, and the texts in cells. */
#include <string.h>
#include "ctl.h"
#include "unit.h"

static void sets_of_ids_are_read_in_every_form(void **state) {
    const char *words[] = {"5", "1-3,9", "N7"};
    static const uint32_t expected[] = {5, 1, 2, 3, 9, 7};
    struct ids ids;

    (void)state;
    assert_int_equal(ids_parse(words, 3, &ids, NULL), 0);
    assert_int_equal(ids.n, ARRAY_SIZE(expected));
    assert_memory_equal(ids.v, expected, sizeof expected);
    ids_done(&ids);
}

static void what_is_no_set_of_ids_is_refused(void **state) {
    static const char *const bad[] = {"x", "3-1", "1-", "-1", "1--2", "N", "0-4294967295", "99999999999"};
    struct ids ids;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(ids_parse(&bad[i], 1, &ids, &err), RS_EINVAL);
        assert_null(ids.v);
    }
}

static void of_an_option_given_twice_the_last_one_counts(void **state) {
    struct args a = {.options = {{"log-replication", "1"}, {"yes", NULL}, {"log-replication", "2"}}, .n_options = 3};
    uint64_t v = 7;
    bool given;

    (void)state;
    assert_string_equal(arg_value(&a, "log-replication"), "2");
    assert_true(arg_given(&a, "yes"));
    assert_false(arg_given(&a, "no"));
    assert_int_equal(arg_u64(&a, "log-replication", 5, &given, &v, NULL), 0);
    assert_true(given && v == 2);
    assert_int_equal(arg_u64(&a, "log-replication", 1, NULL, &v, NULL), RS_EINVAL);
    assert_int_equal(arg_u64(&a, "other", 1, &given, &v, NULL), 0);
    assert_true(!given && v == 2);
}

static void durations_are_written_for_people(void **state) {
    static const struct {
        uint64_t ms;
        const char *in_short, *in_long, *ago;
    } rows[] = {{0, "n/a", "0 seconds", "0 ms ago"},
                {461, "0s", "0 seconds", "461 ms ago"},
                {1448, "1s", "1 second", "1 second and 448 ms ago"},
                {60000, "1m", "1 minute", "1 minute and 0 seconds ago"},
                {84000, "1m 24s", "1 minute", "1 minute and 24 seconds ago"},
                {100800000, "1d 4h", "1 day", "1 day ago"}};
    struct ctl c = {0};
    text_t text;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_string_equal(text_short(text, rows[i].ms), rows[i].in_short);
        assert_string_equal(text_long(text, rows[i].ms), rows[i].in_long);
        assert_string_equal(text_ago(text, &c, 5, 5 + rows[i].ms), rows[i].ago);
    }
    c.time_format = TIME_ISO;
    assert_string_equal(text_ago(text, &c, 1000, 2000), "1970-01-01T00:00:01.000Z");
    c.time_format = TIME_RFC2822;
    assert_string_equal(text_ago(text, &c, 1000, 2000), "Thu, 01 Jan 1970 00:00:01 +0000");
}

static void lists_are_written_for_people(void **state) {
    static const uint32_t nodes[] = {3, 1, 2}, ids[] = {0, 2, 3, 4, 5, 8, 9};
    text_t text;

    (void)state;
    assert_string_equal(text_nodes(text, nodes, 3), "[N1, N2, N3]");
    assert_string_equal(text_nodes(text, nodes, 0), "[]");
    assert_string_equal(text_ids(text, ids, ARRAY_SIZE(ids)), "0, 2-5, 8, 9");
    assert_string_equal(text_roles(text, ROLE_WORKER | ROLE_ADMIN), "admin | worker");
}

static void a_table_becomes_objects_with_names_in_snake_case(void **state) {
    static const char *const columns[] = {"", "NODE-ID", "LEADER", "AUTOMATIC PLACEMENT", NULL};
    struct table *t = table_new(columns);
    json_t *v, *row;
    char *text;

    (void)state;
    table_row(t);
    table_cell(t, PLAIN, json_true(), ">");
    table_cell(t, GREEN, NULL, "N%d", 1);
    table_number(t, 4);
    table_row(t); /* missing cells are null */
    v = table_json(t);
    assert_int_equal(json_array_size(v), 2);
    row = json_array_get(v, 0);
    text = json_dumps(row, JSON_SORT_KEYS);
    assert_string_equal(text, "{\"automatic_placement\": null, \"leader\": 4, \"node_id\": \"N1\"}");
    free(text);
    assert_true(json_is_null(json_object_get(json_array_get(v, 1), "leader")));
    json_decref(v);
    (void)table_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sets_of_ids_are_read_in_every_form),
    cmocka_unit_test(what_is_no_set_of_ids_is_refused),
    cmocka_unit_test(of_an_option_given_twice_the_last_one_counts),
    cmocka_unit_test(durations_are_written_for_people),
    cmocka_unit_test(lists_are_written_for_people),
    cmocka_unit_test(a_table_becomes_objects_with_names_in_snake_case),
};
const struct unit_group args_test_group = UNIT_GROUP(tests);
