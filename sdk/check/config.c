/* SPDX-License-Identifier: Apache-2.0 */
/* Suite config: the schema is one the server understands, it accepts what check() accepts, and check() refuses in
 * words. */
#include "check.h"
#include <jansson.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 8 };

static bool is_one_of(const char *s, const char *const *list) {
    while (*list != NULL && strcmp(s, *list) != 0)
        list++;
    return *list != NULL;
}

static bool type_is_known(const json_t *type) {
    static const char *const types[] = {"object", "array", "string", "integer", "number", "boolean", NULL};
    size_t i;
    const json_t *t;

    if (json_is_string(type))
        return is_one_of(json_string_value(type), types);
    json_array_foreach(type, i, t) {
        if (!json_is_string(t) || !is_one_of(json_string_value(t), types))
            return false;
    }
    return json_array_size(type) > 0;
}

static bool pattern_is_valid(const json_t *pattern) {
    regex_t re;

    if (pattern == NULL)
        return true;
    if (!json_is_string(pattern) || regcomp(&re, json_string_value(pattern), REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    regfree(&re);
    return true;
}

/* The keywords the server checks; others would be promises nobody keeps. Return: NULL or what is wrong. */
static const char *schema_problem(json_t *schema, int depth) {
    static const char *const keywords[] = {"$schema",
                                           "title",
                                           "description",
                                           "default",
                                           "type",
                                           "enum",
                                           "minimum",
                                           "maximum",
                                           "pattern",
                                           "format",
                                           "required",
                                           "properties",
                                           "additionalProperties",
                                           "items",
                                           "minItems",
                                           "maxItems",
                                           "examples",
                                           "minLength",
                                           "maxLength",
                                           NULL};
    const char *key, *problem;
    json_t *value;
    const json_t *type = json_object_get(schema, "type");
    json_t *properties = json_object_get(schema, "properties");

    if (!json_is_object(schema) || depth > DEPTH_MAX)
        return "a schema is not an object or nested too deeply";
    json_object_foreach(schema, key, value) {
        if (!is_one_of(key, keywords))
            return key;
    }
    if (!type_is_known(type))
        return "a schema without a known type";
    if (!pattern_is_valid(json_object_get(schema, "pattern")))
        return "a pattern is not an extended regular expression";
    if (json_is_string(type) && strcmp(json_string_value(type), "object") == 0 &&
        (json_object_get(schema, "additionalProperties") == NULL ||
         json_is_true(json_object_get(schema, "additionalProperties"))))
        return "an object is not closed (additionalProperties: false)";
    json_object_foreach(properties, key, value) {
        problem = schema_problem(value, depth + 1);
        if (problem != NULL)
            return problem;
    }
    return json_object_get(schema, "items") != NULL ? schema_problem(json_object_get(schema, "items"), depth + 1)
                                                    : NULL;
}

/* Every key of the configuration must be declared. Return: NULL or the first unknown key. */
static const char *unknown_key(const json_t *schema, const rs_node *config) {
    const json_t *properties = json_object_get(schema, "properties");

    for (size_t i = 0; node_kind(config) == NODE_MAP && i < node_count(config); i++) {
        if (json_object_get(properties, node_key_at(config, i)) == NULL)
            return node_key_at(config, i);
    }
    return NULL;
}

static int check_with(struct check *c, const char *key, const char *value, rs_error *err) {
    rs_node *n = node_parse("{}", 2, err);
    int r = RS_ENOMEM;

    /* The rest of the configuration stays as given, since it may hold required options. */
    for (size_t i = 0; n != NULL && i < node_count(c->config); i++) {
        const rs_node *v = node_child(c->config, i);
        if (node_kind(v) == NODE_SCALAR)
            (void)node_set(n, node_key_at(c->config, i), node_scalar(v));
    }
    if (n != NULL && node_set(n, key, value) == 0)
        r = c->plugin.check(host_table(c->host), n, err);
    node_free(n);
    return r;
}

static bool has_type(const json_t *option, const char *name) {
    const json_t *type = json_object_get(option, "type"), *t;
    size_t i;

    if (json_is_string(type))
        return strcmp(json_string_value(type), name) == 0;
    json_array_foreach(type, i, t) {
        if (strcmp(json_string_value(t), name) == 0)
            return true;
    }
    return false;
}

/* A value may need other options; the refusal then names one of them. */
static bool names_another(json_t *options, const char *key, const char *msg) {
    const char *other;
    json_t *option;

    json_object_foreach(options, other, option) {
        if (strcmp(other, key) != 0 && strstr(msg, other) != NULL)
            return true;
    }
    return false;
}

static void check_option(struct check *c, json_t *options, const char *key, const json_t *option) {
    const json_t *def = json_object_get(option, "default"), *choice;
    rs_error err = {.struct_size = sizeof(err)};
    char number[32];
    size_t i;

    if (json_is_string(def))
        (void)tap_ok(c->tap, check_with(c, key, json_string_value(def), &err) == 0, "config: %s accepts its default",
                     key);
    if (json_is_integer(def)) {
        (void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(def));
        (void)tap_ok(c->tap, check_with(c, key, number, &err) == 0, "config: %s accepts its default", key);
    }
    json_array_foreach(json_object_get(option, "enum"), i, choice) {
        if (json_is_string(choice)) {
            int r = check_with(c, key, json_string_value(choice), &err);
            (void)tap_ok(c->tap, r == 0 || (r == RS_EINVAL && names_another(options, key, err.msg)),
                         "config: %s accepts %s, or says what it needs", key, json_string_value(choice));
        }
    }
    if (has_type(option, "integer") || json_object_get(option, "enum") != NULL) {
        err.msg[0] = '\0';
        int r = check_with(c, key, "no such value", &err);
        (void)tap_ok(c->tap, r == RS_EINVAL && err.msg[0] != '\0', "config: %s refuses nonsense and says so", key);
    }
    if (json_is_integer(json_object_get(option, "maximum"))) {
        (void)snprintf(number, sizeof(number), "%lld",
                       (long long)json_integer_value(json_object_get(option, "maximum")) + 1);
        (void)tap_ok(c->tap, check_with(c, key, number, &err) == RS_EINVAL, "config: %s refuses more than its maximum",
                     key);
    }
}

int suite_config(struct check *c) {
    json_error_t je;
    json_t *schema = json_loads(c->plugin.config_schema, JSON_REJECT_DUPLICATES, &je);
    const char *problem, *key;
    json_t *option;
    rs_error err = {.struct_size = sizeof(err)};

    if (!tap_ok(c->tap, schema != NULL, "config: the schema is JSON")) {
        tap_diag("line %d: %s", je.line, je.text);
        return 0;
    }
    problem = schema_problem(schema, 0);
    if (!tap_ok(c->tap, problem == NULL, "config: the schema uses only what the server checks"))
        tap_diag("%s", problem);
    problem = unknown_key(schema, c->config);
    if (!tap_ok(c->tap, problem == NULL, "config: the given configuration has only declared options"))
        tap_diag("%s", problem);
    if (!tap_ok(c->tap, c->plugin.check(host_table(c->host), c->config, &err) == 0, "config: check() accepts it"))
        tap_diag("%s", err.msg);
    if (c->plugin.kind == RS_KIND_STORAGE)
        (void)tap_ok(c->tap, json_object_get(json_object_get(schema, "properties"), "memory-budget") != NULL,
                     "config: a storage plugin has the option memory-budget");
    json_object_foreach(json_object_get(schema, "properties"), key, option)
        check_option(c, json_object_get(schema, "properties"), key, option);
    json_decref(schema);
    return 0;
}
