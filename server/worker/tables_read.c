/* SPDX-License-Identifier: Apache-2.0 */
/* worker/tables_read.c : the readers of tables.h: one get or one scan each. */
#include "base/hash.h"
#include "worker/tables_internal.h"

int scan_prefix(struct sm_reader *r, struct slice prefix, bool reverse, sm_each_fn each, void *arg, struct err *err) {
    struct table_key upper;
    bool bounded = key_after(&upper, prefix);

    return r->scan(r->arg, prefix, bounded ? table_key_slice(&upper) : SLICE_NULL, reverse, each, arg, err);
}

static int get(struct sm_reader *r, const struct table_key *k, const char *what, struct slice *ret, struct err *err) {
    int rc = r->get(r->arg, table_key_slice(k), ret, err);

    if (rc < 0)
        return rc;
    return row_version(*ret, what, err);
}

static struct invocation_id id_at(const uint8_t *p) {
    struct invocation_id id;

    memcpy(id.raw, p, sizeof id.raw);
    return id;
}

/* ---- single rows ---- */

int tables_fsm(struct sm_reader *r, struct fsm_hot *ret, struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_fsm(&k, FSM_HOT);
    if ((rc = get(r, &k, "fsm", &v, err)) < 0)
        return rc;
    return fsm_hot_decode(v, ret, err);
}

int tables_format(struct sm_reader *r, struct fsm_format *ret, struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_fsm(&k, FSM_FORMAT);
    if ((rc = get(r, &k, "fsm", &v, err)) < 0)
        return rc;
    if (v.len < 13)
        return row_corrupt(err, "fsm");
    *ret = (struct fsm_format){get_u32le(v.data + 1), get_u64le(v.data + 5), slice_from(v, 13)};
    return 0;
}

int tables_durable(struct sm_reader *r, struct fsm_durable *ret, struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_fsm(&k, FSM_DURABLE);
    if ((rc = get(r, &k, "fsm", &v, err)) < 0)
        return rc;
    if (v.len < 17)
        return row_corrupt(err, "fsm");
    *ret = (struct fsm_durable){get_u64le(v.data + 1), get_u64le(v.data + 9)};
    return 0;
}

int tables_leader(struct sm_reader *r, struct fsm_leader *ret, struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_fsm(&k, FSM_LEADER);
    if ((rc = get(r, &k, "fsm", &v, err)) < 0)
        return rc;
    if (v.len < 25)
        return row_corrupt(err, "fsm");
    *ret = (struct fsm_leader){get_u64le(v.data + 1), get_u64le(v.data + 9), get_u64le(v.data + 17), slice_from(v, 25)};
    return 0;
}

int tables_status(struct sm_reader *r, const struct invocation_id *id, struct arena *a, struct inv_header *ret,
                  struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_of_id(&k, T_STATUS, id);
    if ((rc = get(r, &k, "status", &v, err)) < 0)
        return rc;
    return inv_header_decode(v, a, ret, err);
}

int tables_body(struct sm_reader *r, const struct invocation_id *id, struct arena *a, struct cmd_invocation_body *ret,
                struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_of_id(&k, T_BODY, id);
    if ((rc = get(r, &k, "body", &v, err)) < 0)
        return rc;
    if (cmd_invocation_body_decode(ret, slice_from(v, 1), a, NULL) < 0 || !ret->target)
        return row_corrupt(err, "body");
    return 0;
}

int tables_result(struct sm_reader *r, const struct invocation_id *id, struct arena *a, struct cmd_result *ret,
                  struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_of_id(&k, T_RESULT, id);
    if ((rc = get(r, &k, "result", &v, err)) < 0)
        return rc;
    if (cmd_result_decode(ret, slice_from(v, 1), a, NULL) < 0)
        return row_corrupt(err, "result");
    return 0;
}

int tables_journal_entry(struct sm_reader *r, const struct invocation_id *id, uint32_t index, struct journal_entry *ret,
                         struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_journal_entry(&k, id, index);
    if ((rc = get(r, &k, "journal", &v, err)) < 0)
        return rc;
    return journal_entry_decode(table_key_slice(&k), v, ret, err);
}

int tables_state_get(struct sm_reader *r, const struct object_key *o, struct slice state_key, struct slice *ret,
                     struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_object(&k, T_STATE, o, state_key.data ? state_key : SLICE_LIT(""));
    if ((rc = get(r, &k, "state", &v, err)) < 0)
        return rc;
    return object_value_rest(v, o, state_key, "state", ret, err);
}

