/* SPDX-License-Identifier: Apache-2.0 */
#include "node_internal.h"
#include "base/logging.h"
#include "base/text.h"
#include "loop/loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef RESTATE_SERVER_VERSION
#define RESTATE_SERVER_VERSION "0.0.0"
#endif
#define POOL_THREADS 2
#define QUERY_THREADS 2
#define SNAPSHOT_THREADS 2
/* What the admin API reports: clients choose their behaviour by the upstream version whose API this is. */
#define API_VERSION "1.7.12"

void node_fail(struct node *n, const char *what, const struct err *err) {
    if (!n->failed) {
        n->failed = true;
        n->failure = *err;
        (void)err_wrap(&n->failure, err->code, "%s", what);
    }
    node_stop(n);
}

const struct err *node_failure(const struct node *n) {
    return n->failed ? &n->failure : NULL;
}

/* ---- stores ---- */

static void on_poisoned(void *arg, const struct err *why) {
    struct node_store *s = arg;

    /* a node alone in its cluster has nobody to take over: it stops instead of limping (design §8) */
    node_fail(s->node, "a store failed for good", why);
}

static void on_store_durable(void *arg) {
    struct node_store *s = arg;

    if (s->node->worker)
        worker_store_durable(s->node->worker, s->store);
}

static void on_store_writable(void *arg) {
    struct node_store *s = arg;

    if (s->node->worker)
        worker_store_writable(s->node->worker, s->store);
}

static void open_run(struct job *j) { /* on the store's writer thread */
    struct node_store *s = CONTAINER_OF(j, struct node_store, opening);
    char kept[sizeof s->dir + 80];

    /* a conversion keeps the old store under its plugin's name until the marker names the new one */
    (void)snprintf(kept, sizeof kept, "%s.%s", s->dir, s->plugin);
    if (access(kept, F_OK) == 0)
        s->status =
            err_set(&s->err, RS_EPERM, "a conversion of %s was cut short: run --convert-store once more", s->dir);
    else
        s->status = store_open(&s->params, &s->store, &s->err);
}

static void stores_are_open(struct node *n);

static void open_done(struct job *j) {
    struct node_store *s = CONTAINER_OF(j, struct node_store, opening);
    struct node *n = s->node;

    if (s->status < 0 && !n->failed) {
        n->failed = true;
        n->failure = s->err;
    }
    if (--n->opening == 0)
        stores_are_open(n);
}

/* Stores open at the same time, each on its own thread: what they wait for is the disk. */
static void open_store(struct node *n, struct node_store *s, enum cfg_profile_store kind, const char *name) {
    const struct plugin_instance *pi = n->plugins.store[kind];
    const struct config *c = n->config;

    s->node = n;
    s->plugin = c->storage.plugin[kind].name;
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    (void)snprintf(s->dir, sizeof s->dir, "%s/%s", c->storage.dir[kind] ? c->storage.dir[kind] : c->node_dir, name);
    s->writer = kind == STORE_DATA ? exec_new_background(s->name, 1) : exec_new_threads(s->name, 1);
    s->params = (struct store_params){
        .loop = n->loop,
        .writer = s->writer,
        .pool = n->pool,
        .ops = pi->storage,
        .self = pi->self,
        .caps = pi->caps,
        .dir = s->dir,
        .name = s->name,
        .durability = kind == STORE_DATA ? RS_STORE_RELAXED : RS_STORE_SYNC,
        .write_out_bytes = c->storage.write_out_bytes == CFG_UNSET ? 0 : c->storage.write_out_bytes,
        .write_out_ns = c->storage.write_out_interval_ns == CFG_UNSET ? 0 : c->storage.write_out_interval_ns,
        .sync_bytes = c->storage.sync_bytes == CFG_UNSET ? 0 : c->storage.sync_bytes,
        .sync_ns = c->storage.sync_interval_ns,
        .overlay_limit_bytes = c->memory_limit_bytes * 15 / 100 / n->n_data,
        .poisoned = on_poisoned,
        .durable = on_store_durable,
        .writable = on_store_writable,
        .arg = s,
    };
    s->opening = (struct job){.run = open_run, .done = open_done};
    n->opening++;
    exec_submit(s->writer, n->loop, &s->opening);
}

