/* SPDX-License-Identifier: Apache-2.0 */
/* worker/fast_forward.c : a processor takes over a snapshot instead of records that are not there any more.
 *
 *   look in the repository -> else ask the other replicas, piece by piece -> a file -> drop the table, write the rows
 *
 * The row with the applied LSN is written last, with the final rows: a table that has rows but not that one is the rest
 * of an import that was cut short, and is dropped when it is found. */
#include "base/logging.h"
#include "snapshot/object_store.h"
#include "storage/export.h"
#include "worker/peer_internal.h"
#include "worker/snapshots.h"

#include <inttypes.h>
#include <unistd.h>

#define FIRST_PIECE_NS 120000000000ull /* the other side writes the whole stream first */
#define PIECE_NS 15000000000ull
#define BUSY_NS 300000000ull

enum { PEERS_MAX = 2 * REPLICA_SET_MAX + 1 };

struct fast_forward {
    struct job job;
    struct fabric_call call;
    struct worker *w;
    struct partition *p; /* NULL: canceled */
    uint32_t partition;  /* jobs look at these, never at @p */
    uint64_t first_key, last_key;
    lsn_t target;
    bool calling, resting; /* else a job, a barrier or a sync is under way */
    struct timer rest;     /* before those that were busy are asked again */
    bool busy;
    struct err err; /* why the last source did not do */
    int status;
    int fd; /* the stream */
    /* from a peer */
    uint32_t peers[PEERS_MAX];
    size_t n_peers, next_peer;
    uint64_t token, offset;
    struct bytes *frame; /* of @piece */
    struct slice piece;
    bool last_piece;
    /* importing */
    struct import_reader *reader;
    struct buf rows; /* u32 key length, u32 value length, key, value; ... */
    struct buf hot;  /* the row with the applied LSN */
    lsn_t lsn;       /* in it */
    bool table_seen, ended;
};

static void next_source(struct fast_forward *f);
static void read_more(struct fast_forward *f);

static void ff_free(struct fast_forward *f) {
    struct worker *w = f->w;

    timer_stop(w->params.loop, &f->rest);
    if (f->p)
        f->p->fast_forward = NULL;
    if (f->fd >= 0)
        (void)close(f->fd);
    (void)bytes_unref(f->frame);
    (void)import_reader_free(f->reader);
    buf_done(&f->rows);
    buf_done(&f->hot);
    free(f);
    snapshots_done_one(w);
}

void fast_forward_cancel(struct partition *p) {
    struct fast_forward *f = p->fast_forward;

    if (!f)
        return;
    p->fast_forward = NULL;
    f->p = NULL;
    if (f->calling)
        fabric_call_drop(f->w->params.fabric, &f->call);
    if (f->calling || f->resting) {
        ff_free(f);
    } /* else what is under way frees it */
}

/* Frees @f when it was canceled meanwhile. */
static bool is_over(struct fast_forward *f) {
    if (f->p)
        return false;
    ff_free(f);
    return true;
}

static void submit(struct fast_forward *f, void (*run)(struct job *), void (*done)(struct job *)) {
    f->job = (struct job){.run = run, .done = done};
    exec_submit(f->w->params.snapshots.exec, f->w->params.loop, &f->job);
}

static void give_up(struct fast_forward *f) {
    struct partition *p = f->p;
    struct err err = f->err;
    lsn_t target = f->target;

    ff_free(f);
    partition_break(p, "its log begins behind LSN %" PRIu64 ", and there is no snapshot: %s", target, err.msg);
}

/* ---- importing ---- */

static int on_table(void *arg, struct slice name, struct err *err) {
    struct fast_forward *f = arg;
    char want[16];

    snapshot_table_name(f->partition, want);
    if (f->table_seen || !slice_eq_str(name, want))
        return err_set(err, RS_ECORRUPT, "the snapshot is not one of partition %" PRIu32, f->partition);
    f->table_seen = true;
    return 0;
}

