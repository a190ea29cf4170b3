/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log_wire.h"

#include <stdlib.h>
#include "base/arena.h"
#include "base/limits.h"
#include "proto/log.gen.h"
#include "proto/record.h"

enum { HEAD_BYTES = 2, RECORDS_MAX = 1 << 16 };

/* The message behind its length; *ret_rest is what follows it. */
static int take_head(struct slice in, struct slice *ret, struct slice *ret_rest, struct err *err) {
    size_t len;

    if (in.len < HEAD_BYTES || in.len - HEAD_BYTES < (len = get_u16le(in.data)))
        return err_set(err, RS_ECORRUPT, "a message of the log layer is cut short");
    *ret = slice_sub(in, HEAD_BYTES, len);
    *ret_rest = slice_from(in, HEAD_BYTES + len);
    return 0;
}

static size_t begin_head(struct buf *out) {
    (void)buf_add(out, HEAD_BYTES);
    return out->len;
}

static void end_head(struct buf *out, size_t start) {
    put_u16le(out->data + start - HEAD_BYTES, (uint16_t)(out->len - start));
}

static void free_records(struct bytes **v, size_t n) {
    for (size_t i = 0; i < n; i++)
        (void)bytes_unref(v[i]);
    free(v);
}

/* @n records, one after the other, to the end of @in; each is verified and copied out. */
static int take_records(struct slice in, uint32_t n, struct bytes ***ret, struct err *err) {
    struct bytes **v;
    uint32_t i = 0;

    *ret = NULL;
    if (n > RECORDS_MAX || n > in.len)
        return err_set(err, RS_ECORRUPT, "%u records in %zu bytes", n, in.len);
    v = xcalloc(n + 1, sizeof *v);
    for (; i < n; i++) {
        size_t len = in.len >= 8 ? record_length(in.data) : 0;

        if (len < 8 || len > in.len || len > LIMIT_RECORD_BYTES || record_verify(slice_sub(in, 0, len), err) < 0)
            break;
        v[i] = bytes_copy(slice_sub(in, 0, len));
        in = slice_from(in, len);
    }
    if (i < n || in.len) {
        free_records(v, i);
        return err_set(err, RS_ECORRUPT, "record %u of %u is damaged", i, n);
    }
    *ret = v;
    return 0;
}

/* ---- requests ---- */

void log_wire_request(const struct ls_req *r, struct buf *out) {
    struct ls_request m = {.loglet = r->loglet_id, .global_tail = r->global_tail};
    size_t start = begin_head(out);

    switch (r->kind) {
    case LS_STORE: {
        const struct ls_store *s = CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_store, h);

        m.flags = s->flags;
        m.first_offset = s->first_offset;
        m.repair_floor = s->repair_floor;
        m.sequencer = s->sequencer.id;
        m.sequencer_generation = s->sequencer.generation;
        m.records = s->n;
        break;
    }
    case LS_SEAL: {
        const struct ls_seal *s = CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_seal, h);

        m.sequencer = s->sequencer.id;
        m.sequencer_generation = s->sequencer.generation;
        break;
    }
    case LS_WAIT: {
        const struct ls_wait *s = CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_wait, h);

        m.what = (uint32_t)s->what;
        m.tail = s->tail;
        break;
    }
    case LS_GET: {
        const struct ls_get *s = CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_get, h);

        m.from = s->from;
        m.to = s->to;
        m.limit = s->limit_bytes;
        break;
    }
    case LS_DIGEST: {
        const struct ls_digest *s = CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_digest, h);

        m.from = s->from;
        m.to = s->to;
        break;
    }
    case LS_TRIM:
        m.trim_point = CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_trim, h)->trim_point;
        break;
    case LS_INFO:
    case LS_FLUSH:
        break;
    }
    ls_request_encode(&m, out);
    end_head(out, start);
}

static struct ls_req *new_request(enum ls_kind kind, const struct ls_request *m) {
    const struct node_id sequencer = {m->sequencer, m->sequencer_generation};
    struct ls_req *r = NULL;

