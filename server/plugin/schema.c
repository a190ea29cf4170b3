/* SPDX-License-Identifier: Apache-2.0 */
/* The options of a plugin against the JSON Schema it carries, before any of its code but the entry has run. */
#include "plugin/plugin_internal.h"
#include "base/text.h"

#include <errno.h>
#include <jansson.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_SCHEMA_NAMES 256u

static int load(const char *schema, const char *where, json_t **ret, struct err *err) {
    json_error_t why;
    json_t *j = json_loads(schema, JSON_REJECT_DUPLICATES, &why);

    if (!j || !json_is_object(j)) {
        json_decref(j);
        return err_set(err, RS_EINVAL, "%.100s: its config_schema is not a JSON object: line %d: %.80s", where,
                       j ? 1 : why.line, j ? "not an object" : why.text);
    }
    *ret = j;
    return 0;
}

bool schema_has(const char *schema, const char *property) {
    json_t *j = json_loads(schema, 0, NULL);
    bool has = json_object_get(json_object_get(j, "properties"), property) != NULL;

    json_decref(j);
    return has;
}

static bool as_integer(const struct cfg_node *n, json_int_t *ret) {
    char *end;

    if (n->type != CFG_SCALAR || n->quoted || !n->n || !strchr("-0123456789", n->text[0]))
        return false;
    errno = 0;
    *ret = strtoll(n->text, &end, 10);
    return end != n->text && *end == 0 && errno == 0;
}

/* Does the node have this JSON type? Every scalar is a string when asked for one: YAML leaves the quotes out. */
static bool has_type(const struct cfg_node *n, const char *type) {
    json_int_t i;
    double d;
    bool b;

    if (strcmp(type, "object") == 0)
        return n->type == CFG_MAP;
    if (strcmp(type, "array") == 0)
        return n->type == CFG_LIST;
    if (strcmp(type, "null") == 0)
        return n->type == CFG_NULL;
    if (n->type != CFG_SCALAR)
        return false;
    if (strcmp(type, "boolean") == 0)
        return !n->quoted && (!strcmp(n->text, "true") || !strcmp(n->text, "false")) && cfg_bool(n, &b, NULL) == 0;
    if (strcmp(type, "integer") == 0)
        return as_integer(n, &i);
    if (strcmp(type, "number") == 0)
        return !n->quoted && cfg_f64(n, &d, NULL) == 0;
    return strcmp(type, "string") == 0;
}

/* The type the value is taken as: the most special of those allowed. NULL: none. */
static const char *pick_type(const struct cfg_node *n, const json_t *type) {
    static const char *const order[] = {"object", "array", "null", "boolean", "integer", "number", "string"};

    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        bool allowed = type == NULL || (json_is_string(type) && strcmp(json_string_value(type), order[i]) == 0);

        for (size_t k = 0; !allowed && k < json_array_size(type); k++) {
            const char *s = json_string_value(json_array_get(type, k));

            allowed = s && strcmp(s, order[i]) == 0;
        }
        if (allowed && has_type(n, order[i]))
            return order[i];
    }
    return NULL;
}

static void put_choices(struct buf *b, const json_t *list) {
    if (json_is_string(list))
        buf_put_str(b, json_string_value(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        char *s = json_dumps(json_array_get(list, i), JSON_ENCODE_ANY);
        size_t n = s ? strlen(s) : 0;

        if (i)
            buf_put_str(b, i + 1 == json_array_size(list) ? " or " : ", ");
        if (n >= 2 && s[0] == '"')
            buf_put(b, s + 1, n - 2);
        else
            buf_put(b, s, n);
        free(s);
    }
}

static int wrong_type(const struct cfg_node *n, const json_t *type, struct err *err) {
    _cleanup_buf_ struct buf b = {0};

    put_choices(&b, type);
    if (n->type == CFG_SCALAR)
        return cfg_error(err, n, "\"%.60s\" is not of type %.60s", n->text, buf_cstr(&b));
    return cfg_error(err, n, "a value of type %.60s is expected, not %s", buf_cstr(&b),
                     n->type == CFG_MAP    ? "a map"
                     : n->type == CFG_LIST ? "a list"
                                           : "nothing");
}

static int check_enum(const struct cfg_node *n, const json_t *choices, struct err *err) {
    _cleanup_buf_ struct buf b = {0};

    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *c = json_array_get(choices, i);
        char number[32];

        if (json_is_string(c) && n->text && strcmp(json_string_value(c), n->text) == 0)
            return 0;
        (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(c));
        if (json_is_integer(c) && n->text && strcmp(number, n->text) == 0)
            return 0;
        if (json_is_boolean(c) && n->text && strcmp(json_is_true(c) ? "true" : "false", n->text) == 0)
            return 0;
    }
    put_choices(&b, choices);
    return cfg_error(err, n, "\"%.60s\" is not one of %.120s", n->text ? n->text : "", buf_cstr(&b));
}

