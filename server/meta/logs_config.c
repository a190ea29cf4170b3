/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/logs_config.h"

#include <inttypes.h>
#include <stdio.h>
#include "meta/json.h"

/* ---- life ---- */

void segment_done(struct segment *s) {
    free(s->params.nodes);
    free(s->reason);
    memset(s, 0, sizeof *s);
}

struct segment segment_copy(const struct segment *s) {
    struct segment c = *s;

    if (s->params.nodes) {
        c.params.nodes = xnewn(uint32_t, s->params.n_nodes + 1);
        memcpy(c.params.nodes, s->params.nodes, s->params.n_nodes * sizeof *c.params.nodes);
    }
    if (s->reason)
        c.reason = xstrdup(s->reason);
    return c;
}

struct logs_config *logs_config_new(void) {
    struct logs_config *c = xnew(struct logs_config);

    c->replication = REPLICATION_ONE;
    return c;
}

static void chain_free(struct chain *ch) {
    for (size_t i = 0; i < ch->n; i++)
        segment_done(&ch->segments[i]);
    free(ch->segments);
    free(ch);
}

struct logs_config *logs_config_free(struct logs_config *c) {
    struct map_node *n;

    if (!c)
        return NULL;
    while ((n = map_iter(&c->chains, NULL))) {
        map_remove(&c->chains, n);
        chain_free(MAP_ENTRY(n, struct chain, node));
    }
    map_done(&c->chains);
    free(c);
    return NULL;
}

struct chain *logs_config_chain(const struct logs_config *c, log_id_t log_id) {
    for (struct map_node *n = map_first(&c->chains, map_hash_u64(log_id)); n; n = map_next(n))
        if (MAP_ENTRY(n, struct chain, node)->log_id == log_id)
            return MAP_ENTRY(n, struct chain, node);
    return NULL;
}

struct chain *logs_config_add(struct logs_config *c, log_id_t log_id) {
    struct chain *ch = xnew(struct chain);

    ASSERT(!logs_config_chain(c, log_id));
    ch->log_id = log_id;
    map_add(&c->chains, &ch->node, map_hash_u64(log_id));
    return ch;
}

struct logs_config *logs_config_copy(const struct logs_config *c) {
    struct logs_config *r = logs_config_new();

    r->version = c->version;
    r->replication = c->replication;
    r->target_nodeset_size = c->target_nodeset_size;
    MAP_FOREACH (n, &c->chains) {
        const struct chain *from = MAP_ENTRY(n, struct chain, node);
        struct chain *to = logs_config_add(r, from->log_id);

        to->segments = xnewn(struct segment, from->n);
        for (size_t i = 0; i < from->n; i++)
            to->segments[to->n++] = segment_copy(&from->segments[i]);
    }
    return r;
}

/* ---- parse ---- */

static int parse_replication(const json_t *o, const char *name, struct replication *ret, struct err *err) {
    char *text = NULL;
    int r = json_field_str(o, name, true, &text, err);

    if (r < 0)
        return r;
    r = replication_parse(slice_str(text), ret, err);
    free(text);
    return r < 0 ? RS_ECORRUPT : 0;
}

static int parse_nodeset(const json_t *a, struct segment_params *p, struct err *err) {
    json_t *v;
    size_t i;

    if (json_array_size(a) == 0 || json_array_size(a) > NODESET_MAX)
        return err_set(err, RS_ECORRUPT, "field \"nodeset\": %zu members", json_array_size(a));
    p->nodes = xnewn(uint32_t, json_array_size(a));
    json_array_foreach(a, i, v) {
        if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > UINT32_MAX)
            return err_set(err, RS_ECORRUPT, "field \"nodeset\": not a node id");
        p->nodes[p->n_nodes++] = (uint32_t)json_integer_value(v);
    }
    return 0;
}

static int parse_replicated(const json_t *o, struct segment_params *p, struct err *err) {
    json_t *nodeset = NULL;
    char *sequencer = NULL;
    int r = json_field_u64(o, "loglet_id", true, &p->loglet_id, err);

    r = r < 0 ? r : json_field_u64(o, "leader_epoch", false, &p->leader_epoch, err);
    r = r < 0 ? r : parse_replication(o, "replication", &p->replication, err);
    r = r < 0 ? r : json_field_arr(o, "nodeset", true, &nodeset, err);
    r = r < 0 ? r : parse_nodeset(nodeset, p, err);
    r = r < 0 ? r : json_field_str(o, "sequencer", true, &sequencer, err);
    if (r == 0 && (node_id_parse(slice_str(sequencer), &p->sequencer) < 0 || p->sequencer.generation == 0))
        r = err_set(err, RS_ECORRUPT, "field \"sequencer\": not a generational node id");
    free(sequencer);
    return r;
}

