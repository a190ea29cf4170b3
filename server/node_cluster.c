/* SPDX-License-Identifier: Apache-2.0 */
/* node_cluster.c : this node among others: the fabric, metadata, provisioning, joining, control (spec cluster.md §2.2).
 *
 *     fabric listens -> metadata client and server -> provision, if asked to and nobody knows of a cluster -> join
 *     -> wait for logs and partition table -> node_joined() */
#include "node_internal.h"
#include "base/address.h"
#include "base/logging.h"
#include "loop/loop.h"

#include <stdio.h>
#include <string.h>

#ifndef RESTATE_SERVER_VERSION
#define RESTATE_SERVER_VERSION "0.0.0"
#endif

#define FOUND_WAIT_NS 1000000000u /* for the addresses that may know of the cluster already */
#define FOUND_LOOK_NS 5000000u

/* ---- fabric ---- */

static struct fabric_transport fabric_transport(void *arg, const char *scheme) {
    struct node *n = arg;
    const struct plugin_instance *pi = transports_find(n->plugins.fabric, scheme);

    return pi ? (struct fabric_transport){pi->transport, pi->self, (pi->caps & RS_TRANSPORT_PEER_AUTH) != 0}
              : (struct fabric_transport){0};
}

static int resolve(void *arg, uint32_t id, struct node_id *ret, const char **address) {
    struct node *n = arg;

    return n->meta ? metadata_client_resolve(n->meta, id, ret, address) : RS_ENOENT;
}

static void versions(void *arg, uint32_t ret[N_VERSIONS]) {
    struct node *n = arg;

    if (n->meta)
        metadata_client_versions(n->meta, ret);
}

static void seen(void *arg, struct node_id peer, const uint32_t v[N_VERSIONS]) {
    struct node *n = arg;

    (void)peer;
    if (n->meta)
        metadata_client_seen(n->meta, v);
}

static void preempted(void *arg, struct node_id newer) {
    struct node *n = arg;
    struct err err;

    (void)err_set(&err, RS_EPERM, "generation %u of this node was started elsewhere", newer.generation);
    node_fail(n, "this process was replaced", &err);
}

static void lost(void *arg, struct node_id id) {
    struct node *n = arg;

    if (n->metadata_server)
        metadata_server_gone(n->metadata_server, id.id);
}

static void gone(void *arg, struct node_id peer) {
    struct node *n = arg;

    if (n->control)
        control_gone(n->control, peer);
}

static void derive_address(struct node *n) {
    const struct cfg_listen *l = &n->config->fabric;
    const char *host;
    struct address a;
    char bound[600];

    if (l->advertised) {
        (void)snprintf(n->fabric_address, sizeof n->fabric_address, "%s", l->advertised);
        return;
    }
    if (fabric_uri(n->fabric, 0, bound, sizeof bound) < 0 || address_parse(bound, &a, NULL) < 0)
        return;
    host = l->advertised_host ? l->advertised_host : a.host;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        host = "127.0.0.1";
    if (strcmp(a.scheme, "unix") == 0)
        (void)snprintf(n->fabric_address, sizeof n->fabric_address, "%s", bound);
    else
        (void)snprintf(n->fabric_address, sizeof n->fabric_address, "%s://%s:%u/",
                       strcmp(a.scheme, "tls") == 0 ? "https" : "http", host, a.port);
}

static int listen_fabric(struct node *n, struct err *err) {
    const struct cfg_listen *l = &n->config->fabric;
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->bind.n; i++) {
        struct fabric_transport t;
        struct address a;
        char uri[640];

        r = address_parse(l->bind.v[i], &a, err);
        if (r < 0)
            break;
        t = fabric_transport(n, a.scheme);
        if (!t.ops)
            return err_set(err, RS_EUNSUPPORTED, "bind-address: no transport serves the scheme '%s' of '%s'", a.scheme,
                           l->bind.v[i]);
        r = fabric_listen(n->fabric, t, address_uri(&a, uri, sizeof uri), err);
        if (r < 0 && l->mode == LISTEN_ALL && i > 0 && strncmp(l->bind.v[i], "unix:", 5) == 0) {
            LOG_WARN_ERR(err, "no unix socket", F_STR("api", "fabric"));
            r = 0;
        } else if (r < 0) {
            return err_wrap(err, r, "fabric: cannot listen on %s", l->bind.v[i]);
        }
    }
    return r;
}

