/* SPDX-License-Identifier: Apache-2.0 */
/* One option: finding it by name, reading it from a node, writing it as text. */
#include "base/address.h"
#include "base/text.h"
#include "config/node_internal.h"
#include "config/options.h"

#include <stdio.h>
#include <string.h>

static const char *const role_names[] = {"http-ingress", "admin", "worker", "log-server", "metadata-server"};

/* ---- names ---- */

static bool one_of(const char *s, size_t n, const char *choices, unsigned *ret) {
    unsigned i = 0;

    for (const char *c = choices; *c; i++) {
        size_t len = strcspn(c, "|");

        if (len == n && memcmp(c, s, n) == 0) {
            *ret = i;
            return true;
        }
        c += len + (c[len] == '|');
    }
    return false;
}

/* Does the name @s of @n bytes fit the part @p of @pn bytes of a pattern? */
static bool part_fits(const char *p, size_t pn, const char *s, size_t n) {
    unsigned ignored;

    if (pn == 7 && memcmp(p, "<store>", 7) == 0)
        return one_of(s, n, "log|meta|data", &ignored);
    if (pn == 8 && memcmp(p, "<scheme>", 8) == 0) {
        for (size_t i = 0; i < n; i++)
            if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", s[i]))
                return false;
        return n > 0 && n < 16 && !one_of(s, n, "http|https", &ignored);
    }
    return pn == n && memcmp(p, s, n) == 0;
}

/* 0: no; 1: @path is above the pattern; 2: it is the pattern. */
static int fits(const char *pattern, const char *path) {
    for (;;) {
        size_t pn = strcspn(pattern, "."), n = strcspn(path, ".");

        if (pattern[pn] == 0 && pn && pattern[pn - 1] == '*')
            return strncmp(pattern, path, pn - 1) == 0 && path[pn - 1] ? 2 : 0;
        if (!part_fits(pattern, pn, path, n))
            return 0;
        if (!path[n] || !pattern[pn])
            return path[n] ? 0 : pattern[pn] ? 1 : 2;
        pattern += pn + 1;
        path += n + 1;
    }
}

const struct option *option_find(const char *path) {
    for (size_t i = 0; i < n_options; i++)
        if (options[i].path && fits(options[i].path, path) == 2)
            return &options[i];
    return NULL;
}

bool option_is_section(const char *path) {
    for (size_t i = 0; i < n_options; i++)
        if (options[i].path && fits(options[i].path, path) == 1)
            return true;
    return false;
}

const char *option_nearest(const char *path, char *buf, size_t size) {
    const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path, *best = NULL;
    unsigned limit = (unsigned)MAX(strlen(last) / 3, (size_t)2), least = limit + 1;
    size_t above = (size_t)(last - path);

    for (size_t i = 0; i < n_options; i++) { /* names on the same level */
        const char *p = options[i].path;
        char parent[256];
        size_t n;
        unsigned d;

        if (!p || strchr(p, '<') || strchr(p, '*') || strncmp(p, path, above) != 0)
            continue;
        n = strcspn(p + above, ".");
        d = text_distance(slice_of(p + above, n), slice_str(last), limit);
        if (d < least) {
            least = d;
            (void)snprintf(parent, sizeof parent, "%.*s", (int)(above + n), p);
            (void)snprintf(buf, size, "%s", parent);
            best = buf;
        }
    }
    for (size_t i = 0; i < n_options && !best; i++) { /* the right name at the wrong place */
        const char *p = options[i].path, *tail = p ? strrchr(p, '.') : NULL;

        if (tail && strcmp(tail + 1, last) == 0) {
            (void)snprintf(buf, size, "%s", p);
            best = buf;
        }
    }
    return best;
}

/* ---- reading ---- */

static void *at(const struct option *o, struct config *c) {
    return (char *)c + o->offset;
}

static int read_number(const struct option *o, const struct cfg_node *n, uint64_t *ret, struct err *err) {
    int unit = o->kind == OPT_INT ? RS_UNIT_COUNT : o->kind == OPT_SIZE ? RS_UNIT_BYTES : RS_UNIT_NS;
    _cleanup_buf_ struct buf b = {0};
    uint64_t v;
    int r;

    if ((o->flags & OPT_UNLIMITED) && n->type == CFG_SCALAR && strcmp(n->text, "unlimited") == 0) {
        *ret = CFG_UNLIMITED;
        return 0;
    }
    r = cfg_u64(n, unit, &v, err);
    if (r < 0)
        return r;
    if ((o->flags & OPT_NOT_ZERO) && v == 0)
        return cfg_error(err, n, "must not be 0");
    if (v >= CFG_UNSET)
        return cfg_error(err, n, "%.40s is too big", n->text);
    if (v >= o->min && (!o->max || v <= o->max)) {
        *ret = v;
        return 0;
    }
    if (o->kind == OPT_SIZE) {
        text_put_size(&b, v < o->min ? o->min : o->max);
        return cfg_error(err, n, "%.40s is %s than %s", n->text, v < o->min ? "less" : "more", buf_cstr(&b));
    }
    if (o->max)
        return cfg_error(err, n, "%.40s is not from %llu to %llu", n->text, (unsigned long long)o->min,
                         (unsigned long long)o->max);
    return cfg_error(err, n, "%.40s is less than %llu", n->text, (unsigned long long)o->min);
}

