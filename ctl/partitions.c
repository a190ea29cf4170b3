/* SPDX-License-Identifier: Apache-2.0 */
/* partitions list. */
#include <inttypes.h>
#include <string.h>

#include "ctl.h"
#include "meta/json.h"
#include "worker/partition.h"

struct row {
    const struct ctl_node_state *node;
    const struct ctl_processor *p;
    uint64_t newest; /* leader epoch known of the partition */
};

static uint64_t newest_of(const struct ctl_processor *p) {
    return MAX(p->epoch, p->leader_epoch);
}

static const char *mode_name(uint32_t role) {
    return role > PARTITION_BROKEN ? "UNKNOWN" : partition_role_str((enum partition_role)role);
}

static void put_mode(struct table *t, const struct row *r) {
    const struct ctl_processor *p = r->p;
    bool leads = p->role == PARTITION_LEADER;
    const char *planned = p->lead_wanted ? "Leader" : "Follower";

    if (p->role == PARTITION_OPENING || p->role == PARTITION_BROKEN || p->role == PARTITION_STOPPED)
        table_cell(t, p->role == PARTITION_BROKEN ? RED : YELLOW, NULL, "%s", p->lead_wanted ? "Leader" : "Follower");
    else if (leads == p->lead_wanted && p->role != PARTITION_CANDIDATE)
        table_cell(t, !leads ? PLAIN : p->epoch >= r->newest ? BLUE : RED, NULL, "%s", mode_name(p->role));
    else
        table_cell(t, MAGENTA, NULL, "%s->%s", mode_name(p->role), planned);
}

static void put_status(struct table *t, const struct ctl_processor *p) {
    if (p->role == PARTITION_BROKEN)
        table_cell(t, RED, NULL, "Broken (" SLICE_FMT ")", SLICE_ARG(p->error));
    else if (p->role == PARTITION_OPENING || p->role == PARTITION_STOPPED)
        table_cell(t, YELLOW, NULL, "Starting");
    else if (p->active)
        table_cell(t, p->role == PARTITION_LEADER ? GREEN : PLAIN, NULL, "Active");
    else
        table_cell(t, MAGENTA, NULL, "Catching Up (%" PRIu64 ")", p->target_tail);
}

static void put_lsn(struct table *t, uint64_t lsn, bool known) {
    if (known)
        table_number(t, lsn);
    else
        table_cell(t, PLAIN, json_null(), "-");
}

static void put_row(struct ctl *c, struct table *t, const struct row *r) {
    const struct ctl_processor *p = r->p;
    uint64_t epoch = newest_of(p);
    bool leads = p->role == PARTITION_LEADER;
    text_t text;

    table_row(t);
    table_number(t, p->partition);
    table_cell(t, PLAIN, NULL, NODE_ID_FMT, r->node->node, r->node->generation);
    put_mode(t, r);
    put_status(t, p);
    table_cell(t,
               epoch >= r->newest ? (leads ? GREEN : PLAIN)
               : leads            ? RED
                                  : YELLOW,
               json_u64(epoch), "e%" PRIu64, epoch);
    table_number(t, p->applied);
    table_number(t, p->durable);
    put_lsn(t, p->archived, p->archived != 0);
    put_lsn(t, p->target_tail > p->applied + 1 ? p->target_tail - p->applied - 1 : 0, p->target_tail != 0);
    table_cell(t, PLAIN, json_u64(r->node->schema_version), "v%" PRIu32, r->node->schema_version);
    table_cell(t, PLAIN, json_null(), "-");
    table_cell(t, PLAIN, json_null(), "-");
    table_cell(t, PLAIN, json_u64(r->node->last_seen_ms), "%s",
               text_ago(text, c, r->node->last_seen_ms, c->state->now_ms));
}

static int by_partition(const void *a, const void *b) {
    const struct row *x = a, *y = b;

    if (x->p->partition != y->p->partition)
        return x->p->partition < y->p->partition ? -1 : 1;
    return x->node->node < y->node->node ? -1 : x->node->node > y->node->node;
}

