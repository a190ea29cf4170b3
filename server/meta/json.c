/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/json.h"

#include <inttypes.h>
#include <stdio.h>

int json_parse(struct slice text, const char *what, json_t **ret, struct err *err) {
    json_error_t je;
    json_t *v = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &je);

    if (!v)
        return err_set(err, RS_ECORRUPT, "%s: %s at byte %d", what, je.text, je.position);
    if (!json_is_object(v)) {
        json_decref(v);
        return err_set(err, RS_ECORRUPT, "%s: not a JSON object", what);
    }
    *ret = v;
    return 0;
}

static int dump_chunk(const char *data, size_t n, void *arg) {
    buf_put(arg, data, n);
    return 0;
}

void json_write(const json_t *v, struct buf *out) {
    int r = json_dump_callback(v, dump_chunk, out, JSON_COMPACT | JSON_SORT_KEYS);

    ASSERT(r == 0);
}

int json_parse_u64(struct slice s, uint64_t *ret) {
    uint64_t v = 0;

    if (s.len == 0)
        return RS_EINVAL;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.data[i] - '0'), &v))
            return RS_EINVAL;
    }
    *ret = v;
    return 0;
}

static int field(const json_t *o, const char *name, bool needed, json_t **ret, struct err *err) {
    json_t *v = json_object_get(o, name);

    *ret = NULL;
    if (v && !json_is_null(v))
        *ret = v;
    else if (needed)
        return err_set(err, RS_ECORRUPT, "field \"%s\" is missing", name);
    return 0;
}

int json_field_u64(const json_t *o, const char *name, bool needed, uint64_t *ret, struct err *err) {
    json_t *v;
    int r = field(o, name, needed, &v, err);

    if (r < 0 || !v)
        return r;
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *ret = (uint64_t)json_integer_value(v);
        return 0;
    }
    if (json_is_string(v) && json_parse_u64(slice_of(json_string_value(v), json_string_length(v)), ret) == 0)
        return 0;
    return err_set(err, RS_ECORRUPT, "field \"%s\" is not an unsigned number", name);
}

int json_field_u32(const json_t *o, const char *name, bool needed, uint32_t *ret, struct err *err) {
    uint64_t v = *ret;
    int r = json_field_u64(o, name, needed, &v, err);

    if (r < 0)
        return r;
    if (v > UINT32_MAX)
        return err_set(err, RS_ECORRUPT, "field \"%s\": %" PRIu64 " is too large", name, v);
    *ret = (uint32_t)v;
    return 0;
}

int json_field_str(const json_t *o, const char *name, bool needed, char **ret, struct err *err) {
    json_t *v;
    int r = field(o, name, needed, &v, err);

    if (r < 0 || !v)
        return r;
    if (!json_is_string(v) || memchr(json_string_value(v), 0, json_string_length(v)))
        return err_set(err, RS_ECORRUPT, "field \"%s\" is not a text", name);
    free(*ret);
    *ret = xstrdup(json_string_value(v));
    return 0;
}

int json_field_obj(const json_t *o, const char *name, bool needed, json_t **ret, struct err *err) {
    int r = field(o, name, needed, ret, err);

    if (r == 0 && *ret && !json_is_object(*ret))
        return err_set(err, RS_ECORRUPT, "field \"%s\" is not an object", name);
    return r;
}

int json_field_arr(const json_t *o, const char *name, bool needed, json_t **ret, struct err *err) {
    int r = field(o, name, needed, ret, err);

    if (r == 0 && *ret && !json_is_array(*ret))
        return err_set(err, RS_ECORRUPT, "field \"%s\" is not a list", name);
    return r;
}

json_t *json_u64_str(uint64_t v) {
    char s[24];

    snprintf(s, sizeof s, "%" PRIu64, v);
    return json_string(s);
}

json_t *json_u64(uint64_t v) {
    return v > INT64_MAX ? json_u64_str(v) : json_integer((json_int_t)v);
}

json_t *json_text(const char *s) {
    json_t *v = json_string(s ? s : "");

    return v ? v : json_string("");
}
