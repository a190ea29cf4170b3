/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_cluster.h : several nodes, each with its disk, loop, clock and network identity, and what is checked
 * about them.
 *
 * cluster (sim_cluster.c): what happens next, faults, a run. host (sim_host.c): one machine and the node on it, the
 * server's own modules put together as node.c and node_cluster.c do. check (sim_check.c): invariants of replicas,
 * leaders and chains. */
#pragma once
#include "control/control.h"
#include "log/log.h"
#include "log/log_fabric.h"
#include "log/log_server.h"
#include "meta/cluster.h"
#include "meta/metadata_client.h"
#include "meta/metadata_server.h"
#include "sim_net.h"
#include "storage/sim_storage.h"

enum { MAX_NODES = 5, CLUSTER_PARTITIONS = 2, CLUSTER_REPLICAS = 3, MAX_EPOCHS = 4096, MAX_SUMS = 4096 };
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
    struct node_id self;
    enum storage_state storage_state;
    bool registering; /* the schema is being written */
};

struct host { /* one machine; host id and node id are the same number, from 1 */
    struct cluster *cluster;
    unsigned id;
    struct net_host *net;
    struct sim_disk *disk;
    char name[8], uri[32], address[32];
    int64_t skew_ns; /* of its wall clock */
    /* what the marker in its directory says */
    uint64_t fingerprint;
    uint32_t node_id;
    /* of the present process; loop NULL: none runs */
    struct loop *loop;
    struct loop_env env;
    struct sim_exec writers[3], pool;
    struct sim_node *node;
    char failure[320];   /* why the process ended itself; "": it did not */
    uint64_t restart_ns; /* when the next one starts */
    uint64_t paused_ns;  /* it does nothing before */
    unsigned crashes;
};
/* host_init() - the machine, with an empty disk. */
void host_init(struct host *h, struct cluster *c, unsigned id);
void host_boot(struct host *h);
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
    struct logs_config *logs; /* the newest seen */
    unsigned longest_chain;
    unsigned compared; /* checksums that met an equal LSN of another time or node */
};

struct cluster {
    struct world w;
    uint64_t now_ns;
    struct net net;
    struct host hosts[MAX_NODES];
    unsigned n, copies; /* nodes; copies of a record */
    bool early;         /* faults begin while the cluster forms; then logs are not trimmed: late replicas read them */
    struct loop *service_loop;
    struct loop_env service_env;
    struct sim_service service;
    struct clients clients;
    struct checks checks;
    unsigned crashes, cuts, pauses, disk_faults, slow_links;
};

/* check_step() - cheap, often: leaders, chains, broken partitions. check_sums() - asks one replica for a checksum. */
void check_step(struct cluster *c);
void check_sums(struct cluster *c);
/* check_converged() - all replicas of all partitions at equal LSNs, as far as this can be seen; asks for checksums. */
bool check_converged(struct cluster *c);
void check_unconverged(struct cluster *c); /* says which replica is where */
