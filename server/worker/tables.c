/* SPDX-License-Identifier: Apache-2.0 */
/* worker/tables.c : keys and values of the rows, as drawn in tables.h. Readers are in tables_read.c. */
#include "worker/tables.h"
#include "base/hash.h"
#include "worker/tables_internal.h"

enum { SHORT_STRING = 100, LONG_PREFIX = 64, LONG_MARK = 0xff };
_Static_assert(1 + 8 + 4 * (1 + SHORT_STRING) + 8 <= 480, "the longest key fits");

struct object_key object_key_of(const struct cmd_target *target, const struct invocation_id *id) {
    return (struct object_key){invocation_id_pk(id), target->scope, target->service, target->key};
}

/* ---- keys ---- */

static uint8_t *start(struct table_key *k, enum table_code table) {
    k->b[0] = (uint8_t)table;
    k->len = 1;
    return k->b + 1;
}

static void add_u32(struct table_key *k, uint32_t v) {
    put_u32be(k->b + k->len, v);
    k->len += 4;
}

static void add_u64(struct table_key *k, uint64_t v) {
    put_u64be(k->b + k->len, v);
    k->len += 8;
}

static void add_raw(struct table_key *k, struct slice s) {
    memcpy(k->b + k->len, s.data, s.len);
    k->len += s.len;
}

static void add_string(struct table_key *k, struct slice s) {
    if (LIKELY(s.len <= SHORT_STRING)) {
        k->b[k->len++] = (uint8_t)s.len;
        if (s.len)
            add_raw(k, s);
        return;
    }
    k->b[k->len++] = LONG_MARK;
    add_raw(k, slice_sub(s, 0, LONG_PREFIX));
    sha256(&s, 1, k->b + k->len);
    k->len += 32;
}

void key_fsm(struct table_key *k, enum fsm_var var) {
    start(k, T_FSM);
    k->b[k->len++] = (uint8_t)var;
}

void key_dedup(struct table_key *k, uint8_t kind, struct slice producer) {
    start(k, T_DEDUP);
    k->b[k->len++] = kind;
    add_raw(k, slice_sub(producer, 0, 16));
}

void key_outbox(struct table_key *k, uint64_t seq) {
    start(k, T_OUTBOX);
    add_u64(k, seq);
}

void key_timer(struct table_key *k, const struct sm_timer *t) {
    start(k, T_TIMER);
    add_u64(k, t->time_ms);
    k->b[k->len++] = (uint8_t)t->kind;
    add_raw(k, invocation_id_slice(&t->id));
    add_u32(k, t->completion_id);
}

void key_expiry(struct table_key *k, uint64_t time_ms, enum expiry_kind kind, const struct invocation_id *id) {
    start(k, T_EXPIRY);
    add_u64(k, time_ms);
    k->b[k->len++] = (uint8_t)kind;
    add_raw(k, invocation_id_slice(id));
}

void key_of_id(struct table_key *k, enum table_code table, const struct invocation_id *id) {
    start(k, table);
    add_raw(k, invocation_id_slice(id));
}

void key_journal(struct table_key *k, const struct invocation_id *id, enum journal_row row) {
    key_of_id(k, T_JOURNAL, id);
    k->b[k->len++] = (uint8_t)row;
}

void key_journal_entry(struct table_key *k, const struct invocation_id *id, uint32_t index) {
    key_journal(k, id, J_ENTRY);
    add_u32(k, index);
}

void key_journal_completion(struct table_key *k, const struct invocation_id *id, uint32_t completion_id) {
    key_journal(k, id, J_COMPLETION);
    add_u32(k, completion_id);
}

void key_journal_notification(struct table_key *k, const struct invocation_id *id, enum notification_kind kind,
                              uint32_t number, struct slice name) {
    key_journal(k, id, J_NOTIFICATION);
    k->b[k->len++] = (uint8_t)kind;
    if (kind == NOTIFICATION_NAME)
        add_string(k, name);
    else
        add_u32(k, number);
}

void key_journal_event(struct table_key *k, const struct invocation_id *id, uint64_t lsn, uint16_t n) {
    key_journal(k, id, J_EVENT);
    add_u64(k, lsn);
    put_u16be(k->b + k->len, n);
    k->len += 2;
}

void key_object(struct table_key *k, enum table_code table, const struct object_key *o, struct slice last) {
    start(k, table);
    add_u64(k, o->partition_key);
    add_string(k, o->scope);
    add_string(k, o->service);
    add_string(k, o->key);
    if (last.data)
        add_string(k, last);
}

