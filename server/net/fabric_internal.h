/* SPDX-License-Identifier: Apache-2.0 */
/* net/fabric_internal.h : shared by fabric.c (peers and calls), conn.c (one connection) and serve.c (requests). */
#pragma once
#include "net/fabric.h"
#include "net/frame.h"

enum {
    FABRIC_READ_BYTES = 64 << 10,
    FABRIC_READ_TURN_BYTES = 1 << 20, /* read by one connection in one turn */
    FABRIC_QUEUE_BYTES = 64 << 20,    /* waiting for one peer and lane; more is refused */
    FABRIC_OUT_HIGH = 32 << 20,       /* unsent answers: nothing more is read from that peer */
    FABRIC_IOV_MAX = 64,
};
#define FABRIC_CONNECT_NS 3000000000u /* defaults of struct fabric_params */
#define FABRIC_HANDSHAKE_NS 3000000000u
#define FABRIC_PING_NS 1000000000u
#define FABRIC_PING_TIMEOUT_NS 2000000000u
#define FABRIC_TICK_NS 500000000u
#define FABRIC_DOWN_MAX 64
#define FABRIC_RETRY_MIN_NS 100000000u
#define FABRIC_RETRY_MAX_NS 500000000u
#define FABRIC_ONE_WAY_NS 1000000000u /* how long a one-way message waits for a connection */

struct peer;

struct out_frame {
    struct list link;
    struct buf head; /* prefix and everything that was copied */
    struct bytes **parts;
    size_t n_parts;
    size_t len, sent;         /* bytes on the wire */
    struct fabric_call *call; /* waits for its answer; NULL: nobody (any more) */
    uint32_t generation;      /* wanted of the receiver; 0: any */
    uint64_t expires_ns;      /* one way: while there is no connection; 0: never */
};
struct out_frame *out_frame_new(enum frame_kind kind, const struct frame_head *h, struct slice head,
                                struct bytes *const *parts, size_t n_parts);
struct out_frame *out_frame_free(struct out_frame *o);

enum conn_state { CONN_DIALLING, CONN_MAGIC, CONN_HELLO, CONN_WELCOME, CONN_OPEN, CONN_FOREIGN };
struct conn {
    struct list link;      /* of the fabric's connections */
    struct fabric *fabric; /* NULL: the fabric is gone, only closed() is awaited */
    struct fabric_transport t;
    rs_conn *rs;       /* NULL: closed */
    struct peer *peer; /* dialled for; NULL: accepted */
    enum conn_state state;
    enum fabric_lane lane;
    struct node_id node; /* of the other end; zero: a client */
    char address[128], identity[256];
    uint32_t seen[N_VERSIONS];

    struct list out; /* struct out_frame */
    size_t out_bytes;
    uint8_t prefix[FRAME_PREFIX_BYTES];
    size_t prefix_n, body_n;
    enum frame_kind kind;
    struct bytes *body;
    struct list requests;        /* struct request: not answered yet */
    struct fabric_service *over; /* over budget: reading pauses until it answered something */
    bool ready, readable, blocked, closing, posted, dead, drained;
    struct loop_hook hook;
    struct loop_task task;
    uint64_t opened_ns, heard_ns, pinged_ns, frames_in, frames_out;
    struct err err;
    const rs_conn_events *foreign; /* CONN_FOREIGN */
    void *foreign_arg;
};

struct peer { /* a destination on one lane */
    struct map_node node;
    struct fabric *fabric;
    uint32_t id;   /* 0: by address */
    char *address; /* by address */
    enum fabric_lane lane;
    struct conn *conn;
    struct list queue; /* not given to a connection yet */
    size_t queued;
    struct timer timer; /* end of the throttling, or: fail what cannot be dialled */
    uint64_t retry_ns;  /* pause after the next failure */
    struct err err;     /* of the last failure */
    bool refused;
    struct node_id was; /* who answered on the last connection; zero once it is known to be gone */
};

struct request { /* a call that came in */
    struct fabric_request r;
    struct list link;  /* conn->requests, or fabric->local_requests */
    struct conn *conn; /* NULL: local, or the connection is gone */
    uint64_t call_id;
    bool local;
};

struct listener {
    struct list link;
    struct fabric *fabric;
    struct fabric_transport t;
    rs_listener *rs;
};

struct newest { /* the newest generation seen of a node */
    struct map_node node;
    struct node_id id;
};

struct local_task { /* carries messages of this node to itself, one turn later */
    struct loop_task task;
    struct fabric *fabric; /* NULL: gone */
    bool posted;
};

struct fabric {
    struct fabric_params p;
    char *cluster_name;
    char **allowed;
    size_t n_allowed;
    struct list conns, services, listeners, local, local_requests;
    struct map peers, calls, newest;
    uint64_t next_call;
    uint8_t *rbuf;
    struct timer tick;
    struct local_task *local_task;
    uint32_t down[FABRIC_DOWN_MAX]; /* nodes that were forgotten */
    unsigned n_down;
    bool draining;
    uint64_t drain_until_ns;
    void (*drained)(void *arg);
    void *drained_arg;
};

/* conn.c */
struct conn *conn_new(struct fabric *f, struct fabric_transport t, enum conn_state state);
const rs_conn_events *conn_events(void); /* arg: the conn */
void conn_queue(struct conn *c, struct out_frame *take);
void conn_queue_raw(struct conn *c, enum frame_kind kind, struct slice body);
void conn_close(struct conn *c, int code, const char *message);
void conn_resume(struct conn *c);
void conn_accepted(void *arg, rs_conn *rs); /* arg: struct listener */
void conn_tick(struct conn *c, uint64_t now);
void conn_hello(struct conn *c); /* the dialling side's first frame */
static inline bool conn_is_open(const struct conn *c) {
    return c->rs && !c->closing && c->state == CONN_OPEN;
}

/* handshake.c */
int handshake_frame(struct conn *c, enum frame_kind kind, struct slice body, struct err *err);

/* fabric.c */
void fabric_conn_opened(struct conn *c);                        /* dialled: the handshake is done */
void fabric_conn_closed(struct conn *c, const struct err *why); /* takes its frames back */
void fabric_answer(struct fabric *f, uint64_t id, const struct frame_head *h, struct node_id from, struct slice payload,
                   struct bytes *frame);
void fabric_versions_seen(struct conn *c, const uint32_t versions[N_VERSIONS]);
struct frame_head fabric_head(struct fabric *f);
void fabric_post_local(struct fabric *f);
uint64_t node_hash(uint32_t id);

/* serve.c */
void serve_frame(struct conn *c, enum frame_kind kind, const struct frame_head *h, struct slice payload,
                 struct bytes *frame);
void serve_local(struct fabric *f, struct bytes *frame);
void serve_conn_closed(struct conn *c);
