/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "plugin/plugin_internal.h"

#include <string.h>

static const char schema[] =
    "{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{"
    "\"name\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":5,\"pattern\":\"^[a-z]+$\"},"
    "\"size\":{\"type\":[\"integer\",\"string\"],\"format\":\"bytes\",\"pattern\":\"^[0-9]+ ?([KMGT]i?B|B)?$\"},"
    "\"unit\":{\"type\":[\"integer\",\"string\"],\"pattern\":\"^[0-9]+x$\"},"
    "\"wait\":{\"type\":\"string\",\"format\":\"duration\"},"
    "\"level\":{\"type\":\"integer\",\"minimum\":-2,\"maximum\":20},"
    "\"ratio\":{\"type\":\"number\",\"maximum\":0.5},"
    "\"on\":{\"type\":\"boolean\"},"
    "\"version\":{\"type\":\"string\",\"enum\":[\"1.2\",\"1.3\"]},"
    "\"ports\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":1}},"
    "\"inner\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}},"
    "\"open\":{\"type\":\"object\",\"additionalProperties\":true},"
    "\"headers\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}}}";

static void options_are_checked_against_the_schema(void **state) {
    static const struct {
        const char *yaml, *message; /* NULL: accepted */
    } rows[] = {
        {"name: ab", NULL},
        {"{name: ab, size: 512MiB, wait: 30s, level: -2, ratio: 0.5, on: true, version: 1.2, ports: [1, 2]}", NULL},
        {"{name: ab, inner: {a: x}, open: {any: [thing]}, headers: {h: v}, size: 4096, unit: 5x}", NULL},
        {"{name: ab, unit: 5}", NULL},
        {"{name: ab, size: ~}", NULL},
        {"{}", "the option name is required"},
        {"{name: a}", "t:1: name: the text is shorter than 2 bytes"},
        {"{name: abcdef}", "t:1: name: the text is longer than 5 bytes"},
        {"{name: AB}", "t:1: name: \"AB\" does not match ^[a-z]+$"},
        {"{name: [ab]}", "t:1: name: a value of type string is expected, not a list"},
        {"{name: ab, nam: x}", "t:1: nam: this plugin has no such option; did you mean name?"},
        {"{name: ab, size: big}", "t:1: size: \"big\": a size is expected"},
        {"{name: ab, unit: 5y}", "t:1: unit: \"5y\" does not match"},
        {"{name: ab, wait: 5}", "t:1: wait: \"5\": a unit (ms, s, m, h, d) is missing"},
        {"{name: ab, level: 21}", "t:1: level: 21 is more than 20"},
        {"{name: ab, level: -3}", "t:1: level: -3 is less than -2"},
        {"{name: ab, level: 1.5}", "t:1: level: \"1.5\" is not of type integer"},
        {"{name: ab, level: \"5\"}", "t:1: level: \"5\" is not of type integer"},
        {"{name: ab, ratio: 0.6}", "t:1: ratio: 0.6 is more than 0.5"},
        {"{name: ab, on: yes}", "t:1: on: \"yes\" is not of type boolean"},
        {"{name: ab, version: 1.1}", "t:1: version: \"1.1\" is not one of 1.2 or 1.3"},
        {"{name: ab, ports: [1, 0]}", "t:1: ports[1]: 0 is less than 1"},
        {"{name: ab, ports: 1}", "t:1: ports: \"1\" is not of type array"},
        {"{name: ab, inner: {b: 1}}", "t:1: inner.b: this plugin has no such option"},
        {"{name: ab, headers: {h: [v]}}", "t:1: headers.h: a value of type string is expected, not a list"}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(cfg_tree_freep) struct cfg_tree *t = NULL;
        struct err err = {0};
        int r;

        assert_int_equal(cfg_parse(slice_str(rows[i].yaml), "t", &t, &err), 0);
        r = schema_validate(schema, "plugin", cfg_root(t), &err);
        if ((r == 0) != (rows[i].message == NULL) || (r < 0 && !strstr(err.msg, rows[i].message)))
            fail_msg("%s: %d %s", rows[i].yaml, r, err.msg);
    }
}

static void a_broken_schema_is_the_plugins_fault(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = cfg_tree_new();
    struct err err = {0};

    assert_int_equal(schema_validate("{", "/p/x.so", cfg_root(t), &err), RS_EINVAL);
    assert_non_null(strstr(err.msg, "/p/x.so: its config_schema is not a JSON object"));
    assert_int_equal(schema_validate("[]", "/p/x.so", cfg_root(t), &err), RS_EINVAL);
    assert_true(schema_has(schema, "size"));
    assert_false(schema_has(schema, "nothing"));
    assert_false(schema_has("{", "size"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(options_are_checked_against_the_schema),
    cmocka_unit_test(a_broken_schema_is_the_plugins_fault),
};
const struct unit_group schema_test_group = UNIT_GROUP(tests);