static int on_row(void *arg, struct slice key, struct slice value, struct err *err) {
    struct fast_forward *f = arg;
    struct table_key hot;
    struct fsm_hot fsm;

    key_fsm(&hot, FSM_HOT);
    if (slice_eq(key, table_key_slice(&hot))) {
        int r = fsm_hot_decode(value, &fsm, err);

        if (r < 0)
            return r;
        f->lsn = fsm.applied_lsn;
        buf_put_slice(&f->hot, value);
        return 0;
    }
    buf_put_u32le(&f->rows, (uint32_t)key.len);
    buf_put_u32le(&f->rows, (uint32_t)value.len);
    buf_put_slice(&f->rows, key);
    buf_put_slice(&f->rows, value);
    return 0;
}

static int on_end(void *arg, struct slice attributes, const struct export_summary *sum, struct err *err) {
    struct fast_forward *f = arg;

    if (!f->hot.len || f->lsn < f->target)
        return err_set(err, RS_ECORRUPT, "the snapshot stands at LSN %" PRIu64 ", %" PRIu64 " is needed", f->lsn,
                       f->target);
    f->ended = true;
    return 0;
}

static const struct import_events import_events = {on_table, on_row, on_end};

static void read_run(struct job *j) {
    struct fast_forward *f = CONTAINER_OF(j, struct fast_forward, job);
    uint8_t *piece = xmalloc(SNAPSHOT_PIECE);
    ssize_t n = read(f->fd, piece, SNAPSHOT_PIECE);

    if (n < 0)
        f->status = err_errno(&f->err, "cannot read the snapshot");
    else if (n == 0)
        f->status = err_set(&f->err, RS_ECORRUPT, "the snapshot is cut off");
    else
        f->status = import_feed(f->reader, slice_of(piece, (size_t)n), &f->err);
    free(piece);
}

static void put_rows(struct fast_forward *f) {
    struct slice s = buf_slice(&f->rows);
    struct table_key hot;

    while (s.len) {
        size_t key = get_u32le(s.data), value = get_u32le(s.data + 4);

        store_put(f->p->store, f->p->table, slice_sub(s, 8, key), slice_sub(s, 8 + key, value));
        s = slice_from(s, 8 + key + value);
    }
    buf_clear(&f->rows);
    if (!f->ended)
        return;
    key_fsm(&hot, FSM_HOT);
    store_put(f->p->store, f->p->table, table_key_slice(&hot), buf_slice(&f->hot));
}

static void on_synced(void *arg, int status, const struct err *err) {
    struct fast_forward *f = arg;
    struct partition *p = f->p;
    lsn_t lsn = f->lsn;

    if (is_over(f))
        return;
    if (status < 0) {
        if (err)
            f->err = *err;
        give_up(f);
        return;
    }
    LOG_INFO("snapshot imported", F_U64("partition", p->id), F_LSN("lsn", lsn));
    ff_free(f);
    partition_fast_forwarded(p, lsn);
}

static void on_written(void *arg, int status, struct store_view *take_view, const struct err *err) {
    struct fast_forward *f = arg;

    (void)store_view_free(take_view);
    if (is_over(f))
        return;
    if (status == 0) {
        read_more(f);
        return;
    }
    if (err)
        f->err = *err;
    give_up(f);
}

static void read_ran(struct job *j) {
    struct fast_forward *f = CONTAINER_OF(j, struct fast_forward, job);

    if (is_over(f))
        return;
    if (f->status < 0) { /* the table is half full, without its LSN: the next try drops it */
        LOG_WARN_ERR(&f->err, "a snapshot could not be imported", F_U64("partition", f->p->id));
        next_source(f);
        return;
    }
    put_rows(f);
    if (f->ended)
        store_sync(f->p->store, on_synced, f);
    else
        store_barrier(f->p->store, on_written, f); /* one piece at a time in memory */
}

