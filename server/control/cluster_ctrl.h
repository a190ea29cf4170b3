/* SPDX-License-Identifier: Apache-2.0 */
/* control/cluster_ctrl.h : SERVICE_CLUSTER_CTRL: the cluster's state as this node knows it, the cluster's
 * configuration, and what operators do to logs (spec cluster.md §19.2, §21). Served by every node that joined; the
 * state is answered without a quorum.
 *
 * One loop. */
#pragma once
#include "control/control.h"

struct log_node;
struct cluster_ctrl;

enum cluster_ctrl_message {                         /* numbers on the wire: only add */
                            CLUSTER_STATE = 1,      /* -> cluster_state */
                            CLUSTER_SET_CONFIG = 3, /* request: config with what shall change, nodeset_size if
 has_nodeset_size -> response: version */
                            CLUSTER_FIND_TAIL,      /* request: log_id -> response: lsn, sealed, segment */
                            CLUSTER_TRIM,           /* request: log_id, lsn -> response: lsn */
                            CLUSTER_DESCRIBE,       /* request: log_id -> response: lsn (trim point) */
                            CLUSTER_SEAL, /* request: log_id, segment + 1 (0: whichever is the tail's), key (reason) ->
                                           * response: lsn
                                           */
                            CLUSTER_SNAPSHOT, /* request: log_id (partition), lsn (at least) -> response: text (snapshot
                                                 id), lsn */
                            CLUSTER_SYNC_EPOCH, /* request: log_id (partition) -> response */
};

struct cluster_ctrl_params {
    struct loop *loop;
    struct fabric *fabric;
    struct meta *meta;
    struct control *control;
    struct log_node *log_node;
    struct worker *worker; /* NULL: no partition runs here */
};
struct cluster_ctrl *cluster_ctrl_open(const struct cluster_ctrl_params *p);
struct cluster_ctrl *cluster_ctrl_close(struct cluster_ctrl *c); /* before control, log layer and metadata; NULL */
