/* SPDX-License-Identifier: Apache-2.0 */
/* transport_tcp.c : tcp://host:port and unix:/path, bytes as they are.
 *
 * Everything is in the helper sources restate/helper/sockets.h; this file is the descriptor. */
#include <restate/helper/sockets.h>
#include <stdlib.h>

static const struct sockets_medium tcp_medium = {
    .scheme = "tcp",
    .unix_too = 1,
    .conn_size = sizeof(struct rs_conn),
    .conn_charge = 1024,
};

static int tcp_check(const rs_host *host, const rs_node *config, rs_error *err) {
    (void)host;
    (void)config;
    (void)err;
    return RS_OK; /* no options, and the schema says so */
}

static int tcp_init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *err) {
    struct sockets *s = malloc(sizeof(*s));

    (void)config;
    if (!s)
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    sockets_init(s, host, &tcp_medium);
    *ret_self = s;
    return RS_OK;
}

static void tcp_fini(void *self) {
    sockets_done(self);
    free(self);
}

static const rs_transport_ops tcp_ops = {
    .struct_size = sizeof(rs_transport_ops),
    .schemes = "tcp,unix",
    .listen = sockets_listen,
    .listener_uri = sockets_listener_uri,
    .listener_close = sockets_listener_close,
    .attach = sockets_attach,
    .connect = sockets_connect,
    .read = sockets_read,
    .write = sockets_write,
    .shutdown = sockets_shutdown,
    .peer = sockets_peer,
    .stats = sockets_stats,
    .close = sockets_close,
};

static const rs_plugin tcp_plugin = {
    .magic = RS_ABI_MAGIC,
    .struct_size = sizeof(rs_plugin),
    .abi_major = RS_ABI_MAJOR,
    .kind = RS_KIND_TRANSPORT,
    .name = "tcp",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .config_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{}}",
    .ops = &tcp_ops,
    .check = tcp_check,
    .init = tcp_init,
    .stop = sockets_stop,
    .fini = tcp_fini,
};

const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    (void)host_minor;
    return host_major == RS_ABI_MAJOR ? &tcp_plugin : NULL;
}
