/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/metadata_client.h"

#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/logging.h"
#include "meta/kv.h"
#include "meta/metadata_server.h"
#include "meta/nodes_config.h"
#include "proto/metadata.gen.h"

#define PUT_NS 1000000000u /* one attempt: by then another member may lead */
#define FOUND_NS 3000000000u
#define BACKOFF_MIN_NS 50000000u
#define BACKOFF_MAX_NS 1000000000u
#define POLL_BACKOFF_MAX_NS 400000000u
enum { SYNC_WAIT_MS = 4000, HOPS_MAX = 4 };

struct client;
struct put { /* one write on its way */
    struct list link;
    struct client *c;
    struct meta_cas_req *req; /* NULL: provisioning */
    struct fabric_call call;
    struct timer retry;
    uint64_t backoff_ns;
    unsigned hops;
    uint32_t asked; /* who has it; 0: somebody at an address */
    bool open, begun;
    bool left; /* its outcome is not waited for any longer */
};

struct founding {
    struct list link;
    struct client *c;
    struct fabric_call call;
    struct timer retry;
    struct bytes *nodes_config;
    meta_cas_fn done;
    void *arg;
};

struct poll { /* for what is new */
    struct client *c;
    struct fabric_call call;
    struct timer timer;
    const char *address; /* a probe: of this configured address, until anybody has answered; NULL: the long poll */
    uint64_t backoff_ns;
    bool open, asked; /* asked: at least once */
};

struct client {
    struct meta m;
    struct fabric *fabric;
    char *cluster_name;
    char **addresses;
    size_t n_addresses;
    bool has_server;
    struct node_id self;
    uint64_t fingerprint;
    struct nodes_config *nodes;
    uint32_t leader; /* plain id, as far as known; 0: no idea */
    unsigned turn;   /* whom to ask next */
    struct list puts, foundings;
    struct poll poll, *probes; /* one per address */
    const char *good;          /* the address that answered a probe; NULL: whoever's turn it is */
    uint64_t since;
};

static struct client *client_of(const struct meta *m) {
    return CONTAINER_OF((struct meta *)(uintptr_t)m, struct client, m);
}

/* ---- whom to ask ---- */

uint32_t metadata_client_members(const struct meta *m, uint32_t *ret, uint32_t max) {
    const struct client *c = client_of(m);
    uint32_t n = 0;

    for (size_t i = 0; c->nodes && i < c->nodes->n_nodes && n < max; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];

        if (!e->tombstone && e->metadata_state == METADATA_MEMBER && e->id.id != c->self.id)
            ret[n++] = e->id.id;
    }
    return n;
}

static size_t n_targets(const struct client *c) {
    uint32_t ids[32];

    return (size_t)c->has_server + metadata_client_members(&c->m, ids, 32) + c->n_addresses;
}

/* The next one in turn: my own server, the members, the addresses to begin with. False: there is nobody. */
static bool next_target(struct client *c, struct fabric_dest *ret) {
    uint32_t ids[32], n = metadata_client_members(&c->m, ids, 32);
    size_t all = n_targets(c), k;

    *ret = (struct fabric_dest){0};
    if (all == 0)
        return false;
    k = c->turn++ % all;
    if (c->has_server && k-- == 0)
        ret->node.id = FABRIC_SELF;
    else if (k < n)
        ret->node.id = ids[k];
    else
        ret->address = c->addresses[k - n];
    return true;
}

static struct md_request request_of(const struct client *c) {
    return (struct md_request){.cluster_name = slice_str(c->cluster_name), .fingerprint = c->fingerprint};
}

static void send_request(struct client *c, struct fabric_call *call, const struct fabric_dest *d, uint16_t type,
                         const struct md_request *m, uint64_t timeout_ns) {
    struct fabric_message msg = {.service = SERVICE_METADATA_SERVER, .type = type};
    _cleanup_buf_ struct buf body = {0};

    md_request_encode(m, &body);
    msg.head = buf_slice(&body);
    fabric_call(c->fabric, call, d, LANE_GENERAL, &msg, loop_now_ns(c->m.loop) + timeout_ns);
}

/* ---- values ---- */