static int by_node(const void *a, const void *b) {
    const struct row *x = a, *y = b;

    return x->node->node != y->node->node ? (x->node->node < y->node->node ? -1 : 1) : by_partition(a, b);
}

static int by_leader(const void *a, const void *b) {
    bool x = ((const struct row *)a)->p->role == PARTITION_LEADER,
         y = ((const struct row *)b)->p->role == PARTITION_LEADER;

    return x != y ? (x ? -1 : 1) : by_partition(a, b);
}

static size_t collect(const struct ctl *c, struct row *rows) {
    size_t n = 0;

    for (size_t i = 0; i < c->state->n_nodes; i++) {
        const struct ctl_node_state *s = &c->state->nodes[i];

        if (node_is_dead(c, s->node))
            continue;
        for (size_t k = 0; k < s->n_processors; k++, n++)
            if (rows)
                rows[n] = (struct row){s, &s->processors[k], 0};
    }
    return n;
}

struct table *partitions_table(struct ctl *c) {
    static const char *const columns[] = {"ID",        "NODE",     "MODE",     "STATUS",  "EPOCH",
                                          "APPLIED",   "DURABLE",  "ARCHIVED", "LSN-LAG", "SCHEMA",
                                          "RULE-BOOK", "FEATURES", "UPDATED",  NULL};
    struct table *t = table_new(columns);
    const char *sort = arg_value(&c->args, "sort");
    size_t n = collect(c, NULL);
    struct row *rows = arena_newn(&c->arena, struct row, n + 1);

    (void)collect(c, rows);
    qsort(rows, n, sizeof *rows, by_partition);
    for (size_t i = 0, from = 0; i < n; i++) {
        uint64_t newest = 0;

        if (i + 1 < n && rows[i + 1].p->partition == rows[i].p->partition)
            continue;
        for (size_t k = from; k <= i; k++)
            newest = MAX(newest, newest_of(rows[k].p));
        for (; from <= i; from++)
            rows[from].newest = newest;
    }
    if (sort && strcmp(sort, "node") == 0)
        qsort(rows, n, sizeof *rows, by_node);
    else if (sort && strcmp(sort, "active") == 0)
        qsort(rows, n, sizeof *rows, by_leader);
    for (size_t i = 0; i < n; i++)
        put_row(c, t, &rows[i]);
    return t;
}

struct table *dead_table(struct ctl *c) {
    static const char *const columns[] = {"NODE", "LAST-SEEN", NULL};
    struct table *t = table_new(columns);
    text_t text;

    for (size_t i = 0; i < c->state->n_nodes; i++) {
        const struct ctl_node_state *s = &c->state->nodes[i];

        if (!node_is_dead(c, s->node))
            continue;
        table_row(t);
        table_cell(t, RED, NULL, "N%" PRIu32, s->node);
        if (s->last_seen_ms)
            table_cell(t, PLAIN, json_u64(s->last_seen_ms), "%s", text_ago(text, c, s->last_seen_ms, c->state->now_ms));
        else
            table_cell(t, PLAIN, json_null(), "-");
    }
    return t;
}

void partitions_print(struct ctl *c) {
    _cleanup_(table_freep) struct table *alive = partitions_table(c), *dead = dead_table(c);

    (void)printf("Alive partition processors (nodes config v%" PRIu32 ", partition table v%" PRIu32 ")\n",
                 c->nodes->version, c->table ? c->table->version : 0);
    table_print(c, alive);
    if (table_rows(dead)) {
        (void)puts("\n☠️ Dead nodes");
        table_print(c, dead);
    }
}

int run_partitions_list(struct ctl *c, struct err *err) {
    int r = client_load(c, err);

    if (r < 0)
        return r;
    if (c->json) {
        _cleanup_(table_freep) struct table *alive = partitions_table(c), *dead = dead_table(c);

        json_print(json_pack("{s:I, s:I, s:o, s:o}", "nodes_version", (json_int_t)c->nodes->version,
                             "partition_table_version", (json_int_t)(c->table ? c->table->version : 0), "partitions",
                             table_json(alive), "dead_nodes", table_json(dead)));
    } else {
        partitions_print(c);
    }
    return 0;
}
