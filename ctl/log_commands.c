/* SPDX-License-Identifier: Apache-2.0 */
/* logs describe | find-tail | trim | seal | reconfigure. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "control/cluster_ctrl.h"
#include "ctl.h"
#include "meta/json.h"

/* The logs that the words name; all of them when there are none. */
static int wanted_logs(struct ctl *c, bool all, struct ids *ret, struct err *err) {
    int r = ids_parse(c->args.words, c->args.n, ret, err);

    if (r == 0 && ret->n == 0 && !all)
        return err_set(err, RS_EINVAL, "which logs? Ids such as 0, 1-4 are needed");
    for (uint32_t id = 0, seen = 0; r == 0 && c->args.n == 0 && seen < c->logs->chains.n && id < 65536; id++)
        if (logs_config_chain(c->logs, id)) {
            seen++;
            ret->v = xrealloc(ret->v, (ret->n + 1) * sizeof(uint32_t));
            ret->v[ret->n++] = id;
        }
    return r;
}

static int load(struct ctl *c, struct err *err) {
    int r = client_load(c, err);

    if (r == 0 && !c->logs)
        return err_set(err, RS_ENOENT, "the logs configuration is not known to the nodes that answer");
    return r;
}

/* The node that writes the log knows best how far it is committed: it is asked first. */
static int ask_owner(struct ctl *c, uint32_t log, uint16_t type, const struct ctl_request *m, struct ctl_response *ret,
                     struct err *err) {
    const struct chain *ch = logs_config_chain(c->logs, log);
    const struct segment *tail = ch ? chain_tail(ch) : NULL;
    uint32_t owner = tail && tail->kind == SEGMENT_REPLICATED ? tail->params.sequencer.id : 0;
    int r = RS_EAGAIN;

    if (owner && node_address(c, owner) && !node_is_dead(c, owner) && !c->single)
        r = client_request_at(c, node_address(c, owner), SERVICE_CLUSTER_CTRL, type, m, ret, err);
    return r == RS_EAGAIN ? client_request(c, SERVICE_CLUSTER_CTRL, type, m, ret, err) : r;
}

/* ---- describe ---- */

static void put_nodeset(struct ctl *c, struct table *t, const struct segment_params *p) {
    struct quorum_mask writable = {0};
    uint32_t good[NODESET_MAX], n = 0;
    struct quorum q;
    text_t text;

    quorum_init(&q, c->nodes, p->replication, p->nodes, MIN(p->n_nodes, NODESET_MAX));
    for (uint32_t i = 0; i < q.n; i++)
        if (q.members[i].writable) {
            quorum_mask_set(&writable, i);
            good[n++] = q.members[i].node;
        }
    table_cell(t, quorum_is_write(&q, &writable) ? PLAIN : RED, json_nodes(good, n), "%s", text_nodes(text, good, n));
}

static void put_sequencer(struct ctl *c, struct table *t, const struct segment *s, bool tail) {
    const struct node_entry *e = nodes_config_find(c->nodes, s->params.sequencer.id);
    bool lives = e && !e->tombstone && node_id_eq(e->id, s->params.sequencer) && !node_is_dead(c, e->id.id);

    table_cell(t, !tail ? PLAIN : lives ? GREEN : RED, NULL, NODE_ID_FMT, NODE_ID_ARG(s->params.sequencer));
}

static void put_segment(struct ctl *c, struct table *t, const struct chain *ch, const struct segment *s) {
    bool tail = s == chain_tail(ch);
    _cleanup_buf_ struct buf nodes = {0};
    text_t text, replication;

    table_row(t);
    table_cell(t, GREEN, tail ? json_true() : json_false(), "%s", tail ? "▶︎" : "");
    table_number(t, s->index);
    table_number(t, s->base);
    if (s->kind == SEGMENT_SEALED) {
        table_cell(t, YELLOW, NULL, "sealed");
        for (int i = 0; i < 4; i++)
            table_cell(t, PLAIN, json_null(), "%s", i == 0 ? "N/A" : "");
    } else {
        table_cell(t, PLAIN, NULL, "replicated");
        table_cell(t, PLAIN, NULL, "%" PRIu32 "_%" PRIu32, loglet_id_log(s->params.loglet_id),
                   loglet_id_index(s->params.loglet_id));
        table_cell(t, PLAIN, NULL, "%s", text_replication(replication, s->params.replication));
        put_sequencer(c, t, s, tail);
        put_nodeset(c, t, &s->params);
    }
    if (s->created_at_ms)
        table_cell(t, PLAIN, json_u64(s->created_at_ms), "%s", text_ago(text, c, s->created_at_ms, c->state->now_ms));
    else
        table_cell(t, PLAIN, json_null(), "--");
    if (arg_given(&c->args, "extra")) {
        for (uint32_t i = 0; i < s->params.n_nodes; i++)
            buf_putf(&nodes, "%s%" PRIu32, i ? "," : "", s->params.nodes[i]);
        if (s->kind == SEGMENT_REPLICATED)
            table_cell(t, PLAIN, NULL,
                       "{\"loglet_id\":%" PRIu64 ",\"sequencer\":\"" NODE_ID_FMT "\",\"leader_epoch\":%" PRIu64
                       ",\"nodeset\":[%s]}",
                       s->params.loglet_id, NODE_ID_ARG(s->params.sequencer), s->params.leader_epoch, buf_cstr(&nodes));
        else
            table_cell(t, PLAIN, NULL, "%s", "");
    }
    if (s->kind == SEGMENT_SEALED)
        table_cell(t, PLAIN, NULL, "%s%s", s->permanent ? "for good: " : "", s->reason ? s->reason : "");
}

