/* SPDX-License-Identifier: Apache-2.0 */
/* proto/record.h : the one byte layout of a log record: on the wire, in the log store, in the record cache (spec
 * execution.md §3.1). The leader makes it once, with the checksum; everybody else looks at it in place. Offset and LSN
 * are not part of it. Little-endian:
 *
 *   0 u32 crc32c of all that follows     4 u32 total length        8 u8 format = 1
 *   9 u8 keys: 0 none, 1 single, 2 pair, 3 range                  10 u8 dedup: 0 none, 1 self, 2 partition, 3 producer
 *  11 u8 flags = 0                      12 u16 kind               14 u16 header length
 *  16 u64 created_at, unix ns           24 keys: 0, 8 or 16 bytes; then dedup: self {epoch u64, seq u64},
 *     partition {id u64, seq u64}, producer {16 bytes, seq u64}; header ends here; then the command (command.def) */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

#define RECORD_FORMAT 1
#define RECORD_FIXED_BYTES 24
#define RECORD_HEADER_MAX_BYTES (RECORD_FIXED_BYTES + 16 + 24)

enum record_keys {
    RECORD_KEYS_NONE = 0,   /* concerns every key */
    RECORD_KEYS_SINGLE = 1, /* key[0] */
    RECORD_KEYS_PAIR = 2,   /* key[0] and key[1] */
    RECORD_KEYS_RANGE = 3,  /* key[0] to key[1], inclusive */
};
enum record_dedup {
    RECORD_DEDUP_NONE = 0,
    RECORD_DEDUP_SELF = 1,      /* (epoch, seq), ordered */
    RECORD_DEDUP_PARTITION = 2, /* (partition, seq) */
    RECORD_DEDUP_PRODUCER = 3,  /* (producer, seq) */
};

struct record_header {
    uint16_t kind; /* enum command_kind */
    uint8_t keys, dedup;
    uint64_t created_at_ns; /* unix */
    uint64_t key[2];
    uint64_t dedup_epoch;       /* SELF */
    uint64_t dedup_partition;   /* PARTITION */
    uint8_t dedup_producer[16]; /* PRODUCER */
    uint64_t dedup_seq;         /* all but NONE */
};

struct record_view {
    struct record_header header;
    struct slice payload; /* in the record's bytes */
};

/* record_size() - bytes of a record with @payload_len bytes of command. */
size_t record_size(const struct record_header *h, size_t payload_len);
/* record_put() - write header and checksum around the command that is already at @at + record_size(h, 0); @payload_len
 * at most LIMIT_RECORD_BYTES - RECORD_HEADER_MAX_BYTES. For those who encode the command in place. */
void record_put(const struct record_header *h, uint8_t *at, size_t payload_len);
/* record_new() - header, checksum and a copy of @payload; one reference. */
struct bytes *record_new(const struct record_header *h, struct slice payload);

/* record_view() - read a record that was verified before; the checksum is not looked at.
 * Return: 0; RS_ECORRUPT the lengths do not fit; RS_EUNSUPPORTED unknown format, flags, keys or dedup: the reader must
 * not go on without a newer program. Kinds are not judged here. */
int record_view(struct slice record, struct record_view *ret, struct err *err) RS_WARN_UNUSED;
/* record_verify() - length and checksum of bytes from disk or a peer: 0 or RS_ECORRUPT. @record is exactly one record.
 */
int record_verify(struct slice record, struct err *err) RS_WARN_UNUSED;
/* record_length() - the total length that the first 8 bytes announce, for cutting records out of a stream; 0 when it
 * is impossible (shorter than a header or above LIMIT_RECORD_BYTES). */
size_t record_length(const uint8_t first[8]);
/* record_touches() - whether a reader of keys @first to @last (inclusive) needs the record. */
bool record_touches(const struct record_header *h, uint64_t first, uint64_t last);
