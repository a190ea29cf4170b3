/* SPDX-License-Identifier: Apache-2.0 */
#include "log/trio.h"

#include "log/log_wire.h"

static void answer_lost(void *arg) {
    struct trio *t = arg;
    struct list *l;

    while ((l = list_pop_front(&t->lost))) {
        struct ls_req *r = LIST_ENTRY(l, struct ls_req, link);

        r->done(r, &(struct ls_reply){.status = LS_UNKNOWN, .local_tail = 1, .global_tail = 1});
    }
}
/* Every request and every answer as the bytes in which the fabric carries them. */
struct wired {
    struct ls_req *original;
};
static void on_wired(struct ls_req *copy, const struct ls_reply *reply) {
    struct wired *w = copy->owner;
    struct ls_req *original = w->original;
    struct buf out = {0};
    struct bytes **parts;
    struct ls_reply back;
    size_t n;

    log_wire_answer(copy, reply, &out, &parts, &n);
    for (size_t i = 0; i < n; i++)
        buf_put_slice(&out, bytes_slice(parts[i]));
    free(parts);
    assert_int_equal(log_wire_take_answer(original, buf_slice(&out), &back, NULL), 0);
    buf_done(&out);
    if (copy->kind == LS_GET)
        ls_get_done(CONTAINER_OF(copy, struct ls_get, h));
    if (copy->kind == LS_DIGEST)
        free(CONTAINER_OF(copy, struct ls_digest, h)->entries);
    free(copy);
    free(w);
    original->done(original, &back);
}
static void by_wire(struct log_server *server, struct ls_req *req) {
    struct bytes **records = NULL;
    struct wired *w = xnew(struct wired);
    struct buf out = {0};
    struct ls_req *copy;

    log_wire_request(req, &out);
    if (req->kind == LS_STORE) {
        const struct ls_store *s = CONTAINER_OF(req, struct ls_store, h);

        for (uint32_t i = 0; i < s->n; i++)
            buf_put_slice(&out, bytes_slice(s->records[i]));
    }
    assert_int_equal(log_wire_take_request(req->kind, buf_slice(&out), &copy, &records, NULL), 0);
    w->original = req;
    copy->owner = w;
    copy->done = on_wired;
    if (req->kind == LS_STORE) {
        struct ls_store *s = CONTAINER_OF(copy, struct ls_store, h);

        s->records = records;
        s->from_sequencer = CONTAINER_OF(req, struct ls_store, h)->from_sequencer;
    }
    log_server_submit(server, copy);
    for (uint32_t i = 0; records && records[i]; i++)
        (void)bytes_unref(records[i]);
    free(records);
    buf_done(&out);
}
static void to_server(struct trio *t, uint32_t node, struct ls_req *req) {
    t->stores[node] += req->kind == LS_STORE;
    if (t->hangs[node])
        list_push_back(&t->hung, &req->link);
    else if (t->down[node] || (req->kind == LS_STORE && node_draw(t->n) % 1000000 < t->lose_stores)) {
        list_push_back(&t->lost, &req->link);
        loop_hook_arm(t->n->loop, &t->answer);
    } else {
        by_wire(t->servers[node], req);
    }
}
static void stop_hanging(struct trio *t) {
    memset(t->hangs, 0, sizeof t->hangs);
    list_splice(&t->lost, &t->hung);
    loop_hook_arm(t->n->loop, &t->answer);
}
static void peers_submit(struct log_peers *p, uint32_t node, struct ls_req *req) {
    to_server(CONTAINER_OF(p, struct trio, peers), node, req);
}
static void peers_release(struct log_peers *p, uint32_t node, uint64_t loglet_id, uint32_t tail) {
    struct trio *t = CONTAINER_OF(p, struct trio, peers);

    if (!t->down[node] && !t->hangs[node])
        log_server_release(t->servers[node], loglet_id, tail);
}
static const struct log_peers_ops peers_ops = {.submit = peers_submit, .release = peers_release};

