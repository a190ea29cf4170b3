/* SPDX-License-Identifier: Apache-2.0 */
/* meta/schema_plan.c : changes of the schema value: register, remove, patch. Pure: old value in, new value out. */
#include "meta/schema.h"
#include "base/util.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { PROTOCOL_MIN = 5, PROTOCOL_MAX = 7 };

static const char *str_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

static int refuse(struct schema_refusal *why, int status, const char *code) {
    why->status = status;
    (void)snprintf(why->code, sizeof why->code, "%s", code);
    return RS_EINVAL;
}
#define REFUSE(status_, code_, ...) (refuse(why, (status_), (code_)), err_set(err, RS_EINVAL, __VA_ARGS__))

/* ^([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9._-]*$, for handlers without '.' and '-'. */
static bool name_is_valid(const char *s, bool service) {
    size_t i = 1;

    if (!s || !(isalpha((unsigned char)s[0]) || s[0] == '_'))
        return false;
    if (s[0] == '_') {
        if (!isalnum((unsigned char)s[1]))
            return false;
        i = 2;
    }
    for (; s[i]; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '_' && !(service && (s[i] == '.' || s[i] == '-')))
            return false;
    return strlen(s) <= 255;
}

static int check_handler(const json_t *service, const json_t *h, struct schema_refusal *why, struct err *err) {
    const char *sname = str_of(service, "name"), *sty = str_of(service, "ty"), *name = str_of(h, "name"),
               *ty = str_of(h, "ty");
    bool ok, run = ty && strcmp(ty, "WORKFLOW") == 0;

    if (!name_is_valid(name, false))
        return REFUSE(400, "META0013", "service '%s' has a handler with the invalid name '%s'", sname,
                      name ? name : "");
    if (strcmp(sty, "VIRTUAL_OBJECT") == 0)
        ok = !ty || strcmp(ty, "EXCLUSIVE") == 0 || strcmp(ty, "SHARED") == 0;
    else if (strcmp(sty, "WORKFLOW") == 0)
        ok = !ty || run || strcmp(ty, "SHARED") == 0;
    else
        ok = !ty || strcmp(ty, "SHARED") == 0;
    if (!ok)
        return REFUSE(400, "", "handler '%s/%s' is of type %s, which a %s cannot have", sname, name, ty, sty);
    if (json_object_get(h, "workflowCompletionRetention") &&
        !json_is_null(json_object_get(h, "workflowCompletionRetention")) && !run)
        return REFUSE(400, "",
                      "handler '%s/%s': a workflow completion retention is only for the run handler of a workflow",
                      sname, name);
    if (run && json_is_integer(json_object_get(h, "idempotencyRetention")))
        return REFUSE(400, "", "handler '%s/%s': the run handler of a workflow takes no idempotency retention", sname,
                      name);
    if (json_is_true(json_object_get(service, "ingressPrivate")) && json_is_false(json_object_get(h, "ingressPrivate")))
        return REFUSE(400, "", "handler '%s/%s' is public, its service is private", sname, name);
    return 0;
}

static const char *content_type_fault(const char *ct) {
    const char *slash = ct ? strchr(ct, '/') : NULL;

    if (!ct)
        return NULL;
    if (!slash || slash == ct || !slash[1])
        return "is not type/subtype";
    if (ct[0] == '*' && strcmp(ct, "*/*") != 0)
        return "has a wildcard type with a fixed subtype";
    return NULL;
}

