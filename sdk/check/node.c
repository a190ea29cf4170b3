/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration trees: YAML in (libyaml events), values with units out, as the server reads them. */
#include "host_internal.h"
#include <ctype.h>
#include <errno.h>
#include <restate/helper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 16, FILE_MAX = 1 << 20 };

struct rs_node {
    enum node_kind kind;
    bool quoted;
    char *key;    /* in a map */
    char *scalar; /* of a scalar */
    struct rs_node **child;
    size_t n;
};

void node_free(rs_node *n) {
    if (n == NULL)
        return;
    for (size_t i = 0; i < n->n; i++)
        node_free(n->child[i]);
    free(n->child);
    free(n->key);
    free(n->scalar);
    free(n);
}

static rs_node *node_new(enum node_kind kind, const char *scalar) {
    rs_node *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return NULL;
    n->kind = kind;
    n->scalar = strdup(scalar);
    if (n->scalar == NULL) {
        free(n);
        return NULL;
    }
    return n;
}

static int node_add(rs_node *parent, rs_node *child) {
    rs_node **p = realloc(parent->child, (parent->n + 1) * sizeof(struct rs_node *));

    if (p == NULL)
        return RS_ENOMEM;
    parent->child = p;
    p[parent->n++] = child;
    return 0;
}

int node_set(rs_node *map, const char *key, const char *scalar) {
    rs_node *n = node_new(NODE_SCALAR, scalar);

    if (n == NULL || (n->key = strdup(key)) == NULL) {
        node_free(n);
        return RS_ENOMEM;
    }
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->child[i]->key, key) == 0) {
            node_free(map->child[i]);
            map->child[i] = n;
            return 0;
        }
    }
    if (node_add(map, n) < 0) {
        node_free(n);
        return RS_ENOMEM;
    }
    return 0;
}

enum node_kind node_kind(const rs_node *n) {
    return n->kind;
}
bool node_quoted(const rs_node *n) {
    return n->quoted;
}
const char *node_scalar(const rs_node *n) {
    return n->scalar;
}
size_t node_count(const rs_node *n) {
    return n->n;
}
const char *node_key_at(const rs_node *map, size_t i) {
    return map->child[i]->key != NULL ? map->child[i]->key : "";
}
const rs_node *node_child(const rs_node *n, size_t i) {
    return n->child[i];
}

const rs_node *node_get(const rs_node *map, const char *key) {
    if (map == NULL || map->kind != NODE_MAP)
        return NULL;
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->child[i]->key, key) == 0)
            return map->child[i];
    }
    return NULL;
}

const rs_node *node_at(const rs_node *list, size_t i) {
    return list != NULL && list->kind == NODE_LIST && i < list->n ? list->child[i] : NULL;
}

static int scalar_check(const rs_node *n, rs_error *err) {
    return n != NULL && n->kind == NODE_SCALAR ? 0 : rs_fail(err, RS_EINVAL, 0, 0, "a single value is expected");
}

int node_str(const rs_node *n, const char **ret, rs_error *err) {
    int r = scalar_check(n, err);
    if (r == 0)
        *ret = n->scalar;
    return r;
}

int node_bool(const rs_node *n, int32_t *ret, rs_error *err) {
    int r = scalar_check(n, err);

    if (r < 0)
        return r;
    if (strcmp(n->scalar, "true") == 0)
        *ret = 1;
    else if (strcmp(n->scalar, "false") == 0)
        *ret = 0;
    else
        return rs_fail(err, RS_EINVAL, 0, 0, "'%s' is neither true nor false", n->scalar);
    return 0;
}

static int unit_factor(const char *suffix, int unit, uint64_t *ret) {
    static const struct {
        const char *name;
        int unit;
        uint64_t factor;
    } units[] = {{"", RS_UNIT_COUNT, 1},
                 {"", RS_UNIT_BYTES, 1},
                 {"B", RS_UNIT_BYTES, 1},
                 {"KiB", RS_UNIT_BYTES, 1ull << 10},
                 {"MiB", RS_UNIT_BYTES, 1ull << 20},
                 {"GiB", RS_UNIT_BYTES, 1ull << 30},
                 {"TiB", RS_UNIT_BYTES, 1ull << 40},
                 {"KB", RS_UNIT_BYTES, 1000},
                 {"MB", RS_UNIT_BYTES, 1000000},
                 {"GB", RS_UNIT_BYTES, 1000000000},
                 {"TB", RS_UNIT_BYTES, 1000000000000},
                 {"ns", RS_UNIT_NS, 1},
                 {"us", RS_UNIT_NS, 1000},
                 {"ms", RS_UNIT_NS, 1000000},
                 {"s", RS_UNIT_NS, 1000000000},
                 {"m", RS_UNIT_NS, 60000000000},
                 {"min", RS_UNIT_NS, 60000000000},
                 {"h", RS_UNIT_NS, 3600000000000},
                 {"d", RS_UNIT_NS, 86400000000000}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].unit == unit && strcmp(units[i].name, suffix) == 0) {
            *ret = units[i].factor;
            return 0;
        }
    }
    return RS_EINVAL;
}

