/* SPDX-License-Identifier: Apache-2.0 */
/* Three log-servers in one process, replication 2: the sequencer, recovery and repair with members that do not answer.
 */
#include "log/log_peers.h"
#include "log/log_test_util.h"
#include "log/log_wire.h"

#define MAX_RECORDS 4000u

struct trio {
    struct log_peers peers; /* first */
    struct node *n;         /* node 1, with metadata */
    struct log_server *servers[4];
    struct store *disks[4];
    bool down[4], hangs[4]; /* refuses; never answers */
    unsigned stores[4];     /* asked for, by member */
    uint32_t lose_stores;   /* of a million stores to peers so many are lost */
    struct list lost, hung;
    struct loop_hook answer;
    struct log_node *layer;
    struct log *log;
    struct log_reader *reader;
    lsn_t next;
    uint64_t *committed; /* by LSN, of all lives */
    uint64_t number;
    epoch_t epoch;
    int led, led_status, ended, ended_status;
    lsn_t appended; /* LSN after the last one that log_append() gave out */
};

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

        assert_true(first + i < MAX_RECORDS);
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
static const struct log_reader_events reader_events = {.deliver = on_deliver, .gap = on_gap, .failed = on_failed};
static void on_lost(void *arg, int status, epoch_t epoch, const struct err *why) {
    struct trio *t = arg;

    t->ended++;
    t->ended_status = status;
}
static const struct log_events log_events = {.lost = on_lost};
static void on_led(void *arg, int status, lsn_t first, const struct err *err) {
    struct trio *t = arg;

    t->led++;
    t->led_status = status;
}

/* The log layer of this process's next life: another generation of node 1, nothing in memory, everything from the
 * servers. All its requests go through the fake fabric, those to its own node as well. */
static void follow(struct trio *t) {
    struct log_node_params p = {.loop = t->n->loop, .meta = t->n->meta, .peers = &t->peers, .self = {9, 0}};

    t->layer = log_node_close(t->layer);
    node_settle(t->n);
    p.self.generation = (uint32_t)++t->epoch;
    assert_int_equal(log_node_open(&p, &t->layer, NULL), 0);
    t->log = log_open(t->layer, 0, &log_events, t);
    t->next = 1;
    t->reader = log_read(t->log, 1, &reader_events, t);
    t->led = t->ended = 0;
    t->appended = 0;
}
static void life(struct trio *t) {
    follow(t);
    log_lead(t->log, t->epoch, on_led, t);
}
static int append(struct trio *t, size_t n) {
    struct bytes *records[32];
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
static void set_replication(struct trio *t, uint8_t copies) {
    uint8_t *arg = xnew(uint8_t);

    *arg = copies;
    meta_update_take(t->n->meta, META_KEY_LOGS, 0, change_replication, on_cas, arg);
}

static struct trio *trio_new(uint64_t seed) {
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
    t->committed = xnewn(uint64_t, MAX_RECORDS);
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
    set_replication(t, 2);
    node_settle(t->n);
    return t;
}
static void trio_free(struct trio *t) {
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

static void one_dead_member_is_tolerated_two_stall_until_one_is_back(void **state) {
    struct trio *t = trio_new(31);

    life(t);
    node_settle(t->n);
    assert_int_equal(t->led_status, 0);
    t->down[2] = true;
    assert_int_equal(append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(t->next, 6);
    t->down[3] = true;
    assert_int_equal(append(t, 5), 0);
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->next, 6); /* a stall, not a loss */
    t->down[2] = false;
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->next, 11);
    trio_free(t);
}

static void a_new_leader_keeps_what_was_acknowledged_with_one_member_dead(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct trio *t = trio_new(seed);

        for (int round = 0; round < 6; round++) {
            uint64_t steps = node_draw(t->n) % 100;
            lsn_t end = 1;

            memset(t->down, 0, sizeof t->down);
            t->lose_stores = node_draw(t->n) % 2 ? 0 : 300000;
            life(t);
            node_pass(t->n, 3000000000u);
            assert_int_equal(t->led, 1);
            assert_int_equal(t->led_status, 0);
            if (node_draw(t->n) % 2)
                t->down[1 + node_draw(t->n) % 3] = true;
            for (uint64_t i = 0; i < steps; i++) {
                if (node_draw(t->n) % 3 == 0)
                    (void)append(t, 1 + node_draw(t->n) % 4);
                (void)node_step(t->n);
                if (node_draw(t->n) % 8 == 0)
                    node_pass(t->n, 12000000u); /* lost stores are sent again */
            }
            /* The leader dies. Another member may be the one that is away now. */
            memset(t->down, 0, sizeof t->down);
            t->lose_stores = 0;
            if (node_draw(t->n) % 3)
                t->down[1 + node_draw(t->n) % 3] = true;
            life(t);
            node_pass(t->n, 5000000000u);
            assert_int_equal(t->led, 1);
            assert_int_equal(t->led_status, 0);
            assert_int_equal(append(t, 2), 0);
            node_pass(t->n, 5000000000u);
            while (t->committed[end])
                end++;
            assert_int_equal(t->next, end); /* everything anybody ever got is there, and my own two */
            for (lsn_t i = 2; i < end; i++)
                assert_true(t->committed[i] > t->committed[i - 1]);
        }
        trio_free(t);
    }
}

