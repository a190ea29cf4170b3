/* SPDX-License-Identifier: Apache-2.0 */
/* restate/helper/sockets.h : the part that every transport over sockets has in common.
 *
 * Helper sources (sdk/helper/sockets*.c) to compile into a transport plugin; not part of the ABI. They implement the
 * whole op table of restate/transport.h over TCP and unix sockets: URIs, listeners, name look-up, dialling, timeouts,
 * readiness and the end of connections. A plugin adds what its medium does with the bytes (nothing for transport-tcp,
 * TLS for transport-tls) as a struct sockets_medium, and puts the functions below into its rs_transport_ops.
 *
 * One epoll watch per connection. Read interest stays on while the host reads to RS_EAGAIN each time, and is dropped
 * only when an event comes that the host did not ask for; write interest is on only after a write found the socket
 * full. */
#ifndef RESTATE_HELPER_SOCKETS_H
#define RESTATE_HELPER_SOCKETS_H

#include <pthread.h>
#include <restate/transport.h>

struct sockets;
struct sockets_dial;

/* rs_conn_opts, copied and with the defaults put in. Shared by a listener and its connections; immutable. */
struct sockets_opts {
    unsigned refs; /* atomic */
    uint64_t connect_timeout_ns, handshake_timeout_ns;
    size_t alpn_len;                  /* 0: no negotiation */
    unsigned char *alpn;              /* in the form of the TLS extension: length byte, name, ... */
    char server_name[254], host[254]; /* as asked for ("" if not), and of the URI */
};

/* What a medium does with a connected socket. Functions run on the connection's loop. All NULL: plain bytes. */
struct sockets_medium {
    const char *scheme;                              /* "tcp": serves tcp://host:port */
    uint32_t unix_too;                               /* 1: serves unix:/path as well */
    size_t conn_size;                                /* of the plugin's connection, which begins with struct rs_conn */
    int64_t conn_charge;                             /* bytes a connection costs, for the host's budget */
    int (*listenable)(struct sockets *, rs_error *); /* may it listen? optional */
    int (*open)(struct rs_conn *, rs_error *);       /* the socket is connected, c->server tells the side */
    int (*handshake)(struct rs_conn *, rs_error *);  /* 0 done; RS_EAGAIN: called again on any event; <0 failed */
    int (*pending)(struct rs_conn *);                /* after the handshake: bytes were read ahead of it */
    int64_t (*read)(struct rs_conn *, void *buf, size_t len); /* as the op; failures by sockets_broken() */
    int64_t (*write)(struct rs_conn *, const struct iovec *, int n, size_t total);
    int (*flush)(struct rs_conn *); /* send what sockets_hold() announced: 0, RS_EAGAIN, <0 */
    int (*shutdown)(struct rs_conn *);
    void (*peer)(struct rs_conn *, rs_peer *); /* fill all but the address */
    void (*end)(struct rs_conn *, int abort);  /* the socket is about to be closed; free what open() made */
};

/* rs_conn.state. CLOSING: close() was called and the medium still holds bytes to be sent. */
enum { SOCKETS_ACCEPTED, SOCKETS_DIALLING, SOCKETS_HANDSHAKE, SOCKETS_OPEN, SOCKETS_CLOSING, SOCKETS_ENDED };

/* A connection. Members belong to the loop's thread, except those marked lock. */
struct rs_conn {
    struct sockets *self;
    const struct sockets_medium *medium;
    rs_watch *watch;
    int fd;
    uint8_t state;
    uint8_t armed;                 /* RS_WATCH_* in force */
    uint8_t reading;               /* read interest is wanted */
    uint8_t want_read, want_write; /* the host is owed readable, writable */
    uint8_t drained;               /* the last recv was short: the next one would find nothing */
    uint8_t holding;               /* the medium keeps bytes it took, see sockets_hold() */
    uint8_t shut;                  /* shutdown() was called */
    uint8_t server;                /* accepted, not dialled */
    uint8_t dead;                  /* lock: to be freed when the last pin goes */
    rs_conn_events events;
    void *arg;
    rs_loop *loop; /* lock to change */
    uint64_t bytes_read, bytes_written;
    struct sockets_opts *opts;
    struct sockets_dial *dial;    /* while dialling */
    struct rs_listener *listener; /* lock to change: while inside accepted() */
    rs_timer *timer;              /* the deadline of dialling or of the handshake */
    rs_error *error;              /* first failure, NULL: none */
    struct rs_conn *prev, *next;  /* lock */
    unsigned pins;                /* lock: posts of sockets_stop() under way */
};

/* An instance: the self of the plugin begins with it. */
struct sockets {
    const rs_host *host;
    const struct sockets_medium *medium;
    pthread_mutex_t lock; /* guards the rest; taken per connection and listener, never per byte */
    struct rs_conn *conns;
    struct rs_listener *listeners;
    unsigned live; /* connections, open listeners and look-ups */
    unsigned stopping;
    rs_done_fn done;
    void *done_arg;
};

/* Life of the instance; sockets_stop() is an rs_plugin.stop for a self that begins with struct sockets. done() runs
 * where the last connection ends, or inside the call when nothing is open. sockets_done() frees what hosts left behind.
 */
void sockets_init(struct sockets *s, const rs_host *host, const struct sockets_medium *medium);
void sockets_stop(void *self, rs_done_fn done, void *arg);
void sockets_done(struct sockets *s);

/* The ops. */
int sockets_listen(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts,
                   void (*accepted)(void *arg, rs_conn *), void *arg, rs_listener **ret, rs_error *err);
int sockets_listener_uri(rs_listener *l, char *buf, size_t len);
void sockets_listener_close(rs_listener *l);
int sockets_attach(rs_conn *c, rs_loop *loop, const rs_conn_events *events, void *arg);
int sockets_connect(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts, const rs_conn_events *events,
                    void *arg, rs_conn **ret, rs_error *err);
int64_t sockets_read(rs_conn *c, void *buf, size_t len);
int64_t sockets_write(rs_conn *c, const struct iovec *iov, int n);
int sockets_shutdown(rs_conn *c);
int sockets_peer(rs_conn *c, rs_peer *ret);
int sockets_stats(rs_conn *c, void (*each)(void *arg, const char *name, uint64_t value), void *arg);
void sockets_close(rs_conn *c, int abort);

/* For media: the socket itself. sockets_recv() returns like the op read (and answers RS_EAGAIN without a system call
 * when the last count was short); sockets_send() takes what the socket takes. Both record a failure themselves. */
int64_t sockets_recv(struct rs_conn *c, void *buf, size_t len);
int64_t sockets_send(struct rs_conn *c, const struct iovec *iov, int n);

/* The medium keeps bytes that the socket did not take; flush() is called when it takes more. */
void sockets_hold(struct rs_conn *c);

/* Record why the stream broke, if it is the first reason. Returns code. */
int sockets_broken(struct rs_conn *c, int code, int native, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Fill err (may be NULL). Returns code. */
int sockets_error(rs_error *err, int code, uint32_t flags, int native, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

#endif
