/* SPDX-License-Identifier: Apache-2.0 */
/* node_stop.c : the way back: listeners, leaders, log, stores, plugins. Each step waits for the one before it. */
#include "node_internal.h"
#include "base/logging.h"
#include "loop/loop.h"

#include <unistd.h>

#define DRAIN_NS 5000000000ull
#define TRACES_NS 2000000000ull /* for what a collector has not taken yet */

static void stopped(void *arg) {
    struct node *n = arg;

    loop_stop(n->loop);
}

static void close_store(struct node_store *s) {
    if (s->store)
        s->store = store_close(s->store);
    s->writer = exec_free(s->writer);
}

static void close_stores(struct node *n) {
    if (n->metadata_server)
        n->metadata_server = metadata_server_close(n->metadata_server);
    if (n->meta)
        n->meta = meta_free(n->meta);
    for (unsigned i = 0; i < n->n_data; i++)
        close_store(&n->data[i]);
    close_store(&n->meta_store);
    close_store(&n->log_store);
}

static void close_plugins(void *arg) {
    struct node *n = arg;

    n->tracer = NULL;
    plugin_registry_stop(n->registry, n->loop, stopped, n);
}

static void close_worker(void *arg) {
    struct node *n = arg;

    if (n->worker)
        n->worker = worker_close(n->worker);
    if (n->fabric)
        n->fabric = fabric_free(n->fabric);
    if (n->tracer)
        tracer_close(n->tracer, TRACES_NS, close_plugins, n);
    else
        close_plugins(n);
}

static void on_log_server_closed(void *arg) {
    struct node *n = arg;

    n->log_server = NULL;
    n->log_fabric = log_fabric_free(n->log_fabric);
    close_stores(n);
    loop_post(n->loop, close_worker, n); /* behind everything that still reports to a partition */
}

static void on_invoker_closed(void *arg) {
    struct node *n = arg;

    n->invoker = NULL;
    if (n->log_node)
        n->log_node = log_node_close(n->log_node);
    if (n->log_fabric)
        log_fabric_stop(n->log_fabric);
    if (n->log_server)
        log_server_close(n->log_server, on_log_server_closed, n);
    else
        on_log_server_closed(n);
}

static void close_invoker(void *arg) {
    struct node *n = arg;

    n->admin = NULL;
    if (n->invoker)
        invoker_close(n->invoker, on_invoker_closed, n);
    else
        on_invoker_closed(n);
}

static void close_admin(void *arg) {
    struct node *n = arg;

    n->queries = NULL;
    if (n->admin)
        admin_close(n->admin, close_invoker, n);
    else
        close_invoker(n);
}

static void on_drained(void *arg) {
    struct node *n = arg;

    if (--n->draining)
        return;
    if (n->ingress)
        n->ingress = ingress_free(n->ingress);
    if (n->queries)
        query_engine_close(n->queries, close_admin, n);
    else
        close_admin(n);
}

void node_stop(struct node *n) {
    if (n->stopping)
        return;
    n->stopping = true;
    LOG_INFO("stopping");
    if (!n->opening) /* else when the last store is open */
        node_stop_now(n);
}

void node_stop_now(struct node *n) {
    n->stopping = true;
    n->draining = 1;
    if (n->found_by_ns)
        timer_stop(n->loop, &n->founding);
    __atomic_store_n(&n->snapshots_stop, true, __ATOMIC_RELAXED);
    if (n->ingress) {
        n->draining++;
        ingress_drain(n->ingress, DRAIN_NS, on_drained, n);
    }
    if (n->queries)
        query_engine_stop(n->queries);
    if (n->admin) {
        n->draining++;
        admin_drain(n->admin, DRAIN_NS, on_drained, n);
    }
    n->cluster_ctrl = cluster_ctrl_close(n->cluster_ctrl);
    n->metadata_proxy = metadata_proxy_close(n->metadata_proxy);
    n->node_ctl = node_ctl_close(n->node_ctl);
    if (n->control) {
        control_leave(n->control);
        log_node_set_alive(n->log_node, NULL, NULL);
        n->control = control_close(n->control);
    }
    if (n->metadata_server)
        metadata_server_step_down(n->metadata_server);
    if (n->worker) /* waiting calls are answered: nothing can finish them here any more */
        worker_stop(n->worker);
    if (n->worker)
        worker_drain(n->worker, on_drained, n);
    else
        loop_post(n->loop, on_drained, n);
}

struct node *node_free(struct node *n) {
    if (!n)
        return NULL;
    close_stores(n); /* when node_open() failed half-way */
    plugin_set_done(&n->plugins);
    n->query_pool = exec_free(n->query_pool);
    n->snapshot_pool = exec_free(n->snapshot_pool);
    n->repository = repository_free(n->repository);
    if (n->tracer) /* it never had anything to send */
        tracer_close(n->tracer, 0, NULL, NULL);
    n->trace_sender = exec_free(n->trace_sender);
    n->pool = exec_free(n->pool); /* its jobs may still use the plugins */
    if (n->registry)
        n->registry = plugin_registry_free(n->registry);
    if (n->host)
        n->host = host_free(n->host);
    node_marker_done(&n->marker);
    n->identity = request_identity_free(n->identity);
    for (size_t i = 0; i < n->n_request_headers; i++)
        free((void *)(uintptr_t)n->request_headers[i].name.data);
    if (n->lock_fd >= 0)
        (void)close(n->lock_fd);
    free(n);
    return NULL;
}
