/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/nodes_config.h"

#include <inttypes.h>
#include <stdio.h>
#include "meta/json.h"

static const char *const storage_states[] = {"provisioning", "read-write", "read-only",
                                             "gone",         "data-loss",  "disabled"};
static const char *const metadata_states[] = {"standby", "member", "provisioning"};
static const char *const worker_states[] = {"provisioning", "active", "draining", "disabled"};
static const struct {
    unsigned role;
    const char *word;
} role_words[] = {{ROLE_HTTP_INGRESS, "http-ingress"},
                  {ROLE_ADMIN, "admin"},
                  {ROLE_WORKER, "worker"},
                  {ROLE_LOG_SERVER, "log-server"},
                  {ROLE_METADATA_SERVER, "metadata-server"}};

static int word_find(const char *const *words, size_t n, struct slice s) {
    for (size_t i = 0; i < n; i++)
        if (slice_eq_str(s, words[i]))
            return (int)i;
    return RS_EINVAL;
}

const char *storage_state_str(enum storage_state s) {
    return storage_states[s];
}
const char *worker_state_str(enum worker_state s) {
    return worker_states[s];
}
const char *metadata_server_state_str(enum metadata_server_state s) {
    return metadata_states[s];
}

int storage_state_parse(struct slice s, enum storage_state *ret) {
    int i = word_find(storage_states, ARRAY_SIZE(storage_states), s);

    if (i < 0)
        return i;
    *ret = (enum storage_state)i;
    return 0;
}

const char *role_str(unsigned role) {
    for (size_t i = 0; i < ARRAY_SIZE(role_words); i++)
        if (role_words[i].role == role)
            return role_words[i].word;
    return "?";
}

int role_parse(struct slice s, unsigned *ret) {
    for (size_t i = 0; i < ARRAY_SIZE(role_words); i++) {
        if (slice_eq_str(s, role_words[i].word)) {
            *ret = role_words[i].role;
            return 0;
        }
    }
    return RS_EINVAL;
}

int node_id_parse(struct slice s, struct node_id *ret) {
    uint64_t id, generation = 0;
    const uint8_t *colon;

    if (s.len && (s.data[0] == 'N' || s.data[0] == 'n'))
        s = slice_from(s, 1);
    colon = s.len ? memchr(s.data, ':', s.len) : NULL;
    if (colon) {
        size_t at = (size_t)(colon - s.data);

        if (json_parse_u64(slice_from(s, at + 1), &generation) < 0 || generation == 0)
            return RS_EINVAL;
        s.len = at;
    }
    if (json_parse_u64(s, &id) < 0 || id == 0 || id > UINT32_MAX || generation > UINT32_MAX)
        return RS_EINVAL;
    *ret = (struct node_id){(uint32_t)id, (uint32_t)generation};
    return 0;
}

/* ---- find, add, free ---- */

const struct node_entry *nodes_config_find(const struct nodes_config *c, uint32_t id) {
    for (size_t i = 0; i < c->n_nodes; i++)
        if (c->nodes[i].id.id == id)
            return &c->nodes[i];
    return NULL;
}

const struct node_entry *nodes_config_by_name(const struct nodes_config *c, const char *name) {
    for (size_t i = 0; i < c->n_nodes; i++)
        if (!c->nodes[i].tombstone && c->nodes[i].name && strcmp(c->nodes[i].name, name) == 0)
            return &c->nodes[i];
    return NULL;
}

struct node_entry *nodes_config_add(struct nodes_config *c, uint32_t id) {
    size_t at = 0;

    ASSERT(!nodes_config_find(c, id));
    c->nodes = xrealloc(c->nodes, (c->n_nodes + 1) * sizeof *c->nodes);
    while (at < c->n_nodes && c->nodes[at].id.id < id)
        at++;
    memmove(&c->nodes[at + 1], &c->nodes[at], (c->n_nodes - at) * sizeof *c->nodes);
    memset(&c->nodes[at], 0, sizeof *c->nodes);
    c->nodes[at].id.id = id;
    c->n_nodes++;
    return &c->nodes[at];
}

struct nodes_config *nodes_config_free(struct nodes_config *c) {
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->n_nodes; i++) {
        struct node_entry *e = &c->nodes[i];

        free(e->name);
        free(e->address);
        free(e->ctrl_address);
        free(e->location);
        free(e->binary_version);
    }
    for (size_t i = 0; i < c->n_features; i++)
        free(c->features[i]);
    free(c->features);
    free(c->nodes);
    free(c->cluster_name);
    free(c);
    return NULL;
}

