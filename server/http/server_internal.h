/* SPDX-License-Identifier: Apache-2.0 */
/* http/server_internal.h : what server.c, respond.c, server_h1.c and server_h2.c share. */
#pragma once
#include <nghttp2/nghttp2.h>

#include "http/conn.h"
#include "http/h1.h"
#include "http/server.h"

#define SEC_NS 1000000000ull
enum {
    SERVER_H1_AHEAD_BYTES = 64 << 10, /* read ahead while a request is being answered (pipelining) */
    SERVER_LINGER_BYTES = 1 << 20,    /* thrown away after our side ended */
    SERVER_BODY_AT_ONCE = 1 << 20,    /* an announced body up to this is allocated whole */
    SERVER_RESETS_BURST = 1000,       /* failed streams of one connection at once, and then per second: */
    SERVER_RESETS_PER_SEC = 33,
};
#define SERVER_LINGER_NS (2 * SEC_NS)

enum conn_proto { PROTO_SNIFF, PROTO_H1, PROTO_H2 };
enum h1_state { H1_HEAD, H1_BODY, H1_BODY_CHUNKED, H1_BUSY, H1_LINGER };

struct listener {
    struct http_server *s;
    const rs_transport_ops *ops;
    rs_listener *rs;
    char *uri;
};

struct http_server {
    struct loop *loop;
    struct http_server_params p;
    http_on_request on_request;
    void *arg;
    struct http_server *(*pick)(void *arg);
    void *pick_arg;
    struct http_io io;
    struct list conns;
    struct listener **listeners;
    size_t n_listeners;
    uint32_t incoming; /* atomic: connections accepted on another loop and not yet seen here */
    size_t buffered;   /* bytes of bodies still arriving */
    struct http_server_stats stats;
    nghttp2_session_callbacks *h2_callbacks;
    bool draining, drained, check_posted;
    struct timer drain_timer;
    void (*drain_done)(void *arg);
    void *drain_arg;
    uint64_t date_sec;
    char date[32];
};

struct server_conn {
    struct http_conn io; /* first */
    struct http_server *s;
    struct list link;
    struct list reqs; /* open requests, oldest first */
    struct timer timer;
    uint64_t deadline_ns; /* UINT64_MAX: none */
    unsigned n_high;      /* requests whose writer waits */
    uint8_t proto, h1_state;
    bool listed; /* in s->conns, counted */
    bool https;
    bool close_after; /* HTTP/1: end our direction when all is flushed */
    bool head_over;   /* HTTP/2: the head being received is too long */
    struct h1_scan scan;
    struct h1_chunks chunks;
    uint64_t body_left;
    size_t lingered;
    struct buf head; /* HTTP/1: a head in parts, or read ahead; HTTP/2: fields of the head being received */
    size_t head_fields, trailer_bytes;
    nghttp2_session *h2;
    unsigned n_lingering; /* HTTP/2: streams with reset_at_ns */
    uint64_t resets, resets_at_ns;
    size_t peer_len;
    char peer[128];
};

struct server_req {
    struct http_request pub; /* first */
    struct http_server *s;
    struct server_conn *conn; /* NULL: the client is gone, or the answer is complete */
    struct list link;
    int32_t stream_id;
    bool handed;     /* on_request() was called */
    bool answered;   /* the application is done with it */
    bool begun;      /* the head of the answer is on its way */
    bool ended;      /* no more body comes to @out */
    bool head_only;  /* HEAD */
    bool keep_alive; /* HTTP/1 */
    bool chunked;    /* HTTP/1 answer */
    bool rejected;   /* answered by us; the rest of its body is thrown away */
    bool high;       /* its writer waits for writable */
    bool expect_continue;
    bool has_length;
    uint64_t length;
    uint64_t reset_at_ns; /* HTTP/2: answered early, to be reset then; 0: not */
    struct bytes *body;   /* announced length */
    struct buf body_buf;
    size_t body_len;
    struct http_out out; /* body of the answer, not yet in the connection's output */
    struct http_respond_events events;
    _Alignas(8) uint8_t mem[]; /* header fields, then text */
};

/* server.c */
void server_deadline(struct server_conn *c, uint64_t delay_ns); /* UINT64_MAX: none */
struct server_req *server_req_new(struct server_conn *c, size_t n_headers, size_t text);
void server_req_free(struct server_req *r);
/* server_req_lost() - the client is gone: unlinks, tells the application or frees. */
void server_req_lost(struct server_req *r);
int server_body_begin(struct server_req *r);
int server_body_add(struct server_req *r, const uint8_t *data, size_t len); /* RS_ETOOBIG, RS_EAGAIN, RS_EINVAL */
void server_hand_over(struct server_req *r);
void server_reject(struct server_req *r, int code); /* RS_ETOOBIG, RS_EAGAIN: the canned answer */
void server_split_target(struct http_request *q, struct slice target);
const char *server_date(struct http_server *s);
void server_writable(struct server_conn *c);

/* respond.c */
void server_answer(struct server_req *r, unsigned status, const struct http_header *h, size_t n,
                   struct bytes *take_body);
void server_canned(struct server_req *r, const struct http_canned *canned, unsigned status);

/* server_h1.c */
void h1_server_input(struct server_conn *c, const uint8_t *data, size_t len);
void h1_server_resumed(struct server_conn *c);
void h1_server_produce(struct server_conn *c);
void h1_server_flushed(struct server_conn *c);
void h1_server_head(struct server_req *r, unsigned status, const struct http_header *h, size_t n, bool has_length,
                    uint64_t length);
void h1_server_answered(struct server_req *r); /* all of it is in the output; frees @r */
void h1_server_refuse(struct server_conn *c);  /* 400 and close */
void h1_server_linger(struct server_conn *c);

/* server_h2.c */
nghttp2_session_callbacks *h2_server_callbacks(void);
int h2_server_start(struct server_conn *c);
void h2_server_input(struct server_conn *c, const uint8_t *data, size_t len);
void h2_server_produce(struct server_conn *c);
void h2_server_flushed(struct server_conn *c);
void h2_server_head(struct server_req *r, unsigned status, const struct http_header *h, size_t n, bool has_length,
                    uint64_t length, bool end);
void h2_server_goaway(struct server_conn *c);
bool h2_server_linger_due(struct server_conn *c); /* resets what is due; false: nothing lingers */
