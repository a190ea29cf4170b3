/* SPDX-License-Identifier: Apache-2.0 */
/* admin/deployments.c : register, list, describe, update, remove deployments (spec admin.md §4).
 *
 * A change is planned against the schema as this node knows it and written with a compare-and-swap; when somebody else
 * was faster it is planned again. The answer is sent when the new schema is durable. */
#include "admin/admin_internal.h"
#include "base/limits.h"
#include "base/text.h"
#include "proto/ids.h"

#include <stdio.h>
#include <string.h>

/* One registration (or update), from the request to the answer. */
struct registration {
    struct admin *admin;
    struct http_request *req; /* NULL: the client went away; what began is finished */
    struct discovery discovery;
    struct buf uri;
    json_t *headers, *metadata; /* may be NULL */
    bool use_http_11, breaking, force, dry_run, v2;
    bool update, overwrite; /* PATCH */
    char id[RESOURCE_ID_MAX_CHARS + 1];
    bool known; /* an existing deployment is overwritten */
    char created_at[40];
};

static void free_registration(struct registration *g) {
    json_decref(g->headers);
    json_decref(g->metadata);
    json_decref(g->discovery.manifest);
    buf_done(&g->uri);
    free(g);
}

static void on_gone(struct http_request *req) {
    struct registration *g = req->user;

    g->req = NULL;
    http_respond_slice(req, 499, NULL, 0, SLICE_NULL); /* thrown away */
}

static void now_text(struct admin *a, char *ret, size_t size) {
    struct buf b = {0};

    text_put_rfc3339(&b, loop_wall_ns(a->params.loop) / 1000000 * 1000000, 9, "Z");
    (void)snprintf(ret, size, "%s", buf_cstr(&b));
    buf_done(&b);
}

/* ---- answers ---- */

static json_t *render_registered(const struct deployment *d) {
    json_t *services = json_array();

    for (size_t i = 0; i < d->n_services; i++)
        (void)json_array_append_new(services, render_service(&d->services[i]));
    return json_pack("{s:s, s:o, s:i, s:i, s:s, s:[]}", "id", d->id, "services", services, "min_protocol_version",
                     (int)d->min_protocol, "max_protocol_version", (int)d->max_protocol, "sdk_version",
                     d->sdk_version ? d->sdk_version : "", "info");
}

static void answer_deployment(struct registration *g, const struct schema *s, unsigned status) {
    const struct deployment *d = schema_deployment(s, slice_str(g->id));
    char location[64];

    if (g->req && d) {
        (void)snprintf(location, sizeof location, "deployments/%s", d->id);
        admin_json(g->req, status, location, g->update ? render_deployment(d, true) : render_registered(d));
    }
    free_registration(g);
}

static unsigned success_status(const struct registration *g) {
    if (g->update)
        return 200;
    return g->known && !g->v2 ? 200 : 201;
}

static void refuse(struct registration *g, unsigned status, const char *code, const char *message) {
    if (g->req)
        admin_error(g->req, status, code, "%s", message);
    free_registration(g);
}

/* ---- commit ---- */

static void commit(struct registration *g);

static void on_committed(void *arg, int status, uint32_t version, const struct err *err) {
    struct registration *g = arg;
    struct schema *s;
    struct bytes *value;
    uint32_t v;

    if (status == RS_EEXIST) {
        commit(g);
        return;
    }
    if (status < 0) {
        refuse(g, 503, NULL, err ? err->msg : "the schema could not be written");
        return;
    }
    /* what was written, not what may have come since */
    if (meta_get(g->admin->params.meta, META_KEY_SCHEMA, &v, &value) < 0 ||
        schema_parse(bytes_slice(value), v, &worker_schema(g->admin->params.worker)->defaults, &s, NULL) < 0) {
        refuse(g, 500, NULL, "the schema was written but cannot be read back");
        return;
    }
    answer_deployment(g, s, success_status(g));
    schema_unref(s);
}

/* The schema this node knows right now (the worker's copy may be a turn behind). */
static int current_schema(struct admin *a, struct schema **ret, struct err *err) {
    struct bytes *value = NULL;
    uint32_t version = 0;

    if (meta_get(a->params.meta, META_KEY_SCHEMA, &version, &value) < 0)
        value = NULL;
    return schema_parse(value ? bytes_slice(value) : SLICE_NULL, value ? version : 0,
                        &worker_schema(a->params.worker)->defaults, ret, err);
}

