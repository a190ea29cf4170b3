/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logging.h"
#include "config/options.h"

#include <stdio.h>
#include <string.h>

#define EXIT_CONFIG 1
#define EXIT_USAGE 2

struct config *config_free(struct config *c) {
    if (c) {
        (void)cfg_tree_free(c->tree);
        free(c);
    }
    return NULL;
}

static const char *env_value(char *const *envp, const char *name) {
    size_t n = strlen(name);

    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=' && (*envp)[n + 1])
            return *envp + n + 1;
    return NULL;
}

static struct layer layer_of(const struct config_inputs *in, struct cfg_tree *tree, bool strict) {
    return (struct layer){.tree = tree, .strict = strict, .warn = in->warn, .arg = in->arg};
}

static int add_file(const struct config_inputs *in, const char *path, struct cfg_tree *into, struct err *err) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = NULL;
    struct layer l;
    int r = cfg_parse_file(path, &t, err);

    if (r < 0)
        return r;
    l = layer_of(in, t, true);
    r = layer_check(&l, err);
    if (r == 0)
        layer_merge(into, cfg_root(t));
    return r;
}

static int add_env(const struct config_inputs *in, struct cfg_tree *into, struct err *err) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = cfg_tree_new();
    struct layer l = layer_of(in, t, false);
    int r = layer_env(&l, in->envp, err);

    if (r == 0)
        layer_merge(into, cfg_root(t));
    return r;
}

static int read_all(struct config *c, struct err *err) {
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];
        const struct cfg_node *n = o->path && o->offset != OPT_NOWHERE ? cfg_find(c->root, o->path) : NULL;
        int r = option_default(o, c, c->tree, err);

        if (r == 0 && n && n->type != CFG_NULL)
            r = option_read(o, n, c, cfg_arena(c->tree), err);
        else if (r == 0 && n && (o->flags & OPT_UNLIMITED)) /* null: no limit */
            *(uint64_t *)(void *)((char *)c + o->offset) = CFG_UNLIMITED;
        if (r < 0)
            return r;
    }
    return 0;
}

static int build(const struct config_inputs *in, const struct cli *cli, struct cfg_tree *cli_tree, struct config *c,
                 struct err *err) {
    struct layer l = layer_of(in, cli_tree, true);
    int r = 0;

    c->production = cli->production;
    if (c->file)
        r = add_file(in, c->file, c->tree, err);
    if (r == 0)
        r = add_env(in, c->tree, err);
    if (r == 0)
        r = layer_check(&l, err);
    if (r < 0)
        return r;
    layer_merge(c->tree, cfg_root(cli_tree));
    c->root = cfg_root(c->tree);
    r = read_all(c, err);
    return r < 0 ? r : config_finish(c, in, err);
}

int config_load(const struct config_inputs *in, struct config_run *ret_run, struct config **ret, struct err *err) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *cli_tree = cfg_tree_new();
    _cleanup_(config_freep) struct config *c = xnew(struct config);
    struct cli cli = {0};
    const char *file;

    c->tree = cfg_tree_new();
    if (cli_parse(in, &cli, cli_tree, err) < 0)
        return EXIT_USAGE;
    *ret_run = cli.run;
    *ret = NULL;
    if (cli.run.action == CONFIG_HELP || cli.run.action == CONFIG_VERSION)
        return 0;
    file = cli.file ? cli.file : env_value(in->envp, "RESTATE_CONFIG");
    if (file)
        c->file = arena_str(cfg_arena(c->tree), slice_str(file));
    if (build(in, &cli, cli_tree, c, err) < 0)
        return EXIT_CONFIG;
    if (cli.run.action == CONFIG_CONVERT_STORE) {
        const char *store = cli.run.convert_store;

        ret_run->convert_store = arena_str(cfg_arena(c->tree), slice_of(store, strcspn(store, "=")));
        ret_run->convert_plugin = arena_str(cfg_arena(c->tree), slice_str(cli.run.convert_plugin));
    }
    *ret = TAKE(c);
    return 0;
}

/* ---- dump ---- */

/* The part of a dump that is not in the table: plugins. */
static void put_plugin(struct buf *b, unsigned indent, const struct cfg_plugin *p) {
    buf_putf(b, "%*splugin: %s\n%*soptions:\n", (int)indent, "", p->name, (int)indent, "");
    cfg_put_yaml(b, p->options, indent + 2);
}

