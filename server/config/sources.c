/* SPDX-License-Identifier: Apache-2.0 */
/* Layers of configuration: the file, the environment, the command line. Each is a tree of its own, checked by itself,
 * then merged. */
#include "base/text.h"
#include "config/options.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void layer_warn(const struct layer *l, const char *fmt, ...) {
    char text[400];
    va_list ap;

    if (!l->warn)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    l->warn(l->arg, text);
}

/* ---- values ---- */

/* Without space around it, and without a pair of quotes around that. */
static struct slice bare(struct slice s) {
    while (s.len && s.data[0] == ' ')
        s = slice_from(s, 1);
    while (s.len && s.data[s.len - 1] == ' ')
        s.len--;
    if (s.len >= 2 && (s.data[0] == '"' || s.data[0] == '\'') && s.data[s.len - 1] == s.data[0])
        s = slice_sub(s, 1, s.len - 2);
    return s;
}

/* {k=v}, {k = "v"}: what YAML reads as a key without a value. Depth is bounded by the parser. */
static void split_equals(struct cfg_tree *t, struct cfg_node *n) {
    for (struct cfg_node *c = n->first; c; c = c->next) {
        const char *eq = n->type == CFG_MAP && c->type == CFG_NULL ? strchr(c->key, '=') : NULL;

        if (eq && eq != c->key) {
            c->type = CFG_SCALAR;
            c->text = arena_str(cfg_arena(t), bare(slice_str(eq + 1)));
            c->n = strlen(c->text);
            c->key = arena_str(cfg_arena(t), bare(slice_of(c->key, (size_t)(eq - c->key))));
        }
        split_equals(t, c);
    }
}

static void set_source(struct cfg_node *n, const char *source) {
    n->source = source;
    n->line = n->column = 0;
    for (struct cfg_node *c = n->first; c; c = c->next)
        set_source(c, source);
}

struct cfg_node *value_node(struct cfg_tree *t, struct cfg_node *parent, const char *key, const char *text,
                            const char *source) {
    size_t len = strlen(text);
    struct cfg_node *n;

    source = arena_str(cfg_arena(t), slice_str(source));
    if (len >= 2 && ((text[0] == '[' && text[len - 1] == ']') || (text[0] == '{' && text[len - 1] == '}') ||
                     (text[0] == '"' && text[len - 1] == '"'))) {
        _cleanup_(cfg_tree_freep) struct cfg_tree *flow = NULL;

        if (cfg_parse(slice_of(text, len), source, &flow, NULL) == 0) {
            n = cfg_copy(t, parent, key, cfg_root(flow));
            split_equals(t, n);
            set_source(n, source);
            return n;
        }
    }
    if (strcmp(text, "null") == 0 || strcmp(text, "~") == 0)
        n = cfg_add(t, parent, key, CFG_NULL, NULL);
    else
        n = cfg_add(t, parent, key, CFG_SCALAR, text);
    n->source = source;
    return n;
}

static struct cfg_node *child(struct cfg_node *map, const char *key) {
    for (struct cfg_node *c = map->first; c; c = c->next)
        if (strcmp(c->key, key) == 0)
            return c;
    return NULL;
}

struct cfg_node *layer_set(struct cfg_tree *t, const char *path, const char *text, const char *source) {
    struct cfg_node *map = cfg_root(t), *old;

    for (;;) {
        size_t n = strcspn(path, ".");
        char key[128];

        (void)snprintf(key, sizeof key, "%.*s", (int)n, path);
        old = child(map, key);
        if (!path[n]) {
            if (old)
                cfg_remove(old);
            return value_node(t, map, key, text, source);
        }
        if (old && old->type == CFG_SCALAR && strcmp(key, "storage") == 0) { /* the short form, then a part of it */
            const char *plugin = old->text, *from = old->source;

            cfg_remove(old);
            old = cfg_add(t, map, key, CFG_MAP, NULL);
            cfg_add(t, old, "plugin", CFG_SCALAR, plugin)->source = from;
        } else if (old && old->type != CFG_MAP) {
            cfg_remove(old);
            old = NULL;
        }
        if (!old)
            old = cfg_add(t, map, key, CFG_MAP, NULL);
        old->source = arena_str(cfg_arena(t), slice_str(source));
        map = old;
        path += n + 1;
    }
}

