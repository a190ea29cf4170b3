/* SPDX-License-Identifier: Apache-2.0 */
/* nodes remove | set-storage-state | set-worker-state: changes of the nodes configuration, each checked first against
 * what the cluster still needs. */
#include <inttypes.h>
#include <string.h>

#include "ctl.h"
#include "meta/epoch_metadata.h"

/* The nodes that --nodes and the words name. */
static int wanted(struct ctl *c, struct ids *ret, struct err *err) {
    const char *words[ARGS_MAX + 1];
    size_t n = 0;
    int r = client_load(c, err);

    for (size_t i = 0; i < c->args.n; i++)
        words[n++] = c->args.words[i];
    if (arg_value(&c->args, "nodes"))
        words[n++] = arg_value(&c->args, "nodes");
    if (r == 0)
        r = ids_parse(words, n, ret, err);
    if (r == 0 && ret->n == 0)
        r = err_set(err, RS_EINVAL, "which nodes? Ids such as N2 are needed");
    for (size_t i = 0; r == 0 && i < ret->n; i++)
        if (!node_address(c, ret->v[i]))
            r = err_set(err, RS_ENOENT, "there is no node N%" PRIu32, ret->v[i]);
    return r;
}

static bool has(const struct ids *ids, uint32_t id) {
    for (size_t i = 0; i < ids->n; i++)
        if (ids->v[i] == id)
            return true;
    return false;
}

static struct node_entry *entry_of(struct ctl *c, uint32_t id) {
    for (size_t i = 0; i < c->nodes->n_nodes; i++)
        if (c->nodes->nodes[i].id.id == id)
            return &c->nodes->nodes[i];
    return NULL;
}

/* Writes c->nodes as it was changed here. */
static int write_nodes(struct ctl *c, struct err *err) {
    _cleanup_buf_ struct buf out = {0};
    uint32_t was = c->nodes->version;

    c->nodes->version = was + 1;
    nodes_config_encode(c->nodes, &out);
    return metadata_write(c, META_KEY_NODES, was, buf_slice(&out), NULL, err);
}

static int done(struct ctl *c, const struct ids *ids, const char *what) {
    text_t text;

    if (c->json)
        json_print(json_pack("{s:o, s:I, s:s}", "nodes", json_nodes(ids->v, ids->n), "nodes_version",
                             (json_int_t)c->nodes->version, "done", what));
    else
        (void)printf("%s %s\n", what, text_nodes(text, ids->v, ids->n));
    return 0;
}

/* ---- what still needs a node ---- */

static int in_replica_set(struct ctl *c, uint32_t node, struct err *err) {
    for (uint32_t p = 0; c->table && p < c->table->n; p++) {
        struct epoch_metadata e;
        char key[META_KEY_MAX];
        struct slice value;
        uint32_t version;
        int r;

        epoch_metadata_key((partition_id_t)p, key);
        r = metadata_read(c, key, &version, &value, err);
        if (r < 0)
            return r;
        if (version == 0)
            continue;
        r = epoch_metadata_parse(value, &e, err);
        if (r < 0)
            return r;
        if (replica_set_has(&e.current, node) || replica_set_has(&e.next, node))
            return err_set(err, RS_EPERM,
                           "N%" PRIu32 " is in the replica set of partition %" PRIu32
                           ": set its worker state to draining first",
                           node, p);
    }
    return 0;
}

static int in_chains(const struct ctl *c, uint32_t node, struct err *err) {
    for (struct map_node *n = c->logs ? map_iter(&c->logs->chains, NULL) : NULL; n; n = map_iter(&c->logs->chains, n)) {
        const struct chain *ch = MAP_ENTRY(n, struct chain, node);

        for (size_t i = 0; i < ch->n; i++)
            for (uint32_t k = 0; k < ch->segments[i].params.n_nodes; k++)
                if (ch->segments[i].params.nodes[k] == node)
                    return err_set(err, RS_EPERM,
                                   "N%" PRIu32 " may hold records of loglet %" PRIu32 "_%" PRIu32
                                   ": trim or reconfigure the log first",
                                   node, loglet_id_log(ch->segments[i].params.loglet_id),
                                   loglet_id_index(ch->segments[i].params.loglet_id));
    }
    return 0;
}

