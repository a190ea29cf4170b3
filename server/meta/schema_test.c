/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "meta/schema.h"
#include "proto/command.h"

#include <string.h>

static const struct schema_defaults defaults = {
    .journal_retention_ms = 86400000,
    .idempotency_retention_ms = 86400000,
    .workflow_retention_ms = 86400000,
    .inactivity_timeout_ms = 60000,
    .abort_timeout_ms = 600000,
    .retry = {.initial_ms = 500, .factor = 2, .max_ms = 60000, .max_attempts = 70}};

static const char manifest_text[] =
    "{\"protocolMode\":\"BIDI_STREAM\",\"minProtocolVersion\":5,\"maxProtocolVersion\":7,\"services\":["
    "{\"name\":\"Counter\",\"ty\":\"VIRTUAL_OBJECT\",\"journalRetention\":5000,\"handlers\":["
    "{\"name\":\"add\",\"ty\":\"EXCLUSIVE\",\"input\":{\"required\":true,\"contentType\":\"application/json\"}},"
    "{\"name\":\"get\",\"ty\":\"SHARED\",\"journalRetention\":7000,\"enableLazyState\":true,\"retryPolicyMaxAttempts\":"
    "0}]},"
    "{\"name\":\"Wf\",\"ty\":\"WORKFLOW\",\"handlers\":[{\"name\":\"run\",\"ty\":\"WORKFLOW\"},{\"name\":\"peek\"}]}]}";

static struct schema *empty(void) {
    struct schema *s;

    assert_int_equal(schema_parse(SLICE_NULL, 0, &defaults, &s, NULL), 0);
    return s;
}

static struct schema *reparse(struct schema *take_old, json_t *take_root) {
    char *text = json_dumps(take_root, JSON_COMPACT | JSON_SORT_KEYS);
    struct schema *s;

    assert_int_equal(schema_parse(slice_str(text), 1, &defaults, &s, NULL), 0);
    free(text);
    json_decref(take_root);
    schema_unref(take_old);
    return s;
}

static int plan(const struct schema *s, const char *id, const char *manifest, bool breaking, json_t **ret,
                struct schema_refusal *why) {
    json_t *m = json_loads(manifest, 0, NULL);
    struct schema_registration r = {.id = id,
                                    .uri = "http://h:9080/base/",
                                    .created_at = "2026-11-22T20:16:19.784000000Z",
                                    .http = DEPLOYMENT_HTTP2,
                                    .sdk_version = "restate-sdk-typescript/1.17.2",
                                    .breaking = breaking,
                                    .manifest = m};
    int rc;

    assert_non_null(m);
    rc = schema_plan_register(s, &r, ret, why, NULL);
    json_decref(m);
    return rc;
}

static void registration_gives_revisions_and_resolves_options(void **state) {
    struct schema *s = empty();
    struct schema_refusal why = {0};
    const struct service *c;
    const struct schema_handler *h;
    json_t *root;

    assert_int_equal(plan(s, "dp_1a", manifest_text, false, &root, &why), 0);
    s = reparse(s, root);
    c = schema_service(s, SLICE_LIT("Counter"));
    assert_non_null(c);
    assert_int_equal(c->revision, 1);
    assert_string_equal(c->deployment->authority, "h:9080");
    assert_string_equal(c->deployment->path, "/base");
    h = service_handler(c, SLICE_LIT("add"));
    assert_int_equal(h->target_type, TARGET_OBJECT_EXCLUSIVE);
    assert_int_equal(h->journal_retention_ms, 5000);
    assert_true(h->input_required);
    assert_int_equal(schema_retention(h, true).completion_ms, 86400000);
    assert_int_equal(schema_retention(h, true).journal_ms, 5000);
    assert_int_equal(schema_retention(h, false).completion_ms, 5000);
    h = service_handler(c, SLICE_LIT("get"));
    assert_int_equal(h->journal_retention_ms, 7000);
    assert_true(h->lazy_state);
    assert_int_equal(h->retry.max_attempts, 1);
    assert_int_equal(service_handler(schema_service(s, SLICE_LIT("Wf")), SLICE_LIT("peek"))->target_type,
                     TARGET_WORKFLOW_SHARED);
    assert_null(schema_service(s, SLICE_LIT("Nope")));

    assert_int_equal(plan(s, "dp_1b", manifest_text, false, &root, &why), 0);
    s = reparse(s, root);
    assert_int_equal(schema_service(s, SLICE_LIT("Counter"))->revision, 2);
    assert_string_equal(schema_service(s, SLICE_LIT("Counter"))->deployment->id, "dp_1b");
    assert_int_equal(schema_plan_remove(s, "dp_1b", &root, NULL), 0);
    s = reparse(s, root);
    assert_string_equal(schema_service(s, SLICE_LIT("Counter"))->deployment->id, "dp_1a");
    assert_int_equal(schema_plan_remove(s, "dp_1b", &root, NULL), RS_ENOENT);
    schema_unref(s);
}

