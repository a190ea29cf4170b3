/* SPDX-License-Identifier: Apache-2.0 */
/* admin/invocations.c : operations on one invocation and on many (spec admin.md §8, §9). */
#include "admin/admin_internal.h"
#include "base/text.h"
#include "proto/command.h"

#include <string.h>

enum op { OP_CANCEL, OP_KILL, OP_PURGE, OP_PURGE_JOURNAL, OP_PAUSE, OP_RESUME, OP_RESTART, OP_NONE };

static enum op op_of(struct slice name) {
    static const char *const names[] = {"cancel", "kill",   "purge",         "purge-journal",
                                        "pause",  "resume", "restart-as-new"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (slice_eq_str(name, names[i]))
            return (enum op)i;
    return OP_NONE;
}

struct batch;

struct operation {
    struct worker_call call;
    struct admin *admin;
    struct http_request *req; /* a single one */
    struct batch *batch;      /* one of many */
    enum op op;
    struct invocation_id id;
    bool legacy; /* DELETE /invocations: 202 */
};

struct batch {
    struct http_request *req; /* NULL: the client went away */
    json_t *succeeded, *failed;
    size_t left;
};

/* The HTTP status of an outcome; *text is the reason when it is an error. */
static unsigned status_of(const struct operation *o, const struct worker_reply *r, const char **text) {
    *text = NULL;
    switch (r->code) {
    case WORKER_OK:
        return o->legacy || o->op == OP_PAUSE ? 202 : 200;
    case WORKER_APPENDED:
        return 202;
    case WORKER_ALREADY_PAUSED:
        return 200;
    case WORKER_NOT_FOUND:
        *text = "does not exist";
        return 404;
    case WORKER_ALREADY_COMPLETED:
        *text = "is already completed";
        return 409;
    case WORKER_NOT_COMPLETED:
        *text = "is not completed yet";
        return 409;
    case WORKER_NOT_RUNNING:
        *text = "is not running";
        return 409;
    case WORKER_NOT_STARTED:
        *text = "has not started yet";
        return 425;
    case WORKER_STILL_RUNNING:
        *text = "is still running";
        return 409;
    case WORKER_MISSING_INPUT:
        *text = "cannot be restarted: its input is not available any more";
        return 410;
    case WORKER_UNSUPPORTED:
        *text =
            "cannot be restarted: workflows, and prefixes of journals older than protocol version 6, are not supported";
        return 422;
    case WORKER_INDEX_OUT_OF_RANGE:
        *text = "has no such journal entry";
        return 400;
    case WORKER_PREFIX_INCOMPLETE:
        *text = "cannot be restarted from there: the prefix has commands without completions";
        return 400;
    case WORKER_CANNOT_CHANGE_DEPLOYMENT:
        *text = "cannot change its deployment: it is running, or not pinned to one yet";
        return 409;
    case WORKER_DEPLOYMENT_NOT_FOUND:
        *text = "cannot change its deployment: there is no such deployment";
        return 400;
    case WORKER_INCOMPATIBLE_DEPLOYMENT:
        *text = "cannot change its deployment: the deployment does not speak its protocol version";
        return 400;
    default:
        *text = "could not be reached: its partition has no leader right now";
        return 503;
    }
}

static void finish_one(struct operation *o, unsigned status, const char *text, const char *id, const char *new_id) {
    if (text)
        admin_error(o->req, status, NULL, "The requested invocation '%s' %s", id, text);
    else if (o->op == OP_RESTART)
        admin_json(o->req, status, NULL, json_pack("{s:s}", "new_invocation_id", new_id));
    else
        admin_empty(o->req, status);
}

static void batch_finish(struct batch *b) {
    if (--b->left)
        return;
    if (b->req)
        admin_json(b->req, 200, NULL, json_pack("{s:O, s:O}", "succeeded", b->succeeded, "failed", b->failed));
    json_decref(b->succeeded);
    json_decref(b->failed);
    free(b);
}

static void finish_of_many(struct operation *o, const char *text, const char *id, const char *new_id) {
    char message[256];

    if (text) {
        (void)snprintf(message, sizeof message, "Invocation '%s' %s", id, text);
        (void)json_array_append_new(o->batch->failed, json_pack("{s:s, s:s}", "invocation_id", id, "error", message));
    } else if (o->op == OP_RESTART) {
        (void)json_array_append_new(o->batch->succeeded,
                                    json_pack("{s:s, s:s}", "old_invocation_id", id, "new_invocation_id", new_id));
    } else {
        (void)json_array_append_new(o->batch->succeeded, json_string(id));
    }
    batch_finish(o->batch);
}

static void on_reply(struct worker_call *call, const struct worker_reply *r) {
    struct operation *o = CONTAINER_OF(call, struct operation, call);
    char id[INVOCATION_ID_CHARS + 1], new_id[INVOCATION_ID_CHARS + 1];
    const char *text;
    unsigned status = status_of(o, r, &text);

    invocation_id_format(&o->id, id);
    invocation_id_format(&r->id, new_id);
    if (o->batch)
        finish_of_many(o, text, id, new_id);
    else
        finish_one(o, status, text, id, new_id);
    o->admin->in_flight--;
    free(o);
}

static void on_gone(struct http_request *req) {
    struct operation *o = req->user;

    worker_call_drop(o->admin->params.worker, &o->call);
    http_respond_slice(req, 499, NULL, 0, SLICE_NULL); /* thrown away */
    o->admin->in_flight--;
    free(o);
}

static void start(struct operation *o, uint32_t from, struct slice deployment) {
    struct worker *w = o->admin->params.worker;

    o->call.done = on_reply;
    o->admin->in_flight++;
    switch (o->op) {
    case OP_CANCEL:
    case OP_KILL:
        worker_call_terminate(w, &o->call, &o->id, o->op == OP_KILL ? TERMINATE_KILL : TERMINATE_CANCEL);
        break;
    case OP_PURGE:
    case OP_PURGE_JOURNAL:
        worker_call_purge(w, &o->call, &o->id, o->op == OP_PURGE_JOURNAL);
        break;
    case OP_PAUSE:
        worker_call_pause(w, &o->call, &o->id);
        break;
    case OP_RESUME:
        worker_call_resume(w, &o->call, &o->id, deployment);
        break;
    default:
        worker_call_restart(w, &o->call, &o->id, from, deployment);
    }
}

static void start_one(const struct admin_request *r, enum op op, bool legacy) {
    struct buf deployment = {0}, from = {0};
    struct operation *o;
    struct invocation_id id;
    struct err err = {0};
    uint64_t index = 0;

    if (invocation_id_parse(r->seg[1], &id, &err) < 0) {
        admin_error(r->req, 400, NULL, "bad invocation id '" SLICE_FMT "': %s", SLICE_ARG(r->seg[1]), err.msg);
        return;
    }
    if (admin_query(r, "from", &from) && (text_parse_u64(buf_slice(&from), &index) < 0 || index > UINT32_MAX)) {
        admin_error(r->req, 400, NULL, "the query parameter 'from' is not the index of a journal entry");
        buf_done(&from);
        return;
    }
    (void)admin_query(r, "deployment", &deployment);
    o = xnew(struct operation);
    o->admin = r->admin;
    o->req = r->req;
    o->op = op;
    o->id = id;
    o->legacy = legacy;
    r->req->user = o;
    r->req->closed = on_gone;
    start(o, (uint32_t)index, buf_slice(&deployment));
    buf_done(&deployment);
    buf_done(&from);
}

void admin_invocations(const struct admin_request *r) {
    struct buf mode = {0};
    enum op op;

    if (r->n == 2 && slice_eq_str(r->req->method, "DELETE")) {
        op = admin_query(r, "mode", &mode) ? op_of(buf_slice(&mode)) : OP_CANCEL;
        buf_done(&mode);
        if (op > OP_PURGE)
            admin_error(r->req, 400, NULL, "the query parameter 'mode' must be cancel, kill or purge");
        else
            start_one(r, op, true);
        return;
    }
    op = r->n == 3 ? op_of(r->seg[2]) : OP_NONE;
    if (op == OP_NONE)
        admin_error(r->req, 404, NULL, "not found");
    else if (!slice_eq_str(r->req->method, "PATCH"))
        admin_method_not_allowed(r->req, "PATCH");
    else
        start_one(r, op, false);
}

/* ---- many ---- */

static void batch_gone(struct http_request *req) {
    struct batch *b = req->user;

    b->req = NULL;
    http_respond_slice(req, 499, NULL, 0, SLICE_NULL); /* thrown away */
}

static void batch_one(const struct admin_request *r, struct batch *b, enum op op, const char *text,
                      struct slice deployment) {
    struct operation *o;
    struct invocation_id id;
    struct err err = {0};
    char message[512];

