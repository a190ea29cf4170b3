/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"

struct item {
    struct map_node node;
    uint64_t key;
};

static void map_finds_what_was_added_and_not_what_was_removed(void **state) {
    struct map m = {0};
    struct item items[1000];
    size_t seen = 0;

    for (uint64_t i = 0; i < 1000; i++) {
        items[i].key = i;
        map_add(&m, &items[i].node, map_hash_u64(i) & 255); /* many collisions on purpose */
    }
    for (uint64_t i = 0; i < 1000; i += 2)
        map_remove(&m, &items[i].node);
    for (uint64_t i = 0; i < 1000; i++) {
        struct map_node *n;

        for (n = map_first(&m, map_hash_u64(i) & 255); n; n = map_next(n))
            if (MAP_ENTRY(n, struct item, node)->key == i)
                break;
        assert_int_equal(n != NULL, i % 2);
    }
    MAP_FOREACH (n, &m)
        seen++;
    assert_int_equal(seen, 500);
    map_done(&m);
}

static void buf_grows_and_consumes_from_the_front(void **state) {
    struct buf b = {0};

    for (int i = 0; i < 1000; i++)
        buf_putf(&b, "%03d", i);
    assert_int_equal(b.len, 3000);
    buf_consume(&b, 2997);
    assert_string_equal(buf_cstr(&b), "999");
    buf_done(&b);
}

static void arena_survives_clear_and_keeps_alignment(void **state) {
    struct arena a = {0};

    for (int round = 0; round < 3; round++) {
        for (size_t i = 1; i < 500; i++) {
            void *p = arena_alloc(&a, i);
            assert_int_equal((uintptr_t)p % 8, 0);
            memset(p, 0xee, i);
        }
        arena_clear(&a);
    }
    arena_done(&a);
}

static void err_wrap_puts_context_in_front(void **state) {
    struct err e = {0};

    assert_int_equal(err_set(&e, RS_EIO, "disk %d", 7), RS_EIO);
    assert_int_equal(err_wrap(&e, RS_EIO, "store %s", "log"), RS_EIO);
    assert_string_equal(e.msg, "store log: disk 7");
    assert_string_equal(err_name(RS_EUNSUPPORTED), "RS_EUNSUPPORTED");
}

static void bytes_take_a_buffer_without_copy(void **state) {
    struct buf b = {0};
    struct bytes *x;
    uint8_t *p;

    buf_put_str(&b, "hello");
    p = b.data;
    x = bytes_take_buf(&b);
    assert_ptr_equal(x->data, p);
    assert_null(b.data);
    assert_null(bytes_unref(bytes_ref(x)));
    assert_null(bytes_unref(x));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(map_finds_what_was_added_and_not_what_was_removed),
    cmocka_unit_test(buf_grows_and_consumes_from_the_front), cmocka_unit_test(arena_survives_clear_and_keeps_alignment),
    cmocka_unit_test(err_wrap_puts_context_in_front), cmocka_unit_test(bytes_take_a_buffer_without_copy)};
const struct unit_group collections_test_group = UNIT_GROUP(tests);
