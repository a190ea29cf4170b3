/* SPDX-License-Identifier: Apache-2.0 */
/* What clients and other members ask of a metadata server. Reads and writes are the leader's; SYNC and STATUS are
 * answered by everybody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/limits.h"
#include "base/logging.h"
#include "meta/meta.h"
#include "meta/metadata_internal.h"
#include "meta/nodes_config.h"

/* ---- answers ---- */

static void reply(struct metadata_server *s, struct fabric_request *r, struct md_reply *m) {
    _cleanup_buf_ struct buf out = {0};
    const char *address = NULL;

    m->leader = metadata_leader(s);
    if (m->leader && s->p.address)
        address = s->p.address(s->p.arg, m->leader);
    m->leader_address = slice_str(address);
    md_reply_encode(m, &out);
    fabric_reply(s->p.fabric, r, buf_slice(&out), NULL, 0);
}

static void reply_code(struct metadata_server *s, struct fabric_request *r, enum md_code code, const char *text) {
    struct md_reply m = {.code = (uint32_t)code, .message = slice_str(text)};

    reply(s, r, &m);
}

static struct md_value value_of(const struct kv_value *v) {
    return (struct md_value){.key = slice_str(v->key),
                             .version = v->version,
                             .value = bytes_slice(v->value),
                             .changed = v->changed,
                             .removed = v->removed};
}

static void reply_value(struct metadata_server *s, struct fabric_request *r, enum md_code code,
                        const struct kv_value *v) {
    struct md_value value = v ? value_of(v) : (struct md_value){0};
    struct md_reply m = {
        .code = (uint32_t)code, .version = v && !v->removed ? v->version : 0, .value = v ? &value : NULL};

    reply(s, r, &m);
}

static struct waiting *wait_new(struct metadata_server *s, struct list *in, struct fabric_request *r) {
    struct waiting *w = xnew(struct waiting);

    w->r = r;
    list_push_back(in, &w->link);
    s->n_waiting++;
    return w;
}

static void wait_free(struct metadata_server *s, struct waiting *w) {
    list_remove(&w->link);
    s->n_waiting--;
    free(w->key);
    free(w);
}

/* ---- writes ---- */

static void ask_put(struct metadata_server *s, struct fabric_request *r, const struct md_request *m) {
    _cleanup_buf_ struct buf data = {0};
    uint64_t index, term;
    struct waiting *w;
    struct bytes *b;
    enum md_code code;
    struct raft_status st;
    const struct kv_value *v;
    char key[META_KEY_MAX];
    int e;

    raft_status(s->raft, &st);
    if (!m->put || m->put->value.len > LIMIT_METADATA_VALUE_BYTES) {
        reply_code(s, r, MD_REFUSED, "no value, or one that is too large");
        return;
    }
    code = kv_check(&s->kv, m->put->key, m->put->precondition, m->put->expected, m->put->version);
    if (code == MD_REFUSED) {
        reply_code(s, r, code, "not a metadata key");
        return;
    }
    (void)snprintf(key, sizeof key, SLICE_FMT, SLICE_ARG(m->put->key));
    v = kv_find(&s->kv, key);
    /* Refused at once only where it can never succeed: versions rise. One that expects a newer version than is stored
     * here shows that somebody else may lead by now; its answer is found by proposing it. */
    if (code == MD_MISMATCH && v && v->version >= m->put->version && st.settled && st.applied == st.commit &&
        st.commit == st.last_index) {
        reply_value(s, r, code, v);
        return;
    }
    md_put_encode(m->put, &data);
    b = bytes_take_buf(&data);
    e = raft_propose(s->raft, b, &index, &term);
    (void)bytes_unref(b);
    if (e < 0) {
        reply_code(s, r, e == RS_ENOMEM ? MD_NOT_READY : MD_NOT_LEADER, NULL);
        return;
    }
    w = wait_new(s, &s->proposals, r);
    w->index = index;
    w->term = term;
    metadata_pump(s);
}

