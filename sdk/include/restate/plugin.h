/* SPDX-License-Identifier: Apache-2.0 */
/* restate/plugin.h : base ABI. Fixed-width members only: no bool, enum, bit-field, long, off_t, FILE* or varargs. */
#ifndef RESTATE_PLUGIN_H
#define RESTATE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RS_ABI_MAGIC 0x50545352u
#define RS_ABI_MAJOR 1u /* and RS_ABI_MINOR 0u */
#define RS_EXPORT __attribute__((visibility("default")))
#define RS_HAS(p, m) ((p)->struct_size >= offsetof(__typeof__(*(p)), m) + sizeof((p)->m))
enum { RS_KIND_STORAGE = 1, RS_KIND_TRANSPORT = 2 };
enum {
    RS_OK = 0,
    RS_EINVAL = -1,
    RS_ENOMEM = -2,
    RS_ENOENT = -3,
    RS_EEXIST = -4,
    RS_EAGAIN = -5,
    RS_ECANCELED = -6,
    RS_ETIMEDOUT = -7,
    RS_EIO = -8,
    RS_ECORRUPT = -9,
    RS_ENOSPC = -10,
    RS_ETOOBIG = -11,
    RS_ECLOSED = -12,
    RS_EPERM = -13,
    RS_EUNSUPPORTED = -14
};                                                /* values are frozen; new ones are appended */
enum { RS_ERR_RETRYABLE = 1, RS_ERR_STICKY = 2 }; /* STICKY: this handle will never succeed again */
enum { RS_LOG_ERROR = 1, RS_LOG_WARN = 2, RS_LOG_INFO = 3, RS_LOG_DEBUG = 4, RS_LOG_TRACE = 5 };
enum { RS_FIELD_U64 = 1, RS_FIELD_I64 = 2, RS_FIELD_F64 = 3, RS_FIELD_STR = 4 };
enum { RS_METRIC_COUNTER = 1, RS_METRIC_GAUGE = 2 };
enum { RS_WATCH_READ = 1, RS_WATCH_WRITE = 2 }; /* level triggered */
enum { RS_POOL_IO = 1 };                        /* reads, name look-ups; FIFO start, no order of completion */
enum { RS_UNIT_COUNT = 1, RS_UNIT_BYTES = 2, RS_UNIT_NS = 3 };
typedef struct rs_slice {
    const void *data;
    size_t len;
} rs_slice; /* borrowed bytes */
typedef struct rs_error {
    uint32_t struct_size;
    int32_t code;
    uint32_t flags;
    int32_t native;
    char msg[240];
} rs_error;
typedef struct rs_field {
    const char *name;
    uint32_t type, reserved;
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        const char *str;
    } v;
} rs_field;
typedef struct rs_host rs_host;
typedef struct rs_loop rs_loop;
typedef struct rs_node rs_node;
typedef struct rs_watch rs_watch;
typedef struct rs_timer rs_timer;
typedef void (*rs_fn)(void *arg);
typedef void (*rs_watch_fn)(void *arg, uint32_t events);
typedef void (*rs_done_fn)(void *arg, int status, const rs_error *error); /* error lives for the call only */
struct rs_host { /* services the host lends; valid until fini() returns */
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    uint64_t features;
    void (*log)(const rs_host *, int level, const char *message, const rs_field *fields, size_t n);
    uint32_t (*metric)(const rs_host *, int type, const char *name, const char *help); /* id, 0 on failure */
    void (*metric_add)(const rs_host *, uint32_t id, double value);
    uint64_t (*mono_ns)(const rs_host *);                   /* these two are the only clocks a plugin may read */
    uint64_t (*wall_ns)(const rs_host *);                   /* unix time; for certificate validity, never for order */
    void (*random)(const rs_host *, void *buf, size_t len); /* the only entropy */
    int (*work)(const rs_host *, int pool, rs_fn fn,
                void *arg);                                  /* run on a blocking pool; fn posts its result itself */
    int (*mem_charge)(const rs_host *, int64_t delta_bytes); /* RS_ENOMEM: over budget */
    int (*post)(rs_loop *, rs_fn fn, void *arg);             /* any thread; fn runs on the loop, in post order */
    /* Watches and timers: on the loop's own thread. events may be 0: the watch sleeps until watch_set(). */
    int (*watch)(rs_loop *, int fd, uint32_t events, rs_watch_fn fn, void *arg, rs_watch **ret);
    void (*watch_set)(rs_watch *, uint32_t events);
    void (*unwatch)(rs_watch *); /* before fd is closed; no callback after return; also inside fn */
    /* One shot. Every timer is ended by timer_stop(), once: before fn is called, or inside fn. */
    int (*timer)(rs_loop *, uint64_t delay_ns, rs_fn fn, void *arg, rs_timer **ret);
    void (*timer_stop)(rs_timer *);                                  /* no callback after return */
    const rs_node *(*node_get)(const rs_node *map, const char *key); /* NULL: absent */
    const rs_node *(*node_at)(const rs_node *list, size_t i);        /* NULL: past the end */
    int (*node_str)(const rs_node *, const char **ret, rs_error *);
    int (*node_u64)(const rs_node *, int unit, uint64_t *ret, rs_error *); /* unit: count, bytes, ns */
    int (*node_bool)(const rs_node *, int32_t *ret, rs_error *);           /* 0 or 1 */
};
typedef struct rs_plugin {
    uint32_t magic, struct_size;
    uint16_t abi_major, abi_minor;
    uint32_t kind;
    uint64_t caps;                                        /* what it offers: RS_STORAGE_* or RS_TRANSPORT_* */
    uint64_t host_features;                               /* what it cannot live without */
    const char *name, *version, *license, *config_schema; /* schema: JSON Schema of its YAML section */
    const void *ops;                                      /* rs_storage_ops or rs_transport_ops, by kind */
    int (*check)(const rs_host *, const rs_node *config, rs_error *); /* pure: opens nothing */
    int (*init)(const rs_host *, const rs_node *config, void **ret_self,
                rs_error *);                              /* once per instance, see section 5 */
    void (*stop)(void *self, rs_done_fn done, void *arg); /* refuse new work, finish or cancel the rest */
    void (*fini)(void *self);                             /* after done: joins its threads, frees self */
} rs_plugin;
RS_EXPORT const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor); /* the one export */

#ifdef __cplusplus
}
#endif

#endif