/* ---- old names ---- */

static const struct {
    const char *old, *current;
} renamed[] = {{"bootstrap-num-partitions", "default-num-partitions"},
               {"advertised-ingress-endpoint", "ingress.advertised-address"},
               {"ingress.advertised-ingress-endpoint", "ingress.advertised-address"},
               {"advertised-admin-endpoint", "admin.advertised-address"},
               {"admin.advertised-admin-endpoint", "admin.advertised-address"},
               {"default-thread-pool-size", "loops"}};

static struct cfg_node *find_mutable(struct cfg_tree *t, const char *path) {
    struct cfg_node *n = cfg_root(t);

    while (n && *path) {
        size_t len = strcspn(path, ".");
        char key[128];

        (void)snprintf(key, sizeof key, "%.*s", (int)len, path);
        n = n->type == CFG_MAP ? child(n, key) : NULL;
        path += len + (path[len] == '.');
    }
    return n;
}

static void place_of(const struct cfg_node *n, char *buf, size_t size) {
    if (n->line)
        (void)snprintf(buf, size, "%.100s:%u", n->source, n->line);
    else
        (void)snprintf(buf, size, "%.120s", n->source);
}

static void rename_old(struct layer *l) {
    char place[160];
    struct cfg_node *n;

    for (size_t i = 0; i < ARRAY_SIZE(renamed); i++) {
        const struct cfg_node *taken = cfg_find(cfg_root(l->tree), renamed[i].current);
        struct cfg_node *fresh;

        n = find_mutable(l->tree, renamed[i].old);
        if (!n)
            continue;
        place_of(n, place, sizeof place);
        layer_warn(l, "%s: %s is the old name of %s", place, renamed[i].old, renamed[i].current);
        cfg_remove(n);
        if (taken)
            continue;
        fresh = layer_set(l->tree, renamed[i].current, "~", n->source);
        fresh->type = n->type;
        fresh->text = n->text;
        fresh->n = n->n;
        fresh->first = n->first;
        fresh->last = n->last;
        fresh->line = n->line;
        for (struct cfg_node *c = fresh->first; c; c = c->next)
            c->parent = fresh;
    }
    n = find_mutable(l->tree, "worker.invoker.disable-eager-state");
    if (n) {
        bool off = n->type == CFG_SCALAR && strcmp(n->text, "true") == 0;

        place_of(n, place, sizeof place);
        layer_warn(l, "%s: worker.invoker.disable-eager-state is old, use eager-state-size-limit: 0", place);
        cfg_remove(n);
        if (off)
            (void)layer_set(l->tree, "worker.invoker.eager-state-size-limit", "0", n->source);
    }
}

/* storage: lmdb -> storage: {plugin: lmdb}; the same for one store and for a transport. */
static void expand(struct cfg_tree *t, struct cfg_node *parent, struct cfg_node *n) {
    struct cfg_node *map;

    if (!n || n->type != CFG_SCALAR)
        return;
    cfg_remove(n);
    map = cfg_add(t, parent, n->key, CFG_MAP, NULL);
    map->source = n->source;
    map->line = n->line;
    n->key = "plugin";
    n->parent = map;
    map->first = map->last = n;
    map->n = 1;
}

static void expand_short_forms(struct cfg_tree *t) {
    static const char *const stores[] = {"log", "meta", "data"};
    static const char *const sections[] = {"", "ingress", "admin", "worker.invoker"};
    struct cfg_node *s;

    expand(t, cfg_root(t), child(cfg_root(t), "storage"));
    s = child(cfg_root(t), "storage");
    for (size_t i = 0; i < ARRAY_SIZE(stores) && s && s->type == CFG_MAP; i++)
        expand(t, s, child(s, stores[i]));
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        s = find_mutable(t, sections[i]);
        s = s && s->type == CFG_MAP ? child(s, "transport") : NULL;
        if (!s || s->type != CFG_MAP)
            continue;
        for (struct cfg_node *c = s->first, *next; c; c = next) {
            next = c->next;
            expand(t, s, c);
        }
    }
}

/* ---- checking ---- */

