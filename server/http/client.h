/* SPDX-License-Identifier: Apache-2.0 */
/* http/client.h : pooled HTTP/2 and HTTP/1.1 client with streams that flow in both directions at once.
 *
 * One client per loop. Connections are pooled per (transport, dialled uri, scheme, authority, version). HTTP/2 as
 * spec'd for deployments: at most min(peer, 128) streams per connection and then another one, PING every 40 s while
 * streams are open (20 s to answer), idle connections evicted after 5 min. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "http/headers.h"

struct loop;
struct http_client;
struct http_stream;

enum http_version {
    HTTP_VERSION_ALPN, /* what TLS agreed on; HTTP/1.1 where nothing was agreed */
    HTTP_VERSION_1,    /* HTTP/1.1 */
    HTTP_VERSION_2,    /* prior knowledge */
};

struct http_client_params {      /* 0: the default in brackets */
    uint64_t connect_timeout_ns; /* [10 s] also for the handshake */
    uint64_t idle_timeout_ns;    /* [5 min] */
    uint64_t ping_interval_ns;   /* [40 s], plus up to 20 % */
    uint64_t ping_timeout_ns;    /* [20 s] */
    unsigned h2_max_streams;     /* [128] per connection */
    unsigned max_connections;    /* [256] per pool entry; above: streams wait */
    unsigned max_waiting;        /* [10000] streams without a connection, whole client; above: RS_EAGAIN */
    size_t max_head_bytes;       /* [LIMIT_HTTP_HEAD_BYTES] of a response */
    size_t window_bytes;         /* [2 MiB] of one stream: sent by the peer and not consumed yet */
    /* [5 MiB] HTTP/2: of a connection. It opens again when half of it was consumed: where all streams may hold back
     * their windows for long, twice their sum keeps them from waiting for each other. */
    size_t connection_window_bytes;
    size_t queue_high_bytes, queue_low_bytes; /* [HTTP_QUEUE_HIGH, HTTP_QUEUE_LOW] when writable comes; low <= high */
};

struct http_client_request { /* all borrowed until http_client_request() returns, except what @transport points to */
    struct http_transport transport;
    const char *uri;         /* what the transport dials: "tcp://host:port", "tls://host:port", "unix:/path" */
    const char *server_name; /* for TLS; NULL: none */
    struct slice scheme;     /* "http" or "https" */
    struct slice authority;  /* "host[:port]": Host or :authority */
    struct slice method;     /* "POST" */
    struct slice path;       /* with its query, begins with "/" */
    enum http_version version;
    const struct http_header *headers; /* without host, connection, transfer-encoding, content-length, te, upgrade */
    size_t n_headers;
    bool no_body; /* the request ends with its head: no http_stream_write() or _end() */
};

enum {                              /* http_closed.flags */
       HTTP_CLOSED_UNPROCESSED = 1, /* the peer surely did nothing with the request: may be sent again at once */
       HTTP_CLOSED_NOT_H2 = 2,      /* the peer answered the HTTP/2 preface with HTTP/1.x, or ALPN chose that */
       HTTP_CLOSED_CONNECT = 4,     /* no connection was made */
       HTTP_CLOSED_RESET = 8,       /* the peer reset this stream alone; h2_error is its code */
       HTTP_CLOSED_PROTOCOL = 16,   /* the peer broke the protocol */
};
struct http_closed {
    int status;        /* 0: response ended and request ended; else RS_ECLOSED, RS_ETIMEDOUT, RS_EIO, RS_ENOMEM, … */
    unsigned flags;    /* HTTP_CLOSED_* */
    uint32_t h2_error; /* HTTP/2 error code of RST_STREAM or GOAWAY, 0 otherwise */
    const char *message; /* one sentence that names the peer; valid for the call; "" when status is 0 */
};

/* All callbacks come in a later turn than http_client_request(), never inside a call on the stream. NULL members are
 * skipped. */
struct http_stream_events {
    /* Once, before data. Slices are valid for the call. 1xx answers are not shown. */
    void (*head)(void *arg, struct http_stream *s, unsigned status, const struct http_header *headers, size_t n);
    /* Bytes of the response body, valid for the call. They count against the window until http_stream_consume(). */
    void (*data)(void *arg, struct http_stream *s, struct slice data);
    /* The response ended as it should. The request may still be open: end or reset it. */
    void (*end)(void *arg, struct http_stream *s);
    /* What was queued fell to queue_low_bytes after it was above queue_high_bytes. */
    void (*writable)(void *arg, struct http_stream *s);
    /* Exactly once, last: the stream is gone when it returns. Not called after http_stream_reset(). */
    void (*closed)(void *arg, struct http_stream *s, const struct http_closed *why);
};

struct http_client *http_client_new(struct loop *loop,
                                    const struct http_client_params *params); /* params may be NULL */
/* http_client_close() - reset every stream (closed with RS_ECANCELED), close every connection; @done in a later turn,
 * the client is freed when @done (may be NULL) is called. */
void http_client_close(struct http_client *c, void (*done)(void *arg), void *arg);

/* http_client_request() - start a request; a connection is taken from the pool or made.
 * Return: 0, @ret is valid until closed() or http_stream_reset(); RS_EINVAL for a head that cannot be sent, RS_EAGAIN
 * too many streams wait, RS_ECLOSED the client is closing, or what the transport says when it cannot even begin to
 * connect. Failures later come as closed(). */
int http_client_request(struct http_client *c, const struct http_client_request *req,
                        const struct http_stream_events *ev, void *arg, struct http_stream **ret,
                        struct err *err) RS_WARN_UNUSED;

/* http_stream_write() - queue body bytes, at once or before any response; returns the bytes queued in this stream and
 * not yet taken by the connection. Above queue_high_bytes the caller should wait for writable. Not after
 * http_stream_end(). */
size_t http_stream_write(struct http_stream *s, struct bytes *take);
size_t http_stream_write_copy(struct http_stream *s, struct slice data); /* for small pieces: they are joined */
size_t http_stream_queued(const struct http_stream *s);
void http_stream_end(struct http_stream *s); /* our direction is complete: END_STREAM, last chunk */
/* http_stream_consume() - the application is done with @n bytes that data() brought: opens the window (HTTP/1.1: reads
 * on).
 * @n must not exceed what came. */
void http_stream_consume(struct http_stream *s, size_t n);
/* http_stream_reset() - cancel (RST_STREAM CANCEL; HTTP/1.1: the connection is closed). No event comes after it; @s is
 * gone. */
void http_stream_reset(struct http_stream *s);
/* http_stream_arg() - the arg given to http_client_request(). */
void *http_stream_arg(const struct http_stream *s);

struct http_client_stats {
    uint64_t connections, connections_total, streams, waiting, bytes_in, bytes_out;
};
void http_client_stats(const struct http_client *c, struct http_client_stats *ret);
