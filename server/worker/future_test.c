/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "worker/future.h"

/* Notifications 1..9 by completion id: 1, 2 success; 3, 4 failure; 5 of unknown variant; the others are not there. */
static int lookup(void *arg, enum notification_kind kind, uint32_t number, struct slice name,
                  enum notification_variant *ret) {
    static const enum notification_variant v[] = {
        [1] = VARIANT_VOID, [2] = VARIANT_VALUE, [3] = VARIANT_FAILURE, [4] = VARIANT_FAILURE, [5] = VARIANT_UNKNOWN};

    (void)arg;
    if (kind == NOTIFICATION_NAME) {
        *ret = VARIANT_VALUE;
        return slice_eq_str(name, "there");
    }
    if (kind == NOTIFICATION_SIGNAL || number > 5)
        return 0;
    *ret = v[number];
    return 1;
}

struct row {
    uint32_t combinator;
    uint32_t ids[4]; /* 0 ends */
    int resumes;
    size_t left; /* children of what is still awaited */
};

static void flat_futures_follow_the_table(void **state) {
    static const struct row rows[] = {
        {0, {7, 8}, 0, 2},    {0, {7, 3}, 1, 0},  {1, {7, 8}, 0, 2},     {1, {7, 1}, 1, 0}, {2, {1, 2}, 1, 0},
        {2, {1, 7, 3}, 0, 1}, {2, {7}, 0, 1},     {2, {3, 4}, 1, 0},     {3, {7, 1}, 1, 0}, {3, {3, 7}, 0, 1},
        {3, {3, 4}, 1, 0},    {3, {5, 7}, 1, 0},  {4, {7, 3}, 1, 0},     {4, {1, 7}, 0, 1}, {4, {1, 2}, 1, 0},
        {4, {5, 7}, 1, 0},    {99, {7, 1}, 1, 0}, {99, {7, 8, 9}, 0, 3}, {2, {5, 7}, 0, 1}, {2, {5}, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena a = {0};
        struct cmd_future f = {.completions = rows[i].ids, .combinator = rows[i].combinator}, rest;

        while (f.n_completions < 4 && rows[i].ids[f.n_completions])
            f.n_completions++;
        assert_int_equal(future_eval(&f, lookup, NULL, &a, &rest), rows[i].resumes);
        if (!rows[i].resumes)
            assert_int_equal(rest.n_completions, rows[i].left);
    }
}

static void nested_results_reach_the_parent(void **state) {
    _cleanup_arena_ struct arena a = {0};
    static const uint32_t pending[] = {7}, failed[] = {3, 4}, mixed[] = {1, 7}, ok[] = {1};
    struct cmd_future child = {.completions = failed, .n_completions = 2, .combinator = 3}, rest;
    struct cmd_future f = {
        .nested = &child, .n_nested = 1, .completions = pending, .n_completions = 1, .combinator = 4};

    (void)state;
    /* all of (first succeeded of (3, 4), 7): the child fails, so the whole fails */
    assert_int_equal(future_eval(&f, lookup, NULL, &a, &rest), 1);
    /* any succeeded: the failed child is dropped, 7 is left */
    f.combinator = 3;
    assert_int_equal(future_eval(&f, lookup, NULL, &a, &rest), 0);
    assert_int_equal(rest.n_nested, 0);
    assert_int_equal(rest.n_completions, 1);
    /* an "either" child resumes the whole even though it stands deep inside something pending */
    child = (struct cmd_future){.completions = ok, .n_completions = 1, .combinator = 0};
    assert_int_equal(future_eval(&f, lookup, NULL, &a, &rest), 1);
    /* a pending child is kept, without the leaf that is there */
    child = (struct cmd_future){.completions = mixed, .n_completions = 2, .combinator = 2};
    assert_int_equal(future_eval(&f, lookup, NULL, &a, &rest), 0);
    assert_int_equal(rest.n_nested, 1);
    assert_int_equal(rest.nested[0].n_completions, 1);
    assert_int_equal(rest.nested[0].completions[0], 7);
}

static void names_are_leaves_too_and_a_future_without_leaves_resumes(void **state) {
    _cleanup_arena_ struct arena a = {0};
    const struct slice names[] = {SLICE_LIT("missing"), SLICE_LIT("there")};
    struct cmd_future f = {.names = names, .n_names = 1}, rest, empty = {0}, nested = {.nested = &empty, .n_nested = 1};

    (void)state;
    assert_int_equal(future_eval(&f, lookup, NULL, &a, &rest), 0);
    f.n_names = 2;
    assert_int_equal(future_eval(&f, lookup, NULL, &a, &rest), 1);
    assert_int_equal(future_eval(&empty, lookup, NULL, &a, &rest), 1);
    assert_int_equal(future_eval(&nested, lookup, NULL, &a, &rest), 1);
}

static int fails(void *arg, enum notification_kind kind, uint32_t number, struct slice name,
                 enum notification_variant *ret) {
    (void)arg;
    (void)kind;
    (void)number;
    (void)name;
    (void)ret;
    return RS_EAGAIN;
}

static void deep_trees_need_no_stack_and_errors_come_through(void **state) {
    _cleanup_arena_ struct arena a = {0};
    enum { DEPTH = 100000 };
    struct cmd_future *chain = xnewn(struct cmd_future, DEPTH), rest;
    static const uint32_t pending[] = {7};

    (void)state;
    for (size_t i = 0; i + 1 < DEPTH; i++)
        chain[i] = (struct cmd_future){.nested = &chain[i + 1], .n_nested = 1, .combinator = 2};
    chain[DEPTH - 1] = (struct cmd_future){.completions = pending, .n_completions = 1};
    assert_int_equal(future_eval(chain, lookup, NULL, &a, &rest), 0);
    assert_int_equal(rest.n_nested, 1);
    assert_int_equal(future_eval(chain, fails, NULL, &a, &rest), RS_EAGAIN);
    free(chain);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(flat_futures_follow_the_table),
    cmocka_unit_test(nested_results_reach_the_parent),
    cmocka_unit_test(names_are_leaves_too_and_a_future_without_leaves_resumes),
    cmocka_unit_test(deep_trees_need_no_stack_and_errors_come_through),
};
const struct unit_group future_test_group = UNIT_GROUP(tests);
