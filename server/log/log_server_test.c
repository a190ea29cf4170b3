/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log_server_internal.h"
#include "log/log_test_util.h"

#define LOGLET loglet_id_make(9, 0)

static const struct node_id seq1 = {1, 1}, seq2 = {2, 1};

struct call { /* a request and what came of it */
    union {
        struct ls_req h;
        struct ls_store store;
        struct ls_seal seal;
        struct ls_info info;
        struct ls_wait wait;
        struct ls_get get;
        struct ls_digest digest;
        struct ls_trim trim;
    } u;
    int calls;
    struct ls_reply reply;
};

static void answered(struct ls_req *req, const struct ls_reply *reply) {
    struct call *c = CONTAINER_OF(req, struct call, u.h);

    c->calls++;
    c->reply = *reply;
}
static void submit(struct node *n, struct call *c, enum ls_kind kind) {
    int before = c->calls;

    c->u.h.kind = kind;
    c->u.h.loglet_id = LOGLET;
    c->u.h.done = answered;
    log_server_submit(n->server, &c->u.h);
    assert_int_equal(c->calls, before); /* never inside the call */
}
static void store_at(struct node *n, struct call *c, uint32_t first, uint32_t count, struct node_id seq, uint32_t known,
                     uint32_t flags) {
    struct bytes *records[16];

    for (uint32_t i = 0; i < count; i++)
        records[i] = test_record(first + i, 0);
    memset(c, 0, sizeof *c);
    c->u.store.first_offset = first;
    c->u.store.sequencer = seq;
    c->u.store.from_sequencer = true;
    c->u.store.records = records;
    c->u.store.n = count;
    c->u.store.flags = flags;
    c->u.store.repair_floor = flags ? known : 0;
    c->u.h.global_tail = flags ? 0 : known;
    submit(n, c, LS_STORE);
    for (uint32_t i = 0; i < count; i++)
        (void)bytes_unref(records[i]);
}
static void seal(struct node *n, struct call *c) {
    memset(c, 0, sizeof *c);
    c->u.seal.sequencer = seq1;
    submit(n, c, LS_SEAL);
}

static void stores_are_checked_in_the_order_of_the_rules(void **state) {
    struct node *n = node_new(20);
    struct call c, d;

    store_at(n, &c, 1, 0, seq1, 0, 0);
    node_settle(n);
    assert_int_equal(c.reply.status, LS_MALFORMED);
    store_at(n, &c, 0, 1, seq1, 0, 0);
    node_settle(n);
    assert_int_equal(c.reply.status, LS_MALFORMED);
    store_at(n, &c, LS_OFFSET_MAX, 2, seq1, 0, 0);
    node_settle(n);
    assert_int_equal(c.reply.status, LS_MALFORMED);
    store_at(n, &c, 2, 1, seq1, 0, 0); /* a gap above the global tail */
    node_settle(n);
    assert_int_equal(c.reply.status, LS_OUT_OF_BOUNDS);
    store_at(n, &c, 1, 3, seq1, 0, 0);
    node_turns(n);
    assert_int_equal(c.calls, 0);      /* not durable */
    store_at(n, &d, 1, 2, seq1, 0, 0); /* a duplicate of what is under way waits for it */
    node_turns(n);
    assert_int_equal(d.calls, 0);
    node_settle(n);
    assert_true(c.calls == 1 && c.reply.status == LS_OK && c.reply.local_tail == 4);
    assert_true(d.calls == 1 && d.reply.status == LS_OK);
    store_at(n, &c, 2, 2, seq1, 0, 0); /* a duplicate of what is durable */
    node_turns(n);
    assert_true(c.calls == 1 && c.reply.status == LS_OK);
    store_at(n, &c, 4, 1, seq2, 0, 0); /* another writer */
    node_settle(n);
    assert_int_equal(c.reply.status, LS_SEQUENCER_MISMATCH);
    store_at(n, &c, 8, 1, seq1, 8, 0); /* this server missed records below the global tail */
    node_settle(n);
    assert_true(c.reply.status == LS_OK && c.reply.local_tail == 9 && c.reply.global_tail == 8);
    node_free(n);
}

