/* SPDX-License-Identifier: Apache-2.0 */
/* status: nodes, logs, partitions, and what is wrong, in one look. Everything comes from what single nodes hold in
 * memory, so it is answered without a quorum as well, and says that there is none. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "meta/json.h"
#include "meta/metadata_server.h"
#include "worker/partition.h"

struct problems {
    char **v;
    size_t n;
    bool stalled; /* something cannot go on */
};

__attribute__((format(printf, 3, 4))) static void problem(struct problems *p, bool stalls, const char *fmt, ...) {
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->v = xrealloc(p->v, (p->n + 1) * sizeof(char *));
    p->v[p->n++] = xstrdup(text);
    p->stalled |= stalls;
}

static void problems_done(struct problems *p) {
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i]);
    free(p->v);
}

/* ---- the table of nodes ---- */

struct metadata_view { /* of the metadata servers that are not dead */
    struct metadata_answer *v;
    size_t n;
};

static const struct metadata_answer *metadata_of(const struct metadata_view *m, uint32_t node) {
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].node == node)
            return &m->v[i];
    return NULL;
}

static void put_metadata(struct table *t, const struct node_entry *e, const struct metadata_view *view) {
    static const char *const names[] = {"Provisioning", "Standby", "Member"};
    const struct metadata_answer *a = metadata_of(view, e->id.id);

    if (!(e->roles & ROLE_METADATA_SERVER))
        table_cell(t, PLAIN, json_null(), "%s", "");
    else if (!a || !a->answered)
        table_cell(t, RED, NULL, "ERR!");
    else
        table_cell(t, a->m.state == METADATA_IS_MEMBER ? GREEN : YELLOW, NULL, "%s",
                   a->m.state <= METADATA_IS_MEMBER ? names[a->m.state] : "UNKNOWN");
}

static void put_processors(struct table *t, const struct ctl_node_state *s) {
    unsigned leads = 0, rising = 0, follows = 0, falling = 0, broken = 0;
    json_t *json;

    for (size_t i = 0; i < s->n_processors; i++) {
        const struct ctl_processor *p = &s->processors[i];

        leads += p->role == PARTITION_LEADER && p->lead_wanted;
        falling += p->role == PARTITION_LEADER && !p->lead_wanted;
        rising += p->lead_wanted && (p->role == PARTITION_CANDIDATE || p->role == PARTITION_FOLLOWER);
        follows += p->role == PARTITION_FOLLOWER && !p->lead_wanted;
        broken += p->role == PARTITION_BROKEN;
    }
    json = json_integer(leads);
    if (rising)
        table_cell(t, PLAIN, json, "%u+%u", leads, rising);
    else
        table_cell(t, PLAIN, json, "%u", leads);
    json = json_integer(follows);
    if (falling && broken)
        table_cell(t, PLAIN, json, "%u+%u (%u broken)", follows, falling, broken);
    else if (falling)
        table_cell(t, PLAIN, json, "%u+%u", follows, falling);
    else if (broken)
        table_cell(t, PLAIN, json, "%u (%u broken)", follows, broken);
    else
        table_cell(t, PLAIN, json, "%u", follows);
}

static bool leads_here(const struct ctl_node_state *s, uint32_t partition) {
    for (size_t i = 0; i < s->n_processors; i++)
        if (s->processors[i].partition == partition && s->processors[i].lead_wanted)
            return true;
    return false;
}

static void put_logs(const struct ctl *c, struct table *t, const struct ctl_node_state *s) {
    struct node_id id = {s->node, s->generation};
    unsigned member = 0, sequencer = 0;
    bool good = true;

    for (struct map_node *n = c->logs ? map_iter(&c->logs->chains, NULL) : NULL; n; n = map_iter(&c->logs->chains, n)) {
        const struct chain *ch = MAP_ENTRY(n, struct chain, node);
        const struct segment *tail = chain_tail(ch);

        if (tail->kind != SEGMENT_REPLICATED)
            continue;
        for (uint32_t i = 0; i < tail->params.n_nodes; i++)
            member += tail->params.nodes[i] == s->node;
        if (node_id_eq(tail->params.sequencer, id)) {
            sequencer++;
            good &= leads_here(s, ch->log_id);
        }
    }
    table_number(t, member);
    table_cell(t, good ? GREEN : YELLOW, json_integer(sequencer), "%u", sequencer);
}

