/* SPDX-License-Identifier: Apache-2.0 */
/* admin/services.c : services, their handlers and options, the state of an object (spec admin.md §5, §7). */
#include "admin/admin_internal.h"
#include "base/arena.h"

#include <string.h>

static void no_service(const struct admin_request *r) {
    admin_error(r->req, 404, NULL, "The requested service '" SLICE_FMT "' does not exist", SLICE_ARG(r->seg[1]));
}

/* ---- PATCH /services/{s} ---- */

struct service_patch {
    struct admin *admin;
    struct http_request *req;
    json_t *patch;
    char *name;
};

static void patch_gone(struct http_request *req) {
    struct service_patch *p = req->user;

    p->req = NULL;
    http_respond_slice(req, 499, NULL, 0, SLICE_NULL); /* thrown away */
}

static void free_patch(struct service_patch *p) {
    json_decref(p->patch);
    free(p->name);
    free(p);
}

static void patch_now(struct service_patch *p);

static void on_patched(void *arg, int status, uint32_t version, const struct err *err) {
    struct service_patch *p = arg;
    struct schema *s;
    struct bytes *value;
    uint32_t v;

    if (status == RS_EEXIST) {
        patch_now(p);
        return;
    }
    if (p->req && status == 0 && meta_get(p->admin->params.meta, META_KEY_SCHEMA, &v, &value) == 0 &&
        schema_parse(bytes_slice(value), v, &worker_schema(p->admin->params.worker)->defaults, &s, NULL) == 0) {
        const struct service *service = schema_service(s, slice_str(p->name));

        if (service)
            admin_json(p->req, 200, NULL, render_service(service));
        else
            admin_empty(p->req, 200);
        schema_unref(s);
    } else if (p->req) {
        admin_error(p->req, 503, NULL, "%s", err ? err->msg : "the schema could not be written");
    }
    free_patch(p);
}

static void patch_now(struct service_patch *p) {
    struct bytes *value = NULL;
    uint32_t version = 0;
    struct schema *s = NULL;
    struct err err = {0};
    json_t *root;
    int r = meta_get(p->admin->params.meta, META_KEY_SCHEMA, &version, &value);

    if (r == 0)
        r = schema_parse(bytes_slice(value), version, &worker_schema(p->admin->params.worker)->defaults, &s, &err);
    if (r == 0)
        r = schema_plan_patch(s, p->name, p->patch, &root, &err);
    if (r < 0) {
        if (p->req)
            admin_error(p->req, r == RS_ENOENT ? 404 : r == RS_EINVAL ? 400 : 500, NULL, "%s", err.msg);
        free_patch(p);
    } else {
        char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);

        meta_cas(p->admin->params.meta, META_KEY_SCHEMA, version, slice_str(text), 0, on_patched, p);
        free(text);
        json_decref(root);
    }
    schema_unref(s);
}

static void patch_service(const struct admin_request *r) {
    static const char *const durations[] = {"idempotency_retention", "workflow_completion_retention",
                                            "journal_retention", "inactivity_timeout", "abort_timeout"};
    json_t *o = admin_body(r), *v;
    struct service_patch *p;
    uint64_t ms;

    if (!o)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(durations); i++) {
        v = json_object_get(o, durations[i]);
        if (!v || json_is_null(v))
            continue;
        if (!admin_duration_ms(v, &ms)) {
            admin_error(r->req, 422, NULL,
                        "Failed to deserialize the JSON body: %s is not a duration such as \"1m 30s\" or \"PT90S\"",
                        durations[i]);
            json_decref(o);
            return;
        }
        (void)json_object_set_new(o, durations[i], json_integer((json_int_t)ms));
    }
    p = xnew(struct service_patch);
    p->admin = r->admin;
    p->req = r->req;
    p->patch = o;
    p->name = xstrndup(r->seg[1].data, r->seg[1].len);
    r->req->user = p;
    r->req->closed = patch_gone;
    patch_now(p);
}

/* ---- POST /services/{s}/state ---- */

struct state_call {
    struct worker_call call;
    struct admin *admin;
    struct http_request *req;
};

static void on_state(struct worker_call *call, const struct worker_reply *reply) {
    struct state_call *c = CONTAINER_OF(call, struct state_call, call);

    if (reply->code == WORKER_OK)
        admin_empty(c->req, 202);
    else
        admin_error(c->req, 503, NULL, "the state was not changed, or it is not known whether: %s",
                    reply->code == WORKER_FAILED ? reply->message : "the partition of this key lost its leader");
    c->admin->in_flight--;
    free(c);
}

static void state_gone(struct http_request *req) {
    struct state_call *c = req->user;

    worker_call_drop(c->admin->params.worker, &c->call);
    http_respond_slice(req, 499, NULL, 0, SLICE_NULL); /* thrown away */
    c->admin->in_flight--;
    free(c);
}