/* ---- a reign goes through several segments ---- */

static struct chain *chain_now(struct trio *t, log_id_t id, struct logs_config **ret) {
    struct bytes *value;

    assert_int_equal(meta_get(t->n->meta, META_KEY_LOGS, NULL, &value), 0);
    assert_int_equal(logs_config_parse(bytes_slice(value), ret, NULL), 0);
    return logs_config_chain(*ret, id);
}
static uint32_t tail_copies(struct trio *t, log_id_t id, uint32_t *ret_nodes) {
    struct logs_config *c;
    const struct segment *s = chain_tail(chain_now(t, id, &c));
    uint32_t copies = s->params.replication.copies[SCOPE_NODE];

    if (ret_nodes)
        *ret_nodes = s->params.n_nodes;
    logs_config_free(c);
    return copies;
}
static void sealed_by_a_stranger(struct ls_req *r, const struct ls_reply *reply) {
    free(r);
}
/* What a candidate does that dies before it extends the chain. */
static void stranger_seals(struct trio *t, unsigned members) {
    struct logs_config *c;
    const struct segment *s = chain_tail(chain_now(t, 0, &c));

    for (uint32_t i = 0; i < s->params.n_nodes && i < members; i++) {
        struct ls_seal *r = xnew(struct ls_seal);

        r->h = (struct ls_req){.kind = LS_SEAL, .loglet_id = s->params.loglet_id, .done = sealed_by_a_stranger};
        r->sequencer = s->params.sequencer;
        to_server(t, s->params.nodes[i], &r->h);
    }
    logs_config_free(c);
}
/* Everything that was appended in this reign is delivered, once, where log_append() said. */
static void expect_all(struct trio *t) {
    assert_int_equal(t->led, 1);
    assert_int_equal(t->ended, 0);
    assert_int_equal(t->next, t->appended);
    for (lsn_t i = 1; i < t->next; i++)
        assert_int_equal(t->committed[i], i); /* numbers begin at 1, too */
}

static void records_in_flight_move_along_when_somebody_seals_the_segment_of_a_reigning_leader(void **state) {
    struct trio *t = trio_new(5);
    struct logs_config *c;

    life(t);
    node_settle(t->n);
    assert_int_equal(append(t, 3), 0);
    node_settle(t->n);
    t->lose_stores = 1000000; /* these reach nobody */
    assert_int_equal(append(t, 4), 0);
    assert_int_equal(append(t, 2), 0);
    node_settle(t->n);
    stranger_seals(t, 3);
    node_settle(t->n);
    t->lose_stores = 0;
    node_pass(t->n, 20000000u); /* sent again: now the leader learns of the seal */
    assert_int_equal(append(t, 1), RS_EAGAIN);
    assert_true(log_is_leading(t->log));
    assert_int_equal(t->next, 4);
    node_pass(t->n, 1000000000u);
    assert_int_equal(append(t, 1), 0);
    node_settle(t->n);
    assert_int_equal(chain_now(t, 0, &c)->n, 2);
    logs_config_free(c);
    assert_int_equal(t->next, 11);
    expect_all(t);
    trio_free(t);
}

