/* SPDX-License-Identifier: Apache-2.0 */
#include "config/node.h"
#include "base/text.h"
#include "config/node_internal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct cfg_tree *cfg_tree_new(void) {
    struct cfg_tree *t = xnew(struct cfg_tree);

    t->root = arena_new(&t->arena, struct cfg_node);
    t->root->type = CFG_MAP;
    t->root->source = "";
    return t;
}

struct cfg_tree *cfg_tree_free(struct cfg_tree *t) {
    if (t) {
        arena_done(&t->arena);
        free(t);
    }
    return NULL;
}

struct cfg_node *cfg_root(const struct cfg_tree *t) {
    return t->root;
}

struct arena *cfg_arena(struct cfg_tree *t) {
    return &t->arena;
}

static void link_child(struct cfg_node *parent, struct cfg_node *n) {
    n->parent = parent;
    if (!parent)
        return;
    if (parent->last)
        parent->last->next = n;
    else
        parent->first = n;
    parent->last = n;
    parent->n++;
}

struct cfg_node *cfg_add(struct cfg_tree *t, struct cfg_node *parent, const char *key, enum cfg_type type,
                         const char *text) {
    struct cfg_node *n = arena_new(&t->arena, struct cfg_node);

    n->type = type;
    n->source = parent ? parent->source : "";
    if (key)
        n->key = arena_str(&t->arena, slice_str(key));
    if (type == CFG_SCALAR) {
        n->n = strlen(text);
        n->text = arena_str(&t->arena, slice_of(text, n->n));
    }
    link_child(parent, n);
    return n;
}

struct cfg_node *cfg_copy(struct cfg_tree *t, struct cfg_node *parent, const char *key, const struct cfg_node *src) {
    struct cfg_node *first = NULL, *to = parent;

    for (const struct cfg_node *at = src;;) { /* depth first, without recursion */
        struct cfg_node *n = cfg_add(t, to, at == src ? key : at->key, at->type, at->text);

        n->quoted = at->quoted;
        n->line = at->line;
        n->column = at->column;
        n->source = arena_str(&t->arena, slice_str(at->source));
        if (!first)
            first = n;
        if (at->first) {
            to = n;
            at = at->first;
            continue;
        }
        while (at != src && !at->next) {
            at = at->parent;
            to = to->parent;
        }
        if (at == src)
            return first;
        at = at->next;
    }
}

void cfg_remove(struct cfg_node *n) {
    struct cfg_node *p = n->parent, *prev = NULL;

    if (!p)
        return;
    for (struct cfg_node *c = p->first; c != n; c = c->next)
        prev = c;
    if (prev)
        prev->next = n->next;
    else
        p->first = n->next;
    if (p->last == n)
        p->last = prev;
    p->n--;
    n->parent = n->next = NULL;
}

const struct cfg_node *cfg_get(const struct cfg_node *map, const char *key) {
    if (!map || map->type != CFG_MAP)
        return NULL;
    for (const struct cfg_node *c = map->first; c; c = c->next)
        if (strcmp(c->key, key) == 0)
            return c;
    return NULL;
}

const struct cfg_node *cfg_at(const struct cfg_node *list, size_t i) {
    const struct cfg_node *c;

    if (!list || list->type != CFG_LIST)
        return NULL;
    for (c = list->first; c && i; i--)
        c = c->next;
    return c;
}

const struct cfg_node *cfg_find(const struct cfg_node *map, const char *path) {
    while (map && *path) {
        size_t n = strcspn(path, ".");
        const struct cfg_node *c = map->type == CFG_MAP ? map->first : NULL;

        while (c && (strlen(c->key) != n || strncmp(c->key, path, n) != 0))
            c = c->next;
        map = c;
        path += n + (path[n] == '.');
    }
    return map;
}

