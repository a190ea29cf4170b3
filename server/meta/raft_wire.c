/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/raft_wire.h"

#include <stdlib.h>
#include "base/arena.h"
#include "proto/metadata.gen.h"

void raft_msg_encode(const struct raft_msg *m, struct buf *out) {
    struct md_entry *entries = xcalloc(m->n + 1, sizeof *entries);
    _cleanup_buf_ struct buf config = {0};
    struct md_raft w = {.type = (uint32_t)m->type,
                        .from = m->from.id,
                        .from_created = m->from.created_ms,
                        .to = m->to.id,
                        .to_created = m->to.created_ms,
                        .term = m->term,
                        .index = m->index,
                        .log_term = m->log_term,
                        .commit = m->commit,
                        .context = m->context,
                        .reject = m->reject,
                        .forced = m->forced,
                        .entries = entries,
                        .n_entries = m->n};

    for (size_t i = 0; i < m->n; i++)
        entries[i] = (struct md_entry){
            .term = m->entries[i].term, .kind = (uint32_t)m->entries[i].kind, .data = bytes_slice(m->entries[i].data)};
    if (m->snapshot) {
        raft_config_encode(&m->snapshot->config, &config);
        w.snapshot_index = m->snapshot->index;
        w.snapshot_term = m->snapshot->term;
        w.snapshot_config = buf_slice(&config);
        w.snapshot_data = bytes_slice(m->snapshot->data);
    }
    md_raft_encode(&w, out);
    free(entries);
}

static int decode_entries(const struct md_raft *w, struct raft_msg *m, struct err *err) {
    m->entries = w->n_entries ? xcalloc(w->n_entries, sizeof *m->entries) : NULL;
    for (size_t i = 0; i < w->n_entries; i++) {
        const struct md_entry *e = &w->entries[i];

        if (e->kind > RAFT_CONFIG || e->term == 0 || e->term > w->term)
            return err_set(err, RS_ECORRUPT, "a Raft message has a bad entry");
        m->entries[m->n++] = (struct raft_entry){.index = w->index + 1 + i,
                                                 .term = e->term,
                                                 .kind = (enum raft_entry_kind)e->kind,
                                                 .data = e->kind == RAFT_EMPTY ? NULL : bytes_copy(e->data)};
    }
    return 0;
}

int raft_msg_decode(struct slice in, struct raft_msg *ret, struct err *err) {
    _cleanup_(arena_done) struct arena a = {0};
    struct raft_msg m = {0};
    struct md_raft w;
    int r = md_raft_decode(&w, in, &a, err);

    if (r < 0)
        return RS_ECORRUPT;
    if (w.type < RAFT_PREVOTE || w.type > RAFT_TIMEOUT_NOW || w.from == 0 || w.to == 0 || w.term == 0)
        return err_set(err, RS_ECORRUPT, "not a Raft message");
    m = (struct raft_msg){.type = (enum raft_msg_type)w.type,
                          .from = {w.from, w.from_created},
                          .to = {w.to, w.to_created},
                          .term = w.term,
                          .index = w.index,
                          .log_term = w.log_term,
                          .commit = w.commit,
                          .context = w.context,
                          .reject = w.reject,
                          .forced = w.forced};
    r = decode_entries(&w, &m, err);
    if (r == 0 && m.type == RAFT_SNAP) {
        m.snapshot = xnew(struct raft_snapshot);
        m.snapshot->index = w.snapshot_index;
        m.snapshot->term = w.snapshot_term;
        m.snapshot->data = bytes_copy(w.snapshot_data);
        r = raft_config_decode(w.snapshot_config, &m.snapshot->config, NULL, err);
        if (r == 0 && (w.snapshot_index == 0 || w.snapshot_term == 0 || w.snapshot_term > w.term))
            r = err_set(err, RS_ECORRUPT, "a Raft snapshot without place in the log");
    }
    if (r < 0) {
        raft_msg_done(&m);
        return r;
    }
    *ret = m;
    return 0;
}
