/* SPDX-License-Identifier: Apache-2.0 */
/* The member: feeding the Raft core, storing what it asks for, applying what is committed, and its life from standby to
 * member and back. */
#include "meta/metadata_server.h"

#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/logging.h"
#include "meta/meta.h"
#include "meta/metadata_internal.h"
#include "meta/nodes_config.h"
#include "meta/raft_wire.h"

#define TICK_NS 100000000u
#define SNAPSHOT_ENTRIES 1000u
#define RECONCILE_TICKS 10u /* a second */

/* ---- sending ---- */

static void send_raft(struct metadata_server *s, struct raft_msg *m) {
    struct fabric_dest d = {.node = {m->to.id, 0}};
    _cleanup_buf_ struct buf body = {0};
    struct fabric_message msg = {.service = SERVICE_METADATA_RAFT, .type = 1};

    raft_msg_encode(m, &body);
    msg.head = buf_slice(&body);
    /* snapshots and entries must not wait behind each other's bulk: the general lane carries nothing larger */
    fabric_send(s->p.fabric, &d, LANE_GENERAL, &msg);
}

/* ---- applying ---- */

static void tell(struct metadata_server *s, const struct kv_value *v) {
    s->p.changed(s->p.arg, v->key, v->version, v->removed ? NULL : v->value);
}

static void tell_all(struct metadata_server *s) {
    MAP_FOREACH (n, &s->kv.values)
        tell(s, MAP_ENTRY(n, struct kv_value, node));
}

/* What it had stored goes. With it goes the name under which it voted: a member that missed the removal may still count
 * on its vote, and on the entries that it acknowledged. */
static void become_standby(struct metadata_server *s) {
    struct store_batch *b = store_batch_new();

    LOG_WARN("this node is no longer a member of the metadata group");
    s->state = METADATA_IS_STANDBY;
    s->marker.member = false;
    if (s->voted)
        s->marker.self.created_ms = MAX(s->marker.self.created_ms + 1, loop_wall_ns(s->p.loop) / 1000000);
    raft_store_clear(b, s->table);
    raft_store_put_marker(b, s->table, &s->marker);
    store_commit(s->p.store, b, NULL, NULL);
}

static bool is_in(const struct raft_config *c, struct raft_member m) {
    return raft_config_votes(c, m) || raft_member_eq(c->learner, m);
}

static void apply_entry(struct metadata_server *s, const struct raft_entry *e) {
    struct kv_result r = {MD_OK, NULL};

    s->applied = e->index;
    s->entries_since++;
    if (e->kind == RAFT_DATA) {
        r = kv_apply(&s->kv, bytes_slice(e->data), e->index);
        if (r.code == MD_OK)
            tell(s, r.value);
    } else if (e->kind == RAFT_CONFIG) {
        struct raft_config c = s->config;

        /* configurations of before I joined do not name me either: only leaving counts */
        if (raft_config_decode(bytes_slice(e->data), &c, NULL, NULL) == 0) {
            if (is_in(&s->config, s->marker.self) && !is_in(&c, s->marker.self) &&
                !raft_is_named_behind(s->raft, e->index)) {
                s->removed = true;
                s->voted = raft_config_votes(&s->config, s->marker.self);
            }
            s->config = c;
        }
        raft_apply_config(s->raft, &s->config);
        LOG_INFO("the metadata group changed", F_U64("version", s->config.version), F_U64("members", s->config.n),
                 F_U64("learner", s->config.learner.id));
    }
    metadata_applied(s, e, r);
}

static void install(struct metadata_server *s, const struct raft_snapshot *snap) {
    struct err err;

    if (kv_restore(&s->kv, bytes_slice(snap->data), &err) < 0) {
        LOG_ERROR_ERR(&err, "a snapshot of the metadata cannot be read");
        return;
    }
    s->applied = snap->index;
    s->config = snap->config;
    s->entries_since = 0;
    s->snapshot_bytes = snap->data->len;
    tell_all(s);
}

static void take_snapshot(struct metadata_server *s) {
    struct raft_status st;
    struct raft_snapshot snap = {.index = s->applied, .config = s->config};
    struct store_batch *b;

    raft_status(s->raft, &st);
    snap.term = raft_term_of(s->raft, s->applied);
    if (snap.term == 0)
        return;
    snap.data = kv_snapshot(&s->kv);
    b = store_batch_new();
    raft_store_put_snapshot(b, s->table, &snap);
    store_commit(s->p.store, b, NULL, NULL); /* in order behind the entries it covers */
    raft_compact(s->raft, &snap);
    s->entries_since = 0;
    s->snapshot_bytes = snap.data->len;
    (void)bytes_unref(snap.data);
}

