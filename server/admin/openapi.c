/* SPDX-License-Identifier: Apache-2.0 */
/* admin/openapi.c : the OpenAPI 3.1 document of a service, as clients call it through the ingress (admin.md §14). */
#include "admin/admin_internal.h"
#include "proto/command.h"

#include <stdio.h>
#include <string.h>

/* The parts that are the same for every service. */
static const char common_parts[] =
    "{\"parameters\":{"
    "\"delay\":{\"name\":\"delay\",\"in\":\"query\",\"required\":false,\"schema\":{\"type\":\"string\"},"
    "\"example\":\"10s\",\"description\":\"How long from now the handler is to start\"},"
    "\"idempotencyKeyHeader\":{\"name\":\"idempotency-key\",\"in\":\"header\",\"required\":false,"
    "\"schema\":{\"type\":\"string\"},\"description\":\"Requests with the same key are executed once\"},"
    "\"idempotencyKeyPath\":{\"name\":\"idempotencyKey\",\"in\":\"path\",\"required\":true,"
    "\"schema\":{\"type\":\"string\"},\"description\":\"The idempotency key that the request was made with\"},"
    "\"key\":{\"name\":\"key\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}},"
    "\"responses\":{"
    "\"GenericError\":{\"description\":\"Error response\",\"content\":{\"application/json\":{"
    "\"schema\":{\"$ref\":\"#/components/schemas/RestateError\"}}}},"
    "\"InvocationNotFoundError\":{\"description\":\"Invocation not found\",\"content\":{\"application/json\":{"
    "\"schema\":{\"$ref\":\"#/components/schemas/RestateError\"}}}},"
    "\"InvocationNotReadyError\":{\"description\":\"The invocation has not completed yet\","
    "\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/RestateError\"}}}},"
    "\"Send\":{\"description\":\"The request is accepted\",\"content\":{\"application/json\":{"
    "\"schema\":{\"title\":\"RestateSendResponse\",\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"invocationId\",\"status\"],\"properties\":{\"invocationId\":{\"type\":\"string\"},"
    "\"status\":{\"type\":\"string\",\"enum\":[\"Accepted\",\"PreviouslyAccepted\"]},"
    "\"executionTime\":{\"type\":\"string\",\"format\":\"date-time\","
    "\"description\":\"When the handler is to start, if a delay was asked for\"}}}}}}},"
    "\"schemas\":{\"RestateError\":{\"title\":\"RestateError\",\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"message\",\"source\"],\"description\":\"A failure of the ingress or of the invocation\","
    "\"properties\":{\"code\":{\"type\":\"number\"},\"message\":{\"type\":\"string\"},"
    "\"source\":{\"type\":\"string\",\"enum\":[\"ingress\",\"invocation\"]},"
    "\"metadata\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"stacktrace\":{\"type\":\"string\"}}}}}";

struct document {
    const struct service *service;
    json_t *paths, *schemas;
    const char *key; /* "/{key}" or "" */
};

static json_t *reference(const char *kind, const char *name) {
    return json_pack("{s:o}", "$ref", json_sprintf("#/components/%s/%s", kind, name));
}

/* References inside a schema that moves to components/schemas/@name; those below their own $id stay as they are. */
static void move_references(json_t *schema, const char *name) {
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    const char *key;
    json_t *v;
    size_t i;

    if (json_is_string(json_object_get(schema, "$id")))
        return;
    if (ref && ref[0] == '#')
        (void)json_object_set_new(schema, "$ref", json_sprintf("#/components/schemas/%s%s", name, ref + 1));
    if (json_is_object(schema)) {
        json_object_foreach(schema, key, v) {
            if (json_is_object(v) || json_is_array(v))
                move_references(v, name);
        }
    } else {
        json_array_foreach(schema, i, v) move_references(v, name);
    }
}

/* {content type: {"schema": …}}; the schema goes to the components under @name. */
static json_t *content(struct document *d, const char *type, const json_t *direction, const char *name) {
    const json_t *schema = json_object_get(direction, "jsonSchema");
    json_t *media = json_object(), *copy;

    if (json_is_object(schema)) {
        copy = json_deep_copy(schema);
        move_references(copy, name);
        (void)json_object_set_new(d->schemas, name, copy);
        (void)json_object_set_new(media, "schema", reference("schemas", name));
    } else if (json_is_boolean(schema)) {
        (void)json_object_set_new(media, "schema", json_copy((json_t *)(uintptr_t)schema));
    }
    return json_pack("{s:o}", type, media);
}

static json_t *request_body(struct document *d, const struct schema_handler *h) {
    char name[300];
    const char *type = h->has_input ? h->input_content_type : "*/*";

    if (!type)
        return NULL;
    (void)snprintf(name, sizeof name, "%sRequest", h->name);
    return json_pack("{s:b, s:o}", "required", h->input_required, "content",
                     content(d, type, json_object_get(h->json, "input"), name));
}

static json_t *output(struct document *d, const struct schema_handler *h) {
    json_t *o = json_pack("{s:s}", "description", "");
    char name[300];

    (void)snprintf(name, sizeof name, "%sResponse", h->name);
    if (h->output_content_type)
        (void)json_object_set_new(o, "content",
                                  content(d, h->output_content_type, json_object_get(h->json, "output"), name));
    return o;
}

