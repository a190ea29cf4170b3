/* SPDX-License-Identifier: Apache-2.0 */
/* metadata-server add-node | remove-node: who is in the metadata group. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "meta/kv.h"
#include "meta/metadata_server.h"

static int wanted(struct ctl *c, struct ids *ret, struct err *err) {
    int r = client_load(c, err);

    if (r == 0)
        r = ids_parse(c->args.words, c->args.n, ret, err);
    if (r == 0 && ret->n == 0)
        r = err_set(err, RS_EINVAL, "which nodes? Ids such as N2 are needed");
    return r;
}

static int add_node(struct ctl *c, uint32_t node, struct err *err) {
    const struct node_entry *e = nodes_config_find(c->nodes, node);
    struct md_request m = {.fingerprint = c->nodes->fingerprint};
    struct metadata_answer *a;
    struct md_reply answer;
    int r;

    if (!e || e->tombstone)
        return err_set(err, RS_ENOENT, "there is no such node");
    if (!(e->roles & ROLE_METADATA_SERVER))
        return err_set(err, RS_EINVAL, "the node has not the role metadata-server");
    r = client_metadata(c, e->address, METADATA_ADD, &m, &answer, err);
    if (r < 0)
        return r;
    if (answer.code != MD_OK)
        return err_set(err, RS_EIO, SLICE_FMT, SLICE_ARG(answer.message));
    for (int tries = 0; tries < 40; tries++) { /* it asks the leader to be taken in by itself */
        a = client_metadata_status(c, &node, 1);
        for (size_t i = 0; a->answered && a->m.state == METADATA_IS_MEMBER && i < a->m.n_members; i++)
            if (a->m.members[i] == node)
                return 0;
        (void)usleep(250000);
    }
    return err_set(err, RS_ETIMEDOUT,
                   "it was asked to join and is not a member yet: a group without a quorum takes nobody in, and a "
                   "member that lost its disk has to be removed first; see restatectl metadata-server list-servers");
}

/* At every member until the leader takes it: a certain number of times, since a leader may just be elected. */
static int remove_node(struct ctl *c, uint32_t node, struct err *err) {
    struct md_request m = {.fingerprint = c->nodes->fingerprint, .node = node};
    struct md_reply answer = {0};
    useconds_t pause = 200000;

    (void)err_set(err, RS_EAGAIN, "no metadata server is alive");
    for (int tries = 0; tries < 6; tries++, pause = MIN(pause * 2, 1500000u)) {
        for (size_t i = 0; i < c->nodes->n_nodes; i++) {
            const struct node_entry *e = &c->nodes->nodes[i];

            if (e->tombstone || !(e->roles & ROLE_METADATA_SERVER) || node_is_dead(c, e->id.id) ||
                client_metadata(c, e->address, METADATA_REMOVE, &m, &answer, err) < 0)
                continue;
            if (answer.code == MD_OK)
                return 0;
            if (answer.code == MD_REFUSED)
                return err_set(err, RS_EPERM, SLICE_FMT, SLICE_ARG(answer.message));
            if (answer.code == MD_UNKNOWN)
                return err_set(err, RS_ETIMEDOUT,
                               "the outcome is unknown: see restatectl metadata-server list-servers");
            (void)err_set(err, RS_EAGAIN, "N%" PRIu32 ": %s", e->id.id,
                          answer.code == MD_NOT_LEADER ? "not the leader, and no member is"
                                                       : "not ready: the group has no quorum, or changes just now");
        }
        (void)usleep(pause);
    }
    return RS_EAGAIN;
}

static int each_node(struct ctl *c, int (*fn)(struct ctl *, uint32_t, struct err *), const char *done,
                     struct err *err) {
    struct ids ids = {0};
    json_t *all = json_array();
    size_t failed = 0;
    int r = wanted(c, &ids, err);

    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        struct err e = {0};
        int status = fn(c, ids.v[i], &e);

        if (status < 0) {
            failed++;
            (void)fprintf(stderr, "N%" PRIu32 ": %s\n", ids.v[i], e.msg);
        } else if (!c->json) {
            (void)printf("N%" PRIu32 ": %s\n", ids.v[i], done);
        }
        (void)json_array_append_new(all, json_pack("{s:o, s:b, s:s}", "node", json_sprintf("N%" PRIu32, ids.v[i]), "ok",
                                                   status == 0, "message", status < 0 ? e.msg : done));
    }
    if (r == 0 && c->json)
        json_print(json_incref(all));
    json_decref(all);
    if (r == 0 && failed)
        r = err_set(err, RS_EIO, "%zu of %zu nodes failed", failed, ids.n);
    ids_done(&ids);
    return r;
}

int run_metadata_add(struct ctl *c, struct err *err) {
    return each_node(c, add_node, "is a member of the metadata group", err);
}

int run_metadata_remove(struct ctl *c, struct err *err) {
    return each_node(c, remove_node, "is no member of the metadata group any more", err);
}
