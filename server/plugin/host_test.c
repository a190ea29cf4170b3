/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "plugin/host.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct loop *loop;
    struct exec *pool;
    struct host *host;
    const rs_host *abi;
    unsigned worked, posted, timed, watched;
    rs_timer *timer;
    rs_watch *watch;
    int pipe[2];
    char logged[200];
};

static void note_log(void *arg, int level, const char *plugin, const char *message, const rs_field *fields, size_t n) {
    struct fixture *f = arg;

    (void)snprintf(f->logged, sizeof f->logged, "%d %s %s %s=%s", level, plugin, message, n ? fields[0].name : "",
                   n ? fields[0].v.str : "");
}

static void setup(struct fixture *f, uint64_t mem_limit) {
    memset(f, 0, sizeof *f);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    f->pool = exec_new_threads("test", 1);
    f->host = host_new(&(struct host_params){
        .pool = f->pool, .loop = f->loop, .mem_limit_bytes = mem_limit, .log = note_log, .log_arg = f});
    f->abi = host_for(f->host, "mine");
}

static void teardown(struct fixture *f) {
    (void)exec_free(f->pool);
    (void)loop_free(f->loop);
    (void)host_free(f->host);
}

static void check_end(struct fixture *f) {
    if (f->posted && f->timed && f->watched)
        loop_stop(f->loop);
}

static void on_post(void *arg) {
    struct fixture *f = arg;

    f->posted++;
    check_end(f);
}

static void on_work(void *arg) {
    struct fixture *f = arg;

    f->worked++;
    (void)f->abi->post(host_loop(f->loop), on_post, f); /* from the pool's thread */
}

static void on_timer(void *arg) {
    struct fixture *f = arg;

    f->timed++;
    f->abi->timer_stop(f->timer); /* a timer is ended inside its own call */
    check_end(f);
}

static void on_watch(void *arg, uint32_t events) {
    struct fixture *f = arg;
    char c;

    assert_true(events & RS_WATCH_READ);
    assert_int_equal(read(f->pipe[0], &c, 1), 1);
    f->watched++;
    f->abi->unwatch(f->watch);
    check_end(f);
}

static void loops_pool_timers_and_watches_serve_plugins(void **state) {
    struct fixture f;
    rs_timer *never;

    setup(&f, 0);
    assert_int_equal(pipe(f.pipe), 0);
    assert_int_equal(write(f.pipe[1], "x", 1), 1);
    assert_int_equal(f.abi->work(f.abi, RS_POOL_IO, on_work, &f), 0);
    assert_int_equal(f.abi->work(f.abi, 99, on_work, &f), RS_EINVAL);
    assert_int_equal(f.abi->timer(host_loop(f.loop), 1000000, on_timer, &f, &f.timer), 0);
    assert_int_equal(f.abi->timer(host_loop(f.loop), UINT64_MAX, on_timer, &f, &never), 0);
    f.abi->timer_stop(never);
    assert_int_equal(f.abi->watch(host_loop(f.loop), f.pipe[0], 0, on_watch, &f, &f.watch), 0);
    f.abi->watch_set(f.watch, RS_WATCH_READ);
    assert_int_equal(f.abi->watch(host_loop(f.loop), -1, RS_WATCH_READ, on_watch, &f, &f.watch), RS_EINVAL);
    loop_run(f.loop);
    assert_int_equal(f.worked, 1);
    assert_int_equal(f.posted, 1);
    assert_int_equal(f.timed, 1);
    assert_int_equal(f.watched, 1);
    (void)close(f.pipe[0]);
    (void)close(f.pipe[1]);
    teardown(&f);
}

static void memory_beyond_the_limit_is_refused(void **state) {
    struct fixture f;
    const rs_host *other;

    setup(&f, 100);
    other = host_for(f.host, "other");
    assert_int_equal(f.abi->mem_charge(f.abi, 60), 0);
    assert_int_equal(other->mem_charge(other, 41), RS_ENOMEM);
    assert_int_equal(host_mem_bytes(f.host), 60);
    assert_int_equal(other->mem_charge(other, 40), 0);
    assert_int_equal(f.abi->mem_charge(f.abi, -60), 0);
    assert_int_equal(host_mem_bytes(f.host), 40);
    teardown(&f);
}

struct seen {
    unsigned n;
    double sum;
};

static void see(void *arg, const char *name, const char *help, int type, double value) {
    struct seen *s = arg;

    s->n++;
    s->sum += value;
    assert_string_equal(name, "restate_mine_reads_total");
    assert_string_equal(help, "reads");
    assert_int_equal(type, RS_METRIC_COUNTER);
}