void metadata_applied(struct metadata_server *s, const struct raft_entry *e, struct kv_result result) {
    LIST_FOREACH_SAFE (l, &s->proposals) {
        struct waiting *w = LIST_ENTRY(l, struct waiting, link);

        if (w->index != e->index)
            continue;
        if (w->term != e->term)
            reply_code(s, w->r, MD_NOT_LEADER, NULL); /* another leader's entry took the place: mine never happened */
        else if (e->kind == RAFT_CONFIG)
            reply_code(s, w->r, MD_OK, NULL);
        else
            reply_value(s, w->r, result.code, result.value);
        wait_free(s, w);
    }
}

void metadata_lost_lead(struct metadata_server *s) {
    for (struct list *l; !list_empty(&s->proposals) && (l = s->proposals.next);) {
        struct waiting *w = LIST_ENTRY(l, struct waiting, link);

        reply_code(s, w->r, MD_UNKNOWN, "the leadership was lost");
        wait_free(s, w);
    }
    for (struct list *l; !list_empty(&s->reads) && (l = s->reads.next);) {
        struct waiting *w = LIST_ENTRY(l, struct waiting, link);

        reply_code(s, w->r, MD_NOT_LEADER, NULL);
        wait_free(s, w);
    }
}

/* ---- reads ---- */

static void ask_get(struct metadata_server *s, struct fabric_request *r, const struct md_request *m) {
    struct waiting *w;

    if (raft_read(s->raft, ++s->next_context) < 0) {
        reply_code(s, r, MD_NOT_READY, "the leader is not ready yet");
        return;
    }
    w = wait_new(s, &s->reads, r);
    w->context = s->next_context;
    w->key = xmalloc(m->key.len + 1);
    memcpy(w->key, m->key.data, m->key.len);
    w->key[m->key.len] = 0;
    metadata_pump(s);
}

void metadata_confirmed(struct metadata_server *s, const struct raft_read_state *rs) {
    LIST_FOREACH_SAFE (l, &s->reads) {
        struct waiting *w = LIST_ENTRY(l, struct waiting, link);

        if (w->context == rs->context) { /* applied >= rs->index: what is committed was applied before */
            reply_value(s, w->r, MD_OK, kv_find(&s->kv, w->key));
            wait_free(s, w);
            return;
        }
    }
}

/* ---- news ---- */

static int by_change(const void *a, const void *b) {
    uint64_t x = ((const struct md_value *)a)->changed, y = ((const struct md_value *)b)->changed;

    return x < y ? -1 : x > y;
}

static void answer_sync(struct metadata_server *s, struct fabric_request *r, uint64_t since) {
    struct md_value *values = xcalloc(s->kv.values.n + 1, sizeof *values);
    struct md_reply m = {.values = values, .index = s->applied};
    size_t bytes = 0, n = 0;

    MAP_FOREACH (e, &s->kv.values) {
        const struct kv_value *v = MAP_ENTRY(e, struct kv_value, node);

        if (v->changed > since)
            values[n++] = value_of(v);
    }
    qsort(values, n, sizeof *values, by_change);
    while (m.n_values < n && (m.n_values == 0 || bytes + values[m.n_values].value.len <= METADATA_SYNC_BYTES))
        bytes += values[m.n_values++].value.len;
    if (m.n_values < n) { /* the rest the next time; values of one entry stay together */
        while (m.n_values > 1 && values[m.n_values - 1].changed == values[m.n_values].changed)
            m.n_values--;
        m.index = values[m.n_values - 1].changed;
    }
    reply(s, r, &m);
    free(values);
}

static bool has_news(const struct metadata_server *s, uint64_t since) {
    if (s->applied <= since)
        return false;
    MAP_FOREACH (e, &s->kv.values)
        if (MAP_ENTRY(e, struct kv_value, node)->changed > since)
            return true;
    return false;
}

static void ask_sync(struct metadata_server *s, struct fabric_request *r, const struct md_request *m) {
    struct waiting *w;

    if (m->since == 0 || m->wait_ms == 0 || has_news(s, m->since)) {
        answer_sync(s, r, m->since);
        return;
    }
    w = wait_new(s, &s->syncs, r);
    w->since = m->since;
    w->until_ns = loop_now_ns(s->p.loop) + MIN(m->wait_ms, (uint64_t)METADATA_SYNC_WAIT_MS) * 1000000;
}