    switch (kind) {
    case LS_STORE: {
        struct ls_store *s = xnew(struct ls_store);

        s->flags = m->flags;
        s->first_offset = m->first_offset;
        s->repair_floor = m->repair_floor;
        s->sequencer = sequencer;
        s->n = m->records;
        r = &s->h;
        break;
    }
    case LS_SEAL: {
        struct ls_seal *s = xnew(struct ls_seal);

        s->sequencer = sequencer;
        r = &s->h;
        break;
    }
    case LS_WAIT: {
        struct ls_wait *s = xnew(struct ls_wait);

        s->what = (enum ls_wait_for)m->what;
        s->tail = m->tail;
        r = &s->h;
        break;
    }
    case LS_GET: {
        struct ls_get *s = xnew(struct ls_get);

        s->from = m->from;
        s->to = m->to;
        s->limit_bytes = MIN(m->limit ? m->limit : LIMIT_BATCH_BYTES, LIMIT_BATCH_BYTES * 4u);
        r = &s->h;
        break;
    }
    case LS_DIGEST: {
        struct ls_digest *s = xnew(struct ls_digest);

        s->from = m->from;
        s->to = m->to;
        r = &s->h;
        break;
    }
    case LS_TRIM: {
        struct ls_trim *s = xnew(struct ls_trim);

        s->trim_point = m->trim_point;
        r = &s->h;
        break;
    }
    default: {
        struct ls_info *s = xnew(struct ls_info);

        r = &s->h;
    }
    }
    r->kind = kind;
    r->loglet_id = m->loglet;
    r->global_tail = m->global_tail;
    return r;
}

int log_wire_take_request(enum ls_kind kind, struct slice in, struct ls_req **ret, struct bytes ***ret_records,
                          struct err *err) {
    _cleanup_(arena_done) struct arena a = {0};
    struct slice head = SLICE_NULL, rest = SLICE_NULL;
    struct ls_request m;
    int r = take_head(in, &head, &rest, err);

    *ret_records = NULL;
    r = r < 0 ? r : ls_request_decode(&m, head, &a, err);
    if (r < 0)
        return RS_ECORRUPT;
    if ((kind == LS_STORE) != (m.records > 0) || m.what > LS_WAIT_EITHER || (m.flags & ~(uint32_t)LS_IGNORE_SEAL))
        return err_set(err, RS_ECORRUPT, "a request to the log-server makes no sense");
    if (kind == LS_STORE)
        r = take_records(rest, m.records, ret_records, err);
    if (r == 0)
        *ret = new_request(kind, &m);
    return r;
}

/* ---- answers ---- */

static void answer_get(const struct ls_get *g, struct ls_response *m, struct ls_item *items, struct bytes **parts,
                       size_t *n_parts) {
    for (size_t i = 0; i < g->n; i++) {
        items[i] = (struct ls_item){(uint32_t)g->entries[i].kind, g->entries[i].offset, g->entries[i].to, SLICE_NULL};
        if (g->entries[i].kind == LS_DATA)
            parts[(*n_parts)++] = g->entries[i].record;
    }
    m->n_items = g->n;
    m->next_offset = g->next_offset;
    m->records = (uint32_t)*n_parts;
    m->error = (uint32_t)-g->error;
    m->message = slice_str(g->error ? g->err.msg : NULL);
}

static void answer_digest(const struct ls_digest *d, struct ls_response *m, struct ls_item *items) {
    for (size_t i = 0; i < d->n; i++)
        items[i] = (struct ls_item){(uint32_t)d->entries[i].status, d->entries[i].from, d->entries[i].to, SLICE_NULL};
    m->n_items = d->n;
    m->error = (uint32_t)-d->error;
    m->message = slice_str(d->error ? d->err.msg : NULL);
}

/* The items of a GET or a digest are many: they go behind a head of fixed size. The head's length is 16 bits, so a head
 * carries at most this many; a GET then ends earlier. */
enum { ITEMS_MAX = 4000 };

