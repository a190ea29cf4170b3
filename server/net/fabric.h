/* SPDX-License-Identifier: Apache-2.0 */
/* net/fabric.h : the node fabric: messages and calls between nodes over transport streams (spec cluster.md §5).
 *
 * One connection per (peer, lane), made when first needed, kept alive by pings, closed when either side restarts. Calls
 * to this node itself take the same path through the service tables without a connection. Everything belongs to one
 * loop; no callback runs inside the call that registered it.
 *
 * Delivery: what is sent to one peer on one lane arrives in the order of sending, each at most once; a lost connection
 * loses what was under way, and calls on it are answered RPC_UNKNOWN. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/node_id.h"
#include "loop/loop.h"
#include "net/services.h"

#include <restate/transport.h>

struct fabric;
struct conn;
struct out_frame;

enum fabric_lane {
    LANE_GENERAL,
    LANE_GOSSIP,
    LANE_BIFROST_DATA,
    LANE_INGRESS_DATA,
    LANE_BIFROST_READS,
    LANE_SQL,
    N_LANES
};

/* Versions of the four global metadata kinds; in the header of every message. */
enum { VERSION_NODES, VERSION_LOGS, VERSION_SCHEMA, VERSION_PARTITIONS, N_VERSIONS };

struct fabric_transport {
    const rs_transport_ops *ops; /* NULL: none serves the scheme */
    void *self;
    bool peer_auth; /* RS_TRANSPORT_PEER_AUTH: identities are checked against allowed_peers */
};

struct fabric_params {
    struct loop *loop;
    const char *cluster_name; /* copied */
    struct node_id self;      /* zero: a client (restatectl), or a node that has not joined; fabric_set_self() */
    uint64_t fingerprint;     /* 0: not known yet */
    uint32_t feature_level;
    uint64_t memory_bytes;                             /* frames held for all connections; 0: LIMIT_FABRIC_BYTES */
    uint64_t connect_timeout_ns, handshake_timeout_ns; /* 0: 3 s each */
    /* A peer that is silent is pinged, and cut off when nothing comes then either; 0: 1 s, 2 s. Looked at twice a
     * second. */
    uint64_t ping_interval_ns, ping_timeout_ns;
    const char *const *allowed_peers; /* verified names that may speak, "*" for one label; NULL: all. Copied */
    struct fabric_transport (*transport)(void *arg, const char *scheme); /* "tcp", "unix", "tls" */
    /* The current generation and the fabric address of plain node @id; RS_ENOENT: not known or removed. *ret_address is
     * borrowed until the loop turns. NULL: nodes are reached by address only. */
    int (*resolve)(void *arg, uint32_t id, struct node_id *ret_current, const char **ret_address);
    void (*versions)(void *arg, uint32_t ret[N_VERSIONS]); /* my own, for the headers I send; NULL: zeros */
    /* A message showed these versions; told when one of them is higher than all before from that peer. May be NULL. */
    void (*seen)(void *arg, struct node_id peer, const uint32_t versions[N_VERSIONS]);
    /* Somebody showed a higher generation of my own id: this process was replaced. May be NULL. */
    void (*preempted)(void *arg, struct node_id newer);
    /* The process @peer has certainly ended: its gossip connection broke and nobody listens at its address any more.
     * May be NULL. */
    void (*gone)(void *arg, struct node_id peer);
    /* An accepted stream that does not begin with the fabric's magic: whoever takes it fills in where its events shall
     * go from now on and gets the bytes read so far; false, or NULL: it is closed. See http_server_adopt(). */
    bool (*foreign)(void *arg, const struct fabric_transport *t, rs_conn *conn, struct slice read,
                    const rs_conn_events **ret_events, void **ret_arg);
    void *arg;
};
struct fabric *fabric_new(const struct fabric_params *p);
/* fabric_free() - cuts all connections; calls still open are dropped without an answer. NULL. */
struct fabric *fabric_free(struct fabric *f);
/* fabric_set_self() - after joining. Connections made before, without a node id, are closed once idle. */
void fabric_set_self(struct fabric *f, struct node_id self, uint64_t fingerprint);
struct node_id fabric_self(const struct fabric *f);
/* fabric_listen() - @uri "tcp://0.0.0.0:5122". Errors: as rs_transport_ops.listen. May be called several times. */
int fabric_listen(struct fabric *f, struct fabric_transport t, const char *uri, struct err *err) RS_WARN_UNUSED;
int fabric_uri(const struct fabric *f, size_t i, char *buf, size_t len); /* the i-th as bound; RS_ENOENT */
/* fabric_drain() - stop accepting, finish answers, then @done; cut what is left after @timeout_ns. */
void fabric_drain(struct fabric *f, uint64_t timeout_ns, void (*done)(void *arg), void *arg);
/* fabric_forget() - the node is dead or as good as: its connections are cut and calls to it fail at once until
 * fabric_alive(). One-way messages go on trying: a node that comes back needs those of its metadata group to join at
 * all. Both are hints of the failure detector. */