void metadata_news(struct metadata_server *s) {
    LIST_FOREACH_SAFE (l, &s->syncs) {
        struct waiting *w = LIST_ENTRY(l, struct waiting, link);

        if (has_news(s, w->since)) {
            answer_sync(s, w->r, w->since);
            wait_free(s, w);
        }
    }
}

static void ask_status(struct metadata_server *s, struct fabric_request *r) {
    uint32_t members[RAFT_MEMBERS_MAX];
    struct metadata_server_status st;
    struct md_status m;
    struct md_reply a = {.status = &m};

    metadata_server_status(s, &st);
    m = (struct md_status){.state = (uint32_t)st.state,
                           .term = st.raft.term,
                           .applied = s->applied,
                           .committed = st.raft.commit,
                           .first = st.raft.first_index,
                           .last = st.raft.last_index,
                           .snapshot_index = st.raft.snapshot_index,
                           .snapshot_bytes = st.snapshot_bytes,
                           .members = members,
                           .n_members = st.raft.config.n,
                           .config_version = st.raft.config.version,
                           .learner = st.raft.config.learner.id,
                           .leader = st.raft.leader.id,
                           .settled = st.raft.settled};
    for (uint32_t i = 0; i < st.raft.config.n; i++)
        members[i] = st.raft.config.voters[i].id;
    reply(s, r, &a);
}

/* ---- membership ---- */

static const char *may_join(const struct metadata_server *s, struct raft_member m) {
    const struct kv_value *v = kv_find(&s->kv, META_KEY_NODES);
    _cleanup_(nodes_config_freep) struct nodes_config *c = NULL;
    const struct node_entry *n;

    if (!v || v->removed || nodes_config_parse(bytes_slice(v->value), &c, NULL) < 0)
        return "the nodes configuration is not there";
    n = nodes_config_find(c, m.id);
    if (!n || n->tombstone || !(n->roles & ROLE_METADATA_SERVER))
        return "the nodes configuration has no such metadata server";
    for (uint32_t i = 0; i < s->config.n; i++)
        if (s->config.voters[i].id == m.id && s->config.voters[i].created_ms != m.created_ms)
            return "this node lost the disk with which it is a member: remove it (metadata-server remove-node), then "
                   "add it again";
    if (s->config.n >= RAFT_MEMBERS_MAX)
        return "the metadata group has as many members as it may have";
    return NULL;
}

static void propose_config(struct metadata_server *s, struct fabric_request *r, const struct raft_config *next) {
    uint64_t index, term;
    struct waiting *w;
    int e = raft_propose_config(s->raft, next, SLICE_NULL, &index, &term);

    if (e < 0) {
        reply_code(s, r, MD_NOT_READY, "another change of the members is under way");
        return;
    }
    w = wait_new(s, &s->proposals, r);
    w->index = index;
    w->term = term;
    metadata_pump(s);
}

static void ask_join(struct metadata_server *s, struct fabric_request *r, const struct md_request *m) {
    struct raft_member who = {m->node, m->created};
    struct raft_config next = s->config;
    const char *why = may_join(s, who);

    if (why) {
        reply_code(s, r, MD_REFUSED, why);
    } else if (raft_config_votes(&s->config, who) || raft_member_eq(s->config.learner, who)) {
        reply_code(s, r, MD_OK, NULL);
    } else if (s->config.learner.id && s->config.learner.id != who.id && raft_is_active(s->raft, s->config.learner)) {
        reply_code(s, r, MD_NOT_READY, "another node is joining");
    } else {
        next.learner = s->config.learner.id ? (struct raft_member){0} : who; /* a learner that went is dropped first */
        next.version++;
        propose_config(s, r, &next);
    }
}