    if (!text || invocation_id_parse(slice_str(text), &id, &err) < 0) {
        (void)snprintf(message, sizeof message, "bad invocation id '%s': %s", text ? text : "", err.msg);
        (void)json_array_append_new(b->failed,
                                    json_pack("{s:s, s:s}", "invocation_id", text ? text : "", "error", message));
        batch_finish(b);
        return;
    }
    o = xnew(struct operation);
    o->admin = r->admin;
    o->batch = b;
    o->op = op;
    o->id = id;
    start(o, 0, deployment);
}

void admin_batch(const struct admin_request *r) {
    enum op op = r->n == 3 ? op_of(r->seg[2]) : OP_NONE;
    json_t *o, *ids, *id;
    const char *deployment;
    struct batch *b;
    size_t i;

    if (op == OP_NONE) {
        admin_error(r->req, 404, NULL, "not found");
        return;
    }
    if (!slice_eq_str(r->req->method, "POST")) {
        admin_method_not_allowed(r->req, "POST");
        return;
    }
    o = admin_body(r);
    if (!o)
        return;
    ids = json_object_get(o, "invocation_ids");
    deployment = json_string_value(json_object_get(o, "deployment"));
    if (!json_is_array(ids)) {
        admin_error(r->req, 422, NULL, "Failed to deserialize the JSON body: invocation_ids must be an array");
    } else if (json_array_size(ids) > 1000) {
        admin_error(r->req, 400, NULL, "at most 1000 invocations in one request, got %zu", json_array_size(ids));
    } else {
        b = xnew(struct batch);
        *b = (struct batch){
            .req = r->req, .succeeded = json_array(), .failed = json_array(), .left = json_array_size(ids) + 1};
        r->req->user = b;
        r->req->closed = batch_gone;
        json_array_foreach(ids, i, id) {
            batch_one(r, b, op, json_string_value(id), slice_str(deployment));
        }
        batch_finish(b);
    }
    json_decref(o);
}
