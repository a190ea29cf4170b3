/* SPDX-License-Identifier: Apache-2.0 */
/* The generated codecs, on command.def and service.def: presence, strictness, limits, unknown fields. */
#include "unit.h"

#include <stdio.h>

#include "proto/command.gen.h"
#include "proto/service.gen.h"

static struct slice hex(struct arena *a, const char *s) {
    size_t n = 0;
    uint8_t *p = arena_alloc(a, strlen(s) / 2 + 1);

    for (; *s; s += 2) {
        unsigned v;

        while (*s == ' ')
            s++;
        assert_int_equal(sscanf(s, "%2x", &v), 1);
        p[n++] = (uint8_t)v;
    }
    return slice_of(p, n);
}

static void decoded_fields_are_views_with_presence(void **state) {
    _cleanup_arena_ struct arena a = {0};
    struct slice in = hex(&a, "0a03616263 1a00 2202 0a00 2203 120178 0a00");
    struct cmd_invoke m;

    (void)state;
    assert_int_equal(cmd_invoke_decode(&m, in, &a, NULL), 0);
    assert_non_null(m.id.data);
    assert_int_equal(m.id.len, 0); /* the last one counts, and it is there */
    assert_non_null(m.argument.data);
    assert_int_equal(m.argument.len, 0);
    assert_null(m.target);
    assert_null(m.idempotency_key.data);
    assert_int_equal(m.n_headers, 2);
    assert_true(m.headers[0].key.data && !m.headers[0].key.len && !m.headers[0].value.data);
    assert_true(slice_eq_str(m.headers[1].value, "x"));
    assert_ptr_equal(m.headers[1].value.data, in.data + 15);
}

static void encoding_is_the_inverse_and_keeps_unknown_fields(void **state) {
    static const struct {
        const char *in, *out; /* an effect; out NULL: the same */
    } rows[] = {
        {"", NULL},
        {"0802 2080 082a 00", NULL},          /* kind, type 1024, an empty payload */
        {"0801 9a06 0101", NULL},             /* field 99, bytes */
        {"9a06 0101 0801", "0801 9a06 0101"}, /* unknown ones go last */
        {"9a06 0101 0801 a506 01020304 a006 07", "0801 9a060101 a506 01020304 a00607"}, /* with gaps, in order */
        {"3a 08 0a02 0102 22 02 2801", NULL},                                           /* a future with a nested one */
        {"3a 04 0801 0802", "3a 04 0a02 0102"}, /* not packed on read, packed on write */
        {"4a 04 3000 4000", NULL},              /* opt zeroes are there */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena a = {0};
        _cleanup_buf_ struct buf out = {0};
        struct slice want = hex(&a, rows[i].out ? rows[i].out : rows[i].in);
        struct cmd_effect m;

        assert_int_equal(cmd_effect_decode(&m, hex(&a, rows[i].in), &a, NULL), 0);
        assert_int_equal(cmd_effect_size(&m), want.len);
        cmd_effect_encode(&m, &out);
        assert_int_equal(out.len, want.len);
        assert_true(slice_eq(buf_slice(&out), want));
    }
}

static void bad_input_is_refused_with_the_name_of_the_field(void **state) {
    static const struct {
        const char *in, *text;
    } rows[] = {
        {"08", "effect.kind: truncated"},
        {"0880", "effect.kind: truncated"},
        {"08ffffffffff01", "effect.kind: number out of range"},
        {"08ffffffffffffffffff7f", "effect.kind: number out of range"},
        {"0a00", "effect.kind: wrong wire type"},
        {"0d00000000", "effect.kind: wrong wire type"},
        {"1202", "effect.deployment: truncated"},
        {"12ffffffffffffffffff01 41", "effect.deployment: truncated"},
        {"1201ff", "effect.deployment: not valid UTF-8"},
        {"1202c080", "effect.deployment: not valid UTF-8"},
        {"1203eda080", "effect.deployment: not valid UTF-8"},
        {"1204f4908080", "effect.deployment: not valid UTF-8"},
        {"3207 0a01ff", "effect.call: truncated"},
        {"3a020880", "future.completions: truncated"},
        {"3a030a0180", "future.completions: truncated"},
        {"9b0601", "effect, field 99: wrong wire type"},
        {"9e0601", "effect, field 99: wrong wire type"},
        {"0000", "effect, field 0: number out of range"},
        {"9d06000000", "effect, field 99: truncated"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena a = {0};
        struct cmd_effect m;
        struct err err = {0};

        assert_int_equal(cmd_effect_decode(&m, hex(&a, rows[i].in), &a, &err), RS_EINVAL);
        assert_string_equal(err.msg, rows[i].text);
    }
}

/* A suspension around @n nested futures. */
static void nested_futures(unsigned n, struct buf *out) {
    struct sp_future *all = xnewn(struct sp_future, n);
    struct sp_suspension m = {.awaiting_on = all};

    for (unsigned i = 0; i + 1 < n; i++)
        all[i].nested = &all[i + 1], all[i].n_nested = 1;
    sp_suspension_encode(&m, out);
    free(all);
}

static void a_thousand_nested_futures_are_read_and_one_more_is_not(void **state) {
    _cleanup_arena_ struct arena a = {0};
    _cleanup_buf_ struct buf deep = {0}, again = {0}, too_deep = {0};
    struct sp_suspension m;
    struct err err = {0};

    (void)state;
    nested_futures(1000, &deep);
    assert_int_equal(sp_suspension_decode(&m, buf_slice(&deep), &a, NULL), 0);
    sp_suspension_encode(&m, &again);
    assert_true(slice_eq(buf_slice(&again), buf_slice(&deep)));
    nested_futures(1001, &too_deep);
    assert_int_equal(sp_suspension_decode(&m, buf_slice(&too_deep), &a, &err), RS_ETOOBIG);
    assert_string_equal(err.msg, "future.nested: nested too deeply");
}

static void arrays_of_tiny_messages_cannot_take_all_memory(void **state) {
    enum { N = 4u << 20 };
    _cleanup_arena_ struct arena a = {0};
    _cleanup_buf_ struct buf in = {0};
    struct sp_start m;
    uint8_t *p = buf_add(&in, 2 * N);

    (void)state;
    for (size_t i = 0; i < N; i++)
        p[2 * i] = 0x22, p[2 * i + 1] = 0;
    assert_int_equal(sp_start_decode(&m, buf_slice(&in), &a, NULL), RS_ETOOBIG);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(decoded_fields_are_views_with_presence),
    cmocka_unit_test(encoding_is_the_inverse_and_keeps_unknown_fields),
    cmocka_unit_test(bad_input_is_refused_with_the_name_of_the_field),
    cmocka_unit_test(a_thousand_nested_futures_are_read_and_one_more_is_not),
    cmocka_unit_test(arrays_of_tiny_messages_cannot_take_all_memory),
};
const struct unit_group pb_test_group = UNIT_GROUP(tests);
