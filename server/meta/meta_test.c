/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include "base/limits.h"
#include "meta/cluster.h"
#include "meta/logs_config.h"
#include "meta/meta.h"
#include "meta/node_marker.h"
#include "meta/epoch_metadata.h"
#include "meta/fake_meta.h"
#include "meta/partition_table.h"
#include "storage/sim_storage.h"
#include "storage/store.h"

struct rig {
    struct exec exec; /* first */
    struct list jobs;
    uint64_t now, random;
    struct loop *loop;
    struct sim_disk *disk;
    struct store *store;
    struct meta *meta;
};

static uint64_t rig_mono(void *arg) {
    return ((struct rig *)arg)->now;
}
static void rig_random(void *arg, void *buf, size_t len) {
    struct rig *g = arg;

    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)++g->random;
}
static void rig_submit(struct exec *e, struct job *j) {
    list_push_back(&((struct rig *)(void *)e)->jobs, &j->link);
}
static const struct exec_ops rig_exec = {.submit = rig_submit};
static void rig_back(void *arg) {
    struct job *j = arg;

    j->done(j);
}
static void turns(struct rig *g) {
    while (loop_next_ns(g->loop) <= g->now)
        (void)loop_turn(g->loop);
}
static void settle(struct rig *g) {
    struct list *e;

    for (turns(g); (e = list_pop_front(&g->jobs)); turns(g)) {
        struct job *j = LIST_ENTRY(e, struct job, link);

        j->run(j);
        j->back = (struct loop_task){.fn = rig_back, .arg = j};
        loop_post_task(g->loop, &j->back);
    }
}
static void rig_open(struct rig *g) {
    struct store_params p = {.loop = g->loop,
                             .writer = &g->exec,
                             .ops = &sim_storage_ops,
                             .self = g->disk,
                             .caps = SIM_STORAGE_CAPS,
                             .dir = "/n1/meta",
                             .name = "meta",
                             .durability = RS_STORE_SYNC};

    assert_int_equal(store_open(&p, &g->store, NULL), 0);
    assert_int_equal(meta_single_open(g->loop, g->store, &g->meta, NULL), 0);
}
static void rig_close(struct rig *g) {
    g->meta = meta_free(g->meta);
    settle(g);
    g->store = store_close(g->store);
    settle(g);
}
static struct rig *rig_new(void) {
    struct rig *g = xnew(struct rig);
    struct loop_env env = {.mono_ns = rig_mono, .wall_ns = rig_mono, .random = rig_random, .arg = g};

    g->exec.ops = &rig_exec;
    list_init(&g->jobs);
    g->now = 1000000000;
    g->loop = loop_new_driven(&env);
    g->disk = sim_disk_new(1);
    rig_open(g);
    return g;
}
static void rig_free(struct rig *g) {
    rig_close(g);
    loop_free(g->loop);
    sim_disk_free(g->disk);
    free(g);
}

struct answer {
    int calls, status;
    uint32_t version;
    char msg[240];
};
static void answered(void *arg, int status, uint32_t version, const struct err *err) {
    struct answer *a = arg;

    a->calls++;
    a->status = status;
    a->version = version;
    if (err)
        snprintf(a->msg, sizeof a->msg, "%s", err->msg);
}
static void expect(struct rig *g, const char *key, uint32_t version, const char *value) {
    struct bytes *b;
    uint32_t v;

    assert_int_equal(meta_get(g->meta, key, &v, &b), 0);
    assert_int_equal(v, version);
    assert_true(slice_eq_str(bytes_slice(b), value));
}