static int open_fabric(struct node *n, struct err *err) {
    const struct config *c = n->config;
    const char **peers = xcalloc(c->networking.allowed_peers.n + 1, sizeof *peers);
    struct fabric_params p = {.loop = n->loop,
                              .cluster_name = c->cluster_name,
                              .fingerprint = n->marker.fingerprint,
                              .allowed_peers = peers,
                              .connect_timeout_ns = c->networking.connect_timeout_ns,
                              .handshake_timeout_ns = c->networking.handshake_timeout_ns,
                              .ping_interval_ns = c->networking.keep_alive_interval_ns,
                              .ping_timeout_ns = c->networking.keep_alive_timeout_ns,
                              .transport = fabric_transport,
                              .resolve = resolve,
                              .versions = versions,
                              .seen = seen,
                              .preempted = preempted,
                              .gone = gone,
                              .arg = n};
    int r;

    for (size_t i = 0; i < c->networking.allowed_peers.n; i++)
        peers[i] = c->networking.allowed_peers.v[i];
    n->fabric = fabric_new(&p);
    free(peers);
    r = listen_fabric(n, err);
    if (r == 0)
        derive_address(n);
    return r;
}

/* ---- metadata ---- */

static void metadata_changed(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct node *n = arg;

    metadata_client_changed(n->meta, key, version, value);
}

static void metadata_led(void *arg, uint32_t leader) {
    struct node *n = arg;

    metadata_client_led(n->meta, leader);
}

static const char *member_address(void *arg, uint32_t id) {
    struct node_id ignored;
    const char *text;

    return resolve(arg, id, &ignored, &text) < 0 ? NULL : text;
}

static uint32_t member_ids(void *arg, uint32_t *ret, uint32_t max) {
    struct node *n = arg;

    return metadata_client_members(n->meta, ret, max);
}

/* A node that was taken out of the group stays a standby, also after a restart. */
static bool may_join_metadata(void *arg) {
    const struct node *n = arg;
    const struct nodes_config *c = metadata_client_nodes(n->meta);
    const struct node_entry *e = c ? nodes_config_find(c, n->self.id) : NULL;

    return e && !e->tombstone && e->metadata_state != METADATA_STANDBY;
}

static int open_metadata(struct node *n, struct err *err) {
    const struct config *c = n->config;
    struct metadata_client_params cp = {.loop = n->loop,
                                        .fabric = n->fabric,
                                        .cluster_name = c->cluster_name,
                                        .addresses = c->metadata_client.addresses.v,
                                        .n_addresses = c->metadata_client.addresses.n,
                                        .has_server = (c->roles & CFG_ROLE_METADATA_SERVER) != 0};
    struct metadata_server_params sp = {.loop = n->loop,
                                        .store = n->meta_store.store,
                                        .fabric = n->fabric,
                                        .cluster_name = c->cluster_name,
                                        .node_name = c->node_name,
                                        .node_id = n->marker.node_id,
                                        .first_id = c->force_node_id == CFG_UNSET ? 0 : (uint32_t)c->force_node_id,
                                        .auto_join = c->metadata_server.auto_join,
                                        .tick_ns = c->metadata_server.tick_ns,
                                        .election_ticks = (unsigned)c->metadata_server.election_tick,
                                        .heartbeat_ticks = (unsigned)c->metadata_server.heartbeat_tick,
                                        .snapshot_entries = c->metadata_server.log_trim_threshold,
                                        .changed = metadata_changed,
                                        .led = metadata_led,
                                        .address = member_address,
                                        .members = member_ids,
                                        .may_join = may_join_metadata,
                                        .arg = n};

    n->meta = metadata_client_open(&cp);
    return cp.has_server ? metadata_server_open(&sp, &n->metadata_server, err) : 0;
}

/* ---- joining ---- */

static void enter(struct node *n) {
    if (n->entered || n->stopping || !meta_version(n->meta, META_KEY_LOGS) ||
        !meta_version(n->meta, META_KEY_PARTITIONS))
        return;
    n->entered = true;
    node_joined(n);
}

static void on_metadata(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct node *n = arg;

    (void)version;
    (void)value;
    if (strcmp(key, META_KEY_LOGS) == 0 || strcmp(key, META_KEY_PARTITIONS) == 0)
        enter(n);
}

