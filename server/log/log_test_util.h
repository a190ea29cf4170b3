/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_test_util.h : a node in memory: driven loop, an executor whose jobs the test runs, a sim_disk with a log and
 * a meta store, metadata, log-server, log layer. Power may go at any moment; the node then starts again with its next
 * generation. */
#pragma once
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include "log/log.h"
#include "log/log_server.h"
#include "meta/cluster.h"
#include "meta/logs_config.h"
#include "meta/epoch_metadata.h"
#include "meta/partition_table.h"
#include "proto/record.h"
#include "storage/sim_storage.h"
#include "storage/store.h"

struct node {
    struct exec exec; /* first */
    struct list jobs;
    uint64_t now, rnd;
    struct loop *loop;
    struct sim_disk *disk;
    struct store *log_store, *meta_store;
    struct meta *meta;
    struct log_server *server;
    struct log_node *logs;
    struct node_id self;
    uint32_t window_records;
    uint64_t cache_bytes;
    int joined, provisioned, storage_set;
};

static inline uint64_t node_mono(void *arg) {
    return ((struct node *)arg)->now;
}
static inline uint64_t node_draw(struct node *n) {
    n->rnd = n->rnd * 6364136223846793005u + 1442695040888963407u;
    return n->rnd >> 24;
}
static inline void node_random(void *arg, void *buf, size_t len) {
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)node_draw(arg);
}
static inline void node_submit(struct exec *e, struct job *j) {
    list_push_back(&((struct node *)(void *)e)->jobs, &j->link);
}
static const struct exec_ops node_exec_ops = {.submit = node_submit};
static inline void node_job_back(void *arg) {
    struct job *j = arg;

    if (j->done)
        j->done(j);
}
static inline bool node_run_job(struct node *n) {
    struct list *e = list_pop_front(&n->jobs);
    struct job *j;

    if (!e)
        return false;
    j = LIST_ENTRY(e, struct job, link);
    j->run(j);
    j->back = (struct loop_task){.fn = node_job_back, .arg = j};
    loop_post_task(n->loop, &j->back);
    return true;
}
static inline void node_turns(struct node *n) {
    while (loop_next_ns(n->loop) <= n->now)
        (void)loop_turn(n->loop);
}
static inline void node_settle(struct node *n) {
    do
        node_turns(n);
    while (node_run_job(n));
}
static inline void node_pass(struct node *n, uint64_t ns) {
    uint64_t until = n->now + ns, next;

    node_settle(n);
    while ((next = loop_next_ns(n->loop)) <= until) {
        n->now = MAX(next, n->now);
        node_settle(n);
    }
    n->now = until;
    (void)loop_turn(n->loop);
}
/* One thing that can happen next, drawn: a turn or a job. False when there is nothing. */
static inline bool node_step(struct node *n) {
    bool turn = loop_next_ns(n->loop) <= n->now, job = !list_empty(&n->jobs);

    if (!turn && !job)
        return false;
    if (turn && (!job || node_draw(n) % 2))
        (void)loop_turn(n->loop);
    else { /* any of them: every store has a thread of its own */
        if (node_draw(n) % 2) {
            struct list *first = list_pop_front(&n->jobs);

            list_push_back(&n->jobs, first);
        }
        (void)node_run_job(n);
    }
    return true;
}

