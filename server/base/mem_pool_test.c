/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "base/mem_pool.h"

struct user {
    struct mem_claim claim;
    struct mem_wait a, b;
    unsigned granted_a, granted_b;
};

static void on_ready(void *arg) {
    ++*(unsigned *)arg;
}
static void on_a(struct mem_wait *w) {
    CONTAINER_OF(w, struct user, a)->granted_a++;
}
static void on_b(struct mem_wait *w) {
    CONTAINER_OF(w, struct user, b)->granted_b++;
}

struct fixture {
    struct mem_pool pool;
    struct user u[4];
    unsigned ready;
};

static void set_up(struct fixture *f) {
    *f = (struct fixture){0};
    mem_pool_init(&f->pool, 150, 50, on_ready, &f->ready);
    for (size_t i = 0; i < ARRAY_SIZE(f->u); i++)
        f->u[i] = (struct user){.claim.pool = &f->pool, .a.granted = on_a, .b.granted = on_b};
}

static void what_is_given_back_can_be_taken(void **state) {
    struct fixture f;

    set_up(&f);
    assert_true(mem_take(&f.u[0].claim, 60));
    assert_true(mem_take(&f.u[1].claim, 40));
    assert_false(mem_take(&f.u[2].claim, 1));
    mem_give(&f.u[0].claim, 60);
    assert_true(mem_take(&f.u[2].claim, 60));
    assert_int_equal(f.pool.used, 100);
    assert_int_equal(f.ready, 0); /* nobody waits */
}

static void the_first_without_memory_gets_the_reserve_and_the_others_wait_in_line(void **state) {
    struct fixture f;

    set_up(&f);
    assert_true(mem_take(&f.u[0].claim, 100));
    assert_true(mem_take_or_wait(&f.u[1].claim, &f.u[1].a, 50)); /* the reserve */
    assert_false(mem_take_or_wait(&f.u[2].claim, &f.u[2].a, 30));
    assert_false(mem_take_or_wait(&f.u[3].claim, &f.u[3].a, 1));
    mem_give(&f.u[0].claim, 20);
    mem_pool_serve(&f.pool);
    assert_false(mem_take(&f.u[0].claim, 1)); /* not before those who wait */
    assert_int_equal(f.u[2].granted_a + f.u[3].granted_a, 0);
    mem_give(&f.u[1].claim, 50);
    assert_true(f.ready > 0);
    mem_pool_serve(&f.pool);
    assert_int_equal(f.u[2].granted_a, 1); /* 110 are in use: it has the reserve now */
    assert_int_equal(f.u[3].granted_a, 0);
    mem_give(&f.u[0].claim, 80);
    mem_pool_serve(&f.pool);
    assert_int_equal(f.u[3].granted_a, 1);
    assert_int_equal(f.pool.used, 31);
}

static void the_favoured_one_never_waits_again(void **state) {
    struct fixture f;

    set_up(&f);
    assert_true(mem_take(&f.u[0].claim, 100));
    assert_true(mem_take_or_wait(&f.u[3].claim, &f.u[3].a, 10));
    assert_false(mem_take_or_wait(&f.u[1].claim, &f.u[1].a, 10));
    assert_false(mem_take_or_wait(&f.u[2].claim, &f.u[2].a, 10));
    assert_false(mem_take_or_wait(&f.u[1].claim, &f.u[1].b, 10)); /* behind 2, which cannot go on either */
    mem_give(&f.u[3].claim, 10);
    mem_pool_serve(&f.pool);
    assert_int_equal(f.u[1].granted_a, 1);
    assert_int_equal(f.u[1].granted_b, 1);
    assert_int_equal(f.u[2].granted_a, 0);
    assert_true(mem_take_or_wait(&f.u[1].claim, &f.u[1].a, 30));
    mem_give(&f.u[1].claim, 50);
    mem_pool_serve(&f.pool);
    assert_int_equal(f.u[2].granted_a, 1);
}

static void who_gives_up_lets_the_others_pass(void **state) {
    struct fixture f;

    set_up(&f);
    assert_true(mem_take(&f.u[0].claim, 90));
    assert_true(mem_take_or_wait(&f.u[1].claim, &f.u[1].a, 20));
    assert_false(mem_take_or_wait(&f.u[2].claim, &f.u[2].a, 40));
    assert_false(mem_take_or_wait(&f.u[3].claim, &f.u[3].a, 10));
    mem_give(&f.u[0].claim, 20);
    mem_wait_cancel(&f.u[2].a);
    assert_true(f.ready > 0);
    mem_pool_serve(&f.pool);
    assert_int_equal(f.u[3].granted_a, 1);
    assert_int_equal(f.u[2].granted_a, 0);
    mem_wait_cancel(&f.u[2].a); /* not waiting */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_given_back_can_be_taken),
    cmocka_unit_test(the_first_without_memory_gets_the_reserve_and_the_others_wait_in_line),
    cmocka_unit_test(the_favoured_one_never_waits_again),
    cmocka_unit_test(who_gives_up_lets_the_others_pass),
};
const struct unit_group mem_pool_test_group = UNIT_GROUP(tests);