static void a_write_needs_the_version_it_expects(void **state) {
    struct rig *g = rig_new();
    struct answer a = {0}, b = {0}, c = {0}, d = {0};

    assert_int_equal(meta_get(g->meta, "k", NULL, NULL), RS_ENOENT);
    meta_cas(g->meta, "k", 0, SLICE_LIT("one"), 0, answered, &a);
    assert_int_equal(a.calls, 0);
    turns(g);
    assert_int_equal(meta_version(g->meta, "k"), 0); /* not before it is durable */
    meta_cas(g->meta, "k", 0, SLICE_LIT("lost"), 0, answered, &b);
    meta_cas(g->meta, "k", 1, SLICE_LIT("two"), 0, answered, &c);
    settle(g);
    assert_true(a.calls == 1 && a.status == 0 && a.version == 1);
    assert_true(b.calls == 1 && b.status == RS_EEXIST);
    assert_true(c.calls == 1 && c.status == 0 && c.version == 2);
    expect(g, "k", 2, "two");
    meta_cas(g->meta, "k", 7, SLICE_LIT("x"), 0, answered, &d);
    settle(g);
    assert_true(d.calls == 1 && d.status == RS_EEXIST && d.version == 2);
    rig_close(g);
    rig_open(g);
    expect(g, "k", 2, "two");
    rig_free(g);
}

static void writes_of_one_turn_share_a_commit(void **state) {
    struct rig *g = rig_new();
    struct answer a[20] = {0};
    uint64_t before = sim_disk_stats(g->disk).synced_writes;

    for (int i = 0; i < 20; i++) {
        char key[16];

        snprintf(key, sizeof key, "k%d", i);
        meta_cas(g->meta, key, 0, SLICE_LIT("v"), 0, answered, &a[i]);
    }
    settle(g);
    for (int i = 0; i < 20; i++)
        assert_true(a[i].calls == 1 && a[i].status == 0);
    assert_int_equal(sim_disk_stats(g->disk).synced_writes, before + 1);
    rig_free(g);
}

static void a_crash_keeps_what_was_answered(void **state) {
    struct rig *g = rig_new();
    struct answer a = {0}, b = {0};

    meta_cas(g->meta, "k", 0, SLICE_LIT("kept"), 0, answered, &a);
    settle(g);
    meta_cas(g->meta, "k", 1, SLICE_LIT("on its way"), 0, answered, &b);
    turns(g);
    sim_disk_crash(g->disk);
    rig_close(g);
    assert_int_equal(b.calls, 0);
    rig_open(g);
    expect(g, "k", 1, "kept");
    rig_free(g);
}

static void a_large_value_a_dead_store_and_a_deadline_are_answered(void **state) {
    struct rig *g = rig_new();
    struct answer a = {0}, b = {0}, c = {0}, d = {0};
    uint8_t *big = xcalloc(1, LIMIT_METADATA_VALUE_BYTES + 1);

    meta_cas(g->meta, "k", 0, slice_of(big, LIMIT_METADATA_VALUE_BYTES + 1), 0, answered, &a);
    assert_int_equal(a.calls, 0);
    settle(g);
    assert_int_equal(a.status, RS_ETOOBIG);
    meta_cas(g->meta, "d", 0, SLICE_LIT("v"), g->now + 5, answered, &d);
    turns(g);
    g->now += 10;
    turns(g);
    assert_true(d.calls == 1 && d.status == RS_ETIMEDOUT);
    settle(g); /* it happened all the same, and nobody is told twice */
    assert_int_equal(d.calls, 1);
    expect(g, "d", 1, "v");
    sim_disk_fault(g->disk, SIM_FAULT_SYNC, "meta", 0, 1);
    meta_cas(g->meta, "k", 0, SLICE_LIT("v"), 0, answered, &b);
    settle(g);
    assert_int_equal(b.status, RS_EIO);
    meta_cas(g->meta, "k", 0, SLICE_LIT("v"), 0, answered, &c);
    settle(g);
    assert_true(c.calls == 1 && c.status < 0);
    assert_int_equal(meta_version(g->meta, "k"), 0);
    free(big);
    rig_free(g);
}

static int increment(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err) {
    uint64_t v = 0;

    for (size_t i = 0; i < current.len; i++)
        v = v * 10 + (uint64_t)(current.data[i] - '0');
    buf_putf(out, "%" PRIu64, v + 1);
    return 0;
}

static void racing_updates_all_happen(void **state) {
    struct rig *g = rig_new();
    struct answer a[10] = {0};

    for (int i = 0; i < 10; i++)
        meta_update(g->meta, "n", 0, increment, answered, &a[i]);
    for (int i = 0; i < 200; i++) {
        settle(g);
        g->now += 10000000;
    }
    for (int i = 0; i < 10; i++)
        assert_true(a[i].calls == 1 && a[i].status == 0);
    expect(g, "n", 10, "10");
    rig_free(g);
}