/* An operation with what they all have; @suffix makes its id unique, @tag may be NULL. */
static json_t *operation(const struct document *d, const struct schema_handler *h, const char *what, const char *suffix,
                         const char *tag) {
    const char *text = json_string_value(json_object_get(h->json, "documentation"));
    json_t *o = json_pack("{s:s, s:o, s:o, s:[], s:{s:o}}", "summary", h->name, "operationId",
                          json_sprintf("%s%s", h->name, suffix), "description",
                          text ? json_string(text) : json_sprintf("%s %s/%s", what, d->service->name, h->name),
                          "parameters", "responses", "default", reference("responses", "GenericError"));

    if (d->key[0])
        (void)json_array_append_new(json_object_get(o, "parameters"), reference("parameters", "key"));
    if (tag)
        (void)json_object_set_new(o, "tags", json_pack("[s]", tag));
    return o;
}

static void parameter(json_t *operation, const char *name) {
    (void)json_array_append_new(json_object_get(operation, "parameters"), reference("parameters", name));
}

static void response(json_t *operation, const char *status, json_t *take) {
    (void)json_object_set_new(json_object_get(operation, "responses"), status, take);
}

static void add_path(struct document *d, json_t *path, const char *method, json_t *operation) {
    (void)json_object_set_new(d->paths, json_string_value(path), json_pack("{s:o}", method, operation));
    json_decref(path);
}

static void add_call(struct document *d, const struct schema_handler *h) {
    bool idempotent = d->service->type != SERVICE_WORKFLOW;
    json_t *call = operation(d, h, "Call and wait for the result of", "", "Request Response"),
           *send = operation(d, h, "Send to", "Send", "Send");
    json_t *body = request_body(d, h);

    if (idempotent) {
        parameter(call, "idempotencyKeyHeader");
        parameter(send, "idempotencyKeyHeader");
    }
    parameter(send, "delay");
    if (body) {
        (void)json_object_set(call, "requestBody", body);
        (void)json_object_set_new(send, "requestBody", body);
    }
    response(call, "200", output(d, h));
    response(send, "200", reference("responses", "Send"));
    response(send, "202", reference("responses", "Send"));
    add_path(d, json_sprintf("/restate/call/%s%s/%s", d->service->name, d->key, h->name), "post", call);
    add_path(d, json_sprintf("/restate/send/%s%s/%s", d->service->name, d->key, h->name), "post", send);
}

static void add_results(struct document *d, const struct schema_handler *h) {
    bool workflow = d->service->type == SERVICE_WORKFLOW;
    json_t *attach = operation(d, h, "Wait for the result of", "Attach", "Attach"),
           *peek = operation(d, h, "The result, if there is one, of", "Output", "Get Output");
    char where[700];

    if (workflow) {
        (void)snprintf(where, sizeof where, "/restate/workflow/%s%s", d->service->name, d->key);
    } else {
        (void)snprintf(where, sizeof where, "/restate/invocation/%s%s/%s/{idempotencyKey}", d->service->name, d->key,
                       h->name);
        parameter(attach, "idempotencyKeyPath");
        parameter(peek, "idempotencyKeyPath");
    }
    response(attach, "200", output(d, h));
    response(peek, "200", output(d, h));
    response(attach, "404", reference("responses", "InvocationNotFoundError"));
    response(peek, "404", reference("responses", "InvocationNotFoundError"));
    response(peek, "470", reference("responses", "InvocationNotReadyError"));
    add_path(d, json_sprintf("%s/attach", where), "get", attach);
    add_path(d, json_sprintf("%s/output", where), "get", peek);
}

json_t *render_openapi(const struct service *s, const char *ingress_url) {
    json_t *components = json_loads(common_parts, 0, NULL);
    struct document d = {.service = s,
                         .paths = json_object(),
                         .schemas = json_object_get(components, "schemas"),
                         .key = s->type == SERVICE_PLAIN ? "" : "/{key}"};
    const char *text = json_string_value(json_object_get(s->json, "documentation"));
    json_t *info = json_pack("{s:s, s:o}", "title", s->name, "version", json_sprintf("%u", s->revision));

    if (text)
        (void)json_object_set_new(info, "description", json_string(text));
    for (size_t i = 0; i < s->n_handlers; i++) {
        const struct schema_handler *h = &s->handlers[i];

        if (!h->is_public)
            continue;
        add_call(&d, h);
        if (s->type != SERVICE_WORKFLOW || h->target_type == TARGET_WORKFLOW_RUN)
            add_results(&d, h);
    }
    return json_pack("{s:s, s:o, s:[{s:s, s:s}], s:[{s:s}, {s:s}, {s:s}, {s:s}], s:o, s:o}", "openapi", "3.1.0", "info",
                     info, "servers", "url", ingress_url, "description", "Restate ingress", "tags", "name",
                     "Request Response", "name", "Send", "name", "Attach", "name", "Get Output", "paths", d.paths,
                     "components", components);
}