static int check_service(const struct schema *s, const json_t *o, bool breaking, struct schema_refusal *why,
                         struct err *err) {
    const char *name = str_of(o, "name"), *ty = str_of(o, "ty");
    const json_t *handlers = json_object_get(o, "handlers"), *h;
    const struct service *old;
    size_t i;

    if (!name_is_valid(name, true))
        return REFUSE(400, "META0013", "the manifest has a service with the invalid name '%s'", name ? name : "");
    if (strncasecmp(name, "restate", 7) == 0 || strcasecmp(name, "openapi") == 0)
        return REFUSE(400, "META0005", "[META0005] the service name '%s' is reserved", name);
    if (!ty || (strcmp(ty, "SERVICE") != 0 && strcmp(ty, "VIRTUAL_OBJECT") != 0 && strcmp(ty, "WORKFLOW") != 0))
        return REFUSE(500, "META0013", "[META0013] service '%s' is of the unknown type '%s'", name, ty ? ty : "");
    old = schema_service(s, slice_str(name));
    if (old && !breaking) {
        const char *was = str_of(old->json, "ty");

        if (strcmp(was, ty) != 0)
            return REFUSE(409, "META0006",
                          "[META0006] service '%s' was a %s and would become a %s; use force to allow it", name, was,
                          ty);
    }
    json_array_foreach(handlers, i, h) {
        const char *fault, *ct = str_of(json_object_get(h, "input"), "contentType");
        int r = check_handler(o, h, why, err);

        if (r < 0)
            return r;
        fault = content_type_fault(ct);
        if (fault)
            return REFUSE(400, "", "handler '%s/%s': the input content type '%s' %s", name, str_of(h, "name"), ct,
                          fault);
    }
    return 0;
}

