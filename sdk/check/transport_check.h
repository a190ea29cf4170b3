/* SPDX-License-Identifier: Apache-2.0 */
/* transport_check.h : what the transport suites share: a plugin under test, and connections that record what happens.
 */
#pragma once
#include "check.h"
#include "transport_host.h"

struct transport_check {
    struct check *c;
    struct transport_host host;
    const rs_plugin *plugin;
    const rs_transport_ops *ops;
    const rs_node *config;
    void *self;
    rs_loop *loop;
    char base[96]; /* URI to listen on: port 0, or a socket file of this run */
    unsigned stopped;
    unsigned fds; /* open before init */
};

/* One end of a connection. */
struct end {
    struct transport_check *t;
    void *self;    /* dial with this instance; NULL: t->self */
    rs_conn *conn; /* NULL after closed() */
    rs_loop *loop;
    unsigned ready, readable, writable, closed;
    int status;         /* of closed() */
    char error[240];    /* of closed() */
    uint32_t err_flags; /* of closed() */
    rs_peer peer;       /* as of ready() */
    unsigned pull;      /* in readable(): read to RS_EAGAIN into data */
    unsigned eof, failed;
    size_t chunk; /* bytes asked for per read, 0: 64 KiB */
    unsigned char *data;
    size_t room;            /* of data */
    unsigned long long len; /* bytes read so far; data holds them all */
};

struct server {
    struct transport_check *t;
    rs_listener *listener;
    rs_loop *attach_to; /* NULL: the same loop */
    char uri[160];
    unsigned accepted, refuse; /* refuse: do not attach */
    unsigned close_after;      /* close the listener inside accepted() */
    struct end *ends[64];      /* taken in order by accepted(); NULL: not attached */
    unsigned next;
};

/* Runs the tests for every scheme of the plugin, each with an instance of its own, which is closed and searched for
 * leaks and breaches of the contract afterwards. */
struct transport_test {
    const char *name;                      /* a sentence, as reported */
    int (*run)(struct transport_check *t); /* 0: passed; CHECK_SKIP: does not apply; else the line that failed */
};
void check_tests(struct check *c, const struct transport_test *tests, size_t n);
/* The configuration for ordinary tests: --config, else one with certificates made in c->dir when the plugin takes them.
 * The caller frees it with node_free(). NULL: it could not be made. */
rs_node *check_config(struct check *c);

/* In a test: leave it with the number of the line when cond does not hold. */
#define EXPECT(cond)                                                                                                   \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            return __LINE__;                                                                                           \
    } while (0)

/* The instance. config lives as long as t. base: see struct. Negative: t->host.fault says why. */
int check_open(struct transport_check *t, struct check *c, const rs_node *config, const char *base);
/* Stop and free; checks that nothing leaked. Returns 0, or -1 with t->host.fault set. */
int check_close(struct transport_check *t);

int check_listen(struct transport_check *t, struct server *s, const rs_conn_opts *opts);
int check_connect(struct transport_check *t, struct end *e, const char *uri, const rs_conn_opts *opts);
/* A connected pair over s; 0 when both ends are ready. */
int check_pair(struct server *s, struct end *client, struct end *server, const rs_conn_opts *opts);
/* close() both and wait for closed(); frees data. */
void check_unpair(struct end *a, struct end *b);

int64_t check_read(struct end *e, void *buf, size_t len);
int64_t check_write(struct end *e, const void *data, size_t len);
int check_shutdown(struct end *e);
void check_end(struct end *e, int abort);
/* Read to RS_EAGAIN, end or failure into data. */
void check_pull(struct end *e);
/* Write all of data, turning loops as needed; 0, or -1. */
int check_send(struct end *e, const void *data, size_t len);
/* Turns until e read len bytes in all. */
int check_received(struct end *e, size_t len);
void check_fill(unsigned char *buf, size_t len, unsigned seed);
/* Are the URIs of this test made of IP addresses and ports? */
int check_is_ip(const struct transport_check *t);
/* The port of "scheme://host:port"; 0: none. */
unsigned check_port(const char *uri);
/* A plain TCP socket on 127.0.0.1: connected to port, or (port 0) bound, not listening; fd, or -1. */
int check_raw_socket(unsigned port);
unsigned check_raw_port(int fd);
