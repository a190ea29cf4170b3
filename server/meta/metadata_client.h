/* SPDX-License-Identifier: Apache-2.0 */
/* meta/metadata_client.h : the provider of struct meta in a cluster: writes go to the leader of the metadata group over
 * the fabric, values come from the group by long polls, and at once where this node is a member itself.
 *
 * A write is answered RS_ETIMEDOUT only when its outcome is unknown; what certainly did not happen is tried again, here
 * or at another member, until its deadline. */
#pragma once
#include "meta/meta.h"
#include "net/fabric.h"

struct metadata_client_params {
    struct loop *loop;
    struct fabric *fabric;
    const char *cluster_name;     /* copied */
    const char *const *addresses; /* metadata-client.addresses: where to begin. Copied */
    size_t n_addresses;
    bool has_server; /* this node has the role metadata-server: it is asked first */
};
struct meta *metadata_client_open(const struct metadata_client_params *p);
/* metadata_client_changed() - this node's own metadata server applied a value. */
void metadata_client_changed(struct meta *m, const char *key, uint32_t version, struct bytes *value);
/* metadata_client_led() - this node's own metadata server knows a new leader, @leader (plain id). Writes that others
 * were asked for are not waited for any longer, who led before may be silent: RS_ETIMEDOUT in a later turn. */
void metadata_client_led(struct meta *m, uint32_t leader);
/* metadata_client_resolve() - for struct fabric_params: current generation and address by the nodes configuration. */
int metadata_client_resolve(const struct meta *m, uint32_t id, struct node_id *ret_current, const char **ret_address);
uint32_t metadata_client_members(const struct meta *m, uint32_t *ret, uint32_t max); /* but this node */
void metadata_client_set_self(struct meta *m, struct node_id self, uint64_t fingerprint);
/* metadata_client_versions() - of the global kinds, for the headers of messages; seen(): another node knows newer ones.
 */
void metadata_client_versions(const struct meta *m, uint32_t ret[N_VERSIONS]);
void metadata_client_seen(struct meta *m, const uint32_t versions[N_VERSIONS]);
/* metadata_client_provision() - ask this node's metadata server to found the cluster. RS_EEXIST: it was founded before.
 */
void metadata_client_provision(struct meta *m, struct slice nodes_config, meta_cas_fn done, void *arg);
/* metadata_client_asked() - each configured address answered that it knows of no cluster, or could not be asked, at
 * least once. A cluster that one of them knows is in metadata_client_nodes() by then. */
bool metadata_client_asked(const struct meta *m);
/* The nodes configuration, parsed; NULL while it is not known. Borrowed until the loop turns. */
struct nodes_config;
const struct nodes_config *metadata_client_nodes(const struct meta *m);