static void on_joined(void *arg, int status, const struct join_result *res, const struct err *err) {
    struct node *n = arg;
    struct err e = {0};
    int r;

    if (n->stopping)
        return;
    if (status < 0) {
        node_fail(n, "cannot join the cluster", err);
        return;
    }
    n->self = res->self;
    n->storage_state = res->storage_state;
    n->marker.fingerprint = res->fingerprint;
    n->marker.node_id = res->self.id;
    n->marker.provisioned = true;
    r = node_marker_store(n->config->node_dir, &n->marker, &e);
    if (r < 0) {
        node_fail(n, "cannot write the marker of the directory", &e);
        return;
    }
    fabric_set_self(n->fabric, n->self, res->fingerprint);
    metadata_client_set_self(n->meta, n->self, res->fingerprint);
    if (n->metadata_server)
        metadata_server_joined(n->metadata_server, n->self.id, res->fingerprint);
    LOG_INFO("joined the cluster", F_STR("cluster", n->config->cluster_name), F_U64("node_id", n->self.id),
             F_U64("generation", n->self.generation));
    n->entering = n->entering2 = (struct meta_watch){.changed = on_metadata, .arg = n};
    meta_watch(n->meta, &n->entering, META_KEY_LOGS);
    meta_watch(n->meta, &n->entering2, META_KEY_PARTITIONS);
    enter(n);
}

static void join(struct node *n) {
    const struct config *c = n->config;
    struct join_params p = {.cluster_name = c->cluster_name,
                            .node_name = c->node_name,
                            .address = n->fabric_address,
                            .location = c->location,
                            .binary_version = RESTATE_SERVER_VERSION,
                            .roles = c->roles,
                            .force_node_id = c->force_node_id == CFG_UNSET ? 0 : (uint32_t)c->force_node_id,
                            .fingerprint = n->marker.fingerprint,
                            .node_id = n->marker.node_id,
                            .metadata_auto_join = c->metadata_server.auto_join};

    cluster_join(n->meta, &p, loop_now_ns(n->loop) + c->initialization_timeout_ns, on_joined, n);
}

static void on_provisioned(void *arg, int status, bool newly, const struct err *err) {
    struct node *n = arg;

    if (n->stopping)
        return;
    if (status < 0) {
        node_fail(n, "cannot provision the cluster", err);
        return;
    }
    if (newly)
        LOG_INFO("provisioned a new cluster", F_STR("cluster", n->config->cluster_name),
                 F_U64("partitions", n->config->default_num_partitions));
    join(n);
}

static void replication_text(const struct cfg_replication *r, char text[32], const char *otherwise) {
    if (r->copies && !r->all)
        (void)snprintf(text, 32, "{node: %u}", r->copies);
    else
        (void)snprintf(text, 32, "%s", otherwise);
}

static void provision_params(const struct node *n, char logs[32], char partitions[32], struct provision_params *ret) {
    const struct config *c = n->config;

    replication_text(&c->log_replication, logs, "1");
    replication_text(&c->partition_replication, partitions, "everywhere");
    *ret = (struct provision_params){.cluster_name = c->cluster_name,
                                     .num_partitions = (uint32_t)c->default_num_partitions,
                                     .log_replication = logs,
                                     .partition_replication = partitions};
}

static void provision(struct node *n) {
    char logs[32], partitions[32];
    struct provision_params p;

    provision_params(n, logs, partitions, &p);
    cluster_provision(n->meta, &p, on_provisioned, n);
}

/* A node that lost its disk may be the one that founds the cluster: the others know of it, and it joins. */
static void found_or_join(void *arg) {
    struct node *n = arg;

    if (n->stopping)
        return;
    if (metadata_client_nodes(n->meta))
        join(n);
    else if (metadata_client_asked(n->meta) || loop_now_ns(n->loop) >= n->found_by_ns)
        provision(n);
    else
        timer_set(n->loop, &n->founding, FOUND_LOOK_NS);
}

/* ---- what tools ask ---- */

static const char *metadata_status(const struct node *n) {
    static const char *const names[] = {"Awaiting provisioning", "Standby", "Member"};
    struct metadata_server_status st;

    if (!n->metadata_server)
        return "";
    metadata_server_status(n->metadata_server, &st);
    return names[st.state];
}

static const char *role_status(const struct node *n, unsigned role, bool open) {
    return !(n->config->roles & role) ? "" : n->stopping ? "Stopping" : open ? "Ready" : "Starting";
}

