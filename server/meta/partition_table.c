/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/partition_table.h"

#include <inttypes.h>
#include <stdio.h>
#include "meta/json.h"
#include "meta/nodes_config.h"

#define PARTITIONS_MAX 65535u

struct partition_table *partition_table_new(uint32_t n, const char *replication) {
    struct partition_table *t = xcalloc(1, sizeof *t + n * sizeof t->partitions[0]);

    ASSERT(n <= PARTITIONS_MAX);
    t->version = 1;
    t->replication = xstrdup(replication ? replication : "everywhere");
    t->n = n;
    for (uint32_t i = 0; i < n; i++) {
        t->partitions[i].first = (uint64_t)(((__uint128_t)i << 64) / n);
        t->partitions[i].last = (uint64_t)((((__uint128_t)i + 1) << 64) / n - 1);
        t->partitions[i].log_id = i;
    }
    return t;
}

struct partition_table *partition_table_free(struct partition_table *t) {
    if (t)
        free(t->replication);
    free(t);
    return NULL;
}

int partition_table_find(const struct partition_table *t, uint64_t partition_key) {
    uint32_t low = 0, high = t->n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (t->partitions[mid].last < partition_key)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->n && t->partitions[low].first <= partition_key ? (int)low : -1;
}

static int parse_u64_value(const json_t *v, uint64_t *ret) {
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *ret = (uint64_t)json_integer_value(v);
        return 0;
    }
    return json_is_string(v) ? json_parse_u64(slice_of(json_string_value(v), json_string_length(v)), ret) : RS_EINVAL;
}

static int parse_replication(const json_t *o, struct partition_table *t, struct err *err) {
    json_t *v = json_object_get(o, "replication");

    if (json_is_object(v))
        return json_field_str(v, "limit", true, &t->replication, err);
    return json_field_str(o, "replication", true, &t->replication, err);
}

static int parse_partition(json_t *o, struct partition_range *p, struct err *err) {
    json_t *range;
    int r = json_field_arr(o, "key_range", true, &range, err);

    if (r < 0)
        return r;
    if (parse_u64_value(json_array_get(range, 0), &p->first) < 0 ||
        parse_u64_value(json_array_get(range, 1), &p->last) < 0 || p->first > p->last)
        return err_set(err, RS_ECORRUPT, "field \"key_range\" is not a range");
    return json_field_u32(o, "log_id", true, &p->log_id, err);
}

int partition_table_parse(struct slice json, struct partition_table **ret, struct err *err) {
    _cleanup_(partition_table_freep) struct partition_table *t = NULL;
    _cleanup_json_ json_t *o = NULL;
    json_t *partitions;
    size_t n;
    int r = json_parse(json, "partition table", &o, err);

    r = r < 0 ? r : json_field_obj(o, "partitions", true, &partitions, err);
    if (r < 0)
        return r;
    n = json_object_size(partitions);
    if (n > PARTITIONS_MAX)
        return err_set(err, RS_ECORRUPT, "partition table: %zu partitions", n);
    t = xcalloc(1, sizeof *t + n * sizeof t->partitions[0]);
    r = json_field_u32(o, "version", true, &t->version, err);
    r = r < 0 ? r : parse_replication(o, t, err);
    if (r < 0)
        return err_wrap(err, r, "partition table");
    for (; t->n < n; t->n++) {
        struct partition_range *p = &t->partitions[t->n];
        char key[16];
        json_t *v;

        snprintf(key, sizeof key, "%" PRIu32, t->n);
        v = json_object_get(partitions, key);
        r = json_is_object(v) ? parse_partition(v, p, err) : err_set(err, RS_ECORRUPT, "is missing or no object");
        if (r == 0 && t->n && p->first <= p[-1].last)
            r = err_set(err, RS_ECORRUPT, "ranges overlap");
        if (r < 0)
            return err_wrap(err, r, "partition table: partition %s", key);
    }
    *ret = TAKE(t);
    return 0;
}

void partition_table_encode(const struct partition_table *t, struct buf *out) {
    _cleanup_json_ json_t *o = json_object();
    json_t *partitions = json_object();

    for (uint32_t i = 0; i < t->n; i++) {
        json_t *p = json_object(), *range = json_array();
        char key[16];

        (void)json_array_append_new(range, json_u64_str(t->partitions[i].first));
        (void)json_array_append_new(range, json_u64_str(t->partitions[i].last));
        json_put(p, "key_range", range);
        json_put(p, "log_id", json_u64(t->partitions[i].log_id));
        snprintf(key, sizeof key, "%" PRIu32, i);
        json_put(partitions, key, p);
    }
    if (strcmp(t->replication, "everywhere") == 0) {
        json_put(o, "replication", json_string("everywhere"));
    } else {
        json_t *limit = json_object();

        json_put(limit, "limit", json_text(t->replication));
        json_put(o, "replication", limit);
    }
    json_put(o, "version", json_u64(t->version));
    json_put(o, "partitions", partitions);
    json_write(o, out);
}
