/* SPDX-License-Identifier: Apache-2.0 */
/* base/limits.h : every bound of the server, with unit and reason. */
#pragma once

#define LIMIT_ARENA_KEEP_BYTES (64u << 10) /* a cleared arena keeps one block up to this: the common request fits */
#define LIMIT_KEY_BYTES 480u               /* store keys; the smallest engine (LMDB) allows 511 */
#define LIMIT_RECORD_BYTES (40u << 20)     /* one log record: the largest message (32 MiB) and its envelope */
#define LIMIT_BATCH_RECORDS 1000u          /* records of one append: one loop turn of one partition */
#define LIMIT_BATCH_BYTES (1u << 20)       /* bytes of one append; a single larger record goes alone */
#define LIMIT_WINDOW_RECORDS 1000u         /* records in flight per segment */
#define LIMIT_WINDOW_BYTES (8u << 20)      /* bytes in flight per segment */
#define LIMIT_PROPOSAL_QUEUE_BYTES                                                                                     \
    (64u << 20)                       /* proposed and not yet applied, all partitions of a node; then sources wait */
#define LIMIT_EFFECTS_PER_RECORD 256u /* effects of one attempt in one record */
#define LIMIT_DIRECT_MESSAGES 1000u   /* messages to the same partition applied within one record */
#define LIMIT_GROUP_COMMIT_BYTES (4u << 20)    /* one write of a writer thread */
#define LIMIT_MESSAGE_BYTES (32u << 20)        /* default of networking.message-size-limit */
#define LIMIT_METADATA_VALUE_BYTES (16u << 20) /* one metadata value */
#define LIMIT_HTTP_HEAD_BYTES (64u << 10)      /* request or response head */
#define LIMIT_REQUEST_HEADERS 32u              /* configured headers of requests to deployments */
#define LIMIT_APPLY_TURN_NS 2000000u           /* one partition applies at most this long per loop turn */
#define LIMIT_QUERIES 32u                      /* SQL statements at once; more are refused */
#define LIMIT_QUERY_NS 60000000000ull          /* one statement, the client's reading included */
#define LIMIT_QUERY_CHUNK_BYTES (256u << 10)   /* one piece of an answer */
#define LIMIT_QUERY_ANSWER_BYTES (512u << 20)  /* all of it */

_Static_assert(LIMIT_RECORD_BYTES > LIMIT_MESSAGE_BYTES, "the largest message must fit a record");
