/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/node_marker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "meta/json.h"

#define MARKER_FILE ".cluster-marker"
#define LOCK_FILE ".lock"
#define MARKER_MAX_BYTES 65536u
#define MARKER_FORMAT 1u

void node_marker_done(struct node_marker *m) {
    free(m->cluster_name);
    free(m->node_name);
    free(m->log_plugin);
    free(m->meta_plugin);
    free(m->data_plugin);
    free(m->current_version);
    free(m->max_version);
    free(m->min_version);
    memset(m, 0, sizeof *m);
}

static void marker_donep(struct node_marker *m) {
    node_marker_done(m);
}
static void closep(int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
}

/* ---- load ---- */

static int read_file(const char *path, struct buf *ret, struct err *err) {
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return err_errno(err, "cannot open %s", path);
    do {
        n = read(fd, buf_reserve(ret, 4096), 4096);
        if (n < 0 && errno != EINTR)
            return err_errno(err, "cannot read %s", path);
        ret->len += n > 0 ? (size_t)n : 0;
        if (ret->len > MARKER_MAX_BYTES)
            return err_set(err, RS_ECORRUPT, "%s is not a marker: it is too large", path);
    } while (n != 0);
    return 0;
}

static int parse_marker(struct slice text, const char *path, struct node_marker *ret, struct err *err) {
    _cleanup_json_ json_t *o = NULL;
    json_t *plugins = NULL;
    uint32_t format = 0;
    int r = json_parse(text, path, &o, err);

    r = r < 0 ? r : json_field_u32(o, "format", true, &format, err);
    if (r == 0 && format != MARKER_FORMAT)
        r = err_set(err, RS_ECORRUPT, "format %u is not known to this server", format);
    r = r < 0 ? r : json_field_str(o, "cluster_name", true, &ret->cluster_name, err);
    r = r < 0 ? r : json_field_str(o, "node_name", true, &ret->node_name, err);
    r = r < 0 ? r : json_field_u64(o, "cluster_fingerprint", false, &ret->fingerprint, err);
    r = r < 0 ? r : json_field_u32(o, "node_id", false, &ret->node_id, err);
    r = r < 0 ? r : json_field_u32(o, "data_stores", true, &ret->data_stores, err);
    r = r < 0 ? r : json_field_obj(o, "storage_plugins", true, &plugins, err);
    r = r < 0 ? r : json_field_str(plugins, "log", true, &ret->log_plugin, err);
    r = r < 0 ? r : json_field_str(plugins, "meta", true, &ret->meta_plugin, err);
    r = r < 0 ? r : json_field_str(plugins, "data", true, &ret->data_plugin, err);
    r = r < 0 ? r : json_field_str(o, "current_version", false, &ret->current_version, err);
    r = r < 0 ? r : json_field_str(o, "max_version", false, &ret->max_version, err);
    r = r < 0 ? r : json_field_str(o, "min_version", false, &ret->min_version, err);
    if (r < 0)
        return err_wrap(err, r, "%s", path);
    ret->provisioned = json_is_true(json_object_get(o, "is_provisioned"));
    return 0;
}

int node_marker_load(const char *dir, struct node_marker *ret, struct err *err) {
    _cleanup_(marker_donep) struct node_marker m = {0};
    _cleanup_buf_ struct buf path = {0}, text = {0};
    int r;

    buf_putf(&path, "%s/" MARKER_FILE, dir);
    r = read_file(buf_cstr(&path), &text, err);
    r = r < 0 ? r : parse_marker(buf_slice(&text), buf_cstr(&path), &m, err);
    if (r < 0)
        return r;
    *ret = m;
    memset(&m, 0, sizeof m);
    return 0;
}

/* ---- store ---- */

static void encode_marker(const struct node_marker *m, struct buf *out) {
    _cleanup_json_ json_t *o = json_object();
    json_t *plugins = json_object();

    json_put(plugins, "log", json_text(m->log_plugin));
    json_put(plugins, "meta", json_text(m->meta_plugin));
    json_put(plugins, "data", json_text(m->data_plugin));
    json_put(o, "format", json_integer(MARKER_FORMAT));
    json_put(o, "cluster_name", json_text(m->cluster_name));
    json_put(o, "node_name", json_text(m->node_name));
    json_put(o, "cluster_fingerprint", json_u64_str(m->fingerprint));
    json_put(o, "node_id", json_u64(m->node_id));
    json_put(o, "data_stores", json_u64(m->data_stores));
    json_put(o, "storage_plugins", plugins);
    json_put(o, "current_version", json_text(m->current_version));
    json_put(o, "max_version", json_text(m->max_version));
    json_put(o, "min_version", json_text(m->min_version));
    json_put(o, "is_provisioned", json_boolean(m->provisioned));
    json_write(o, out);
    buf_put_u8(out, '\n');
}