struct watched {
    struct meta_watch w;
    int calls;
    uint32_t version;
};
static void changed(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct watched *w = arg;

    w->calls++;
    w->version = version;
}

static void watches_see_what_is_there_and_every_change_of_their_prefix(void **state) {
    struct rig *g = rig_new();
    struct answer a = {0};
    struct watched w = {.w = {.changed = changed}}, x = {.w = {.changed = changed}};

    w.w.arg = &w;
    x.w.arg = &x;
    meta_cas(g->meta, "pp_1", 0, SLICE_LIT("v"), 0, answered, &a);
    settle(g);
    meta_watch(g->meta, &w.w, "pp_");
    meta_watch(g->meta, &x.w, "qq_");
    assert_int_equal(w.calls, 0);
    settle(g);
    assert_int_equal(w.calls, 1);
    meta_cas(g->meta, "pp_1", 1, SLICE_LIT("w"), 0, answered, &a);
    settle(g);
    assert_true(w.calls == 2 && w.version == 2);
    meta_unwatch(&w.w);
    meta_cas(g->meta, "pp_1", 2, SLICE_LIT("x"), 0, answered, &a);
    settle(g);
    assert_int_equal(w.calls, 2);
    assert_int_equal(x.calls, 0);
    rig_free(g);
}

static void committed(void *arg, int status, const struct err *err) {
    answered(arg, status, 0, err);
}

/* The row format is on disk: bytes, not functions. Key 'k' + name; 01, version, value, crc32c. */
static void a_row_on_disk_has_these_bytes(void **state) {
    static const uint8_t golden[] = {0x01, 0x01, 0x00, 0x00, 0x00, 'a', 'b', 'c', 0xa8, 0x7f, 0x38, 0xfb};
    struct rig *g = rig_new();
    struct answer a = {0};
    struct store_view *view;
    struct store_table *table;
    struct store_batch *b;
    struct buf value = {0};
    struct err err;

    meta_cas(g->meta, "nodes_config", 0, SLICE_LIT("abc"), 0, answered, &a);
    settle(g);
    assert_int_equal(store_table_open(g->store, "meta", &table, NULL), 0);
    assert_int_equal(store_view_new(g->store, &view, NULL), 0);
    assert_int_equal(store_view_get(view, table, SLICE_LIT("knodes_config"), &value, NULL), 0);
    store_view_free(view);
    assert_int_equal(value.len, sizeof golden);
    assert_memory_equal(value.data, golden, sizeof golden);
    /* A flipped bit is found at start, and the key is named. */
    value.data[6] ^= 1;
    b = store_batch_new();
    store_batch_put(b, table, SLICE_LIT("knodes_config"), buf_slice(&value));
    store_commit(g->store, b, committed, &a);
    settle(g);
    meta_free(g->meta);
    assert_int_equal(meta_single_open(g->loop, g->store, &g->meta, &err), RS_ECORRUPT);
    assert_non_null(strstr(err.msg, "nodes_config"));
    g->meta = NULL;
    buf_done(&value);
    rig_free(g);
}

/* ---- cluster ---- */

struct joined {
    int calls, status;
    struct join_result res;
    char msg[240];
};
static void on_joined(void *arg, int status, const struct join_result *res, const struct err *err) {
    struct joined *j = arg;

    j->calls++;
    j->status = status;
    if (res)
        j->res = *res;
    if (err)
        snprintf(j->msg, sizeof j->msg, "%s", err->msg);
}
static void on_provisioned(void *arg, int status, bool newly, const struct err *err) {
    *(int *)arg = status < 0 ? status : 1 + newly;
}

