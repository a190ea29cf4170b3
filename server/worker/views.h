/* SPDX-License-Identifier: Apache-2.0 */
/* worker/views.h : the rows of the partitions that run on this node, as one reader off the loop sees them: SQL.
 *
 * worker_views_open() asks every data store for a barrier, so the views hold everything that was applied before the
 * call. A leader is read, and so is a follower that has caught up; its rows may be a moment old. */
#pragma once
#include "base/buf.h"
#include "storage/store.h"
#include "worker/worker.h"

struct worker_views;

/* @done on the loop, in a later turn; *take_views is NULL when @status < 0. */
typedef void (*worker_views_fn)(void *arg, int status, struct worker_views *take_views, const struct err *err);
void worker_views_open(struct worker *w, worker_views_fn done, void *arg);
/* worker_views_free() - before the stores are closed; any thread. NULL. */
struct worker_views *worker_views_free(struct worker_views *v);

/* Blocking reads; any one thread at a time. The number of partitions is that of the cluster; one that is not readable
 * here answers RS_EUNSUPPORTED and names the partition. */
size_t worker_views_partitions(const struct worker_views *v);
bool worker_views_has(const struct worker_views *v, uint32_t partition); /* it is readable here */
/* worker_views_get() - RS_ENOENT when there is no such row; @ret is replaced. */
int worker_views_get(struct worker_views *v, uint32_t partition, struct slice key, struct buf *ret,
                     struct err *err) RS_WARN_UNUSED;
/* worker_views_scan() - rows with lower <= key < upper (upper NULL: no bound) in key order; see store_view_scan(). */
int worker_views_scan(struct worker_views *v, uint32_t partition, struct slice lower, struct slice upper,
                      store_each_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
