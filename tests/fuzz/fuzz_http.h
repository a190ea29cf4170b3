/* SPDX-License-Identifier: Apache-2.0 */
/* What the HTTP fuzz targets share: a server over the transport in memory, fed with bytes. */
#pragma once
#include <stdlib.h>

#include "http/fake_transport.h"
#include "http/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz_world {
    struct fake_net *net;
    struct http_server *server;
    struct http_request *held[64];
    unsigned n_held;
    bool hold, stream;
};

static inline void fuzz_answer(struct fuzz_world *w, struct http_request *q) {
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < q->n_headers; i++) /* every byte handed out is readable */
        for (size_t k = 0; k < q->headers[i].value.len; k++)
            sum ^= q->headers[i].value.data[k];
    for (size_t k = 0; k < q->path.len; k++)
        sum ^= q->path.data[k];
    if (w->stream) {
        http_respond_begin(q, 200, q->headers, q->n_headers, NULL);
        (void)http_respond_write_copy(q, bytes_slice(q->body));
        if (q->path.len & 1)
            http_respond_abort(q);
        else
            http_respond_end(q);
    } else {
        http_respond(q, 200, q->headers, q->n_headers, q->body ? bytes_ref(q->body) : NULL);
    }
}

static inline void fuzz_request(void *arg, struct http_request *q) {
    struct fuzz_world *w = arg;

    if (w->hold && w->n_held < 64)
        w->held[w->n_held++] = q;
    else
        fuzz_answer(w, q);
}

static inline void fuzz_flag(void *flag) {
    *(bool *)flag = true;
}

static inline void fuzz_http_server(const char *hello, size_t hello_len, uint8_t how, const uint8_t *data, size_t len) {
    struct http_server_params p = {.max_head_bytes = 4096, .max_body_bytes = 10000, .h2_max_streams = 20};
    struct fuzz_world w = {.net = fake_net_new(), .hold = how & 1, .stream = how & 2};
    struct fake_peer peer;
    bool drained = false;

    w.net->read_max = how & 4 ? 1u + (how >> 4) : 0;
    w.net->write_max = how & 8 ? 1u + (how >> 4) * 16u : 0;
    w.server = http_server_new(w.net->loop, &p, fuzz_request, &w);
    if (http_server_listen(w.server, fake_transport(w.net), "fake:a", NULL, NULL) < 0)
        abort();
    fake_peer_dial(&peer, w.net, "fake:a");
    fake_peer_send(&peer, hello, hello_len);
    fake_peer_send(&peer, data, len / 2);
    while (w.n_held)
        fuzz_answer(&w, w.held[--w.n_held]);
    fake_peer_send(&peer, data + len / 2, len - len / 2);
    fake_peer_close(&peer, how & 1);
    while (w.n_held)
        fuzz_answer(&w, w.held[--w.n_held]);
    http_server_drain(w.server, 0, fuzz_flag, &drained);
    fake_run(w.net);
    fake_advance(w.net, 1000);
    if (!drained)
        abort();
    (void)http_server_free(w.server);
    fake_net_free(w.net);
}