static int may_be_removed(struct ctl *c, uint32_t node, struct err *err) {
    const struct node_entry *e = entry_of(c, node);
    int r = 0;

    if (!c->logs)
        return err_set(err, RS_ENOENT, "the logs configuration is not known to the nodes that answer");
    if ((e->roles & ROLE_METADATA_SERVER) && e->metadata_state == METADATA_MEMBER)
        return err_set(err, RS_EPERM,
                       "N%" PRIu32
                       " is a member of the metadata group: restatectl metadata-server remove-node N%" PRIu32 " first",
                       node, node);
    if ((e->roles & ROLE_LOG_SERVER) && e->storage_state != STORAGE_DISABLED &&
        e->storage_state != STORAGE_PROVISIONING) {
        if (e->storage_state == STORAGE_READ_WRITE)
            return err_set(err, RS_EPERM, "the storage state of N%" PRIu32 " is read-write: set it to read-only first",
                           node);
        r = in_chains(c, node, err);
    }
    return r < 0 ? r : in_replica_set(c, node, err);
}

int run_nodes_remove(struct ctl *c, struct err *err) {
    struct ids ids = {0};
    text_t text;
    char question[sizeof text + 64];
    int r = wanted(c, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++)
        r = may_be_removed(c, ids.v[i], err);
    if (r == 0) {
        (void)snprintf(question, sizeof question, "Nodes %s are removed for good. Remove?",
                       text_nodes(text, ids.v, ids.n));
        r = confirm(c, question, err);
    }
    for (size_t i = 0; r == 0 && i < ids.n; i++)
        entry_of(c, ids.v[i])->tombstone = true;
    if (r == 0)
        r = write_nodes(c, err);
    if (r == 0)
        r = done(c, &ids, "Successfully removed nodes");
    ids_done(&ids);
    return r;
}

/* ---- storage state ---- */

static bool storage_move_is_safe(enum storage_state from, enum storage_state to) {
    return from == to || (from == STORAGE_PROVISIONING && to == STORAGE_DISABLED) ||
           (from == STORAGE_READ_ONLY && to == STORAGE_READ_WRITE) ||
           (from == STORAGE_READ_WRITE && to == STORAGE_READ_ONLY);
}

static int check_storage(struct ctl *c, const struct ids *ids, enum storage_state to, struct err *err) {
    struct nodeset_request q = {.target = c->logs ? c->logs->target_nodeset_size : 0};
    uint32_t nodes[NODESET_MAX], n;
    int r;

    for (size_t i = 0; i < ids->n; i++) {
        const struct node_entry *e = entry_of(c, ids->v[i]);

        if (!(e->roles & ROLE_LOG_SERVER))
            return err_set(err, RS_EINVAL, "N%" PRIu32 " has not the role log-server", ids->v[i]);
        if (!storage_move_is_safe(e->storage_state, to))
            return err_set(err, RS_EPERM, "N%" PRIu32 ": from %s to %s is not safe; --force does it nevertheless",
                           ids->v[i], storage_state_str(e->storage_state), storage_state_str(to));
    }
    if (to == STORAGE_READ_WRITE || !c->logs)
        return 0;
    q.replication = c->logs->replication;
    for (size_t i = 0; i < ids->n; i++)
        entry_of(c, ids->v[i])->storage_state = to;
    r = nodeset_select(c->nodes, &q, nodes, &n, err);
    return r < 0 ? err_wrap(err, r, "without these nodes no log can be written (--force does it nevertheless)") : 0;
}