static void open_stores(struct node *n) {
    char name[16];

    open_store(n, &n->log_store, STORE_LOG, "log");
    open_store(n, &n->meta_store, STORE_META, "meta");
    for (unsigned i = 0; i < n->n_data; i++) {
        (void)snprintf(name, sizeof name, "data-%u", i);
        open_store(n, &n->data[i], STORE_DATA, name);
    }
}

/* ---- opening ---- */

static struct object_store_params repository_of(const struct config *c) {
    return (struct object_store_params){.url = c->worker.snapshots.destination,
                                        .region = c->worker.snapshots.aws_region,
                                        .endpoint = c->worker.snapshots.aws_endpoint,
                                        .access_key = c->worker.snapshots.aws_access_key,
                                        .secret_key = c->worker.snapshots.aws_secret_key,
                                        .session_token = c->worker.snapshots.aws_session_token,
                                        .allow_http = c->worker.snapshots.aws_allow_http};
}

static int check_supported(const struct config *c, struct err *err) {
    const unsigned mode = c->worker.durability;
    struct object_store_params p = repository_of(c);

    if (!p.url && mode != DURABILITY_DEFAULT && mode != DURABILITY_NONE && mode != DURABILITY_REPLICA_SET_ONLY)
        return err_set(err, RS_EINVAL, "worker.durability-mode: this one needs worker.snapshots.destination");
    if (p.url && object_store_check(&p, err) < 0)
        return err_wrap(err, err->code, "worker.snapshots.destination");
    if (!(c->roles & CFG_ROLE_METADATA_SERVER) && c->metadata_client.addresses.n == 0)
        return err_set(err, RS_EINVAL, "metadata-client.addresses: a node without the role metadata-server needs them");
    return 0;
}

static int load_plugins(struct node *n, struct err *err) {
    struct host_params hp = {.pool = n->pool, .loop = n->loop};
    int r;

    n->host = host_new(&hp);
    n->registry = plugin_registry_new(n->host, n->config->plugins_dir);
    r = plugin_set_use(n->registry, n->config, &n->plugins, err);
    return r;
}

static int open_directory(struct node *n, struct err *err) {
    const struct config *c = n->config;
    char log_plugin[64], meta_plugin[64], data_plugin[64], cluster[256], name[256],
        version[32] = RESTATE_SERVER_VERSION;
    struct node_marker want = {.cluster_name = cluster,
                               .node_name = name,
                               .data_stores = (uint32_t)c->storage.data_stores,
                               .log_plugin = log_plugin,
                               .meta_plugin = meta_plugin,
                               .data_plugin = data_plugin,
                               .current_version = version,
                               .max_version = version,
                               .min_version = version};
    int r;

    (void)snprintf(cluster, sizeof cluster, "%s", c->cluster_name);
    (void)snprintf(name, sizeof name, "%s", c->node_name);
    (void)snprintf(log_plugin, sizeof log_plugin, "%s", c->storage.plugin[STORE_LOG].name);
    (void)snprintf(meta_plugin, sizeof meta_plugin, "%s", c->storage.plugin[STORE_META].name);
    (void)snprintf(data_plugin, sizeof data_plugin, "%s", c->storage.plugin[STORE_DATA].name);
    r = node_marker_start(c->node_dir, &want, &n->marker, &n->lock_fd, err);
    if (r == 0)
        n->n_data = n->marker.data_stores ? MIN(n->marker.data_stores, (uint32_t)NODE_MAX_DATA_STORES) : 1;
    return r;
}