static void publish(struct client *c, const char *key, uint32_t version, struct bytes *value) {
    if (!value)
        return; /* removed: the last value stays known, nobody removes what is in use */
    if (strcmp(key, META_KEY_NODES) == 0 && version > meta_version(&c->m, key)) {
        struct nodes_config *parsed = NULL;
        struct err err;

        if (nodes_config_parse(bytes_slice(value), &parsed, &err) < 0) {
            LOG_ERROR_ERR(&err, "the nodes configuration cannot be read");
            return;
        }
        if (c->fingerprint && parsed->fingerprint != c->fingerprint) {
            LOG_ERROR("a nodes configuration of another cluster is ignored");
            (void)nodes_config_free(parsed);
            return;
        }
        (void)nodes_config_free(c->nodes);
        c->nodes = parsed;
    }
    meta_publish(&c->m, key, version, value);
}

static void publish_slice(struct client *c, const struct md_value *v) {
    char key[META_KEY_MAX];
    struct bytes *b;

    if (v->removed || v->key.len == 0 || v->key.len >= sizeof key)
        return;
    memcpy(key, v->key.data, v->key.len);
    key[v->key.len] = 0;
    if (v->version <= meta_version(&c->m, key))
        return;
    b = bytes_copy(v->value);
    publish(c, key, v->version, b);
    (void)bytes_unref(b);
}

void metadata_client_changed(struct meta *m, const char *key, uint32_t version, struct bytes *value) {
    publish(client_of(m), key, version, value);
}

int metadata_client_resolve(const struct meta *m, uint32_t id, struct node_id *ret_current, const char **ret_address) {
    const struct client *c = client_of(m);
    const struct node_entry *e = c->nodes ? nodes_config_find(c->nodes, id) : NULL;

    if (!e || e->tombstone || !e->address)
        return RS_ENOENT;
    *ret_current = e->id;
    *ret_address = e->address;
    return 0;
}

const struct nodes_config *metadata_client_nodes(const struct meta *m) {
    return client_of(m)->nodes;
}

bool metadata_client_asked(const struct meta *m) {
    const struct client *c = client_of(m);

    for (size_t i = 0; i < c->n_addresses; i++)
        if (!c->probes[i].asked)
            return false;
    return true;
}

void metadata_client_versions(const struct meta *m, uint32_t ret[N_VERSIONS]) {
    ret[VERSION_NODES] = meta_version(m, META_KEY_NODES);
    ret[VERSION_LOGS] = meta_version(m, META_KEY_LOGS);
    ret[VERSION_SCHEMA] = meta_version(m, META_KEY_SCHEMA);
    ret[VERSION_PARTITIONS] = meta_version(m, META_KEY_PARTITIONS);
}

/* ---- polling ----
 *
 * One long poll, which stays with whoever answers. Until somebody has answered for the first time, all the configured
 * addresses are asked side by side: most of them may not be there yet. */

static void poll_later(struct poll *p, bool failed) {
    uint64_t wait = 0;

    if (failed) {
        p->backoff_ns = MIN(MAX(p->backoff_ns * 2, (uint64_t)BACKOFF_MIN_NS), (uint64_t)POLL_BACKOFF_MAX_NS);
        wait = p->backoff_ns;
    } else {
        p->backoff_ns = 0;
    }
    timer_set(p->c->m.loop, &p->timer, wait);
}

static void probe_done(struct poll *p, const struct md_reply *m) {
    if (!m) {
        poll_later(p, true);
        return;
    }
    p->c->good = p->address; /* the long poll goes on there */
    poll_later(&p->c->poll, false);
}

static void poll_done(struct poll *p, const struct md_reply *m, bool behind) {
    struct client *c = p->c;

    if (m && !behind) {
        poll_later(p, false);
        return;
    }
    if (c->good)
        c->good = NULL;
    else
        c->turn++;
    poll_later(p, c->turn % n_targets(c) == 0); /* everybody once, then a pause */
}