const char *cfg_path(const struct cfg_node *n, char *buf, size_t size) {
    const struct cfg_node *chain[LIMIT_CFG_DEPTH * 2];
    size_t depth = 0, at = 0;

    for (; n && n->parent && depth < ARRAY_SIZE(chain); n = n->parent)
        chain[depth++] = n;
    buf[0] = 0;
    while (depth-- && at + 1 < size) {
        const struct cfg_node *c = chain[depth];
        int r;

        if (c->key) {
            r = snprintf(buf + at, size - at, "%s%s", at ? "." : "", c->key);
        } else {
            size_t index = 0;

            for (const struct cfg_node *s = c->parent->first; s != c; s = s->next)
                index++;
            r = snprintf(buf + at, size - at, "[%zu]", index);
        }
        at = MIN(at + (size_t)MAX(r, 0), size - 1);
    }
    return buf;
}

int cfg_error(struct err *err, const struct cfg_node *n, const char *fmt, ...) {
    char path[200], what[200];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    (void)cfg_path(n, path, sizeof path);
    if (n->line)
        return err_set(err, RS_EINVAL, "%.100s:%u: %s%s%s", n->source, n->line, path, path[0] ? ": " : "", what);
    return err_set(err, RS_EINVAL, "%.100s%s%s%s%s", n->source, n->source[0] ? ": " : "", path, path[0] ? ": " : "",
                   what);
}

static const char *kind_of(const struct cfg_node *n) {
    switch (n->type) {
    case CFG_MAP:
        return "a map";
    case CFG_LIST:
        return "a list";
    case CFG_NULL:
        return "nothing";
    case CFG_SCALAR:
        break;
    }
    return "a value";
}

static int scalar(const struct cfg_node *n, const char *wanted, struct err *err) {
    return n->type == CFG_SCALAR ? 0 : cfg_error(err, n, "%s is expected, not %s", wanted, kind_of(n));
}

int cfg_str(const struct cfg_node *n, const char **ret, struct err *err) {
    int r = scalar(n, "a text", err);

    if (r == 0)
        *ret = n->text;
    return r;
}

int cfg_u64(const struct cfg_node *n, int unit, uint64_t *ret, struct err *err) {
    static const char *const wanted[] = {"a value", "a whole number", "a size such as 64MB or 32 MiB",
                                         "a duration such as 500ms or 1h 30m"};
    int r = scalar(n, wanted[unit >= RS_UNIT_COUNT && unit <= RS_UNIT_NS ? unit : 0], err);
    struct err why = {0};

    if (r < 0)
        return r;
    switch (unit) {
    case RS_UNIT_COUNT:
        r = text_parse_u64(slice_of(n->text, n->n), ret);
        if (r == RS_ETOOBIG)
            return cfg_error(err, n, "%.40s is too big", n->text);
        return r < 0 ? cfg_error(err, n, "a whole number is expected, not \"%.60s\"", n->text) : 0;
    case RS_UNIT_BYTES:
        r = text_parse_size(slice_of(n->text, n->n), ret, &why);
        break;
    case RS_UNIT_NS:
        r = text_parse_duration(slice_of(n->text, n->n), ret, &why);
        break;
    default:
        return cfg_error(err, n, "is asked for in an unknown unit");
    }
    return r < 0 ? cfg_error(err, n, "\"%.60s\": %s", n->text, why.msg) : 0;
}

int cfg_bool(const struct cfg_node *n, bool *ret, struct err *err) {
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "on", "1"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "off", "0"};
    int r = scalar(n, "true or false", err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (strcmp(n->text, yes[i]) != 0 && strcmp(n->text, no[i]) != 0)
            continue;
        *ret = strcmp(n->text, yes[i]) == 0;
        return 0;
    }
    return cfg_error(err, n, "true or false is expected, not \"%.60s\"", n->text);
}

int cfg_f64(const struct cfg_node *n, double *ret, struct err *err) {
    int r = scalar(n, "a number", err);
    char *end;
    double v;

    if (r < 0)
        return r;
    v = strtod(n->text, &end);
    if (end == n->text || *end || !isfinite(v) || isspace((unsigned char)n->text[0]))
        return cfg_error(err, n, "a number is expected, not \"%.60s\"", n->text);
    *ret = v;
    return 0;
}

