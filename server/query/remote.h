/* SPDX-License-Identifier: Apache-2.0 */
/* query/remote.h : rows of partitions that other nodes lead (service RemoteScan, lane SQL).
 *
 * A query asks a node for pieces of a range; the node keeps one set of views per query, so all pieces are of one point
 * in time, until the query ends or is silent for REMOTE_IDLE_NS. */
#pragma once
#include "base/buf.h"
#include "net/fabric.h"
#include "query/query_internal.h"

struct exec;
struct worker;

enum remote_message { REMOTE_SCAN = 1, REMOTE_ATTEMPTS = 2, REMOTE_END = 3 }; /* on the wire */
enum {
    REMOTE_QUERY_BYTES = 16,
    REMOTE_MAX_ROWS = 1024,
    REMOTE_MAX_BYTES = 512 << 10, /* of one piece; a single larger row goes alone */
};
#define REMOTE_IDLE_NS 30000000000ull
#define REMOTE_CALL_NS 15000000000ull

/* ---- what other nodes ask of this one (remote_serve.c); everything on the loop ---- */

struct remote_server;
/* @pool: short reads; not the executor where queries wait for other nodes. */
struct remote_server *remote_server_new(struct loop *l, struct fabric *f, struct worker *w, struct exec *pool);
/* remote_server_close() - refuses from now on; @done in a later turn when no view is open, and the object is gone. */
void remote_server_close(struct remote_server *s, void (*done)(void *arg), void *arg);

/* ---- what a query asks of others (remote.c) ---- */

struct remote;
/* remote_new() - of one query. Which partitions are read elsewhere is decided now: those with a leader on another node.
 * NULL: none is. */
struct remote *remote_new(struct loop *l, struct fabric *f, struct worker *w);
/* remote_free() - tells the nodes that were asked. On the loop, when no job runs. NULL. */
struct remote *remote_free(struct remote *r);
/* remote_cancel() - an ask that waits is answered RS_ECANCELED, and so are later ones. On the loop. */
void remote_cancel(struct remote *r);

/* From the query's thread, blocking. remote_has() - the partition is read elsewhere. When its node cannot be reached
 * the answer is RS_EAGAIN: remote_forget() makes it local. */
bool remote_has(const struct remote *r, uint32_t partition);
void remote_forget(struct remote *r, uint32_t partition);
int remote_scan(struct remote *r, uint32_t partition, struct slice lower, struct slice upper, size_t max_rows,
                sm_each_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
int remote_get(struct remote *r, uint32_t partition, struct slice key, struct buf *ret, struct err *err) RS_WARN_UNUSED;

/* remote_attempts() - what the invokers of the other leaders know: @each for all of them, then @done, in later turns;
 * on the loop. A node that does not answer drives nothing: it is left out. Ends early when canceled. */
typedef void (*remote_attempt_fn)(void *arg, const struct query_attempt *a); /* views valid for the call */
void remote_attempts(struct remote *r, remote_attempt_fn each, void (*done)(void *arg), void *arg);