static void a_cluster_is_provisioned_once_and_nodes_join_it(void **state) {
    struct rig *g = rig_new();
    struct provision_params pp = {.cluster_name = "c", .num_partitions = 3, .log_replication = "{node: 1}"};
    struct join_params jp = {.cluster_name = "c", .node_name = "n1", .address = "a", .roles = ROLE_ALL};
    struct joined j = {0}, k = {0}, bad = {0};
    struct nodes_config *c;
    struct logs_config *logs;
    struct partition_table *t;
    struct bytes *value;
    struct answer a = {0};
    int newly = 0, again = 0;

    cluster_join(g->meta, &jp, 0, on_joined, &j); /* waits for the cluster */
    settle(g);
    assert_int_equal(j.calls, 0);
    cluster_provision(g->meta, &pp, on_provisioned, &newly);
    settle(g);
    cluster_provision(g->meta, &pp, on_provisioned, &again);
    g->now += 1000000000;
    settle(g);
    assert_int_equal(newly, 2);
    assert_int_equal(again, 1);
    assert_true(j.calls == 1 && j.status == 0);
    assert_true(j.res.self.id == 1 && j.res.self.generation == 1 && j.res.fingerprint != 0);
    assert_int_equal(j.res.storage_state, STORAGE_PROVISIONING);
    jp.fingerprint = j.res.fingerprint;
    jp.node_id = 1;
    cluster_join(g->meta, &jp, 0, on_joined, &k);
    settle(g);
    assert_true(k.status == 0 && k.res.self.id == 1 && k.res.self.generation == 2);
    cluster_set_storage_state(g->meta, k.res.self, STORAGE_PROVISIONING, STORAGE_READ_WRITE, answered, &a);
    cluster_set_worker_active(g->meta, k.res.self, answered, &a);
    settle(g);
    g->now += 1000000000;
    settle(g);
    assert_true(a.calls == 2 && a.status == 0);
    cluster_set_storage_state(g->meta, j.res.self, STORAGE_READ_WRITE, STORAGE_DATA_LOSS, answered,
                              &a); /* an old generation */
    settle(g);
    assert_int_equal(a.status, RS_EPERM);
    jp.node_name = "n2";
    jp.node_id = 0;
    cluster_join(g->meta, &jp, 0, on_joined, &k);
    settle(g);
    assert_true(k.res.self.id == 2 && k.res.self.generation == 1);
    jp.fingerprint++;
    cluster_join(g->meta, &jp, 0, on_joined, &bad);
    settle(g);
    assert_int_equal(bad.status, RS_EPERM);
    jp.fingerprint--;
    jp.cluster_name = "d";
    cluster_join(g->meta, &jp, 0, on_joined, &bad);
    settle(g);
    assert_true(bad.calls == 2 && bad.status == RS_EPERM);
    assert_int_equal(meta_get(g->meta, META_KEY_NODES, NULL, &value), 0);
    assert_int_equal(nodes_config_parse(bytes_slice(value), &c, NULL), 0);
    assert_int_equal(c->version, meta_version(g->meta, META_KEY_NODES));
    assert_int_equal(c->n_nodes, 2);
    assert_int_equal(c->nodes[0].storage_state, STORAGE_READ_WRITE);
    assert_int_equal(c->nodes[0].worker_state, WORKER_ACTIVE);
    assert_int_equal(c->nodes[0].metadata_state, METADATA_MEMBER);
    assert_int_equal(c->nodes[1].metadata_state, METADATA_STANDBY);
    nodes_config_free(c);
    assert_int_equal(meta_get(g->meta, META_KEY_LOGS, NULL, &value), 0);
    assert_int_equal(logs_config_parse(bytes_slice(value), &logs, NULL), 0);
    assert_true(replication_eq(logs->replication, REPLICATION_ONE));
    logs_config_free(logs);
    assert_int_equal(meta_get(g->meta, META_KEY_PARTITIONS, NULL, &value), 0);
    assert_int_equal(partition_table_parse(bytes_slice(value), &t, NULL), 0);
    assert_int_equal(t->n, 3);
    partition_table_free(t);
    rig_free(g);
}

static void of_two_processes_with_one_name_one_joins(void **state) {
    struct rig *g = rig_new();
    struct provision_params pp = {.cluster_name = "c", .num_partitions = 3};
    struct join_params jp = {.cluster_name = "c", .node_name = "n1", .address = "a", .roles = ROLE_ALL};
    struct joined j = {0}, k = {0};
    int newly = 0;

    cluster_provision(g->meta, &pp, on_provisioned, &newly);
    settle(g);
    cluster_join(g->meta, &jp, 0, on_joined, &j);
    settle(g);
    assert_true(j.calls == 1 && j.status == 0);
    cluster_join(g->meta, &jp, 0, on_joined, &j);
    cluster_join(g->meta, &jp, 0, on_joined, &k);
    for (unsigned i = 0; i < 10; i++) {
        settle(g);
        g->now += 1000000000;
    }
    assert_true(j.calls == 2 && k.calls == 1);
    assert_true((j.status == 0 && k.status == RS_EPERM) || (k.status == 0 && j.status == RS_EPERM));
    rig_free(g);
}

