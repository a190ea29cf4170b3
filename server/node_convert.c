/* SPDX-License-Identifier: Apache-2.0 */
/* node_convert.c : --convert-store: the stores of a stopped node move to another storage plugin.
 *
 * Each store is copied to a folder beside it and the copy is compared; then the folders change places, and the node's
 * marker, written last, says so. A conversion that was cut short is undone by the next one: as long as the marker names
 * the old plugin, the folder kept under that plugin's name is the store. */
#include "node_internal.h"
#include "loop/loop.h"
#include "storage/export.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4200 };

struct conversion {
    const struct config *config;
    struct loop *loop;
    struct exec *pool;
    struct host *host;
    struct plugin_registry *registry;
    struct plugin_instance *from, *to, *meta;
    enum cfg_profile_store kind;
    const char *store, *plugin;
    char old_plugin[64];
    struct node_marker marker;
    int lock_fd;
    uint32_t partitions;
};

/* ---- folders ---- */

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

static int remove_folder(const char *path, struct err *err) {
    DIR *d = opendir(path);
    int r = 0;

    if (!d)
        return errno == ENOENT ? 0 : err_errno(err, "cannot read %s", path);
    for (struct dirent *e; r == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(dirfd(d), e->d_name, 0) < 0)
            r = err_errno(err, "cannot remove %s/%s", path, e->d_name);
    (void)closedir(d);
    if (r == 0 && rmdir(path) < 0)
        r = err_errno(err, "cannot remove %s", path);
    return r;
}

static int move(const char *from, const char *to, struct err *err) {
    return rename(from, to) < 0 ? err_errno(err, "cannot rename %s to %s", from, to) : 0;
}

static void store_dir(const struct conversion *c, unsigned i, char ret[PATH_BYTES]) {
    const char *parent = c->config->storage.dir[c->kind] ? c->config->storage.dir[c->kind] : c->config->node_dir;

    if (c->kind == STORE_DATA)
        (void)snprintf(ret, PATH_BYTES, "%s/data-%u", parent, i);
    else
        (void)snprintf(ret, PATH_BYTES, "%s/%s", parent, c->kind == STORE_LOG ? "log" : "meta");
}

static void beside(const char *dir, const char *plugin, char ret[PATH_BYTES + 70]) {
    (void)snprintf(ret, PATH_BYTES + 70, "%s.%s", dir, plugin);
}

/* ---- one store ---- */

static int convert_dir(struct conversion *c, unsigned i, struct err *err) {
    char dir[PATH_BYTES], old[PATH_BYTES + 70], fresh[PATH_BYTES + 70], names[512][16];
    const char *tables[512];
    size_t n = 0;
    int r = 0;

    store_dir(c, i, dir);
    beside(dir, c->old_plugin, old);
    beside(dir, c->plugin, fresh);
    if (exists(old)) { /* a conversion was cut short: what is kept under the old plugin's name is the store */
        r = remove_folder(dir, err);
        if (r == 0)
            r = move(old, dir, err);
    }
    if (r == 0)
        r = remove_folder(fresh, err);
    if (c->kind == STORE_DATA) {
        for (uint32_t p = i; p < c->partitions && n < ARRAY_SIZE(tables); p += c->marker.data_stores) {
            (void)snprintf(names[n], sizeof names[n], "p-%u", p);
            tables[n] = names[n];
            n++;
        }
    } else {
        tables[n++] = c->kind == STORE_LOG ? "log" : "meta";
        if (c->kind == STORE_META)
            tables[n++] = "raft";
    }
    if (r == 0)
        r = convert_store(&(struct convert_side){c->from->storage, c->from->self, dir},
                          &(struct convert_side){c->to->storage, c->to->self, fresh},
                          c->kind == STORE_DATA ? RS_STORE_RELAXED : RS_STORE_SYNC, tables, n, NULL, err);
    return r;
}

static int swap_dir(struct conversion *c, unsigned i, struct err *err) {
    char dir[PATH_BYTES], old[PATH_BYTES + 70], fresh[PATH_BYTES + 70];
    int r;

    store_dir(c, i, dir);
    beside(dir, c->old_plugin, old);
    beside(dir, c->plugin, fresh);
    r = move(dir, old, err);
    return r < 0 ? r : move(fresh, dir, err);
}

/* ---- what there is ---- */

static int count_partitions(struct conversion *c, struct err *err) {
    char dir[PATH_BYTES];
    struct exec *writer = exec_new_threads("meta", 1);
    struct store_params p = {.loop = c->loop,
                             .writer = writer,
                             .ops = c->meta->storage,
                             .self = c->meta->self,
                             .caps = c->meta->caps,
                             .dir = dir,
                             .name = "meta",
                             .durability = RS_STORE_SYNC};
    struct partition_table *table = NULL;
    struct store *store = NULL;
    const struct kv_value *value = NULL;
    struct kv kv = {0};
    int r;

    (void)snprintf(dir, sizeof dir, "%s/meta",
                   c->config->storage.dir[STORE_META] ? c->config->storage.dir[STORE_META] : c->config->node_dir);
    r = store_open(&p, &store, err);
    if (r == 0)
        r = metadata_stored(store, &kv, err);
    if (r == 0 && !(value = kv_find(&kv, META_KEY_PARTITIONS)))
        r = err_set(err, RS_ENOENT, "the metadata in %s has no partition table", dir);
    if (r == 0)
        r = partition_table_parse(bytes_slice(value->value), &table, err);
    if (r == 0)
        c->partitions = table->n;
    (void)partition_table_free(table);
    kv_done(&kv);
    if (store)
        (void)store_close(store);
    (void)exec_free(writer);
    return r;
}