static void ask_remove(struct metadata_server *s, struct fabric_request *r, const struct md_request *m) {
    struct raft_config next = s->config;
    uint32_t at = next.n;

    for (uint32_t i = 0; i < next.n; i++)
        if (next.voters[i].id == m->node)
            at = i;
    next.version++;
    if (next.learner.id == m->node) {
        next.learner = (struct raft_member){0};
        propose_config(s, r, &next);
    } else if (at == next.n) {
        reply_code(s, r, MD_REFUSED, "not a member");
    } else if (next.n == 1) {
        reply_code(s, r, MD_REFUSED, "the last member cannot be removed");
    } else {
        next.voters[at] = next.voters[--next.n];
        propose_config(s, r, &next);
    }
}

/* ---- dispatch ---- */

static void provisioned(void *arg, int status, const struct err *err) {
    struct waiting *w = arg;
    struct metadata_server *s = w->arg;

    reply_code(s, w->r, status == 0 ? MD_OK : MD_REFUSED, status < 0 ? err->msg : NULL);
    wait_free(s, w);
}

static void ask_provision(struct metadata_server *s, struct fabric_request *r, const struct md_request *m) {
    struct waiting *w;

    if (s->state != METADATA_AWAITING) {
        reply_code(s, r, MD_MISMATCH, "the cluster is provisioned already");
        return;
    }
    w = wait_new(s, &s->round, r);
    w->arg = s;
    (void)metadata_found(s, m->nodes_config, provisioned, w);
}

static bool is_stranger(const struct metadata_server *s, const struct md_request *m) {
    return (m->cluster_name.len && !slice_eq_str(m->cluster_name, s->cluster_name)) ||
           (m->fingerprint && s->fingerprint && m->fingerprint != s->fingerprint);
}

static void dispatch(struct metadata_server *s, struct fabric_request *r, const struct md_request *m) {
    struct raft_status st = {0};
    bool leads;

    if (s->raft)
        raft_status(s->raft, &st);
    leads = s->raft && st.role == RAFT_LEADER;
    if (r->type == METADATA_STATUS) {
        ask_status(s, r);
    } else if (is_stranger(s, m)) {
        reply_code(s, r, MD_REFUSED, "this metadata server belongs to another cluster");
    } else if (r->type == METADATA_PROVISION) {
        ask_provision(s, r, m);
    } else if (!s->raft) {
        reply_code(s, r, MD_NOT_READY, s->state == METADATA_AWAITING ? "not provisioned" : "not a member");
    } else if (s->n_waiting >= METADATA_QUEUE_MAX) {
        reply_code(s, r, MD_NOT_READY, "too many requests wait");
    } else if (r->type == METADATA_SYNC) {
        ask_sync(s, r, m);
    } else if (!leads) {
        reply_code(s, r, MD_NOT_LEADER, NULL);
    } else if (r->type == METADATA_GET) {
        ask_get(s, r, m);
    } else if (r->type == METADATA_PUT) {
        ask_put(s, r, m);
    } else if (r->type == METADATA_JOIN) {
        ask_join(s, r, m);
    } else if (r->type == METADATA_REMOVE) {
        ask_remove(s, r, m);
    } else {
        fabric_reply_status(s->p.fabric, r, RPC_MESSAGE_UNRECOGNIZED);
    }
}

static void handle(void *arg, struct fabric_request *r) {
    struct metadata_server *s = arg;
    _cleanup_(arena_done) struct arena a = {0};
    struct md_request m;

    if (!r->is_call)
        return;
    if (md_request_decode(&m, r->payload, &a, NULL) < 0) {
        reply_code(s, r, MD_REFUSED, "a damaged request");
        return;
    }
    if (r->type == METADATA_ADD) {
        s->asked = true;
        reply_code(s, r, MD_OK, NULL);
        return;
    }
    dispatch(s, r, &m);
}

/* ---- a standby asks to become a member ---- */

