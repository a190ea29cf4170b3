/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_cluster.h"

#include <stdio.h>

#include "base/address.h"
#include "base/buf.h"
#include "invoker/invoker.h"
#include "meta/nodes_config.h"
#include "meta/partition_table.h"
#include "storage/store.h"

/* ---- the machine ---- */

enum { MILLION = 1000000 };

static uint64_t scaled(uint64_t ns, int64_t by, int64_t of, int64_t more) {
    return (uint64_t)(((__int128)ns * by + more) / of);
}

/* Its clocks: the world's, drifting. */
static uint64_t env_mono(void *arg) {
    const struct host *h = arg;

    return scaled(h->cluster->now_ns, MILLION + h->drift_ppm, MILLION, 0);
}
static uint64_t env_wall(void *arg) {
    return SIM_WALL_NS + env_mono(arg) + (uint64_t)((struct host *)arg)->skew_ns;
}
static void env_random(void *arg, void *buf, size_t len) {
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)(rng_next(&((struct host *)arg)->cluster->w.rng) >> 56);
}

void host_init(struct host *h, struct cluster *c, unsigned id) {
    *h = (struct host){.cluster = c, .id = id, .net = &c->net.hosts[id], .disk = sim_disk_new(rng_next(&c->w.rng))};
    h->env = (struct loop_env){env_mono, env_wall, env_random, h};
    h->skew_ns = (int64_t)rng_below(&c->w.rng, 400000000) - 200000000;
    h->drift_ppm = (int64_t)rng_below(&c->w.rng, 4001) - 2000;
    (void)snprintf(h->name, sizeof h->name, "n%u", id);
    (void)snprintf(h->uri, sizeof h->uri, "tcp://n%u:5122", id);
    (void)snprintf(h->address, sizeof h->address, "http://n%u:5122/", id);
}

/* Never too early: its own clock shows at least that time then. */
uint64_t host_next_ns(const struct host *h) {
    uint64_t t = loop_next_ns(h->loop);

    return t == UINT64_MAX ? t : scaled(t, MILLION, MILLION + h->drift_ppm, MILLION + h->drift_ppm - 1);
}

void host_crash(struct host *h, bool power) {
    struct cluster *c = h->cluster;

    world_trace(&c->w, "%s %s", h->name,
                power           ? "loses power"
                : h->failure[0] ? h->failure
                : h->end_ns     ? "has ended"
                                : "is killed");
    if (h->node && h->node->worker)
        clients_forget(&c->clients, h->node->worker);
    net_crash(h->net, power);
    /* what a killed process wrote is in the kernel's cache; the simulator treats that as lost, too: stricter */
    sim_disk_crash(h->disk);
    h->loop = NULL;
    h->node = NULL;
    h->paused_ns = h->end_ns = 0;
    h->failure[0] = '\0';
}

/* As node_fail(): the process says why and ends. The world restarts it. */
static void fail(struct sim_node *n, const char *what, const struct err *err) {
    if (!n->host->failure[0])
        (void)snprintf(n->host->failure, sizeof n->host->failure, "ends: %s: %s", what, err ? err->msg : "");
}

bool host_serves(const struct host *h) {
    uint32_t version;
    struct bytes *value;

    return h->loop && !h->node->stopping && h->node->worker && h->paused_ns <= h->cluster->now_ns &&
           meta_get(h->node->meta, META_KEY_SCHEMA, &version, &value) == 0;
}

/* ---- stores ---- */

