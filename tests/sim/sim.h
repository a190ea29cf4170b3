/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim.h : what the two simulators share: everything in one thread, driven by one seed.
 *
 * world (sim_world.c): randomness, executors that take a while, violations. clients (sim_clients.c): operations, most
 * of them on counters, and what they may see. orders (sim_orders.c): what operators do to invocations. service
 * (sim_service.c): a deployment that speaks the service protocol and misbehaves as the seed says. sim.c and sim_node.c
 * are a node alone; sim_cluster.c, sim_host.c, sim_check.c and sim_net.c are several nodes and the network between
 * them. A crash forgets node, connections and loop at once: nothing is closed, memory is not given back. */
#pragma once
#include "base/list.h"
#include "http/headers.h"
#include "loop/exec.h"
#include "worker/worker.h"

#define SIM_URI "tcp://service:9080"
#define SIM_WALL_NS 1700000000000000000u /* unix time when the virtual clock says 0 */
enum { SIM_PARTITIONS = 4, SIM_KEYS = 5, SIM_READS = SIM_KEYS + 1, SIM_OPS = 40 };

struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 .. n-1 */
bool rng_chance(struct rng *r, unsigned per_mille);

struct faults { /* per mille, while faults are on */
    unsigned cut, error, slow_job, cold, suspend, operate;
};

/* What state machines applied, of all seeds and processes together (sim_seen.c). */
enum { SEEN_KINDS = 128, SEEN_ENTRIES = 32 };
struct seen {
    uint64_t kinds[SEEN_KINDS], entries[SEEN_ENTRIES]; /* records; commands of SDKs, from SP_INPUT on */
    uint64_t longest_wait_ns, most_leads;              /* sim_silent.c: of a client; of a round */
};
struct seen *seen_new(void);
void seen_record(struct seen *s, const struct record_view *r);
bool seen_everything(const struct seen *s); /* prints what is missing */

struct world { /* first member of each simulator's struct */
    struct rng rng;
    uint64_t seed;
    bool trace, healed;
    struct faults faults;
    const uint64_t *clock; /* virtual time */
    struct seen *seen;
    /* The worker that a client asks now; NULL: nobody can be asked. */
    struct worker *(*worker)(struct world *w);
    uint64_t patience_ns; /* after this a client asks somebody else; 0: never */
    char violation[512];
};
static inline uint64_t world_now(const struct world *w) {
    return *w->clock;
}
void violated(struct world *w, const char *fmt, ...) RS_PRINTF(2, 3); /* the first one is kept */
void world_trace(const struct world *w, const char *fmt, ...) RS_PRINTF(2, 3);

/* Jobs that take a while: each starts after a drawn delay; FIFO where the real one has one thread. */
struct sim_exec {
    struct exec exec;
    struct world *world;
    struct list jobs; /* struct job.link, in order */
    uint64_t due_ns;  /* of the first */
    bool fifo;
};
struct exec *sim_exec_init(struct sim_exec *e, struct world *w, bool fifo);
void sim_exec_run(struct sim_exec *x); /* one job, now */

/* ---- clients ---- */

enum op_kind {
    OP_ADD,
    OP_SLOW,
    OP_CALL,
    OP_SEND,
    OP_STEPS,
    OP_FAIL,
    OP_AWAIT,  /* until the client, or an OP_WAKE, sends a signal */
    OP_CANCEL, /* waits likewise, and is cancelled */
    OP_KILL,
    OP_WAKE,
    OP_ATTACH, /* a call by idempotency key, attached to */
    OP_NOTES,  /* everything that can be done with state */
    OP_FLOW,   /* a workflow and its promise */
    OP_GET,
    OP_KINDS
};

struct op {
    struct worker_call call;
    struct world *world;
    struct worker *worker; /* who was asked, while waiting */
    uint64_t asked_ns;
    unsigned n, key;
    enum op_kind kind;
    struct invocation_id id;
    bool started, waiting, done; /* done: a result was seen */
    uint64_t value;
    bool ask_again;       /* once more, after the result: with the same key, or by attaching */
    unsigned asked;       /* how often */
    uint64_t ordered_ns;  /* when it was signalled, cancelled or killed last */
    bool purged;          /* it may be forgotten: nobody may ask again */
    unsigned pauses_open; /* an operator's, not answered */
    bool paused;          /* a pause was sent, and no resume that came surely after it has been answered */
};

/* The counter of a key of its own is set by an operator who patches the state, one value after the other. What was not
 * acknowledged may take effect any time later. */
struct patches {
    struct worker *asked;            /* who has one now; NULL: nobody */
    unsigned last;                   /* value sent last */
    uint64_t possible, acknowledged; /* bit v: the counter may be v in the end; patch v was acknowledged */
};

struct clients {
    struct world *world;
    struct op ops[SIM_OPS + SIM_READS]; /* the last ones read the counters */
    struct patches patches;
    unsigned start_rate; /* per mille and call of clients_drive() */
};
void clients_plan(struct clients *c, struct world *w); /* draws the operations */
void clients_drive(struct clients *c);                 /* asks what is to be asked; cheap */
/* clients_forget() - @worker is gone: what waits for it is asked again. NULL: all. */
void clients_forget(struct clients *c, const struct worker *worker);
void clients_operate(struct clients *c); /* an operator (sim_orders.c) does something to an invocation or a partition */
void clients_signal(struct clients *c);  /* signals, cancels and kills what waits for that; again and again */
void clients_resume_all(struct clients *c); /* a patient operator resumes what may be paused still */
bool clients_done(const struct clients *c); /* every operation has its result */
void clients_unfinished(struct clients *c); /* says which operation has none */
void clients_read(struct clients *c);       /* ask for the counters, when sends had time to arrive */
bool clients_have_read(const struct clients *c);
void clients_check(struct clients *c); /* the counters against what was acknowledged */

/* ---- the schema and the service ---- */

extern const struct schema_defaults sim_schema_defaults;
/* sim_schema() - the schema with the service registered at SIM_URI; malloc'd. */
char *sim_schema(void);

struct sim_service { /* borrowed for ever */
    struct world *world;
    struct http_transport http;
    struct loop *loop;
};
void sim_service_start(struct sim_service *s);
