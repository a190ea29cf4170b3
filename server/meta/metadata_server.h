/* SPDX-License-Identifier: Apache-2.0 */
/* meta/metadata_server.h : the role metadata-server: this node's member of the Raft group that holds the metadata, or
 * its standby (spec cluster.md §4). Serves SERVICE_METADATA_SERVER and SERVICE_METADATA_RAFT on the fabric.
 *
 *     awaiting provisioning -> metadata_server_provision() -> member, alone
 *     awaiting provisioning, standby -> the leader adds it as a learner (JOIN) -> member
 *
 * One loop. Callbacks never run inside the call that registered them. */
#pragma once
#include "meta/kv.h"
#include "meta/raft.h"
#include "meta/types.h"
#include "net/fabric.h"

struct store;
struct metadata_server;

enum metadata_request {                    /* message types of SERVICE_METADATA_SERVER; bodies: md_request, md_reply */
                        METADATA_GET = 1,  /* key -> value; linearizable */
                        METADATA_PUT = 2,  /* put -> version; MD_MISMATCH with the current value */
                        METADATA_SYNC = 3, /* since, wait_ms -> values changed since, index; any member answers from
                                              what it applied */
                        METADATA_STATUS = 4,    /* -> status; always answered */
                        METADATA_JOIN = 5,      /* node, created -> accepted; asked until the member is in the group */
                        METADATA_REMOVE = 6,    /* node */
                        METADATA_ADD = 7,       /* asks a standby to join */
                        METADATA_PROVISION = 8, /* nodes_config */
};
enum metadata_state { METADATA_AWAITING, METADATA_IS_STANDBY, METADATA_IS_MEMBER };

struct metadata_server_params {
    struct loop *loop;
    struct store *store; /* `meta`, SYNC */
    struct fabric *fabric;
    const char *cluster_name;                 /* copied */
    const char *node_name;                    /* copied */
    uint32_t node_id;                         /* from the node's marker; 0: not known yet */
    uint32_t first_id;                        /* of the node that provisions: force-node-id, or 1 */
    bool auto_join;                           /* a standby asks to become a member by itself */
    uint64_t tick_ns;                         /* 0: 100 ms */
    unsigned election_ticks, heartbeat_ticks; /* 0: 10, 2 */
    uint64_t snapshot_entries;                /* 0: 1000 */
    /* A value was applied here (also at open, for all that are known, and after a snapshot). @value NULL: removed. */
    void (*changed)(void *arg, const char *key, uint32_t version, struct bytes *value);
    /* (may be NULL) The group has another leader. From inside the server, which must not be called there. */
    void (*led)(void *arg, uint32_t node);
    /* Where members listen. NULL: not known. Borrowed until the loop turns. */
    const char *(*address)(void *arg, uint32_t node);
    /* Members (plain ids, not me) as the nodes configuration names them; a standby asks them. Returns how many. */
    uint32_t (*members)(void *arg, uint32_t *ret, uint32_t max);
    /* false: the nodes configuration calls this node a standby: it asks for membership only after METADATA_ADD. NULL:
     * true. */
    bool (*may_join)(void *arg);
    void *arg;
};
/* metadata_server_open() - blocking. A store that a lone node of an older version wrote is taken over. RS_ECORRUPT. The
 * first `changed` come inside. */
int metadata_server_open(const struct metadata_server_params *p, struct metadata_server **ret,
                         struct err *err) RS_WARN_UNUSED;
/* metadata_server_close() - no callback afterwards; before the store closes. NULL. */
struct metadata_server *metadata_server_close(struct metadata_server *s);

/* metadata_server_provision() - found a cluster: @nodes_config is its first value, this member the only one. @done:
 * RS_EEXIST when it is provisioned already. */
typedef void (*metadata_done_fn)(void *arg, int status, const struct err *err);
void metadata_server_provision(struct metadata_server *s, struct slice nodes_config, metadata_done_fn done, void *arg);
/* metadata_server_joined() - the node knows its id now; a standby may ask for membership. @fingerprint of the cluster.
 */
void metadata_server_joined(struct metadata_server *s, uint32_t node_id, uint64_t fingerprint);
void metadata_server_step_down(struct metadata_server *s); /* hand the leadership to another member; a hint */

/* metadata_server_gone() - node @id is gone, says the failure detector: no need to wait for it as leader. */
void metadata_server_gone(struct metadata_server *s, uint32_t id);

struct metadata_server_status {
    enum metadata_state state;
    struct raft_status raft; /* METADATA_IS_MEMBER */
    uint64_t snapshot_bytes;
};
void metadata_server_status(const struct metadata_server *s, struct metadata_server_status *ret);

/* metadata_stored() - what a stopped node's `meta` store holds, as far as it knows it to be committed; blocking, for
 * tools.
 * @ret is the caller's, kv_done(). RS_ECORRUPT. */
int metadata_stored(struct store *store, struct kv *ret, struct err *err) RS_WARN_UNUSED;