static inline void node_on_provisioned(void *arg, int status, bool newly, const struct err *err) {
    if (status < 0)
        fail_msg("%s", err->msg);
    ((struct node *)arg)->provisioned = 1 + newly;
}
static inline void node_on_joined(void *arg, int status, const struct join_result *res, const struct err *err) {
    struct node *n = arg;

    if (status < 0)
        fail_msg("%s", err->msg);
    n->self = res->self;
    n->joined = 1 + (res->storage_state == STORAGE_READ_WRITE);
}
static inline void node_on_storage_set(void *arg, int status, uint32_t version, const struct err *err) {
    if (status < 0)
        fail_msg("%s", err->msg);
    ((struct node *)arg)->storage_set = 1;
}
static inline void node_on_marked(void *arg, int status, const struct err *err) {
    struct node *n = arg;

    assert_int_equal(status, 0);
    cluster_set_storage_state(n->meta, n->self, STORAGE_PROVISIONING, STORAGE_READ_WRITE, node_on_storage_set, n);
}
static inline struct store *node_store(struct node *n, const char *dir, const char *name) {
    struct store_params p = {.loop = n->loop,
                             .writer = &n->exec,
                             .ops = &sim_storage_ops,
                             .self = n->disk,
                             .caps = SIM_STORAGE_CAPS,
                             .dir = dir,
                             .name = name,
                             .durability = RS_STORE_SYNC};
    struct store *s;
    struct err err;

    if (store_open(&p, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

/* Everything up to an open log layer. */
static inline void node_start(struct node *n) {
    struct provision_params pp = {.cluster_name = "test", .num_partitions = 24};
    struct join_params jp = {
        .cluster_name = "test", .node_name = "n1", .address = "http://n1:5122/", .roles = ROLE_ALL};
    struct log_server_params sp = {.loop = n->loop, .pool = &n->exec, .cache_bytes = n->cache_bytes};
    struct log_node_params lp = {.loop = n->loop, .window_records = n->window_records};
    struct err err;

    n->joined = n->provisioned = n->storage_set = 0;
    n->log_store = node_store(n, "/n1/log", "log");
    n->meta_store = node_store(n, "/n1/meta", "meta");
    if (meta_single_open(n->loop, n->meta_store, &n->meta, &err) < 0)
        fail_msg("%s", err.msg);
    cluster_provision(n->meta, &pp, node_on_provisioned, n);
    cluster_join(n->meta, &jp, 0, node_on_joined, n);
    node_pass(n, 1000000000u);
    assert_true(n->provisioned && n->joined);
    sp.store = n->log_store;
    sp.node_id = n->self.id;
    sp.expect_marker = n->joined == 2;
    if (log_server_open(&sp, &n->server, &err) < 0)
        fail_msg("%s", err.msg);
    if (!sp.expect_marker)
        log_server_flush(n->server, node_on_marked, n);
    node_settle(n);
    assert_true(sp.expect_marker || n->storage_set);
    lp.meta = n->meta;
    lp.server = n->server;
    lp.self = n->self;
    if (log_node_open(&lp, &n->logs, &err) < 0)
        fail_msg("%s", err.msg);
}

static inline void node_server_closed(void *arg) {
    *(bool *)arg = true;
}
static inline void node_stop(struct node *n) {
    bool closed = false;

    n->logs = log_node_close(n->logs);
    n->meta = meta_free(n->meta);
    log_server_close(n->server, node_server_closed, &closed);
    node_settle(n);
    assert_true(closed);
    n->log_store = store_close(n->log_store);
    n->meta_store = store_close(n->meta_store);
    node_settle(n);
}
static inline void node_crash(struct node *n) {
    sim_disk_crash(n->disk);
    node_stop(n);
}

static inline struct node *node_new_stopped(uint64_t seed) {
    struct node *n = xnew(struct node);
    struct loop_env env = {.mono_ns = node_mono, .wall_ns = node_mono, .random = node_random, .arg = n};

    n->exec.ops = &node_exec_ops;
    list_init(&n->jobs);
    n->now = 1000000000;
    n->rnd = seed * 77777 + 1;
    n->loop = loop_new_driven(&env);
    n->disk = sim_disk_new(seed);
    return n;
}
static inline struct node *node_new(uint64_t seed) {
    struct node *n = node_new_stopped(seed);

    node_start(n);
    return n;
}
static inline void node_free(struct node *n) {
    node_stop(n);
    loop_free(n->loop);
    assert_int_equal(sim_disk_stats(n->disk).views_open, 0);
    sim_disk_free(n->disk);
    free(n);
}

/* A record that carries a number. */
static inline struct bytes *test_record(uint64_t number, size_t padding) {
    struct record_header h = {.kind = 8, .created_at_ns = number};
    uint8_t payload[256] = {0};

    put_u64le(payload, number);
    return record_new(&h, slice_of(payload, 8 + MIN(padding, sizeof payload - 8)));
}
static inline uint64_t test_number(struct bytes *record) {
    struct record_view v;

    assert_int_equal(record_view(bytes_slice(record), &v, NULL), 0);
    return get_u64le(v.payload.data);
}
