/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/plugin_internal.h"
#include "base/logging.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct instance {
    struct plugin_instance pub;
    struct instance *next; /* order of use */
    struct plugin *plugin;
    const rs_host *host;
    struct cfg_tree *tree;    /* ours, with what was filled in */
    struct cfg_node *options; /* in it, under the path the operator wrote, for messages */
    char *identity;           /* canonical text of the options */
    bool started, stopped;
};

struct plugin_registry {
    struct host *host;
    char *dir;
    struct plugin *plugins;
    struct instance *first, *last;
    struct stopping *stopping;
};

struct plugin_registry *plugin_registry_new(struct host *host, const char *dir) {
    struct plugin_registry *reg = xnew(struct plugin_registry);

    reg->host = host;
    reg->dir = dir ? xstrdup(dir) : NULL;
    return reg;
}

static struct plugin *find(const struct plugin_registry *reg, int kind, const char *name) {
    for (struct plugin *p = reg->plugins; p; p = p->next)
        if (p->info.kind == kind && strcmp(p->info.name, name) == 0)
            return p;
    return NULL;
}

static void plugin_free(struct plugin *p) {
    free(p->path);
    free(p);
}

int plugin_register(struct plugin_registry *reg, const rs_plugin *plugin, struct err *err) {
    struct plugin *p = xnew(struct plugin);
    int r = plugin_accept(plugin, 0, NULL, "linked-in plugin", 0, p, err);

    if (r == 0 && find(reg, p->info.kind, p->info.name))
        r = err_set(err, RS_EEXIST, "the %s plugin %s is registered twice", plugin_kind_name(p->info.kind),
                    p->info.name);
    if (r < 0) {
        plugin_free(p);
        return r;
    }
    p->next = reg->plugins;
    reg->plugins = p;
    return 0;
}

bool plugin_exists(const struct plugin_registry *reg, int kind, const char *name) {
    char path[PATH_MAX];
    struct stat st;

    if (find(reg, kind, name))
        return true;
    if (!reg->dir || !plugin_name_ok(name) ||
        (size_t)snprintf(path, sizeof path, "%s/%s-%s.so", reg->dir, plugin_kind_name(kind), name) >= sizeof path)
        return false;
    return stat(path, &st) == 0;
}

static int obtain(struct plugin_registry *reg, int kind, const char *name, struct plugin **ret, struct err *err) {
    struct plugin *p = find(reg, kind, name);
    int r;

    if (!p) {
        p = xnew(struct plugin);
        r = plugin_open(reg->dir, kind, name, 0, p, err);
        if (r < 0) {
            plugin_free(p);
            return r;
        }
        p->next = reg->plugins;
        reg->plugins = p;
    }
    *ret = p;
    return 0;
}

static const char *place_of(const struct plugin *p) {
    return p->path ? p->path : p->info.name;
}

static int check_options(struct instance *i, struct err *err) {
    const struct plugin *p = i->plugin;
    rs_error why = {.struct_size = sizeof why};
    int r = schema_validate(p->desc.config_schema, place_of(p), i->options, err);

    if (r < 0)
        return r;
    r = p->desc.check(i->host, host_node(i->options), &why);
    if (r >= 0)
        return 0;
    (void)err_from_abi(err, r, &why);
    return err_wrap(err, r, "%s plugin %s refuses its options", plugin_kind_name(p->info.kind), p->info.name);
}

static void instance_free(struct instance *i) {
    (void)cfg_tree_free(i->tree);
    free(i->identity);
    free(i);
}

/* A copy of @src below maps of the same names as those above it; an empty map for none. */
static struct cfg_node *copy_with_path(struct cfg_tree *t, const struct cfg_node *src) {
    const struct cfg_node *above[LIMIT_CFG_DEPTH * 2];
    struct cfg_node *at = cfg_root(t);
    size_t depth = 0;

    if (!src || src->type == CFG_NULL)
        return cfg_add(t, at, "options", CFG_MAP, NULL);
    for (const struct cfg_node *p = src->parent; p && p->key && depth < ARRAY_SIZE(above); p = p->parent)
        above[depth++] = p;
    while (depth--)
        at = cfg_add(t, at, above[depth]->key, CFG_MAP, NULL);
    return cfg_copy(t, at, src->key ? src->key : "options", src);
}

static struct instance *instance_new(struct plugin_registry *reg, struct plugin *p, const struct cfg_node *options,
                                     uint64_t budget) {
    struct instance *i = xnew(struct instance);
    _cleanup_buf_ struct buf identity = {0};
    struct cfg_node *node;

    i->plugin = p;
    i->tree = cfg_tree_new();
    i->options = node = copy_with_path(i->tree, options);
    cfg_put_canonical(&identity, node);
    i->identity = xstrdup(buf_cstr(&identity));
    if (budget && node->type == CFG_MAP && !cfg_get(node, "memory-budget") &&
        schema_has(p->desc.config_schema, "memory-budget")) {
        char text[24];

        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)budget);
        cfg_add(i->tree, node, "memory-budget", CFG_SCALAR, text)->source = "memory-limit";
    }
    i->pub.info = &p->info;
    i->pub.caps = p->info.caps;
    if (p->info.kind == RS_KIND_STORAGE)
        i->pub.storage = &p->ops.storage;
    else
        i->pub.transport = &p->ops.transport;
    i->host = host_for(reg->host, p->info.name);
    return i;
}