/* ---- the pump: one ready after the other ---- */

static void note_leader(struct metadata_server *s, const struct raft_status *st) {
    if (st->leader.id == 0 || st->leader.id == s->led_by)
        return;
    s->led_by = st->leader.id;
    LOG_INFO("the metadata group has a leader", F_U64("node", s->led_by), F_U64("term", st->term));
    if (s->p.led)
        s->p.led(s->p.arg, s->led_by);
}

static void ready_applied(struct metadata_server *s) {
    struct raft_ready rd = s->ready;
    struct raft_status st;

    for (size_t i = 0; i < rd.n_late; i++)
        send_raft(s, &rd.late[i]);
    if (rd.snapshot)
        install(s, rd.snapshot);
    for (size_t i = 0; i < rd.n_committed; i++)
        apply_entry(s, &rd.committed[i]);
    for (size_t i = 0; i < rd.n_reads; i++)
        metadata_confirmed(s, &rd.reads[i]);
    raft_stored(s->raft, &rd);
    metadata_news(s);
    raft_status(s->raft, &st);
    if (st.role != RAFT_LEADER)
        metadata_lost_lead(s);
    note_leader(s, &st);
    if (s->removed) {
        s->removed = false;
        s->left = true; /* whoever took it out does not want it back at once */
        s->asked = false;
        s->raft = raft_free(s->raft);
        become_standby(s);
        return;
    }
    if (s->entries_since >= s->p.snapshot_entries)
        take_snapshot(s);
    loop_hook_arm(s->p.loop, &s->pump);
}

static void server_free(struct metadata_server *s) {
    if (--s->refs)
        return;
    free(s->cluster_name);
    free(s->node_name);
    free(s);
}

static void on_stored(void *arg, int status, const struct err *err) {
    struct metadata_server *s = arg;

    s->writing = false;
    if (!s->dead && status < 0) {
        LOG_ERROR_ERR(err, "the metadata store failed: this member is silent from now on");
        raft_ready_done(&s->ready);
        s->raft = raft_free(s->raft);
        metadata_lost_lead(s);
    } else if (!s->dead) {
        ready_applied(s);
    }
    server_free(s);
}

static void run_pump(void *arg) {
    struct metadata_server *s = arg;
    struct store_batch *b;

    while (s->raft && !s->writing && raft_ready(s->raft, &s->ready)) {
        struct raft_ready *rd = &s->ready;

        for (size_t i = 0; i < rd->n_early; i++)
            send_raft(s, &rd->early[i]);
        if (!rd->has_hard && !rd->n_entries && !rd->snapshot) {
            ready_applied(s);
            continue;
        }
        b = store_batch_new();
        raft_store_put(b, s->table, rd, s->stored_last);
        if (rd->snapshot)
            s->stored_last = rd->snapshot->index;
        if (rd->n_entries)
            s->stored_last = rd->entries[rd->n_entries - 1].index;
        if (!s->marker.member) { /* the first thing a member writes */
            s->marker.member = true;
            raft_store_put_marker(b, s->table, &s->marker);
        }
        s->writing = true;
        s->refs++;
        store_commit(s->p.store, b, on_stored, s);
    }
}

void metadata_pump(struct metadata_server *s) {
    loop_hook_arm(s->p.loop, &s->pump);
}

/* ---- membership ---- */

/* The nodes configuration says who is a member; the group's own configuration decides. */
static void reconcile(struct metadata_server *s) {
    const struct kv_value *v = kv_find(&s->kv, META_KEY_NODES);
    _cleanup_(nodes_config_freep) struct nodes_config *c = NULL;
    _cleanup_buf_ struct buf value = {0}, entry = {0};
    bool changed = false;
    struct md_put put;
    struct bytes *data;
    uint64_t index, term;

    if (!v || v->removed || nodes_config_parse(bytes_slice(v->value), &c, NULL) < 0)
        return;
    for (size_t i = 0; i < c->n_nodes; i++) {
        struct node_entry *n = &c->nodes[i];
        bool votes = false;

        if (n->tombstone || !(n->roles & ROLE_METADATA_SERVER))
            continue;
        for (uint32_t k = 0; k < s->config.n; k++)
            votes |= s->config.voters[k].id == n->id.id;
        if (votes != (n->metadata_state == METADATA_MEMBER)) {
            n->metadata_state = votes ? METADATA_MEMBER : METADATA_STANDBY;
            changed = true;
        }
    }
    if (!changed)
        return;
    c->version = v->version + 1;
    nodes_config_encode(c, &value);
    put = (struct md_put){.key = SLICE_LIT(META_KEY_NODES),
                          .precondition = KV_MATCHES,
                          .expected = v->version,
                          .version = v->version + 1,
                          .value = buf_slice(&value)};
    md_put_encode(&put, &entry);
    data = bytes_take_buf(&entry);
    (void)raft_propose(s->raft, data, &index, &term);
    (void)bytes_unref(data);
}

