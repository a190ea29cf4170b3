/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/transports.h : addresses, and which plugin instance serves which scheme. The mapping http -> tcp, https -> tls
 * is made here and nowhere else. */
#pragma once
#include "plugin/plugin.h"

/* Forms: `ip:port`, `host:port`, `[v6]:port`, `unix:/path`, and `tcp://`, `tls://`, `http://`, `https://` before
 * host:port. http and https may leave out the port (80, 443) and may have a path. Others without a port are refused. */
struct address {
    char scheme[16]; /* tcp, tls, unix, or another one a plugin serves */
    char host[256];  /* without brackets; unix: empty */
    uint16_t port;   /* unix: 0 */
    char path[256];  /* unix: of the socket; else what follows the authority, "/" when nothing does */
    bool http;       /* written as http:// or https:// */
};
int address_parse(const char *text, struct address *ret, struct err *err) RS_WARN_UNUSED;
/* address_uri() - what plugins get: "tcp://host:port", "tls://[::1]:5122", "unix:/path". Returns @buf; 600 bytes are
 * always enough. */
const char *address_uri(const struct address *a, char *buf, size_t size);
/* address_authority() - "host:port", or "host" when the port is the default of http(s). */
const char *address_authority(const struct address *a, char *buf, size_t size);

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
