/* SPDX-License-Identifier: Apache-2.0 */
/* Suites durability and faults: a child process writes through the I/O layer until a power cut or an error; then the
 * store is opened from what the disk may hold. It must contain exactly the first k writes, where k lies between the
 * last write known to be durable and the last one begun. Every write also sets a counter row, which says what k is. */
#include "iolayer.h"
#include "storage.h"
#include <errno.h>
#include <restate/helper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITES_MAX = 4000, EXIT_CRASHED = 60, EXIT_FINISHED = 61, EXIT_PROBLEM = 62 };

struct history {                       /* shared between the processes of a scenario */
    uint32_t begun, returned, durable; /* write numbers, from 1 */
    uint32_t kept;                     /* what the last check found */
    uint32_t epoch, epoch_of[WRITES_MAX + 1];
    uint64_t events;
    uint32_t sticky_seen, not_sticky_seen, faults_seen;
    char problem[400];
};

struct scenario {
    struct check *c;
    struct history *h;
    uint32_t durability;
    uint64_t seed;
    enum io_fault_kind fault;
    uint64_t event; /* of the crash or the first fault; UINT64_MAX: none */
    uint32_t writes;
    char disk[512], image[512];
};

static void problem(struct history *h, const char *what, const rs_error *err) {
    if (h->problem[0] == '\0')
        (void)snprintf(h->problem, sizeof(h->problem), "%s%s%s", what, err != NULL && err->msg[0] != '\0' ? ": " : "",
                       err != NULL ? err->msg : "");
}

/* Makes write number i: to the batch, to the model, or both. */
static int make_write(const struct scenario *s, uint32_t i, rs_batch *b, const struct opened *o, struct model *m) {
    static const struct workload w = {.ops_max = 10, .value_max = 9000, .del_range_percent = 2};
    struct rng rng = {s->seed * 1000003u + i * 7919u + s->h->epoch_of[i] * 104729u};
    const rs_storage_ops *ops = &s->c->ops.storage;
    const rs_slice key = {"~counter", 8};
    struct iovec value = {&i, sizeof(i)};
    int r = workload_batch(&rng, &w, ops, b, o != NULL ? o->table : NULL, m);

    if (r == 0 && b != NULL)
        r = ops->batch_put(b, o->table[0], key, &value, 1);
    if (m != NULL)
        model_put(m, 0, key, (rs_slice){&i, sizeof(i)});
    return r;
}

static uint32_t read_counter(const struct scenario *s, const struct opened *o) {
    const rs_storage_ops *ops = &s->c->ops.storage;
    uint32_t k = 0;
    rs_view *v;
    rs_pin pin;

    if (ops->view_new(o->store, &v, NULL) < 0)
        return UINT32_MAX;
    if (ops->get(v, o->table[0], (rs_slice){"~counter", 8}, 0, &pin, NULL) == 0) {
        if (pin.value.len == sizeof(k))
            memcpy(&k, pin.value.data, sizeof(k));
        ops->unpin(&pin);
    }
    ops->view_free(v);
    return k;
}