/* A learner that has nearly everything becomes a voter. */
static void promote(struct metadata_server *s, const struct raft_status *st) {
    struct raft_config next = st->config;
    uint64_t index, term;

    if (st->config.learner.id == 0 || st->config_pending || st->learner_match == 0 ||
        st->learner_match + 16 < st->last_index || !raft_is_active(s->raft, st->config.learner))
        return;
    next.voters[next.n++] = next.learner;
    next.learner = (struct raft_member){0};
    next.version++;
    (void)raft_propose_config(s->raft, &next, SLICE_NULL, &index, &term);
}

static void on_tick(void *arg) {
    struct metadata_server *s = arg;
    struct raft_status st;

    timer_set(s->p.loop, &s->tick, s->p.tick_ns);
    metadata_requests_tick(s);
    if (!s->raft)
        return;
    raft_tick(s->raft);
    raft_status(s->raft, &st);
    if (st.role == RAFT_LEADER && st.settled) {
        promote(s, &st);
        if (++s->reconcile_ticks >= RECONCILE_TICKS) {
            s->reconcile_ticks = 0;
            reconcile(s);
        }
    } else {
        s->reconcile_ticks = RECONCILE_TICKS;
    }
    metadata_pump(s);
}

static int start_raft(struct metadata_server *s, const struct raft_loaded *l, struct err *err) {
    struct raft_params p = {.self = s->marker.self,
                            .election_ticks = s->p.election_ticks,
                            .heartbeat_ticks = s->p.heartbeat_ticks,
                            .seed = loop_random_u64(s->p.loop),
                            .hard = l->hard,
                            .snapshot = l->snapshot,
                            .entries = l->entries,
                            .n = l->n,
                            .applied = l->snapshot ? l->snapshot->index : 0};
    int r = raft_new(&p, &s->raft, err);

    if (r < 0)
        return r;
    s->state = METADATA_IS_MEMBER;
    s->applied = p.applied;
    s->stored_last = l->n ? l->entries[l->n - 1].index : p.applied;
    if (l->snapshot) {
        s->config = l->snapshot->config;
        s->snapshot_bytes = l->snapshot->data->len;
    }
    return 0;
}

/* Found a group of one: a first snapshot with the values in @kv. */
static int found_group(struct metadata_server *s, struct store_batch *b, struct err *err) {
    struct raft_snapshot snap = {.index = 1, .term = 1, .config = {.version = 1, .n = 1, .voters = {s->marker.self}}};
    struct raft_loaded l = {.hard = {.term = 1, .commit = 1}, .snapshot = &snap};
    struct raft_ready rd = {.has_hard = true, .hard = l.hard, .snapshot = &snap};
    int r;

    snap.data = kv_snapshot(&s->kv);
    s->marker.member = true;
    raft_store_put(b, s->table, &rd, 0);
    raft_store_put_marker(b, s->table, &s->marker);
    r = start_raft(s, &l, err);
    (void)bytes_unref(snap.data);
    if (r == 0)
        raft_campaign(s->raft);
    return r;
}

struct founding {
    struct metadata_server *s;
    metadata_done_fn done;
    void *arg;
};

static void on_founded(void *arg, int status, const struct err *err) {
    struct founding *f = arg;
    bool dead = f->s->dead;

    if (!dead && status == 0) {
        tell_all(f->s);
        metadata_pump(f->s);
    }
    if (!dead)
        f->done(f->arg, status, err);
    server_free(f->s);
    free(f);
}

int metadata_found(struct metadata_server *s, struct slice nodes_config, metadata_done_fn done, void *arg) {
    struct bytes *value = bytes_copy(nodes_config);
    struct store_batch *b = store_batch_new();
    struct founding *f = xnew(struct founding);
    struct err err;
    int r;

    ASSERT(s->state != METADATA_IS_MEMBER);
    s->marker.self.id = s->p.node_id ? s->p.node_id : s->p.first_id ? s->p.first_id : 1;
    kv_set(&s->kv, META_KEY_NODES, 1, value, 1);
    (void)bytes_unref(value);
    r = found_group(s, b, &err);
    ASSERT(r == 0);
    *f = (struct founding){s, done, arg};
    s->refs++;
    store_commit(s->p.store, b, on_founded, f);
    return 0;
}