/* ---- JSON ---- */

/* {"outer":{"inner":word}} of a node entry; absent: *ret stays. */
static int parse_state(const json_t *o, const char *outer, const char *inner, const char *const *words, size_t n,
                       int *ret, struct err *err) {
    char *word = NULL;
    json_t *sub;
    int r = json_field_obj(o, outer, false, &sub, err), i;

    if (r < 0 || !sub)
        return r;
    r = json_field_str(sub, inner, false, &word, err);
    if (r < 0 || !word)
        return r;
    i = word_find(words, n, slice_str(word));
    if (i < 0)
        r = err_set(err, RS_ECORRUPT, "field \"%s\": unknown word \"%.40s\"", inner, word);
    else
        *ret = i;
    free(word);
    return r;
}

static int parse_roles(const json_t *o, uint32_t *ret, struct err *err) {
    json_t *roles, *v;
    size_t i;
    int r = json_field_arr(o, "roles", true, &roles, err);

    if (r < 0)
        return r;
    json_array_foreach(roles, i, v) {
        unsigned role;

        if (!json_is_string(v) || role_parse(slice_of(json_string_value(v), json_string_length(v)), &role) < 0)
            return err_set(err, RS_ECORRUPT, "field \"roles\": unknown role");
        *ret |= role;
    }
    return 0;
}

static int parse_node(struct node_entry *e, const json_t *o, struct err *err) {
    int storage = STORAGE_PROVISIONING, metadata = METADATA_STANDBY, worker = WORKER_PROVISIONING, r;
    struct node_id id = {0};
    char *text = NULL;

    r = json_field_str(o, "current_generation", true, &text, err);
    if (r < 0)
        return r;
    if (node_id_parse(slice_str(text), &id) < 0 || id.id != e->id.id || id.generation == 0)
        r = err_set(err, RS_ECORRUPT, "field \"current_generation\": \"%.40s\" does not fit", text);
    free(text);
    e->id = r < 0 ? e->id : id;
    r = r < 0 ? r : json_field_str(o, "name", true, &e->name, err);
    r = r < 0 ? r : json_field_str(o, "address", true, &e->address, err);
    r = r < 0 ? r : json_field_str(o, "ctrl_address", false, &e->ctrl_address, err);
    e->location = xstrdup("");
    e->binary_version = xstrdup("");
    r = r < 0 ? r : json_field_str(o, "location", false, &e->location, err);
    r = r < 0 ? r : json_field_str(o, "binary_version", false, &e->binary_version, err);
    r = r < 0 ? r : json_field_u32(o, "feature_level", false, &e->feature_level, err);
    r = r < 0 ? r : json_field_u64(o, "instance", false, &e->instance, err);
    r = r < 0 ? r : parse_roles(o, &e->roles, err);
    r = r < 0 ? r
              : parse_state(o, "log_server_config", "storage_state", storage_states, ARRAY_SIZE(storage_states),
                            &storage, err);
    r = r < 0 ? r
              : parse_state(o, "metadata_server_config", "metadata_server_state", metadata_states,
                            ARRAY_SIZE(metadata_states), &metadata, err);
    r = r < 0 ? r
              : parse_state(o, "worker_config", "worker_state", worker_states, ARRAY_SIZE(worker_states), &worker, err);
    e->storage_state = (enum storage_state)storage;
    e->metadata_state = (enum metadata_server_state)metadata;
    e->worker_state = (enum worker_state)worker;
    return r;
}

static int parse_nodes(struct nodes_config *c, json_t *nodes, struct err *err) {
    const char *key;
    json_t *v;

    json_object_foreach(nodes, key, v) {
        struct node_id id;
        struct node_entry *e;
        int r;

        if (node_id_parse(slice_str(key), &id) < 0 || id.generation || nodes_config_find(c, id.id))
            return err_set(err, RS_ECORRUPT, "\"%.40s\" is not a node id", key);
        e = nodes_config_add(c, id.id);
        if (json_is_string(v) && strcmp(json_string_value(v), "tombstone") == 0) {
            e->tombstone = true;
            continue;
        }
        r = json_is_object(v) ? parse_node(e, v, err)
                              : err_set(err, RS_ECORRUPT, "neither an object nor \"tombstone\"");
        if (r < 0)
            return err_wrap(err, r, "node %s", key);
    }
    return 0;
}

