/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "config/node.h"

#include <string.h>

static struct cfg_tree *parse(const char *text) {
    struct cfg_tree *t = NULL;
    struct err err = {0};

    if (cfg_parse(slice_str(text), "t.yaml", &t, &err) < 0)
        fail_msg("%s", err.msg);
    return t;
}

static void a_tree_keeps_kinds_order_and_lines(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = parse("a: 1\nb:\n  c: [x, \"2\"]\n  d: ~\ne: {f: 30s, g: 1MiB}\n");
    const struct cfg_node *c = cfg_find(cfg_root(t), "b.c");
    char path[64];
    uint64_t v;

    assert_int_equal(cfg_root(t)->n, 3);
    assert_non_null(c);
    assert_int_equal(c->type, CFG_LIST);
    assert_int_equal(c->line, 3);
    assert_int_equal(c->n, 2);
    assert_true(cfg_at(c, 1)->quoted);
    assert_null(cfg_at(c, 2));
    assert_string_equal(cfg_path(cfg_at(c, 1), path, sizeof path), "b.c[1]");
    assert_int_equal(cfg_find(cfg_root(t), "b.d")->type, CFG_NULL);
    assert_int_equal(cfg_u64(cfg_find(cfg_root(t), "e.f"), RS_UNIT_NS, &v, NULL), 0);
    assert_true(v == UINT64_C(30000000000));
    assert_int_equal(cfg_u64(cfg_find(cfg_root(t), "e.g"), RS_UNIT_BYTES, &v, NULL), 0);
    assert_int_equal(v, 1 << 20);
    assert_null(cfg_find(cfg_root(t), "e.f.x"));
    assert_null(cfg_get(c, "x"));
}

static void an_empty_text_is_an_empty_map(void **state) {
    for (const char *const *p = (const char *const[]){"", "# only a comment\n", "---\n", "{}", NULL}; *p; p++) {
        _cleanup_(cfg_tree_freep) struct cfg_tree *t = parse(*p);

        assert_int_equal(cfg_root(t)->type, CFG_MAP);
        assert_int_equal(cfg_root(t)->n, 0);
    }
}

