/* SPDX-License-Identifier: Apache-2.0 */
/* store_bench <engine> <directory>: what an operation of server/storage costs. <engine> is "sim" or "<plugins
 * dir>:<name>". Prints one line of JSON per measurement. Informative: nothing is asserted. */
#include "base/logging.h"
#include "storage/store.h"
#include "storage/store_engine_util.h"

#include <stdlib.h>
#include <time.h>

enum { ROWS = 200000, READS = 400000, SCANS = 20000, COMMIT_SECONDS = 2, VALUE_BYTES = 120 };

struct bench {
    const char *spec, *dir;
    struct loop *loop;
    struct exec *writer, *pool;
    struct engine engine;
    struct store *store;
    struct store_table *t;
    struct timer tick;
    uint64_t until_ns, commits, rows, wall0, cpu0;
    unsigned clients;
    struct store_view *view;
};

static uint64_t now_ns(void) {
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_ns(void) { /* of all threads: steadier than the clock on a busy machine */
    struct timespec ts;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void begin(struct bench *b) {
    b->wall0 = now_ns();
    b->cpu0 = cpu_ns();
}

static void say(const struct bench *b, const char *what, uint64_t n) {
    double wall = (double)(now_ns() - b->wall0), cpu = (double)(cpu_ns() - b->cpu0);
    const char *name = strrchr(b->spec, ':');

    printf("{\"engine\":\"%s\",\"what\":\"%s\",\"n\":%llu,\"wall_ns_per_op\":%.0f,\"cpu_ns_per_op\":%.0f,"
           "\"per_second\":%.0f}\n",
           name ? name + 1 : b->spec, what, (unsigned long long)n, wall / (double)n, cpu / (double)n,
           (double)n * 1e9 / wall);
}

static void open_store(struct bench *b, const char *name, uint32_t durability, uint64_t write_out) {
    struct store_params p = {.loop = b->loop,
                             .writer = b->writer,
                             .pool = b->pool,
                             .ops = b->engine.ops,
                             .self = b->engine.self,
                             .caps = b->engine.caps,
                             .name = name,
                             .durability = durability,
                             .write_out_bytes = write_out,
                             .overlay_limit_bytes = 256u << 20};
    char dir[512];
    struct err err;

    (void)snprintf(dir, sizeof dir, "%s/%s", b->dir, name);
    p.dir = dir;
    if (store_open(&p, &b->store, &err) < 0 || store_table_open(b->store, "t", &b->t, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

/* Keys like the server's: a kind, a partition key, something unique. */
static struct slice key_of(uint8_t k[25], uint64_t i) {
    k[0] = 'j';
    put_u64be(k + 1, i / 4 * 0x9e3779b97f4a7c15u);
    put_u64be(k + 9, i / 4 * 0xbf58476d1ce4e5b9u);
    put_u64be(k + 17, i % 4);
    return slice_of(k, 25);
}

static void stop_when_written(void *arg, int status, const struct err *err) {
    loop_stop(((struct bench *)arg)->loop);
}
static void flush(struct bench *b) {
    store_sync(b->store, stop_when_written, b);
    loop_run(b->loop);
}

static void on_view(void *arg, int status, struct store_view *take, const struct err *err) {
    ((struct bench *)arg)->view = take;
    loop_stop(((struct bench *)arg)->loop);
}

/* Brings everything into the engine's cache, as a while of cold reads would. */
static void warm(struct bench *b) {
    struct buf v = {0};
    uint8_t k[25];

    store_barrier(b->store, on_view, b);
    loop_run(b->loop);
    begin(b);
    for (uint64_t i = 0; i < ROWS; i++)
        (void)!store_view_get(b->view, b->t, key_of(k, i), &v, NULL);
    say(b, "view get, cold", ROWS);
    b->view = store_view_free(b->view);
    buf_done(&v);
}

static int one_row(void *arg, struct slice key, struct slice value) {
    ((struct bench *)arg)->rows++;
    return 0;
}

static void reads(struct bench *b, const char *where, uint64_t rows) {
    uint8_t k[25], k2[25];
    uint64_t found = 0, cold = 0, x = 1;
    char what[64];
    struct slice v;

    begin(b);
    for (uint64_t i = 0; i < READS; i++) {
        int r = store_get(b->store, b->t, key_of(k, (x = x * 6364136223846793005u + 1) % rows), &v, NULL);

        found += r == 0;
        cold += r == RS_EAGAIN;
        if (i % 64 == 63)
            store_put(b->store, b->t, SLICE_LIT("applied"), slice_of(k, 8)); /* as apply does: lets the pins go */
    }
    (void)snprintf(what, sizeof what, "get hit, %s (cold %.0f %%)", where, 100.0 * (double)cold / READS);
    say(b, what, READS);
    begin(b);
    for (uint64_t i = 0; i < READS; i++)
        found +=
            store_get(b->store, b->t, key_of(k, 1000000000 + (x = x * 6364136223846793005u + 1) % rows), &v, NULL) == 0;
    (void)snprintf(what, sizeof what, "get miss, %s", where);
    say(b, what, READS);
    begin(b);
    b->rows = 0;
    for (uint64_t i = 0; i < SCANS; i++) {
        (void)key_of(k, (x = x * 6364136223846793005u + 1) % rows);
        memcpy(k2, k, 25);
        memset(k2 + 17, 0xff, 8);
        (void)!store_scan(b->store, b->t, slice_of(k, 17), slice_of(k2, 25), false, one_row, b, NULL);
    }
    (void)snprintf(what, sizeof what, "scan of %.1f rows, %s", (double)b->rows / SCANS, where);
    say(b, what, SCANS);
    if (found == 0)
        printf("{\"warning\":\"nothing was found\"}\n");
}

static void bench_relaxed(struct bench *b) {
    uint8_t k[25], value[VALUE_BYTES] = {1};
    uint64_t x = 1;

    open_store(b, "data-0", RS_STORE_RELAXED, 64u << 20);
    begin(b);
    for (uint64_t i = 0; i < ROWS; i++)
        store_put(b->store, b->t, key_of(k, i), slice_of(value, sizeof value));
    say(b, "put, one large generation", ROWS);
    reads(b, "200 k rows in the active generation", ROWS);
    flush(b);
    reads(b, "just flushed", ROWS);
    warm(b);
    begin(b);
    for (uint64_t i = 0; i < 5000; i++)
        store_put(b->store, b->t, key_of(k, (x = x * 6364136223846793005u + 1) % ROWS), slice_of(value, sizeof value));
    say(b, "put, generation of 1 MiB", 5000);
    reads(b, "engine behind 5 k active rows", ROWS);
    begin(b);
    b->rows = 0;
    (void)!store_scan(b->store, b->t, SLICE_NULL, SLICE_NULL, false, one_row, b, NULL);
    if (b->rows)
        say(b, "row of a long scan, merged", b->rows);
    flush(b);
    b->store = store_close(b->store);
}

/* A steady stream of records through freezing and writing out: the cost on the owner loop alone. */
static void stream_tick(void *arg) {
    struct bench *b = arg;
    uint8_t k[25], value[VALUE_BYTES] = {2};

    for (int i = 0; i < 1000 && store_writable(b->store); i++, b->rows++) {
        store_put(b->store, b->t, key_of(k, b->rows % ROWS), slice_of(value, sizeof value));
        (void)store_mark(b->store);
    }
    if (now_ns() < b->until_ns)
        timer_set(b->loop, &b->tick, 0);
    else
        loop_stop(b->loop);
}

static void bench_stream(struct bench *b) {
    open_store(b, "data-1", RS_STORE_RELAXED, 0);
    b->rows = b->commits = 0;
    begin(b);
    b->until_ns = now_ns() + COMMIT_SECONDS * 1000000000ull;
    timer_init(&b->tick, stream_tick, b);
    timer_set(b->loop, &b->tick, 0);
    loop_run(b->loop);
    flush(b);
    say(b, "put+mark with writing out, through the engine", b->rows);
    b->store = store_close(b->store);
}

static void commit_one(struct bench *b);
static void on_commit(void *arg, int status, const struct err *err) {
    struct bench *b = arg;

    b->commits++;
    if (now_ns() < b->until_ns)
        commit_one(b);
    else if (--b->clients == 0)
        loop_stop(b->loop);
}
static void commit_one(struct bench *b) {
    struct store_batch *sb = store_batch_new();
    uint8_t k[25], value[300] = {3};

    store_batch_put(sb, b->t, key_of(k, b->rows++), slice_of(value, sizeof value));
    store_commit(b->store, sb, on_commit, b);
}

static void bench_commits(struct bench *b, unsigned clients) {
    char what[64];

    begin(b);
    b->clients = clients;
    b->commits = 0;
    b->until_ns = now_ns() + COMMIT_SECONDS * 1000000000ull;
    for (unsigned i = 0; i < clients; i++)
        commit_one(b);
    loop_run(b->loop);
    (void)snprintf(what, sizeof what, "SYNC commits of 300 bytes, %u at a time", clients);
    say(b, what, b->commits);
}

int main(int argc, char **argv) {
    struct bench b = {.spec = argc > 2 ? argv[1] : "sim", .dir = argc > 2 ? argv[2] : "x"};
    struct err err;

    logging_set_level(RS_LOG_WARN);
    if (loop_new(&b.loop, &err) < 0 || engine_open(&b.engine, b.spec, b.loop, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    b.writer = exec_new_threads("writer", 1);
    b.pool = exec_new_threads("pool", 1);
    bench_relaxed(&b);
    bench_stream(&b);
    open_store(&b, "log", RS_STORE_SYNC, 0);
    bench_commits(&b, 1);
    bench_commits(&b, 64);
    bench_commits(&b, 1024);
    b.store = store_close(b.store);
    exec_free(b.writer);
    exec_free(b.pool);
    engine_close(&b.engine, b.loop, NULL);
    return 0;
}
