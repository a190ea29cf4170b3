/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of frames from an SDK, cut as the first byte says: the frames must be those of the uncut stream, and what
 * the server reads from stored messages must cope with all of them. */
#include <stdlib.h>

#include "base/util.h"
#include "proto/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 4096 };

static void look_at(const struct sp_frame *f) {
    _cleanup_arena_ struct arena a = {0};
    struct sp_notification_id id;
    enum sp_result_kind result;
    uint32_t ids[2];
    int ok = sp_message_check(f->type, f->payload, &a, NULL);
    int n = sp_command_completions(f->type, f->payload, ids, NULL);

    ASSERT(n <= 2);
    /* the quick readers accept what the full one accepts, apart from ids that are missing */
    if (sp_notification_id(f->payload, &id, &result, NULL) == 0 && ok == 0 && sp_type_is_notification(f->type)) {
        struct sp_notification m;

        ASSERT(sp_notification_decode(&m, f->payload, &a, NULL) == 0);
        ASSERT(id.kind != SP_ID_COMPLETION || (m.has_completion_id && m.completion_id == id.number));
    }
}

static void run(struct slice in, size_t piece_len, struct buf *seen) {
    struct sp_decoder d;
    int r = 0;

    sp_decoder_init(&d, LIMIT);
    while (r >= 0 && in.len) {
        struct slice piece = slice_sub(in, 0, piece_len);
        struct sp_frame f;

        in = slice_from(in, piece.len);
        while ((r = sp_decoder_next(&d, &piece, &f, NULL)) > 0) {
            sp_frame_put(seen, f.type, f.flags, f.payload);
            look_at(&f);
        }
    }
    buf_put_u8(seen, r < 0);
    sp_decoder_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_buf_ struct buf whole = {0}, pieces = {0};
    struct slice in;

    if (size < 2)
        return 0;
    in = slice_of(data + 1, size - 1);
    run(in, in.len, &whole);
    run(in, data[0] + 1u, &pieces);
    ASSERT(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    return 0;
}