/* The key that signs requests to deployments, if one is configured. */
static int load_identity(struct node *n, struct err *err) {
    const char *path = n->config->invoker.identity_key;
    uint64_t expiration_s = n->config->invoker.identity_expiration_ns / 1000000000;
    char pem[16384];
    size_t len;
    FILE *f;
    int r;

    if (!path)
        return 0;
    f = fopen(path, "re");
    if (!f)
        return err_errno(err, "worker.invoker.request-identity-private-key-pem-file: %s", path);
    len = fread(pem, 1, sizeof pem, f);
    (void)fclose(f);
    r = request_identity_new(slice_of(pem, len), expiration_s ? expiration_s : 1, &n->identity, err);
    explicit_bzero(pem, sizeof pem);
    if (r < 0)
        return err_wrap(err, r, "worker.invoker.request-identity-private-key-pem-file: %s", path);
    LOG_INFO("requests to deployments are signed", F_STR("key", request_identity_key(n->identity)));
    return 0;
}

static int request_headers(struct node *n, struct err *err) {
    const struct cfg_pairs *p = &n->config->invoker.headers;

    if (p->n > ARRAY_SIZE(n->request_headers))
        return err_set(err, RS_EINVAL, "worker.invoker.additional-request-headers: at most %u headers",
                       LIMIT_REQUEST_HEADERS);
    for (size_t i = 0; i < p->n; i++) {
        char *name = xstrdup(p->names[i]);
        struct http_header *h = &n->request_headers[n->n_request_headers++];

        for (char *c = name; *c; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
        *h = (struct http_header){slice_str(name), slice_str(p->values[i])};
        if (!http_header_valid(h))
            return err_set(err, RS_EINVAL, "worker.invoker.additional-request-headers: '%s' is no HTTP header", name);
    }
    return 0;
}

/* Traces go out by a thread of their own, which runs only when they are asked for. */
static int open_tracer(struct node *n, struct err *err) {
    const struct config *c = n->config;
    bool services = c->tracing.services_endpoint != NULL;
    struct trace_http_params hp = {.endpoint = services ? c->tracing.services_endpoint : c->tracing.endpoint,
                                   .n_headers = c->tracing.headers.n,
                                   .names = c->tracing.headers.names,
                                   .values = c->tracing.headers.values};
    struct tracer_params tp = {.loop = n->loop, .resource = n->trace_resource, .n_resource = 4};
    int r;

    if (!hp.endpoint || !*hp.endpoint)
        return 0;
    r = trace_http_new(&hp, &tp.sender, err);
    if (r < 0)
        return err_wrap(err, r, "%s", services ? "tracing-services-endpoint" : "tracing-endpoint");
    n->trace_resource[0] = (struct otlp_attribute){"service.name", SLICE_LIT("restate")};
    n->trace_resource[1] = (struct otlp_attribute){"service.instance.id", slice_str(c->node_name)};
    n->trace_resource[2] = (struct otlp_attribute){"service.namespace", slice_str(c->cluster_name)};
    n->trace_resource[3] = (struct otlp_attribute){"service.version", SLICE_LIT(RESTATE_SERVER_VERSION)};
    tp.exec = n->trace_sender = exec_new_threads("tracing", 1);
    n->tracer = tracer_new(&tp);
    return 0;
}

int node_open(const struct config *config, struct loop *loop, struct node **ret, struct err *err) {
    struct node *n = xnew(struct node);
    int r = check_supported(config, err);

    n->config = config;
    n->loop = loop;
    n->lock_fd = -1;
    n->started_ns = loop_mono_ns(loop);
    n->pool = exec_new_threads("pool", POOL_THREADS);
    if (r == 0)
        r = load_plugins(n, err);
    if (r == 0)
        r = load_identity(n, err);
    if (r == 0)
        r = request_headers(n, err);
    if (r == 0)
        r = open_tracer(n, err);
    if (r == 0)
        r = open_directory(n, err);
    if (r == 0)
        r = plugin_registry_init(n->registry, err);
    if (r < 0)
        n = node_free(n);
    else
        *ret = n;
    return r;
}

int node_check(const struct config *config, struct loop *loop, struct err *err) {
    struct node *n = xnew(struct node);
    int r = check_supported(config, err);

    n->config = config;
    n->loop = loop;
    n->lock_fd = -1;
    n->pool = exec_new_threads("pool", 1);
    if (r == 0)
        r = load_plugins(n, err);
    if (r == 0)
        r = load_identity(n, err);
    if (r == 0)
        r = request_headers(n, err);
    if (r == 0)
        r = open_tracer(n, err);
    (void)node_free(n);
    return r;
}

/* ---- starting: provision, join, log, worker, listeners ---- */

static struct http_transport transport_of(const struct transports *t, const char *scheme) {
    const struct plugin_instance *pi = transports_find(t, scheme);

    return pi ? (struct http_transport){pi->transport, pi->self} : (struct http_transport){0};
}

static int listen_one(struct node *n, struct http_server *server, const struct transports *t, const char *text,
                      const char *what, struct err *err) {
    struct address a;
    char uri[640], bound[300];
    struct http_transport ht;
    int r = address_parse(text, &a, err), i;

    if (r < 0)
        return r;
    ht = transport_of(t, a.scheme);
    if (!ht.ops)
        return err_set(err, RS_EUNSUPPORTED, "%s: no transport serves the scheme '%s' of '%s'", what, a.scheme, text);
    i = http_server_listen(server, ht, address_uri(&a, uri, sizeof uri), NULL, err);
    if (i < 0)
        return err_wrap(err, i, "%s: cannot listen on %s", what, text);
    if (http_server_uri(server, i, bound, sizeof bound) == 0)
        LOG_INFO("listening", F_STR("api", what), F_STR("address", bound));
    (void)n;
    return 0;
}

/* The configuration has put addresses and sockets of the listen mode into one list. */
static int listen_all(struct node *n, struct http_server *server, const struct transports *t,
                      const struct cfg_listen *l, const char *what, struct err *err) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->bind.n; i++) {
        r = listen_one(n, server, t, l->bind.v[i], what, err);
        if (r < 0 && l->mode == LISTEN_ALL && i > 0 && strncmp(l->bind.v[i], "unix:", 5) == 0) {
            LOG_WARN_ERR(err, "no unix socket", F_STR("api", what)); /* its path may be too long: TCP serves */
            r = 0;
        }
    }
    return r;
}