static void facts(void *arg, struct node_facts *ret) {
    struct node *n = arg;

    *ret = (struct node_facts){.status = n->stopping  ? NODE_SHUTTING_DOWN
                                         : n->serving ? NODE_ALIVE
                                                      : NODE_STARTING,
                               .self = n->self,
                               .fingerprint = n->marker.fingerprint,
                               .uptime_ms = (loop_now_ns(n->loop) - n->started_ns) / 1000000,
                               .roles = n->config->roles,
                               .cluster_name = n->config->cluster_name,
                               .node_name = n->config->node_name,
                               .address = n->fabric_address,
                               .version = RESTATE_SERVER_VERSION,
                               .storage = n->config->storage.plugin[STORE_DATA].name,
                               .transport = strncmp(n->fabric_address, "https:", 6) == 0  ? "tls"
                                            : strncmp(n->fabric_address, "unix:", 5) == 0 ? "unix"
                                                                                          : "tcp",
                               .metadata_server = metadata_status(n),
                               .log_server = n->log_server && log_server_failsafe(n->log_server)
                                                 ? "Failsafe"
                                                 : role_status(n, CFG_ROLE_LOG_SERVER, n->log_server != NULL),
                               .worker = role_status(n, CFG_ROLE_WORKER, n->worker != NULL),
                               .admin = role_status(n, CFG_ROLE_ADMIN, n->admin != NULL)};
    provision_params(n, n->log_replication, n->partition_replication, &ret->provision);
    versions(n, ret->versions);
}

static void open_node_ctl(struct node *n) {
    struct node_ctl_params p = {.loop = n->loop,
                                .fabric = n->fabric,
                                .meta = n->meta,
                                .may_provision = n->metadata_server != NULL,
                                .facts = facts,
                                .arg = n};

    n->node_ctl = node_ctl_open(&p);
    n->metadata_proxy = metadata_proxy_open(n->loop, n->fabric, n->meta);
}

void node_enter_cluster(struct node *n) {
    struct err err = {0};
    int r = open_fabric(n, &err);

    if (r == 0)
        r = open_metadata(n, &err);
    if (r == 0)
        open_node_ctl(n);
    if (r < 0) {
        node_fail(n, "cannot start", &err);
        return;
    }
    timer_init(&n->founding, found_or_join, n);
    n->found_by_ns = loop_now_ns(n->loop) + FOUND_WAIT_NS;
    if (n->config->auto_provision && !n->marker.provisioned && n->metadata_server)
        found_or_join(n);
    else
        join(n);
}

/* ---- control ---- */

static const struct nodes_config *nodes(void *arg) {
    struct node *n = arg;

    return metadata_client_nodes(n->meta);
}

/* How many nodes run partitions: a lone one does not wait to be told. */
bool node_has_peers(const struct node *n) {
    const struct nodes_config *c = metadata_client_nodes(n->meta);
    unsigned workers = 0;

    for (size_t i = 0; c && i < c->n_nodes; i++)
        workers += !c->nodes[i].tombstone && (c->nodes[i].roles & ROLE_WORKER);
    return workers > 1;
}

static void on_worker_active(void *arg, int status, uint32_t version, const struct err *err) {
    (void)arg;
    (void)version;
    if (status < 0 && status != RS_EPERM)
        LOG_WARN_ERR(err, "the worker state was not written");
}

static bool log_server_may_answer(void *arg, uint32_t id) {
    return control_may_answer(arg, id);
}

void node_open_control(struct node *n) {
    const struct config *c = n->config;
    struct control_params p = {.loop = n->loop,
                               .fabric = n->fabric,
                               .meta = n->meta,
                               .worker = n->worker,
                               .nodes = nodes,
                               .lost = lost,
                               .arg = n,
                               .self = n->self,
                               .tick_ns = c->gossip.tick_ns,
                               .replace_delay_ns = c->replica_replace_delay_ns,
                               .fd = {.failure_threshold = (uint32_t)c->gossip.failure_threshold,
                                      .suspect_ticks = (uint32_t)(c->gossip.suspect_interval_ns / c->gossip.tick_ns),
                                      .lonely_ticks = (uint32_t)c->gossip.loneliness_threshold,
                                      .good_ticks = (uint32_t)c->gossip.fd_stability_threshold,
                                      .skew_ms = c->gossip.time_skew_ns / 1000000},
                               .gossip_peers = (unsigned)c->gossip.num_peers};

    struct cluster_ctrl_params cp = {
        .loop = n->loop, .fabric = n->fabric, .meta = n->meta, .log_node = n->log_node, .worker = n->worker};

    n->control = control_open(&p);
    log_node_set_alive(n->log_node, log_server_may_answer, n->control);
    cp.control = n->control;
    n->cluster_ctrl = cluster_ctrl_open(&cp);
    if (c->roles & CFG_ROLE_WORKER)
        cluster_set_worker_active(n->meta, n->self, on_worker_active, n);
}
