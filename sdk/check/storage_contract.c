/* SPDX-License-Identifier: Apache-2.0 */
/* Suite contract (storage): limits and refusals, one user per directory, damaged files, readers on other threads, and
 * that nothing is left behind. */
#include "storage.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <restate/helper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BIG_VALUE = 64 << 20, ROWS = 2000 };

static void check_limits(struct check *c, struct opened *o) {
    const rs_storage_ops *ops = &c->ops.storage;
    rs_limits l = {.struct_size = sizeof(l)};
    struct iovec value = {calloc(1, BIG_VALUE), 5};
    char *key = calloc(1, 1 << 20);
    rs_batch *b = ops->batch_new(o->store, 100);
    size_t before;

    ops->limits(o->store, &l);
    (void)tap_ok(c->tap, l.key_max >= 480 && l.value_max >= BIG_VALUE && l.batch_max >= l.value_max,
                 "contract: limits are wide enough (key %u, value %llu, batch %llu)", l.key_max,
                 (unsigned long long)l.value_max, (unsigned long long)l.batch_max);
    if (b == NULL || key == NULL || value.iov_base == NULL || l.key_max >= (1 << 20) - 1)
        return;
    memset(key, 'k', l.key_max + 1);
    before = ops->batch_bytes(b);
    (void)tap_ok(c->tap, ops->batch_put(b, o->table[0], (rs_slice){"", 0}, &value, 1) == RS_EINVAL,
                 "contract: an empty key is RS_EINVAL");
    (void)tap_ok(c->tap, ops->batch_put(b, o->table[0], (rs_slice){key, l.key_max + 1}, &value, 1) == RS_ETOOBIG,
                 "contract: a key above key_max is RS_ETOOBIG");
    (void)tap_ok(c->tap, ops->batch_bytes(b) == before, "contract: a refused operation leaves the batch as it was");
    (void)tap_ok(c->tap,
                 ops->batch_put(b, o->table[0], (rs_slice){key, l.key_max}, &value, 1) == 0 &&
                     ops->batch_put(b, o->table[0], (rs_slice){"none", 4}, NULL, 0) == 0 &&
                     ops->write(o->store, b, 0, NULL) == 0,
                 "contract: the longest key and an empty value are written");
    ops->batch_clear(b);
    value.iov_len = BIG_VALUE;
    (void)tap_ok(c->tap,
                 ops->batch_put(b, o->table[1], (rs_slice){"big", 3}, &value, 1) == 0 &&
                     ops->write(o->store, b, RS_WRITE_SYNC, NULL) == 0,
                 "contract: a value of 64 MiB is written");
    ops->batch_free(b);

    rs_view *v;
    rs_pin pin;
    if (tap_ok(c->tap, ops->view_new(o->store, &v, NULL) == 0, "contract: a view")) {
        bool ok = ops->get(v, o->table[0], (rs_slice){key, l.key_max}, 0, &pin, NULL) == 0 && pin.value.len == 5;
        (void)tap_ok(c->tap, ok, "contract: the longest key is found");
        if (ok)
            ops->unpin(&pin);
        ok = ops->get(v, o->table[1], (rs_slice){"big", 3}, 0, &pin, NULL) == 0 && pin.value.len == BIG_VALUE;
        (void)tap_ok(c->tap, ok, "contract: the big value is read");
        if (ok)
            ops->unpin(&pin);
        (void)tap_ok(c->tap, ops->get(v, o->table[0], (rs_slice){key, l.key_max + 1}, 0, &pin, NULL) == RS_ENOENT,
                     "contract: a key that is too long is not found");
        ops->view_free(v);
    }
    free(key);
    free(value.iov_base);
}

