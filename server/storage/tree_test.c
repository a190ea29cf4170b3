/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "storage/tree.h"

enum { N = 40000 };

static uint64_t mix(uint64_t x) {
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    return x * 0xbf58476d1ce4e5b9u;
}

/* Key number i in order: 12 bytes, the first eight are shared by 16 keys. */
static struct slice key_at(uint8_t buf[12], uint32_t i) {
    put_u64be(buf, i / 16 * 1000003u);
    put_u32be(buf + 8, i % 16);
    return slice_of(buf, 12);
}

static void check_order(const struct tree *t) {
    uint8_t buf[12];
    uint32_t i = 0;

    for (struct tree_cursor c = tree_first(t); c.leaf; tree_next(&c), i++) {
        assert_true(slice_eq(tree_key(tree_at(&c)), key_at(buf, i)));
        assert_int_equal(get_u32le(tree_value(tree_at(&c)).data), i);
    }
    assert_int_equal(i, N);
    for (struct tree_cursor c = tree_last(t); c.leaf; tree_prev(&c))
        assert_true(slice_eq(tree_key(tree_at(&c)), key_at(buf, --i)));
    assert_int_equal(i, 0);
}

static void fill_and_check(uint32_t (*nth)(uint32_t)) {
    struct arena a = {0};
    struct tree t = {0};
    uint8_t buf[12], v[4];
    size_t bytes = 0;

    for (uint32_t k = 0; k < N; k++) {
        uint32_t i = nth(k);

        put_u32le(v, i);
        bytes += tree_put(&t, &a, key_at(buf, i), slice_of(v, 4), false);
    }
    assert_int_equal(t.n, N);
    assert_true(bytes > N * 16u);
    check_order(&t);
    for (uint32_t i = 0; i < N; i += 7) {
        struct tree_cursor c = tree_seek_ge(&t, key_at(buf, i));

        assert_non_null(tree_get(&t, key_at(buf, i)));
        assert_true(slice_eq(tree_key(tree_at(&c)), key_at(buf, i)));
        c = tree_seek_lt(&t, key_at(buf, i));
        if (i == 0)
            assert_null(tree_at(&c));
        else
            assert_true(slice_eq(tree_key(tree_at(&c)), key_at(buf, i - 1)));
        buf[11] = 0x80; /* between this group and the next */
        assert_null(tree_get(&t, slice_of(buf, 12)));
    }
    arena_done(&a);
}

static uint32_t rising(uint32_t k) {
    return k;
}
static uint32_t falling(uint32_t k) {
    return N - 1 - k;
}
static uint32_t scattered(uint32_t k) {
    return (uint32_t)((uint64_t)k * 25867 % N); /* coprime */
}
static uint32_t from_the_middle(uint32_t k) {
    return k % 2 ? N / 2 + k / 2 : N / 2 - 1 - k / 2;
}

static void every_order_of_insertion_gives_the_same_tree(void **state) {
    fill_and_check(rising);
    fill_and_check(falling);
    fill_and_check(scattered);
    fill_and_check(from_the_middle);
}

static void a_row_is_replaced_deleted_and_comes_back(void **state) {
    struct arena a = {0};
    struct tree t = {0};
    struct slice k = SLICE_LIT("key"), empty = SLICE_NULL;
    uint8_t big[1000];
    const struct tree_entry *e;

    memset(big, 5, sizeof big);
    assert_null(tree_get(&t, k));
    assert_null(tree_seek_ge(&t, k).leaf);
    tree_put(&t, &a, k, SLICE_LIT("one"), false);
    tree_put(&t, &a, empty, SLICE_LIT("empty key"), false);
    tree_put(&t, &a, k, slice_of(big, sizeof big), false);
    e = tree_get(&t, k);
    assert_int_equal(e->value_len, 1000);
    assert_memory_equal(e->value, big, 1000);
    tree_put(&t, &a, k, slice_sub(tree_value(e), 500, 10), false); /* its own old value */
    assert_int_equal(tree_get(&t, k)->value_len, 10);
    tree_put(&t, &a, k, SLICE_NULL, true);
    assert_true(tree_get(&t, k)->deleted);
    tree_put(&t, &a, k, SLICE_LIT("back"), false);
    assert_false(tree_get(&t, k)->deleted);
    assert_true(slice_eq_str(tree_value(tree_get(&t, k)), "back"));
    assert_true(slice_eq_str(tree_value(tree_get(&t, empty)), "empty key"));
    assert_int_equal(t.n, 2);
    arena_done(&a);
}

static void short_keys_and_zero_bytes_keep_their_order(void **state) {
    static const struct slice keys[] = {SLICE_LIT("a"),
                                        SLICE_LIT("a\0"),
                                        SLICE_LIT("a\0\0"),
                                        SLICE_LIT("a\0\0\0\0\0\0\0"),
                                        SLICE_LIT("a\0\0\0\0\0\0\0\0"),
                                        SLICE_LIT("a\0\0\0\0\0\0\1"),
                                        SLICE_LIT("a\1"),
                                        SLICE_LIT("b")};
    struct arena a = {0};
    struct tree t = {0};
    size_t i = 0;

    for (uint64_t k = 0; k < 200; k++)
        tree_put(&t, &a, keys[mix(k) % 8], SLICE_LIT("v"), false);
    assert_int_equal(t.n, 8);
    for (struct tree_cursor c = tree_first(&t); c.leaf; tree_next(&c), i++)
        assert_true(slice_eq(tree_key(tree_at(&c)), keys[i]));
    arena_done(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_order_of_insertion_gives_the_same_tree),
    cmocka_unit_test(a_row_is_replaced_deleted_and_comes_back),
    cmocka_unit_test(short_keys_and_zero_bytes_keep_their_order),
};
const struct unit_group tree_test_group = UNIT_GROUP(tests);