static void on_poll(struct fabric_call *call, enum rpc_status status, struct node_id from, struct slice body,
                    struct bytes *frame, const struct err *why) {
    struct poll *p = CONTAINER_OF(call, struct poll, call);
    struct client *c = p->c;
    _cleanup_(arena_done) struct arena a = {0};
    struct md_reply m;
    bool ok, behind;

    (void)from;
    (void)frame;
    (void)why;
    p->open = false;
    p->asked = true;
    ok = status == RPC_OK && md_reply_decode(&m, body, &a, NULL) == 0 && m.code == MD_OK;
    /* a member that is, or has nothing and answers without a wait: look elsewhere the next time */
    behind = ok && (m.index < c->since || !m.index);
    for (size_t i = 0; ok && i < m.n_values; i++)
        publish_slice(c, &m.values[i]);
    if (ok && !behind)
        c->since = m.index;
    if (ok && m.leader)
        c->leader = m.leader;
    if (p->address)
        probe_done(p, ok ? &m : NULL);
    else
        poll_done(p, ok ? &m : NULL, behind);
}

/* Where this node is a member itself, its server tells at once; the poll then only catches what it misses. */
static void poll_begin(void *arg) {
    struct poll *p = arg;
    struct client *c = p->c;
    struct md_request m = request_of(c);
    struct fabric_dest d = {.address = p->address ? p->address : c->good};
    unsigned turn = c->turn;

    if (p->open || (p->address && c->since))
        return; /* a probe has done its work */
    if (!d.address && !next_target(c, &d)) {
        poll_later(p, true);
        return;
    }
    c->turn = turn; /* stay with who answers */
    m.since = c->since;
    m.wait_ms = SYNC_WAIT_MS;
    p->call = (struct fabric_call){.done = on_poll};
    p->open = true;
    send_request(c, &p->call, &d, METADATA_SYNC, &m, SYNC_WAIT_MS * 1000000ull + 2000000000u);
}

static void poll_init(struct client *c, struct poll *p, const char *address) {
    p->c = c;
    p->address = address;
    timer_init(&p->timer, poll_begin, p);
    timer_set(c->m.loop, &p->timer, 0);
}

static void poll_stop(struct poll *p) {
    if (p->open)
        fabric_call_drop(p->c->fabric, &p->call);
    timer_stop(p->c->m.loop, &p->timer);
}

void metadata_client_seen(struct meta *m, const uint32_t versions[N_VERSIONS]) {
    (void)m; /* the long poll brings it: a member answers as soon as it applied something new */
    (void)versions;
}

/* ---- writes ---- */

static void put_send(struct put *p);

static void put_end(struct put *p, int status, uint32_t version, const struct err *err) {
    struct meta_cas_req *req = p->req;

    list_remove(&p->link);
    timer_stop(p->c->m.loop, &p->retry);
    free(p);
    meta_cas_answer(req, status, version, err);
}

static void put_later(struct put *p) {
    struct client *c = p->c;

    p->hops = 0;
    p->backoff_ns = MIN(MAX(p->backoff_ns * 14 / 10, (uint64_t)BACKOFF_MIN_NS), (uint64_t)BACKOFF_MAX_NS);
    timer_set(c->m.loop, &p->retry, p->backoff_ns / 2 + loop_random_u64(c->m.loop) % p->backoff_ns);
}

static void put_answered(struct put *p, const struct md_reply *m, struct node_id from) {
    struct client *c = p->c;
    struct meta_cas_req *r = p->req;
    struct err err;

    if (m->leader)
        c->leader = m->leader;
    switch (m->code) {
    case MD_OK:
        c->leader = from.id ? from.id : c->leader;
        publish(c, r->key, r->expected + 1, r->value);
        put_end(p, 0, r->expected + 1, NULL);
        break;
    case MD_MISMATCH:
        if (m->value)
            publish_slice(c, m->value);
        (void)err_set(&err, RS_EEXIST, "metadata key %s: another version was written", r->key);
        put_end(p, RS_EEXIST, m->version, &err);
        break;
    case MD_REFUSED:
        (void)err_set(&err, RS_EPERM, "metadata key %s: " SLICE_FMT, r->key, SLICE_ARG(slice_sub(m->message, 0, 150)));
        put_end(p, RS_EPERM, 0, &err);
        break;
    case MD_UNKNOWN:
        (void)err_set(&err, RS_ETIMEDOUT, "metadata key %s: the leadership moved while it was written", r->key);
        put_end(p, RS_ETIMEDOUT, 0, &err);
        break;
    default: /* certainly not written */
        if (m->code == MD_NOT_LEADER && m->leader && m->leader != from.id && p->hops++ < HOPS_MAX) {
            put_send(p);
        } else {
            if (m->code == MD_NOT_LEADER && m->leader == 0)
                c->leader = 0;
            put_later(p);
        }
    }
}