/* The options an engine is configured with, as far as the configuration speaks of it. */
static const struct cfg_node *options_for(const struct config *c, enum cfg_profile_store kind, const char *plugin) {
    return strcmp(c->storage.plugin[kind].name, plugin) == 0 ? c->storage.plugin[kind].options : NULL;
}

static int open_marker(struct conversion *c, struct err *err) {
    static const char *const kinds[] = {[STORE_LOG] = "log", [STORE_META] = "meta", [STORE_DATA] = "data"};
    struct node_marker have = {0};
    char **slot;
    int r;

    for (c->kind = 0; c->kind < STORE_KINDS && strcmp(kinds[c->kind], c->store) != 0;)
        c->kind++;
    if (c->kind == STORE_KINDS)
        return err_set(err, RS_EINVAL, "there is no store '%s': it is log, meta or data", c->store);
    r = node_marker_load(c->config->node_dir, &have, err);
    if (r == RS_ENOENT)
        return err_set(err, r, "there is no node in %s", c->config->node_dir);
    if (r == 0) /* the marker's own words: this takes the lock and refuses what is too new */
        r = node_marker_start(c->config->node_dir, &have, &c->marker, &c->lock_fd, err);
    node_marker_done(&have);
    if (r < 0)
        return r;
    slot = c->kind == STORE_LOG    ? &c->marker.log_plugin
           : c->kind == STORE_META ? &c->marker.meta_plugin
                                   : &c->marker.data_plugin;
    (void)snprintf(c->old_plugin, sizeof c->old_plugin, "%s", *slot);
    if (strcmp(*slot, c->plugin) == 0)
        return err_set(err, RS_EEXIST, "store %s in %s is kept by %s already", c->store, c->config->node_dir,
                       c->plugin);
    free(*slot);
    *slot = xstrdup(c->plugin);
    return 0;
}

static int load_plugins(struct conversion *c, struct err *err) {
    struct host_params hp = {.loop = c->loop};
    const char *meta = c->kind == STORE_META ? c->old_plugin : c->marker.meta_plugin;
    int r;

    c->pool = exec_new_threads("pool", 1);
    hp.pool = c->pool;
    c->host = host_new(&hp);
    c->registry = plugin_registry_new(c->host, c->config->plugins_dir);
    r = plugin_use(c->registry, RS_KIND_STORAGE, c->old_plugin, options_for(c->config, c->kind, c->old_plugin), 0,
                   &c->from, err);
    if (r == 0)
        r = plugin_use(c->registry, RS_KIND_STORAGE, c->plugin, options_for(c->config, c->kind, c->plugin), 0, &c->to,
                       err);
    if (r == 0)
        r = plugin_use(c->registry, RS_KIND_STORAGE, meta, options_for(c->config, STORE_META, meta), 0, &c->meta, err);
    return r < 0 ? r : plugin_registry_init(c->registry, err);
}

static void stopped(void *arg) {
    loop_stop(arg);
}

static void close_all(struct conversion *c) {
    if (c->registry) {
        plugin_registry_stop(c->registry, c->loop, stopped, c->loop);
        loop_run(c->loop);
    }
    (void)exec_free(c->pool);
    if (c->registry)
        (void)plugin_registry_free(c->registry);
    if (c->host)
        (void)host_free(c->host);
    node_marker_done(&c->marker);
    if (c->lock_fd >= 0)
        (void)close(c->lock_fd);
}

int node_convert(const struct config *config, struct loop *loop, const char *store, const char *plugin,
                 struct err *err) {
    struct conversion c = {.config = config, .loop = loop, .store = store, .plugin = plugin, .lock_fd = -1};
    unsigned n;
    int r = open_marker(&c, err);

    if (r == 0)
        r = load_plugins(&c, err);
    n = c.kind == STORE_DATA ? c.marker.data_stores : 1;
    if (r == 0 && c.kind == STORE_DATA)
        r = count_partitions(&c, err);
    for (unsigned i = 0; r == 0 && i < n; i++)
        r = convert_dir(&c, i, err);
    for (unsigned i = 0; r == 0 && i < n; i++)
        r = swap_dir(&c, i, err);
    if (r == 0)
        r = node_marker_store(config->node_dir, &c.marker, err);
    for (unsigned i = 0; r == 0 && i < n; i++) {
        char dir[PATH_BYTES], old[PATH_BYTES + 70];

        store_dir(&c, i, dir);
        beside(dir, c.old_plugin, old);
        (void)remove_folder(old, NULL); /* best effort: the marker counts, the rest is only space */
    }
    close_all(&c);
    return r;
}
