/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "config/config.h"
#include "config/options.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define S UINT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)

struct run { /* one start: inputs, what was reported, what came out */
    const char *yaml;
    const char *env[12];
    const char *args[12];
    struct config *config;
    struct config_run result;
    struct err err;
    struct buf warnings;
    int status;
};

static void note(void *arg, const char *sentence) {
    buf_put_str(arg, sentence);
    buf_put_u8(arg, '\n');
}

static void start(struct run *r) {
    char file[] = "/tmp/restate-config-XXXXXX", *argv[16] = {"restate-server"};
    struct config_inputs in = {
        .argc = 1, .argv = argv, .cores = 4, .ram_bytes = 1024 * MIB, .hostname = "box", .exe_path = "/nowhere/bin/x"};
    int fd = -1;

    if (r->yaml) {
        fd = mkstemp(file);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, r->yaml, strlen(r->yaml)), strlen(r->yaml));
        argv[in.argc++] = "-c";
        argv[in.argc++] = file;
    }
    for (size_t i = 0; i < ARRAY_SIZE(r->args) && r->args[i]; i++)
        argv[in.argc++] = (char *)(uintptr_t)r->args[i];
    in.envp = (char *const *)(uintptr_t)r->env;
    in.warn = note;
    in.arg = &r->warnings;
    r->status = config_load(&in, &r->result, &r->config, &r->err);
    if (fd >= 0) {
        char *at;

        (void)close(fd);
        (void)unlink(file);
        while ((at = strstr(r->err.msg, file))) { /* messages name the file: call it n.yaml */
            memcpy(at, "n.yaml", 6);
            memmove(at + 6, at + strlen(file), strlen(at + strlen(file)) + 1);
        }
    }
}

static void done(struct run *r) {
    (void)config_free(r->config);
    buf_done(&r->warnings);
}

static const struct config *ok(struct run *r) {
    start(r);
    if (r->status)
        fail_msg("status %d: %s", r->status, r->err.msg);
    return r->config;
}

static void defaults_are_those_of_the_reference_page(void **state) {
    struct run r = {0};
    const struct config *c = ok(&r);

    assert_int_equal(c->roles, CFG_ROLES_ALL);
    assert_string_equal(c->cluster_name, "localcluster");
    assert_string_equal(c->node_name, "box");
    assert_string_equal(c->node_dir, "./restate-data/box");
    assert_true(c->auto_provision);
    assert_int_equal(c->default_num_partitions, 24);
    assert_int_equal(c->log_replication.copies, 1);
    assert_true(c->partition_replication.all);
    assert_string_equal(c->fabric.bind.v[0], "0.0.0.0:5122");
    assert_string_equal(c->ingress.listen.bind.v[0], "0.0.0.0:8080");
    assert_string_equal(c->admin.listen.bind.v[0], "127.0.0.1:9070");
    assert_int_equal(c->loops, 4);
    assert_int_equal(c->memory_limit_bytes, 256 * MIB);
    assert_int_equal(c->log.record_cache_bytes, 16 * MIB);
    assert_int_equal(c->invoker.memory_limit, 32 * MIB);
    assert_int_equal(c->ingress.request_size_limit, 32 * MIB);
    assert_true(c->ingress.enabled);
    assert_true(c->ingress.concurrent_limit == CFG_UNLIMITED);
    assert_int_equal(c->invoker.concurrent_limit, 1000);
    assert_int_equal(c->retry.max_attempts, 70);
    assert_true(c->retry.factor == 2.0);
    assert_int_equal(c->retry.on_max_attempts, ON_MAX_PAUSE);
    assert_true(c->journal_retention_ns == 86400 * S);
    assert_true(c->max_journal_retention_ns == CFG_UNLIMITED);
    assert_true(c->force_node_id == CFG_UNSET);
    assert_string_equal(c->storage.plugin[STORE_LOG].name, "rocksdb");
    assert_int_equal(c->storage.data_stores, 4);
    assert_true(c->storage.write_out_bytes == CFG_UNSET);
    assert_true(c->storage.sync_bytes == CFG_UNSET);
    assert_int_equal(c->transport.n, 0);
    assert_int_equal(c->invoker.transport.n, 1);
    assert_false(c->invoker.transport_configured);
    assert_string_equal(c->invoker.headers.names[0], "x-restate-cluster-name");
    assert_string_equal(c->invoker.headers.values[0], "localcluster");
    assert_int_equal(c->logging.level, RS_LOG_INFO);
    assert_int_equal(r.warnings.len, 0);
    done(&r);
}

