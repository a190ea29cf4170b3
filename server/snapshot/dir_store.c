/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot/dir_store.c : objects as files of a directory, which may be shared by several machines. An object is written
 * under another name, synced and renamed; conditions are checked under a lock on the file ".lock" beside it. */
#include "base/hash.h"
#include "snapshot/object_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, COPY_BYTES = 256 << 10 };

struct dir_store {
    struct object_store base;
    char root[PATH_BYTES / 2];
    uint64_t serial; /* atomic; of temporary names */
};

static int path_of(struct object_store *s, const char *key, char ret[PATH_BYTES], struct err *err) {
    const struct dir_store *d = CONTAINER_OF(s, struct dir_store, base);

    if (snprintf(ret, PATH_BYTES, "%s/%s", d->root, key) >= PATH_BYTES)
        return err_set(err, RS_EINVAL, "the path of %s is too long", key);
    return 0;
}

static int sync_parent(const char *path, struct err *err) {
    char parent[PATH_BYTES];
    int fd, r = 0;

    (void)snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    fd = open(parent[0] ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        r = err_errno(err, "cannot sync %s", parent);
    if (fd >= 0)
        (void)close(fd);
    return r;
}

/* Makes the directories above @path, durably. */
static int make_parents(const char *path, struct err *err) {
    char dir[PATH_BYTES];

    (void)snprintf(dir, sizeof dir, "%s", path);
    for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(dir, 0777) == 0) {
            int r = sync_parent(dir, err);

            if (r < 0)
                return r;
        } else if (errno != EEXIST) {
            return err_errno(err, "cannot make %s", dir);
        }
        *slash = '/';
    }
    return 0;
}

static int copy(const struct object_store *s, int from, int to, uint64_t size, struct err *err) {
    uint8_t *block = xmalloc(COPY_BYTES);
    uint64_t at = 0;
    int r = 0;

    while (r == 0 && at < size) {
        ssize_t n = pread(from, block, (size_t)MIN(size - at, (uint64_t)COPY_BYTES), (off_t)at);

        if (n < 0)
            r = err_errno(err, "cannot read a snapshot");
        else if (n == 0)
            r = err_set(err, RS_EIO, "a snapshot is shorter than it was");
        else if (object_stopped(s))
            r = err_set(err, RS_ECANCELED, "stopping");
        else
            r = write_all(to, slice_of(block, (size_t)n), err);
        at += n > 0 ? (uint64_t)n : 0;
    }
    free(block);
    return r;
}

/* @bytes, or the first @size bytes of @from when that is a descriptor. */
static int write_object(struct object_store *s, const char *path, struct slice bytes, int from, uint64_t size,
                        struct err *err) {
    struct dir_store *d = CONTAINER_OF(s, struct dir_store, base);
    char tmp[PATH_BYTES + 64];
    int fd, r = make_parents(path, err);

    if (r < 0)
        return r;
    (void)snprintf(tmp, sizeof tmp, "%s.%ld-%llu.tmp", path, (long)getpid(),
                   (unsigned long long)__atomic_add_fetch(&d->serial, 1, __ATOMIC_RELAXED));
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_errno(err, "cannot make %s", tmp);
    r = from >= 0 ? copy(s, from, fd, size, err) : write_all(fd, bytes, err);
    if (r == 0 && fsync(fd) < 0)
        r = err_errno(err, "cannot sync %s", tmp);
    (void)close(fd);
    if (r == 0 && rename(tmp, path) < 0)
        r = err_errno(err, "cannot rename to %s", path);
    if (r < 0) {
        (void)unlink(tmp); /* best effort: it is only in the way of people */
        return r;
    }
    return sync_parent(path, err);
}

