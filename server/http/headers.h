/* SPDX-License-Identifier: Apache-2.0 */
/* http/headers.h : what client and server share: header fields, the transport handle, limits of both. */
#pragma once
#include <restate/transport.h>

#include "base/slice.h"

struct err;

/* A transport as the plugin loader hands it out; both pointers outlive every server and client that uses them. */
struct http_transport {
    const rs_transport_ops *ops;
    void *self;
};

/* One header field. Names are lower case in both directions, on both HTTP versions. */
struct http_header {
    struct slice name, value;
};
#define HTTP_HEADER(n, v) ((struct http_header){SLICE_LIT(n), (v)})

enum {
    HTTP_QUEUE_HIGH = 256 << 10, /* bytes queued in one stream: the writer should wait for writable */
    HTTP_QUEUE_LOW = 64 << 10,   /* writable comes when the queue is at or below this */
    HTTP_QUEUE_MAX = 96 << 20,   /* a stream whose writer ignores HTTP_QUEUE_HIGH is failed with RS_ENOMEM above this */
    HTTP_HEADERS_MAX = 1000,     /* fields in one head */
};

/* http_header_find() - the first field called @name (lower case), or NULL. */
const struct http_header *http_header_find(const struct http_header *h, size_t n, const char *name);
/* http_header_get() - its value; SLICE_NULL when it is absent. */
struct slice http_header_get(const struct http_header *h, size_t n, const char *name);
/* http_header_valid() - name is a lower-case token, value has no CR, LF, NUL and no space at its ends. */
bool http_header_valid(const struct http_header *h);
/* http_status_text() - "OK" for 200; "" for what is unknown. Static string. */
const char *http_status_text(unsigned status);
/* http_token_has() - is @token (lower case) an element of the comma separated list @value? Case-insensitive. */
bool http_token_has(struct slice value, const char *token);
