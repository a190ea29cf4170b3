/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that a plugin makes instead of the C library's. Each does the real call and tells ioimage.c about it. The
 * state is process-wide because the calls have no other place for it. */

/* This file defines open() and open64() both, so the headers must not make one of them the other. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include "iolayer_internal.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

/* What an event needs of the disk: FREE takes no space, as making shorter, renaming and removing do. */
enum event_kind { EVENT_SPACE, EVENT_FREE, EVENT_SYNC };

struct tracked_fd {
    struct io_file *file; /* NULL and is_dir false: not tracked */
    bool is_dir, synchronous, append;
    char *dir;
};

static struct {
    bool on;
    char root[IO_PATH];
    size_t root_len;
    pthread_mutex_t lock;
    struct tracked_fd fd[IO_FDS];
    uint64_t events, crash_event, fault_event, faults_seen, seed;
    bool crash_armed;
    int crash_code;
    char image_dir[IO_PATH];
    enum io_fault_kind fault;
} io = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void real_symbol(const char *name, void *ret) {
    void *p = dlsym(RTLD_NEXT, name);
    memcpy(ret, &p, sizeof(p));
}

static void lock(void) {
    (void)pthread_mutex_lock(&io.lock);
}
static void unlock(void) {
    (void)pthread_mutex_unlock(&io.lock);
}

static struct tracked_fd *tracked(int fd) {
    if (!io.on || fd < 0 || fd >= IO_FDS || (io.fd[fd].file == NULL && !io.fd[fd].is_dir))
        return NULL;
    return &io.fd[fd];
}

/* Writes the path without doubled slashes when it is below the watched directory. */
static bool watched(const char *path, char *ret) {
    size_t n = 0;

    if (!io.on || path == NULL || path[0] != '/')
        return false;
    for (; *path != '\0' && n < IO_PATH - 1; path++) {
        if (*path != '/' || n == 0 || ret[n - 1] != '/')
            ret[n++] = *path;
    }
    if (n > 1 && ret[n - 1] == '/')
        n--;
    ret[n] = '\0';
    return strncmp(ret, io.root, io.root_len) == 0 && (ret[io.root_len] == '/' || ret[io.root_len] == '\0');
}

/* Counts an event; ends the process or asks for a failure. Lock held. Return: 0 or the errno to fail with. */
static int event(enum event_kind kind) {
    uint64_t now = io.events++;

    if (io.crash_armed && now >= io.crash_event) {
        io_write_image(io.root, io.image_dir, io.seed);
        _exit(io.crash_code);
    }
    if (io.fault == IO_FAULT_NONE || now < io.fault_event || (io.fault == IO_FAULT_SYNC_EIO) != (kind == EVENT_SYNC) ||
        (io.fault == IO_FAULT_NO_SPACE && kind == EVENT_FREE))
        return 0;
    io.faults_seen++;
    return io.fault == IO_FAULT_NO_SPACE ? ENOSPC : EIO;
}

static int adopt_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    if (type == FTW_F)
        io_adopt(path);
    return 0;
}

bool io_watch(const char *dir) {
    char *real = realpath(dir, NULL);

    if (real == NULL || strlen(real) >= sizeof(io.root)) {
        free(real);
        return false;
    }
    (void)snprintf(io.root, sizeof(io.root), "%s", real);
    free(real);
    io.root_len = strlen(io.root);
    io_image_init();
    (void)nftw(io.root, adopt_one, 8, FTW_PHYS);
    io.on = true;
    return true;
}

uint64_t io_events(void) {
    uint64_t n;
    lock();
    n = io.events;
    unlock();
    return n;
}

void io_crash_at(uint64_t at, const char *image_dir, uint64_t seed, int code) {
    lock();
    io.crash_event = at;
    io.seed = seed;
    io.crash_code = code;
    (void)snprintf(io.image_dir, sizeof(io.image_dir), "%s", image_dir);
    io.crash_armed = true;
    unlock();
}

_Noreturn void io_crash_now(const char *image_dir, uint64_t seed, int code) {
    lock();
    io_write_image(io.root, image_dir, seed);
    _exit(code);
}

void io_fault(enum io_fault_kind kind, uint64_t at) {
    lock();
    io.fault = kind;
    io.fault_event = at;
    unlock();
}

uint64_t io_faults_seen(void) {
    uint64_t n;
    lock();
    n = io.faults_seen;
    unlock();
    return n;
}

/* ---- names ---- */

