/* SPDX-License-Identifier: Apache-2.0 */
/* config/config.h : the effective configuration, typed. Precedence: default < file < environment < command line.
 *
 * One table (config/options.c) drives names, types, defaults, ranges, help, --dump-config and docs/configuration.md;
 * names and meaning are those of docs/configuration.md. A struct config is immutable once loaded and may be read by
 * every thread. Durations are ns, sizes bytes. CFG_UNLIMITED means "no limit", CFG_UNSET "not given" for numbers, NULL
 * for strings. */
#pragma once
#include <stdio.h>
#include "config/node.h"

#define CFG_UNLIMITED UINT64_MAX
#define CFG_UNSET (UINT64_MAX - 1)

struct cfg_strings { /* list of texts */
    size_t n;
    const char *const *v;
};
struct cfg_pairs { /* map of texts */
    size_t n;
    const char *const *names;
    const char *const *values;
};
struct cfg_replication {
    unsigned copies; /* 0: not given */
    bool all;        /* `*`: every worker, at most 3 */
};

enum cfg_role {
    CFG_ROLE_HTTP_INGRESS = 1,
    CFG_ROLE_ADMIN = 2,
    CFG_ROLE_WORKER = 4,
    CFG_ROLE_LOG_SERVER = 8,
    CFG_ROLE_METADATA_SERVER = 16,
    CFG_ROLES_ALL = 31
};
enum cfg_on_max_attempts { ON_MAX_PAUSE, ON_MAX_KILL };
enum cfg_listen_mode { LISTEN_UNIX, LISTEN_TCP, LISTEN_ALL };
enum cfg_profile_store { STORE_LOG, STORE_META, STORE_DATA, STORE_KINDS };

/* What a section binds and shows. `bind` is final: bind-address, or bind-ip and bind-port after the cascade; every
 * entry has one of the forms of plugin/transports.h. */
struct cfg_listen {
    struct cfg_strings bind;
    const char *advertised;      /* as configured; NULL: derive from advertised_host and the bound port */
    const char *advertised_host; /* NULL: detect */
    bool random_port;            /* use-random-ports: bind port 0 */
    enum cfg_listen_mode mode;
};

/* A plugin by name and options. `options` is a map node (possibly empty), never NULL. */
struct cfg_plugin {
    const char *name;
    const struct cfg_node *options;
};
struct cfg_transport { /* one per scheme written in the section */
    const char *scheme;
    struct cfg_plugin plugin;
};
struct cfg_transports {
    size_t n;
    const struct cfg_transport *v;
};

struct config_retry_default {
    uint64_t initial_interval_ns, max_interval_ns, max_attempts; /* CFG_UNLIMITED */
    double factor;
    unsigned on_max_attempts; /* enum cfg_on_max_attempts */
};

struct config {
    /* top level */
    unsigned roles; /* enum cfg_role bits, after the rule about http-ingress */
    const char *cluster_name, *node_name, *location, *base_dir;
    const char *node_dir;   /* <base-dir>/<node-name> */
    uint64_t force_node_id; /* CFG_UNSET */
    bool auto_provision, production;
    uint64_t default_num_partitions;
    struct cfg_replication default_replication, log_replication,
        partition_replication; /* the last two already cascaded */
    uint64_t shutdown_timeout_ns, initialization_timeout_ns;
    struct cfg_listen fabric;
    uint64_t loops;              /* at least 1 */
    uint64_t memory_limit_bytes; /* always set */
    const char *plugins_dir;     /* absolute */
    uint64_t replica_replace_delay_ns;

    struct {
        struct cfg_plugin plugin[STORE_KINDS];
        const char *dir[STORE_KINDS]; /* data: the parent of data-<n> when given; NULL: node_dir */
        uint64_t data_stores;         /* 1..16 */
        uint64_t write_out_bytes, write_out_interval_ns, sync_bytes,
            sync_interval_ns; /* the first three CFG_UNSET: by plugin */
    } storage;
    struct cfg_transports transport; /* fabric, and what other sections inherit */

    struct {
        const char *filter;
        unsigned format; /* enum logging_format */
        int level;       /* RS_LOG_*, of target `restate` in the filter */
    } logging;

    struct {
        const char *endpoint, *services_endpoint; /* NULL: none */
        struct cfg_pairs headers;
    } tracing;

    struct {
        bool protocol_v7, scopes;
    } experimental;

    struct config_retry_default retry; /* default-retry-policy */
    uint64_t max_retry_attempts;       /* CFG_UNLIMITED */
    uint64_t journal_retention_ns, idempotency_retention_ns, workflow_retention_ns;
    uint64_t max_journal_retention_ns, max_idempotency_retention_ns, max_workflow_retention_ns; /* CFG_UNLIMITED */

