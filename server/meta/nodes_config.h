/* SPDX-License-Identifier: Apache-2.0 */
/* meta/nodes_config.h : the nodes configuration (spec cluster.md §3.3): who is in the cluster. Parsed values are plain
 * structs with one owner; encoding is compact JSON with sorted keys. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "meta/types.h"

enum storage_state {
    STORAGE_PROVISIONING,
    STORAGE_READ_WRITE,
    STORAGE_READ_ONLY,
    STORAGE_GONE,
    STORAGE_DATA_LOSS,
    STORAGE_DISABLED
};
enum metadata_server_state { METADATA_STANDBY, METADATA_MEMBER, METADATA_PROVISIONING };
enum worker_state { WORKER_PROVISIONING, WORKER_ACTIVE, WORKER_DRAINING, WORKER_DISABLED };

struct node_entry {
    struct node_id id; /* plain id and current generation */
    bool tombstone;    /* removed: only id.id is set, the plain id is never given out again */
    char *name;
    char *address;
    char *ctrl_address; /* NULL: none */
    char *location;     /* "region[.zone]", "" when not set */
    char *binary_version;
    uint32_t roles;    /* ROLE_* */
    uint64_t instance; /* random, of the process that wrote the current generation: it knows its own write again */
    uint32_t feature_level;
    enum storage_state storage_state;
    enum metadata_server_state metadata_state;
    enum worker_state worker_state;
};

struct nodes_config {
    uint32_t version;
    char *cluster_name;
    uint64_t fingerprint; /* != 0 */
    uint32_t feature_level;
    uint64_t modified_at_ms;
    char **features;
    size_t n_features;
    struct node_entry *nodes; /* by plain id */
    size_t n_nodes;
};

int nodes_config_parse(struct slice json, struct nodes_config **ret, struct err *err) RS_WARN_UNUSED; /* RS_ECORRUPT */
void nodes_config_encode(const struct nodes_config *c, struct buf *out);
struct nodes_config *nodes_config_free(struct nodes_config *c);
DEFINE_CLEANUP(nodes_config, nodes_config_free)
/* By plain id or name; NULL when unknown. A tombstone is found by id only. */
const struct node_entry *nodes_config_find(const struct nodes_config *c, uint32_t id);
const struct node_entry *nodes_config_by_name(const struct nodes_config *c, const char *name);
/* nodes_config_add() - a zeroed entry in its place; @id must be new. The pointer is valid until the next add. */
struct node_entry *nodes_config_add(struct nodes_config *c, uint32_t id);

/* Words used in JSON and in configuration. Parsers return RS_EINVAL for unknown words. */
const char *storage_state_str(enum storage_state s);
int storage_state_parse(struct slice s, enum storage_state *ret) RS_WARN_UNUSED;
const char *worker_state_str(enum worker_state s);
const char *metadata_server_state_str(enum metadata_server_state s);
const char *role_str(unsigned role);                          /* one bit */
int role_parse(struct slice s, unsigned *ret) RS_WARN_UNUSED; /* one bit */
/* "N3:7" and "N3" (or "3": generation 0). */
int node_id_parse(struct slice s, struct node_id *ret) RS_WARN_UNUSED;
