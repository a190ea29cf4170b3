/* SPDX-License-Identifier: Apache-2.0 */
/* replicated-loglet info | digest | list-servers: one piece of a log, as each of its nodes has it. */
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "ctl.h"
#include "log/log_fabric.h"
#include "log/log_wire.h"
#include "meta/json.h"

enum { OFFSETS_MAX = 100000 };

/* "2_4" or a raw number. */
static int parse_loglet(const char *text, uint64_t *ret, struct err *err) {
    const char *bar = strchr(text, '_');
    uint64_t log, index;

    if (!bar && text_parse_u64(slice_str(text), ret) == 0)
        return 0;
    if (bar && text_parse_u64(slice_of(text, (size_t)(bar - text)), &log) == 0 && log <= UINT32_MAX &&
        text_parse_u64(slice_str(bar + 1), &index) == 0 && index <= UINT32_MAX) {
        *ret = loglet_id_make((log_id_t)log, (uint32_t)index);
        return 0;
    }
    return err_set(err, RS_EINVAL, "'%.40s' is not a loglet: 2_4 is segment 4 of log 2", text);
}

static int find(struct ctl *c, uint64_t *ret_id, const struct segment **ret, struct err *err) {
    const struct chain *ch;
    int r = c->args.n == 1 ? parse_loglet(c->args.words[0], ret_id, err)
                           : err_set(err, RS_EINVAL, "which loglet? 2_4 is segment 4 of log 2");

    if (r == 0)
        r = client_load(c, err);
    if (r < 0)
        return r;
    ch = c->logs ? logs_config_chain(c->logs, loglet_id_log(*ret_id)) : NULL;
    for (size_t i = 0; ch && i < ch->n; i++)
        if (ch->segments[i].kind == SEGMENT_REPLICATED && ch->segments[i].params.loglet_id == *ret_id) {
            *ret = &ch->segments[i];
            return 0;
        }
    return err_set(err, RS_ENOENT, "no log has loglet %" PRIu32 "_%" PRIu32 ": it was trimmed, or never was",
                   loglet_id_log(*ret_id), loglet_id_index(*ret_id));
}

/* Asks every member the same; answers[i] is NULL's reply when there was none. */
struct member {
    uint32_t node;
    bool answered;
    struct ls_reply reply;
    struct err err;
    struct ls_info info;
    struct ls_digest digest;
};

static void ask_members(struct ctl *c, struct member *m, size_t n, const struct ls_req *req) {
    struct ask *asks = arena_newn(&c->arena, struct ask, n + 1);
    _cleanup_buf_ struct buf body = {0};
    struct member **who = arena_newn(&c->arena, struct member *, n + 1);
    size_t k = 0;

    log_wire_request(req, &body);
    for (size_t i = 0; i < n; i++) {
        if (!node_address(c, m[i].node) || node_is_dead(c, m[i].node)) {
            (void)err_set(&m[i].err, RS_EIO, "the node is dead or removed");
            continue;
        }
        who[k] = &m[i];
        asks[k++] = (struct ask){.address = node_address(c, m[i].node),
                                 .service = SERVICE_LOG_SERVER_META,
                                 .type = req->kind == LS_DIGEST ? LOG_DIGEST : LOG_INFO_TAIL,
                                 .body = buf_slice(&body)};
    }
    client_ask(c, asks, k, 0, 0);
    for (size_t i = 0; i < k; i++) {
        struct member *x = who[i];
        struct ls_req *into = req->kind == LS_DIGEST ? &x->digest.h : &x->info.h;

        x->err = asks[i].err;
        *into = *req;
        x->answered = asks[i].answered && log_wire_take_answer(into, asks[i].reply, &x->reply, &x->err) == 0;
        if (x->answered && x->reply.status != LS_OK) {
            (void)err_set(&x->err, RS_EIO, "%s", ls_status_str(x->reply.status));
            x->answered = x->reply.status == LS_SEALED;
        }
    }
}

static struct member *members_of(struct ctl *c, const struct segment_params *p) {
    struct member *m = arena_newn(&c->arena, struct member, p->n_nodes + 1u);

    for (uint32_t i = 0; i < p->n_nodes; i++)
        m[i].node = p->nodes[i];
    return m;
}

static struct table *info_table(const struct member *m, size_t n) {
    static const char *const columns[] = {"NODE", "LOCAL-TAIL", "GLOBAL-TAIL", "TRIM-POINT", "SEALED", "NOTES", NULL};
    struct table *t = table_new(columns);