/* Which segments: all, or the first or last so many, or from one on. */
static int choose(struct ctl *c, const struct chain *ch, size_t *ret_from, size_t *ret_until, struct err *err) {
    uint64_t tail = 25, head = 0, skip = 0, id = 0;
    bool has_head, has_skip, has_id;
    int r = arg_u64(&c->args, "tail", UINT32_MAX, NULL, &tail, err);

    r = r < 0 ? r : arg_u64(&c->args, "head", UINT32_MAX, &has_head, &head, err);
    r = r < 0 ? r : arg_u64(&c->args, "skip", UINT32_MAX, &has_skip, &skip, err);
    r = r < 0 ? r : arg_u64(&c->args, "from-segment-id", UINT32_MAX, &has_id, &id, err);
    if (r < 0)
        return r;
    *ret_from = has_skip ? MIN(skip, (uint64_t)ch->n) : 0;
    while (has_id && *ret_from < ch->n && ch->segments[*ret_from].index < id)
        (*ret_from)++;
    *ret_until = ch->n;
    if (arg_given(&c->args, "all"))
        return 0;
    if (has_head)
        *ret_until = MIN((uint64_t)ch->n, *ret_from + head);
    else if (ch->n - *ret_from > tail)
        *ret_from = ch->n - tail;
    return 0;
}

static int describe(struct ctl *c, const struct chain *ch, json_t *all, struct err *err) {
    static const char *const few[] = {"",          "IDX",         "FROM-LSN",   "KIND",  "LOGLET-ID", "REPLICATION",
                                      "SEQUENCER", "EFF-NODESET", "CREATED-AT", "NOTES", NULL};
    static const char *const many[] = {"",          "IDX",         "FROM-LSN",   "KIND",   "LOGLET-ID", "REPLICATION",
                                       "SEQUENCER", "EFF-NODESET", "CREATED-AT", "PARAMS", "NOTES",     NULL};
    bool extra = arg_given(&c->args, "extra");
    _cleanup_(table_freep) struct table *t = table_new(extra ? many : few);
    struct ctl_request m = {.log_id = ch->log_id};
    struct ctl_response a = {0};
    size_t from, until;
    int r = choose(c, ch, &from, &until, err);

    if (r == 0 && (extra || c->json))
        r = ask_owner(c, ch->log_id, CLUSTER_DESCRIBE, &m, &a, err);
    if (r < 0)
        return r;
    for (size_t i = from; i < until; i++)
        put_segment(c, t, ch, &ch->segments[i]);
    if (c->json) {
        (void)json_array_append_new(all, json_pack("{s:I, s:I, s:I, s:I, s:o}", "log_id", (json_int_t)ch->log_id,
                                                   "logs_version", (json_int_t)c->logs->version, "trim_point",
                                                   (json_int_t)a.lsn, "n_segments", (json_int_t)ch->n, "segments",
                                                   table_json(t)));
        return 0;
    }
    (void)printf("Log Id: %" PRIu32 " (v%" PRIu32 ")\n", ch->log_id, c->logs->version);
    if (extra)
        (void)printf("Trim Point LSN: %" PRIu64 "\n", a.lsn);
    table_print(c, t);
    (void)printf("---\n%zu/%zu segments shown.\n\n", until - from, ch->n);
    return 0;
}

/* Goes through @ids; one that fails is told, and the others go on. */
static int each_log(struct ctl *c, bool default_all, int (*fn)(struct ctl *, uint32_t log, json_t *all, struct err *),
                    struct err *err) {
    struct ids ids = {0};
    json_t *all = json_array();
    size_t failed = 0;
    int r = load(c, err);

    if (r == 0)
        r = wanted_logs(c, default_all, &ids, err);
    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        struct err e = {0};

        if (fn(c, ids.v[i], all, &e) == 0)
            continue;
        failed++;
        (void)fflush(stdout);
        (void)fprintf(stderr, "log %" PRIu32 ": %s\n", ids.v[i], e.msg);
        if (c->json)
            (void)json_array_append_new(all, json_pack("{s:I, s:s}", "log_id", (json_int_t)ids.v[i], "error", e.msg));
    }
    if (r == 0 && c->json)
        json_print(all);
    else
        json_decref(all);
    if (r == 0 && failed)
        r = err_set(err, RS_EIO, "%zu of %zu logs failed", failed, ids.n);
    ids_done(&ids);
    return r;
}

