/* SPDX-License-Identifier: Apache-2.0 */
/* storage-rocksdb: the storage ABI over the RocksDB C API. This file: descriptor, options, instance. */
#include "rocks.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* Bytes may be written as a number or with a unit; the host turns them into a number (rs_host.node_u64). */
#define BYTES "\"type\":[\"integer\",\"string\"],\"format\":\"bytes\",\"pattern\":\"^[0-9]+ ?([KMGT]i?B|B)?$\""

static const char config_schema[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"additionalProperties\":false,"
    "\"properties\":{"
    "\"memory-budget\":{" BYTES
    ",\"default\":\"32MiB\",\"description\":\"block cache and write buffers of all stores of "
    "this instance; at least 4MiB\"},"
    "\"write-buffer-size\":{" BYTES
    ",\"description\":\"write buffers of one store; default: a share of memory-budget; at "
    "least 256KiB\"},"
    "\"compression\":{\"type\":\"string\",\"enum\":[\"none\",\"lz4\",\"zstd\",\"snappy\"],\"default\":\"lz4\","
    "\"description\":\"of data blocks\"},"
    "\"block-size\":{" BYTES ",\"default\":\"8KiB\",\"description\":\"of data blocks before compression; 1KiB to "
    "1MiB\"},"
    "\"bloom-bits\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":20,\"default\":10,\"description\":\"filter bits "
    "per "
    "key; 0: no filters\"},"
    "\"max-open-files\":{\"type\":\"integer\",\"minimum\":64,\"maximum\":1000000,\"default\":512,\"description\":"
    "\"open "
    "table files of one store\"},"
    "\"background-jobs\":{\"type\":\"integer\",\"minimum\":2,\"maximum\":32,\"default\":2,\"description\":\"threads "
    "for "
    "flushes and compactions, shared by all stores\"},"
    "\"info-log-dir\":{\"type\":\"string\",\"pattern\":\"^/.{1,254}$\",\"description\":\"where RocksDB writes its own "
    "text log; default: nowhere; not on a disk that may fill up\"},"
    "\"min-free-space\":{" BYTES
    ",\"default\":\"32MiB\",\"description\":\"writes are refused while the file system has "
    "less than this left\"}}}";

static int out_of_range(rs_error *err, const char *key, const char *range) {
    return rs_fail(err, RS_EINVAL, 0, 0, "%s: must be %s", key, range);
}

static int compression_by_name(const char *name, int *ret, rs_error *err) {
    static const struct {
        const char *name;
        int value;
    } known[] = {{"none", rocksdb_no_compression},
                 {"lz4", rocksdb_lz4_compression},
                 {"zstd", rocksdb_zstd_compression},
                 {"snappy", rocksdb_snappy_compression}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i].name) == 0) {
            *ret = known[i].value;
            return 0;
        }
    }
    return out_of_range(err, "compression", "one of none, lz4, zstd, snappy");
}

int rocks_options_read(const rs_host *host, const rs_node *config, struct options *ret, rs_error *err) {
    struct options o = {.memory_budget = 32u << 20,
                        .write_buffer_size = 0,
                        .block_size = 8u << 10,
                        .bloom_bits = 10,
                        .max_open_files = 512,
                        .background_jobs = 2,
                        .min_free_space = 32u << 20};
    const char *compression = "lz4", *log_dir = "";
    const struct {
        const char *key;
        int unit;
        uint64_t *value;
        uint64_t min, max;
        const char *range;
    } numbers[] = {
        {"memory-budget", RS_UNIT_BYTES, &o.memory_budget, 4u << 20, 1ull << 46, "at least 4MiB"},
        {"write-buffer-size", RS_UNIT_BYTES, &o.write_buffer_size, 256u << 10, 1ull << 36, "256KiB to 64GiB"},
        {"block-size", RS_UNIT_BYTES, &o.block_size, 1u << 10, 1u << 20, "1KiB to 1MiB"},
        {"bloom-bits", RS_UNIT_COUNT, &o.bloom_bits, 0, 20, "0 to 20"},
        {"max-open-files", RS_UNIT_COUNT, &o.max_open_files, 64, 1000000, "64 to 1000000"},
        {"background-jobs", RS_UNIT_COUNT, &o.background_jobs, 2, 32, "2 to 32"},
        {"min-free-space", RS_UNIT_BYTES, &o.min_free_space, 0, 1ull << 46, "at most 64TiB"},
    };
    int r;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t v = UINT64_MAX;
        r = rs_opt_u64(host, config, numbers[i].key, numbers[i].unit, &v, err);
        if (r < 0)
            return r;
        if (v == UINT64_MAX)
            continue; /* absent */
        if (v < numbers[i].min || v > numbers[i].max)
            return out_of_range(err, numbers[i].key, numbers[i].range);
        *numbers[i].value = v;
    }
    r = rs_opt_str(host, config, "compression", &compression, err);
    if (r == 0)
        r = compression_by_name(compression, &o.compression, err);
    if (r == 0)
        r = rs_opt_str(host, config, "info-log-dir", &log_dir, err);
    if (r < 0)
        return r;
    if (log_dir[0] != '\0' && (log_dir[0] != '/' || strlen(log_dir) >= sizeof(o.info_log_dir)))
        return out_of_range(err, "info-log-dir", "an absolute path of at most 255 bytes");
    (void)snprintf(o.info_log_dir, sizeof(o.info_log_dir), "%s", log_dir);
    *ret = o;
    return 0;
}