int tables_lock(struct sm_reader *r, const struct object_key *o, struct invocation_id *ret_holder,
                uint32_t *ret_waiting, struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_object(&k, T_LOCK, o, SLICE_NULL);
    if ((rc = get(r, &k, "lock", &v, err)) < 0)
        return rc;
    if ((rc = object_value_rest(v, o, SLICE_NULL, "lock", &v, err)) < 0)
        return rc;
    if (v.len < INVOCATION_ID_BYTES + 4)
        return row_corrupt(err, "lock");
    *ret_holder = id_at(v.data);
    *ret_waiting = get_u32le(v.data + INVOCATION_ID_BYTES);
    return 0;
}

int tables_output(struct sm_reader *r, const struct invocation_id *id, struct arena *a, enum inv_status *ret_status,
                  struct cmd_result *ret, uint64_t *ret_expiry_ms, struct err *err) {
    struct inv_header h;
    int rc = tables_status(r, id, a, &h, err);

    if (rc < 0)
        return rc;
    *ret_status = h.status;
    if (h.status != INV_COMPLETED)
        return 0;
    if (__builtin_add_overflow(h.completed_ms, h.completion_retention_ms, ret_expiry_ms))
        *ret_expiry_ms = UINT64_MAX;
    rc = tables_result(r, id, a, ret, err);
    return rc == RS_ENOENT ? row_corrupt(err, "result") : rc;
}

/* ---- scans ---- */

struct each {
    union {
        table_entry_fn entry;
        table_event_fn event;
        table_state_fn state;
        table_timer_fn timer;
        table_outbox_fn outbox;
        table_id_fn id;
        table_expiry_fn expiry;
        table_status_fn status;
        table_state_row_fn state_row;
        table_lock_fn lock;
        table_inbox_fn inbox;
        table_promise_fn promise;
    } fn;
    void *arg;
    struct err *err;
    struct arena *a;
    uint64_t hash;
};

static int entry_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct journal_entry entry;
    int r = journal_entry_decode(key, value, &entry, e->err);

    return r < 0 ? r : e->fn.entry(e->arg, &entry);
}

int tables_journal(struct sm_reader *r, const struct invocation_id *id, uint32_t from, table_entry_fn each, void *arg,
                   struct err *err) {
    struct each e = {.fn.entry = each, .arg = arg, .err = err};
    struct table_key lower, prefix, upper;

    key_journal_entry(&lower, id, from);
    key_journal(&prefix, id, J_ENTRY);
    (void)key_after(&upper, table_key_slice(&prefix)); /* there is one: the last byte is 0 */
    return r->scan(r->arg, table_key_slice(&lower), table_key_slice(&upper), false, entry_each, &e, err);
}

static int event_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct journal_event event;
    int r = row_version(value, "event", e->err);

    if (r < 0)
        return r;
    if (value.len < 13 || key.len < 10)
        return row_corrupt(e->err, "event");
    event = (struct journal_event){
        .lsn = get_u64be(key.data + key.len - 10),
        .after = get_u32le(value.data + 1),
        .appended_ms = get_u64le(value.data + 5),
        .event = slice_from(value, 13),
    };
    return e->fn.event(e->arg, &event);
}

int tables_events(struct sm_reader *r, const struct invocation_id *id, table_event_fn each, void *arg,
                  struct err *err) {
    struct each e = {.fn.event = each, .arg = arg, .err = err};
    struct table_key prefix;

    key_journal(&prefix, id, J_EVENT);
    return scan_prefix(r, table_key_slice(&prefix), false, event_each, &e, err);
}

static int state_row_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct object_key o;
    struct slice last, suffix, rest;
    int r = object_row_decode(key, value, "state", true, &o, &last, &suffix, &rest, e->err);

    return r < 0 ? r : e->fn.state_row(e->arg, &o, last, rest);
}

struct state_narrow {
    table_state_fn each;
    void *arg;
};

static int state_narrow_each(void *arg, const struct object_key *o, struct slice state_key, struct slice value) {
    struct state_narrow *n = arg;

    (void)o;
    return n->each(n->arg, state_key, value);
}

int tables_state(struct sm_reader *r, const struct object_key *o, table_state_fn each, void *arg, struct err *err) {
    struct state_narrow n = {each, arg};
    struct each e = {.fn.state_row = state_narrow_each, .arg = &n, .err = err};
    struct table_key prefix;

    key_object(&prefix, T_STATE, o, SLICE_NULL);
    return scan_prefix(r, table_key_slice(&prefix), false, state_row_each, &e, err);
}

