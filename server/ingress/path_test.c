/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "ingress/path.h"
#include "ingress/rules.h"
#include "meta/schema.h"

static int keyed(void *arg, struct slice service) {
    return slice_eq_str(service, "Greeter") ? 0 : slice_eq_str(service, "Counter") ? 1 : -1;
}

static void paths_name_what_the_table_says(void **state) {
    static const struct {
        const char *path;
        enum ingress_path_fault fault;
        enum ingress_verb verb;
        const char *service, *key, *handler, *idem, *id, *scope;
    } rows[] = {
        {"/", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/Greeter", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/Greeter/greet", PATH_OK, INGRESS_CALL, "Greeter", 0, "greet", 0, 0},
        {"/Greeter/greet/send", PATH_OK, INGRESS_SEND, "Greeter", 0, "greet", 0, 0},
        {"/Greeter/greet/other", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/Greeter/greet/send/x", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/Counter/my%20key/add", PATH_OK, INGRESS_CALL, "Counter", "my key", "add", 0, 0},
        {"/Counter/a+b/add", PATH_OK, INGRESS_CALL, "Counter", "a+b", "add", 0, 0},
        {"/Counter/%ff/add", PATH_BAD_KEY, 0, 0, 0, 0, 0, 0},
        {"/Counter/%zz/add", PATH_BAD_KEY, 0, 0, 0, 0, 0, 0},
        {"/Counter/k", PATH_BAD_SERVICE, 0, 0, 0, 0, 0, 0},
        {"/Nope/x", PATH_NO_SERVICE, 0, 0, 0, 0, 0, 0},
        {"/openapi/x", PATH_NOT_FOUND, 0, 0, 0, 0, 0, 0},
        {"/restate/nothing", PATH_NOT_FOUND, 0, 0, 0, 0, 0, 0},
        {"/restate/health", PATH_OK, INGRESS_HEALTH, 0, 0, 0, 0, 0},
        {"/restate/call/Counter/k/add", PATH_OK, INGRESS_CALL, "Counter", "k", "add", 0, 0},
        {"/restate/send/Greeter/greet", PATH_OK, INGRESS_SEND, "Greeter", 0, "greet", 0, 0},
        {"/restate/call/Greeter/greet/send", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/restate/scope/s%2E1/call/Greeter/greet", PATH_OK, INGRESS_CALL, "Greeter", 0, "greet", 0, 0, "s.1"},
        {"/restate/scope/s/send/Counter/k/add", PATH_OK, INGRESS_SEND, "Counter", "k", "add", 0, 0, "s"},
        {"/restate/scope/s/attach/Greeter/greet", PATH_NOT_FOUND, 0, 0, 0, 0, 0, 0},
        {"/restate/scope/a%20b/call/Greeter/greet", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/restate/scope/1234567890123456789012345678901234567/call/Greeter/greet", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/restate/invocation/inv_1/attach", PATH_OK, INGRESS_ATTACH_ID, 0, 0, 0, 0, "inv_1"},
        {"/restate/invocation/inv_1/other", PATH_NOT_FOUND, 0, 0, 0, 0, 0, 0},
        {"/restate/invocation/inv_1", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/restate/invocation/Greeter/greet/k1/output", PATH_OK, INGRESS_OUTPUT_KEY, "Greeter", 0, "greet", "k1", 0},
        {"/restate/invocation/Counter/k/add/k1/attach", PATH_OK, INGRESS_ATTACH_KEY, "Counter", "k", "add", "k1", 0},
        {"/restate/workflow/Wf/w%2F1/output", PATH_OK, INGRESS_OUTPUT_WORKFLOW, "Wf", "w/1", 0, 0, 0},
        {"/restate/workflow/Wf/w1", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/restate/attach/inv_1", PATH_OK, INGRESS_ATTACH_ID, 0, 0, 0, 0, "inv_1"},
        {"/restate/output", PATH_OK, INGRESS_OUTPUT_BODY, 0, 0, 0, 0, 0},
        {"/restate/lookup", PATH_OK, INGRESS_LOOKUP, 0, 0, 0, 0, 0},
        {"/restate/awakeables/sign_1/resolve", PATH_OK, INGRESS_RESOLVE, 0, 0, 0, 0, "sign_1"},
        {"/restate/a/sign_1/reject", PATH_OK, INGRESS_REJECT, 0, 0, 0, 0, "sign_1"},
        {"/restate/a/sign_1/other", PATH_NOT_FOUND, 0, 0, 0, 0, 0, 0},
        {"/restate/a/sign_1", PATH_BAD, 0, 0, 0, 0, 0, 0},
        {"/a/b/c/d/e/f/g/h", PATH_BAD, 0, 0, 0, 0, 0, 0},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena a = {0};
        struct ingress_path p;
        struct err err = {0};
        enum ingress_path_fault f = ingress_path_parse(slice_str(rows[i].path), keyed, NULL, &a, &p, &err);

        if (f != rows[i].fault)
            print_error("%s: fault %d\n", rows[i].path, f);
        assert_int_equal(f, rows[i].fault);
        if (f == PATH_OK) {
            assert_int_equal(p.verb, rows[i].verb);
            assert_true(!rows[i].service || slice_eq_str(p.service, rows[i].service));
            assert_true(!rows[i].key || (p.has_key && slice_eq_str(p.key, rows[i].key)));
            assert_true(!rows[i].handler || slice_eq_str(p.handler, rows[i].handler));
            assert_true(!rows[i].idem || slice_eq_str(p.idempotency_key, rows[i].idem));
            assert_true(!rows[i].id || slice_eq_str(p.id, rows[i].id));
            assert_true(rows[i].scope ? slice_eq_str(p.scope, rows[i].scope) : !p.scope.data);
        }
        arena_done(&a);
    }
    assert_true(slice_eq_str(ingress_path_trim(SLICE_LIT("/a/b//")), "/a/b"));
}

static void input_is_accepted_when_any_rule_passes(void **state) {
    static const struct {
        struct schema_handler h;
        const char *type, *body;
        bool ok;
    } rows[] = {
        {{.has_input = false}, NULL, "", true},
        {{.has_input = false}, "text/plain", "x", true},
        {{.has_input = true}, NULL, "", true},
        {{.has_input = true}, "text/plain", "", false},
        {{.has_input = true, .input_content_type = "application/json"}, NULL, "", true},
        {{.has_input = true, .input_content_type = "application/json"}, NULL, "1", false},
        {{.has_input = true, .input_content_type = "application/json"}, "application/json; charset=utf-8", "1", true},
        {{.has_input = true, .input_content_type = "application/json"}, "application/json", "", true},
        {{.has_input = true, .input_content_type = "application/json"}, "application/JSON", "1", false},
        {{.has_input = true, .input_content_type = "application/json"},
         "application/x-www-form-urlencoded",
         "1",
         false},
        {{.has_input = true, .input_content_type = "application/*"}, "application/xml", "1", true},
        {{.has_input = true, .input_content_type = "application/*"}, "text/xml", "1", false},
        {{.has_input = true, .input_content_type = "*/*"}, "anything", "1", true},
        {{.has_input = true, .input_content_type = "text/plain"}, "nothing", "1", false},
        {{.has_input = true, .input_required = true, .input_content_type = "application/json"}, NULL, "", false},
        {{.has_input = true,
          .input_required = true,
          .input_content_type = "application/json",
          .input_has_schema = true},
         "application/json",
         "",
         false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {0};
        int r = ingress_check_input(&rows[i].h, slice_str(rows[i].type), slice_str(rows[i].body), &err);

        if ((r == 0) != rows[i].ok)
            print_error("row %zu: %s\n", i, err.msg);
        assert_int_equal(r == 0, rows[i].ok);
    }
}

static void output_type_depends_on_emptiness(void **state) {
    struct schema_handler h = {.output_content_type = "application/json"};

    assert_string_equal(ingress_output_type(&h, false), "application/json");
    assert_null(ingress_output_type(&h, true));
    h.output_set_if_empty = true;
    assert_string_equal(ingress_output_type(&h, true), "application/json");
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(paths_name_what_the_table_says),
                                          cmocka_unit_test(input_is_accepted_when_any_rule_passes),
                                          cmocka_unit_test(output_type_depends_on_emptiness)};
const struct unit_group path_test_group = UNIT_GROUP(tests);