static int parse_features(struct nodes_config *c, json_t *a, struct err *err) {
    json_t *v;
    size_t i;

    if (!a)
        return 0;
    c->features = xnewn(char *, json_array_size(a) + 1);
    json_array_foreach(a, i, v) {
        if (!json_is_string(v))
            return err_set(err, RS_ECORRUPT, "field \"features\": not a text");
        c->features[c->n_features++] = xstrdup(json_string_value(v));
    }
    return 0;
}

int nodes_config_parse(struct slice json, struct nodes_config **ret, struct err *err) {
    _cleanup_(nodes_config_freep) struct nodes_config *c = xnew(struct nodes_config);
    _cleanup_json_ json_t *o = NULL;
    json_t *nodes = NULL, *features = NULL;
    int r = json_parse(json, "nodes configuration", &o, err);

    if (r < 0)
        return r;
    r = json_field_u32(o, "version", true, &c->version, err);
    r = r < 0 ? r : json_field_str(o, "cluster_name", true, &c->cluster_name, err);
    r = r < 0 ? r : json_field_u64(o, "cluster_fingerprint", true, &c->fingerprint, err);
    r = r < 0 ? r : json_field_u32(o, "feature_level", false, &c->feature_level, err);
    r = r < 0 ? r : json_field_u64(o, "modified_at", false, &c->modified_at_ms, err);
    r = r < 0 ? r : json_field_arr(o, "features", false, &features, err);
    r = r < 0 ? r : parse_features(c, features, err);
    r = r < 0 ? r : json_field_obj(o, "nodes", true, &nodes, err);
    r = r < 0 ? r : parse_nodes(c, nodes, err);
    if (r < 0)
        return err_wrap(err, r, "nodes configuration");
    if (c->fingerprint == 0)
        return err_set(err, RS_ECORRUPT, "nodes configuration: the fingerprint is 0");
    *ret = TAKE(c);
    return 0;
}

static json_t *state_json(const char *name, const char *word) {
    json_t *o = json_object();

    json_put(o, name, json_string(word));
    return o;
}

static json_t *node_json(const struct node_entry *e) {
    json_t *o, *roles;
    char id[32];

    if (e->tombstone)
        return json_string("tombstone");
    o = json_object();
    roles = json_array();
    snprintf(id, sizeof id, NODE_ID_FMT, NODE_ID_ARG(e->id));
    json_put(o, "name", json_text(e->name));
    json_put(o, "current_generation", json_string(id));
    json_put(o, "address", json_text(e->address));
    if (e->ctrl_address)
        json_put(o, "ctrl_address", json_text(e->ctrl_address));
    for (size_t i = 0; i < ARRAY_SIZE(role_words); i++)
        if (e->roles & role_words[i].role)
            (void)json_array_append_new(roles, json_string(role_words[i].word));
    json_put(o, "roles", roles);
    json_put(o, "location", json_text(e->location));
    json_put(o, "log_server_config", state_json("storage_state", storage_states[e->storage_state]));
    json_put(o, "metadata_server_config", state_json("metadata_server_state", metadata_states[e->metadata_state]));
    json_put(o, "worker_config", state_json("worker_state", worker_states[e->worker_state]));
    json_put(o, "binary_version", json_text(e->binary_version));
    json_put(o, "feature_level", json_u64(e->feature_level));
    if (e->instance)
        json_put(o, "instance", json_u64_str(e->instance));
    return o;
}

void nodes_config_encode(const struct nodes_config *c, struct buf *out) {
    _cleanup_json_ json_t *o = json_object();
    json_t *nodes = json_object(), *features = json_array();

    for (size_t i = 0; i < c->n_features; i++)
        (void)json_array_append_new(features, json_text(c->features[i]));
    for (size_t i = 0; i < c->n_nodes; i++) {
        char id[16];

        snprintf(id, sizeof id, "%" PRIu32, c->nodes[i].id.id);
        json_put(nodes, id, node_json(&c->nodes[i]));
    }
    json_put(o, "version", json_u64(c->version));
    json_put(o, "cluster_name", json_text(c->cluster_name));
    json_put(o, "cluster_fingerprint", json_u64_str(c->fingerprint));
    json_put(o, "features", features);
    json_put(o, "feature_level", json_u64(c->feature_level));
    json_put(o, "modified_at", json_u64(c->modified_at_ms));
    json_put(o, "nodes", nodes);
    json_write(o, out);
}