static void a_sealed_loglet_refuses_for_ever_but_takes_repairs(void **state) {
    struct node *n = node_new(21);
    struct call a, s, t, b, r;

    store_at(n, &a, 1, 2, seq1, 0, 0);
    seal(n, &s);
    seal(n, &t);
    store_at(n, &b, 3, 1, seq1, 0, 0); /* after the seal was enqueued: waits and is refused */
    store_at(n, &r, 3, 1, seq1, 3, LS_IGNORE_SEAL);
    node_settle(n);
    assert_int_equal(a.reply.status, LS_OK); /* before the seal in the same commit */
    assert_true(s.reply.status == LS_OK && s.reply.sealed && s.reply.local_tail == 3);
    assert_true(t.calls == 1 && t.reply.status == LS_OK);
    assert_true(b.calls == 1 && b.reply.status == LS_SEALED);
    assert_int_equal(r.reply.status, LS_SEALING);
    node_crash(n);
    node_start(n);
    store_at(n, &b, 3, 1, seq1, 0, 0);
    node_settle(n);
    assert_true(b.reply.status == LS_SEALED && b.reply.local_tail == 3);
    store_at(n, &r, 3, 1, seq1, 3, LS_IGNORE_SEAL);
    node_settle(n);
    assert_true(r.reply.status == LS_OK && r.reply.local_tail == 4 && r.reply.sealed);
    seal(n, &s);
    node_settle(n);
    assert_int_equal(s.reply.status, LS_OK);
    node_free(n);
}

/* A deposed leader's store may be on its way for long; by then its segment, empty when it was sealed, left the chain.
 */
static void a_forgotten_loglet_takes_no_late_store(void **state) {
    static const uint8_t key[] = {'f', 0, 0, 0, 9, 0, 0, 0, 0}, value[] = {1, 1, 0, 0, 0, 0x21, 0xb3, 0x26, 0xa0};
    struct node *n = node_new(26);
    struct store_view *view;
    struct buf row = {0};
    struct call s, c;

    seal(n, &s);
    node_settle(n);
    log_server_forget(n->server, LOGLET);
    assert_null(ls_loglet_find(n->server, LOGLET));
    store_at(n, &c, 1, 1, seq1, 0, 0);
    node_settle(n);
    assert_int_equal(c.reply.status, LS_SEALED);
    assert_int_equal(store_view_new(n->log_store, &view, NULL), 0);
    assert_int_equal(store_view_get(view, n->server->table, slice_of(key, sizeof key), &row, NULL), 0);
    store_view_free(view);
    assert_true(slice_eq(buf_slice(&row), slice_of(value, sizeof value)));
    buf_done(&row);
    node_crash(n);
    node_start(n);
    store_at(n, &c, 1, 1, seq1, 0, 0);
    node_settle(n);
    assert_int_equal(c.reply.status, LS_SEALED);
    store_at(n, &c, 1, 1, seq1, 0, LS_IGNORE_SEAL);
    node_settle(n);
    assert_int_equal(c.reply.status, LS_OK);
    node_free(n);
}

static void answers_survive_power_loss_whenever_it_comes(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct node *n = node_new(seed);
        struct call calls[20], info = {0};
        uint32_t acked = 1;
        uint64_t steps = node_draw(n) % 40, next = 0;

        for (uint32_t i = 0; i < 20; i++) {
            store_at(n, &calls[i], 1 + i * 2, 2, seq1, 0, 0);
            for (uint64_t k = node_draw(n) % 4; k > 0 && next < steps; k--, next++)
                (void)node_step(n);
        }
        for (; next < steps; next++)
            (void)node_step(n);
        for (uint32_t i = 0; i < 20; i++)
            if (calls[i].calls)
                acked = 3 + i * 2;
        node_crash(n);
        node_start(n);
        submit(n, &info, LS_INFO);
        node_settle(n);
        assert_true(info.reply.local_tail >= acked);
        node_free(n);
    }
}

