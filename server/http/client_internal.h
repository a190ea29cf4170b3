/* SPDX-License-Identifier: Apache-2.0 */
/* http/client_internal.h : what client.c, client_h1.c and client_h2.c share. */
#pragma once
#include <nghttp2/nghttp2.h>

#include "base/map.h"
#include "http/client.h"
#include "http/conn.h"
#include "http/h1.h"

#define SEC_NS 1000000000ull
enum {
    CLIENT_WINDOW = 2 << 20, /* of a stream; HTTP/1.1: then reading stops */
    CLIENT_H2_CONN_WINDOW = 5 << 20,
    CLIENT_H2_GUESS = 100, /* streams on a connection whose SETTINGS have not come */
};

enum client_proto { CLIENT_UNKNOWN, CLIENT_H1, CLIENT_H2 };
enum client_h1_state { RESP_HEAD, RESP_BODY, RESP_CHUNKED, RESP_UNTIL_EOF, RESP_DONE };

struct pool { /* connections to one place */
    struct map_node node;
    struct http_client *c;
    struct http_transport t;
    enum http_version version;
    char *uri, *server_name; /* server_name may be NULL */
    struct slice scheme, authority;
    struct list conns; /* those that take another stream first */
    unsigned n_conns, n_connecting;
    unsigned pins;       /* calls that still need it */
    struct list waiting; /* streams without a connection */
    unsigned n_waiting;
    uint8_t *key;
    size_t key_len;
};

struct http_client {
    struct loop *loop;
    struct http_client_params p;
    struct http_io io;
    struct map pools;
    struct http_client_stats stats;
    nghttp2_session_callbacks *h2_callbacks;
    bool closing, swept; /* close_now() came by: the last pool takes the client along */
    void (*done)(void *arg);
    void *done_arg;
    struct buf key; /* scratch */
};

struct client_conn {
    struct http_conn io; /* first */
    struct http_client *c;
    struct pool *pool;
    struct list link;
    struct list streams;
    unsigned n_streams, limit, n_high;
    uint8_t proto, h1_state;
    bool usable;     /* ready and takes another stream; kept by client_conn_update() */
    bool connecting; /* counted in pool->n_connecting */
    bool draining;   /* takes no more streams, closed when the last is gone */
    bool not_h2, protocol_error;
    bool ping_out;
    bool first_seen; /* HTTP/2: the first byte was looked at */
    bool keep_alive; /* HTTP/1: of the response being read */
    uint32_t goaway_code;
    struct timer timer; /* to connect, then idle */
    struct timer ping;
    struct h1_scan scan;
    struct h1_chunks chunks;
    uint64_t body_left;
    struct buf head; /* HTTP/1: a head in parts; HTTP/2: fields of the head being received */
    size_t head_fields, head_bytes;
    nghttp2_session *h2;
};

struct http_stream {
    struct http_client *c;
    struct pool *pool;        /* NULL once it is being closed */
    struct client_conn *conn; /* NULL: waits in pool->waiting */
    struct list link;
    struct http_stream_events ev;
    void *arg;
    int32_t id;
    bool head_only, no_body;
    bool ended; /* http_stream_end() was called */
    bool sent;  /* HTTP/1: all of the request is in the output */
    bool got_head, got_end;
    bool high;
    bool reset_by_peer;
    bool too_big; /* the response head is */
    size_t unconsumed;
    struct http_out out;
    struct http_client_request *saved; /* while it waits: a copy of the head */
};

/* client.c */
void client_conn_update(
    struct client_conn *c); /* after a change of streams or state: usable, idle timer, end of draining */
void client_stream_attach(struct client_conn *c, struct http_stream *s);
/* client_stream_close() - detaches, tells the application, frees. @text NULL: message is "". */
void client_stream_close(struct http_stream *s, int status, unsigned flags, uint32_t h2_error, const char *text);
void client_stream_release(struct http_stream *s); /* detaches and frees in silence */
void client_writable(struct client_conn *c);
bool client_header_ours(struct slice name); /* a field of the connection: never forwarded */

/* client_h1.c */
void h1_client_submit(struct client_conn *c, struct http_stream *s, const struct http_client_request *req);
void h1_client_input(struct client_conn *c, const uint8_t *data, size_t len);
void h1_client_eof(struct client_conn *c);
void h1_client_produce(struct client_conn *c);

/* client_h2.c */
nghttp2_session_callbacks *h2_client_callbacks(void);
int h2_client_start(struct client_conn *c);
int h2_client_submit(struct client_conn *c, struct http_stream *s, const struct http_client_request *req);
void h2_client_input(struct client_conn *c, const uint8_t *data, size_t len);
void h2_client_produce(struct client_conn *c);
void h2_client_reset(struct http_stream *s, uint32_t code);
