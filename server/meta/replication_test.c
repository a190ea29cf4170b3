/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include "meta/replication.h"

static void properties_are_read_in_every_spelling(void **state) {
    static const struct {
        const char *text, *canonical; /* NULL: refused */
    } cases[] = {
        {"1", "{node: 1}"},
        {" 3 ", "{node: 3}"},
        {"{node: 3}", "{node: 3}"},
        {"{NODE:2}", "{node: 2}"},
        {"{ zone : 2 , node : 3 }", "{zone: 2, node: 3}"},
        {"{node: 5, region: 2, zone: 3}", "{region: 2, zone: 3, node: 5}"},
        {"{zone: 2}", "{zone: 2, node: 2}"},
        {"{region: 1, zone: 3}", "{region: 1, zone: 3, node: 3}"},
        {"{zone: 3, node: 2}", NULL},
        {"{region: 3, zone: 2, node: 5}", NULL},
        {"0", NULL},
        {"129", NULL},
        {"", NULL},
        {"{}", NULL},
        {"{node: 2", NULL},
        {"{node: 2} x", NULL},
        {"{node: 2, node: 3}", NULL},
        {"{rack: 2}", NULL},
        {"two", NULL},
        {"{node 2}", NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct replication r;
        struct err err = {0};
        struct buf out = {0};
        int code = replication_parse(slice_str(cases[i].text), &r, &err);

        if (!cases[i].canonical) {
            assert_int_equal(code, RS_EINVAL);
            assert_true(err.msg[0]);
            continue;
        }
        assert_int_equal(code, 0);
        replication_format(r, &out);
        assert_string_equal(buf_cstr(&out), cases[i].canonical);
        buf_done(&out);
    }
}

static struct nodes_config *config_of(unsigned n, const unsigned *zones, const unsigned *states) {
    struct nodes_config *c = xnew(struct nodes_config);

    for (unsigned i = 0; i < n; i++) {
        struct node_entry *e = nodes_config_add(c, i + 1);
        char place[32];

        snprintf(place, sizeof place, "r%u.z%u", zones[i] / 2, zones[i]);
        e->location = xstrdup(place);
        e->name = xstrdup("x");
        e->roles = ROLE_ALL;
        e->storage_state = states ? states[i] : STORAGE_READ_WRITE;
    }
    return c;
}

/* The definition: F passes iff what is outside F holds no write quorum. All subsets, random zones and factors. */
static void an_f_majority_meets_every_write_quorum_and_nothing_smaller_does(void **state) {
    uint64_t checked = 0;

    srand(42);
    for (int round = 0; round < 1200; round++) {
        unsigned n = 1 + (unsigned)rand() % 7, zones[7];
        uint32_t nodes[7];
        struct replication r = {{0}};
        struct nodes_config *c;
        struct quorum *q = xnew(struct quorum);
        struct quorum_mask all = {{(1u << n) - 1}};

        for (unsigned i = 0; i < n; i++) {
            zones[i] = (unsigned)rand() % 4;
            nodes[i] = i + 1;
        }
        r.copies[SCOPE_NODE] = (uint8_t)(1 + (unsigned)rand() % n);
        if (rand() % 2)
            r.copies[SCOPE_ZONE] = (uint8_t)(1 + rand() % r.copies[SCOPE_NODE]);
        if (rand() % 3 == 0)
            r.copies[SCOPE_REGION] =
                (uint8_t)(1 + rand() % (r.copies[SCOPE_ZONE] ? r.copies[SCOPE_ZONE] : r.copies[SCOPE_NODE]));
        c = config_of(n, zones, NULL);
        quorum_init(q, c, r, nodes, n);
        if (quorum_is_write(q, &all)) {
            for (uint64_t set = 0; set < 1u << n; set++) {
                struct quorum_mask in = {{set}}, out = {{~set & all.bits[0]}};

                assert_int_equal(quorum_f_passes(quorum_f_majority(q, &in)), !quorum_is_write(q, &out));
                checked++;
            }
        }
        nodes_config_free(c);
        free(q);
    }
    assert_true(checked > 5000);
}

static void flat_quorums_follow_the_table(void **state) {
    static const struct {
        unsigned n, r, write, f;
    } rows[] = {{1, 1, 1, 1}, {2, 1, 1, 2}, {2, 2, 2, 1}, {3, 2, 2, 2}, {5, 3, 3, 3}, {3, 3, 3, 1}, {4, 2, 2, 3}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct quorum *q = xnew(struct quorum);
        uint32_t nodes[8] = {1, 2, 3, 4, 5, 6, 7, 8};

        quorum_init(q, NULL, (struct replication){{(uint8_t)rows[i].r, 0, 0}}, nodes, rows[i].n);
        for (unsigned k = 0; k <= rows[i].n; k++) {
            struct quorum_mask m = {{(1u << k) - 1}};

            assert_int_equal(quorum_is_write(q, &m), k >= rows[i].write);
            assert_int_equal(quorum_f_passes(quorum_f_majority(q, &m)), k >= rows[i].f);
        }
        free(q);
    }
}

static void lost_data_lowers_the_grade_and_disabled_nodes_do_not_count(void **state) {
    unsigned zones[3] = {0, 0, 0}, lossy[3] = {STORAGE_READ_WRITE, STORAGE_DATA_LOSS, STORAGE_READ_WRITE},
             disabled[3] = {STORAGE_READ_WRITE, STORAGE_DISABLED, STORAGE_READ_WRITE};
    uint32_t nodes[3] = {1, 2, 3};
    struct quorum *q = xnew(struct quorum);
    struct nodes_config *c = config_of(3, zones, lossy);

    quorum_init(q, c, (struct replication){{2, 0, 0}}, nodes, 3);
    assert_int_equal(quorum_f_majority(q, &(struct quorum_mask){{3}}), F_WITH_RISK); /* one of the two lost its data */
    assert_int_equal(quorum_f_majority(q, &(struct quorum_mask){{5}}), F_SUCCESS);
    assert_int_equal(quorum_f_majority(q, &(struct quorum_mask){{1}}), F_NONE);
    nodes_config_free(c);
    c = config_of(3, zones, disabled);
    quorum_init(q, c, (struct replication){{2, 0, 0}}, nodes, 3);
    assert_int_equal(quorum_f_majority(q, &(struct quorum_mask){{1}}), F_SUCCESS); /* two candidates, two copies */
    assert_false(quorum_is_write(q, &(struct quorum_mask){{3}}));
    nodes_config_free(c);
    free(q);
}

static void where_a_write_quorum_is_lost_for_good_all_others_will_do(void **state) {
    unsigned zones[3] = {0, 0, 0}, one[3] = {STORAGE_READ_WRITE, STORAGE_DATA_LOSS, STORAGE_READ_WRITE},
             two[3] = {STORAGE_READ_WRITE, STORAGE_DATA_LOSS, STORAGE_GONE},
             all[3] = {STORAGE_DATA_LOSS, STORAGE_DATA_LOSS, STORAGE_DISABLED};
    const unsigned *states[] = {one, two, all};
    const struct {
        unsigned states, copies;
        uint64_t members;
        bool enough;
    } rows[] = {{0, 2, 1, false}, {0, 2, 5, true}, {0, 3, 5, true},  {0, 3, 1, false},
                {1, 2, 1, true},  {1, 3, 1, true}, {1, 2, 0, false}, {2, 2, 0, false}};
    uint32_t nodes[3] = {1, 2, 3};
    struct quorum *q = xnew(struct quorum);

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct nodes_config *c = config_of(3, zones, states[rows[i].states]);

        quorum_init(q, c, (struct replication){{(uint8_t)rows[i].copies, 0, 0}}, nodes, 3);
        assert_int_equal(quorum_is_all_there_is(q, &(struct quorum_mask){{rows[i].members}}), rows[i].enough);
        nodes_config_free(c);
    }
    free(q);
}