static int describe_log(struct ctl *c, uint32_t log, json_t *all, struct err *err) {
    const struct chain *ch = logs_config_chain(c->logs, log);

    return ch ? describe(c, ch, all, err) : err_set(err, RS_ENOENT, "there is no such log");
}

int run_logs_describe(struct ctl *c, struct err *err) {
    return each_log(c, true, describe_log, err);
}

/* ---- find-tail ---- */

int run_logs_find_tail(struct ctl *c, struct err *err) {
    static const char *const columns[] = {"LOG-ID", "SEGMENT", "STATE", "TAIL-LSN", NULL};
    _cleanup_(table_freep) struct table *t = table_new(columns);
    struct ids ids = {0};
    size_t failed = 0;
    int r = load(c, err);

    if (r == 0)
        r = wanted_logs(c, false, &ids, err);
    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        struct ctl_request m = {.log_id = ids.v[i]};
        struct ctl_response a;
        struct err e = {0};
        int status = ask_owner(c, ids.v[i], CLUSTER_FIND_TAIL, &m, &a, &e);

        table_row(t);
        table_number(t, ids.v[i]);
        if (status == 0) {
            table_number(t, a.segment);
            table_cell(t, a.sealed ? YELLOW : GREEN, NULL, "%s", a.sealed ? "SEALED" : "OPEN");
            table_number(t, a.lsn);
            continue;
        }
        failed++;
        table_cell(t, PLAIN, json_null(), "-");
        table_cell(t, RED, NULL, "%s", e.msg);
        table_cell(t, PLAIN, json_null(), "-");
    }
    if (r == 0 && c->json)
        json_print(table_json(t));
    else if (r == 0)
        table_print(c, t);
    if (r == 0 && failed)
        r = err_set(err, RS_EIO, "the tail of %zu of %zu logs was not found", failed, ids.n);
    ids_done(&ids);
    return r;
}

/* ---- trim, seal ---- */

static int trim_log(struct ctl *c, uint32_t log, json_t *all, struct err *err) {
    struct ctl_request m = {.log_id = log};
    struct ctl_response a;
    bool given;
    int r = arg_u64(&c->args, "trim-point", UINT64_MAX, &given, &m.lsn, err);

    if (r == 0)
        r = ask_owner(c, log, CLUSTER_TRIM, &m, &a, err);
    if (r < 0)
        return r;
    if (a.lsn < m.lsn)
        return err_set(err, RS_EAGAIN,
                       "trimmed up to LSN %" PRIu64 " only: what follows is not known to be committed, or not written",
                       a.lsn);
    if (c->json)
        (void)json_array_append_new(
            all, json_pack("{s:I, s:I}", "log_id", (json_int_t)log, "trim_point", (json_int_t)a.lsn));
    else
        (void)printf("Log %" PRIu32 ": trimmed up to LSN %" PRIu64 "\n", log, a.lsn);
    return 0;
}

int run_logs_trim(struct ctl *c, struct err *err) {
    char question[128];
    int r;

    if (!arg_given(&c->args, "trim-point"))
        return err_set(err, RS_EINVAL, "up to which LSN? --trim-point LSN, which goes as well");
    (void)snprintf(question, sizeof question, "Records up to LSN %.20s are removed for good. Trim?",
                   arg_value(&c->args, "trim-point"));
    r = confirm(c, question, err);
    return r < 0 ? r : each_log(c, false, trim_log, err);
}

static int seal(struct ctl *c, uint32_t log, const char *why, uint64_t *ret_tail, struct err *err) {
    struct ctl_request m = {.log_id = log, .key = slice_str(why)};
    struct ctl_response a;
    uint64_t segment = 0;
    bool given;
    int r = arg_u64(&c->args, "segment-index", UINT32_MAX - 1, &given, &segment, err);

    m.segment = given ? (uint32_t)segment + 1 : 0;
    if (r == 0)
        r = ask_owner(c, log, CLUSTER_SEAL, &m, &a, err);
    if (r == 0)
        *ret_tail = a.lsn;
    return r;
}