static void a_changed_replication_takes_effect_under_a_leader_that_goes_on_appending(void **state) {
    struct trio *t = trio_new(6);
    uint32_t nodes;

    set_replication(t, 1);
    node_settle(t->n);
    life(t);
    node_settle(t->n);
    assert_int_equal(append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(tail_copies(t, 0, &nodes), 1);
    assert_int_equal(nodes, 1);
    assert_int_equal(append(t, 5), 0);
    set_replication(t, 2);
    for (unsigned i = 0; i < 400; i++) {
        (void)append(t, 1);
        (void)node_step(t->n);
        if (i % 4 == 0)
            node_pass(t->n, 5000000u);
    }
    node_pass(t->n, 2000000000u);
    assert_int_equal(tail_copies(t, 0, &nodes), 2);
    assert_int_equal(nodes, 3);
    expect_all(t);
    trio_free(t);
}

static void logs_are_improved_a_third_of_them_at_a_time_and_then_left_alone(void **state) {
    struct trio *t = trio_new(7);
    struct log *more[8];
    unsigned moved[3];
    struct logs_config *c;

    set_replication(t, 1);
    node_settle(t->n);
    life(t);
    for (log_id_t i = 0; i < 8; i++) {
        more[i] = log_open(t->layer, 1 + i, &log_events, t);
        log_lead(more[i], t->epoch, on_led, t);
    }
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->led, 9);
    set_replication(t, 2);
    for (unsigned round = 0; round < 3; round++) {
        moved[round] = 0;
        node_pass(t->n, round ? 1300000000u : 1000000u);
        for (log_id_t i = 0; i < 9; i++)
            moved[round] += tail_copies(t, i, NULL) == 2;
    }
    assert_int_equal(moved[0], 3);
    assert_int_equal(moved[1], 6);
    assert_int_equal(moved[2], 9);
    (void)chain_now(t, 4, &c);
    node_pass(t->n, 20000000000u);
    assert_int_equal(meta_version(t->n->meta, META_KEY_LOGS), c->version);
    logs_config_free(c);
    assert_int_equal(t->ended, 0);
    trio_free(t);
}

