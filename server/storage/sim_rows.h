/* SPDX-License-Identifier: Apache-2.0 */
/* storage/sim_rows.h : what a store of sim_storage.h holds. Rows keep their versions, newest first, tagged with the
 * number of the write that made them. A view is such a number; a crash to a prefix is a copy of the image without the
 * versions above it. So the history that a crash may choose from is the store itself.
 *
 * Threads: the caller holds the disk's lock. */
#pragma once
#include <restate/storage.h>
#include "base/list.h"
#include "base/slice.h"
#include "base/util.h"

enum { SIM_LEVELS = 16 };

struct sim_version {
    struct sim_version *older;
    uint64_t seq;
    bool deleted;
    size_t len;
    uint8_t data[];
};
struct sim_row {
    struct sim_version *newest;
    uint8_t *key;
    size_t key_len;
    struct sim_row *next[];
};
struct rs_table {
    struct list link;
    struct sim_image *image;
    bool dropped; /* its rows stay for views until the image goes */
    struct sim_row *head[SIM_LEVELS];
    char *name;
};
struct sim_image { /* one directory's content; replaced as a whole by a crash */
    unsigned refs;
    uint64_t *random; /* of the disk */
    bool dead, open;
    uint64_t seq, synced; /* the last write, and the last one that no crash takes away */
    struct list tables, views, tombs;
};
struct sim_view {     /* keeps the versions that were the newest at @seq */
    struct list link; /* image.views */
    uint64_t seq;
};

/* sim_draw() - the next number of a seed (splitmix64). */
uint64_t sim_draw(uint64_t *random);

struct sim_image *sim_image_new(uint64_t *random);
void sim_image_unref(struct sim_image *im);
/* sim_image_cut() - a copy as of write @seq, all of it synced. */
struct sim_image *sim_image_cut(const struct sim_image *im, uint64_t seq);
/* sim_image_horizon() - versions older than the newest one at this write are needed by no view and no possible crash.
 */
uint64_t sim_image_horizon(const struct sim_image *im);
/* sim_image_bury() - frees the rows that are deleted for every view and every possible crash. */
void sim_image_bury(struct sim_image *im);

rs_table *sim_table_find(struct sim_image *im, const char *name); /* or NULL */
rs_table *sim_table_add(struct sim_image *im, const char *name);

static inline struct slice sim_row_key(const struct sim_row *r) {
    return slice_of(r->key, r->key_len);
}
/* sim_row_seek() - the first row >= @key; @before, when not NULL, gets the links that lead there. */
struct sim_row *sim_row_seek(rs_table *t, struct slice key, struct sim_row **before[SIM_LEVELS]);
/* sim_row_before() - the last row < @key, or the last of all when @bounded is not set. */
struct sim_row *sim_row_before(rs_table *t, struct slice key, bool bounded);
struct sim_row *sim_row_add(rs_table *t, struct slice key); /* or the one that is there */
const struct sim_version *sim_row_visible(const struct sim_row *r, uint64_t seq);
/* sim_row_put() - write @seq's version; @h is the image's horizon. */
void sim_row_put(rs_table *t, struct sim_row *r, uint64_t seq, bool deleted, struct slice value, uint64_t h);
