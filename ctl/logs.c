/* SPDX-License-Identifier: Apache-2.0 */
/* logs list. */
#include <inttypes.h>
#include <string.h>

#include "ctl.h"
#include "meta/json.h"

void logs_head(const struct ctl *c) {
    text_t text;

    (void)printf("Logs v%" PRIu32 "\n└ Logs Provider: replicated\n ├ Log replication: %s\n └ Nodeset size: %" PRIu32
                 "\n",
                 c->logs->version, text_replication(text, c->logs->replication), c->logs->target_nodeset_size);
}

/* The newest segment that holds records: a seal marker has no members. */
static const struct segment *newest_replicated(const struct chain *ch) {
    for (size_t i = ch->n; i-- > 0;)
        if (ch->segments[i].kind == SEGMENT_REPLICATED)
            return &ch->segments[i];
    return NULL;
}

static void put_row(struct table *t, const struct chain *ch) {
    const struct segment *tail = chain_tail(ch), *s = newest_replicated(ch);
    text_t text;

    table_row(t);
    table_number(t, ch->log_id);
    table_number(t, ch->n);
    table_number(t, tail->base);
    table_cell(t, PLAIN, NULL, "%s", tail->kind == SEGMENT_SEALED ? "sealed" : "replicated");
    if (tail->kind == SEGMENT_SEALED || !s) {
        for (int i = 0; i < 4; i++)
            table_cell(t, PLAIN, json_null(), "N/A");
        return;
    }
    table_cell(t, PLAIN, NULL, "%" PRIu32 "_%" PRIu32, loglet_id_log(s->params.loglet_id),
               loglet_id_index(s->params.loglet_id));
    table_cell(t, PLAIN, NULL, "%s", text_replication(text, s->params.replication));
    table_cell(t, PLAIN, NULL, NODE_ID_FMT, NODE_ID_ARG(s->params.sequencer));
    table_cell(t, PLAIN, json_nodes(s->params.nodes, s->params.n_nodes), "%s",
               text_nodes(text, s->params.nodes, s->params.n_nodes));
}

struct table *logs_table(struct ctl *c) {
    static const char *const columns[] = {"L-ID",        "SEGMENTS",  "FROM",    "KIND", "LOGLET-ID",
                                          "REPLICATION", "SEQUENCER", "NODESET", NULL};
    struct table *t = table_new(columns);

    for (uint32_t id = 0, seen = 0; c->logs && seen < c->logs->chains.n && id < 65536; id++) {
        const struct chain *ch = logs_config_chain(c->logs, id);

        if (!ch)
            continue;
        seen++;
        put_row(t, ch);
    }
    return t;
}

static int load_logs(struct ctl *c, struct err *err) {
    int r = client_load(c, err);

    if (r == 0 && !c->logs)
        return err_set(err, RS_ENOENT, "the logs configuration is not known to the nodes that answer");
    return r;
}

int run_logs_list(struct ctl *c, struct err *err) {
    _cleanup_(table_freep) struct table *t = NULL;
    int r = load_logs(c, err);

    if (r < 0)
        return r;
    t = logs_table(c);
    if (c->json) {
        text_t text;

        json_print(json_pack("{s:I, s:s, s:s, s:I, s:o}", "logs_version", (json_int_t)c->logs->version, "provider",
                             "replicated", "log_replication", text_replication(text, c->logs->replication),
                             "nodeset_size", (json_int_t)c->logs->target_nodeset_size, "logs", table_json(t)));
        return 0;
    }
    logs_head(c);
    if (table_rows(t) == 0)
        return err_set(err, RS_ENOENT, "no logs exist yet: they come into being with the first leader of a partition");
    table_print(c, t);
    return 0;
}
