/* SPDX-License-Identifier: Apache-2.0 */
#include "lmdb_store.h"
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int charge(const rs_host *host, int64_t bytes) {
    return 0;
}

struct fixture {
    rs_host host;
    struct instance in;
    char dir[64];
    rs_store *store;
    rs_table *table;
    rs_error err;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);

    f->host.mem_charge = charge;
    f->in = (struct instance){&f->host, {.map_size = 16u << 20, .quota = 15u << 20, .max_tables = 16, .max_views = 16}};
    f->err.struct_size = sizeof f->err;
    (void)strcpy(f->dir, "/tmp/restate-savepoint-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    static const char *const files[] = {"data.mdb", "lock.mdb", "savepoint", "restate-store", "restate-lock", "old"};
    struct fixture *f = *state;
    char path[128];

    lm_close(f->store);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(f->dir);
    free(f);
    return 0;
}

static int open_store(struct fixture *f, uint32_t durability) {
    rs_store_open o = {.struct_size = sizeof o, .durability = durability, .dir = f->dir};
    return lm_open(&f->in, &o, &f->store, &f->err);
}

static void start(struct fixture *f) {
    assert_int_equal(open_store(f, RS_STORE_RELAXED), 0);
    assert_int_equal(lm_table_open(f->store, "t", 0, &f->table, &f->err), 0);
}

/* As a killed process leaves it. */
static void crash(struct fixture *f) {
    f->store->poison = RS_EIO;
    lm_close(f->store);
    f->store = NULL;
}

static void put(struct fixture *f, const char *key, uint32_t flags) {
    rs_batch *b = lm_batch_new(f->store, 0);
    struct iovec value = {(void *)(uintptr_t)key, strlen(key)};

    assert_int_equal(lm_batch_put(b, f->table, (rs_slice){key, strlen(key)}, &value, 1), 0);
    assert_int_equal(lm_write(f->store, b, flags, &f->err), 0);
    lm_batch_free(b);
}

static bool has(struct fixture *f, const char *key) {
    rs_view *v;
    rs_pin pin;
    int r;

    assert_int_equal(lm_view_new(f->store, &v, &f->err), 0);
    r = lm_get(v, f->table, (rs_slice){key, strlen(key)}, 0, &pin, &f->err);
    lm_view_free(v);
    return r == 0;
}

static void file_io(struct fixture *f, const char *name, off_t at, void *buf, size_t n, bool write) {
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write ? pwrite(fd, buf, n, at) : pread(fd, buf, n, at), (ssize_t)n);
    (void)close(fd);
}

static void a_crash_takes_back_what_was_not_synced(void **state) {
    struct fixture *f = *state;

    start(f);
    put(f, "sync", 0);
    assert_int_equal(lm_sync(f->store, &f->err), 0);
    for (int i = 0; i < 5; i++)
        put(f, "relaxed", 0);
    assert_true(has(f, "relaxed"));
    crash(f);
    start(f);
    assert_true(has(f, "sync"));
    assert_false(has(f, "relaxed"));
    put(f, "written sync", RS_WRITE_SYNC);
    crash(f);
    start(f);
    assert_true(has(f, "written sync"));
}

static void a_store_that_was_closed_keeps_all(void **state) {
    struct fixture *f = *state;

    start(f);
    put(f, "relaxed", 0);
    lm_close(f->store);
    start(f);
    assert_true(has(f, "relaxed"));
}

/* The slot of the newest one was torn; the pages of the one before were not touched until it was whole. */
static void a_damaged_savepoint_leaves_the_one_before(void **state) {
    struct fixture *f = *state;
    uint64_t number;
    char byte;

    start(f);
    put(f, "first", 0);
    assert_int_equal(lm_sync(f->store, &f->err), 0);
    put(f, "second", 0);
    assert_int_equal(lm_sync(f->store, &f->err), 0);
    number = f->store->savepoint_number;
    crash(f);
    file_io(f, "savepoint", (off_t)(number & 1) * 4096 + 100, &byte, 1, false);
    byte ^= 1;
    file_io(f, "savepoint", (off_t)(number & 1) * 4096 + 100, &byte, 1, true);
    start(f);
    assert_true(has(f, "first"));
    assert_false(has(f, "second"));
}

static void data_older_than_its_savepoint_is_refused(void **state) {
    static char meta[8192];
    struct fixture *f = *state;

    start(f);
    file_io(f, "data.mdb", 0, meta, sizeof meta, false);
    put(f, "newer", RS_WRITE_SYNC);
    crash(f);
    file_io(f, "data.mdb", 0, meta, sizeof meta, true);
    assert_int_equal(open_store(f, RS_STORE_RELAXED), RS_ECORRUPT);
    assert_non_null(strstr(f->err.msg, "older than its savepoint"));
}

static void a_synced_store_leaves_savepoints_behind(void **state) {
    struct fixture *f = *state;
    char path[128];

    start(f);
    put(f, "saved", RS_WRITE_SYNC);
    put(f, "relaxed", 0);
    crash(f);
    assert_int_equal(open_store(f, RS_STORE_SYNC), 0);
    assert_int_equal(lm_table_open(f->store, "t", 0, &f->table, &f->err), 0);
    assert_true(has(f, "saved"));
    assert_false(has(f, "relaxed"));
    (void)snprintf(path, sizeof path, "%s/savepoint", f->dir);
    assert_int_equal(access(path, F_OK), -1);
    put(f, "synced", 0);
    crash(f);
    start(f);
    assert_true(has(f, "synced"));
}

/* The bytes of format 1, here of an empty store with one table. They never change. */
static const char golden[] =
    "52534c4d4442535001000000aca27b350200000000000000010000000000000000100000000000000100000000000000"
    "0000080000000000dec0efbe010000000000000000000000000000010000000000100000080000000000000000000000"
    "000000000000000000000000000000000000000000000000ffffffffffffffff00000000000001000000000000000000"
    "010000000000000000000000000000000100000000000000020000000000000002000000000000000100000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000";

static void format_1_is_as_it_was(void **state) {
    struct fixture *f = *state;
    uint8_t slot[296];
    char hex[2 * sizeof slot + 1];

    start(f);
    assert_int_equal(f->store->savepoint_number, 2);
    file_io(f, "savepoint", 0, slot, sizeof slot, false);
    for (size_t i = 0; i < sizeof slot; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", slot[i]);
    assert_string_equal(hex, golden);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_crash_takes_back_what_was_not_synced, setup, teardown),
    cmocka_unit_test_setup_teardown(a_store_that_was_closed_keeps_all, setup, teardown),
    cmocka_unit_test_setup_teardown(a_damaged_savepoint_leaves_the_one_before, setup, teardown),
    cmocka_unit_test_setup_teardown(data_older_than_its_savepoint_is_refused, setup, teardown),
    cmocka_unit_test_setup_teardown(a_synced_store_leaves_savepoints_behind, setup, teardown),
    cmocka_unit_test_setup_teardown(format_1_is_as_it_was, setup, teardown),
};
const struct unit_group savepoint_test_group = UNIT_GROUP(tests);