static void routing_headers_tell_deployments_with_one_address_apart(void **state) {
    static const char *const routing[] = {"X-Branch", "x-zone"};
    json_t *headers = json_pack("{s:s}", "x-branch", "a"), *other = json_pack("{s:s}", "x-branch", "b"),
           *more = json_pack("{s:s, s:s}", "x-branch", "a", "x-zone", "z"), *m = json_loads(manifest_text, 0, NULL);
    struct schema_registration r = {.id = "dp_1a",
                                    .uri = "http://h:9080/base/",
                                    .created_at = "2026-11-22T20:16:19.784000000Z",
                                    .http = DEPLOYMENT_HTTP2,
                                    .sdk_version = "restate-sdk-typescript/1.17.2",
                                    .headers = headers,
                                    .manifest = m};
    struct schema *s = empty();
    struct schema_refusal why = {0};
    json_t *root;

    assert_int_equal(schema_plan_register(s, &r, &root, &why, NULL), 0);
    s = reparse(s, root);
    assert_non_null(schema_deployment_at(s, r.uri, other, NULL, 0));
    assert_null(schema_deployment_at(s, "http://h:9081/", headers, NULL, 0));
    assert_string_equal(schema_deployment_at(s, r.uri, headers, routing, 2)->id, "dp_1a");
    assert_null(schema_deployment_at(s, r.uri, other, routing, 2));
    assert_null(schema_deployment_at(s, r.uri, NULL, routing, 2));
    assert_null(schema_deployment_at(s, r.uri, more, routing, 2));
    assert_non_null(schema_deployment_at(s, r.uri, more, routing, 1));
    schema_unref(s);
    json_decref(headers);
    json_decref(other);
    json_decref(more);
    json_decref(m);
}

static void what_services_ask_for_is_bounded(void **state) {
    struct schema_defaults d = defaults;
    struct schema *s = empty();
    struct schema_refusal why = {0};
    const struct schema_handler *add, *get, *run;
    json_t *root;
    char *text;

    assert_int_equal(plan(s, "dp_1a", manifest_text, false, &root, &why), 0);
    text = json_dumps(root, JSON_COMPACT);
    schema_unref(s);
    d.bounded = true;
    d.max_journal_retention_ms = 6000; /* add asks for 5 s, get for 7 s */
    d.max_idempotency_retention_ms = UINT64_MAX;
    d.max_workflow_retention_ms = 0;
    d.max_attempts = 1;
    assert_int_equal(schema_parse(slice_str(text), 1, &d, &s, NULL), 0);
    add = service_handler(schema_service(s, SLICE_LIT("Counter")), SLICE_LIT("add"));
    get = service_handler(schema_service(s, SLICE_LIT("Counter")), SLICE_LIT("get"));
    run = service_handler(schema_service(s, SLICE_LIT("Wf")), SLICE_LIT("run"));
    assert_int_equal(add->journal_retention_ms, 5000);
    assert_int_equal(get->journal_retention_ms, 6000);
    assert_int_equal(get->idempotency_retention_ms, 86400000);
    assert_int_equal(schema_retention(run, false).completion_ms, 0);
    assert_int_equal(s->defaults.journal_retention_ms, 6000);
    assert_int_equal(s->defaults.retry.max_attempts, 1); /* of an unknown handler */
    assert_int_equal(add->retry.max_attempts, 1);
    assert_int_equal(schema_service(s, SLICE_LIT("Wf"))->retry.max_attempts, 1);
    schema_unref(s);
    json_decref(root);
    free(text);
}