static void what_waits_is_dropped_with_the_handle(void **state) {
    struct rig *g = rig_new();
    struct provision_params pp = {.cluster_name = "c", .num_partitions = 3},
                            wrong = {.cluster_name = "c", .num_partitions = 70000};
    struct join_params jp = {.cluster_name = "c", .node_name = "n1", .address = "a", .roles = ROLE_ALL};
    struct joined j = {0}, k = {0};
    int newly = 0, bad = 0;

    cluster_join(g->meta, &jp, 0, on_joined, &j);
    settle(g); /* it waits for its timer */
    cluster_join(g->meta, &jp, 0, on_joined, &k);
    cluster_provision(g->meta, &pp, on_provisioned, &newly);
    cluster_provision(g->meta, &wrong, on_provisioned, &bad);
    rig_close(g);
    g->now += 1000000000;
    settle(g);
    assert_true(j.calls == 0 && k.calls == 0 && newly == 0 && bad == 0);
    rig_open(g);
    cluster_provision(g->meta, &wrong, on_provisioned, &bad);
    settle(g);
    assert_int_equal(bad, RS_EINVAL);
    rig_free(g);
}

struct claimed {
    int calls, status;
    epoch_t epoch;
};
static void on_claimed(void *arg, int status, epoch_t epoch, const struct err *err) {
    struct claimed *c = arg;

    c->calls++;
    c->status = status;
    c->epoch = epoch;
}

static void epochs_only_rise_and_other_fields_stay(void **state) {
    struct rig *g = rig_new();
    struct claimed c[3] = {0};
    struct epoch_metadata e;
    struct bytes *value;
    struct answer a = {0};
    struct node_id me = {1, 4};

    epoch_claim(g->meta, 7, me, 0, on_claimed, &c[0]);
    epoch_claim(g->meta, 7, me, 0, on_claimed, &c[1]); /* races with the first */
    settle(g);
    assert_true(c[0].calls == 1 && c[0].epoch == 1);
    assert_true(c[1].calls == 1 && c[1].epoch == 2);
    meta_cas(g->meta, "pp_epoch_7", 2,
             SLICE_LIT("{\"version\":3,\"epoch\":9,\"leader_metadata\":{\"node_id\":\"N5:1\"},\"later\":{\"x\":1}}"), 0,
             answered, &a);
    settle(g);
    epoch_claim(g->meta, 7, me, 0, on_claimed, &c[2]);
    settle(g);
    assert_int_equal(c[2].epoch, 10);
    assert_int_equal(epoch_metadata_get(g->meta, 7, &e, NULL), 0);
    assert_true(e.version == 4 && e.epoch == 10 && node_id_eq(e.leader, me));
    assert_int_equal(meta_get(g->meta, "pp_epoch_7", NULL, &value), 0);
    assert_non_null(memmem(value->data, value->len, "\"later\":{\"x\":1}", 15));
    rig_free(g);
}

static void a_claim_that_waits_for_long_yields_to_one_that_was_made_meanwhile(void **state) {
    struct rig *g = rig_new();
    struct claimed c[2] = {0};
    struct fake_meta *f = fake_meta_new(g->loop);
    struct bytes *value = bytes_copy(
        SLICE_LIT("{\"version\":1,\"epoch\":1,\"leader_metadata\":{\"node_id\":\"N5:1\",\"partition_id\":7}}"));

    for (unsigned i = 0; i < 2; i++) { /* first a short wait, then a long one */
        f->stuck = true;
        epoch_claim(&f->m, i ? 8 : 7, (struct node_id){1, 4}, 0, on_claimed, &c[i]);
        settle(g);
        meta_publish(&f->m, i ? "pp_epoch_8" : "pp_epoch_7", 1, value);
        g->now += i ? 1100000000 : 500000000;
        fake_meta_go_on(f);
        settle(g);
        g->now += 1000000000; /* it tries again after a while */
        settle(g);
    }
    assert_true(c[0].calls == 1 && c[0].status == 0 && c[0].epoch == 2);
    assert_true(c[1].calls == 1 && c[1].status == RS_EEXIST);
    (void)bytes_unref(value);
    (void)meta_free(&f->m);
    rig_free(g);
}