static void set_storage(struct trio *t, uint32_t node, enum storage_state to) {
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

static void a_segment_leaves_the_member_that_lost_its_records(void **state) {
    struct trio *t = trio_new(9);
    struct logs_config *c;
    uint32_t nodes;

    life(t);
    node_settle(t->n);
    assert_int_equal(append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(tail_copies(t, 0, &nodes), 2);
    assert_int_equal(nodes, 3);
    set_storage(t, 3, STORAGE_DATA_LOSS);
    node_pass(t->n, 2000000000u);
    assert_int_equal(tail_copies(t, 0, &nodes), 2);
    assert_int_equal(nodes, 2);
    assert_int_equal(append(t, 5), 0);
    (void)chain_now(t, 0, &c);
    node_pass(t->n, 20000000000u);
    assert_int_equal(meta_version(t->n->meta, META_KEY_LOGS), c->version);
    logs_config_free(c);
    expect_all(t);
    set_storage(t, 3, STORAGE_READ_WRITE);
    node_pass(t->n, 2000000000u);
    (void)tail_copies(t, 0, &nodes);
    assert_int_equal(nodes, 3);
    trio_free(t);
}

static bool only_one(void *arg, uint32_t node) {
    return node == 1;
}
static void a_segment_is_not_left_while_those_alive_could_not_carry_the_next(void **state) {
    struct trio *t = trio_new(8);

    set_replication(t, 1);
    node_settle(t->n);
    life(t);
    node_settle(t->n);
    log_node_set_alive(t->layer, only_one, NULL);
    set_replication(t, 2);
    node_pass(t->n, 5000000000u);
    assert_int_equal(tail_copies(t, 0, NULL), 1);
    log_node_set_alive(t->layer, NULL, NULL);
    node_pass(t->n, 2000000000u);
    assert_int_equal(tail_copies(t, 0, NULL), 2);
    trio_free(t);
}

static void a_reign_survives_seals_lost_stores_and_changed_replication_without_losing_or_doubling(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct trio *t = trio_new(seed);
        uint32_t copies = 2;

        life(t);
        node_pass(t->n, 1000000000u);
        for (unsigned i = 0; i < 500; i++) {
            t->lose_stores = node_draw(t->n) % 3 ? 0 : 400000;
            memset(t->down, 0, sizeof t->down);
            if (copies == 2 && node_draw(t->n) % 3 == 0)
                t->down[1 + node_draw(t->n) % 3] = true;
            (void)append(t, 1 + node_draw(t->n) % 5);
            for (uint64_t k = node_draw(t->n) % 12; k; k--)
                (void)node_step(t->n);
            if (node_draw(t->n) % 60 == 0)
                stranger_seals(t, 1 + (unsigned)(node_draw(t->n) % 3));
            if (node_draw(t->n) % 100 == 0)
                set_replication(t, (uint8_t)(copies = 1 + (uint32_t)(node_draw(t->n) % 3)));
            if (node_draw(t->n) % 10 == 0)
                node_pass(t->n, 100000000u);
        }
        t->lose_stores = 0;
        memset(t->down, 0, sizeof t->down);
        node_pass(t->n, 10000000000u);
        expect_all(t);
        trio_free(t);
    }
}

/* ---- members that are away ---- */

static bool not_two(void *arg, uint32_t node) {
    return node != 2;
}

static void a_member_that_is_away_is_asked_seldom_and_gets_what_it_missed_when_it_is_needed(void **state) {
    struct trio *t = trio_new(9);

    life(t);
    node_settle(t->n);
    t->down[2] = true;
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(append(t, 1), 0);
        node_pass(t->n, 1000000u);
    }
    assert_int_equal(t->next, 501);
    assert_in_range(t->stores[2], 1, 100);
    t->down[3] = true; /* nobody but the one that is away can help */
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(append(t, 1), 0);
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->next, 501);
    t->down[2] = false;
    node_pass(t->n, 300000000u); /* one probe, then all at once */
    expect_all(t);
    assert_int_equal(t->next, 701);
    trio_free(t);
}

static void a_member_said_to_be_dead_delays_neither_stores_nor_a_new_leader(void **state) {
    struct trio *t = trio_new(10);

    life(t);
    node_settle(t->n);
    t->hangs[2] = true;
    log_node_set_alive(t->layer, not_two, NULL);
    t->stores[2] = 0;
    assert_int_equal(append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(t->next, 6);
    assert_int_equal(t->stores[2], 0);
    t->lose_stores = 500000; /* on one of the two: the next leader has something to repair */
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(append(t, 2), 0);
        node_settle(t->n);
    }
    t->lose_stores = 0;
    follow(t);
    log_node_set_alive(t->layer, not_two, NULL);
    log_lead(t->log, t->epoch, on_led, t);
    node_settle(t->n); /* no time passes */
    assert_int_equal(t->led, 1);
    assert_int_equal(t->led_status, 0);
    assert_true(t->next > 6);
    trio_free(t);
}

static void a_reader_closes_a_segment_whose_leader_died_while_somebody_sealed_it(void **state) {
    struct trio *t = trio_new(11);
    struct logs_config *c;

    life(t);
    node_settle(t->n);
    assert_int_equal(append(t, 3), 0);
    node_settle(t->n);
    assert_int_equal(append(t, 4), 0);
    while (t->next < 8)
        assert_true(node_step(t->n)); /* acknowledged; the log-servers were not told of it yet */
    stranger_seals(t, 3);
    follow(t);
    node_pass(t->n, 1000000000u);
    assert_true(t->next < 8);
    node_pass(t->n, 10000000000u);
    assert_int_equal(t->next, 8);
    assert_int_equal(chain_tail(chain_now(t, 0, &c))->kind, SEGMENT_SEALED);
    logs_config_free(c);
    log_lead(t->log, t->epoch, on_led, t);
    node_settle(t->n);
    t->number = 8;
    assert_int_equal(append(t, 2), 0);
    node_settle(t->n);
    expect_all(t);
    trio_free(t);
}

