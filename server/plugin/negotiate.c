/* SPDX-License-Identifier: Apache-2.0 */
/* Negotiation: is this descriptor one we can use? In the order of the ABI page; nothing of the plugin is called but its
 * entry, and nothing is read before the check that makes it safe to read. */
#include "plugin/plugin_internal.h"

#include <stdio.h>
#include <string.h>

/* Sizes of ABI 1.0: frozen, so that a table that grows later does not raise the demand. */
#define PLUGIN_SIZE_1_0 (offsetof(rs_plugin, fini) + sizeof(((rs_plugin *)0)->fini))
#define STORAGE_OPS_SIZE_1_0 (offsetof(rs_storage_ops, stats) + sizeof(((rs_storage_ops *)0)->stats))
#define TRANSPORT_OPS_SIZE_1_0 (offsetof(rs_transport_ops, reload) + sizeof(((rs_transport_ops *)0)->reload))

struct need {
    size_t offset;
    const char *name;
    uint64_t cap; /* 0: always required; else: required with this cap */
};
#define OP(type, op)                                                                                                   \
    { offsetof(type, op), #op, 0 }
#define OP_CAP(type, op, cap)                                                                                          \
    { offsetof(type, op), #op, cap }

static const struct need storage_needs[] = {OP(rs_storage_ops, open),
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
                                            OP_CAP(rs_storage_ops, export_native, RS_STORAGE_NATIVE_EXPORT),
                                            OP_CAP(rs_storage_ops, import_native, RS_STORAGE_NATIVE_EXPORT),
                                            OP_CAP(rs_storage_ops, compact, RS_STORAGE_COMPACT)};
static const struct need transport_needs[] = {OP(rs_transport_ops, schemes),
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
                                              OP_CAP(rs_transport_ops, reload, RS_TRANSPORT_RELOAD)};
static const struct need plugin_needs[] = {OP(rs_plugin, name),          OP(rs_plugin, version), OP(rs_plugin, license),
                                           OP(rs_plugin, config_schema), OP(rs_plugin, ops),     OP(rs_plugin, check),
                                           OP(rs_plugin, init),          OP(rs_plugin, stop),    OP(rs_plugin, fini)};

const char *plugin_kind_name(int kind) {
    return kind == RS_KIND_STORAGE ? "storage" : kind == RS_KIND_TRANSPORT ? "transport" : "unknown";
}

static bool is_null_at(const void *table, size_t offset) {
    void *p;

    memcpy(&p, (const char *)table + offset, sizeof p);
    return p == NULL;
}

static int check_needs(const void *table, const struct need *needs, size_t n, uint64_t caps, const char *where,
                       struct err *err) {
    for (size_t i = 0; i < n; i++) {
        if (!is_null_at(table, needs[i].offset))
            continue;
        if (needs[i].cap == 0)
            return err_set(err, RS_EUNSUPPORTED, "%.150s: the required member %s is NULL", where, needs[i].name);
        if (caps & needs[i].cap)
            return err_set(err, RS_EUNSUPPORTED, "%.150s: it claims capability 0x%llx but its %s is NULL", where,
                           (unsigned long long)needs[i].cap, needs[i].name);
    }
    return 0;
}

static int accept_ops(const rs_plugin *d, const char *where, struct plugin *ret, struct err *err) {
    bool storage = d->kind == RS_KIND_STORAGE;
    size_t ours = storage ? sizeof(rs_storage_ops) : sizeof(rs_transport_ops);
    size_t least = storage ? STORAGE_OPS_SIZE_1_0 : TRANSPORT_OPS_SIZE_1_0;
    uint32_t size;

    memcpy(&size, d->ops, sizeof size);
    if (size < least)
        return err_set(err, RS_EUNSUPPORTED, "%.150s: its table of operations has %u bytes, ABI 1.0 has %zu", where,
                       size, least);
    memset(&ret->ops, 0, sizeof ret->ops);
    memcpy(&ret->ops, d->ops, MIN((size_t)size, ours));
    return storage ? check_needs(&ret->ops, storage_needs, ARRAY_SIZE(storage_needs), d->caps, where, err)
                   : check_needs(&ret->ops, transport_needs, ARRAY_SIZE(transport_needs), d->caps, where, err);
}

int plugin_accept(const rs_plugin *from, int kind, const char *name, const char *where, uint64_t host_features,
                  struct plugin *ret, struct err *err) {
    rs_plugin *d = &ret->desc;
    int r;

    if (!from)
        return err_set(err, RS_EUNSUPPORTED, "%.150s: its entry refused ABI %u.0", where, RS_ABI_MAJOR);
    if (from->magic != RS_ABI_MAGIC)
        return err_set(err, RS_EINVAL, "%.150s: this is not a plugin of this server (magic 0x%08x, expected 0x%08x)",
                       where, from->magic, RS_ABI_MAGIC);
    if (from->struct_size < PLUGIN_SIZE_1_0)
        return err_set(err, RS_EUNSUPPORTED, "%.150s: its descriptor has %u bytes, ABI 1.0 has %zu", where,
                       from->struct_size, PLUGIN_SIZE_1_0);
    if (from->abi_major != RS_ABI_MAJOR)
        return err_set(err, RS_EUNSUPPORTED, "%.150s: it is built for ABI %u.%u, this server has %u.0", where,
                       from->abi_major, from->abi_minor, RS_ABI_MAJOR);
    if (kind == 0)
        kind = (int)from->kind;
    if (from->kind != (uint32_t)kind || (kind != RS_KIND_STORAGE && kind != RS_KIND_TRANSPORT))
        return err_set(err, RS_EINVAL, "%.150s: it is a %s plugin (kind %u), a %s plugin was asked for", where,
                       plugin_kind_name((int)from->kind), from->kind, plugin_kind_name(kind));
    if (from->host_features & ~host_features)
        return err_set(err, RS_EUNSUPPORTED, "%.150s: it needs host features 0x%llx that this server does not have",
                       where, (unsigned long long)(from->host_features & ~host_features));
    memset(d, 0, sizeof *d);
    memcpy(d, from, MIN((size_t)from->struct_size, sizeof *d));
    r = check_needs(d, plugin_needs, ARRAY_SIZE(plugin_needs), 0, where, err);
    if (r == 0 && (!plugin_name_ok(d->name) || (name && strcmp(name, d->name) != 0)))
        r = err_set(err, RS_EINVAL, "%.150s: it calls itself \"%.64s\", not \"%.64s\"", where, d->name,
                    name ? name : "[a-z0-9-]+");
    if (r == 0)
        r = accept_ops(d, where, ret, err);
    if (r < 0)
        return r;
    ret->info.kind = kind;
    ret->info.name = d->name;
    ret->info.version = d->version;
    ret->info.license = d->license;
    ret->info.schema = d->config_schema;
    ret->info.abi_major = d->abi_major;
    ret->info.abi_minor = d->abi_minor;
    ret->info.caps = d->caps;
    return 0;
}
