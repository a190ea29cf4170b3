/* SPDX-License-Identifier: Apache-2.0 */
/* metadata-server list-servers. */
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "ctl.h"
#include "meta/json.h"
#include "meta/metadata_server.h"

static const char *state_text(uint32_t s) {
    static const char *const names[] = {"Awaiting provisioning", "Standby", "Member"};

    return s < ARRAY_SIZE(names) ? names[s] : "UNKNOWN";
}

static void put_row(struct table *t, const struct metadata_answer *a) {
    const struct md_status *m = &a->m;
    _cleanup_buf_ struct buf size = {0};
    text_t text = "[";
    bool member = m->state == METADATA_IS_MEMBER;

    table_row(t);
    table_cell(t, PLAIN, NULL, "N%" PRIu32, a->node);
    table_cell(t, member ? GREEN : YELLOW, NULL, "%s", state_text(m->state));
    if (!member)
        return;
    table_cell(t, PLAIN, json_u64(m->config_version), "v%" PRIu32, m->config_version);
    if (m->leader)
        table_cell(t, PLAIN, NULL, "N%" PRIu32, m->leader);
    else
        table_cell(t, RED, json_null(), "-");
    for (size_t i = 0; i < m->n_members; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%sN%" PRIu32, i ? "," : "", m->members[i]);
    table_cell(t, PLAIN, json_nodes(m->members, m->n_members), "%s]", text);
    table_number(t, m->applied);
    table_number(t, m->committed);
    table_number(t, m->term);
    table_number(t, m->last + 1 - m->first);
    table_number(t, m->snapshot_index);
    text_put_size(&size, m->snapshot_bytes);
    table_cell(t, PLAIN, json_u64(m->snapshot_bytes), "%s", buf_cstr(&size));
}

struct table *metadata_servers_table(struct ctl *c, struct table **ret_unreachable) {
    static const char *const columns[] = {"NODE",      "STATUS", "VERSION",    "LEADER",     "MEMBERS",   "APPLIED",
                                          "COMMITTED", "TERM",   "LOG-LENGTH", "SNAP-INDEX", "SNAP-SIZE", NULL};
    static const char *const lost[] = {"NODE", "REASON", NULL};
    struct table *t = table_new(columns), *u = *ret_unreachable = table_new(lost);
    uint32_t *ids = arena_newn(&c->arena, uint32_t, c->nodes->n_nodes + 1);
    struct metadata_answer *a;
    size_t n = 0;

    for (size_t i = 0; i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];

        if (e->tombstone || !(e->roles & ROLE_METADATA_SERVER))
            continue;
        if (!node_is_dead(c, e->id.id)) {
            ids[n++] = e->id.id;
            continue;
        }
        table_row(u);
        table_cell(u, RED, NULL, "N%" PRIu32, e->id.id);
        table_cell(u, PLAIN, NULL, "the node is dead");
    }
    a = client_metadata_status(c, ids, n);
    for (size_t i = 0; i < n; i++) {
        if (a[i].answered) {
            put_row(t, &a[i]);
        } else {
            table_row(u);
            table_cell(u, RED, NULL, "N%" PRIu32, a[i].node);
            table_cell(u, PLAIN, NULL, "%s", a[i].err.msg);
        }
    }
    return t;
}

int run_metadata_servers(struct ctl *c, struct err *err) {
    _cleanup_(table_freep) struct table *t = NULL, *unreachable = NULL;
    int r = client_load(c, err);

    if (r < 0)
        return r;
    t = metadata_servers_table(c, &unreachable);
    if (c->json) {
        json_print(json_pack("{s:o, s:o}", "servers", table_json(t), "unreachable", table_json(unreachable)));
        return 0;
    }
    (void)puts("Metadata service");
    table_print(c, t);
    if (table_rows(unreachable)) {
        (void)puts("\n🔌 Unreachable nodes");
        table_print(c, unreachable);
    }
    return 0;
}
