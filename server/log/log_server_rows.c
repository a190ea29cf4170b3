/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the log store and what is read from them at start; layout in log_server.h. */
#include <inttypes.h>
#include "base/hash.h"
#include "log/log_server_internal.h"

#define MARKER_KEY SLICE_LIT("storage-marker")

struct slice ls_key(uint8_t buf[LS_KEY_BYTES], char kind, uint64_t loglet_id) {
    buf[0] = (uint8_t)kind;
    put_u64be(buf + 1, loglet_id);
    return slice_of(buf, 9);
}

struct slice ls_key_record(uint8_t buf[LS_KEY_BYTES], uint64_t loglet_id, uint32_t offset) {
    buf[0] = 'd';
    put_u64be(buf + 1, loglet_id);
    put_u32be(buf + 9, offset);
    return slice_of(buf, LS_KEY_BYTES);
}

/* Format and checksum around @n bytes of payload at @value + 1. */
static struct slice seal_value(uint8_t *value, size_t n) {
    value[0] = LS_ROW_FORMAT;
    put_u32le(value + 1 + n, crc32c(0, value, 1 + n));
    return slice_of(value, n + 5);
}

void ls_put_u32(struct log_server *s, struct store_batch *b, char kind, uint64_t loglet_id, uint32_t v) {
    uint8_t key[LS_KEY_BYTES], value[9];

    put_u32le(value + 1, v);
    store_batch_put(b, s->table, ls_key(key, kind, loglet_id), seal_value(value, 4));
}

void ls_put_u64(struct log_server *s, struct store_batch *b, char kind, uint64_t loglet_id, uint64_t v) {
    uint8_t key[LS_KEY_BYTES], value[13];

    put_u64le(value + 1, v);
    store_batch_put(b, s->table, ls_key(key, kind, loglet_id), seal_value(value, 8));
}

void ls_put_node(struct log_server *s, struct store_batch *b, uint64_t loglet_id, struct node_id id) {
    ls_put_u64(s, b, 's', loglet_id, (uint64_t)id.generation << 32 | id.id);
}

static int open_value(struct slice value, size_t n, const uint8_t **ret) {
    if (value.len != n + 5 || value.data[0] != LS_ROW_FORMAT ||
        crc32c(0, value.data, n + 1) != get_u32le(value.data + n + 1))
        return RS_ECORRUPT;
    *ret = value.data + 1;
    return 0;
}

struct load {
    struct log_server *s;
    struct err *err;
    char kind;
};

static void load_value(struct ls_loglet *l, char kind, const uint8_t *v) {
    switch (kind) {
    case 's':
        l->sequencer = (struct node_id){get_u32le(v), get_u32le(v + 4)};
        break;
    case 'Z':
        l->sealed = l->seal_enqueued = true;
        break;
    case 't':
        l->trim_point = get_u32le(v);
        break;
    case 'g':
        l->global_tail = l->global_tail_saved = MAX(l->global_tail, get_u32le(v));
        break;
    case 'l':
        l->local_tail = MAX(l->local_tail, get_u32le(v));
        break;
    default:
        UNREACHABLE("kinds are listed by the caller");
    }
}

static int load_row(void *arg, struct slice key, struct slice value) {
    struct load *ld = arg;
    const uint8_t *v;
    size_t n = ld->kind == 's' || ld->kind == 'Z' ? 8 : 4;

    if (slice_eq(key, MARKER_KEY))
        return 0;
    if (key.len != 9)
        return err_set(ld->err, RS_ECORRUPT, "log store: a row '%c' with a key of %zu bytes", ld->kind, key.len);
    if (open_value(value, n, &v) < 0)
        return err_set(ld->err, RS_ECORRUPT, "log store: row '%c' of loglet %" PRIu32 "_%" PRIu32 " is damaged",
                       ld->kind, loglet_id_log(get_u64be(key.data + 1)), loglet_id_index(get_u64be(key.data + 1)));
    if (ld->kind == 'f')
        ls_floor_raise(ld->s, loglet_id_log(get_u64be(key.data + 1)), get_u32le(v));
    else
        load_value(ls_loglet_get(ld->s, get_u64be(key.data + 1)), ld->kind, v);
    return 0;
}

static int last_record(void *arg, struct slice key, struct slice value) {
    uint32_t *tail = arg;

    if (key.len != LS_KEY_BYTES)
        return RS_ECORRUPT;
    *tail = get_u32be(key.data + 9) + 1;
    return 1;
}

static int load_tail(struct log_server *s, struct store_view *view, struct ls_loglet *l, struct err *err) {
    uint8_t lower[LS_KEY_BYTES], upper[LS_KEY_BYTES];
    uint32_t tail = 1;
    int r = store_view_scan(view, s->table, ls_key_record(lower, l->id, 0), ls_key_record(upper, l->id, UINT32_MAX),
                            true, last_record, &tail, err);

    if (r < 0)
        return r == RS_ECORRUPT ? err_set(err, r, "log store: a record row has a malformed key") : r;
    l->local_tail = MAX(l->local_tail, tail);
    l->local_tail = MAX(l->local_tail, l->trim_point + 1);
    l->staging_tail = l->local_tail;
    return 0;
}

static int check_marker(struct log_server *s, struct store_view *view, bool expect_marker, struct err *err) {
    _cleanup_buf_ struct buf value = {0};
    const uint8_t *v;
    struct store_batch *b;
    uint8_t row[17];
    int r = store_view_get(view, s->table, MARKER_KEY, &value, err);

    if (r == 0) {
        if (open_value(buf_slice(&value), 12, &v) < 0)
            return err_set(err, RS_ECORRUPT, "log store: its marker is damaged");
        if (get_u32le(v) != s->node_id)
            return err_set(err, RS_EPERM, "the log store belongs to node N%" PRIu32 ", this is N%" PRIu32, get_u32le(v),
                           s->node_id);
        return 0;
    }
    if (r != RS_ENOENT)
        return r;
    if (expect_marker)
        return err_set(err, RS_ENOENT,
                       "the log store of N%" PRIu32 " is empty although it held records: its data is lost", s->node_id);
    put_u32le(row + 1, s->node_id);
    put_u64le(row + 5, loop_wall_ns(s->loop) / 1000000u);
    b = store_batch_new();
    store_batch_put(b, s->table, MARKER_KEY, seal_value(row, 12));
    if (!s->open) {
        s->open = xnew(struct ls_batch);
        s->open->server = s;
        list_init(&s->open->reqs);
        s->open->writes = b;
        loop_hook_arm(s->loop, &s->commit);
    }
    return 0;
}

int ls_rows_load(struct log_server *s, bool expect_marker, struct err *err) {
    static const char kinds[] = {'s', 'Z', 't', 'g', 'l', 'f'};
    struct store_view *view = NULL;
    int r = store_view_new(s->store, &view, err);

    if (r < 0)
        return r;
    r = check_marker(s, view, expect_marker, err);
    for (size_t i = 0; r == 0 && i < sizeof kinds; i++) {
        struct load ld = {s, err, kinds[i]};
        uint8_t lower = (uint8_t)kinds[i], upper = (uint8_t)(kinds[i] + 1);

        r = store_view_scan(view, s->table, slice_of(&lower, 1), slice_of(&upper, 1), false, load_row, &ld, err);
    }
    MAP_FOREACH (n, &s->loglets) {
        if (r == 0)
            r = load_tail(s, view, MAP_ENTRY(n, struct ls_loglet, node), err);
    }
    (void)store_view_free(view);
    return r;
}