static void track(int fd, const char *path, int flags, bool existed) {
    struct tracked_fd *t = &io.fd[fd];
    struct stat st;

    free(t->dir);
    *t = (struct tracked_fd){0};
    if (syscall(SYS_fstat, fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        t->is_dir = true;
        t->dir = strdup(path);
        return;
    }
    t->file = io_lookup(path);
    if (t->file == NULL && existed)
        return; /* made by means the layer does not see, such as fopen() */
    if (t->file == NULL)
        t->file = io_create(path);
    else if (flags & O_TRUNC)
        io_truncated(t->file, 0);
    t->synchronous = (flags & (O_SYNC | O_DSYNC)) != 0;
    t->append = (flags & O_APPEND) != 0;
}

static int do_open(int dirfd, const char *path, int flags, mode_t mode) {
    char full[IO_PATH];
    long fd;
    int number = 0;
    bool existed;

    if (!watched(path, full))
        return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    lock();
    existed = syscall(SYS_faccessat, AT_FDCWD, full, F_OK) == 0;
    if ((!existed && (flags & O_CREAT)) || (flags & O_TRUNC))
        number = event(EVENT_SPACE);
    fd = number != 0 ? -1 : syscall(SYS_openat, AT_FDCWD, full, flags & ~(O_SYNC | O_DSYNC), mode);
    if (number != 0)
        errno = number;
    if (fd >= 0 && fd < IO_FDS)
        track((int)fd, full, flags, existed);
    unlock();
    return (int)fd;
}

static mode_t mode_arg(int flags, va_list ap) {
    return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
}

#define DEFINE_OPEN(name)                                                                                              \
    SHOWN int name(const char *path, int flags, ...) {                                                                 \
        va_list ap;                                                                                                    \
        va_start(ap, flags);                                                                                           \
        mode_t mode = mode_arg(flags, ap);                                                                             \
        va_end(ap);                                                                                                    \
        return do_open(AT_FDCWD, path, flags, mode);                                                                   \
    }
#define DEFINE_OPENAT(name)                                                                                            \
    SHOWN int name(int dirfd, const char *path, int flags, ...) {                                                      \
        va_list ap;                                                                                                    \
        va_start(ap, flags);                                                                                           \
        mode_t mode = mode_arg(flags, ap);                                                                             \
        va_end(ap);                                                                                                    \
        return do_open(dirfd, path, flags, mode);                                                                      \
    }

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)
SHOWN int __open_2(const char *path, int flags) {
    return do_open(AT_FDCWD, path, flags, 0);
}
SHOWN int __open64_2(const char *path, int flags) {
    return do_open(AT_FDCWD, path, flags, 0);
}
SHOWN int creat(const char *path, mode_t mode) {
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

static void forget(int fd) {
    if (io.on && fd >= 0 && fd < IO_FDS) {
        lock();
        free(io.fd[fd].dir);
        io.fd[fd] = (struct tracked_fd){0};
        unlock();
    }
}

SHOWN int close(int fd) {
    forget(fd);
    return (int)syscall(SYS_close, fd);
}

/* A tracked descriptor may have gone to fdopen(). */
SHOWN int fclose(FILE *f) {
    int (*real)(FILE *);

    real_symbol("fclose", &real);
    forget(fileno(f));
    return real(f);
}

/* Runs a system call that changes names, as one event. */
static int name_call(long (*call)(const char *, const char *), const char *a, const char *b,
                     void (*told)(const char *, const char *)) {
    char full_a[IO_PATH], full_b[IO_PATH];
    int number;
    long r;

    if (!watched(a, full_a) || (b != NULL && !watched(b, full_b)))
        return (int)call(a, b);
    lock();
    number = event(EVENT_FREE);
    r = number != 0 ? -1 : call(full_a, full_b);
    if (number != 0)
        errno = number;
    if (r == 0)
        told(full_a, full_b);
    unlock();
    return (int)r;
}

static long call_rename(const char *a, const char *b) {
    return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 0);
}
static long call_link(const char *a, const char *b) {
    return syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, 0);
}
static long call_unlink(const char *a, const char *b) {
    (void)b;
    return syscall(SYS_unlinkat, AT_FDCWD, a, 0);
}
static void told_unlink(const char *a, const char *b) {
    (void)b;
    io_unlinked(a);
}

SHOWN int rename(const char *from, const char *to) {
    return name_call(call_rename, from, to, io_renamed);
}
SHOWN int link(const char *from, const char *to) {
    return name_call(call_link, from, to, io_linked);
}
SHOWN int unlink(const char *path) {
    return name_call(call_unlink, path, NULL, told_unlink);
}

/* ---- contents ---- */

/* Runs a write of `want` bytes given in parts; offset < 0: at the file's position. */
static ssize_t do_write(int fd, const struct iovec *iov, int n, off_t offset) {
    struct tracked_fd *t = tracked(fd);
    ssize_t done;
    uint64_t at, left;
    int number;

    if (t == NULL || t->file == NULL)
        return offset < 0 ? syscall(SYS_writev, fd, iov, n) : syscall(SYS_pwritev, fd, iov, n, offset, 0);
    lock();
    number = event(EVENT_SPACE);
    if (number != 0) {
        unlock();
        errno = number;
        return -1;
    }
    at = offset >= 0 ? (uint64_t)offset : (uint64_t)lseek(fd, 0, t->append ? SEEK_END : SEEK_CUR);
    done = offset < 0 ? syscall(SYS_writev, fd, iov, n) : syscall(SYS_pwritev, fd, iov, n, offset, 0);
    left = done > 0 ? (uint64_t)done : 0;
    for (int i = 0; i < n && left > 0; i++) {
        size_t len = iov[i].iov_len < left ? iov[i].iov_len : (size_t)left;
        io_written(t->file, at, iov[i].iov_base, len);
        if (t->synchronous)
            io_last_change_synced(t->file);
        at += len;
        left -= len;
    }
    unlock();
    return done;
}