void fabric_forget(struct fabric *f, struct node_id node);
void fabric_alive(struct fabric *f, uint32_t node);

/* ---- messages ---- */

/* What is sent: @head is copied into the frame, the @parts follow by reference, without a copy. */
struct fabric_message {
    uint16_t service, type;
    bool has_sort_code;
    uint64_t sort_code; /* shard inside the service: loglet, partition */
    struct slice head;
    struct bytes *const *parts;
    size_t n_parts;
};
#define FABRIC_SELF UINT32_MAX /* this node, also before it knows its id */
/* To whom. node.id > 0: that node (generation 0: the current one); else whoever answers at @address. */
struct fabric_dest {
    struct node_id node;
    const char *address; /* "http://127.0.0.1:5122/"; borrowed for the call */
};

enum rpc_status {
    RPC_OK = 0,
    /* certainly not processed */
    RPC_SERVICE_NOT_FOUND = 1,
    RPC_SERVICE_STOPPED = 2,
    RPC_SERVICE_NOT_READY = 3,
    RPC_SORT_CODE_NOT_FOUND = 4,
    RPC_LOAD_SHEDDING = 5,
    RPC_MESSAGE_UNRECOGNIZED = 6,
    RPC_UNREACHABLE = 7, /* never left this node: no address, connection refused, no connection before the deadline */
    RPC_REFUSED = 8,     /* the handshake failed: other cluster, certificate, generation; not worth repeating soon */
    /* maybe processed */
    RPC_DROPPED = 9,
    RPC_UNKNOWN = 10, /* connection lost, deadline passed */
};
const char *rpc_status_str(enum rpc_status s);

/* A call: owned by the caller from fabric_call() until done() ran or fabric_call_drop(). */
struct fabric_call {
    /* @reply borrowed, inside @frame: take a reference to the frame to keep it. @why: text for people when @s is not
     * RPC_OK, else NULL. @from: who answered. */
    void (*done)(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply, struct bytes *frame,
                 const struct err *why);
    /* the fabric's */
    struct map_node node; /* of the open calls, by id */
    struct timer timer;
    struct fabric *fabric;   /* NULL: not open */
    struct out_frame *frame; /* NULL: sent */
    struct conn *conn;       /* that it was sent by; NULL: still queued, or local */
    uint64_t id;
};
/* fabric_call() - @deadline_ns: loop_now_ns() base; required. done() runs exactly once, in a later turn. */
void fabric_call(struct fabric *f, struct fabric_call *c, const struct fabric_dest *d, enum fabric_lane lane,
                 const struct fabric_message *m, uint64_t deadline_ns);
void fabric_call_drop(struct fabric *f, struct fabric_call *c); /* done() is not called any more; idle calls are fine */
/* fabric_send() - one way, at most once; dropped when there is no connection within a second or no memory. */
void fabric_send(struct fabric *f, const struct fabric_dest *d, enum fabric_lane lane, const struct fabric_message *m);
/* fabric_connected() - a connection of that lane to that node is open (for status and for choosing among nodes). */
bool fabric_connected(const struct fabric *f, uint32_t node, enum fabric_lane lane);

/* ---- services ---- */

/* A message that came in. For a call (@is_call) the service owns it until fabric_reply() or fabric_reply_status(),
 * once, in this or a later turn; a one-way message is borrowed for the callback. */
struct fabric_request {
    struct node_id from; /* zero: a client */
    uint16_t service, type;
    bool is_call, has_sort_code;
    uint64_t sort_code;
    struct slice payload; /* inside @frame */
    struct bytes *frame;  /* take a reference to keep parts of it beyond the request */
};
struct fabric_service {
    struct list link;
    uint16_t id;
    bool lossy;          /* over budget: RPC_LOAD_SHEDDING instead of back pressure on the connection */
    size_t budget_bytes; /* unanswered requests; 0: LIMIT_FABRIC_SERVICE_BYTES */
    void (*handle)(void *arg, struct fabric_request *r);
    void *arg;
    size_t held_bytes; /* the fabric's */
};
/* fabric_serve() - linked until fabric_unserve(), after which its calls are answered RPC_SERVICE_NOT_FOUND, or
 * RPC_SERVICE_STOPPED while the fabric drains. Requests it still holds may be answered later. */
void fabric_serve(struct fabric *f, struct fabric_service *s);
void fabric_unserve(struct fabric *f, struct fabric_service *s);
void fabric_reply(struct fabric *f, struct fabric_request *take, struct slice head, struct bytes *const *parts,
                  size_t n_parts);
void fabric_reply_status(struct fabric *f, struct fabric_request *take, enum rpc_status s);

/* For status commands: one call per open connection. */
struct fabric_conn_info {
    struct node_id peer;
    enum fabric_lane lane;
    bool dialled;
    const char *address, *identity;
    uint64_t age_ns, frames_in, frames_out, queued_bytes;
};
void fabric_each_connection(const struct fabric *f, void (*each)(void *arg, const struct fabric_conn_info *i),
                            void *arg);
