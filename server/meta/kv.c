/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/kv.h"

#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/hash.h"
#include "base/limits.h"
#include "meta/meta.h"
#include "proto/metadata.gen.h"

static uint64_t key_hash(struct slice key) {
    return hash64(key);
}

static struct kv_value *find(const struct kv *kv, struct slice key) {
    for (struct map_node *n = map_first(&kv->values, key_hash(key)); n; n = map_next(n))
        if (slice_eq_str(key, MAP_ENTRY(n, struct kv_value, node)->key))
            return MAP_ENTRY(n, struct kv_value, node);
    return NULL;
}

const struct kv_value *kv_find(const struct kv *kv, const char *key) {
    return find(kv, slice_str(key));
}

void kv_done(struct kv *kv) {
    struct map_node *n;

    while ((n = map_iter(&kv->values, NULL))) {
        struct kv_value *v = MAP_ENTRY(n, struct kv_value, node);

        map_remove(&kv->values, n);
        (void)bytes_unref(v->value);
        free(v->key);
        free(v);
    }
    map_done(&kv->values);
    *kv = (struct kv){0};
}

static struct kv_value *get(struct kv *kv, struct slice key) {
    struct kv_value *v = find(kv, key);

    if (!v) {
        v = xnew(struct kv_value);
        v->key = xmalloc(key.len + 1);
        memcpy(v->key, key.data, key.len);
        v->key[key.len] = 0;
        v->removed = true;
        map_add(&kv->values, &v->node, key_hash(key));
    }
    return v;
}

void kv_set(struct kv *kv, const char *key, uint32_t version, struct bytes *value, uint64_t index) {
    struct kv_value *v = get(kv, slice_str(key));
    struct bytes *old = v->value;

    v->value = value ? bytes_ref(value) : NULL;
    v->version = version;
    v->changed = index;
    v->removed = !value;
    (void)bytes_unref(old);
}

enum md_code kv_check(const struct kv *kv, struct slice key, uint32_t precondition, uint32_t expected,
                      uint32_t version) {
    const struct kv_value *v = find(kv, key);
    uint32_t have = v && !v->removed ? v->version : 0;

    if (key.len == 0 || key.len >= META_KEY_MAX || memchr(key.data, 0, key.len) || precondition > KV_MATCHES)
        return MD_REFUSED;
    if (precondition == KV_MATCHES && have != expected)
        return MD_MISMATCH;
    return version > (v ? v->version : 0) ? MD_OK : MD_MISMATCH;
}

struct kv_result kv_apply(struct kv *kv, struct slice data, uint64_t index) {
    _cleanup_(arena_done) struct arena a = {0};
    struct kv_result r = {MD_REFUSED, NULL};
    struct kv_value *v;
    struct md_put m;

    if (md_put_decode(&m, data, &a, NULL) < 0 || m.value.len > LIMIT_METADATA_VALUE_BYTES)
        return r;
    r.code = kv_check(kv, m.key, m.precondition, m.expected, m.version);
    if (r.code == MD_OK) {
        v = get(kv, m.key);
        (void)bytes_unref(v->value);
        v->value = m.remove ? NULL : bytes_copy(m.value);
        v->version = m.version;
        v->changed = index;
        v->removed = m.remove;
    }
    r.value = find(kv, m.key);
    return r;
}

static int by_key(const void *a, const void *b) {
    return strcmp((*(struct kv_value *const *)a)->key, (*(struct kv_value *const *)b)->key);
}

struct bytes *kv_snapshot(const struct kv *kv) {
    struct kv_value **sorted = xcalloc(kv->values.n + 1, sizeof(struct kv_value *));
    struct md_value *values = xcalloc(kv->values.n + 1, sizeof *values);
    struct md_snapshot m = {.values = values};
    struct buf out = {0};

    MAP_FOREACH (n, &kv->values)
        sorted[m.n_values++] = MAP_ENTRY(n, struct kv_value, node);
    qsort(sorted, m.n_values, sizeof *sorted, by_key);
    for (size_t i = 0; i < m.n_values; i++)
        values[i] = (struct md_value){.key = slice_str(sorted[i]->key),
                                      .version = sorted[i]->version,
                                      .value = bytes_slice(sorted[i]->value),
                                      .changed = sorted[i]->changed,
                                      .removed = sorted[i]->removed};
    md_snapshot_encode(&m, &out);
    free(sorted);
    free(values);
    return bytes_take_buf(&out);
}

int kv_restore(struct kv *kv, struct slice snapshot, struct err *err) {
    _cleanup_(arena_done) struct arena a = {0};
    struct md_snapshot m;
    int r = md_snapshot_decode(&m, snapshot, &a, err);

    if (r < 0)
        return err_wrap(err, RS_ECORRUPT, "a snapshot of the metadata");
    kv_done(kv);
    for (size_t i = 0; i < m.n_values; i++) {
        const struct md_value *v = &m.values[i];
        struct kv_value *to;

        if (v->key.len == 0 || v->key.len >= META_KEY_MAX || find(kv, v->key))
            return err_set(err, RS_ECORRUPT, "a snapshot of the metadata has a bad key");
        to = get(kv, v->key);
        to->version = v->version;
        to->changed = v->changed;
        to->removed = v->removed;
        to->value = v->removed ? NULL : bytes_copy(v->value);
    }
    return 0;
}