static struct table *status_table(struct ctl *c, const struct metadata_view *view) {
    static const char *const columns[] = {"NODE-ID",  "NAME",           "UPTIME",    "METADATA", "LEADER",
                                          "FOLLOWER", "NODESET-MEMBER", "SEQUENCER", "ROLES",    NULL};
    struct table *t = table_new(columns);
    text_t text;

    for (size_t i = 0; i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];
        const struct ctl_node_state *s = e->tombstone ? NULL : state_of(c, e->id.id);

        if (!s)
            continue;
        table_row(t);
        if (node_is_dead(c, s->node)) {
            table_cell(t, RED, NULL, "N%" PRIu32, s->node);
            table_cell(t, PLAIN, NULL, "%s", e->name);
            table_cell(t, RED, json_null(), "offline");
            for (int k = 0; k < 5; k++)
                table_cell(t, PLAIN, json_null(), "%s", "");
        } else {
            table_cell(t, GREEN, NULL, NODE_ID_FMT, s->node, s->generation);
            table_cell(t, PLAIN, NULL, "%s", e->name);
            table_cell(t, PLAIN, json_u64(s->uptime_ms), "%s", text_short(text, s->uptime_ms));
            put_metadata(t, e, view);
            put_processors(t, s);
            put_logs(c, t, s);
        }
        table_cell(t, PLAIN, json_roles(e->roles), "%s", text_roles(text, e->roles));
    }
    return t;
}

static void ask_metadata(struct ctl *c, struct metadata_view *ret) {
    uint32_t *ids = arena_newn(&c->arena, uint32_t, c->nodes->n_nodes + 1);

    *ret = (struct metadata_view){0};
    for (size_t i = 0; i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];

        if (!e->tombstone && (e->roles & ROLE_METADATA_SERVER) && !node_is_dead(c, e->id.id))
            ids[ret->n++] = e->id.id;
    }
    ret->v = client_metadata_status(c, ids, ret->n);
}

/* ---- what is wrong ---- */

static void check_nodes(struct ctl *c, struct problems *p) {
    for (size_t i = 0; i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];
        const struct ctl_node_state *s = e->tombstone ? NULL : state_of(c, e->id.id);
        text_t text;

        if (!s || !node_is_dead(c, e->id.id))
            continue;
        if (c->guessed)
            problem(p, false, "node N%" PRIu32 " (%s) does not answer", e->id.id, e->name);
        else if (s->last_seen_ms)
            problem(p, false, "node N%" PRIu32 " (%s) is dead: last heard of %s", e->id.id, e->name,
                    text_ago(text, c, s->last_seen_ms, c->state->now_ms));
        else
            problem(p, false, "node N%" PRIu32 " (%s) is dead: N%" PRIu32 " never heard of it since it was started",
                    e->id.id, e->name, c->state->from);
    }
    if (c->state->lonely)
        problem(p, false, "N%" PRIu32 ", which answers here, hears of no other node", c->state->from);
}

static void check_metadata(const struct metadata_view *view, struct problems *p) {
    const struct metadata_answer *best = NULL;
    size_t alive = 0, members;
    bool leader = false;

    for (size_t i = 0; i < view->n; i++) /* who knows the newest list of members */
        if (view->v[i].answered && view->v[i].m.state == METADATA_IS_MEMBER &&
            (!best || view->v[i].m.config_version > best->m.config_version))
            best = &view->v[i];
    if (!best) {
        problem(p, true, "metadata: no member answers: nothing can be changed (leaders, configuration, deployments)");
        return;
    }
    members = best->m.n_members;
    for (size_t i = 0; i < members; i++) {
        const struct metadata_answer *a = metadata_of(view, best->m.members[i]);

        alive += a && a->answered;
        leader |= a && a->answered && a->m.leader && metadata_of(view, a->m.leader);
    }
    if (alive < members / 2 + 1)
        problem(p, true,
                "metadata: no quorum, %zu of %zu members alive: nothing can be changed (leaders, configuration, "
                "deployments)",
                alive, members);
    else if (!leader)
        problem(p, true, "metadata: %zu of %zu members alive, but they have no leader yet", alive, members);
    else if (alive < members && alive == members / 2 + 1)
        problem(p, false, "metadata: quorum at risk, %zu of %zu members alive: one more loss stops all changes", alive,
                members);
}

