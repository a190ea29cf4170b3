/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "loop/exec.h"
#include "loop/loop.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t fake_now(void *arg) {
    return *(uint64_t *)arg;
}
static void fake_random(void *arg, void *buf, size_t len) {
    memset(buf, 7, len);
}

struct trace {
    struct loop *loop;
    char text[64];
    struct timer timer;
    struct loop_hook hook;
    int n;
};

static void note(struct trace *t, char c) {
    size_t n = strlen(t->text);

    assert_true(n + 1 < sizeof t->text);
    t->text[n] = c;
}
static void on_post(void *arg) {
    note(arg, 'p');
}
static void on_timer(void *arg) {
    note(arg, 't');
}
static void on_hook(void *arg) {
    note(arg, 'h');
}

static void a_turn_runs_posts_then_timers_then_hooks(void **state) {
    uint64_t now = 1000;
    struct loop_env env = {.mono_ns = fake_now, .wall_ns = fake_now, .random = fake_random, .arg = &now};
    struct loop *l = loop_new_driven(&env);
    struct trace t = {.loop = l};

    timer_init(&t.timer, on_timer, &t);
    loop_hook_init(&t.hook, on_hook, &t);
    loop_hook_arm(l, &t.hook);
    loop_hook_arm(l, &t.hook);
    timer_set(l, &t.timer, 500);
    loop_post(l, on_post, &t);
    assert_int_equal(loop_next_ns(l), 0);
    assert_true(loop_turn(l));
    assert_string_equal(t.text, "ph");
    assert_int_equal(loop_next_ns(l), 1500);
    timer_set(l, &t.timer, 900); /* later: stays filed at 1500 */
    now = 1600;
    assert_false(loop_turn(l));
    now = 1900;
    assert_true(loop_turn(l));
    assert_string_equal(t.text, "pht");
    loop_free(l);
}

struct item {
    struct timer t;
    uint64_t due;
    uint64_t *last;
    int *fired;
};
static void item_fires(void *arg) {
    struct item *i = arg;

    assert_true(i->due >= *i->last);
    *i->last = i->due;
    (*i->fired)++;
}

static void timers_fire_in_order_whatever_was_stopped_or_moved(void **state) {
    uint64_t now = 0, last = 0, seed = 12345;
    struct loop_env env = {.mono_ns = fake_now, .wall_ns = fake_now, .random = fake_random, .arg = &now};
    struct loop *l = loop_new_driven(&env);
    struct item items[500];
    int fired = 0, want = 0;

    for (int i = 0; i < 500; i++) {
        timer_init(&items[i].t, item_fires, &items[i]);
        items[i].last = &last;
        items[i].fired = &fired;
    }
    for (int k = 0; k < 5000; k++) {
        struct item *it;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        it = &items[(seed >> 33) % 500];
        if ((seed >> 20) % 4 == 0) {
            timer_stop(l, &it->t);
        } else {
            it->due = 1 + (seed >> 40);
            timer_set_at(l, &it->t, it->due);
        }
    }
    for (int i = 0; i < 500; i++)
        want += timer_armed(&items[i].t);
    while (loop_next_ns(l) != UINT64_MAX) {
        now = loop_next_ns(l);
        (void)loop_turn(l);
    }
    assert_int_equal(fired, want);
    loop_free(l);
}

struct sum {
    struct job job;
    struct loop *loop;
    int in, out;
    int *left;
};
static void sum_run(struct job *j) {
    struct sum *s = CONTAINER_OF(j, struct sum, job);
    s->out = s->in * 2;
}
static void sum_done(struct job *j) {
    struct sum *s = CONTAINER_OF(j, struct sum, job);

    assert_true(loop_is_current(s->loop));
    assert_int_equal(s->out, s->in * 2);
    if (--*s->left == 0)
        loop_stop(s->loop);
}

