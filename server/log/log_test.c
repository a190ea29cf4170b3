/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log_test_util.h"

#define MAX_RECORDS 20000u

/* What one reader saw, and what one leader was told. */
struct seen {
    struct node *n;
    struct log *log;
    struct log_reader *reader;
    lsn_t next;          /* expected */
    uint64_t *numbers;   /* by LSN; 0: nothing yet */
    uint64_t *committed; /* of all lives, shared; may be NULL */
    unsigned deliveries, gaps, failed, led, lost, writable;
    int led_status, lost_status, failed_status;
    lsn_t led_first, gap_to;
    bool take_less;
    char why[240];
};

static size_t on_deliver(void *arg, lsn_t first, struct bytes *const *records, size_t n) {
    struct seen *s = arg;
    size_t take = s->take_less ? node_draw(s->n) % (n + 1) : n;

    assert_true(n > 0);
    assert_int_equal(first, s->next);
    s->deliveries++;
    for (size_t i = 0; i < take; i++) {
        uint64_t number = test_number(records[i]);

        assert_true(first + i < MAX_RECORDS);
        s->numbers[first + i] = number;
        if (s->committed && s->committed[first + i])
            assert_int_equal(s->committed[first + i], number);
        if (s->committed)
            s->committed[first + i] = number;
    }
    s->next += take;
    if (take < n && node_draw(s->n) % 4 == 0) /* sometimes at once, else the test does it */
        log_reader_resume(s->reader);
    return take;
}
static void on_gap(void *arg, lsn_t to, enum log_gap kind) {
    struct seen *s = arg;

    assert_int_equal(kind, LOG_GAP_TRIMMED);
    assert_true(to >= s->next);
    s->gaps++;
    s->gap_to = to;
    s->next = to + 1;
}
static void on_failed(void *arg, int status, const struct err *why) {
    struct seen *s = arg;

    s->failed++;
    s->failed_status = status;
    snprintf(s->why, sizeof s->why, "%s", why->msg);
}
static const struct log_reader_events reader_events = {.deliver = on_deliver, .gap = on_gap, .failed = on_failed};

static void on_writable(void *arg) {
    ((struct seen *)arg)->writable++;
}
static void on_lost(void *arg, int status, epoch_t epoch, const struct err *why) {
    struct seen *s = arg;

    s->lost++;
    s->lost_status = status;
}
static const struct log_events log_events = {.writable = on_writable, .lost = on_lost};
static void on_led(void *arg, int status, lsn_t first, const struct err *err) {
    struct seen *s = arg;

    s->led++;
    s->led_status = status;
    s->led_first = first;
    if (err)
        snprintf(s->why, sizeof s->why, "%s", err->msg);
}
static void on_claimed(void *arg, int status, epoch_t epoch, const struct err *err) {
    struct seen *s = arg;

    assert_int_equal(status, 0);
    log_lead(s->log, epoch, on_led, s);
}

static struct seen *seen_new(struct node *n, log_id_t id, lsn_t from, uint64_t *committed) {
    struct seen *s = xnew(struct seen);

    s->n = n;
    s->next = from;
    s->numbers = xnewn(uint64_t, MAX_RECORDS);
    s->committed = committed;
    s->log = log_open(n->logs, id, &log_events, s);
    s->reader = log_read(s->log, from, &reader_events, s);
    return s;
}
static void seen_free(struct seen *s) {
    free(s->numbers);
    free(s);
}
static void lead(struct seen *s, log_id_t id) {
    epoch_claim(s->n->meta, (partition_id_t)id, s->n->self, 0, on_claimed, s);
}
static int append(struct seen *s, uint64_t first_number, size_t n, lsn_t *ret_first) {
    struct bytes *records[1000];
    int r;

    for (size_t i = 0; i < n; i++)
        records[i] = test_record(first_number + i, (first_number + i) % 50);
    r = log_append(s->log, records, n, ret_first, NULL);
    for (size_t i = 0; i < n; i++)
        (void)bytes_unref(records[i]);
    return r;
}

