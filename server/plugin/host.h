/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/host.h : the services the server lends to plugins (rs_host): loops, pool, clocks, entropy, logging, metrics,
 * memory, configuration nodes. An rs_loop is a struct loop, an rs_node a struct cfg_node, an rs_watch a struct watch;
 * the casts live here.
 *
 * One struct host per process (per node in the simulator); every plugin instance gets an rs_host of its own, so that
 * its log lines and its memory carry its name. */
#pragma once
#include <restate/plugin.h>
#include "config/node.h"
#include "loop/exec.h"
#include "loop/loop.h"

struct host;
struct host_params {
    struct exec *pool;        /* for rs_host.work; borrowed, freed before the host */
    struct loop *loop;        /* control loop: clocks, entropy, and where finished work is accounted */
    uint64_t mem_limit_bytes; /* what mem_charge() of all plugins may sum up to; 0: no limit */
    void (*log)(void *arg, int level, const char *plugin, const char *message, const rs_field *fields,
                size_t n); /* NULL: logging */
    void *log_arg;
};
struct host *host_new(const struct host_params *p);
struct host *host_free(struct host *h); /* after the last fini(); NULL */

/* host_for() - the table for one plugin, valid until host_free(). @name is copied. */
const rs_host *host_for(struct host *h, const char *name);
uint64_t host_mem_bytes(const struct host *h); /* charged now, any thread */
/* host_metrics() - every metric plugins registered, with its sum over instances. Any thread. */
void host_metrics(struct host *h, void (*each)(void *arg, const char *name, const char *help, int type, double value),
                  void *arg);

static inline rs_loop *host_loop(struct loop *l) {
    return (rs_loop *)l;
}
static inline const rs_node *host_node(const struct cfg_node *n) {
    return (const rs_node *)n;
}