/* Values are arrays of byte numbers. False: answered. */
static bool state_entries(const struct admin_request *r, json_t *state, struct arena *a, struct cmd_patch_state *cmd) {
    struct cmd_state_entry *e = arena_newn(a, struct cmd_state_entry, json_object_size(state) + 1);
    size_t n = 0, i;
    const char *key;
    json_t *value, *byte;

    json_object_foreach(state, key, value) {
        uint8_t *bytes = arena_alloc(a, json_array_size(value) + 1);

        if (!json_is_array(value)) {
            admin_error(r->req, 422, NULL, "Failed to deserialize the JSON body: new_state.%s is not an array of bytes",
                        key);
            return false;
        }
        json_array_foreach(value, i, byte) {
            if (!json_is_integer(byte) || json_integer_value(byte) < 0 || json_integer_value(byte) > 255) {
                admin_error(r->req, 422, NULL, "Failed to deserialize the JSON body: new_state.%s[%zu] is not a byte",
                            key, i);
                return false;
            }
            bytes[i] = (uint8_t)json_integer_value(byte);
        }
        e[n].key = slice_str(key);
        e[n++].value = slice_of(bytes, json_array_size(value));
    }
    cmd->entries = e;
    cmd->n_entries = n;
    return true;
}

static void modify_state(const struct admin_request *r, const struct service *s) {
    json_t *o = admin_body(r), *state = json_object_get(o, "new_state"), *version = json_object_get(o, "version");
    const json_t *key = json_object_get(o, "object_key");
    struct cmd_patch_state cmd = {.service = r->seg[1]};
    struct arena a = {0};
    struct state_call *c;

    if (!o)
        return;
    if (!json_is_string(key) || !json_is_object(state)) {
        admin_error(r->req, 422, NULL,
                    "Failed to deserialize the JSON body: object_key must be a string and new_state an object");
    } else if (!s && json_object_size(state)) {
        no_service(r);
    } else if (s && s->type == SERVICE_PLAIN) {
        admin_error(r->req, 400, NULL, "service '%s' has no state: it is neither a virtual object nor a workflow",
                    s->name);
    } else if (state_entries(r, state, &a, &cmd)) {
        cmd.key = slice_of(json_string_value(key), json_string_length(key));
        cmd.check_version = json_is_string(version);
        if (cmd.check_version)
            cmd.version = slice_str(json_string_value(version));
        c = xnew(struct state_call);
        c->admin = r->admin;
        c->req = r->req;
        c->call.done = on_state;
        r->req->user = c;
        r->req->closed = state_gone;
        r->admin->in_flight++;
        worker_call_patch_state(r->admin->params.worker, &c->call, &cmd);
    }
    arena_done(&a);
    json_decref(o);
}

/* ---- routing ---- */

static void list_services(const struct admin_request *r, const struct schema *s) {
    json_t *list = json_array();

    for (size_t i = 0; i < s->n_latest; i++)
        (void)json_array_append_new(list, render_service(s->latest[i]));
    admin_json(r->req, 200, NULL, json_pack("{s:o}", "services", list));
}

static void list_handlers(const struct admin_request *r, const struct service *s) {
    json_t *list = json_array();

    for (size_t i = 0; i < s->n_handlers; i++)
        (void)json_array_append_new(list, render_handler(&s->handlers[i]));
    admin_json(r->req, 200, NULL, json_pack("{s:o}", "handlers", list));
}

void admin_services(const struct admin_request *r) {
    const struct schema *schema = worker_schema(r->admin->params.worker);
    const struct service *s = r->n > 1 ? schema_service(schema, r->seg[1]) : NULL;
    bool get = slice_eq_str(r->req->method, "GET");

    if (r->n == 3 && slice_eq_str(r->seg[2], "state")) {
        if (slice_eq_str(r->req->method, "POST"))
            modify_state(r, s);
        else
            admin_method_not_allowed(r->req, "POST");
    } else if (r->n == 2 && slice_eq_str(r->req->method, "PATCH")) {
        if (s)
            patch_service(r);
        else
            no_service(r);
    } else if (!get) {
        admin_method_not_allowed(r->req, r->n == 2 ? "GET,HEAD,PATCH" : "GET,HEAD");
    } else if (r->n == 1) {
        list_services(r, schema);
    } else if (!s) {
        no_service(r);
    } else if (r->n == 2) {
        admin_json(r->req, 200, NULL, render_service(s));
    } else if (slice_eq_str(r->seg[2], "handlers") && r->n == 3) {
        list_handlers(r, s);
    } else if (slice_eq_str(r->seg[2], "handlers") && r->n == 4) {
        const struct schema_handler *h = service_handler(s, r->seg[3]);

        if (h)
            admin_json(r->req, 200, NULL, render_handler(h));
        else
            admin_error(r->req, 404, NULL, "The requested handler '" SLICE_FMT "' does not exist on service '%s'",
                        SLICE_ARG(r->seg[3]), s->name);
    } else if (slice_eq_str(r->seg[2], "openapi") && r->n == 3) {
        admin_json(r->req, 200, NULL, render_openapi(s, r->admin->params.ingress_address));
    } else {
        admin_error(r->req, 404, NULL, "not found");
    }
}