    for (size_t i = 0; i < n; i++) {
        table_row(t);
        table_cell(t, PLAIN, NULL, "N%" PRIu32, m[i].node);
        if (!m[i].answered) {
            for (int k = 0; k < 4; k++)
                table_cell(t, PLAIN, json_null(), "?");
            table_cell(t, RED, NULL, "%s", m[i].err.msg);
            continue;
        }
        table_number(t, m[i].reply.local_tail);
        table_number(t, m[i].reply.global_tail);
        table_number(t, m[i].info.trim_point);
        table_cell(t, m[i].reply.sealed ? YELLOW : PLAIN, m[i].reply.sealed ? json_true() : json_false(), "%s",
                   m[i].reply.sealed ? "yes" : "no");
    }
    return t;
}

int run_loglet_info(struct ctl *c, struct err *err) {
    _cleanup_(table_freep) struct table *t = NULL;
    const struct segment *s;
    const struct node_entry *e;
    struct member *m;
    text_t text, nodes;
    uint64_t id;
    int r = find(c, &id, &s, err);
    struct ls_req req = {.kind = LS_INFO};

    if (r < 0)
        return r;
    req.loglet_id = id;
    m = members_of(c, &s->params);
    ask_members(c, m, s->params.n_nodes, &req);
    t = info_table(m, s->params.n_nodes);
    e = nodes_config_find(c->nodes, s->params.sequencer.id);
    if (c->json) {
        json_print(json_pack("{s:s, s:o, s:I, s:I, s:I, s:s, s:o, s:o}", "loglet_id", c->args.words[0], "raw",
                             json_u64(id), "log_id", (json_int_t)loglet_id_log(id), "segment", (json_int_t)s->index,
                             "base_lsn", (json_int_t)s->base, "replication",
                             text_replication(text, s->params.replication), "sequencer",
                             json_sprintf(NODE_ID_FMT, NODE_ID_ARG(s->params.sequencer)), "servers", table_json(t)));
        return 0;
    }
    (void)printf("Loglet %" PRIu32 "_%" PRIu32 " (%" PRIu64 ")\n Used in: log %" PRIu32 ", segment %" PRIu32
                 ", from LSN %" PRIu64 "\n Sequencer: " NODE_ID_FMT "%s\n Replication: %s\n Nodeset: %s\n\n",
                 loglet_id_log(id), loglet_id_index(id), id, loglet_id_log(id), s->index, s->base,
                 NODE_ID_ARG(s->params.sequencer),
                 e && !e->tombstone && node_id_eq(e->id, s->params.sequencer) ? "" : " (gone)",
                 text_replication(text, s->params.replication), text_nodes(nodes, s->params.nodes, s->params.n_nodes));
    table_print(c, t);
    return 0;
}

/* ---- digest ---- */

static char at(const struct member *m, uint32_t offset) {
    if (!m->answered)
        return '?';
    for (size_t i = 0; i < m->digest.n; i++)
        if (offset >= m->digest.entries[i].from && offset <= m->digest.entries[i].to)
            return (char)m->digest.entries[i].status;
    return '-';
}

static void put_offset(struct table *t, const struct segment_params *p, const struct nodes_config *nodes,
                       const struct member *m, uint32_t offset, bool only_under, size_t *rows) {
    struct quorum_mask have = {0};
    struct quorum q;
    char text[NODESET_MAX * 2 + 1] = "";
    bool trimmed = false, under;

    quorum_init(&q, nodes, p->replication, p->nodes, MIN(p->n_nodes, NODESET_MAX));
    for (uint32_t i = 0; i < q.n; i++) {
        char a = at(&m[i], offset);

        text[2 * i] = a;
        text[2 * i + 1] = i + 1 < q.n ? ' ' : 0;
        trimmed |= a == LS_DIGEST_TRIMMED;
        if (a == LS_DIGEST_EXISTS)
            quorum_mask_set(&have, i);
    }
    under = !trimmed && !quorum_is_write(&q, &have);
    if (only_under && !under)
        return;
    (*rows)++;
    table_row(t);
    table_number(t, offset);
    table_cell(t, PLAIN, NULL, "%s", text);
    table_cell(t, RED, NULL, "%s", under ? "U" : "");
}