static bool has_leader(const struct ctl *c, uint32_t partition) {
    for (size_t i = 0; i < c->state->n_nodes; i++) {
        const struct ctl_node_state *s = &c->state->nodes[i];

        for (size_t k = 0; k < s->n_processors && !node_is_dead(c, s->node); k++)
            if (s->processors[k].partition == partition && s->processors[k].role == PARTITION_LEADER)
                return true;
    }
    return false;
}

static void check_partitions(struct ctl *c, struct problems *p) {
    uint32_t *lost = arena_newn(&c->arena, uint32_t, (c->table ? c->table->n : 0) + 1u);
    size_t n = 0;
    text_t text;

    for (uint32_t i = 0; c->table && i < c->table->n; i++)
        if (!has_leader(c, i))
            lost[n++] = i;
    if (n)
        problem(p, true, "partition%s %s: no leader", n == 1 ? "" : "s", text_ids(text, lost, n));
    for (size_t i = 0; i < c->state->n_nodes; i++) {
        const struct ctl_node_state *s = &c->state->nodes[i];

        for (size_t k = 0; k < s->n_processors && !node_is_dead(c, s->node); k++)
            if (s->processors[k].role == PARTITION_BROKEN)
                problem(p, false, "partition %" PRIu32 " on N%" PRIu32 ": broken: " SLICE_FMT,
                        s->processors[k].partition, s->node, SLICE_ARG(s->processors[k].error));
    }
}

/* Whether the nodes of a nodeset that are alive can take records with the segment's replication. */
static bool can_write(const struct ctl *c, const struct segment_params *s) {
    struct quorum_mask alive = {0};
    struct quorum q;

    if (s->n_nodes > NODESET_MAX)
        return true;
    quorum_init(&q, c->nodes, s->replication, s->nodes, s->n_nodes);
    for (uint32_t i = 0; i < q.n; i++)
        if (q.members[i].writable && !node_is_dead(c, q.members[i].node))
            quorum_mask_set(&alive, i);
    return quorum_is_write(&q, &alive);
}

static void check_logs(struct ctl *c, struct problems *p) {
    uint32_t *lost = arena_newn(&c->arena, uint32_t, (c->logs ? c->logs->chains.n : 0) + 1);
    size_t n = 0;
    text_t text;

    for (uint32_t id = 0, seen = 0; c->logs && seen < c->logs->chains.n && id < 65536; id++) {
        const struct chain *ch = logs_config_chain(c->logs, id);

        seen += ch != NULL;
        if (ch && chain_tail(ch)->kind == SEGMENT_REPLICATED && !can_write(c, &chain_tail(ch)->params))
            lost[n++] = id;
    }
    if (n)
        problem(p, true, "log%s %s: no write quorum among the nodes alive", n == 1 ? "" : "s", text_ids(text, lost, n));
}

static void find_problems(struct ctl *c, const struct metadata_view *view, struct problems *p) {
    check_nodes(c, p);
    if (c->guessed)
        problem(p, true,
                "no node that answers has joined the cluster since it was started: that needs a quorum of the metadata "
                "servers");
    check_metadata(view, p);
    check_partitions(c, p);
    if (c->logs)
        check_logs(c, p);
    else
        problem(p, true, "the logs configuration is not known to the nodes that answer");
}

/* ---- output ---- */

static void print_extra(struct ctl *c) {
    _cleanup_(table_freep) struct table *nodes = nodes_table(c, true), *logs = logs_table(c), *servers, *unreachable;

    servers = metadata_servers_table(c, &unreachable);
    (void)printf("Node Configuration (v%" PRIu32 ")\n", c->nodes->version);
    table_print(c, nodes);
    (void)putchar('\n');
    if (c->logs) {
        logs_head(c);
        table_print(c, logs);
        (void)putchar('\n');
    }
    partitions_print(c);
    (void)putchar('\n');
    (void)puts("Metadata service");
    table_print(c, servers);
    if (table_rows(unreachable)) {
        (void)puts("\n🔌 Unreachable nodes");
        table_print(c, unreachable);
    }
}

