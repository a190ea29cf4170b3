/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between metadata servers, commands of their log, and snapshots. */
#include "meta/kv.h"
#include "meta/raft_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice in = slice_of(data, size);
    struct raft_msg m;
    struct kv kv = {0};

    if (raft_msg_decode(in, &m, NULL) == 0) {
        _cleanup_buf_ struct buf out = {0};

        raft_msg_encode(&m, &out);
        raft_msg_done(&m);
    }
    (void)kv_apply(&kv, in, 1);
    if (kv_restore(&kv, in, NULL) == 0)
        (void)bytes_unref(kv_snapshot(&kv));
    kv_done(&kv);
    return 0;
}