static void a_leader_gets_its_records_back_in_order_once_they_are_durable(void **state) {
    struct node *n = node_new(1);
    struct seen *s = seen_new(n, 3, 1, NULL);
    struct log_info info;
    lsn_t first;

    assert_int_equal(append(s, 1, 1, NULL), RS_ECLOSED);
    lead(s, 3);
    node_settle(n);
    assert_int_equal(s->led, 1);
    assert_int_equal(s->led_status, 0);
    assert_int_equal(s->led_first, 1);
    assert_int_equal(append(s, 101, 5, &first), 0);
    assert_int_equal(first, 1);
    assert_int_equal(append(s, 106, 5, &first), 0);
    assert_int_equal(first, 6);
    node_turns(n); /* nothing is durable: no job ran */
    assert_int_equal(s->next, 1);
    assert_int_equal(log_committed_tail(s->log), 1);
    node_settle(n);
    assert_int_equal(s->next, 11);
    assert_int_equal(s->deliveries, 1); /* one call per group commit */
    for (lsn_t i = 1; i < 11; i++)
        assert_int_equal(s->numbers[i], 100 + i);
    assert_int_equal(log_committed_tail(s->log), 11);
    log_info(s->log, &info);
    assert_true(info.leading && info.exists && info.segments == 1 && info.next == 11 && info.inflight_records == 0);
    node_free(n);
    seen_free(s);
}

static void a_restart_extends_the_chain_and_keeps_everything(void **state) {
    struct node *n = node_new(2);
    struct seen *s = seen_new(n, 0, 1, NULL);
    struct log_info info;

    lead(s, 0);
    node_settle(n);
    assert_int_equal(append(s, 1, 10, NULL), 0);
    node_settle(n);
    for (unsigned life = 1; life < 4; life++) {
        node_stop(n);
        seen_free(s);
        node_start(n);
        assert_int_equal(n->self.generation, life + 1);
        s = seen_new(n, 0, 1, NULL);
        lead(s, 0);
        node_settle(n);
        assert_int_equal(s->led_status, 0);
        assert_int_equal(s->led_first, 10 * life + 1);
        assert_int_equal(append(s, 10 * life + 1, 10, NULL), 0);
        node_settle(n);
        assert_int_equal(s->next, 10 * life + 11);
        for (lsn_t i = 1; i < s->next; i++)
            assert_int_equal(s->numbers[i], i);
        log_info(s->log, &info);
        assert_int_equal(info.segments, life + 1);
    }
    node_free(n);
    seen_free(s);
}

static void an_empty_segment_is_replaced_and_forgotten(void **state) {
    struct node *n = node_new(3);
    struct log_info info;
    struct seen *s;
    struct ls_reply reply;
    uint32_t trimmed;

    for (unsigned life = 0; life < 5; life++) {
        s = seen_new(n, 7, 1, NULL);
        lead(s, 7);
        node_settle(n);
        log_info(s->log, &info);
        assert_int_equal(info.segments, 1);
        assert_int_equal(info.tail_index, life);
        assert_int_equal(s->led_first, 1);
        node_pass(n, 1000000);
        if (life > 0) {
            log_server_peek(n->server, loglet_id_make(7, life - 1), &reply, &trimmed);
            assert_false(reply.sealed); /* its rows are gone */
        }
        node_stop(n);
        seen_free(s);
        node_start(n);
    }
    node_free(n);
}

static void twenty_four_logs_are_led_within_five_syncs(void **state) {
    struct node *n = node_new(4);

    for (int life = 0; life < 2; life++) {
        struct seen *s[24];
        uint64_t before = sim_disk_stats(n->disk).synced_writes, syncs;

        for (unsigned i = 0; i < 24; i++) {
            s[i] = seen_new(n, i, 1, NULL);
            lead(s[i], i);
        }
        node_settle(n);
        for (unsigned i = 0; i < 24; i++) {
            assert_int_equal(s[i]->led_status, 0);
            assert_int_equal(append(s[i], 1, 1, NULL), 0);
        }
        node_settle(n);
        syncs = sim_disk_stats(n->disk).synced_writes - before;
        assert_true(syncs <= 5);
        for (unsigned i = 0; i < 24; i++)
            assert_int_equal(s[i]->next, (uint64_t)life + 2);
        node_stop(n);
        for (unsigned i = 0; i < 24; i++)
            seen_free(s[i]);
        node_start(n);
    }
    node_free(n);
}