static int timer_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct sm_timer t;
    int r = row_version(value, "timer", e->err);

    if (r < 0)
        return r;
    if (key.len != 1 + 8 + 1 + INVOCATION_ID_BYTES + 4)
        return row_corrupt(e->err, "timer");
    t = (struct sm_timer){
        .time_ms = get_u64be(key.data + 1),
        .kind = key.data[9],
        .id = id_at(key.data + 10),
        .completion_id = get_u32be(key.data + 10 + INVOCATION_ID_BYTES),
    };
    return e->fn.timer(e->arg, &t);
}

int tables_timers(struct sm_reader *r, const struct sm_timer *after, table_timer_fn each, void *arg, struct err *err) {
    struct each e = {.fn.timer = each, .arg = arg, .err = err};
    static const uint8_t first[] = {T_TIMER}, last[] = {T_TIMER + 1};
    struct table_key lower;
    struct slice from = slice_of(first, 1);

    if (after) {
        key_timer(&lower, after);
        lower.b[lower.len++] = 0; /* the next key in byte order */
        from = table_key_slice(&lower);
    }
    return r->scan(r->arg, from, slice_of(last, 1), false, timer_each, &e, err);
}

static int outbox_decode(struct slice value, uint64_t *pk, uint16_t *kind, struct slice *command, struct err *err) {
    int r = row_version(value, "outbox", err);

    if (r < 0)
        return r;
    if (value.len < 11)
        return row_corrupt(err, "outbox");
    *kind = get_u16le(value.data + 1);
    *pk = get_u64le(value.data + 3);
    *command = slice_from(value, 11);
    return 0;
}

static int outbox_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    uint64_t pk;
    uint16_t kind;
    struct slice command;
    int r = outbox_decode(value, &pk, &kind, &command, e->err);

    if (r < 0)
        return r;
    if (key.len != 9)
        return row_corrupt(e->err, "outbox");
    return e->fn.outbox(e->arg, get_u64be(key.data + 1), pk, kind, command);
}

int tables_outbox(struct sm_reader *r, uint64_t from, table_outbox_fn each, void *arg, struct err *err) {
    struct each e = {.fn.outbox = each, .arg = arg, .err = err};
    static const uint8_t last[] = {T_OUTBOX + 1};
    struct table_key lower;

    key_outbox(&lower, from);
    return r->scan(r->arg, table_key_slice(&lower), slice_of(last, 1), false, outbox_each, &e, err);
}

int tables_outbox_get(struct sm_reader *r, uint64_t seq, uint64_t *ret_partition_key, uint16_t *ret_kind,
                      struct slice *ret_command, struct err *err) {
    struct table_key k;
    struct slice v;
    int rc;

    key_outbox(&k, seq);
    if ((rc = get(r, &k, "outbox", &v, err)) < 0)
        return rc;
    return outbox_decode(v, ret_partition_key, ret_kind, ret_command, err);
}

static int invoked_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct invocation_id id;

    (void)value;
    if (key.len != 1 + INVOCATION_ID_BYTES)
        return row_corrupt(e->err, "invoked");
    id = id_at(key.data + 1);
    return e->fn.id(e->arg, &id);
}

int tables_invoked(struct sm_reader *r, table_id_fn each, void *arg, struct err *err) {
    struct each e = {.fn.id = each, .arg = arg, .err = err};
    static const uint8_t first[] = {T_INVOKED};

    return scan_prefix(r, slice_of(first, 1), false, invoked_each, &e, err);
}

static int expiry_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct invocation_id id;

    (void)value;
    if (key.len != 1 + 8 + 1 + INVOCATION_ID_BYTES)
        return row_corrupt(e->err, "expiry");
    id = id_at(key.data + 10);
    return e->fn.expiry(e->arg, get_u64be(key.data + 1), key.data[9], &id);
}

int tables_expired(struct sm_reader *r, uint64_t until_ms, table_expiry_fn each, void *arg, struct err *err) {
    struct each e = {.fn.expiry = each, .arg = arg, .err = err};
    static const uint8_t first[] = {T_EXPIRY}, last[] = {T_EXPIRY + 1};
    uint8_t upper[9] = {T_EXPIRY};
    bool bounded = until_ms < UINT64_MAX;

    put_u64be(upper + 1, until_ms + 1);
    return r->scan(r->arg, slice_of(first, 1), bounded ? slice_of(upper, 9) : slice_of(last, 1), false, expiry_each, &e,
                   err);
}

