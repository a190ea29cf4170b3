/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/partition_table.h"

#include <inttypes.h>
#include <stdio.h>
#include "meta/json.h"
#include "meta/nodes_config.h"

#define PARTITIONS_MAX 65535u
#define EPOCH_KEY_PREFIX "pp_epoch_"

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

/* ---- epochs ---- */

void epoch_metadata_key(partition_id_t p, char ret[META_KEY_MAX]) {
    snprintf(ret, META_KEY_MAX, EPOCH_KEY_PREFIX "%u", p);
}

static int epoch_fields(const json_t *o, struct epoch_metadata *ret, struct err *err) {
    struct epoch_metadata e = {0};
    json_t *leader;
    char *id = NULL;
    int r = json_field_u32(o, "version", true, &e.version, err);

    r = r < 0 ? r : json_field_u64(o, "epoch", true, &e.epoch, err);
    r = r < 0 ? r : json_field_obj(o, "leader_metadata", false, &leader, err);
    if (r == 0 && leader) {
        r = json_field_str(leader, "node_id", true, &id, err);
        if (r == 0 && node_id_parse(slice_str(id), &e.leader) < 0)
            r = err_set(err, RS_ECORRUPT, "field \"node_id\" is not a node id");
        free(id);
    }
    if (r < 0)
        return err_wrap(err, r, "epoch metadata");
    *ret = e;
    return 0;
}

int epoch_metadata_parse(struct slice json, struct epoch_metadata *ret, struct err *err) {
    _cleanup_json_ json_t *o = NULL;
    int r = json_parse(json, "epoch metadata", &o, err);

    return r < 0 ? r : epoch_fields(o, ret, err);
}

int epoch_metadata_get(const struct meta *m, partition_id_t p, struct epoch_metadata *ret, struct err *err) {
    char key[META_KEY_MAX];
    struct bytes *value;

    epoch_metadata_key(p, key);
    if (meta_get(m, key, NULL, &value) < 0)
        return err_set(err, RS_ENOENT, "partition %u has no epoch metadata", p);
    return epoch_metadata_parse(bytes_slice(value), ret, err);
}

struct claim {
    struct node_id self;
    partition_id_t partition;
    uint64_t nonce; /* in the value: tells my claim from any other of the same node */
    epoch_t epoch;  /* of the last attempt */
    epoch_claim_fn done;
    void *arg;
};

/* The replica set of a partition that nobody placed yet: the claiming node. */
static json_t *first_replica_set(struct node_id self) {
    json_t *o = json_object(), *set = json_array();

    (void)json_array_append_new(set, json_u64(self.id));
    json_put(o, "version", json_integer(1));
    json_put(o, "replica_set", set);
    return o;
}

static int claim_compute(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    struct claim *c = arg;
    _cleanup_json_ json_t *o = NULL;
    struct epoch_metadata e = {0};
    uint64_t nonce = 0;
    json_t *leader;
    char id[32];
    int r;

    if (version == 0) {
        o = json_object();
        json_put(o, "current", first_replica_set(c->self));
    } else {
        r = json_parse(current, "epoch metadata", &o, err);
        r = r < 0 ? r : epoch_fields(o, &e, err);
        if (r < 0)
            return r;
    }
    /* A claim whose outcome was unknown and that did happen is not repeated. */
    leader = json_object_get(o, "leader_metadata");
    if (leader && json_field_u64(leader, "claim", false, &nonce, NULL) == 0 && nonce == c->nonce && e.epoch == c->epoch)
        return 1;
    c->epoch = e.epoch + 1;
    snprintf(id, sizeof id, NODE_ID_FMT, NODE_ID_ARG(c->self));
    leader = json_object();
    json_put(leader, "node_id", json_string(id));
    json_put(leader, "partition_id", json_u64(c->partition));
    json_put(leader, "claim", json_u64_str(c->nonce));
    json_put(o, "leader_metadata", leader);
    json_put(o, "epoch", json_u64(c->epoch));
    json_put(o, "version", json_u64(version + 1));
    json_write(o, out);
    return 0;
}

static void claim_written(void *arg, int status, uint32_t version, const struct err *err) {
    const struct claim *c = arg;

    c->done(c->arg, status, status == 0 ? c->epoch : 0, err);
}

void epoch_claim(struct meta *m, partition_id_t p, struct node_id self, uint64_t deadline_ns, epoch_claim_fn done,
                 void *arg) {
    struct claim *c = xnew(struct claim);
    char key[META_KEY_MAX];

    *c = (struct claim){.self = self, .partition = p, .nonce = loop_random_u64(m->loop) | 1, .done = done, .arg = arg};
    epoch_metadata_key(p, key);
    meta_update_take(m, key, deadline_ns, claim_compute, claim_written, c);
}