static void an_older_epoch_is_refused_and_a_newer_one_takes_the_log(void **state) {
    struct node *n = node_new(5);
    struct seen *s = seen_new(n, 1, 1, NULL), *t = seen_new(n, 1, 1, NULL);
    lsn_t first;

    log_lead(s->log, 5, on_led, s);
    node_settle(n);
    assert_int_equal(s->led_status, 0);
    log_lead(t->log, 4, on_led, t);
    node_settle(n);
    assert_int_equal(t->led_status, RS_EPERM);
    assert_true(log_is_leading(s->log));
    assert_int_equal(append(s, 1, 3, NULL), 0);
    node_settle(n);
    assert_int_equal(append(s, 4, 2, NULL), 0);
    log_lead(t->log, 6, on_led, t);
    node_settle(n);
    assert_int_equal(t->led, 2);
    assert_int_equal(t->led_status, 0);
    assert_int_equal(s->lost, 1);
    assert_int_equal(s->lost_status, RS_ECLOSED);
    assert_int_equal(append(s, 9, 1, NULL), RS_ECLOSED);
    assert_int_equal(append(t, 10, 1, &first), 0);
    assert_int_equal(first, t->led_first);
    node_settle(n);
    assert_int_equal(s->next, first + 1);
    assert_int_equal(t->next, first + 1);
    for (lsn_t i = 1; i <= first; i++)
        assert_int_equal(s->numbers[i], t->numbers[i]);
    assert_int_equal(s->numbers[first], 10);
    node_free(n);
    seen_free(s);
    seen_free(t);
}

static void a_full_window_refuses_and_tells_when_there_is_room(void **state) {
    struct node *n = node_new(6);
    struct seen *s;

    node_stop(n);
    n->window_records = 10;
    node_start(n);
    s = seen_new(n, 0, 1, NULL);
    lead(s, 0);
    node_settle(n);
    assert_int_equal(append(s, 1, 6, NULL), 0);
    assert_true(log_writable(s->log));
    assert_int_equal(append(s, 7, 6, NULL), 0);
    assert_false(log_writable(s->log));
    assert_int_equal(append(s, 13, 6, NULL), RS_EAGAIN);
    assert_int_equal(s->writable, 0);
    node_settle(n);
    assert_int_equal(s->writable, 1);
    assert_int_equal(append(s, 13, 6, NULL), 0);
    node_settle(n);
    assert_int_equal(s->next, 19);
    assert_int_equal(s->writable, 1);
    node_free(n);
    seen_free(s);
}

struct answer {
    int calls, status;
    lsn_t tail;
};
static void on_trimmed(void *arg, int status, const struct err *err) {
    struct answer *a = arg;

    a->calls++;
    a->status = status;
}
static void on_tail(void *arg, int status, lsn_t tail, const struct err *err) {
    struct answer *a = arg;

    a->calls++;
    a->status = status;
    a->tail = tail;
}