static int plugin_check(const rs_host *host, const rs_node *config, rs_error *err) {
    struct options o;
    return rocks_options_read(host, config, &o, err);
}

/* RocksDB's default environment, and with it the thread pool, is one per process whatever we do: the C API cannot make
 * another. Its threads must be gone when the last instance ends, so the instances are counted. */
static atomic_int env_users;

static int plugin_init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *err) {
    struct options o;
    struct instance *in;
    rocksdb_lru_cache_options_t *cache_options;
    sigset_t all, before;
    int r = rocks_options_read(host, config, &o, err);

    if (r < 0)
        return r;
    in = calloc(1, sizeof(*in));
    if (in == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    in->host = host;
    in->opt = o;
    in->env = rocksdb_create_default_env();
    (void)atomic_fetch_add(&env_users, 1);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all,
                          &before); /* the library's threads inherit the mask: they take no signals */
    rocksdb_env_set_background_threads(in->env, (int)o.background_jobs);
    rocksdb_env_set_high_priority_background_threads(in->env, 1);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);

    /* Half of the budget for reads; few shards, because a shard is the largest block a small cache can hold. */
    cache_options = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(cache_options, (size_t)(o.memory_budget / 2));
    rocksdb_lru_cache_options_set_num_shard_bits(cache_options, o.memory_budget >= (256u << 20) ? 4 : 1);
    in->cache = rocksdb_cache_create_lru_opts(cache_options);
    rocksdb_lru_cache_options_destroy(cache_options);
    *ret_self = in;
    return 0;
}

static void plugin_stop(void *self, rs_done_fn done, void *arg) {
    (void)self; /* stores are closed by the host; nothing runs on its own */
    done(arg, 0, NULL);
}

static void plugin_fini(void *self) {
    struct instance *in = self;

    rocksdb_cache_destroy(in->cache);
    if (atomic_fetch_sub(&env_users, 1) == 1) {
        rocksdb_env_set_background_threads(in->env, 0);
        rocksdb_env_set_high_priority_background_threads(in->env, 0);
        rocksdb_env_set_bottom_priority_background_threads(in->env, 0);
    }
    rocksdb_env_destroy(in->env);
    free(in);
}

static void limits(rs_store *s, rs_limits *ret) {
    (void)s;
    ret->key_max = KEY_MAX;
    ret->value_max = VALUE_MAX;
    ret->batch_max = BATCH_MAX;
}

static const rs_storage_ops ops = {.struct_size = sizeof(ops),
                                   .open = rocks_open,
                                   .close = rocks_close,
                                   .limits = limits,
                                   .table_open = rocks_table_open,
                                   .table_drop = rocks_table_drop,
                                   .batch_new = rocks_batch_new,
                                   .batch_free = rocks_batch_free,
                                   .batch_clear = rocks_batch_clear,
                                   .batch_put = rocks_batch_put,
                                   .batch_del = rocks_batch_del,
                                   .batch_del_range = rocks_batch_del_range,
                                   .batch_bytes = rocks_batch_bytes,
                                   .write = rocks_write,
                                   .sync = rocks_sync,
                                   .view_new = rocks_view_new,
                                   .view_free = rocks_view_free,
                                   .get = rocks_get,
                                   .multi_get = rocks_multi_get,
                                   .unpin = rocks_unpin,
                                   .iter_new = rocks_iter_new,
                                   .iter_next = rocks_iter_next,
                                   .iter_seek = rocks_iter_seek,
                                   .iter_free = rocks_iter_free,
                                   .compact = rocks_compact,
                                   .stats = rocks_stats};

static const rs_plugin plugin = {.magic = RS_ABI_MAGIC,
                                 .struct_size = sizeof(plugin),
                                 .abi_major = RS_ABI_MAJOR,
                                 .abi_minor = 0,
                                 .kind = RS_KIND_STORAGE,
                                 .caps = RS_STORAGE_CACHED_READ | RS_STORAGE_COMPACT | RS_STORAGE_CHECKSUM,
                                 .name = "rocksdb",
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