static void on_poisoned(void *arg, const struct err *why) {
    fail(arg, "a store failed for good", why);
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
    struct host *h = n->host;
    bool cached_read = rng_chance(&h->cluster->w.rng, 700); /* another engine: it cannot tell what is cached */
    struct store_params p = {.loop = h->loop,
                             .writer = sim_exec_init(&h->execs[writer], &h->cluster->w, true),
                             .pool = &h->execs[EXEC_POOL].exec,
                             .ops = &sim_storage_ops,
                             .self = h->disk,
                             .caps = cached_read ? SIM_STORAGE_CAPS : 0,
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
        violated(&h->cluster->w, "%s: cannot open store %s: %s", h->name, name, err.msg);
    return s;
}

/* ---- fabric ---- */

static struct fabric_transport transport(void *arg, const char *scheme) {
    struct sim_node *n = arg;
    struct http_transport t = net_transport(n->host->net);

    return strcmp(scheme, "tcp") == 0 ? (struct fabric_transport){t.ops, t.self, false} : (struct fabric_transport){0};
}

static int resolve(void *arg, uint32_t id, struct node_id *ret, const char **address) {
    struct sim_node *n = arg;

    return n->meta ? metadata_client_resolve(n->meta, id, ret, address) : RS_ENOENT;
}

static void versions(void *arg, uint32_t ret[N_VERSIONS]) {
    struct sim_node *n = arg;

    if (n->meta)
        metadata_client_versions(n->meta, ret);
}

static void seen(void *arg, struct node_id peer, const uint32_t v[N_VERSIONS]) {
    struct sim_node *n = arg;

    if (n->meta)
        metadata_client_seen(n->meta, v);
}

static void preempted(void *arg, struct node_id newer) {
    struct sim_node *n = arg;

    violated(&n->host->cluster->w, "%s was told of generation %u, which nobody started", n->host->name,
             newer.generation);
}

static void lost(void *arg, struct node_id id) {
    struct sim_node *n = arg;

    if (n->metadata_server)
        metadata_server_gone(n->metadata_server, id.id);
}

static void gone(void *arg, struct node_id peer) {
    struct sim_node *n = arg;

    if (n->control)
        control_gone(n->control, peer);
}

static int open_fabric(struct sim_node *n, struct err *err) {
    struct fabric_params p = {.loop = n->host->loop,
                              .cluster_name = "sim",
                              .fingerprint = n->host->fingerprint,
                              .transport = transport,
                              .resolve = resolve,
                              .versions = versions,
                              .seen = seen,
                              .preempted = preempted,
                              .gone = gone,
                              .arg = n};

    n->fabric = fabric_new(&p);
    return fabric_listen(n->fabric, transport(n, "tcp"), n->host->uri, err);
}

/* ---- metadata ---- */

static void metadata_changed(void *arg, const char *key, uint32_t version, struct bytes *value) {
    metadata_client_changed(((struct sim_node *)arg)->meta, key, version, value);
}

static void metadata_led(void *arg, uint32_t leader) {
    metadata_client_led(((struct sim_node *)arg)->meta, leader);
}

static const char *member_address(void *arg, uint32_t id) {
    struct node_id ignored;
    const char *text;

    return resolve(arg, id, &ignored, &text) < 0 ? NULL : text;
}

static uint32_t member_ids(void *arg, uint32_t *ret, uint32_t max) {
    return metadata_client_members(((struct sim_node *)arg)->meta, ret, max);
}

static bool may_join(void *arg) {
    const struct sim_node *n = arg;
    const struct nodes_config *c = metadata_client_nodes(n->meta);
    const struct node_entry *e = c ? nodes_config_find(c, n->self.id) : NULL;

    return e && !e->tombstone && e->metadata_state != METADATA_STANDBY;
}

static int open_metadata(struct sim_node *n, struct err *err) {
    const struct cluster *c = n->host->cluster;
    const char *addresses[MAX_NODES];
    struct metadata_client_params cp = {.loop = n->host->loop,
                                        .fabric = n->fabric,
                                        .cluster_name = "sim",
                                        .addresses = addresses,
                                        .n_addresses = c->n,
                                        .has_server = true};
    struct metadata_server_params sp = {.loop = n->host->loop,
                                        .store = n->meta_store,
                                        .fabric = n->fabric,
                                        .cluster_name = "sim",
                                        .node_name = n->host->name,
                                        .node_id = n->host->node_id,
                                        .first_id = n->host->id,
                                        .auto_join = true,
                                        .snapshot_entries = 40,
                                        .changed = metadata_changed,
                                        .led = metadata_led,
                                        .address = member_address,
                                        .members = member_ids,
                                        .may_join = may_join,
                                        .arg = n};

    for (unsigned i = 0; i < c->n; i++)
        addresses[i] = c->hosts[i].address;
    n->meta = metadata_client_open(&cp);
    return metadata_server_open(&sp, &n->metadata_server, err);
}

/* ---- serving ---- */

static const struct nodes_config *nodes(void *arg) {
    return metadata_client_nodes(((struct sim_node *)arg)->meta);
}

static void on_roles(void *arg) {
    struct sim_node *n = arg;

    if (n->control)
        control_news(n->control);
}

static void on_applied(void *arg, uint32_t partition, lsn_t lsn, const struct record_view *record) {
    struct sim_node *n = arg;
    struct cluster *c = n->host->cluster;

    seen_record(c->w.seen, record);
    check_record(c, n->host, partition, lsn, record);
}

static int open_worker(struct sim_node *n, struct err *err) {
    struct host *h = n->host;
    struct invoker_params ip = {.loop = h->loop,
                                .http = net_transport(h->net),
                                .concurrency = 100,
                                .message_limit_bytes = 1 << 20,
                                .eager_state_limit_bytes = 1 << 20,
                                .memory_bytes = 16 << 20,
                                .invocation_memory_bytes = 4 << 20,
                                .initial_bytes = 64 << 10,
                                .connect_timeout_ns = 1000000000};
    struct worker_params wp = {.loop = h->loop,
                               .meta = n->meta,
                               .log_node = n->log_node,
                               .self = n->self,
                               .stores = &n->data,
                               .n_stores = 1,
                               .pool = &h->execs[EXEC_POOL].exec,
                               .fabric = n->fabric,
                               .wait_for_placement = true,
                               /* no repository: what a replica lacks it gets from another one */
                               .snapshots = {.exec = &h->execs[EXEC_SNAPSHOTS].exec, .tmp_dir = "/tmp"},
                               .schema_defaults = sim_schema_defaults,
                               .settings = {.version = "0.1.0",
                                            .cleanup_interval_ns = 3000000000,
                                            .trim_delay_ns = 500000000,
                                            .durability = DURABILITY_DEFAULT},
                               .changed = on_roles,
                               .applied = on_applied,
                               .arg = n};
    struct partition_table *table;
    struct bytes *value;
    uint32_t version;
    int r = meta_get(n->meta, META_KEY_PARTITIONS, &version, &value);

    if (r == 0)
        r = partition_table_parse(bytes_slice(value), &table, err);
    if (r < 0)
        return r;
    wp.partitions = table;
    n->invoker = invoker_new(&ip);
    wp.invoker = n->invoker;
    r = worker_open(&wp, &n->worker, err);
    (void)partition_table_free(table);
    return r;
}

static void on_worker_active(void *arg, int status, uint32_t version, const struct err *err) {}

static bool may_answer(void *arg, uint32_t id) {
    return control_may_answer(arg, id);
}

static void open_control(struct sim_node *n) {
    struct control_params p = {.loop = n->host->loop,
                               .fabric = n->fabric,
                               .meta = n->meta,
                               .worker = n->worker,
                               .nodes = nodes,
                               .lost = lost,
                               .arg = n,
                               .self = n->self,
                               .replace_delay_ns = n->host->cluster->replace_delay_ns};
    struct cluster_ctrl_params cp = {
        .loop = n->host->loop, .fabric = n->fabric, .meta = n->meta, .log_node = n->log_node, .worker = n->worker};

    n->control = control_open(&p);
    cp.control = n->control;
    n->cluster_ctrl = cluster_ctrl_open(&cp);
    log_node_set_alive(n->log_node, may_answer, n->control);
    cluster_set_worker_active(n->meta, n->self, on_worker_active, n);
}

static void serve(struct sim_node *n) {
    struct log_node_params lp = {.loop = n->host->loop, .meta = n->meta, .server = n->log_server, .self = n->self};
    struct err err = {0};
    int r;

    n->log_fabric = log_fabric_new(n->fabric, n->host->loop, n->log_server);
    lp.peers = log_fabric_peers(n->log_fabric);
    r = log_node_open(&lp, &n->log_node, &err);
    if (r == 0)
        r = open_worker(n, &err);
    if (r == 0)
        open_control(n);
    else
        violated(&n->host->cluster->w, "%s cannot serve: %s", n->host->name, err.msg);
}

/* ---- joining ---- */

static void on_storage_state(void *arg, int status, uint32_t version, const struct err *err) {
    if (((struct sim_node *)arg)->stopping)
        return;
    if (status < 0)
        fail(arg, "cannot register the log-server", err);
    else
        serve(arg);
}

static void on_log_marked(void *arg, int status, const struct err *err) {
    struct sim_node *n = arg;

    if (n->stopping)
        return;
    if (status < 0)
        fail(n, "cannot open the log", err);
    else
        cluster_set_storage_state(n->meta, n->self, STORAGE_PROVISIONING, STORAGE_READ_WRITE, on_storage_state, n);
}

static void enter(struct sim_node *n) {
    struct log_server_params lp = {
        .loop = n->host->loop, .store = n->log_store, .pool = &n->host->execs[EXEC_POOL].exec};
    struct err err = {0};

    if (n->entered || n->stopping || !meta_version(n->meta, META_KEY_LOGS) ||
        !meta_version(n->meta, META_KEY_PARTITIONS))
        return;
    n->entered = true;
    if (n->storage_state == STORAGE_DATA_LOSS) { /* it must not answer: an empty one would be believed */
        serve(n);
        return;
    }
    lp.node_id = n->self.id;
    lp.expect_marker = n->storage_state == STORAGE_READ_WRITE || n->storage_state == STORAGE_READ_ONLY;
    if (log_server_open(&lp, &n->log_server, &err) < 0) {
        if (n->host->lost_disk)
            fail(n, "cannot open the log", &err);
        else
            violated(&n->host->cluster->w, "%s: cannot open the log-server: %s", n->host->name, err.msg);
    } else if (n->storage_state == STORAGE_PROVISIONING)
        log_server_flush(n->log_server, on_log_marked, n);
    else
        serve(n);
}

static void on_metadata(void *arg, const char *key, uint32_t version, struct bytes *value) {
    if (strcmp(key, META_KEY_LOGS) == 0 || strcmp(key, META_KEY_PARTITIONS) == 0)
        enter(arg);
}

static void on_joined(void *arg, int status, const struct join_result *res, const struct err *err) {
    struct sim_node *n = arg;
    struct host *h = n->host;

    if (n->stopping)
        return;
    if (status < 0) {
        fail(n, "cannot join the cluster", err);
        return;
    }
    n->self = res->self;
    n->storage_state = res->storage_state;
    if (h->fingerprint && h->fingerprint != res->fingerprint)
        violated(&h->cluster->w, "%s joined a cluster of another fingerprint", h->name);
    h->fingerprint = res->fingerprint;
    h->node_id = res->self.id;
    fabric_set_self(n->fabric, n->self, res->fingerprint);
    metadata_client_set_self(n->meta, n->self, res->fingerprint);
    metadata_server_joined(n->metadata_server, n->self.id, res->fingerprint);
    world_trace(&h->cluster->w, "%s joined as %u:%u", h->name, n->self.id, n->self.generation);
    n->entering = n->entering2 = (struct meta_watch){.changed = on_metadata, .arg = n};
    meta_watch(n->meta, &n->entering, META_KEY_LOGS);
    meta_watch(n->meta, &n->entering2, META_KEY_PARTITIONS);
    enter(n);
}

static void join(struct sim_node *n) {
    const struct host *h = n->host;
    struct join_params p = {.cluster_name = "sim",
                            .node_name = h->name,
                            .address = h->address,
                            .binary_version = "0.1.0",
                            .roles = ROLE_ALL,
                            .force_node_id = h->id,
                            .fingerprint = h->fingerprint,
                            .node_id = h->node_id,
                            .metadata_auto_join = true};

    cluster_join(n->meta, &p, loop_now_ns(h->loop) + 60000000000, on_joined, n);
}

static void on_provisioned(void *arg, int status, bool newly, const struct err *err) {
    if (((struct sim_node *)arg)->stopping)
        return;
    if (status < 0)
        fail(arg, "cannot provision the cluster", err);
    else
        join(arg);
}

static void provision(struct sim_node *n) {
    char copies[16], replicas[16];
    struct provision_params p = {
        .cluster_name = "sim", .num_partitions = CLUSTER_PARTITIONS, .log_replication = copies};

    (void)snprintf(replicas, sizeof replicas, "{node: %u}", n->host->cluster->replicas);
    if (n->host->cluster->replicas)
        p.partition_replication = replicas;
    (void)snprintf(copies, sizeof copies, "{node: %u}", n->host->cluster->copies);
    cluster_provision(n->meta, &p, on_provisioned, n);
}

void host_boot(struct host *h) {
    struct world *w = &h->cluster->w;
    struct sim_node *n = xnew(struct sim_node);
    struct err err = {0};

    world_trace(w, "%s starts", h->name);
    h->restart_ns = 0;
    h->loop = loop_new_driven(&h->env);
    h->node = n;
    n->host = h;
    net_boot(h->net, h->loop);
    sim_disk_cold(h->disk, w->healed ? 0 : w->faults.cold * 1000);
    (void)sim_exec_init(&h->execs[EXEC_POOL], w, false);
    (void)sim_exec_init(&h->execs[EXEC_SNAPSHOTS], w, false);
    n->log_store = open_store(n, "log", EXEC_LOG, RS_STORE_SYNC);
    n->meta_store = open_store(n, "meta", EXEC_META, RS_STORE_SYNC);
    n->data = open_store(n, "data-0", EXEC_DATA, RS_STORE_RELAXED);
    if (open_fabric(n, &err) < 0 || open_metadata(n, &err) < 0)
        violated(w, "%s cannot start: %s", h->name, err.msg);
    else if (h->id == 1 && !h->node_id && !h->lost_disk) /* afterwards the operator switched auto-provision off */
        provision(n);
    else
        join(n);
}
