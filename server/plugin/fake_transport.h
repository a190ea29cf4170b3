/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/fake_transport.h : (tests) a transport in memory over a driven loop, with fragmentation, short writes and
 * cuts, and raw peers that tests speak through. URIs: "fake:NAME". */
#pragma once
#include "base/buf.h"
#include <restate/transport.h>
#include "loop/loop.h"

struct fake_net {
    struct loop *loop;
    uint64_t now_ns;
    uint64_t seed;
    struct list listeners, conns;
    size_t read_max;     /* bytes one read gives; 0: all */
    size_t write_max;    /* bytes one write takes; 0: all */
    size_t capacity;     /* bytes under way in one direction; 0: 1 MiB */
    bool refuse_connect; /* closed() with RS_ECLOSED */
    bool hang_connect;   /* never ready */
    const char *alpn;    /* what both ends are told */
    unsigned connects;   /* connect() calls */
    unsigned open;       /* connection ends not yet closed */
    unsigned writes;     /* write() calls that took bytes */
};
struct fake_net *fake_net_new(void);
void fake_net_free(struct fake_net *n);             /* asserts that every connection was closed */
const rs_transport_ops *fake_transport_ops(void);   /* self: the struct fake_net */
void fake_run(struct fake_net *n);                  /* turns until nothing is posted; no timers in the future */
void fake_advance(struct fake_net *n, uint64_t ns); /* moves the clock, then fake_run() */

void fake_cut(struct fake_net *n, uint64_t which); /* breaks one connection: both ends get an error */

/* A raw end: what a test holds. */
struct fake_peer {
    struct fake_net *net;
    rs_conn *conn;
    struct buf got; /* all that came */
    bool ready, eof, closed;
    bool stop_reading;
};
void fake_peer_dial(struct fake_peer *p, struct fake_net *n, const char *uri);
void fake_peer_serve(struct fake_net *n, const char *uri, struct fake_peer *next); /* the next accepted one */
void fake_peer_send(struct fake_peer *p, const void *data, size_t len);            /* all of it, runs the loop */
void fake_peer_send_str(struct fake_peer *p, const char *s);
void fake_peer_read(struct fake_peer *p); /* what stop_reading left */
void fake_peer_end(struct fake_peer *p);  /* end of our direction */
void fake_peer_close(struct fake_peer *p, bool abort);