static void bad_texts_are_refused_with_their_place(void **state) {
    static const struct {
        const char *text, *message;
    } rows[] = {{"a: 1\na: 2\n", "t.yaml:2:1: the key a was already given in line 1"},
                {"a: &x 1\n", "t.yaml:1:4: anchors and aliases are not supported"},
                {"a: *x\n", "t.yaml:1:4: anchors and aliases are not supported"},
                {"a: !!str 1\n", "t.yaml:1:4: tags are not supported"},
                {"a: 1\n---\nb: 2\n", "t.yaml:2:1: only one document is allowed"},
                {"[a]: 1\n", "t.yaml:1:1: the name of a key must be a plain text"},
                {"a: \"x\\0y\"\n", "t.yaml:1:4: a text must not contain a NUL byte"},
                {"a:\n\t- b\n", "t.yaml:2:1: "},
                {"a: [1\n", "t.yaml:2:1: "}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cfg_tree *t = NULL;
        struct err err = {0};

        assert_true(cfg_parse(slice_str(rows[i].text), "t.yaml", &t, &err) < 0);
        assert_null(t);
        if (strncmp(err.msg, rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("\"%s\" gave: %s", rows[i].text, err.msg);
    }
}

static void depth_and_size_are_bounded(void **state) {
    _cleanup_buf_ struct buf b = {0};
    struct cfg_tree *t = NULL;
    struct err err = {0};

    for (unsigned i = 0; i <= LIMIT_CFG_DEPTH; i++)
        buf_put_u8(&b, '[');
    assert_true(cfg_parse(buf_slice(&b), "t.yaml", &t, &err) < 0);
    assert_non_null(strstr(err.msg, "the nesting is too deep"));
    buf_clear(&b);
    while (b.len <= LIMIT_CFG_BYTES)
        buf_put_str(&b, "# comment\n");
    assert_int_equal(cfg_parse(buf_slice(&b), "t.yaml", &t, &err), RS_ETOOBIG);
    buf_clear(&b);
    buf_put_u8(&b, '[');
    for (unsigned i = 0; i <= LIMIT_CFG_NODES; i++)
        buf_put_str(&b, "1, ");
    assert_true(cfg_parse(buf_slice(&b), "t.yaml", &t, &err) < 0);
    assert_non_null(strstr(err.msg, "too many values"));
}

static void wrong_kinds_name_file_line_and_path(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t =
        parse("x:\n  a: [1]\n  b: maybe\n  c: 5x\n  d: -1\n  e: 99999999999999999999\n  f: 1.5y\n");
    const struct cfg_node *x = cfg_get(cfg_root(t), "x");
    struct err err = {0};
    const char *s;
    uint64_t v;
    double d;
    bool b;

    assert_int_equal(cfg_str(cfg_get(x, "a"), &s, &err), RS_EINVAL);
    assert_string_equal(err.msg, "t.yaml:2: x.a: a text is expected, not a list");
    assert_int_equal(cfg_bool(cfg_get(x, "b"), &b, &err), RS_EINVAL);
    assert_string_equal(err.msg, "t.yaml:3: x.b: true or false is expected, not \"maybe\"");
    assert_int_equal(cfg_u64(cfg_get(x, "c"), RS_UNIT_NS, &v, &err), RS_EINVAL);
    assert_string_equal(err.msg, "t.yaml:4: x.c: \"5x\": \"x\" is not a unit of time (ms, s, m, h, d)");
    assert_int_equal(cfg_u64(cfg_get(x, "d"), RS_UNIT_COUNT, &v, &err), RS_EINVAL);
    assert_int_equal(cfg_u64(cfg_get(x, "e"), RS_UNIT_COUNT, &v, &err), RS_EINVAL);
    assert_non_null(strstr(err.msg, "too big"));
    assert_int_equal(cfg_f64(cfg_get(x, "f"), &d, &err), RS_EINVAL);
}

static void what_is_written_reads_back_the_same(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t =
        parse("a: 1\nb: [x, {y: 'z: w', q: \"#\"}, [], {}]\nc:\n  - null\n  - 'null'\n  - \" \"\n  - \"a\\nb\"\n  - "
              "http://h:1/\n"
              "  - \"[::]:5122\"\n  - '-x'\n  - 'a: b'\nd: ''\n'k: l': \"tab\\t\"\n");
    _cleanup_buf_ struct buf yaml = {0}, first = {0}, second = {0};
    _cleanup_(cfg_tree_freep) struct cfg_tree *again = NULL, *copy = cfg_tree_new();

    cfg_put_yaml(&yaml, cfg_root(t), 0);
    again = parse(buf_cstr(&yaml));
    cfg_put_canonical(&first, cfg_root(t));
    cfg_put_canonical(&second, cfg_root(again));
    assert_string_equal(buf_cstr(&first), buf_cstr(&second));
    buf_clear(&second);
    cfg_put_canonical(&second, cfg_copy(copy, cfg_root(copy), "k", cfg_root(t)));
    assert_string_equal(buf_cstr(&first), buf_cstr(&second));
}

static void canonical_text_does_not_depend_on_order(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *a = parse("x: 1\ny: {q: 2, p: 3}\n"),
                                              *b = parse("{y: {p: 3, q: \"2\"}, x: 1}");
    _cleanup_buf_ struct buf first = {0}, second = {0};

    cfg_put_canonical(&first, cfg_root(a));
    cfg_put_canonical(&second, cfg_root(b));
    assert_string_equal(buf_cstr(&first), buf_cstr(&second));
}

static void removed_nodes_leave_their_neighbours(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = parse("{a: 1, b: 2, c: 3}");
    struct cfg_node *root = cfg_root(t);

    cfg_remove(root->last);
    assert_string_equal(root->last->key, "b");
    cfg_remove(root->first);
    assert_int_equal(root->n, 1);
    assert_ptr_equal(root->first, root->last);
    (void)cfg_add(t, root, "d", CFG_SCALAR, "4");
    assert_non_null(cfg_get(root, "d"));
    assert_null(cfg_get(root, "a"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_tree_keeps_kinds_order_and_lines),      cmocka_unit_test(an_empty_text_is_an_empty_map),
    cmocka_unit_test(bad_texts_are_refused_with_their_place),  cmocka_unit_test(depth_and_size_are_bounded),
    cmocka_unit_test(wrong_kinds_name_file_line_and_path),     cmocka_unit_test(what_is_written_reads_back_the_same),
    cmocka_unit_test(canonical_text_does_not_depend_on_order), cmocka_unit_test(removed_nodes_leave_their_neighbours),
};
const struct unit_group node_test_group = UNIT_GROUP(tests);