static void advertised_ingress(struct node *n) {
    const struct cfg_listen *l = &n->config->ingress.listen;
    struct address a;
    struct err err;
    char host[256];

    if (l->advertised) {
        size_t len = strlen(l->advertised);

        (void)snprintf(n->ingress_address, sizeof n->ingress_address, "%s%s", l->advertised,
                       len && l->advertised[len - 1] == '/' ? "" : "/");
        return;
    }
    if (l->bind.n == 0 || address_parse(l->bind.v[0], &a, &err) < 0)
        return;
    (void)snprintf(host, sizeof host, "%s", l->advertised_host ? l->advertised_host : a.host);
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        (void)snprintf(host, sizeof host, "127.0.0.1");
    (void)snprintf(n->ingress_address, sizeof n->ingress_address, "%s://%s:%u/",
                   strcmp(a.scheme, "tls") == 0 ? "https" : "http", host, a.port);
}

static void on_ready(void *arg, bool all_lead) {
    struct node *n = arg;
    uint64_t ms = (loop_mono_ns(n->loop) - n->started_ns) / 1000000;

    if (all_lead)
        LOG_INFO("all partitions of this node lead or follow", F_U64("since_start_ms", ms));
    else
        LOG_WARN("not all partitions of this node lead or follow yet");
}

static void on_roles(void *arg) {
    struct node *n = arg;

    if (n->control)
        control_news(n->control);
}

static uint64_t given(uint64_t v) {
    return v == CFG_UNSET ? 0 : v;
}

