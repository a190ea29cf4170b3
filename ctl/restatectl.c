/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/restatectl.c : the operators' tool. What needs the fabric between nodes is not in this version and says so; what
 * is here works without a running node: the plugins of an installation.
 *
 *     restatectl plugins list [--plugins-dir DIR] [--json]
 *     restatectl plugins describe KIND-NAME [--plugins-dir DIR] [--json]
 *
 * Exit status: 0 done, 1 it failed, 2 usage. */
#include <dirent.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/logging.h"
#include "loop/loop.h"
#include "plugin/plugin.h"

#ifndef RESTATE_SERVER_VERSION
#define RESTATE_SERVER_VERSION "0.0.0"
#endif
#ifndef RESTATE_PLUGIN_DIR
#define RESTATE_PLUGIN_DIR "/usr/lib/restate/plugins"
#endif

static const char *const fabric_commands[] = {"status",     "nodes",           "logs",
                                              "partitions", "config",          "provision",
                                              "metadata",   "metadata-server", "replicated-loglet",
                                              "snapshots",  "storage-state",   "cluster",
                                              "sql"};

struct options {
    const char *dir;
    bool json;
    const char *words[4];
    size_t n;
};

struct plugins { /* a registry without a node around it */
    struct loop *loop;
    struct exec *pool;
    struct host *host;
    struct plugin_registry *registry;
};

static int usage(FILE *to) {
    (void)fprintf(to, "usage: restatectl plugins list [--plugins-dir DIR] [--json]\n"
                      "       restatectl plugins describe KIND-NAME [--plugins-dir DIR] [--json]\n"
                      "       restatectl --version | --help\n");
    return to == stdout ? 0 : 2;
}

/* The folder next to the program in a build tree, else that of the installation. */
static const char *default_dir(char *buf, size_t size) {
    char exe[PATH_MAX], *slash;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

    if (n > 0) {
        exe[n] = 0;
        slash = strrchr(exe, '/');
        *slash = 0;
        slash = strrchr(exe, '/');
        if (slash && (size_t)snprintf(buf, size, "%.*s/plugins", (int)(slash - exe), exe) < size &&
            access(buf, X_OK) == 0)
            return buf;
    }
    return RESTATE_PLUGIN_DIR;
}

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

static void dump(json_t *take) {
    char *text = json_dumps(take, JSON_INDENT(2));

    (void)printf("%s\n", text);
    free(text);
    json_decref(take);
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

static int describe(struct plugins *p, const struct options *o, struct err *err) {
    const struct plugin_info *info;
    int r = load(p, o->words[2], &info, err);

    if (r == 0 && o->json)
        dump(to_json(info));
    else if (r == 0)
        print_one(info);
    return r;
}

/* A file that is refused is listed with the reason: that is what an operator looks for. */
static int list(struct plugins *p, const struct options *o, struct err *err) {
    DIR *d = opendir(o->dir);
    json_t *all = json_array();
    const struct plugin_info *info;
    struct dirent *e;

    if (!d) {
        json_decref(all);
        return err_errno(err, "cannot read the plugin folder %s", o->dir);
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
            if (o->json)
                (void)json_array_append_new(all, json_pack("{s:s, s:s}", "file", e->d_name, "error", why.msg));
            else
                (void)printf("%-22s refused: %s\n", name, why.msg);
        } else if (o->json) {
            (void)json_array_append_new(all, to_json(info));
        } else {
            (void)printf("%-22s %-10s ABI %u.%u  %s\n", name, info->version, info->abi_major, info->abi_minor,
                         info->path);
        }
    }
    (void)closedir(d);
    if (o->json)
        dump(all);
    else
        json_decref(all);
    return 0;
}

static int run_plugins(const struct options *o) {
    struct plugins p = {0};
    struct err err = {0};
    bool is_list = o->n == 2 && strcmp(o->words[1], "list") == 0,
         is_describe = o->n == 3 && strcmp(o->words[1], "describe") == 0;
    int r;

    if (!is_list && !is_describe)
        return usage(stderr);
    r = open_plugins(&p, o->dir, &err);
    if (r == 0) {
        r = is_list ? list(&p, o, &err) : describe(&p, o, &err);
        close_plugins(&p);
    }
    if (r < 0)
        (void)fprintf(stderr, "restatectl: %s\n", err.msg);
    return r < 0;
}

static int parse(int argc, char **argv, struct options *o) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--plugins-dir") == 0 && i + 1 < argc)
            o->dir = argv[++i];
        else if (argv[i][0] == '-' || o->n == ARRAY_SIZE(o->words))
            return -1;
        else
            o->words[o->n++] = argv[i];
    }
    return o->n ? 0 : -1;
}

int main(int argc, char **argv) {
    char dir[PATH_MAX];
    struct options o = {.dir = default_dir(dir, sizeof dir)};

    logging_set_level(RS_LOG_ERROR);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return usage(stdout);
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        (void)printf("restatectl %s\n", RESTATE_SERVER_VERSION);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(fabric_commands); i++)
        if (strcmp(argv[1], fabric_commands[i]) == 0) {
            (void)fprintf(stderr,
                          "restatectl: '%s' needs the fabric between nodes, which this version does not have: it runs "
                          "single nodes\n",
                          argv[1]);
            return 1;
        }
    if (parse(argc, argv, &o) < 0 || strcmp(o.words[0], "plugins") != 0)
        return usage(stderr);
    return run_plugins(&o);
}