static void a_reader_hears_of_the_tail_although_its_log_server_missed_the_news(void **state) {
    struct trio *t = trio_new(14);
    struct log_node_params p = {.loop = t->n->loop, .meta = t->n->meta, .peers = &t->peers, .self = {3, 1}};
    struct log_node *other;
    struct log_reader *reader;
    struct trio seen = {.next = 1, .committed = t->committed};
    struct log *log;

    life(t);
    node_settle(t->n);
    assert_int_equal(append(t, 3), 0);
    node_pass(t->n, 100000000u);
    t->down[3] = true;
    assert_int_equal(append(t, 4), 0);
    node_pass(t->n, 100000000u);
    assert_int_equal(t->next, 8);
    t->down[3] = false;
    p.server = t->servers[3];
    assert_int_equal(log_node_open(&p, &other, NULL), 0);
    log = log_open(other, 0, &log_events, t);
    reader = log_read(log, 1, &reader_events, &seen);
    node_pass(t->n, 100000000u);
    assert_int_equal(seen.next, 4); /* all that its own log-server knows of */
    node_pass(t->n, 3000000000u);
    assert_int_equal(seen.next, 8);
    (void)log_reader_close(reader);
    (void)log_node_close(other);
    trio_free(t);
}

struct asked {
    int called, status;
    lsn_t tail;
};
static void on_sealed(void *arg, int status, lsn_t tail, const struct err *err) {
    struct asked *a = arg;

    a->called++;
    a->status = status;
    a->tail = tail;
}

static void an_operator_seals_a_log_and_its_leader_opens_it_again_unless_it_is_for_good(void **state) {
    struct trio *t = trio_new(12);
    struct asked a = {0};

    follow(t);
    log_seal(t->log, false, NULL, on_sealed, &a);
    assert_int_equal(a.called, 0);
    node_settle(t->n);
    assert_int_equal(a.called, 1);
    assert_int_equal(a.status, RS_ENOENT);
    log_lead(t->log, t->epoch, on_led, t);
    node_settle(t->n);
    assert_int_equal(append(t, 3), 0);
    node_settle(t->n);
    log_seal(t->log, false, "maintenance", on_sealed, &a);
    node_pass(t->n, 1000000000u);
    assert_int_equal(a.status, 0);
    assert_int_equal(a.tail, 4);
    assert_int_equal(append(t, 3), 0);
    node_settle(t->n);
    expect_all(t);
    log_seal(t->log, true, NULL, on_sealed, &a);
    node_pass(t->n, 1000000000u);
    assert_int_equal(a.called, 3);
    assert_int_equal(a.tail, 7);
    assert_int_equal(t->ended, 1);
    assert_false(log_is_leading(t->log));
    trio_free(t);
}

static void on_trimmed(void *arg, int status, const struct err *err) {
    *(int *)arg = status;
}

static bool not_lost(void *arg, uint32_t node) {
    return node != *(uint32_t *)arg;
}

static void history_on_a_lost_node_leaves_the_chain_by_trimming_and_delays_nobody(void **state) {
    struct trio *t = trio_new(13);
    struct logs_config *c;
    const struct chain *ch;
    uint32_t lost;
    int trimmed = 1;

    set_replication(t, 1);
    node_settle(t->n);
    life(t);
    node_settle(t->n);
    assert_int_equal(append(t, 5), 0);
    node_settle(t->n);
    lost = chain_tail(chain_now(t, 0, &c))->params.nodes[0];
    logs_config_free(c);
    set_replication(t, 2);
    node_pass(t->n, 2000000000u);
    assert_int_equal(append(t, 5), 0);
    node_settle(t->n);
    assert_int_equal(t->next, 11);
    t->down[lost] = true; /* for good */
    follow(t);
    log_node_set_alive(t->layer, not_lost, &lost);
    assert_false(log_readable(t->log, 5));
    assert_true(log_readable(t->log, 6));
    (void)log_reader_close(t->reader);
    t->next = 6; /* a follower that applied what it held */
    t->reader = log_read(t->log, 6, &reader_events, t);
    log_lead(t->log, t->epoch, on_led, t);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->led_status, 0);
    assert_int_equal(append(t, 5), 0);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->next, 16);
    log_trim(t->log, 8, on_trimmed, &trimmed);
    node_pass(t->n, 1000000000u);
    assert_int_equal(trimmed, 0);
    ch = chain_now(t, 0, &c);
    assert_int_equal(ch->segments[0].base, 6);
    logs_config_free(c);
    trio_free(t);
}