/* Forks, runs, waits. Return: the exit code, or -1 when a signal ended it. */
static int in_child(const struct scenario *s, int (*run)(const struct scenario *)) {
    int status = 0;
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)alarm(60);
        _exit(run(s));
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -1;
    if (WIFSIGNALED(status))
        problem(s->h, strsignal(WTERMSIG(status)), NULL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What a failed write or sync must look like; afterwards the handle is good or dead, as it said. Return: whether dead.
 */
static bool note_failure(struct history *h, int r, const rs_error *err) {
    bool sticky = (err->flags & RS_ERR_STICKY) != 0;

    if (err->code != r)
        problem(h, "the returned code and that of rs_error differ", err);
    h->sticky_seen += sticky;
    h->not_sticky_seen += !sticky;
    return sticky;
}

/* One write and now and then a sync. Return: 0; 1 the handle is dead; negative: failed, may be tried again. */
static int one_write(const struct scenario *s, struct opened *o, uint32_t i, struct rng *rng) {
    const rs_storage_ops *ops = &s->c->ops.storage;
    struct history *h = s->h;
    uint32_t flags = rng_below(rng, s->durability == RS_STORE_SYNC ? 3 : 12) == 0 ? RS_WRITE_SYNC : 0;
    rs_error err = {.struct_size = sizeof(err)};
    rs_batch *b = ops->batch_new(o->store, 0);
    int r = RS_ENOMEM;

    if (b != NULL && make_write(s, i, b, o, NULL) == 0) {
        __atomic_store_n(&h->begun, i, __ATOMIC_SEQ_CST);
        r = ops->write(o->store, b, flags, &err);
    }
    ops->batch_free(b);
    if (r < 0 && note_failure(h, r, &err))
        return 1;
    if (r < 0 && s->fault == IO_FAULT_SYNC_EIO)
        problem(h, "a write whose sync failed must be RS_ERR_STICKY", &err);
    if (r < 0)
        return r;
    h->returned = i;
    if (flags & RS_WRITE_SYNC)
        h->durable = i;
    if (rng_below(rng, 25) == 0) {
        r = ops->sync(o->store, &err);
        if (r == 0)
            h->durable = i;
        else if (!note_failure(h, r, &err))
            problem(h, "a failed sync must be RS_ERR_STICKY", &err);
        return r < 0 ? 1 : 0;
    }
    return 0;
}

/* Child: opens the store, goes on writing after h->kept, until a crash, a dead handle or the end. */
static int child_write(const struct scenario *s) {
    struct history *h = s->h;
    struct rng rng = {s->seed ^ 0xabcdef};
    rs_error err = {.struct_size = sizeof(err)};
    struct opened o;
    void *self;
    int r = 0;

    if (!io_watch(s->disk))
        return EXIT_PROBLEM;
    if (s->fault != IO_FAULT_NONE)
        io_fault(s->fault, s->event);
    else if (s->event != UINT64_MAX)
        io_crash_at(s->event, s->image, s->seed, EXIT_CRASHED);
    self = check_init(s->c);
    if (self == NULL)
        return EXIT_PROBLEM;
    r = opened_open(s->c, self, s->disk, s->durability, &o, &err);
    if (r < 0) {
        if (s->fault == IO_FAULT_NONE)
            problem(h, "the store cannot be opened", &err);
        io_crash_now(s->image, s->seed, s->fault == IO_FAULT_NONE ? EXIT_PROBLEM : EXIT_FINISHED);
    }
    for (uint32_t i = h->kept + 1; i <= h->kept + s->writes && i <= WRITES_MAX && r == 0; i++) {
        h->epoch_of[i] = h->epoch;
        r = one_write(s, &o, i, &rng);
        for (int again = 0; r < 0 && again < 3; again++) { /* not sticky: the same write may be tried again */
            io_fault(again == 1 ? IO_FAULT_NONE : s->fault, 0);
            r = one_write(s, &o, i, &rng);
        }
    }
    if (r == 1) { /* dead: it must stay so although the disk works again */
        io_fault(IO_FAULT_NONE, 0);
        uint32_t last = h->begun;
        if (put_one(s->c, &o, "after", "death", RS_WRITE_SYNC, &err) >= 0 || !(err.flags & RS_ERR_STICKY))
            problem(h, "a store that said RS_ERR_STICKY must refuse later writes with it", &err);
        h->begun = last;
        rs_view *v;
        if (s->c->ops.storage.view_new(o.store, &v, &err) == 0)
            s->c->ops.storage.view_free(v);
    }
    h->events = io_events();
    h->faults_seen = (uint32_t)io_faults_seen();
    io_crash_now(s->image, s->seed, EXIT_FINISHED);
}

/* Child: opens the image and compares it with the writes it must hold. Leaves the number in h->kept. */
static int child_verify(const struct scenario *s) {
    struct history *h = s->h;
    rs_error err = {.struct_size = sizeof(err)};
    struct model m = {0};
    const char *differs;
    struct opened o;
    uint32_t k;
    void *self = check_init(s->c);

    if (self == NULL)
        return EXIT_PROBLEM;
    if (opened_open(s->c, self, s->image, s->durability, &o, &err) < 0) {
        problem(h, "the store cannot be opened after the crash", &err);
        return EXIT_PROBLEM;
    }
    k = read_counter(s, &o);
    if (k < h->durable || k > h->begun) {
        (void)snprintf(err.msg, sizeof(err.msg), "durable %u, found %u, begun %u", h->durable, k, h->begun);
        problem(h, k < h->durable ? "durable writes are lost" : "there is a write nobody made", &err);
        return EXIT_PROBLEM;
    }
    for (uint32_t i = 1; i <= k; i++)
        (void)make_write(s, i, NULL, NULL, &m);
    differs = store_differs(s->c, &o, &m);
    if (differs != NULL) {
        (void)snprintf(err.msg, sizeof(err.msg), "%s after %u writes (durable %u, begun %u)", differs, k, h->durable,
                       h->begun);
        problem(h, "the store is not a prefix of the writes", &err);
        return EXIT_PROBLEM;
    }
    model_clear(&m);
    opened_close(s->c, &o);
    (void)check_fini(s->c, self);
    h->kept = h->durable = h->begun = h->returned = k;
    return EXIT_FINISHED;
}

static struct history *history_new(void) {
    void *p = mmap(NULL, sizeof(struct history), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

/* The image becomes the disk of the next life. */
static void next_disk(struct scenario *s) {
    remove_tree(s->disk);
    (void)rename(s->image, s->disk);
}

/* A store's several lives, each ended by a power cut. The first life is run once without one, to learn its length. */
static bool run_lives(struct scenario *s, struct rng *rng, int lives) {
    struct history *h = s->h;

    for (int life = 0; life < lives && h->problem[0] == '\0'; life++) {
        uint64_t length = h->events != 0 ? h->events : 400;
        s->event = rng_below(rng, 5) == 0 ? rng_below(rng, 40) : rng_below(rng, length);
        s->seed = s->seed & 0xffffffffu;
        h->epoch++;
        remove_tree(s->image);
        int r = in_child(s, child_write);
        if (r != EXIT_CRASHED && r != EXIT_FINISHED)
            problem(h, "the writing process failed", NULL);
        else if (in_child(s, child_verify) != EXIT_FINISHED)
            problem(h, "the checking process failed", NULL);
        next_disk(s);
    }
    return h->problem[0] == '\0';
}

static void scenario_dirs(struct scenario *s, const char *name, int i) {
    (void)snprintf(s->disk, sizeof(s->disk), "%s/%s-%d-disk", s->c->dir, name, i);
    (void)snprintf(s->image, sizeof(s->image), "%s/%s-%d-image", s->c->dir, name, i);
    (void)mkdir(s->disk, 0700); /* a new name in a directory of ours */
}

static const struct {
    const char *name;
    uint32_t durability;
} modes[] = {{"sync", RS_STORE_SYNC}, {"relaxed", RS_STORE_RELAXED}};

int suite_durability(struct check *c) {
    enum { STORES = 6, LIVES = 4 };
    struct rng rng = {c->seed};

    for (int mode = 0; mode < 2; mode++) {
        bool ok = true;
        uint32_t kept = 0;
        for (int i = 0; i < STORES && ok; i++) {
            struct scenario s = {.c = c, .h = history_new(), .durability = modes[mode].durability, .writes = 150};
            if (s.h == NULL)
                return 1;
            s.seed = rng_next(&rng) & 0xffffffffu;
            scenario_dirs(&s, modes[mode].name, i);
            ok = run_lives(&s, &rng, LIVES);
            if (!ok)
                tap_diag("%s store %d: %s", modes[mode].name, i, s.h->problem);
            kept += s.h->kept;
            remove_tree(s.disk);
            (void)munmap(s.h, sizeof(*s.h));
        }
        (void)tap_ok(c->tap, ok, "durability: a %s store is a prefix of the writes after every power cut",
                     modes[mode].name);
        (void)tap_ok(c->tap, kept > 0, "durability: writes survive (%u)", kept);
    }
    return 0;
}

/* ---- errors ---- */

static bool run_fault(struct check *c, struct rng *rng, int mode, enum io_fault_kind kind, int i,
                      struct history *total) {
    struct scenario s = {
        .c = c, .h = history_new(), .durability = modes[mode].durability, .writes = 120, .event = UINT64_MAX};
    bool ok;

    if (s.h == NULL)
        return false;
    s.seed = rng_next(rng) & 0xffffffffu;
    scenario_dirs(&s, "fault", i);
    /* A first life without faults tells how many events there are; its store is the start of the second. */
    s.h->epoch = 1;
    ok = in_child(&s, child_write) == EXIT_FINISHED && in_child(&s, child_verify) == EXIT_FINISHED;
    next_disk(&s);
    if (ok) {
        s.fault = kind;
        s.event = rng_below(rng, s.h->events);
        s.h->epoch = 2;
        remove_tree(s.image);
        ok = in_child(&s, child_write) == EXIT_FINISHED && in_child(&s, child_verify) == EXIT_FINISHED;
    }
    ok = ok && s.h->problem[0] == '\0';
    if (!ok)
        tap_diag("%s store, fault from event %llu: %s", modes[mode].name, (unsigned long long)s.event, s.h->problem);
    total->sticky_seen += s.h->sticky_seen;
    total->not_sticky_seen += s.h->not_sticky_seen;
    total->faults_seen += s.h->faults_seen;
    remove_tree(s.disk);
    remove_tree(s.image);
    (void)munmap(s.h, sizeof(*s.h));
    return ok;
}

/* Child: the disk fills up, a write fails, space comes back, the same write is tried again. */
static int child_no_space(const struct scenario *s) {
    const rs_storage_ops *ops = &s->c->ops.storage;
    struct history *h = s->h;
    rs_error err = {.struct_size = sizeof(err)};
    struct model m = {0};
    struct opened o;
    void *self;
    rs_batch *b;
    int r = 0;

    if (!io_watch(s->disk))
        return EXIT_PROBLEM;
    self = check_init(s->c);
    if (self == NULL || opened_open(s->c, self, s->disk, s->durability, &o, &err) < 0) {
        problem(h, "the store cannot be opened", &err);
        return EXIT_PROBLEM;
    }
    for (uint32_t i = 1; i <= 40 && h->problem[0] == '\0'; i++) {
        bool full = i % 10 == 0;
        b = ops->batch_new(o.store, 0);
        if (b == NULL || make_write(s, i, b, &o, NULL) < 0)
            return EXIT_PROBLEM;
        if (full)
            io_fault(IO_FAULT_NO_SPACE, 0);
        r = ops->write(o.store, b, RS_WRITE_SYNC, &err);
        io_fault(IO_FAULT_NONE, 0);
        if (full && r == 0)
            problem(h, "a sync write succeeds on a full disk", NULL);
        if (full && r != RS_ENOSPC)
            problem(h, "a write to a full disk must fail with RS_ENOSPC", &err);
        if (full && (err.flags & RS_ERR_STICKY)) {
            h->sticky_seen++; /* permitted; the durability rules were checked elsewhere */
            break;
        }
        if (full && store_differs(s->c, &o, &m) != NULL)
            problem(h, "a write that failed without RS_ERR_STICKY changed the store", &err);
        if (full)
            r = ops->write(o.store, b, RS_WRITE_SYNC, &err);
        if (full && r < 0 && (err.flags & RS_ERR_STICKY)) {
            h->sticky_seen++; /* work in the background met the full disk */
            break;
        }
        if (r < 0)
            problem(h, "the same batch fails after space came back", &err);
        ops->batch_free(b);
        (void)make_write(s, i, NULL, NULL, &m);
    }
    if (h->sticky_seen == 0 && h->problem[0] == '\0' && store_differs(s->c, &o, &m) != NULL)
        problem(h, "the store differs at the end", NULL);
    return EXIT_FINISHED;
}

static void check_no_space(struct check *c, int mode) {
    struct scenario s = {.c = c, .h = history_new(), .durability = modes[mode].durability, .seed = c->seed};
    bool ok;

    if (s.h == NULL)
        return;
    scenario_dirs(&s, "space", mode);
    ok = in_child(&s, child_no_space) == EXIT_FINISHED && s.h->problem[0] == '\0';
    if (!tap_ok(c->tap, ok, "faults: a %s store survives a full disk%s", modes[mode].name,
                s.h->sticky_seen != 0 ? " (by refusing everything until it is opened again)" : ""))
        tap_diag("%s", s.h->problem);
    remove_tree(s.disk);
    (void)munmap(s.h, sizeof(*s.h));
}

/* Memory refused: the operation says so, the store goes on. */
static void check_memory(struct check *c) {
    enum { BIG = 4 << 20 };
    rs_error err = {.struct_size = sizeof(err)};
    struct iovec value = {calloc(1, BIG), BIG};
    void *self = check_init(c);
    struct opened o;
    char dir[512];
    rs_batch *b;
    int r;

    (void)snprintf(dir, sizeof(dir), "%s/memory", c->dir);
    if (self == NULL || value.iov_base == NULL || opened_open(c, self, dir, RS_STORE_SYNC, &o, &err) < 0) {
        (void)tap_ok(c->tap, false, "faults: a store opens");
        return;
    }
    host_mem_limit(c->host, host_mem_used(c->host));
    b = c->ops.storage.batch_new(o.store, 0);
    r = b != NULL ? c->ops.storage.batch_put(b, o.table[0], (rs_slice){"big", 3}, &value, 1) : RS_ENOMEM;
    (void)tap_ok(c->tap, r == RS_ENOMEM, "faults: a batch of 4 MiB asks the host for memory and takes a refusal");
    if (b != NULL)
        c->ops.storage.batch_free(b);
    host_mem_limit(c->host, INT64_MAX);
    (void)tap_ok(c->tap,
                 put_one(c, &o, "small", "1", 0, &err) == 0 && has_one(c, &o, "small", "1") &&
                     has_one(c, &o, "big", NULL),
                 "faults: the store goes on after a refusal");
    opened_close(c, &o);
    (void)tap_ok(c->tap, check_fini(c, self) && host_mem_used(c->host) == 0,
                 "faults: all charged memory is given back");
    free(value.iov_base);
}

int suite_faults(struct check *c) {
    enum { ROUNDS = 4 };
    static const struct {
        enum io_fault_kind kind;
        const char *what;
    } kinds[] = {
        {IO_FAULT_SYNC_EIO, "failed syncs"}, {IO_FAULT_WRITE_EIO, "failed writes"}, {IO_FAULT_NO_SPACE, "a full disk"}};
    struct rng rng = {c->seed + 77};

    for (int mode = 0; mode < 2; mode++) {
        check_no_space(c, mode);
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            struct history total = {0};
            bool ok = true;
            for (int i = 0; i < ROUNDS && ok; i++)
                ok = run_fault(c, &rng, mode, kinds[k].kind, i, &total);
            (void)tap_ok(c->tap, ok && total.faults_seen + total.not_sticky_seen > 0,
                         "faults: a %s store loses nothing durable by %s", modes[mode].name, kinds[k].what);
            tap_diag("%u calls failed; %u errors were sticky, %u not", total.faults_seen, total.sticky_seen,
                     total.not_sticky_seen);
        }
    }
    check_memory(c); /* last: it makes threads in this process */
    return 0;
}
