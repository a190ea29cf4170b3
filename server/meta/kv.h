/* SPDX-License-Identifier: Apache-2.0 */
/* meta/kv.h : the state machine of the metadata group: versioned values with preconditions (spec cluster.md §3.2,
 * §4.1). The same entries in the same order make the same store on every member. Pure, in memory, one owner. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/map.h"

enum md_code { /* of an answer */
               MD_OK = 0,
               MD_NOT_LEADER = 1, /* certainly not carried out: go elsewhere */
               MD_MISMATCH = 2,   /* the precondition failed; version and value are the current ones */
               MD_REFUSED = 3,    /* other cluster, bad request: do not repeat */
               MD_NOT_READY = 4,  /* certainly not carried out: try again later */
               MD_UNKNOWN = 5,    /* may or may not have been carried out */
};
enum { KV_ANY = 0, KV_MATCHES = 1 }; /* preconditions */

struct kv_value {
    struct map_node node;
    char *key;
    uint32_t version;
    uint64_t changed; /* log index of the entry that wrote it */
    bool removed;     /* keeps its version: it never falls */
    struct bytes *value;
};
struct kv { /* zeroed: empty */
    struct map values;
};
void kv_done(struct kv *kv);
/* kv_find() - also what was removed. */
const struct kv_value *kv_find(const struct kv *kv, const char *key);

struct kv_result {
    enum md_code code;
    const struct kv_value *value; /* as it is now; NULL: the key never existed */
};
/* kv_apply() - one entry's data (proto/metadata.def: put), at @index. Damaged data changes nothing: MD_REFUSED. */
struct kv_result kv_apply(struct kv *kv, struct slice data, uint64_t index);
/* kv_check() - what kv_apply() would say about it now. */
enum md_code kv_check(const struct kv *kv, struct slice key, uint32_t precondition, uint32_t expected,
                      uint32_t version);
/* kv_set() - without preconditions: for values that come from elsewhere. */
void kv_set(struct kv *kv, const char *key, uint32_t version, struct bytes *value, uint64_t index);

struct bytes *kv_snapshot(const struct kv *kv);                                       /* keys in order */
int kv_restore(struct kv *kv, struct slice snapshot, struct err *err) RS_WARN_UNUSED; /* replaces all; RS_ECORRUPT */
