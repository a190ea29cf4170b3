/* SPDX-License-Identifier: Apache-2.0 */
/* worker/state_machine.c : open, dedup and fence, dispatch, and the commands that concern the partition as a whole. */
#include "worker/state_machine.h"
#include <stdio.h>
#include "base/hash.h"
#include "worker/sm_internal.h"

/* ---- helpers of all parts ---- */

struct sm_action *act(struct apply *ap, enum sm_action_type type, const struct invocation_id *id) {
    struct sm_actions *l = ap->actions;
    struct sm_action *a;

    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->items = xrealloc(l->items, l->cap * sizeof *l->items);
    }
    a = &l->items[l->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    if (id)
        a->id = *id;
    return a;
}

struct slice act_keep(struct apply *ap, struct slice s) {
    const uint8_t *first = ap->payload.data;

    if (!s.data || !s.len || (first && s.data >= first && s.data + s.len <= first + ap->payload.len))
        return s;
    return arena_copy(&ap->actions->arena, s);
}

void act_trace(struct apply *ap, enum sm_action_type type, const struct inv *inv, uint32_t code) {
    const struct cmd_invocation_body *b = &inv->body;
    struct sm_action *a = act(ap, type, &inv->id);

    a->trace.context = act_keep(ap, b->trace);
    a->trace.service = act_keep(ap, b->target->service);
    a->trace.key = act_keep(ap, b->target->key);
    a->trace.handler = act_keep(ap, b->target->handler);
    a->trace.created_ms = inv->h.created_ms;
    a->trace.code = code;
}

struct sm_action *act_admin(struct apply *ap, struct slice request_id, enum sm_admin_op op, enum sm_outcome outcome,
                            const struct invocation_id *id) {
    struct sm_action *a;

    if (request_id.len != 16)
        return NULL;
    a = act(ap, SM_ACTION_ADMIN_RESPONSE, id);
    memcpy(a->request_id, request_id.data, 16);
    a->admin.op = op;
    a->admin.outcome = outcome;
    return a;
}

bool key_is_local(const struct apply *ap, uint64_t partition_key) {
    return partition_key >= ap->sm->p.first_key && partition_key <= ap->sm->p.last_key;
}

bool take_id(struct slice raw, struct invocation_id *ret) {
    return invocation_id_from_raw(raw, ret, NULL) == 0;
}

/* ---- versions ---- */

/* "1.2.3-x" as a number that compares; missing parts are 0. */
static uint64_t version_number(struct slice v) {
    uint64_t n = 0, part = 0;
    int parts = 0;

    for (size_t i = 0; i < v.len && parts < 3; i++) {
        if (v.data[i] >= '0' && v.data[i] <= '9') {
            part = MIN(part * 10 + (uint64_t)(v.data[i] - '0'), (uint64_t)0xfffff);
        } else if (v.data[i] == '.') {
            n = n << 20 | part;
            part = 0;
            parts++;
        } else {
            break;
        }
    }
    for (; parts < 3; parts++, part = 0)
        n = n << 20 | part;
    return n;
}

static int check_version(const struct sm_params *p, struct slice min_version, struct err *err) {
    if (version_number(slice_str(p->version)) >= version_number(min_version))
        return 0;
    return err_set(err, RS_EUNSUPPORTED, "partition %u needs version " SLICE_FMT " or newer; this is %s", p->partition,
                   SLICE_ARG(slice_sub(min_version, 0, 32)), p->version ? p->version : "unknown");
}

static struct slice format_row(struct apply *ap, struct slice min_version) {
    uint8_t *v = arena_alloc(&ap->w->arena, 13 + min_version.len);

    v[0] = TABLE_VERSION;
    put_u32le(v + 1, SM_FORMAT_VERSION);
    put_u64le(v + 5, ap->features);
    if (min_version.len)
        memcpy(v + 13, min_version.data, min_version.len);
    return slice_of(v, 13 + min_version.len);
}

/* ---- open ---- */