static int seal_log(struct ctl *c, uint32_t log, json_t *all, struct err *err) {
    const char *reason = arg_value(&c->args, "reason");
    uint64_t tail;
    int r = seal(c, log, reason ? reason : "restatectl logs seal", &tail, err);

    if (r < 0)
        return r;
    if (c->json)
        (void)json_array_append_new(all,
                                    json_pack("{s:I, s:I}", "log_id", (json_int_t)log, "tail_lsn", (json_int_t)tail));
    else
        (void)printf("Log %" PRIu32 ": sealed at tail LSN %" PRIu64 "\n", log, tail);
    return 0;
}

int run_logs_seal(struct ctl *c, struct err *err) {
    return each_log(c, false, seal_log, err);
}

/* ---- reconfigure ---- */

/* The first segment at or behind @lsn that is no marker; NULL: not there yet. */
static const struct segment *segment_from(const struct chain *ch, uint64_t lsn, uint32_t after) {
    for (size_t i = 0; ch && i < ch->n; i++)
        if (ch->segments[i].kind == SEGMENT_REPLICATED && ch->segments[i].base >= lsn && ch->segments[i].index > after)
            return &ch->segments[i];
    return NULL;
}

/* The leader of the partition extends the chain by itself; this waits for it to show. */
static const struct segment *await_segment(struct ctl *c, uint32_t log, uint64_t lsn, uint32_t after) {
    for (int tries = 0; tries < 40; tries++) {
        const struct segment *s;
        struct logs_config *fresh;
        struct slice value;
        uint32_t version;

        if (metadata_read(c, META_KEY_LOGS, &version, &value, NULL) == 0 && version > c->logs->version &&
            logs_config_parse(value, &fresh, NULL) == 0) {
            (void)logs_config_free(c->logs);
            c->logs = fresh;
        }
        s = segment_from(logs_config_chain(c->logs, log), lsn, after);
        if (s)
            return s;
        (void)usleep(250000);
    }
    return NULL;
}

static int reconfigure_log(struct ctl *c, uint32_t log, json_t *all, struct err *err) {
    const struct chain *ch = logs_config_chain(c->logs, log);
    uint32_t after = ch ? chain_tail(ch)->index : 0;
    const struct segment *s;
    text_t replication, nodes;
    uint64_t tail;
    int r;

    if (ch && chain_tail(ch)->kind == SEGMENT_SEALED && ch->n > 1)
        after = ch->segments[ch->n - 2].index;
    r = seal(c, log, "restatectl logs reconfigure", &tail, err);
    if (r < 0)
        return r;
    s = await_segment(c, log, tail, after);
    if (!s)
        return err_set(err, RS_ETIMEDOUT,
                       "sealed at LSN %" PRIu64 ", but no leader has extended it yet: see restatectl status", tail);
    if (c->json) {
        (void)json_array_append_new(all,
                                    json_pack("{s:I, s:I, s:I, s:s, s:o, s:o}", "log_id", (json_int_t)log, "segment",
                                              (json_int_t)s->index, "tail_lsn", (json_int_t)tail, "replication",
                                              text_replication(replication, s->params.replication), "sequencer",
                                              json_sprintf(NODE_ID_FMT, NODE_ID_ARG(s->params.sequencer)), "nodeset",
                                              json_nodes(s->params.nodes, s->params.n_nodes)));
        return 0;
    }
    (void)printf("✅ Log %" PRIu32 " has been reconfigured: segment %" PRIu32 " from LSN %" PRIu64
                 "\n ├ Sealed tail LSN: %" PRIu64 "\n ├ Loglet: %" PRIu32 "_%" PRIu32 "\n ├ Sequencer: " NODE_ID_FMT
                 "\n ├ Replication: %s\n └ Nodeset: %s\n",
                 log, s->index, s->base, tail, loglet_id_log(s->params.loglet_id), loglet_id_index(s->params.loglet_id),
                 NODE_ID_ARG(s->params.sequencer), text_replication(replication, s->params.replication),
                 text_nodes(nodes, s->params.nodes, s->params.n_nodes));
    return 0;
}

int run_logs_reconfigure(struct ctl *c, struct err *err) {
    const char *ids = arg_value(&c->args, "log-id"), *provider = arg_value(&c->args, "provider");

    if (provider && strcmp(provider, "replicated") != 0)
        return err_set(err, RS_EUNSUPPORTED, "a replicated log stays replicated: there is no other provider");
    if (arg_given(&c->args, "sequencer"))
        return err_set(err, RS_EUNSUPPORTED,
                       "the sequencer of a log is its partition's leader: see restatectl partitions leadership pin");
    if (arg_given(&c->args, "replication") || arg_given(&c->args, "nodeset"))
        return err_set(err, RS_EUNSUPPORTED,
                       "the leader chooses replication and nodeset of the new segment from the cluster's "
                       "configuration: see restatectl config set --log-replication");
    if (ids && c->args.n < ARGS_MAX)
        c->args.words[c->args.n++] = ids;
    return each_log(c, false, reconfigure_log, err);
}
