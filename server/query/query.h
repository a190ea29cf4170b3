/* SPDX-License-Identifier: Apache-2.0 */
/* query/query.h : SQL over what the partitions hold (spec sql.md): POST /query. A partition is read at its leader, on
 * this node or another one; when that cannot be reached, at the replica here.
 *
 * A query is prepared and stepped on its own executor, never on the loop; the loop makes the read views
 * (worker/views.h) and the copy of the invoker's attempts. Everything here is called on the loop. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

struct exec;
struct fabric;
struct loop;
struct query;
struct query_engine;
struct worker;

enum query_format { QUERY_JSON, QUERY_ARROW };
enum query_failure {
    QUERY_INVALID = 1, /* the statement is refused */
    QUERY_FAILED,      /* it cannot be answered: unknown table, rows that cannot be read, limits */
    QUERY_BUSY,        /* too many at once */
    QUERY_STOPPING,    /* the node stops */
};

struct query_engine_params {
    struct loop *loop;
    struct worker *worker; /* borrowed until closed */
    struct exec *exec;     /* where queries run: blocking, for seconds; borrowed until closed */
    /* Partitions of other nodes are read through it, and theirs here (service RemoteScan); NULL: a node alone. */
    struct fabric *fabric;
    struct exec *pool;     /* reads for other nodes: short ones; with @fabric */
    uint64_t memory_bytes; /* of SQLite, for all statements of the process: sorters, hash tables; 0: 256 MiB */
};
struct query_engine *query_engine_new(const struct query_engine_params *p);
/* query_engine_stop() - ends all queries (QUERY_STOPPING); new ones are refused. query_engine_close() - the same, and
 * when the last one is gone, in a later turn, @done; the object is gone then. Before the stores are closed. */
void query_engine_stop(struct query_engine *e);
void query_engine_close(struct query_engine *e, void (*done)(void *arg), void *arg);

/* All in later turns than query_start(). After failed(), or chunk() with @last, the query is gone. */
struct query_events {
    /* A piece of the answer. false: no more until query_resume(). */
    bool (*chunk)(void *arg, struct bytes *take, bool last);
    /* @begun: chunks came before: the answer is cut. */
    void (*failed)(void *arg, enum query_failure f, const char *message, bool begun);
    void *arg;
};
struct query *query_start(struct query_engine *e, struct slice sql, enum query_format format,
                          const struct query_events *events);
void query_resume(struct query *q);
/* query_cancel() - nobody is interested: no event comes any more. */
void query_cancel(struct query *q);