static int check_range(const struct cfg_node *n, const json_t *schema, struct err *err) {
    const json_t *least = json_object_get(schema, "minimum"), *most = json_object_get(schema, "maximum");
    double v;

    if (cfg_f64(n, &v, NULL) < 0)
        return 0;
    if (least && v < json_number_value(least))
        return cfg_error(err, n, "%.40s is less than %.15g", n->text, json_number_value(least));
    if (most && v > json_number_value(most))
        return cfg_error(err, n, "%.40s is more than %.15g", n->text, json_number_value(most));
    return 0;
}

static int check_text(const struct cfg_node *n, const json_t *schema, struct err *err) {
    const json_t *least = json_object_get(schema, "minLength"), *most = json_object_get(schema, "maxLength");
    const char *pattern = json_string_value(json_object_get(schema, "pattern"));
    regex_t re;
    int miss;

    if (least && (json_int_t)n->n < json_integer_value(least))
        return cfg_error(err, n, "the text is shorter than %lld bytes", (long long)json_integer_value(least));
    if (most && (json_int_t)n->n > json_integer_value(most))
        return cfg_error(err, n, "the text is longer than %lld bytes", (long long)json_integer_value(most));
    if (!pattern)
        return 0;
    if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return cfg_error(err, n, "the plugin's own pattern %.60s is not a regular expression", pattern);
    miss = regexec(&re, n->text, 0, NULL, 0);
    regfree(&re);
    return miss ? cfg_error(err, n, "\"%.60s\" does not match %.100s", n->text, pattern) : 0;
}

static int validate(const json_t *schema, const struct cfg_node *n, struct err *err);

static int check_object(const json_t *schema, const struct cfg_node *n, struct err *err) {
    json_t *properties = json_object_get(schema, "properties"), *more = json_object_get(schema, "additionalProperties");
    const json_t *required = json_object_get(schema, "required");

    for (const struct cfg_node *c = n->first; c; c = c->next) {
        const json_t *s = json_object_get(properties, c->key);
        const char *names[LIMIT_SCHEMA_NAMES];
        const char *key, *near;
        size_t k = 0;
        json_t *v;
        int r;

        if (!s && json_is_true(more))
            continue;
        if (!s && json_is_object(more))
            s = more;
        if (s) {
            r = c->type == CFG_NULL ? 0 : validate(s, c, err); /* a key without a value is a key not given */
            if (r < 0)
                return r;
            continue;
        }
        json_object_foreach(properties, key, v) if (k < ARRAY_SIZE(names)) names[k++] = key;
        near = text_nearest(slice_str(c->key), names, k);
        return cfg_error(err, c, "this plugin has no such option%s%s%s", near ? "; did you mean " : "",
                         near ? near : "", near ? "?" : "");
    }
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *key = json_string_value(json_array_get(required, i));

        if (key && !cfg_get(n, key))
            return cfg_error(err, n, "the option %.60s is required", key);
    }
    return 0;
}

static int validate(const json_t *schema, const struct cfg_node *n, struct err *err) {
    const json_t *type = json_object_get(schema, "type"), *choices = json_object_get(schema, "enum");
    const char *format = json_string_value(json_object_get(schema, "format")), *as = pick_type(n, type);
    uint64_t v;
    int r = 0;

    if (!as)
        return wrong_type(n, type, err);
    if (json_is_array(choices))
        r = check_enum(n, choices, err);
    if (r < 0)
        return r;
    if (strcmp(as, "object") == 0)
        return check_object(schema, n, err);
    if (format && n->type == CFG_SCALAR && strcmp(format, "bytes") == 0)
        return cfg_u64(n, RS_UNIT_BYTES, &v, err);
    if (format && n->type == CFG_SCALAR && strcmp(format, "duration") == 0)
        return cfg_u64(n, RS_UNIT_NS, &v, err);
    if (strcmp(as, "integer") == 0 || strcmp(as, "number") == 0)
        return check_range(n, schema, err);
    if (strcmp(as, "string") == 0)
        return check_text(n, schema, err);
    if (strcmp(as, "array") == 0 && json_is_object(json_object_get(schema, "items")))
        for (const struct cfg_node *c = n->first; c && r == 0; c = c->next)
            r = validate(json_object_get(schema, "items"), c, err);
    return r;
}

int schema_validate(const char *schema, const char *where, const struct cfg_node *options, struct err *err) {
    json_t *j;
    int r = load(schema, where, &j, err);

    if (r < 0)
        return r;
    r = validate(j, options, err);
    json_decref(j);
    return r;
}