static size_t on_deliver(void *arg, lsn_t first, struct bytes *const *records, size_t n) {
    struct trio *t = arg;

    assert_int_equal(first, t->next);
    for (size_t i = 0; i < n; i++) {
        uint64_t number = test_number(records[i]);

        assert_true(first + i < TRIO_RECORDS);
        assert_true(t->committed[first + i] == 0 || t->committed[first + i] == number);
        t->committed[first + i] = number;
    }
    t->next += n;
    return n;
}
static void on_gap(void *arg, lsn_t to, enum log_gap kind) {
    fail_msg("a gap");
}
static void on_failed(void *arg, int status, const struct err *why) {
    fail_msg("%s", why->msg);
}
const struct log_reader_events trio_reader_events = {.deliver = on_deliver, .gap = on_gap, .failed = on_failed};
static void on_lost(void *arg, int status, epoch_t epoch, const struct err *why) {
    struct trio *t = arg;

    t->ended++;
    t->ended_status = status;
}
const struct log_events trio_log_events = {.lost = on_lost};
void trio_on_led(void *arg, int status, lsn_t first, const struct err *err) {
    struct trio *t = arg;

    t->led++;
    t->led_status = status;
}

void trio_follow(struct trio *t) {
    struct log_node_params p = {.loop = t->n->loop, .meta = t->n->meta, .peers = &t->peers, .self = {9, 0}};

    t->layer = log_node_close(t->layer);
    node_settle(t->n);
    p.self.generation = (uint32_t)++t->epoch;
    assert_int_equal(log_node_open(&p, &t->layer, NULL), 0);
    t->log = log_open(t->layer, 0, &trio_log_events, t);
    t->next = 1;
    t->reader = log_read(t->log, 1, &trio_reader_events, t);
    t->led = t->ended = 0;
    t->appended = 0;
}
void trio_life(struct trio *t) {
    trio_follow(t);
    log_lead(t->log, t->epoch, trio_on_led, t);
}
int trio_append(struct trio *t, size_t n) {
    struct bytes *records[32] = {0};
    lsn_t first;
    int r;

    for (size_t i = 0; i < n; i++)
        records[i] = test_record(t->number + i, 0);
    r = log_append(t->log, records, n, &first, NULL);
    t->number += r == 0 ? n : 0;
    if (r == 0) { /* LSNs follow each other without a gap, also over segments */
        assert_true(t->appended == 0 || first == t->appended);
        t->appended = first + n;
    }
    for (size_t i = 0; i < n; i++)
        (void)bytes_unref(records[i]);
    return r;
}

static void on_cas(void *arg, int status, uint32_t version, const struct err *err) {
    assert_int_equal(status, 0);
}

static int change_replication(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    struct logs_config *logs;

    assert_int_equal(logs_config_parse(current, &logs, NULL), 0);
    logs->replication.copies[SCOPE_NODE] = *(uint8_t *)arg;
    logs->version = version;
    logs_config_encode(logs, out);
    logs_config_free(logs);
    return 0;
}
void trio_set_replication(struct trio *t, uint8_t copies) {
    uint8_t *arg = xnew(uint8_t);

    *arg = copies;
    meta_update_take(t->n->meta, META_KEY_LOGS, 0, change_replication, on_cas, arg);
}

struct trio *trio_new(uint64_t seed) {
    struct trio *t = xnew(struct trio);
    struct nodes_config *nodes;
    struct bytes *value;
    struct buf out = {0};
    uint32_t version;

    t->peers.ops = &peers_ops;
    t->n = node_new(seed);
    t->n->logs = log_node_close(t->n->logs);
    list_init(&t->lost);
    list_init(&t->hung);
    loop_hook_init(&t->answer, answer_lost, t);
    t->committed = xnewn(uint64_t, TRIO_RECORDS);
    t->number = 1;
    t->servers[1] = t->n->server;
    assert_int_equal(meta_get(t->n->meta, META_KEY_NODES, &version, &value), 0);
    assert_int_equal(nodes_config_parse(bytes_slice(value), &nodes, NULL), 0);
    for (uint32_t i = 2; i <= 3; i++) {
        char dir[16];
        struct log_server_params p = {.loop = t->n->loop, .pool = &t->n->exec, .node_id = i};
        struct node_entry *e = nodes_config_add(nodes, i);

        e->id.generation = 1;
        e->address = xstrdup("");
        e->location = xstrdup("");
        e->binary_version = xstrdup("");
        e->roles = ROLE_ALL;
        e->storage_state = STORAGE_READ_WRITE;
        snprintf(dir, sizeof dir, "/n%u/log", i);
        e->name = xstrdup(dir);
        p.store = t->disks[i] = node_store(t->n, dir, "log");
        assert_int_equal(log_server_open(&p, &t->servers[i], NULL), 0);
    }
    nodes->version = version + 1;
    nodes_config_encode(nodes, &out);
    meta_cas(t->n->meta, META_KEY_NODES, version, buf_slice(&out), 0, on_cas, NULL);
    nodes_config_free(nodes);
    buf_done(&out);
    trio_set_replication(t, 2);
    node_settle(t->n);
    return t;
}
struct trio *trio_leading(uint64_t seed) {
    struct trio *t = trio_new(seed);