static void answer_dry_run(struct registration *g, json_t *root) {
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    struct schema *s;
    struct err err = {0};

    if (schema_parse(slice_str(text), 0, &worker_schema(g->admin->params.worker)->defaults, &s, &err) < 0)
        refuse(g, 500, NULL, err.msg);
    else {
        answer_deployment(g, s, success_status(g));
        schema_unref(s);
    }
    free(text);
}

static void commit(struct registration *g) {
    struct schema_registration r = {.id = g->id,
                                    .uri = buf_cstr(&g->uri),
                                    .created_at = g->created_at,
                                    .headers = g->headers,
                                    .metadata = g->metadata,
                                    .use_http_11 = g->use_http_11,
                                    .breaking = g->breaking || g->force,
                                    .http = g->discovery.http,
                                    .sdk_version = g->discovery.sdk_version,
                                    .manifest = g->discovery.manifest};
    struct schema_refusal why = {0};
    struct err err = {0};
    struct schema *s;
    json_t *root;
    char *text;

    if (current_schema(g->admin, &s, &err) < 0) {
        refuse(g, 500, NULL, err.msg);
        return;
    }
    if (schema_plan_register(s, &r, &root, &why, &err) < 0) {
        refuse(g, (unsigned)why.status, why.code, err.msg);
    } else if (g->dry_run) {
        answer_dry_run(g, root);
        json_decref(root);
    } else {
        text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
        meta_cas(g->admin->params.meta, META_KEY_SCHEMA, (uint32_t)s->version, slice_str(text), 0, on_committed, g);
        free(text);
        json_decref(root);
    }
    schema_unref(s);
}

static void on_discovered(struct discovery *d) {
    struct registration *g = d->arg;

    if (!d->manifest)
        refuse(g, d->status, d->code, d->message);
    else
        commit(g);
}

static void discover(struct registration *g) {
    g->req->user = g;
    g->req->closed = on_gone;
    g->discovery = (struct discovery){.admin = g->admin,
                                      .uri = buf_cstr(&g->uri),
                                      .use_http_11 = g->use_http_11,
                                      .headers = g->headers,
                                      .done = on_discovered,
                                      .arg = g};
    discover_start(&g->discovery);
}

/* ---- POST ---- */

