/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_single.h"

#include "invoker/invoker.h"
#include "meta/cluster.h"
#include "meta/meta.h"
#include "meta/partition_table.h"
#include "storage/store.h"

static void on_poisoned(void *arg, const struct err *why) {
    struct sim_node *n = arg;

    violated(&n->single->w, "a store was poisoned without a fault: %s", why->msg);
}

static void on_durable(void *arg) {
    struct sim_node *n = arg;

    if (n->worker)
        worker_store_durable(n->worker, n->data);
}

static void on_writable(void *arg) {
    struct sim_node *n = arg;

    if (n->worker)
        worker_store_writable(n->worker, n->data);
}

static struct store *open_store(struct sim_node *n, const char *name, unsigned writer, uint32_t durability) {
    struct store_params p = {.loop = n->single->net->loop,
                             .writer = sim_exec_init(&n->single->writers[writer], &n->single->w, true),
                             .pool = &n->single->pool.exec,
                             .ops = &sim_storage_ops,
                             .self = n->single->disk,
                             .caps = SIM_STORAGE_CAPS,
                             .dir = name,
                             .name = name,
                             .durability = durability,
                             .write_out_bytes = 4096,
                             .sync_bytes = 32768,
                             .sync_ns = 400000000,
                             .overlay_limit_bytes = 8 << 20,
                             .poisoned = on_poisoned,
                             .durable = on_durable,
                             .writable = on_writable,
                             .arg = n};
    struct store *s = NULL;
    struct err err = {0};

    if (store_open(&p, &s, &err) < 0)
        violated(&n->single->w, "cannot open store %s: %s", name, err.msg);
    return s;
}

/* ---- registering the service: once, then it is in the metadata ---- */

static void on_registered(void *arg, int status, uint32_t version, const struct err *err) {
    struct sim_node *n = arg;

    if (status < 0)
        violated(&n->single->w, "the schema was not written: %s", err ? err->msg : "");
    n->registered = true;
}

static void register_service(struct sim_node *n) {
    uint32_t version;
    struct bytes *value;
    char *text;

    if (meta_get(n->meta, META_KEY_SCHEMA, &version, &value) == 0) {
        n->registered = true;
        return;
    }
    text = sim_schema();
    meta_cas(n->meta, META_KEY_SCHEMA, 0, slice_str(text), 0, on_registered, n);
    free(text);
}

/* ---- starting, as node.c does ---- */

static void on_applied(void *arg, uint32_t partition, lsn_t lsn, const struct record_view *record) {
    seen_record(((struct sim_node *)arg)->single->w.seen, record);
}

static void open_worker(struct sim_node *n) {
    struct single *s = n->single;
    struct invoker_params ip = {.loop = s->net->loop,
                                .http = fake_transport(s->net),
                                .concurrency = 100,
                                .message_limit_bytes = 1 << 20,
                                .eager_state_limit_bytes = 1 << 20,
                                .memory_bytes = 16 << 20,
                                .invocation_memory_bytes = 4 << 20,
                                .initial_bytes = 64 << 10,
                                .connect_timeout_ns = 1000000000};
    struct worker_params wp = {
        .loop = s->net->loop,
        .meta = n->meta,
        .log_node = n->log_node,
        .self = n->self,
        .stores = &n->data,
        .n_stores = 1,
        .schema_defaults = sim_schema_defaults,
        .applied = on_applied,
        .arg = n,
        .settings = {.version = "0.1.0", .cleanup_interval_ns = 3000000000, .trim_delay_ns = 500000000}};
    struct partition_table *table;
    struct bytes *value;
    uint32_t version;
    struct err err = {0};

    if (meta_get(n->meta, META_KEY_PARTITIONS, &version, &value) < 0 ||
        partition_table_parse(bytes_slice(value), &table, &err) < 0) {
        violated(&s->w, "no partition table: %s", err.msg);
        return;
    }
    wp.partitions = table;
    n->invoker = invoker_new(&ip);
    wp.invoker = n->invoker;
    if (worker_open(&wp, &n->worker, &err) < 0)
        violated(&s->w, "cannot open the worker: %s", err.msg);
    (void)partition_table_free(table);
    register_service(n);
}

static void serve(struct sim_node *n) {
    struct log_node_params lp = {
        .loop = n->single->net->loop, .meta = n->meta, .server = n->log_server, .self = n->self};
    struct err err = {0};

    if (log_node_open(&lp, &n->log_node, &err) < 0)
        violated(&n->single->w, "cannot open the log: %s", err.msg);
    else
        open_worker(n);
}

static void on_storage_state(void *arg, int status, uint32_t version, const struct err *err) {
    struct sim_node *n = arg;

    if (status < 0)
        violated(&n->single->w, "cannot register the log-server: %s", err->msg);
    else
        serve(n);
}

static void on_log_marked(void *arg, int status, const struct err *err) {
    struct sim_node *n = arg;

    cluster_set_storage_state(n->meta, n->self, STORAGE_PROVISIONING, STORAGE_READ_WRITE, on_storage_state, n);
}

static void on_joined(void *arg, int status, const struct join_result *res, const struct err *err) {
    struct sim_node *n = arg;
    struct log_server_params lp = {.loop = n->single->net->loop, .store = n->log_store, .pool = &n->single->pool.exec};
    struct err e = {0};

    if (status < 0) {
        violated(&n->single->w, "cannot join: %s", err->msg);
        return;
    }
    n->self = res->self;
    lp.node_id = n->self.id;
    lp.expect_marker = res->storage_state == STORAGE_READ_WRITE;
    if (log_server_open(&lp, &n->log_server, &e) < 0)
        violated(&n->single->w, "cannot open the log-server: %s", e.msg);
    else if (res->storage_state == STORAGE_PROVISIONING)
        log_server_flush(n->log_server, on_log_marked, n);
    else
        serve(n);
}

static void join(struct sim_node *n) {
    struct join_params p = {.cluster_name = "sim",
                            .node_name = "n1",
                            .address = "http://n1:5122/",
                            .binary_version = "0.1.0",
                            .roles = ROLE_ALL,
                            .metadata_auto_join = true};

    cluster_join(n->meta, &p, 0, on_joined, n);
}

static void on_provisioned(void *arg, int status, bool newly, const struct err *err) {
    struct sim_node *n = arg;

    if (status < 0)
        violated(&n->single->w, "cannot provision: %s", err->msg);
    else
        join(n);
}

struct sim_node *sim_node_start(struct single *s) {
    struct sim_node *n = xnew(struct sim_node);
    struct provision_params p = {.cluster_name = "sim", .num_partitions = SIM_PARTITIONS, .log_replication = "1"};
    struct err err = {0};

    n->single = s;
    (void)sim_exec_init(&s->pool, &s->w, false);
    n->log_store = open_store(n, "log", 0, RS_STORE_SYNC);
    n->meta_store = open_store(n, "meta", 1, RS_STORE_SYNC);
    n->data = open_store(n, "data-0", 2, RS_STORE_RELAXED);
    if (meta_single_open(s->net->loop, n->meta_store, &n->meta, &err) < 0)
        violated(&s->w, "cannot open the metadata: %s", err.msg);
    else
        cluster_provision(n->meta, &p, on_provisioned, n); /* writes only what is missing */
    return n;
}