void key_inbox(struct table_key *k, const struct object_key *o, uint64_t seq) {
    key_object(k, T_INBOX, o, SLICE_NULL);
    add_u64(k, seq);
}

bool key_after(struct table_key *ret, struct slice prefix) {
    ASSERT(prefix.len <= sizeof ret->b);
    memcpy(ret->b, prefix.data, prefix.len);
    for (ret->len = prefix.len; ret->len; ret->len--)
        if (++ret->b[ret->len - 1])
            return true;
    return false;
}

/* ---- full strings in values ---- */

static size_t long_size(struct slice s) {
    return s.len > SHORT_STRING ? 4 + s.len : 0;
}

static uint8_t *long_put(uint8_t *p, struct slice s) {
    if (s.len <= SHORT_STRING)
        return p;
    put_u32le(p, (uint32_t)s.len);
    memcpy(p + 4, s.data, s.len);
    return p + 4 + s.len;
}

uint8_t *object_value_new(struct arena *a, const struct object_key *o, struct slice last, size_t len,
                          struct slice *ret) {
    size_t head = 1 + long_size(o->scope) + long_size(o->service) + long_size(o->key) + long_size(last);
    uint8_t *p = arena_alloc(a, head + len), *at = p;

    *at++ = TABLE_VERSION;
    if (UNLIKELY(head > 1))
        at = long_put(long_put(long_put(long_put(at, o->scope), o->service), o->key), last);
    *ret = slice_of(p, head + len);
    return at;
}

int row_corrupt(struct err *err, const char *what) {
    return err_set(err, RS_ECORRUPT, "a row of table '%s' does not decode", what);
}

int row_version(struct slice value, const char *what, struct err *err) {
    if (!value.len)
        return row_corrupt(err, what);
    if (value.data[0] != TABLE_VERSION)
        return err_set(err, RS_EUNSUPPORTED, "a row of table '%s' has version %u; this program knows %u", what,
                       value.data[0], TABLE_VERSION);
    return 0;
}

static bool take_string(struct slice *key, struct slice *value, struct slice *ret) {
    size_t n;

    if (!key->len)
        return false;
    n = key->data[0];
    *key = slice_from(*key, 1);
    if (n != LONG_MARK) {
        if (n > SHORT_STRING || key->len < n)
            return false;
        *ret = slice_sub(*key, 0, n);
        *key = slice_from(*key, n);
        return true;
    }
    if (key->len < LONG_PREFIX + 32 || value->len < 4)
        return false;
    *key = slice_from(*key, LONG_PREFIX + 32);
    n = get_u32le(value->data);
    *value = slice_from(*value, 4);
    if (value->len < n)
        return false;
    *ret = slice_sub(*value, 0, n);
    *value = slice_from(*value, n);
    return true;
}

int object_row_decode(struct slice key, struct slice value, const char *what, bool has_last, struct object_key *ret,
                      struct slice *ret_last, struct slice *ret_suffix, struct slice *ret_rest, struct err *err) {
    int r = row_version(value, what, err);

    if (r < 0)
        return r;
    value = slice_from(value, 1);
    if (key.len < 9)
        return row_corrupt(err, what);
    ret->partition_key = get_u64be(key.data + 1);
    key = slice_from(key, 9);
    if (!take_string(&key, &value, &ret->scope) || !take_string(&key, &value, &ret->service) ||
        !take_string(&key, &value, &ret->key) || (has_last && !take_string(&key, &value, ret_last)))
        return row_corrupt(err, what);
    *ret_suffix = key;
    *ret_rest = value;
    return 0;
}

int object_value_rest(struct slice value, const struct object_key *o, struct slice last, const char *what,
                      struct slice *ret, struct err *err) {
    size_t head = 1 + long_size(o->scope) + long_size(o->service) + long_size(o->key) + long_size(last);
    int r = row_version(value, what, err);

    if (r < 0)
        return r;
    if (value.len < head)
        return row_corrupt(err, what);
    *ret = slice_from(value, head);
    return 0;
}

size_t name_value_head(struct slice name) {
    return 1 + long_size(name);
}

uint8_t *name_value_put(uint8_t *p, struct slice name) {
    *p++ = TABLE_VERSION;
    return long_put(p, name);
}

/* ---- fsm ---- */

enum { FSM_HOT_BYTES = 1 + 7 * 8 };

struct slice fsm_hot_encode(const struct fsm_hot *f, struct arena *a) {
    const uint64_t v[] = {f->applied_lsn, f->self_epoch,  f->self_seq,    f->inbox_seq,
                          f->outbox_head, f->outbox_tail, f->outbox_local};
    uint8_t *p = arena_alloc(a, FSM_HOT_BYTES);

