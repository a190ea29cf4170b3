/* SPDX-License-Identifier: Apache-2.0 */
/* query/rows.c : columns of state, promises, inboxes, locks, and of what the schema holds; and how a cell is set. */
#include "query/query_internal.h"
#include "proto/pb.h"

/* ---- cells ---- */

void row_text(struct query_row *row, unsigned slot, struct slice s) {
    if (s.data && row_wants(row, slot))
        row->cells[slot] = (struct cell){.kind = CELL_TEXT, .s = arena_copy(&row->arena, s)};
}

void row_str(struct query_row *row, unsigned slot, const char *s) {
    if (s)
        row->cells[slot] = (struct cell){.kind = CELL_TEXT, .s = slice_str(s)};
}

void row_blob(struct query_row *row, unsigned slot, struct slice s) {
    if (s.data && row_wants(row, slot))
        row->cells[slot] = (struct cell){.kind = CELL_BLOB, .s = arena_copy(&row->arena, s)};
}

void row_int(struct query_row *row, unsigned slot, uint64_t v) {
    row->cells[slot] = (struct cell){.kind = CELL_INT, .i = (int64_t)v};
}

void row_ts(struct query_row *row, unsigned slot, uint64_t ms) {
    char text[QUERY_TS_CHARS + 1];

    if (!ms || !row_wants(row, slot))
        return;
    query_ts_text(ms, text);
    row_text(row, slot, slice_of(text, QUERY_TS_CHARS));
}

void row_id(struct query_row *row, unsigned slot, struct slice raw24) {
    char text[INVOCATION_ID_CHARS + 1];
    struct invocation_id id;

    if (!row_wants(row, slot) || invocation_id_from_raw(raw24, &id, NULL) < 0)
        return;
    invocation_id_format(&id, text);
    row_text(row, slot, slice_str(text));
}

/* ---- rows of objects ---- */

static void text_or_null(struct query_row *row, unsigned slot, struct slice s) {
    if (s.len)
        row_text(row, slot, s);
}

int rows_state(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err) {
    struct object_key o;
    struct slice name, suffix, bytes;
    int rc = object_row_decode(key, value, "state", true, &o, &name, &suffix, &bytes, err);

    if (rc < 0)
        return rc;
    row_int(row, 0, o.partition_key);
    text_or_null(row, 1, o.scope);
    row_text(row, 2, o.service);
    row_text(row, 3, o.key);
    row_text(row, 4, name);
    row_int(row, 5, name.len);
    if (row_wants(row, 6) && pb_utf8(bytes))
        row_text(row, 6, bytes);
    row_blob(row, 7, bytes);
    row_int(row, 8, bytes.len);
    return 1;
}

int rows_promise(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err) {
    struct object_key o;
    struct slice name, suffix, rest;
    struct cmd_result result;
    int rc = object_row_decode(key, value, "promise", true, &o, &name, &suffix, &rest, err);
    bool done;

    if (rc < 0)
        return rc;
    done = rest.len && rest.data[0] == 1;
    row_int(row, 0, o.partition_key);
    text_or_null(row, 1, o.scope);
    row_text(row, 2, o.service);
    row_text(row, 3, o.key);
    row_text(row, 4, name);
    row_int(row, 5, done);
    if (!done)
        return 1;
    rc = cmd_result_decode(&result, slice_from(rest, 1), &r->arena, err);
    if (rc < 0)
        return rc;
    if (result.failure) {
        struct buf b = {0};

        buf_putf(&b, "[%u] ", result.failure->code);
        buf_put_slice(&b, result.failure->message);
        row_text(row, 8, buf_slice(&b));
        buf_done(&b);
    } else {
        struct slice v = result.value.data ? result.value : SLICE_LIT("");

        row_blob(row, 6, v);
        if (pb_utf8(v))
            row_text(row, 7, v);
    }
    return 1;
}

int rows_inbox(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err) {
    struct object_key o;
    struct slice suffix, rest;
    int rc = object_row_decode(key, value, "inbox", false, &o, NULL, &suffix, &rest, err);

    if (rc < 0)
        return rc;
    if (suffix.len != 8 || !rest.len)
        return err_set(err, RS_ECORRUPT, "a row of the inbox is damaged");
    if (rest.data[0] != 1 || rest.len < 1 + INVOCATION_ID_BYTES)
        return 0; /* a change of state that waits */
    row_int(row, 0, o.partition_key);
    row_text(row, 1, o.service);
    row_text(row, 2, o.key);
    row_id(row, 3, slice_sub(rest, 1, INVOCATION_ID_BYTES));
    row_int(row, 4, get_u64be(suffix.data));
    if (row_wants(row, 5)) {
        struct invocation_id id;
        struct inv_header h;
        struct table_key k;

        memcpy(id.raw, rest.data + 1, sizeof id.raw);
        key_of_id(&k, T_STATUS, &id);
        rc = r->data->get(r->data->arg, r->partition, table_key_slice(&k), &r->value, err);
        if (rc == 0)
            rc = inv_header_decode(buf_slice(&r->value), &r->arena, &h, err);
        if (rc < 0 && rc != RS_ENOENT)
            return rc;
        if (rc == 0)
            row_ts(row, 5, h.created_ms);
    }
    return 1;
}

int rows_lock(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err) {
    struct object_key o;
    struct slice suffix, rest;
    int rc = object_row_decode(key, value, "lock", false, &o, NULL, &suffix, &rest, err);

    if (rc < 0)
        return rc;
    if (rest.len < INVOCATION_ID_BYTES)
        return err_set(err, RS_ECORRUPT, "a row of the locks is damaged");
    row_int(row, 0, o.partition_key);
    row_text(row, 1, o.service);
    row_text(row, 2, o.key);
    row_id(row, 3, slice_sub(rest, 0, INVOCATION_ID_BYTES));
    return 1;
}

/* ---- the schema ---- */

static const char *service_type(enum service_type t) {
    return t == SERVICE_OBJECT ? "virtual_object" : t == SERVICE_WORKFLOW ? "workflow" : "service";
}

int rows_deployment(struct query_reader *r, size_t n, struct query_row *row) {
    const struct schema *s = r->data->schema;
    const struct deployment *d;
    uint64_t ms;

    if (!s || n >= s->n_deployments)
        return 0;
    d = &s->deployments[n];
    row_str(row, 0, d->id);
    row_str(row, 1, "http");
    row_str(row, 2, d->uri);
    if (query_ts_parse(slice_str(d->created_at), &ms))
        row_ts(row, 3, ms);
    row_int(row, 4, d->min_protocol);
    row_int(row, 5, d->max_protocol);
    if (row_wants(row, 6)) {
        struct buf b = {0};

        for (size_t i = 0; i < d->n_services; i++) {
            buf_put_str(&b, i ? "," : "[");
            put_json_str(&b, slice_str(d->services[i].name));
        }
        buf_put_str(&b, d->n_services ? "]" : "[]");
        row_text(row, 6, buf_slice(&b));
        buf_done(&b);
    }
    return 1;
}

int rows_service(struct query_reader *r, size_t n, struct query_row *row) {
    const struct schema *s = r->data->schema;

    if (!s || n >= s->n_latest)
        return 0;
    row_str(row, 0, s->latest[n]->name);
    row_int(row, 1, s->latest[n]->revision);
    row_int(row, 2, s->latest[n]->is_public);
    row_str(row, 3, service_type(s->latest[n]->type));
    row_str(row, 4, s->latest[n]->deployment->id);
    return 1;
}
