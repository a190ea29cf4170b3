/* SPDX-License-Identifier: Apache-2.0 */
/* http/server.h : HTTP/1.1 and HTTP/2 server over transport streams.
 *
 * Which version a connection speaks is found by ALPN or by the HTTP/2 preface. Requests come whole: the body is
 * buffered up to a limit, then on_request() is called. Each request is answered exactly once, inside on_request() or in
 * any later turn. Everything lives on the server's loop (see http_server_set_pick() for several loops). */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "http/headers.h"

struct loop;
struct http_server;

/* A request. The application may read all of it, and write @user and @closed, until its answer is complete:
 * http_respond*() or http_respond_end()/_abort() returned. All slices live as long. */
struct http_request {
    struct slice method;    /* as sent: "GET" */
    struct slice scheme;    /* "http" or "https" */
    struct slice authority; /* :authority or Host; may be empty */
    struct slice path;      /* as sent, still percent-encoded, begins with "/" (or is "*") */
    struct slice query;     /* after the "?"; SLICE_NULL when there is none */
    const struct http_header *headers;
    size_t n_headers;
    struct bytes *body; /* NULL: empty. The application may bytes_ref() it, or take it: TAKE(req->body) */
    const char *peer;   /* address of the client, as the transport spells it; NUL terminated */
    unsigned version;   /* 10, 11, 20 */
    void *user;         /* the application's; NULL at first */
    /* Set by the application in or after on_request(); may be NULL. Called at most once, when the client went away
     * (connection lost, stream reset) before the answer was complete. The request must still be answered, in the
     * callback or later; the answer is thrown away. */
    void (*closed)(struct http_request *req);
};

typedef void (*http_on_request)(void *arg, struct http_request *req);

/* An answer the server gives by itself. */
struct http_canned {
    unsigned status;          /* 0: the default named below */
    const char *content_type; /* NULL: text/plain */
    struct slice body;        /* static */
};

struct http_server_params {      /* 0 or NULL: the default in brackets */
    size_t max_head_bytes;       /* [LIMIT_HTTP_HEAD_BYTES] above: 400 (HTTP/2: 431) */
    size_t max_body_bytes;       /* [LIMIT_MESSAGE_BYTES] above: too_big, at once when content-length says so */
    size_t max_buffered_bytes;   /* [8 * max_body_bytes] bodies still arriving, whole server; above: overloaded */
    unsigned max_connections;    /* [unlimited] above: closed as soon as they are accepted */
    unsigned max_in_flight;      /* [unlimited] requests handed out and not answered; above: overloaded */
    unsigned h2_max_streams;     /* [200] SETTINGS_MAX_CONCURRENT_STREAMS */
    uint64_t idle_timeout_ns;    /* [75 s] connection without request */
    uint64_t receive_timeout_ns; /* [30 s] a request head begun, or a body without any progress, for so long: closed */
    struct http_canned too_big;  /* [413] */
    struct http_canned bad_request; /* [400] HTTP/1.1 only; the connection is closed after it */
    struct http_canned overloaded;  /* [503] */
};

/* http_server_new() - @params and @arg: params are copied. Never fails. */
struct http_server *http_server_new(struct loop *loop, const struct http_server_params *params, http_on_request fn,
                                    void *arg);

/* http_server_listen() - accept on @uri ("tcp://127.0.0.1:0", "tls://…", "unix:/path"); may be called several times.
 * @opts: NULL for defaults; where @opts->alpn is NULL, "h2" and "http/1.1" are offered.
 * Return: index of the listener (0, 1, …), or the transport's error. */
int http_server_listen(struct http_server *s, struct http_transport t, const char *uri, const rs_conn_opts *opts,
                       struct err *err) RS_WARN_UNUSED;
/* http_server_uri() - the address really bound (port 0 resolved) of listener @i. */
int http_server_uri(const struct http_server *s, int i, char *buf, size_t len) RS_WARN_UNUSED;

/* http_server_set_pick() - spread accepted connections: @pick is called on the listeners' loop for each and names the
 * server (on whatever loop, this one included) that takes it. That server must not be freed before this one was
 * drained. */
void http_server_set_pick(struct http_server *s, struct http_server *(*pick)(void *arg), void *arg);

/* http_server_drain() - stop accepting; HTTP/2 GOAWAY, HTTP/1.1 "connection: close"; idle connections go at once; after
 * @timeout_ns what is left is cut. @done (may be NULL) is called once, in a later turn, when no connection is left;
 * requests that the application has not answered yet stay valid until it does. */
void http_server_drain(struct http_server *s, uint64_t timeout_ns, void (*done)(void *arg), void *arg);
/* http_server_free() - only after drain's done (or before any listen), and after every request was answered; NULL. */
struct http_server *http_server_free(struct http_server *s);

struct http_server_stats {
    uint64_t connections, connections_total, requests_total, in_flight, bytes_in, bytes_out;
};
void http_server_stats(const struct http_server *s, struct http_server_stats *ret);

/* http_respond() - the whole answer. @status 200..999. content-length, date and connection are added by the server;
 * fields of these names, transfer-encoding, and fields that are not http_header_valid() are left out. Headers are
 * copied.
 * @take_body: may be NULL; not sent for HEAD, 204, 304 (content-length still tells its length for HEAD).
 * The request is gone when it returns. */
void http_respond(struct http_request *req, unsigned status, const struct http_header *headers, size_t n,
                  struct bytes *take_body);
/* http_respond_slice() - same; @body is copied. */
void http_respond_slice(struct http_request *req, unsigned status, const struct http_header *headers, size_t n,
                        struct slice body);
/* http_respond_text() - same; content-type text/plain, @text is copied. */
void http_respond_text(struct http_request *req, unsigned status, const char *text);

/* Streaming form: _begin(), any number of _write(), then _end() or _abort() (the client sees a cut answer). _begin()
 * must not be called inside @writable. After the client went away writes are accepted and dropped. */
struct http_respond_events {
    void (*writable)(void *arg,
                     struct http_request *req); /* the queue fell to HTTP_QUEUE_LOW after it was above HIGH */
    void *arg;
};
void http_respond_begin(struct http_request *req, unsigned status, const struct http_header *headers, size_t n,
                        const struct http_respond_events *events);
/* http_respond_write() - queue @take; returns the bytes of this answer that are queued and not yet handed to the
 * transport. */
size_t http_respond_write(struct http_request *req, struct bytes *take);
size_t http_respond_write_copy(struct http_request *req, struct slice data);
void http_respond_end(struct http_request *req);   /* the request is gone when it returns */
void http_respond_abort(struct http_request *req); /* the request is gone when it returns */
