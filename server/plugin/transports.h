/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/transports.h : which plugin instance serves which scheme. */
#pragma once
#include "base/address.h"
#include "plugin/plugin.h"

struct transports; /* scheme -> instance; read-only once built, then usable from every loop */
struct transports *transports_new(void);
struct transports *transports_free(struct transports *t);
/* transports_add() - every scheme the instance's ops name; a later one takes over a scheme. RS_EINVAL: @scheme (NULL:
 * any) is not among them. */
int transports_add(struct transports *t, const char *scheme, struct plugin_instance *instance,
                   struct err *err) RS_WARN_UNUSED;
/* transports_find() - who serves @scheme; NULL: nobody. */
struct plugin_instance *transports_find(const struct transports *t, const char *scheme);
/* transports_listen(), transports_connect() - parse @text, find the plugin, call its op with our options. Errors carry
 * the address. */
int transports_listen(const struct transports *t, struct loop *loop, const char *text, const rs_conn_opts *opts,
                      void (*accepted)(void *arg, rs_conn *), void *arg, const rs_transport_ops **ret_ops,
                      rs_listener **ret, struct err *err) RS_WARN_UNUSED;
int transports_connect(const struct transports *t, struct loop *loop, const char *text, const rs_conn_opts *opts,
                       const rs_conn_events *events, void *arg, const rs_transport_ops **ret_ops, rs_conn **ret,
                       struct err *err) RS_WARN_UNUSED;