static int open_repository(struct node *n, struct err *err) {
    const struct config *c = n->config;
    struct repository_params p = {.store = repository_of(c),
                                  .cluster_name = c->cluster_name,
                                  .node_name = c->node_name,
                                  .fingerprint = n->marker.fingerprint,
                                  .retained = (unsigned)c->worker.snapshots.num_retained};
    int r;

    n->snapshot_pool = exec_new_threads("snapshot", SNAPSHOT_THREADS);
    if (!p.store.url || !(c->roles & CFG_ROLE_WORKER))
        return 0;
    p.store.stop = &n->snapshots_stop;
    r = repository_open(&p, &n->repository, err);
    return r < 0 ? err_wrap(err, r, "worker.snapshots.destination") : 0;
}

static unsigned limit_of(uint64_t v) {
    return v == CFG_UNLIMITED || v > UINT32_MAX ? 0 : (unsigned)v;
}

static struct schema_defaults schema_defaults(const struct config *c) {
    return (struct schema_defaults){
        .journal_retention_ms = c->journal_retention_ns / 1000000,
        .idempotency_retention_ms = c->idempotency_retention_ns / 1000000,
        .workflow_retention_ms = c->workflow_retention_ns / 1000000,
        .inactivity_timeout_ms = c->invoker.inactivity_timeout_ns / 1000000,
        .abort_timeout_ms = c->invoker.abort_timeout_ns / 1000000,
        .retry = {.initial_ms = c->retry.initial_interval_ns / 1000000,
                  .max_ms = c->retry.max_interval_ns / 1000000,
                  .factor = c->retry.factor,
                  .max_attempts = c->retry.max_attempts == CFG_UNLIMITED ? 0 : (uint32_t)c->retry.max_attempts,
                  .kill = c->retry.on_max_attempts == ON_MAX_KILL},
        .bounded = true,
        .max_journal_retention_ms = c->max_journal_retention_ns / 1000000,
        .max_idempotency_retention_ms = c->max_idempotency_retention_ns / 1000000,
        .max_workflow_retention_ms = c->max_workflow_retention_ns / 1000000,
        .max_attempts = limit_of(c->max_retry_attempts)};
}