static void on_put(struct fabric_call *call, enum rpc_status status, struct node_id from, struct slice body,
                   struct bytes *frame, const struct err *why) {
    struct put *p = CONTAINER_OF(call, struct put, call);
    _cleanup_(arena_done) struct arena a = {0};
    struct md_reply m;
    struct err err;

    (void)frame;
    p->open = false;
    if (status == RPC_OK && md_reply_decode(&m, body, &a, NULL) == 0) {
        put_answered(p, &m, from);
        return;
    }
    p->c->leader = 0;
    if (status == RPC_OK || status == RPC_UNKNOWN || status == RPC_DROPPED) {
        (void)err_set(&err, RS_ETIMEDOUT, "metadata key %s: %s", p->req->key, why ? why->msg : "a damaged answer");
        put_end(p, RS_ETIMEDOUT, 0, &err);
    } else {
        put_later(p);
    }
}

/* The leader, when it is known and so is its address; to begin with my own server; then one after the other. */
static bool put_target(struct put *p, struct fabric_dest *ret) {
    struct client *c = p->c;
    struct node_id current;
    const char *address;

    *ret = (struct fabric_dest){.node = {c->leader, 0}};
    if (c->leader && (c->leader == c->self.id || metadata_client_resolve(&c->m, c->leader, &current, &address) == 0))
        return true;
    ret->node.id = FABRIC_SELF;
    return (c->has_server && !p->begun) || next_target(c, ret);
}

static void put_send(struct put *p) {
    struct client *c = p->c;
    struct meta_cas_req *r = p->req;
    struct md_put put = {.key = slice_str(r->key),
                         .precondition = KV_MATCHES,
                         .expected = r->expected,
                         .version = r->expected + 1,
                         .value = bytes_slice(r->value)};
    struct md_request m = request_of(c);
    struct fabric_dest d;

    m.put = &put;
    if (!put_target(p, &d)) {
        put_later(p);
        return;
    }
    p->open = p->begun = true;
    p->asked = d.node.id;
    p->call = (struct fabric_call){.done = on_put};
    send_request(c, &p->call, &d, METADATA_PUT, &m, PUT_NS);
}

static void put_retry(void *arg) {
    struct put *p = arg;
    struct err err;

    if (p->left) {
        (void)err_set(&err, RS_ETIMEDOUT, "metadata key %s: another member leads by now", p->req->key);
        put_end(p, RS_ETIMEDOUT, 0, &err);
    } else {
        put_send(p);
    }
}

void metadata_client_led(struct meta *m, uint32_t leader) {
    struct client *c = client_of(m);

    c->leader = leader;
    LIST_FOREACH (e, &c->puts) {
        struct put *p = LIST_ENTRY(e, struct put, link);

        if (p->open && (p->asked == leader || p->asked == FABRIC_SELF || p->asked == 0))
            continue;
        if (p->open)
            fabric_call_drop(c->fabric, &p->call);
        p->left = p->left || p->open;
        p->open = false;
        timer_set(m->loop, &p->retry, 0);
    }
}

static void client_cas(struct meta *m, struct meta_cas_req *req) {
    struct client *c = client_of(m);
    struct put *p = xnew(struct put);

    p->c = c;
    p->req = req;
    timer_init(&p->retry, put_retry, p);
    list_push_back(&c->puts, &p->link);
    put_send(p);
}

/* ---- provisioning ---- */

static void founding_send(void *arg);

static void founding_end(struct founding *f, int status, const struct err *err) {
    meta_cas_fn done = f->done;
    void *arg = f->arg;

    list_remove(&f->link);
    timer_stop(f->c->m.loop, &f->retry);
    (void)bytes_unref(f->nodes_config);
    free(f);
    done(arg, status, status == 0 ? 1 : 0, err);
}