static void bad_manifests_are_refused_with_their_code(void **state) {
#define SVC(name, ty, handlers)                                                                                        \
    "{\"protocolMode\":\"BIDI_STREAM\",\"minProtocolVersion\":5,\"maxProtocolVersion\":7,\"services\":[{\"name\":"     \
    "\"" name "\",\"ty\":\"" ty "\",\"handlers\":[" handlers "]}]}"
    static const struct {
        const char *manifest, *code;
        int status;
    } rows[] = {
        {"{\"minProtocolVersion\":5,\"maxProtocolVersion\":7,\"services\":[{}]}", "META0013", 500},
        {"{\"protocolMode\":\"BIDI_STREAM\",\"minProtocolVersion\":9,\"maxProtocolVersion\":7,\"services\":[{}]}",
         "META0013", 500},
        {"{\"protocolMode\":\"BIDI_STREAM\",\"minProtocolVersion\":1,\"maxProtocolVersion\":3,\"services\":[{}]}",
         "META0012", 500},
        {SVC("restateX", "SERVICE", ""), "META0005", 400},
        {SVC("OpenAPI", "SERVICE", ""), "META0005", 400},
        {SVC("9a", "SERVICE", ""), "META0013", 400},
        {SVC("A", "SERVICE", "{\"name\":\"h\",\"ty\":\"EXCLUSIVE\"}"), "", 400},
        {SVC("A", "SERVICE", "{\"name\":\"h.x\"}"), "META0013", 400},
        {SVC("A", "WORKFLOW", "{\"name\":\"h\",\"ty\":\"WORKFLOW\",\"idempotencyRetention\":1}"), "", 400},
        {SVC("A", "SERVICE", "{\"name\":\"h\",\"input\":{\"contentType\":\"*/json\"}}"), "", 400},
        {SVC("Counter", "SERVICE", "{\"name\":\"h\"}"), "META0006", 409},
    };
    struct schema *s = empty();
    struct schema_refusal why = {0};
    json_t *root;

    assert_int_equal(plan(s, "dp_1a", manifest_text, false, &root, &why), 0);
    s = reparse(s, root);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(plan(s, "dp_1b", rows[i].manifest, false, &root, &why), RS_EINVAL);
        assert_string_equal(why.code, rows[i].code);
        assert_int_equal(why.status, rows[i].status);
    }
    assert_int_equal(plan(s, "dp_1b", SVC("Counter", "SERVICE", "{\"name\":\"h\"}"), true, &root, &why), 0);
    json_decref(root);
    schema_unref(s);
}

static void patch_changes_the_latest_revision_only(void **state) {
    struct schema *s = empty();
    struct schema_refusal why = {0};
    json_t *root, *patch = json_pack("{s:b, s:i}", "public", 0, "journal_retention", 1234);

    assert_int_equal(plan(s, "dp_1a", manifest_text, false, &root, &why), 0);
    s = reparse(s, root);
    assert_int_equal(schema_plan_patch(s, "Wf", patch, &root, NULL), 0);
    s = reparse(s, root);
    assert_false(service_handler(schema_service(s, SLICE_LIT("Wf")), SLICE_LIT("run"))->is_public);
    assert_int_equal(service_handler(schema_service(s, SLICE_LIT("Wf")), SLICE_LIT("run"))->journal_retention_ms, 1234);
    assert_true(service_handler(schema_service(s, SLICE_LIT("Counter")), SLICE_LIT("add"))->is_public);
    assert_int_equal(schema_plan_patch(s, "Nope", patch, &root, NULL), RS_ENOENT);
    json_decref(patch);
    schema_unref(s);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(registration_gives_revisions_and_resolves_options),
                                          cmocka_unit_test(routing_headers_tell_deployments_with_one_address_apart),
                                          cmocka_unit_test(what_services_ask_for_is_bounded),
                                          cmocka_unit_test(bad_manifests_are_refused_with_their_code),
                                          cmocka_unit_test(patch_changes_the_latest_revision_only)};
const struct unit_group schema_test_group = UNIT_GROUP(tests);
