/* SPDX-License-Identifier: Apache-2.0 */
/* Loading and lifecycle of the plugin under test, in the order of the negotiation rules. */
#include "check.h"
#include <dlfcn.h>
#include <errno.h>
#include <ftw.h>
#include <restate/helper.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct required_op {
    const char *name;
    size_t offset;
};

#define OP(type, m)                                                                                                    \
    { #m, offsetof(type, m) }
static const struct required_op storage_required[] = {OP(rs_storage_ops, open),
                                                      OP(rs_storage_ops, close),
                                                      OP(rs_storage_ops, limits),
                                                      OP(rs_storage_ops, table_open),
                                                      OP(rs_storage_ops, table_drop),
                                                      OP(rs_storage_ops, batch_new),
                                                      OP(rs_storage_ops, batch_free),
                                                      OP(rs_storage_ops, batch_clear),
                                                      OP(rs_storage_ops, batch_put),
                                                      OP(rs_storage_ops, batch_del),
                                                      OP(rs_storage_ops, batch_del_range),
                                                      OP(rs_storage_ops, batch_bytes),
                                                      OP(rs_storage_ops, write),
                                                      OP(rs_storage_ops, sync),
                                                      OP(rs_storage_ops, view_new),
                                                      OP(rs_storage_ops, view_free),
                                                      OP(rs_storage_ops, get),
                                                      OP(rs_storage_ops, unpin),
                                                      OP(rs_storage_ops, iter_new),
                                                      OP(rs_storage_ops, iter_next),
                                                      OP(rs_storage_ops, iter_seek),
                                                      OP(rs_storage_ops, iter_free),
                                                      OP(rs_storage_ops, stats),
                                                      {NULL, 0}};
static const struct required_op transport_required[] = {OP(rs_transport_ops, schemes),
                                                        OP(rs_transport_ops, listen),
                                                        OP(rs_transport_ops, listener_uri),
                                                        OP(rs_transport_ops, listener_close),
                                                        OP(rs_transport_ops, attach),
                                                        OP(rs_transport_ops, connect),
                                                        OP(rs_transport_ops, read),
                                                        OP(rs_transport_ops, write),
                                                        OP(rs_transport_ops, shutdown),
                                                        OP(rs_transport_ops, peer),
                                                        OP(rs_transport_ops, stats),
                                                        OP(rs_transport_ops, close),
                                                        {NULL, 0}};

static bool op_missing(const void *ops, size_t offset) {
    void *p;
    memcpy(&p, (const char *)ops + offset, sizeof(p));
    return p == NULL;
}

/* Copies min(struct_size, ours) bytes of the op table and looks for what must be there. */
static int load_ops(struct check *c, rs_error *err) {
    bool storage = c->plugin.kind == RS_KIND_STORAGE;
    const struct required_op *need = storage ? storage_required : transport_required;
    size_t ours = storage ? sizeof(rs_storage_ops) : sizeof(rs_transport_ops);
    uint32_t theirs;

    if (c->plugin.ops == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "the descriptor has no table of operations");
    memcpy(&theirs, c->plugin.ops, sizeof(theirs));
    if (theirs < ours)
        return rs_fail(err, RS_EINVAL, 0, 0, "the table of operations has %u bytes, 1.0 needs %zu", theirs, ours);
    memcpy(&c->ops, c->plugin.ops, ours);
    for (; need->name != NULL; need++) {
        if (op_missing(&c->ops, need->offset))
            return rs_fail(err, RS_EINVAL, 0, 0, "required operation %s is missing", need->name);
    }
    if (storage && (c->plugin.caps & RS_STORAGE_NATIVE_EXPORT) &&
        (c->ops.storage.export_native == NULL || c->ops.storage.import_native == NULL))
        return rs_fail(err, RS_EINVAL, 0, 0, "capability NATIVE_EXPORT without its operations");
    if (storage && (c->plugin.caps & RS_STORAGE_COMPACT) && c->ops.storage.compact == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "capability COMPACT without its operation");
    if (!storage && (c->plugin.caps & RS_TRANSPORT_RELOAD) && c->ops.transport.reload == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "capability RELOAD without its operation");
    return 0;
}

int check_load(struct check *c, rs_error *err) {
    const rs_plugin *(*entry)(uint32_t, uint32_t);
    const rs_plugin *p;
    void *sym;

    c->dl = dlopen(c->file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (c->dl == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "%s", dlerror());
    sym = dlsym(c->dl, "restate_plugin_v1");
    if (sym == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "%s does not export restate_plugin_v1", c->file);
    memcpy(&entry, &sym, sizeof(entry));
    p = entry(RS_ABI_MAJOR, 0);
    if (p == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "the entry returned no descriptor");
    if (p->magic != RS_ABI_MAGIC)
        return rs_fail(err, RS_EINVAL, 0, 0, "wrong magic 0x%x", p->magic);
    if (p->struct_size < sizeof(rs_plugin))
        return rs_fail(err, RS_EINVAL, 0, 0, "the descriptor has %u bytes, 1.0 needs %zu", p->struct_size, sizeof(*p));
    if (p->abi_major != RS_ABI_MAJOR)
        return rs_fail(err, RS_EINVAL, 0, 0, "built for ABI %u, this is %u", p->abi_major, RS_ABI_MAJOR);
    if (p->kind != RS_KIND_STORAGE && p->kind != RS_KIND_TRANSPORT)
        return rs_fail(err, RS_EINVAL, 0, 0, "unknown kind %u", p->kind);
    if (p->host_features != 0)
        return rs_fail(err, RS_EUNSUPPORTED, 0, 0, "needs host features that 1.0 does not have");
    if (p->check == NULL || p->init == NULL || p->stop == NULL || p->fini == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "one of check, init, stop, fini is missing");
    if (p->name == NULL || p->version == NULL || p->license == NULL || p->config_schema == NULL)
        return rs_fail(err, RS_EINVAL, 0, 0, "one of name, version, license, config_schema is missing");
    c->original = p;
    memcpy(&c->plugin, p, sizeof(c->plugin));
    return load_ops(c, err);
}

void *check_init(struct check *c) {
    rs_error err = {.struct_size = sizeof(err)};
    void *self = NULL;
    int r = c->plugin.check(host_table(c->host), c->config, &err);

    if (r == 0)
        r = c->plugin.init(host_table(c->host), c->config, &self, &err);
    if (r < 0) {
        (void)tap_ok(c->tap, false, "check() and init() accept the configuration");
        tap_diag("%d: %s", r, err.msg);
        return NULL;
    }
    return self;
}

struct done_state {
    unsigned calls;
    int status;
};

static void on_done(void *arg, int status, const rs_error *error) {
    struct done_state *d = arg;

    (void)error;
    d->status = status;
    (void)__atomic_add_fetch(&d->calls, 1, __ATOMIC_RELEASE);
}

bool check_fini(struct check *c, void *self) {
    struct done_state d = {0};
    const struct timespec pause = {.tv_nsec = 2000000};

    c->plugin.stop(self, on_done, &d);
    for (int i = 0; i < 5000 && __atomic_load_n(&d.calls, __ATOMIC_ACQUIRE) == 0; i++)
        (void)nanosleep(&pause, NULL);
    if (d.calls == 0)
        return false; /* fini() before done is forbidden */
    c->plugin.fini(self);
    return d.calls == 1 && d.status == 0;
}

uint64_t check_rand(struct check *c, uint64_t n) {
    return n != 0 ? host_random(c->host) % n : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void remove_tree(const char *path) {
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* best effort */
}
