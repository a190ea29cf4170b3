/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/object_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *without(const char *url, const char *scheme) {
    size_t n = strlen(scheme);

    return strncmp(url, scheme, n) == 0 ? url + n : NULL;
}

int object_store_check(const struct object_store_params *p, struct err *err) {
    const char *path = without(p->url, "file://");

    if (path)
        return path[0] == '/' && path[1]
                   ? 0
                   : err_set(err, RS_EINVAL, "'%s': an absolute directory is needed: file:///dir", p->url);
    if (without(p->url, "s3://"))
        return s3_store_check(p, err);
    return err_set(err, RS_EUNSUPPORTED, "'%s': snapshots go to file:///dir or to s3://bucket/prefix", p->url);
}

int object_store_open(const struct object_store_params *p, struct object_store **ret, struct err *err) {
    int r = object_store_check(p, err);

    if (r < 0)
        return r;
    return without(p->url, "file://") ? dir_store_open(p, without(p->url, "file://"), ret, err)
                                      : s3_store_open(p, ret, err);
}

struct object_store *object_store_free(struct object_store *s) {
    if (s)
        s->ops->free(s);
    return NULL;
}

int object_get(struct object_store *s, const char *key, size_t max, struct buf *ret, struct object_version *ret_version,
               struct err *err) {
    struct object_version ignored;

    return s->ops->get(s, key, max, ret, ret_version ? ret_version : &ignored, err);
}

int object_put(struct object_store *s, const char *key, struct slice bytes, const struct object_version *if_version,
               struct err *err) {
    return s->ops->put(s, key, bytes, if_version, err);
}

int object_put_file(struct object_store *s, const char *key, int fd, uint64_t size, struct err *err) {
    return s->ops->put_file(s, key, fd, size, err);
}

int object_open(struct object_store *s, const char *key, const char *tmp_dir, int *ret_fd, struct err *err) {
    return s->ops->open(s, key, tmp_dir, ret_fd, err);
}

int object_delete(struct object_store *s, const char *key, struct err *err) {
    return s->ops->del(s, key, err);
}

int nameless_file(const char *dir, int *ret_fd, struct err *err) {
    char path[4200];
    int fd;

    (void)snprintf(path, sizeof path, "%s/.snapshot-XXXXXX", dir);
    fd = mkostemp(path, 02000000 /* O_CLOEXEC */);
    if (fd < 0)
        return err_errno(err, "cannot make a file in %s", dir);
    (void)unlink(path);
    *ret_fd = fd;
    return 0;
}

int write_all(int fd, struct slice bytes, struct err *err) {
    while (bytes.len) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot write a snapshot");
        bytes = slice_from(bytes, (size_t)n);
    }
    return 0;
}