static int not_a_choice(const struct cfg_node *n, const char *choices, struct err *err) {
    char list[160];
    size_t k = 0;

    for (const char *c = choices; *c && k + 3 < sizeof list; c++) {
        list[k++] = *c == '|' ? ',' : *c;
        if (*c == '|')
            list[k++] = ' ';
    }
    list[k] = 0;
    return cfg_error(err, n, "\"%.60s\" is not one of %s", n->text, list);
}

static int read_string(const struct option *o, const struct cfg_node *n, const char **ret, struct arena *a,
                       struct err *err) {
    const char *s;
    unsigned ignored;
    int r = cfg_str(n, &s, err);

    if (r < 0)
        return r;
    if ((o->flags & OPT_NOT_ZERO) && !s[0])
        return cfg_error(err, n, "must not be empty");
    if (o->choices && !one_of(s, strlen(s), o->choices, &ignored))
        return not_a_choice(n, o->choices, err);
    if (o->kind == OPT_PLUGIN && (!s[0] || s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")]))
        return cfg_error(err, n, "\"%.60s\" is not the name of a plugin: a-z, 0-9 and '-' are allowed, not a path", s);
    *ret = arena_str(a, slice_str(s));
    return 0;
}

static int check_address(const struct cfg_node *n, const char *text, struct err *err) {
    struct address address;
    struct err why = {0};

    return address_parse(text, &address, &why) < 0 ? cfg_error(err, n, "%s", why.msg) : 0;
}

static int read_strings(const struct option *o, const struct cfg_node *n, struct cfg_strings *ret, struct arena *a,
                        struct err *err) {
    const struct cfg_node *first = n->type == CFG_LIST ? n->first : n;
    size_t count = n->type == CFG_LIST ? n->n : 1;
    const char **v = arena_newn(a, const char *, count + 1);

    if (n->type == CFG_MAP)
        return cfg_error(err, n, "a list is expected, not a map");
    for (size_t i = 0; i < count; i++, first = first->next) {
        const char *s;
        int r = cfg_str(first, &s, err);

        if (r == 0 && o->kind == OPT_ADDRESSES)
            r = check_address(first, s, err);
        if (r < 0)
            return r;
        v[i] = arena_str(a, slice_str(s));
    }
    *ret = (struct cfg_strings){.n = count, .v = v};
    return 0;
}

static int read_roles(const struct cfg_node *n, unsigned *ret, struct arena *a, struct err *err) {
    struct option as_list = {.kind = OPT_STRINGS};
    struct cfg_strings names;
    unsigned roles = 0;
    int r = read_strings(&as_list, n, &names, a, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < names.n; i++) {
        size_t k = 0;

        while (k < ARRAY_SIZE(role_names) && strcmp(role_names[k], names.v[i]) != 0)
            k++;
        if (k == ARRAY_SIZE(role_names)) {
            const char *near = text_nearest(slice_str(names.v[i]), role_names, ARRAY_SIZE(role_names));

            return cfg_error(err, n, "\"%.60s\" is not a role%s%s%s", names.v[i], near ? "; did you mean " : "",
                             near ? near : "", near ? "?" : "");
        }
        roles |= 1u << k;
    }
    if (!roles)
        return cfg_error(err, n, "a node needs at least one role");
    *ret = roles;
    return 0;
}

static int read_replication(const struct option *o, const struct cfg_node *n, struct cfg_replication *ret,
                            struct err *err) {
    const struct cfg_node *number = n;
    uint64_t v;
    int r;

    if (n->type == CFG_MAP) {
        number = cfg_get(n, "node");
        if (!number || n->n != 1)
            return cfg_error(err, n, "N or {node: N} is expected; only copies on different nodes are supported");
    } else if (n->type == CFG_SCALAR && strcmp(n->text, "*") == 0 && (o->flags & OPT_ANY_COPIES)) {
        *ret = (struct cfg_replication){.copies = 3, .all = true};
        return 0;
    } else if (n->type == CFG_SCALAR && n->n > 6 && n->text[0] == '{' && memcmp(n->text + 1, "node:", 5) == 0) {
        struct slice s = slice_of(n->text + 6, n->n - 7); /* upstream's own notation "{node: 2}" in quotes */

        while (s.len && s.data[0] == ' ')
            s = slice_from(s, 1);
        if (n->text[n->n - 1] != '}' || text_parse_u64(s, &v) < 0 || v < 1 || v > 255)
            return cfg_error(err, n, "N or {node: N} is expected");
        *ret = (struct cfg_replication){.copies = (unsigned)v};
        return 0;
    }
    r = cfg_u64(number, RS_UNIT_COUNT, &v, err);
    if (r < 0)
        return r;
    if (v < 1 || v > 255)
        return cfg_error(err, number, "%.40s is not from 1 to 255", number->text);
    *ret = (struct cfg_replication){.copies = (unsigned)v};
    return 0;
}

static int read_pairs(const struct cfg_node *n, struct cfg_pairs *ret, struct arena *a, struct err *err) {
    const char **names, **values;
    size_t i = 0;

    if (n->type != CFG_MAP)
        return cfg_error(err, n, "a map of names and values is expected");
    names = arena_newn(a, const char *, n->n + 1);
    values = arena_newn(a, const char *, n->n + 1);
    for (const struct cfg_node *c = n->first; c; c = c->next, i++) {
        int r = cfg_str(c, &values[i], err);

        if (r < 0)
            return r;
        names[i] = arena_str(a, slice_str(c->key));
        values[i] = arena_str(a, slice_str(values[i]));
    }
    *ret = (struct cfg_pairs){.n = i, .names = names, .values = values};
    return 0;
}

static int read_url(const struct cfg_node *n, const char **ret, struct arena *a, struct err *err) {
    const char *s;
    int r = cfg_str(n, &s, err);

    if (r == 0)
        r = check_address(n, s, err);
    if (r == 0)
        *ret = arena_str(a, slice_str(s));
    return r;
}

int option_read(const struct option *o, const struct cfg_node *n, struct config *c, struct arena *a, struct err *err) {
    union {
        uint64_t number;
        bool flag;
        double real;
        const char *text;
        unsigned index;
        struct cfg_strings strings;
        struct cfg_replication copies;
        struct cfg_pairs pairs;
    } v;
    size_t size = 0;
    int r = 0;

    switch (o->kind) {
    case OPT_SECTION:
    case OPT_TREE:
        return 0;
    case OPT_BOOL:
        r = cfg_bool(n, &v.flag, err);
        size = sizeof v.flag;
        break;
    case OPT_INT:
    case OPT_DURATION:
    case OPT_SIZE:
        r = read_number(o, n, &v.number, err);
        size = sizeof v.number;
        break;
    case OPT_FLOAT:
        r = cfg_f64(n, &v.real, err);
        if (r == 0 && v.real < (double)o->min)
            r = cfg_error(err, n, "%.40s is less than %llu", n->text, (unsigned long long)o->min);
        size = sizeof v.real;
        break;
    case OPT_STRING:
    case OPT_PLUGIN:
        r = read_string(o, n, &v.text, a, err);
        size = sizeof v.text;
        break;
    case OPT_ENUM:
        r = cfg_str(n, &v.text, err);
        if (r == 0 && !one_of(n->text, n->n, o->choices, &v.index))
            r = not_a_choice(n, o->choices, err);
        size = sizeof v.index;
        break;
    case OPT_STRINGS:
    case OPT_ADDRESSES:
        r = read_strings(o, n, &v.strings, a, err);
        size = sizeof v.strings;
        break;
    case OPT_URL:
        r = read_url(n, &v.text, a, err);
        size = sizeof v.text;
        break;
    case OPT_REPLICATION:
        r = read_replication(o, n, &v.copies, err);
        size = sizeof v.copies;
        break;
    case OPT_PAIRS:
        r = read_pairs(n, &v.pairs, a, err);
        size = sizeof v.pairs;
        break;
    case OPT_ROLES:
        r = read_roles(n, &v.index, a, err);
        size = sizeof v.index;
        break;
    }
    if (r == 0 && o->offset != OPT_NOWHERE)
        memcpy(at(o, c), &v, size);
    return r;
}

int option_default(const struct option *o, struct config *c, struct cfg_tree *tree, struct err *err) {
    bool number = o->kind == OPT_INT || o->kind == OPT_SIZE || o->kind == OPT_DURATION;

    if (o->offset == OPT_NOWHERE || o->kind == OPT_SECTION)
        return 0;
    if (o->def && !(o->flags & OPT_DERIVED))
        return option_read(o, value_node(tree, NULL, NULL, o->def, "default"), c, cfg_arena(tree), err);
    if (number)
        *(uint64_t *)at(o, c) = o->flags & OPT_UNLIMITED ? CFG_UNLIMITED : CFG_UNSET;
    return 0;
}

/* ---- writing ---- */

static void put_text_value(struct buf *b, const char *s) {
    struct cfg_node n = {
        .type = CFG_SCALAR, .text = s, .n = strlen(s), .quoted = strspn(s, "0123456789.") == strlen(s)};

    cfg_put_scalar(b, &n);
}

static void put_duration(struct buf *b, uint64_t ns) {
    if (ns == CFG_UNLIMITED)
        buf_put_str(b, "unlimited");
    else
        text_put_duration(b, ns);
}

static void put_exact_size(struct buf *b, uint64_t bytes) {
    _cleanup_buf_ struct buf t = {0};
    uint64_t back;

    text_put_size(&t, bytes);
    if (text_parse_size(buf_slice(&t), &back, NULL) == 0 && back == bytes)
        buf_put_slice(b, buf_slice(&t));
    else
        buf_putf(b, "%llu", (unsigned long long)bytes);
}

static void put_shown(struct buf *b, const char *s) {
    _cleanup_buf_ struct buf shown = {0};

    text_put_shown(&shown, s);
    put_text_value(b, buf_cstr(&shown));
}

/* @open: a value that is no secret. */
static void put_pairs(struct buf *b, const struct cfg_pairs *p, bool secret, const char *open) {
    buf_put_u8(b, '{');
    for (size_t i = 0; i < p->n; i++) {
        buf_put_str(b, i ? ", " : "");
        put_text_value(b, p->names[i]);
        buf_put_str(b, ": ");
        put_text_value(b, secret && strcmp(p->values[i], open) != 0 ? TEXT_MASK : p->values[i]);
    }
    buf_put_u8(b, '}');
}

static void put_strings(struct buf *b, const struct cfg_strings *s) {
    buf_put_u8(b, '[');
    for (size_t i = 0; i < s->n; i++) {
        struct cfg_node n = {.type = CFG_SCALAR, .text = s->v[i], .n = strlen(s->v[i]), .quoted = true};

        buf_put_str(b, i ? ", " : "");
        cfg_put_scalar(b, &n);
    }
    buf_put_u8(b, ']');
}

static void put_roles(struct buf *b, unsigned roles) {
    const char *comma = "";

    buf_put_u8(b, '[');
    for (size_t i = 0; i < ARRAY_SIZE(role_names); i++) {
        if (!(roles & 1u << i))
            continue;
        buf_putf(b, "%s%s", comma, role_names[i]);
        comma = ", ";
    }
    buf_put_u8(b, ']');
}

static void put_number(struct buf *b, const struct option *o, uint64_t v) {
    if (v == CFG_UNSET || (v == CFG_UNLIMITED && !(o->flags & OPT_UNLIMITED)))
        return;
    if (v == CFG_UNLIMITED)
        buf_put_str(b, "unlimited");
    else if (o->kind == OPT_SIZE)
        put_exact_size(b, v);
    else if (o->kind == OPT_DURATION)
        put_duration(b, v);
    else
        buf_putf(b, "%llu", (unsigned long long)v);
}

void option_put(struct buf *b, const struct option *o, const struct config *c) {
    const void *p = (const char *)c + (o->offset == OPT_NOWHERE ? 0 : o->offset);
    const struct cfg_replication *copies = p;
    bool secret = (o->flags & OPT_SECRET) != 0;
    const char *choice;
    unsigned index;

    if (o->offset == OPT_NOWHERE)
        return;
    switch (o->kind) {
    case OPT_BOOL:
        buf_put_str(b, *(const bool *)p ? "true" : "false");
        break;
    case OPT_INT:
    case OPT_DURATION:
    case OPT_SIZE:
        put_number(b, o, *(const uint64_t *)p);
        break;
    case OPT_FLOAT:
        buf_putf(b, "%.15g", *(const double *)p);
        break;
    case OPT_URL: /* an address: without user and password */
        if (*(const char *const *)p)
            put_text_value(b, *(const char *const *)p);
        break;
    case OPT_STRING:
    case OPT_PLUGIN:
        if (*(const char *const *)p)
            put_shown(b, secret ? TEXT_MASK : *(const char *const *)p);
        break;
    case OPT_ENUM:
        choice = o->choices;
        for (index = *(const unsigned *)p; index && *choice; index--)
            choice += strcspn(choice, "|") + 1;
        buf_put(b, choice, strcspn(choice, "|"));
        break;
    case OPT_STRINGS:
    case OPT_ADDRESSES:
        put_strings(b, p);
        break;
    case OPT_REPLICATION:
        if (copies->all)
            buf_put_str(b, "\"*\"");
        else if (copies->copies)
            buf_putf(b, "%u", copies->copies);
        break;
    case OPT_PAIRS:
        put_pairs(b, p, secret, c->cluster_name); /* the default of request headers */
        break;
    case OPT_ROLES:
        put_roles(b, *(const unsigned *)p);
        break;
    case OPT_SECTION:
    case OPT_TREE:
        break;
    }
}