struct check {
    struct layer *l;
    struct cfg_tree *texts; /* for values nobody keeps */
    struct config *values;
    const char *rocksdb; /* the first rocksdb-* key */
    unsigned n_rocksdb;
    char path[512];
};

static int unknown(struct check *k, const struct cfg_node *n, struct err *err) {
    char near[256];
    const char *found = option_nearest(k->path, near, sizeof near);
    const char *ask = found ? "; did you mean " : "", *mark = found ? "?" : "";

    if (!found)
        found = "";
    if (k->l->strict)
        return cfg_error(err, n, "there is no such option%s%s%s", ask, found, mark);
    layer_warn(k->l, "%s: there is no option %s%s%s%s", n->source, k->path, ask, found, mark);
    return 0;
}

static int check_node(struct check *k, struct cfg_node *n, struct err *err);

static int check_children(struct check *k, struct cfg_node *map, struct err *err) {
    size_t len = strlen(k->path);

    for (struct cfg_node *c = map->first, *next; c; c = next) {
        int r;

        next = c->next;
        (void)snprintf(k->path + len, sizeof k->path - len, "%s%s", len ? "." : "", c->key);
        r = check_node(k, c, err);
        k->path[len] = 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* Variables that are set for all programs of a machine: no reason for a warning. */
static bool is_of_the_machine(const char *source) {
    static const char *const names[] = {"HTTP_PROXY", "NO_PROXY", "AWS_EXTERNAL_ID", "DO_NOT_TRACK"};
    static const char variable[] = "environment variable ";

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strncmp(source, variable, sizeof variable - 1) == 0 && strcmp(source + sizeof variable - 1, names[i]) == 0)
            return true;
    return false;
}

static int check_node(struct check *k, struct cfg_node *n, struct err *err) {
    const struct option *o;
    int r;

    if (strncmp(n->key, "rocksdb-", 8) == 0) {
        if (!k->n_rocksdb++)
            k->rocksdb = arena_str(cfg_arena(k->l->tree), slice_str(k->path));
        cfg_remove(n);
        return 0;
    }
    o = option_find(k->path);
    if (!o && option_is_section(k->path)) {
        if (n->type == CFG_MAP)
            return check_children(k, n, err);
        return n->type == CFG_NULL ? 0 : cfg_error(err, n, "this is a section: a map is expected");
    }
    if (!o) {
        r = unknown(k, n, err);
        if (r == 0)
            cfg_remove(n);
        return r;
    }
    if (n->type == CFG_NULL && !(o->flags & OPT_NO_EFFECT))
        return 0; /* a key without a value is a key not given, or no limit */
    if (o->kind == OPT_TREE && !(o->flags & OPT_NO_EFFECT) && n->type != CFG_MAP)
        return cfg_error(err, n, "a map of options is expected");
    r = n->type == CFG_NULL ? 0 : option_read(o, n, k->values, cfg_arena(k->texts), err);
    if (r == 0 && (o->flags & OPT_NO_EFFECT) && !is_of_the_machine(n->source)) {
        char place[160];

        place_of(n, place, sizeof place);
        layer_warn(k->l, "%s: %s has no effect here", place, k->path);
    }
    return r;
}

int layer_check(struct layer *l, struct err *err) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *texts = cfg_tree_new();
    struct check k = {.l = l, .texts = texts, .values = xnew(struct config)};
    int r;

    if (cfg_root(l->tree)->type != CFG_MAP) {
        free(k.values);
        return cfg_error(err, cfg_root(l->tree), "the configuration must be a map of options");
    }
    rename_old(l);
    expand_short_forms(l->tree);
    r = check_children(&k, cfg_root(l->tree), err);
    if (r == 0 && k.n_rocksdb)
        layer_warn(l, "%s%s: rocksdb-* keys have no effect here, use storage.options and memory-limit", k.rocksdb,
                   k.n_rocksdb > 1 ? " and others" : "");
    free(k.values);
    return r;
}

/* ---- merging ---- */