static int check_manifest(const struct schema *s, const struct schema_registration *r, struct schema_refusal *why,
                          struct err *err) {
    const char *mode = str_of(r->manifest, "protocolMode");
    json_int_t min = json_integer_value(json_object_get(r->manifest, "minProtocolVersion"));
    json_int_t max = json_integer_value(json_object_get(r->manifest, "maxProtocolVersion"));
    const json_t *services = json_object_get(r->manifest, "services"), *o;
    size_t i;

    if (!mode || (strcmp(mode, "BIDI_STREAM") != 0 && strcmp(mode, "REQUEST_RESPONSE") != 0))
        return REFUSE(500, "META0013", "[META0013] the endpoint manifest has no valid protocolMode");
    if (min < 1 || max > INT32_MAX || min > max)
        return REFUSE(500, "META0013",
                      "[META0013] the endpoint manifest has the invalid protocol version range [%lld, %lld]",
                      (long long)min, (long long)max);
    if (min > PROTOCOL_MAX || max < PROTOCOL_MIN || strncmp(r->sdk_version, "restate-sdk-typescript/1.0.", 27) == 0 ||
        strncmp(r->sdk_version, "restate-sdk-typescript/1.1.", 27) == 0 ||
        strncmp(r->sdk_version, "restate-sdk-typescript/1.2.", 27) == 0)
        return REFUSE(
            500, "META0012",
            "[META0012] the endpoint speaks protocol versions [%lld, %lld], this server [%d, %d]: update the SDK",
            (long long)min, (long long)max, PROTOCOL_MIN, PROTOCOL_MAX);
    if (!json_is_array(services) || json_array_size(services) == 0)
        return REFUSE(500, "META0013", "[META0013] the endpoint manifest names no services");
    if (r->http == DEPLOYMENT_HTTP1 && strcmp(mode, "BIDI_STREAM") == 0 && r->use_http_11)
        return REFUSE(
            500, "META0015",
            "[META0015] the endpoint announces bidirectional streams, which HTTP/1.1 registration does not carry");
    json_array_foreach(services, i, o) {
        int rc = check_service(s, o, r->breaking, why, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* A copy of the value with its deployments array present. */
static json_t *copy_root(const struct schema *s, json_t **ret_deployments) {
    json_t *root = json_deep_copy(s->root), *a = json_object_get(root, "deployments");

    if (!a) {
        a = json_array();
        (void)json_object_set_new(root, "deployments", a);
    }
    if (!json_object_get(root, "revisions"))
        (void)json_object_set_new(root, "revisions", json_object());
    (void)json_object_set_new(root, "format", json_integer(1));
    *ret_deployments = a;
    return root;
}

static size_t find_deployment(const json_t *deployments, const char *id) {
    size_t i;
    const json_t *d;

    json_array_foreach(deployments, i, d) {
        if (strcmp(str_of(d, "id"), id) == 0)
            return i;
    }
    return SIZE_MAX;
}

static json_t *make_deployment(json_t *root, const struct schema_registration *r) {
    const json_t *services = json_object_get(r->manifest, "services"), *o;
    json_t *revisions = json_object_get(root, "revisions"), *list = json_array();
    bool bidi = strcmp(str_of(r->manifest, "protocolMode"), "BIDI_STREAM") == 0;
    json_t *d = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:s}", "id", r->id, "uri", r->uri, "protocol_type",
        bidi ? "BidiStream" : "RequestResponse", "http_version", r->http == DEPLOYMENT_HTTP1 ? "HTTP/1.1" : "HTTP/2.0",
        "created_at", r->created_at, "min_protocol_version", json_object_get(r->manifest, "minProtocolVersion"),
        "max_protocol_version", json_object_get(r->manifest, "maxProtocolVersion"), "sdk_version", r->sdk_version);
    size_t i;

    if (r->headers && json_object_size(r->headers))
        (void)json_object_set(d, "additional_headers", r->headers);
    if (r->metadata && json_object_size(r->metadata))
        (void)json_object_set(d, "metadata", r->metadata);
    if (r->use_http_11)
        (void)json_object_set_new(d, "use_http_11", json_true());
    json_array_foreach(services, i, o) {
        json_t *copy = json_deep_copy(o);
        const char *name = str_of(o, "name");
        json_int_t rev = json_integer_value(json_object_get(revisions, name)) + 1;

        (void)json_object_set_new(revisions, name, json_integer(rev));
        (void)json_object_set_new(copy, "revision", json_integer(rev));
        (void)json_array_append_new(list, copy);
    }
    (void)json_object_set_new(d, "services", list);
    return d;
}

int schema_plan_register(const struct schema *s, const struct schema_registration *r, json_t **ret,
                         struct schema_refusal *why, struct err *err) {
    json_t *root, *deployments;
    size_t at;
    int rc = check_manifest(s, r, why, err);

    if (rc < 0)
        return rc;
    root = copy_root(s, &deployments);
    at = find_deployment(deployments, r->id);
    if (at == SIZE_MAX)
        (void)json_array_append_new(deployments, make_deployment(root, r));
    else
        (void)json_array_set_new(deployments, at, make_deployment(root, r));
    *ret = root;
    return 0;
}

int schema_plan_remove(const struct schema *s, const char *id, json_t **ret, struct err *err) {
    json_t *deployments, *root = copy_root(s, &deployments);
    size_t at = find_deployment(deployments, id);

    if (at == SIZE_MAX) {
        json_decref(root);
        return err_set(err, RS_ENOENT, "not found in the schema registry: deployment with id '%s'", id);
    }
    (void)json_array_remove(deployments, at);
    *ret = root;
    return 0;
}

static void patch_ms(json_t *service, const json_t *patch, const char *from, const char *to, bool *touched) {
    json_t *v = json_object_get(patch, from);

    if (!json_is_integer(v))
        return;
    (void)json_object_set(service, to, v);
    *touched = true;
}

int schema_plan_patch(const struct schema *s, const char *name, const json_t *patch, json_t **ret, struct err *err) {
    const struct service *service = schema_service(s, slice_str(name));
    json_t *deployments, *root, *o, *v;
    size_t at, i;
    bool touched = false;

    if (!service)
        return err_set(err, RS_ENOENT, "The requested service '%s' does not exist", name);
    if (json_is_integer(json_object_get(patch, "workflow_completion_retention")) && service->type != SERVICE_WORKFLOW)
        return err_set(err, RS_EINVAL, "service '%s' is not a workflow: it takes no workflow_completion_retention",
                       name);
    root = copy_root(s, &deployments);
    at = find_deployment(deployments, service->deployment->id);
    json_array_foreach(json_object_get(json_array_get(deployments, at), "services"), i, o) {
        if (strcmp(str_of(o, "name"), name) != 0)
            continue;
        if (json_is_boolean(v = json_object_get(patch, "public"))) {
            (void)json_object_set_new(o, "ingressPrivate", json_boolean(json_is_false(v)));
            touched = true;
        }
        patch_ms(o, patch, "idempotency_retention", "idempotencyRetention", &touched);
        patch_ms(o, patch, "workflow_completion_retention", "workflowCompletionRetention", &touched);
        patch_ms(o, patch, "journal_retention", "journalRetention", &touched);
        patch_ms(o, patch, "inactivity_timeout", "inactivityTimeout", &touched);
        patch_ms(o, patch, "abort_timeout", "abortTimeout", &touched);
    }
    if (!touched) { /* nothing asked for: the value stays */
        json_decref(root);
        root = json_incref(s->root);
    }
    *ret = root;
    return 0;
}