static int checksum_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;

    e->hash = hash64_seed(key, e->hash + key.len);
    e->hash = hash64_seed(value, e->hash + value.len);
    return 0;
}

int tables_checksum(struct sm_reader *r, uint64_t *ret, struct err *err) {
    struct each e = {.hash = 0};
    int rc = r->scan(r->arg, slice_of("", 0), SLICE_NULL, false, checksum_each, &e, err);

    if (rc == 0)
        *ret = e.hash;
    return rc;
}

/* ---- whole tables ---- */

static int status_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct inv_header h;
    struct invocation_id id;
    int r;

    if (key.len != 1 + INVOCATION_ID_BYTES)
        return row_corrupt(e->err, "status");
    arena_clear(e->a);
    r = inv_header_decode(value, e->a, &h, e->err);
    id = id_at(key.data + 1);
    return r < 0 ? r : e->fn.status(e->arg, &id, &h);
}

int tables_all_status(struct sm_reader *r, table_status_fn each, void *arg, struct err *err) {
    _cleanup_arena_ struct arena a = {0};
    struct each e = {.fn.status = each, .arg = arg, .err = err, .a = &a};
    static const uint8_t first[] = {T_STATUS};

    return scan_prefix(r, slice_of(first, 1), false, status_each, &e, err);
}

int tables_all_state(struct sm_reader *r, table_state_row_fn each, void *arg, struct err *err) {
    struct each e = {.fn.state_row = each, .arg = arg, .err = err};
    static const uint8_t first[] = {T_STATE};

    return scan_prefix(r, slice_of(first, 1), false, state_row_each, &e, err);
}

static int lock_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct object_key o;
    struct slice suffix, rest;
    struct invocation_id id;
    int r = object_row_decode(key, value, "lock", false, &o, NULL, &suffix, &rest, e->err);

    if (r < 0)
        return r;
    if (rest.len < INVOCATION_ID_BYTES)
        return row_corrupt(e->err, "lock");
    id = id_at(rest.data);
    return e->fn.lock(e->arg, &o, &id);
}

int tables_all_locks(struct sm_reader *r, table_lock_fn each, void *arg, struct err *err) {
    struct each e = {.fn.lock = each, .arg = arg, .err = err};
    static const uint8_t first[] = {T_LOCK};

    return scan_prefix(r, slice_of(first, 1), false, lock_each, &e, err);
}

static int inbox_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct object_key o;
    struct slice suffix, rest;
    struct invocation_id id;
    bool patch;
    int r = object_row_decode(key, value, "inbox", false, &o, NULL, &suffix, &rest, e->err);

    if (r < 0)
        return r;
    if (suffix.len != 8 || !rest.len)
        return row_corrupt(e->err, "inbox");
    patch = rest.data[0] != 1;
    if (!patch) {
        if (rest.len < 1 + INVOCATION_ID_BYTES)
            return row_corrupt(e->err, "inbox");
        id = id_at(rest.data + 1);
    }
    return e->fn.inbox(e->arg, &o, get_u64be(suffix.data), patch ? NULL : &id);
}

int tables_all_inbox(struct sm_reader *r, table_inbox_fn each, void *arg, struct err *err) {
    struct each e = {.fn.inbox = each, .arg = arg, .err = err};
    static const uint8_t first[] = {T_INBOX};

    return scan_prefix(r, slice_of(first, 1), false, inbox_each, &e, err);
}

static int promise_each(void *arg, struct slice key, struct slice value) {
    struct each *e = arg;
    struct object_key o;
    struct slice name, suffix, rest;
    struct cmd_result result;
    bool done;
    int r = object_row_decode(key, value, "promise", true, &o, &name, &suffix, &rest, e->err);

    if (r < 0)
        return r;
    if (!rest.len)
        return row_corrupt(e->err, "promise");
    done = rest.data[0] == 1;
    arena_clear(e->a);
    if (done && cmd_result_decode(&result, slice_from(rest, 1), e->a, NULL) < 0)
        return row_corrupt(e->err, "promise");
    return e->fn.promise(e->arg, &o, name, done ? &result : NULL);
}

int tables_all_promises(struct sm_reader *r, table_promise_fn each, void *arg, struct err *err) {
    _cleanup_arena_ struct arena a = {0};
    struct each e = {.fn.promise = each, .arg = arg, .err = err, .a = &a};
    static const uint8_t first[] = {T_PROMISE};

    return scan_prefix(r, slice_of(first, 1), false, promise_each, &e, err);
}