static void merge(struct cfg_tree *t, struct cfg_node *into, const struct cfg_node *from) {
    const struct cfg_node *plugin = cfg_get(from, "plugin");
    struct cfg_node *old = child(into, "plugin");

    if (plugin && old && plugin->text && old->text && strcmp(plugin->text, old->text) != 0 && child(into, "options"))
        cfg_remove(child(into, "options")); /* they were another plugin's */
    for (const struct cfg_node *c = from->first; c; c = c->next) {
        old = child(into, c->key);
        if (old && old->type == CFG_MAP && c->type == CFG_MAP) {
            merge(t, old, c);
            continue;
        }
        if (old)
            cfg_remove(old);
        (void)cfg_copy(t, into, c->key, c);
    }
}

void layer_merge(struct cfg_tree *into, const struct cfg_node *from) {
    merge(into, cfg_root(into), from);
}

/* ---- environment ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* WORKER__INVOKER__ABORT_TIMEOUT -> worker.invoker.abort-timeout */
static bool env_path(const char *name, size_t len, char *path, size_t size) {
    size_t k = 0;

    for (size_t i = 0; i < len; i++) {
        if (k + 1 >= size)
            return false;
        if (name[i] == '_' && i + 1 < len && name[i + 1] == '_') {
            path[k++] = '.';
            i++;
        } else {
            path[k++] = name[i] == '_' ? '-' : (char)tolower((unsigned char)name[i]);
        }
    }
    path[k] = 0;
    return k > 0 && path[0] != '.' && path[k - 1] != '.' && !strstr(path, "..");
}

static bool is_of_clients(const char *path) {
    static const char *const names[] = {"config", "admin-url",   "auth-token", "ingress-url",
                                        "cloud",  "environment", "host",       "host-port"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i], path) == 0)
            return true;
    return false;
}

static bool is_yes(const char *s) {
    return strcasecmp(s, "1") == 0 || strcasecmp(s, "true") == 0 || strcasecmp(s, "yes") == 0;
}

static void take_special(struct layer *l, const char *name, const char *value) {
    static const struct {
        const char *name, *path;
    } plain[] = {{"RUST_LOG", "log-filter"},
                 {"MEMORY_LIMIT", "memory-limit"},
                 {"HTTP_PROXY", "worker.invoker.http-proxy"},
                 {"NO_PROXY", "worker.invoker.no-proxy"},
                 {"AWS_EXTERNAL_ID", "worker.invoker.aws-assume-role-external-id"}};
    char source[64];

    (void)snprintf(source, sizeof source, "environment variable %s", name);
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        if (strcmp(plain[i].name, name) == 0 && value[0])
            (void)layer_set(l->tree, plain[i].path, value, source);
    if (strcmp(name, "DO_NOT_TRACK") == 0 && is_yes(value))
        (void)layer_set(l->tree, "disable-telemetry", "true", source);
}

int layer_env(struct layer *l, char *const *envp, struct err *err) {
    static const char *const special[] = {"RUST_LOG", "MEMORY_LIMIT",    "HTTP_PROXY",
                                          "NO_PROXY", "AWS_EXTERNAL_ID", "DO_NOT_TRACK"};
    const char **sorted;
    size_t n = 0, k = 0;

    while (envp && envp[n])
        n++;
    sorted = xnewn(const char *, n + 1);
    for (size_t i = 0; i < n; i++)
        if (strncasecmp(envp[i], "RESTATE_", 8) == 0 && strchr(envp[i], '='))
            sorted[k++] = envp[i];
    qsort(sorted, k, sizeof *sorted, by_text);
    for (size_t i = 0; i < k; i++) {
        size_t len = strcspn(sorted[i], "=");
        const char *value = sorted[i] + len + 1;
        char path[256], source[200];

        if (!env_path(sorted[i] + 8, len - 8, path, sizeof path) || is_of_clients(path) || !value[0])
            continue;
        (void)snprintf(source, sizeof source, "environment variable %.*s", (int)MIN(len, (size_t)160), sorted[i]);
        (void)layer_set(l->tree, path, value, source);
    }
    free(sorted);
    for (size_t i = 0; i < ARRAY_SIZE(special); i++)
        for (size_t e = 0; e < n; e++) {
            size_t len = strlen(special[i]);

            if (strncmp(envp[e], special[i], len) == 0 && envp[e][len] == '=')
                take_special(l, special[i], envp[e] + len + 1);
        }
    return layer_check(l, err);
}
