/* SPDX-License-Identifier: Apache-2.0 */
/* The entries in memory, and the byte forms of a configuration. */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/slice.h"
#include "meta/raft_internal.h"

uint64_t raft_log_term(const struct raft_log *l, uint64_t index) {
    if (index == l->base_index)
        return l->base_term;
    if (index < l->base_index || index > raft_log_last(l))
        return 0;
    return l->e[index - l->base_index - 1].term;
}

void raft_log_add(struct raft_log *l, uint64_t term, enum raft_entry_kind kind, struct bytes *data) {
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->e = xrealloc(l->e, l->cap * sizeof *l->e);
    }
    l->e[l->n] = (struct raft_entry){raft_log_last(l) + 1, term, kind, data ? bytes_ref(data) : NULL};
    l->n++;
}

void raft_log_cut(struct raft_log *l, uint64_t from) {
    ASSERT(from > l->base_index);
    while (l->n && raft_log_last(l) >= from)
        (void)bytes_unref(l->e[--l->n].data);
    l->stable = MIN(l->stable, from - 1);
}

void raft_log_compact(struct raft_log *l, uint64_t upto, uint64_t term) {
    size_t k;

    if (upto <= l->base_index)
        return;
    k = MIN((size_t)(upto - l->base_index), l->n);
    for (size_t i = 0; i < k; i++)
        (void)bytes_unref(l->e[i].data);
    memmove(l->e, l->e + k, (l->n - k) * sizeof *l->e);
    l->n -= k;
    l->base_index = upto;
    l->base_term = term;
    l->stable = MAX(l->stable, upto);
}

void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term) {
    for (size_t i = 0; i < l->n; i++)
        (void)bytes_unref(l->e[i].data);
    l->n = 0;
    l->base_index = l->stable = index;
    l->base_term = term;
}

size_t raft_log_slice(const struct raft_log *l, uint64_t from, uint64_t to, size_t bytes, struct raft_entry **ret) {
    uint64_t last = MIN(to, raft_log_last(l));
    size_t n = 0, sum = 0, first = from - l->base_index - 1;

    *ret = NULL;
    if (from <= l->base_index || from > last)
        return 0;
    while (from + n <= last) {
        const struct raft_entry *e = &l->e[first + n];
        size_t len = 32 + (e->data ? e->data->len : 0);

        if (n && sum + len > bytes)
            break;
        sum += len;
        n++;
    }
    *ret = xmalloc(n * sizeof **ret);
    for (size_t i = 0; i < n; i++) {
        (*ret)[i] = l->e[first + i];
        if ((*ret)[i].data)
            (void)bytes_ref((*ret)[i].data);
    }
    return n;
}

void raft_entries_free(struct raft_entry *e, size_t n) {
    for (size_t i = 0; i < n; i++)
        (void)bytes_unref(e[i].data);
    free(e);
}

/* ---- configurations: u8 format 1, u8 voters, u8 learners (0 or 1), u8 0, u32 version, then members: u32 id, u64 time
 * --- */

static void put_member(struct buf *out, struct raft_member m) {
    buf_put_u32le(out, m.id);
    buf_put_u64le(out, m.created_ms);
}

void raft_config_encode(const struct raft_config *c, struct buf *out) {
    buf_put_u8(out, 1);
    buf_put_u8(out, (uint8_t)c->n);
    buf_put_u8(out, c->learner.id != 0);
    buf_put_u8(out, 0);
    buf_put_u32le(out, c->version);
    for (uint32_t i = 0; i < c->n; i++)
        put_member(out, c->voters[i]);
    if (c->learner.id)
        put_member(out, c->learner);
}

int raft_config_decode(struct slice data, struct raft_config *ret, struct slice *ret_context, struct err *err) {
    struct raft_config c = {0};
    size_t members, at = 8;

    if (data.len < 8 || data.data[0] != 1 || data.data[1] > RAFT_MEMBERS_MAX || data.data[2] > 1)
        return err_set(err, RS_ECORRUPT, "not a configuration of metadata servers");
    c.n = data.data[1];
    c.version = get_u32le(data.data + 4);
    members = c.n + data.data[2];
    if (data.len < 8 + members * 12)
        return err_set(err, RS_ECORRUPT, "a configuration of metadata servers is cut short");
    for (size_t i = 0; i < members; i++, at += 12) {
        struct raft_member m = {get_u32le(data.data + at), get_u64le(data.data + at + 4)};

        if (m.id == 0)
            return err_set(err, RS_ECORRUPT, "a configuration of metadata servers has a member 0");
        if (i < c.n)
            c.voters[i] = m;
        else
            c.learner = m;
    }
    *ret = c;
    if (ret_context)
        *ret_context = slice_from(data, at);
    return 0;
}

bool raft_config_votes(const struct raft_config *c, struct raft_member m) {
    for (uint32_t i = 0; i < c->n; i++)
        if (raft_member_eq(c->voters[i], m))
            return true;
    return false;
}

struct raft_snapshot *raft_snapshot_free(struct raft_snapshot *s) {
    if (s)
        (void)bytes_unref(s->data);
    free(s);
    return NULL;
}

struct raft_snapshot *raft_snapshot_copy(const struct raft_snapshot *s) {
    struct raft_snapshot *c;

    if (!s)
        return NULL;
    c = xnew(struct raft_snapshot);
    *c = *s;
    if (c->data)
        (void)bytes_ref(c->data);
    return c;
}

void raft_msg_done(struct raft_msg *m) {
    raft_entries_free(m->entries, m->n);
    m->entries = NULL;
    m->n = 0;
    m->snapshot = raft_snapshot_free(m->snapshot);
}