static void reads_are_clipped_budgeted_and_show_trim_gaps(void **state) {
    struct node *n = node_new(22);
    struct call c, g = {0}, t = {0}, d = {0};

    store_at(n, &c, 1, 10, seq1, 0, 0);
    node_settle(n);
    g.u.get.from = 1;
    g.u.get.to = 100;
    submit(n, &g, LS_GET);
    node_settle(n);
    assert_true(g.calls == 1 && g.u.get.error == 0 && g.u.get.n == 10 && g.u.get.next_offset == 11);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(test_number(g.u.get.entries[i].record), i + 1);
    ls_get_done(&g.u.get);
    g.u.get.from = 3;
    g.u.get.to = 9;
    g.u.get.limit_bytes = 1; /* one comes in any case */
    submit(n, &g, LS_GET);
    node_settle(n);
    assert_true(g.u.get.n == 1 && g.u.get.entries[0].offset == 3 && g.u.get.next_offset == 4);
    ls_get_done(&g.u.get);
    t.u.trim.trim_point = 4;
    submit(n, &t, LS_TRIM);
    node_settle(n);
    assert_int_equal(t.reply.status, LS_OK);
    g.u.get.from = 1;
    g.u.get.to = 6;
    g.u.get.limit_bytes = 0;
    submit(n, &g, LS_GET);
    node_settle(n);
    assert_int_equal(g.u.get.n, 3);
    assert_true(g.u.get.entries[0].kind == LS_TRIM_GAP && g.u.get.entries[0].to == 4);
    assert_true(g.u.get.entries[1].offset == 5 && g.u.get.entries[2].offset == 6);
    ls_get_done(&g.u.get);
    d.u.digest.from = 2;
    d.u.digest.to = 20;
    submit(n, &d, LS_DIGEST);
    node_settle(n);
    assert_int_equal(d.u.digest.n, 2);
    assert_true(d.u.digest.entries[0].status == LS_DIGEST_TRIMMED && d.u.digest.entries[0].from == 2 &&
                d.u.digest.entries[0].to == 4);
    assert_true(d.u.digest.entries[1].status == LS_DIGEST_EXISTS && d.u.digest.entries[1].from == 5 &&
                d.u.digest.entries[1].to == 10);
    free(d.u.digest.entries);
    t.u.trim.trim_point = 11; /* at the tail: nothing is there */
    submit(n, &t, LS_TRIM);
    node_settle(n);
    assert_int_equal(t.reply.status, LS_MALFORMED);
    t.u.trim.trim_point = 10;
    submit(n, &t, LS_TRIM);
    node_settle(n);
    assert_int_equal(t.reply.status, LS_OK);
    node_crash(n);
    node_start(n);
    c = (struct call){0};
    submit(n, &c, LS_INFO);
    node_settle(n);
    assert_true(c.reply.local_tail == 11 && c.u.info.trim_point == 10); /* known without any record */
    node_free(n);
}

static void waiters_hear_of_tails_and_seals(void **state) {
    struct node *n = node_new(23);
    struct call local = {0}, global = {0}, sealed = {0}, c;

    local.u.wait.what = LS_WAIT_LOCAL;
    local.u.wait.tail = 3;
    submit(n, &local, LS_WAIT);
    global.u.wait.what = LS_WAIT_GLOBAL;
    global.u.wait.tail = 3;
    submit(n, &global, LS_WAIT);
    sealed.u.wait.what = LS_WAIT_LOCAL;
    sealed.u.wait.tail = 100;
    submit(n, &sealed, LS_WAIT);
    store_at(n, &c, 1, 2, seq1, 0, 0);
    node_settle(n);
    assert_int_equal(local.calls, 1);
    assert_int_equal(global.calls, 0);
    log_server_release(n->server, LOGLET, 3);
    node_settle(n);
    assert_true(global.calls == 1 && global.reply.global_tail == 3);
    seal(n, &c);
    node_settle(n);
    assert_true(sealed.calls == 1 && sealed.reply.sealed);
    node_free(n);
}