/* A message for a standby by its name: it has been made a learner. */
static void handle_raft(void *arg, struct fabric_request *r) {
    struct metadata_server *s = arg;
    struct raft_loaded nothing = {0};
    struct raft_msg m;
    struct err err;

    if (r->is_call) {
        fabric_reply_status(s->p.fabric, r, RPC_MESSAGE_UNRECOGNIZED);
        return;
    }
    if (r->type != 1 || raft_msg_decode(r->payload, &m, &err) < 0)
        return;
    if (!s->raft && s->state != METADATA_IS_MEMBER && s->marker.self.id && raft_member_eq(m.to, s->marker.self) &&
        start_raft(s, &nothing, &err) == 0)
        LOG_INFO("this node becomes a member of the metadata group");
    if (s->raft) {
        raft_step(s->raft, &m);
        metadata_pump(s);
    } else {
        raft_msg_done(&m);
    }
}

void metadata_server_joined(struct metadata_server *s, uint32_t node_id, uint64_t fingerprint) {
    s->fingerprint = fingerprint;
    if (s->marker.self.id != node_id && s->state != METADATA_IS_MEMBER) {
        struct store_batch *b = store_batch_new();

        s->marker.self.id = node_id;
        raft_store_put_marker(b, s->table, &s->marker);
        store_commit(s->p.store, b, NULL, NULL);
    }
    if (s->state == METADATA_AWAITING)
        s->state = METADATA_IS_STANDBY;
}

void metadata_server_step_down(struct metadata_server *s) {
    struct raft_member heir = s->raft ? raft_best_heir(s->raft) : (struct raft_member){0};

    if (heir.id) {
        raft_transfer(s->raft, heir);
        metadata_pump(s);
    }
}

void metadata_server_gone(struct metadata_server *s, uint32_t id) {
    if (s->raft)
        raft_gone(s->raft, id);
}

uint32_t metadata_leader(const struct metadata_server *s) {
    struct raft_status st;

    if (!s->raft)
        return 0;
    raft_status(s->raft, &st);
    return st.leader.id;
}

void metadata_server_status(const struct metadata_server *s, struct metadata_server_status *ret) {
    *ret = (struct metadata_server_status){.state = s->state, .snapshot_bytes = s->snapshot_bytes};
    if (s->raft)
        raft_status(s->raft, &ret->raft);
}

/* ---- opening ---- */

struct legacy {
    struct kv *kv;
    struct err *err;
    unsigned n;
};

/* What a lone node of an older version stored: 'k' key -> u8 format = 1, u32 version, value, u32 crc32c. */
static int legacy_row(void *arg, struct slice key, struct slice value) {
    struct legacy *l = arg;
    char name[META_KEY_MAX];
    struct bytes *b;

    if (key.len < 2 || key.len > META_KEY_MAX || value.len < 9 || value.data[0] != 1 ||
        crc32c(0, value.data, value.len - 4) != get_u32le(value.data + value.len - 4))
        return err_set(l->err, RS_ECORRUPT, "metadata store: a damaged row");
    memcpy(name, key.data + 1, key.len - 1);
    name[key.len - 1] = 0;
    b = bytes_copy(slice_of(value.data + 5, value.len - 9));
    kv_set(l->kv, name, get_u32le(value.data + 1), b, 1);
    (void)bytes_unref(b);
    l->n++;
    return 0;
}

static int read_legacy(struct store *store, struct kv *kv, unsigned *ret_n, struct err *err) {
    struct legacy l = {kv, err, 0};
    struct store_table *t;
    struct store_view *view = NULL;
    int r = store_table_open(store, "meta", &t, err);

    r = r < 0 ? r : store_view_new(store, &view, err);
    r = r < 0 ? r : store_view_scan(view, t, SLICE_LIT("k"), SLICE_LIT("l"), false, legacy_row, &l, err);
    if (view)
        (void)store_view_free(view);
    *ret_n = l.n;
    return r;
}