static int parse_sealed(const json_t *o, struct segment *s, struct err *err) {
    json_t *context;
    int r = json_field_u64(o, "leader_epoch", false, &s->params.leader_epoch, err);

    r = r < 0 ? r : json_field_obj(o, "context", false, &context, err);
    if (r < 0)
        return r;
    if (context)
        r = json_field_str(context, "reason", false, &s->reason, err);
    s->permanent = json_is_true(json_object_get(o, "permanent_seal"));
    return r;
}

static int parse_segment(const json_t *o, struct segment *s, struct err *err) {
    _cleanup_json_ json_t *params = NULL;
    char *kind = NULL, *text = NULL;
    int r = json_field_str(o, "kind", true, &kind, err);

    r = r < 0 ? r : json_field_u32(o, "index", true, &s->index, err);
    r = r < 0 ? r : json_field_u64(o, "created_at", false, &s->created_at_ms, err);
    r = r < 0 ? r : json_field_str(o, "params", true, &text, err);
    r = r < 0 ? r : json_parse(slice_str(text), "params", &params, err);
    if (r == 0 && (strcmp(kind, "replicated") == 0 || strcmp(kind, "local") == 0))
        r = parse_replicated(params, &s->params, err);
    else if (r == 0 && strcmp(kind, "sealed") == 0) {
        s->kind = SEGMENT_SEALED;
        r = parse_sealed(params, s, err);
    } else if (r == 0)
        r = err_set(err, RS_ECORRUPT, "field \"kind\": unknown kind \"%.40s\"", kind);
    free(kind);
    free(text);
    return r;
}

/* Bases and indexes must rise; a marker has the index of what it closes and is the last entry only. */
static int check_chain(const struct chain *c, struct err *err) {
    if (c->n == 0)
        return err_set(err, RS_ECORRUPT, "the chain is empty");
    for (size_t i = 0; i < c->n; i++) {
        const struct segment *s = &c->segments[i], *before = i ? s - 1 : NULL;

        if (s->base == 0 || (before && s->base <= before->base))
            return err_set(err, RS_ECORRUPT, "base LSNs do not rise");
        if (before && (before->kind == SEGMENT_SEALED || s->index < before->index + (s->kind != SEGMENT_SEALED)))
            return err_set(err, RS_ECORRUPT, "segment indexes do not rise");
        if (s->kind == SEGMENT_REPLICATED && s->params.loglet_id != loglet_id_make(c->log_id, s->index))
            return err_set(err, RS_ECORRUPT, "segment %" PRIu32 " names another loglet", s->index);
    }
    return 0;
}

static int segment_order(const void *a, const void *b) {
    const struct segment *x = a, *y = b;

    return (x->base > y->base) - (x->base < y->base);
}

static int parse_chain(struct chain *c, json_t *o, struct err *err) {
    const char *key;
    json_t *v;

    c->segments = xnewn(struct segment, json_object_size(o) + 1);
    json_object_foreach(o, key, v) {
        struct segment *s = &c->segments[c->n];
        int r;

        if (json_parse_u64(slice_str(key), &s->base) < 0 || !json_is_object(v))
            return err_set(err, RS_ECORRUPT, "\"%.40s\" is not a segment", key);
        c->n++;
        r = parse_segment(v, s, err);
        if (r < 0)
            return err_wrap(err, r, "segment at %s", key);
    }
    qsort(c->segments, c->n, sizeof *c->segments, segment_order);
    return check_chain(c, err);
}

static int parse_logs(struct logs_config *c, json_t *logs, struct err *err) {
    const char *key;
    json_t *v;

    json_object_foreach(logs, key, v) {
        uint64_t id;
        int r;

        if (json_parse_u64(slice_str(key), &id) < 0 || id > UINT32_MAX || !json_is_object(v) ||
            logs_config_chain(c, (log_id_t)id))
            return err_set(err, RS_ECORRUPT, "\"%.40s\" is not a log", key);
        r = parse_chain(logs_config_add(c, (log_id_t)id), v, err);
        if (r < 0)
            return err_wrap(err, r, "log %s", key);
    }
    return 0;
}

