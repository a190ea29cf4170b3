/* SPDX-License-Identifier: Apache-2.0 */
/* ingress/ingress_internal.h : shared by ingress.c (requests in) and respond.c (answers out). */
#pragma once
#include "base/arena.h"
#include "base/list.h"
#include "http/server.h"
#include "ingress/ingress.h"
#include "ingress/path.h"
#include "loop/loop.h"
#include "meta/schema.h"
#include "worker/worker.h"

struct ingress {
    struct ingress_params params;
    struct http_server *server;
    struct arena arena; /* of the request being handled */
    unsigned in_flight;
};

/* A request that waits for its partition. */
struct ingress_call {
    struct worker_call call;
    struct ingress *ingress;
    struct http_request *req; /* NULL: the client went away */
    enum ingress_verb verb;
    bool has_id;
    struct invocation_id id;     /* of the invocation concerned, when has_id */
    struct buf service, handler; /* for the output's content type */
};

/* respond.c: every answer carries the CORS fields; errors the JSON body and x-restate-error-source. */
enum error_source { SOURCE_IS_INGRESS, SOURCE_IS_INVOCATION };
void ingress_answer(struct http_request *req, unsigned status, const struct http_header *extra, size_t n,
                    struct slice body);
void ingress_error(struct http_request *req, unsigned status, const char *fmt, ...) RS_PRINTF(3, 4);
void ingress_preflight(struct http_request *req);
void ingress_reply(struct ingress_call *c, const struct worker_reply *r);
