/* SPDX-License-Identifier: Apache-2.0 */
/* nodes list. */
#include <inttypes.h>
#include <string.h>

#include "control/node_ctl.h"
#include "ctl.h"
#include "meta/json.h"

#define IDENT_NS 1000000000u

static const char *status_text(uint32_t s) {
    static const char *const names[] = {"Unknown", "Starting", "Alive", "Shutting down"};

    return s < ARRAY_SIZE(names) ? names[s] : "Unknown";
}

static void put_text(struct table *t, struct slice s) {
    table_cell(t, PLAIN, NULL, SLICE_FMT, SLICE_ARG(s));
}

static void put_version(struct table *t, uint32_t v) {
    table_cell(t, PLAIN, json_u64(v), "v%" PRIu32, v);
}

static void put_ident(struct table *t, const struct ident *i) {
    text_t text;

    if (!i || !i->answered) {
        table_cell(t, PLAIN, json_null(), "N/A");
        table_cell(t, RED, NULL, "Unknown");
        return;
    }
    table_cell(t, PLAIN, json_u64(i->m.uptime_ms), "%s", text_long(text, i->m.uptime_ms));
    table_cell(t, i->m.status == NODE_ALIVE ? GREEN : YELLOW, NULL, "%s", status_text(i->m.status));
    put_text(t, i->m.admin_status);
    put_text(t, i->m.worker_status);
    put_text(t, i->m.log_server_status);
    put_text(t, i->m.metadata_status);
    put_version(t, i->m.nodes_version);
    put_version(t, i->m.logs_version);
    put_version(t, i->m.schema_version);
    put_version(t, i->m.partitions_version);
    put_text(t, i->m.storage);
    put_text(t, i->m.transport);
}

static void put_entry(struct table *t, const struct node_entry *e) {
    text_t text;

    table_row(t);
    table_cell(t, PLAIN, NULL, "N%" PRIu32, e->id.id);
    table_number(t, e->id.generation);
    table_cell(t, PLAIN, NULL, "%s", e->name);
    table_cell(t, PLAIN, NULL, "%s", e->address ? e->address : "");
    table_cell(t, PLAIN, json_roles(e->roles), "%s", text_roles(text, e->roles));
}

struct table *nodes_table(struct ctl *c, bool extra) {
    static const char *const few[] = {"NODE", "GEN", "NAME", "ADDRESS", "ROLES", NULL};
    static const char *const many[] = {
        "NODE",         "GEN",    "NAME",   "ADDRESS", "ROLES",          "LOCATION",         "STORAGE-STATE",
        "WORKER-STATE", "UPTIME", "STATUS", "ADMIN",   "WORKER",         "LOG-SERVER",       "META",
        "NODES",        "LOGS",   "SCHEMA", "P-TABLE", "STORAGE-PLUGIN", "TRANSPORT-PLUGIN", NULL};
    struct table *t = table_new(extra ? many : few);
    const char **addresses = arena_newn(&c->arena, const char *, c->nodes->n_nodes + 1);
    struct ident *idents;
    size_t n = 0;

    for (size_t i = 0; i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];

        if (!e->tombstone && !node_is_dead(c, e->id.id))
            addresses[n++] = e->address;
    }
    idents = extra ? client_idents(c, addresses, n, IDENT_NS) : NULL;
    n = 0;
    for (size_t i = 0; i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];

        if (e->tombstone)
            continue;
        put_entry(t, e);
        if (!extra)
            continue;
        table_cell(t, PLAIN, NULL, "%s", e->location ? e->location : "");
        table_cell(t, PLAIN, NULL, "%s", e->roles & ROLE_LOG_SERVER ? storage_state_str(e->storage_state) : "");
        table_cell(t, PLAIN, NULL, "%s", e->roles & ROLE_WORKER ? worker_state_str(e->worker_state) : "");
        put_ident(t, node_is_dead(c, e->id.id) ? NULL : &idents[n++]);
    }
    return t;
}

void lite_nodes(struct ctl *c) {
    static const char *const columns[] = {"NODE", "GEN", "NAME", "ADDRESS", "ROLES", "STATUS", "META", NULL};
    _cleanup_(table_freep) struct table *t = table_new(columns);
    struct ident *idents = client_idents(c, (const char *const *)c->seeds, c->n_seeds, IDENT_NS * 4);
    text_t text;

    for (size_t i = 0; i < c->n_seeds; i++) {
        const struct ctl_ident *m = &idents[i].m;

        if (!idents[i].answered)
            continue;
        table_row(t);
        table_cell(t, PLAIN, NULL, "%s", m->node ? "" : "-");
        table_number(t, m->generation);
        put_text(t, m->node_name);
        put_text(t, m->address);
        table_cell(t, PLAIN, json_roles(m->roles), "%s", text_roles(text, m->roles));
        table_cell(t, YELLOW, NULL, "%s", status_text(m->status));
        put_text(t, m->metadata_status);
    }
    if (table_rows(t) == 0)
        return;
    if (c->json) {
        json_print(json_pack("{s:n, s:o}", "nodes_version", "nodes", table_json(t)));
        return;
    }
    (void)puts("The cluster's configuration is not known here; these nodes answer:");
    table_print(c, t);
}

int run_nodes_list(struct ctl *c, struct err *err) {
    _cleanup_(table_freep) struct table *t = NULL;
    int r = client_load(c, err);

    if (r < 0) {
        lite_nodes(c);
        return r;
    }
    t = nodes_table(c, arg_given(&c->args, "extra"));
    if (c->json) {
        json_print(json_pack("{s:I, s:o}", "nodes_version", (json_int_t)c->nodes->version, "nodes", table_json(t)));
        return 0;
    }
    (void)printf("Node Configuration (v%" PRIu32 ")\n", c->nodes->version);
    table_print(c, t);
    return 0;
}