    p[0] = TABLE_VERSION;
    for (size_t i = 0; i < ARRAY_SIZE(v); i++)
        put_u64le(p + 1 + i * 8, v[i]);
    return slice_of(p, FSM_HOT_BYTES);
}

int fsm_hot_decode(struct slice value, struct fsm_hot *ret, struct err *err) {
    int r = row_version(value, "fsm", err);

    if (r < 0)
        return r;
    if (value.len < FSM_HOT_BYTES)
        return row_corrupt(err, "fsm");
    *ret = (struct fsm_hot){
        .applied_lsn = get_u64le(value.data + 1),
        .self_epoch = get_u64le(value.data + 9),
        .self_seq = get_u64le(value.data + 17),
        .inbox_seq = get_u64le(value.data + 25),
        .outbox_head = get_u64le(value.data + 33),
        .outbox_tail = get_u64le(value.data + 41),
        .outbox_local = get_u64le(value.data + 49),
    };
    return 0;
}

/* ---- status ---- */

enum {
    HEADER_FIXED = 1 + 4 + 4 * 4 + 6 * 8 + 6 * 8,
    HEADER_SEED = 1,
    HEADER_TRACED = 2,
    SINK_INGRESS_BYTES = 17,
    SINK_PARTITION_BYTES = 29
};

static size_t sinks_size(const struct inv_header *h) {
    size_t n = 0;

    for (uint32_t i = 0; i < h->n_sinks; i++)
        n += h->sinks[i].type == SINK_INGRESS ? SINK_INGRESS_BYTES : SINK_PARTITION_BYTES;
    return n;
}

void inv_header_encode(const struct inv_header *h, struct arena *a, struct slice *ret) {
    size_t len = HEADER_FIXED + 1 + h->deployment.len + 4 + h->future.len + 4 + sinks_size(h);
    const uint64_t times[] = {
        h->created_ms,           h->modified_ms,  h->inboxed_ms,        h->scheduled_ms,
        h->running_ms,           h->completed_ms, h->execution_time_ms, h->completion_retention_ms,
        h->journal_retention_ms, h->inbox_seq,    h->random_seed,       h->start_lsn};
    uint8_t *p = arena_alloc(a, len);

    ASSERT(h->deployment.len <= 255);
    *ret = slice_of(p, len);
    *p++ = TABLE_VERSION;
    *p++ = (uint8_t)h->status;
    *p++ = h->target_type;
    *p++ = h->protocol;
    *p++ = (uint8_t)((h->has_random_seed ? HEADER_SEED : 0) | (h->traced ? HEADER_TRACED : 0));
    put_u32le(p, h->journal_length);
    put_u32le(p + 4, h->command_count);
    put_u32le(p + 8, h->event_count);
    put_u32le(p + 12, h->output_index);
    p += 16;
    for (size_t i = 0; i < ARRAY_SIZE(times); i++, p += 8)
        put_u64le(p, times[i]);
    *p++ = (uint8_t)h->deployment.len;
    if (h->deployment.len)
        memcpy(p, h->deployment.data, h->deployment.len);
    p += h->deployment.len;
    put_u32le(p, (uint32_t)h->future.len);
    if (h->future.len)
        memcpy(p + 4, h->future.data, h->future.len);
    p += 4 + h->future.len;
    put_u32le(p, h->n_sinks);
    p += 4;
    for (uint32_t i = 0; i < h->n_sinks; i++) {
        const struct inv_sink *s = &h->sinks[i];

        *p++ = (uint8_t)s->type;
        if (s->type == SINK_INGRESS) {
            memcpy(p, s->request_id, 16);
            p += 16;
        } else {
            memcpy(p, s->caller.raw, INVOCATION_ID_BYTES);
            put_u32le(p + INVOCATION_ID_BYTES, s->completion_id);
            p += INVOCATION_ID_BYTES + 4;
        }
    }
    ASSERT(p == ret->data + ret->len);
}

static int sinks_decode(struct slice v, uint32_t n, struct arena *a, struct inv_header *ret, struct err *err) {
    struct inv_sink *sinks;

    if (n > v.len / SINK_INGRESS_BYTES)
        return row_corrupt(err, "status");
    sinks = n ? arena_newn(a, struct inv_sink, n) : NULL;
    for (uint32_t i = 0; i < n; i++) {
        size_t len = !v.len                        ? SIZE_MAX
                     : v.data[0] == SINK_INGRESS   ? SINK_INGRESS_BYTES
                     : v.data[0] == SINK_PARTITION ? SINK_PARTITION_BYTES
                                                   : SIZE_MAX;

        if (v.len < len)
            return row_corrupt(err, "status");
        sinks[i].type = v.data[0];
        if (sinks[i].type == SINK_INGRESS) {
            memcpy(sinks[i].request_id, v.data + 1, 16);
        } else {
            memcpy(sinks[i].caller.raw, v.data + 1, INVOCATION_ID_BYTES);
            sinks[i].completion_id = get_u32le(v.data + 1 + INVOCATION_ID_BYTES);
        }
        v = slice_from(v, len);
    }
    ret->sinks = sinks;
    ret->n_sinks = n;
    return 0;
}