static void a_failed_sync_makes_the_server_read_only(void **state) {
    struct node *n = node_new(24);
    struct call a, b, s, g = {0};

    store_at(n, &a, 1, 2, seq1, 0, 0);
    node_settle(n);
    sim_disk_fault(n->disk, SIM_FAULT_SYNC, "log", 0, 1);
    store_at(n, &a, 3, 1, seq1, 0, 0);
    store_at(n, &b, 3, 1, seq1, 0, 0);
    seal(n, &s);
    node_settle(n);
    assert_int_equal(a.reply.status, LS_DISABLED);
    assert_int_equal(b.reply.status, LS_DISABLED);
    assert_int_equal(s.reply.status, LS_DISABLED);
    assert_true(log_server_failsafe(n->server));
    store_at(n, &a, 3, 1, seq1, 0, 0);
    node_settle(n);
    assert_true(a.reply.status == LS_DISABLED && a.reply.local_tail == 3);
    g.u.get.from = 1;
    g.u.get.to = 9;
    submit(n, &g, LS_GET);
    node_settle(n);
    assert_true(g.u.get.n == 2 && g.u.get.error == 0);
    ls_get_done(&g.u.get);
    node_free(n);
}

static void the_rows_on_disk_have_these_bytes(void **state) {
    static const struct {
        uint8_t key[13];
        size_t key_len;
        uint8_t value[13];
        size_t value_len;
    } rows[] = {
        /* sequencer N1:1, trim point 1, local tail 3 */
        {{'s', 0, 0, 0, 9, 0, 0, 0, 0}, 9, {1, 1, 0, 0, 0, 1, 0, 0, 0, 0x74, 0x69, 0xa2, 0xdb}, 13},
        {{'t', 0, 0, 0, 9, 0, 0, 0, 0}, 9, {1, 1, 0, 0, 0, 0x21, 0xb3, 0x26, 0xa0}, 9},
        {{'l', 0, 0, 0, 9, 0, 0, 0, 0}, 9, {1, 3, 0, 0, 0, 0xa0, 0x90, 0x41, 0x1f}, 9},
    };
    struct node *n = node_new(25);
    struct call c, t = {0};
    struct store_view *view;
    struct buf value = {0};
    struct bytes *record = test_record(2, 0);
    static const uint8_t record_key[] = {'d', 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2};

    store_at(n, &c, 1, 2, seq1, 0, 0);
    node_settle(n);
    t.u.trim.trim_point = 1;
    submit(n, &t, LS_TRIM);
    node_settle(n);
    assert_int_equal(store_view_new(n->log_store, &view, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        buf_clear(&value);
        assert_int_equal(store_view_get(view, n->server->table, slice_of(rows[i].key, rows[i].key_len), &value, NULL),
                         0);
        assert_int_equal(value.len, rows[i].value_len);
        assert_memory_equal(value.data, rows[i].value, value.len);
    }
    buf_clear(&value);
    assert_int_equal(store_view_get(view, n->server->table, slice_of(record_key, sizeof record_key), &value, NULL), 0);
    assert_true(slice_eq(buf_slice(&value), bytes_slice(record)));
    store_view_free(view);
    buf_done(&value);
    bytes_unref(record);
    node_free(n);
}

static void a_store_of_another_node_or_without_its_marker_is_refused(void **state) {
    struct node *n = node_new(26);
    struct log_server_params p = {.loop = n->loop, .pool = &n->exec, .store = n->log_store, .node_id = 7};
    struct store *empty;
    struct log_server *s;
    struct err err;

    assert_int_equal(log_server_open(&p, &s, &err), RS_EPERM);
    assert_non_null(strstr(err.msg, "belongs to node N1"));
    empty = node_store(n, "/n1/other", "log");
    p.store = empty;
    p.expect_marker = true;
    assert_int_equal(log_server_open(&p, &s, &err), RS_ENOENT);
    store_close(empty);
    node_free(n);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(stores_are_checked_in_the_order_of_the_rules),
    cmocka_unit_test(a_sealed_loglet_refuses_for_ever_but_takes_repairs),
    cmocka_unit_test(a_forgotten_loglet_takes_no_late_store),
    cmocka_unit_test(answers_survive_power_loss_whenever_it_comes),
    cmocka_unit_test(reads_are_clipped_budgeted_and_show_trim_gaps),
    cmocka_unit_test(waiters_hear_of_tails_and_seals),
    cmocka_unit_test(a_failed_sync_makes_the_server_read_only),
    cmocka_unit_test(the_rows_on_disk_have_these_bytes),
    cmocka_unit_test(a_store_of_another_node_or_without_its_marker_is_refused),
};
const struct unit_group log_server_test_group = UNIT_GROUP(tests);
