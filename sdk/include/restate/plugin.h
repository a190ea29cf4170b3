/* SPDX-License-Identifier: Apache-2.0 */
/* restate/plugin.h : base ABI between a host (server, simulator, conformance kit) and a plugin.
 *
 * A plugin built against ABI 1.0 keeps loading in every later 1.x host, unchanged. Fixed-width members only: no bool,
 * enum, bit-field, long, off_t, FILE* or varargs. Members are appended, never moved, retyped or reused; a struct that
 * can grow begins with struct_size, set by whoever made it: ask RS_HAS() before using a member that is younger
 * than 1.0.
 *
 * Rules for every call in both directions:
 *   - Return 0 or a count, or a negative RS_E*. rs_error may be NULL; it is filled only on failure and its code is the
 * one returned. Functions that fail do not log as well. Out-parameters are written only on success.
 *   - Who allocates frees. Strings and slices passed in are borrowed for the call; strings handed out are static or
 * live as long as the handle named in the comment.
 *   - A callback never runs inside the call that asked for it, but for stop() below.
 *   - A plugin never forks, installs signal handlers, calls exit(), changes locale, umask, working directory or
 * environment, writes to stdout or stderr, or keeps state in globals: one process may hold several instances. Its
 * threads are named rs-<plugin>-<n>, block all signals and end before fini() returns (a library's own pool may take a
 * moment longer).
 *   - A plugin file is never unloaded.
 *
 * Changes: 1.0 the first version. */
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
    RS_EINVAL = -1,       /* wrong argument or configuration; the same call will fail again */
    RS_ENOMEM = -2,       /* no memory, or mem_charge() refused */
    RS_ENOENT = -3,       /* no such key, table, name */
    RS_EEXIST = -4,       /* is there already */
    RS_EAGAIN = -5,       /* not now; the comment at the call says when to try again */
    RS_ECANCELED = -6,    /* ended by stop() or by closing the handle */
    RS_ETIMEDOUT = -7,    /* the outcome is unknown */
    RS_EIO = -8,          /* the disk or the network failed */
    RS_ECORRUPT = -9,     /* stored or received bytes are not what was written */
    RS_ENOSPC = -10,      /* disk or quota is full */
    RS_ETOOBIG = -11,     /* above a limit of the handle */
    RS_ECLOSED = -12,     /* the other side or the handle is closed */
    RS_EPERM = -13,       /* not allowed, or held by another process */
    RS_EUNSUPPORTED = -14 /* this plugin cannot do that */
};                        /* values are frozen; new ones are appended; a host takes an unknown one for RS_EIO */
enum {
    RS_ERR_RETRYABLE = 1, /* the same call may succeed later, nothing has changed */
    RS_ERR_STICKY = 2     /* this handle will never succeed again */
};
enum { RS_LOG_ERROR = 1, RS_LOG_WARN = 2, RS_LOG_INFO = 3, RS_LOG_DEBUG = 4, RS_LOG_TRACE = 5 };
enum { RS_FIELD_U64 = 1, RS_FIELD_I64 = 2, RS_FIELD_F64 = 3, RS_FIELD_STR = 4 };
enum { RS_METRIC_COUNTER = 1, RS_METRIC_GAUGE = 2 };
enum { RS_WATCH_READ = 1, RS_WATCH_WRITE = 2 }; /* level triggered */
enum { RS_POOL_IO = 1 };                        /* reads, name look-ups; FIFO start, no order of completion */
enum { RS_UNIT_COUNT = 1, RS_UNIT_BYTES = 2, RS_UNIT_NS = 3 };
/* Borrowed bytes. Where a slice is optional, data NULL means absent; a present slice may have length 0. */
typedef struct rs_slice {
    const void *data;
    size_t len;
} rs_slice;
typedef struct rs_error {
    uint32_t struct_size; /* set by the caller */
    int32_t code;         /* RS_E*, the one that is returned */
    uint32_t flags;       /* RS_ERR_* */
    int32_t native;       /* errno or the library's code; 0: none */
    char msg[240];        /* one sentence for people, no line end; nobody parses it */
} rs_error;
/* A value beside a log message. type: RS_FIELD_*. The name and a string are borrowed for the call. */
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
/* Services the host lends; the table is valid until fini() returns. Any thread, unless said otherwise. */
struct rs_host {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    uint64_t features; /* bits a plugin may ask for in rs_plugin.host_features; none in 1.0 */
    /* message: constant, lower case, without values; level: RS_LOG_*. For events nobody is told otherwise. */
    void (*log)(const rs_host *, int level, const char *message, const rs_field *fields, size_t n);
    /* Registers restate_<plugin>_<noun>_<unit>[_total]; type: RS_METRIC_*. Return: an id for metric_add(), 0 on
     * failure. */
    uint32_t (*metric)(const rs_host *, int type, const char *name, const char *help);
    void (*metric_add)(const rs_host *, uint32_t id,
                       double value);                       /* a gauge takes negative values; id 0 does nothing */
    uint64_t (*mono_ns)(const rs_host *);                   /* these two are the only clocks a plugin may read */
    uint64_t (*wall_ns)(const rs_host *);                   /* unix time; for certificate validity, never for order */
    void (*random)(const rs_host *, void *buf, size_t len); /* the only entropy */
    /* Runs fn on a thread where blocking is allowed; fn posts its result itself. pool: RS_POOL_IO. RS_EAGAIN: queue
     * full. */
    int (*work)(const rs_host *, int pool, rs_fn fn, void *arg);
    /* Accounts for memory that grows with input; charge before allocating, give back with a negative number (which
     * never fails). Not for what memory-budget covers. RS_ENOMEM: over budget; nothing is charged, the caller fails
     * with it. */
    int (*mem_charge)(const rs_host *, int64_t delta_bytes);
    int (*post)(rs_loop *, rs_fn fn, void *arg); /* any thread; fn runs on the loop, in post order */
    /* Watches and timers: on the loop's own thread. events may be 0: the watch sleeps until watch_set(). */
    int (*watch)(rs_loop *, int fd, uint32_t events, rs_watch_fn fn, void *arg, rs_watch **ret);
    void (*watch_set)(rs_watch *, uint32_t events);
    void (*unwatch)(rs_watch *); /* before fd is closed; no callback after return; also inside fn */
    /* One shot. Every timer is ended by timer_stop(), once: before fn is called, or inside fn. */
    int (*timer)(rs_loop *, uint64_t delay_ns, rs_fn fn, void *arg, rs_timer **ret);
    void (*timer_stop)(rs_timer *); /* no callback after return */
    /* Configuration; only during check() and init(), nodes and strings included. A NULL map or list is an empty one.
     * Failures are RS_EINVAL with the place in the file in the message. */
    const rs_node *(*node_get)(const rs_node *map, const char *key); /* NULL: absent */
    const rs_node *(*node_at)(const rs_node *list, size_t i);        /* NULL: past the end */
    int (*node_str)(const rs_node *, const char **ret, rs_error *);
    int (*node_u64)(const rs_node *, int unit, uint64_t *ret, rs_error *); /* unit: RS_UNIT_*; "512MiB", "30s" */
    int (*node_bool)(const rs_node *, int32_t *ret, rs_error *);           /* 0 or 1 */
};
/* The descriptor: static, constant. All its functions are called on the main thread, one at a time, in this order for
 * every instance: check, init, (work), stop, its done, fini. */