void log_wire_answer(const struct ls_req *r, const struct ls_reply *reply, struct buf *out, struct bytes ***ret_parts,
                     size_t *ret_n) {
    struct ls_response m = {.status = (uint32_t)reply->status,
                            .local_tail = reply->local_tail,
                            .global_tail = reply->global_tail,
                            .sealed = reply->sealed};
    struct ls_item *items = NULL;
    size_t start = begin_head(out);

    *ret_parts = NULL;
    *ret_n = 0;
    if (r->kind == LS_GET) {
        struct ls_get g = *CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_get, h);

        if (g.n > ITEMS_MAX) {
            g.n = ITEMS_MAX;
            g.next_offset = g.entries[ITEMS_MAX].offset;
            g.error = 0;
        }
        items = xcalloc(g.n + 1, sizeof *items);
        *ret_parts = xcalloc(g.n + 1, sizeof **ret_parts);
        answer_get(&g, &m, items, *ret_parts, ret_n);
    } else if (r->kind == LS_DIGEST) {
        struct ls_digest d = *CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_digest, h);

        if (d.n > ITEMS_MAX)
            d.error = err_set(&d.err, RS_ETOOBIG, "the digest has more than %d pieces", ITEMS_MAX);
        d.n = d.error ? 0 : d.n;
        items = xcalloc(d.n + 1, sizeof *items);
        answer_digest(&d, &m, items);
    } else if (r->kind == LS_INFO) {
        m.trim_point = CONTAINER_OF((struct ls_req *)(uintptr_t)r, struct ls_info, h)->trim_point;
    }
    m.items = items;
    ls_response_encode(&m, out);
    end_head(out, start);
    free(items);
}

static int fill_get(struct ls_get *g, const struct ls_response *m, struct slice rest, struct err *err) {
    struct bytes **records;
    uint32_t k = 0, data = 0;
    int r;

    for (size_t i = 0; i < m->n_items; i++)
        data += m->items[i].kind == LS_DATA;
    if (data != m->records)
        return err_set(err, RS_ECORRUPT, "%u entries with %u records", data, m->records);
    r = take_records(rest, m->records, &records, err);
    if (r < 0)
        return r;
    g->entries = xcalloc(m->n_items + 1, sizeof *g->entries);
    g->n = g->cap = m->n_items;
    for (size_t i = 0; i < m->n_items; i++) {
        const struct ls_item *e = &m->items[i];
        bool is_data = e->kind == LS_DATA;

        g->entries[i] =
            (struct ls_entry){is_data ? LS_DATA : LS_TRIM_GAP, e->offset, e->to, is_data ? records[k++] : NULL};
    }
    free(records);
    g->next_offset = m->next_offset;
    g->error = -(int)m->error;
    if (m->error)
        (void)err_set(&g->err, g->error, SLICE_FMT, SLICE_ARG(slice_sub(m->message, 0, 200)));
    return 0;
}

static void fill_digest(struct ls_digest *d, const struct ls_response *m) {
    d->entries = xcalloc(m->n_items + 1, sizeof *d->entries);
    d->n = d->cap = m->n_items;
    for (size_t i = 0; i < m->n_items; i++)
        d->entries[i] =
            (struct ls_digest_entry){m->items[i].offset, m->items[i].to,
                                     m->items[i].kind == LS_DIGEST_TRIMMED ? LS_DIGEST_TRIMMED : LS_DIGEST_EXISTS};
    d->error = -(int)m->error;
    if (m->error)
        (void)err_set(&d->err, d->error, SLICE_FMT, SLICE_ARG(slice_sub(m->message, 0, 200)));
}

int log_wire_take_answer(struct ls_req *req, struct slice in, struct ls_reply *ret, struct err *err) {
    _cleanup_(arena_done) struct arena a = {0};
    struct slice head = SLICE_NULL, rest = SLICE_NULL;
    struct ls_response m;
    int r = take_head(in, &head, &rest, err);

    r = r < 0 ? r : ls_response_decode(&m, head, &a, err);
    if (r < 0)
        return RS_ECORRUPT;
    if (m.status > LS_MALFORMED || m.local_tail == 0 || m.global_tail == 0 || m.error > 255)
        return err_set(err, RS_ECORRUPT, "an answer of a log-server makes no sense");
    if (req->kind == LS_GET && m.status == LS_OK)
        r = fill_get(CONTAINER_OF(req, struct ls_get, h), &m, rest, err);
    else if (req->kind == LS_DIGEST)
        fill_digest(CONTAINER_OF(req, struct ls_digest, h), &m);
    else if (req->kind == LS_INFO)
        CONTAINER_OF(req, struct ls_info, h)->trim_point = m.trim_point;
    if (r == 0)
        *ret = (struct ls_reply){(enum ls_status)m.status, m.local_tail, m.global_tail, m.sealed};
    return r;
}
