/* SPDX-License-Identifier: Apache-2.0 */
/* admin/admin.h : the admin REST API (spec admin.md): deployments, services, operations on invocations. JSON
 * everywhere, errors too. Lives on the worker's loop. */
#pragma once
#include "base/err.h"
#include "http/server.h"

struct admin;
struct loop;
struct meta;
struct query_engine;
struct request_identity;
struct worker;

struct admin_params {
    struct loop *loop;
    struct meta *meta;
    struct worker *worker;
    struct http_transport http, https; /* to discover deployments; ops NULL: scheme not available */
    const char *cluster_name;
    const struct http_header *headers; /* of discovery requests, at most LIMIT_REQUEST_HEADERS; borrowed until closed */
    size_t n_headers;
    const char *const *routing_headers; /* names that make deployments with one address distinct; borrowed */
    size_t n_routing_headers;
    const char *ingress_address; /* advertised, with a trailing slash */
    const char *version;         /* what GET /version reports: the CLI decides by it */
    unsigned concurrent_limit;   /* 0: unlimited; 429 beyond */
    size_t request_size_limit;
    uint64_t connect_timeout_ns;
    struct query_engine *queries; /* of POST /query; borrowed until it is closed, after the drain; NULL: 503 */
    const struct request_identity *identity; /* signs discovery requests; borrowed until closed; may be NULL */
};

struct admin *admin_new(const struct admin_params *p);
struct http_server *admin_server(struct admin *a);
void admin_drain(struct admin *a, uint64_t timeout_ns, void (*done)(void *arg), void *arg);
/* admin_close() - after drain; ends discoveries that are under way, then @done and the object is gone. */
void admin_close(struct admin *a, void (*done)(void *arg), void *arg);