static void what_was_trimmed_is_a_gap_and_whole_segments_leave_the_chain(void **state) {
    struct node *n = node_new(7);
    struct seen *s = NULL, *late;
    struct answer a = {0}, t = {0};
    struct log_info info;

    for (unsigned life = 0; life < 3; life++) { /* segments 1..10, 11..20, 21..30 */
        if (s) {
            node_stop(n);
            seen_free(s);
            node_start(n);
        }
        s = seen_new(n, 2, 1, NULL);
        lead(s, 2);
        node_settle(n);
        assert_int_equal(append(s, life * 10 + 1, 10, NULL), 0);
        node_settle(n);
    }
    log_trim(s->log, 15, on_trimmed, &a);
    node_settle(n);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.status, 0);
    log_info(s->log, &info);
    assert_int_equal(info.segments, 2);
    assert_int_equal(info.trim_point, 15);
    late = seen_new(n, 2, 1, NULL);
    node_settle(n);
    assert_int_equal(late->gap_to, 15);
    assert_int_equal(late->next, 31);
    assert_int_equal(late->numbers[16], 16);
    assert_int_equal(late->numbers[30], 30);
    log_trim(s->log, 1000, on_trimmed, &a); /* never beyond what is committed */
    node_settle(n);
    assert_int_equal(a.calls, 2);
    assert_int_equal(a.status, 0);
    assert_int_equal(log_trim_point(s->log), 30);
    log_trim(s->log, 12, on_trimmed, &a); /* and never back */
    log_find_tail(s->log, on_tail, &t);
    node_settle(n);
    assert_int_equal(a.calls, 3);
    assert_int_equal(log_trim_point(s->log), 30);
    assert_int_equal(t.tail, 31);
    node_stop(n);
    seen_free(s);
    seen_free(late);
    node_start(n);
    s = seen_new(n, 2, 1, NULL);
    log_find_tail(s->log, on_tail, &t);
    lead(s, 2);
    node_settle(n);
    assert_int_equal(t.tail, 31);
    assert_int_equal(s->led_first, 31); /* the tail survives although every record is gone */
    assert_int_equal(s->gap_to, 30);
    node_free(n);
    seen_free(s);
}

static void a_poisoned_store_ends_the_lead_and_reads_go_on(void **state) {
    struct node *n = node_new(8);
    struct seen *s = seen_new(n, 0, 1, NULL), *late;

    lead(s, 0);
    node_settle(n);
    assert_int_equal(append(s, 1, 10, NULL), 0);
    node_settle(n);
    sim_disk_fault(n->disk, SIM_FAULT_SYNC, "log", 0, 1);
    assert_int_equal(append(s, 11, 10, NULL), 0);
    node_settle(n);
    assert_int_equal(s->lost, 1);
    assert_int_equal(s->lost_status, RS_EIO);
    assert_true(log_server_failsafe(n->server));
    assert_int_equal(s->next, 11); /* what was not acknowledged was not delivered */
    late = seen_new(n, 0, 1, NULL);
    lead(late, 0);
    node_pass(n, 100000000u);
    assert_int_equal(late->led_status, RS_EIO);
    assert_int_equal(late->next, 11);
    node_free(n);
    seen_free(s);
    seen_free(late);
}

static void a_damaged_record_stops_the_reader_and_is_named(void **state) {
    struct node *n = node_new(9);
    struct seen *s = seen_new(n, 4, 1, NULL);
    struct store_batch *b = store_batch_new();
    struct store_table *table;
    uint8_t key[13] = {'d', 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 6};

    lead(s, 4);
    node_settle(n);
    assert_int_equal(append(s, 1, 10, NULL), 0);
    node_settle(n);
    node_stop(n);
    seen_free(s);
    node_start(n);
    assert_int_equal(store_table_open(n->log_store, "log", &table, NULL), 0);
    store_batch_put(b, table, slice_of(key, sizeof key), SLICE_LIT("nothing that looks like a record at all"));
    store_commit(n->log_store, b, on_trimmed, &(struct answer){0});
    node_settle(n);
    s = seen_new(n, 4, 1, NULL);
    lead(s, 4);
    node_settle(n);
    assert_int_equal(s->failed, 1);
    assert_int_equal(s->failed_status, RS_ECORRUPT);
    assert_int_equal(s->next, 6);
    assert_non_null(strstr(s->why, "log 4, LSN 6"));
    node_free(n);
    seen_free(s);
}

/* Readers that begin anywhere, take less than offered, and a cache that holds next to nothing: everybody sees every LSN
 * once. */