static void metrics_of_all_instances_are_one_sum(void **state) {
    struct seen seen = {0};
    const rs_host *other;
    struct fixture f;
    uint32_t id;

    setup(&f, 0);
    other = host_for(f.host, "other");
    id = f.abi->metric(f.abi, RS_METRIC_COUNTER, "restate_mine_reads_total", "reads");
    assert_int_not_equal(id, 0);
    assert_int_equal(other->metric(other, RS_METRIC_COUNTER, "restate_mine_reads_total", "reads"), id);
    assert_int_equal(other->metric(other, RS_METRIC_GAUGE, "restate_mine_reads_total", "reads"), 0);
    assert_int_equal(other->metric(other, 7, "x", "x"), 0);
    f.abi->metric_add(f.abi, id, 2);
    other->metric_add(other, id, 3);
    other->metric_add(other, 0, 100);
    other->metric_add(other, id + 1, 100);
    host_metrics(f.host, see, &seen);
    assert_int_equal(seen.n, 1);
    assert_true(seen.sum == 5);
    teardown(&f);
}

static void log_lines_carry_the_plugins_name(void **state) {
    struct fixture f;

    setup(&f, 0);
    f.abi->log(f.abi, RS_LOG_WARN, "slow disk",
               (const rs_field[]){{.name = "path", .type = RS_FIELD_STR, .v.str = "/d"}}, 1);
    assert_string_equal(f.logged, "2 mine slow disk path=/d");
    f.abi->log(f.abi, 77, "odd level", NULL, 0);
    assert_string_equal(f.logged, "5 mine odd level =");
    teardown(&f);
}

static void clocks_and_entropy_are_the_loops(void **state) {
    uint8_t a[16] = {0}, b[16] = {0};
    struct fixture f;
    uint64_t first;

    setup(&f, 0);
    first = f.abi->mono_ns(f.abi);
    assert_true(f.abi->mono_ns(f.abi) >= first);
    assert_true(f.abi->wall_ns(f.abi) > UINT64_C(1600000000000000000));
    f.abi->random(f.abi, a, sizeof a);
    f.abi->random(f.abi, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    teardown(&f);
}

static void options_are_read_with_units_and_place(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = NULL;
    rs_error e = {.struct_size = sizeof e};
    const rs_node *root;
    const char *s = NULL;
    struct fixture f;
    int32_t flag = 7;
    uint64_t v = 0;

    setup(&f, 0);
    assert_int_equal(
        cfg_parse(SLICE_LIT("size: 512MiB\nwait: 30s\nn: 7\non: true\nlist: [a, b]\n"), "t.yaml", &t, NULL), 0);
    root = host_node(cfg_root(t));
    assert_int_equal(f.abi->node_u64(f.abi->node_get(root, "size"), RS_UNIT_BYTES, &v, &e), 0);
    assert_int_equal(v, 512u << 20);
    assert_int_equal(f.abi->node_u64(f.abi->node_get(root, "wait"), RS_UNIT_NS, &v, &e), 0);
    assert_true(v == UINT64_C(30000000000));
    assert_int_equal(f.abi->node_u64(f.abi->node_get(root, "n"), RS_UNIT_COUNT, &v, &e), 0);
    assert_int_equal(v, 7);
    assert_int_equal(f.abi->node_bool(f.abi->node_get(root, "on"), &flag, &e), 0);
    assert_int_equal(flag, 1);
    assert_int_equal(f.abi->node_str(f.abi->node_at(f.abi->node_get(root, "list"), 1), &s, &e), 0);
    assert_string_equal(s, "b");
    assert_null(f.abi->node_at(f.abi->node_get(root, "list"), 2));
    assert_null(f.abi->node_get(root, "absent"));
    assert_int_equal(f.abi->node_str(NULL, &s, &e), RS_ENOENT);
    assert_int_equal(f.abi->node_u64(f.abi->node_get(root, "list"), RS_UNIT_COUNT, &v, &e), RS_EINVAL);
    assert_string_equal(e.msg, "t.yaml:5: list: a whole number is expected, not a list");
    assert_int_equal(f.abi->node_bool(f.abi->node_get(root, "n"), &flag, NULL), RS_EINVAL);
    teardown(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(loops_pool_timers_and_watches_serve_plugins),
    cmocka_unit_test(memory_beyond_the_limit_is_refused),
    cmocka_unit_test(metrics_of_all_instances_are_one_sum),
    cmocka_unit_test(log_lines_carry_the_plugins_name),
    cmocka_unit_test(clocks_and_entropy_are_the_loops),
    cmocka_unit_test(options_are_read_with_units_and_place),
};
const struct unit_group host_test_group = UNIT_GROUP(tests);
