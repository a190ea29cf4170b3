/* SPDX-License-Identifier: Apache-2.0 */
/* ingress/ingress.h : the HTTP API through which clients call handlers (docs: ingress). One HTTP server; requests
 * become calls to the partitions' leaders and wait as long as it takes. Lives on the worker's loop. */
#pragma once
#include "base/err.h"
#include "http/server.h"

struct ingress;
struct loop;
struct tracer;
struct worker;

struct ingress_params {
    struct loop *loop;
    struct worker *worker;
    struct tracer *tracer;     /* NULL: tracing is off, trace contexts of requests are headers like others */
    unsigned concurrent_limit; /* 0: unlimited; 429 beyond */
    size_t request_size_limit; /* bytes; 413 beyond */
    bool scopes;               /* calls may be in a scope; false: 400 */
    unsigned http2_max_streams;
};

struct ingress *ingress_new(const struct ingress_params *p);
struct http_server *ingress_server(struct ingress *i); /* to listen, to read the bound address */
/* ingress_drain() - stop accepting, tell clients to go away, cut what is left after @timeout_ns; then @done. Calls that
 * still wait are dropped with their connections. */
void ingress_drain(struct ingress *i, uint64_t timeout_ns, void (*done)(void *arg), void *arg);
struct ingress *ingress_free(struct ingress *i);