    trio_life(t);
    node_settle(t->n);
    return t;
}
void trio_free(struct trio *t) {
    bool closed[4] = {0};

    stop_hanging(t);
    t->layer = log_node_close(t->layer);
    node_settle(t->n);
    for (uint32_t i = 2; i <= 3; i++)
        log_server_close(t->servers[i], node_server_closed, &closed[i]);
    node_settle(t->n);
    assert_true(closed[2] && closed[3]);
    for (uint32_t i = 2; i <= 3; i++)
        store_close(t->disks[i]);
    node_settle(t->n);
    loop_hook_disarm(&t->answer);
    /* node_stop() closes a log layer; this one had its own */
    node_free(t->n);
    free(t->committed);
    free(t);
}

/* ---- the chain and the configuration ---- */

struct chain *trio_chain(struct trio *t, log_id_t id, struct logs_config **ret) {
    struct bytes *value;

    assert_int_equal(meta_get(t->n->meta, META_KEY_LOGS, NULL, &value), 0);
    assert_int_equal(logs_config_parse(bytes_slice(value), ret, NULL), 0);
    return logs_config_chain(*ret, id);
}
uint32_t trio_tail_copies(struct trio *t, log_id_t id, uint32_t *ret_nodes) {
    struct logs_config *c;
    const struct segment *s = chain_tail(trio_chain(t, id, &c));
    uint32_t copies = s->params.replication.copies[SCOPE_NODE];

    if (ret_nodes)
        *ret_nodes = s->params.n_nodes;
    logs_config_free(c);
    return copies;
}
static void sealed_by_a_stranger(struct ls_req *r, const struct ls_reply *reply) {
    free(r);
}
void trio_stranger_seals(struct trio *t, unsigned members) {
    struct logs_config *c;
    const struct segment *s = chain_tail(trio_chain(t, 0, &c));

    for (uint32_t i = 0; i < s->params.n_nodes && i < members; i++) {
        struct ls_seal *r = xnew(struct ls_seal);

        r->h = (struct ls_req){.kind = LS_SEAL, .loglet_id = s->params.loglet_id, .done = sealed_by_a_stranger};
        r->sequencer = s->params.sequencer;
        to_server(t, s->params.nodes[i], &r->h);
    }
    logs_config_free(c);
}
void trio_expect_all(struct trio *t) {
    assert_int_equal(t->led, 1);
    assert_int_equal(t->ended, 0);
    assert_int_equal(t->next, t->appended);
    for (lsn_t i = 1; i < t->next; i++)
        assert_int_equal(t->committed[i], i); /* numbers begin at 1, too */
}

void trio_set_storage(struct trio *t, uint32_t node, enum storage_state to) {
    struct nodes_config *nodes;
    struct bytes *value;
    struct buf out = {0};
    uint32_t version;

    assert_int_equal(meta_get(t->n->meta, META_KEY_NODES, &version, &value), 0);
    assert_int_equal(nodes_config_parse(bytes_slice(value), &nodes, NULL), 0);
    ((struct node_entry *)(uintptr_t)nodes_config_find(nodes, node))->storage_state = to;
    nodes->version = version + 1;
    nodes_config_encode(nodes, &out);
    meta_cas(t->n->meta, META_KEY_NODES, version, buf_slice(&out), 0, on_cas, NULL);
    nodes_config_free(nodes);
    buf_done(&out);
    node_settle(t->n);
}