int inv_header_decode(struct slice value, struct arena *a, struct inv_header *ret, struct err *err) {
    int r = row_version(value, "status", err);
    const uint8_t *p = value.data;
    struct slice rest;
    size_t n;

    if (r < 0)
        return r;
    if (value.len < HEADER_FIXED || p[1] < INV_SCHEDULED || p[1] > INV_COMPLETED)
        return row_corrupt(err, "status");
    *ret = (struct inv_header){
        .status = p[1],
        .target_type = p[2],
        .protocol = p[3],
        .has_random_seed = (p[4] & HEADER_SEED) != 0,
        .traced = (p[4] & HEADER_TRACED) != 0,
        .journal_length = get_u32le(p + 5),
        .command_count = get_u32le(p + 9),
        .event_count = get_u32le(p + 13),
        .output_index = get_u32le(p + 17),
        .created_ms = get_u64le(p + 21),
        .modified_ms = get_u64le(p + 29),
        .inboxed_ms = get_u64le(p + 37),
        .scheduled_ms = get_u64le(p + 45),
        .running_ms = get_u64le(p + 53),
        .completed_ms = get_u64le(p + 61),
        .execution_time_ms = get_u64le(p + 69),
        .completion_retention_ms = get_u64le(p + 77),
        .journal_retention_ms = get_u64le(p + 85),
        .inbox_seq = get_u64le(p + 93),
        .random_seed = get_u64le(p + 101),
        .start_lsn = get_u64le(p + 109),
    };
    rest = slice_from(value, HEADER_FIXED);
    if (!rest.len || rest.len < 1 + (n = rest.data[0]) + 4)
        return row_corrupt(err, "status");
    ret->deployment = slice_sub(rest, 1, n);
    rest = slice_from(rest, 1 + n);
    n = get_u32le(rest.data);
    rest = slice_from(rest, 4);
    if (rest.len < n || rest.len - n < 4)
        return row_corrupt(err, "status");
    ret->future = slice_sub(rest, 0, n);
    rest = slice_from(rest, n);
    return sinks_decode(slice_from(rest, 4), get_u32le(rest.data), a, ret, err);
}

/* ---- journal ---- */

enum { ENTRY_HEAD = 1 + 1 + 2 + 8 + 4, ENTRY_COMMAND = 1 };

struct slice journal_entry_encode(const struct journal_entry *e, struct arena *a, struct slice *ret_payload) {
    size_t len = ENTRY_HEAD + e->side.len + e->payload.len;
    uint8_t *p = arena_alloc(a, len);

    p[0] = TABLE_VERSION;
    p[1] = e->is_command ? ENTRY_COMMAND : 0;
    put_u16le(p + 2, e->type);
    put_u64le(p + 4, e->appended_ms);
    put_u32le(p + 12, (uint32_t)e->side.len);
    if (e->side.len)
        memcpy(p + ENTRY_HEAD, e->side.data, e->side.len);
    if (e->payload.len)
        memcpy(p + ENTRY_HEAD + e->side.len, e->payload.data, e->payload.len);
    *ret_payload = slice_of(p + ENTRY_HEAD + e->side.len, e->payload.len);
    return slice_of(p, len);
}

int journal_entry_decode(struct slice key, struct slice value, struct journal_entry *ret, struct err *err) {
    int r = row_version(value, "journal", err);
    uint32_t side;

    if (r < 0)
        return r;
    if (key.len < 4 || value.len < ENTRY_HEAD || value.len - ENTRY_HEAD < (side = get_u32le(value.data + 12)))
        return row_corrupt(err, "journal");
    *ret = (struct journal_entry){
        .index = get_u32be(key.data + key.len - 4),
        .is_command = (value.data[1] & ENTRY_COMMAND) != 0,
        .type = get_u16le(value.data + 2),
        .appended_ms = get_u64le(value.data + 4),
        .side = slice_sub(value, ENTRY_HEAD, side),
        .payload = slice_from(value, ENTRY_HEAD + side),
    };
    return 0;
}
