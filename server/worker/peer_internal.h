/* SPDX-License-Identifier: Apache-2.0 */
/* worker/peer_internal.h : what workers of different nodes say to each other over the fabric (proto/partition.def). */
#pragma once
#include "net/fabric.h"
#include "proto/partition.gen.h"
#include "worker/worker_internal.h"

enum manager_message { MANAGER_CONTROL = 1, MANAGER_CREATE_SNAPSHOT = 2, MANAGER_FETCH_SNAPSHOT = 3 };
enum leader_message { LEADER_CALL = 1, LEADER_INGEST = 2 };
enum peer_code { PEER_PENDING = 100, PEER_NOT_LEADER = 101, PEER_NOT_FOUND = 102, PEER_BEGIN_AGAIN = 103 };

#define PEER_LEASE_NS 10000000000ull        /* a leader holds a call so long without a word */
#define PEER_RENEW_NS 30000000000ull        /* and keeps it so long for whoever asks again */
#define PEER_CALL_TIMEOUT_NS 15000000000ull /* a call without even a "pending" */
#define PEER_INGEST_TIMEOUT_NS 10000000000ull

/* A call of this node that another one has. */
struct remote_call {
    struct fabric_call f;
    struct worker *w;
    struct worker_call *call;
    uint32_t node; /* who was asked */
};
/* remote_send() - hand a waiting call to the leader on @node; remote_answered() in routes.c gets what comes of it. */
void remote_send(struct route *r, struct worker_call *c, uint32_t node);
void remote_drop(struct worker_call *c);

/* What came of it: the answer was given (DONE), it certainly did not happen there (NOT_DONE), it may have (UNKNOWN), it
 * is being worked on (PENDING). */
enum remote_outcome { REMOTE_DONE, REMOTE_NOT_DONE, REMOTE_UNKNOWN, REMOTE_PENDING };
void route_remote_answered(struct route *r); /* whoever was asked leads */
void route_remote_outcome(struct route *r, struct worker_call *c, enum remote_outcome o, bool unreachable);

/* peer_put_last() - tag and length of the last field of a message, whose bytes follow as a part. */
void peer_put_last(struct buf *head, uint32_t number, size_t len);

/* ---- peer_serve.c: the services of this node ---- */
void peer_open(struct worker *w);
void peer_close(struct worker *w); /* frees what is kept for other nodes; no request is held afterwards */
/* "N3:7" of the newest leader known, for answers. */
void peer_hint(const struct route *r, char node[32], uint64_t *epoch);
/* A hint in an answer. */
void peer_take_hint(struct route *r, uint64_t epoch, struct slice leader);