static void print_plain(struct ctl *c, const struct metadata_view *view) {
    _cleanup_(table_freep) struct table *nodes = status_table(c, view);

    (void)printf("Node Configuration (v%" PRIu32 ")\n", c->nodes->version);
    table_print(c, nodes);
    if (arg_given(&c->args, "compact"))
        return;
    if (c->logs) {
        (void)putchar('\n');
        logs_head(c);
    }
    (void)putchar('\n');
    partitions_print(c);
}

/* A node's row says who is alive only by what is missing. */
static json_t *nodes_json(const struct ctl *c, const struct table *t) {
    json_t *rows = table_json(t), *row;
    size_t i;

    json_array_foreach(rows, i, row) {
        struct node_id id;
        const char *text = json_string_value(json_object_get(row, "node_id"));

        if (text && node_id_parse(slice_str(text), &id) == 0)
            json_put(row, "alive", node_is_dead(c, id.id) ? json_false() : json_true());
    }
    return rows;
}

static void print_json(struct ctl *c, const struct metadata_view *view, const struct problems *p) {
    _cleanup_(table_freep) struct table *nodes = status_table(c, view), *logs = logs_table(c),
                                        *partitions = partitions_table(c), *dead = dead_table(c), *servers,
                                        *unreachable;
    json_t *texts = json_array(), *all;
    text_t replication = "";

    servers = metadata_servers_table(c, &unreachable);
    for (size_t i = 0; i < p->n; i++)
        (void)json_array_append_new(texts, json_text(p->v[i]));
    all = json_pack("{s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "nodes_version", (json_int_t)c->nodes->version,
                    "stalled", p->stalled, "problems", texts, "nodes", nodes_json(c, nodes), "partitions",
                    table_json(partitions), "dead_nodes", table_json(dead), "logs", table_json(logs),
                    "metadata_servers", table_json(servers), "unreachable", table_json(unreachable));
    json_put(all, "controller", c->state->controller ? json_sprintf("N%" PRIu32, c->state->controller) : json_null());
    json_put(all, "answered_by", !c->guessed ? json_sprintf("N%" PRIu32, c->state->from) : json_null());
    json_put(all, "log_replication",
             c->logs ? json_string(text_replication(replication, c->logs->replication)) : json_null());
    json_put(all, "partition_replication",
             c->table ? json_text(strcmp(c->table->replication, "everywhere") == 0 ? "*" : c->table->replication)
                      : json_null());
    json_put(all, "num_partitions", c->table ? json_integer(c->table->n) : json_null());
    json_print(all);
}

static int once(struct ctl *c, struct err *err) {
    struct metadata_view view;
    struct problems p = {0};
    int r = client_load(c, err);

    if (r < 0) {
        lite_nodes(c);
        return r == RS_ENOENT ? err_set(err, r,
                                        "the cluster is not provisioned, or this node could not join it yet; a new "
                                        "cluster is founded by `restatectl provision`")
                              : r;
    }
    ask_metadata(c, &view);
    find_problems(c, &view, &p);
    if (c->json)
        print_json(c, &view, &p);
    else if (arg_given(&c->args, "extra"))
        print_extra(c);
    else
        print_plain(c, &view);
    (void)fflush(stdout);
    for (size_t i = 0; i < p.n && !c->quiet && !c->json; i++)
        (void)fprintf(stderr, "%s%s%s\n", i == 0 ? "\n" : "",
                      p.stalled && i == 0 ? "⚠️ The cluster is stalled:\n" : "", p.v[i]);
    problems_done(&p);
    return 0;
}

int run_status(struct ctl *c, struct err *err) {
    uint64_t every = 0;
    bool watch;
    int r = arg_u64(&c->args, "watch", 86400, &watch, &every, err);

    if (r < 0 || !watch)
        return r < 0 ? r : once(c, err);
    for (;;) {
        (void)fputs(c->json ? "" : "\x1b[H\x1b[2J", stdout);
        r = once(c, err);
        if (r < 0)
            (void)fprintf(stderr, "Error: %s\n", err->msg);
        client_close(c);
        *err = (struct err){0};
        c->state = NULL;
        c->guessed = false;
        (void)sleep((unsigned)MAX(every, (uint64_t)1));
        r = client_open(c, err);
        if (r < 0)
            return r;
    }
}