int metadata_stored(struct store *store, struct kv *ret, struct err *err) {
    struct raft_loaded l = {0};
    struct store_table *t;
    unsigned n;
    int r = store_table_open(store, "raft", &t, err);

    *ret = (struct kv){0};
    r = r < 0 ? r : raft_store_load(store, t, &l, err);
    if (r == 0 && !l.snapshot)
        r = read_legacy(store, ret, &n, err);
    else if (r == 0)
        r = kv_restore(ret, bytes_slice(l.snapshot->data), err);
    for (size_t i = 0; r == 0 && i < l.n && l.entries[i].index <= l.hard.commit; i++)
        if (l.entries[i].kind == RAFT_DATA)
            (void)kv_apply(ret, bytes_slice(l.entries[i].data), l.entries[i].index);
    raft_loaded_done(&l);
    return r;
}

static int adopt_legacy(struct metadata_server *s, struct err *err) {
    const struct kv_value *v;
    _cleanup_(nodes_config_freep) struct nodes_config *c = NULL;
    const struct node_entry *me;
    struct store_batch *b;
    unsigned n = 0;
    int r = read_legacy(s->p.store, &s->kv, &n, err);

    v = kv_find(&s->kv, META_KEY_NODES);
    if (r < 0 || !v)
        return r;
    r = nodes_config_parse(bytes_slice(v->value), &c, err);
    if (r < 0)
        return r;
    me = nodes_config_by_name(c, s->node_name);
    s->marker.self.id = me ? me->id.id : s->p.first_id ? s->p.first_id : 1;
    b = store_batch_new();
    r = found_group(s, b, err);
    store_commit(s->p.store, b, NULL, NULL);
    LOG_INFO("the metadata of a lone node was taken over", F_U64("values", n));
    return r;
}

static int open_state(struct metadata_server *s, struct err *err) {
    struct raft_loaded l = {0};
    int r = raft_store_load(s->p.store, s->table, &l, err);

    if (r < 0)
        return r;
    s->marker = l.marker;
    if (s->marker.self.created_ms == 0) {
        struct store_batch *b = store_batch_new();

        s->marker.self = (struct raft_member){s->p.node_id, loop_wall_ns(s->p.loop) / 1000000};
        raft_store_put_marker(b, s->table, &s->marker);
        store_commit(s->p.store, b, NULL, NULL);
        r = adopt_legacy(s, err);
    } else if (s->marker.member) {
        if (l.snapshot)
            r = kv_restore(&s->kv, bytes_slice(l.snapshot->data), err);
        r = r < 0 ? r : start_raft(s, &l, err);
        if (r == 0) {
            run_pump(s); /* what was committed before is applied at once: the node looks itself up in it */
            raft_campaign(s->raft);
        }
    } else {
        s->state = s->marker.self.id ? METADATA_IS_STANDBY : METADATA_AWAITING;
    }
    raft_loaded_done(&l);
    return r;
}

int metadata_server_open(const struct metadata_server_params *p, struct metadata_server **ret, struct err *err) {
    struct metadata_server *s = xnew(struct metadata_server);
    int r;

    s->p = *p;
    s->refs = 1;
    s->cluster_name = xstrdup(p->cluster_name);
    s->node_name = xstrdup(p->node_name);
    if (!s->p.tick_ns)
        s->p.tick_ns = TICK_NS;
    if (!s->p.election_ticks)
        s->p.election_ticks = 10;
    if (!s->p.heartbeat_ticks)
        s->p.heartbeat_ticks = 2;
    if (!s->p.snapshot_entries)
        s->p.snapshot_entries = SNAPSHOT_ENTRIES;
    timer_init(&s->tick, on_tick, s);
    loop_hook_init(&s->pump, run_pump, s);
    s->peers = (struct fabric_service){.id = SERVICE_METADATA_RAFT, .handle = handle_raft, .arg = s};
    metadata_requests_init(s);
    r = store_table_open(p->store, "raft", &s->table, err);
    r = r < 0 ? r : open_state(s, err);
    if (r < 0) {
        s->raft = raft_free(s->raft);
        kv_done(&s->kv);
        server_free(s);
        return r;
    }
    metadata_requests_open(s);
    fabric_serve(p->fabric, &s->peers);
    tell_all(s);
    timer_set(p->loop, &s->tick, s->p.tick_ns);
    metadata_pump(s);
    *ret = s;
    return 0;
}

struct metadata_server *metadata_server_close(struct metadata_server *s) {
    if (!s)
        return NULL;
    timer_stop(s->p.loop, &s->tick);
    loop_hook_disarm(&s->pump);
    fabric_unserve(s->p.fabric, &s->peers);
    metadata_requests_close(s);
    if (s->writing)
        raft_ready_done(&s->ready);
    s->raft = raft_free(s->raft);
    kv_done(&s->kv);
    s->dead = true;
    server_free(s);
    return NULL;
}
