/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim.h : the single-node system in one thread, driven by one seed.
 *
 * world (sim.c): virtual time, what happens next, crashes, clients, checks. node (sim_node.c): the server's own modules
 * put together as node.c does, over a simulated disk, executors and network. service (sim_service.c): a deployment that
 * speaks the service protocol and misbehaves as the seed says. A crash forgets node, service connections and loop at
 * once: nothing is closed, memory is not given back. */
#pragma once
#include "http/fake_transport.h"
#include "log/log.h"
#include "log/log_server.h"
#include "storage/sim_storage.h"
#include "worker/worker.h"

#define SIM_URI "tcp://service:9080"
enum { SIM_PARTITIONS = 4, SIM_KEYS = 5 };

struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 .. n-1 */
bool rng_chance(struct rng *r, unsigned per_mille);

/* Jobs that take a while: each starts after a drawn delay and is reported after another one; FIFO where the real one
 * has one thread. */
struct sim_exec {
    struct exec exec;
    struct world *world;
    struct list jobs; /* struct job.link, in order */
    uint64_t due_ns;  /* of the first */
    bool fifo;
};

struct faults { /* per mille, while faults are on */
    unsigned cut, error, slow_job, cold, suspend, operate;
};

struct world {
    struct rng rng;
    uint64_t seed;
    bool trace, healed;
    struct faults faults;
    struct sim_disk *disk;
    /* of the present incarnation */
    struct fake_net *net;
    struct sim_exec writers[4], pool;
    struct sim_node *node;
    unsigned crashes, cuts;
    char violation[512];
};
void violated(struct world *w, const char *fmt, ...) RS_PRINTF(2, 3);
struct exec *sim_exec_init(struct sim_exec *e, struct world *w, bool fifo);

struct sim_node {
    struct world *world;
    struct store *log_store, *meta_store, *data;
    struct meta *meta;
    struct log_server *log_server;
    struct log_node *log_node;
    struct invoker *invoker;
    struct worker *worker;
    struct node_id self;
    bool registered; /* the schema is there: calls may be made */
    bool provisioned;
};
struct sim_node *sim_node_start(struct world *w);

void sim_service_start(struct world *w);
