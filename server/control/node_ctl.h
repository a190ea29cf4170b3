/* SPDX-License-Identifier: Apache-2.0 */
/* control/node_ctl.h : SERVICE_NODE_CTL: who is this node, what metadata does it know, found a cluster. Served as soon
 * as the fabric listens, also by a node that has not joined, or cannot (spec cluster.md §21).
 *
 * One loop. */
#pragma once
#include "meta/cluster.h"
#include "net/fabric.h"

enum node_ctl_message {                 /* numbers on the wire: only add */
                        NODE_IDENT = 1, /* -> ident */
                        NODE_METADATA, /* request: key -> response: version and value of the local copy; 0: not known */
                        NODE_PROVISION, /* request: config, dry_run -> response: config. RS_EEXIST: it was before */
};
enum node_status { NODE_UNKNOWN, NODE_STARTING, NODE_ALIVE, NODE_SHUTTING_DOWN }; /* on the wire */

struct node_facts { /* as of now; strings borrowed until the loop turns */
    enum node_status status;
    struct node_id self;
    uint64_t fingerprint, uptime_ms;
    uint32_t roles;
    const char *cluster_name, *node_name, *address, *version;
    const char *storage, *transport;                           /* plugins */
    const char *metadata_server, *log_server, *worker, *admin; /* status of a role, "" when it is off */
    uint32_t versions[N_VERSIONS];
    struct provision_params provision; /* what provisioning would write by itself */
};
struct node_ctl_params {
    struct loop *loop;
    struct fabric *fabric;
    struct meta *meta;
    bool may_provision; /* has a metadata server */
    void (*facts)(void *arg, struct node_facts *ret);
    void *arg;
};
struct node_ctl;
struct node_ctl *node_ctl_open(const struct node_ctl_params *p);
struct node_ctl *node_ctl_close(struct node_ctl *c); /* before meta_free(); NULL */
