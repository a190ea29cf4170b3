/* SPDX-License-Identifier: Apache-2.0 */
/* admin/admin.c : the server and its routes. What this server does not offer yet says so, with the status a client can
 * act on. */
#include "admin/admin_internal.h"
#include "base/text.h"
#include "meta/meta.h"
#include "meta/nodes_config.h"
#include "worker/partition.h"

#include <stdio.h>
#include <string.h>

static void version(const struct admin_request *r) {
    const struct admin_params *p = &r->admin->params;

    admin_json(r->req, 200, NULL,
               json_pack("{s:s, s:i, s:i, s:s, s:{}}", "version", p->version, "min_admin_api_version", 2,
                         "max_admin_api_version", 4, "ingress_endpoint", p->ingress_address, "features"));
}

/* Unhealthy: a partition is broken; starting up is fine. */
static void health(const struct admin_request *r) {
    struct worker *w = r->admin->params.worker;

    for (size_t i = 0; i < worker_partitions(w); i++) {
        struct partition_info info;

        worker_partition_info(w, i, &info);
        if (info.role == PARTITION_BROKEN) {
            admin_error(r->req, 503, NULL, "partition %u is stopped: %s", info.id, info.error);
            return;
        }
    }
    admin_empty(r->req, 200);
}

/* The members of the metadata group, as far as this node knows; NULL: not known. */
static json_t *metadata_members(const struct meta *m) {
    _cleanup_(nodes_config_freep) struct nodes_config *c = NULL;
    _cleanup_(bytes_freep) struct bytes *value = NULL;
    json_t *members = NULL;

    if (meta_get(m, META_KEY_NODES, NULL, &value) < 0 || nodes_config_parse(bytes_slice(value), &c, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < c->n_nodes; i++) {
        if (c->nodes[i].tombstone || c->nodes[i].metadata_state != METADATA_MEMBER)
            continue;
        members = members ? members : json_array();
        (void)json_array_append_new(members, json_integer(c->nodes[i].id.id));
    }
    return members;
}

static void cluster_health(const struct admin_request *r) {
    json_t *members = metadata_members(r->admin->params.meta);

    admin_json(r->req, 200, NULL,
               json_pack("{s:s, s:o}", "cluster_name", r->admin->params.cluster_name, "metadata_cluster_health",
                         members ? json_pack("{s:o}", "members", members) : json_null()));
}

static void absent_list(const struct admin_request *r, const char *name, const char *what) {
    if (r->n == 1 && slice_eq_str(r->req->method, "GET"))
        admin_json(r->req, 200, NULL, json_pack("{s:[]}", name));
    else if (slice_eq_str(r->req->method, "GET"))
        admin_error(r->req, 404, NULL, "not found: this server has no %s", what);
    else
        admin_error(r->req, 501, NULL, "%s are not supported by this server", what);
}

struct route {
    const char *first;
    const char *method; /* NULL: the handler looks at it */
    size_t segments;    /* 0: any */
    void (*handle)(const struct admin_request *r);
};

static void subscriptions(const struct admin_request *r) {
    absent_list(r, "subscriptions", "Kafka subscriptions");
}
static void kafka_clusters(const struct admin_request *r) {
    absent_list(r, "clusters", "Kafka clusters");
}
static void limits(const struct admin_request *r) {
    admin_error(r->req, 501, NULL, "limit rules are not supported by this server");
}
static void ui(const struct admin_request *r) {
    admin_error(r->req, 404, NULL, "the web page is not part of this server yet");
}
static void internal(const struct admin_request *r) {
    struct admin_request sub = *r;

    if (r->n == 3 && slice_eq_str(r->seg[1], "invocations_batch_operations"))
        admin_batch(&sub);
    else
        admin_error(r->req, 404, NULL, "not found");
}

static const struct route routes[] = {
    {"version", "GET", 1, version},
    {"health", "GET", 1, health},
    {"cluster-health", "GET", 1, cluster_health},
    {"deployments", NULL, 0, admin_deployments},
    {"services", NULL, 0, admin_services},
    {"invocations", NULL, 0, admin_invocations},
    {"internal", NULL, 0, internal},
    {"subscriptions", NULL, 0, subscriptions},
    {"kafka-clusters", NULL, 0, kafka_clusters},
    {"limits", NULL, 0, limits},
    {"query", "POST", 1, admin_sql},
    {"ui", NULL, 0, ui},
};

static void route(const struct admin_request *r) {
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        const struct route *t = &routes[i];

        if (!slice_eq_str(r->seg[0], t->first) || (t->segments && t->segments != r->n))
            continue;
        if (t->method && !slice_eq_str(r->req->method, t->method))
            admin_method_not_allowed(r->req, slice_eq_str(slice_str(t->method), "GET") ? "GET,HEAD" : t->method);
        else
            t->handle(r);
        return;
    }
    admin_error(r->req, 404, NULL, "not found");
}

