/* SPDX-License-Identifier: Apache-2.0 */
/* A storage plugin that stores nothing: for tests of the loader, which only calls check, init, stop and fini. Every
 * test module and the descriptors linked into the test are made from it. */
#pragma once
#include <restate/storage.h>
#include <stdlib.h>
#include <string.h>

static int ts_open(void *self, const rs_store_open *o, rs_store **ret, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static void ts_close(rs_store *s) {}
static void ts_limits(rs_store *s, rs_limits *ret) {}
static int ts_table_open(rs_store *s, const char *n, uint32_t f, rs_table **ret, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static int ts_table_drop(rs_store *s, const char *n, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static rs_batch *ts_batch_new(rs_store *s, size_t hint) {
    return NULL;
}
static void ts_batch(rs_batch *b) {}
static int ts_batch_put(rs_batch *b, rs_table *t, rs_slice k, const struct iovec *v, int n) {
    return RS_EUNSUPPORTED;
}
static int ts_batch_del(rs_batch *b, rs_table *t, rs_slice k) {
    return RS_EUNSUPPORTED;
}
static int ts_batch_del_range(rs_batch *b, rs_table *t, rs_slice l, rs_slice u) {
    return RS_EUNSUPPORTED;
}
static size_t ts_batch_bytes(const rs_batch *b) {
    return 0;
}
static int ts_write(rs_store *s, rs_batch *b, uint32_t f, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static int ts_sync(rs_store *s, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static int ts_view_new(rs_store *s, rs_view **ret, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static void ts_view_free(rs_view *v) {}
static int ts_get(rs_view *v, rs_table *t, rs_slice k, uint32_t f, rs_pin *ret, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static void ts_unpin(rs_pin *p) {}
static int ts_iter_new(rs_view *v, rs_table *t, const rs_range *r, rs_iter **ret, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static int ts_iter_next(rs_iter *i, rs_slice *k, rs_slice *v, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static int ts_iter_seek(rs_iter *i, rs_slice k, rs_error *e) {
    return RS_EUNSUPPORTED;
}
static void ts_iter_free(rs_iter *i) {}
static int ts_stats(rs_store *s, void (*each)(void *arg, const char *name, uint64_t value), void *arg) {
    return 0;
}

#define TS_OPS                                                                                                         \
    {                                                                                                                  \
        .struct_size = sizeof(rs_storage_ops), .open = ts_open, .close = ts_close, .limits = ts_limits,                \
        .table_open = ts_table_open, .table_drop = ts_table_drop, .batch_new = ts_batch_new, .batch_free = ts_batch,   \
        .batch_clear = ts_batch, .batch_put = ts_batch_put, .batch_del = ts_batch_del,                                 \
        .batch_del_range = ts_batch_del_range, .batch_bytes = ts_batch_bytes, .write = ts_write, .sync = ts_sync,      \
        .view_new = ts_view_new, .view_free = ts_view_free, .get = ts_get, .unpin = ts_unpin, .iter_new = ts_iter_new, \
        .iter_next = ts_iter_next, .iter_seek = ts_iter_seek, .iter_free = ts_iter_free, .stats = ts_stats             \
    }

/* self: what fini() frees. */
static int ts_check(const rs_host *host, const rs_node *config, rs_error *e) {
    const char *text;

    if (host->node_get(config, "fail-check") && host->node_str(host->node_get(config, "fail-check"), &text, e) == 0) {
        if (e)
            strncpy(e->msg, text, sizeof e->msg - 1);
        return RS_EINVAL;
    }
    return 0;
}
static int ts_init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *e) {
    if (host->node_get(config, "fail-init")) {
        if (e)
            strncpy(e->msg, "init was told to fail", sizeof e->msg - 1);
        return RS_EIO;
    }
    *ret_self = malloc(1);
    return *ret_self ? 0 : RS_ENOMEM;
}
static void ts_stop(void *self, rs_done_fn done, void *arg) {
    done(arg, 0, NULL);
}
static void ts_fini(void *self) {
    free(self);
}

#define TS_SCHEMA                                                                                                      \
    "{\"type\":\"object\",\"properties\":{\"fail-check\":{\"type\":\"string\"},\"fail-init\":{\"type\":\"boolean\"},"  \
    "\"memory-budget\":{\"type\":[\"integer\",\"string\"],\"format\":\"bytes\"}}}"

#define TS_PLUGIN(its_name, its_ops)                                                                                   \
    {                                                                                                                  \
        .magic = RS_ABI_MAGIC, .struct_size = sizeof(rs_plugin), .abi_major = RS_ABI_MAJOR, .kind = RS_KIND_STORAGE,   \
        .name = its_name, .version = "1.2.3", .license = "Apache-2.0", .config_schema = TS_SCHEMA, .ops = its_ops,     \
        .check = ts_check, .init = ts_init, .stop = ts_stop, .fini = ts_fini                                           \
    }
