/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "worker/sm_fixture.h"

#define ID(f, key, n) test_id((f), (key), (n))

static struct slice test_id(struct fixture *f, const char *key, uint64_t n) {
    uint8_t *raw = arena_alloc(&f->scratch, 24);

    put_u64be(raw, id_partition_key(&(struct id_target){.type = TARGET_OBJECT_SHARED, .key = slice_str(key)}, 0));
    put_u64be(raw + 8, 1);
    put_u64be(raw + 16, n);
    return slice_of(raw, 24);
}

static void counter_call(void **state) {
    struct fixture f;
    char why[256];
    struct cmd_target target = {.type = TARGET_OBJECT_EXCLUSIVE,
                                .service = SLICE_LIT("Counter"),
                                .key = SLICE_LIT("k"),
                                .handler = SLICE_LIT("add")};
    struct cmd_sink sink = {.request_id = SLICE_LIT("0123456789abcdef")};
    struct cmd_effect effects[4];
    const struct sm_action *a;
    struct slice id;

    fixture_init(&f, 0, UINT64_MAX);
    id = ID(&f, "k", 1);
    assert_int_equal(FX(&f, CMD_INVOKE, invoke, .id = id, .target = &target, .argument = SLICE_LIT("1"), .sink = &sink),
                     0);
    assert_null(fixture_check(&f, why));
    assert_int_equal(f.a.n, 1);
    assert_int_equal(f.a.items[0].type, SM_ACTION_INVOKE);
    memset(effects, 0, sizeof effects);
    effects[0] = (struct cmd_effect){.kind = EFFECT_PINNED, .deployment = SLICE_LIT("dp_1"), .protocol = 6};
    effects[1] = (struct cmd_effect){.kind = EFFECT_COMMAND,
                                     .type = SP_SET_STATE,
                                     .payload = SP_BYTES(&f, set_state, .key = SLICE_LIT("n"),
                                                         .value = &(struct sp_value){.content = SLICE_LIT("1")})};
    effects[2] =
        (struct cmd_effect){.kind = EFFECT_COMMAND,
                            .type = SP_OUTPUT,
                            .payload = SP_BYTES(&f, output, .value = &(struct sp_value){.content = SLICE_LIT("42")})};
    effects[3] = (struct cmd_effect){.kind = EFFECT_END};
    assert_int_equal(FX(&f, CMD_INVOKER_EFFECT, invoker_effect, .id = id, .effects = effects, .n_effects = 4), 0);
    assert_null(fixture_check(&f, why));
    a = fixture_action(&f, SM_ACTION_INGRESS_RESPONSE, 0);
    assert_non_null(a);
    assert_true(slice_eq_str(a->response.result.value, "42"));
    fixture_done(&f);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(counter_call)};
const struct unit_group state_machine_test_group = UNIT_GROUP(tests);