/* Cuts the path into percent-decoded segments that live in @text. */
static bool split(struct admin_request *r, struct buf *text) {
    struct slice path = r->req->path;
    size_t at[ADMIN_SEGMENTS + 1], n = 0, from = 1;

    for (size_t i = 1; i <= path.len; i++) {
        if (i < path.len && path.data[i] != '/')
            continue;
        if (i > from || i < path.len) {
            if (n == ADMIN_SEGMENTS)
                return false;
            at[n++] = text->len;
            if (text_percent_decode(slice_sub(path, from, i - from), false, text) < 0)
                return false;
        }
        from = i + 1;
    }
    at[n] = text->len;
    for (size_t i = 0; i < n; i++)
        r->seg[i] = slice_of(text->data + at[i], at[i + 1] - at[i]);
    r->n = n;
    return true;
}

/* /v2, /v3 and /v4 serve the same resources. */
static bool strip_version(struct admin_request *r) {
    r->api_version = 4;
    if (r->n == 0 || r->seg[0].len != 2 || r->seg[0].data[0] != 'v' || r->seg[0].data[1] < '1' ||
        r->seg[0].data[1] > '9')
        return true;
    r->api_version = (unsigned)(r->seg[0].data[1] - '0');
    memmove(r->seg, r->seg + 1, (r->n - 1) * sizeof r->seg[0]);
    r->n--;
    return r->api_version >= 2 && r->api_version <= 4;
}

static void on_request(void *arg, struct http_request *req) {
    struct admin *a = arg;
    struct admin_request r = {.admin = a, .req = req};
    struct buf text = {0};

    if (a->params.concurrent_limit && a->in_flight >= a->params.concurrent_limit)
        admin_empty(req, 429);
    else if (!split(&r, &text))
        admin_error(req, 404, NULL, "not found");
    else if (!strip_version(&r) && r.api_version == 1)
        admin_error(req, 400, NULL, "Unsupported Admin API version V1: this server speaks V2 to V4");
    else if (r.api_version > 4 || r.n == 0)
        admin_error(req, 404, NULL, "not found");
    else
        route(&r);
    buf_done(&text);
}

struct admin *admin_new(const struct admin_params *p) {
    struct admin *a = xnew(struct admin);
    struct http_server_params hp = {.max_body_bytes = p->request_size_limit};
    struct http_client_params cp = {.connect_timeout_ns = p->connect_timeout_ns};

    a->params = *p;
    a->server = http_server_new(p->loop, &hp, on_request, a);
    a->client = http_client_new(p->loop, &cp);
    return a;
}

struct http_server *admin_server(struct admin *a) {
    return a->server;
}

void admin_drain(struct admin *a, uint64_t timeout_ns, void (*done)(void *arg), void *arg) {
    http_server_drain(a->server, timeout_ns, done, arg);
}

static void on_client_closed(void *arg) {
    struct admin *a = arg;
    void (*done)(void *) = a->closed;
    void *done_arg = a->closed_arg;

    http_server_free(a->server);
    free(a);
    if (done)
        done(done_arg);
}

void admin_close(struct admin *a, void (*done)(void *arg), void *arg) {
    a->closed = done;
    a->closed_arg = arg;
    http_client_close(a->client, on_client_closed, a);
}