int run_set_storage_state(struct ctl *c, struct err *err) {
    const char *text = arg_value(&c->args, "storage-state");
    enum storage_state to;
    struct ids ids = {0};
    int r;

    if (!text || storage_state_parse(slice_str(text), &to) < 0)
        return err_set(err, RS_EINVAL,
                       "--storage-state is provisioning, disabled, read-only, gone, read-write or data-loss");
    r = wanted(c, &ids, err);
    if (r == 0 && !arg_given(&c->args, "force"))
        r = check_storage(c, &ids, to, err);
    for (size_t i = 0; r == 0 && i < ids.n; i++)
        entry_of(c, ids.v[i])->storage_state = to;
    if (r == 0)
        r = write_nodes(c, err);
    if (r == 0)
        r = done(c, &ids, "Successfully set the storage state of");
    ids_done(&ids);
    return r;
}

/* ---- worker state ---- */

static bool worker_move_is_safe(enum worker_state from, enum worker_state to) {
    return from == to || from == WORKER_PROVISIONING || (from == WORKER_ACTIVE && to == WORKER_DRAINING) ||
           (from == WORKER_DRAINING && to == WORKER_ACTIVE) || (from == WORKER_DISABLED && to == WORKER_ACTIVE);
}

/* How many workers a partition needs. */
static unsigned workers_needed(const struct ctl *c) {
    struct replication r;

    return !c->table || replication_parse(slice_str(c->table->replication), &r, NULL) < 0 ? 1 : r.copies[SCOPE_NODE];
}

static int check_worker(struct ctl *c, const struct ids *ids, enum worker_state to, struct err *err) {
    unsigned left = 0;

    for (size_t i = 0; i < ids->n; i++) {
        const struct node_entry *e = entry_of(c, ids->v[i]);
        int r = 0;

        if (!(e->roles & ROLE_WORKER))
            return err_set(err, RS_EINVAL, "N%" PRIu32 " has not the role worker", ids->v[i]);
        if (e->worker_state == WORKER_DRAINING && to == WORKER_DISABLED)
            r = in_replica_set(c, ids->v[i], err);
        else if (!worker_move_is_safe(e->worker_state, to))
            r = err_set(err, RS_EPERM, "N%" PRIu32 ": from %s to %s is not safe; --force does it nevertheless",
                        ids->v[i], worker_state_str(e->worker_state), worker_state_str(to));
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];

        left += !e->tombstone && (e->roles & ROLE_WORKER) && e->worker_state == WORKER_ACTIVE && !has(ids, e->id.id);
    }
    if (to != WORKER_ACTIVE && left < workers_needed(c))
        return err_set(err, RS_EPERM,
                       "%u active workers would be left, and a partition needs %u; --force does it nevertheless", left,
                       workers_needed(c));
    return 0;
}

static int parse_worker_state(const char *text, enum worker_state *ret) {
    for (int s = WORKER_PROVISIONING; text && s <= WORKER_DISABLED; s++)
        if (strcmp(text, worker_state_str((enum worker_state)s)) == 0) {
            *ret = (enum worker_state)s;
            return 0;
        }
    return RS_EINVAL;
}

int run_set_worker_state(struct ctl *c, struct err *err) {
    enum worker_state to;
    struct ids ids = {0};
    int r;

    if (parse_worker_state(arg_value(&c->args, "worker-state"), &to) < 0)
        return err_set(err, RS_EINVAL, "--worker-state is provisioning, active, draining or disabled");
    r = wanted(c, &ids, err);
    if (r == 0 && !arg_given(&c->args, "force"))
        r = check_worker(c, &ids, to, err);
    for (size_t i = 0; r == 0 && i < ids.n; i++)
        entry_of(c, ids.v[i])->worker_state = to;
    if (r == 0)
        r = write_nodes(c, err);
    if (r == 0)
        r = done(c, &ids, "Successfully set the worker state of");
    ids_done(&ids);
    return r;
}
