/* SPDX-License-Identifier: Apache-2.0 */
/* node.h : one node of the server: from its configuration to serving calls and back. main.c makes one; so may a test.
 *
 * Start: plugins, node directory (blocking), then from the loop: stores, provision, join, log, partitions, listeners.
 * Stop, on the loop and in the reverse order: listeners drain, leaders stop, stores are synced and closed, plugins
 * stop. */
#pragma once
#include "base/err.h"
#include "config/config.h"

struct loop;
struct node;

/* node_open() - loads plugins, locks the node's directory; blocking. Errors are one sentence that names the place. */
int node_open(const struct config *config, struct loop *loop, struct node **ret, struct err *err) RS_WARN_UNUSED;
/* node_check() - what --check-config does: plugins are loaded, their options checked; nothing is opened. */
int node_check(const struct config *config, struct loop *loop, struct err *err) RS_WARN_UNUSED;
/* node_convert() - what --convert-store does: move @store ("log", "meta", "data") of a stopped node to the storage
 * plugin @plugin. Blocking; runs @loop for a moment at its end. RS_EEXIST: it is there already. */
int node_convert(const struct config *config, struct loop *loop, const char *store, const char *plugin,
                 struct err *err) RS_WARN_UNUSED;
/* node_start() - begin; what goes wrong from here on stops the loop: node_failure() then says why. */
void node_start(struct node *n);
/* node_stop() - begin to stop; the loop is stopped when all is closed. A second call does nothing. */
void node_stop(struct node *n);
/* node_failure() - NULL: stopped because it was asked to. */
const struct err *node_failure(const struct node *n);
struct node *node_free(struct node *n); /* after loop_run() returned */