static void read_more(struct fast_forward *f) {
    submit(f, read_run, read_ran);
}

static int fresh_table(struct partition *p, struct err *err) {
    char name[16];
    int r;

    snapshot_table_name(p->id, name);
    r = store_table_drop(p->store, name, err);
    return r < 0 ? r : store_table_open(p->store, name, &p->table, err);
}

static void import(struct fast_forward *f) {
    if (lseek(f->fd, 0, SEEK_SET) < 0 || fresh_table(f->p, &f->err) < 0) {
        give_up(f);
        return;
    }
    f->reader = import_reader_free(f->reader);
    f->reader = import_reader_new(&import_events, f);
    buf_clear(&f->rows);
    buf_clear(&f->hot);
    f->table_seen = f->ended = false;
    f->lsn = 0;
    read_more(f);
}

static int any_row(void *arg, struct slice key, struct slice value) {
    return 1;
}

int fast_forward_clear(struct partition *p, struct err *err) {
    int r = store_scan(p->store, p->table, SLICE_NULL, SLICE_NULL, false, any_row, NULL, err);

    return r == 1 ? fresh_table(p, err) : r;
}

/* ---- from another replica ---- */

static void ask_piece(struct fast_forward *f);

static void piece_run(struct job *j) {
    struct fast_forward *f = CONTAINER_OF(j, struct fast_forward, job);

    f->status = 0;
    if (f->fd < 0)
        f->status = nameless_file(f->w->params.snapshots.tmp_dir, &f->fd, &f->err);
    if (f->status == 0)
        f->status = write_all(f->fd, f->piece, &f->err);
}

static void piece_ran(struct job *j) {
    struct fast_forward *f = CONTAINER_OF(j, struct fast_forward, job);

    f->offset += f->piece.len;
    f->frame = bytes_unref(f->frame);
    if (is_over(f))
        return;
    if (f->status < 0)
        give_up(f);
    else if (f->last_piece)
        import(f);
    else
        ask_piece(f);
}

static void on_piece(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply,
                     struct bytes *frame, const struct err *why) {
    struct fast_forward *f = CONTAINER_OF(c, struct fast_forward, call);
    struct arena a = {0};
    struct pp_piece m = {0};
    uint32_t peer = f->peers[f->next_peer - 1];

    f->calling = false;
    f->busy = f->busy || s == RPC_LOAD_SHEDDING;
    if (s != RPC_OK)
        (void)err_set(&f->err, RS_EAGAIN, "node %" PRIu32 ": %s", peer, why ? why->msg : rpc_status_str(s));
    else if (pp_piece_decode(&m, reply, &a, &f->err) < 0 || m.code || m.offset != f->offset || !m.data.len)
        s = RPC_DROPPED;
    if (s == RPC_DROPPED && m.code)
        (void)err_set(&f->err, RS_EAGAIN, "node %" PRIu32 " has none that goes up to LSN %" PRIu64, peer, f->target);
    if (s == RPC_OK) {
        f->token = m.token;
        f->frame = bytes_ref(frame);
        f->piece = m.data;
        f->last_piece = m.last;
        submit(f, piece_run, piece_ran);
    } else {
        next_source(f);
    }
    arena_done(&a);
}

static void ask_piece(struct fast_forward *f) {
    const struct pp_fetch m = {.partition = f->p->id, .min_lsn = f->target, .token = f->token, .offset = f->offset};
    _cleanup_buf_ struct buf head = {0};
    struct fabric_message msg = {.service = SERVICE_PARTITION_MANAGER, .type = MANAGER_FETCH_SNAPSHOT};
    struct fabric_dest to = {.node = {.id = f->peers[f->next_peer - 1]}};

    pp_fetch_encode(&m, &head);
    msg.head = buf_slice(&head);
    f->calling = true;
    f->call = (struct fabric_call){.done = on_piece};
    fabric_call(f->w->params.fabric, &f->call, &to, LANE_BIFROST_READS, &msg,
                loop_now_ns(f->w->params.loop) + (f->token ? PIECE_NS : FIRST_PIECE_NS));
}