static int dir_get(struct object_store *s, const char *key, size_t max, struct buf *ret,
                   struct object_version *ret_version, struct err *err) {
    char path[PATH_BYTES];
    struct stat st;
    int fd, r = path_of(s, key, path, err);
    ssize_t n = 0;

    if (r < 0)
        return r;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "cannot open %s", path);
    buf_clear(ret);
    if (fstat(fd, &st) < 0)
        r = err_errno(err, "cannot read %s", path);
    else if ((uint64_t)st.st_size > max)
        r = err_set(err, RS_ETOOBIG, "%s has %llu bytes", path, (unsigned long long)st.st_size);
    while (r == 0 && (n = read(fd, buf_reserve(ret, 4096), 4096)) > 0 && ret->len <= max)
        ret->len += (size_t)n;
    if (r == 0 && n < 0)
        r = err_errno(err, "cannot read %s", path);
    (void)close(fd);
    (void)snprintf(ret_version->text, sizeof ret_version->text, "%016llx", (unsigned long long)hash64(buf_slice(ret)));
    return r;
}

static int put_if(struct object_store *s, const char *key, const char *path, struct slice bytes,
                  const struct object_version *if_version, struct err *err) {
    struct object_version found = {""};
    char lock[PATH_BYTES + 8];
    struct buf old = {0};
    int fd, r = make_parents(path, err);

    if (r < 0)
        return r;
    (void)snprintf(lock, sizeof lock, "%.*s/.lock", (int)(strrchr(path, '/') - path), path);
    fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        r = err_errno(err, "cannot lock %s", lock);
    } else {
        r = dir_get(s, key, SIZE_MAX, &old, &found, err);
        if (r == RS_ENOENT)
            r = 0;
        if (r == 0 && strcmp(found.text, if_version->text) != 0)
            r = err_set(err, RS_EEXIST, "%s was changed meanwhile", path);
        if (r == 0)
            r = write_object(s, path, bytes, -1, 0, err);
    }
    if (fd >= 0)
        (void)close(fd); /* and with it the lock */
    buf_done(&old);
    return r;
}

static int dir_put(struct object_store *s, const char *key, struct slice bytes, const struct object_version *if_version,
                   struct err *err) {
    char path[PATH_BYTES];
    int r = path_of(s, key, path, err);

    if (r < 0)
        return r;
    return if_version ? put_if(s, key, path, bytes, if_version, err) : write_object(s, path, bytes, -1, 0, err);
}

static int dir_put_file(struct object_store *s, const char *key, int fd, uint64_t size, struct err *err) {
    char path[PATH_BYTES];
    int r = path_of(s, key, path, err);

    return r < 0 ? r : write_object(s, path, SLICE_NULL, fd, size, err);
}

static int dir_open(struct object_store *s, const char *key, const char *tmp_dir, int *ret_fd, struct err *err) {
    char path[PATH_BYTES];
    int fd, r = path_of(s, key, path, err);

    if (r < 0)
        return r;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "cannot open %s", path);
    *ret_fd = fd;
    return 0;
}

static int dir_delete(struct object_store *s, const char *key, struct err *err) {
    char path[PATH_BYTES];
    int r = path_of(s, key, path, err);

    if (r < 0)
        return r;
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(err, "cannot remove %s", path);
    *strrchr(path, '/') = 0;
    (void)rmdir(path); /* once it is empty */
    return 0;
}

static void dir_free(struct object_store *s) {
    free(CONTAINER_OF(s, struct dir_store, base));
}

static const struct object_ops dir_ops = {dir_get, dir_put, dir_put_file, dir_open, dir_delete, dir_free};

int dir_store_open(const struct object_store_params *p, const char *path, struct object_store **ret, struct err *err) {
    struct dir_store *d = xnew(struct dir_store);
    char below[PATH_BYTES];
    int r;

    d->base = (struct object_store){.ops = &dir_ops, .stop = p->stop};
    (void)snprintf(d->root, sizeof d->root, "%s", path);
    (void)snprintf(below, sizeof below, "%s/x", d->root);
    r = strlen(path) >= sizeof d->root ? err_set(err, RS_EINVAL, "the path is too long") : make_parents(below, err);
    if (r < 0) {
        free(d);
        return r;
    }
    *ret = &d->base;
    return 0;
}