static void on_join_answer(struct fabric_call *call, enum rpc_status status, struct node_id from, struct slice body,
                           struct bytes *frame, const struct err *why) {
    struct metadata_server *s = CONTAINER_OF(call, struct metadata_server, join);
    _cleanup_(arena_done) struct arena a = {0};
    struct md_reply m;

    (void)frame;
    (void)why;
    s->join_open = false;
    s->join_hint = 0;
    if (status != RPC_OK || md_reply_decode(&m, body, &a, NULL) < 0)
        return;
    if (m.code == MD_NOT_LEADER && m.leader != from.id)
        s->join_hint = m.leader;
    if (m.code == MD_REFUSED)
        LOG_WARN("the metadata group does not take this node", F_STR("why", m.message.len ? "refused" : ""),
                 F_SLICE("message", m.message));
}

/* Who may know the leader: the hint, else the members in turn. */
static uint32_t next_member(struct metadata_server *s) {
    uint32_t ids[64], n = s->p.members ? s->p.members(s->p.arg, ids, 64) : 0;

    return s->join_hint ? s->join_hint : n ? ids[s->join_next++ % n] : 0;
}

static void ask_for_membership(struct metadata_server *s) {
    struct md_request m = {.cluster_name = slice_str(s->cluster_name),
                           .fingerprint = s->fingerprint,
                           .node = s->marker.self.id,
                           .created = s->marker.self.created_ms};
    struct fabric_message msg = {.service = SERVICE_METADATA_SERVER, .type = METADATA_JOIN};
    struct fabric_dest d = {.node = {next_member(s), 0}};
    _cleanup_buf_ struct buf body = {0};

    if (d.node.id == 0)
        return;
    md_request_encode(&m, &body);
    msg.head = buf_slice(&body);
    s->join = (struct fabric_call){.done = on_join_answer};
    s->join_open = true;
    fabric_call(s->p.fabric, &s->join, &d, LANE_GENERAL, &msg, loop_now_ns(s->p.loop) + 3000000000u);
}

static bool wants_in(const struct metadata_server *s) {
    return s->asked || (s->p.auto_join && !s->left && (!s->p.may_join || s->p.may_join(s->p.arg)));
}

void metadata_requests_tick(struct metadata_server *s) {
    uint64_t now = loop_now_ns(s->p.loop);
    bool outside =
        s->state == METADATA_IS_STANDBY || (s->raft && s->config.n && !raft_config_votes(&s->config, s->marker.self));

    LIST_FOREACH_SAFE (l, &s->syncs) {
        struct waiting *w = LIST_ENTRY(l, struct waiting, link);

        if (w->until_ns <= now) {
            answer_sync(s, w->r, w->since);
            wait_free(s, w);
        }
    }
    if (outside && wants_in(s) && s->fingerprint && !s->join_open && s->join_ticks++ % 5 == 0)
        ask_for_membership(s);
}

void metadata_requests_init(struct metadata_server *s) {
    list_init(&s->proposals);
    list_init(&s->reads);
    list_init(&s->round);
    list_init(&s->syncs);
}

void metadata_requests_open(struct metadata_server *s) {
    s->service = (struct fabric_service){.id = SERVICE_METADATA_SERVER, .handle = handle, .arg = s};
    fabric_serve(s->p.fabric, &s->service);
}

void metadata_requests_close(struct metadata_server *s) {
    struct list *all[] = {&s->proposals, &s->reads, &s->syncs, &s->round};

    fabric_unserve(s->p.fabric, &s->service);
    if (s->join_open)
        fabric_call_drop(s->p.fabric, &s->join);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        while (!list_empty(all[i])) {
            struct waiting *w = LIST_ENTRY(all[i]->next, struct waiting, link);

            reply_code(s, w->r, i == 0 ? MD_UNKNOWN : MD_NOT_READY, "this server is stopping");
            wait_free(s, w);
        }
}

/* ---- local provisioning ---- */

void metadata_server_provision(struct metadata_server *s, struct slice nodes_config, metadata_done_fn done, void *arg) {
    if (s->state == METADATA_AWAITING) {
        (void)metadata_found(s, nodes_config, done, arg);
    } else {
        struct err err;

        (void)err_set(&err, RS_EEXIST, "the cluster is provisioned already");
        done(arg, RS_EEXIST, &err);
    }
}