int node_u64(const rs_node *n, int unit, uint64_t *ret, rs_error *err) {
    char *end;
    uint64_t v, factor = 1;
    int r = scalar_check(n, err);

    if (r < 0)
        return r;
    errno = 0;
    v = strtoull(n->scalar, &end, 10);
    if (!isdigit((unsigned char)n->scalar[0]) || errno != 0)
        return rs_fail(err, RS_EINVAL, 0, 0, "'%s' is not a number", n->scalar);
    while (*end == ' ')
        end++;
    if (unit_factor(end, unit, &factor) < 0 || __builtin_mul_overflow(v, factor, &v))
        return rs_fail(err, RS_EINVAL, 0, 0, "'%s' has no known unit or is too large", n->scalar);
    *ret = v;
    return 0;
}

/* ---- YAML ---- */

struct builder {
    rs_node *root, *stack[DEPTH_MAX];
    char *pending_key[DEPTH_MAX]; /* of the map at this depth */
    int depth;
};

static int builder_push(struct builder *b, rs_node *n, rs_error *err) {
    if (b->depth == 0) {
        b->root = n;
    } else {
        rs_node *parent = b->stack[b->depth - 1];
        if (parent->kind == NODE_MAP) {
            n->key = b->pending_key[b->depth - 1];
            b->pending_key[b->depth - 1] = NULL;
            if (n->key == NULL || node_get(parent, n->key) != NULL) {
                (void)rs_fail(err, RS_EINVAL, 0, 0, "duplicate or unreadable key %s", n->key != NULL ? n->key : "");
                node_free(n);
                return RS_EINVAL;
            }
        }
        if (node_add(parent, n) < 0) {
            node_free(n);
            return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
        }
    }
    if (n->kind != NODE_SCALAR) {
        if (b->depth == DEPTH_MAX)
            return rs_fail(err, RS_EINVAL, 0, 0, "nested too deeply");
        b->stack[b->depth++] = n;
    }
    return 0;
}

static int builder_event(struct builder *b, const yaml_event_t *ev, rs_error *err) {
    rs_node *n, *top = b->depth > 0 ? b->stack[b->depth - 1] : NULL;
    const char *text;

    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        text = (const char *)ev->data.scalar.value;
        if (top != NULL && top->kind == NODE_MAP && b->pending_key[b->depth - 1] == NULL) {
            b->pending_key[b->depth - 1] = strdup(text);
            return b->pending_key[b->depth - 1] != NULL ? 0 : rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
        }
        n = node_new(NODE_SCALAR, text);
        if (n != NULL)
            n->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        break;
    case YAML_MAPPING_START_EVENT:
        n = node_new(NODE_MAP, "");
        break;
    case YAML_SEQUENCE_START_EVENT:
        n = node_new(NODE_LIST, "");
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        b->depth--;
        return 0;
    case YAML_ALIAS_EVENT:
        return rs_fail(err, RS_EINVAL, 0, 0, "aliases are not supported");
    default:
        return 0;
    }
    return n != NULL ? builder_push(b, n, err) : rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
}

rs_node *node_parse(const char *text, size_t len, rs_error *err) {
    yaml_parser_t parser;
    yaml_event_t ev;
    struct builder b = {0};
    int r = 0;

    if (!yaml_parser_initialize(&parser)) {
        (void)rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
        return NULL;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    for (bool end = false; r == 0 && !end;) {
        if (!yaml_parser_parse(&parser, &ev)) {
            r = rs_fail(err, RS_EINVAL, 0, 0, "line %zu: %s", parser.problem_mark.line + 1, parser.problem);
            break;
        }
        end = ev.type == YAML_STREAM_END_EVENT;
        r = builder_event(&b, &ev, err);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    for (int i = 0; i < DEPTH_MAX; i++)
        free(b.pending_key[i]);
    if (r < 0) {
        node_free(b.root);
        return NULL;
    }
    if (b.root == NULL)
        b.root = node_new(NODE_MAP, "");
    return b.root;
}

rs_node *node_parse_file(const char *path, rs_error *err) {
    FILE *f = fopen(path, "re");
    char *text = malloc(FILE_MAX);
    rs_node *n = NULL;

    if (f == NULL || text == NULL)
        (void)rs_fail(err, RS_ENOENT, 0, errno, "cannot read %s: %s", path, strerror(errno));
    else
        n = node_parse(text, fread(text, 1, FILE_MAX, f), err);
    if (f != NULL)
        (void)fclose(f);
    free(text);
    return n;
}
