/* SPDX-License-Identifier: Apache-2.0 */
/* restate/transport.h : byte streams, like non-blocking sockets. */
#ifndef RESTATE_TRANSPORT_H
#define RESTATE_TRANSPORT_H

#include <restate/plugin.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rs_listener rs_listener;
typedef struct rs_conn rs_conn;
enum {
    RS_TRANSPORT_PEER_AUTH = 1,
    RS_TRANSPORT_ENCRYPTED = 2,
    RS_TRANSPORT_RELOAD = 4,
    RS_TRANSPORT_LOCAL_ONLY = 8
}; /* caps */
typedef struct rs_conn_opts {
    uint32_t struct_size, flags;
    uint64_t connect_timeout_ns, handshake_timeout_ns;
    const char *server_name;
    const char *const *alpn;
} rs_conn_opts;
typedef struct rs_conn_events {
    uint32_t struct_size, reserved;
    void (*ready)(void *arg, rs_conn *); /* handshake done, peer() is valid */
    void (*readable)(void *arg,
                     rs_conn *); /* comes again only after read() said RS_EAGAIN; not reading is the back pressure */
    void (*writable)(void *arg, rs_conn *); /* after write() said RS_EAGAIN or took less than offered */
    void (*closed)(void *arg, rs_conn *, int status, const rs_error *); /* once, last; conn invalid after it */
} rs_conn_events;
typedef struct rs_peer {
    uint32_t struct_size, flags;
    char address[128], identity[256], alpn[16], security[32];
    uint8_t cert_sha256[32];
} rs_peer;
typedef struct rs_transport_ops {
    uint32_t struct_size, reserved;
    const char *schemes; /* "tcp,unix" or "tls": the URIs it serves */
    int (*listen)(void *self, rs_loop *, const char *uri, const rs_conn_opts *, void (*accepted)(void *arg, rs_conn *),
                  void *arg, rs_listener **ret, rs_error *);
    int (*listener_uri)(rs_listener *, char *buf, size_t len); /* the bound port, for tests */
    void (*listener_close)(rs_listener *);
    int (*attach)(rs_conn *, rs_loop *, const rs_conn_events *,
                  void *arg); /* only inside accepted(), to any loop; not attached: closed */
    int (*connect)(void *self, rs_loop *, const char *uri, const rs_conn_opts *, const rs_conn_events *, void *arg,
                   rs_conn **ret, rs_error *);
    int64_t (*read)(rs_conn *, void *buf, size_t len);           /* bytes, 0 end of stream, RS_EAGAIN, <0 error */
    int64_t (*write)(rs_conn *, const struct iovec *iov, int n); /* bytes taken, RS_EAGAIN, <0 error */
    int (*shutdown)(rs_conn *);                                  /* end of our direction */
    int (*peer)(rs_conn *, rs_peer *ret);
    int (*stats)(rs_conn *, void (*each)(void *arg, const char *name, uint64_t value), void *arg);
    void (*close)(rs_conn *, int abort); /* closed() follows, posted */
    int (*reload)(void *self, const rs_node *config, rs_error *);
} rs_transport_ops;

#ifdef __cplusplus
}
#endif

#endif