int logs_config_parse(struct slice json, struct logs_config **ret, struct err *err) {
    _cleanup_(logs_config_freep) struct logs_config *c = logs_config_new();
    _cleanup_json_ json_t *o = NULL;
    json_t *config = NULL, *logs = NULL, *provider, *replicated;
    int r = json_parse(json, "logs configuration", &o, err);

    if (r < 0)
        return r;
    r = json_field_u32(o, "version", true, &c->version, err);
    r = r < 0 ? r : json_field_obj(o, "config", true, &config, err);
    if (r < 0)
        return err_wrap(err, r, "logs configuration");
    provider = json_object_get(config, "default_provider");
    replicated = json_object_get(provider, "replicated");
    if (replicated) {
        r = parse_replication(replicated, "replication_property", &c->replication, err);
        r = r < 0 ? r : json_field_u32(replicated, "target_nodeset_size", false, &c->target_nodeset_size, err);
    } else if (!json_is_string(provider) || strcmp(json_string_value(provider), "local") != 0) {
        r = err_set(err, RS_ECORRUPT, "field \"default_provider\": unknown provider");
    }
    r = r < 0 ? r : json_field_obj(o, "logs", true, &logs, err);
    r = r < 0 ? r : parse_logs(c, logs, err);
    if (r < 0)
        return err_wrap(err, r, "logs configuration");
    *ret = TAKE(c);
    return 0;
}

/* ---- encode ---- */

static json_t *replication_json(struct replication r) {
    _cleanup_buf_ struct buf b = {0};

    replication_format(r, &b);
    return json_string(buf_cstr(&b));
}

static json_t *params_json(const struct segment *s) {
    json_t *p = json_object();

    json_put(p, "leader_epoch", json_u64(s->params.leader_epoch));
    if (s->kind == SEGMENT_SEALED) {
        json_t *context = json_object();

        if (s->reason)
            json_put(context, "reason", json_text(s->reason));
        json_put(p, "context", context);
        json_put(p, "sealed_at", json_u64(s->created_at_ms));
        if (s->permanent)
            json_put(p, "permanent_seal", json_true());
    } else {
        json_t *nodes = json_array();
        char id[32];

        snprintf(id, sizeof id, NODE_ID_FMT, NODE_ID_ARG(s->params.sequencer));
        for (uint32_t i = 0; i < s->params.n_nodes; i++)
            (void)json_array_append_new(nodes, json_u64(s->params.nodes[i]));
        json_put(p, "loglet_id", json_u64(s->params.loglet_id));
        json_put(p, "sequencer", json_string(id));
        json_put(p, "replication", replication_json(s->params.replication));
        json_put(p, "nodeset", nodes);
    }
    return p;
}

static json_t *segment_json(const struct segment *s) {
    _cleanup_json_ json_t *params = params_json(s);
    _cleanup_buf_ struct buf text = {0};
    json_t *o = json_object();

    json_write(params, &text);
    json_put(o, "kind", json_string(s->kind == SEGMENT_SEALED ? "sealed" : "replicated"));
    json_put(o, "index", json_u64(s->index));
    json_put(o, "created_at", json_u64(s->created_at_ms));
    json_put(o, "params", json_string(buf_cstr(&text)));
    return o;
}

void logs_config_encode(const struct logs_config *c, struct buf *out) {
    _cleanup_json_ json_t *o = json_object();
    json_t *config = json_object(), *provider = json_object(), *replicated = json_object(), *logs = json_object();

    json_put(replicated, "replication_property", replication_json(c->replication));
    json_put(replicated, "target_nodeset_size", json_u64(c->target_nodeset_size));
    json_put(provider, "replicated", replicated);
    json_put(config, "default_provider", provider);
    MAP_FOREACH (n, &c->chains) {
        const struct chain *ch = MAP_ENTRY(n, struct chain, node);
        json_t *segments = json_object();
        char key[24];

        for (size_t i = 0; i < ch->n; i++) {
            snprintf(key, sizeof key, "%" PRIu64, ch->segments[i].base);
            json_put(segments, key, segment_json(&ch->segments[i]));
        }
        snprintf(key, sizeof key, "%" PRIu32, ch->log_id);
        json_put(logs, key, segments);
    }
    json_put(o, "version", json_u64(c->version));
    json_put(o, "config", config);
    json_put(o, "logs", logs);
    json_write(o, out);
}