static ssize_t do_write_one(int fd, const void *buf, size_t len, off_t offset) {
    const struct iovec iov = {(void *)(uintptr_t)buf, len};
    return do_write(fd, &iov, 1, offset);
}

SHOWN ssize_t write(int fd, const void *buf, size_t len) {
    return do_write_one(fd, buf, len, -1);
}
SHOWN ssize_t pwrite(int fd, const void *buf, size_t len, off_t at) {
    return do_write_one(fd, buf, len, at);
}
SHOWN ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t at) {
    return do_write_one(fd, buf, len, at);
}
SHOWN ssize_t writev(int fd, const struct iovec *iov, int n) {
    return do_write(fd, iov, n, -1);
}
SHOWN ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at) {
    return do_write(fd, iov, n, at);
}
SHOWN ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t at) {
    return do_write(fd, iov, n, at);
}

static int do_truncate(int fd, off_t len) {
    struct tracked_fd *t = tracked(fd);
    int number;
    long r;

    if (t == NULL || t->file == NULL)
        return (int)syscall(SYS_ftruncate, fd, len);
    lock();
    number = event(EVENT_FREE);
    r = number != 0 ? -1 : syscall(SYS_ftruncate, fd, len);
    if (number != 0)
        errno = number;
    if (r == 0)
        io_truncated(t->file, (uint64_t)len);
    unlock();
    return (int)r;
}

SHOWN int ftruncate(int fd, off_t len) {
    return do_truncate(fd, len);
}
SHOWN int ftruncate64(int fd, off64_t len) {
    return do_truncate(fd, len);
}

/* Space set aside is no content; only a longer file is. */
static int do_fallocate(int fd, int mode, off_t at, off_t len) {
    struct tracked_fd *t = tracked(fd);
    long r = syscall(SYS_fallocate, fd, mode, at, len);

    if (r == 0 && t != NULL && t->file != NULL && mode == 0) {
        struct stat st;
        lock();
        if (syscall(SYS_fstat, fd, &st) == 0)
            io_truncated(t->file, (uint64_t)st.st_size);
        unlock();
    }
    return (int)r;
}

SHOWN int fallocate(int fd, int mode, off_t at, off_t len) {
    return do_fallocate(fd, mode, at, len);
}
SHOWN int fallocate64(int fd, int mode, off64_t at, off64_t len) {
    return do_fallocate(fd, mode, at, len);
}
SHOWN int posix_fallocate(int fd, off_t at, off_t len) {
    return do_fallocate(fd, 0, at, len) < 0 ? errno : 0;
}
SHOWN int posix_fallocate64(int fd, off64_t at, off64_t len) {
    return do_fallocate(fd, 0, at, len) < 0 ? errno : 0;
}

/* ---- syncs ---- */

static int do_sync(int fd, long number_of_call) {
    struct tracked_fd *t = tracked(fd);
    int number;

    if (t == NULL)
        return (int)syscall(number_of_call, fd);
    lock();
    number = event(EVENT_SYNC);
    if (t->is_dir && number == 0)
        io_dir_synced(t->dir);
    else if (!t->is_dir && number == 0)
        io_file_synced(t->file);
    else if (!t->is_dir)
        io_file_lost(t->file);
    unlock();
    if (number != 0)
        errno = number;
    return number != 0 ? -1 : 0;
}

SHOWN int fsync(int fd) {
    return do_sync(fd, SYS_fsync);
}
SHOWN int fdatasync(int fd) {
    return do_sync(fd, SYS_fdatasync);
}

/* ---- space ---- */

static bool space_is_gone(void) {
    bool gone;
    lock();
    gone = io.fault == IO_FAULT_NO_SPACE && io.events >= io.fault_event;
    unlock();
    return gone;
}

SHOWN int statvfs(const char *restrict path, struct statvfs *restrict st) {
    int (*real)(const char *, struct statvfs *);
    int r;

    real_symbol("statvfs", &real);
    r = real(path, st);
    if (r == 0 && space_is_gone())
        st->f_bavail = st->f_bfree = 0;
    return r;
}

SHOWN int statvfs64(const char *restrict path, struct statvfs64 *restrict st) {
    int (*real)(const char *, struct statvfs64 *);
    int r;

    real_symbol("statvfs64", &real);
    r = real(path, st);
    if (r == 0 && space_is_gone())
        st->f_bavail = st->f_bfree = 0;
    return r;
}