static void the_command_line_goes_before_environment_before_file(void **state) {
    struct run r = {.yaml = "cluster-name: file\nnode-name: file\nbase-dir: /file\n",
                    .env = {"RESTATE_NODE_NAME=env", "RESTATE_BASE_DIR=/env"},
                    .args = {"--base-dir", "/cli"}};
    const struct config *c = ok(&r);

    assert_string_equal(c->cluster_name, "file");
    assert_string_equal(c->node_name, "env");
    assert_string_equal(c->node_dir, "/cli/env");
    done(&r);
}

static void a_server_runs_from_the_environment_alone(void **state) {
    struct run r = {.env = {"RESTATE_NODE_NAME=n1", "RESTATE_BIND_IP=127.0.0.1", "RESTATE_BIND_PORT=6001",
                            "RESTATE_ADMIN__BIND_PORT=6002", "RESTATE_INGRESS__BIND_PORT=6003",
                            "RESTATE_ADVERTISED_ADDRESS=http://127.0.0.1:6001/", "RESTATE_LISTEN_MODE=tcp",
                            "RESTATE_DEFAULT_NUM_PARTITIONS=6", "RESTATE_STORAGE__PLUGIN=lmdb",
                            "RESTATE_WORKER__CLEANUP_INTERVAL=2s"},
                    .args = {"--no-logo"}};
    const struct config *c = ok(&r);

    assert_string_equal(c->fabric.bind.v[0], "127.0.0.1:6001");
    assert_string_equal(c->admin.listen.bind.v[0], "127.0.0.1:6002");
    assert_string_equal(c->ingress.listen.bind.v[0], "127.0.0.1:6003");
    assert_string_equal(c->fabric.advertised, "http://127.0.0.1:6001/");
    assert_int_equal(c->default_num_partitions, 6);
    assert_string_equal(c->storage.plugin[STORE_DATA].name, "lmdb");
    assert_true(c->worker.cleanup_interval_ns == 2 * S);
    assert_true(r.result.no_logo);
    assert_int_equal(r.warnings.len, 0);
    done(&r);
}

