/* SPDX-License-Identifier: Apache-2.0 */
/* plugins list | describe: the plugins of an installation; works without a running node. */
#include <dirent.h>
#include <string.h>

#include "ctl.h"
#include "loop/exec.h"
#include "plugin/host.h"
#include "plugin/plugin.h"

struct plugins { /* a registry without a node around it */
    struct loop *loop;
    struct exec *pool;
    struct host *host;
    struct plugin_registry *registry;
};

static int open_plugins(struct plugins *p, const char *dir, struct err *err) {
    struct host_params hp;
    int r = loop_new(&p->loop, err);

    if (r < 0)
        return r;
    p->pool = exec_new_threads("pool", 1);
    hp = (struct host_params){.pool = p->pool, .loop = p->loop};
    p->host = host_new(&hp);
    p->registry = plugin_registry_new(p->host, dir);
    return 0;
}

static void close_plugins(struct plugins *p) {
    (void)exec_free(p->pool);
    (void)plugin_registry_free(p->registry);
    (void)host_free(p->host);
    (void)loop_free(p->loop);
}

/* "storage-rocksdb" -> kind and name; NULL: not such a name. */
static const char *split_name(const char *text, int *ret_kind) {
    if (strncmp(text, "storage-", 8) == 0) {
        *ret_kind = RS_KIND_STORAGE;
        return text + 8;
    }
    if (strncmp(text, "transport-", 10) == 0) {
        *ret_kind = RS_KIND_TRANSPORT;
        return text + 10;
    }
    return NULL;
}

static json_t *to_json(const struct plugin_info *i) {
    json_t *schema = json_loads(i->schema ? i->schema : "{}", 0, NULL);

    return json_pack("{s:s, s:s, s:s, s:s, s:[i,i], s:s, s:s, s:o}", "kind",
                     i->kind == RS_KIND_STORAGE ? "storage" : "transport", "name", i->name, "version", i->version,
                     "license", i->license, "abi", (int)i->abi_major, (int)i->abi_minor, "sha256", i->sha256, "path",
                     i->path ? i->path : "", "options", schema ? schema : json_object());
}

static void print_options(const struct plugin_info *i) {
    json_t *schema = json_loads(i->schema ? i->schema : "{}", 0, NULL), *property, *v;
    const char *name;

    json_object_foreach(json_object_get(schema, "properties"), name, property) {
        (void)printf("  %-22s", name);
        if ((v = json_object_get(property, "type")) && json_is_string(v))
            (void)printf(" %s", json_string_value(v));
        if ((v = json_object_get(property, "default"))) {
            char *text = json_dumps(v, JSON_ENCODE_ANY);

            (void)printf(" (default %s)", text);
            free(text);
        }
        if ((v = json_object_get(property, "description")) && json_is_string(v))
            (void)printf("  %s", json_string_value(v));
        (void)putchar('\n');
    }
    json_decref(schema);
}

static void print_one(const struct plugin_info *i) {
    (void)printf("%s-%s %s\n  license %s\n  ABI     %u.%u\n  sha256  %s\n  file    %s\noptions\n",
                 i->kind == RS_KIND_STORAGE ? "storage" : "transport", i->name, i->version, i->license, i->abi_major,
                 i->abi_minor, i->sha256, i->path ? i->path : "(linked in)");
    print_options(i);
}

static int load(struct plugins *p, const char *text, const struct plugin_info **ret, struct err *err) {
    struct plugin_instance *instance;
    int kind, r;
    const char *name = split_name(text, &kind);

    if (!name)
        return err_set(err, RS_EINVAL, "'%s' is not a plugin: names are storage-NAME or transport-NAME", text);
    r = plugin_use(p->registry, kind, name, NULL, 0, &instance, err);
    if (r == 0)
        *ret = instance->info;
    return r;
}

static int describe(struct plugins *p, struct ctl *c, struct err *err) {
    const struct plugin_info *info;
    int r = load(p, c->args.words[0], &info, err);

    if (r == 0 && c->json)
        json_print(to_json(info));
    else if (r == 0)
        print_one(info);
    return r;
}

/* A file that is refused is listed with the reason: that is what an operator looks for. */
static int list(struct plugins *p, struct ctl *c, struct err *err) {
    DIR *d = opendir(c->plugins_dir);
    json_t *all = json_array();
    const struct plugin_info *info;
    struct dirent *e;

    if (!d) {
        json_decref(all);
        return err_errno(err, "cannot read the plugin folder %s", c->plugins_dir);
    }
    while ((e = readdir(d))) {
        char name[256];
        size_t len = strlen(e->d_name);
        struct err why = {0};
        int kind;

        if (len < 4 || len >= sizeof name || strcmp(e->d_name + len - 3, ".so") != 0)
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)len - 3, e->d_name);
        if (!split_name(name, &kind))
            continue;
        if (load(p, name, &info, &why) < 0) {
            if (c->json)
                (void)json_array_append_new(all, json_pack("{s:s, s:s}", "file", e->d_name, "error", why.msg));
            else
                (void)printf("%-22s refused: %s\n", name, why.msg);
        } else if (c->json) {
            (void)json_array_append_new(all, to_json(info));
        } else {
            (void)printf("%-22s %-10s ABI %u.%u  %s\n", name, info->version, info->abi_major, info->abi_minor,
                         info->path);
        }
    }
    (void)closedir(d);
    if (c->json)
        json_print(all);
    else
        json_decref(all);
    return 0;
}

static int with_plugins(struct ctl *c, int (*fn)(struct plugins *, struct ctl *, struct err *), struct err *err) {
    struct plugins p = {0};
    int r = open_plugins(&p, c->plugins_dir, err);

    if (r == 0) {
        r = fn(&p, c, err);
        close_plugins(&p);
    }
    return r;
}

int run_plugins_list(struct ctl *c, struct err *err) {
    return with_plugins(c, list, err);
}

int run_plugins_describe(struct ctl *c, struct err *err) {
    return c->args.n == 1 ? with_plugins(c, describe, err)
                          : err_set(err, RS_EINVAL, "which plugin? storage-NAME or transport-NAME");
}
