/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/epoch_metadata.h"
#include "base/util.h"
#include "meta/json.h"
#include "meta/nodes_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STALE_NS 1000000000u /* a claim that is under way for longer yields to one that was made meanwhile */

void epoch_metadata_key(partition_id_t p, char ret[META_KEY_MAX]) {
    snprintf(ret, META_KEY_MAX, EPOCH_KEY_PREFIX "%u", p);
}

/* ---- reading ---- */

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static int read_set(const json_t *o, const char *name, struct replica_set *ret, struct err *err) {
    json_t *set = NULL, *nodes = NULL;
    int r = json_field_obj(o, name, false, &set, err);

    if (r < 0 || !set)
        return r;
    r = json_field_u32(set, "version", true, &ret->version, err);
    r = r < 0 ? r : json_field_arr(set, "replica_set", true, &nodes, err);
    r = r < 0 ? r : json_field_u64(set, "modified_at", false, &ret->modified_at_ms, err);
    if (r == 0 && ret->version == 0)
        r = err_set(err, RS_ECORRUPT, "field \"version\" is 0");
    if (r == 0 && json_array_size(nodes) > REPLICA_SET_MAX)
        r = err_set(err, RS_ECORRUPT, "field \"replica_set\" has more than %u nodes", REPLICA_SET_MAX);
    for (size_t i = 0; r == 0 && i < json_array_size(nodes); i++) {
        json_int_t id = json_integer_value(json_array_get(nodes, i));

        if (id <= 0 || id > UINT32_MAX || replica_set_has(ret, (uint32_t)id))
            r = err_set(err, RS_ECORRUPT, "field \"replica_set\" has no list of different node ids");
        else
            ret->nodes[ret->n++] = (uint32_t)id;
    }
    qsort(ret->nodes, ret->n, sizeof ret->nodes[0], by_number);
    return r < 0 ? err_wrap(err, r, "%s", name) : 0;
}

/* {"freeze": reason}; a frozen policy has the field, even when the reason is empty */
static int read_freeze(const json_t *policy, bool *ret, char reason[160], struct err *err) {
    char *text = NULL;
    int r = json_field_str(policy, "freeze", false, &text, err);

    if (r == 0 && text) {
        *ret = true;
        snprintf(reason, 160, "%s", text);
    }
    free(text);
    return r;
}

static int read_policies(const json_t *o, struct epoch_metadata *e, struct err *err) {
    json_t *leadership = NULL, *placement = NULL;
    int r = json_field_obj(o, "leadership_policy", false, &leadership, err);

    r = r < 0 ? r : json_field_obj(o, "placement_policy", false, &placement, err);
    if (r == 0 && leadership) {
        r = json_field_u32(leadership, "affinity", false, &e->affinity, err);
        r = r < 0 ? r : read_freeze(leadership, &e->leadership_frozen, e->leadership_reason, err);
    }
    if (r == 0 && placement)
        r = read_freeze(placement, &e->placement_frozen, e->placement_reason, err);
    return r;
}

static int read_leader(const json_t *o, struct node_id *ret, struct err *err) {
    json_t *leader = NULL;
    char *id = NULL;
    int r = json_field_obj(o, "leader_metadata", false, &leader, err);

    if (r < 0 || !leader)
        return r;
    r = json_field_str(leader, "node_id", true, &id, err);
    if (r == 0 && node_id_parse(slice_str(id), ret) < 0)
        r = err_set(err, RS_ECORRUPT, "field \"node_id\" is not a node id");
    free(id);
    return r;
}

static int read_fields(const json_t *o, struct epoch_metadata *ret, struct err *err) {
    struct epoch_metadata e = {0};
    int r = json_field_u32(o, "version", true, &e.version, err);

    r = r < 0 ? r : json_field_u64(o, "epoch", true, &e.epoch, err);
    r = r < 0 ? r : read_leader(o, &e.leader, err);
    r = r < 0 ? r : read_set(o, "current", &e.current, err);
    r = r < 0 ? r : read_set(o, "next", &e.next, err);
    r = r < 0 ? r : read_policies(o, &e, err);
    if (r < 0)
        return err_wrap(err, r, "epoch metadata");
    *ret = e;
    return 0;
}

int epoch_metadata_parse(struct slice json, struct epoch_metadata *ret, struct err *err) {
    _cleanup_json_ json_t *o = NULL;
    int r = json_parse(json, "epoch metadata", &o, err);

    return r < 0 ? r : read_fields(o, ret, err);
}

int epoch_metadata_get(const struct meta *m, partition_id_t p, struct epoch_metadata *ret, struct err *err) {
    char key[META_KEY_MAX];
    struct bytes *value;

    epoch_metadata_key(p, key);
    if (meta_get(m, key, NULL, &value) < 0)
        return err_set(err, RS_ENOENT, "partition %u has no epoch metadata", p);
    return epoch_metadata_parse(bytes_slice(value), ret, err);
}

/* ---- replica sets ---- */

bool replica_set_same(const struct replica_set *a, const struct replica_set *b) {
    return a->n == b->n && memcmp(a->nodes, b->nodes, a->n * sizeof a->nodes[0]) == 0;
}