static void wrong_values_are_refused_with_their_place(void **state) {
    static const struct {
        const char *yaml, *env, *arg, *message;
        int status;
    } rows[] = {
        {"a: 1\n", NULL, NULL, "n.yaml:1: a: there is no such option", 1},
        {"cluster-nam: x\n", NULL, NULL, "n.yaml:1: cluster-nam: there is no such option; did you mean cluster-name?",
         1},
        {"worker:\n  invoker:\n    inactivity-timout: 1m\n", NULL, NULL,
         "n.yaml:3: worker.invoker.inactivity-timout: there is no such option; did you mean "
         "worker.invoker.inactivity-timeout?",
         1},
        {"cleanup-interval: 1h\n", NULL, NULL,
         "n.yaml:1: cleanup-interval: there is no such option; did you mean worker.cleanup-interval?", 1},
        {"default-num-partitions: 0\n", NULL, NULL, "n.yaml:1: default-num-partitions: 0 is not from 1 to 65535", 1},
        {"default-num-partitions: many\n", NULL, NULL,
         "n.yaml:1: default-num-partitions: a whole number is expected, not \"many\"", 1},
        {"shutdown-timeout: 5\n", NULL, NULL, "n.yaml:1: shutdown-timeout: \"5\": a unit (ms, s, m, h, d) is missing",
         1},
        {"shutdown-timeout: 0s\n", NULL, NULL, "n.yaml:1: shutdown-timeout: must not be 0", 1},
        {"memory-limit: 1MiB\n", NULL, NULL, "n.yaml:1: memory-limit: 1MiB is less than 32.0 MiB", 1},
        {"memory-limit: 1 XB\n", NULL, NULL,
         "n.yaml:1: memory-limit: \"1 XB\": \"XB\" is not a unit of size (KB, MB, GB, KiB, MiB, GiB)", 1},
        {"auto-provision: maybe\n", NULL, NULL, "n.yaml:1: auto-provision: true or false is expected, not \"maybe\"",
         1},
        {"log-format: xml\n", NULL, NULL, "n.yaml:1: log-format: \"xml\" is not one of pretty, compact, json", 1},
        {"log-filter: loud\n", NULL, NULL,
         "n.yaml:1: log-filter: \"loud\" is not a level of logging (off, error, warn, info, debug, trace)", 1},
        {"roles: [worker, admn]\n", NULL, NULL, "n.yaml:1: roles: \"admn\" is not a role; did you mean admin?", 1},
        {"roles: []\n", NULL, NULL, "n.yaml:1: roles: a node needs at least one role", 1},
        {"bind-address: nowhere\n", NULL, NULL,
         "n.yaml:1: bind-address: \"nowhere\" is not an address: a port from 0 to 65535 is expected behind the host",
         1},
        {"bind-address: [\"tls://0.0.0.0:5122\", x]\n", NULL, NULL,
         "n.yaml:1: bind-address[1]: \"x\" is not an address", 1},
        {"worker: 5\n", NULL, NULL, "n.yaml:1: worker: this is a section: a map is expected", 1},
        {"storage: {plugin: ../x}\n", NULL, NULL, "n.yaml:1: storage.plugin: \"../x\" is not the name of a plugin", 1},
        {"storage: {lag: {dir: /x}}\n", NULL, NULL, "n.yaml:1: storage.lag: there is no such option", 1},
        {"storage: {data: {stores: 17}}\n", NULL, NULL, "n.yaml:1: storage.data.stores: 17 is not from 1 to 16", 1},
        {"storage: {options: 5}\n", NULL, NULL, "n.yaml:1: storage.options: a map of options is expected", 1},
        {"transport: {https: {plugin: tls}}\n", NULL, NULL, "n.yaml:1: transport.https: there is no such option", 1},
        {"default-replication: {zone: 2}\n", NULL, NULL, "n.yaml:1: default-replication: N or {node: N} is expected",
         1},
        {"default-retry-policy: {exponentiation-factor: 0.5}\n", NULL, NULL,
         "n.yaml:1: default-retry-policy.exponentiation-factor: 0.5 is less than 1", 1},
        {"metadata-client: {type: etcd}\n", NULL, NULL,
         "n.yaml:1: metadata-client.type: \"etcd\" is not one of replicated, embedded, native", 1},
        {"bifrost: {default-provider: in-memory}\n", NULL, NULL,
         "n.yaml:1: bifrost.default-provider: \"in-memory\" is not one of", 1},
        {"plugins: {dir: plugins}\n", NULL, NULL, "n.yaml:1: plugins.dir: \"plugins\" is not an absolute path", 1},
        {"node-name: a/b\n", NULL, NULL, "n.yaml:1: node-name: \"a/b\" cannot be the name of a node", 1},
        {"- a\n", NULL, NULL, "n.yaml:1: the configuration must be a map of options", 1},
        {"a: [\n", NULL, NULL, "n.yaml:2:1: ", 1},
        {NULL, "RESTATE_WORKER__CLEANUP_INTERVAL=soon", NULL,
         "environment variable RESTATE_WORKER__CLEANUP_INTERVAL: worker.cleanup-interval: \"soon\":", 1},
        {NULL, "MEMORY_LIMIT=x", NULL, "environment variable MEMORY_LIMIT: memory-limit: \"x\": a size is expected", 1},
        {NULL, NULL, "--bind-port=99999", "option --bind-port: bind-port: 99999 is not from 0 to 65535", 1},
        {NULL, NULL, "--bind-prot=1", "unexpected argument \"--bind-prot=1\"; did you mean --bind-port?; see --help",
         2},
        {NULL, NULL, "--zzzzzzzz", "unexpected argument \"--zzzzzzzz\"; see --help", 2},
        {NULL, NULL, "file.yaml", "unexpected argument \"file.yaml\"; see --help", 2},
        {NULL, NULL, "--node-name", "--node-name needs a value; see --help", 2},
        {NULL, NULL, "--dump-config=yes", "--dump-config takes no value", 2},
        {NULL, NULL, "--convert-store=data", "--convert-store needs <store>=<plugin>", 2},
        {NULL, NULL, "--config-file=/does/not/exist.yaml",
         "cannot open the configuration file /does/not/exist.yaml: No such file", 1},
        {NULL, "RESTATE_CONFIG=/does/not/exist.yaml", NULL,
         "cannot open the configuration file /does/not/exist.yaml: No such file", 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run r = {.yaml = rows[i].yaml, .env = {rows[i].env}, .args = {rows[i].arg}};

        start(&r);
        if (r.status != rows[i].status || strncmp(r.err.msg, rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("row %zu gave status %d: %s", i, r.status, r.err.msg);
        assert_null(r.config);
        done(&r);
    }
}

static void harmless_surprises_are_warnings(void **state) {
    static const struct {
        const char *yaml, *env, *arg, *message;
    } rows[] = {
        {NULL, "RESTATE_BIND_PROT=1", NULL,
         "environment variable RESTATE_BIND_PROT: there is no option bind-prot; did you mean bind-port?"},
        {NULL, "RESTATE_SOMETHING=1", NULL, "environment variable RESTATE_SOMETHING: there is no option something"},
        {"rocksdb-total-memory-size: 1GiB\nworker: {storage: {rocksdb-disable-wal: true}}\n", NULL, NULL,
         "rocksdb-total-memory-size and others: rocksdb-* keys have no effect here"},
        {"tracing-filter: info\n", NULL, NULL, "tracing-filter has no effect here"},
        {"admin: {heartbeat-interval: 2s}\n", NULL, NULL, "admin.heartbeat-interval has no effect here"},
        {"network-error-retry-policy: {type: none}\n", NULL, NULL, "network-error-retry-policy has no effect here"},
        {NULL, "RESTATE_DISABLE_TELEMETRY=true", NULL, "disable-telemetry has no effect here"},
        {"experimental-enable-kafka-scope: true\n", NULL, NULL, "experimental-enable-kafka-scope has no effect here"},
        {"worker: {shuffle: {batch: 1}}\n", NULL, NULL, "worker.shuffle.batch has no effect here"},
        {"bootstrap-num-partitions: 3\n", NULL, NULL,
         "bootstrap-num-partitions is the old name of default-num-partitions"},
        {NULL, "RESTATE_BOOTSTRAP_NUM_PARTITIONS=3", NULL,
         "bootstrap-num-partitions is the old name of default-num-partitions"},
        {"bind-address: 127.0.0.1:1\n", "RESTATE_BIND_PORT=2", NULL,
         "bind-port has no effect because bind-address is set"},
        {"bifrost: {default-provider: local}\n", NULL, NULL, "is the replicated log with one copy"},
        {NULL, NULL, "--metadata-migration-mode", "metadata-migration-mode has no effect here"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run r = {.yaml = rows[i].yaml, .env = {rows[i].env}, .args = {rows[i].arg}};

        (void)ok(&r);
        if (!strstr(buf_cstr(&r.warnings), rows[i].message))
            fail_msg("row %zu warned: %s", i, buf_cstr(&r.warnings));
        done(&r);
    }
}

static void variables_of_clients_and_proxies_are_not_reported(void **state) {
    struct run r = {.env = {"RESTATE_ADMIN_URL=http://x", "RESTATE_AUTH_TOKEN=t", "RESTATE_INGRESS_URL=http://x",
                            "RESTATECTL_ADDRESS=x", "HTTP_PROXY=http://p:1", "NO_PROXY=a,b",
                            "RESTATE_LOCATION=", "DO_NOT_TRACK=1", "PATH=/bin"}};

    (void)ok(&r);
    assert_string_equal(buf_cstr(&r.warnings), "");
    done(&r);
}

static void lists_and_maps_come_from_the_environment_too(void **state) {
    struct run r = {.env = {"RESTATE_METADATA_CLIENT__ADDRESSES=[\"http://n1:5122\",\"http://n2:5122\"]",
                            "RESTATE_DEFAULT_REPLICATION={node: 2}",
                            "RESTATE_WORKER__INVOKER__ADDITIONAL_REQUEST_HEADERS={x-a=1, x-b = \"two words\"}",
                            "RESTATE_ROLES=[worker,admin]", "RESTATE_BIND_ADDRESS=[::1]:7000",
                            "restate_cluster_name=lower", "RESTATE_INGRESS={bind-port: 7001}",
                            "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT=null"}};
    const struct config *c = ok(&r);

    assert_int_equal(c->metadata_client.addresses.n, 2);
    assert_string_equal(c->metadata_client.addresses.v[1], "http://n2:5122");
    assert_int_equal(c->log_replication.copies, 2);
    assert_int_equal(c->partition_replication.copies, 2);
    assert_false(c->partition_replication.all);
    assert_int_equal(c->invoker.headers.n, 2);
    assert_string_equal(c->invoker.headers.names[1], "x-b");
    assert_string_equal(c->invoker.headers.values[1], "two words");
    assert_int_equal(c->roles, CFG_ROLE_WORKER | CFG_ROLE_ADMIN | CFG_ROLE_HTTP_INGRESS);
    assert_string_equal(c->fabric.bind.v[0], "[::1]:7000");
    assert_string_equal(c->cluster_name, "lower");
    assert_string_equal(c->ingress.listen.bind.v[0], "0.0.0.0:7001");
    assert_true(c->invoker.concurrent_limit == CFG_UNLIMITED);
    assert_int_equal(r.warnings.len, 0);
    done(&r);
}

static void stores_inherit_plugin_and_options_of_the_same_plugin_only(void **state) {
    struct run r = {.yaml = "storage:\n  plugin: rocksdb\n  options: {compression: zstd, block-size: 8KiB}\n  log: "
                            "{dir: /nvme, options: {block-size: 4KiB}}\n"
                            "  meta: {plugin: lmdb, options: {map-size: 1GiB}}\n  data: {stores: 2}\n"};
    const struct config *c = ok(&r);
    const struct cfg_plugin *p = c->storage.plugin;

    assert_string_equal(p[STORE_LOG].name, "rocksdb");
    assert_string_equal(cfg_get(p[STORE_LOG].options, "compression")->text, "zstd");
    assert_string_equal(cfg_get(p[STORE_LOG].options, "block-size")->text, "4KiB");
    assert_string_equal(c->storage.dir[STORE_LOG], "/nvme");
    assert_string_equal(p[STORE_META].name, "lmdb");
    assert_int_equal(p[STORE_META].options->n, 1);
    assert_string_equal(cfg_get(p[STORE_DATA].options, "block-size")->text, "8KiB");
    assert_int_equal(c->storage.data_stores, 2);
    done(&r);
}

static void another_plugin_from_a_higher_source_drops_the_options_below(void **state) {
    struct run r = {.yaml = "storage: {plugin: rocksdb, options: {compression: zstd}, log: {dir: /nvme}}\n",
                    .env = {"RESTATE_STORAGE=lmdb"}};
    struct run same = {.yaml = "storage: {options: {compression: zstd}}\n", .env = {"RESTATE_STORAGE__PLUGIN=rocksdb"}};
    const struct config *c = ok(&r);

    assert_string_equal(c->storage.plugin[STORE_DATA].name, "lmdb");
    assert_int_equal(c->storage.plugin[STORE_DATA].options->n, 0);
    assert_string_equal(c->storage.dir[STORE_LOG], "/nvme");
    c = ok(&same);
    assert_string_equal(cfg_get(c->storage.plugin[STORE_LOG].options, "compression")->text, "zstd");
    done(&r);
    done(&same);
}

static void transports_belong_to_their_section(void **state) {
    struct run r = {.yaml = "transport: {tls: {options: {cert-file: /a}}}\ningress: {transport: {tls: {plugin: "
                            "other}}}\nadmin: {transport: {tls: mine}}\n",
                    .env = {"RESTATE_TRANSPORT__TLS__OPTIONS__KEY_FILE=/k"}};
    const struct config *c = ok(&r);

    assert_int_equal(c->transport.n, 1);
    assert_string_equal(c->transport.v[0].plugin.name, "tls");
    assert_string_equal(cfg_get(c->transport.v[0].plugin.options, "cert-file")->text, "/a");
    assert_string_equal(cfg_get(c->transport.v[0].plugin.options, "key-file")->text, "/k");
    assert_string_equal(c->ingress.transport.v[0].plugin.name, "other");
    assert_string_equal(c->admin.transport.v[0].plugin.name, "mine");
    assert_string_equal(cfg_get(c->invoker.transport.v[0].plugin.options, "ca-file")->text, "system");
    done(&r);
}

static void listeners_follow_ip_port_mode_and_random_ports(void **state) {
    static const struct {
        const char *env[4], *fabric, *admin;
    } rows[] = {
        {{"RESTATE_BIND_IP=10.0.0.1"}, "10.0.0.1:5122", "10.0.0.1:9070"},
        {{"RESTATE_ADMIN__BIND_IP=10.0.0.2"}, "0.0.0.0:5122", "10.0.0.2:9070"},
        {{"RESTATE_BIND_IP=::"}, "[::]:5122", "[::]:9070"},
        {{"RESTATE_USE_RANDOM_PORTS=true"}, "0.0.0.0:0", "127.0.0.1:0"},
        {{"RESTATE_USE_RANDOM_PORTS=true", "RESTATE_BIND_ADDRESS=tls://0.0.0.0:1"}, "tls://0.0.0.0:0", "127.0.0.1:0"},
        {{"RESTATE_LISTEN_MODE=unix", "RESTATE_BASE_DIR=/d"}, "unix:/d/fabric.sock", "unix:/d/admin.sock"},
        {{"RESTATE_ADMIN__BIND_ADDRESS=0.0.0.0:9070"}, "0.0.0.0:5122", "0.0.0.0:9070"}};
    struct run both = {.env = {"RESTATE_LISTEN_MODE=all", "RESTATE_BASE_DIR=/d"}};
    const struct config *c;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run r = {0};

        memcpy(r.env, rows[i].env, sizeof rows[i].env);
        c = ok(&r);
        assert_int_equal(c->fabric.bind.n, 1);
        assert_string_equal(c->fabric.bind.v[0], rows[i].fabric);
        assert_string_equal(c->admin.listen.bind.v[0], rows[i].admin);
        done(&r);
    }
    c = ok(&both);
    assert_int_equal(c->ingress.listen.bind.n, 2);
    assert_string_equal(c->ingress.listen.bind.v[1], "unix:/d/ingress.sock");
    done(&both);
}

static void roles_and_ingress_agree(void **state) {
    static const struct {
        const char *yaml;
        unsigned roles;
        bool enabled;
    } rows[] = {{"roles: [worker]\n", CFG_ROLE_WORKER | CFG_ROLE_HTTP_INGRESS, true},
                {"roles: worker\ningress: {enabled: false}\n", CFG_ROLE_WORKER, false},
                {"roles: [admin, log-server]\n", CFG_ROLE_ADMIN | CFG_ROLE_LOG_SERVER, false},
                {"roles: [http-ingress]\n", CFG_ROLE_HTTP_INGRESS, true}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run r = {.yaml = rows[i].yaml};
        const struct config *c = ok(&r);

        assert_int_equal(c->roles, rows[i].roles);
        assert_int_equal(c->ingress.enabled, rows[i].enabled);
        done(&r);
    }
}

static void replication_cascades_from_the_default(void **state) {
    static const struct {
        const char *yaml;
        unsigned log, partitions;
        bool all;
    } rows[] = {{"", 1, 3, true},
                {"default-replication: 2\n", 2, 2, false},
                {"default-replication: 3\ndefault-partition-replication: \"*\"\n", 3, 3, true},
                {"bifrost: {replicated-loglet: {default-log-replication: {node: 2}}}\n", 2, 3, true},
                {"default-replication: \"{node: 2}\"\n", 2, 2, false},
                {"default-replication: 3\nbifrost: {default-provider: local}\n", 1, 3, false}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run r = {.yaml = rows[i].yaml};
        const struct config *c = ok(&r);

        assert_int_equal(c->log_replication.copies, rows[i].log);
        assert_int_equal(c->partition_replication.copies, rows[i].partitions);
        assert_int_equal(c->partition_replication.all, rows[i].all);
        done(&r);
    }
}

static void sizes_are_clamped_to_what_contains_them(void **state) {
    struct run r = {
        .yaml = "memory-limit: 100MiB\nnetworking: {message-size-limit: 4MiB}\ningress: {request-size-limit: 8MiB}\n"
                "bifrost: {record-cache-memory-size: 1GiB}\n"};
    const struct config *c = ok(&r);

    assert_int_equal(c->ingress.request_size_limit, 4 * MIB);
    assert_int_equal(c->invoker.message_size_limit, 4 * MIB);
    assert_int_equal(c->invoker.message_size_warning, 4 * MIB);
    assert_int_equal(c->log.record_cache_bytes, 100 * MIB);
    assert_int_equal(c->invoker.memory_limit, 100 * MIB / 8);
    done(&r);
}

static void the_command_line_knows_its_actions(void **state) {
    static const struct {
        const char *args[4];
        enum config_action action;
    } rows[] = {{{NULL}, CONFIG_RUN},
                {{"--dump-config"}, CONFIG_DUMP},
                {{"--check-config"}, CONFIG_CHECK},
                {{"-V"}, CONFIG_VERSION},
                {{"--version"}, CONFIG_VERSION},
                {{"-h"}, CONFIG_HELP},
                {{"--help"}, CONFIG_HELP},
                {{"--convert-store", "data=lmdb"}, CONFIG_CONVERT_STORE}};
    struct run roles = {
        .args = {"--roles", "admin", "worker,log-server", "--production", "--metadata-store-address=http://n1:5122"}};
    const struct config *c;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run r = {0};

        memcpy(r.args, rows[i].args, sizeof rows[i].args);
        start(&r);
        assert_int_equal(r.status, 0);
        assert_int_equal(r.result.action, rows[i].action);
        if (rows[i].action == CONFIG_CONVERT_STORE) {
            assert_string_equal(r.result.convert_store, "data");
            assert_string_equal(r.result.convert_plugin, "lmdb");
        }
        done(&r);
    }
    c = ok(&roles);
    assert_int_equal(c->roles, CFG_ROLE_ADMIN | CFG_ROLE_WORKER | CFG_ROLE_LOG_SERVER | CFG_ROLE_HTTP_INGRESS);
    assert_false(c->auto_provision);
    assert_string_equal(c->metadata_client.addresses.v[0], "http://n1:5122");
    done(&roles);
}

static void a_dump_loads_to_the_same_dump(void **state) {
    static const char *const rows[] = {
        "",
        "node-name: \"0123\"\nlocation: eu.a\nstorage: {plugin: lmdb, options: {map-size: 1GiB}, log: {dir: \"/x "
        "y\"}}\n",
        "transport: {tls: {options: {cert-file: /a, list: [1, {b: c}]}}}\ningress: {transport: {tls: {plugin: other}}, "
        "bind-address: [\"tcp://1.2.3.4:1\", \"tls://h:2\"]}\n"
        "worker: {invoker: {transport: {tls: {options: {ca-file: /b}}}, concurrent-invocations-limit: unlimited, "
        "additional-request-headers: {a: \"b: c\"}}}\n",
        "network-error-retry-policy: {type: none}\nmetadata-client: {addresses: [http://a:1]}\n"
        "default-replication: 2\nmemory-limit: 123456789\nworker: {snapshots: {destination: file:///s, "
        "snapshot-interval: 1h}}\n"
        "max-journal-retention: 3d\nlisten-mode: all\nforce-node-id: 3\nroles: [admin]\n"};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf first = {0}, second = {0};
        struct run a = {.yaml = rows[i]}, b = {0};

        config_put_dump(&first, ok(&a));
        b.yaml = buf_cstr(&first);
        config_put_dump(&second, ok(&b));
        assert_string_equal(b.yaml, buf_cstr(&second));
        assert_string_equal(buf_cstr(&b.warnings), "");
        done(&a);
        done(&b);
    }
}

static void a_dump_shows_no_secret(void **state) {
    struct run r = {.yaml = "worker:\n  snapshots: {destination: s3://b/p, aws-access-key-id: AKIA, "
                            "aws-secret-access-key: hush-1, aws-session-token: hush-2,\n"
                            "    aws-endpoint-url: \"http://me:hush-3@s3:9000\"}\n"
                            "  invoker: {additional-request-headers: {x-api-key: hush-4}}\n"
                            "tracing-headers: {authorization: \"Bearer hush-5\"}\n"
                            "tracing-endpoint: \"otlp+http://hush-6@c:4318/v1/traces?key=hush-7\"\n"
                            "tracing-services-endpoint: \"otlp+http://hush-8:@c:4318/a@b\"\n",
                    .env = {"RESTATE_METADATA_CLIENT__ADDRESSES=[\"tcp://10.0.0.1:5122\"]"}},
               again = {0}, plain = {0};
    _cleanup_buf_ struct buf dump = {0}, second = {0}, defaults = {0};
    static const char *const lines[] = {"aws-access-key-id: AKIA\n",
                                        "aws-secret-access-key: \"***\"\n",
                                        "aws-session-token: \"***\"\n",
                                        "aws-endpoint-url: \"http://me:***@s3:9000\"\n",
                                        "additional-request-headers: {x-api-key: \"***\"}\n",
                                        "tracing-headers: {authorization: \"***\"}\n",
                                        "tracing-endpoint: \"otlp+http://***@c:4318/v1/traces?***\"\n",
                                        "tracing-services-endpoint: \"otlp+http://***@c:4318/a@b\"\n",
                                        "destination: s3://b/p\n",
                                        "addresses: [\"tcp://10.0.0.1:5122\"]\n"};
    const struct config *c = ok(&r);

    config_put_dump(&dump, c);
    assert_null(strstr(buf_cstr(&dump), "hush"));
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (!strstr(buf_cstr(&dump), lines[i]))
            fail_msg("%s is missing in:\n%s", lines[i], buf_cstr(&dump));
    /* the process still has them */
    assert_string_equal(c->worker.snapshots.aws_secret_key, "hush-1");
    assert_string_equal(c->worker.snapshots.aws_session_token, "hush-2");
    assert_string_equal(c->worker.snapshots.aws_endpoint, "http://me:hush-3@s3:9000");
    assert_string_equal(c->invoker.headers.values[0], "hush-4");
    assert_string_equal(c->tracing.headers.values[0], "Bearer hush-5");
    assert_string_equal(c->tracing.endpoint, "otlp+http://hush-6@c:4318/v1/traces?key=hush-7");
    again.yaml = buf_cstr(&dump);
    config_put_dump(&second, ok(&again));
    assert_string_equal(buf_cstr(&dump), buf_cstr(&second));
    config_put_dump(&defaults, ok(&plain)); /* nor has it any by default */
    assert_non_null(strstr(buf_cstr(&defaults), "{x-restate-cluster-name: localcluster}"));
    done(&r);
    done(&again);
    done(&plain);
}

static void log_filters_give_the_level_of_the_server(void **state) {
    static const struct {
        const char *filter;
        int level;
    } rows[] = {{"warn,restate=info", RS_LOG_INFO},
                {"debug", RS_LOG_DEBUG},
                {"restate=trace", RS_LOG_TRACE},
                {"off", 0},
                {"info,restate_bifrost=debug", RS_LOG_INFO},
                {"WARN", RS_LOG_WARN},
                {"", RS_LOG_INFO},
                {"restate=debug,error", RS_LOG_DEBUG}};
    int level;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(config_log_level(rows[i].filter, &level, NULL), 0);
        assert_int_equal(level, rows[i].level);
    }
    assert_int_equal(config_log_level("restate=", &level, NULL), RS_EINVAL);
}