int plugin_use(struct plugin_registry *reg, int kind, const char *name, const struct cfg_node *options,
               uint64_t memory_budget_bytes, struct plugin_instance **ret, struct err *err) {
    struct instance *i;
    struct plugin *p;
    int r = obtain(reg, kind, name, &p, err);

    if (r < 0)
        return r;
    i = instance_new(reg, p, options, memory_budget_bytes);
    for (struct instance *other = reg->first; other; other = other->next) {
        if (other->plugin != p || strcmp(other->identity, i->identity) != 0)
            continue;
        instance_free(i);
        *ret = &other->pub;
        return 0;
    }
    r = check_options(i, err);
    if (r < 0) {
        instance_free(i);
        return r;
    }
    *(reg->last ? &reg->last->next : &reg->first) = i;
    reg->last = i;
    *ret = &i->pub;
    return 0;
}

int plugin_registry_init(struct plugin_registry *reg, struct err *err) {
    for (struct instance *i = reg->first; i; i = i->next) {
        const struct plugin_info *info = i->pub.info;
        rs_error why = {.struct_size = sizeof why};
        char abi[16];
        int r;

        if (i->started)
            continue;
        r = i->plugin->desc.init(i->host, host_node(i->options), &i->pub.self, &why);
        if (r < 0) {
            i->pub.self = NULL;
            (void)err_from_abi(err, r, &why);
            return err_wrap(err, r, "%s plugin %s cannot start", plugin_kind_name(info->kind), info->name);
        }
        i->started = true;
        (void)snprintf(abi, sizeof abi, "%u.%u", info->abi_major, info->abi_minor);
        LOG_INFO("plugin started", F_STR("kind", plugin_kind_name(info->kind)), F_STR("plugin", info->name),
                 F_STR("version", info->version), F_STR("license", info->license), F_STR("abi", abi),
                 F_STR("build_id", info->build_id), F_STR("sha256", info->sha256),
                 F_STR("path", info->path ? info->path : "linked in"));
    }
    return 0;
}

/* ---- stopping: one instance after the other, from the last to the first ---- */

struct stopping {
    struct plugin_registry *reg;
    struct loop *loop;
    loop_fn done;
    void *arg;
    struct instance *current;
    unsigned reported; /* atomic: a plugin that reports twice is not followed twice */
};

static void stop_next(void *arg);

/* Comes from any thread of the plugin, perhaps from inside stop(). */
static void stop_reported(void *arg, int status, const rs_error *error) {
    struct stopping *s = arg;

    if (__atomic_exchange_n(&s->reported, 1u, __ATOMIC_ACQ_REL))
        return;
    if (status < 0)
        LOG_WARN("plugin stopped with an error", F_STR("plugin", s->current->pub.info->name),
                 F_STR("code", err_name(status)), F_STR("error", error ? error->msg : ""));
    loop_post(s->loop, stop_next, s);
}

static struct instance *last_running(const struct plugin_registry *reg) {
    struct instance *last = NULL;

    for (struct instance *i = reg->first; i; i = i->next)
        if (i->started && !i->stopped)
            last = i;
    return last;
}

static void stop_next(void *arg) {
    struct stopping *s = arg;

    if (s->current)
        s->current->stopped = true;
    s->current = last_running(s->reg);
    if (!s->current) {
        s->done(s->arg);
        return;
    }
    __atomic_store_n(&s->reported, 0, __ATOMIC_RELEASE);
    s->current->plugin->desc.stop(s->current->pub.self, stop_reported, s);
}

void plugin_registry_stop(struct plugin_registry *reg, struct loop *loop, loop_fn done, void *arg) {
    ASSERT(!reg->stopping);
    reg->stopping = xnew(struct stopping);
    *reg->stopping = (struct stopping){.reg = reg, .loop = loop, .done = done, .arg = arg};
    loop_post(loop, stop_next, reg->stopping);
}

static struct instance *pop_last(struct plugin_registry *reg) {
    struct instance *i = reg->last, *prev = NULL;

    if (!i)
        return NULL;
    for (struct instance *at = reg->first; at != i; at = at->next)
        prev = at;
    *(prev ? &prev->next : &reg->first) = NULL;
    reg->last = prev;
    return i;
}

struct plugin_registry *plugin_registry_free(struct plugin_registry *reg) {
    struct instance *i;

    if (!reg)
        return NULL;
    while ((i = pop_last(reg))) {
        if (i->started && i->stopped)
            i->plugin->desc.fini(i->pub.self);
        instance_free(i);
    }
    for (struct plugin *p = reg->plugins, *next; p; p = next) {
        next = p->next;
        plugin_free(p);
    }
    free(reg->stopping);
    free(reg->dir);
    free(reg);
    return NULL;
}

void plugin_each(const struct plugin_registry *reg, void (*each)(void *arg, const struct plugin_info *info),
                 void *arg) {
    for (const struct plugin *p = reg->plugins; p; p = p->next)
        each(arg, &p->info);
}