static void jobs_come_back_on_their_loop(void **state) {
    struct loop *l;
    struct exec *e = exec_new_threads("test", 2);
    struct sum sums[200];
    int left = 200;

    assert_int_equal(loop_new(&l, NULL), 0);
    for (int i = 0; i < 200; i++) {
        sums[i] = (struct sum){.job = {.run = sum_run, .done = sum_done}, .loop = l, .in = i, .left = &left};
        exec_submit(e, l, &sums[i].job);
    }
    loop_run(l);
    assert_int_equal(left, 0);
    exec_free(e);
    loop_free(l);
}

static void on_readable(void *arg, unsigned events) {
    struct trace *t = arg;

    assert_int_equal(events, RS_WATCH_READ);
    loop_stop(t->loop);
}

static void descriptors_wake_the_loop(void **state) {
    struct trace t = {0};
    struct watch *w;
    int fd[2];

    assert_int_equal(loop_new(&t.loop, NULL), 0);
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(watch_new(t.loop, fd[0], RS_WATCH_READ, on_readable, &t, &w), 0);
    assert_int_equal(write(fd[1], "x", 1), 1);
    loop_run(t.loop);
    assert_null(watch_free(w));
    (void)close(fd[0]);
    (void)close(fd[1]);
    loop_free(t.loop);
}

struct ticking {
    struct loop *loop;
    struct exec *exec;
    struct job job;
    struct timer timer;
    int left;
    bool busy;
};
static void short_job(struct job *j) {
    (void)usleep(3000);
}
static void short_job_done(struct job *j) {
    CONTAINER_OF(j, struct ticking, job)->busy = false;
}
static void tick(void *arg) {
    struct ticking *t = arg;

    if (--t->left == 0) {
        loop_stop(t->loop);
        return;
    }
    timer_set(t->loop, &t->timer, 7000000 + (uint64_t)(t->left % 7) * 333333);
    if (!t->busy) { /* one other event while the timeout is armed */
        t->busy = true;
        exec_submit(t->exec, t->loop, &t->job);
    }
}

/* libevent's clock is coarse and may end the wait before the timer is due: the timeout must then be armed again. */
static void timers_of_a_real_loop_fire_without_other_events(void **state) {
    struct ticking t = {.left = 60, .job = {.run = short_job, .done = short_job_done}};

    t.exec = exec_new_threads("tick", 1);
    assert_int_equal(loop_new(&t.loop, NULL), 0);
    timer_init(&t.timer, tick, &t);
    timer_set(t.loop, &t.timer, 1);
    loop_run(t.loop);
    assert_int_equal(t.left, 0);
    exec_free(t.exec);
    loop_free(t.loop);
}

struct priority {
    struct job job;
    int nice;
};
static void priority_run(struct job *j) {
    CONTAINER_OF(j, struct priority, job)->nice = getpriority(PRIO_PROCESS, 0); /* Linux: of the thread */
}
static void priority_done(struct job *j) {
    loop_stop(j->loop);
}

static void background_work_has_a_lower_priority(void **state) {
    struct exec *e = exec_new_background("test", 1);
    struct priority p = {.job = {.run = priority_run, .done = priority_done}};
    struct loop *l;

    assert_int_equal(loop_new(&l, NULL), 0);
    exec_submit(e, l, &p.job);
    loop_run(l);
    assert_int_equal(p.nice, MIN(getpriority(PRIO_PROCESS, 0) + 10, 19));
    exec_free(e);
    loop_free(l);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(background_work_has_a_lower_priority),
                                          cmocka_unit_test(a_turn_runs_posts_then_timers_then_hooks),
                                          cmocka_unit_test(timers_fire_in_order_whatever_was_stopped_or_moved),
                                          cmocka_unit_test(jobs_come_back_on_their_loop),
                                          cmocka_unit_test(descriptors_wake_the_loop),
                                          cmocka_unit_test(timers_of_a_real_loop_fire_without_other_events)};
const struct unit_group loop_test_group = UNIT_GROUP(tests);