static void every_default_of_the_table_is_valid_and_found_by_its_name(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = cfg_tree_new();
    struct config *c = xnew(struct config);

    for (size_t i = 0; i < n_options; i++) {
        struct err err = {0};

        if (option_default(&options[i], c, t, &err) < 0)
            fail_msg("%s: %s", options[i].path, err.msg);
        if (options[i].path && !strchr(options[i].path, '<') && !strchr(options[i].path, '*'))
            assert_ptr_equal(option_find(options[i].path), &options[i]);
        assert_non_null(options[i].doc);
    }
    free(c);
}

static void help_and_reference_name_every_option(void **state) {
    _cleanup_buf_ struct buf help = {0}, docs = {0};

    config_put_help(&help);
    config_put_docs(&docs);
    for (size_t i = 0; i < n_options; i++) {
        char name[128];

        if (!options[i].path)
            continue;
        (void)snprintf(name, sizeof name, "| `%s`", options[i].path);
        assert_non_null(strstr(buf_cstr(&docs), name));
        (void)snprintf(name, sizeof name, "--%s <", options[i].path);
        assert_int_equal(strstr(buf_cstr(&help), name) != NULL, (options[i].flags & OPT_CLI) != 0);
    }
    assert_non_null(strstr(buf_cstr(&help), "RESTATE_BIND_PORT"));
}

