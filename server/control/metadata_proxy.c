/* SPDX-License-Identifier: Apache-2.0 */
#include "control/metadata_proxy.h"

#include "base/arena.h"
#include "control/requests.h"
#include "meta/epoch_metadata.h"
#include "meta/logs_config.h"
#include "meta/nodes_config.h"
#include "meta/partition_table.h"

#define PUT_NS 5000000000u

struct metadata_proxy {
    struct loop *loop;
    struct fabric *fabric;
    struct meta *meta;
    struct fabric_service service;
    struct list waits;
};

static int check_version(const char *key, uint32_t found, uint32_t version, struct err *err) {
    return found == version ? 0
                            : err_set(err, RS_EINVAL, "the value of %s says version %u, but would become version %u",
                                      key, found, version);
}

int metadata_value_check(const char *key, struct slice value, uint32_t version, struct err *err) {
    int r = 0;

    if (strcmp(key, META_KEY_NODES) == 0) {
        _cleanup_(nodes_config_freep) struct nodes_config *c = NULL;

        r = nodes_config_parse(value, &c, err);
        return r < 0 ? r : check_version(key, c->version, version, err);
    }
    if (strcmp(key, META_KEY_LOGS) == 0) {
        _cleanup_(logs_config_freep) struct logs_config *c = NULL;

        r = logs_config_parse(value, &c, err);
        return r < 0 ? r : check_version(key, c->version, version, err);
    }
    if (strcmp(key, META_KEY_PARTITIONS) == 0) {
        _cleanup_(partition_table_freep) struct partition_table *t = NULL;

        r = partition_table_parse(value, &t, err);
        return r < 0 ? r : check_version(key, t->version, version, err);
    }
    if (strncmp(key, EPOCH_KEY_PREFIX, strlen(EPOCH_KEY_PREFIX)) == 0) {
        struct epoch_metadata e;

        r = epoch_metadata_parse(value, &e, err);
        return r < 0 ? r : check_version(key, e.version, version, err);
    }
    return 0;
}

static void answer_get(struct metadata_proxy *p, struct fabric_request *r, const char *key) {
    struct ctl_response a = {0};
    struct bytes *value = NULL;

    if (meta_get(p->meta, key, &a.version, &value) == 0)
        a.value = bytes_slice(value);
    control_answer(p->fabric, r, &a);
}

static void on_put(void *arg, int status, uint32_t version, const struct err *err) {
    struct control_wait *w = arg;
    struct ctl_response a = {.version = version};

    if (status == 0)
        control_wait_answer(w, &a);
    else
        control_wait_status(w, status, err);
}

static void put(struct metadata_proxy *p, struct fabric_request *r, const struct ctl_request *m, const char *key) {
    uint32_t expected = m->precondition == PROXY_MATCHES ? m->expected
                        : m->precondition == PROXY_NONE  ? meta_version(p->meta, key)
                                                         : 0;
    struct control_wait *w;
    struct err err;
    int status = metadata_value_check(key, m->value, expected + 1, &err);

    if (m->precondition > PROXY_MATCHES || (m->precondition == PROXY_MATCHES && m->expected == 0))
        status = err_set(&err, RS_EINVAL, "not a precondition");
    if (status < 0) {
        control_answer_status(p->fabric, r, RS_EINVAL, &err);
        return;
    }
    w = xnew(struct control_wait);
    control_wait_init(w, &p->waits, p->fabric, r);
    meta_cas_take(p->meta, key, expected, m->value, loop_now_ns(p->loop) + PUT_NS, on_put, w);
}

struct keys {
    struct slice *v;
    size_t n;
};

static void count_key(void *arg, const char *key, uint32_t version, struct bytes *value) {
    size_t *n = arg;

    (void)key;
    (void)version;
    (void)value;
    (*n)++;
}

static void take_key(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct keys *k = arg;

    (void)version;
    (void)value;
    k->v[k->n++] = slice_str(key);
}

static void answer_keys(struct metadata_proxy *p, struct fabric_request *r, struct arena *a) {
    struct ctl_response m = {0};
    struct keys k = {0};
    size_t n = 0;

    meta_each(p->meta, count_key, &n);
    k.v = arena_newn(a, struct slice, n + 1);
    meta_each(p->meta, take_key, &k);
    m.keys = k.v;
    m.n_keys = k.n;
    control_answer(p->fabric, r, &m);
}

static void handle(void *arg, struct fabric_request *r) {
    struct metadata_proxy *p = arg;
    _cleanup_(arena_done) struct arena a = {0};
    struct ctl_request m;
    struct err err;
    int status;
    bool has_key;

    if (!r->is_call)
        return;
    status = ctl_request_decode(&m, r->payload, &a, &err);
    has_key = status == 0 && m.key.len > 0 && m.key.len < META_KEY_MAX;
    if (status == 0 && !has_key && r->type != PROXY_KEYS)
        status = err_set(&err, RS_EINVAL, "not a metadata key");
    if (status < 0)
        control_answer_status(p->fabric, r, RS_EINVAL, &err);
    else if (r->type == PROXY_GET)
        answer_get(p, r, arena_str(&a, m.key));
    else if (r->type == PROXY_PUT)
        put(p, r, &m, arena_str(&a, m.key));
    else if (r->type == PROXY_KEYS)
        answer_keys(p, r, &a);
    else
        fabric_reply_status(p->fabric, r, RPC_MESSAGE_UNRECOGNIZED);
}

struct metadata_proxy *metadata_proxy_open(struct loop *loop, struct fabric *f, struct meta *m) {
    struct metadata_proxy *p = xnew(struct metadata_proxy);

    p->loop = loop;
    p->fabric = f;
    p->meta = m;
    list_init(&p->waits);
    p->service = (struct fabric_service){.id = SERVICE_METADATA_PROXY, .handle = handle, .arg = p};
    fabric_serve(f, &p->service);
    return p;
}

struct metadata_proxy *metadata_proxy_close(struct metadata_proxy *p) {
    if (!p)
        return NULL;
    fabric_unserve(p->fabric, &p->service);
    control_waits_stop(&p->waits);
    free(p);
    return NULL;
}