    struct {
        uint64_t tick_ns, failure_threshold, num_peers, fd_stability_threshold, suspect_interval_ns,
            loneliness_threshold;
        uint64_t time_skew_ns;
    } gossip;
    struct {
        struct cfg_strings addresses;
    } metadata_client;
    struct {
        bool auto_join;
        uint64_t election_tick, heartbeat_tick, tick_ns, log_trim_threshold;
    } metadata_server;
    struct {
        uint64_t connect_timeout_ns, handshake_timeout_ns, keep_alive_interval_ns, keep_alive_timeout_ns;
        uint64_t message_size_limit;
        struct cfg_strings allowed_peers;
    } networking;

    struct {
        bool enabled; /* after the rule about roles */
        struct cfg_listen listen;
        struct cfg_transports transport; /* n 0: those of the top level */
        uint64_t concurrent_limit;       /* CFG_UNLIMITED */
        uint64_t request_size_limit, http2_max_streams;
    } ingress;
    struct {
        struct cfg_listen listen;
        struct cfg_transports transport;
        uint64_t concurrent_limit; /* CFG_UNLIMITED */
        struct cfg_strings routing_headers;
        uint64_t query_memory;
    } admin;
    struct {
        uint64_t cleanup_interval_ns, stall_timeout_ns;
        uint64_t trim_delay_ns;
        unsigned durability; /* enum worker_durability */
        struct {
            const char *destination;                              /* NULL: off */
            uint64_t interval_ns, interval_records, num_retained; /* the first two CFG_UNSET */
            const char *aws_region, *aws_endpoint, *aws_access_key, *aws_secret_key, *aws_session_token; /* NULL */
            bool aws_allow_http;
        } snapshots;
    } worker;
    struct {
        struct cfg_transports transport; /* always has tls */
        bool transport_configured;       /* false: that tls is the default, used when the plugin is there */
        uint64_t inactivity_timeout_ns, abort_timeout_ns, message_size_warning, message_size_limit;
        uint64_t concurrent_limit; /* CFG_UNLIMITED */
        uint64_t eager_state_limit, memory_limit, per_invocation_limit, initial_memory;
        uint64_t connect_timeout_ns, keep_alive_interval_ns, keep_alive_timeout_ns;
        uint64_t streams_per_connection, idle_connection_timeout_ns, stream_window;
        struct cfg_pairs headers; /* additional-request-headers */
        const char *identity_key; /* request-identity-private-key-pem-file, NULL */
        uint64_t identity_expiration_ns;
    } invoker;
    struct {
        uint64_t record_cache_bytes, max_in_flight;
    } log;

    const struct cfg_node *root; /* the merged tree, for reports */
    const char *file;            /* NULL: none */
    struct cfg_tree *tree;       /* owns everything above */
};

enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_DUMP, CONFIG_VERSION, CONFIG_HELP, CONFIG_CONVERT_STORE };

struct config_inputs {
    int argc;
    char *const *argv;    /* with the program's name; may be {NULL} */
    char *const *envp;    /* NULL terminated; NULL: none */
    unsigned cores;       /* 0: ask the system */
    uint64_t ram_bytes;   /* 0: ask the system */
    const char *hostname; /* NULL: ask the system */
    const char *exe_path; /* NULL: ask the system; finds ../plugins of a build tree */
    /* warnings: one sentence each; NULL: dropped. Called during config_load() only. */
    void (*warn)(void *arg, const char *sentence);
    void *arg;
};

struct config_run { /* what the command line asked for besides options */
    enum config_action action;
    bool no_logo;
    const char *convert_store, *convert_plugin; /* --convert-store <store>=<plugin> */
};

/* config_load() - read, merge, check. 0, or the exit status of the process with the reason in @err: 1 a wrong
 * configuration, 2 a wrong command line. With CONFIG_VERSION or CONFIG_HELP *ret is NULL. */
int config_load(const struct config_inputs *in, struct config_run *ret_run, struct config **ret,
                struct err *err) RS_WARN_UNUSED;
struct config *config_free(struct config *c); /* NULL */
DEFINE_CLEANUP(config, config_free)

void config_put_dump(struct buf *b,
                     const struct config *c); /* --dump-config: YAML that loads to the same configuration, but for
                                               * secrets, which are shown as *** */
void config_put_help(struct buf *b);          /* --help */
void config_put_docs(struct buf *b);          /* docs/configuration.md */
/* config_log_level() - RS_LOG_* of target `restate` in a filter such as "warn,restate=debug". RS_EINVAL on an unknown
 * level. */
int config_log_level(const char *filter, int *ret, struct err *err) RS_WARN_UNUSED;
