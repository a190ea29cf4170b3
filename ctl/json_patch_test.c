/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Patch, after the examples of RFC 6902 and what they leave out. */
#include <stdlib.h>
#include "json_patch.h"
#include "unit.h"

static const struct {
    const char *before, *patch, *after; /* after NULL: refused */
} rows[] = {
    {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
     "{\"baz\":\"qux\",\"foo\":\"bar\"}"},
    {"{\"foo\":[1,3]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":2}]", "{\"foo\":[1,2,3]}"},
    {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":[2]}]", "{\"foo\":[1,[2]]}"},
    {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/2\",\"value\":2}]", NULL},
    {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/bar/x\",\"value\":2}]", NULL},
    {"{\"a\":1,\"b\":2}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"b\":2}"},
    {"{\"a\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/a/1\"}]", "{\"a\":[1,3]}"},
    {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", NULL},
    {"{\"a\":[1]}", "[{\"op\":\"remove\",\"path\":\"/a/01\"}]", NULL},
    {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":{\"b\":2}}]", "{\"a\":{\"b\":2}}"},
    {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":2}]", NULL},
    {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":[2]}]", "[2]"},
    {"{\"a\":{\"b\":1},\"c\":{}}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/c/d\"}]",
     "{\"a\":{},\"c\":{\"d\":1}}"},
    {"{\"a\":{\"b\":1}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]", NULL},
    {"{\"a\":{\"b\":1}}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/c\"}]", "{\"a\":{\"b\":1,\"c\":{\"b\":1}}}"},
    {"{\"a/b\":1,\"c~d\":2}",
     "[{\"op\":\"replace\",\"path\":\"/a~1b\",\"value\":3},{\"op\":\"remove\",\"path\":\"/c~0d\"}]", "{\"a/b\":3}"},
    {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/a~2\"}]", NULL},
    {"{\"a\":[1,{\"b\":2}]}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":[1,{\"b\":2}]}]", "{\"a\":[1,{\"b\":2}]}"},
    {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", NULL},
    {"{\"a\":1}", "[{\"op\":\"increment\",\"path\":\"/a\",\"value\":2}]", NULL},
    {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"a\",\"value\":2}]", NULL},
    {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\"}]", NULL},
    {"{\"a\":1}", "[1]", NULL},
    {"{\"a\":1}", "{}", NULL},
    {"{\"a\":1}", "[]", "{\"a\":1}"},
};

static void every_operation_does_what_the_rfc_says(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *v = json_loads(rows[i].before, 0, NULL), *patch = json_loads(rows[i].patch, 0, NULL);
        struct err err = {0};
        char *text;
        int r;

        assert_non_null(v);
        assert_non_null(patch);
        r = json_patch(&v, patch, &err);
        text = json_dumps(v, JSON_SORT_KEYS | JSON_COMPACT);
        if (rows[i].after) {
            assert_int_equal(r, 0);
            assert_string_equal(text, rows[i].after);
        } else {
            assert_true(r < 0);
            assert_true(err.msg[0] != 0);
        }
        free(text);
        json_decref(v);
        json_decref(patch);
    }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(every_operation_does_what_the_rfc_says)};
const struct unit_group json_patch_test_group = UNIT_GROUP(tests);
