/* SPDX-License-Identifier: Apache-2.0 */
/* admin/admin_internal.h : shared by admin.c (routing), deployments.c, discover.c, services.c, invocations.c,
 * query.c, openapi.c and render.c. */
#pragma once
#include <jansson.h>
#include "admin/admin.h"
#include "base/buf.h"
#include "http/client.h"
#include "loop/loop.h"
#include "meta/meta.h"
#include "meta/schema.h"
#include "worker/worker.h"

struct admin {
    struct admin_params params;
    struct http_server *server;
    struct http_client *client;
    unsigned in_flight;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* One request with its path cut up. @segments are percent-decoded. */
enum { ADMIN_SEGMENTS = 6 };
struct admin_request {
    struct admin *admin;
    struct http_request *req;
    unsigned api_version; /* 4 when the path has no prefix */
    struct slice seg[ADMIN_SEGMENTS];
    size_t n;
};

/* render.c: answers */
void admin_json(struct http_request *req, unsigned status, const char *location, json_t *take);
void admin_empty(struct http_request *req, unsigned status);
/* @code NULL: "restate_code": null */
void admin_error(struct http_request *req, unsigned status, const char *code, const char *fmt, ...) RS_PRINTF(4, 5);
void admin_method_not_allowed(struct http_request *req, const char *allow);
json_t *render_service(const struct service *s);
json_t *render_handler(const struct schema_handler *h);
json_t *render_deployment(const struct deployment *d, bool full_services);
/* The OpenAPI document of a service behind the ingress at @ingress_url; pure. */
json_t *render_openapi(const struct service *s, const char *ingress_url);
json_t *render_ms(uint64_t ms); /* "1m 30s" */
/* The JSON object of the body, or NULL after an answer (400, 415, 422). */
json_t *admin_body(const struct admin_request *r);
/* The value of a query parameter, percent-decoded into @ret; false: absent. */
bool admin_query(const struct admin_request *r, const char *name, struct buf *ret);
/* A duration in either form, to ms; false: not one. */
bool admin_duration_ms(const json_t *v, uint64_t *ret);

/* discover.c */
struct discovery { /* of one endpoint; owned by the caller, alive until done */
    struct admin *admin;
    const char *uri; /* normalised, with a trailing slash */
    bool use_http_11;
    const json_t *headers; /* additional ones, may be NULL; borrowed */
    void (*done)(struct discovery *d);
    /* results */
    json_t *manifest; /* NULL: failed */
    enum deployment_http http;
    char sdk_version[128];
    unsigned status; /* of the answer to the client when it failed */
    char code[12];   /* "META0003" or "" */
    char message[400];
    /* private */
    struct http_stream *stream;
    struct buf body;
    unsigned http_status;
    bool right_type;
    struct timer timer;
    void *arg;
};
void discover_start(struct discovery *d);
/* discover_uri() - checks and normalises "http://host:port/path": RS_EINVAL says what is wrong. */
int discover_uri(const char *uri, struct buf *ret, struct err *err) RS_WARN_UNUSED;

/* the resources */
void admin_deployments(const struct admin_request *r);
void admin_services(const struct admin_request *r);
void admin_invocations(const struct admin_request *r);
void admin_batch(const struct admin_request *r);
void admin_sql(const struct admin_request *r); /* query.c */