static void next_source(struct fast_forward *f) {
    if (f->fd >= 0)
        (void)close(f->fd);
    f->fd = -1;
    f->token = f->offset = 0;
    if (f->next_peer == f->n_peers && f->busy) {
        f->next_peer = 0;
        f->busy = false;
        f->resting = true;
        timer_set(f->w->params.loop, &f->rest, BUSY_NS);
        return;
    }
    if (f->next_peer == f->n_peers) {
        give_up(f);
        return;
    }
    f->next_peer++;
    ask_piece(f);
}

static void rested(void *arg) {
    struct fast_forward *f = arg;

    f->resting = false;
    next_source(f);
}

static void add_peer(struct fast_forward *f, uint32_t node) {
    if (!node || node == f->w->params.self.id || !f->w->params.fabric || f->n_peers == PEERS_MAX)
        return;
    for (size_t i = 0; i < f->n_peers; i++)
        if (f->peers[i] == node)
            return;
    f->peers[f->n_peers++] = node;
}

static void list_peers(struct fast_forward *f) {
    const struct route *r = f->p->route;

    add_peer(f, r->leader.id);
    for (uint32_t i = 0; i < r->current.n; i++)
        add_peer(f, r->current.nodes[i]);
    for (uint32_t i = 0; i < r->next.n; i++)
        add_peer(f, r->next.nodes[i]);
}

/* ---- from the repository ---- */

static void look_run(struct job *j) {
    struct fast_forward *f = CONTAINER_OF(j, struct fast_forward, job);
    const struct worker_snapshots_params *sp = &f->w->params.snapshots;
    struct snapshot_info info;
    lsn_t archived;

    f->status = repository_latest(sp->repository, f->partition, &info, &archived, &f->err);
    if (f->status == 0 && (info.first_key != f->first_key || info.last_key != f->last_key))
        f->status = err_set(&f->err, RS_EPERM, "the snapshot has another range of keys");
    if (f->status == 0 && info.lsn < f->target)
        f->status = err_set(&f->err, RS_ENOENT, "the newest in the repository stands at LSN %" PRIu64, info.lsn);
    if (f->status == 0)
        f->status = repository_open_tables(sp->repository, &info, sp->tmp_dir, &f->fd, &f->err);
}

static void look_ran(struct job *j) {
    struct fast_forward *f = CONTAINER_OF(j, struct fast_forward, job);
    struct partition *p = f->p;

    if (is_over(f))
        return;
    if (f->status == 0) {
        import(f);
        return;
    }
    if (f->status != RS_ENOENT)
        LOG_WARN_ERR(&f->err, "no snapshot from the repository", F_U64("partition", p->id));
    if (f->target) {
        next_source(f);
        return;
    }
    ff_free(f);
    partition_fast_forwarded(p, 0);
}

static void no_repository(void *arg) {
    struct fast_forward *f = arg;

    if (!is_over(f))
        next_source(f);
}

void fast_forward_start(struct partition *p, lsn_t target) {
    struct fast_forward *f = xnew(struct fast_forward);

    ASSERT(!p->fast_forward && p->cold_pending == 0);
    *f = (struct fast_forward){.w = p->w,
                               .p = p,
                               .partition = p->id,
                               .first_key = p->first_key,
                               .last_key = p->last_key,
                               .target = target,
                               .fd = -1};
    timer_init(&f->rest, rested, f);
    (void)err_set(&f->err, RS_ENOENT, "no repository is configured, and no other replica is known");
    p->fast_forward = f;
    p->w->snapshots.busy++;
    list_peers(f);
    if (p->w->params.snapshots.repository)
        submit(f, look_run, look_ran);
    else
        loop_post(p->w->params.loop, no_repository, f);
}
