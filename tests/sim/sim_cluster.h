/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_cluster.h : several nodes, each with its disk, loop, clock and network identity, and what is checked
 * about them.
 *
 * cluster (sim_cluster.c): what happens next, a run. faults (sim_faults.c): what goes wrong. operator (sim_operator.c):
 * commands to the cluster, and the repair of a node that lost its disk. host (sim_host.c, sim_stop.c): one machine and
 * the node on it, the server's own modules put together as node.c, node_cluster.c and node_stop.c do. check
 * (sim_check.c): invariants of replicas, leaders and chains. */
#pragma once
#include "control/cluster_ctrl.h"
#include "control/control.h"
#include "log/log.h"
#include "log/log_fabric.h"
#include "log/log_server.h"
#include "meta/cluster.h"
#include "meta/metadata_client.h"
#include "meta/metadata_server.h"
#include "sim_net.h"
#include "storage/sim_storage.h"

enum { EXEC_LOG, EXEC_META, EXEC_DATA, EXEC_POOL, EXEC_SNAPSHOTS, HOST_EXECS };
enum { MAX_NODES = 7, CLUSTER_PARTITIONS = 2, CLUSTER_REPLICAS = 3, MAX_EPOCHS = 4096, MAX_SUMS = 4096 };
struct cluster;

struct sim_node { /* one process */
    struct host *host;
    struct store *log_store, *meta_store, *data;
    struct fabric *fabric;
    struct meta *meta;
    struct metadata_server *metadata_server;
    struct meta_watch entering, entering2; /* wait for logs and partition table */
    bool entered;
    struct log_server *log_server;
    struct log_fabric *log_fabric;
    struct log_node *log_node;
    struct invoker *invoker;
    struct worker *worker;
    struct control *control;
    struct cluster_ctrl *cluster_ctrl;
    struct node_id self;
    enum storage_state storage_state;
    bool registering; /* the schema is being written */
    bool stopping;    /* host_stop() */
};

struct host { /* one machine; host id and node id are the same number, from 1 */
    struct cluster *cluster;
    unsigned id;
    struct net_host *net;
    struct sim_disk *disk;
    char name[8], uri[32], address[32];
    int64_t skew_ns;   /* of its wall clock */
    int64_t drift_ppm; /* its clocks run faster by so many millionths */
    /* what the marker in its directory says */
    uint64_t fingerprint;
    uint32_t node_id;
    /* of the present process; loop NULL: none runs */
    struct loop *loop;
    struct loop_env env;
    struct sim_exec execs[HOST_EXECS]; /* writers of the three stores, cold reads, snapshots */
    struct sim_node *node;
    char failure[320];   /* why the process ended itself; "": it did not */
    uint64_t restart_ns; /* when the next one starts */
    uint64_t end_ns;     /* it was stopped: when it is gone at the latest; 0: it runs */
    uint64_t paused_ns;  /* it does nothing before */
    bool lost_disk;
};
/* host_init() - the machine, with an empty disk. */
void host_init(struct host *h, struct cluster *c, unsigned id);
void host_boot(struct host *h);
/* host_next_ns() - when its loop has something to do, in the world's time. */
uint64_t host_next_ns(const struct host *h);
/* host_stop() - as with SIGTERM; it has ended at host.end_ns. */
void host_stop(struct host *h);
/* host_crash() - the process ends at once; @power: its machine too, until host_boot(). */
void host_crash(struct host *h, bool power);
bool host_serves(const struct host *h); /* it can be called and knows the service */

struct replica_sum {
    uint32_t partition;
    lsn_t lsn;
    uint64_t sum;
};
struct checks {
    struct { /* by partition and epoch, in a ring: who led */
        uint32_t partition, node;
        epoch_t epoch;
    } leads[MAX_EPOCHS];
    struct replica_sum sums[MAX_SUMS];
    size_t n_leads, n_sums;
    struct {
        uint64_t *hash; /* by LSN, of the record; 0: none was applied yet */
        size_t n;
    } records[CLUSTER_PARTITIONS];
    struct logs_config *logs; /* the newest seen */
    struct {                  /* by partition: a segment without all its copies; since 0: none */
        uint32_t index;
        uint64_t since_ns;
    } doubt[CLUSTER_PARTITIONS];
    unsigned longest_chain, chain_limit; /* segments; 0: no limit */
    unsigned compared;                   /* checksums that met an equal LSN of another time or node */
};

enum fault {
    F_KILL,
    F_POWER,
    F_BLACKOUT,
    F_STOP,
    F_CUT,
    F_MEND,
    F_SLOW,
    F_RESET,
    F_PAUSE,
    F_DISK,
    F_LOSE_DISK,
    F_PROGRAM, /* an operator orders about invocations */
    F_ORDER,   /* or about the cluster */
    F_FLAP,
    F_REPAIR,
    F_SUMS,
    N_FAULTS
};
struct plan {
    uint64_t interval_ns[N_FAULTS], next_ns[N_FAULTS]; /* interval 0: never */
    uint64_t end_ns;
};
enum repair { REPAIR_NOTHING, REPAIR_REMOVE, REPAIR_ADD, REPAIRED };

struct cluster {
    struct world w;
    uint64_t now_ns;
    struct net net;
    struct host hosts[MAX_NODES];
    unsigned n, copies; /* nodes; copies of a record */
    bool early;         /* faults begin while the cluster forms */
    unsigned replicas;  /* of a partition; 0: one on every node */
    bool flapping;      /* leaders are moved all the time */
    uint64_t replace_delay_ns;
    struct plan plan;
    struct host *lost; /* the one that lost its disk */
    enum repair repair;
    struct loop *service_loop;
    struct loop_env service_env;
    struct sim_service service;
    struct clients clients;
    struct checks checks;
    unsigned crashes, cuts, pauses, disk_faults, slow_links, orders;
};

void cluster_step(struct cluster *c);             /* the next event */
void cluster_register_service(struct cluster *c); /* again and again */
/* silent_run() - nodes that fall silent (sim_silent.c); the longest wait of a client, ns. */
uint64_t silent_run(struct cluster *c);

void faults_plan(struct cluster *c); /* draws what will happen from now on */
void faults_strike(struct cluster *c);
void faults_heal(struct cluster *c);

void operator_order(struct cluster *c); /* something to the cluster, drawn from the seed */
void operator_flap(struct cluster *c);  /* another node shall lead a partition */
/* operator_knows() - all nodes are known to be full members, and no record is on @lost alone: it may lose its disk. */
bool operator_knows(struct cluster *c, const struct host *lost);
void operator_repair(struct cluster *c); /* the next step for a node that lost its disk; again and again */
void operator_settle(struct cluster *c); /* no node is drained, no leader pinned, ..; again and again */

/* check_record() - @h applied a record. */
void check_record(struct cluster *c, const struct host *h, uint32_t partition, lsn_t lsn, const struct record_view *r);
/* check_step() - cheap, often: leaders, chains, broken partitions. check_sums() - asks one replica for a checksum. */
void check_step(struct cluster *c);
void check_sums(struct cluster *c);
/* check_converged() - all replicas of all partitions at equal LSNs, as far as this can be seen; asks for checksums. */
bool check_converged(struct cluster *c);
void check_unconverged(struct cluster *c); /* says which replica is where */