static int open_worker(struct node *n, struct err *err) {
    const struct config *c = n->config;
    struct partition_table *table = NULL;
    struct invoker_params ip = {
        .loop = n->loop,
        .http = transport_of(n->plugins.invoker, "tcp"),
        .https = transport_of(n->plugins.invoker, "tls"),
        .headers = n->request_headers,
        .n_headers = n->n_request_headers,
        .concurrency = limit_of(c->invoker.concurrent_limit) ? limit_of(c->invoker.concurrent_limit) : UINT32_MAX,
        .message_limit_bytes = c->invoker.message_size_limit,
        .message_warning_bytes = c->invoker.message_size_warning,
        .eager_state_limit_bytes = c->invoker.eager_state_limit,
        .memory_bytes = c->invoker.memory_limit,
        .invocation_memory_bytes = c->invoker.per_invocation_limit,
        .initial_bytes = c->invoker.initial_memory,
        .connect_timeout_ns = c->invoker.connect_timeout_ns,
        .streams_per_connection = (unsigned)c->invoker.streams_per_connection,
        .idle_timeout_ns = c->invoker.idle_connection_timeout_ns,
        .ping_interval_ns = c->invoker.keep_alive_interval_ns,
        .ping_timeout_ns = c->invoker.keep_alive_timeout_ns,
        .protocol_v7 = c->experimental.protocol_v7,
        .scopes = c->experimental.scopes,
        .identity = n->identity,
        .tracer = n->tracer};
    struct worker_params wp = {.loop = n->loop,
                               .meta = n->meta,
                               .log_node = n->log_node,
                               .self = n->self,
                               .stores = n->data_stores,
                               .n_stores = n->n_data,
                               .proposal_limit_bytes =
                                   MIN(c->memory_limit_bytes / 10, (uint64_t)LIMIT_PROPOSAL_QUEUE_BYTES),
                               .schema_defaults = schema_defaults(c),
                               .settings = {.version = RESTATE_SERVER_VERSION,
                                            .cleanup_interval_ns = c->worker.cleanup_interval_ns,
                                            .trim_delay_ns = c->worker.trim_delay_ns,
                                            .stall_timeout_ns = c->worker.stall_timeout_ns,
                                            .durability = (enum worker_durability)c->worker.durability},
                               .ready = on_ready,
                               .changed = on_roles,
                               .arg = n};
    struct bytes *value;
    uint32_t version;
    int r = meta_get(n->meta, META_KEY_PARTITIONS, &version, &value);

    if (r < 0)
        return err_set(err, r, "the partition table is missing");
    r = partition_table_parse(bytes_slice(value), &table, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < n->n_data; i++)
        n->data_stores[i] = n->data[i].store;
    r = open_repository(n, err);
    if (r < 0) {
        (void)partition_table_free(table);
        return r;
    }
    wp.snapshots = (struct worker_snapshots_params){.exec = n->snapshot_pool,
                                                    .repository = n->repository,
                                                    .tmp_dir = c->node_dir,
                                                    .interval_ns = given(c->worker.snapshots.interval_ns),
                                                    .interval_records = given(c->worker.snapshots.interval_records)};
    wp.partitions = table;
    wp.pool = n->pool;
    wp.fabric = n->fabric;
    wp.ingress_only = !(c->roles & CFG_ROLE_WORKER);
    wp.wait_for_placement = node_has_peers(n);
    n->invoker = invoker_new(&ip);
    wp.invoker = n->invoker;
    wp.tracer = n->tracer;
    r = worker_open(&wp, &n->worker, err);
    (void)partition_table_free(table);
    return r;
}

static int open_apis(struct node *n, struct err *err) {
    const struct config *c = n->config;
    struct ingress_params ip = {.loop = n->loop,
                                .worker = n->worker,
                                .tracer = n->tracer,
                                .concurrent_limit = limit_of(c->ingress.concurrent_limit),
                                .request_size_limit = c->ingress.request_size_limit,
                                .scopes = c->experimental.scopes,
                                .http2_max_streams = (unsigned)c->ingress.http2_max_streams};
    struct admin_params ap = {.loop = n->loop,
                              .meta = n->meta,
                              .worker = n->worker,
                              .http = transport_of(n->plugins.invoker, "tcp"),
                              .https = transport_of(n->plugins.invoker, "tls"),
                              .cluster_name = c->cluster_name,
                              .headers = n->request_headers,
                              .n_headers = n->n_request_headers,
                              .routing_headers = c->admin.routing_headers.v,
                              .n_routing_headers = c->admin.routing_headers.n,
                              .ingress_address = n->ingress_address,
                              .version = API_VERSION,
                              .concurrent_limit = limit_of(c->admin.concurrent_limit),
                              .request_size_limit = c->networking.message_size_limit,
                              .connect_timeout_ns = c->invoker.connect_timeout_ns,
                              .identity = n->identity};
    int r = 0;

    advertised_ingress(n);
    n->query_pool = exec_new_threads("query", QUERY_THREADS); /* also without the admin role: other nodes ask */
    n->queries = query_engine_new(&(struct query_engine_params){.loop = n->loop,
                                                                .worker = n->worker,
                                                                .exec = n->query_pool,
                                                                .fabric = n->fabric,
                                                                .pool = n->pool,
                                                                .memory_bytes = c->admin.query_memory});
    ap.queries = n->queries;
    if (c->ingress.enabled) {
        n->ingress = ingress_new(&ip);
        r = listen_all(n, ingress_server(n->ingress), n->plugins.ingress, &c->ingress.listen, "ingress", err);
    }
    if (r == 0 && (c->roles & CFG_ROLE_ADMIN)) {
        n->admin = admin_new(&ap);
        r = listen_all(n, admin_server(n->admin), n->plugins.admin, &c->admin.listen, "admin", err);
    }
    return r;
}