/* Plain when YAML reads the same text back, as a value and not as something else; in double quotes otherwise. */
static bool plain_is_safe(const struct cfg_node *n) {
    static const char *const words[] = {"null", "Null", "NULL", "~"};

    if (n->quoted || n->n == 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(n->text, words[i]) == 0)
            return false;
    for (size_t i = 0; i < n->n; i++) {
        char c = n->text[i];

        if (!isalnum((unsigned char)c) && !strchr("._/+", c) && !(i && strchr("-:@%", c)) &&
            !(c == ' ' && i && i + 1 < n->n))
            return false;
        if (c == ':' && (i + 1 == n->n || n->text[i + 1] == ' '))
            return false;
    }
    return true;
}

static void put_text(struct buf *b, const char *s, size_t n) {
    buf_put_u8(b, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\')
            buf_putf(b, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            buf_putf(b, "\\x%02x", c);
        else
            buf_put_u8(b, c);
    }
    buf_put_u8(b, '"');
}

void cfg_put_scalar(struct buf *b, const struct cfg_node *n) {
    if (n->type == CFG_NULL)
        buf_put_str(b, "null");
    else if (plain_is_safe(n))
        buf_put(b, n->text, n->n);
    else
        put_text(b, n->text, n->n);
}

static void put_key(struct buf *b, const char *key) {
    struct cfg_node k = {.type = CFG_SCALAR, .text = key, .n = strlen(key)};

    cfg_put_scalar(b, &k);
}

static void put_indent(struct buf *b, unsigned indent) {
    for (unsigned i = 0; i < indent; i++)
        buf_put_u8(b, ' ');
}

/* Recursion is bounded: trees are at most LIMIT_CFG_DEPTH deep. */
void cfg_put_yaml(struct buf *b, const struct cfg_node *n, unsigned indent) {
    if (!n->first) {
        put_indent(b, indent);
        if (n->type == CFG_MAP || n->type == CFG_LIST)
            buf_put_str(b, n->type == CFG_MAP ? "{}" : "[]");
        else
            cfg_put_scalar(b, n);
        buf_put_u8(b, '\n');
        return;
    }
    for (const struct cfg_node *c = n->first; c; c = c->next) {
        put_indent(b, indent);
        if (n->type == CFG_MAP) {
            put_key(b, c->key);
            buf_put_u8(b, ':');
        } else {
            buf_put_u8(b, '-');
        }
        buf_put_str(b, c->first ? "\n" : " ");
        cfg_put_yaml(b, c, c->first ? indent + 2 : 0);
    }
}

static int by_key(const void *a, const void *b) {
    return strcmp((*(const struct cfg_node *const *)a)->key, (*(const struct cfg_node *const *)b)->key);
}

void cfg_put_canonical(struct buf *b, const struct cfg_node *n) {
    const struct cfg_node **sorted;
    size_t i = 0;

    if (n->type == CFG_SCALAR) {
        put_text(b, n->text, n->n);
        return;
    }
    if (n->type == CFG_NULL) {
        buf_put_str(b, "null");
        return;
    }
    sorted = xnewn(const struct cfg_node *, n->n + 1);
    for (const struct cfg_node *c = n->first; c; c = c->next)
        sorted[i++] = c;
    if (n->type == CFG_MAP)
        qsort(sorted, i, sizeof *sorted, by_key);
    buf_put_u8(b, n->type == CFG_MAP ? '{' : '[');
    for (size_t k = 0; k < i; k++) {
        if (k)
            buf_put_u8(b, ',');
        if (n->type == CFG_MAP) {
            put_text(b, sorted[k]->key, strlen(sorted[k]->key));
            buf_put_u8(b, ':');
        }
        cfg_put_canonical(b, sorted[k]);
    }
    buf_put_u8(b, n->type == CFG_MAP ? '}' : ']');
    free(sorted);
}
