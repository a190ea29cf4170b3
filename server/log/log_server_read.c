/* SPDX-License-Identifier: Apache-2.0 */
/* GetRecords and GetDigest: reads of the store by a job on the pool, over a view of what is durable. */
#include <inttypes.h>
#include "log/log_server_internal.h"
#include "proto/record.h"

static void entry_add(struct ls_get *g, struct ls_entry e) {
    if (g->n == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 16;
        g->entries = xrealloc(g->entries, g->cap * sizeof *g->entries);
    }
    g->entries[g->n++] = e;
}

void ls_get_done(struct ls_get *g) {
    for (size_t i = 0; i < g->n; i++)
        (void)bytes_unref(g->entries[i].record);
    free(g->entries);
    g->entries = NULL;
    g->n = g->cap = 0;
}

#define STOP 1 /* enough */

static int get_row(void *arg, struct slice key, struct slice value) {
    struct ls_get *g = arg;
    uint32_t offset;
    int r;

    if (key.len != LS_KEY_BYTES)
        return err_set(&g->err, RS_ECORRUPT, "a record row has a malformed key");
    offset = get_u32be(key.data + 9);
    if (g->limit_bytes && g->bytes && g->bytes + value.len > g->limit_bytes) {
        g->next_offset = offset;
        return STOP;
    }
    g->next_offset = offset;
    r = record_verify(value, &g->err);
    if (r < 0)
        return r;
    /* The one copy between the store and the readers. */
    entry_add(g, (struct ls_entry){.kind = LS_DATA, .offset = offset, .record = bytes_copy(value)});
    g->bytes += value.len;
    g->next_offset = offset + 1;
    return 0;
}

static void get_run(struct job *j) {
    struct ls_get *g = CONTAINER_OF(j, struct ls_get, job);
    uint8_t lower[LS_KEY_BYTES], upper[LS_KEY_BYTES];
    struct store_view *view;
    int r = store_view_new(g->server->store, &view, &g->err);

    if (r == 0) {
        r = store_view_scan(view, g->server->table, ls_key_record(lower, g->h.loglet_id, g->from),
                            ls_key_record(upper, g->h.loglet_id, g->to + 1), false, get_row, g, &g->err);
        (void)store_view_free(view);
    }
    if (r == 0)
        g->next_offset = g->to + 1;
    if (r < 0)
        g->error = err_wrap(&g->err, r, "log %" PRIu32 ", segment %" PRIu32 ", offset %" PRIu32,
                            loglet_id_log(g->h.loglet_id), loglet_id_index(g->h.loglet_id), g->next_offset);
}

static void get_finished(struct job *j) {
    struct ls_get *g = CONTAINER_OF(j, struct ls_get, job);
    struct log_server *s = g->server;
    struct ls_reply reply;

    ls_reply_fill(ls_loglet_find(s, g->h.loglet_id), LS_OK, &reply);
    g->h.done(&g->h, &reply);
    ls_work_done(s);
}

void ls_get_start(struct log_server *s, struct ls_get *g) {
    const struct ls_loglet *l = ls_loglet_find(s, g->h.loglet_id);
    uint32_t tail = l ? l->local_tail : 1, trimmed = l ? l->trim_point : 0;

    g->entries = NULL;
    g->n = g->cap = 0;
    g->error = 0;
    g->bytes = 0;
    g->server = s;
    g->next_offset = g->from;
    if (g->from == 0 || g->to < g->from || g->to > LS_OFFSET_MAX) {
        g->h.status = LS_MALFORMED;
    } else if (s->closing) {
        g->h.status = LS_DISABLED;
    } else {
        if (g->from <= trimmed) {
            entry_add(g, (struct ls_entry){.kind = LS_TRIM_GAP, .offset = g->from, .to = trimmed});
            g->from = g->next_offset = trimmed + 1;
        }
        g->to = MIN(g->to, tail - 1);
        if (g->from <= g->to) {
            g->job = (struct job){.run = get_run, .done = get_finished};
            s->under_way++;
            exec_submit(s->pool, s->loop, &g->job);
            return;
        }
        g->h.status = LS_OK;
    }
    list_push_back(&s->ready, &g->h.link);
    loop_hook_arm(s->loop, &s->answer);
}

/* ---- digest ---- */

static void digest_add(struct ls_digest *d, uint32_t from, uint32_t to, enum ls_digest_status status) {
    struct ls_digest_entry *last = d->n ? &d->entries[d->n - 1] : NULL;

    if (last && last->status == status && last->to + 1 == from) {
        last->to = to;
        return;
    }
    if (d->n == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 8;
        d->entries = xrealloc(d->entries, d->cap * sizeof *d->entries);
    }
    d->entries[d->n++] = (struct ls_digest_entry){from, to, status};
}

static int digest_row(void *arg, struct slice key, struct slice value) {
    struct ls_digest *d = arg;

    if (key.len != LS_KEY_BYTES)
        return err_set(&d->err, RS_ECORRUPT, "a record row has a malformed key");
    digest_add(d, get_u32be(key.data + 9), get_u32be(key.data + 9), LS_DIGEST_EXISTS);
    return 0;
}

static void digest_run(struct job *j) {
    struct ls_digest *d = CONTAINER_OF(j, struct ls_digest, job);
    uint8_t lower[LS_KEY_BYTES], upper[LS_KEY_BYTES];
    struct store_view *view;
    int r = store_view_new(d->server->store, &view, &d->err);

    if (r == 0) {
        r = store_view_scan(view, d->server->table, ls_key_record(lower, d->h.loglet_id, d->from),
                            ls_key_record(upper, d->h.loglet_id, d->to + 1), false, digest_row, d, &d->err);
        (void)store_view_free(view);
    }
    if (r < 0)
        d->error = r;
}

static void digest_finished(struct job *j) {
    struct ls_digest *d = CONTAINER_OF(j, struct ls_digest, job);
    struct log_server *s = d->server;
    struct ls_reply reply;

    ls_reply_fill(ls_loglet_find(s, d->h.loglet_id), LS_OK, &reply);
    d->h.done(&d->h, &reply);
    ls_work_done(s);
}

void ls_digest_start(struct log_server *s, struct ls_digest *d) {
    const struct ls_loglet *l = ls_loglet_find(s, d->h.loglet_id);
    uint32_t trimmed = l ? l->trim_point : 0;

    d->entries = NULL;
    d->n = d->cap = 0;
    d->error = 0;
    d->server = s;
    if (d->from == 0 || d->to < d->from || d->to > LS_OFFSET_MAX) {
        d->h.status = LS_MALFORMED;
    } else if (s->closing) {
        d->h.status = LS_DISABLED;
    } else {
        if (d->from <= trimmed) {
            digest_add(d, d->from, MIN(trimmed, d->to), LS_DIGEST_TRIMMED);
            d->from = trimmed + 1;
        }
        if (d->from <= d->to) {
            d->job = (struct job){.run = digest_run, .done = digest_finished};
            s->under_way++;
            exec_submit(s->pool, s->loop, &d->job);
            return;
        }
        d->h.status = LS_OK;
    }
    list_push_back(&s->ready, &d->h.link);
    loop_hook_arm(s->loop, &s->answer);
}