void replica_set_propose(struct epoch_metadata *e, const uint32_t *nodes, uint32_t n, uint64_t modified_at_ms) {
    struct replica_set s = {.version = (e->next.version ? e->next.version : e->current.version) + 1,
                            .n = MIN(n, REPLICA_SET_MAX),
                            .modified_at_ms = modified_at_ms};

    memcpy(s.nodes, nodes, s.n * sizeof s.nodes[0]);
    qsort(s.nodes, s.n, sizeof s.nodes[0], by_number);
    if (e->current.version)
        e->next = s;
    else
        e->current = s;
}

void replica_set_complete(struct epoch_metadata *e) {
    if (e->next.version) {
        e->current = e->next;
        e->next = (struct replica_set){0};
    }
}

/* ---- writing ---- */

static void put_set(json_t *o, const char *name, const struct replica_set *s) {
    json_t *set, *nodes;

    if (s->version == 0) {
        (void)json_object_del(o, name);
        return;
    }
    set = json_is_object(json_object_get(o, name)) ? json_incref(json_object_get(o, name)) : json_object();
    nodes = json_array();
    for (uint32_t i = 0; i < s->n; i++)
        (void)json_array_append_new(nodes, json_u64(s->nodes[i]));
    json_put(set, "version", json_u64(s->version));
    json_put(set, "replica_set", nodes);
    if (s->modified_at_ms)
        json_put(set, "modified_at", json_u64(s->modified_at_ms));
    json_put(o, name, set);
}

static void put_policies(json_t *o, const struct epoch_metadata *e) {
    json_t *leadership = json_object(), *placement = json_object();

    if (e->affinity)
        json_put(leadership, "affinity", json_u64(e->affinity));
    if (e->leadership_frozen)
        json_put(leadership, "freeze", json_text(e->leadership_reason));
    if (e->placement_frozen)
        json_put(placement, "freeze", json_text(e->placement_reason));
    json_put(o, "leadership_policy", leadership);
    json_put(o, "placement_policy", placement);
}

static void put_placement(json_t *o, const struct epoch_metadata *e, uint32_t version) {
    put_set(o, "current", &e->current);
    put_set(o, "next", &e->next);
    put_policies(o, e);
    if (!json_object_get(o, "epoch"))
        json_put(o, "epoch", json_u64(0));
    json_put(o, "version", json_u64(version));
}

int epoch_metadata_edit(struct slice json, const struct epoch_metadata *e, uint32_t version, struct buf *out,
                        struct err *err) {
    _cleanup_json_ json_t *o = NULL;
    int r = 0;

    if (json.len)
        r = json_parse(json, "epoch metadata", &o, err);
    else
        o = json_object();
    if (r < 0)
        return r;
    put_placement(o, e, version);
    json_write(o, out);
    return 0;
}

struct change {
    epoch_change_fn change;
    meta_cas_fn done;
    void *arg;
};

static int change_compute(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    struct change *c = arg;
    struct epoch_metadata e = {0};
    int r = version ? epoch_metadata_parse(current, &e, err) : 0;

    r = r < 0 ? r : c->change(c->arg, version != 0, &e, err);
    return r ? r : epoch_metadata_edit(version ? current : SLICE_NULL, &e, version + 1, out, err);
}

static void change_written(void *arg, int status, uint32_t version, const struct err *err) {
    const struct change *c = arg;

    c->done(c->arg, status, version, err);
}

void epoch_metadata_update(struct meta *m, partition_id_t p, uint64_t deadline_ns, epoch_change_fn change,
                           meta_cas_fn done, void *arg) {
    struct change *c = xnew(struct change);
    char key[META_KEY_MAX];

    *c = (struct change){.change = change, .done = done, .arg = arg};
    epoch_metadata_key(p, key);
    meta_update_take(m, key, deadline_ns, change_compute, change_written, c);
}

/* ---- claiming ---- */

struct claim {
    struct node_id self;
    partition_id_t partition;
    uint64_t nonce; /* in the value: tells my claim from any other of the same node */
    epoch_t epoch;  /* of the last attempt */
    struct loop *loop;
    uint64_t since_ns;
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
        r = r < 0 ? r : read_fields(o, &e, err);
        if (r < 0)
            return r;
    }
    /* A claim whose outcome was unknown and that did happen is not repeated. */
    leader = json_object_get(o, "leader_metadata");
    if (leader && json_field_u64(leader, "claim", false, &nonce, NULL) == 0 && nonce == c->nonce && e.epoch == c->epoch)
        return 1;
    if (c->epoch && e.epoch >= c->epoch && loop_now_ns(c->loop) - c->since_ns > STALE_NS)
        return err_set(err, RS_EEXIST, "partition %u: another node claimed epoch %" PRIu64 " meanwhile", c->partition,
                       e.epoch);
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

    *c = (struct claim){.self = self,
                        .partition = p,
                        .nonce = loop_random_u64(m->loop) | 1,
                        .loop = m->loop,
                        .since_ns = loop_now_ns(m->loop),
                        .done = done,
                        .arg = arg};
    epoch_metadata_key(p, key);
    meta_update_take(m, key, deadline_ns, claim_compute, claim_written, c);
}
