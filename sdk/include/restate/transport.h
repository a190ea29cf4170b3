/* SPDX-License-Identifier: Apache-2.0 */
/* restate/transport.h : byte streams, like non-blocking sockets.
 *
 * A transport plugin carries ordered bytes between two ends. It frames nothing and queues nothing: write() takes what
 * the medium takes at once, and the host keeps the rest. The same plugin carries the node fabric, ingress, admin and
 * calls to services.
 *
 * Loops. A listener and a connection each belong to one loop. All ops on them are called on that loop's thread, and all
 * callbacks run there; no op blocks. A callback never runs inside the op that asked for it. Exactly one thing happens
 * on another loop's thread: attach() is called where accepted() runs and hands the connection to the loop it names.
 *
 * Life of a connection:
 *
 *     connect() or attach()  ->  ready  ->  readable / writable, any number  ->  closed
 *                            ->  closed (the connection could not be made)
 *
 * closed() comes exactly once for every connection that connect() or attach() accepted with 0, as its last callback. It
 * comes by itself only when the connection could not be made, or when the plugin is stopped. A stream that breaks after
 * ready() is reported by read() or write(); the host then calls close(), and closed() follows.
 *
 * Errors are RS_E* codes. Strings and structs given to an op are borrowed until it returns, except where said.
 * Changes: 1.0 first version. */
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
    RS_TRANSPORT_PEER_AUTH = 1,  /* rs_peer.identity may be set: the peer proved its name */
    RS_TRANSPORT_ENCRYPTED = 2,  /* nobody on the way can read the bytes */
    RS_TRANSPORT_RELOAD = 4,     /* reload() is there */
    RS_TRANSPORT_LOCAL_ONLY = 8, /* never leaves this machine */
};                               /* caps */

/* How to make connections. NULL in place of the struct means all defaults. */
typedef struct rs_conn_opts {
    uint32_t struct_size, flags;   /* flags: 0 in 1.0 */
    uint64_t connect_timeout_ns;   /* connect(): name look-up and connecting, all addresses together; 0: 10 s */
    uint64_t handshake_timeout_ns; /* both sides: from connected to ready; 0: 10 s. Ends as RS_ETIMEDOUT */
    const char *server_name;       /* connect(): name to ask for and to verify; NULL: the host of the URI */
    const char *const *alpn;       /* protocols, best first, ends with NULL; NULL: no negotiation. A peer that asks for
                                      none of a listener's protocols is refused; one that asks for nothing is taken */
} rs_conn_opts;

/* Callbacks of one connection, all on its loop; all four must be set. The plugin copies the struct. In every callback
 * the host may call any op of the connection, close() too. */
typedef struct rs_conn_events {
    uint32_t struct_size, reserved;

    /* The stream is open in both directions and peer() is valid. Before it read() and write() say RS_EAGAIN. */
    void (*ready)(void *arg, rs_conn *);

    /* read() may have something: bytes, the end, or an error. Comes for the first time after ready(), and again only
     * after read() said RS_EAGAIN. A host that stops reading earlier gets no further call: that is the back pressure.
     * It may go on by calling read() at any time. */
    void (*readable)(void *arg, rs_conn *);

    /* Try write() again. Comes once after write() said RS_EAGAIN or took less than offered. */
    void (*writable)(void *arg, rs_conn *);

    /* The end: once, last, conn is invalid when it returns. status 0: close() was called and nothing had failed.
     * Otherwise the first failure of the connection, with its text in error (never NULL then, lives for the call):
     *   RS_ENOENT     no such host or socket file
     *   RS_ECLOSED    refused, reset, or ended in the middle of the handshake
     *   RS_ETIMEDOUT  connect or handshake timeout
     *   RS_EPERM      a certificate was missing, not trusted, expired or of another name; access denied
     *   RS_ECANCELED  the plugin was stopped
     *   RS_ENOMEM     out of memory, budget or file descriptors
     *   RS_EIO        anything else
     * error->flags has RS_ERR_RETRYABLE where dialling the same URI again later may help. */
    void (*closed)(void *arg, rs_conn *, int status, const rs_error *);
} rs_conn_events;

/* Who is at the other end. Strings end with NUL; empty: unknown. */
typedef struct rs_peer {
    uint32_t struct_size;    /* set by the caller; the plugin fills no more than that */
    uint32_t flags;          /* 0 in 1.0 */
    char address[128];       /* "192.0.2.1:5122", "[2001:db8::1]:5122", "unix:/path" */
    char identity[256];      /* verified name: the server name that was dialled and found in the certificate; else the
                                first DNS name of the verified certificate, else its common name. Empty: not verified */
    char alpn[16];           /* protocol agreed on */
    char security[32];       /* for people: "TLSv1.3 TLS_AES_256_GCM_SHA384" */
    uint8_t cert_sha256[32]; /* of the peer's certificate in DER; zero: none was shown */
} rs_peer;