static int open_format(struct sm *sm, struct sm_reader *reader, struct err *err) {
    struct fsm_format f;
    int r = tables_format(reader, &f, err);

    if (r == RS_ENOENT) {
        sm->features = SM_FEATURES_INITIAL;
        return 0;
    }
    if (r < 0)
        return r;
    if (f.format_version != SM_FORMAT_VERSION)
        return err_set(err, RS_EUNSUPPORTED, "partition %u has format %u; this program knows %u", sm->p.partition,
                       f.format_version, SM_FORMAT_VERSION);
    sm->has_format = true;
    if (f.features & ~SM_FEATURES_KNOWN)
        return err_set(err, RS_EUNSUPPORTED, "partition %u uses features %#llx; this program knows %#llx",
                       sm->p.partition, (unsigned long long)f.features, (unsigned long long)SM_FEATURES_KNOWN);
    sm->features = f.features;
    return check_version(&sm->p, f.min_version, err);
}

int sm_open(const struct sm_params *params, struct sm_reader *reader, struct sm **ret, struct err *err) {
    struct sm *sm = xnew(struct sm);
    int r;

    sm->p = *params;
    sm->fsm = (struct fsm_hot){.inbox_seq = 1, .outbox_head = 1, .outbox_tail = 1};
    r = tables_fsm(reader, &sm->fsm, err);
    if (r == 0 || r == RS_ENOENT)
        r = open_format(sm, reader, err);
    if (r == 0) {
        r = tables_durable(reader, &sm->durable, err);
        if (r == RS_ENOENT)
            r = 0;
    }
    if (r < 0) {
        (void)sm_free(sm);
        return r;
    }
    *ret = sm;
    return 0;
}

struct sm *sm_free(struct sm *sm) {
    if (sm) {
        arena_done(&sm->scratch);
        free(sm);
    }
    return NULL;
}

lsn_t sm_applied(const struct sm *sm) {
    return sm->fsm.applied_lsn;
}

uint64_t sm_features(const struct sm *sm) {
    return sm->features;
}

uint64_t sm_epoch(const struct sm *sm) {
    return sm->fsm.self_epoch;
}

lsn_t sm_durable_point(const struct sm *sm, uint64_t *ret_time_ms) {
    if (ret_time_ms)
        *ret_time_ms = sm->durable.time_ms;
    return sm->durable.lsn;
}

/* ---- dedup and fence ---- */

/* Return: 1 skip the record, 0 apply it (the new number is staged), negative. */
static int dedup(struct apply *ap, const struct record_header *h) {
    struct table_key k;
    uint8_t producer[16];
    struct slice stored;
    uint8_t *v;
    int r;

    switch (h->dedup) {
    case RECORD_DEDUP_NONE:
        return 0;
    case RECORD_DEDUP_SELF:
        if (ap->fsm.self_epoch > h->dedup_epoch ||
            (ap->fsm.self_epoch == h->dedup_epoch && ap->fsm.self_seq >= h->dedup_seq))
            return 1;
        ap->fsm.self_epoch = h->dedup_epoch;
        ap->fsm.self_seq = h->dedup_seq;
        return 0;
    case RECORD_DEDUP_PARTITION:
        put_u64be(producer, h->dedup_partition);
        key_dedup(&k, RECORD_DEDUP_PARTITION, slice_of(producer, 8));
        break;
    case RECORD_DEDUP_PRODUCER:
        key_dedup(&k, RECORD_DEDUP_PRODUCER, slice_of(h->dedup_producer, 16));
        break;
    default:
        return err_set(ap->err, RS_EUNSUPPORTED, "unknown dedup %u of a record", h->dedup);
    }
    r = ap->through->get(ap->through->arg, table_key_slice(&k), &stored, ap->err);
    if (r < 0 && r != RS_ENOENT)
        return r;
    if (r == 0) {
        if ((r = row_version(stored, "dedup", ap->err)) < 0)
            return r;
        if (stored.len < 9)
            return row_corrupt(ap->err, "dedup");
        if (get_u64le(stored.data + 1) >= h->dedup_seq)
            return 1;
    }
    v = arena_alloc(&ap->w->arena, 9);
    v[0] = TABLE_VERSION;
    put_u64le(v + 1, h->dedup_seq);
    stage_put(ap->w, table_key_slice(&k), slice_of(v, 9));
    return 0;
}

/* ---- commands about the partition ---- */