static void readers_catch_up_to_live_without_gap_or_duplicate(void **state) {
    for (uint64_t seed = 100; seed < 130; seed++) {
        struct node *n = node_new(seed);
        struct seen *s, *r[6] = {0};
        uint64_t number = 1;
        lsn_t tail = 1;

        node_stop(n);
        n->cache_bytes = 1 + seed % 3 * 3000;
        node_start(n);
        s = seen_new(n, 0, 1, NULL);
        lead(s, 0);
        node_settle(n);
        for (int i = 0; i < 300; i++) {
            size_t count = 1 + node_draw(n) % 20;

            if (node_draw(n) % 3 == 0 && append(s, number, count, NULL) == 0)
                number += count;
            if (node_draw(n) % 40 == 0) {
                struct seen **slot = &r[node_draw(n) % 6];

                if (*slot) {
                    (void)log_close((*slot)->log);
                    seen_free(*slot);
                }
                *slot = seen_new(n, 0, 1 + node_draw(n) % tail, NULL);
                (*slot)->take_less = true;
            }
            for (int k = 0; k < 6; k++)
                if (r[k] && node_draw(n) % 3 == 0)
                    log_reader_resume(r[k]->reader);
            for (uint64_t k = node_draw(n) % 6; k > 0; k--)
                (void)node_step(n);
            tail = log_committed_tail(s->log);
        }
        for (int k = 0; k < 6; k++) {
            if (r[k]) {
                r[k]->take_less = false;
                log_reader_resume(r[k]->reader);
            }
        }
        node_settle(n);
        assert_int_equal(s->next, number);
        for (int k = 0; k < 6; k++) {
            if (!r[k])
                continue;
            assert_int_equal(r[k]->failed, 0);
            assert_int_equal(r[k]->next, number);
            for (lsn_t i = 1; i < number; i++)
                assert_true(r[k]->numbers[i] == 0 || r[k]->numbers[i] == i);
        }
        node_free(n);
        seen_free(s);
        for (int k = 0; k < 6; k++)
            if (r[k])
                seen_free(r[k]);
    }
}

/* Power goes at any moment, again and again: what a reader ever got stays at its LSN, and no record appears twice. */
static void nothing_committed_is_lost_or_doubled_whenever_the_power_goes(void **state) {
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct node *n = node_new(seed);
        uint64_t *committed = xnewn(uint64_t, MAX_RECORDS), number = 1;
        struct seen *s;

        for (int life = 0; life < 8; life++) {
            uint64_t steps = node_draw(n) % 120;
            lsn_t end = 1;

            s = seen_new(n, 5, 1, committed);
            lead(s, 5);
            for (uint64_t i = 0; i < steps; i++) {
                size_t count = 1 + node_draw(n) % 8;

                if (node_draw(n) % 3 == 0 && append(s, number, count, NULL) == 0)
                    number += count;
                (void)node_step(n);
            }
            node_crash(n);
            seen_free(s);
            node_start(n);
            s = seen_new(n, 5, 1, committed); /* asserts in on_deliver that nothing changed */
            lead(s, 5);
            node_settle(n);
            assert_int_equal(s->led_status, 0);
            assert_int_equal(s->failed + s->gaps, 0);
            while (committed[end])
                end++;
            assert_int_equal(s->next, end);
            for (lsn_t i = 1; i < end; i++)
                assert_true(s->numbers[i] == committed[i] && (i == 1 || committed[i] > committed[i - 1]));
            node_stop(n);
            seen_free(s);
            node_start(n);
        }
        node_free(n);
        free(committed);
    }
}

static void a_lead_that_is_given_up_is_answered_and_a_closed_log_is_silent(void **state) {
    struct node *n = node_new(10);
    struct seen *s = seen_new(n, 0, 1, NULL), *t = seen_new(n, 1, 1, NULL);

    log_lead(s->log, 1, on_led, s);
    log_lead(t->log, 1, on_led, t);
    log_resign(s->log);
    t->log = log_close(t->log);
    node_settle(n);
    assert_int_equal(s->led, 1);
    assert_int_equal(s->led_status, RS_ECANCELED);
    assert_int_equal(t->led, 0);
    log_lead(s->log, 2, on_led, s);
    node_settle(n);
    assert_int_equal(s->led_status, 0);
    assert_int_equal(append(s, 1, 5, NULL), 0);
    log_resign(s->log);
    assert_int_equal(append(s, 6, 5, NULL), RS_ECLOSED);
    node_settle(n);
    log_lead(s->log, 3, on_led, s);
    node_settle(n);
    assert_int_equal(s->led, 3);
    assert_int_equal(s->led_first, 6);
    assert_int_equal(s->next, 6);
    assert_int_equal(s->lost, 0);
    node_free(n);
    seen_free(s);
    seen_free(t);
}