/* ---- marker ---- */

static void a_directory_knows_whose_it_is(void **state) {
    char base[] = "/tmp/restate-marker-XXXXXX", dir[64], cluster[] = "c", other[] = "d", node[] = "n1", lmdb[] = "lmdb",
         rocksdb[] = "rocksdb", v1[] = "0.1.0", v2[] = "0.2.0";
    struct node_marker want = {.cluster_name = cluster,
                               .node_name = node,
                               .data_stores = 2,
                               .log_plugin = lmdb,
                               .meta_plugin = lmdb,
                               .data_plugin = rocksdb,
                               .current_version = v1,
                               .min_version = v1};
    struct node_marker m, bad;
    struct err err;
    int lock = -1, lock2 = -1;

    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/deep/n1", base);
    assert_int_equal(node_marker_start(dir, &want, &m, &lock, &err), 0);
    assert_true(!m.provisioned && m.fingerprint == 0 && m.data_stores == 2);
    assert_int_equal(node_marker_start(dir, &want, &bad, &lock2, &err), RS_EPERM);
    assert_non_null(strstr(err.msg, "in use"));
    m.provisioned = true;
    m.fingerprint = UINT64_MAX - 1;
    m.node_id = 3;
    assert_int_equal(node_marker_store(dir, &m, &err), 0);
    node_marker_done(&m);
    close(lock);
    want.data_stores = 0;
    assert_int_equal(node_marker_start(dir, &want, &m, &lock, &err), 0);
    assert_true(m.provisioned && m.fingerprint == UINT64_MAX - 1 && m.node_id == 3 && m.data_stores == 2);
    want.cluster_name = other;
    assert_int_equal(node_marker_check(dir, &m, &want, &err), RS_EPERM);
    want.cluster_name = cluster;
    want.data_plugin = lmdb;
    assert_int_equal(node_marker_check(dir, &m, &want, &err), RS_EPERM);
    assert_non_null(strstr(err.msg, "--convert-store data=lmdb"));
    want.data_plugin = rocksdb;
    want.data_stores = 3;
    assert_int_equal(node_marker_check(dir, &m, &want, &err), RS_EPERM);
    want.data_stores = 2;
    want.fingerprint = 5;
    assert_int_equal(node_marker_check(dir, &m, &want, &err), RS_EPERM);
    want.fingerprint = 0;
    free(m.min_version);
    m.min_version = xstrdup(v2);
    assert_int_equal(node_marker_check(dir, &m, &want, &err), RS_EPERM);
    node_marker_done(&m);
    close(lock);
    snprintf(dir, sizeof dir, "rm -rf %s", base);
    assert_int_equal(system(dir), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_write_needs_the_version_it_expects),
    cmocka_unit_test(writes_of_one_turn_share_a_commit),
    cmocka_unit_test(a_crash_keeps_what_was_answered),
    cmocka_unit_test(a_large_value_a_dead_store_and_a_deadline_are_answered),
    cmocka_unit_test(racing_updates_all_happen),
    cmocka_unit_test(watches_see_what_is_there_and_every_change_of_their_prefix),
    cmocka_unit_test(a_row_on_disk_has_these_bytes),
    cmocka_unit_test(a_cluster_is_provisioned_once_and_nodes_join_it),
    cmocka_unit_test(of_two_processes_with_one_name_one_joins),
    cmocka_unit_test(what_waits_is_dropped_with_the_handle),
    cmocka_unit_test(epochs_only_rise_and_other_fields_stay),
    cmocka_unit_test(a_claim_that_waits_for_long_yields_to_one_that_was_made_meanwhile),
    cmocka_unit_test(a_directory_knows_whose_it_is),
};
const struct unit_group meta_test_group = UNIT_GROUP(tests);
