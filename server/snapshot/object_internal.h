/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot/object_internal.h : what the kinds of object stores implement; see object_store.h for the functions. */
#pragma once
#include "snapshot/object_store.h"

struct object_ops {
    int (*get)(struct object_store *s, const char *key, size_t max, struct buf *ret, struct object_version *ret_version,
               struct err *err);
    int (*put)(struct object_store *s, const char *key, struct slice bytes, const struct object_version *if_version,
               struct err *err);
    int (*put_file)(struct object_store *s, const char *key, int fd, uint64_t size, struct err *err);
    int (*open)(struct object_store *s, const char *key, const char *tmp_dir, int *ret_fd, struct err *err);
    int (*del)(struct object_store *s, const char *key, struct err *err);
    void (*free)(struct object_store *s);
};
struct object_store { /* the first member of the kinds' own structs */
    const struct object_ops *ops;
    const bool *stop;
};

static inline bool object_stopped(const struct object_store *s) {
    return s->stop && __atomic_load_n(s->stop, __ATOMIC_RELAXED);
}
int dir_store_open(const struct object_store_params *p, const char *path, struct object_store **ret, struct err *err);
int s3_store_check(const struct object_store_params *p, struct err *err);
int s3_store_open(const struct object_store_params *p, struct object_store **ret, struct err *err);
