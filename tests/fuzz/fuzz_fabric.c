/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger sends to the fabric port: the first byte chooses how the stream is cut up, and whether it begins with
 * the magic. */
#include <string.h>
#include "net/fabric.h"
#include "net/frame.h"
#include "plugin/fake_transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fabric_transport transport(void *arg, const char *scheme) {
    (void)scheme;
    return (struct fabric_transport){fake_transport_ops(), arg, false};
}

static void handle(void *arg, struct fabric_request *r) {
    if (r->is_call)
        fabric_reply(*(struct fabric **)arg, r, r->payload, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fake_net *net = fake_net_new();
    struct fabric_params p = {
        .loop = net->loop, .cluster_name = "c", .self = {1, 1}, .fingerprint = 7, .transport = transport, .arg = net};
    struct fabric *f = fabric_new(&p);
    struct fabric_service s = {.id = SERVICE_NODE_CTL, .handle = handle, .arg = &f};
    struct fake_peer peer = {0};
    unsigned how = size ? data[0] : 0;

    fabric_serve(f, &s);
    if (fabric_listen(f, transport(net, ""), "fake://n1:1", NULL) < 0)
        return 0;
    net->read_max = how & 7;
    fake_peer_dial(&peer, net, "fake://n1:1");
    fake_run(net);
    if (how & 8)
        fake_peer_send(&peer, FRAME_MAGIC, FRAME_MAGIC_BYTES);
    for (size_t at = 1; at < size && !peer.closed;) { /* a frame: length, kind, body; its checksum is made right */
        struct buf b = {0};
        size_t n = size - at < 2 ? 0 : MIN((size_t)data[at + 1], size - at - 2);

        if (how & 16) {
            frame_encode_raw(&b, (enum frame_kind)data[at], slice_of(data + at + 2, n));
            at += 2 + n;
        } else {
            buf_put(&b, data + at, size - at);
            at = size;
        }
        fake_peer_send(&peer, b.data, b.len);
        fake_run(net);
        buf_done(&b);
    }
    if (!peer.closed)
        fake_peer_close(&peer, true);
    fake_run(net);
    fabric_unserve(f, &s);
    (void)fabric_free(f);
    fake_run(net);
    fake_net_free(net);
    return 0;
}
