/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include <string.h>
#include "admin/admin_internal.h"
#include "proto/command.h"

static json_t *at(json_t *o, const char *const *path) {
    for (; *path; path++)
        o = json_object_get(o, *path);
    return o;
}
#define AT(o, ...) at((o), (const char *const[]){__VA_ARGS__, NULL})

/* Every {"$ref": "#/a/b"} of @v leads somewhere in @root. */
static void check_references(json_t *root, json_t *v) {
    const char *key, *ref = json_string_value(json_object_get(v, "$ref"));
    json_t *child;
    size_t i;

    if (ref) {
        json_t *target = root;
        char copy[200], *save = NULL;

        assert_int_equal(strncmp(ref, "#/", 2), 0);
        (void)snprintf(copy, sizeof copy, "%s", ref + 2);
        for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save))
            target = json_object_get(target, p);
        assert_non_null(target);
    }
    json_object_foreach(v, key, child) check_references(root, child);
    json_array_foreach(v, i, child) check_references(root, child);
}

static void test_an_object_has_paths_for_call_send_attach_and_output(void **state) {
    json_t *json = json_loads("{\"input\":{\"jsonSchema\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/item\"},"
                              "\"$defs\":{\"item\":{\"type\":\"number\"}}}}}",
                              0, NULL);
    struct service s = {.name = "Counter", .type = SERVICE_OBJECT, .revision = 3};
    struct schema_handler h[2] = {{.service = &s,
                                   .name = "add",
                                   .target_type = TARGET_OBJECT_EXCLUSIVE,
                                   .is_public = true,
                                   .has_input = true,
                                   .input_required = true,
                                   .input_content_type = "application/json",
                                   .output_content_type = "application/json",
                                   .json = json},
                                  {.service = &s, .name = "hidden", .target_type = TARGET_OBJECT_SHARED}};
    json_t *doc, *call;

    (void)state;
    s.handlers = h;
    s.n_handlers = 2;
    doc = render_openapi(&s, "http://127.0.0.1:8080/");
    assert_string_equal(json_string_value(AT(doc, "info", "version")), "3");
    assert_int_equal(json_object_size(AT(doc, "paths")), 4); /* none for what is private */
    call = AT(doc, "paths", "/restate/call/Counter/{key}/add", "post");
    assert_string_equal(json_string_value(AT(call, "requestBody", "content", "application/json", "schema", "$ref")),
                        "#/components/schemas/addRequest");
    assert_string_equal(json_string_value(AT(doc, "components", "schemas", "addRequest", "items", "$ref")),
                        "#/components/schemas/addRequest/$defs/item");
    assert_true(json_is_true(AT(call, "requestBody", "required")));
    assert_non_null(AT(doc, "paths", "/restate/send/Counter/{key}/add", "post", "responses", "202"));
    assert_non_null(AT(doc, "paths", "/restate/invocation/Counter/{key}/add/{idempotencyKey}/attach", "get"));
    assert_non_null(
        AT(doc, "paths", "/restate/invocation/Counter/{key}/add/{idempotencyKey}/output", "get", "responses", "470"));
    check_references(doc, doc);
    json_decref(doc);
    json_decref(json);
}

static void test_a_workflow_has_one_result_and_takes_no_idempotency_key(void **state) {
    struct service s = {.name = "Signup", .type = SERVICE_WORKFLOW, .revision = 1};
    struct schema_handler h[2] = {
        {.service = &s, .name = "run", .target_type = TARGET_WORKFLOW_RUN, .is_public = true, .has_input = true},
        {.service = &s, .name = "state", .target_type = TARGET_WORKFLOW_SHARED, .is_public = true, .has_input = true}};
    json_t *doc, *call;

    (void)state;
    s.handlers = h;
    s.n_handlers = 2;
    doc = render_openapi(&s, "http://127.0.0.1:8080/");
    assert_int_equal(json_object_size(AT(doc, "paths")), 6);
    assert_non_null(AT(doc, "paths", "/restate/workflow/Signup/{key}/attach", "get"));
    assert_non_null(AT(doc, "paths", "/restate/workflow/Signup/{key}/output", "get"));
    call = AT(doc, "paths", "/restate/call/Signup/{key}/run", "post");
    assert_int_equal(json_array_size(AT(call, "parameters")), 1); /* the key */
    assert_null(AT(call, "requestBody"));
    check_references(doc, doc);
    json_decref(doc);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_an_object_has_paths_for_call_send_attach_and_output),
    cmocka_unit_test(test_a_workflow_has_one_result_and_takes_no_idempotency_key),
};
const struct unit_group openapi_test_group = UNIT_GROUP(tests);
