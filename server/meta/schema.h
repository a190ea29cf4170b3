/* SPDX-License-Identifier: Apache-2.0 */
/* meta/schema.h : what services exist: deployments, the services they offer, their handlers and options.
 *
 * The metadata value `schema` is JSON: {"deployments":[{"id","uri",…,"services":[<manifest service>+"revision"]}],
 * "revisions":{name: last number given}, "format":1}. A struct schema is that value parsed: immutable, counted
 * (atomic), read by every loop. Changing it means making a new value (the schema_plan_* functions, pure) and a
 * compare-and-swap by the admin API. */
#pragma once
#include <jansson.h>
#include "base/bytes.h"
#include "base/err.h"

struct retry_policy {
    uint64_t initial_ms, max_ms;
    double factor;
    uint32_t max_attempts; /* first attempt included; 0: unlimited */
    bool kill;             /* what happens then: kill, else pause */
};

/* Server defaults, from the configuration; handler and service settings win over them, within the bounds. Milliseconds.
 */
struct schema_defaults {
    uint64_t journal_retention_ms, idempotency_retention_ms, workflow_retention_ms;
    uint64_t inactivity_timeout_ms, abort_timeout_ms;
    struct retry_policy retry;
    /* Of what anybody asks for, the defaults above included. */
    bool bounded; /* false: no bounds; a schema's own copy always has some */
    uint64_t max_journal_retention_ms, max_idempotency_retention_ms, max_workflow_retention_ms;
    uint32_t max_attempts; /* 0: none */
};

enum service_type { SERVICE_PLAIN = 1, SERVICE_OBJECT = 2, SERVICE_WORKFLOW = 3 };
enum deployment_kind { DEPLOYMENT_BIDI = 1, DEPLOYMENT_REQUEST_RESPONSE = 2 };
enum deployment_http { DEPLOYMENT_HTTP1 = 1, DEPLOYMENT_HTTP2 = 2 };

struct schema_handler {
    struct service *service;
    const char *name;
    int target_type; /* enum target_type of proto/command.h */
    bool is_public;
    /* input rules, ingress.md §5 */
    bool has_input, input_required, input_has_schema;
    const char *input_content_type; /* NULL: no content type rule */
    /* output rules */
    const char *output_content_type; /* NULL: none */
    bool output_set_if_empty;
    /* options, resolved: handler, service, server; then bounded */
    uint64_t journal_retention_ms, idempotency_retention_ms, workflow_retention_ms;
    uint64_t inactivity_timeout_ms, abort_timeout_ms;
    bool lazy_state;
    struct retry_policy retry;
    const json_t *json; /* as in the manifest; borrowed */
};

struct service {
    const char *name;
    enum service_type type;
    uint32_t revision;
    bool is_public;
    struct retry_policy retry;              /* service, then server */
    const struct schema_defaults *defaults; /* of the server */
    struct deployment *deployment;
    struct schema_handler *handlers;
    size_t n_handlers;
    const json_t *json;
};

struct deployment {
    const char *id;        /* dp_1… */
    const char *uri;       /* with a trailing slash when the path is empty */
    const char *authority; /* host:port of the uri */
    const char *host;      /* of it, without port and brackets: the TLS server name */
    const char *dial;      /* what a transport connects to: tcp://host:port or tls://host:port */
    const char *scheme;    /* http or https */
    const char *path;      /* base path without the trailing slash: "" or "/x" */
    enum deployment_kind kind;
    enum deployment_http http;
    uint32_t min_protocol, max_protocol;
    const char *sdk_version;
    const char *created_at; /* RFC 3339, 9 digits */
    const json_t *headers;  /* additional_headers: object of strings, or NULL */
    struct service *services;
    size_t n_services;
    const json_t *json;
};

struct schema {
    uint32_t refs;    /* atomic */
    uint64_t version; /* of the metadata value; 0: nothing registered yet */
    struct deployment *deployments;
    size_t n_deployments;
    struct service **latest; /* sorted by name */
    size_t n_latest;
    json_t *root;
    struct schema_defaults defaults;
};

/* schema_parse() - @value SLICE_NULL: the empty schema. */
int schema_parse(struct slice value, uint64_t version, const struct schema_defaults *d, struct schema **ret,
                 struct err *err) RS_WARN_UNUSED;
struct schema *schema_ref(struct schema *s);
struct schema *schema_unref(struct schema *s);

const struct service *schema_service(const struct schema *s, struct slice name);          /* latest revision; NULL */
const struct schema_handler *service_handler(const struct service *s, struct slice name); /* NULL */
const struct deployment *schema_deployment(const struct schema *s, struct slice id);      /* NULL */
/* schema_deployment_at() - the deployment at @uri whose @routing headers (their names, in any case) have the values
 * they have in @headers, a map or NULL; NULL: none. */
const struct deployment *schema_deployment_at(const struct schema *s, const char *uri, const json_t *headers,
                                              const char *const *routing, size_t n_routing);

/* What the creator of an invocation decides from the schema (execution.md §8.1). */
struct schema_retention {
    uint64_t completion_ms, journal_ms;
};
struct schema_retention schema_retention(const struct schema_handler *h, bool has_idempotency_key);

/* ---- changes: pure; each returns the new value (to be freed with json_decref) ---- */

/* A refused registration: the code of admin.md §15, or "" when there is none. */
struct schema_refusal {
    char code[12];
    int status; /* HTTP status */
};

struct schema_registration {
    const char *id;  /* of the deployment that is made or overwritten */
    const char *uri; /* normalised */
    const char *created_at;
    json_t *headers;  /* object or NULL; borrowed */
    json_t *metadata; /* object or NULL; borrowed */
    bool use_http_11;
    bool breaking; /* a service may change its type */
    enum deployment_http http;
    const char *sdk_version;
    const json_t *manifest; /* the discovery answer */
};
/* schema_plan_register() - new or overwritten deployment; checks the manifest (service-protocol.md §2). */
int schema_plan_register(const struct schema *s, const struct schema_registration *r, json_t **ret,
                         struct schema_refusal *why, struct err *err) RS_WARN_UNUSED;
int schema_plan_remove(const struct schema *s, const char *id, json_t **ret, struct err *err) RS_WARN_UNUSED;
/* schema_plan_patch() - @patch: PATCH /services/{s} body, already in milliseconds where it holds durations. */
int schema_plan_patch(const struct schema *s, const char *service, const json_t *patch, json_t **ret,
                      struct err *err) RS_WARN_UNUSED;
