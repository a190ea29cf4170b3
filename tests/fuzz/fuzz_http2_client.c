/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes from a server to the client: HTTP/2, or HTTP/1.1 when the first byte says so. */
#include "http/client.h"

#include "fuzz_http.h"

static void on_head(void *arg, struct http_stream *s, unsigned status, const struct http_header *h, size_t n) {
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < h[i].value.len; k++)
            sum ^= h[i].value.data[k];
    if (status == 299) {
        *(struct http_stream **)arg = NULL;
        http_stream_reset(s);
    }
}
static void on_data(void *arg, struct http_stream *s, struct slice d) {
    if (d.len && d.data[0] == 'R') {
        *(struct http_stream **)arg = NULL;
        http_stream_reset(s);
    } else if (d.len && d.data[0] != 'K') {
        http_stream_consume(s, d.len);
    }
}
static void on_end(void *arg, struct http_stream *s) {
    http_stream_end(s); /* has no effect the second time */
}
static void on_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    *(struct http_stream **)arg = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static const struct http_stream_events ev = {on_head, on_data, on_end, NULL, on_closed};
    struct http_client_params cp = {.max_head_bytes = 4096};
    struct http_stream *streams[3];
    struct http_client *client;
    struct fake_peer peer;
    struct fake_net *net;
    bool done = false;
    uint8_t how;

    if (len < 2)
        return 0;
    how = data[0];
    net = fake_net_new();
    net->read_max = how & 4 ? 1u + (how >> 4) : 0;
    net->write_max = how & 8 ? 1u + (how >> 4) * 16u : 0;
    client = http_client_new(net->loop, &cp);
    fake_peer_serve(net, "fake:a", &peer);
    for (int i = 0; i < 3; i++) {
        struct http_client_request req = {
            .transport = fake_transport(net),
            .uri = "fake:a",
            .scheme = SLICE_LIT("http"),
            .authority = SLICE_LIT("a"),
            .method = SLICE_LIT("POST"),
            .path = SLICE_LIT("/"),
            .version = how & 1 ? HTTP_VERSION_1 : HTTP_VERSION_2,
        };

        if (http_client_request(client, &req, &ev, &streams[i], &streams[i], NULL) < 0)
            abort();
        (void)http_stream_write(streams[i], bytes_new(0));
        (void)http_stream_write_copy(streams[i], SLICE_LIT("hello"));
        if (how & 2)
            http_stream_end(streams[i]);
    }
    fake_run(net);
    fake_peer_send(&peer, data + 1, len - 1);
    fake_advance(net, 1000);
    if (streams[1] && (how & 16))
        http_stream_reset(streams[1]);
    fake_peer_close(&peer, how & 32);
    http_client_close(client, fuzz_flag, &done);
    fake_run(net);
    if (!done)
        abort();
    fake_net_free(net);
    return 0;
}
