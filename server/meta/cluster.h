/* SPDX-License-Identifier: Apache-2.0 */
/* meta/cluster.h : provisioning of a new cluster and joining of a node (spec cluster.md §2.2, §2.3), on top of struct
 * meta. */
#pragma once
#include "meta/meta.h"
#include "meta/nodes_config.h"

struct provision_params {
    const char *cluster_name;
    uint32_t num_partitions;           /* 0..65535 */
    const char *partition_replication; /* NULL: everywhere */
    const char *log_replication;       /* "1", "{node: 2}" */
    uint32_t target_nodeset_size;      /* 0: automatic */
    bool without_idempotent_sharding;  /* leave the feature `controlled-idempotent-sharding` off */
};
/* cluster_provision() - write nodes configuration, logs, partition table, in this order, each only where it is missing.
 * @done: status 0, @newly says whether this call created the cluster. Strings are copied. */
typedef void (*cluster_provision_fn)(void *arg, int status, bool newly, const struct err *err);
void cluster_provision(struct meta *m, const struct provision_params *p, cluster_provision_fn done, void *arg);

struct join_params {
    const char *cluster_name, *node_name;
    const char *address;      /* advertised address of the fabric */
    const char *ctrl_address; /* NULL: none */
    const char *location;     /* NULL or "": none */
    const char *binary_version;
    uint32_t roles;
    uint32_t force_node_id; /* 0: none */
    uint32_t feature_level;
    uint64_t fingerprint; /* from the marker; 0: not known yet */
    uint32_t node_id;     /* from the marker; 0: not known yet */
    bool metadata_auto_join;
};
struct join_result {
    struct node_id self;
    uint64_t fingerprint;
    enum storage_state storage_state;
};
/* cluster_join() - register in the nodes configuration: bump my generation, or add me. A single-node provider needs no
 * waiting; with others the call waits until the cluster is provisioned or @deadline_ns passed (0: for ever). RS_EPERM:
 * wrong cluster name, fingerprint, node id, or a racing process with my name: do not try again. Strings are copied. */
typedef void (*cluster_join_fn)(void *arg, int status, const struct join_result *res, const struct err *err);
void cluster_join(struct meta *m, const struct join_params *p, uint64_t deadline_ns, cluster_join_fn done, void *arg);

/* cluster_set_storage_state() - CAS my log-server's storage state from @from to @to; other states or another generation
 * fail with RS_EPERM. */
void cluster_set_storage_state(struct meta *m, struct node_id self, enum storage_state from, enum storage_state to,
                               meta_cas_fn done, void *arg);
/* cluster_set_worker_active() - worker state provisioning -> active; other states are left alone. */
void cluster_set_worker_active(struct meta *m, struct node_id self, meta_cas_fn done, void *arg);