typedef struct rs_plugin {
    uint32_t magic, struct_size;   /* RS_ABI_MAGIC */
    uint16_t abi_major, abi_minor; /* what it was built against */
    uint32_t kind;                 /* RS_KIND_* */
    uint64_t caps;                 /* what it offers: RS_STORAGE_* or RS_TRANSPORT_*; a bit without its op is refused */
    uint64_t host_features;        /* what it cannot live without */
    /* name: [a-z0-9-]+, the file is <kind>-<name>.so. config_schema: JSON Schema of its options: type, enum, minimum,
     * maximum, pattern (POSIX extended), required, items; format "bytes" or "duration"; objects closed with
     * additionalProperties false. The host refuses what does not fit before it calls the plugin. */
    const char *name, *version, *license, *config_schema;
    const void *ops; /* rs_storage_ops or rs_transport_ops, by kind */
    /* Looks at the options beyond what the schema says; opens nothing, changes nothing. config may be an empty map. */
    int (*check)(const rs_host *, const rs_node *config, rs_error *);
    /* Makes an instance; once per distinct set of options. May block. */
    int (*init)(const rs_host *, const rs_node *config, void **ret_self, rs_error *);
    /* Refuses new work, finishes or cancels the rest. All stores and listeners are closed before. done: exactly once,
     * from any thread, also from inside this call. */
    void (*stop)(void *self, rs_done_fn done, void *arg);
    /* After done: ends its threads, frees self. May block. */
    void (*fini)(void *self);
} rs_plugin;
/* The one exported symbol. A host of another minor version is welcome; NULL: this host's major is not served. */
RS_EXPORT const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor);

#ifdef __cplusplus
}
#endif

#endif