static void serve(struct node *n) {
    struct log_node_params lp = {.loop = n->loop,
                                 .meta = n->meta,
                                 .server = n->log_server,
                                 .self = n->self,
                                 .cache_bytes = n->config->log.record_cache_bytes,
                                 .window_records = (uint32_t)n->config->log.max_in_flight};
    struct err err = {0};
    int r;

    if (n->stopping)
        return;
    n->log_fabric = log_fabric_new(n->fabric, n->loop, n->log_server);
    lp.peers = log_fabric_peers(n->log_fabric);
    r = log_node_open(&lp, &n->log_node, &err);
    if (r == 0)
        r = open_worker(n, &err);
    if (r == 0)
        node_open_control(n);
    if (r == 0)
        r = open_apis(n, &err);
    if (r < 0)
        node_fail(n, "cannot start", &err);
    else
        n->serving = true;
}

static void on_storage_state(void *arg, int status, uint32_t version, const struct err *err) {
    struct node *n = arg;

    if (status < 0)
        node_fail(n, "cannot register the log-server", err);
    else
        serve(n);
}

/* The log store's marker is durable: from now on its absence means that data was lost. */
static void on_log_marked(void *arg, int status, const struct err *err) {
    struct node *n = arg;

    if (n->stopping)
        return;
    if (status < 0)
        node_fail(n, "cannot open the log", err);
    else
        cluster_set_storage_state(n->meta, n->self, STORAGE_PROVISIONING, STORAGE_READ_WRITE, on_storage_state, n);
}

/* A log-server that lost its records must not answer: whoever seals a segment would believe an empty one. */
static bool log_server_may_run(const struct node *n) {
    if (!(n->config->roles & CFG_ROLE_LOG_SERVER))
        return false;
    if (n->storage_state != STORAGE_DATA_LOSS && n->storage_state != STORAGE_DISABLED)
        return true;
    LOG_WARN("the log-server does not run in this storage state",
             F_STR("storage_state", storage_state_str(n->storage_state)));
    return false;
}

static void on_data_lost(void *arg, int status, uint32_t version, const struct err *err) {
    struct node *n = arg;

    if (n->stopping)
        return;
    if (status < 0) {
        node_fail(n, "cannot tell the cluster that the log's records are lost", err);
        return;
    }
    n->storage_state = STORAGE_DATA_LOSS;
    (void)log_server_may_run(n); /* says so */
    serve(n);
}

void node_joined(struct node *n) {
    struct log_server_params lp = {.loop = n->loop,
                                   .store = n->log_store.store,
                                   .pool = n->pool,
                                   .cache_bytes = n->config->log.record_cache_bytes};
    struct err e = {0};
    int r;

    if (!log_server_may_run(n)) {
        serve(n);
        return;
    }
    lp.node_id = n->self.id;
    lp.expect_marker = n->storage_state == STORAGE_READ_WRITE || n->storage_state == STORAGE_READ_ONLY;
    r = log_server_open(&lp, &n->log_server, &e);
    if (r == RS_ENOENT && lp.expect_marker) {
        LOG_ERROR_ERR(&e, "the log-server lost its records");
        cluster_set_storage_state(n->meta, n->self, n->storage_state, STORAGE_DATA_LOSS, on_data_lost, n);
        return;
    }
    if (r < 0) {
        node_fail(n, "cannot open the log", &e);
        return;
    }
    if (n->storage_state == STORAGE_PROVISIONING)
        log_server_flush(n->log_server, on_log_marked, n);
    else
        serve(n);
}

static void stores_are_open(struct node *n) {
    if (n->failed || n->stopping)
        node_stop_now(n);
    else
        node_enter_cluster(n);
}

void node_start(struct node *n) {
    open_stores(n);
}