typedef struct rs_transport_ops {
    uint32_t struct_size, reserved;
    const char *schemes; /* "tcp,unix" or "tls": the URIs it serves, disjoint from those of other plugins */

    /* Listen on uri. Thread: the one of the loop. Port 0 takes a free port, see listener_uri(). opts may be NULL; its
     * strings are copied. accepted(arg, conn) runs on the loop for every new connection and must attach() it before it
     * returns; one that is not attached is closed without any callback. A few connections are accepted per turn; when
     * descriptors or memory run out, accepting pauses for a moment and the queue of the medium holds the rest.
     * A socket file that nobody listens on any more is replaced.
     * Errors: RS_EINVAL not a URI it serves, or no address of this machine (names other than localhost are not looked
     * up); RS_EEXIST in use; RS_EPERM not allowed; RS_EUNSUPPORTED the config lacks what a listener needs (a
     * certificate); RS_ECLOSED the plugin is stopping; RS_ENOMEM; RS_EIO. */
    int (*listen)(void *self, rs_loop *, const char *uri, const rs_conn_opts *, void (*accepted)(void *arg, rs_conn *),
                  void *arg, rs_listener **ret, rs_error *);

    /* The URI as bound, with the real port, ended by NUL; what connect() takes if the address is no wildcard.
     * Thread: the listener's loop. Errors: RS_ETOOBIG len is too small. */
    int (*listener_uri)(rs_listener *, char *buf, size_t len);

    /* Stop listening; removes the socket file. No accepted() after it returns; the handle is invalid. Connections live
     * on. May be called inside accepted(). Thread: the listener's loop. */
    void (*listener_close)(rs_listener *);

    /* Take an accepted connection: its life goes on at the loop, which may be another than the listener's; from the
     * moment of this call its ops belong to that loop's thread. ready() or closed() follows, there. Only inside
     * accepted(), once per connection. Errors (the connection is then closed without any callback): RS_EINVAL;
     * RS_ENOMEM; RS_ECLOSED. */
    int (*attach)(rs_conn *, rs_loop *, const rs_conn_events *, void *arg);

    /* Dial uri. Thread: the one of the loop. Returns at once; ready() or closed() follows. Names are looked up on a
     * pool; addresses are tried in order and share the connect timeout. *ret is valid until closed(). Errors: RS_EINVAL
     * not a URI it serves; RS_EUNSUPPORTED; RS_ECLOSED the plugin is stopping; RS_ENOMEM. Whatever the network says
     * comes by closed(). */
    int (*connect)(void *self, rs_loop *, const char *uri, const rs_conn_opts *, const rs_conn_events *, void *arg,
                   rs_conn **ret, rs_error *);

    /* Take up to len > 0 bytes. Returns their number; 0 at the end of the peer's direction (and ever after); RS_EAGAIN:
     * nothing there, readable() will come; other <0: the stream is broken, RS_ECLOSED when the peer reset or cut it.
     * A short count says nothing about what is left: read until RS_EAGAIN to hear of more. */
    int64_t (*read)(rs_conn *, void *buf, size_t len);

    /* Offer bytes. Returns how many were taken, from the front; less than offered, or RS_EAGAIN for none: writable()
     * will come. 0 only when nothing was offered. Bytes not taken are the host's, who may offer them again from another
     * address, in other parts, followed by more. n > 0; other <0: the stream is broken or shutdown() was called. Taken
     * bytes are on their way, not received. */
    int64_t (*write)(rs_conn *, const struct iovec *iov, int n);

    /* End our direction after the bytes taken so far: the peer reads 0, reading goes on. 0, also when repeated;
     * RS_EAGAIN before ready(); other <0: the stream is broken. */
    int (*shutdown)(rs_conn *);

    /* Fill *ret, after ready() and until closed(). Errors: RS_EAGAIN before ready(); RS_EINVAL struct_size is too
     * small. */
    int (*peer)(rs_conn *, rs_peer *ret);

    /* Figures of the connection: at least "bytes_read" and "bytes_written". each() runs inside the call. */
    int (*stats)(rs_conn *, void (*each)(void *arg, const char *name, uint64_t value), void *arg);

    /* End the connection; closed() follows, posted, and no other callback. abort 0: bytes taken so far are still sent,
     * and an end the peer can tell from a cut; abort 1: drop them and reset. To be sure that the peer got everything,
     * call shutdown() and read to the end first. Cancels a connect() under way. Repeating it does nothing. */
    void (*close)(rs_conn *, int abort);

    /* With RS_TRANSPORT_RELOAD. Take up a changed config: certificates, CAs. Built beside what is in force and swapped
     * only if whole; after an error the old one stays. Connections made earlier keep theirs. Thread: main; may read
     * files. Errors: RS_EINVAL, RS_ENOENT, RS_EPERM, RS_EIO, RS_ENOMEM. */
    int (*reload)(void *self, const rs_node *config, rs_error *);
} rs_transport_ops;

#ifdef __cplusplus
}
#endif

#endif