int run_loglet_digest(struct ctl *c, struct err *err) {
    static const char *const columns[] = {"OFFSET", "NODES", "ISSUES", NULL};
    _cleanup_(table_freep) struct table *t = table_new(columns), *info = NULL;
    struct ls_digest req = {.h = {.kind = LS_DIGEST}};
    uint64_t id, from = 1, to = UINT32_MAX;
    struct ls_req info_req = {.kind = LS_INFO};
    const struct segment *s;
    struct member *m;
    uint32_t last = 0;
    size_t rows = 0;
    int r = find(c, &id, &s, err);

    r = r < 0 ? r : arg_u64(&c->args, "from", UINT32_MAX, NULL, &from, err);
    r = r < 0 ? r : arg_u64(&c->args, "to", UINT32_MAX, NULL, &to, err);
    if (r < 0)
        return r;
    m = members_of(c, &s->params);
    info_req.loglet_id = req.h.loglet_id = id;
    ask_members(c, m, s->params.n_nodes, &info_req);
    info = info_table(m, s->params.n_nodes);
    for (uint32_t i = 0; i < s->params.n_nodes; i++)
        if (m[i].answered)
            last = MAX(last, m[i].reply.local_tail - 1);
    req.from = (uint32_t)MAX(from, 1u);
    req.to = (uint32_t)MIN(to, (uint64_t)last);
    if (req.to >= req.from && req.to - req.from >= OFFSETS_MAX)
        return err_set(err, RS_ETOOBIG, "more than %d offsets: say --from and --to", OFFSETS_MAX);
    if (req.to >= req.from)
        ask_members(c, m, s->params.n_nodes, &req.h);
    for (uint32_t o = req.from; o <= req.to; o++)
        put_offset(t, &s->params, c->nodes, m, o, arg_given(&c->args, "under-replicated-only"), &rows);
    for (uint32_t i = 0; i < s->params.n_nodes; i++)
        free(m[i].digest.entries);
    if (c->json) {
        json_print(json_pack("{s:s, s:o, s:o, s:o}", "loglet_id", c->args.words[0], "nodes",
                             json_nodes(s->params.nodes, s->params.n_nodes), "offsets", table_json(t), "servers",
                             table_json(info)));
        return 0;
    }
    (void)printf("Loglet %s, nodes in this order: ", c->args.words[0]);

    for (uint32_t i = 0; i < s->params.n_nodes; i++)
        (void)printf("%sN%" PRIu32 "%s", i ? " " : "", m[i].node,
                     !m[i].answered      ? "(E)"
                     : m[i].reply.sealed ? "(S)"
                                         : "");
    (void)printf("\nX: there, -: not there, T: trimmed, ?: no answer, U: fewer copies than the replication wants\n\n");
    table_print(c, t);
    (void)putchar('\n');
    table_print(c, info);
    return 0;
}

/* ---- servers ---- */

int run_loglet_servers(struct ctl *c, struct err *err) {
    static const char *const columns[] = {"NODE", "GEN", "STORAGE-STATE", "HISTORICAL-LOGLETS", "ACTIVE-LOGLETS", NULL};
    _cleanup_(table_freep) struct table *t = table_new(columns);
    int r = client_load(c, err);

    if (r == 0 && !c->logs)
        r = err_set(err, RS_ENOENT, "the logs configuration is not known to the nodes that answer");
    for (size_t i = 0; r == 0 && i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];
        uint64_t active = 0, old = 0;

        if (e->tombstone || !(e->roles & ROLE_LOG_SERVER))
            continue;
        for (struct map_node *n = map_iter(&c->logs->chains, NULL); n; n = map_iter(&c->logs->chains, n)) {
            const struct chain *ch = MAP_ENTRY(n, struct chain, node);

            for (size_t k = 0; k < ch->n; k++)
                for (uint32_t x = 0; x < ch->segments[k].params.n_nodes; x++)
                    if (ch->segments[k].params.nodes[x] == e->id.id)
                        *(k + 1 == ch->n ? &active : &old) += 1;
        }
        table_row(t);
        table_cell(t, PLAIN, NULL, "N%" PRIu32, e->id.id);
        table_number(t, e->id.generation);
        table_cell(t, e->storage_state == STORAGE_READ_WRITE ? GREEN : YELLOW, NULL, "%s",
                   storage_state_str(e->storage_state));
        table_number(t, old);
        table_number(t, active);
    }
    if (r == 0 && c->json)
        json_print(table_json(t));
    else if (r == 0)
        table_print(c, t);
    return r;
}
