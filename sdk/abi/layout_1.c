/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/abi/layout_1.c : the layout of ABI major 1, as it was released. Lines are only appended (see HISTORY); a line
 * that no longer compiles is a change that would break every plugin that exists. For 64-bit platforms, all with this
 * layout.
 *
 * AT: offset and size of a member. CALL: additionally the exact type of a function pointer. SIZE_AT_LEAST: a struct may
 * only grow. VALUE: a constant. */
#include <restate/plugin.h>
#include <restate/storage.h>
#include <restate/transport.h>

#define AT(type, member, offset, size)                                                                                 \
    _Static_assert(offsetof(type, member) == (offset), #type "." #member " has moved");                                \
    _Static_assert(sizeof(((type *)0)->member) == (size), #type "." #member " has another size")
#define CALL(type, member, offset, ...)                                                                                \
    _Static_assert(offsetof(type, member) == (offset), #type "." #member " has moved");                                \
    _Static_assert(_Generic(((type *)0)->member, __VA_ARGS__ : 1, default : 0), #type "." #member " has another type")
#define KIND(type, member, ...)                                                                                        \
    _Static_assert(_Generic(((type *)0)->member, __VA_ARGS__ : 1, default : 0), #type "." #member " has another type")
#define SIZE_AT_LEAST(type, size) _Static_assert(sizeof(type) >= (size), #type " has shrunk")
#define SIZE_IS(type, size) _Static_assert(sizeof(type) == (size), #type " has another size")
#define VALUE(name, value) _Static_assert((name) == (value), #name " has another value")

/* The one export and the callback types. */
_Static_assert(_Generic(&restate_plugin_v1, const rs_plugin *(*)(uint32_t, uint32_t) : 1, default : 0),
               "restate_plugin_v1");
_Static_assert(_Generic((rs_fn)0, void (*)(void *) : 1, default : 0), "rs_fn");
_Static_assert(_Generic((rs_watch_fn)0, void (*)(void *, uint32_t) : 1, default : 0), "rs_watch_fn");
_Static_assert(_Generic((rs_done_fn)0, void (*)(void *, int, const rs_error *) : 1, default : 0), "rs_done_fn");

SIZE_IS(rs_slice, 16); /* has no struct_size */
AT(rs_slice, data, 0, 8);
KIND(rs_slice, data, const void *);
AT(rs_slice, len, 8, 8);
KIND(rs_slice, len, size_t);

SIZE_AT_LEAST(rs_error, 256);
AT(rs_error, struct_size, 0, 4);
KIND(rs_error, struct_size, uint32_t);
AT(rs_error, code, 4, 4);
KIND(rs_error, code, int32_t);
AT(rs_error, flags, 8, 4);
KIND(rs_error, flags, uint32_t);
AT(rs_error, native, 12, 4);
KIND(rs_error, native, int32_t);
AT(rs_error, msg, 16, 240);

SIZE_IS(rs_field, 24); /* has no struct_size */
AT(rs_field, name, 0, 8);
KIND(rs_field, name, const char *);
AT(rs_field, type, 8, 4);
KIND(rs_field, type, uint32_t);
AT(rs_field, reserved, 12, 4);
KIND(rs_field, reserved, uint32_t);
AT(rs_field, v, 16, 8);

SIZE_AT_LEAST(rs_host, 168);
AT(rs_host, struct_size, 0, 4);
KIND(rs_host, struct_size, uint32_t);
AT(rs_host, abi_major, 4, 2);
KIND(rs_host, abi_major, uint16_t);
AT(rs_host, abi_minor, 6, 2);
KIND(rs_host, abi_minor, uint16_t);
AT(rs_host, features, 8, 8);
KIND(rs_host, features, uint64_t);
CALL(rs_host, log, 16, void (*)(const rs_host *, int level, const char *message, const rs_field *fields, size_t n));
CALL(rs_host, metric, 24, uint32_t (*)(const rs_host *, int type, const char *name, const char *help));
CALL(rs_host, metric_add, 32, void (*)(const rs_host *, uint32_t id, double value));
CALL(rs_host, mono_ns, 40, uint64_t (*)(const rs_host *));
CALL(rs_host, wall_ns, 48, uint64_t (*)(const rs_host *));
CALL(rs_host, random, 56, void (*)(const rs_host *, void *buf, size_t len));
CALL(rs_host, work, 64, int (*)(const rs_host *, int pool, rs_fn fn, void *arg));
CALL(rs_host, mem_charge, 72, int (*)(const rs_host *, int64_t delta_bytes));
CALL(rs_host, post, 80, int (*)(rs_loop *, rs_fn fn, void *arg));
CALL(rs_host, watch, 88, int (*)(rs_loop *, int fd, uint32_t events, rs_watch_fn fn, void *arg, rs_watch **ret));
CALL(rs_host, watch_set, 96, void (*)(rs_watch *, uint32_t events));
CALL(rs_host, unwatch, 104, void (*)(rs_watch *));
CALL(rs_host, timer, 112, int (*)(rs_loop *, uint64_t delay_ns, rs_fn fn, void *arg, rs_timer **ret));
CALL(rs_host, timer_stop, 120, void (*)(rs_timer *));
CALL(rs_host, node_get, 128, const rs_node *(*)(const rs_node *map, const char *key));
CALL(rs_host, node_at, 136, const rs_node *(*)(const rs_node *list, size_t i));
CALL(rs_host, node_str, 144, int (*)(const rs_node *, const char **ret, rs_error *));
CALL(rs_host, node_u64, 152, int (*)(const rs_node *, int unit, uint64_t *ret, rs_error *));
CALL(rs_host, node_bool, 160, int (*)(const rs_node *, int32_t *ret, rs_error *));

SIZE_AT_LEAST(rs_plugin, 104);
AT(rs_plugin, magic, 0, 4);
KIND(rs_plugin, magic, uint32_t);
AT(rs_plugin, struct_size, 4, 4);
KIND(rs_plugin, struct_size, uint32_t);
AT(rs_plugin, abi_major, 8, 2);
KIND(rs_plugin, abi_major, uint16_t);
AT(rs_plugin, abi_minor, 10, 2);
KIND(rs_plugin, abi_minor, uint16_t);
AT(rs_plugin, kind, 12, 4);
KIND(rs_plugin, kind, uint32_t);
AT(rs_plugin, caps, 16, 8);
KIND(rs_plugin, caps, uint64_t);
AT(rs_plugin, host_features, 24, 8);
KIND(rs_plugin, host_features, uint64_t);
AT(rs_plugin, name, 32, 8);
KIND(rs_plugin, name, const char *);
AT(rs_plugin, version, 40, 8);
KIND(rs_plugin, version, const char *);
AT(rs_plugin, license, 48, 8);
KIND(rs_plugin, license, const char *);
AT(rs_plugin, config_schema, 56, 8);
KIND(rs_plugin, config_schema, const char *);
AT(rs_plugin, ops, 64, 8);
KIND(rs_plugin, ops, const void *);
CALL(rs_plugin, check, 72, int (*)(const rs_host *, const rs_node *config, rs_error *));
CALL(rs_plugin, init, 80, int (*)(const rs_host *, const rs_node *config, void **ret_self, rs_error *));
CALL(rs_plugin, stop, 88, void (*)(void *self, rs_done_fn done, void *arg));
CALL(rs_plugin, fini, 96, void (*)(void *self));

SIZE_AT_LEAST(rs_limits, 24);
AT(rs_limits, struct_size, 0, 4);
KIND(rs_limits, struct_size, uint32_t);
AT(rs_limits, key_max, 4, 4);
KIND(rs_limits, key_max, uint32_t);
AT(rs_limits, value_max, 8, 8);
KIND(rs_limits, value_max, uint64_t);
AT(rs_limits, batch_max, 16, 8);
KIND(rs_limits, batch_max, uint64_t);

SIZE_IS(rs_pin, 24); /* has no struct_size */
AT(rs_pin, value, 0, 16);
KIND(rs_pin, value, rs_slice);
AT(rs_pin, owner, 16, 8);
KIND(rs_pin, owner, void *);

SIZE_AT_LEAST(rs_range, 40);
AT(rs_range, struct_size, 0, 4);
KIND(rs_range, struct_size, uint32_t);
AT(rs_range, flags, 4, 4);
KIND(rs_range, flags, uint32_t);
AT(rs_range, lower, 8, 16);
KIND(rs_range, lower, rs_slice);
AT(rs_range, upper, 24, 16);
KIND(rs_range, upper, rs_slice);

SIZE_AT_LEAST(rs_store_open, 16);
AT(rs_store_open, struct_size, 0, 4);
KIND(rs_store_open, struct_size, uint32_t);
AT(rs_store_open, durability, 4, 4);
KIND(rs_store_open, durability, uint32_t);
AT(rs_store_open, dir, 8, 8);
KIND(rs_store_open, dir, const char *);

SIZE_AT_LEAST(rs_storage_ops, 224);
AT(rs_storage_ops, struct_size, 0, 4);
KIND(rs_storage_ops, struct_size, uint32_t);
AT(rs_storage_ops, reserved, 4, 4);
KIND(rs_storage_ops, reserved, uint32_t);
CALL(rs_storage_ops, open, 8, int (*)(void *self, const rs_store_open *, rs_store **ret, rs_error *));
CALL(rs_storage_ops, close, 16, void (*)(rs_store *));
CALL(rs_storage_ops, limits, 24, void (*)(rs_store *, rs_limits *ret));
CALL(rs_storage_ops, table_open, 32, int (*)(rs_store *, const char *name, uint32_t flags, rs_table **ret, rs_error *));
CALL(rs_storage_ops, table_drop, 40, int (*)(rs_store *, const char *name, rs_error *));
CALL(rs_storage_ops, batch_new, 48, rs_batch *(*)(rs_store *, size_t bytes_hint));
CALL(rs_storage_ops, batch_free, 56, void (*)(rs_batch *));
CALL(rs_storage_ops, batch_clear, 64, void (*)(rs_batch *));
CALL(rs_storage_ops, batch_put, 72, int (*)(rs_batch *, rs_table *, rs_slice key, const struct iovec *value, int n));
CALL(rs_storage_ops, batch_del, 80, int (*)(rs_batch *, rs_table *, rs_slice key));
CALL(rs_storage_ops, batch_del_range, 88, int (*)(rs_batch *, rs_table *, rs_slice lower, rs_slice upper));
CALL(rs_storage_ops, batch_bytes, 96, size_t (*)(const rs_batch *));
CALL(rs_storage_ops, write, 104, int (*)(rs_store *, rs_batch *, uint32_t flags, rs_error *));
CALL(rs_storage_ops, sync, 112, int (*)(rs_store *, rs_error *));
CALL(rs_storage_ops, view_new, 120, int (*)(rs_store *, rs_view **ret, rs_error *));
CALL(rs_storage_ops, view_free, 128, void (*)(rs_view *));
CALL(rs_storage_ops, get, 136, int (*)(rs_view *, rs_table *, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *));
CALL(rs_storage_ops, multi_get, 144,
     int (*)(rs_view *, rs_table *, size_t n, const rs_slice keys[], uint32_t flags, rs_pin ret[], int status[],
             rs_error *));
CALL(rs_storage_ops, unpin, 152, void (*)(rs_pin *));
CALL(rs_storage_ops, iter_new, 160, int (*)(rs_view *, rs_table *, const rs_range *, rs_iter **ret, rs_error *));
CALL(rs_storage_ops, iter_next, 168, int (*)(rs_iter *, rs_slice *ret_key, rs_slice *ret_value, rs_error *));
CALL(rs_storage_ops, iter_seek, 176, int (*)(rs_iter *, rs_slice key, rs_error *));
CALL(rs_storage_ops, iter_free, 184, void (*)(rs_iter *));
CALL(rs_storage_ops, export_native, 192, int (*)(rs_store *, const char *empty_dir, rs_error *));
CALL(rs_storage_ops, import_native, 200, int (*)(void *self, const char *dir, const char *store_dir, rs_error *));
CALL(rs_storage_ops, compact, 208, int (*)(rs_store *, rs_table *, rs_error *));
CALL(rs_storage_ops, stats, 216,
     int (*)(rs_store *, void (*each)(void *arg, const char *name, uint64_t value), void *arg));

SIZE_AT_LEAST(rs_conn_opts, 40);
AT(rs_conn_opts, struct_size, 0, 4);
KIND(rs_conn_opts, struct_size, uint32_t);
AT(rs_conn_opts, flags, 4, 4);
KIND(rs_conn_opts, flags, uint32_t);
AT(rs_conn_opts, connect_timeout_ns, 8, 8);
KIND(rs_conn_opts, connect_timeout_ns, uint64_t);
AT(rs_conn_opts, handshake_timeout_ns, 16, 8);
KIND(rs_conn_opts, handshake_timeout_ns, uint64_t);
AT(rs_conn_opts, server_name, 24, 8);
KIND(rs_conn_opts, server_name, const char *);
AT(rs_conn_opts, alpn, 32, 8);
KIND(rs_conn_opts, alpn, const char *const *);

SIZE_AT_LEAST(rs_conn_events, 40);
AT(rs_conn_events, struct_size, 0, 4);
KIND(rs_conn_events, struct_size, uint32_t);
AT(rs_conn_events, reserved, 4, 4);
KIND(rs_conn_events, reserved, uint32_t);
CALL(rs_conn_events, ready, 8, void (*)(void *arg, rs_conn *));
CALL(rs_conn_events, readable, 16, void (*)(void *arg, rs_conn *));
CALL(rs_conn_events, writable, 24, void (*)(void *arg, rs_conn *));
CALL(rs_conn_events, closed, 32, void (*)(void *arg, rs_conn *, int status, const rs_error *));

SIZE_AT_LEAST(rs_peer, 472);
AT(rs_peer, struct_size, 0, 4);
KIND(rs_peer, struct_size, uint32_t);
AT(rs_peer, flags, 4, 4);
KIND(rs_peer, flags, uint32_t);
AT(rs_peer, address, 8, 128);
AT(rs_peer, identity, 136, 256);
AT(rs_peer, alpn, 392, 16);
AT(rs_peer, security, 408, 32);
AT(rs_peer, cert_sha256, 440, 32);

SIZE_AT_LEAST(rs_transport_ops, 112);
AT(rs_transport_ops, struct_size, 0, 4);
KIND(rs_transport_ops, struct_size, uint32_t);
AT(rs_transport_ops, reserved, 4, 4);
KIND(rs_transport_ops, reserved, uint32_t);
AT(rs_transport_ops, schemes, 8, 8);
KIND(rs_transport_ops, schemes, const char *);
CALL(rs_transport_ops, listen, 16,
     int (*)(void *self, rs_loop *, const char *uri, const rs_conn_opts *, void (*accepted)(void *arg, rs_conn *),
             void *arg, rs_listener **ret, rs_error *));
CALL(rs_transport_ops, listener_uri, 24, int (*)(rs_listener *, char *buf, size_t len));
CALL(rs_transport_ops, listener_close, 32, void (*)(rs_listener *));
CALL(rs_transport_ops, attach, 40, int (*)(rs_conn *, rs_loop *, const rs_conn_events *, void *arg));
CALL(rs_transport_ops, connect, 48,
     int (*)(void *self, rs_loop *, const char *uri, const rs_conn_opts *, const rs_conn_events *, void *arg,
             rs_conn **ret, rs_error *));
CALL(rs_transport_ops, read, 56, int64_t (*)(rs_conn *, void *buf, size_t len));
CALL(rs_transport_ops, write, 64, int64_t (*)(rs_conn *, const struct iovec *iov, int n));
CALL(rs_transport_ops, shutdown, 72, int (*)(rs_conn *));
CALL(rs_transport_ops, peer, 80, int (*)(rs_conn *, rs_peer *ret));
CALL(rs_transport_ops, stats, 88,
     int (*)(rs_conn *, void (*each)(void *arg, const char *name, uint64_t value), void *arg));
CALL(rs_transport_ops, close, 96, void (*)(rs_conn *, int abort));
CALL(rs_transport_ops, reload, 104, int (*)(void *self, const rs_node *config, rs_error *));

VALUE(RS_KIND_STORAGE, 1);
VALUE(RS_KIND_TRANSPORT, 2);
VALUE(RS_OK, 0);
VALUE(RS_EINVAL, -1);
VALUE(RS_ENOMEM, -2);
VALUE(RS_ENOENT, -3);
VALUE(RS_EEXIST, -4);
VALUE(RS_EAGAIN, -5);
VALUE(RS_ECANCELED, -6);
VALUE(RS_ETIMEDOUT, -7);
VALUE(RS_EIO, -8);
VALUE(RS_ECORRUPT, -9);
VALUE(RS_ENOSPC, -10);
VALUE(RS_ETOOBIG, -11);
VALUE(RS_ECLOSED, -12);
VALUE(RS_EPERM, -13);
VALUE(RS_EUNSUPPORTED, -14);
VALUE(RS_ERR_RETRYABLE, 1);
VALUE(RS_ERR_STICKY, 2);
VALUE(RS_LOG_ERROR, 1);
VALUE(RS_LOG_WARN, 2);
VALUE(RS_LOG_INFO, 3);
VALUE(RS_LOG_DEBUG, 4);
VALUE(RS_LOG_TRACE, 5);
VALUE(RS_FIELD_U64, 1);
VALUE(RS_FIELD_I64, 2);
VALUE(RS_FIELD_F64, 3);
VALUE(RS_FIELD_STR, 4);
VALUE(RS_METRIC_COUNTER, 1);
VALUE(RS_METRIC_GAUGE, 2);
VALUE(RS_WATCH_READ, 1);
VALUE(RS_WATCH_WRITE, 2);
VALUE(RS_POOL_IO, 1);
VALUE(RS_UNIT_COUNT, 1);
VALUE(RS_UNIT_BYTES, 2);
VALUE(RS_UNIT_NS, 3);
VALUE(RS_STORAGE_CACHED_READ, 1);
VALUE(RS_STORAGE_NATIVE_EXPORT, 2);
VALUE(RS_STORAGE_COMPACT, 4);
VALUE(RS_STORAGE_CHECKSUM, 8);
VALUE(RS_STORAGE_ALWAYS_SYNCED, 16);
VALUE(RS_STORE_SYNC, 1);
VALUE(RS_STORE_RELAXED, 2);
VALUE(RS_WRITE_SYNC, 1);
VALUE(RS_READ_CACHED, 1);
VALUE(RS_READ_NO_FILL, 2);
VALUE(RS_RANGE_REVERSE, 4);
VALUE(RS_TRANSPORT_PEER_AUTH, 1);
VALUE(RS_TRANSPORT_ENCRYPTED, 2);
VALUE(RS_TRANSPORT_RELOAD, 4);
VALUE(RS_TRANSPORT_LOCAL_ONLY, 8);
VALUE(RS_ABI_MAGIC, 0x50545352u);
VALUE(RS_ABI_MAJOR, 1u);
