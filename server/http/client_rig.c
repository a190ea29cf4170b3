/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client_rig.h"

#include <stdio.h>

static void on_gone(struct http_request *q) {
    ((struct client_rig *)q->user)->n_gone++;
}
void rig_answer(struct http_request *q) {
    struct http_header h[2] = {HTTP_HEADER("x-method", q->method),
                               HTTP_HEADER("x-a", http_header_get(q->headers, q->n_headers, "a"))};

    http_respond(q, 200, h, 2, q->body ? bytes_ref(q->body) : NULL);
}
static void on_request(void *arg, struct http_request *q) {
    struct client_rig *w = arg;

    w->n_requests++;
    q->user = w;
    q->closed = on_gone;
    if (w->hold)
        w->held[w->n_held++] = q;
    else
        rig_answer(q);
}

static void ev_head(void *arg, struct http_stream *s, unsigned status, const struct http_header *h, size_t n) {
    struct client_call *c = arg;

    c->heads++;
    c->status = status;
    if (c->end_at_head)
        http_stream_end(s);
    if (c->reset_in_head)
        http_stream_reset(s);
}
static void ev_data(void *arg, struct http_stream *s, struct slice d) {
    struct client_call *c = arg;

    buf_put_slice(&c->body, d);
    if (c->reset_in_data)
        http_stream_reset(s);
    else if (!c->hold)
        http_stream_consume(s, d.len);
}
static void ev_end(void *arg, struct http_stream *s) {
    ((struct client_call *)arg)->ends++;
}
static void ev_writable(void *arg, struct http_stream *s) {
    ((struct client_call *)arg)->writables++;
}
static void ev_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    struct client_call *c = arg;

    c->closes++;
    c->s = NULL;
    c->closed_status = why->status;
    c->flags = why->flags;
    c->h2_error = why->h2_error;
    (void)snprintf(c->message, sizeof c->message, "%s", why->message);
}
const struct http_stream_events rig_events = {ev_head, ev_data, ev_end, ev_writable, ev_closed};

void rig_start(struct client_rig *w, enum http_version v, const struct http_server_params *sp,
               const struct http_client_params *cp) {
    *w = (struct client_rig){.net = fake_net_new(), .version = v};
    w->server = http_server_new(w->net->loop, sp, on_request, w);
    assert_int_equal(http_server_listen(w->server, fake_transport(w->net), "fake:a", NULL, NULL), 0);
    w->client = http_client_new(w->net->loop, cp);
}
void rig_set(void *flag) {
    *(bool *)flag = true;
}
void rig_finish(struct client_rig *w) {
    if (w->client)
        http_client_close(w->client, rig_set, &w->client_done);
    fake_run(w->net);
    assert_true(!w->client || w->client_done);
    http_server_drain(w->server, 0, rig_set, &w->drained);
    fake_run(w->net);
    fake_advance(w->net, 1);
    assert_true(w->drained);
    (void)http_server_free(w->server);
    fake_net_free(w->net);
}

void rig_go_to(struct client_rig *w, struct client_call *c, const char *uri, const char *method, bool no_body) {
    struct http_header h[] = {HTTP_HEADER("a", SLICE_LIT("b c"))};
    struct http_client_request req = {
        .transport = fake_transport(w->net),
        .uri = uri,
        .scheme = SLICE_LIT("http"),
        .authority = SLICE_LIT("place:80"),
        .method = slice_str(method),
        .path = SLICE_LIT("/x?y"),
        .version = w->version,
        .headers = h,
        .n_headers = 1,
        .no_body = no_body,
    };

    assert_int_equal(http_client_request(w->client, &req, &rig_events, c, &c->s, NULL), 0);
}
void rig_go(struct client_rig *w, struct client_call *c, const char *method, bool no_body) {
    rig_go_to(w, c, "fake:a", method, no_body);
}
