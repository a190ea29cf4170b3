/* SPDX-License-Identifier: Apache-2.0 */
/* net/frame.h : the frames of a fabric connection (spec cluster.md §5.2). Pure. Integers are little-endian.
 *
 * A connection begins with FRAME_MAGIC from the dialling side. Then frames, in both directions:
 *     0  u32 length of what follows the prefix
 *     4  u8 kind, u8 zero, u16 zero
 *     8  u32 crc32c of bytes 0..7 and of what follows the prefix
 *    12  body
 * Body of CALL and UNARY: u32 versions[4], u64 id (UNARY: 0), u16 service, u16 type, u16 flags, u16 length of
 * extensions, u64 sort code, extensions (skipped when unknown), payload. Body of REPLY: u32 versions[4], u64 id, u16
 * status, u16 length of extensions, extensions, payload. PING, PONG: u64. HELLO, WELCOME, REJECT: proto/fabric.def. */
#pragma once
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"

#define FRAME_MAGIC "\x89RSF\x0d\x0a\x1a\x01"
enum {
    FRAME_MAGIC_BYTES = 8,
    FRAME_PREFIX_BYTES = 12,
    FRAME_CALL_BYTES = 40, /* of a body, before extensions and payload */
    FRAME_REPLY_BYTES = 28,
    FRAME_HANDSHAKE_MAX = 64 << 10,     /* body, before the handshake is done */
    FRAME_MAX = (40 << 20) + (1 << 16), /* body: the largest record with its envelope */
    FRAME_PROTOCOL = 1,
};
enum frame_kind {
    FRAME_HELLO = 1,
    FRAME_WELCOME = 2,
    FRAME_REJECT = 3,
    FRAME_CALL = 5,
    FRAME_REPLY = 6,
    FRAME_UNARY = 7,
    FRAME_PING = 8,
    FRAME_PONG = 9,
    FRAME_DRAIN = 10, /* the sender is stopping: send nothing new here */
};
enum { FRAME_HAS_SORT_CODE = 1 };

struct frame_head { /* of CALL, UNARY and REPLY */
    uint32_t versions[4];
    uint64_t id, sort_code;
    uint16_t service, type, flags;
    uint16_t status; /* REPLY */
};
/* frame_encode() - prefix and body head into @out (emptied first); @parts follow on the wire, they are only summed. */
void frame_encode(struct buf *out, enum frame_kind kind, const struct frame_head *h, struct slice head,
                  struct bytes *const *parts, size_t n_parts);
/* frame_encode_raw() - a whole frame of another kind, appended to @out. */
void frame_encode_raw(struct buf *out, enum frame_kind kind, struct slice body);

/* frame_prefix() - read the prefix. Errors: RS_ECORRUPT, RS_ETOOBIG (longer than @max). */
int frame_prefix(const uint8_t p[FRAME_PREFIX_BYTES], size_t max, enum frame_kind *ret_kind, size_t *ret_len,
                 struct err *err) RS_WARN_UNUSED;
/* frame_check() - the checksum over prefix and body. RS_ECORRUPT. */
int frame_check(const uint8_t p[FRAME_PREFIX_BYTES], struct slice body, struct err *err) RS_WARN_UNUSED;
/* frame_head() - of CALL, UNARY or REPLY. RS_ECORRUPT. */
int frame_head(enum frame_kind kind, struct slice body, struct frame_head *ret, struct slice *ret_payload,
               struct err *err) RS_WARN_UNUSED;
