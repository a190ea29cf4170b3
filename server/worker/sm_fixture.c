/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/sm_fixture.h"
#include <stdio.h>
#include "base/limits.h"
#include "worker/staged.h"

/* ---- table ---- */

uint64_t mem_random(struct mem_table *t) {
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static size_t lower_bound(const struct mem_table *t, struct slice key) {
    size_t lo = 0, hi = t->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (slice_cmp(bytes_slice(t->rows[mid].key), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool at(const struct mem_table *t, size_t i, struct slice key) {
    return i < t->n && slice_eq(bytes_slice(t->rows[i].key), key);
}

void mem_table_put(struct mem_table *t, struct slice key, struct slice value) {
    size_t i = lower_bound(t, key);

    if (at(t, i, key)) {
        t->rows[i].value = bytes_unref(t->rows[i].value);
    } else {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 64;
            t->rows = xrealloc(t->rows, t->cap * sizeof *t->rows);
        }
        memmove(t->rows + i + 1, t->rows + i, (t->n - i) * sizeof *t->rows);
        t->rows[i].key = bytes_copy(key);
        t->n++;
    }
    t->rows[i].value = bytes_copy(value);
}

void mem_table_del(struct mem_table *t, struct slice key) {
    size_t i = lower_bound(t, key);

    if (!at(t, i, key))
        return;
    (void)bytes_unref(t->rows[i].key);
    (void)bytes_unref(t->rows[i].value);
    memmove(t->rows + i, t->rows + i + 1, (--t->n - i) * sizeof *t->rows);
}

static bool is_cold(struct mem_table *t) {
    return t->cold && mem_random(t) % t->cold == 0;
}

static int mem_get(void *arg, struct slice key, struct slice *ret, struct err *err) {
    struct mem_table *t = arg;
    size_t i;

    (void)err;
    ASSERT(key.len && key.len <= LIMIT_KEY_BYTES);
    if (is_cold(t))
        return RS_EAGAIN;
    i = lower_bound(t, key);
    if (!at(t, i, key))
        return RS_ENOENT;
    *ret = bytes_slice(t->rows[i].value);
    return 0;
}

static int mem_scan(void *arg, struct slice lower, struct slice upper, bool reverse, sm_each_fn each, void *each_arg,
                    struct err *err) {
    struct mem_table *t = arg;
    size_t from = lower_bound(t, lower), until = upper.data ? lower_bound(t, upper) : t->n;
    int r = 0;

    (void)err;
    for (size_t n = 0; from + n < until && r == 0; n++) {
        const struct mem_row *row = &t->rows[reverse ? until - 1 - n : from + n];

        if (is_cold(t))
            return RS_EAGAIN;
        r = each(each_arg, bytes_slice(row->key), bytes_slice(row->value));
    }
    return r;
}

void mem_table_init(struct mem_table *t) {
    *t = (struct mem_table){.random = 0x9e3779b97f4a7c15u};
    t->reader = (struct sm_reader){mem_get, mem_scan, t};
}

void mem_table_done(struct mem_table *t) {
    for (size_t i = 0; i < t->n; i++) {
        (void)bytes_unref(t->rows[i].key);
        (void)bytes_unref(t->rows[i].value);
    }
    free(t->rows);
    *t = (struct mem_table){0};
}

/* ---- records ---- */

void fixture_init(struct fixture *f, uint64_t first_key, uint64_t last_key) {
    struct sm_params p = {.partition = 3, .first_key = first_key, .last_key = last_key, .version = "1.2.3"};
    struct err err = {0};

    *f = (struct fixture){.now_ms = 1000000, .epoch = 1, .first_key = first_key, .last_key = last_key};
    mem_table_init(&f->t);
    if (sm_open(&p, &f->t.reader, &f->sm, &err) < 0)
        UNREACHABLE("an empty table opens");
}

void fixture_done(struct fixture *f) {
    f->sm = sm_free(f->sm);
    sm_writes_done(&f->w);
    sm_actions_done(&f->a);
    arena_done(&f->scratch);
    buf_done(&f->recorded);
    mem_table_done(&f->t);
}

static void merge(struct fixture *f) {
    for (uint32_t i = 0; i < f->w.n; i++)
        if (f->w.items[i].value.data)
            mem_table_put(&f->t, f->w.items[i].key, f->w.items[i].value);
        else
            mem_table_del(&f->t, f->w.items[i].key);
}

int fixture_apply_record(struct fixture *f, struct slice record) {
    struct record_view view;
    struct err err = {0};
    int r = record_view(record, &view, &err);

    if (r < 0)
        return r;
    if (f->record)
        buf_put_slice(&f->recorded, record);
    sm_actions_clear(&f->a);
    for (f->lsn++;; f->reruns++) {
        r = sm_apply(f->sm, f->lsn, &view, &f->t.reader, &f->w, &f->a, &err);
        if (r != RS_EAGAIN)
            break;
        ASSERT(f->a.n == 0);
    }
    if (r < 0) {
        f->lsn--;
        return r;
    }
    merge(f);
    return 0;
}

int fixture_apply_header(struct fixture *f, const struct record_header *h, struct slice payload) {
    struct bytes *b = record_new(h, payload);
    struct slice copy = arena_copy(&f->scratch, bytes_slice(b)); /* actions may point into it */

    (void)bytes_unref(b);
    return fixture_apply_record(f, copy);
}

int fixture_apply(struct fixture *f, enum command_kind kind, struct slice payload) {
    struct record_header h = {
        .kind = (uint16_t)kind,
        .dedup = RECORD_DEDUP_SELF,
        .created_at_ns = f->now_ms * 1000000,
        .dedup_epoch = f->epoch,
        .dedup_seq = ++f->seq,
    };

    return fixture_apply_header(f, &h, payload);
}

uint64_t fixture_hash(struct fixture *f) {
    unsigned cold = f->t.cold;
    uint64_t hash = 0;

    f->t.cold = 0;
    if (tables_checksum(&f->t.reader, &hash, NULL) < 0)
        UNREACHABLE("a scan of memory");
    f->t.cold = cold;
    return hash;
}

const struct sm_action *fixture_action(const struct fixture *f, enum sm_action_type type, size_t nth) {
    for (size_t i = 0; i < f->a.n; i++)
        if (f->a.items[i].type == type && nth-- == 0)
            return &f->a.items[i];
    return NULL;
}

size_t fixture_actions(const struct fixture *f, enum sm_action_type type) {
    size_t n = 0;

    for (size_t i = 0; i < f->a.n; i++)
        n += f->a.items[i].type == type;
    return n;
}

/* ---- invariants ---- */

struct check {
    struct fixture *f;
    struct sm_reader *r;
    struct arena a;
    char *why;
    uint64_t n; /* of the current sub-check */
    uint64_t local;
    struct invocation_id id;
};

static int wrong(struct check *c, const char *what, const struct invocation_id *id) {
    char text[INVOCATION_ID_CHARS + 1] = "";

    if (id)
        invocation_id_format(id, text);
    (void)snprintf(c->why, 256, "LSN %llu: %s %s", (unsigned long long)c->f->lsn, what, text);
    return 1;
}

static bool has(struct check *c, const struct table_key *k) {
    struct slice v;

    return c->r->get(c->r->arg, table_key_slice(k), &v, NULL) == 0;
}

static int check_entry(void *arg, const struct journal_entry *e) {
    struct check *c = arg;

    return e->index != c->n++ ? wrong(c, "the journal has a gap:", &c->id) : 0;
}

static int count_event(void *arg, const struct journal_event *e) {
    struct check *c = arg;

    (void)e;
    c->n++;
    return 0;
}

static int check_exclusive(struct check *c, const struct inv_header *h, const struct object_key *o,
                           const struct invocation_id *id) {
    bool started = h->status == INV_INVOKED || h->status == INV_SUSPENDED || h->status == INV_PAUSED;
    struct invocation_id holder;
    struct table_key k;
    uint32_t waiting;
    int r = tables_lock(c->r, o, &holder, &waiting, NULL);

    if (started && (r < 0 || !invocation_id_eq(&holder, id)))
        return wrong(c, "a started exclusive invocation does not hold its lock:", id);
    if (!started && r == 0 && invocation_id_eq(&holder, id))
        return wrong(c, "an invocation that does not run holds a lock:", id);
    key_inbox(&k, o, h->inbox_seq);
    if (h->status == INV_INBOXED && (r < 0 || !waiting || !has(c, &k)))
        return wrong(c, "an inboxed invocation without inbox row or lock:", id);
    return 0;
}

static int check_completed(struct check *c, const struct inv_header *h, const struct invocation_id *id) {
    struct table_key k;

    key_of_id(&k, T_RESULT, id);
    if (has(c, &k) != (h->status == INV_COMPLETED))
        return wrong(c, "a result row without a completed invocation, or the reverse:", id);
    if (h->status != INV_COMPLETED)
        return 0;
    key_expiry(&k, h->completed_ms + h->completion_retention_ms, EXPIRY_INVOCATION, id);
    if (!has(c, &k))
        return wrong(c, "no expiry row:", id);
    return h->n_sinks ? wrong(c, "somebody waits for a completed invocation:", id) : 0;
}

static int check_status(void *arg, const struct invocation_id *id, const struct inv_header *h) {
    struct check *c = arg;
    struct cmd_invocation_body body;
    struct object_key o;
    struct sm_timer t = {.time_ms = h->execution_time_ms, .kind = TIMER_DELAYED_INVOKE, .id = *id};
    struct table_key k;

    c->id = *id;
    arena_clear(&c->a);
    if (tables_body(c->r, id, &c->a, &body, NULL) < 0)
        return wrong(c, "no body:", id);
    o = object_key_of(body.target, id);
    if (body.target->type != h->target_type)
        return wrong(c, "header and body disagree:", id);
    c->n = 0;
    if (tables_journal(c->r, id, 0, check_entry, c, NULL))
        return 1;
    if (c->n != h->journal_length)
        return wrong(c, "the journal length is wrong:", id);
    c->n = 0;
    if (tables_events(c->r, id, count_event, c, NULL) || c->n != h->event_count)
        return wrong(c, "the event count is wrong:", id);
    key_of_id(&k, T_INVOKED, id);
    if (has(c, &k) != (h->status == INV_INVOKED))
        return wrong(c, "the index of running invocations is wrong:", id);
    key_timer(&k, &t);
    if (has(c, &k) != (h->status == INV_SCHEDULED))
        return wrong(c, "scheduled and timer row disagree:", id);
    if ((h->status == INV_SUSPENDED) != (h->future.len > 0))
        return wrong(c, "suspended without a future, or the reverse:", id);
    if (h->target_type == TARGET_OBJECT_EXCLUSIVE && check_exclusive(c, h, &o, id))
        return 1;
    return check_completed(c, h, id);
}

static int count_inbox(void *arg, struct slice key, struct slice value) {
    struct check *c = arg;

    (void)key;
    (void)value;
    c->n++;
    return 0;
}

static int check_lock(void *arg, const struct object_key *o, const struct invocation_id *holder) {
    struct check *c = arg;
    struct table_key prefix, upper;
    struct inv_header h;
    struct invocation_id id;
    uint32_t waiting = 0;

    arena_clear(&c->a);
    if (tables_status(c->r, holder, &c->a, &h, NULL) < 0 || h.target_type != TARGET_OBJECT_EXCLUSIVE ||
        (h.status != INV_INVOKED && h.status != INV_SUSPENDED && h.status != INV_PAUSED))
        return wrong(c, "a lock is held by an invocation that does not run:", holder);
    if (tables_lock(c->r, o, &id, &waiting, NULL) < 0)
        return wrong(c, "a lock row has a wrong key:", holder);
    key_object(&prefix, T_INBOX, o, SLICE_NULL);
    (void)key_after(&upper, table_key_slice(&prefix));
    c->n = 0;
    if (c->r->scan(c->r->arg, table_key_slice(&prefix), table_key_slice(&upper), false, count_inbox, c, NULL) ||
        c->n != waiting)
        return wrong(c, "the length of the inbox is wrong:", holder);
    return 0;
}

static int check_inbox(void *arg, const struct object_key *o, uint64_t seq, const struct invocation_id *id) {
    struct check *c = arg;
    struct invocation_id holder;
    struct inv_header h;
    uint32_t waiting;

    if (tables_lock(c->r, o, &holder, &waiting, NULL) < 0)
        return wrong(c, "somebody waits for a lock that nobody holds", id);
    arena_clear(&c->a);
    if (id && (tables_status(c->r, id, &c->a, &h, NULL) < 0 || h.status != INV_INBOXED || h.inbox_seq != seq))
        return wrong(c, "an inbox row of an invocation that does not wait:", id);
    return 0;
}

static int check_timer(void *arg, const struct sm_timer *t) {
    struct check *c = arg;
    struct inv_header h;

    arena_clear(&c->a);
    if (t->kind == TIMER_DELAYED_INVOKE && (tables_status(c->r, &t->id, &c->a, &h, NULL) < 0 ||
                                            h.status != INV_SCHEDULED || h.execution_time_ms != t->time_ms))
        return wrong(c, "a start timer of an invocation that is not scheduled:", &t->id);
    return 0;
}

static int check_outbox(void *arg, uint64_t seq, uint64_t partition_key, uint16_t kind, struct slice command) {
    struct check *c = arg;

    (void)command;
    if (seq != c->n++ || !kind)
        return wrong(c, "the outbox has a gap", NULL);
    c->local += partition_key >= c->f->first_key && partition_key <= c->f->last_key;
    return 0;
}

static int check_invoked(void *arg, const struct invocation_id *id) {
    struct check *c = arg;
    struct inv_header h;

    arena_clear(&c->a);
    return tables_status(c->r, id, &c->a, &h, NULL) < 0 || h.status != INV_INVOKED
               ? wrong(c, "the index of running invocations names another:", id)
               : 0;
}

static int check_expiry(void *arg, uint64_t time_ms, enum expiry_kind kind, const struct invocation_id *id) {
    struct check *c = arg;
    struct inv_header h;

    (void)time_ms;
    (void)kind;
    arena_clear(&c->a);
    return tables_status(c->r, id, &c->a, &h, NULL) < 0 || h.status != INV_COMPLETED
               ? wrong(c, "an expiry row of an invocation that is not completed:", id)
               : 0;
}

const char *fixture_check(struct fixture *f, char why[256]) {
    struct check c = {.f = f, .r = &f->t.reader, .why = why};
    struct fsm_hot fsm = {0};
    unsigned cold = f->t.cold;
    bool bad;

    f->t.cold = 0;
    (void)snprintf(why, 256, "LSN %llu: a row does not decode", (unsigned long long)f->lsn);
    bad = tables_fsm(c.r, &fsm, NULL) < 0 || tables_all_status(c.r, check_status, &c, NULL) ||
          tables_all_locks(c.r, check_lock, &c, NULL) || tables_all_inbox(c.r, check_inbox, &c, NULL) ||
          tables_timers(c.r, NULL, check_timer, &c, NULL) || tables_invoked(c.r, check_invoked, &c, NULL) ||
          tables_expired(c.r, UINT64_MAX, check_expiry, &c, NULL);
    c.n = fsm.outbox_head;
    bad = bad || tables_outbox(c.r, 0, check_outbox, &c, NULL);
    if (!bad && (c.n != fsm.outbox_tail || fsm.applied_lsn != f->lsn))
        bad = wrong(&c, "outbox or applied LSN are not what the fsm row says", NULL);
    if (!bad && c.local != fsm.outbox_local)
        bad = wrong(&c, "the count of local outbox rows is wrong", NULL);
    arena_done(&c.a);
    f->t.cold = cold;
    return bad ? why : NULL;
}

/* ---- short forms for tests ---- */

struct slice fx_id(struct fixture *f, const char *key, uint64_t n) {
    uint8_t *raw = arena_alloc(&f->scratch, INVOCATION_ID_BYTES);

    put_u64be(raw, id_partition_key(&(struct id_target){.type = TARGET_OBJECT_SHARED, .key = slice_str(key)}, 0));
    put_u64be(raw + 8, 1);
    put_u64be(raw + 16, n);
    return slice_of(raw, INVOCATION_ID_BYTES);
}

static struct slice text_or_null(const char *s) {
    return s ? slice_str(s) : SLICE_NULL;
}

int fx_invoke(struct fixture *f, struct slice id, struct fx_invoke o) {
    struct cmd_target target = {
        .type = o.type ? o.type : TARGET_OBJECT_EXCLUSIVE,
        .service = SLICE_LIT("S"),
        .key = text_or_null(o.key),
        .handler = slice_str(o.handler ? o.handler : "h"),
    };
    struct cmd_sink sink = {
        .request_id = text_or_null(o.request), .caller = o.caller, .completion_id = o.completion_id};
    struct cmd_source source = {.type = SOURCE_INGRESS,
                                .id = slice_str(o.request  ? o.request
                                                : o.submit ? o.submit
                                                           : "")};

    return FX(f, CMD_INVOKE, invoke, .id = id, .target = &target, .argument = SLICE_LIT("in"),
              .sink = o.request || o.caller.data ? &sink : NULL, .source = &source,
              .submit_request_id = text_or_null(o.submit), .execution_time_ms = o.at_ms,
              .completion_retention_ms = o.retention_ms, .journal_retention_ms = o.journal_ms,
              .idempotency_key = text_or_null(o.idempotency_key), .trace = o.trace);
}

int fx_effects(struct fixture *f, struct slice id, const struct cmd_effect *effects, size_t n) {
    return FX(f, CMD_INVOKER_EFFECT, invoker_effect, .id = id, .effects = effects, .n_effects = n);
}

struct cmd_effect fx_pinned(uint32_t protocol) {
    return (struct cmd_effect){.kind = EFFECT_PINNED, .deployment = SLICE_LIT("dp_one"), .protocol = protocol};
}

struct cmd_effect fx_command(uint32_t type, struct slice payload) {
    return (struct cmd_effect){.kind = EFFECT_COMMAND, .type = type, .payload = payload};
}

struct cmd_effect fx_output(struct fixture *f, const char *value) {
    struct sp_value v = {.content = slice_str(value)};

    return fx_command(SP_OUTPUT, SP_BYTES(f, output, .value = &v));
}

struct cmd_effect fx_end(void) {
    return (struct cmd_effect){.kind = EFFECT_END};
}

struct cmd_effect fx_suspend(const struct cmd_future *future) {
    return (struct cmd_effect){.kind = EFFECT_SUSPENDED, .future = (struct cmd_future *)(uintptr_t)future};
}

struct cmd_effect fx_call(struct fixture *f, uint32_t type, struct slice callee, uint32_t target_type, const char *key,
                          uint32_t id_completion, uint32_t completion, uint64_t at_ms) {
    struct cmd_call *call = arena_new(&f->scratch, struct cmd_call);
    struct cmd_target *target = arena_new(&f->scratch, struct cmd_target);
    struct cmd_effect e = {.kind = EFFECT_COMMAND, .type = type, .call = call};

    *target = (struct cmd_target){
        .type = target_type, .service = SLICE_LIT("S"), .key = text_or_null(key), .handler = SLICE_LIT("callee")};
    *call = (struct cmd_call){
        .id = callee, .target = target, .completion_retention_ms = FX_DAY_MS, .journal_retention_ms = FX_DAY_MS};
    if (type == SP_CALL)
        e.payload = SP_BYTES(f, call, .service_name = SLICE_LIT("S"), .handler_name = SLICE_LIT("callee"),
                             .parameter = SLICE_LIT("p"), .key = text_or_null(key),
                             .invocation_id_notification_idx = id_completion, .result_completion_id = completion);
    else
        e.payload = SP_BYTES(f, one_way_call, .service_name = SLICE_LIT("S"), .handler_name = SLICE_LIT("callee"),
                             .parameter = SLICE_LIT("p"), .key = text_or_null(key), .invoke_time_ms = at_ms,
                             .invocation_id_notification_idx = id_completion);
    return e;
}

int fx_signal(struct fixture *f, struct slice id, uint32_t index, const char *name, const char *value) {
    struct cmd_result result = {.value = text_or_null(value)};

    return FX(f, CMD_SIGNAL, signal, .target = id, .index = index, .name = text_or_null(name), .result = &result);
}

int fx_terminate(struct fixture *f, struct slice id, uint32_t flavor) {
    return FX(f, CMD_TERMINATE, terminate, .id = id, .flavor = flavor, .request_id = SLICE_LIT(FX_ADMIN));
}

enum sm_outcome fx_outcome(const struct fixture *f) {
    const struct sm_action *a = fixture_action(f, SM_ACTION_ADMIN_RESPONSE, 0);

    return a ? a->admin.outcome : 0;
}

struct inv_header fx_header(struct fixture *f, struct slice id) {
    struct invocation_id i;
    struct inv_header h = {0};

    memcpy(i.raw, id.data, sizeof i.raw);
    if (tables_status(&f->t.reader, &i, &f->scratch, &h, NULL) < 0)
        h.status = INV_FREE;
    return h;
}

enum inv_status fx_status(struct fixture *f, struct slice id) {
    return fx_header(f, id).status;
}

static int journal_text(void *arg, const struct journal_entry *e) {
    buf_putf(arg, "%s%s%s", ((struct buf *)arg)->len ? " " : "", e->is_command ? "" : "~", sp_type_name(e->type));
    return 0;
}

static const char *take_text(struct fixture *f, struct buf *b) {
    const char *s = arena_str(&f->scratch, buf_slice(b));

    buf_done(b);
    return s;
}

const char *fx_journal(struct fixture *f, struct slice id) {
    struct buf b = {0};
    struct invocation_id i;

    memcpy(i.raw, id.data, sizeof i.raw);
    if (tables_journal(&f->t.reader, &i, 0, journal_text, &b, NULL) < 0)
        buf_put_str(&b, " (does not decode)");
    return take_text(f, &b);
}

const char *fx_actions(struct fixture *f) {
    struct buf b = {0};

    for (size_t i = 0; i < f->a.n; i++)
        buf_putf(&b, "%s%s", i ? " " : "", sm_action_name(f->a.items[i].type));
    return take_text(f, &b);
}

struct slice fx_state(struct fixture *f, const char *key, const char *state_key) {
    struct object_key o = {.service = SLICE_LIT("S"), .key = slice_str(key)};
    struct slice value;

    o.partition_key = id_partition_key(&(struct id_target){.type = TARGET_OBJECT_SHARED, .key = slice_str(key)}, 0);
    return tables_state_get(&f->t.reader, &o, slice_str(state_key), &value, NULL) < 0 ? SLICE_NULL : value;
}

size_t fx_rows(struct fixture *f, enum table_code table) {
    size_t n = 0;

    for (size_t i = 0; i < f->t.n; i++)
        n += f->t.rows[i].key->data[0] == (uint8_t)table;
    return n;
}
