/* SPDX-License-Identifier: Apache-2.0 */
/* node_internal.h : struct node, shared by node.c (from open to serving) and node_stop.c (back again). */
#pragma once
#include "admin/admin.h"
#include "control/cluster_ctrl.h"
#include "control/control.h"
#include "control/metadata_proxy.h"
#include "control/node_ctl.h"
#include "ingress/ingress.h"
#include "base/limits.h"
#include "http/headers.h"
#include "invoker/identity.h"
#include "invoker/invoker.h"
#include "log/log.h"
#include "log/log_fabric.h"
#include "log/log_server.h"
#include "meta/cluster.h"
#include "meta/meta.h"
#include "meta/metadata_client.h"
#include "meta/metadata_server.h"
#include "meta/node_marker.h"
#include "meta/nodes_config.h"
#include "meta/partition_table.h"
#include "node.h"
#include "plugin/setup.h"
#include "query/query.h"
#include "snapshot/repository.h"
#include "storage/store.h"
#include "tracing/tracer.h"
#include "worker/worker.h"

enum { NODE_MAX_DATA_STORES = 16, NODE_MAX_STORES = NODE_MAX_DATA_STORES + 2 };

struct node_store { /* one store and the thread that opens and writes it */
    struct node *node;
    struct exec *writer;
    struct store *store;
    struct store_params params;
    char name[16], dir[4096];
    const char *plugin; /* by name */
    struct job opening;
    int status;
    struct err err;
};

struct node {
    const struct config *config;
    struct loop *loop;
    struct exec *pool;
    struct exec *snapshot_pool; /* apart from @pool: writes and fetches whole snapshots */
    struct repository *repository;
    bool snapshots_stop; /* atomic: what waits for the repository ends */
    struct host *host;
    struct plugin_registry *registry;
    struct plugin_set plugins;
    struct node_marker marker;
    int lock_fd;

    struct node_store log_store, meta_store, data[NODE_MAX_DATA_STORES];
    unsigned n_data;
    struct store *data_stores[NODE_MAX_DATA_STORES]; /* of @data, as the worker borrows them */
    struct fabric *fabric;
    struct meta *meta;
    struct metadata_server *metadata_server; /* NULL: the role is off */
    struct timer founding;                   /* until it is known whether there is a cluster already */
    uint64_t found_by_ns;                    /* who has not answered until then does not count */
    struct meta_watch entering, entering2;   /* wait for logs and partition table */
    bool entered;
    struct log_fabric *log_fabric;
    struct log_server *log_server;
    struct log_node *log_node;
    struct http_header request_headers[LIMIT_REQUEST_HEADERS]; /* additional ones, of requests to deployments */
    size_t n_request_headers;
    struct request_identity *identity; /* NULL: requests to deployments are not signed */
    struct tracer *tracer;             /* NULL: tracing is off */
    struct exec *trace_sender;         /* its thread */
    struct otlp_attribute trace_resource[4];
    struct invoker *invoker;
    struct worker *worker;
    struct control *control;
    struct node_ctl *node_ctl; /* what restatectl asks */
    struct metadata_proxy *metadata_proxy;
    struct cluster_ctrl *cluster_ctrl;
    struct ingress *ingress;
    struct query_engine *queries;
    struct exec *query_pool; /* apart from @pool: a query may take seconds, cold reads must not wait for it */
    struct admin *admin;
    struct node_id self;
    enum storage_state storage_state;
    uint64_t started_ns;
    char ingress_address[300], fabric_address[640];
    char log_replication[32], partition_replication[32]; /* as provisioning would write them */

    bool stopping, serving;
    unsigned draining;
    unsigned opening; /* stores whose open is under way */
    struct err failure;
    bool failed;
};

/* node_cluster.c */
void node_enter_cluster(struct node *n); /* the stores are open; ends with node_joined() or node_fail() */
void node_joined(struct node *n);        /* node.c: the node has its id, logs and partition table are known */
bool node_has_peers(const struct node *n);
void node_open_control(struct node *n);

void node_stop_now(struct node *n); /* once nothing is being opened any more */
void node_fail(struct node *n, const char *what, const struct err *err);
