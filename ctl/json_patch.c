/* SPDX-License-Identifier: Apache-2.0 */
#include "json_patch.h"

#include <string.h>

#include "base/text.h"

/* One step of a pointer ("/a/b~1c"): the token at *@io, unescaped; *@io moves behind it. */
static int next_token(const char **io, char token[256], struct err *err) {
    const char *p = *io;
    size_t n = 0;

    if (*p++ != '/')
        return err_set(err, RS_EINVAL, "a path begins with /: '%.60s'", *io);
    for (; *p && *p != '/'; p++) {
        char ch = *p;

        if (ch == '~') {
            p++;
            if (*p != '0' && *p != '1')
                return err_set(err, RS_EINVAL, "'~' in a path is followed by 0 or 1");
            ch = *p == '0' ? '~' : '/';
        }
        if (n == 255)
            return err_set(err, RS_EINVAL, "a name in a path is too long");
        token[n++] = ch;
    }
    token[n] = 0;
    *io = p;
    return 0;
}

/* @end: a place behind the last element ("-" or its number) counts. */
static int index_of(const json_t *array, const char *token, bool end, size_t *ret) {
    uint64_t i;

    if (end && strcmp(token, "-") == 0) {
        *ret = json_array_size(array);
        return 0;
    }
    if ((token[0] == '0' && token[1]) || text_parse_u64(slice_str(token), &i) < 0 ||
        i >= json_array_size(array) + (end ? 1u : 0u))
        return RS_ENOENT;
    *ret = (size_t)i;
    return 0;
}

static json_t *child(json_t *v, const char *token) {
    size_t i;

    if (json_is_object(v))
        return json_object_get(v, token);
    return json_is_array(v) && index_of(v, token, false, &i) == 0 ? json_array_get(v, i) : NULL;
}

/* The container of what @path names, and its last token. */
static int find_parent(json_t *root, const char *path, json_t **ret, char token[256], struct err *err) {
    const char *p = path;
    int r = next_token(&p, token, err);

    *ret = root;
    while (r == 0 && *p) {
        *ret = child(*ret, token);
        if (!*ret)
            return err_set(err, RS_EINVAL, "there is nothing at '%.100s'", path);
        r = next_token(&p, token, err);
    }
    if (r == 0 && !json_is_object(*ret) && !json_is_array(*ret))
        return err_set(err, RS_EINVAL, "'%.100s' leads through a plain value", path);
    return r;
}

static int get(json_t *root, const char *path, json_t **ret, struct err *err) {
    char token[256];
    json_t *parent;
    int r;

    if (!path[0]) {
        *ret = root;
        return 0;
    }
    r = find_parent(root, path, &parent, token, err);
    if (r == 0 && !(*ret = child(parent, token)))
        r = err_set(err, RS_EINVAL, "there is nothing at '%.100s'", path);
    return r;
}

static int add(json_t **root, const char *path, json_t *take, struct err *err) {
    char token[256];
    json_t *parent;
    size_t i;
    int r;

    if (!path[0]) {
        json_decref(*root);
        *root = take;
        return 0;
    }
    r = find_parent(*root, path, &parent, token, err);
    if (r == 0 && json_is_object(parent))
        return json_object_set_new(parent, token, take) == 0 ? 0
                                                             : err_set(err, RS_EINVAL, "'%.100s' is not a name", path);
    if (r == 0 && index_of(parent, token, true, &i) == 0)
        return json_array_insert_new(parent, i, take) == 0 ? 0 : err_set(err, RS_EINVAL, "'%.100s'", path);
    json_decref(take);
    return r < 0 ? r : err_set(err, RS_EINVAL, "'%.100s' is no place in the list", path);
}

static int take_away(json_t *root, const char *path, struct err *err) {
    char token[256];
    json_t *parent;
    size_t i;
    int r;

    if (!path[0])
        return err_set(err, RS_EINVAL, "the whole value cannot be removed");
    r = find_parent(root, path, &parent, token, err);
    if (r < 0)
        return r;
    if (json_is_object(parent) ? json_object_del(parent, token) == 0
                               : index_of(parent, token, false, &i) == 0 && json_array_remove(parent, i) == 0)
        return 0;
    return err_set(err, RS_EINVAL, "there is nothing at '%.100s'", path);
}

static int replace(json_t **root, const char *path, json_t *take, struct err *err) {
    int r = path[0] ? take_away(*root, path, err) : 0;

    if (r == 0)
        return add(root, path, take, err);
    json_decref(take);
    return r;
}

static int move(json_t **root, const char *op, const char *from, const char *path, struct err *err) {
    size_t len = strlen(from);
    json_t *v;
    int r = get(*root, from, &v, err);

    if (r < 0)
        return r;
    if (strcmp(op, "copy") == 0)
        return add(root, path, json_deep_copy(v), err);
    if (strncmp(path, from, len) == 0 && path[len] == '/')
        return err_set(err, RS_EINVAL, "'%.60s' cannot be moved into itself", from);
    if (strcmp(path, from) == 0)
        return 0;
    (void)json_incref(v);
    r = take_away(*root, from, err);
    if (r == 0)
        return add(root, path, v, err);
    json_decref(v);
    return r;
}

static int apply(json_t **io, const json_t *o, struct err *err) {
    const char *op = json_string_value(json_object_get(o, "op")), *path = json_string_value(json_object_get(o, "path")),
               *from = json_string_value(json_object_get(o, "from"));
    json_t *value = json_object_get(o, "value"), *found;
    bool moves = op && (strcmp(op, "move") == 0 || strcmp(op, "copy") == 0);
    int r;

    if (!op || !path)
        return err_set(err, RS_EINVAL, "an operation of a patch has op and path");
    if (moves)
        return from ? move(io, op, from, path, err) : err_set(err, RS_EINVAL, "%s needs from", op);
    if (strcmp(op, "remove") == 0)
        return take_away(*io, path, err);
    if (!value)
        return err_set(err, RS_EINVAL, "'%.40s' is no operation, or lacks its value", op);
    if (strcmp(op, "add") == 0)
        return add(io, path, json_deep_copy(value), err);
    if (strcmp(op, "replace") == 0)
        return replace(io, path, json_deep_copy(value), err);
    if (strcmp(op, "test") != 0)
        return err_set(err, RS_EINVAL, "'%.40s' is no operation of a patch", op);
    r = get(*io, path, &found, err);
    return r < 0 ? r
           : json_equal(found, value)
               ? 0
               : err_set(err, RS_EEXIST, "the test of '%.100s' failed: another value is there", path);
}

int json_patch(json_t **io, const json_t *patch, struct err *err) {
    const json_t *o;
    size_t i;
    int r = 0;

    if (!json_is_array(patch))
        return err_set(err, RS_EINVAL, "a patch is a list of operations");
    json_array_foreach(patch, i, o) {
        if (r == 0)
            r = apply(io, o, err);
    }
    return r;
}
