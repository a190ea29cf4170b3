/* SPDX-License-Identifier: Apache-2.0 */
#include <restate/helper/store_dir.h>
#include <errno.h>
#include <fcntl.h>
#include <restate/helper.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static int fail(rs_error *err, int number, const char *what, const char *path) {
    return rs_fail(err,
                   number == ENOSPC   ? RS_ENOSPC
                   : number == EACCES ? RS_EPERM
                                      : RS_EIO,
                   0, number, "%s %s: %s", what, path, strerror(number));
}

int rs_path_join(char *buf, size_t size, const char *dir, const char *name, rs_error *err) {
    int n = snprintf(buf, size, "%s/%s", dir, name);
    return n >= 0 && (size_t)n < size ? 0 : rs_fail(err, RS_EINVAL, 0, ENAMETOOLONG, "path too long: %s", dir);
}

int rs_dir_sync(const char *dir, rs_error *err) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), number = 0;

    if (fd < 0)
        return fail(err, errno, "cannot open", dir);
    if (fsync(fd) < 0)
        number = errno;
    (void)close(fd); /* nothing was written through it */
    return number != 0 ? fail(err, number, "cannot sync", dir) : 0;
}

int rs_dir_make(const char *dir, rs_error *err) {
    char parent[PATH_BYTES];
    const char *slash = strrchr(dir, '/');

    if (strlen(dir) >= sizeof(parent))
        return rs_fail(err, RS_EINVAL, 0, ENAMETOOLONG, "path too long: %s", dir);
    if (mkdir(dir, 0700) < 0)
        return errno == EEXIST ? 0 : fail(err, errno, "cannot create", dir);
    if (slash == NULL)
        return rs_dir_sync(".", err);
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash == dir ? 1 : slash - dir), dir);
    return rs_dir_sync(parent, err);
}

bool rs_marker_exists(const char *dir) {
    char path[PATH_BYTES];
    return rs_path_join(path, sizeof(path), dir, "restate-store", NULL) == 0 && access(path, F_OK) == 0;
}

int rs_marker_make(const char *dir, const char *text, rs_error *err) {
    char path[PATH_BYTES];
    int fd, number = 0, r = rs_path_join(path, sizeof(path), dir, "restate-store", err);
    ssize_t n;

    if (r < 0)
        return r;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(err, errno, "cannot create", path);
    n = write(fd, text, strlen(text));
    if (n != (ssize_t)strlen(text))
        number = n < 0 ? errno : EIO;
    else if (fsync(fd) < 0)
        number = errno;
    (void)close(fd); /* synced, or failed already */
    return number != 0 ? fail(err, number, "cannot write", path) : rs_dir_sync(dir, err);
}

int rs_dir_lock(const char *dir, int *ret_fd, rs_error *err) {
    char path[PATH_BYTES];
    int fd, number, r = rs_path_join(path, sizeof(path), dir, "restate-lock", err);

    if (r < 0)
        return r;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(err, errno, "cannot create", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        number = errno;
        (void)close(fd); /* never written to */
        if (number == EWOULDBLOCK)
            return rs_fail(err, RS_EPERM, 0, number, "%s is in use by another process or store handle", dir);
        return fail(err, number, "cannot lock", path);
    }
    *ret_fd = fd;
    return 0;
}