static void the_sample_files_are_valid_and_without_surprises(void **state) {
    static const char *const names[] = {"single-rocksdb", "single-lmdb", "cluster-n1",
                                        "cluster-n2",     "cluster-n3",  "tls"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[400];
        struct run r = {.args = {"-c", path}};

        (void)snprintf(path, sizeof path, "%s/%s.yaml", CONFIGS_DIR, names[i]);
        (void)ok(&r);
        assert_string_equal(buf_cstr(&r.warnings), "");
        done(&r);
    }
}

/* Made anew with: RESTATE_WRITE_DOCS=1 build/tests/unit_config */
static void the_reference_page_is_that_of_the_table(void **state) {
    _cleanup_buf_ struct buf docs = {0}, page = {0};
    FILE *f;

    config_put_docs(&docs);
    if (getenv("RESTATE_WRITE_DOCS")) {
        f = fopen(DOCS_DIR "/configuration.md", "we");
        assert_non_null(f);
        assert_int_equal(fwrite(docs.data, 1, docs.len, f), docs.len);
        assert_int_equal(fclose(f), 0);
    }
    f = fopen(DOCS_DIR "/configuration.md", "re");
    assert_non_null(f);
    page.len = fread(buf_reserve(&page, docs.len + 1), 1, docs.len + 1, f);
    (void)fclose(f);
    assert_true(slice_eq(buf_slice(&docs), buf_slice(&page)));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(defaults_are_those_of_the_reference_page),
    cmocka_unit_test(the_command_line_goes_before_environment_before_file),
    cmocka_unit_test(a_server_runs_from_the_environment_alone),
    cmocka_unit_test(wrong_values_are_refused_with_their_place),
    cmocka_unit_test(harmless_surprises_are_warnings),
    cmocka_unit_test(variables_of_clients_and_proxies_are_not_reported),
    cmocka_unit_test(lists_and_maps_come_from_the_environment_too),
    cmocka_unit_test(stores_inherit_plugin_and_options_of_the_same_plugin_only),
    cmocka_unit_test(another_plugin_from_a_higher_source_drops_the_options_below),
    cmocka_unit_test(transports_belong_to_their_section),
    cmocka_unit_test(listeners_follow_ip_port_mode_and_random_ports),
    cmocka_unit_test(roles_and_ingress_agree),
    cmocka_unit_test(replication_cascades_from_the_default),
    cmocka_unit_test(sizes_are_clamped_to_what_contains_them),
    cmocka_unit_test(the_command_line_knows_its_actions),
    cmocka_unit_test(a_dump_loads_to_the_same_dump),
    cmocka_unit_test(a_dump_shows_no_secret),
    cmocka_unit_test(log_filters_give_the_level_of_the_server),
    cmocka_unit_test(every_default_of_the_table_is_valid_and_found_by_its_name),
    cmocka_unit_test(help_and_reference_name_every_option),
    cmocka_unit_test(the_sample_files_are_valid_and_without_surprises),
    cmocka_unit_test(the_reference_page_is_that_of_the_table),
};
const struct unit_group config_test_group = UNIT_GROUP(tests);