static void check_refusals(struct check *c, void *self, struct opened *o, const char *dir) {
    const rs_storage_ops *ops = &c->ops.storage;
    rs_store_open params = {.struct_size = sizeof(params), .durability = RS_STORE_SYNC, .dir = dir};
    rs_error err = {.struct_size = sizeof(err)};
    rs_store *second = NULL;
    rs_table *t = NULL;
    char name[160], lost[512];
    int r;

    (void)tap_ok(c->tap, ops->table_open(o->store, "t0", 0, &t, NULL) == 0 && t == o->table[0],
                 "contract: a table opened twice is the same handle");
    (void)tap_ok(c->tap, ops->table_open(o->store, "", 0, &t, NULL) == RS_EINVAL, "contract: a table needs a name");
    memset(name, 'n', sizeof(name));
    name[128] = '\0';
    (void)tap_ok(c->tap, ops->table_open(o->store, name, 0, &t, NULL) == 0,
                 "contract: a table name may have 128 bytes");
    (void)tap_ok(c->tap, ops->table_drop(o->store, "nowhere", NULL) == RS_ENOENT,
                 "contract: an unknown table cannot be dropped");
    r = ops->open(self, &params, &second, &err);
    (void)tap_ok(c->tap, r == RS_EPERM && second == NULL && err.code == r && err.msg[0] != '\0',
                 "contract: a directory that is in use is RS_EPERM");
    params.durability = 77;
    (void)tap_ok(c->tap, ops->open(self, &params, &second, NULL) == RS_EINVAL,
                 "contract: an unknown durability is RS_EINVAL");
    params.durability = RS_STORE_SYNC;
    (void)snprintf(lost, sizeof(lost), "%s/no/such/parent", c->dir);
    params.dir = lost;
    (void)tap_ok(c->tap, ops->open(self, &params, &second, &err) < 0 && second == NULL,
                 "contract: a directory without a parent is refused");
    (void)tap_ok(c->tap, has_one(c, o, "none", ""), "contract: all these refusals left the store as it was");
}

/* ---- readers on other threads ---- */

struct readers {
    struct check *c;
    const struct opened *o;
    unsigned done, views;
    const char *problem;
};

static void read_once(struct readers *r) {
    const rs_storage_ops *ops = &r->c->ops.storage;
    uint32_t seen[MODEL_TABLES] = {0};
    rs_view *v;
    rs_pin pin;

    if (ops->view_new(r->o->store, &v, NULL) < 0) {
        __atomic_store_n(&r->problem, "a view cannot be made", __ATOMIC_RELAXED);
        return;
    }
    for (int i = 0; i < MODEL_TABLES; i++) {
        if (ops->get(v, r->o->table[i], (rs_slice){"number", 6}, 0, &pin, NULL) == 0) {
            memcpy(&seen[i], pin.value.data, sizeof(seen[i]));
            ops->unpin(&pin);
        }
    }
    if (seen[0] != seen[1] || seen[1] != seen[2])
        __atomic_store_n(&r->problem, "a view shows half a batch", __ATOMIC_RELAXED);
    (void)__atomic_add_fetch(&r->views, 1, __ATOMIC_RELAXED);
    ops->view_free(v);
}

static void *reader_main(void *arg) {
    struct readers *r = arg;
    while (!__atomic_load_n(&r->done, __ATOMIC_ACQUIRE))
        read_once(r);
    return NULL;
}

static void *free_view(void *arg) {
    void **job = arg;
    ((const rs_storage_ops *)job[0])->view_free(job[1]);
    return NULL;
}

static void check_threads(struct check *c, struct opened *o) {
    enum { THREADS = 2, WRITES = 200 };
    const rs_storage_ops *ops = &c->ops.storage;
    struct readers r = {.c = c, .o = o};
    pthread_t t[THREADS], other;
    bool ok = true;

    for (int i = 0; i < THREADS; i++)
        (void)pthread_create(&t[i], NULL, reader_main, &r);
    for (uint32_t n = 1; n <= WRITES && ok; n++) {
        struct iovec value = {&n, sizeof(n)};
        rs_batch *b = ops->batch_new(o->store, 0);
        for (int i = 0; i < MODEL_TABLES && b != NULL; i++)
            ok = ok && ops->batch_put(b, o->table[i], (rs_slice){"number", 6}, &value, 1) == 0;
        ok = ok && b != NULL && ops->write(o->store, b, n % 50 == 0 ? RS_WRITE_SYNC : 0, NULL) == 0;
        ops->batch_free(b);
        if (n == WRITES)
            ok = ok && ops->sync(o->store, NULL) == 0;
    }
    for (int i = 0; i < 1000 && __atomic_load_n(&r.views, __ATOMIC_RELAXED) < 100; i++)
        (void)usleep(1000);
    __atomic_store_n(&r.done, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(t[i], NULL);
    if (!tap_ok(c->tap, ok && r.problem == NULL && r.views > 0, "contract: views on other threads show whole batches"))
        tap_diag("%s (%u views)", r.problem != NULL ? r.problem : "a write failed", r.views);

    void *job[2] = {(void *)(uintptr_t)ops, NULL};
    rs_view *v = NULL;
    ok = ops->view_new(o->store, &v, NULL) == 0;
    job[1] = v;
    ok = ok && pthread_create(&other, NULL, free_view, job) == 0 && pthread_join(other, NULL) == 0;
    (void)tap_ok(c->tap, ok && ops->view_new(o->store, &v, NULL) == 0,
                 "contract: a view may be freed on another thread");
    if (ok)
        ops->view_free(v);
}

/* ---- another process ---- */

/* The child is forked before this process has threads; it tries to open when told that the store is open here. */
static pid_t fork_second_user(struct check *c, const char *dir, int *ret_go, int *ret_answer) {
    int go[2], answer[2];
    pid_t pid;

    if (pipe(go) < 0 || pipe(answer) < 0)
        return -1;
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        rs_store_open params = {.struct_size = sizeof(params), .durability = RS_STORE_SYNC, .dir = dir};
        rs_store *store;
        void *self = NULL;
        char byte = 0;
        (void)close(go[1]);
        if (read(go[0], &byte, 1) == 1 && c->plugin.init(host_table(c->host), c->config, &self, NULL) == 0)
            byte = (char)-c->ops.storage.open(self, &params, &store, NULL);
        if (write(answer[1], &byte, 1) != 1)
            _exit(1);
        _exit(0);
    }
    (void)close(go[0]);
    (void)close(answer[1]);
    *ret_go = go[1];
    *ret_answer = answer[0];
    return pid;
}