static void on_marked_or_cut(void *arg, int status, const struct err *err) {
    if (status == 0 && ((struct node *)arg)->meta)
        node_on_marked(arg, status, err);
}

/* The very first start, cut after @steps events at most, in the order the server does things. */
static void first_start_cut_after(struct node *n, uint64_t steps) {
    struct provision_params pp = {.cluster_name = "test", .num_partitions = 24};
    struct join_params jp = {
        .cluster_name = "test", .node_name = "n1", .address = "http://n1:5122/", .roles = ROLE_ALL};
    struct log_server_params sp = {.loop = n->loop, .pool = &n->exec};
    bool closed = false;

    n->log_store = node_store(n, "/n1/log", "log");
    n->meta_store = node_store(n, "/n1/meta", "meta");
    assert_int_equal(meta_single_open(n->loop, n->meta_store, &n->meta, NULL), 0);
    cluster_provision(n->meta, &pp, node_on_provisioned, n);
    for (; steps && node_step(n); steps--) {
    }
    if (n->provisioned)
        cluster_join(n->meta, &jp, 0, node_on_joined, n);
    for (; steps && node_step(n); steps--) {
    }
    if (n->joined) {
        sp.store = n->log_store;
        sp.node_id = n->self.id;
        assert_int_equal(log_server_open(&sp, &n->server, NULL), 0);
        log_server_flush(n->server, on_marked_or_cut, n);
        for (; steps && node_step(n); steps--) {
        }
    }
    sim_disk_crash(n->disk);
    n->meta = meta_free(n->meta);
    if (n->server)
        log_server_close(n->server, node_server_closed, &closed);
    n->server = NULL;
    node_settle(n); /* what was under way fails: the disk is gone */
    n->log_store = store_close(n->log_store);
    n->meta_store = store_close(n->meta_store);
    node_settle(n);
}

static void a_first_start_that_was_cut_anywhere_is_repeated(void **state) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct node *n = node_new_stopped(seed);
        struct seen *s;

        first_start_cut_after(n, seed % 30);
        node_start(n);
        s = seen_new(n, 0, 1, NULL);
        lead(s, 0);
        node_settle(n);
        assert_int_equal(s->led_status, 0);
        assert_int_equal(append(s, 1, 3, NULL), 0);
        node_settle(n);
        assert_int_equal(s->next, 4);
        node_free(n);
        seen_free(s);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_leader_gets_its_records_back_in_order_once_they_are_durable),
    cmocka_unit_test(a_restart_extends_the_chain_and_keeps_everything),
    cmocka_unit_test(an_empty_segment_is_replaced_and_forgotten),
    cmocka_unit_test(twenty_four_logs_are_led_within_five_syncs),
    cmocka_unit_test(an_older_epoch_is_refused_and_a_newer_one_takes_the_log),
    cmocka_unit_test(a_full_window_refuses_and_tells_when_there_is_room),
    cmocka_unit_test(what_was_trimmed_is_a_gap_and_whole_segments_leave_the_chain),
    cmocka_unit_test(a_poisoned_store_ends_the_lead_and_reads_go_on),
    cmocka_unit_test(a_damaged_record_stops_the_reader_and_is_named),
    cmocka_unit_test(readers_catch_up_to_live_without_gap_or_duplicate),
    cmocka_unit_test(nothing_committed_is_lost_or_doubled_whenever_the_power_goes),
    cmocka_unit_test(a_first_start_that_was_cut_anywhere_is_repeated),
    cmocka_unit_test(a_lead_that_is_given_up_is_answered_and_a_closed_log_is_silent),
};
const struct unit_group log_test_group = UNIT_GROUP(tests);