static int apply_announce(struct apply *ap, const struct cmd_announce_leader *m) {
    struct table_key k;
    uint8_t *v = arena_alloc(&ap->w->arena, 25 + m->node.len);
    struct sm_action *a;

    if (m->epoch > ap->fsm.self_epoch) { /* announced by somebody else's append: the fence holds all the same */
        ap->fsm.self_epoch = m->epoch;
        ap->fsm.self_seq = 0;
    }
    v[0] = TABLE_VERSION;
    put_u64le(v + 1, m->epoch);
    put_u64le(v + 9, m->first_key);
    put_u64le(v + 17, m->last_key);
    if (m->node.len)
        memcpy(v + 25, m->node.data, m->node.len);
    key_fsm(&k, FSM_LEADER);
    stage_put(ap->w, table_key_slice(&k), slice_of(v, 25 + m->node.len));
    a = act(ap, SM_ACTION_LEADER_ANNOUNCED, NULL);
    a->leader.epoch = m->epoch;
    a->leader.node = act_keep(ap, m->node);
    return 0;
}

static int apply_barrier(struct apply *ap, const struct cmd_version_barrier *m) {
    struct table_key k;
    struct fsm_format stored = {0};
    int r = check_version(&ap->sm->p, m->min_version, ap->err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < m->n_features; i++) {
        if (m->features[i] >= 64 || !(SM_FEATURES_KNOWN >> m->features[i] & 1))
            return err_set(ap->err, RS_EUNSUPPORTED,
                           "partition %u switches on feature %u, which this program does not know", ap->sm->p.partition,
                           m->features[i]);
        ap->features |= UINT64_C(1) << m->features[i];
    }
    r = tables_format(ap->through, &stored, ap->err);
    if (r < 0 && r != RS_ENOENT)
        return r;
    if (version_number(stored.min_version) < version_number(m->min_version))
        stored.min_version = slice_sub(m->min_version, 0, 64);
    key_fsm(&k, FSM_FORMAT);
    stage_put(ap->w, table_key_slice(&k), format_row(ap, stored.min_version));
    act(ap, SM_ACTION_VERSION_BARRIER, NULL)->barrier.features = ap->features;
    return 0;
}

static int apply_durability(struct apply *ap, const struct cmd_partition_durability *m) {
    struct table_key k;
    uint8_t *v;
    struct sm_action *a;

    if (m->partition != ap->sm->p.partition || m->durable_lsn <= ap->durable.lsn)
        return 0;
    ap->durable = (struct fsm_durable){m->durable_lsn, m->time_ms};
    v = arena_alloc(&ap->w->arena, 17);
    v[0] = TABLE_VERSION;
    put_u64le(v + 1, m->durable_lsn);
    put_u64le(v + 9, m->time_ms);
    key_fsm(&k, FSM_DURABLE);
    stage_put(ap->w, table_key_slice(&k), slice_of(v, 17));
    a = act(ap, SM_ACTION_DURABILITY, NULL);
    a->durability.lsn = m->durable_lsn;
    a->durability.time_ms = m->time_ms;
    return 0;
}

/* ---- dispatch ---- */

/* A command that does not decode is the same on every replica: it is skipped, never a reason to stop. */
static int undecodable(struct apply *ap, uint16_t kind, const struct err *why) {
    LOG_WARN("a command does not decode and is skipped", F_U64("partition", ap->sm->p.partition), F_LSN("lsn", ap->lsn),
             F_U64("kind", kind), F_STR("error", why->msg));
    return 0;
}

