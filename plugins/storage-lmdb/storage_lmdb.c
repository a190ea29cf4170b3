/* SPDX-License-Identifier: Apache-2.0 */
/* storage-lmdb: the storage ABI over LMDB. This file: descriptor, options, instance. */
#include "lmdb_store.h"
#include <stdlib.h>

#define BYTES "\"type\":[\"integer\",\"string\"],\"format\":\"bytes\",\"pattern\":\"^[0-9]+ ?([KMGT]i?B|B)?$\""

static const char config_schema[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"additionalProperties\":false,"
    "\"properties\":{"
    "\"memory-budget\":{" BYTES
    ",\"description\":\"accepted for every storage plugin; LMDB keeps no cache of its own, the "
    "page cache of the system serves its map\"},"
    "\"map-size\":{" BYTES
    ",\"default\":\"64GiB\",\"description\":\"address space of one store, and so its largest size; "
    "the file grows only as far as it is used; at least 16MiB\"},"
    "\"quota\":{" BYTES ",\"description\":\"writes that add data are refused above this size of one store; default: "
    "map-size less a sixteenth\"},"
    "\"max-tables\":{\"type\":\"integer\",\"minimum\":16,\"maximum\":65536,\"default\":512,\"description\":\"tables of "
    "one "
    "store; every view takes 49 bytes for each\"},"
    "\"max-views\":{\"type\":\"integer\",\"minimum\":16,\"maximum\":65536,\"default\":1024,\"description\":\"views of "
    "one "
    "store open at the same time\"}}}";

static int options_read(const rs_host *host, const rs_node *config, struct options *ret, rs_error *err) {
    struct options o = {.map_size = 64ull << 30, .quota = 0, .max_tables = 512, .max_views = 1024};
    uint64_t budget = 0;
    const struct {
        const char *key;
        int unit;
        uint64_t *value;
        uint64_t min, max;
        const char *range;
    } numbers[] = {
        {"memory-budget", RS_UNIT_BYTES, &budget, 0, UINT64_MAX - 1, "a size"},
        {"map-size", RS_UNIT_BYTES, &o.map_size, 16u << 20, 1ull << 45, "16MiB to 32TiB"},
        {"quota", RS_UNIT_BYTES, &o.quota, 1u << 20, 1ull << 45, "1MiB to 32TiB"},
        {"max-tables", RS_UNIT_COUNT, &o.max_tables, 16, 65536, "16 to 65536"},
        {"max-views", RS_UNIT_COUNT, &o.max_views, 16, 65536, "16 to 65536"},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t v = UINT64_MAX;
        int r = rs_opt_u64(host, config, numbers[i].key, numbers[i].unit, &v, err);
        if (r < 0)
            return r;
        if (v == UINT64_MAX)
            continue; /* absent */
        if (v < numbers[i].min || v > numbers[i].max)
            return rs_fail(err, RS_EINVAL, 0, 0, "%s: must be %s", numbers[i].key, numbers[i].range);
        *numbers[i].value = v;
    }
    o.map_size &= ~(uint64_t)0xffff; /* whole pages, whatever their size */
    if (o.quota > o.map_size)
        return rs_fail(err, RS_EINVAL, 0, 0, "quota: must not exceed map-size");
    if (o.quota == 0)
        o.quota = o.map_size - o.map_size / 16; /* deleting needs pages, too */
    *ret = o;
    return 0;
}

static int plugin_check(const rs_host *host, const rs_node *config, rs_error *err) {
    struct options o;
    return options_read(host, config, &o, err);
}

static int plugin_init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *err) {
    struct options o;
    struct instance *in;
    int r = options_read(host, config, &o, err);

    if (r < 0)
        return r;
    in = calloc(1, sizeof(*in));
    if (in == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    in->host = host;
    in->opt = o;
    *ret_self = in;
    return 0;
}

static void plugin_stop(void *self, rs_done_fn done, void *arg) {
    (void)self; /* stores are closed by the host; nothing runs on its own */
    done(arg, 0, NULL);
}

static void plugin_fini(void *self) {
    free(self);
}

static void limits(rs_store *s, rs_limits *ret) {
    (void)s;
    ret->key_max = KEY_MAX;
    ret->value_max = VALUE_MAX;
    ret->batch_max = BATCH_MAX;
}

static const rs_storage_ops ops = {.struct_size = sizeof(ops),
                                   .open = lm_open,
                                   .close = lm_close,
                                   .limits = limits,
                                   .table_open = lm_table_open,
                                   .table_drop = lm_table_drop,
                                   .batch_new = lm_batch_new,
                                   .batch_free = lm_batch_free,
                                   .batch_clear = lm_batch_clear,
                                   .batch_put = lm_batch_put,
                                   .batch_del = lm_batch_del,
                                   .batch_del_range = lm_batch_del_range,
                                   .batch_bytes = lm_batch_bytes,
                                   .write = lm_write,
                                   .sync = lm_sync,
                                   .view_new = lm_view_new,
                                   .view_free = lm_view_free,
                                   .get = lm_get,
                                   .unpin = lm_unpin,
                                   .iter_new = lm_iter_new,
                                   .iter_next = lm_iter_next,
                                   .iter_seek = lm_iter_seek,
                                   .iter_free = lm_iter_free,
                                   .stats = lm_stats};

static const rs_plugin plugin = {.magic = RS_ABI_MAGIC,
                                 .struct_size = sizeof(plugin),
                                 .abi_major = RS_ABI_MAJOR,
                                 .abi_minor = 0,
                                 .kind = RS_KIND_STORAGE,
                                 .caps = RS_STORAGE_CACHED_READ | RS_STORAGE_ALWAYS_SYNCED,
                                 .name = "lmdb",
                                 .version = "1.0.0",
                                 .license = "Apache-2.0",
                                 .config_schema = config_schema,
                                 .ops = &ops,
                                 .check = plugin_check,
                                 .init = plugin_init,
                                 .stop = plugin_stop,
                                 .fini = plugin_fini};

const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    (void)host_minor;
    return host_major == RS_ABI_MAJOR ? &plugin : NULL;
}
