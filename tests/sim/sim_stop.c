/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_stop.c : a node is stopped cleanly: leaders hand over, the log is closed, stores are synced, as
 * node_stop.c does; each step waits for the one before it. */
#include "sim_cluster.h"

#include "invoker/invoker.h"
#include "storage/store.h"

enum { PATIENCE_MS = 20000, LAST_WORDS_MS = 50 };
#define MS 1000000ull

/* What connections still have to say arrives before the process is gone. */
static void close_worker(void *arg) {
    struct sim_node *n = arg;

    if (n->worker)
        n->worker = worker_close(n->worker);
    n->fabric = fabric_free(n->fabric);
    n->host->end_ns = n->host->cluster->now_ns + LAST_WORDS_MS * MS;
}

static void close_stores(struct sim_node *n) {
    n->metadata_server = metadata_server_close(n->metadata_server);
    n->meta = meta_free(n->meta);
    n->data = store_close(n->data);
    n->meta_store = store_close(n->meta_store);
    n->log_store = store_close(n->log_store);
}

static void on_log_server_closed(void *arg) {
    struct sim_node *n = arg;

    n->log_server = NULL;
    n->log_fabric = log_fabric_free(n->log_fabric);
    close_stores(n);
    loop_post(n->host->loop, close_worker, n); /* behind everything that still reports to a partition */
}

static void on_invoker_closed(void *arg) {
    struct sim_node *n = arg;

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

static void on_drained(void *arg) {
    struct sim_node *n = arg;

    if (n->invoker)
        invoker_close(n->invoker, on_invoker_closed, n);
    else
        on_invoker_closed(n);
}

void host_stop(struct host *h) {
    struct sim_node *n = h->node;

    if (!h->loop || n->stopping)
        return;
    world_trace(&h->cluster->w, "%s is stopped", h->name);
    n->stopping = true;
    h->end_ns = h->cluster->now_ns + PATIENCE_MS * MS;
    n->cluster_ctrl = cluster_ctrl_close(n->cluster_ctrl);
    if (n->control) {
        control_leave(n->control);
        log_node_set_alive(n->log_node, NULL, NULL);
        n->control = control_close(n->control);
    }
    metadata_server_step_down(n->metadata_server);
    if (n->worker) {
        worker_stop(n->worker);
        worker_drain(n->worker, on_drained, n);
    } else {
        loop_post(h->loop, on_drained, n);
    }
}