static void on_founded(struct fabric_call *call, enum rpc_status status, struct node_id from, struct slice body,
                       struct bytes *frame, const struct err *why) {
    struct founding *f = CONTAINER_OF(call, struct founding, call);
    _cleanup_(arena_done) struct arena a = {0};
    struct md_reply m;
    struct err err;

    (void)from;
    (void)frame;
    (void)why;
    if (status != RPC_OK || md_reply_decode(&m, body, &a, NULL) < 0) {
        timer_set(f->c->m.loop, &f->retry, BACKOFF_MIN_NS); /* founding is idempotent */
    } else if (m.code == MD_OK) {
        publish(f->c, META_KEY_NODES, 1, f->nodes_config);
        founding_end(f, 0, NULL);
    } else {
        (void)err_set(&err, RS_EEXIST, "the cluster is provisioned already");
        founding_end(f, RS_EEXIST, &err);
    }
}

static void founding_send(void *arg) {
    struct founding *f = arg;
    struct md_request m = request_of(f->c);
    struct fabric_dest d = {.node = {FABRIC_SELF, 0}};

    m.nodes_config = bytes_slice(f->nodes_config);
    f->call = (struct fabric_call){.done = on_founded};
    send_request(f->c, &f->call, &d, METADATA_PROVISION, &m, FOUND_NS);
}

void metadata_client_provision(struct meta *m, struct slice nodes_config, meta_cas_fn done, void *arg) {
    struct client *c = client_of(m);
    struct founding *f = xnew(struct founding);

    f->c = c;
    f->nodes_config = bytes_copy(nodes_config);
    f->done = done;
    f->arg = arg;
    timer_init(&f->retry, founding_send, f);
    list_push_back(&c->foundings, &f->link);
    founding_send(f);
}

static void client_provision(struct meta *m, struct slice nodes_config, meta_cas_fn done, void *arg) {
    metadata_client_provision(m, nodes_config, done, arg);
}

/* ---- the object ---- */

void metadata_client_set_self(struct meta *m, struct node_id self, uint64_t fingerprint) {
    struct client *c = client_of(m);

    c->self = self;
    c->fingerprint = fingerprint;
}

static void client_free(struct meta *m) {
    struct client *c = client_of(m);

    poll_stop(&c->poll);
    for (size_t i = 0; i < c->n_addresses; i++)
        poll_stop(&c->probes[i]);
    free(c->probes);
    while (!list_empty(&c->puts)) {
        struct put *p = LIST_ENTRY(c->puts.next, struct put, link);

        if (p->open)
            fabric_call_drop(c->fabric, &p->call);
        timer_stop(m->loop, &p->retry);
        list_remove(&p->link);
        meta_cas_drop(p->req);
        free(p);
    }
    while (!list_empty(&c->foundings)) {
        struct founding *f = LIST_ENTRY(c->foundings.next, struct founding, link);

        fabric_call_drop(c->fabric, &f->call);
        timer_stop(m->loop, &f->retry);
        list_remove(&f->link);
        (void)bytes_unref(f->nodes_config);
        free(f);
    }
    (void)nodes_config_free(c->nodes);
    for (size_t i = 0; i < c->n_addresses; i++)
        free(c->addresses[i]);
    free(c->addresses);
    free(c->cluster_name);
    meta_done(m);
    free(c);
}

static const struct meta_ops client_ops = {.cas = client_cas, .provision = client_provision, .free = client_free};

struct meta *metadata_client_open(const struct metadata_client_params *p) {
    struct client *c = xnew(struct client);

    meta_init(&c->m, &client_ops, p->loop);
    c->fabric = p->fabric;
    c->cluster_name = xstrdup(p->cluster_name);
    c->has_server = p->has_server;
    c->n_addresses = p->n_addresses;
    c->addresses = xcalloc(p->n_addresses + 1, sizeof(char *));
    for (size_t i = 0; i < p->n_addresses; i++)
        c->addresses[i] = xstrdup(p->addresses[i]);
    list_init(&c->puts);
    list_init(&c->foundings);
    poll_init(c, &c->poll, NULL);
    c->probes = xcalloc(p->n_addresses + 1, sizeof *c->probes);
    for (size_t i = 0; i < p->n_addresses; i++)
        poll_init(c, &c->probes[i], c->addresses[i]);
    return &c->m;
}