/* It forgets what it only heard: how far the log is committed. */
static void restart_server(struct trio *t, uint32_t node) {
    struct log_server_params p = {.loop = t->n->loop, .pool = &t->n->exec, .node_id = node, .store = t->disks[node]};
    bool closed = false;

    log_server_close(t->servers[node], node_server_closed, &closed);
    node_settle(t->n);
    assert_true(closed);
    assert_int_equal(log_server_open(&p, &t->servers[node], NULL), 0);
}

static void what_one_member_trimmed_is_not_missed_on_another_when_the_third_lost_it(void **state) {
    struct trio *t = trio_new(14);
    int trimmed = 1;

    life(t);
    node_settle(t->n);
    assert_int_equal(append(t, 5), 0);
    node_settle(t->n);
    t->down[1] = true;
    assert_int_equal(append(t, 3), 0);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->next, 9);
    log_trim(t->log, 8, on_trimmed, &trimmed);
    node_pass(t->n, 1000000000u);
    assert_int_equal(trimmed, 0);
    t->layer = log_node_close(t->layer);
    node_settle(t->n);
    restart_server(t, 3);
    t->down[1] = false; /* it has 1 to 5 still; nobody has 6 to 8 */
    t->down[2] = true;
    set_storage(t, 2, STORAGE_DATA_LOSS);
    follow(t);
    (void)log_reader_close(t->reader);
    t->next = 9;
    t->reader = log_read(t->log, 9, &reader_events, t);
    log_lead(t->log, t->epoch, on_led, t);
    node_pass(t->n, 5000000000u);
    assert_int_equal(t->led, 1);
    assert_int_equal(t->led_status, 0);
    assert_int_equal(append(t, 2), 0);
    node_pass(t->n, 1000000000u);
    assert_int_equal(t->next, 11);
    trio_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_dead_member_is_tolerated_two_stall_until_one_is_back),
    cmocka_unit_test(a_new_leader_keeps_what_was_acknowledged_with_one_member_dead),
    cmocka_unit_test(records_in_flight_move_along_when_somebody_seals_the_segment_of_a_reigning_leader),
    cmocka_unit_test(a_changed_replication_takes_effect_under_a_leader_that_goes_on_appending),
    cmocka_unit_test(a_segment_leaves_the_member_that_lost_its_records),
    cmocka_unit_test(logs_are_improved_a_third_of_them_at_a_time_and_then_left_alone),
    cmocka_unit_test(a_segment_is_not_left_while_those_alive_could_not_carry_the_next),
    cmocka_unit_test(a_member_that_is_away_is_asked_seldom_and_gets_what_it_missed_when_it_is_needed),
    cmocka_unit_test(a_member_said_to_be_dead_delays_neither_stores_nor_a_new_leader),
    cmocka_unit_test(a_reader_closes_a_segment_whose_leader_died_while_somebody_sealed_it),
    cmocka_unit_test(a_reader_hears_of_the_tail_although_its_log_server_missed_the_news),
    cmocka_unit_test(an_operator_seals_a_log_and_its_leader_opens_it_again_unless_it_is_for_good),
    cmocka_unit_test(what_one_member_trimmed_is_not_missed_on_another_when_the_third_lost_it),
    cmocka_unit_test(history_on_a_lost_node_leaves_the_chain_by_trimming_and_delays_nobody),
    cmocka_unit_test(a_reign_survives_seals_lost_stores_and_changed_replication_without_losing_or_doubling),
};
const struct unit_group log_cluster_test_group = UNIT_GROUP(tests);
