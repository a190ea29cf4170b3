/* SPDX-License-Identifier: Apache-2.0 */
/* proto/ids.h : identifiers: their bytes, their text, and how they follow from what is called. All functions are pure;
 * time and randomness come in as arguments.
 *
 * Text is <prefix>_1<payload>. Numbers in it are base62 (0-9a-zA-Z), most significant digit first, padded with 0, of
 * the big-endian bytes read as a *little-endian* integer: text does not sort like the bytes do.
 *
 * Parse errors are RS_EINVAL; the message is the bare reason that ingress and admin put into their answers: "bad
 * length", "base62 decode error", "bad format", "unrecognized codec version", "id doesn't match the expected type",
 * "unrecognized resource type: <x>". */
#pragma once
#include "base/err.h"
#include "base/slice.h"

#define INVOCATION_ID_BYTES 24
#define INVOCATION_ID_CHARS 38 /* inv_1, 11 of the partition key, 22 of the uuid */
#define AWAKEABLE_ID_CHARS 44
#define RESOURCE_ID_MAX_CHARS 28
#define ULID_BYTES 16
#define ULID_RANDOM_BYTES 10

struct invocation_id {
    uint8_t raw[INVOCATION_ID_BYTES]; /* partition key, 8 big-endian, then uuid, 16; zeroed: no id */
};

static inline uint64_t invocation_id_pk(const struct invocation_id *id) {
    return get_u64be(id->raw);
}
static inline struct slice invocation_id_slice(const struct invocation_id *id) {
    return slice_of(id->raw, sizeof id->raw);
}
static inline bool invocation_id_eq(const struct invocation_id *a, const struct invocation_id *b) {
    return memcmp(a->raw, b->raw, sizeof a->raw) == 0;
}
/* invocation_id_from_raw() - from its 24 bytes; RS_EINVAL "bad length", "bad format" for a uuid of zero. */
int invocation_id_from_raw(struct slice raw, struct invocation_id *ret, struct err *err);
void invocation_id_format(const struct invocation_id *id, char ret[INVOCATION_ID_CHARS + 1]);
int invocation_id_parse(struct slice text, struct invocation_id *ret, struct err *err) RS_WARN_UNUSED;
/* invocation_id_seed() - the random seed an SDK gets; the same for the life of the invocation. */
uint64_t invocation_id_seed(const struct invocation_id *id);

/* What is called, as far as ids depend on it. */
struct id_target {
    uint32_t type;         /* enum target_type, proto/command.h */
    struct slice service;  /* */
    struct slice key;      /* objects and workflows */
    struct slice handler;  /* */
    struct slice scope;    /* data NULL: none; else id_is_scope() */
    struct slice idem_key; /* idempotency key; data NULL: none. Callers refuse an empty one */
};
bool id_is_scope(struct slice s); /* 1 to 36 letters, digits, '_', '.' and '-' */

#define ID_RANDOM_BYTES 12 /* 10 for a ULID, 2 for a bucket */
#define ID_BUCKETS 512

/* invocation_id_derive() - the id of a new invocation. Workflow runs and calls with an idempotency key always get the
 * same one, which is how they are deduplicated; others take @now_ms (unix) and @random.
 * Return: whether the id follows from @t alone. */
bool invocation_id_derive(const struct id_target *t, uint64_t now_ms, const uint8_t random[ID_RANDOM_BYTES],
                          struct invocation_id *ret);
/* id_partition_key() - of @t; @bucket (below ID_BUCKETS) is used by unkeyed services without an idempotency key. */
uint64_t id_partition_key(const struct id_target *t, unsigned bucket);

struct awakeable_id {
    struct invocation_id invocation;
    uint32_t index; /* of the signal; of the entry when legacy */
    bool legacy;    /* prom_1: readable, but nobody waits for it */
};
void awakeable_id_format(const struct awakeable_id *id, char ret[AWAKEABLE_ID_CHARS + 1]);
int awakeable_id_parse(struct slice text, struct awakeable_id *ret, struct err *err) RS_WARN_UNUSED;

/* Ids that are a ULID: 48 bits of unix milliseconds, 80 random ones, big-endian. */
enum resource_id_kind { ID_DEPLOYMENT, ID_SUBSCRIPTION, ID_SNAPSHOT }; /* dp_1, sub_1, snap_1 */
void ulid_make(uint64_t now_ms, const uint8_t random[ULID_RANDOM_BYTES], uint8_t ret[ULID_BYTES]);
void resource_id_format(enum resource_id_kind kind, const uint8_t ulid[ULID_BYTES],
                        char ret[RESOURCE_ID_MAX_CHARS + 1]);
int resource_id_parse(enum resource_id_kind kind, struct slice text, uint8_t ret[ULID_BYTES],
                      struct err *err) RS_WARN_UNUSED;

/* The partitions are N equal contiguous ranges of the key space (spec execution.md §2.2). */
struct key_range {
    uint64_t first, last; /* inclusive */
};
struct key_range partition_range(unsigned i, unsigned n); /* i < n */
unsigned partition_of_key(uint64_t key, unsigned n);      /* n > 0 */
