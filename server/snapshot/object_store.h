/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot/object_store.h : named objects somewhere else: a directory, or a bucket that speaks S3.
 *
 * Keys are relative paths of [A-Za-z0-9_.-] with '/' between; the store puts its prefix before them. Everything blocks
 * and belongs on an executor; one store may be used by several threads at a time. An object is there as a whole or not
 * at all. */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"

struct object_store;

enum { OBJECT_VERSION = 96 };
/* What an object was when it was read, for object_put() on condition. "": there was none. */
struct object_version {
    char text[OBJECT_VERSION];
};

struct object_store_params {
    const char *url;  /* file:///dir or s3://bucket/prefix */
    const bool *stop; /* (atomic) waits and transfers end soon with RS_ECANCELED once it is true */
    const char *region, *endpoint, *access_key, *secret_key, *session_token; /* of S3; NULL or "": not given */
    bool allow_http;                                                         /* S3: the endpoint may be http:// */
};
/* object_store_check() - is @p one that object_store_open() would take? Touches nothing. */
int object_store_check(const struct object_store_params *p, struct err *err) RS_WARN_UNUSED;
/* object_store_open() - copies @p but for @stop. The directory is made when it is missing. */
int object_store_open(const struct object_store_params *p, struct object_store **ret, struct err *err) RS_WARN_UNUSED;
struct object_store *object_store_free(struct object_store *s); /* NULL */

/* object_get() - the whole object, at most @max bytes. RS_ENOENT; RS_ETOOBIG. @ret_version may be NULL. */
int object_get(struct object_store *s, const char *key, size_t max, struct buf *ret, struct object_version *ret_version,
               struct err *err) RS_WARN_UNUSED;
/* object_put() - durable when it returns. @if_version: RS_EEXIST, and nothing was written, when the object is not that
 * one any more; NULL: without condition. */
int object_put(struct object_store *s, const char *key, struct slice bytes, const struct object_version *if_version,
               struct err *err) RS_WARN_UNUSED;
/* object_put_file() - the first @size bytes of @fd, from its beginning. */
int object_put_file(struct object_store *s, const char *key, int fd, uint64_t size, struct err *err) RS_WARN_UNUSED;
/* object_open() - a file of the object's bytes, positioned at 0, owned by the caller; a nameless one in @tmp_dir when
 * it had to be fetched. RS_ENOENT. */
int object_open(struct object_store *s, const char *key, const char *tmp_dir, int *ret_fd,
                struct err *err) RS_WARN_UNUSED;
int object_delete(struct object_store *s, const char *key, struct err *err) RS_WARN_UNUSED; /* none: 0 */

/* nameless_file() - a file in @dir that is gone with its last descriptor. */
int nameless_file(const char *dir, int *ret_fd, struct err *err) RS_WARN_UNUSED;
/* write_all() - all of @bytes to a file. */
int write_all(int fd, struct slice bytes, struct err *err) RS_WARN_UNUSED;