static int write_synced(const char *path, struct slice text, struct err *err) {
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return err_errno(err, "cannot create %s", path);
    while (text.len) {
        ssize_t n = write(fd, text.data, text.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot write %s", path);
        text = slice_from(text, (size_t)n);
    }
    return fsync(fd) < 0 ? err_errno(err, "cannot sync %s", path) : 0;
}

static int sync_dir(const char *dir, struct err *err) {
    _cleanup_(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return err_errno(err, "cannot sync directory %s", dir);
    return 0;
}

int node_marker_store(const char *dir, const struct node_marker *m, struct err *err) {
    _cleanup_buf_ struct buf path = {0}, temp = {0}, text = {0};
    int r;

    buf_putf(&path, "%s/" MARKER_FILE, dir);
    buf_putf(&temp, "%s/" MARKER_FILE ".new", dir);
    encode_marker(m, &text);
    r = write_synced(buf_cstr(&temp), buf_slice(&text), err);
    if (r < 0)
        return r;
    if (rename(buf_cstr(&temp), buf_cstr(&path)) < 0)
        return err_errno(err, "cannot rename %s", buf_cstr(&temp));
    return sync_dir(dir, err);
}

/* ---- check ---- */

static int check_plugin(const char *dir, const char *store, const char *have, const char *want, struct err *err) {
    if (!want || !have || !*have || strcmp(have, want) == 0)
        return 0;
    return err_set(err, RS_EPERM,
                   "store \"%s\" in %s was written by storage plugin %s, the configuration says %s; convert it with: "
                   "restate-server --convert-store %s=%s",
                   store, dir, have, want, store, want);
}

/* -1, 0, 1; dotted numbers, what follows them is not looked at. */
static int version_cmp(const char *a, const char *b) {
    for (int i = 0; i < 3; i++) {
        unsigned long x = strtoul(a, NULL, 10), y = strtoul(b, NULL, 10);

        if (x != y)
            return x < y ? -1 : 1;
        a += strcspn(a, ".");
        b += strcspn(b, ".");
        a += *a == '.';
        b += *b == '.';
    }
    return 0;
}

int node_marker_check(const char *dir, const struct node_marker *have, const struct node_marker *want,
                      struct err *err) {
    int r = 0;

    if (strcmp(have->cluster_name, want->cluster_name) != 0)
        return err_set(err, RS_EPERM, "directory %s belongs to cluster %s, not to %s", dir, have->cluster_name,
                       want->cluster_name);
    if (strcmp(have->node_name, want->node_name) != 0)
        return err_set(err, RS_EPERM, "directory %s belongs to node %s, not to %s", dir, have->node_name,
                       want->node_name);
    if (have->fingerprint && want->fingerprint && have->fingerprint != want->fingerprint)
        return err_set(err, RS_EPERM, "directory %s belongs to another cluster of the same name", dir);
    r = check_plugin(dir, "log", have->log_plugin, want->log_plugin, err);
    r = r < 0 ? r : check_plugin(dir, "meta", have->meta_plugin, want->meta_plugin, err);
    r = r < 0 ? r : check_plugin(dir, "data", have->data_plugin, want->data_plugin, err);
    if (r < 0)
        return r;
    if (want->data_stores && have->data_stores != want->data_stores)
        return err_set(err, RS_EPERM,
                       "directory %s has %u data stores, the configuration says %u; the number is fixed when a node is "
                       "created",
                       dir, have->data_stores, want->data_stores);
    if (have->min_version && want->current_version && version_cmp(want->current_version, have->min_version) < 0)
        return err_set(err, RS_EPERM, "directory %s needs server version %s or newer; this is %s", dir,
                       have->min_version, want->current_version);
    return 0;
}

/* ---- start ---- */

static int make_dirs(const char *dir, struct err *err) {
    char *path = xstrdup(dir);
    int r = 0;

    for (char *p = path + 1; r == 0 && *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            r = err_errno(err, "cannot create directory %s", path);
        *p = '/';
    }
    if (r == 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
        r = err_errno(err, "cannot create directory %s", path);
    free(path);
    return r;
}

static int lock_dir(const char *dir, int *ret, struct err *err) {
    _cleanup_buf_ struct buf path = {0};
    int fd;

    buf_putf(&path, "%s/" LOCK_FILE, dir);
    fd = open(buf_cstr(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "cannot open %s", buf_cstr(&path));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = errno == EWOULDBLOCK ? err_set(err, RS_EPERM, "directory %s is in use by another process", dir)
                                     : err_errno(err, "cannot lock %s", buf_cstr(&path));
        (void)close(fd);
        return r;
    }
    *ret = fd;
    return 0;
}

static void set_text(char **to, const char *from) {
    if (!from)
        return;
    free(*to);
    *to = xstrdup(from);
}

int node_marker_start(const char *dir, const struct node_marker *want, struct node_marker *ret, int *ret_lock,
                      struct err *err) {
    _cleanup_(marker_donep) struct node_marker m = {0};
    _cleanup_(closep) int lock = -1;
    int r = make_dirs(dir, err);

    r = r < 0 ? r : lock_dir(dir, &lock, err);
    if (r < 0)
        return r;
    r = node_marker_load(dir, &m, err);
    if (r == 0)
        r = node_marker_check(dir, &m, want, err);
    if (r == RS_ENOENT) { /* a new directory */
        set_text(&m.cluster_name, want->cluster_name);
        set_text(&m.node_name, want->node_name);
        set_text(&m.log_plugin, want->log_plugin);
        set_text(&m.meta_plugin, want->meta_plugin);
        set_text(&m.data_plugin, want->data_plugin);
        m.data_stores = MAX(want->data_stores, 1u);
        r = 0;
    }
    if (r < 0)
        return r;
    if (want->current_version && (!m.max_version || version_cmp(want->current_version, m.max_version) > 0))
        set_text(&m.max_version, want->current_version);
    set_text(&m.current_version, want->current_version);
    set_text(&m.min_version, want->min_version);
    r = node_marker_store(dir, &m, err);
    if (r < 0)
        return r;
    *ret = m;
    memset(&m, 0, sizeof m);
    *ret_lock = lock;
    lock = -1;
    return 0;
}