/* ---- damage ---- */

enum damage { REMOVED, EMPTIED, HALVED, HEAD_OVERWRITTEN, BYTE_CHANGED };
static const char *const damage_names[] = {"is gone", "is empty", "has lost its second half", "begins with rubbish",
                                           "has one changed byte"};

static bool copy_dir(const char *from, const char *to, char *ret_largest, size_t size) {
    DIR *d = opendir(from);
    off_t most = -1;
    char src[600], dst[600], buf[65536];

    (void)mkdir(to, 0700);
    if (d == NULL)
        return false;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct stat st;
        (void)snprintf(src, sizeof(src), "%s/%.80s", from, e->d_name);
        (void)snprintf(dst, sizeof(dst), "%s/%.80s", to, e->d_name);
        if (e->d_name[0] == '.' || stat(src, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        FILE *in = fopen(src, "re"), *out = fopen(dst, "we");
        size_t n;
        while (in != NULL && out != NULL && (n = fread(buf, 1, sizeof(buf), in)) > 0)
            (void)fwrite(buf, 1, n, out);
        if (in != NULL)
            (void)fclose(in);
        if (out != NULL)
            (void)fclose(out);
        if (st.st_size > most) {
            most = st.st_size;
            (void)snprintf(ret_largest, size, "%s", dst);
        }
    }
    (void)closedir(d);
    return most > 0;
}

static void do_damage(const char *path, enum damage kind) {
    static const char rubbish[8192] = "rubbish";
    struct stat st;
    int fd;

    if (kind == REMOVED) {
        (void)unlink(path);
        return;
    }
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    if (kind == EMPTIED || kind == HALVED)
        (void)!ftruncate(fd, kind == EMPTIED ? 0 : st.st_size / 2 / 4096 * 4096);
    else if (kind == HEAD_OVERWRITTEN)
        (void)!pwrite(fd, rubbish, sizeof(rubbish), 0);
    else
        (void)!pwrite(fd, "\xa5\x5a\xa5", 3, st.st_size / 2);
    (void)close(fd);
}

/* Child: exit 0 refused or failed while reading, 1 everything is there, 2 wrong or empty without an error, 3 wrong
 * code. */
static int read_damaged(struct check *c, const char *dir) {
    const rs_storage_ops *ops = &c->ops.storage;
    const rs_range all = {.struct_size = sizeof(all)};
    rs_error err = {.struct_size = sizeof(err)};
    void *self = check_init(c);
    rs_slice key, value;
    struct opened o;
    rs_view *v;
    rs_iter *it;
    int r, rows = 0;

    if (self == NULL)
        return 3;
    r = opened_open(c, self, dir, RS_STORE_SYNC, &o, &err);
    if (r < 0)
        return r == RS_ECORRUPT && err.msg[0] != '\0' ? 0 : 3;
    if (ops->view_new(o.store, &v, &err) < 0 || ops->iter_new(v, o.table[0], &all, &it, &err) < 0)
        return 0;
    while ((r = ops->iter_next(it, &key, &value, &err)) == 1) {
        if (key.len != 8 || value.len != 100 || memcmp(value.data, key.data, 8) != 0)
            return 2;
        rows++;
    }
    return r < 0 ? 0 : rows == ROWS ? 1 : 2;
}

static bool make_rows(struct check *c, const struct opened *o) {
    rs_batch *b = c->ops.storage.batch_new(o->store, 0);
    bool ok = b != NULL;

    for (int i = 0; i < ROWS && ok; i++) {
        char key[16], value[100] = "";
        struct iovec iov = {value, sizeof(value)};
        (void)snprintf(key, sizeof(key), "%08d", i);
        memcpy(value, key, 8);
        ok = c->ops.storage.batch_put(b, o->table[0], (rs_slice){key, 8}, &iov, 1) == 0;
    }
    ok = ok && c->ops.storage.write(o->store, b, RS_WRITE_SYNC, NULL) == 0;
    c->ops.storage.batch_free(b);
    return ok;
}

static int child_make(struct check *c, const char *dir) {
    void *self = check_init(c);
    struct opened o;

    if (self == NULL || opened_open(c, self, dir, RS_STORE_SYNC, &o, NULL) < 0 || !make_rows(c, &o))
        return 3;
    opened_close(c, &o);
    if (opened_open(c, self, dir, RS_STORE_SYNC, &o, NULL) < 0) /* a log of writes becomes a table file here */
        return 3;
    opened_close(c, &o);
    return 0;
}

static int in_child(struct check *c, int (*run)(struct check *, const char *), const char *dir) {
    int status = -1;
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)alarm(60);
        _exit(run(c, dir));
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static void check_damage(struct check *c) {
    char whole[512], copy[512], largest[600] = "";

    (void)snprintf(whole, sizeof(whole), "%s/whole", c->dir);
    (void)snprintf(copy, sizeof(copy), "%s/copy", c->dir);
    if (!tap_ok(c->tap, in_child(c, child_make, whole) == 0, "contract: a store to damage is made"))
        return;
    for (int kind = REMOVED; kind <= BYTE_CHANGED; kind++) {
        int r;
        if (kind == BYTE_CHANGED && !(c->plugin.caps & RS_STORAGE_CHECKSUM))
            continue;
        if (!copy_dir(whole, copy, largest, sizeof(largest)))
            continue;
        do_damage(largest, (enum damage)kind);
        r = in_child(c, read_damaged, copy);
        if (!tap_ok(c->tap, r == 0 || r == 1,
                    "contract: a store whose largest file %s is refused or fails, and is never empty",
                    damage_names[kind]))
            tap_diag("%s: %s", largest,
                     r == 2   ? "rows are missing or wrong without an error"
                     : r == 3 ? "refused, but not as RS_ECORRUPT with a message"
                              : "the process died");
        remove_tree(copy);
    }
    (void)tap_ok(c->tap, in_child(c, read_damaged, whole) == 1, "contract: the undamaged store is whole");
}

static void each_stat(void *arg, const char *name, uint64_t value) {
    unsigned *n = arg;
    (void)value;
    *n += name != NULL && name[0] != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

int suite_contract(struct check *c) {
    const struct timespec pause = {.tv_nsec = 5000000};
    rs_error err = {.struct_size = sizeof(err)};
    unsigned fds, threads, n_stats = 0;
    int go = -1, answer = -1, status;
    struct opened o;
    char dir[512], byte = 0;
    pid_t second;
    void *self;

    check_damage(c); /* first: it forks */
    (void)snprintf(dir, sizeof(dir), "%s/store", c->dir);
    second = fork_second_user(c, dir, &go, &answer);
    fds = process_fds();
    threads = process_threads();
    self = check_init(c);
    if (self == NULL)
        return 0;
    if (!tap_ok(c->tap, opened_open(c, self, dir, RS_STORE_SYNC, &o, &err) == 0, "contract: a store opens")) {
        tap_diag("%s", err.msg);
        return 0;
    }
    (void)tap_ok(c->tap, second > 0 && write(go, "g", 1) == 1 && read(answer, &byte, 1) == 1 && byte == (char)-RS_EPERM,
                 "contract: a directory that another process uses is RS_EPERM");
    (void)waitpid(second, &status, 0);
    check_limits(c, &o);
    check_refusals(c, self, &o, dir);
    check_threads(c, &o);
    (void)tap_ok(c->tap, c->ops.storage.stats(o.store, each_stat, &n_stats) == 0 && n_stats > 0,
                 "contract: there are stats");
    opened_close(c, &o);
    (void)tap_ok(c->tap, check_fini(c, self), "contract: the instance ends");
    for (int i = 0; i < 400 && process_threads() > threads; i++)
        (void)nanosleep(&pause, NULL);
    (void)tap_ok(c->tap, process_fds() == fds, "contract: no descriptor stays open after fini");
    (void)tap_ok(c->tap, process_threads() <= threads, "contract: no thread stays after fini");
    (void)tap_ok(c->tap, host_mem_used(c->host) == 0, "contract: all charged memory is given back");
    return 0;
}