#define DISPATCH(type, call)                                                                                           \
    {                                                                                                                  \
        struct cmd_##type m;                                                                                           \
        struct err why = {0};                                                                                          \
                                                                                                                       \
        if (cmd_##type##_decode(&m, ap->payload, ap->a, &why) < 0)                                                     \
            return undecodable(ap, h->kind, &why);                                                                     \
        return call;                                                                                                   \
    }

static int dispatch(struct apply *ap, const struct record_header *h) {
    switch (h->kind) {
    case CMD_ANNOUNCE_LEADER:
        DISPATCH(announce_leader, apply_announce(ap, &m))
    case CMD_VERSION_BARRIER:
        DISPATCH(version_barrier, apply_barrier(ap, &m))
    case CMD_PARTITION_DURABILITY:
        DISPATCH(partition_durability, apply_durability(ap, &m))
    case CMD_PATCH_STATE:
        DISPATCH(patch_state, apply_patch_state(ap, &m, hash_partition_key(m.key)))
    case CMD_TERMINATE:
        DISPATCH(terminate, apply_terminate(ap, &m))
    case CMD_PURGE_INVOCATION:
        DISPATCH(purge, apply_purge(ap, &m, false))
    case CMD_PURGE_JOURNAL:
        DISPATCH(purge, apply_purge(ap, &m, true))
    case CMD_INVOKE:
        DISPATCH(invoke, apply_invoke(ap, &m))
    case CMD_TRUNCATE_OUTBOX:
        DISPATCH(truncate_outbox, apply_truncate_outbox(ap, &m))
    case CMD_ATTACH:
        DISPATCH(attach, apply_attach(ap, &m))
    case CMD_RESUME:
        DISPATCH(resume, apply_resume(ap, &m))
    case CMD_RESTART:
        DISPATCH(restart, apply_restart(ap, &m))
    case CMD_INVOKER_EFFECT:
        DISPATCH(invoker_effect, apply_invoker_effect(ap, &m))
    case CMD_TIMER:
        DISPATCH(timer, apply_timer(ap, &m))
    case CMD_RESPONSE:
        DISPATCH(response, apply_response(ap, &m))
    case CMD_SIGNAL:
        DISPATCH(signal, apply_signal(ap, &m))
    case CMD_PAUSE:
        DISPATCH(pause, apply_pause(ap, &m))
    case CMD_CHECKSUM:
        act(ap, SM_ACTION_CHECKSUM, NULL)->lsn = ap->lsn;
        return 0;
    default:
        return err_set(ap->err, RS_EUNSUPPORTED, "partition %u: command kind %u is not known to this program",
                       ap->sm->p.partition, h->kind);
    }
}

static void put_fsm(struct sm_writes *w, const struct fsm_hot *f) {
    static const uint8_t key[] = {T_FSM, FSM_HOT};

    stage_put(w, slice_of(key, sizeof key), fsm_hot_encode(f, &w->arena));
}

static int apply_record(struct apply *ap, const struct record_view *record) {
    struct table_key k;
    int r;

    if (!record_touches(&record->header, ap->sm->p.first_key, ap->sm->p.last_key))
        return 0;
    r = dedup(ap, &record->header);
    if (r)
        return r < 0 ? r : 0;
    if (!ap->sm->has_format) { /* with the first record that does something */
        key_fsm(&k, FSM_FORMAT);
        stage_put(ap->w, table_key_slice(&k), format_row(ap, SLICE_NULL));
    }
    if ((r = dispatch(ap, &record->header)) < 0 || (r = apply_queue(ap)) < 0)
        return r;
    inv_flush(ap);
    ap->sm->has_format = true;
    return 0;
}

int sm_apply(struct sm *sm, lsn_t lsn, const struct record_view *record, struct sm_reader *reader,
             struct sm_writes *writes, struct sm_actions *actions, struct err *err) {
    size_t n_actions = actions->n;
    struct apply ap;
    int r;

    ASSERT(lsn > sm->fsm.applied_lsn);
    sm_writes_clear(writes);
    arena_clear(&sm->scratch);
    memset(&ap, 0, sizeof ap);
    ap.sm = sm;
    ap.lsn = lsn;
    ap.now_ms = record->header.created_at_ns / 1000000;
    ap.payload = record->payload;
    ap.a = &sm->scratch;
    ap.w = writes;
    ap.actions = actions;
    ap.err = err;
    ap.fsm = sm->fsm;
    ap.durable = sm->durable;
    ap.features = sm->features;
    ap.invs_tail = &ap.invs;
    ap.queue_tail = &ap.queue;
    staged_reader_init(&ap.staged, writes, reader, ap.a);
    ap.through = &ap.staged.reader;

    r = apply_record(&ap, record);
    if (r < 0) {
        actions->n = n_actions;
        sm_writes_clear(writes);
        return r;
    }
    ap.fsm.applied_lsn = lsn;
    put_fsm(writes, &ap.fsm);
    sm->fsm = ap.fsm;
    sm->durable = ap.durable;
    sm->features = ap.features;
    return 0;
}

void sm_skip(struct sm *sm, lsn_t lsn, struct sm_writes *writes) {
    ASSERT(lsn > sm->fsm.applied_lsn);
    sm_writes_clear(writes);
    sm->fsm.applied_lsn = lsn;
    put_fsm(writes, &sm->fsm);
}
