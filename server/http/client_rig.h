/* SPDX-License-Identifier: Apache-2.0 */
/* http/client_rig.h : (tests) a client and a server on one driven loop, over the transport in memory. The server
 * listens at "fake:a" and answers with what it was asked; a peer that speaks bytes is a fake_peer of the test. */
#pragma once
#include "http/client.h"
#include "http/fake_transport.h"
#include "http/server.h"
#include "unit.h"

struct client_call { /* one request and what was heard of it */
    struct http_stream *s;
    struct buf body;
    unsigned status, heads, ends, closes, writables;
    int closed_status;
    unsigned flags;
    uint32_t h2_error;
    char message[320];
    bool hold; /* do not consume */
    bool reset_in_head, reset_in_data, end_at_head;
};
struct client_rig {
    struct fake_net *net;
    struct http_server *server;
    struct http_client *client;
    enum http_version version;
    struct http_request *held[512];
    unsigned n_held, n_requests, n_gone;
    bool hold; /* requests wait in @held for rig_answer() */
    bool drained, client_done;
};

extern const struct http_stream_events rig_events; /* their arg is a struct client_call */

void rig_start(struct client_rig *w, enum http_version v, const struct http_server_params *sp,
               const struct http_client_params *cp);
void rig_finish(struct client_rig *w);
void rig_set(void *flag); /* sets a bool */

void rig_go(struct client_rig *w, struct client_call *c, const char *method, bool no_body); /* to "fake:a" */
void rig_go_to(struct client_rig *w, struct client_call *c, const char *uri, const char *method, bool no_body);
void rig_answer(struct http_request *q);