static bool flag(const json_t *o, const char *key, bool fallback) {
    const json_t *v = json_object_get(o, key);

    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

static json_t *string_map(const json_t *o, const char *key) {
    json_t *v = json_object_get(o, key);

    return json_is_object(v) ? json_incref(v) : NULL;
}

/* Additional headers, their names in lower case as they are sent; a new reference. */
static json_t *header_map(const json_t *o) {
    json_t *from = json_object_get(o, "additional_headers"), *to, *v;
    const char *name;

    if (!json_is_object(from))
        return NULL;
    to = json_object();
    json_object_foreach(from, name, v) {
        char *lower = xstrdup(name);

        for (char *c = lower; *c; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
        (void)json_object_set(to, lower, v);
        free(lower);
    }
    return to;
}

/* Not a map of what can be sent as header fields. */
static bool bad_header_map(const json_t *o) {
    json_t *map = header_map(o), *v;
    const char *name;
    bool bad = json_object_size(map) > LIMIT_REQUEST_HEADERS;

    json_object_foreach(map, name, v) {
        struct http_header h = {slice_str(name), slice_of(json_string_value(v), json_string_length(v))};

        bad = bad || !http_header_valid(&h);
    }
    json_decref(map);
    return bad;
}

static bool bad_string_map(const json_t *o, const char *key) {
    json_t *map = json_object_get(o, key), *v;
    const char *name;

    if (map && !json_is_object(map) && !json_is_null(map))
        return true;
    json_object_foreach(map, name, v) {
        if (!json_is_string(v))
            return true;
    }
    return false;
}

static void new_id(struct admin *a, char *ret) {
    uint8_t random[ULID_RANDOM_BYTES], ulid[ULID_BYTES];

    loop_random(a->params.loop, random, sizeof random);
    ulid_make(loop_wall_ns(a->params.loop) / 1000000, random, ulid);
    resource_id_format(ID_DEPLOYMENT, ulid, ret);
}

static void register_deployment(const struct admin_request *r) {
    json_t *o = admin_body(r);
    const char *uri = json_string_value(json_object_get(o, "uri"));
    const struct deployment *known;
    struct registration *g;
    struct err err = {0};

    if (!o)
        return;
    if (!uri || bad_string_map(o, "additional_headers") || bad_header_map(o) || bad_string_map(o, "metadata")) {
        if (json_object_get(o, "arn"))
            admin_error(r->req, 400, NULL, "AWS Lambda deployments (arn) are not supported by this server");
        else
            admin_error(
                r->req, 422, NULL,
                "Failed to deserialize the JSON body: `uri` must be a string, headers a map of at most %u header "
                "fields, metadata a map of strings",
                LIMIT_REQUEST_HEADERS);
        json_decref(o);
        return;
    }
    if (json_is_object(json_object_get(o, "auth"))) {
        admin_error(r->req, 400, NULL, "deployment authentication (auth) is not supported by this server");
        json_decref(o);
        return;
    }
    g = xnew(struct registration);
    g->admin = r->admin;
    g->req = r->req;
    g->v2 = r->api_version == 2;
    g->headers = header_map(o);
    g->metadata = string_map(o, "metadata");
    g->use_http_11 = flag(o, "use_http_11", false);
    g->breaking = flag(o, "breaking", false);
    g->force = flag(o, "force", g->v2);
    g->dry_run = flag(o, "dry_run", false);
    if (discover_uri(uri, &g->uri, &err) < 0) {
        refuse(g, 400, NULL, err.msg);
        json_decref(o);
        return;
    }
    json_decref(o);
    now_text(r->admin, g->created_at, sizeof g->created_at);
    known = schema_deployment_at(worker_schema(r->admin->params.worker), buf_cstr(&g->uri), g->headers,
                                 r->admin->params.routing_headers, r->admin->params.n_routing_headers);
    if (known && !g->force) {
        if (g->v2) {
            refuse(g, 409, "META0004",
                   "[META0004] a deployment with this address is registered already; use force to overwrite it");
            return;
        }
        (void)snprintf(g->id, sizeof g->id, "%s", known->id);
        g->known = true;
        answer_deployment(g, worker_schema(r->admin->params.worker), 200);
        return;
    }
    g->known = known != NULL;
    if (known)
        (void)snprintf(g->id, sizeof g->id, "%s", known->id);
    else
        new_id(r->admin, g->id);
    discover(g);
}

/* ---- PATCH ---- */

static void update_deployment(const struct admin_request *r, const struct deployment *d) {
    json_t *o = admin_body(r);
    const char *uri = json_string_value(json_object_get(o, "uri"));
    struct registration *g;
    struct err err = {0};

    if (!o)
        return;
    if (json_object_get(o, "arn") && !json_is_null(json_object_get(o, "arn"))) {
        admin_error(r->req, 400, NULL, "deployment %s is an HTTP deployment: it has no arn", d->id);
        json_decref(o);
        return;
    }
    if (bad_string_map(o, "additional_headers") || bad_header_map(o)) {
        admin_error(
            r->req, 422, NULL,
            "Failed to deserialize the JSON body: `additional_headers` must be a map of at most %u header fields",
            LIMIT_REQUEST_HEADERS);
        json_decref(o);
        return;
    }
    if (!uri && !json_is_object(json_object_get(o, "additional_headers")) &&
        !json_is_boolean(json_object_get(o, "use_http_11")) && !flag(o, "overwrite", false)) {
        json_decref(o);
        admin_json(r->req, 200, NULL, render_deployment(d, true));
        return;
    }
    g = xnew(struct registration);
    g->admin = r->admin;
    g->req = r->req;
    g->update = g->known = g->force = true;
    g->overwrite = flag(o, "overwrite", false);
    g->dry_run = flag(o, "dry_run", false);
    g->use_http_11 = flag(o, "use_http_11", d->http == DEPLOYMENT_HTTP1);
    g->headers = json_is_object(json_object_get(o, "additional_headers")) ? header_map(o) : header_map(d->json);
    g->metadata = string_map(d->json, "metadata");
    (void)snprintf(g->id, sizeof g->id, "%s", d->id);
    (void)snprintf(g->created_at, sizeof g->created_at, "%s", d->created_at);
    if (discover_uri(uri ? uri : d->uri, &g->uri, &err) < 0)
        refuse(g, 400, NULL, err.msg);
    else
        discover(g);
    json_decref(o);
}

/* ---- DELETE ---- */

struct removal {
    struct admin *admin;
    struct http_request *req;
    char id[RESOURCE_ID_MAX_CHARS + 1];
};

static void removal_gone(struct http_request *req) {
    struct removal *rm = req->user;

    rm->req = NULL;
    http_respond_slice(req, 499, NULL, 0, SLICE_NULL); /* thrown away */
}

static void remove_now(struct removal *rm);

static void on_removed(void *arg, int status, uint32_t version, const struct err *err) {
    struct removal *rm = arg;

    if (status == RS_EEXIST) {
        remove_now(rm);
        return;
    }
    if (rm->req && status == 0)
        admin_empty(rm->req, 202);
    else if (rm->req)
        admin_error(rm->req, 503, NULL, "%s", err ? err->msg : "the schema could not be written");
    free(rm);
}

static void remove_now(struct removal *rm) {
    struct schema *s = NULL;
    struct err err = {0};
    json_t *root;
    char *text;
    int r = current_schema(rm->admin, &s, &err);

    if (r == 0)
        r = schema_plan_remove(s, rm->id, &root, &err);
    if (r < 0) {
        if (rm->req)
            admin_error(rm->req, r == RS_ENOENT ? 404 : 500, NULL, "%s", err.msg);
        free(rm);
    } else {
        text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
        meta_cas(rm->admin->params.meta, META_KEY_SCHEMA, (uint32_t)s->version, slice_str(text), 0, on_removed, rm);
        free(text);
        json_decref(root);
    }
    schema_unref(s);
}

static void remove_deployment(const struct admin_request *r) {
    struct buf force = {0};
    struct removal *rm;
    bool forced = admin_query(r, "force", &force) && slice_eq_str(buf_slice(&force), "true");

    buf_done(&force);
    if (!forced) {
        admin_empty(r->req, 501); /* graceful removal does not exist, upstream neither */
        return;
    }
    rm = xnew(struct removal);
    rm->admin = r->admin;
    rm->req = r->req;
    (void)snprintf(rm->id, sizeof rm->id, SLICE_FMT, SLICE_ARG(r->seg[1]));
    r->req->user = rm;
    r->req->closed = removal_gone;
    remove_now(rm);
}

/* ---- routing ---- */

void admin_deployments(const struct admin_request *r) {
    struct schema *s = worker_schema(r->admin->params.worker);
    const struct deployment *d;
    uint8_t ulid[ULID_BYTES];
    struct err err = {0};

    if (r->n == 1) {
        if (slice_eq_str(r->req->method, "POST")) {
            register_deployment(r);
        } else if (slice_eq_str(r->req->method, "GET")) {
            json_t *list = json_array();

            for (size_t i = 0; i < s->n_deployments; i++)
                (void)json_array_append_new(list, render_deployment(&s->deployments[i], false));
            admin_json(r->req, 200, NULL, json_pack("{s:o}", "deployments", list));
        } else {
            admin_method_not_allowed(r->req, "GET,HEAD,POST");
        }
        return;
    }
    if (r->n > 2) {
        admin_error(r->req, 404, NULL, "not found");
        return;
    }
    if (resource_id_parse(ID_DEPLOYMENT, r->seg[1], ulid, &err) < 0) {
        admin_error(r->req, 400, NULL, "bad deployment id '" SLICE_FMT "': %s", SLICE_ARG(r->seg[1]), err.msg);
        return;
    }
    d = schema_deployment(s, r->seg[1]);
    if (!d)
        admin_error(r->req, 404, NULL, "not found in the schema registry: deployment with id '" SLICE_FMT "'",
                    SLICE_ARG(r->seg[1]));
    else if (slice_eq_str(r->req->method, "GET"))
        admin_json(r->req, 200, NULL, render_deployment(d, true));
    else if (slice_eq_str(r->req->method, "PATCH") || (slice_eq_str(r->req->method, "PUT") && r->api_version == 2))
        update_deployment(r, d);
    else if (slice_eq_str(r->req->method, "DELETE"))
        remove_deployment(r);
    else
        admin_method_not_allowed(r->req, "GET,HEAD,PATCH,DELETE");
}