static void put_transports(struct buf *b, unsigned indent, const struct cfg_transports *t) {
    if (!t->n)
        return;
    buf_putf(b, "%*stransport:\n", (int)indent, "");
    for (size_t i = 0; i < t->n; i++) {
        buf_putf(b, "%*s%s:\n", (int)indent + 2, "", t->v[i].scheme);
        put_plugin(b, indent + 4, &t->v[i].plugin);
    }
}

static void put_store(struct buf *b, const struct config *c, size_t i) {
    put_plugin(b, 4, &c->storage.plugin[i]);
    if (c->storage.dir[i]) {
        struct cfg_node n = {
            .type = CFG_SCALAR, .text = c->storage.dir[i], .n = strlen(c->storage.dir[i]), .quoted = true};

        buf_put_str(b, "    dir: ");
        cfg_put_yaml(b, &n, 0);
    }
}

/* Plugins belong into the section that was just opened; the table has the values that go next to them. */
static void put_section_extras(struct buf *b, const struct config *c, const char *section, unsigned indent) {
    if (strcmp(section, "storage") == 0) {
        buf_putf(b, "  plugin: %s\n  log:\n", c->storage.plugin[STORE_DATA].name);
        put_store(b, c, STORE_LOG);
        buf_put_str(b, "  meta:\n");
        put_store(b, c, STORE_META);
    } else if (strcmp(section, "storage.data") == 0) {
        put_store(b, c, STORE_DATA);
    } else if (strcmp(section, "ingress") == 0) {
        put_transports(b, indent, &c->ingress.transport);
    } else if (strcmp(section, "admin") == 0) {
        put_transports(b, indent, &c->admin.transport);
    } else if (strcmp(section, "worker.invoker") == 0 && c->invoker.transport_configured) {
        put_transports(b, indent, &c->invoker.transport);
    }
}

/* Opens the sections of @path that are not open yet; returns the depth of the option itself. */
static unsigned open_sections(struct buf *b, const struct config *c, const char *path, char *open, size_t size) {
    unsigned depth = 0;

    for (const char *p = path; (p = strchr(p, '.')); p++, depth++) {
        size_t n = (size_t)(p - path);
        const char *name;

        if (strncmp(open, path, n) == 0 && (open[n] == '.' || open[n] == 0))
            continue;
        (void)snprintf(open, size, "%.*s", (int)n, path);
        name = strrchr(open, '.');
        buf_putf(b, "%*s%s:\n", (int)depth * 2, "", name ? name + 1 : open);
        put_section_extras(b, c, open, depth * 2 + 2);
    }
    if (!depth)
        open[0] = 0;
    return depth;
}

static int by_path(const void *a, const void *b) {
    const struct option *x = *(const struct option *const *)a, *y = *(const struct option *const *)b;

    return strcmp(x->path, y->path);
}

/* Of two options of one level the one without parts below comes first, so that every section is opened once. */
static void put_level(struct buf *b, const struct config *c, const struct option *const *sorted, size_t n, bool top) {
    char open[256] = "";

    for (size_t i = 0; i < n; i++) {
        _cleanup_buf_ struct buf value = {0};
        const char *path = sorted[i]->path, *dot = strrchr(path, '.');
        unsigned depth;

        if ((strchr(path, '.') == NULL) != top)
            continue;
        option_put(&value, sorted[i], c);
        if (!value.len)
            continue;
        depth = open_sections(b, c, path, open, sizeof open);
        buf_putf(b, "%*s%s: ", (int)depth * 2, "", dot ? dot + 1 : path);
        buf_put_slice(b, buf_slice(&value));
        buf_put_u8(b, '\n');
    }
}

void config_put_dump(struct buf *b, const struct config *c) {
    const struct option **sorted = xnewn(const struct option *, n_options);
    size_t n = 0;

    for (size_t i = 0; i < n_options; i++)
        if (options[i].path && options[i].offset != OPT_NOWHERE)
            sorted[n++] = &options[i];
    qsort(sorted, n, sizeof *sorted, by_path);
    put_level(b, c, sorted, n, true);
    put_transports(b, 0, &c->transport);
    put_level(b, c, sorted, n, false);
    free(sorted);
}
