/* SPDX-License-Identifier: Apache-2.0 */
/* sockets_internal.h : what the sockets*.c files share. */
#pragma once
#include <restate/helper/sockets.h>
#include <sys/socket.h>
#include <sys/un.h>

struct addrinfo;

/* A URI taken apart. */
struct sockets_address {
    char host[254]; /* without brackets; "" for unix */
    char port[6];
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* "" for tcp */
};

/* Text for an address: "192.0.2.1:80", "[::1]:80"; "" when it has none. */
void sockets_address_text(const struct sockaddr *sa, char *buf, size_t len);
int sockets_address_parse(const struct sockets_medium *m, const char *uri, int dial, struct sockets_address *ret,
                          rs_error *err);
/* The code for an errno of connect, recv, send, bind. */
int sockets_code(int native);

struct sockets_opts *sockets_opts_new(const rs_conn_opts *opts, const char *host, int *ret_code, rs_error *err);
struct sockets_opts *sockets_opts_ref(struct sockets_opts *o);
struct sockets_opts *sockets_opts_unref(struct sockets_opts *o);

/* Counting what keeps the instance from being done. sockets_enter() fails with RS_ECLOSED once stopping. */
int sockets_enter(struct sockets *s);
void sockets_leave(struct sockets *s);

/* A connection, charged and listed; from: the listener that accepted it, NULL: to be dialled. On success it owns fd.
 * Errors: RS_ENOMEM out of memory or over budget; RS_ECLOSED stopping. */
int sockets_conn_new(struct sockets *s, rs_loop *loop, struct sockets_opts *opts, struct rs_listener *from, int fd,
                     struct rs_conn **ret);
/* Never announced to the host: free without a callback. */
void sockets_conn_drop(struct rs_conn *c);
/* Copy events, or RS_EINVAL. */
int sockets_conn_events(struct rs_conn *c, const rs_conn_events *events, void *arg);
/* Connected: start the handshake, or be ready. */
void sockets_conn_connected(struct rs_conn *c);
/* End it with the recorded failure, or none; closed() is posted. */
void sockets_conn_end(struct rs_conn *c, int abort);
void sockets_conn_event(void *arg, uint32_t events);

void sockets_dial_event(struct rs_conn *c);
void sockets_dial_timeout(struct rs_conn *c);
void sockets_dial_free(struct sockets_dial *d);
void sockets_conn_timeout(void *arg);

/* Stop listening and free, from sockets_stop() and sockets_done(). */
void sockets_listener_halt(void *arg);
void sockets_listener_free(struct rs_listener *l);
/* Under the lock: post sockets_listener_halt() for each. */
void sockets_listeners_stop(struct sockets *s);