static void nodesets_have_the_right_size_and_start_at_home(void **state) {
    unsigned zones[6] = {0, 1, 2, 0, 1, 2};
    struct nodes_config *c = config_of(6, zones, NULL);
    uint32_t nodes[NODESET_MAX], again[NODESET_MAX], n, m;
    struct nodeset_request req = {.log_id = 3, .own_node = 4, .replication = REPLICATION_ONE};

    assert_int_equal(nodeset_select(c, &req, nodes, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(nodes[0], 4);
    req.replication.copies[SCOPE_NODE] = 2;
    assert_int_equal(nodeset_select(c, &req, nodes, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(nodes[0], 4);
    assert_int_equal(nodeset_select(c, &req, again, &m, NULL), 0);
    assert_memory_equal(nodes, again, n * sizeof *nodes);
    req.preferred = nodes;
    req.n_preferred = 3;
    req.own_node = 0;
    assert_int_equal(nodeset_select(c, &req, again, &m, NULL), 0);
    for (uint32_t i = 0; i < m; i++) /* the same members, whoever asks */
        assert_true(again[i] == nodes[0] || again[i] == nodes[1] || again[i] == nodes[2]);
    req = (struct nodeset_request){.log_id = 3, .own_node = 1, .replication = {{2, 2, 0}}};
    assert_int_equal(nodeset_select(c, &req, nodes, &n, NULL), 0);
    assert_true(n >= 3);
    for (uint32_t i = 0; i < 3; i++) /* one of every zone first */
        for (uint32_t k = i + 1; k < 3; k++)
            assert_int_not_equal(zones[nodes[i] - 1], zones[nodes[k] - 1]);
    nodes_config_free(c);
}

static void too_few_nodes_or_missing_locations_are_refused(void **state) {
    unsigned zones[3] = {0, 0, 0}, states[3] = {STORAGE_READ_WRITE, STORAGE_READ_ONLY, STORAGE_PROVISIONING};
    struct nodes_config *c = config_of(3, zones, states);
    struct nodeset_request req = {.log_id = 1, .own_node = 1, .replication = {{2, 0, 0}}};
    uint32_t nodes[NODESET_MAX], n;
    struct err err;

    assert_int_equal(nodeset_select(c, &req, nodes, &n, &err), RS_EUNSUPPORTED); /* one writable node */
    assert_non_null(strstr(err.msg, "insufficient nodes"));
    req.replication = (struct replication){{1, 1, 0}};
    ((char *)c->nodes[0].location)[0] = 0;
    assert_int_equal(nodeset_select(c, &req, nodes, &n, &err), RS_EUNSUPPORTED);
    nodes_config_free(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(properties_are_read_in_every_spelling),
    cmocka_unit_test(an_f_majority_meets_every_write_quorum_and_nothing_smaller_does),
    cmocka_unit_test(flat_quorums_follow_the_table),
    cmocka_unit_test(lost_data_lowers_the_grade_and_disabled_nodes_do_not_count),
    cmocka_unit_test(where_a_write_quorum_is_lost_for_good_all_others_will_do),
    cmocka_unit_test(nodesets_have_the_right_size_and_start_at_home),
    cmocka_unit_test(too_few_nodes_or_missing_locations_are_refused),
};
const struct unit_group replication_test_group = UNIT_GROUP(tests);
